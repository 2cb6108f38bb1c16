//! From a config to a model file, and what can be done with it.

use crate::fixture::{Folder, small};

#[test]
fn a_run_ends_with_a_verified_model_and_every_file_it_promises() {
    let folder = Folder::new();
    let summary = folder.train(&[]);
    assert_eq!(summary["epochs"], 4);
    assert_eq!(summary["iterations"], 40);
    assert_eq!(summary["device"], "flex");
    assert_eq!(summary["test_total"], 60);
    let share = summary["test_correct"].as_f64().unwrap() / 60.0;
    assert!((summary["test_accuracy"].as_f64().unwrap() - share).abs() < 1e-12);
    for file in ["config.toml", "run.json", "metrics.jsonl", "model.bpk", "report.html", "curves.csv"] {
        assert!(folder.path().join("runs/smoke-0001").join(file).is_file(), "{file}");
    }
    let record: serde_json::Value = serde_json::from_str(&folder.read("runs/smoke-0001/run.json")).unwrap();
    assert_eq!(record["status"], "done");
    assert_eq!(folder.kiln(&["verify", "runs/smoke-0001"]).code, 0);
}

#[test]
fn eval_measures_exactly_what_train_printed() {
    let folder = Folder::new();
    let summary = folder.train(&[]);
    let evaluation = folder.json(&["eval", "runs/smoke-0001"]);
    assert_eq!(evaluation["correct"], summary["test_correct"]);
    assert_eq!(evaluation["accuracy"], summary["test_accuracy"]);
    let confusion: i64 = evaluation["confusion"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|row| row.as_array().unwrap())
        .map(|n| n.as_i64().unwrap())
        .sum();
    assert_eq!(confusion, 60);
    assert_eq!(folder.kiln(&["eval", "runs/smoke-0001", "--require-accuracy", "0.5"]).code, 0);
    // So little was learned that it cannot be perfect.
    folder.train(&["optimizer.learning_rate=0.000001", "train.epochs=1"]);
    let ran = folder.kiln(&["eval", "runs/smoke-0002", "--require-accuracy", "1"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("is below the required 1"), "{}", ran.stderr);
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let folder = Folder::new();
    for sets in [&[][..], &[], &["seed=43"]] {
        folder.train(sets);
    }
    let [one, two, other] = ["1", "2", "3"].map(|n| folder.metrics(&format!("runs/smoke-000{n}")));
    assert_eq!(one, two);
    assert!(one.iter().zip(&other).all(|(a, b)| a["weights_sha256"] != b["weights_sha256"]));
}

#[test]
fn the_saved_config_is_accepted_back_and_gives_the_same_run() {
    let folder = Folder::new();
    folder.train(&["train.epochs=2"]);
    let again = folder.json(&["train", "runs/smoke-0001/config.toml"]);
    assert_eq!(again["run_dir"], "runs/smoke-0002");
    assert_eq!(folder.read("runs/smoke-0001/config.toml"), folder.read("runs/smoke-0002/config.toml"));
    assert_eq!(folder.metrics("runs/smoke-0001"), folder.metrics("runs/smoke-0002"));
}

#[test]
fn every_model_optimizer_and_schedule_trains() {
    let folder = Folder::new();
    let short = ["train.epochs=2", "data.train=120", "data.validation=20"];
    for kind in ["linear", "mlp", "lenet", "convnet", "resnet"] {
        let model = format!("model.kind={kind}");
        folder.train(&[&short[..], &[&model, "data.height=28", "data.width=28"]].concat());
    }
    for kind in ["sgd", "adam", "adamw", "muon"] {
        let optimizer = format!("optimizer.kind={kind}");
        folder.train(&[&short[..], &[&optimizer, "model.kind=mlp"]].concat());
    }
    for kind in ["constant", "linear", "cosine", "step", "exponential", "one_cycle"] {
        let schedule = format!("schedule.kind={kind}");
        folder.train(&[&short[..], &[&schedule, "model.kind=linear"]].concat());
    }
}

#[test]
fn every_option_of_training_takes_part() {
    let folder = Folder::new();
    let baseline = folder.train(&["model.kind=mlp"]);
    assert_eq!(baseline["iterations"], 40);
    for sets in [
        &["model.kind=mlp", "train.accumulation=2"][..],
        &["model.kind=mlp", "train.clip_norm=0.1"],
        &["model.kind=mlp", "loss.label_smoothing=0.1"],
        &["model.kind=mlp", "data.augment.shift_pixels=1", "data.augment.rotate_degrees=10"],
        &["model.kind=mlp", "model.dropout=0.2"],
        &["model.kind=mlp", "train.iterations_per_epoch=5"],
        &["model.kind=mlp", "train.iterations_per_epoch=14"],
    ] {
        folder.train(sets);
    }
    let last = |n: usize| folder.metrics(&format!("runs/smoke-000{n}")).pop().unwrap()["weights_sha256"].clone();
    let digests: std::collections::HashSet<String> = (1..=8).map(|n| last(n).to_string()).collect();
    assert_eq!(digests.len(), 8, "every option changes the weights");
}

#[test]
fn accumulating_two_half_batches_is_the_same_as_one_batch() {
    let folder = Folder::new();
    // Without norm layers, the mean over two halves is the mean over the whole; rounding differs in the last digits.
    let base = ["model.kind=mlp", "optimizer.kind=sgd", "train.epochs=1"];
    folder.train(&[&base[..], &["train.batch_size=24"]].concat());
    folder.train(&[&base[..], &["train.batch_size=12", "train.accumulation=2"]].concat());
    let loss = |n: usize| folder.metrics(&format!("runs/smoke-000{n}"))[0]["validation_loss"].as_f64().unwrap();
    assert!((loss(1) - loss(2)).abs() < 1e-4, "{} {}", loss(1), loss(2));
}

#[test]
fn a_run_stops_at_its_goal_and_says_so() {
    let folder = Folder::new();
    let summary = folder.train(&["stop_at.validation_accuracy=0.05", "train.epochs=4"]);
    assert_eq!(summary["epochs"], 1);
    let record: serde_json::Value = serde_json::from_str(&folder.read("runs/smoke-0001/run.json")).unwrap();
    assert!(record["message"].as_str().unwrap().contains("stop_at.validation_accuracy"));
}

#[test]
fn without_validation_images_the_last_epoch_is_kept() {
    let folder = Folder::new();
    let summary = folder.train(&["data.validation=0", "train.epochs=3"]);
    assert_eq!(summary["best_epoch"], 3);
    assert_eq!(summary["validation_accuracy"], serde_json::Value::Null);
}

#[test]
fn a_nan_loss_fails_the_run_and_names_the_iteration() {
    let folder = Folder::new();
    // Updates this large overflow within a few iterations.
    let sets = ["model.kind=mlp", "model.hidden=[64,64,64,64]", "optimizer.kind=sgd", "optimizer.learning_rate=1"];
    let ran = folder.kiln(&small(&["train"], &sets));
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("the loss became") && ran.stderr.contains("at iteration"), "{}", ran.stderr);
    let record: serde_json::Value = serde_json::from_str(&folder.read("runs/smoke-0001/run.json")).unwrap();
    assert_eq!(record["status"], "failed");
}

#[test]
fn json_mode_prints_one_object_and_nothing_else() {
    let folder = Folder::new();
    let ran = folder.kiln(&[&small(&["train"], &[])[..], &["--json"]].concat());
    assert_eq!(ran.stdout.lines().count(), 1);
    let value: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    for key in [
        "run_dir",
        "model",
        "best_epoch",
        "epochs",
        "iterations",
        "validation_accuracy",
        "test_accuracy",
        "test_correct",
        "test_total",
        "train_seconds",
        "images_per_second",
        "device",
        "seed",
    ] {
        assert!(value.get(key).is_some(), "{key}");
    }
}

#[test]
fn quiet_mode_prints_the_model_file_and_nothing_else() {
    let folder = Folder::new();
    let ran = folder.kiln(&[&small(&["train"], &[])[..], &["--quiet"]].concat());
    assert_eq!(ran.stdout, "runs/smoke-0001/model.bpk\n");
    assert_eq!(ran.stderr, "");
}

#[test]
fn an_exported_model_is_the_same_model_in_every_format() {
    let folder = Folder::new();
    let summary = folder.train(&[]);
    for file in ["m.bpk", "m.safetensors", "m.onnx"] {
        folder.json(&["export", "runs/smoke-0001", "--out", file]);
        assert_eq!(folder.json(&["eval", file])["correct"], summary["test_correct"], "{file}");
        assert_eq!(folder.json(&["verify", file])["passed"], true, "{file}");
    }
    let again = folder.kiln(&["export", "runs/smoke-0001", "--out", "m.bpk"]);
    assert_eq!(again.code, 2);
    assert!(again.stderr.contains("exists"), "{}", again.stderr);
}

/// The index of the largest value.
fn largest(values: &[f32]) -> Option<usize> {
    (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b]))
}

#[test]
fn another_engine_reads_the_same_digits_from_the_onnx_file() {
    use tract_onnx::prelude::{Framework as _, InferenceModelExt as _, IntoRunnable as _, Tensor, tvec};
    let folder = Folder::new();
    let quick =
        ["train", "mnist", "--device", "flex", "--set", "train.epochs=1", "--set", "train.iterations_per_epoch=150"];
    folder.json(&quick);
    folder.json(&["export", "runs/mnist-0001", "--out", "m.onnx"]);
    let config = kiln::data::DataConfig::default();
    let test = kiln::data::open(&config, 1).unwrap().test;
    let predictor = kiln::predict::Predictor::open(folder.path().join("runs/mnist-0001/model.bpk")).unwrap();
    let (count, size) = (1000, test.shape.len());
    let pixels = &test.pixels[..count * size];
    let expected = predictor.logits(pixels, count).unwrap();
    let model = tract_onnx::onnx().model_for_path(folder.path().join("m.onnx")).unwrap();
    let model = model.into_optimized().unwrap().into_runnable().unwrap();
    let mut agree = 0;
    for start in (0..count).step_by(100) {
        let values: Vec<f32> =
            pixels[start * size..(start + 100) * size].iter().map(|&pixel| f32::from(pixel)).collect();
        let outputs = model.run(tvec!(Tensor::from_shape(&[100, 1, 28, 28], &values).unwrap().into())).unwrap();
        let logits = outputs[0].to_plain_array_view::<f32>().unwrap();
        for (found, expected) in logits.rows().into_iter().zip(expected[start * 10..].chunks(10)) {
            let found: Vec<f32> = found.iter().copied().collect();
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4), "{found:?} {expected:?}");
            agree += usize::from(largest(&found) == largest(expected));
        }
    }
    assert_eq!(agree, count);
}

#[test]
fn weights_from_pytorch_become_a_model_that_measures_the_same() {
    let folder = Folder::new();
    let summary = folder.train(&["model.kind=mlp"]);
    folder.json(&["export", "runs/smoke-0001", "--out", "torch.safetensors"]);
    let config = ["import", "torch.safetensors", "--model", "runs/smoke-0001/config.toml", "--out", "m.bpk"];
    let imported = folder.json(&config);
    assert_eq!(imported["test_accuracy"], summary["test_accuracy"]);
    assert_eq!(folder.json(&["eval", "m.bpk"])["correct"], summary["test_correct"]);
}

#[test]
fn bench_measures_every_stage() {
    let folder = Folder::new();
    let speeds = folder.json(&[&small(&["bench"], &[])[..], &["--rounds", "1", "--images", "96"]].concat());
    for key in ["load", "forward", "train", "inference"] {
        assert!(speeds[format!("{key}_images_per_second")].as_f64().unwrap() > 0.0, "{key}");
    }
    assert!(speeds["single_image_seconds"].as_f64().unwrap() > 0.0);
    let shares: f64 = speeds["layers"].as_array().unwrap().iter().map(|layer| layer["share"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-9);
}

#[test]
fn bench_takes_a_training_step_apart() {
    let folder = Folder::new();
    let command = [&small(&["bench"], &[])[..], &["--profile", "--rounds", "1", "--images", "96"]].concat();
    if crate::fixture::is_stock() {
        let refused = folder.kiln(&command);
        assert_eq!(refused.code, 2, "{}", refused.stderr);
        return assert!(refused.stderr.contains("whose time kiln does not see"), "{}", refused.stderr);
    }
    let profile = folder.json(&command);
    let operations = profile["operations"].as_array().unwrap();
    let shares: f64 = operations.iter().map(|operation| operation["share"].as_f64().unwrap()).sum();
    assert!((shares + profile["rest_share"].as_f64().unwrap() - 1.0).abs() < 1e-9);
    let text = folder.kiln(&command).stdout;
    for word in ["peak:", "GFLOP/s", "GB/s", "convolution, weight gradient", "batch norm", "linear", "adam", "the rest"]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn explain_measures_a_real_iteration() {
    let folder = Folder::new();
    let explanation = folder.json(&small(&["explain"], &["model.kind=mlp"]));
    let [before, after] = [0, 1].map(|n| explanation["loss_same_batch"][n].as_f64().unwrap());
    assert!(after < before, "one update lowers the loss of its own batch: {before} {after}");
    let text = folder.kiln(&small(&["explain"], &["model.kind=mlp"])).stdout;
    for word in ["batch", "Forward propagation", "loss", "Back propagation", "learning rate", "iteration", "epoch"] {
        assert!(text.contains(word), "{word}");
    }
}
