//! Initial weights, drawn on the host so that a seed gives the same network on every backend.
//!
//! Weights of layers before a ReLU are normal with variance `2 / fan_in`, those of the output layer with variance
//! `1 / fan_in` (He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015). Biases are 0 and norms the identity.

use std::f64::consts::TAU;

use burn::module::{Module as _, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use rand::Rng;

use super::Network;
use super::parameter::{Initial, ParameterPath, Role};
use super::weights::replaced;
use crate::seed::{Purpose, Stream};

/// The network with all tensors drawn anew from `seed`.
pub(super) fn initialise(network: Network, seed: u64) -> Network {
    let stream = Stream::new(seed, Purpose::Initialisation);
    network.map(&mut Initialise { path: ParameterPath::default(), stream, index: 0 })
}

struct Initialise {
    path: ParameterPath,
    stream: Stream,
    /// Counts all tensors in the order of the network's fields.
    index: usize,
}

impl ModuleMapper for Initialise {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.name();
        let dims = param.dims();
        let count = dims.iter().product::<usize>();
        // A network with a tensor without a role is never built.
        let values = match Role::of(&name, D).map_or(Initial::Constant(0.0), Role::initial) {
            Initial::Normal { gain } => {
                let sd = gain / (fan_in(&dims) as f64).sqrt();
                normal(&mut self.stream.at(0, self.index), count, sd)
            }
            Initial::Constant(value) => vec![value; count],
        };
        self.index += 1;
        replaced(param, TensorData::new(values, dims))
    }
}

/// The inputs of one output value: rows of a `[inputs, outputs]` matrix, or input channels x kernel area.
fn fan_in(dims: &[usize]) -> usize {
    match dims {
        [inputs, _] => *inputs,
        [_, rest @ ..] => rest.iter().product(),
        [] => 1,
    }
}

/// `count` normal values of mean 0 (Box and Muller, 1958), computed in f64.
fn normal(rng: &mut impl Rng, count: usize, sd: f64) -> Vec<f32> {
    // 53 random bits, moved half a step off 0 so that the logarithm is finite.
    let mut uniform = || ((rng.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let (radius, angle) = ((-2.0 * uniform().ln()).sqrt(), TAU * uniform());
        values.push((sd * radius * angle.cos()) as f32);
        values.push((sd * radius * angle.sin()) as f32);
    }
    values.truncate(count);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_values_have_the_asked_mean_and_deviation() {
        let values = normal(&mut Stream::new(1, Purpose::Initialisation).at(0, 0), 100_001, 0.5);
        assert_eq!(values.len(), 100_001);
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / 1e5;
        let variance = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((variance - 0.25).abs() < 0.01, "{variance}");
    }

    #[test]
    fn fan_in_counts_the_inputs_of_one_output() {
        assert_eq!(fan_in(&[784, 10]), 784);
        assert_eq!(fan_in(&[32, 16, 3, 3]), 144);
    }
}
