//! Kuzushiji-MNIST, from a folder or archive, and verified.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::idx::{self, FILES, file};
use super::published::{Known, Published};
use super::store::Store;
use super::{Source, Splits, yes};
use crate::Result;
use crate::check::{Check, Problems};
use crate::data::DataPath;

/// Kuzushiji-MNIST (Clanuwat et al., 2018), 70,000 grey pictures of cursive Japanese characters in 10 classes: from a
/// folder or archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct KmnistConfig {
    /// The folder or archive that holds the four files under MNIST's names, each plain or with `.gz`.
    pub path: Option<DataPath>,
    /// Refuse other files than those that were published, by their SHA-256; false checks their form alone.
    #[serde(default = "yes")]
    pub verify: bool,
}

impl Default for KmnistConfig {
    fn default() -> Self {
        Self { path: None, verify: true }
    }
}

/// The classes by label: the characters' readings.
const CLASSES: [&str; 10] = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"];

const PUBLISHED: Published = Published {
    name: "Kuzushiji-MNIST",
    from: "http://codh.rois.ac.jp/kmnist/dataset/kmnist/ (described at https://github.com/rois-codh/kmnist)",
    or: None,
    files: &[
        Known {
            name: "train-images-idx3-ubyte.gz",
            size: 18_165_135,
            sha256: "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        },
        Known {
            name: "train-labels-idx1-ubyte.gz",
            size: 29_497,
            sha256: "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        },
        Known {
            name: "t10k-images-idx3-ubyte.gz",
            size: 3_041_136,
            sha256: "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        },
        Known {
            name: "t10k-labels-idx1-ubyte.gz",
            size: 5_120,
            sha256: "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        },
    ],
};

impl Check for KmnistConfig {
    fn check(&self, problems: &mut Problems) {
        if let Some(path) = &self.path {
            path.check("path", problems);
        }
    }
}

impl Source for KmnistConfig {
    fn open(&self, _seed: u64) -> Result<Splits> {
        let path = self.path.clone().ok_or_else(|| PUBLISHED.not_given())?;
        let store = Store::open(&path, "`data.path` must be a folder with four IDX files, or an archive of them")
            .map_err(|error| PUBLISHED.explain(error))?;
        let mut notices = Vec::new();
        let is_verified = self.verify && PUBLISHED.verify_files(&store)?;
        if !is_verified {
            notices.push(PUBLISHED.unverified(self.verify));
        }
        let [train, test] =
            idx::read(&store, FILES, &mut notices, &|_| Ok(())).map_err(|error| PUBLISHED.explain(error))?;
        let names = CLASSES.map(str::to_owned);
        Ok(Splits { notices, ..file::splits(train, test, Some(&names))? })
    }

    #[cfg(test)]
    fn example(folder: &std::path::Path) -> Self {
        super::tests::published::write_idx(folder, FILES, 10, 1);
        Self { path: Some(folder.into()), verify: false }
    }
}
