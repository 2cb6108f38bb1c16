//! A short run at one learning rate, for the lesson: the same steps as training, without checkpoints, and whoever wants to
//! look at the network between two of them may.

use burn::data::dataloader::DataLoader as _;
use burn::module::Module as _;
use burn::optim::GradientsAccumulator;
use burn::tensor::Tensor;

use super::session::{ClassifierLearner, Session};
use crate::data::batch::{Batch, ImageBatcher};
use crate::data::loader::EpochLoader;
use crate::data::{Dataset, ImageSet};
use crate::logits::{argmax, log_sum_exp, probabilities};
use crate::models::Network;
use crate::report::Answer;
use crate::{Error, Result};

/// Images that go through the network at a time when it is measured.
const BATCH: usize = 256;

/// Called with the number of iterations done and the learner.
pub(super) type Look<'a> = &'a mut dyn FnMut(usize, &ClassifierLearner) -> Result<()>;

/// What became of a short run.
pub(super) struct Ended {
    /// The training loss of each iteration, up to one that was NaN or infinite.
    pub(super) losses: Vec<f64>,
    /// The iteration, from 1, whose loss was NaN or infinite: the run ended there.
    pub(super) diverged_at: Option<usize>,
    /// The network it ended with.
    pub(super) network: Network,
}

/// Trains the session's first `iterations` iterations at `rate` throughout. `look` is called before the first and after
/// each.
///
/// # Errors
/// When the device fails, or `look` does.
pub(super) fn train(session: &Session, rate: f64, iterations: usize, look: Look) -> Result<Ended> {
    let (mut learner, loader) = session.learner_at(rate)?;
    let (per_epoch, accumulation) = (session.plan.iterations_per_epoch, session.experiment.train.accumulation);
    let mut accumulator = GradientsAccumulator::new();
    let mut ended = None;
    let mut losses = Vec::with_capacity(iterations);
    look(0, &learner)?;
    loader.set_position(1, 0);
    'run: while losses.len() < iterations {
        for (place, batch) in loader.iter().enumerate() {
            let batch = batch.map_err(|error| Error::failed("cannot make a batch").caused_by(error.to_string()))?;
            let step = learner.train_step(batch);
            let loss = f64::from(step.item.loss.into_scalar::<f32>());
            if !loss.is_finite() {
                ended = Some(losses.len() + 1);
                break 'run;
            }
            losses.push(loss);
            accumulator.accumulate(&learner.model(), step.grads);
            if (place + 1).is_multiple_of(accumulation) || place + 1 == per_epoch {
                learner.lr_step();
                learner.optimizer_step(accumulator.grads());
            }
            look(losses.len(), &learner)?;
            if losses.len() == iterations {
                break 'run;
            }
        }
    }
    Ok(Ended { losses, diverged_at: ended, network: learner.model().valid().network })
}

/// Images that a network is measured on, ready for it.
pub(super) struct Measure {
    batches: Vec<Batch>,
    labels: Vec<usize>,
}

impl Measure {
    /// The images of `set` at `indices`, in that order, for the session's device.
    ///
    /// # Errors
    /// When a batch cannot be made.
    pub(super) fn new(session: &Session, set: &ImageSet, indices: &[usize]) -> Result<Self> {
        let Dataset { preprocess, .. } = session.dataset;
        let chosen = set.select(indices);
        let labels = chosen.labels.iter().map(|&label| usize::from(label)).collect();
        let loader = EpochLoader::sequential(ImageBatcher::new(chosen, preprocess), BATCH, &session.device)?;
        let batches = loader.iter().collect::<std::result::Result<Vec<_>, _>>();
        let batches = batches.map_err(|error| Error::failed("cannot make a batch").caused_by(error.to_string()))?;
        Ok(Self { batches, labels })
    }

    /// How many images there are.
    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }

    /// The share of right answers and the mean cross-entropy of a network outside training.
    ///
    /// # Errors
    /// When the device fails.
    pub(super) fn accuracy_and_loss(&self, network: &Network) -> Result<(f64, f64)> {
        let (mut right, mut loss) = (0, 0.0);
        for (row, label) in self.rows(network)? {
            right += usize::from(argmax(&row) == label);
            loss += log_sum_exp(&row) - f64::from(row[label]);
        }
        let count = self.len().max(1) as f64;
        Ok((right as f64 / count, loss / count))
    }

    /// What a network outside training says of each image.
    ///
    /// # Errors
    /// When the device fails.
    pub(super) fn answers(&self, network: &Network) -> Result<Vec<Answer>> {
        let answer = |(row, label): (Vec<f32>, usize)| {
            let (class, probabilities) = (argmax(&row), probabilities(&row));
            Answer { class, probability: probabilities[class], label_probability: probabilities[label] }
        };
        Ok(self.rows(network)?.into_iter().map(answer).collect())
    }

    /// The logits and the label of each image.
    fn rows(&self, network: &Network) -> Result<Vec<(Vec<f32>, usize)>> {
        let mut logits = Vec::new();
        for batch in &self.batches {
            let output: Tensor<2> = network.forward(batch.images.clone());
            let values = output.try_into_vec_as::<f32>();
            logits.extend(
                values.map_err(|error| Error::failed("the device cannot compute the network").caused_by(error))?,
            );
        }
        let classes = logits.len() / self.len().max(1);
        Ok(logits.chunks_exact(classes.max(1)).map(<[f32]>::to_vec).zip(self.labels.iter().copied()).collect())
    }
}
