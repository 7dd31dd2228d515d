// What the service has to offer, read once it answers.

import { askJson } from "./api.js";
import { byId, say } from "./dom.js";
import { readMethods } from "./methods.js";

/**
 * Data sets, test images, attacks and recorded rows; `attacks` and `benchmarks` say whether these are switched on.
 * Throws what `askJson` throws.
 */
export async function inventory() {
  // Alone at first: where the service wants a key, one refusal says so, and not four.
  const { datasets, switched_off: off } = await askJson("models");
  const [samples, methods, rows] = await Promise.all([askJson("samples"), readMethods(), recorded()]);
  return {
    datasets,
    listings: samples.datasets,
    methods,
    rows,
    attacks: !off.includes("/attack"),
    benchmarks: !off.includes("/latency/benchmark"),
  };
}

/** The recorded rows; without them the rest of the page still works. */
async function recorded() {
  try {
    const { rows } = await askJson("results");
    say(byId("records-error"), null);
    return rows;
  } catch (error) {
    say(byId("records-error"), error);
    return [];
  }
}
