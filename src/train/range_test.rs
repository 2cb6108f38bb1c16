//! The learning-rate range test (Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, section 3.3): one short
//! run in which the rate rises, from one at which nothing happens to one at which training falls apart. It keeps nothing.

use burn::data::dataloader::DataLoader as _;
use burn::optim::GradientsAccumulator;

use super::session::Session;
use crate::report::{RangePoint, RangeTest};
use crate::{Error, Result};

/// Training has diverged when the loss is above this many times its lowest value so far, both smoothed: the threshold of
/// Lightning's `lr_find` (`early_stop_threshold`) and of fastai's `LRFinder`.
const DIVERGED: f64 = 4.0;

/// What one loss weighs in the running mean that tells divergence from a single bad batch.
const NEWEST: f64 = 0.1;

/// The rates of a range test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    /// The rate of the first update.
    pub(crate) min: f64,
    /// The rate of the last update.
    pub(crate) max: f64,
    /// Updates; each has a rate of its own, the same number of times the one before.
    pub(crate) updates: usize,
}

impl Range {
    /// # Errors
    /// When it is no range.
    fn check(self) -> Result<()> {
        let is_range = self.min.is_finite() && self.max.is_finite() && self.min > 0.0 && self.max > self.min;
        if !is_range {
            return Err(Error::usage(format!(
                "the learning rates must rise from above 0, got {} to {}",
                self.min, self.max
            ))
            .tip("for example --from 1e-6 --to 1"));
        }
        Ok(())
    }

    fn factor(self) -> f64 {
        (self.max / self.min).powf(1.0 / (self.updates.max(2) - 1) as f64)
    }
}

/// Trains the session's experiment over `range`, until it diverges; `told` is told how many updates are done. The same
/// experiment gives the same test.
///
/// # Errors
/// When the range is none, or the device fails.
pub(crate) fn run(session: &Session, range: Range, told: &mut dyn FnMut(usize)) -> Result<RangeTest> {
    range.check()?;
    let factor = range.factor();
    let (mut learner, loader) = session.learner_rising(range.min, factor, range.updates)?;
    let (per_epoch, accumulation) = (session.plan.iterations_per_epoch, session.experiment.train.accumulation);
    let devices = session.devices()?;
    let mut accumulator = GradientsAccumulator::new();
    let mut points: Vec<RangePoint> = Vec::with_capacity(range.updates);
    let (mut window, mut watch, mut diverged_at) = (0.0, Watch::default(), None);
    loader.set_position(1, 0);
    'run: loop {
        for (place, batch) in loader.iter().enumerate() {
            let batch = batch.map_err(|error| Error::failed("cannot make a batch").caused_by(error.to_string()))?;
            let step = devices.step(&learner, batch)?;
            window += f64::from(step.item.loss.into_scalar::<f32>()) / accumulation as f64;
            accumulator.accumulate(&learner.model(), step.grads);
            if !(place + 1).is_multiple_of(accumulation) && place + 1 != per_epoch {
                continue;
            }
            let learning_rate = range.min * factor.powi(points.len() as i32);
            let loss = std::mem::take(&mut window);
            // The loss is that of the weights before this update, so the rates before it have led to it.
            if watch.has_diverged(loss) {
                diverged_at = Some(learning_rate);
                points.extend(loss.is_finite().then_some(RangePoint { learning_rate, loss }));
                break 'run;
            }
            points.push(RangePoint { learning_rate, loss });
            told(points.len());
            if points.len() == range.updates {
                break 'run;
            }
            learner.lr_step();
            learner.optimizer_step(accumulator.grads());
        }
    }
    Ok(RangeTest::new(session.experiment, (range.min, range.max), points, diverged_at))
}

/// The running mean of the losses, corrected for its beginning as Adam's moments are, and its lowest value.
struct Watch {
    mean: f64,
    weight: f64,
    lowest: f64,
}

impl Default for Watch {
    fn default() -> Self {
        Self { mean: 0.0, weight: 0.0, lowest: f64::INFINITY }
    }
}

impl Watch {
    fn has_diverged(&mut self, loss: f64) -> bool {
        self.mean += NEWEST * (loss - self.mean);
        self.weight += NEWEST * (1.0 - self.weight);
        let mean = self.mean / self.weight;
        self.lowest = self.lowest.min(mean);
        !loss.is_finite() || mean > DIVERGED * self.lowest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_go_from_one_end_of_the_range_to_the_other() {
        let range = Range { min: 1e-6, max: 1.0, updates: 101 };
        assert!((range.min * range.factor().powi(100) - 1.0).abs() < 1e-9);
        for (min, max) in [(0.0, 1.0), (1.0, 1.0), (0.1, f64::NAN), (-1.0, 1.0), (1e-6, f64::INFINITY)] {
            assert!(Range { min, max, updates: 100 }.check().is_err(), "{min} to {max}");
        }
    }

    #[test]
    fn one_bad_batch_is_no_divergence_and_many_are() {
        let mut watch = Watch::default();
        assert!((0..50).all(|_| !watch.has_diverged(1.0)));
        assert!(!watch.has_diverged(20.0), "one");
        assert!((0..50).all(|_| !watch.has_diverged(1.0)));
        assert!((0..20).any(|_| watch.has_diverged(20.0)), "many");
        assert!(watch.has_diverged(f64::NAN));
    }
}
