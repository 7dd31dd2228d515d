// The recorded results as a table; every number stands beside what its attacker knew.

import { byId, element } from "./dom.js";
import { attackTitle, defenseTitle } from "./names.js";

const LIMIT_EPS = 0.5;
const BEYOND = `* beyond the information limit: at ε ≥ ${LIMIT_EPS} any picture can be turned into a plain grey one, so such a figure tells of this attack only.`;
const SEVERAL = "Where an attack was measured more than once, the figure of the most images stands here; GET /results has all.";
// The strengths of the paper's tables, and the worst case at any; the others stand behind the button.
const HEADLINES = { none: 0, fgsm: 0.6, fgsm_least_likely: 0.6, pgd: 0.15, worst_case: null };
const ORDER = Object.keys(HEADLINES);

let all = false;

/** Show the rows of one data set: those without a purifier beside those with `defense`. */
export function showRecords(rows, dataset, defense) {
  // int8 answers nearly alike: its rows stand in the report.
  const known = rows.filter((row) => row.dataset === dataset && row.precision === "fp32");
  const mine = known.filter((row) => ["none", defense].includes(row.defense));
  const pairs = [...paired(mine).values()].sort(byAttack);
  const shown = pairs.filter((pair) => all || isHeadline(pair));
  byId("records-table").replaceChildren(...(mine.length > 0 ? table(shown, defense) : []));
  const notes = [shown.some(isBeyond) ? BEYOND : "", SEVERAL].filter(Boolean).join(" ");
  byId("records-notes").textContent =
    mine.length > 0 ? notes : "No results are recorded for the graphs that run here.";
  const button = byId("records-all");
  button.hidden = pairs.every(isHeadline);
  button.textContent = all ? "The main rows alone" : `All ${pairs.length} rows`;
  button.setAttribute("aria-expanded", all);
  button.onclick = () => {
    all = !all;
    showRecords(rows, dataset, defense);
  };
}

/** By attack, strength and knowledge: {row, none, defended}, each of the most images. */
function paired(rows) {
  const pairs = new Map();
  for (const row of rows) {
    const key = [row.attack, row.norm, row.eps, row.knowledge].join(" ");
    const pair = pairs.get(key) ?? { row, none: null, defended: null };
    const side = row.defense === "none" ? "none" : "defended";
    if (pair[side] === null || tellsMore(row, pair[side])) pair[side] = row;
    pairs.set(key, pair);
  }
  return pairs;
}

const isHeadline = ({ row }) => row.attack in HEADLINES && (HEADLINES[row.attack] ?? row.eps) === row.eps;
/** The row of more images; of worst cases first that of more attacks. */
const tellsMore = (row, other) =>
  row.attack === "worst_case" && row.restarts !== other.restarts ? row.restarts > other.restarts : row.n > other.n;
const isBeyond = ({ row }) => row.norm === "linf" && row.eps >= LIMIT_EPS;

function byAttack({ row: a }, { row: b }) {
  const place = ({ attack }) => (ORDER.includes(attack) ? ORDER.indexOf(attack) : ORDER.length);
  return place(a) - place(b) || a.attack.localeCompare(b.attack) || a.eps - b.eps || b.knowledge.localeCompare(a.knowledge);
}

function table(pairs, defense) {
  const head = ["Attack", "Attacker", "Images", "No purifier", `With ${defenseTitle(defense)}`];
  return [
    element("thead", {}, element("tr", {}, ...head.map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...pairs.map(line)),
  ];
}

function line(pair) {
  const { row, none, defended } = pair;
  const strength = row.attack === "none" ? "" : ` ${row.eps}${row.norm === "linf" ? "" : ` ${row.norm}`}${isBeyond(pair) ? "*" : ""}`;
  const images = [...new Set([none, defended].filter(Boolean).map(({ n }) => n.toLocaleString("en")))].join(" / ");
  const tag = element("span", { class: `tag ${row.knowledge}` }, row.knowledge.replace("_", " "));
  return element("tr", { "data-knowledge": row.knowledge },
    element("th", { scope: "row" }, `${attackTitle(row.attack)}${strength}`),
    element("td", {}, row.knowledge === "" ? "–" : tag),
    element("td", {}, images),
    accuracy(none),
    accuracy(defended));
}

function accuracy(row) {
  if (row === null) return element("td", {}, "–");
  const [value, low, high] = [row.robust_accuracy, row.ci_low, row.ci_high].map((share) => (100 * share).toFixed(1));
  return element("td", {}, `${value}\u00a0% `, element("span", { class: "interval" }, `[${low}, ${high}]`));
}
