//! One linear layer on the raw pixels: multinomial logistic regression, the floor every other network must beat.

use burn::module::Module;
use burn::nn::Linear as LinearLayer;
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::layers::{dense, flatten, output};
use super::{Architecture, Forward, ForwardContext, Misfit, Network, ShapeInference, Sizes};
use crate::check::{Check, Problems};

/// One linear layer: multinomial logistic regression.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LinearConfig {}

/// One linear layer.
#[derive(Module, Debug)]
pub struct Linear {
    output: LinearLayer,
}

impl Architecture for LinearConfig {
    fn examples() -> Vec<Self> {
        vec![Self {}]
    }

    fn infer(&self, shapes: &mut ShapeInference, classes: usize) -> Result<(), Misfit> {
        shapes.output(classes);
        Ok(())
    }

    fn init(&self, sizes: Sizes, device: &Device) -> Network {
        Linear { output: dense(sizes.flattened, sizes.classes, device) }.into()
    }
}

impl Check for LinearConfig {
    fn check(&self, _problems: &mut Problems) {}
}

impl Forward for Linear {
    fn forward(&self, images: Tensor<4>, context: &mut ForwardContext) -> Tensor<2> {
        let logits = output(&self.output, flatten(images));
        context.flat(|| "output".into(), logits)
    }
}
