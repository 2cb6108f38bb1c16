//! Products with a patch matrix whose rows are slices of a [padded](super::padded) image: nothing is gathered.
//!
//! Both products keep a tile of results in registers. Each result is one sum, in the order of the matrix's rows for
//! [`convolve`] and of its columns for [`correlate`], whatever the tiles are.

use pulp::{Simd, WithSimd};

/// Rows of weights that are computed together at most.
pub(super) const PANEL: usize = 8;

/// Whether it is faster than gathering patches first. That costs about a cycle and a half for each value, while each output
/// channel costs a sixteenth; here, the columns past the width and those that fill up the last vector are for nothing.
pub(super) fn is_worth_it(channels_out: usize, [height, width]: [usize; 2], columns: usize) -> bool {
    // columns / (height * width) < 1 + 24 / channels_out
    columns.next_multiple_of(16) * channels_out < height * width * (channels_out + 24)
}

/// See [`Convolve`].
pub(super) fn convolve(work: Convolve) {
    pulp::Arch::new().dispatch(work);
}

/// See [`Correlate`].
pub(super) fn correlate(work: Correlate) {
    pulp::Arch::new().dispatch(work);
}

/// Values of scratch memory that the results of [`PANEL`] rows need for `length` columns.
pub(super) fn results(length: usize) -> usize {
    PANEL * stride(length)
}

/// Values from one row of results to the next.
pub(super) fn stride(length: usize) -> usize {
    // A multiple of every vector's lanes.
    length.next_multiple_of(16)
}

/// Values that [`pack`] makes of `rows` rows of `depth` weights.
pub(super) fn packed(rows: usize, depth: usize) -> usize {
    rows.next_multiple_of(PANEL) * depth
}

/// Puts `rows` of weights, each of `depth` values, into the order in which [`Convolve`] reads them: `[panels, depth, PANEL]`,
/// zeros where a panel has fewer rows.
#[inline(always)]
pub(super) fn pack(weights: &[f32], depth: usize, packed: &mut [f32]) {
    for (rows, panel) in weights.chunks(PANEL * depth).zip(packed.chunks_exact_mut(PANEL * depth)) {
        let count = rows.len() / depth;
        for (r, column) in panel.chunks_exact_mut(PANEL).enumerate() {
            for (m, value) in column.iter_mut().enumerate() {
                *value = if m < count { rows[m * depth + r] } else { 0.0 };
            }
        }
    }
}

/// `results[row, n] = sum over r of weights[r, row] * image[offsets[r] + n]` for `rows` rows, at most [`PANEL`], and `n` in
/// `0..length`; `weights` is one panel of [`pack`]. Rows of results are [`stride`] apart. `image` is readable for what fills up
/// the last vector.
pub(super) struct Convolve<'a> {
    pub(super) weights: &'a [f32],
    /// Weights from one `r` to the next: [`PANEL`], or for a single row 1.
    pub(super) step: usize,
    pub(super) rows: usize,
    pub(super) offsets: &'a [usize],
    pub(super) image: &'a [f32],
    pub(super) length: usize,
    pub(super) results: &'a mut [f32],
}

impl WithSimd for Convolve<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        if self.rows == 1 {
            return self.row::<S>(simd);
        }
        // A tile and what it reads fit into the registers: 8 x 3 of 32, or 4 x 2 of 16.
        if S::REGISTER_COUNT >= 32 {
            match self.rows {
                0..=2 => self.rows_of::<S, 2>(simd, 0),
                3 | 4 => self.rows_of::<S, 4>(simd, 0),
                5 | 6 => self.rows_of::<S, 6>(simd, 0),
                _ => self.rows_of::<S, 8>(simd, 0),
            }
            return;
        }
        for first in (0..self.rows).step_by(4) {
            match self.rows - first {
                1 | 2 => self.rows_of::<S, 2>(simd, first),
                _ => self.rows_of::<S, 4>(simd, first),
            }
        }
    }
}

impl Convolve<'_> {
    /// A single row, in more columns at a time, so that one sum need not wait for the last.
    #[inline(always)]
    fn row<S: Simd>(&mut self, simd: S) {
        let (mut vectors, mut at) = (self.length.div_ceil(S::F32_LANES), 0);
        while vectors > 0 {
            let taken = match vectors {
                8.. => self.tile::<S, 1, 8>(simd, 0, at),
                4.. => self.tile::<S, 1, 4>(simd, 0, at),
                2 | 3 => self.tile::<S, 1, 2>(simd, 0, at),
                _ => self.tile::<S, 1, 1>(simd, 0, at),
            };
            at += taken * S::F32_LANES;
            vectors -= taken;
        }
    }

    #[inline(always)]
    fn rows_of<S: Simd, const M: usize>(&mut self, simd: S, first: usize) {
        let mut vectors = self.length.div_ceil(S::F32_LANES);
        let mut at = 0;
        while vectors > 0 {
            // Four vectors left: two and two are faster than three and one.
            let taken = match vectors {
                1 => self.tile::<S, M, 1>(simd, first, at),
                3 | 5.. if S::REGISTER_COUNT >= 32 => self.tile::<S, M, 3>(simd, first, at),
                _ => self.tile::<S, M, 2>(simd, first, at),
            };
            at += taken * S::F32_LANES;
            vectors -= taken;
        }
    }

    /// Returns how many vectors wide it is.
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const V: usize>(&mut self, simd: S, first: usize, at: usize) -> usize {
        let mut sums = [[simd.splat_f32s(0.0); V]; M];
        let image = &self.image[at..];
        for (weights, offset) in self.weights.chunks_exact(self.step).zip(self.offsets) {
            let values = *vectors::<S, V>(&image[*offset..]);
            for (weight, sums) in weights[first..first + M].iter().zip(&mut sums) {
                let weight = simd.splat_f32s(*weight);
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = simd.mul_add_e_f32s(weight, value, *sum);
                }
            }
        }
        let stride = stride(self.length);
        for (m, sums) in sums.iter().enumerate() {
            let (row, _) = S::as_mut_simd_f32s(&mut self.results[(first + m) * stride + at..][..V * S::F32_LANES]);
            row.copy_from_slice(sums);
        }
        V
    }
}

#[inline(always)]
fn vectors<S: Simd, const V: usize>(values: &[f32]) -> &[S::f32s; V] {
    let (vectors, _) = S::as_simd_f32s(&values[..V * S::F32_LANES]);
    vectors.first_chunk().expect("as many as were cut off")
}

/// `sums[row * offsets + r] += sum over n of left[row, n] * image[offsets[r] + n]`; `left` has `rows` rows, `left_row` apart,
/// from its start on. For the `n` that fill up the last vector, `left` is 0 and the image finite.
pub(super) struct Correlate<'a> {
    pub(super) left: &'a [f32],
    pub(super) left_row: usize,
    pub(super) rows: usize,
    pub(super) image: &'a [f32],
    pub(super) offsets: &'a [usize],
    pub(super) length: usize,
    pub(super) sums: &'a mut [f32],
}

impl WithSimd for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        // A tile and what it reads fit into the registers: 4 x 6 of 32, or 2 x 5 of 16.
        let [tall, wide] = if S::REGISTER_COUNT >= 32 { [4, 6] } else { [2, 5] };
        let mut r = 0;
        // Columns of the weights outside: the slices of the image that they read stay in the nearest cache.
        while r < self.offsets.len() {
            let columns = wide.min(self.offsets.len() - r);
            let mut row = 0;
            while row < self.rows {
                let rows = tall.min(self.rows - row);
                row += match (rows, columns) {
                    (4, 6) => self.tile::<S, 4, 6>(simd, row, r),
                    (4, 5) => self.tile::<S, 4, 5>(simd, row, r),
                    (4, 4) => self.tile::<S, 4, 4>(simd, row, r),
                    (4, 3) => self.tile::<S, 4, 3>(simd, row, r),
                    (4, 2) => self.tile::<S, 4, 2>(simd, row, r),
                    (4, _) => self.tile::<S, 4, 1>(simd, row, r),
                    (2 | 3, 6) => self.tile::<S, 2, 6>(simd, row, r),
                    (2 | 3, 5) => self.tile::<S, 2, 5>(simd, row, r),
                    (2 | 3, 4) => self.tile::<S, 2, 4>(simd, row, r),
                    (2 | 3, 3) => self.tile::<S, 2, 3>(simd, row, r),
                    (2 | 3, 2) => self.tile::<S, 2, 2>(simd, row, r),
                    (2 | 3, _) => self.tile::<S, 2, 1>(simd, row, r),
                    (_, 6) => self.tile::<S, 1, 6>(simd, row, r),
                    (_, 5) => self.tile::<S, 1, 5>(simd, row, r),
                    (_, 4) => self.tile::<S, 1, 4>(simd, row, r),
                    (_, 3) => self.tile::<S, 1, 3>(simd, row, r),
                    (_, 2) => self.tile::<S, 1, 2>(simd, row, r),
                    _ => self.tile::<S, 1, 1>(simd, row, r),
                };
            }
            r += columns;
        }
    }
}

impl Correlate<'_> {
    /// Returns how many rows it has done.
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const R: usize>(&mut self, simd: S, row: usize, r: usize) -> usize {
        let length = self.length.next_multiple_of(S::F32_LANES);
        let left = std::array::from_fn(|m| S::as_simd_f32s(&self.left[(row + m) * self.left_row..][..length]).0);
        let right = std::array::from_fn(|i| S::as_simd_f32s(&self.image[self.offsets[r + i]..][..length]).0);
        let sums = dots::<S, M, R>(simd, left, right, length / S::F32_LANES);
        for (m, tile) in sums.iter().enumerate() {
            let first = (row + m) * self.offsets.len() + r;
            for (sum, value) in self.sums[first..first + R].iter_mut().zip(tile) {
                *sum += simd.reduce_sum_f32s(*value);
            }
        }
        M
    }
}

/// The products of each row of `left` with each of `right`, all of `count` vectors, lane by lane.
#[inline(always)]
fn dots<S: Simd, const M: usize, const R: usize>(
    simd: S,
    left: [&[S::f32s]; M],
    right: [&[S::f32s]; R],
    count: usize,
) -> [[S::f32s; R]; M] {
    let (left, right) = (left.map(|left| &left[..count]), right.map(|right| &right[..count]));
    let mut sums = [[simd.splat_f32s(0.0); R]; M];
    for n in 0..count {
        let values: [S::f32s; R] = std::array::from_fn(|i| right[i][n]);
        for (sums, left) in sums.iter_mut().zip(left) {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum = simd.mul_add_e_f32s(left[n], value, *sum);
            }
        }
    }
    sums
}
