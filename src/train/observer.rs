//! Who is told how training goes. Whoever prints implements it; the loop knows no terminal.

use super::state::EpochMetrics;

/// Where an epoch under way stands.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Epochs planned.
    pub epochs: usize,
    /// Iterations done in the epoch.
    pub iteration: usize,
    /// Iterations in an epoch.
    pub iterations: usize,
    /// Mean loss of the epoch so far, in nats.
    pub loss: f64,
    /// Share of the epoch's images recognised so far.
    pub accuracy: f64,
    /// Training images per second.
    pub images_per_second: f64,
}

/// Is told of every few iterations and of every epoch.
pub trait Observer: Send {
    /// Some iterations are done.
    fn iteration(&mut self, moment: &Moment);

    /// An epoch is done and saved; `best` says whether it is the best so far.
    fn epoch(&mut self, metrics: &EpochMetrics, epochs: usize, best: bool);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug)]
pub struct Quiet;

impl Observer for Quiet {
    fn iteration(&mut self, _moment: &Moment) {}
    fn epoch(&mut self, _metrics: &EpochMetrics, _epochs: usize, _best: bool) {}
}
