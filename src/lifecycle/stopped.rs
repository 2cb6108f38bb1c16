//! An earlier run, locked and checked: what it takes to go on with it as the run it was. Changes nothing on disk.

use similar::TextDiff;

use super::prepared::Prepared;
use crate::config::Experiment;
use crate::config::document::Origin;
use crate::device::Request;
use crate::error::quoted;
use crate::models::Weights;
use crate::run::checkpoints::{Checkpoint, CheckpointStore, OPTIMIZER, Unusable};
use crate::run::lock::RunLock;
use crate::run::state::{Best, TrainingState};
use crate::run::{EpochMetrics, MetricSums, RunDir, RunRecord, Status, file};
use crate::{Error, Result, artifact, ops};

/// How a stopped run goes on.
#[derive(Clone, Debug, Default)]
pub struct ResumeOptions {
    /// Compute here instead of where the run was trained; the result is then no longer that of an uninterrupted run.
    pub device: Option<String>,
    /// Refuse unless this is the run's experiment.
    pub expected: Option<Experiment>,
    /// When the best epoch's weights are lost, go on without them instead of refusing.
    pub forget_best: bool,
}

/// An earlier run whose lock is held.
pub(super) struct StoppedRun {
    pub(super) dir: RunDir,
    pub(super) lock: RunLock,
    pub(super) store: CheckpointStore,
    /// Its newest intact checkpoint.
    pub(super) checkpoint: Checkpoint,
    /// Its record; none when the file is missing or damaged.
    pub(super) record: Option<RunRecord>,
    /// Whether `config.toml` is to be written again from the checkpoint.
    pub(super) restore_config: bool,
    /// What is different from here on.
    pub(super) change: Option<Change>,
    /// The best epoch's weights from the model file, where its checkpoint is lost.
    pub(super) best: Option<Weights>,
    /// What the user should know.
    pub(super) notices: Vec<String>,
}

/// Another config for a run that goes on.
pub(super) struct Change {
    /// The state to go on from, with that config.
    pub(super) state: TrainingState,
    /// What changed, for people.
    pub(super) description: String,
}

impl StoppedRun {
    /// Locks the run in `dir`, then reads and checks what there is of it.
    ///
    /// # Errors
    /// When another process trains in it, no checkpoint is intact, one is of a newer kiln, `config.toml` is no longer what
    /// the run was started with, or its best epoch is lost. Nothing is changed then.
    pub(super) fn open(dir: &RunDir, options: &ResumeOptions) -> Result<Self> {
        let lock = RunLock::acquire(dir)?;
        let mut notices = Vec::new();
        if let Some(process) = lock.taken_over_from {
            notices.push(format!("took over the lock of process {process}, which is gone"));
        }
        let record = match RunRecord::load(dir) {
            Ok(record) => Some(record),
            Err(Unusable::Foreign(error)) => return Err(error),
            Err(Unusable::Damaged(error)) => {
                notices.push(format!("{error}; a new `run.json` is written"));
                None
            }
        };
        let store = CheckpointStore::at(dir.checkpoints());
        let (checkpoint, damaged) = store.newest_intact().map_err(|error| cannot_go_on(dir, record.as_ref(), error))?;
        notices.extend(damaged);
        // What was found on the way may be the reason of what is refused.
        let with_notices = |error: Error, notices: &[String]| {
            notices.iter().fold(error, |error, found| error.tip(format!("know that {found}")))
        };
        let restore_config = config_differs(dir, &checkpoint.state).map_err(|error| with_notices(error, &notices))?;
        let mut stopped = Self {
            dir: dir.clone(),
            lock,
            store,
            checkpoint,
            record,
            restore_config,
            change: None,
            best: None,
            notices,
        };
        stopped.find_best(options).map_err(|error| with_notices(error, &stopped.notices))?;
        Ok(stopped)
    }

    /// The experiment that the run is in the middle of.
    pub(super) fn experiment(&self) -> Result<Experiment> {
        parse(&self.checkpoint.state.config, &format!("the config in a checkpoint of {}", self.dir.path().display()))
    }

    /// Whether nothing is left to do: a run whose model file is lost or damaged is finished again.
    pub(super) fn is_complete(&self, experiment: &Experiment) -> bool {
        self.checkpoint.state.is_trained(experiment.train.epochs)
            && self.record.as_ref().is_some_and(|record| record.status == Status::Done)
            && artifact::read(&self.dir.model()).is_ok()
    }

    /// Where it was trained, if that is known.
    fn trained_on(&self) -> Option<&str> {
        let recorded = self.record.as_ref().map(|record| record.device.as_str());
        self.checkpoint.state.device.as_deref().or(recorded)
    }

    /// The device to open: the one that is asked for, else the one it was trained on, else the experiment's.
    pub(super) fn device(&self, experiment: &Experiment, options: &ResumeOptions) -> String {
        let asked = options.device.as_deref().or(self.trained_on());
        asked.unwrap_or(&experiment.device).to_owned()
    }

    /// Compares what was opened with what the run was trained with.
    ///
    /// # Errors
    /// When the run would go on as another one: on other images, under other update rules, with other kernels.
    pub(super) fn compare(&mut self, prepared: &Prepared) -> Result<()> {
        self.refuse_other_data(prepared)?;
        self.refuse_other_teacher(prepared)?;
        self.refuse_other_rules(prepared)?;
        self.refuse_other_kernels(prepared)?;
        let now = &prepared.device.name;
        let notice = match self.trained_on() {
            Some(before) if before == now => return Ok(()),
            Some(before) if is_alike(before, now) => format!(
                "the run was trained on {before} and continues on {now}: as many CPUs share a batch, so that its weights stay those of {before} where all are of one kind"
            ),
            Some(before) => format!(
                "the run was trained on {before} and continues on {now}: its weights will differ from those of a run that stays on {before}"
            ),
            None => format!("it is not known where the run was trained; it continues on {now}"),
        };
        self.notices.push(notice);
        Ok(())
    }

    fn refuse_other_kernels(&self, prepared: &Prepared) -> Result<()> {
        let recorded = self.record.as_ref().and_then(|record| record.kernels.as_deref());
        let before = self.checkpoint.state.kernels.as_deref().or(recorded);
        let now = ops::in_use();
        // A GPU promises no bits, with either of them.
        let Some(before) = before.filter(|before| *before != now && prepared.device.backend.is_cpu()) else {
            return Ok(());
        };
        let tip = if now == "stock" { "unset KILN_STOCK_OPS" } else { "set KILN_STOCK_OPS=1" };
        Err(Error::usage(format!(
            "the run was trained with {before} operations, this process computes with {now} ones"
        ))
        .caused_by("their results differ in the last bits, so the run would not be the one that was never stopped")
        .tip(tip))
    }

    /// # Errors
    /// When the model that is learned from is not the one that the run began with.
    fn refuse_other_teacher(&self, prepared: &Prepared) -> Result<()> {
        let (before, now) = (&self.checkpoint.state.teacher_sha256, prepared.teacher_sha256());
        if *before == now {
            return Ok(());
        }
        let shown = |digest: &Option<String>| digest.clone().unwrap_or_else(|| "none".to_owned());
        Err(Error::usage("the teacher is not the one that this run began with: `loss.teacher` holds another model")
            .caused_by(format!("the SHA-256 of its weights was {}, now it is {}", shown(before), shown(&now)))
            .tip("bring the model file back as it was, or begin a new run"))
    }

    /// # Errors
    /// When the images are not those that the run was trained on.
    fn refuse_other_data(&self, prepared: &Prepared) -> Result<()> {
        refuse_other_data(&self.checkpoint.state.data_fingerprint, prepared)
    }

    /// # Errors
    /// When the optimizer's state is of other rules than this kiln's, which would begin it anew.
    fn refuse_other_rules(&self, prepared: &Prepared) -> Result<()> {
        let record = self.checkpoint.records.get(OPTIMIZER).map(Vec::as_slice).unwrap_or_default();
        prepared.experiment.optimizer.check_record(&prepared.plan.layers, record)
    }

    /// How the run goes on, for people.
    pub(super) fn description(&self, total: usize) -> String {
        let how = self.change.as_ref().map_or("resumed", |change| change.description.as_str());
        format!("{how:<14} after iteration {} of {total}", self.checkpoint.state.iteration)
    }

    /// The model that a run ends with is that of its best epoch: without those weights it must not go on.
    fn find_best(&mut self, options: &ResumeOptions) -> Result<()> {
        let Some(best) = self.checkpoint.state.best.filter(|best| best.iteration != self.checkpoint.state.iteration)
        else {
            return Ok(());
        };
        let Err(error) = self.store.after(best.iteration) else { return Ok(()) };
        if let Some(weights) = best_of_model_file(&self.dir, &self.checkpoint.state, best) {
            self.notices.push(format!("{error}; its weights are taken from {}", self.dir.model().display()));
            self.best = Some(weights);
            return Ok(());
        }
        if !options.forget_best {
            return Err(Error::usage(format!("the weights of the best epoch, {}, are lost", best.epoch))
                .caused_by(error)
                .tip("go on without them: --forget-best looks for the best among the newest epoch and those to come"));
        }
        self.notices.push(format!("epoch {}, the best so far, is forgotten: {error}", best.epoch));
        self.checkpoint.state.best = newest_epoch(&self.checkpoint.state, best.validation.images);
        Ok(())
    }
}

/// Whether both are as many CPUs, here or elsewhere, on one backend: they cut a batch into the same parts.
fn is_alike(one: &str, other: &str) -> bool {
    let parts = |name: &str| {
        let request: Request = name.parse().ok()?;
        Some((request.backend().filter(|backend| backend.is_cpu())?, request.count()))
    };
    parts(one).is_some_and(|one| Some(one) == parts(other))
}

/// The epoch that the checkpoint is the end of, as the best; none inside an epoch.
fn newest_epoch(state: &TrainingState, validation_images: u64) -> Option<Best> {
    let metrics: EpochMetrics = serde_json::from_str(state.metrics.last()?).ok()?;
    let mut validation = MetricSums::default();
    if let (Some(loss), Some(accuracy)) = (metrics.validation_loss, metrics.validation_accuracy) {
        let correct = (accuracy * validation_images as f64).round() as u64;
        validation.add(validation_images as usize, loss, correct);
    }
    let at_its_end = metrics.iteration == state.iteration;
    let score_bits = metrics.score.map(f64::to_bits);
    at_its_end.then_some(Best { epoch: metrics.epoch, iteration: metrics.iteration, validation, score_bits })
}

/// The best epoch's weights, when the model file holds those and no others.
fn best_of_model_file(dir: &RunDir, state: &TrainingState, best: Best) -> Option<Weights> {
    let metrics = |line: &String| serde_json::from_str::<EpochMetrics>(line).ok();
    let expected = state.metrics.iter().filter_map(metrics).find(|metrics| metrics.epoch == best.epoch)?;
    let (_, weights) = artifact::read(&dir.model()).ok()?;
    (weights.sha256() == expected.weights_sha256).then_some(weights)
}

/// # Errors
/// When the images are not those with the fingerprint `before`.
pub(super) fn refuse_other_data(before: &str, prepared: &Prepared) -> Result<()> {
    if prepared.dataset.has_fingerprint(before) {
        return Ok(());
    }
    let now = &prepared.dataset.fingerprint;
    Err(Error::usage("the data is not what this run was started on")
        .caused_by(format!("its SHA-256 was {before}, now it is {now}"))
        .tip("bring the data back as it was, or begin a new run"))
}

/// Whether `config.toml` must be written again: it is gone, or a process was killed after the checkpoint had a new config
/// and before the file had.
///
/// # Errors
/// When the file says something else than the run's config.
pub(super) fn config_differs(dir: &RunDir, state: &TrainingState) -> Result<bool> {
    let path = dir.config();
    if !path.exists() {
        return Ok(true);
    }
    let name = path.display().to_string();
    let of_run = parse(&state.config, "the config in the newest checkpoint")?;
    let text = file::read_text(&path)?;
    let in_file = Experiment::load(&Origin::Run(path.clone()), &[])
        .map_err(|error| error.tip(format!("delete `{name}`: it is restored from the newest checkpoint")))?;
    if in_file == of_run {
        return Ok(false);
    }
    let replaced = state.replaced_config.as_deref().and_then(|text| parse(text, "the config before").ok());
    if replaced.is_some_and(|replaced| replaced == in_file) {
        return Ok(true);
    }
    Err(drift(&state.config, &text, &name).tip(format!("delete `{name}`: it is restored from the newest checkpoint")))
}

/// # Errors
/// When `given` is not the run's config; the message shows the lines that differ.
pub(super) fn refuse_drift(of_run: &Experiment, given: &Experiment, name: &str) -> Result<()> {
    if of_run == given { Ok(()) } else { Err(drift(&of_run.to_toml(), &given.to_toml(), name)) }
}

fn drift(of_run: &str, given: &str, name: &str) -> Error {
    let diff = TextDiff::from_lines(of_run, given).unified_diff().context_radius(1).header("the run", name).to_string();
    Error::usage(format!("the config is not the one this run was started with:\n{}", diff.trim_end()))
        .tip("begin a new run from its weights with kiln fork, or train it for longer with kiln extend")
}

pub(super) fn parse(text: &str, name: &str) -> Result<Experiment> {
    Experiment::load(&Origin::Text(name.to_owned(), text.to_owned()), &[])
}

/// Adds the ways on for a run without a usable checkpoint. It is never begun anew in its place.
fn cannot_go_on(dir: &RunDir, record: Option<&RunRecord>, error: Error) -> Error {
    let error = if dir.model().is_file() {
        error.tip(format!("begin a new run from its best weights so far: kiln fork {}", quoted(dir.path())))
    } else {
        error
    };
    match record.and_then(|record| record.parent.as_deref()) {
        // Its config alone would begin it from other weights.
        Some(parent) => error.tip(format!("it began with the weights of {parent}: fork that run again")),
        None if dir.config().is_file() => {
            error.tip(format!("begin it again, in a new directory: kiln train {}", quoted(dir.config())))
        }
        None => error,
    }
}
