//! The configs that are built into the program, by name.

use super::suggest;
use crate::{Error, Result};

/// A config that is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// What the user types.
    pub name: &'static str,
    /// The file's text.
    pub text: &'static str,
}

/// All of them, the default first.
pub const PRESETS: [Preset; 9] = [
    Preset { name: "mnist", text: include_str!("../../configs/mnist.toml") },
    Preset { name: "mnist-fast", text: include_str!("../../configs/mnist-fast.toml") },
    Preset { name: "mnist-99.7", text: include_str!("../../configs/mnist-99.7.toml") },
    Preset { name: "mnist-mlp", text: include_str!("../../configs/mnist-mlp.toml") },
    Preset { name: "batch-iteration-epoch", text: include_str!("../../configs/batch-iteration-epoch.toml") },
    Preset { name: "fashion-fast", text: include_str!("../../configs/fashion-fast.toml") },
    Preset { name: "fashion", text: include_str!("../../configs/fashion.toml") },
    Preset { name: "cifar10", text: include_str!("../../configs/cifar10.toml") },
    Preset { name: "smoke", text: include_str!("../../configs/smoke.toml") },
];

/// The config of this name.
///
/// # Errors
/// A usage error that lists the names.
pub fn embedded(name: &str) -> Result<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name).ok_or_else(|| {
        let error =
            Error::usage(format!("no config `{name}`: it is neither a file nor built in; built in are {}", names()));
        match suggest::nearest(name, PRESETS.iter().map(|preset| preset.name)) {
            Some(near) => error.tip(format!("did you mean `{near}`?")),
            None => error,
        }
    })
}

/// The names, for messages.
pub(super) fn names() -> String {
    PRESETS.map(|preset| format!("`{}`", preset.name)).join(", ")
}
