//! The format that PyTorch users read: `safetensors.torch.load_file` gives a `state_dict` under the names of
//! [`names`](super::names).

use std::collections::HashMap;

use safetensors::tensor::{Metadata, TensorView};
use safetensors::{Dtype as Stored, SafeTensorError, SafeTensors};
use serde_json::{Map, Value};

use super::format::exactly;
use super::{COPY_AGAIN, Content, DIGEST_KEY, Dtype, LARGEST_HEADER, MANIFEST_KEY, Payload, names};
use crate::models::{WeightTensor, Weights};
use crate::{Error, Result};

/// The key that `safetensors.torch` expects in the metadata, and its value.
const FORMAT: (&str, &str) = ("format", "pt");

/// The bytes before the header: its length.
const LENGTH: usize = 8;

pub(super) struct Container;

impl super::format::Container for Container {
    fn name(&self) -> &'static str {
        "safetensors"
    }

    fn extension(&self) -> &'static str {
        "safetensors"
    }

    fn about(&self) -> &'static str {
        "Tensors under PyTorch's names and layout, .safetensors"
    }

    fn begins(&self, start: &[u8]) -> bool {
        // The length of a JSON object, then the object.
        matches!(start, [_, _, _, _, 0, 0, 0, 0, b'{', ..])
    }

    fn encode(&self, model: &Payload) -> Result<Vec<u8>> {
        let failed = |error: SafeTensorError| Error::failed("the safetensors file cannot be made").caused_by(error);
        let dtype = model.manifest.dtype;
        let stored_as = match dtype {
            Dtype::F32 => Stored::F32,
            Dtype::F16 => Stored::F16,
        };
        let pytorch = names::to_pytorch(model.weights);
        let stored = pytorch
            .iter()
            .map(|(name, tensor)| (name, tensor.shape.clone(), dtype.bytes(&tensor.values)))
            .collect::<Vec<_>>();
        let views =
            stored.iter().map(|(name, shape, bytes)| Ok((*name, TensorView::new(stored_as, shape.clone(), bytes)?)));
        let views = views.collect::<Result<Vec<_>, SafeTensorError>>().map_err(failed)?;
        let metadata = [FORMAT, (DIGEST_KEY, &model.digest), (MANIFEST_KEY, &model.text)];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
        safetensors::serialize(views, Some(HashMap::from(metadata))).map_err(failed)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Content> {
        let Tensors { header, dtype, weights } = tensors(bytes)?;
        let value = |key: &str| header.metadata().as_ref().and_then(|metadata| metadata.get(key)).cloned();
        let (manifest, digest) = (value(MANIFEST_KEY), value(DIGEST_KEY));
        if manifest.is_some() && digest.is_some() {
            check_header(bytes, &header)?;
        }
        let dtype = dtype.ok_or_else(|| Error::usage("its tensors must all be F32 or all be F16"));
        let dtype = if manifest.is_some() { dtype? } else { Dtype::F32 };
        Ok(Content { manifest, digest, dtype, weights: names::from_pytorch(&weights) })
    }
}

/// What a safetensors file holds.
pub(super) struct Tensors {
    header: Metadata,
    /// The type of all tensors, if it is one that kiln writes.
    dtype: Option<Dtype>,
    /// All floating-point tensors under their own names.
    pub(super) weights: Weights,
}

/// Reads any safetensors file.
pub(super) fn tensors(bytes: &[u8]) -> Result<Tensors> {
    let damaged = |error: SafeTensorError| {
        Error::usage("the safetensors file is truncated or damaged").caused_by(error).tip("copy the file again")
    };
    header_length(bytes)?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let mut weights = Weights::default();
    let mut types = Vec::new();
    for (name, view) in file.iter() {
        types.push(view.dtype());
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
    types.dedup();
    let dtype = match types[..] {
        [Stored::F32] => Some(Dtype::F32),
        [Stored::F16] => Some(Dtype::F16),
        _ => None,
    };
    Ok(Tensors { header, dtype, weights })
}

/// The crate sees to it that the tensors lie one after another up to the file's end. This sees to it that the header in
/// front of them says what was read from it and nothing else, in the one way that it is written; only the order of the
/// metadata's three entries is free, since the crate takes them from a hash map.
fn check_header(bytes: &[u8], header: &Metadata) -> Result<()> {
    let failed = |error: serde_json::Error| Error::usage("the safetensors header is damaged").caused_by(error);
    let length = header_length(bytes)?;
    let text = &bytes[LENGTH..LENGTH + length];
    let found = serde_json::from_slice::<Map<String, Value>>(text).map_err(failed)?;
    let metadata = found.get("__metadata__").and_then(Value::as_object);
    let known = [FORMAT.0, DIGEST_KEY, MANIFEST_KEY];
    let Some(metadata) = metadata.filter(|metadata| {
        metadata.len() == known.len()
            && known.iter().all(|key| metadata.contains_key(*key))
            && metadata[FORMAT.0] == FORMAT.1
    }) else {
        let error = format!("its metadata must be {} = \"{}\" and {}", FORMAT.0, FORMAT.1, known[1..].join(" and "));
        return Err(Error::usage(error).tip(COPY_AGAIN));
    };
    let mut expected = Map::from_iter([("__metadata__".to_owned(), Value::Object(metadata.clone()))]);
    for name in header.offset_keys() {
        let info = serde_json::to_value(header.info(&name)).map_err(failed)?;
        expected.insert(name, info);
    }
    let mut expected = serde_json::to_vec(&expected).map_err(failed)?;
    expected.resize(expected.len().next_multiple_of(LENGTH), b' ');
    exactly(&bytes[..LENGTH + length], &[&(expected.len() as u64).to_le_bytes()[..], &expected].concat())
}

/// The length of the header in bytes, which the file holds.
fn header_length(bytes: &[u8]) -> Result<usize> {
    let cut_off = || Error::usage("the safetensors file is cut off").tip(COPY_AGAIN);
    let length = u64::from_le_bytes(*bytes.first_chunk::<LENGTH>().ok_or_else(cut_off)?);
    if length > LARGEST_HEADER as u64 {
        let error = format!("the safetensors file's header must have at most {LARGEST_HEADER} bytes, got {length}");
        return Err(Error::usage(error));
    }
    let length = length as usize;
    if bytes.len() - LENGTH < length { Err(cut_off()) } else { Ok(length) }
}

fn bfloat(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<2>().0.iter().map(|&value| half::bf16::from_le_bytes(value).to_f32()).collect()
}

fn double(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<8>().0.iter().map(|&value| f64::from_le_bytes(value) as f32).collect()
}
