//! Fully connected layers: `y = x W + b`, then ReLU.

use std::borrow::Cow;

use rayon::prelude::*;

use super::BLOCK;
use super::fill::filled;
use super::gemm::{Into, Matrix, Threads, multiply};
use super::pool::unrelu;
use super::vectorised;

/// The sizes of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Rows of input and output.
    pub batch: usize,
    /// Values per input row.
    pub inputs: usize,
    /// Values per output row.
    pub outputs: usize,
    /// Negative outputs become 0.
    pub relu: bool,
}

/// The output `[batch, outputs]`; `weight` is `[inputs, outputs]`.
pub fn forward(geometry: &Geometry, input: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let Geometry { batch, inputs, outputs, relu } = *geometry;
    let mut output = vec![0.0; batch * outputs];
    let (input, weight) = (Matrix::new(input, batch, inputs), Matrix::new(weight, inputs, outputs));
    multiply(input, weight, &mut output, Into::Fresh, Threads::All);
    vectorised(
        #[inline(always)]
        || {
            let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
            for row in output.chunks_exact_mut(outputs.max(1)) {
                for (value, bias) in row.iter_mut().zip(bias) {
                    let shifted = *value + bias;
                    *value = if shifted <= floor { floor } else { shifted };
                }
            }
        },
    );
    output
}

/// What the backward pass reads.
#[derive(Clone, Copy)]
pub struct Saved<'a> {
    /// The input.
    pub input: &'a [f32],
    /// The weights.
    pub weight: &'a [f32],
    /// The output, read after a ReLU only.
    pub output: &'a [f32],
}

/// The gradient of `x W` from that of the output: ReLU's part taken out.
pub fn pre_activation<'a>(geometry: &Geometry, output: &[f32], gradient: &'a [f32]) -> Cow<'a, [f32]> {
    if !geometry.relu {
        return Cow::Borrowed(gradient);
    }
    Cow::Owned(filled(gradient.len(), BLOCK, |i, part| {
        vectorised(
            #[inline(always)]
            || unrelu(&gradient[i * BLOCK..], &output[i * BLOCK..], part),
        );
    }))
}

/// `dx = dz W^T`.
pub fn input_gradient(geometry: &Geometry, weight: &[f32], dz: &[f32]) -> Vec<f32> {
    let Geometry { batch, inputs, outputs, .. } = *geometry;
    let mut gradient = filled(batch * inputs, BLOCK, |_, _| ());
    let weight = Matrix::new(weight, inputs, outputs).transposed();
    multiply(Matrix::new(dz, batch, outputs), weight, &mut gradient, Into::Fresh, Threads::All);
    gradient
}

/// `dW = x^T dz`.
pub fn weight_gradient(geometry: &Geometry, input: &[f32], dz: &[f32]) -> Vec<f32> {
    let Geometry { batch, inputs, outputs, .. } = *geometry;
    let mut gradient = filled(inputs * outputs, BLOCK, |_, _| ());
    let input = Matrix::new(input, batch, inputs).transposed();
    multiply(input, Matrix::new(dz, batch, outputs), &mut gradient, Into::Fresh, Threads::All);
    gradient
}

/// `db`: the sums of `dz`'s columns, rows in their order.
pub fn bias_gradient(geometry: &Geometry, dz: &[f32]) -> Vec<f32> {
    let mut sums = vec![0.0; geometry.outputs];
    sums.par_chunks_mut(256).enumerate().for_each(|(part, sums)| {
        for row in dz.chunks_exact(geometry.outputs.max(1)) {
            for (sum, value) in sums.iter_mut().zip(&row[part * 256..]) {
                *sum += value;
            }
        }
    });
    sums
}
