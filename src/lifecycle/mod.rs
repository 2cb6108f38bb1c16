//! The life of a run: the one owner of what happens to a run directory, and in which order.
//!
//! ```text
//!   Trainer::new, Run::fork, rerun     Run::resume, Run::extend
//!            |                                   |
//!            v                                   v
//!         created ----------------------->    running ----+--> done
//!   (checkpoint 0, before the              (lock held)    |
//!    directory has its name)                    ^         +--> interrupted   a stop was asked for
//!                                               |         +--> failed        an error, a NaN
//!                                               |         +--> running, and nobody holds the lock: killed
//!                                               +--- resume, extend ---------'
//! ```
//!
//! Which file changes at which step, and what a run is when the process dies right after it:
//!
//! | step | on disk | then the run is |
//! |---|---|---|
//! | begin | `runs/.kiln-new-…/`, its `lock` | nothing; the next run to be created deletes it |
//! | fill | `config.toml`, `checkpoints/000000000`, `metrics.jsonl`, `run.json` | the same |
//! | name | `.kiln-new-…` becomes `runs/NAME-0001` | running: resumed from checkpoint 0 |
//! | open | `lock` of an earlier run, before anything is read | what it was |
//! | check | nothing: config, checkpoints, best epoch, data and device are compared with the run's | what it was |
//! | extend | one checkpoint: the newest, again, with the new config | extended; `config.toml` follows at the next resume |
//! | go on | leftovers of killed processes; `config.toml`, `metrics.jsonl`, `run.json` | running |
//! | train | a checkpoint per epoch, then a line of `metrics.jsonl`, then older checkpoints | running: resumed from the newest |
//! | finish | `model.bpk`, `metrics.jsonl`, `report.html`, `curves.csv`, then `run.json` | done once `run.json` says so; before, resume finishes it |
//!
//! A checkpoint holds the whole truth about the run at its moment: config, lineage, every epoch's metrics. `config.toml` and
//! `metrics.jsonl` are copies for people and programs to read. So a single rename moves a run from one state to the next,
//! and there is no moment between.

mod diagnosis;
mod fast_dev_run;
mod finish;
mod prepared;
mod report;
mod rerun;
mod run;
mod running;
mod stopped;
mod tensorboard;
mod trainer;
mod trial;
mod verify_resume;
mod ways_on;

pub use fast_dev_run::FastDevRun;
pub use finish::{Overfit, Summary};
pub(crate) use prepared::{open_data, plan};
pub use rerun::{Difference, Repetition};
pub use run::Run;
pub use running::Outcome;
pub use stopped::ResumeOptions;
pub use trainer::Trainer;
pub(crate) use trial::{Reached, train_trial};
pub use verify_resume::ResumeProof;
pub use ways_on::LearningRateOnExtend;
