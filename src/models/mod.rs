//! The networks as Burn modules, one enum over them, and what can be said of them without running them.
//! Nothing here knows where images come from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `model.kind` and the keys that belong to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ModelConfig {
    /// One linear layer: multinomial logistic regression.
    Linear(LinearConfig),
    /// Fully connected hidden layers with ReLU.
    Mlp(MlpConfig),
    /// LeNet-5 (LeCun et al., 1998) with ReLU and max-pooling.
    Lenet(LenetConfig),
    /// Blocks of convolution, normalisation, ReLU and pooling, then fully connected layers.
    Convnet(ConvnetConfig),
    /// A small residual network (He et al., 2016).
    Resnet(ResnetConfig),
}

/// The keys of `model.kind = "linear"`: none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LinearConfig {}

/// The keys of `model.kind = "mlp"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MlpConfig {
    /// The width of each hidden layer, first to last.
    pub hidden: Vec<usize>,
    /// Share of the hidden activations dropped in training, 0 to below 1.
    pub dropout: f64,
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self { hidden: vec![256, 128], dropout: 0.0 }
    }
}

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

/// The keys of `model.kind = "convnet"`.
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
    /// Share of the activations dropped before each fully connected layer in training, 0 to below 1.
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

impl Default for ConvnetConfig {
    fn default() -> Self {
        let block = |channels| BlockConfig { channels, kernel_size: 3, pool: true };
        Self { blocks: vec![block(32), block(64)], norm: Norm::Batch, padding: Padding::Same, hidden: vec![128], dropout: 0.0 }
    }
}

/// The keys of `model.kind = "resnet"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ResnetConfig {
    /// The channels of each stage; every stage after the first halves height and width.
    pub channels: Vec<usize>,
    /// Residual blocks per stage, each of two 3x3 convolutions.
    pub blocks: usize,
}

impl Default for ResnetConfig {
    fn default() -> Self {
        Self { channels: vec![16, 32, 64], blocks: 1 }
    }
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self::Convnet(ConvnetConfig::default())
    }
}
