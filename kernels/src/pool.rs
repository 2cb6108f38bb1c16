//! What follows a convolution or a norm: bias, ReLU and 2x2 max-pool of one plane, forward and backward.

/// What follows the bias of a convolution or the shift of a norm, in this order: ReLU, then the max-pool. (The word is
/// cuBLASLt's and CUTLASS's, for what is computed with a product's values before they are stored.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epilogue {
    /// Negative values become 0.
    pub relu: bool,
    /// 2x2 max-pool with stride 2; an odd last row or column is left out.
    pub pool: bool,
}

impl Epilogue {
    /// Height and width of a plane after it.
    pub fn output(self, [height, width]: [usize; 2]) -> [usize; 2] {
        if self.pool { [height / 2, width / 2] } else { [height, width] }
    }

    /// # Panics
    /// If a plane of this height and width is smaller than a window of the pool.
    #[track_caller]
    pub(super) fn assert_fits(self, [height, width]: [usize; 2]) {
        assert!(
            !self.pool || height.min(width) >= 2,
            "max-pool: 2x2 windows need planes of at least 2x2, got {height}x{width}"
        );
    }
}

/// The places of the values of a window of the pool.
pub(super) fn window([y, x]: [usize; 2]) -> [[usize; 2]; 4] {
    [[0, 0], [0, 1], [1, 0], [1, 1]].map(|[down, right]| [2 * y + down, 2 * x + right])
}

/// Where in its 2x2 window the maximum was: 0 1 / 2 3, or [`INACTIVE`].
pub type PoolIndex = u8;
/// The window's maximum was not above 0, so that ReLU stops its gradient.
pub(super) const INACTIVE: PoolIndex = 4;

/// `output[y, x] = max(window of plane at 2y, 2x) + bias`, with ReLU if asked, and where the maximum was: the first of
/// equals; no indices if nobody asks. Without a pool the sign of the output says all that the backward pass needs, and there are no indices.
/// Planes have at least 2x2 values; their rows have `width` values and are `row` apart.
#[inline(always)]
pub(super) fn max_pool(
    plane: &[f32],
    [row, width]: [usize; 2],
    bias: f32,
    relu: bool,
    output: &mut [f32],
    indices: &mut [PoolIndex],
) {
    let half = width / 2;
    let windows = plane.chunks(2 * row).zip(output.chunks_exact_mut(half));
    let window = |rows: &[f32], x: usize| [[rows[2 * x], rows[2 * x + 1]], [rows[row + 2 * x], rows[row + 2 * x + 1]]];
    if indices.is_empty() {
        for (rows, output) in windows {
            for (x, output) in output.iter_mut().enumerate() {
                *output = maximum(window(rows, x), bias, relu).0;
            }
        }
        return;
    }
    for ((rows, output), indices) in windows.zip(indices.chunks_exact_mut(half)) {
        let (top, bottom) = (&rows[..width], &rows[row..row + width]);
        let pairs = top.chunks_exact(2).zip(bottom.chunks_exact(2));
        for ((output, index), (top, bottom)) in output.iter_mut().zip(indices).zip(pairs) {
            (*output, *index) = maximum([[top[0], top[1]], [bottom[0], bottom[1]]], bias, relu);
        }
    }
}

/// The maximum of a window and its place, the first of equals, as [`max_pool`] gives them.
#[inline(always)]
pub(super) fn maximum([top, bottom]: [[f32; 2]; 2], bias: f32, relu: bool) -> (f32, PoolIndex) {
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    let (upper, upper_place) = if top[1] > top[0] { (top[1], 1) } else { (top[0], 0) };
    let (lower, lower_place) = if bottom[1] > bottom[0] { (bottom[1], 3) } else { (bottom[0], 2) };
    let (value, place) = if lower > upper { (lower, lower_place) } else { (upper, upper_place) };
    let value = value + bias;
    // A NaN passes, so that a broken run shows.
    (if value <= floor { floor } else { value }, if relu && value <= 0.0 { INACTIVE } else { place })
}

/// The gradient of [`max_pool`]'s input: each window's gradient goes to where its maximum was, 0 everywhere else.
#[inline(always)]
pub(super) fn max_pool_backward(gradient: &[f32], indices: &[PoolIndex], width: usize, plane: &mut [f32]) {
    let half = width / 2;
    let used = gradient.len() / half * 2 * width;
    plane[used..].fill(0.0);
    let windows = plane[..used].chunks_exact_mut(2 * width);
    for ((rows, gradient), indices) in windows.zip(gradient.chunks_exact(half)).zip(indices.chunks_exact(half)) {
        let (top, bottom) = rows.split_at_mut(width);
        if width % 2 == 1 {
            top[width - 1] = 0.0;
            bottom[width - 1] = 0.0;
        }
        for (row, places) in [(top, [0, 1]), (bottom, [2, 3])] {
            match half {
                8.. => put_back::<8>(gradient, indices, places, row),
                4.. => put_back::<4>(gradient, indices, places, row),
                _ => put_back::<1>(gradient, indices, places, row),
            }
        }
    }
}

/// Of a row of windows, those values that are at `places` of their windows, side by side: `N` windows at a time, the last of which may
/// be some of those before once more.
#[inline(always)]
fn put_back<const N: usize>(gradient: &[f32], indices: &[PoolIndex], places: [PoolIndex; 2], row: &mut [f32]) {
    let row = row.as_chunks_mut::<2>().0;
    let last = gradient.len() - N;
    for at in (0..last).step_by(N).chain([last]) {
        let gradient: &[f32; N] = gradient[at..].first_chunk().expect("as many windows");
        let indices: &[PoolIndex; N] = indices[at..].first_chunk().expect("an index for each");
        let row: &mut [[f32; 2]; N] = row[at..].first_chunk_mut().expect("two values for each");
        let [left, right] = places.map(|place| {
            let mut values = [0.0; N];
            for i in 0..N {
                values[i] = only_if(indices[i] == place, gradient[i]);
            }
            values
        });
        for i in 0..N {
            row[i] = [left[i], right[i]];
        }
    }
}

/// `value`, or 0: without a branch, since where a maximum is is as good as random.
#[inline(always)]
fn only_if(is_wanted: bool, value: f32) -> f32 {
    f32::from_bits(value.to_bits() & u32::from(is_wanted).wrapping_neg())
}

/// Calls `each(place in the plane, gradient)` for each window of [`max_pool`]: where its maximum was, or with a gradient of 0
/// somewhere in it where ReLU stops it.
#[inline(always)]
pub(super) fn maxima(gradient: &[f32], indices: &[PoolIndex], width: usize, mut each: impl FnMut(usize, f32)) {
    let half = width / 2;
    let rows = gradient.chunks_exact(half).zip(indices.chunks_exact(half));
    for (row, (gradient, indices)) in rows.enumerate() {
        for (x, (gradient, index)) in gradient.iter().zip(indices).enumerate() {
            // No branch: whether ReLU is active is as good as random.
            let place = (2 * row + usize::from(index >> 1 & 1)) * width + 2 * x + usize::from(index & 1);
            each(place, if *index < INACTIVE { *gradient } else { 0.0 });
        }
    }
}

/// `output = plane + bias`, with ReLU if asked; a NaN stays one. The plane's rows have `width` values and are `row` apart.
#[inline(always)]
pub(super) fn copy_with_bias(plane: &[f32], [row, width]: [usize; 2], bias: f32, relu: bool, output: &mut [f32]) {
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    for (values, output) in plane.chunks(row).zip(output.chunks_exact_mut(width)) {
        for (value, output) in values.iter().zip(output) {
            let shifted = value + bias;
            *output = if shifted <= floor { floor } else { shifted };
        }
    }
}

/// Adds `bias` to a plane, with ReLU if asked; a NaN stays one.
#[inline(always)]
pub(super) fn add_bias(plane: &mut [f32], bias: f32, relu: bool) {
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    for value in plane {
        let shifted = *value + bias;
        *value = if shifted <= floor { floor } else { shifted };
    }
}

/// Adds one of `biases` to each value, with ReLU if asked; a NaN stays one.
#[inline(always)]
pub(super) fn add_biases(values: &mut [f32], biases: &[f32], relu: bool) {
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    for (value, bias) in values.iter_mut().zip(biases) {
        let shifted = *value + bias;
        *value = if shifted <= floor { floor } else { shifted };
    }
}

/// `input_gradient = gradient` where `output > 0`, else 0: the gradient of ReLU's input.
#[inline(always)]
pub(super) fn relu_backward(gradient: &[f32], output: &[f32], input_gradient: &mut [f32]) {
    for ((input_gradient, gradient), output) in input_gradient.iter_mut().zip(gradient).zip(output) {
        *input_gradient = if *output > 0.0 { *gradient } else { 0.0 };
    }
}
