// What can be taken along: the request as curl, the page as a link, the answer as JSON.

import { address } from "./api.js";
import { byId } from "./dom.js";

/** The request of a state: query and, for a picture of one's own, its base64. */
export function attackQuery(state, method) {
  return {
    dataset: state.dataset,
    method: state.method,
    eps: method.eps ? state.eps : null,
    steps: method.steps ? state.steps : null,
    target: state.target,
    target_label: method.targeted ? state.lead : null,
    defense: state.defense,
    sample: state.source === "samples" ? state.sample : null,
  };
}

/** The same request for a shell; complete, also with a picture of one's own. */
export function curlOf(query, image) {
  const url = `'${address("attack", query)}'`;
  if (image === null) return `curl -s -X POST ${url}`;
  return `echo '${image}' | base64 -d | curl -s --data-binary @- ${url}`;
}

/** Make the buttons copy what `curl()` and `link()` return. */
export function install({ curl, link }) {
  byId("copy-curl").addEventListener("click", () => copy(curl(), "The curl command is in the clipboard."));
  byId("copy-link").addEventListener("click", () => copy(link(), "The link is in the clipboard."));
}

async function copy(text, done) {
  const fallback = byId("to-copy");
  fallback.hidden = true;
  try {
    await navigator.clipboard.writeText(text);
    byId("copied").textContent = done;
  } catch {
    // Browsers give their clipboard to https and to this very machine alone.
    fallback.textContent = text;
    fallback.hidden = false;
    getSelection().selectAllChildren(fallback);
    byId("copied").textContent = "The browser keeps its clipboard to itself; the text is selected below.";
  }
}
