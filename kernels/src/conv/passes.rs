//! What the passes of a convolution take and give.

use std::ops::Range;

use super::super::fill::{filled, filled_pair};
use super::super::geometry::ConvGeometry;
use super::super::pool::{Epilogue, PoolIndex, max_pool_backward, relu_backward};
use super::super::reduce;
use super::super::simd::vectorised;

/// Nothing follows the bias.
pub(super) const NO_EPILOGUE: Epilogue = Epilogue { relu: false, pool: false };

/// What a forward pass leaves: the output `[batch, channels out, height, width]`, and with a pool the indices of the
/// maxima, in the same shape.
pub struct Forward {
    /// The output.
    pub output: Vec<f32>,
    /// Which value of its window each output is; empty without a pool.
    pub indices: Vec<PoolIndex>,
}

impl Forward {
    /// Of `total` values, in chunks of `chunk`: `run(number of the chunk, output, indices)` fills both, the latter empty without a pool.
    pub(super) fn filled(
        geometry: &ConvGeometry,
        [total, chunk]: [usize; 2],
        run: impl Fn(usize, &mut [f32], &mut [PoolIndex]) + Sync,
    ) -> Self {
        if geometry.epilogue.pool {
            let (output, indices) = filled_pair([total, chunk], [total, chunk], run);
            return Self { output, indices };
        }
        Self { output: filled(total, chunk, |part, output| run(part, output, &mut [])), indices: Vec::new() }
    }
}

/// What the backward pass reads.
#[derive(Clone, Copy)]
pub struct Saved<'a> {
    /// The input.
    pub input: &'a [f32],
    /// The weights.
    pub weight: &'a [f32],
    /// The output, read after a ReLU without a pool only.
    pub output: &'a [f32],
    /// The indices of the maxima, empty without a pool.
    pub indices: &'a [PoolIndex],
}

/// Which gradients to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeedsGradient {
    /// Of the input.
    pub input: bool,
    /// Of weights and bias.
    pub parameters: bool,
}

/// The gradients, each in the shape of what it belongs to; empty if it was not needs.
#[derive(Default)]
pub struct Gradients {
    /// Of the input.
    pub input: Vec<f32>,
    /// Of the weights.
    pub weight: Vec<f32>,
    /// Of the bias.
    pub bias: Vec<f32>,
}

/// Where the gradients of some images go: the sums of weights' and biases', and their inputs'; empty if not needed.
pub(super) type Sums<'a> = (&'a mut [f32], &'a mut [f32]);

/// Where one image's gradients go: the sums of weights' and biases' (empty: not needed), and its input's.
pub(super) type Targets<'a> = (&'a mut [f32], Option<&'a mut [f32]>);

/// The gradient of the convolution's output of one image, before the epilogue, from that of the output.
#[inline(always)]
fn epilogue_backward(geometry: &ConvGeometry, saved: Saved, gradient: &[f32], image: usize, planes: &mut [f32]) {
    let size = geometry.output_plane();
    let range = image * geometry.channels_out * size..(image + 1) * geometry.channels_out * size;
    if !geometry.epilogue.pool {
        return relu_backward(&gradient[range.clone()], &saved.output[range], planes);
    }
    let [_, width] = geometry.conv_output();
    let pooled = gradient[range.clone()].chunks_exact(size).zip(saved.indices[range].chunks_exact(size));
    for (plane, (gradient, indices)) in planes.chunks_exact_mut(geometry.conv_plane()).zip(pooled) {
        max_pool_backward(gradient, indices, width, plane);
    }
}

/// Adds the gradients of the biases: the sums of what [`before_epilogue`] gives, over some images.
pub(super) fn add_bias_gradients(geometry: &ConvGeometry, dz: &[f32], sums: &mut [f32]) {
    let plane = geometry.conv_plane();
    vectorised(
        #[inline(always)]
        || {
            for planes in dz.chunks_exact(geometry.channels_out * plane) {
                for (sum, plane) in sums.iter_mut().zip(planes.chunks_exact(plane)) {
                    *sum += reduce::sum(plane);
                }
            }
        },
    );
}

/// Writes places of maxima that kernels give as floats.
pub(super) fn write_indices(places: &[f32], indices: &mut [PoolIndex]) {
    vectorised(
        #[inline(always)]
        || {
            for (index, place) in indices.iter_mut().zip(places) {
                *index = *place as PoolIndex;
            }
        },
    );
}

/// Values of scratch memory that [`before_epilogue`] needs for so many images.
pub(super) fn scratch(geometry: &ConvGeometry, images: usize) -> usize {
    let has_epilogue = geometry.epilogue != NO_EPILOGUE;
    if has_epilogue { images * geometry.channels_out * geometry.conv_plane() } else { 0 }
}

/// The gradients of the convolution's outputs of some images, before the epilogue: made in `scratch`, or where they are.
pub(super) fn before_epilogue<'a>(
    geometry: &ConvGeometry,
    saved: Saved,
    gradient: &'a [f32],
    images: Range<usize>,
    scratch: &'a mut [f32],
) -> &'a [f32] {
    let planes = geometry.channels_out * geometry.conv_plane();
    if geometry.epilogue == NO_EPILOGUE {
        return &gradient[images.start * planes..images.end * planes];
    }
    let scratch = &mut scratch[..images.len() * planes];
    vectorised(
        #[inline(always)]
        || {
            for (image, planes) in images.zip(scratch.chunks_exact_mut(planes)) {
                epilogue_backward(geometry, saved, gradient, image, planes);
            }
        },
    );
    scratch
}
