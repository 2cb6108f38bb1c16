//! How runs and their models are named on the command line: a directory, a file, `latest`, the number of a run.

use std::path::{Path, PathBuf};

use clap::builder::{PathBufValueParser, TypedValueParser};

use super::ui::Ui;
use crate::lifecycle::Run;
use crate::{Error, Result};

/// The folder that a name without a folder is looked for in.
const RUNS: &str = "runs";

/// Reads the name of a run: a path as it is, `latest`, a number such as 7, or a name within `runs`; with a folder before it
/// (`other/latest`), within that.
pub fn run_parser() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| found(&path, Path::new(RUNS)))
}

/// The path that `named` means; itself when it means none, since whoever opens it says best what is wrong.
fn found(named: &Path, runs: &Path) -> Result<PathBuf, String> {
    let Some(word) = named.file_name().and_then(|name| name.to_str()).filter(|_| !named.exists()) else {
        return Ok(named.to_owned());
    };
    let folder = named.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = folder.unwrap_or(runs);
    if word == "latest" {
        return latest(folder).ok_or_else(|| format!("there is no run in `{}`", folder.display()));
    }
    if let (true, Ok(number)) = (word.bytes().all(|byte| byte.is_ascii_digit()), word.parse::<u64>()) {
        return numbered(folder, number);
    }
    let within = folder.join(word);
    Ok(if within.exists() { within } else { named.to_owned() })
}

/// The runs in `folder`, by name.
fn runs_in(folder: &Path) -> Vec<Run> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| !is_hidden(path)).collect();
    paths.sort();
    paths.iter().filter_map(|path| Run::open(path).ok()).collect()
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// The run in `folder` that began last.
fn latest(folder: &Path) -> Option<PathBuf> {
    let began = |run: &Run| {
        let made = std::fs::metadata(run.path()).and_then(|data| data.created().or_else(|_| data.modified()));
        (run.record().map(|record| record.started).unwrap_or_default(), made.ok())
    };
    // Of those that began within one second and of which no more is known, the last by name.
    let newest = runs_in(folder).into_iter().max_by_key(began)?;
    Some(newest.path().to_owned())
}

/// The one run in `folder` with this number.
fn numbered(folder: &Path, number: u64) -> Result<PathBuf, String> {
    let has_it = |path: &&Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.rsplit_once('-').and_then(|(_, digits)| digits.parse::<u64>().ok()) == Some(number)
    };
    let runs = runs_in(folder);
    let found: Vec<&Path> = runs.iter().map(Run::path).filter(has_it).collect();
    match found[..] {
        [run] => Ok(run.to_owned()),
        [] => Err(format!("no run in `{}` has the number {number}", folder.display())),
        _ => {
            let names: Vec<String> = found.iter().map(|path| path.display().to_string()).collect();
            Err(format!("several runs have the number {number}; name one of them: {}", names.join(", ")))
        }
    }
}

/// The model file that `path` names: itself, or that of the run which it is the directory of.
pub fn model_file(path: &Path) -> PathBuf {
    let inside = path.join("model.bpk");
    if path.is_dir() && inside.is_file() { inside } else { path.to_owned() }
}

/// As [`model_file`], where there has to be one. Of a run that is not finished, it is said what the model is.
///
/// # Errors
/// When `path` is a folder without a model: it says what it is, and how it comes to have one.
pub fn open_model(path: &Path, ui: &Ui) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    match Run::open(path) {
        Ok(run) => {
            let model = run.existing_model()?;
            if let Some(notice) = run.unfinished() {
                ui.warn(&notice);
            }
            Ok(model)
        }
        Err(_) if path.join("model.bpk").is_file() => Ok(path.join("model.bpk")),
        Err(_) => {
            let error = Error::usage(format!("`{}` is a folder, and neither a run nor a model file", path.display()));
            let runs = runs_in(path);
            Err(match runs.iter().rev().find(|run| run.model().is_file()).or(runs.last()) {
                Some(run) => {
                    error.tip(format!("it has runs in it; name one of them, for example {}", run.path().display()))
                }
                None => {
                    error.tip("give a model file, or a directory that `kiln train` made, for example runs/mnist-0001")
                }
            })
        }
    }
}

/// The names by which runs can be completed: those in `runs`, and `latest`.
pub fn known() -> Vec<String> {
    let runs = runs_in(Path::new(RUNS));
    let latest = (!runs.is_empty()).then(|| "latest".to_owned());
    runs.iter().map(|run| run.path().display().to_string()).chain(latest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(folder: &Path, name: &str, started: &str) {
        let path = folder.join(name);
        std::fs::create_dir_all(&path).unwrap();
        let record = serde_json::json!({
            "schema_version": 1, "status": "done", "started": started, "kiln_version": "", "burn_version": "",
            "device": "flex", "seed": 1, "threads": 1, "data_fingerprint": "", "warnings": [],
        });
        std::fs::write(path.join("run.json"), record.to_string()).unwrap();
    }

    #[test]
    fn a_run_is_found_by_latest_by_its_number_and_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path();
        make(runs, "mnist-0001", "2026-01-02T00:00:00Z");
        make(runs, "mnist-0002", "2026-01-01T00:00:00Z");
        make(runs, "smoke-0002", "2026-01-01T00:00:00Z");
        std::fs::create_dir(runs.join("mnist-seeds-0001")).unwrap();
        let of =
            |word: &str| found(Path::new(word), runs).map(|path| path.strip_prefix(runs).unwrap_or(&path).to_owned());
        assert_eq!(of("latest"), Ok("mnist-0001".into()));
        assert_eq!(of("1"), Ok("mnist-0001".into()), "a set of seeds is no run");
        assert_eq!(of("0001"), Ok("mnist-0001".into()));
        assert_eq!(of("mnist-seeds-0001"), Ok("mnist-seeds-0001".into()));
        assert_eq!(of("no-such-run"), Ok("no-such-run".into()));
        assert!(of("3").unwrap_err().contains("has the number 3"));
        let two = of("2").unwrap_err();
        assert!(two.contains("mnist-0002") && two.contains("smoke-0002"), "{two}");
        let elsewhere = runs.join("latest");
        assert_eq!(found(&elsewhere, Path::new("nowhere")), Ok(runs.join("mnist-0001")));
        assert!(found(Path::new("latest"), Path::new("nowhere")).unwrap_err().contains("no run in `nowhere`"));
        assert_eq!(found(runs, Path::new("nowhere")), Ok(runs.to_owned()), "what is there is meant");
    }
}
