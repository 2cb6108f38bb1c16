//! A run on one page, and what is said of a run that has not everything for one.

use std::path::Path;

use image::{Rgb, RgbImage};

use crate::fixture::{Folder, Ran, small};

const RUN: &str = "runs/smoke-0001";

/// The largest page.
const MOST_BYTES: usize = 3_000_000;

/// A run that was stopped in its third epoch of four.
fn stopped(folder: &Folder) {
    folder.copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/runs/stopped"), "runs/stopped");
}

#[test]
fn every_finished_run_has_a_page_that_counts_what_eval_counts() {
    let folder = Folder::new();
    let ran = folder.kiln(&small(&["train"], &["train.epochs=2", "optimizer.learning_rate=0.001"]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("report         runs/smoke-0001/report.html"), "{}", ran.stdout);
    let page = folder.read(&format!("{RUN}/report.html"));
    assert!(page.len() < MOST_BYTES);
    for section in [
        "curves",
        "confusion",
        "classes",
        "mistakes",
        "calibration",
        "suspects",
        "inputs",
        "filters",
        "layers",
        "plan",
        "origin",
    ] {
        assert!(page.contains(&format!("<section id=\"{section}\">")), "{section}");
    }
    let evaluation = folder.json(&["eval", RUN]);
    let report = folder.json(&["report", RUN]);
    assert_eq!(report["test"]["evaluation"], evaluation);
    let verified = folder.json(&["verify", RUN]);
    assert_eq!(report["weights_sha256"], verified["weights_sha256"]);
    assert!(page.contains(verified["weights_sha256"].as_str().unwrap()));
    for (label, row) in evaluation["confusion"].as_array().unwrap().iter().enumerate() {
        for (answer, count) in row.as_array().unwrap().iter().enumerate() {
            let opens = format!("label {label}, answer {answer}: {count} image");
            assert_eq!(page.contains(&opens), count != 0, "{opens}");
        }
    }
    let curves = folder.read(&format!("{RUN}/curves.csv"));
    assert_eq!(curves.lines().count(), 3, "{curves}");
    assert!(curves.starts_with("epoch,iteration,learning_rate,"), "{curves}");
}

#[test]
fn the_page_made_later_is_the_page_that_training_wrote() {
    let folder = Folder::new();
    folder.train(&[]);
    let ran = folder.kiln(&["report", RUN, "--out", "later.html"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "later.html\n"), "{}", ran.stderr);
    // `run.json` is written a little later than the page, and says that moment.
    let without_end = |page: &str| {
        let (before, after) = page.split_once(", ended ").unwrap();
        format!("{before}{}", &after["2026-01-01T00:00:00Z".len()..])
    };
    assert_eq!(without_end(&folder.read("later.html")), without_end(&folder.read(&format!("{RUN}/report.html"))));
}

#[test]
fn a_stopped_run_has_a_page_of_what_it_has() {
    let folder = Folder::new();
    stopped(&folder);
    let ran = folder.kiln(&["report", "runs/stopped"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("not finished"), "{}", ran.stderr);
    let page = folder.read("runs/stopped/report.html");
    assert!(page.contains("There is no test result") && page.contains("stopped after iteration 6 of 16"));
    assert!(page.contains("id=\"curves\"") && page.contains("id=\"plan\"") && !page.contains("id=\"confusion\""));
}

#[test]
fn damage_to_a_run_is_named() {
    let refused = |file: &str, text: &str| -> Ran {
        let folder = Folder::new();
        stopped(&folder);
        folder.write(&format!("runs/stopped/{file}"), text);
        folder.kiln(&["report", "runs/stopped"])
    };
    for (file, text) in
        [("run.json", "{"), ("metrics.jsonl", "{}\n"), ("config.toml", "[train"), ("model.bpk", "no model")]
    {
        let ran = refused(file, text);
        assert_eq!(ran.code, 2, "{file}: {}", ran.stderr);
        assert!(ran.stderr.contains(file), "{file}: {}", ran.stderr);
    }
    let ran = Folder::new().kiln(&["report", "no-run"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("is not a run directory"), "{}", ran.stderr);
}

/// Colour pictures in folders, whose names are what a page must not take for markup.
pub fn colours(folder: &Folder) -> [String; 3] {
    let names = ["<b>&amp;", "\"quoted\"", "a name that is much longer than a column of any table can be made"]
        .map(str::to_owned);
    for (part, count) in [("train", 12), ("test", 4)] {
        for (class, name) in names.iter().enumerate() {
            let inside = folder.path().join("colours").join(part).join(name);
            std::fs::create_dir_all(&inside).unwrap();
            for number in 0..count {
                let mut colour = [20_u8 * number; 3];
                colour[class] = 250;
                RgbImage::from_pixel(9, 7, Rgb(colour)).save(inside.join(format!("{number}.png"))).unwrap();
            }
        }
    }
    names
}

#[cfg(unix)]
#[test]
fn colour_pictures_and_hostile_class_names_give_the_same_page_and_the_data_may_be_gone_later() {
    let folder = Folder::new();
    let names = colours(&folder);
    folder.write(
        "colours.toml",
        "name = \"colours\"\n[data]\nkind = \"folder\"\npath = \"colours\"\nchannels = 3\nheight = 8\nwidth = 8\nvalidation = 6\n\
         [model]\nkind = \"mlp\"\nhidden = [4]\n[train]\nepochs = 2\nbatch_size = 10\n",
    );
    let ran = folder.kiln(&["train", "colours.toml", "--device", "flex"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let page = folder.read("runs/colours-0001/report.html");
    assert!(page.contains("&lt;b&gt;&amp;amp;") && page.contains("&quot;quoted&quot;") && page.contains(&names[2]));
    assert!(!page.contains("<b>&amp;") && page.contains("id=\"filters\""));
    std::fs::remove_dir_all(folder.path().join("colours")).unwrap();
    let ran = folder.kiln(&["report", "runs/colours-0001"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("are left out"), "{}", ran.stderr);
    let page = folder.read("runs/colours-0001/report.html");
    assert!(page.contains("Of 12 test images") && page.contains("id=\"curves\"") && !page.contains("id=\"confusion\""));
}

#[test]
fn eval_saves_every_answer_and_draws_the_worst() {
    let folder = Folder::new();
    folder.train(&["optimizer.learning_rate=0.000001", "train.epochs=1"]);
    let ran = folder.kiln(&["eval", RUN, "--save", "answers.jsonl", "--errors=3"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("the 3 worst of ") && ran.stdout.contains("loss "), "{}", ran.stdout);
    assert!(ran.stdout.contains(['▀', '▄', '█']) && !ran.stdout.contains('\u{1b}'), "{}", ran.stdout);
    let evaluation = folder.json(&["eval", RUN]);
    let text = folder.read("answers.jsonl");
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 60);
    let right = lines.iter().filter(|line| line["label"] == line["answer"]).count();
    assert_eq!(evaluation["correct"], right);
    let loss = lines.iter().map(|line| line["loss"].as_f64().unwrap()).sum::<f64>() / 60.0;
    assert!((evaluation["loss"].as_f64().unwrap() - loss).abs() < 1e-9);
}

#[cfg(unix)]
#[test]
fn a_data_set_is_looked_at_before_it_is_trained_on() {
    let folder = Folder::new();
    let names = colours(&folder);
    folder.write(
        "colours.toml",
        "name = \"colours\"\n[data]\nkind = \"folder\"\npath = \"colours\"\nchannels = 3\nheight = 8\nwidth = 8\nvalidation = 0\n\
         [data.augment]\nshift_pixels = 2.0\n[model]\nkind = \"linear\"\n",
    );
    let ran = folder.kiln(&["data", "colours.toml", "--out", "data.html", "--pictures=2"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stdout.starts_with("folder: 48 images of 3x8x8 (channels x height x width), 3 classes\n"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("9x7 (48); colour (48)") && ran.stdout.contains("wrote data.html"), "{}", ran.stdout);
    assert!(ran.stdout.contains("33.3 % ████████████████████") && !ran.stdout.contains('\u{1b}'), "{}", ran.stdout);
    // Every picture is of one colour, and those of test are among those of training.
    assert!(ran.stderr.contains("blank images, of one colour: 48"), "{}", ran.stderr);
    assert!(ran.stderr.contains("test images that are also learned from: 12 of 12;"), "{}", ran.stderr);
    let page = folder.read("data.html");
    assert!(page.contains("&lt;b&gt;&amp;amp;") && page.contains(&names[2]) && !page.contains("<b>&amp;"));
    assert!(page.contains("as epoch 3 sees it") && page.contains("id=\"duplicates\"") && !page.contains("<script"));

    std::fs::write(folder.path().join("colours/train").join(&names[1]).join("notes.txt"), "no picture").unwrap();
    let survey = folder.kiln(&["data", "colours.toml", "--json"]);
    assert_eq!(survey.code, 2);
    assert!(survey.stderr.contains("notes.txt") && survey.stderr.contains("remove or replace"), "{}", survey.stderr);
    let survey: serde_json::Value = serde_json::from_str(&survey.stdout).unwrap();
    assert_eq!(survey["unreadable"].as_array().unwrap().len(), 1);
    assert_eq!(survey["parts"][2]["classes"], serde_json::json!([4, 4, 4]));
    let refused = folder.kiln(&["train", "colours.toml"]);
    assert!(refused.code == 2 && refused.stderr.contains("notes.txt"), "{}", refused.stderr);
}
