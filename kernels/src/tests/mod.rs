//! The kernels by themselves: gradients against finite differences in `f64`, and arguments of every kind.

mod arguments;
mod gradients;

use rand::{RngExt as _, SeedableRng as _};

use super::geometry::ConvGeometry;
use super::pool::Epilogue;
use super::{conv, dropout, linear, norm};

/// Values in -1..1 that depend on `seed` only.
pub(super) fn random(length: usize, seed: u64) -> Vec<f32> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    (0..length).map(|_| rng.random_range(-1.0..1.0)).collect()
}

#[track_caller]
pub(super) fn assert_close(actual: &[f32], expected: &[f32], what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (i, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert!((actual - expected).abs() <= 2e-4 * (1.0 + expected.abs()), "{what}[{i}]: {actual} is not {expected}");
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| {
            let epilogue = Epilogue { relu: true, pool: true };
            let input_shape = [37, 3, 14, 13];
            let geometry = ConvGeometry::new(input_shape, [24, 3, 3, 3], 1, 1, epilogue);
            let (input, weight, bias) = (random(input_shape.iter().product(), 1), random(24 * 27, 2), random(24, 3));
            let forward = conv::forward(&geometry, &input, &weight, &bias);
            let saved =
                conv::Saved { input: &input, weight: &weight, output: &forward.output, indices: &forward.indices };
            let needs = conv::NeedsGradient { input: true, parameters: true };
            let gradients = conv::backward(&geometry, saved, &forward.output, needs);
            let direct = Epilogue { relu: true, pool: false };
            let geometry = ConvGeometry::new(input_shape, [24, 3, 3, 3], 2, 1, direct);
            let bare = conv::forward(&geometry, &input, &weight, &bias).output;
            let saved = conv::Saved { input: &input, weight: &weight, output: &bare, indices: &[] };
            let direct = conv::backward(&geometry, saved, &bare, needs);
            let direct = [direct.input, direct.weight, direct.bias].concat();
            let wide = ConvGeometry::new([19, 48, 9, 8], [48, 48, 3, 3], 1, 1, Epilogue { relu: true, pool: false });
            let (planes, kernels) = (random(19 * 48 * 72, 11), random(48 * 48 * 9, 12));
            let tiles = conv::forward(&wide, &planes, &kernels, &random(48, 13)).output;
            let saved = conv::Saved { input: &planes, weight: &kernels, output: &tiles, indices: &[] };
            let by_tiles = conv::backward(&wide, saved, &tiles, needs);
            let direct = [direct, tiles, by_tiles.input, by_tiles.weight].concat();
            let layer = linear::Geometry::new([100, 1500], [1500, 130], false);
            let (x, w) = (random(150_000, 4), random(195_000, 5));
            let y = linear::forward(&layer, &x, &w, &random(130, 6));
            let back = [linear::input_gradient(&layer, &w, &y), linear::weight_gradient(&layer, &x, &y)].concat();
            let squares = norm::Geometry::new([50, 3, 20, 20], 1e-5, Epilogue { relu: true, pool: false });
            let images = random(60_000, 7);
            let normed = norm::batch::forward_sum(&squares, &images, &x[..60_000], &bias[..3], &bias[3..6]);
            let (mean, variance) = (&normed.mean, &normed.variance);
            let (gamma, beta, output) = (&bias[..3], &bias[3..6], &normed.output[..]);
            let saved = norm::batch::Saved { input: &images, gamma, beta, mean, variance, output, indices: &[] };
            let (by_norm, by_shortcut) = norm::batch::backward_sum(&squares, saved, output);
            let groups = norm::group::Groups::new(1, &squares);
            let by_groups = norm::group::forward(&squares, groups, &images, gamma, beta).output;
            let saved = norm::group::Saved { input: &images, gamma, beta, indices: &[] };
            let back_by_groups = norm::group::backward(&squares, groups, saved, output);
            let by_groups = [by_groups, back_by_groups.input, back_by_groups.gamma, back_by_groups.beta].concat();
            let normed =
                [normed.mean, normed.variance, normed.output, by_norm.input, by_norm.gamma, by_shortcut].concat();
            let dropped = dropout::dropout(&x, 0.5, 9);
            let forward = [forward.output, gradients.input, gradients.weight, gradients.bias, bare, direct].concat();
            [forward, y, back, normed, by_groups, dropped].concat()
        })
    };
    let one = on(1);
    for threads in [2, 3, 7] {
        assert!(one == on(threads), "{threads} threads");
    }
}
