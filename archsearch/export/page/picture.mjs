// Pictures as archsearch takes them: upright, 8-bit grey or colour, short side scaled by Pillow's bilinear filter, centre
// cut out. The arithmetic is Pillow's: two passes, weights as whole numbers of 22 bits. Pillow goes down first where that
// is cheaper, this goes across first always, so a value may differ by one.

const BITS = 22;

/** The weights of one pass from [start, start + length) of `size` pixels to `count`: for each its first pixel. */
function weights(size, start, length, count) {
  const scale = length / count, filter = Math.max(scale, 1), found = [];
  for (let place = 0; place < count; place++) {
    const centre = start + (place + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - filter + 0.5), 0);
    const last = Math.min(Math.trunc(centre + filter + 0.5), size);
    const raw = [];
    for (let i = first; i < last; i++) raw.push(Math.max(1 - Math.abs((i - centre + 0.5) / filter), 0));
    const sum = raw.reduce((a, b) => a + b, 0);
    found.push({ first, by: raw.map((weight) => Math.trunc(0.5 + (weight / sum) * 2 ** BITS)) });
  }
  return found;
}

/** One pass along lines of pixels that are `step` values apart. */
function pass(from, to, lines, table, step) {
  for (const [source, target] of lines) {
    table.forEach(({ first, by }, place) => {
      let sum = 2 ** (BITS - 1);
      for (let i = 0; i < by.length; i++) sum += from[source + (first + i) * step.from] * by[i];
      to[target + place * step.to] = Math.min(Math.max(sum >> BITS, 0), 255);
    });
  }
}

/** Bytes RGBA of width x height to bytes of `about`'s shape, channels last. */
export function fitted(rgba, width, height, about) {
  const { channels, width: w, height: h } = about;
  const plain = new Uint8Array(width * height * channels);
  for (let i = 0, j = 0; i < rgba.length; i += 4) {
    if (channels === 1) plain[j++] = (rgba[i] * 19595 + rgba[i + 1] * 38470 + rgba[i + 2] * 7471 + 0x8000) >> 16;
    else for (let c = 0; c < 3; c++) plain[j++] = rgba[i + c];
  }
  const ratio = w / h, wide = width / height;
  const box = wide === ratio ? [width, height] : wide > ratio ? [ratio * height, height] : [width, width / ratio];
  const across = weights(width, (width - box[0]) * 0.5, box[0], w);
  const down = weights(height, (height - box[1]) * 0.5, box[1], h);
  const narrow = new Uint8Array(w * height * channels), done = new Uint8Array(w * h * channels);
  const rows = [], columns = [];
  for (let c = 0; c < channels; c++) {
    for (let y = 0; y < height; y++) rows.push([y * width * channels + c, y * w * channels + c]);
    for (let x = 0; x < w; x++) columns.push([x * channels + c, x * channels + c]);
  }
  pass(plain, narrow, rows, across, { from: channels, to: channels });
  pass(narrow, done, columns, down, { from: w * channels, to: w * channels });
  return done;
}

/** A file or a frame of a video as `fitted` gives it. */
export async function pictured(source, about) {
  const bitmap = await createImageBitmap(source, {
    imageOrientation: "from-image", premultiplyAlpha: "none", colorSpaceConversion: "none",
  });
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data, width, height } = context.getImageData(0, 0, canvas.width, canvas.height);
  return fitted(data, width, height, about);
}

/** Pixels from 0 to 1, channels first, for the network. */
export function planes(bytes, about) {
  const { channels } = about, size = bytes.length / channels, found = new Float32Array(bytes.length);
  for (let i = 0; i < size; i++) for (let c = 0; c < channels; c++) found[c * size + i] = bytes[i * channels + c] / 255;
  return found;
}
