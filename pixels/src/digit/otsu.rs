//! What separates ink from paper (Otsu, "A threshold selection method from gray-level histograms", 1979), and what full
//! ink is.

use super::runs::RUN;

/// Classes of differences among which the threshold between paper and ink is chosen.
const BINS: usize = 256;

/// How strongly pixels differ from the paper.
pub(super) struct Strengths {
    values: Vec<f64>,
    largest: f64,
}

impl Strengths {
    /// Of values that are not negative, whole runs of them, and the largest.
    pub(super) fn new((values, largest): (Vec<f64>, f64)) -> Self {
        Self { values, largest }
    }

    /// Below it, values are of the first class.
    pub(super) fn first_class(&self) -> f64 {
        self.largest / BINS as f64
    }

    /// The values in their classes, with so many zeros that they are `total`.
    #[inline(always)]
    pub(super) fn counted(self, total: usize) -> Histogram {
        let largest = self.largest.max(f64::MIN_POSITIVE);
        // Equal values stand side by side, and each count waits for the one before it: so each lane is counted apart.
        let mut lanes = [[0_u32; BINS]; RUN];
        let mut classes = vec![0; self.values.len()];
        let per_class = BINS as f64 / largest;
        let chunks = self.values.as_chunks::<RUN>().0.iter().zip(classes.as_chunks_mut::<RUN>().0);
        for (values, classes) in chunks {
            // A product is sooner there than a quotient, and differs from it by too little to be of another class, unless
            // it is next to a whole number.
            let mut is_close = false;
            for (class, value) in classes.iter_mut().zip(values) {
                let product = value * per_class;
                *class = (product as i32).min(BINS as i32 - 1) as u8;
                let beside = (product - product.round_ties_even()).abs();
                is_close |= (beside < 1e-6) & (product > 0.5) & (product < BINS as f64 - 0.5);
            }
            if is_close {
                for (class, value) in classes.iter_mut().zip(values) {
                    *class = ((value / largest * BINS as f64) as i32).min(BINS as i32 - 1) as u8;
                }
            }
            for (class, counts) in classes.iter().zip(&mut lanes) {
                counts[usize::from(*class)] += 1;
            }
        }
        let counts = std::array::from_fn(|class| lanes.iter().map(|counts| u64::from(counts[class])).sum());
        Histogram { values: self.values, largest, classes, counts, total: total as u64 }
    }
}

/// Values in classes of equal width.
pub(super) struct Histogram {
    values: Vec<f64>,
    largest: f64,
    /// The class of each value.
    classes: Vec<u8>,
    counts: [u64; BINS],
    /// How many values there are with the zeros that are not listed.
    total: u64,
}

impl Histogram {
    /// The threshold with the largest variance between what is below and above it.
    #[inline(always)]
    pub(super) fn threshold(&self) -> f64 {
        let mut counts = self.counts;
        counts[0] = self.total - counts[1..].iter().sum::<u64>();
        let total = self.total as f64;
        let sum: f64 = (0..).zip(counts).map(|(class, count)| f64::from(class) * count as f64).sum();
        let (mut below, mut sum_below, mut best) = (0.0, 0.0, (0.0, 0));
        for (class, count) in counts.into_iter().enumerate() {
            below += count as f64;
            sum_below += class as f64 * count as f64;
            if below > 0.0 && below < total {
                let apart = sum_below / below - (sum - sum_below) / (total - below);
                let variance = below * (total - below) * apart * apart;
                if variance > best.0 {
                    best = (variance, class);
                }
            }
        }
        (best.1 + 1) as f64 / BINS as f64 * self.largest
    }

    /// What counts as full ink, of the values above `threshold`: what a tenth of them exceed. None when there are none,
    /// or more than half of them are below `faint`.
    #[inline(always)]
    pub(super) fn full(&self, threshold: f64, faint: f64) -> Option<f64> {
        let (mut count, mut faint_ones) = (0, 0);
        for value in &self.values {
            count += usize::from(*value > threshold);
            faint_ones += usize::from((*value > threshold) & (*value < faint));
        }
        if faint_ones > count / 2 || count == 0 {
            return None;
        }
        // How many are above it; the classes tell in which it is.
        let mut above = (count - 1 - count * 9 / 10) as u64;
        let class = (0..BINS).rev().find(|class| {
            let is_here = above < self.counts[*class];
            above -= if is_here { 0 } else { self.counts[*class] };
            is_here
        })? as u8;
        // Each value is put behind the last one of the class, whether it is of it or not: there is nothing to guess wrong.
        let (mut of_class, mut count) = (vec![0.0; self.counts[usize::from(class)] as usize + 1], 0);
        for (values, classes) in self.values.as_chunks::<RUN>().0.iter().zip(self.classes.as_chunks::<RUN>().0) {
            let mut any = false;
            for one in classes {
                any |= *one == class;
            }
            for (value, one) in values.iter().zip(classes).filter(|_| any) {
                of_class[count] = *value;
                count += usize::from(*one == class);
            }
        }
        of_class.truncate(count);
        // Of numbers that are not negative, the bits are in the same order.
        let place = (count - 1).checked_sub(above as usize)?;
        Some(*of_class.select_nth_unstable_by_key(place, |value| value.to_bits()).1)
    }

    /// The values as shares of `full`, at most 1, and 0 for those below `noise`.
    #[inline(always)]
    pub(super) fn shares(&self, full: f64, noise: f64) -> Vec<f32> {
        let mut shares = vec![0.0; self.values.len()];
        for (to, value) in shares.iter_mut().zip(&self.values) {
            let share = *value / full;
            let share = if share < 1.0 { share } else { 1.0 };
            *to = (if *value < noise { 0.0 } else { share }) as f32;
        }
        shares
    }
}
