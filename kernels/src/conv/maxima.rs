//! A convolution's backward pass from the maxima of the pool that follows it.

use super::super::fill::with_scratch;
use super::super::geometry::ConvGeometry;
use super::super::simd::vectorised;
use super::super::sparse::{self, Patches};
use super::passes::{NeedsGradient, Saved, Targets};

/// What the backward pass shares between threads.
pub(super) struct Backward {
    patches: Patches,
    /// The weights, channels last; empty if the input needs no gradient.
    weight: Vec<f32>,
}

impl Backward {
    /// None if matrix products are faster.
    pub(super) fn new(geometry: &ConvGeometry, weight: &[f32], needs: NeedsGradient) -> Option<Self> {
        let patches = Patches::of(geometry, needs.input)?;
        Some(Self { patches, weight: if needs.input { sparse::channels_last(geometry, weight) } else { Vec::new() } })
    }

    /// Values of the sums for the weights.
    pub(super) fn sums(&self, geometry: &ConvGeometry) -> usize {
        self.patches.sums(geometry)
    }

    /// The gradient of the weights from such sums.
    pub(super) fn weights(&self, geometry: &ConvGeometry, sums: &[f32]) -> Vec<f32> {
        self.patches.weights(geometry, sums)
    }

    /// Adds the gradients of one image's weights and biases to the sums and writes that of its input.
    pub(super) fn run(
        &self,
        geometry: &ConvGeometry,
        saved: Saved,
        gradient: &[f32],
        image: usize,
        (sums, target): Targets,
    ) {
        let (weight_sums, bias_sums) = sums.split_at_mut(sums.len().saturating_sub(geometry.channels_out));
        let if_needed = |is_needed: bool, length: usize| if is_needed { length } else { 0 };
        let lengths = [
            if_needed(!weight_sums.is_empty(), self.patches.values(geometry)),
            if_needed(target.is_some(), geometry.padded_plane() * geometry.channels_in),
        ];
        with_scratch(lengths, |[patches, input_sums]| {
            input_sums.fill(0.0);
            if !patches.is_empty() {
                let image = &saved.input[image * geometry.image()..][..geometry.image()];
                vectorised(
                    #[inline(always)]
                    || self.patches.read(geometry, image, patches),
                );
            }
            // One after the other: the arrays of one fit into the nearest cache.
            let pass = |parts| sparse::backward(geometry, self.patches, (saved.indices, gradient), image, parts);
            if !patches.is_empty() {
                pass(sparse::Image { patches, weight: &[], weight_sums, bias_sums, input_sums: &mut [] });
            }
            if let Some(target) = target {
                let (weight_sums, bias_sums) = (&mut [][..], &mut [][..]);
                pass(sparse::Image { patches: &[], weight: &self.weight, weight_sums, bias_sums, input_sums });
                sparse::crop_to_nchw(geometry, input_sums, target);
            }
        });
    }
}
