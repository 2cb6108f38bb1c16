//! The native container: tensors under kiln's own names, in Burn's layout.

use burn_pack::{Bytes, DType, Reader, Tensor, Writer};

use super::{Content, DIGEST_KEY, Dtype, MANIFEST_KEY, Manifest, sha256};
use crate::models::{WeightTensor, Weights};
use crate::{Error, Result};

/// The file's bytes.
pub(super) fn encode(manifest: &Manifest, weights: &Weights) -> Result<Vec<u8>> {
    let dtype = match manifest.dtype {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
    };
    let tensor = |(name, tensor): (&str, &WeightTensor)| {
        let bytes = Bytes::from_bytes_vec(manifest.dtype.bytes(&tensor.values));
        Tensor::new(name.to_owned(), dtype, tensor.shape.clone(), None, bytes)
    };
    let text = manifest.to_json()?;
    let packed = Writer::new(weights.iter().map(tensor).collect())
        .with_metadata(DIGEST_KEY, &sha256(text.as_bytes()))
        .with_metadata(MANIFEST_KEY, &text)
        .into_bytes()
        .map_err(|error| Error::failed("the burnpack file cannot be made").caused_by(error))?;
    Ok(packed.to_vec())
}

/// What the file holds.
pub(super) fn decode(bytes: &[u8]) -> Result<Content> {
    let damaged = |error: burn_pack::Error| {
        Error::usage("the burnpack file is truncated or damaged")
            .caused_by(error)
            .tip("copy the file again, or export the model again from its run")
    };
    let reader = Reader::from_bytes(Bytes::from_bytes_vec(bytes.to_vec())).map_err(damaged)?;
    let metadata = |key: &str| reader.metadata().get(key).cloned();
    let (manifest, digest) = (metadata(MANIFEST_KEY), metadata(DIGEST_KEY));
    let mut weights = Weights::default();
    for tensor in reader.into_tensors().map_err(damaged)? {
        let (name, dtype, shape, _, bytes) = tensor.into_parts().map_err(damaged)?;
        let values = match dtype {
            DType::F32 => Dtype::F32.values(&bytes),
            DType::F16 => Dtype::F16.values(&bytes),
            other => return Err(Error::usage(format!("tensor `{name}`: must be of type F32 or F16, got {other:?}"))),
        };
        let values = values.ok_or_else(|| Error::usage(format!("tensor `{name}` is cut off")))?;
        weights.insert(name, WeightTensor { shape: shape.to_vec(), values });
    }
    Ok(Content { manifest, digest, weights })
}
