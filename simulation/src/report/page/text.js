"use strict";
// The run, and how its figures are written.

const run = JSON.parse(document.getElementById("run").textContent);
const finding = run.finding;

const plain = new Intl.NumberFormat("en");
const count = (n) => plain.format(n);

/** A point in time: 12.34 s, 3:05.2 in a long run. */
function when(ms, digits = 2) {
  if (run.end < 600_000) return `${(ms / 1000).toFixed(digits)} s`;
  const minutes = Math.floor(ms / 60_000);
  const seconds = ((ms % 60_000) / 1000).toFixed(Math.max(digits - 1, 0));
  return `${minutes}:${seconds.padStart(digits > 1 ? digits + 2 : 2, "0")}`;
}

/** A span of time: 797 ms, 2.81 s, 12.5 s. */
function span(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${Number((ms / 1000).toFixed(ms < 9_995 ? 2 : 1))} s`;
}

const many = (n, one, more = `${one}s`) => `${count(n)} ${n === 1 ? one : more}`;

/** 99.96 %, but never 100 % of what was not all. */
function share(part, whole) {
  if (whole === 0) return "–";
  if (part === whole) return "100 %";
  const percent = Math.min((100 * part) / whole, 99.99);
  return `${percent.toFixed(percent >= 99 ? 2 : 1)} %`;
}

/** An element; children may be strings, elements or nothing. Text is never read as HTML. */
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";
function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const MARKS = {
  held: "M3.5 8.5l3 3 6-7",
  broke: "M4 4l8 8M12 4l-8 8",
  untried: "M4 8h8",
};

/** A tick, a cross, a dash: told by shape as well as by colour. */
function mark(verdict, text) {
  const path = svg("path", { d: MARKS[verdict], fill: "none", stroke: "currentColor", "stroke-width": 2.2, "stroke-linecap": "round", "stroke-linejoin": "round" });
  return el("span", { class: `mark ${verdict}` }, svg("svg", { width: 16, height: 16, "aria-hidden": "true" }, path), text);
}

/** The last step that has begun at a time, of a track whose steps begin with it. */
function stepAt(track, time) {
  let low = 0;
  let high = track.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (track[middle][0] <= time) low = middle + 1;
    else high = middle;
  }
  return low > 0 ? track[low - 1] : null;
}

/** Calls back with [from, to, step] for the steps of a track that touch a span. */
function eachStep(track, from, to, visit) {
  for (let index = 0; index < track.length; index += 1) {
    const ends = index + 1 < track.length ? track[index + 1][0] : run.end;
    if (ends < from) continue;
    if (track[index][0] > to) break;
    visit(track[index][0], ends, track[index]);
  }
}

const nodeName = (index) => run.nodes[index].name;
const regionClass = (region) => `f-r${region % 8}`;
