//! The sum that ends a residual block, with ReLU, in one pass.

use super::fill::filled;
use super::simd::{BLOCK, vectorised};
use super::size::assert_length;

/// `max(left + right, 0)`; a NaN stays one.
///
/// # Panics
/// If the slices are not of one length.
pub fn sum_relu(left: &[f32], right: &[f32]) -> Vec<f32> {
    assert_length("sum's right side", right, left.len());
    filled(left.len(), BLOCK, |i, output| {
        vectorised(
            #[inline(always)]
            || {
                for ((output, left), right) in output.iter_mut().zip(&left[i * BLOCK..]).zip(&right[i * BLOCK..]) {
                    let sum = left + right;
                    *output = if sum <= 0.0 { 0.0 } else { sum };
                }
            },
        );
    })
}
