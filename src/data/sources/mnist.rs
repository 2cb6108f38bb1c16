//! MNIST through `burn_dataset`, made safe: the files in its cache folder are checked before it reads them, and replaced
//! from the copies embedded in the program where they are missing or wrong. So it never reaches for the network.

use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn_dataset::Dataset;
use burn_dataset::vision::{MnistDataset, MnistItem};
use flate2::read::GzDecoder;
use kiln_pixels::table;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Source, Splits};
use crate::check::{Check, Problems};
use crate::data::preprocess::Fit;
use crate::data::{ImageSet, ImageShape};
use crate::{Error, Result};

/// The 70,000 handwritten digits of MNIST, embedded in the program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MnistConfig {}

const SHAPE: ImageShape = ImageShape { channels: 1, height: 28, width: 28 };

/// One of the four files: where `burn_dataset` wants it, and what must be in it.
struct Embedded {
    split: &'static str,
    name: &'static str,
    packed: &'static [u8],
    /// Bytes when unpacked.
    size: usize,
    /// SHA-256 when unpacked.
    sha256: &'static str,
}

const FILES: [Embedded; 4] = [
    Embedded {
        split: "train",
        name: "train-images-idx3-ubyte",
        packed: include_bytes!("../../../data/mnist/train-images-idx3-ubyte.gz"),
        size: 16 + 60_000 * 784,
        sha256: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    },
    Embedded {
        split: "train",
        name: "train-labels-idx1-ubyte",
        packed: include_bytes!("../../../data/mnist/train-labels-idx1-ubyte.gz"),
        size: 8 + 60_000,
        sha256: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    },
    Embedded {
        split: "test",
        name: "t10k-images-idx3-ubyte",
        packed: include_bytes!("../../../data/mnist/t10k-images-idx3-ubyte.gz"),
        size: 16 + 10_000 * 784,
        sha256: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    },
    Embedded {
        split: "test",
        name: "t10k-labels-idx1-ubyte",
        packed: include_bytes!("../../../data/mnist/t10k-labels-idx1-ubyte.gz"),
        size: 8 + 10_000,
        sha256: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
];

impl Check for MnistConfig {
    fn check(&self, _: &mut Problems) {}
}

impl Source for MnistConfig {
    fn open(&self, _seed: u64) -> Result<Splits> {
        // The folder that `burn_dataset` will use: it asks the same function.
        let cache = dirs::cache_dir().ok_or_else(|| {
            Error::usage("MNIST is unpacked into the user's cache folder, and there is none")
                .tip("set HOME or XDG_CACHE_HOME to a folder that can be written")
        })?;
        let folder = cache.join("burn-dataset").join("mnist");
        let notices = prepare(&folder)?;
        let read = || rayon::join(|| read_split(&MnistDataset::train()), || read_split(&MnistDataset::test()));
        // `burn_dataset` panics when a file goes away between the check and its reading.
        let (train, test) = catch_unwind(AssertUnwindSafe(read)).map_err(|_| {
            Error::failed(format!("MNIST in `{}` changed while it was read", folder.display()))
                .tip("run the command again")
        })?;
        Ok(Splits { notices, ..Splits::new(train?, test?) })
    }

    fn fit(&self, shape: ImageShape) -> Fit {
        Fit::digit(shape)
    }

    #[cfg(test)]
    fn example(_: &Path) -> Self {
        Self {}
    }
}

/// Puts every file that is missing or wrong into `folder`; says which ones were wrong.
fn prepare(folder: &Path) -> Result<Vec<String>> {
    let notices: Vec<Option<String>> =
        FILES.par_iter().map(|file| prepare_file(file, &folder.join(file.split))).collect::<Result<_>>()?;
    Ok(notices.into_iter().flatten().collect())
}

fn prepare_file(file: &Embedded, folder: &Path) -> Result<Option<String>> {
    let path = folder.join(file.name);
    let fault = match inspect(file, &path) {
        State::Right => return Ok(None),
        State::Missing => None,
        State::Wrong(fault) => Some(fault),
    };
    write_atomically(&unpack(file)?, folder, &path).map_err(|error| {
        let why = fault.as_ref().map_or(String::new(), |fault| format!(" (the file there is wrong: {fault})"));
        Error::usage(format!("MNIST cannot be written to `{}`{why}", path.display()))
            .caused_by(error)
            .tip("make that folder writable, or set XDG_CACHE_HOME to a folder that can be written")
    })?;
    Ok(fault.map(|fault| {
        format!("`{}` was not MNIST's file ({fault}) and has been replaced from kiln's own copy", path.display())
    }))
}

enum State {
    Right,
    Missing,
    Wrong(String),
}

fn inspect(file: &Embedded, path: &Path) -> State {
    let found = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return State::Missing,
        Err(error) => return State::Wrong(error.to_string()),
        Ok(metadata) if !metadata.is_file() => return State::Wrong("not a file".into()),
        Ok(metadata) => metadata.len(),
    };
    if found != file.size as u64 {
        return State::Wrong(format!("{found} bytes instead of {}", file.size));
    }
    match std::fs::read(path) {
        Err(error) => State::Wrong(error.to_string()),
        Ok(bytes) => {
            let digest = hex::encode(Sha256::digest(&bytes));
            if digest == file.sha256 { State::Right } else { State::Wrong(format!("SHA-256 {}...", &digest[..12])) }
        }
    }
}

fn unpack(file: &Embedded) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(file.size);
    let unpacked = GzDecoder::new(file.packed).read_to_end(&mut bytes);
    if unpacked.is_err() || hex::encode(Sha256::digest(&bytes)) != file.sha256 {
        return Err(Error::failed(format!("the copy of `{}` embedded in this program is damaged", file.name))
            .tip("build kiln again from a clean checkout"));
    }
    Ok(bytes)
}

/// Other processes see the old file or the whole new one: it is written under another name and then renamed.
fn write_atomically(bytes: &[u8], folder: &Path, path: &PathBuf) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // As any file; the default is readable by its owner alone, and a cache may be shared.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.prefix(".kiln-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

fn read_split(dataset: &MnistDataset) -> Result<ImageSet> {
    let unreadable = |error| Error::failed("MNIST cannot be read through burn-dataset").caused_by(error);
    let mut pixels = vec![0; dataset.len() * SHAPE.len()];
    let labels = pixels
        .par_chunks_exact_mut(SHAPE.len())
        .enumerate()
        .map(|(index, out)| {
            let MnistItem { image, label } = dataset.get(index).map_err(unreadable)?;
            table::to_bytes(image.as_flattened(), out);
            Ok(u16::from(label))
        })
        .collect::<Result<Vec<u16>>>()?;
    let classes: Arc<[String]> = (0..10).map(|digit| digit.to_string()).collect();
    ImageSet::new(SHAPE, pixels, labels, classes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_wrong_files_are_replaced_and_only_wrong_ones_reported() {
        let folder = tempfile::tempdir().unwrap();
        assert!(prepare(folder.path()).unwrap().is_empty(), "a missing file is nothing to report");
        assert!(prepare(folder.path()).unwrap().is_empty(), "right files are left alone");

        let [truncated, flipped] = [&FILES[3], &FILES[1]].map(|file| folder.path().join(file.split).join(file.name));
        std::fs::write(&truncated, b"<html>").unwrap();
        let mut bytes = std::fs::read(&flipped).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&flipped, bytes).unwrap();
        let notices = prepare(folder.path()).unwrap();
        assert_eq!(notices.len(), 2);
        assert!(notices[0].contains("train-labels-idx1-ubyte` was not MNIST's file (SHA-256 "), "{}", notices[0]);
        assert!(notices[1].contains("(6 bytes instead of 10008)"), "{}", notices[1]);
        assert!(
            FILES
                .iter()
                .all(|file| { matches!(inspect(file, &folder.path().join(file.split).join(file.name)), State::Right) })
        );
    }

    #[test]
    fn processes_that_start_together_do_not_harm_each_other() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let open = || {
                let labels = [&FILES[1], &FILES[3]];
                for file in labels {
                    prepare_file(file, &folder.path().join(file.split)).unwrap();
                    let path = folder.path().join(file.split).join(file.name);
                    assert!(matches!(inspect(file, &path), State::Right));
                }
            };
            for _ in 0..8 {
                scope.spawn(open);
            }
        });
        let left = std::fs::read_dir(folder.path().join("train")).unwrap().count();
        assert_eq!(left, 1, "no temporary file is left behind");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_a_usage_error_with_a_way_out() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("train"), b"in the way").unwrap();
        let error = prepare(folder.path()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("MNIST cannot be written to `"), "{error}");
        assert!(error.tips()[0].contains("XDG_CACHE_HOME"));
    }
}
