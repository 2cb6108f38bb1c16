//! Shape inference: what a network looks like without building it. The size of every layer's output, its tensors and its
//! work. Every model lists its layers here once; its modules are built from the same numbers.

use super::layers::{ConvSpec, NormSpec};
use super::parameter::Role;
use super::preact_resnet::PreactSpec;
use super::steps::{Operation, Step};
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
    /// Its tensors in the order of the modules' fields, running statistics included.
    pub tensors: Vec<TensorSummary>,
    /// Learned values.
    pub parameters: usize,
    /// Floating-point operations of the forward pass for one image: 2 per multiply-add of convolutions and fully
    /// connected layers. Norms, activations and pools are left out: they are below 1 % of any network here.
    pub forward_flops: u64,
}

/// One tensor of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSummary {
    /// Its path in the network: `blocks.0.conv.weight`.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Its dimensions, outermost first.
    pub shape: Vec<usize>,
}

impl TensorSummary {
    fn new(name: String, role: Role, shape: &[usize]) -> Self {
        Self { name, role, shape: shape.to_vec() }
    }

    /// How many numbers it holds; the largest `usize` when they are more.
    pub fn count(&self) -> usize {
        self.shape.iter().fold(1, |product, side| product.saturating_mul(*side))
    }
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
pub(super) struct ShapeInference {
    image: ImageShape,
    features: Option<usize>,
    flattened: Option<usize>,
    layers: Vec<LayerSummary>,
    /// What computes them, and which of its values the last layer gives.
    steps: Vec<Step>,
    value: usize,
}

impl ShapeInference {
    /// Starts at the network's input.
    pub fn new(input: ImageShape) -> Self {
        Self { image: input, features: None, flattened: None, layers: Vec::new(), steps: Vec::new(), value: 0 }
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

    /// What computes the layers listed so far.
    pub fn into_steps(self) -> Vec<Step> {
        self.steps
    }

    /// Adds a step, and tells which value it gives.
    fn step(&mut self, operation: Operation, name: &str, from: &[usize]) -> usize {
        self.steps.push(Step { operation, name: name.to_owned(), from: from.to_vec() });
        self.value = self.steps.len();
        self.value
    }

    /// Adds the steps of a convolution and what follows it, and tells which value they give.
    fn conv_step(&mut self, spec: &ConvSpec, name: &str, from: usize) -> usize {
        let value = self.step(Operation::conv(spec), name, &[from]);
        match spec.norm {
            NormSpec::None | NormSpec::Batch => value,
            NormSpec::Group(groups) => {
                let norm = Operation::group_norm(groups, spec.relu, spec.pool);
                self.step(norm, &format!("{name}.{}", spec.norm.field()), &[value])
            }
        }
    }

    /// The two convolutions of a residual block, of the value `from`, plus the shortcut from there or `identity`.
    fn sum(
        &mut self,
        name: &str,
        ([first, second], shortcut): (&[ConvSpec; 2], Option<&ConvSpec>),
        from: [usize; 2],
        relu: bool,
    ) {
        let [from, identity] = from;
        let middle = self.conv_step(first, &format!("{name}.first"), from);
        let end = self.conv_step(second, &format!("{name}.second"), middle);
        let shortcut = match shortcut {
            Some(spec) => self.conv_step(spec, &format!("{name}.shortcut"), from),
            None => identity,
        };
        self.step(Operation::Sum { relu }, "", &[end, shortcut]);
    }

    /// Adds a [`ConvBlock`](super::ConvBlock) in the field `name`.
    ///
    /// # Errors
    /// The words that follow the layer's name when the image is too small for it.
    pub fn conv(&mut self, name: &str, spec: &ConvSpec) -> Result<(), String> {
        let (output, flops) = spec.infer(self.image)?;
        self.image = output;
        self.conv_step(spec, name, self.value);
        self.push(name, spec.describe(), spec.tensors(name), flops);
        Ok(())
    }

    /// Adds a residual block: `first` then `second`, plus `shortcut` or the input itself, then ReLU.
    pub fn residual(&mut self, name: &str, parts: &[ConvSpec; 2], shortcut: Option<&ConvSpec>) -> Result<(), String> {
        let input = self.image;
        let [first, second] = parts;
        let (middle, first_flops) = first.infer(input)?;
        let (output, second_flops) = second.infer(middle)?;
        let mut flops = first_flops + second_flops;
        let mut tensors = first.tensors(&format!("{name}.first"));
        tensors.extend(second.tensors(&format!("{name}.second")));
        if let Some(spec) = shortcut {
            flops += spec.infer(input)?.1;
            tensors.extend(spec.tensors(&format!("{name}.shortcut")));
        }
        let described = match shortcut {
            Some(_) => "residual: 2 x conv 3x3, projected shortcut, ReLU",
            None => "residual: 2 x conv 3x3, ReLU",
        };
        self.image = output;
        self.sum(name, (parts, shortcut), [self.value; 2], true);
        self.push(name, described.into(), tensors, flops);
        Ok(())
    }

    /// Adds a residual block whose norms and ReLUs stand before its convolutions: the field `norm`, then those of
    /// [`residual`](Self::residual).
    pub fn preact(&mut self, name: &str, spec: &PreactSpec) -> Result<(), String> {
        let input = self.image;
        let [first, second] = &spec.parts;
        let (middle, first_flops) = first.infer(input)?;
        let (output, second_flops) = second.infer(middle)?;
        let mut flops = first_flops + second_flops;
        spec.norm.infer(input)?;
        let mut tensors = spec.norm.tensors(&format!("{name}."), spec.channels);
        tensors.extend(first.tensors(&format!("{name}.first")));
        tensors.extend(second.tensors(&format!("{name}.second")));
        if let Some(shortcut) = &spec.shortcut {
            flops += shortcut.infer(input)?.1;
            tensors.extend(shortcut.tensors(&format!("{name}.shortcut")));
        }
        let shortcut = if spec.shortcut.is_some() { ", projected shortcut" } else { "" };
        let described = format!("residual: 2 x ({}, ReLU, conv 3x3){shortcut}", spec.norm.describe());
        self.image = output;
        let before = self.value;
        let active = self.norm_step(spec.norm, &format!("{name}."), before);
        self.sum(name, (&spec.parts, spec.shortcut.as_ref()), [active, before], false);
        self.push(name, described, tensors, flops);
        Ok(())
    }

    /// Adds a norm in its field of the network, with ReLU.
    ///
    /// # Errors
    /// As [`conv`](Self::conv).
    pub fn norm(&mut self, spec: NormSpec) -> Result<(), String> {
        spec.infer(self.image)?;
        self.norm_step(spec, "", self.value);
        let tensors = spec.tensors("", self.image.channels);
        self.push(spec.field(), format!("{}, ReLU", spec.describe()), tensors, 0);
        Ok(())
    }

    /// Adds the step of a norm with ReLU, in its field of the module that `path` leads into.
    fn norm_step(&mut self, spec: NormSpec, path: &str, from: usize) -> usize {
        let operation = match spec {
            NormSpec::None | NormSpec::Batch => Operation::norm(),
            NormSpec::Group(groups) => Operation::group_norm(groups, true, false),
        };
        self.step(operation, &format!("{path}{}", spec.field()), &[from])
    }

    /// Adds the mean over height and width.
    pub fn global_pool(&mut self, name: &str) {
        self.features = Some(self.image.channels);
        self.step(Operation::Mean, "", &[self.value]);
        self.push(name, "mean over height and width".into(), Vec::new(), 0);
    }

    /// Adds a hidden fully connected layer in the field `name`, with ReLU; an image is flattened first.
    pub fn hidden(&mut self, name: &str, outputs: usize) {
        self.dense(name, Role::HiddenWeight, outputs);
    }

    /// Adds the last layer, in the field `output`.
    pub fn output(&mut self, classes: usize) {
        self.dense("output", Role::OutputWeight, classes);
    }

    fn dense(&mut self, name: &str, weight: Role, outputs: usize) {
        let inputs = self.features.unwrap_or(self.image.len());
        self.flattened.get_or_insert(inputs);
        self.features = Some(outputs);
        self.step(Operation::Dense { relu: weight == Role::HiddenWeight }, name, &[self.value]);
        let described = if weight == Role::OutputWeight { "fully connected" } else { "fully connected, ReLU" };
        let tensors = vec![
            TensorSummary::new(format!("{name}.weight"), weight, &[inputs, outputs]),
            TensorSummary::new(format!("{name}.bias"), Role::Bias, &[outputs]),
        ];
        let flops = (inputs.saturating_mul(outputs) as u64).saturating_mul(2);
        self.push(name, described.into(), tensors, flops);
    }

    fn push(&mut self, name: &str, description: String, tensors: Vec<TensorSummary>, forward_flops: u64) {
        let output_shape = match self.features {
            Some(features) => vec![features],
            None => vec![self.image.channels, self.image.height, self.image.width],
        };
        let learned = tensors.iter().filter(|tensor| tensor.role.is_learned());
        let parameters = learned.fold(0_usize, |sum, tensor| sum.saturating_add(tensor.count()));
        let name = name.to_owned();
        self.layers.push(LayerSummary { name, description, output_shape, tensors, parameters, forward_flops });
    }
}

impl NormSpec {
    /// Why it cannot normalise such images, if it cannot.
    fn infer(self, image: ImageShape) -> Result<(), String> {
        match self {
            Self::Group(groups) if image.len() == groups => Err(format!(
                "normalises each value by itself, which makes all of them 0: its {groups} groups of {} channels of {}x{} \
                 have one value each",
                image.channels, image.height, image.width
            )),
            Self::None | Self::Batch | Self::Group(_) => Ok(()),
        }
    }

    /// Its tensors in its field of the module that `path` leads into.
    fn tensors(self, path: &str, channels: usize) -> Vec<TensorSummary> {
        let fields = [
            ("gamma", Role::NormScale),
            ("beta", Role::NormShift),
            ("running_mean", Role::RunningMean),
            ("running_var", Role::RunningVariance),
        ];
        let own = match self {
            Self::None => &fields[..0],
            Self::Batch => &fields[..],
            Self::Group(_) => &fields[..2],
        };
        let tensor = |(name, role): &(&str, Role)| {
            TensorSummary::new(format!("{path}{}.{name}", self.field()), *role, &[channels])
        };
        own.iter().map(tensor).collect()
    }

    fn describe(self) -> String {
        match self {
            Self::None => String::new(),
            Self::Batch => "batch norm".into(),
            Self::Group(groups) => format!("group norm ({groups})"),
        }
    }
}

impl ConvSpec {
    /// The size after this block and its work, or why it does not fit.
    fn infer(&self, input: ImageShape) -> Result<(ImageShape, u64), String> {
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
        self.norm.infer(output)?;
        match self.pool {
            false => Ok((output, flops)),
            true if height < 2 || width < 2 => {
                Err(format!("pools 2x2, but only {height}x{width} is left after its convolution of {size}"))
            }
            true => Ok((ImageShape { height: height / 2, width: width / 2, ..output }, flops)),
        }
    }

    /// The tensors of a [`ConvBlock`](super::ConvBlock) in the field `name`.
    fn tensors(&self, name: &str) -> Vec<TensorSummary> {
        let Self { channels_in, channels_out, kernel_size, .. } = *self;
        let tensor = |field: &str, role, shape: &[usize]| TensorSummary::new(format!("{name}.{field}"), role, shape);
        let kernel = tensor("conv.weight", Role::ConvKernel, &[channels_out, channels_in, kernel_size, kernel_size]);
        let mut tensors = vec![kernel];
        if self.bias {
            tensors.push(tensor("conv.bias", Role::Bias, &[channels_out]));
        }
        tensors.extend(self.norm.tensors(&format!("{name}."), channels_out));
        tensors
    }

    fn describe(&self) -> String {
        let mut text = format!("conv {0}x{0}", self.kernel_size);
        if self.stride > 1 {
            text += &format!(" stride {}", self.stride);
        }
        let norm = self.norm.describe();
        for (present, part) in
            [(self.norm != NormSpec::None, norm.as_str()), (self.relu, "ReLU"), (self.pool, "max-pool 2x2")]
        {
            if present {
                text += ", ";
                text += part;
            }
        }
        text
    }
}
