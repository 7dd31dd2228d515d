// The page: what is chosen goes into a request, its answer onto the stage. Every part gets what it needs from here.

import { installAnchors } from "./anchors.js";
import { patiently } from "./api.js";
import { Connection } from "./connection.js";
import { Controls } from "./controls.js";
import { Cost } from "./cost.js";
import { byId, say } from "./dom.js";
import { inventory } from "./inventory.js";
import { installKeyForm } from "./keyform.js";
import { Latest } from "./latest.js";
import { showRecords } from "./records.js";
import { answerTo, curlOf } from "./requests.js";
import { install } from "./share.js";
import { Sources } from "./sources.js";
import { show } from "./stage.js";
import { fromFragment, toFragment } from "./state.js";
import { Sweep } from "./sweep.js";

const NO_DEFENSE = "none";
let state = fromFragment(location.hash);
let known = null; // what the service has: see inventory.js
let answer = null;
let panelsOf = null; // the data set that the figures below are of

const method = () => known.methods.find(({ name }) => name === state.method);
const defenses = () => known.datasets[state.dataset].defenses.filter((name) => name !== NO_DEFENSE);

const attack = new Latest(async (signal) => {
  history.replaceState(null, "", toFragment(state) || location.pathname + location.search);
  byId("pictures").setAttribute("aria-busy", "true");
  const names = known.datasets[state.dataset].class_names;
  const began = performance.now();
  const patience = setInterval(() => {
    byId("working").textContent = `Computing for ${Math.round((performance.now() - began) / 1000)} s …`;
  }, 1000);
  try {
    const found = await patiently(() => answerTo(state, known, signal), signal, mentionWait);
    await show(found.shown, names, performance.now() - began, signal);
    answer = found.raw;
    byId("pictures").dataset.stale = false;
    say(byId("stage-error"), null);
    showRaw();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    mention(error);
  } finally {
    clearInterval(patience);
    byId("working").textContent = "";
  }
  byId("pictures").setAttribute("aria-busy", "false");
});

const begin = new Latest(async (signal) => {
  try {
    known = await patiently(inventory, signal, mentionWait);
    restore();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    mention(error);
  }
});

const connection = new Connection(() => begin.restart());

const sources = new Sources({
  onSample: (sample) => change({ source: "samples", sample, image: null }),
  onImage: (png, source) => change({ source, image: png }),
  onSource: (source) => source === "samples" && change({ source, image: null }),
});

const controls = new Controls({
  onDataset: (dataset) => {
    sources.drop();
    state = { ...state, dataset, lead: null };
    restore();
  },
  onChange: (change, isSlider) => {
    state = { ...state, ...change };
    if (change.method) state.steps = method().steps?.default ?? state.steps;
    controls.describe(state, method());
    if (change.defense) showRecords(known.rows, state.dataset, state.defense);
    if (isSlider) attack.wish();
    else attack.restart();
  },
});

const sweep = new Sweep(
  () => ({ dataset: state.dataset, defense: state.defense, method: method(), listing: known.listings[state.dataset] }),
  connection,
);
const cost = new Cost(() => ({ dataset: state.dataset, defenses: defenses() }), connection);

const curl = () => curlOf(state, known);
install({ curl, link: () => location.href });
installAnchors();
installKeyForm(() => begin.restart());
byId("raw").addEventListener("toggle", showRaw);
addEventListener("hashchange", () => {
  sources.drop();
  state = fromFragment(location.hash);
  if (known) restore();
});
connection.check();

/** An error of the stage, in words and where it occurred; the pictures are of what was chosen before. */
function mention(error) {
  byId("verdict").textContent = "No answer to show.";
  byId("pictures").dataset.stale = true;
  say(byId("stage-error"), error);
  connection.suspect(error);
}

function mentionWait(problem) {
  say(byId("stage-error"), new Error(`${problem.message} This page then asks again by itself.`));
  connection.suspect(problem);
}

function change(changes) {
  state = { ...state, ...changes };
  if (known) attack.restart();
}

/** Bring every part of the page in line with the state, corrected to what the service has. */
function restore() {
  if (!(state.dataset in known.datasets)) state.dataset = Object.keys(known.datasets)[0];
  if (!method()) state.method = known.methods[0].name;
  if (!defenses().includes(state.defense)) [state.defense] = defenses();
  const listing = known.listings[state.dataset];
  if (state.sample >= listing.samples.length) state.sample = 0;
  document.body.dataset.attacks = known.attacks ? "on" : "off";
  byId("no-attacks").hidden = known.attacks;
  controls.fill(known, state, defenses());
  controls.describe(state, method());
  sources.list(state.dataset, listing);
  sources.show(state.source, state.source === "samples" ? state.sample : null);
  sources.recall(state.source, state.image);
  if (state.dataset !== panelsOf) {
    sweep.clear();
    cost.clear();
    panelsOf = state.dataset;
  }
  sweep.offer(known.attacks);
  cost.offer(known.benchmarks);
  showRecords(known.rows, state.dataset, state.defense);
  attack.restart();
}

function showRaw() {
  if (!byId("raw").open || answer === null) return;
  byId("curl").textContent = curl();
  byId("json").textContent = JSON.stringify(answer, null, 2);
}
