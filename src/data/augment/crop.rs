//! A part of the padded image, of the image's own size.

use kiln_pixels::warp::AffineMap;
use kiln_pixels::{Background, shift};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fill::{Fill, Pictures};
use super::{Augmentation, Distort, Drawn, Form, Scratch, Step};
use crate::check::{Check, Problems};
use crate::data::{ImageShape, random};
use crate::seed::Stream;

/// A random part, of the image's size, of the image with a border round it (torchvision's `RandomCrop` with padding): a
/// shift by whole pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CropConfig {
    /// Width of the border in pixels, on each side; 0 switches it off.
    pub padding: usize,
    /// What the border shows, as for `affine`.
    pub fill: Fill,
}

impl Default for CropConfig {
    fn default() -> Self {
        Self { padding: 4, fill: Fill::AUTO }
    }
}

impl Check for CropConfig {
    fn check(&self, problems: &mut Problems) {
        problems.within_range("padding", self.padding, 0..=64);
        self.fill.check(problems);
    }
}

impl Augmentation for CropConfig {
    fn examples() -> Vec<Self> {
        vec![Self { padding: 2, ..Self::default() }, Self { padding: 1, fill: Fill::Value(255) }]
    }

    fn words(&self) -> String {
        format!("a part of the image with {} px of border{}", self.padding, self.fill.words())
    }

    fn is_identity(&self) -> bool {
        self.padding == 0
    }

    fn check_for(&self, shape: ImageShape, problems: &mut Problems) {
        let side = shape.height.min(shape.width);
        problems.require(self.padding < side, "padding", || {
            format!("must be below the images' shorter side, {side}, got {}; try {}", self.padding, (side / 8).max(1))
        });
    }

    fn fill(&self) -> Option<Fill> {
        Some(self.fill)
    }

    fn step(&self, pictures: &Pictures<'_>, stream: Stream) -> Step {
        let background = pictures.background(self.fill);
        Step::other(Crop { padding: self.padding, background, shape: pictures.shape() }, stream)
    }
}

#[derive(Debug)]
struct Crop {
    padding: usize,
    background: Background,
    shape: ImageShape,
}

impl Distort for Crop {
    fn distort(&self, rng: &mut ChaCha8Rng, scratch: &mut Scratch, image: &mut [u8]) {
        let (right, down) = self.offsets(rng);
        if (right, down) != (0, 0) {
            shift::shift((right, down), (self.shape, &self.background), &mut scratch.copy, image);
        }
    }

    fn form(&self) -> Option<Form> {
        Some(Form::Move(self.background.clone()))
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> Drawn {
        // A map says where the image goes, a crop where its pixels come from.
        let (right, down) = self.offsets(rng);
        AffineMap { right: -right as f32, down: -down as f32, ..AffineMap::IDENTITY }.into()
    }
}

impl Crop {
    fn offsets(&self, rng: &mut ChaCha8Rng) -> (isize, isize) {
        let mut offset = || random::below(rng, 2 * self.padding + 1) as isize - self.padding as isize;
        (offset(), offset())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_border_is_narrower_than_the_image() {
        let shape = ImageShape { channels: 1, height: 4, width: 9 };
        let said = |padding| {
            let mut problems = Problems::default();
            CropConfig { padding, ..CropConfig::default() }.check_for(shape, &mut problems);
            problems.into_vec()
        };
        assert!(said(3).is_empty());
        assert_eq!(said(4)[0].message, "must be below the images' shorter side, 4, got 4; try 1");
    }
}
