//! New arrays, filled in parallel, and scratch memory that each thread keeps.
#![allow(unsafe_code, reason = "arrays that are written in full need no clearing pass over the whole of them first")]

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

/// A new array of `length` zeros, which `fill` overwrites chunk by chunk in parallel: `fill(index, chunk)`.
///
/// Each chunk is cleared by the thread that fills it, right before it does, while the chunk is in its cache.
pub fn filled<T: Copy + Default + Send>(length: usize, chunk: usize, fill: impl Fn(usize, &mut [T]) + Sync) -> Vec<T> {
    let beside = rayon::iter::repeat_n((), length.div_ceil(chunk.max(1)));
    filled_beside(length, chunk, beside, |i, part, ()| fill(i, part))
}

/// Two arrays filled together: `fill(index, first chunk, second chunk)`. Both must have the same number of chunks.
pub fn filled_pair<T, U>(
    [length, chunk]: [usize; 2],
    [other_length, other_chunk]: [usize; 2],
    fill: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) -> (Vec<T>, Vec<U>)
where
    T: Copy + Default + Send,
    U: Copy + Default + Send,
{
    let mut second = with_capacity(other_length);
    let beside = spare(&mut second, other_length).par_chunks_mut(other_chunk.max(1));
    let first = filled_beside(length, chunk, beside, |i, part, other| fill(i, part, cleared(other)));
    // SAFETY: the capacity is at least `other_length`, since `spare` returned that many values. `filled_beside` has
    // called its closure once for each of its chunks, as many as `beside` has, each time with another one of them, and
    // that was cleared before anything else. If `fill` or an assertion panicked, this line is not reached.
    unsafe { second.set_len(other_length) };
    (first, second)
}

/// An array filled beside others that are read or changed in step: `fill(index, chunk, the others' item)`.
///
/// # Panics
/// If there is not one item for each chunk.
pub(super) fn filled_beside<T: Copy + Default + Send, S: Send>(
    length: usize,
    chunk: usize,
    beside: impl IndexedParallelIterator<Item = S>,
    fill: impl Fn(usize, &mut [T], S) + Sync,
) -> Vec<T> {
    let chunk = chunk.max(1);
    let (chunks, visited) = (length.div_ceil(chunk), AtomicUsize::new(0));
    assert!(chunks == beside.len(), "arrays filled in step: {chunks} chunks beside {}", beside.len());
    let mut array = with_capacity(length);
    let parts = spare(&mut array, length).par_chunks_mut(chunk);
    parts.zip(beside).enumerate().for_each(|(i, (part, beside))| {
        let part = cleared(part);
        visited.fetch_add(1, Ordering::Relaxed);
        fill(i, part, beside);
    });
    // Any type may implement rayon's trait, and its `len` may be wrong: what was visited counts, not what was promised.
    assert!(visited.into_inner() == chunks, "arrays filled in step: an iterator was shorter than its length");
    // SAFETY: the capacity is at least `length`, since `spare` returned that many values. The chunks do not overlap and
    // cover all of them, and as many as there are were visited, each cleared first. A panic does not come here.
    unsafe { array.set_len(length) };
    array
}

/// An empty array with room for `length` values.
///
/// # Panics
/// If there is no memory for them.
pub(super) fn with_capacity<T>(length: usize) -> Vec<T> {
    let mut array = Vec::new();
    if let Err(error) = array.try_reserve_exact(length) {
        panic!("no room for {length} values: {error}");
    }
    array
}

fn spare<T>(array: &mut Vec<T>, length: usize) -> &mut [MaybeUninit<T>] {
    &mut array.spare_capacity_mut()[..length]
}

fn cleared<T: Copy + Default>(part: &mut [MaybeUninit<T>]) -> &mut [T] {
    part.fill(MaybeUninit::new(T::default()));
    // SAFETY: every value was just written, `MaybeUninit<T>` has the layout of `T`, and the new reference takes the place
    // of the old one for its whole life.
    unsafe { &mut *(std::ptr::from_mut(part) as *mut [T]) }
}

/// Values of a cache line.
const LINE: usize = 16;

thread_local! {
    /// A stack, so that work that holds scratch memory can borrow more.
    static SCRATCH: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Lends `work` arrays of these lengths with whatever values are in them; each thread keeps the memory for the next call.
///
/// # Panics
/// If there is no memory for them.
pub fn with_scratch<const N: usize, R>(lengths: [usize; N], work: impl FnOnce([&mut [f32]; N]) -> R) -> R {
    // Whole cache lines, so that no array straddles a line of its neighbour.
    let padded = lengths.map(|length| length.checked_next_multiple_of(LINE));
    let total = padded.iter().try_fold(0, |total: usize, length| total.checked_add((*length)?));
    // And room to begin with a whole one.
    let total = total.and_then(|total| total.checked_add(LINE));
    let Some(total) = total else { panic!("scratch arrays of {lengths:?} values are larger than memory can be") };
    let mut memory = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
    if let Some(missing) = total.checked_sub(memory.len()) {
        if let Err(error) = memory.try_reserve(missing) {
            panic!("no room for {total} scratch values: {error}");
        }
        memory.resize(total, 0.0);
    }
    let start = memory.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
    let mut rest = &mut memory[start..];
    let arrays = std::array::from_fn(|i| {
        let (array, tail) = std::mem::take(&mut rest).split_at_mut(lengths[i].next_multiple_of(LINE));
        rest = tail;
        &mut array[..lengths[i]]
    });
    let result = work(arrays);
    SCRATCH.with_borrow_mut(|free| free.push(memory));
    result
}
