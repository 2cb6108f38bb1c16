//! What was measured in one iteration, as data: `kiln explain --json` prints it, the lesson shows it.

use serde::Serialize;

/// Everything that was measured in one iteration.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The batch's images in the set of training images, in their order.
    pub images: Vec<usize>,
    /// The shape of the network's input, `[batch, channels, height, width]`.
    pub input_shape: Vec<usize>,
    /// Forward propagation, layer by layer.
    pub layers: Vec<Layer>,
    /// What the network said of each image, and their labels.
    pub predictions: Vec<PredictionRow>,
    /// How many images of the batch were classified correctly before the update.
    pub correct_before: usize,
    /// The loss, in nats.
    pub loss_before: f64,
    /// Back propagation and update, parameter by parameter.
    pub parameters: Vec<Parameter>,
    /// The learning rate of the update.
    pub learning_rate: f64,
    /// The loss of the same batch after the update, without dropout and smoothing, as measured before it as well.
    pub loss_same_batch: [f64; 2],
    /// How many images of the batch are classified correctly after the update.
    pub correct_after: usize,
}

/// One layer's output for the whole batch.
#[derive(Clone, Debug, Serialize)]
pub struct Layer {
    /// The layer's name in the network.
    pub name: String,
    /// `[batch, ...]`.
    pub shape: Vec<usize>,
    /// Mean of all its values.
    pub mean: f64,
    /// Their standard deviation.
    pub sd: f64,
}

/// What the network said of one image.
#[derive(Clone, Debug, Serialize)]
pub struct PredictionRow {
    /// The class it found most likely.
    pub predicted: usize,
    /// With this probability.
    pub probability: f64,
    /// The true class.
    pub label: usize,
    /// The probability it gave to the true class.
    pub label_probability: f64,
}

impl PredictionRow {
    /// Cross-entropy in nats: `-ln` of the label's probability.
    pub fn loss(&self) -> f64 {
        -self.label_probability.ln()
    }
}

/// What happened to one parameter.
#[derive(Clone, Debug, Serialize)]
pub struct Parameter {
    /// Its path in the network.
    pub name: String,
    /// How many numbers it is.
    pub count: usize,
    /// The L2 norm of its gradient.
    pub gradient_norm: f64,
    /// The L2 norm of its change, over its own before the change; infinite when that was 0.
    pub update_to_weight: f64,
}
