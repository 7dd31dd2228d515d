// What can be taken along: the request as curl, the page as a link.

import { byId } from "./dom.js";

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
