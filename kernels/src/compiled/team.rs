//! The steps of one computation, each shared by the thread that asks for it and those of the pool that come to help.
//!
//! Nobody waits for a helper that has not come: parts of a step are taken one by one, and whoever takes part waits only for parts
//! that somebody computes. A helper that comes late finds nothing left to take.
#![allow(unsafe_code, reason = "several threads write to different parts of one array")]

use std::cell::Cell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

/// The arrays of one computation.
pub(super) struct Memory {
    arrays: Vec<(*mut f32, usize)>,
}

// SAFETY: the arrays belong to this value alone, and what it points to are numbers.
unsafe impl Send for Memory {}
// SAFETY: a shared `Memory` is read and written by `Member::step` alone, which says why no two threads meet, and by
// `Memory::array` through an exclusive reference.
unsafe impl Sync for Memory {}

impl Memory {
    /// Arrays of zeros.
    pub(super) fn new(lengths: &[usize]) -> Self {
        let array = |length: &usize| (Box::into_raw(vec![0.0_f32; *length].into_boxed_slice()).cast::<f32>(), *length);
        Self { arrays: lengths.iter().map(array).collect() }
    }

    /// All of an array.
    pub(super) fn array(&mut self, index: usize) -> &mut [f32] {
        let (start, length) = self.arrays[index];
        // SAFETY: `start` and `length` are those of a boxed slice that `new` took apart, and this reference is exclusive.
        unsafe { std::slice::from_raw_parts_mut(start, length) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for (start, length) in self.arrays.drain(..) {
            // SAFETY: they are those of a boxed slice that `new` took apart, and nobody else puts it together.
            drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(start, length)) });
        }
    }
}

/// What a step reads and writes: the same for all who take part.
pub(super) struct Access<const N: usize> {
    /// The arrays that are read, other ones than that which is written.
    pub(super) reads: [usize; N],
    /// The array that is written.
    pub(super) writes: usize,
    /// What is written of it.
    pub(super) range: Range<usize>,
    /// Values of a part.
    pub(super) chunk: usize,
}

/// The most arrays that a step reads.
const MOST_READS: usize = 2;

/// An [`Access`] to compare: reads, what is written, its start, its end, values of a part.
type Agreed = ([usize; MOST_READS], [usize; 4]);

#[derive(Default)]
struct Step {
    agreed: OnceLock<Agreed>,
    next: AtomicUsize,
    done: AtomicUsize,
}

struct Shared {
    steps: Vec<Step>,
    has_failed: AtomicBool,
    memory: Memory,
}

/// One of those who compute: all of them call the same steps in the same order.
pub(super) struct Member<'a> {
    memory: &'a Memory,
    /// None: nobody else does.
    shared: Option<&'a Shared>,
    step: Cell<usize>,
}

/// Runs `program` with `memory`, on this thread alone.
pub(super) fn alone(memory: &mut Memory, program: impl FnOnce(&Member)) {
    program(&Member { memory, shared: None, step: Cell::new(0) });
}

/// Runs `program` of at most `steps` steps with `memory`, with up to `helpers` threads of the pool; gives the memory back unless a
/// helper still looks at it.
///
/// # Panics
/// If a part of a step panics, on whichever thread.
pub(super) fn together(
    memory: Memory,
    steps: usize,
    helpers: usize,
    program: impl Fn(&Member) + Send + Sync + 'static,
    finish: impl FnOnce(&[f32]),
    result: usize,
) -> Option<Memory> {
    let steps = (0..steps).map(|_| Step::default()).collect();
    let shared = Arc::new((Shared { steps, has_failed: AtomicBool::new(false), memory }, program));
    for _ in 0..helpers {
        let shared = shared.clone();
        // A panic shows at the thread that asked.
        rayon::spawn(move || drop(catch_unwind(AssertUnwindSafe(|| take_part(&shared.0, &shared.1)))));
    }
    take_part(&shared.0, &shared.1);
    let (start, length) = shared.0.memory.arrays[result];
    // SAFETY: all steps are done, as whoever ran `program` to its end knows: no part is left that anybody could take, and only
    // who took one writes. What was written happened before, since the count of a step's parts is released and acquired.
    finish(unsafe { std::slice::from_raw_parts(start, length) });
    Arc::into_inner(shared).map(|(shared, _)| shared.memory)
}

fn take_part(shared: &Shared, program: impl Fn(&Member)) {
    program(&Member { memory: &shared.memory, shared: Some(shared), step: Cell::new(0) });
}

/// Counts a part as done, even if it panics.
struct Counted<'a>(&'a Shared, &'a Step);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.has_failed.store(true, Ordering::Relaxed);
        }
        self.1.done.fetch_add(1, Ordering::Release);
    }
}

/// How often a thread looks for the end of a step before it lets others run.
const PATIENCE: usize = 2000;

impl Member<'_> {
    /// Whether nobody else takes part.
    pub(super) fn is_alone(&self) -> bool {
        self.shared.is_none()
    }

    /// Calls `compute(part, the arrays read, the part's values)` for each part, and returns when all are done.
    ///
    /// # Panics
    /// If a range is not inside of its array, an array would be read and written, or members do not agree on the step.
    pub(super) fn step<const N: usize>(&self, access: Access<N>, compute: impl Fn(usize, [&[f32]; N], &mut [f32])) {
        let Access { reads, writes, range, chunk } = access;
        let (start, length) = self.memory.arrays[writes];
        assert!(range.start <= range.end && range.end <= length, "step: {range:?} is not inside of {length} values");
        assert!(!reads.contains(&writes), "step: array {writes} would be read and written");
        let chunk = chunk.max(1);
        let parts = range.len().div_ceil(chunk);
        let run = |part: usize| {
            let first = range.start + part * chunk;
            let count = chunk.min(range.end - first);
            // SAFETY: the arrays are as long as that. Nobody writes to them now: all members agree on what is written in this step,
            // as `agreed` makes sure; this part is not done, so nobody has begun a later step, and former ones are over.
            let inputs = reads.map(|read| {
                let (start, length) = self.memory.arrays[read];
                unsafe { std::slice::from_raw_parts(start, length) }
            });
            // SAFETY: parts are inside of `range`, which is inside of the array, and do not overlap. Each is computed once: alone,
            // by the loop below, and otherwise by who took its number from `next`; the range and the chunk are agreed on.
            let values = unsafe { std::slice::from_raw_parts_mut(start.add(first), count) };
            compute(part, inputs, values);
        };
        let Some(shared) = self.shared else { return (0..parts).for_each(run) };
        let step = &shared.steps[self.step.replace(self.step.get() + 1)];
        let mut agreed: Agreed = ([usize::MAX; MOST_READS], [writes, range.start, range.end, chunk]);
        agreed.0[..N].copy_from_slice(&reads);
        assert!(*step.agreed.get_or_init(|| agreed) == agreed, "step: not the same for all who take part");
        loop {
            let part = step.next.fetch_add(1, Ordering::Relaxed);
            if part >= parts {
                break;
            }
            let _counted = Counted(shared, step);
            run(part);
        }
        let mut looks = 0_usize;
        while step.done.load(Ordering::Acquire) < parts {
            looks += 1;
            if looks.is_multiple_of(PATIENCE) { thread::yield_now() } else { std::hint::spin_loop() }
        }
        assert!(!shared.has_failed.load(Ordering::Relaxed), "a part of the computation panicked");
    }
}
