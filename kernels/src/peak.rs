//! What this machine can do at best: the arithmetic of a large matrix product, the memory traffic of a large copy.

use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::gemm::{Matrix, Output, Threads, multiply};

/// Rows and columns of the factors: large enough that packing them is a small part.
const SIDE: usize = 1024;
/// Values of the copied array: 64 MB, which no cache holds.
const COPIED: usize = 1 << 24;
/// Values that a thread copies at a time.
const PART: usize = 1 << 16;
/// Rounds per figure at least, of which the best counts.
const ROUNDS: usize = 5;
/// For how long there are more of them: other work on the machine may take a core for a while.
const AT_LEAST: Duration = Duration::from_millis(500);

/// Floating-point operations per second of one thread.
pub fn flops_of_one_thread() -> f64 {
    product(Threads::This)
}

/// Floating-point operations per second of all threads together.
pub fn flops_of_all_threads() -> f64 {
    product(Threads::All)
}

/// Bytes read and written per second by a copy on all threads.
pub fn bytes_per_second() -> f64 {
    let source = vec![0.5_f32; COPIED];
    let mut target = vec![0.0_f32; COPIED];
    let seconds = shortest(|| {
        let parts = target.par_chunks_mut(PART).zip(source.par_chunks(PART));
        parts.for_each(|(target, source)| target.copy_from_slice(source));
    });
    (2 * size_of_val(&source[..])) as f64 / seconds
}

/// Floating-point operations per second of a matrix product.
fn product(threads: Threads) -> f64 {
    let factor = vec![0.5; SIDE * SIDE];
    let (left, right) = (Matrix::new(&factor, SIDE, SIDE), Matrix::new(&factor, SIDE, SIDE));
    let mut result = vec![0.0; SIDE * SIDE];
    let flops = 2.0 * (SIDE as f64).powi(3);
    flops / shortest(|| multiply(left, right, &mut result, Output::Overwrite, threads))
}

/// The seconds of the shortest round, after one that warms up.
fn shortest(mut work: impl FnMut()) -> f64 {
    work();
    let mut shortest = f64::INFINITY;
    let begun = Instant::now();
    for _ in (0_usize..).take_while(|round| *round < ROUNDS || begun.elapsed() < AT_LEAST) {
        let started = Instant::now();
        work();
        shortest = shortest.min(started.elapsed().as_secs_f64());
    }
    shortest
}
