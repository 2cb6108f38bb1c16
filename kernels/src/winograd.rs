//! Winograd's convolution F(2x2, 3x3): 16 multiplications for four outputs of a 3x3 kernel where the formula has 36 (Lavin and
//! Gray, "Fast algorithms for convolutional neural networks", 2016).
//!
//! An image is cut into tiles of 4x4 that overlap by two; each gives 2x2 outputs, `A' ((G g G') * (B' d B)) A` with a product
//! by elements in the middle. Summed over the input channels, that product is 16 matrix products, one for each place in a
//! tile: `[channels out, channels in]` times `[channels in, tiles]`. The gradients are the transposes of the same three steps.
//!
//! The entries of `A` and `B` are 0 and ±1, those of `G` 0, 1 and ±1/2: the rounding errors are about twice those of the formula.
//!
//! Here are the steps to and from the transformed values of one channel; [`super::conv`] puts them together.

use std::ops::Range;

use pulp::Simd;

use super::pool::{PoolIndex, maximum};

/// Places in a tile.
pub(super) const PLACES: usize = 16;

/// Tiles that are transformed together; rows of tiles may write this many values less one too far.
const CHUNK: usize = 8;

/// The tiles of a plane: those that give `size` outputs from planes with `padding` zeros around them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiling {
    /// Height and width of the plane that is read.
    pub(super) input: [usize; 2],
    /// Height and width of the plane that is written.
    pub(super) output: [usize; 2],
    /// Zeros around the plane that is read.
    pub(super) padding: usize,
}

impl Tiling {
    /// Rows of tiles, and tiles in a row.
    pub(super) fn tiles(&self) -> [usize; 2] {
        self.output.map(|size| size.div_ceil(2))
    }

    /// Values of scratch memory that [`Tiling::read`] and [`Tiling::write`] need for `rows` rows of tiles.
    pub(super) fn scratch(&self, rows: usize) -> usize {
        let across = self.tiles()[1];
        2 * self.line() + 8 * Self::half(rows, across)
    }

    /// A row of the plane with its zeros, and what a chunk of tiles reads beyond it.
    fn line(&self) -> usize {
        (2 * self.tiles()[1].next_multiple_of(CHUNK) + 2 * CHUNK)
            .max((self.padding + self.input[1]).next_multiple_of(2 * CHUNK))
    }

    /// A row of the plane, its even and its odd values, and the rest.
    #[inline(always)]
    fn lines<'a>(&self, scratch: &'a mut [f32]) -> ([&'a mut [f32]; 3], &'a mut [f32]) {
        let (line, rest) = scratch.split_at_mut(self.line());
        let (evens, rest) = rest.split_at_mut(self.line() / 2);
        let (odds, rest) = rest.split_at_mut(self.line() / 2);
        ([line, evens, odds], rest)
    }

    /// The even or the odd rows under some rows of tiles, transformed along the row.
    fn half(rows: usize, across: usize) -> usize {
        (rows + 1) * across + CHUNK
    }

    /// `B' d B` of the tiles in these `rows` of a plane: the value at place `p` of tile `n` goes to `values[p * place + n]`.
    #[inline(always)]
    pub(super) fn read(
        &self,
        plane: &[f32],
        rows: &Range<usize>,
        scratch: &mut [f32],
        values: &mut [f32],
        place: usize,
    ) {
        let ([height, width], across, count) = (self.input, self.tiles()[1], rows.len());
        let (chunks, half) = (across.next_multiple_of(CHUNK), Self::half(count, across));
        let ([line, evens, odds], halves) = self.lines(scratch);
        let halves = &mut halves[..8 * half];
        line.fill(0.0);
        for y in 0..2 * count + 2 {
            let at = y / 2 * across;
            let source = (2 * rows.start + y).wrapping_sub(self.padding);
            let parity = &mut halves[y % 2 * 4 * half..][..4 * half];
            if source >= height {
                parity.chunks_exact_mut(half).for_each(|part| part[at..at + across].fill(0.0));
                continue;
            }
            line[self.padding..][..width].copy_from_slice(&plane[source * width..][..width]);
            split(line, evens, odds);
            let parts = quarters(parity, half).map(|part| &mut part[at..at + chunks]);
            let [a, b, c, d] = [&evens[..chunks], &odds[..chunks], &evens[1..=chunks], &odds[1..=chunks]];
            difference(parts, [a, b, c, d]);
        }
        let (even, odd) = halves.split_at(4 * half);
        let tiles = count * across;
        for k in 0..4 {
            let (even, odd) = (&even[k * half..][..half], &odd[k * half..][..half]);
            let inputs = [even, odd, &even[across..], &odd[across..]].map(|part| &part[..tiles]);
            difference(quarters_at(values, place, k, tiles), inputs);
        }
    }

    /// `A' m A + bias`, with ReLU if asked, of the tiles in these `rows`, to their places in a plane; the value at place `p` of
    /// tile `n` is `products[p * place + n]`.
    #[inline(always)]
    pub(super) fn write(
        &self,
        (products, place): (&[f32], usize),
        rows: &Range<usize>,
        (bias, relu): (f32, bool),
        scratch: &mut [f32],
        plane: &mut [f32],
    ) {
        let ([height, width], across) = (self.output, self.tiles()[1]);
        let (tiles, chunks) = (rows.len() * across, across.next_multiple_of(CHUNK));
        let ([line, ..], rest) = self.lines(scratch);
        let mut squares = quarters(rest, tiles + CHUNK);
        square(products, place, tiles, &mut squares, bias);
        if relu {
            // A NaN passes, so that a broken run shows.
            let positive = |value: &mut f32| *value = if *value <= 0.0 { 0.0 } else { *value };
            squares.iter_mut().for_each(|square| square[..tiles].iter_mut().for_each(positive));
        }
        for (i, row) in rows.clone().enumerate() {
            for lower in 0..2.min(height - 2 * row) {
                let [left, right] = [0, 1].map(|k| &squares[2 * lower + k][i * across..][..chunks]);
                let plane = &mut plane[(2 * row + lower) * width..];
                // What is too much in one row is written over by the next.
                match plane.get_mut(..2 * chunks) {
                    Some(plane) => join(left, right, plane),
                    None => {
                        join(left, right, &mut line[..2 * chunks]);
                        plane[..width].copy_from_slice(&line[..width]);
                    }
                }
            }
        }
    }

    /// The same with a 2x2 max-pool: each tile gives one value of a plane of half the size, and says which of its outputs it is.
    #[inline(always)]
    pub(super) fn write_pooled(
        &self,
        (products, place): (&[f32], usize),
        rows: &Range<usize>,
        (bias, relu): (f32, bool),
        scratch: &mut [f32],
        (plane, indices): (&mut [f32], &mut [PoolIndex]),
    ) {
        let ([height, width], across) = (self.output.map(|size| size / 2), self.tiles()[1]);
        let tiles = rows.len() * across;
        let mut squares = quarters(scratch, tiles + CHUNK);
        square(products, place, tiles, &mut squares, 0.0);
        let is_asked = !indices.is_empty();
        for (i, row) in rows.clone().enumerate().filter(|(_, row)| *row < height) {
            let [a, b, c, d] = [0, 1, 2, 3].map(|k| &squares[k][i * across..][..width]);
            let plane = &mut plane[row * width..][..width];
            if is_asked {
                let indices = &mut indices[row * width..][..width];
                for x in 0..width {
                    (plane[x], indices[x]) = maximum([[a[x], b[x]], [c[x], d[x]]], bias, relu);
                }
            } else {
                for x in 0..width {
                    plane[x] = maximum([[a[x], b[x]], [c[x], d[x]]], bias, relu).0;
                }
            }
        }
    }
}

/// `A' m A + bias` of `tiles` tiles: one array for each place in the square of outputs.
#[inline(always)]
fn square(products: &[f32], place: usize, tiles: usize, squares: &mut [&mut [f32]; 4], bias: f32) {
    let m: [&[f32]; PLACES] = std::array::from_fn(|p| &products[p * place..][..tiles]);
    let [a, b, c, d] = squares.each_mut().map(|square| &mut square[..tiles]);
    for n in 0..tiles {
        let top: [f32; 4] = std::array::from_fn(|k| m[k][n] + m[4 + k][n] + m[8 + k][n]);
        let bottom: [f32; 4] = std::array::from_fn(|k| m[4 + k][n] - m[8 + k][n] - m[12 + k][n]);
        a[n] = top[0] + top[1] + top[2] + bias;
        b[n] = top[1] - top[2] - top[3] + bias;
        c[n] = bottom[0] + bottom[1] + bottom[2] + bias;
        d[n] = bottom[1] - bottom[2] - bottom[3] + bias;
    }
}

/// `G g G'` of 3x3 kernels that lie side by side, place by place.
#[inline(always)]
pub(super) fn transform<const N: usize>(kernels: &[[f32; N]; 9]) -> [[f32; N]; PLACES] {
    let mut columns = [[[0.0; N]; 3]; 4];
    for x in 0..3 {
        let along = transform_along([&kernels[x], &kernels[3 + x], &kernels[6 + x]]);
        for (row, values) in columns.iter_mut().zip(along) {
            row[x] = values;
        }
    }
    let mut transformed = [[0.0; N]; PLACES];
    for (row, places) in columns.iter().zip(transformed.chunks_exact_mut(4)) {
        places.copy_from_slice(&transform_along([&row[0], &row[1], &row[2]]));
    }
    transformed
}

/// `G g` along one axis.
#[inline(always)]
fn transform_along<const N: usize>([a, b, c]: [&[f32; N]; 3]) -> [[f32; N]; 4] {
    let mut result = [*a, [0.0; N], [0.0; N], *c];
    for i in 0..N {
        let outer = 0.5 * (a[i] + c[i]);
        result[1][i] = outer + 0.5 * b[i];
        result[2][i] = outer - 0.5 * b[i];
    }
    result
}

/// `B' d` along one axis.
#[inline(always)]
fn difference([first, second, third, fourth]: [&mut [f32]; 4], [a, b, c, d]: [&[f32]; 4]) {
    difference_of(first, second, third, fourth, a, b, c, d);
}

// Arguments of their own, so that the compiler knows them to be apart.
#[allow(clippy::too_many_arguments)]
#[inline(always)]
fn difference_of(
    first: &mut [f32],
    second: &mut [f32],
    third: &mut [f32],
    fourth: &mut [f32],
    a: &[f32],
    b: &[f32],
    c: &[f32],
    d: &[f32],
) {
    let count = first.len();
    let (second, third, fourth) = (&mut second[..count], &mut third[..count], &mut fourth[..count]);
    let (a, b, c, d) = (&a[..count], &b[..count], &c[..count], &d[..count]);
    for n in 0..count {
        first[n] = a[n] - c[n];
        second[n] = b[n] + c[n];
        third[n] = c[n] - b[n];
        fourth[n] = b[n] - d[n];
    }
}

/// The even and the odd values of a line.
#[inline(always)]
fn split(line: &[f32], evens: &mut [f32], odds: &mut [f32]) {
    // In one loop, which the compiler turns into shuffles.
    for ((pair, even), odd) in line.chunks_exact(2).zip(evens).zip(odds) {
        *even = pair[0];
        *odd = pair[1];
    }
}

/// The reverse of [`split`].
#[inline(always)]
fn join(evens: &[f32], odds: &[f32], line: &mut [f32]) {
    for ((pair, even), odd) in line.chunks_exact_mut(2).zip(evens).zip(odds) {
        pair[0] = *even;
        pair[1] = *odd;
    }
}

/// `G g G'` of 3x3 kernels side by side in vectors, place by place.
#[inline(always)]
pub(super) fn kernels<S: Simd>(simd: S, [a, b, c, d, e, f, g, h, i]: [S::f32s; 9]) -> [S::f32s; PLACES] {
    let columns = [halves(simd, [a, d, g]), halves(simd, [b, e, h]), halves(simd, [c, f, i])];
    let mut places = [simd.splat_f32s(0.0); PLACES];
    for (k, places) in places.chunks_exact_mut(4).enumerate() {
        places.copy_from_slice(&halves(simd, columns.map(|column| column[k])));
    }
    places
}

/// `G g` along one axis.
#[inline(always)]
fn halves<S: Simd>(simd: S, [a, b, c]: [S::f32s; 3]) -> [S::f32s; 4] {
    let half = simd.splat_f32s(0.5);
    let outer = simd.mul_f32s(half, simd.add_f32s(a, c));
    let middle = simd.mul_f32s(half, b);
    [a, simd.add_f32s(outer, middle), simd.sub_f32s(outer, middle), c]
}

/// The values of `tiles` tiles at the places `k`, `4 + k`, `8 + k` and `12 + k`.
#[inline(always)]
fn quarters_at(values: &mut [f32], place: usize, k: usize, tiles: usize) -> [&mut [f32]; 4] {
    let mut parts = values.chunks_mut(place).skip(k).step_by(4);
    std::array::from_fn(|_| parts.next().map_or(&mut [][..], |values| &mut values[..tiles]))
}

#[inline(always)]
fn quarters(values: &mut [f32], length: usize) -> [&mut [f32]; 4] {
    let (first, rest) = values.split_at_mut(length);
    let (second, rest) = rest.split_at_mut(length);
    let (third, fourth) = rest.split_at_mut(length);
    [first, second, third, &mut fourth[..length]]
}
