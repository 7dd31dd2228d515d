// Who was right: the judgement of each picture, and the story in one sentence. Knows answers, and no pictures.

import { element } from "./dom.js";

/** By picture: right, wrong or rescued; null where the truth is not known or there is no such picture. */
export function judge({ truth, clean, adversarial, purified }) {
  const mark = (view) => (view === null || truth === null ? null : view.label === truth ? "right" : "wrong");
  const marks = { clean: mark(clean), adversarial: mark(adversarial), purified: mark(purified) };
  if (marks.purified === "right" && marks.adversarial === "wrong") marks.purified = "rescued";
  return marks;
}

/** The story: text and elements, with the turning points marked. */
export function verdict(answer, marks, classNames) {
  const { clean, purified } = answer;
  const name = strong(purified.class_name, marks.purified);
  if (marks.clean === "wrong") {
    const start = [`Even untouched, the network takes this ${classNames[answer.truth]} for `, strong(clean.class_name, "wrong")];
    return [...start, ...(purified.label === clean.label ? ["; so it does purified."] : ["; purified, for ", name, "."])];
  }
  const reads = `The network reads ${clean.class_name}`;
  return answer.adversarial === null ? unattacked(reads, answer, name) : attacked(reads, answer, marks, name);
}

function attacked(reads, { adversarial }, marks, name) {
  if (marks.adversarial === "right") {
    if (marks.purified === "right") return [`${reads}, attacked and all; purified it reads `, name, " too."];
    return [`${reads}, attacked and all; but purified it reads `, name, "."];
  }
  const start = [`${reads}. Attacked, it reads `, strong(adversarial.class_name, "wrong"), "."];
  if (marks.purified === "rescued") return [...start, " Purified, ", name, " again: ", strong("rescued", "rescued"), "."];
  return [...start, " Purified, it reads ", name, ": not rescued."];
}

function unattacked(reads, { clean, purified }, name) {
  if (purified.label === clean.label) return [`${reads}; purified it reads `, name, " too."];
  return [`${reads}; purified it reads `, name, ". That the two differ may be the sign of an attack."];
}

const strong = (text, mark) => element("strong", { "data-mark": mark }, text);
