// 28 x 28 greys: from PNG to bytes, and onto a canvas.

import { bytesOf } from "./api.js";

export const SIDE = 28;

/** The greys (784 bytes) of a PNG in base64. */
export async function greysOf(base64) {
  const blob = new Blob([bytesOf(base64)], { type: "image/png" });
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const canvas = new OffscreenCanvas(SIDE, SIDE);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, SIDE, SIDE);
  return Uint8ClampedArray.from({ length: SIDE * SIDE }, (_, pixel) => data[4 * pixel]);
}

/** Paint greys, one canvas pixel each; the style sheet enlarges them without smoothing. */
export function paintGreys(canvas, greys) {
  paint(canvas, (pixel) => [greys[pixel], greys[pixel], greys[pixel], 255]);
}

/** Paint a difference: `scale` or more is full colour, none is transparent. */
export function paintDifference(canvas, before, after, scale, { brighter, darker }) {
  paint(canvas, (pixel) => {
    const difference = after[pixel] - before[pixel];
    const strength = scale > 0 ? Math.min(1, Math.abs(difference) / scale) : 0;
    return [...(difference > 0 ? brighter : darker), Math.round(255 * strength)];
  });
}

function paint(canvas, colourOf) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(SIDE, SIDE);
  for (let pixel = 0; pixel < SIDE * SIDE; pixel += 1) image.data.set(colourOf(pixel), 4 * pixel);
  context.putImageData(image, 0, 0);
}
