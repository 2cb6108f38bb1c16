//! The pixels that the paper is fitted to: where a picture is looked at, and which of it is blank, that is, has the one
//! colour that most of the border has.

use std::ops::Range;

use super::planes::Planes;

/// Places that are worked on together.
pub(super) const LANES: usize = 8;

/// Some so many places are enough to fit a surface to.
const PLACES: f64 = 20_000.0;

/// A place in the picture from -1 to 1.
pub(super) fn coordinates(length: usize) -> Vec<f64> {
    (0..length).map(|place| 2.0 * place as f64 / (length - 1) as f64 - 1.0).collect()
}

/// Which places are looked at.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Region {
    Border,
    Everywhere,
}

/// Which pixels are looked at: on the border every so many in a row, as on a chessboard, and elsewhere half as many.
pub(super) struct Grid {
    pub(super) width: usize,
    height: usize,
    step: usize,
    /// The width of the border.
    margin: usize,
}

impl Grid {
    pub(super) fn of<const C: usize>(picture: &Planes<C>) -> Self {
        let Planes { width, height, .. } = *picture;
        let step = ((width * height) as f64 / PLACES).sqrt().ceil().max(1.0) as usize;
        Self { width, height, step, margin: (width.min(height) / 25).max(1) }
    }

    /// Where row `y` is looked at: in which of the [`columns`](Self::columns).
    pub(super) fn columns_of(&self, y: usize, region: Region) -> usize {
        let Self { height, step, margin, .. } = *self;
        let whole = y < margin || y >= height - margin || (region == Region::Everywhere && y.is_multiple_of(step));
        2 * ((step - y % step) % step) + usize::from(whole)
    }

    /// All columns that a row may be looked at in: from each start those at the left and right border, and all.
    pub(super) fn columns(&self) -> Vec<Columns> {
        let Self { width, step, margin, .. } = *self;
        let xs = coordinates(width);
        let of = |first: usize, left: usize, right: usize| {
            let first_right = first + right.saturating_sub(first).div_ceil(step) * step;
            Columns::new((first..left).step_by(step).chain((first_right..width).step_by(step)).collect(), &xs)
        };
        (0..step).flat_map(|first| [of(first, margin, width - margin), of(first, width, width)]).collect()
    }
}

/// How many powers of x the sums take.
pub(super) const POWERS: usize = 5;

/// The powers 0 to 4 of x at places of one row; 0 in lanes without a place.
pub(super) type Powers = [[f64; LANES]; POWERS];

/// Colours at places of one row, counted from the base, per plane; 0 in lanes without a place.
pub(super) type Colours<const C: usize> = [[f64; LANES]; C];

/// Of a block that is blank.
pub(super) const fn base_colours<const C: usize>() -> Colours<C> {
    [[0.0; LANES]; C]
}

/// Places of a row that are looked at.
pub(super) struct Columns {
    pub(super) places: Vec<usize>,
    powers: Vec<Powers>,
    /// The sums of the powers, which are all that a blank row adds.
    pub(super) sums: [f64; POWERS],
}

impl Columns {
    fn new(places: Vec<usize>, xs: &[f64]) -> Self {
        let (mut powers, mut sums) = (Vec::with_capacity(places.len() / LANES + 1), [[0.0; LANES]; POWERS]);
        for block in places.chunks(LANES) {
            let mut of_block = [[0.0; LANES]; POWERS];
            for (lane, place) in block.iter().enumerate() {
                let mut power = 1.0;
                for (of_block, sums) in of_block.iter_mut().zip(&mut sums) {
                    of_block[lane] = power;
                    sums[lane] += power;
                    power *= xs[*place];
                }
            }
            powers.push(of_block);
        }
        Self { places, powers, sums: sums.map(total) }
    }
}

/// The median of the border's colours, per plane, and the columns of each row in which there may be another colour.
pub(super) fn border_median<const C: usize>(
    picture: &Planes<C>,
    grid: &Grid,
    columns: &[Columns],
) -> ([u8; C], Vec<Range<usize>>) {
    // Most have one colour, often that of the first: those need not be counted one by one.
    let first = picture.first();
    let (mut counts, mut total, mut same) = ([[0_u32; 256]; C], 0, 0);
    let mut others = Vec::with_capacity(grid.height);
    for y in 0..grid.height {
        let row = picture.row(y);
        let places = &columns[grid.columns_of(y, Region::Border)].places;
        total += places.len();
        let mut of_row = grid.width..0;
        for (row, first) in row.iter().zip(first) {
            let of_plane = other_than(row, first);
            of_row = of_row.start.min(of_plane.start)..of_row.end.max(of_plane.end);
        }
        others.push(of_row.clone());
        if of_row.is_empty() {
            same += places.len() as u32;
            continue;
        }
        for x in places {
            let colour = row.map(|row| row[*x]);
            if colour == first {
                same += 1;
            } else {
                (0..C).for_each(|channel| counts[channel][usize::from(colour[channel])] += 1);
            }
        }
    }
    (0..C).for_each(|channel| counts[channel][usize::from(first[channel])] += same);
    let median = counts.map(|counts| {
        let mut below = 0;
        let reached = |count: &u32| {
            below += *count as usize;
            below > total / 2
        };
        counts.iter().position(reached).unwrap_or(0) as u8
    });
    if median != first {
        others.fill(0..grid.width);
    }
    (median, others)
}

/// Pixels that are compared together.
const TOGETHER: usize = 32;

/// From the first value of `row` that is another than `value` to the last; reversed when there is none.
fn other_than(row: &[u8], value: u8) -> Range<usize> {
    let same = [value; TOGETHER];
    let (chunks, rest) = row.as_chunks::<TOGETHER>();
    let start = match chunks.iter().position(|chunk| *chunk != same) {
        Some(chunk) => chunk * TOGETHER,
        None if rest.iter().all(|other| *other == value) => return row.len()..0,
        None => row.len() - rest.len(),
    };
    let (rest, chunks) = row.as_rchunks::<TOGETHER>();
    let end = match chunks.iter().rposition(|chunk| *chunk != same) {
        Some(chunk) => rest.len() + (chunk + 1) * TOGETHER,
        None => rest.len(),
    };
    start..end
}

/// The places that are looked at, row by row, in blocks of [`LANES`]. A block is blank when all pixels from its first to
/// its last have the colour of the base, and is then not kept.
pub(super) struct Samples<'a, const C: usize> {
    columns: &'a [Columns],
    /// Blocks that are not blank, and which of its row each is.
    pub(super) coloured: Vec<(usize, Colours<C>)>,
    /// y, the row's columns, and the end of its coloured blocks.
    rows: Vec<(f64, usize, usize)>,
    pub(super) count: usize,
    /// How many of them are in blank blocks.
    pub(super) blank: usize,
}

/// A row of samples.
pub(super) struct SampledRow<'a, const C: usize> {
    pub(super) y: f64,
    pub(super) columns: &'a Columns,
    pub(super) coloured: &'a [(usize, Colours<C>)],
}

impl<'a, const C: usize> Samples<'a, C> {
    pub(super) fn new(
        picture: &Planes<C>,
        (base, coloured): ([u8; C], &[Range<usize>]),
        grid: &Grid,
        columns: &'a [Columns],
        region: Region,
    ) -> Self {
        let blank_row = base.map(|value| vec![value; grid.width]);
        let rows = Vec::with_capacity(grid.height);
        let mut samples = Self { columns, coloured: Vec::new(), rows, count: 0, blank: 0 };
        for (y, place) in coordinates(grid.height).into_iter().enumerate() {
            let of_row = grid.columns_of(y, region);
            let places = &columns[of_row].places;
            samples.count += places.len();
            samples.blank += places.len();
            let Range { start, end } = coloured[y];
            if start < end {
                let row = picture.row(y);
                for (index, places) in places.chunks(LANES).enumerate() {
                    let span = places[0]..places[places.len() - 1] + 1;
                    if span.end <= start || span.start >= end {
                        continue;
                    }
                    if (0..C).any(|channel| row[channel][span.clone()] != blank_row[channel][span.clone()]) {
                        samples.blank -= places.len();
                        samples.coloured.push((index, colours(row, places, base)));
                    }
                }
            }
            samples.rows.push((place, of_row, samples.coloured.len()));
        }
        samples
    }

    #[inline(always)]
    pub(super) fn rows(&self) -> impl Iterator<Item = SampledRow<'_, C>> {
        let mut start = 0;
        self.rows.iter().map(move |&(y, columns, end)| SampledRow {
            y,
            columns: &self.columns[columns],
            coloured: &self.coloured[std::mem::replace(&mut start, end)..end],
        })
    }
}

impl<const C: usize> SampledRow<'_, C> {
    /// The row's blocks, with their colours unless they are blank.
    #[inline(always)]
    pub(super) fn blocks(&self) -> impl Iterator<Item = (&Powers, Option<&Colours<C>>)> {
        let mut coloured = self.coloured;
        self.columns.powers.iter().enumerate().map(move |(index, powers)| match coloured {
            [(next, colours), rest @ ..] if *next == index => {
                coloured = rest;
                (powers, Some(colours))
            }
            _ => (powers, None),
        })
    }
}

/// The colours at up to [`LANES`] places of a row.
fn colours<const C: usize>(row: [&[u8]; C], places: &[usize], base: [u8; C]) -> Colours<C> {
    let mut colours = base_colours();
    for ((colours, row), base) in colours.iter_mut().zip(row).zip(base) {
        for (colour, x) in colours.iter_mut().zip(places) {
            *colour = f64::from(i16::from(row[*x]) - i16::from(base));
        }
    }
    colours
}

/// The sum of the lanes.
#[inline(always)]
pub(super) fn total(lanes: [f64; LANES]) -> f64 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + b) + (c + d)) + ((e + f) + (g + h))
}
