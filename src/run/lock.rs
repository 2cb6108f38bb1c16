//! One process at a time may train in a run directory. The lock is the operating system's, so it ends with its holder,
//! however that ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};

use super::RunDir;
use crate::{Error, Result};

/// Held while a process trains in a run directory; given back when dropped.
#[derive(Debug)]
pub(crate) struct RunLock {
    file: File,
    /// The process that held it and is gone without giving it back, if there was one.
    pub(crate) taken_over_from: Option<u32>,
}

impl RunLock {
    /// Takes the lock of `run`.
    ///
    /// # Errors
    /// When another living process holds it, which is named.
    pub(crate) fn acquire(run: &RunDir) -> Result<Self> {
        let path = run.lock();
        let cannot =
            |error: std::io::Error| Error::failed(format!("cannot lock `{}`", path.display())).caused_by(error);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(cannot)?;
        let mut attempts = 0;
        while let Err(error) = file.try_lock() {
            match error {
                // Who looks whether it is held holds it for a moment.
                TryLockError::WouldBlock if attempts < 5 => {
                    attempts += 1;
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                TryLockError::WouldBlock => {
                    let holder = holder(&file).map_err(cannot)?;
                    let holder = holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
                    return Err(Error::usage(format!("{holder} is training in `{}`", run.path().display()))
                        .tip("wait until it has finished, or stop it with Ctrl-C"));
                }
                TryLockError::Error(error) => return Err(cannot(error)),
            }
        }
        let holder = holder(&file).map_err(cannot)?;
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(cannot)?;
        Ok(Self { file, taken_over_from: holder.filter(|pid| *pid != std::process::id()) })
    }
}

/// The process that the lock file names. Whatever else it holds, nobody can be named; the operating system's lock decides.
fn holder(mut file: &File) -> std::io::Result<Option<u32>> {
    let mut text = Vec::new();
    file.rewind()?;
    file.take(64).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).trim().parse().ok())
}

impl RunLock {
    /// Whether a living process holds the lock of `run`. Touches nothing.
    pub(crate) fn is_held(run: &RunDir) -> bool {
        File::open(run.lock()).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // An empty file says that the holder ended in good order; failing to say so is harmless.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(root: &std::path::Path) -> RunDir {
        let path = root.join("a");
        std::fs::create_dir(&path).unwrap();
        RunDir::at(path)
    }

    #[test]
    fn a_second_holder_is_refused_until_the_first_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let run = run(root.path());
        let first = RunLock::acquire(&run).unwrap();
        let error = RunLock::acquire(&run).unwrap_err();
        assert!(error.to_string().contains("is training in"), "{error}");
        drop(first);
        assert_eq!(RunLock::acquire(&run).unwrap().taken_over_from, None);
    }

    #[test]
    fn the_lock_of_a_dead_process_is_taken_over_and_reported() {
        let root = tempfile::tempdir().unwrap();
        let run = run(root.path());
        std::fs::write(run.lock(), "4000000000\n").unwrap();
        assert_eq!(RunLock::acquire(&run).unwrap().taken_over_from, Some(4_000_000_000));
    }

    #[test]
    fn a_lock_file_that_is_no_text_is_taken_over() {
        let root = tempfile::tempdir().unwrap();
        let run = run(root.path());
        std::fs::write(run.lock(), [0xff, 0xfe, 0x00]).unwrap();
        assert_eq!(RunLock::acquire(&run).unwrap().taken_over_from, None);
    }
}
