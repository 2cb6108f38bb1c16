//! Stronger and weaker contrast.

use kiln_pixels::tone;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fill::Pictures;
use super::{Augmentation, Distort, Scratch, Step, words};
use crate::check::{Check, Problems};
use crate::data::{ImageShape, random};
use crate::seed::Stream;

/// The distance of every pixel from the image's mean multiplied by a factor (the contrast of torchvision's
/// `ColorJitter`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ContrastConfig {
    /// 0.2 draws a factor between 0.8 and 1.2; 0 to 1.
    pub strength: f64,
}

impl Default for ContrastConfig {
    fn default() -> Self {
        Self { strength: 0.2 }
    }
}

impl Check for ContrastConfig {
    fn check(&self, problems: &mut Problems) {
        problems.within_range("strength", self.strength, 0.0..=1.0);
    }
}

impl Augmentation for ContrastConfig {
    fn examples() -> Vec<Self> {
        vec![Self { strength: 0.5 }]
    }

    fn words(&self) -> String {
        format!("contrast changed by up to {} %", words::percent(self.strength))
    }

    fn is_identity(&self) -> bool {
        self.strength == 0.0
    }

    fn step(&self, pictures: &Pictures<'_>, stream: Stream) -> Step {
        Step::other(Contrast { strength: self.strength, shape: pictures.shape() }, stream)
    }
}

#[derive(Debug)]
struct Contrast {
    strength: f64,
    shape: ImageShape,
}

impl Distort for Contrast {
    fn distort(&self, rng: &mut ChaCha8Rng, _scratch: &mut Scratch, image: &mut [u8]) {
        let factor = 1.0 + random::uniform_symmetric(rng, self.strength);
        tone::stretch_contrast(image, self.shape, factor as f32);
    }
}
