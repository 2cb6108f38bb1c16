//! Files of pictures as a data set: decoded in parallel to one size, kept in a verified file of the user's cache folder where
//! there are many, and divided by their contents. Which files these are, others say.

mod cache;

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use self::cache::Cache;
use super::{Files, OnUnreadable, PictureFile, Splits, Unreadable, allocate};
use crate::Result;
use crate::data::{ImageSet, ImageShape, picture, progress, split};
use crate::seed::{Purpose, Stream};

/// The pictures of each class of a part, in the order of [`Found::names`].
pub(super) type Classes = Vec<Vec<PathBuf>>;

/// The files of a set, by part and class.
pub(super) struct Found {
    /// The names of the classes.
    pub(super) names: Vec<String>,
    /// Those to train on.
    pub(super) train: Classes,
    /// Those to choose by, where the set has its own.
    pub(super) validation: Option<Classes>,
    /// Those to test on, where the set has its own.
    pub(super) test: Option<Classes>,
    /// What is left out, in words.
    pub(super) notices: Vec<String>,
}

/// What is made of the files.
pub(super) struct Reading {
    /// The size that every picture is resized to.
    pub(super) shape: ImageShape,
    /// The share of each class that is kept for testing where the set has no test pictures.
    pub(super) test: f64,
    /// What becomes of a set with files that cannot be read.
    pub(super) on_unreadable: OnUnreadable,
    /// Whether what was decoded may be kept for the next time.
    pub(super) cache: bool,
}

/// One file of a set.
#[derive(Clone, Copy)]
struct Entry<'a> {
    part: usize,
    label: u16,
    path: &'a Path,
}

/// What a file turned out to be: a picture, or why it is none.
type Outcome = std::result::Result<Picture, String>;

/// A picture as its file has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Picture {
    /// SHA-256 of the file.
    digest: [u8; 32],
    /// Columns and rows.
    size: (u32, u32),
    /// How its pixels are kept: a place in [`picture::COLOURS`].
    colour: u8,
}

/// All files, decoded: the pixels of those that are pictures, one after another, and what each file is.
struct Decoded {
    pixels: Vec<u8>,
    outcomes: Vec<Outcome>,
    /// Whether all of it follows from the files: a disk that fails once may not fail again.
    is_lasting: bool,
}

/// Reads every picture that can be read.
///
/// # Errors
/// A usage error when there are more than memory holds.
pub(super) fn open(found: Found, reading: &Reading) -> Result<Splits> {
    let Found { names, train, validation, test, mut notices } = found;
    let names: Arc<[String]> = names.into();
    let (has_validation, has_test) = (validation.is_some(), test.is_some());
    let parts = [Some(train), validation, test].map(Option::unwrap_or_default);
    let entries: Vec<Entry<'_>> = parts
        .iter()
        .enumerate()
        .flat_map(|(part, classes)| classes.iter().enumerate().map(move |(label, files)| (part, label, files)))
        .flat_map(|(part, label, files)| {
            files.iter().map(move |path| Entry { part, label: label as u16, path: path.as_path() })
        })
        .collect();
    let Decoded { pixels, outcomes, .. } = decode(&entries, reading, &mut notices)?;
    let read: Vec<(Entry<'_>, Picture)> =
        entries.iter().zip(&outcomes).filter_map(|(entry, found)| Some((*entry, *found.as_ref().ok()?))).collect();
    let mut places: [Vec<usize>; 3] = std::array::from_fn(|_| Vec::new());
    read.iter().enumerate().for_each(|(place, (entry, _))| places[entry.part].push(place));
    if !has_test {
        let labels: Vec<u16> = places[0].iter().map(|place| read[*place].0.label).collect();
        let digests: Vec<[u8; 32]> = places[0].iter().map(|place| read[*place].1.digest).collect();
        let (held_out, notice) = held_out_for_testing(&labels, &names, &digests, reading.test);
        notices.extend(notice);
        for (place, held_out) in std::mem::take(&mut places[0]).into_iter().zip(held_out) {
            places[if held_out { 2 } else { 0 }].push(place);
        }
    }
    let shape = reading.shape;
    let labels = read.iter().map(|(entry, _)| entry.label).collect();
    let all = ImageSet::new(shape, pixels, labels, names)?;
    let validation_set = has_validation.then(|| all.select(&places[1]));
    let test_set = all.select(&places[2]);
    let mut is_training = vec![false; read.len()];
    places[0].iter().for_each(|place| is_training[*place] = true);
    let training_set = all.retain(|place| is_training[place]);
    let files = |places: &Vec<usize>| {
        let file = |place: &usize| {
            let (entry, picture) = &read[*place];
            PictureFile {
                path: entry.path.to_owned(),
                size: picture.size,
                colour: picture::COLOURS[usize::from(picture.colour)],
                digest: picture.digest,
            }
        };
        places.iter().map(file).collect()
    };
    let refused = |(entry, outcome): (&Entry<'_>, &Outcome)| {
        Some(format!("`{}`: {}", entry.path.display(), outcome.as_ref().err()?))
    };
    let unreadable = Unreadable {
        files: entries.iter().zip(&outcomes).filter_map(refused).collect(),
        on_unreadable: reading.on_unreadable,
    };
    notices.extend(unreadable.left_out(read.len()));
    let [train, validation, test] = &places;
    let files = Files { train: files(train), validation: files(validation), test: files(test), unreadable };
    Ok(Splits { files, validation: validation_set, has_test, notices, ..Splits::new(training_set, test_set) })
}

/// Which images are kept for testing, by the contents of their files alone, and what to say of classes of which none is.
pub(super) fn held_out_for_testing(
    labels: &[u16],
    names: &[String],
    digests: &[[u8; 32]],
    share: f64,
) -> (Vec<bool>, Option<String>) {
    let held_out = split::by_content(labels, names.len(), digests, share, Stream::new(0, Purpose::Test));
    let notice = split::without(labels, names, &held_out, "testing");
    (held_out, notice)
}

/// Decodes all of `entries`, or takes what was kept of them.
fn decode(entries: &[Entry<'_>], reading: &Reading, notices: &mut Vec<String>) -> Result<Decoded> {
    let paths: Vec<&Path> = entries.iter().map(|entry| entry.path).collect();
    let cache = if reading.cache { Cache::of(&paths, reading.shape) } else { None };
    if let Some(cache) = &cache {
        match cache.read(entries.len(), reading.shape) {
            Ok(Some(decoded)) => return Ok(decoded),
            Ok(None) => {}
            Err(fault) => notices.push(format!("{fault}; the pictures were decoded again")),
        }
    }
    let decoded = decode_all(&paths, reading.shape)?;
    if let Some(Err(error)) = cache.filter(|_| decoded.is_lasting).map(|cache| cache.write(&decoded)) {
        notices.push(format!("the decoded pictures cannot be kept for the next time: {error}"));
    }
    Ok(decoded)
}

fn decode_all(paths: &[&Path], shape: ImageShape) -> Result<Decoded> {
    let mut pixels = allocate(paths.len(), shape)?;
    let (done, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let outcomes: Vec<Outcome> = pixels
        .par_chunks_exact_mut(shape.len())
        .zip(paths)
        .map(|(out, path)| {
            let bytes = read_file(path).inspect_err(|_| failed.store(true, Ordering::Relaxed));
            let outcome = match bytes {
                Ok(bytes) => decode_into(&bytes, shape, out).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if done < paths.len() {
                progress::tell("reading pictures", done, paths.len());
            }
            outcome
        })
        .collect();
    // After all others, so that who listens knows that it is over.
    progress::tell("reading pictures", paths.len(), paths.len());
    let mut kept = 0;
    for (place, _) in outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_ok()) {
        // Images move up to where an unreadable one would have been.
        pixels.copy_within(place * shape.len()..(place + 1) * shape.len(), kept * shape.len());
        kept += 1;
    }
    pixels.truncate(kept * shape.len());
    Ok(Decoded { pixels, outcomes, is_lasting: !failed.into_inner() })
}

/// The bytes of a file, up to those that a picture may have.
fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(picture::MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes the picture to `out`, `[channels, height, width]`.
fn decode_into(bytes: &[u8], shape: ImageShape, out: &mut [u8]) -> Result<Picture> {
    let picture = picture::decode(bytes)?;
    out.copy_from_slice(&picture::resize(&picture, shape));
    Ok(Picture {
        digest: Sha256::digest(bytes).into(),
        size: (picture.width(), picture.height()),
        colour: picture::colour(&picture),
    })
}
