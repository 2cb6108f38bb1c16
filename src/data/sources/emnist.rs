//! EMNIST, from NIST's archive or from a folder, and turned upright.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::idx::{self, file};
use super::published::{Known, Published};
use super::store::Store;
use super::{Source, Splits, yes};
use crate::Result;
use crate::check::{Check, Problems};
use crate::data::preprocess::Fit;
use crate::data::{DataPath, ImageShape};

/// EMNIST (Cohen et al., 2017), handwritten digits and letters in the form of MNIST's: from NIST's archive `gzip.zip` or a
/// folder of what is in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EmnistConfig {
    /// The archive `gzip.zip`, or the folder that holds `emnist-balanced-train-images-idx3-ubyte` and so on, each plain or
    /// with `.gz`.
    pub path: Option<DataPath>,
    /// Which of its six sets.
    pub split: EmnistSplit,
    /// Refuse another archive than the one that was published, by its SHA-256; false checks the form alone.
    #[serde(default = "yes")]
    pub verify: bool,
}

/// The sets that EMNIST consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmnistSplit {
    /// Digits and letters in 47 classes with as many images each; letters whose two cases look alike are one class.
    #[default]
    Balanced,
    /// Digits and letters in 62 classes of unequal sizes.
    Byclass,
    /// As `byclass`, with the 47 classes of `balanced`.
    Bymerge,
    /// The 26 letters, both cases of each in one class.
    Letters,
    /// The 10 digits, 280,000 images.
    Digits,
    /// The 10 digits, 70,000 images.
    Mnist,
}

impl EmnistSplit {
    fn name(self) -> &'static str {
        match self {
            Self::Balanced => "balanced",
            Self::Byclass => "byclass",
            Self::Bymerge => "bymerge",
            Self::Letters => "letters",
            Self::Digits => "digits",
            Self::Mnist => "mnist",
        }
    }

    /// The classes by label, of one character each: NIST's mapping files.
    fn classes(self) -> &'static str {
        match self {
            Self::Balanced | Self::Bymerge => "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt",
            Self::Byclass => "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            Self::Letters => "abcdefghijklmnopqrstuvwxyz",
            Self::Digits | Self::Mnist => "0123456789",
        }
    }

    /// The label of the first class.
    fn first_label(self) -> u8 {
        u8::from(self == Self::Letters)
    }
}

impl Default for EmnistConfig {
    fn default() -> Self {
        Self { path: None, split: EmnistSplit::default(), verify: true }
    }
}

const PUBLISHED: Published = Published {
    name: "EMNIST",
    from: "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/gzip.zip (described at \
           https://www.nist.gov/itl/products-and-services/emnist-dataset)",
    or: None,
    files: &[Known {
        name: "gzip.zip",
        size: 561_753_746,
        sha256: "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
    }],
};

/// The side of the box that the letters were fitted into: two pixels less than the image on each side.
const BOX: usize = 24;

impl EmnistConfig {
    fn files(&self) -> [String; 4] {
        let split = self.split.name();
        [("train", "images-idx3"), ("train", "labels-idx1"), ("test", "images-idx3"), ("test", "labels-idx1")]
            .map(|(part, what)| format!("emnist-{split}-{part}-{what}-ubyte"))
    }
}

impl Check for EmnistConfig {
    fn check(&self, problems: &mut Problems) {
        if let Some(path) = &self.path {
            path.check("path", problems);
        }
    }
}

impl Source for EmnistConfig {
    /// The files hold every image with rows and columns exchanged.
    fn open(&self, _seed: u64) -> Result<Splits> {
        let path = self.path.clone().ok_or_else(|| PUBLISHED.not_given())?;
        let store = Store::open(&path, "`data.path` must be the archive gzip.zip, or a folder of what is in it")
            .map_err(|error| PUBLISHED.explain(error))?;
        let mut notices = Vec::new();
        let is_verified = self.verify && PUBLISHED.verify_archive(&store)?;
        if !is_verified {
            notices.push(PUBLISHED.unverified(self.verify));
        }
        let files = self.files();
        let parts = idx::read(&store, files.each_ref().map(String::as_str), &mut notices, &|_| Ok(()))
            .map_err(|error| PUBLISHED.explain(error))?;
        let [mut train, mut test] = parts;
        for part in [&mut train, &mut test] {
            part.transpose();
            part.renumber(self.split.first_label())?;
        }
        let names: Vec<String> = self.split.classes().chars().map(String::from).collect();
        Ok(Splits { notices, ..file::splits(train, test, Some(&names))? })
    }

    fn fit(&self, _shape: ImageShape) -> Fit {
        Fit::Digit { box_size: BOX }
    }

    #[cfg(test)]
    fn example(folder: &std::path::Path) -> Self {
        let config = Self { path: Some(folder.into()), split: EmnistSplit::Digits, verify: false };
        let files = config.files();
        super::tests::published::write_idx(folder, files.each_ref().map(String::as_str), 10, 2);
        config
    }
}
