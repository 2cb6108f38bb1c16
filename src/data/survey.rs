//! What is in a data set, before anything is trained: counts, sizes, duplicates, files that cannot be read.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::sources::{PictureFile, Splits, Unreadable};
use super::split;
use super::{DataConfig, ImageSet, ImageShape, Preprocess};
use crate::Result;

/// A class is called rare when the largest has so many times its images.
const RARE: usize = 10;

/// A data set as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct Survey {
    /// `data.kind`.
    pub kind: &'static str,
    /// The classes by label.
    pub classes: Vec<String>,
    /// The size of every image.
    pub shape: ImageShape,
    /// Training, validation and test images.
    pub parts: [PartCounts; 3],
    /// Images of the largest class for each image of the smallest, among those to train on; absent when one has none.
    pub imbalance: Option<f64>,
    /// Mean of the training pixels per channel, in units of 0..=1.
    pub mean: Vec<f32>,
    /// Standard deviation of the training pixels per channel, in units of 0..=1.
    pub std: Vec<f32>,
    /// Which parts the source has of its own, in the order of [`parts`](Self::parts); the others are held out of the
    /// training images.
    pub has_own: [bool; 3],
    /// What the files were, for a source that has one for each image.
    pub files: Option<FilesFound>,
    /// Images that are the same pixel for pixel, those that matter most first.
    pub duplicates: Vec<Duplicates>,
    /// Images of which every pixel has the same colour.
    pub blank: Vec<Place>,
    /// What must be known before training.
    pub warnings: Vec<String>,
    /// Files that cannot be read as pictures, and whether training refuses the data set for them.
    #[serde(flatten)]
    pub unreadable: Unreadable,
}

/// The images of one part.
#[derive(Clone, Debug, Serialize)]
pub struct PartCounts {
    /// Which part.
    pub part: Part,
    /// All of them.
    pub images: usize,
    /// Those of each class, by label.
    pub classes: Vec<usize>,
}

/// One of the parts of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What the network learns from.
    Train,
    /// Held out of the training images to choose by.
    Validation,
    /// What the finished model is measured on.
    Test,
}

impl Part {
    /// All parts, in the order of [`Survey::parts`].
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// What its images are called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "training",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// An image's place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Place {
    /// Its part.
    pub part: Part,
    /// Its number within the part, from 0.
    pub index: usize,
    /// Its label.
    pub label: usize,
    /// Its file, where it has one.
    pub file: Option<String>,
}

/// Images that are the same pixel for pixel.
#[derive(Clone, Debug, Serialize)]
pub struct Duplicates {
    /// Where they are: training first.
    pub places: Vec<Place>,
    /// Whether one is learned from and another is chosen by or measured on.
    pub leak: bool,
    /// Whether their labels differ.
    pub contradiction: bool,
}

/// The sizes and colours of the files, each with the number of files, the most frequent first.
#[derive(Clone, Debug, Serialize)]
pub struct FilesFound {
    /// Columns, rows, files.
    pub sizes: Vec<(u32, u32, usize)>,
    /// How pixels are kept, files.
    pub colours: Vec<(&'static str, usize)>,
}

/// A survey and the images that it is of.
#[derive(Clone, Debug)]
pub struct Surveyed {
    /// What was found.
    pub survey: Survey,
    /// The images of each part, in the order of [`Part::ALL`].
    pub sets: [ImageSet; 3],
}

impl Surveyed {
    /// Reads the data set of `config` as training would, and goes on where training would refuse: files that are no
    /// pictures and validation images that are too many end up among the findings.
    ///
    /// # Errors
    /// A usage error when there are no images, or they contradict each other.
    pub fn open(config: &DataConfig, seed: u64) -> Result<Self> {
        let seed = config.seed_within(seed);
        let Splits { train, validation, test, has_test, notices, files } = config.source.look(seed)?;
        let mut warnings = notices;
        let has_own = [true, validation.is_some(), has_test];
        let all = |set: &ImageSet| (0..set.len()).collect::<Vec<_>>();
        let named = |places: &[usize], files: &[PictureFile]| -> Vec<Option<String>> {
            places.iter().map(|place| files.get(*place).map(|file| file.path.display().to_string())).collect()
        };
        let ([kept, held_out], sets, validation_files) = match validation {
            Some(own) => ([all(&train), all(&own)], [train, own, test], &files.validation),
            None => {
                let held = split::held_out(&train, &files.digests(), config.validation, seed, &mut warnings);
                let held = held.unwrap_or_else(|error| {
                    warnings.push(error.to_string());
                    vec![false; train.len()]
                });
                let (out, kept): (Vec<_>, Vec<_>) = (0..train.len()).partition(|index| held[*index]);
                let sets = [train.select(&kept), train.select(&out), test];
                ([kept, out], sets, &files.train)
            }
        };
        let names =
            [named(&kept, &files.train), named(&held_out, validation_files), named(&all(&sets[2]), &files.test)];
        let preprocess = Preprocess::from_training(&sets[0], config.source.fit(sets[0].shape));
        let parts = Part::ALL.map(|part| {
            let set = &sets[part as usize];
            PartCounts { part, images: set.len(), classes: set.class_counts() }
        });
        let place = |part: Part, index: usize| Place {
            part,
            index,
            label: sets[part as usize].label(index),
            file: names[part as usize][index].clone(),
        };
        let mut survey = Survey {
            kind: config.source.kind(),
            classes: sets[0].classes.to_vec(),
            shape: sets[0].shape,
            imbalance: imbalance(&parts[0].classes),
            parts,
            mean: preprocess.mean,
            std: preprocess.std,
            has_own,
            files: FilesFound::of(files.train.iter().chain(&files.validation).chain(&files.test)),
            duplicates: duplicates(&sets, place),
            blank: blank(&sets, place),
            warnings,
            unreadable: files.unreadable,
        };
        survey.warnings.extend(survey.concerns());
        Ok(Self { survey, sets })
    }
}

impl Survey {
    /// What in these figures makes results worse or wrong.
    fn concerns(&self) -> Vec<String> {
        let mut concerns = Vec::new();
        let in_part = |duplicates: &Duplicates, part: Part| duplicates.places.iter().filter(|p| p.part == part).count();
        let leaked = |part| self.duplicates.iter().filter(|found| found.leak).map(|found| in_part(found, part)).sum();
        for (part, what) in [(Part::Test, "the test accuracy"), (Part::Validation, "the choice of the best epoch")] {
            let images: usize = leaked(part);
            if images > 0 {
                concerns.push(format!(
                    "{} images that are also learned from: {images} of {}; {what} flatters the network",
                    part.name(),
                    self.parts[part as usize].images
                ));
            }
        }
        let contradictions = self.duplicates.iter().filter(|found| found.contradiction).count();
        if contradictions > 0 {
            concerns.push(format!(
                "pictures with more than one label: {contradictions}; no network can be right on all of them"
            ));
        }
        if !self.blank.is_empty() {
            concerns.push(format!("blank images, of one colour: {}", self.blank.len()));
        }
        for part in [Part::Train, Part::Test] {
            let counts = &self.parts[part as usize].classes;
            let missing: Vec<&str> =
                counts.iter().zip(&self.classes).filter(|(count, _)| **count == 0).map(|(_, name)| &**name).collect();
            if !missing.is_empty() {
                concerns.push(format!("there is no {} image of {}", part.name(), shortened(&missing)));
            }
        }
        let counts = &self.parts[0].classes;
        let most = counts.iter().max().copied().unwrap_or(0);
        let rare: Vec<&str> = counts
            .iter()
            .zip(&self.classes)
            .filter(|(count, _)| **count > 0 && **count * RARE <= most)
            .map(|(_, name)| &**name)
            .collect();
        if !rare.is_empty() {
            concerns.push(format!(
                "classes with at most a tenth of the images of the largest: {}; accuracy says little about them",
                shortened(&rare)
            ));
        }
        concerns
    }
}

/// The first few of `names`, and how many more there are.
fn shortened(names: &[&str]) -> String {
    let shown = names.iter().take(5).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > 5 { format!("{shown} and {} more", names.len() - 5) } else { shown }
}

fn imbalance(counts: &[usize]) -> Option<f64> {
    let (least, most) = (counts.iter().min()?, counts.iter().max()?);
    (*least > 0).then(|| *most as f64 / *least as f64)
}

impl FilesFound {
    fn of<'a>(files: impl Iterator<Item = &'a PictureFile>) -> Option<Self> {
        let (mut sizes, mut colours) = (BTreeMap::new(), BTreeMap::new());
        for file in files {
            *sizes.entry(file.size).or_insert(0) += 1;
            *colours.entry(file.colour).or_insert(0) += 1;
        }
        if sizes.is_empty() {
            return None;
        }
        let mut sizes: Vec<_> = sizes.into_iter().map(|((width, height), count)| (width, height, count)).collect();
        let mut colours: Vec<_> = colours.into_iter().collect();
        sizes.sort_by_key(|(.., count)| std::cmp::Reverse(*count));
        colours.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Some(Self { sizes, colours })
    }
}

/// Groups of equal images: leaks first, then contradictions, then the largest.
fn duplicates(sets: &[ImageSet; 3], place: impl Fn(Part, usize) -> Place) -> Vec<Duplicates> {
    let mut groups: HashMap<[u8; 32], Vec<(Part, usize)>> = HashMap::new();
    for part in Part::ALL {
        let set = &sets[part as usize];
        let digests: Vec<[u8; 32]> =
            (0..set.len()).into_par_iter().map(|index| Sha256::digest(set.image(index)).into()).collect();
        for (index, digest) in digests.into_iter().enumerate() {
            groups.entry(digest).or_default().push((part, index));
        }
    }
    let mut found: Vec<Duplicates> = groups
        .into_values()
        .filter(|members| members.len() > 1)
        .map(|members| {
            let places: Vec<Place> = members.into_iter().map(|(part, index)| place(part, index)).collect();
            let is_learned = places.iter().any(|place| place.part == Part::Train);
            Duplicates {
                leak: is_learned && places.iter().any(|place| place.part != Part::Train),
                contradiction: places.iter().any(|place| place.label != places[0].label),
                places,
            }
        })
        .collect();
    let order = |found: &Duplicates| {
        let first = &found.places[0];
        (!found.leak, !found.contradiction, std::cmp::Reverse(found.places.len()), first.part, first.index)
    };
    found.sort_by_key(order);
    found
}

fn blank(sets: &[ImageSet; 3], place: impl Fn(Part, usize) -> Place) -> Vec<Place> {
    let shape = sets[0].shape;
    let is_blank = |image: &[u8]| {
        let mut planes = image.chunks_exact(shape.height * shape.width);
        planes.all(|plane| plane.iter().all(|pixel| *pixel == plane[0]))
    };
    let images = Part::ALL.into_iter().flat_map(|part| (0..sets[part as usize].len()).map(move |index| (part, index)));
    images
        .filter(|(part, index)| is_blank(sets[*part as usize].image(*index)))
        .map(|(part, index)| place(part, index))
        .collect()
}

#[cfg(test)]
mod tests;
