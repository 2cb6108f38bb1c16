//! One process at a time may train in a run directory. The lock is the operating system's, so it ends with its holder,
//! however that ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};

use super::RunDir;
use crate::{Error, Result};

/// Held while a process trains in a run directory; given back when dropped.
#[derive(Debug)]
pub struct RunLock {
    file: File,
    /// The process that held it and is gone without giving it back, if there was one.
    pub taken_over_from: Option<u32>,
}

impl RunLock {
    /// Takes the lock of `run`.
    ///
    /// # Errors
    /// When another living process holds it, which is named.
    pub fn acquire(run: &RunDir) -> Result<Self> {
        let path = run.lock();
        let cannot =
            |error: std::io::Error| Error::failed(format!("cannot lock `{}`", path.display())).caused_by(error);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(cannot)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(cannot)?;
        let holder = text.trim().parse::<u32>().ok();
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
                return Err(Error::usage(format!("{holder} is training in `{}`", run.path().display()))
                    .tip("wait until it has finished, or stop it with Ctrl-C"));
            }
            Err(TryLockError::Error(error)) => return Err(cannot(error)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(cannot)?;
        Ok(Self { file, taken_over_from: holder.filter(|pid| *pid != std::process::id()) })
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

    #[test]
    fn a_second_holder_is_refused_until_the_first_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(root.path(), "a").unwrap();
        let first = RunLock::acquire(&run).unwrap();
        let error = RunLock::acquire(&run).unwrap_err();
        assert!(error.to_string().contains("is training in"), "{error}");
        drop(first);
        assert_eq!(RunLock::acquire(&run).unwrap().taken_over_from, None);
    }

    #[test]
    fn the_lock_of_a_dead_process_is_taken_over_and_reported() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(root.path(), "a").unwrap();
        std::fs::write(run.lock(), "4000000000\n").unwrap();
        assert_eq!(RunLock::acquire(&run).unwrap().taken_over_from, Some(4_000_000_000));
    }
}
