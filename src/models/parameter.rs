//! How a network's tensors are named and identified.

use std::hash::{Hash as _, Hasher};

use burn::module::{Module as _, ModuleMapper, Param, ParamId};
use burn::tensor::Tensor;

use super::Network;

/// The name of the tensor that a visitor or mapper of a [`Network`] is at: `blocks.0.conv.weight`. Feed it from
/// `enter_module` and `exit_module`.
#[derive(Debug, Default)]
pub struct ParameterPath {
    modules: Vec<String>,
}

impl ParameterPath {
    /// Goes into a module.
    pub fn enter(&mut self, name: &str) {
        self.modules.push(name.to_owned());
    }

    /// Leaves the innermost module.
    pub fn exit(&mut self) {
        self.modules.pop();
    }

    /// The name: the path without the outermost part, which is the variant of [`Network`].
    pub fn name(&self) -> String {
        self.modules.get(1..).unwrap_or_default().join(".")
    }
}

/// Materialises every parameter and gives it an id that follows from its name, so that the same network has the same
/// ids in every process and an optimizer's saved state finds its parameters again.
pub(super) fn identify(network: Network) -> Network {
    struct Identify(ParameterPath);

    impl ModuleMapper for Identify {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.0.enter(name);
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.exit();
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (_, tensor, mapper) = param.consume();
            let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
            self.0.name().hash(&mut hash);
            Param::from_mapped_value(ParamId::from(hash.finish()), tensor, mapper)
        }
    }

    network.map(&mut Identify(ParameterPath::default()))
}

/// FNV-1a, 64 bits (Fowler, Noll and Vo): a hash that is the same in every build.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
