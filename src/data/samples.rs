//! The pixels that the paper is fitted to: where a picture is looked at, and which of it is blank, that is, has the one
//! colour that most of the border has.

use image::RgbImage;

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
    pub(super) fn of(picture: &RgbImage) -> Self {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
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

/// Colours at places of one row, counted from the base; 0 in lanes without a place.
pub(super) type Colours = [[f64; LANES]; 3];

/// Of a block that is blank.
pub(super) const BASE: Colours = [[0.0; LANES]; 3];

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

/// The median of the border's colours, per channel, and which rows have no other colour.
pub(super) fn border_median(picture: &RgbImage, grid: &Grid, columns: &[Columns]) -> ([u8; 3], Vec<bool>) {
    // Most have one colour, often that of the first: those need not be counted one by one.
    let first: [u8; 3] = picture.get_pixel(0, 0).0;
    let row_of_first = first.repeat(grid.width);
    let (mut counts, mut total, mut same) = ([[0_u32; 256]; 3], 0, 0);
    let mut rows_of_first = Vec::with_capacity(grid.height);
    for (y, row) in picture.as_raw().chunks_exact(3 * grid.width).enumerate() {
        let places = &columns[grid.columns_of(y, Region::Border)].places;
        total += places.len();
        rows_of_first.push(row == row_of_first);
        if rows_of_first[y] {
            same += places.len() as u32;
            continue;
        }
        for x in places {
            let colour = [row[3 * x], row[3 * x + 1], row[3 * x + 2]];
            if colour == first {
                same += 1;
            } else {
                (0..3).for_each(|channel| counts[channel][usize::from(colour[channel])] += 1);
            }
        }
    }
    (0..3).for_each(|channel| counts[channel][usize::from(first[channel])] += same);
    let median = counts.map(|counts| {
        let mut below = 0;
        let reached = |count: &u32| {
            below += *count as usize;
            below > total / 2
        };
        counts.iter().position(reached).unwrap_or(0) as u8
    });
    if median != first {
        rows_of_first.fill(false);
    }
    (median, rows_of_first)
}

/// The places that are looked at, row by row, in blocks of [`LANES`]. A block is blank when all of its pixels have the
/// colour of the base, and is then not kept.
pub(super) struct Samples<'a> {
    columns: &'a [Columns],
    /// Blocks that are not blank, and which of its row each is.
    pub(super) coloured: Vec<(usize, Colours)>,
    /// y, the row's columns, and the end of its coloured blocks.
    rows: Vec<(f64, usize, usize)>,
    pub(super) count: usize,
    /// How many of them are in blank blocks.
    pub(super) blank: usize,
}

/// A row of samples.
pub(super) struct SampledRow<'a> {
    pub(super) y: f64,
    pub(super) columns: &'a Columns,
    pub(super) coloured: &'a [(usize, Colours)],
}

impl<'a> Samples<'a> {
    pub(super) fn new(
        picture: &RgbImage,
        (base, blank_rows): ([u8; 3], &[bool]),
        grid: &Grid,
        columns: &'a [Columns],
        region: Region,
    ) -> Self {
        let ys = coordinates(grid.height);
        let blank_row = base.repeat(grid.width);
        let rows = Vec::with_capacity(grid.height);
        let mut samples = Self { columns, coloured: Vec::new(), rows, count: 0, blank: 0 };
        for ((y, row), place) in picture.as_raw().chunks_exact(3 * grid.width).enumerate().zip(ys) {
            let of_row = grid.columns_of(y, region);
            let places = &columns[of_row].places;
            samples.count += places.len();
            samples.blank += places.len();
            if !blank_rows[y] {
                for (index, places) in places.chunks(LANES).enumerate() {
                    if !is_blank(row, &blank_row, places) {
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
    pub(super) fn rows(&self) -> impl Iterator<Item = SampledRow<'_>> {
        let mut start = 0;
        self.rows.iter().map(move |&(y, columns, end)| SampledRow {
            y,
            columns: &self.columns[columns],
            coloured: &self.coloured[std::mem::replace(&mut start, end)..end],
        })
    }
}

impl SampledRow<'_> {
    /// The row's blocks, with their colours unless they are blank.
    #[inline(always)]
    pub(super) fn blocks(&self) -> impl Iterator<Item = (&Powers, Option<&Colours>)> {
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

/// Whether all places of a row are as those of a blank one.
fn is_blank(row: &[u8], blank_row: &[u8], places: &[usize]) -> bool {
    // What lies between them is mostly blank too, and sooner compared.
    let span = 3 * places[0]..3 * places[places.len() - 1] + 3;
    row[span.clone()] == blank_row[span] || places.iter().all(|x| row[3 * x..3 * x + 3] == blank_row[..3])
}

/// The colours at up to [`LANES`] places of a row.
fn colours(row: &[u8], places: &[usize], base: [u8; 3]) -> Colours {
    let mut colours = BASE;
    for (lane, x) in places.iter().enumerate() {
        for (channel, colours) in colours.iter_mut().enumerate() {
            colours[lane] = f64::from(row[3 * x + channel]) - f64::from(base[channel]);
        }
    }
    colours
}

/// The sum of the lanes.
pub(super) fn total(lanes: [f64; LANES]) -> f64 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + b) + (c + d)) + ((e + f) + (g + h))
}
