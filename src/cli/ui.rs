//! All printing. Results go to stdout, everything else to stderr; a closed pipe ends the output and nothing else.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::layout::{self, UNLIMITED};
use super::training::TrainingLines;
use crate::data::progress;
use crate::error::Kind;
use crate::{Error, Result};

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
    streams: bool,
}

const BOLD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const GREEN: Style = AnsiColor::Green.on_default().bold();
const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
pub(super) const CYAN: Style = AnsiColor::Cyan.on_default();

/// The bar that is on the terminal, if one is: what is printed goes above it, and none stays behind.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Whether JSON was printed: then an error is told on stderr and by the exit code alone.
static JSON_WAS_PRINTED: AtomicBool = AtomicBool::new(false);

impl Ui {
    /// Prints in `mode`.
    pub fn new(mode: Mode) -> Self {
        Self { mode, streams: false }
    }

    /// Prints a JSON value for every epoch, and one for the result.
    pub fn streaming() -> Self {
        Self { mode: Mode::Json, streams: true }
    }

    /// Whether what happens is printed as JSON when it happens, each with its `event`.
    pub fn streams(&self) -> bool {
        self.streams
    }

    /// How it prints.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// A result: stdout, in every mode.
    pub fn out(&self, text: &str) {
        write_out(text);
    }

    /// A JSON result on one line: stdout, in every mode. In a stream it says that it is the result.
    pub fn json(&self, value: &Value) {
        match value {
            Value::Object(fields) if self.streams => self.event("result", fields.clone()),
            _ => self.json_line(value),
        }
    }

    /// Something that happened, in a stream of JSON values.
    pub fn event(&self, name: &str, fields: serde_json::Map<String, Value>) {
        let named = [("event".to_owned(), json!(name))].into_iter().chain(fields);
        self.json_line(&Value::Object(named.collect()));
    }

    fn json_line(&self, value: &Value) {
        JSON_WAS_PRINTED.store(true, Ordering::Relaxed);
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

    /// A heading within what is said, folded where the terminal is narrower.
    pub fn heading_lines(&self, text: &str) {
        self.heading(&self.folded(text));
    }

    /// Something less important.
    pub fn aside(&self, text: &str) {
        self.say(&format!("{DIM}{text}{DIM:#}"));
    }

    /// Lines of words with their labels, as [`Ui::say`], folded where the terminal is narrower.
    pub fn lines(&self, text: &str) {
        self.say(&self.folded(text));
    }

    /// Words folded for where people read them.
    pub fn folded(&self, text: &str) -> String {
        layout::fold(text, self.columns())
    }

    /// Something the user should know of: stderr, in every mode.
    pub fn warn(&self, text: &str) {
        write_err(&layout::fold(&format!("{YELLOW}warning:{YELLOW:#} {text}"), columns_of(&io::stderr())));
    }

    /// A bar over `total` things on stderr when that is a terminal; invisible otherwise. An interrupt takes it away.
    pub fn bar(&self, what: &str, total: usize) -> ProgressBar {
        if !self.is_live() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr_with_hz(10));
        let style = ProgressStyle::with_template("{msg} {bar:15.cyan/dim} {pos}/{len} {eta:>4} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        bar.set_message(what.to_owned());
        put_up(&bar);
        // Where somebody else handles interrupts already, they go on to.
        let _ = ctrlc::set_handler(leave);
        bar
    }

    /// Shows how far a long reading of files is, whoever reads.
    pub fn follow_reading(&self) {
        let (ui, bar) = (*self, Mutex::new(None::<ProgressBar>));
        progress::listen(move |reading| {
            let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
            bar.get_or_insert_with(|| ui.bar(reading.what, reading.of)).set_position(reading.done as u64);
            if reading.done == reading.of {
                *bar = None;
                take_down();
            }
        });
    }

    /// Whether something that moves can be shown.
    pub fn is_live(&self) -> bool {
        self.mode != Mode::Quiet && io::stderr().is_terminal()
    }

    /// How many columns the terminal has; 80 where stdout is none.
    pub fn width(&self) -> usize {
        match columns_of(&io::stdout()) {
            UNLIMITED => 80,
            columns => columns,
        }
    }

    /// How many columns there are where people read: without limit where that is no terminal.
    pub fn columns(&self) -> usize {
        match self.mode {
            Mode::Json => columns_of(&io::stderr()),
            Mode::Text | Mode::Quiet => columns_of(&io::stdout()),
        }
    }

    /// Whether what people read can have any of 16 million colours.
    pub fn has_true_colour(&self) -> bool {
        let says = |name: &str, words: &[&str]| {
            std::env::var(name).is_ok_and(|value| words.iter().any(|word| value.contains(word)))
        };
        self.has_colour()
            && (says("COLORTERM", &["truecolor", "24bit"])
                || says("TERM", &["direct", "kitty", "alacritty"])
                || std::env::var_os("WT_SESSION").is_some())
    }

    /// Whether what people read comes out in colour.
    pub fn has_colour(&self) -> bool {
        let choice = match self.mode {
            Mode::Json => anstream::AutoStream::choice(&io::stderr()),
            _ => anstream::AutoStream::choice(&io::stdout()),
        };
        choice != anstream::ColorChoice::Never
    }

    /// Who is told of training: see [`TrainingLines::new`].
    pub fn training(&self, board: Option<String>, prepares: bool) -> TrainingLines {
        TrainingLines::new(*self, board, prepares)
    }

    /// The error for programs, where nothing was printed for them yet; then for people.
    pub fn error(&self, error: &Error) {
        if self.mode == Mode::Json && (self.streams || !JSON_WAS_PRINTED.load(Ordering::Relaxed)) {
            let told = json!({ "error": error.to_json() });
            match told {
                Value::Object(fields) if self.streams => self.event("error", fields),
                told => self.json_line(&told),
            }
        }
        self::error(error);
    }
}

/// How wide the terminal is that `stream` writes to; without limit where it is none.
#[cfg(unix)]
pub fn columns_of(stream: &impl std::os::fd::AsFd) -> usize {
    terminal_size::terminal_size_of(stream).map_or(UNLIMITED, |(width, _)| usize::from(width.0).max(1))
}

/// How wide the terminal is that `stream` writes to; without limit where it is none.
#[cfg(windows)]
pub fn columns_of(stream: &impl std::os::windows::io::AsHandle) -> usize {
    terminal_size::terminal_size_of(stream).map_or(UNLIMITED, |(width, _)| usize::from(width.0).max(1))
}

/// Makes `bar` the one that is on the terminal.
pub fn put_up(bar: &ProgressBar) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
}

/// Takes the bar off the terminal, if there is one.
pub fn take_down() {
    if let Some(bar) = BAR.lock().unwrap_or_else(PoisonError::into_inner).take() {
        bar.finish_and_clear();
    }
}

/// Ends the process because the user asked to, with nothing left on the terminal that is not true any more.
#[expect(clippy::exit, reason = "the user asked to leave at once")]
pub fn leave() {
    take_down();
    std::process::exit(130)
}

/// Does what prints above the bar, if there is one.
fn above_the_bar<T>(print: impl FnOnce() -> T) -> T {
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone().filter(|bar| !bar.is_finished());
    match bar {
        Some(bar) => bar.suspend(print),
        None => print(),
    }
}

/// Renders an error on stderr, with the tips and causes set apart. That the user stopped something is none.
pub fn error(error: &Error) {
    let mut text = String::new();
    for line in error.render().lines() {
        let styled = [("error: ", RED), ("caused by: ", BOLD), ("tip: ", CYAN)]
            .into_iter()
            .find_map(|(label, style)| {
                let rest = line.strip_prefix(label)?;
                Some(match label {
                    "error: " if error.kind() == Kind::Interrupted => rest.to_owned(),
                    _ => format!("{style}{}{style:#} {rest}", label.trim_end()),
                })
            })
            .unwrap_or_else(|| line.to_owned());
        let _ = writeln!(text, "{styled}");
    }
    write_err(&layout::fold(text.trim_end(), columns_of(&io::stderr())));
}

/// The first reason why a line could not be written to stdout.
static LOST: Mutex<Option<io::Error>> = Mutex::new(None);

/// Stdout. A closed pipe means that nobody reads on; anything else is told at the end, by [`output_was_written`].
fn write_out(text: &str) {
    if let Err(error) = above_the_bar(|| write(&mut anstream::stdout(), text))
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
    let _ = above_the_bar(|| write(&mut anstream::stderr(), text));
}

/// # Errors
/// When a part of what was printed to stdout is lost.
pub fn output_was_written() -> Result<()> {
    match LOST.lock().unwrap_or_else(PoisonError::into_inner).take() {
        None => Ok(()),
        Some(error) => Err(Error::failed("cannot write the output: a part of it is lost").caused_by(error)),
    }
}
