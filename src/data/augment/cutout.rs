//! A square of the image covered.

use std::ops::Range;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fill::{Paint, PaintRule, Pictures};
use super::{Augmentation, Distort, Drawn, Form, Scratch, Step};
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
        let often = super::tone::often(self.probability);
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
        Step::other(Cutout { size: self.size, probability: self.probability, cover }, stream)
    }
}

#[derive(Debug)]
struct Cutout {
    size: usize,
    probability: f64,
    cover: Cover,
}

impl Distort for Cutout {
    fn distort(&self, rng: &mut ChaCha8Rng, _scratch: &mut Scratch, image: &mut [u8]) {
        if let Some((rows, columns)) = self.rectangle(rng) {
            self.cover.paint(rows, columns, rng, image);
        }
    }

    fn form(&self) -> Option<Form> {
        self.cover.form()
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> Drawn {
        Drawn::rectangle(self.rectangle(rng))
    }
}

impl Cutout {
    /// The rows and columns to cover, if any.
    fn rectangle(&self, rng: &mut ChaCha8Rng) -> Option<(Range<usize>, Range<usize>)> {
        let ImageShape { height, width, .. } = self.cover.shape;
        let drawn = random::uniform(rng);
        let (row, column) = (random::below(rng, height), random::below(rng, width));
        let span = |centre: usize, length: usize| {
            let end = centre + self.size.div_ceil(2);
            end.saturating_sub(self.size)..end.min(length)
        };
        (drawn < self.probability).then(|| (span(row, height), span(column, width)))
    }
}

/// What covers a rectangle.
#[derive(Debug)]
pub(super) struct Cover {
    /// One value per channel; none for noise.
    pub(super) colour: Option<Vec<u8>>,
    pub(super) shape: ImageShape,
}

impl Cover {
    /// The same for a device; none for noise, whose draws are as many as the pixels.
    pub(super) fn form(&self) -> Option<Form> {
        self.colour.clone().map(Form::Cover)
    }

    /// Covers `rows` and `columns` of every channel.
    pub(super) fn paint(&self, rows: Range<usize>, columns: Range<usize>, rng: &mut impl Rng, image: &mut [u8]) {
        let ImageShape { height, width, .. } = self.shape;
        for (channel, pixels) in image.chunks_exact_mut(height * width).enumerate() {
            for row in rows.clone() {
                let pixels = &mut pixels[row * width..][columns.clone()];
                match self.colour.as_ref().and_then(|colour| colour.get(channel)) {
                    Some(value) => pixels.fill(*value),
                    None => pixels.iter_mut().for_each(|pixel| *pixel = (rng.next_u32() >> 24) as u8),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Purpose;

    const SHAPE: ImageShape = ImageShape { channels: 2, height: 5, width: 6 };

    #[test]
    fn a_rectangle_of_every_channel_is_covered_and_nothing_else() {
        let mut rng = Stream::new(1, Purpose::Augmentation).at(1, 0);
        let mut image = [7; 60];
        let cover = Cover { colour: Some(vec![1, 2]), shape: SHAPE };
        cover.paint(1..3, 4..6, &mut rng, &mut image);
        let expected = |channel: usize, place: usize| {
            if (1..3).contains(&(place / 6)) && place % 6 >= 4 { channel as u8 + 1 } else { 7 }
        };
        let expected: Vec<u8> = (0..60).map(|place| expected(place / 30, place % 30)).collect();
        assert_eq!(image[..], expected);
        Cover { colour: None, shape: SHAPE }.paint(0..5, 0..6, &mut rng, &mut image);
        assert!(image.iter().collect::<std::collections::BTreeSet<_>>().len() > 30);
    }

    #[test]
    fn squares_are_as_large_as_asked_for_and_smaller_at_the_border_alone() {
        let cover = Cover { colour: Some(vec![1, 1]), shape: SHAPE };
        let cutout = Cutout { size: 3, probability: 1.0, cover };
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
