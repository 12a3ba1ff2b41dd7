// The page in a real browser: two tabs at two instances, as two people would have them open.
import assert from "node:assert/strict";
import { test } from "node:test";

import { chromium } from "playwright-core";

import { eventually, startDemo } from "./harness.mjs";

const FLAGS = [
  ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
];

/// A page of each of these instances. At the end of the test none has complained in its console,
/// but for what the test `expects`.
async function open(demo, instances, expects = /^$/) {
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: FLAGS });
  const complaints = [];
  demo.watchers.push(async () => {
    await browser.close();
    assert.deepEqual(complaints.filter((text) => !expects.test(text)), []);
  });
  const opening = instances.map(async (instance) => {
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(String(error)));
    await page.goto(demo.at(instance));
    await page.getByText("live", { exact: true }).waitFor();
    return page;
  });
  return Promise.all(opening);
}

const row = (page, instance) =>
  page.locator("#instances tr").filter({ hasText: `instance-${instance}` }).first();
const field = (page, instance, name) => row(page, instance).locator(`[data-field=${name}]`);
const valueOf = (page, name) =>
  page.locator(".setting").filter({ has: page.locator(`input`) }).evaluateAll(
    (settings, wanted) =>
      settings.find((it) => it.querySelector("[name=name]").value === wanted)
        ?.querySelector("[name=value]").value,
    name,
  );

async function change(page, name, value) {
  const index = await page.locator(".setting [name=name]").evaluateAll(
    (inputs, wanted) => inputs.findIndex((it) => it.value === wanted),
    name,
  );
  await page.locator(".setting [name=value]").nth(index).fill(value);
}

const save = (page) => page.getByRole("button", { name: "Save New Settings" }).click();
const saved = (page, version) => page.getByText(`Saved as version ${version} by`).waitFor();

async function until(page, what, holds) {
  for (let look = 0; look < 1500; look += 1) {
    if (await holds()) return;
    await page.waitForTimeout(20);
  }
  assert.fail(`${what}: not within 30 s; the page says: ${await page.locator("main").innerText()}`);
}

test("a save in one tab shows in the other without a reload", async (t) => {
  const demo = await startDemo(t);
  const [one, two] = await open(demo, [1, 2]);
  const before = await field(two, 2, "date").textContent();
  await two.evaluate(() => (window.notReloaded = true));
  await change(one, "Site title", "Southwind");
  await save(one);
  await saved(one, 2);
  await until(two, "the value shows", async () => (await valueOf(two, "Site title")) === "Southwind");
  for (const instance of [1, 2, 3]) {
    await until(two, "the version shows", async () => {
      return (await field(two, instance, "version").textContent()) === "2";
    });
    assert.notEqual(await field(two, instance, "date").textContent(), before);
  }
  assert.equal(await two.evaluate(() => window.notReloaded), true);
});

test("a setting is added, and shows in the other tab", async (t) => {
  const demo = await startDemo(t);
  const [one, two] = await open(demo, [1, 2]);
  await one.getByRole("button", { name: "Add setting" }).click();
  await one.keyboard.type("Colour");
  await one.keyboard.press("Tab");
  await one.keyboard.type("teal");
  await save(one);
  await saved(one, 2);
  await until(two, "it shows", async () => (await valueOf(two, "Colour")) === "teal");
});

test("a conflict shows a message, and keeps what was typed", async (t) => {
  const demo = await startDemo(t);
  const [one, two] = await open(demo, [1, 2], /409/);
  await change(two, "Site title", "typed in the second tab");
  await change(one, "Site title", "saved in the first");
  await save(one);
  await saved(one, 2);
  await two.getByText("Version 2 was saved elsewhere. What you typed is still here.").waitFor();
  await save(two);
  await two.getByText(/Not saved: version 1 is not the newest/).waitFor();
  assert.equal(await valueOf(two, "Site title"), "typed in the second tab");
  await two.getByRole("button", { name: "Discard mine, show the newest" }).click();
  await until(two, "the newest shows", async () => {
    return (await valueOf(two, "Site title")) === "saved in the first";
  });
});

test("what people type is shown as text, whatever it is", async (t) => {
  const demo = await startDemo(t);
  const [one, two] = await open(demo, [1, 2]);
  const values = [
    `<script>document.title = "owned"</script><img src=x onerror="document.title='owned'">`,
    `"quotes" 'and' &amp; \`more\``,
    "🐿️👩‍👩‍👧‍👦 é",
    "שלום \u202E עולם",
    "x".repeat(10_000),
  ];
  const title = await two.title();
  for (const [index, value] of values.entries()) {
    await change(one, "Site title", value);
    await save(one);
    await until(one, "it is answered", async () => {
      return /Saved as version|Not saved/.test(await one.locator("#save-status").textContent());
    });
    const told = await one.locator("#save-status").textContent();
    if (told.startsWith("Not saved")) {
      assert.match(told, /limit|control|direction|bytes/, `${index}: ${told}`);
      await one.getByRole("button", { name: "Save New Settings" }).waitFor();
      continue;
    }
    await until(two, `value ${index} shows`, async () => (await valueOf(two, "Site title")) === value);
  }
  assert.equal(await two.title(), title);
});

test("a stopped instance leaves the others cut off, and they say when they are in sync again", async (t) => {
  const demo = await startDemo(t);
  const [one] = await open(demo, [1]);
  process.kill(demo.pids.get("instance-3"), "SIGSTOP");
  // The port of all leads to those that answer.
  await eventually("six requests in turn lead past it", async () => {
    const served = [];
    for (let turn = 0; turn < 6; turn += 1) {
      served.push((await demo.get(0, "/api/copy")).instance);
    }
    return served.includes("instance-1") && !served.includes("instance-3");
  });
  for (const instance of [1, 2]) {
    await until(one, "it is cut off", async () => {
      return /^cut off from .*instance-3/.test(await field(one, instance, "state").textContent());
    });
  }
  process.kill(demo.pids.get("instance-3"), "SIGCONT");
  for (const instance of [1, 2, 3]) {
    await until(one, "it is in sync", async () => {
      return (await field(one, instance, "state").textContent()) === "in sync";
    });
  }
});

test("instances are added, paused, resumed, killed and taken away at a click", async (t) => {
  const demo = await startDemo(t, ["--instances", "2"]);
  const [page] = await open(demo, [0], /50[0-9]/);
  const rows = page.locator("#instances tr");
  const count = (wanted) => until(page, `${wanted} rows`, async () => (await rows.count()) === wanted);
  for (const wanted of [3, 4, 5]) {
    await page.getByRole("button", { name: "More" }).click();
    await count(wanted);
  }
  await page.getByRole("button", { name: "Pause instance-5" }).click();
  await until(page, "it does not answer", async () => {
    return /no answer/.test(await field(page, 5, "error").textContent());
  });
  await page.getByRole("button", { name: "Resume instance-5" }).click();
  await until(page, "it answers", async () => (await field(page, 5, "error").textContent()) === "");
  for (const wanted of [4, 3]) {
    await page.getByRole("button", { name: "Fewer" }).click();
    await count(wanted);
  }
  await page.getByRole("button", { name: "Kill instance-3" }).click();
  await until(page, "it is gone", async () => {
    return (await page.locator("#faults li").last().locator(".process").textContent()) === "ended";
  });
  await page.getByRole("button", { name: "More" }).click();
  await until(page, "its number is given to a new one", async () => {
    return (await field(page, 3, "error").textContent()) === "" && (await rows.count()) === 3;
  });
});

test("an instance's own page has no controls of the demo", async (t) => {
  const demo = await startDemo(t, ["--instances", "2"]);
  const [page] = await open(demo, [1]);
  assert.equal(await page.locator("#fabric").isVisible(), false);
});
