//! From the described layers of a network to its program.

use super::super::blocks::Shape;
use super::super::size::product;
use super::dense::Dense;
use super::layers::{self, GroupNorm, Moments, Norm, Sum};
use super::program::{Layer, Operation, Program};
use super::{Compiler, Kind, Value};

/// The program of the network whose logits are `output`, with blocks of `lanes` channels; for so many threads.
pub(super) fn program(compiler: Compiler, output: Value, lanes: usize, threads: usize) -> Program {
    let work = compiler.layers.iter().map(|layer| layer.kind.multiply_adds()).sum();
    let mut plan = Plan::new(&compiler, lanes);
    for (index, super::Layer { inputs, kind }) in compiler.layers.into_iter().enumerate() {
        let value = index + 1;
        let (of, to) = (|which: usize| plan.shapes[inputs[which].0], plan.shapes[value]);
        let mut moments = None;
        let operation = match kind {
            Kind::Conv { geometry, weight, bias, relu } => {
                let added = (inputs.len() > 1).then(|| of(1));
                let conv = layers::Conv::new(&geometry, &weight, bias, [of(0), to], added, relu, threads);
                layers::Operation::Conv(Box::new(conv))
            }
            Kind::Norm(lines) => layers::Operation::Norm(Norm::new(of(0), to, &lines, threads)),
            Kind::GroupNorm(layer) => {
                let (norm, of_each) = (GroupNorm::new(layer, [of(0), to], threads), Moments(of(0)));
                let (input, size) = (plan.in_blocks(inputs[0].0), of_each.size());
                moments = Some(plan.push(vec![input], size, Operation::Blocks(layers::Operation::Moments(of_each))));
                layers::Operation::GroupNorm(norm)
            }
            Kind::Sum { relu } => layers::Operation::Sum(Sum::new([of(0), of(1)], to, relu, threads)),
            Kind::Mean => layers::Operation::Mean(of(0), to),
            Kind::Linear { weight, bias, relu } => {
                let ((input, shape), size) = (plan.flat(inputs[0].0), bias.len());
                let dense = dense(&weight, bias, relu, shape);
                plan.planes[value] = Some(plan.push(vec![input], size, Operation::Dense(dense)));
                continue;
            }
        };
        let inputs = inputs.iter().map(|input| plan.in_blocks(input.0)).chain(moments).collect();
        plan.blocks[value] = Some(plan.push(inputs, to.size(), Operation::Blocks(operation)));
    }
    let result = plan.in_planes(output.0);
    Program::new(plan.layers, &plan.sizes, result, work)
}

impl Kind {
    fn multiply_adds(&self) -> u64 {
        match self {
            Self::Conv { geometry, .. } => geometry.multiply_adds(),
            Self::Linear { weight, .. } => weight.len() as u64,
            Self::Norm(_) | Self::GroupNorm(_) | Self::Sum { .. } | Self::Mean => 0,
        }
    }
}

/// A program in the making. Images, what fully connected layers put out, and the logits lie plane by plane, all else in blocks; a
/// value that is read the other way is brought there when it is first.
struct Plan {
    layers: Vec<Layer>,
    /// Of the program's values.
    sizes: Vec<usize>,
    /// How each described value lies in blocks.
    shapes: Vec<Shape>,
    /// The program's value that is a described one, plane by plane and in blocks.
    planes: Vec<Option<usize>>,
    blocks: Vec<Option<usize>>,
}

impl Plan {
    fn new(compiler: &Compiler, lanes: usize) -> Self {
        let shapes = shapes(compiler, lanes);
        let none = vec![None; shapes.len()];
        let mut planes = none.clone();
        planes[0] = Some(0);
        Self { layers: Vec::new(), sizes: vec![product(&compiler.shapes[0])], shapes, planes, blocks: none }
    }

    /// Adds a layer, and tells which value it puts out.
    fn push(&mut self, inputs: Vec<usize>, size: usize, operation: Operation) -> usize {
        let output = self.sizes.len();
        self.sizes.push(size);
        self.layers.push(Layer { inputs, output, operation });
        output
    }

    fn in_blocks(&mut self, value: usize) -> usize {
        if let Some(place) = self.blocks[value] {
            return place;
        }
        let (from, shape) = (self.planes[value].expect("a value that is read is there"), self.shapes[value]);
        let place = self.push(vec![from], shape.size(), Operation::Blocks(layers::Operation::Read(shape)));
        self.blocks[value] = Some(place);
        place
    }

    fn in_planes(&mut self, value: usize) -> usize {
        if let Some(place) = self.planes[value] {
            return place;
        }
        let (from, shape) = (self.blocks[value].expect("a value that is read is there"), self.shapes[value]);
        let size = shape.channels * shape.height * shape.width;
        let place = self.push(vec![from], size, Operation::Blocks(layers::Operation::Write(shape)));
        self.planes[value] = Some(place);
        place
    }

    /// Where a fully connected layer reads a value, and how it lies there if in blocks: where it is, unless a convolution reads it
    /// too, since what follows its end then may be anything.
    fn flat(&mut self, value: usize) -> (usize, Option<Shape>) {
        match (self.planes[value], self.blocks[value]) {
            (None, Some(place)) if !self.shapes[value].is_convolved => (place, Some(self.shapes[value])),
            _ => (self.in_planes(value), None),
        }
    }
}

/// How each value lies in blocks of `lanes` channels.
fn shapes(compiler: &Compiler, lanes: usize) -> Vec<Shape> {
    let shapes = compiler.shapes.iter().enumerate().map(|(value, &[channels, height, width])| {
        let mut shape = Shape { channels, height, width, border: 0, lanes, is_convolved: false };
        let mut is_only_convolved = true;
        for layer in &compiler.layers {
            for (which, _) in layer.inputs.iter().enumerate().filter(|(_, input)| input.0 == value) {
                match &layer.kind {
                    Kind::Conv { geometry, .. } if which == 0 => {
                        shape.border = shape.border.max(geometry.padding);
                        shape.is_convolved = true;
                    }
                    // It reads images plane by plane.
                    Kind::Linear { .. } => {}
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
fn dense(weight: &[f32], bias: Vec<f32>, relu: bool, shape: Option<Shape>) -> Dense {
    let Some(shape) = shape else { return Dense::new(weight, bias, relu) };
    let mut moved = vec![0.0; shape.size() * bias.len()];
    for (row, place) in weight.chunks_exact(bias.len()).zip(shape.places()) {
        moved[place * bias.len()..][..row.len()].copy_from_slice(row);
    }
    Dense::new(&moved, bias, relu)
}
