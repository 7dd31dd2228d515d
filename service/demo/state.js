// What the visitor has chosen: one plain object, and the same as the fragment of a link. A fragment stays in the
// browser, so that a picture of one's own is in no server's log.

export const DEFAULTS = Object.freeze({
  dataset: "mnist",
  source: "samples",
  sample: 7,
  image: null, // a PNG of 28 x 28 greys in base64, where the source is not `samples`
  method: "pgd",
  eps: 0.15,
  steps: 40,
  target: "classifier",
  lead: null, // class to lead to, or none in particular
  defense: "autoencoder",
});

const NUMBERS = { sample: [0, 1e6], eps: [0, 1], steps: [1, 1000], lead: [0, 9] };
const CHOICES = { source: ["samples", "draw", "upload"], target: ["classifier", "pipeline"] };
const NAME = /^[a-z0-9_-]{1,40}$/;
const PNG = /^iVBORw0KGgo[A-Za-z0-9+/]{20,6000}={0,2}$/;

/** The fragment for a state, without what is as by default. */
export function toFragment(state) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    const idle = (name === "image" && state.source === "samples") || (name === "sample" && state.source !== "samples");
    if (value !== null && value !== DEFAULTS[name] && !idle) parameters.set(name, value);
  }
  const text = parameters.toString();
  return text ? `#${text}` : "";
}

/** The state that a fragment holds; what cannot be read in it stays as by default. */
export function fromFragment(fragment) {
  const state = { ...DEFAULTS };
  for (const [name, text] of new URLSearchParams(fragment.replace(/^#/, ""))) {
    const value = read(name, text);
    if (value !== undefined) state[name] = value;
  }
  if (state.source !== "samples" && state.image === null) state.source = DEFAULTS.source;
  return state;
}

function read(name, text) {
  if (name in NUMBERS) {
    const [least, most] = NUMBERS[name];
    const number = Number(text);
    const whole = name === "eps" || Number.isInteger(number);
    return text !== "" && whole && number >= least && number <= most ? number : undefined;
  }
  if (name in CHOICES) return CHOICES[name].includes(text) ? text : undefined;
  if (name === "image") return PNG.test(text) ? text : undefined;
  return name in DEFAULTS && NAME.test(text) ? text : undefined;
}
