//! The paper that a digit is written on: a smooth surface of colour, fitted to what lies at the border and then to
//! everything that looks like it. So uneven light does not matter, nor what the colour of the paper is.
//!
//! Where a drawing is blank, its pixels have one colour, the base. Such places are paper wherever the surface stays near
//! the base, and what they add to the sums that the surface is fitted with depends on their columns alone: it is
//! computed once for all rows.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::planes::{CHANNELS, Planes, of_channels};
use super::samples::{
    Colours, Grid, LANES, POWERS, Powers, Region, SampledRow, Samples, base_colours, border_median, total,
};

/// Pixels nearer to the paper than this are paper, whatever the noise.
const CLOSE: f64 = 12.0;

/// So many medians of the distance of the border from the paper are still paper.
const SPREAD: f64 = 3.5;

/// The terms of the surface: the exponents of x and y in each. The first three are a plane.
const TERMS: [(usize, usize); 6] = [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)];
const PLANE: usize = 3;

/// The fewest samples that say something about the surface.
const LEAST: usize = 4 * TERMS.len();

/// The paper along a row: for each plane `c[0] + c[1] x + c[2] x²`.
pub(super) type Row<const C: usize> = [[f64; 3]; C];

/// The colour of the paper as a quadratic function of the place, per plane.
pub(super) struct Paper<const C: usize> {
    /// The median colour of the border, from which the coefficients count.
    pub(super) base: [u8; C],
    /// For each row of the picture the columns in which there may be another colour than the base.
    pub(super) coloured: Vec<Range<usize>>,
    coefficients: [[f64; TERMS.len()]; C],
    /// Standard deviation of the paper's pixels from it, along one direction of colour.
    pub(super) noise: f64,
}

impl<const C: usize> Paper<C> {
    /// Starts from the median colour of the border, then four times fits the pixels that are close to what it has: of
    /// the border a plane, then of the whole picture the quadratic function. The picture must have two rows and columns.
    pub(super) fn fit(picture: &Planes<C>) -> Self {
        let grid = Grid::of(picture);
        let columns = grid.columns();
        let (base, coloured) = border_median(picture, &grid, &columns);
        let mut paper = Self { base, coloured, coefficients: [[0.0; TERMS.len()]; C], noise: 0.0 };
        let [border, places] = [Region::Border, Region::Everywhere]
            .map(|region| Samples::new(picture, (base, &paper.coloured), &grid, &columns, region));
        // The plane through a border that is blank is the base.
        let done = if border.coloured.is_empty() && border.count >= LEAST { 2 } else { 0 };
        for (samples, terms) in
            [(&border, PLANE), (&border, PLANE), (&places, TERMS.len()), (&places, TERMS.len())].into_iter().skip(done)
        {
            let close = paper.close(&border);
            let sums = pulp::Arch::new().dispatch(Sum { paper: &paper, samples, close });
            // Too few to tell anything: keep what there is.
            if sums.count() < LEAST as f64 {
                break;
            }
            paper.solve(&sums, terms);
        }
        paper
    }

    /// The paper at `y`, with the base.
    pub(super) fn row(&self, y: f64) -> Row<C> {
        let mut row = self.offset(y);
        for (row, base) in row.iter_mut().zip(self.base) {
            row[0] += f64::from(base);
        }
        row
    }

    /// The paper at `y`, counted from the base.
    #[inline(always)]
    fn offset(&self, y: f64) -> Row<C> {
        let mut row = [[0.0; 3]; C];
        for (row, [one, of_x, of_y, xx, xy, yy]) in row.iter_mut().zip(&self.coefficients) {
            *row = [one + of_y * y + yy * y * y, of_x + xy * y, *xx];
        }
        row
    }

    /// Whether the base counts as paper everywhere, given the square of the distance up to which a colour does.
    fn stays_near_base(&self, close: f64) -> bool {
        // No place is farther out than 1; the hundredth is for what the distances themselves are rounded by.
        let farthest = |plane: usize| self.coefficients[plane].iter().map(|term| term.abs()).sum::<f64>().powi(2);
        of_channels::<C>().map(farthest).iter().sum::<f64>() * 1.01 <= close
    }

    /// The square of the distance up to which a colour counts as paper: the spread of the closer half of the border's
    /// pixels tells paper from ink.
    fn close(&self, border: &Samples<C>) -> f64 {
        let (middle, surely) = (border.count / 2, (CLOSE / SPREAD).powi(2));
        if border.blank > middle && self.stays_near_base(surely) {
            return CLOSE * CLOSE;
        }
        let mut squares = pulp::Arch::new().dispatch(Squares { paper: self, samples: border });
        if squares.iter().filter(|square| **square <= surely).count() > middle {
            return CLOSE * CLOSE;
        }
        let (_, median, _) = squares.select_nth_unstable_by(middle, f64::total_cmp);
        (SPREAD * SPREAD * *median).max(CLOSE * CLOSE)
    }

    /// Least squares with the first `used` terms.
    fn solve(&mut self, sums: &Sums<C>, used: usize) {
        let mut normal = [[0.0; TERMS.len() + CHANNELS]; TERMS.len()];
        for (row, values) in normal.iter_mut().enumerate() {
            if row >= used {
                values[row] = 1.0;
            } else {
                (0..used).for_each(|column| values[column] = sums.of_terms(row, column));
                (0..C).for_each(|plane| values[TERMS.len() + plane] = sums.of_colour(plane, row));
            }
            // A touch of ridge: terms that the samples say nothing about stay 0.
            values[row] += if row == 0 { 0.0 } else { 1e-4 * sums.count() };
        }
        eliminate(&mut normal);
        for (plane, coefficients) in self.coefficients.iter_mut().enumerate() {
            *coefficients = std::array::from_fn(|row| normal[row][TERMS.len() + plane]);
        }
        self.noise = (self.residual(sums).max(0.0) / (3.0 * sums.count())).sqrt();
    }

    /// The sum of the squares of what the paper leaves of the colours.
    fn residual(&self, sums: &Sums<C>) -> f64 {
        let of_plane = |plane: usize| -> f64 {
            let coefficients = &self.coefficients[plane];
            let explained = |row: usize| -> f64 {
                let of_terms =
                    (0..TERMS.len()).map(|column| coefficients[column] * sums.of_terms(row, column)).sum::<f64>();
                coefficients[row] * (2.0 * sums.of_colour(plane, row) - of_terms)
            };
            (0..TERMS.len()).map(explained).sum()
        };
        sums.squares - of_channels::<C>().map(of_plane).iter().sum::<f64>()
    }
}

/// The square of each sample's distance from the paper, compiled for each instruction set.
struct Squares<'a, const C: usize> {
    paper: &'a Paper<C>,
    samples: &'a Samples<'a, C>,
}

impl<const C: usize> WithSimd for Squares<'_, C> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<f64> {
        let mut squares = Vec::with_capacity(self.samples.count + LANES);
        for row in self.samples.rows() {
            let paper = splat(simd, &self.paper.offset(row.y));
            let before = squares.len();
            for (powers, colours) in row.blocks() {
                let mut of_block = [0.0; LANES];
                for (group, square) in S::as_mut_simd_f64s(&mut of_block).0.iter_mut().enumerate() {
                    *square = distances(simd, powers, colours.unwrap_or(&base_colours()), group, &paper);
                }
                squares.extend_from_slice(&of_block);
            }
            // The last lanes may be without a place.
            squares.truncate(before + row.columns.places.len());
        }
        squares
    }
}

/// The sums over the samples whose distance from the paper has at most the square `close`, compiled for each instruction
/// set. Each of [`LANES`] lanes has its own sum, whatever number of them an instruction takes.
struct Sum<'a, const C: usize> {
    paper: &'a Paper<C>,
    samples: &'a Samples<'a, C>,
    close: f64,
}

impl<const C: usize> WithSimd for Sum<'_, C> {
    type Output = Sums<C>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Sums<C> {
        let mut sums = Sums { powers: [[0.0; 5]; 5], colours: [[[0.0; 3]; 3]; C], squares: 0.0 };
        let base_is_close = self.paper.stays_near_base(self.close);
        for row in self.samples.rows() {
            if base_is_close && row.coloured.is_empty() {
                let mut of_row = [0.0; ROW_SUMS];
                of_row[..POWERS].copy_from_slice(&row.columns.sums);
                sums.add_row(row.y, &of_row);
                continue;
            }
            let paper = splat(simd, &self.paper.offset(row.y));
            let mut lanes = [[0.0; LANES]; ROW_SUMS];
            for group in 0..LANES / S::F64_LANES {
                let of_group = row_sums(simd, &row, group, &paper, (simd.splat_f64s(self.close), base_is_close));
                for (lanes, sum) in lanes[..COLOURS + 3 * C].iter_mut().zip(of_group) {
                    S::as_mut_simd_f64s(lanes).0[group] = sum;
                }
            }
            let mut of_row = [0.0; ROW_SUMS];
            for (sum, lanes) in of_row[..COLOURS + 3 * C].iter_mut().zip(&lanes) {
                *sum = total(*lanes);
            }
            sums.add_row(row.y, &of_row);
        }
        sums
    }
}

#[inline(always)]
fn splat<S: Simd, const C: usize>(simd: S, row: &Row<C>) -> [[S::f64s; 3]; C] {
    let mut splat = [[simd.splat_f64s(0.0); 3]; C];
    for (splat, terms) in splat.iter_mut().zip(row) {
        for (splat, term) in splat.iter_mut().zip(terms) {
            *splat = simd.splat_f64s(*term);
        }
    }
    splat
}

/// Sums over the close samples of a row: of the powers 0 to 4 of x, of the colours squared, and of each plane's colour
/// times the powers 0 to 2 of x.
const ROW_SUMS: usize = COLOURS + 3 * CHANNELS;

/// Where the sum of the squares is, and where those with the colours begin.
const SQUARES: usize = POWERS;
const COLOURS: usize = SQUARES + 1;

#[inline(always)]
fn row_sums<S: Simd, const C: usize>(
    simd: S,
    row: &SampledRow<C>,
    group: usize,
    paper: &[[S::f64s; 3]; C],
    (close, base_is_close): (S::f64s, bool),
) -> [S::f64s; ROW_SUMS] {
    let zero = simd.splat_f64s(0.0);
    let mut sums = [zero; ROW_SUMS];
    for (powers, colours) in row.blocks() {
        let power = |exponent: usize| S::as_simd_f64s(&powers[exponent]).0[group];
        if colours.is_none() && base_is_close {
            for (exponent, sum) in sums[..POWERS].iter_mut().enumerate() {
                *sum = simd.add_f64s(*sum, power(exponent));
            }
            continue;
        }
        let colours = colours.unwrap_or(&const { base_colours() });
        let is_close = simd.less_than_or_equal_f64s(distances(simd, powers, colours, group, paper), close);
        for (exponent, sum) in sums[..POWERS].iter_mut().enumerate() {
            *sum = simd.add_f64s(*sum, simd.select_f64s(is_close, power(exponent), zero));
        }
        for channel in 0..CHANNELS {
            let mut of_power = simd.select_f64s(is_close, S::as_simd_f64s(&colours[channel % C]).0[group], zero);
            sums[SQUARES] = simd.add_f64s(sums[SQUARES], simd.mul_f64s(of_power, of_power));
            if channel < C {
                for sum in &mut sums[COLOURS + 3 * channel..][..3] {
                    *sum = simd.add_f64s(*sum, of_power);
                    of_power = simd.mul_f64s(of_power, power(1));
                }
            }
        }
    }
    sums
}

/// The square of each colour's distance from the paper, of one group of lanes.
#[inline(always)]
fn distances<S: Simd, const C: usize>(
    simd: S,
    powers: &Powers,
    colours: &Colours<C>,
    group: usize,
    paper: &[[S::f64s; 3]; C],
) -> S::f64s {
    let x = S::as_simd_f64s(&powers[1]).0[group];
    let mut square = simd.splat_f64s(0.0);
    for channel in 0..CHANNELS {
        let [one, linear, quadratic] = paper[channel % C];
        let paper = simd.add_f64s(simd.mul_f64s(simd.add_f64s(simd.mul_f64s(quadratic, x), linear), x), one);
        let difference = simd.sub_f64s(S::as_simd_f64s(&colours[channel % C]).0[group], paper);
        square = simd.add_f64s(square, simd.mul_f64s(difference, difference));
    }
    square
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

/// Sums over the close samples: of `x^i y^j`, of colours times `x^i y^j`, and of colours squared.
struct Sums<const C: usize> {
    powers: [[f64; 5]; 5],
    colours: [[[f64; 3]; 3]; C],
    squares: f64,
}

impl<const C: usize> Sums<C> {
    fn add_row(&mut self, y: f64, row: &[f64; ROW_SUMS]) {
        let ys = [1.0, y, y * y, y * y * y, y * y * y * y];
        for (x_power, sum) in row[..POWERS].iter().enumerate() {
            for (y_power, y) in ys.iter().enumerate().take(POWERS - x_power) {
                self.powers[x_power][y_power] += sum * y;
            }
        }
        for (colours, sums) in self.colours.iter_mut().zip(row[COLOURS..].chunks_exact(3)) {
            for (x_power, sum) in sums.iter().enumerate() {
                for (y_power, y) in ys.iter().enumerate().take(3 - x_power) {
                    colours[x_power][y_power] += sum * y;
                }
            }
        }
        self.squares += row[SQUARES];
    }

    fn count(&self) -> f64 {
        self.powers[0][0]
    }

    /// The sum of the product of two terms.
    fn of_terms(&self, a: usize, b: usize) -> f64 {
        self.powers[TERMS[a].0 + TERMS[b].0][TERMS[a].1 + TERMS[b].1]
    }

    /// The sum of the product of a plane's colour and a term.
    fn of_colour(&self, plane: usize, term: usize) -> f64 {
        self.colours[plane][TERMS[term].0][TERMS[term].1]
    }
}

#[cfg(test)]
mod tests;
