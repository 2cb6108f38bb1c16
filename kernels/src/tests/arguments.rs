//! Arguments of every kind: sizes that wrap, that are 0 or odd, and slices of other lengths.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use rayon::prelude::*;

use super::super::fill::{filled, filled_beside, filled_pair, with_scratch};
use super::super::gemm::{Matrix, Output, Threads, multiply, multiply_tiled};
use super::super::geometry::ConvGeometry;
use super::super::pool::Epilogue;
use super::super::{conv, dropout, linear, loss, norm, sum, update};
use super::{assert_close, random};

/// How the messages of refusals go on after the name of what is wrong.
const REASONS: [&str; 10] = [
    "must have",
    "must be at least 1",
    "must be in",
    "larger than memory can be",
    "larger than the padded input",
    "do not fit the input",
    "at least 2x2",
    "does not fit",
    "no class",
    "at least one target",
];

/// The result, or the message of the panic, which must be one of ours: neither an index out of bounds nor an overflow.
#[track_caller]
fn answer<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = text.or_else(|| panic.downcast_ref::<String>().cloned()).expect("a message");
        assert!(REASONS.iter().any(|reason| message.contains(reason)), "no refusal, but: {message}");
        message
    })
}

#[track_caller]
fn assert_refused<T>(what: &str, work: impl FnOnce() -> T) {
    match answer(work) {
        Ok(_) => panic!("{what}: accepted"),
        Err(message) => assert!(message.contains(what), "refused for another reason than `{what}`: {message}"),
    }
}

/// Small sizes, and sizes whose sums and products wrap.
fn any_size() -> impl Strategy<Value = usize> {
    let large = [1 << 31, 1 << 32, 1 << 61, usize::MAX / 4 + 1, usize::MAX / 2, usize::MAX / 2 + 1, usize::MAX];
    prop_oneof![7 => 0usize..7, 1 => prop::sample::select(large.to_vec())]
}

fn any_epilogue() -> impl Strategy<Value = Epilogue> {
    any::<(bool, bool)>().prop_map(|(relu, pool)| Epilogue { relu, pool })
}

/// The product of sizes, if a test can have that many values.
fn affordable(sizes: &[usize]) -> Option<usize> {
    sizes.iter().try_fold(1, |product: usize, size| product.checked_mul(*size)).filter(|product| *product < 1 << 16)
}

fn dot(left: &[f32], right: &[f32]) -> f64 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(left, right)| f64::from(*left) * f64::from(*right)).sum()
}

#[track_caller]
fn assert_same(actual: f64, expected: f64, what: &str) {
    assert!((actual - expected).abs() <= 1e-3 * (1.0 + expected.abs()), "{what}: {actual} is not {expected}");
}

/// Runs a convolution forward and backward on memory of exactly the right lengths. Without a bias, the output is a
/// homogeneous function of the input and of the weights, so by Euler's theorem both gradients are known along them.
fn run_convolution(geometry: &ConvGeometry, [images, inputs, weights, channels_out]: [usize; 4]) {
    let (input, weight, bias) = (random(images * inputs, 1), random(weights, 2), vec![0.0; channels_out]);
    let forward = conv::forward(geometry, &input, &weight, &bias);
    assert_eq!(forward.output.len(), geometry.output().iter().product::<usize>());
    let gradient = random(forward.output.len(), 3);
    let saved = conv::Saved { input: &input, weight: &weight, output: &forward.output, indices: &forward.indices };
    for (input_needed, parameters_needed) in [(true, true), (true, false), (false, true), (false, false)] {
        let needs = conv::NeedsGradient { input: input_needed, parameters: parameters_needed };
        let gradients = conv::backward(geometry, saved, &gradient, needs);
        let expected = dot(&gradient, &forward.output);
        assert_eq!(gradients.input.len(), if input_needed { input.len() } else { 0 });
        if input_needed {
            assert_same(dot(&gradients.input, &input), expected, "along the input");
        }
        assert_eq!(gradients.bias.len(), if parameters_needed { channels_out } else { 0 });
        if parameters_needed {
            assert_same(dot(&gradients.weight, &weight), expected, "along the weights");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_convolution_of_any_sizes_is_computed_or_refused(
        input in prop::array::uniform4(any_size()), out in any_size(), kernel in any_size(), stride in any_size(),
        padding in any_size(), epilogue in any_epilogue(), others in prop::option::weighted(0.1, any::<(u8, u8)>()),
    ) {
        let [batch, channels, height, width] = input;
        let (weight_channels, kernel_width) =
            others.map_or((channels, kernel), |(channels, width)| (channels.into(), width.into()));
        let weight = [out, weight_channels, kernel, kernel_width];
        let Ok(geometry) = answer(|| ConvGeometry::new(input, weight, stride, padding, epilogue)) else { return Ok(()) };
        prop_assert!(geometry.output()[1..].iter().all(|size| *size > 0));
        let sizes = (affordable(&input), affordable(&[channels, height, width]), affordable(&weight));
        let padded = [height, width].map(|size| size + 2 * padding);
        match (sizes, affordable(&[batch.max(1), channels.max(out), kernel * kernel, padded[0], padded[1]])) {
            ((Some(_), Some(image), Some(weights)), Some(_)) => run_convolution(&geometry, [batch, image, weights, out]),
            ((Some(0), _, _), _) => {}
            _ => assert_refused("must have", || conv::forward(&geometry, &[], &[], &[])),
        }
    }

    #[test]
    fn a_convolution_of_usual_sizes_is_computed(
        batch in 0usize..20, channels in 1usize..20, size in (1usize..10, 1usize..20), out in 1usize..20,
        kernel in 1usize..6, stride in 1usize..4, padding in 0usize..7, epilogue in any_epilogue(),
    ) {
        let (input, weight) = ([batch, channels, size.0, size.1], [out, channels, kernel, kernel]);
        if let Ok(geometry) = answer(|| ConvGeometry::new(input, weight, stride, padding, epilogue)) {
            run_convolution(&geometry, [batch, channels * size.0 * size.1, out * channels * kernel * kernel, out]);
        }
    }

    #[test]
    fn a_fully_connected_layer_of_any_sizes_is_computed_or_refused(
        batch in any_size(), inputs in any_size(), outputs in any_size(), relu: bool,
        rows in prop::option::weighted(0.1, any::<u8>()),
    ) {
        let weight = [rows.map_or(inputs, usize::from), outputs];
        let Ok(geometry) = answer(|| linear::Geometry::new([batch, inputs], weight, relu)) else { return Ok(()) };
        let sizes = [affordable(&[batch, inputs]), affordable(&weight), affordable(&[batch, outputs])];
        let [Some(inputs), Some(weights), Some(_)] = sizes else {
            assert_refused("must have", || linear::forward(&geometry, &[], &[], &[]));
            assert_refused("must have", || linear::input_gradient(&geometry, &[], &[]));
            if batch > 0 {
                assert_refused("must have", || linear::weight_gradient(&geometry, &[], &[]));
            }
            return Ok(());
        };
        let (x, w) = (random(inputs, 1), random(weights, 2));
        let y = linear::forward(&geometry, &x, &w, &vec![0.0; outputs]);
        let gradient = random(y.len(), 3);
        let linear::PreActivation { gradient: dz, bias } = linear::pre_activation_gradient(&geometry, &y, &gradient);
        assert_same(dot(&linear::input_gradient(&geometry, &w, &dz), &x), dot(&gradient, &y), "along the input");
        assert_same(dot(&linear::weight_gradient(&geometry, &x, &dz), &w), dot(&gradient, &y), "along the weights");
        prop_assert_eq!(bias.len(), outputs);
    }

    #[test]
    fn a_batch_norm_of_any_sizes_is_computed_or_refused(
        input in prop::array::uniform4(any_size()), epilogue in any_epilogue(),
    ) {
        let Ok(geometry) = answer(|| norm::Geometry::new(input, 1e-5, epilogue)) else { return Ok(()) };
        let Some(values) = affordable(&input) else {
            assert_refused("must have", || norm::batch::forward(&geometry, &[], &[], &[]));
            return Ok(());
        };
        let (input, gamma, beta) = (random(values, 1), random(input[1], 2), vec![0.0; input[1]]);
        let forward = norm::batch::forward(&geometry, &input, &gamma, &beta);
        let gradient = random(forward.output.len(), 3);
        let (mean, variance) = (&forward.mean, &forward.variance);
        let (output, indices) = (&forward.output, &forward.indices);
        let saved = norm::batch::Saved { input: &input, gamma: &gamma, beta: &beta, mean, variance, output: &[], indices };
        let gradients = norm::batch::backward(&geometry, saved, &gradient);
        prop_assert_eq!(gradients.input.len(), values);
        prop_assert_eq!(gradients.beta.len(), gamma.len());
        assert_same(dot(&gradients.gamma, &gamma), dot(&gradient, output), "along gamma");
    }

    #[test]
    fn a_group_norm_of_any_sizes_is_computed_or_refused(
        input in prop::array::uniform4(any_size()), groups in any_size(), epilogue in any_epilogue(),
    ) {
        let Ok(geometry) = answer(|| norm::Geometry::new(input, 1e-5, epilogue)) else { return Ok(()) };
        let Ok(groups) = answer(|| norm::group::Groups::new(groups, &geometry)) else { return Ok(()) };
        let Some(values) = affordable(&input) else {
            assert_refused("must have", || norm::group::forward(&geometry, groups, &[], &[], &[]));
            return Ok(());
        };
        let (input, gamma, beta) = (random(values, 1), random(input[1], 2), vec![0.0; input[1]]);
        let forward = norm::group::forward(&geometry, groups, &input, &gamma, &beta);
        let gradient = random(forward.output.len(), 3);
        let saved = norm::group::Saved { input: &input, gamma: &gamma, beta: &beta, indices: &forward.indices };
        let gradients = norm::group::backward(&geometry, groups, saved, &gradient);
        prop_assert_eq!(gradients.input.len(), values);
        prop_assert_eq!(gradients.beta.len(), gamma.len());
        assert_same(dot(&gradients.gamma, &gamma), dot(&gradient, &forward.output), "along gamma");
    }

    #[test]
    fn a_cross_entropy_of_any_sizes_is_computed_or_refused(
        logits in 0usize..50, classes in any_size(), targets in prop::collection::vec(any_size(), 0..5),
    ) {
        let length = affordable(&[targets.len(), classes]);
        if let Ok(result) = answer(|| loss::cross_entropy(&random(logits, 1), classes, &targets, 0.1)) {
            prop_assert_eq!(length, Some(logits));
            prop_assert!(result.loss.is_finite());
        }
        if let Some(length) = length {
            let _ = answer(|| loss::cross_entropy(&random(length, 1), classes, &targets, 0.1));
        }
    }

    // Exactly sized arrays of odd sizes: a kernel that reads or writes past an end is seen by a sanitizer.
    #[test]
    fn a_matrix_product_is_the_sum_of_products(
        rows in 0usize..40, depth in 0usize..40, columns in 0usize..40, transposed: [bool; 2], accumulate: bool, all: bool,
        tile in prop::array::uniform2(0usize..50),
    ) {
        let (a, b, before) = (random(rows * depth, 1), random(depth * columns, 2), random(rows * columns, 3));
        let matrix = |values, rows, columns, transposed| match transposed {
            true => Matrix::new(values, columns, rows).transposed(),
            false => Matrix::new(values, rows, columns),
        };
        let at = |row: usize, column: usize| -> f32 {
            (0..depth).map(|k| {
                let left = if transposed[0] { a[k * rows + row] } else { a[row * depth + k] };
                let right = if transposed[1] { b[column * depth + k] } else { b[k * columns + column] };
                left * right
            }).sum()
        };
        // What is overwritten is not read: NaN would show.
        let (mut result, output) = match accumulate {
            true => (before.clone(), Output::Accumulate),
            false => (vec![f32::NAN; before.len()], Output::Overwrite),
        };
        let threads = if all { Threads::All } else { Threads::This };
        let (left, right) = (matrix(&a, rows, depth, transposed[0]), matrix(&b, depth, columns, transposed[1]));
        multiply(left, right, &mut result, output, threads);
        let start = |i: usize| if accumulate { before[i] } else { 0.0 };
        let expected: Vec<f32> = (0..rows * columns).map(|i| start(i) + at(i / columns, i % columns)).collect();
        assert_close(&result, &expected, "product");
        let added = |column: usize, row: &mut [f32]| row.iter_mut().zip(column..).for_each(|(value, i)| *value += i as f32);
        let expected: Vec<f32> = (0..rows * columns).map(|i| at(i / columns, i % columns) + (i % columns) as f32).collect();
        assert_close(&multiply_tiled(left, right, tile, added), &expected, "product in tiles");
    }

    #[test]
    fn a_matrix_lies_in_its_slice(length in 0usize..20, rows in any_size(), columns in any_size(), other in any_size()) {
        let values = vec![0.0; length];
        let Ok(left) = answer(|| Matrix::new(&values, rows, columns)) else { return Ok(()) };
        prop_assert_eq!(rows.checked_mul(columns), Some(length));
        let Ok(right) = answer(|| Matrix::new(&values, columns, other)) else { return Ok(()) };
        let mut result = vec![0.0; 7];
        if answer(|| multiply(left, right, &mut result, Output::Overwrite, Threads::This)).is_ok() {
            prop_assert_eq!(rows.checked_mul(other), Some(7));
        }
    }

    #[test]
    fn arrays_are_filled_in_full(length in 0usize..300, chunk in 0usize..50) {
        let count = length.div_ceil(chunk.max(1));
        let expected: Vec<usize> = (0..length).map(|i| i / chunk.max(1)).collect();
        prop_assert_eq!(&filled(length, chunk, |i, part: &mut [usize]| part.fill(i)), &expected);
        let pair = filled_pair([length, chunk], [count * 3, 3], |i, part: &mut [usize], other: &mut [u8]| {
            assert!(part.iter().all(|value| *value == 0) && other.iter().all(|value| *value == 0), "cleared");
            part.fill(i);
            other.fill(1);
        });
        prop_assert_eq!(pair, (expected, vec![1; count * 3]));
    }
}

#[test]
fn sizes_whose_product_wraps_are_refused() {
    let (half, quarter) = (usize::MAX / 2 + 1, usize::MAX / 4 + 1);
    assert_refused("larger than memory", || Matrix::new(&[], half, 2));
    assert_refused("larger than memory", || Matrix::new(&[], quarter, 4).transposed());
    assert_refused("larger than memory", || linear::Geometry::new([half, 2], [2, 1], false));
    assert_refused("larger than memory", || linear::Geometry::new([1, half], [half, 2], false));
    let epilogue = Epilogue { relu: false, pool: false };
    assert_refused("larger than memory", || norm::Geometry::new([quarter, 2, 2, 1], 0.0, epilogue));
    assert_refused("larger than memory", || ConvGeometry::new([half, 1, 1, 2], [1, 1, 1, 1], 1, 0, epilogue));
    assert_refused("larger than memory", || ConvGeometry::new([1, 1, 1, 1], [1, 1, 1, 1], 1, half, epilogue));
    assert_refused("larger than memory", || ConvGeometry::new([1, 1, 1, 1], [1, 1, 1, 1], 1, quarter, epilogue));
    assert_refused("larger than memory", || loss::cross_entropy(&[], half, &[0, 0], 0.0));
    let room = |length: usize| catch_unwind(|| with_scratch([length], |[array]| array.len()));
    assert!(room(usize::MAX).is_err() && room(half).is_err());
    assert!(catch_unwind(|| filled(half, 1 << 40, |_, _: &mut [f32]| ())).is_err());
}

#[test]
fn a_max_pool_needs_a_window() {
    let epilogue = Epilogue { relu: true, pool: true };
    for size in [[1, 1], [1, 5], [5, 1]] {
        assert_refused("at least 2x2", || norm::Geometry::new([2, 3, size[0], size[1]], 1e-5, epilogue));
        assert_refused("at least 2x2", || {
            ConvGeometry::new([2, 3, size[0] + 2, size[1] + 2], [1, 3, 3, 3], 1, 0, epilogue)
        });
    }
}

/// Calls `run` with each of `slices` made one value shorter, one longer and empty: all of them must be refused.
#[track_caller]
fn assert_lengths_matter<const N: usize>(slices: [&[f32]; N], run: impl Fn([&[f32]; N])) {
    run(slices);
    for i in 0..N {
        let longer = [slices[i], &[0.0]].concat();
        for other in [&slices[i][1..], &longer, &[]] {
            let mut changed = slices;
            changed[i] = other;
            assert_refused("must have", || run(changed));
        }
    }
}

#[test]
fn slices_of_another_length_are_refused() {
    let (a, b, c) = (random(240, 1), random(108, 2), random(4, 3));
    for (relu, pool) in [(false, false), (true, false), (false, true), (true, true)] {
        let epilogue = Epilogue { relu, pool };
        let geometry = ConvGeometry::new([2, 3, 8, 5], [4, 3, 3, 3], 1, 0, epilogue);
        assert_lengths_matter([&a, &b, &c], |[input, weight, bias]| {
            conv::forward(&geometry, input, weight, bias);
        });
        let conv::Forward { output, indices } = conv::forward(&geometry, &a, &b, &c);
        let needs = conv::NeedsGradient { input: true, parameters: true };
        assert_lengths_matter([&a, &b, &output], |[input, weight, gradient]| {
            let saved = conv::Saved { input, weight, output: &output, indices: &indices };
            conv::backward(&geometry, saved, gradient, needs);
        });
        let (one, two) = if pool { (&output[..], &indices[1..]) } else { (&output[1..], &indices[..]) };
        if relu || pool {
            let saved = conv::Saved { input: &a, weight: &b, output: one, indices: two };
            assert_refused("must have", || conv::backward(&geometry, saved, &output, needs));
        }
        let geometry = norm::Geometry::new([5, 4, 4, 3], 1e-5, epilogue);
        assert_lengths_matter([&a, &c, &c], |[input, gamma, beta]| {
            norm::batch::forward(&geometry, input, gamma, beta);
        });
        let norm::batch::Forward { output, indices, mean, variance } = norm::batch::forward(&geometry, &a, &c, &c);
        assert_lengths_matter([&a, &c, &c, &mean, &variance, &output], |slices| {
            let [input, gamma, beta, mean, variance, gradient] = slices;
            let saved = norm::batch::Saved { input, gamma, beta, mean, variance, output: &[], indices: &indices };
            norm::batch::backward(&geometry, saved, gradient);
        });
        if pool {
            let saved = norm::batch::Saved {
                input: &a,
                gamma: &c,
                beta: &c,
                mean: &mean,
                variance: &variance,
                output: &[],
                indices: &indices[1..],
            };
            assert_refused("must have", || norm::batch::backward(&geometry, saved, &output));
            assert_refused("does not fit", || norm::batch::forward_sum(&geometry, &a, &a, &c, &c));
            continue;
        }
        assert_lengths_matter([&a, &a, &c, &c], |[input, shortcut, gamma, beta]| {
            norm::batch::forward_sum(&geometry, input, shortcut, gamma, beta);
        });
        if relu {
            assert_lengths_matter([&a, &a, &a], |[input, output, gradient]| {
                let (mean, variance) = (&mean[..], &variance[..]);
                let saved = norm::batch::Saved { input, gamma: &c, beta: &c, mean, variance, output, indices: &[] };
                norm::batch::backward_sum(&geometry, saved, gradient);
            });
        }
    }
    for pool in [false, true] {
        let geometry = norm::Geometry::new([5, 4, 4, 3], 1e-5, Epilogue { relu: true, pool });
        assert_refused("do not fit the input", || norm::group::Groups::new(3, &geometry));
        let groups = norm::group::Groups::new(2, &geometry);
        assert_lengths_matter([&a, &c, &c], |[input, gamma, beta]| {
            norm::group::forward(&geometry, groups, input, gamma, beta);
        });
        let norm::group::Forward { output, indices } = norm::group::forward(&geometry, groups, &a, &c, &c);
        assert_lengths_matter([&a, &c, &c, &output], |[input, gamma, beta, gradient]| {
            let saved = norm::group::Saved { input, gamma, beta, indices: &indices };
            norm::group::backward(&geometry, groups, saved, gradient);
        });
        if pool {
            let saved = norm::group::Saved { input: &a, gamma: &c, beta: &c, indices: &indices[1..] };
            assert_refused("must have", || norm::group::backward(&geometry, groups, saved, &output));
        }
    }
    let geometry = linear::Geometry::new([20, 12], [12, 4], true);
    assert_lengths_matter([&a, &a[..48], &c], |[input, weight, bias]| {
        linear::forward(&geometry, input, weight, bias);
    });
    assert_lengths_matter([&a[..80], &a[..80]], |[output, gradient]| {
        linear::pre_activation_gradient(&geometry, output, gradient);
    });
    assert_lengths_matter([&a[..48], &a[..80]], |[weight, dz]| {
        linear::input_gradient(&geometry, weight, dz);
    });
    assert_lengths_matter([&a, &a[..80]], |[input, dz]| {
        linear::weight_gradient(&geometry, input, dz);
    });
    // Of two slices alone, either may be the one that has another length.
    assert_lengths_matter([&a], |[right]| {
        sum::sum_relu(&a, right);
    });
    let adam = update::Adam { beta_1: 0.9, beta_2: 0.999, rate: 0.1, epsilon: 1e-8, penalty: 0.0, keep: 1.0 };
    let sgd = update::Sgd { rate: 0.1, momentum: 0.9, nesterov: true, penalty: 0.0 };
    // Lengths that differ inside one block are no different number of blocks.
    assert_lengths_matter([&a, &a, &a], |[gradient, first, second]| {
        update::adam(adam, gradient, &a, &mut first.to_vec(), &mut second.to_vec());
    });
    assert_lengths_matter([&a, &a], |[gradient, velocity]| {
        update::sgd(sgd, gradient, &a, &mut velocity.to_vec());
    });
}

#[test]
fn empty_arrays_are_no_trouble() {
    let adam = update::Adam { beta_1: 0.9, beta_2: 0.999, rate: 0.1, epsilon: 1e-8, penalty: 0.0, keep: 1.0 };
    let sgd = update::Sgd { rate: 0.1, momentum: 0.9, nesterov: true, penalty: 0.0 };
    assert!(update::adam(adam, &[], &[], &mut [], &mut []).is_empty());
    assert!(update::sgd(sgd, &[], &[], &mut []).is_empty());
    assert!(dropout::dropout(&[], 0.5, 1).is_empty());
}

#[test]
fn dropout_takes_probabilities() {
    let values = random(100, 1);
    assert_eq!(dropout::dropout(&values, 0.0, 1), values);
    assert_eq!(dropout::dropout(&values, 1.0, 1), vec![0.0; 100]);
    for probability in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert_refused("must be in", || dropout::dropout(&values, probability, 1));
    }
}

#[test]
fn unknown_pool_indices_have_no_gradient() {
    // Channels enough for the backward pass from the maxima alone, and too few for it.
    for channels in [16, 1] {
        let epilogue = Epilogue { relu: true, pool: true };
        let geometry = ConvGeometry::new([1, channels, 4, 4], [2, channels, 3, 3], 1, 1, epilogue);
        let (input, weight) = (random(channels * 16, 1), random(2 * channels * 9, 2));
        let saved = conv::Saved { input: &input, weight: &weight, output: &[], indices: &[u8::MAX; 8] };
        let needs = conv::NeedsGradient { input: true, parameters: true };
        let gradients = conv::backward(&geometry, saved, &[1.0; 8], needs);
        assert!([gradients.input, gradients.weight, gradients.bias].concat().iter().all(|value| *value == 0.0));
    }
}

/// A parallel iterator that promises one item more than it has.
struct Short<I>(I);

impl<I: IndexedParallelIterator> ParallelIterator for Short<I> {
    type Item = I::Item;

    fn drive_unindexed<C: rayon::iter::plumbing::UnindexedConsumer<I::Item>>(self, consumer: C) -> C::Result {
        self.0.drive_unindexed(consumer)
    }
}

impl<I: IndexedParallelIterator> IndexedParallelIterator for Short<I> {
    fn len(&self) -> usize {
        self.0.len() + 1
    }

    fn drive<C: rayon::iter::plumbing::Consumer<I::Item>>(self, consumer: C) -> C::Result {
        self.0.drive(consumer)
    }

    fn with_producer<C: rayon::iter::plumbing::ProducerCallback<I::Item>>(self, callback: C) -> C::Output {
        self.0.with_producer(callback)
    }
}

#[test]
fn an_array_is_never_handed_out_half_filled() {
    let beside = |items: usize| rayon::iter::repeat_n((), items);
    assert!(catch_unwind(|| filled_beside(40, 10, beside(3), |_, _: &mut [f32], ()| ())).is_err());
    assert!(catch_unwind(|| filled_beside(40, 10, Short(beside(3)), |_, _: &mut [f32], ()| ())).is_err());
    let broken = |i: usize, _: &mut [f32]| assert!(i != 2, "a kernel panics");
    assert!(catch_unwind(|| filled(40, 10, broken)).is_err());
    assert_eq!(filled_beside(40, 10, beside(4), |_, _: &mut [f32], ()| ()), vec![0.0; 40]);
}
