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
//! | `ops` | CPU kernels plugged into Burn, each tested against Burn's own operations |
//! | [`optimizers`] | how gradients move the parameters |
//! | [`schedules`] | how the learning rate changes over a run |
//! | [`train`] | Burn's `SupervisedTraining` and `Learner`, the epoch loop, checkpoints |
//! | [`run`] | the run directory, its lock and its files |
//! | [`eval`] | a finished model measured, as plain data |
//! | [`report`] | numbers to text |
//! | [`artifact`] | the exported model: weights and manifest in one file |
//! | [`predict`] | image bytes -> ranked labels: the one inference path |
//! | [`serve`] | the same over HTTP, and the drawing page |
//! | [`bench`] | how fast an experiment computes here |
//! | [`device`] | backends: what is compiled in, what is there, opening it |
//! | [`seed`] | every random draw as a function of (seed, purpose, epoch, index) |
//! | [`hex`] | bytes as hexadecimal |
//! | [`logits`] | what a network's outputs mean |
//! | [`check`] | collecting what is wrong with a config |
//! | `kinds` | the list from which models, optimizers and schedules become enums |
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
pub mod hex;
mod kinds;
pub mod lifecycle;
pub mod logits;
pub mod models;
mod ops;
pub mod optimizers;
pub mod plan;
pub mod predict;
pub mod report;
pub mod run;
pub mod schedules;
pub mod seed;
pub mod serve;
pub mod train;

pub use config::Experiment;
pub use error::{Error, Result};
pub use lifecycle::{LearningRateOnExtend, Outcome, ResumeOptions, ResumeProof, Run, Summary, Trainer};
pub use predict::Predictor;
pub use run::{EpochMetrics, RunRecord, Status};
pub use train::observer::{Observer, Progress, StopHandle};

/// The README's programs compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
