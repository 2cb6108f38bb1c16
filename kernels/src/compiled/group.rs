//! Group norm: the channels of an image in groups, each by its own mean and variance.

use super::super::norm::group::{Standing, assert_divides};
use super::super::pool::{Epilogue, maximum};
use super::super::simd::vectorised;
use super::super::size::{assert_length, product};
use super::team::{Access, Member};

/// A group norm and what follows it.
pub struct GroupNormLayer {
    /// Groups of neighbouring channels; they divide the channels.
    pub groups: usize,
    /// What is added to the variance.
    pub epsilon: f64,
    /// `[scale, shift]` of each channel, after the norm.
    pub channels: Vec<[f32; 2]>,
    /// Whether negative values become 0.
    pub relu: bool,
    /// Whether a 2x2 max-pool follows.
    pub pool: bool,
}

pub(super) struct GroupNorm {
    layer: GroupNormLayer,
    /// Height and width of the input's planes.
    size: [usize; 2],
}

impl GroupNorm {
    /// # Panics
    /// If the layer does not fit images of this shape, `[channels, height, width]`.
    pub(super) fn new(layer: GroupNormLayer, [channels, height, width]: [usize; 3]) -> Self {
        assert_length("group norm", &layer.channels, channels);
        assert_divides(layer.groups, channels);
        let size = [height, width];
        assert!(height > 0 && width > 0, "group norm: planes of {size:?}");
        Epilogue { relu: layer.relu, pool: layer.pool }.assert_fits(size);
        Self { layer, size }
    }

    /// The shape of its output.
    pub(super) fn output(&self) -> [usize; 3] {
        let [height, width] = Epilogue { relu: self.layer.relu, pool: self.layer.pool }.output(self.size);
        [self.layer.channels.len(), height, width]
    }

    /// Computes `count` images, group by group.
    pub(super) fn run(&self, member: &Member, [input, output]: [usize; 2], count: usize) {
        let GroupNormLayer { groups, ref channels, .. } = self.layer;
        let of_each = channels.len() / groups;
        let [group, chunk] = [product(&self.size), product(&self.output()[1..])].map(|plane| of_each * plane);
        let access = Access { reads: [input], writes: output, range: 0..count * groups * chunk, chunk };
        member.step(access, |part, [input], output| {
            let channels = &channels[part % groups * of_each..][..of_each];
            vectorised(
                #[inline(always)]
                || self.group(&input[part * group..][..group], channels, output),
            );
        });
    }

    /// One group of one image: `(x - mean) / sqrt(variance + epsilon) * scale + shift`, and what follows.
    #[inline(always)]
    fn group(&self, input: &[f32], channels: &[[f32; 2]], output: &mut [f32]) {
        let [plane, wide] = [input, &*output].map(|values| values.len() / channels.len());
        let Standing { mean, inverse } = Standing::of(input, self.layer.epsilon);
        let planes = input.chunks_exact(plane).zip(output.chunks_exact_mut(wide));
        for ((input, output), [scale, shift]) in planes.zip(channels) {
            let slope = inverse * scale;
            self.plane(input, |value| (value - mean) * slope + shift, output);
        }
    }

    #[inline(always)]
    fn plane(&self, input: &[f32], normalised: impl Fn(f32) -> f32, output: &mut [f32]) {
        let GroupNormLayer { relu, pool, .. } = self.layer;
        let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
        if !pool {
            for (output, input) in output.iter_mut().zip(input) {
                let value = normalised(*input);
                // A NaN passes, so that a broken run shows.
                *output = if value <= floor { floor } else { value };
            }
            return;
        }
        let [_, width] = self.size;
        let rows = input.chunks_exact(2 * width).zip(output.chunks_exact_mut(width / 2));
        for (rows, output) in rows {
            let (top, bottom) = rows.split_at(width);
            let pairs = top.chunks_exact(2).zip(bottom.chunks_exact(2));
            for (output, (top, bottom)) in output.iter_mut().zip(pairs) {
                let window = [top, bottom].map(|pair| [normalised(pair[0]), normalised(pair[1])]);
                *output = maximum(window, 0.0, relu).0;
            }
        }
    }
}
