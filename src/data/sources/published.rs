//! Sets that are published elsewhere and are not part of kiln: where to get them, and whether what is there is what was
//! published. A sum that nobody published is not made up: such a file is checked for its form, and that is said.

use super::store::{Store, Stored, all};
use crate::{Error, Result};

/// A published set.
pub(super) struct Published {
    /// Its name.
    pub(super) name: &'static str,
    /// Where to get it.
    pub(super) from: &'static str,
    /// Another way to get it.
    pub(super) or: Option<&'static str>,
    /// The files as they are published.
    pub(super) files: &'static [Known],
}

/// A file as it is published.
pub(super) struct Known {
    /// Its name.
    pub(super) name: &'static str,
    /// Its bytes.
    pub(super) size: u64,
    /// Its SHA-256.
    pub(super) sha256: &'static str,
}

impl Published {
    /// The error when `data.path` does not say where the set is.
    pub(super) fn not_given(&self) -> Error {
        Error::usage(format!("{} is not part of kiln, and `data.path` does not say where it is", self.name))
            .tip(self.how_to_get_it())
    }

    /// `error` with where to get the set.
    pub(super) fn explain(&self, error: Error) -> Error {
        error.tip(self.how_to_get_it())
    }

    /// Where to get which files.
    pub(super) fn how_to_get_it(&self) -> String {
        let files: String = self
            .files
            .iter()
            .map(|Known { name, size, sha256 }| format!("\n       {name} ({size} bytes)\n         SHA-256 {sha256}"))
            .collect();
        let or = self.or.map_or_else(String::new, |or| format!("\n       or {or}"));
        let what =
            if self.files.len() == 1 { "this file, or to the folder that is in it" } else { "the folder with them" };
        format!("get {} from {}, and set `data.path` to {what}:{files}{or}", self.name, self.from)
    }

    /// Checks `store` as a whole where it is the published archive. Says whether it is.
    ///
    /// # Errors
    /// A usage error when it is another file.
    pub(super) fn verify_archive(&self, store: &Store) -> Result<bool> {
        let [Known { name, sha256, .. }] = self.files else { return Ok(false) };
        let is_called = store.root().file_name().is_some_and(|file| file == *name);
        if !store.is_archive() || !is_called {
            return Ok(false);
        }
        self.verify(&store.root().display().to_string(), &store.sha256()?, sha256)?;
        Ok(true)
    }

    /// Checks the sum of every published file that is there as it was published. Says whether all of them are.
    ///
    /// # Errors
    /// A usage error with each that is another file.
    pub(super) fn verify_files(&self, store: &Store) -> Result<bool> {
        let there: Vec<(&str, &Known)> =
            self.files.iter().filter_map(|file| Some((store.find(file.name)?, file))).collect();
        let names: Vec<&str> = there.iter().map(|(name, _)| *name).collect();
        let stored = store.read(&names)?;
        let check = |(stored, (_, known)): (&Stored, &(&str, &Known))| {
            self.verify(&stored.shown, &stored.sha256(), known.sha256)
        };
        all(stored.iter().zip(&there).map(check))?;
        // A file that lies there without `.gz` as well is the one that is read.
        let plain = |file: &Known| store.find(file.name.trim_end_matches(".gz")).is_some();
        Ok(there.len() == self.files.len() && !self.files.iter().any(plain))
    }

    /// Checks the sum of a file.
    ///
    /// # Errors
    /// A usage error when it is another.
    pub(super) fn verify(&self, shown: &str, found: &str, expected: &str) -> Result<()> {
        if found == expected {
            return Ok(());
        }
        Err(Error::usage(format!(
            "`{shown}`: is not the file of {}: its SHA-256 must be {expected}, got {found}",
            self.name
        ))
        .tip(format!("it was cut off or changed; {}", self.how_to_get_it()))
        .tip("for a part or a changed copy of the set, set `data.verify` to false: only the form is checked then"))
    }

    /// What to say of a set whose content was not compared with what was published.
    pub(super) fn unverified(&self, verify: bool) -> String {
        match verify {
            true => format!(
                "{}: only the form of these files was checked; SHA-256 sums are known of the published {} alone",
                self.name,
                if self.files.len() == 1 { self.files[0].name } else { "compressed files" }
            ),
            false => format!("{}: not compared with what was published (data.verify = false)", self.name),
        }
    }
}
