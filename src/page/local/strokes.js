
/* The shape of ink: pixels/src/digit/strokes.rs and pieces.rs. */

const BORDER = 2, EDGE = f32(0.1), [THINNEST, THICKEST] = [f32(0.1), f32(0.25)];
const [LARGE_PIECE, SMALL_PIECE, NEAR_PIECE] = [f32(0.1), f32(0.015), f32(0.15)];

/** The digit alone, cropped: pieces of ink that belong to it, with one pixel of their soft edge. */
function isolate(ink, threshold) {
  const { width, height } = ink, kept = mainPieces(ink, threshold), values = new Float32Array(ink.values.length);
  for (let y = 1; y < height - 1; y++) {
    for (let x = 1; x < width - 1; x++) {
      let near = 0;
      for (let row = y - 1; row <= y + 1; row++) {
        for (let column = x - 1; column <= x + 1; column++) near |= kept[row * width + column];
      }
      if (near) values[y * width + x] = ink.values[y * width + x];
    }
  }
  return crop({ width, height, values });
}

/** Which pixels belong to the digit: those of the largest piece, of others that are large, and of small ones close to it. */
function mainPieces({ width, values }, threshold) {
  const unseen = Uint8Array.from(values, (value) => value > threshold), kept = new Uint8Array(values.length), pieces = [];
  for (let start = 0; start < unseen.length; start++) {
    if (!unseen[start]) continue;
    const places = [start];
    let mass = 0;
    unseen[start] = 0;
    for (let next = 0; next < places.length; next++) {
      mass = f32(mass + values[places[next]]);
      for (let row = -1; row <= 1; row++) {
        for (let column = -1; column <= 1; column++) {
          const neighbour = places[next] + row * width + column;
          if (unseen[neighbour]) { unseen[neighbour] = 0; places.push(neighbour); }
        }
      }
    }
    pieces.push({ mass, places });
  }
  if (pieces.length === 0) return kept;
  const main = pieces.reduce((best, piece) => (piece.mass >= best.mass ? piece : best));
  const extent = ({ places }) => places.reduce(({ left, right, top, bottom }, place) => {
    const x = place % width, y = Math.floor(place / width);
    return { left: Math.min(left, x), right: Math.max(right, x), top: Math.min(top, y), bottom: Math.max(bottom, y) };
  }, { left: Infinity, right: 0, top: Infinity, bottom: 0 });
  // Only looked at when there is a small one.
  let of = null;
  const isClose = (piece) => {
    of ??= extent(main);
    const longer = Math.max(of.right - of.left, of.bottom - of.top) + 1;
    const { left, right, top, bottom } = extent(piece);
    const gap = Math.max(0, left - of.right, of.left - right, top - of.bottom, of.top - bottom);
    return gap <= f32(NEAR_PIECE * longer);
  };
  for (const piece of pieces) {
    const share = f32(piece.mass / main.mass);
    if (share >= LARGE_PIECE || (share >= SMALL_PIECE && isClose(piece))) for (const place of piece.places) kept[place] = 1;
  }
  return kept;
}

/** Cuts off rows and columns without ink. */
function crop(plane) {
  const { width, height, values } = plane;
  let [top, bottom, left, right] = [height, -1, width, -1];
  for (let y = 0, place = 0; y < height; y++) {
    for (let x = 0; x < width; x++, place++) {
      if (!(values[place] > EDGE)) continue;
      if (y < top) top = y;
      if (y > bottom) bottom = y;
      if (x < left) left = x;
      if (x > right) right = x;
    }
  }
  if (bottom < 0) return plane;
  const wide = right - left + 1, cut = new Float32Array(wide * (bottom - top + 1));
  for (let y = top; y <= bottom; y++) cut.set(values.subarray(y * width + left, y * width + right + 1), (y - top) * wide);
  return { width: wide, height: bottom - top + 1, values: cut };
}

/** Scales the digit, aspect kept, so that its longer side is `side` pixels. */
function scaleInto(digit, side) {
  const longerOf = ({ width, height }) => Math.max(width, height);
  if (longerOf(digit) <= side && side - longerOf(digit) <= 1) return digit;
  const scale = f32(side / longerOf(digit));
  const usual = scale >= f32(0.75) && scale < f32(1.33) ? digit : withUsualStrokes(digit, side, scale);
  const scaled = (length) => Math.max(1, Math.floor(f32(f32(length * side) / longerOf(usual)) + 0.5));
  return resample(usual, scaled(usual.width), scaled(usual.height));
}

/** Thickens or thins the strokes so that after scaling they are neither hairlines nor blobs. */
function withUsualStrokes(digit, side, scale) {
  const { width, height, values } = digit, ink = Uint8Array.from(values, (value) => value > 0.5);
  const count = ink.reduce((sum, inked) => sum + inked, 0);
  if (count === 0) return digit;
  const inside = distances(ink, width, 0, Infinity);
  let sum = 0;
  for (const distance of inside) sum = f32(sum + Math.max(0, f32(distance - 0.5)));
  const stroke = f32(f32(4 * sum) / count);
  const [thinnest, thickest] = [THINNEST, THICKEST].map((share) => f32(f32(share * side) / scale));
  const grow = f32(f32(Math.min(Math.max(stroke, thinnest), thickest) - stroke) / 2);
  if (Math.abs(grow) < 0.5) return digit;
  const covered = (beyond) => Math.min(1, Math.max(0, f32(f32(0.5 + grow) - beyond)));
  if (grow < 0) {
    return crop({ width, height, values: inside.map((distance) => (distance > 0 ? covered(f32(0.5 - distance)) : 0)) });
  }
  const margin = Math.ceil(grow), [wide, high] = [width + 2 * margin, height + 2 * margin], padded = new Uint8Array(wide * high);
  for (let y = 0; y < height; y++) padded.set(ink.subarray(y * width, (y + 1) * width), (y + margin) * wide + margin);
  const outside = distances(padded, wide, 1, f32(1 + grow));
  return crop({ width: wide, height: high, values: outside.map((distance) => (distance > 0 ? covered(f32(distance - 0.5)) : 1)) });
}

/** For each pixel the distance to the nearest one with `ink == to`, which counts as there beyond the border when `to` is 0. */
function distances(ink, width, to, limit) {
  const height = ink.length / width, far = width + height + 2, inRows = new Float64Array(ink.length);
  for (let y = 0; y < height; y++) {
    const row = y * width;
    // The nearest in the row, from the left and then from the right.
    for (let x = 0, away = to ? far : 0; x < width; x++) {
      away = ink[row + x] === to ? 0 : Math.min(away + 1, far);
      inRows[row + x] = away;
    }
    for (let x = width - 1, away = to ? far : 0; x >= 0; x--) {
      away = ink[row + x] === to ? 0 : Math.min(away + 1, far);
      inRows[row + x] = Math.min(inRows[row + x], away) ** 2;
    }
  }
  const out = new Float32Array(ink.length);
  for (let y = 0; y < height; y++) {
    const border = to ? far : Math.min(y + 1, height - y);
    for (let x = 0; x < width; x++) {
      let square = Math.min(inRows[y * width + x], border * border);
      for (let aside = 1; aside * aside < square && aside <= limit; aside++) {
        if (y >= aside) square = Math.min(square, inRows[(y - aside) * width + x] + aside * aside);
        if (y + aside < height) square = Math.min(square, inRows[(y + aside) * width + x] + aside * aside);
      }
      out[y * width + x] = Math.sqrt(square);
    }
  }
  return out;
}

/** Averages over areas where the plane shrinks, interpolates where it grows. */
function resample(plane, width, height) {
  const columns = shares(plane.width, width), values = new Float32Array(width * height), line = new Float32Array(plane.width);
  shares(plane.height, height).forEach((row, y) => {
    line.fill(0);
    for (const [from, weight] of row) {
      for (let x = 0; x < plane.width; x++) line[x] += f32(weight * plane.values[from * plane.width + x]);
    }
    columns.forEach((column, x) => {
      values[y * width + x] = column.reduce((sum, [from, weight]) => f32(sum + f32(weight * line[from])), 0);
    });
  });
  return { width, height, values };
}

/** For each of `to` pixels the source pixels and weights that make it, out of `from`. */
function shares(from, to) {
  const step = f32(from / to);
  return Array.from({ length: to }, (_, index) => {
    const start = f32(index * step), end = f32((index + 1) * step), found = [];
    if (step >= 1) {
      for (let pixel = Math.trunc(start); pixel < Math.min(Math.ceil(end), from); pixel++) {
        const overlap = Math.max(0, f32(Math.min(end, pixel + 1) - Math.max(start, pixel)));
        found.push([pixel, f32(overlap / step)]);
      }
      return found;
    }
    const centre = Math.min(Math.max(f32(f32(f32(start + end) / 2) - 0.5), 0), from - 1);
    const before = Math.trunc(centre), share = f32(centre - before);
    return [[before, f32(1 - share)], [Math.min(before + 1, from - 1), share]];
  });
}
