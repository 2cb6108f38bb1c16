//! The model file: the weights and a [`Manifest`] in one file, in one of several formats. Nothing else in kiln sees
//! `burn_pack`, `burn_onnx` or `safetensors`. This module writes, reads and checks; what a model computes is the business
//! of [`predict`](crate::predict).
//!
//! Reading trusts nothing: the size of the file, the format's own structure to the last byte, the manifest's version,
//! digest and every field, and every tensor's name, shape, values and the digest over all of them are checked before a
//! network is built.

#[macro_use]
mod format;
mod dtype;
mod import;
mod limits;
mod manifest;
mod names;
#[cfg(test)]
pub(crate) mod tests;
mod trust;

use std::fmt;
use std::path::Path;
use std::sync::OnceLock;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use sha2::{Digest as _, Sha256};

pub use dtype::Dtype;
pub(crate) use import::import;
#[cfg(test)]
pub(crate) use import::import_pytorch;
pub(crate) use limits::GOLDEN_SAMPLES;
pub(crate) use manifest::Description;
pub(crate) use manifest::SCHEMA_VERSION;
pub use manifest::{GoldenSample, Manifest, MemberProvenance, Provenance};
pub(crate) use trust::TEMPERATURES;
pub use trust::{Calibration, OutOfDistribution, Score};

use crate::models::Weights;
use crate::run::file;
use crate::{Error, Result};

// A format is a file and a line.
formats! {
    Burnpack = burnpack,
    Safetensors = safetensors,
    Onnx = onnx,
    Html = html,
}

/// The version of Burn that this kiln is built on.
pub(crate) const BURN_VERSION: &str = "0.22.1";

/// The keys of a file's metadata.
const MANIFEST_KEY: &str = "kiln_manifest";
const DIGEST_KEY: &str = "kiln_manifest_sha256";

/// The largest model file that is read, in bytes: twice the largest network in 32 bits.
const LARGEST_FILE: u64 = 8 * crate::models::MOST_PARAMETERS as u64;

/// The most bytes that a file's description of its content may have: 16 golden samples of the largest images, in
/// hexadecimal, and room for the rest. It bounds what a parser of such a description can be made to allocate.
const LARGEST_HEADER: usize = 32 << 20;

/// What to do about a damaged file.
const COPY_AGAIN: &str = "copy the file again, or export the model again from its run";

impl Format {
    /// What `--format` and messages call it.
    pub fn name(self) -> &'static str {
        self.container().name()
    }

    /// The usual extension of its files, without the dot.
    pub fn extension(self) -> &'static str {
        self.container().extension()
    }

    /// The format whose files have this extension.
    pub(crate) fn of_extension(extension: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|format| format.extension().eq_ignore_ascii_case(extension))
    }

    /// Where the views of a model that answers for several are in a file of this format.
    pub(crate) fn holds_views(self) -> &'static str {
        match self.container().holds_graph() {
            true => "the file computes all of them",
            false => {
                "the file's manifest says so to kiln; a program that computes the network from its weights answers for one view \
                 unless it does the same"
            }
        }
    }

    /// All names, for a message: "a, b or c".
    pub(crate) fn names() -> String {
        let names = Self::ALL.iter().map(|format| format.name()).collect::<Vec<_>>();
        match &names[..] {
            [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            all => all.concat(),
        }
    }

    /// The format of a file that begins with `start`.
    fn of_content(start: &[u8]) -> Result<Self> {
        if start.is_empty() {
            return Err(Error::usage("it is empty"));
        }
        Self::ALL.iter().copied().find(|format| format.container().begins(start)).ok_or_else(|| {
            Error::usage(format!("it must be a file in the format {}, and begins like none of them", Self::names()))
                .tip("a model file is written by `kiln train` and `kiln export`")
        })
    }
}

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.container().about()))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a format writes.
struct Payload<'a> {
    manifest: &'a Manifest,
    /// The manifest as JSON; it goes into the file as it is.
    text: String,
    /// SHA-256 of `text`.
    digest: String,
    /// The weights, each exact in the manifest's `dtype`.
    weights: &'a Weights,
}

/// What a format has read, not yet checked.
struct Content {
    manifest: Option<String>,
    digest: Option<String>,
    /// The type of all stored numbers.
    dtype: Dtype,
    weights: Weights,
}

/// Writes a model file to `path` in one step, replacing what is there. The digest in the file is that of the weights.
///
/// With [`Dtype::F16`], weights and manifest must be those that [`predict::convert`](crate::predict::convert) gives:
/// rounded, and with golden samples of the rounded weights.
///
/// # Errors
/// When a field of the manifest is out of range, the weights are not the manifest's, a value is NaN, infinite or not
/// exact in `dtype`, or the file cannot be written.
pub fn write(path: &Path, format: Format, dtype: Dtype, manifest: &Manifest, weights: &Weights) -> Result<()> {
    file::write_atomic(path, &encode(format, dtype, manifest, weights)?)
}

/// The bytes that [`write`] writes.
pub(crate) fn encode(format: Format, dtype: Dtype, manifest: &Manifest, weights: &Weights) -> Result<Vec<u8>> {
    if let Some(name) = dtype.round(weights)?.first_difference(weights) {
        return Err(Error::failed(format!("tensor `{name}` must be rounded to {dtype:?} before it is stored so")));
    }
    let manifest =
        Manifest { schema_version: SCHEMA_VERSION, dtype, weights_sha256: weights.sha256(), ..manifest.clone() };
    manifest.check()?;
    manifest.check_weights(weights)?;
    let text = manifest.to_json()?;
    let digest = sha256(text.as_bytes());
    format.container().encode(&Payload { manifest: &manifest, text, digest, weights })
}

/// Reads a model file of any format, told by its content, and checks all of it.
///
/// # Errors
/// A usage error when it cannot be read, is no model file, is of a future version, incomplete, damaged, or has a field
/// that is out of range.
pub fn read(path: &Path) -> Result<(Manifest, Weights)> {
    let refused = |error: Error| {
        let outer = Error::usage(format!("cannot use the model file `{}`", path.display()));
        let outer = error.tips().to_vec().into_iter().fold(outer, Error::tip);
        outer.caused_by(error)
    };
    let begins = |start: &[u8]| Format::of_content(start).map(|_| ()).map_err(refused);
    let bytes = file::read_begun(path, LARGEST_FILE, begins)?;
    decode(&bytes).map_err(refused)
}

/// What [`read`] makes of a file's bytes.
pub(crate) fn decode(bytes: &[u8]) -> Result<(Manifest, Weights)> {
    let start = &bytes[..bytes.len().min(file::START)];
    let content = Format::of_content(start)?.container().decode(bytes)?;
    let (Some(text), Some(expected)) = (content.manifest, content.digest) else {
        return Err(Error::usage("it holds no manifest, so it was not written by kiln")
            .tip("weights from elsewhere come in with `kiln import`"));
    };
    let found = sha256(text.as_bytes());
    if found != expected {
        return Err(Error::usage(format!("the manifest is damaged: its SHA-256 must be {expected}, got {found}"))
            .tip(COPY_AGAIN));
    }
    let manifest = Manifest::from_json(&text)?;
    if manifest.dtype != content.dtype {
        return Err(Error::usage(format!(
            "the manifest says that the weights are stored as {:?}, they are {:?}",
            manifest.dtype, content.dtype
        )));
    }
    manifest.check_weights(&content.weights)?;
    Ok((manifest, content.weights))
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The commit that the working directory was at when this was first asked, if it is in a Git repository and `git` is there.
/// A run asks several times, and is of one commit.
pub(crate) fn git_commit() -> Option<String> {
    static COMMIT: OnceLock<Option<String>> = OnceLock::new();
    let ask = || {
        let output = std::process::Command::new("git").args(["rev-parse", "HEAD"]).output().ok()?;
        let commit = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !commit.is_empty()).then_some(commit)
    };
    COMMIT.get_or_init(ask).clone()
}
