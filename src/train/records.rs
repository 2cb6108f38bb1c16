//! A learner's state as bytes and back. Burn's `LearningCheckpointer` hands each of the three records to a `Checkpointer` on
//! a thread of its own; [`RecordSink`] gathers them, so that they can be saved as one set.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use burn::module::Module as _;
use burn::optim::lr_scheduler::LrSchedulerRecord;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn::store::ModuleRecord;
use burn::tensor::Bytes;
use burn::train::Learner;
use burn::train::checkpoint::{
    Checkpoint, Checkpointer, CheckpointerError, CheckpointingAction, CheckpointingStrategy,
};
use burn::train::metric::store::EventStoreClient;

use super::classifier::Classifier;
use crate::error::panic_text;
use crate::run::checkpoints::{AVERAGE, RECORDS, Records};
use crate::{Error, Result};

/// The records of a run that has not trained yet.
///
/// # Errors
/// When the device fails.
pub(super) fn initial(
    classifier: Classifier,
    optimizer: &ModuleOptimizer,
    schedule: &ModuleLrScheduler,
) -> Result<Records> {
    let [model_name, optimizer_name, schedule_name] = RECORDS;
    Ok(Records::from([
        (model_name, encode(classifier.into_record())?),
        (optimizer_name, encode(optimizer.to_record())?),
        (schedule_name, encode(schedule.to_record())?),
    ]))
}

fn encode<R: Checkpoint>(record: R) -> Result<Vec<u8>> {
    let failed = |error: String| Error::failed("cannot encode a checkpoint").caused_by(error);
    // Reading a tensor back panics when its device is gone.
    let bytes = catch_unwind(AssertUnwindSafe(|| record.checkpoint_into_bytes()));
    let bytes = bytes.map_err(|panic| failed(panic_text(&*panic)))?;
    bytes.map(|bytes| bytes.to_vec()).map_err(|error| failed(error.to_string()))
}

fn decode<R: Checkpoint>(records: &mut Records, name: &'static str) -> Result<R> {
    let bytes = records.remove(name).unwrap_or_default();
    R::checkpoint_from_bytes(Bytes::from_bytes_vec(bytes))
        .map_err(|error| Error::failed(format!("cannot decode {name}")).caused_by(error.to_string()))
}

/// Puts a learner where the records were taken.
///
/// # Errors
/// When a record cannot be decoded.
pub(super) fn restore(learner: &mut Learner<Classifier>, mut records: Records) -> Result<()> {
    let [model, optimizer, schedule] = RECORDS;
    learner.load_model(decode::<ModuleRecord>(&mut records, model)?);
    learner.load_optim(decode::<OptimizerRecord>(&mut records, optimizer)?);
    learner.load_scheduler(decode::<LrSchedulerRecord>(&mut records, schedule)?);
    Ok(())
}

/// The optimizer's record among those of a checkpoint.
///
/// # Errors
/// When it cannot be decoded.
pub(super) fn optimizer(records: &Records) -> Result<OptimizerRecord> {
    let bytes = records.get(RECORDS[1]).cloned().unwrap_or_default();
    OptimizerRecord::from_bytes(Bytes::from_bytes_vec(bytes))
        .map_err(|error| Error::failed(format!("cannot decode {}", RECORDS[1])).caused_by(error.to_string()))
}

/// The network's record among those of a checkpoint.
///
/// # Errors
/// When it cannot be decoded.
pub(super) fn model(records: &Records) -> Result<ModuleRecord> {
    let bytes = records.get(RECORDS[0]).cloned().unwrap_or_default();
    ModuleRecord::from_bytes(Bytes::from_bytes_vec(bytes))
        .map_err(|error| Error::failed(format!("cannot decode {}", RECORDS[0])).caused_by(error.to_string()))
}

/// The record of the network's average among those of a checkpoint; none where there is none.
///
/// # Errors
/// When it cannot be decoded.
pub(super) fn average(records: &Records) -> Result<Option<ModuleRecord>> {
    let decode = |bytes: &Vec<u8>| {
        ModuleRecord::from_bytes(Bytes::from_bytes_vec(bytes.clone()))
            .map_err(|error| Error::failed(format!("cannot decode {AVERAGE}")).caused_by(error.to_string()))
    };
    records.get(AVERAGE).map(decode).transpose()
}

/// Adds the record of the network's average to those of a checkpoint.
///
/// # Errors
/// When the device fails.
pub(super) fn add_average(records: &mut Records, average: Classifier) -> Result<()> {
    records.insert(AVERAGE, encode(average.into_record())?);
    Ok(())
}

/// Where the three threads put their records.
#[derive(Clone, Default)]
pub(super) struct RecordSink {
    shared: Arc<(Mutex<Gathered>, Condvar)>,
}

#[derive(Default)]
struct Gathered {
    records: Records,
    problem: Option<Error>,
}

impl RecordSink {
    /// The checkpointers for Burn, in its order: model, optimizer, scheduler.
    pub(super) fn checkpointers(&self) -> (RecordCheckpointer, RecordCheckpointer, RecordCheckpointer) {
        let [model, optimizer, schedule] = RECORDS.map(|name| RecordCheckpointer { name, sink: self.clone() });
        (model, optimizer, schedule)
    }

    /// Waits until all three records have arrived and takes them.
    ///
    /// # Errors
    /// When a record could not be encoded, with what its thread said; or when it does not arrive within ten minutes.
    pub(super) fn take(&self) -> Result<Records> {
        let (lock, arrived) = &*self.shared;
        let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut gathered, timeout) = arrived
            .wait_timeout_while(guard, Duration::from_secs(600), |gathered| {
                gathered.records.len() < RECORDS.len() && gathered.problem.is_none()
            })
            .unwrap_or_else(PoisonError::into_inner);
        let records = std::mem::take(&mut gathered.records);
        match gathered.problem.take() {
            Some(problem) => Err(problem),
            None if timeout.timed_out() => {
                Err(Error::failed("no checkpoint could be written: its records did not come within ten minutes"))
            }
            None => Ok(records),
        }
    }

    fn put(&self, name: &'static str, bytes: Result<Vec<u8>>) {
        let (lock, arrived) = &*self.shared;
        let mut gathered = lock.lock().unwrap_or_else(PoisonError::into_inner);
        match bytes {
            Ok(bytes) => {
                gathered.records.insert(name, bytes);
            }
            Err(problem) => gathered.problem = Some(problem),
        }
        arrived.notify_all();
    }
}

/// Encodes one kind of record for the [`RecordSink`].
pub(super) struct RecordCheckpointer {
    name: &'static str,
    sink: RecordSink,
}

macro_rules! sink_records {
    ($($record:ty),*) => {$(
        impl Checkpointer<$record> for RecordCheckpointer {
            fn save(&self, _id: usize, record: $record) -> std::result::Result<(), CheckpointerError> {
                self.sink.put(self.name, encode(record));
                Ok(())
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

sink_records!(ModuleRecord, OptimizerRecord, LrSchedulerRecord);

/// Saves whenever it is asked: when to ask is the training loop's business.
pub(super) struct SaveAlways;

impl CheckpointingStrategy for SaveAlways {
    fn checkpointing(&mut self, _id: usize, _store: &EventStoreClient) -> Vec<CheckpointingAction> {
        vec![CheckpointingAction::Save]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::checkpoints::RECORDS;

    /// A record whose device is gone.
    struct Lost;

    impl Checkpoint for Lost {
        fn save(self, _path: std::path::PathBuf) -> std::result::Result<(), CheckpointerError> {
            Ok(())
        }

        fn load(_path: std::path::PathBuf) -> std::result::Result<Self, CheckpointerError> {
            Ok(Self)
        }

        fn checkpoint_from_bytes(_bytes: Bytes) -> std::result::Result<Self, burn::store::RecordError> {
            Ok(Self)
        }

        fn checkpoint_into_bytes(self) -> std::result::Result<Bytes, burn::store::RecordError> {
            panic!("the device is lost")
        }
    }

    #[test]
    fn a_panic_while_a_record_is_encoded_is_told_at_once_and_in_its_words() {
        let sink = RecordSink::default();
        let other = sink.clone();
        std::thread::spawn(move || other.put(RECORDS[1], encode(Lost)));
        assert!(sink.take().unwrap_err().render().contains("the device is lost"));
    }
}
