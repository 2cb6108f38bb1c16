//! Weights that were trained elsewhere, for an architecture that kiln knows.

use std::path::Path;

use burn::tensor::Device;

use super::limits::check_values;
use super::{Format, LARGEST_FILE, names, safetensors};
use crate::data::ImageShape;
use crate::models::{ModelConfig, Weights};
use crate::run::file;
use crate::{Error, Result};

/// Reads the tensors of a safetensors file under PyTorch's names and layout as weights of `model`; see the table in
/// `names.rs`. Values of 16 or 64 bits become 32 bits.
///
/// # Errors
/// A usage error that says which tensors the file must hold when one is missing, unknown or of another shape.
pub fn import(path: &Path, model: &ModelConfig, input: ImageShape, classes: usize) -> Result<Weights> {
    let refused = |error: Error| {
        let outer = Error::usage(format!("cannot import `{}` as a {}", path.display(), model.kind()));
        error.tips().to_vec().into_iter().fold(outer, Error::tip).caused_by(error)
    };
    let begins = |start: &[u8]| match Format::of_content(start) {
        Ok(Format::Safetensors) => Ok(()),
        _ => Err(refused(Error::usage("it is no safetensors file"))),
    };
    let bytes = file::read_begun(path, LARGEST_FILE, begins)?;
    import_pytorch(&bytes, model, input, classes).map_err(refused)
}

/// [`import`] from a file's bytes.
///
/// # Errors
/// As there.
pub fn import_pytorch(bytes: &[u8], model: &ModelConfig, input: ImageShape, classes: usize) -> Result<Weights> {
    let network = model.init(input, classes, &Device::flex())?;
    let expected = names::to_pytorch(&network.weights()?);
    let found = safetensors::tensors(bytes)?.weights;
    let mut problems = Vec::new();
    for (name, tensor) in expected.iter() {
        match found.get(name) {
            None => problems.push(format!("`{name}` of shape {:?} is missing", tensor.shape)),
            Some(other) if other.shape != tensor.shape => {
                problems.push(format!("`{name}` must have shape {:?}, got {:?}", tensor.shape, other.shape));
            }
            Some(_) => {}
        }
    }
    problems.extend(
        found.iter().filter(|(name, _)| expected.get(name).is_none()).map(|(name, _)| format!("`{name}` is unknown")),
    );
    if !problems.is_empty() {
        let listed = expected.iter().map(|(name, tensor)| format!("{name} {:?}", tensor.shape)).collect::<Vec<_>>();
        return Err(Error::usage(format!("its tensors do not fit: {}", problems.join("; ")))
            .tip(format!("the network needs {}", listed.join(", "))));
    }
    let weights = names::from_pytorch(&found);
    check_values(&weights)?;
    Ok(weights)
}
