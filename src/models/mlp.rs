//! Fully connected hidden layers with ReLU on the raw pixels.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::forward::ForwardContext;
use super::layers::{self, dense, flatten};
use super::outline::{Misfit, Outline};
use super::ranges;
use crate::check::{Check, Problems};
use crate::data::ImageShape;

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

/// A multilayer perceptron.
#[derive(Module, Debug)]
pub struct Mlp {
    hidden: Vec<Linear>,
    output: Linear,
    dropout: f64,
}

impl MlpConfig {
    pub(super) fn outline(&self, input: ImageShape, classes: usize) -> Result<Outline, Misfit> {
        let mut outline = Outline::new(input);
        for (index, &width) in self.hidden.iter().enumerate() {
            outline.dense(&format!("hidden.{index}"), width, true);
        }
        outline.dense("output", classes, false);
        Ok(outline)
    }

    pub(super) fn init(&self, input: ImageShape, classes: usize, device: &Device) -> Mlp {
        let (hidden, width) = layers::stack(input.len(), &self.hidden, device);
        Mlp { hidden, output: dense(width, classes, device), dropout: self.dropout }
    }
}

impl Check for MlpConfig {
    fn check(&self, problems: &mut Problems) {
        problems.require(!self.hidden.is_empty(), "hidden", || {
            "must name at least one hidden layer, got none; without one it is the model kind `linear`".into()
        });
        ranges::widths(problems, "hidden", &self.hidden);
        ranges::share(problems, "dropout", self.dropout);
    }
}

impl Mlp {
    /// `[batch, channels, height, width]` to logits, `[batch, classes]`.
    pub(super) fn forward(&self, images: Tensor<4>, context: &mut ForwardContext) -> Tensor<2> {
        let mut values = flatten(images); // [batch, channels * height * width]
        for (index, layer) in self.hidden.iter().enumerate() {
            values = context.flat(|| format!("hidden.{index}"), layers::hidden(layer, values)); // [batch, width]
            values = context.dropout(values, self.dropout);
        }
        context.flat(|| "output".into(), layers::output(&self.output, values))
    }
}
