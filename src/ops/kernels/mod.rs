//! CPU kernels on plain `f32` slices; nothing here knows of Burn.
//!
//! All arrays are dense and row-major, in the order their shapes name: images `[batch, channels, height, width]`.
//! Work is split by batch and array sizes only, and partial sums are added in a fixed order, so the results do not
//! depend on the number of threads. Instruction sets are chosen at run time.

pub mod conv;
pub mod dropout;
mod fill;
mod gemm;
pub mod linear;
pub mod loss;
pub mod norm;
mod patches;
pub mod pool;
mod sparse;
pub mod update;

/// Runs `work` compiled for the best instruction set this CPU has; its inner functions must be `#[inline(always)]`.
#[inline]
fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// Values per task in passes over a whole array.
const BLOCK: usize = 1 << 14;
