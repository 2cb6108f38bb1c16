//! Where relative paths start.

use super::*;

fn path_of(origin: &Origin, sets: &[&str]) -> String {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let experiment = Experiment::load(origin, &sets).unwrap();
    serde_json::to_value(experiment).unwrap()["data"]["path"].as_str().unwrap().to_owned()
}

fn config(folder: &Path, path: &str) -> PathBuf {
    let file = folder.join("my.toml");
    std::fs::write(&file, format!("[data]\nkind = \"folder\"\npath = {}\n", toml::Value::from(path))).unwrap();
    file
}

#[test]
fn a_path_in_a_file_starts_at_the_folder_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let inside = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let file = Origin::File(config(folder.path(), "pictures"));
    assert_eq!(path_of(&file, &[]), inside("pictures"));
    assert_eq!(path_of(&Origin::File(config(folder.path(), "../pictures")), &[]), inside("../pictures"));
    assert_eq!(path_of(&Origin::File(config(folder.path(), "/pictures")), &[]), "/pictures");
}

#[test]
fn a_path_that_is_set_starts_at_the_working_folder() {
    let folder = tempfile::tempdir().unwrap();
    let here = std::env::current_dir().unwrap().join("pictures");
    let file = Origin::File(config(folder.path(), "other"));
    let preset = Origin::Embedded(presets::embedded("mnist").unwrap());
    for (origin, set) in [(&file, "data.path=pictures"), (&preset, "data={kind = 'idx', path = 'pictures'}")] {
        assert_eq!(Path::new(&path_of(origin, &[set])), here);
    }
    assert_eq!(path_of(&file, &["data.path=/pictures"]), "/pictures");
    // What TOML would take for a number is a path here.
    assert_eq!(Path::new(&path_of(&file, &["data.path=2024"])), here.with_file_name("2024"));
}

#[test]
fn what_is_saved_is_absolute_and_is_the_same_in_a_run_directory() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment::load(&Origin::File(config(folder.path(), "pictures")), &[]).unwrap();
    let run = folder.path().join("runs/my-0001");
    std::fs::create_dir_all(&run).unwrap();
    std::fs::write(run.join("config.toml"), experiment.to_toml()).unwrap();
    for origin in [Origin::Run(run.join("config.toml")), Origin::File(run.join("config.toml"))] {
        let again = Experiment::load(&origin, &[]).unwrap();
        assert_eq!(again, experiment);
        assert_eq!(again.to_toml(), experiment.to_toml());
    }
}

#[test]
fn the_relative_path_of_an_earlier_versions_run_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let run = Origin::Run(config(folder.path(), "pictures"));
    assert_eq!(path_of(&run, &[]), "pictures");
    // A changed one is resolved like any other.
    let here = std::env::current_dir().unwrap().join("others");
    assert_eq!(Path::new(&path_of(&run, &["data.path=others"])), here);
}

#[test]
fn a_path_without_characters_is_refused() {
    insta::assert_snapshot!(
        refused("[data]\nkind = \"folder\"\npath = \"\"\n", &[]),
        @"error: my.toml:3:8: `data.path`: must name a folder, got an empty path"
    );
}
