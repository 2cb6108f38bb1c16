//! LeNet-5 (LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998) with
//! ReLU and max-pooling in place of the original's squashing function and subsampling. On MNIST it has 61,706
//! parameters.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::forward::ForwardContext;
use super::layers::{self, ConvBlock, ConvSpec, Norm, dense, flatten};
use super::outline::{Misfit, Outline};
use super::ranges;
use crate::check::{Check, Problems};
use crate::data::ImageShape;

/// The keys of `model.kind = "lenet"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LenetConfig {
    /// The channels of the two 5x5 convolutions.
    pub channels: [usize; 2],
    /// The widths of the two hidden layers.
    pub hidden: [usize; 2],
}

impl Default for LenetConfig {
    fn default() -> Self {
        Self { channels: [6, 16], hidden: [120, 84] }
    }
}

/// LeNet-5.
#[derive(Module, Debug)]
pub struct Lenet {
    blocks: Vec<ConvBlock>,
    hidden: Vec<Linear>,
    output: Linear,
}

impl LenetConfig {
    /// The first convolution has a border of 2, as the original puts MNIST's 28x28 into 32x32.
    fn blocks(&self, channels: usize) -> [ConvSpec; 2] {
        let block = |channels_in, channels_out, padding| ConvSpec {
            padding,
            norm: Norm::None,
            pool: true,
            ..ConvSpec::same(channels_in, channels_out, 5)
        };
        let [first, second] = self.channels;
        [block(channels, first, 2), block(first, second, 0)]
    }

    pub(super) fn outline(&self, input: ImageShape, classes: usize) -> Result<Outline, Misfit> {
        let mut outline = Outline::new(input);
        for (index, spec) in self.blocks(input.channels).iter().enumerate() {
            outline.conv(&format!("blocks.{index}"), spec).map_err(|reason| Misfit {
                key: "kind",
                message: format!(
                    "`lenet` needs images of at least 12x12, got {}x{}: block {} {reason}",
                    input.height,
                    input.width,
                    index + 1
                ),
            })?;
        }
        for (index, width) in self.hidden.into_iter().enumerate() {
            outline.dense(&format!("hidden.{index}"), width, true);
        }
        outline.dense("output", classes, false);
        Ok(outline)
    }

    pub(super) fn init(&self, input: ImageShape, flattened: usize, classes: usize, device: &Device) -> Lenet {
        let blocks = self.blocks(input.channels).iter().map(|spec| ConvBlock::new(spec, device)).collect();
        let (hidden, width) = layers::stack(flattened, &self.hidden, device);
        Lenet { blocks, hidden, output: dense(width, classes, device) }
    }
}

impl Check for LenetConfig {
    fn check(&self, problems: &mut Problems) {
        ranges::channels(problems, "channels", "convolution", &self.channels);
        ranges::widths(problems, "hidden", &self.hidden);
    }
}

impl Lenet {
    /// `[batch, channels, height, width]` to logits, `[batch, classes]`.
    pub(super) fn forward(&self, images: Tensor<4>, context: &mut ForwardContext) -> Tensor<2> {
        let mut images = images;
        for (index, block) in self.blocks.iter().enumerate() {
            images = context.image(|| format!("blocks.{index}"), block.forward(images)); // [batch, 16, 5, 5] for 28x28
        }
        let mut values = flatten(images); // [batch, 400] for 28x28
        for (index, layer) in self.hidden.iter().enumerate() {
            values = context.flat(|| format!("hidden.{index}"), layers::hidden(layer, values)); // [batch, width]
        }
        context.flat(|| "output".into(), layers::output(&self.output, values))
    }
}
