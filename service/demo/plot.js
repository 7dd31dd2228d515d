// Two figures in SVG: accuracy against a strength, and accuracy against a time. Knows only numbers and names.

import { drawn } from "./dom.js";

const HEIGHT = 380;
const LEFT = 60;
const RIGHT = 18;
const TOP = 16;
const BOTTOM = 50;
const SHARES = [0, 0.25, 0.5, 0.75, 1];
const [NARROWEST, WIDEST] = [300, 860];
// Where a name may stand, from its point: the nearest place that no other name has taken.
const PLACES = [-11, 20, 36, 52, 68, 84];
const [LETTER, LINE] = [7.4, 15]; // about the width of one, and a line's height

const down = (share) => TOP + (1 - share) * (HEIGHT - TOP - BOTTOM);
const across = (share, width) => LEFT + share * (width - LEFT - RIGHT);

/** Fill a container with the nodes that `build(width)` returns, and again when its width changes. */
export class Figure {
  #container;
  #build = null;
  #width = 0;

  constructor(container) {
    this.#container = container;
    new ResizeObserver(() => this.#fit()).observe(container);
  }

  show(build) {
    this.#build = build;
    this.#width = 0;
    this.#fit();
  }

  #fit() {
    const width = Math.min(WIDEST, Math.max(NARROWEST, this.#container.clientWidth));
    if (this.#build === null || width === this.#width) return;
    this.#width = width;
    this.#container.replaceChildren(...this.#build(width));
  }
}

/**
 * Lines of accuracy: `series` are {name, label, points: [{x, y, low, high}]}, x from 0 to `most`. `name` is the style.
 */
export function accuracyLines(series, { most, ticks, title, xTitle, width }) {
  const place = (x) => across(x / most, width);
  const svg = frame({ title, xTitle, width, ticks: ticks.map((x) => [place(x), String(x)]), empty: series.length === 0 });
  series.forEach(({ name, points }, order) => {
    const group = drawn("g", { class: `series ${name}` });
    // A little apart, so that whiskers at the same place can be told.
    const left = (x) => place(x) + 4 * (order - (series.length - 1) / 2);
    const path = points.map(({ x, y }) => `${left(x)},${down(y)}`).join(" ");
    group.append(drawn("polyline", { points: path, class: "line" }));
    for (const { x, y, low, high } of points) group.append(whisker(left(x), low, high), marker(name, left(x), down(y)));
    svg.append(group);
  });
  return svg;
}

/** Points of accuracy against milliseconds, on a logarithmic axis: {name, label, ms, y, low, high}. */
export function accuracyAgainstTime(points, { title, xTitle, least, most, width }) {
  const log = (ms) => Math.log10(ms / least) / Math.log10(most / least);
  const ticks = [];
  for (let ms = least; ms <= most * 1.001; ms *= width < 450 ? 100 : 10) {
    ticks.push([across(log(ms), width), ms >= 1000 ? `${ms / 1000} s` : `${Number(ms.toPrecision(1))} ms`]);
  }
  const svg = frame({ title, xTitle, width, ticks, empty: points.length === 0 });
  // A mark is as much in the way of a name as another name.
  const taken = points.map(({ ms, y }) => ({ left: across(log(ms), width) - 6, right: across(log(ms), width) + 6, y: down(y) + 4 }));
  for (const { name, label, ms, y, low, high } of points) {
    const group = drawn("g", { class: `series ${name}` });
    const x = across(log(ms), width);
    if (low !== null) group.append(whisker(x, low, high));
    const place = free(taken, x, down(y), label.length * LETTER, width);
    taken.push(place);
    if (place.isFar) group.append(drawn("line", { x1: x, x2: x, y1: down(y), y2: place.y - LINE + 3, class: "whisker" }));
    const text = drawn("text", { x: (place.left + place.right) / 2, y: place.y, class: "name", "text-anchor": "middle" }, label);
    group.append(marker(name, x, down(y)), text);
    svg.append(group);
  }
  return svg;
}

/** The nearest free place for a text of that length at a point: {left, right, y, isFar}, y its base line. */
function free(taken, x, y, length, width) {
  const left = Math.max(LEFT, Math.min(x - length / 2, width - length));
  const places = PLACES.map((offset) => ({ left, right: left + length, y: y + offset, isFar: offset > LINE + 5 }));
  const meets = (one) => (other) =>
    one.left < other.right && other.left < one.right && Math.abs(one.y - other.y) < LINE;
  return places.find((place) => !taken.some(meets(place))) ?? places[0];
}

/** The names of the series, each with its mark. */
export function legend(series) {
  const list = document.createElement("ul");
  list.className = "legend";
  for (const { name, label } of series) {
    const item = document.createElement("li");
    const mark = drawn("svg", { viewBox: "-14 -8 28 16", width: 28, height: 16, "aria-hidden": "true" });
    const group = drawn("g", { class: `series ${name}` });
    group.append(drawn("line", { x1: -13, x2: 13, y1: 0, y2: 0, class: "line" }), marker(name, 0, 0));
    mark.append(group);
    item.append(mark, label);
    list.append(item);
  }
  return list;
}

function frame({ title, xTitle, width, ticks, empty }) {
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", class: "plot", "aria-label": title });
  for (const share of SHARES) {
    svg.append(drawn("line", { x1: LEFT, x2: width - RIGHT, y1: down(share), y2: down(share), class: "grid" }));
    svg.append(drawn("text", { x: LEFT - 14, y: down(share) + 4, "text-anchor": "end" }, `${100 * share} %`));
  }
  for (const [x, text] of ticks) {
    svg.append(drawn("line", { x1: x, x2: x, y1: down(0), y2: down(0) + 5, class: "axis" }));
    svg.append(drawn("text", { x, y: down(0) + 20, "text-anchor": "middle" }, text));
  }
  svg.append(drawn("line", { x1: LEFT, x2: width - RIGHT, y1: down(0), y2: down(0), class: "axis" }));
  svg.append(drawn("text", { x: across(0.5, width), y: HEIGHT - 6, "text-anchor": "middle", class: "title" }, xTitle));
  if (empty) svg.append(drawn("text", { x: across(0.5, width), y: down(0.5) - 14, "text-anchor": "middle" }, "nothing computed yet"));
  return svg;
}

const whisker = (x, low, high) => drawn("line", { x1: x, x2: x, y1: down(low), y2: down(high), class: "whisker" });

/** Shapes differ as well as colours. */
function marker(name, x, y) {
  if (name === "undefended") return drawn("path", { d: `M${x - 4} ${y - 4}l8 8m0-8l-8 8`, class: "cross" });
  if (name === "adaptive") return drawn("path", { d: `M${x} ${y - 6}l6 6l-6 6l-6-6z`, class: "dot" });
  return drawn("circle", { cx: x, cy: y, r: name === "paper" ? 5 : 4.5, class: "dot" });
}
