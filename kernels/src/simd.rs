//! How passes over arrays are compiled and split.

/// Values per task in passes over a whole array.
pub(super) const BLOCK: usize = 1 << 14;

/// Runs `work` compiled for the best instruction set this CPU has; its inner functions must be `#[inline(always)]`.
#[inline]
pub(super) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}
