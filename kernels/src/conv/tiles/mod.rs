//! A convolution with 3x3 kernels by [Winograd's](super::super::winograd) tiles, with channels side by side in vectors: images
//! are turned into blocks of channels and results back into planes, which costs less than the multiplications that tiles save.

mod weights;

use std::ops::Range;

use super::super::blocks::{After, Kernels, MOST_VALUES, Part, Shape, Tiles};
use super::super::fill::with_scratch;
use super::super::geometry::ConvGeometry;
use super::super::pool::{Epilogue, PoolIndex};
use super::super::simd::lanes;
use super::super::transpose::transpose;
use super::super::winograd::PLACES;
use super::passes::{self, Forward, NO_EPILOGUE, Saved, before_epilogue, write_indices};
pub(super) use weights::WeightGradient;

/// What transforming a block of channels of a tile costs, in multiplications of vectors; measured.
const TRANSFORM: u64 = 165;

/// Whether tiles can compute a convolution.
fn are_possible(geometry: &ConvGeometry) -> bool {
    geometry.kernel == 3 && geometry.stride == 1 && geometry.padding <= 2
}

/// Whether they are faster than what computes any convolution with `multiply_adds` multiplications.
fn are_fast(geometry: &ConvGeometry, multiply_adds: u64) -> bool {
    let (size, lanes) = (geometry.conv_output(), lanes());
    let blocks = |channels: usize| channels.div_ceil(lanes) as u64;
    let tiles = (geometry.batch * size[0].div_ceil(2) * size[1].div_ceil(2)) as u64;
    let products = PLACES as u64 * geometry.channels_in as u64 * blocks(geometry.channels_out);
    let transforms = TRANSFORM * (blocks(geometry.channels_in) + blocks(geometry.channels_out));
    // The others need a quarter longer than their multiplications at best.
    tiles * (products + transforms) < multiply_adds / lanes as u64 * 5 / 4
}

/// Whether they pay forward, and for the gradient of the weights.
pub(super) fn are_worth_it_forward(geometry: &ConvGeometry) -> bool {
    are_possible(geometry) && are_fast(geometry, geometry.multiply_adds())
}

/// Whether they do for the gradient of the input.
pub(super) fn are_worth_it_backward(geometry: &ConvGeometry) -> bool {
    are_possible(geometry) && are_fast(&turned(geometry), geometry.multiply_adds())
}

/// The convolution that the gradient of the input is, from that of the output.
fn turned(geometry: &ConvGeometry) -> ConvGeometry {
    let ([height, width], ConvGeometry { batch, channels_in, channels_out, padding, .. }) =
        (geometry.conv_output(), *geometry);
    let shapes = ([batch, channels_out, height, width], [channels_in, channels_out, 3, 3]);
    ConvGeometry::new(shapes.0, shapes.1, 1, 2 - padding, NO_EPILOGUE)
}

/// Tiles that make full use of the kernels once they are read.
const ENOUGH_TILES: usize = 48;

/// How the images and the outputs of a convolution lie in blocks.
fn shapes(geometry: &ConvGeometry) -> [Shape; 2] {
    let ConvGeometry { channels_in, channels_out, height, width, padding, .. } = *geometry;
    let ([_, _, rows, columns], lanes) = (geometry.output(), lanes());
    [
        Shape { channels: channels_in, height, width, border: padding, lanes, is_convolved: true },
        Shape { channels: channels_out, height: rows, width: columns, border: 0, lanes, is_convolved: false },
    ]
}

/// What threads share while they convolve.
struct Convolution {
    tiles: Tiles,
    input: Shape,
    output: Shape,
    /// Images that are computed together.
    together: usize,
    /// Rows of the output that are.
    band: usize,
    /// One for each channel, and zeros up to whole blocks.
    bias: Vec<f32>,
    epilogue: Epilogue,
}

impl Convolution {
    /// For at most `group` images together.
    fn new(geometry: &ConvGeometry, kernels: Kernels, bias: &[f32], group: usize) -> Self {
        let [input, output] = shapes(geometry);
        // Rows and columns of the output that a tile gives.
        let step = if geometry.epilogue.pool { 1 } else { 2 };
        let [down, across] = [output.height, output.width].map(|size| size.div_ceil(step));
        let depth = input.blocks() * input.lanes;
        let most = MOST_VALUES / (PLACES * depth);
        let bands = down.div_ceil((most / across).clamp(1, down));
        let each = down * across;
        let together = if bands == 1 { ENOUGH_TILES.min(most).div_ceil(each).clamp(1, group.max(1)) } else { 1 };
        let mut bias = bias.to_vec();
        bias.resize(output.blocks() * output.lanes, 0.0);
        let tiles = Tiles::new(geometry, kernels, [input, output], together);
        Self { tiles, input, output, together, band: step * down.div_ceil(bands), bias, epilogue: geometry.epilogue }
    }

    /// Values of one image that is read, and of one that is written.
    fn sizes(&self) -> [usize; 2] {
        [self.input, self.output].map(|shape| shape.channels * shape.height * shape.width)
    }

    /// Convolves at most as many `images` as are computed together; with a pool, `indices` are those of its maxima.
    fn run(&self, images: &[f32], outputs: &mut [f32], indices: &mut [PoolIndex]) {
        let Self { input, output, .. } = self;
        let [size, output_size] = self.sizes();
        let (count, lanes, plane) = (images.len() / size, output.lanes, output.height * output.width);
        let band = self.band.min(output.height) * output.width * lanes;
        let results = count * output.blocks() * band;
        let of_pool = |length: usize| if self.epilogue.pool { length } else { 0 };
        let lengths = [count * input.size(), results, of_pool(results), of_pool(count * output_size)];
        with_scratch(lengths, |[values, results, places, planes]| {
            values.fill(0.0);
            for (image, values) in images.chunks_exact(size).zip(values.chunks_exact_mut(input.size())) {
                input.put(image, values);
            }
            for first in (0..output.height).step_by(self.band) {
                let rows = first..output.height.min(first + self.band);
                let (start, used) = (first * output.width, rows.len() * output.width);
                let part = Part { input: values, block: 0, rows };
                let after = After { output, bias: &self.bias, added: None, relu: self.epilogue.relu };
                let [mut results, mut places] = [&mut *results, &mut *places].map(|values| {
                    values.chunks_exact_mut(band).map(|piece| &mut piece[..used * lanes]).collect::<Vec<_>>()
                });
                self.tiles.run(part, count, &after, &mut results, &mut places);
                for (outputs, pieces) in [(&mut *outputs, results), (&mut *planes, places)] {
                    let images = outputs.chunks_exact_mut(output_size).zip(pieces.chunks_exact(output.blocks()));
                    for (image, pieces) in images {
                        for (planes, piece) in image.chunks_mut(lanes * plane).zip(pieces) {
                            transpose(piece, lanes, [used, planes.len() / plane], &mut planes[start..], plane);
                        }
                    }
                }
            }
            write_indices(planes, indices);
        });
    }
}

/// See [`super::forward`].
pub(super) fn forward(geometry: &ConvGeometry, input: &[f32], weight: &[f32], bias: &[f32]) -> Forward {
    let convolution = Convolution::new(geometry, Kernels::Given(weight), bias, geometry.batch);
    let ([image, output], together) = (convolution.sizes(), convolution.together);
    let run = |part: usize, outputs: &mut [f32], indices: &mut [PoolIndex]| {
        let images = &input[part * together * image..][..outputs.len() / output * image];
        convolution.run(images, outputs, indices);
    };
    Forward::filled(geometry, [geometry.batch * output, together * output], run)
}

/// What the input's gradient shares between threads.
pub(super) struct InputGradient(Convolution);

impl InputGradient {
    /// For groups of `group` images.
    pub(super) fn new(geometry: &ConvGeometry, weight: &[f32], group: usize) -> Self {
        Self(Convolution::new(&turned(geometry), Kernels::Turned(weight), &[], group))
    }

    /// Writes the gradients of some images' inputs.
    pub(super) fn run(
        &self,
        geometry: &ConvGeometry,
        saved: Saved,
        gradient: &[f32],
        images: Range<usize>,
        inputs: &mut [f32],
    ) {
        let together = self.0.together;
        with_scratch([passes::scratch(geometry, together)], |[scratch]| {
            let firsts = images.clone().step_by(together);
            for (first, inputs) in firsts.zip(inputs.chunks_mut(together * geometry.image())) {
                let count = inputs.len() / geometry.image();
                let dz = before_epilogue(geometry, saved, gradient, first..first + count, scratch);
                self.0.run(dz, inputs, &mut []);
            }
        });
    }
}

#[cfg(test)]
mod tests;
