//! Random distortions of one training image, drawn from (seed, epoch, position).
//! Never a flip: a mirrored 2 is no digit.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[data.augment]`: the largest distortion of each kind; 0 switches a kind off. Every image of every epoch gets its own
/// draw, uniform between minus and plus the given value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AugmentConfig {
    /// Shift in pixels, along each axis.
    pub shift_pixels: f64,
    /// Rotation in degrees about the centre.
    pub rotate_degrees: f64,
    /// Scale as a fraction: 0.1 draws a factor between 0.9 and 1.1.
    pub scale: f64,
    /// Horizontal shear in degrees.
    pub shear_degrees: f64,
    /// Elastic distortion: the displacement in pixels (root mean square) of a smooth random field.
    pub elastic_pixels: f64,
    /// Smoothness of the elastic field: the standard deviation in pixels of the Gaussian that blurs it.
    #[serde(default = "default_elastic_smoothness")]
    pub elastic_smoothness: f64,
}
