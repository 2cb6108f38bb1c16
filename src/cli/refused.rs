//! Command lines that cannot be read: in clap's words, except where a flag is a key of the config.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::ui::{self, Mode, Ui};
use crate::Error;
use crate::config::keys;

/// The most keys that are named for one flag.
const MOST: usize = 4;

/// Prints why the command line cannot be read, or the help that was asked for; gives the exit code.
pub fn tell(error: &clap::Error, words: &[OsString]) -> u8 {
    if !error.use_stderr() {
        let _ = error.print();
        return 0;
    }
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let is_json =
        words.iter().take_while(|word| *word != "--").any(|word| word == "--json" || word.starts_with("--json="));
    let of_key = flag_of_key(error, &words);
    match (&of_key, is_json) {
        (Some(error), false) => ui::error(error),
        (Some(error), true) => Ui::new(Mode::Json).error(error),
        (None, false) => {
            let _ = error.print();
        }
        (None, true) => Ui::new(Mode::Json).error(&plain(error)),
    }
    error.exit_code().clamp(0, 255) as u8
}

/// Clap's error as one of ours: its first paragraph, and its tips.
fn plain(error: &clap::Error) -> Error {
    let text = error.render().to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let message = lines.by_ref().take_while(|line| !line.starts_with("tip: ") && !line.starts_with("Usage: "));
    let message = message.collect::<Vec<_>>().join(" ");
    let tips = text.lines().filter_map(|line| line.trim().strip_prefix("tip: "));
    let error = Error::usage(message.trim_start_matches("error: "));
    tips.fold(error, |error, tip| error.tip(tip))
}

/// The error of a flag that a command does not have and a config does, if it is one and the command takes changes of it.
fn flag_of_key(error: &clap::Error, words: &[String]) -> Option<Error> {
    let (ErrorKind::UnknownArgument, Some(ContextValue::String(flag))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
    else {
        return None;
    };
    let (name, command) = command_of(words)?;
    if !command.get_arguments().any(|argument| argument.get_id() == "sets") {
        return None;
    }
    let paths = keys_called(flag);
    let first = paths.first()?;
    let value = value_of(flag, words).unwrap_or_else(|| "VALUE".to_owned());
    let error = Error::usage(format!("`{flag}` is not a flag of `kiln {name}`"));
    Some(match paths.len() {
        1 => error.tip(format!("it is a key of the config: --set {first}={value}")),
        _ => {
            let choices: Vec<String> = paths.iter().take(MOST).map(|path| format!("--set {path}={value}")).collect();
            error.tip(format!("keys of the config are called so: {}", choices.join(", or ")))
        }
    })
}

/// The command that the words name, and what it is called: `tune lr`.
fn command_of(words: &[String]) -> Option<(String, clap::Command)> {
    let mut command = super::command();
    let mut names = Vec::new();
    for word in words {
        if let Some(inner) = command.find_subcommand(word) {
            names.push(inner.get_name().to_owned());
            command = inner.clone();
        }
    }
    (!names.is_empty()).then(|| (names.join(" "), command))
}

/// The paths of the keys that are called as the flag is: `--weight-decay`, `--train.epochs`.
fn keys_called(flag: &str) -> Vec<&'static str> {
    let wanted = flag.trim_start_matches('-').split('=').next().unwrap_or_default().replace('-', "_");
    let mut found: Vec<&str> = Vec::new();
    for key in keys::keys().iter().filter(|key| !key.path.contains("[N]")) {
        let name = key.path.rsplit('.').next().unwrap_or_default();
        if (key.path == wanted || name == wanted) && !found.contains(&key.path.as_str()) {
            found.push(&key.path);
        }
    }
    found
}

/// The value that was given to the flag: behind a `=`, or the next word.
fn value_of(flag: &str, words: &[String]) -> Option<String> {
    let at = words.iter().position(|word| word == flag || word.starts_with(&format!("{flag}=")))?;
    match words[at].split_once('=') {
        Some((_, value)) => Some(value.to_owned()),
        None => words.get(at + 1).filter(|next| !next.starts_with("--")).cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> Option<String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let error = super::super::command().try_get_matches_from(&words).unwrap_err();
        flag_of_key(&error, &words[1..]).map(|error| error.render())
    }

    #[test]
    fn a_flag_that_is_a_key_names_the_set() {
        let told = refused("kiln train smoke --beta-1 0.5").unwrap();
        assert_eq!(
            told,
            "error: `--beta-1` is not a flag of `kiln train`\ntip: it is a key of the config: --set optimizer.beta_1=0.5"
        );
        assert!(refused("kiln train --train.epochs=7").unwrap().contains("--set train.epochs=7"));
        assert!(refused("kiln tune lr --clip-norm").unwrap().contains("`kiln tune lr`"));
        assert!(refused("kiln fork RUN --clip-norm 1").unwrap().contains("--set train.clip_norm=1"));
    }

    #[test]
    fn any_other_flag_is_for_clap() {
        assert_eq!(refused("kiln train --colour"), None);
        assert_eq!(refused("kiln eval RUN --clip-norm 1"), None, "eval changes no config");
    }

    #[test]
    fn for_programs_claps_words_are_an_error_like_any_other() {
        let error = super::super::command().try_get_matches_from(["kiln", "trian"]).unwrap_err();
        let error = plain(&error);
        assert_eq!(error.to_string(), "unrecognized subcommand 'trian'");
        assert!(error.tips()[0].contains("train"), "{:?}", error.tips());
    }
}
