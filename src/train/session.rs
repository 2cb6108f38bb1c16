//! Training from a checkpoint onwards: builds the learner, launches Burn's `SupervisedTraining` behind a fence that turns
//! foreign panics into errors, and says how it ended.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use burn::data::dataloader::DataLoader as _;
use burn::module::Module as _;
use burn::tensor::Device;
use burn::train::{Interrupter, Learner, SupervisedTraining, TrainStep, TrainingStrategy};

use super::classifier::{Classifier, StepSettings};
use super::devices::{Devices, Other};
use super::distillation::Teacher;
use super::epoch_loop::{EpochLoop, Termination, TrainingContext};
use super::observer::{Observer, StopHandle};
use super::records::{self, RecordSink, SaveAlways};
use super::remote::Job;
use super::renderer::{NoMetricFiles, Silent};
use crate::config::Experiment;
use crate::data::batch::{ImageBatcher, SampleRef};
use crate::data::epoch_shape::EpochShape;
use crate::data::loader::{EpochLoader, Making};
use crate::data::{Dataset, Sampling};
use crate::error::panic_text;
use crate::models::{Network, Weights};
use crate::ops::counts_requests;
use crate::optimizers::PlannedRate;
use crate::plan::Plan;
use crate::run::RunDir;
use crate::run::checkpoints::{Checkpoint, CheckpointStore, Records};
use crate::run::state::TrainingState;
use crate::schedules::ScheduleConfig;
use crate::{Error, Result};

/// Validation images that go through the network at a time.
const VALIDATION_BATCH: usize = 500;

/// What takes the steps of a training run.
pub(crate) type ClassifierLearner = Learner<Classifier>;

/// What is trained: an experiment with its images, on a device.
#[derive(Clone)]
pub(crate) struct Session<'a> {
    /// What to do.
    pub(crate) experiment: &'a Experiment,
    /// The arithmetic of it.
    pub(crate) plan: &'a Plan,
    /// On which images.
    pub(crate) dataset: &'a Dataset,
    /// Where to compute, without autodiff.
    pub(crate) device: Device,
    /// Whom to learn from besides the labels.
    pub(crate) teacher: Option<Arc<Teacher>>,
    /// What else computes: each batch is shared out among the device and these.
    pub(crate) others: Vec<Other>,
}

/// Who follows training, and what ends it early.
pub(crate) struct Controls {
    /// Who is told of progress.
    pub(crate) observer: Box<dyn Observer>,
    /// Stops the run from outside.
    pub(crate) stop: StopHandle,
    /// Stop, as if asked to, after this many iterations of the run.
    pub(crate) stop_after: Option<usize>,
    /// Show Burn's terminal dashboard.
    pub(crate) dashboard: bool,
}

/// How training ended.
pub(crate) struct Trained {
    /// Complete or interrupted.
    pub(crate) termination: Termination,
    /// Where the run stands.
    pub(crate) state: TrainingState,
    /// The weights it ended with.
    pub(crate) weights: Weights,
    /// Who followed.
    pub(crate) observer: Box<dyn Observer>,
}

impl Session<'_> {
    /// Trains on from `checkpoint`, saving into `run` and `store`.
    ///
    /// # Errors
    /// A NaN loss, a full disk, a failing device, a panic inside a dependency. What was saved before remains and can be
    /// resumed.
    pub(crate) fn train(
        &self,
        checkpoint: Checkpoint,
        run: &RunDir,
        store: &CheckpointStore,
        controls: Controls,
    ) -> Result<Trained> {
        let context = TrainingContext {
            experiment: self.experiment.clone(),
            iterations_per_epoch: self.plan.iterations_per_epoch,
            device: self.device.clone(),
            devices: self.devices()?,
            rate: self.rate(),
            train: Arc::new(self.train_loader()?),
            has_validation: !self.dataset.validation.is_empty(),
            classes: self.dataset.train.classes.len(),
            run: run.clone(),
            store: store.clone(),
            records: checkpoint.records,
            state: checkpoint.state,
            observer: controls.observer,
            stop: controls.stop,
            stop_after: controls.stop_after,
            feed_metrics: controls.dashboard,
            sink: RecordSink::default(),
        };
        let (last, context, ended) = self.launch(context)?;
        Ok(Trained {
            termination: ended?,
            weights: last.network.weights()?,
            state: context.state,
            observer: context.observer,
        })
    }

    /// The records that a new run begins with: of `weights` when given, else drawn from the seed.
    ///
    /// # Errors
    /// A usage error when the weights are another network's; when the device fails.
    pub(crate) fn initial_records(&self, weights: Option<&Weights>) -> Result<Records> {
        let network = match weights {
            Some(weights) => self.network()?.load(weights)?,
            None => self.initial_network()?,
        };
        let (layers, config) = (&self.plan.layers, &self.experiment.optimizer);
        records::initial(self.classifier(network), &config.build(layers), &config.schedule(layers, &self.rate()))
    }

    /// The weights inside a checkpoint of this run.
    ///
    /// # Errors
    /// When they are another network's.
    pub(crate) fn weights_of(&self, records: &Records) -> Result<Weights> {
        // What is validated and kept: the average where there is one.
        let record = match records::average(records)? {
            Some(average) => average,
            None => records::model(records)?,
        };
        let classifier = self.classifier(self.network()?).try_load_record(record).map_err(|error| {
            Error::failed("the checkpoint does not fit the run's model").caused_by(error.to_string())
        })?;
        classifier.network.weights()
    }

    fn network(&self) -> Result<Network> {
        self.experiment.model.init(self.dataset.train.shape, self.dataset.train.classes.len(), &self.device)
    }

    /// The network as the seed draws it.
    fn initial_network(&self) -> Result<Network> {
        Ok(self.network()?.initialise(self.experiment.seed))
    }

    fn classifier(&self, network: Network) -> Classifier {
        let settings = StepSettings::new(self.experiment, &self.dataset.train.class_counts());
        Classifier::new(network, settings).taught_by(self.teacher.clone())
    }

    /// The weights that a new run begins with.
    ///
    /// # Errors
    /// When the device fails.
    pub(crate) fn initial_weights(&self) -> Result<Weights> {
        self.initial_network()?.weights()
    }

    /// The learner that a new run begins with, and its training images.
    ///
    /// # Errors
    /// When the device fails.
    pub(crate) fn learner(&self) -> Result<(ClassifierLearner, EpochLoader)> {
        let network = self.initial_network()?;
        Ok((self.learner_of(self.classifier(network)), self.train_loader()?))
    }

    /// The same at one rate throughout, without the experiment's schedule. Rules with a rate of their own keep its ratio.
    ///
    /// # Errors
    /// When the device fails.
    pub(crate) fn learner_at(&self, peak: f64) -> Result<(ClassifierLearner, EpochLoader)> {
        let network = self.initial_network()?;
        let rate = PlannedRate { schedule: ScheduleConfig::default(), peak, ..self.rate() };
        Ok((self.learner_with(self.classifier(network), &rate), self.train_loader()?))
    }

    /// The same at a rate that begins with `first` and is multiplied by `factor` after each of `updates` updates. Rules with
    /// a rate of their own keep its ratio.
    ///
    /// # Errors
    /// When the device fails.
    pub(crate) fn learner_rising(
        &self,
        first: f64,
        factor: f64,
        updates: usize,
    ) -> Result<(ClassifierLearner, EpochLoader)> {
        let network = self.initial_network()?;
        let rate = PlannedRate {
            schedule: ScheduleConfig::rising(factor),
            peak: first,
            total_updates: updates,
            updates_per_epoch: 1.0,
            update: 0,
        };
        Ok((self.learner_with(self.classifier(network), &rate), self.train_loader()?))
    }

    /// What takes training steps with one of these learners.
    ///
    /// # Errors
    /// When the system has no thread left, or a worker refuses the run or is lost.
    pub(crate) fn devices(&self) -> Result<Devices> {
        Devices::new(&self.device, &self.others, || Job::new(self.experiment, self.dataset))
    }

    /// Seconds of an epoch without `Learner`, metrics and checkpoints.
    ///
    /// # Errors
    /// When the device fails.
    pub(crate) fn bare_loop(&self) -> Result<f64> {
        let (learner, loader) = self.learner()?;
        let mut model = learner.model();
        drop(learner);
        let mut optimizer = self.experiment.optimizer.build(&self.plan.layers);
        let mut schedule = self.experiment.optimizer.schedule(&self.plan.layers, &self.rate());
        loader.set_position(1, 0);
        let started = Instant::now();
        let mut loss = None;
        for batch in loader.iter() {
            let batch = batch.map_err(|error| Error::failed("cannot make a batch").caused_by(error.to_string()))?;
            let step = TrainStep::step(&model, batch);
            model = optimizer.step(schedule.step(), model, step.grads);
            loss = Some(step.item.loss);
        }
        match loss.map(|loss| loss.into_scalar::<f32>()) {
            Some(loss) if loss.is_finite() => Ok(started.elapsed().as_secs_f64()),
            _ => Err(Error::failed("the loss of the last iteration is NaN or infinite")),
        }
    }

    fn learner_of(&self, classifier: Classifier) -> ClassifierLearner {
        self.learner_with(classifier, &self.rate())
    }

    fn learner_with(&self, classifier: Classifier, rate: &PlannedRate) -> ClassifierLearner {
        let together =
            counts_requests(&self.device).then(|| self.experiment.optimizer.together(&self.plan.layers)).flatten();
        Learner::new(
            classifier.updated(together).train().fork(&self.device.clone().autodiff()),
            self.experiment.optimizer.build(&self.plan.layers),
            self.experiment.optimizer.schedule(&self.plan.layers, rate),
        )
    }

    /// The learning rate over the run.
    pub(crate) fn rate(&self) -> PlannedRate {
        PlannedRate {
            schedule: self.experiment.schedule.clone(),
            peak: self.experiment.optimizer.learning_rate(),
            total_updates: self.plan.total_updates,
            updates_per_epoch: self.plan.updates_per_epoch as f64,
            update: 0,
        }
    }

    /// The images of the run's first batch, in their order.
    ///
    /// # Errors
    /// When there is no batch.
    pub(crate) fn first_batch(&self) -> Result<Vec<SampleRef>> {
        Ok(self.train_loader()?.samples(1, 0))
    }

    fn train_loader(&self) -> Result<EpochLoader> {
        let shape = EpochShape {
            batch_size: self.experiment.train.batch_size,
            iterations: self.plan.iterations_per_epoch,
            drop_last: self.experiment.train.drop_last,
            accumulation: self.experiment.train.accumulation,
        };
        let batcher = self.train_batcher();
        let (seed, device) = (self.experiment.seed, self.device.clone().autodiff());
        let loader = match (self.experiment.train.overfit_batches, self.experiment.train.sampling) {
            (Some(_), _) => EpochLoader::unshuffled(batcher, shape, &device),
            (None, Sampling::Uniform) => EpochLoader::shuffled(batcher, shape, seed, &device),
            (None, Sampling::Balanced) => EpochLoader::balanced(batcher, shape, seed, &device),
        }?;
        self.placed(loader)
    }

    fn train_batcher(&self) -> ImageBatcher {
        ImageBatcher::new(self.dataset.train.clone(), &self.dataset.preprocess)
            .augmented(self.experiment.augment(), self.experiment.seed)
            .mixed(self.experiment.train.mixing(), self.experiment.seed)
    }

    /// Where the training batches are made.
    pub(crate) fn making(&self) -> Making {
        if counts_requests(&self.device) { Making::of(&self.train_batcher()) } else { Making::Host }
    }

    /// The loader with its batches made where they are needed: for a CPU, there is nothing to be sent.
    fn placed(&self, loader: EpochLoader) -> Result<EpochLoader> {
        if counts_requests(&self.device) { loader.on_device() } else { Ok(loader) }
    }

    fn launch(&self, context: TrainingContext) -> Result<(Classifier, TrainingContext, Result<Termination>)> {
        let batcher = ImageBatcher::new(self.dataset.validation.clone(), &self.dataset.preprocess);
        let validation = self.placed(EpochLoader::sequential(batcher, VALIDATION_BATCH, &self.device)?)?;
        // The loop puts the checkpoint's weights in before the first step.
        let learner = self.learner_of(self.classifier(self.network()?));
        let train = context.train.clone();
        let (model, optimizer, schedule) = context.sink.checkpointers();
        let folder = context.run.path().to_owned();
        let (epochs, dashboard) = (self.experiment.train.epochs, context.feed_metrics);
        let interrupter = Interrupter::new();
        let strategy = Arc::new(EpochLoop::new(context));
        let training = SupervisedTraining::<Classifier>::new(folder, train, Arc::new(validation))
            .num_epochs(epochs)
            .with_application_logger(None)
            .with_metric_logger(NoMetricFiles)
            .with_custom_checkpointers(model, optimizer, schedule)
            .with_checkpointing_strategy(SaveAlways)
            .with_interrupter(interrupter.clone())
            .with_training_strategy(TrainingStrategy::Custom(strategy.clone()));
        let training = with_renderer(training, dashboard, interrupter);
        // Burn and its backends panic on device errors; the run must end with a message and stay resumable.
        let result = catch_unwind(AssertUnwindSafe(|| training.launch(learner))).map_err(|panic| {
            Error::failed("training stopped by a panic inside a dependency").caused_by(panic_text(&*panic))
        })?;
        let (context, ended) =
            strategy.take_ended().ok_or_else(|| Error::failed("training ended without having begun"))?;
        let ended = match result.error {
            Some(error) => ended.and(Err(Error::failed("training failed").caused_by(error.to_string()))),
            None => ended,
        };
        Ok((result.model, context, ended))
    }
}

#[cfg_attr(not(feature = "tui"), expect(unused_variables, reason = "only the dashboard needs them"))]
fn with_renderer(
    training: SupervisedTraining<Classifier>,
    dashboard: bool,
    interrupter: Interrupter,
) -> SupervisedTraining<Classifier> {
    #[cfg(feature = "tui")]
    if dashboard {
        use burn::train::metric::{AccuracyMetric, LearningRateMetric, LossMetric};
        use burn::train::renderer::tui::TuiMetricsRendererWrapper;
        let renderer = TuiMetricsRendererWrapper::new(interrupter, None);
        return training
            .metrics((AccuracyMetric::new(), LossMetric::new()))
            .metric_train_numeric(LearningRateMetric::new())
            .renderer(Box::new(renderer));
    }
    training.renderer(Box::new(Silent))
}
