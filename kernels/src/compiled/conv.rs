//! A convolution whose weights lie as the kernels read them.

use super::super::conv::lanes::is_possible;
use super::super::conv::tiles::{self, After, Tiles};
use super::super::direct::{self, Convolve, PANEL};
use super::super::fill::with_scratch;
use super::super::geometry::ConvGeometry;
use super::super::im2col::im2col;
use super::super::padded::Layout;
use super::super::pool::{Epilogue, copy_with_bias, max_pool};
use super::super::simd::vectorised;
use super::team::{Access, Member};

/// Channels that are prepared together, by one thread.
const BLOCK: usize = 8;

/// A convolution of one image at a time.
pub(super) struct Conv {
    /// Of one image.
    pub(super) geometry: ConvGeometry,
    bias: Vec<f32>,
    method: Method,
    /// ReLU after what is added to the outputs.
    relu_of_sum: bool,
}

#[expect(clippy::large_enum_variant, reason = "there is one for each convolution of a network")]
enum Method {
    /// Winograd's tiles, cut for one image and for several.
    Tiles { one: Box<Tiles>, many: Box<Tiles> },
    /// Products with rows of a patch matrix, made or read in place.
    Patches(Patches),
}

/// Where the arrays of a convolution are in memory.
pub(super) struct Places {
    pub(super) input: usize,
    /// What is added to the outputs.
    pub(super) shortcut: Option<usize>,
    pub(super) output: usize,
    pub(super) workspace: usize,
}

/// The most images that are transformed side by side.
const MOST_TOGETHER: usize = 32;

impl Conv {
    /// With weights `[out, in, k, k]`. With `sum`, an array like the output is added, and ReLU follows that if `sum` says so.
    ///
    /// # Panics
    /// If the slices do not fit the geometry, which is that of one image, or a pool comes before a sum.
    pub(super) fn new(geometry: ConvGeometry, weight: &[f32], bias: Vec<f32>, sum: Option<bool>) -> Self {
        assert!(geometry.batch == 1 && bias.len() == geometry.channels_out && weight.len() == geometry.weights());
        assert!(sum.is_none() || !geometry.epilogue.pool, "a pool before a sum");
        let method = if tiles::is_worth_it(&geometry) {
            let one = Tiles::forward(&geometry, weight, 1);
            Method::Tiles { many: Box::new(one.recut(MOST_TOGETHER)), one: Box::new(one) }
        } else {
            Method::Patches(Patches::new(&geometry, weight))
        };
        Self { geometry, bias, method, relu_of_sum: sum == Some(true) }
    }

    /// Values that threads share while they compute one image.
    pub(super) fn workspace(&self) -> usize {
        match &self.method {
            Method::Tiles { one, .. } => one.values(),
            Method::Patches(patches) => patches.size,
        }
    }

    /// Steps that an image takes at most.
    pub(super) fn steps(&self) -> usize {
        match &self.method {
            Method::Tiles { one, .. } => 2 * one.bands().count(),
            Method::Patches(_) => 2,
        }
    }

    fn after(&self) -> After<'_> {
        let plane = self.geometry.output_plane();
        After { bias: &self.bias, epilogue: self.geometry.epilogue, plane, image: self.geometry.channels_out * plane }
    }

    /// Convolves `count` images.
    pub(super) fn run(&self, member: &Member, places: &Places, count: usize) {
        if member.is_alone() {
            return self.run_alone(member, places, count);
        }
        for image in 0..count {
            self.run_together(member, places, image);
        }
    }

    fn run_alone(&self, member: &Member, places: &Places, count: usize) {
        let (image, outputs) = (self.geometry.image(), self.geometry.channels_out * self.geometry.output_plane());
        let together = match &self.method {
            Method::Tiles { many, .. } => many.together(),
            Method::Patches(_) => 1,
        };
        let (range, chunk) = (0..count * outputs, together * outputs);
        let compute = |part: usize, input: &[f32], output: &mut [f32]| {
            let images = &input[part * together * image..][..output.len() / outputs * image];
            match &self.method {
                Method::Tiles { many, .. } => many.run(images, self.after(), (output, &mut [])),
                Method::Patches(patches) => patches.run(images, self.after(), output),
            }
        };
        match places.shortcut {
            None => {
                let access = Access { reads: [places.input], writes: places.output, range, chunk };
                member.step(access, |part, [input], output| compute(part, input, output));
            }
            Some(shortcut) => {
                let access = Access { reads: [places.input, shortcut], writes: places.output, range, chunk };
                member.step(access, |part, [input, shortcut], output| {
                    compute(part, input, output);
                    self.add(output, &shortcut[part * chunk..]);
                });
            }
        }
    }

    /// Convolves one image, by blocks of channels that several threads compute.
    fn run_together(&self, member: &Member, places: &Places, image: usize) {
        match &self.method {
            Method::Tiles { one, .. } => {
                for rows in one.bands() {
                    self.prepare(member, places, image, one.block(), one.values(), |planes, block| {
                        one.read(planes, 0, &rows, block);
                    });
                    let shape = self.geometry.conv_output();
                    let band = if self.geometry.epilogue.pool {
                        0..0
                    } else {
                        2 * rows.start * shape[1]..(2 * rows.end).min(shape[0]) * shape[1]
                    };
                    self.multiply(member, places, image, band, |first, values, output| {
                        one.write(values, (first, 1), &rows, self.after(), (output, &mut []));
                    });
                }
            }
            Method::Patches(patches) => {
                self.prepare(member, places, image, patches.block, patches.used, |planes, block| {
                    patches.read(planes, block);
                });
                let band = 0..self.geometry.output_plane();
                self.multiply(member, places, image, band, |first, values, output| {
                    patches.write(values, first, self.after(), output);
                });
            }
        }
    }

    /// The step that brings an image's channels to the workspace: `read(planes, their block)`.
    fn prepare(
        &self,
        member: &Member,
        places: &Places,
        image: usize,
        chunk: usize,
        length: usize,
        read: impl Fn(&[f32], &mut [f32]),
    ) {
        let size = self.geometry.image();
        let plane = self.geometry.height * self.geometry.width;
        let access = Access { reads: [places.input], writes: places.workspace, range: 0..length, chunk };
        member.step(access, |part, [input], block| {
            let planes = &input[image * size..][..size];
            read(planes.chunks(BLOCK * plane).nth(part).unwrap_or_default(), block);
        });
    }

    /// The step that computes the outputs of an image, panel by panel: `write(first channel, workspace, outputs)`, and then adds
    /// the shortcut to the `band` of each of their planes.
    fn multiply(
        &self,
        member: &Member,
        places: &Places,
        image: usize,
        band: std::ops::Range<usize>,
        write: impl Fn(usize, &[f32], &mut [f32]),
    ) {
        let plane = self.geometry.output_plane();
        let outputs = self.geometry.channels_out * plane;
        let (range, chunk) = (image * outputs..(image + 1) * outputs, PANEL * plane);
        let Some(shortcut) = places.shortcut else {
            let access = Access { reads: [places.workspace], writes: places.output, range, chunk };
            return member.step(access, |part, [values], output| write(part * PANEL, values, output));
        };
        let access = Access { reads: [places.workspace, shortcut], writes: places.output, range, chunk };
        member.step(access, |part, [values, shortcut], output| {
            write(part * PANEL, values, output);
            let shortcut = &shortcut[image * outputs + part * chunk..];
            for (output, shortcut) in output.chunks_exact_mut(plane).zip(shortcut.chunks_exact(plane)) {
                self.add(&mut output[band.clone()], &shortcut[band.clone()]);
            }
        });
    }

    fn add(&self, output: &mut [f32], shortcut: &[f32]) {
        vectorised(
            #[inline(always)]
            || add(output, shortcut, self.relu_of_sum),
        );
    }
}

/// Adds `shortcut` to `output`, with ReLU if asked; a NaN stays one.
#[inline(always)]
pub(super) fn add(output: &mut [f32], shortcut: &[f32], relu: bool) {
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    for (output, shortcut) in output.iter_mut().zip(shortcut) {
        let sum = *output + shortcut;
        *output = if sum <= floor { floor } else { sum };
    }
}

/// A convolution by products with the rows of a patch matrix.
struct Patches {
    geometry: ConvGeometry,
    /// Where the rows are read in the padded image; none: the matrix is made.
    layout: Option<Layout>,
    packed: Vec<f32>,
    offsets: Vec<usize>,
    /// Columns, those between rows of the output included.
    length: usize,
    /// Columns from one row of the output to the next.
    row: usize,
    /// Values of a block of channels.
    block: usize,
    /// Values of all channels, and with what fills up the last vector.
    used: usize,
    size: usize,
}

impl Patches {
    fn new(geometry: &ConvGeometry, weight: &[f32]) -> Self {
        let (depth, size) = (geometry.patch(), geometry.conv_output());
        let mut packed = vec![0.0; direct::packed(geometry.channels_out, depth)];
        direct::pack(weight, depth, &mut packed);
        let layout = is_possible(geometry).then(|| Layout::input(geometry, 1));
        let taps = (0..geometry.kernel).collect::<Vec<_>>();
        let plane = geometry.conv_plane();
        let (offsets, length, row, channel) = match &layout {
            Some(layout) => (layout.offsets(&taps, &taps), layout.columns(1, size), layout.row(), layout.channel()),
            None => ((0..depth).map(|r| r * plane).collect(), plane, size[1], taps.len() * taps.len() * plane),
        };
        let used = geometry.channels_in * channel;
        let size = offsets.iter().max().copied().unwrap_or(0) + direct::stride(length);
        let size = size.max(used);
        Self { geometry: *geometry, layout, packed, offsets, length, row, block: BLOCK * channel, used, size }
    }

    /// Brings up to [`BLOCK`] channels to their place.
    fn read(&self, planes: &[f32], block: &mut [f32]) {
        let ConvGeometry { height, width, kernel, stride, padding, epilogue, .. } = self.geometry;
        let channels = planes.len() / (height * width);
        vectorised(
            #[inline(always)]
            || match &self.layout {
                Some(layout) => {
                    block.fill(0.0);
                    layout.put(0, planes, block);
                }
                None => {
                    let shape = ([1, channels, height, width], [1, channels, kernel, kernel]);
                    im2col(&ConvGeometry::new(shape.0, shape.1, stride, padding, epilogue), planes, block);
                }
            },
        );
    }

    /// Computes a panel of output channels, the first of which is `first`, into `output`.
    fn write(&self, values: &[f32], first: usize, after: After, output: &mut [f32]) {
        let depth = self.offsets.len();
        let rows = output.len() / after.plane;
        let Epilogue { relu, pool } = after.epilogue;
        let shape = [self.row, self.geometry.conv_output()[1]];
        with_scratch([direct::results(self.length)], |[results]| {
            let weights = &self.packed[first * depth..][..PANEL * depth];
            let (offsets, length) = (&self.offsets, self.length);
            direct::convolve(Convolve {
                weights,
                step: PANEL,
                rows,
                offsets,
                image: values,
                length,
                results: &mut *results,
            });
            vectorised(
                #[inline(always)]
                || {
                    let planes = results.chunks_exact(direct::stride(length)).zip(output.chunks_exact_mut(after.plane));
                    for ((plane, output), bias) in planes.zip(&after.bias[first..]) {
                        if pool {
                            max_pool(plane, shape, *bias, relu, output, &mut []);
                        } else {
                            copy_with_bias(plane, shape, *bias, relu, output);
                        }
                    }
                },
            );
        });
    }

    /// Convolves one image.
    fn run(&self, image: &[f32], after: After, output: &mut [f32]) {
        let plane = self.geometry.height * self.geometry.width;
        with_scratch([self.size], |[values]| {
            // What fills up the last vector is never written.
            values[self.used..].fill(0.0);
            let blocks = values[..self.used].chunks_mut(self.block);
            for (planes, block) in image.chunks(BLOCK * plane).zip(blocks) {
                self.read(planes, block);
            }
            for (panel, output) in output.chunks_mut(PANEL * after.plane).enumerate() {
                self.write(values, panel * PANEL, after, output);
            }
        });
    }
}
