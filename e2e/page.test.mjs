// The page in a real browser: two tabs at two instances, as two people would have them open.
import assert from "node:assert/strict";
import { test } from "node:test";

import { chromium } from "playwright-core";

import { eventually, FLAGS, PATIENCE, startDemo } from "./harness.mjs";

/// A page of each of these instances. At the end of the test none has complained in its console,
/// but for what the test `expects`.
async function open(demo, instances, expects = /^$/, width = 1280) {
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: FLAGS });
  const complaints = [];
  demo.watchers.push(async () => {
    await browser.close();
    assert.deepEqual(complaints.filter((text) => !expects.test(text)), []);
  });
  const opening = instances.map(async (instance) => {
    const page = await browser.newPage({ viewport: { width, height: 900 } });
    page.setDefaultTimeout(PATIENCE);
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
  for (const end = Date.now() + PATIENCE; Date.now() < end; ) {
    if (await holds()) return;
    await page.waitForTimeout(20);
  }
  const seen = await page.locator("main").innerText();
  assert.fail(`${what}: not within ${PATIENCE / 1000} s; the page says: ${seen}`);
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
  // A name as well: it comes back as it was, or the limit is told.
  for (const name of values) {
    const { version, settings } = await demo.get(1, "/api/settings");
    const { status, body } = await demo.save(1, version, [...settings.slice(0, 1), { name, value: "" }]);
    if (status !== 200) {
      assert.equal(status, 422);
      assert.match(body.error, /at most 200 bytes|control|direction/);
      continue;
    }
    await until(two, "the name shows", async () => (await valueOf(two, name)) === "");
    assert.equal((await demo.get(2, "/api/settings")).settings[1].name, name);
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

test("a cut instance says so, keeps the bound, and is in sync again once it is healed", async (t) => {
  const demo = await startDemo(t);
  const [page] = await open(demo, [0]);
  const states = (wanted) => until(page, `all are ${wanted}`, async () => {
    const told = await page.locator("#instances [data-field=state]").allTextContents();
    return told.length === 3 && told.every((text) => text.startsWith(wanted));
  });
  await states("in sync");
  await page.getByRole("button", { name: "Cut instance-3" }).click();
  await page.getByRole("button", { name: "Heal instance-3" }).waitFor();
  const { settings } = await demo.get(1, "/api/settings");
  const saved = await demo.save(1, 1, [...settings, { name: "During", value: "the cut" }]);
  assert.deepEqual(saved.body.flush.unconfirmed.map(({ node }) => node), ["instance-3"]);
  await page.locator("#flushes").getByText("instance-3 unconfirmed").waitFor();
  // It goes on with what it has, then loads: the picture shows how long that was.
  await until(page, "the cut one has the newest", async () => {
    return (await field(page, 3, "version").textContent()) === "2";
  });
  const told = await page.locator("#ages-told").textContent();
  const [cut, ...others] = told.slice(0, -1).split("; ");
  const [, seconds] = cut.match(/^instance-3, ([0-9.]+) s$/) ?? assert.fail(told);
  assert.ok(Number(seconds) > 0 && Number(seconds) <= 5, told);
  // Who read while the flush was on its way was late by less than that took; dates are in whole
  // milliseconds.
  const [{ node, after }] = saved.body.flush.applied;
  for (const other of others) {
    const [, name, time, unit] = other.match(/^(.+), ([0-9.]+) (ms|s)$/) ?? assert.fail(told);
    assert.equal(name, node, told);
    const millis = unit === "ms" ? Number(time) : Number(time) * 1000 - 50;
    assert.ok(millis <= after + 1, `${told} It was applied there within ${after} ms.`);
  }
  await states("cut off");
  await page.getByRole("button", { name: "Heal instance-3" }).click();
  await states("in sync");
  assert.match(await field(page, 3, "healed").textContent(), /by replay of 1 flush|with nothing missed/);
  assert.equal((await demo.save(2, 2, settings)).body.flush.applied.length, 2);
  await until(page, "it tells of its last flush", async () => {
    return /^from instance-2 in [0-9.]+\sms$/.test(await field(page, 3, "last_flush").textContent());
  });
});

test("instances are added, paused, resumed, killed and taken away at a click", async (t) => {
  const demo = await startDemo(t, ["--instances", "2"]);
  // The browser tells of it when the instance that it hears from is killed.
  const [page] = await open(demo, [0], /50[0-9]|INCOMPLETE_CHUNKED/);
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
  for (const wanted of [4, 3, 2]) {
    await page.getByRole("button", { name: "Fewer" }).click();
    await count(wanted);
  }
  await page.getByRole("button", { name: "Kill instance-2" }).click();
  await until(page, "it is gone", async () => {
    return (await page.locator("#faults li").last().locator(".process").textContent()) === "ended";
  });
  await page.getByRole("button", { name: "More" }).click();
  await until(page, "its number is given to a new one", async () => {
    return (await field(page, 2, "error").textContent()) === "" && (await rows.count()) === 2;
  });
});

test("an instance's own page has no controls of the demo", async (t) => {
  const demo = await startDemo(t, ["--instances", "2"]);
  const [page] = await open(demo, [1]);
  assert.equal(await page.locator("#fabric").isVisible(), false);
});

test("it works by keyboard alone at the width of a phone, and every control has a name", async (t) => {
  const demo = await startDemo(t);
  const [page] = await open(demo, [0], /^$/, 390);
  const fits = async () => {
    const [wanted, there] = await page.evaluate(() => {
      return [document.documentElement.scrollWidth, document.documentElement.clientWidth];
    });
    assert.ok(wanted <= there, `the page is ${wanted} wide, the window ${there}`);
  };
  await page.locator("#faults li").nth(2).waitFor();
  await fits();
  const focused = () => page.evaluate(() => document.activeElement.textContent.replace(/\s+/g, " ").trim());
  const press = async (name) => {
    for (let step = 0; (await focused()) !== name; step += 1) {
      assert.ok(step < 100, `${name} is not reached by the keyboard`);
      await page.keyboard.press("Tab");
    }
    await page.keyboard.press("Enter");
  };
  await press("Cut instance-2");
  await page.getByText("running, cut").waitFor();
  assert.equal(await focused(), "Heal instance-2", "the keyboard keeps its place");
  await page.keyboard.press("Enter");
  await until(page, "it is healed", async () => (await page.getByText("running, cut").count()) === 0);
  await press("Add setting");
  await page.keyboard.type("Colour");
  await page.keyboard.press("Tab");
  await page.keyboard.type("teal");
  await press("Save New Settings");
  await saved(page, 2);
  // One who does not see the page is told of it too.
  for (const status of ["#save-status", "#table-status", "#live"]) {
    assert.equal(await page.locator(status).getAttribute("role"), "status");
  }
  const nameless = await page.locator("button, input, textarea, a, svg[role=img]").evaluateAll((all) => {
    const labelled = (it) => document.getElementById(it.getAttribute("aria-labelledby"))?.textContent;
    const nameOf = (it) => it.textContent.trim() || labelled(it) || it.labels?.[0]?.textContent.trim();
    return all.filter((it) => !it.closest("template") && !nameOf(it)).map((it) => it.outerHTML);
  });
  assert.deepEqual(nameless, []);
  await fits();
});

test("a page of 50 instances stays usable", async (t) => {
  const demo = await startDemo(t, ["--instances", "50"], {}, 50);
  const [page] = await open(demo, [0]);
  const rows = page.locator("#instances tr");
  await until(page, "50 rows are there", async () => (await rows.count()) === 50);
  await change(page, "Site title", "Fifty");
  await save(page);
  await page.getByText(/Saved as version 2 by .* Applied at (instance-[0-9]+, ){48}instance-[0-9]+\./).waitFor();
  await until(page, "all show it", async () => {
    const versions = await page.locator("#instances [data-field=version]").allTextContents();
    return versions.length === 50 && versions.every((version) => version === "2");
  });
  // What is typed while all of it changes comes to stand there as typed.
  const words = "what is typed while fifty rows change";
  await page.locator(".setting [name=value]").nth(1).fill("");
  await page.locator(".setting [name=value]").nth(1).pressSequentially(words);
  assert.equal(await valueOf(page, "Welcome message"), words);
});
