//! Every random draw in kiln is a function of (seed, purpose, epoch, index).
//!
//! There is no generator that threads share or that a process carries along, so the draws for epoch 7 are the same
//! whether the process started at epoch 1 or was resumed at epoch 7, and whatever the number of threads.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// What a draw is for; each purpose has its own independent streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Initial weights, indexed by parameter.
    Initialisation,
    /// The split into training and validation images; the index is the class.
    Split,
    /// Which pictures of a folder without test images become those.
    Test,
    /// The order of the images in an epoch; the index is the pass within that epoch.
    Shuffle,
    /// The distortion of one image in one epoch; the index is the image's position in the epoch's order.
    Augmentation,
    /// How a batch's images are mixed; the index is the position of its first image in the epoch's order.
    Mixing,
    /// The dropout masks; the index is the iteration.
    Dropout,
    /// The made-up images of the synthetic data set.
    Synthetic,
    /// Which images and seeds a resample of a comparison holds; the index is the resample.
    Resample,
    /// The values that a trial of a sweep tries; the epoch is the generation, the index the trial.
    Sweep,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Initialisation => "initialisation",
            Self::Split => "split",
            Self::Test => "test",
            Self::Shuffle => "shuffle",
            Self::Augmentation => "augmentation",
            Self::Mixing => "mixing",
            Self::Dropout => "dropout",
            Self::Synthetic => "synthetic",
            Self::Resample => "resample",
            Self::Sweep => "sweep",
        }
    }
}

/// All streams of one purpose under one seed. Cheap to copy; make it once and draw from it per epoch and index.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    key: [u8; 32],
}

impl Stream {
    /// The streams for `purpose` under the experiment's `seed`.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        let mut hash = Sha256::new();
        hash.update(seed.to_le_bytes());
        hash.update(purpose.name().as_bytes());
        Self { key: hash.finalize().into() }
    }

    /// The streams of one `part` of what `purpose` is for, which no other part shares.
    pub fn of_part(seed: u64, purpose: Purpose, part: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(seed.to_le_bytes());
        // No name of a purpose has a slash.
        hash.update(format!("{}/{part}", purpose.name()).as_bytes());
        Self { key: hash.finalize().into() }
    }

    /// The generator for (`epoch`, `index`): ChaCha8 keyed by seed and purpose, on its own 64-bit stream number.
    ///
    /// Epochs take the high 24 bits and indices the low 40, so streams never overlap below 16 million epochs.
    pub fn at(&self, epoch: usize, index: usize) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::from_seed(self.key);
        rng.set_stream(((epoch as u64) << 40) | (index as u64 & ((1 << 40) - 1)));
        rng
    }

    /// A number from 0 to below 1 that depends on `content` alone, uniform over contents.
    pub fn of_content(&self, content: &[u8]) -> f64 {
        let mut hash = Sha256::new();
        hash.update(self.key);
        hash.update(content);
        let digest: [u8; 32] = hash.finalize().into();
        let number = digest[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        (number >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A 64-bit number for (`epoch`, `index`), for consumers that seed a generator of their own.
    pub fn number(&self, epoch: usize, index: usize) -> u64 {
        use rand::Rng as _;
        self.at(epoch, index).next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_depend_on_seed_purpose_epoch_and_index_and_on_nothing_else() {
        let draw = |seed, purpose, epoch, index| Stream::new(seed, purpose).number(epoch, index);
        let base = draw(1, Purpose::Shuffle, 2, 3);
        assert_eq!(base, draw(1, Purpose::Shuffle, 2, 3));
        assert_ne!(base, Stream::of_part(1, Purpose::Shuffle, "").number(2, 3));
        assert_ne!(
            Stream::of_part(1, Purpose::Shuffle, "a").number(2, 3),
            Stream::of_part(1, Purpose::Shuffle, "b").number(2, 3)
        );
        for other in [
            draw(2, Purpose::Shuffle, 2, 3),
            draw(1, Purpose::Split, 2, 3),
            draw(1, Purpose::Shuffle, 3, 3),
            draw(1, Purpose::Shuffle, 2, 4),
        ] {
            assert_ne!(base, other);
        }
    }
}
