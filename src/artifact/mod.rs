//! The exported model: one file that holds the weights and a [`Manifest`], in one of three containers. Nothing else in
//! kiln sees `burn_pack`, `burn_onnx` or `safetensors`.
//!
//! Reading trusts nothing: the container's own structure, the schema version, the manifest's digest, every tensor's
//! name, shape and the digest over all of them are checked before a network is built.

mod burnpack;
mod import;
mod manifest;
mod names;
mod onnx;
mod safetensors;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use burn::tensor::Device;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use import::{import, import_pytorch};
pub use manifest::{Description, GoldenSample, Manifest, Provenance, SCHEMA_VERSION};

use crate::logits::argmax;
use crate::models::Weights;
use crate::predict::Predictor;
use crate::run::file;
use crate::{Error, Result};

/// The version of Burn that this kiln is built on.
pub const BURN_VERSION: &str = "0.22.1";

/// The keys of a container's metadata.
const MANIFEST_KEY: &str = "kiln_manifest";
const DIGEST_KEY: &str = "kiln_manifest_sha256";

/// The largest model file that is read: twice the largest network in 32 bits.
const LARGEST_FILE: u64 = 8 * crate::models::MOST_PARAMETERS as u64;

/// A container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Burn's own container, `.bpk`.
    Burnpack,
    /// Tensors under PyTorch's names and layout, `.safetensors`.
    Safetensors,
    /// A graph that any ONNX runtime computes, `.onnx`.
    Onnx,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Burnpack, Self::Safetensors, Self::Onnx];

    /// The usual extension of its files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Burnpack => "bpk",
            Self::Safetensors => "safetensors",
            Self::Onnx => "onnx",
        }
    }

    /// The format whose files have this extension.
    pub fn of_extension(extension: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.extension().eq_ignore_ascii_case(extension))
    }

    /// The container that `bytes` begin like.
    fn of_content(bytes: &[u8]) -> Option<Self> {
        match bytes {
            // The magic number 0x4255524E, little-endian.
            [b'N', b'R', b'U', b'B', ..] => Some(Self::Burnpack),
            // The length of a JSON object, then the object.
            [_, _, _, _, _, 0, 0, 0, b'{', ..] => Some(Self::Safetensors),
            // Protobuf field 1, `ir_version`, as every ONNX writer puts first.
            [0x08, version, ..] if *version < 0x80 => Some(Self::Onnx),
            _ => None,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Burnpack => "burnpack",
            Self::Safetensors => "safetensors",
            Self::Onnx => "onnx",
        })
    }
}

/// The type of the stored numbers. Computing is always in 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// 32 bits: what was trained, bit for bit.
    F32,
    /// 16 bits (IEEE half precision): half the size, values rounded to 11 significant bits.
    F16,
}

impl Dtype {
    fn bytes(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|&value| half::f16::from_f32(value).to_le_bytes()).collect(),
        }
    }

    /// The values in `bytes`; `None` when they are not whole.
    fn values(self, bytes: &[u8]) -> Option<Vec<f32>> {
        match self {
            Self::F32 => {
                let (values, rest) = bytes.as_chunks::<4>();
                rest.is_empty().then(|| values.iter().map(|&value| f32::from_le_bytes(value)).collect())
            }
            Self::F16 => {
                let (values, rest) = bytes.as_chunks::<2>();
                rest.is_empty().then(|| values.iter().map(|&value| half::f16::from_le_bytes(value).to_f32()).collect())
            }
        }
    }

    /// The weights as they come back from a file of this type.
    fn rounded(self, weights: &Weights) -> Weights {
        let mut weights = weights.clone();
        if self == Self::F16 {
            for (_, tensor) in weights.iter_mut() {
                tensor.values.iter_mut().for_each(|value| *value = half::f16::from_f32(*value).to_f32());
            }
        }
        weights
    }
}

/// What a container holds, not yet checked.
struct Content {
    manifest: Option<String>,
    digest: Option<String>,
    weights: Weights,
}

/// Writes an artifact to `path` in one step, replacing what is there.
///
/// The digest in the file is that of the weights as they are stored. With [`Dtype::F16`] the golden samples are
/// computed anew from the rounded weights.
///
/// # Errors
/// When the weights are not the manifest's, a value is not finite (in that type), or the file cannot be written.
pub fn write(path: &Path, format: Format, dtype: Dtype, manifest: &Manifest, weights: &Weights) -> Result<()> {
    let stored = dtype.rounded(weights);
    if let Some(name) = stored.first_not_finite() {
        let error = Error::failed(format!("tensor `{name}` holds a value that is no finite number in {dtype:?}"));
        return Err(match dtype {
            Dtype::F16 => error.tip("export with --dtype f32"),
            Dtype::F32 => error,
        });
    }
    let mut manifest = match dtype {
        Dtype::F32 => manifest.clone(),
        Dtype::F16 => manifest.recomputed(&stored)?,
    };
    manifest.dtype = dtype;
    manifest.weights_sha256 = stored.sha256();
    manifest.check_weights(&stored)?;
    let bytes = match format {
        Format::Burnpack => burnpack::encode(&manifest, &stored)?,
        Format::Safetensors => safetensors::encode(&manifest, &stored)?,
        Format::Onnx => onnx::encode(&manifest, &stored)?,
    };
    file::write_atomic(path, &bytes)
}

/// Reads an artifact of any container, told by its content, and checks all of it.
///
/// # Errors
/// A usage error when it cannot be read, is no artifact, is of a future version, incomplete or damaged.
pub fn read(path: &Path) -> Result<(Manifest, Weights)> {
    let bytes = read_bounded(path)?;
    decode(&bytes).map_err(|error| {
        let outer = Error::usage(format!("cannot use the model file `{}`", path.display()));
        let outer = error.tips().to_vec().into_iter().fold(outer, Error::tip);
        outer.caused_by(error)
    })
}

fn read_bounded(path: &Path) -> Result<Vec<u8>> {
    let unreadable = |error| Error::usage(format!("cannot read the model file `{}`", path.display())).caused_by(error);
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(Error::usage(format!("`{}` is a folder, not a model file", path.display())));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(Error::usage(format!(
            "the model file `{}` must have at most {LARGEST_FILE} bytes, and has more",
            path.display()
        )));
    }
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Result<(Manifest, Weights)> {
    let content = match Format::of_content(bytes) {
        Some(Format::Burnpack) => burnpack::decode(bytes)?,
        Some(Format::Safetensors) => safetensors::decode(bytes)?,
        Some(Format::Onnx) => onnx::decode(bytes)?,
        None if bytes.is_empty() => return Err(Error::usage("it is empty")),
        None => {
            return Err(Error::usage("it is neither a burnpack, a safetensors nor an ONNX file")
                .tip("a model file is written by `kiln train` and `kiln export`"));
        }
    };
    let (Some(text), Some(expected)) = (content.manifest, content.digest) else {
        return Err(Error::usage("it holds no manifest, so it was not written by kiln")
            .tip("weights from elsewhere come in with `kiln import`"));
    };
    let found = sha256(text.as_bytes());
    if found != expected {
        return Err(Error::usage(format!("the manifest is damaged: its SHA-256 must be {expected}, got {found}"))
            .tip("copy the file again, or export the model again from its run"));
    }
    let manifest = Manifest::from_json(&text)?;
    manifest.check_weights(&content.weights)?;
    Ok((manifest, content.weights))
}

fn sha256(bytes: &[u8]) -> String {
    crate::hex::encode(&Sha256::digest(bytes))
}

/// How a model's answers compare with those at export.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verification {
    /// Golden samples in the file.
    pub samples: usize,
    /// Those whose label is the same now.
    pub labels_agree: usize,
    /// The largest absolute difference between a logit now and at export.
    pub largest_difference: f32,
}

/// Replays the golden samples on `device`.
///
/// # Errors
/// When the weights are not the manifest's or the device fails.
pub fn verify(manifest: &Manifest, weights: &Weights, device: &Device) -> Result<Verification> {
    let images = manifest.golden_images()?;
    let predictor = Predictor::new(manifest.clone(), weights, device)?;
    let logits = predictor.logits(&images.concat(), images.len())?;
    let mut result = Verification { samples: images.len(), labels_agree: 0, largest_difference: 0.0 };
    for (sample, found) in manifest.golden.iter().zip(logits.chunks(manifest.classes.len())) {
        result.labels_agree += usize::from(argmax(&sample.logits) == argmax(found));
        for (expected, found) in sample.logits.iter().zip(found) {
            let difference = (expected - found).abs();
            // A NaN is the largest difference there is.
            let difference = if difference.is_nan() { f32::INFINITY } else { difference };
            result.largest_difference = result.largest_difference.max(difference);
        }
    }
    Ok(result)
}

/// The commit that the working directory is at, if it is in a Git repository and `git` is there.
pub fn git_commit() -> Option<String> {
    let output = std::process::Command::new("git").args(["rev-parse", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !commit.is_empty()).then_some(commit)
}
