// Starts what the tests look at: the demo, Azure Storage's emulator, and a slow way to it.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const PROGRAM = process.env.FLUSHCAST ?? here("../target/debug/flushcast");
// The emulator's own account, known to all.
export const ACCOUNT = "devstoreaccount1";
const KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// For a browser without a screen that asks nobody for anything.
export const FLAGS = [
  ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
];
/// No wait is longer, in milliseconds.
export const PATIENCE = 60_000;

/// The first of `count` ports in a row that were free a moment ago.
export async function freePorts(count) {
  for (;;) {
    const first = 20_000 + Math.floor(Math.random() * 10_000);
    const ports = Array.from({ length: count }, (_, index) => first + index);
    const isFree = async (port) => {
      const server = createServer();
      server.listen(port, "127.0.0.1");
      const free = await Promise.race([once(server, "listening"), once(server, "error")]).then(
        () => server.listening,
        () => false,
      );
      server.close();
      return free;
    };
    const free = await Promise.all(ports.map(isFree));
    if (free.every(Boolean)) return first;
  }
}

export async function eventually(what, holds) {
  const end = Date.now() + PATIENCE;
  let last;
  for (;;) {
    try {
      if (await holds()) return;
    } catch (error) {
      last = error;
    }
    assert.ok(Date.now() < end, `${what}: not within ${PATIENCE / 1000} s${last ? `: ${last}` : ""}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function run(args, env) {
  const child = spawn(PROGRAM, ["demo", ...args], { env: { ...process.env, ...env } });
  child.errors = "";
  child.stderr.on("data", (data) => (child.errors += data));
  return child;
}

/// A demo that has to fail before it starts anything: what it said.
export async function failingDemo(args, env = {}) {
  const port = await freePorts(5);
  const child = run([...args, "--port", String(port)], env);
  const [code] = await once(child, "close");
  assert.notEqual(code, 0);
  return child.errors;
}

/// A running demo, with room for this many `instances`; `t` ends it.
export async function startDemo(t, args = [], env = {}, instances = 11) {
  const port = await freePorts(instances + 1);
  const child = run(["--port", String(port), ...args], env);
  const watchers = [];
  t.after(async () => {
    // What one of them finds wrong must not leave the demo running.
    const ended = await Promise.allSettled(watchers.map((end) => end()));
    if (child.exitCode === null) {
      child.kill("SIGINT");
      await once(child, "close");
    }
    for (const { reason } of ended) if (reason !== undefined) throw reason;
  });
  const pids = new Map();
  for await (const line of createInterface({ input: child.stdout })) {
    const [, name, pid] = line.match(/^ +(\S+) .* process (\d+)/) ?? [];
    if (name) pids.set(name, Number(pid));
    if (line.startsWith("Ctrl-C")) break;
  }
  assert.ok(pids.size > 0, `the demo did not start: ${child.errors}`);
  const at = (instance) => `http://127.0.0.1:${port + instance}`;
  return {
    child,
    /// What has to end before the demo does.
    watchers,
    pids,
    port,
    /// Instance 0 is the port of all.
    at,
    async get(instance, path) {
      const response = await fetch(at(instance) + path);
      const body = await response.json();
      assert.equal(response.status, 200, JSON.stringify(body));
      return body;
    },
    async scale(instances) {
      const { token } = await this.get(0, "/api/control");
      const response = await fetch(`${at(0)}/api/scale`, {
        method: "POST",
        headers: { "content-type": "application/json", "x-flushcast-token": token },
        body: JSON.stringify({ instances }),
      });
      assert.equal(response.status, 200, await response.text());
      await eventually(`${instances} instances are in the table`, async () => {
        const rows = await this.get(0, "/api/instances");
        return rows.length === instances && rows.every((row) => row.error === undefined);
      });
    },
    async save(instance, version, settings) {
      const response = await fetch(`${at(instance)}/api/settings`, {
        method: "PUT",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ version, settings }),
      });
      return { status: response.status, body: await response.json() };
    },
  };
}

/// Azure Storage's emulator, on disk, so that it can be restarted; `t` ends it.
export async function startAzurite(t) {
  const folder = await mkdtemp(join(tmpdir(), "flushcast-azurite-"));
  const port = await freePorts(1);
  const arguments_ = ["--location", folder, "--blobPort", String(port), "--silent", "--disableTelemetry"];
  const azurite = {
    url: `http://127.0.0.1:${port}`,
    env: { AZURE_STORAGE_USE_EMULATOR: "true", AZURITE_BLOB_STORAGE_URL: `http://127.0.0.1:${port}` },
    async start() {
      this.process = spawn(here("node_modules/.bin/azurite-blob"), arguments_, { stdio: "ignore" });
      await eventually("the emulator answers", async () => (await fetch(this.url)).status > 0);
    },
    async stop() {
      this.process.kill();
      await once(this.process, "close");
    },
    createContainer: (name) => createContainer(`http://127.0.0.1:${port}`, name),
  };
  t.after(async () => {
    await azurite.stop();
    await rm(folder, { recursive: true });
  });
  await azurite.start();
  return azurite;
}

async function createContainer(url, name) {
  const date = new Date().toUTCString();
  const version = "2021-08-06";
  const signed = [
    ...["PUT", "", "", "", "", "", "", "", "", "", "", ""],
    `x-ms-date:${date}`,
    `x-ms-version:${version}`,
    `/${ACCOUNT}/${ACCOUNT}/${name}`,
    "restype:container",
  ].join("\n");
  const signature = createHmac("sha256", Buffer.from(KEY, "base64")).update(signed).digest("base64");
  const response = await fetch(`${url}/${ACCOUNT}/${name}?restype=container`, {
    method: "PUT",
    headers: {
      "x-ms-date": date,
      "x-ms-version": version,
      authorization: `SharedKey ${ACCOUNT}:${signature}`,
    },
  });
  assert.equal(response.status, 201, await response.text());
}

/// A way to a port over which everything takes `delay` milliseconds longer.
export async function slowWay(t, port, delay) {
  const server = createServer((near) => {
    const far = connect(port, "127.0.0.1");
    for (const [from, to] of [[near, far], [far, near]]) {
      from.on("data", (data) => setTimeout(() => to.writable && to.write(data), delay));
      from.on("close", () => setTimeout(() => to.destroy(), delay));
      from.on("error", () => to.destroy());
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  return `http://127.0.0.1:${server.address().port}`;
}
