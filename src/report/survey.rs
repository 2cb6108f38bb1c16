//! What is in a data set, for people: as text here, its pictures for the page.

use std::fmt::Write as _;

use super::sheet::{LARGEST_SIDE, Picture, Sheet};
use super::terminal::shortened;
use super::thousands;
use crate::Result;
use crate::data::augment::{is_identity, words};
use crate::data::examples::{Examples, examples};
use crate::data::survey::{Duplicates, FilesFound, Part, Place, Survey, Surveyed};
use crate::data::{AugmentConfig, ImageSet, ImageShape};

/// Classes whose pictures a page shows.
const CLASSES: usize = 100;

/// Epochs whose distortions a page shows.
const EPOCHS: usize = 3;

/// Groups of duplicates that a page shows.
const DUPLICATES: usize = 24;

/// Bytes of uncompressed pictures on a page.
const BYTES: usize = 2_000_000;

/// Lines of the text in which one kind of thing is listed before the rest is only counted.
const LISTED: usize = 5;

/// The pictures of a data set's page.
#[derive(Clone, Debug)]
pub struct SurveySheets {
    pub(super) classes: Vec<ClassSheet>,
    /// What distorts them, in words.
    pub(super) augmentation: Vec<String>,
    /// One picture for each of the first groups of duplicates.
    pub(super) duplicates: Option<Sheet>,
}

/// Some pictures of one class, as they are and then as each of some epochs sees them.
#[derive(Clone, Debug)]
pub(super) struct ClassSheet {
    pub(super) class: usize,
    pub(super) images: Vec<usize>,
    /// Epochs that distort them.
    pub(super) epochs: usize,
    /// The images as they are, then those of each epoch.
    pub(super) sheet: Sheet,
}

impl SurveySheets {
    /// The pictures of a data set of which an experiment with this `augment` and `seed` would learn.
    ///
    /// # Errors
    /// When a picture cannot be made.
    pub fn new(surveyed: &Surveyed, augment: &[AugmentConfig], seed: u64) -> Result<Self> {
        let train = &surveyed.sets[Part::Train as usize];
        let classes = train.classes.len().min(CLASSES);
        let rows = if is_identity(augment) { 1 } else { 1 + EPOCHS };
        let (most, side) = fitting(classes * rows, train.shape);
        let sheet = |found: Examples| class_sheet(train, found, side).transpose();
        Ok(Self {
            classes: examples(train, augment, seed, (classes, most, EPOCHS))
                .into_iter()
                .filter_map(sheet)
                .collect::<Result<_>>()?,
            augmentation: words(augment),
            duplicates: duplicates(surveyed)?,
        })
    }
}

/// How many pictures each of `rows` rows may have, and how large.
fn fitting(rows: usize, shape: ImageShape) -> (usize, usize) {
    let fits = |most: usize, side: usize| {
        let factor = shape.width.max(shape.height).div_ceil(side);
        let bytes = shape.width.div_ceil(factor) * shape.height.div_ceil(factor) * shape.channels;
        rows * most * bytes <= BYTES
    };
    let choices = [LARGEST_SIDE, 32, 16].into_iter().flat_map(|side| [12, 10, 8, 6, 4].map(|most| (most, side)));
    choices.into_iter().find(|(most, side)| fits(*most, *side)).unwrap_or((2, 16))
}

fn class_sheet(train: &ImageSet, found: Examples, side: usize) -> Result<Option<ClassSheet>> {
    let picture = |pixels: &[u8]| Picture::of_image(pixels, train.shape).shrunk(side);
    let as_they_are = found.images.iter().map(|image| picture(train.image(*image)));
    let distorted = found.distorted.iter().flatten().map(|pixels| picture(pixels));
    let sheet = Sheet::new(&as_they_are.chain(distorted).collect::<Vec<_>>())?;
    Ok(sheet.map(|sheet| ClassSheet { class: found.class, images: found.images, epochs: found.distorted.len(), sheet }))
}

fn duplicates(surveyed: &Surveyed) -> Result<Option<Sheet>> {
    let shown = surveyed.survey.duplicates.iter().take(DUPLICATES);
    let picture = |found: &Duplicates| {
        let set = &surveyed.sets[found.places[0].part as usize];
        Picture::of_image(set.image(found.places[0].index), set.shape).shrunk(LARGEST_SIDE)
    };
    Sheet::new(&shown.map(picture).collect::<Vec<_>>())
}

/// The survey as text: the counts in a table, then what else was found.
pub fn survey(survey: &Survey) -> String {
    let mut text = format!(
        "{}: {} images of {} (channels x height x width), {} classes\n\n",
        survey.kind,
        thousands(survey.parts.iter().map(|part| part.images as u64).sum::<u64>()),
        survey.shape,
        survey.classes.len()
    );
    counts(survey, &mut text);
    let _ = write!(text, "\n\n{:<12} {}", "pixels", pixels(survey));
    if let Some(files) = &survey.files {
        let _ = write!(text, "\n{:<12} {}", "files", files_found(files));
    }
    let _ = write!(text, "\n{:<12} {}", "duplicates", duplicates_found(survey));
    for found in survey.duplicates.iter().filter(|found| found.leak || found.contradiction).take(LISTED) {
        let _ = write!(text, "\n{:<12} {}", "", same(survey, found));
    }
    for (place, found) in survey.unreadable.files.iter().take(LISTED).enumerate() {
        let _ = write!(text, "\n{:<12} {found}", if place == 0 { "unreadable" } else { "" });
    }
    if survey.unreadable.files.len() > LISTED {
        let _ = write!(text, "\n{:<12} and {} more", "", survey.unreadable.files.len() - LISTED);
    }
    text
}

/// A row for each class; of very many classes, the largest and the smallest.
fn counts(survey: &Survey, text: &mut String) {
    let names: Vec<String> = survey.classes.iter().map(|name| shortened(name, 28)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(5);
    let _ =
        write!(text, "{:<width$}  {:>9}  {:>10}  {:>7}  share of training", "class", "training", "validation", "test");
    let [train, validation, test] = &survey.parts;
    let most = train.classes.iter().max().copied().unwrap_or(0).max(1);
    let (shown, hidden) = listed_classes(&train.classes);
    for class in shown {
        let images = train.classes[class];
        let bar = "█".repeat((images * 20).div_ceil(most));
        let _ = write!(
            text,
            "\n{:<width$}  {:>9}  {:>10}  {:>7}  {:>5.1} % {bar}",
            names[class],
            thousands(images as u64),
            thousands(validation.classes[class] as u64),
            thousands(test.classes[class] as u64),
            100.0 * images as f64 / train.images.max(1) as f64
        );
    }
    if hidden > 0 {
        let _ = write!(text, "\n{hidden} classes between them are not shown; --json has all");
    }
    let _ = write!(
        text,
        "\n{:<width$}  {:>9}  {:>10}  {:>7}",
        "all",
        thousands(train.images as u64),
        thousands(validation.images as u64),
        thousands(test.images as u64)
    );
    if let Some(imbalance) = survey.imbalance {
        let _ = write!(text, "  largest to smallest {imbalance:.1} to 1");
    }
}

/// The classes that a table shows: all of up to 40, else the 15 largest and the 15 smallest; and how many it hides.
fn listed_classes(counts: &[usize]) -> (Vec<usize>, usize) {
    if counts.len() <= 40 {
        return ((0..counts.len()).collect(), 0);
    }
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by_key(|class| std::cmp::Reverse(counts[*class]));
    let smallest = order.split_off(order.len() - 15);
    let hidden = order.split_off(15).len();
    order.extend(smallest);
    (order, hidden)
}

/// Mean and standard deviation of the training pixels.
pub(super) fn pixels(survey: &Survey) -> String {
    let list = |values: &[f32]| values.iter().map(|value| format!("{value:.4}")).collect::<Vec<_>>().join(", ");
    let channels = if survey.mean.len() > 1 { " (red, green, blue)" } else { "" };
    format!(
        "mean {}, standard deviation {}{channels}, where 0 is black and 1 is white",
        list(&survey.mean),
        list(&survey.std)
    )
}

/// The sizes and colours of the files.
pub(super) fn files_found(files: &FilesFound) -> String {
    let mut sizes: Vec<String> = files
        .sizes
        .iter()
        .take(LISTED)
        .map(|(width, height, count)| format!("{width}x{height} ({})", thousands(*count as u64)))
        .collect();
    if files.sizes.len() > LISTED {
        sizes.push(format!("{} other sizes", files.sizes.len() - LISTED));
    }
    let colours = files.colours.iter().map(|(colour, count)| format!("{colour} ({})", thousands(*count as u64)));
    format!("{}; {}", sizes.join(", "), colours.collect::<Vec<_>>().join(", "))
}

/// How many duplicates there are, in a sentence.
pub(super) fn duplicates_found(survey: &Survey) -> String {
    if survey.duplicates.is_empty() {
        return "none: no two images are the same pixel for pixel".into();
    }
    let images: usize = survey.duplicates.iter().map(|found| found.places.len()).sum();
    let leaks = survey.duplicates.iter().filter(|found| found.leak).count();
    let contradictions = survey.duplicates.iter().filter(|found| found.contradiction).count();
    format!(
        "pictures that occur more than once: {} ({} images); both learned from and held out or tested on: {leaks}; with \
         several labels: {contradictions}",
        thousands(survey.duplicates.len() as u64),
        thousands(images as u64)
    )
}

/// Where the same picture is.
pub(super) fn same(survey: &Survey, found: &Duplicates) -> String {
    let mut places: Vec<String> = found.places.iter().take(4).map(|place| named(survey, place)).collect();
    if found.places.len() > 4 {
        places.push(format!("{} more", found.places.len() - 4));
    }
    places.join(" = ")
}

/// An image by its place, its label and its file.
fn named(survey: &Survey, place: &Place) -> String {
    let label = shortened(&survey.classes[place.label], 28);
    let image = format!("{} image {} ({label})", place.part.name(), place.index);
    place.file.as_ref().map_or_else(|| image.clone(), |file| format!("{image} {file}"))
}
