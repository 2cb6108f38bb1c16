//! What the gradient of a convolution's weights by tiles needs besides [`super::tiles`]: that of the output, transformed, and the way
//! back to kernels.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::super::winograd::{PLACES, gathered, spread};
use super::bundle_of;
use super::shape::Shape;
use super::sums::store;

/// `A d A'` of the tiles of an image's gradient: `[places, bundles, tiles, blocks of a bundle, lanes]`, places `place` values apart,
/// the tiles of the image being those from `first` on of all `tiles`.
pub(in super::super) struct ReadGradient<'a> {
    pub(in super::super) gradient: &'a [f32],
    pub(in super::super) shape: &'a Shape,
    /// Blocks of a bundle.
    pub(in super::super) width: usize,
    pub(in super::super) first: usize,
    pub(in super::super) tiles: usize,
    pub(in super::super) rows: &'a Range<usize>,
    pub(in super::super) values: &'a mut [f32],
    pub(in super::super) place: usize,
}

impl WithSimd for ReadGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { gradient, shape, width, first, tiles, rows, values, place } = self;
        let (lanes, blocks, across) = (S::F32_LANES, shape.blocks(), shape.width.div_ceil(2));
        let mut targets = values.chunks_mut(place);
        let targets: [&mut [f32]; PLACES] = std::array::from_fn(|_| targets.next().unwrap_or_default());
        let zero = simd.splat_f32s(0.0);
        for block in 0..blocks {
            let (values, (bundle, own)) = (shape.block_of(gradient, block), bundle_of(block, width, blocks));
            let mut at = (bundle * tiles + first * own + block - bundle) * lanes;
            for y in rows.clone() {
                let upper = S::as_simd_f32s(shape.row_of(values, 2 * y)).0;
                // An odd last row or column is followed by zeros.
                let lower = (2 * y + 1 < shape.height).then(|| S::as_simd_f32s(shape.row_of(values, 2 * y + 1)).0);
                for x in 0..across {
                    let pair = |row: &[S::f32s]| [row[2 * x], row.get(2 * x + 1).copied().unwrap_or(zero)];
                    let [upper, lower] = [pair(upper), lower.map_or([zero; 2], pair)].map(|pair| spread(simd, pair));
                    for l in 0..4 {
                        for (k, value) in spread(simd, [upper[l], lower[l]]).into_iter().enumerate() {
                            store::<S>(&mut targets[4 * k + l][at..], value);
                        }
                    }
                    at += own * lanes;
                }
            }
        }
    }
}

/// `G' m G` of the sums `[places, bundles, channels in, blocks of a bundle, lanes]` over all tiles: adds the gradients of the kernels to
/// `[blocks, channels in, 9, lanes]`.
pub(in super::super) struct AddKernels<'a> {
    pub(in super::super) sums: &'a [f32],
    pub(in super::super) channels_in: usize,
    pub(in super::super) blocks: usize,
    /// Blocks of a bundle.
    pub(in super::super) width: usize,
    pub(in super::super) kernels: &'a mut [f32],
}

impl WithSimd for AddKernels<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sums, channels_in, blocks, width, kernels } = self;
        let place = sums.len() / PLACES;
        let mut all = sums.chunks_exact(place);
        let places: [&[f32]; PLACES] = std::array::from_fn(|_| all.next().unwrap_or_default());
        let places = places.map(|values| S::as_simd_f32s(values).0);
        let (kernels, _) = S::as_mut_simd_f32s(kernels);
        for (i, kernel) in kernels.as_chunks_mut::<9>().0.iter_mut().enumerate() {
            let (block, channel) = (i / channels_in, i % channels_in);
            let (bundle, own) = bundle_of(block, width, blocks);
            let at = bundle * channels_in + channel * own + block - bundle;
            let rows: [[S::f32s; 3]; 4] =
                std::array::from_fn(|k| gathered(simd, [0, 1, 2, 3].map(|l| places[4 * k + l][at])));
            for x in 0..3 {
                for (y, value) in gathered(simd, rows.map(|row| row[x])).into_iter().enumerate() {
                    kernel[3 * y + x] = simd.add_f32s(kernel[3 * y + x], value);
                }
            }
        }
    }
}
