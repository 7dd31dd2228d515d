// The attacks that the service knows, and how to speak of them.

import { askJson, sentence } from "./api.js";
import { attackTitle } from "./names.js";

const HINTS = {
  fgsm: "One full step, every pixel by ε, along the gradient’s sign.",
  bim: "Small steps along the gradient’s sign.",
  pgd: "Many small steps along the gradient, from a random start, no pixel ever further than ε.",
};
const FALLBACK = ["fgsm", "pgd"];

/**
 * The methods: name, title, hint, and the limits of `eps` and `steps`, null where a method has no such parameter.
 * Read from GET /attacks where the service has it, else from the API's description.
 */
export async function readMethods() {
  const api = await askJson("openapi.json");
  if (api.paths["/attacks"]) {
    const listing = await askJson("attacks");
    const entries = listing.attacks ?? listing.methods ?? [];
    if (entries.length > 0) return entries.map(described);
  }
  const method = api.paths["/attack"]?.post?.parameters?.find((parameter) => parameter.name === "method");
  const names = method?.schema?.enum ?? FALLBACK;
  return names.map((name) => described({ name, parameters: builtIn(name) }));
}

function described({ name, title, summary, norm, parameters }) {
  const list = Array.isArray(parameters)
    ? parameters
    : Object.entries(parameters ?? {}).map(([key, value]) => ({ name: key, ...value }));
  const find = (wanted) => list.find((parameter) => parameter.name === wanted) ?? null;
  const norms = [norm ?? "linf"].flat();
  return {
    name,
    title: title ?? attackTitle(name),
    hint: HINTS[name] ?? (summary ? sentence(summary) : ""),
    // Only budgets in L-inf go on the slider, whose range means pixels.
    eps: norms.includes("linf") ? find("eps") : null,
    steps: find("steps"),
  };
}

function builtIn(name) {
  return name === "fgsm" ? [{ name: "eps" }] : [{ name: "eps" }, { name: "steps" }];
}
