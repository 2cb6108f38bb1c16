//! Fully connected hidden layers with ReLU on the raw pixels.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::layers::{self, dense, flatten};
use super::limits;
use super::{Architecture, Forward, ForwardContext, Misfit, Network, ShapeInference, Sizes};
use crate::check::{Check, Problems};

/// Fully connected hidden layers with ReLU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MlpConfig {
    /// The width of each hidden layer, first to last.
    pub hidden: Vec<usize>,
    /// Probability of dropping each hidden activation in training, 0 to below 1.
    pub dropout: f64,
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self { hidden: vec![256, 128], dropout: 0.0 }
    }
}

/// A multilayer perceptron.
#[derive(Module, Debug)]
pub struct Mlp {
    hidden: Vec<Linear>,
    output: Linear,
    dropout: f64,
}

impl Architecture for MlpConfig {
    fn examples() -> Vec<Self> {
        vec![Self { hidden: vec![24, 16], dropout: 0.1 }]
    }

    fn infer(&self, shapes: &mut ShapeInference, classes: usize) -> Result<(), Misfit> {
        for (index, &width) in self.hidden.iter().enumerate() {
            shapes.hidden(&format!("hidden.{index}"), width);
        }
        shapes.output(classes);
        Ok(())
    }

    fn init(&self, sizes: Sizes, device: &Device) -> Network {
        let (hidden, width) = layers::stack(sizes.flattened, &self.hidden, device);
        Mlp { hidden, output: dense(width, sizes.classes, device), dropout: self.dropout }.into()
    }
}

impl Check for MlpConfig {
    fn check(&self, problems: &mut Problems) {
        problems.require(!self.hidden.is_empty(), "hidden", || {
            "must name at least one hidden layer, got none; without one it is the model kind `linear`".into()
        });
        limits::widths(problems, "hidden", &self.hidden);
        limits::dropout(problems, "dropout", self.dropout);
    }
}

impl Forward for Mlp {
    fn forward(&self, images: Tensor<4>, context: &mut ForwardContext) -> Tensor<2> {
        let mut values = flatten(images); // [batch, channels * height * width]
        for (index, layer) in self.hidden.iter().enumerate() {
            values = context.flat(|| format!("hidden.{index}"), layers::hidden(layer, values)); // [batch, width]
            values = context.dropout(values, self.dropout);
        }
        context.flat(|| "output".into(), layers::output(&self.output, values))
    }
}
