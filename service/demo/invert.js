// A file of the visitor's, as it is or with its greys inverted.

/** What to send for a file, and its mean brightness where the browser can read it. */
export async function prepared(file, invert) {
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
