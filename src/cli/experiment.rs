//! Which experiment a command is about, and what is changed in it.

use std::path::Path;

use super::quoted;
use super::ui::Ui;
use crate::config::Experiment;
use crate::config::document::{self, Origin};
use crate::{Error, Result};

/// Which experiment, and what is changed in it: shared by every command that takes a config.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ExperimentArguments {
    /// A config file, or the name of a config that is built in; without one: mnist
    #[arg(value_name = "CONFIG", add = super::completions::configs())]
    pub config: Option<String>,

    /// Change keys: train.epochs=3 model.kind=mlp; the same as --set
    #[arg(value_name = "KEY=VALUE", add = super::completions::keys())]
    pub words: Vec<String>,

    #[command(flatten)]
    pub changes: ChangeArguments,

    /// Compute here: auto, flex, ndarray, wgpu, wgpu:1, ...; on several: flex*2, cuda:0,cuda:1; with a `kiln worker` on another
    /// machine: flex,remote:HOST:PORT; the same as --set device=...
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,

    /// The seed of every random draw; the same as --set seed=...
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
}

/// What is changed in a config: shared by every command that takes one, or a run's.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ChangeArguments {
    /// Change one key: --set train.epochs=3; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", add = super::completions::keys())]
    pub sets: Vec<String>,

    /// Passes over the training set; the same as --set train.epochs=...
    #[arg(long, value_name = "COUNT")]
    pub epochs: Option<u64>,

    /// Images that go through the network together; the same as --set train.batch_size=...
    #[arg(long, value_name = "COUNT")]
    pub batch_size: Option<u64>,

    /// The learning rate at the schedule's peak; the same as --set optimizer.learning_rate=...
    #[arg(long, value_name = "RATE")]
    pub learning_rate: Option<f64>,
}

impl ChangeArguments {
    /// Every change as KEY=VALUE: the words of the command line, those after --set, and the shortcuts.
    ///
    /// # Errors
    /// When a word is no change.
    pub fn with(&self, words: &[String]) -> Result<Vec<String>> {
        if let Some(word) = words.iter().find(|word| !word.contains('=')) {
            return Err(Error::usage(format!("`{word}` is not a change of a key: KEY=VALUE"))
                .tip("for example train.epochs=3; `kiln config keys` lists every key"));
        }
        let mut changes: Vec<String> = words.iter().chain(&self.sets).cloned().collect();
        changes.extend(self.epochs.map(|epochs| format!("train.epochs={epochs}")));
        changes.extend(self.batch_size.map(|size| format!("train.batch_size={size}")));
        changes.extend(self.learning_rate.map(|rate| format!("optimizer.learning_rate={rate}")));
        Ok(changes)
    }
}

impl ExperimentArguments {
    /// The config of this name, changed by `sets`.
    pub fn of(config: String, sets: Vec<String>) -> Self {
        Self {
            config: Some(config),
            changes: ChangeArguments { sets, ..ChangeArguments::default() },
            ..Self::default()
        }
    }

    /// The config that is named, if one is. The first word may be a change already.
    pub fn named(&self) -> Option<&str> {
        self.config.as_deref().filter(|config| !is_change(config))
    }

    /// Every change of a key.
    ///
    /// # Errors
    /// When a word is neither the config nor a change.
    pub fn changes(&self) -> Result<Vec<String>> {
        let first = self.config.iter().filter(|config| is_change(config));
        let words: Vec<String> = first.chain(&self.words).cloned().collect();
        if let (Some(config), Some(word)) = (self.named(), words.iter().find(|word| !word.contains('='))) {
            return Err(Error::usage(format!("one config at a time: got `{config}` and `{word}`"))
                .tip("a word behind the config changes a key: train.epochs=3"));
        }
        self.changes.with(&words)
    }

    /// Where the config comes from, and every change to it.
    pub fn origin(&self) -> Result<(Origin, Vec<String>)> {
        let mut sets = self.changes()?;
        sets.extend(self.device.as_ref().map(|device| format!("device={device}")));
        sets.extend(self.seed.map(|seed| format!("seed={seed}")));
        Ok((Origin::find(self.named().unwrap_or("mnist"))?, sets))
    }

    /// The experiment, checked; keys under an old name are told.
    pub fn load(&self, ui: &Ui) -> Result<Experiment> {
        let (origin, sets) = self.origin()?;
        let loaded = document::load(&origin, &sets)?;
        for notice in &loaded.notices {
            ui.warn(notice);
        }
        Ok(loaded.experiment)
    }

    /// The words after `kiln COMMAND` that ask for the same, but without a change of the key `without`.
    pub fn command_line(&self, without: &str) -> Vec<String> {
        let mut words: Vec<String> = self.named().map(quoted).into_iter().collect();
        let prefix = format!("{without}=");
        let changes = self.changes().unwrap_or_default();
        let kept = changes.iter().filter(|change| !change.starts_with(&prefix));
        words.extend(kept.map(|change| format!("--set {}", quoted(change))));
        words.extend(self.device.iter().map(|device| format!("--device {}", quoted(device))));
        words.extend(self.seed.iter().map(|seed| format!("--seed {seed}")));
        words
    }
}

/// Whether a word changes a key: it has a `=`, and there is no file of that name.
fn is_change(word: &str) -> bool {
    word.contains('=') && !Path::new(word).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(config: Option<&str>, words: &[&str]) -> ExperimentArguments {
        let words = words.iter().map(|&word| word.to_owned()).collect();
        ExperimentArguments { config: config.map(str::to_owned), words, ..ExperimentArguments::default() }
    }

    #[test]
    fn words_with_a_sign_of_equality_are_changes_wherever_they_stand() {
        let first = given(Some("train.epochs=3"), &["model.kind=mlp"]);
        assert_eq!(first.named(), None);
        assert_eq!(first.changes().unwrap(), ["train.epochs=3", "model.kind=mlp"]);
        let second = given(Some("smoke"), &["train.epochs=3"]);
        assert_eq!(second.named(), Some("smoke"));
        assert_eq!(second.changes().unwrap(), ["train.epochs=3"]);
        let two = given(Some("smoke"), &["mnist"]).changes().unwrap_err();
        assert!(two.render().contains("got `smoke` and `mnist`"), "{}", two.render());
        assert!(given(Some("train.epochs=3"), &["mnist"]).changes().is_err());
    }

    #[test]
    fn a_shortcut_is_a_change_like_any_other() {
        let mut given = given(Some("smoke"), &["train.drop_last=true"]);
        given.changes = ChangeArguments {
            sets: vec!["name=x".into()],
            epochs: Some(5),
            batch_size: Some(20),
            learning_rate: Some(1e-5),
        };
        let expected = [
            "train.drop_last=true",
            "name=x",
            "train.epochs=5",
            "train.batch_size=20",
            "optimizer.learning_rate=0.00001",
        ];
        assert_eq!(given.changes().unwrap(), expected);
        assert_eq!(given.load(&Ui::new(super::super::ui::Mode::Quiet)).unwrap().train.epochs, 5);
    }
}
