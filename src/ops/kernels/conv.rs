//! Convolution with what follows it: bias, ReLU, 2x2 max-pool; forward and backward.
//!
//! `z[o, y, x] = bias[o] + sum over c, ky, kx of weight[o, c, ky, kx] * input[c, y s + ky - p, x s + kx - p]` for each
//! image, then `max(z, 0)`, then the maximum of each 2x2 window (Goodfellow et al., 2016, section 9.1; "convolution" is
//! cross-correlation, as everywhere in the field). Each image becomes a patch matrix in scratch memory that stays in the
//! core's cache, so that the convolution and both of its gradients are matrix products:
//! `z = W C`, `dW = dz C^T`, `dC = W^T dz`.

use rayon::prelude::*;

use super::fill::{filled, filled_pair, with_scratch};
use super::gemm::{Matrix, Output, Threads, multiply};
use super::geometry::ConvGeometry;
use super::im2col::{col2im, im2col};
use super::pool::{Epilogue, PoolIndex, add_bias, max_pool, max_pool_backward, relu_backward};
use super::reduce;
use super::simd::vectorised;
use super::size::{assert_length, product};
use super::sparse;

/// What a forward pass leaves: the output `[batch, channels out, height, width]`, and with a pool the indices of the
/// maxima, in the same shape.
pub struct Forward {
    /// The output.
    pub output: Vec<f32>,
    /// Which value of its window each output is; empty without a pool.
    pub indices: Vec<PoolIndex>,
}

/// The convolution and what follows it. `bias`: one value per output channel.
///
/// # Panics
/// If a slice has not the length that `geometry` gives it.
pub fn forward(geometry: &ConvGeometry, input: &[f32], weight: &[f32], bias: &[f32]) -> Forward {
    assert_length("convolution's input", input, geometry.batch * geometry.image());
    assert_length("convolution's weight", weight, geometry.weights());
    assert_length("convolution's bias", bias, geometry.channels_out);
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
        max_pool(plane, width, *bias, geometry.epilogue.relu, output, indices);
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

fn assert_saved(geometry: &ConvGeometry, saved: Saved, gradient: &[f32]) {
    let size = geometry.batch * geometry.channels_out * geometry.output_plane();
    let Epilogue { relu, pool } = geometry.epilogue;
    if relu && !pool {
        assert_length("convolution's output", saved.output, size);
    }
    assert_length("convolution's input", saved.input, geometry.batch * geometry.image());
    assert_length("convolution's weight", saved.weight, geometry.weights());
    assert_length("convolution's pool indices", saved.indices, if pool { size } else { 0 });
    assert_length("convolution's gradient", gradient, size);
}

/// Groups of images that sum their weight gradients: enough to keep many threads busy, few enough to add up quickly.
const GROUPS: usize = 16;

/// The gradients of [`forward`] from the `gradient` of its output.
///
/// # Panics
/// If a slice has not the length that `geometry` gives it.
pub fn backward(geometry: &ConvGeometry, saved: Saved, gradient: &[f32], needs: NeedsGradient) -> Gradients {
    assert_saved(geometry, saved, gradient);
    let is_sparse = sparse::is_worth_it(geometry);
    let reordered = if is_sparse && needs.input { sparse::channels_last(geometry, saved.weight) } else { Vec::new() };
    let group = geometry.batch.div_ceil(GROUPS).max(1);
    let groups = geometry.batch.div_ceil(group);
    let weights = geometry.weights();
    let parameters = if needs.parameters { weights + geometry.channels_out } else { 0 };
    let input = if needs.input { geometry.image() } else { 0 };
    let partials = product(&[groups, parameters]);
    let run = |index: usize, input_gradient: &mut [f32], sums: &mut [f32]| {
        let images = index * group..((index + 1) * group).min(geometry.batch);
        let mut inputs = input_gradient.chunks_exact_mut(input.max(1));
        for image in images {
            match is_sparse {
                true => backward_sparse(
                    geometry,
                    Saved { weight: &reordered, ..saved },
                    gradient,
                    image,
                    (sums, inputs.next()),
                ),
                false => backward_dense(geometry, saved, gradient, image, (sums, inputs.next())),
            }
        }
    };
    let (input, partial) = match (needs.input, needs.parameters) {
        (true, true) => filled_pair([geometry.batch * input, group * input], [partials, parameters], run),
        (true, false) => (filled(geometry.batch * input, group * input, |i, part| run(i, part, &mut [])), Vec::new()),
        (false, true) => (Vec::new(), filled(partials, parameters, |i, part| run(i, &mut [], part))),
        (false, false) => return Gradients::default(),
    };
    let mut weight = sum_groups(&partial, parameters);
    let bias = weight.split_off(weights.min(weight.len()));
    if is_sparse {
        weight = sparse::channels_first(geometry, &weight);
    }
    Gradients { input, weight, bias }
}

/// Where one image's gradients go: the sums of weights' and biases' (empty: not needed), and its input's.
type Targets<'a> = (&'a mut [f32], Option<&'a mut [f32]>);

/// [`backward_dense`] from the maxima alone; the weights and the sums of their gradients have their channels last.
fn backward_sparse(geometry: &ConvGeometry, saved: Saved, gradient: &[f32], image: usize, (sums, target): Targets) {
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

/// Adds the gradients of one image's weights and biases to `sums` and writes that of its input.
fn backward_dense(geometry: &ConvGeometry, saved: Saved, gradient: &[f32], image: usize, (sums, input): Targets) {
    let (plane, patch) = (geometry.conv_plane(), geometry.patch());
    let is_direct = geometry.epilogue == Epilogue { relu: false, pool: false };
    let scratch = if is_direct { 0 } else { geometry.channels_out * plane };
    with_scratch([scratch], |[planes]| {
        let planes = match is_direct {
            true => &gradient[image * geometry.channels_out * plane..][..geometry.channels_out * plane],
            false => {
                vectorised(
                    #[inline(always)]
                    || epilogue_backward(geometry, saved, gradient, image, planes),
                );
                planes
            }
        };
        let dz = Matrix::new(planes, geometry.channels_out, plane);
        if !sums.is_empty() {
            let (weights, biases) = sums.split_at_mut(geometry.channels_out * patch);
            let source = &saved.input[image * geometry.image()..][..geometry.image()];
            with_patches(geometry, source, |columns| {
                multiply(dz, columns.transposed(), weights, Output::Accumulate, Threads::This);
            });
            vectorised(
                #[inline(always)]
                || {
                    for (sum, plane) in biases.iter_mut().zip(planes.chunks_exact(plane)) {
                        *sum += reduce::sum(plane);
                    }
                },
            );
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

/// Adds up the groups' sums, `[groups, length]`, in their order.
fn sum_groups(partial: &[f32], length: usize) -> Vec<f32> {
    const PART: usize = 2048;
    let mut sums = vec![0.0; length];
    sums.par_chunks_mut(PART).enumerate().for_each(|(part, sums)| {
        vectorised(
            #[inline(always)]
            || add_groups(partial, length, part * PART, sums),
        );
    });
    sums
}

#[inline(always)]
fn add_groups(partial: &[f32], length: usize, offset: usize, sums: &mut [f32]) {
    for group in partial.chunks_exact(length) {
        for (sum, value) in sums.iter_mut().zip(&group[offset..]) {
            *sum += value;
        }
    }
}
