//! The rooms of the house, and which of them may know which: read from the code itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The rooms from the ground up: each may import those before it and nothing else. `docs/architecture.md` says the same.
const FLOORS: [&str; 28] = [
    "error",
    "logits",
    "seed",
    "check",
    "kinds",
    "ops",
    "device",
    "data",
    "models",
    "schedules",
    "optimizers",
    "config",
    "run",
    "page",
    "artifact",
    "predict",
    "eval",
    "compare",
    "sweep",
    "report",
    "plan",
    "train",
    "lifecycle",
    "worker",
    "http",
    "serve",
    "board",
    "cli",
];

/// Libraries that one room deals with for all others.
const ALONE: [(&str, &[&str]); 8] = [
    ("burn::train", &["train"]),
    ("burn_dataset", &["data"]),
    ("burn_pack", &["artifact"]),
    ("burn_onnx", &["artifact"]),
    ("axum", &["http", "serve", "board"]),
    ("maud", &["report"]),
    ("statrs", &["compare"]),
    ("tpe", &["sweep"]),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The room that a file is in: its folder below `src`, or its own name.
fn room(path: &Path) -> String {
    let inside = path.strip_prefix(source()).unwrap();
    inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// A file's code without comments and without its tests.
fn code(path: &Path) -> String {
    let is_test = path.components().any(|part| part.as_os_str() == "tests")
        || path.file_name().is_some_and(|name| name == "tests.rs");
    if is_test {
        return String::new();
    }
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// The names that follow each `crate::` in `code`: one, or those of a group.
fn imported(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    for rest in code.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            names.insert(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut start = 0;
        for (position, letter) in group.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    names.insert(word(group[start..position].trim()));
                    start = position + 1;
                    if letter == '}' {
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    names
}

#[test]
fn imports_point_one_way() {
    let floor = |room: &str| FLOORS.iter().position(|other| *other == room);
    let mut upward: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut arrows = 0;
    for path in files(&source()) {
        let from = room(&path);
        if ["lib", "main", "bench"].contains(&from.as_str()) {
            continue;
        }
        let own = floor(&from).unwrap_or_else(|| panic!("`{from}` has no floor: {}", path.display()));
        for to in imported(&code(&path)) {
            // A name that is no room is one that `lib.rs` passes on, of a room below all others or of the caller's own.
            let to = match to.as_str() {
                "Error" | "Result" => "error".to_owned(),
                "Experiment" => "config".to_owned(),
                "Predictor" => "predict".to_owned(),
                "EpochMetrics" | "RunRecord" | "Status" => "run".to_owned(),
                "Observer" | "Progress" | "StopHandle" => "train".to_owned(),
                name if name.starts_with(char::is_uppercase) => "lifecycle".to_owned(),
                _ => to,
            };
            let Some(other) = floor(&to) else { continue };
            arrows += usize::from(other != own);
            if other > own {
                upward.entry(format!("{from} -> {to}")).or_default().insert(path.display().to_string());
            }
        }
    }
    assert!(arrows > 100, "only {arrows} imports found: this test reads nothing");
    assert!(upward.is_empty(), "imports that point up: {upward:#?}");
}

#[test]
fn each_of_these_libraries_is_dealt_with_in_one_room() {
    for (library, rooms) in ALONE {
        let mut seen = 0;
        for path in files(&source()) {
            if code(&path).contains(&format!("{library}::")) {
                let room = room(&path);
                assert!(rooms.contains(&room.as_str()), "{library} is seen by {}", path.display());
                seen += 1;
            }
        }
        assert!(seen > 0, "{library} is not used at all");
    }
}

#[test]
fn the_architecture_page_tells_the_same_order() {
    let page = std::fs::read_to_string(source().join("../docs/architecture.md")).unwrap();
    let told: Vec<&str> = page
        .lines()
        .skip_while(|line| !line.starts_with("```floors"))
        .skip(1)
        .take_while(|line| !line.starts_with("```"))
        .flat_map(|line| line.split_whitespace())
        .collect();
    let upside_down: Vec<&str> = FLOORS.iter().rev().copied().collect();
    assert_eq!(told, upside_down);
}
