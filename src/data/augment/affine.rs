//! Shift, rotation, scale and shear, in one resampling.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fill::{Fill, Pictures};
use super::warp::Warp;
use super::{Augmentation, Step};
use crate::check::{Check, Problems};
use crate::seed::Stream;

/// Shift, rotation, scale and shear (torchvision's `RandomAffine`), each uniform between minus and plus its limit; 0
/// switches one off. Beside `elastic`, with the same `fill`, both are one resampling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AffineConfig {
    /// Shift in pixels, along each axis.
    pub shift_pixels: f64,
    /// Rotation in degrees about the centre.
    pub rotate_degrees: f64,
    /// Scale as a fraction: 0.1 draws a factor between 0.9 and 1.1.
    pub scale: f64,
    /// Horizontal shear in degrees.
    pub shear_degrees: f64,
    /// What is seen where the image is moved away: `edge` (the nearest pixel), `reflect` (the image in a mirror),
    /// `mean` (of the training images), or a value, 0 to 255. `auto` is the colour that at least half of the pixels on
    /// the borders of the training images have, as in drawings on black, and else `reflect`, as for photographs.
    pub fill: Fill,
}

impl Default for AffineConfig {
    fn default() -> Self {
        Self { shift_pixels: 0.0, rotate_degrees: 0.0, scale: 0.0, shear_degrees: 0.0, fill: Fill::AUTO }
    }
}

impl Check for AffineConfig {
    fn check(&self, problems: &mut Problems) {
        problems.within_range("shift_pixels", self.shift_pixels, 0.0..=64.0);
        problems.within_range("rotate_degrees", self.rotate_degrees, 0.0..=180.0);
        for (key, value, end) in [("scale", self.scale, 1.0), ("shear_degrees", self.shear_degrees, 90.0)] {
            problems.require((0.0..end).contains(&value), key, || {
                format!("must be at least 0 and below {end}, got {value}")
            });
        }
        self.fill.check(problems);
    }
}

impl Augmentation for AffineConfig {
    fn examples() -> Vec<Self> {
        let shift = Self { shift_pixels: 1.0, ..Self::default() };
        let all =
            Self { shift_pixels: 1.5, rotate_degrees: 20.0, scale: 0.2, shear_degrees: 10.0, fill: Fill::Value(9) };
        vec![shift, all]
    }

    fn words(&self) -> String {
        let limits = [
            (self.shift_pixels, format!("shift up to {} px", self.shift_pixels)),
            (self.rotate_degrees, format!("turn up to {}°", self.rotate_degrees)),
            (self.scale, format!("scale by up to {} %", super::words::percent(self.scale))),
            (self.shear_degrees, format!("shear up to {}°", self.shear_degrees)),
        ];
        let used: Vec<String> = limits.into_iter().filter(|(limit, _)| *limit > 0.0).map(|(_, words)| words).collect();
        if used.is_empty() { "nothing".to_owned() } else { used.join(", ") + &self.fill.words() }
    }

    fn is_identity(&self) -> bool {
        [self.shift_pixels, self.rotate_degrees, self.scale, self.shear_degrees].iter().all(|limit| *limit == 0.0)
    }

    fn fill(&self) -> Option<Fill> {
        Some(self.fill)
    }

    fn step(&self, pictures: &Pictures<'_>, stream: Stream) -> Step {
        Warp::affine(self, pictures, stream)
    }
}
