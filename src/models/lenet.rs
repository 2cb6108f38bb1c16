//! LeNet-5 (LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998) with
//! ReLU and max-pooling in place of the original's squashing function and subsampling. On MNIST it has 61,706
//! parameters.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::layers::{self, ConvBlock, ConvSpec, NormSpec, dense, flatten};
use super::limits;
use super::{Architecture, Forward, ForwardContext, Misfit, Network, ShapeInference, Sizes};
use crate::check::{Check, Problems};

/// LeNet-5 (LeCun et al., 1998) with ReLU and max-pooling.
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
            norm: NormSpec::None,
            bias: true,
            pool: true,
            ..ConvSpec::same(channels_in, channels_out, 5)
        };
        let [first, second] = self.channels;
        [block(channels, first, 2), block(first, second, 0)]
    }
}

impl Architecture for LenetConfig {
    fn examples() -> Vec<Self> {
        vec![Self::default()]
    }

    fn infer(&self, shapes: &mut ShapeInference, classes: usize) -> Result<(), Misfit> {
        let input = shapes.image();
        for (index, spec) in self.blocks(input.channels).iter().enumerate() {
            shapes.conv(&format!("blocks.{index}"), spec).map_err(|reason| Misfit {
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
            shapes.hidden(&format!("hidden.{index}"), width);
        }
        shapes.output(classes);
        Ok(())
    }

    fn init(&self, sizes: Sizes, device: &Device) -> Network {
        let blocks = self.blocks(sizes.input.channels).iter().map(|spec| ConvBlock::new(spec, device)).collect();
        let (hidden, width) = layers::stack(sizes.flattened, &self.hidden, device);
        Lenet { blocks, hidden, output: dense(width, sizes.classes, device) }.into()
    }
}

impl Check for LenetConfig {
    fn check(&self, problems: &mut Problems) {
        limits::channels(problems, "channels", "convolution", &self.channels);
        limits::widths(problems, "hidden", &self.hidden);
    }
}

impl Forward for Lenet {
    fn forward(&self, images: Tensor<4>, context: &mut ForwardContext) -> Tensor<2> {
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
