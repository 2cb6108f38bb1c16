//! Random numbers and orders whose values are part of kiln's contract: written out here, since the distributions of the
//! `rand` crate may change their values between releases, and then a seed would mean something else.

use rand::Rng;

/// A number from the uniform distribution over `0..1`, on a grid of 2^-53.
pub fn uniform(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A number from the uniform distribution over `-limit..limit`.
pub fn uniform_symmetric(rng: &mut impl Rng, limit: f64) -> f64 {
    limit * (2.0 * uniform(rng) - 1.0)
}

/// A whole number from the uniform distribution over `0..count` (Lemire, 2019, without the rejection step: the bias is
/// below `count` / 2^64).
pub fn below(rng: &mut impl Rng, count: usize) -> usize {
    ((u128::from(rng.next_u64()) * count as u128) >> 64) as usize
}

/// Puts `items` into an order drawn uniformly from all orders (Fisher and Yates).
pub fn shuffle<T>(rng: &mut impl Rng, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(rng, last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{Purpose, Stream};

    #[test]
    fn a_seed_keeps_its_meaning() {
        let mut rng = Stream::new(42, Purpose::Shuffle).at(1, 0);
        let mut items: Vec<u8> = (0..10).collect();
        shuffle(&mut rng, &mut items);
        insta::assert_compact_debug_snapshot!(items, @"[6, 2, 8, 7, 9, 1, 3, 4, 5, 0]");
        insta::assert_compact_debug_snapshot!((below(&mut rng, 1000), uniform(&mut rng), uniform_symmetric(&mut rng, 2.0)), @"(415, 0.3878674247145948, 1.1917978939325358)");
    }

    #[test]
    fn a_shuffle_keeps_every_item_and_each_place_is_equally_likely() {
        let mut counts = [[0; 4]; 4];
        let stream = Stream::new(1, Purpose::Shuffle);
        for index in 0..4000 {
            let mut items = [0, 1, 2, 3];
            shuffle(&mut stream.at(0, index), &mut items);
            for (place, item) in items.into_iter().enumerate() {
                counts[place][item] += 1;
            }
        }
        // Expected 1000 each, standard deviation 27.
        assert!(counts.as_flattened().iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
