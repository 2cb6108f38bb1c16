//! Who is told how training goes, and who may stop it. Whoever prints implements [`Observer`]; training knows no terminal.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::run::EpochMetrics;

/// How far the epoch under way is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Epochs planned.
    pub epochs: usize,
    /// Iterations done in the epoch.
    pub iteration: usize,
    /// Iterations in an epoch.
    pub iterations: usize,
    /// Mean loss per image of the epoch so far, in nats.
    pub loss: f64,
    /// Training accuracy of the epoch so far: correct / images.
    pub accuracy: f64,
    /// Training images per second.
    pub images_per_second: f64,
}

/// Is told how training goes. Called on the thread that trains, so what it does takes training's time. Every method has an
/// empty default.
pub trait Observer: Send {
    /// The run's directory is there, and training begins.
    fn on_start(&mut self, run_dir: &Path) {
        let _ = run_dir;
    }

    /// Some iterations are done.
    fn on_iteration(&mut self, progress: &Progress) {
        let _ = progress;
    }

    /// An epoch is done and its checkpoint is on disk; `best` says whether it is the best so far.
    fn on_epoch(&mut self, metrics: &EpochMetrics, epochs: usize, best: bool) {
        let _ = (metrics, epochs, best);
    }

    /// `done` of `total` test images are measured.
    fn on_test(&mut self, done: usize, total: usize) {
        let _ = (done, total);
    }
}

/// Tells nobody.
impl Observer for () {}

/// Stops a training run in good order from anywhere: another thread, a signal handler, an observer. What was trained is
/// saved, and the run can be resumed. Clones are handles of the same run.
#[derive(Clone, Debug, Default)]
pub struct StopHandle {
    stopped: Arc<AtomicBool>,
}

impl StopHandle {
    /// A handle that has not been used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for the stop: after the iteration under way, or the last one of its accumulation window.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Whether a stop was asked for.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}
