//! Golden samples: a few real inputs that a model file carries with the logits they gave. Made from a predictor, made anew
//! when the weights are rounded, replayed to see whether a model computes here what it computed there.

use std::path::Path;

use burn::tensor::Device;

use super::Predictor;
use crate::artifact::{self, Dtype, Format, GOLDEN_SAMPLES, GoldenSample, Manifest};
use crate::data::ImageSet;
use crate::logits::argmax;
use crate::models::Weights;
use crate::{Error, Result};

impl Manifest {
    /// Takes 16 images, spread evenly over `set`, with the logits that `predictor` gives, as golden samples.
    ///
    /// # Errors
    /// A usage error when the set's images have another size; when the device fails or a logit is NaN or infinite.
    pub(crate) fn add_golden_samples(&mut self, predictor: &Predictor, set: &ImageSet) -> Result<()> {
        let count = GOLDEN_SAMPLES.min(set.len());
        let images = (0..count).map(|sample| set.image(sample * set.len() / count).to_vec()).collect::<Vec<_>>();
        self.golden = samples(predictor, &images)?;
        Ok(())
    }
}

/// A model as a file of type `dtype` holds it: the weights rounded, and for other weights than before the golden samples
/// computed anew, on the CPU.
///
/// # Errors
/// When a weight has no finite value in `dtype`, or the weights are not the manifest's.
pub fn convert(manifest: &Manifest, weights: &Weights, dtype: Dtype) -> Result<(Manifest, Weights)> {
    let rounded = dtype.round(weights)?;
    let mut manifest = Manifest { dtype, weights_sha256: rounded.sha256(), ..manifest.clone() };
    if rounded.first_difference(weights).is_some() {
        let images = manifest.golden_images()?;
        let predictor = Predictor::new(manifest.clone(), &rounded, &Device::flex())?;
        manifest.golden = samples(&predictor, &images)?;
    }
    Ok((manifest, rounded))
}

pub(super) fn samples(predictor: &Predictor, images: &[Vec<u8>]) -> Result<Vec<GoldenSample>> {
    let logits = predictor.logits(&images.concat(), images.len())?;
    let classes = predictor.manifest().classes.len();
    let sample =
        |(pixels, logits): (&Vec<u8>, &[f32])| GoldenSample { pixels: hex::encode(pixels), logits: logits.to_vec() };
    Ok(images.iter().zip(logits.chunks(classes)).map(sample).collect())
}

/// How a model's answers compare with those at export.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verification {
    /// Golden samples in the file.
    pub samples: usize,
    /// Those whose label is the same now.
    pub labels_agree: usize,
    /// The largest absolute difference between a logit now and at export.
    pub largest_difference: f32,
}

impl Verification {
    /// Whether there was something to replay, every label is the same, and no logit differs by more than `tolerance`.
    pub fn passed(&self, tolerance: f32) -> bool {
        self.samples > 0 && self.labels_agree == self.samples && self.largest_difference <= tolerance
    }
}

/// Writes the model file `model` to `out` in another format or type, replacing what is there, reads it back, and replays its
/// golden samples on the CPU.
///
/// # Errors
/// When one of the files cannot be read or written, or what was written predicts other labels.
pub fn export(model: &Path, out: &Path, format: Format, dtype: Dtype) -> Result<(Manifest, Verification)> {
    let (manifest, weights) = artifact::read(model)?;
    let (manifest, weights) = convert(&manifest, &weights, dtype)?;
    artifact::write(out, format, dtype, &manifest, &weights)?;
    let (manifest, weights) = artifact::read(out)?;
    let verification = verify(&manifest, &weights, &Device::flex())?;
    if verification.labels_agree != verification.samples {
        return Err(Error::failed(format!(
            "the written file gives other labels: {} of {} golden samples agree",
            verification.labels_agree, verification.samples
        )));
    }
    Ok((manifest, verification))
}

/// Replays the golden samples on `device`.
///
/// # Errors
/// When the weights are not the manifest's, the device fails, or a logit is NaN or infinite.
pub fn verify(manifest: &Manifest, weights: &Weights, device: &Device) -> Result<Verification> {
    let images = manifest.golden_images()?;
    let predictor = Predictor::new(manifest.clone(), weights, device)?;
    let logits = predictor.logits(&images.concat(), images.len())?;
    let mut result = Verification { samples: images.len(), labels_agree: 0, largest_difference: 0.0 };
    for (sample, found) in manifest.golden.iter().zip(logits.chunks(manifest.classes.len())) {
        result.labels_agree += usize::from(argmax(&sample.logits) == argmax(found));
        for (expected, found) in sample.logits.iter().zip(found) {
            result.largest_difference = result.largest_difference.max((expected - found).abs());
        }
    }
    Ok(result)
}
