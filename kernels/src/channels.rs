//! Products with a patch matrix whose rows are slices of [padded](super::padded) images, with output channels side by side in
//! vectors: each value of an image is read where it lies and multiplied with the weights of all channels of a block.
//!
//! In [`direct`](super::direct), neighbouring columns of the patch matrix share a vector, those between the rows of the image
//! included; here no column is computed for nothing, however small the images are, and the channels that fill up a block are.
//! Each result of [`Convolve`] is one sum in the order of the matrix's rows, to the same bits as there.

use pulp::{Simd, WithSimd};

use super::{reduce, transpose};

/// Places whose sums are kept in registers together.
const TILE: usize = 6;

/// What vectors are like on this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vectors {
    /// Channels of a block: two vectors of them.
    pub(super) block: usize,
    /// Whether there are 32 registers, which suits products with columns in vectors.
    pub(super) are_many: bool,
}

impl Vectors {
    pub(super) fn here() -> Self {
        pulp::Arch::new().dispatch(Look)
    }

    /// How much longer `rows` output channels take than they would if all vectors were full.
    pub(super) fn waste(self, rows: usize) -> f64 {
        // A block of one vector takes a bit more than half the time.
        let (blocks, rest) = (rows / self.block, rows % self.block);
        let last = if rest == 0 {
            0.0
        } else if 2 * rest <= self.block {
            0.6
        } else {
            1.0
        };
        (blocks as f64 + last) * self.block as f64 / rows as f64
    }

    /// Values that [`pack`](Self::pack) makes of `rows` rows of `depth` weights.
    pub(super) fn packed(self, rows: usize, depth: usize) -> usize {
        rows.next_multiple_of(self.block) * depth
    }

    /// Puts rows of weights, each of `depth` values, into the order in which [`Convolve`] reads them: `[blocks, depth, block]`,
    /// zeros where a block has fewer rows.
    pub(super) fn pack(self, weights: &[f32], depth: usize) -> Vec<f32> {
        let mut packed = vec![0.0; self.packed(weights.len() / depth, depth)];
        transpose(weights, depth, self.block, &mut packed, self.block * depth);
        packed
    }

    /// The reverse of [`pack`](Self::pack): `rows` rows of `depth` values.
    pub(super) fn unpack(self, packed: &[f32], rows: usize, depth: usize) -> Vec<f32> {
        let mut weights = vec![0.0; rows * depth];
        let blocks = weights.chunks_mut(self.block * depth).zip(packed.chunks_exact(self.block * depth));
        blocks.for_each(|(rows, packed)| transpose_back(packed, self.block, rows, depth, depth));
        weights
    }
}

struct Look;

impl WithSimd for Look {
    type Output = Vectors;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vectors {
        Vectors { block: 2 * S::F32_LANES, are_many: S::REGISTER_COUNT >= 32 }
    }
}

/// See [`Convolve`].
pub(super) fn convolve(work: Convolve) {
    pulp::Arch::new().dispatch(work);
}

/// See [`Correlate`].
pub(super) fn correlate(work: Correlate) {
    pulp::Arch::new().dispatch(work);
}

/// `results[row, n] = sum over r of weights[r, row] * image[places[n] + offsets[r]]` for the `rows` rows of a block of
/// [`Vectors::pack`]. Rows of results are `stride` apart.
pub(super) struct Convolve<'a> {
    pub(super) weights: &'a [f32],
    pub(super) rows: usize,
    pub(super) offsets: &'a [usize],
    pub(super) places: &'a [usize],
    pub(super) image: &'a [f32],
    pub(super) results: &'a mut [f32],
    pub(super) stride: usize,
}

impl WithSimd for Convolve<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { weights, rows, offsets, places, image, results, stride } = self;
        let store = |at: usize, values: &[f32]| {
            for (row, value) in values[..rows].iter().enumerate() {
                results[row * stride + at] = *value;
            }
        };
        let sums = Sums { image, vectors: S::as_simd_f32s(weights).0, steps: offsets, starts: places };
        sums.of_rows::<S>(simd, rows, store);
    }
}

/// `sums[r, row] += sum over n of left[n, row] * image[places[n] + offsets[r]]` for the `rows` rows of a block; `left` is made by
/// [`transpose`].
pub(super) struct Correlate<'a> {
    pub(super) left: &'a [f32],
    pub(super) rows: usize,
    pub(super) offsets: &'a [usize],
    pub(super) places: &'a [usize],
    pub(super) image: &'a [f32],
    pub(super) sums: &'a mut [f32],
}

impl WithSimd for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { left, rows, offsets, places, image, sums } = self;
        let block = 2 * S::F32_LANES;
        let add = |r: usize, values: &[f32]| reduce::add(&mut sums[r * block..][..block], values);
        let products = Sums { image, vectors: S::as_simd_f32s(left).0, steps: places, starts: offsets };
        products.of_rows::<S>(simd, rows, add);
    }
}

/// See [`Spread`].
pub(super) fn spread(work: Spread) {
    pulp::Arch::new().dispatch(work);
}

/// `sums[targets[n] + taps[t], row] += sum over r of weights[t, r, row] * image[places[n] + offsets[r]]` for the `rows` rows of a
/// block: the transpose of [`Convolve`], that is the gradient of its image.
pub(super) struct Spread<'a> {
    /// `[taps, depth, block]`.
    pub(super) weights: &'a [f32],
    pub(super) rows: usize,
    pub(super) offsets: &'a [usize],
    pub(super) places: &'a [usize],
    pub(super) image: &'a [f32],
    pub(super) taps: &'a [usize],
    pub(super) targets: &'a [usize],
    /// `[places of the result, block]`.
    pub(super) sums: &'a mut [f32],
}

impl WithSimd for Spread<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { weights, rows, offsets, places, image, taps, targets, sums } = self;
        let block = 2 * S::F32_LANES;
        for (tap, weights) in taps.iter().zip(weights.chunks_exact(offsets.len() * block)) {
            let add = |n: usize, values: &[f32]| reduce::add(&mut sums[(targets[n] + tap) * block..][..block], values);
            let products = Sums { image, vectors: S::as_simd_f32s(weights).0, steps: offsets, starts: places };
            products.of_rows::<S>(simd, rows, add);
        }
    }
}

/// For each of `starts` the sum over the `steps` of a value of the image, at the start and the step, times the step's two
/// `vectors`.
struct Sums<'a, V> {
    image: &'a [f32],
    vectors: &'a [V],
    steps: &'a [usize],
    starts: &'a [usize],
}

impl<V: Copy> Sums<'_, V> {
    /// For so many rows of a block: the second vectors are left out where the first hold all of them.
    #[inline(always)]
    fn of_rows<S: Simd<f32s = V>>(&self, simd: S, rows: usize, done: impl FnMut(usize, &[f32])) {
        if rows <= S::F32_LANES { self.run::<S, 1>(simd, done) } else { self.run::<S, 2>(simd, done) }
    }

    /// With the first `COUNT` of the two vectors: calls `done(index of the start, sums of a block)`.
    #[inline(always)]
    fn run<S: Simd<f32s = V>, const COUNT: usize>(&self, simd: S, mut done: impl FnMut(usize, &[f32])) {
        let span = self.steps.iter().max().map_or(0, |last| last + 1);
        let mut first = 0;
        while first < self.starts.len() {
            first += match self.starts.len() - first {
                1 => self.tile::<S, COUNT, 1>(simd, first, span, &mut done),
                2 => self.tile::<S, COUNT, 2>(simd, first, span, &mut done),
                3 => self.tile::<S, COUNT, 3>(simd, first, span, &mut done),
                4 | 5 => self.tile::<S, COUNT, 4>(simd, first, span, &mut done),
                _ => self.tile::<S, COUNT, TILE>(simd, first, span, &mut done),
            };
        }
    }

    /// Of the starts from `first` on; steps are below `span`. Returns how many starts it has done.
    #[inline(always)]
    fn tile<S: Simd<f32s = V>, const COUNT: usize, const P: usize>(
        &self,
        simd: S,
        first: usize,
        span: usize,
        done: &mut impl FnMut(usize, &[f32]),
    ) -> usize {
        let starts: &[usize; P] = self.starts[first..].first_chunk().expect("as many starts as the tile has");
        let mut images = [&self.image[..0]; P];
        // A loop of known length over slices of one length, so that one check below is enough for all.
        for p in 0..P {
            images[p] = &self.image[starts[p]..][..span];
        }
        let mut sums = [[simd.splat_f32s(0.0); COUNT]; P];
        for (vectors, step) in self.vectors.as_chunks::<2>().0.iter().zip(self.steps) {
            // One check for all images.
            assert!(*step < span, "a step is beyond the last");
            for (sums, image) in sums.iter_mut().zip(&images) {
                let value = simd.splat_f32s(image[*step]);
                for (sum, vector) in sums.iter_mut().zip(vectors) {
                    *sum = simd.mul_add_e_f32s(value, *vector, *sum);
                }
            }
        }
        for (p, sums) in sums.iter().enumerate() {
            let mut values = [0.0; 2 * MOST_LANES];
            S::as_mut_simd_f32s(&mut values).0[..COUNT].copy_from_slice(sums);
            done(first + p, &values[..2 * S::F32_LANES]);
        }
        P
    }
}

/// Values of the widest vector.
pub(super) const MOST_LANES: usize = 16;

/// `to[n, row] = from[row, n]` for the rows of `from`, each of `length` values, a block of `block` of them at a time:
/// the blocks of `to` are `part` apart. What fills up a block is left as it is.
pub(super) fn transpose(from: &[f32], length: usize, block: usize, to: &mut [f32], part: usize) {
    for (rows, to) in from.chunks(block * length).zip(to.chunks_mut(part)) {
        transpose::transpose(rows, length, [rows.len() / length, length], to, block);
    }
}

/// The reverse, of one block: `to[row, n] = from[n, row]` for the rows of `to`, each of `length` values, `stride` apart.
pub(super) fn transpose_back(from: &[f32], block: usize, to: &mut [f32], length: usize, stride: usize) {
    transpose::transpose(from, block, [length, to.len().div_ceil(stride)], to, stride);
}
