use kiln_kernels::conv::{NeedsGradient, Saved, backward, forward};
use kiln_kernels::geometry::ConvGeometry;
use kiln_kernels::pool::Epilogue;
use std::time::Instant;
fn values(length: usize) -> Vec<f32> {
    let mut state = 1u64;
    (0..length).map(|_| { state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407); (state >> 40) as f32 / (1 << 24) as f32 - 0.5 }).collect()
}
fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    // name, batch, in, size, out, kernel, stride, padding, relu, pool
    let layers: Vec<(&str, usize, usize, usize, usize, usize, usize, usize, bool)> = vec![
        ("f2 24x12-32 pool", 256, 24, 12, 32, 3, 1, 0, true),
        ("p2 32x26-64 pool", 100, 32, 26, 64, 3, 1, 0, true),
        ("16x28-16", 128, 16, 28, 16, 3, 1, 1, false),
        ("32x14-32", 128, 32, 14, 32, 3, 1, 1, false),
        ("64x7-64", 128, 64, 7, 64, 3, 1, 1, false),
        ("32x14-64 conv", 128, 32, 14, 64, 3, 1, 1, false),
        ("64x32-64", 32, 64, 32, 64, 3, 1, 1, false),
        ("64x16-128", 64, 64, 16, 128, 3, 1, 1, false),
        ("128x8-128", 64, 128, 8, 128, 3, 1, 1, false),
        ("128x4-256", 128, 128, 4, 256, 3, 1, 1, false),
        ("24x14-48 pool", 100, 24, 14, 48, 3, 1, 1, true),
        ("8x28-8", 128, 8, 28, 8, 3, 1, 1, false),
        ("12x20-20", 128, 12, 20, 20, 3, 1, 1, false),
        ("20x9-40", 128, 20, 9, 40, 3, 1, 0, false),
        ("48x5-64", 128, 48, 5, 64, 3, 1, 0, false),
        ("16x28-32 s2", 128, 16, 28, 32, 3, 2, 1, false),
        ("32x14-64 s2", 128, 32, 14, 64, 3, 2, 1, false),
        ("16x28-32 1x1 s2", 128, 16, 28, 32, 1, 2, 0, false),
        ("1x28-24 5 pool", 256, 1, 28, 24, 5, 1, 0, true),
        ("1x28-16", 128, 1, 28, 16, 3, 1, 1, false),
    ];
    for (name, batch, cin, size, cout, k, stride, padding, pool) in layers {
        if !name.contains(&filter) { continue; }
        let g = ConvGeometry::new([batch, cin, size, size], [cout, cin, k, k], stride, padding, Epilogue { relu: pool, pool });
        let (input, weight, bias) = (values(batch * cin * size * size), values(cout * cin * k * k), vec![0.1; cout]);
        let out = forward(&g, &input, &weight, &bias);
        let gradient = values(out.output.len());
        let saved = Saved { input: &input, weight: &weight, output: &out.output, indices: &out.indices };
        let flops = 2.0 * g.multiply_adds() as f64;
        let best = |f: &dyn Fn()| { let mut best = f64::MAX; let begun = Instant::now(); while begun.elapsed().as_secs_f64() < std::env::var("S").map_or(0.25, |s| s.parse().unwrap()) { let t = Instant::now(); f(); best = best.min(t.elapsed().as_secs_f64()); } best };
        let f = best(&|| drop(forward(&g, &input, &weight, &bias)));
        if std::env::var_os("F").is_some() { println!("{name} {f}"); continue; }
        let i = best(&|| drop(backward(&g, saved, &gradient, NeedsGradient { input: true, parameters: false })));
        let w = best(&|| drop(backward(&g, saved, &gradient, NeedsGradient { input: false, parameters: true })));
        println!("{name:20} forward {:7.3} ms {:4.0} | input {:7.3} ms {:4.0} | weight {:7.3} ms {:4.0} GFLOP/s", f * 1e3, flops / f / 1e9, i * 1e3, flops / i / 1e9, w * 1e3, flops / w / 1e9);
    }
}
