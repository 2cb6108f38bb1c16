//! `kiln new`: from a folder of pictures to a config that trains on it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::ui::{Mode, Ui};
use crate::config::starter;
use crate::data::sources::{FolderConfig, OnUnreadable};
use crate::data::survey::Surveyed;
use crate::data::{DataConfig, ImageShape, SourceConfig, Validation};
use crate::report;
use crate::run::file;
use crate::{Error, Result};

/// The arguments of `kiln new`.
#[derive(Debug, clap::Args)]
pub struct NewArguments {
    /// The folder: one folder of pictures per class in it, or `train` and `test` with those in each
    folder: PathBuf,

    /// Write the config here, instead of beside the folder with `.toml` after its name
    #[arg(long, value_name = "FILE.toml")]
    out: Option<PathBuf>,
}

/// Looks, says what there is, and writes the config. A file that exists is left as it is.
pub fn run(arguments: NewArguments, ui: &mut Ui) -> Result<()> {
    let folder = fs::canonicalize(&arguments.folder).map_err(|error| {
        Error::usage(format!("cannot read the folder `{}`", arguments.folder.display()))
            .caused_by(error)
            .tip("give the folder that holds one folder of pictures per class")
    })?;
    let name = folder.file_name().map_or_else(|| "pictures".into(), |name| name.to_string_lossy().into_owned());
    let out = arguments.out.unwrap_or_else(|| beside(&arguments.folder, &name));
    if out.exists() {
        return Err(Error::usage(format!("`{}` exists already", out.display()))
            .tip("remove it, or write the new config elsewhere: --out FILE.toml"));
    }
    let source = FolderConfig { channels: 3, on_unreadable: OnUnreadable::Skip, ..FolderConfig::new(folder.clone()) };
    let open = |source: &FolderConfig| {
        let source = SourceConfig::Folder(source.clone());
        Surveyed::open(&DataConfig { source, validation: Validation::default(), seed: None, augment: Vec::new() }, 0)
    };
    let mut found = open(&source)?;
    // What is shown, and kept for the training, has the size that the config says.
    let shape = starter::input(&found);
    if shape != found.survey.shape {
        let ImageShape { channels, height, width } = shape;
        found = open(&FolderConfig { channels, height, width, ..source })?;
    }
    let text = starter::starter(&starter::name_of(&name), &path_from(&out, &folder), &out, &found);
    file::write_atomic(&out, text.as_bytes())?;
    if ui.mode() == Mode::Json {
        ui.json(&json!({ "config": out, "data": found.survey }));
        return Ok(());
    }
    ui.say(&report::survey(&found.survey));
    for warning in &found.survey.warnings {
        ui.warn(warning);
    }
    ui.out(&format!("wrote {}", out.display()));
    let shown = super::quoted(&out);
    ui.aside(&format!("next           kiln train {shown}\n               kiln data {shown} --out pictures.html"));
    Ok(())
}

/// `FOLDER.toml` beside `FOLDER`.
fn beside(folder: &Path, name: &str) -> PathBuf {
    let named = folder.file_name().is_some();
    if named { folder.with_file_name(format!("{name}.toml")) } else { PathBuf::from(format!("{name}.toml")) }
}

/// How the config at `out` names `folder`: by its name where it lies beside it, else in full.
fn path_from(out: &Path, folder: &Path) -> PathBuf {
    let home = out.parent().filter(|home| !home.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (fs::canonicalize(home), folder.parent(), folder.file_name()) {
        (Ok(home), Some(parent), Some(name)) if home == parent => name.into(),
        _ => folder.to_owned(),
    }
}
