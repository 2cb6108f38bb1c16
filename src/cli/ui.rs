//! All printing. Results go to stdout, everything else to stderr; a closed pipe ends the output and nothing else.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::data::progress;
use crate::run::EpochMetrics;
use crate::train::observer::{Observer, Progress};
use crate::{Error, Result, board, report};

/// How much is said, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// For people: text on stdout.
    Text,
    /// Nothing but results and errors.
    Quiet,
    /// One JSON value on stdout; what people would read goes to stderr.
    Json,
}

/// The terminal, or the pipe.
#[derive(Clone, Copy, Debug)]
pub struct Ui {
    mode: Mode,
}

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default().bold();
const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const CYAN: Style = AnsiColor::Cyan.on_default();

impl Ui {
    /// Prints in `mode`.
    pub fn new(mode: Mode) -> Self {
        Self { mode }
    }

    /// How it prints.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// A result: stdout, in every mode.
    pub fn out(&self, text: &str) {
        write_out(text);
    }

    /// A JSON result on one line: stdout, in every mode.
    pub fn json(&self, value: &serde_json::Value) {
        self.out(&value.to_string());
    }

    /// What people want to read: stdout, or stderr when stdout is for JSON; nothing when quiet.
    pub fn say(&self, text: &str) {
        match self.mode {
            Mode::Text => write_out(text),
            Mode::Json => write_err(text),
            Mode::Quiet => {}
        }
    }

    /// A heading within what is said.
    pub fn heading(&self, text: &str) {
        self.say(&format!("{BOLD}{text}{BOLD:#}"));
    }

    /// Something less important.
    pub fn aside(&self, text: &str) {
        self.say(&format!("{DIM}{text}{DIM:#}"));
    }

    /// Something the user should know of: stderr, in every mode.
    pub fn warn(&self, text: &str) {
        write_err(&format!("{YELLOW}warning:{YELLOW:#} {text}"));
    }

    /// A bar over `total` things on stderr when that is a terminal, after `delay`; invisible otherwise.
    pub fn bar(&self, what: &str, total: usize) -> ProgressBar {
        if self.mode == Mode::Quiet || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr_with_hz(10));
        let style = ProgressStyle::with_template("{msg} {bar:30.cyan/dim} {pos}/{len} {eta:>4} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        bar.set_message(what.to_owned());
        bar
    }

    /// Shows how far a long reading of files is, whoever reads.
    pub fn follow_reading(&self) {
        let (ui, bar) = (*self, Mutex::new(None::<ProgressBar>));
        progress::listen(move |reading| {
            let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
            bar.get_or_insert_with(|| ui.bar(reading.what, reading.of)).set_position(reading.done as u64);
            if reading.done == reading.of
                && let Some(bar) = bar.take()
            {
                bar.finish_and_clear();
            }
        });
    }

    /// How many columns the terminal has; 80 where stdout is none.
    pub fn width(&self) -> usize {
        terminal_size::terminal_size_of(io::stdout()).map_or(80, |(width, _)| usize::from(width.0))
    }

    /// Whether what people read comes out in colour.
    pub fn has_colour(&self) -> bool {
        let choice = match self.mode {
            Mode::Json => anstream::AutoStream::choice(&io::stderr()),
            _ => anstream::AutoStream::choice(&io::stdout()),
        };
        choice != anstream::ColorChoice::Never
    }

    /// Who is told of training, which can be watched on the page at `board`, if there is one.
    pub fn training(&self, board: Option<String>) -> TrainingLines {
        let live = self.mode != Mode::Quiet && io::stderr().is_terminal();
        TrainingLines { ui: *self, board, live, bar: None, testing: None, begun: None, epochs_done: 0 }
    }
}

/// Renders an error on stderr, with the tips and causes set apart.
pub fn error(error: &Error) {
    let mut text = String::new();
    for line in error.render().lines() {
        let styled = [("error: ", RED), ("caused by: ", BOLD), ("tip: ", CYAN)]
            .into_iter()
            .find_map(|(label, style)| {
                line.strip_prefix(label).map(|rest| format!("{style}{}{style:#} {rest}", label.trim_end()))
            })
            .unwrap_or_else(|| line.to_owned());
        let _ = writeln!(text, "{styled}");
    }
    write_err(text.trim_end());
}

/// The first reason why a line could not be written to stdout.
static LOST: Mutex<Option<io::Error>> = Mutex::new(None);

/// Stdout. A closed pipe means that nobody reads on; anything else is told at the end, by [`output_was_written`].
fn write_out(text: &str) {
    if let Err(error) = write(&mut anstream::stdout(), text)
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        LOST.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

fn write(stream: &mut impl io::Write, text: &str) -> io::Result<()> {
    writeln!(stream, "{text}")?;
    stream.flush()
}

/// Stderr, of which nobody can be told when it fails.
fn write_err(text: &str) {
    let _ = write(&mut anstream::stderr(), text);
}

/// # Errors
/// When a part of what was printed to stdout is lost.
pub fn output_was_written() -> Result<()> {
    match LOST.lock().unwrap_or_else(PoisonError::into_inner).take() {
        None => Ok(()),
        Some(error) => Err(Error::failed("cannot write the output: a part of it is lost").caused_by(error)),
    }
}

/// Training as it goes: a bar for the epoch under way on a terminal, and a line per epoch.
pub struct TrainingLines {
    ui: Ui,
    board: Option<String>,
    live: bool,
    bar: Option<ProgressBar>,
    testing: Option<ProgressBar>,
    /// When the first progress was told, and how many iterations of the run had been done.
    begun: Option<(Instant, f64)>,
    epochs_done: usize,
}

impl TrainingLines {
    fn bar(&mut self, progress: &Progress) -> &ProgressBar {
        self.bar.get_or_insert_with(|| {
            let bar =
                ProgressBar::with_draw_target(Some(progress.iterations as u64), ProgressDrawTarget::stderr_with_hz(10));
            let style = ProgressStyle::with_template("{prefix} {bar:24.cyan/dim} {pos:>4}/{len} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style);
            bar
        })
    }
}

impl Observer for TrainingLines {
    fn on_start(&mut self, run_dir: &Path) {
        let name = run_dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let board = self.board.as_ref().map(|url| format!("\nboard          {url}{}", board::fragment(&name)));
        self.ui.say(&format!("run            {}{}\n", run_dir.display(), board.unwrap_or_default()));
    }

    fn on_iteration(&mut self, progress: &Progress) {
        if !self.live {
            return;
        }
        let total = (progress.epochs * progress.iterations) as f64;
        let done = ((progress.epoch - 1) * progress.iterations + progress.iteration) as f64;
        let (begun, done_before) = *self.begun.get_or_insert((Instant::now(), done));
        let left = seconds_left(begun.elapsed().as_secs_f64(), done - done_before, total - done)
            .map_or_else(String::new, |seconds| format!("{} left", report::duration(seconds)));
        let prefix = format!("epoch {:>2}/{}", progress.epoch, progress.epochs);
        let message = format!(
            "loss {:.4}  accuracy {:.2} %  {} images/s  {left}",
            progress.loss,
            progress.accuracy * 100.0,
            report::thousands(progress.images_per_second as u64),
        );
        let bar = self.bar(progress);
        bar.set_prefix(prefix);
        bar.set_message(message);
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
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if self.epochs_done == 0 {
            self.ui.aside(
                "epoch  iteration  learning rate  train loss  train acc.  valid. loss  valid. acc.  images/s   time",
            );
        }
        self.epochs_done += 1;
        let figure = |value: Option<f64>, scale: f64, decimals: usize, unit: &str| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{:.decimals$}{unit}", value * scale))
        };
        let mark = if best && metrics.validation_accuracy.is_some() {
            format!("  {GREEN}best{GREEN:#}")
        } else {
            String::new()
        };
        self.ui.say(&format!(
            "{:>2}/{:<2}  {:>9}  {:>13.3e}  {:>10.4}  {:>9.2}%  {:>11}  {:>11}  {:>8}  {:>5}{mark}",
            metrics.epoch,
            epochs,
            metrics.iteration,
            metrics.learning_rate,
            metrics.train_loss,
            metrics.train_accuracy * 100.0,
            figure(metrics.validation_loss, 1.0, 4, ""),
            figure(metrics.validation_accuracy, 100.0, 2, "%"),
            report::thousands(metrics.images_per_second as u64),
            report::duration(metrics.seconds),
        ));
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
