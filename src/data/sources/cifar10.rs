//! CIFAR-10, in its binary version.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cifar::Cifar;
use super::published::{Known, Published};
use super::{Source, Splits, yes};
use crate::Result;
use crate::check::{Check, Problems};
use crate::data::DataPath;

/// CIFAR-10 (Krizhevsky, 2009), 60,000 colour photographs of 32 x 32 pixels in 10 classes: its binary version, from the
/// archive or the folder that is in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Cifar10Config {
    /// The archive `cifar-10-binary.tar.gz`, or its folder `cifar-10-batches-bin`.
    pub path: Option<DataPath>,
    /// Refuse another archive than the one that was published, by its SHA-256; false checks the form alone.
    #[serde(default = "yes")]
    pub verify: bool,
}

impl Default for Cifar10Config {
    fn default() -> Self {
        Self { path: None, verify: true }
    }
}

const CIFAR_10: Cifar = Cifar {
    published: Published {
        name: "CIFAR-10",
        from: "https://www.cs.toronto.edu/~kriz/cifar.html",
        or: None,
        files: &[Known {
            name: "cifar-10-binary.tar.gz",
            size: 170_052_171,
            sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        }],
    },
    train: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
    test: "test_batch.bin",
    labels: 1,
    label: 0,
    classes: &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
};

impl Check for Cifar10Config {
    fn check(&self, problems: &mut Problems) {
        if let Some(path) = &self.path {
            path.check("path", problems);
        }
    }
}

impl Source for Cifar10Config {
    fn open(&self, _seed: u64) -> Result<Splits> {
        CIFAR_10.open(self.path.as_ref(), self.verify)
    }

    #[cfg(test)]
    fn example(folder: &std::path::Path) -> Self {
        CIFAR_10.write_example(folder);
        Self { path: Some(folder.into()), verify: false }
    }
}
