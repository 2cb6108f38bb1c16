//! Bias, ReLU and 2x2 max-pool of one plane, and the way back.

/// What follows a convolution or a norm, in this order: ReLU, then the max-pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finish {
    /// Negative values become 0.
    pub relu: bool,
    /// 2x2 max-pool with stride 2; an odd last row or column is left out.
    pub pool: bool,
}

impl Finish {
    /// The size of a plane after it.
    pub fn size(self, [height, width]: [usize; 2]) -> [usize; 2] {
        if self.pool { [height / 2, width / 2] } else { [height, width] }
    }
}

/// The winner's place in its window: 0 1 / 2 3.
pub type Winner = u8;
/// The window's maximum was not above 0, so that ReLU blocks its gradient.
pub const BLOCKED: Winner = 4;

/// `output[y, x] = max(window of plane at 2y, 2x) + bias`, with ReLU if asked, and which value won: the first of equals.
/// Without a pool the sign of the output says all that the way back needs, and there are no winners.
#[inline(always)]
pub fn max_pool(plane: &[f32], width: usize, bias: f32, relu: bool, output: &mut [f32], winners: &mut [Winner]) {
    let half = width / 2;
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    let windows = plane.chunks_exact(2 * width).zip(output.chunks_exact_mut(half)).zip(winners.chunks_exact_mut(half));
    for ((rows, output), winners) in windows {
        let (top, bottom) = rows.split_at(width);
        let pairs = top.chunks_exact(2).zip(bottom.chunks_exact(2));
        for ((output, winner), (top, bottom)) in output.iter_mut().zip(winners).zip(pairs) {
            let (upper, upper_place) = if top[1] > top[0] { (top[1], 1) } else { (top[0], 0) };
            let (lower, lower_place) = if bottom[1] > bottom[0] { (bottom[1], 3) } else { (bottom[0], 2) };
            let (value, place) = if lower > upper { (lower, lower_place) } else { (upper, upper_place) };
            let value = value + bias;
            // A NaN passes, so that a broken run shows.
            *output = if value <= floor { floor } else { value };
            *winner = if relu && value <= 0.0 { BLOCKED } else { place };
        }
    }
}

/// The gradient of [`max_pool`]'s input: each window's gradient goes to its winner, 0 everywhere else.
#[inline(always)]
pub fn unpool(gradient: &[f32], winners: &[Winner], width: usize, plane: &mut [f32]) {
    let half = width / 2;
    let used = gradient.len() / half.max(1) * 2 * width;
    plane[used..].fill(0.0);
    let windows = plane[..used].chunks_exact_mut(2 * width);
    for ((rows, gradient), winners) in windows.zip(gradient.chunks_exact(half)).zip(winners.chunks_exact(half)) {
        let (top, bottom) = rows.split_at_mut(width);
        if width % 2 == 1 {
            top[width - 1] = 0.0;
            bottom[width - 1] = 0.0;
        }
        let pairs = top.chunks_exact_mut(2).zip(bottom.chunks_exact_mut(2));
        for ((gradient, winner), (top, bottom)) in gradient.iter().zip(winners).zip(pairs) {
            top[0] = if *winner == 0 { *gradient } else { 0.0 };
            top[1] = if *winner == 1 { *gradient } else { 0.0 };
            bottom[0] = if *winner == 2 { *gradient } else { 0.0 };
            bottom[1] = if *winner == 3 { *gradient } else { 0.0 };
        }
    }
}

/// Adds `bias` to a plane, with ReLU if asked; a NaN stays one.
#[inline(always)]
pub fn shift(plane: &mut [f32], bias: f32, relu: bool) {
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    for value in plane {
        let shifted = *value + bias;
        *value = if shifted <= floor { floor } else { shifted };
    }
}

/// `blocked = gradient` where `output > 0`, else 0: the gradient of ReLU's input.
#[inline(always)]
pub fn unrelu(gradient: &[f32], output: &[f32], blocked: &mut [f32]) {
    for ((blocked, gradient), output) in blocked.iter_mut().zip(gradient).zip(output) {
        *blocked = if *output > 0.0 { *gradient } else { 0.0 };
    }
}
