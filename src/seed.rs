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
    /// The order of the images in an epoch; the index is the pass within that epoch.
    Shuffle,
    /// The distortion of one image in one epoch; the index is the image's position in the epoch's order.
    Augmentation,
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
            Self::Shuffle => "shuffle",
            Self::Augmentation => "augmentation",
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

    /// The generator for (`epoch`, `index`): ChaCha8 keyed by seed and purpose, on its own 64-bit stream number.
    ///
    /// Epochs take the high 24 bits and indices the low 40, so streams never overlap below 16 million epochs.
    pub fn at(&self, epoch: usize, index: usize) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::from_seed(self.key);
        rng.set_stream(((epoch as u64) << 40) | (index as u64 & ((1 << 40) - 1)));
        rng
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
