//! Noise on every pixel.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fill::Pictures;
use super::{Augmentation, Distort, Scratch, Step};
use crate::check::{Check, Problems};
use crate::seed::Stream;

/// A nearly normal number (the sum of four uniform ones) added to every pixel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NoiseConfig {
    /// Its standard deviation in pixel values, 0 to 255.
    pub deviation: f64,
}

impl Default for NoiseConfig {
    fn default() -> Self {
        Self { deviation: 10.0 }
    }
}

impl Check for NoiseConfig {
    fn check(&self, problems: &mut Problems) {
        problems.within_range("deviation", self.deviation, 0.0..=255.0);
    }
}

impl Augmentation for NoiseConfig {
    fn examples() -> Vec<Self> {
        vec![Self { deviation: 20.0 }]
    }

    fn words(&self) -> String {
        format!("noise of deviation {} on every pixel", self.deviation)
    }

    fn is_identity(&self) -> bool {
        self.deviation == 0.0
    }

    fn step(&self, _pictures: &Pictures<'_>, stream: Stream) -> Step {
        // Each of the four parts is uniform over 65,536 values, of variance 65,536^2 / 12.
        let scale = self.deviation * 3.0_f64.sqrt() / 65_536.0;
        Step::other(Noise { scale: scale as f32 }, stream)
    }
}

#[derive(Debug)]
struct Noise {
    /// What the sum of four 16-bit numbers, less its mean, is multiplied by.
    scale: f32,
}

impl Distort for Noise {
    fn distort(&self, rng: &mut ChaCha8Rng, _scratch: &mut Scratch, image: &mut [u8]) {
        for pixel in image {
            let drawn = rng.next_u64();
            let sum = (0..4).map(|part| (drawn >> (16 * part)) as i32 & 0xffff).sum::<i32>() - 2 * 65_535;
            *pixel = (f32::from(*pixel) + sum as f32 * self.scale + 0.5) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{ImageSet, ImageShape};
    use crate::seed::Purpose;

    #[test]
    fn noise_has_the_asked_deviation_and_no_mean() {
        let shape = ImageShape { channels: 1, height: 100, width: 100 };
        let set = ImageSet::new(shape, vec![128; 10_000], vec![0], ["0".to_owned()].into()).unwrap();
        let stream = Stream::new(1, Purpose::Augmentation);
        let Step::Other(noise, _) = NoiseConfig { deviation: 20.0 }.step(&Pictures::new(&set), stream) else {
            panic!("noise moves no pixels");
        };
        let mut image = vec![128; 10_000];
        noise.distort(&mut stream.at(1, 0), &mut Scratch::default(), &mut image);
        let away = |pixel: &u8| f64::from(*pixel) - 128.0;
        let mean = image.iter().map(away).sum::<f64>() / 1e4;
        let deviation = (image.iter().map(|pixel| away(pixel).powi(2)).sum::<f64>() / 1e4).sqrt();
        assert!(mean.abs() < 0.8 && (deviation - 20.0).abs() < 0.6, "{mean} {deviation}");
    }
}
