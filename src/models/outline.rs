//! What a network looks like without building it: the size of every layer's output, its parameters and its work.
//! Every model lists its layers here once; its modules are built from the same numbers.

use super::layers::{ConvSpec, Norm};
use crate::data::ImageShape;

/// One layer as it appears in plans and explanations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSummary {
    /// The module's path, which is also how the names of its tensors begin: `blocks.0`.
    pub name: String,
    /// What it does: "conv 3x3, batch norm, ReLU, max-pool 2x2".
    pub description: String,
    /// The output for one image: `[channels, height, width]` or `[features]`.
    pub output_shape: Vec<usize>,
    /// Learned values.
    pub parameters: usize,
    /// Floating-point operations of the forward pass for one image: 2 per multiply-add of convolutions and fully
    /// connected layers. Norms, activations and pools are left out: they are below 1 % of any network here.
    pub forward_flops: u64,
}

/// Why a network cannot be built for an image size, and the key that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The key within `[model]`.
    pub key: &'static str,
    /// What is wrong, naming the layer and the size it gets.
    pub message: String,
}

/// Follows one image through a network while its layers are listed.
#[derive(Clone, Debug)]
pub(super) struct Outline {
    image: ImageShape,
    features: Option<usize>,
    flattened: Option<usize>,
    layers: Vec<LayerSummary>,
}

impl Outline {
    /// Starts at the network's input.
    pub fn new(input: ImageShape) -> Self {
        Self { image: input, features: None, flattened: None, layers: Vec::new() }
    }

    /// The size of the image at this point.
    pub fn image(&self) -> ImageShape {
        self.image
    }

    /// The number of values per image that enter the first fully connected layer.
    pub fn flattened(&self) -> usize {
        self.flattened.unwrap_or(self.image.len())
    }

    /// The layers listed so far.
    pub fn into_layers(self) -> Vec<LayerSummary> {
        self.layers
    }

    /// Adds a convolution block.
    ///
    /// # Errors
    /// The words that follow the layer's name when the image is too small for it.
    pub fn conv(&mut self, name: &str, spec: &ConvSpec) -> Result<(), String> {
        let (output, flops) = spec.trace(self.image)?;
        self.image = output;
        self.push(name, spec.describe(), spec.parameters(), flops);
        Ok(())
    }

    /// Adds a residual block: `first` then `second`, plus `shortcut` or the input itself, then ReLU.
    pub fn residual(&mut self, name: &str, parts: &[ConvSpec], shortcut: Option<&ConvSpec>) -> Result<(), String> {
        let (input, mut flops, mut parameters) = (self.image, 0, 0);
        for spec in parts {
            let (output, work) = spec.trace(self.image)?;
            self.image = output;
            flops += work;
            parameters += spec.parameters();
        }
        if let Some(spec) = shortcut {
            flops += spec.trace(input)?.1;
            parameters += spec.parameters();
        }
        let described = match shortcut {
            Some(_) => "residual: 2 x conv 3x3, projected shortcut, ReLU",
            None => "residual: 2 x conv 3x3, ReLU",
        };
        self.push(name, described.into(), parameters, flops);
        Ok(())
    }

    /// Adds the mean over height and width.
    pub fn global_pool(&mut self, name: &str) {
        self.features = Some(self.image.channels);
        self.push(name, "mean over height and width".into(), 0, 0);
    }

    /// Adds a fully connected layer; an image is flattened first.
    pub fn dense(&mut self, name: &str, outputs: usize, relu: bool) {
        let inputs = self.features.unwrap_or(self.image.len());
        self.flattened.get_or_insert(inputs);
        self.features = Some(outputs);
        let described = if relu { "fully connected, ReLU" } else { "fully connected" };
        let weights = inputs.saturating_mul(outputs);
        self.push(name, described.into(), weights.saturating_add(outputs), (weights as u64).saturating_mul(2));
    }

    fn push(&mut self, name: &str, description: String, parameters: usize, forward_flops: u64) {
        let output_shape = match self.features {
            Some(features) => vec![features],
            None => vec![self.image.channels, self.image.height, self.image.width],
        };
        self.layers.push(LayerSummary { name: name.to_owned(), description, output_shape, parameters, forward_flops });
    }
}

impl ConvSpec {
    /// The size after this block and its work, or why it does not fit.
    fn trace(&self, input: ImageShape) -> Result<(ImageShape, u64), String> {
        let size = format!("{}x{}", input.height, input.width);
        let convolved =
            |side: usize| (side + 2 * self.padding).checked_sub(self.kernel_size).map(|rest| rest / self.stride + 1);
        let (Some(height), Some(width)) = (convolved(input.height), convolved(input.width)) else {
            return Err(format!(
                "has a {0}x{0} kernel, but its input is only {size} (border of {1})",
                self.kernel_size, self.padding
            ));
        };
        let per_value = (2 * self.kernel_size * self.kernel_size * self.channels_in) as u64;
        let flops = per_value * (self.channels_out * height * width) as u64;
        let output = ImageShape { channels: self.channels_out, height, width };
        match self.pool {
            false => Ok((output, flops)),
            true if height < 2 || width < 2 => {
                Err(format!("pools 2x2, but only {height}x{width} is left after its convolution of {size}"))
            }
            true => Ok((ImageShape { height: height / 2, width: width / 2, ..output }, flops)),
        }
    }

    fn parameters(&self) -> usize {
        let weights = self.channels_out * self.channels_in * self.kernel_size * self.kernel_size;
        match self.norm {
            Norm::None => weights + self.channels_out,
            Norm::Batch => weights + 2 * self.channels_out,
        }
    }

    fn describe(&self) -> String {
        let mut text = format!("conv {0}x{0}", self.kernel_size);
        if self.stride > 1 {
            text += &format!(" stride {}", self.stride);
        }
        for (present, part) in
            [(self.norm == Norm::Batch, ", batch norm"), (self.relu, ", ReLU"), (self.pool, ", max-pool 2x2")]
        {
            if present {
                text += part;
            }
        }
        text
    }
}
