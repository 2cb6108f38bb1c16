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

/// What a step reads and writes, in equal parts: the same for all who take part.
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

/// What a step writes: an array's values from `start` on, `blocks` times `block` of them. A part is a band of the blocks of a
/// group: the first band ends at `first`, the others are `chunk` values each, and the last ends with the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) start: usize,
    pub(super) blocks: usize,
    pub(super) block: usize,
    /// Blocks of a group.
    pub(super) group: usize,
    pub(super) first: usize,
    pub(super) chunk: usize,
    pub(super) bands: usize,
}

impl Grid {
    /// One block in equal chunks.
    fn of(range: &Range<usize>, chunk: usize) -> Self {
        let (block, chunk) = (range.len(), chunk.max(1));
        Self { start: range.start, blocks: 1, block, group: 1, first: chunk, chunk, bands: block.div_ceil(chunk) }
    }

    /// Where the band number `band` begins in a block.
    fn bound(&self, band: usize) -> usize {
        match band {
            0 => 0,
            _ if band == self.bands => self.block,
            _ => self.first + (band - 1) * self.chunk,
        }
    }

    /// # Panics
    /// If the grid is not inside of `length` values, or a band outside of its block.
    fn check(&self, length: usize) {
        let end = self.blocks.checked_mul(self.block).and_then(|size| size.checked_add(self.start));
        assert!(end.is_some_and(|end| end <= length), "step: {self:?} is not inside of {length} values");
        let last = self.bands.saturating_sub(2).checked_mul(self.chunk).and_then(|size| size.checked_add(self.first));
        let fits = self.bands < 2 || last.is_some_and(|last| last <= self.block);
        assert!(fits && self.group > 0, "step: bands of {self:?} are not inside of its blocks");
    }

    fn parts(&self) -> usize {
        self.blocks.div_ceil(self.group) * self.bands
    }
}

/// The most arrays that a step reads.
const MOST_READS: usize = 2;

/// What all members agree on: the arrays that are read, the one that is written, and what of it.
type Agreed = ([usize; MOST_READS], usize, Grid);

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
        assert!(range.start <= range.end, "step: {range:?} ends before it begins");
        self.step_of_blocks(reads, writes, Grid::of(&range, chunk), |part, inputs, pieces| {
            for piece in pieces {
                compute(part, inputs, piece);
            }
        });
    }

    /// The same for the parts of a grid: `compute(part, the arrays read, the part's band of each block of its group)`; the bands
    /// of a group follow each other.
    ///
    /// # Panics
    /// As [`step`](Self::step).
    pub(super) fn step_of_blocks<const N: usize>(
        &self,
        reads: [usize; N],
        writes: usize,
        grid: Grid,
        compute: impl Fn(usize, [&[f32]; N], &mut [&mut [f32]]),
    ) {
        let (start, length) = self.memory.arrays[writes];
        grid.check(length);
        assert!(!reads.contains(&writes), "step: array {writes} would be read and written");
        let parts = grid.parts();
        let run = |part: usize| {
            // SAFETY: the arrays are as long as that. Nobody writes to them now: all members agree on what is written in this step,
            // as `agreed` makes sure; this part is not done, so nobody has begun a later step, and former ones are over.
            let inputs = reads.map(|read| {
                let (start, length) = self.memory.arrays[read];
                unsafe { std::slice::from_raw_parts(start, length) }
            });
            let (group, band) = (part / grid.bands * grid.group, part % grid.bands);
            let (from, to) = (grid.bound(band), grid.bound(band + 1));
            let blocks = group..grid.blocks.min(group + grid.group);
            // SAFETY: `check` has found all blocks inside of the array, and bounds of bands, which ascend, inside of a block. So
            // the pieces are inside and do not overlap, neither those of one part nor those of several. Each part is computed
            // once: alone, by the loop below, and otherwise by who took its number from `next`; the grid is agreed on.
            let pieces = blocks.map(|block| unsafe {
                std::slice::from_raw_parts_mut(start.add(grid.start + block * grid.block + from), to - from)
            });
            compute(part, inputs, &mut pieces.collect::<Vec<_>>());
        };
        let Some(shared) = self.shared else { return (0..parts).for_each(run) };
        let step = &shared.steps[self.step.replace(self.step.get() + 1)];
        let mut agreed: Agreed = ([usize::MAX; MOST_READS], writes, grid);
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
