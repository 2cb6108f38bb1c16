//! `kiln config`: the resolved config, the reference of all keys, the schema for editors.

use std::fmt::Write as _;

use super::ui::{Mode, Ui};
use super::{ExperimentArguments, encode};
use crate::config::Experiment;
use crate::config::document::{self, Given, Loaded};
use crate::config::keys::{self, Key};
use crate::{Error, Result};

/// The arguments of `kiln config`.
#[derive(Debug, clap::Args)]
pub struct ConfigArguments {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ConfigCommand {
    /// Print a config with every key and its value; what is printed is a config itself
    Show(ShowArguments),
    /// List every key with its type, default and meaning
    Keys(KeysArguments),
    /// Print the JSON Schema of a config, for editors
    Schema,
}

#[derive(Debug, clap::Args)]
struct ShowArguments {
    #[command(flatten)]
    experiment: ExperimentArguments,

    /// Say behind each key where its value comes from: its default, a line of the file, or a --set
    #[arg(long)]
    origin: bool,
}

#[derive(Debug, clap::Args)]
struct KeysArguments {
    /// Only keys whose path or description contains this
    #[arg(value_name = "FILTER")]
    filter: Option<String>,

    /// As Markdown: docs/configuration.md is this output
    #[arg(long)]
    markdown: bool,
}

/// Prints what was asked for.
pub fn run(arguments: ConfigArguments, ui: &mut Ui) -> Result<()> {
    match arguments.command {
        ConfigCommand::Show(arguments) => show(&arguments, ui),
        ConfigCommand::Keys(arguments) => list(&arguments, ui),
        ConfigCommand::Schema => schema(ui),
    }
}

fn show(arguments: &ShowArguments, ui: &Ui) -> Result<()> {
    let (origin, sets) = arguments.experiment.origin()?;
    let loaded = document::load(&origin, &sets)?;
    for notice in &loaded.notices {
        ui.warn(notice);
    }
    if ui.mode() == Mode::Json {
        ui.json(&encode(&loaded.experiment)?);
        return Ok(());
    }
    let text = loaded.experiment.to_toml();
    ui.out(if arguments.origin { annotate(&text, &loaded) } else { text }.trim_end());
    Ok(())
}

/// Writes behind each key where its value comes from, as a comment.
fn annotate(text: &str, loaded: &Loaded) -> String {
    let mut section = String::new();
    let mut annotated = String::new();
    let width =
        text.lines().filter(|line| !line.starts_with(' ')).map(|line| line.chars().count()).max().unwrap_or(0).min(60);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = format!("{name}.");
        }
        let comment = line.split_once(" = ").filter(|_| !line.starts_with([' ', '['])).map(|(key, _)| {
            match loaded.given(&format!("{section}{key}")) {
                Given::Default => "default".to_owned(),
                Given::Line(number) => format!("line {number}"),
                Given::Set(set) => format!("--set {}", set.replace(char::is_control, " ")),
            }
        });
        let _ = match comment {
            Some(comment) => writeln!(annotated, "{line:<width$}  # {comment}"),
            None => writeln!(annotated, "{line}"),
        };
    }
    annotated
}

fn list(arguments: &KeysArguments, ui: &Ui) -> Result<()> {
    let filter = arguments.filter.as_deref().unwrap_or_default().to_lowercase();
    let wanted =
        |key: &&Key| key.path.to_lowercase().contains(&filter) || key.description.to_lowercase().contains(&filter);
    let found: Vec<&Key> = keys::keys().iter().filter(wanted).collect();
    if found.is_empty() {
        return Err(Error::usage(format!("no key or description contains `{filter}`"))
            .tip("`kiln config keys` lists every key"));
    }
    if ui.mode() == Mode::Json {
        ui.json(&encode(&found)?);
    } else if arguments.markdown {
        ui.out(keys::markdown(&found).trim_end());
    } else {
        ui.out(keys::text(&found).trim_end());
    }
    Ok(())
}

fn schema(ui: &Ui) -> Result<()> {
    let schema = Experiment::schema();
    if ui.mode() == Mode::Json {
        ui.json(&schema);
    } else {
        let text = serde_json::to_string_pretty(&schema);
        ui.out(&text.map_err(|error| Error::failed("cannot encode the schema").caused_by(error))?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::Origin;
    use crate::config::presets::Preset;

    #[test]
    fn every_value_says_where_it_comes_from_and_what_is_printed_is_a_config() {
        static PRESET: Preset = Preset { name: "test", text: "seed = 7\n\n[train]\nbatch_size = 50\n" };
        let sets = ["model.kind=mlp".to_owned(), "train.epochs=3".to_owned()];
        let loaded = document::load(&Origin::Embedded(&PRESET), &sets).unwrap();
        let text = annotate(&loaded.experiment.to_toml(), &loaded);
        let told: Vec<_> = text.lines().filter(|line| line.contains("# ") && !line.ends_with("default")).collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        seed = 7                       # line 1
        kind = "mlp"                   # --set model.kind=mlp
        epochs = 3                     # --set train.epochs=3
        batch_size = 50                # line 4
        "#);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, text).unwrap();
        assert_eq!(Experiment::load(&Origin::File(file), &[]).unwrap(), loaded.experiment);
    }
}
