//! Model files that are not what they should be, and data that are not what they were.

use std::path::Path;

use image::{GrayImage, Luma};
use kiln::artifact::{self, Dtype, Format};

use crate::fixture::Folder;

/// A model file of an older kiln.
fn old(name: &str) -> String {
    format!("{}/tests/fixtures/models/kiln-0.1.0-{name}", env!("CARGO_MANIFEST_DIR"))
}

fn picture(path: &Path, shade: u8) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    GrayImage::from_fn(12, 12, |x, y| Luma([shade.wrapping_mul((x + y) as u8)])).save(path).unwrap();
}

#[test]
fn model_files_of_an_older_kiln_are_measured_and_verified() {
    let folder = Folder::new();
    picture(&folder.path().join("a.png"), 9);
    for name in ["f32.bpk", "f32.safetensors", "f32.onnx", "f16.bpk", "f16.safetensors", "f16.onnx"] {
        let model = old(name);
        let verified = folder.json(&["verify", &model, "--device", "flex"]);
        assert_eq!((&verified["passed"], &verified["samples"]), (&true.into(), &16.into()), "{name}");
        assert_eq!(folder.json(&["eval", &model, "--device", "flex"])["correct"], 40, "{name}");
        assert!(folder.json(&["predict", &model, "a.png", "--device", "flex"])["label"].is_string(), "{name}");
    }
}

#[test]
fn a_model_without_golden_samples_is_not_called_verified() {
    let folder = Folder::new();
    let (mut manifest, weights) = artifact::read(old("f32.bpk").as_ref()).unwrap();
    manifest.golden.clear();
    artifact::write(&folder.path().join("m.bpk"), Format::Burnpack, Dtype::F32, &manifest, &weights).unwrap();
    let ran = folder.kiln(&["verify", "m.bpk"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stdout.contains("weights      intact") && ran.stdout.contains("nothing was replayed"),
        "{}",
        ran.stdout
    );
    assert!(ran.stderr.contains("holds no golden samples"), "{}", ran.stderr);
    let ran = folder.kiln(&["verify", "m.bpk", "--json"]);
    assert!(ran.code == 1 && ran.stdout.contains("\"passed\":false"), "{}", ran.stdout);
    let ran = folder.kiln(&["export", "m.bpk", "--out", "m.onnx"]);
    assert!(ran.code == 0 && ran.stdout.contains("no golden samples: nothing was replayed"), "{}", ran.stdout);
    for tolerance in ["nan", "-1", "inf"] {
        let ran = folder.kiln(&["verify", "m.bpk", &format!("--tolerance={tolerance}")]);
        assert!(ran.code == 2 && ran.stderr.contains("must be at least 0 and finite"), "{}", ran.stderr);
    }
}

#[test]
fn data_that_were_replaced_after_training_are_not_measured_in_silence() {
    let folder = Folder::new();
    for (part, class, shade) in [("train", "a", 3), ("train", "b", 60), ("test", "a", 4), ("test", "b", 61)] {
        for copy in 0..4 {
            picture(&folder.path().join(format!("pictures/{part}/{class}/{copy}.png")), shade + copy);
        }
    }
    let config = "[data]\nkind = \"folder\"\npath = \"pictures\"\nheight = 12\nwidth = 12\nvalidation = 0\n\
                  [model]\nkind = \"linear\"\n[train]\nepochs = 1\nbatch_size = 4\n";
    folder.write("pictures.toml", config);
    let run = folder.json(&["train", "pictures.toml", "--device", "flex"])["run_dir"].as_str().unwrap().to_owned();
    assert_eq!(folder.json(&["eval", &run])["images"], 8);

    picture(&folder.path().join("pictures/test/a/0.png"), 200);
    let ran = folder.kiln(&["eval", &run]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("the data is not what the model was trained on"), "{}", ran.stderr);
    assert!(ran.stderr.contains("--data CONFIG"), "{}", ran.stderr);
    assert_eq!(folder.json(&["eval", &run, "--data", "pictures.toml"])["images"], 8);
}

#[test]
fn as_many_answers_as_there_are_classes_can_be_asked_for() {
    let folder = Folder::new();
    picture(&folder.path().join("a.png"), 9);
    let model = old("f32.bpk");
    for top in ["0", "5"] {
        let ran = folder.kiln(&["predict", &model, "a.png", "--top", top]);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains(&format!("--top: must be 1 to 4, got {top}")), "{}", ran.stderr);
    }
    assert_eq!(folder.json(&["predict", &model, "a.png", "--top", "4"])["top"].as_array().unwrap().len(), 4);
}

/// Runs `kiln` with an address space of 4 GB, of which a library's reservations take the larger part.
#[cfg(target_os = "linux")]
fn confined(folder: &Folder, arguments: &[&str]) -> (Option<i32>, String) {
    let script = "ulimit -v 4194304; exec \"$0\" \"$@\"";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_kiln")]).args(arguments).current_dir(folder.path());
    let output = command.env("NO_COLOR", "1").output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[cfg(target_os = "linux")]
#[test]
fn endless_and_huge_files_are_refused_in_bounded_memory() {
    let folder = Folder::new();
    picture(&folder.path().join("a.png"), 9);
    let huge = |name: &str, start: &[u8]| {
        std::fs::write(folder.path().join(name), start).unwrap();
        let file = std::fs::File::options().write(true).open(folder.path().join(name)).unwrap();
        // A hole: it takes no room on the disk.
        file.set_len(5 << 30).unwrap();
    };
    huge("huge.png", b"\x89PNG\r\n\x1a\n");
    huge("huge.bpk", b"NRUB\x01\x00");
    let model = old("f32.bpk");
    let (code, text) = confined(&folder, &["predict", &model, "a.png", "--device", "flex"]);
    assert_eq!(code, Some(0), "{text}");
    for name in ["/dev/zero", "huge.png"] {
        let (code, text) = confined(&folder, &["predict", &model, name, "--device", "flex"]);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("must have at most 134217727 bytes"), "{text}");
    }
    for command in [&["predict", "huge.bpk", "a.png"][..], &["verify", "huge.bpk"], &["verify", "/dev/zero"]] {
        let (code, text) = confined(&folder, command);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("must have at most 1600000000 bytes") || text.contains("begins like none"), "{text}");
    }
}
