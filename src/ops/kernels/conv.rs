//! Convolution with what follows it: bias, ReLU, 2x2 max-pool; forward and backward.
//!
//! `z[o, y, x] = bias[o] + sum over c, ky, kx of weight[o, c, ky, kx] * input[c, y s + ky - p, x s + kx - p]` for each
//! image, then `max(z, 0)`, then the maximum of each 2x2 window (Goodfellow et al., 2016, section 9.1; "convolution" is
//! cross-correlation, as everywhere in the field). Each image becomes a patch matrix in scratch memory that stays in the
//! core's cache, so that the convolution and both of its gradients are matrix products:
//! `z = W C`, `dW = dz C^T`, `dC = W^T dz`.

use rayon::prelude::*;

use super::fill::{filled, filled_pair, with_scratch};
use super::gemm::{Into, Matrix, Threads, multiply};
use super::pool::{Finish, Winner, max_pool, shift, unpool, unrelu};
use super::{patches, sparse, vectorised};

/// The sizes of a convolution; kernels and strides are square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Images.
    pub batch: usize,
    /// Channels of the input.
    pub channels_in: usize,
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
    /// Channels of the output.
    pub channels_out: usize,
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Step between output positions.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: usize,
    /// What follows.
    pub finish: Finish,
}

impl Geometry {
    /// Height and width of the convolution's output, before the pool.
    pub fn output(&self) -> [usize; 2] {
        [self.height, self.width].map(|size| (size + 2 * self.padding - self.kernel) / self.stride + 1)
    }

    /// Height and width of what comes out at the end.
    pub fn finished(&self) -> [usize; 2] {
        self.finish.size(self.output())
    }

    fn image(&self) -> usize {
        self.channels_in * self.height * self.width
    }

    fn plane(&self) -> usize {
        self.output().iter().product()
    }

    fn finished_plane(&self) -> usize {
        self.finished().iter().product()
    }

    /// Weights of one output channel: rows of the patch matrix.
    fn patch(&self) -> usize {
        self.channels_in * self.kernel * self.kernel
    }

    /// Whether the patch matrix is the image itself.
    fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding == 0
    }

    /// Values of scratch memory for the patch matrix.
    fn columns(&self) -> usize {
        if self.is_pointwise() { 0 } else { self.patch() * self.plane() }
    }
}

/// What a forward pass leaves: the output `[batch, channels out, height, width]`, and with a pool the winners, in the
/// same shape.
pub struct Forward {
    /// The output.
    pub output: Vec<f32>,
    /// Which value of its window each output is; empty without a pool.
    pub winners: Vec<Winner>,
}

/// The convolution and what follows it. `bias`: one value per output channel.
pub fn forward(geometry: &Geometry, input: &[f32], weight: &[f32], bias: &[f32]) -> Forward {
    let size = geometry.channels_out * geometry.finished_plane();
    let image = |i: usize| &input[i * geometry.image()..][..geometry.image()];
    let total = geometry.batch * size;
    if geometry.finish.pool {
        let (output, winners) = filled_pair([total, size], [total, size], |i, output, winners: &mut [Winner]| {
            with_scratch([geometry.channels_out * geometry.plane()], |[planes]| {
                convolve(geometry, image(i), weight, planes);
                vectorised(
                    #[inline(always)]
                    || pool_planes(geometry, planes, bias, output, winners),
                );
            });
        });
        return Forward { output, winners };
    }
    let is_shifted = geometry.finish.relu || bias.iter().any(|bias| *bias != 0.0);
    let output = filled(total, size, |i, output| {
        convolve(geometry, image(i), weight, output);
        if !is_shifted {
            return;
        }
        vectorised(
            #[inline(always)]
            || {
                for (plane, bias) in output.chunks_exact_mut(geometry.plane()).zip(bias) {
                    shift(plane, *bias, geometry.finish.relu);
                }
            },
        );
    });
    Forward { output, winners: Vec::new() }
}

/// `W C` of one image.
fn convolve(geometry: &Geometry, image: &[f32], weight: &[f32], planes: &mut [f32]) {
    let weight = Matrix::new(weight, geometry.channels_out, geometry.patch());
    with_patches(geometry, image, |columns| multiply(weight, columns, planes, Into::Fresh, Threads::This));
}

/// Lends the patch matrix of `image`, `[patch, plane]`.
fn with_patches<R>(geometry: &Geometry, image: &[f32], work: impl FnOnce(Matrix) -> R) -> R {
    with_scratch([geometry.columns()], |[columns]| {
        let columns = if geometry.is_pointwise() {
            image
        } else {
            vectorised(
                #[inline(always)]
                || patches::gather(geometry, image, columns),
            );
            columns
        };
        work(Matrix::new(columns, geometry.patch(), geometry.plane()))
    })
}

#[inline(always)]
fn pool_planes(geometry: &Geometry, planes: &[f32], bias: &[f32], output: &mut [f32], winners: &mut [Winner]) {
    let [_, width] = geometry.output();
    let size = geometry.finished_plane();
    if size == 0 {
        return;
    }
    let results = output.chunks_exact_mut(size).zip(winners.chunks_exact_mut(size));
    for ((plane, bias), (output, winners)) in planes.chunks_exact(geometry.plane()).zip(bias).zip(results) {
        max_pool(plane, width, *bias, geometry.finish.relu, output, winners);
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
    /// The winners, empty without a pool.
    pub winners: &'a [Winner],
}

/// Which gradients somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Of the input.
    pub input: bool,
    /// Of weights and bias.
    pub parameters: bool,
}

/// The gradients, each in the shape of what it belongs to; empty if it was not wanted.
#[derive(Default)]
pub struct Gradients {
    /// Of the input.
    pub input: Vec<f32>,
    /// Of the weights.
    pub weight: Vec<f32>,
    /// Of the bias.
    pub bias: Vec<f32>,
}

/// Groups of images that sum their weight gradients: enough to keep many threads busy, few enough to add up quickly.
const GROUPS: usize = 16;

/// The gradients of [`forward`] from the `gradient` of its output.
pub fn backward(geometry: &Geometry, saved: Saved, gradient: &[f32], wanted: Wanted) -> Gradients {
    let is_sparse = sparse::is_worth_it(geometry);
    let reordered = if is_sparse && wanted.input { sparse::channels_last(geometry, saved.weight) } else { Vec::new() };
    let group = geometry.batch.div_ceil(GROUPS).max(1);
    let groups = geometry.batch.div_ceil(group);
    let weights = geometry.channels_out * geometry.patch();
    let parameters = if wanted.parameters { weights + geometry.channels_out } else { 0 };
    let input = if wanted.input { geometry.image() } else { 0 };
    let run = |index: usize, input_gradient: &mut [f32], sums: &mut [f32]| {
        let images = index * group..((index + 1) * group).min(geometry.batch);
        let mut inputs = input_gradient.chunks_exact_mut(input.max(1));
        for image in images {
            match is_sparse {
                true => back_winners(
                    geometry,
                    Saved { weight: &reordered, ..saved },
                    gradient,
                    image,
                    (sums, inputs.next()),
                ),
                false => back_image(geometry, saved, gradient, image, (sums, inputs.next())),
            }
        }
    };
    let (input, partial) = match (wanted.input, wanted.parameters) {
        (true, true) => filled_pair([geometry.batch * input, group * input], [groups * parameters, parameters], run),
        (true, false) => (filled(geometry.batch * input, group * input, |i, part| run(i, part, &mut [])), Vec::new()),
        (false, true) => (Vec::new(), filled(groups * parameters, parameters, |i, part| run(i, &mut [], part))),
        (false, false) => return Gradients::default(),
    };
    let mut weight = sum_groups(&partial, parameters);
    let bias = weight.split_off(weights.min(weight.len()));
    if is_sparse {
        weight = sparse::channels_first(geometry, &weight);
    }
    Gradients { input, weight, bias }
}

/// Where one image's gradients go: the sums of weights' and biases' (empty: not wanted), and its input's.
type Targets<'a> = (&'a mut [f32], Option<&'a mut [f32]>);

/// [`back_image`] by the winners alone; the weights and the sums of their gradients have their channels last.
fn back_winners(geometry: &Geometry, saved: Saved, gradient: &[f32], image: usize, (sums, target): Targets) {
    let padded = sparse::padded(geometry);
    let wanted = [if sums.is_empty() { 0 } else { padded }, if target.is_some() { padded } else { 0 }];
    let (weight_sums, bias_sums) = sums.split_at_mut(sums.len().saturating_sub(geometry.channels_out));
    with_scratch(wanted, |[input, input_sums]| {
        vectorised(
            #[inline(always)]
            || {
                if !input.is_empty() {
                    sparse::spread(geometry, &saved.input[image * geometry.image()..][..geometry.image()], input);
                }
                input_sums.fill(0.0);
                let parts = sparse::Image { input, weight: saved.weight, weight_sums, bias_sums, input_sums };
                sparse::back(geometry, saved, gradient, image, parts);
                if let Some(target) = target {
                    sparse::gather(geometry, input_sums, target);
                }
            },
        );
    });
}

/// Adds the gradients of one image's weights and biases to `sums` and writes that of its input.
fn back_image(geometry: &Geometry, saved: Saved, gradient: &[f32], image: usize, (sums, input): Targets) {
    let (plane, patch) = (geometry.plane(), geometry.patch());
    let is_direct = geometry.finish == Finish { relu: false, pool: false };
    let scratch = if is_direct { 0 } else { geometry.channels_out * plane };
    with_scratch([scratch], |[planes]| {
        let planes = match is_direct {
            true => &gradient[image * geometry.channels_out * plane..][..geometry.channels_out * plane],
            false => {
                vectorised(
                    #[inline(always)]
                    || unfinish(geometry, saved, gradient, image, planes),
                );
                planes
            }
        };
        let dz = Matrix::new(planes, geometry.channels_out, plane);
        if !sums.is_empty() {
            let (weights, biases) = sums.split_at_mut(geometry.channels_out * patch);
            let source = &saved.input[image * geometry.image()..][..geometry.image()];
            with_patches(geometry, source, |columns| {
                multiply(dz, columns.transposed(), weights, Into::Sum, Threads::This);
            });
            vectorised(
                #[inline(always)]
                || {
                    for (sum, plane) in biases.iter_mut().zip(planes.chunks_exact(plane)) {
                        *sum += super::norm::sum(plane);
                    }
                },
            );
        }
        let Some(input) = input else { return };
        let weight = Matrix::new(saved.weight, geometry.channels_out, patch).transposed();
        if geometry.is_pointwise() {
            return multiply(weight, dz, input, Into::Fresh, Threads::This);
        }
        with_scratch([geometry.columns()], |[columns]| {
            multiply(weight, dz, columns, Into::Fresh, Threads::This);
            vectorised(
                #[inline(always)]
                || patches::scatter(geometry, columns, input),
            );
        });
    });
}

/// The gradient of the convolution's output of one image from that of the finished output.
#[inline(always)]
fn unfinish(geometry: &Geometry, saved: Saved, gradient: &[f32], image: usize, planes: &mut [f32]) {
    let size = geometry.finished_plane();
    let range = image * geometry.channels_out * size..(image + 1) * geometry.channels_out * size;
    if !geometry.finish.pool {
        return unrelu(&gradient[range.clone()], &saved.output[range], planes);
    }
    let [_, width] = geometry.output();
    let finished =
        gradient[range.clone()].chunks_exact(size.max(1)).zip(saved.winners[range].chunks_exact(size.max(1)));
    if size == 0 {
        return planes.fill(0.0);
    }
    for (plane, (gradient, winners)) in planes.chunks_exact_mut(geometry.plane()).zip(finished) {
        unpool(gradient, winners, width, plane);
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
