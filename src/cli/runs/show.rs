//! `kiln runs show`: one run in the terminal, whatever its state.

use std::path::PathBuf;

use serde::Serialize;

use crate::cli::quoted;
use crate::cli::ui::{Mode, Ui};
use crate::lifecycle::{Run, Summary};
use crate::run::{EpochMetrics, MeasuredOn, Standing, Status};
use crate::{Error, Result, report};

/// The widths that are drawn for; a terminal that is narrower or wider counts as the nearer one.
const WIDTHS: std::ops::RangeInclusive<usize> = 40..=200;

/// The arguments of `kiln runs show`.
#[derive(Debug, clap::Args)]
pub struct ShowArguments {
    /// A run: its directory, its number, or latest, finished or not
    #[arg(value_name = "RUN", value_parser = crate::cli::run_parser(), add = crate::cli::completions::runs())]
    run: PathBuf,

    /// Draw for so many columns, 40 to 200; without it: as wide as the terminal, or 80
    #[arg(long, value_name = "COLUMNS", value_parser = clap::value_parser!(u16).range(40..=200))]
    width: Option<u16>,
}

/// What is shown of a run.
#[derive(Debug, Serialize)]
struct Shown {
    run: PathBuf,
    status: Standing,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    name: String,
    config: String,
    seed: u64,
    device: String,
    started: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<String>,
    epochs: usize,
    epochs_done: usize,
    iterations: usize,
    best_epoch: Option<usize>,
    validation_accuracy: Option<f64>,
    validation_loss: Option<f64>,
    test_accuracy: Option<f64>,
    test_correct: Option<usize>,
    test_total: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unmeasured: Option<&'static str>,
    seconds: f64,
    metrics: Vec<EpochMetrics>,
}

/// Prints the summary and the curves. With `--json`: the same as data.
pub fn run(arguments: ShowArguments, ui: &mut Ui) -> Result<()> {
    let shown = Shown::of(&Run::open(&arguments.run)?)?;
    if ui.mode() == Mode::Json {
        let value = serde_json::to_value(&shown);
        ui.json(&value.map_err(|error| Error::failed("cannot encode the run").caused_by(error))?);
        return Ok(());
    }
    let width = arguments.width.map_or_else(|| ui.width(), usize::from).clamp(*WIDTHS.start(), *WIDTHS.end());
    ui.out(&wrapped(&shown.lines(), width));
    let curves = report::curves(&shown.metrics, shown.best_epoch, width, ui.has_colour());
    if !curves.is_empty() {
        ui.out(&format!("\n{curves}"));
    }
    Ok(())
}

impl Shown {
    fn of(run: &Run) -> Result<Self> {
        let (record, experiment, metrics) = (run.record()?, run.experiment()?, run.metrics()?);
        let summary: Option<Summary> = record.result.clone().and_then(|value| serde_json::from_value(value).ok());
        let best = best(&metrics);
        let standing = run.standing();
        let was_killed = standing == Standing::Stopped && record.status == Status::Running;
        let kinds = [experiment.model.kind(), experiment.optimizer.kind(), experiment.schedule.shape.kind()];
        Ok(Self {
            run: run.path().to_owned(),
            status: standing,
            message: record.message.or_else(|| was_killed.then(|| "its process was killed".to_owned())),
            config: format!("{} with {}, {}", kinds[0], kinds[1], kinds[2]),
            name: experiment.name,
            seed: experiment.seed,
            device: record.device,
            started: record.started,
            ended: record.ended,
            epochs: experiment.train.epochs,
            epochs_done: metrics.len(),
            iterations: metrics.last().map_or(0, |epoch| epoch.iteration),
            best_epoch: best.map(|epoch| epoch.epoch),
            validation_accuracy: best.and_then(|epoch| epoch.validation_accuracy),
            validation_loss: best.and_then(|epoch| epoch.validation_loss),
            test_accuracy: summary.as_ref().and_then(|summary| summary.test_accuracy),
            test_correct: summary.as_ref().and_then(|summary| summary.test_correct),
            test_total: summary.as_ref().and_then(|summary| summary.test_total),
            unmeasured: match record.measured_on {
                MeasuredOn::Test => None,
                MeasuredOn::Validation => Some("a trial of a sweep is chosen by its validation images"),
                MeasuredOn::Training => {
                    Some("it learned a few batches by heart, as a test of the network, and is no result")
                }
            },
            seconds: metrics.iter().map(|epoch| epoch.seconds).sum(),
            metrics,
        })
    }

    /// The summary: what each line is about, and what it says.
    fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![("run", self.run.display().to_string())];
        let message = self.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
        lines.push(("status", format!("{}{message}", self.status.word())));
        lines.push(("config", format!("{}: {}; seed {}", self.name, self.config, self.seed)));
        let of_best = self.best_epoch.map(|best| format!("; the best is epoch {best}")).unwrap_or_default();
        lines.push(("epochs", format!("{} of {}{of_best}", self.epochs_done, self.epochs)));
        if let (Some(accuracy), Some(loss)) = (self.validation_accuracy, self.validation_loss) {
            lines.push(("validation", format!("{:.2} % accuracy, loss {loss:.4}", accuracy * 100.0)));
        }
        if let (Some(accuracy), Some(correct), Some(total)) = (self.test_accuracy, self.test_correct, self.test_total) {
            lines.push(("test", format!("{:.2} % accuracy, {correct} of {total} right", accuracy * 100.0)));
        }
        lines.extend(self.unmeasured.map(|why| ("test", format!("not measured: {why}"))));
        lines.push(("time", format!("{} in epochs, on {}", seconds(self.seconds), self.device)));
        lines.push(("started", self.started.clone()));
        lines.extend(self.ended.clone().map(|ended| ("ended", ended)));
        if matches!(self.status, Standing::Stopped | Standing::Failed) {
            lines.push(("next", format!("kiln resume {}", quoted(&self.run))));
        }
        lines
    }
}

/// The epoch with the highest validation accuracy, or what `checkpoint.best_by` names, and the lower loss among equals;
/// without validation, the last.
fn best(metrics: &[EpochMetrics]) -> Option<&EpochMetrics> {
    let rank = |epoch: &EpochMetrics| Some((epoch.score.or(epoch.validation_accuracy)?, -epoch.validation_loss?));
    let better = |one: &&EpochMetrics, other: &&EpochMetrics| {
        rank(one).partial_cmp(&rank(other)).unwrap_or(std::cmp::Ordering::Equal)
    };
    // Of the same, the first one is kept.
    match metrics.iter().any(|epoch| epoch.validation_accuracy.is_some()) {
        true => metrics.iter().rev().max_by(better),
        false => metrics.last(),
    }
}

fn seconds(seconds: f64) -> String {
    match seconds {
        short if short < 120.0 => format!("{short:.1} s"),
        medium if medium < 7200.0 => format!("{:.1} min", medium / 60.0),
        long => format!("{:.1} h", long / 3600.0),
    }
}

/// Lines with their labels before them, broken between words so that none is wider than `width`. A word that is wider is
/// broken anywhere.
fn wrapped(lines: &[(&str, String)], width: usize) -> String {
    const LABEL: usize = 12;
    let room = width - LABEL;
    let mut text = Vec::new();
    for (label, value) in lines {
        let mut parts = vec![String::new()];
        for word in value.split(' ') {
            let letters: Vec<char> = word.chars().collect();
            for (index, piece) in letters.chunks(room).enumerate() {
                let piece: String = piece.iter().collect();
                let last = parts.len() - 1;
                let space = usize::from(index == 0 && !parts[last].is_empty());
                if index > 0 || parts[last].chars().count() + space + piece.chars().count() > room {
                    parts.push(piece);
                } else {
                    parts[last] += &format!("{}{piece}", " ".repeat(space));
                }
            }
        }
        for (index, part) in parts.iter().enumerate() {
            text.push(format!("{:<LABEL$}{part}", if index == 0 { label } else { "" }));
        }
    }
    text.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown() -> Shown {
        let epoch = |(epoch, accuracy): (usize, f64)| EpochMetrics {
            epoch,
            iteration: 550 * epoch,
            learning_rate: 0.001,
            train_loss: 0.5,
            train_accuracy: 0.9,
            validation_loss: Some(0.25),
            validation_accuracy: Some(accuracy),
            validation_balanced_accuracy: None,
            validation_macro_f1: None,
            score: None,
            weights_sha256: String::new(),
            images_per_second: 1000.0,
            seconds: 40.0,
        };
        let metrics: Vec<_> = [(1, 0.5), (2, 0.75), (3, 0.75), (4, 0.25)].map(epoch).into();
        Shown {
            run: "runs/a-name-that-is-much-longer-than-a-narrow-terminal-0001".into(),
            status: Standing::Stopped,
            message: Some("stopped after iteration 2200 of 8800".into()),
            name: "mnist".into(),
            config: "convnet with adam, one_cycle".into(),
            seed: 42,
            device: "flex".into(),
            started: "2026-01-02T03:04:05Z".into(),
            ended: None,
            epochs: 16,
            epochs_done: 4,
            iterations: 2200,
            best_epoch: best(&metrics).map(|epoch| epoch.epoch),
            validation_accuracy: Some(0.75),
            validation_loss: Some(0.25),
            test_accuracy: Some(0.5),
            test_correct: Some(5),
            test_total: Some(10),
            unmeasured: None,
            seconds: 160.0,
            metrics,
        }
    }

    #[test]
    fn the_summary_fits_into_every_width() {
        for width in WIDTHS {
            let text = wrapped(&shown().lines(), width);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}\n{text}");
        }
        insta::assert_snapshot!(wrapped(&shown().lines(), 40), @r"
        run         runs/a-name-that-is-much-lon
                    ger-than-a-narrow-terminal-0
                    001
        status      stopped: stopped after
                    iteration 2200 of 8800
        config      mnist: convnet with adam,
                    one_cycle; seed 42
        epochs      4 of 16; the best is epoch 2
        validation  75.00 % accuracy, loss
                    0.2500
        test        50.00 % accuracy, 5 of 10
                    right
        time        2.7 min in epochs, on flex
        started     2026-01-02T03:04:05Z
        next        kiln resume
                    runs/a-name-that-is-much-lon
                    ger-than-a-narrow-terminal-0
                    001
        ");
    }

    #[test]
    fn the_summary_in_80_columns() {
        insta::assert_snapshot!(wrapped(&shown().lines(), 80), @r"
        run         runs/a-name-that-is-much-longer-than-a-narrow-terminal-0001
        status      stopped: stopped after iteration 2200 of 8800
        config      mnist: convnet with adam, one_cycle; seed 42
        epochs      4 of 16; the best is epoch 2
        validation  75.00 % accuracy, loss 0.2500
        test        50.00 % accuracy, 5 of 10 right
        time        2.7 min in epochs, on flex
        started     2026-01-02T03:04:05Z
        next        kiln resume
                    runs/a-name-that-is-much-longer-than-a-narrow-terminal-0001
        ");
    }

    #[test]
    fn the_best_epoch_is_the_first_of_the_most_accurate() {
        assert_eq!(shown().best_epoch, Some(2));
        let mut without = shown().metrics;
        without.iter_mut().for_each(|epoch| (epoch.validation_accuracy, epoch.validation_loss) = (None, None));
        assert_eq!(best(&without).map(|epoch| epoch.epoch), Some(4));
        assert!(best(&[]).is_none());
    }
}
