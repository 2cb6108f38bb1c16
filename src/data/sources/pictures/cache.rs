//! Decoded pictures, kept for the next time in one file of the user's cache folder. The file's name is a digest of everything
//! that the pixels depend on: the paths, sizes and times of all files, the size of the images, and what decodes them. Its last
//! bytes are a checksum of all others, which is verified whenever it is read.
//!
//! ```text
//! pixels | for each file: 1, digest, columns, rows, colour  or  0, length, why it is no picture | trailer
//! trailer: bytes of pixels (8) | files (8) | key (32) | CRC-32C (4)
//! ```

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::{Decoded, Outcome, Picture};
use crate::data::{ImageShape, picture};

/// With fewer files, and fewer bytes in them, decoding takes a moment, and nothing is kept.
const FEWEST_FILES: usize = 2_000;
const FEWEST_BYTES: u64 = 64 << 20;

/// The bytes that all kept files may take; the one that was not used for the longest time goes first.
const MOST_BYTES: u64 = 8 << 30;

/// Changes when the same files decode to other pixels, or the file has another form.
const VERSION: &str = "kiln pictures 1";

const TRAILER: usize = 8 + 8 + 32 + 4;

/// Where the decoded form of certain files is, or will be.
pub(super) struct Cache {
    path: PathBuf,
    key: [u8; 32],
}

impl Cache {
    /// The place of `paths` decoded to `shape`; none where it is not worth it, a file is gone, or there is no cache folder.
    pub(super) fn of(paths: &[&Path], shape: ImageShape) -> Option<Self> {
        let folder = dirs::cache_dir()?.join("kiln").join("pictures");
        let (key, bytes) = key(paths, shape)?;
        let is_worth_it = paths.len() >= FEWEST_FILES || bytes >= FEWEST_BYTES;
        is_worth_it.then(|| Self { path: folder.join(format!("{}.pixels", hex::encode(&key[..16]))), key })
    }

    /// What is kept of `files` files.
    ///
    /// # Errors
    /// When there is something, and it is damaged; in words.
    pub(super) fn read(&self, files: usize, shape: ImageShape) -> Result<Option<Decoded>, String> {
        let fault = |what: &str| format!("`{}` {what}", self.path.display());
        let bytes = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fault(&format!("cannot be read: {error}"))),
            Ok(file) => {
                let mut bytes = Vec::new();
                let size = file.metadata().map_or(0, |metadata| metadata.len());
                let reserved = usize::try_from(size).ok().filter(|size| bytes.try_reserve_exact(*size).is_ok());
                if reserved.is_none() || (&file).read_to_end(&mut bytes).is_err() {
                    return Err(fault("cannot be read"));
                }
                // Used now: others go first when room is needed.
                let _ = file.set_modified(SystemTime::now());
                bytes
            }
        };
        self.parse(bytes, files, shape).map(Some).ok_or_else(|| fault("is damaged"))
    }

    fn parse(&self, mut bytes: Vec<u8>, files: usize, shape: ImageShape) -> Option<Decoded> {
        let number = |bytes: &[u8]| Some(u64::from_le_bytes(bytes.try_into().ok()?) as usize);
        let rest = bytes.split_last_chunk::<4>()?;
        if checksum(rest.0) != u32::from_le_bytes(*rest.1) {
            return None;
        }
        let trailer = &bytes[bytes.len().checked_sub(TRAILER)?..];
        let (size, count) = (number(&trailer[..8])?, number(&trailer[8..16])?);
        if trailer[16..48] != self.key || count != files {
            return None;
        }
        let mut outcomes = Vec::with_capacity(files);
        let mut records = bytes.get(size..bytes.len() - TRAILER)?;
        for _ in 0..files {
            outcomes.push(outcome(&mut records)?);
        }
        let kept = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        if !records.is_empty() || kept.checked_mul(shape.len()) != Some(size) {
            return None;
        }
        bytes.truncate(size);
        Some(Decoded { pixels: bytes, outcomes, is_lasting: true })
    }

    /// Keeps `decoded`. Others see the whole file or none.
    pub(super) fn write(&self, decoded: &Decoded) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut records = Vec::new();
        for outcome in &decoded.outcomes {
            write_outcome(outcome, &mut records);
        }
        let mut trailer = Vec::with_capacity(TRAILER);
        trailer.extend((decoded.pixels.len() as u64).to_le_bytes());
        trailer.extend((decoded.outcomes.len() as u64).to_le_bytes());
        trailer.extend(self.key);
        let checksum = [&records, &trailer]
            .into_iter()
            .fold(checksum(&decoded.pixels), |sum, part| crc32c::crc32c_append(sum, part));
        trailer.extend(checksum.to_le_bytes());
        let size = (decoded.pixels.len() + records.len() + trailer.len()) as u64;
        if size > MOST_BYTES {
            return Err(io::Error::other(format!("{size} bytes are more than the {MOST_BYTES} that may be kept")));
        }
        make_room(folder, size);
        let mut file = tempfile::Builder::new().prefix(".unfinished-").tempfile_in(folder)?;
        for part in [&decoded.pixels, &records, &trailer] {
            file.write_all(part)?;
        }
        file.persist(&self.path)?;
        Ok(())
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// A digest of everything that the pixels depend on, and the bytes of all files; none when one is gone.
fn key(paths: &[&Path], shape: ImageShape) -> Option<([u8; 32], u64)> {
    let stamps: Option<Vec<(u64, [u8; 40])>> = paths.par_iter().map(|path| stamp(path)).collect();
    let mut hash = Sha256::new();
    hash.update(VERSION);
    hash.update(env!("CARGO_PKG_VERSION"));
    for size in [shape.channels, shape.height, shape.width, paths.len()] {
        hash.update((size as u64).to_le_bytes());
    }
    let mut bytes = 0;
    for (path, (size, stamp)) in paths.iter().zip(stamps?) {
        let name = path.as_os_str().as_encoded_bytes();
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update(stamp);
        bytes += size;
    }
    Some((hash.finalize().into(), bytes))
}

/// The size of a file, and with it the times at which it was changed: in content, and where the system says so in anything.
fn stamp(path: &Path) -> Option<(u64, [u8; 40])> {
    let metadata = fs::metadata(path).ok()?;
    let mut stamp = [0; 40];
    let mut put = |place: usize, number: u64| stamp[8 * place..8 * place + 8].copy_from_slice(&number.to_le_bytes());
    put(0, metadata.len());
    let modified = metadata.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    put(1, modified.as_secs());
    put(2, u64::from(modified.subsec_nanos()));
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        put(3, metadata.ctime() as u64);
        put(4, metadata.ctime_nsec() as u64);
    }
    Some((metadata.len(), stamp))
}

fn write_outcome(outcome: &Outcome, out: &mut Vec<u8>) {
    match outcome {
        Ok(Picture { digest, size: (width, height), colour }) => {
            out.push(1);
            out.extend(digest);
            out.extend(width.to_le_bytes());
            out.extend(height.to_le_bytes());
            out.push(*colour);
        }
        Err(why) => {
            out.push(0);
            out.extend((why.len() as u32).to_le_bytes());
            out.extend(why.as_bytes());
        }
    }
}

/// The first `count` bytes of `records`, which then begin after them.
fn take<'a>(records: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let all: &'a [u8] = records;
    let (taken, rest) = all.split_at_checked(count)?;
    *records = rest;
    Some(taken)
}

fn outcome(records: &mut &[u8]) -> Option<Outcome> {
    let number = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
    match take(records, 1)? {
        [1] => {
            let digest = take(records, 32)?.try_into().ok()?;
            let size = (number(take(records, 4)?)?, number(take(records, 4)?)?);
            let colour = take(records, 1)?[0];
            (usize::from(colour) < picture::COLOURS.len()).then_some(Ok(Picture { digest, size, colour }))
        }
        _ => {
            let length = number(take(records, 4)?)? as usize;
            Some(Err(String::from_utf8(take(records, length)?.to_vec()).ok()?))
        }
    }
}

/// Deletes kept files, those that were not used for the longest time first, until `size` more bytes fit.
fn make_room(folder: &Path, size: u64) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut kept: Vec<(SystemTime, u64, PathBuf)> = entries
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|ending| ending == "pixels"))
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some((metadata.modified().ok()?, metadata.len(), entry.path()))
        })
        .collect();
    kept.sort();
    let mut total = size + kept.iter().map(|(_, size, _)| size).sum::<u64>();
    for (_, size, path) in kept {
        if total <= MOST_BYTES {
            break;
        }
        if fs::remove_file(path).is_ok() {
            total -= size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ImageShape = ImageShape { channels: 1, height: 1, width: 2 };

    fn decoded() -> Decoded {
        let picture = |number: u8| Picture { digest: [number; 32], size: (3, 4), colour: number };
        let outcomes = vec![Ok(picture(1)), Err("no picture: naïve".to_owned()), Ok(picture(2))];
        Decoded { pixels: vec![1, 2, 3, 4], outcomes, is_lasting: true }
    }

    fn cache(folder: &Path) -> Cache {
        Cache { path: folder.join("pictures/a.pixels"), key: [7; 32] }
    }

    #[test]
    fn what_was_kept_comes_back_and_nothing_else_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        assert!(cache.read(3, SHAPE).unwrap().is_none());
        cache.write(&decoded()).unwrap();
        let read = cache.read(3, SHAPE).unwrap().unwrap();
        assert_eq!((read.pixels, read.outcomes), (decoded().pixels, decoded().outcomes));
        assert!(cache.read(2, SHAPE).is_err() && cache.read(3, ImageShape { width: 3, ..SHAPE }).is_err());
        assert!(Cache { key: [8; 32], ..Cache { path: cache.path.clone(), ..cache } }.read(3, SHAPE).is_err());
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        cache.write(&decoded()).unwrap();
        let good = fs::read(&cache.path).unwrap();
        for place in 0..8 * good.len() {
            let mut bytes = good.clone();
            bytes[place / 8] ^= 1 << (place % 8);
            fs::write(&cache.path, bytes).unwrap();
            assert!(cache.read(3, SHAPE).is_err(), "bit {place}");
        }
        for length in 0..good.len() {
            fs::write(&cache.path, &good[..length]).unwrap();
            assert!(cache.read(3, SHAPE).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn the_key_depends_on_every_file_and_on_the_size_of_the_images() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| folder.path().join(name));
        paths.iter().for_each(|path| fs::write(path, b"one").unwrap());
        let of = |paths: &[&PathBuf], shape| key(&paths.iter().map(|path| path.as_path()).collect::<Vec<_>>(), shape);
        let [a, b] = &paths;
        let (first, bytes) = of(&[a, b], SHAPE).unwrap();
        assert_eq!((of(&[a, b], SHAPE), bytes), (Some((first, 6)), 6));
        assert_ne!(of(&[b, a], SHAPE).unwrap().0, first);
        assert_ne!(of(&[a], SHAPE).unwrap().0, first);
        assert_ne!(of(&[a, b], ImageShape { width: 3, ..SHAPE }).unwrap().0, first);
        fs::write(b, b"two").unwrap();
        File::open(b).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert_ne!(of(&[a, b], SHAPE).unwrap().0, first);
        fs::remove_file(a).unwrap();
        assert_eq!(of(&[a, b], SHAPE), None);
    }
}
