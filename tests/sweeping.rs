//! Sweeps through the command: what is killed ends as what was not, a failed trial is a row, and trials never see the test
//! images.

use std::time::Duration;

use serde_json::Value;

use crate::fixture::Folder;

/// 40 trials of 9 epochs, a few milliseconds each.
const HALVING: &str = r#"
name = "halve"

[data]
kind = "synthetic"
train = 300
validation = 100
test = 60
noise = 0.6
height = 8
width = 8

[model]
kind = "mlp"
hidden = [16]

[optimizer]
kind = "adam"
learning_rate = 0.01

[train]
epochs = 9
batch_size = 50

[checkpoint]
every_iterations = 2

[sweep]
search = "random"
trials = 40

[sweep.over]
"optimizer.learning_rate" = { log = [1e-4, 1.0] }
"model.hidden" = [[8], [16, 8]]
"train.batch_size" = { log_int = [20, 100] }

[sweep.halving]
first = 1
factor = 3
"#;

/// The outcome without what differs between any two sweeps: times, and the name of the folder.
fn outcome(folder: &Folder, sweep: &str) -> Value {
    let mut result = folder.read_json(&format!("{sweep}/result.json"));
    result.as_object_mut().unwrap().remove("name").unwrap();
    for row in result["trials"].as_array_mut().unwrap() {
        row.as_object_mut().unwrap().remove("seconds").unwrap();
        for run in row["runs"].as_array_mut().unwrap() {
            run.as_object_mut().unwrap().remove("seconds").unwrap();
        }
    }
    result
}

/// How many runs have come to the end of a rung.
#[cfg(unix)]
fn reached(folder: &Folder, sweep: &str) -> usize {
    let jobs = std::fs::read_dir(folder.path().join(sweep).join("jobs")).unwrap();
    let rungs = |job: std::path::PathBuf| {
        let files = std::fs::read_dir(job).unwrap().flatten();
        files.filter(|file| file.file_name().to_string_lossy().starts_with("rung-")).count()
    };
    jobs.flatten().map(|job| rungs(job.path())).sum()
}

/// Starts `kiln` as the head of a process group of its own.
#[cfg(unix)]
fn start_group(folder: &Folder, arguments: &[&str]) -> std::process::Child {
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};
    Command::new(env!("CARGO_BIN_EXE_kiln"))
        .args(arguments)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap()
}

#[cfg(unix)]
fn signal(which: &str, process: &str) {
    assert!(std::process::Command::new("kill").args([which, "--", process]).status().unwrap().success());
}

#[cfg(unix)]
fn wait_until(what: impl Fn() -> bool) {
    for _ in 0..6000 {
        if what() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("it never came to that");
}

#[cfg(unix)]
#[test]
fn a_sweep_that_is_killed_three_times_is_the_one_that_was_never_killed() {
    let folder = Folder::new();
    folder.write("halve.toml", HALVING);
    let ran = folder.kiln(&["sweep", "halve.toml", "--runs", "whole", "--workers", "1", "--set", "device=flex"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("one of 3 continues after 1 and 3 of 9 epochs"), "{}", ran.stdout);
    assert!(ran.stdout.contains("test accuracy, measured once on 60 images"), "{}", ran.stdout);
    let whole = outcome(&folder, "whole/halve-sweep-0001");
    let cost = |key: &str| whole["cost"][key].as_u64().unwrap();
    assert_eq!((cost("epochs"), cost("full_epochs")), (40 + 13 * 2 + 4 * 6, 360));
    assert_eq!(whole["trials"].as_array().unwrap().len(), 40);

    let prepared =
        folder.kiln(&["sweep", "halve.toml", "--runs", "killed", "--prepare", "--quiet", "--set", "device=flex"]);
    let sweep = prepared.stdout.trim();
    assert_eq!((prepared.code, sweep), (0, "killed/halve-sweep-0001"));
    // Everything at once, early, and in a later rung.
    for moment in [5, 43] {
        let mut group = start_group(&folder, &["sweep", "resume", sweep, "--workers", "2"]);
        wait_until(|| reached(&folder, sweep) >= moment);
        signal("-KILL", &format!("-{}", group.id()));
        assert!(group.wait().unwrap().code().is_none());
    }
    // One of two workers with the trial that it trains, while the other goes on.
    let mut groups = [0, 1].map(|_| start_group(&folder, &["sweep", "work", sweep, "--threads", "1"]));
    let before = reached(&folder, sweep);
    wait_until(|| reached(&folder, sweep) > before + 1);
    signal("-KILL", &format!("-{}", groups[0].id()));
    groups[0].wait().unwrap();
    assert_eq!(groups[1].wait().unwrap().code(), Some(0));
    assert_eq!(outcome(&folder, sweep), whole);
    // What is over is shown, and not done again.
    let again = folder.kiln(&["sweep", "resume", sweep]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert_eq!(outcome(&folder, sweep), whole);
}

#[cfg(unix)]
#[test]
fn an_interrupted_sweep_saves_and_goes_on() {
    let folder = Folder::new();
    folder.write("halve.toml", &HALVING.replace("trials = 40", "trials = 6"));
    let whole = ["sweep", "halve.toml", "--runs", "whole", "--quiet", "--set", "train.epochs=30"];
    assert_eq!(folder.kiln(&whole).code, 0);
    let mut stopped = start_group(&folder, &["sweep", "halve.toml", "--set", "train.epochs=30"]);
    let sweep = "runs/halve-sweep-0001";
    wait_until(|| folder.path().join(sweep).is_dir() && reached(&folder, sweep) >= 1);
    signal("-INT", &format!("-{}", stopped.id()));
    assert_eq!(stopped.wait().unwrap().code(), Some(130));
    assert!(folder.kiln(&["sweep", "show", sweep]).stdout.contains("not finished"));
    let ran = folder.kiln(&["sweep", "resume", sweep]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("done already"), "{}", ran.stdout);
    assert_eq!(outcome(&folder, sweep), outcome(&folder, "whole/halve-sweep-0001"));
}

#[test]
fn three_rates_over_two_seeds_are_one_command_and_no_trial_sees_the_test_images() {
    let folder = Folder::new();
    let over = ["--over", "optimizer.learning_rate=0.0001,0.01", "--seeds", "2", "--device", "flex"];
    let small = ["--set", "data.train=200", "--set", "data.noise=0.5", "--set", "train.epochs=2"];
    let result = folder.json(&[&["sweep", "smoke"], &over[..], &small].concat());
    assert_eq!((&result["winner"], &result["validation_images"]), (&2.into(), &100.into()));
    assert_eq!(result["comparison"]["arms"][0]["seeds"], serde_json::json!([1, 2]));
    assert_eq!(result["test"]["accuracies"].as_array().unwrap().len(), 2);
    let sweep = "runs/smoke-sweep-0001";
    for row in result["trials"].as_array().unwrap() {
        for run in row["runs"].as_array().unwrap() {
            let path = format!("{sweep}/{}", run["run"].as_str().unwrap());
            let record = folder.read_json(&format!("{path}/run.json"));
            assert_eq!((&record["status"], &record["measured_on"]), (&"done".into(), &"validation".into()));
            assert_eq!(record["result"]["test_accuracy"], Value::Null);
            assert!(!folder.path().join(&path).join("report.html").exists());
            // It is the run that it would have been alone.
            assert_eq!(record["result"]["validation_accuracy"], run["validation_accuracy"]);
            assert_eq!(folder.json(&["verify", &path])["weights_sha256"], run["weights_sha256"]);
            let shown = folder.kiln(&["runs", "show", &path]);
            assert!(shown.stdout.contains("not measured"), "{}", shown.stdout);
            let epochs = folder.metrics(&path);
            assert!(epochs.iter().any(|epoch| epoch["validation_accuracy"] == run["validation_accuracy"]));
        }
    }
    // Nor when one goes on by itself, or is reported on.
    let best = format!("{sweep}/trials/0002/seed-1");
    assert_eq!(folder.json(&["extend", &best, "--epochs", "3"])["test_accuracy"], Value::Null);
    assert_eq!(folder.json(&["report", &best])["test"], Value::Null);
    // The list, and the comparison that a user asks for, take a trial for a set of seeds.
    let runs = folder.json(&["runs", "ls", &format!("{sweep}/trials/0001")]);
    assert_eq!((runs.as_array().unwrap().len(), &runs[0]["test_accuracy"]), (2, &Value::Null));
    let compared = folder.json(&["compare", &format!("{sweep}/trials/0001"), &format!("{sweep}/trials/0002")]);
    assert_eq!(compared["arms"][1]["seeds"], serde_json::json!([1, 2]));
    let shown = folder.kiln(&["sweep", "show", sweep]);
    assert!(
        shown.stdout.contains("was chosen on 100 validation images; test accuracy, measured once"),
        "{}",
        shown.stdout
    );
}

#[test]
fn a_failed_trial_is_a_row_and_not_the_end() {
    let folder = Folder::new();
    // 200 images are 4 batches, of which 3 make no whole window.
    let sets = ["--set", "data.train=300", "--set", "train.epochs=1", "--device", "flex"];
    let over = ["--over", "train.accumulation=1,3", "--over", "optimizer.learning_rate=0.01,0.02"];
    let result = folder.json(&[&["sweep", "smoke"], &over[..], &sets].concat());
    let rows = result["trials"].as_array().unwrap();
    let failed: Vec<(bool, u64)> = rows
        .iter()
        .map(|row| (!row["error"].is_null(), row["values"]["train.accumulation"].as_u64().unwrap()))
        .collect();
    assert_eq!(failed, [(false, 1), (false, 1), (true, 3), (true, 3)]);
    assert!(rows[2]["error"].as_str().unwrap().contains("accumulation"), "{}", rows[2]);
    assert_eq!(result["winner"], rows[0]["trial"]);

    let none = folder.kiln(&[&["sweep", "smoke", "--over", "train.accumulation=3,7"], &sets[..]].concat());
    assert_eq!(none.code, 1, "{}", none.stderr);
    assert!(none.stdout.contains("No trial was trained to its end"), "{}", none.stdout);
    assert!(none.stderr.contains("no trial was trained to its end"), "{}", none.stderr);
}

#[test]
fn what_cannot_be_swept_is_refused_before_anything_is_made() {
    let folder = Folder::new();
    let refused = |arguments: &[&str], expected: &[&str]| {
        let ran = folder.kiln(&[&["sweep"], arguments].concat());
        assert_eq!(ran.code, 2, "{}", ran.stdout);
        for part in expected {
            assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
        }
        assert!(!folder.path().join("runs").exists());
    };
    folder.write("broken.toml", &HALVING.replace("factor = 3", "factor = 1").replace("trials = 40", "trals = 40"));
    refused(
        &["broken.toml"],
        &["3 problems", "`sweep.trals`: unknown key; did you mean `trials`?", "`sweep.halving.factor`: must be"],
    );
    refused(&["mnist-fast", "--over", "optimizer.learning_rate=0.1,0.2"], &["--set data.validation=0.1"]);
    refused(&["smoke", "--over", "optimizer.learning_rat=0.1"], &["--over optimizer.learning_rat=0.1", "did you mean"]);
    refused(
        &["smoke", "--over", "train.epochs=1,2", "--over", "early_stopping.patience=1,2"],
        &["contradict each other"],
    );
    refused(&["resume", "nowhere"], &["is not the folder of a sweep"]);
    refused(&["smoke"], &["`sweep.over`: is missing"]);
    folder.write("sweep.toml", HALVING);
    let trained = folder.kiln(&["train", "sweep.toml"]);
    assert!(trained.code == 2 && trained.stderr.contains("is for `kiln sweep` alone"), "{}", trained.stderr);
}
