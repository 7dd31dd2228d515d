// The drawing pad: strokes of mouse, pen or finger, brought into the shape of the data set.

import { SIDE } from "./pixels.js";

const BRUSH = 22;
const BOX = 20; // MNIST fits a digit into a box of 20 x 20, and puts its centre of mass into the middle of 28 x 28.
const INK = 24;

export class Pad {
  #canvas;
  #context;
  #last = null;

  /** `onPicture(promise)` gets the promise of a PNG after each stroke. `centred`: place the strokes as MNIST places digits. */
  constructor(canvas, onPicture) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { willReadFrequently: true });
    this.onPicture = onPicture;
    this.centred = true;
    this.clear();
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", () => this.#end());
    canvas.addEventListener("pointercancel", () => this.#end());
  }

  clear() {
    this.#context.fillStyle = "#000";
    this.#context.fillRect(0, 0, this.#canvas.width, this.#canvas.height);
  }

  /** Show a picture that was drawn before, from a link. */
  restore(bitmap) {
    this.clear();
    this.#context.imageSmoothingEnabled = false;
    this.#context.drawImage(bitmap, 0, 0, this.#canvas.width, this.#canvas.height);
    this.#context.imageSmoothingEnabled = true;
  }

  #begin(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.#canvas.setPointerCapture(event.pointerId);
    this.#last = this.#place(event);
    this.#line(this.#last, this.#last);
  }

  #move(event) {
    if (this.#last === null) return;
    const here = this.#place(event);
    this.#line(this.#last, here);
    this.#last = here;
  }

  #end() {
    if (this.#last === null) return;
    this.#last = null;
    this.onPicture(this.#picture());
  }

  #place(event) {
    const box = this.#canvas.getBoundingClientRect();
    const scale = this.#canvas.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  #line([x0, y0], [x1, y1]) {
    const context = this.#context;
    Object.assign(context, { strokeStyle: "#fff", lineWidth: BRUSH, lineCap: "round", lineJoin: "round" });
    context.beginPath();
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
    context.stroke();
  }

  #picture() {
    const canvas = new OffscreenCanvas(SIDE, SIDE);
    const context = canvas.getContext("2d");
    context.fillRect(0, 0, SIDE, SIDE);
    context.imageSmoothingQuality = "high";
    const [x, y, side] = this.centred ? this.#window() : [0, 0, this.#canvas.width];
    context.drawImage(this.#canvas, x, y, side, side, 0, 0, SIDE, SIDE);
    return canvas.convertToBlob({ type: "image/png" });
  }

  /** The square of the pad that becomes the picture: [left, top, side]. */
  #window() {
    const { width, height } = this.#canvas;
    const { data } = this.#context.getImageData(0, 0, width, height);
    let [left, top, right, bottom] = [width, height, 0, 0];
    let [mass, sumX, sumY] = [0, 0, 0];
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) {
        const grey = data[4 * (y * width + x)];
        if (grey < INK) continue;
        [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x), Math.max(bottom, y)];
        mass += grey;
        sumX += grey * x;
        sumY += grey * y;
      }
    }
    if (mass === 0) return [0, 0, width];
    const side = (Math.max(right - left, bottom - top) + 1) * (SIDE / BOX);
    return [sumX / mass - side / 2, sumY / mass - side / 2, side];
  }
}
