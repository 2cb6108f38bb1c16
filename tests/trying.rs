//! What is tried before a long run: a learning rate, a few batches, everything once.

use std::fs;

use crate::fixture::{Folder, small};

/// The names of what lies in a folder.
fn inside(folder: &Folder) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_range_test_suggests_a_rate_and_leaves_nothing_but_its_page() {
    let folder = Folder::new();
    let test = small(&["tune", "lr"], &[]);
    let found = folder.json(&test);
    let suggestion = found["suggestion"].as_f64().unwrap();
    assert!((1e-4..0.1).contains(&suggestion), "{suggestion}");
    assert_eq!(found["points"].as_array().unwrap().len(), found["smoothed"].as_array().unwrap().len());
    assert_eq!(found, folder.json(&test), "the same config gives the same test");
    assert!(inside(&folder).is_empty(), "{:?}", inside(&folder));

    let text = folder.kiln(&[&test[..], &["--out", "rates.html"]].concat());
    assert_eq!(text.code, 0, "{}", text.stderr);
    let next = format!("--set train.batch_size=24 --device flex --learning-rate {suggestion}");
    assert!(text.stdout.contains("kiln train smoke --set ") && text.stdout.contains(&next), "{}", text.stdout);
    assert!(text.stdout.contains("smoothed") && text.stdout.contains("▲"), "{}", text.stdout);
    let page = folder.read("rates.html");
    assert!(page.contains("<svg") && page.contains(&next) && !page.contains("<script"));
    assert_eq!(inside(&folder), ["rates.html"]);
    let quiet = folder.kiln(&[&test[..], &["--quiet"]].concat());
    assert_eq!(quiet.stdout.trim(), suggestion.to_string());
}

#[test]
fn a_range_test_ends_where_training_diverges_and_refuses_what_is_no_range() {
    let folder = Folder::new();
    let sets = ["optimizer.kind=sgd", "optimizer.momentum=0.9", "train.accumulation=2"];
    let found = folder.json(&[&small(&["tune", "lr"], &sets)[..], &["--from", "0.00001", "--updates", "150"]].concat());
    let points = found["points"].as_array().unwrap();
    let diverged = found["diverged_at"].as_f64();
    assert!(diverged.is_some() == (points.len() < 150) || points.len() == 150, "{diverged:?}, {}", points.len());
    let muon = folder.json(&small(&["tune", "lr"], &["optimizer.kind=muon"]));
    assert!(muon["suggestion"].as_f64().is_some(), "{muon}");
    for (range, said) in [
        (["--from", "1", "--to", "0.1"], "must rise"),
        (["--from", "0", "--to", "0.1"], "must rise"),
        (["--from", "0.1", "--out", "page.txt"], "must end in `.html`"),
    ] {
        let ran = folder.kiln(&[&small(&["tune", "lr"], &[])[..], &range].concat());
        assert!(ran.code == 2 && ran.stderr.contains(said), "{range:?}: {}", ran.stderr);
    }
    // What never learns gets no suggestion.
    let level = folder.kiln(&[&small(&["tune", "lr"], &[])[..], &["--to", "0.000002"]].concat());
    assert!(level.code == 0 && level.stderr.contains("no rate is suggested"), "{}{}", level.stdout, level.stderr);
}

#[test]
fn a_few_batches_are_learned_by_heart_and_the_run_is_no_result() {
    const RUN: &str = "runs/smoke-overfit-0001";
    let folder = Folder::new();
    let ran = folder.kiln(&[&small(&["train"], &["train.epochs=60"])[..], &["--overfit-batches", "2"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("all 48 images of its 2 batches are known by heart"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("test accuracy"), "{}", ran.stdout);
    assert!(ran.stderr.contains("the same 48 images in the same order"), "{}", ran.stderr);
    let record = folder.read_json(&format!("{RUN}/run.json"));
    assert_eq!(record["measured_on"], "training");
    assert_eq!(record["result"]["overfit"], serde_json::json!({ "batches": 2, "images": 48, "correct": 48 }));
    assert!(record["result"]["test_accuracy"].is_null() && record["result"]["validation_accuracy"].is_null());
    assert!(!folder.path().join(RUN).join("report.html").exists());
    assert_eq!(folder.metrics(RUN)[0]["iteration"], 2);

    let listed = folder.kiln(&["runs", "ls"]);
    assert!(listed.stdout.contains("done, overfit"), "{}", listed.stdout);
    let shown = folder.kiln(&["runs", "show", RUN]);
    assert!(shown.stdout.contains("not measured: it learned a few batches by heart"), "{}", shown.stdout);
    folder.train(&["train.epochs=1"]);
    let refused = folder.kiln(&["compare", RUN, "runs/smoke-0001"]);
    assert!(refused.code == 2 && refused.stderr.contains("is no result"), "{}", refused.stderr);
    let report = folder.json(&["report", RUN]);
    assert!(report["notices"].to_string().contains("learned a few batches by heart"), "{}", report["notices"]);
    // The same batches again, and further ones of the same.
    assert_eq!(folder.json(&["runs", "rerun", RUN])["identical"], true);
    folder.json(&["extend", RUN, "--epochs", "62"]);
    let again = folder.json(&small(&["train"], &["train.epochs=62", "train.overfit_batches=2"]));
    assert_eq!(again["run_dir"], "runs/smoke-overfit-0003");
    assert_eq!(folder.metrics(RUN), folder.metrics("runs/smoke-overfit-0003"));
}

#[test]
fn batches_that_are_not_learned_by_heart_are_said_and_too_many_are_refused() {
    let folder = Folder::new();
    let sets = ["train.epochs=1", "optimizer.learning_rate=0.000001"];
    let ran = folder.kiln(&[&small(&["train"], &sets)[..], &["--overfit-batches", "1"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stdout.contains("of the 24 images of its batch are known by heart") && ran.stdout.contains(", not all")
    );
    assert!(ran.stdout.contains("kiln tune lr"), "{}", ran.stdout);
    let refused = folder.kiln(&[&small(&["train"], &[])[..], &["--overfit-batches", "11"]].concat());
    assert!(refused.code == 2 && refused.stderr.contains("must be at most the 10 batches of 24"), "{}", refused.stderr);
    let planned = folder.json(&small(&["plan"], &["train.overfit_batches=3"]));
    assert_eq!((&planned["images"]["train"], &planned["iterations_per_epoch"]), (&72.into(), &3.into()));
}

#[test]
fn a_fast_dev_run_goes_through_everything_and_leaves_nothing() {
    let folder = Folder::new();
    let sets = [
        "schedule.kind=step",
        "schedule.every_epochs=2",
        "early_stopping.patience=2",
        "stop_at.validation_accuracy=0.9",
        "checkpoint.every_iterations=4",
        "train.accumulation=2",
        "log.tensorboard=true",
    ];
    for sets in [&sets[..], &["data.validation=0", "model.kind=resnet"]] {
        let ran = folder.kiln(&[&small(&["train"], sets)[..], &["--fast-dev-run"]].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.contains("fast dev run   passed"), "{}", ran.stdout);
        assert!(inside(&folder).is_empty(), "{:?}", inside(&folder));
    }
    let found = folder.json(&[&small(&["train"], &sets)[..], &["--fast-dev-run"]].concat());
    let expected = serde_json::json!({
        "train_images": 48, "validation_images": 24, "test_images": 24, "updates": 1,
        "formats": ["burnpack", "safetensors", "onnx", "html"],
    });
    assert_eq!(found, expected);
    // The whole config is checked, not only what is left of it.
    let refused =
        folder.kiln(&[&small(&["train"], &["checkpoint.every_iterations=10"])[..], &["--fast-dev-run"]].concat());
    assert!(refused.code == 2 && refused.stderr.contains("checkpoint.every_iterations"), "{}", refused.stderr);
}
