// The controls of the demo: more or fewer instances, and faults. They are there only where the demo's
// own port serves the page; an instance alone knows nothing of them.
"use strict";

const fabric = element("fabric");
let token;
let wanted = 0;

async function showFabric() {
  const { ok, body } = await ask("/api/control");
  const isThere = ok && body !== null;
  fabric.hidden = !isThere;
  if (!isThere) return;
  token = body.token;
  const staying = body.instances.filter(({ state }) => ["running", "paused"].includes(state));
  wanted = staying.length;
  element("wanted").textContent = wanted;
  element("fewer").ariaDisabled = wanted <= 1;
  element("more").ariaDisabled = wanted >= body.most;
  const list = element("faults");
  const before = new Map([...list.children].map((item) => [item.dataset.name, item]));
  const items = body.instances.map(({ name, state, cut }) => {
    const item = before.get(name) ?? newFault(name);
    if (item.dataset.state !== `${state} ${cut}`) fillFault(item, state, cut);
    return item;
  });
  const isSame =
    items.length === list.children.length &&
    items.every((item, index) => item === list.children[index]);
  if (!isSame) list.replaceChildren(...items);
}

function newFault(name) {
  const item = element("new-fault").content.firstElementChild.cloneNode(true);
  item.dataset.name = name;
  for (const field of item.querySelectorAll("[data-field=name]")) field.textContent = name;
  return item;
}

function fillFault(item, state, cut) {
  item.dataset.state = `${state} ${cut}`;
  item.querySelector("[data-field=process]").textContent = cut ? `${state}, cut` : state;
  item.querySelector("[data-field=cut-verb]").textContent = cut ? "Heal" : "Cut";
  item.querySelector(".cut").dataset.action = cut ? "heal" : "cut";
  const isPaused = state === "paused";
  item.querySelector("[data-field=verb]").textContent = isPaused ? "Resume" : "Pause";
  item.querySelector(".pause").dataset.action = isPaused ? "resume" : "pause";
  for (const button of item.querySelectorAll("button")) {
    button.ariaDisabled = !["running", "paused"].includes(state);
  }
  // Who does nothing cannot be told to say nothing.
  if (isPaused) item.querySelector(".cut").ariaDisabled = true;
}

async function order(path, body) {
  const headers = { "Content-Type": "application/json", "X-Flushcast-Token": token };
  const answer = await ask(path, { method: "POST", headers, body: JSON.stringify(body) });
  tell("fabric-status", answer.ok ? "" : answer.error, "bad");
  await showFabric();
}

function scale(instances) {
  return order("/api/scale", { instances });
}

element("fewer").addEventListener("click", () => wanted > 1 && scale(wanted - 1));
element("more").addEventListener("click", () => scale(wanted + 1));
element("faults").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button === null || button.ariaDisabled === "true") return;
  const { name } = button.closest("li").dataset;
  order(`/api/instances/${encodeURIComponent(name)}/${button.dataset.action}`);
});
// Whenever the table has news, so may this.
document.addEventListener("overview", () => fabric.hidden || showFabric());
showFabric();
