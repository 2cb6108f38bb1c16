//! Workers on other machines: here, as processes of this one.

use std::io::{BufRead as _, BufReader};
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fixture::{Folder, Ran, small};

/// A worker that is killed when the test is done with it.
struct Worker {
    process: Child,
    address: String,
}

impl Worker {
    fn start(folder: &Folder, listen: &str) -> Self {
        let arguments = ["worker", "--device", "flex", "--token-file", "token", "--listen", listen, "--json"];
        let mut process = folder.start_piped(&arguments);
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        Self { process, address: said["address"].as_str().unwrap().to_owned() }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A folder with a token.
fn folder() -> Folder {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let token = folder.write("token", "a token that nobody guesses\n");
    std::fs::set_permissions(token, std::fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

fn with_token(folder: &Folder, arguments: &[&str]) -> Ran {
    folder.kiln_with(&[("KILN_TOKEN_FILE", "token")], arguments)
}

/// The arguments of a training on this device.
fn training<'a>(device: &'a str, sets: &[&'a str]) -> Vec<&'a str> {
    let arguments = small(&["train"], sets);
    arguments.into_iter().map(|word| if word == "flex" { device } else { word }).collect()
}

#[test]
fn a_worker_that_is_killed_leaves_a_run_that_goes_on_to_the_same_weights() {
    let folder = folder();
    let sets = ["train.epochs=16", "model.norm=batch", "checkpoint.keep_last=2"];
    assert_eq!(folder.kiln(&training("flex*2", &sets)).code, 0);
    let whole = folder.metrics("runs/smoke-0001");

    let mut worker = Worker::start(&folder, "127.0.0.1:0");
    let address = worker.address.clone();
    let device = format!("flex,remote:{address}");
    let metrics = folder.path().join("runs/smoke-0002/metrics.jsonl");
    let stopped = std::thread::scope(|scope| {
        let training = scope.spawn(|| with_token(&folder, &training(&device, &sets)));
        let begun = Instant::now();
        while std::fs::read_to_string(&metrics).map_or(0, |text| text.lines().count()) < 2 {
            assert!(begun.elapsed() < Duration::from_secs(60) && !training.is_finished());
            std::thread::sleep(Duration::from_millis(5));
        }
        worker.process.kill().unwrap();
        training.join().unwrap()
    });
    assert_eq!(stopped.code, 1, "{}", stopped.stderr);
    for part in [
        &*format!("the worker at {address}, which shares the batches, failed"),
        "caused by: the connection ended: it was stopped or killed",
        "kiln worker",
        "kiln resume runs/smoke-0002",
    ] {
        assert!(stopped.stderr.contains(part), "{part}: {}", stopped.stderr);
    }
    let record = folder.read_json("runs/smoke-0002/run.json");
    assert_eq!((&record["status"], &record["device"]), (&"failed".into(), &device.as_str().into()));

    // Nobody is there: nothing is changed.
    let before = folder.snapshot("runs/smoke-0002");
    let alone = with_token(&folder, &["resume", "runs/smoke-0002"]);
    assert_eq!(alone.code, 2);
    assert!(alone.stderr.contains("nobody listens at"), "{}", alone.stderr);
    assert!(before == folder.snapshot("runs/smoke-0002"));

    let worker = Worker::start(&folder, &address);
    let resumed = with_token(&folder, &["resume", "runs/smoke-0002"]);
    assert_eq!(resumed.code, 0, "{}", resumed.stderr);
    assert_eq!(folder.metrics("runs/smoke-0002"), whole);

    let stop = std::process::Command::new("kill").args(["-TERM", &worker.process.id().to_string()]).status().unwrap();
    assert!(stop.success());
    let mut worker = worker;
    assert_eq!(worker.process.wait().unwrap().code(), Some(0));
}

#[test]
fn what_cannot_use_a_worker_says_so_before_anything_is_written() {
    let folder = folder();
    let worker = Worker::start(&folder, "127.0.0.1:0");
    let device = format!("flex,remote:{}", worker.address);
    let planned = folder.json(&["plan", "smoke", "--device", &device]);
    assert_eq!((&planned["sharing"]["devices"], &planned["sharing"]["workers"]), (&2.into(), &1.into()));
    let ran = with_token(&folder, &training(&device, &["train.epochs=1"]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    folder.write("other", "another token that nobody guesses\n");
    let open = folder.kiln(&["worker", "--token-file", "other"]);
    assert!((open.code, open.stderr.contains("chmod 600")) == (2, true), "{}", open.stderr);
    let teacher = ["loss.teacher=runs/smoke-0001"];
    for (ran, expected) in [
        (folder.kiln(&training(&device, &[])), "KILN_TOKEN_FILE names no file"),
        (with_token(&folder, &training(&device, &teacher)), "a worker on another machine has no teacher"),
        (with_token(&folder, &["eval", "runs/smoke-0001", "--device", &device]), "give one: --device flex"),
        (with_token(&folder, &["explain", "smoke", "--device", &device]), "give one: --device flex"),
        (with_token(&folder, &["serve", "runs/smoke-0001", "--device", &device]), "give one: --device flex"),
        (with_token(&folder, &["bench", "smoke", "--profile", "--device", &device]), "give one: --device flex"),
    ] {
        assert_eq!((ran.code, ran.stderr.contains(expected)), (2, true), "{expected}: {}", ran.stderr);
    }
    assert!(!folder.path().join("runs/smoke-0002").exists());
    let sets = ["train.epochs=2", "train.accumulation=2"];
    let proof = [&["verify-resume"][..], &training(&device, &sets)[1..], &["--at-iteration", "6", "--json"]].concat();
    let proof = with_token(&folder, &proof);
    let value: Value = serde_json::from_str(&proof.stdout).unwrap_or_else(|_| panic!("{}", proof.stderr));
    assert_eq!(value["identical"], true);
}
