// The settings in Azure Storage: the real emulator, and real instances over it.
import assert from "node:assert/strict";
import { test } from "node:test";

import { ACCOUNT, eventually, failingDemo, slowWay, startAzurite, startDemo } from "./harness.mjs";

const STORE = ["--store", `azure://${ACCOUNT}/settings/site.json`];

async function startStored(t, azurite, env = azurite.env) {
  await azurite.createContainer("settings");
  return startDemo(t, STORE, env);
}

const setting = (value) => [{ name: "saved by", value }];

test("saves at all instances at once: one of each version wins, none is lost", async (t) => {
  const demo = await startStored(t, await startAzurite(t));
  let saved = 0;
  const writers = [1, 2, 3].map(async (instance) => {
    for (let round = 0; round < 10; ) {
      const { version } = await demo.get(instance, "/api/settings");
      const value = `${instance}/${round}`;
      const answer = await demo.save(instance, version, setting(value));
      if (answer.status === 409) {
        assert.match(answer.body.error, /the settings are at version \d+/);
        continue;
      }
      assert.equal(answer.status, 200, JSON.stringify(answer.body));
      assert.equal(answer.body.version, version + 1);
      saved += 1;
      round += 1;
    }
  });
  await Promise.all(writers);
  assert.equal(saved, 30);
  for (const instance of [1, 2, 3]) {
    await eventually("it has the newest version", async () => {
      return (await demo.get(instance, "/api/copy")).version === 31;
    });
  }
});

test("200 saves through the balancer while instances come and go: none is lost", async (t) => {
  const demo = await startStored(t, await startAzurite(t));
  await demo.scale(2);
  assert.equal((await demo.save(0, 1, [])).status, 200);
  const attempt = async (request) => {
    try {
      return await request();
    } catch {
      return undefined;
    }
  };
  // Each adds one to its own setting, from whatever version is the newest.
  const writers = Array.from({ length: 20 }, async (_, writer) => {
    const name = `writer ${writer}`;
    let unknown = 0;
    for (let saved = 0; saved < 10; ) {
      const read = await attempt(() => demo.get(0, "/api/settings"));
      if (read === undefined) continue;
      const own = read.settings.find((it) => it.name === name);
      if (own === undefined) read.settings.push({ name, value: "1" });
      else own.value = String(Number(own.value) + 1);
      const answer = await attempt(() => demo.save(0, read.version, read.settings));
      if (answer?.status === 200) saved += 1;
      else if (answer?.status !== 409) unknown += 1;
    }
    return unknown;
  });
  for (const instances of [6, 3, 5, 2]) await demo.scale(instances);
  const unknown = await Promise.all(writers);
  const newest = await demo.get(0, "/api/settings");
  for (const [writer, doubts] of unknown.entries()) {
    const saved = Number(newest.settings.find((it) => it.name === `writer ${writer}`).value);
    assert.ok(saved >= 10 && saved <= 10 + doubts, `writer ${writer}: ${saved}, ${doubts} unknown`);
  }
  for (const instance of [1, 2]) {
    await eventually("it has the newest version", async () => {
      return (await demo.get(instance, "/api/copy")).version === newest.version;
    });
  }
});

test("a save from an old version is a conflict and changes nothing", async (t) => {
  const demo = await startStored(t, await startAzurite(t));
  assert.equal((await demo.save(1, 1, setting("first"))).status, 200);
  assert.equal((await demo.save(2, 1, setting("late"))).status, 409);
  assert.deepEqual((await demo.get(3, "/api/settings")).settings, setting("first"));
});

test("a store that goes away in mid-run is an error, and is used again when it is back", async (t) => {
  const azurite = await startAzurite(t);
  const demo = await startStored(t, azurite);
  assert.equal((await demo.save(1, 1, setting("before"))).status, 200);
  const copies = await Promise.all([1, 2, 3].map((instance) => demo.get(instance, "/api/copy")));
  assert.deepEqual(copies.map((copy) => copy.version), [2, 2, 2]);

  await azurite.stop();
  const failed = await demo.save(2, 2, setting("meanwhile"));
  assert.equal(failed.status, 500, JSON.stringify(failed.body));
  assert.match(failed.body.error, /cannot be read from the blob|not known whether/);
  // Who has a copy serves it.
  assert.equal((await demo.get(3, "/api/copy")).version, 2);

  await azurite.start();
  await eventually("a save is made", async () => {
    const { version } = await demo.get(2, "/api/settings");
    return (await demo.save(2, version, setting("after"))).status === 200;
  });
  assert.deepEqual((await demo.get(1, "/api/settings")).settings, setting("after"));
});

test("a slow store only takes longer", async (t) => {
  const azurite = await startAzurite(t);
  const slow = await slowWay(t, Number(new URL(azurite.url).port), 300);
  const demo = await startStored(t, azurite, { ...azurite.env, AZURITE_BLOB_STORAGE_URL: slow });
  assert.equal((await demo.save(1, 1, setting("slowly"))).status, 200);
  assert.deepEqual((await demo.get(2, "/api/settings")).settings, setting("slowly"));
});

test("a missing container is told with the command that makes it", async (t) => {
  const azurite = await startAzurite(t);
  const told = await failingDemo(STORE, azurite.env);
  assert.match(told, /container settings of the storage account devstoreaccount1 does not exist/);
  assert.match(told, /az storage container create --account-name devstoreaccount1 --name settings/);
});

test("a wrong key is told with where keys come from", async (t) => {
  const azurite = await startAzurite(t);
  await azurite.createContainer("settings");
  const key = Buffer.from("not the key").toString("base64");
  const told = await failingDemo(STORE, { ...azurite.env, AZURE_STORAGE_ACCOUNT_KEY: key });
  assert.match(told, /cannot be read or written with these credentials/);
  assert.match(told, /AZURE_STORAGE_ACCOUNT_KEY/);
});

test("a store that does not answer is told, within a bound", async () => {
  const env = { AZURE_STORAGE_USE_EMULATOR: "true", AZURITE_BLOB_STORAGE_URL: "http://127.0.0.1:9" };
  const told = await failingDemo(STORE, env);
  assert.match(told, /site.json cannot be opened/);
});
