//! Writing files so that a reader never sees half of one, and reading them with errors that name them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write};
use std::path::Path;

use crate::{Error, Result};

/// Puts `bytes` at `path` in one step: a temporary file beside it, flushed to disk, renamed into place.
///
/// # Errors
/// When it cannot be written; then what was at `path` before is still there.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write_all(path, bytes).map_err(|error| cannot_write(path, error))
}

fn write_all(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = temporary_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// A temporary file that is as readable as any file the user makes, not private as temporary files are by default.
fn temporary_in(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".tmp-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

/// Makes renames within `folder` survive a power cut; a no-op where folders cannot be opened.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Writes a new file and flushes it to disk, for use inside a folder that is itself renamed into place.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error| cannot_write(path, error))
}

/// Adds one line to the end of `path`.
pub fn append_line(path: &Path, line: &str) -> Result<()> {
    let append = || -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        file.write_all(format!("{line}\n").as_bytes())
    };
    append().map_err(|error| cannot_write(path, error))
}

/// Reads a whole file as text.
pub fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| Error::usage(format!("cannot read `{}`", path.display())).caused_by(error))
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Error::usage(format!("cannot read `{}`", path.display())).caused_by(error))
}

/// How much of a file's beginning tells its kind, in bytes.
pub const START: usize = 16;

/// Reads a whole file of at most `most_bytes`; of a larger or endless one, no more than that is read.
///
/// # Errors
/// A usage error when it cannot be read, is a folder, or has more bytes.
pub fn read_bounded(path: &Path, most_bytes: u64) -> Result<Vec<u8>> {
    read_begun(path, most_bytes, |_| Ok(()))
}

/// As [`read_bounded`], once `check` has nothing against the file's first [`START`] bytes: what is of another kind is
/// refused before the rest of it is read.
///
/// # Errors
/// As there, and those of `check`.
pub fn read_begun(path: &Path, most_bytes: u64, check: impl FnOnce(&[u8]) -> Result<()>) -> Result<Vec<u8>> {
    let shown = path.display();
    let unreadable = |error| Error::usage(format!("cannot read `{shown}`")).caused_by(error);
    let too_large =
        |found: String| Error::usage(format!("`{shown}` must have at most {most_bytes} bytes, got {found}"));
    let mut file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(Error::usage(format!("`{shown}` is a folder, not a file")));
    }
    let mut bytes = Vec::new();
    (&mut file).take(START as u64).read_to_end(&mut bytes).map_err(unreadable)?;
    check(&bytes)?;
    if metadata.is_file() && metadata.len() > most_bytes {
        return Err(too_large(metadata.len().to_string()));
    }
    let rest = most_bytes.saturating_add(1).saturating_sub(bytes.len() as u64);
    file.take(rest).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > most_bytes {
        return Err(too_large("more".into()));
    }
    Ok(bytes)
}

fn cannot_write(path: &Path, error: io::Error) -> Error {
    let full = error.kind() == io::ErrorKind::StorageFull;
    let result = Error::failed(format!("cannot write `{}`", path.display())).caused_by(error);
    if full { result.tip("the disk is full: free some space, then go on where it stopped") } else { result }
}
