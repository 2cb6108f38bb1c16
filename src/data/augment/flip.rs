//! The image in a mirror.

use kiln_pixels::Background;
use kiln_pixels::warp::AffineMap;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fill::Pictures;
use super::{Augmentation, Distort, Drawn, Form, Scratch, Step};
use crate::check::{Check, Problems};
use crate::data::random;
use crate::seed::Stream;

/// Left and right exchanged (torchvision's `RandomHorizontalFlip`). Not for digits, letters and whatever else is
/// another thing in a mirror.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FlipConfig {
    /// How often, 0 to 1.
    pub probability: f64,
}

impl Default for FlipConfig {
    fn default() -> Self {
        Self { probability: 0.5 }
    }
}

impl Check for FlipConfig {
    fn check(&self, problems: &mut Problems) {
        problems.within_range("probability", self.probability, 0.0..=1.0);
    }
}

impl Augmentation for FlipConfig {
    fn examples() -> Vec<Self> {
        vec![Self::default()]
    }

    fn words(&self) -> String {
        format!("left and right exchanged in {} % of the images", super::words::percent(self.probability))
    }

    fn is_identity(&self) -> bool {
        self.probability == 0.0
    }

    fn step(&self, pictures: &Pictures<'_>, stream: Stream) -> Step {
        Step::other(Flip { probability: self.probability, width: pictures.shape().width }, stream)
    }
}

#[derive(Debug)]
struct Flip {
    probability: f64,
    width: usize,
}

impl Distort for Flip {
    fn distort(&self, rng: &mut ChaCha8Rng, _scratch: &mut Scratch, image: &mut [u8]) {
        if self.is_drawn(rng) {
            image.chunks_exact_mut(self.width).for_each(<[u8]>::reverse);
        }
    }

    fn form(&self) -> Option<Form> {
        // Nothing beside the image is ever seen.
        Some(Form::Move(Background::Edge))
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> Drawn {
        let xx = if self.is_drawn(rng) { -1.0 } else { 1.0 };
        AffineMap { xx, ..AffineMap::IDENTITY }.into()
    }
}

impl Flip {
    fn is_drawn(&self, rng: &mut ChaCha8Rng) -> bool {
        random::uniform(rng) < self.probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Purpose;

    #[test]
    fn every_row_of_every_channel_is_reversed() {
        let mut rng = Stream::new(1, Purpose::Augmentation).at(1, 0);
        let mut image = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        Flip { probability: 1.0, width: 3 }.distort(&mut rng, &mut Scratch::default(), &mut image);
        assert_eq!(image, [3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10]);
    }
}
