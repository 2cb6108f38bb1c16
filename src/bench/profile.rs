//! Where the time of a training step goes: every operation of its forward and backward pass, the update and the batch,
//! against what this machine can do at best.

use std::time::Instant;

use burn::data::dataloader::DataLoader as _;
use serde::Serialize;

use super::Effort;
use crate::data::batch::Batch;
use crate::data::loader::EpochLoader;
use crate::lifecycle::Trainer;
use crate::ops::profile::{self, Operation, Pass, Peak, Record};
use crate::train::session::ClassifierLearner;
use crate::{Error, Result};

/// The training step of an experiment, taken apart.
#[derive(Clone, Debug, Serialize)]
pub struct Profile {
    /// The best that this machine can do.
    pub peak: Peak,
    /// Images in a batch.
    pub batch_size: usize,
    /// Steps that were measured.
    pub steps: usize,
    /// Seconds of a step as it is in training.
    pub step_seconds: f64,
    /// Seconds of a step while its operations are recorded, which all shares are of. It is longer, above all because a
    /// convolution's two gradients are then computed one after the other.
    pub profiled_step_seconds: f64,
    /// The operations in their order.
    pub operations: Vec<OperationCost>,
    /// Seconds of a profiled step outside of all operations: the graph, allocations, Burn's own operations.
    pub rest_seconds: f64,
    /// Their share of the profiled step, 0 to 1.
    pub rest_share: f64,
}

/// What an operation takes in a step.
#[derive(Clone, Debug, Serialize)]
pub struct OperationCost {
    /// Where in the step.
    pub pass: Pass,
    /// The layer, as the network names it; empty for what belongs to none.
    pub layer: String,
    /// What it is.
    pub operation: &'static str,
    /// The sizes that it works on, for one image.
    pub shape: String,
    /// How often a step does it.
    pub calls: usize,
    /// Seconds in a step.
    pub seconds: f64,
    /// Share of the profiled step, 0 to 1.
    pub share: f64,
    /// Floating-point operations in a step, as the plan counts them.
    pub flops: u64,
    /// Bytes of the arrays in and out, in a step.
    pub bytes: u64,
    /// Floating-point operations per second.
    pub flops_per_second: f64,
    /// The same as a share of the peak.
    pub of_peak_flops: f64,
    /// Bytes per second.
    pub bytes_per_second: f64,
    /// The same as a share of the peak; above 1 where the arrays are in a cache.
    pub of_peak_bytes: f64,
}

/// Takes the training step of what `trainer` would train apart.
///
/// # Errors
/// A usage error where kiln has no operations of its own; when the device fails.
pub fn profile(trainer: &Trainer, effort: Effort) -> Result<Profile> {
    let session = trainer.session();
    let batch_size = session.experiment.train.batch_size;
    // Whole batches only, so that every step does the same.
    let whole = session.plan.images.train / batch_size;
    let steps = effort.images.div_ceil(batch_size).min(session.plan.iterations_per_epoch).min(whole).max(1);
    let (mut learner, loader) = session.learner()?;
    let bytes = 5 * batch_size * trainer.dataset().train.shape.len();
    let mut round = || run(&mut learner, &loader, steps, bytes as u64);
    round()?;
    let (mut plain, mut shortest) = (f64::INFINITY, (f64::INFINITY, Vec::new()));
    for _ in 0..effort.rounds {
        plain = plain.min(round()?);
        let (seconds, records) = profile::record(&mut round);
        let seconds = seconds?;
        if seconds < shortest.0 {
            shortest = (seconds, records);
        }
    }
    let (seconds, records) = shortest;
    if !records.iter().any(|record| record.pass == Pass::Forward) {
        return Err(Error::usage(format!(
            "--profile: {} computes with Burn's operations, whose time kiln does not see",
            trainer.device().name
        ))
        .tip("profile on the CPU, with --device flex and without KILN_STOCK_OPS"));
    }
    Ok(Profile::new(batch_size, steps, [plain, seconds], records))
}

/// Trains for `steps` steps, with batches that it makes, and returns the seconds that it took.
fn run(learner: &mut ClassifierLearner, loader: &EpochLoader, steps: usize, bytes: u64) -> Result<f64> {
    loader.set_position(1, 0);
    let mut batches = loader.iter();
    let mut next = || {
        let describe = || Operation {
            pass: Pass::Data,
            name: "batch",
            shape: String::new(),
            layer: None,
            key: 0,
            flops: 0,
            bytes,
        };
        profile::measured(describe, || batches.next())
    };
    let started = Instant::now();
    for _ in 0..steps {
        let Some(batch) = next() else { break };
        let batch: Batch = batch.map_err(|error| Error::failed("cannot make a batch").caused_by(error.to_string()))?;
        let step = learner.train_step(batch);
        learner.lr_step();
        learner.optimizer_step(step.grads);
    }
    Ok(started.elapsed().as_secs_f64())
}

impl Profile {
    fn new(batch_size: usize, steps: usize, [plain, profiled]: [f64; 2], records: Vec<Record>) -> Self {
        let peak = Peak::measure();
        let profiled_step_seconds = profiled / steps as f64;
        let mut operations: Vec<OperationCost> = Vec::new();
        for record in records {
            match operations.iter_mut().find(|operation| operation.is_of(&record)) {
                Some(operation) => operation.add(&record),
                None => operations.push(OperationCost::new(record)),
            }
        }
        for operation in &mut operations {
            operation.finish(steps, profiled_step_seconds, &peak);
        }
        let rest_seconds = profiled_step_seconds - operations.iter().map(|operation| operation.seconds).sum::<f64>();
        Self {
            peak,
            batch_size,
            steps,
            step_seconds: plain / steps as f64,
            profiled_step_seconds,
            operations,
            rest_seconds,
            rest_share: rest_seconds / profiled_step_seconds,
        }
    }
}

impl OperationCost {
    fn new(record: Record) -> Self {
        let Record { pass, name: operation, layer, shape, flops, bytes, seconds, .. } = record;
        Self {
            pass,
            layer,
            operation,
            shape,
            calls: 1,
            seconds,
            share: 0.0,
            flops,
            bytes,
            flops_per_second: 0.0,
            of_peak_flops: 0.0,
            bytes_per_second: 0.0,
            of_peak_bytes: 0.0,
        }
    }

    fn is_of(&self, record: &Record) -> bool {
        let own = (self.pass, self.operation, self.layer.as_str(), self.shape.as_str());
        own == (record.pass, record.name, record.layer.as_str(), record.shape.as_str())
    }

    fn add(&mut self, record: &Record) {
        self.calls += 1;
        self.seconds += record.seconds;
        self.flops += record.flops;
        self.bytes += record.bytes;
    }

    /// From sums over all steps to the figures of one.
    fn finish(&mut self, steps: usize, step_seconds: f64, peak: &Peak) {
        self.calls /= steps;
        self.flops /= steps as u64;
        self.bytes /= steps as u64;
        self.seconds /= steps as f64;
        self.share = self.seconds / step_seconds;
        self.flops_per_second = self.flops as f64 / self.seconds;
        self.of_peak_flops = self.flops_per_second / peak.flops_per_second;
        self.bytes_per_second = self.bytes as f64 / self.seconds;
        self.of_peak_bytes = self.bytes_per_second / peak.bytes_per_second;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Experiment;
    use crate::models::ModelConfig;

    const BATCH: u64 = 8;

    /// None where Burn's operations compute, which is refused.
    fn profiled(model: ModelConfig) -> Option<(Trainer, Profile)> {
        let settings = [
            "data.train=48",
            "data.test=10",
            "data.validation=8",
            "data.height=28",
            "data.width=28",
            "train.batch_size=8",
            "train.epochs=1",
            "device=flex",
        ];
        let mut experiment = Experiment::preset("smoke").unwrap().with(&settings).unwrap();
        experiment.model = model;
        let trainer = Trainer::new(experiment).unwrap();
        let profile = profile(&trainer, Effort { rounds: 1, images: 24 });
        if crate::ops::in_use() == "stock" {
            assert!(profile.unwrap_err().to_string().contains("whose time kiln does not see"));
            return None;
        }
        Some((trainer, profile.unwrap()))
    }

    fn flops_of(profile: &Profile, layer: &str, pass: Pass) -> u64 {
        let parts = profile.operations.iter().filter(|part| part.layer == layer && part.pass == pass);
        parts.map(|part| part.flops).sum()
    }

    #[test]
    fn every_layer_of_every_network_is_there_with_the_plans_arithmetic() {
        for model in ModelConfig::examples() {
            let kind = model.kind();
            let Some((trainer, profile)) = profiled(model) else { continue };
            assert_eq!(profile.steps, 3);
            let layers = trainer.plan().layers.iter().filter(|layer| layer.forward_flops > 0);
            for (index, layer) in layers.enumerate() {
                let forward = BATCH * layer.forward_flops;
                assert_eq!(flops_of(&profile, &layer.name, Pass::Forward), forward, "{kind}: {}", layer.name);
                // Nobody asks for the gradient of the images.
                let gradients = if index == 0 { 1 } else { 2 };
                assert_eq!(
                    flops_of(&profile, &layer.name, Pass::Backward),
                    gradients * forward,
                    "{kind}: {}",
                    layer.name
                );
            }
            let passes = profile.operations.iter().map(|part| part.pass);
            assert_eq!([Pass::Data, Pass::Update].map(|pass| passes.clone().filter(|it| *it == pass).count()), [1, 1]);
            let unknown = profile.operations.iter().filter(|part| part.layer.is_empty());
            assert_eq!(unknown.count(), 2, "{kind}: only the batch and the update belong to no layer: {profile:#?}");
        }
    }

    #[test]
    fn the_shares_add_up_to_the_step() {
        let Some((_, profile)) = profiled(ModelConfig::default()) else { return };
        let shares = profile.operations.iter().map(|part| part.share).sum::<f64>() + profile.rest_share;
        assert!((shares - 1.0).abs() < 1e-9, "{shares}");
        assert!(profile.rest_share > 0.0, "operations do not overlap: {}", profile.rest_share);
        let Peak { flops_per_second, one_thread_flops_per_second, bytes_per_second, .. } = profile.peak;
        assert!(flops_per_second > 0.0 && one_thread_flops_per_second > 0.0 && bytes_per_second > 0.0);
        for part in &profile.operations {
            assert!(part.seconds > 0.0 && part.bytes > 0 && part.calls > 0, "{part:?}");
            let rate = part.flops as f64 / part.seconds;
            assert!((part.flops_per_second - rate).abs() <= 1e-9 * rate, "{part:?}");
            assert!((part.of_peak_bytes * bytes_per_second * part.seconds / part.bytes as f64 - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn the_parts_of_a_block_are_told_apart_by_their_sizes() {
        let resnet = ModelConfig::examples().into_iter().find(|model| model.kind() == "resnet").unwrap();
        let Some((_, profile)) = profiled(resnet) else { return };
        let shapes =
            profile.operations.iter().filter(|part| part.layer == "blocks.1" && part.operation == "convolution");
        let mut shapes = shapes.map(|part| part.shape.as_str()).collect::<Vec<_>>();
        shapes.sort_unstable();
        assert_eq!(
            shapes,
            ["4x28x28 -> 6x14x14, 1x1 stride 2", "4x28x28 -> 6x14x14, 3x3 stride 2", "6x14x14 -> 6x14x14, 3x3"]
        );
    }
}
