//! Other colours.

use kiln_pixels::tone;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fill::Pictures;
use super::{Augmentation, Distort, Scratch, Step, words};
use crate::check::{Check, Problems};
use crate::data::{ImageShape, random};
use crate::seed::Stream;

/// Saturation, then hue, of colour images (as in torchvision's `ColorJitter`; `brightness` and `contrast` are kinds of
/// their own).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ColorJitterConfig {
    /// Saturation: 0.2 draws a factor between 0.8 and 1.2; 0 to 1.
    pub saturation: f64,
    /// Turn of the colour circle, as a part of it: 0.1 draws up to a tenth either way; 0 to 0.5.
    pub hue: f64,
}

impl Default for ColorJitterConfig {
    fn default() -> Self {
        Self { saturation: 0.2, hue: 0.02 }
    }
}

impl Check for ColorJitterConfig {
    fn check(&self, problems: &mut Problems) {
        problems.within_range("saturation", self.saturation, 0.0..=1.0);
        problems.within_range("hue", self.hue, 0.0..=0.5);
    }
}

impl Augmentation for ColorJitterConfig {
    fn examples() -> Vec<Self> {
        vec![Self { saturation: 0.5, hue: 0.2 }]
    }

    fn words(&self) -> String {
        let (saturation, hue) = (words::percent(self.saturation), self.hue * 360.0);
        format!("saturation changed by up to {saturation} %, hue by up to {}°", (hue * 10.0).round() / 10.0)
    }

    fn is_identity(&self) -> bool {
        self.saturation == 0.0 && self.hue == 0.0
    }

    fn check_for(&self, shape: ImageShape, problems: &mut Problems) {
        problems.require(shape.channels == 3, "kind", || {
            "\"color_jitter\" needs colour images, and these are grey; leave it out".to_owned()
        });
    }

    fn step(&self, pictures: &Pictures<'_>, stream: Stream) -> Step {
        Step::other(ColorJitter { config: self.clone(), shape: pictures.shape() }, stream)
    }
}

#[derive(Debug)]
struct ColorJitter {
    config: ColorJitterConfig,
    shape: ImageShape,
}

impl Distort for ColorJitter {
    fn distort(&self, rng: &mut ChaCha8Rng, _scratch: &mut Scratch, image: &mut [u8]) {
        let factor = 1.0 + random::uniform_symmetric(rng, self.config.saturation);
        let turn = random::uniform_symmetric(rng, self.config.hue);
        if self.config.saturation > 0.0 {
            tone::saturate(image, self.shape, factor as f32);
        }
        if self.config.hue > 0.0 {
            tone::turn(image, self.shape, turn as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_images_have_no_colours() {
        let mut problems = Problems::default();
        let shape = ImageShape { channels: 1, height: 4, width: 4 };
        ColorJitterConfig::default().check_for(shape, &mut problems);
        assert_eq!(problems.into_vec().len(), 1);
    }
}
