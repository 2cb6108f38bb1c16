//! Image sets in the binary form of CIFAR-10 (Krizhevsky, 2009): <https://www.cs.toronto.edu/~kriz/cifar.html>.

use std::io::Read as _;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Source, Splits};
use crate::check::{Check, Problems};
use crate::data::{DataPath, ImageSet, ImageShape};
use crate::{Error, Result};

const SHAPE: ImageShape = ImageShape { channels: 3, height: 32, width: 32 };

const CLASSES: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// A label, then the red, the green and the blue pixels: the order that kiln keeps them in.
const RECORD: usize = 1 + 3 * 32 * 32;

/// The bytes read of one file; the originals hold 10,000 records.
const LARGEST_FILE: u64 = 1_000_000 * RECORD as u64;

/// CIFAR-10 in its binary version: 60,000 colour pictures of 10 kinds of things.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cifar10Config {
    /// The folder that holds `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`.
    pub path: DataPath,
}

impl Check for Cifar10Config {
    fn check(&self, problems: &mut Problems) {
        self.path.check("path", problems);
    }
}

impl Source for Cifar10Config {
    fn open(&self, _seed: u64) -> Result<Splits> {
        let folder = self.path.absolute();
        let train = [1, 2, 3, 4, 5].map(|batch| folder.join(format!("data_batch_{batch}.bin")));
        let test = [folder.join("test_batch.bin")];
        Ok(Splits { train: read(&train)?, test: read(&test)?, notices: Vec::new() })
    }

    #[cfg(test)]
    fn example(folder: &Path) -> Self {
        let records: Vec<u8> = (0..10).flat_map(|label| [vec![label], vec![20 * label; RECORD - 1]].concat()).collect();
        for name in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"] {
            std::fs::write(folder.join(format!("{name}.bin")), &records).unwrap();
        }
        Self { path: folder.into() }
    }
}

/// The images of several files, one file after the other.
fn read(files: &[impl AsRef<Path>]) -> Result<ImageSet> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for path in files {
        let path = path.as_ref();
        let refuse = |what: String| {
            Error::usage(format!("`{}`: {what}", path.display()))
                .tip("`data.path` must be the folder of CIFAR-10's binary version; unpack the archive again")
        };
        let bytes = read_bytes(path).map_err(|error| refuse("cannot be read".into()).caused_by(error))?;
        if bytes.is_empty() || bytes.len() % RECORD != 0 {
            return Err(refuse(format!("must hold images of {RECORD} bytes each, got {} bytes", bytes.len())));
        }
        for record in bytes.chunks_exact(RECORD) {
            if usize::from(record[0]) >= CLASSES.len() {
                return Err(refuse(format!("labels must be 0 to {}, got {}", CLASSES.len() - 1, record[0])));
            }
            labels.push(u16::from(record[0]));
            pixels.extend_from_slice(&record[1..]);
        }
    }
    ImageSet::new(SHAPE, pixels, labels, CLASSES.map(str::to_owned).into())
}

fn read_bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LARGEST_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}
