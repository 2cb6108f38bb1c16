//! A network for inference: its layers in order, their weights as the kernels read them, and the arrays between them laid out once.
//!
//! A single image, or a few, are computed by several threads, layer by layer and each layer by blocks of channels; many are computed
//! by every thread for itself. Each value is one sum in one order either way, so that an image gives the same to the last bit alone
//! and among others, on any number of threads.
//!
//! Values between the layers lie in [`super::blocks`] of channels; images, logits, and what lies between fully connected layers, plane by
//! plane.
//!
//! Files import one way: this file -> `plan` -> `program` -> `layers`, `dense` -> `team`.

mod dense;
mod layers;
mod plan;
mod program;
mod team;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::geometry::ConvGeometry;
use super::pool::Epilogue;
use super::simd::lanes;
use super::size::{assert_length, product};
pub use layers::GroupNormLayer;
use program::Program;
use team::Memory;

/// What a layer puts out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value(usize);

/// A convolution and what follows it: bias, ReLU, pool; or bias, the sum with another value, ReLU.
#[derive(Clone)]
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

/// A layer as it was described: layer `n` puts out value `n + 1`.
struct Layer {
    inputs: Vec<Value>,
    kind: Kind,
}

enum Kind {
    /// Of one image.
    Conv {
        geometry: ConvGeometry,
        weight: Vec<f32>,
        bias: Vec<f32>,
        relu: bool,
    },
    /// With weights `[in, out]`.
    Linear {
        weight: Vec<f32>,
        bias: Vec<f32>,
        relu: bool,
    },
    /// Slope and offset of each channel.
    Norm(Vec<[f32; 2]>),
    GroupNorm(GroupNormLayer),
    Sum {
        relu: bool,
    },
    Mean,
}

impl Compiler {
    /// Starts with images of `shape`, `[channels, height, width]`.
    pub fn new(shape: [usize; 3]) -> (Self, Value) {
        (Self { layers: Vec::new(), shapes: vec![shape] }, Value(0))
    }

    fn push(&mut self, inputs: Vec<Value>, shape: [usize; 3], kind: Kind) -> Value {
        product(&shape);
        let output = Value(self.shapes.len());
        self.shapes.push(shape);
        self.layers.push(Layer { inputs, kind });
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
        assert!(shortcut.is_none() || !pool, "a pool before a sum");
        let geometry = ConvGeometry::new([1, channels, height, width], shape, stride, padding, epilogue);
        let [_, channels, height, width] = geometry.output();
        let output = [channels, height, width];
        if let Some(shortcut) = shortcut {
            assert!(self.shapes[shortcut.0] == output, "a sum of {:?} and {output:?}", self.shapes[shortcut.0]);
        }
        assert_length("convolution's weight", &weight, geometry.weights());
        assert_length("convolution's bias", &bias, geometry.channels_out);
        let inputs = [input].into_iter().chain(shortcut).collect();
        self.push(inputs, output, Kind::Conv { geometry, weight, bias, relu })
    }

    /// `x * slope + offset` with `[slope, offset]` of each channel, then ReLU.
    pub fn norm_relu(&mut self, input: Value, lines: Vec<[f32; 2]>) -> Value {
        assert_length("norm", &lines, self.shapes[input.0][0]);
        self.push(vec![input], self.shapes[input.0], Kind::Norm(lines))
    }

    /// A group norm and what follows it.
    pub fn group_norm(&mut self, input: Value, layer: GroupNormLayer) -> Value {
        let output = layer.output(self.shapes[input.0]);
        self.push(vec![input], output, Kind::GroupNorm(layer))
    }

    /// The sum of two values, then ReLU if asked.
    pub fn sum(&mut self, left: Value, right: Value, relu: bool) -> Value {
        let shape = self.shapes[left.0];
        assert!(shape == self.shapes[right.0], "a sum of {shape:?} and {:?}", self.shapes[right.0]);
        self.push(vec![left, right], shape, Kind::Sum { relu })
    }

    /// The mean over height and width of each channel.
    pub fn mean(&mut self, input: Value) -> Value {
        self.push(vec![input], [self.shapes[input.0][0], 1, 1], Kind::Mean)
    }

    /// A fully connected layer from all values of `input`, with weights `[in, out]`.
    pub fn linear(&mut self, input: Value, weight: &[f32], bias: Vec<f32>, relu: bool) -> Value {
        assert!(!bias.is_empty(), "a fully connected layer without outputs");
        assert_length("fully connected layer's weight", weight, product(&self.shapes[input.0]) * bias.len());
        let outputs = bias.len();
        self.push(vec![input], [outputs, 1, 1], Kind::Linear { weight: weight.to_vec(), bias, relu })
    }

    /// The network whose logits are `output`.
    pub fn finish(self, output: Value) -> Compiled {
        self.finish_for(output, rayon::current_num_threads())
    }

    /// For so many threads.
    fn finish_for(self, output: Value, threads: usize) -> Compiled {
        let program = plan::program(self, output, lanes(), threads);
        Compiled { program: Arc::new(program), idle: Mutex::default() }
    }
}

/// A network that is ready to compute; threads can share it.
pub struct Compiled {
    program: Arc<Program>,
    /// Memory that nobody uses at the moment, and for how many images it is.
    idle: Mutex<Vec<(usize, Memory)>>,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Compiled").field("layers", &self.program.layers.len()).finish_non_exhaustive()
    }
}

/// Multiply-adds from which several threads pay: waking one takes longer than fewer of them.
const MUCH_WORK: u64 = 1 << 19;

/// The most images that several threads compute layer by layer.
const FEW_IMAGES: usize = 4;

impl Compiled {
    /// The logits, `[count, classes]`, of `count` images, of which at most `batch` go through the layers together;
    /// `fill(first image, values)` writes some of them, each `[channels, height, width]`.
    pub fn run(&self, count: usize, batch: usize, fill: &(dyn Fn(usize, &mut [f32]) + Sync)) -> Vec<f32> {
        let (program, threads) = (&self.program, rayon::current_num_threads());
        let mut logits = vec![0.0; product(&[count, program.outputs()])];
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
        let parts = logits.par_chunks_mut(share * program.outputs()).enumerate();
        parts.for_each(|(part, logits)| self.run_alone(part * share, logits, fill));
        logits
    }

    /// On this thread.
    fn run_alone(&self, first: usize, logits: &mut [f32], fill: &dyn Fn(usize, &mut [f32])) {
        let count = logits.len() / self.program.outputs();
        let mut memory = self.filled(first, count, fill);
        team::alone(&mut memory, |member| self.program.run(member, count));
        logits.copy_from_slice(&memory.array(self.program.values[self.program.result].array)[..logits.len()]);
        self.put_back(memory, count);
    }

    /// On this thread and on others that are free.
    fn run_together(&self, helpers: usize, logits: &mut [f32], fill: &dyn Fn(usize, &mut [f32])) {
        let (program, count) = (self.program.clone(), logits.len() / self.program.outputs());
        let memory = self.filled(0, count, fill);
        let (steps, result) = (program.steps(count), program.values[program.result].array);
        let finish = |values: &[f32]| logits.copy_from_slice(&values[..logits.len()]);
        let left = team::together(memory, steps, helpers, move |member| program.run(member, count), finish, result);
        if let Some(memory) = left {
            self.put_back(memory, count);
        }
    }

    /// Memory with `count` images.
    fn filled(&self, first: usize, count: usize, fill: &dyn Fn(usize, &mut [f32])) -> Memory {
        let mut memory = self.memory(count);
        let input = self.program.values[0];
        fill(first, &mut memory.array(input.array)[..count * input.size]);
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
        Memory::new(&self.program.arrays(room))
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
