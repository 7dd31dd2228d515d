// Table 3: the latency of each loaded purifier, measured now, against the accuracy that was recorded.

import { askJson, patiently } from "./api.js";
import { byId, duration, element, percent, say } from "./dom.js";
import { defenseTitle } from "./names.js";
import { accuracyAgainstTime, Figure, legend } from "./plot.js";

const UNDER = "FGSM, ε 0.6, oblivious";
const ALSO = "PGD, ε 0.15, oblivious";
const SERIES = [
  { name: "defended", label: "measured here" },
  { name: "paper", label: "the paper, on its hardware" },
];
const LEAST_MS = 0.01;
const MOST_MS = 100_000;

export class Cost {
  #run = null;
  #figure = new Figure(byId("cost-figure"));

  /** `choice()` gives {dataset, defenses}. */
  constructor(choice, connection) {
    this.choice = choice;
    this.connection = connection;
    byId("cost-start").addEventListener("click", () => this.#start());
    this.clear();
  }

  /** Whether the server takes benchmarks. */
  offer(offered) {
    byId("cost-start").disabled = !offered;
    if (offered) return;
    byId("cost-status").textContent = "This server’s operator has not switched timing on (PURIFIER_BENCHMARKS=true).";
  }

  /** Empty axes: what stood there was of another data set. */
  clear() {
    this.#run?.abort();
    say(byId("cost-error"), null);
    byId("cost-status").textContent = "";
    this.#draw([], []);
  }

  async #start() {
    this.#run?.abort();
    const run = new AbortController();
    this.#run = run;
    const { dataset, defenses } = this.choice();
    say(byId("cost-error"), null);
    byId("cost-start").disabled = true;
    const measured = [];
    try {
      for (const [number, defense] of defenses.entries()) {
        byId("cost-status").textContent = `Timing ${defenseTitle(defense)}, ${number + 1} of ${defenses.length} …`;
        const query = { dataset, defense, batch: 1, repeats: 50 };
        const ask = () => askJson("latency/benchmark", { method: "POST", query, signal: run.signal });
        const answer = await patiently(ask, run.signal, ({ message }) => { byId("cost-status").textContent = message; });
        measured.push(point(defense, answer));
        this.#draw(measured, dataset === "mnist" ? answer.paper : [], answer.paper_note);
      }
      byId("cost-status").textContent = "50 timed calls each; of what is slow as many as ten seconds hold.";
    } catch (error) {
      if (error.name !== "AbortError") {
        byId("cost-status").textContent = "";
        say(byId("cost-error"), error);
        this.connection.suspect(error);
      }
    } finally {
      if (this.#run === run) byId("cost-start").disabled = false;
    }
  }

  #draw(measured, paper, note = "") {
    const printed = paper.map((row) => ({
      name: "paper", label: printedTitle(row), ms: 1000 * row.seconds_per_image, y: row.robust_accuracy, low: null, high: null,
    }));
    const points = [...measured.filter(({ ms, y }) => ms !== null && y !== null), ...printed];
    const words = points.map(({ label, ms, y }) => `${label} ${duration(ms)}, ${percent(y)}`).join("; ");
    const axes = {
      title: `Accuracy under ${UNDER} against purification time: ${words || "nothing measured yet"}`,
      xTitle: "time to purify one picture, logarithmic",
      least: LEAST_MS,
      most: MOST_MS,
    };
    const caption = `Accuracy: recorded, fp32; the figure shows that under ${UNDER}.${paper.length > 0 ? ` The paper’s rows: ${note}.` : ""}`;
    const below = measured.length > 0 ? [table(measured, paper), element("p", { class: "hint" }, caption)] : [];
    const used = SERIES.filter(({ name }) => points.length === 0 || points.some((one) => one.name === name));
    this.#figure.show((width) => [legend(used), accuracyAgainstTime(points, { ...axes, width }), ...below]);
  }
}

/** What the paper calls an auto-encoder is its own, not ours. */
const printedTitle = ({ defense }) => defenseTitle(defense === "autoencoder" ? "autoencoder_paper" : defense);

/** A defense that is another classifier purifies nothing: its time to purify is null, and that for both its own. */
function point(defense, answer) {
  const stage = (name) => answer.rows.find((timing) => timing.stage === name)?.per_image_ms ?? null;
  const { clean, fgsm, pgd } = answer.accuracies[0];
  return {
    name: "defended",
    label: defenseTitle(defense),
    ms: stage("purify"),
    classify: stage("classify"),
    pipeline: stage("pipeline") ?? stage("classify"),
    clean: clean?.accuracy ?? null,
    pgd: pgd?.accuracy ?? null,
    y: fgsm?.accuracy ?? null,
    low: fgsm?.ci_low ?? null,
    high: fgsm?.ci_high ?? null,
  };
}

function table(measured, paper) {
  const columns = ["Defense", "purify", "classify", "all in one graph", "clean", UNDER, ALSO];
  const head = element("tr", {}, ...columns.map((name) => element("th", { scope: "col" }, name)));
  const cell = (value, format) => element("td", {}, value === null ? "–" : format(value));
  const rows = measured.map(({ label, ms, classify, pipeline, clean, y, pgd }) =>
    element("tr", {}, element("th", { scope: "row" }, label),
      cell(ms, duration), cell(classify, duration), cell(pipeline, duration),
      cell(clean, percent), cell(y, percent), cell(pgd, percent)));
  const printed = paper.map((row) =>
    element("tr", { class: "paper" }, element("th", { scope: "row" }, `${printedTitle(row)}, as printed`),
      cell(1000 * row.seconds_per_image, duration), cell(null), cell(null),
      cell(null), cell(row.robust_accuracy, percent), cell(null)));
  return element("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": "Measured latencies" },
    element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows, ...printed)));
}
