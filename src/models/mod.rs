//! The networks as Burn modules, one enum over them, and what can be said of them without running them.
//! Nothing here knows where images come from.
//!
//! A new architecture is one new file and one line of the list below; `CONTRIBUTING.md` shows one. The tests that walk
//! [`ModelConfig::examples`] then cover it.

mod compile;
mod ensemble;
mod forward;
mod initial;
mod layers;
mod limits;
mod parameter;
mod shapes;
mod steps;
#[cfg(test)]
mod tests;
mod views;
mod weights;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

pub use convnet::{BlockConfig, GlobalPool};
pub(crate) use ensemble::{CompiledEnsemble, Conversion, MOST_MEMBERS, join_weights, qualified};
pub use ensemble::{Composition, Ensemble, Member};
pub(crate) use forward::{Activation, ForwardContext};
pub use layers::{Norm, Padding, ResidualNorm};
pub(crate) use parameter::ParameterPath;
pub use parameter::Role;
pub(crate) use parameter::id as parameter_id;
pub use resnet::Residual;
pub(crate) use shapes::Misfit;
pub use shapes::{LayerSummary, TensorSummary};
pub(crate) use steps::Step;
pub use weights::{WeightTensor, Weights};

use crate::check::{Check as _, Problems};
use crate::data::ImageShape;
use crate::ops::Compiled;
use crate::{Error, Result};
use shapes::ShapeInference;

/// The most parameters a network may have: with Adam's moments and the gradients, 3.2 GB.
pub const MOST_PARAMETERS: usize = 200_000_000;

/// What a kind of network says of itself.
trait Architecture: crate::check::Check {
    /// Small examples that between them take every path through the code.
    fn examples() -> Vec<Self>
    where
        Self: Sized;

    /// Lists the layers in the order in which [`Forward::forward`] shows them to a hook, from the input on.
    ///
    /// # Errors
    /// When the images do not fit; the values themselves have been checked.
    fn infer(&self, shapes: &mut ShapeInference, classes: usize) -> Result<(), Misfit>;

    /// The network with its structure and nothing learned, for images that fit.
    fn init(&self, sizes: Sizes, device: &Device) -> Network;
}

/// What a kind of network computes.
trait Forward {
    /// `[batch, channels, height, width]` to logits, `[batch, classes]`.
    fn forward(&self, images: Tensor<4>, context: &mut ForwardContext) -> Tensor<2>;

    /// Computes once what inference would compute for every batch: see `ConvBlock::fold`. Without norms there is nothing.
    fn fold(&mut self) {}
}

/// The sizes between which a network is built.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// The images.
    input: ImageShape,
    /// The values per image that enter the first fully connected layer.
    flattened: usize,
    /// The logits.
    classes: usize,
}

/// Declares the architectures: `module: Network(Config),` for a file `module.rs` with both types.
macro_rules! models {
    ($($module:ident: $network:ident($config:ident),)*) => {
        crate::kinds::kinds! {
            /// `model.kind` and the keys that belong to it.
            pub enum ModelConfig: Architecture {
                $($module: $network($config),)*
            }
        }

        $(pub use $module::$network;)*

        /// Any of the networks, as one Burn module. Its tensors are named by `ParameterPath`.
        // A process holds a handful of networks, so a box would save nothing.
        #[allow(clippy::large_enum_variant)]
        #[allow(missing_docs, reason = "the configuration of a kind says what it is")]
        #[derive(Module, Debug)]
        pub enum Network {
            $($network($network),)*
        }

        $(impl From<$network> for Network {
            fn from(network: $network) -> Self {
                Self::$network(network)
            }
        })*

        impl Network {
            fn as_forward(&self) -> &dyn Forward {
                match self {
                    $(Self::$network(network) => network,)*
                }
            }

            fn as_forward_mut(&mut self) -> &mut dyn Forward {
                match self {
                    $(Self::$network(network) => network,)*
                }
            }
        }
    };
}

models! {
    linear: Linear(LinearConfig),
    mlp: Mlp(MlpConfig),
    lenet: Lenet(LenetConfig),
    convnet: Convnet(ConvnetConfig),
    resnet: Resnet(ResnetConfig),
    preact_resnet: PreactResnet(PreactResnetConfig),
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self::Convnet(ConvnetConfig::default())
    }
}

impl ModelConfig {
    fn infer(&self, input: ImageShape, classes: usize) -> Result<ShapeInference, Misfit> {
        let mut shapes = ShapeInference::new(input);
        self.as_kind().infer(&mut shapes, classes)?;
        Ok(shapes)
    }

    /// Adds what is wrong with this model for images of this size and this many classes. The values themselves are
    /// checked by `Check::check`, which must have found nothing.
    pub(crate) fn check_for(&self, input: ImageShape, classes: usize, problems: &mut Problems) {
        problems.require(!input.is_empty(), "kind", || format!("needs images with pixels, got {input}"));
        problems.require(classes >= 2, "kind", || format!("needs at least 2 classes to tell apart, got {classes}"));
        match self.infer(input, classes) {
            Err(misfit) => problems.add(misfit.key, misfit.message),
            Ok(shapes) => {
                let total = total_parameters(&shapes.into_layers());
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

    /// The steps that compute the network for images of this size and this many classes.
    ///
    /// # Errors
    /// As [`layers`](Self::layers).
    pub(crate) fn steps(&self, input: ImageShape, classes: usize) -> Result<Vec<Step>> {
        Ok(self.checked(input, classes)?.into_steps())
    }

    /// The network with these weights, prepared for inference on the CPU: its logits are those of the [`Network`] but for
    /// rounding.
    ///
    /// # Errors
    /// As [`layers`](Self::layers), or when the weights are not this network's.
    pub(crate) fn compile(&self, input: ImageShape, classes: usize, weights: &Weights) -> Result<Compiled> {
        compile::compile(&self.steps(input, classes)?, input, weights)
    }

    fn checked(&self, input: ImageShape, classes: usize) -> Result<ShapeInference> {
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
        self.infer(input, classes).map_err(|misfit| Error::usage(format!("`model.{}`: {}", misfit.key, misfit.message)))
    }

    /// The network with its structure and nothing learned: weights and biases 0, norms the identity. Follow with
    /// `Network::initialise` or [`Network::load`].
    ///
    /// # Errors
    /// A usage error when the model's values are out of range or it does not fit the images.
    pub fn init(&self, input: ImageShape, classes: usize, device: &Device) -> Result<Network> {
        let flattened = self.checked(input, classes)?.flattened();
        parameter::identify(self.as_kind().init(Sizes { input, flattened, classes }, device))
    }
}

/// The learned values of all layers together.
pub(crate) fn total_parameters(layers: &[LayerSummary]) -> usize {
    layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.parameters))
}

/// The forward work of all layers together for one image, in floating-point operations.
pub(crate) fn total_forward_flops(layers: &[LayerSummary]) -> u64 {
    layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.forward_flops))
}

impl Network {
    /// Images, `[batch, channels, height, width]`, to logits, `[batch, classes]`, as for inference. On a device without
    /// autodiff, batch norms use their running statistics.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        self.forward_in(images, &mut ForwardContext::inference())
    }

    /// The same computation within a [`ForwardContext`]: with dropout in training, or with a hook.
    pub(crate) fn forward_in(&self, images: Tensor<4>, context: &mut ForwardContext) -> Tensor<2> {
        self.as_forward().forward(images, context)
    }

    /// The same network for inference alone, its norms' running statistics put into the weights of the convolutions: other
    /// tensors than the configuration says, and the same logits but for rounding. On a device without autodiff.
    #[must_use]
    pub(crate) fn folded(mut self) -> Self {
        self.as_forward_mut().fold();
        self
    }

    /// Draws all weights from `seed`: the same values on every device. See the rule in `initial.rs`.
    #[must_use]
    pub(crate) fn initialise(self, seed: u64) -> Self {
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
