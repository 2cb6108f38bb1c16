//! Norms in training mode with what follows them, forward and backward: what those over the batch and those over groups of
//! channels share, the sizes and the work on one plane.

use super::pool::{Epilogue, PoolIndex, max_pool, max_pool_backward, maxima};
use super::reduce::{centred_dot, centred_dot_where, sum};
use super::size::product;

pub mod batch;
pub mod group;

/// The sizes of a norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Geometry {
    pub(super) batch: usize,
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) epsilon: f64,
    pub(super) epilogue: Epilogue,
}

impl Geometry {
    /// A norm of `input` `[batch, channels, height, width]`; `epsilon` is added to the variance.
    ///
    /// # Panics
    /// If a size is 0, the output has no value, or the input would be larger than memory can be.
    #[track_caller]
    pub fn new(input: [usize; 4], epsilon: f64, epilogue: Epilogue) -> Self {
        let [batch, channels, height, width] = input;
        assert!(!input.contains(&0), "norm: the input's sizes must be at least 1, got {input:?}");
        epilogue.assert_fits([height, width]);
        product(&input);
        Self { batch, channels, height, width, epsilon, epilogue }
    }

    /// The shape of what comes out, `[batch, channels, height, width]`.
    pub fn output(&self) -> [usize; 4] {
        let [height, width] = self.epilogue.output([self.height, self.width]);
        [self.batch, self.channels, height, width]
    }

    pub(super) fn plane(&self) -> usize {
        self.height * self.width
    }

    pub(super) fn output_plane(&self) -> usize {
        self.output()[2..].iter().product()
    }

    /// Values of scratch memory that a plane's gradient needs.
    pub(super) fn scratch(&self) -> usize {
        if self.epilogue.pool && has_long_rows(self.width) { self.plane() } else { 0 }
    }

    /// Values of one image of the input.
    pub(super) fn image(&self) -> usize {
        self.channels * self.plane()
    }

    /// Values of the input.
    pub fn values(&self) -> usize {
        self.batch * self.channels * self.plane()
    }
}

/// Whether a pool's windows are enough for vectors, so that whole planes are faster computed than maxima visited.
fn has_long_rows(width: usize) -> bool {
    width >= 16
}

/// The gradients, each in the shape of what it belongs to.
pub struct Gradients {
    /// Of the input.
    pub input: Vec<f32>,
    /// Of the scale.
    pub gamma: Vec<f32>,
    /// Of the shift.
    pub beta: Vec<f32>,
}

/// `y = slope x + offset`: what a channel's norm comes to.
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub(super) slope: f32,
    pub(super) offset: f32,
}

impl Line {
    /// The value before what follows. The backward pass computes it again, to the same bits, to see which values ReLU left.
    #[inline(always)]
    pub(super) fn at(self, x: f32) -> f32 {
        x * self.slope + self.offset
    }
}

/// An image with a channel's line for each of its planes, and what follows, without a pool.
#[inline(always)]
pub(super) fn normalise_image(
    geometry: &Geometry,
    image: &[f32],
    shortcut: Option<&[f32]>,
    lines: &[Line],
    output: &mut [f32],
) {
    let plane = geometry.plane();
    let floor = if geometry.epilogue.relu { 0.0 } else { f32::NEG_INFINITY };
    // A NaN passes, so that a broken run shows.
    let end = |value: f32| if value <= floor { floor } else { value };
    let planes = output.chunks_exact_mut(plane).zip(image.chunks_exact(plane)).zip(lines);
    match shortcut {
        None => {
            for ((output, plane), line) in planes {
                for (output, x) in output.iter_mut().zip(plane) {
                    *output = end(line.at(*x));
                }
            }
        }
        Some(shortcut) => {
            for (((output, plane), line), shortcut) in planes.zip(shortcut.chunks_exact(plane)) {
                for ((output, x), shortcut) in output.iter_mut().zip(plane).zip(shortcut) {
                    *output = end(line.at(*x) + shortcut);
                }
            }
        }
    }
}

/// As [`normalise_image`], with a pool; `scaled` is scratch memory for a plane.
#[inline(always)]
pub(super) fn pool_image(
    geometry: &Geometry,
    image: &[f32],
    lines: &[Line],
    scaled: &mut [f32],
    (output, indices): (&mut [f32], &mut [PoolIndex]),
) {
    let (plane, size) = (geometry.plane(), geometry.output_plane());
    let results = output.chunks_exact_mut(size).zip(indices.chunks_exact_mut(size));
    for ((image, line), (output, indices)) in image.chunks_exact(plane).zip(lines).zip(results) {
        for (scaled, x) in scaled.iter_mut().zip(image) {
            *scaled = x * line.slope;
        }
        max_pool(scaled, [geometry.width; 2], line.offset, geometry.epilogue.relu, output, indices);
    }
}

/// Which values of a plane have a gradient, where no pool follows.
#[derive(Clone, Copy)]
pub(super) enum Active<'a> {
    /// All.
    All,
    /// Those that the channel's line brings above 0.
    Line(Line),
    /// Those with an output above 0.
    Output(&'a [f32]),
}

/// What a backward pass reads of a plane: the input, the output's gradient and, with a pool, its indices.
#[derive(Clone, Copy)]
pub(super) struct Plane<'a> {
    pub(super) x: &'a [f32],
    pub(super) gradient: &'a [f32],
    /// Empty without a pool.
    pub(super) indices: &'a [PoolIndex],
    pub(super) active: Active<'a>,
    /// Values of a row of the input.
    pub(super) width: usize,
}

impl Plane<'_> {
    /// Whether a pool's gradients are put back into a whole plane first.
    #[inline(always)]
    fn is_put_back(&self) -> bool {
        !self.indices.is_empty() && has_long_rows(self.width)
    }

    /// The sums of `dy`, what is left of the output's gradient before what follows the norm, and of `dy * (x - mean)`; `dy` is
    /// [scratch memory](Geometry::scratch).
    #[inline(always)]
    pub(super) fn sums(self, mean: f32, dy: &mut [f32]) -> [f32; 2] {
        let Self { x, gradient, indices, active, width } = self;
        if self.is_put_back() {
            max_pool_backward(gradient, indices, width, dy);
            return [sum(dy), centred_dot(dy, x, mean)];
        }
        if !indices.is_empty() {
            let (mut plain, mut weighted) = (0.0, 0.0);
            maxima(gradient, indices, width, |place, dy| {
                plain += dy;
                weighted += dy * (x[place] - mean);
            });
            return [plain, weighted];
        }
        match active {
            Active::All => [sum(gradient), centred_dot(gradient, x, mean)],
            Active::Line(line) => centred_dot_where(gradient, x, x, mean, |x| line.at(x) > 0.0),
            Active::Output(output) => centred_dot_where(gradient, x, output, mean, |output| output > 0.0),
        }
    }

    /// Writes `through(dy, x)` for each value.
    #[inline(always)]
    pub(super) fn input_gradient(self, through: impl Fn(f32, f32) -> f32, dx: &mut [f32]) {
        let Self { x, gradient, indices, active, width } = self;
        if self.is_put_back() {
            max_pool_backward(gradient, indices, width, dx);
            for (dx, x) in dx.iter_mut().zip(x) {
                *dx = through(*dx, *x);
            }
            return;
        }
        if !indices.is_empty() {
            for (dx, x) in dx.iter_mut().zip(x) {
                *dx = through(0.0, *x);
            }
            maxima(gradient, indices, width, |place, dy| dx[place] = through(dy, x[place]));
            return;
        }
        let line = match active {
            Active::Line(line) => line,
            _ => Line { slope: 0.0, offset: 1.0 },
        };
        for ((dx, dy), x) in dx.iter_mut().zip(gradient).zip(x) {
            *dx = through(if line.at(*x) > 0.0 { *dy } else { 0.0 }, *x);
        }
    }
}
