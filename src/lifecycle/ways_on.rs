//! The ways to go on with an earlier run: resume it, extend it, fork it.

use super::prepared::Prepared;
use super::run::Run;
use super::running::Parent;
use super::stopped::{Change, ResumeOptions, StoppedRun, refuse_drift};
use super::trainer::Trainer;
use crate::artifact::{self, Manifest};
use crate::config::Experiment;
use crate::error::quoted;
use crate::{Error, Result};

/// What a run's history says of an extension that did not hold the learning rate.
pub(super) const PLANNED_ANEW: &str = "learning rate planned anew over all of them (it jumps)";

/// The learning rate of the epochs that an extension adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LearningRateOnExtend {
    /// Stays at its value at the end of the schedule.
    Hold,
    /// Follows the schedule anew over all epochs; it jumps where the run goes on.
    Replan,
}

impl Run {
    /// Goes on with a stopped, killed or failed run exactly where it stopped, on the device where it was trained.
    ///
    /// # Errors
    /// When another process trains in it, it is complete, its config or data are not what they were, no checkpoint is
    /// intact, or the best epoch's weights are lost. Nothing is changed then.
    pub fn resume(&self) -> Result<Trainer> {
        self.resume_with(&ResumeOptions::default())
    }

    /// As [`Run::resume`], with choices.
    ///
    /// # Errors
    /// As [`Run::resume`].
    pub fn resume_with(&self, options: &ResumeOptions) -> Result<Trainer> {
        let mut stopped = StoppedRun::open(&self.dir, options)?;
        let experiment = stopped.experiment()?;
        refuse_other_config(&experiment, options)?;
        if stopped.is_complete(&experiment) {
            let path = self.path().display();
            return Err(Error::usage(format!("`{path}` is complete"))
                .tip(format!("train it for longer: kiln extend {} --epochs N", quoted(self.path()))));
        }
        let device = stopped.device(&experiment, options);
        let prepared = Prepared::new(experiment, &device)?;
        stopped.compare(&prepared)?;
        Ok(Trainer::resuming(prepared, stopped))
    }

    /// Trains a run for longer, to `epochs` in all.
    ///
    /// # Errors
    /// When `epochs` is not more than the run's, and as [`Run::resume`]. Until training begins, the run is as it was.
    pub fn extend(&self, epochs: usize, rate: LearningRateOnExtend) -> Result<Trainer> {
        self.extend_with(epochs, rate, &ResumeOptions::default())
    }

    /// As [`Run::extend`], with choices.
    ///
    /// # Errors
    /// As [`Run::extend`].
    pub fn extend_with(&self, epochs: usize, rate: LearningRateOnExtend, options: &ResumeOptions) -> Result<Trainer> {
        let mut stopped = StoppedRun::open(&self.dir, options)?;
        let mut experiment = stopped.experiment()?;
        refuse_other_config(&experiment, options)?;
        let before = experiment.train.epochs;
        if epochs <= before {
            return Err(Error::usage(format!("the epochs must be more than the run's {before}, got {epochs}")));
        }
        experiment.train.epochs = epochs;
        let planned_over = experiment.schedule.epochs.unwrap_or(before);
        let description = match rate {
            LearningRateOnExtend::Hold => {
                experiment.schedule.epochs = Some(planned_over);
                format!(
                    "extended to {epochs} epochs, learning rate held at its value at the end of epoch {planned_over},"
                )
            }
            LearningRateOnExtend::Replan => {
                experiment.schedule.epochs = None;
                format!("extended to {epochs} epochs, {PLANNED_ANEW},")
            }
        };
        let device = stopped.device(&experiment, options);
        let prepared = Prepared::new(experiment, &device)?;
        stopped.compare(&prepared)?;
        let mut state = stopped.checkpoint.state.clone();
        state.replaced_config = Some(std::mem::replace(&mut state.config, prepared.experiment.to_toml()));
        // Who asks for more epochs gives the run its patience anew; a goal that is reached ends it again.
        if state.stopped.take().is_some() {
            state.epochs_without_improvement = 0;
            if let Some(goal) = prepared.experiment.stop_at.validation_accuracy {
                stopped.notices.push(format!(
                    "stop_at.validation_accuracy = {goal} stops the run again after the first epoch that reaches it"
                ));
            }
        }
        stopped.change = Some(Change { state, description });
        Ok(Trainer::resuming(prepared, stopped))
    }

    /// Begins a new run with this one's best weights, a new optimizer, and this one's config changed by `sets`, each
    /// `key=value`.
    ///
    /// # Errors
    /// When there is no model yet, or the changed config cannot be used.
    pub fn fork(&self, sets: &[&str]) -> Result<Trainer> {
        let model = self.existing_model()?;
        let of_parent = self.experiment()?;
        let experiment = of_parent.with(sets)?;
        let (manifest, weights) = artifact::read(&model)?;
        let device = experiment.device.clone();
        let prepared = Prepared::new(experiment, &device)?;
        let notices = other_data(&manifest, &of_parent, &prepared).into_iter().collect();
        let path = self.path().to_owned();
        let description = Parent::describe(&path, &manifest.weights_sha256);
        Ok(Trainer::forking(prepared, Parent { path, description, weights }, notices))
    }
}

fn refuse_other_config(experiment: &Experiment, options: &ResumeOptions) -> Result<()> {
    options.expected.as_ref().map_or(Ok(()), |expected| refuse_drift(experiment, expected, "the given config"))
}

/// A warning when the same `[data]` no longer gives the images that the parent was trained on.
fn other_data(manifest: &Manifest, of_parent: &Experiment, prepared: &Prepared) -> Option<String> {
    let (before, now) = (&manifest.provenance.data_fingerprint, &prepared.dataset.fingerprint);
    (!prepared.dataset.has_fingerprint(before)
        && of_parent.data == prepared.experiment.data
        && of_parent.seed == prepared.experiment.seed)
        .then(|| format!("the data is not what the parent was trained on: its SHA-256 was {before}, now it is {now}"))
}
