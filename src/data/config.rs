//! `[data]`: its types, their defaults and their limits.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::augment::AugmentConfig;
use super::sources::{MnistConfig, SourceConfig};
use crate::check::{Check, Problems};

/// `[data]`: where the images come from and how they are prepared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DataConfig {
    /// Where the images come from.
    #[serde(flatten)]
    pub source: SourceConfig,
    /// Images held out of the training set to choose the best epoch by: stratified by class, drawn by the seed. 0 keeps
    /// every image for training, and then the last epoch is the one that is kept.
    #[serde(default = "default_validation")]
    pub validation: usize,
    /// Decides which images are held out, and what made-up images look like; unset: the experiment's `seed`. With it, runs
    /// with different seeds are trained and judged on the same images.
    #[serde(default)]
    pub seed: Option<u64>,
    /// Random distortions of the training images, new in every epoch.
    #[serde(default)]
    pub augment: AugmentConfig,
}

fn default_validation() -> usize {
    5000
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            source: SourceConfig::Mnist(MnistConfig {}),
            validation: default_validation(),
            seed: None,
            augment: AugmentConfig::default(),
        }
    }
}

impl DataConfig {
    /// The seed of the images in an experiment with this `seed`.
    pub(super) fn seed_within(&self, seed: u64) -> u64 {
        self.seed.unwrap_or(seed)
    }
}

impl Check for DataConfig {
    fn check(&self, problems: &mut Problems) {
        self.source.check(problems);
        let seed = self.seed.unwrap_or(0);
        problems.require(i64::try_from(seed).is_ok(), "seed", || format!("must be at most {}, got {seed}", i64::MAX));
        problems.within("augment", |problems| self.augment.check(problems));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(toml: &str) -> Vec<String> {
        let config: DataConfig = toml::from_str(toml).unwrap();
        let mut problems = Problems::default();
        config.check(&mut problems);
        problems.into_vec().into_iter().map(|problem| format!("{}: {}", problem.key, problem.message)).collect()
    }

    #[test]
    fn the_default_is_allowed() {
        assert!(problems("kind = \"mnist\"").is_empty());
        assert!(problems("kind = \"synthetic\"").is_empty());
    }

    #[test]
    fn every_value_out_of_range_is_named_with_what_is_allowed() {
        let synthetic = "kind = \"synthetic\"\nclasses = 1\ntrain = 0\ntest = 0\nchannels = 2\nheight = 3\nnoise = 2.0";
        assert_eq!(
            problems(synthetic),
            [
                "classes: must be 2 to 100, got 1",
                "train: must be 1 (one image per class) to 1000000, got 0",
                "test: must be 1 to 1000000, got 0",
                "channels: must be 1 (grey) or 3 (colour), got 2",
                "height: must be 4 to 512, got 3",
                "noise: must be 0 to 1, got 2",
            ]
        );
        assert_eq!(problems("kind = \"idx\"\npath = \"\""), ["path: must name a folder, got an empty path"]);
        let augment = "kind = \"mnist\"\n[augment]\nscale = 1.0\nrotate_degrees = -1\nelastic_smoothness = nan";
        assert_eq!(
            problems(augment),
            [
                "augment.rotate_degrees: must be 0 to 180, got -1",
                "augment.scale: must be at least 0 and below 1, got 1",
                "augment.elastic_smoothness: must be above 0 and at most 64, got NaN",
            ]
        );
    }
}
