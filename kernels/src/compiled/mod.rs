//! A network for inference: its layers in order, their weights as the kernels read them, and the arrays between them laid out once.
//!
//! A single image, or a few, are computed by several threads, layer by layer and each layer by blocks of channels; many are computed
//! by every thread for itself. Each value is one sum in one order either way, so that an image gives the same to the last bit alone
//! and among others, on any number of threads.
//!
//! Files import one way: this file -> `conv`, `dense`, `group` -> `team`.

mod conv;
mod dense;
mod group;
mod team;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::geometry::ConvGeometry;
use super::pool::Epilogue;
use super::reduce;
use super::simd::vectorised;
use super::size::{assert_length, product};
use conv::{Conv, Places};
use dense::Dense;
use group::GroupNorm;
pub use group::GroupNormLayer;
use team::{Access, Member, Memory};

/// What a layer puts out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value(usize);

/// A convolution and what follows it: bias, ReLU, pool; or bias, the sum with another value, ReLU.
pub struct ConvLayer {
    /// `[out, in, k, k]`.
    pub weight: Vec<f32>,
    /// The shape of `weight`.
    pub shape: [usize; 4],
    /// One for each output channel.
    pub bias: Vec<f32>,
    /// Step between output positions.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: usize,
    /// Whether negative values become 0, after the sum if there is one.
    pub relu: bool,
    /// Whether a 2x2 max-pool follows; never after a sum.
    pub pool: bool,
}

/// The layers of a network, described one after the other.
pub struct Compiler {
    layers: Vec<Layer>,
    /// The shape of each value, `[channels, height, width]`.
    shapes: Vec<[usize; 3]>,
}

struct Layer {
    inputs: Vec<Value>,
    output: Value,
    /// Channels of the input, and values of each.
    shape: [usize; 2],
    operation: Operation,
}

enum Operation {
    Conv(Box<Conv>),
    Dense(Dense),
    /// `x * slope + offset`, then ReLU.
    Norm(Vec<[f32; 2]>),
    GroupNorm(GroupNorm),
    /// The sum of two values, then ReLU if asked.
    Sum(bool),
    /// The mean over height and width.
    Mean,
}

impl Compiler {
    /// Starts with images of `shape`, `[channels, height, width]`.
    pub fn new(shape: [usize; 3]) -> (Self, Value) {
        (Self { layers: Vec::new(), shapes: vec![shape] }, Value(0))
    }

    fn push(&mut self, inputs: Vec<Value>, shape: [usize; 3], operation: Operation) -> Value {
        product(&shape);
        let output = Value(self.shapes.len());
        let [channels, height, width] = self.shapes[inputs[0].0];
        self.shapes.push(shape);
        self.layers.push(Layer { inputs, output, shape: [channels, height * width], operation });
        output
    }

    /// A convolution of `input`, to whose outputs `shortcut` is added.
    ///
    /// # Panics
    /// Like all of these: if the shapes do not fit.
    pub fn conv(&mut self, input: Value, layer: ConvLayer, shortcut: Option<Value>) -> Value {
        let ConvLayer { weight, shape, bias, stride, padding, relu, pool } = layer;
        let [channels, height, width] = self.shapes[input.0];
        let epilogue = Epilogue { relu: relu && shortcut.is_none(), pool };
        let geometry = ConvGeometry::new([1, channels, height, width], shape, stride, padding, epilogue);
        let [_, channels, height, width] = geometry.output();
        let output = [channels, height, width];
        if let Some(shortcut) = shortcut {
            assert!(self.shapes[shortcut.0] == output, "a sum of {:?} and {output:?}", self.shapes[shortcut.0]);
        }
        let conv = Conv::new(geometry, &weight, bias, shortcut.map(|_| relu));
        self.push([input].into_iter().chain(shortcut).collect(), output, Operation::Conv(Box::new(conv)))
    }

    /// `x * slope + offset` with `[slope, offset]` of each channel, then ReLU.
    pub fn norm_relu(&mut self, input: Value, lines: Vec<[f32; 2]>) -> Value {
        assert_length("norm", &lines, self.shapes[input.0][0]);
        self.push(vec![input], self.shapes[input.0], Operation::Norm(lines))
    }

    /// A group norm and what follows it.
    pub fn group_norm(&mut self, input: Value, layer: GroupNormLayer) -> Value {
        let norm = GroupNorm::new(layer, self.shapes[input.0]);
        self.push(vec![input], norm.output(), Operation::GroupNorm(norm))
    }

    /// The sum of two values, then ReLU if asked.
    pub fn sum(&mut self, left: Value, right: Value, relu: bool) -> Value {
        let shape = self.shapes[left.0];
        assert!(shape == self.shapes[right.0], "a sum of {shape:?} and {:?}", self.shapes[right.0]);
        self.push(vec![left, right], shape, Operation::Sum(relu))
    }

    /// The mean over height and width of each channel.
    pub fn mean(&mut self, input: Value) -> Value {
        self.push(vec![input], [self.shapes[input.0][0], 1, 1], Operation::Mean)
    }

    /// A fully connected layer from all values of `input`, with weights `[in, out]`.
    pub fn linear(&mut self, input: Value, weight: &[f32], bias: Vec<f32>, relu: bool) -> Value {
        assert_length("fully connected layer's weight", weight, product(&self.shapes[input.0]) * bias.len());
        let dense = Dense::new(weight, bias, relu);
        self.push(vec![input], [dense.outputs, 1, 1], Operation::Dense(dense))
    }

    /// The network whose logits are `output`.
    pub fn finish(self, output: Value) -> Compiled {
        let sizes = self.shapes.iter().map(|shape| product(shape)).collect::<Vec<_>>();
        // Each value gets the first array that nobody reads any more.
        let mut last_use = (0..sizes.len()).collect::<Vec<_>>();
        for (index, layer) in self.layers.iter().enumerate() {
            layer.inputs.iter().for_each(|input| last_use[input.0] = index + 1);
        }
        last_use[output.0] = usize::MAX;
        let (mut arrays, mut free_from, mut places) = (Vec::new(), Vec::new(), vec![0; sizes.len()]);
        for (value, &size) in sizes.iter().enumerate() {
            // Value `n` is written by layer `n - 1`.
            let place = free_from.iter().position(|&free| free < value).unwrap_or(arrays.len());
            if place == arrays.len() {
                arrays.push(0);
                free_from.push(0);
            }
            arrays[place] = size.max(arrays[place]);
            free_from[place] = last_use[value];
            places[value] = place;
        }
        let convs = self.layers.iter().filter_map(|layer| match &layer.operation {
            Operation::Conv(conv) => Some(conv),
            _ => None,
        });
        let workspace = convs.clone().map(|conv| conv.workspace()).max().unwrap_or(0);
        let work = self.layers.iter().map(|layer| match &layer.operation {
            Operation::Conv(conv) => conv.geometry.multiply_adds(),
            Operation::Dense(dense) => (dense.inputs * dense.outputs) as u64,
            Operation::Norm(_) | Operation::GroupNorm(_) | Operation::Sum(_) | Operation::Mean => 0,
        });
        let steps = convs.map(|conv| conv.steps()).sum::<usize>() + self.layers.len();
        let program = Program {
            workspace: arrays.len(),
            work: work.sum(),
            input: sizes[0],
            outputs: sizes[output.0],
            result: places[output.0],
            layers: self.layers,
            places,
        };
        Compiled { program: Arc::new(program), arrays, workspace, steps, idle: Mutex::default() }
    }
}

/// A network that is ready to compute; threads can share it.
pub struct Compiled {
    program: Arc<Program>,
    /// Values per image of each array.
    arrays: Vec<usize>,
    /// Values that the threads which compute one image share.
    workspace: usize,
    /// Steps that an image takes at most.
    steps: usize,
    /// Memory that nobody uses at the moment, and for how many images it is.
    idle: Mutex<Vec<(usize, Memory)>>,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Compiled").field("layers", &self.program.layers.len()).finish_non_exhaustive()
    }
}

struct Program {
    layers: Vec<Layer>,
    /// The array of each value.
    places: Vec<usize>,
    /// The array of the workspace.
    workspace: usize,
    /// Multiply-adds for an image.
    work: u64,
    input: usize,
    outputs: usize,
    /// The array of the logits.
    result: usize,
}

/// Multiply-adds from which several threads pay: waking one takes longer than fewer of them.
const MUCH_WORK: u64 = 1 << 20;

/// The most images that several threads compute layer by layer.
const FEW_IMAGES: usize = 4;

impl Compiled {
    /// The logits, `[count, classes]`, of `count` images, of which at most `batch` go through the layers together;
    /// `fill(first image, values)` writes some of them, each `[channels, height, width]`.
    pub fn run(&self, count: usize, batch: usize, fill: &(dyn Fn(usize, &mut [f32]) + Sync)) -> Vec<f32> {
        let (program, threads) = (&self.program, rayon::current_num_threads());
        let mut logits = vec![0.0; product(&[count, program.outputs])];
        let is_much = program.work.saturating_mul(count as u64) >= MUCH_WORK;
        let is_outside = rayon::current_thread_index().is_none();
        if threads > 1 && is_much && is_outside && count <= FEW_IMAGES.min(threads) {
            self.run_together(threads - 1, &mut logits, fill);
            return logits;
        }
        let batch = batch.max(1);
        let share = if is_much { count.div_ceil(threads).clamp(1, batch) } else { batch };
        if count <= share {
            self.run_alone(0, &mut logits, fill);
            return logits;
        }
        let parts = logits.par_chunks_mut(share * program.outputs).enumerate();
        parts.for_each(|(part, logits)| self.run_alone(part * share, logits, fill));
        logits
    }

    /// On this thread.
    fn run_alone(&self, first: usize, logits: &mut [f32], fill: &dyn Fn(usize, &mut [f32])) {
        let count = logits.len() / self.program.outputs;
        let mut memory = self.filled(first, count, fill);
        team::alone(&mut memory, |member| self.program.run(member, count));
        logits.copy_from_slice(&memory.array(self.program.result)[..logits.len()]);
        self.put_back(memory, count);
    }

    /// On this thread and on others that are free.
    fn run_together(&self, helpers: usize, logits: &mut [f32], fill: &dyn Fn(usize, &mut [f32])) {
        let (program, count) = (self.program.clone(), logits.len() / self.program.outputs);
        let memory = self.filled(0, count, fill);
        let (steps, result) = (self.steps * count, program.result);
        let finish = |values: &[f32]| logits.copy_from_slice(&values[..logits.len()]);
        let left = team::together(memory, steps, helpers, move |member| program.run(member, count), finish, result);
        if let Some(memory) = left {
            self.put_back(memory, count);
        }
    }

    /// Memory with `count` images.
    fn filled(&self, first: usize, count: usize, fill: &dyn Fn(usize, &mut [f32])) -> Memory {
        let mut memory = self.memory(count);
        fill(first, &mut memory.array(self.program.places[0])[..count * self.program.input]);
        memory
    }

    /// Memory for `count` images, from an earlier call if there is.
    fn memory(&self, count: usize) -> Memory {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = idle.iter().position(|(room, _)| *room >= count) {
            return idle.swap_remove(index).1;
        }
        drop(idle);
        let room = count.max(FEW_IMAGES);
        let mut lengths = self.arrays.iter().map(|values| product(&[room, *values])).collect::<Vec<_>>();
        lengths.push(self.workspace);
        Memory::new(&lengths)
    }

    /// Keeps the memory of a call for the next ones, as much as threads can use at once.
    fn put_back(&self, memory: Memory, count: usize) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() > rayon::current_num_threads() {
            idle.remove(0);
        }
        idle.push((count.max(FEW_IMAGES), memory));
    }
}

impl Program {
    fn run(&self, member: &Member, count: usize) {
        for layer in &self.layers {
            let (input, output) = (self.places[layer.inputs[0].0], self.places[layer.output.0]);
            match &layer.operation {
                Operation::Conv(conv) => {
                    let shortcut = layer.inputs.get(1).map(|value| self.places[value.0]);
                    conv.run(member, &Places { input, shortcut, output, workspace: self.workspace }, count);
                }
                Operation::Dense(dense) => dense.run(member, [input, output], count),
                Operation::GroupNorm(norm) => norm.run(member, [input, output], count),
                Operation::Norm(lines) => norm(member, lines, [input, output], count, layer.shape),
                Operation::Sum(relu) => {
                    let right = layer.inputs.get(1).map_or(input, |value| self.places[value.0]);
                    sum(member, [input, right], output, *relu, (count, layer.shape));
                }
                Operation::Mean => mean(member, [input, output], count, layer.shape),
            }
        }
    }
}

/// `x * slope + offset`, then ReLU, image by image.
fn norm(member: &Member, lines: &[[f32; 2]], [input, output]: [usize; 2], count: usize, [channels, plane]: [usize; 2]) {
    let image = channels * plane;
    let access = Access { reads: [input], writes: output, range: 0..count * image, chunk: image };
    member.step(access, |part, [input], output| {
        vectorised(
            #[inline(always)]
            || {
                let planes = input[part * image..].chunks_exact(plane).zip(output.chunks_exact_mut(plane));
                for ((input, output), [slope, offset]) in planes.zip(lines) {
                    for (output, input) in output.iter_mut().zip(input) {
                        let value = input * slope + offset;
                        // A NaN passes, so that a broken run shows.
                        *output = if value <= 0.0 { 0.0 } else { value };
                    }
                }
            },
        );
    });
}

/// The sum of two arrays, image by image, then ReLU if asked.
fn sum(member: &Member, reads: [usize; 2], writes: usize, relu: bool, (count, [channels, plane]): (usize, [usize; 2])) {
    let image = channels * plane;
    member.step(Access { reads, writes, range: 0..count * image, chunk: image }, |part, [left, right], output| {
        output.copy_from_slice(&left[part * image..][..image]);
        vectorised(
            #[inline(always)]
            || conv::add(output, &right[part * image..], relu),
        );
    });
}

/// The mean of each plane, image by image.
fn mean(member: &Member, [input, output]: [usize; 2], count: usize, [channels, plane]: [usize; 2]) {
    let access = Access { reads: [input], writes: output, range: 0..count * channels, chunk: channels };
    member.step(access, |part, [input], output| {
        vectorised(
            #[inline(always)]
            || {
                let planes = input[part * channels * plane..].chunks_exact(plane);
                for (output, plane) in output.iter_mut().zip(planes) {
                    *output = reduce::sum(plane) / plane.len() as f32;
                }
            },
        );
    });
}
