//! Tiles of sums in registers, channels side by side in vectors, and what is done with them before they are stored.

use pulp::{Simd, WithSimd};

use super::super::pool::{INACTIVE, PoolIndex};

/// See [`Sums`].
pub(in super::super) fn sum(work: Sums) {
    pulp::Arch::new().dispatch(work);
}

/// For each of `starts` the sum over the `steps` of a value of the image, at the start and the step, times the step's `count`
/// vectors, one to three, in the order of the steps.
pub(in super::super) struct Sums<'a> {
    pub(in super::super) image: &'a [f32],
    /// `[steps, count, lanes]`.
    pub(in super::super) vectors: &'a [f32],
    pub(in super::super) count: usize,
    pub(in super::super) steps: &'a [usize],
    pub(in super::super) starts: &'a [usize],
    /// `[starts or places, count, lanes]`.
    pub(in super::super) results: &'a mut [f32],
    /// Where the sums go.
    pub(in super::super) to: To<'a>,
}

/// What is done with the sums of each start.
#[derive(Clone, Copy)]
pub(in super::super) enum To<'a> {
    /// They are the result of the start.
    Own,
    /// They are added to it.
    Add,
    /// They are added to that of another place.
    AddAt(&'a [usize]),
}

impl WithSimd for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.count {
            1 => self.run::<S, 1>(simd),
            2 => self.run::<S, 2>(simd),
            3 => self.run::<S, 3>(simd),
            count => unreachable!("a bundle of {count} blocks"),
        }
    }
}

impl Sums<'_> {
    #[inline(always)]
    fn run<S: Simd, const COUNT: usize>(mut self, simd: S) {
        let span = self.steps.iter().max().map_or(0, |last| last + 1);
        // A tile, the vectors and a value of the image fit into 16 registers.
        let most = match COUNT {
            1 => 8,
            2 => 6,
            _ => 4,
        };
        let mut first = 0;
        while first < self.starts.len() {
            let left = self.starts.len() - first;
            // Tiles of about the same size: a small one waits for its sums.
            first += match left.div_ceil(left.div_ceil(most)) {
                1 => self.tile::<S, COUNT, 1>(simd, first, span),
                2 => self.tile::<S, COUNT, 2>(simd, first, span),
                3 => self.tile::<S, COUNT, 3>(simd, first, span),
                4 => self.tile::<S, COUNT, 4>(simd, first, span),
                5 if COUNT < 3 => self.tile::<S, COUNT, 5>(simd, first, span),
                6 if COUNT < 3 => self.tile::<S, COUNT, 6>(simd, first, span),
                7 if COUNT < 2 => self.tile::<S, COUNT, 7>(simd, first, span),
                _ if COUNT < 2 => self.tile::<S, COUNT, 8>(simd, first, span),
                size => unreachable!("{size} starts together"),
            };
        }
    }

    /// Of the `P` starts from `first` on; steps are below `span`. Returns how many starts it has done.
    #[inline(always)]
    fn tile<S: Simd, const COUNT: usize, const P: usize>(&mut self, simd: S, first: usize, span: usize) -> usize {
        let starts: &[usize; P] = self.starts[first..].first_chunk().expect("as many starts as the tile has");
        let mut images = [&self.image[..0]; P];
        // A loop of known length over slices of one length, so that one check below is enough for all.
        for p in 0..P {
            images[p] = &self.image[starts[p]..][..span];
        }
        let mut sums = [[simd.splat_f32s(0.0); COUNT]; P];
        for (vectors, step) in S::as_simd_f32s(self.vectors).0.as_chunks::<COUNT>().0.iter().zip(self.steps) {
            // One check for all images.
            assert!(*step < span, "a step is beyond the last");
            for (sums, image) in sums.iter_mut().zip(&images) {
                let value = simd.splat_f32s(image[*step]);
                for (sum, vector) in sums.iter_mut().zip(vectors) {
                    *sum = simd.mul_add_e_f32s(value, *vector, *sum);
                }
            }
        }
        let results = S::as_mut_simd_f32s(self.results).0.as_chunks_mut::<COUNT>().0;
        match self.to {
            To::Own => results[first..first + P].copy_from_slice(&sums),
            To::Add => {
                for (result, sum) in results[first..first + P].as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
                    *result = simd.add_f32s(*sum, *result);
                }
            }
            To::AddAt(places) => {
                for (place, sums) in places[first..first + P].iter().zip(&sums) {
                    for (result, sum) in results[*place].iter_mut().zip(sums) {
                        *result = simd.add_f32s(*sum, *result);
                    }
                }
            }
        }
        P
    }
}

/// ReLU, if asked; a NaN stays one.
#[inline(always)]
pub(in super::super) fn activate<S: Simd>(simd: S, value: S::f32s, relu: bool) -> S::f32s {
    if !relu {
        return value;
    }
    let zero = simd.splat_f32s(0.0);
    simd.select_f32s(simd.less_than_or_equal_f32s(value, zero), zero, value)
}

/// The maximum of a window of the pool, compared as [`super::super::pool::maximum`] does.
#[inline(always)]
pub(in super::super) fn maximum<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> S::f32s {
    let larger = |left, right| simd.select_f32s(simd.less_than_f32s(left, right), right, left);
    larger(larger(a, b), larger(c, d))
}

/// Where in its window the maximum is, as [`super::super::pool::maximum`] says it; `value` is the maximum with its bias.
#[inline(always)]
pub(in super::super) fn place_of<S: Simd>(
    simd: S,
    [a, b, c, d]: [S::f32s; 4],
    (value, relu): (S::f32s, bool),
) -> S::f32s {
    let number = |place: PoolIndex| simd.splat_f32s(f32::from(place));
    let larger = |(left, place), (right, other)| {
        let is_larger = simd.less_than_f32s(left, right);
        (simd.select_f32s(is_larger, right, left), simd.select_f32s(is_larger, other, place))
    };
    let upper = larger((a, number(0)), (b, number(1)));
    let (_, place) = larger(upper, larger((c, number(2)), (d, number(3))));
    if !relu {
        return place;
    }
    simd.select_f32s(simd.less_than_or_equal_f32s(value, simd.splat_f32s(0.0)), number(INACTIVE), place)
}

/// The vector at the beginning of some values.
#[inline(always)]
pub(in super::super) fn load<S: Simd>(values: &[f32]) -> S::f32s {
    S::as_simd_f32s(&values[..S::F32_LANES]).0[0]
}

/// Writes a vector to the beginning of some values.
#[inline(always)]
pub(in super::super) fn store<S: Simd>(values: &mut [f32], vector: S::f32s) {
    S::as_mut_simd_f32s(&mut values[..S::F32_LANES]).0[0] = vector;
}
