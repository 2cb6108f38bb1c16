//! Image sets from folders of pictures.

pub(super) mod layout;

#[cfg(test)]
use std::fs;
#[cfg(test)]
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pictures::{self, Reading};
use super::{OnUnreadable, Source, Splits, a_fifth, check_shape, check_test_share, one, twenty_eight, yes};
use crate::Result;
use crate::check::{Check, Problems};
use crate::data::{DataPath, ImageShape};

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
    /// Keep decoded pictures in the user's cache folder, where there are many, so that they need not be decoded the next time.
    /// When a file changes, all are decoded again.
    #[serde(default = "yes")]
    pub cache: bool,
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
            cache: true,
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
        check_test_share(self.test, problems);
    }
}

impl Source for FolderConfig {
    /// Reads every picture that can be read, resized to the configured size. The classes are the folders of pictures, by
    /// name.
    fn open(&self, _seed: u64) -> Result<Splits> {
        let reading =
            Reading { shape: self.shape(), test: self.test, on_unreadable: self.on_unreadable, cache: self.cache };
        pictures::open(layout::find(&self.path)?, &reading)
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
