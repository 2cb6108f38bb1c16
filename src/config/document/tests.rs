//! Broken configs, each with the whole error that the user sees.

use super::*;

/// The rendered error of a config called `my.toml`.
fn refused(text: &str, sets: &[&str]) -> String {
    refused_bytes(text.as_bytes(), sets)
}

fn refused_bytes(bytes: &[u8], sets: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my.toml");
    std::fs::write(&path, bytes).unwrap();
    refused_path(folder.path(), &path, sets)
}

/// The rendered error of a path in a folder whose name is left out.
fn refused_path(folder: &Path, path: &Path, sets: &[&str]) -> String {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let error = Experiment::load(&Origin::File(path.to_owned()), &sets).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let mut text = error.render().replace(&format!("{}/", folder.display()), "");
    // A new kind changes no test.
    for (kinds, name) in [
        (crate::models::ModelConfig::KINDS, "models"),
        (crate::optimizers::OptimizerConfig::KINDS, "optimizers"),
        (crate::schedules::Shape::KINDS, "schedules"),
        (crate::data::SourceConfig::KINDS, "sources"),
        (crate::data::AugmentConfig::KINDS, "augmentations"),
    ] {
        let listed = kinds.iter().map(|kind| format!("\"{kind}\"")).collect::<Vec<_>>().join(", ");
        text = text.replace(&listed, &format!("(all {name})"));
    }
    text
}

/// The experiment of a text that is allowed.
fn accepted(text: &str, sets: &[&str]) -> Experiment {
    let preset = Preset { name: "test", text: Box::leak(text.to_owned().into_boxed_str()) };
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Experiment::load(&Origin::Embedded(Box::leak(Box::new(preset))), &sets).unwrap()
}

mod any;
mod augment;
mod files;
mod paths;
mod sets;
mod values;
