//! Compiled networks against the kernels of the same layers one by one, alone and together.

use super::super::conv;
use super::super::linear;
use super::super::tests::{assert_close, random};
use super::team::{self, Access, Member};
use super::*;

/// A convolution with weights that depend on `seed`, `[out, in, k]`.
fn layer([out, channels, kernel]: [usize; 3], stride: usize, padding: usize, relu: bool, pool: bool) -> ConvLayer {
    let weight = random(out * channels * kernel * kernel, (out + kernel) as u64);
    let weight = weight.into_iter().map(|value| value / (channels * kernel) as f32).collect();
    ConvLayer { weight, shape: [out, channels, kernel, kernel], bias: random(out, 5), stride, padding, relu, pool }
}

/// The logits of each image, which must be the same to the last bit alone, among others, on this thread and on several.
fn logits(network: &Compiled, images: &[f32]) -> Vec<f32> {
    let size = network.program.values[0].size;
    let fill = |images: &[f32], first: usize, values: &mut [f32]| {
        values.copy_from_slice(&images[first * size..][..values.len()]);
    };
    let run =
        |images: &[f32], batch| network.run(images.len() / size, batch, &|first, values| fill(images, first, values));
    let all = run(images, 32);
    for batch in [1, 2, 7] {
        assert!(run(images, batch) == all, "in batches of {batch}");
    }
    let one_by_one = images.chunks_exact(size).flat_map(|image| run(image, 32)).collect::<Vec<_>>();
    assert!(one_by_one == all, "one by one, {} threads", rayon::current_num_threads());
    for helpers in [1, 3] {
        let mut together = vec![0.0; all.len()];
        network.run_together(helpers, &mut together, &|first, values| fill(images, first, values));
        assert!(together == all, "with {helpers} helpers");
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("a pool");
    assert!(pool.install(|| run(images, 32)) == all, "on three threads");
    all
}

/// Compiles for few and for many threads, and compares the logits.
fn assert_gives(describe: impl Fn() -> (Compiler, Value), images: &[f32], expected: &[f32], what: &str) {
    for threads in [1, 2, 5] {
        let (compiler, value) = describe();
        let network = compiler.finish_for(value, threads);
        assert_close(&logits(&network, images), expected, &format!("{what}, {threads} threads"));
    }
}

fn convolved(input: &[f32], shape: [usize; 4], layer: &ConvLayer) -> (Vec<f32>, [usize; 4]) {
    let epilogue = Epilogue { relu: layer.relu, pool: layer.pool };
    let geometry = ConvGeometry::new(shape, layer.shape, layer.stride, layer.padding, epilogue);
    (conv::forward(&geometry, input, &layer.weight, &layer.bias).output, geometry.output())
}

#[test]
fn plain_networks_give_what_their_layers_give() {
    // Tiles, in one band and in several, slices with and without stride, the patch matrix, one pixel, all with odd sizes.
    let cases: [(usize, [usize; 3], Vec<ConvLayer>); 9] = [
        (5, [1, 13, 11], vec![layer([25, 1, 5], 1, 2, true, true), layer([30, 25, 3], 1, 0, true, true)]),
        (2, [24, 35, 33], vec![layer([27, 24, 3], 1, 1, true, false), layer([24, 27, 3], 1, 2, true, true)]),
        (5, [3, 15, 14], vec![layer([7, 3, 3], 2, 1, true, false), layer([9, 7, 1], 2, 0, false, false)]),
        (5, [9, 6, 7], vec![layer([12, 9, 1], 1, 0, true, true), layer([5, 12, 2], 3, 0, true, false)]),
        (2, [1, 1, 1], vec![layer([33, 1, 1], 1, 0, true, false), layer([26, 33, 3], 1, 1, true, false)]),
        (4, [40, 4, 4], vec![layer([41, 40, 3], 1, 1, true, true), layer([8, 41, 5], 2, 3, true, false)]),
        // Channels that fill one, two and three blocks, tiles and patches with more zeros around them than they look at.
        (3, [1, 9, 7], vec![layer([24, 1, 3], 1, 1, true, true), layer([16, 24, 3], 1, 2, true, false)]),
        (3, [3, 8, 5], vec![layer([17, 3, 1], 1, 2, false, false), layer([40, 17, 3], 1, 0, true, true)]),
        (2, [13, 5, 5], vec![layer([13, 13, 3], 1, 1, false, false), layer([3, 13, 5], 5, 0, false, false)]),
    ];
    for (batch, [channels, height, width], layers) in &cases {
        let (batch, size) = (*batch, [*channels, *height, *width]);
        let images = random(batch * channels * height * width, 7);
        let (mut values, mut shape) = (images.clone(), [batch, *channels, *height, *width]);
        for layer in layers {
            (values, shape) = convolved(&values, shape, layer);
        }
        let inputs = values.len() / batch;
        let dense = [[inputs, 130], [130, 3]].map(|[inputs, outputs]| {
            let weight = random(inputs * outputs, 8).into_iter().map(|value| value / inputs as f32).collect::<Vec<_>>();
            (inputs, weight, random(outputs, 9), outputs == 130)
        });
        for (inputs, weight, bias, relu) in &dense {
            let geometry = linear::Geometry::new([batch, *inputs], [*inputs, bias.len()], *relu);
            values = linear::forward(&geometry, &values, weight, bias);
        }
        let describe = || {
            let (mut compiler, mut value) = Compiler::new(size);
            for layer in layers {
                value = compiler.conv(value, layer.clone(), None);
            }
            for (_, weight, bias, relu) in &dense {
                value = compiler.linear(value, weight, bias.clone(), *relu);
            }
            (compiler, value)
        };
        assert_gives(describe, &images, &values, &format!("{shape:?}"));
    }
}

#[test]
fn residual_networks_give_what_their_layers_give() {
    // A projected and a plain shortcut, with and without ReLU after the sum; between few and between many channels.
    for [channels, wide] in [[4, 6], [24, 32]] {
        let (batch, size) = (5, 9);
        let images = random(batch * channels * size * size, 11);
        let shape = [batch, channels, size, size];
        let add = |left: &[f32], right: &[f32], relu: bool| -> Vec<f32> {
            left.iter().zip(right).map(|(a, b)| if relu { (a + b).max(0.0) } else { a + b }).collect()
        };
        let lines: Vec<[f32; 2]> = (0..channels).map(|c| [0.5 + c as f32 * 0.1, 0.1 - c as f32 * 0.02]).collect();
        let mut normed = images.clone();
        for (i, plane) in normed.chunks_exact_mut(size * size).enumerate() {
            let [slope, offset] = lines[i % channels];
            plane.iter_mut().for_each(|value| *value = (*value * slope + offset).max(0.0));
        }
        let bare = || layer([channels, channels, 3], 1, 1, false, false);
        let (first, _) = convolved(&normed, shape, &bare());
        let first = add(&first, &images, false);
        let projection = || layer([wide, channels, 1], 2, 0, false, false);
        let strided = || layer([wide, channels, 3], 2, 1, true, false);
        let closing = |relu| layer([wide, wide, 3], 1, 1, relu, false);
        let (shortcut, _) = convolved(&first, shape, &projection());
        let (second, shape) = convolved(&first, shape, &strided());
        let (second, shape) = convolved(&second, shape, &closing(false));
        let values = add(&second, &shortcut, true);
        let plane = shape[2] * shape[3];
        let means = values.chunks_exact(plane).map(|plane| plane.iter().sum::<f32>() / plane.len() as f32);
        let means = means.collect::<Vec<_>>();
        let describe = || {
            let (mut compiler, input) = Compiler::new([channels, size, size]);
            let active = compiler.norm_relu(input, lines.clone());
            let mid = compiler.conv(active, bare(), Some(input));
            let by_shortcut = compiler.conv(mid, projection(), None);
            let value = compiler.conv(mid, strided(), None);
            let value = compiler.conv(value, closing(true), Some(by_shortcut));
            (compiler, value)
        };
        assert_gives(describe, &images, &values, "values");
        let mean = || {
            let (mut compiler, value) = describe();
            let value = compiler.mean(value);
            (compiler, value)
        };
        assert_gives(mean, &images, &means, "means");
    }
}

#[test]
fn a_sum_is_that_of_its_values() {
    let (batch, shape) = (3, [5, 3, 7]);
    let images = random(batch * 105, 3);
    for relu in [false, true] {
        let describe = || {
            let (mut compiler, input) = Compiler::new(shape);
            let active = compiler.norm_relu(input, vec![[0.5, -0.1]; 5]);
            let value = compiler.sum(active, input, relu);
            (compiler, value)
        };
        let sum = |x: &f32| (x * 0.5 - 0.1).max(0.0) + x;
        let expected = images.iter().map(|x| if relu { sum(x).max(0.0) } else { sum(x) }).collect::<Vec<_>>();
        assert_gives(describe, &images, &expected, "sum");
    }
}

/// The sums of a fully connected layer without bias, of each image.
fn connected(input: &[f32], batch: usize, weight: &[f32]) -> Vec<f32> {
    let (inputs, outputs) = (input.len() / batch, weight.len() * batch / input.len());
    let geometry = linear::Geometry::new([batch, inputs], [inputs, outputs], false);
    linear::forward(&geometry, input, weight, &vec![0.0; outputs])
}

#[test]
fn a_convolution_can_follow_a_fully_connected_layer() {
    let (batch, images) = (6, random(6 * 6, 3));
    let [into, out] = [random(6 * 20, 4), random(3 * 9 * 4, 5)];
    let after = layer([3, 20, 3], 1, 2, true, false);
    let describe = || {
        let (mut compiler, input) = Compiler::new([3, 2, 1]);
        let value = compiler.linear(input, &into, vec![0.0; 20], false);
        let value = compiler.conv(value, after.clone(), None);
        let value = compiler.linear(value, &out, vec![0.0; 4], false);
        (compiler, value)
    };
    let (values, _) = convolved(&connected(&images, batch, &into), [batch, 20, 1, 1], &after);
    assert_gives(describe, &images, &connected(&values, batch, &out), "between fully connected layers");
    let conv_is_last = || {
        let (mut compiler, input) = Compiler::new([3, 2, 1]);
        let value = compiler.linear(input, &into, vec![0.0; 20], false);
        let value = compiler.conv(value, after.clone(), None);
        (compiler, value)
    };
    assert_gives(conv_is_last, &images, &values, "after a fully connected layer");
}

#[test]
fn several_layers_can_read_a_value() {
    // A value that a convolution, a sum and a fully connected layer read.
    let (batch, shape) = (5, [5, 6, 7, 7]);
    let images = random(shape.iter().product(), 13);
    let [first, second] = [layer([9, 6, 3], 1, 1, true, false), layer([9, 9, 5], 1, 2, false, false)];
    let weight = random(9 * 49 * 3, 14).into_iter().map(|value| value / 100.0).collect::<Vec<_>>();
    let describe = |conv_is_last: bool| {
        let (mut compiler, input) = Compiler::new([6, 7, 7]);
        let value = compiler.conv(input, first.clone(), None);
        let convolved = compiler.conv(value, second.clone(), Some(value));
        let logits = compiler.linear(value, &weight, vec![0.0; 3], false);
        (compiler, if conv_is_last { convolved } else { logits })
    };
    let (values, shape) = convolved(&images, shape, &first);
    assert_gives(|| describe(false), &images, &connected(&values, batch, &weight), "fully connected");
    let (sums, _) = convolved(&values, shape, &second);
    let sums = sums.iter().zip(&values).map(|(a, b)| a + b).collect::<Vec<_>>();
    assert_gives(|| describe(true), &images, &sums, "convolved");
    // The images themselves, and one of the values in front as logits.
    let of_images = || {
        let (mut compiler, input) = Compiler::new([6, 7, 7]);
        let value = compiler.conv(input, first.clone(), None);
        let _ = compiler.conv(value, second.clone(), None);
        (compiler, value)
    };
    assert_gives(of_images, &images, &values, "in front");
    assert_gives(|| Compiler::new([6, 7, 7]), &images, &images, "images");
    let weight = &weight[..6 * 49];
    let beside = || {
        let (mut compiler, input) = Compiler::new([6, 7, 7]);
        let _ = compiler.conv(input, first.clone(), None);
        let value = compiler.linear(input, weight, vec![0.0], false);
        (compiler, value)
    };
    assert_gives(beside, &images, &connected(&images, batch, weight), "beside a convolution");
}

#[test]
fn a_nan_stays_one() {
    for has_group_norm in [false, true] {
        let (mut compiler, input) = Compiler::new([1, 6, 6]);
        let mut value = compiler.conv(input, layer([16, 1, 3], 1, 1, true, false), None);
        if has_group_norm {
            let channels = vec![[1.0, 0.5]; 16];
            let layer = GroupNormLayer { groups: 4, epsilon: 1e-5, channels, relu: true, pool: true };
            value = compiler.group_norm(value, layer);
        }
        let value = compiler.conv(value, layer([16, 16, 3], 1, 1, true, true), None);
        let value = compiler.mean(value);
        let mut image = vec![0.0; 36];
        image[14] = f32::NAN;
        let network = compiler.finish_for(value, 2);
        let logits = network.run(1, 1, &|_, values| values.copy_from_slice(&image));
        assert!(logits.iter().all(|value| value.is_nan()), "group norm: {has_group_norm}: {logits:?}");
    }
}

/// The group norm of images `[batch, channels, height, width]`, in double precision.
fn group_normed(images: &[f32], [_, channels, height, width]: [usize; 4], layer: &GroupNormLayer) -> Vec<f32> {
    let (plane, of_each) = (height * width, channels / layer.groups);
    let mut values = Vec::new();
    for (index, group) in images.chunks_exact(of_each * plane).enumerate() {
        let length = group.len() as f64;
        let mean = group.iter().map(|&x| f64::from(x)).sum::<f64>() / length;
        let variance = group.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / length;
        values.extend(group.iter().enumerate().map(|(place, &x)| {
            let [scale, shift] = layer.channels[index % layer.groups * of_each + place / plane].map(f64::from);
            let value = (f64::from(x) - mean) / (variance + layer.epsilon).sqrt() * scale + shift;
            if layer.relu { value.max(0.0) as f32 } else { value as f32 }
        }));
    }
    if !layer.pool {
        return values;
    }
    let of = |plane: &[f32], y: usize, x: usize| {
        let corners = [(0, 0), (0, 1), (1, 0), (1, 1)].into_iter();
        corners.map(|(down, right)| plane[(2 * y + down) * width + 2 * x + right]).fold(f32::MIN, f32::max)
    };
    let (high, wide) = (height / 2, width / 2);
    let pooled = |plane: &[f32]| (0..high * wide).map(|i| of(plane, i / wide, i % wide)).collect::<Vec<_>>();
    values.chunks_exact(plane).flat_map(pooled).collect()
}

/// A group norm whose channels all differ.
fn groups_of(channels: usize, groups: usize, relu: bool, pool: bool) -> GroupNormLayer {
    let channels = (0..channels).map(|c| [0.7 - c as f32 * 0.1, 0.2 - c as f32 * 0.05]).collect();
    GroupNormLayer { groups, epsilon: 1e-5, channels, relu, pool }
}

#[test]
fn a_group_norm_is_that_of_each_image_and_group() {
    // Groups that blocks cut and that cut blocks, of whole blocks, of one channel and of all; planes of odd sizes and of one pixel.
    for (shape, all_groups) in [
        ([3, 6, 5, 7], vec![1, 2, 3, 6]),
        ([5, 24, 7, 9], vec![1, 2, 3, 6, 8]),
        ([2, 5, 3, 2], vec![5]),
        ([2, 40, 2, 2], vec![1, 5, 8, 20]),
        ([3, 35, 13, 10], vec![5, 7, 35]),
        ([2, 64, 4, 5], vec![1, 2, 4, 8, 32]),
        ([4, 20, 1, 1], vec![1, 4, 10]),
    ] {
        let [_, channels, height, width] = shape;
        let images = random(shape.iter().product(), 21).into_iter().map(|x| 3.0 * x + 5.0).collect::<Vec<_>>();
        let pools = if height.min(width) > 1 { &[false, true][..] } else { &[false] };
        let kinds = pools.iter().flat_map(|pool| [(false, *pool), (true, *pool)]);
        for (groups, (relu, pool)) in all_groups.iter().flat_map(|groups| kinds.clone().map(|kind| (*groups, kind))) {
            let layer = || groups_of(channels, groups, relu, pool);
            let describe = || {
                let (mut compiler, input) = Compiler::new([channels, height, width]);
                let value = compiler.group_norm(input, layer());
                (compiler, value)
            };
            let what = format!("{groups} groups of {shape:?}, relu: {relu}, pool: {pool}");
            assert_gives(describe, &images, &group_normed(&images, shape, &layer()), &what);
        }
    }
}

#[test]
fn group_norms_lie_between_other_layers() {
    // What a convolution reads has zeros around it, a fully connected layer what fills up the last block; and a sum is normed.
    let (batch, shape) = (4, [4, 3, 11, 9]);
    let images = random(shape.iter().product(), 31);
    let [stem, closing] = [layer([24, 3, 3], 1, 1, false, false), layer([24, 24, 5], 1, 2, false, false)];
    let norms = || [groups_of(24, 6, true, true), groups_of(24, 3, false, false), groups_of(24, 8, true, true)];
    let weight = random(24 * 4 * 3, 32).into_iter().map(|value| value / 30.0).collect::<Vec<_>>();
    let describe = || {
        let (mut compiler, input) = Compiler::new([3, 11, 9]);
        let [first, second, third] = norms();
        let value = compiler.conv(input, stem.clone(), None);
        let active = compiler.group_norm(value, first);
        let value = compiler.conv(active, closing.clone(), None);
        let value = compiler.group_norm(value, second);
        let value = compiler.sum(value, active, false);
        let value = compiler.group_norm(value, third);
        let value = compiler.linear(value, &weight, vec![0.0; 3], false);
        (compiler, value)
    };
    let [first, second, third] = norms();
    let (values, shape) = convolved(&images, shape, &stem);
    let active = group_normed(&values, shape, &first);
    let (values, shape) = convolved(&active, [batch, 24, shape[2] / 2, shape[3] / 2], &closing);
    let values = group_normed(&values, shape, &second);
    let sums = values.iter().zip(&active).map(|(a, b)| a + b).collect::<Vec<_>>();
    let values = group_normed(&sums, shape, &third);
    assert_gives(describe, &images, &connected(&values, batch, &weight), "group norms");
}

#[test]
fn a_group_norm_of_values_far_from_zero_is_as_exact_as_they_are() {
    let shape = [1, 24, 20, 20];
    let images = random(shape.iter().product(), 41).into_iter().map(|x| 1000.0 + x).collect::<Vec<_>>();
    let (mut compiler, input) = Compiler::new([24, 20, 20]);
    let value = compiler.group_norm(input, groups_of(24, 6, false, false));
    let expected = group_normed(&images, shape, &groups_of(24, 6, false, false));
    let found = compiler.finish(value).run(1, 1, &|_, values| values.copy_from_slice(&images));
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-3, "{found} is not {expected}");
    }
}

#[test]
fn a_panic_of_any_part_reaches_whoever_asked() {
    for part_that_panics in 0..8 {
        let answer = std::panic::catch_unwind(|| {
            let program = move |member: &Member| {
                member.step(Access { reads: [0], writes: 1, range: 0..64, chunk: 8 }, |part, [input], output| {
                    assert!(part != part_that_panics, "as it should");
                    output.copy_from_slice(&input[part * 8..][..8]);
                });
            };
            team::together(Memory::new(&[64, 64]), 1, 2, program, |_| (), 1)
        });
        assert!(answer.is_err(), "part {part_that_panics}");
    }
}

#[test]
fn the_parts_of_a_grid_are_all_of_it_once() {
    use super::team::Grid;
    let grid = Grid { start: 3, blocks: 5, block: 11, group: 2, first: 4, chunk: 3, bands: 4 };
    let mut memory = Memory::new(&[64, 64]);
    team::alone(&mut memory, |member| {
        member.step_of_blocks([0], 1, grid, |part, _, pieces| {
            assert!(pieces.len() == if part / 4 == 2 { 1 } else { 2 });
            let length = [4, 3, 3, 1][part % 4];
            for piece in pieces {
                assert!(piece.len() == length, "part {part}: {}", piece.len());
                piece.iter_mut().for_each(|value| *value += 1.0);
            }
        });
    });
    let written = |at: usize| if (3..58).contains(&at) { 1.0 } else { 0.0 };
    assert!(memory.array(1).iter().enumerate().all(|(at, value)| *value == written(at)));
    for bad in [
        Grid { start: 10, ..grid },
        Grid { first: 6, ..grid },
        Grid { group: 0, ..grid },
        Grid { blocks: usize::MAX, ..grid },
    ] {
        let run = || team::alone(&mut memory, |member| member.step_of_blocks([0], 1, bad, |_, _, _| ()));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err(), "{bad:?}");
    }
}

#[test]
fn a_step_that_reads_what_it_writes_is_refused() {
    let mut memory = Memory::new(&[8, 8]);
    for access in [
        Access { reads: [1], writes: 1, range: 0..8, chunk: 8 },
        Access { reads: [0], writes: 1, range: 0..9, chunk: 8 },
        Access { reads: [0], writes: 1, range: std::ops::Range { start: 5, end: 4 }, chunk: 8 },
    ] {
        let run = std::panic::AssertUnwindSafe(|| team::alone(&mut memory, |member| member.step(access, |_, _, _| ())));
        assert!(std::panic::catch_unwind(run).is_err());
    }
}
