// Talks to the service. Knows its addresses and how its errors read, and nothing of the page.

import { isKeyHeld, keyHeaders } from "./key.js";

const KEY_REFUSED = 401;
const NO_KEY = "The service answers those alone who have an API key; its field is at the top of this page.";
const UNKNOWN_KEY = "The service does not know this API key.";
const NOT_NOW = [429, 503];
const FORBIDDEN = "urn:problem-type:purifier:forbidden"; // and not "switched-off", which no key changes

/** Tells "refused", with the Problem as its detail, where another API key is wanted. */
export const refusals = new EventTarget();

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
export async function ask(path, { query, headers, ...options } = {}) {
  let response;
  try {
    response = await fetch(address(path, query), { ...options, headers: { ...headers, ...keyHeaders() } });
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

/**
 * What `attempt()` resolves to; tried again, as often as it takes, where the service has no room at the moment or the
 * client's minute is used up, and says when to come back. `onWait(problem)` is told of each such answer.
 * Throws what `attempt` throws otherwise, and the AbortError of `signal`.
 */
export async function patiently(attempt, signal, onWait = () => {}) {
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof Problem) || !NOT_NOW.includes(error.status) || error.retryAfterS === null) throw error;
      onWait(error);
      await pause(1000 * error.retryAfterS, signal);
    }
  }
}

async function problemOf(response) {
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  let [type, detail] = [null, null];
  try {
    ({ type, detail } = await response.json());
  } catch (error) {
    if (error.name === "AbortError") throw error;
    // Not ours: a proxy's error page, say. The status must do.
  }
  if (response.status === KEY_REFUSED) detail = isKeyHeld() ? UNKNOWN_KEY : NO_KEY; // ours is about headers
  const words = sentence(detail ?? `The answer was ${response.status} ${response.statusText}.`);
  const problem = new Problem(response.status, words, retryAfter);
  if (response.status === KEY_REFUSED || type === FORBIDDEN) {
    refusals.dispatchEvent(new CustomEvent("refused", { detail: problem }));
  }
  return problem;
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

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
