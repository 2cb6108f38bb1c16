//! Layers whose values lie plane by plane, `[channels, height, width]`: the columns of a patch matrix share vectors.

use super::super::reduce;
use super::super::simd::vectorised;
use super::conv::{self, Conv, Places};
use super::group::GroupNorm;
use super::team::{Access, Member};

pub(super) enum Operation {
    Conv(Box<Conv>),
    /// `x * slope + offset`, then ReLU.
    Norm(Vec<[f32; 2]>),
    GroupNorm(GroupNorm),
    /// The sum of two values, then ReLU if asked.
    Sum(bool),
    /// The mean over height and width.
    Mean,
}

impl Operation {
    /// For `count` images of so many channels, and values of each; `arrays` are those of the inputs, the output and the workspace.
    pub(super) fn run(
        &self,
        member: &Member,
        (inputs, output, workspace): (&[usize], usize, usize),
        count: usize,
        shape: [usize; 2],
    ) {
        let (input, other) = (inputs[0], inputs.get(1).copied());
        match self {
            Self::Conv(conv) => conv.run(member, &Places { input, shortcut: other, output, workspace }, count),
            Self::Norm(lines) => norm(member, lines, [input, output], count, shape),
            Self::GroupNorm(norm) => norm.run(member, [input, output], count),
            Self::Sum(relu) => sum(member, [input, other.unwrap_or(input)], output, *relu, (count, shape)),
            Self::Mean => mean(member, [input, output], count, shape),
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
