//! Optimizer updates of one parameter array, each in one pass over parameter, gradient and state. The state changes in
//! place; the parameter becomes a new array, since Burn's `Learner` holds the old one until the step is over.

use rayon::prelude::*;

use super::fill::filled_beside;
use super::simd::{BLOCK, vectorised};
use super::size::assert_length;

/// The constants of one Adam update. The corrections for the moments' start at zero are folded in:
/// `parameter = keep * parameter - rate * first / (sqrt(second) + epsilon)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Decay of the mean of the gradients.
    pub beta_1: f32,
    /// Decay of the mean of their squares.
    pub beta_2: f32,
    /// Learning rate times `sqrt(1 - beta_2^t) / (1 - beta_1^t)`.
    pub rate: f32,
    /// Epsilon times `sqrt(1 - beta_2^t)`.
    pub epsilon: f32,
    /// Times the parameter, added to the gradient (L2).
    pub penalty: f32,
    /// What is left of the parameter before the step: 1 less the decoupled decay.
    pub keep: f32,
}

/// Adam (Kingma and Ba, 2015) and AdamW (Loshchilov and Hutter, 2019): the new parameter.
///
/// # Panics
/// If the slices are not all of one length.
pub fn adam(constants: Adam, gradient: &[f32], parameter: &[f32], first: &mut [f32], second: &mut [f32]) -> Vec<f32> {
    assert_length("gradient", gradient, parameter.len());
    assert_length("first moment", first, parameter.len());
    assert_length("second moment", second, parameter.len());
    let state = first.par_chunks_mut(BLOCK).zip(second.par_chunks_mut(BLOCK));
    let beside = parameter.par_chunks(BLOCK).zip(gradient.par_chunks(BLOCK)).zip(state);
    filled_beside(parameter.len(), BLOCK, beside, |_, new, ((parameter, gradient), (first, second))| {
        vectorised(
            #[inline(always)]
            || adam_block(constants, gradient, parameter, [new, first, second]),
        );
    })
}

#[inline(always)]
fn adam_block(constants: Adam, gradient: &[f32], parameter: &[f32], [new, first, second]: [&mut [f32]; 3]) {
    let Adam { beta_1, beta_2, rate, epsilon, penalty, keep } = constants;
    let state = first.iter_mut().zip(second);
    for (((new, parameter), gradient), (first, second)) in new.iter_mut().zip(parameter).zip(gradient).zip(state) {
        let gradient = gradient + penalty * parameter;
        *first = beta_1 * *first + (1.0 - beta_1) * gradient;
        *second = beta_2 * *second + (1.0 - beta_2) * gradient * gradient;
        *new = keep * parameter - rate * *first / (second.sqrt() + epsilon);
    }
}

/// The constants of one step of gradient descent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub rate: f32,
    /// Decay of the velocity.
    pub momentum: f32,
    /// Step along the gradient and the velocity to come.
    pub nesterov: bool,
    /// Times the parameter, added to the gradient (L2).
    pub penalty: f32,
}

/// Stochastic gradient descent: `velocity = momentum * velocity + gradient`, and a step of `rate` against it
/// (Sutskever et al., 2013, in PyTorch's form: no dampening). The first step's velocity must be 0. The new parameter.
///
/// # Panics
/// If the slices are not all of one length.
pub fn sgd(constants: Sgd, gradient: &[f32], parameter: &[f32], velocity: &mut [f32]) -> Vec<f32> {
    assert_length("gradient", gradient, parameter.len());
    assert_length("velocity", velocity, parameter.len());
    let beside = parameter.par_chunks(BLOCK).zip(gradient.par_chunks(BLOCK)).zip(velocity.par_chunks_mut(BLOCK));
    filled_beside(parameter.len(), BLOCK, beside, |_, new, ((parameter, gradient), velocity)| {
        vectorised(
            #[inline(always)]
            || sgd_block(constants, gradient, parameter, [new, velocity]),
        );
    })
}

#[inline(always)]
fn sgd_block(constants: Sgd, gradient: &[f32], parameter: &[f32], [new, velocity]: [&mut [f32]; 2]) {
    let Sgd { rate, momentum, nesterov, penalty } = constants;
    for (((new, parameter), gradient), velocity) in new.iter_mut().zip(parameter).zip(gradient).zip(velocity) {
        let gradient = gradient + penalty * parameter;
        *velocity = momentum * *velocity + gradient;
        *new = parameter - rate * if nesterov { gradient + momentum * *velocity } else { *velocity };
    }
}
