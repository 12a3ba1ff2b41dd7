// Two pictures of what the instances tell: how far out of date the copies were that they served, and
// how soon each flush was applied. Drawn from what is streamed to the page, and kept nowhere else.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
// What the chart of ages shows, in milliseconds, and how often it moves on.
const SPAN = 60_000;
const STEP = 500;
const WIDTH = 480;
const [TOP, BOTTOM, LEFT] = [12, 132, 44];
const bound = Number(document.body.dataset.bound) * 1000;
const COLOURS = 6;

// By instance: what it was at which moment.
const ages = new Map();
let newest = [];

function shape(kind, attributes, words = "") {
  const it = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) it.setAttribute(name, value);
  it.textContent = words;
  return it;
}

const seconds = (millis) => `${(millis / 1000).toFixed(1)} s`;
// Who read while a flush was on its way was late by less than can be told in tenths of a second.
const lateness = (millis) => (millis < 100 ? `${millis} ms` : seconds(millis));

// What is out of date is told anew at each step; what is not is told once.
function sample(isNews) {
  const now = Date.now();
  for (const { instance, behind } of newest) {
    if (!ages.has(instance)) ages.set(instance, []);
    if (isNews || behind === 0) ages.get(instance).push({ at: now, behind });
  }
  for (const [instance, samples] of ages) {
    const kept = samples.filter(({ at }) => at > now - SPAN);
    if (kept.length > 0) ages.set(instance, kept);
    else ages.delete(instance);
  }
  drawAges(now);
}

function drawAges(now) {
  const oldest = [...ages].map(([instance, samples], index) => {
    return { instance, samples, index, most: Math.max(...samples.map(({ behind }) => behind)) };
  });
  const top = Math.max(bound * 1.2, ...oldest.map(({ most }) => most));
  const x = (at) => LEFT + (WIDTH - LEFT) * (1 - (now - at) / SPAN);
  const y = (age) => BOTTOM - (BOTTOM - TOP) * (age / top);
  const shapes = [
    shape("line", { class: "axis", x1: LEFT, x2: WIDTH, y1: y(0), y2: y(0) }),
    shape("line", { class: "bound", x1: LEFT, x2: WIDTH, y1: y(bound), y2: y(bound) }),
    shape("text", { x: 0, y: y(0) + 4 }, "0 s"),
    shape("text", { x: 0, y: y(bound) + 4 }, seconds(bound)),
    shape("text", { x: LEFT + 4, y: y(bound) - 5 }, "the bound"),
    shape("text", { x: LEFT, y: BOTTOM + 16 }, "a minute ago"),
    shape("text", { x: WIDTH, y: BOTTOM + 16, "text-anchor": "end" }, "now"),
  ];
  oldest.forEach(({ samples }, index) => {
    const points = samples.map(({ at, behind }) => `${x(at).toFixed(1)},${y(behind).toFixed(1)}`);
    shapes.push(shape("polyline", { class: `age line-${index % COLOURS}`, points: points.join(" ") }));
  });
  const late = oldest.filter(({ most }) => most > 0).sort((one, other) => other.most - one.most);
  late.slice(0, 3).forEach(({ instance, samples, index, most }) => {
    const peak = samples.find(({ behind }) => behind === most);
    const isLeft = x(peak.at) > WIDTH / 2;
    const place = { x: x(peak.at) + (isLeft ? -6 : 6), y: y(most) + 14, class: `peak line-${index % COLOURS}` };
    shapes.push(shape("text", { ...place, "text-anchor": isLeft ? "end" : "start" }, instance));
  });
  element("ages").replaceChildren(...shapes);
  const told = late.slice(0, 3).map(({ instance, most }) => `${instance}, ${lateness(most)}`);
  const words = late.length === 0 ? "Nobody has served one that was out of date." : `${told.join("; ")}.`;
  if (element("ages-told").textContent !== words) element("ages-told").textContent = words;
}

// ---- flushes

// A bar is as long as the logarithm of its time, from a tenth of a millisecond to ten seconds.
const barOf = (millis) => Math.min(100, Math.max(2, (Math.log10(millis) + 1) * 20));
const inWords = (millis) => (millis < 10 ? `${millis.toFixed(1)} ms` : `${millis.toFixed(0)} ms`);

function fillFlush(item, { from, version, at, came_to }) {
  const field = (name) => item.querySelector(`[data-field=${name}]`);
  field("at").textContent = new Date(at).toISOString().slice(11, 23);
  field("what").textContent = `version ${version} from ${from}`;
  const last = came_to?.applied.at(-1);
  field("bar").setAttribute("width", last ? barOf(last.after) : 0);
  const doubtful = came_to?.unconfirmed.length > 0 || came_to?.error !== undefined;
  field("told").className = doubtful ? "warn" : "quiet";
  field("told").textContent = toldOf(came_to);
}

function toldOf(verdict) {
  if (verdict === null) return "waiting for the others";
  if (verdict.error !== undefined) return verdict.error;
  const last = verdict.applied.at(-1);
  const parts = [last ? `applied at ${verdict.applied.length}, the last in ${inWords(last.after)}` : "applied at no other"];
  if (verdict.fenced.length > 0) parts.push(`cut off: ${verdict.fenced.join(", ")}`);
  for (const { node } of verdict.unconfirmed) parts.push(`${node} unconfirmed`);
  return parts.join("; ");
}

function showFlushes(flushes) {
  const list = element("flushes");
  const before = new Map([...list.children].map((item) => [item.dataset.version, item]));
  const items = flushes.map((flush) => {
    const known = before.get(String(flush.version));
    const item = known ?? element("new-flush").content.firstElementChild.cloneNode(true);
    item.dataset.version = flush.version;
    const told = JSON.stringify(flush);
    if (item.told !== told) fillFlush(item, flush);
    item.told = told;
    return item;
  });
  list.replaceChildren(...items);
  element("no-flushes").hidden = flushes.length > 0;
}

document.addEventListener("overview", ({ detail: { rows, flushes } }) => {
  newest = rows.filter(({ error }) => error === undefined);
  showFlushes(flushes);
  sample(true);
});
setInterval(sample, STEP, false);
