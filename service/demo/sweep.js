// Accuracy against eps, computed live: every test image is attacked at every strength, one request at a time, so that
// the pictures above stay quick meanwhile. All points grow together, image by image.

import { askJson, patiently } from "./api.js";
import { byId, duration, element, percent, say } from "./dom.js";
import { datasetTitle, defenseTitle } from "./names.js";
import { accuracyLines, Figure, legend } from "./plot.js";

const STRENGTHS = { fgsm: [0.1, 0.2, 0.3, 0.4, 0.5], other: [0.05, 0.1, 0.15, 0.2, 0.3] };
const STEPS = 10; // where a method walks: quick enough to wait for, and said beside the figure
const SERIES = [
  { name: "undefended", label: "no purifier" },
  { name: "defended", label: "purifier, unknown to the attacker (oblivious)" },
  { name: "adaptive", label: "purifier, known to the attacker (adaptive)" },
];
const Z = 1.96;

export class Sweep {
  #run = null;
  #figure = new Figure(byId("sweep-figure"));

  /** `choice()` gives {dataset, method, defense, listing} as they stand. */
  constructor(choice, connection) {
    this.choice = choice;
    this.connection = connection;
    byId("sweep-start").addEventListener("click", () => this.#start());
    byId("sweep-cancel").addEventListener("click", () => this.cancel());
    this.clear();
  }

  cancel() {
    this.#run?.abort();
  }

  /** Whether the server runs attacks. */
  offer(offered) {
    byId("sweep-start").disabled = !offered;
    if (offered) return;
    byId("sweep-status").textContent = "This server’s operator has not switched attacks on (PURIFIER_ATTACKS=true).";
  }

  /** Empty axes: what stood there was of another data set. */
  clear() {
    this.cancel();
    say(byId("sweep-error"), null);
    byId("sweep-status").textContent = "";
    this.#draw([], STRENGTHS.other, "nothing computed yet");
  }

  async #start() {
    const { dataset, method, defense, listing } = this.choice();
    say(byId("sweep-error"), null);
    if (!method.eps) {
      say(byId("sweep-error"), new Error(`${method.title} has no ε to vary. Choose another method above: PGD, say.`));
      return;
    }
    const samples = listing.samples.slice(0, Number(byId("sweep-n").value));
    const strengths = STRENGTHS[method.name] ?? STRENGTHS.other;
    const tally = new Tally(strengths);
    const common = { dataset, defense, method: method.name, steps: method.steps ? STEPS : null };
    const run = new AbortController();
    this.#run = run;
    const what = `${method.title}${method.steps ? ` with ${STEPS} steps` : ""}, ${datasetTitle(dataset)}, ${defenseTitle(defense)}`;
    const strength = method.steps
      ? "More steps, and more attacks, would leave less; the recorded rows below took more."
      : "One step is a weak attack: who knows the purifier does better with PGD.";
    this.#busy(true);
    const began = performance.now();
    try {
      for (const sample of samples) {
        for (const eps of strengths) {
          for (const target of ["classifier", "pipeline"]) {
            const query = { ...common, target, eps, sample: sample.index, label: sample.label };
            const ask = () => askJson("attack", { method: "POST", query, signal: run.signal });
            tally.count(target, eps, await patiently(ask, run.signal, this.#wait), sample.label);
            this.#progress(tally.answers, samples.length * strengths.length * 2, performance.now() - began);
          }
        }
        tally.finish();
        this.#draw(tally.series(), strengths, what, { images: tally.images, strength });
      }
      byId("sweep-status").textContent = `${tally.images} test images in ${duration(performance.now() - began)}.`;
    } catch (error) {
      if (error.name === "AbortError") {
        byId("sweep-status").textContent = `Cancelled after ${tally.images} of ${samples.length} test images.`;
      } else {
        say(byId("sweep-error"), error);
        this.connection.suspect(error);
      }
    } finally {
      if (this.#run === run) this.#busy(false);
    }
  }

  #wait({ message }) {
    byId("sweep-status").textContent = message;
  }

  #busy(busy) {
    byId("sweep-start").hidden = busy;
    byId("sweep-cancel").hidden = !busy;
    byId("sweep-progress").hidden = !busy;
    byId("sweep-progress").value = 0;
    if (busy) byId("sweep-cancel").focus();
    else if (document.activeElement === document.body) byId("sweep-start").focus();
  }

  #progress(done, all, elapsedMs) {
    byId("sweep-progress").value = done / all;
    // Not at each answer: a screen reader would read them all.
    if (done % 10 === 0) {
      byId("sweep-status").textContent = `${done} of ${all} attacks; about ${duration((elapsedMs / done) * (all - done))} to go.`;
    }
  }

  #draw(series, strengths, what, { images = 0, strength = "" } = {}) {
    const most = strengths.at(-1);
    const title = `Accuracy against eps: ${what}${series.length > 0 ? `. ${inWords(series)}` : ""}`;
    const axes = { most, ticks: [0, ...strengths], title, xTitle: "ε, the largest change of a pixel" };
    const below = [];
    if (images > 0) {
      const caption = `${what}; ${images} test images, whiskers: 95 % intervals. ${strength}`;
      below.push(element("p", { class: "hint" }, caption), table(series, strengths));
    }
    this.#figure.show((width) => [legend(SERIES), accuracyLines(series, { ...axes, width }), ...below]);
  }
}

/** Right answers, by series and strength; an image counts when it was attacked at every strength. */
class Tally {
  constructor(strengths) {
    this.strengths = strengths;
    this.images = 0;
    this.answers = 0;
    this.right = Object.fromEntries(SERIES.map(({ name }) => [name, new Map([0, ...strengths].map((eps) => [eps, 0]))]));
    this.fresh = [];
  }

  count(target, eps, answer, label) {
    this.answers += 1;
    if (eps === this.strengths[0] && target === "classifier") {
      this.fresh.push(["undefended", 0, answer.clean.label === label]);
      for (const name of ["defended", "adaptive"]) this.fresh.push([name, 0, answer.defended_clean.label === label]);
    }
    const defended = answer.purified.label === label;
    if (target === "pipeline") this.fresh.push(["adaptive", eps, defended]);
    else this.fresh.push(["undefended", eps, answer.adversarial.label === label], ["defended", eps, defended]);
  }

  finish() {
    for (const [name, eps, right] of this.fresh) this.right[name].set(eps, this.right[name].get(eps) + Number(right));
    this.fresh = [];
    this.images += 1;
  }

  series() {
    return SERIES.map(({ name, label }) => ({
      name,
      label,
      points: [...this.right[name]].map(([x, right]) => ({ x, ...wilson(right, this.images) })),
    }));
  }
}

/** A share with its 95 % interval (Wilson). */
export function wilson(right, n) {
  const share = right / n;
  const middle = (share + (Z * Z) / (2 * n)) / (1 + (Z * Z) / n);
  const half = (Z / (1 + (Z * Z) / n)) * Math.sqrt((share * (1 - share)) / n + (Z * Z) / (4 * n * n));
  return { y: share, low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}

function inWords(series) {
  return series.map(({ label, points }) => `${label}: ${percent(points[0].y, 0)} to ${percent(points.at(-1).y, 0)}`).join("; ");
}

function table(series, strengths) {
  const head = element("tr", {}, element("th", { scope: "col" }, "ε"));
  for (const { label } of series) head.append(element("th", { scope: "col" }, label));
  const body = [0, ...strengths].map((eps, row) =>
    element("tr", {}, element("th", { scope: "row" }, String(eps)),
      ...series.map(({ points }) => element("td", {}, percent(points[row].y, 0)))));
  const grid = element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
  return element("details", {}, element("summary", {}, "The numbers"), grid);
}
