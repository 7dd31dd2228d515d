// Two figures in SVG: accuracy against a strength, and accuracy against a time. Knows only numbers and names.

import { drawn } from "./dom.js";

const WIDTH = 640;
const HEIGHT = 380;
const LEFT = 52;
const RIGHT = 18;
const TOP = 16;
const BOTTOM = 50;
const SHARES = [0, 0.25, 0.5, 0.75, 1];

const down = (share) => TOP + (1 - share) * (HEIGHT - TOP - BOTTOM);
const across = (share) => LEFT + share * (WIDTH - LEFT - RIGHT);

/**
 * Lines of accuracy: `series` are {name, label, points: [{x, y, low, high}]}, x from 0 to `most`. `name` is the style.
 */
export function accuracyLines(series, { most, ticks, title, xTitle }) {
  const place = (x) => across(x / most);
  const svg = frame(title, xTitle, ticks.map((x) => [place(x), String(x)]));
  for (const { name, points } of series) {
    const group = drawn("g", { class: `series ${name}` });
    const path = points.map(({ x, y }) => `${place(x)},${down(y)}`).join(" ");
    group.append(drawn("polyline", { points: path, class: "line" }));
    for (const { x, y, low, high } of points) {
      if (low !== null) group.append(drawn("line", { x1: place(x), x2: place(x), y1: down(low), y2: down(high), class: "whisker" }));
      group.append(marker(name, place(x), down(y)));
    }
    svg.append(group);
  }
  return svg;
}

/** Points of accuracy against milliseconds, on a logarithmic axis: {name, label, ms, y, low, high}. */
export function accuracyAgainstTime(points, { title, xTitle, least, most }) {
  const log = (ms) => Math.log10(ms / least) / Math.log10(most / least);
  const ticks = [];
  for (let ms = least; ms <= most * 1.001; ms *= 10) {
    ticks.push([across(log(ms)), ms >= 1000 ? `${ms / 1000} s` : `${Number(ms.toPrecision(1))} ms`]);
  }
  const svg = frame(title, xTitle, ticks);
  for (const { name, label, ms, y, low, high } of points) {
    const group = drawn("g", { class: `series ${name}` });
    const x = across(log(ms));
    if (low !== null) group.append(drawn("line", { x1: x, x2: x, y1: down(low), y2: down(high), class: "whisker" }));
    group.append(marker(name, x, down(y)));
    const end = x > WIDTH * 0.7;
    group.append(drawn("text", { x: end ? x - 10 : x + 10, y: down(y) + 4, class: "name", "text-anchor": end ? "end" : "start" }, label));
    svg.append(group);
  }
  return svg;
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

function frame(title, xTitle, ticks) {
  const svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "plot", "aria-label": title });
  for (const share of SHARES) {
    svg.append(drawn("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: down(share), y2: down(share), class: "grid" }));
    svg.append(drawn("text", { x: LEFT - 10, y: down(share) + 4, "text-anchor": "end" }, `${100 * share} %`));
  }
  for (const [x, text] of ticks) {
    svg.append(drawn("line", { x1: x, x2: x, y1: down(0), y2: down(0) + 5, class: "axis" }));
    svg.append(drawn("text", { x, y: down(0) + 20, "text-anchor": "middle" }, text));
  }
  svg.append(drawn("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: down(0), y2: down(0), class: "axis" }));
  svg.append(drawn("text", { x: across(0.5), y: HEIGHT - 6, "text-anchor": "middle", class: "title" }, xTitle));
  return svg;
}

/** Shapes differ as well as colours. */
function marker(name, x, y) {
  if (name === "undefended") return drawn("path", { d: `M${x - 4} ${y - 4}l8 8m0-8l-8 8`, class: "cross" });
  if (name === "adaptive") return drawn("path", { d: `M${x} ${y - 6}l6 6l-6 6l-6-6z`, class: "dot" });
  return drawn("circle", { cx: x, cy: y, r: name === "paper" ? 5 : 4.5, class: "dot" });
}
