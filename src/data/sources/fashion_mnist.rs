//! Fashion-MNIST: found where Debian's package puts it, or read from a folder or archive, and verified.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::idx::{self, FILES, Read, file};
use super::published::{Known, Published};
use super::store::Store;
use super::{Source, Splits, yes};
use crate::Result;
use crate::check::{Check, Problems};
use crate::data::DataPath;

/// Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017), 70,000 grey pictures of clothes in 10 classes: from Debian's package
/// `dataset-fashion-mnist`, or from a folder or archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FashionMnistConfig {
    /// The folder or archive that holds the four files, each plain or with `.gz`; unset: where Debian's package puts them.
    pub path: Option<DataPath>,
    /// Refuse other files than those that were published, by their SHA-256; false checks their form alone.
    #[serde(default = "yes")]
    pub verify: bool,
}

impl Default for FashionMnistConfig {
    fn default() -> Self {
        Self { path: None, verify: true }
    }
}

/// Where the package `dataset-fashion-mnist` puts the files.
const DEBIAN: &str = "/usr/share/datasets/fashion-mnist";

/// The classes by label.
const CLASSES: [&str; 10] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

const PUBLISHED: Published = Published {
    name: "Fashion-MNIST",
    from: "https://github.com/zalandoresearch/fashion-mnist (its folder data/fashion)",
    or: Some("on Debian and Ubuntu: apt install dataset-fashion-mnist, which is found without `data.path`"),
    files: &[
        Known {
            name: "train-images-idx3-ubyte.gz",
            size: 26_421_880,
            sha256: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        },
        Known {
            name: "train-labels-idx1-ubyte.gz",
            size: 29_515,
            sha256: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        },
        Known {
            name: "t10k-images-idx3-ubyte.gz",
            size: 4_422_102,
            sha256: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        },
        Known {
            name: "t10k-labels-idx1-ubyte.gz",
            size: 5_148,
            sha256: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
    ],
};

/// SHA-256 of the four files, not compressed, in the order of [`FILES`]: whoever compressed them, these are they.
const UNPACKED: [&str; 4] = [
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
];

impl Check for FashionMnistConfig {
    fn check(&self, problems: &mut Problems) {
        if let Some(path) = &self.path {
            path.check("path", problems);
        }
    }
}

impl Source for FashionMnistConfig {
    fn open(&self, _seed: u64) -> Result<Splits> {
        let debian = || Path::new(DEBIAN).is_dir().then(|| DataPath::from(DEBIAN));
        let path = self.path.clone().or_else(debian).ok_or_else(|| PUBLISHED.not_given())?;
        let store = Store::open(&path, "`data.path` must be a folder with four IDX files, or an archive of them")
            .map_err(|error| PUBLISHED.explain(error))?;
        let mut notices = Vec::new();
        let verify = |read: Read<'_>| {
            let (shown, sum) = match read {
                Read::Images(array) => (&array.shown, array.sha256()),
                Read::Labels(array) => (&array.shown, array.sha256()),
            };
            let place = FILES.iter().position(|name| shown.trim_end_matches(".gz").ends_with(name));
            match place.filter(|_| self.verify) {
                Some(place) => PUBLISHED.verify(shown, &sum, UNPACKED[place]),
                None => Ok(()),
            }
        };
        let [train, test] =
            idx::read(&store, FILES, &mut notices, &verify).map_err(|error| PUBLISHED.explain(error))?;
        if !self.verify {
            notices.push(PUBLISHED.unverified(false));
        }
        let names = CLASSES.map(str::to_owned);
        Ok(Splits { notices, ..file::splits(train, test, Some(&names))? })
    }

    #[cfg(test)]
    fn example(folder: &Path) -> Self {
        super::tests::published::write_idx(folder, FILES, 10, 0);
        Self { path: Some(folder.into()), verify: false }
    }
}
