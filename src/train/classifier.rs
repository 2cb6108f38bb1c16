//! One training step: forward, loss, backward, update. The only implementation of Burn's `TrainStep` and
//! `InferenceStep`.

use std::sync::Arc;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{DType, Tensor};
use burn::train::{ClassificationOutput, InferenceStep, TrainOutput, TrainStep};

use super::distillation::Teacher;
use crate::config::Precision;
use crate::data::batch::{Batch, Mixed};
use crate::models::{Activation, ForwardContext, Network, ParameterPath};
use crate::ops;
use crate::optimizers::Together;
use crate::seed::{Purpose, Stream};
use crate::{Error, Result};

/// What a step needs besides the network.
#[derive(Clone, Debug)]
pub struct StepSettings {
    /// Share of the target spread over all classes.
    pub label_smoothing: f32,
    /// The largest norm of all gradients together.
    pub clip_norm: Option<f32>,
    /// What the network computes in.
    pub precision: Precision,
    /// What an image of each class counts in the training loss, where they differ.
    pub class_weights: Option<Arc<[f32]>>,
    /// Where dropout masks come from.
    pub dropout: Stream,
}

impl StepSettings {
    /// The settings that an experiment asks for, whose training images of each class are `counts`.
    pub fn new(experiment: &crate::config::Experiment, counts: &[usize]) -> Self {
        let weights = experiment.loss.class_weights.of(counts);
        Self {
            class_weights: weights.map(|weights| weights.into_iter().map(|weight| weight as f32).collect()),
            label_smoothing: experiment.loss.label_smoothing as f32,
            clip_norm: experiment.train.clip_norm.map(|norm| norm as f32),
            precision: experiment.train.precision,
            dropout: Stream::new(experiment.seed, Purpose::Dropout),
        }
    }
}

/// What the loss compares the network's answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Objective {
    /// The labels as they are.
    Labels,
    /// The labels as training smooths and weights them, and the teacher's answers where there is a teacher.
    Training,
}

/// The network with what training it needs.
#[derive(Module, Debug)]
pub struct Classifier {
    /// What is trained.
    pub network: Network,
    #[module(skip)]
    settings: StepSettings,
    /// Updates all parameters at once, where that is worth it.
    #[module(skip)]
    together: Option<Together>,
    #[module(skip)]
    teacher: Option<Arc<Teacher>>,
    /// The place in the batch of the first image that it sees, where another sees those before it.
    #[module(skip)]
    first_image: usize,
}

impl Classifier {
    /// A classifier that trains `network`.
    pub fn new(network: Network, settings: StepSettings) -> Self {
        Self { network, settings, together: None, teacher: None, first_image: 0 }
    }

    /// The same with all parameters updated by `together`, if any, and not one by one.
    #[must_use]
    pub(crate) fn updated(self, together: Option<Together>) -> Self {
        Self { together, ..self }
    }

    /// What updates all parameters at once.
    pub(crate) fn together(&self) -> Option<&Together> {
        self.together.as_ref()
    }

    /// The same, learning from a teacher besides the labels.
    #[must_use]
    pub(super) fn taught_by(self, teacher: Option<Arc<Teacher>>) -> Self {
        Self { teacher, ..self }
    }

    /// The same for the part of each batch that begins with this image: dropout masks are those of the whole batch.
    #[must_use]
    pub(super) fn with_first_image(self, first_image: usize) -> Self {
        Self { first_image, ..self }
    }

    /// The place in the batch of the first image that it sees.
    pub(super) fn first_image(&self) -> usize {
        self.first_image
    }

    /// Forward pass and loss of one batch: the mean cross-entropy over its images, shape `[1]`, and the logits,
    /// `[batch, classes]`. The cross-entropy is linear in its target, so that of an image with two labels is the mean of both by
    /// their shares. In training each image counts as much as its label says.
    fn forward(&self, batch: Batch, context: &mut ForwardContext, objective: Objective) -> ClassificationOutput {
        let teacher = match objective {
            Objective::Labels => None,
            Objective::Training => self.teacher.as_ref(),
        };
        let answers = teacher.map(|teacher| teacher.answers(&batch.images));
        let images = match objective {
            Objective::Labels => batch.images,
            Objective::Training => batch.images.cast(self.settings.precision.dtype()),
        };
        let logits = self.network.forward_in(images, context).cast(DType::F32);
        let of = |targets| match (objective, &self.settings.class_weights) {
            (Objective::Labels, _) => ops::cross_entropy(logits.clone(), targets, 0.0),
            (Objective::Training, None) => ops::cross_entropy(logits.clone(), targets, self.settings.label_smoothing),
            (Objective::Training, Some(weights)) => {
                ops::weighted_cross_entropy(logits.clone(), targets, self.settings.label_smoothing, weights)
            }
        };
        let loss = match batch.mixed {
            None => of(batch.targets.clone()),
            Some(Mixed { targets, share }) => {
                of(batch.targets.clone()).mul_scalar(1.0 - share) + of(targets).mul_scalar(share)
            }
        };
        let loss = match (teacher, answers) {
            (Some(teacher), Some(answers)) => teacher.blend(loss, answers, &logits),
            _ => loss,
        };
        ClassificationOutput { loss, output: logits, targets: batch.targets }
    }

    /// The same as in training, dropout and label smoothing included, with `hook` called for every layer.
    pub fn forward_with_hook(&self, batch: Batch, hook: &mut dyn FnMut(&str, Activation)) -> ClassificationOutput {
        let context = self.training_context(&batch);
        self.forward(batch, &mut context.with_hook(hook), Objective::Training)
    }

    /// The context in which `batch` is trained on: it fixes the dropout masks.
    fn training_context<'a>(&self, batch: &Batch) -> ForwardContext<'a> {
        let seed = self.settings.dropout.number(batch.epoch, batch.iteration);
        ForwardContext::training(seed).with_first_image(self.first_image)
    }
}

impl TrainStep for Classifier {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> TrainOutput<ClassificationOutput> {
        let weight = batch.weight;
        let mut context = self.training_context(&batch);
        let output = self.forward(batch, &mut context, Objective::Training);
        // Burn adds up the gradients of an accumulation window; weighted by its share of the window's images, each
        // batch contributes to their mean.
        let objective = if weight == 1.0 { output.loss.clone() } else { output.loss.clone().mul_scalar(weight) };
        TrainOutput::new(self, objective.backward(), output)
    }

    fn optimize(self, optimizer: &mut ModuleOptimizer, rate: ModuleLearningRate, gradients: GradientsParams) -> Self {
        let gradients = match self.settings.clip_norm {
            Some(limit) => clip(&self, gradients, limit),
            None => gradients,
        };
        match self.together.clone() {
            Some(together) => together.step(rate.base(), self, gradients),
            None => optimizer.step(rate, self, gradients),
        }
    }
}

impl InferenceStep for Classifier {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> ClassificationOutput {
        self.forward(batch, &mut ForwardContext::inference(), Objective::Labels)
    }
}

/// Scales all gradients by `limit / norm` when their global L2 norm exceeds `limit` (Pascanu et al., 2013).
fn clip(classifier: &Classifier, mut gradients: GradientsParams, limit: f32) -> GradientsParams {
    let mut total = SumOfSquares { gradients: &gradients, sum: None };
    classifier.visit(&mut total);
    let Some(sum) = total.sum else { return gradients };
    // The small number keeps an all-zero gradient from dividing by zero.
    let factor = (sum.sqrt() + 1e-6).recip().mul_scalar(limit).clamp_max(1.0);
    classifier.visit(&mut Scale { gradients: &mut gradients, factor });
    gradients
}

struct SumOfSquares<'a> {
    gradients: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for SumOfSquares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let squares = (gradient.clone() * gradient).sum();
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum + squares,
                None => squares,
            });
        }
    }
}

struct Scale<'a> {
    gradients: &'a mut GradientsParams,
    factor: Tensor<1>,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.gradients.register(param.id, gradient * self.factor.clone().reshape([1; D]));
        }
    }
}

/// The L2 norm of one parameter's gradient.
#[derive(Clone, Debug)]
pub struct GradientNorm {
    /// The parameter's path in the network.
    pub name: String,
    /// The norm of the gradient.
    pub gradient: f64,
}

/// The gradient norm of every parameter of `classifier`, in the order of the network.
pub fn gradient_norms(classifier: &Classifier, gradients: &GradientsParams) -> Vec<GradientNorm> {
    let mut visitor = Norms { gradients, path: ParameterPath::default(), found: Vec::new() };
    classifier.network.visit(&mut visitor);
    visitor.found
}

struct Norms<'a> {
    gradients: &'a GradientsParams,
    path: ParameterPath,
    found: Vec<GradientNorm>,
}

impl ModuleVisitor for Norms<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            self.found.push(GradientNorm { name: self.path.name(), gradient: norm(gradient) });
        }
    }
}

/// The gradient of the parameter of that name, in row-major order; nothing when it has none.
///
/// # Errors
/// When the device fails.
pub fn gradient_values(classifier: &Classifier, gradients: &GradientsParams, name: &str) -> Result<Vec<f32>> {
    let mut visitor = Values { gradients, path: ParameterPath::default(), name, found: Ok(Vec::new()) };
    classifier.network.visit(&mut visitor);
    visitor.found
}

struct Values<'a> {
    gradients: &'a GradientsParams,
    path: ParameterPath,
    name: &'a str,
    found: Result<Vec<f32>>,
}

impl ModuleVisitor for Values<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.path.name() == self.name
            && let Some(gradient) = self.gradients.get::<D>(param.id)
        {
            self.found = gradient
                .try_into_vec_as::<f32>()
                .map_err(|error| Error::failed("a gradient cannot be read from the device").caused_by(error));
        }
    }
}

/// The L2 norm of a tensor of any rank.
pub fn norm<const D: usize>(tensor: Tensor<D>) -> f64 {
    f64::from((tensor.clone() * tensor).sum().sqrt().into_scalar::<f32>())
}
