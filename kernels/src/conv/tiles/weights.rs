//! The gradient of the weights: sums over tiles of products of what images and gradients are transformed to, for each place in a
//! tile.

use std::ops::Range;

use super::super::super::blocks::{
    AddKernels, GAP, MOST_VALUES, Read, ReadGradient, Shape, Sums, To, bundles, sum, unpack,
};
use super::super::super::fill::with_scratch;
use super::super::super::geometry::ConvGeometry;
use super::super::super::winograd::PLACES;
use super::super::passes::{self, NO_EPILOGUE, Saved, add_bias_gradients, before_epilogue};
use super::shapes;

/// What threads share while they compute it.
pub(in super::super) struct WeightGradient {
    input: Shape,
    output: Shape,
    /// Blocks of a bundle.
    width: usize,
    /// Images that are computed together, and rows of tiles that are.
    together: usize,
    pub(super) band: usize,
    /// Where each tile begins in the transformed values, and each channel of a tile.
    steps: Vec<usize>,
    starts: Vec<usize>,
}

/// Values that are transformed: those of the images, then those of the gradients.
struct Transformed<'a> {
    values: [&'a mut [f32]; 2],
    /// Values from one place to the next of each.
    places: [usize; 2],
    /// Sums for each place, `[places, bundles, channels in, blocks of a bundle, lanes]`.
    sums: &'a mut [f32],
}

/// Rows of tiles of the gradient, and tiles of a row.
fn tiles_of(output: &Shape) -> [usize; 2] {
    [output.height, output.width].map(|size| size.div_ceil(2))
}

impl WeightGradient {
    /// For groups of `group` images.
    pub(in super::super) fn new(geometry: &ConvGeometry, group: usize) -> Self {
        // The gradient is that of what the convolution puts out, before a pool.
        let [input, output] = shapes(&ConvGeometry { epilogue: NO_EPILOGUE, ..*geometry });
        let [down, across] = tiles_of(&output);
        let [depth, results] = [input, output].map(|shape| shape.blocks() * shape.lanes);
        let most = MOST_VALUES / (PLACES * depth.max(results));
        let bands = down.div_ceil((most / across).clamp(1, down));
        let together = if bands == 1 { (most / (down * across)).clamp(1, group.max(1)) } else { 1 };
        let band = down.div_ceil(bands);
        let steps = (0..together * band * across).map(|tile| tile * depth).collect();
        let starts = (0..geometry.channels_in).collect();
        Self { input, output, width: bundles(output.blocks()), together, band, steps, starts }
    }

    /// Values of the sums for the weights.
    pub(in super::super) fn sums(&self) -> usize {
        self.output.blocks() * self.output.lanes * self.input.channels * 9
    }

    /// The gradient of the weights from such sums.
    pub(in super::super) fn weights(&self, sums: &[f32]) -> Vec<f32> {
        unpack(sums, self.output.channels, self.input.channels * 9, self.output.lanes, 1)
    }

    /// Adds the gradients of the weights and biases of some images to `sums`.
    pub(in super::super) fn run(
        &self,
        geometry: &ConvGeometry,
        saved: Saved,
        gradient: &[f32],
        images: Range<usize>,
        sums: &mut [f32],
    ) {
        let Self { input, output, width, together, .. } = self;
        let (kernels, biases) = sums.split_at_mut(self.sums());
        let places = [input, output].map(|shape| self.steps.len() * shape.blocks() * shape.lanes + GAP);
        let lengths = [
            passes::scratch(geometry, 1),
            together * input.size(),
            together * output.size(),
            PLACES * places[0],
            PLACES * places[1],
            PLACES * output.blocks() * output.lanes * input.channels,
        ];
        with_scratch(lengths, |[scratch, inputs, gradients, values, gradient_values, sums]| {
            inputs.fill(0.0);
            let mut transformed = Transformed { values: [values, gradient_values], places, sums };
            for first in images.clone().step_by(*together) {
                let count = (*together).min(images.end - first);
                for (i, image) in (first..first + count).enumerate() {
                    let dz = before_epilogue(geometry, saved, gradient, image..image + 1, scratch);
                    add_bias_gradients(geometry, dz, biases);
                    output.put(dz, &mut gradients[i * output.size()..][..output.size()]);
                    let image = &saved.input[image * geometry.image()..][..geometry.image()];
                    input.put(image, &mut inputs[i * input.size()..][..input.size()]);
                }
                self.add(count, [inputs, gradients], &mut transformed, first > images.start);
            }
            let (channels_in, blocks) = (input.channels, output.blocks());
            pulp::Arch::new().dispatch(AddKernels { sums, channels_in, blocks, width: *width, kernels });
        });
    }

    /// Sums over the tiles of `count` images in blocks; `adds` to what is there or replaces it.
    fn add(&self, count: usize, [inputs, gradients]: [&[f32]; 2], transformed: &mut Transformed, adds: bool) {
        let Self { input, output, width, .. } = self;
        let [down, across] = tiles_of(output);
        let (lanes, channels) = (output.lanes, input.channels);
        let Transformed { values: [values, gradient_values], places, sums } = transformed;
        for top in (0..down).step_by(self.band) {
            let rows = top..down.min(top + self.band);
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
                    place: places[0],
                });
                pulp::Arch::new().dispatch(ReadGradient {
                    gradient: &gradients[image * output.size()..][..output.size()],
                    shape: output,
                    width: *width,
                    first: image * each,
                    tiles,
                    rows: &rows,
                    values: gradient_values,
                    place: places[1],
                });
            }
            let (steps, starts) = (&self.steps[..tiles], &self.starts[..]);
            let to = if adds || top > 0 { To::Add } else { To::Own };
            let place = output.blocks() * lanes * channels;
            let transformed = values.chunks_exact(places[0]).zip(gradient_values.chunks_exact(places[1]));
            for ((image, gradient), sums) in transformed.zip(sums.chunks_exact_mut(place)) {
                for bundle in (0..output.blocks()).step_by(*width) {
                    let count = (*width).min(output.blocks() - bundle);
                    let vectors = &gradient[bundle * tiles * lanes..][..count * tiles * lanes];
                    let results = &mut sums[bundle * lanes * channels..][..count * lanes * channels];
                    sum(Sums { image, vectors, count, steps, starts, results, to });
                }
            }
        }
    }
}
