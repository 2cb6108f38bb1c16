//! Noise on every pixel.

use kiln_pixels::noise;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fill::Pictures;
use super::{Augmentation, Distort, Scratch, Step};
use crate::check::{Check, Problems};
use crate::seed::Stream;

/// A nearly normal number (the sum of four uniform ones) added to every pixel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NoiseConfig {
    /// Its standard deviation in pixel values, 0 to 255.
    pub deviation: f64,
}

impl Default for NoiseConfig {
    fn default() -> Self {
        Self { deviation: 10.0 }
    }
}

impl Check for NoiseConfig {
    fn check(&self, problems: &mut Problems) {
        problems.within_range("deviation", self.deviation, 0.0..=255.0);
    }
}

impl Augmentation for NoiseConfig {
    fn examples() -> Vec<Self> {
        vec![Self { deviation: 20.0 }]
    }

    fn words(&self) -> String {
        format!("noise of deviation {} on every pixel", self.deviation)
    }

    fn is_identity(&self) -> bool {
        self.deviation == 0.0
    }

    fn step(&self, _pictures: &Pictures<'_>, stream: Stream) -> Step {
        Step::other(Noise { deviation: self.deviation }, stream)
    }
}

#[derive(Debug)]
struct Noise {
    deviation: f64,
}

impl Distort for Noise {
    fn distort(&self, rng: &mut ChaCha8Rng, _scratch: &mut Scratch, image: &mut [u8]) {
        noise::add(image, self.deviation, rng);
    }
}
