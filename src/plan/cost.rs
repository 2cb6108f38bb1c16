//! What a run takes in memory.

use serde::Serialize;

use super::{Images, PlannedTeacher};
use crate::config::Experiment;
use crate::models::{LayerSummary, TensorSummary, total_parameters};
use crate::optimizers::UpdateRule;

/// Bytes of one number: kiln computes in 32-bit floats.
pub(super) const FLOAT: u64 = 4;

/// Copies of a layer's output that backward needs or makes: the output of the weights, that of norm and ReLU, and a
/// gradient.
const COPIES: u64 = 3;

/// Whether a device has a memory apart from that of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnMemory {
    /// All devices are the same CPU.
    No,
    /// A card each.
    Yes,
}

/// Memory in training, in bytes. An estimate: allocators and kernels keep some more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The parameters.
    pub parameters: u64,
    /// A gradient for each.
    pub gradients: u64,
    /// What the optimizer keeps for each.
    pub optimizer: u64,
    /// The average of the parameters, where there is one.
    pub average: u64,
    /// The outputs of all layers for one batch, kept for back propagation.
    pub activations: u64,
    /// The training, validation and test images, a byte per pixel.
    pub images: u64,
    /// The parameters of the teacher, where there is one.
    pub teacher: u64,
    /// Gradients of the devices beside the first, and their parameters where they have a memory of their own.
    pub replicas: u64,
    /// All of it.
    pub total: u64,
}

impl Memory {
    pub(super) fn estimate(experiment: &Experiment, images: &Images, layers: &[LayerSummary]) -> Self {
        let parameters = total_parameters(layers) as u64 * FLOAT;
        let per_image = images.shape.len() as u64 + COPIES * layers.iter().map(values).sum::<u64>();
        let rules = experiment.optimizer.assign(layers);
        let kept = |(rule, tensors): &(UpdateRule, Vec<&TensorSummary>)| {
            tensors.iter().map(|tensor| tensor.count() * rule.state).sum::<usize>()
        };
        let optimizer = rules.iter().map(kept).sum::<usize>() as u64 * FLOAT;
        let average = if experiment.train.ema.is_some() { parameters } else { 0 };
        let activations = per_image * experiment.train.batch_size as u64 * FLOAT;
        let bytes = (images.train + images.validation + images.test) as u64 * images.shape.len() as u64;
        Self {
            parameters,
            gradients: parameters,
            optimizer,
            average,
            activations,
            images: bytes,
            teacher: 0,
            replicas: 0,
            total: 2 * parameters + optimizer + average + activations + bytes,
        }
    }
}

impl Memory {
    /// Adds what a teacher takes: its activations are not kept.
    pub(super) fn add_teacher(&mut self, teacher: &PlannedTeacher) {
        self.teacher = teacher.parameters as u64 * FLOAT;
        self.total += self.teacher;
    }

    /// Adds what so many more devices take, with a memory of their own or in the same. A batch's activations are as many on all
    /// of them together.
    pub(super) fn add_replicas(&mut self, devices: usize, own_memory: OwnMemory) {
        let parameters = match own_memory {
            OwnMemory::No => 0,
            OwnMemory::Yes => self.parameters + self.teacher,
        };
        let added = devices as u64 * (self.gradients + parameters);
        self.replicas += added;
        self.total += added;
    }
}

/// Values that the layer's weights put out for one image, before pooling: a weight is used once, with two operations, at
/// every position of the output.
fn values(layer: &LayerSummary) -> u64 {
    let positions = layer.forward_flops / (2 * layer.parameters.max(1) as u64);
    let channels = layer.output_shape.first().copied().unwrap_or(1) as u64;
    (positions * channels).max(layer.output_shape.iter().product::<usize>() as u64)
}
