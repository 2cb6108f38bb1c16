//! One linear layer on the raw pixels: multinomial logistic regression, the floor every other network must beat.

use burn::module::Module;
use burn::nn::Linear as LinearLayer;
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::forward::ForwardContext;
use super::layers::{dense, flatten, output};
use super::outline::{Misfit, Outline};
use crate::check::{Check, Problems};
use crate::data::ImageShape;

/// The keys of `model.kind = "linear"`: none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LinearConfig {}

/// One linear layer.
#[derive(Module, Debug)]
pub struct Linear {
    output: LinearLayer,
}

impl LinearConfig {
    pub(super) fn outline(&self, input: ImageShape, classes: usize) -> Result<Outline, Misfit> {
        let mut outline = Outline::new(input);
        outline.dense("output", classes, false);
        Ok(outline)
    }

    pub(super) fn init(&self, input: ImageShape, classes: usize, device: &Device) -> Linear {
        Linear { output: dense(input.len(), classes, device) }
    }
}

impl Check for LinearConfig {
    fn check(&self, _problems: &mut Problems) {}
}

impl Linear {
    /// `[batch, channels, height, width]` to logits, `[batch, classes]`.
    pub(super) fn forward(&self, images: Tensor<4>, context: &mut ForwardContext) -> Tensor<2> {
        let logits = output(&self.output, flatten(images));
        context.flat(|| "output".into(), logits)
    }
}
