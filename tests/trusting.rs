//! Ensembles, distillation, and answers that say how sure they are.

use std::fs;

use kiln::{Experiment, Trainer};

use crate::fixture::{Folder, small};

/// Images on which a small network makes mistakes, so that there is something to calibrate: few steps.
const HARD: [&str; 4] = ["data.validation=140", "data.train=420", "train.epochs=1", "train.batch_size=100"];

#[test]
fn an_ensemble_is_a_model_like_any_other() {
    let folder = Folder::new();
    for seed in ["seed=1", "seed=2", "seed=3"] {
        folder.train(&[&HARD[..], &[seed, "data.seed=9"]].concat());
    }
    let runs = ["runs/smoke-0001", "runs/smoke-0002", "runs/smoke-0003"];
    let made = folder.json(&[&["ensemble"], &runs[..], &["--out", "model.bpk"]].concat());
    assert_eq!(made["members"].as_array().unwrap().len(), 3);
    assert_eq!(made["notices"], serde_json::json!([]));
    let measured = folder.json(&["eval", "model.bpk"]);
    assert_eq!(measured["accuracy"], made["test_accuracy"]);
    assert!(measured["uncalibrated"]["loss"].as_f64().unwrap() >= 0.0);
    assert_eq!(measured["coverage"][0]["accuracy"], measured["accuracy"]);
    assert_eq!(folder.json(&["verify", "model.bpk"])["passed"], true);
    for out in ["model.onnx", "model.safetensors"] {
        assert_eq!(folder.kiln(&["export", "model.bpk", "--out", out]).code, 0);
        assert_eq!(folder.json(&["eval", out])["accuracy"], measured["accuracy"], "{out}");
    }
    // The members of a set with other validation images each: usable, and said to be uncalibrated.
    let other = folder.train(&[&HARD[1..], &["seed=4", "data.seed=9", "data.validation=0.3"]].concat());
    let made = folder.json(&["ensemble", runs[0], other["run_dir"].as_str().unwrap(), "--out", "mixed.bpk"]);
    assert!(made["notices"][0].as_str().unwrap().contains("held out other validation images"), "{made}");
    let refused = folder.kiln(&["ensemble", runs[0], "--out", "alone.bpk"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("takes 2 to 64 models, got 1"), "{}", refused.stderr);
    assert!(folder.kiln(&["ensemble", runs[0], runs[1], "--out", "model.bpk"]).stderr.contains("exists"));
}

#[test]
fn a_model_answers_for_several_views_of_an_image() {
    let folder = Folder::new();
    let views = ["test_time_augmentation.flip=true", "test_time_augmentation.shift_pixels=1"];
    let trained =
        folder.train(&[&HARD[..], &views, &["data.augment=[{kind=\"crop\",padding=1,fill=\"edge\"}]"]].concat());
    let shift = serde_json::json!({ "pixels": 1, "directions": 4, "fill": "edge" });
    assert_eq!(trained["test_time_augmentation"], serde_json::json!({ "flip": true, "shift": shift }));
    let plain = folder.train(&[&HARD[..], &["data.augment=[{kind=\"crop\",padding=1,fill=\"edge\"}]"]].concat());
    assert_eq!(plain["validation_accuracy"], trained["validation_accuracy"], "training sees the image alone");
    assert_eq!(folder.metrics("runs/smoke-0001").len(), folder.metrics("runs/smoke-0002").len());

    // The model without views becomes the one with them, measured and calibrated alike; and back.
    let (seen, alone) = ("runs/smoke-0001", "runs/smoke-0002");
    let made = folder.json(&["ensemble", alone, "--flip", "--shift", "1", "--out", "seen.bpk"]);
    assert_eq!(made["test_time_augmentation"], trained["test_time_augmentation"]);
    assert_eq!(made["test_accuracy"], trained["test_accuracy"]);
    assert_eq!(folder.json(&["eval", "seen.bpk"]), folder.json(&["eval", seen]));
    folder.json(&["ensemble", seen, "--one-view", "--out", "alone.bpk"]);
    assert_eq!(folder.json(&["eval", "alone.bpk"]), folder.json(&["eval", alone]));
    assert_ne!(folder.json(&["eval", alone])["loss"], folder.json(&["eval", seen])["loss"]);
    let said = folder.kiln(&["eval", seen]).stdout;
    assert!(said.contains("each answer is the mean probability over 10 views"), "{said}");
    for out in ["seen.onnx", "seen.html", "seen.safetensors"] {
        let exported = folder.kiln(&["export", seen, "--out", out]);
        assert_eq!(exported.code, 0, "{}", exported.stderr);
        assert_eq!(exported.stdout.contains("answers for one view unless"), out.ends_with("safetensors"), "{out}");
        assert_eq!(folder.json(&["verify", out])["passed"], true, "{out}");
    }
    let mixed = folder.kiln(&["ensemble", seen, alone, "--out", "mixed.bpk"]);
    assert!(mixed.code == 2 && mixed.stderr.contains("answer for different views"), "{}", mixed.stderr);
    for wrong in
        [&["--fill", "edge"][..], &["--shift", "0"], &["--shift", "12"], &["--shift", "1", "--directions", "5"]]
    {
        let refused = folder.kiln(&[&["ensemble", alone, "--out", "wrong.bpk"], wrong].concat());
        assert_eq!(refused.code, 2, "{wrong:?}: {}", refused.stderr);
    }
}

#[test]
fn a_network_learns_from_another_and_resumes_only_with_the_same_teacher() {
    let folder = Folder::new();
    folder.train(&["seed=5"]);
    folder.train(&["seed=6", "data.seed=2"]);
    let [first, second] = ["runs/smoke-0001/model.bpk", "runs/smoke-0002/model.bpk"];
    fs::copy(folder.path().join(first), folder.path().join("teacher.bpk")).unwrap();
    let sets = [
        "loss.teacher=teacher.bpk",
        "loss.temperature=2",
        "seed=7",
        "train.mixup=0.4",
        "model.kind=mlp",
        "data.augment=[{kind=\"affine\",shift_pixels=1}]",
    ];
    let plan = folder.json(&small(&["plan"], &sets));
    let plain = folder.json(&small(&["plan"], &sets[2..]));
    let teacher = plan["teacher"]["forward_flops_per_image"].as_f64().unwrap();
    assert_eq!(plan["total_flops"].as_f64().unwrap() - plain["total_flops"].as_f64().unwrap(), teacher * 240.0 * 4.0);
    let value = folder.json(&[&small(&["verify-resume"], &sets)[..], &["--at-iteration", "13"]].concat());
    assert_eq!(value["identical"], true);

    let teacher = format!("loss.teacher={}", folder.path().join("teacher.bpk").display());
    let sets: Vec<&str> = small(&[], &sets).into_iter().skip(3).filter(|word| *word != "--set").collect();
    let sets: Vec<&str> =
        sets.into_iter().map(|set| if set.starts_with("loss.teacher=") { &teacher } else { set }).collect();
    let experiment = Experiment::preset("smoke").unwrap().with(&sets).unwrap();
    Trainer::new(experiment).unwrap().runs(folder.path().join("runs")).stop_after(13).train().unwrap();
    let run = "runs/smoke-0003";
    let digest = folder.read_json(&format!("{run}/run.json"))["teacher_sha256"].clone();
    assert_eq!(digest, folder.json(&["verify", first])["weights_sha256"]);
    fs::copy(folder.path().join(second), folder.path().join("teacher.bpk")).unwrap();
    let refused = folder.kiln(&["resume", run]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("the teacher is not the one that this run began with"), "{}", refused.stderr);
    fs::remove_file(folder.path().join("teacher.bpk")).unwrap();
    let refused = folder.kiln(&["resume", run]);
    assert!(refused.stderr.contains("`loss.teacher`") && refused.code == 2, "{}", refused.stderr);
    fs::copy(folder.path().join(first), folder.path().join("teacher.bpk")).unwrap();
    assert_eq!(folder.json(&["resume", run])["epochs"], 4);

    let other = small(&["train"], &["loss.teacher=teacher.bpk", "data.height=10", "data.width=10"]);
    let refused = folder.kiln(&other);
    assert!(refused.code == 2, "{}", refused.stderr);
    let alone = folder.kiln(&small(&["plan"], &["loss.temperature=2"]));
    assert!(alone.stderr.contains("has no effect without a teacher"), "{}", alone.stderr);
}

#[test]
fn an_answer_may_be_that_the_model_is_unsure() {
    let folder = Folder::new();
    let trained = folder.train(&HARD);
    assert!(trained["calibration"]["temperature"].as_f64().unwrap() > 0.0, "{trained}");
    let mut picture = image::GrayImage::new(12, 12);
    picture.put_pixel(3, 3, image::Luma([255]));
    picture.save(folder.path().join("dot.png")).unwrap();
    let ask = |more: &[&str]| {
        let ran = folder.kiln(&[&["predict", "runs/smoke-0001", "dot.png", "--raw"], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout
    };
    let answer: serde_json::Value = serde_json::from_str(&ask(&["--json", "--min-confidence", "1"])).unwrap();
    assert!(answer["label"].is_null() && answer["unsure"] == true && answer["top"][0]["label"].is_string(), "{answer}");
    assert!(answer["out_of_distribution"].is_boolean());
    assert!(ask(&["--min-confidence", "1"]).contains("unsure ("));
    assert!(!ask(&["--min-confidence", "0"]).contains("unsure"));
    let refused = folder.kiln(&["predict", "runs/smoke-0001", "dot.png", "--min-confidence", "90"]);
    assert!(refused.code == 2 && refused.stderr.contains("90 % is 0.9"), "{}", refused.stderr);

    let unvalidated = folder.train(&["data.validation=0"]);
    assert!(unvalidated["trust_problem"].as_str().unwrap().contains("no validation images"), "{unvalidated}");
    let said = folder.kiln(&["eval", unvalidated["run_dir"].as_str().unwrap()]);
    assert!(said.stdout.contains("not calibrated"), "{}", said.stdout);
}
