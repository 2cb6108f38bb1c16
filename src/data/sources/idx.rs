//! Image sets from IDX files: MNIST's format, for any images in it. Everything a file claims is checked against what it
//! holds before memory is taken for it.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LARGEST_SIDE, LARGEST_SPLIT, Source, Splits};
use crate::check::{Check, Problems};
use crate::data::preprocess::Fit;
use crate::data::{DataPath, ImageSet, ImageShape};
use crate::{Error, Result};

/// Any four IDX files in one folder, plain or gzip-compressed, under MNIST's file names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IdxConfig {
    /// The folder that holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
    /// `t10k-labels-idx1-ubyte`, each plain or with `.gz`.
    pub path: DataPath,
    /// How `predict` brings a picture of any size to the images' size: `digit` for handwriting, white on black like
    /// MNIST; `resize` for everything else.
    #[serde(default)]
    pub fit: FitConfig,
}

/// How a picture of any size is brought to the size of the training images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FitConfig {
    /// Resized, aspect ignored, colours kept.
    #[default]
    Resize,
    /// Ink found, cropped, fitted into a box and centred, as MNIST was made.
    Digit,
}

/// A byte of deflate-compressed data unpacks to at most 1032 bytes (RFC 1951: 258 bytes from 2 bits).
const LARGEST_RATIO: u64 = 1032;

/// Images seldom compress to less than a hundredth. A compressed file that claims to is believed up to
/// [`LARGEST_UNPROVED`] bytes, so that a small file cannot fill the memory.
const PLAUSIBLE_RATIO: u64 = 100;

/// See [`PLAUSIBLE_RATIO`]: 1 GiB.
const LARGEST_UNPROVED: u64 = 1 << 30;

/// The four files of a set.
const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

impl Check for IdxConfig {
    fn check(&self, problems: &mut Problems) {
        self.path.check("path", problems);
    }
}

impl Source for IdxConfig {
    /// Reads the four files, each plain or with `.gz`; where both are there, the plain one, with a notice.
    fn open(&self, _seed: u64) -> Result<Splits> {
        let folder = self.path.absolute();
        let mut notices = Vec::new();
        let [a, b, c, d] = FILES.map(|name| self.find(&folder, name, &mut notices));
        let (train, test) = (Part::read(a?, b?)?, Part::read(c?, d?)?);
        if train.shape != test.shape {
            return Err(Error::usage(format!(
                "`{}`: images must be {} as in `{}`, got {}",
                test.images.display(),
                size(train.shape),
                train.images.display(),
                size(test.shape)
            ))
            .tip("training and test images must have the same size"));
        }
        let classes = count_classes(&train, &test)?;
        let classes: Arc<[String]> = (0..classes).map(|class| class.to_string()).collect();
        Ok(Splits { notices, ..Splits::new(train.into_set(&classes)?, test.into_set(&classes)?) })
    }

    fn fit(&self, shape: ImageShape) -> Fit {
        match self.fit {
            FitConfig::Digit => Fit::digit(shape),
            FitConfig::Resize => Fit::Resize,
        }
    }

    #[cfg(test)]
    fn example(folder: &Path) -> Self {
        super::tests::damaged::write_idx(folder);
        Self { path: folder.into(), fit: FitConfig::Digit }
    }
}

impl IdxConfig {
    /// Which file of `folder` to read for `name`.
    fn find(&self, folder: &Path, name: &str, notices: &mut Vec<String>) -> Result<PathBuf> {
        let (plain, packed) = (folder.join(name), folder.join(format!("{name}.gz")));
        match (plain.exists(), packed.exists()) {
            (true, true) => {
                notices.push(format!("`{}` is read, `{}` beside it is not", plain.display(), packed.display()));
                Ok(plain)
            }
            (true, false) => Ok(plain),
            (false, true) => Ok(packed),
            (false, false) => Err(self.missing(folder, &plain)),
        }
    }

    fn missing(&self, folder: &Path, plain: &Path) -> Error {
        let listing = match std::fs::read_dir(folder) {
            Err(error) => {
                let layout = "`data.path` must be a folder with four IDX files under MNIST's names";
                return self.path.unreadable(folder, error, layout);
            }
            Ok(entries) => entries,
        };
        let mut names: Vec<_> =
            listing.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        let found = match names.as_slice() {
            [] => "nothing".to_owned(),
            names if names.len() > 6 => format!("{} and {} more", names[..6].join(", "), names.len() - 6),
            names => names.join(", "),
        };
        Error::usage(format!("`{}`: no such file, nor with `.gz`", plain.display()))
            .tip(format!("the folder must hold {}, each plain or with `.gz`; it holds {found}", FILES.join(", ")))
    }
}

/// The two files of a split.
struct Part {
    images: PathBuf,
    labels: PathBuf,
    shape: ImageShape,
    pixels: Vec<u8>,
    targets: Vec<u8>,
}

impl Part {
    fn read(images: PathBuf, labels: PathBuf) -> Result<Self> {
        let ([count, height, width], pixels) = read_array::<3>(&images)?;
        let ([labelled], targets) = read_array::<1>(&labels)?;
        if count != labelled {
            return Err(Error::usage(format!(
                "`{}`: must hold one label for each of the {count} images in `{}`, got {labelled}",
                labels.display(),
                images.display()
            ))
            .tip("the two files come from different sets, or one was cut off when it was made"));
        }
        let shape = ImageShape { channels: 1, height: height as usize, width: width as usize };
        Ok(Self { images, labels, shape, pixels, targets })
    }

    fn into_set(self, classes: &Arc<[String]>) -> Result<ImageSet> {
        let labels = self.targets.into_iter().map(u16::from).collect();
        ImageSet::new(self.shape, self.pixels, labels, classes.clone())
    }
}

/// The classes are 0 up to the largest training label; each needs a training image, and the test has no others.
fn count_classes(train: &Part, test: &Part) -> Result<usize> {
    let classes = train.targets.iter().max().map_or(0, |label| usize::from(*label) + 1);
    let mut seen = [false; 256];
    for &label in &train.targets {
        seen[usize::from(label)] = true;
    }
    if let Some(class) = seen[..classes].iter().position(|seen| !seen) {
        return Err(Error::usage(format!(
            "`{}`: labels must be 0, 1, 2 and so on without a gap, got labels up to {} but no {class}",
            train.labels.display(),
            classes - 1
        ))
        .tip("renumber the labels from 0; every class needs at least one training image"));
    }
    if classes < 2 {
        return Err(Error::usage(format!(
            "`{}`: there must be at least 2 classes, got 1: every label is 0",
            train.labels.display()
        ))
        .tip("a classifier needs something to tell apart"));
    }
    if let Some((index, label)) = test.targets.iter().enumerate().find(|(_, label)| usize::from(**label) >= classes) {
        return Err(Error::usage(format!(
            "`{}`: labels must be 0 to {}, the classes of the training labels, got {label} at index {index}",
            test.labels.display(),
            classes - 1
        ))
        .tip("training and test labels must use the same classes"));
    }
    Ok(classes)
}

fn size(shape: ImageShape) -> String {
    format!("{} x {} pixels", shape.height, shape.width)
}

/// Reads an IDX file of unsigned bytes in `D` dimensions: its sizes and its content.
fn read_array<const D: usize>(path: &Path) -> Result<([u64; D], Vec<u8>)> {
    let fail = |error: std::io::Error| {
        Error::usage(format!("`{}`: cannot be read", path.display())).caused_by(error).tip(match path.extension() {
            Some(extension) if extension == "gz" => "check that it is a complete gzip file; download it again",
            _ => "check that it is a file and that you may read it",
        })
    };
    // Looked at before it is opened: opening a pipe would wait for its other end.
    let metadata = std::fs::metadata(path).map_err(fail)?;
    if !metadata.is_file() {
        return Err(Error::usage(format!("`{}`: must be a file, got a folder or a device", path.display()))
            .tip("point `data.path` at the folder that holds the four files themselves"));
    }
    let file = File::open(path).map_err(fail)?;
    let stored = metadata.len();
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    let header = 4 + 4 * D as u64;
    let mut reader: Box<dyn Read> =
        if packed { Box::new(MultiGzDecoder::new(BufReader::new(file))) } else { Box::new(file) };

    let mut start = Vec::new();
    reader.by_ref().take(header).read_to_end(&mut start).map_err(fail)?;
    let sizes = read_header::<D>(path, &start)?;
    let claimed = check_sizes(path, sizes)?;
    let at_most = if packed { stored.saturating_mul(LARGEST_RATIO) } else { stored };
    if header + claimed > at_most {
        let found = at_most.saturating_sub(header);
        let found = if packed { format!("at most {found}") } else { found.to_string() };
        return Err(wrong_length(path, sizes, claimed, &found));
    }
    if packed && claimed > LARGEST_UNPROVED.max(stored.saturating_mul(PLAUSIBLE_RATIO)) {
        return Err(Error::usage(format!(
            "`{}`: a compressed file of {stored} bytes may unpack to at most 1 GiB or {PLAUSIBLE_RATIO} times its size, \
             its header claims {claimed} bytes",
            path.display()
        ))
        .tip("if it really holds that many, unpack it with gunzip"));
    }
    let mut content = Vec::new();
    let known = if packed { 0 } else { claimed };
    content.try_reserve_exact(known as usize).map_err(|error| fail(std::io::Error::other(error)))?;
    // One byte more than claimed: it tells trailing bytes, and makes gzip check its own sum at the end.
    reader.take(claimed + 1).read_to_end(&mut content).map_err(fail)?;
    if content.len() as u64 != claimed {
        let more = content.len() as u64 > claimed;
        let got = if more { format!("more than {claimed}") } else { content.len().to_string() };
        return Err(wrong_length(path, sizes, claimed, &got));
    }
    Ok((sizes, content))
}

fn read_header<const D: usize>(path: &Path, start: &[u8]) -> Result<[u64; D]> {
    let wanted = 0x0800 | D as u32;
    let numbers: Vec<u32> =
        start.chunks_exact(4).map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect();
    let content = if D == 1 { "labels: unsigned bytes, 1 dimension" } else { "images: unsigned bytes, 3 dimensions" };
    match numbers.first() {
        Some(&magic) if magic != wanted => Err(Error::usage(format!(
            "`{}`: must start with 0x{wanted:08x} ({content}), got 0x{magic:08x} ({})",
            path.display(),
            describe(magic)
        ))
        .tip(advise(magic))),
        _ if numbers.len() != D + 1 => Err(Error::usage(format!(
            "`{}`: must start with a header of {} bytes, got {} bytes in all",
            path.display(),
            4 + 4 * D,
            start.len()
        ))
        .tip("the file was cut off; copy or download it again")),
        _ => Ok(std::array::from_fn(|dimension| u64::from(numbers[dimension + 1]))),
    }
}

/// What the first four bytes of a file say about it.
fn describe(magic: u32) -> String {
    let [a, b, kind, dimensions] = magic.to_be_bytes();
    if [a, b] == [0x1f, 0x8b] {
        return "gzip-compressed".into();
    }
    let kind = match kind {
        0x08 => "unsigned bytes",
        0x09 => "signed bytes",
        0x0b => "16-bit integers",
        0x0c => "32-bit integers",
        0x0d => "32-bit floats",
        0x0e => "64-bit floats",
        _ => return "not IDX".into(),
    };
    if [a, b] == [0, 0] {
        format!("{kind}, {dimensions} dimension{}", if dimensions == 1 { "" } else { "s" })
    } else {
        "not IDX".into()
    }
}

fn advise(magic: u32) -> &'static str {
    match (describe(magic).as_str(), magic) {
        ("gzip-compressed", _) => "give its name the ending `.gz`",
        ("not IDX", _) => "this is no IDX file; copy or download it again",
        (_, 0x0801 | 0x0803) => "images and labels are swapped",
        _ => "kiln reads IDX images as [images, rows, columns] and labels as [images], both of unsigned bytes",
    }
}

/// Checks each size; returns the number of bytes that they claim.
fn check_sizes<const D: usize>(path: &Path, sizes: [u64; D]) -> Result<u64> {
    let fail = |message: String, tip: &str| Err(Error::usage(format!("`{}`: {message}", path.display())).tip(tip));
    if sizes[0] == 0 {
        let what = if D == 1 { "label" } else { "image" };
        return fail(format!("must hold at least 1 {what}, got 0"), "the file is empty; make it again");
    }
    for (name, side) in ["rows", "columns"].iter().zip(&sizes[1..]) {
        if !(1..=LARGEST_SIDE as u64).contains(side) {
            return fail(
                format!("images must have 1 to {LARGEST_SIDE} {name}, got {side}"),
                "the header is damaged, or the images must be made smaller",
            );
        }
    }
    // At most 2^32 images of 2^18 pixels: no overflow.
    let claimed = sizes.iter().product::<u64>();
    if claimed > LARGEST_SPLIT {
        return fail(
            format!("may hold at most {LARGEST_SPLIT} bytes, its header claims {claimed}"),
            "the header is damaged, or the set is too large for kiln, which keeps it in memory",
        );
    }
    Ok(claimed)
}

fn wrong_length<const D: usize>(path: &Path, sizes: [u64; D], claimed: u64, got: &str) -> Error {
    let shape = sizes.map(|size| size.to_string()).join(" x ");
    Error::usage(format!(
        "`{}`: must hold {claimed} bytes after its header, which says {shape}, got {got}",
        path.display()
    ))
    .tip("the file is damaged; copy or download it again")
}
