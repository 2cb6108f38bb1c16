//! The building blocks that the networks share: the modules and the steps between them.

use burn::module::{Module, Param, ParamId};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Initializer, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::module::adaptive_avg_pool2d;
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ops::{Conv2dOptions, NormOptions, batch_norm, batch_norm_sum, conv2d, linear, sum_relu};

/// What stands between convolution and ReLU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Nothing; the convolution has a bias.
    None,
    /// Batch normalisation (Ioffe and Szegedy, 2015); the convolution has no bias.
    Batch,
}

/// The border round a convolution's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// None: the output shrinks by `kernel_size - 1`.
    Valid,
    /// Zeros, `(kernel_size - 1) / 2` wide: the output keeps its size; the kernel size must be odd.
    Same,
}

/// The numbers of one convolution block.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConvSpec {
    pub channels_in: usize,
    pub channels_out: usize,
    /// Side of the square kernel in pixels.
    pub kernel_size: usize,
    pub stride: usize,
    /// Zeros added on each side.
    pub padding: usize,
    pub norm: Norm,
    /// Whether the convolution has a bias.
    pub bias: bool,
    pub relu: bool,
    /// Halve height and width with a 2x2 max-pool at the end.
    pub pool: bool,
}

impl ConvSpec {
    /// A convolution without bias that keeps the size, batch norm and ReLU.
    pub fn same(channels_in: usize, channels_out: usize, kernel_size: usize) -> Self {
        Self {
            channels_in,
            channels_out,
            kernel_size,
            stride: 1,
            padding: kernel_size / 2,
            norm: Norm::Batch,
            bias: false,
            relu: true,
            pool: false,
        }
    }

    /// A convolution alone that keeps the size, without bias.
    pub fn bare(channels_in: usize, channels_out: usize, kernel_size: usize) -> Self {
        Self { norm: Norm::None, relu: false, ..Self::same(channels_in, channels_out, kernel_size) }
    }
}

/// Convolution, norm, ReLU and max-pool, each but the first optional.
#[derive(Module, Debug)]
pub struct ConvBlock {
    conv: Conv2d,
    norm: Option<BatchNorm>,
    stride: usize,
    padding: usize,
    relu: bool,
    pool: bool,
}

impl ConvBlock {
    /// The block with all weights zero.
    pub(super) fn new(spec: &ConvSpec, device: &Device) -> Self {
        let conv = Conv2dConfig::new([spec.channels_in, spec.channels_out], [spec.kernel_size; 2])
            .with_stride([spec.stride; 2])
            .with_padding(PaddingConfig2d::Explicit(spec.padding, spec.padding, spec.padding, spec.padding))
            .with_bias(spec.bias)
            .with_initializer(Initializer::Zeros)
            .init(device);
        let norm = (spec.norm == Norm::Batch).then(|| BatchNormConfig::new(spec.channels_out).init(device));
        Self { conv, norm, stride: spec.stride, padding: spec.padding, relu: spec.relu, pool: spec.pool }
    }

    /// `[batch, channels_in, height, width]` to `[batch, channels_out, height', width']`.
    pub(super) fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let options = NormOptions { relu: self.relu, pool: self.pool };
        match &self.norm {
            None => self.convolve(images, options),
            Some(norm) => batch_norm(norm, self.convolve(images, NormOptions { relu: false, pool: false }), options),
        }
    }

    /// The end of a residual block: the block without ReLU and pool, plus `shortcut`, which has the output's shape, then ReLU.
    pub(super) fn forward_sum(&self, images: Tensor<4>, shortcut: Tensor<4>) -> Tensor<4> {
        let images = self.convolve(images, NormOptions { relu: false, pool: false });
        match &self.norm {
            None => sum_relu(images, shortcut),
            Some(norm) => batch_norm_sum(norm, images, shortcut),
        }
    }

    fn convolve(&self, images: Tensor<4>, NormOptions { relu, pool }: NormOptions) -> Tensor<4> {
        let (weight, bias) = (self.conv.weight.val(), self.conv.bias.as_ref().map(|bias| bias.val()));
        conv2d(images, weight, bias, Conv2dOptions { stride: self.stride, padding: self.padding, relu, pool })
    }

    /// Puts the norm's running statistics into the convolution's weights and bias, so that inference computes no norm:
    /// `gamma (w * x - mean) / sqrt(variance + epsilon) + beta`. Such a block no longer learns.
    pub(super) fn fold(&mut self) {
        let Some(norm) = self.norm.take() else { return };
        let weight = self.conv.weight.val();
        let (device, channels) = (weight.device(), weight.dims()[0]);
        let [mean, variance] =
            [&norm.running_mean, &norm.running_var].map(|running| running.value_sync().to_device(&device));
        let slope = norm.gamma.val() / variance.add_scalar(norm.epsilon).sqrt();
        let offset = norm.beta.val() - mean * slope.clone();
        let offset = match &self.conv.bias {
            None => offset,
            Some(bias) => bias.val() * slope.clone() + offset,
        };
        self.conv.weight = Param::initialized(ParamId::new(), weight * slope.reshape([channels, 1, 1, 1]));
        self.conv.bias = Some(Param::initialized(ParamId::new(), offset));
    }
}

/// Batch norm and ReLU, where no convolution comes before them.
pub(super) fn norm_relu(norm: &BatchNorm, images: Tensor<4>) -> Tensor<4> {
    batch_norm(norm, images, NormOptions { relu: true, pool: false })
}

/// A fully connected layer with all weights zero, `[inputs, outputs]`.
pub(super) fn dense(inputs: usize, outputs: usize, device: &Device) -> Linear {
    LinearConfig::new(inputs, outputs).with_initializer(Initializer::Zeros).init(device)
}

/// Hidden layers of the given widths, first to last, and the width that the last one gives.
pub(super) fn stack(inputs: usize, widths: &[usize], device: &Device) -> (Vec<Linear>, usize) {
    let mut inputs = inputs;
    let mut layers = Vec::with_capacity(widths.len());
    for &width in widths {
        layers.push(dense(inputs, width, device));
        inputs = width;
    }
    (layers, inputs)
}

/// `[batch, inputs]` to `[batch, outputs]`, with ReLU: a hidden layer.
pub(super) fn hidden(layer: &Linear, values: Tensor<2>) -> Tensor<2> {
    linear(values, layer.weight.val(), layer.bias.as_ref().map(|bias| bias.val()), true)
}

/// `[batch, inputs]` to `[batch, classes]`: the last layer, which gives the logits.
pub(super) fn output(layer: &Linear, values: Tensor<2>) -> Tensor<2> {
    linear(values, layer.weight.val(), layer.bias.as_ref().map(|bias| bias.val()), false)
}

/// `[batch, channels, height, width]` to `[batch, channels * height * width]`.
pub(super) fn flatten(images: Tensor<4>) -> Tensor<2> {
    let [batch, channels, height, width] = images.dims();
    images.reshape([batch, channels * height * width])
}

/// `[batch, channels, height, width]` to `[batch, channels]`: the mean over each channel.
pub(super) fn global_mean(images: Tensor<4>) -> Tensor<2> {
    flatten(adaptive_avg_pool2d(images, [1, 1]))
}
