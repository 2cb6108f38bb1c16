//! The paper that a digit is written on: a smooth surface of colour, fitted to what lies at the border and then to
//! everything that looks like it. So uneven light does not matter, nor what the colour of the paper is.

use image::RgbImage;
use pulp::{Simd, WithSimd};

/// Places that are worked on together.
const LANES: usize = 8;

/// Some so many places are enough to fit a surface to.
const PLACES: f64 = 20_000.0;

/// Pixels nearer to the paper than this are paper, whatever the noise.
const CLOSE: f64 = 12.0;

/// So many medians of the distance of the border from the paper are still paper.
const SPREAD: f64 = 3.5;

/// The terms of the surface: the exponents of x and y in each. The first three are a plane.
const TERMS: [(usize, usize); 6] = [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)];
const PLANE: usize = 3;

/// A place in the picture from -1 to 1.
pub(super) fn coordinates(length: usize) -> Vec<f64> {
    (0..length).map(|place| 2.0 * place as f64 / (length - 1) as f64 - 1.0).collect()
}

/// The paper along a row: for each colour channel `c[0] + c[1] x + c[2] x²`.
pub(super) type Row = [[f64; 3]; 3];

/// The colour of the paper as a quadratic function of the place, per colour channel.
pub(super) struct Paper {
    /// The median colour of the border, from which the coefficients count.
    base: [f64; 3],
    coefficients: [[f64; TERMS.len()]; 3],
    /// Standard deviation of the paper's pixels from it, along one direction of colour.
    pub(super) noise: f64,
}

impl Paper {
    /// Starts from the median colour of the border, then four times fits the pixels that are close to what it has: of
    /// the border a plane, then of the whole picture the quadratic function. The picture must have two rows and columns.
    pub(super) fn fit(picture: &RgbImage) -> Self {
        let grid = Grid::of(picture);
        let base = border_median(picture, &grid);
        let mut paper = Self { base, coefficients: [[0.0; TERMS.len()]; 3], noise: 0.0 };
        let [border, places] =
            [Region::Border, Region::Everywhere].map(|region| Samples::new(picture, &grid, region, base));
        for (samples, terms) in [(&border, PLANE), (&border, PLANE), (&places, TERMS.len()), (&places, TERMS.len())] {
            let close = paper.close(&border);
            let sums = pulp::Arch::new().dispatch(Sum { paper: &paper, samples, close });
            // Too few to tell anything: keep what there is.
            if sums.count() < (4 * TERMS.len()) as f64 {
                break;
            }
            paper.solve(&sums, terms);
        }
        paper
    }

    /// The paper at `y`, with the base.
    pub(super) fn row(&self, y: f64) -> Row {
        let mut row = self.offset(y);
        for (row, base) in row.iter_mut().zip(self.base) {
            row[0] += base;
        }
        row
    }

    /// The paper at `y`, counted from the base.
    #[inline(always)]
    fn offset(&self, y: f64) -> Row {
        let mut row = [[0.0; 3]; 3];
        for (row, [one, of_x, of_y, xx, xy, yy]) in row.iter_mut().zip(&self.coefficients) {
            *row = [one + of_y * y + yy * y * y, of_x + xy * y, *xx];
        }
        row
    }

    /// The square of the distance up to which a colour counts as paper: the spread of the closer half of the border's
    /// pixels tells paper from ink.
    fn close(&self, border: &Samples) -> f64 {
        let mut squares = pulp::Arch::new().dispatch(Squares { paper: self, samples: border });
        let surely = squares.iter().filter(|square| **square <= (CLOSE / SPREAD).powi(2)).count();
        let middle = border.count / 2;
        if surely > middle {
            return CLOSE * CLOSE;
        }
        let (_, median, _) = squares.select_nth_unstable_by(middle, f64::total_cmp);
        (SPREAD * SPREAD * *median).max(CLOSE * CLOSE)
    }

    /// Least squares with the first `used` terms.
    fn solve(&mut self, sums: &Sums, used: usize) {
        let mut normal = [[0.0; TERMS.len() + 3]; TERMS.len()];
        for (row, values) in normal.iter_mut().enumerate() {
            if row >= used {
                values[row] = 1.0;
            } else {
                (0..used).for_each(|column| values[column] = sums.of_terms(row, column));
                (0..3).for_each(|channel| values[TERMS.len() + channel] = sums.of_colour(channel, row));
            }
            // A touch of ridge: terms that the samples say nothing about stay 0.
            values[row] += if row == 0 { 0.0 } else { 1e-4 * sums.count() };
        }
        eliminate(&mut normal);
        for (channel, coefficients) in self.coefficients.iter_mut().enumerate() {
            *coefficients = std::array::from_fn(|row| normal[row][TERMS.len() + channel]);
        }
        self.noise = (self.residual(sums).max(0.0) / (3.0 * sums.count())).sqrt();
    }

    /// The sum of the squares of what the paper leaves of the colours.
    fn residual(&self, sums: &Sums) -> f64 {
        let of_channel = |channel: usize| -> f64 {
            let coefficients = &self.coefficients[channel];
            let explained = |row: usize| -> f64 {
                let of_terms =
                    (0..TERMS.len()).map(|column| coefficients[column] * sums.of_terms(row, column)).sum::<f64>();
                coefficients[row] * (2.0 * sums.of_colour(channel, row) - of_terms)
            };
            (0..TERMS.len()).map(explained).sum()
        };
        sums.squares - (0..3).map(of_channel).sum::<f64>()
    }
}

/// The square of each sample's distance from the paper, compiled for each instruction set.
struct Squares<'a> {
    paper: &'a Paper,
    samples: &'a Samples,
}

impl WithSimd for Squares<'_> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<f64> {
        let mut squares = vec![0.0; self.samples.blocks.len() * LANES];
        let mut rest = S::as_mut_simd_f64s(&mut squares).0;
        for (y, blocks) in self.samples.rows() {
            let row = splat(simd, &self.paper.offset(y));
            for block in blocks {
                let (of_block, after) = rest.split_at_mut(LANES / S::F64_LANES);
                for (group, square) in of_block.iter_mut().enumerate() {
                    *square = block.squares(simd, group, &row);
                }
                rest = after;
            }
        }
        squares
    }
}

/// The sums over the samples whose distance from the paper has at most the square `close`, compiled for each instruction
/// set. Each of [`LANES`] lanes has its own sum, whatever number of them an instruction takes.
struct Sum<'a> {
    paper: &'a Paper,
    samples: &'a Samples,
    close: f64,
}

impl WithSimd for Sum<'_> {
    type Output = Sums;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Sums {
        let mut sums = Sums::default();
        for (y, blocks) in self.samples.rows() {
            let row = splat(simd, &self.paper.offset(y));
            let mut lanes = [[0.0; LANES]; ROW_SUMS];
            for group in 0..LANES / S::F64_LANES {
                let of_group = row_sums(simd, blocks, group, &row, simd.splat_f64s(self.close));
                for (lanes, sum) in lanes.iter_mut().zip(of_group) {
                    S::as_mut_simd_f64s(lanes).0[group] = sum;
                }
            }
            sums.add_row(y, &lanes.map(total));
        }
        sums
    }
}

#[inline(always)]
fn splat<S: Simd>(simd: S, row: &Row) -> [[S::f64s; 3]; 3] {
    let [red, green, blue] = row;
    let splat = |[one, x, xx]: &[f64; 3]| [simd.splat_f64s(*one), simd.splat_f64s(*x), simd.splat_f64s(*xx)];
    [splat(red), splat(green), splat(blue)]
}

/// Sums over the close samples of a row: of the powers 0 to 4 of x, of each channel's colour times the powers 0 to 2 of
/// x, and of the colours squared.
const ROW_SUMS: usize = 5 + 3 * 3 + 1;

#[inline(always)]
fn row_sums<S: Simd>(
    simd: S,
    blocks: &[Block],
    group: usize,
    row: &[[S::f64s; 3]; 3],
    close: S::f64s,
) -> [S::f64s; ROW_SUMS] {
    let mut sums = [simd.splat_f64s(0.0); ROW_SUMS];
    for block in blocks {
        let x = S::as_simd_f64s(&block.x).0[group];
        let is_close = simd.less_than_or_equal_f64s(block.squares(simd, group, row), close);
        let mut power = simd.select_f64s(is_close, simd.splat_f64s(1.0), simd.splat_f64s(0.0));
        for sum in &mut sums[..5] {
            *sum = simd.add_f64s(*sum, power);
            power = simd.mul_f64s(power, x);
        }
        for channel in 0..3 {
            let colour = S::as_simd_f64s(&block.colours[channel]).0[group];
            let mut power = simd.select_f64s(is_close, colour, simd.splat_f64s(0.0));
            sums[ROW_SUMS - 1] = simd.add_f64s(sums[ROW_SUMS - 1], simd.mul_f64s(power, power));
            for sum in &mut sums[5 + 3 * channel..][..3] {
                *sum = simd.add_f64s(*sum, power);
                power = simd.mul_f64s(power, x);
            }
        }
    }
    sums
}

/// Gauss-Jordan elimination with the largest pivot; leaves the solutions in the last three columns.
fn eliminate<const WIDTH: usize, const COUNT: usize>(rows: &mut [[f64; WIDTH]; COUNT]) {
    for pivot in 0..COUNT {
        let best = (pivot..COUNT).max_by(|a, b| rows[*a][pivot].abs().total_cmp(&rows[*b][pivot].abs()));
        rows.swap(pivot, best.unwrap_or(pivot));
        let divisor = rows[pivot][pivot];
        rows[pivot] = rows[pivot].map(|value| value / divisor);
        let solved = rows[pivot];
        for (_, row) in rows.iter_mut().enumerate().filter(|(row, _)| *row != pivot) {
            let factor = row[pivot];
            for (value, solved) in row.iter_mut().zip(solved) {
                *value -= factor * solved;
            }
        }
    }
}

/// Which places are looked at.
#[derive(Clone, Copy, PartialEq)]
enum Region {
    Border,
    Everywhere,
}

/// Which pixels are looked at: on the border every so many in a row, as on a chessboard, and elsewhere half as many.
struct Grid {
    width: usize,
    height: usize,
    step: usize,
    /// The width of the border.
    margin: usize,
}

impl Grid {
    fn of(picture: &RgbImage) -> Self {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let step = ((width * height) as f64 / PLACES).sqrt().ceil().max(1.0) as usize;
        Self { width, height, step, margin: (width.min(height) / 25).max(1) }
    }

    /// The columns of row `y` that are looked at.
    fn columns(&self, y: usize, region: Region) -> impl Iterator<Item = usize> {
        let Self { width, height, step, margin } = *self;
        let whole = y < margin || y >= height - margin || (region == Region::Everywhere && y.is_multiple_of(step));
        let first = (step - y % step) % step;
        let (left, right) = if whole { (width, width) } else { (margin, width - margin) };
        let first_right = first + right.saturating_sub(first).div_ceil(step) * step;
        (first..left).step_by(step).chain((first_right..width).step_by(step))
    }
}

/// The median of the border's colours, per channel.
fn border_median(picture: &RgbImage, grid: &Grid) -> [f64; 3] {
    let mut counts = [[0_u32; 256]; 3];
    let mut total = 0;
    for (y, row) in picture.as_raw().chunks_exact(3 * grid.width).enumerate() {
        for x in grid.columns(y, Region::Border) {
            for (channel, counts) in counts.iter_mut().enumerate() {
                counts[usize::from(row[3 * x + channel])] += 1;
            }
            total += 1;
        }
    }
    counts.map(|counts| {
        let mut below = 0;
        let reached = |count: &u32| {
            below += count;
            below > total / 2
        };
        counts.iter().position(reached).unwrap_or(0) as f64
    })
}

/// Colours at places of one row, counted from the base.
#[derive(Clone, Copy)]
struct Block {
    x: [f64; LANES],
    colours: [[f64; LANES]; 3],
}

impl Block {
    /// The square of each colour's distance from the paper, of one group of lanes.
    #[inline(always)]
    fn squares<S: Simd>(&self, simd: S, group: usize, row: &[[S::f64s; 3]; 3]) -> S::f64s {
        let x = S::as_simd_f64s(&self.x).0[group];
        let mut square = simd.splat_f64s(0.0);
        for (colours, [one, linear, quadratic]) in self.colours.iter().zip(row) {
            let paper = simd.add_f64s(simd.mul_f64s(simd.add_f64s(simd.mul_f64s(*quadratic, x), *linear), x), *one);
            let difference = simd.sub_f64s(S::as_simd_f64s(colours).0[group], paper);
            square = simd.add_f64s(square, simd.mul_f64s(difference, difference));
        }
        square
    }
}

/// The places that are looked at, row by row.
struct Samples {
    blocks: Vec<Block>,
    /// y, and the end of the row's blocks.
    ends: Vec<(f64, usize)>,
    count: usize,
}

impl Samples {
    fn new(picture: &RgbImage, grid: &Grid, region: Region, base: [f64; 3]) -> Self {
        let (xs, ys) = (coordinates(grid.width), coordinates(grid.height));
        let most = grid.height * (grid.width / grid.step / LANES + 2);
        let mut samples = Self { blocks: Vec::with_capacity(most), ends: Vec::with_capacity(grid.height), count: 0 };
        for ((y, row), place) in picture.as_raw().chunks_exact(3 * grid.width).enumerate().zip(ys) {
            let mut block = Block { x: [0.0; LANES], colours: [[0.0; LANES]; 3] };
            let mut lane = 0;
            grid.columns(y, region).for_each(|x| {
                block.x[lane] = xs[x];
                for channel in 0..3 {
                    block.colours[channel][lane] = f64::from(row[3 * x + channel]) - base[channel];
                }
                lane += 1;
                if lane == LANES {
                    samples.blocks.push(block);
                    samples.count += LANES;
                    lane = 0;
                }
            });
            if lane > 0 {
                // Lanes without a place are far from every paper.
                block.colours.iter_mut().for_each(|colours| colours[lane..].fill(1e9));
                samples.blocks.push(block);
                samples.count += lane;
            }
            samples.ends.push((place, samples.blocks.len()));
        }
        samples
    }

    #[inline(always)]
    fn rows(&self) -> impl Iterator<Item = (f64, &[Block])> {
        let mut start = 0;
        self.ends.iter().map(move |&(y, end)| (y, &self.blocks[std::mem::replace(&mut start, end)..end]))
    }
}

/// Sums over the close samples: of `x^i y^j`, of colours times `x^i y^j`, and of colours squared.
#[derive(Default)]
struct Sums {
    powers: [[f64; 5]; 5],
    colours: [[[f64; 3]; 3]; 3],
    squares: f64,
}

impl Sums {
    fn add_row(&mut self, y: f64, row: &[f64; ROW_SUMS]) {
        let ys = [1.0, y, y * y, y * y * y, y * y * y * y];
        for (x_power, sum) in row[..5].iter().enumerate() {
            for (y_power, y) in ys.iter().enumerate().take(5 - x_power) {
                self.powers[x_power][y_power] += sum * y;
            }
        }
        for (colours, sums) in self.colours.iter_mut().zip(row[5..].chunks_exact(3)) {
            for (x_power, sum) in sums.iter().enumerate() {
                for (y_power, y) in ys.iter().enumerate().take(3 - x_power) {
                    colours[x_power][y_power] += sum * y;
                }
            }
        }
        self.squares += row[ROW_SUMS - 1];
    }

    fn count(&self) -> f64 {
        self.powers[0][0]
    }

    /// The sum of the product of two terms.
    fn of_terms(&self, a: usize, b: usize) -> f64 {
        self.powers[TERMS[a].0 + TERMS[b].0][TERMS[a].1 + TERMS[b].1]
    }

    /// The sum of the product of a channel's colour and a term.
    fn of_colour(&self, channel: usize, term: usize) -> f64 {
        self.colours[channel][TERMS[term].0][TERMS[term].1]
    }
}

fn total(lanes: [f64; LANES]) -> f64 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + b) + (c + d)) + ((e + f) + (g + h))
}
