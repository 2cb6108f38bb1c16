//! Where images come from. A data set of a new kind is one new file here and one line in the list below; `CONTRIBUTING.md`
//! shows one. The tests that walk the list then cover it.
//!
//! A source reads and checks; it knows nothing of validation or batches.

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::preprocess::Fit;
use super::{ImageSet, ImageShape};
use crate::check::{Check, Problems};
use crate::{Error, Result};

/// The largest height or width of an image in pixels: these are networks for small images.
pub(crate) const LARGEST_SIDE: usize = 512;

/// The smallest height or width of an image in pixels.
const SMALLEST_SIDE: usize = 4;

/// The most bytes of pixels in one split, 16 GiB: it all has to fit into memory.
const LARGEST_SPLIT: u64 = 16 << 30;

/// Unreadable files that are listed one by one before the rest is only counted.
const LISTED: usize = 5;

/// What a source delivers: its training and its test images, of one size and with the same classes.
pub(crate) struct Splits {
    /// The images to train on, before validation is held out.
    pub train: ImageSet,
    /// The images to choose by, for a source that has its own.
    pub validation: Option<ImageSet>,
    /// The images to test on.
    pub test: ImageSet,
    /// Whether the source has test images of its own, or took them out of those to train on.
    pub has_test: bool,
    /// Things the user must know.
    pub notices: Vec<String>,
    /// The files of the images, for a source that has one file for each.
    pub files: Files,
}

impl Splits {
    /// Images of which there is nothing more to say.
    pub fn new(train: ImageSet, test: ImageSet) -> Self {
        Self { train, validation: None, test, has_test: true, notices: Vec::new(), files: Files::default() }
    }
}

/// The files that a source found, one for each image. Empty for a source that keeps its images otherwise.
#[derive(Default)]
pub(crate) struct Files {
    /// Those of the training images, in their order.
    pub train: Vec<PictureFile>,
    /// Those of the validation images, for a source that has its own.
    pub validation: Vec<PictureFile>,
    /// Those of the test images.
    pub test: Vec<PictureFile>,
    /// What cannot be read as a picture; no image stands for it.
    pub unreadable: Unreadable,
}

impl Files {
    /// SHA-256 of the file of each training image.
    pub fn digests(&self) -> Vec<[u8; 32]> {
        self.train.iter().map(|file| file.digest).collect()
    }
}

/// Files that cannot be read as pictures.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Unreadable {
    /// Each file with the reason.
    #[serde(rename = "unreadable")]
    pub files: Vec<String>,
    /// What becomes of the data set.
    pub on_unreadable: OnUnreadable,
}

/// What becomes of a data set with files that cannot be read as pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnUnreadable {
    /// It is refused.
    #[default]
    Error,
    /// They are left out, and counted in `run.json`.
    Skip,
}

impl Unreadable {
    /// # Errors
    /// A usage error with the first few such files, unless they are to be skipped.
    pub fn check(&self) -> Result<()> {
        if self.files.is_empty() || self.on_unreadable == OnUnreadable::Skip {
            return Ok(());
        }
        Err(Error::usage(self.listed()).tip(
            "remove or replace what is no picture, or set `data.on_unreadable` to \"skip\": `kiln data` lists all of them",
        ))
    }

    /// What to say of files that are left out of a data set of which `read` were read.
    fn left_out(&self, read: usize) -> Option<String> {
        let (left_out, skip) = (self.files.len(), self.on_unreadable == OnUnreadable::Skip);
        (left_out > 0 && skip).then(|| {
            let all = read + left_out;
            format!(
                "left out, since they cannot be read as pictures: {left_out} of {all} files; `kiln data` lists them"
            )
        })
    }

    /// What training does about it, in words.
    pub fn consequence(&self) -> &'static str {
        match self.on_unreadable {
            OnUnreadable::Error => "training refuses this data set",
            OnUnreadable::Skip => "training leaves them out",
        }
    }

    /// The first few by name.
    fn listed(&self) -> String {
        let mut text = self.files[..self.files.len().min(LISTED)].join("\n");
        if self.files.len() > LISTED {
            text.push_str(&format!("\nand {} more", self.files.len() - LISTED));
        }
        text
    }
}

/// A picture as its file has it.
pub(crate) struct PictureFile {
    /// Where it is.
    pub path: PathBuf,
    /// Columns and rows.
    pub size: (u32, u32),
    /// How its pixels are kept.
    pub colour: &'static str,
    /// SHA-256 of its bytes.
    pub digest: [u8; 32],
}

/// A kind of data set. Implemented by its config: the keys that `[data]` has under its `kind`, with their limits as
/// [`Check`].
pub(crate) trait Source: Check {
    /// Reads all of it, and checks all that it reads.
    ///
    /// # Errors
    /// A usage error when the files are missing, damaged or contradict each other.
    fn open(&self, seed: u64) -> Result<Splits>;

    /// How a picture of any size is brought to the size of this source's images.
    fn fit(&self, _shape: ImageShape) -> Fit {
        Fit::Resize
    }

    /// A small data set of this kind for the tests; its files, if it has any, are written into `folder`, which exists.
    #[cfg(test)]
    fn example(folder: &std::path::Path) -> Self
    where
        Self: Sized;
}

/// Declares the sources. Each line `module: Variant(Config),` stands for a file `module.rs` with a type `Config` that
/// implements [`Source`]. The variant's name in snake case, which must be the module's, is the `data.kind`; the
/// documentation of `Config` says what it is, and `kiln config keys` shows it.
macro_rules! sources {
    ($($module:ident: $variant:ident($config:ident),)+) => {
        $(mod $module;)+
        $(pub use $module::$config;)+

        /// `data.kind` and the keys that belong to it.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        #[allow(missing_docs, reason = "the configuration of a kind says what it is")]
        pub enum SourceConfig {
            $($variant($config),)+
        }

        impl SourceConfig {
            /// The value of `data.kind`.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => stringify!($module),)+
                }
            }

            /// The names of all kinds.
            #[cfg(test)]
            pub(crate) const KINDS: &[&str] = &[$(stringify!($module),)+];

            fn as_source(&self) -> &dyn Source {
                match self {
                    $(Self::$variant(config) => config,)+
                }
            }

            /// One small data set of every kind, with its files in the folder of that name in `folder`.
            #[cfg(test)]
            fn examples(folder: &std::path::Path) -> Vec<Self> {
                vec![$({
                    let folder = folder.join(stringify!($module));
                    std::fs::create_dir_all(&folder).unwrap();
                    Self::$variant($config::example(&folder))
                }),+]
            }
        }
    };
}

sources! {
    mnist: Mnist(MnistConfig),
    fashion_mnist: FashionMnist(FashionMnistConfig),
    kmnist: Kmnist(KmnistConfig),
    emnist: Emnist(EmnistConfig),
    cifar10: Cifar10(Cifar10Config),
    cifar100: Cifar100(Cifar100Config),
    idx: Idx(IdxConfig),
    npz: Npz(NpzConfig),
    folder: Folder(FolderConfig),
    csv: Csv(CsvConfig),
    synthetic: Synthetic(SyntheticConfig),
}

mod cifar;
mod npy;
mod pictures;
mod published;
mod store;

pub use cifar100::Cifar100Labels;
pub use emnist::EmnistSplit;
pub use idx::FitConfig;

impl SourceConfig {
    /// See [`Source::open`]; what is needed of every data set is checked here.
    pub(super) fn open(&self, seed: u64) -> Result<Splits> {
        let splits = self.look(seed)?;
        let Splits { train, test, files, .. } = &splits;
        files.unreadable.check()?;
        if let Some(class) = train.class_counts().iter().position(|count| *count == 0) {
            return Err(Error::usage(format!("class `{}` has no training image", train.classes[class]))
                .tip("every class needs at least one training image"));
        }
        if test.is_empty() {
            return Err(Error::usage("there is no test image").tip("a model is measured on at least one test image"));
        }
        Ok(splits)
    }

    /// [`open`](Self::open) of images that may be too few, of which some files may be unreadable.
    pub(super) fn look(&self, seed: u64) -> Result<Splits> {
        self.as_source().open(seed)
    }

    /// See [`Source::fit`].
    pub(super) fn fit(&self, shape: ImageShape) -> Fit {
        self.as_source().fit(shape)
    }
}

impl Check for SourceConfig {
    fn check(&self, problems: &mut Problems) {
        self.as_source().check(problems);
    }
}

/// Adds what is wrong with the keys `channels`, `height` and `width`.
fn check_shape(shape: ImageShape, problems: &mut Problems) {
    let ImageShape { channels, height, width } = shape;
    problems
        .require([1, 3].contains(&channels), "channels", || format!("must be 1 (grey) or 3 (colour), got {channels}"));
    for (key, side) in [("height", height), ("width", width)] {
        problems.require((SMALLEST_SIDE..=LARGEST_SIDE).contains(&side), key, || {
            format!("must be {SMALLEST_SIDE} to {LARGEST_SIDE}, got {side}")
        });
    }
}

/// Adds what is wrong with the key `test`, a share.
fn check_test_share(share: f64, problems: &mut Problems) {
    problems
        .require(share > 0.0 && share < 1.0, "test", || format!("must be a share above 0 and below 1, got {share}"));
}

/// Adds what is wrong with the key `classes`.
fn check_names(names: Option<&[String]>, problems: &mut Problems) {
    if let Some(names) = names {
        super::check_class_names(names, "classes", problems);
    }
}

/// The names of `count` classes: `names`, where they are given, else their numbers.
///
/// # Errors
/// A usage error when there are more or fewer names than classes.
fn named(count: usize, names: Option<&[String]>) -> Result<Arc<[String]>> {
    match names {
        None => Ok((0..count).map(|class| class.to_string()).collect()),
        Some(names) if names.len() == count => Ok(names.into()),
        Some(names) => Err(Error::usage(format!(
            "there are {count} classes, the training labels being 0 to {}, and {} names for them",
            count.saturating_sub(1),
            names.len()
        ))
        .tip("name every class, in the order of the labels")),
    }
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

fn yes() -> bool {
    true
}

/// Zeroed memory for the pixels of `images` images of `shape`.
///
/// # Errors
/// A usage error when there is not enough of it.
fn allocate(images: usize, shape: ImageShape) -> Result<Vec<u8>> {
    let refuse = |why: String| {
        Error::usage(format!("{images} images of {shape} are too many: {why}"))
            .tip("use fewer images, or smaller ones: kiln keeps all of them in memory")
    };
    let size = images.checked_mul(shape.len()).filter(|size| *size as u64 <= LARGEST_SPLIT);
    let size = size.ok_or_else(|| refuse(format!("at most {LARGEST_SPLIT} bytes are allowed")))?;
    let mut pixels = Vec::new();
    pixels.try_reserve_exact(size).map_err(|_| refuse(format!("there is no memory for {size} bytes")))?;
    pixels.resize(size, 0);
    Ok(pixels)
}

#[cfg(test)]
mod tests;
