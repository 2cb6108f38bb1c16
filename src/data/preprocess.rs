//! From bytes to what the network sees. There is one implementation, used by training and by inference, and its
//! parameters travel in the artifact.

use serde::{Deserialize, Serialize};

use super::ImageShape;

/// How pixels become network inputs: `(pixel / 255 - mean[c]) / std[c]` per channel `c`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocess {
    /// The size the network takes.
    #[serde(flatten)]
    pub shape: ImageShape,
    /// Mean of the training pixels per channel, in units of 0..=1.
    pub mean: Vec<f32>,
    /// Standard deviation of the training pixels per channel, in units of 0..=1; never 0.
    pub std: Vec<f32>,
    /// How a picture of any size is brought to `shape`.
    pub fit: Fit,
}

/// How a picture of any size and colour becomes one image of the network's size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fit {
    /// As MNIST was made: ink found and made bright on black, cropped, fitted into a box keeping its aspect, and its
    /// centre of mass put into the centre.
    Digit {
        /// Side of the box in pixels that the ink is fitted into (20 in MNIST's 28).
        box_size: usize,
    },
    /// Resized to the network's size, aspect ignored.
    Resize,
}
