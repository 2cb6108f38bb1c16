//! kiln trains small-image classifiers on the Burn framework: a config file in, a trained, evaluated,
//! exported and servable model out.
//!
//! Where things are, from the outside in:
//!
//! | module | owns |
//! |---|---|
//! | [`cli`] | one file per command; everything that is printed |
//! | [`config`] | the experiment: TOML text -> `--set` patches -> typed -> checked |
//! | [`plan`] | the arithmetic: images, batches, iterations, epochs, parameters, FLOPs, memory |
//! | [`data`] | image sets, splits, preprocessing, augmentation, the batch loader |
//! | [`models`] | the networks as Burn modules |
//! | [`ops`] | CPU kernels plugged into Burn, each with its stock twin |
//! | [`optimizers`] | how gradients move the parameters |
//! | [`schedules`] | how the learning rate changes over a run |
//! | [`train`] | Burn's `SupervisedTraining` and `Learner`, the epoch loop, checkpoints |
//! | [`run`] | the run directory, its lock and its files |
//! | [`eval`] | a finished model measured, as plain data |
//! | [`report`] | numbers to text |
//! | [`artifact`] | the model file: weights and manifest, written, read and checked |
//! | [`predict`] | image bytes -> ranked labels: the one inference path; golden samples |
//! | [`serve`] | the same over HTTP, and the drawing page |
//! | [`bench`] | how fast an experiment computes here |
//! | [`device`] | backends: what is compiled in, what is there, opening it |
//! | [`seed`] | every random draw as a function of (seed, purpose, epoch, index) |
//! | [`logits`] | what a network's outputs mean |
//! | [`check`] | collecting what is wrong with a config |
//! | [`error`] | the one error type and its exit codes |
#![recursion_limit = "256"]

pub mod artifact;
pub mod bench;
pub mod check;
pub mod cli;
pub mod config;
pub mod data;
pub mod device;
pub mod error;
pub mod eval;
pub mod logits;
pub mod models;
pub mod ops;
pub mod optimizers;
pub mod plan;
pub mod predict;
pub mod report;
pub mod run;
pub mod schedules;
pub mod seed;
pub mod serve;
pub mod train;

pub use error::{Error, Result};
pub use predict::Predictor;
