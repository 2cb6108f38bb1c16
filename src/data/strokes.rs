//! The shape of ink: its pieces, the width of its strokes, and how it is scaled without losing them.

use std::collections::VecDeque;

/// One value per pixel, row by row: 0 paper, 1 ink.
#[derive(Clone, Debug)]
pub(super) struct Plane {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) values: Vec<f32>,
}

/// A piece with at least this share of the largest piece's ink belongs to the digit wherever it is.
const LARGE_PIECE: f32 = 0.1;

/// A piece with at least this share belongs to the digit when it is close to the largest one.
const SMALL_PIECE: f32 = 0.015;

/// Close: the gap is at most this share of the largest piece's longer side.
const CLOSE: f32 = 0.15;

/// The faintest ink that counts for the crop.
const EDGE: f32 = 0.1;

/// The digit alone, cropped: pieces of ink that belong to it, with one pixel of their soft edge.
pub(super) fn isolate(ink: &Plane, threshold: f32) -> Plane {
    let (labels, pieces) = find_pieces(ink, threshold);
    let Some(main) = pieces.iter().max_by(|a, b| a.mass.total_cmp(&b.mass)) else { return ink.clone() };
    let longest = main.longer_side() as f32;
    let belongs: Vec<bool> = pieces
        .iter()
        .map(|piece| {
            let share = piece.mass / main.mass;
            share >= LARGE_PIECE || (share >= SMALL_PIECE && piece.gap_to(main) <= CLOSE * longest)
        })
        .collect();
    let kept = |x: usize, y: usize| {
        let label = labels[y * ink.width + x];
        label > 0 && belongs[label - 1]
    };
    let mut digit = ink.clone();
    for y in 0..ink.height {
        for x in (0..ink.width).filter(|x| ink.values[y * ink.width + x] > 0.0) {
            let mut around = (y.saturating_sub(1)..(y + 2).min(ink.height))
                .flat_map(|y| (x.saturating_sub(1)..(x + 2).min(ink.width)).map(move |x| (x, y)));
            if !around.any(|(x, y)| kept(x, y)) {
                digit.values[y * ink.width + x] = 0.0;
            }
        }
    }
    crop(&digit)
}

/// One connected piece of ink.
struct Piece {
    mass: f32,
    left: usize,
    right: usize,
    top: usize,
    bottom: usize,
}

impl Piece {
    fn longer_side(&self) -> usize {
        (self.right - self.left).max(self.bottom - self.top) + 1
    }

    /// The gap between the bounding boxes in pixels; 0 when they overlap.
    fn gap_to(&self, other: &Self) -> f32 {
        let apart = |start: usize, end: usize, other_start: usize, other_end: usize| {
            other_start.saturating_sub(end).max(start.saturating_sub(other_end))
        };
        apart(self.left, self.right, other.left, other.right).max(apart(self.top, self.bottom, other.top, other.bottom))
            as f32
    }
}

/// Numbers the pieces whose pixels touch by side or corner: a label per pixel (0: none), and the pieces by label - 1.
fn find_pieces(ink: &Plane, threshold: f32) -> (Vec<usize>, Vec<Piece>) {
    let mut labels = vec![0; ink.values.len()];
    let mut pieces = Vec::new();
    let mut queue = VecDeque::new();
    for start in 0..ink.values.len() {
        if labels[start] != 0 || ink.values[start] <= threshold {
            continue;
        }
        let (x, y) = (start % ink.width, start / ink.width);
        let mut piece = Piece { mass: 0.0, left: x, right: x, top: y, bottom: y };
        labels[start] = pieces.len() + 1;
        queue.push_back(start);
        while let Some(place) = queue.pop_front() {
            let (x, y) = (place % ink.width, place / ink.width);
            piece.mass += ink.values[place];
            (piece.left, piece.right) = (piece.left.min(x), piece.right.max(x));
            (piece.top, piece.bottom) = (piece.top.min(y), piece.bottom.max(y));
            for y in y.saturating_sub(1)..(y + 2).min(ink.height) {
                for x in x.saturating_sub(1)..(x + 2).min(ink.width) {
                    let neighbour = y * ink.width + x;
                    if labels[neighbour] == 0 && ink.values[neighbour] > threshold {
                        labels[neighbour] = pieces.len() + 1;
                        queue.push_back(neighbour);
                    }
                }
            }
        }
        pieces.push(piece);
    }
    (labels, pieces)
}

/// Cuts off rows and columns without ink.
fn crop(plane: &Plane) -> Plane {
    let inked = |x: usize, y: usize| plane.values[y * plane.width + x] > EDGE;
    let rows: Vec<usize> = (0..plane.height).filter(|&y| (0..plane.width).any(|x| inked(x, y))).collect();
    let columns: Vec<usize> = (0..plane.width).filter(|&x| (0..plane.height).any(|y| inked(x, y))).collect();
    let (Some(&top), Some(&bottom), Some(&left), Some(&right)) =
        (rows.first(), rows.last(), columns.first(), columns.last())
    else {
        return plane.clone();
    };
    let values = (top..=bottom).flat_map(|y| plane.values[y * plane.width + left..=y * plane.width + right].to_vec());
    Plane { width: right - left + 1, height: bottom - top + 1, values: values.collect() }
}

/// The stroke widths, as shares of the box, that are left alone; beyond them strokes are thickened or thinned to the
/// nearer one. In MNIST's box of 20 they are 2 and 5 pixels.
const STROKE_SHARES: (f32, f32) = (0.1, 0.25);

/// Scales the digit, aspect kept, so that its longer side is `side` pixels. One that is within a pixel of it already is
/// left as it is.
pub(super) fn scale_into(digit: &Plane, side: usize) -> Plane {
    let longer = digit.width.max(digit.height);
    if longer.abs_diff(side) <= 1 && longer <= side {
        return digit.clone();
    }
    let scale = side as f32 / longer as f32;
    let digit = if (0.75..1.33).contains(&scale) { digit.clone() } else { with_usual_strokes(digit, side, scale) };
    // Thickening has made it larger.
    let longer = digit.width.max(digit.height);
    let scaled = |length: usize| ((length * side) as f32 / longer as f32).round().max(1.0) as usize;
    resample(&digit, scaled(digit.width), scaled(digit.height))
}

/// Thickens or thins the strokes so that after scaling they are neither hairlines nor blobs.
fn with_usual_strokes(digit: &Plane, side: usize, scale: f32) -> Plane {
    let ink: Vec<bool> = digit.values.iter().map(|value| *value > 0.5).collect();
    let count = ink.iter().filter(|ink| **ink).count();
    if count == 0 {
        return digit.clone();
    }
    // A pixel's edge is half a pixel nearer than the next pixel's centre. Across a stroke, the distance to the edge
    // averages a quarter of its width.
    let inside = distances(&ink, digit.width, false);
    let width = 4.0 * inside.iter().map(|distance| (distance - 0.5).max(0.0)).sum::<f32>() / count as f32;
    let (thinnest, thickest) = (STROKE_SHARES.0 * side as f32 / scale, STROKE_SHARES.1 * side as f32 / scale);
    let grow = (width.clamp(thinnest, thickest) - width) / 2.0;
    if grow.abs() < 0.5 {
        return digit.clone();
    }
    let margin = grow.max(0.0).ceil() as usize;
    let (wide, high) = (digit.width + 2 * margin, digit.height + 2 * margin);
    let mut padded = vec![false; wide * high];
    for (row, values) in ink.chunks_exact(digit.width).enumerate() {
        padded[(row + margin) * wide + margin..][..digit.width].copy_from_slice(values);
    }
    let (outside, inside) = (distances(&padded, wide, true), distances(&padded, wide, false));
    let value = |(outside, inside): (&f32, &f32)| {
        let signed = if *inside > 0.0 { 0.5 - inside } else { outside - 0.5 };
        (0.5 + grow - signed).clamp(0.0, 1.0)
    };
    crop(&Plane { width: wide, height: high, values: outside.iter().zip(&inside).map(value).collect() })
}

/// For each pixel the distance to the nearest one with `ink == to`, which counts as there beyond the border when `to` is
/// false (Felzenszwalb and Huttenlocher, 2012).
fn distances(ink: &[bool], width: usize, to: bool) -> Vec<f32> {
    let height = ink.len() / width;
    let far = (width + height + 2) as f32;
    let mut squares: Vec<f32> = ink.iter().map(|ink| if *ink == to { 0.0 } else { far * far }).collect();
    let border = if to { far * far } else { 0.0 };
    for row in squares.chunks_exact_mut(width) {
        let line = lower_envelope(row, border);
        row.copy_from_slice(&line);
    }
    for column in 0..width {
        let values: Vec<f32> = (0..height).map(|row| squares[row * width + column]).collect();
        for (row, value) in lower_envelope(&values, border).into_iter().enumerate() {
            squares[row * width + column] = value;
        }
    }
    squares.into_iter().map(f32::sqrt).collect()
}

/// The smallest of the parabolas that stand on `values`, and on `border` one step beyond each end, at every place.
fn lower_envelope(values: &[f32], border: f32) -> Vec<f32> {
    let heights: Vec<f32> =
        std::iter::once(border).chain(values.iter().copied()).chain(std::iter::once(border)).collect();
    // Parabolas on the envelope, each with the place from which it is the lowest.
    let mut lowest: Vec<(usize, f32)> = vec![(0, f32::NEG_INFINITY)];
    for place in 1..heights.len() {
        let mut from;
        loop {
            let (other, start) = lowest[lowest.len() - 1];
            let rise = heights[place] + (place * place) as f32 - heights[other] - (other * other) as f32;
            from = rise / (2 * (place - other)) as f32;
            if from > start || lowest.len() == 1 {
                break;
            }
            lowest.pop();
        }
        lowest.push((place, from));
    }
    let mut current = 0;
    let value = |place: usize| {
        while lowest.get(current + 1).is_some_and(|(_, from)| *from <= place as f32) {
            current += 1;
        }
        let (base, _) = lowest[current];
        (place as f32 - base as f32).powi(2) + heights[base]
    };
    (1..=values.len()).map(value).collect()
}

/// Averages over areas where the plane shrinks, interpolates where it grows.
fn resample(plane: &Plane, width: usize, height: usize) -> Plane {
    let rows: Vec<Vec<(usize, f32)>> = weights(plane.height, height);
    let columns = weights(plane.width, width);
    let mut values = Vec::with_capacity(width * height);
    for row in &rows {
        let mut line = vec![0.0; plane.width];
        for (from, weight) in row {
            for (sum, value) in line.iter_mut().zip(&plane.values[from * plane.width..]) {
                *sum += weight * value;
            }
        }
        values
            .extend(columns.iter().map(|column| column.iter().map(|(from, weight)| weight * line[*from]).sum::<f32>()));
    }
    Plane { width, height, values }
}

/// For each of `to` pixels the source pixels and weights that make it, out of `from`.
fn weights(from: usize, to: usize) -> Vec<Vec<(usize, f32)>> {
    let step = from as f32 / to as f32;
    let place = |index: usize| {
        let (start, end) = (index as f32 * step, (index + 1) as f32 * step);
        if step >= 1.0 {
            let pixels = start as usize..(end.ceil() as usize).min(from);
            let overlap = |pixel: usize| (end.min((pixel + 1) as f32) - start.max(pixel as f32)).max(0.0) / step;
            return pixels.map(|pixel| (pixel, overlap(pixel))).collect();
        }
        let centre = ((start + end) / 2.0 - 0.5).clamp(0.0, (from - 1) as f32);
        let before = centre as usize;
        let share = centre - before as f32;
        vec![(before, 1.0 - share), ((before + 1).min(from - 1), share)]
    };
    (0..to).map(place).collect()
}
