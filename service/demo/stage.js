// The pictures: what an attack did, and what the purifier made of it. Knows answers alone, not where they come from.

import { byId, duration, element } from "./dom.js";
import { greysOf, paintDifference, paintGreys } from "./pixels.js";
import { judge, verdict } from "./verdict.js";

const COLOURS = { brighter: [224, 92, 46], darker: [52, 120, 190] };
const STAGES = [
  ["decode", "reading the picture"],
  ["attack", "attack"],
  ["purify", "purifier"],
  ["classify", "classifier"],
];

/**
 * Show an answer, whose `adversarial` is null where nothing was attacked; `classNames` are those of its data set,
 * `roundTripMs` is what the browser measured.
 * Throws AbortError where the answer is not wanted any more.
 */
export async function show(answer, classNames, roundTripMs, signal) {
  const roles = ["clean", "adversarial", "purified"].filter((role) => answer[role] !== null);
  const greys = await Promise.all(roles.map((role) => greysOf(answer[role].image_png)));
  signal.throwIfAborted();
  const marks = judge(answer);
  roles.forEach((role, order) => picture(role, greys[order], answer[role], marks[role], classNames, answer.truth));
  if (answer.adversarial !== null) change(greys[0], greys[1], answer);
  byId("verdict").replaceChildren(...verdict(answer, marks, classNames));
  timings(answer.timings_ms, roundTripMs);
}

function picture(role, greys, view, mark, classNames, truth) {
  const figure = document.querySelector(`[data-role=${role}]`);
  figure.dataset.mark = mark ?? "";
  const canvas = figure.querySelector("canvas");
  paintGreys(canvas, greys);
  const title = figure.querySelector("h3").textContent;
  canvas.setAttribute("aria-label", `${title} picture, read as ${view.class_name}${mark === null ? "" : `: ${mark}`}`);
  figure.querySelector(".reads").replaceChildren(
    element("span", { class: "answer" }, element("span", { class: "visually-hidden" }, "read as "), view.class_name),
    ...(mark === null ? [] : [element("span", { class: "mark" }, mark)]),
  );
  const bars = figure.querySelector(".bars");
  if (bars.children.length !== view.probabilities.length) {
    bars.replaceChildren(...view.probabilities.map(() => bar()));
  }
  view.probabilities.forEach((probability, label) => {
    const row = bars.children[label];
    const [name, track, value] = row.children;
    name.textContent = classNames[label];
    track.firstChild.style.setProperty("--share", probability);
    value.textContent = (100 * probability).toFixed(1);
    row.classList.toggle("top", label === view.label);
    row.classList.toggle("truth", label === (truth ?? view.label)); // what nobody calls wrong is not shown as wrong
  });
}

function bar() {
  const track = element("span", { class: "track" }, element("span", { class: "fill" }));
  return element("li", {}, element("span", { class: "name" }), track, element("span", { class: "value" }));
}

function change(clean, adversarial, answer) {
  const figure = document.querySelector("[data-role=change]");
  const largest = Math.max(...clean.map((grey, pixel) => Math.abs(adversarial[pixel] - grey)));
  paintDifference(figure.querySelector("canvas"), clean, adversarial, largest, COLOURS);
  const { linf, l2 } = answer.perturbation;
  const factor = largest > 0 ? 255 / largest : 1;
  const amplified = largest > 0 ? `× ${factor.toFixed(factor < 10 ? 1 : 0)}` : "none";
  figure.querySelector(".reads").replaceChildren(
    element("span", { class: "answer" }, amplified),
    ...(largest > 0 ? [element("span", { class: "hint" }, "amplified")] : []),
  );
  figure.querySelector("canvas").setAttribute("aria-label", `The change, amplified ${amplified}`);
  figure.querySelector(".sizes").replaceChildren(
    ...term("largest, of a pixel", linf.toFixed(3)),
    ...term("allowed, ε", String(answer.parameters.eps ?? "any")),
    ...term("of all pixels (L2)", l2.toFixed(2)),
    ...term("attacker", answer.knowledge.replace("_", " ")),
  );
  byId("budget").hidden = answer.parameters.norm !== "linf" || answer.parameters.eps === undefined;
}

const term = (name, value) => [element("dt", {}, name), element("dd", {}, value)];

function timings(stages, roundTripMs) {
  const known = STAGES.filter(([name]) => name in stages).map(([name, title]) => [name, title, stages[name]]);
  const rest = Math.max(0, stages.total - known.reduce((sum, [, , ms]) => sum + ms, 0));
  const rows = [...known, ["other", "waiting, encoding", rest]];
  byId("timing-bar").replaceChildren(
    ...rows.map(([name, , ms]) => {
      const part = element("span", { "data-stage": name });
      part.style.setProperty("--share", stages.total > 0 ? ms / stages.total : 0);
      return part;
    }),
  );
  const items = rows.map(([name, title, ms]) => timing(name, title, duration(ms)));
  const total = timing("total", "in all", duration(stages.total));
  byId("timings").replaceChildren(...items, total, timing("trip", "seen from here", duration(roundTripMs)));
}

function timing(name, title, value) {
  return element("div", { "data-stage": name }, element("dt", {}, title), element("dd", {}, value));
}

