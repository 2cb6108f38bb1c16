//! Fully connected layers: `y = x W + b`, then ReLU.

use std::borrow::Cow;

use super::fill::{filled, filled_pair};
use super::gemm::{Matrix, multiply_tiled};
use super::pool::{add_biases, relu_backward};
use super::reduce::add;
use super::simd::vectorised;
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

/// Products with fewer multiplications stay on one thread: waking another would take longer.
const SMALL: usize = 1 << 20;

/// The tile of a product with the weights that one thread computes: few columns, so that their weights stay in its cache and
/// there is work for many threads, and as many rows as reuse them.
fn tile(geometry: &Geometry, columns: usize) -> [usize; 2] {
    match is_small(geometry) {
        true => [usize::MAX; 2],
        false if columns <= 64 => [64; 2],
        false => [512, 64],
    }
}

fn is_small(geometry: &Geometry) -> bool {
    // The product of two of the sizes is that of an array, and does not wrap.
    (geometry.batch * geometry.inputs).saturating_mul(geometry.outputs) < SMALL
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
    let (input, weight) = (Matrix::new(input, batch, inputs), Matrix::new(weight, inputs, outputs));
    multiply_tiled(input, weight, tile(geometry, outputs), |column, row| {
        vectorised(
            #[inline(always)]
            || add_biases(row, &bias[column..], relu),
        );
    })
}

/// Rows of the batch whose bias gradients are summed before they are added to those of the others.
const ROWS: usize = 32;

/// The gradient of the pre-activation `x W + b`, and of the bias: the sums of its columns.
pub struct PreActivation<'a> {
    /// `dz`, `[batch, outputs]`.
    pub gradient: Cow<'a, [f32]>,
    /// `db`, `[outputs]`.
    pub bias: Vec<f32>,
}

/// The gradients from that of the `output`, which is read after a ReLU only.
pub fn pre_activation_gradient<'a>(geometry: &Geometry, output: &[f32], gradient: &'a [f32]) -> PreActivation<'a> {
    let Geometry { batch, outputs, relu, .. } = *geometry;
    assert_length("fully connected layer's gradient", gradient, batch * outputs);
    if relu {
        assert_length("fully connected layer's output", output, gradient.len());
    }
    let chunk = outputs.saturating_mul(ROWS);
    let add_rows = |rows: &[f32], sums: &mut [f32]| rows.chunks_exact(outputs).for_each(|row| add(sums, row));
    let of = |values: &'a [f32], i: usize| &values[i * chunk..values.len().min((i + 1) * chunk)];
    let partials = batch.div_ceil(ROWS) * outputs;
    let (gradient, partial) = if relu {
        let masked = filled_pair([gradient.len(), chunk], [partials, outputs], |i, dz, sums: &mut [f32]| {
            vectorised(
                #[inline(always)]
                || {
                    relu_backward(of(gradient, i), &output[i * chunk..], dz);
                    add_rows(dz, sums);
                },
            );
        });
        (Cow::Owned(masked.0), masked.1)
    } else {
        let partial = filled(partials, outputs, |i, sums| {
            vectorised(
                #[inline(always)]
                || add_rows(of(gradient, i), sums),
            );
        });
        (Cow::Borrowed(gradient), partial)
    };
    let mut bias = vec![0.0; outputs];
    add_rows(&partial, &mut bias);
    PreActivation { gradient, bias }
}

/// `dx = dz W^T`.
pub fn input_gradient(geometry: &Geometry, weight: &[f32], dz: &[f32]) -> Vec<f32> {
    let Geometry { batch, inputs, outputs, .. } = *geometry;
    assert_length("fully connected layer's weight", weight, inputs * outputs);
    assert_length("fully connected layer's gradient", dz, batch * outputs);
    let weight = Matrix::new(weight, inputs, outputs).transposed();
    multiply_tiled(Matrix::new(dz, batch, outputs), weight, tile(geometry, inputs), |_, _| ())
}

/// `dW = x^T dz`.
pub fn weight_gradient(geometry: &Geometry, input: &[f32], dz: &[f32]) -> Vec<f32> {
    let Geometry { batch, inputs, outputs, .. } = *geometry;
    assert_length("fully connected layer's input", input, batch * inputs);
    assert_length("fully connected layer's gradient", dz, batch * outputs);
    let tile = if is_small(geometry) { [usize::MAX; 2] } else { [128; 2] };
    let input = Matrix::new(input, batch, inputs).transposed();
    multiply_tiled(input, Matrix::new(dz, batch, outputs), tile, |_, _| ())
}
