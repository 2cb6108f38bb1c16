//! A convolution's backward pass from the maxima of the pool that follows it.

use super::super::fill::with_scratch;
use super::super::geometry::ConvGeometry;
use super::super::simd::vectorised;
use super::super::sparse;
use super::passes::{Saved, Targets};

/// Adds the gradients of one image's weights and biases to the sums and writes that of its input; the weights and the sums
/// of their gradients have their channels last.
pub(super) fn backward(geometry: &ConvGeometry, saved: Saved, gradient: &[f32], image: usize, (sums, target): Targets) {
    let padded = sparse::padded(geometry);
    let lengths = [if sums.is_empty() { 0 } else { padded }, if target.is_some() { padded } else { 0 }];
    let (weight_sums, bias_sums) = sums.split_at_mut(sums.len().saturating_sub(geometry.channels_out));
    with_scratch(lengths, |[input, input_sums]| {
        vectorised(
            #[inline(always)]
            || {
                if !input.is_empty() {
                    sparse::pad_to_nhwc(geometry, &saved.input[image * geometry.image()..][..geometry.image()], input);
                }
                input_sums.fill(0.0);
                let parts = sparse::Image { input, weight: saved.weight, weight_sums, bias_sums, input_sums };
                sparse::backward(geometry, saved.indices, gradient, image, parts);
                if let Some(target) = target {
                    sparse::crop_to_nchw(geometry, input_sums, target);
                }
            },
        );
    });
}
