//! Files by name, in a folder or in an archive that is read as if it were unpacked. Nothing is unpacked onto the disk, and
//! no archive is believed to hold more than it plausibly can.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use super::LARGEST_SPLIT;
use crate::data::DataPath;
use crate::{Error, Result};

/// A byte of deflate-compressed data unpacks to at most 1032 bytes (RFC 1951: 258 bytes from 2 bits).
pub(super) const LARGEST_RATIO: u64 = 1032;

/// Images seldom compress to less than a hundredth. What claims to is believed up to [`LARGEST_UNPROVED`] bytes, so that a
/// small file cannot fill the memory.
pub(super) const PLAUSIBLE_RATIO: u64 = 100;

/// See [`PLAUSIBLE_RATIO`]: 1 GiB.
pub(super) const LARGEST_UNPROVED: u64 = 1 << 30;

/// How deep files are looked for in a folder.
const DEEPEST: usize = 3;

/// Names that are looked at before a folder is taken for something else.
const MOST_NAMES: usize = 100_000;

/// Names that a message lists.
const LISTED: usize = 8;

/// What is done with a file of a tar archive, whose path within comes first.
type Visit<'v> = dyn FnMut(&str, &mut tar::Entry<'_, Box<dyn Read>>) -> Result<()> + 'v;

/// Where files are.
#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
    form: Form,
    /// The paths of all files within it, those that lie least deep first.
    names: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Folder,
    Zip,
    Tar,
    TarGz,
}

/// A file as it lies in its store.
pub(super) struct Stored {
    /// Its path, for messages.
    pub(super) shown: String,
    /// What is in it: still compressed, if it is.
    pub(super) bytes: Vec<u8>,
}

impl Stored {
    /// Whether its name says that it is compressed with gzip.
    pub(super) fn is_packed(&self) -> bool {
        self.shown.ends_with(".gz")
    }

    /// SHA-256 of it as it lies there.
    pub(super) fn sha256(&self) -> String {
        hex::encode(Sha256::digest(&self.bytes))
    }
}

impl Store {
    /// Looks into the folder or the archive at `path`; `layout` says what must be there.
    ///
    /// # Errors
    /// A usage error when it is neither, or is damaged.
    pub(super) fn open(path: &DataPath, layout: &str) -> Result<Self> {
        let root = path.absolute();
        let metadata = fs::metadata(&root).map_err(|error| path.unreadable(&root, error, layout))?;
        if metadata.is_dir() {
            let mut names = Vec::new();
            walk(&root, "", 0, &mut names).map_err(|error| path.unreadable(&root, error, layout))?;
            return Ok(Self::new(root, Form::Folder, names));
        }
        let name = root.file_name().map_or_else(String::new, |name| name.to_string_lossy().to_lowercase());
        let form = match name {
            name if name.ends_with(".zip") || name.ends_with(".npz") => Form::Zip,
            name if name.ends_with(".tar") => Form::Tar,
            name if name.ends_with(".tar.gz") || name.ends_with(".tgz") => Form::TarGz,
            _ => {
                return Err(Error::usage(format!(
                    "`{}`: must be a folder, or an archive whose name ends in .zip, .tar, .tar.gz or .tgz",
                    root.display()
                ))
                .tip(layout));
            }
        };
        if !metadata.is_file() {
            return Err(Error::usage(format!("`{}`: must be a file, got a device", root.display())).tip(layout));
        }
        let mut store = Self::new(root, form, Vec::new());
        let names = match form {
            Form::Zip => store.zip()?.file_names().filter(|name| !name.ends_with('/')).map(str::to_owned).collect(),
            _ => {
                let mut names = Vec::new();
                store.each(&mut |name, _| {
                    names.push(name.to_owned());
                    Ok(())
                })?;
                names
            }
        };
        store = Self::new(store.root, form, names);
        Ok(store)
    }

    fn new(root: PathBuf, form: Form, mut names: Vec<String>) -> Self {
        names.sort_by(|a, b| (a.matches('/').count(), a).cmp(&(b.matches('/').count(), b)));
        Self { root, form, names }
    }

    /// All names.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The file called `name`, wherever it lies; that which lies least deep.
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        let is_called = |path: &&String| path.rsplit('/').next() == Some(name) || *path == name;
        self.names.iter().find(is_called).map(String::as_str)
    }

    /// How messages call a file that is, or would be, in it.
    pub(super) fn shown(&self, name: &str) -> String {
        self.root.join(name).display().to_string()
    }

    /// Where it is.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether it is an archive.
    pub(super) fn is_archive(&self) -> bool {
        self.form != Form::Folder
    }

    /// What is in it, for a message.
    pub(super) fn holds(&self) -> String {
        match &self.names[..] {
            [] => "nothing".to_owned(),
            names if names.len() > LISTED => {
                format!("{} and {} more", names[..LISTED].join(", "), names.len() - LISTED)
            }
            names => names.join(", "),
        }
    }

    /// SHA-256 of the archive's own file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn sha256(&self) -> Result<String> {
        let mut hash = Sha256::new();
        let file = File::open(&self.root).map_err(|error| self.damaged(error))?;
        io::copy(&mut BufReader::with_capacity(1 << 20, file), &mut hash).map_err(|error| self.damaged(error))?;
        Ok(hex::encode(hash.finalize()))
    }

    /// Reads files by their paths within the store, in that order.
    ///
    /// # Errors
    /// One usage error with every file that cannot be read.
    pub(super) fn read(&self, names: &[&str]) -> Result<Vec<Stored>> {
        let stored = |name: &str, bytes| Stored { shown: self.shown(name), bytes };
        match self.form {
            Form::Folder => all(names.iter().map(|name| Ok(stored(name, self.file(name)?)))),
            Form::Zip => {
                let mut archive = self.zip()?;
                all(names.iter().map(|name| {
                    let member = archive.by_name(name).map_err(|error| self.damaged(error.into()))?;
                    let size = member.size();
                    Ok(stored(name, self.member(name, size, member)?))
                }))
            }
            Form::Tar | Form::TarGz => {
                let mut found: Vec<Option<Stored>> = names.iter().map(|_| None).collect();
                self.each(&mut |name, entry| {
                    if let Some(place) = names.iter().position(|wanted| *wanted == name) {
                        let size = entry.size();
                        found[place] = Some(stored(name, self.member(name, size, entry)?));
                    }
                    Ok(())
                })?;
                all(found.into_iter().zip(names).map(|(found, name)| {
                    found.ok_or_else(|| self.damaged(io::Error::other(format!("`{name}` is no longer in it"))))
                }))
            }
        }
    }

    fn file(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.root.join(name);
        let fail = |error: io::Error| {
            Error::usage(format!("`{}`: cannot be read", path.display()))
                .caused_by(error)
                .tip("check that it is a file and that you may read it")
        };
        let size = fs::metadata(&path).map_err(fail)?.len();
        if size > LARGEST_SPLIT {
            return Err(Error::usage(format!(
                "`{}`: may hold at most {LARGEST_SPLIT} bytes, got {size}",
                path.display()
            ))
            .tip("the set is too large for kiln, which keeps it in memory"));
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size as usize).map_err(|error| fail(io::Error::other(error)))?;
        File::open(&path).map_err(fail)?.take(LARGEST_SPLIT).read_to_end(&mut bytes).map_err(fail)?;
        Ok(bytes)
    }

    /// Reads a member of an archive that claims to have `size` bytes.
    fn member(&self, name: &str, size: u64, reader: impl Read) -> Result<Vec<u8>> {
        let most = self.most()?.min(LARGEST_SPLIT);
        if size > most {
            return Err(Error::usage(format!(
                "`{}`: a file in this archive may have at most {most} bytes, it claims {size}",
                self.shown(name)
            ))
            .tip("if it really has that many, unpack the archive and give the folder"));
        }
        let mut bytes = Vec::new();
        let read = reader.take(size + 1).read_to_end(&mut bytes);
        read.map_err(|error| self.damaged(io::Error::new(error.kind(), format!("{name}: {error}"))))?;
        if bytes.len() as u64 != size {
            let got = bytes.len();
            return Err(self.damaged(io::Error::other(format!("{name}: {size} bytes are announced, got {got}"))));
        }
        Ok(bytes)
    }

    /// The most bytes that the archive is believed to unpack to.
    fn most(&self) -> Result<u64> {
        let size = fs::metadata(&self.root).map_err(|error| self.damaged(error))?.len();
        let ratio = if self.form == Form::Tar { 1 } else { PLAUSIBLE_RATIO };
        Ok(LARGEST_UNPROVED.max(size.saturating_mul(ratio)))
    }

    fn zip(&self) -> Result<zip::ZipArchive<BufReader<File>>> {
        let file = File::open(&self.root).map_err(|error| self.damaged(error))?;
        zip::ZipArchive::new(BufReader::new(file)).map_err(|error| self.damaged(error.into()))
    }

    /// Calls `visit` for every file of a tar archive, by its path within.
    fn each(&self, visit: &mut Visit<'_>) -> Result<()> {
        let damaged = |error| self.damaged(error);
        let file = BufReader::with_capacity(1 << 16, File::open(&self.root).map_err(damaged)?);
        let most = self.most()?;
        let reader: Box<dyn Read> = match self.form {
            Form::TarGz => Box::new(MultiGzDecoder::new(file).take(most)),
            _ => Box::new(file),
        };
        let mut archive = tar::Archive::new(reader);
        for entry in archive.entries().map_err(damaged)? {
            let mut entry = entry.map_err(damaged)?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let path = entry.path().map_err(damaged)?.into_owned();
            if let Some(name) = path.to_str() {
                visit(name.trim_start_matches("./"), &mut entry)?;
            }
        }
        // What follows the last file is read too: gzip's own checksum stands at the end.
        let mut rest = archive.into_inner();
        let left = io::copy(&mut rest, &mut io::sink()).map_err(damaged)?;
        if self.form == Form::TarGz && left >= most {
            return Err(damaged(io::Error::other(format!("it unpacks to more than {most} bytes"))));
        }
        Ok(())
    }

    fn damaged(&self, error: io::Error) -> Error {
        Error::usage(format!("`{}`: cannot be read", self.root.display()))
            .caused_by(error)
            .tip("check that it is a whole archive that you may read; copy or download it again")
    }
}

/// All of them, or one error that says everything.
pub(super) fn all<T>(results: impl IntoIterator<Item = Result<T>>) -> Result<Vec<T>> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(value) => good.push(value),
            Err(error) => bad.push(error),
        }
    }
    match bad.len() {
        0 => Ok(good),
        1 => Err(bad.remove(0)),
        _ => {
            let mut lines: Vec<String> = Vec::new();
            let mut tips: Vec<&str> = Vec::new();
            for error in &bad {
                let mut line = error.to_string();
                let mut cause = std::error::Error::source(error);
                while let Some(error) = cause {
                    line.push_str(&format!(": {error}"));
                    cause = error.source();
                }
                if !lines.contains(&line) {
                    lines.push(line);
                }
                tips.extend(error.tips().iter().map(String::as_str));
            }
            let mut seen = std::collections::HashSet::new();
            tips.retain(|tip| seen.insert(*tip));
            Err(tips.into_iter().fold(Error::usage(lines.join("\n")), |error, tip| error.tip(tip)))
        }
    }
}

/// Adds the paths of all files in `folder`, without hidden ones.
fn walk(folder: &Path, inside: &str, depth: usize, names: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') || names.len() >= MOST_NAMES {
            continue;
        }
        let path = if inside.is_empty() { name } else { format!("{inside}/{name}") };
        // Looked at through links: a folder of links is a folder.
        match fs::metadata(entry.path()) {
            Ok(metadata) if metadata.is_file() => names.push(path),
            // What cannot be read further down is not what is looked for.
            Ok(metadata) if metadata.is_dir() && depth + 1 < DEEPEST => {
                let _ = walk(&entry.path(), &path, depth + 1, names);
            }
            _ => {}
        }
    }
    Ok(())
}
