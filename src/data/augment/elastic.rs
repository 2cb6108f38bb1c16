//! Smooth random displacements.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fill::{Fill, Pictures};
use super::warp::Warp;
use super::{Augmentation, Step};
use crate::check::{Check, Problems};
use crate::seed::Stream;

/// Elastic distortion (Simard, Steinkraus and Platt, 2003; torchvision's `ElasticTransform`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ElasticConfig {
    /// The displacement in pixels (root mean square along each axis) of a smooth random field.
    pub pixels: f64,
    /// Smoothness of the field: the standard deviation in pixels of the Gaussian that blurs it.
    pub smoothness: f64,
    /// What is seen where the image is moved away, as for `affine`.
    pub fill: Fill,
}

impl Default for ElasticConfig {
    fn default() -> Self {
        // The smoothness is that of Simard, Steinkraus and Platt for MNIST.
        Self { pixels: 1.0, smoothness: 4.0, fill: Fill::AUTO }
    }
}

impl Check for ElasticConfig {
    fn check(&self, problems: &mut Problems) {
        problems.within_range("pixels", self.pixels, 0.0..=64.0);
        problems.above_zero("smoothness", self.smoothness, 64.0);
        self.fill.check(problems);
    }
}

impl Augmentation for ElasticConfig {
    fn examples() -> Vec<Self> {
        vec![Self::default()]
    }

    fn words(&self) -> String {
        format!("displace by {} px, {} px smooth{}", self.pixels, self.smoothness, self.fill.words())
    }

    fn is_identity(&self) -> bool {
        self.pixels == 0.0
    }

    fn fill(&self) -> Option<Fill> {
        Some(self.fill)
    }

    fn step(&self, pictures: &Pictures<'_>, stream: Stream) -> Step {
        Warp::elastic(self, pictures, stream)
    }
}
