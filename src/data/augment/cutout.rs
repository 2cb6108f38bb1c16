//! A square of the image covered.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cover::{Cover, Covered, Place, Rectangle};
use super::fill::{Paint, PaintRule, Pictures};
use super::{Augmentation, Step};
use crate::check::{Check, Problems};
use crate::data::{ImageShape, random};
use crate::seed::Stream;

/// A square covered (DeVries and Taylor, 2017). Its centre may be any pixel, so that less of it may lie within the
/// image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CutoutConfig {
    /// Side of the square in pixels; 0 switches it off.
    pub size: usize,
    /// How often, 0 to 1.
    pub probability: f64,
    /// What covers it: `mean` (of the training images, as in the paper), `noise` (every pixel drawn), or a value, 0 to
    /// 255.
    pub fill: Paint,
}

impl Default for CutoutConfig {
    fn default() -> Self {
        Self { size: 8, probability: 1.0, fill: Paint::Rule(PaintRule::Mean) }
    }
}

impl Check for CutoutConfig {
    fn check(&self, problems: &mut Problems) {
        problems.within_range("size", self.size, 0..=512);
        problems.within_range("probability", self.probability, 0.0..=1.0);
        self.fill.check(problems);
    }
}

impl Augmentation for CutoutConfig {
    fn examples() -> Vec<Self> {
        vec![Self { size: 3, ..Self::default() }, Self { size: 2, probability: 0.5, fill: Paint::Value(128) }]
    }

    fn words(&self) -> String {
        let Self { size, .. } = self;
        let often = super::words::often(self.probability);
        format!("a square of {size} x {size} px covered {}{often}", self.fill.words())
    }

    fn is_identity(&self) -> bool {
        self.size == 0 || self.probability == 0.0
    }

    fn check_for(&self, shape: ImageShape, problems: &mut Problems) {
        let side = shape.height.max(shape.width);
        problems.require(self.size < side, "size", || {
            format!("must be below the images' longer side, {side}, got {}; try {}", self.size, (side / 4).max(1))
        });
    }

    fn step(&self, pictures: &Pictures<'_>, stream: Stream) -> Step {
        let cover = Cover { colour: pictures.paint(self.fill), shape: pictures.shape() };
        Step::other(Covered { rectangle: self.clone(), cover }, stream)
    }
}

impl Rectangle for CutoutConfig {
    fn draw(&self, shape: ImageShape, rng: &mut ChaCha8Rng) -> Option<Place> {
        let drawn = random::uniform(rng);
        let (row, column) = (random::below(rng, shape.height), random::below(rng, shape.width));
        let span = |centre: usize, length: usize| {
            let end = centre + self.size.div_ceil(2);
            end.saturating_sub(self.size)..end.min(length)
        };
        (drawn < self.probability).then(|| (span(row, shape.height), span(column, shape.width)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Distort as _, Scratch};
    use super::*;
    use crate::seed::Purpose;

    const SHAPE: ImageShape = ImageShape { channels: 2, height: 5, width: 6 };

    #[test]
    fn squares_are_as_large_as_asked_for_and_smaller_at_the_border_alone() {
        let cover = Cover { colour: Some(vec![1, 1]), shape: SHAPE };
        let cutout = Covered { rectangle: CutoutConfig { size: 3, ..CutoutConfig::default() }, cover };
        let stream = Stream::new(3, Purpose::Augmentation);
        let mut seen = std::collections::BTreeSet::new();
        for position in 0..300 {
            let mut image = [0; 60];
            cutout.distort(&mut stream.at(1, position), &mut Scratch::default(), &mut image);
            assert_eq!(image[..30], image[30..]);
            seen.insert(image[..30].iter().filter(|pixel| **pixel == 1).count());
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [4, 6, 9]);
    }
}
