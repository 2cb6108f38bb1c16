//! Which pictures a folder holds: its parts, the classes of each, and what stands in the way. Nothing is decoded here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::data::DataPath;
use crate::data::picture::is_picture;
use crate::data::sources::pictures::Found as Pictures;
use crate::{Error, Result};

/// How deep pictures may lie within the folder of a class; a link that leads back to itself ends here.
const DEEPEST: usize = 16;

/// What each part's folder may be called.
pub(in crate::data::sources) const TRAIN: &[&str] = &["train", "training"];
pub(in crate::data::sources) const VALIDATION: &[&str] = &["val", "validation", "valid"];
pub(in crate::data::sources) const TEST: &[&str] = &["test", "testing"];

/// Names that file managers leave behind.
const LEFT_BEHIND: [&str; 3] = ["Thumbs.db", "desktop.ini", "__MACOSX"];

/// Names that are given one by one before the rest is only counted.
const NAMED: usize = 5;

/// What is found on the way.
#[derive(Default)]
struct Found {
    problems: Vec<String>,
    notices: Vec<String>,
}

/// Looks through the folder at `path`, which holds a folder for each part with one for each class in it, or the
/// folders of the classes itself.
///
/// # Errors
/// A usage error with everything that is wrong.
pub(super) fn find(path: &DataPath) -> Result<Pictures> {
    let root = path.absolute();
    let mut found = Found::default();
    let inside = entries(&root).map_err(|error| path.unreadable(&root, error, LAYOUT))?;
    let part = |names: &[&str]| {
        let called = |entry: &&PathBuf| names.iter().any(|name| file_name(entry).eq_ignore_ascii_case(name));
        inside.iter().filter(|entry| entry.is_dir()).find(called)
    };
    // Classes may be called like parts; a part has folders in it.
    let is_divided = part(TRAIN).is_some_and(|train| {
        entries(train).is_ok_and(|inside| inside.is_empty() || inside.iter().any(|entry| entry.is_dir()))
    });
    let (train, validation, test) = if is_divided {
        let parts = [TRAIN, VALIDATION, TEST].map(part);
        let unused: Vec<_> = inside.iter().filter(|entry| !parts.contains(&Some(entry))).collect();
        found.unused(&root, &unused);
        let [train, validation, test] = parts.map(|folder| folder.map(|folder| found.classes(folder)));
        (train.unwrap_or_default(), validation, test)
    } else {
        (found.classes(&root), None, None)
    };
    let names: Vec<String> = train.keys().cloned().collect();
    if names.len() < 2 {
        let place = part(TRAIN).filter(|_| is_divided).unwrap_or(&root);
        found.problems.push(format!(
            "`{}`: must hold a folder with pictures for each of at least 2 classes, got {}",
            place.display(),
            names.len()
        ));
    } else if names.len() > usize::from(u16::MAX) {
        found.problems.push(format!("may hold at most {} classes, got {}", u16::MAX, names.len()));
    }
    for (part, classes) in [("validation", &validation), ("test", &test)] {
        found.compare(part, &names, classes.as_ref());
    }
    found.refuse()?;
    let in_order = |mut classes: BTreeMap<String, Vec<PathBuf>>| {
        names.iter().map(|name| classes.remove(name).unwrap_or_default()).collect()
    };
    let [train, validation, test] = [Some(train), validation, test].map(|part| part.map(in_order));
    Ok(Pictures { train: train.unwrap_or_default(), validation, test, names, notices: found.notices })
}

/// What a folder must hold.
const LAYOUT: &str = "the folder must hold one folder of pictures per class, or `train`, `test` and if you like `val` with \
                      one folder per class in each";

impl Found {
    /// The pictures of each class whose folder is in `part`.
    fn classes(&mut self, part: &Path) -> BTreeMap<String, Vec<PathBuf>> {
        let mut classes = BTreeMap::new();
        let (mut loose, mut unused, mut empty) = (Vec::new(), Vec::new(), Vec::new());
        for entry in self.entries(part) {
            if !entry.is_dir() {
                if is_picture(&entry) {
                    loose.push(entry)
                } else {
                    unused.push(entry)
                }
                continue;
            }
            let Some(name) = entry.file_name().and_then(|name| name.to_str()) else {
                self.problems.push(format!("`{}`: the name of a class must be valid UTF-8", entry.display()));
                continue;
            };
            let mut pictures = Vec::new();
            self.collect(&entry, 1, &mut pictures);
            if pictures.is_empty() {
                empty.push(name.to_owned());
            } else {
                classes.insert(name.to_owned(), pictures);
            }
        }
        self.unused(part, &unused.iter().collect::<Vec<_>>());
        if let Some(first) = loose.first() {
            self.problems.push(format!(
                "`{}`: a picture must lie in the folder of its class; {} of `{}` lie in none",
                first.display(),
                loose.len(),
                part.display()
            ));
        }
        if !empty.is_empty() {
            self.notices.push(format!(
                "`{}`: left out, since there is no picture in them: {}",
                part.display(),
                shortened(empty.iter().map(String::as_str))
            ));
        }
        classes
    }

    /// Adds every file in `folder` and in the folders within it, sorted.
    fn collect(&mut self, folder: &Path, depth: usize, pictures: &mut Vec<PathBuf>) {
        if depth > DEEPEST {
            self.problems.push(format!("`{}`: lies more than {DEEPEST} folders deep", folder.display()));
            return;
        }
        for entry in self.entries(folder) {
            if entry.is_dir() {
                self.collect(&entry, depth + 1, pictures);
            } else if entry.is_file() || !entry.exists() {
                pictures.push(entry);
            } else {
                self.problems.push(format!("`{}`: must be a picture, got no regular file", entry.display()));
            }
        }
    }

    fn entries(&mut self, folder: &Path) -> Vec<PathBuf> {
        entries(folder).unwrap_or_else(|error| {
            self.problems.push(format!("`{}`: cannot be read: {error}", folder.display()));
            Vec::new()
        })
    }

    fn unused(&mut self, folder: &Path, entries: &[&PathBuf]) {
        if !entries.is_empty() {
            let names = shortened(entries.iter().map(|entry| file_name(entry)));
            self.notices.push(format!("`{}`: not used: {names}", folder.display()));
        }
    }

    /// Says which classes a part has that there is nothing to learn of, and which it lacks.
    fn compare(&mut self, part: &str, names: &[String], classes: Option<&BTreeMap<String, Vec<PathBuf>>>) {
        let Some(classes) = classes else { return };
        let unknown: Vec<_> = classes.keys().filter(|name| !names.contains(name)).map(String::as_str).collect();
        if !unknown.is_empty() {
            let names = shortened(unknown.into_iter());
            self.problems.push(format!("there are {part} pictures, but none to train on, of {names}"));
        }
        let missing: Vec<_> = names.iter().filter(|name| !classes.contains_key(*name)).map(String::as_str).collect();
        if classes.is_empty() {
            self.problems.push(format!("the {part} folder holds no picture of any class"));
        } else if !missing.is_empty() {
            self.notices.push(format!("there is no {part} picture of {}", shortened(missing.into_iter())));
        }
    }

    fn refuse(&mut self) -> Result<()> {
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(Error::usage(std::mem::take(&mut self.problems).join("\n")).tip(LAYOUT))
    }
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// The first few of `names`, and how many more there are.
fn shortened<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(NAMED);
    let shown = names.take(NAMED).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

/// What is in a folder, sorted by name, without hidden files and what file managers leave behind.
fn entries(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with('.') && !LEFT_BEHIND.contains(&&*name) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}
