//! What it costs to leave the least sure answers out: accuracy against the share of images that are answered (El-Yaniv and
//! Wiener, "On the foundations of noise-free selective classification", 2010).

use serde::{Deserialize, Serialize};

/// The shares of images that are answered in the table.
const SHARES: [f64; 4] = [1.0, 0.99, 0.95, 0.9];

/// The surest answers, so many of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// The share of images that are answered.
    pub coverage: f64,
    /// Their number, rounded up.
    pub images: usize,
    /// Those of them that are answered rightly.
    pub correct: usize,
    /// Their share of the answered ones.
    pub accuracy: f64,
    /// The lowest probability among the answers: what `--min-confidence` to give for this coverage.
    pub min_confidence: f64,
}

impl Coverage {
    /// A row for each share, from the probability of each answer and whether it is right.
    pub(super) fn table(answers: &[(f64, bool)]) -> Vec<Self> {
        let mut sorted = answers.to_vec();
        // Equals stay in the order of the images.
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
        let row = |coverage: f64| {
            let images = (coverage * sorted.len() as f64).ceil() as usize;
            let answered = &sorted[..images.min(sorted.len())];
            let correct = answered.iter().filter(|(_, right)| *right).count();
            Self {
                coverage,
                images,
                correct,
                accuracy: correct as f64 / images.max(1) as f64,
                min_confidence: answered.last().map_or(0.0, |(confidence, _)| *confidence),
            }
        };
        SHARES.map(row).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_out_the_least_sure_leaves_the_right_ones() {
        let answers: Vec<_> = (0..20).map(|index| (0.5 + f64::from(index) / 50.0, index > 0)).collect();
        let rows = Coverage::table(&answers);
        let counted: Vec<_> = rows.iter().map(|row| (row.coverage, row.images, row.correct)).collect();
        assert_eq!(counted, [(1.0, 20, 19), (0.99, 20, 19), (0.95, 19, 19), (0.9, 18, 18)]);
        assert_eq!((rows[2].accuracy, rows[2].min_confidence), (1.0, 0.52));
        assert_eq!(Coverage::table(&[])[0].images, 0);
    }
}
