//! A rectangle of the image covered.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cover::{Cover, Covered, Place, Rectangle};
use super::fill::{Paint, PaintRule, Pictures};
use super::{Augmentation, Step};
use crate::check::{Check, Problems};
use crate::data::{ImageShape, random};
use crate::seed::Stream;

/// The narrowest rectangle's height over its width; the widest is its inverse.
const NARROWEST: f64 = 0.3;

/// A rectangle covered, of any place, size and proportion between 3:10 and 10:3, wholly within the image (random
/// erasing: Zhong et al., 2020).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EraseConfig {
    /// How often, 0 to 1.
    pub probability: f64,
    /// The least part of the image that is covered, above 0.
    pub least_area: f64,
    /// The largest part of the image that is covered, at most 1.
    pub most_area: f64,
    /// What covers it: `mean` (of the training images), `noise` (every pixel drawn, as in the paper), or a value, 0 to
    /// 255.
    pub fill: Paint,
}

impl Default for EraseConfig {
    fn default() -> Self {
        Self { probability: 0.5, least_area: 0.02, most_area: 0.4, fill: Paint::Rule(PaintRule::Noise) }
    }
}

impl Check for EraseConfig {
    fn check(&self, problems: &mut Problems) {
        problems.within_range("probability", self.probability, 0.0..=1.0);
        problems.above_zero("least_area", self.least_area, 1.0);
        let least = self.least_area;
        problems.require(self.most_area >= least && self.most_area <= 1.0, "most_area", || {
            format!("must be at least least_area = {least} and at most 1, got {}", self.most_area)
        });
        self.fill.check(problems);
    }
}

impl Augmentation for EraseConfig {
    fn examples() -> Vec<Self> {
        vec![Self::default()]
    }

    fn words(&self) -> String {
        let [least, most] = [self.least_area, self.most_area].map(super::words::percent);
        let often = super::words::often(self.probability);
        format!("{least} to {most} % of the image covered {}{often}", self.fill.words())
    }

    fn is_identity(&self) -> bool {
        self.probability == 0.0
    }

    fn step(&self, pictures: &Pictures<'_>, stream: Stream) -> Step {
        let cover = Cover { colour: pictures.paint(self.fill), shape: pictures.shape() };
        Step::other(Covered { rectangle: self.clone(), cover }, stream)
    }
}

impl Rectangle for EraseConfig {
    fn draw(&self, shape: ImageShape, rng: &mut ChaCha8Rng) -> Option<Place> {
        let ImageShape { height, width, .. } = shape;
        let Self { probability, least_area, most_area, .. } = *self;
        if random::uniform(rng) >= probability {
            return None;
        }
        let area = (least_area + (most_area - least_area) * random::uniform(rng)) * (height * width) as f64;
        let ratio = random::uniform_symmetric(rng, NARROWEST.ln()).exp();
        let side = |length: f64, most: usize| (length.round() as usize).clamp(1, most);
        let (rows, columns) = (side((area * ratio).sqrt(), height), side((area / ratio).sqrt(), width));
        let (top, left) = (random::below(rng, height - rows + 1), random::below(rng, width - columns + 1));
        Some((top..top + rows, left..left + columns))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Distort as _, Scratch};
    use super::*;
    use crate::seed::Purpose;

    #[test]
    fn the_asked_part_of_the_image_is_covered() {
        let shape = ImageShape { channels: 1, height: 40, width: 30 };
        let config = EraseConfig { probability: 0.5, least_area: 0.1, most_area: 0.2, fill: Paint::Value(1) };
        let erase = Covered { rectangle: config, cover: Cover { colour: Some(vec![1]), shape } };
        let stream = Stream::new(3, Purpose::Augmentation);
        let mut covered = Vec::new();
        for position in 0..400 {
            let mut image = vec![0; shape.len()];
            erase.distort(&mut stream.at(1, position), &mut Scratch::default(), &mut image);
            covered.push(image.iter().filter(|pixel| **pixel == 1).count());
        }
        covered.retain(|count| *count > 0);
        assert!((160..240).contains(&covered.len()), "{}", covered.len());
        assert!(covered.iter().all(|count| (110..260).contains(count)), "{covered:?}");
    }
}
