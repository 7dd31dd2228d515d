// The choices beside the pictures. Knows what can be chosen, not what comes of it.

import { byId, element } from "./dom.js";
import { datasetTitle, defenseTale, defenseTitle } from "./names.js";

const KNOWLEDGE = {
  oblivious: "Oblivious: it does not know that a purifier stands in front. The paper’s setting.",
  adaptive: "Adaptive: it follows the gradient through the purifier too. The harder test.",
  black_box: "Black box: it asks the pair for answers, and sees neither.",
};
const LIMIT_EPS = 0.5;
const MOST_STEPS = 100;

export class Controls {
  /** `onDataset(name)`; `onChange(changes, isSlider)` with the changed part of the state. */
  constructor({ onDataset, onChange }) {
    byId("controls").addEventListener("submit", (event) => event.preventDefault());
    byId("datasets").addEventListener("change", (event) => onDataset(event.target.value));
    for (const name of ["eps", "steps"]) {
      byId(name).addEventListener("input", (event) => onChange({ [name]: Number(event.target.value) }, true));
    }
    for (const name of ["method", "defense"]) {
      byId(name).addEventListener("change", (event) => onChange({ [name]: event.target.value }, false));
    }
    byId("lead").addEventListener("change", ({ target }) =>
      onChange({ lead: target.value === "" ? null : Number(target.value) }, false));
    for (const radio of document.querySelectorAll("[name=target]")) {
      radio.addEventListener("change", () => onChange({ target: radio.value }, false));
    }
  }

  /** Offer what the service has, with the state's choice chosen. */
  fill({ datasets, methods }, state, defenses) {
    const radios = Object.keys(datasets).map((name) => radio("dataset", name, datasetTitle(name)));
    byId("datasets").replaceChildren(...radios);
    document.querySelector(`[name=dataset][value="${state.dataset}"]`).checked = true;
    fillSelect(byId("method"), methods.map(({ name, title }) => [name, title]), state.method);
    fillSelect(byId("defense"), defenses.map((name) => [name, defenseTitle(name)]), state.defense);
    const classes = datasets[state.dataset].class_names.map((name, label) => [label, name]);
    fillSelect(byId("lead"), [["", "anything else"], ...classes], state.lead ?? "");
    document.querySelector(`[name=target][value=${state.target}]`).checked = true;
  }

  /** Show the values of the state, and what they mean. */
  describe(state, method) {
    const { maximum = MOST_STEPS, default: usual = 1 } = method.steps ?? {};
    byId("steps").max = Math.min(maximum, Math.max(MOST_STEPS, usual));
    byId("eps").value = state.eps;
    byId("steps").value = state.steps;
    byId("eps-value").textContent = state.eps.toFixed(2);
    byId("steps-value").textContent = state.steps;
    byId("eps-field").hidden = !method.eps;
    byId("steps-field").hidden = !method.steps;
    byId("lead").disabled = !method.targeted;
    document.querySelector("[data-role=purified] .tale").textContent = defenseTale(state.defense);
    byId("method-hint").textContent = method.hint;
    byId("knowledge-hint").textContent = KNOWLEDGE[method.knowledge[state.target]] ?? method.knowledge[state.target];
    byId("eps-hint").textContent =
      state.eps >= LIMIT_EPS
        ? "Beyond the information limit: from 0.5 on any picture can be made plain grey."
        : "The largest change of a pixel, where black is 0 and white is 1.";
  }
}

function radio(name, value, title) {
  return element("label", {}, element("input", { type: "radio", name, value }), element("span", {}, title));
}

function fillSelect(select, options, chosen) {
  select.replaceChildren(...options.map(([value, title]) => element("option", { value }, title)));
  select.value = chosen;
}
