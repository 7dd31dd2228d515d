// Asks for an API key where the service refuses, and forgets it on demand.

import { refusals } from "./api.js";
import { byId, say } from "./dom.js";
import { holdKey, isKeyHeld } from "./key.js";

const HEADER_VALUE = /^[\x21-\x7e]+$/;

/** Show the form when a key is wanted; `onKey()` is called when one was given or forgotten. */
export function installKeyForm(onKey) {
  const [form, field] = [byId("key-form"), byId("key")];
  const give = (text) => {
    holdKey(text);
    field.value = "";
    form.hidden = true;
    byId("key-forget").hidden = !isKeyHeld();
    onKey();
  };
  refusals.addEventListener("refused", ({ detail }) => {
    say(byId("key-error"), isKeyHeld() ? detail : null);
    form.hidden = false;
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = field.value.trim();
    if (HEADER_VALUE.test(text)) give(text);
    else say(byId("key-error"), new Error("A key has letters, digits and signs, without spaces."));
  });
  byId("key-forget").addEventListener("click", () => give(""));
  byId("key-forget").hidden = !isKeyHeld();
}
