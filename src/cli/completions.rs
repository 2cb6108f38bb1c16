//! `kiln completions`: the script that lets a shell complete; and what it completes: configs, keys and their values, runs.
//! The shell asks the program itself for each completion, so what it offers is what is there.

use std::ffi::OsStr;
use std::path::Path;

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter as _};
use clap_complete::env::Shells;

use super::names;
use super::ui::Ui;
use crate::config::{keys, presets};
use crate::{Error, Result};

/// The variable by which a shell asks.
const VARIABLE: &str = "COMPLETE";

/// The arguments of `kiln completions`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "bash: add `source <(kiln completions bash)` to ~/.bashrc; zsh: the same with zsh, in ~/.zshrc; fish: `kiln \
                        completions fish | source` in ~/.config/fish/config.fish."
)]
pub struct CompletionsArguments {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Prints the script.
pub fn run(arguments: CompletionsArguments, ui: &mut Ui) -> Result<()> {
    let shell = arguments.shell.to_string();
    let shells = Shells::builtins();
    let completer =
        shells.completer(&shell).ok_or_else(|| Error::failed(format!("{shell} cannot be completed for")))?;
    let mut script = Vec::new();
    completer
        .write_registration(VARIABLE, "kiln", "kiln", "kiln", &mut script)
        .map_err(|error| Error::failed("cannot write the script").caused_by(error))?;
    ui.out(String::from_utf8_lossy(&script).trim_end());
    Ok(())
}

/// Answers a shell that asks for a completion; says whether one did.
///
/// # Errors
/// When it asks in a way that no script of this version does.
pub fn answer() -> Result<bool, clap::Error> {
    clap_complete::CompleteEnv::with_factory(super::command)
        .var(VARIABLE)
        .try_complete(std::env::args_os(), std::env::current_dir().ok().as_deref())
}

/// Completes a config: the names of those that are built in, and TOML files.
pub fn configs() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let names = presets::PRESETS.iter().map(|preset| preset.name.to_owned());
        let is_toml = |path: &Path| path.is_dir() || path.extension().is_some_and(|extension| extension == "toml");
        let mut found = beginning(names, current);
        found.extend(PathCompleter::any().filter(is_toml).complete(current));
        found
    })
}

/// Completes KEY=VALUE: the keys of a config, and the values of one that has few.
pub fn keys() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| beginning(assignments(current), current))
}

/// Completes a run: its path in `runs`, `latest`, and any path.
pub fn runs() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let mut found = beginning(names::known(), current);
        let more = PathCompleter::any().complete(current);
        found.extend(more.into_iter().filter(|path| !path.get_value().to_string_lossy().starts_with("runs/")));
        found
    })
}

fn beginning(words: impl IntoIterator<Item = String>, current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    words.into_iter().filter(|word| word.starts_with(&*current)).map(CompletionCandidate::new).collect()
}

/// Every `KEY=`; where the key is there already, its values.
fn assignments(current: &OsStr) -> Vec<String> {
    let known = keys::keys().iter().filter(|key| !key.path.contains("[N]"));
    match current.to_string_lossy().split_once('=') {
        Some((path, _)) => {
            let of_it = known.filter(|key| key.path == path);
            of_it.flat_map(|key| key.values()).map(|value| format!("{path}={value}")).collect()
        }
        None => {
            let mut words: Vec<String> = known.map(|key| format!("{}=", key.path)).collect();
            words.dedup();
            words
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(completer: &ArgValueCompleter, current: &str) -> Vec<String> {
        let found = completer.complete(OsStr::new(current));
        found.iter().map(|one| one.get_value().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn configs_keys_and_values_are_completed() {
        let found = completed(&configs(), "mnist-");
        assert!(found.contains(&"mnist-fast".to_owned()) && found.contains(&"mnist-mlp".to_owned()), "{found:?}");
        assert_eq!(completed(&keys(), "train.ep"), ["train.epochs="]);
        assert_eq!(completed(&keys(), "train.sampling="), ["train.sampling=uniform", "train.sampling=balanced"]);
        assert_eq!(completed(&keys(), "train.drop_last=t"), ["train.drop_last=true"]);
        assert!(completed(&keys(), "model.kind=").contains(&"model.kind=convnet".to_owned()));
    }
}
