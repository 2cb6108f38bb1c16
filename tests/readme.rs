//! The README in somebody's hands: every command of it, in its order, from an empty folder. By default on made-up images, in
//! seconds; with `KILN_README=whole` every command as it stands there, which takes minutes.

use std::path::Path;
use std::process::{Command, Stdio};

use image::{GrayImage, Luma};

use crate::fixture::Folder;

/// Commands that end when they are stopped; `serving.rs` has them.
const SERVERS: [&str; 2] = ["kiln serve", "kiln board"];

/// The configs that are trained for long.
const LONG: [&str; 3] = ["mnist", "mnist-fast", "batch-iteration-epoch"];

/// The lines behind the prompts of a page.
fn commands(page: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    text.lines().filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned).collect()
}

/// The same command on made-up images; a run's name stays what it is.
fn brief(line: &str) -> String {
    if let Some(rest) = line.strip_prefix("timeout --signal=INT 5 kiln train") {
        return format!("timeout --signal=INT 2 kiln train smoke --set train.epochs=400{rest}");
    }
    let words: Vec<&str> = line.split(' ').collect();
    let (command, rest) = match words[1] {
        "train" | "sweep" | "bench" => (words[..2].join(" "), &words[2..]),
        "tune" => (words[..3].join(" "), &words[3..]),
        _ => return line.to_owned(),
    };
    let (config, rest) = match rest.first() {
        Some(word) if !word.starts_with('-') => (*word, &rest[1..]),
        _ => ("mnist", rest),
    };
    let rest = rest.join(" ");
    let name = if rest.contains("name=") { String::new() } else { format!("--set name={config} ") };
    match LONG.contains(&config) {
        true => format!("{command} smoke {name}--set data.seed=1 {rest}"),
        false => format!("{command} {config} --epochs 1 {rest}"),
    }
}

/// A folder with one folder of pictures per class.
fn shapes(folder: &Folder) {
    for (class, name) in ["across", "down", "dots"].into_iter().enumerate() {
        for number in 0..15_u32 {
            let path = folder.path().join(format!("shapes/{name}/{number}.png"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let is_lit = |x: u32, y: u32| {
                [(y + number).is_multiple_of(4), (x + number).is_multiple_of(4), (x * y + number).is_multiple_of(5)]
                    [class]
            };
            GrayImage::from_fn(16, 16, |x, y| Luma([if is_lit(x, y) { 255 } else { (number * 3) as u8 }]))
                .save(path)
                .unwrap();
        }
    }
}

#[cfg(unix)]
#[test]
fn every_command_of_the_readme_runs_in_its_order_from_an_empty_folder() {
    let is_whole = std::env::var_os("KILN_README").is_some_and(|how| how == "whole");
    let folder = Folder::new();
    shapes(&folder);
    folder.write("docs/empty", "");
    let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/three.png");
    std::fs::copy(picture, folder.path().join("docs/three.png")).unwrap();
    let programs = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kiln"), programs.path().join("kiln")).unwrap();
    let path = format!("{}:{}", programs.path().display(), std::env::var("PATH").unwrap_or_default());
    let mut ran = 0;
    for line in commands("README.md").iter().filter(|line| !SERVERS.iter().any(|server| line.starts_with(server))) {
        let command = if is_whole { line.clone() } else { brief(line) };
        let output = Command::new("sh")
            .args(["-c", &command])
            .current_dir(folder.path())
            .env("PATH", &path)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        // Stopped by `timeout`, as by Ctrl-C.
        let expected = if line.starts_with("timeout") { 124 } else { 0 };
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(expected), "`{line}`, run as `{command}`: {said}");
        ran += 1;
    }
    assert!(ran >= 20, "the README shows only {ran} commands");
}
