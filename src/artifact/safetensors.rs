//! The container that PyTorch users read: `safetensors.torch.load_file` gives a `state_dict` under the names of
//! [`names`](super::names).

use std::collections::HashMap;

use safetensors::tensor::TensorView;
use safetensors::{Dtype as Stored, SafeTensorError, SafeTensors};

use super::{Content, DIGEST_KEY, Dtype, MANIFEST_KEY, Manifest, names, sha256};
use crate::models::{WeightTensor, Weights};
use crate::{Error, Result};

/// The file's bytes.
pub(super) fn encode(manifest: &Manifest, weights: &Weights) -> Result<Vec<u8>> {
    let failed = |error: SafeTensorError| Error::failed("the safetensors file cannot be made").caused_by(error);
    let dtype = match manifest.dtype {
        Dtype::F32 => Stored::F32,
        Dtype::F16 => Stored::F16,
    };
    let pytorch = names::to_pytorch(weights);
    let stored = pytorch
        .iter()
        .map(|(name, tensor)| (name, tensor.shape.clone(), manifest.dtype.bytes(&tensor.values)))
        .collect::<Vec<_>>();
    let views = stored.iter().map(|(name, shape, bytes)| Ok((*name, TensorView::new(dtype, shape.clone(), bytes)?)));
    let views = views.collect::<Result<Vec<_>, SafeTensorError>>().map_err(failed)?;
    let text = manifest.to_json()?;
    let metadata = HashMap::from([
        ("format".to_owned(), "pt".to_owned()),
        (DIGEST_KEY.to_owned(), sha256(text.as_bytes())),
        (MANIFEST_KEY.to_owned(), text),
    ]);
    safetensors::serialize(views, Some(metadata)).map_err(failed)
}

/// What the file holds, under kiln's names.
pub(super) fn decode(bytes: &[u8]) -> Result<Content> {
    let (metadata, weights) = tensors(bytes)?;
    let value = |key: &str| metadata.get(key).cloned();
    Ok(Content { manifest: value(MANIFEST_KEY), digest: value(DIGEST_KEY), weights: names::from_pytorch(&weights) })
}

/// The metadata and all floating-point tensors under their own names.
pub(super) fn tensors(bytes: &[u8]) -> Result<(HashMap<String, String>, Weights)> {
    let damaged = |error: SafeTensorError| {
        Error::usage("the safetensors file is truncated or damaged").caused_by(error).tip("copy the file again")
    };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let mut weights = Weights::default();
    for (name, view) in file.iter() {
        let values = match view.dtype() {
            Stored::F32 => Dtype::F32.values(view.data()),
            Stored::F16 => Dtype::F16.values(view.data()),
            Stored::BF16 => Some(bfloat(view.data())),
            Stored::F64 => Some(double(view.data())),
            // PyTorch's batch norms count their batches, which nothing here needs.
            _ if name.ends_with(".num_batches_tracked") => continue,
            other => {
                return Err(Error::usage(format!("tensor `{name}`: must hold floating-point numbers, got {other:?}")));
            }
        };
        let values = values.ok_or_else(|| Error::usage(format!("tensor `{name}` is cut off")))?;
        weights.insert(name, WeightTensor { shape: view.shape().to_vec(), values });
    }
    Ok((header.metadata().clone().unwrap_or_default(), weights))
}

fn bfloat(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<2>().0.iter().map(|&value| half::bf16::from_le_bytes(value).to_f32()).collect()
}

fn double(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<8>().0.iter().map(|&value| f64::from_le_bytes(value) as f32).collect()
}
