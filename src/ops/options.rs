//! What the operations take besides tensors, and what they give back.

use burn::tensor::Tensor;

use super::kernels::update;

/// How a convolution moves over its input, and what follows it, in this order: bias, ReLU, pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// Step between output positions, at least 1.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: usize,
    /// Whether negative values become 0.
    pub relu: bool,
    /// Whether a 2x2 max-pool with stride 2 follows; an odd last row or column is left out.
    pub pool: bool,
}

/// What follows a norm, in this order: ReLU, pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormOptions {
    /// Whether negative values become 0.
    pub relu: bool,
    /// Whether a 2x2 max-pool with stride 2 follows; an odd last row or column is left out.
    pub pool: bool,
}

/// What a group norm divides the channels into, and by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNormOptions {
    /// Groups of neighbouring channels; they divide the channels.
    pub count: usize,
    /// What is added to the variance.
    pub epsilon: f64,
}

/// A batch normalised by its own statistics.
#[derive(Clone, Debug)]
pub struct Normalised {
    /// `[batch, channels, height, width]`.
    pub output: Tensor<4>,
    /// The mean of each channel over batch, height and width: `[channels]`, without a gradient.
    pub mean: Tensor<1>,
    /// The biased variance likewise.
    pub variance: Tensor<1>,
}

/// One Adam or AdamW update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// The learning rate of this update.
    pub learning_rate: f64,
    /// Decay of the mean of the gradients.
    pub beta_1: f32,
    /// Decay of the mean of their squares.
    pub beta_2: f32,
    /// Added to the denominator.
    pub epsilon: f32,
    /// Weight decay.
    pub decay: Decay,
    /// Which update of this parameter it is, counted from 1.
    pub time: usize,
}

/// Weight decay of an [`AdamStep`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decay {
    /// The parameter times this is added to the gradient: Adam's L2 penalty.
    Penalty(f32),
    /// The parameter is multiplied by 1 less this times the learning rate: AdamW.
    Decoupled(f32),
}

impl AdamStep {
    /// What the update computes with.
    pub(super) fn constants(self) -> update::Adam {
        let Self { learning_rate, beta_1, beta_2, epsilon, decay, time } = self;
        let time = i32::try_from(time).unwrap_or(i32::MAX);
        // In f64: for beta_2 = 0.999, the difference from 1 keeps few digits in f32.
        let root = (1.0 - f64::from(beta_2).powi(time)).sqrt();
        let (penalty, keep) = match decay {
            Decay::Penalty(penalty) => (penalty, 1.0),
            Decay::Decoupled(decay) => (0.0, 1.0 - learning_rate * f64::from(decay)),
        };
        update::Adam {
            beta_1,
            beta_2,
            rate: (learning_rate * root / (1.0 - f64::from(beta_1).powi(time))) as f32,
            epsilon: (f64::from(epsilon) * root) as f32,
            penalty,
            keep: keep as f32,
        }
    }
}

/// One step of stochastic gradient descent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// Decay of the velocity; 0: plain gradient descent.
    pub momentum: f64,
    /// Whether to look ahead along the velocity.
    pub nesterov: bool,
    /// The parameter times this is added to the gradient: the L2 penalty, PyTorch's `weight_decay`.
    pub penalty: f64,
}

impl SgdStep {
    /// What the update computes with.
    pub(super) fn constants(self) -> update::Sgd {
        let Self { learning_rate, momentum, nesterov, penalty } = self;
        let (rate, momentum, penalty) = (learning_rate as f32, momentum as f32, penalty as f32);
        update::Sgd { rate, momentum, nesterov, penalty }
    }
}
