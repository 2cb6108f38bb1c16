//! An event file, as TensorBoard reads it: records of protocol buffers, each with its length and masked CRC-32C. A process
//! that is killed leaves at most a torn last record, which TensorBoard passes over.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use protobuf::CodedOutputStream;

use crate::{Error, Result};

/// What is written is on disk at the latest after this time, when something is written again.
const FLUSH_EVERY: Duration = Duration::from_secs(2);

/// How the names of event files begin.
const NAME: &str = "events.out.tfevents.";

/// The file of one process. TensorBoard reads those of a folder in the order of their names.
#[derive(Debug)]
pub(crate) struct EventFile {
    file: BufWriter<File>,
    flushed: Instant,
}

/// What an event tells.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    /// One number.
    Scalar(f64),
    /// Markdown.
    Text(&'a str),
    /// A PNG.
    Picture {
        /// In pixels.
        width: usize,
        /// In pixels.
        height: usize,
        /// The file.
        png: &'a [u8],
    },
}

impl EventFile {
    /// Begins a new file in `folder`, which is made when missing. What earlier files tell of `step` and later steps is no
    /// longer shown. Says whether it is the first.
    ///
    /// # Errors
    /// When the file cannot be made or written.
    pub(crate) fn begin(folder: &Path, step: usize) -> Result<(Self, bool)> {
        let begin = || {
            fs::create_dir_all(folder)?;
            let earlier = names(folder)?;
            let mut file = Self { file: BufWriter::new(create(folder, &earlier)?), flushed: Instant::now() };
            // The version that lets what follows take back later steps; then SessionLog's START.
            file.record(&event(0, |event| event.write_string(3, "brain.Event:2"))?)?;
            file.record(&event(step, |event| event.write_bytes(7, &message(|log| log.write_enum(1, 1))?))?)?;
            file.flush()?;
            Ok((file, earlier.is_empty()))
        };
        begin().map_err(|error| cannot(&format!("begin an event file in `{}`", folder.display()), error))
    }

    /// Adds values of one step, each with its tag.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&mut self, step: usize, values: &[(&str, Value)]) -> Result<()> {
        let mut write = || {
            let summary =
                message(|summary| values.iter().try_for_each(|(tag, of)| summary.write_bytes(1, &value(tag, of)?)))?;
            self.record(&event(step, |event| event.write_bytes(5, &summary))?)?;
            if self.flushed.elapsed() >= FLUSH_EVERY { self.flush() } else { Ok(()) }
        };
        write().map_err(|error| cannot("write to the event file", error))
    }

    /// Hands everything to the system.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.flush().map_err(|error| cannot("write to the event file", error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flushed = Instant::now();
        self.file.flush()
    }

    /// Length, its checksum, the bytes, their checksum.
    fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = (bytes.len() as u64).to_le_bytes();
        self.file.write_all(&length)?;
        self.file.write_all(&masked_crc(&length).to_le_bytes())?;
        self.file.write_all(bytes)?;
        self.file.write_all(&masked_crc(bytes).to_le_bytes())
    }
}

fn cannot(what: &str, error: io::Error) -> Error {
    Error::failed(format!("cannot {what}")).caused_by(error)
}

/// The event files in a folder, in their order.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    let mut names: Vec<String> = entries
        .iter()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|n| n.starts_with(NAME))
        .collect();
    names.sort();
    Ok(names)
}

/// A file whose name comes after those of `earlier` ones, whatever the clock says: TensorBoard never goes back to a file.
fn create(folder: &Path, earlier: &[String]) -> io::Result<File> {
    let last = earlier.last().and_then(|name| name[NAME.len()..].split('.').next()?.parse::<u64>().ok()).unwrap_or(0);
    let seconds = now().as_secs().max(last);
    let name = format!("{NAME}{seconds:010}.kiln.{:06}", earlier.len());
    OpenOptions::new().write(true).create_new(true).open(folder.join(name))
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The CRC-32C of some bytes, turned and moved so that a checksum of data with checksums is still one.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A protocol buffer's bytes.
fn message(fields: impl FnOnce(&mut CodedOutputStream) -> protobuf::Result<()>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut stream = CodedOutputStream::vec(&mut bytes);
    fields(&mut stream).and_then(|()| stream.flush()).map_err(io::Error::other)?;
    drop(stream);
    Ok(bytes)
}

/// `Event` of `tensorflow/core/util/event.proto`: 1 the time, 2 the step, and one more.
fn event(step: usize, what: impl FnOnce(&mut CodedOutputStream) -> protobuf::Result<()>) -> io::Result<Vec<u8>> {
    message(|event| {
        event.write_double(1, now().as_secs_f64())?;
        event.write_int64(2, step as i64)?;
        what(event)
    })
}

/// `Summary.Value` of `tensorflow/core/framework/summary.proto`: 1 the tag, then 2 a number, 4 an image, or 8 a tensor
/// whose metadata, 9, name the plug-in that shows it.
fn value(tag: &str, value: &Value) -> io::Result<Vec<u8>> {
    message(|of| {
        of.write_string(1, tag)?;
        match value {
            Value::Scalar(number) => of.write_float(2, *number as f32),
            Value::Picture { width, height, png } => {
                let picture = message(|picture| {
                    picture.write_int32(1, *height as i32)?;
                    picture.write_int32(2, *width as i32)?;
                    picture.write_int32(3, 3)?;
                    picture.write_bytes(4, png)
                })?;
                of.write_bytes(4, &picture)
            }
            Value::Text(text) => {
                let plugin = message(|plugin| plugin.write_string(1, "text"))?;
                of.write_bytes(9, &message(|metadata| metadata.write_bytes(1, &plugin))?)?;
                // `TensorProto`: 1 the type, 7 for strings; 2 the shape; 8 the strings. One in a list of one.
                let size = message(|dimension| dimension.write_int64(1, 1))?;
                let tensor = message(|tensor| {
                    tensor.write_enum(1, 7)?;
                    tensor.write_bytes(2, &message(|shape| shape.write_bytes(2, &size))?)?;
                    tensor.write_bytes(8, text.as_bytes())
                })?;
                of.write_bytes(8, &tensor)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The records of a file; panics where one is torn or has a wrong checksum.
    fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        while !bytes.is_empty() {
            let (length, rest) = bytes.split_at(8);
            let (of_length, rest) = rest.split_at(4);
            assert_eq!(of_length, masked_crc(length).to_le_bytes());
            let (record, rest) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
            let (of_record, rest) = rest.split_at(4);
            assert_eq!(of_record, masked_crc(record).to_le_bytes());
            records.push(record.to_vec());
            bytes = rest;
        }
        records
    }

    fn files(folder: &Path) -> Vec<Vec<Vec<u8>>> {
        names(folder).unwrap().iter().map(|name| records(&fs::read(folder.join(name)).unwrap())).collect()
    }

    #[test]
    fn the_checksum_is_that_of_the_format() {
        // RFC 3720, B.4: 32 zeros have 0x8a9136aa.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked_crc(&[0; 32]), 0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8));
    }

    #[test]
    fn what_is_written_can_be_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, first) = EventFile::begin(&folder.path().join("a"), 1).unwrap();
        assert!(first);
        file.write(7, &[("loss", Value::Scalar(0.5)), ("note", Value::Text("hello"))]).unwrap();
        file.write(8, &[("sheet", Value::Picture { width: 2, height: 3, png: &[1, 2, 3] })]).unwrap();
        file.finish().unwrap();
        let records = files(&folder.path().join("a")).remove(0);
        assert_eq!(records.len(), 4);
        let ends = |record: &[u8], end: &[u8]| assert!(record.ends_with(end), "{record:?}");
        ends(&records[0], b"brain.Event:2");
        // The step, and a START.
        ends(&records[1], &[16, 1, 58, 2, 8, 1]);
        // A float of 0.5 after its tag, then a text.
        let half = [10, 11, 10, 4, b'l', b'o', b's', b's', 21, 0, 0, 0, 63];
        assert!(records[2].windows(half.len()).any(|window| window == half), "{:?}", records[2]);
        ends(&records[2], b"hello");
        ends(&records[3], &[34, 11, 8, 3, 16, 2, 24, 3, 34, 3, 1, 2, 3]);
    }

    #[test]
    fn each_process_has_a_file_of_its_own_after_the_others() {
        let folder = tempfile::tempdir().unwrap();
        // Of a clock that was ahead.
        let ahead = format!("{NAME}9999999999.kiln.000000");
        fs::write(folder.path().join(&ahead), b"torn").unwrap();
        for step in [5, 9] {
            let (_, first) = EventFile::begin(folder.path(), step).unwrap();
            assert!(!first);
        }
        let found = names(folder.path()).unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(found[0], ahead);
        assert!(found[1].ends_with("9999999999.kiln.000001") && found[2].ends_with("9999999999.kiln.000002"));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), b"").unwrap();
        let error = EventFile::begin(&folder.path().join("file"), 1).unwrap_err();
        assert!(error.to_string().starts_with("cannot begin an event file in"), "{error}");
    }
}
