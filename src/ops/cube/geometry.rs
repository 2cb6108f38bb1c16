//! The sizes of a convolution on a device, which are constants of its kernels.

use crate::ops::options::Conv2dOptions;

/// A convolution and what follows it, without the number of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Geometry {
    pub(super) channels_in: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels_out: usize,
    /// Side of the square kernel.
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
    /// Height and width of the output, after the pool.
    pub(super) height_out: usize,
    pub(super) width_out: usize,
    pub(super) relu: bool,
    /// Side of the window of the pool, 1 without one.
    pub(super) window: usize,
}

impl Geometry {
    /// A convolution of images `[batch, in, height, width]` with `weight` `[out, in, k, k]`, which fits them.
    pub(super) fn new(input: [usize; 4], weight: [usize; 4], options: Conv2dOptions) -> Self {
        let ([_, channels_in, height, width], [channels_out, _, kernel, _]) = (input, weight);
        let Conv2dOptions { stride, padding, relu, pool } = options;
        let window = if pool { 2 } else { 1 };
        let [height_out, width_out] = [height, width].map(|size| ((size + 2 * padding - kernel) / stride + 1) / window);
        Self { channels_in, height, width, channels_out, kernel, stride, padding, height_out, width_out, relu, window }
    }

    /// Whether the backward pass needs to know which of the convolution's outputs are left, and where they were.
    pub(super) fn has_places(&self) -> bool {
        self.relu || self.window > 1
    }

    /// Whether the filter of output `index` of a window reaches the value at this place of what the window's outputs see.
    pub(super) fn reaches(&self, index: usize, down: usize, right: usize) -> bool {
        let (above, before) = self.filter(index);
        (above..above + self.kernel).contains(&down) && (before..before + self.kernel).contains(&right)
    }

    /// Which tap of the filter that is.
    pub(super) fn tap(&self, index: usize, down: usize, right: usize) -> usize {
        let (above, before) = self.filter(index);
        (down - above) * self.kernel + right - before
    }

    /// Where the filter of output `index` of a window begins.
    fn filter(&self, index: usize) -> (usize, usize) {
        (index / self.window * self.stride, index % self.window * self.stride)
    }

    /// The shape of the output of so many images.
    pub(super) fn output(&self, images: usize) -> [usize; 4] {
        [images, self.channels_out, self.height_out, self.width_out]
    }

    /// The shape of the input of so many images.
    pub(super) fn input(&self, images: usize) -> [usize; 4] {
        [images, self.channels_in, self.height, self.width]
    }

    /// The shape of the weight.
    pub(super) fn weight(&self) -> [usize; 4] {
        [self.channels_out, self.channels_in, self.kernel, self.kernel]
    }
}
