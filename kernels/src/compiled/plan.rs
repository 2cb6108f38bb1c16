//! From the described layers of a network to its program.

use super::super::size::product;
use super::blocks::{self, Shape};
use super::dense::Dense;
use super::planes;
use super::program::{Layer, Operation, Program};
use super::{Compiler, Kind, Value};

fn work(layers: &[super::Layer]) -> u64 {
    let work = layers.iter().map(|layer| match &layer.kind {
        Kind::Conv { geometry, .. } => geometry.multiply_adds(),
        Kind::Linear { weight, .. } => weight.len() as u64,
        Kind::Norm(_) | Kind::GroupNorm(_) | Kind::Sum { .. } | Kind::Mean => 0,
    });
    work.sum()
}

/// With values that lie plane by plane.
pub(super) fn in_planes(compiler: Compiler, output: Value) -> Program {
    let sizes = compiler.shapes.iter().map(|shape| product(shape)).collect::<Vec<_>>();
    let work = work(&compiler.layers);
    let described = compiler.layers.into_iter().enumerate();
    let layers = described.map(|(index, super::Layer { inputs, kind })| {
        let [channels, height, width] = compiler.shapes[inputs[0].0];
        let planes = |operation| Operation::Planes(operation, [channels, height * width]);
        let operation = match kind {
            Kind::Conv { geometry, weight, bias, relu } => {
                let sum = inputs.get(1).map(|_| relu);
                planes(planes::Operation::Conv(Box::new(super::conv::Conv::new(geometry, &weight, bias, sum))))
            }
            Kind::Linear { weight, bias, relu } => Operation::Dense(Dense::new(&weight, bias, relu)),
            Kind::Norm(lines) => planes(planes::Operation::Norm(lines)),
            Kind::GroupNorm(norm) => planes(planes::Operation::GroupNorm(norm)),
            Kind::Sum { relu } => planes(planes::Operation::Sum(relu)),
            Kind::Mean => planes(planes::Operation::Mean),
        };
        Layer { inputs: inputs.iter().map(|value| value.0).collect(), output: index + 1, operation }
    });
    Program::new(layers.collect(), 0, &sizes, output.0, work)
}

/// The layers before the first fully connected one.
fn head(layers: &[super::Layer]) -> usize {
    layers.iter().position(|layer| matches!(layer.kind, Kind::Linear { .. })).unwrap_or(layers.len())
}

/// Whether values can lie in blocks: fully connected layers are the last ones, and they alone read what they read; and no group
/// norm is there, whose groups need not be blocks.
pub(super) fn allows_blocks(compiler: &Compiler, output: Value) -> bool {
    let head = head(&compiler.layers);
    let (front, back) = compiler.layers.split_at(head);
    let is_chain = back.iter().all(|layer| matches!(layer.kind, Kind::Linear { .. }));
    let is_read_in_front = |value: Value| front.iter().any(|layer| layer.inputs.contains(&value));
    let is_apart = back.iter().all(|layer| layer.inputs[0].0 == 0 || !is_read_in_front(layer.inputs[0]));
    let is_last = output.0 == compiler.layers.len() && (!back.is_empty() || !is_read_in_front(output));
    let has_groups = front.iter().any(|layer| matches!(layer.kind, Kind::GroupNorm(_)));
    is_chain && is_apart && is_last && output.0 > 0 && !has_groups
}

/// With values that lie in blocks of `lanes` channels, for so many threads.
pub(super) fn in_blocks(compiler: Compiler, output: Value, lanes: usize, threads: usize) -> Program {
    let (front, work) = (head(&compiler.layers), work(&compiler.layers));
    let shapes = block_shapes(&compiler, lanes, front);
    let count = compiler.shapes.len();
    // The images in blocks are one more value, and so are logits that no fully connected layer puts out.
    let (images, logits) = (count, count + 1);
    let mut sizes = compiler.shapes.iter().map(|shape| product(shape)).collect::<Vec<_>>();
    for (value, size) in sizes.iter_mut().enumerate().take(front + 1).skip(1) {
        *size = shapes[value].size();
    }
    sizes.extend([shapes[0].size(), product(&compiler.shapes[output.0])]);
    let mut layers = Vec::new();
    if front > 0 {
        let operation = Operation::Blocks(blocks::Operation::Read(shapes[0]));
        layers.push(Layer { inputs: vec![0], output: images, operation });
    }
    for (index, super::Layer { inputs, kind }) in compiler.layers.into_iter().enumerate() {
        let is_front = index < front;
        let value = |value: Value| if is_front && value.0 == 0 { images } else { value.0 };
        let of = |which: usize| shapes[inputs[which].0];
        let to = || shapes[index + 1];
        let operation = match kind {
            Kind::Conv { geometry, weight, bias, relu } => {
                let added = (inputs.len() > 1).then(|| of(1));
                let conv = blocks::Conv::new(&geometry, &weight, bias, [of(0), to()], added, relu, threads);
                Operation::Blocks(blocks::Operation::Conv(Box::new(conv)))
            }
            Kind::Norm(lines) => {
                Operation::Blocks(blocks::Operation::Norm(blocks::Norm::new(of(0), to(), &lines, threads)))
            }
            Kind::Sum { relu } => {
                Operation::Blocks(blocks::Operation::Sum(blocks::Sum::new([of(0), of(1)], to(), relu, threads)))
            }
            Kind::GroupNorm(_) => unreachable!("a group norm allows no blocks"),
            Kind::Mean => Operation::Blocks(blocks::Operation::Mean(of(0), to())),
            Kind::Linear { weight, bias, relu } => {
                let input = inputs[0].0;
                let in_blocks = (1..=front).contains(&input).then(|| &shapes[input]);
                Operation::Dense(dense(&weight, bias, relu, in_blocks))
            }
        };
        layers.push(Layer { inputs: inputs.iter().map(|input| value(*input)).collect(), output: index + 1, operation });
    }
    let is_front = output.0 <= front;
    if is_front {
        let operation = Operation::Blocks(blocks::Operation::Write(shapes[output.0]));
        layers.push(Layer { inputs: vec![output.0], output: logits, operation });
    }
    let batched_from = if front == 0 { 0 } else { front + 1 + usize::from(is_front) };
    Program::new(layers, batched_from, &sizes, if is_front { logits } else { output.0 }, work)
}

/// How each value up to that of the last layer in `front` lies.
fn block_shapes(compiler: &Compiler, lanes: usize, front: usize) -> Vec<Shape> {
    let shapes = compiler.shapes.iter().take(front + 1).enumerate().map(|(value, &[channels, height, width])| {
        let mut shape = Shape { channels, height, width, border: 0, lanes, is_convolved: false };
        let mut is_only_convolved = true;
        for layer in &compiler.layers[..front] {
            for (which, _) in layer.inputs.iter().enumerate().filter(|(_, input)| input.0 == value) {
                match &layer.kind {
                    Kind::Conv { geometry, .. } if which == 0 => {
                        shape.border = shape.border.max(geometry.padding);
                        shape.is_convolved = true;
                    }
                    _ => is_only_convolved = false,
                }
            }
        }
        // Images have few channels.
        if value == 0 && is_only_convolved {
            shape.lanes = 1;
        }
        shape
    });
    shapes.collect()
}

/// A fully connected layer whose inputs lie as `shape` says, or plane by plane.
fn dense(weight: &[f32], bias: Vec<f32>, relu: bool, shape: Option<&Shape>) -> Dense {
    let Some(shape) = shape else { return Dense::new(weight, bias, relu) };
    let mut moved = vec![0.0; shape.size() * bias.len()];
    for (row, place) in weight.chunks_exact(bias.len()).zip(shape.places()) {
        moved[place * bias.len()..][..row.len()].copy_from_slice(row);
    }
    Dense::new(&moved, bias, relu)
}
