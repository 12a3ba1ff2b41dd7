// Takes the pictures of docs/start.md from a demo that it starts: `npm --prefix e2e run tour`.
import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

import { FLAGS, startDemo } from "./harness.mjs";

const FOLDER = fileURLToPath(new URL("../docs/tour/", import.meta.url));

const endings = [];
const demo = await startDemo({ after: (end) => endings.push(end) });
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: FLAGS });
const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });

async function picture(name, sections) {
  await page.evaluate(() => scrollTo(0, 0));
  const boxes = await Promise.all(sections.map((it) => page.locator(it).boundingBox()));
  const [first, last] = [boxes[0], boxes.at(-1)];
  const clip = { x: 0, width: 1280, y: first.y - 16, height: last.y + last.height - first.y + 32 };
  await page.screenshot({ path: `${FOLDER}${name}.png`, clip, fullPage: true });
}

const state = (instance) => page.locator("#instances tr").nth(instance - 1).locator("[data-field=state]");
const version = (instance) => page.locator("#instances tr").nth(instance - 1).locator("[data-field=version]");
const seen = (locator, text) => locator.filter({ hasText: text }).waitFor();

async function save(value, by) {
  const { version: newest, settings } = await demo.get(by, "/api/settings");
  await demo.save(by, newest, settings.map((it) => (it.name === "Site title" ? { ...it, value } : it)));
}

await mkdir(FOLDER, { recursive: true });
await demo.get(3, "/api/copy");
await page.goto(demo.at(0));
await page.getByText("live", { exact: true }).waitFor();
await picture("instances", ["header", "section[aria-labelledby=instances-title]"]);

for (const [index, title] of ["Southwind", "Northwind", "Eastwind"].entries()) {
  await save(title, index + 1);
}
await seen(version(3), "4");
await picture("saved", ["section[aria-labelledby=instances-title]"]);

await page.getByRole("button", { name: "Cut instance-3" }).click();
await page.getByText("running, cut").waitFor();
await save("Westwind", 1);
await seen(state(3), "cut off");
await seen(version(3), "5");
await picture("cut", [
  "section[aria-labelledby=instances-title]",
  "section[aria-labelledby=pictures-title]",
  "#fabric",
]);

await page.getByRole("button", { name: "Heal instance-3" }).click();
for (const instance of [1, 2, 3]) await seen(state(instance), "in sync");
await picture("healed", ["section[aria-labelledby=instances-title]"]);

await browser.close();
for (const end of endings) await end();
