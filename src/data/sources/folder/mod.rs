//! Image sets from folders of pictures.

mod layout;

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use self::layout::{Classes, Layout};
use super::{Files, OnUnreadable, PictureFile, Source, Splits, Unreadable, allocate, check_shape};
use crate::check::{Check, Problems};
use crate::data::{DataPath, ImageSet, ImageShape, picture, split};
use crate::seed::{Purpose, Stream};
use crate::{Error, Result};

/// A folder of pictures: `CLASS/*.png`, or `train/CLASS/*.png` and `test/CLASS/*.png`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FolderConfig {
    /// The folder. It holds one folder of pictures per class, of any depth; or `train`, `test` and if you like `val`, each
    /// with one folder per class. Pictures in `val` take the place of `data.validation`.
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
    /// The share of each class that is kept for testing where there is no `test` folder. Which pictures these are depends
    /// on their files' contents alone: the same for every seed, and added pictures move no other.
    #[serde(default = "a_fifth")]
    pub test: f64,
    /// What becomes of a data set with files that cannot be read as pictures: "error" refuses it, "skip" leaves them out
    /// and counts them.
    #[serde(default)]
    pub on_unreadable: OnUnreadable,
}

fn one() -> usize {
    1
}

fn twenty_eight() -> usize {
    28
}

fn a_fifth() -> f64 {
    0.2
}

impl FolderConfig {
    /// The defaults for the folder at `path`.
    pub fn new(path: impl Into<DataPath>) -> Self {
        Self {
            path: path.into(),
            channels: one(),
            height: twenty_eight(),
            width: twenty_eight(),
            test: a_fifth(),
            on_unreadable: OnUnreadable::default(),
        }
    }

    fn shape(&self) -> ImageShape {
        ImageShape { channels: self.channels, height: self.height, width: self.width }
    }
}

impl Check for FolderConfig {
    fn check(&self, problems: &mut Problems) {
        self.path.check("path", problems);
        check_shape(self.shape(), problems);
        problems.require(self.test > 0.0 && self.test < 1.0, "test", || {
            format!("must be a share above 0 and below 1, got {}", self.test)
        });
    }
}

impl Source for FolderConfig {
    /// Reads every picture that can be read, resized to the configured size. The classes are the folders of pictures, by
    /// name.
    fn open(&self, _seed: u64) -> Result<Splits> {
        let Layout { names, train, validation, test, mut notices } = Layout::find(&self.path)?;
        let names: Arc<[String]> = names.into();
        let read = |classes: Classes| read(&classes, self.shape(), &names);
        let mut train = read(train)?;
        let has_test = test.is_some();
        let validation = validation.map(read).transpose()?;
        let test = match test {
            Some(test) => read(test)?,
            None => {
                let stream = Stream::new(0, Purpose::Test);
                let held_out = split::by_content(&train.images, &train.files, self.test, stream);
                notices.extend(split::without(&train.images, &held_out, "testing"));
                train.take(&held_out)
            }
        };
        let read = train.files.len() + test.files.len() + validation.as_ref().map_or(0, |part| part.files.len());
        let (validation, of_validation) = validation.map(|part| (part.images, (part.files, part.unreadable))).unzip();
        let (validation_files, unreadable_validation) = of_validation.unwrap_or_default();
        let unreadable = Unreadable {
            files: [train.unreadable, unreadable_validation, test.unreadable].concat(),
            on_unreadable: self.on_unreadable,
        };
        notices.extend(unreadable.left_out(read));
        let files = Files { train: train.files, validation: validation_files, test: test.files, unreadable };
        Ok(Splits { files, validation, has_test, notices, ..Splits::new(train.images, test.images) })
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
        Self { channels: 3, height: 8, width: 6, ..Self::new(folder) }
    }
}

/// The pictures of one part.
struct Pictures {
    images: ImageSet,
    /// The file of each image.
    files: Vec<PictureFile>,
    /// What cannot be read, each with the reason.
    unreadable: Vec<String>,
}

impl Pictures {
    /// Moves pictures into a part of their own.
    fn take(&mut self, taken: &[bool]) -> Self {
        let (kept, images) = split::divide(&self.images, taken);
        self.images = kept;
        let files = std::mem::take(&mut self.files).into_iter().zip(taken);
        let (files, kept): (Vec<_>, Vec<_>) = files.partition(|(_, taken)| **taken);
        self.files = kept.into_iter().map(|(file, _)| file).collect();
        let files = files.into_iter().map(|(file, _)| file).collect();
        Self { images, files, unreadable: Vec::new() }
    }
}

/// Decodes in parallel; the order is by class, then by path.
fn read(classes: &Classes, shape: ImageShape, names: &Arc<[String]>) -> Result<Pictures> {
    let pictures: Vec<(u16, &Path)> = (0..)
        .zip(classes)
        .flat_map(|(label, pictures)| pictures.iter().map(move |path| (label, path.as_path())))
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
        digest: Sha256::digest(&bytes).into(),
    })
}
