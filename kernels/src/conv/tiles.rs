//! A convolution with 3x3 kernels by [Winograd's](super::super::winograd) tiles, with channels side by side in vectors: images
//! are turned into blocks of channels and results back into planes, which costs less than the multiplications that tiles save.

use std::ops::Range;

use super::super::blocks::{
    AddKernels, After, GAP, Kernels, MOST_VALUES, Part, Read, ReadGradient, Shape, Sums, Tiles, bundles, lanes, sum,
};
use super::super::fill::{filled, filled_pair, with_scratch};
use super::super::geometry::ConvGeometry;
use super::super::pool::{Epilogue, PoolIndex, max_pool};
use super::super::reduce;
use super::super::simd::vectorised;
use super::super::transpose::transpose;
use super::super::winograd::PLACES;
use super::passes::{Forward, Saved, epilogue_backward};

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
    lanes > 1 && tiles * (products + transforms) < multiply_adds / lanes as u64 * 5 / 4
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

const NO_EPILOGUE: Epilogue = Epilogue { relu: false, pool: false };

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
    relu: bool,
}

impl Convolution {
    /// For at most `group` images together; `geometry` has no pool.
    fn new(geometry: &ConvGeometry, kernels: Kernels, (bias, relu): (&[f32], bool), group: usize) -> Self {
        let ConvGeometry { channels_in, channels_out, height, width, padding, .. } = *geometry;
        let ([rows, columns], lanes) = (geometry.conv_output(), lanes());
        let input = Shape { channels: channels_in, height, width, border: padding, lanes, is_convolved: true };
        let output =
            Shape { channels: channels_out, height: rows, width: columns, border: 0, lanes, is_convolved: false };
        let ([down, across], depth) = ([rows.div_ceil(2), columns.div_ceil(2)], input.blocks() * lanes);
        let most = MOST_VALUES / (16 * depth);
        let bands = down.div_ceil((most / across).clamp(1, down));
        let tiles = down * across;
        let together = if bands == 1 { ENOUGH_TILES.min(most).div_ceil(tiles).clamp(1, group.max(1)) } else { 1 };
        let mut bias = bias.to_vec();
        bias.resize(output.blocks() * lanes, 0.0);
        let tiles = Tiles::new(geometry, kernels, [input, output], together);
        Self { tiles, input, output, together, band: 2 * down.div_ceil(bands), bias, relu }
    }

    /// Values of one image that is read, and of one that is written.
    fn sizes(&self) -> [usize; 2] {
        [self.input, self.output].map(|shape| shape.channels * shape.height * shape.width)
    }

    /// Convolves at most as many `images` as are computed together.
    fn run(&self, images: &[f32], outputs: &mut [f32]) {
        let Self { input, output, .. } = self;
        let [size, output_size] = self.sizes();
        let (count, lanes, plane) = (images.len() / size, output.lanes, output.height * output.width);
        let band = self.band.min(output.height) * output.width * lanes;
        with_scratch([count * input.size(), count * output.blocks() * band], |[values, results]| {
            values.fill(0.0);
            for (image, values) in images.chunks_exact(size).zip(values.chunks_exact_mut(input.size())) {
                input.put(image, values);
            }
            for first in (0..output.height).step_by(self.band) {
                let rows = first..output.height.min(first + self.band);
                let (start, used) = (first * output.width, rows.len() * output.width);
                let part = Part { input: values, block: 0, rows };
                let after = After { output, bias: &self.bias, added: None, relu: self.relu };
                let mut pieces =
                    results.chunks_exact_mut(band).map(|piece| &mut piece[..used * lanes]).collect::<Vec<_>>();
                self.tiles.run(part, count, &after, &mut pieces);
                let images = outputs.chunks_exact_mut(output_size).zip(pieces.chunks_exact(output.blocks()));
                for (image, pieces) in images {
                    for (planes, piece) in image.chunks_mut(lanes * plane).zip(pieces) {
                        let channels = planes.len() / plane;
                        transpose(piece, lanes, [used, channels], &mut planes[start..], plane);
                    }
                }
            }
        });
    }
}

/// See [`super::forward`].
pub(super) fn forward(geometry: &ConvGeometry, input: &[f32], weight: &[f32], bias: &[f32]) -> Forward {
    let Epilogue { relu, pool } = geometry.epilogue;
    let plain = ConvGeometry { epilogue: NO_EPILOGUE, ..*geometry };
    let after = if pool { (&[][..], false) } else { (bias, relu) };
    let convolution = Convolution::new(&plain, Kernels::Given(weight), after, geometry.batch);
    let ([image, planes], size) = (convolution.sizes(), geometry.output_plane());
    let together = convolution.together;
    let outputs = geometry.channels_out * size;
    let images = |part: usize, count: usize| &input[part * together * image..][..count * image];
    let (total, chunk) = (geometry.batch * outputs, together * outputs);
    if !pool {
        let output = filled(total, chunk, |part, output| {
            convolution.run(images(part, output.len() / outputs), output);
        });
        return Forward { output, indices: Vec::new() };
    }
    let shape = [geometry.conv_output()[1]; 2];
    let run = |part: usize, output: &mut [f32], indices: &mut [PoolIndex]| {
        let count = output.len() / outputs;
        with_scratch([count * planes], |[results]| {
            convolution.run(images(part, count), results);
            vectorised(
                #[inline(always)]
                || {
                    let values = results.chunks_exact(geometry.conv_plane()).zip(bias.iter().cycle());
                    let outputs = output.chunks_exact_mut(size).zip(indices.chunks_exact_mut(size));
                    for ((plane, bias), (output, indices)) in values.zip(outputs) {
                        max_pool(plane, shape, *bias, relu, output, indices);
                    }
                },
            );
        });
    };
    let (output, indices) = filled_pair([total, chunk], [total, chunk], run);
    Forward { output, indices }
}

/// What the input's gradient shares between threads.
pub(super) struct InputGradient(Convolution);

impl InputGradient {
    /// For groups of `group` images.
    pub(super) fn new(geometry: &ConvGeometry, weight: &[f32], group: usize) -> Self {
        Self(Convolution::new(&turned(geometry), Kernels::Turned(weight), (&[], false), group))
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
        let (planes, together) = (geometry.channels_out * geometry.conv_plane(), self.0.together);
        let has_epilogue = geometry.epilogue != NO_EPILOGUE;
        with_scratch([if has_epilogue { together * planes } else { 0 }], |[scratch]| {
            let firsts = images.clone().step_by(together);
            for (first, inputs) in firsts.zip(inputs.chunks_mut(together * geometry.image())) {
                let count = inputs.len() / geometry.image();
                let dz = if has_epilogue {
                    for (image, planes) in (first..first + count).zip(scratch.chunks_exact_mut(planes)) {
                        vectorised(
                            #[inline(always)]
                            || epilogue_backward(geometry, saved, gradient, image, planes),
                        );
                    }
                    &scratch[..count * planes]
                } else {
                    &gradient[first * planes..][..count * planes]
                };
                self.0.run(dz, inputs);
            }
        });
    }
}

/// The gradient of the weights: sums over tiles of products of what both are transformed to, for each place in a tile.
pub(super) struct WeightGradient {
    input: Shape,
    output: Shape,
    /// Blocks of a bundle.
    width: usize,
    /// Images that are computed together, and rows of tiles that are.
    together: usize,
    band: usize,
    /// Where each tile begins in the transformed values, and each channel of a tile.
    steps: Vec<usize>,
    starts: Vec<usize>,
}

impl WeightGradient {
    /// For groups of `group` images.
    pub(super) fn new(geometry: &ConvGeometry, group: usize) -> Self {
        let ConvGeometry { channels_in, channels_out, height, width, padding, .. } = *geometry;
        let ([rows, columns], lanes) = (geometry.conv_output(), lanes());
        let input = Shape { channels: channels_in, height, width, border: padding, lanes, is_convolved: true };
        let output =
            Shape { channels: channels_out, height: rows, width: columns, border: 0, lanes, is_convolved: false };
        let ([down, across], depth) = ([rows.div_ceil(2), columns.div_ceil(2)], input.blocks() * lanes);
        let most = MOST_VALUES / (PLACES * depth.max(output.blocks() * lanes));
        let bands = down.div_ceil((most / across).clamp(1, down));
        let together = if bands == 1 { (most / (down * across)).clamp(1, group.max(1)) } else { 1 };
        let band = down.div_ceil(bands);
        Self {
            input,
            output,
            width: bundles(output.blocks()),
            together,
            band,
            steps: (0..together * band * across).map(|tile| tile * depth).collect(),
            starts: (0..channels_in).collect(),
        }
    }

    /// Values of the sums for the weights.
    pub(super) fn sums(&self) -> usize {
        self.output.blocks() * self.output.lanes * self.input.channels * 9
    }

    /// The gradient of the weights from such sums.
    pub(super) fn weights(&self, sums: &[f32]) -> Vec<f32> {
        let (lanes, depth) = (self.output.lanes, self.input.channels * 9);
        let mut weights = vec![0.0; self.output.channels * depth];
        for (rows, packed) in weights.chunks_mut(lanes * depth).zip(sums.chunks_exact(lanes * depth)) {
            transpose(packed, lanes, [depth, rows.len() / depth], rows, depth);
        }
        weights
    }

    /// Adds the gradients of the weights and biases of some images to `sums`.
    pub(super) fn run(
        &self,
        geometry: &ConvGeometry,
        saved: Saved,
        gradient: &[f32],
        images: Range<usize>,
        sums: &mut [f32],
    ) {
        let Self { input, output, width, together, band, .. } = self;
        let (weight_sums, bias_sums) = sums.split_at_mut(self.sums());
        let (planes, plane) = (geometry.channels_out * geometry.conv_plane(), geometry.conv_plane());
        let has_epilogue = geometry.epilogue != NO_EPILOGUE;
        let ([down, across], lanes) = ([output.height.div_ceil(2), output.width.div_ceil(2)], output.lanes);
        let most = together * band * across;
        let inputs_of = most * input.blocks() * lanes + GAP;
        let gradients_of = most * output.blocks() * lanes + GAP;
        let products = output.blocks() * lanes * input.channels;
        let lengths = [
            if has_epilogue { planes } else { 0 },
            together * input.size(),
            together * output.size(),
            PLACES * inputs_of,
            PLACES * gradients_of,
            PLACES * products,
        ];
        with_scratch(lengths, |[scratch, inputs, gradients, values, gradient_values, products_of]| {
            inputs.fill(0.0);
            let mut adds = false;
            for first in images.clone().step_by(*together) {
                let count = (*together).min(images.end - first);
                for (i, image) in (first..first + count).enumerate() {
                    let dz = if has_epilogue {
                        vectorised(
                            #[inline(always)]
                            || epilogue_backward(geometry, saved, gradient, image, scratch),
                        );
                        &*scratch
                    } else {
                        &gradient[image * planes..][..planes]
                    };
                    vectorised(
                        #[inline(always)]
                        || {
                            for (sum, plane) in bias_sums.iter_mut().zip(dz.chunks_exact(plane)) {
                                *sum += reduce::sum(plane);
                            }
                        },
                    );
                    output.put(dz, &mut gradients[i * output.size()..][..output.size()]);
                    let image = &saved.input[image * geometry.image()..][..geometry.image()];
                    input.put(image, &mut inputs[i * input.size()..][..input.size()]);
                }
                for top in (0..down).step_by(*band) {
                    let rows = top..down.min(top + band);
                    let each = rows.len() * across;
                    let tiles = count * each;
                    for image in 0..count {
                        pulp::Arch::new().dispatch(Read {
                            input: &inputs[image * input.size()..][..input.size()],
                            shape: input,
                            corner: 0,
                            rows: &rows,
                            across,
                            values: &mut values[image * each * input.blocks() * lanes..],
                            place: inputs_of,
                        });
                        pulp::Arch::new().dispatch(ReadGradient {
                            gradient: &gradients[image * output.size()..][..output.size()],
                            shape: output,
                            width: *width,
                            first: image * each,
                            tiles,
                            rows: &rows,
                            values: gradient_values,
                            place: gradients_of,
                        });
                    }
                    let places = values.chunks_exact(inputs_of).zip(gradient_values.chunks_exact(gradients_of));
                    for ((image, vectors), results) in places.zip(products_of.chunks_exact_mut(products)) {
                        for bundle in (0..output.blocks()).step_by(*width) {
                            let count = (*width).min(output.blocks() - bundle);
                            let (vectors, results) = (
                                &vectors[bundle * tiles * lanes..][..count * tiles * lanes],
                                &mut results[bundle * lanes * input.channels..][..count * lanes * input.channels],
                            );
                            let (steps, starts) = (&self.steps[..tiles], &self.starts);
                            sum(Sums { image, vectors, count, steps, starts, results, adds });
                        }
                    }
                    adds = true;
                }
            }
            pulp::Arch::new().dispatch(AddKernels {
                sums: products_of,
                channels_in: input.channels,
                blocks: output.blocks(),
                width: *width,
                kernels: weight_sums,
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::tests::{assert_close, random};
    use super::super::columns;
    use super::*;

    /// All that tiles compute against the patch matrix, in groups of `group` images.
    fn check(geometry: &ConvGeometry, group: usize) {
        let ConvGeometry { batch, channels_out, .. } = *geometry;
        let (input, weight) = (random(batch * geometry.image(), 1), random(geometry.weights(), 2));
        let bias = random(channels_out, 3);
        let expected = columns::forward(geometry, &input, &weight, &bias);
        let found = forward(geometry, &input, &weight, &bias);
        assert_close(&found.output, &expected.output, "output");
        let gradient = random(expected.output.len(), 4);
        let Forward { output, indices } = &expected;
        let saved = Saved { input: &input, weight: &weight, output, indices };
        let mut inputs = vec![0.0; input.len()];
        let mut sums = vec![0.0; geometry.weights() + channels_out];
        for (image, input) in inputs.chunks_exact_mut(geometry.image()).enumerate() {
            columns::backward(geometry, saved, &gradient, image, (&mut sums, Some(input)));
        }
        let mut found = vec![f32::NAN; input.len()];
        InputGradient::new(geometry, &weight, group).run(geometry, saved, &gradient, 0..batch, &mut found);
        assert_close(&found, &inputs, "gradient of the input");
        let tiles = WeightGradient::new(geometry, group);
        let mut found = vec![0.0; tiles.sums() + channels_out];
        for first in (0..batch).step_by(group) {
            tiles.run(geometry, saved, &gradient, first..batch.min(first + group), &mut found);
        }
        let (weights, biases) = found.split_at(tiles.sums());
        assert_close(&tiles.weights(weights), &sums[..geometry.weights()], "gradient of the weights");
        assert_close(biases, &sums[geometry.weights()..], "gradient of the biases");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        /// Odd sizes, planes of one pixel, padding that only zeros are read of, channels that fill no block, groups that are no
        /// divisor of the batch.
        #[test]
        fn tiles_give_what_the_patch_matrix_gives(
            (batch, group) in (1usize..8, 1usize..5), (channels_in, channels_out) in (1usize..40, 1usize..56),
            (height, width) in (1usize..12, 1usize..20), padding in 0usize..3, relu: bool, pool: bool,
        ) {
            let output = [height, width].map(|size| (size + 2 * padding).saturating_sub(2));
            let least = if pool { 2 } else { 1 };
            prop_assume!(output.iter().all(|size| *size >= least));
            let (shape, weight) = ([batch, channels_in, height, width], [channels_out, channels_in, 3, 3]);
            check(&ConvGeometry::new(shape, weight, 1, padding, Epilogue { relu, pool }), group);
        }
    }

    #[test]
    fn images_too_large_for_the_cache_are_cut_into_bands() {
        for pool in [false, true] {
            let epilogue = Epilogue { relu: true, pool };
            let geometry = ConvGeometry::new([3, 24, 35, 33], [25, 24, 3, 3], 1, 1, epilogue);
            let convolution =
                Convolution::new(&geometry, Kernels::Given(&vec![0.0; geometry.weights()]), (&[], false), 3);
            assert!(convolution.band < 35 && WeightGradient::new(&geometry, 3).band < 18);
            check(&geometry, 2);
        }
    }

    #[test]
    fn they_are_chosen_where_they_save_time() {
        let is_chosen = |channels: [usize; 2], size, stride| {
            let shapes = ([64, channels[0], size, size], [channels[1], channels[0], 3, 3]);
            let geometry = ConvGeometry::new(shapes.0, shapes.1, stride, 1, NO_EPILOGUE);
            [are_worth_it_forward(&geometry), are_worth_it_backward(&geometry)]
        };
        assert_eq!(is_chosen([64, 64], 16, 1), [lanes() > 1; 2]);
        for (channels, size, stride) in [([1, 32], 28, 1), ([4, 4], 28, 1), ([64, 64], 16, 2), ([64, 64], 1, 1)] {
            assert_eq!(is_chosen(channels, size, stride), [false; 2], "{channels:?}, {size}, {stride}");
        }
    }
}
