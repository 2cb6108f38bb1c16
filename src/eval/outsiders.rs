//! How well a model tells images of none of its classes from those that it is for.

use serde::Serialize;

use super::Predictions;
use crate::artifact::Score;
use crate::data::ImageSet;
use crate::predict::Predictor;
use crate::{Error, Result};

/// Images of none of the model's classes against images of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Outsiders {
    /// Images of none of the classes.
    pub images: usize,
    /// How often one of them has a lower score than an image of the model's own, equals counting half: the area under the
    /// receiver operating characteristic. 1 is perfect, 0.5 is chance.
    pub auroc: f64,
    /// Those of them that the model warns of; absent where it has no limit.
    pub warned: Option<usize>,
}

impl Outsiders {
    /// Asks `predictor` about every image of `set`; `inside` is what it answered for images of its classes.
    ///
    /// # Errors
    /// A usage error when the images have another size or there are none; when the device fails.
    pub fn measure(predictor: &Predictor, inside: &Predictions, set: &ImageSet) -> Result<Self> {
        let expected = predictor.manifest().preprocess.shape;
        if set.shape != expected {
            return Err(Error::usage(format!(
                "the model takes images of {expected} (channels x height x width), the outsiders are {}",
                set.shape
            )));
        }
        if set.is_empty() {
            return Err(Error::usage("there is no image among the outsiders"));
        }
        let classes = predictor.manifest().classes.len();
        let limit = predictor.manifest().out_of_distribution;
        let score = limit.map_or(Score::MaxProbability, |limit| limit.score);
        let logits = predictor.logits(&set.pixels, set.len())?;
        let scores = |logits: &[f32]| logits.chunks_exact(classes).map(|row| score.of(row)).collect::<Vec<_>>();
        let warned = limit.map(|limit| logits.chunks_exact(classes).filter(|row| limit.warns(row)).count());
        Ok(Self { images: set.len(), auroc: auroc(&scores(inside.logits()), &scores(&logits)), warned })
    }
}

/// The share of pairs of one of `high` and one of `low` in which the first is higher; equals count half (Mann and Whitney, 1947).
fn auroc(high: &[f64], low: &[f64]) -> f64 {
    let mut sorted = low.to_vec();
    sorted.sort_by(f64::total_cmp);
    let pairs = high.iter().map(|score| {
        let below = sorted.partition_point(|other| other < score);
        let up_to = sorted.partition_point(|other| other <= score);
        (below + up_to) as f64 / 2.0
    });
    pairs.sum::<f64>() / (high.len() * low.len()).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_counts_pairs() {
        assert_eq!(auroc(&[2.0, 3.0], &[1.0, 0.0]), 1.0);
        assert_eq!(auroc(&[0.0, 1.0], &[2.0, 3.0]), 0.0);
        assert_eq!(auroc(&[1.0, 1.0], &[1.0, 1.0]), 0.5);
        assert_eq!(auroc(&[0.0, 2.0], &[1.0, 2.0]), (0.0 + 1.5) / 4.0);
    }
}
