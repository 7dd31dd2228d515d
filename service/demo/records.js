// The recorded results as a table; every number stands beside what its attacker knew.

import { byId, element } from "./dom.js";
import { attackTitle, defenseTitle } from "./names.js";

const LIMIT_EPS = 0.5;

/** Show the rows of one data set: those without a purifier beside those with `defense`. */
export function showRecords(rows, dataset, defense) {
  const mine = rows.filter((row) => row.dataset === dataset && ["none", defense].includes(row.defense));
  const table = byId("records-table");
  if (mine.length === 0) {
    table.replaceChildren();
    byId("records-notes").textContent = "No results are recorded for the graphs that run here.";
    return;
  }
  const groups = grouped(mine);
  const head = ["Attack", "ε", "Attacker", "Images", "Without purifier", `With ${defenseTitle(defense)}`];
  const lines = [...groups.values()].sort(byAttack).map((group) => line(group, defense));
  table.replaceChildren(
    element("thead", {}, element("tr", {}, ...head.map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...lines),
  );
  const beyond = mine.some((row) => row.norm === "linf" && row.eps >= LIMIT_EPS);
  byId("records-notes").textContent = beyond
    ? "* beyond the information limit: at ε ≥ 0.5 any picture can be turned into a plain grey one, so such a figure tells of this attack only."
    : "";
}

const keyOf = (row) => [row.attack, row.norm, row.eps, row.knowledge, row.steps, row.restarts, row.n].join(" ");

function grouped(rows) {
  const groups = new Map();
  for (const row of rows) groups.set(keyOf(row), [...(groups.get(keyOf(row)) ?? []), row]);
  return groups;
}

function byAttack([a], [b]) {
  return a.attack.localeCompare(b.attack) || a.eps - b.eps || b.knowledge.localeCompare(a.knowledge);
}

function line(group, defense) {
  const [row] = group;
  const beyond = row.norm === "linf" && row.eps >= LIMIT_EPS ? "*" : "";
  const of = (name) => group.find((candidate) => candidate.defense === name);
  return element("tr", { "data-knowledge": row.knowledge },
    element("th", { scope: "row" }, attackTitle(row.attack)),
    element("td", {}, `${row.eps}${beyond}${row.norm === "linf" ? "" : ` ${row.norm}`}`),
    element("td", {}, element("span", { class: `tag ${row.knowledge}` }, row.knowledge.replace("_", " "))),
    element("td", {}, row.n.toLocaleString("en")),
    accuracy(of("none")),
    accuracy(of(defense)));
}

function accuracy(row) {
  if (row === undefined) return element("td", {}, "–");
  const [value, low, high] = [row.robust_accuracy, row.ci_low, row.ci_high].map((share) => (100 * share).toFixed(1));
  return element("td", {}, `${value} %`, element("span", { class: "interval" }, ` [${low}, ${high}]`));
}
