//! The three nested loops: epochs, iterations, and (inside the tensors) the samples of a batch. A training strategy for
//! Burn's `SupervisedTraining` that drives Burn's `Learner` and adds what Burn's own strategy lacks: checkpoints inside
//! an epoch, resuming at any iteration, losses weighted by image, and a stop at the first loss that is no number.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use burn::module::Module as _;
use burn::optim::lr_scheduler::LrSchedulerRecord;
use burn::optim::{GradientsAccumulator, OptimizerRecord};
use burn::store::ModuleRecord;
use burn::tensor::Bytes;
use burn::train::{
    ClassificationOutput, EventProcessorTraining as _, InferenceStep, Interrupter, Learner, LearnerEvent,
    LearningCheckpointer, SupervisedLearningStrategy, SupervisedTrainingEventProcessor, TrainLoader,
    TrainingComponents, TrainingItem, ValidLoader,
};

use super::checkpoint::{CheckpointStore, Records};
use super::classifier::Classifier;
use super::collect::Collector;
use super::figures::{StepFigures, read_all};
use super::observer::{Moment, Observer};
use super::state::{EpochMetrics, LoopState, Tally};
use crate::config::Experiment;
use crate::data::loader::EpochLoader;
use crate::optimizers::PlannedRate;
use crate::run::{RunDir, file};
use crate::{Error, Result};

/// How the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// After its last epoch, or before by its own rules.
    Complete,
    /// The user stopped it; the checkpoint holds everything.
    Interrupted,
}

/// What the loop works with.
pub struct Course {
    /// What to do.
    pub experiment: Experiment,
    /// Iterations in an epoch.
    pub iterations_per_epoch: usize,
    /// The learning rate over the run.
    pub rate: PlannedRate,
    /// The training images, in the order of each epoch.
    pub train: Arc<EpochLoader>,
    /// Whether there are validation images.
    pub has_validation: bool,
    /// Where to save; nothing is saved without.
    pub output: Option<(RunDir, CheckpointStore)>,
    /// The checkpoint to go on from.
    pub resume: Option<Records>,
    /// Where the run stands.
    pub state: LoopState,
    /// Who is told of progress.
    pub observer: Box<dyn Observer>,
    /// Stop, as if interrupted, after this many iterations of the run.
    pub stop_after_iteration: Option<usize>,
    /// Hand every step's outcome to Burn's metrics, for its dashboard.
    pub feed_metrics: bool,
    /// Where Burn puts the records to save.
    pub collector: Collector,
}

/// The loop, as Burn's strategy. It runs once and leaves its course and its ending behind.
pub struct EpochLoop {
    course: Mutex<Option<Course>>,
    ending: Mutex<Option<(Course, Result<Ending>)>>,
}

impl EpochLoop {
    /// A loop that will run `course`.
    pub fn new(course: Course) -> Self {
        Self { course: Mutex::new(Some(course)), ending: Mutex::new(None) }
    }

    /// The course and how it ended; nothing before the loop has run.
    pub fn take_ending(&self) -> Option<(Course, Result<Ending>)> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner).take()
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
        let course = self.course.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut events = event_processor;
        if let Some(mut course) = course {
            let mut steps = Steps {
                images_per_second: 0.0,
                last_saved_iteration: course.state.iteration,
                course: &mut course,
                learner: &mut learner,
                events: &mut events,
                interrupter,
                checkpointer,
                store: &event_store,
                pending: Vec::new(),
                last_save: Instant::now(),
            };
            let ending = steps.run(&train, &validation);
            drop(steps);
            *self.ending.lock().unwrap_or_else(PoisonError::into_inner) = Some((course, ending));
        }
        (learner.model(), events)
    }
}

/// Figures are read back after so many steps: a GPU is kept busy, and a loss that is no number is found soon.
const READ_EVERY: usize = 10;

struct Steps<'a> {
    course: &'a mut Course,
    learner: &'a mut Learner<Classifier>,
    events: &'a mut SupervisedTrainingEventProcessor<Classifier>,
    interrupter: Interrupter,
    checkpointer: Option<LearningCheckpointer<Classifier>>,
    store: &'a burn::train::metric::store::EventStoreClient,
    pending: Vec<StepFigures>,
    /// Training images per second of the epoch under way.
    images_per_second: f64,
    last_save: Instant,
    last_saved_iteration: usize,
}

impl Steps<'_> {
    fn run(&mut self, train: &TrainLoader<Classifier>, validation: &ValidLoader<Classifier>) -> Result<Ending> {
        if let Some(records) = self.course.resume.take() {
            restore(self.learner, records)?;
        }
        let epochs = self.course.experiment.train.epochs;
        while self.course.state.epoch <= epochs && self.course.state.stopped.is_none() {
            if self.wants_stop() {
                if self.course.state.iteration == 0 {
                    self.save()?;
                }
                return Ok(Ending::Interrupted);
            }
            let started = Instant::now();
            if self.train_epoch(train)? == Ending::Interrupted {
                self.save()?;
                return Ok(Ending::Interrupted);
            }
            self.finish_epoch(validation, started)?;
        }
        Ok(Ending::Complete)
    }

    /// The rest of the epoch under way.
    fn train_epoch(&mut self, loader: &TrainLoader<Classifier>) -> Result<Ending> {
        let started = Instant::now();
        let (seconds_before, images_before) = (self.course.state.train_seconds, self.course.state.train_images);
        let accumulation = self.course.experiment.train.accumulation;
        let mut accumulator = GradientsAccumulator::new();
        self.course.train.set_position(self.course.state.epoch, self.course.state.iteration_in_epoch);
        self.event(LearnerEvent::StartSplit {
            epoch_number: self.course.state.epoch,
            total_items: loader.num_items(),
        })?;
        let mut iterator = loader.iter();
        while let Some(batch) = iterator.next() {
            let batch =
                batch.map_err(|error| Error::failed("cannot make the next batch").caused_by(error.to_string()))?;
            let images = batch.size;
            let step = self.learner.train_step(batch);
            let state = &mut self.course.state;
            state.iteration += 1;
            state.iteration_in_epoch += 1;
            state.train_images += images as u64;
            let completes_window = state.iteration_in_epoch.is_multiple_of(accumulation)
                || state.iteration_in_epoch == self.course.iterations_per_epoch;
            if accumulation == 1 {
                self.update(step.grads);
            } else {
                accumulator.accumulate(&self.learner.model(), step.grads);
                if completes_window {
                    self.update(accumulator.grads());
                }
            }
            self.note(&step.item, images);
            if self.course.feed_metrics {
                let item = TrainingItem::new(
                    step.item,
                    iterator.progress(),
                    Some(self.course.state.iteration),
                    Some(self.learner.lr_current()),
                );
                self.event(LearnerEvent::ProcessedItem(item))?;
            }
            let wants_stop = self.wants_stop();
            if self.pending.len() >= READ_EVERY || wants_stop {
                self.read_back()?;
                self.clock(started, seconds_before, images_before);
                self.report();
            }
            // A window of accumulated gradients is never cut: it could not be resumed.
            if completes_window {
                if wants_stop && self.course.state.iteration_in_epoch < self.course.iterations_per_epoch {
                    return Ok(Ending::Interrupted);
                }
                if self.save_is_due() {
                    self.read_back()?;
                    self.save()?;
                }
            }
        }
        self.read_back()?;
        self.clock(started, seconds_before, images_before);
        self.event(LearnerEvent::EndSplit(self.course.state.epoch))?;
        Ok(Ending::Complete)
    }

    fn update(&mut self, gradients: burn::optim::GradientsParams) {
        self.learner.lr_step();
        self.learner.optimizer_step(gradients);
        self.course.state.update += 1;
    }

    fn wants_stop(&self) -> bool {
        self.interrupter.should_stop()
            || self.course.stop_after_iteration.is_some_and(|last| self.course.state.iteration >= last)
    }

    fn note(&mut self, output: &ClassificationOutput, images: usize) {
        self.pending.push(StepFigures::new(output, images, self.course.state.iteration));
    }

    /// Reads the pending figures and refuses a loss that is no number.
    fn read_back(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let (losses, correct) = read_all(&self.pending)?;
        for ((step, loss), correct) in self.pending.drain(..).zip(losses).zip(correct) {
            if !loss.is_finite() {
                let epoch = self.course.state.epoch;
                return Err(Error::failed(format!(
                    "the loss became {loss} in epoch {epoch} at iteration {} of the run",
                    step.iteration
                ))
                .tip("lower optimizer.learning_rate, or set train.clip_norm to 1.0"));
            }
            self.course.state.tally.add(step.images, f64::from(loss), correct);
        }
        Ok(())
    }

    fn clock(&mut self, started: Instant, seconds_before: f64, images_before: u64) {
        let (state, seconds) = (&mut self.course.state, started.elapsed().as_secs_f64());
        state.train_seconds = seconds_before + seconds;
        self.images_per_second = (state.train_images - images_before) as f64 / seconds.max(1e-9);
    }

    fn report(&mut self) {
        let (state, experiment) = (&self.course.state, &self.course.experiment);
        self.course.observer.iteration(&Moment {
            epoch: state.epoch,
            epochs: experiment.train.epochs,
            iteration: state.iteration_in_epoch,
            iterations: self.course.iterations_per_epoch,
            loss: state.tally.loss(),
            accuracy: state.tally.accuracy(),
            images_per_second: self.images_per_second,
        });
    }

    /// Validation, metrics, judgement and checkpoint of an epoch whose training is over.
    fn finish_epoch(&mut self, loader: &ValidLoader<Classifier>, started: Instant) -> Result<()> {
        // `valid` also publishes the running statistics of the norms, which the records below must hold.
        let model = self.learner.model().valid();
        let validation = if self.course.has_validation { Some(self.validate(&model, loader)?) } else { None };
        let rate = self.course.rate.at(self.course.state.update.saturating_sub(1));
        let state = &mut self.course.state;
        let better = state.judge(validation, self.course.experiment.early_stopping.min_delta);
        let metrics = EpochMetrics {
            epoch: state.epoch,
            iteration: state.iteration,
            learning_rate: rate,
            train_loss: state.tally.loss(),
            train_accuracy: state.tally.accuracy(),
            validation_loss: validation.map(|tally| tally.loss()),
            validation_accuracy: validation.map(|tally| tally.accuracy()),
            weights_sha256: model.network.weights()?.sha256(),
            images_per_second: self.images_per_second,
            seconds: started.elapsed().as_secs_f64(),
        };
        let line = serde_json::to_string(&metrics)
            .map_err(|error| Error::failed("cannot encode the epoch's metrics").caused_by(error))?;
        state.metrics.push(line.clone());
        self.course.state.stopped = self.reason_to_stop(&metrics);
        let state = &mut self.course.state;
        state.epoch += 1;
        state.iteration_in_epoch = 0;
        state.tally = Tally::default();
        self.save()?;
        if let Some((run, _)) = &self.course.output {
            file::append_line(&run.metrics(), &line)?;
        }
        self.event(LearnerEvent::EndEpoch(metrics.epoch))?;
        self.course.observer.epoch(&metrics, self.course.experiment.train.epochs, better);
        Ok(())
    }

    fn reason_to_stop(&self, metrics: &EpochMetrics) -> Option<String> {
        let (experiment, state) = (&self.course.experiment, &self.course.state);
        if let (Some(goal), Some(reached)) = (experiment.stop_at.validation_accuracy, metrics.validation_accuracy)
            && reached >= goal
        {
            return Some(format!("validation accuracy {reached:.4} reached stop_at.validation_accuracy = {goal}"));
        }
        let patience = experiment.early_stopping.patience?;
        (state.epochs_without_improvement >= patience)
            .then(|| format!("the validation loss has not improved for {patience} epochs (early_stopping.patience)"))
    }

    fn validate(&mut self, model: &Classifier, loader: &ValidLoader<Classifier>) -> Result<Tally> {
        let mut tally = Tally::default();
        if self.course.feed_metrics {
            let epoch_number = self.course.state.epoch;
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
            let (losses, correct) = read_all(&[StepFigures::new(&output, images, iteration)])?;
            tally.add(images, f64::from(losses[0]), correct[0]);
            if self.course.feed_metrics {
                let item = TrainingItem::new(output, iterator.progress(), Some(iteration), None);
                self.valid_event(LearnerEvent::ProcessedItem(item))?;
            }
        }
        if self.course.feed_metrics {
            self.valid_event(LearnerEvent::EndSplit(self.course.state.epoch))?;
        }
        Ok(tally)
    }

    fn save_is_due(&self) -> bool {
        let (config, state) = (&self.course.experiment.checkpoint, &self.course.state);
        // The end of an epoch is saved anyway.
        if self.course.output.is_none() || state.iteration_in_epoch == self.course.iterations_per_epoch {
            return false;
        }
        config.every_iterations.is_some_and(|every| state.iteration - self.last_saved_iteration >= every)
            || config.every_minutes.is_some_and(|every| self.last_save.elapsed().as_secs_f64() >= every * 60.0)
    }

    fn save(&mut self) -> Result<()> {
        let (Some((_, store)), Some(checkpointer)) = (&self.course.output, &mut self.checkpointer) else {
            return Ok(());
        };
        let _ = self.learner.model().valid();
        checkpointer.checkpoint(self.learner, self.course.state.iteration, self.store);
        let records = self.course.collector.take()?;
        store.save(&records, &self.course.state)?;
        let best = self.course.state.best.map(|best| best.iteration);
        store.prune(self.course.experiment.checkpoint.keep_last, best.as_slice())?;
        self.last_save = Instant::now();
        self.last_saved_iteration = self.course.state.iteration;
        Ok(())
    }

    fn event(&mut self, event: LearnerEvent<ClassificationOutput>) -> Result<()> {
        if !self.course.feed_metrics {
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

fn restore(learner: &mut Learner<Classifier>, mut records: Records) -> Result<()> {
    fn decode<R: burn::train::checkpoint::Checkpoint>(records: &mut Records, name: &'static str) -> Result<R> {
        let bytes = records.remove(name).unwrap_or_default();
        R::checkpoint_from_bytes(Bytes::from_bytes_vec(bytes))
            .map_err(|error| Error::failed(format!("cannot decode {name}")).caused_by(error.to_string()))
    }
    let [model, optimizer, schedule] = super::checkpoint::RECORDS;
    learner.load_model(decode::<ModuleRecord>(&mut records, model)?);
    learner.load_optim(decode::<OptimizerRecord>(&mut records, optimizer)?);
    learner.load_scheduler(decode::<LrSchedulerRecord>(&mut records, schedule)?);
    Ok(())
}
