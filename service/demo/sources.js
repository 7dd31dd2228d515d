// Where the picture comes from: a shipped test image, the drawing pad, or a file. Knows no attack.

import { ask, base64Of, bytesOf, patiently } from "./api.js";
import { byId, say } from "./dom.js";
import { prepared } from "./invert.js";
import { Pad } from "./pad.js";
import { Picker } from "./picker.js";

const BRIGHT = 0.5;

/** Tell `onSample(index)` and `onImage(base64, source)` what was chosen. */
export class Sources {
  #dataset = null;
  #turn = 0;
  #file = null;
  #given = null;

  constructor({ onSample, onImage, onSource }) {
    this.onImage = onImage;
    this.picker = new Picker(onSample);
    this.pad = new Pad(byId("pad"), (png) => this.#take(png, "draw"));
    byId("pad-clear").addEventListener("click", () => this.pad.clear());
    byId("file").addEventListener("change", (event) => this.#open(event.target.files[0]));
    byId("invert").addEventListener("change", () => this.#file && this.#open(this.#file));
    for (const radio of document.querySelectorAll("[name=source]")) {
      radio.addEventListener("change", () => {
        this.drop();
        this.show(radio.value);
        onSource(radio.value);
      });
    }
    this.#watchDropAndPaste();
  }

  /** Offer a data set's test images. */
  list(dataset, listing) {
    this.#dataset = dataset;
    this.picker.list(dataset, listing);
  }

  /** A picture that is still on its way is not wanted any more. */
  drop() {
    this.#turn += 1;
  }

  /** Show one source's panel, and mark what is chosen in it. */
  show(source, sample = null) {
    say(byId("picture-error"), null);
    for (const name of ["samples", "draw", "upload"]) byId(`panel-${name}`).hidden = name !== source;
    document.querySelector(`[name=source][value=${source}]`).checked = true;
    this.pad.centred = this.#dataset === "mnist";
    if (sample !== null) this.picker.mark(sample);
  }

  /** Put a picture of a link, base64 of a PNG, where it came from: onto the pad, or as the file to invert. */
  async recall(source, png) {
    if (source === "samples" || png === this.#given) return;
    this.#given = png;
    const picture = new Blob([bytesOf(png)], { type: "image/png" });
    if (source === "upload") {
      this.#file = picture;
      byId("invert").checked = false;
      return;
    }
    try {
      this.pad.restore(await createImageBitmap(picture));
    } catch {
      say(byId("picture-error"), new Error("The drawing in the link cannot be read."));
    }
  }

  #watchDropAndPaste() {
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      const [file] = event.dataTransfer.files;
      if (file) this.#receive(file);
    });
    document.addEventListener("paste", (event) => {
      const file = [...event.clipboardData.files][0];
      if (file) this.#receive(file);
    });
  }

  #receive(file) {
    this.show("upload");
    this.#open(file);
  }

  async #open(file) {
    if (!file) return;
    this.#file = file;
    const turn = ++this.#turn;
    say(byId("picture-error"), null);
    try {
      const [body, mean] = await prepared(file, byId("invert").checked);
      if (turn !== this.#turn) return;
      byId("upload-hint").textContent =
        mean > BRIGHT ? "Most of it is bright. The models know bright strokes on black: try Invert." : "";
      await this.#take(body, "upload", turn);
    } catch (error) {
      if (turn === this.#turn) say(byId("picture-error"), error);
    }
  }

  /**
   * The service makes 28 x 28 greys of any picture, in the one way that it also uses for others. `picture` may be a
   * promise: its turn is when it was chosen, and not when it is encoded.
   */
  async #take(picture, source, turn = ++this.#turn) {
    try {
      const body = await picture;
      const query = { dataset: this.#dataset, defense: "none" };
      const headers = { Accept: "image/png", "Content-Type": "application/octet-stream" };
      const response = await patiently(() => ask("purify", { method: "POST", query, headers, body }));
      const image = base64Of(new Uint8Array(await response.arrayBuffer()));
      if (turn !== this.#turn) return; // A later picture was chosen while this one was on its way.
      this.#given = image;
      this.show(source);
      this.onImage(image, source);
    } catch (error) {
      if (turn === this.#turn) say(byId("picture-error"), error);
    }
  }
}
