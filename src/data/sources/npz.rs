//! NumPy's arrays: one .npz file as MedMNIST's and Keras's are, or a folder of .npz and .npy files as K49's.

use std::sync::Arc;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::idx::FitConfig;
use super::npy::NpyArray;
use super::store::{Store, all};
use super::{LARGEST_SIDE, SMALLEST_SIDE, Source, Splits, check_names, check_test_share, named, pictures};
use crate::check::{Check, Problems};
use crate::data::preprocess::Fit;
use crate::data::{DataPath, ImageSet, ImageShape};
use crate::{Error, Result};

/// NumPy arrays of images and labels: an .npz file, such as those of MedMNIST, or a folder of .npz and .npy files, such as
/// K49's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NpzConfig {
    /// The .npz file, or the folder of .npz and .npy files. Arrays are recognised by their names and those of their files:
    /// `train`, `val` and `test` with `images` (`imgs`, `x`) and `labels` (`y`). Images are [images, rows, columns], or have
    /// 1 or 3 channels in front or at the end.
    pub path: DataPath,
    /// The array of the training images, where its name does not say so: `name`, or in a folder `file/name`.
    #[serde(default)]
    pub train_images: Option<String>,
    /// The array of the training labels: whole numbers from 0.
    #[serde(default)]
    pub train_labels: Option<String>,
    /// The array of the validation images; these take the place of `data.validation`.
    #[serde(default)]
    pub val_images: Option<String>,
    /// The array of the validation labels.
    #[serde(default)]
    pub val_labels: Option<String>,
    /// The array of the test images.
    #[serde(default)]
    pub test_images: Option<String>,
    /// The array of the test labels.
    #[serde(default)]
    pub test_labels: Option<String>,
    /// The share of each class that is kept for testing where there are no test images. Which images these are depends on
    /// their pixels alone.
    #[serde(default = "super::a_fifth")]
    pub test: f64,
    /// The names of the classes in the order of their labels; unset: their numbers.
    #[serde(default)]
    pub classes: Option<Vec<String>>,
    /// How `predict` brings a picture of any size to the images' size: `digit` for handwriting, white on black like
    /// MNIST; `resize` for everything else.
    #[serde(default)]
    pub fit: FitConfig,
}

const LAYOUT: &str = "`data.path` must be an .npz file, or a folder of .npz and .npy files";

impl Check for NpzConfig {
    fn check(&self, problems: &mut Problems) {
        self.path.check("path", problems);
        check_test_share(self.test, problems);
        check_names(self.classes.as_deref(), problems);
    }
}

/// The parts of a set, in the order of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Train,
    Validation,
    Test,
}

impl Part {
    const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// What it is called in keys.
    fn key(self) -> &'static str {
        ["train", "val", "test"][self as usize]
    }
}

/// An array where it lies.
struct Found {
    /// How a config names it.
    name: String,
    /// Which of the stores it is in, and its path there.
    place: (usize, String),
}

impl Source for NpzConfig {
    fn open(&self, _seed: u64) -> Result<Splits> {
        let (stores, arrays) = self.look()?;
        let parts = self.choose(&arrays)?;
        let read = |pair: &[usize; 2]| {
            let [images, labels] = pair.map(|array| {
                let (store, path) = &arrays[array].place;
                let mut files = stores[*store].read(&[path])?;
                NpyArray::read(files.remove(0))
            });
            match (images, labels) {
                (Ok(images), Ok(labels)) => Pair::new(images, &labels),
                (images, labels) => Err(all::<()>([images.map(drop), labels.map(drop)])
                    .err()
                    .unwrap_or_else(|| Error::failed("an array was neither read nor refused"))),
            }
        };
        let mut parts = all(parts.iter().map(|pair| pair.as_ref().map(read).transpose()))?.into_iter();
        let mut next = || parts.next().flatten();
        let (train, validation, test) = (next(), next(), next());
        let train = train.ok_or_else(|| Error::failed("there are no training images"))?;
        self.splits(train, validation, test)
    }

    fn fit(&self, shape: ImageShape) -> Fit {
        match self.fit {
            FitConfig::Digit => Fit::digit(shape),
            FitConfig::Resize => Fit::Resize,
        }
    }

    #[cfg(test)]
    fn example(folder: &std::path::Path) -> Self {
        use super::npy::tests::npy;
        let pixels = |count: usize| (0..count * 75).map(|place| (place * 7 / 5) as u8).collect::<Vec<_>>();
        let labels = |count: u8| (0..count).map(|index| index % 3).collect::<Vec<_>>();
        let arrays = [
            ("train_images.npy", npy("|u1", "(9, 5, 5, 3)", &pixels(9))),
            ("train_labels.npy", npy("|u1", "(9, 1)", &labels(9))),
            ("test_images.npy", npy("|u1", "(3, 5, 5, 3)", &pixels(3))),
            ("test_labels.npy", npy("|u1", "(3, 1)", &labels(3))),
        ];
        std::fs::write(folder.join("set.npz"), super::tests::published::zip(&arrays)).unwrap();
        Self { fit: FitConfig::Digit, ..Self::new(folder.join("set.npz")) }
    }
}

impl NpzConfig {
    /// The defaults for the arrays at `path`.
    pub fn new(path: impl Into<DataPath>) -> Self {
        Self {
            path: path.into(),
            train_images: None,
            train_labels: None,
            val_images: None,
            val_labels: None,
            test_images: None,
            test_labels: None,
            test: super::a_fifth(),
            classes: None,
            fit: FitConfig::default(),
        }
    }

    /// All arrays at the path.
    fn look(&self) -> Result<(Vec<Store>, Vec<Found>)> {
        let store = Store::open(&self.path, LAYOUT)?;
        let without = |name: &str, ending: &str| name.strip_suffix(ending).map(str::to_owned);
        let mut arrays: Vec<Found> = store
            .names()
            .iter()
            .filter_map(|path| Some(Found { name: without(path, ".npy")?, place: (0, path.clone()) }))
            .collect();
        let files: Vec<String> = store.names().iter().filter(|name| name.ends_with(".npz")).cloned().collect();
        let mut stores = vec![store];
        if !stores[0].is_archive() {
            let opened = all(files.iter().map(|file| Store::open(&stores[0].shown(file).into(), LAYOUT)))?;
            for (file, opened) in files.iter().zip(opened) {
                let stem = without(file, ".npz").unwrap_or_default();
                let place = stores.len();
                arrays.extend(opened.names().iter().filter_map(|path| {
                    let name = format!("{stem}/{}", without(path, ".npy")?);
                    Some(Found { name, place: (place, path.clone()) })
                }));
                stores.push(opened);
            }
        }
        if arrays.is_empty() {
            return Err(Error::usage(format!(
                "`{}`: there is no NumPy array; there is {}",
                stores[0].root().display(),
                stores[0].holds()
            ))
            .tip(LAYOUT));
        }
        Ok((stores, arrays))
    }

    /// Images and labels of each part; none for a part that there is not.
    fn choose(&self, arrays: &[Found]) -> Result<[Option<[usize; 2]>; 3]> {
        let given = [
            [&self.train_images, &self.train_labels],
            [&self.val_images, &self.val_labels],
            [&self.test_images, &self.test_labels],
        ];
        let is_given = given.iter().flatten().any(|key| key.is_some());
        let mut problems = Vec::new();
        let mut chosen = [[None; 2]; 3];
        for part in Part::ALL {
            for (role, place) in chosen[part as usize].iter_mut().enumerate() {
                let key = format!("data.{}_{}", part.key(), ["images", "labels"][role]);
                *place = match given[part as usize][role] {
                    Some(name) => {
                        let found = arrays.iter().position(|array| array.name == *name);
                        if found.is_none() {
                            problems.push(format!("`{key}`: there is no array `{name}`"));
                        }
                        found
                    }
                    None => {
                        let matching: Vec<usize> = (0..arrays.len())
                            .filter(|array| meant(&arrays[*array].name) == Some((part, role)))
                            .collect();
                        if matching.len() > 1 {
                            let names: Vec<_> =
                                matching.iter().map(|array| format!("`{}`", arrays[*array].name)).collect();
                            problems.push(format!("`{key}`: {} may be meant", names.join(" or ")));
                        }
                        matching.first().copied()
                    }
                };
            }
            match chosen[part as usize] {
                [Some(_), None] => problems.push(format!("the {} images have no labels", part.key())),
                [None, Some(_)] => problems.push(format!("the {} labels have no images", part.key())),
                [None, None] if part == Part::Train && problems.is_empty() => {
                    problems.push("there are no arrays of training images and labels".into());
                }
                _ => {}
            }
        }
        if problems.is_empty() {
            return Ok(chosen.map(|pair| Some([pair[0]?, pair[1]?])));
        }
        let names: Vec<_> = arrays.iter().take(20).map(|array| array.name.as_str()).collect();
        let more = if is_given { "" } else { "; name them by `data.train_images`, `data.train_labels` and so on" };
        Err(Error::usage(problems.join("\n")).tip(format!("the arrays there are {}{more}", names.join(", "))))
    }

    fn splits(&self, mut train: Pair, validation: Option<Pair>, test: Option<Pair>) -> Result<Splits> {
        let others = [&validation, &test];
        for other in others.into_iter().flatten() {
            if other.shape != train.shape {
                return Err(Error::usage(format!(
                    "`{}`: images must be {} as in `{}`, got {}",
                    other.shown, train.shape, train.shown, other.shape
                ))
                .tip("all parts must have images of the same size"));
            }
        }
        let mut notices = std::mem::take(&mut train.notices);
        let most = |pair: &Pair| pair.labels.iter().max().map_or(0, |label| usize::from(*label) + 1);
        let classes = most(&train);
        if let Some(more) = others.into_iter().flatten().find(|pair| most(pair) > classes) {
            return Err(Error::usage(format!(
                "`{}`: labels must be 0 to {}, the classes of the training labels, got {}",
                more.shown,
                classes.saturating_sub(1),
                most(more) - 1
            ))
            .tip("all parts must use the same classes"));
        }
        let classes = named(classes.max(2), self.classes.as_deref())?;
        let has_test = test.is_some();
        let (train, test) = match test {
            Some(test) => (train.into_set(&classes)?, test.into_set(&classes)?),
            None => {
                let train = train.into_set(&classes)?;
                let digests: Vec<[u8; 32]> =
                    (0..train.len()).into_par_iter().map(|index| Sha256::digest(train.image(index)).into()).collect();
                let held_out = pictures::held_out_for_testing(&train.labels, &train.classes, &digests, self.test);
                notices.extend(held_out.1);
                crate::data::split::divide(train, &held_out.0)
            }
        };
        let validation = validation.map(|pair| pair.into_set(&classes)).transpose()?;
        Ok(Splits { validation, has_test, notices, ..Splits::new(train, test) })
    }
}

/// Of which part an array of this name is, and whether it holds its images (0) or its labels (1).
fn meant(name: &str) -> Option<(Part, usize)> {
    let lower = name.to_lowercase();
    let has =
        |words: &[&str]| lower.split(|letter: char| !letter.is_ascii_alphanumeric()).any(|word| words.contains(&word));
    let role =
        match (has(&["images", "imgs", "image", "img", "x"]), has(&["labels", "label", "y", "targets", "target"])) {
            (true, false) => 0,
            (false, true) => 1,
            _ => return None,
        };
    let part = match (has(&["val", "valid", "validation"]), has(&["test", "testing"])) {
        (true, false) => Part::Validation,
        (false, true) => Part::Test,
        (true, true) => return None,
        (false, false) => Part::Train,
    };
    Some((part, role))
}

/// Images with their labels.
struct Pair {
    shown: String,
    shape: ImageShape,
    pixels: Vec<u8>,
    labels: Vec<u16>,
    notices: Vec<String>,
}

impl Pair {
    fn new(images: NpyArray, labels: &NpyArray) -> Result<Self> {
        let (count, shape, order) = layout(&images)?;
        let shown = images.shown.clone();
        let targets = labels.labels()?;
        if targets.len() != count {
            return Err(Error::usage(format!(
                "`{}`: must hold one label for each of the {count} images in `{shown}`, got {}",
                labels.shown,
                targets.len()
            ))
            .tip("images and labels must come from the same set"));
        }
        let (mut pixels, notice) = images.into_pixels()?;
        if order == Order::ChannelsLast && shape.channels > 1 {
            pixels.par_chunks_exact_mut(shape.len()).for_each(|image| {
                let interleaved = image.to_vec();
                let plane = shape.height * shape.width;
                for (place, pixel) in interleaved.iter().enumerate() {
                    image[place % shape.channels * plane + place / shape.channels] = *pixel;
                }
            });
        }
        Ok(Self { shown, shape, pixels, labels: targets, notices: notice.into_iter().collect() })
    }

    fn into_set(self, classes: &Arc<[String]>) -> Result<ImageSet> {
        ImageSet::new(self.shape, self.pixels, self.labels, classes.clone())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    ChannelsFirst,
    ChannelsLast,
}

/// How many images an array holds, of which size, and where their channels are.
fn layout(array: &NpyArray) -> Result<(usize, ImageShape, Order)> {
    let refuse = |what: &str| {
        Err(Error::usage(format!("`{}`: {what}, got {}", array.shown, array.dimensions())).tip(
            "images must be [images, rows, columns], or with 1 or 3 channels [images, rows, columns, channels] or [images, \
             channels, rows, columns]: array.reshape(...)",
        ))
    };
    let (count, channels, height, width, order) = match array.shape[..] {
        [count, height, width] => (count, 1, height, width, Order::ChannelsFirst),
        [count, height, width, channels @ (1 | 3)] => (count, channels, height, width, Order::ChannelsLast),
        [count, channels @ (1 | 3), height, width] => (count, channels, height, width, Order::ChannelsFirst),
        _ => return refuse("must hold images"),
    };
    let allowed = SMALLEST_SIDE..=LARGEST_SIDE;
    if !allowed.contains(&height) || !allowed.contains(&width) {
        return refuse(&format!("images must have {SMALLEST_SIDE} to {LARGEST_SIDE} rows and columns"));
    }
    if count == 0 {
        return refuse("must hold at least 1 image");
    }
    Ok((count, ImageShape { channels, height, width }, order))
}
