//! Convolution with what follows it: bias, ReLU, 2x2 max-pool; forward and backward.
//!
//! `z[o, y, x] = bias[o] + sum over c, ky, kx of weight[o, c, ky, kx] * input[c, y s + ky - p, x s + kx - p]` for each
//! image, then `max(z, 0)`, then the maximum of each 2x2 window (Goodfellow et al., 2016, section 9.1; "convolution" is
//! cross-correlation, as everywhere in the field). With the patches that the kernel looks at as the columns of a matrix `C`,
//! the convolution and both of its gradients are matrix products: `z = W C`, `dW = dz C^T`, `dC = W^T dz`.
//!
//! There are five ways to compute them: [`slices`] reads the rows of `C` where they lie in the padded image, and so does
//! [`channels`], with channels side by side in vectors where slices have neighbouring columns ([`Lanes`]); [`columns`] makes the
//! matrix, which pays where it is the image itself; [`tiles`] needs fewer multiplications for 3x3 kernels between many
//! channels; [`maxima`] visits, backwards under a max-pool, only the values whose gradient is not 0.

mod channels;
mod columns;
pub(super) mod lanes;
mod maxima;
mod passes;
mod slices;
mod tiles;

use rayon::prelude::*;

use super::fill::{filled, filled_pair};
use super::geometry::ConvGeometry;
use super::pool::Epilogue;
use super::simd::vectorised;
use super::size::{assert_length, product};
use super::sparse::Patches;
use lanes::Lanes;
pub use passes::{Forward, Gradients, NeedsGradient, Saved};

/// The convolution and what follows it. `bias`: one value per output channel.
///
/// # Panics
/// If a slice has not the length that `geometry` gives it.
pub fn forward(geometry: &ConvGeometry, input: &[f32], weight: &[f32], bias: &[f32]) -> Forward {
    assert_length("convolution's input", input, geometry.batch * geometry.image());
    assert_length("convolution's weight", weight, geometry.weights());
    assert_length("convolution's bias", bias, geometry.channels_out);
    if tiles::are_worth_it_forward(geometry) {
        return tiles::forward(geometry, input, weight, bias);
    }
    match Lanes::forward(geometry) {
        Some(Lanes::Columns) => slices::forward(geometry, input, weight, bias),
        Some(Lanes::Channels) => channels::forward(geometry, input, weight, bias),
        None => columns::forward(geometry, input, weight, bias),
    }
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

/// The most groups of images that sum their weight gradients, and the most values of these sums while there are more
/// than [`FEWEST_GROUPS`]: enough to keep many threads busy, few enough to add up quickly.
const MOST_GROUPS: usize = 64;
const FEWEST_GROUPS: usize = 16;
const MOST_SUMS: usize = 1 << 20;

/// How a convolution's gradients are computed.
enum Method {
    /// By the maxima of the pool that follows.
    Maxima(maxima::Backward),
    /// By slices of padded images.
    Slices(Box<slices::Backward>),
    /// With channels in vectors.
    Channels(Box<channels::Backward>),
    /// By tiles, of the weights alone.
    Tiles(Box<tiles::WeightGradient>),
    /// By a matrix of all patches.
    Columns,
}

impl Method {
    /// For groups of `group` images.
    fn of(geometry: &ConvGeometry, weight: &[f32], needs: NeedsGradient, group: usize) -> Self {
        if let Some(maxima) = maxima::Backward::new(geometry, weight, needs) {
            return Self::Maxima(maxima);
        }
        if !needs.input && tiles::are_worth_it_forward(geometry) {
            return Self::Tiles(Box::new(tiles::WeightGradient::new(geometry, group)));
        }
        match Lanes::backward(geometry, needs) {
            Some(Lanes::Columns) => Self::Slices(Box::new(slices::Backward::new(geometry, weight, needs, group))),
            Some(Lanes::Channels) => Self::Channels(Box::new(channels::Backward::new(geometry, weight, needs, group))),
            None => Self::Columns,
        }
    }

    /// Values of the sums for the weights.
    fn sums(&self, geometry: &ConvGeometry) -> usize {
        match self {
            Self::Channels(channels) => channels.sums(),
            Self::Maxima(maxima) => maxima.sums(geometry),
            Self::Tiles(tiles) => tiles.sums(),
            Self::Slices(_) | Self::Columns => geometry.weights(),
        }
    }

    /// The gradient of the weights from such sums.
    fn weights(&self, geometry: &ConvGeometry, sums: Vec<f32>) -> Vec<f32> {
        match self {
            Self::Maxima(maxima) => maxima.weights(geometry, &sums),
            Self::Channels(channels) => channels.weights(&sums),
            Self::Tiles(tiles) => tiles.weights(&sums),
            Self::Slices(_) | Self::Columns => sums,
        }
    }
}

/// The gradients of [`forward`] from the `gradient` of its output.
///
/// # Panics
/// If a slice has not the length that `geometry` gives it.
pub fn backward(geometry: &ConvGeometry, saved: Saved, gradient: &[f32], needs: NeedsGradient) -> Gradients {
    assert_saved(geometry, saved, gradient);
    let most = if needs.parameters { MOST_SUMS / (geometry.weights() + geometry.channels_out) } else { MOST_GROUPS };
    // Images of few places are summed together, so that adding up the sums takes little of the time.
    let together = channels::together(geometry.conv_plane(), geometry.batch / FEWEST_GROUPS);
    let group = geometry.batch.div_ceil(most.clamp(FEWEST_GROUPS, MOST_GROUPS)).max(together);
    // Where tiles do not pay for the gradient of the input, one way computes both.
    let by_tiles =
        needs.input && tiles::are_worth_it_backward(geometry) && Patches::of(geometry, needs.input).is_none();
    let tiles = by_tiles.then(|| tiles::InputGradient::new(geometry, saved.weight, group));
    let rest = NeedsGradient { input: needs.input && !by_tiles, ..needs };
    let method = Method::of(geometry, saved.weight, rest, group);
    compute(geometry, saved, gradient, needs, (tiles, method, group))
}

/// The gradients by these ways, in groups of so many images.
fn compute(
    geometry: &ConvGeometry,
    saved: Saved,
    gradient: &[f32],
    needs: NeedsGradient,
    (tiles, method, group): (Option<tiles::InputGradient>, Method, usize),
) -> Gradients {
    let groups = geometry.batch.div_ceil(group);
    let weights = method.sums(geometry);
    let parameters = if needs.parameters { weights + geometry.channels_out } else { 0 };
    let input = if needs.input { geometry.image() } else { 0 };
    let partials = product(&[groups, parameters]);
    let run = |index: usize, input_gradient: &mut [f32], sums: &mut [f32]| {
        let images = index * group..((index + 1) * group).min(geometry.batch);
        let input_gradient = match &tiles {
            None => input_gradient,
            Some(tiles) => {
                tiles.run(geometry, saved, gradient, images.clone(), input_gradient);
                &mut []
            }
        };
        if sums.is_empty() && input_gradient.is_empty() {
            return;
        }
        match &method {
            Method::Slices(slices) => {
                return slices.run(geometry, saved, gradient, images, (sums, input_gradient));
            }
            Method::Channels(channels) => {
                return channels.run(geometry, saved, gradient, images, (sums, input_gradient));
            }
            Method::Tiles(tiles) => return tiles.run(geometry, saved, gradient, images, sums),
            Method::Maxima(_) | Method::Columns => {}
        }
        let mut inputs = input_gradient.chunks_exact_mut(input.max(1));
        for image in images {
            let targets = (&mut *sums, inputs.next());
            match &method {
                Method::Maxima(maxima) => maxima.run(geometry, saved, gradient, image, targets),
                _ => columns::backward(geometry, saved, gradient, image, targets),
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
    if needs.parameters {
        weight = method.weights(geometry, weight);
    }
    Gradients { input, weight, bias }
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

#[cfg(test)]
mod tests;
