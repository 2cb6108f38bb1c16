//! The tensors of a network: how they are named, what each is for, and what follows from that.
//!
//! A tensor's name is its path through the network's fields. The last part is the field of Burn's module, and with the
//! number of dimensions it says the tensor's [`Role`]; the last layer must be the field `output`. Everything that treats
//! tensors differently (initial values, weight decay, the optimizers' groups) asks the role and never the name.

use burn::module::{Module as _, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;

use super::Network;
use crate::{Error, Result};

/// What a tensor of a network is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `weight` of a fully connected layer before a ReLU: `[inputs, outputs]`.
    HiddenWeight,
    /// `weight` of the last layer, the field `output`: `[inputs, classes]`.
    OutputWeight,
    /// `weight` of a convolution: `[channels out, channels in, height, width]`.
    ConvKernel,
    /// `bias` of a convolution or fully connected layer: `[outputs]`.
    Bias,
    /// `gamma` of a norm: `[channels]`.
    NormScale,
    /// `beta` of a norm: `[channels]`.
    NormShift,
    /// `running_mean` of a batch norm: `[channels]`; not learned.
    RunningMean,
    /// `running_var` of a batch norm: `[channels]`; not learned.
    RunningVariance,
}

/// How a tensor begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Initial {
    /// Normal, with the standard deviation `gain / sqrt(fan_in)`.
    Normal {
        /// See the rule in `initial.rs`.
        gain: f64,
    },
    /// The same value everywhere.
    Constant(f32),
}

impl Role {
    /// The role of the tensor with this name and number of dimensions; none when there is no rule for it.
    pub fn of(name: &str, dimensions: usize) -> Option<Self> {
        let (module, field) = name.rsplit_once('.')?;
        match (field, dimensions) {
            ("weight", 2) if module == "output" => Some(Self::OutputWeight),
            ("weight", 2) => Some(Self::HiddenWeight),
            ("weight", 4) => Some(Self::ConvKernel),
            ("bias", 1) => Some(Self::Bias),
            ("gamma", 1) => Some(Self::NormScale),
            ("beta", 1) => Some(Self::NormShift),
            ("running_mean", 1) => Some(Self::RunningMean),
            ("running_var", 1) => Some(Self::RunningVariance),
            _ => None,
        }
    }

    /// Whether training changes it by gradients; running statistics follow the batches instead.
    pub fn is_learned(self) -> bool {
        !matches!(self, Self::RunningMean | Self::RunningVariance)
    }

    /// Whether decoupled weight decay applies: to what multiplies the activations, and neither to biases nor to norms.
    pub fn decays(self) -> bool {
        matches!(self, Self::HiddenWeight | Self::OutputWeight | Self::ConvKernel)
    }

    /// Whether it is a matrix between hidden layers; a convolution's is `[channels out, channels in x height x width]`.
    pub fn is_hidden_matrix(self) -> bool {
        matches!(self, Self::HiddenWeight | Self::ConvKernel)
    }

    /// How it begins: see `initial.rs`.
    pub(super) fn initial(self) -> Initial {
        match self {
            Self::HiddenWeight | Self::ConvKernel => Initial::Normal { gain: 2.0_f64.sqrt() },
            Self::OutputWeight => Initial::Normal { gain: 1.0 },
            Self::NormScale | Self::RunningVariance => Initial::Constant(1.0),
            Self::Bias | Self::NormShift | Self::RunningMean => Initial::Constant(0.0),
        }
    }
}

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

/// The id of the tensor with this name, the same in every process and every build, so that an optimizer's saved state
/// finds its parameters again: FNV-1a in 64 bits (Fowler, Noll and Vo) over the name's bytes and a final 0xff.
pub(crate) fn id(name: &str) -> ParamId {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    ParamId::from(name.bytes().chain([0xff]).fold(0xcbf2_9ce4_8422_2325, step))
}

/// Materialises every parameter and gives it the [`id`] of its name.
///
/// # Errors
/// When a tensor has no [`Role`]: the network's fields are not named as this file says.
pub(super) fn identify(network: Network) -> Result<Network> {
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
            Param::from_mapped_value(id(&self.0.name()), tensor, mapper)
        }
    }

    let network = network.map(&mut Identify(ParameterPath::default()));
    let mut roles = Roles::default();
    network.visit(&mut roles);
    match roles.without {
        None => Ok(network),
        Some(name) => Err(Error::failed(format!("nothing says what the tensor `{name}` of this network is for"))
            .tip("name the network's fields as src/models/parameter.rs says")),
    }
}

/// Finds a tensor without a role.
#[derive(Default)]
struct Roles {
    path: ParameterPath,
    without: Option<String>,
}

impl ModuleVisitor for Roles {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
        let name = self.path.name();
        if Role::of(&name, D).is_none() {
            self.without.get_or_insert(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_that_checkpoints_on_disk_have() {
        let pinned = [
            ("output.weight", 11_772_925_783_230_994_651),
            ("output.bias", 9_724_451_964_655_186_756),
            ("hidden.0.weight", 871_250_599_325_375_744),
            ("blocks.0.conv.weight", 9_254_714_938_961_185_212),
            ("blocks.12.norm.running_var", 10_518_366_945_027_136_452),
        ];
        for (name, expected) in pinned {
            assert_eq!(id(name).val(), expected, "{name}");
        }
    }
}
