//! How passes over arrays are compiled and split, and what vectors are like on this machine.

use pulp::{Simd, WithSimd};

/// Values per task in passes over a whole array.
pub(super) const BLOCK: usize = 1 << 14;

/// Values of the widest vector.
pub(super) const MOST_LANES: usize = 16;

/// Runs `work` compiled for the best instruction set this CPU has; its inner functions must be `#[inline(always)]`.
#[inline]
pub(super) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// Values of a vector of this machine.
pub(super) fn lanes() -> usize {
    Vectors::here().lanes
}

/// What vectors are like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vectors {
    /// Values of one.
    pub(super) lanes: usize,
    /// Whether there are 32 registers.
    pub(super) are_many: bool,
}

impl Vectors {
    /// Those of this machine.
    pub(super) fn here() -> Self {
        pulp::Arch::new().dispatch(Look)
    }
}

struct Look;

impl WithSimd for Look {
    type Output = Vectors;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vectors {
        Vectors { lanes: S::F32_LANES, are_many: S::REGISTER_COUNT >= 32 }
    }
}
