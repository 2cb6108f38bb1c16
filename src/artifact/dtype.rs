//! The type of the stored numbers.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::models::Weights;
use crate::{Error, Result};

/// The type of the stored numbers. Computing is always in 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// 32 bits: what was trained, bit for bit.
    F32,
    /// 16 bits (IEEE half precision): half the size, values rounded to 11 significant bits.
    F16,
}

impl Dtype {
    /// The values as a file stores them, little-endian.
    pub(super) fn bytes(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|&value| half::f16::from_f32(value).to_le_bytes()).collect(),
        }
    }

    /// The values in `bytes`; `None` when they are not whole.
    pub(super) fn values(self, bytes: &[u8]) -> Option<Vec<f32>> {
        match self {
            Self::F32 => {
                let (values, rest) = bytes.as_chunks::<4>();
                rest.is_empty().then(|| values.iter().map(|&value| f32::from_le_bytes(value)).collect())
            }
            Self::F16 => {
                let (values, rest) = bytes.as_chunks::<2>();
                rest.is_empty().then(|| values.iter().map(|&value| half::f16::from_le_bytes(value).to_f32()).collect())
            }
        }
    }

    /// The weights as they come back from a file of this type.
    ///
    /// # Errors
    /// When one is, in this type, NaN or infinite.
    pub fn round(self, weights: &Weights) -> Result<Weights> {
        let mut weights = weights.clone();
        if self == Self::F16 {
            for (_, tensor) in weights.iter_mut() {
                tensor.values.iter_mut().for_each(|value| *value = half::f16::from_f32(*value).to_f32());
            }
        }
        match weights.first_not_finite() {
            None => Ok(weights),
            Some(name) => {
                let error = Error::failed(format!("tensor `{name}` holds a NaN or infinite value in {self:?}"));
                Err(if self == Self::F16 { error.tip("export with --dtype f32") } else { error })
            }
        }
    }
}
