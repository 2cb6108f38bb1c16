//! One run in a line of the list. Whatever is missing or damaged in its directory is missing in the line, or its message.

use serde::Serialize;

use super::curves::{EpochPoint, regular};
use crate::error::quoted;
use crate::run::progress::ProgressPoint;
use crate::run::{RunDir, RunRecord, Standing, Status, file};

/// The most bytes of a config that are read.
const MOST_CONFIG_BYTES: u64 = 1 << 20;
/// The most bytes of a `run.json` that are read.
const MOST_RECORD_BYTES: u64 = 16 << 20;

/// A run in a line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RunSummary {
    /// The name of its directory.
    pub(crate) name: String,
    /// How it stands.
    pub(crate) status: Standing,
    /// Why it stands so, and what can be done.
    pub(crate) message: Option<String>,
    /// The name of the experiment.
    pub(crate) experiment: Option<String>,
    /// The kind of data set.
    pub(crate) data: Option<String>,
    /// The kind of network.
    pub(crate) model: Option<String>,
    /// The kind of optimizer.
    pub(crate) optimizer: Option<String>,
    /// The seed of every random draw.
    pub(crate) seed: Option<u64>,
    /// Where it computes, for example `flex`.
    pub(crate) device: Option<String>,
    /// Epochs planned.
    pub(crate) epochs: Option<u64>,
    /// Epochs done.
    pub(crate) epochs_done: usize,
    /// How much of it is trained, 0 to 1, epochs under way included.
    pub(crate) progress: Option<f64>,
    /// The newest training loss.
    pub(crate) train_loss: Option<f64>,
    /// The best epoch so far.
    pub(crate) best_epoch: Option<usize>,
    /// Its validation accuracy, 0 to 1.
    pub(crate) validation_accuracy: Option<f64>,
    /// The accuracy on the test images, 0 to 1.
    pub(crate) test_accuracy: Option<f64>,
    /// Seconds that it has trained and validated.
    pub(crate) seconds: f64,
    /// The newest number of training images per second.
    pub(crate) images_per_second: Option<f64>,
    /// When it began, RFC 3339.
    pub(crate) started: Option<String>,
    /// When it last ended, RFC 3339.
    pub(crate) ended: Option<String>,
    /// The bytes of its model file.
    pub(crate) model_bytes: Option<u64>,
    /// Whether it has its page.
    pub(crate) has_report: bool,
    /// The batches that it was to learn by heart, as a test: it is no result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) overfit_batches: Option<u64>,
}

/// What a run's directory says besides its curves.
#[derive(Debug)]
pub(super) struct Facts {
    /// `run.json`, or why it cannot be read.
    pub(super) record: Result<RunRecord, String>,
    config: toml::Table,
    model_bytes: Option<u64>,
    has_report: bool,
}

impl Facts {
    /// Reads them.
    pub(super) fn read(run: &RunDir) -> Self {
        Self {
            record: record(run),
            config: config(run).and_then(|text| text.parse().ok()).unwrap_or_default(),
            model_bytes: regular(&run.model()),
            has_report: regular(&run.report()).is_some(),
        }
    }

    /// Reads `run.json` again.
    pub(super) fn read_record(&mut self, run: &RunDir) {
        self.record = record(run);
    }

    /// Whether the run was training when its record was last written.
    pub(super) fn says_running(&self) -> bool {
        self.record.as_ref().is_ok_and(|record| record.status == Status::Running)
    }

    /// Whether the run is finished.
    pub(super) fn says_done(&self) -> bool {
        self.record.as_ref().is_ok_and(|record| record.status == Status::Done)
    }

    /// What is different when a process has begun to train the run since.
    pub(super) fn process(&self) -> Option<(&str, usize)> {
        self.record.as_ref().ok().map(|record| (record.started.as_str(), record.history.len()))
    }

    fn text(&self, section: &str, key: &str) -> Option<String> {
        Some(self.config.get(section)?.get(key)?.as_str()?.to_owned())
    }
}

/// The text of `config.toml`, if there is one.
pub(super) fn config(run: &RunDir) -> Option<String> {
    regular(&run.config())?;
    let bytes = file::read_bounded(&run.config(), MOST_CONFIG_BYTES).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn record(run: &RunDir) -> Result<RunRecord, String> {
    match regular(&run.record()) {
        None => return Err("it has no run.json".to_owned()),
        Some(bytes) if bytes > MOST_RECORD_BYTES => return Err(format!("its run.json has {bytes} bytes")),
        Some(_) => {}
    }
    RunRecord::load(run).map_err(|error| crate::Error::from(error).to_string())
}

/// What the finished epochs come to.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    done: usize,
    seconds: f64,
    best: Option<Best>,
    train_loss: Option<f64>,
    images_per_second: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
struct Best {
    epoch: usize,
    accuracy: f64,
    score: f64,
    loss: f64,
}

impl Epochs {
    /// Takes the next one into account.
    pub(super) fn add(&mut self, point: &EpochPoint) {
        self.done = self.done.max(point.epoch);
        self.seconds += point.seconds.unwrap_or(0.0);
        (self.train_loss, self.images_per_second) = (point.train_loss, point.images_per_second);
        let Some(accuracy) = point.validation_accuracy else { return };
        let loss = point.validation_loss.unwrap_or(f64::INFINITY);
        // As training judges: the highest accuracy, or what the config names, and the lower loss among equals.
        let score = point.score.unwrap_or(accuracy);
        if self.best.is_none_or(|best| score > best.score || (score == best.score && loss < best.loss)) {
            self.best = Some(Best { epoch: point.epoch, accuracy, score, loss });
        }
    }
}

/// The line of the run in `dir`, called `name`.
pub(super) fn line(
    name: &str,
    dir: &RunDir,
    facts: &Facts,
    epochs: &Epochs,
    newest: Option<&ProgressPoint>,
    is_live: bool,
) -> RunSummary {
    let record = facts.record.as_ref().ok();
    let (status, message) = standing(dir, facts, is_live);
    let result = |key: &str| record.and_then(|record| record.result.as_ref()?.get(key)?.as_f64());
    let train =
        |key: &str| facts.config.get("train")?.get(key)?.as_integer().and_then(|count| u64::try_from(count).ok());
    let planned = train("epochs").filter(|epochs| *epochs > 0);
    let done = planned.map(|planned| (epochs.done as f64 / planned as f64).min(1.0));
    // The point inside an epoch counts only where it is the newest that there is.
    let point = newest.filter(|point| point.epoch > epochs.done);
    RunSummary {
        name: name.to_owned(),
        status,
        message,
        experiment: facts.config.get("name").and_then(|name| Some(name.as_str()?.to_owned())),
        data: facts.text("data", "kind"),
        model: facts.text("model", "kind"),
        optimizer: facts.text("optimizer", "kind"),
        seed: record.map(|record| record.seed),
        device: record.map(|record| record.device.clone()),
        epochs: planned,
        epochs_done: epochs.done,
        progress: match status {
            Standing::Done => Some(1.0),
            _ => point.map(|point| point.iteration as f64 / point.iterations.max(1) as f64).or(done),
        },
        train_loss: point.map(|point| point.loss).or(epochs.train_loss),
        best_epoch: epochs.best.map(|best| best.epoch),
        validation_accuracy: epochs.best.map(|best| best.accuracy),
        test_accuracy: result("test_accuracy"),
        seconds: point.map_or(epochs.seconds, |point| point.seconds),
        images_per_second: point.map(|point| point.images_per_second).or(epochs.images_per_second),
        started: record.map(|record| record.started.clone()),
        ended: record.and_then(|record| record.ended.clone()),
        model_bytes: facts.model_bytes,
        has_report: facts.has_report,
        overfit_batches: train("overfit_batches"),
    }
}

/// How the run stands and why. The lock decides whether it is in training: it ends with its holder, however that ends.
fn standing(dir: &RunDir, facts: &Facts, is_live: bool) -> (Standing, Option<String>) {
    let record = match &facts.record {
        Ok(record) => record,
        Err(problem) => return (Standing::Unreadable, Some(problem.clone())),
    };
    let standing = Standing::of(record.status, is_live);
    let go_on = format!("go on with it: kiln resume {}", quoted(dir.path()));
    let message = match record.status {
        Status::Running if !is_live => Some(format!("its process was killed; {go_on}")),
        Status::Interrupted => Some(format!("{}; {go_on}", record.message.as_deref().unwrap_or("stopped"))),
        _ => record.message.clone(),
    };
    (standing, message)
}
