//! The lesson: one iteration, a short run and three learning rates on one page.

use serde_json::Value;

use crate::fixture::{Folder, small};
use crate::reports::colours;

/// The largest page.
const MOST_BYTES: usize = 5_000_000;

const SECTIONS: [&str; 8] = ["batch", "forward", "loss", "backward", "update", "film", "rates", "words"];

fn assert_whole(page: &str) {
    assert!(page.len() < MOST_BYTES, "{} bytes", page.len());
    for section in SECTIONS {
        assert_eq!(page.matches(&format!("<section id=\"{section}\">")).count(), 1, "{section}");
    }
    for broken in [">NaN", "NaN<", " NaN", ">inf", "inf<", "no number<"] {
        assert!(!page.contains(broken), "{broken}");
    }
}

#[test]
fn the_page_says_what_explain_measures_and_is_the_same_each_time() {
    let folder = Folder::new();
    let ran = folder.kiln(&small(&["explain", "--html", "one.html"], &[]));
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "one.html\n"), "{}", ran.stderr);
    let page = folder.read("one.html");
    assert_whole(&page);
    let explanation = folder.json(&small(&["explain"], &[]));
    let [before, after] = [0, 1].map(|place| explanation["loss_same_batch"][place].as_f64().unwrap());
    for loss in [explanation["loss_before"].as_f64().unwrap(), before, after] {
        assert!(page.contains(&format!("<strong>{loss:.4}</strong>")), "{loss:.4}");
    }
    for row in explanation["predictions"].as_array().unwrap() {
        let loss = -row["label_probability"].as_f64().unwrap().ln();
        assert!(page.contains(&format!(">{loss:.2}<")), "{loss:.2}");
    }
    for layer in explanation["layers"].as_array().unwrap() {
        assert!(page.contains(layer["name"].as_str().unwrap()));
    }
    for parameter in explanation["parameters"].as_array().unwrap() {
        assert!(page.contains(&format!(">{}</th>", parameter["name"].as_str().unwrap())));
    }
    assert_eq!(folder.kiln(&small(&["explain", "--html", "two.html"], &[])).code, 0);
    assert!(page == folder.read("two.html"), "the same config gave two pages");
}

#[test]
fn the_data_of_the_page_are_those_of_explain_and_of_its_runs() {
    let folder = Folder::new();
    // Without smoothing and dropout, the first loss of a run is that of the iteration.
    let lesson = folder.json(&small(&["explain", "--html", "explain.html"], &[]));
    assert_whole(&folder.read("explain.html"));
    let explanation = folder.json(&small(&["explain"], &[]));
    for (key, value) in explanation.as_object().unwrap() {
        assert_eq!(&lesson[key], value, "{key}");
    }
    let runs = lesson["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 3);
    for run in runs {
        assert_eq!(run["losses"][0], explanation["loss_before"], "the same weights and the same batch");
    }
    let own: Vec<f64> = runs[1]["losses"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
    assert!(own.len() >= 30 && own[own.len() - 1] < own[0] / 2.0, "{own:?}");
    let (weight, rate) = (&lesson["weight"], &explanation["learning_rate"]);
    assert_eq!(&weight["learning_rate"], rate);
    let change = weight["after"].as_f64().unwrap() - weight["before"].as_f64().unwrap();
    assert!(change * weight["gradient"].as_f64().unwrap() < 0.0, "it moves against its gradient: {weight}");
    let frames = lesson["frames"].as_array().unwrap();
    assert!((20..60).contains(&frames.len()));
    assert_eq!(frames[frames.len() - 1]["iteration"], own.len());
}

#[test]
fn plain_gradient_descent_is_worked_out_to_its_result() {
    let folder = Folder::new();
    let sets = ["optimizer.kind=sgd", "optimizer.momentum=0", "optimizer.learning_rate=0.05"];
    let lesson = folder.json(&small(&["explain", "--html", "explain.html"], &sets));
    let weight = |key: &str| lesson["weight"][key].as_f64().unwrap();
    let expected = weight("before") - weight("learning_rate") * weight("gradient");
    assert!((expected - weight("after")).abs() < 1e-6);
    assert!(folder.read("explain.html").contains("as simple as can be"));
}

#[test]
fn every_kind_of_network_and_every_way_of_training_has_a_page() {
    let folder = Folder::new();
    for sets in [
        &["model.kind=linear", "train.accumulation=2"][..],
        &["model.kind=mlp", "model.dropout=0.5", "optimizer.kind=adamw"],
        &["model.kind=lenet", "data.height=28", "data.width=28", "train.clip_norm=0.001"],
        &["model.kind=resnet", "loss.label_smoothing=0.1", "optimizer.kind=muon"],
        &["data.validation=0", "schedule.kind=one_cycle", "data.augment.rotate_degrees=10"],
        &["optimizer.kind=sgd", "optimizer.learning_rate=1"],
    ] {
        let ran = folder.kiln(&small(&["explain", "--html", "explain.html"], sets));
        assert_eq!(ran.code, 0, "{sets:?}: {}", ran.stderr);
        let page = folder.read("explain.html");
        assert!(page.len() < MOST_BYTES && page.contains("id=\"words\""), "{sets:?}");
    }
}

#[cfg(unix)]
#[test]
fn colour_pictures_and_hostile_class_names_have_a_page() {
    let folder = Folder::new();
    let names = colours(&folder);
    for (model, sides) in [("kind = \"mlp\"\nhidden = [4]", 8), ("kind = \"convnet\"", 32), ("kind = \"linear\"", 90)] {
        folder.write(
            "colours.toml",
            &format!(
                "name = \"colours\"\n[data]\nkind = \"folder\"\npath = \"colours\"\nchannels = 3\nheight = {sides}\n\
                 width = {sides}\nvalidation = 6\n[model]\n{model}\n[train]\nepochs = 2\nbatch_size = 10\n"
            ),
        );
        let ran = folder.kiln(&["explain", "colours.toml", "--device", "flex", "--html", "colours.html"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let page = folder.read("colours.html");
        assert_whole(&page);
        assert!(page.contains("&lt;b&gt;&amp;amp;") && page.contains("&quot;quoted&quot;") && page.contains(&names[2]));
        assert!(!page.contains("<b>&amp;") && page.contains("as red, green and blue"));
    }
}

#[test]
fn a_name_that_no_page_can_have_is_refused_before_anything_is_computed() {
    let folder = Folder::new();
    for (name, said) in [("smoke", "must end in `.html`"), ("none/a.html", "is not a folder")] {
        let ran = folder.kiln(&["explain", "--html", name]);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_page_without_a_name_has_one_and_replaces_the_last() {
    let folder = Folder::new();
    folder.write("explain.html", "an older page");
    let ran = folder.kiln(&["explain", "smoke", "--set", "data.train=300", "--html"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "explain.html\n"), "{}", ran.stderr);
    assert_whole(&folder.read("explain.html"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
