//! A share of memory that everyone who decodes takes from, so that many large pictures at once wait for each other
//! instead of filling the machine.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// So many bytes, for all who share it.
#[derive(Debug)]
pub struct Budget {
    total: u64,
    free: Mutex<u64>,
    freed: Condvar,
}

/// Bytes taken from a budget until this is dropped.
#[derive(Debug)]
pub struct Reserved<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    /// A budget of `total` bytes.
    pub const fn new(total: u64) -> Self {
        Self { total, free: Mutex::new(total), freed: Condvar::new() }
    }

    /// The bytes of all together.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Waits until so many bytes are free and takes them. More than there are in all is as much as all, alone.
    pub fn reserve(&self, bytes: u64) -> Reserved<'_> {
        let bytes = bytes.min(self.total);
        let free = self.freed.wait_while(self.free(), |free| *free < bytes).unwrap_or_else(PoisonError::into_inner);
        self.take(free, bytes)
    }

    /// As [`Self::reserve`], but none when they are not free by `deadline`.
    pub fn reserve_by(&self, bytes: u64, deadline: Instant) -> Option<Reserved<'_>> {
        let bytes = bytes.min(self.total);
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.freed.wait_timeout_while(self.free(), left, |free| *free < bytes);
        let (free, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (*free >= bytes).then(|| self.take(free, bytes))
    }

    fn free(&self) -> MutexGuard<'_, u64> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, mut free: MutexGuard<u64>, bytes: u64) -> Reserved<'_> {
        *free -= bytes;
        Reserved { budget: self, bytes }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        *self.budget.free() += self.bytes;
        self.budget.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread::scope;
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is_and_all_get_their_turn() {
        let (budget, held, most) = (Budget::new(100), AtomicU64::new(0), AtomicU64::new(0));
        scope(|scope| {
            for bytes in [40, 70, 100, 1_000, 1, 60, 30, 99] {
                let (budget, held, most) = (&budget, &held, &most);
                scope.spawn(move || {
                    for _ in 0..20 {
                        let reserved = budget.reserve(bytes);
                        let now = held.fetch_add(reserved.bytes, Ordering::SeqCst) + reserved.bytes;
                        most.fetch_max(now, Ordering::SeqCst);
                        held.fetch_sub(reserved.bytes, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most.into_inner() <= 100);
        assert_eq!(*budget.free(), 100);
    }

    #[test]
    fn waiting_ends_at_the_deadline() {
        let budget = Budget::new(100);
        let held = budget.reserve(60);
        assert!(budget.reserve_by(41, Instant::now() + Duration::from_millis(20)).is_none());
        assert!(budget.reserve_by(40, Instant::now()).is_some());
        drop(held);
        assert!(budget.reserve_by(100, Instant::now()).is_some());
    }
}
