//! Tiles against the patch matrix.

use proptest::prelude::*;

use super::super::super::tests::{assert_close, random};
use super::super::columns;
use super::super::tests::assert_maxima;
use super::*;

/// All that tiles compute against the patch matrix, in groups of `group` images.
fn check(geometry: &ConvGeometry, group: usize) {
    let ConvGeometry { batch, channels_out, .. } = *geometry;
    let (input, weight) = (random(batch * geometry.image(), 1), random(geometry.weights(), 2));
    let bias = random(channels_out, 3);
    let expected = columns::forward(geometry, &input, &weight, &bias);
    let found = forward(geometry, &input, &weight, &bias);
    assert_close(&found.output, &expected.output, "output");
    if geometry.epilogue.pool {
        assert_maxima(geometry, [&input, &weight, &bias], &found);
    }
    let gradient = random(expected.output.len(), 4);
    let Forward { output, indices } = &expected;
    let saved = Saved { input: &input, weight: &weight, output, indices };
    let mut inputs = vec![0.0; input.len()];
    let mut sums = vec![0.0; geometry.weights() + channels_out];
    for (image, input) in inputs.chunks_exact_mut(geometry.image()).enumerate() {
        columns::backward(geometry, saved, &gradient, image, (&mut sums, Some(input)));
    }
    let mut found = vec![f32::NAN; input.len()];
    InputGradient::new(geometry, &weight, group).run(geometry, saved, &gradient, 0..batch, &mut found);
    assert_close(&found, &inputs, "gradient of the input");
    let tiles = WeightGradient::new(geometry, group);
    let mut found = vec![0.0; tiles.sums() + channels_out];
    for first in (0..batch).step_by(group) {
        tiles.run(geometry, saved, &gradient, first..batch.min(first + group), &mut found);
    }
    let (weights, biases) = found.split_at(tiles.sums());
    assert_close(&tiles.weights(weights), &sums[..geometry.weights()], "gradient of the weights");
    assert_close(biases, &sums[geometry.weights()..], "gradient of the biases");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Odd sizes, planes of one pixel, padding that only zeros are read of, channels that fill no block, groups that are no
    /// divisor of the batch.
    #[test]
    fn tiles_give_what_the_patch_matrix_gives(
        (batch, group) in (1usize..8, 1usize..5), (channels_in, channels_out) in (1usize..40, 1usize..56),
        (height, width) in (1usize..12, 1usize..20), padding in 0usize..3, relu: bool, pool: bool,
    ) {
        let output = [height, width].map(|size| (size + 2 * padding).saturating_sub(2));
        let least = if pool { 2 } else { 1 };
        prop_assume!(output.iter().all(|size| *size >= least));
        let (shape, weight) = ([batch, channels_in, height, width], [channels_out, channels_in, 3, 3]);
        check(&ConvGeometry::new(shape, weight, 1, padding, Epilogue { relu, pool }), group);
    }
}

#[test]
fn images_too_large_for_the_cache_are_cut_into_bands() {
    for pool in [false, true] {
        let epilogue = Epilogue { relu: true, pool };
        let geometry = ConvGeometry::new([3, 24, 35, 33], [25, 24, 3, 3], 1, 1, epilogue);
        let convolution = Convolution::new(&geometry, Kernels::Given(&vec![0.0; geometry.weights()]), &[], 3);
        assert!(convolution.band < 35 && WeightGradient::new(&geometry, 3).band < 18);
        check(&geometry, 2);
    }
}

#[test]
fn they_are_chosen_where_they_save_time() {
    let is_chosen = |channels: [usize; 2], size, stride| {
        let shapes = ([64, channels[0], size, size], [channels[1], channels[0], 3, 3]);
        let geometry = ConvGeometry::new(shapes.0, shapes.1, stride, 1, NO_EPILOGUE);
        [are_worth_it_forward(&geometry), are_worth_it_backward(&geometry)]
    };
    assert_eq!(is_chosen([64, 64], 16, 1), [true; 2]);
    for (channels, size, stride) in [([1, 32], 28, 1), ([4, 4], 28, 1), ([64, 64], 16, 2), ([64, 64], 1, 1)] {
        assert_eq!(is_chosen(channels, size, stride), [false; 2], "{channels:?}, {size}, {stride}");
    }
}
