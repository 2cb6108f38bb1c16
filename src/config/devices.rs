//! The key `device`, which is a text or a list of texts. What they mean is `crate::device`'s business.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

/// Both ways to write it.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(super) enum Devices {
    /// One, or several with commas between them.
    One(String),
    /// Several, the main one first.
    Several(Vec<String>),
}

/// The one text that stands for either.
pub(super) fn joined<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Devices::deserialize(deserializer)? {
        Devices::One(name) => name,
        Devices::Several(names) => names.join(","),
    })
}
