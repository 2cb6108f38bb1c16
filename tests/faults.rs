//! A walk through every operation on a run's files: at each the process dies, or the disk is full, and the run must go on
//! to the weights of the run that was never stopped. The program under test is built with debug assertions, which let
//! `KILN_FAULT` in (see `src/run/fault.rs`).

use std::path::PathBuf;

use serde_json::Value;

use crate::fixture::{Folder, Ran, key};

/// A run of 2 epochs of 3 iterations, small enough to be trained hundreds of times.
const TINY: [&str; 9] = [
    "data.train=40",
    "data.test=10",
    "data.validation=10",
    "data.height=6",
    "data.width=6",
    "model.hidden=[5]",
    "train.epochs=2",
    "train.batch_size=10",
    "checkpoint.keep_last=1",
];

/// What is done, and how it goes on after a fault.
struct Walk<'a> {
    /// Puts into a new folder what the command needs.
    prepare: &'a dyn Fn(&Folder),
    /// The command that meets the fault.
    command: Vec<String>,
    /// The run that it ends with.
    run: &'a str,
}

fn train(name: &str, sets: &[&str]) -> Vec<String> {
    let mut command: Vec<String> = ["train", "smoke", "--quiet", "--device", "flex"].map(str::to_owned).into();
    let name = format!("name={name}");
    let base = TINY.iter().filter(|base| !sets.iter().any(|set| key(set) == key(base)));
    for set in ["model.kind=mlp", &name].iter().chain(base).chain(sets) {
        command.extend(["--set".to_owned(), (*set).to_owned()]);
    }
    command
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn run(folder: &Folder, environment: &[(&str, &str)], command: &[String]) -> Ran {
    folder.kiln_with(environment, &command.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What a run comes to: everything but times and paths.
#[derive(Debug, PartialEq)]
struct Result {
    metrics: Vec<Value>,
    config: String,
    weights: String,
    status: Value,
    parent: Value,
    checkpoints: usize,
}

fn result(folder: &Folder, run: &str) -> Result {
    let record = folder.read_json(&format!("{run}/run.json"));
    let verified = folder.json(&["verify", run]);
    let names = folder.snapshot(run).into_keys().collect::<Vec<PathBuf>>();
    let hidden: Vec<&PathBuf> =
        names.iter().filter(|path| path.file_name().unwrap().to_string_lossy().starts_with('.')).collect();
    assert!(hidden.is_empty(), "left behind: {hidden:?}");
    Result {
        metrics: folder.metrics(run),
        config: folder.read(&format!("{run}/config.toml")),
        weights: verified["weights_sha256"].to_string(),
        status: record["status"].clone(),
        parent: record["parent"].clone(),
        checkpoints: names.iter().filter(|path| path.ends_with("commit.json")).count(),
    }
}

impl Walk<'_> {
    /// Walks: a kill and a full disk at each operation in turn.
    fn walk(&self) {
        let folder = Folder::new();
        (self.prepare)(&folder);
        let log = folder.path().join("operations");
        let whole = run(&folder, &[("KILN_FAULT_LOG", log.to_str().unwrap())], &self.command);
        assert_eq!(whole.code, 0, "{}", whole.stderr);
        let expected = result(&folder, self.run);
        assert_eq!(expected.status, "done");
        let operations: Vec<String> = folder.read("operations").lines().map(str::to_owned).collect();
        assert!(operations.len() > 20, "faults are not let in: {operations:?}");
        for (index, operation) in operations.iter().enumerate() {
            for kind in ["kill", "full"] {
                let fault = format!("{kind}:{}", index + 1);
                self.step(&fault, &format!("{fault}, {operation}"), &expected);
            }
        }
    }

    fn step(&self, fault: &str, what: &str, expected: &Result) {
        let folder = Folder::new();
        (self.prepare)(&folder);
        let before = folder.snapshot("runs");
        let ran = run(&folder, &[("KILN_FAULT", fault)], &self.command);
        if fault.starts_with("kill") {
            assert_eq!(ran.code, 137, "{what}: {}", ran.stderr);
        } else {
            // Without its page a run is done all the same.
            let told = ran.code == 0 && ran.stderr.contains("the report could not be written");
            let refused = [1, 2].contains(&ran.code);
            assert!((refused || told) && ran.stderr.contains("the disk is full"), "{what}: {}", ran.stderr);
            assert!(
                !told
                    || what.contains("report")
                    || what.contains("curves")
                    || what.contains("temporary")
                    || what.contains("folder"),
                "{what}"
            );
        }
        if ran.code != 0 {
            self.recover(&folder, what, &before);
        }
        assert_eq!(result(&folder, self.run), *expected, "{what}");
        let runs = folder.path().join("runs");
        let unnamed = std::fs::read_dir(runs)
            .unwrap()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with('.'));
        assert_eq!(unnamed.count(), 0, "{what}: a half-made run is left");
    }

    /// Goes on as a user would: resumes what can be resumed, and gives the command again when it did nothing.
    fn recover(&self, folder: &Folder, what: &str, before: &std::collections::BTreeMap<PathBuf, Vec<u8>>) {
        if !folder.path().join(self.run).exists() {
            // It never became a run; whatever it began from is untouched.
            for (path, content) in before {
                assert_eq!(&std::fs::read(path).unwrap_or_default(), content, "{what}: {}", path.display());
            }
            let again = run(folder, &[], &self.command);
            assert_eq!(again.code, 0, "{what}: {}", again.stderr);
            return;
        }
        let resumed = folder.kiln(&["resume", self.run, "--quiet"]);
        if resumed.code == 0 {
            return;
        }
        assert!(resumed.stderr.contains("is complete"), "{what}: {}", resumed.stderr);
        if self.command[0] == "extend" && folder.metrics(self.run).len() == 2 {
            // It died before the extension was begun: the run is as it was, and can be extended.
            let again = run(folder, &[], &self.command);
            assert_eq!(again.code, 0, "{what}: {}", again.stderr);
        }
    }
}

/// Runs a command that must succeed, to prepare another.
fn prepared(folder: &Folder, command: &[String]) {
    let ran = run(folder, &[], command);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn every_fault_of_a_training_run_is_recovered_from() {
    let command = train("a", &["optimizer.kind=adam", "model.dropout=0.2"]);
    Walk { prepare: &|_| {}, command, run: "runs/a-0001" }.walk();
}

#[test]
fn every_fault_of_a_run_that_stops_early_is_recovered_from() {
    // It would train 6 epochs; a loss that must fall by 100 nats has no patience with it.
    let sets = ["optimizer.kind=sgd", "train.epochs=6", "early_stopping.patience=1", "early_stopping.min_delta=100"];
    Walk { prepare: &|_| {}, command: train("a", &sets), run: "runs/a-0001" }.walk();
}

#[test]
fn every_fault_of_a_run_that_accumulates_is_recovered_from() {
    let sets = ["optimizer.kind=adamw", "train.batch_size=5", "train.accumulation=2", "checkpoint.every_iterations=2"];
    Walk { prepare: &|_| {}, command: train("a", &sets), run: "runs/a-0001" }.walk();
}

#[test]
fn every_fault_of_an_extension_is_recovered_from() {
    let prepare = |folder: &Folder| prepared(folder, &train("a", &["optimizer.kind=muon"]));
    let command = words("extend runs/a-0001 --epochs 3 --quiet");
    Walk { prepare: &prepare, command, run: "runs/a-0001" }.walk();
}

#[test]
fn every_fault_of_a_fork_is_recovered_from() {
    let prepare = |folder: &Folder| prepared(folder, &train("a", &[]));
    let command = words("fork runs/a-0001 --set name=b --set seed=7 --quiet");
    Walk { prepare: &prepare, command, run: "runs/b-0001" }.walk();
}

#[test]
fn every_fault_of_a_resume_is_recovered_from() {
    let prepare = |folder: &Folder| {
        let killed = run(folder, &[("KILN_FAULT", "kill:60")], &train("a", &["checkpoint.every_iterations=1"]));
        assert_eq!(killed.code, 137, "{}", killed.stderr);
    };
    Walk { prepare: &prepare, command: words("resume runs/a-0001 --quiet"), run: "runs/a-0001" }.walk();
}
