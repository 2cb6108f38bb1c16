
/* From a picture to the bytes that the network was trained on: src/data/picture.rs, operation by operation. */

const f32 = Math.fround;
/** The most pixels of a picture: what every browser's canvas holds. */
const MOST_PIXELS = 16_000_000;

/** The picture in 8-bit colour without transparency: { width, height, pixels: [r, g, b, r, ...] }. */
function flatten({ width, height, data }) {
  const count = width * height, pixels = new Uint8Array(3 * count);
  let ground = null;
  for (let i = 3; i < data.length && ground === null; i += 4) if (data[i] !== 255) ground = groundOf(data);
  for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
    const alpha = data[from + 3];
    for (let channel = 0; channel < 3; channel++) {
      const colour = data[from + channel];
      pixels[to + channel] = alpha === 255 ? colour : Math.floor((colour * alpha + ground * (255 - alpha) + 127) / 255);
    }
  }
  return { width, height, pixels };
}

/** White under what is dark on average, else black. */
function groundOf(data) {
  let light = 0, total = 0;
  for (let i = 0; i < data.length; i += 4) {
    light += luminance(data[i], data[i + 1], data[i + 2]) * data[i + 3];
    total += data[i + 3];
  }
  return light <= total * 127 ? 255 : 0;
}

/** Rec. 709 luma. */
const luminance = (red, green, blue) => Math.floor((2126 * red + 7152 * green + 722 * blue + 5000) / 10000);

/** One plane of luminance, or one per colour: [channels, height, width]. */
function planes({ width, height, pixels }, channels) {
  const count = width * height, out = new Uint8Array(channels * count);
  for (let i = 0; i < count; i++) {
    if (channels === 1) out[i] = luminance(pixels[3 * i], pixels[3 * i + 1], pixels[3 * i + 2]);
    else for (let c = 0; c < 3; c++) out[c * count + i] = pixels[3 * i + c];
  }
  return out;
}

/** Averages down by whole pixels. */
function thumbnail({ width, height, pixels }, toWidth, toHeight) {
  const out = new Uint8Array(3 * toWidth * toHeight);
  const spans = (from, to) => Array.from({ length: to }, (_, place) => {
    const ratio = f32(from / to), start = f32(place * ratio), end = f32(start + ratio);
    const first = Math.min(Math.ceil(start), from - 1);
    return [first, Math.max(first, Math.min(Math.ceil(end), from))];
  });
  const columns = spans(width, toWidth);
  spans(height, toHeight).forEach(([top, bottom], y) => columns.forEach(([left, right], x) => {
    const count = (bottom - top) * (right - left);
    for (let channel = 0; channel < 3; channel++) {
      let sum = Math.floor(count / 2);
      for (let row = top; row < bottom; row++) {
        for (let column = left; column < right; column++) sum += pixels[3 * (row * width + column) + channel];
      }
      out[3 * (y * toWidth + x) + channel] = Math.floor(sum / count);
    }
  }));
  return { width: toWidth, height: toHeight, pixels: out };
}

/** Resizes with a triangle filter, aspect ignored. */
function resize(picture, toWidth, toHeight) {
  const { width, height, pixels } = picture;
  if (width === toWidth && height === toHeight) return picture;
  const tall = new Float32Array(3 * width * toHeight), row = 3 * width;
  triangles(height, toHeight).forEach(({ first, weights }, y) => weights.forEach((weight, i) => {
    for (let x = 0; x < row; x++) tall[y * row + x] += f32(pixels[(first + i) * row + x] * weight);
  }));
  const out = new Uint8Array(3 * toWidth * toHeight);
  triangles(width, toWidth).forEach(({ first, weights }, x) => {
    for (let y = 0; y < toHeight; y++) {
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        weights.forEach((weight, i) => { sum = f32(sum + f32(tall[y * row + 3 * (first + i) + channel] * weight)); });
        out[3 * (y * toWidth + x) + channel] = Math.floor(Math.min(255, Math.max(0, sum)) + 0.5);
      }
    }
  });
  return { width: toWidth, height: toHeight, pixels: out };
}

/** For each of `to` pixels the first source pixel and the weights that make it, out of `from`. */
function triangles(from, to) {
  const ratio = f32(from / to), scale = ratio < 1 ? 1 : ratio;
  return Array.from({ length: to }, (_, place) => {
    const centre = f32(f32(place + 0.5) * ratio);
    const first = Math.min(Math.max(Math.floor(f32(centre - scale)), 0), from - 1);
    const end = Math.min(Math.max(Math.ceil(f32(centre + scale)), first + 1), from);
    const middle = f32(centre - 0.5), weights = [];
    let sum = 0;
    for (let i = first; i < end; i++) {
      const away = Math.abs(f32(f32(i - middle) / scale)), weight = away < 1 ? f32(1 - away) : 0;
      weights.push(weight);
      sum = f32(sum + weight);
    }
    return { first, weights: weights.map((weight) => f32(weight / sum)) };
  });
}
