//! What a compiled network computes, step by step, and where its values are.

use super::super::size::product;
use super::dense::Dense;
use super::team::Member;
use super::{blocks, planes};

/// The layers of a network in order.
pub(super) struct Program {
    pub(super) layers: Vec<Layer>,
    /// Layers before this one are computed image by image, so that what lies between them stays in a cache; those from it on
    /// for all images of a batch.
    pub(super) batched_from: usize,
    pub(super) values: Vec<Slot>,
    /// The array of the workspace, which comes after those of the values.
    pub(super) workspace: usize,
    /// Multiply-adds for an image.
    pub(super) work: u64,
    /// The values of the images, and the logits.
    pub(super) input: usize,
    pub(super) result: usize,
}

pub(super) struct Layer {
    pub(super) inputs: Vec<usize>,
    pub(super) output: usize,
    pub(super) operation: Operation,
}

pub(super) enum Operation {
    /// With channels of the input, and values of each.
    Planes(planes::Operation, [usize; 2]),
    Blocks(blocks::Operation),
    Dense(Dense),
}

/// Where a value lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) array: usize,
    /// Values of an image.
    pub(super) size: usize,
    /// Whether there is one for each image of a batch.
    pub(super) is_batched: bool,
}

impl Program {
    pub(super) fn run(&self, member: &Member, count: usize) {
        let (single, batched) = self.layers.split_at(self.batched_from);
        for image in 0..count {
            let place = |value: usize| {
                let Slot { array, size, is_batched } = self.values[value];
                blocks::Place { array, from: if is_batched { image * size } else { 0 } }
            };
            for layer in single {
                if let Operation::Blocks(operation) = &layer.operation {
                    match layer.inputs[..] {
                        [input] => operation.run(member, &[place(input)], place(layer.output)),
                        [input, other, ..] => {
                            operation.run(member, &[place(input), place(other)], place(layer.output));
                        }
                        [] => {}
                    }
                }
            }
        }
        for layer in batched {
            let array = |value: &usize| self.values[*value].array;
            let (inputs, output) = (layer.inputs.iter().map(array).collect::<Vec<_>>(), array(&layer.output));
            match &layer.operation {
                Operation::Dense(dense) => dense.run(member, [inputs[0], output], count),
                Operation::Planes(operation, shape) => {
                    operation.run(member, (&inputs, output, self.workspace), count, *shape);
                }
                Operation::Blocks(_) => {}
            }
        }
    }

    /// Logits of an image.
    pub(super) fn outputs(&self) -> usize {
        self.values[self.result].size
    }

    /// Steps that `count` images take at most.
    pub(super) fn steps(&self, count: usize) -> usize {
        let steps = |layer: &Layer| match &layer.operation {
            Operation::Planes(planes::Operation::Conv(conv), _) => conv.steps(),
            _ => 1,
        };
        self.layers.iter().map(steps).sum::<usize>() * count
    }

    /// Values of each array, for a batch of `room` images.
    pub(super) fn arrays(&self, room: usize) -> Vec<usize> {
        let mut lengths = vec![0; self.workspace];
        for slot in &self.values {
            let size = if slot.is_batched { product(&[room, slot.size]) } else { slot.size };
            lengths[slot.array] = lengths[slot.array].max(size);
        }
        let workspace = self.layers.iter().map(|layer| match &layer.operation {
            Operation::Planes(planes::Operation::Conv(conv), _) => conv.workspace(),
            _ => 0,
        });
        lengths.push(workspace.max().unwrap_or(0));
        lengths
    }

    /// Of layers whose values have these sizes: gives each value the first array that nobody reads any more.
    pub(super) fn new(layers: Vec<Layer>, batched_from: usize, sizes: &[usize], output: usize, work: u64) -> Self {
        let mut last_use = vec![0; sizes.len()];
        let (mut is_batched, mut writer) = (vec![batched_from == 0; sizes.len()], vec![0; sizes.len()]);
        is_batched[0] = true;
        is_batched[output] = true;
        for (index, layer) in layers.iter().enumerate() {
            writer[layer.output] = index + 1;
            last_use[layer.output] = index + 1;
            for input in &layer.inputs {
                last_use[*input] = index + 1;
                is_batched[*input] |= index >= batched_from;
            }
            is_batched[layer.output] |= index >= batched_from;
        }
        last_use[output] = usize::MAX;
        let mut order = (0..sizes.len()).collect::<Vec<_>>();
        order.sort_by_key(|value| writer[*value]);
        // When each array is free, and whether it holds a batch.
        let mut arrays: Vec<(usize, bool)> = Vec::new();
        let mut values = vec![Slot { array: 0, size: 0, is_batched: true }; sizes.len()];
        for value in order {
            let (is_batched, written) = (is_batched[value], writer[value]);
            // While images go one by one, what one leaves for the batch must outlast the others.
            let can_share = |&(free, holds_batch): &(usize, bool)| {
                free < written && holds_batch == is_batched && (!is_batched || written > batched_from)
            };
            let array = arrays.iter().position(can_share).unwrap_or_else(|| {
                arrays.push((0, is_batched));
                arrays.len() - 1
            });
            arrays[array].0 = last_use[value];
            values[value] = Slot { array, size: sizes[value], is_batched };
        }
        Self { layers, batched_from, workspace: arrays.len(), values, work, input: 0, result: output }
    }
}
