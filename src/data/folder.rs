//! Image sets from folders of pictures: `train/CLASS/*` and `test/CLASS/*`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::{FolderConfig, ImageSet, ImageShape, Parts, picture};
use crate::{Error, Result};

/// Problems that are listed one by one before the rest is only counted.
const LISTED: usize = 5;

/// Reads every picture, resized to the configured size. The classes are the folders under `train`, by name.
pub(super) fn open(config: &FolderConfig) -> Result<Parts> {
    let shape = ImageShape { channels: config.channels, height: config.height, width: config.width };
    let train = list(&config.path.join("train"))?;
    let test = list(&config.path.join("test"))?;
    let names = |classes: &[Class]| classes.iter().map(|class| class.name.clone()).collect::<Vec<_>>();
    let (train_names, test_names) = (names(&train), names(&test));
    if train_names.len() < 2 {
        return Err(Error::usage(format!(
            "`{}`: must hold a folder for each of at least 2 classes, got {}",
            config.path.join("train").display(),
            train_names.len()
        ))
        .tip("put the pictures of each class into a folder named after it"));
    }
    for (part, found, other, wanted) in
        [("test", &test_names, "train", &train_names), ("train", &train_names, "test", &test_names)]
    {
        if let Some(missing) = wanted.iter().find(|name| !found.contains(name)) {
            return Err(Error::usage(format!(
                "`{}`: must hold the same classes as `{}`, got no class `{missing}`",
                config.path.join(part).display(),
                config.path.join(other).display()
            ))
            .tip(format!("`{part}` holds {}; `{other}` holds {}", found.join(", "), wanted.join(", "))));
        }
    }
    let classes: Arc<[String]> = train_names.into();
    Ok(Parts { train: read(&train, shape, &classes)?, test: read(&test, shape, &classes)?, notices: Vec::new() })
}

/// One class of one part: its name and its pictures, sorted.
struct Class {
    name: String,
    pictures: Vec<PathBuf>,
}

fn list(part: &Path) -> Result<Vec<Class>> {
    let mut classes = Vec::new();
    for path in entries(part)? {
        if !path.is_dir() {
            return Err(Error::usage(format!("`{}`: must be the folder of a class, got a file", path.display()))
                .tip("pictures belong into a folder named after their class: train/CLASS/PICTURE"));
        }
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(Error::usage(format!("`{}`: the name of a class must be valid UTF-8", path.display()))
                .tip("rename the folder"));
        };
        let pictures = entries(&path)?;
        if let Some(folder) = pictures.iter().find(|path| !path.is_file()) {
            return Err(Error::usage(format!("`{}`: must be a picture, got a folder", folder.display()))
                .tip("the pictures of a class belong into its folder directly"));
        }
        if pictures.is_empty() {
            return Err(Error::usage(format!("`{}`: must hold at least 1 picture, got 0", path.display()))
                .tip("add pictures of this class, or remove its folder from `train` and from `test`"));
        }
        classes.push(Class { name: name.to_owned(), pictures });
    }
    if classes.len() > usize::from(u16::MAX) {
        return Err(Error::usage(format!(
            "`{}`: may hold at most {} classes, got {}",
            part.display(),
            u16::MAX,
            classes.len()
        )));
    }
    Ok(classes)
}

/// What is in a folder, sorted by name, without hidden files.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = |error: std::io::Error| {
        Error::usage(format!("`data.path`: cannot read the folder `{}`", folder.display()))
            .caused_by(error)
            .tip("the folder must hold `train` and `test`, each with one folder of pictures per class")
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Decodes in parallel; the order is by class, then by file name.
fn read(classes: &[Class], shape: ImageShape, names: &Arc<[String]>) -> Result<ImageSet> {
    let pictures: Vec<(u16, &Path)> = (0..)
        .zip(classes)
        .flat_map(|(label, class)| class.pictures.iter().map(move |path| (label, path.as_path())))
        .collect();
    let mut pixels = vec![0; pictures.len() * shape.len()];
    let problems: Vec<String> = pixels
        .par_chunks_exact_mut(shape.len())
        .zip(&pictures)
        .filter_map(|(out, (_, path))| match read_picture(path, shape) {
            Ok(image) => {
                out.copy_from_slice(&image);
                None
            }
            Err(error) => Some(format!("`{}`: {error}", path.display())),
        })
        .collect();
    if !problems.is_empty() {
        let mut message = problems[..problems.len().min(LISTED)].join("\n");
        if problems.len() > LISTED {
            message.push_str(&format!("\nand {} more", problems.len() - LISTED));
        }
        return Err(Error::usage(message)
            .tip("every file in a class's folder must be a readable picture; remove or replace what is not"));
    }
    ImageSet::new(shape, pixels, pictures.iter().map(|(label, _)| *label).collect(), names.clone())
}

fn read_picture(path: &Path, shape: ImageShape) -> Result<Vec<u8>> {
    let length = fs::metadata(path).map_err(|error| Error::usage(error.to_string()))?.len();
    if length >= picture::MAX_BYTES {
        return Err(Error::usage(format!(
            "a picture must be smaller than {} MiB, got {length} bytes",
            picture::MAX_BYTES >> 20
        )));
    }
    let bytes = fs::read(path).map_err(|error| Error::usage(error.to_string()))?;
    let picture = picture::decode(&bytes)?;
    Ok(picture::resize(&picture, shape))
}
