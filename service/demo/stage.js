// The three pictures: what an attack did, and what the purifier made of it. Knows the answer of POST /attack alone.

import { byId, duration, element } from "./dom.js";
import { greysOf, paintDifference, paintGreys } from "./pixels.js";

const COLOURS = { brighter: [224, 92, 46], darker: [52, 120, 190] };
const STAGES = [
  ["decode", "reading the picture"],
  ["attack", "attack"],
  ["purify", "purifier"],
  ["classify", "classifier"],
];

/**
 * Show an answer; `classNames` are those of its data set, `roundTripMs` is what the browser measured.
 * Throws AbortError where the answer is not wanted any more.
 */
export async function show(answer, classNames, roundTripMs, signal) {
  const [clean, adversarial, purified] = await Promise.all(
    ["clean", "adversarial", "purified"].map((role) => greysOf(answer[role].image_png)),
  );
  signal.throwIfAborted();
  const truth = answer.true_label ?? answer.parameters.label;
  const judged = judge(answer, truth);
  picture("clean", clean, answer.clean, judged.clean, classNames, truth);
  picture("adversarial", adversarial, answer.adversarial, judged.adversarial, classNames, truth);
  picture("purified", purified, answer.purified, judged.purified, classNames, truth);
  change(clean, adversarial, answer);
  byId("verdict").replaceChildren(...verdict(answer, judged, classNames[truth]));
  timings(answer.timings_ms, roundTripMs);
}

/** Which answer is right, wrong or rescued. */
export function judge(answer, truth) {
  const right = (role) => answer[role].label === truth;
  const after = right("purified") ? (right("adversarial") ? "right" : "rescued") : "wrong";
  return {
    clean: right("clean") ? "right" : "wrong",
    adversarial: right("adversarial") ? "right" : "wrong",
    purified: after,
  };
}

function picture(role, greys, view, mark, classNames, truth) {
  const figure = document.querySelector(`[data-role=${role}]`);
  figure.dataset.mark = mark;
  const canvas = figure.querySelector("canvas");
  paintGreys(canvas, greys);
  const title = figure.querySelector("h3").textContent;
  canvas.setAttribute("aria-label", `${title} picture, read as ${view.class_name}: ${mark}`);
  figure.querySelector(".reads").replaceChildren(
    element("span", { class: "answer" }, element("span", { class: "visually-hidden" }, "read as "), view.class_name),
    element("span", { class: "mark" }, mark),
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
    row.classList.toggle("truth", label === truth);
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
  figure.querySelector(".reads").replaceChildren(element("span", { class: "answer" }, amplified));
  figure.querySelector("canvas").setAttribute("aria-label", `The change, amplified ${amplified}`);
  figure.querySelector(".sizes").replaceChildren(
    ...term("largest", linf.toFixed(3)),
    ...term("length (L2)", l2.toFixed(2)),
    ...term("allowed", String(answer.parameters.eps ?? "any")),
    ...term("attacker", answer.knowledge.replace("_", " ")),
  );
  byId("budget").hidden = answer.parameters.norm !== "linf" || answer.parameters.eps === undefined;
}

const term = (name, value) => [element("dt", {}, name), element("dd", {}, value)];

/** The story in one sentence, the turning points marked. */
function verdict(answer, judged, truth) {
  const strong = (text, mark) => element("strong", { "data-mark": mark }, text);
  if (judged.clean === "wrong") {
    const start = `Even untouched, the network takes this ${truth} for `;
    const end = answer.purified.label === answer.clean.label ? "; so it does purified." : `; purified, for ${answer.purified.class_name}.`;
    return [start, strong(answer.clean.class_name, "wrong"), end];
  }
  const after = { right: "right", rescued: "rescued", wrong: "wrong" }[judged.purified];
  const purified = [strong(answer.purified.class_name, judged.purified)];
  if (judged.adversarial === "right") {
    const held = [`The network reads ${truth}, attacked and all`];
    if (after === "right") return [...held, "; purified it reads ", ...purified, " too."];
    return [...held, "; but purified it reads ", ...purified, "."];
  }
  const start = [`The network reads ${truth}. Attacked, it reads `, strong(answer.adversarial.class_name, "wrong"), "."];
  if (after === "rescued") return [...start, " Purified, ", ...purified, " again: ", strong("rescued", "rescued"), "."];
  return [...start, " Purified, it reads ", ...purified, ": not rescued."];
}

function timings(stages, roundTripMs) {
  const known = STAGES.map(([name, title]) => [name, title, stages[name] ?? 0]);
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

