//! The sizes of a convolution, checked once when they are made, so that no kernel computes with one that wrapped.

use std::fmt::{self, Display, Formatter};

use super::pool::Epilogue;
use super::size::product;

/// The sizes of a convolution and of what follows it; kernels, strides and paddings are square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    pub(super) batch: usize,
    pub(super) channels_in: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels_out: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
    pub(super) epilogue: Epilogue,
}

/// The sizes for one image: `16x28x28 -> 32x14x14, 3x3 stride 2`.
impl Display for ConvGeometry {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let Self { channels_in, height, width, channels_out, kernel, stride, .. } = *self;
        let [_, _, rows, columns] = self.output();
        write!(f, "{channels_in}x{height}x{width} -> {channels_out}x{rows}x{columns}, {kernel}x{kernel}")?;
        if stride > 1 { write!(f, " stride {stride}") } else { Ok(()) }
    }
}

impl ConvGeometry {
    /// A convolution of `input` `[batch, in, height, width]` with `weight` `[out, in, k, k]`, at every `stride`th position
    /// of the input with `padding` zeros around it. The batch may be empty.
    ///
    /// # Panics
    /// If weights and input do not fit each other, a size but the batch's is 0, the output has no value, or an array that
    /// the computation needs would be larger than memory can be.
    #[track_caller]
    pub fn new(input: [usize; 4], weight: [usize; 4], stride: usize, padding: usize, epilogue: Epilogue) -> Self {
        let ([batch, channels_in, height, width], [channels_out, channels, kernel, kernel_width]) = (input, weight);
        assert!(
            channels == channels_in && kernel == kernel_width,
            "convolution: weights {weight:?} do not fit the input {input:?}; they must be [out, {channels_in}, k, k]"
        );
        assert!(
            [channels_in, height, width, channels_out, kernel, stride].iter().all(|size| *size > 0),
            "convolution: sizes must be at least 1, got input {input:?}, weights {weight:?} and stride {stride}"
        );
        let padded = [height, width].map(|size| padding.checked_mul(2).and_then(|padding| padding.checked_add(size)));
        let [Some(padded_height), Some(padded_width)] = padded else {
            panic!("convolution: padding {padding} is larger than memory can be")
        };
        assert!(
            kernel <= padded_height.min(padded_width),
            "convolution: the kernel is {kernel}x{kernel}, larger than the padded input, {padded_height}x{padded_width}"
        );
        let geometry = Self { batch, channels_in, height, width, channels_out, kernel, stride, padding, epilogue };
        let [rows, columns] = geometry.conv_output();
        epilogue.assert_fits([rows, columns]);
        // Every array of the forward and the backward pass; those not named here are smaller than one of these.
        product(&input);
        product(&[channels_in, padded_height, padded_width]);
        product(&[channels_in, kernel, kernel, rows, columns]);
        product(&[batch.max(1), channels_out, rows, columns]);
        product(&[channels_out, channels_in, kernel, kernel]);
        geometry
    }

    /// Height and width of the convolution's output, before the pool.
    pub(super) fn conv_output(&self) -> [usize; 2] {
        [self.height, self.width].map(|size| (size + 2 * self.padding - self.kernel) / self.stride + 1)
    }

    /// The shape of what comes out at the end, `[batch, out, height, width]`.
    pub fn output(&self) -> [usize; 4] {
        let [height, width] = self.epilogue.output(self.conv_output());
        [self.batch, self.channels_out, height, width]
    }

    /// Multiply-adds of the convolution, and of either of its gradients.
    pub fn multiply_adds(&self) -> u64 {
        (self.batch * self.channels_out * self.conv_plane() * self.patch()) as u64
    }

    /// Values of the input, the weights and what comes out at the end.
    pub fn arrays(&self) -> [usize; 3] {
        [self.batch * self.image(), self.weights(), self.batch * self.channels_out * self.output_plane()]
    }

    /// Values of one image of the input.
    pub(super) fn image(&self) -> usize {
        self.channels_in * self.height * self.width
    }

    /// Height and width of the input with its zeros.
    pub(super) fn padded(&self) -> [usize; 2] {
        [self.height, self.width].map(|size| size + 2 * self.padding)
    }

    /// Values of one channel of the input with its zeros.
    pub(super) fn padded_plane(&self) -> usize {
        self.padded().iter().product()
    }

    /// Values of one channel of the convolution's output, before the pool.
    pub(super) fn conv_plane(&self) -> usize {
        self.conv_output().iter().product()
    }

    /// Values of one channel of what comes out at the end.
    pub(super) fn output_plane(&self) -> usize {
        self.output()[2..].iter().product()
    }

    /// Weights of one output channel: rows of the patch matrix.
    pub(super) fn patch(&self) -> usize {
        self.channels_in * self.kernel * self.kernel
    }

    /// All weights.
    pub(super) fn weights(&self) -> usize {
        self.channels_out * self.patch()
    }

    /// Whether the patch matrix is the image itself.
    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding == 0
    }

    /// Values of scratch memory for the patch matrix.
    pub(super) fn columns(&self) -> usize {
        if self.is_pointwise() { 0 } else { self.patch() * self.conv_plane() }
    }
}
