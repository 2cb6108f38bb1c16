//! Noise instead of pixels, and noise on them.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

/// Replaces every pixel by one from the uniform distribution over 0..=255.
pub fn fill(pixels: &mut [u8], rng: &mut ChaCha8Rng) {
    pixels.iter_mut().for_each(|pixel| *pixel = (rng.next_u32() >> 24) as u8);
}

/// Adds to every pixel a nearly normal number of this standard deviation, in pixel values: the sum of four uniform ones.
pub fn add(pixels: &mut [u8], deviation: f64, rng: &mut ChaCha8Rng) {
    // Each of the four parts is uniform over 65,536 values, of variance 65,536^2 / 12.
    let scale = (deviation * 3.0_f64.sqrt() / 65_536.0) as f32;
    for pixel in pixels {
        let drawn = rng.next_u64();
        let sum = (0..4).map(|part| (drawn >> (16 * part)) as i32 & 0xffff).sum::<i32>() - 2 * 65_535;
        *pixel = (f32::from(*pixel) + sum as f32 * scale + 0.5) as u8;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn noise_has_the_asked_deviation_and_no_mean() {
        let mut image = vec![128; 10_000];
        add(&mut image, 20.0, &mut ChaCha8Rng::seed_from_u64(1));
        let away = |pixel: &u8| f64::from(*pixel) - 128.0;
        let mean = image.iter().map(away).sum::<f64>() / 1e4;
        let deviation = (image.iter().map(|pixel| away(pixel).powi(2)).sum::<f64>() / 1e4).sqrt();
        assert!(mean.abs() < 0.8 && (deviation - 20.0).abs() < 0.6, "{mean} {deviation}");
    }

    #[test]
    fn every_value_is_drawn_as_often() {
        let mut image = vec![0; 256 * 400];
        fill(&mut image, &mut ChaCha8Rng::seed_from_u64(1));
        let mut counts = [0; 256];
        image.iter().for_each(|pixel| counts[usize::from(*pixel)] += 1);
        // Expected 400 each, standard deviation 20.
        assert!(counts.iter().all(|count| (300..500).contains(count)), "{counts:?}");
    }
}
