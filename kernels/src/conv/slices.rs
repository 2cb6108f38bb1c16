//! A convolution by slices of padded images: no patch is copied.

use std::ops::Range;

use super::super::direct::{self, Correlate, PANEL};
use super::super::fill::with_scratch;
use super::super::geometry::ConvGeometry;
use super::super::padded::Layout;
use super::super::pool::{Epilogue, PoolIndex, copy_with_bias, max_pool};
use super::super::simd::vectorised;
use super::super::size::product;
use super::passes::{self, Forward, NeedsGradient, Saved, Sums, add_bias_gradients, before_epilogue};

/// Up to this many images are cut by channels as well, so that there is work for several threads, if there are as many
/// multiplications as that pays for.
const FEW_IMAGES: usize = 8;
const MUCH_WORK: u64 = 1 << 20;

/// A product of weights with patches of padded images, neighbouring columns of the patch matrix side by side in vectors.
struct Product {
    rows: usize,
    size: [usize; 2],
    /// Where each row of the patch matrix begins in the images.
    offsets: Vec<usize>,
    /// Packed in panels of rows.
    weights: Vec<f32>,
    /// Values from one row of an image to the next, and from one image to the next.
    row: usize,
    image: usize,
    /// Columns of an image's results, those between the rows included.
    columns: usize,
}

impl Product {
    /// Of `weights` `[rows, offsets]`, to results of `size` from images in this `layout`.
    fn new(weights: &[f32], offsets: Vec<usize>, layout: &Layout, size: [usize; 2]) -> Self {
        let depth = offsets.len();
        let rows = weights.len() / depth;
        let mut packed = vec![0.0; direct::packed(rows, depth)];
        direct::pack(weights, depth, &mut packed);
        let (row, image, columns) = (layout.row(), layout.image(), layout.columns(1, size));
        Self { rows, size, offsets, weights: packed, row, image, columns }
    }

    /// Values of scratch memory that [`run`](Self::run) needs.
    fn results(&self) -> usize {
        direct::results(self.columns)
    }

    /// Computes the rows from `first` on, at most `rows`, for the first `count` of some padded `images`: calls `done(image, row counted from `first`,
    /// plane, [values from one of its rows to the next, width])`. `first` begins a panel.
    fn run(
        &self,
        (first, rows): (usize, usize),
        (images, count): (&[f32], usize),
        results: &mut [f32],
        mut done: impl FnMut(usize, usize, &[f32], [usize; 2]),
    ) {
        let (depth, end) = (self.offsets.len(), self.rows.min(first + rows));
        let (stride, shape) = (direct::stride(self.columns), [self.row, self.size[1]]);
        for image in 0..count {
            for at in (first..end).step_by(PANEL) {
                let rows = PANEL.min(end - at);
                direct::convolve(direct::Convolve {
                    weights: &self.weights[at * depth..][..PANEL * depth],
                    step: PANEL,
                    rows,
                    offsets: &self.offsets,
                    image: &images[image * self.image..],
                    length: self.columns,
                    results: &mut *results,
                });
                for (row, plane) in results.chunks_exact(stride).take(rows).enumerate() {
                    done(image, at - first + row, plane, shape);
                }
            }
        }
    }
}

/// See [`super::forward`].
pub(super) fn forward(geometry: &ConvGeometry, input: &[f32], weight: &[f32], bias: &[f32]) -> Forward {
    let is_cut = geometry.batch <= FEW_IMAGES
        && geometry.channels_out.is_multiple_of(PANEL)
        && geometry.multiply_adds() >= MUCH_WORK;
    let layout = Layout::input(geometry, 1);
    let taps = (0..geometry.kernel).collect::<Vec<_>>();
    let weights = Product::new(weight, layout.offsets(&taps, &taps), &layout, geometry.conv_output());
    let Epilogue { relu, pool } = geometry.epilogue;
    let size = geometry.output_plane();
    let put = |image: usize, padded: &mut [f32]| {
        padded.fill(0.0);
        vectorised(
            #[inline(always)]
            || layout.put(0, &input[image * geometry.image()..][..geometry.image()], padded),
        );
    };
    let mut padded_images = vec![0.0; if is_cut { product(&[geometry.batch, layout.size()]) } else { 0 }];
    for (image, padded) in padded_images.chunks_exact_mut(layout.size()).enumerate() {
        put(image, padded);
    }
    let channels = if is_cut { PANEL } else { geometry.channels_out };
    let parts = geometry.channels_out / channels;
    let run = |part: usize, output: &mut [f32], indices: &mut [PoolIndex]| {
        let (image, first) = (part / parts, part % parts * channels);
        let scratch = if is_cut { 0 } else { layout.size() };
        with_scratch([scratch, weights.results()], |[padded, results]| {
            let padded = if is_cut {
                &padded_images[image * layout.size()..][..layout.size()]
            } else {
                put(image, padded);
                &*padded
            };
            weights.run((first, channels), (padded, 1), results, |_, channel, plane, shape| {
                let (bias, place) = (bias[first + channel], channel * size);
                let output = &mut output[place..][..size];
                vectorised(
                    #[inline(always)]
                    || match pool {
                        true => max_pool(plane, shape, bias, relu, output, &mut indices[place..][..size]),
                        false => copy_with_bias(plane, shape, bias, relu, output),
                    },
                );
            });
        });
    };
    Forward::filled(geometry, [geometry.batch * geometry.channels_out * size, channels * size], run)
}

/// What the backward pass by slices of padded images shares between threads.
pub(super) struct Backward {
    /// How many images lie side by side.
    together: usize,
    input: Layout,
    /// The gradient of the convolution as the weights' gradients need it, beside the input.
    beside: Layout,
    /// The same as the input's gradient needs it.
    around: Layout,
    /// Where each row of the patch matrix begins in the padded input.
    offsets: Vec<usize>,
    phases: Vec<Phase>,
}

/// The values of the input's gradient that the same taps of the kernel lead to: those at `first + stride * position`. They
/// are a convolution of the output's gradient with these taps, flipped.
struct Phase {
    first: [usize; 2],
    size: [usize; 2],
    /// Of the weights `[channels in, channels out, taps]`.
    product: Product,
}

/// Columns that a sum for the weights runs over at least, where there are enough images.
const LONG_SUM: usize = 1024;

impl Backward {
    /// Up to `group` images are computed together.
    pub(super) fn new(geometry: &ConvGeometry, weight: &[f32], needs: NeedsGradient, group: usize) -> Self {
        let ConvGeometry { kernel, stride, padding, .. } = *geometry;
        let columns = Layout::input(geometry, 1).image();
        let together = (LONG_SUM / columns).clamp(1, group);
        let input = Layout::input(geometry, together);
        let beside = Layout::gradient_beside(geometry, together, &input);
        let reach = if stride == 1 { kernel - 1 - padding } else { (kernel - 1).div_ceil(stride) };
        let around = Layout::gradient(geometry, together, reach);
        let corners = (0..stride).flat_map(|a| (0..stride).map(move |b| [a, b]));
        let phases = match needs.input {
            true => corners.filter_map(|corner| Phase::new(geometry, weight, corner, reach, &around)).collect(),
            false => Vec::new(),
        };
        let taps = (0..kernel).collect::<Vec<_>>();
        let offsets = input.offsets(&taps, &taps);
        Self { together, input, beside, around, offsets, phases }
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
        // With stride 1, one copy of the gradient serves both.
        let is_shared = geometry.stride == 1;
        let size = |layout: &Layout, is_needed: bool| if is_needed { layout.size() } else { 0 };
        let lengths = [
            size(&self.input, !weight_sums.is_empty()),
            size(&self.beside, !weight_sums.is_empty() && !is_shared),
            size(&self.around, is_shared || !input_gradient.is_empty()),
            passes::scratch(geometry, 1),
            self.phases.iter().map(|phase| phase.product.results()).max().unwrap_or(0),
        ];
        let mut inputs = input_gradient.chunks_mut(self.together * geometry.image());
        with_scratch(lengths, |[padded, beside, around, scratch, results]| {
            for values in [&mut *padded, beside, around] {
                values.fill(0.0);
            }
            for first in images.clone().step_by(self.together) {
                let count = self.together.min(images.end - first);
                for (i, image) in (first..first + count).enumerate() {
                    let planes = before_epilogue(geometry, saved, gradient, image..image + 1, scratch);
                    add_bias_gradients(geometry, planes, bias_sums);
                    vectorised(
                        #[inline(always)]
                        || {
                            if !around.is_empty() {
                                self.around.put(i, planes, around);
                            }
                            if !beside.is_empty() {
                                self.beside.put(i, planes, beside);
                            }
                            if !padded.is_empty() {
                                let source = &saved.input[image * geometry.image()..][..geometry.image()];
                                self.input.put(i, source, padded);
                            }
                        },
                    );
                }
                if !weight_sums.is_empty() {
                    let (left, layout) = match is_shared {
                        true => (&*around, &self.around),
                        false => (&*beside, &self.beside),
                    };
                    direct::correlate(Correlate {
                        left: &left[layout.start()..],
                        left_row: layout.channel(),
                        rows: geometry.channels_out,
                        image: padded,
                        offsets: &self.offsets,
                        length: self.input.columns(count, geometry.conv_output()),
                        sums: weight_sums,
                    });
                }
                if let Some(inputs) = inputs.next() {
                    for phase in &self.phases {
                        phase.run(geometry, (around, count), results, inputs);
                    }
                }
            }
        });
    }
}

impl Phase {
    /// The phase whose taps are `corner`, `corner + stride`, and so on; none if no tap or no value belongs to it.
    fn new(geometry: &ConvGeometry, weight: &[f32], corner: [usize; 2], reach: usize, around: &Layout) -> Option<Self> {
        let ConvGeometry { channels_in, channels_out, height, width, kernel, stride, padding, .. } = *geometry;
        // The value at i takes tap corner + stride * j of the output at (i + padding - corner) / stride - j.
        let output = corner.map(|corner| padding.saturating_sub(corner).div_ceil(stride));
        let first: [usize; 2] = std::array::from_fn(|axis| output[axis] * stride + corner[axis] - padding);
        let taps = corner.map(|corner| (corner..kernel).step_by(stride).collect::<Vec<_>>());
        if taps.iter().any(Vec::is_empty) || first[0] >= height || first[1] >= width {
            return None;
        }
        let size = [(height - first[0]).div_ceil(stride), (width - first[1]).div_ceil(stride)];
        let places: [Vec<usize>; 2] =
            std::array::from_fn(|axis| (0..taps[axis].len()).map(|j| output[axis] + reach - j).collect());
        let offsets = around.offsets(&places[0], &places[1]);
        let [rows, columns] = taps;
        let mut weights = Vec::with_capacity(channels_in * channels_out * rows.len() * columns.len());
        for (channel, out) in (0..channels_in).flat_map(|channel| (0..channels_out).map(move |out| (channel, out))) {
            let kernel_of = &weight[(out * channels_in + channel) * kernel * kernel..][..kernel * kernel];
            weights.extend(rows.iter().flat_map(|ky| columns.iter().map(move |kx| kernel_of[ky * kernel + kx])));
        }
        let product = Product::new(&weights, offsets, around, size);
        Some(Self { first, size, product })
    }

    /// Writes this phase of the gradients of some inputs from the padded gradients of their outputs, and how many they are.
    fn run(&self, geometry: &ConvGeometry, gradients: (&[f32], usize), results: &mut [f32], inputs: &mut [f32]) {
        let (channels, plane) = (geometry.channels_in, geometry.height * geometry.width);
        self.product.run((0, channels), gradients, results, |image, channel, values, shape| {
            let input = &mut inputs[(image * channels + channel) * plane..][..plane];
            vectorised(
                #[inline(always)]
                || self.spread(geometry, values, shape, input),
            );
        });
    }

    /// Copies this phase's values of one channel to their places.
    #[inline(always)]
    fn spread(&self, geometry: &ConvGeometry, values: &[f32], [row, width]: [usize; 2], plane: &mut [f32]) {
        if geometry.stride == 1 {
            return copy_with_bias(values, [row, width], 0.0, false, plane);
        }
        let rows = plane.chunks_exact_mut(geometry.width).skip(self.first[0]).step_by(geometry.stride);
        for (values, plane) in values.chunks(row).zip(rows.take(self.size[0])) {
            for (value, place) in values[..width].iter().zip(plane[self.first[1]..].iter_mut().step_by(geometry.stride))
            {
                *place = *value;
            }
        }
    }
}
