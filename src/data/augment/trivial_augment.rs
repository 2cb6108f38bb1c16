//! One distortion of many, at a strength of its own.

use kiln_pixels::warp::{AffineMap, resample};
use kiln_pixels::{Background, tone};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fill::{Fill, Pictures};
use super::{Augmentation, Distort, Scratch, Step};
use crate::check::{Check, Problems};
use crate::data::{ImageShape, random};
use crate::seed::Stream;

/// The strengths that are drawn from are 0 to this.
const STRENGTHS: usize = 30;

/// One of many distortions, drawn for every image with its strength (Müller and Hutter, 2021): nothing, shift or shear
/// along either axis, rotation, brightness, contrast, and for colour images saturation, up to the limits of
/// RandAugment. Of the paper's list, sharpness, posterize, solarize, autocontrast and equalize are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TrivialAugmentConfig {
    /// What is seen where the image is moved away, as for `affine`.
    pub fill: Fill,
}

impl Default for TrivialAugmentConfig {
    fn default() -> Self {
        Self { fill: Fill::AUTO }
    }
}

impl Check for TrivialAugmentConfig {
    fn check(&self, problems: &mut Problems) {
        self.fill.check(problems);
    }
}

impl Augmentation for TrivialAugmentConfig {
    fn examples() -> Vec<Self> {
        vec![Self::default()]
    }

    fn words(&self) -> String {
        format!("one of shift, shear, turn, brightness, contrast, saturation or nothing{}", self.fill.words())
    }

    fn is_identity(&self) -> bool {
        false
    }

    fn fill(&self) -> Option<Fill> {
        Some(self.fill)
    }

    fn step(&self, pictures: &Pictures<'_>, stream: Stream) -> Step {
        let background = pictures.background(self.fill);
        Step::other(TrivialAugment { background, shape: pictures.shape() }, stream)
    }
}

/// What may happen to an image. Saturation is last: grey images have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Nothing,
    ShiftX,
    ShiftY,
    ShearX,
    ShearY,
    Rotate,
    Brightness,
    Contrast,
    Saturation,
}

const OPERATIONS: [Operation; 9] = [
    Operation::Nothing,
    Operation::ShiftX,
    Operation::ShiftY,
    Operation::ShearX,
    Operation::ShearY,
    Operation::Rotate,
    Operation::Brightness,
    Operation::Contrast,
    Operation::Saturation,
];

#[derive(Debug)]
struct TrivialAugment {
    background: Background,
    shape: ImageShape,
}

impl Distort for TrivialAugment {
    fn distort(&self, rng: &mut ChaCha8Rng, scratch: &mut Scratch, image: &mut [u8]) {
        let operations = OPERATIONS.len() - usize::from(self.shape.channels != 3);
        let operation = OPERATIONS[random::below(rng, operations)];
        let strength = random::below(rng, STRENGTHS + 1) as f64 / STRENGTHS as f64;
        let signed = if random::below(rng, 2) == 0 { strength } else { -strength };
        self.operate(operation, signed, scratch, image);
    }
}

impl TrivialAugment {
    /// Does `operation` at a strength between -1 and 1.
    fn operate(&self, operation: Operation, strength: f64, scratch: &mut Scratch, image: &mut [u8]) {
        // RandAugment's limits: 10 of 32 pixels, a shear of 0.3, 30 degrees, a factor of 0.1 to 1.9.
        let shift = |side: usize| (strength * side as f64 * 10.0 / 32.0).round() as f32;
        let (shear, factor) = ((strength * 0.3) as f32, (1.0 + 0.9 * strength) as f32);
        let still = AffineMap::IDENTITY;
        let map = match operation {
            Operation::Nothing => return,
            Operation::Brightness => return tone::brighten(image, factor),
            Operation::Contrast => return tone::stretch_contrast(image, self.shape, factor),
            Operation::Saturation => return tone::saturate(image, self.shape, factor),
            Operation::ShiftX => AffineMap { right: shift(self.shape.width), ..still },
            Operation::ShiftY => AffineMap { down: shift(self.shape.height), ..still },
            Operation::ShearX => AffineMap { xy: shear, ..still },
            Operation::ShearY => AffineMap { yx: shear, ..still },
            Operation::Rotate => {
                let (sin, cos) = (strength * 30.0).to_radians().sin_cos();
                let (sin, cos) = (sin as f32, cos as f32);
                AffineMap { xx: cos, xy: sin, yx: -sin, yy: cos, ..still }
            }
        };
        resample(&map, None, (self.shape, &self.background), &mut scratch.warp, image);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_does_what_it_says_at_its_full_strength() {
        let shape = ImageShape { channels: 3, height: 3, width: 32 };
        let augment = TrivialAugment { background: Background::Constant(vec![0; 3]), shape };
        let line: Vec<u8> = (0..shape.len()).map(|place| (place % 32) as u8 + 50).collect();
        let done = |operation, strength| {
            let mut image = line.clone();
            augment.operate(operation, strength, &mut Scratch::default(), &mut image);
            image
        };
        assert_eq!(done(Operation::Nothing, 1.0), line);
        for operation in &OPERATIONS[1..8] {
            assert_ne!(done(*operation, 1.0), line, "{operation:?}");
            assert_eq!(done(*operation, 0.0), line, "{operation:?}");
        }
        // These pixels are grey, and stay so.
        assert_eq!(done(Operation::Saturation, -1.0), line);
        let right = done(Operation::ShiftX, 1.0);
        assert_eq!((&right[..10], right[10], right[31]), (&[0; 10][..], 50, 71));
        assert_eq!(done(Operation::Brightness, -1.0)[31], 8);
    }
}
