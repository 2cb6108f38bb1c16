//! The backward pass of a convolution with channels side by side in vectors.
//!
//! For the weights' gradients these are the output channels, so the gradient of the output is transposed; for the input's,
//! the input channels: what each output passes back is added to its patch, where channels come last.

use std::ops::Range;

use super::super::channels::{Correlate, Spread, Vectors, correlate, spread, transpose, transpose_back};
use super::super::fill::with_scratch;
use super::super::geometry::ConvGeometry;
use super::super::padded::Layout;
use super::super::reduce;
use super::super::simd::vectorised;
use super::lanes::Lanes;
use super::passes::{self, NeedsGradient, Saved, Sums, before_epilogue};

/// What the backward pass with channels in vectors shares between threads.
pub(super) struct Backward {
    vectors: Vectors,
    /// How many images are computed together.
    together: usize,
    input: Layout,
    /// Where each row of the patch matrix begins in the padded inputs, and where the patch of each result does.
    offsets: Vec<usize>,
    places: Vec<usize>,
    back: Back,
}

/// How the gradient of the inputs is summed; empty if nobody asks for it.
#[derive(Default)]
struct Back {
    /// Blocks of input channels, each `[taps, channels out, block]`.
    weights: Vec<f32>,
    /// Where each output channel begins in the gradient of an image, and where each of its values does, for all images.
    offsets: Vec<usize>,
    places: Vec<usize>,
    /// Where the patch of each of these values begins in the padded inputs, and each tap in the patch.
    targets: Vec<usize>,
    taps: Vec<usize>,
}

impl Backward {
    /// Up to `group` images are computed together.
    pub(super) fn new(geometry: &ConvGeometry, weight: &[f32], needs: NeedsGradient, group: usize) -> Self {
        let vectors = Vectors::here();
        let together = Lanes::Channels.together(geometry.conv_plane(), group);
        let input = Layout::input(geometry, together);
        let taps = (0..geometry.kernel).collect::<Vec<_>>();
        let (offsets, places) = (input.offsets(&taps, &taps), input.places(together, geometry.conv_output()));
        let back = if needs.input { Back::new(geometry, weight, vectors, together) } else { Back::default() };
        Self { vectors, together, input, offsets, places, back }
    }

    /// Values of the sums for the weights.
    pub(super) fn sums(&self, geometry: &ConvGeometry) -> usize {
        self.vectors.packed(geometry.channels_out, geometry.patch())
    }

    /// The gradient of the weights from such sums.
    pub(super) fn weights(&self, geometry: &ConvGeometry, sums: &[f32]) -> Vec<f32> {
        self.vectors.unpack(sums, geometry.channels_out, geometry.patch())
    }

    /// Adds the gradients of the weights and biases of some images to `sums`, and writes those of their inputs.
    pub(super) fn run(
        &self,
        geometry: &ConvGeometry,
        saved: Saved,
        gradient: &[f32],
        images: Range<usize>,
        targets: Sums,
    ) {
        let (sums, input_gradient) = targets;
        let (weight_sums, bias_sums) = sums.split_at_mut(sums.len().saturating_sub(geometry.channels_out));
        let (block, plane) = (self.vectors.block, geometry.conv_plane());
        let planes = geometry.channels_out * plane;
        let part = block * self.places.len();
        let if_needed = |is_needed: bool, length: usize| if is_needed { length } else { 0 };
        let lengths = [
            if_needed(!weight_sums.is_empty(), self.input.size()),
            if_needed(!weight_sums.is_empty(), geometry.channels_out.div_ceil(block) * part),
            passes::scratch(geometry, self.together),
            if_needed(!input_gradient.is_empty(), self.together * geometry.padded_plane() * block),
        ];
        let mut inputs = input_gradient.chunks_mut(self.together * geometry.image());
        with_scratch(lengths, |[padded, transposed, scratch, input_sums]| {
            padded.fill(0.0);
            transposed.fill(0.0);
            for first in images.clone().step_by(self.together) {
                let count = self.together.min(images.end - first);
                let gradient = before_epilogue(geometry, saved, gradient, first..first + count, scratch);
                vectorised(
                    #[inline(always)]
                    || {
                        for (i, planes) in gradient.chunks_exact(planes).enumerate() {
                            if !weight_sums.is_empty() {
                                transpose(planes, plane, block, &mut transposed[i * plane * block..], part);
                                let source = &saved.input[(first + i) * geometry.image()..][..geometry.image()];
                                self.input.put(i, source, padded);
                            }
                            for (sum, plane) in bias_sums.iter_mut().zip(planes.chunks_exact(plane)) {
                                *sum += reduce::sum(plane);
                            }
                        }
                    },
                );
                let sums = weight_sums.chunks_exact_mut(self.offsets.len() * block);
                for (i, (sums, left)) in sums.zip(transposed.chunks_exact(part)).enumerate() {
                    correlate(Correlate {
                        left,
                        rows: block.min(geometry.channels_out - i * block),
                        offsets: &self.offsets,
                        places: &self.places[..count * plane],
                        image: padded,
                        sums,
                    });
                }
                if let Some(inputs) = inputs.next() {
                    self.back.run(geometry, block, gradient, input_sums, inputs);
                }
            }
        });
    }
}

impl Back {
    fn new(geometry: &ConvGeometry, weight: &[f32], vectors: Vectors, together: usize) -> Self {
        let ConvGeometry { channels_in, channels_out, kernel, stride, .. } = *geometry;
        let [(rows, columns), (_, width)] = [geometry.conv_output(), geometry.padded()].map(|[y, x]| (y, x));
        let (plane, padded, count) = (rows * columns, geometry.padded_plane(), kernel * kernel);
        let mut weights = vec![0.0; vectors.packed(channels_in, channels_out * count)];
        let block = vectors.block;
        for (out, of_channel) in weight.chunks_exact(channels_in * count).enumerate() {
            for (channel, taps) in of_channel.chunks_exact(count).enumerate() {
                let first = channel / block * channels_out * count + out;
                for (tap, value) in taps.iter().enumerate() {
                    weights[(first + tap * channels_out) * block + channel % block] = *value;
                }
            }
        }
        let places = (0..together).flat_map(|image| (0..plane).map(move |n| image * channels_out * plane + n));
        let targets = (0..together).flat_map(|image| {
            (0..plane).map(move |n| image * padded + n / columns * stride * width + n % columns * stride)
        });
        Self {
            weights,
            offsets: (0..channels_out).map(|out| out * plane).collect(),
            places: places.collect(),
            targets: targets.collect(),
            taps: (0..count).map(|tap| tap / kernel * width + tap % kernel).collect(),
        }
    }

    /// Writes the gradients of some inputs from the `gradient` of their convolution; `sums`: those of a block of channels.
    fn run(&self, geometry: &ConvGeometry, block: usize, gradient: &[f32], sums: &mut [f32], inputs: &mut [f32]) {
        let ConvGeometry { channels_in, height, width, padding, .. } = *geometry;
        let (image, padded, plane) = (geometry.image(), geometry.padded_plane(), height * width);
        let count = inputs.len() / image;
        let places = count * geometry.conv_plane();
        let sums = &mut sums[..count * padded * block];
        for (i, weights) in self.weights.chunks_exact(self.taps.len() * self.offsets.len() * block).enumerate() {
            let rows = block.min(channels_in - i * block);
            sums.fill(0.0);
            spread(Spread {
                weights,
                rows,
                offsets: &self.offsets,
                places: &self.places[..places],
                image: gradient,
                taps: &self.taps,
                targets: &self.targets,
                sums: &mut *sums,
            });
            for (input, sums) in inputs.chunks_exact_mut(image).zip(sums.chunks_exact(padded * block)) {
                let input = &mut input[i * block * plane..][..rows * plane];
                if padding == 0 {
                    transpose_back(sums, block, input, plane, plane);
                    continue;
                }
                let row = (width + 2 * padding) * block;
                for (y, sums) in sums.chunks_exact(row).skip(padding).take(height).enumerate() {
                    transpose_back(&sums[padding * block..], block, &mut input[y * width..], width, plane);
                }
            }
        }
    }
}
