//! A run trained once more: the same to the last bit, or in words what is not.

use crate::fixture::Folder;

const RUN: &str = "runs/smoke-0001";

#[test]
fn a_rerun_is_the_same_run_beside_the_old_one() {
    let folder = Folder::new();
    folder.train(&["train.epochs=2"]);
    let said = folder.json(&["runs", "rerun", RUN]);
    assert_eq!((&said["identical"], &said["epochs_compared"]), (&true.into(), &2.into()));
    assert_eq!(said["rerun"], "runs/smoke-0002");
    assert_eq!(said["weights_sha256"], said["rerun_weights_sha256"]);
    assert_eq!(folder.metrics(RUN), folder.metrics("runs/smoke-0002"));
    assert_eq!(folder.read("runs/smoke-0001/config.toml"), folder.read("runs/smoke-0002/config.toml"));
    let text = folder.kiln(&["runs", "rerun", RUN, "--runs", "elsewhere"]);
    assert_eq!(text.code, 0, "{}", text.stderr);
    assert_eq!(folder.metrics(RUN), folder.metrics("elsewhere/smoke-0001"));
    assert!(text.stdout.contains("to the last bit as runs/smoke-0001, in 2 epochs"), "{}", text.stdout);
}

#[test]
fn a_rerun_that_differs_says_from_where_and_what_is_known_to_differ() {
    let folder = Folder::new();
    folder.train(&["train.epochs=2"]);
    // As if another kiln had trained it.
    let metrics = folder.read("runs/smoke-0001/metrics.jsonl");
    let second = metrics.lines().nth(1).unwrap();
    let digest =
        serde_json::from_str::<serde_json::Value>(second).unwrap()["weights_sha256"].as_str().unwrap().to_owned();
    folder.write("runs/smoke-0001/metrics.jsonl", &metrics.replace(&digest, &"0".repeat(64)));
    folder.edit_json("runs/smoke-0001/run.json", |record| record["kiln_version"] = "0.0.1".into());
    let ran = folder.kiln(&["runs", "rerun", RUN]);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    assert!(ran.stdout.contains("differ from epoch 2 on"), "{}", ran.stdout);
    assert!(ran.stdout.contains("kiln           was 0.0.1, is "), "{}", ran.stdout);
    assert!(ran.stderr.contains("kiln compare runs/smoke-0001 runs/smoke-0002"), "{}", ran.stderr);
}

#[test]
fn forks_and_extensions_are_repeated_from_where_they_began() {
    let folder = Folder::new();
    folder.train(&["train.epochs=1"]);
    let forked = folder.kiln(&["fork", RUN, "--set", "seed=9", "--set", "name=child"]);
    assert_eq!(forked.code, 0, "{}", forked.stderr);
    assert_eq!(folder.json(&["runs", "rerun", "runs/child-0001"])["identical"], true);
    let record = folder.read_json("runs/child-0002/run.json");
    assert!(record["parent"].as_str().unwrap().starts_with("runs/smoke-0001 (weights SHA-256 "), "{record}");

    let extended = folder.kiln(&["extend", RUN, "--epochs", "3"]);
    assert_eq!(extended.code, 0, "{}", extended.stderr);
    assert_eq!(folder.json(&["runs", "rerun", RUN])["identical"], true);
    // The parent's best weights are others now.
    let refused = folder.kiln(&["runs", "rerun", "runs/child-0001"]);
    assert_eq!(refused.code, 2, "{}", refused.stdout);
    assert!(refused.stderr.contains("began with weights that are not there any more"), "{}", refused.stderr);
    std::fs::remove_dir_all(folder.path().join(RUN)).unwrap();
    let refused = folder.kiln(&["runs", "rerun", "runs/child-0001"]);
    assert!(refused.stderr.contains("there is no model in `runs/smoke-0001`"), "{}", refused.stderr);

    let replanned = folder.kiln(&["extend", "runs/smoke-0002", "--epochs", "5", "--replan"]);
    assert_eq!(replanned.code, 0, "{}", replanned.stderr);
    let refused = folder.kiln(&["runs", "rerun", "runs/smoke-0002"]);
    assert!(refused.code == 2 && refused.stderr.contains("its learning rate jumped"), "{}", refused.stderr);
}

#[test]
fn a_stopped_run_is_compared_as_far_as_it_came_and_other_data_are_refused() {
    let folder = Folder::new();
    folder.train(&["train.epochs=2"]);
    let metrics = folder.read("runs/smoke-0001/metrics.jsonl");
    folder.write("runs/smoke-0001/metrics.jsonl", &format!("{}\n", metrics.lines().next().unwrap()));
    folder.edit_json("runs/smoke-0001/run.json", |record| record["status"] = "interrupted".into());
    let said = folder.json(&["runs", "rerun", RUN]);
    assert_eq!((&said["identical"], &said["epochs_compared"]), (&true.into(), &1.into()));

    folder.edit_json("runs/smoke-0001/run.json", |record| record["data_fingerprint"] = "0".repeat(64).into());
    let refused = folder.kiln(&["runs", "rerun", RUN]);
    assert!(refused.code == 2 && refused.stderr.contains("the data is not what this run was started on"));
    folder.write("runs/smoke-0001/metrics.jsonl", "");
    let refused = folder.kiln(&["runs", "rerun", RUN]);
    assert!(refused.code == 2 && refused.stderr.contains("has not finished an epoch"), "{}", refused.stderr);
    assert!(!folder.path().join("runs/smoke-0003").exists());
}
