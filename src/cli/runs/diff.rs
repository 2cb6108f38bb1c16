//! `kiln runs diff`: in what two runs differ.

use std::path::PathBuf;

use serde_json::json;
use similar::{ChangeTag, TextDiff};

use crate::Result;
use crate::cli::quoted;
use crate::cli::ui::{Mode, Ui};
use crate::lifecycle::Run;

/// The arguments of `kiln runs diff`.
#[derive(Debug, clap::Args)]
pub struct DiffArguments {
    /// The directory of one run
    #[arg(value_name = "RUN", value_parser = crate::cli::run_parser(), add = crate::cli::completions::runs())]
    first: PathBuf,

    /// The directory of another
    #[arg(value_name = "OTHER", value_parser = crate::cli::run_parser(), add = crate::cli::completions::runs())]
    second: PathBuf,
}

/// Prints the lines in which the configs differ, and the accuracies.
pub fn run(arguments: DiffArguments, ui: &mut Ui) -> Result<()> {
    let runs = [Run::open(&arguments.first)?, Run::open(&arguments.second)?];
    let texts = [runs[0].experiment()?.to_toml(), runs[1].experiment()?.to_toml()];
    let lines = differences(&texts);
    let reached = [reached(&runs[0])?, reached(&runs[1])?];
    if ui.mode() == Mode::Json {
        let lines: Vec<_> = lines.iter().map(|(side, key)| json!({ "run": side, "line": key })).collect();
        ui.json(
            &json!({ "config": lines, "runs": reached.map(|(name, value)| json!({ "run": name, "reached": value })) }),
        );
        return Ok(());
    }
    if lines.is_empty() {
        ui.out("the configs are the same");
    }
    for (side, line) in &lines {
        ui.out(&format!("{} {line}", ["-", "+"][*side]));
    }
    ui.out("");
    for (sign, (name, value)) in ["-", "+"].into_iter().zip(&reached) {
        let percent = |key: &str| {
            value[key].as_f64().map_or_else(|| "none yet".to_owned(), |share| format!("{:.2} %", share * 100.0))
        };
        ui.out(&format!("{sign} {name}: test {}, validation {}", percent("test"), percent("validation")));
    }
    if reached.iter().all(|(_, value)| !value["test"].is_null()) {
        let [first, second] = [&arguments.first, &arguments.second].map(quoted);
        ui.aside(&format!("next           kiln compare {first} {second}"));
    }
    Ok(())
}

/// The lines that one config has and the other has not, with the section that each is in: 0 for the first, 1 for the second.
fn differences(texts: &[String; 2]) -> Vec<(usize, String)> {
    // Each line with its section, so that equal keys of different sections stay apart.
    let keyed = texts.each_ref().map(|text| {
        let mut section = String::new();
        let mut lines = String::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                Some(name) if !name.contains('=') => section = format!("{}.", name.trim_matches(['[', ']'])),
                _ => lines += &format!("{section}{line}\n"),
            }
        }
        lines
    });
    let diff = TextDiff::from_lines(&keyed[0], &keyed[1]);
    let side = |tag: ChangeTag| match tag {
        ChangeTag::Delete => Some(0),
        ChangeTag::Insert => Some(1),
        ChangeTag::Equal => None,
    };
    diff.iter_all_changes()
        .filter_map(|change| Some((side(change.tag())?, change.value().trim_end().to_owned())))
        .collect()
}

/// A run's name and its best accuracies.
fn reached(run: &Run) -> Result<(String, serde_json::Value)> {
    let name = run.path().file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let validation = run.metrics()?.iter().filter_map(|epoch| epoch.validation_accuracy).reduce(f64::max);
    let test = run.record()?.result.and_then(|result| result.get("test_accuracy")?.as_f64());
    Ok((name, json!({ "test": test, "validation": validation })))
}

#[cfg(test)]
mod tests {
    use super::differences;

    #[test]
    fn lines_that_differ_have_their_section() {
        let first = "name = \"a\"\nseed = 1\n\n[optimizer]\nkind = \"adam\"\nlearning_rate = 0.1\n".to_owned();
        let second =
            "name = \"a\"\nseed = 1\n\n[optimizer]\nkind = \"adam\"\nlearning_rate = 0.2\n[log]\nx = 1\n".to_owned();
        let found = differences(&[first.clone(), second]);
        let expected = [(0, "optimizer.learning_rate = 0.1"), (1, "optimizer.learning_rate = 0.2"), (1, "log.x = 1")];
        assert_eq!(found, expected.map(|(side, line)| (side, line.to_owned())));
        assert!(differences(&[first.clone(), first]).is_empty());
    }
}
