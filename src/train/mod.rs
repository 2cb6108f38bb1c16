//! Training on Burn's `SupervisedTraining` and `Learner`: the only room that sees `burn::train`. It trains from one
//! checkpoint to the next; what a run is, and when it begins and ends, is the business of
//! [`lifecycle`](crate::lifecycle).

mod average;
mod classifier;
pub(crate) mod devices;
pub(crate) mod distillation;
pub(crate) mod epoch_loop;
pub(crate) mod explanation;
pub(crate) mod lesson;
pub(crate) mod observer;
mod precision;
pub(crate) mod range_test;
mod records;
pub(crate) mod remote;
mod renderer;
pub(crate) mod session;
mod short_run;
mod step_metrics;
pub(crate) mod steps;
