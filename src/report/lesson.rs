//! The lesson as data: one iteration and a short run, measured while they happened. `kiln explain --html` makes a page of
//! it, `--json` prints it.

use serde::Serialize;

use super::explanation::Explanation;
use super::filters::FilterShape;
use super::{LayerWords, PlanWords};
use crate::data::ImageShape;
use crate::predict::LayerOutput;

/// Everything that the lesson says.
#[derive(Clone, Debug, Serialize)]
pub struct Lesson {
    /// The experiment's name.
    pub experiment: String,
    /// The kind of the network.
    pub model: String,
    /// The kind of the optimizer.
    pub optimizer: String,
    /// The classes by label.
    pub classes: Vec<String>,
    /// The size of each image.
    pub shape: ImageShape,
    /// How the training images are cut.
    pub cut: Cut,
    /// The arithmetic and the layers in words.
    pub plan: PlanWords,
    /// The first iteration; its keys are those of `kiln explain --json`.
    #[serde(flatten)]
    pub explanation: Explanation,
    /// The first images of some of the first epoch's batches.
    pub rows: Vec<BatchRow>,
    /// The batch as the network saw it: an image `[channels, height, width]` each.
    #[serde(skip)]
    pub inputs: Vec<Vec<u8>>,
    /// What distorts the images in training, in words; empty when nothing does.
    pub augmentation: Vec<String>,
    /// The logits of the batch's first image.
    pub logits: Vec<f32>,
    /// What every layer put out for the batch's first image.
    pub outputs: Vec<LayerOutput>,
    /// Share of the target spread over all classes.
    pub label_smoothing: f64,
    /// The norm of all gradients together and the largest that is allowed, when it was larger.
    pub clipped: Option<[f64; 2]>,
    /// One weight in this iteration.
    pub weight: Option<FollowedWeight>,
    /// The first layer's filters in this iteration, where they are pictures.
    #[serde(skip)]
    pub filters: Option<FilterChange>,
    /// The short runs: at a lower rate, at the config's own, at a higher one.
    pub runs: Vec<RateRun>,
    /// Images that no run learned from.
    pub held_out: HeldOut,
    /// The run at the config's own rate, from moment to moment.
    pub frames: Vec<Frame>,
}

/// How the training images are cut.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cut {
    /// Training images.
    pub train_images: usize,
    /// Images in a batch.
    pub batch_size: usize,
    /// Batches in one pass over the images.
    pub batches_per_pass: usize,
    /// Iterations in an epoch.
    pub iterations_per_epoch: usize,
    /// Epochs in the run.
    pub epochs: usize,
    /// Iterations in the run.
    pub total_iterations: usize,
    /// Batches behind one update.
    pub accumulation: usize,
}

/// The first images of one batch.
#[derive(Clone, Debug, Serialize)]
pub struct BatchRow {
    /// Which batch of the epoch, from 1.
    pub batch: usize,
    /// How many images it has.
    pub size: usize,
    /// The first of them, as they are in the data.
    #[serde(skip)]
    pub pixels: Vec<Vec<u8>>,
}

/// One weight in one iteration.
#[derive(Clone, Debug, Serialize)]
pub struct FollowedWeight {
    /// Its tensor.
    pub tensor: String,
    /// Its place in the tensor, counted from 0.
    pub place: Vec<usize>,
    /// Its value before the update.
    pub before: f64,
    /// The gradient of the loss with respect to it.
    pub gradient: f64,
    /// The learning rate that applied to it.
    pub learning_rate: f64,
    /// Its value after the update.
    pub after: f64,
    /// The name of the rule that updated it.
    pub rule: String,
}

/// The filters of the first layer in one iteration.
#[derive(Clone, Debug)]
pub struct FilterChange {
    /// How they are cut.
    pub(crate) form: FilterShape,
    /// Before the update.
    pub before: Vec<Vec<f32>>,
    /// The gradient of the loss with respect to them.
    pub gradient: Vec<Vec<f32>>,
    /// After the update.
    pub after: Vec<Vec<f32>>,
}

/// Images to measure by.
#[derive(Clone, Debug, Serialize)]
pub struct HeldOut {
    /// "validation" or "test".
    pub part: &'static str,
    /// How many are measured.
    pub images: usize,
    /// One of each class, for the first classes.
    pub watched: Vec<Watched>,
}

/// An image whose answers are watched while the network learns.
#[derive(Clone, Debug, Serialize)]
pub struct Watched {
    /// Its place among the held-out part's images.
    pub index: usize,
    /// Its label.
    pub label: usize,
    /// `[channels, height, width]`.
    #[serde(skip)]
    pub pixels: Vec<u8>,
}

/// A short run at one learning rate.
#[derive(Clone, Debug, Serialize)]
pub struct RateRun {
    /// The rate as a ratio of the config's.
    pub factor: f64,
    /// The rate, the same in every iteration.
    pub learning_rate: f64,
    /// The training loss of each iteration; after one that is NaN or infinite there is none.
    pub losses: Vec<f64>,
    /// The iteration, from 1, whose loss was NaN or infinite.
    pub diverged_at: Option<usize>,
    /// The share of the held-out images that it gets right in the end; none when its weights are no numbers.
    pub accuracy: Option<f64>,
}

/// A moment of a short run.
#[derive(Clone, Debug, Serialize)]
pub struct Frame {
    /// Iterations done.
    pub iteration: usize,
    /// The share of the held-out images that it gets right.
    pub accuracy: f64,
    /// Cross-entropy of the held-out images, in nats.
    pub loss: f64,
    /// Of each watched image: the answer, its probability, and the probability of the label.
    pub answers: Vec<Answer>,
    /// The first layer's first filters.
    #[serde(skip)]
    pub filters: Vec<Vec<f32>>,
}

/// What the network says of a watched image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// The class it finds most likely.
    pub class: usize,
    /// With this probability.
    pub probability: f64,
    /// The probability of the label.
    pub label_probability: f64,
}

impl Lesson {
    /// The run at the config's own rate.
    pub fn own_run(&self) -> Option<&RateRun> {
        self.runs.iter().find(|run| run.factor == 1.0)
    }

    /// What the plan says of the layer of that name.
    pub fn layer(&self, name: &str) -> Option<&LayerWords> {
        self.plan.layers.iter().find(|layer| layer.name == name)
    }

    /// The name of class `class`.
    pub fn class(&self, class: usize) -> &str {
        self.classes.get(class).map_or("", String::as_str)
    }

    /// The mean cross-entropy of the batch, without label smoothing, in nats.
    pub fn mean_loss(&self) -> f64 {
        let rows = &self.explanation.predictions;
        rows.iter().map(|row| row.loss()).sum::<f64>() / rows.len().max(1) as f64
    }
}
