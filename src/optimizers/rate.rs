//! From a schedule and a peak to Burn's `LrScheduler`.

use burn::optim::lr_scheduler::{LrScheduler, LrSchedulerRecord};

use crate::schedules::ScheduleConfig;

/// A schedule with its place in the run: Burn asks for the next update's rate.
#[derive(Clone, Debug)]
pub struct PlannedRate {
    /// The shape.
    pub schedule: ScheduleConfig,
    /// The rate at the peak.
    pub peak: f64,
    /// Updates in the whole run.
    pub total_updates: usize,
    /// Updates in one epoch.
    pub updates_per_epoch: f64,
    /// Updates done.
    pub update: usize,
}

impl PlannedRate {
    /// The rate of the update with this number, counted from 0.
    pub fn at(&self, update: usize) -> f64 {
        self.schedule.rate(self.peak, update, self.total_updates, self.updates_per_epoch)
    }
}

impl LrScheduler for PlannedRate {
    fn step(&mut self) -> f64 {
        let rate = self.at(self.update);
        self.update += 1;
        rate
    }

    fn to_record(&self) -> LrSchedulerRecord {
        LrSchedulerRecord::new().with_scalar("update", self.update as u64)
    }

    fn load_record(&mut self, record: LrSchedulerRecord) {
        if let Some(update) = record.scalar::<u64>("update") {
            self.update = update as usize;
        }
    }
}
