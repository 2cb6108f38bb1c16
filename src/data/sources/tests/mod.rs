//! What must hold of every source in the list, without naming one.

use std::path::Path;

use super::*;
use crate::data::{self, DataConfig, Dataset, Preprocess};

pub(in crate::data::sources) mod damaged;
mod folders;
mod fuzz;
pub(in crate::data::sources) mod published;
mod tables;

fn open(source: &SourceConfig, seed: u64) -> Dataset {
    let config = DataConfig { source: source.clone(), validation: 2.into(), seed: None, augment: Vec::new() };
    data::open(&config, seed).unwrap()
}

/// The examples in a folder that goes when the test ends.
fn examples() -> (tempfile::TempDir, Vec<SourceConfig>) {
    let folder = tempfile::tempdir().unwrap();
    let examples = SourceConfig::examples(folder.path());
    (folder, examples)
}

#[test]
fn every_source_is_in_the_config_under_its_kind_with_a_description() {
    let kinds = crate::config::keys::keys().iter().find(|key| key.path == "data.kind").unwrap();
    let (_folder, examples) = examples();
    assert_eq!(examples.iter().map(SourceConfig::kind).collect::<Vec<_>>(), SourceConfig::KINDS);
    for example in examples {
        let kind = example.kind();
        assert_eq!(serde_json::to_value(&example).unwrap()["kind"], kind);
        let description = kinds.description.split_once(&format!("`{kind}`: ")).map(|(_, after)| after);
        assert!(description.is_some_and(|text| text.starts_with(char::is_alphanumeric)), "{kind} says what it is");
        let mut problems = Problems::default();
        example.check(&mut problems);
        assert_eq!(problems.into_vec(), [], "{kind}");
        let again: SourceConfig = toml::from_str(&toml::to_string(&example).unwrap()).unwrap();
        assert_eq!(again, example);
    }
}

#[test]
fn every_source_delivers_splits_that_fit_together() {
    let (_folder, examples) = examples();
    for example in examples {
        let Dataset { train, validation, test, preprocess, fingerprint, .. } = open(&example, 1);
        assert_eq!(validation.len(), 2, "{example:?}");
        for split in [&train, &validation, &test] {
            assert!(!split.is_empty(), "{example:?}");
            assert_eq!((split.shape, &split.classes), (train.shape, &train.classes), "{example:?}");
            assert_eq!(split.pixels.len(), split.len() * split.shape.len(), "{example:?}");
        }
        assert!(train.class_counts().iter().all(|count| *count > 0), "{example:?}: {:?}", train.class_counts());
        assert_eq!(preprocess, Preprocess::from_training(&train, example.fit(train.shape)), "{example:?}");
        let same = open(&example, 1);
        assert_eq!((&same.train.pixels, &same.fingerprint), (&train.pixels, &fingerprint), "{example:?}");
    }
}

#[test]
fn no_fingerprint_depends_on_where_the_files_are() {
    let (_here, examples_here) = examples();
    let (_there, examples_there) = examples();
    for (here, there) in examples_here.iter().zip(&examples_there) {
        assert_eq!(open(here, 1).fingerprint, open(there, 1).fingerprint, "{here:?}");
    }
}

#[test]
fn no_two_sources_have_the_same_fingerprint() {
    let (_folder, examples) = examples();
    let mut fingerprints: Vec<_> = examples.iter().map(|example| open(example, 1).fingerprint).collect();
    fingerprints.sort();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), examples.len());
}

#[test]
fn a_fingerprint_that_was_recorded_without_class_names_is_still_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = open(&SourceConfig::Folder(FolderConfig::example(folder.path())), 1);
    assert!(dataset.has_fingerprint(&dataset.fingerprint));
    // As the version before class names were hashed recorded it.
    assert!(dataset.has_fingerprint("f8eece5596e5c7dfe5ed408c8ebb47636ea5d5b3c1b4e38a13d000edc0daaa75"));
    std::fs::rename(folder.path().join("train/cat"), folder.path().join("train/fox")).unwrap();
    std::fs::rename(folder.path().join("test/cat"), folder.path().join("test/fox")).unwrap();
    let path = folder.path();
    let renamed =
        open(&SourceConfig::Folder(FolderConfig { channels: 3, height: 8, width: 6, ..FolderConfig::new(path) }), 1);
    assert!(!renamed.has_fingerprint(&dataset.fingerprint));
}

#[test]
fn a_missing_folder_is_named_in_full() {
    let refused = |path: &Path| {
        let config = IdxConfig::new(path);
        config.open(1).err().unwrap().render()
    };
    let here = std::env::current_dir().unwrap();
    insta::assert_snapshot!(refused(Path::new("no/such/set")).replace(here.to_str().unwrap(), "HERE"), @"
    error: `data.path`: cannot read the folder `HERE/no/such/set`
    caused by: No such file or directory (os error 2)
    tip: `data.path` must be a folder with four IDX files, or an archive of them
    tip: `no/such/set` starts at the working folder: run the command where the run was started
    ");
    insta::assert_snapshot!(refused(Path::new("/no/such/set")), @"
    error: `data.path`: cannot read the folder `/no/such/set`
    caused by: No such file or directory (os error 2)
    tip: `data.path` must be a folder with four IDX files, or an archive of them
    tip: a relative `data.path` starts at the folder of the config file that it is written in; with --set, at the working folder
    ");
}
