//! A plain convolutional network: blocks of convolution, normalisation, ReLU and pooling, then fully connected layers.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::layers::{self, ConvBlock, ConvSpec, Norm, Padding, dense, flatten};
use super::limits;
use super::{Architecture, Forward, ForwardContext, Misfit, Network, ShapeInference, Sizes};
use crate::check::{Check, Problems};

/// Blocks of convolution, normalisation, ReLU and pooling, then fully connected layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConvnetConfig {
    /// The blocks, first to last.
    pub blocks: Vec<BlockConfig>,
    /// What stands between convolution and ReLU.
    pub norm: Norm,
    /// The border round each convolution's input.
    pub padding: Padding,
    /// The width of each fully connected hidden layer; may be empty.
    pub hidden: Vec<usize>,
    /// Probability of dropping each activation before each fully connected layer in training, 0 to below 1.
    pub dropout: f64,
}

/// One block of a `convnet`: convolution, norm, ReLU and, if asked for, max-pooling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BlockConfig {
    /// Output channels of the convolution.
    pub channels: usize,
    /// Side of the square kernel in pixels.
    #[serde(default = "three")]
    pub kernel_size: usize,
    /// Halve height and width with a 2x2 max-pool after the ReLU.
    #[serde(default = "yes")]
    pub pool: bool,
}

fn three() -> usize {
    3
}

fn yes() -> bool {
    true
}

impl Default for ConvnetConfig {
    fn default() -> Self {
        let block = |channels| BlockConfig { channels, kernel_size: 3, pool: true };
        Self {
            blocks: vec![block(32), block(64)],
            norm: Norm::Batch,
            padding: Padding::Same,
            hidden: vec![128],
            dropout: 0.0,
        }
    }
}

/// A plain convolutional network.
#[derive(Module, Debug)]
pub struct Convnet {
    blocks: Vec<ConvBlock>,
    hidden: Vec<Linear>,
    output: Linear,
    dropout: f64,
}

impl ConvnetConfig {
    fn blocks(&self, channels: usize) -> Vec<ConvSpec> {
        let mut channels_in = channels;
        let spec = |block: &BlockConfig| {
            let padding = match self.padding {
                Padding::Valid => 0,
                Padding::Same => block.kernel_size / 2,
            };
            let same = ConvSpec::same(channels_in, block.channels, block.kernel_size);
            channels_in = block.channels;
            ConvSpec { padding, norm: self.norm, bias: self.norm == Norm::None, pool: block.pool, ..same }
        };
        self.blocks.iter().map(spec).collect()
    }
}

impl Architecture for ConvnetConfig {
    fn examples() -> Vec<Self> {
        let block = |channels, kernel_size, pool| BlockConfig { channels, kernel_size, pool };
        vec![
            Self { blocks: vec![block(6, 3, true), block(8, 3, true)], hidden: vec![16], ..Self::default() },
            Self {
                blocks: vec![block(6, 3, false), block(8, 4, true)],
                norm: Norm::None,
                padding: Padding::Valid,
                hidden: vec![],
                dropout: 0.25,
            },
        ]
    }

    fn infer(&self, shapes: &mut ShapeInference, classes: usize) -> Result<(), Misfit> {
        let input = shapes.image();
        for (index, spec) in self.blocks(input.channels).iter().enumerate() {
            shapes.conv(&format!("blocks.{index}"), spec).map_err(|reason| Misfit {
                key: "blocks",
                message: format!("block {} {reason}; the images are {input}", index + 1),
            })?;
        }
        for (index, &width) in self.hidden.iter().enumerate() {
            shapes.hidden(&format!("hidden.{index}"), width);
        }
        shapes.output(classes);
        Ok(())
    }

    fn init(&self, sizes: Sizes, device: &Device) -> Network {
        let blocks = self.blocks(sizes.input.channels).iter().map(|spec| ConvBlock::new(spec, device)).collect();
        let (hidden, width) = layers::stack(sizes.flattened, &self.hidden, device);
        Convnet { blocks, hidden, output: dense(width, sizes.classes, device), dropout: self.dropout }.into()
    }
}

impl Check for ConvnetConfig {
    fn check(&self, problems: &mut Problems) {
        problems.require((1..=64).contains(&self.blocks.len()), "blocks", || {
            format!("must name 1 to 64 blocks, got {}", self.blocks.len())
        });
        let channels = self.blocks.iter().map(|block| block.channels).collect::<Vec<_>>();
        limits::channels(problems, "blocks", "block", &channels);
        for (index, kernel_size) in self.blocks.iter().map(|block| block.kernel_size).enumerate() {
            problems.require((1..=63).contains(&kernel_size), "blocks", || {
                format!("block {}: kernel_size must be 1 to 63, got {kernel_size}", index + 1)
            });
            problems.require(self.padding == Padding::Valid || kernel_size % 2 == 1, "blocks", || {
                format!(
                    "block {}: kernel_size must be odd with padding \"same\", got {kernel_size}; \
                     padding \"valid\" takes any",
                    index + 1
                )
            });
        }
        limits::widths(problems, "hidden", &self.hidden);
        limits::dropout(problems, "dropout", self.dropout);
    }
}

impl Forward for Convnet {
    fn forward(&self, images: Tensor<4>, context: &mut ForwardContext) -> Tensor<2> {
        let mut images = images;
        for (index, block) in self.blocks.iter().enumerate() {
            images = context.image(|| format!("blocks.{index}"), block.forward(images)); // [batch, channels, h, w]
        }
        let mut values = flatten(images); // [batch, channels * h * w]
        for (index, layer) in self.hidden.iter().enumerate() {
            values = context.dropout(values, self.dropout);
            values = context.flat(|| format!("hidden.{index}"), layers::hidden(layer, values)); // [batch, width]
        }
        values = context.dropout(values, self.dropout);
        context.flat(|| "output".into(), layers::output(&self.output, values))
    }

    fn fold(&mut self) {
        self.blocks.iter_mut().for_each(ConvBlock::fold);
    }
}
