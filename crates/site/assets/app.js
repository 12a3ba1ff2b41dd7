// The page's own script: it asks, saves and shows. Nothing here polls, and what came from elsewhere
// is only ever put in as text.
"use strict";

const element = (id) => document.getElementById(id);
const form = element("settings-form");
const settings = element("settings");
const instances = element("instances");

// What an answer is when there is none.
const NO_ANSWER = "This instance does not answer. Is the demo still running?";

async function ask(path, options) {
  try {
    const response = await fetch(path, options);
    const body = await response.json();
    return { ok: response.ok, status: response.status, body, error: body.error };
  } catch {
    return { ok: false, status: 0, body: {}, error: NO_ANSWER };
  }
}

function tell(id, text, tone = "") {
  const status = element(id);
  status.textContent = text;
  status.className = `status ${tone}`;
}

// ---- the table of instances

const shown = (date) => date.replace("T", " ").replace("Z", "");

function instanceRow(instance) {
  const row = element("new-instance").content.firstElementChild.cloneNode(true);
  const field = (name) => row.querySelector(`[data-field=${name}]`);
  field("instance").textContent = instance.instance;
  field("own").hidden = instance.instance !== document.body.dataset.instance;
  field("address").textContent = instance.address;
  field("address").href = instance.address;
  if (instance.error === undefined) {
    field("date").textContent = shown(instance.date);
    field("version").textContent = instance.version;
    field("state").textContent = instance.state.text;
    field("state").className = instance.state.in_sync ? "" : "warn";
    field("healed").textContent = instance.state.healed?.text ?? "";
    field("loaded_by").textContent = `${instance.loaded_by},`;
    field("loaded_at").textContent = `at ${shown(instance.loaded_at)}`;
  } else {
    field("date").textContent = "–";
    field("version").textContent = "–";
    field("state").textContent = "–";
    field("error").textContent = instance.error;
  }
  return row;
}

const text = (row, name) => row.querySelector(`[data-field=${name}]`).textContent;
const age = (row) => `${text(row, "date")} ${text(row, "version")}`;

// Asks all instances again; gives back what they answered, or nothing.
async function refresh() {
  const { ok, body, error } = await ask("/api/instances");
  if (!ok) {
    tell("table-status", error, "bad");
    return undefined;
  }
  const before = new Map([...instances.children].map((row) => [text(row, "instance"), age(row)]));
  const rows = body.map(instanceRow);
  const changed = rows.filter((row) => {
    const known = before.get(text(row, "instance"));
    return known !== undefined && known !== age(row);
  });
  for (const row of changed) row.classList.add("changed");
  instances.replaceChildren(...rows);
  const names = changed.map((row) => text(row, "instance"));
  const news = names.length === 0 ? "no date has changed" : `new date at ${names.join(", ")}`;
  tell("table-status", `Asked at ${shown(new Date().toISOString()).slice(11, 19)}: ${news}.`);
  return body;
}

// ---- the settings

function addSetting(name = "", value = "") {
  const row = element("new-setting").content.firstElementChild.cloneNode(true);
  row.querySelector("[name=name]").value = name;
  row.querySelector("[name=value]").value = value;
  row.querySelector("[data-field=removes]").textContent = ` ${name}`;
  settings.append(row);
  element("no-settings").hidden = true;
  return row;
}

function removeSetting(row) {
  const neighbour = row.nextElementSibling ?? row.previousElementSibling;
  row.remove();
  element("no-settings").hidden = settings.children.length > 0;
  (neighbour?.querySelector(".remove") ?? element("add")).focus();
}

function typed() {
  return [...settings.children].map((row) => ({
    name: row.querySelector("[name=name]").value.trim(),
    value: row.querySelector("[name=value]").value,
  }));
}

// One thing at a time: the next save has to be made from the version that this one gives. The
// buttons stay focusable, so that the keyboard does not lose its place.
let isBusy = false;

function busy(on) {
  isBusy = on;
  for (const button of [element("save"), element("discard")]) button.ariaDisabled = on;
}

function outcome({ instance, version, flush }) {
  const list = (names) => names.join(", ");
  const parts = [`Saved as version ${version} by ${instance}.`];
  if (flush.applied.length > 0) parts.push(`Applied at ${list(flush.applied)}.`);
  if (flush.fenced.length > 0) parts.push(`Cut off, and serving no copy: ${list(flush.fenced)}.`);
  for (const { node, reason } of flush.unconfirmed) parts.push(`Unconfirmed: ${node}, ${reason}.`);
  if (flush.error !== undefined) parts.push(`The flush failed: ${flush.error}.`);
  return parts.join(" ");
}

async function save() {
  if (isBusy) return;
  busy(true);
  element("discard").hidden = true;
  tell("save-status", "Saving …");
  const { ok, status, body, error } = await ask("/api/settings", {
    method: "PUT",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ version: Number(form.dataset.version), settings: typed() }),
  });
  if (ok) {
    form.dataset.version = body.version;
    const doubtful = body.flush.unconfirmed.length > 0 || body.flush.error !== undefined;
    tell("save-status", outcome(body), doubtful ? "warn" : "good");
    await refresh();
  } else {
    const conflict = status === 409;
    const kept = conflict ? " What you typed is still here." : "";
    tell("save-status", `Not saved: ${error}.${kept}`, "bad");
    element("discard").hidden = !conflict;
  }
  busy(false);
}

async function showNewest() {
  if (isBusy) return;
  busy(true);
  const { ok, body, error } = await ask("/api/settings");
  busy(false);
  if (!ok) {
    tell("save-status", error, "bad");
    return;
  }
  form.dataset.version = body.version;
  settings.replaceChildren();
  for (const { name, value } of body.settings) addSetting(name, value);
  element("no-settings").hidden = body.settings.length > 0;
  element("discard").hidden = true;
  tell("save-status", `These are the settings of version ${body.version}.`);
  element("save").focus();
  await refresh();
}

// ---- what the reader can do

form.addEventListener("submit", (event) => {
  event.preventDefault();
  save();
});
element("add").addEventListener("click", () => addSetting().querySelector("[name=name]").focus());
element("refresh").addEventListener("click", refresh);
element("discard").addEventListener("click", showNewest);
settings.addEventListener("click", (event) => {
  const button = event.target.closest(".remove");
  if (button !== null) removeSetting(button.closest(".setting"));
});
settings.addEventListener("input", (event) => {
  if (event.target.name !== "name") return;
  const row = event.target.closest(".setting");
  row.querySelector("[data-field=removes]").textContent = ` ${event.target.value}`;
});
