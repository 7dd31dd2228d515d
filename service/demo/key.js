// The API key, where the service wants one. Kept for this tab alone, and in no address: not in links, not in logs.

const NAME = "purifier-key";
/** What stands for the key in texts to take along. */
export const PLACEHOLDER = "$PURIFIER_KEY";

let key = stored();

export const isKeyHeld = () => key !== "";

/** The header that presents the key. */
export const keyHeaders = () => (key === "" ? {} : { Authorization: `Bearer ${key}` });

/** Hold a key from now on; an empty one forgets it. */
export function holdKey(text) {
  key = text;
  try {
    if (key === "") sessionStorage.removeItem(NAME);
    else sessionStorage.setItem(NAME, key);
  } catch {
    // A browser without storage: it is held until the page is left.
  }
}

function stored() {
  try {
    return sessionStorage.getItem(NAME) ?? "";
  } catch {
    return "";
  }
}
