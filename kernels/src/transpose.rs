//! Matrices with rows and columns exchanged, in squares: eight rows of eight values are read, exchanged in registers and
//! written as eight rows. The compiler does not find the shuffles for that by itself.

/// The side of a square: as many values as half a cache line has, and a register of AVX.
const SIDE: usize = 8;

type Square = [[f32; SIDE]; SIDE];

/// `to[column * to_stride + row] = from[row * from_stride + column]` for all of `rows` and `columns`; what lies between in `to` is
/// left as it is.
///
/// # Panics
/// If a place is beyond the end of its array.
pub(super) fn transpose(
    from: &[f32],
    from_stride: usize,
    [rows, columns]: [usize; 2],
    to: &mut [f32],
    to_stride: usize,
) {
    let work = Transpose { from, from_stride, rows, columns, to, to_stride };
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return simd.vectorize(OnAvx { simd, work });
    }
    work.run(|square| std::array::from_fn(|column| std::array::from_fn(|row| square[row][column])));
}

struct Transpose<'a> {
    from: &'a [f32],
    from_stride: usize,
    rows: usize,
    columns: usize,
    to: &'a mut [f32],
    to_stride: usize,
}

impl Transpose<'_> {
    #[inline(always)]
    fn run(mut self, exchanged: impl Fn(Square) -> Square) {
        let (whole_rows, whole_columns) = (self.rows / SIDE * SIDE, self.columns / SIDE * SIDE);
        // Along the longer rows, which may all begin in the same few lines of a cache.
        if self.from_stride > self.to_stride {
            for row in (0..whole_rows).step_by(SIDE) {
                for column in (0..whole_columns).step_by(SIDE) {
                    self.square(row, column, &exchanged);
                }
            }
        } else {
            for column in (0..whole_columns).step_by(SIDE) {
                for row in (0..whole_rows).step_by(SIDE) {
                    self.square(row, column, &exchanged);
                }
            }
        }
        let Self { from, from_stride, rows, columns, to, to_stride } = self;
        let mut one = |row: usize, column: usize| to[column * to_stride + row] = from[row * from_stride + column];
        for column in 0..whole_columns {
            (whole_rows..rows).for_each(|row| one(row, column));
        }
        for column in whole_columns..columns {
            (0..rows).for_each(|row| one(row, column));
        }
    }

    /// The square that begins at a row and a column.
    #[inline(always)]
    fn square(&mut self, row: usize, column: usize, exchanged: &impl Fn(Square) -> Square) {
        let mut square = [[0.0; SIDE]; SIDE];
        for (i, values) in square.iter_mut().enumerate() {
            *values = *self.from[(row + i) * self.from_stride + column..].first_chunk().expect("a row of the square");
        }
        for (i, values) in exchanged(square).into_iter().enumerate() {
            let to = &mut self.to[(column + i) * self.to_stride + row..];
            *to.first_chunk_mut().expect("a row of the square") = values;
        }
    }
}

#[cfg(target_arch = "x86_64")]
struct OnAvx<'a> {
    simd: pulp::x86::V3,
    work: Transpose<'a>,
}

#[cfg(target_arch = "x86_64")]
impl pulp::NullaryFnOnce for OnAvx<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { simd, work } = self;
        let avx = simd.avx;
        work.run(
            #[inline(always)]
            |square| {
                let rows = square.map(pulp::cast);
                // Of rows a and b: a0 b0 a1 b1 | a4 b4 a5 b5, and the others.
                let pairs = |a: usize, b: usize| {
                    (avx._mm256_unpacklo_ps(rows[a], rows[b]), avx._mm256_unpackhi_ps(rows[a], rows[b]))
                };
                let ((ab, ab_high), (cd, cd_high)) = (pairs(0, 1), pairs(2, 3));
                let ((ef, ef_high), (gh, gh_high)) = (pairs(4, 5), pairs(6, 7));
                // a0 b0 c0 d0 | a4 b4 c4 d4, then those of 1 and 5.
                let fours = |a, b| (avx._mm256_shuffle_ps::<0x44>(a, b), avx._mm256_shuffle_ps::<0xee>(a, b));
                let (upper, lower) =
                    ([fours(ab, cd), fours(ab_high, cd_high)], [fours(ef, gh), fours(ef_high, gh_high)]);
                let halves =
                    |a, b| (avx._mm256_permute2f128_ps::<0x20>(a, b), avx._mm256_permute2f128_ps::<0x31>(a, b));
                let ((c0, c4), (c1, c5)) = (halves(upper[0].0, lower[0].0), halves(upper[0].1, lower[0].1));
                let ((c2, c6), (c3, c7)) = (halves(upper[1].0, lower[1].0), halves(upper[1].1, lower[1].1));
                [c0, c1, c2, c3, c4, c5, c6, c7].map(pulp::cast)
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_goes_to_its_place_and_nothing_else_is_touched() {
        for (rows, columns) in (0..20).flat_map(|rows| (0..20).map(move |columns| (rows, columns))) {
            let (from_stride, to_stride) = (columns + rows % 3, rows + columns % 4);
            let from: Vec<f32> = (0..rows * from_stride).map(|place| place as f32).collect();
            let mut to = vec![-1.0; columns * to_stride];
            transpose(&from, from_stride, [rows, columns], &mut to, to_stride);
            for (place, value) in to.into_iter().enumerate() {
                let (column, row) = (place / to_stride, place % to_stride);
                let expected = if row < rows { from[row * from_stride + column] } else { -1.0 };
                assert_eq!(value, expected, "{rows}x{columns} at {row}, {column}");
            }
        }
    }
}
