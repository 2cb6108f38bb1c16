//! Products of matrices that lie in slices.
#![allow(unsafe_code, reason = "the gemm crate takes raw pointers; the bounds are checked here")]

use gemm::Parallelism;

/// A matrix in a slice: the value at `(row, column)` is `values[row * strides[0] + column * strides[1]]`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    shape: [usize; 2],
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// A row-major `rows` x `columns` matrix.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert!(rows * columns <= values.len(), "the matrix lies in its slice");
        Self { values, shape: [rows, columns], strides: [columns, 1] }
    }

    /// The same values, rows and columns exchanged.
    pub fn transposed(self) -> Self {
        let ([rows, columns], [row, column]) = (self.shape, self.strides);
        Self { values: self.values, shape: [columns, rows], strides: [column, row] }
    }
}

/// What happens to the values that are in the product's place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Into {
    /// Overwritten.
    Fresh,
    /// Added to.
    Sum,
}

/// Where a product runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// On this thread.
    This,
    /// On all of them; each value is still one sum in one order.
    All,
}

/// `product = left * right`, or `product += left * right`; `product` is row-major.
pub fn multiply(left: Matrix, right: Matrix, product: &mut [f32], into: Into, threads: Threads) {
    let ([rows, depth], [same_depth, columns]) = (left.shape, right.shape);
    assert_eq!(depth, same_depth, "the columns of the left matrix meet the rows of the right one");
    assert!(rows * columns <= product.len(), "the product fits its slice");
    let parallelism = match threads {
        Threads::This => Parallelism::None,
        Threads::All => Parallelism::Rayon(0),
    };
    // SAFETY: `Matrix::new` and the assertions above keep every index inside its slice; `product` is borrowed mutably
    // and so overlaps neither factor; with `Into::Fresh` the old values are not read.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            product.as_mut_ptr(),
            1,
            columns as isize,
            into == Into::Sum,
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
