//! The documents and the configs say what is so.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::fixture::Folder;

/// Commands that are groups of others.
const GROUPS: [&str; 4] = ["runs", "tune", "sweep", "config"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages of the book.
fn pages() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect();
    pages.sort();
    pages
}

/// Every page for people who use kiln.
fn all_pages() -> Vec<PathBuf> {
    let others = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"].map(|name| root().join(name));
    others.into_iter().chain(pages()).collect()
}

/// The `kiln` commands in the shell blocks of a page, without the prompt.
fn commands_of(page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(page).unwrap();
    let prompted = text.lines().filter_map(|line| line.strip_prefix("$ "));
    let typed = prompted
        .filter_map(|line| line.strip_prefix("kiln ").or_else(|| line.split_once(" kiln ").map(|(_, rest)| rest)));
    typed.map(str::to_owned).collect()
}

#[test]
fn every_command_and_flag_in_the_pages_exists() {
    let folder = Folder::new();
    let mut helps = std::collections::BTreeMap::new();
    let mut seen = 0;
    for page in all_pages() {
        for line in commands_of(&page) {
            let is_end = |word: &&str| !["|", ">", "&&", "2>", "#", "--"].contains(word);
            let words: Vec<&str> = line.split_whitespace().take_while(is_end).collect();
            let group = GROUPS.contains(&words[0])
                && words.get(1).is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()));
            let mut named = words[..if group { 2 } else { 1 }].to_vec();
            // `kiln sweep CONFIG` names no command of the group.
            if group && folder.kiln(&[named[0], "help", named[1]]).code != 0 {
                named.truncate(1);
            }
            let help =
                helps.entry(named.join(" ")).or_insert_with(|| folder.kiln(&[named.as_slice(), &["--help"]].concat()));
            assert_eq!(help.code, 0, "{}: `{line}` names no command", page.display());
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                let flag = flag.split('=').next().unwrap();
                assert!(help.stdout.contains(flag), "{}: `{line}`: {flag} is no flag of it", page.display());
            }
            seen += 1;
        }
    }
    assert!(seen >= 50, "the pages show only {seen} commands");
}

#[test]
fn the_front_page_is_short() {
    let lines = std::fs::read_to_string(root().join("README.md")).unwrap().lines().count();
    assert!(lines < 200, "README.md has {lines} lines; what is not for everybody belongs into docs/");
}

/// What the links of a page point to, without those in code.
fn links(text: &str) -> Vec<String> {
    let mut is_code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        let words = line.split('`').step_by(2).collect::<String>();
        found.extend(words.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())));
    }
    found
}

/// The anchors of a page's headings, as renderers make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_leads_somewhere_and_those_of_the_book_stay_in_it() {
    let mut seen = 0;
    for page in all_pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let is_of_book = page.parent().is_some_and(|folder| folder.ends_with("docs"));
        for link in links(&text).iter().filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            assert!(target.is_file(), "{}: {link} leads nowhere", page.display());
            assert!(!is_of_book || !path.contains('/'), "{}: {link} leads out of the book", page.display());
            if !anchor.is_empty() {
                let there = anchors(&std::fs::read_to_string(&target).unwrap());
                assert!(there.contains(anchor), "{}: {link}: no such heading; there are {there:?}", page.display());
            }
            seen += 1;
        }
    }
    assert!(seen >= 60, "{seen}");
}

#[test]
fn the_book_has_every_page_once() {
    let text = std::fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let mut listed = links(&text);
    listed.sort();
    let names = pages().into_iter().map(|page| page.file_name().unwrap().to_str().unwrap().to_owned());
    let mut there: Vec<String> = names.filter(|name| name != "SUMMARY.md").collect();
    there.sort();
    assert_eq!(listed, there, "docs/SUMMARY.md lists the left, docs/ has the right");
    let book: toml::Table = std::fs::read_to_string(root().join("book.toml")).unwrap().parse().unwrap();
    assert_eq!(book["book"]["src"].as_str(), Some("docs"));
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
    let mut seen = 0;
    for page in all_pages() {
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
