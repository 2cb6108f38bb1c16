//! Small made-up images: seeded, quick, learnable. For tests and benchmarks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The keys of `data.kind = "synthetic"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SyntheticConfig {
    /// Training images, before validation is taken out.
    pub train: usize,
    /// Test images.
    pub test: usize,
    /// Classes, 2 to 100.
    pub classes: usize,
    /// Colour channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Strength of the pixel noise, 0 to 1: 0 makes the task trivial.
    pub noise: f64,
}

impl Default for SyntheticConfig {
    fn default() -> Self {
        Self { train: 1000, test: 200, classes: 10, channels: 1, height: 12, width: 12, noise: 0.2 }
    }
}
