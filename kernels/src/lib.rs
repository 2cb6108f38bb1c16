//! CPU kernels on plain `f32` slices; nothing here knows of Burn.
//!
//! All arrays are dense and row-major, in the order their shapes name: images `[batch, channels, height, width]` (NCHW).
//! Work is split by batch and array sizes only, and partial sums are added in a fixed order, so the results do not
//! depend on the number of threads. Instruction sets are chosen at run time.
//!
//! No argument is trusted: a geometry is checked when it is made, and every kernel compares its slices' lengths with it
//! before it computes. What does not fit panics with the sizes in the message, in every build.
//!
//! `bytes` stands alone. Files import one way: `compiled` -> `conv`, `norm`, `linear`, `loss`, `dropout`, `sum`, `update`, `peak` -> `blocks`, `sparse`,
//! `im2col`, `direct` -> `winograd` -> `padded` -> `geometry` -> `pool` -> `gemm` -> `fill`, `reduce`, `transpose`, `simd`, `size`.
#![allow(rustdoc::private_intra_doc_links, reason = "read by those who change it, and they see all of it")]

mod blocks;
pub mod bytes;
pub mod compiled;
pub mod conv;
mod direct;
pub mod dropout;
mod fill;
mod gemm;
pub mod geometry;
mod im2col;
pub mod linear;
pub mod loss;
pub mod norm;
mod padded;
pub mod peak;
pub mod pool;
mod reduce;
mod simd;
mod size;
mod sparse;
pub mod sum;
#[cfg(test)]
mod tests;
mod transpose;
pub mod update;
mod winograd;
