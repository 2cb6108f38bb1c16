//! What a run tells elsewhere: event files for TensorBoard, and a run in the terminal. `tests/event_files.py` reads the event
//! files with TensorBoard's own code.

use std::fs;
use std::path::Path;

use crate::fixture::Folder;

const RUN: &str = "runs/smoke-0001";
const LOGGED: [&str; 2] = ["train.epochs=2", "log.tensorboard=true"];

fn event_files(folder: &Folder) -> Vec<String> {
    let entries = fs::read_dir(folder.path().join(RUN).join("tensorboard")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn event_files_are_written_when_asked_for_one_for_each_process() {
    let folder = Folder::new();
    folder.train(&LOGGED);
    assert!(folder.read(&format!("{RUN}/config.toml")).contains("[log]\ntensorboard = true"));
    let first = event_files(&folder);
    assert_eq!(first.len(), 1);
    assert!(first[0].starts_with("events.out.tfevents."), "{first:?}");
    let bytes = fs::read(folder.path().join(RUN).join("tensorboard").join(&first[0])).unwrap();
    for word in ["loss/validation", "accuracy/test", "training pictures", "tensorboard = true"] {
        assert!(bytes.windows(word.len()).any(|window| window == word.as_bytes()), "{word}");
    }
    let ran = folder.kiln(&["extend", RUN, "--epochs", "3"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let second = event_files(&folder);
    assert_eq!((second.len(), &second[0]), (2, &first[0]));

    let folder = Folder::new();
    folder.train(&[]);
    assert!(!folder.path().join(RUN).join("tensorboard").exists());
}

#[test]
fn a_log_that_cannot_be_written_is_a_warning() {
    let folder = Folder::new();
    folder.train(&LOGGED);
    let log = folder.path().join(RUN).join("tensorboard");
    fs::remove_dir_all(&log).unwrap();
    fs::write(&log, "in the way").unwrap();
    let ran = folder.kiln(&["extend", RUN, "--epochs", "3"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("warning: the log for TensorBoard is not complete: cannot begin"), "{}", ran.stderr);
    assert!(folder.read(&format!("{RUN}/run.json")).contains("the log for TensorBoard is not complete"));
    assert!(folder.read(&format!("{RUN}/run.json")).contains("\"status\": \"done\""));
}

#[test]
fn a_run_is_shown_in_every_state() {
    let folder = Folder::new();
    folder.train(&["train.epochs=2"]);
    let ran = folder.kiln(&["runs", "show", RUN]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for part in ["status      done", "epochs      2 of 2", "test        ", "loss", "accuracy", "train", "validation"] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    assert!(!ran.stdout.contains('\u{1b}'), "{}", ran.stdout);
    assert!(ran.stdout.lines().all(|line| line.chars().count() <= 80), "{}", ran.stdout);
    let shown = folder.json(&["runs", "show", RUN]);
    let trained = folder.json(&["report", RUN]);
    assert_eq!(shown["metrics"], trained["epochs"]);
    assert_eq!(shown["best_epoch"], trained["best_epoch"]);
    assert_eq!(shown["status"], "done");

    let record = folder.read(&format!("{RUN}/run.json"));
    for (status, said) in [("running", "stopped: its process"), ("interrupted", "stopped"), ("failed", "failed")] {
        folder.write(
            &format!("{RUN}/run.json"),
            &record.replace("\"status\": \"done\"", &format!("\"status\": \"{status}\"")),
        );
        let ran = folder.kiln(&["runs", "show", RUN, "--width", "40"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.contains(&format!("status      {said}")), "{}", ran.stdout);
        assert!(ran.stdout.contains("kiln resume"), "{}", ran.stdout);
        assert!(ran.stdout.lines().all(|line| line.chars().count() <= 40), "{}", ran.stdout);
    }
    assert_eq!(folder.kiln(&["runs", "show", "nowhere"]).code, 2);
    assert_eq!(folder.kiln(&["runs", "show", RUN, "--width", "39"]).code, 2);
    assert_eq!(folder.kiln(&["runs"]).code, 2);
}

#[test]
fn a_run_of_which_nothing_is_finished_is_shown_without_curves() {
    let folder = Folder::new();
    folder.copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/runs/stopped"), "runs/stopped");
    let whole = folder.read("runs/stopped/metrics.jsonl");
    // A last line without its end is one that was being written.
    folder.write("runs/stopped/metrics.jsonl", &format!("{whole}{}", &whole[..40]));
    let shown = folder.json(&["runs", "show", "runs/stopped"]);
    assert_eq!(shown["epochs_done"], whole.lines().count());
    folder.write("runs/stopped/metrics.jsonl", "");
    let ran = folder.kiln(&["runs", "show", "runs/stopped"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("epochs      0 of 4") && !ran.stdout.contains("loss"), "{}", ran.stdout);
}
