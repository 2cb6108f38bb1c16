//! Images in scratch memory, with their zeros around them, so that every value a convolution looks at is there.
//!
//! For a stride of `s`, an image is laid out as `s * s` phases: phase `(a, b)` holds the rows `a, a + s, ...` and the columns
//! `b, b + s, ...` of the padded image. Tap `(ky, kx)` of the kernel then reads neighbouring values for neighbouring outputs:
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
    padding: usize,
    /// Values from one row to the next.
    row: usize,
    /// Values from one image to the next.
    image: usize,
    /// Values from one phase of a channel to the next.
    phase: usize,
}

impl Layout {
    /// `images` times `channels` planes of `height` x `width` with `padding` zeros around each, read in steps of `stride`.
    fn new(images: usize, channels: usize, [height, width]: [usize; 2], stride: usize, padding: usize) -> Self {
        let shared = if stride == 1 { padding } else { 2 * padding };
        let row = (width + shared).div_ceil(stride);
        let image = (height + shared).div_ceil(stride) * row;
        let phase = images * image + padding * row + padding + VECTOR;
        Self { channels, height, width, stride, padding, row, image, phase }
    }

    /// What the convolution reads, of `images` images.
    pub(super) fn input(geometry: &ConvGeometry, images: usize) -> Self {
        let ConvGeometry { channels_in, height, width, stride, padding, .. } = *geometry;
        Self::new(images, channels_in, [height, width], stride, padding)
    }

    /// The gradient of the convolution, with as many zeros around it as the gradient of its input needs: taps that reach
    /// `reach` values before and after. With stride 1 and a reach of `kernel - 1 - padding`, rows and images are as far
    /// apart as in [`Layout::input`].
    pub(super) fn gradient(geometry: &ConvGeometry, images: usize, reach: usize) -> Self {
        Self::new(images, geometry.channels_out, geometry.conv_output(), 1, reach)
    }

    /// The gradient of the convolution without zeros around it; rows and images are as far apart as in `input`.
    pub(super) fn gradient_beside(geometry: &ConvGeometry, images: usize, input: &Self) -> Self {
        let Self { row, image, .. } = *input;
        Self { row, image, phase: images * image + VECTOR, ..Self::gradient(geometry, images, 0) }
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
        self.stride * self.stride * self.phase
    }

    /// Where the value at `(y, x)` of a plane of the padded image lies.
    pub(super) fn at(&self, y: usize, x: usize) -> usize {
        (y % self.stride * self.stride + x % self.stride) * self.phase + y / self.stride * self.row + x / self.stride
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

    /// Where the patch of each of the `height` x `width` results of `images` images begins, for the first row of the matrix.
    pub(super) fn places(&self, images: usize, [height, width]: [usize; 2]) -> Vec<usize> {
        let places = |image: usize| {
            (0..height).flat_map(move |y| (0..width).map(move |x| image * self.image + y * self.row + x))
        };
        (0..images).flat_map(places).collect()
    }

    /// Copies image number `index`, `[channels, height, width]`, to its place; what is around it must be 0.
    #[inline(always)]
    pub(super) fn put(&self, index: usize, image: &[f32], padded: &mut [f32]) {
        let Self { channels, height, width, stride, padding, .. } = *self;
        let padded = &mut padded[index * self.image..];
        for (i, source) in image.chunks_exact(width).take(channels * height).enumerate() {
            let padded = &mut padded[i / height * self.channel()..];
            let y = i % height + padding;
            match stride {
                1 => copy(&mut padded[self.at(y, padding)..][..width], source),
                2 => {
                    let (even, odd) = (self.at(y, padding), self.at(y, padding + 1));
                    let (first, second) = (width.div_ceil(2), width / 2);
                    // Two loops without a branch, which the compiler turns into shuffles.
                    for (to, pair) in padded[even..][..first].iter_mut().zip(source.chunks(2)) {
                        *to = pair[0];
                    }
                    for (to, pair) in padded[odd..][..second].iter_mut().zip(source.chunks_exact(2)) {
                        *to = pair[1];
                    }
                }
                _ => {
                    for (x, value) in source.iter().enumerate() {
                        padded[self.at(y, x + padding)] = *value;
                    }
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
