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
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn a_seed_keeps_its_meaning() {
        let mut rng = ChaCha8Rng::from_seed([42; 32]);
        let mut items: Vec<u8> = (0..10).collect();
        shuffle(&mut rng, &mut items);
        assert_eq!(items, [7, 9, 8, 2, 5, 4, 1, 3, 6, 0]);
        let drawn = (below(&mut rng, 1000), uniform(&mut rng), uniform_symmetric(&mut rng, 2.0));
        assert_eq!(drawn, (503, 0.743_809_518_772_604_3, 0.848_271_957_168_972_5));
    }

    #[test]
    fn a_shuffle_keeps_every_item_and_each_place_is_equally_likely() {
        let mut counts = [[0; 4]; 4];
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..4000 {
            let mut items = [0, 1, 2, 3];
            shuffle(&mut rng, &mut items);
            for (place, item) in items.into_iter().enumerate() {
                counts[place][item] += 1;
            }
        }
        // Expected 1000 each, standard deviation 27.
        assert!(counts.as_flattened().iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
