//! The one error type: what was found, what is allowed, what to do next, and the exit code that follows.
//! It prints nothing; `main` renders it.

use std::fmt::Write as _;

/// A result whose error is an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who has to act, which decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something went wrong while running, or a demanded result was missed: exit code 1.
    Failed,
    /// Training left the numbers that a computer can hold, and would again: exit code 1.
    Diverged,
    /// The command line, the config or the data cannot be used as given: exit code 2.
    Usage,
    /// The user stopped it: exit code 130.
    Interrupted,
}

/// One error, with its causes and the next actions.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: Kind,
    message: String,
    tips: Vec<String>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), tips: Vec::new(), source: None }
    }

    /// The run went wrong or a gate was missed: exit code 1.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// A NaN or an infinity ended training: exit code 1.
    pub fn diverged(message: impl Into<String>) -> Self {
        Self::new(Kind::Diverged, message)
    }

    /// The command line, config or data is unusable: exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// The user interrupted: exit code 130.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self::new(Kind::Interrupted, message)
    }

    /// Adds a next action for the user.
    #[must_use]
    pub fn tip(mut self, tip: impl Into<String>) -> Self {
        self.tips.push(tip.into());
        self
    }

    /// Keeps the tips that `keep` says true of.
    #[must_use]
    pub(crate) fn retain_tips(mut self, keep: impl Fn(&str) -> bool) -> Self {
        self.tips.retain(|tip| keep(tip));
        self
    }

    /// Records what caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Who has to act.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The next actions, in order.
    pub fn tips(&self) -> &[String] {
        &self.tips
    }

    /// The error for programs: who has to act, the message, its causes, the next actions, the exit code.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let causes: Vec<String> = std::iter::successors(std::error::Error::source(self), |error| error.source())
            .map(ToString::to_string)
            .collect();
        let kind = match self.kind {
            Kind::Failed => "failed",
            Kind::Diverged => "diverged",
            Kind::Usage => "usage",
            Kind::Interrupted => "interrupted",
        };
        serde_json::json!({
            "kind": kind, "message": self.message, "causes": causes, "tips": self.tips, "exit_code": self.exit_code(),
        })
    }

    /// The whole error on one line, without the tips.
    pub fn line(&self) -> String {
        let text = self.render();
        let lines = text.lines().filter(|line| !line.starts_with("tip: "));
        lines.map(|line| line.trim_start_matches("error: ").trim()).collect::<Vec<_>>().join("; ")
    }

    /// The process exit code: 1 failed, 2 usage, 130 interrupted.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Failed | Kind::Diverged => 1,
            Kind::Usage => 2,
            Kind::Interrupted => 130,
        }
    }

    /// The whole error as plain text: `error: `, then a `caused by: ` line per cause, then the tips.
    pub fn render(&self) -> String {
        let mut text = format!("error: {}", self.message);
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let _ = write!(text, "\ncaused by: {error}");
            cause = error.source();
        }
        for tip in &self.tips {
            let _ = write!(text, "\ntip: {tip}");
        }
        // A message may quote a file or a command line, and neither may command a terminal.
        text.replace(|letter: char| letter.is_control() && letter != '\n', "\u{fffd}")
    }
}

/// A word for a shell, in quotes where it needs them: paths in commands that a tip or a "next" names.
pub(crate) fn quoted(word: impl AsRef<std::path::Path>) -> String {
    let word = word.as_ref().display().to_string();
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_./=:,+@%".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_message_causes_and_tips_in_that_order() {
        let error = Error::usage("`train.epochs`: must be at least 1, got 0")
            .caused_by(Error::failed("inner").caused_by(std::io::Error::other("disk")))
            .tip("set it to 10");
        assert_eq!(
            error.render(),
            "error: `train.epochs`: must be at least 1, got 0\ncaused by: inner\ncaused by: disk\ntip: set it to 10"
        );
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn for_programs_it_is_one_object() {
        let error =
            Error::usage("no").caused_by(Error::failed("inner").caused_by(std::io::Error::other("disk"))).tip("yes");
        let expected = serde_json::json!({
            "kind": "usage", "message": "no", "causes": ["inner", "disk"], "tips": ["yes"], "exit_code": 2,
        });
        assert_eq!(error.to_json(), expected);
    }

    #[test]
    fn a_path_in_a_command_is_quoted_where_a_shell_needs_it() {
        assert_eq!(quoted("runs/mnist-0001"), "runs/mnist-0001");
        assert_eq!(quoted("my runs/mnist-0001"), "'my runs/mnist-0001'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn what_a_message_quotes_cannot_command_the_terminal() {
        let error = Error::usage("`\u{1b}[2J` is\nno key").tip("\u{9b}31m");
        assert_eq!(error.render(), "error: `\u{fffd}[2J` is\nno key\ntip: \u{fffd}31m");
    }
}
