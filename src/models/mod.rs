//! The networks as Burn modules, one enum over them, and what can be said of them without running them.
//! Nothing here knows where images come from.
//!
//! A new architecture is one new file plus its lines in the two enums and their `match`es below; the tests that walk
//! [`ModelConfig::examples`] then cover it.

mod convnet;
mod forward;
mod initial;
mod layers;
mod lenet;
mod linear;
mod mlp;
mod outline;
mod parameter;
mod ranges;
mod resnet;
#[cfg(test)]
mod tests;
mod weights;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use convnet::{BlockConfig, Convnet, ConvnetConfig};
pub use forward::{Activation, ForwardContext};
pub use layers::{ConvBlock, Norm, Padding};
pub use lenet::{Lenet, LenetConfig};
pub use linear::{Linear, LinearConfig};
pub use mlp::{Mlp, MlpConfig};
pub use outline::{LayerSummary, Misfit};
pub use parameter::ParameterPath;
pub use resnet::{Residual, Resnet, ResnetConfig};
pub use weights::{WeightTensor, Weights};

use crate::check::{Check, Problems};
use crate::data::ImageShape;
use crate::{Error, Result};
use outline::Outline;

/// The most parameters a network may have: with Adam's moments and the gradients, 3.2 GB.
pub const MOST_PARAMETERS: usize = 200_000_000;

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

impl Default for ModelConfig {
    fn default() -> Self {
        Self::Convnet(ConvnetConfig::default())
    }
}

/// Any of the networks, as one Burn module. Its tensors are named by [`ParameterPath`].
// A process holds a handful of networks, so a box would save nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum Network {
    /// See [`LinearConfig`].
    Linear(Linear),
    /// See [`MlpConfig`].
    Mlp(Mlp),
    /// See [`LenetConfig`].
    Lenet(Lenet),
    /// See [`ConvnetConfig`].
    Convnet(Convnet),
    /// See [`ResnetConfig`].
    Resnet(Resnet),
}

impl ModelConfig {
    /// One small example of every kind, for tests that must cover them all.
    pub fn examples() -> Vec<Self> {
        let block = |channels, kernel_size, pool| BlockConfig { channels, kernel_size, pool };
        vec![
            Self::Linear(LinearConfig {}),
            Self::Mlp(MlpConfig { hidden: vec![24, 16], dropout: 0.1 }),
            Self::Lenet(LenetConfig::default()),
            Self::Convnet(ConvnetConfig {
                blocks: vec![block(6, 3, true), block(8, 3, true)],
                hidden: vec![16],
                ..ConvnetConfig::default()
            }),
            Self::Convnet(ConvnetConfig {
                blocks: vec![block(6, 3, false), block(8, 4, true)],
                norm: Norm::None,
                padding: Padding::Valid,
                hidden: vec![],
                dropout: 0.25,
            }),
            Self::Resnet(ResnetConfig { channels: vec![4, 6, 8], blocks: 1 }),
        ]
    }

    /// The value of `model.kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Linear(_) => "linear",
            Self::Mlp(_) => "mlp",
            Self::Lenet(_) => "lenet",
            Self::Convnet(_) => "convnet",
            Self::Resnet(_) => "resnet",
        }
    }

    fn outline(&self, input: ImageShape, classes: usize) -> Result<Outline, Misfit> {
        match self {
            Self::Linear(config) => config.outline(input, classes),
            Self::Mlp(config) => config.outline(input, classes),
            Self::Lenet(config) => config.outline(input, classes),
            Self::Convnet(config) => config.outline(input, classes),
            Self::Resnet(config) => config.outline(input, classes),
        }
    }

    /// Adds what is wrong with this model for images of this size and this many classes. The values themselves are
    /// checked by [`Check::check`], which must have found nothing.
    pub fn check_for(&self, input: ImageShape, classes: usize, problems: &mut Problems) {
        problems.require(!input.is_empty(), "kind", || format!("needs images with pixels, got {input}"));
        problems.require(classes >= 2, "kind", || format!("needs at least 2 classes to tell apart, got {classes}"));
        match self.outline(input, classes) {
            Err(misfit) => problems.add(misfit.key, misfit.message),
            Ok(outline) => {
                let total = total_parameters(&outline.into_layers());
                problems.require(total <= MOST_PARAMETERS, "kind", || {
                    format!("the network must have at most {MOST_PARAMETERS} parameters, got {total}")
                });
            }
        }
    }

    /// The layers for images of this size and this many classes, computed without building them.
    ///
    /// # Errors
    /// A usage error when the model's values are out of range or it does not fit the images.
    pub fn layers(&self, input: ImageShape, classes: usize) -> Result<Vec<LayerSummary>> {
        Ok(self.checked(input, classes)?.into_layers())
    }

    fn checked(&self, input: ImageShape, classes: usize) -> Result<Outline> {
        let mut problems = Problems::default();
        problems.within("model", |problems| {
            self.check(problems);
        });
        let mut found = problems.into_vec();
        if found.is_empty() {
            let mut problems = Problems::default();
            problems.within("model", |problems| self.check_for(input, classes, problems));
            found = problems.into_vec();
        }
        if let Some(first) = found.first() {
            return Err(Error::usage(format!("`{}`: {}", first.key, first.message)));
        }
        self.outline(input, classes)
            .map_err(|misfit| Error::usage(format!("`model.{}`: {}", misfit.key, misfit.message)))
    }

    /// The network with its structure and nothing learned: weights and biases 0, norms the identity. Follow with
    /// [`Network::initialise`] or [`Network::load`].
    ///
    /// # Errors
    /// A usage error when the model's values are out of range or it does not fit the images.
    pub fn init(&self, input: ImageShape, classes: usize, device: &Device) -> Result<Network> {
        let flattened = self.checked(input, classes)?.flattened();
        let network = match self {
            Self::Linear(config) => Network::Linear(config.init(input, classes, device)),
            Self::Mlp(config) => Network::Mlp(config.init(input, classes, device)),
            Self::Lenet(config) => Network::Lenet(config.init(input, flattened, classes, device)),
            Self::Convnet(config) => Network::Convnet(config.init(input, flattened, classes, device)),
            Self::Resnet(config) => Network::Resnet(config.init(input, flattened, classes, device)),
        };
        Ok(parameter::identify(network))
    }
}

impl Check for ModelConfig {
    fn check(&self, problems: &mut Problems) {
        match self {
            Self::Linear(config) => config.check(problems),
            Self::Mlp(config) => config.check(problems),
            Self::Lenet(config) => config.check(problems),
            Self::Convnet(config) => config.check(problems),
            Self::Resnet(config) => config.check(problems),
        }
    }
}

/// The learned values of all layers together.
pub fn total_parameters(layers: &[LayerSummary]) -> usize {
    layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.parameters))
}

/// The forward work of all layers together for one image, in floating-point operations.
pub fn total_forward_flops(layers: &[LayerSummary]) -> u64 {
    layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.forward_flops))
}

impl Network {
    /// Images, `[batch, channels, height, width]`, to logits, `[batch, classes]`, as for inference. On a device without
    /// autodiff, batch norms use their running statistics.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        self.forward_in(images, &mut ForwardContext::inference())
    }

    /// The same computation within a [`ForwardContext`]: with dropout in training, or with a hook.
    pub fn forward_in(&self, images: Tensor<4>, context: &mut ForwardContext) -> Tensor<2> {
        match self {
            Self::Linear(network) => network.forward(images, context),
            Self::Mlp(network) => network.forward(images, context),
            Self::Lenet(network) => network.forward(images, context),
            Self::Convnet(network) => network.forward(images, context),
            Self::Resnet(network) => network.forward(images, context),
        }
    }

    /// Draws all weights from `seed`: the same values on every device. See the rule in `initial.rs`.
    #[must_use]
    pub fn initialise(self, seed: u64) -> Self {
        initial::initialise(self, seed)
    }

    /// A copy of all tensors on the host, running statistics included.
    ///
    /// # Errors
    /// When the device fails.
    pub fn weights(&self) -> Result<Weights> {
        weights::collect(self)
    }

    /// Puts `weights` in place of all tensors.
    ///
    /// # Errors
    /// A usage error that names the tensor when one is missing, unknown or of another shape.
    pub fn load(self, weights: &Weights) -> Result<Self> {
        weights::load(self, weights)
    }
}
