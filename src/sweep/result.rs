//! The outcome of a sweep as plain data: what `result.json` holds, `--json` prints, and a page can be made from.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::compare::Comparison;

/// The version of the layout of `result.json`.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// The outcome of a sweep.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SweepResult {
    /// The version of this layout.
    pub schema_version: u32,
    /// The name of the sweep's folder.
    pub name: String,
    /// How trials were proposed: `grid`, `random` or `tpe`.
    pub search: String,
    /// The keys that were tried, in the order of the file.
    pub keys: Vec<Key>,
    /// The seeds of each trial.
    pub seeds: Vec<u64>,
    /// The epochs at whose end trials were given up or went on; the last is that of a whole run. One without halving.
    pub rungs: Vec<usize>,
    /// The images that the trials were told apart by.
    pub validation_images: usize,
    /// Every trial, the best first: those that were trained further before the others, then by validation accuracy; failed
    /// ones last.
    pub trials: Vec<TrialRow>,
    /// The number of the trial that won; absent when none was trained to its end.
    pub winner: Option<usize>,
    /// The winner, which is arm 0, against every other trial that was trained to its end, in the order of `trials`; absent
    /// when there is none.
    pub comparison: Option<Comparison>,
    /// The winner on the test images, which no other trial has seen.
    pub test: Option<TestFigures>,
    /// What was trained.
    pub cost: Cost,
}

/// A key that was tried.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Key {
    /// As in `--set`: `optimizer.learning_rate`.
    pub path: String,
    /// What was tried: `{"choices": [0.1, 0.2]}`, or `linear`, `log`, `int` or `log_int` with both ends.
    pub space: Json,
}

/// One trial: a value for each key, trained once with each seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialRow {
    /// Its number, from 1, in the order in which trials were proposed.
    pub trial: usize,
    /// The value of each key, by its path.
    pub values: Map<String, Json>,
    /// The rung that it reached, from 1.
    pub rung: usize,
    /// Whether it was trained to its end.
    pub is_complete: bool,
    /// Epochs of each of its runs.
    pub epochs: usize,
    /// The mean validation accuracy over seeds, 0 to 1; absent when a run failed.
    pub validation_accuracy: Option<f64>,
    /// The standard deviation over seeds; absent for one seed.
    pub validation_sd: Option<f64>,
    /// The mean validation loss over seeds, in nats.
    pub validation_loss: Option<f64>,
    /// Seconds of training, of all its runs together.
    pub seconds: f64,
    /// Why it failed.
    pub error: Option<String>,
    /// Its runs, in the order of the seeds.
    pub runs: Vec<RunRow>,
}

/// One run of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    /// Its seed.
    pub seed: u64,
    /// Its directory, within the sweep's folder.
    pub run: String,
    /// Epochs done.
    pub epochs: usize,
    /// Iterations done.
    pub iterations: usize,
    /// The epoch that was kept, from 1.
    pub best_epoch: Option<usize>,
    /// That epoch's validation accuracy, 0 to 1.
    pub validation_accuracy: Option<f64>,
    /// Its validation loss, in nats.
    pub validation_loss: Option<f64>,
    /// SHA-256 of its weights.
    pub weights_sha256: Option<String>,
    /// Seconds of training.
    pub seconds: f64,
    /// Why it failed.
    pub error: Option<String>,
}

/// The winner on the test images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestFigures {
    /// The test images.
    pub images: usize,
    /// The accuracy of each of its runs, 0 to 1, in the order of the seeds.
    pub accuracies: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation; absent for one seed.
    pub sd: Option<f64>,
}

/// What was trained, and what it would have been without giving up any trial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Epochs, of all runs together.
    pub epochs: usize,
    /// The same if each run were trained to its end.
    pub full_epochs: usize,
    /// Iterations, of all runs together.
    pub iterations: usize,
}

impl SweepResult {
    /// The trial that won.
    pub fn winning(&self) -> Option<&TrialRow> {
        self.winner.and_then(|winner| self.trials.iter().find(|row| row.trial == winner))
    }
}

/// What a trial is called among others: its values under their keys' last names, or its number where they are many.
pub fn label(trial: usize, values: &Map<String, Json>) -> String {
    const MOST: usize = 2;
    if values.len() > MOST {
        return format!("trial {trial}");
    }
    let named: Vec<String> =
        values.iter().map(|(path, value)| format!("{}={}", short(path, values), shown(value))).collect();
    named.join(" ")
}

/// The last part of a key's path, or all of it where that would name two.
pub fn short<'a>(path: &'a str, values: &Map<String, Json>) -> &'a str {
    let last = |path: &'a str| path.rsplit('.').next().unwrap_or(path);
    let same = values.keys().filter(|other| other.rsplit('.').next() == Some(last(path))).count();
    if same > 1 { path } else { last(path) }
}

/// A value as people write it.
pub fn shown(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
