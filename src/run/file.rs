//! Writing files so that a reader never sees half of one, and reading them with errors that name them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use super::fault;
use crate::{Error, Result};

/// How the temporary files begin that a killed process may leave behind.
const TEMPORARY: &str = ".tmp-";

/// Puts `bytes` at `path` in one step: a temporary file beside it, flushed to disk, renamed into place. A device or a pipe
/// is written to instead: a rename would put a file in its place.
///
/// # Errors
/// When it cannot be written; then what was at `path` before is still there.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let is_stream = fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir());
    let written = if is_stream { write_into(path, bytes) } else { replace(path, bytes) };
    written.map_err(|error| cannot_write(path, error))
}

fn write_into(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut stream = OpenOptions::new().write(true).open(path)?;
    stream.write_all(bytes)?;
    stream.flush()
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = name_of(path);
    let mut file = Temporary::in_folder(folder)?;
    fault::write(file.file(), bytes, &name)?;
    fault::point(&format!("sync {name}"))?;
    file.file().sync_all()?;
    fault::point(&format!("rename {name}"))?;
    file.persist(folder, path)?;
    sync_folder(folder)
}

/// A file that is not at its place yet. On Linux it has no name until it is complete, so a killed process leaves nothing.
enum Temporary {
    #[cfg(target_os = "linux")]
    Unnamed(File),
    Named(tempfile::NamedTempFile),
}

impl Temporary {
    fn in_folder(folder: &Path) -> io::Result<Self> {
        fault::point("create a temporary file")?;
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{Mode, OFlags};
            // Some file systems have no unnamed files; there a named one does.
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            if let Ok(file) = rustix::fs::open(folder, flags, Mode::from_raw_mode(0o666)) {
                return Ok(Self::Unnamed(file.into()));
            }
        }
        named_in(folder).map(Self::Named)
    }

    fn file(&mut self) -> &mut File {
        match self {
            #[cfg(target_os = "linux")]
            Self::Unnamed(file) => file,
            Self::Named(file) => file.as_file_mut(),
        }
    }

    fn persist(self, folder: &Path, path: &Path) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Unnamed(file) => {
                use rustix::fs::{AtFlags, CWD, linkat};
                use std::os::fd::AsRawFd as _;
                // A link cannot replace a file, a rename can: so the file is linked under a name that nothing has.
                let descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
                let link = |name: &Path| linkat(CWD, &descriptor, CWD, name, AtFlags::SYMLINK_FOLLOW);
                let free = tempfile::Builder::new()
                    .prefix(TEMPORARY)
                    .make_in(folder, |name| Ok(link(name)?))
                    .map_err(plain)?;
                fs::rename(free.path(), path)?;
                // The name is gone with the rename; nothing is left to delete.
                let _ = free.into_temp_path().keep();
                Ok(())
            }
            Self::Named(file) => file.persist(path).map(drop).map_err(|error| error.error),
        }
    }
}

/// A temporary file that is as readable as any file the user makes, not private as temporary files are by default.
fn named_in(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder).map_err(plain)
}

/// The error of the system without the path that `tempfile` adds: a name that the user never gave.
fn plain(error: io::Error) -> io::Error {
    let said = error.get_ref().map(ToString::to_string);
    match said.as_deref().and_then(|said| said.rsplit_once(" at path ")) {
        Some((said, _)) => io::Error::new(error.kind(), said),
        None => error,
    }
}

/// Deletes what killed processes left half-written in `folder`, whose lock the caller holds.
pub(super) fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(TEMPORARY)) {
        let _ = fs::remove_file(entry.path());
    }
}

/// Makes renames within `folder` survive a power cut; a no-op where folders cannot be opened.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    fault::point("sync the folder")?;
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Writes a new file and flushes it to disk, for use inside a folder that is itself renamed into place.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let name = name_of(path);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        fault::write(&mut file, bytes, &name)?;
        fault::point(&format!("sync {name}"))?;
        file.sync_all()
    };
    write().map_err(|error| cannot_write(path, error))
}

/// Adds one line to the end of `path`.
pub(crate) fn append_line(path: &Path, line: &str) -> Result<()> {
    let append = || -> io::Result<()> {
        // Never made anew: without the file, the run's folder is not what it was.
        let mut file = OpenOptions::new().append(true).open(path)?;
        fault::write(&mut file, format!("{line}\n").as_bytes(), &name_of(path))
    };
    append().map_err(|error| cannot_write(path, error))
}

/// Reads a whole file as text.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| Error::usage(format!("cannot read `{}`", path.display())).caused_by(error))
}

pub(super) fn cannot_write(path: &Path, error: io::Error) -> Error {
    cannot_change("cannot write", path, error)
}

/// How much of a file's beginning tells its kind, in bytes.
pub(crate) const START: usize = 16;

/// Reads a whole file of at most `most_bytes`; of a larger or endless one, no more than that is read.
///
/// # Errors
/// A usage error when it cannot be read, is a folder, or has more bytes.
pub(crate) fn read_bounded(path: &Path, most_bytes: u64) -> Result<Vec<u8>> {
    read_begun(path, most_bytes, |_| Ok(()))
}

/// As [`read_bounded`], once `check` has nothing against the file's first [`START`] bytes: what is of another kind is
/// refused before the rest of it is read.
///
/// # Errors
/// As there, and those of `check`.
pub(crate) fn read_begun(path: &Path, most_bytes: u64, check: impl FnOnce(&[u8]) -> Result<()>) -> Result<Vec<u8>> {
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

/// The error of a change to `path` that the disk refused, with what to do where that is known.
pub(super) fn cannot_change(what: &str, path: &Path, error: io::Error) -> Error {
    let full = error.kind() == io::ErrorKind::StorageFull;
    let gone = path.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.is_dir());
    let result = Error::failed(format!("{what} `{}`", path.display())).caused_by(error);
    match (full, gone) {
        (true, _) => result.tip("the disk is full: free some space, then go on where it stopped"),
        (_, true) => result.tip("its folder is gone: was it deleted or moved?"),
        _ => result,
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_in_one_step_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for text in ["one", "two"] {
            write_atomic(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_written_file_is_as_readable_as_any_other() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        write_atomic(&folder.path().join("ours"), b"").unwrap();
        fs::write(folder.path().join("any"), b"").unwrap();
        let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode("ours"), mode("any"));
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_written_to_and_stays_a_pipe() {
        use std::os::unix::fs::FileTypeExt as _;
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).unwrap()
        });
        write_atomic(&pipe, b"page").unwrap();
        assert_eq!(reader.join().unwrap(), b"page");
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    }

    #[test]
    fn an_error_names_no_file_that_the_user_did_not_give() {
        let folder = tempfile::tempdir().unwrap();
        for error in [
            named_in(&folder.path().join("gone")).map(drop).unwrap_err(),
            Temporary::in_folder(&folder.path().join("gone")).map(drop).unwrap_err(),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            assert!(!error.to_string().contains(TEMPORARY), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_written_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_atomic(&folder.path().join("gone/a"), b"").unwrap_err();
        assert!(error.render().contains("its folder is gone"), "{}", error.render());
    }
}
