//! CIFAR-100, in its binary version.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cifar::Cifar;
use super::published::{Known, Published};
use super::{Source, Splits, yes};
use crate::Result;
use crate::check::{Check, Problems};
use crate::data::DataPath;

/// CIFAR-100 (Krizhevsky, 2009), 60,000 colour photographs of 32 x 32 pixels in 100 classes, or 20 coarse ones: its binary
/// version, from the archive or the folder that is in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Cifar100Config {
    /// The archive `cifar-100-binary.tar.gz`, or its folder `cifar-100-binary`.
    pub path: Option<DataPath>,
    /// Which of the two labels of every picture.
    pub labels: Cifar100Labels,
    /// Refuse another archive than the one that was published, by its SHA-256; false checks the form alone.
    #[serde(default = "yes")]
    pub verify: bool,
}

/// The labels of CIFAR-100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cifar100Labels {
    /// 100 classes.
    #[default]
    Fine,
    /// 20 classes, each of five of the others.
    Coarse,
}

impl Default for Cifar100Config {
    fn default() -> Self {
        Self { path: None, labels: Cifar100Labels::default(), verify: true }
    }
}

const FINE: [&str; 100] = [
    "apple",
    "aquarium_fish",
    "baby",
    "bear",
    "beaver",
    "bed",
    "bee",
    "beetle",
    "bicycle",
    "bottle",
    "bowl",
    "boy",
    "bridge",
    "bus",
    "butterfly",
    "camel",
    "can",
    "castle",
    "caterpillar",
    "cattle",
    "chair",
    "chimpanzee",
    "clock",
    "cloud",
    "cockroach",
    "couch",
    "crab",
    "crocodile",
    "cup",
    "dinosaur",
    "dolphin",
    "elephant",
    "flatfish",
    "forest",
    "fox",
    "girl",
    "hamster",
    "house",
    "kangaroo",
    "keyboard",
    "lamp",
    "lawn_mower",
    "leopard",
    "lion",
    "lizard",
    "lobster",
    "man",
    "maple_tree",
    "motorcycle",
    "mountain",
    "mouse",
    "mushroom",
    "oak_tree",
    "orange",
    "orchid",
    "otter",
    "palm_tree",
    "pear",
    "pickup_truck",
    "pine_tree",
    "plain",
    "plate",
    "poppy",
    "porcupine",
    "possum",
    "rabbit",
    "raccoon",
    "ray",
    "road",
    "rocket",
    "rose",
    "sea",
    "seal",
    "shark",
    "shrew",
    "skunk",
    "skyscraper",
    "snail",
    "snake",
    "spider",
    "squirrel",
    "streetcar",
    "sunflower",
    "sweet_pepper",
    "table",
    "tank",
    "telephone",
    "television",
    "tiger",
    "tractor",
    "train",
    "trout",
    "tulip",
    "turtle",
    "wardrobe",
    "whale",
    "willow_tree",
    "wolf",
    "woman",
    "worm",
];

const COARSE: [&str; 20] = [
    "aquatic_mammals",
    "fish",
    "flowers",
    "food_containers",
    "fruit_and_vegetables",
    "household_electrical_devices",
    "household_furniture",
    "insects",
    "large_carnivores",
    "large_man-made_outdoor_things",
    "large_natural_outdoor_scenes",
    "large_omnivores_and_herbivores",
    "medium_mammals",
    "non-insect_invertebrates",
    "people",
    "reptiles",
    "small_mammals",
    "trees",
    "vehicles_1",
    "vehicles_2",
];

impl Cifar100Config {
    fn set(&self) -> Cifar {
        let (label, classes): (usize, &'static [&'static str]) = match self.labels {
            Cifar100Labels::Coarse => (0, &COARSE),
            Cifar100Labels::Fine => (1, &FINE),
        };
        Cifar {
            published: Published {
                name: "CIFAR-100",
                from: "https://www.cs.toronto.edu/~kriz/cifar.html",
                or: None,
                files: &[Known {
                    name: "cifar-100-binary.tar.gz",
                    size: 168_513_733,
                    sha256: "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
                }],
            },
            train: &["train.bin"],
            test: "test.bin",
            labels: 2,
            label,
            classes,
        }
    }
}

impl Check for Cifar100Config {
    fn check(&self, problems: &mut Problems) {
        if let Some(path) = &self.path {
            path.check("path", problems);
        }
    }
}

impl Source for Cifar100Config {
    fn open(&self, _seed: u64) -> Result<Splits> {
        self.set().open(self.path.as_ref(), self.verify)
    }

    #[cfg(test)]
    fn example(folder: &std::path::Path) -> Self {
        let config = Self { path: Some(folder.into()), verify: false, ..Self::default() };
        config.set().write_example(folder);
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_in_the_order_of_the_alphabet_as_the_labels_are() {
        assert!(FINE.is_sorted() && COARSE.is_sorted());
    }
}
