//! Lighter and darker images.

use kiln_pixels::tone;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fill::Pictures;
use super::{Augmentation, Distort, Scratch, Step, words};
use crate::check::{Check, Problems};
use crate::data::random;
use crate::seed::Stream;

/// Every pixel multiplied by a factor (the brightness of torchvision's `ColorJitter`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BrightnessConfig {
    /// 0.2 draws a factor between 0.8 and 1.2; 0 to 1.
    pub strength: f64,
}

impl Default for BrightnessConfig {
    fn default() -> Self {
        Self { strength: 0.2 }
    }
}

impl Check for BrightnessConfig {
    fn check(&self, problems: &mut Problems) {
        problems.within_range("strength", self.strength, 0.0..=1.0);
    }
}

impl Augmentation for BrightnessConfig {
    fn examples() -> Vec<Self> {
        vec![Self { strength: 0.5 }]
    }

    fn words(&self) -> String {
        format!("brighter or darker by up to {} %", words::percent(self.strength))
    }

    fn is_identity(&self) -> bool {
        self.strength == 0.0
    }

    fn step(&self, _pictures: &Pictures<'_>, stream: Stream) -> Step {
        Step::other(Brightness { strength: self.strength }, stream)
    }
}

#[derive(Debug)]
struct Brightness {
    strength: f64,
}

impl Distort for Brightness {
    fn distort(&self, rng: &mut ChaCha8Rng, _scratch: &mut Scratch, image: &mut [u8]) {
        let factor = 1.0 + random::uniform_symmetric(rng, self.strength);
        tone::brighten(image, factor as f32);
    }
}
