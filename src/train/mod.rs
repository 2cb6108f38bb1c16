//! Training on Burn's `SupervisedTraining` and `Learner`: the only module that sees `burn::train`.

pub mod checkpoint;
pub mod classifier;
mod collect;
pub mod epoch_loop;
pub mod explanation;
mod figures;
pub mod observer;
pub mod receipt;
mod renderer;
pub mod session;
pub mod state;
