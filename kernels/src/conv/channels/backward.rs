//! The gradients.

use std::ops::Range;

use super::super::super::blocks::{Sums as Work, To, sum, unpack};
use super::super::super::fill::with_scratch;
use super::super::super::geometry::ConvGeometry;
use super::super::super::transpose::transpose;
use super::super::passes::{self, NeedsGradient, Saved, Sums, add_bias_gradients, before_epilogue};
use super::images::Images;
use super::{Bundles, Product, together};

/// What the backward pass with channels in vectors shares between threads.
pub(in super::super) struct Backward {
    /// How many images are computed together.
    together: usize,
    input: Images,
    channels_in: usize,
    /// The output channels.
    bundles: Bundles,
    /// Where each value of a patch lies in the padded inputs, those of a tap of the kernel after each other since their channels
    /// lie side by side, and where the patch of each result begins.
    offsets: Vec<usize>,
    places: Vec<usize>,
    back: Option<Back>,
}

impl Backward {
    /// Up to `group` images are computed together.
    pub(in super::super) fn new(geometry: &ConvGeometry, weight: &[f32], needs: NeedsGradient, group: usize) -> Self {
        let together = together(geometry.conv_plane(), group);
        let input = Images::input(geometry, together);
        let taps = (0..geometry.kernel).collect::<Vec<_>>();
        let [_, width] = geometry.conv_output();
        let places = input.starts((0..geometry.conv_plane()).map(|n| [n / width, n % width]));
        let offsets = input.offsets([&taps, &taps]);
        let taps = geometry.kernel * geometry.kernel;
        let offsets = (0..offsets.len()).map(|i| offsets[i % geometry.channels_in * taps + i / geometry.channels_in]);
        let back = needs.input.then(|| Back::new(geometry, weight, together));
        Self {
            together,
            input,
            channels_in: geometry.channels_in,
            bundles: Bundles::of(geometry.channels_out),
            offsets: offsets.collect(),
            places,
            back,
        }
    }

    /// Values of the sums for the weights.
    pub(in super::super) fn sums(&self) -> usize {
        self.bundles.channels.next_multiple_of(self.bundles.lanes) * self.offsets.len()
    }

    /// The gradient of the weights from such sums.
    pub(in super::super) fn weights(&self, sums: &[f32]) -> Vec<f32> {
        let (Bundles { channels, lanes, .. }, depth) = (self.bundles, self.offsets.len());
        let by_taps = unpack(sums, channels, depth, lanes, self.bundles.width());
        let mut weights = vec![0.0; by_taps.len()];
        for (to, from) in weights.chunks_exact_mut(depth).zip(by_taps.chunks_exact(depth)) {
            let taps = depth / self.channels_in;
            transpose(from, self.channels_in, [taps, self.channels_in], to, taps);
        }
        weights
    }

    /// Adds the gradients of the weights and biases of some images to `sums`, and writes those of their inputs.
    pub(in super::super) fn run(
        &self,
        geometry: &ConvGeometry,
        saved: Saved,
        gradient: &[f32],
        images: Range<usize>,
        (sums, input_gradient): Sums,
    ) {
        let (weight_sums, bias_sums) = sums.split_at_mut(sums.len().saturating_sub(geometry.channels_out));
        let plane = geometry.conv_plane();
        let if_needed = |is_needed: bool, length: usize| if is_needed { length } else { 0 };
        let lengths = [
            if_needed(!weight_sums.is_empty(), self.input.size()),
            if_needed(!weight_sums.is_empty(), self.bundles.each * self.places.len()),
            passes::scratch(geometry, self.together),
        ];
        let mut inputs = input_gradient.chunks_mut(self.together * geometry.image());
        with_scratch(lengths, |[padded, transposed, scratch]| {
            padded.fill(0.0);
            for first in images.clone().step_by(self.together) {
                let count = self.together.min(images.end - first);
                let dz = before_epilogue(geometry, saved, gradient, first..first + count, scratch);
                if !weight_sums.is_empty() {
                    add_bias_gradients(geometry, dz, bias_sums);
                    self.input.put(&saved.input[first * geometry.image()..][..count * geometry.image()], padded);
                    self.add(dz, plane, [padded, transposed], weight_sums);
                }
                if let (Some(back), Some(inputs)) = (&self.back, inputs.next()) {
                    back.run(geometry, dz, inputs);
                }
            }
        });
    }

    /// Adds products of the gradients `dz` of some images, of `plane` values for each channel, with the values of their patches.
    fn add(&self, dz: &[f32], plane: usize, [padded, transposed]: [&mut [f32]; 2], sums: &mut [f32]) {
        let Bundles { channels, lanes, .. } = self.bundles;
        let (count, depth) = (dz.len() / (channels * plane), self.offsets.len());
        for (own, across) in self.bundles.iter() {
            let vectors = &mut transposed[..count * plane * across];
            if own.len() < across {
                vectors.fill(0.0);
            }
            for (planes, vectors) in dz.chunks_exact(channels * plane).zip(vectors.chunks_exact_mut(plane * across)) {
                transpose(&planes[own.start * plane..], plane, [own.len(), plane], vectors, across);
            }
            sum(Work {
                image: padded,
                vectors,
                count: across / lanes,
                steps: &self.places[..count * plane],
                starts: &self.offsets,
                results: &mut sums[own.start * depth..][..across * depth],
                to: To::Add,
            });
        }
    }
}

/// How the gradient of the inputs is summed: what each output passes back is added to the values of its patch, tap by tap.
struct Back {
    together: usize,
    /// The gradient of the convolution.
    gradients: Images,
    taps: Vec<Tap>,
    bundles: Bundles,
}

/// What a tap of the kernel passes back.
struct Tap {
    /// Of the weights `[channels in, channels out]`.
    product: Product,
    /// Where the outputs that look at a value of an image by it begin in their gradients, and where these values lie in their planes.
    starts: Vec<usize>,
    targets: Vec<usize>,
}

impl Back {
    fn new(geometry: &ConvGeometry, weight: &[f32], together: usize) -> Self {
        let gradients = Images::gradient(geometry, together);
        let taps = (0..geometry.kernel * geometry.kernel).map(|tap| Tap::new(geometry, weight, tap, &gradients));
        Self { together, taps: taps.collect(), gradients, bundles: Bundles::of(geometry.channels_in) }
    }

    /// Writes the gradients of some inputs from those of their convolution.
    fn run(&self, geometry: &ConvGeometry, dz: &[f32], inputs: &mut [f32]) {
        let (image, plane) = (geometry.image(), geometry.height * geometry.width);
        let count = inputs.len() / image;
        with_scratch([self.gradients.size(), count * plane * self.bundles.each], |[gradients, values]| {
            self.gradients.put(dz, gradients);
            for (own, across) in self.bundles.iter() {
                let values = &mut values[..count * plane * across];
                values.fill(0.0);
                for Tap { product, starts, targets } in &self.taps {
                    let used = targets.len() / self.together * count;
                    let to = To::AddAt(&targets[..used]);
                    product.run((own.start, across), gradients, &starts[..used], values, to);
                }
                for (input, values) in inputs.chunks_exact_mut(image).zip(values.chunks_exact(plane * across)) {
                    let input = &mut input[own.start * plane..own.end * plane];
                    transpose(values, across, [plane, own.len()], input, plane);
                }
            }
        });
    }
}

impl Tap {
    fn new(geometry: &ConvGeometry, weight: &[f32], tap: usize, gradients: &Images) -> Self {
        let ConvGeometry { channels_in, channels_out, height, width, kernel, stride, padding, .. } = *geometry;
        let [rows, columns] = geometry.conv_output();
        let weights = (0..channels_in).flat_map(|channel| {
            (0..channels_out).map(move |out| weight[(out * channels_in + channel) * kernel * kernel + tap])
        });
        // The value of the image that an output looks at, if it is not one of the zeros around it.
        let target = move |[y, x]: [usize; 2]| {
            let y = (y * stride + tap / kernel).checked_sub(padding).filter(|y| *y < height)?;
            let x = (x * stride + tap % kernel).checked_sub(padding).filter(|x| *x < width)?;
            Some(y * width + x)
        };
        let outputs = (0..rows * columns).map(|n| [n / columns, n % columns]);
        let plane = height * width;
        let targets =
            (0..gradients.count).flat_map(|image| outputs.clone().filter_map(target).map(move |at| image * plane + at));
        Self {
            product: Product::new(&weights.collect::<Vec<_>>(), gradients.offsets([&[0], &[0]])),
            starts: gradients.starts(outputs.clone().filter(|output| target(*output).is_some())),
            targets: targets.collect(),
        }
    }
}
