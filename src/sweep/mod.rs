//! A sweep: many trials of one experiment, each with other values, and the best of them by its answers for the validation
//! images. Its state is its folder and nothing else, so any number of processes on any number of machines can work on it, and
//! each can be killed at any moment.
//!
//! ```text
//! runs/mnist-sweep-0001/
//!   sweep.toml              what is tried: the config with its `[sweep]` table, complete
//!   trials/0007/seed-1/     a run: trial 7, trained with seed 1; `trials/0007` is a folder of runs that differ in their seed
//!   jobs/0007-seed-1/       who trains that run, and what it reached
//!     claim-1, claim-1.beat   who took it, and that it lives
//!     config.toml             what is trained
//!     rung-1.json             what it reached at the end of the first rung
//!     answers-1.json          its answers for the validation images there
//!     log                     what the processes that trained it had to say
//!   result.json             the ranking, the verdict, and the winner's accuracy on the test images
//!   report.html             the same on one page
//! ```
//!
//! What is to be done next is a function of `sweep.toml` and of what has been reached ([`state`]): the values of the trials
//! ([`search`]), and which of them go on ([`halving`]). Whoever finds something to do claims it ([`claim`]), trains it in a
//! process of its own ([`work`]), and writes down what it reached. So the outcome depends neither on who did what nor on when.

mod claim;
mod conclude;
mod folder;
mod halving;
mod importance;
pub mod result;
mod search;
mod space;
mod state;
mod work;

pub use folder::{RunResult, SweepFolder};
pub use importance::{FEWEST, Importance, importance};
pub use result::{Key, SweepResult, TrialRow, label, short, shown};
pub use state::State;
pub use work::{Stop, TrialOutput, Worker};
