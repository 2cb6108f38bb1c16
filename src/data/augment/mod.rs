//! Random distortions of training images: an ordered list of kinds, each one file. What a kind draws for an image
//! depends on
//! (seed, kind, epoch, position) alone, so a kind that is added, moved or left out changes no other's draws.

mod cover;
mod fill;
mod form;
mod warp;
mod words;

use std::fmt::Debug;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;

use super::{ImageSet, ImageShape};
use crate::check::{Check, Problems};
use crate::kinds::kinds;
use crate::seed::{Purpose, Stream};

pub(super) use fill::Pictures;
pub(super) use fill::background_words;
pub use fill::{Fill, FillRule, Paint, PaintRule};
pub(super) use form::{Drawn, Form};
pub use kiln_pixels::Background;
use warp::Warp;

kinds! {
    /// `[[data.augment]]`: the distortions of a training image, one after another. Every image of every epoch gets its
    /// own draw.
    pub enum AugmentConfig: Augmentation {
        affine: Affine(AffineConfig),
        elastic: Elastic(ElasticConfig),
        crop: Crop(CropConfig),
        flip: Flip(FlipConfig),
        cutout: Cutout(CutoutConfig),
        erase: Erase(EraseConfig),
        brightness: Brightness(BrightnessConfig),
        contrast: Contrast(ContrastConfig),
        color_jitter: ColorJitter(ColorJitterConfig),
        noise: Noise(NoiseConfig),
        trivial_augment: TrivialAugment(TrivialAugmentConfig),
    }
}

/// What each kind of distortion says of itself.
pub trait Augmentation: Check {
    /// Small examples, for tests that must cover every kind: none of them leaves every image as it is.
    fn examples() -> Vec<Self>
    where
        Self: Sized;

    /// What it does at most, for people: "shift up to 1.5 px".
    fn words(&self) -> String;

    /// True when no image would be changed.
    fn is_identity(&self) -> bool;

    /// Adds what of it does not fit images of this shape.
    fn check_for(&self, _shape: ImageShape, _problems: &mut Problems) {}

    /// What fills the pixels that it leaves, where it moves pixels.
    fn fill(&self) -> Option<Fill> {
        None
    }

    /// The same, ready for the images that are trained on, with draws from `stream`.
    #[doc(hidden)]
    fn step(&self, pictures: &Pictures<'_>, stream: Stream) -> Step;
}

/// A distortion that is ready for images of one shape.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub enum Step {
    /// A smooth movement of pixels: neighbours that move pixels become one resampling.
    Warp(Warp),
    /// Anything else, and what it draws from.
    Other(Arc<dyn Distort>, Stream),
}

impl Step {
    fn other(distort: impl Distort + 'static, stream: Stream) -> Self {
        Self::Other(Arc::new(distort), stream)
    }
}

/// Changes an image `[c, h, w]` in place by draws from `rng`.
#[doc(hidden)]
pub trait Distort: Debug + Send + Sync {
    fn distort(&self, rng: &mut ChaCha8Rng, scratch: &mut Scratch, image: &mut [u8]);

    /// The same as numbers for a device; none where only the host can do it.
    fn form(&self) -> Option<Form> {
        None
    }

    /// What `distort` would do with these draws, as the numbers of its [`form`](Self::form).
    fn draw(&self, _rng: &mut ChaCha8Rng) -> Drawn {
        Drawn::default()
    }
}

impl AugmentConfig {
    /// True when no image would be changed.
    pub fn is_identity(&self) -> bool {
        self.as_kind().is_identity()
    }

    /// Adds what of it does not fit images of this shape.
    pub fn check_for(&self, shape: ImageShape, problems: &mut Problems) {
        self.as_kind().check_for(shape, problems);
    }

    /// The kind and what it does at most: "affine: shift up to 1.5 px".
    pub fn words(&self) -> String {
        format!("{}: {}", self.kind(), self.as_kind().words())
    }

    /// What fills the pixels that it leaves, where it moves some.
    pub(super) fn fill(&self) -> Option<Fill> {
        self.as_kind().fill().filter(|_| !self.is_identity())
    }

    /// True when it may show an image as in a mirror.
    pub fn mirrors(&self) -> bool {
        matches!(self, Self::Flip(flip) if flip.probability > 0.0)
    }
}

/// True when no image would be changed by any of them.
pub fn is_identity(list: &[AugmentConfig]) -> bool {
    list.iter().all(AugmentConfig::is_identity)
}

/// What each of them does at most, in order; those that change nothing are left out.
pub fn words(list: &[AugmentConfig]) -> Vec<String> {
    list.iter().filter(|config| !config.is_identity()).map(AugmentConfig::words).collect()
}

/// The distortions of a list of [`AugmentConfig`], ready for the images that are trained on.
#[derive(Clone, Debug)]
pub struct Augment {
    steps: Vec<Step>,
}

/// Memory that one thread reuses from image to image.
#[derive(Debug, Default)]
pub struct Scratch {
    warp: kiln_pixels::warp::Scratch,
    copy: Vec<u8>,
}

impl Augment {
    /// Distortions of the images of `set`, which are those to train on, drawn under the experiment's `seed`.
    pub fn new(list: &[AugmentConfig], set: &ImageSet, seed: u64) -> Self {
        let pictures = Pictures::new(set);
        let mut steps: Vec<Step> = Vec::new();
        for (index, config) in list.iter().enumerate().filter(|(_, config)| !config.is_identity()) {
            let kind = config.kind();
            let earlier = list[..index].iter().filter(|other| other.kind() == kind).count();
            let step = config.as_kind().step(&pictures, stream(seed, kind, earlier));
            let joined = match (steps.last_mut(), &step) {
                (Some(Step::Warp(last)), Step::Warp(next)) => last.join(next),
                _ => false,
            };
            if !joined {
                steps.push(step);
            }
        }
        Self { steps }
    }

    /// The distortions as a device can do them, in their order; none where one of them needs the host.
    pub(super) fn forms(&self) -> Option<Vec<Form>> {
        let form = |step: &Step| match step {
            Step::Warp(warp) => warp.form(),
            Step::Other(other, _) => other.form(),
        };
        self.steps.iter().map(form).collect()
    }

    /// What [`apply`](Self::apply) would do with an image at this place, a set of numbers for each of the forms.
    pub(super) fn draw(&self, (epoch, position): (usize, usize)) -> impl Iterator<Item = Drawn> {
        self.steps.iter().map(move |step| match step {
            Step::Warp(warp) => warp.draw((epoch, position)),
            Step::Other(other, stream) => other.draw(&mut stream.at(epoch, position)),
        })
    }

    /// Writes the distorted image to `out`, both `[c, h, w]`. The draw depends on the seed, `epoch` and `position` (the
    /// image's place in the epoch's order) alone.
    pub fn apply(&self, pixels: &[u8], (epoch, position): (usize, usize), scratch: &mut Scratch, out: &mut [u8]) {
        out.copy_from_slice(pixels);
        for step in &self.steps {
            match step {
                Step::Warp(warp) => warp.apply((epoch, position), scratch, out),
                Step::Other(other, stream) => other.distort(&mut stream.at(epoch, position), scratch, out),
            }
        }
    }
}

/// The draws of the kind that stands `earlier` times before in the list. The first affine and the first elastic
/// distortion share
/// a stream, of which they read different parts: it is the one that they drew from when there was no other kind.
fn stream(seed: u64, kind: &str, earlier: usize) -> Stream {
    match (kind, earlier) {
        ("affine" | "elastic", 0) => Stream::new(seed, Purpose::Augmentation),
        _ => Stream::of_part(seed, Purpose::Augmentation, &format!("{kind}/{earlier}")),
    }
}

#[cfg(test)]
mod tests;
