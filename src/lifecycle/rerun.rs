//! A run trained once more, from the same beginning, and whether it became the same run.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::prepared::Prepared;
use super::run::Run;
use super::running::Parent;
use super::stopped::{config_differs, parse, refuse_other_data};
use super::trainer::Trainer;
use super::ways_on::PLANNED_ANEW;
use crate::config::Experiment;
use crate::error::quoted;
use crate::models::Weights;
use crate::run::checkpoints::CheckpointStore;
use crate::run::{EpochMetrics, RunRecord, Status};
use crate::{Error, Result, artifact};

/// Whether a run that was trained again became the same run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repetition {
    /// The run.
    pub run: PathBuf,
    /// The run that repeats it.
    pub rerun: PathBuf,
    /// Whether all that the run had finished is the same to the last bit.
    pub identical: bool,
    /// Epochs that both have finished, and whose weights were compared.
    pub epochs_compared: usize,
    /// The first of these whose weights differ.
    pub first_different_epoch: Option<usize>,
    /// SHA-256 of the run's weights: of its model when it is finished, else after its last finished epoch.
    pub weights_sha256: Option<String>,
    /// SHA-256 of the rerun's weights at the same place.
    pub rerun_weights_sha256: Option<String>,
    /// What is known to differ in where and with what the two were trained, when they are not identical.
    pub differences: Vec<Difference>,
}

/// Something that is not the same in two runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What it is: "kernels".
    pub what: &'static str,
    /// What it was in the run.
    pub before: String,
    /// What it is in the rerun.
    pub now: String,
}

impl Run {
    /// Trains the run once more, beside it: its config, its seed, its data, on the device where it was trained; a fork from
    /// the same weights of its parent.
    ///
    /// # Errors
    /// When it has finished no epoch or is in training, when its data or its parent's weights are not what they were, and
    /// when it was extended in a way that no single config describes.
    pub fn rerun(&self) -> Result<Trainer> {
        let path = self.path().display();
        if self.is_training() {
            return Err(Error::usage(format!("`{path}` is in training")).tip("wait until it has finished"));
        }
        let record = self.record()?;
        if self.metrics()?.is_empty() {
            return Err(Error::usage(format!("`{path}` has not finished an epoch: there is nothing to compare with"))
                .tip(format!("go on with it: kiln resume {}", quoted(self.path()))));
        }
        if let Some(extension) = record.history.iter().find(|line| line.contains(PLANNED_ANEW)) {
            return Err(Error::usage(format!(
                "`{path}` cannot be repeated by one run: its learning rate jumped when it was extended"
            ))
            .caused_by(extension.clone())
            .tip(format!(
                "train its config from the beginning, which is another run: kiln train {}",
                quoted(self.path().join("config.toml"))
            )));
        }
        let prepared = Prepared::new(self.config_of_checkpoint()?, &record.device)?;
        refuse_other_data(&record.data_fingerprint, &prepared)?;
        let trainer = match &record.parent {
            None => Trainer::beginning(prepared),
            Some(description) => Trainer::forking(prepared, self.parent(description)?, Vec::new()),
        };
        let folder = self.path().parent().filter(|parent| !parent.as_os_str().is_empty());
        // A trial of a sweep does not see the test images by being repeated.
        Ok(trainer.runs(folder.unwrap_or(Path::new("."))).measured_on(record.measured_on))
    }

    /// Compares the run with `rerun`, which repeated it.
    ///
    /// # Errors
    /// When a record, the metrics or a model file of either cannot be read.
    pub fn compare_rerun(&self, rerun: &Self) -> Result<Repetition> {
        let (epochs, again) = (self.metrics()?, rerun.metrics()?);
        let records = [self.record()?, rerun.record()?];
        let is_done = records[0].status == Status::Done;
        let pairs = || epochs.iter().zip(&again);
        let first_different_epoch =
            pairs().find(|(a, b)| a.weights_sha256 != b.weights_sha256).map(|(epoch, _)| epoch.epoch);
        let weights = |run: &Self, epochs: &[EpochMetrics]| -> Result<Option<String>> {
            if is_done && run.model().is_file() {
                return Ok(Some(artifact::read(&run.model())?.0.weights_sha256));
            }
            Ok(epochs.last().map(|epoch| epoch.weights_sha256.clone()))
        };
        let compared = pairs().count();
        let [before, now] = [weights(self, &epochs)?, weights(rerun, &again[..compared])?];
        let has_all = if is_done { epochs.len() == again.len() } else { epochs.len() <= again.len() };
        let identical = first_different_epoch.is_none() && has_all && before == now;
        let mut differences = if identical { Vec::new() } else { differences(&records) };
        if !has_all {
            let (before, now) = (epochs.len().to_string(), again.len().to_string());
            differences.push(Difference { what: "epochs", before, now });
        }
        Ok(Repetition {
            run: self.path().to_owned(),
            rerun: rerun.path().to_owned(),
            identical,
            epochs_compared: compared,
            first_different_epoch,
            weights_sha256: before,
            rerun_weights_sha256: now,
            differences,
        })
    }

    /// The experiment as the newest checkpoint has it; of a run without checkpoints, as `config.toml` does.
    fn config_of_checkpoint(&self) -> Result<Experiment> {
        let Ok((checkpoint, _)) = CheckpointStore::at(self.dir.checkpoints()).newest_intact() else {
            return self.experiment();
        };
        config_differs(&self.dir, &checkpoint.state)?;
        parse(&checkpoint.state.config, &format!("the config in a checkpoint of {}", self.path().display()))
    }

    /// The parent that a record describes, found where it was or beside this run.
    fn parent(&self, description: &str) -> Result<Parent> {
        let gone = |reason: String| {
            Error::usage(format!("`{}` began with weights that are not there any more", self.path().display()))
                .caused_by(reason)
                .tip("bring the parent back as it was: only with its weights can the run be repeated")
        };
        let (path, digest) =
            Parent::parse(description).ok_or_else(|| gone(format!("its record names them as `{description}`")))?;
        let beside = self.path().parent().zip(path.file_name()).map(|(folder, name)| folder.join(name));
        let mut reason = format!("there is no model in `{}`", path.display());
        for place in [Some(path.to_owned()), beside].into_iter().flatten() {
            let Some((found, weights)) = weights_in(&place)? else { continue };
            if found == digest {
                return Ok(Parent { path: place, description: description.to_owned(), weights });
            }
            reason = format!("the weights in `{}` have the SHA-256 {found}, they had {digest}", place.display());
        }
        Err(gone(reason))
    }
}

/// The digest and the weights of the model in the run at `path`, if there is one.
fn weights_in(path: &Path) -> Result<Option<(String, Weights)>> {
    let Some(model) = Run::open(path).ok().map(|run| run.model()).filter(|model| model.is_file()) else {
        return Ok(None);
    };
    let (manifest, weights) = artifact::read(&model)?;
    Ok(Some((manifest.weights_sha256, weights)))
}

/// Something that a record says: its name, and how to read it.
type Fact = (&'static str, fn(&RunRecord) -> Option<String>);

/// In what two runs of the same config may compute differently, as far as their records say.
fn differences(records: &[RunRecord; 2]) -> Vec<Difference> {
    let unknown = || "unknown".to_owned();
    let optional = |text: &Option<String>| text.clone().unwrap_or_else(unknown);
    let facts: [Fact; 5] = [
        ("kernels", |record| record.kernels.clone()),
        ("device", |record| Some(record.device.clone())),
        ("kiln", |record| Some(record.kiln_version.clone())),
        ("Burn", |record| Some(record.burn_version.clone())),
        ("git commit", |record| record.git_commit.clone()),
    ];
    let told = facts.into_iter().map(|(what, fact)| {
        let [before, now] = [fact(&records[0]), fact(&records[1])];
        Difference { what, before: optional(&before), now: optional(&now) }
    });
    let mut found: Vec<Difference> = told.filter(|fact| fact.before != fact.now).collect();
    let moved = records[0].history.iter().filter(|line| line.contains("resumed") || line.contains("extended"));
    // Resumed on another device, or without its best epoch, a run is none that a config alone describes.
    found.extend(moved.map(|line| Difference { what: "history", before: line.clone(), now: "none".into() }));
    found
}
