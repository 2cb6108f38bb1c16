//! Operations composed so that a device launches few kernels for them: what a small network waits for on a GPU is not the
//! arithmetic but the next request.

use burn::tensor::{Int, Tensor};

/// See [`super::cross_entropy`]. The gradient, softmax less target, is written down instead of being left to the graph of a
/// dozen operations.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>, smoothing: f32) -> Tensor<1> {
    let [batch, classes] = logits.dims();
    let values = logits.clone().without_autodiff();
    let shifted = values.clone() - values.max_dim(1);
    let exponentials = shifted.clone().exp();
    let sums = exponentials.clone().sum_dim(1); // [batch, 1]
    let class = Tensor::<1, Int>::arange(0..classes as i64, &shifted.device()).reshape([1, classes]);
    let label = targets.without_autodiff().reshape([batch, 1]).expand([batch, classes]);
    let hit = class.expand([batch, classes]).equal(label).float();
    let target = hit.mul_scalar(1.0 - smoothing).add_scalar(smoothing / classes as f32);
    let loss = ((sums.clone().log() - shifted) * target.clone()).sum().div_scalar(batch as f32);
    if !logits.is_autodiff() {
        return loss;
    }
    let gradient = (exponentials / sums - target).div_scalar(batch as f32);
    // A number whose gradient is `gradient`, moved to where the loss is.
    let along = (logits * gradient.autodiff()).sum();
    let rest = loss - along.clone().without_autodiff();
    along + rest.autodiff()
}
