//! Image sets from IDX files: MNIST's format, for any images in it, in a folder or an archive, under any names.

pub(super) mod file;

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::file::{Array, Part};
use super::store::{Store, all};
use super::{Source, Splits, check_names};
use crate::check::{Check, Problems};
use crate::data::preprocess::Fit;
use crate::data::{DataPath, ImageShape};
use crate::{Error, Result};

/// Any four IDX files, plain or gzip-compressed, in one folder or archive: under MNIST's file names or others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IdxConfig {
    /// The folder, or .zip, .tar or .tar.gz archive, that holds the four files, each plain or with `.gz`.
    pub path: DataPath,
    /// The file of the training images.
    #[serde(default = "train_images")]
    pub train_images: String,
    /// The file of the training labels.
    #[serde(default = "train_labels")]
    pub train_labels: String,
    /// The file of the test images.
    #[serde(default = "test_images")]
    pub test_images: String,
    /// The file of the test labels.
    #[serde(default = "test_labels")]
    pub test_labels: String,
    /// The names of the classes in the order of their labels; unset: their numbers.
    #[serde(default)]
    pub classes: Option<Vec<String>>,
    /// How `predict` brings a picture of any size to the images' size: `digit` for handwriting, white on black like
    /// MNIST; `resize` for everything else.
    #[serde(default)]
    pub fit: FitConfig,
}

/// How a picture of any size is brought to the size of the training images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FitConfig {
    /// Resized, aspect ignored, colours kept.
    #[default]
    Resize,
    /// Ink found, cropped, fitted into a box and centred, as MNIST was made.
    Digit,
}

/// MNIST's names of the four files of a set.
pub(super) const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

fn train_images() -> String {
    FILES[0].into()
}

fn train_labels() -> String {
    FILES[1].into()
}

fn test_images() -> String {
    FILES[2].into()
}

fn test_labels() -> String {
    FILES[3].into()
}

/// What must be at the path.
const LAYOUT: &str = "`data.path` must be a folder with four IDX files, or an archive of them";

impl IdxConfig {
    /// The four files under MNIST's names at `path`.
    pub fn new(path: impl Into<DataPath>) -> Self {
        Self {
            path: path.into(),
            train_images: train_images(),
            train_labels: train_labels(),
            test_images: test_images(),
            test_labels: test_labels(),
            classes: None,
            fit: FitConfig::default(),
        }
    }

    fn files(&self) -> [&str; 4] {
        [&self.train_images, &self.train_labels, &self.test_images, &self.test_labels]
    }
}

impl Check for IdxConfig {
    fn check(&self, problems: &mut Problems) {
        self.path.check("path", problems);
        for (key, name) in ["train_images", "train_labels", "test_images", "test_labels"].iter().zip(self.files()) {
            problems.require(!name.is_empty(), key, || "must name a file, got an empty name".into());
        }
        check_names(self.classes.as_deref(), problems);
    }
}

impl Source for IdxConfig {
    /// Reads the four files, each plain or with `.gz`; where both are there, the plain one, with a notice.
    fn open(&self, _seed: u64) -> Result<Splits> {
        let store = Store::open(&self.path, LAYOUT)?;
        let mut notices = Vec::new();
        let [train, test] = read(&store, self.files(), &mut notices, &|_| Ok(()))?;
        Ok(Splits { notices, ..file::splits(train, test, self.classes.as_deref())? })
    }

    fn fit(&self, shape: ImageShape) -> Fit {
        match self.fit {
            FitConfig::Digit => Fit::digit(shape),
            FitConfig::Resize => Fit::Resize,
        }
    }

    #[cfg(test)]
    fn example(folder: &Path) -> Self {
        super::tests::damaged::write_idx(folder);
        Self { fit: FitConfig::Digit, ..Self::new(folder) }
    }
}

/// One of the four files, read.
pub(super) enum Read<'a> {
    /// Images.
    Images(&'a Array<3>),
    /// Labels.
    Labels(&'a Array<1>),
}

/// Reads the images and labels of both parts, in this order, each plain or with `.gz`; each goes through `verify`.
///
/// # Errors
/// A usage error with everything that is wrong with the files.
pub(super) fn read(
    store: &Store,
    names: [&str; 4],
    notices: &mut Vec<String>,
    verify: &dyn Fn(Read<'_>) -> Result<()>,
) -> Result<[Part; 2]> {
    let found = all(names.map(|name| find(store, name, names, notices)))?;
    let mut files = store.read(&found)?.into_iter();
    let mut next = || files.next().ok_or_else(|| Error::failed("a file was not read"));
    let (a, b, c, d) = (next()?, next()?, next()?, next()?);
    let images = |file| {
        let array = Array::read(file)?;
        verify(Read::Images(&array))?;
        Ok(array)
    };
    let labels = |file| {
        let array = Array::read(file)?;
        verify(Read::Labels(&array))?;
        Ok(array)
    };
    // The four are looked at before any error is told.
    let (a, b, c, d) = (images(a), labels(b), images(c), labels(d));
    let failed = [a.as_ref().err(), b.as_ref().err(), c.as_ref().err(), d.as_ref().err()];
    if failed.iter().flatten().count() > 1 {
        all::<()>([a.map(drop), b.map(drop), c.map(drop), d.map(drop)])?;
        return Err(Error::failed("an error was lost"));
    }
    Ok([Part::new(a?, b?)?, Part::new(c?, d?)?])
}

/// Which file of `store` to read for `name`.
fn find<'a>(store: &'a Store, name: &str, all: [&str; 4], notices: &mut Vec<String>) -> Result<&'a str> {
    match (store.find(name), store.find(&format!("{name}.gz"))) {
        (Some(plain), Some(packed)) => {
            notices.push(format!("`{}` is read, `{}` beside it is not", store.shown(plain), store.shown(packed)));
            Ok(plain)
        }
        (Some(only), None) | (None, Some(only)) => Ok(only),
        (None, None) => Err(missing(store, name, all)),
    }
}

fn missing(store: &Store, name: &str, all: [&str; 4]) -> Error {
    let shown = store.shown(name);
    if !store.is_archive() && Path::new(&shown).exists() {
        return Error::usage(format!("`{shown}`: must be a file, got a folder or a device"))
            .tip("point `data.path` at the folder that holds the four files themselves");
    }
    let place = if store.is_archive() { "archive" } else { "folder" };
    Error::usage(format!("`{shown}`: no such file, nor with `.gz`")).tip(format!(
        "the {place} must hold {}, each plain or with `.gz`; it holds {}. Files of other names are named by \
         `data.train_images`, `data.train_labels`, `data.test_images` and `data.test_labels`",
        all.join(", "),
        store.holds()
    ))
}
