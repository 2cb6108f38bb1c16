//! New arrays, filled in parallel, and scratch memory that each thread keeps.
#![allow(unsafe_code, reason = "arrays that are written in full need no clearing pass over the whole of them first")]

use std::cell::RefCell;
use std::mem::MaybeUninit;

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
    let mut second = Vec::with_capacity(other_length);
    let beside = spare(&mut second, other_length).par_chunks_mut(other_chunk.max(1));
    let first = filled_beside(length, chunk, beside, |i, part, other| fill(i, part, cleared(other)));
    // SAFETY: the capacity is at least `other_length`, and `filled_beside` visited every chunk, each cleared above.
    unsafe { second.set_len(other_length) };
    (first, second)
}

/// An array filled beside others that are read or changed in step: `fill(index, chunk, the others' item)`. There must be
/// one item for each chunk.
pub(super) fn filled_beside<T: Copy + Default + Send, S: Send>(
    length: usize,
    chunk: usize,
    beside: impl IndexedParallelIterator<Item = S>,
    fill: impl Fn(usize, &mut [T], S) + Sync,
) -> Vec<T> {
    let chunk = chunk.max(1);
    assert_eq!(length.div_ceil(chunk), beside.len(), "the arrays are filled in step");
    let mut array = Vec::with_capacity(length);
    let parts = spare(&mut array, length).par_chunks_mut(chunk);
    parts.zip(beside).enumerate().for_each(|(i, (part, beside))| fill(i, cleared(part), beside));
    // SAFETY: the capacity is at least `length`; there is an item beside every chunk, so all were visited and cleared.
    unsafe { array.set_len(length) };
    array
}

fn spare<T>(array: &mut Vec<T>, length: usize) -> &mut [MaybeUninit<T>] {
    &mut array.spare_capacity_mut()[..length]
}

fn cleared<T: Copy + Default>(part: &mut [MaybeUninit<T>]) -> &mut [T] {
    part.fill(MaybeUninit::new(T::default()));
    // SAFETY: every value was just written, and `MaybeUninit<T>` has the layout of `T`.
    unsafe { &mut *(std::ptr::from_mut(part) as *mut [T]) }
}

thread_local! {
    /// A stack, so that work that holds scratch memory can borrow more.
    static SCRATCH: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Lends `work` arrays of these lengths with whatever values are in them; each thread keeps the memory for the next call.
pub fn with_scratch<const N: usize, R>(lengths: [usize; N], work: impl FnOnce([&mut [f32]; N]) -> R) -> R {
    // Whole cache lines, so that no array straddles a line of its neighbour.
    let padded = lengths.map(|length| length.next_multiple_of(16));
    let total = padded.iter().sum::<usize>();
    let mut memory = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
    if memory.len() < total {
        memory.resize(total, 0.0);
    }
    let mut rest = memory.as_mut_slice();
    let arrays = std::array::from_fn(|i| {
        let (array, tail) = std::mem::take(&mut rest).split_at_mut(padded[i]);
        rest = tail;
        &mut array[..lengths[i]]
    });
    let result = work(arrays);
    SCRATCH.with_borrow_mut(|free| free.push(memory));
    result
}
