//! Every way in which stopping a run once lost something, or going on with one pretended to.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::fixture::{Folder, small};
use crate::resuming::sha256;

const RUN: &str = "runs/smoke-0001";

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/runs").join(name)
}

fn checkpoints(folder: &Folder, run: &str) -> Vec<String> {
    let entries = fs::read_dir(folder.path().join(run).join("checkpoints")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Changes a checkpoint's state, with a commit marker that agrees with it.
fn edit_state(folder: &Folder, run: &str, checkpoint: &str, edit: impl FnOnce(&mut Value)) {
    let path = format!("{run}/checkpoints/{checkpoint}");
    folder.edit_json(&format!("{path}/state.json"), edit);
    let state = folder.read(&format!("{path}/state.json"));
    folder.edit_json(&format!("{path}/commit.json"), |commit| {
        commit["sha256"]["state.json"] = sha256(state.as_bytes()).into();
    });
}

fn damage(folder: &Folder, run: &str, checkpoint: &str) {
    let path = folder.path().join(run).join("checkpoints").join(checkpoint).join("model.bpk");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(path, bytes).unwrap();
}

/// A refusal with this in its words, after which not a byte of the run is another.
fn refused(folder: &Folder, command: &[&str], words: &[&str]) {
    let before = folder.snapshot("runs");
    let ran = folder.kiln(command);
    assert_eq!(ran.code, 2, "{command:?}: {}", ran.stderr);
    for word in words {
        assert!(ran.stderr.contains(word), "{command:?}, {word}: {}", ran.stderr);
    }
    assert_eq!(folder.snapshot("runs"), before, "{command:?} changed something");
}

/// A run of 4 epochs that was killed in the second, and its metrics had it not been.
fn killed(folder: &Folder, sets: &[&str]) -> Vec<Value> {
    let all = [&["checkpoint.keep_last=9"], sets].concat();
    folder.train(&all);
    let whole = folder.metrics(RUN);
    for name in checkpoints(folder, RUN).into_iter().filter(|name| name.as_str() > "000000020") {
        fs::remove_dir_all(folder.path().join(RUN).join("checkpoints").join(name)).unwrap();
    }
    fs::remove_file(folder.path().join(RUN).join("model.bpk")).unwrap();
    folder.edit_json(&format!("{RUN}/run.json"), |record| {
        record["status"] = "running".into();
        record.as_object_mut().unwrap().remove("result");
    });
    whole
}

#[test]
fn a_new_run_has_checkpoint_0_before_it_has_its_name() {
    let folder = Folder::new();
    let initial = folder.json(&small(&["train"], &["train.epochs=1", "checkpoint.keep_last=9"]));
    assert_eq!(initial["iterations"], 10);
    assert_eq!(checkpoints(&folder, RUN), ["000000000", "000000010"]);
    let whole = folder.metrics(RUN);
    fs::remove_dir_all(folder.path().join(RUN).join("checkpoints/000000010")).unwrap();
    let ran = folder.kiln(&["resume", RUN]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(folder.metrics(RUN), whole, "checkpoint 0 is the run's very beginning");
}

#[test]
fn a_run_of_an_older_kiln_resumes_to_the_losses_it_would_have_had() {
    let folder = Folder::new();
    folder.copy(&fixture("stopped"), "runs/old");
    let ran = folder.kiln(&["resume", "runs/old"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let expected = fs::read_to_string(fixture("stopped.expected.jsonl")).unwrap();
    // The last bits of an older kiln's kernels, or of another machine's, are others; the figures that people see are not.
    let losses = |text: &str| -> Vec<String> {
        let loss = |line: &str| serde_json::from_str::<Value>(line).unwrap()["validation_loss"].as_f64().unwrap();
        text.lines().map(|line| format!("{:.4}", loss(line))).collect()
    };
    let found = folder.read("runs/old/metrics.jsonl");
    assert_eq!(losses(&found), losses(&expected));
    assert_eq!(folder.kiln(&["extend", "runs/old", "--epochs", "5"]).code, 0);
}

#[test]
fn a_run_of_an_older_kiln_without_a_checkpoint_is_never_begun_anew() {
    let folder = Folder::new();
    folder.copy(&fixture("stopped"), "runs/old");
    // As a fork that was killed before its first save left it.
    fs::remove_dir_all(folder.path().join("runs/old/checkpoints")).unwrap();
    folder.edit_json("runs/old/run.json", |record| record["parent"] = "runs/parent-0001".into());
    refused(
        &folder,
        &["resume", "runs/old"],
        &["no checkpoint to go on from", "runs/parent-0001: fork that run again"],
    );
    fs::create_dir(folder.path().join("runs/old/checkpoints")).unwrap();
    refused(&folder, &["extend", "runs/old", "--epochs", "9"], &["no checkpoint to go on from"]);
}

#[test]
fn when_no_checkpoint_is_intact_each_is_named_and_everything_is_kept() {
    let folder = Folder::new();
    killed(&folder, &[]);
    let names = checkpoints(&folder, RUN);
    for name in &names {
        damage(&folder, RUN, name);
    }
    let none = format!("none of the {} checkpoints", names.len());
    refused(&folder, &["resume", RUN], &[&none, names[0].as_str(), names[1].as_str(), "tip:"]);
    refused(&folder, &["extend", RUN, "--epochs", "9"], &["none of the"]);
}

#[test]
fn a_state_with_less_is_understood_and_one_of_a_newer_kiln_is_refused() {
    let folder = Folder::new();
    let whole = killed(&folder, &[]);
    let newest = checkpoints(&folder, RUN).pop().unwrap();
    edit_state(&folder, RUN, &newest, |state| {
        let state = state.as_object_mut().unwrap();
        state.remove("schema_version").unwrap();
        state.remove("train_images").unwrap();
        state.insert("of_tomorrow".into(), 1.into());
    });
    assert_eq!(folder.kiln(&["resume", RUN]).code, 0);
    assert_eq!(folder.metrics(RUN), whole);

    let folder = Folder::new();
    killed(&folder, &[]);
    edit_state(&folder, RUN, &newest, |state| state["schema_version"] = 3000.into());
    refused(&folder, &["resume", RUN], &["version 3000", "tip:"]);
    edit_state(&folder, RUN, &newest, |state| {
        state["schema_version"] = 2.into();
        state["epoch"] = "second".into();
    });
    refused(&folder, &["resume", RUN], &["cannot be read by this kiln"]);
    folder.edit_json(&format!("{RUN}/checkpoints/{newest}/commit.json"), |commit| commit["schema_version"] = 9.into());
    refused(&folder, &["resume", RUN], &["is of version 9"]);
}

#[test]
fn a_run_that_stopped_early_and_was_killed_before_its_export_is_finished_and_not_trained_on() {
    let folder = Folder::new();
    folder.train(&["stop_at.validation_accuracy=0.05"]);
    let whole = folder.metrics(RUN);
    assert_eq!(whole.len(), 1);
    fs::remove_file(folder.path().join(RUN).join("model.bpk")).unwrap();
    folder.edit_json(&format!("{RUN}/run.json"), |record| record["status"] = "running".into());
    let summary = folder.json(&["resume", RUN]);
    assert_eq!(summary["epochs"], 1);
    assert_eq!(folder.metrics(RUN), whole);
    assert!(summary["stopped_early"].as_str().unwrap().contains("stop_at.validation_accuracy"), "{summary}");
    refused(&folder, &["resume", RUN], &["is complete"]);
}

#[cfg(unix)]
#[test]
fn a_resume_of_a_living_run_is_refused_and_takes_nothing_from_it() {
    let folder = Folder::new();
    let sets = ["train.epochs=120", "checkpoint.every_iterations=2"];
    folder.train(&[&sets[..], &["name=whole"]].concat());
    let mut child = folder.start(&small(&["train"], &sets));
    while !folder.path().join(RUN).is_dir() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut refusals = 0;
    while child.try_wait().unwrap().is_none() {
        let ran = folder.kiln(&["resume", RUN, "--quiet"]);
        refusals += usize::from(ran.stderr.contains("is training in"));
        if refusals >= 12 {
            break;
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(refusals >= 2, "the run was over too soon: {refusals}");
    assert_eq!(folder.metrics(RUN), folder.metrics("runs/whole-0001"));
}

#[cfg(unix)]
#[test]
fn an_extension_that_is_stopped_at_once_can_be_gone_on_with_or_asked_for_again() {
    let folder = Folder::new();
    folder.train(&["train.epochs=2"]);
    folder.copy(&folder.path().join(RUN), "whole");
    folder.json(&["extend", "whole", "--epochs", "40"]);
    for moment in [0, 8, 16, 25, 40, 62] {
        let run = format!("run{moment}");
        folder.copy(&folder.path().join(RUN), &run);
        let mut child = folder.start(&["extend", &run, "--epochs", "40", "--quiet"]);
        std::thread::sleep(Duration::from_millis(moment));
        std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        child.wait().unwrap();
        let resumed = folder.kiln(&["resume", &run]);
        if resumed.code != 0 {
            assert!(resumed.stderr.contains("is complete"), "after {moment} ms: {}", resumed.stderr);
        }
        if folder.metrics(&run).len() == 2 {
            folder.json(&["extend", &run, "--epochs", "40"]);
        }
        assert_eq!(folder.metrics(&run), folder.metrics("whole"), "after {moment} ms");
    }
}

#[test]
fn a_lost_best_epoch_is_found_in_the_model_file_or_refused_before_training() {
    let folder = Folder::new();
    // A rate this high: the first epoch stays the best.
    let sets =
        ["optimizer.learning_rate=1", "optimizer.kind=sgd", "optimizer.momentum=0.0", "train.epochs=3", "data.noise=1"];
    let summary = folder.train(&[&sets[..], &["model.kind=linear"]].concat());
    let best = summary["best_epoch"].as_u64().unwrap();
    assert!(best < 3, "the test needs a best epoch that is not the last: {summary}");
    damage(&folder, RUN, &format!("{:09}", best * 10));
    folder.copy(&folder.path().join(RUN), "runs/lost");
    // The model file holds the same weights.
    let ran = folder.kiln(&["extend", RUN, "--epochs", "4"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("its weights are taken from"), "{}", ran.stderr);
    fs::remove_file(folder.path().join("runs/lost/model.bpk")).unwrap();
    refused(&folder, &["extend", "runs/lost", "--epochs", "4"], &["best epoch", "are lost", "--forget-best"]);
    folder.copy(&folder.path().join("runs/lost"), "runs/longer");
    assert_eq!(folder.kiln(&["extend", "runs/longer", "--epochs", "4", "--forget-best"]).code, 0);
    folder.edit_json("runs/lost/run.json", |record| record["status"] = "running".into());
    refused(&folder, &["resume", "runs/lost"], &["are lost", "--forget-best"]);
    let ran = folder.kiln(&["resume", "runs/lost", "--forget-best", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("is forgotten"), "{}", ran.stderr);
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(summary["best_epoch"], 3);
}

#[test]
fn a_config_edited_before_the_first_epoch_is_refused_and_restored_when_deleted() {
    let folder = Folder::new();
    let whole = killed(&folder, &[]);
    for name in checkpoints(&folder, RUN).into_iter().filter(|name| name != "000000000") {
        fs::remove_dir_all(folder.path().join(RUN).join("checkpoints").join(name)).unwrap();
    }
    let path = format!("{RUN}/config.toml");
    let original = folder.read(&path);
    folder.write(&path, &original.replace("learning_rate = 0.01", "learning_rate = 0.02"));
    refused(&folder, &["resume", RUN], &["-learning_rate = 0.01", "+learning_rate = 0.02", "delete"]);
    folder.write(&path, "learning_rate = what");
    refused(&folder, &["resume", RUN], &["is not valid TOML", "delete"]);
    fs::remove_file(folder.path().join(&path)).unwrap();
    assert_eq!(folder.kiln(&["resume", RUN]).code, 0);
    assert_eq!(folder.read(&path), original);
    assert_eq!(folder.metrics(RUN), whole);
}

#[test]
fn a_fork_whose_weights_do_not_fit_leaves_nothing_behind() {
    let folder = Folder::new();
    folder.train(&["model.kind=mlp"]);
    refused(&folder, &["fork", RUN, "--set", "model.hidden=[7]"], &["do not fit", "hidden.0.weight", "tip:"]);
    refused(&folder, &["fork", RUN, "--set", "train.epochs=0"], &["train.epochs"]);
    assert_eq!(fs::read_dir(folder.path().join("runs")).unwrap().count(), 1);
}

#[test]
fn verify_resume_proves_nothing_when_nothing_was_resumed() {
    let folder = Folder::new();
    for (sets, at) in
        [(["stop_at.validation_accuracy=0.05", "seed=1"], "25"), (["train.accumulation=10", "seed=1"], "31")]
    {
        let ran = folder.kiln(&[&small(&["verify-resume"], &sets)[..], &["--at-iteration", at]].concat());
        assert_eq!(ran.code, 1, "{sets:?}: {} {}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains("nothing was proven") && ran.stderr.contains("tip:"), "{sets:?}: {}", ran.stderr);
        assert!(!ran.stdout.contains("bit-identical"), "{}", ran.stdout);
    }
    let deferred = [&small(&["verify-resume"], &["train.accumulation=5"])[..], &["--at-iteration", "12"]].concat();
    assert_eq!(folder.json(&deferred)["stopped_after"], 15, "a window is finished first");
}

#[test]
fn nan_in_validation_is_never_the_best_and_never_saved() {
    let folder = Folder::new();
    // With one iteration per epoch, each loss is computed before the update that goes beyond all bounds.
    let sets = [
        "model.kind=mlp",
        "model.hidden=[64,64,64,64]",
        "optimizer.kind=sgd",
        "optimizer.learning_rate=1",
        "optimizer.momentum=0.99",
        "optimizer.weight_decay=1",
        "train.iterations_per_epoch=1",
        "train.epochs=300",
    ];
    let ran = folder.kiln(&small(&["train"], &sets));
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("became NaN") || ran.stderr.contains("became inf"), "{}", ran.stderr);
    assert!(ran.stderr.contains("learning_rate") && ran.stderr.contains("kiln fork"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("kiln resume"), "it would meet the NaN again: {}", ran.stderr);
    for metrics in folder.metrics(RUN) {
        assert!(metrics["validation_loss"].as_f64().is_some_and(f64::is_finite), "{metrics}");
    }
    assert_eq!(folder.read_json(&format!("{RUN}/run.json"))["status"], "failed");
    let again = folder.kiln(&["resume", RUN]);
    assert_eq!(again.code, 1, "{}", again.stderr);
    assert!(again.stderr.contains("became"), "{}", again.stderr);
}

#[test]
fn a_run_goes_on_where_it_computed_and_says_so_when_it_does_not() {
    let folder = Folder::new();
    let whole = killed(&folder, &[]);
    assert_eq!(
        folder.read_json(&format!("{RUN}/run.json"))["kernels"],
        if crate::fixture::is_stock() { "stock" } else { "kiln" }
    );
    let other = if crate::fixture::is_stock() { "0" } else { "1" };
    let ran = folder.kiln_with(&[("KILN_STOCK_OPS", other)], &["resume", RUN]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("KILN_STOCK_OPS"), "{}", ran.stderr);
    // Also without its record: the checkpoint knows.
    fs::remove_file(folder.path().join(RUN).join("run.json")).unwrap();
    let ran = folder.kiln_with(&[("KILN_STOCK_OPS", other)], &["resume", RUN]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    let newest = checkpoints(&folder, RUN).pop().unwrap();
    edit_state(&folder, RUN, &newest, |state| state["device"] = "cuda:0".into());
    refused(&folder, &["resume", RUN], &["cuda"]);
    let ran = folder.kiln(&["resume", RUN, "--device", "flex"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("was trained on cuda:0 and continues on flex"), "{}", ran.stderr);
    assert_eq!(folder.metrics(RUN), whole);
    let history = folder.read_json(&format!("{RUN}/run.json"))["history"].clone();
    assert!(history[0].as_str().unwrap().contains("flex"), "{history}");
}

#[test]
fn a_demanded_accuracy_that_cannot_be_met_is_refused_before_training() {
    let folder = Folder::new();
    for demand in ["nan", "99", "-0.1", "inf", "1.01", "half"] {
        for command in [small(&["train"], &[]), vec!["resume", RUN], vec!["eval", RUN]] {
            let ran = folder.kiln(&[&command[..], &[&format!("--require-accuracy={demand}")]].concat());
            assert_eq!(ran.code, 2, "{demand}: {}", ran.stderr);
            assert!(ran.stderr.contains("0 to 1"), "{demand}: {}", ran.stderr);
        }
    }
    assert!(!folder.path().join("runs").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_is_lost_is_an_error() {
    let folder = Folder::new();
    let run = |command: &str| {
        let script = format!("exec {} {command} > /dev/full", env!("CARGO_BIN_EXE_kiln"));
        let output =
            std::process::Command::new("bash").args(["-c", &script]).current_dir(folder.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    folder.train(&["train.epochs=1"]);
    image::GrayImage::from_pixel(20, 20, image::Luma([200])).save(folder.path().join("a.png")).unwrap();
    for command in [
        "plan smoke",
        "plan smoke --json",
        "config show",
        "config keys",
        "devices --json",
        "verify runs/smoke-0001",
        "predict runs/smoke-0001 a.png --json",
    ] {
        let (code, stderr) = run(command);
        assert_eq!(code, Some(1), "{command}: {stderr}");
        assert!(stderr.contains("cannot write the output"), "{command}: {stderr}");
    }
    // Who closes the pipe has read enough.
    let script = format!("{} config keys | head -n 1 >/dev/null; echo ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_kiln"));
    let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "0");
}

#[test]
fn a_run_directory_deleted_in_training_is_not_made_again() {
    let folder = Folder::new();
    let mut child = folder.start(&small(&["train"], &["train.epochs=5000"]));
    let run = folder.path().join(RUN);
    while !run.join("metrics.jsonl").is_file() {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(100));
    // A writer may be at work in it: again until it is gone.
    while run.exists() {
        let _ = fs::remove_dir_all(&run);
    }
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(!run.exists());
    assert_eq!(fs::read_dir(folder.path().join("runs")).unwrap().count(), 0);
}

#[test]
fn a_lock_file_that_is_no_text_does_not_lock_anybody_out() {
    let folder = Folder::new();
    let whole = killed(&folder, &[]);
    fs::write(folder.path().join(RUN).join("lock"), [0xff, 0x00, 0xfe]).unwrap();
    assert_eq!(folder.kiln(&["resume", RUN]).code, 0);
    assert_eq!(folder.metrics(RUN), whole);
}

#[test]
fn what_a_killed_export_left_in_a_run_goes_when_it_goes_on() {
    let folder = Folder::new();
    killed(&folder, &[]);
    folder.write(&format!("{RUN}/.tmp-AbCdEf"), "half a model");
    folder.write(&format!("{RUN}/checkpoints/.unfinished-000000030/model.bpk"), "half");
    refused(&folder, &["extend", RUN, "--epochs", "1"], &["more than the run's"]);
    assert_eq!(folder.kiln(&["resume", RUN]).code, 0);
    let left = folder.snapshot(RUN).into_keys().filter(|path| path.to_string_lossy().contains("/."));
    // The folder of the test itself has a hidden name.
    let left: Vec<_> =
        left.filter(|path| path.strip_prefix(folder.path()).unwrap().to_string_lossy().contains("/.")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[cfg(unix)]
#[test]
fn verify_resume_takes_its_temporary_folder_with_it_when_it_is_stopped() {
    let folder = Folder::new();
    let temporary = folder.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let arguments = small(&["verify-resume"], &["train.epochs=5000"]);
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_kiln"))
        .args(&arguments)
        .env("TMPDIR", &temporary)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while fs::read_dir(&temporary).unwrap().count() == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(200));
    std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
}

#[test]
fn a_nan_before_the_first_epoch_does_not_send_anybody_back_to_it() {
    let folder = Folder::new();
    let sets = [
        "model.kind=mlp",
        "model.hidden=[64,64,64,64]",
        "optimizer.kind=sgd",
        "optimizer.learning_rate=1",
        "train.batch_size=2",
    ];
    let ran = folder.kiln(&small(&["train"], &sets));
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert_eq!(folder.metrics(RUN).len(), 0, "the test needs a NaN in the first epoch: {}", ran.stderr);
    assert!(ran.stderr.contains("kiln train runs/smoke-0001/config.toml --set"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("kiln resume"), "{}", ran.stderr);
}

#[test]
fn two_extensions_that_die_between_checkpoint_and_config_lock_nobody_out() {
    let folder = Folder::new();
    folder.train(&["train.epochs=2"]);
    let written = |config: &str, epochs: usize| config.contains(&format!("epochs = {epochs}\n"));
    // As the death of an extension to 3, then of one to 4, leaves it: the file is two configs behind.
    let original = folder.read(&format!("{RUN}/config.toml"));
    folder.json(&["extend", RUN, "--epochs", "3"]);
    folder.write(&format!("{RUN}/config.toml"), &original);
    let newest = checkpoints(&folder, RUN).pop().unwrap();
    edit_state(&folder, RUN, &newest, |state| state["replaced_config"] = original.clone().into());
    let log = folder.path().join("operations");
    folder.copy(&folder.path().join(RUN), "copy");
    let arguments = ["extend", "copy", "--epochs", "4"];
    folder.kiln_with(&[("KILN_FAULT_LOG", log.to_str().unwrap())], &arguments);
    let operations = folder.read("operations");
    let commit = operations.lines().position(|line| line == "commit a checkpoint").unwrap();
    // Dead right after the second extension's checkpoint has its name.
    let fault = format!("kill:{}", commit + 2);
    let died = folder.kiln_with(&[("KILN_FAULT", &fault)], &["extend", RUN, "--epochs", "4"]);
    assert_eq!(died.code, 137, "{}", died.stderr);
    assert!(
        written(&folder.read(&format!("{RUN}/config.toml")), 3),
        "the first extension was written before the second"
    );
    let resumed = folder.kiln(&["resume", RUN]);
    assert_eq!(resumed.code, 0, "{}", resumed.stderr);
    assert!(written(&folder.read(&format!("{RUN}/config.toml")), 4));
    assert_eq!(folder.metrics(RUN).len(), 4);
}

#[test]
fn a_done_run_whose_model_file_is_lost_or_damaged_is_finished_again() {
    let folder = Folder::new();
    folder.train(&["train.epochs=2"]);
    let model = folder.path().join(RUN).join("model.bpk");
    let weights = folder.json(&["verify", RUN])["weights_sha256"].clone();
    for harm in ["delete", "damage"] {
        match harm {
            "delete" => fs::remove_file(&model).unwrap(),
            _ => fs::write(&model, b"half").unwrap(),
        }
        let ran = folder.kiln(&["resume", RUN]);
        assert_eq!(ran.code, 0, "{harm}: {}", ran.stderr);
        assert_eq!(folder.json(&["verify", RUN])["weights_sha256"], weights);
        assert_eq!(folder.metrics(RUN).len(), 2);
    }
}

#[test]
fn a_damaged_checkpoint_is_told_of_even_when_the_run_is_refused() {
    let folder = Folder::new();
    folder.train(&["train.epochs=2", "checkpoint.keep_last=9"]);
    folder.json(&["extend", RUN, "--epochs", "3"]);
    for name in checkpoints(&folder, RUN).into_iter().filter(|name| name.as_str() > "000000020") {
        damage(&folder, RUN, &name);
    }
    // The one before the extension does not know of it, and config.toml does.
    refused(&folder, &["resume", RUN], &["is not the one this run was started with", "000000030", "is damaged"]);
    fs::remove_file(folder.path().join(RUN).join("config.toml")).unwrap();
    folder.edit_json(&format!("{RUN}/run.json"), |record| record["status"] = "running".into());
    assert_eq!(folder.kiln(&["resume", RUN]).code, 0, "the run as it was before the extension");
    assert_eq!(folder.metrics(RUN).len(), 2);
}

#[test]
fn a_fork_says_in_its_model_file_whose_weights_it_began_with() {
    let folder = Folder::new();
    folder.train(&["train.epochs=1"]);
    folder.json(&["fork", RUN, "--set", "name=child"]);
    let model = folder.path().join("runs/child-0001/model.bpk");
    let predictor = kiln::Predictor::open(model).unwrap();
    let provenance = &predictor.manifest().provenance;
    assert!(provenance.parent.as_ref().unwrap().contains("smoke-0001"), "{provenance:?}");
    assert_eq!(provenance.kernels.as_deref(), Some(if crate::fixture::is_stock() { "stock" } else { "kiln" }));
}

#[test]
fn a_fork_of_a_run_whose_data_were_replaced_says_so() {
    let folder = Folder::new();
    let image = |shade: u8| image::GrayImage::from_pixel(8, 8, image::Luma([shade]));
    let write = |step: u8| {
        for (class, base) in [("dark", 10_u8), ("light", 200)] {
            for split in ["train", "test"] {
                let path = folder.path().join(format!("set/{split}/{class}"));
                fs::create_dir_all(&path).unwrap();
                for index in 0..12_u8 {
                    image(base + index * step).save(path.join(format!("{index}.png"))).unwrap();
                }
            }
        }
    };
    write(1);
    let sets =
        ["data.kind=folder", "data.path=set", "data.height=8", "data.width=8", "data.channels=1", "data.validation=4"];
    let mut arguments =
        vec!["train", "smoke", "--device", "flex", "--quiet", "--set", "train.epochs=1", "--set", "train.batch_size=4"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    let ran = folder.kiln(&arguments);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    write(2);
    let ran = folder.kiln(&["fork", RUN]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("the data is not what the parent was trained on"), "{}", ran.stderr);
    refused(&folder, &["extend", RUN, "--epochs", "2"], &["the data is not what this run was started on"]);
}

/// The losses of the smoke config, on any machine and with any operations: whoever changes what training does learns of it here. The
/// last bits of the weights depend on the processor.
#[test]
fn the_smoke_config_has_the_losses_it_always_had() {
    let folder = Folder::new();
    folder.json(&["train", "smoke", "--device", "flex"]);
    let losses: Vec<f64> = folder.metrics(RUN).iter().filter_map(|epoch| epoch["train_loss"].as_f64()).collect();
    let expected = [0.596_401, 0.012_206, 0.002_234];
    assert_eq!(losses.len(), expected.len());
    for (loss, expected) in losses.iter().zip(expected) {
        assert!((loss - expected).abs() < 1e-5, "{losses:?}");
    }
}
