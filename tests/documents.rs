//! The README and the configs say what is so.

use std::path::Path;

use crate::fixture::Folder;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The `kiln` commands in the README's shell blocks, without the prompt.
fn commands_of_the_readme() -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let prompted = readme.lines().filter_map(|line| line.strip_prefix("$ "));
    prompted.map(|line| line.trim_start_matches("cargo run -- ").trim_start_matches("kiln ").to_owned()).collect()
}

#[test]
fn every_command_and_flag_in_the_readme_exists() {
    let folder = Folder::new();
    let mut seen = 0;
    for line in commands_of_the_readme() {
        let words: Vec<&str> = line.split_whitespace().take_while(|word| !["|", ">", "&&"].contains(word)).collect();
        if words.first().is_none_or(|word| ["cargo", "git", "curl", "cd"].contains(word)) {
            continue;
        }
        let help = folder.kiln(&[words[0], "--help"]);
        assert_eq!(help.code, 0, "`{line}` names no command");
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            assert!(help.stdout.contains(flag.split('=').next().unwrap()), "`{line}`: {flag} is no flag of it");
        }
        seen += 1;
    }
    assert!(seen >= 8, "the README shows only {seen} commands");
}

#[test]
fn every_config_is_valid_and_opens_with_what_to_expect() {
    let folder = Folder::new();
    let mut seen = 0;
    for entry in std::fs::read_dir(root().join("configs")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let head: String = text.lines().take_while(|line| line.starts_with('#')).collect();
        for word in ["kiln train", "accuracy", "seeds", "time", "cores"] {
            assert!(head.contains(word), "{}: its head does not mention `{word}`", path.display());
        }
        let ran = folder.kiln(&["config", "show", path.to_str().unwrap()]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert_eq!(folder.kiln(&["config", "show", name]).stdout, ran.stdout, "built in as `{name}`");
        seen += 1;
    }
    assert!(seen >= 4);
}

#[test]
fn no_page_has_a_gap_that_was_to_be_filled() {
    let pages = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name));
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut seen = 0;
    for page in pages.into_iter().chain(docs).filter(|page| page.extension().is_some_and(|it| it == "md")) {
        let text = std::fs::read_to_string(&page).unwrap();
        for gap in ["TODO", "FIXME", "TBD", "LINE_", "PLACEHOLDER", "XXX"] {
            assert!(!text.contains(gap), "{}: {gap}", page.display());
        }
        seen += 1;
    }
    assert!(seen >= 8, "{seen}");
}

#[test]
fn the_reference_of_all_keys_is_what_the_program_prints() {
    let printed = Folder::new().kiln(&["config", "keys", "--markdown"]).stdout;
    let file = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    assert_eq!(file, printed, "refresh it: kiln config keys --markdown > docs/configuration.md");
}
