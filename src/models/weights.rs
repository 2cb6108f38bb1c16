//! All tensors of a network on the host, by name: what artifacts hold and digests cover.

use std::collections::BTreeMap;

use burn::module::{Module as _, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor, TensorData};
use sha2::{Digest as _, Sha256};

use super::Network;
use super::parameter::ParameterPath;
use crate::ops::bytes;
use crate::{Error, Result};

/// A network's tensors by name, running statistics included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    tensors: BTreeMap<String, WeightTensor>,
}

/// One tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightTensor {
    /// Its dimensions, outermost first; `values.len()` is their product.
    pub shape: Vec<usize>,
    /// Its values in row-major order.
    pub values: Vec<f32>,
}

impl Weights {
    /// Adds a tensor, replacing one of the same name.
    pub fn insert(&mut self, name: impl Into<String>, tensor: WeightTensor) {
        self.tensors.insert(name.into(), tensor);
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&WeightTensor> {
        self.tensors.get(name)
    }

    /// The values of the tensor at `path`, which may begin with the names of modules around the network.
    pub fn find(&self, path: &str) -> Option<&[f32]> {
        let own = |name: &str| path == name || path.strip_suffix(name).is_some_and(|outer| outer.ends_with('.'));
        self.tensors.iter().find(|(name, _)| own(name)).map(|(_, tensor)| tensor.values.as_slice())
    }

    /// Takes the tensor of that name out.
    pub fn remove(&mut self, name: &str) -> Option<WeightTensor> {
        self.tensors.remove(name)
    }

    /// All tensors, to be changed in place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut WeightTensor)> {
        self.tensors.iter_mut().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// All tensors, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &WeightTensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// True when there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// The name of a tensor that holds a NaN or an infinity, if any does.
    pub fn first_not_finite(&self) -> Option<&str> {
        self.iter().find(|(_, tensor)| tensor.values.iter().any(|value| !value.is_finite())).map(|(name, _)| name)
    }

    /// The name of the first tensor that is not the same, to the last bit, in `other`; none when all are.
    pub fn first_difference(&self, other: &Self) -> Option<String> {
        let bits = |tensor: &WeightTensor| tensor.values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let differs = |name: &&String| match (self.tensors.get(*name), other.tensors.get(*name)) {
            (Some(one), Some(two)) => one.shape != two.shape || bits(one) != bits(two),
            _ => true,
        };
        self.tensors.keys().chain(other.tensors.keys()).find(differs).cloned()
    }

    /// SHA-256 in hexadecimal over all tensors sorted by name, each as: length of the name, name, number of
    /// dimensions, dimensions (numbers as 64-bit little-endian), values (32-bit floats, little-endian).
    pub fn sha256(&self) -> String {
        let (mut hash, mut bytes) = (Sha256::new(), Vec::new());
        for (name, tensor) in &self.tensors {
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name.as_bytes());
            hash.update((tensor.shape.len() as u64).to_le_bytes());
            for &side in &tensor.shape {
                hash.update((side as u64).to_le_bytes());
            }
            for chunk in tensor.values.chunks(4096) {
                bytes.clear();
                bytes::append(chunk, &mut bytes);
                hash.update(&bytes);
            }
        }
        hex::encode(hash.finalize())
    }
}

impl FromIterator<(String, WeightTensor)> for Weights {
    fn from_iter<I: IntoIterator<Item = (String, WeightTensor)>>(tensors: I) -> Self {
        Self { tensors: tensors.into_iter().collect() }
    }
}

/// Copies all tensors to the host.
pub(super) fn collect(network: &Network) -> Result<Weights> {
    // Batch norms publish their last update of the running statistics only when they leave training.
    let network = network.valid();
    let mut collector = WeightReader::default();
    network.visit(&mut collector);
    match collector.failure {
        None => Ok(collector.weights),
        Some(error) => Err(error),
    }
}

#[derive(Default)]
struct WeightReader {
    path: ParameterPath,
    weights: Weights,
    failure: Option<Error>,
}

impl ModuleVisitor for WeightReader {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let (name, tensor) = (self.path.name(), param.val());
        let shape = tensor.dims().to_vec();
        match tensor.try_into_vec_as::<f32>() {
            Ok(values) => self.weights.insert(name, WeightTensor { shape, values }),
            Err(error) => {
                let failure = Error::failed(format!("tensor `{name}` cannot be read from the device"));
                self.failure.get_or_insert(failure.caused_by(error));
            }
        }
    }
}

/// Puts `weights` in place of all tensors of `network`.
pub(super) fn load(network: Network, weights: &Weights) -> Result<Network> {
    let training = network.devices().iter().any(|device| device.is_autodiff());
    // A copy that leaves training shares no running statistics with other clones, so they stay as they are.
    let network = network.valid();
    let mut loader = Loader { path: ParameterPath::default(), weights, used: 0, failure: None };
    let network = network.map(&mut loader);
    if let Some(error) = loader.failure {
        return Err(error);
    }
    if loader.used < weights.len() {
        let known = collect(&network)?;
        let unknown = weights.iter().map(|(name, _)| name).filter(|name| known.get(name).is_none());
        let unknown = unknown.collect::<Vec<_>>().join("`, `");
        return Err(Error::usage(format!("the network has no tensor `{unknown}`")));
    }
    Ok(if training { network.train() } else { network })
}

struct Loader<'a> {
    path: ParameterPath,
    weights: &'a Weights,
    used: usize,
    failure: Option<Error>,
}

impl ModuleMapper for Loader<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.name();
        let (allowed, count) = (param.dims().to_vec(), param.shape().num_elements());
        let problem = match self.weights.get(&name) {
            None => format!("tensor `{name}` is missing"),
            Some(found) if found.shape != allowed => {
                format!("tensor `{name}`: must have shape {allowed:?}, got {:?}", found.shape)
            }
            Some(found) if found.values.len() != count => {
                format!("tensor `{name}`: must hold {count} values, got {}", found.values.len())
            }
            Some(found) => {
                self.used += 1;
                return replaced(param, TensorData::new(found.values.clone(), allowed));
            }
        };
        self.failure.get_or_insert(Error::usage(problem));
        param
    }
}

/// The parameter with another value on the same device, tracked by autodiff as before.
pub(super) fn replaced<const D: usize>(param: Param<Tensor<D>>, data: TensorData) -> Param<Tensor<D>> {
    let (id, old, mapper) = param.consume();
    let tensor = Tensor::from_data(data, (&old.device(), DType::F32));
    let tensor = if old.is_require_grad() { tensor.require_grad() } else { tensor };
    Param::from_mapped_value(id, tensor, mapper)
}
