//! Products of matrices that lie in slices.
#![allow(unsafe_code, reason = "the gemm crate takes raw pointers; sizes are checked here")]

use gemm::Parallelism;

use super::size::{assert_length, product};

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
