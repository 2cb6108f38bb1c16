//! A network as a list of steps: for programs that compute it without Burn, such as the page that `kiln export` makes.
//! [`ShapeInference`](super::shapes::ShapeInference) writes them while it lists the layers, so a new architecture that is
//! made of known parts needs nothing more.

use serde::Serialize;

use super::layers::{ConvSpec, NormSpec};

/// What one step computes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum Operation {
    /// Convolution with the square kernel `NAME.conv.weight`, then batch norm, ReLU and 2x2 max-pool where they are asked for.
    Conv {
        stride: usize,
        /// Zeros on each side.
        padding: usize,
        /// Whether there is a `NAME.conv.bias`.
        bias: bool,
        /// The epsilon of `NAME.norm`, if there is one.
        epsilon: Option<f64>,
        relu: bool,
        pool: bool,
    },
    /// The batch norm `NAME`, then ReLU.
    Norm { epsilon: f64 },
    /// The group norm `NAME`, then ReLU and 2x2 max-pool where they are asked for. All values of each of so many groups of
    /// neighbouring channels have one mean and one variance, which are this image's.
    GroupNorm { groups: usize, epsilon: f64, relu: bool, pool: bool },
    /// The sum of two values, then ReLU where it is asked for.
    Sum { relu: bool },
    /// The mean over height and width.
    Mean,
    /// The fully connected layer `NAME`, then ReLU where it is asked for. Of an image, all values channel by channel.
    Dense { relu: bool },
}

/// One step. It gives one value: step `i` gives value `i + 1`, and value 0 is the network's input.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Step {
    #[serde(flatten)]
    pub(crate) operation: Operation,
    /// How the names of its tensors begin; empty when it has none.
    pub(crate) name: String,
    /// The values that it takes.
    pub(crate) from: Vec<usize>,
}

impl Operation {
    /// A convolution with what follows it, up to a group norm, which is a step of its own.
    pub(super) fn conv(spec: &ConvSpec) -> Self {
        let is_last = !matches!(spec.norm, NormSpec::Group(_));
        Self::Conv {
            stride: spec.stride,
            padding: spec.padding,
            bias: spec.bias,
            epsilon: (spec.norm == NormSpec::Batch).then(epsilon),
            relu: is_last && spec.relu,
            pool: is_last && spec.pool,
        }
    }

    pub(super) fn norm() -> Self {
        Self::Norm { epsilon: epsilon() }
    }

    pub(super) fn group_norm(groups: usize, relu: bool, pool: bool) -> Self {
        Self::GroupNorm { groups, epsilon: burn::nn::GroupNormConfig::new(1, 1).epsilon, relu, pool }
    }
}

/// The epsilon of all batch norms here.
fn epsilon() -> f64 {
    burn::nn::BatchNormConfig::new(1).epsilon
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor, TensorData};

    use super::*;
    use crate::data::ImageShape;
    use crate::models::{ModelConfig, Weights};

    /// A value on its way: channels, height, width, numbers.
    #[derive(Clone)]
    struct Value(usize, usize, usize, Vec<f64>);

    fn tensor<'a>(weights: &'a Weights, step: &Step, field: &str) -> &'a [f32] {
        &weights.get(&format!("{}.{field}", step.name)).unwrap_or_else(|| panic!("{step:?}: {field}")).values
    }

    fn norm(weights: &Weights, name: &str, epsilon: f64, value: &mut Value) {
        let field = |field: &str| &weights.get(&format!("{name}.{field}")).unwrap().values;
        let plane = value.1 * value.2;
        for (place, number) in value.3.iter_mut().enumerate() {
            let at = |values: &[f32]| f64::from(values[place / plane]);
            let slope = at(field("gamma")) / (at(field("running_var")) + epsilon).sqrt();
            *number = (*number - at(field("running_mean"))) * slope + at(field("beta"));
        }
    }

    fn group_norm(weights: &Weights, name: &str, (groups, epsilon): (usize, f64), value: &mut Value) {
        let field = |field: &str| &weights.get(&format!("{name}.{field}")).unwrap().values;
        let (plane, of_each) = (value.1 * value.2, value.0 / groups);
        for (index, group) in value.3.chunks_mut(of_each * plane).enumerate() {
            let mean = group.iter().sum::<f64>() / group.len() as f64;
            let variance = group.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / group.len() as f64;
            for (place, number) in group.iter_mut().enumerate() {
                let channel = index * of_each + place / plane;
                let at = |values: &[f32]| f64::from(values[channel]);
                *number = (*number - mean) / (variance + epsilon).sqrt() * at(field("gamma")) + at(field("beta"));
            }
        }
    }

    fn relu(value: &mut Value) {
        value.3.iter_mut().for_each(|number| *number = number.max(0.0));
    }

    fn pool(Value(channels, height, width, numbers): &Value) -> Value {
        let (high, wide) = (height / 2, width / 2);
        let at = |c: usize, y: usize, x: usize| numbers[(c * height + y) * width + x];
        let of = |c, y: usize, x: usize| {
            let corners = [(0, 0), (0, 1), (1, 0), (1, 1)];
            corners.iter().map(|(down, right)| at(c, 2 * y + down, 2 * x + right)).fold(f64::MIN, f64::max)
        };
        let all = (0..*channels).flat_map(|c| (0..high).flat_map(move |y| (0..wide).map(move |x| (c, y, x))));
        Value(*channels, high, wide, all.map(|(c, y, x)| of(c, y, x)).collect())
    }

    fn conv(step: &Step, weights: &Weights, (stride, padding, bias): (usize, usize, bool), image: &Value) -> Value {
        let kernel = weights.get(&format!("{}.conv.weight", step.name)).unwrap();
        let [outputs, inputs, side, _] = kernel.shape[..] else { panic!("{:?}", kernel.shape) };
        let Value(_, height, width, numbers) = image;
        let size = |length: &usize| (length + 2 * padding - side) / stride + 1;
        let (high, wide) = (size(height), size(width));
        let mut out = Vec::new();
        for (o, y, x) in (0..outputs * high * wide).map(|i| (i / (high * wide), i / wide % high, i % wide)) {
            let mut sum = if bias { f64::from(tensor(weights, step, "conv.bias")[o]) } else { 0.0 };
            for (i, ky, kx) in (0..inputs * side * side).map(|k| (k / (side * side), k / side % side, k % side)) {
                let (row, column) = ((y * stride + ky).wrapping_sub(padding), (x * stride + kx).wrapping_sub(padding));
                if row < *height && column < *width {
                    let weight = kernel.values[((o * inputs + i) * side + ky) * side + kx];
                    sum += f64::from(weight) * numbers[(i * height + row) * width + column];
                }
            }
            out.push(sum);
        }
        Value(outputs, high, wide, out)
    }

    /// The steps as their documentation says, without any concern for speed.
    fn compute(steps: &[Step], weights: &Weights, image: Value) -> Vec<f64> {
        let mut values = vec![image];
        for step in steps {
            let input = &values[step.from[0]];
            let mut value = match step.operation {
                Operation::Conv { stride, padding, bias, .. } => conv(step, weights, (stride, padding, bias), input),
                Operation::Norm { .. } | Operation::GroupNorm { .. } => input.clone(),
                Operation::Sum { .. } => {
                    let other = &values[step.from[1]].3;
                    let sum = input.3.iter().zip(other).map(|(a, b)| a + b).collect();
                    Value(input.0, input.1, input.2, sum)
                }
                Operation::Mean => {
                    let plane = input.1 * input.2;
                    let means = input.3.chunks(plane).map(|plane| plane.iter().sum::<f64>() / plane.len() as f64);
                    Value(input.0, 1, 1, means.collect())
                }
                Operation::Dense { .. } => {
                    let (weight, bias) = (tensor(weights, step, "weight"), tensor(weights, step, "bias"));
                    let sum = |o: usize| -> f64 {
                        let products = input.3.iter().enumerate();
                        f64::from(bias[o])
                            + products.map(|(i, x)| x * f64::from(weight[i * bias.len() + o])).sum::<f64>()
                    };
                    Value(bias.len(), 1, 1, (0..bias.len()).map(sum).collect())
                }
            };
            match step.operation {
                Operation::Conv { epsilon: Some(epsilon), .. } => {
                    norm(weights, &format!("{}.norm", step.name), epsilon, &mut value)
                }
                Operation::Norm { epsilon } => norm(weights, &step.name, epsilon, &mut value),
                Operation::GroupNorm { groups, epsilon, .. } => {
                    group_norm(weights, &step.name, (groups, epsilon), &mut value);
                }
                _ => {}
            }
            if let Operation::Conv { relu: true, .. }
            | Operation::Norm { .. }
            | Operation::GroupNorm { relu: true, .. }
            | Operation::Sum { relu: true }
            | Operation::Dense { relu: true } = step.operation
            {
                relu(&mut value);
            }
            if let Operation::Conv { pool: true, .. } | Operation::GroupNorm { pool: true, .. } = step.operation {
                value = pool(&value);
            }
            values.push(value);
        }
        values.pop().unwrap().3
    }

    #[test]
    fn the_steps_of_every_network_compute_what_it_computes() {
        let shape = ImageShape { channels: 3, height: 14, width: 13 };
        let device = Device::flex();
        for model in ModelConfig::examples() {
            let mut weights = model.init(shape, 4, &device).unwrap().initialise(3).weights().unwrap();
            for (name, tensor) in weights.iter_mut() {
                let field = name.rsplit('.').next().unwrap();
                for (index, value) in tensor.values.iter_mut().enumerate() {
                    match field {
                        "running_mean" | "bias" | "beta" => *value = (index % 5) as f32 * 0.1 - 0.2,
                        "running_var" | "gamma" => *value = 0.5 + (index % 3) as f32 * 0.25,
                        _ => {}
                    }
                }
            }
            let numbers: Vec<f32> = (0..shape.len()).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
            let network = model.init(shape, 4, &device).unwrap().load(&weights).unwrap();
            let images = TensorData::new(numbers.clone(), [1, shape.channels, shape.height, shape.width]);
            let expected = network.forward(Tensor::from_data(images, &device)).try_into_vec_as::<f32>().unwrap();
            let image = Value(3, shape.height, shape.width, numbers.into_iter().map(f64::from).collect());
            let found = compute(&model.steps(shape, 4).unwrap(), &weights, image);
            assert_eq!(found.len(), expected.len(), "{}", model.kind());
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - f64::from(*expected)).abs() < 1e-4, "{}: {found}, not {expected}", model.kind());
            }
        }
    }
}
