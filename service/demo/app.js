// The page: what is chosen goes into a request, its answer onto the stage. Every part gets what it needs from here.

import { askJson, bytesOf } from "./api.js";
import { Connection } from "./connection.js";
import { Controls } from "./controls.js";
import { Cost } from "./cost.js";
import { byId, say } from "./dom.js";
import { Latest } from "./latest.js";
import { readMethods } from "./methods.js";
import { showRecords } from "./records.js";
import { attackQuery, curlOf, install } from "./share.js";
import { Sources } from "./sources.js";
import { show } from "./stage.js";
import { fromFragment, toFragment } from "./state.js";
import { Sweep } from "./sweep.js";

const NO_DEFENSE = "none";
let state = fromFragment(location.hash);
let known = null; // what the service has: {datasets, listings, methods, rows}
let answer = null;

const method = () => known.methods.find(({ name }) => name === state.method);
const defenses = () => known.datasets[state.dataset].defenses.filter((name) => name !== NO_DEFENSE);
const image = () => (state.source === "samples" ? null : state.image);

const attack = new Latest(async (signal) => {
  history.replaceState(null, "", toFragment(state) || location.pathname + location.search);
  byId("pictures").setAttribute("aria-busy", "true");
  const own = image();
  const body = own === null ? {} : { body: bytesOf(own), headers: { "Content-Type": "image/png" } };
  const names = known.datasets[state.dataset].class_names;
  const began = performance.now();
  const patience = setInterval(() => {
    byId("working").textContent = `Computing for ${Math.round((performance.now() - began) / 1000)} s …`;
  }, 1000);
  try {
    const found = await askJson("attack", { method: "POST", query: attackQuery(state, method()), signal, ...body });
    await show(found, names, performance.now() - began, signal);
    answer = found;
    say(byId("stage-error"), null);
    showRaw();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    say(byId("stage-error"), error);
    connection.suspect(error);
  } finally {
    clearInterval(patience);
    byId("working").textContent = "";
  }
  byId("pictures").setAttribute("aria-busy", "false");
});

const connection = new Connection(async () => {
  try {
    known ??= await whatThereIs();
    restore();
  } catch (error) {
    say(byId("stage-error"), error);
    connection.suspect(error);
  }
});

const sources = new Sources({
  onSample: (sample) => change({ source: "samples", sample, image: null }),
  onImage: (png, source) => change({ source, image: png }),
  onSource: (source) => source === "samples" && change({ source, image: null }),
});

const controls = new Controls({
  onDataset: (dataset) => {
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
const cost = new Cost(() => ({ dataset: state.dataset, defenses: defenses(), rows: known.rows }), connection);

const curl = () => curlOf(attackQuery(state, method()), image());
install({ curl, link: () => location.href });
byId("raw").addEventListener("toggle", showRaw);
addEventListener("hashchange", () => {
  state = fromFragment(location.hash);
  if (known) restore();
});
connection.check();

async function whatThereIs() {
  const [models, samples, methods, results] = await Promise.all([
    askJson("models"),
    askJson("samples"),
    readMethods(),
    recorded(),
  ]);
  return { datasets: models.datasets, listings: samples.datasets, methods, rows: results };
}

/** The recorded rows; without them the rest of the page still works. */
async function recorded() {
  try {
    return (await askJson("results")).rows;
  } catch (error) {
    say(byId("records-error"), error);
    return [];
  }
}

function change(changes) {
  state = { ...state, ...changes };
  attack.restart();
}

/** Bring every part of the page in line with the state, corrected to what the service has. */
function restore() {
  if (!(state.dataset in known.datasets)) state.dataset = Object.keys(known.datasets)[0];
  if (!method()) state.method = known.methods[0].name;
  if (!defenses().includes(state.defense)) [state.defense] = defenses();
  const listing = known.listings[state.dataset];
  if (state.sample >= listing.samples.length) state.sample = 0;
  controls.fill(known, state, defenses());
  controls.describe(state, method());
  sources.list(state.dataset, listing, state.sample);
  sources.show(state.source, state.source === "samples" ? state.sample : null);
  if (state.source === "draw") sources.redraw(state.image);
  sweep.clear();
  cost.clear();
  showRecords(known.rows, state.dataset, state.defense);
  attack.restart();
}

function showRaw() {
  if (!byId("raw").open || answer === null) return;
  byId("curl").textContent = curl();
  byId("json").textContent = JSON.stringify(answer, null, 2);
}
