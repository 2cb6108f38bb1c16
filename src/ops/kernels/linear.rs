//! Fully connected layers: `y = x W + b`, then ReLU.

use std::borrow::Cow;

use rayon::prelude::*;

use super::fill::filled;
use super::gemm::{Matrix, Output, Threads, multiply};
use super::pool::relu_backward;
use super::simd::{BLOCK, vectorised};
use super::size::{assert_length, product};

/// The sizes of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    batch: usize,
    inputs: usize,
    outputs: usize,
    relu: bool,
}

impl Geometry {
    /// A layer from `input` `[batch, in]` through `weight` `[in, out]`; with `relu`, negative outputs become 0. The batch
    /// may be empty.
    ///
    /// # Panics
    /// If weights and input do not fit each other, a size but the batch's is 0, or an array would be larger than memory
    /// can be.
    #[track_caller]
    pub fn new(input: [usize; 2], weight: [usize; 2], relu: bool) -> Self {
        let ([batch, inputs], [rows, outputs]) = (input, weight);
        assert!(
            inputs == rows && inputs > 0 && outputs > 0,
            "fully connected layer: weights {weight:?} do not fit the input {input:?}; they must be [{inputs}, out], and \
             all sizes at least 1"
        );
        product(&input);
        product(&weight);
        product(&[batch, outputs]);
        Self { batch, inputs, outputs, relu }
    }

    /// The output's shape, `[batch, out]`.
    pub fn output(&self) -> [usize; 2] {
        [self.batch, self.outputs]
    }
}

/// The output `[batch, outputs]`; `weight` is `[inputs, outputs]`.
///
/// # Panics
/// Like all of this file: if a slice has not the length that `geometry` gives it.
pub fn forward(geometry: &Geometry, input: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let Geometry { batch, inputs, outputs, relu } = *geometry;
    assert_length("fully connected layer's input", input, batch * inputs);
    assert_length("fully connected layer's weight", weight, inputs * outputs);
    assert_length("fully connected layer's bias", bias, outputs);
    let mut output = vec![0.0; batch * outputs];
    let (input, weight) = (Matrix::new(input, batch, inputs), Matrix::new(weight, inputs, outputs));
    multiply(input, weight, &mut output, Output::Overwrite, Threads::All);
    vectorised(
        #[inline(always)]
        || {
            let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
            for row in output.chunks_exact_mut(outputs) {
                for (value, bias) in row.iter_mut().zip(bias) {
                    let shifted = *value + bias;
                    *value = if shifted <= floor { floor } else { shifted };
                }
            }
        },
    );
    output
}

/// `dz`, the gradient of the pre-activation `x W + b`, from that of the `output`, which is read after a ReLU only.
pub fn pre_activation_gradient<'a>(geometry: &Geometry, output: &[f32], gradient: &'a [f32]) -> Cow<'a, [f32]> {
    assert_length("fully connected layer's gradient", gradient, geometry.batch * geometry.outputs);
    if !geometry.relu {
        return Cow::Borrowed(gradient);
    }
    assert_length("fully connected layer's output", output, gradient.len());
    Cow::Owned(filled(gradient.len(), BLOCK, |i, part| {
        vectorised(
            #[inline(always)]
            || relu_backward(&gradient[i * BLOCK..], &output[i * BLOCK..], part),
        );
    }))
}

/// `dx = dz W^T`.
pub fn input_gradient(geometry: &Geometry, weight: &[f32], dz: &[f32]) -> Vec<f32> {
    let Geometry { batch, inputs, outputs, .. } = *geometry;
    assert_length("fully connected layer's weight", weight, inputs * outputs);
    assert_length("fully connected layer's gradient", dz, batch * outputs);
    let mut gradient = filled(batch * inputs, BLOCK, |_, _| ());
    let weight = Matrix::new(weight, inputs, outputs).transposed();
    multiply(Matrix::new(dz, batch, outputs), weight, &mut gradient, Output::Overwrite, Threads::All);
    gradient
}

/// `dW = x^T dz`.
pub fn weight_gradient(geometry: &Geometry, input: &[f32], dz: &[f32]) -> Vec<f32> {
    let Geometry { batch, inputs, outputs, .. } = *geometry;
    assert_length("fully connected layer's input", input, batch * inputs);
    assert_length("fully connected layer's gradient", dz, batch * outputs);
    let mut gradient = filled(inputs * outputs, BLOCK, |_, _| ());
    let input = Matrix::new(input, batch, inputs).transposed();
    multiply(input, Matrix::new(dz, batch, outputs), &mut gradient, Output::Overwrite, Threads::All);
    gradient
}

/// `db`: the sums of `dz`'s columns, rows in their order.
pub fn bias_gradient(geometry: &Geometry, dz: &[f32]) -> Vec<f32> {
    assert_length("fully connected layer's gradient", dz, geometry.batch * geometry.outputs);
    let mut sums = vec![0.0; geometry.outputs];
    sums.par_chunks_mut(256).enumerate().for_each(|(part, sums)| {
        for row in dz.chunks_exact(geometry.outputs) {
            for (sum, value) in sums.iter_mut().zip(&row[part * 256..]) {
                *sum += value;
            }
        }
    });
    sums
}
