//! All printing. Results go to stdout, everything else to stderr; a closed pipe ends the output and nothing else.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::Error;
use crate::report;
use crate::train::observer::{Moment, Observer};
use crate::train::state::EpochMetrics;

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
        write(&mut anstream::stdout(), text);
    }

    /// A JSON result on one line: stdout, in every mode.
    pub fn json(&self, value: &serde_json::Value) {
        self.out(&value.to_string());
    }

    /// What people want to read: stdout, or stderr when stdout is for JSON; nothing when quiet.
    pub fn say(&self, text: &str) {
        match self.mode {
            Mode::Text => write(&mut anstream::stdout(), text),
            Mode::Json => write(&mut anstream::stderr(), text),
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
        write(&mut anstream::stderr(), &format!("{YELLOW}warning:{YELLOW:#} {text}"));
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

    /// Who is told of training.
    pub fn training(&self) -> TrainingLines {
        let live = self.mode != Mode::Quiet && io::stderr().is_terminal();
        TrainingLines { ui: *self, live, bar: None, begun: Instant::now(), epochs_done: 0 }
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
    write(&mut anstream::stderr(), text.trim_end());
}

fn write(stream: &mut impl io::Write, text: &str) {
    // A closed pipe means that nobody reads on; a full disk is met again by whatever writes the files that matter.
    let _ = writeln!(stream, "{text}");
    let _ = stream.flush();
}

/// Training as it goes: a bar for the epoch under way on a terminal, and a line per epoch.
pub struct TrainingLines {
    ui: Ui,
    live: bool,
    bar: Option<ProgressBar>,
    begun: Instant,
    epochs_done: usize,
}

impl TrainingLines {
    fn bar(&mut self, moment: &Moment) -> &ProgressBar {
        self.bar.get_or_insert_with(|| {
            let bar =
                ProgressBar::with_draw_target(Some(moment.iterations as u64), ProgressDrawTarget::stderr_with_hz(10));
            let style = ProgressStyle::with_template("{prefix} {bar:24.cyan/dim} {pos:>4}/{len} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style);
            bar
        })
    }
}

impl Observer for TrainingLines {
    fn iteration(&mut self, moment: &Moment) {
        if !self.live {
            return;
        }
        let total = (moment.epochs * moment.iterations) as f64;
        let done = ((moment.epoch - 1) * moment.iterations + moment.iteration) as f64;
        let left =
            Duration::from_secs_f64(self.begun.elapsed().as_secs_f64() / done.max(1.0) * (total - done).max(0.0));
        let prefix = format!("epoch {:>2}/{}", moment.epoch, moment.epochs);
        let message = format!(
            "loss {:.4}  accuracy {:.2} %  {} images/s  {} left",
            moment.loss,
            moment.accuracy * 100.0,
            report::thousands(moment.images_per_second as u64),
            report::duration(left.as_secs_f64())
        );
        let bar = self.bar(moment);
        bar.set_prefix(prefix);
        bar.set_message(message);
        bar.set_position(moment.iteration as u64);
    }

    fn epoch(&mut self, metrics: &EpochMetrics, epochs: usize, best: bool) {
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
