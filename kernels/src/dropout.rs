//! Dropout whose mask is a function of (seed, index), so that it needs no storage and no order.

use super::fill::filled;
use super::simd::{BLOCK, vectorised};

/// `values[i] / (1 - probability)`, or 0 for the indices that (seed, i) picks with this probability. Its own gradient, too:
/// the same function of the output's gradient.
///
/// # Panics
/// If `probability` is not in 0..=1.
pub fn dropout(values: &[f32], probability: f64, seed: u64) -> Vec<f32> {
    assert!((0.0..=1.0).contains(&probability), "dropout: the probability must be in 0..=1, got {probability}");
    let scale = (1.0 / (1.0 - probability)) as f32;
    let threshold = (probability * (1u64 << 32) as f64) as u64;
    filled(values.len(), BLOCK, |block, part| {
        let first = block * BLOCK;
        vectorised(
            #[inline(always)]
            || {
                for (i, (part, value)) in part.iter_mut().zip(&values[first..]).enumerate() {
                    let drawn = mix(seed.wrapping_add((first + i) as u64)) >> 32;
                    *part = if drawn < threshold { 0.0 } else { value * scale };
                }
            },
        );
    })
}

/// The output function of SplitMix64 (Steele, Lea and Flood, 2014) at this counter.
#[inline(always)]
fn mix(counter: u64) -> u64 {
    let z = counter.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
