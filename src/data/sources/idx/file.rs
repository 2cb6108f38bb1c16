//! The IDX format: MNIST's files. Everything a file claims is checked against what it holds before memory is taken for it.

use std::io::Read;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use crate::data::sources::store::{LARGEST_RATIO, LARGEST_UNPROVED, PLAUSIBLE_RATIO, Stored};
use crate::data::sources::{LARGEST_SIDE, LARGEST_SPLIT, Splits, named};
use crate::data::{ImageSet, ImageShape};
use crate::{Error, Result};

/// The content of an IDX file of unsigned bytes in `D` dimensions.
pub(in crate::data::sources) struct Array<const D: usize> {
    /// The file, for messages.
    pub(in crate::data::sources) shown: String,
    /// The sizes that its header claims, and that hold.
    pub(in crate::data::sources) sizes: [u64; D],
    /// What follows the header.
    pub(in crate::data::sources) content: Vec<u8>,
}

impl<const D: usize> Array<D> {
    /// Reads a file that is plain, or compressed if its name says so.
    ///
    /// # Errors
    /// A usage error when it is no such file, or is damaged.
    pub(in crate::data::sources) fn read(file: Stored) -> Result<Self> {
        if file.is_packed() {
            return Self::unpack(&file);
        }
        let Stored { shown, mut bytes } = file;
        let header = bytes.len().min(header_size::<D>() as usize);
        let sizes = read_header::<D>(&shown, &bytes[..header])?;
        let claimed = check_sizes(&shown, sizes)?;
        bytes.drain(..header);
        if bytes.len() as u64 != claimed {
            let more = bytes.len() as u64 > claimed;
            let got = if more { format!("more than {claimed}") } else { bytes.len().to_string() };
            return Err(wrong_length(&shown, sizes, claimed, &got));
        }
        Ok(Self { shown, sizes, content: bytes })
    }

    fn unpack(file: &Stored) -> Result<Self> {
        let (shown, stored) = (&file.shown, file.bytes.len() as u64);
        let fail = |error: std::io::Error| {
            Error::usage(format!("`{shown}`: cannot be read"))
                .caused_by(error)
                .tip("check that it is a complete gzip file; download it again")
        };
        let mut reader = MultiGzDecoder::new(&file.bytes[..]);
        let mut start = Vec::new();
        reader.by_ref().take(header_size::<D>()).read_to_end(&mut start).map_err(fail)?;
        let sizes = read_header::<D>(shown, &start)?;
        let claimed = check_sizes(shown, sizes)?;
        let at_most = stored.saturating_mul(LARGEST_RATIO);
        if header_size::<D>() + claimed > at_most {
            let found = at_most.saturating_sub(header_size::<D>());
            return Err(wrong_length(shown, sizes, claimed, &format!("at most {found}")));
        }
        if claimed > LARGEST_UNPROVED.max(stored.saturating_mul(PLAUSIBLE_RATIO)) {
            return Err(Error::usage(format!(
                "`{shown}`: a compressed file of {stored} bytes may unpack to at most 1 GiB or {PLAUSIBLE_RATIO} times its \
                 size, its header claims {claimed} bytes"
            ))
            .tip("if it really holds that many, unpack it with gunzip"));
        }
        let mut content = Vec::new();
        // One byte more than claimed: it tells trailing bytes, and makes gzip check its own sum at the end.
        reader.take(claimed + 1).read_to_end(&mut content).map_err(fail)?;
        if content.len() as u64 != claimed {
            let more = content.len() as u64 > claimed;
            let got = if more { format!("more than {claimed}") } else { content.len().to_string() };
            return Err(wrong_length(shown, sizes, claimed, &got));
        }
        Ok(Self { shown: shown.clone(), sizes, content })
    }

    /// SHA-256 of the file as it is when it is not compressed.
    pub(in crate::data::sources) fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        hash.update((0x0800_u32 | D as u32).to_be_bytes());
        // The sizes were read from 32 bits each.
        self.sizes.iter().for_each(|size| hash.update((*size as u32).to_be_bytes()));
        hash.update(&self.content);
        hex::encode(hash.finalize())
    }
}

/// Images and their labels.
pub(in crate::data::sources) struct Part {
    images: Array<3>,
    labels: Array<1>,
}

impl Part {
    /// # Errors
    /// A usage error when there is not one label for each image.
    pub(in crate::data::sources) fn new(images: Array<3>, labels: Array<1>) -> Result<Self> {
        let ([count, ..], [labelled]) = (images.sizes, labels.sizes);
        if count != labelled {
            return Err(Error::usage(format!(
                "`{}`: must hold one label for each of the {count} images in `{}`, got {labelled}",
                labels.shown, images.shown
            ))
            .tip("the two files come from different sets, or one was cut off when it was made"));
        }
        Ok(Self { images, labels })
    }

    /// Exchanges rows and columns of every image.
    pub(in crate::data::sources) fn transpose(&mut self) {
        let [_, height, width] = self.images.sizes.map(|size| size as usize);
        let mut turned = vec![0; height * width];
        for image in self.images.content.chunks_exact_mut(height * width) {
            for (place, pixel) in image.iter().enumerate() {
                turned[place % width * height + place / width] = *pixel;
            }
            image.copy_from_slice(&turned);
        }
        self.images.sizes.swap(1, 2);
    }

    /// Makes labels that begin with `first` begin with 0.
    ///
    /// # Errors
    /// A usage error when one is smaller.
    pub(in crate::data::sources) fn renumber(&mut self, first: u8) -> Result<()> {
        if let Some(index) = self.labels.content.iter().position(|label| *label < first) {
            return Err(Error::usage(format!(
                "`{}`: labels must be at least {first}, got {} at index {index}",
                self.labels.shown, self.labels.content[index]
            ))
            .tip("the file is damaged or of another set; copy or download it again"));
        }
        self.labels.content.iter_mut().for_each(|label| *label -= first);
        Ok(())
    }

    fn shape(&self) -> ImageShape {
        let [_, height, width] = self.images.sizes;
        ImageShape { channels: 1, height: height as usize, width: width as usize }
    }

    fn into_set(self, classes: &Arc<[String]>) -> Result<ImageSet> {
        let shape = self.shape();
        let labels = self.labels.content.into_iter().map(u16::from).collect();
        ImageSet::new(shape, self.images.content, labels, classes.clone())
    }
}

/// Puts both parts together. The classes are called `names`, or by their numbers.
///
/// # Errors
/// A usage error when the parts contradict each other or the names.
pub(in crate::data::sources) fn splits(train: Part, test: Part, names: Option<&[String]>) -> Result<Splits> {
    if train.shape() != test.shape() {
        return Err(Error::usage(format!(
            "`{}`: images must be {} as in `{}`, got {}",
            test.images.shown,
            size(train.shape()),
            train.images.shown,
            size(test.shape())
        ))
        .tip("training and test images must have the same size"));
    }
    let classes = named(count_classes(&train, &test)?, names)?;
    Ok(Splits::new(train.into_set(&classes)?, test.into_set(&classes)?))
}

/// The classes are 0 up to the largest training label; each needs a training image, and the test has no others.
fn count_classes(train: &Part, test: &Part) -> Result<usize> {
    let targets = &train.labels.content;
    let classes = targets.iter().max().map_or(0, |label| usize::from(*label) + 1);
    let mut seen = [false; 256];
    for &label in targets {
        seen[usize::from(label)] = true;
    }
    if let Some(class) = seen[..classes].iter().position(|seen| !seen) {
        return Err(Error::usage(format!(
            "`{}`: labels must be 0, 1, 2 and so on without a gap, got labels up to {} but no {class}",
            train.labels.shown,
            classes - 1
        ))
        .tip("renumber the labels from 0; every class needs at least one training image"));
    }
    if classes < 2 {
        return Err(Error::usage(format!(
            "`{}`: there must be at least 2 classes, got 1: every label is 0",
            train.labels.shown
        ))
        .tip("a classifier needs something to tell apart"));
    }
    let mut others = test.labels.content.iter().enumerate();
    if let Some((index, label)) = others.find(|(_, label)| usize::from(**label) >= classes) {
        return Err(Error::usage(format!(
            "`{}`: labels must be 0 to {}, the classes of the training labels, got {label} at index {index}",
            test.labels.shown,
            classes - 1
        ))
        .tip("training and test labels must use the same classes"));
    }
    Ok(classes)
}

fn size(shape: ImageShape) -> String {
    format!("{} x {} pixels", shape.height, shape.width)
}

fn header_size<const D: usize>() -> u64 {
    4 + 4 * D as u64
}

fn read_header<const D: usize>(shown: &str, start: &[u8]) -> Result<[u64; D]> {
    let wanted = 0x0800 | D as u32;
    let numbers: Vec<u32> =
        start.chunks_exact(4).map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect();
    let content = if D == 1 { "labels: unsigned bytes, 1 dimension" } else { "images: unsigned bytes, 3 dimensions" };
    match numbers.first() {
        Some(&magic) if magic != wanted => Err(Error::usage(format!(
            "`{}`: must start with 0x{wanted:08x} ({content}), got 0x{magic:08x} ({})",
            shown,
            describe(magic)
        ))
        .tip(advise(magic))),
        _ if numbers.len() != D + 1 => Err(Error::usage(format!(
            "`{}`: must start with a header of {} bytes, got {} bytes in all",
            shown,
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
fn check_sizes<const D: usize>(shown: &str, sizes: [u64; D]) -> Result<u64> {
    let fail = |message: String, tip: &str| Err(Error::usage(format!("`{}`: {message}", shown)).tip(tip));
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

fn wrong_length<const D: usize>(shown: &str, sizes: [u64; D], claimed: u64, got: &str) -> Error {
    let shape = sizes.map(|size| size.to_string()).join(" x ");
    Error::usage(format!("`{}`: must hold {claimed} bytes after its header, which says {shape}, got {got}", shown))
        .tip("the file is damaged; copy or download it again")
}
