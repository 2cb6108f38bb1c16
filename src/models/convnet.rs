//! A plain convolutional network: blocks of convolution, normalisation, ReLU and pooling, then fully connected layers.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::layers::{self, ConvBlock, ConvSpec, Norm, NormSpec, Padding, dense, flatten, global_mean};
use super::limits;
use super::{Architecture, Forward, ForwardContext, Misfit, Network, ShapeInference, Sizes};
use crate::check::{Check, Problems};

/// Blocks of convolution, normalisation, ReLU and pooling, then fully connected layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConvnetConfig {
    /// The blocks, first to last.
    pub blocks: Vec<BlockConfig>,
    /// What stands between convolution and ReLU: "batch" normalises by the mean and variance of each channel over the batch, in
    /// inference over the training images that were seen; "group" by those of groups of channels of each image alone, so that
    /// the batch may be small.
    pub norm: Norm,
    /// Groups of channels of each group norm, a divisor of the channels of every layer; unset: 8. Only with `norm = "group"`.
    pub groups: Option<usize>,
    /// The border round each convolution's input.
    pub padding: Padding,
    /// What the fully connected layers take of the last block's channels: "none", all values; "average", the mean of each
    /// (global average pooling), so that the image's size does not matter to them.
    pub global_pool: GlobalPool,
    /// The width of each fully connected hidden layer; may be empty.
    pub hidden: Vec<usize>,
    /// Probability of dropping each activation before each fully connected layer in training, 0 to below 1.
    pub dropout: f64,
    /// Probability of dropping each channel of each image after each block in training (spatial dropout: Tompson et al., 2015;
    /// PyTorch's `Dropout2d`), 0 to below 1.
    pub spatial_dropout: f64,
}

/// What the fully connected layers of a `convnet` take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GlobalPool {
    /// All values of all channels.
    None,
    /// The mean over height and width of each channel (Lin, Chen and Yan, "Network in network", 2014).
    Average,
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
            groups: None,
            padding: Padding::Same,
            global_pool: GlobalPool::None,
            hidden: vec![128],
            dropout: 0.0,
            spatial_dropout: 0.0,
        }
    }
}

/// A plain convolutional network.
#[derive(Module, Debug)]
pub struct Convnet {
    blocks: Vec<ConvBlock>,
    hidden: Vec<Linear>,
    output: Linear,
    global_pool: bool,
    dropout: f64,
    spatial_dropout: f64,
}

impl ConvnetConfig {
    fn norm(&self) -> NormSpec {
        NormSpec::new(self.norm, self.groups)
    }

    fn blocks(&self, channels: usize) -> Vec<ConvSpec> {
        let mut channels_in = channels;
        let spec = |block: &BlockConfig| {
            let padding = match self.padding {
                Padding::Valid => 0,
                Padding::Same => block.kernel_size / 2,
            };
            let same = ConvSpec::same(channels_in, block.channels, block.kernel_size);
            channels_in = block.channels;
            ConvSpec { padding, norm: self.norm(), bias: self.norm == Norm::None, pool: block.pool, ..same }
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
                ..Self::default()
            },
            Self {
                blocks: vec![block(6, 3, true), block(8, 3, false)],
                norm: Norm::Group,
                groups: Some(2),
                global_pool: GlobalPool::Average,
                hidden: vec![12],
                spatial_dropout: 0.25,
                ..Self::default()
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
        if self.global_pool == GlobalPool::Average {
            shapes.global_pool("pool");
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
        let output = dense(width, sizes.classes, device);
        let global_pool = self.global_pool == GlobalPool::Average;
        let Self { dropout, spatial_dropout, .. } = *self;
        Convnet { blocks, hidden, output, global_pool, dropout, spatial_dropout }.into()
    }
}

impl Check for ConvnetConfig {
    fn check(&self, problems: &mut Problems) {
        problems.require((1..=64).contains(&self.blocks.len()), "blocks", || {
            format!("must name 1 to 64 blocks, got {}", self.blocks.len())
        });
        let channels = self.blocks.iter().map(|block| block.channels).collect::<Vec<_>>();
        limits::channels(problems, "blocks", "block", &channels);
        let layers = channels.iter().enumerate().map(|(index, &channels)| (format!("block {}", index + 1), channels));
        limits::groups(problems, self.norm(), self.groups, &layers.collect::<Vec<_>>());
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
        limits::dropout(problems, "spatial_dropout", self.spatial_dropout);
    }
}

impl Forward for Convnet {
    fn forward(&self, images: Tensor<4>, context: &mut ForwardContext) -> Tensor<2> {
        let mut images = images;
        for (index, block) in self.blocks.iter().enumerate() {
            let output = context.dropout_channels(block.forward(images), self.spatial_dropout);
            images = context.image(|| format!("blocks.{index}"), output); // [batch, channels, h, w]
        }
        let mut values = match self.global_pool {
            false => flatten(images),                                    // [batch, channels * h * w]
            true => context.flat(|| "pool".into(), global_mean(images)), // [batch, channels]
        };
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
