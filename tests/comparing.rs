//! Whether one is better than another: through the command, on real runs.

use std::fs;

use crate::fixture::{Folder, small};

const CONFIG: &str = r#"
name = "spots"

[data]
kind = "idx"
path = "PATH"
validation = 40

[model]
kind = "linear"

[optimizer]
kind = "adam"
learning_rate = 0.01

[train]
epochs = 3
batch_size = 20

[schedule]
kind = "constant"
"#;

/// An IDX set of two classes that noise hides in part, drawn by `state`; and its config, `NAME.toml`.
fn write_set(folder: &Folder, name: &str, mut state: u32) {
    let header = |magic: u32, sizes: &[u32]| -> Vec<u8> {
        std::iter::once(&magic).chain(sizes).flat_map(|number| number.to_be_bytes()).collect()
    };
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8 / 2
    };
    let inside = folder.path().join(name);
    fs::create_dir(&inside).unwrap();
    for (split, count) in [("train", 240), ("t10k", 300)] {
        let labels: Vec<u8> = (0..count).map(|index| index as u8 % 2).collect();
        let pixels: Vec<u8> = labels
            .iter()
            .flat_map(|label| (0..36).map(|place| ((place % 2) ^ label) * 25).collect::<Vec<u8>>())
            .collect();
        let pixels = pixels.into_iter().map(|pixel| pixel + noise()).collect();
        let write = |file: &str, parts: [Vec<u8>; 2]| fs::write(inside.join(format!("{split}-{file}")), parts.concat());
        write("images-idx3-ubyte", [header(0x803, &[count, 6, 6]), pixels]).unwrap();
        write("labels-idx1-ubyte", [header(0x801, &[count]), labels]).unwrap();
    }
    folder.write(&format!("{name}.toml"), &CONFIG.replace("PATH", name));
}

/// Trains `config` into the folder `runs`, with each of the seeds.
fn train(folder: &Folder, config: &str, runs: &str, seeds: &[&str], set: &str) {
    for seed in seeds {
        let ran = folder.kiln(&["train", config, "--runs", runs, "--device", "flex", "--seed", seed, "--set", set]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
}

#[test]
fn a_config_that_hardly_learns_is_told_from_one_that_does_and_not_from_itself() {
    let folder = Folder::new();
    write_set(&folder, "spots", 1);
    train(&folder, "spots.toml", "slow", &["1", "2", "3"], "optimizer.learning_rate=0.000001");
    train(&folder, "spots.toml", "good", &["1", "2", "3"], "optimizer.learning_rate=0.01");
    let ran = folder.kiln(&["compare", "slow", "good", "--out", "compared.html"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("(mean ± sd over seeds)"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("good is better than slow by ") && ran.stdout.contains("95 % interval"),
        "{}",
        ran.stdout
    );
    let page = folder.read("compared.html");
    assert!(
        page.contains("good is better than slow") && page.contains("id=\"disagreement\"") && !page.contains("<script")
    );

    let found = folder.json(&["compare", "good", "good"]);
    assert_eq!(found["pairs"][0]["distinguishable"], false);
    assert_eq!(found["arms"][0]["seeds"], serde_json::json!([1, 2, 3]));
    let accuracy = |run: &str| folder.json(&["eval", run])["accuracy"].as_f64().unwrap();
    let runs: Vec<String> = (1..=3).map(|number| format!("good/spots-000{number}")).collect();
    let mean = runs.iter().map(|run| accuracy(run)).sum::<f64>() / 3.0;
    assert!((found["arms"][0]["mean"].as_f64().unwrap() - mean).abs() < 1e-12);

    let two = folder.json(&["compare", &runs[0], "slow/spots-0001"]);
    let disagreements = &two["pairs"][0]["mcnemar"];
    let only = |side: &str| disagreements[side].as_u64().unwrap();
    let lead = (accuracy(&runs[0]) - accuracy("slow/spots-0001")) * two["images"].as_f64().unwrap();
    assert_eq!(only("only_first") as i64 - only("only_second") as i64, lead.round() as i64);
}

#[test]
fn a_set_of_seeds_is_trained_at_once_and_each_run_is_what_it_is_alone() {
    let folder = Folder::new();
    write_set(&folder, "spots", 1);
    let set = folder.json(&["train", "spots.toml", "--device", "flex", "--seeds", "3,1"]);
    assert_eq!((&set["folder"], &set["seeds"]), (&"runs/spots-seeds-0001".into(), &serde_json::json!([3, 1])));
    let accuracies: Vec<f64> =
        set["test_accuracies"].as_array().unwrap().iter().map(|accuracy| accuracy.as_f64().unwrap()).collect();
    assert!((set["mean"].as_f64().unwrap() - (accuracies[0] + accuracies[1]) / 2.0).abs() < 1e-12);
    train(&folder, "spots.toml", "alone", &["3", "1"], "train.epochs=3");
    for (place, alone) in ["alone/spots-0001", "alone/spots-0002"].into_iter().enumerate() {
        let run = set["runs"][place]["run_dir"].as_str().unwrap();
        assert_eq!(folder.metrics(run), folder.metrics(alone));
    }
    // Seeds of the same config are no better and no worse than themselves.
    let same = folder.json(&["compare", "runs/spots-seeds-0001", "alone"]);
    assert_eq!(
        (same["pairs"][0]["distinguishable"].as_bool(), same["pairs"][0]["difference"].as_f64()),
        (Some(false), Some(0.0))
    );

    let ran = folder.kiln(&["train", "spots.toml", "--seeds", "2", "--set", "train.epochs=1"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("% (mean ± sd over 2 seeds; 95 % interval of the mean"), "{}", ran.stdout);
    assert!(ran.stdout.contains("kiln compare runs/spots-seeds-0002 OTHER"), "{}", ran.stdout);
    let refused = folder.kiln(&["train", "spots.toml", "--seeds", "2", "--set", "data.path=nowhere"]);
    assert!(refused.code == 2 && !folder.path().join("runs/spots-seeds-0003").exists(), "{}", refused.stderr);
}

#[test]
fn a_set_goes_on_as_a_set() {
    const SET: &str = "runs/spots-seeds-0001";
    let folder = Folder::new();
    write_set(&folder, "spots", 1);
    let whole = folder.json(&["train", "spots.toml", "--device", "flex", "--seeds", "5,3,1"]);
    let run = |place: usize| whole["runs"][place]["run_dir"].as_str().unwrap().to_owned();
    let metrics: Vec<_> = (0..3).map(|place| folder.metrics(&run(place))).collect();
    // The first was stopped, the second never began, the third is finished.
    folder.edit_json(&format!("{}/run.json", run(0)), |record| record["status"] = "interrupted".into());
    fs::remove_file(folder.path().join(run(0)).join("model.bpk")).unwrap();
    fs::remove_dir_all(folder.path().join(run(1))).unwrap();
    let untouched = folder.snapshot(&run(2));
    let text = folder.kiln(&["resume", SET]);
    assert_eq!(text.code, 0, "{}", text.stderr);
    assert!(text.stdout.contains("2 runs in runs/spots-seeds-0001") && text.stdout.contains("(1 of 3 are finished)"));
    assert_eq!(folder.snapshot(&run(2)), untouched);
    // Finished, it says the same again and does nothing.
    let again = folder.json(&["resume", SET]);
    for key in ["folder", "seeds", "test_accuracies", "mean", "sd", "interval"] {
        assert_eq!(again[key], whole[key], "{key}");
    }
    for (place, metrics) in metrics.iter().enumerate() {
        assert_eq!(&folder.metrics(again["runs"][place]["run_dir"].as_str().unwrap()), metrics);
    }

    let refused = folder.kiln(&["resume", SET, "--device", "flex"]);
    assert!(refused.code == 2 && refused.stderr.contains("is a set of seeds"), "{}", refused.stderr);
    let held = fs::File::open(folder.path().join(SET).join("lock")).unwrap();
    held.lock().unwrap();
    let refused = folder.kiln(&["resume", SET]);
    assert!(refused.code == 2 && refused.stderr.contains("is training in"), "{}", refused.stderr);
    drop(held);
    folder.edit_json(&format!("{SET}/seeds.json"), |file| file["schema_version"] = 99.into());
    let refused = folder.kiln(&["resume", SET]);
    assert!(refused.code == 2 && refused.stderr.contains("update kiln"), "{}", refused.stderr);
}

#[test]
fn what_cannot_be_compared_says_why() {
    let folder = Folder::new();
    write_set(&folder, "spots", 1);
    write_set(&folder, "others", 2);
    train(&folder, "spots.toml", "runs", &["1"], "train.epochs=1");
    train(&folder, "others.toml", "other", &["1"], "train.epochs=1");
    let refused = |arguments: &[&str], expected: &str| {
        let ran = folder.kiln(&[&["compare"], arguments].concat());
        assert_eq!(ran.code, 2, "{}", ran.stdout);
        assert!(ran.stderr.contains(expected) && ran.stderr.contains("tip: "), "{}", ran.stderr);
    };
    refused(&["runs", "other"], "was trained on other data than the models before it");
    refused(&["runs", "nowhere"], "cannot read `nowhere`");
    fs::create_dir(folder.path().join("empty")).unwrap();
    refused(&["runs", "empty"], "`empty` holds no model and no run that has one");
    assert_eq!(folder.kiln(&["compare", "runs"]).code, 2);
    folder.json(&["compare", "runs", "other", "--data", "spots.toml"]);

    // Images that follow from the seed are others with each.
    let made_up = |runs: &str, set: &str| {
        let shared = ["--runs", runs, "--seeds", "2", "--set", set];
        folder.json(&[&small(&["train"], &["train.epochs=1"])[..], &shared].concat());
    };
    made_up("made-up", "name=a");
    refused(&["made-up/a-seeds-0001", "made-up/a-seeds-0001"], "made up from the experiment's seed");
    made_up("made-up", "data.seed=1");
    folder.json(&["compare", "made-up/smoke-seeds-0001", "made-up/smoke-seeds-0001"]);
}
