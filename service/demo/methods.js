// The attacks that the service knows, and how to speak of them.

import { askJson } from "./api.js";
import { attackTitle } from "./names.js";

const HINTS = {
  fgsm: "Asks the network once which way each pixel should move to hurt its answer (the gradient), and moves all by ε.",
  pgd: "Asks the network again and again which way each pixel should move to hurt its answer (the gradient), and goes there in small steps, never further than ε.",
};
const AIMS = {
  budget: "Looks for the worst picture within its budget",
  distance: "Looks for the nearest picture that fools",
};
const ACCESS = {
  gradients: "sees the network’s gradients.",
  scores: "sees the network’s logits alone.",
  decisions: "sees the network’s answers alone.",
};

/**
 * The methods: name, title, hint, whether one can be led to a class, its knowledge by target, and the parameters `eps`
 * and `steps`, null where a method has none.
 */
export const readMethods = async () => (await askJson("attacks")).methods.map(described);

function described({ method, title, aim, access, targeted, knowledge, norms, parameters }) {
  const [norm] = norms;
  const find = (wanted) => parameters[norm].find(({ name }) => name === wanted) ?? null;
  return {
    name: method,
    title: attackTitle(method, title),
    hint: HINTS[method] ?? `${AIMS[aim] ?? aim}; ${ACCESS[access] ?? access}`,
    targeted,
    knowledge,
    // The slider means the change of a pixel; a budget in another norm keeps the method's own default.
    eps: norm === "linf" ? find("eps") : null,
    steps: find("steps"),
  };
}
