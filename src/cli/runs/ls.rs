//! `kiln runs ls`: the runs of a folder in a table.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use crate::board::{self, RunSummary};
use crate::cli::quoted;
use crate::cli::ui::{Mode, Ui};
use crate::plan::bytes;
use crate::report::duration;
use crate::sweep::SweepFolder;
use crate::{Error, Result};

/// The arguments of `kiln runs ls`.
#[derive(Debug, clap::Args)]
pub struct LsArguments {
    /// The folder that the runs are in
    #[arg(value_name = "RUNS", default_value = "runs")]
    runs: PathBuf,

    /// Only runs whose config has this: --where optimizer.kind=adam; may be repeated
    #[arg(long = "where", value_name = "KEY=VALUE")]
    conditions: Vec<String>,

    /// By which column
    #[arg(long, value_enum, default_value_t = Column::Began, value_name = "COLUMN")]
    sort: Column,

    /// The other way round
    #[arg(long)]
    reverse: bool,

    /// Print comma-separated values
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

/// What a list can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Column {
    Name,
    Status,
    Seed,
    Epochs,
    Validation,
    Test,
    Time,
    Began,
}

/// Prints the list.
pub fn run(arguments: LsArguments, ui: &mut Ui) -> Result<()> {
    if !arguments.runs.is_dir() {
        return Err(Error::usage(format!("there is no folder `{}`", arguments.runs.display()))
            .tip("`kiln train` makes the folder `runs` where it is called; name another one: kiln runs ls FOLDER"));
    }
    let conditions: Vec<(&str, &str)> =
        arguments.conditions.iter().map(|text| condition(text)).collect::<Result<_>>()?;
    let mut runs = board::runs(&arguments.runs);
    if !conditions.is_empty() {
        runs.retain(|run| holds(&arguments.runs.join(&run.name), &conditions));
    }
    runs.sort_by(|a, b| compared(a, b, arguments.sort).then_with(|| a.name.cmp(&b.name)));
    if arguments.reverse {
        runs.reverse();
    }
    match ui.mode() {
        Mode::Json => {
            let value = serde_json::to_value(&runs)
                .map_err(|error| Error::failed("cannot encode the runs").caused_by(error))?;
            ui.json(&value);
        }
        _ if arguments.csv => ui.out(csv(&runs).trim_end()),
        _ => {
            table(&runs, ui);
            collections(&arguments.runs, ui);
        }
    }
    Ok(())
}

fn condition(text: &str) -> Result<(&str, &str)> {
    text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
        Error::usage(format!("`--where` must be KEY=VALUE, got `{text}`"))
            .tip("for example --where optimizer.kind=adam; `kiln config keys` lists every key")
    })
}

/// Whether the config of the run at `path` has all these values.
fn holds(path: &Path, conditions: &[(&str, &str)]) -> bool {
    let text = std::fs::read_to_string(path.join("config.toml")).unwrap_or_default();
    let config: toml::Table = text.parse().unwrap_or_default();
    conditions.iter().all(|(key, wanted)| value(&config, key).is_some_and(|found| is(&found, wanted)))
}

fn value(config: &toml::Table, key: &str) -> Option<toml::Value> {
    let mut parts = key.split('.');
    let first = config.get(parts.next()?)?.clone();
    parts.try_fold(first, |value, part| value.get(part).cloned())
}

/// Whether a value is what a user wrote: as text, or as the same number.
fn is(found: &toml::Value, wanted: &str) -> bool {
    let number = |value: &toml::Value| value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64));
    match found {
        toml::Value::String(text) => text == wanted,
        _ => number(found)
            .zip(wanted.parse().ok())
            .map_or_else(|| found.to_string() == wanted, |(a, b): (f64, f64)| a == b),
    }
}

fn compared(a: &RunSummary, b: &RunSummary, column: Column) -> Ordering {
    // What is not known comes first, as the least.
    let number = |a: Option<f64>, b: Option<f64>| a.unwrap_or(-1.0).total_cmp(&b.unwrap_or(-1.0));
    match column {
        Column::Name => a.name.cmp(&b.name),
        Column::Status => a.status.word().cmp(b.status.word()),
        Column::Seed => a.seed.cmp(&b.seed),
        Column::Epochs => a.epochs_done.cmp(&b.epochs_done),
        Column::Validation => number(a.validation_accuracy, b.validation_accuracy),
        Column::Test => number(a.test_accuracy, b.test_accuracy),
        Column::Time => a.seconds.total_cmp(&b.seconds),
        Column::Began => a.started.cmp(&b.started),
    }
}

/// A column of the table: its heading, what it says of a run, and whether it is text, which stands on the left.
type Cells = (&'static str, fn(&RunSummary) -> String, bool);

const CELLS: [Cells; 10] = [
    ("run", |run| run.name.clone(), true),
    ("status", standing, true),
    ("config", |run| run.experiment.clone().unwrap_or_default(), true),
    ("model", |run| run.model.clone().unwrap_or_default(), true),
    ("seed", |run| run.seed.map_or_else(String::new, |seed| seed.to_string()), false),
    ("epochs", epochs, false),
    ("valid.", |run| percent(run.validation_accuracy), false),
    ("test", |run| percent(run.test_accuracy), false),
    ("time", |run| duration(run.seconds), false),
    ("size", |run| run.model_bytes.map_or_else(|| "-".into(), bytes), false),
];

/// How it stands; of one that is no result, that as well.
fn standing(run: &RunSummary) -> String {
    let mark = if run.overfit_batches.is_some() { ", overfit" } else { "" };
    format!("{}{mark}", run.status.word())
}

fn epochs(run: &RunSummary) -> String {
    run.epochs.map_or_else(|| run.epochs_done.to_string(), |all| format!("{}/{all}", run.epochs_done))
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".into(), |share| format!("{:.2} %", share * 100.0))
}

fn table(runs: &[RunSummary], ui: &Ui) {
    if runs.is_empty() {
        ui.say("there is no such run");
        return;
    }
    let rows: Vec<Vec<String>> = runs.iter().map(|run| CELLS.iter().map(|(_, cell, _)| cell(run)).collect()).collect();
    let widths: Vec<usize> = (0..CELLS.len())
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([CELLS[column].0.len()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).zip(&CELLS).map(|((cell, width), (.., is_text))| match is_text {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    ui.aside(&line(&CELLS.map(|(heading, ..)| heading.to_owned())));
    for row in &rows {
        ui.out(&line(row));
    }
}

/// Says which folders beside the runs hold more of them: sets of seeds, and sweeps.
fn collections(folder: &Path, ui: &Ui) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let shown = path.display();
        if SweepFolder::open(&path).is_ok() {
            ui.aside(&format!("{shown} is a sweep: kiln sweep show {}", quoted(&path)));
            continue;
        }
        match board::runs(&path).len() {
            0 => {}
            1 => ui.aside(&format!("{shown} holds 1 run: kiln runs ls {}", quoted(&path))),
            count => ui.aside(&format!("{shown} holds {count} runs: kiln runs ls {}", quoted(&path))),
        }
    }
}

fn csv(runs: &[RunSummary]) -> String {
    let field = |text: String| match text.contains([',', '"', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    };
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    let mut text = String::from(
        "run,status,config,model,optimizer,seed,epochs,epochs_done,validation_accuracy,test_accuracy,seconds,model_bytes,began\n",
    );
    for run in runs {
        let words = |text: &Option<String>| field(text.clone().unwrap_or_default());
        let whole = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
        let cells = [
            field(run.name.clone()),
            run.status.word().to_owned(),
            words(&run.experiment),
            words(&run.model),
            words(&run.optimizer),
            whole(run.seed),
            whole(run.epochs),
            run.epochs_done.to_string(),
            number(run.validation_accuracy),
            number(run.test_accuracy),
            run.seconds.to_string(),
            whole(run.model_bytes),
            words(&run.started),
        ];
        text += &cells.join(",");
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_met_by_text_and_by_equal_numbers() {
        let config: toml::Table =
            "a = 1\n[optimizer]\nkind = \"adam\"\nlearning_rate = 0.001\nnesterov = true".parse().unwrap();
        let met = |text: &str| {
            let (key, wanted) = condition(text).unwrap();
            value(&config, key).is_some_and(|found| is(&found, wanted))
        };
        assert!(
            met("optimizer.kind=adam")
                && met("optimizer.learning_rate=1e-3")
                && met("a=1")
                && met("optimizer.nesterov=true")
        );
        assert!(!met("optimizer.kind=adamw") && !met("optimizer.gone=1") && !met("b=1") && !met("a.b=1"));
        assert!(condition("a").is_err() && condition("=1").is_err());
    }
}
