//! Training as it goes: a line of progress for the epoch under way on a terminal, and a line per epoch.

use std::io;
use std::path::Path;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value, json};

use super::layout::{EpochTable, ProgressLine};
use super::preparing::Preparing;
use super::ui::{self, CYAN, DIM, GREEN, Ui};
use crate::board;
use crate::run::EpochMetrics;
use crate::train::observer::{Observer, Progress};

/// Who is told of training and shows it.
pub struct TrainingLines {
    ui: Ui,
    board: Option<String>,
    live: bool,
    bar: Option<ProgressBar>,
    testing: Option<ProgressBar>,
    /// When the first progress was told, and how many iterations of the run had been done.
    begun: Option<(Instant, f64)>,
    table: Option<EpochTable>,
    /// Whether the device has kernels to prepare.
    prepares: bool,
    /// Until the first progress.
    preparing: Option<Preparing>,
}

impl TrainingLines {
    /// Nothing yet; the run can be watched on the page at `board`, if there is one. `prepares`: the device compiles and tunes kernels
    /// before there is any progress.
    pub fn new(ui: Ui, board: Option<String>, prepares: bool) -> Self {
        let live = ui.is_live();
        Self { ui, board, live, bar: None, testing: None, begun: None, table: None, prepares, preparing: None }
    }

    fn bar(&mut self, progress: &Progress) -> &ProgressBar {
        self.bar.get_or_insert_with(|| {
            let bar =
                ProgressBar::with_draw_target(Some(progress.iterations as u64), ProgressDrawTarget::stderr_with_hz(10));
            let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style);
            ui::put_up(&bar);
            bar
        })
    }

    fn event(&self, name: &str, value: Value) {
        if let (true, Value::Object(fields)) = (self.ui.streams(), value) {
            self.ui.event(name, fields);
        }
    }
}

impl Observer for TrainingLines {
    fn on_start(&mut self, run_dir: &Path) {
        let name = run_dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let board = self.board.as_ref().map(|url| format!("\nboard          {url}{}", board::fragment(&name)));
        self.ui.say(&format!("run            {}{}\n", run_dir.display(), board.unwrap_or_default()));
        self.event("run", json!({ "run_dir": run_dir }));
        self.preparing = self.prepares.then(|| Preparing::begin(self.ui));
    }

    fn on_iteration(&mut self, progress: &Progress) {
        self.preparing = None;
        if !self.live {
            return;
        }
        let total = (progress.epochs * progress.iterations) as f64;
        let done = ((progress.epoch - 1) * progress.iterations + progress.iteration) as f64;
        let (begun, done_before) = *self.begun.get_or_insert((Instant::now(), done));
        let left = seconds_left(begun.elapsed().as_secs_f64(), done - done_before, total - done);
        let line = ProgressLine::fitting(ui::columns_of(&io::stderr()), progress, left);
        let ProgressLine { before, done, left, behind } = line;
        let bar = self.bar(progress);
        let line = match anstream::AutoStream::choice(&io::stderr()) {
            anstream::ColorChoice::Never => format!("{before} {done}{left} {behind}"),
            _ => format!("{before} {CYAN}{done}{CYAN:#}{DIM}{left}{DIM:#} {behind}"),
        };
        bar.set_message(line);
        bar.set_position(progress.iteration as u64);
    }

    fn on_test(&mut self, done: usize, total: usize) {
        let ui = self.ui;
        let bar = self.testing.get_or_insert_with(|| ui.bar("measuring", total));
        bar.set_position(done as u64);
        if done == total {
            bar.finish_and_clear();
        }
    }

    fn on_epoch(&mut self, metrics: &EpochMetrics, epochs: usize, best: bool) {
        self.preparing = None;
        if self.bar.take().is_some() {
            ui::take_down();
        }
        let is_best = best && metrics.validation_accuracy.is_some();
        if let Ok(Value::Object(fields)) = serde_json::to_value(metrics) {
            let of_run = Map::from_iter([("epochs".to_owned(), json!(epochs)), ("best".to_owned(), json!(is_best))]);
            self.event("epoch", Value::Object(fields.into_iter().chain(of_run).collect()));
        }
        let table = self.table.get_or_insert_with(|| {
            let table = EpochTable::fitting(self.ui.columns(), epochs);
            self.ui.aside(&table.heading());
            table
        });
        let mark = if is_best { format!("{GREEN}{}{GREEN:#}", EpochTable::mark()) } else { String::new() };
        self.ui.say(&table.row(metrics, &mark));
    }
}

impl Drop for TrainingLines {
    fn drop(&mut self) {
        // A run that was stopped within an epoch has no more progress to show.
        if self.bar.take().is_some() {
            ui::take_down();
        }
    }
}

/// Seconds until `left` iterations are done too, when `done` took `elapsed`: those of this process alone, since earlier ones
/// of a resumed run took none of its time. Unknown before the first.
fn seconds_left(elapsed: f64, done: f64, left: f64) -> Option<f64> {
    (done > 0.0).then(|| elapsed / done * left.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_after_a_resume_follows_from_what_was_done_since() {
        // Resumed after 900 of 1,000 iterations; 10 more took 2 seconds.
        assert_eq!(seconds_left(2.0, 10.0, 90.0), Some(18.0));
        assert_eq!(seconds_left(2.0, 0.0, 100.0), None);
        assert_eq!(seconds_left(2.0, 10.0, -5.0), Some(0.0));
    }
}
