//! Stopping, killing, damaging and going on.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kiln::data::AugmentConfig;
use kiln::{EpochMetrics, Experiment, Observer, Trainer};
use serde_json::Value;

use crate::fixture::{Folder, small};

/// SHA-256 in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn checkpoints(folder: &Folder, run: &str) -> Vec<String> {
    let entries = fs::read_dir(folder.path().join(run).join("checkpoints")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A run that was killed after its second epoch: the state of its directory, made by hand from a finished run.
fn killed_after_two_epochs(folder: &Folder) -> (Vec<Value>, &'static str) {
    let slow = ["checkpoint.keep_last=9"];
    folder.train(&slow);
    let whole = folder.metrics("runs/smoke-0001");
    for name in checkpoints(folder, "runs/smoke-0001").iter().skip(2) {
        fs::remove_dir_all(folder.path().join("runs/smoke-0001/checkpoints").join(name)).unwrap();
    }
    fs::remove_file(folder.path().join("runs/smoke-0001/model.bpk")).unwrap();
    let path = folder.path().join("runs/smoke-0001/run.json");
    let mut record: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    record["status"] = "running".into();
    fs::write(&path, record.to_string()).unwrap();
    (whole, "runs/smoke-0001")
}

#[test]
fn a_killed_run_resumes_to_the_same_weights_and_metrics() {
    let folder = Folder::new();
    let (whole, run) = killed_after_two_epochs(&folder);
    let summary = folder.json(&["resume", run]);
    assert_eq!(folder.metrics(run), whole);
    assert_eq!(summary["iterations"], 40);
    assert!(folder.path().join(run).join("model.bpk").is_file());
}

#[test]
fn verify_resume_proves_it_at_any_iteration() {
    let folder = Folder::new();
    for at in ["1", "10", "17", "39"] {
        let model = ["model.dropout=0.1", "data.augment.shift_pixels=1", "train.epochs=4"];
        let value = folder.json(&[&small(&["verify-resume"], &model)[..], &["--at-iteration", at]].concat());
        assert_eq!(value["identical"], true, "stopped after iteration {at}");
    }
    assert_eq!(folder.kiln(&[&small(&["verify-resume"], &[])[..], &["--at-iteration", "40"]].concat()).code, 2);
}

#[test]
fn every_optimizer_resumes_with_its_moments() {
    let folder = Folder::new();
    for kind in ["sgd", "adam", "adamw", "muon"] {
        let optimizer = format!("optimizer.kind={kind}");
        let sets = ["model.kind=mlp", &optimizer, "train.epochs=2"];
        let value = folder.json(&[&small(&["verify-resume"], &sets)[..], &["--at-iteration", "7"]].concat());
        assert_eq!(value["identical"], true, "{kind}");
    }
}

#[test]
fn every_augmentation_draws_after_a_resume_what_it_would_have_drawn() {
    let folder = Folder::new();
    let mut experiment = Experiment::preset("smoke").unwrap();
    experiment = experiment.with(&["data.channels=3", "model.kind=mlp", "train.epochs=2", "data.train=220"]).unwrap();
    experiment.data.augment = AugmentConfig::examples();
    folder.write("all.toml", &experiment.to_toml());
    let value = folder.json(&["verify-resume", "all.toml", "--at-iteration", "4"]);
    assert_eq!(value["identical"], true);
}

#[test]
fn averages_and_mixed_images_resume_as_they_were() {
    let folder = Folder::new();
    let preact = ["model.kind=preact_resnet", "model.channels=[4,8]", "model.blocks=1", "model.stem=4"];
    let mlp = ["model.kind=mlp", "train.accumulation=2"];
    for (model, at) in [(&preact[..], "13"), (&mlp[..], "6")] {
        let sets = [model, &["train.ema=0.9", "train.mixup=0.3", "train.cutmix=1.0", "train.epochs=2"]].concat();
        let value = folder.json(&[&small(&["verify-resume"], &sets)[..], &["--at-iteration", at]].concat());
        assert_eq!(value["identical"], true, "{model:?}");
    }
}

#[test]
fn several_devices_resume_to_the_same_bits() {
    let folder = Folder::new();
    // The last batch of an epoch has one image, fewer than there are devices.
    let resnet = ["model.kind=resnet", "model.channels=[4,8]", "model.blocks=1", "train.ema=0.9", "data.train=281"];
    let convnet =
        ["model.dropout=0.3", "train.accumulation=2", "train.mixup=0.3", "train.clip_norm=1.0", "data.train=280"];
    let common = ["data.test=60", "data.validation=40", "train.epochs=2", "train.batch_size=24"];
    for (model, at) in [(resnet, "13"), (convnet, "6")] {
        let command = ["verify-resume", "smoke", "--device", "flex*3", "--at-iteration", at];
        let value = folder.json(&[&command[..], &common, &model].concat());
        assert_eq!(value["identical"], true, "{model:?}");
    }
}

#[test]
fn a_run_on_several_devices_says_so_and_goes_on_there() {
    let folder = Folder::new();
    folder.write("two.toml", "name = \"two\"\ndevice = [\"flex*2\"]\ndata = { kind = \"synthetic\", train = 100, test = 20, validation = 20 }\nmodel.kind = \"mlp\"\noptimizer.kind = \"adam\"\ntrain = { epochs = 2, batch_size = 10 }\n");
    assert_eq!(folder.json(&["plan", "two.toml"])["sharing"]["devices"], 2);
    let run = folder.json(&["train", "two.toml"]);
    assert_eq!(
        (&run["device"], folder.read_json("runs/two-0001/run.json")["device"].as_str()),
        (&"flex*2".into(), Some("flex*2"))
    );
    // Where one computes, one is enough; where one is shown, two are refused.
    for (arguments, tip) in [
        (&["eval", "runs/two-0001", "--device", "flex*2"][..], "give one: --device flex"),
        (&["explain", "two.toml"], "give one: --device flex"),
        (&["train", "two.toml", "--device", "flex,flex"], "`flex*2`"),
    ] {
        let ran = folder.kiln(arguments);
        assert_eq!((ran.code, ran.stderr.contains(tip)), (2, true), "{}", ran.stderr);
    }
    assert!(!folder.path().join("runs/two-0002").exists());
    folder.json(&["fork", "runs/two-0001", "--epochs", "1"]);
    assert_eq!(folder.read_json("runs/two-0002/run.json")["device"], "flex*2");
    folder.json(&["extend", "runs/two-0001", "--epochs", "3"]);
    assert_eq!(folder.read_json("runs/two-0001/run.json")["device"], "flex*2");
    // A teacher answers for both parts.
    let losses = |device: &str, run: &str| {
        folder.json(&["train", "two.toml", "--device", device, "loss.teacher=runs/two-0001"]);
        let losses: Vec<f64> = folder.metrics(run).iter().map(|epoch| epoch["train_loss"].as_f64().unwrap()).collect();
        losses
    };
    let (one, two) = (losses("flex", "runs/two-0003"), losses("flex*2", "runs/two-0004"));
    assert!(one.len() == 2 && one.iter().zip(&two).all(|(one, two)| (one - two).abs() < 1e-5), "{one:?} {two:?}");
    assert!(folder.json(&["tune", "lr", "two.toml", "--updates", "50"])["points"].is_array());
}

#[test]
fn an_average_is_what_is_validated_kept_and_extended() {
    let folder = Folder::new();
    let model = |sets: &[&str]| {
        let value = folder.json(&small(&["train"], &[&["model.kind=mlp", "schedule.kind=constant"], sets].concat()));
        value["run_dir"].as_str().unwrap().to_owned()
    };
    let digest = |run: &str| folder.metrics(run).last().unwrap()["weights_sha256"].clone();
    let (plain, whole) = (model(&["train.epochs=4"]), model(&["train.epochs=4", "train.ema=0.95"]));
    assert_ne!(digest(&plain), digest(&whole));
    // The training itself is the same: it knows nothing of the average.
    let losses = |run: &str| folder.metrics(run).iter().map(|epoch| epoch["train_loss"].clone()).collect::<Vec<_>>();
    assert_eq!(losses(&plain), losses(&whole));
    let short = model(&["train.epochs=2", "train.ema=0.95"]);
    folder.json(&["extend", &short, "--epochs", "4"]);
    assert_eq!(digest(&short), digest(&whole));
    assert!(folder.path().join(&whole).join("model.bpk").is_file());
    // A run without an average has no such record, one with it has.
    let holds = |run: &str| {
        let newest = checkpoints(&folder, run).pop().unwrap();
        folder.path().join(run).join("checkpoints").join(newest).join("average.bpk").is_file()
    };
    assert_eq!((holds(&plain), holds(&whole)), (false, true));
}

#[test]
fn accumulated_gradients_are_never_cut_by_a_stop() {
    let folder = Folder::new();
    let sets = ["model.kind=mlp", "train.accumulation=2", "train.epochs=2"];
    let value = folder.json(&[&small(&["verify-resume"], &sets)[..], &["--at-iteration", "5"]].concat());
    assert_eq!(value["identical"], true);
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_in_good_order_and_names_the_way_on() {
    let folder = Folder::new();
    let sets = ["train.epochs=500"];
    let child = folder.start(&small(&["train"], &sets));
    let metrics = folder.path().join("runs/smoke-0001/metrics.jsonl");
    while fs::read_to_string(&metrics).map_or(0, |text| text.lines().count()) < 2 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut child = child;
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let record: Value = serde_json::from_str(&folder.read("runs/smoke-0001/run.json")).unwrap();
    assert_eq!(record["status"], "interrupted");
    assert!(folder.path().join("runs/smoke-0001/model.bpk").is_file(), "the best so far is kept");
}

#[test]
fn a_damaged_checkpoint_is_reported_and_the_one_before_is_used() {
    for harm in ["truncate", "flip", "remove"] {
        let folder = Folder::new();
        let (whole, run) = killed_after_two_epochs(&folder);
        let newest = checkpoints(&folder, run).pop().unwrap();
        let path = folder.path().join(run).join("checkpoints").join(newest).join("optimizer.bpk");
        damage(&path, harm);
        let ran = folder.kiln(&["resume", run]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stderr.contains("is damaged"), "{harm}: {}", ran.stderr);
        assert_eq!(folder.metrics(run), whole, "{harm}");
    }
}

fn damage(path: &Path, harm: &str) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    match harm {
        "truncate" => fs::write(path, &bytes[..middle]).unwrap(),
        "flip" => {
            bytes[middle] ^= 4;
            fs::write(path, bytes).unwrap();
        }
        _ => fs::remove_file(path).unwrap(),
    }
}

#[test]
fn a_missing_run_record_does_not_stop_a_resume() {
    let folder = Folder::new();
    let (whole, run) = killed_after_two_epochs(&folder);
    fs::remove_file(folder.path().join(run).join("run.json")).unwrap();
    let ran = folder.kiln(&["resume", run]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(folder.metrics(run), whole);
}

#[test]
fn a_changed_config_is_refused_with_the_difference() {
    let folder = Folder::new();
    let (_, run) = killed_after_two_epochs(&folder);
    let path = format!("{run}/config.toml");
    let text = folder.read(&path).replace("seed = 42", "seed = 43");
    folder.write(&path, &text);
    let ran = folder.kiln(&["resume", run]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("-seed = 42") && ran.stderr.contains("+seed = 43"), "{}", ran.stderr);
}

#[test]
fn changed_data_is_refused() {
    let folder = Folder::new();
    let (_, run) = killed_after_two_epochs(&folder);
    for name in checkpoints(&folder, run) {
        // The state with another fingerprint, and a commit marker that agrees with it.
        let checkpoint = folder.path().join(run).join("checkpoints").join(name);
        let state = fs::read_to_string(checkpoint.join("state.json")).unwrap();
        let mut value: Value = serde_json::from_str(&state).unwrap();
        value["data_fingerprint"] = "0".repeat(64).into();
        let state = value.to_string();
        let commit = fs::read_to_string(checkpoint.join("commit.json")).unwrap();
        let mut marker: Value = serde_json::from_str(&commit).unwrap();
        marker["sha256"]["state.json"] = sha256(state.as_bytes()).into();
        fs::write(checkpoint.join("state.json"), state).unwrap();
        fs::write(checkpoint.join("commit.json"), marker.to_string()).unwrap();
    }
    let ran = folder.kiln(&["resume", run]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("the data is not what this run was started on"), "{}", ran.stderr);
}

#[test]
fn a_finished_run_is_extended_and_not_resumed() {
    let folder = Folder::new();
    folder.train(&["train.epochs=2", "schedule.kind=cosine"]);
    assert_eq!(folder.kiln(&["resume", "runs/smoke-0001"]).code, 2);
    assert_eq!(folder.kiln(&["extend", "runs/smoke-0001", "--epochs", "2"]).code, 2);
    let before = folder.metrics("runs/smoke-0001");
    let summary = folder.json(&["extend", "runs/smoke-0001", "--epochs", "4"]);
    assert_eq!(summary["epochs"], 4);
    let after = folder.metrics("runs/smoke-0001");
    assert_eq!(after[..2], before);
    let rate = |line: &Value| line["learning_rate"].as_f64().unwrap();
    assert_eq!(rate(&after[2]), rate(&after[3]), "held");
    assert!(rate(&after[2]) <= rate(&after[1]), "no jump");
    let record: Value = serde_json::from_str(&folder.read("runs/smoke-0001/run.json")).unwrap();
    assert!(record["history"][0].as_str().unwrap().contains("held"), "{record}");
}

#[test]
fn a_fork_begins_with_its_parents_weights_and_says_so() {
    let folder = Folder::new();
    folder.train(&["train.epochs=4"]);
    let parent = folder.metrics("runs/smoke-0001");
    folder.json(&["fork", "runs/smoke-0001", "--set", "train.epochs=1", "--set", "name=child"]);
    let child = folder.metrics("runs/child-0001");
    let loss = |line: &Value| line["train_loss"].as_f64().unwrap();
    assert!(loss(&child[0]) < loss(&parent[0]), "it does not begin from nothing");
    let record: Value = serde_json::from_str(&folder.read("runs/child-0001/run.json")).unwrap();
    assert!(record["parent"].as_str().unwrap().contains("smoke-0001"));
}

#[test]
fn two_processes_cannot_train_in_one_directory() {
    let folder = Folder::new();
    let (_, run) = killed_after_two_epochs(&folder);
    let lock = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(folder.path().join(run).join("lock"))
        .unwrap();
    lock.lock().unwrap();
    let ran = folder.kiln(&["resume", run]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("is training in"), "{}", ran.stderr);
    drop(lock);
    assert_eq!(folder.kiln(&["resume", run]).code, 0);
}

#[test]
fn resuming_what_is_no_run_says_what_was_found() {
    let folder = Folder::new();
    let ran = folder.kiln(&["resume", "nowhere"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("found nothing"), "{}", ran.stderr);
}

#[cfg(unix)]
#[test]
fn a_disk_without_room_fails_the_run_and_loses_nothing() {
    let folder = Folder::new();
    let (whole, run) = killed_after_two_epochs(&folder);
    // A limit on the size of a file meets every write as a full disk does: with an error in the middle of it.
    let script = format!("trap '' XFSZ; ulimit -f 1; exec {} resume {run}", env!("CARGO_BIN_EXE_kiln"));
    let output = std::process::Command::new("bash").args(["-c", &script]).current_dir(folder.path()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("cannot write"), "{stderr}");
    assert_eq!(checkpoints(&folder, run).iter().filter(|name| !name.starts_with('.')).count(), 2);
    assert_eq!(folder.kiln(&["resume", run]).code, 0);
    assert_eq!(folder.metrics(run), whole);
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_before_training() {
    let folder = Folder::new();
    folder.write("runs", "a file where the folder should be");
    let ran = folder.kiln(&small(&["train"], &[]));
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("cannot create the run directory") && ran.stderr.contains("--runs"), "{}", ran.stderr);
}

#[test]
fn a_clock_that_was_set_back_changes_nothing() {
    let folder = Folder::new();
    let (whole, run) = killed_after_two_epochs(&folder);
    let path = format!("{run}/run.json");
    let mut record: Value = serde_json::from_str(&folder.read(&path)).unwrap();
    record["started"] = "2999-01-01T00:00:00Z".into();
    folder.write(&path, &record.to_string());
    let future = std::time::SystemTime::now() + Duration::from_secs(10 * 365 * 24 * 3600);
    let oldest = checkpoints(&folder, run).remove(0);
    for file in ["commit.json", "state.json", "model.bpk"] {
        let path = folder.path().join(run).join("checkpoints").join(&oldest).join(file);
        fs::File::options().append(true).open(path).unwrap().set_modified(future).unwrap();
    }
    assert_eq!(folder.kiln(&["resume", run]).code, 0);
    assert_eq!(folder.metrics(run), whole);
}

/// Panics at the end of the second epoch, as a library might in the middle of training.
struct Panics {
    epochs: usize,
}

impl Observer for Panics {
    fn on_epoch(&mut self, _metrics: &EpochMetrics, _epochs: usize, _best: bool) {
        self.epochs += 1;
        assert!(self.epochs < 2, "a library gave up");
    }
}

#[test]
fn a_panic_inside_training_becomes_an_error_and_the_run_goes_on() {
    let folder = Folder::new();
    folder.train(&[]);
    let whole = folder.metrics("runs/smoke-0001");
    let experiment = Experiment::open(folder.path().join("runs/smoke-0001/config.toml")).unwrap();
    let trainer = Trainer::new(experiment).unwrap().runs(folder.path().join("runs"));
    let error = trainer.observer(Panics { epochs: 0 }).train().unwrap_err().render();
    assert!(error.contains("panic inside a dependency") && error.contains("a library gave up"), "{error}");
    assert!(error.contains("kiln resume"), "{error}");
    assert_eq!(folder.read_json("runs/smoke-0002/run.json")["status"], "failed");
    assert_eq!(folder.kiln(&["resume", "runs/smoke-0002"]).code, 0);
    assert_eq!(folder.metrics("runs/smoke-0002"), whole);
}
