//! Labelled images in memory, and what identifies them.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::ImageShape;
use crate::{Error, Result};

/// Labelled images of one size, in memory as bytes. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct ImageSet {
    /// All pixels, `[images, channels, height, width]`, 0..=255.
    pub pixels: Arc<Vec<u8>>,
    /// One label per image, each below `classes.len()`.
    pub labels: Arc<[u16]>,
    /// The classes by label.
    pub classes: Arc<[String]>,
    /// The size of each image.
    pub shape: ImageShape,
}

impl ImageSet {
    /// Puts the parts of a set together.
    ///
    /// # Errors
    /// When the pixels do not divide into one image per label, or a label has no class.
    pub fn new(shape: ImageShape, pixels: Vec<u8>, labels: Vec<u16>, classes: Arc<[String]>) -> Result<Self> {
        if pixels.len() != labels.len() * shape.len() {
            return Err(Error::failed(format!(
                "{} labels of {shape} images need {} pixels, got {}",
                labels.len(),
                labels.len() * shape.len(),
                pixels.len()
            )));
        }
        if let Some(label) = labels.iter().find(|label| usize::from(**label) >= classes.len()) {
            return Err(Error::failed(format!("labels must be below {}, got {label}", classes.len())));
        }
        Ok(Self { pixels: Arc::new(pixels), labels: labels.into(), classes, shape })
    }

    /// The images at `indices`, in that order, with their bytes copied.
    pub fn select(&self, indices: &[usize]) -> Self {
        let mut pixels = Vec::with_capacity(indices.len() * self.shape.len());
        for &index in indices {
            pixels.extend_from_slice(self.image(index));
        }
        let labels = indices.iter().map(|&index| self.labels[index]).collect();
        Self { pixels: Arc::new(pixels), labels, classes: self.classes.clone(), shape: self.shape }
    }

    /// The images that `keep` counts, in order: in the memory of all of them where nobody shares it.
    pub(super) fn retain(mut self, keep: impl Fn(usize) -> bool) -> Self {
        let kept: Vec<usize> = (0..self.len()).filter(|&index| keep(index)).collect();
        let Some(pixels) = Arc::get_mut(&mut self.pixels) else { return self.select(&kept) };
        let size = self.shape.len();
        for (to, &from) in kept.iter().enumerate() {
            pixels.copy_within(from * size..(from + 1) * size, to * size);
        }
        pixels.truncate(kept.len() * size);
        self.labels = kept.iter().map(|&index| self.labels[index]).collect();
        self
    }

    /// The number of images of each class, by label.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for &label in self.labels.iter() {
            counts[usize::from(label)] += 1;
        }
        counts
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// True when there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The pixels of image `index`, `[channels, height, width]`.
    pub fn image(&self, index: usize) -> &[u8] {
        let size = self.shape.len();
        &self.pixels[index * size..(index + 1) * size]
    }

    /// The label of image `index`.
    pub fn label(&self, index: usize) -> usize {
        usize::from(self.labels[index])
    }
}

/// What identifies the content of a data set, in hexadecimal.
pub(super) struct Fingerprint {
    /// SHA-256 over everything that training and inference take from the set, class names included.
    pub named: String,
    /// The same without the class names. It is equal to `named` when the classes are called 0, 1, 2 and so on, as in
    /// every set whose files do not name them.
    pub unnamed: String,
}

/// SHA-256 over the shape, the counts, the pixels and the labels of all splits that the source has, and over names that a
/// user gave to the classes.
pub(super) fn fingerprint(train: &ImageSet, validation: Option<&ImageSet>, test: &ImageSet) -> Fingerprint {
    let (train_digest, test_digest) = rayon::join(|| digest(train), || digest(test));
    let mut hash = Sha256::new();
    hash.update(train_digest);
    hash.update(test_digest);
    if let Some(validation) = validation {
        hash.update(digest(validation));
    }
    let unnamed = hex::encode(hash.clone().finalize());
    let numbered = train.classes.iter().enumerate().all(|(label, name)| *name == label.to_string());
    if numbered {
        return Fingerprint { named: unnamed.clone(), unnamed };
    }
    for name in train.classes.iter() {
        // The length keeps `ab`, `c` apart from `a`, `bc`.
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
    }
    Fingerprint { named: hex::encode(hash.finalize()), unnamed }
}

fn digest(set: &ImageSet) -> [u8; 32] {
    let mut hash = Sha256::new();
    for size in [set.len(), set.shape.channels, set.shape.height, set.shape.width] {
        hash.update((size as u64).to_le_bytes());
    }
    hash.update(&*set.pixels);
    let labels: Vec<u8> = set.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    hash.update(&labels);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two one-pixel images, one of each class.
    fn set(pixels: [u8; 2], labels: [u16; 2], classes: [&str; 2]) -> ImageSet {
        let shape = ImageShape { channels: 1, height: 1, width: 1 };
        ImageSet::new(shape, pixels.to_vec(), labels.to_vec(), classes.map(str::to_owned).into()).unwrap()
    }

    #[test]
    fn the_fingerprint_covers_every_pixel_label_and_class_name_of_both_splits() {
        let of = |train: &ImageSet, test: &ImageSet| fingerprint(train, None, test).named;
        let base = set([1, 2], [0, 1], ["cat", "dog"]);
        let expected = of(&base, &base);
        assert_eq!(of(&base.clone(), &base), expected);
        for other in [
            set([1, 3], [0, 1], ["cat", "dog"]),
            set([1, 2], [1, 0], ["cat", "dog"]),
            set([1, 2], [0, 1], ["cat", "fox"]),
            set([1, 2], [0, 1], ["ca", "tdog"]),
            set([1, 2], [0, 1], ["0", "1"]),
        ] {
            assert_ne!(of(&other, &base), expected);
            assert_ne!(of(&other, &other), expected);
        }
        assert_ne!(of(&base, &set([1, 3], [0, 1], ["cat", "dog"])), expected);
        assert_ne!(of(&base, &set([1, 2], [1, 0], ["cat", "dog"])), expected);
        assert_ne!(fingerprint(&base, Some(&base), &base).named, expected);
    }

    #[test]
    fn what_is_retained_is_what_is_selected_whoever_shares_it() {
        let shape = ImageShape { channels: 1, height: 1, width: 2 };
        let set =
            || ImageSet::new(shape, (0..20).collect(), (0..10).collect(), (0..10).map(|n| n.to_string()).collect());
        let is_kept = |index: usize| !index.is_multiple_of(3);
        let indices: Vec<usize> = (0..10).filter(|&index| is_kept(index)).collect();
        let selected = set().unwrap().select(&indices);
        let shared = set().unwrap();
        for retained in [set().unwrap().retain(is_kept), shared.clone().retain(is_kept)] {
            assert_eq!((&retained.pixels, &retained.labels), (&selected.pixels, &selected.labels));
        }
        assert_eq!(shared.len(), 10);
        assert!(set().unwrap().retain(|_| false).is_empty());
    }

    #[test]
    fn numbered_classes_add_nothing_to_the_fingerprint() {
        let numbered = set([1, 2], [0, 1], ["0", "1"]);
        let Fingerprint { named, unnamed } = fingerprint(&numbered, None, &numbered);
        assert_eq!(named, unnamed);
        let called = set([1, 2], [0, 1], ["cat", "dog"]);
        let Fingerprint { named, unnamed: without_names } = fingerprint(&called, None, &called);
        assert_eq!(without_names, unnamed);
        assert_ne!(named, unnamed);
    }
}
