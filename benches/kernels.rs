//! The convolution kernels on the layers of the two reference networks: forward and backward of one batch.
//!
//! `cargo bench --profile dev --bench kernels`; `RAYON_NUM_THREADS` sets the number of threads.
#![allow(missing_docs, reason = "criterion's macros define undocumented functions")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kiln_kernels::conv::{NeedsGradient, Saved, backward, forward};
use kiln_kernels::geometry::ConvGeometry;
use kiln_kernels::pool::Epilogue;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Name, images, input channels, input size, output channels, kernel, pool.
const LAYERS: [(&str, usize, usize, usize, usize, usize, bool); 4] = [
    ("p-1", 100, 1, 28, 32, 3, false),
    ("p-2", 100, 32, 26, 64, 3, true),
    ("f-1", 256, 1, 28, 24, 5, true),
    ("f-2", 256, 24, 12, 32, 3, true),
];

/// Values in -0.5..0.5 without a pattern that branch prediction could learn.
fn values(length: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..length).map(|_| next()).collect()
}

fn convolutions(criterion: &mut Criterion) {
    for (name, batch, channels_in, size, channels_out, kernel, pool) in LAYERS {
        let epilogue = Epilogue { relu: true, pool };
        let (input_shape, weight_shape) =
            ([batch, channels_in, size, size], [channels_out, channels_in, kernel, kernel]);
        let geometry = ConvGeometry::new(input_shape, weight_shape, 1, 0, epilogue);
        let input = values(batch * channels_in * size * size);
        let weight = values(channels_out * channels_in * kernel * kernel);
        let bias = vec![0.0; channels_out];
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(batch as u64)).sample_size(20);
        group.bench_function("forward", |bencher| {
            bencher.iter(|| black_box(forward(&geometry, &input, &weight, &bias)));
        });
        let output = forward(&geometry, &input, &weight, &bias);
        let gradient = values(output.output.len());
        let saved = Saved { input: &input, weight: &weight, output: &output.output, indices: &output.indices };
        let needs = NeedsGradient { input: channels_in > 1, parameters: true };
        group.bench_function("backward", |bencher| {
            bencher.iter(|| black_box(backward(&geometry, saved, &gradient, needs)));
        });
        group.finish();
    }
}

criterion_group!(benches, convolutions);
criterion_main!(benches);
