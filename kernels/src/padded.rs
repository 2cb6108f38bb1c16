//! Images in scratch memory, with their zeros around them, so that every value a convolution looks at is there.
//!
//! For a stride of `s`, an image is laid out as `s * s` phases: phase `(a, b)` holds the rows `a, a + s, ...` and the columns
//! `b, b + s, ...` of the padded image; those that a smaller kernel never looks at are left out. Tap `(ky, kx)` of the kernel then reads neighbouring values for neighbouring outputs:
//! output `(y, x)`, at `y * row + x`, reads what lies one fixed offset of the tap further on. So the rows of the patch matrix
//! are slices of the image, and no patch is copied. Outputs `x` past the width are computed for nothing; with stride 1, a
//! row's zeros on the right are those on the left of the next, and those below an image are those above the next, which
//! leaves few of them.

use super::geometry::ConvGeometry;

/// Values after the last one that a vector may read: as many as the widest vector register holds.
const VECTOR: usize = 16;

/// The layout of some padded images: `[channels, phases, images, rows, row]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    channels: usize,
    height: usize,
    width: usize,
    stride: usize,
    /// Phases that are there, of the rows and of the columns.
    phases: usize,
    padding: usize,
    /// Values from one row to the next.
    row: usize,
    /// Values from one image to the next.
    image: usize,
    /// Values from one phase of a channel to the next.
    phase: usize,
}

impl Layout {
    /// `images` times `channels` planes of `height` x `width` with `padding` zeros around each, read by a kernel in steps of `stride`.
    fn new(
        images: usize,
        channels: usize,
        [height, width]: [usize; 2],
        [kernel, stride]: [usize; 2],
        padding: usize,
    ) -> Self {
        let shared = if stride == 1 { padding } else { 2 * padding };
        let row = (width + shared).div_ceil(stride);
        let image = (height + shared).div_ceil(stride) * row;
        let phase = images * image + padding * row + padding + VECTOR;
        Self { channels, height, width, stride, phases: stride.min(kernel), padding, row, image, phase }
    }

    /// What the convolution reads, of `images` images.
    pub(super) fn input(geometry: &ConvGeometry, images: usize) -> Self {
        let ConvGeometry { channels_in, height, width, kernel, stride, padding, .. } = *geometry;
        Self::new(images, channels_in, [height, width], [kernel, stride], padding)
    }

    /// The gradient of the convolution, with as many zeros around it as the gradient of its input needs: taps that reach
    /// `reach` values before and after. With stride 1 and a reach of `kernel - 1 - padding`, rows and images are as far
    /// apart as in [`Layout::input`].
    pub(super) fn gradient(geometry: &ConvGeometry, images: usize, reach: usize) -> Self {
        Self::new(images, geometry.channels_out, geometry.conv_output(), [1, 1], reach)
    }

    /// The gradient of the convolution without zeros around it; rows and images are as far apart as in `input`.
    pub(super) fn gradient_beside(geometry: &ConvGeometry, images: usize, input: &Self) -> Self {
        let Self { row, image, .. } = *input;
        Self { row, image, phase: images * image + VECTOR, ..Self::gradient(geometry, images, 0) }
    }

    /// Values of an image without zeros around it.
    pub(super) fn planes(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Values of all images.
    pub(super) fn size(&self) -> usize {
        self.channel() * self.channels + VECTOR
    }

    /// Values from one row to the next.
    pub(super) fn row(&self) -> usize {
        self.row
    }

    /// Values from one image to the next.
    pub(super) fn image(&self) -> usize {
        self.image
    }

    /// Values from one channel to the next.
    pub(super) fn channel(&self) -> usize {
        self.phases * self.phases * self.phase
    }

    /// Where the value at `(y, x)` of a plane of the padded image lies, if it does.
    pub(super) fn at(&self, y: usize, x: usize) -> usize {
        (y % self.stride * self.phases + x % self.stride) * self.phase + y / self.stride * self.row + x / self.stride
    }

    /// Where the images' own values begin.
    pub(super) fn start(&self) -> usize {
        self.at(self.padding, self.padding)
    }

    /// How many columns of the patch matrix the results of `height` x `width` of the first `images` images take, those
    /// between rows and between images included.
    pub(super) fn columns(&self, images: usize, [height, width]: [usize; 2]) -> usize {
        (images - 1) * self.image + (height - 1) * self.row + width
    }

    /// Where each row of the patch matrix begins, in the order of the weights: channels, then `rows`, then `columns` of the
    /// padded plane.
    pub(super) fn offsets(&self, rows: &[usize], columns: &[usize]) -> Vec<usize> {
        let places = |channel: usize| {
            rows.iter().flat_map(move |y| columns.iter().map(move |x| channel * self.channel() + self.at(*y, *x)))
        };
        (0..self.channels).flat_map(places).collect()
    }

    /// Copies image number `index`, `[channels, height, width]`, to its place; what is around it must be 0.
    #[inline(always)]
    pub(super) fn put(&self, index: usize, image: &[f32], padded: &mut [f32]) {
        let Self { channels, height, width, stride, phases, padding, row, .. } = *self;
        if stride == 1 {
            for (i, source) in image.chunks_exact(width).take(channels * height).enumerate() {
                let at = i / height * self.channel() + self.at(i % height + padding, padding);
                copy(&mut padded[index * self.image + at..][..width], source);
            }
            return;
        }
        // The first row, or column, of the image that is in a phase.
        let first = |phase: usize| (phase + stride - padding % stride) % stride;
        let corners = (0..phases * phases).map(|phase| [first(phase / phases), first(phase % phases)]);
        let padded = &mut padded[index * self.image..];
        for (plane, padded) in image.chunks_exact(height * width).zip(padded.chunks_mut(self.channel())).take(channels)
        {
            for [top, left] in corners.clone().filter(|[top, left]| *top < height && *left < width) {
                let mut at = self.at(top + padding, left + padding);
                for source in plane.chunks_exact(width).skip(top).step_by(stride) {
                    let source = &source[left..];
                    let to = &mut padded[at..][..source.len().div_ceil(stride)];
                    if stride == 2 {
                        copy_every_second(to, source);
                    } else {
                        to.iter_mut().zip(source.iter().step_by(stride)).for_each(|(to, value)| *to = *value);
                    }
                    at += row;
                }
            }
        }
    }
}

/// Copies a short row without the cost of a call.
#[inline(always)]
fn copy(to: &mut [f32], from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// Copies the first, the third and so on of `from`.
#[inline(always)]
fn copy_every_second(to: &mut [f32], from: &[f32]) {
    let (to, from) = copy_seconds_of::<16, 8>(to, from);
    let (to, from) = copy_seconds_of::<8, 4>(to, from);
    for (to, pair) in to.iter_mut().zip(from.chunks(2)) {
        *to = pair[0];
    }
}

/// The same for whole groups of `N` values, of which `HALF` are copied: shuffles of vectors. Returns what is left.
#[inline(always)]
fn copy_seconds_of<'a, 'b, const N: usize, const HALF: usize>(
    to: &'a mut [f32],
    from: &'b [f32],
) -> (&'a mut [f32], &'b [f32]) {
    let (groups, from) = from.as_chunks::<N>();
    let (targets, to) = to.split_at_mut(groups.len() * HALF);
    for (to, group) in targets.as_chunks_mut::<HALF>().0.iter_mut().zip(groups) {
        for i in 0..HALF {
            to[i] = group[2 * i];
        }
    }
    (to, from)
}
