// The page's own script: it shows what the instance streams to it, and saves. Nothing here polls, and
// what came from elsewhere is only ever put in as text.
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
    return { ok: response.ok, status: response.status, body, error: body?.error };
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
// Of a copy, which lives for an hour at most.
const timeOf = (date) => date.slice(11, -1);

// How long a row that has changed is marked, in milliseconds.
const MARKED = 4000;

function newRow() {
  return element("new-instance").content.firstElementChild.cloneNode(true);
}

const fieldOf = (row, name) => row.querySelector(`[data-field=${name}]`);
const text = (row, name) => fieldOf(row, name).textContent;

// Only what differs is touched, so that the keyboard and what is selected stay where they are.
function put(row, name, value) {
  if (text(row, name) !== String(value)) fieldOf(row, name).textContent = value;
}

function fill(row, instance) {
  const isSilent = instance.error !== undefined;
  put(row, "instance", instance.instance);
  put(row, "address", instance.address.replace("http://", ""));
  fieldOf(row, "own").hidden = instance.instance !== document.body.dataset.instance;
  fieldOf(row, "address").href = instance.address;
  fieldOf(row, "state").className = isSilent || instance.state.in_sync ? "" : "warn";
  put(row, "date", isSilent ? "–" : shown(instance.date));
  put(row, "version", isSilent ? "–" : instance.version);
  put(row, "state", isSilent ? "–" : instance.state.text);
  put(row, "healed", isSilent ? "" : (instance.state.healed?.text ?? ""));
  put(row, "loads", isSilent ? "–" : instance.loads);
  put(row, "hits", isSilent ? "–" : instance.hits);
  put(row, "last_flush", isSilent ? "–" : (instance.last_flush?.text ?? "–"));
  put(row, "loaded_at", isSilent ? "" : `copy loaded ${timeOf(instance.loaded_at)}`);
  put(row, "error", isSilent ? instance.error : "");
}

const age = (row) => `${text(row, "date")} ${text(row, "version")}`;

function mark(row) {
  row.classList.add("changed");
  clearTimeout(row.unmark);
  row.unmark = setTimeout(() => row.classList.remove("changed"), MARKED);
}

// Shows what each instance answered, and says what is new.
function showInstances(answers) {
  const before = new Map([...instances.children].map((row) => [text(row, "instance"), row]));
  const changed = [];
  const rows = answers.map((instance) => {
    const known = before.get(instance.instance);
    const row = known ?? newRow();
    const old = known && age(known);
    fill(row, instance);
    if (old !== age(row)) {
      mark(row);
      changed.push(instance.instance);
    }
    return row;
  });
  const isSame =
    rows.length === instances.children.length &&
    rows.every((row, index) => row === instances.children[index]);
  if (!isSame) instances.replaceChildren(...rows);
  element("count").textContent = rows.length === 1 ? "1 instance" : `${rows.length} instances`;
  if (changed.length > 0) {
    const at = new Date().toISOString().slice(11, 19);
    tell("table-status", `${at}: new date at ${changed.join(", ")}.`);
  }
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
  if (flush.applied.length > 0) parts.push(`Applied at ${list(flush.applied.map(({ node }) => node))}.`);
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
    original = JSON.stringify(typed());
  } else {
    const conflict = status === 409;
    const kept = conflict ? " What you typed is still here." : "";
    tell("save-status", `Not saved: ${error}.${kept}`, "bad");
    element("discard").hidden = !conflict;
  }
  busy(false);
}

// What the settings were when they were last shown or saved.
let original = "";
const isEdited = () => JSON.stringify(typed()) !== original;

// What was typed is left alone: it is for the reader to give it up.
async function onNewVersion(version) {
  if (isBusy || version <= Number(form.dataset.version)) return;
  if (!isEdited()) {
    await showNewest();
    return;
  }
  tell("save-status", `Version ${version} was saved elsewhere. What you typed is still here.`, "warn");
  element("discard").hidden = false;
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
  original = JSON.stringify(typed());
  tell("save-status", `These are the settings of version ${body.version}.`);
}

// ---- what the reader can do

form.addEventListener("submit", (event) => {
  event.preventDefault();
  save();
});
element("add").addEventListener("click", () => addSetting().querySelector("[name=name]").focus());
element("discard").addEventListener("click", async () => {
  await showNewest();
  element("save").focus();
});
settings.addEventListener("click", (event) => {
  const button = event.target.closest(".remove");
  if (button !== null) removeSetting(button.closest(".setting"));
});
settings.addEventListener("input", (event) => {
  if (event.target.name !== "name") return;
  const row = event.target.closest(".setting");
  row.querySelector("[data-field=removes]").textContent = ` ${event.target.value}`;
});

// ---- what the instance tells

// Until the next try, in milliseconds, where the browser does not try by itself.
const TRY_AGAIN = 1000;

function listen() {
  const events = new EventSource("/api/events");
  events.addEventListener("overview", (event) => {
    const overview = JSON.parse(event.data);
    showInstances(overview.rows);
    document.dispatchEvent(new CustomEvent("overview", { detail: overview }));
    onNewVersion(Math.max(...overview.rows.map(({ version }) => version ?? 0)));
  });
  events.addEventListener("open", () => {
    element("live").textContent = "live";
    element("live").className = "good";
  });
  events.addEventListener("error", () => {
    element("live").textContent = "not connected, trying again";
    element("live").className = "bad";
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, TRY_AGAIN);
  });
}

original = JSON.stringify(typed());
listen();
