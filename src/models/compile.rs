//! From the steps of a network and its weights to a compiled one.

use super::Weights;
use super::steps::{Operation, Step};
use crate::data::ImageShape;
use crate::ops::{Compiled, Compiler, ConvLayer, GroupNormLayer};
use crate::{Error, Result};

/// Compiles `steps` for images of this size. Batch norms go into the convolutions before them, and sums into convolutions whose
/// result nothing else takes.
pub(super) fn compile(steps: &[Step], input: ImageShape, weights: &Weights) -> Result<Compiled> {
    let (mut compiler, images) = Compiler::new([input.channels, input.height, input.width]);
    let mut values = vec![images];
    for (index, step) in steps.iter().enumerate() {
        let from = |which: usize| values[step.from[which]];
        let value = match step.operation {
            Operation::Conv { .. } => match fused_sum(steps, index) {
                None => compiler.conv(from(0), conv(step, weights)?, None),
                Some((shortcut, relu)) => {
                    let layer = ConvLayer { relu, ..conv(step, weights)? };
                    compiler.conv(from(0), layer, Some(values[shortcut]))
                }
            },
            Operation::Norm { epsilon } => {
                let lines = Line::of(weights, &step.name, epsilon)?;
                compiler.norm_relu(from(0), lines.iter().map(|line| [line.slope, line.offset]).collect())
            }
            Operation::GroupNorm { groups, epsilon, relu, pool } => {
                let (gamma, beta) = (tensor(weights, step, "gamma")?, tensor(weights, step, "beta")?);
                let channels = gamma.iter().zip(beta).map(|(gamma, beta)| [*gamma, *beta]).collect();
                compiler.group_norm(from(0), GroupNormLayer { groups, epsilon, channels, relu, pool })
            }
            // A sum that a convolution has computed already.
            Operation::Sum { .. } if fused_into(steps, index).is_some() => {
                values[fused_into(steps, index).unwrap_or_default() + 1]
            }
            Operation::Sum { relu } => compiler.sum(from(0), from(1), relu),
            Operation::Mean => compiler.mean(from(0)),
            Operation::Dense { relu } => {
                let (weight, bias) = (tensor(weights, step, "weight")?, tensor(weights, step, "bias")?);
                compiler.linear(from(0), weight, bias.to_vec(), relu)
            }
        };
        values.push(value);
    }
    let logits = values.pop().unwrap_or(images);
    Ok(compiler.finish(logits))
}

/// The convolution that computes the sum at `index`, if one does: the last step before it that [`fused_sum`] says so of.
fn fused_into(steps: &[Step], index: usize) -> Option<usize> {
    (0..index).rev().find(|conv| steps[index].from.contains(&(conv + 1)) && fused_sum(steps, *conv).is_some())
}

/// What the convolution at `index` can add to its outputs, and whether ReLU follows: where they go to a sum alone, whose other
/// value is there before.
fn fused_sum(steps: &[Step], index: usize) -> Option<(usize, bool)> {
    let Operation::Conv { relu: false, pool: false, .. } = steps[index].operation else { return None };
    let value = index + 1;
    let mut takers = steps.iter().filter(|step| step.from.contains(&value));
    let (Some(taker), None) = (takers.next(), takers.next()) else { return None };
    let (Operation::Sum { relu }, &[left, right]) = (&taker.operation, &taker.from[..]) else { return None };
    let other = if left == value { right } else { left };
    (other < value).then_some((other, *relu))
}

/// `slope * x + offset`: a batch norm by its running statistics.
struct Line {
    slope: f32,
    offset: f32,
}

impl Line {
    /// Those of the channels of the norm `name`.
    fn of(weights: &Weights, name: &str, epsilon: f64) -> Result<Vec<Self>> {
        let field = |field: &str| find(weights, &format!("{name}.{field}"));
        let (gamma, beta) = (field("gamma")?, field("beta")?);
        let (mean, variance) = (field("running_mean")?, field("running_var")?);
        let channels = gamma.iter().zip(beta).zip(mean.iter().zip(variance));
        let line = |((gamma, beta), (mean, variance)): ((&f32, &f32), (&f32, &f32))| {
            let slope = gamma / (variance + epsilon as f32).sqrt();
            Self { slope, offset: beta - mean * slope }
        };
        Ok(channels.map(line).collect())
    }
}

fn conv(step: &Step, weights: &Weights) -> Result<ConvLayer> {
    let Operation::Conv { stride, padding, bias, epsilon, relu, pool } = step.operation else {
        return Err(Error::failed(format!("`{}` is no convolution", step.name)));
    };
    let name = format!("{}.conv.weight", step.name);
    let kernel = weights.get(&name).ok_or_else(|| missing(&name))?;
    let shape: [usize; 4] = kernel.shape[..].try_into().map_err(|_| missing(&name))?;
    let mut weight = kernel.values.clone();
    let mut bias = if bias { tensor(weights, step, "conv.bias")?.to_vec() } else { vec![0.0; shape[0]] };
    if let Some(epsilon) = epsilon {
        let lines = Line::of(weights, &format!("{}.norm", step.name), epsilon)?;
        let channels = weight.chunks_exact_mut(shape[1..].iter().product()).zip(&mut bias).zip(lines);
        for ((kernel, bias), Line { slope, offset }) in channels {
            kernel.iter_mut().for_each(|weight| *weight *= slope);
            *bias = *bias * slope + offset;
        }
    }
    Ok(ConvLayer { weight, shape, bias, stride, padding, relu, pool })
}

fn tensor<'a>(weights: &'a Weights, step: &Step, field: &str) -> Result<&'a [f32]> {
    find(weights, &format!("{}.{field}", step.name))
}

fn find<'a>(weights: &'a Weights, name: &str) -> Result<&'a [f32]> {
    weights.get(name).map(|tensor| tensor.values.as_slice()).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Error {
    Error::usage(format!("tensor `{name}` is missing, or has another shape"))
}
