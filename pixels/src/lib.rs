//! What is done to every pixel: pictures decoded and made flat, digits found in them, images moved, covered, recoloured,
//! mixed and normalised. What is to be done, and when, `kiln` decides.
//!
//! Images are `u8`, `[channels, height, width]`, dense and row-major; network inputs are `f32` of the same order. Nothing
//! here draws but from a generator that it is given, and nothing panics for what a picture contains.
//!
//! Files import one way: all others -> `background`, `shape`, `random`.
#![allow(rustdoc::private_intra_doc_links, reason = "read by those who change it, and they see all of it")]

mod background;
pub mod digit;
pub mod flat;
pub mod mix;
pub mod noise;
pub mod pattern;
pub mod png;
pub mod random;
mod shape;
pub mod shift;
pub mod table;
pub mod tone;
pub mod warp;
pub mod words;

pub use background::Background;
pub use shape::ImageShape;
