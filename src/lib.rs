//! kiln trains small-image classifiers on the Burn framework: a config file in, a trained, evaluated, exported and servable
//! model out. This is the library; the `kiln` command parses, calls it and prints.
//!
//! # Train, stop, resume
//!
//! An [`Experiment`] is what a config file says. A [`Trainer`] is an experiment that is ready to run: device and images are
//! open, the arithmetic is done, every contradiction was refused. [`Trainer::train`] returns when the run is done or was
//! stopped; a [`Run`] is its directory, and gives the trainer that goes on with it.
//!
//! ```no_run
//! use kiln::{EpochMetrics, Experiment, Observer, Run, StopHandle, Trainer};
//!
//! struct Watch(StopHandle);
//!
//! impl Observer for Watch {
//!     fn on_epoch(&mut self, metrics: &EpochMetrics, epochs: usize, best: bool) {
//!         println!("epoch {}/{epochs}: loss {:.4}{}", metrics.epoch, metrics.train_loss, if best { ", best" } else { "" });
//!         self.0.stop(); // after the first epoch, for the sake of the example
//!     }
//! }
//!
//! # fn main() -> kiln::Result<()> {
//! let experiment = Experiment::preset("mnist")?.with(&["train.epochs=3"])?;
//! let stop = StopHandle::new();
//! let stopped = Trainer::new(experiment)?.stop_handle(stop.clone()).observer(Watch(stop)).train()?;
//!
//! let finished = Run::open(stopped.run.path())?.resume()?.train()?; // as if it had never been stopped, bit for bit
//! println!("{:?}", finished.evaluation.map(|test| test.accuracy));
//! # Ok(())
//! # }
//! ```
//!
//! [`Run::extend`] trains for longer, [`Run::fork`] begins a new run from a run's best weights, [`Trainer::verify_resume`]
//! proves that stopping changes nothing.
//!
//! A program that is built with a GPU feature sets `BURN_DEVICE=flex` in its environment before any thread starts, as the
//! `kiln` command does: Burn restores an optimizer's state on its default device, which would be a GPU, there or not.
//!
//! # Use a model
//!
//! A [`Predictor`] answers with a model file, which holds all that it takes: weights, preprocessing, class names. [`eval`]
//! measures it, [`artifact`] reads and writes the file in four formats, [`serve`] answers over HTTP.
//!
//! # The parts
//!
//! | module | has |
//! |---|---|
//! | [`config`] | the experiment: TOML text -> `--set` patches -> typed -> checked, all problems at once |
//! | [`data`] | image sets, splits, preprocessing, augmentation, batches |
//! | [`models`], [`optimizers`], [`schedules`] | the kinds that a config chooses from, one file each |
//! | [`plan`] | the arithmetic: images, batches, iterations, epochs, parameters, FLOPs, memory |
//! | [`artifact`] | the model file: weights and manifest in burnpack, safetensors, ONNX or a page |
//! | [`predict`] | pictures to ranked labels: the one inference path |
//! | [`eval`] | a model measured on labelled images, as plain data |
//! | [`serve`] | the same over HTTP, and the page to draw on |
//! | [`mod@bench`] | how fast an experiment computes here |
//! | [`device`] | backends: what is compiled in, what is there, opening it |
//! | [`error`] | the one error type and its exit codes |
#![recursion_limit = "256"]

pub mod artifact;
pub mod bench;
mod board;
mod check;
#[doc(hidden)]
pub mod cli;
mod compare;
pub mod config;
pub mod data;
pub mod device;
pub mod error;
pub mod eval;
mod http;
mod kinds;
mod lifecycle;
mod logits;
pub mod models;
mod ops;
pub mod optimizers;
mod page;
pub mod plan;
pub mod predict;
mod report;
mod run;
pub mod schedules;
mod seed;
pub mod serve;
mod sweep;
mod train;
mod worker;

pub use config::Experiment;
pub use error::{Error, Result};
pub use lifecycle::{
    Difference, FastDevRun, LearningRateOnExtend, Outcome, Overfit, Repetition, ResumeOptions, ResumeProof, Run,
    Summary, Trainer,
};
pub use predict::Predictor;
pub use run::{EpochMetrics, RunRecord, Standing, Status};
pub use train::observer::{Observer, Progress, StopHandle};

/// The README's programs compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The book's programs compile.
#[cfg(doctest)]
#[doc = include_str!("../docs/library.md")]
struct Library;
