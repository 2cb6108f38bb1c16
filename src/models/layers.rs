//! The building blocks that the networks share: the modules and the steps between them.

use burn::module::{Module, Param, ParamId};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{
    BatchNorm, BatchNormConfig, GroupNorm, GroupNormConfig, Initializer, Linear, LinearConfig, PaddingConfig2d,
};
use burn::tensor::module::adaptive_avg_pool2d;
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ops::{Conv2dOptions, NormOptions, batch_norm, batch_norm_sum, conv2d, group_norm, linear, sum_relu};

/// What stands between convolution and ReLU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Nothing; the convolution has a bias.
    None,
    /// Batch normalisation (Ioffe and Szegedy, 2015); the convolution has no bias.
    Batch,
    /// Group normalisation (Wu and He, 2018); the convolution has no bias.
    Group,
}

/// What normalises the images within a residual network, which does not learn without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResidualNorm {
    /// Batch normalisation (Ioffe and Szegedy, 2015).
    Batch,
    /// Group normalisation (Wu and He, 2018).
    Group,
}

impl From<ResidualNorm> for Norm {
    fn from(norm: ResidualNorm) -> Self {
        match norm {
            ResidualNorm::Batch => Self::Batch,
            ResidualNorm::Group => Self::Group,
        }
    }
}

/// The groups of a group norm where none are asked for.
const GROUPS: usize = 8;

/// A norm and its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NormSpec {
    None,
    Batch,
    /// Each image by itself, the channels in so many groups.
    Group(usize),
}

impl NormSpec {
    /// `norm`, with `groups` or as many as are usual.
    pub fn new(norm: impl Into<Norm>, groups: Option<usize>) -> Self {
        match norm.into() {
            Norm::None => Self::None,
            Norm::Batch => Self::Batch,
            Norm::Group => Self::Group(groups.unwrap_or(GROUPS)),
        }
    }

    /// The field of a module that holds it. The two have fields of their own, so that a tensor is called the same whichever
    /// norms a network can have.
    pub fn field(self) -> &'static str {
        match self {
            Self::None | Self::Batch => "norm",
            Self::Group(_) => "group_norm",
        }
    }

    /// The values of those two fields for images of so many channels: the identity.
    pub fn init(self, channels: usize, device: &Device) -> (Option<BatchNorm>, Option<GroupNorm>) {
        match self {
            Self::None => (None, None),
            Self::Batch => (Some(BatchNormConfig::new(channels).init(device)), None),
            Self::Group(groups) => (None, Some(GroupNormConfig::new(groups, channels).init(device))),
        }
    }
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
    pub norm: NormSpec,
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
            norm: NormSpec::Batch,
            bias: false,
            relu: true,
            pool: false,
        }
    }

    /// A convolution alone that keeps the size, without bias.
    pub fn bare(channels_in: usize, channels_out: usize, kernel_size: usize) -> Self {
        Self { norm: NormSpec::None, relu: false, ..Self::same(channels_in, channels_out, kernel_size) }
    }
}

/// Convolution, norm, ReLU and max-pool, each but the first optional.
#[derive(Module, Debug)]
pub struct ConvBlock {
    conv: Conv2d,
    norm: Option<BatchNorm>,
    group_norm: Option<GroupNorm>,
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
        let (norm, group_norm) = spec.norm.init(spec.channels_out, device);
        Self { conv, norm, group_norm, stride: spec.stride, padding: spec.padding, relu: spec.relu, pool: spec.pool }
    }

    /// `[batch, channels_in, height, width]` to `[batch, channels_out, height', width']`.
    pub(super) fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let options = NormOptions { relu: self.relu, pool: self.pool };
        match (&self.norm, &self.group_norm) {
            (None, None) => self.convolve(images, options),
            (norm, group_norm) => normalise(norm, group_norm, self.convolve(images, BARE), options),
        }
    }

    /// The end of a residual block: the block without ReLU and pool, plus `shortcut`, which has the output's shape, then ReLU.
    pub(super) fn forward_sum(&self, images: Tensor<4>, shortcut: Tensor<4>) -> Tensor<4> {
        let images = self.convolve(images, BARE);
        match &self.norm {
            None => sum_relu(normalise(&None, &self.group_norm, images, BARE), shortcut),
            Some(norm) => batch_norm_sum(norm, images, shortcut),
        }
    }

    fn convolve(&self, images: Tensor<4>, NormOptions { relu, pool }: NormOptions) -> Tensor<4> {
        let (weight, bias) = (self.conv.weight.val(), self.conv.bias.as_ref().map(|bias| bias.val()));
        conv2d(images, weight, bias, Conv2dOptions { stride: self.stride, padding: self.padding, relu, pool })
    }

    /// Puts a batch norm's running statistics into the convolution's weights and bias, so that inference computes no norm:
    /// `gamma (w * x - mean) / sqrt(variance + epsilon) + beta`. Such a block no longer learns. A group norm stays: what it
    /// divides by depends on the image.
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

/// The norm alone.
const BARE: NormOptions = NormOptions { relu: false, pool: false };

/// The norm that is there, if one is, then ReLU and max-pool as asked.
fn normalise(
    norm: &Option<BatchNorm>,
    group: &Option<GroupNorm>,
    images: Tensor<4>,
    options: NormOptions,
) -> Tensor<4> {
    match (norm, group) {
        (Some(norm), _) => batch_norm(norm, images, options),
        (None, Some(norm)) => group_norm(norm, images, options),
        (None, None) => images,
    }
}

/// Norm and ReLU, where no convolution comes before them.
pub(super) fn norm_relu(norm: &Option<BatchNorm>, group: &Option<GroupNorm>, images: Tensor<4>) -> Tensor<4> {
    normalise(norm, group, images, NormOptions { relu: true, pool: false })
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
