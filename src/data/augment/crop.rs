//! A part of the padded image, of the image's own size.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fill::{Background, Fill, Pictures};
use super::warp::AffineMap;
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
            self.shift(right, down, &mut scratch.copy, image);
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

    /// Shows at every pixel the one that lies `right` and `down` of it.
    fn shift(&self, right: isize, down: isize, copy: &mut Vec<u8>, image: &mut [u8]) {
        let ImageShape { height, width, .. } = self.shape;
        copy.clear();
        copy.extend_from_slice(image);
        let plane = height * width;
        for (channel, (out, from)) in image.chunks_exact_mut(plane).zip(copy.chunks_exact(plane)).enumerate() {
            let outside = self.background.constant(channel).unwrap_or(0);
            for (row, out) in (0_isize..).zip(out.chunks_exact_mut(width)) {
                let from_row =
                    self.background.index(row + down, height).map(|row| &from[row * width..(row + 1) * width]);
                for (column, out) in (0_isize..).zip(out) {
                    let from_column = self.background.index(column + right, width);
                    *out = from_row.zip(from_column).map_or(outside, |(row, column)| row[column]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shifted(background: Background, (right, down): (isize, isize)) -> Vec<u8> {
        let crop = Crop { padding: 2, background, shape: ImageShape { channels: 1, height: 2, width: 3 } };
        let mut image = vec![1, 2, 3, 4, 5, 6];
        crop.shift(right, down, &mut Vec::new(), &mut image);
        image
    }

    #[test]
    fn a_shift_shows_what_lies_beside_the_image() {
        let zero = || Background::Constant(vec![9]);
        assert_eq!(shifted(zero(), (1, 0)), [2, 3, 9, 5, 6, 9]);
        assert_eq!(shifted(zero(), (-2, 1)), [9, 9, 4, 9, 9, 9]);
        assert_eq!(shifted(Background::Edge, (1, 0)), [2, 3, 3, 5, 6, 6]);
        assert_eq!(shifted(Background::Edge, (-1, -1)), [1, 1, 2, 1, 1, 2]);
        assert_eq!(shifted(Background::Reflect, (1, 0)), [2, 3, 2, 5, 6, 5]);
        assert_eq!(shifted(Background::Reflect, (-2, 0)), [3, 2, 1, 6, 5, 4]);
    }

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
