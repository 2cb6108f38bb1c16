//! One run from its plan to its best weights: builds the learner, launches Burn's `SupervisedTraining` behind a fence
//! that turns foreign panics into errors, and says how it ended.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use burn::module::Module as _;
use burn::store::ModuleRecord;
use burn::tensor::{Bytes, Device};
use burn::train::{Interrupter, Learner, SupervisedTraining, TrainingStrategy};

use super::checkpoint::{Checkpoint, CheckpointStore, RECORDS};
use super::classifier::{Classifier, StepSettings};
use super::collect::{Collector, SaveAlways};
use super::epoch_loop::{Course, Ending, EpochLoop};
use super::observer::Observer;
use super::renderer::{NoMetricFiles, Silent};
use super::state::LoopState;
use crate::config::Experiment;
use crate::data::Dataset;
use crate::data::batch::ImageBatcher;
use crate::data::loader::{EpochLoader, EpochShape};
use crate::data::preprocess::Preprocess;
use crate::models::{Network, Weights};
use crate::optimizers::PlannedRate;
use crate::plan::Plan;
use crate::run::RunDir;
use crate::{Error, Result};

/// Validation images that go through the network at a time.
const VALIDATION_BATCH: usize = 500;

/// What a run is made of.
pub struct Session<'a> {
    /// What to do.
    pub experiment: &'a Experiment,
    /// The arithmetic of it.
    pub plan: &'a Plan,
    /// On which images.
    pub dataset: &'a Dataset,
    /// How pixels become inputs.
    pub preprocess: &'a Preprocess,
    /// Where to compute, without autodiff.
    pub device: Device,
    /// Where to save; nothing is saved without.
    pub run: Option<RunDir>,
    /// Stops the run from outside.
    pub interrupter: Interrupter,
    /// Show Burn's terminal dashboard.
    pub dashboard: bool,
    /// Stop, as if interrupted, after this many iterations of the run.
    pub stop_after_iteration: Option<usize>,
}

/// Where a run begins.
pub enum Start {
    /// From weights drawn by the seed.
    Fresh,
    /// From given weights, with a fresh optimizer.
    Weights(Weights),
    /// From a checkpoint, as if it had never stopped.
    Resume(Box<Checkpoint>),
}

/// How a run ended.
pub struct Outcome {
    /// Complete or interrupted.
    pub ending: Ending,
    /// Where it stood.
    pub state: LoopState,
    /// The weights of the best epoch; none when no epoch was finished.
    pub best: Option<Weights>,
    /// The weights it ended with.
    pub last: Weights,
}

impl Session<'_> {
    /// Trains.
    ///
    /// # Errors
    /// A loss that is no number, a full disk, a failing device, a panic inside a dependency. What was saved before
    /// remains and can be resumed.
    pub fn run(&self, start: Start, observer: Box<dyn Observer>) -> Result<Outcome> {
        let classifier = self.classifier(&start)?;
        let (resume, state) = match start {
            Start::Resume(checkpoint) => (Some(checkpoint.records), checkpoint.state),
            _ => (None, LoopState::default()),
        };
        let state = LoopState {
            config: self.experiment.to_toml(),
            data_fingerprint: self.dataset.fingerprint.clone(),
            ..state
        };
        let output = match &self.run {
            Some(run) => Some((run.clone(), CheckpointStore::open(run.checkpoints())?)),
            None => None,
        };
        let store = output.as_ref().map(|(_, store)| store.clone());
        let course = Course {
            experiment: self.experiment.clone(),
            iterations_per_epoch: self.plan.iterations_per_epoch,
            rate: self.rate(),
            train: Arc::new(self.train_loader()?),
            has_validation: !self.dataset.validation.is_empty(),
            output,
            resume,
            state,
            observer,
            stop_after_iteration: self.stop_after_iteration,
            feed_metrics: self.dashboard,
            collector: Collector::default(),
        };
        let (last, course, ending) = self.launch(classifier, course)?;
        let ending = ending?;
        let best = match (course.state.best, &store) {
            // The last epoch trained is the best: its weights are at hand.
            (Some(best), _) if best.iteration == course.state.iteration => Some(last.network.weights()?),
            (Some(best), Some(store)) => Some(self.weights_of(&store.load(best.iteration)?)?),
            _ => None,
        };
        Ok(Outcome { ending, best, last: last.network.weights()?, state: course.state })
    }

    /// The weights inside a checkpoint of this run.
    pub fn weights_of(&self, checkpoint: &Checkpoint) -> Result<Weights> {
        let bytes = checkpoint.records.get(RECORDS[0]).cloned().unwrap_or_default();
        let unusable = |error: String| {
            Error::failed(format!("checkpoint `{}` does not fit this model", checkpoint.path.display()))
                .caused_by(error)
        };
        let record =
            ModuleRecord::from_bytes(Bytes::from_bytes_vec(bytes)).map_err(|error| unusable(error.to_string()))?;
        let classifier = self.untrained()?.try_load_record(record).map_err(|error| unusable(error.to_string()))?;
        classifier.network.weights()
    }

    fn untrained(&self) -> Result<Classifier> {
        let network = self.network()?;
        Ok(Classifier::new(network, StepSettings::new(self.experiment)))
    }

    fn network(&self) -> Result<Network> {
        self.experiment.model.init(self.dataset.train.shape, self.dataset.train.classes.len(), &self.device)
    }

    fn classifier(&self, start: &Start) -> Result<Classifier> {
        let network = match start {
            Start::Weights(weights) => self.network()?.load(weights)?,
            _ => self.network()?.initialise(self.experiment.seed),
        };
        Ok(Classifier::new(network, StepSettings::new(self.experiment)))
    }

    /// The weights that a fresh run begins with.
    pub fn initial_weights(&self) -> Result<Weights> {
        self.classifier(&Start::Fresh)?.network.weights()
    }

    /// The learner that a fresh run begins with, and its training images.
    pub fn learner(&self) -> Result<(Learner<Classifier>, EpochLoader)> {
        Ok((self.learner_of(self.classifier(&Start::Fresh)?)?, self.train_loader()?))
    }

    fn learner_of(&self, classifier: Classifier) -> Result<Learner<Classifier>> {
        Ok(Learner::new(
            classifier.train().fork(&self.device.clone().autodiff()),
            self.experiment.optimizer.build(&self.plan.layers),
            self.experiment.optimizer.schedule(&self.plan.layers, &self.rate()),
        ))
    }

    /// The learning rate over the run.
    pub fn rate(&self) -> PlannedRate {
        PlannedRate {
            schedule: self.experiment.schedule.clone(),
            peak: self.experiment.optimizer.learning_rate(),
            total_updates: self.plan.total_updates,
            updates_per_epoch: self.plan.updates_per_epoch as f64,
            update: 0,
        }
    }

    fn train_loader(&self) -> Result<EpochLoader> {
        let shape = EpochShape {
            batch_size: self.experiment.train.batch_size,
            iterations: self.plan.iterations_per_epoch,
            drop_last: self.experiment.train.drop_last,
            accumulation: self.experiment.train.accumulation,
        };
        let batcher = ImageBatcher::new(self.dataset.train.clone(), self.preprocess)
            .augmented(&self.experiment.data.augment, self.experiment.seed);
        EpochLoader::shuffled(batcher, shape, self.experiment.seed, &self.device.clone().autodiff())
    }

    fn launch(&self, classifier: Classifier, course: Course) -> Result<(Classifier, Course, Result<Ending>)> {
        let batcher = ImageBatcher::new(self.dataset.validation.clone(), self.preprocess);
        let validation = EpochLoader::sequential(batcher, VALIDATION_BATCH, &self.device)?;
        let learner = self.learner_of(classifier)?;
        let train = course.train.clone();
        let (model, optimizer, schedule) = course.collector.checkpointers();
        let folder = self.run.as_ref().map_or_else(std::env::temp_dir, |run| run.path().to_owned());
        let epochs = self.experiment.train.epochs;
        let strategy = Arc::new(EpochLoop::new(course));
        let training = SupervisedTraining::<Classifier>::new(folder, train, Arc::new(validation))
            .num_epochs(epochs)
            .with_application_logger(None)
            .with_metric_logger(NoMetricFiles)
            .with_custom_checkpointers(model, optimizer, schedule)
            .with_checkpointing_strategy(SaveAlways)
            .with_interrupter(self.interrupter.clone())
            .with_training_strategy(TrainingStrategy::Custom(strategy.clone()));
        let training = self.with_renderer(training);
        // Burn and its backends panic on device errors; the run must end with a message and stay resumable.
        let result = catch_unwind(AssertUnwindSafe(|| training.launch(learner))).map_err(|panic| {
            Error::failed("training stopped by a panic inside a dependency").caused_by(panic_text(&*panic))
        })?;
        let (course, ending) =
            strategy.take_ending().ok_or_else(|| Error::failed("training ended without having begun"))?;
        let ending = match result.error {
            Some(error) => ending.and(Err(Error::failed("training failed").caused_by(error.to_string()))),
            None => ending,
        };
        Ok((result.model, course, ending))
    }

    fn with_renderer(&self, training: SupervisedTraining<Classifier>) -> SupervisedTraining<Classifier> {
        #[cfg(feature = "tui")]
        if self.dashboard {
            use burn::train::metric::{AccuracyMetric, LearningRateMetric, LossMetric};
            use burn::train::renderer::tui::TuiMetricsRendererWrapper;
            let renderer = TuiMetricsRendererWrapper::new(self.interrupter.clone(), None);
            return training
                .metrics((AccuracyMetric::new(), LossMetric::new()))
                .metric_train_numeric(LearningRateMetric::new())
                .renderer(Box::new(renderer));
        }
        training.renderer(Box::new(Silent))
    }
}

/// What a panic said.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
