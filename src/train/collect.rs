//! Getting a learner's records out of Burn: `LearningCheckpointer` hands each of the three to a `Checkpointer` on a
//! thread of its own; these collect them as bytes, so that they can be saved as one set.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use burn::optim::OptimizerRecord;
use burn::optim::lr_scheduler::LrSchedulerRecord;
use burn::store::ModuleRecord;
use burn::train::checkpoint::{
    Checkpoint, Checkpointer, CheckpointerError, CheckpointingAction, CheckpointingStrategy,
};
use burn::train::metric::store::EventStoreClient;

use super::checkpoint::{RECORDS, Records};
use crate::{Error, Result};

/// Where the three threads put their records.
#[derive(Clone, Default)]
pub struct Collector {
    shared: Arc<(Mutex<Collected>, Condvar)>,
}

#[derive(Default)]
struct Collected {
    records: Records,
    problem: Option<String>,
}

impl Collector {
    /// The checkpointers for Burn, in its order: model, optimizer, scheduler.
    pub fn checkpointers(&self) -> (RecordCheckpointer, RecordCheckpointer, RecordCheckpointer) {
        let [model, optimizer, schedule] = RECORDS.map(|name| RecordCheckpointer { name, collector: self.clone() });
        (model, optimizer, schedule)
    }

    /// Waits until all three records have arrived and takes them.
    ///
    /// # Errors
    /// When a record could not be encoded, or does not arrive within a minute.
    pub fn take(&self) -> Result<Records> {
        let (lock, arrived) = &*self.shared;
        let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut collected, timeout) = arrived
            .wait_timeout_while(guard, Duration::from_secs(60), |collected| {
                collected.records.len() < RECORDS.len() && collected.problem.is_none()
            })
            .unwrap_or_else(PoisonError::into_inner);
        let records = std::mem::take(&mut collected.records);
        match collected.problem.take() {
            Some(problem) => Err(Error::failed("cannot encode a checkpoint").caused_by(problem)),
            None if timeout.timed_out() => Err(Error::failed("a checkpoint was not encoded within a minute")),
            None => Ok(records),
        }
    }

    fn put(&self, name: &'static str, bytes: std::result::Result<Vec<u8>, String>) {
        let (lock, arrived) = &*self.shared;
        let mut collected = lock.lock().unwrap_or_else(PoisonError::into_inner);
        match bytes {
            Ok(bytes) => {
                collected.records.insert(name, bytes);
            }
            Err(problem) => collected.problem = Some(format!("{name}: {problem}")),
        }
        arrived.notify_all();
    }
}

/// Encodes one kind of record for the [`Collector`].
pub struct RecordCheckpointer {
    name: &'static str,
    collector: Collector,
}

impl RecordCheckpointer {
    fn collect<R: Checkpoint>(&self, record: R) -> std::result::Result<(), CheckpointerError> {
        let bytes = record.checkpoint_into_bytes().map(|bytes| bytes.to_vec()).map_err(|error| error.to_string());
        self.collector.put(self.name, bytes);
        Ok(())
    }
}

macro_rules! collect_records {
    ($($record:ty),*) => {$(
        impl Checkpointer<$record> for RecordCheckpointer {
            fn save(&self, _id: usize, record: $record) -> std::result::Result<(), CheckpointerError> {
                self.collect(record)
            }

            fn delete(&self, _id: usize) -> std::result::Result<(), CheckpointerError> {
                Ok(())
            }

            fn restore(&self, _id: usize) -> std::result::Result<$record, CheckpointerError> {
                Err(CheckpointerError::Unknown("kiln restores checkpoints itself".into()))
            }
        }
    )*};
}

collect_records!(ModuleRecord, OptimizerRecord, LrSchedulerRecord);

/// Saves whenever it is asked: when to ask is the training loop's business.
pub struct SaveAlways;

impl CheckpointingStrategy for SaveAlways {
    fn checkpointing(&mut self, _id: usize, _store: &EventStoreClient) -> Vec<CheckpointingAction> {
        vec![CheckpointingAction::Save]
    }
}
