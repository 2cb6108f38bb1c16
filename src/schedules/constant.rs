//! The peak throughout.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Position, ScheduleKind};
use crate::check::{Check, Problems};

/// The peak throughout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConstantLr {}

impl ScheduleKind for ConstantLr {
    fn examples() -> Vec<Self> {
        vec![Self {}]
    }

    fn ratio(&self, _at: Position) -> f64 {
        1.0
    }

    fn is_constant(&self) -> bool {
        true
    }
}

impl Check for ConstantLr {
    fn check(&self, _problems: &mut Problems) {}
}
