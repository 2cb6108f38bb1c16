//! Proof that a resumed run is the same run: the same experiment trained twice, once without a stop and once stopped and
//! resumed, and the two compared epoch by epoch and tensor by tensor.

use super::checkpoint::CheckpointStore;
use super::observer::Quiet;
use super::session::{Outcome, Session, Start};
use super::state::EpochMetrics;
use crate::run::RunDir;
use crate::{Error, Result};

/// What the comparison found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// Every epoch's weights and figures agree to the last bit.
    Identical {
        /// SHA-256 of the final weights.
        weights_sha256: String,
    },
    /// Something differs.
    Different {
        /// The first epoch that does; none when only the final weights do.
        epoch: Option<usize>,
        /// The first tensor of the final weights that does.
        tensor: Option<String>,
    },
}

/// Trains `session`'s experiment in `whole` without a stop, and in `parts` stopped after `stop_at` iterations and
/// resumed from what is on disk.
///
/// # Errors
/// When either training fails.
pub fn compare(session: &mut Session, whole: RunDir, parts: RunDir, stop_at: usize) -> Result<Receipt> {
    session.run = Some(whole);
    session.stop_after_iteration = None;
    let uninterrupted = session.run(Start::Fresh, Box::new(Quiet))?;
    let store = CheckpointStore::open(parts.checkpoints())?;
    session.run = Some(parts);
    session.stop_after_iteration = Some(stop_at);
    session.run(Start::Fresh, Box::new(Quiet))?;
    session.stop_after_iteration = None;
    let (checkpoint, _) = store.newest_intact()?;
    let checkpoint = checkpoint.ok_or_else(|| Error::failed("the stopped run left no checkpoint"))?;
    let resumed = session.run(Start::Resume(Box::new(checkpoint)), Box::new(Quiet))?;
    difference(&uninterrupted, &resumed)
}

fn difference(one: &Outcome, other: &Outcome) -> Result<Receipt> {
    let (first, second) = (timeless(one)?, timeless(other)?);
    let epoch = first.iter().zip(&second).find(|(a, b)| a != b).map(|(a, _)| a.epoch);
    let tensor = one.last.first_difference(&other.last);
    if epoch.is_none() && tensor.is_none() && first.len() == second.len() {
        return Ok(Receipt::Identical { weights_sha256: one.last.sha256() });
    }
    Ok(Receipt::Different { epoch, tensor })
}

/// The epochs' figures without the times, which differ between any two runs.
fn timeless(outcome: &Outcome) -> Result<Vec<EpochMetrics>> {
    let parse = |line: &String| {
        let metrics: EpochMetrics =
            serde_json::from_str(line).map_err(|error| Error::failed("unreadable metrics").caused_by(error))?;
        Ok(EpochMetrics { images_per_second: 0.0, seconds: 0.0, ..metrics })
    };
    outcome.state.metrics.iter().map(parse).collect()
}
