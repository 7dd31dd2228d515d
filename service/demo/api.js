// Talks to the service. Knows its addresses and how its errors read, and nothing of the page.

/** An answer that is an error; its message is the service's own sentence. */
export class Problem extends Error {
  constructor(status, detail, retryAfterS) {
    super(detail);
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

/** No answer at all: the service is down, or the network is. */
export class Unreachable extends Error {
  constructor() {
    super("The service does not answer.");
  }
}

/** The absolute address of a path of the service, also behind a proxy's prefix. */
export function address(path, query = {}) {
  const url = new URL(path.replace(/^\//, ""), document.baseURI);
  url.hash = "";
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined) url.searchParams.set(name, value);
  }
  return url.href;
}

/**
 * The answer to a request.
 * Throws Problem, Unreachable, or the AbortError of the signal in `options`.
 */
export async function ask(path, { query, ...options } = {}) {
  let response;
  try {
    response = await fetch(address(path, query), options);
  } catch (error) {
    throw error.name === "AbortError" ? error : new Unreachable();
  }
  if (response.ok) return response;
  throw await problemOf(response);
}

/** As `ask`, with the JSON of the answer. */
export async function askJson(path, options) {
  const response = await ask(path, options);
  try {
    return await response.json();
  } catch (error) {
    throw error.name === "AbortError" ? error : new Unreachable();
  }
}

async function problemOf(response) {
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  let detail = null;
  try {
    detail = (await response.json()).detail;
  } catch {
    // Not ours: a proxy's error page, say. The status must do.
  }
  return new Problem(response.status, sentence(detail ?? `The answer was ${response.status} ${response.statusText}.`), retryAfter);
}

/** Text as a sentence: a capital, unless it begins with a parameter's name, and a full stop. */
export function sentence(text) {
  const trimmed = text.trim();
  const ended = /[.!?…]$/.test(trimmed) ? trimmed : `${trimmed}.`;
  return /^[a-z]+\b(?![_=-])/.test(ended) ? ended[0].toUpperCase() + ended.slice(1) : ended;
}

/** Base64 to bytes, and back. */
export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

export function base64Of(bytes) {
  return btoa(String.fromCharCode(...bytes));
}

export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
