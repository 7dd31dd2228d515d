// Whether the service answers: asked in the background, shown in the header, told to who wants to know.

import { askJson, Problem, Unreachable } from "./api.js";
import { byId } from "./dom.js";

const CALM_MS = 10_000;
const WORRIED_MS = 2000;

export class Connection {
  #up = null;
  #timer = null;

  /** `onUp()` is called when the service answers for the first time, and each time that it answers again. */
  constructor(onUp) {
    this.onUp = onUp;
    addEventListener("online", () => this.check());
    document.addEventListener("visibilitychange", () => document.hidden || this.check());
  }

  /** Look now, and from then on. */
  async check() {
    clearTimeout(this.#timer);
    let error = null;
    try {
      this.#show(await askJson("readyz"));
    } catch (problem) {
      error = problem;
    }
    if (error === null) this.#risen();
    else this.#fallen(error);
    this.#timer = setTimeout(() => this.check(), error === null && !document.hidden ? CALM_MS : WORRIED_MS);
  }

  /** Look into an error that a request met: was it the connection? */
  suspect(error) {
    if (error instanceof Unreachable || (error instanceof Problem && error.status === 503)) this.check();
  }

  #show(ready) {
    const device = ready.providers.map((name) => name.replace("ExecutionProvider", "")).join(", ");
    byId("status").textContent = `Live on ${device}`;
    byId("provenance").textContent =
      `ONNX Runtime ${ready.onnxruntime} on ${device}, ${ready.threads} ${ready.threads === 1 ? "thread" : "threads"}.`;
  }

  #risen() {
    byId("status").dataset.state = "up";
    byId("outage").hidden = true;
    const news = this.#up !== true;
    this.#up = true;
    if (news) this.onUp();
  }

  #fallen(error) {
    this.#up = false;
    byId("status").dataset.state = "down";
    byId("status").textContent = "No answer";
    const words = error instanceof Unreachable ? "The service does not answer." : error.message;
    const text = `${words} This page asks again every ${WORRIED_MS / 1000} seconds.`;
    const outage = byId("outage");
    if (outage.textContent !== text) outage.textContent = text;
    outage.hidden = false;
  }
}

