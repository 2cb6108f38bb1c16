//! What training asks of a device, counted while somebody wants to know: kernels, uploads, reads, and how long the host
//! waited for a read. Otherwise each costs one relaxed load more.
//!
//! Kernels are counted where CubeCL launches them, so that what was fused counts once. Uploads and reads are those of
//! [`transfer`](super::transfer); the few bytes of scalars that come with a launch are not seen.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use burn::tensor::Device;
use serde::Serialize;

static COUNTING: AtomicBool = AtomicBool::new(false);
static COUNTS: Mutex<Counts> = Mutex::new(Counts::NONE);

/// What was asked of devices.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Counts {
    /// How often each kernel was launched, by the name that it gives itself; nothing of backends that are not CubeCL's.
    pub kernels: BTreeMap<String, u64>,
    /// Tensors sent to a device.
    pub uploads: u64,
    /// Their bytes.
    pub upload_bytes: u64,
    /// Reads, each of which waits until the device is done.
    pub reads: u64,
    /// The seconds of all reads.
    pub wait_seconds: f64,
}

impl Counts {
    const NONE: Self = Self { kernels: BTreeMap::new(), uploads: 0, upload_bytes: 0, reads: 0, wait_seconds: 0.0 };

    /// Launches of all kernels.
    pub fn launches(&self) -> u64 {
        self.kernels.values().sum()
    }
}

fn change(change: impl FnOnce(&mut Counts)) {
    if COUNTING.load(Ordering::Relaxed) {
        change(&mut COUNTS.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A tensor of so many bytes goes to `device`; nothing travels to one whose memory is the host's.
pub(super) fn note_upload(bytes: usize, device: &Device) {
    if !super::is_host(device) {
        change(|counts| {
            counts.uploads += 1;
            counts.upload_bytes += bytes as u64;
        });
    }
}

/// Values were read, for which the host waited so long.
pub(super) fn note_read(wait: Duration) {
    change(|counts| {
        counts.reads += 1;
        counts.wait_seconds += wait.as_secs_f64();
    });
}

/// What `run` asks of devices, in all threads; one caller at a time. What it leaves in a device's queue belongs to it only
/// if it waits for the device.
pub(crate) fn count<R>(run: impl FnOnce() -> R) -> (R, Counts) {
    /// Ends the count, also when what is counted panics.
    struct Counting;
    impl Drop for Counting {
        fn drop(&mut self) {
            COUNTING.store(false, Ordering::Relaxed);
        }
    }
    *COUNTS.lock().unwrap_or_else(PoisonError::into_inner) = Counts::NONE;
    COUNTING.store(true, Ordering::Relaxed);
    let counting = Counting;
    #[cfg(any(feature = "wgpu", feature = "cuda", feature = "rocm"))]
    let watching = kernels::watch();
    let result = run();
    #[cfg(any(feature = "wgpu", feature = "cuda", feature = "rocm"))]
    drop(watching);
    drop(counting);
    (result, std::mem::take(&mut *COUNTS.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// The kernels that were launched since it began, by any thread, until it is dropped. It sees none of backends that are not
/// CubeCL's.
pub(crate) struct Following {
    #[cfg(any(feature = "wgpu", feature = "cuda", feature = "rocm"))]
    launched: std::sync::Arc<kernels::Launched>,
    #[cfg(any(feature = "wgpu", feature = "cuda", feature = "rocm"))]
    _watching: burn::cubecl::logging::LaunchObservation,
}

impl Following {
    /// None yet.
    pub(crate) fn begin() -> Self {
        #[cfg(any(feature = "wgpu", feature = "cuda", feature = "rocm"))]
        {
            let launched = std::sync::Arc::new(kernels::Launched::default());
            let _watching = burn::cubecl::logging::LaunchObservation::new(launched.clone());
            Self { launched, _watching }
        }
        #[cfg(not(any(feature = "wgpu", feature = "cuda", feature = "rocm")))]
        Self {}
    }

    /// How many launches there were, and the kernel of the last of them.
    pub(crate) fn so_far(&self) -> (u64, Option<String>) {
        #[cfg(any(feature = "wgpu", feature = "cuda", feature = "rocm"))]
        return self.launched.so_far();
        #[cfg(not(any(feature = "wgpu", feature = "cuda", feature = "rocm")))]
        (0, None)
    }
}

#[cfg(any(feature = "wgpu", feature = "cuda", feature = "rocm"))]
mod kernels {
    use std::sync::{Arc, Mutex, PoisonError};

    use burn::cubecl::config::{TypeNameFormatLevel, type_name_format};
    use burn::cubecl::logging::{LaunchObservation, LaunchObserver};

    struct Observer;

    impl LaunchObserver for Observer {
        fn launched(&self, kernel: &'static str) {
            let name = type_name_format(kernel, TypeNameFormatLevel::Balanced);
            super::change(|counts| *counts.kernels.entry(name).or_default() += 1);
        }
    }

    pub(super) fn watch() -> LaunchObservation {
        LaunchObservation::new(Arc::new(Observer))
    }

    /// How many launches there were, and the last.
    #[derive(Default)]
    pub(super) struct Launched(Mutex<(u64, Option<&'static str>)>);

    impl Launched {
        pub(super) fn so_far(&self) -> (u64, Option<String>) {
            let (count, last) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            (count, last.map(|kernel| type_name_format(kernel, TypeNameFormatLevel::Short)))
        }
    }

    impl LaunchObserver for Launched {
        fn launched(&self, kernel: &'static str) {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *state = (state.0 + 1, Some(kernel));
        }
    }
}
