//! Image sets from folders of pictures: `train/CLASS/*` and `test/CLASS/*`.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Files, PictureFile, Source, Splits, allocate, check_shape};
use crate::check::{Check, Problems};
use crate::data::{DataPath, ImageSet, ImageShape, picture};
use crate::{Error, Result};

/// A folder of pictures: `train/CLASS/*.png` and `test/CLASS/*.png`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FolderConfig {
    /// The folder that holds `train` and `test`, each with one folder per class.
    pub path: DataPath,
    /// Colour channels: 1 turns every picture grey, 3 keeps colour.
    #[serde(default = "one")]
    pub channels: usize,
    /// Rows that every picture is resized to.
    #[serde(default = "twenty_eight")]
    pub height: usize,
    /// Columns that every picture is resized to.
    #[serde(default = "twenty_eight")]
    pub width: usize,
}

fn one() -> usize {
    1
}

fn twenty_eight() -> usize {
    28
}

impl FolderConfig {
    fn shape(&self) -> ImageShape {
        ImageShape { channels: self.channels, height: self.height, width: self.width }
    }
}

impl Check for FolderConfig {
    fn check(&self, problems: &mut Problems) {
        self.path.check("path", problems);
        check_shape(self.shape(), problems);
    }
}

impl Source for FolderConfig {
    /// Reads every picture that can be read, resized to the configured size. The classes are the folders under `train`, by
    /// name.
    fn open(&self, _seed: u64) -> Result<Splits> {
        let root = self.path.absolute();
        let [train, test] = ["train", "test"].map(|split| self.list(&root.join(split)));
        let (train, test) = (train?, test?);
        let names = same_classes(&root, &train, &test)?;
        let shape = self.shape();
        let (train, test) = (read(&train, shape, &names)?, read(&test, shape, &names)?);
        let unreadable = [train.unreadable, test.unreadable].concat();
        let files = Files { train: train.files, test: test.files, unreadable };
        Ok(Splits { files, ..Splits::new(train.images, test.images) })
    }

    #[cfg(test)]
    fn example(folder: &Path) -> Self {
        for (split, pictures) in [("train", 3), ("test", 2)] {
            for (class, shade) in [("cat", 10), ("dog", 200)] {
                fs::create_dir_all(folder.join(split).join(class)).unwrap();
                for number in 0..pictures {
                    image::RgbImage::from_pixel(9, 7, image::Rgb([shade + number; 3]))
                        .save(folder.join(split).join(class).join(format!("{number}.png")))
                        .unwrap();
                }
            }
        }
        Self { path: folder.into(), channels: 3, height: 8, width: 6 }
    }
}

/// The names of the classes, which must be the same in both splits.
fn same_classes(root: &Path, train: &[Class], test: &[Class]) -> Result<Arc<[String]>> {
    let names = |classes: &[Class]| classes.iter().map(|class| class.name.clone()).collect::<Vec<_>>();
    let (train_names, test_names) = (names(train), names(test));
    if train_names.len() < 2 {
        return Err(Error::usage(format!(
            "`{}`: must hold a folder for each of at least 2 classes, got {}",
            root.join("train").display(),
            train_names.len()
        ))
        .tip("put the pictures of each class into a folder named after it"));
    }
    for (split, found, other, wanted) in
        [("test", &test_names, "train", &train_names), ("train", &train_names, "test", &test_names)]
    {
        if let Some(missing) = wanted.iter().find(|name| !found.contains(name)) {
            return Err(Error::usage(format!(
                "`{}`: must hold the same classes as `{}`, got no class `{missing}`",
                root.join(split).display(),
                root.join(other).display()
            ))
            .tip(format!("`{split}` holds {}; `{other}` holds {}", found.join(", "), wanted.join(", "))));
        }
    }
    Ok(train_names.into())
}

/// One class in one split: its name and its pictures, sorted.
struct Class {
    name: String,
    pictures: Vec<PathBuf>,
}

impl FolderConfig {
    fn list(&self, split: &Path) -> Result<Vec<Class>> {
        let mut classes = Vec::new();
        for path in self.entries(split)? {
            if !path.is_dir() {
                return Err(Error::usage(format!("`{}`: must be the folder of a class, got a file", path.display()))
                    .tip("pictures belong into a folder named after their class: train/CLASS/PICTURE"));
            }
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                return Err(Error::usage(format!("`{}`: the name of a class must be valid UTF-8", path.display()))
                    .tip("rename the folder"));
            };
            let pictures = self.entries(&path)?;
            if let Some(other) = pictures.iter().find(|path| !path.is_file()) {
                let found = if other.is_dir() { "a folder" } else { "no regular file" };
                return Err(Error::usage(format!("`{}`: must be a picture, got {found}", other.display()))
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
                split.display(),
                u16::MAX,
                classes.len()
            )));
        }
        Ok(classes)
    }

    /// What is in a folder, sorted by name, without hidden files.
    fn entries(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let fail = |error: std::io::Error| {
            self.path.unreadable(
                folder,
                error,
                "the folder must hold `train` and `test`, each with one folder of pictures per class",
            )
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
}

/// The pictures of one split.
struct Pictures {
    images: ImageSet,
    /// The file of each image.
    files: Vec<PictureFile>,
    /// What cannot be read, each with the reason.
    unreadable: Vec<String>,
}

/// Decodes in parallel; the order is by class, then by file name.
fn read(classes: &[Class], shape: ImageShape, names: &Arc<[String]>) -> Result<Pictures> {
    let pictures: Vec<(u16, &Path)> = (0..)
        .zip(classes)
        .flat_map(|(label, class)| class.pictures.iter().map(move |path| (label, path.as_path())))
        .collect();
    let mut pixels = allocate(pictures.len(), shape)?;
    let read: Vec<Result<PictureFile>> = pixels
        .par_chunks_exact_mut(shape.len())
        .zip(&pictures)
        .map(|(out, (_, path))| read_picture(path, shape, out))
        .collect();
    let (mut files, mut labels, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
    for (place, (found, (label, path))) in read.into_iter().zip(&pictures).enumerate() {
        match found {
            Ok(file) => {
                // Images move up to where an unreadable one would have been.
                pixels.copy_within(place * shape.len()..(place + 1) * shape.len(), files.len() * shape.len());
                files.push(file);
                labels.push(*label);
            }
            Err(error) => unreadable.push(format!("`{}`: {error}", path.display())),
        }
    }
    pixels.truncate(files.len() * shape.len());
    Ok(Pictures { images: ImageSet::new(shape, pixels, labels, names.clone())?, files, unreadable })
}

/// Writes the picture to `out`, `[channels, height, width]`.
fn read_picture(path: &Path, shape: ImageShape, out: &mut [u8]) -> Result<PictureFile> {
    let unreadable = |error: std::io::Error| Error::usage(error.to_string());
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    file.take(picture::MAX_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    let picture = picture::decode(&bytes)?;
    out.copy_from_slice(&picture::resize(&picture, shape));
    Ok(PictureFile {
        path: path.to_owned(),
        size: (picture.width(), picture.height()),
        colour: picture::colour(&picture),
    })
}
