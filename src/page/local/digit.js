
/* A handwritten digit in any picture, brought to the form of MNIST's images: pixels/src/digit/mod.rs. */

const [WORKING_SIDE, FAINTEST_INK, LEAST_SIGNAL, NOISE, BINS] = [512, 16, 5, 1.5, 256];
const LEAST_F32 = f32(1.1754943508222875e-38);
const BLANK = { code: "blank", message: "No ink was found: the picture is blank.", tip: "draw the digit clearly darker or lighter than what is behind it" };

/** The image of `height` x `width` with the digit of `picture` in a box of `boxSize` pixels; nothing when no ink stands out. */
function fitDigit(picture, height, width, boxSize) {
  const longest = Math.max(picture.width, picture.height);
  if (longest > WORKING_SIDE) {
    const scaled = (side) => Math.max(1, Math.floor(side * WORKING_SIDE / longest));
    picture = thumbnail(picture, scaled(picture.width), scaled(picture.height));
  }
  const ink = findInk(picture);
  if (!ink) return null;
  const digit = scaleInto(isolate(ink.plane, ink.threshold), Math.min(boxSize, height, width));
  return centre(digit, height, width);
}

/** How strongly each pixel is ink, 0 to 1, and what separates ink from paper. */
function findInk(picture) {
  const { width, height, pixels } = picture;
  if (Math.min(width, height) < 2) return null;
  const paper = new Paper(picture), xs = coordinates(width), ys = coordinates(height), count = width * height;
  const differences = [0, 1, 2].map(() => new Float64Array(count)), squares = new Float64Array(count);
  let largest = 0;
  for (let y = 0, place = 0; y < height; y++) {
    const row = paper.row(ys[y]);
    for (let x = 0; x < width; x++, place++) {
      let square = 0;
      for (let c = 0; c < 3; c++) {
        const colour = (row[3 * c + 2] * xs[x] + row[3 * c + 1]) * xs[x] + row[3 * c];
        const difference = pixels[3 * place + c] - Math.min(255, Math.max(0, colour));
        differences[c][place] = difference;
        square += difference * difference;
      }
      squares[place] = square;
      largest = Math.max(largest, square);
    }
  }
  const direction = strongest(differences, squares, 0.25 * largest);
  if (!direction) return null;
  const values = new Float64Array(count), [red, green, blue] = differences, [toRed, toGreen, toBlue] = direction;
  let most = 0;
  for (let i = 0; i < count; i++) {
    const along = red[i] * toRed + green[i] * toGreen + blue[i] * toBlue;
    values[i] = along > 0 ? along : 0;
    most = Math.max(most, values[i]);
  }
  const threshold = Math.max(otsu(values, most), 4 * paper.noise);
  const full = fullInk(values, threshold, paper.noise);
  if (full === null) return null;
  const shares = new Float32Array(count);
  for (let i = 0; i < count; i++) shares[i] = values[i] < NOISE * paper.noise ? 0 : Math.min(1, values[i] / full);
  const separating = f32(threshold / full);
  const plane = cutOut({ width, height, values: shares }, separating);
  return plane && { plane, threshold: separating };
}

/** The direction of the strongest differences, each counted by its square: of length 1, or none. */
function strongest([red, green, blue], squares, strong) {
  let [ofRed, ofGreen, ofBlue] = [0, 0, 0];
  for (let i = 0; i < squares.length; i++) {
    if (!(squares[i] > strong)) continue;
    ofRed += red[i] * squares[i];
    ofGreen += green[i] * squares[i];
    ofBlue += blue[i] * squares[i];
  }
  const norm = Math.sqrt(ofRed * ofRed + ofGreen * ofGreen + ofBlue * ofBlue);
  return norm > 0 ? [ofRed / norm, ofGreen / norm, ofBlue / norm] : null;
}

/** The threshold with the largest variance between what is below and above it (Otsu, 1979). */
function otsu(values, largest) {
  largest = Math.max(largest, 2.2250738585072014e-308);
  const histogram = new Float64Array(BINS);
  for (let i = 0; i < values.length; i++) histogram[values[i] === 0 ? 0 : Math.min(BINS - 1, Math.trunc(values[i] / largest * BINS))]++;
  const all = values.length;
  let sum = 0, below = 0, sumBelow = 0, best = 0, bestBin = 0;
  histogram.forEach((count, bin) => { sum += bin * count; });
  histogram.forEach((count, bin) => {
    below += count;
    sumBelow += bin * count;
    if (!(below > 0 && below < all)) return;
    const apart = sumBelow / below - (sum - sumBelow) / (all - below);
    const variance = below * (all - below) * apart * apart;
    if (variance > best) [best, bestBin] = [variance, bin];
  });
  return (bestBin + 1) / BINS * largest;
}

/** What counts as full ink: what a tenth of the values above `threshold` exceed; none when they are too few or too faint. */
function fullInk(values, threshold, noise) {
  const faint = Math.max(FAINTEST_INK * Math.sqrt(3), LEAST_SIGNAL * noise);
  const inked = values.filter((value) => value > threshold);
  const faintOnes = inked.reduce((count, value) => count + (value < faint), 0);
  if (faintOnes > Math.floor(inked.length / 2) || inked.length === 0) return null;
  return inked.sort()[Math.floor(inked.length * 9 / 10)];
}

/** The part with values above `threshold` and a border, which may lie beyond the picture. */
function cutOut(plane, threshold) {
  const { width, height, values } = plane;
  let [top, bottom, left, right] = [height, -1, width, -1];
  for (let y = 0, place = 0; y < height; y++) {
    for (let x = 0; x < width; x++, place++) {
      if (!(values[place] > threshold)) continue;
      if (y < top) top = y;
      if (y > bottom) bottom = y;
      if (x < left) left = x;
      if (x > right) right = x;
    }
  }
  if (bottom < 0) return null;
  const [wide, high] = [right - left + 1 + 2 * BORDER, bottom - top + 1 + 2 * BORDER];
  const cut = new Float32Array(wide * high);
  for (let y = 0; y < high; y++) {
    for (let x = 0; x < wide; x++) {
      const row = y + top - BORDER, column = x + left - BORDER;
      if (row >= 0 && row < height && column >= 0 && column < width) cut[y * wide + x] = values[row * width + column];
    }
  }
  return { width: wide, height: high, values: cut };
}

/** Puts `digit` onto black with its centre of mass in the centre, moved by whole pixels and never over the edge. */
function centre(digit, height, width) {
  let [all, x, y] = [0, 0, 0], brightest = LEAST_F32;
  digit.values.forEach((value, place) => {
    all = f32(all + value);
    x = f32(x + f32(value * (place % digit.width)));
    y = f32(y + f32(value * Math.floor(place / digit.width)));
    brightest = Math.max(brightest, value);
  });
  const offset = (length, inner, mass) => {
    const wanted = f32(Math.floor(length / 2) - f32(mass / Math.max(all, LEAST_F32)));
    return Math.min(Math.max(Math.floor(wanted + 0.5), 0), length - inner);
  };
  const right = offset(width, digit.width, x), down = offset(height, digit.height, y);
  const out = new Uint8Array(height * width);
  digit.values.forEach((value, place) => {
    const row = Math.floor(place / digit.width) + down, column = place % digit.width + right;
    out[row * width + column] = Math.floor(f32(f32(value / brightest) * 255) + 0.5);
  });
  return out;
}
