//! The native format, Burn's own: tensors under kiln's names, in Burn's layout.

use burn_pack::{Bytes, DType, Reader, Tensor, Writer};

use super::format::exactly;
use super::{COPY_AGAIN, Content, DIGEST_KEY, Dtype, LARGEST_HEADER, MANIFEST_KEY, Payload};
use crate::models::{WeightTensor, Weights};
use crate::{Error, Result};

pub(super) struct Container;

impl super::format::Container for Container {
    fn name(&self) -> &'static str {
        "burnpack"
    }

    fn extension(&self) -> &'static str {
        "bpk"
    }

    fn about(&self) -> &'static str {
        "Burn's own container, .bpk"
    }

    fn begins(&self, start: &[u8]) -> bool {
        // The magic number 0x4255524E, little-endian.
        start.starts_with(b"NRUB")
    }

    fn encode(&self, model: &Payload) -> Result<Vec<u8>> {
        pack(model.manifest.dtype, &model.text, &model.digest, model.weights)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Content> {
        let damaged = |error: burn_pack::Error| {
            Error::usage("the burnpack file is truncated or damaged").caused_by(error).tip(COPY_AGAIN)
        };
        // Magic number and version, then the header's size.
        if let Some(&[a, b, c, d]) = bytes.get(6..10) {
            let header = u32::from_le_bytes([a, b, c, d]) as usize;
            if header > LARGEST_HEADER {
                let error =
                    format!("the burnpack file's header must have at most {LARGEST_HEADER} bytes, got {header}");
                return Err(Error::usage(error));
            }
        }
        let reader = Reader::from_bytes(Bytes::from_bytes_vec(bytes.to_vec())).map_err(damaged)?;
        let metadata = |key: &str| reader.metadata().get(key).cloned();
        let (manifest, digest) = (metadata(MANIFEST_KEY), metadata(DIGEST_KEY));
        let mut weights = Weights::default();
        let mut stored = None;
        for tensor in reader.into_tensors().map_err(damaged)? {
            let (name, dtype, shape, _, bytes) = tensor.into_parts().map_err(damaged)?;
            let dtype = match dtype {
                DType::F32 => Dtype::F32,
                DType::F16 => Dtype::F16,
                other => {
                    return Err(Error::usage(format!("tensor `{name}`: must be of type F32 or F16, got {other:?}")));
                }
            };
            if *stored.get_or_insert(dtype) != dtype {
                return Err(Error::usage(format!("tensor `{name}`: must be of the same type as the others")));
            }
            let values = dtype.values(&bytes).ok_or_else(|| Error::usage(format!("tensor `{name}` is cut off")))?;
            weights.insert(name, WeightTensor { shape: shape.to_vec(), values });
        }
        let dtype = stored.unwrap_or(Dtype::F32);
        if let (Some(text), Some(digest)) = (&manifest, &digest) {
            // The reader passes over padding, a tail, and parts of the header that it does not use.
            exactly(bytes, &pack(dtype, text, digest, &weights)?)?;
        }
        Ok(Content { manifest, digest, dtype, weights })
    }
}

fn pack(dtype: Dtype, text: &str, digest: &str, weights: &Weights) -> Result<Vec<u8>> {
    let stored = match dtype {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
    };
    let tensor = |(name, tensor): (&str, &WeightTensor)| {
        let bytes = Bytes::from_bytes_vec(dtype.bytes(&tensor.values));
        Tensor::new(name.to_owned(), stored, tensor.shape.clone(), None, bytes)
    };
    let packed = Writer::new(weights.iter().map(tensor).collect())
        .with_metadata(DIGEST_KEY, digest)
        .with_metadata(MANIFEST_KEY, text)
        .into_bytes()
        .map_err(|error| Error::failed("the burnpack file cannot be made").caused_by(error))?;
    Ok(packed.to_vec())
}
