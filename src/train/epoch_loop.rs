//! The three nested loops: epochs, iterations, and (inside the tensors) the samples of a batch. A training strategy for
//! Burn's `SupervisedTraining` that drives Burn's `Learner` and adds what Burn's own strategy lacks: checkpoints inside
//! an epoch, resuming at any iteration, losses weighted by image, and a stop at the first NaN.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use burn::module::Module as _;
use burn::optim::GradientsAccumulator;
use burn::tensor::Device;
use burn::train::{
    ClassificationOutput, EventProcessorTraining as _, InferenceStep, Interrupter, Learner, LearnerEvent,
    LearningCheckpointer, SupervisedLearningStrategy, SupervisedTrainingEventProcessor, TrainLoader,
    TrainingComponents, TrainingItem, ValidLoader,
};

use super::average::Average;
use super::classifier::Classifier;
use super::devices::Devices;
use super::observer::{Observer, Progress, StopHandle};
use super::records::{self, RecordSink};
use super::step_metrics::{Figures, StepMetrics, answers};
use crate::config::{Experiment, Monitor};
use crate::data::loader::EpochLoader;
use crate::models::Weights;
use crate::optimizers::PlannedRate;
use crate::run::checkpoints::{CheckpointStore, Records};
use crate::run::progress::{Moment, ProgressFile};
use crate::run::state::{Confusion, TrainingState, Validated};
use crate::run::{EpochMetrics, MetricSums, RunDir, file};
use crate::{Error, Result};

/// How the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Termination {
    /// After its last epoch, or before by its own rules.
    Complete,
    /// It was asked to stop; the newest checkpoint holds everything.
    Interrupted,
}

/// What the loop works with.
pub(super) struct TrainingContext {
    /// What to do.
    pub(super) experiment: Experiment,
    /// Iterations in an epoch.
    pub(super) iterations_per_epoch: usize,
    /// Where it is computed.
    pub(super) device: Device,
    /// What takes the steps: that device, and those that share its batches.
    pub(super) devices: Devices,
    /// The learning rate over the run.
    pub(super) rate: PlannedRate,
    /// The training images, in the order of each epoch.
    pub(super) train: Arc<EpochLoader>,
    /// Whether there are validation images.
    pub(super) has_validation: bool,
    /// How many classes there are.
    pub(super) classes: usize,
    /// The run's directory.
    pub(super) run: RunDir,
    /// Where to save.
    pub(super) store: CheckpointStore,
    /// The records to go on from.
    pub(super) records: Records,
    /// Where the run stands.
    pub(super) state: TrainingState,
    /// Who is told of progress.
    pub(super) observer: Box<dyn Observer>,
    /// Stops the run from outside.
    pub(super) stop: StopHandle,
    /// Stop, as if asked to, after this many iterations of the run.
    pub(super) stop_after: Option<usize>,
    /// Hand every step's outcome to Burn's metrics, for its dashboard.
    pub(super) feed_metrics: bool,
    /// Where Burn puts the records to save.
    pub(super) sink: RecordSink,
}

/// The loop, as Burn's strategy. It runs once and leaves its context and how it ended behind.
pub(super) struct EpochLoop {
    context: Mutex<Option<TrainingContext>>,
    ended: Mutex<Option<(TrainingContext, Result<Termination>)>>,
}

impl EpochLoop {
    /// A loop that will run in `context`.
    pub(super) fn new(context: TrainingContext) -> Self {
        Self { context: Mutex::new(Some(context)), ended: Mutex::new(None) }
    }

    /// The context and how the loop ended; nothing before it has run.
    pub(super) fn take_ended(&self) -> Option<(TrainingContext, Result<Termination>)> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl SupervisedLearningStrategy<Classifier> for EpochLoop {
    fn fit(
        &self,
        components: TrainingComponents<Classifier>,
        mut learner: Learner<Classifier>,
        train: TrainLoader<Classifier>,
        validation: ValidLoader<Classifier>,
        _starting_epoch: usize,
    ) -> (Classifier, SupervisedTrainingEventProcessor<Classifier>) {
        let TrainingComponents { checkpointer, interrupter, event_processor, event_store, .. } = components;
        let context = self.context.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut events = event_processor;
        let mut average = None;
        if let Some(mut context) = context {
            let pending = StepMetrics::new(&context.device);
            let mut steps = Steps {
                progress: progress_file(&context),
                images_per_second: 0.0,
                saving_seconds: 0.0,
                last_saved_iteration: context.state.iteration,
                context: &mut context,
                learner: &mut learner,
                events: &mut events,
                interrupter,
                checkpointer,
                store: &event_store,
                average: None,
                pending,
                last_save: Instant::now(),
            };
            let ended = steps.run(&train, &validation);
            average = steps.average.take().and_then(Average::into_classifier);
            drop(steps);
            *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some((context, ended));
        }
        (average.unwrap_or_else(|| learner.model()), events)
    }
}

struct Steps<'a> {
    context: &'a mut TrainingContext,
    learner: &'a mut Learner<Classifier>,
    events: &'a mut SupervisedTrainingEventProcessor<Classifier>,
    interrupter: Interrupter,
    checkpointer: Option<LearningCheckpointer<Classifier>>,
    store: &'a burn::train::metric::store::EventStoreClient,
    /// The average of the weights, where the config asks for one.
    average: Option<Average>,
    pending: StepMetrics,
    progress: ProgressFile,
    /// Training images per second of the epoch under way.
    images_per_second: f64,
    /// Seconds spent on checkpoints since the epoch under way, or the rest of it, was begun.
    saving_seconds: f64,
    last_save: Instant,
    last_saved_iteration: usize,
}

impl Steps<'_> {
    fn run(&mut self, train: &TrainLoader<Classifier>, validation: &ValidLoader<Classifier>) -> Result<Termination> {
        self.restore()?;
        let epochs = self.context.experiment.train.epochs;
        while self.context.state.epoch <= epochs && self.context.state.stopped.is_none() {
            if self.wants_stop() {
                // Everything is saved: the checkpoint that this began from, or that of the last epoch.
                return Ok(Termination::Interrupted);
            }
            let started = Instant::now();
            if self.train_epoch(train)? == Termination::Interrupted {
                self.save()?;
                return Ok(Termination::Interrupted);
            }
            self.finish_epoch(validation, started)?;
        }
        Ok(Termination::Complete)
    }

    /// Takes up training where the records were taken. An average that they do not hold begins as their weights.
    fn restore(&mut self) -> Result<()> {
        let records = std::mem::take(&mut self.context.records);
        let average = records::average(&records)?;
        let optimizer = records::optimizer(&records)?;
        records::restore(self.learner, records)?;
        let model = self.learner.model();
        if let Some(together) = model.together().cloned() {
            together.load(optimizer, model);
        }
        if let Some(decay) = self.context.experiment.train.ema {
            let mut classifier = self.learner.model().valid();
            if let Some(record) = average {
                classifier = classifier.try_load_record(record).map_err(|error| {
                    Error::failed("the checkpoint's average does not fit the run's model").caused_by(error.to_string())
                })?;
            }
            self.average = Some(Average::new(classifier, decay));
        }
        Ok(())
    }

    /// What is validated and kept: the network, or its average, without autodiff.
    fn kept(&self) -> Classifier {
        // `valid` also publishes the running statistics of the norms, which the records must hold.
        let trained = self.learner.model().valid();
        self.average.as_ref().and_then(Average::classifier).cloned().unwrap_or(trained)
    }

    /// The rest of the epoch under way.
    fn train_epoch(&mut self, loader: &TrainLoader<Classifier>) -> Result<Termination> {
        let started = Instant::now();
        self.saving_seconds = 0.0;
        let (seconds_before, images_before) = (self.context.state.train_seconds, self.context.state.train_images);
        let accumulation = self.context.experiment.train.accumulation;
        let mut accumulator = GradientsAccumulator::new();
        self.context.train.set_position(self.context.state.epoch, self.context.state.iteration_in_epoch);
        self.event(LearnerEvent::StartSplit {
            epoch_number: self.context.state.epoch,
            total_items: loader.num_items(),
        })?;
        let mut iterator = loader.iter();
        while let Some(batch) = iterator.next() {
            let batch =
                batch.map_err(|error| Error::failed("cannot make the next batch").caused_by(error.to_string()))?;
            let images = batch.size;
            let step = match self.context.devices.step(self.learner, batch) {
                Ok(step) => step,
                Err(error) => {
                    self.clock(started, seconds_before, images_before);
                    self.keep_before_failed_step();
                    return Err(error);
                }
            };
            let state = &mut self.context.state;
            state.iteration += 1;
            state.iteration_in_epoch += 1;
            state.train_images += images as u64;
            let completes_window = state.iteration_in_epoch.is_multiple_of(accumulation)
                || state.iteration_in_epoch == self.context.iterations_per_epoch;
            if accumulation == 1 {
                self.update(step.grads);
            } else {
                accumulator.accumulate(&self.learner.model(), step.grads);
                if completes_window {
                    self.update(accumulator.grads());
                }
            }
            self.pending.add(&step.item, images, self.context.state.iteration);
            if self.context.feed_metrics {
                let item = TrainingItem::new(
                    step.item,
                    iterator.progress(),
                    Some(self.context.state.iteration),
                    Some(self.learner.lr_current()),
                );
                self.event(LearnerEvent::ProcessedItem(item))?;
            }
            let wants_stop = self.wants_stop();
            if self.pending.is_due() || wants_stop {
                self.read_back()?;
                self.clock(started, seconds_before, images_before);
                self.report();
            }
            // A window of accumulated gradients is never cut: it could not be resumed.
            if completes_window {
                if wants_stop && self.context.state.iteration_in_epoch < self.context.iterations_per_epoch {
                    return Ok(Termination::Interrupted);
                }
                if self.save_is_due() {
                    self.read_back()?;
                    self.clock(started, seconds_before, images_before);
                    self.report();
                    self.save()?;
                }
            }
        }
        self.read_back()?;
        self.clock(started, seconds_before, images_before);
        self.event(LearnerEvent::EndSplit(self.context.state.epoch))?;
        Ok(Termination::Complete)
    }

    fn update(&mut self, gradients: burn::optim::GradientsParams) {
        self.learner.lr_step();
        self.learner.optimizer_step(gradients);
        if let Some(average) = &mut self.average {
            average.follow(&self.learner.model(), self.context.state.update);
        }
        self.context.state.update += 1;
    }

    fn wants_stop(&self) -> bool {
        self.context.stop.is_stopped()
            || self.interrupter.should_stop()
            || self.context.stop_after.is_some_and(|last| self.context.state.iteration >= last)
    }

    /// Reads the pending metrics and refuses a loss that is NaN or infinite.
    fn read_back(&mut self) -> Result<()> {
        for figures in self.pending.read()? {
            let Figures { images, loss, correct, iterations: (first, last) } = figures;
            if !loss.is_finite() {
                let epoch = self.context.state.epoch;
                let place = if first == last {
                    format!("at iteration {first}")
                } else {
                    format!("between iterations {first} and {last}")
                };
                return Err(diverged(&format!("the loss became {loss} in epoch {epoch} {place} of the run")));
            }
            self.context.state.epoch_sums.add(images, loss, correct);
            self.progress.add(images, loss, correct);
        }
        Ok(())
    }

    fn clock(&mut self, started: Instant, seconds_before: f64, images_before: u64) {
        let seconds = started.elapsed().as_secs_f64() - self.saving_seconds;
        let state = &mut self.context.state;
        state.train_seconds = seconds_before + seconds;
        self.images_per_second = (state.train_images - images_before) as f64 / seconds.max(1e-9);
    }

    fn report(&mut self) {
        let (state, experiment) = (&self.context.state, &self.context.experiment);
        self.progress.tell(&Moment {
            epoch: state.epoch,
            epochs: experiment.train.epochs,
            iteration: state.iteration,
            iterations: experiment.train.epochs * self.context.iterations_per_epoch,
            images_per_second: self.images_per_second,
        });
        self.context.observer.on_iteration(&Progress {
            epoch: state.epoch,
            epochs: experiment.train.epochs,
            iteration: state.iteration_in_epoch,
            iterations: self.context.iterations_per_epoch,
            loss: state.epoch_sums.loss(),
            accuracy: state.epoch_sums.accuracy(),
            images_per_second: self.images_per_second,
        });
    }

    /// Validation, metrics, judgement and checkpoint of an epoch whose training is over. Nothing of an epoch whose
    /// validation loss or weights are NaN is kept.
    fn finish_epoch(&mut self, loader: &ValidLoader<Classifier>, started: Instant) -> Result<()> {
        let mut model = self.kept();
        let weights = model.network.weights()?;
        self.refuse_nan(&weights)?;
        model.network = model.network.folded();
        let validation = if self.context.has_validation { Some(self.validate(&model, loader)?) } else { None };
        let sums = validation.map(|validated| validated.sums);
        if let Some(loss) = sums.map(|sums| sums.loss()).filter(|loss| !loss.is_finite()) {
            let epoch = self.context.state.epoch;
            return Err(diverged(&format!("the validation loss became {loss} in epoch {epoch}")));
        }
        let rate = self.context.rate.at(self.context.state.update.saturating_sub(1));
        let state = &mut self.context.state;
        let (checkpoint, stopping) = (&self.context.experiment.checkpoint, &self.context.experiment.early_stopping);
        let better = state.judge(validation, checkpoint.best_by, stopping);
        let classes = validation.and_then(|validated| validated.classes);
        let score = validation.filter(|_| checkpoint.best_by != Monitor::Accuracy);
        let metrics = EpochMetrics {
            epoch: state.epoch,
            iteration: state.iteration,
            learning_rate: rate,
            train_loss: state.epoch_sums.loss(),
            train_accuracy: state.epoch_sums.accuracy(),
            validation_loss: sums.map(|sums| sums.loss()),
            validation_accuracy: sums.map(|sums| sums.accuracy()),
            validation_balanced_accuracy: classes.map(|classes| classes.balanced_accuracy),
            validation_macro_f1: classes.map(|classes| classes.macro_f1),
            score: score.map(|validated| validated.score(checkpoint.best_by)),
            weights_sha256: weights.sha256(),
            images_per_second: self.images_per_second,
            seconds: started.elapsed().as_secs_f64(),
        };
        let line = serde_json::to_string(&metrics)
            .map_err(|error| Error::failed("cannot encode the epoch's metrics").caused_by(error))?;
        state.metrics.push(line.clone());
        self.context.state.stopped = self.reason_to_stop(&metrics);
        let state = &mut self.context.state;
        state.epoch += 1;
        state.iteration_in_epoch = 0;
        state.epoch_sums = MetricSums::default();
        self.commit()?;
        file::append_line(&self.context.run.metrics(), &line)?;
        self.event(LearnerEvent::EndEpoch(metrics.epoch))?;
        self.context.observer.on_epoch(&metrics, self.context.experiment.train.epochs, better);
        Ok(())
    }

    fn reason_to_stop(&self, metrics: &EpochMetrics) -> Option<String> {
        let (experiment, state) = (&self.context.experiment, &self.context.state);
        if let (Some(goal), Some(reached)) = (experiment.stop_at.validation_accuracy, metrics.validation_accuracy)
            && reached >= goal
        {
            return Some(format!("validation accuracy {reached:.4} reached stop_at.validation_accuracy = {goal}"));
        }
        let patience = experiment.early_stopping.patience?;
        (state.epochs_without_improvement >= patience).then(|| {
            let monitor = experiment.early_stopping.monitor.name();
            format!("the validation {monitor} has not improved for {patience} epochs (early_stopping.patience)")
        })
    }

    fn validate(&mut self, model: &Classifier, loader: &ValidLoader<Classifier>) -> Result<Validated> {
        let mut sums = MetricSums::default();
        let watched = [self.context.experiment.checkpoint.best_by, self.context.experiment.early_stopping.monitor];
        let mut confusion = watched
            .iter()
            .any(|monitor| matches!(monitor, Monitor::BalancedAccuracy | Monitor::MacroF1))
            .then(|| Confusion::new(self.context.classes));
        let mut pending = StepMetrics::new(&self.context.device);
        if self.context.feed_metrics {
            let epoch_number = self.context.state.epoch;
            self.valid_event(LearnerEvent::StartSplit { epoch_number, total_items: loader.num_items() })?;
        }
        let mut iterator = loader.iter();
        let mut iteration = 0;
        while let Some(batch) = iterator.next() {
            let batch =
                batch.map_err(|error| Error::failed("cannot make a validation batch").caused_by(error.to_string()))?;
            let images = batch.size;
            let output = InferenceStep::step(model, batch);
            iteration += 1;
            if let Some(confusion) = &mut confusion {
                answers(&output).for_each(|(label, answer)| confusion.add(label, answer));
            }
            pending.add(&output, images, iteration);
            if pending.is_due() {
                add_all(&mut sums, &mut pending)?;
            }
            if self.context.feed_metrics {
                let item = TrainingItem::new(output, iterator.progress(), Some(iteration), None);
                self.valid_event(LearnerEvent::ProcessedItem(item))?;
            }
        }
        add_all(&mut sums, &mut pending)?;
        if self.context.feed_metrics {
            self.valid_event(LearnerEvent::EndSplit(self.context.state.epoch))?;
        }
        Ok(Validated { sums, classes: confusion.map(|confusion| confusion.figures()) })
    }

    /// Saves what was trained before a step that another device failed to take its part in: nothing of that step was applied. Where
    /// that cannot be saved, or is within a window of accumulated gradients, the last checkpoint stands.
    fn keep_before_failed_step(&mut self) {
        let (state, accumulation) = (&self.context.state, self.context.experiment.train.accumulation);
        let is_new = state.iteration > self.last_saved_iteration;
        if is_new && state.iteration_in_epoch.is_multiple_of(accumulation) && self.read_back().is_ok() {
            let _ = self.save();
        }
    }

    fn save_is_due(&self) -> bool {
        let (config, state) = (&self.context.experiment.checkpoint, &self.context.state);
        // The end of an epoch is saved anyway.
        if state.iteration_in_epoch == self.context.iterations_per_epoch {
            return false;
        }
        config.every_iterations.is_some_and(|every| state.iteration - self.last_saved_iteration >= every)
            || config.every_minutes.is_some_and(|every| self.last_save.elapsed().as_secs_f64() >= every * 60.0)
    }

    /// A checkpoint inside an epoch.
    fn save(&mut self) -> Result<()> {
        // `valid` publishes the running statistics of the norms, which the records must hold.
        let weights = self.learner.model().valid().network.weights()?;
        self.refuse_nan(&weights)?;
        let begun = Instant::now();
        self.commit()?;
        self.saving_seconds += begun.elapsed().as_secs_f64();
        Ok(())
    }

    /// A checkpoint of weights that are known to be finite.
    fn commit(&mut self) -> Result<()> {
        let checkpointer = self.checkpointer.as_mut().ok_or_else(|| Error::failed("training has no checkpointer"))?;
        let model = self.learner.model();
        if let Some(record) = model.together().cloned().and_then(|together| together.to_record(model)) {
            self.learner.load_optim(record);
        }
        checkpointer.checkpoint(self.learner, self.context.state.iteration, self.store);
        let mut records = self.context.sink.take()?;
        if let Some(average) = self.average.as_ref().and_then(Average::classifier) {
            records::add_average(&mut records, average.clone())?;
        }
        self.context.state.replaced_config = None;
        self.context.store.save(&records, &self.context.state)?;
        let best = self.context.state.best.map(|best| best.iteration);
        self.context.store.prune(self.context.experiment.checkpoint.keep_last, best)?;
        self.last_save = Instant::now();
        self.last_saved_iteration = self.context.state.iteration;
        Ok(())
    }

    /// A loss is computed before its update, so weights can be NaN after a loss that was not: they are never saved.
    fn refuse_nan(&self, weights: &Weights) -> Result<()> {
        match weights.first_not_finite() {
            None => Ok(()),
            Some(name) => {
                let iteration = self.context.state.iteration;
                Err(diverged(&format!(
                    "the weights `{name}` became NaN or infinite by iteration {iteration} of the run"
                )))
            }
        }
    }

    fn event(&mut self, event: LearnerEvent<ClassificationOutput>) -> Result<()> {
        if !self.context.feed_metrics {
            return Ok(());
        }
        self.events
            .process_train(event)
            .map_err(|error| Error::failed("the dashboard failed").caused_by(error.to_string()))
    }

    fn valid_event(&mut self, event: LearnerEvent<ClassificationOutput>) -> Result<()> {
        self.events
            .process_valid(event)
            .map_err(|error| Error::failed("the dashboard failed").caused_by(error.to_string()))
    }
}

/// Reads the pending metrics and adds them up.
fn add_all(sums: &mut MetricSums, pending: &mut StepMetrics) -> Result<()> {
    pending.read()?.iter().for_each(|figures| sums.add(figures.images, figures.loss, figures.correct));
    Ok(())
}

/// The progress of the run's finished epochs and of the one under way, to go on with.
fn progress_file(context: &TrainingContext) -> ProgressFile {
    let state = &context.state;
    let epochs = state.metrics.iter().filter_map(|line| serde_json::from_str::<EpochMetrics>(line).ok());
    ProgressFile::go_on(&context.run.progress(), state.iteration, epochs.map(|epoch| epoch.seconds).sum())
}

/// Training has left the numbers that a computer can hold; going on from the last checkpoint would meet them again.
fn diverged(message: &str) -> Error {
    Error::diverged(message).tip("lower optimizer.learning_rate, or set train.clip_norm to 1.0")
}
