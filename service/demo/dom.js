// The few things that every part of the page does to the document.

export const byId = (id) => document.getElementById(id);

/** An element with attributes and children. */
export function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function drawn(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** Say an error in words where it occurred; null takes it away. */
export function say(node, error) {
  const words = error?.message ?? "";
  node.hidden = words === "";
  // Not again, lest a screen reader reads it again.
  if (node.textContent !== words) node.textContent = words;
}

export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;

/** Milliseconds, or seconds where they are many, with about three digits. */
export function duration(ms) {
  if (ms >= 10_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)} s`;
  return `${ms.toFixed(ms >= 100 ? 0 : ms >= 10 ? 1 : 2)} ms`;
}
