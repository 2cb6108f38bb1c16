//! What a compiled network computes, step by step, and where its values are.

use super::super::size::product;
use super::dense::Dense;
use super::layers::{self, Place};
use super::team::Member;

/// The layers of a network in order.
pub(super) struct Program {
    pub(super) layers: Vec<Layer>,
    /// The first is that of the images.
    pub(super) values: Vec<Slot>,
    /// Multiply-adds for an image.
    pub(super) work: u64,
    /// The value of the logits.
    pub(super) result: usize,
}

pub(super) struct Layer {
    pub(super) inputs: Vec<usize>,
    pub(super) output: usize,
    pub(super) operation: Operation,
}

pub(super) enum Operation {
    /// Image by image, together with its neighbours of this kind, so that what lies between them stays in a cache.
    Blocks(layers::Operation),
    /// For all images of a batch.
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

impl Layer {
    fn is_in_blocks(&self) -> bool {
        matches!(self.operation, Operation::Blocks(_))
    }
}

impl Program {
    pub(super) fn run(&self, member: &Member, count: usize) {
        for layers in self.layers.chunk_by(|left, right| left.is_in_blocks() && right.is_in_blocks()) {
            if let [Layer { inputs, output, operation: Operation::Dense(dense) }] = layers {
                dense.run(member, [inputs[0], *output].map(|value| self.values[value].array), count);
                continue;
            }
            for image in 0..count {
                let place = |value: usize| {
                    let Slot { array, size, is_batched } = self.values[value];
                    Place { array, from: if is_batched { image * size } else { 0 } }
                };
                for layer in layers {
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
        }
    }

    /// Logits of an image.
    pub(super) fn outputs(&self) -> usize {
        self.values[self.result].size
    }

    /// Steps that `count` images take at most.
    pub(super) fn steps(&self, count: usize) -> usize {
        self.layers.len() * count
    }

    /// Values of each array, for a batch of `room` images.
    pub(super) fn arrays(&self, room: usize) -> Vec<usize> {
        let mut lengths = vec![0; self.values.iter().map(|slot| slot.array + 1).max().unwrap_or(0)];
        for slot in &self.values {
            let size = if slot.is_batched { product(&[room, slot.size]) } else { slot.size };
            lengths[slot.array] = lengths[slot.array].max(size);
        }
        lengths
    }

    /// Of layers whose values have these sizes: gives each value the first array that nobody reads any more.
    pub(super) fn new(layers: Vec<Layer>, sizes: &[usize], output: usize, work: u64) -> Self {
        // Of each value, the layer that writes it and the last one that reads it, counted from 1.
        let (mut writer, mut last_use) = (vec![0; sizes.len()], vec![0; sizes.len()]);
        let mut is_batched = vec![false; sizes.len()];
        is_batched[0] = true;
        is_batched[output] = true;
        // Of each layer, the first of those that go through an image together with it.
        let mut starts: Vec<usize> = Vec::new();
        for (index, layer) in layers.iter().enumerate() {
            let is_together = index > 0 && layers[index - 1].is_in_blocks() && layer.is_in_blocks();
            let start = if is_together { starts[index - 1] } else { index };
            starts.push(start);
            writer[layer.output] = index + 1;
            last_use[layer.output] = index + 1;
            is_batched[layer.output] |= !layer.is_in_blocks();
            for input in &layer.inputs {
                last_use[*input] = index + 1;
                is_batched[*input] |= writer[*input] <= start;
            }
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
                free < written && holds_batch == is_batched && (!is_batched || free <= starts[written - 1])
            };
            let array = arrays.iter().position(can_share).unwrap_or_else(|| {
                arrays.push((0, is_batched));
                arrays.len() - 1
            });
            arrays[array].0 = last_use[value];
            values[value] = Slot { array, size: sizes[value], is_batched };
        }
        Self { layers, values, work, result: output }
    }
}
