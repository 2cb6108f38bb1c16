//! The arithmetic of a run, before it runs: batches, iterations and epochs, how often each image is seen, the learning
//! rate, the network's size and work, memory. Nothing here touches data or a device.

mod contradictions;
mod cost;
mod render;
mod sharing;

use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::Result;
use crate::config::{Experiment, Precision};
use crate::data::{self, Dataset, ImageShape, Sampling, TestTimeAugmentationConfig};
use crate::models::{self, LayerSummary, TensorSummary};
use crate::optimizers::UpdateRule;

pub use cost::Memory;
pub(crate) use render::bytes;
pub use sharing::Sharing;

/// Points of the learning-rate curve that the plan keeps.
const CURVE_POINTS: usize = 40;

/// What there is to train on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Images {
    /// Images to learn from, after validation was taken out.
    pub train: usize,
    /// Images to choose the best epoch by.
    pub validation: usize,
    /// Images to measure the finished model on.
    pub test: usize,
    /// The size of each.
    pub shape: ImageShape,
    /// The classes.
    pub classes: usize,
    /// Images to learn from of the smallest class that has any, and of the largest.
    pub of_class: [usize; 2],
    /// Images to learn from of each class, by label.
    #[serde(skip)]
    pub class_counts: Vec<usize>,
    /// The names of the classes.
    #[serde(skip)]
    pub class_names: Arc<[String]>,
    /// Whether the names of the classes say that a mirror makes one into another, or into none.
    #[serde(skip)]
    pub differ_in_a_mirror: bool,
}

impl Images {
    /// The images of an opened data set.
    pub fn of(dataset: &Dataset) -> Self {
        let class_counts = dataset.train.class_counts();
        let counts: Vec<_> = class_counts.iter().filter(|count| **count > 0).collect();
        Self {
            train: dataset.train.len(),
            validation: dataset.validation.len(),
            test: dataset.test.len(),
            shape: dataset.train.shape,
            classes: dataset.train.classes.len(),
            of_class: [counts.iter().min(), counts.iter().max()].map(|count| count.map_or(0, |count| **count)),
            class_counts,
            class_names: dataset.train.classes.clone(),
            differ_in_a_mirror: data::differ_in_a_mirror(&dataset.train.classes),
        }
    }
}

/// A run in numbers.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The experiment's name.
    pub name: String,
    /// `model.kind`.
    pub model: String,
    /// `optimizer.kind`.
    pub optimizer: String,
    /// The images.
    pub images: Images,
    /// Images in a batch.
    pub batch_size: usize,
    /// Batches whose gradients make one update.
    pub accumulation: usize,
    /// Images behind one update: `batch_size * accumulation`.
    pub effective_batch_size: usize,
    /// Batches in one pass over the training images: images / batch_size, rounded up, or down with `drop_last`.
    pub batches_per_pass: usize,
    /// Images in the last batch of a pass.
    pub last_batch_size: usize,
    /// Images that `drop_last` leaves out of each pass.
    pub dropped_per_pass: usize,
    /// Iterations in one epoch: `batches_per_pass` unless overridden.
    pub iterations_per_epoch: usize,
    /// Epochs in the run.
    pub epochs: usize,
    /// Iterations in the run.
    pub total_iterations: usize,
    /// Updates of the parameters in one epoch.
    pub updates_per_epoch: usize,
    /// Updates in the run.
    pub total_updates: usize,
    /// Which images an epoch shows.
    pub sampling: Sampling,
    /// How often the images are seen, where every one is seen as often.
    pub seen: Seen,
    /// How often an image of the smallest class, and one of the largest, is seen in an epoch, on average.
    pub seen_of_class: [f64; 2],
    /// The same of every class, by label.
    pub of_each_class: Vec<OfClass>,
    /// What distorts the training images, in order.
    pub augmentation: Vec<String>,
    /// How images of a batch are mixed with each other, if they are.
    pub mixing: Option<String>,
    /// What a training step computes in.
    pub precision: Precision,
    /// Decay of the average of the weights that is validated and kept, if there is one.
    pub ema: Option<f64>,
    /// The learning rate over the run.
    pub learning_rate: LearningRate,
    /// How the optimizer updates which of the parameters.
    pub update_rules: Vec<PlannedRule>,
    /// Learned values of the network.
    pub parameters: usize,
    /// Floating-point operations of the forward pass for one image.
    pub forward_flops_per_image: u64,
    /// Floating-point operations of the backward pass for one image, taken as twice the forward pass: each layer computes
    /// a gradient for its weights and one for its input, and either takes as many as the forward pass.
    pub backward_flops_per_image: u64,
    /// Floating-point operations of all forward and backward passes of the run.
    pub total_flops: f64,
    /// The model that is learned from besides the labels, if there is one.
    pub teacher: Option<PlannedTeacher>,
    /// What an answer of the finished model is the mean over, if not of the image alone.
    pub views: Option<PlannedViews>,
    /// How each batch is shared out among several devices, if it is.
    pub sharing: Option<Sharing>,
    /// Memory in training, an estimate.
    pub memory: Memory,
    /// Bytes of one checkpoint: parameters and the optimizer's moments.
    pub checkpoint_bytes: u64,
    /// The network, layer by layer.
    #[serde(serialize_with = "layers")]
    pub layers: Vec<LayerSummary>,
    /// What is allowed but should be known.
    pub warnings: Vec<String>,
}

/// How often the images of a class are seen, and what they count.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OfClass {
    /// The class.
    pub name: String,
    /// Images of it to learn from.
    pub images: usize,
    /// How often one of them is seen in an epoch, on average.
    pub seen_per_epoch: f64,
    /// What one of them counts in the training loss; on average over all training images, 1.
    pub weight: f64,
}

/// A model whose answers are learned from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedTeacher {
    /// What it is: "convnet", "ensemble of 5".
    pub model: String,
    /// Its learned values.
    pub parameters: usize,
    /// Floating-point operations of its answer for one image, over all of its views; it has no backward pass.
    pub forward_flops_per_image: u64,
    /// Its share of the loss.
    pub weight: f64,
    /// What both models' logits are divided by.
    pub temperature: f64,
}

/// Views of an image, over which the finished model's answer is the mean. Training and its validation see the image alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedViews {
    /// How many, the image itself counted: so many times the work of one.
    pub count: usize,
    /// What they are.
    pub words: String,
    /// Floating-point operations of an answer: the forward passes for all of them.
    pub answer_flops: u64,
}

impl PlannedViews {
    fn of(views: &TestTimeAugmentationConfig, forward: u64) -> Option<Self> {
        let count = views.views();
        let answer_flops = forward.saturating_mul(count as u64);
        views.words().map(|words| Self { count, words, answer_flops })
    }
}

/// How often the training images are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Images shown in one epoch, repeats counted.
    pub images_per_epoch: usize,
    /// How often an image is seen in one epoch, at least.
    pub least_per_epoch: usize,
    /// How often an image is seen in one epoch, at most.
    pub most_per_epoch: usize,
    /// Images that are seen `most_per_epoch` times in an epoch, where that is more than `least_per_epoch`.
    pub images_seen_most: usize,
}

/// The learning rate over a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LearningRate {
    /// `schedule.kind`.
    pub schedule: String,
    /// Of the first update.
    pub first: f64,
    /// The highest.
    pub peak: f64,
    /// The first update with the highest rate, counted from 1.
    pub peak_update: usize,
    /// Of the last update.
    pub last: f64,
    /// Updates of the warm-up.
    pub warmup_updates: usize,
    /// The rate at equal distances over the run, the first and the last update included.
    pub curve: Vec<f64>,
    /// Where something changes.
    pub milestones: Vec<Milestone>,
}

/// How the optimizer updates some of the parameters.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedRule {
    /// The rule: "AdamW".
    pub rule: &'static str,
    /// Its learning rate at the schedule's peak.
    pub peak: f64,
    /// Learned values that it updates.
    pub parameters: usize,
    /// The tensors that they are in.
    pub tensors: Vec<String>,
}

/// A point of the run where the learning rate's course changes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Milestone {
    /// Updates done.
    pub update: usize,
    /// The same in epochs.
    pub epoch: f64,
    /// What happens.
    pub event: String,
    /// The rate of the next update, or of the last one at the run's end.
    pub learning_rate: f64,
}

impl Plan {
    /// Plans `experiment` on `images`.
    ///
    /// # Errors
    /// One usage error with every value that is out of range and every contradiction, each with its key and its fix.
    pub fn new(experiment: &Experiment, images: Images) -> Result<Self> {
        let cut = Cut::new(experiment, &images);
        contradictions::refuse(experiment, &images, &cut)?;
        let layers = experiment.model.layers(images.shape, images.classes)?;
        let train = &experiment.train;
        let parameters = models::total_parameters(&layers);
        let forward = models::total_forward_flops(&layers);
        let updates_per_epoch = cut.iterations / train.accumulation;
        let total_updates = updates_per_epoch * train.epochs;
        let memory = Memory::estimate(experiment, &images, &layers);
        let seen = cut.seen(&images);
        let learning_rate = LearningRate::new(experiment, total_updates, updates_per_epoch);
        Ok(Self {
            name: experiment.name.clone(),
            model: experiment.model.kind().into(),
            optimizer: experiment.optimizer.kind().into(),
            seen_of_class: images.of_class.map(|count| cut.seen_of_class(experiment.train.sampling, &images, count)),
            of_each_class: OfClass::all(experiment, &images, &cut),
            batch_size: train.batch_size,
            accumulation: train.accumulation,
            effective_batch_size: train.batch_size * train.accumulation,
            batches_per_pass: cut.per_pass,
            last_batch_size: cut.last_batch_size,
            dropped_per_pass: cut.dropped,
            iterations_per_epoch: cut.iterations,
            epochs: train.epochs,
            total_iterations: cut.iterations * train.epochs,
            updates_per_epoch,
            total_updates,
            update_rules: PlannedRule::all(experiment, &layers),
            parameters,
            forward_flops_per_image: forward,
            backward_flops_per_image: 2 * forward,
            total_flops: 3.0 * forward as f64 * seen.images_per_epoch as f64 * train.epochs as f64,
            checkpoint_bytes: memory.parameters + memory.optimizer + memory.average,
            memory,
            teacher: None,
            sharing: None,
            views: PlannedViews::of(&experiment.test_time_augmentation(), forward),
            warnings: render::warnings(experiment, &images, &cut, &learning_rate),
            sampling: train.sampling,
            seen,
            augmentation: data::augment::words(experiment.augment()),
            mixing: train.mixing().words(),
            precision: train.precision,
            ema: train.ema,
            learning_rate,
            layers,
            images,
        })
    }

    /// The same run with a teacher, which answers for every image that is shown.
    #[must_use]
    pub fn taught_by(mut self, teacher: Option<&PlannedTeacher>) -> Self {
        let Some(teacher) = teacher else { return self };
        let shown = self.seen.images_per_epoch as f64 * self.epochs as f64;
        self.total_flops += teacher.forward_flops_per_image as f64 * shown;
        self.memory.add_teacher(teacher);
        self.teacher = Some(teacher.clone());
        self
    }

    /// `update` updates as epochs.
    fn epoch_of(update: usize, updates_per_epoch: usize) -> f64 {
        update as f64 / updates_per_epoch.max(1) as f64
    }
}

/// How the training images are cut into batches, passes and epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    batch_size: usize,
    per_pass: usize,
    last_batch_size: usize,
    dropped: usize,
    iterations: usize,
}

impl Cut {
    fn new(experiment: &Experiment, images: &Images) -> Self {
        let train = &experiment.train;
        let batch_size = train.batch_size.max(1);
        let rest = images.train % batch_size;
        let whole = images.train / batch_size;
        let (per_pass, last_batch_size, dropped) = match (rest, train.drop_last) {
            (0, _) => (whole, batch_size, 0),
            (_, true) => (whole, batch_size, rest),
            (_, false) => (whole + 1, rest, 0),
        };
        let iterations = train.iterations_per_epoch.unwrap_or(per_pass);
        Self { batch_size, per_pass, last_batch_size, dropped, iterations }
    }

    /// An epoch is the first `iterations` batches of its passes, each pass a new order of all images.
    fn seen(&self, images: &Images) -> Seen {
        let per_pass = images.train - self.dropped;
        let (passes, batches) = (self.iterations / self.per_pass.max(1), self.iterations % self.per_pass.max(1));
        let partial = (batches * self.batch_size).min(per_pass);
        let most = passes + usize::from(partial > 0);
        Seen {
            images_per_epoch: passes * per_pass + partial,
            // Which images a pass drops is drawn anew, so one may be dropped by every pass of an epoch.
            least_per_epoch: if self.dropped > 0 { 0 } else { passes },
            most_per_epoch: most,
            images_seen_most: if partial > 0 { partial } else { per_pass },
        }
    }
}

impl Cut {
    /// How often an image of a class with `count` images is seen in an epoch, on average.
    fn seen_of_class(&self, sampling: Sampling, images: &Images, count: usize) -> f64 {
        let shown = self.seen(images).images_per_epoch as f64;
        match sampling {
            Sampling::Uniform => shown / images.train.max(1) as f64,
            Sampling::Balanced => shown / images.classes.max(1) as f64 / count.max(1) as f64,
        }
    }
}

impl OfClass {
    fn all(experiment: &Experiment, images: &Images, cut: &Cut) -> Vec<Self> {
        let weights = experiment.loss.class_weights.of(&images.class_counts);
        let of = |(label, (name, count)): (usize, (&String, &usize))| Self {
            name: name.clone(),
            images: *count,
            seen_per_epoch: cut.seen_of_class(experiment.train.sampling, images, *count),
            weight: weights.as_ref().map_or(1.0, |weights| weights[label]),
        };
        images.class_names.iter().zip(&images.class_counts).enumerate().map(of).collect()
    }
}

impl LearningRate {
    fn new(experiment: &Experiment, total: usize, per_epoch: usize) -> Self {
        let schedule = &experiment.schedule;
        let peak = experiment.optimizer.learning_rate();
        let at = |update: usize| schedule.rate(peak, update, total, per_epoch as f64);
        let last = total.saturating_sub(1);
        let highest = schedule.highest(peak, total, per_epoch as f64);
        let points = CURVE_POINTS.min(total.max(1));
        let curve = (0..points).map(|point| at(point * last / points.saturating_sub(1).max(1))).collect();
        let milestone = |(update, event): (usize, &str)| Milestone {
            update,
            epoch: Plan::epoch_of(update, per_epoch),
            event: event.to_owned(),
            learning_rate: at(update.min(last)),
        };
        Self {
            schedule: schedule.shape.kind().into(),
            first: at(0),
            peak: at(highest),
            peak_update: highest + 1,
            last: at(last),
            warmup_updates: schedule.warmup_updates(per_epoch as f64),
            curve,
            milestones: schedule.milestones(peak, total, per_epoch).into_iter().map(milestone).collect(),
        }
    }
}

impl PlannedRule {
    fn all(experiment: &Experiment, layers: &[LayerSummary]) -> Vec<Self> {
        let peak = experiment.optimizer.learning_rate();
        let planned = |(rule, tensors): (UpdateRule, Vec<&TensorSummary>)| Self {
            rule: rule.name,
            peak: peak * rule.rate_ratio,
            parameters: tensors.iter().fold(0, |sum, tensor| sum + tensor.count()),
            tensors: tensors.into_iter().map(|tensor| tensor.name.clone()).collect(),
        };
        // The last rule has the first say.
        experiment.optimizer.assign(layers).into_iter().rev().map(planned).collect()
    }
}

fn layers<S: Serializer>(layers: &[LayerSummary], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(layers.iter().map(|layer| {
        serde_json::json!({
            "name": layer.name,
            "description": layer.description,
            "output_shape": layer.output_shape,
            "parameters": layer.parameters,
            "forward_flops": layer.forward_flops,
        })
    }))
}

#[cfg(test)]
mod tests;
