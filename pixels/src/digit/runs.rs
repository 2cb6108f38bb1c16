//! Where a picture differs from its paper, how, and in which direction of colour.

use super::paper::{Paper, Row};
use super::planes::{CHANNELS, Planes, of_channels};
use super::samples::coordinates;
use super::strokes::{BORDER, Plane};

/// Pixels of a row that are looked at together.
pub(super) const RUN: usize = 8;

/// Runs of pixels some of which differ from the paper.
pub(super) struct Runs<const C: usize> {
    /// The column and the row of the first pixel of each.
    starts: Vec<(usize, usize)>,
    /// How all of their pixels differ from the paper, per plane; 0 in places beyond the end of a row.
    planes: [Vec<f64>; C],
}

impl<const C: usize> Runs<C> {
    /// All pixels that are farther from the paper than `near`, and some that are not.
    #[inline(always)]
    pub(super) fn beyond(near: f64, picture: &Planes<C>, paper: &Paper<C>) -> Self {
        let Planes { width, height, .. } = *picture;
        let xs = coordinates(width);
        let some = width * height / 4;
        let planes = std::array::from_fn(|_| Vec::with_capacity(some));
        let mut runs = Self { starts: Vec::with_capacity(some / RUN), planes };
        let mut outside = vec![false; width.div_ceil(RUN)];
        for (y, place) in coordinates(height).into_iter().enumerate() {
            let row = paper.row(place);
            let bounds = near_colours(&row, near);
            let mut base_is_near = true;
            for (base, (low, high)) in paper.base.iter().zip(bounds) {
                base_is_near &= (*base >= low) & (*base <= high);
            }
            // Where there is nothing but the base there is nothing to find.
            let columns = if base_is_near { paper.coloured[y].clone() } else { 0..width };
            let of_row = columns.start / RUN..columns.end.div_ceil(RUN);
            if of_row.is_empty() {
                continue;
            }
            let colours = picture.row(y);
            outside[of_row.clone()].fill(false);
            for (colours, bounds) in colours.iter().zip(bounds) {
                mark(&colours[of_row.start * RUN..width.min(of_row.end * RUN)], bounds, &mut outside[of_row.clone()]);
            }
            let first = runs.starts.len();
            for run in of_row {
                if outside[run] {
                    runs.starts.push((run * RUN, y));
                }
            }
            runs.add_differences(first, &colours, &row, &xs);
        }
        runs
    }

    /// The differences of a row's `colours` from the paper, for its runs, which are those from `first` on.
    #[inline(always)]
    fn add_differences(&mut self, first: usize, colours: &[&[u8]; C], row: &Row<C>, xs: &[f64]) {
        for ((terms, differences), colours) in row.iter().zip(&mut self.planes).zip(colours) {
            differences.resize(self.starts.len() * RUN, 0.0);
            let of_row = differences[first * RUN..].as_chunks_mut::<RUN>().0;
            for ((start, _), differences) in self.starts[first..].iter().zip(of_row) {
                let (xs, colours) = (&xs[*start..], &colours[*start..]);
                match (xs.first_chunk::<RUN>(), colours.first_chunk::<RUN>()) {
                    (Some(xs), Some(colours)) => subtract(terms, xs, colours, differences),
                    _ => subtract(terms, xs, colours, differences),
                }
            }
        }
    }

    /// The squares of a run's differences, all channels together.
    #[inline(always)]
    fn squares(&self, run: usize) -> [f64; RUN] {
        let mut squares = [0.0; RUN];
        let [red, green, blue] = self.run(run);
        for (place, square) in squares.iter_mut().enumerate() {
            *square = red[place] * red[place] + green[place] * green[place] + blue[place] * blue[place];
        }
        squares
    }

    /// The differences of a run, channel by channel.
    #[inline(always)]
    fn run(&self, run: usize) -> [&[f64; RUN]; CHANNELS] {
        let mut channels = [&[0.0; RUN]; CHANNELS];
        for (channel, differences) in channels.iter_mut().enumerate() {
            *differences = &self.planes[channel % C].as_chunks().0[run];
        }
        channels
    }

    /// The direction of the strongest differences, each counted by its square: of length 1, or none.
    #[inline(always)]
    pub(super) fn direction(&self) -> Option<[f64; CHANNELS]> {
        let mut most = [0.0; RUN];
        for run in 0..self.starts.len() {
            for (most, square) in most.iter_mut().zip(self.squares(run)) {
                *most = if square > *most { square } else { *most };
            }
        }
        let strong = 0.25 * greatest(&most);
        let mut sums = [0.0; C];
        for run in 0..self.starts.len() {
            let squares = self.squares(run);
            // A difference that does not count changes no sum, and most stand side by side.
            if greatest(&squares) <= strong {
                continue;
            }
            for (sum, plane) in sums.iter_mut().zip(&self.planes) {
                for (difference, square) in plane.as_chunks::<RUN>().0[run].iter().zip(squares) {
                    *sum += difference * if square > strong { square } else { 0.0 };
                }
            }
        }
        let direction = of_channels::<C>().map(|plane| sums[plane]);
        let norm = direction.iter().map(|value| value * value).sum::<f64>().sqrt();
        (norm > 0.0).then(|| direction.map(|value| value / norm))
    }

    /// How far each pixel is from the paper in `direction`, 0 for what lies in the other; and the farthest.
    #[inline(always)]
    pub(super) fn along(&self, direction: [f64; CHANNELS]) -> (Vec<f64>, f64) {
        let mut values = vec![0.0; RUN * self.starts.len()];
        let mut most = [0.0; RUN];
        for (run, values) in values.as_chunks_mut::<RUN>().0.iter_mut().enumerate() {
            let [red, green, blue] = self.run(run);
            for (place, (value, most)) in values.iter_mut().zip(&mut most).enumerate() {
                let along = red[place] * direction[0] + green[place] * direction[1] + blue[place] * direction[2];
                *value = if along > 0.0 { along } else { 0.0 };
                *most = if *value > *most { *value } else { *most };
            }
        }
        (values, greatest(&most))
    }

    /// The `values` of these pixels and 0 for the others, cut to where the values are above `threshold`, with a border
    /// of [`BORDER`] pixels, which may lie beyond the picture. None when no value is. Of a picture of `width`.
    #[inline(always)]
    pub(super) fn plane(&self, values: &[f32], threshold: f32, width: usize) -> Option<Plane> {
        let values = values.as_chunks::<RUN>().0;
        let (mut top, mut bottom, mut left, mut right) = (usize::MAX, 0, usize::MAX, 0);
        for ((x, y), values) in self.starts.iter().zip(values) {
            if values.iter().fold(false, |inked, value| inked | (*value > threshold)) {
                (top, bottom) = (top.min(*y), bottom.max(*y));
                (left, right) = (left.min(*x), right.max((x + RUN).min(width)));
            }
        }
        if top > bottom {
            return None;
        }
        // The coordinates are moved by the border, so that it may lie beyond the edge.
        let (wide, high) = (right - left + 2 * BORDER, bottom - top + 1 + 2 * BORDER);
        let mut plane = Plane { width: wide, height: high, values: vec![0.0; wide * high] };
        for ((x, y), values) in self.starts.iter().zip(values) {
            let Some(y) = (y + BORDER).checked_sub(top).filter(|y| *y < high) else { continue };
            // How many of the first pixels lie left of the plane, and where in it the others are.
            let (cut, x) = (left.saturating_sub(x + BORDER), (x + BORDER).saturating_sub(left));
            let row = &mut plane.values[y * wide..(y + 1) * wide];
            if let (Some(places), Some(values)) = (row.get_mut(x..), values.get(cut..)) {
                match (places.first_chunk_mut::<RUN>(), values.first_chunk::<RUN>()) {
                    (Some(places), Some(values)) => *places = *values,
                    _ => places.iter_mut().zip(values).for_each(|(place, value)| *place = *value),
                }
            }
        }
        Some(plane)
    }
}

/// Marks the runs of which a colour is below `low` or above `high`.
#[inline(always)]
fn mark(colours: &[u8], (low, high): (u8, u8), outside: &mut [bool]) {
    let (runs, rest) = colours.as_chunks::<RUN>();
    for (outside, run) in outside.iter_mut().zip(runs) {
        for colour in run {
            *outside |= (*colour < low) | (*colour > high);
        }
    }
    if let Some(outside) = outside.get_mut(runs.len()) {
        for colour in rest {
            *outside |= (*colour < low) | (*colour > high);
        }
    }
}

/// How colours differ from the paper at places along a row.
#[inline(always)]
fn subtract([one, linear, square]: &[f64; 3], xs: &[f64], colours: &[u8], differences: &mut [f64; RUN]) {
    for (difference, (x, colour)) in differences.iter_mut().zip(xs.iter().zip(colours)) {
        let paper = (square * x + linear) * x + one;
        let paper = if paper > 0.0 { paper } else { 0.0 };
        let paper = if paper < 255.0 { paper } else { 255.0 };
        *difference = f64::from(*colour) - paper;
    }
}

/// The least and the greatest colours that are within `near` of the paper anywhere along a row, per plane.
#[inline(always)]
fn near_colours<const C: usize>(row: &Row<C>, near: f64) -> [(u8, u8); C] {
    // Per channel, so that all three together are within it; and rounding errors are no difference.
    let near = (near / 3.0_f64.sqrt() * 0.999).max(1e-9);
    let mut bounds = [(u8::MAX, 0); C];
    for ([one, linear, square], bounds) in row.iter().zip(&mut bounds) {
        // The vertex of the parabola; a constant has it anywhere.
        let vertex = -linear / (2.0 * square);
        let vertex = if vertex.is_nan() { 0.0 } else { vertex.clamp(-1.0, 1.0) };
        let (mut least, mut most) = (255.0_f64, 0.0_f64);
        for x in [-1.0, 1.0, vertex] {
            let paper = ((square * x + linear) * x + one).clamp(0.0, 255.0);
            (least, most) = (least.min(paper), most.max(paper));
        }
        let (low, high) = ((most - near).ceil(), (least + near).floor());
        if low <= high {
            *bounds = (low as u8, high as u8);
        }
    }
    bounds
}

/// The greatest of some numbers and 0.
#[inline(always)]
fn greatest(values: &[f64; RUN]) -> f64 {
    let [a, b, c, d, e, f, g, h] = *values;
    let greater = |a: f64, b: f64| if a > b { a } else { b };
    greater(greater(greater(a, b), greater(c, d)), greater(greater(e, f), greater(g, h)))
}
