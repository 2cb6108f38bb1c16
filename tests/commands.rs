//! Commands that train nothing: plan, config, devices, completions, predict, and wrong input.

use image::{GrayImage, Luma};

use crate::fixture::{Folder, small};

#[test]
fn the_articles_arithmetic_is_exact() {
    let folder = Folder::new();
    let plan = folder.json(&["plan", "batch-iteration-epoch"]);
    assert_eq!(plan["images"]["train"], 60_000);
    assert_eq!(plan["batch_size"], 100);
    assert_eq!(plan["iterations_per_epoch"], 600);
    assert_eq!(plan["epochs"], 30);
    assert_eq!(plan["total_iterations"], 18_000);
    let text = folder.kiln(&["plan", "batch-iteration-epoch"]).stdout;
    assert!(text.contains("600") && text.contains("18,000"), "{text}");
}

#[test]
fn an_iteration_count_that_contradicts_the_data_is_explained_in_numbers() {
    let folder = Folder::new();
    // 240 training images in batches of 24: 10 iterations make an epoch.
    let more = folder.kiln(&small(&["plan"], &["train.iterations_per_epoch=14"]));
    assert_eq!(more.code, 0);
    assert!(more.stderr.contains("96"), "4 more batches of 24 are seen twice: {}", more.stderr);
    let fewer = folder.kiln(&small(&["plan"], &["train.iterations_per_epoch=7"]));
    assert!(fewer.stderr.contains("72"), "3 batches of 24 stay unseen: {}", fewer.stderr);
}

#[test]
fn a_broken_config_ends_with_2_and_leaves_nothing_behind() {
    let folder = Folder::new();
    folder.write("bad.toml", "epochs = 3\n[train]\nbatch_sise = 10\nepochs = 0\n");
    let ran = folder.kiln(&["train", "bad.toml"]);
    assert_eq!(ran.code, 2);
    for part in ["bad.toml:1", "train.epochs", "bad.toml:3", "batch_size", "at least 1"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn a_backend_that_is_not_there_is_an_error_and_never_a_fallback() {
    let folder = Folder::new();
    let ran = folder.kiln(
        &small(&["train"], &[]).into_iter().map(|word| if word == "flex" { "cuda" } else { word }).collect::<Vec<_>>(),
    );
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("cuda"), "{}", ran.stderr);
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn a_dashboard_without_a_terminal_is_refused_before_anything_is_made() {
    let folder = Folder::new();
    let ran = folder.kiln(&small(&["train", "--ui", "tui"], &[]));
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("the dashboard") && ran.stderr.contains("tip:"), "{}", ran.stderr);
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn wrong_words_on_the_command_line_end_with_2() {
    let folder = Folder::new();
    for arguments in [
        &["trian"][..],
        &["train", "--epochz", "3"],
        &["eval"],
        &["train", "no-such-config"],
        &["eval", "no-such-model.bpk"],
    ] {
        let ran = folder.kiln(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("error"), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn the_schema_the_keys_and_the_resolved_config_are_shown() {
    let folder = Folder::new();
    let schema: serde_json::Value = serde_json::from_str(&folder.kiln(&["config", "schema"]).stdout).unwrap();
    assert!(schema["properties"]["train"].is_object());
    assert!(folder.kiln(&["config", "keys"]).stdout.contains("train.batch_size"));
    let shown = folder.kiln(&["config", "show", "smoke", "--set", "train.epochs=7"]).stdout;
    assert!(shown.contains("epochs = 7"), "{shown}");
    folder.write("again.toml", &shown);
    assert_eq!(folder.kiln(&["config", "show", "again.toml"]).stdout, shown);
}

#[test]
fn devices_lists_every_backend_and_what_auto_would_choose() {
    let folder = Folder::new();
    let devices = folder.json(&["devices"]);
    assert_eq!(devices["backends"].as_array().unwrap().len(), 7);
    assert!(devices["auto"].is_string());
}

#[test]
fn completions_are_printed_for_each_shell() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(folder.kiln(&["completions", shell]).stdout.contains("kiln"), "{shell}");
    }
}

#[test]
fn bad_pictures_are_reported_and_the_others_go_on() {
    let folder = Folder::new();
    folder.train(&["train.epochs=1"]);
    GrayImage::from_fn(12, 12, |x, y| Luma([(x * y) as u8])).save(folder.path().join("good.png")).unwrap();
    folder.write("bad.png", "this is no picture");
    let ran = folder.kiln(&["predict", "runs/smoke-0001", "bad.png", "good.png", "missing.png", "--json"]);
    assert_eq!(ran.code, 1);
    let lines: Vec<serde_json::Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0]["error"].is_string() && lines[1]["label"].is_string() && lines[2]["error"].is_string());
    assert!(ran.stderr.contains("2 of 3"), "{}", ran.stderr);
}

#[test]
fn a_model_file_that_is_none_is_refused_with_what_was_found() {
    let folder = Folder::new();
    folder.write("model.bpk", "not a model");
    for command in ["eval", "verify"] {
        let ran = folder.kiln(&[command, "model.bpk"]);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("model.bpk"), "{}", ran.stderr);
    }
}

#[test]
fn an_error_is_one_json_object_too() {
    let folder = Folder::new();
    for arguments in [
        &["train", "smoke", "--epochs", "0", "--json"][..],
        &["eval", "no-such-model.bpk", "--json"],
        &["trian", "--json"],
        &["train", "--beta-1", "0.5", "--json"],
        &["eval", "latest", "--json=end"],
    ] {
        let ran = folder.kiln(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
        let told: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!((&told["error"]["kind"], &told["error"]["exit_code"]), (&"usage".into(), &2.into()), "{told}");
        let message = told["error"]["message"].as_str().unwrap();
        let first = message.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
        assert!(ran.stderr.contains("error:") && ran.stderr.contains(&first), "{message}: {}", ran.stderr);
    }
}

#[test]
fn what_was_printed_already_is_not_followed_by_an_error_on_stdout() {
    let folder = Folder::new();
    let ran =
        folder.kiln(&[&small(&["train"], &["train.epochs=1"])[..], &["--require-accuracy", "1.0", "--json"]].concat());
    let ran = if ran.code == 0 { folder.kiln(&["eval", "latest", "--require-accuracy", "1.0", "--json"]) } else { ran };
    let values: Vec<serde_json::Value> =
        serde_json::Deserializer::from_str(&ran.stdout).into_iter().map(Result::unwrap).collect();
    assert_eq!(values.len(), 1, "{}", ran.stdout);
}

#[test]
fn a_stream_tells_the_run_each_epoch_and_the_result() {
    let folder = Folder::new();
    let ran = folder.kiln(&[&small(&["train"], &[])[..], &["--json=stream"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let values: Vec<serde_json::Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<&str> = values.iter().map(|value| value["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["run", "epoch", "epoch", "epoch", "epoch", "result"]);
    assert_eq!(values[2]["epoch"], 2);
    assert!(values[2]["validation_accuracy"].is_number() && values[2]["best"].is_boolean(), "{}", values[2]);
    assert_eq!(values[5]["run_dir"], values[0]["run_dir"]);
    let ran = folder.kiln(&["train", "smoke", "--epochs", "0", "--json=stream"]);
    let told: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&told["event"], &told["error"]["kind"]), (&"error".into(), &"usage".into()));
}

#[test]
fn shortcuts_and_words_change_keys() {
    let folder = Folder::new();
    let arguments = [
        "plan",
        "smoke",
        "train.drop_last=true",
        "--epochs",
        "5",
        "--batch-size",
        "20",
        "--learning-rate",
        "0.25",
        "name=x",
    ];
    let plan = folder.json(&arguments);
    assert_eq!((&plan["name"], &plan["epochs"], &plan["batch_size"]), (&"x".into(), &5.into(), &20.into()));
    assert_eq!(plan["learning_rate"]["peak"], 0.25);
    assert_eq!(folder.json(&["config", "show", "train.epochs=7"])["train"]["epochs"], 7);
    let twice = folder.kiln(&["plan", "smoke", "train.epochs=7", "--epochs", "5"]);
    assert!(twice.code == 2 && twice.stderr.contains("give one of them"), "{}", twice.stderr);
    let ran = folder.kiln(&["plan", "smoke", "mnist"]);
    assert!(ran.code == 2 && ran.stderr.contains("one config at a time"), "{}", ran.stderr);
}

#[test]
fn a_run_is_named_by_latest_by_its_number_and_by_its_name() {
    let folder = Folder::new();
    folder.train(&["train.epochs=1"]);
    let expected = folder.json(&["eval", "runs/smoke-0001"]);
    for name in ["latest", "1", "smoke-0001", "runs/latest"] {
        assert_eq!(folder.json(&["eval", name]), expected, "{name}");
    }
    let forked = folder.json(&["fork", "latest", "train.epochs=2", "--learning-rate", "0.001"]);
    assert_eq!((&forked["run_dir"], &forked["epochs"]), (&"runs/smoke-0002".into(), &2.into()));
    assert_eq!(folder.json(&["runs", "show", "latest"])["run"], "runs/smoke-0002");
    // Its config alone has none of its parent's weights.
    let ran = folder.kiln(&["train", "runs/smoke-0002/config.toml", "--quiet"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("began with the weights of runs/smoke-0001;"), "{}", ran.stderr);
    let of_none = folder.kiln(&["train", "runs/smoke-0001/config.toml", "--quiet"]);
    assert!(!of_none.stderr.contains("began with the weights"), "{}", of_none.stderr);
}

#[test]
fn a_run_that_is_not_finished_says_so() {
    let folder = Folder::new();
    folder.train(&[]);
    folder.edit_json("runs/smoke-0001/run.json", |record| record["status"] = "interrupted".into());
    for command in [&["eval", "latest"][..], &["export", "latest", "--out", "model.onnx"], &["verify", "latest"]] {
        let ran = folder.kiln(command);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let told = "is not finished: it stopped after 4 of 4 epochs; this is its model of epoch ";
        assert!(ran.stderr.contains(told) && ran.stderr.contains("kiln resume runs/smoke-0001"), "{}", ran.stderr);
    }
    std::fs::remove_file(folder.path().join("runs/smoke-0001/model.bpk")).unwrap();
    folder.write("runs/smoke-0001/metrics.jsonl", "");
    for command in
        [&["eval", "latest"][..], &["predict", "1", "a.png"], &["fork", "1"], &["export", "1", "--out", "m.bpk"]]
    {
        let ran = folder.kiln(command);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(
            ran.stderr.contains("has no model yet: it was stopped before its first epoch was finished")
                && ran.stderr.contains("kiln resume runs/smoke-0001"),
            "{}",
            ran.stderr
        );
    }
    let ran = folder.kiln(&["eval", "runs"]);
    assert!(ran.code == 2 && ran.stderr.contains("name one of them, for example runs/smoke-0001"), "{}", ran.stderr);
}

#[test]
fn a_shell_is_told_what_can_follow() {
    let folder = Folder::new();
    folder.train(&["train.epochs=1"]);
    let asked = |index: &str, words: &[&str]| {
        let environment = [("COMPLETE", "bash"), ("_CLAP_COMPLETE_INDEX", index), ("_CLAP_IFS", "\n")];
        folder.kiln_with(&environment, &[&["--", "kiln"], words].concat()).stdout
    };
    assert!(asked("2", &["train", "mnist-"]).contains("mnist-fast"));
    assert!(asked("3", &["train", "--set", "train.ep"]).contains("train.epochs="));
    let runs = asked("2", &["eval", ""]);
    assert!(runs.contains("runs/smoke-0001") && runs.contains("latest"), "{runs}");
}
