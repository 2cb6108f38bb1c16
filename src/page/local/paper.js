
/* The paper that a digit is written on: pixels/src/digit/paper.rs and samples.rs. All sums are made in the same order, in eight lanes,
   so that the result is the same to the last bit. */

const TERMS = [[0, 0], [1, 0], [0, 1], [2, 0], [1, 1], [0, 2]];
const [CLOSE, SPREAD, LANES, PLANE_TERMS, LEAST] = [12, 3.5, 8, 3, 24];
const coordinates = (length) => Float64Array.from({ length }, (_, place) => 2 * place / (length - 1) - 1);
/** The sum of the eight lanes that begin at `i`. */
const total = (v, i) => ((v[i] + v[i + 1]) + (v[i + 2] + v[i + 3])) + ((v[i + 4] + v[i + 5]) + (v[i + 6] + v[i + 7]));

/** The columns of row `y` that are looked at, of the border or of everywhere. */
function columnsOf({ width, height }, y, everywhere) {
  const step = Math.max(1, Math.ceil(Math.sqrt(width * height / 20000)));
  const margin = Math.max(1, Math.floor(Math.min(width, height) / 25));
  const first = (step - y % step) % step;
  const whole = y < margin || y >= height - margin || (everywhere && y % step === 0);
  const [left, right] = whole ? [width, width] : [margin, width - margin];
  const places = [];
  for (let x = first; x < left; x += step) places.push(x);
  for (let x = first + Math.ceil(Math.max(0, right - first) / step) * step; x < width; x += step) places.push(x);
  return places;
}

/** The surface of colour, and the deviation of the paper's pixels from it. */
class Paper {
  constructor(picture) {
    const { width, height, pixels } = picture;
    this.coefficients = [0, 1, 2].map(() => new Float64Array(TERMS.length));
    this.noise = 0;
    this.base = this.median(picture);
    const [xs, ys] = [coordinates(width), coordinates(height)];
    const samples = (everywhere) => {
      const known = new Map();
      return Array.from({ length: height }, (_, y) => {
        const places = columnsOf(picture, y, everywhere), key = places.length + ":" + places[0];
        if (!known.has(key)) known.set(key, Float64Array.from(places, (x) => xs[x]));
        const colours = new Float64Array(3 * places.length), [red, green, blue] = this.base;
        for (let i = 0; i < places.length; i++) {
          const from = 3 * (y * width + places[i]);
          colours[3 * i] = pixels[from] - red;
          colours[3 * i + 1] = pixels[from + 1] - green;
          colours[3 * i + 2] = pixels[from + 2] - blue;
        }
        return { y: ys[y], xs: known.get(key), colours };
      });
    };
    const [border, everywhere] = [samples(false), samples(true)];
    for (const [rows, terms] of [[border, PLANE_TERMS], [border, PLANE_TERMS], [everywhere, 6], [everywhere, 6]]) {
      const sums = this.sums(rows, this.close(border));
      if (sums.powers[0][0] < LEAST) break;
      this.solve(sums, terms);
    }
  }

  /** The median colour of the border, per channel. */
  median(picture) {
    const { width, height, pixels } = picture;
    const counts = [0, 1, 2].map(() => new Uint32Array(256));
    let all = 0;
    for (let y = 0; y < height; y++) {
      const places = columnsOf(picture, y, false);
      all += places.length;
      for (const x of places) for (let c = 0; c < 3; c++) counts[c][pixels[3 * (y * width + x) + c]]++;
    }
    return counts.map((count) => {
      let below = 0;
      return Math.max(0, count.findIndex((number) => (below += number) > Math.floor(all / 2)));
    });
  }

  /** The paper along row `y`, counted from the base: for each channel the coefficients of 1, x and x². */
  offset(y) {
    const row = new Float64Array(9);
    for (let channel = 0; channel < 3; channel++) {
      const of = this.coefficients[channel];
      row[3 * channel] = of[0] + of[2] * y + of[5] * y * y;
      row[3 * channel + 1] = of[1] + of[4] * y;
      row[3 * channel + 2] = of[3];
    }
    return row;
  }

  row(y) {
    const row = this.offset(y);
    this.base.forEach((colour, channel) => { row[3 * channel] += colour; });
    return row;
  }

  /** The square of the distance up to which a colour counts as paper. */
  close(border) {
    const squares = [], surely = (CLOSE / SPREAD) * (CLOSE / SPREAD);
    for (const { y, xs, colours } of border) {
      const paper = this.offset(y);
      for (let i = 0; i < xs.length; i++) squares.push(distance(colours, i, xs[i], paper));
    }
    const middle = Math.floor(squares.length / 2);
    if (squares.filter((square) => square <= surely).length > middle) return CLOSE * CLOSE;
    return Math.max(SPREAD * SPREAD * Float64Array.from(squares).sort()[middle], CLOSE * CLOSE);
  }

  /** Sums over the samples that are close: of x^i y^j, of colours times that, and of colours squared. */
  sums(rows, close) {
    const sums = { powers: Array.from({ length: 5 }, () => new Float64Array(5)), squares: 0 };
    sums.colours = [0, 1, 2].map(() => [0, 1, 2].map(() => new Float64Array(3)));
    // Of each lane: the powers 0 to 4 of x, each channel's colour times the powers 0 to 2, and the colours squared.
    const lanes = new Float64Array(15 * LANES);
    const ofRow = new Float64Array(15);
    for (const { y, xs, colours } of rows) {
      const paper = this.offset(y);
      lanes.fill(0);
      for (let i = 0; i < xs.length; i++) {
        const x = xs[i];
        if (!(distance(colours, i, x, paper) <= close)) continue;
        let place = i % LANES, power = 1;
        for (let exponent = 0; exponent < 5; exponent++, place += LANES) {
          lanes[place] += power;
          power *= x;
        }
        for (let c = 0; c < 3; c++) {
          let ofPower = colours[3 * i + c];
          lanes[14 * LANES + i % LANES] += ofPower * ofPower;
          for (let exponent = 0; exponent < 3; exponent++, place += LANES) {
            lanes[place] += ofPower;
            ofPower *= x;
          }
        }
      }
      for (let sum = 0; sum < 15; sum++) ofRow[sum] = total(lanes, sum * LANES);
      const ys = [1, y, y * y, y * y * y, y * y * y * y];
      for (let i = 0; i < 5; i++) for (let j = 0; j < 5 - i; j++) sums.powers[i][j] += ofRow[i] * ys[j];
      for (let c = 0; c < 3; c++) {
        for (let i = 0; i < 3; i++) for (let j = 0; j < 3 - i; j++) sums.colours[c][i][j] += ofRow[5 + 3 * c + i] * ys[j];
      }
      sums.squares += ofRow[14];
    }
    return sums;
  }

  /** Least squares with the first `used` terms. */
  solve({ powers, colours, squares }, used) {
    const ofTerms = (a, b) => powers[TERMS[a][0] + TERMS[b][0]][TERMS[a][1] + TERMS[b][1]];
    const ofColour = (channel, term) => colours[channel][TERMS[term][0]][TERMS[term][1]];
    const count = powers[0][0], size = TERMS.length;
    const normal = Array.from({ length: size }, (_, row) => {
      const values = new Float64Array(size + 3);
      if (row >= used) {
        values[row] = 1;
      } else {
        for (let column = 0; column < used; column++) values[column] = ofTerms(row, column);
        for (let channel = 0; channel < 3; channel++) values[size + channel] = ofColour(channel, row);
      }
      values[row] += row === 0 ? 0 : 1e-4 * count;
      return values;
    });
    eliminate(normal);
    this.coefficients = [0, 1, 2].map((channel) => Float64Array.from(normal, (row) => row[size + channel]));
    const sum = (of) => TERMS.reduce((sum, _, index) => sum + of(index), 0);
    const explained = [0, 1, 2].map((channel) => {
      const own = this.coefficients[channel];
      return sum((row) => own[row] * (2 * ofColour(channel, row) - sum((column) => own[column] * ofTerms(row, column))));
    });
    const residual = squares - (explained[0] + explained[1] + explained[2]);
    this.noise = Math.sqrt(Math.max(residual, 0) / (3 * count));
  }
}

/** The square of a sample's distance from the paper. */
function distance(colours, index, x, paper) {
  let square = 0;
  for (let c = 0; c < 3; c++) {
    const difference = colours[3 * index + c] - ((paper[3 * c + 2] * x + paper[3 * c + 1]) * x + paper[3 * c]);
    square += difference * difference;
  }
  return square;
}

/** Gauss-Jordan elimination with the largest pivot; leaves the solutions in the last columns. */
function eliminate(rows) {
  for (let pivot = 0; pivot < rows.length; pivot++) {
    let best = pivot;
    for (let row = pivot; row < rows.length; row++) {
      if (Math.abs(rows[row][pivot]) >= Math.abs(rows[best][pivot])) best = row;
    }
    [rows[pivot], rows[best]] = [rows[best], rows[pivot]];
    const divisor = rows[pivot][pivot];
    const solved = rows[pivot] = rows[pivot].map((value) => value / divisor);
    rows.forEach((row, index) => {
      if (index === pivot) return;
      const factor = row[pivot];
      for (let column = 0; column < row.length; column++) row[column] -= factor * solved[column];
    });
  }
}
