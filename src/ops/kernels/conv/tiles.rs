//! A convolution with 3x3 kernels by [Winograd's](super::super::winograd) tiles.

use std::ops::Range;

use super::super::direct::{self, Convolve, PANEL};
use super::super::fill::{filled, filled_pair, with_scratch};
use super::super::geometry::ConvGeometry;
use super::super::pool::{Epilogue, PoolIndex};
use super::super::simd::vectorised;
use super::super::size::product;
use super::super::winograd::{PLACES, Tiling, transform};
use super::passes::{Forward, Saved, epilogue_backward};

/// Whether tiles are faster than what computes any convolution.
pub(super) fn is_worth_it(geometry: &ConvGeometry) -> bool {
    let ConvGeometry { channels_in, channels_out, kernel, stride, padding, .. } = *geometry;
    kernel == 3 && stride == 1 && padding <= 2 && channels_in.min(channels_out) >= FEWEST_CHANNELS
}

/// With fewer channels, the transforms take longer than the products that they save.
const FEWEST_CHANNELS: usize = 24;

/// Transformed values that stay in a core's cache.
const MOST_VALUES: usize = 100_000;

/// Tiles that make full use of a product with them.
const ENOUGH_TILES: usize = 48;

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

    /// Values from one place to the next.
    fn place(&self) -> usize {
        self.channels * self.row()
    }

    /// All transformed values.
    fn values(&self) -> usize {
        product(&[PLACES, self.place()])
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
        (0..self.channels).map(|channel| channel * self.row()).collect()
    }

    /// The first values of a channel and of an image's tiles.
    fn at(&self, channel: usize, image: usize, rows: &Range<usize>) -> usize {
        channel * self.row() + image * self.tiles(rows)
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
        Self::new(channels_out, channels_in, |out, channel| {
            *weight[(out * channels_in + channel) * 9..].first_chunk().expect("nine weights")
        })
    }

    /// Those that the input's gradient is a convolution with: kernels flipped, and channels in and out exchanged.
    fn backward(weight: &[f32], channels_out: usize, channels_in: usize) -> Self {
        Self::new(channels_in, channels_out, |channel, out| {
            let mut kernel: [f32; 9] =
                *weight[(out * channels_in + channel) * 9..].first_chunk().expect("nine weights");
            kernel.reverse();
            kernel
        })
    }

    fn new(channels_out: usize, channels_in: usize, kernel: impl Fn(usize, usize) -> [f32; 9]) -> Self {
        let mut packed = vec![0.0; PLACES * direct::packed(channels_out, channels_in)];
        let place = channels_in * PANEL;
        for out in 0..channels_out {
            let panel = &mut packed[out / PANEL * PLACES * place + out % PANEL..];
            for channel in 0..channels_in {
                for (p, value) in transform(&kernel(out, channel)).into_iter().enumerate() {
                    panel[p * place + channel * PANEL] = value;
                }
            }
        }
        Self { packed, channels_in, channels_out }
    }
}

/// Calls `done(channel, products, values from one place to the next)` for each output channel of the transformed `values` of
/// `tiles` tiles.
fn multiply(
    weights: &Weights,
    (values, cut, offsets): (&[f32], &Cut, &[usize]),
    tiles: usize,
    mut done: impl FnMut(usize, &[f32], usize),
) {
    let (row, place) = (direct::stride(tiles), direct::results(tiles));
    with_scratch([PLACES * place], |[products]| {
        let panels = weights.packed.chunks_exact(PLACES * weights.channels_in * PANEL);
        for (first, panel) in (0..weights.channels_out).step_by(PANEL).zip(panels) {
            let rows = PANEL.min(weights.channels_out - first);
            for (p, weights) in panel.chunks_exact(weights.channels_in * PANEL).enumerate() {
                let (image, results) = (&values[p * cut.place()..][..cut.place()], &mut products[p * place..][..place]);
                direct::convolve(Convolve { weights, rows, offsets, image, length: tiles, results });
            }
            for channel in 0..rows {
                done(first + channel, &products[channel * row..], place);
            }
        }
    });
}

/// See [`super::forward`].
pub(super) fn forward(geometry: &ConvGeometry, input: &[f32], weight: &[f32], bias: &[f32]) -> Forward {
    let weights = Weights::forward(weight, geometry.channels_out, geometry.channels_in);
    let cut = Cut::new(input_tiling(geometry), geometry.channels_in, geometry.batch, ENOUGH_TILES);
    let offsets = cut.offsets();
    let Epilogue { relu, pool } = geometry.epilogue;
    let (image, size) = (geometry.image(), geometry.output_plane());
    let run = |part: usize, output: &mut [f32], indices: &mut [PoolIndex]| {
        let images = &input[part * cut.together * image..];
        let count = output.len() / (geometry.channels_out * size);
        with_scratch([cut.values(), cut.scratch()], |[values, scratch]| {
            for rows in cut.bands() {
                vectorised(
                    #[inline(always)]
                    || read(&cut, &images[..count * image], &rows, values, scratch),
                );
                let tiles = cut.tiles(&rows);
                multiply(&weights, (values, &cut, &offsets), count * tiles, |channel, products, place| {
                    vectorised(
                        #[inline(always)]
                        || {
                            for i in 0..count {
                                let products = (&products[i * tiles..], place);
                                let at = (i * geometry.channels_out + channel) * size;
                                let (plane, after) = (&mut output[at..at + size], (bias[channel], relu));
                                if pool {
                                    let planes = (plane, &mut indices[at..at + size]);
                                    cut.tiling.write_pooled(products, rows.clone(), after, scratch, planes);
                                } else {
                                    cut.tiling.write(products, rows.clone(), after, scratch, plane);
                                }
                            }
                        },
                    );
                });
            }
        });
    };
    let (total, chunk) = (geometry.batch * geometry.channels_out * size, cut.together * geometry.channels_out * size);
    if pool {
        let (output, indices) = filled_pair([total, chunk], [total, chunk], run);
        return Forward { output, indices };
    }
    Forward { output: filled(total, chunk, |part, output| run(part, output, &mut [])), indices: Vec::new() }
}

fn input_tiling(geometry: &ConvGeometry) -> Tiling {
    let ConvGeometry { height, width, padding, .. } = *geometry;
    Tiling { input: [height, width], output: geometry.conv_output(), padding }
}

/// Transforms the planes of some images that lie one after the other.
#[inline(always)]
fn read(cut: &Cut, images: &[f32], rows: &Range<usize>, values: &mut [f32], scratch: &mut [f32]) {
    let plane = cut.tiling.input[0] * cut.tiling.input[1];
    for (i, plane) in images.chunks_exact(plane).enumerate() {
        let at = cut.at(i % cut.channels, i / cut.channels, rows);
        cut.tiling.read(plane, rows.clone(), scratch, &mut values[at..], cut.place());
    }
}

/// What the input's gradient by tiles shares between threads.
pub(super) struct InputGradient {
    weights: Weights,
    cut: Cut,
    offsets: Vec<usize>,
}

impl InputGradient {
    /// For groups of `group` images.
    pub(super) fn new(geometry: &ConvGeometry, weight: &[f32], group: usize) -> Self {
        let ConvGeometry { channels_in, channels_out, height, width, padding, .. } = *geometry;
        let tiling = Tiling { input: geometry.conv_output(), output: [height, width], padding: 2 - padding };
        let cut = Cut::new(tiling, channels_out, group, ENOUGH_TILES);
        Self { weights: Weights::backward(weight, channels_out, channels_in), cut, offsets: cut.offsets() }
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
        let planes = geometry.channels_out * geometry.conv_plane();
        let has_epilogue = geometry.epilogue != Epilogue { relu: false, pool: false };
        with_scratch([if has_epilogue { self.cut.together * planes } else { 0 }], |[scratch]| {
            let firsts = images.clone().step_by(self.cut.together);
            for (first, inputs) in firsts.zip(inputs.chunks_mut(self.cut.together * geometry.image())) {
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
                self.convolve(geometry, dz, inputs);
            }
        });
    }

    /// Writes the gradients of some images from `dz`.
    fn convolve(&self, geometry: &ConvGeometry, dz: &[f32], inputs: &mut [f32]) {
        let Self { weights, cut, offsets } = self;
        let (image, plane) = (geometry.image(), geometry.height * geometry.width);
        let count = inputs.len() / image;
        with_scratch([cut.values(), cut.scratch()], |[values, scratch]| {
            for rows in cut.bands() {
                vectorised(
                    #[inline(always)]
                    || read(cut, dz, &rows, values, scratch),
                );
                let tiles = cut.tiles(&rows);
                multiply(weights, (values, cut, offsets), count * tiles, |channel, products, place| {
                    vectorised(
                        #[inline(always)]
                        || {
                            for (i, input) in inputs.chunks_exact_mut(image).enumerate() {
                                let plane = &mut input[channel * plane..][..plane];
                                let products = (&products[i * tiles..], place);
                                cut.tiling.write(products, rows.clone(), (0.0, false), scratch, plane);
                            }
                        },
                    );
                });
            }
        });
    }
}
