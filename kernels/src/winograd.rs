//! Winograd's convolution F(2x2, 3x3): 16 multiplications for four outputs of a 3x3 kernel where the formula has 36 (Lavin and
//! Gray, "Fast algorithms for convolutional neural networks", 2016).
//!
//! An image is cut into tiles of 4x4 that overlap by two; each gives 2x2 outputs, `A' ((G g G') * (B' d B)) A` with a product
//! by elements in the middle. Summed over the input channels, that product is 16 matrix products, one for each place in a
//! tile: `[channels out, channels in]` times `[channels in, tiles]`. The gradients are the transposes of the same three steps.
//!
//! The entries of `A` and `B` are 0 and ±1, those of `G` 0, 1 and ±1/2: the rounding errors are about twice those of the formula.
//!
//! Here are the transforms, along one axis unless it says otherwise; [`super::blocks`] puts them together.

use pulp::Simd;

/// Places in a tile.
pub(super) const PLACES: usize = 16;

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

/// `G g`.
#[inline(always)]
fn halves<S: Simd>(simd: S, [a, b, c]: [S::f32s; 3]) -> [S::f32s; 4] {
    let half = simd.splat_f32s(0.5);
    let outer = simd.mul_f32s(half, simd.add_f32s(a, c));
    let middle = simd.mul_f32s(half, b);
    [a, simd.add_f32s(outer, middle), simd.sub_f32s(outer, middle), c]
}

/// `B' d`.
#[inline(always)]
pub(super) fn difference<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 4] {
    [simd.sub_f32s(a, c), simd.add_f32s(b, c), simd.sub_f32s(c, b), simd.sub_f32s(b, d)]
}

/// `A' m`.
#[inline(always)]
pub(super) fn sums<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 2] {
    [simd.add_f32s(simd.add_f32s(a, b), c), simd.sub_f32s(simd.sub_f32s(b, c), d)]
}

/// `A d`.
#[inline(always)]
pub(super) fn spread<S: Simd>(simd: S, [a, b]: [S::f32s; 2]) -> [S::f32s; 4] {
    [a, simd.add_f32s(a, b), simd.sub_f32s(a, b), simd.neg_f32s(b)]
}

/// `G' m`.
#[inline(always)]
pub(super) fn gathered<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 3] {
    let half = simd.splat_f32s(0.5);
    let outer = simd.mul_f32s(half, simd.add_f32s(b, c));
    [simd.add_f32s(a, outer), simd.mul_f32s(half, simd.sub_f32s(b, c)), simd.add_f32s(outer, d)]
}
