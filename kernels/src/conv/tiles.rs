//! A convolution with 3x3 kernels by [Winograd's](super::super::winograd) tiles.

use std::ops::Range;
use std::sync::Arc;

use super::super::direct::{self, Convolve, PANEL};
use super::super::fill::{filled, filled_pair, with_scratch};
use super::super::geometry::ConvGeometry;
use super::super::pool::{Epilogue, PoolIndex};
use super::super::simd::vectorised;
use super::super::size::product;
use super::super::winograd::{PLACES, Tiling, transform};
use super::passes::{Forward, Saved, epilogue_backward};

/// Whether tiles are faster than what computes any convolution.
pub(in super::super) fn is_worth_it(geometry: &ConvGeometry) -> bool {
    let ConvGeometry { channels_in, channels_out, kernel, stride, padding, .. } = *geometry;
    kernel == 3 && stride == 1 && padding <= 2 && channels_in.min(channels_out) >= FEWEST_CHANNELS
}

/// With fewer channels, the transforms take longer than the products that they save.
const FEWEST_CHANNELS: usize = 24;

/// Transformed values that stay in a core's cache.
const MOST_VALUES: usize = 100_000;

/// Tiles that make full use of a product with them.
const ENOUGH_TILES: usize = 48;

/// Channels that lie side by side at each place, so that several threads can transform blocks of them.
const BLOCK: usize = 8;

/// How images are cut for transforms of `channels` planes each.
#[derive(Clone, Copy, Debug)]
struct Cut {
    tiling: Tiling,
    channels: usize,
    /// Images that are transformed side by side.
    together: usize,
    /// Rows of tiles that are transformed together.
    band: usize,
}

impl Cut {
    /// For at most `group` images side by side, and `enough` tiles if there are as many.
    fn new(tiling: Tiling, channels: usize, group: usize, enough: usize) -> Self {
        let ([down, across], most) = (tiling.tiles(), MOST_VALUES / (PLACES * channels));
        let bands = down.div_ceil((most / across).clamp(1, down));
        let together = if bands == 1 { enough.min(most).div_ceil(down * across).clamp(1, group.max(1)) } else { 1 };
        Self { tiling, channels, together, band: down.div_ceil(bands) }
    }

    /// Values from one channel to the next.
    fn row(&self) -> usize {
        direct::stride(self.together * self.band * self.tiling.tiles()[1])
    }

    /// Values from one place of a block to the next.
    fn place(&self) -> usize {
        BLOCK * self.row()
    }

    /// Values from one block of channels to the next.
    fn block(&self) -> usize {
        PLACES * self.place()
    }

    /// All transformed values: `[blocks, places, BLOCK, row]`.
    fn values(&self) -> usize {
        product(&[self.channels.div_ceil(BLOCK), self.block()])
    }

    fn scratch(&self) -> usize {
        self.tiling.scratch(self.band)
    }

    /// Rows of tiles, from the first to the last.
    fn bands(&self) -> impl Iterator<Item = Range<usize>> {
        let (down, band) = (self.tiling.tiles()[0], self.band);
        (0..down).step_by(band).map(move |first| first..down.min(first + band))
    }

    /// Where the channels of a place begin.
    fn offsets(&self) -> Vec<usize> {
        (0..self.channels).map(|channel| self.at(channel)).collect()
    }

    /// Where the first place of a channel begins.
    fn at(&self, channel: usize) -> usize {
        channel / BLOCK * self.block() + channel % BLOCK * self.row()
    }

    /// Tiles of an image in these rows.
    fn tiles(&self, rows: &Range<usize>) -> usize {
        rows.len() * self.tiling.tiles()[1]
    }
}

/// Weights for one direction through a convolution: `[panels, places, channels in, PANEL]`.
struct Weights {
    packed: Vec<f32>,
    channels_in: usize,
    channels_out: usize,
}

impl Weights {
    /// From `[out, in, 3, 3]`, in the order of the forward pass.
    fn forward(weight: &[f32], channels_out: usize, channels_in: usize) -> Self {
        Self::new([channels_out, channels_in], |out, channel, tap| weight[(out * channels_in + channel) * 9 + tap])
    }

    /// Those that the input's gradient is a convolution with: kernels flipped, and channels in and out exchanged.
    fn backward(weight: &[f32], channels_out: usize, channels_in: usize) -> Self {
        Self::new([channels_in, channels_out], |channel, out, tap| weight[(out * channels_in + channel) * 9 + 8 - tap])
    }

    fn new([channels_out, channels_in]: [usize; 2], weight: impl Fn(usize, usize, usize) -> f32) -> Self {
        let mut packed = vec![0.0; PLACES * direct::packed(channels_out, channels_in)];
        vectorised(
            #[inline(always)]
            || {
                let panels = packed.chunks_exact_mut(PLACES * channels_in * PANEL);
                for (first, panel) in (0..channels_out).step_by(PANEL).zip(panels) {
                    let rows = PANEL.min(channels_out - first);
                    for channel in 0..channels_in {
                        let mut kernels = [[0.0; PANEL]; 9];
                        for (tap, kernels) in kernels.iter_mut().enumerate() {
                            for (row, value) in kernels[..rows].iter_mut().enumerate() {
                                *value = weight(first + row, channel, tap);
                            }
                        }
                        for (p, values) in transform(&kernels).iter().enumerate() {
                            panel[(p * channels_in + channel) * PANEL..][..PANEL].copy_from_slice(values);
                        }
                    }
                }
            },
        );
        Self { packed, channels_in, channels_out }
    }
}

/// A convolution by tiles with its weights transformed: what does not change from batch to batch.
pub(in super::super) struct Tiles {
    weights: Arc<Weights>,
    cut: Cut,
    offsets: Vec<usize>,
}

/// What happens to the outputs of a convolution, and how they lie.
#[derive(Clone, Copy)]
pub(in super::super) struct After<'a> {
    /// One for each output channel, or none: all are 0.
    pub(in super::super) bias: &'a [f32],
    pub(in super::super) epilogue: Epilogue,
    /// Values of a channel.
    pub(in super::super) plane: usize,
    /// Values from one image to the next.
    pub(in super::super) image: usize,
}

impl Tiles {
    /// For up to `most` images side by side.
    pub(in super::super) fn forward(geometry: &ConvGeometry, weight: &[f32], most: usize) -> Self {
        let ConvGeometry { height, width, padding, channels_in, channels_out, .. } = *geometry;
        let tiling = Tiling { input: [height, width], output: geometry.conv_output(), padding };
        Self::new(tiling, Weights::forward(weight, channels_out, channels_in), most)
    }

    /// The input's gradient as a convolution of the output's.
    fn backward(geometry: &ConvGeometry, weight: &[f32], most: usize) -> Self {
        let ConvGeometry { height, width, padding, channels_in, channels_out, .. } = *geometry;
        let tiling = Tiling { input: geometry.conv_output(), output: [height, width], padding: 2 - padding };
        Self::new(tiling, Weights::backward(weight, channels_out, channels_in), most)
    }

    fn new(tiling: Tiling, weights: Weights, most: usize) -> Self {
        let cut = Cut::new(tiling, weights.channels_in, most, ENOUGH_TILES);
        Self { cut, offsets: cut.offsets(), weights: Arc::new(weights) }
    }

    /// The same convolution for up to `most` images side by side.
    pub(in super::super) fn recut(&self, most: usize) -> Self {
        let cut = Cut::new(self.cut.tiling, self.cut.channels, most, ENOUGH_TILES);
        Self { cut, offsets: cut.offsets(), weights: self.weights.clone() }
    }

    /// All transformed values of images side by side.
    pub(in super::super) fn values(&self) -> usize {
        self.cut.values()
    }

    /// Images that are computed together.
    pub(in super::super) fn together(&self) -> usize {
        self.cut.together
    }

    /// Values of one channel that is read.
    fn input(&self) -> usize {
        self.cut.tiling.input.iter().product()
    }

    /// Portions of the tiles of an image that are computed one after the other.
    pub(in super::super) fn bands(&self) -> impl Iterator<Item = Range<usize>> {
        self.cut.bands()
    }

    /// Values of a block of channels, transformed.
    pub(in super::super) fn block(&self) -> usize {
        self.cut.block()
    }

    /// Transforms up to [`BLOCK`] channels of an image; it is the `index`th of those side by side.
    pub(in super::super) fn read(&self, planes: &[f32], index: usize, rows: &Range<usize>, block: &mut [f32]) {
        with_scratch([self.cut.scratch()], |[scratch]| {
            vectorised(
                #[inline(always)]
                || {
                    for (channel, plane) in planes.chunks_exact(self.input()).enumerate() {
                        let values = &mut block[channel * self.cut.row() + index * self.cut.tiles(rows)..];
                        self.cut.tiling.read(plane, rows, scratch, values, self.cut.place());
                    }
                },
            );
        });
    }

    /// Computes a panel of output channels, the first of which is `first`, of `count` images whose transformed `values` lie side
    /// by side. `outputs` begins with the panel's first channel, and images are `image` values apart; `indices` are those of a
    /// max-pool's maxima, or empty if nobody asks.
    pub(in super::super) fn write(
        &self,
        values: &[f32],
        (first, count): (usize, usize),
        rows: &Range<usize>,
        after: After,
        (outputs, indices): (&mut [f32], &mut [PoolIndex]),
    ) {
        let Self { weights, cut, offsets } = self;
        let tiles = cut.tiles(rows);
        let (row, place) = (direct::stride(count * tiles), direct::results(count * tiles));
        let panel = PLACES * weights.channels_in * PANEL;
        let panel = &weights.packed[first / PANEL * panel..][..panel];
        let channels = PANEL.min(weights.channels_out - first);
        let After { bias, epilogue: Epilogue { relu, pool }, plane: size, image: step } = after;
        with_scratch([PLACES * place, cut.scratch()], |[products, scratch]| {
            for (p, weights) in panel.chunks_exact(weights.channels_in * PANEL).enumerate() {
                let (image, results) = (&values[p * cut.place()..], &mut products[p * place..][..place]);
                let length = count * tiles;
                direct::convolve(Convolve { weights, step: PANEL, rows: channels, offsets, image, length, results });
            }
            vectorised(
                #[inline(always)]
                || {
                    for (channel, image) in (0..channels).flat_map(|channel| (0..count).map(move |i| (channel, i))) {
                        let products = (&products[channel * row + image * tiles..], place);
                        let after = (bias.get(first + channel).copied().unwrap_or(0.0), relu);
                        let at = image * step + channel * size;
                        let plane = &mut outputs[at..at + size];
                        if pool {
                            let indices = if indices.is_empty() { &mut [][..] } else { &mut indices[at..at + size] };
                            cut.tiling.write_pooled(products, rows, after, scratch, (plane, indices));
                        } else {
                            cut.tiling.write(products, rows, after, scratch, plane);
                        }
                    }
                },
            );
        });
    }

    /// Convolves some images, as many as lie side by side at most.
    pub(in super::super) fn run(
        &self,
        images: &[f32],
        after: After,
        (outputs, indices): (&mut [f32], &mut [PoolIndex]),
    ) {
        let image = self.weights.channels_in * self.input();
        let count = images.len() / image;
        with_scratch([self.cut.values()], |[values]| {
            for rows in self.bands() {
                for (index, image) in images.chunks_exact(image).enumerate() {
                    let blocks = values.chunks_exact_mut(self.block());
                    for (planes, block) in image.chunks(BLOCK * self.input()).zip(blocks) {
                        self.read(planes, index, &rows, block);
                    }
                }
                for first in (0..self.weights.channels_out).step_by(PANEL) {
                    let at = first * after.plane;
                    let indices = if indices.is_empty() { &mut [][..] } else { &mut indices[at..] };
                    self.write(values, (first, count), &rows, after, (&mut outputs[at..], indices));
                }
            }
        });
    }
}

/// See [`super::forward`].
pub(super) fn forward(geometry: &ConvGeometry, input: &[f32], weight: &[f32], bias: &[f32]) -> Forward {
    let tiles = Tiles::forward(geometry, weight, geometry.batch);
    let (image, size, epilogue) = (geometry.image(), geometry.output_plane(), geometry.epilogue);
    let chunk = tiles.together() * geometry.channels_out * size;
    let run = |part: usize, output: &mut [f32], indices: &mut [PoolIndex]| {
        let count = output.len() / (geometry.channels_out * size);
        let images = &input[part * tiles.together() * image..][..count * image];
        let after = After { bias, epilogue, plane: size, image: geometry.channels_out * size };
        tiles.run(images, after, (output, indices));
    };
    let total = geometry.batch * geometry.channels_out * size;
    if epilogue.pool {
        let (output, indices) = filled_pair([total, chunk], [total, chunk], run);
        return Forward { output, indices };
    }
    Forward { output: filled(total, chunk, |part, output| run(part, output, &mut [])), indices: Vec::new() }
}

/// What the input's gradient by tiles shares between threads.
pub(super) struct InputGradient(Tiles);

impl InputGradient {
    /// For groups of `group` images.
    pub(super) fn new(geometry: &ConvGeometry, weight: &[f32], group: usize) -> Self {
        Self(Tiles::backward(geometry, weight, group))
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
        let (planes, together) = (geometry.channels_out * geometry.conv_plane(), self.0.together());
        let no_epilogue = Epilogue { relu: false, pool: false };
        let has_epilogue = geometry.epilogue != no_epilogue;
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
                let plane = geometry.height * geometry.width;
                let after = After { bias: &[], epilogue: no_epilogue, plane, image: geometry.image() };
                self.0.run(dz, after, (inputs, &mut []));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::tests::{assert_close, random};
    use super::super::columns;
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

        /// Odd sizes, planes of one pixel, padding that only zeros are read of, channels that fill no panel.
        #[test]
        fn tiles_give_what_the_patch_matrix_gives(
            batch in 1usize..6, channels_in in 24usize..35, channels_out in 24usize..35, height in 1usize..12,
            width in 1usize..20, padding in 0usize..3, relu: bool, pool: bool,
        ) {
            let output = [height, width].map(|size| (size + 2 * padding).saturating_sub(2));
            let least = if pool { 2 } else { 1 };
            prop_assume!(output.iter().all(|size| *size >= least));
            let (shape, weight_shape) = ([batch, channels_in, height, width], [channels_out, channels_in, 3, 3]);
            let geometry = ConvGeometry::new(shape, weight_shape, 1, padding, Epilogue { relu, pool });
            prop_assert!(is_worth_it(&geometry));
            let (input, weight) = (random(shape.iter().product(), 1), random(weight_shape.iter().product(), 2));
            let bias = random(channels_out, 3);
            let expected = columns::forward(&geometry, &input, &weight, &bias);
            assert_close(&forward(&geometry, &input, &weight, &bias).output, &expected.output, "output");
            let gradient = random(expected.output.len(), 4);
            let Forward { output, indices } = &expected;
            let saved = Saved { input: &input, weight: &weight, output, indices };
            let mut by_columns = vec![0.0; input.len()];
            for (image, input) in by_columns.chunks_exact_mut(geometry.image()).enumerate() {
                columns::backward(&geometry, saved, &gradient, image, (&mut [], Some(input)));
            }
            let mut by_tiles = vec![f32::NAN; input.len()];
            InputGradient::new(&geometry, &weight, batch).run(&geometry, saved, &gradient, 0..batch, &mut by_tiles);
            assert_close(&by_tiles, &by_columns, "input gradient");
        }
    }

    #[test]
    fn images_too_large_for_the_cache_are_cut_into_bands() {
        let geometry = ConvGeometry::new([2, 24, 35, 33], [25, 24, 3, 3], 1, 1, Epilogue { relu: true, pool: false });
        let (input, weight, bias) = (random(2 * 24 * 35 * 33, 1), random(25 * 24 * 9, 2), random(25, 3));
        assert!(Tiles::forward(&geometry, &weight, 2).bands().count() > 1);
        let expected = columns::forward(&geometry, &input, &weight, &bias).output;
        assert_close(&forward(&geometry, &input, &weight, &bias).output, &expected, "output");
    }
}
