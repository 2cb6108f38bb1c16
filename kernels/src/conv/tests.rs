//! All ways to compute a convolution against the matrix of all patches, whichever is chosen on this machine.

use proptest::prelude::*;

use super::super::pool::{INACTIVE, PoolIndex};
use super::super::tests::{assert_close, random};
use super::passes::NO_EPILOGUE;
use super::*;

const BOTH: NeedsGradient = NeedsGradient { input: true, parameters: true };
const PARAMETERS: NeedsGradient = NeedsGradient { input: false, parameters: true };

/// Fails unless the outputs under a pool are the values at its indices.
pub(super) fn assert_maxima(geometry: &ConvGeometry, [input, weight, bias]: [&[f32]; 3], forward: &Forward) {
    let plain = ConvGeometry { epilogue: NO_EPILOGUE, ..*geometry };
    let values = columns::forward(&plain, input, weight, bias).output;
    assert_close(&chosen(geometry, &values, &forward.indices), &forward.output, "maxima");
}

/// The values at a pool's indices, of those before it.
fn chosen(geometry: &ConvGeometry, values: &[f32], indices: &[PoolIndex]) -> Vec<f32> {
    let ([_, width], [_, _, height, across]) = (geometry.conv_output(), geometry.output());
    let at = |(i, index): (usize, &PoolIndex)| {
        let (plane, y, x) = (i / (height * across), i / across % height, i % across);
        let (lower, right) = (usize::from(*index) / 2, usize::from(*index) % 2);
        let value = || values[plane * geometry.conv_plane() + (2 * y + lower) * width + 2 * x + right];
        if *index == INACTIVE { 0.0 } else { value() }
    };
    indices.iter().enumerate().map(at).collect()
}

fn assert_same(actual: &Gradients, expected: &Gradients, what: &str) {
    assert_close(&actual.weight, &expected.weight, &format!("{what}: gradient of the weights"));
    assert_close(&actual.bias, &expected.bias, &format!("{what}: gradient of the biases"));
    if !actual.input.is_empty() {
        assert_close(&actual.input, &expected.input, &format!("{what}: gradient of the input"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Planes of one pixel, strides that skip values, channels that fill no vector, groups that are no divisor of the batch.
    #[test]
    fn every_way_gives_what_the_patch_matrix_gives(
        (batch, group) in (1usize..9, 1usize..5), (channels_in, channels_out) in (1usize..21, 1usize..37),
        (height, width) in (1usize..11, 1usize..11), (kernel, stride, padding) in (1usize..6, 1usize..4, 0usize..3),
        relu: bool, pool: bool,
    ) {
        let least = if pool { 2 } else { 1 };
        let output = [height, width].map(|size| (size + 2 * padding + stride).saturating_sub(kernel) / stride);
        prop_assume!(output.iter().all(|size| *size >= least));
        let epilogue = Epilogue { relu, pool };
        let (shape, weights) = ([batch, channels_in, height, width], [channels_out, channels_in, kernel, kernel]);
        let geometry = ConvGeometry::new(shape, weights, stride, padding, epilogue);
        let (input, weight) = (random(shape.iter().product(), 1), random(weights.iter().product(), 2));
        let bias = random(channels_out, 3);
        let expected = columns::forward(&geometry, &input, &weight, &bias);
        let are_slices = lanes::is_possible(&geometry);
        if are_slices {
            let forward = slices::forward(&geometry, &input, &weight, &bias);
            assert_close(&forward.output, &expected.output, "slices: output");
            let forward = channels::forward(&geometry, &input, &weight, &bias);
            assert_close(&forward.output, &expected.output, "channels: output");
            if pool {
                assert_maxima(&geometry, [&input, &weight, &bias], &forward);
            }
        }

        let gradient = random(expected.output.len(), 4);
        let saved = Saved { input: &input, weight: &weight, output: &expected.output, indices: &expected.indices };
        let by = |needs, method| compute(&geometry, saved, &gradient, needs, (None, method, group));
        let expected = by(BOTH, Method::Columns);
        for needs in [BOTH, PARAMETERS] {
            if are_slices {
                let slices = slices::Backward::new(&geometry, &weight, needs, group);
                assert_same(&by(needs, Method::Slices(Box::new(slices))), &expected, "slices");
                let channels = channels::Backward::new(&geometry, &weight, needs, group);
                assert_same(&by(needs, Method::Channels(Box::new(channels))), &expected, "channels");
            }
            if let Some(maxima) = maxima::Backward::new(&geometry, &weight, needs) {
                assert_same(&by(needs, Method::Maxima(maxima)), &expected, "maxima");
            }
        }
    }
}
