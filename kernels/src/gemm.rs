//! Products of matrices that lie in slices.
#![allow(unsafe_code, reason = "the gemm crate takes raw pointers; sizes are checked here")]

use gemm::Parallelism;
use rayon::prelude::*;

use super::fill::{with_capacity, with_scratch};
use super::size::{assert_length, product};
use super::transpose::transpose;

/// A matrix in a slice: the value at `(row, column)` is `values[row * strides[0] + column * strides[1]]`.
///
/// `values` has `shape[0] * shape[1]` values, and `strides` is `[columns, 1]` of that shape or, transposed, `[1, rows]`:
/// every index of a row and a column is inside.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    values: &'a [f32],
    shape: [usize; 2],
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// A row-major `rows` x `columns` matrix.
    ///
    /// # Panics
    /// If `values` has another length.
    #[track_caller]
    pub(super) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_length("matrix", values, product(&[rows, columns]));
        Self { values, shape: [rows, columns], strides: [columns, 1] }
    }

    /// The same values, rows and columns exchanged.
    pub(super) fn transposed(self) -> Self {
        let ([rows, columns], [row, column]) = (self.shape, self.strides);
        Self { values: self.values, shape: [columns, rows], strides: [column, row] }
    }
}

/// What happens to the values that are in the product's place: BLAS's beta of 0 or 1.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// Not read; the product takes their place.
    Overwrite,
    /// The product is added to them.
    Accumulate,
}

/// Where a product runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Threads {
    /// On this thread.
    This,
    /// On all of them; each value is still one sum in one order.
    #[allow(dead_code, reason = "for small products, tiles are better; see `multiply_tiled`")]
    All,
}

/// `result = left * right`, or `result += left * right`; `result` is row-major.
///
/// # Panics
/// If the matrices do not fit each other or `result` has not exactly the product's values.
#[track_caller]
pub(super) fn multiply(left: Matrix, right: Matrix, result: &mut [f32], output: Output, threads: Threads) {
    let ([rows, depth], [same_depth, columns]) = (left.shape, right.shape);
    assert!(depth == same_depth, "matrix product: {rows}x{depth} does not fit {same_depth}x{columns}");
    assert_length("matrix product", result, product(&[rows, columns]));
    if result.is_empty() {
        return;
    }
    if depth == 0 {
        if output == Output::Overwrite {
            result.fill(0.0);
        }
        return;
    }
    let parallelism = match threads {
        Threads::This => Parallelism::None,
        Threads::All => Parallelism::Rayon(0),
    };
    // SAFETY: rows, columns and depth are all at least 1 here, so that each is at most the length of a slice, and no cast
    // to `isize` changes it. `Matrix` and the assertions above keep every index inside its slice. `result` is borrowed
    // mutably and so overlaps neither factor. With `Overwrite` its values are not read, and they are initialised anyway.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            result.as_mut_ptr(),
            1,
            columns as isize,
            output == Output::Accumulate,
            left.values.as_ptr(),
            left.strides[1] as isize,
            left.strides[0] as isize,
            right.values.as_ptr(),
            right.strides[1] as isize,
            right.strides[0] as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// A new array that tiles of a product are written to, each by one thread.
struct Tiles {
    start: *mut f32,
    columns: usize,
}

// SAFETY: `multiply_tiled` gives every thread other places of the array, and outlives all of them.
unsafe impl Sync for Tiles {}

/// `left * right`, row-major, cut into tiles of at most `tile` rows and columns that threads compute side by side: each
/// value is one sum in one order, however many threads there are. `finish(first column, values)` is called for each row of
/// a tile while it is in the cache.
///
/// # Panics
/// If the matrices do not fit each other.
#[track_caller]
pub(super) fn multiply_tiled(
    left: Matrix,
    right: Matrix,
    tile: [usize; 2],
    finish: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let ([rows, depth], [same_depth, columns]) = (left.shape, right.shape);
    assert!(depth == same_depth, "matrix product: {rows}x{depth} does not fit {same_depth}x{columns}");
    let length = product(&[rows, columns]);
    if length == 0 || depth == 0 {
        let mut result = vec![0.0; length];
        result.chunks_exact_mut(columns.max(1)).for_each(|row| finish(0, row));
        return result;
    }
    let [tall, wide] = [tile[0].clamp(1, rows), tile[1].clamp(1, columns)];
    let across = columns.div_ceil(wide);
    let mut result = with_capacity(length);
    let tiles = Tiles { start: result.as_mut_ptr(), columns };
    let compute = |index: usize| {
        let (row, column) = (index / across * tall, index % across * wide);
        tiles.fill([row, column], [tall.min(rows - row), wide.min(columns - column)], [left, right], &finish);
    };
    match rows.div_ceil(tall) * across {
        1 => compute(0),
        count => (0..count).into_par_iter().for_each(compute),
    }
    // SAFETY: the capacity is at least `length`. The tiles cover every row and column, and each wrote all of its values; a
    // panic does not come here.
    unsafe { result.set_len(length) };
    result
}

/// With fewer rows, a product with a transposed matrix is best computed as dot products with the matrix as it lies.
const FEW_ROWS: usize = 4;

impl Tiles {
    /// Writes the tile of these `sizes` whose first value is at `[row, column]`, which must be inside of the product, as
    /// must the tile's last value. The depth is at least 1.
    fn fill(
        &self,
        [row, column]: [usize; 2],
        [tall, wide]: [usize; 2],
        [left, right]: [Matrix; 2],
        finish: impl Fn(usize, &mut [f32]),
    ) {
        let depth = left.shape[1];
        let is_transposed = right.strides[1] != 1 && tall > FEW_ROWS;
        let columns = &right.values[column * right.strides[1]..]
            [..(depth - 1) * right.strides[0] + (wide - 1) * right.strides[1] + 1];
        with_scratch([if is_transposed { depth * wide } else { 0 }], |[scratch]| {
            let (columns, strides) = if is_transposed {
                // The gemm crate would do it value by value.
                transpose(columns, depth, [wide, depth], scratch, wide);
                (&*scratch, [wide, 1])
            } else {
                (columns, right.strides)
            };
            let rows = &left.values[row * left.strides[0]..];
            // SAFETY: the tile lies inside of the array and of the factors' rows and columns, so that `Matrix` keeps every
            // index inside its slice, as does the copy of `depth` x `wide` values; all sizes are at least 1 and at most the
            // length of a slice, so no cast changes them. The array was just allocated and overlaps neither factor, no
            // other tile has these places, and `false` says that gemm writes them without having read them: after it, all
            // `tall` rows of `wide` values are initialised.
            unsafe {
                let start = self.start.add(row * self.columns + column);
                gemm::gemm(
                    tall,
                    wide,
                    depth,
                    start,
                    1,
                    self.columns as isize,
                    false,
                    rows.as_ptr(),
                    left.strides[1] as isize,
                    left.strides[0] as isize,
                    columns.as_ptr(),
                    strides[1] as isize,
                    strides[0] as isize,
                    1.0,
                    1.0,
                    false,
                    false,
                    false,
                    Parallelism::None,
                );
                for row in 0..tall {
                    finish(column, std::slice::from_raw_parts_mut(start.add(row * self.columns), wide));
                }
            }
        });
    }
}
