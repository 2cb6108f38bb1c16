//! Several networks that answer as one: with the mean of their probabilities, and so for several views of an image, which is
//! test-time augmentation. One network alone that sees the image itself is the usual case, and answers with its own logits.

use burn::module::Module as _;
use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Device, Tensor, TensorData};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use super::views::{TensorView, ValueView};
use super::{ForwardContext, LayerSummary, MOST_PARAMETERS, ModelConfig, Network, Weights, total_parameters};
use crate::data::preprocess::Preprocess;
use crate::data::{ImageShape, View};
use crate::logits::log_sum_exp;
use crate::ops::Compiled;
use crate::{Error, Result};

/// The most networks that answer as one.
pub const MOST_MEMBERS: usize = 64;

/// What the tensors of the members are called after.
const MEMBERS: &str = "members";

/// The word that stands in the place of a network's kind.
const KIND: &str = "ensemble";

/// What a model file is a model of: one network, or several whose answers are averaged.
#[derive(Clone, Debug, PartialEq)]
pub enum Composition {
    /// One network.
    Single(ModelConfig),
    /// At least two, whose mean probability is the answer.
    Ensemble(Vec<Member>),
}

/// One network of an ensemble.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its architecture.
    pub model: ModelConfig,
    /// Mean of its training pixels per channel: those of another seed are others.
    pub mean: Vec<f32>,
    /// Their standard deviation.
    pub std: Vec<f32>,
}

impl From<ModelConfig> for Composition {
    fn from(model: ModelConfig) -> Self {
        Self::Single(model)
    }
}

impl Composition {
    /// `ensemble`, or the kind of the one network.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Single(model) => model.kind(),
            Self::Ensemble(_) => KIND,
        }
    }

    /// What to call it in a sentence: "convnet", "ensemble of 5".
    pub fn words(&self) -> String {
        match self {
            Self::Single(model) => model.kind().to_owned(),
            Self::Ensemble(members) => format!("{KIND} of {}", members.len()),
        }
    }

    /// The architectures of the networks.
    pub fn models(&self) -> Vec<&ModelConfig> {
        match self {
            Self::Single(model) => vec![model],
            Self::Ensemble(members) => members.iter().map(|member| &member.model).collect(),
        }
    }

    /// The layers of all networks for images of this size and this many classes.
    ///
    /// # Errors
    /// A usage error when there are too few networks or too many, or one does not fit the images; when all together have too
    /// many parameters.
    pub fn layers(&self, input: ImageShape, classes: usize) -> Result<Vec<LayerSummary>> {
        let members = match self {
            Self::Single(model) => return model.layers(input, classes),
            Self::Ensemble(members) => members,
        };
        if !(2..=MOST_MEMBERS).contains(&members.len()) {
            return Err(Error::usage(format!(
                "an ensemble must have 2 to {MOST_MEMBERS} members, got {}",
                members.len()
            )));
        }
        let mut layers = Vec::new();
        for (index, member) in members.iter().enumerate() {
            let named = |layer: LayerSummary| LayerSummary { name: qualified(index, &layer.name), ..layer };
            layers.extend(member.model.layers(input, classes)?.into_iter().map(named));
        }
        let total = total_parameters(&layers);
        if total > MOST_PARAMETERS {
            return Err(Error::usage(format!(
                "the members must have at most {MOST_PARAMETERS} parameters together, got {total}"
            )));
        }
        Ok(layers)
    }

    /// The networks with `weights`, for inference on `device`, which is without autodiff, and for inputs made by `preprocess`.
    ///
    /// # Errors
    /// As [`layers`](Self::layers), and when a tensor is missing, unknown or of another shape.
    pub fn load(
        &self,
        preprocess: &Preprocess,
        classes: usize,
        weights: &Weights,
        device: &Device,
    ) -> Result<Ensemble> {
        let input = preprocess.shape;
        self.layers(input, classes)?;
        let configs = match self {
            Self::Single(model) => {
                let network = model.init(input, classes, device)?.load(weights)?.valid();
                return Ok(Ensemble { members: vec![Answering { network, conversion: None }], views: vec![None] });
            }
            Self::Ensemble(members) => members,
        };
        let mut known = 0;
        let mut members = Vec::new();
        for (index, member) in configs.iter().enumerate() {
            let own = member_weights(weights, index);
            known += own.len();
            let named = |error: Error| Error::usage(format!("member {index} of the ensemble")).caused_by(error);
            let network = member.model.init(input, classes, device)?.load(&own).map_err(named)?.valid();
            let conversion = Conversion::between(preprocess, &member.mean, &member.std, device);
            members.push(Answering { network, conversion });
        }
        if known < weights.len() {
            let is_member = |name: &str| (0..configs.len()).any(|index| own_name(name, index).is_some());
            let unknown = weights.iter().map(|(name, _)| name).find(|name| !is_member(name)).unwrap_or_default();
            return Err(Error::usage(format!("the ensemble has no tensor `{unknown}`")));
        }
        Ok(Ensemble { members, views: vec![None] })
    }

    /// The networks with these weights, prepared for inference on the CPU and for inputs made by `preprocess`: their answer is that
    /// of [`load`](Self::load) but for rounding.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub(crate) fn compile(
        &self,
        preprocess: &Preprocess,
        classes: usize,
        weights: &Weights,
    ) -> Result<CompiledEnsemble> {
        let input = preprocess.shape;
        let members = match self {
            Self::Single(model) => {
                vec![CompiledMember { network: model.compile(input, classes, weights)?, conversion: None }]
            }
            Self::Ensemble(members) => {
                let compiled = |(index, member): (usize, &Member)| {
                    let network = member.model.compile(input, classes, &member_weights(weights, index))?;
                    Ok(CompiledMember { network, conversion: factors(preprocess, &member.mean, &member.std) })
                };
                members.iter().enumerate().map(compiled).collect::<Result<_>>()?
            }
        };
        Ok(CompiledEnsemble { members, views: vec![None], classes, plane: input.height * input.width })
    }
}

/// The weights of all members as those of one ensemble: `members.0.output.weight`.
pub(crate) fn join_weights(members: &[&Weights]) -> Weights {
    let of = |(index, weights): (usize, &&Weights)| {
        weights.iter().map(|(name, tensor)| (qualified(index, name), tensor.clone())).collect::<Vec<_>>()
    };
    members.iter().enumerate().flat_map(of).collect()
}

/// The weights of one member, under the names that it has alone.
fn member_weights(weights: &Weights, index: usize) -> Weights {
    let own = weights.iter().filter_map(|(name, tensor)| Some((own_name(name, index)?.to_owned(), tensor.clone())));
    own.collect()
}

/// What the tensor `name` of a member is called in an ensemble.
pub(crate) fn qualified(index: impl std::fmt::Display, name: &str) -> String {
    format!("{MEMBERS}.{index}.{name}")
}

fn own_name(name: &str, index: usize) -> Option<&str> {
    name.strip_prefix(MEMBERS)?.strip_prefix('.')?.strip_prefix(&index.to_string())?.strip_prefix('.')
}

/// From inputs of one mean and deviation to those of another, `input * scale + shift`: both for each channel. None where nothing
/// is to be done.
///
/// `input = (pixel - mean) / std`, so that of the other is `(input * std + mean - other mean) / other std`.
fn factors(from: &Preprocess, mean: &[f32], std: &[f32]) -> Option<Vec<[f32; 2]>> {
    if from.mean == mean && from.std == std {
        return None;
    }
    let channels = from.mean.iter().zip(&from.std).zip(mean.iter().zip(std));
    let factors = channels.map(|((&from_mean, &from_std), (&mean, &std))| {
        let [from_mean, from_std, mean, std] = [from_mean, from_std, mean, std].map(f64::from);
        [(from_std / std) as f32, ((from_mean - mean) / std) as f32]
    });
    Some(factors.collect())
}

/// The same on tensors.
#[derive(Clone, Debug)]
pub(crate) struct Conversion {
    scale: Tensor<4>,
    shift: Tensor<4>,
}

impl Conversion {
    /// None where nothing is to be done.
    pub(crate) fn between(from: &Preprocess, mean: &[f32], std: &[f32], device: &Device) -> Option<Self> {
        let (scale, shift): (Vec<f32>, Vec<f32>) =
            factors(from, mean, std)?.into_iter().map(|[scale, shift]| (scale, shift)).unzip();
        let per_channel = |values: Vec<f32>| {
            let shape = [1, values.len(), 1, 1];
            Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
        };
        Some(Self { scale: per_channel(scale), shift: per_channel(shift) })
    }

    /// The inputs, `[batch, channels, height, width]`, as the other takes them.
    pub(crate) fn apply(&self, images: Tensor<4>) -> Tensor<4> {
        images * self.scale.clone() + self.shift.clone()
    }
}

/// Networks that answer as one, without autodiff.
#[derive(Debug)]
pub struct Ensemble {
    members: Vec<Answering>,
    /// What they are shown; none is the image itself.
    views: Vec<Option<TensorView>>,
}

/// A network, and what its inputs need.
#[derive(Debug)]
struct Answering {
    network: Network,
    conversion: Option<Conversion>,
}

impl Answering {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        self.network.forward(match &self.conversion {
            None => images,
            Some(conversion) => conversion.apply(images),
        })
    }
}

impl Ensemble {
    /// The networks.
    pub(crate) fn into_networks(self) -> Vec<Network> {
        self.members.into_iter().map(|member| member.network).collect()
    }

    /// The same networks, asked about these views of inputs made by `preprocess`.
    #[must_use]
    pub(crate) fn looking_at(self, views: &[View], preprocess: &Preprocess, device: &Device) -> Self {
        Self { views: views.iter().map(|view| TensorView::new(view, preprocess, device)).collect(), ..self }
    }

    /// Images, `[batch, channels, height, width]`, to logits, `[batch, classes]`. Of one network that sees the image itself they
    /// are its own; of several networks or views, the logarithm of the mean probability, computed so that no probability
    /// becomes 0.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        if let ([member], [None]) = (self.members.as_slice(), self.views.as_slice()) {
            return member.forward(images);
        }
        let seen = self.views.iter().map(|view| view.as_ref().map_or_else(|| images.clone(), |view| view.of(&images)));
        let of_all =
            |seen: Tensor<4>| self.members.iter().map(move |member| log_softmax(member.forward(seen.clone()), 1));
        let answers = seen.flat_map(of_all);
        let answers: Tensor<3> = Tensor::stack(answers.collect(), 2); // [batch, classes, views x members]
        // ln(mean(exp(l))) = m + ln(mean(exp(l - m))), with m the largest of each class
        let highest = answers.clone().max_dim(2); // [batch, classes, 1]
        let mean = (answers - highest.clone()).exp().mean_dim(2).log() + highest;
        mean.squeeze_dim(2)
    }

    /// What a network makes of the image itself within a [`ForwardContext`], with a hook: of one network alone.
    pub(crate) fn forward_in(&self, images: Tensor<4>, context: &mut ForwardContext) -> Option<Tensor<2>> {
        match self.members.as_slice() {
            [member] => Some(member.network.forward_in(images, context)),
            _ => None,
        }
    }

    /// See [`Network::folded`].
    #[must_use]
    pub(crate) fn folded(self) -> Self {
        let folded = |member: Answering| Answering { network: member.network.folded(), ..member };
        Self { members: self.members.into_iter().map(folded).collect(), ..self }
    }
}

/// Networks that answer as one, prepared for inference on the CPU.
#[derive(Debug)]
pub(crate) struct CompiledEnsemble {
    members: Vec<CompiledMember>,
    /// What they are shown; none is the image itself.
    views: Vec<Option<ValueView>>,
    classes: usize,
    /// Values of an input's channel.
    plane: usize,
}

/// A network, and what its inputs need: scale and shift of each channel.
#[derive(Debug)]
struct CompiledMember {
    network: Compiled,
    conversion: Option<Vec<[f32; 2]>>,
}

impl CompiledEnsemble {
    /// As [`Ensemble::looking_at`].
    #[must_use]
    pub(crate) fn looking_at(self, views: &[View], preprocess: &Preprocess) -> Self {
        Self { views: views.iter().map(|view| ValueView::new(view, preprocess)).collect(), ..self }
    }

    /// As [`Compiled::run`]; of several networks or views, the logits are as [`Ensemble::forward`] has them.
    pub(crate) fn run(&self, count: usize, batch: usize, fill: &(dyn Fn(usize, &mut [f32]) + Sync)) -> Vec<f32> {
        if let ([CompiledMember { network, .. }], [None]) = (self.members.as_slice(), self.views.as_slice()) {
            return network.run(count, batch, fill);
        }
        let mut answers: Vec<Vec<f32>> = Vec::with_capacity(self.views.len() * self.members.len());
        for view in &self.views {
            let seen = |first: usize, values: &mut [f32]| {
                fill(first, values);
                if let Some(view) = view {
                    view.replace(values);
                }
            };
            answers.extend(self.members.iter().map(|member| self.log_probabilities(member, count, batch, &seen)));
        }
        let mut of_members = vec![0.0; answers.len()];
        let mean = |place: usize| {
            of_members.iter_mut().zip(&answers).for_each(|(value, answer)| *value = answer[place]);
            (log_sum_exp(&of_members) - (answers.len() as f64).ln()) as f32
        };
        (0..count * self.classes).map(mean).collect()
    }

    /// The logarithms of the probabilities that one network gives.
    fn log_probabilities(
        &self,
        member: &CompiledMember,
        count: usize,
        batch: usize,
        fill: &(dyn Fn(usize, &mut [f32]) + Sync),
    ) -> Vec<f32> {
        let logits = member.network.run(count, batch, &|first, values| {
            fill(first, values);
            let Some(channels) = &member.conversion else { return };
            for (plane, [scale, shift]) in values.chunks_exact_mut(self.plane).zip(channels.iter().cycle()) {
                plane.iter_mut().for_each(|value| *value = *value * scale + shift);
            }
        });
        let rows = logits.chunks_exact(self.classes);
        rows.flat_map(|row| {
            let sum = log_sum_exp(row);
            row.iter().map(move |logit| (f64::from(*logit) - sum) as f32)
        })
        .collect()
    }
}

impl Serialize for Composition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Single(model) => model.serialize(serializer),
            Self::Ensemble(members) => json!({ "kind": KIND, MEMBERS: members }).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Composition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Members {
            #[serde(rename = "kind")]
            _kind: String,
            members: Vec<Member>,
        }
        let value = Value::deserialize(deserializer)?;
        if value.get("kind").and_then(Value::as_str) == Some(KIND) {
            let Members { members, .. } = serde_json::from_value(value).map_err(D::Error::custom)?;
            return Ok(Self::Ensemble(members));
        }
        serde_json::from_value(value).map(Self::Single).map_err(D::Error::custom)
    }
}
