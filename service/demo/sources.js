// Where the picture comes from: a shipped test image, the drawing pad, or a file. Knows no attack.

import { address, ask, base64Of, bytesOf } from "./api.js";
import { byId, element, say } from "./dom.js";
import { Pad } from "./pad.js";

const BRIGHT = 0.5;

/** Tell `onSample(index)` and `onImage(base64, source)` what was chosen. */
export class Sources {
  #dataset = null;
  #listing = { samples: [] };
  #turn = 0;
  #file = null;

  constructor({ onSample, onImage, onSource }) {
    this.onSample = onSample;
    this.onImage = onImage;
    this.pad = new Pad(byId("pad"), (png) => this.#take(png, "draw"));
    byId("pad-clear").addEventListener("click", () => this.pad.clear());
    byId("shuffle").addEventListener("click", () => this.#shuffle());
    byId("samples").addEventListener("change", (event) => onSample(Number(event.target.value)));
    byId("file").addEventListener("change", (event) => this.#open(event.target.files[0]));
    byId("invert").addEventListener("change", () => this.#file && this.#open(this.#file));
    for (const radio of document.querySelectorAll("[name=source]")) {
      radio.addEventListener("change", () => {
        this.#turn += 1; // A picture still on its way is not wanted any more.
        this.show(radio.value);
        onSource(radio.value);
      });
    }
    this.#watchDropAndPaste();
  }

  /** Fill the picker with a data set's test images. */
  list(dataset, listing, chosen) {
    this.#dataset = dataset;
    this.#listing = listing;
    byId("samples").replaceChildren(...listing.samples.map((sample) => thumbnail(sample, chosen)));
  }

  /** Show one source's panel, and mark what is chosen in it. */
  show(source, sample = null) {
    say(byId("picture-error"), null);
    for (const name of ["samples", "draw", "upload"]) byId(`panel-${name}`).hidden = name !== source;
    document.querySelector(`[name=source][value=${source}]`).checked = true;
    this.pad.centred = this.#dataset === "mnist";
    if (sample === null) return;
    const radio = document.querySelector(`[name=sample][value="${sample}"]`);
    if (!radio) return;
    radio.checked = true;
    const box = byId("samples");
    const { offsetTop, offsetHeight } = radio.parentElement;
    if (offsetTop < box.scrollTop || offsetTop + offsetHeight > box.scrollTop + box.clientHeight) {
      box.scrollTop = offsetTop - box.clientHeight / 2;
    }
  }

  /** Put a picture that was drawn before, base64 of a PNG, back onto the pad. */
  async redraw(png) {
    try {
      this.pad.restore(await createImageBitmap(new Blob([bytesOf(png)], { type: "image/png" })));
    } catch {
      say(byId("picture-error"), new Error("The drawing in the link cannot be read."));
    }
  }

  #shuffle() {
    const indices = this.#listing.samples.map((sample) => sample.index);
    const index = indices[Math.floor(Math.random() * indices.length)];
    this.show("samples", index);
    this.onSample(index);
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
      const response = await ask("purify", { method: "POST", query, headers, body });
      const image = base64Of(new Uint8Array(await response.arrayBuffer()));
      if (turn !== this.#turn) return; // A later picture was chosen while this one was on its way.
      this.onImage(image, source);
      say(byId("picture-error"), null);
    } catch (error) {
      if (turn === this.#turn) say(byId("picture-error"), error);
    }
  }
}

function thumbnail(sample, chosen) {
  const radio = element("input", { type: "radio", name: "sample", value: sample.index, class: "hidden" });
  radio.checked = sample.index === chosen;
  const picture = element("img", {
    src: address(sample.url.split("?")[0], Object.fromEntries(new URLSearchParams(sample.url.split("?")[1]))),
    alt: `${sample.class_name}, test image ${sample.index}`,
    width: 28,
    height: 28,
    loading: "lazy",
  });
  return element("label", { title: `${sample.class_name} (${sample.index})` }, radio, picture);
}

/** What to send for a file, and its mean brightness where the browser can read it. */
async function prepared(file, invert) {
  let bitmap = null;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    if (invert) throw new Error("This browser cannot read the picture, so it is not inverted; allowed: PNG and JPEG.");
    // The service says what is wrong with it.
    return [file, 0];
  }
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  if (invert) {
    context.globalCompositeOperation = "difference";
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  let sum = 0;
  for (let i = 0; i < data.length; i += 4) sum += data[i] + data[i + 1] + data[i + 2];
  const mean = sum / (data.length / 4) / 765;
  return [invert ? await canvas.convertToBlob({ type: "image/png" }) : file, mean];
}
