//! The binary version of CIFAR-10 and CIFAR-100: rows of labels and 3 x 32 x 32 pixels, in a folder or in its archive.

use std::sync::Arc;

use super::published::Published;
use super::store::{Store, Stored, all};
use super::{Splits, allocate};
use crate::data::{DataPath, ImageSet, ImageShape};
use crate::{Error, Result};

/// The size of every picture.
const SHAPE: ImageShape = ImageShape { channels: 3, height: 32, width: 32 };

/// One of the two sets.
pub(super) struct Cifar {
    /// Where to get it.
    pub(super) published: Published,
    /// The files of the training pictures, in this order.
    pub(super) train: &'static [&'static str],
    /// The file of the test pictures.
    pub(super) test: &'static str,
    /// Bytes before the pixels of each row.
    pub(super) labels: usize,
    /// Which of them is the label.
    pub(super) label: usize,
    /// The classes by label.
    pub(super) classes: &'static [&'static str],
}

impl Cifar {
    /// Reads the set at `path`.
    ///
    /// # Errors
    /// A usage error with where to get it, when it is not there, or is damaged.
    pub(super) fn open(&self, path: Option<&DataPath>, verify: bool) -> Result<Splits> {
        let path = path.ok_or_else(|| self.published.not_given())?;
        let layout =
            "`data.path` must be the archive, or the folder that is in it: the binary version, not the Python one";
        let explain = |error| self.published.explain(error);
        let store = Store::open(path, layout).map_err(explain)?;
        let is_verified = verify && self.published.verify_archive(&store)?;
        let notices = if is_verified { Vec::new() } else { vec![self.published.unverified(verify)] };
        let names: Vec<&str> = self.train.iter().copied().chain([self.test]).collect();
        let found = all(names.iter().map(|name| self.find(&store, name))).map_err(explain)?;
        let mut files = store.read(&found).map_err(explain)?;
        all(files.iter().map(|file| self.check(file))).map_err(explain)?;
        let classes: Arc<[String]> = self.classes.iter().map(|name| (*name).to_owned()).collect();
        let test = files.split_off(self.train.len());
        Ok(Splits { notices, ..Splits::new(self.set(&files, &classes)?, self.set(&test, &classes)?) })
    }

    fn find<'a>(&self, store: &'a Store, name: &str) -> Result<&'a str> {
        store.find(name).ok_or_else(|| {
            Error::usage(format!("`{}`: no such file", store.shown(name))).tip(format!(
                "there must be {} and {}; there is {}",
                self.train.join(", "),
                self.test,
                store.holds()
            ))
        })
    }

    /// Bytes of a row.
    fn row(&self) -> usize {
        self.labels + SHAPE.len()
    }

    fn check(&self, file: &Stored) -> Result<()> {
        let (size, row) = (file.bytes.len(), self.row());
        if size == 0 || !size.is_multiple_of(row) {
            return Err(Error::usage(format!(
                "`{}`: must hold rows of {row} bytes ({} for labels, {} for a picture), got {size} bytes",
                file.shown,
                self.labels,
                SHAPE.len()
            ))
            .tip("the file was cut off, or is not the binary version; get it again"));
        }
        let labels = file.bytes.iter().skip(self.label).step_by(row);
        if let Some((index, label)) = labels.enumerate().find(|(_, label)| usize::from(**label) >= self.classes.len()) {
            return Err(Error::usage(format!(
                "`{}`: labels must be below {}, got {label} in row {index}",
                file.shown,
                self.classes.len()
            ))
            .tip("the file is damaged, or of another set; get it again"));
        }
        Ok(())
    }

    fn set(&self, files: &[Stored], classes: &Arc<[String]>) -> Result<ImageSet> {
        let images = files.iter().map(|file| file.bytes.len() / self.row()).sum();
        let mut pixels = allocate(images, SHAPE)?;
        let rows = files.iter().flat_map(|file| file.bytes.chunks_exact(self.row()));
        let labels = rows
            .zip(pixels.chunks_exact_mut(SHAPE.len()))
            .map(|(row, out)| {
                out.copy_from_slice(&row[self.labels..]);
                u16::from(row[self.label])
            })
            .collect();
        ImageSet::new(SHAPE, pixels, labels, classes.clone())
    }

    /// Writes a small set with one picture or more of every class.
    #[cfg(test)]
    pub(super) fn write_example(&self, folder: &std::path::Path) {
        let write = |name: &str, rows: usize, first: usize| {
            let row = |index: usize| {
                let mut row = vec![0; self.row()];
                row[self.label] = (index % self.classes.len()) as u8;
                let number = (first + index) as u8;
                row[self.labels..].iter_mut().enumerate().for_each(|(place, byte)| *byte = number ^ (place % 7) as u8);
                row
            };
            std::fs::write(folder.join(name), (0..rows).flat_map(row).collect::<Vec<u8>>()).unwrap();
        };
        for (number, name) in self.train.iter().enumerate() {
            write(name, self.classes.len() + 2, 10 * number);
        }
        write(self.test, 3, 100);
    }
}
