//! `[data]`: its types, their defaults and their limits.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

use super::augment::AugmentConfig;
use super::sources::{MnistConfig, SourceConfig};
use crate::check::{Check, Problems};

/// `[data]`: where the images come from and how they are prepared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DataConfig {
    /// Where the images come from.
    #[serde(flatten)]
    pub source: SourceConfig,
    /// Images held out of the training set to choose the best epoch by, a number of them or a share below 1: stratified by
    /// class, drawn by the seed. 0 keeps every image for training, and then the last epoch is the one that is kept.
    #[serde(default)]
    pub validation: Validation,
    /// Decides which images are held out, and what made-up images look like; unset: the experiment's `seed`. With it, runs
    /// with different seeds are trained and judged on the same images.
    #[serde(default)]
    pub seed: Option<u64>,
    /// Random distortions of the training images, one after another, new in every epoch.
    #[serde(default)]
    pub augment: Vec<AugmentConfig>,
}

/// How many training images are held out: a whole number of them, or below 1 their share.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Validation(f64);

impl Validation {
    /// Whether none is held out.
    pub fn is_none(self) -> bool {
        self.0 == 0.0
    }

    /// The share that is held out, where it is given as one.
    pub fn share(self) -> Option<f64> {
        (self.0 > 0.0 && self.0 < 1.0).then_some(self.0)
    }

    /// How many of `images` are held out; a share is rounded, and never to none.
    pub fn of(self, images: usize) -> usize {
        self.share().map_or(self.0, |share| (share * images as f64).round().max(1.0)) as usize
    }
}

impl Default for Validation {
    fn default() -> Self {
        Self(0.1)
    }
}

impl From<usize> for Validation {
    fn from(images: usize) -> Self {
        Self(images as f64)
    }
}

impl Serialize for Validation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.share() {
            Some(share) => serializer.serialize_f64(share),
            None => serializer.serialize_u64(self.0 as u64),
        }
    }
}

impl JsonSchema for Validation {
    fn schema_name() -> Cow<'static, str> {
        "Validation".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number" })
    }
}

/// The longest list of augmentations.
const MOST_AUGMENTATIONS: usize = 32;

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            source: SourceConfig::Mnist(MnistConfig {}),
            validation: Validation::default(),
            seed: None,
            augment: Vec::new(),
        }
    }
}

impl DataConfig {
    /// The seed of the images in an experiment with this `seed`.
    pub(crate) fn seed_within(&self, seed: u64) -> u64 {
        self.seed.unwrap_or(seed)
    }
}

impl Check for DataConfig {
    fn check(&self, problems: &mut Problems) {
        self.source.check(problems);
        let Validation(held_out) = self.validation;
        let allowed = (0.0..1.0).contains(&held_out) || (held_out >= 1.0 && held_out.fract() == 0.0);
        problems.require(allowed && held_out < 1e15, "validation", || {
            format!("must be a share of the training images below 1 or a whole number of them, got {held_out}")
        });
        let seed = self.seed.unwrap_or(0);
        problems.require(i64::try_from(seed).is_ok(), "seed", || format!("must be at most {}, got {seed}", i64::MAX));
        let count = self.augment.len();
        problems.require(count <= MOST_AUGMENTATIONS, "augment", || {
            format!("must be at most {MOST_AUGMENTATIONS} kinds, got {count}")
        });
        for (index, augment) in self.augment.iter().enumerate() {
            problems.within(format!("augment[{index}]"), |problems| augment.check(problems));
        }
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
    fn a_share_and_a_number_of_validation_images_are_told_apart() {
        let of = |text: &str| {
            let config: DataConfig = toml::from_str(&format!("kind = \"mnist\"\nvalidation = {text}")).unwrap();
            let written = serde_json::to_value(&config).unwrap()["validation"].to_string();
            (config.validation.of(415), config.validation.is_none(), written)
        };
        assert_eq!(of("0.1"), (42, false, "0.1".into()));
        assert_eq!(of("1"), (1, false, "1".into()));
        assert_eq!(of("5000"), (5000, false, "5000".into()));
        assert_eq!(of("0"), (0, true, "0".into()));
        assert_eq!(of("0.0"), (0, true, "0".into()));
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
        for wrong in ["-1", "1.5", "-0.1", "1e300"] {
            let found = problems(&format!("kind = \"mnist\"\nvalidation = {wrong}"));
            assert!(found[0].starts_with("validation: must be a share of the training images below 1 or"), "{found:?}");
        }
        let augment = "kind = \"mnist\"\n[[augment]]\nkind = \"affine\"\nscale = 1.0\nrotate_degrees = -1\nfill = 256\n\
                       [[augment]]\nkind = \"elastic\"\nsmoothness = nan";
        assert_eq!(
            problems(augment),
            [
                "augment[0].rotate_degrees: must be at least 0, got -1",
                "augment[0].scale: must be at least 0 and below 1, got 1",
                "augment[0].fill: must be at most 255, got 256",
                "augment[1].smoothness: must be above 0 and at most 64, got NaN",
            ]
        );
    }
}
