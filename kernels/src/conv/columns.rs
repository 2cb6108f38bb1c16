//! A convolution by a matrix of all patches of an image, in scratch memory that stays in the core's cache.

use super::super::fill::{filled, filled_pair, with_scratch};
use super::super::gemm::{Matrix, Output, Threads, multiply};
use super::super::geometry::ConvGeometry;
use super::super::im2col::{col2im, im2col};
use super::super::pool::{PoolIndex, add_bias, max_pool};
use super::super::simd::vectorised;
use super::passes::{self, Forward, Saved, Targets, add_bias_gradients, before_epilogue};

/// See [`super::forward`].
pub(super) fn forward(geometry: &ConvGeometry, input: &[f32], weight: &[f32], bias: &[f32]) -> Forward {
    let size = geometry.channels_out * geometry.output_plane();
    let image = |i: usize| &input[i * geometry.image()..][..geometry.image()];
    let total = geometry.batch * size;
    if geometry.epilogue.pool {
        let (output, indices) = filled_pair([total, size], [total, size], |i, output, indices: &mut [PoolIndex]| {
            with_scratch([geometry.channels_out * geometry.conv_plane()], |[planes]| {
                convolve(geometry, image(i), weight, planes);
                vectorised(
                    #[inline(always)]
                    || pool_planes(geometry, planes, bias, output, indices),
                );
            });
        });
        return Forward { output, indices };
    }
    let has_epilogue = geometry.epilogue.relu || bias.iter().any(|bias| *bias != 0.0);
    let output = filled(total, size, |i, output| {
        convolve(geometry, image(i), weight, output);
        if !has_epilogue {
            return;
        }
        vectorised(
            #[inline(always)]
            || {
                for (plane, bias) in output.chunks_exact_mut(geometry.conv_plane()).zip(bias) {
                    add_bias(plane, *bias, geometry.epilogue.relu);
                }
            },
        );
    });
    Forward { output, indices: Vec::new() }
}

/// `W C` of one image.
fn convolve(geometry: &ConvGeometry, image: &[f32], weight: &[f32], planes: &mut [f32]) {
    let weight = Matrix::new(weight, geometry.channels_out, geometry.patch());
    with_patches(geometry, image, |columns| multiply(weight, columns, planes, Output::Overwrite, Threads::This));
}

/// Lends the patch matrix of `image`, `[patch, plane]`.
fn with_patches<R>(geometry: &ConvGeometry, image: &[f32], work: impl FnOnce(Matrix) -> R) -> R {
    with_scratch([geometry.columns()], |[columns]| {
        let columns = if geometry.is_pointwise() {
            image
        } else {
            vectorised(
                #[inline(always)]
                || im2col(geometry, image, columns),
            );
            columns
        };
        work(Matrix::new(columns, geometry.patch(), geometry.conv_plane()))
    })
}

#[inline(always)]
fn pool_planes(geometry: &ConvGeometry, planes: &[f32], bias: &[f32], output: &mut [f32], indices: &mut [PoolIndex]) {
    let [_, width] = geometry.conv_output();
    let size = geometry.output_plane();
    let results = output.chunks_exact_mut(size).zip(indices.chunks_exact_mut(size));
    for ((plane, bias), (output, indices)) in planes.chunks_exact(geometry.conv_plane()).zip(bias).zip(results) {
        max_pool(plane, [width; 2], *bias, geometry.epilogue.relu, output, indices);
    }
}

/// Adds the gradients of one image's weights and biases to `sums` and writes that of its input.
pub(super) fn backward(geometry: &ConvGeometry, saved: Saved, gradient: &[f32], image: usize, (sums, input): Targets) {
    let (plane, patch) = (geometry.conv_plane(), geometry.patch());
    with_scratch([passes::scratch(geometry, 1)], |[scratch]| {
        let planes = before_epilogue(geometry, saved, gradient, image..image + 1, scratch);
        let dz = Matrix::new(planes, geometry.channels_out, plane);
        if !sums.is_empty() {
            let (weights, biases) = sums.split_at_mut(geometry.channels_out * patch);
            let source = &saved.input[image * geometry.image()..][..geometry.image()];
            with_patches(geometry, source, |columns| {
                multiply(dz, columns.transposed(), weights, Output::Accumulate, Threads::This);
            });
            add_bias_gradients(geometry, planes, biases);
        }
        let Some(input) = input else { return };
        let weight = Matrix::new(saved.weight, geometry.channels_out, patch).transposed();
        if geometry.is_pointwise() {
            return multiply(weight, dz, input, Output::Overwrite, Threads::This);
        }
        with_scratch([geometry.columns()], |[columns]| {
            multiply(weight, dz, columns, Output::Overwrite, Threads::This);
            vectorised(
                #[inline(always)]
                || col2im(geometry, columns, input),
            );
        });
    });
}
