//! Successive halving in rungs that are decided when they are complete: which trials go on is a function of what all of them
//! reached, and of nothing else.

use std::cmp::Ordering;

use crate::config::Halving;

/// What a trial reached, over its seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Score {
    /// The mean validation accuracy.
    pub(super) accuracy: f64,
    /// The mean validation loss, which decides between equals.
    pub(super) loss: f64,
}

/// The epochs at whose ends the rungs are, for runs of `epochs`.
pub(super) fn rungs(halving: Option<Halving>, epochs: usize) -> Vec<usize> {
    let mut rungs = Vec::new();
    if let Some(Halving { first, factor }) = halving {
        let mut next = first;
        while next < epochs {
            rungs.push(next);
            next = next.saturating_mul(factor);
        }
    }
    rungs.push(epochs);
    rungs
}

/// Trials by number, the best first: by accuracy, then loss, then number. Those that failed come last.
pub(super) fn ranked(trials: &[(usize, Option<Score>)]) -> Vec<usize> {
    let mut trials = trials.to_vec();
    trials.sort_by(|(a, score_of_a), (b, score_of_b)| compared(*score_of_a, *score_of_b).then(a.cmp(b)));
    trials.into_iter().map(|(number, _)| number).collect()
}

/// The better one is less.
pub(super) fn compared(a: Option<Score>, b: Option<Score>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => b.accuracy.total_cmp(&a.accuracy).then(a.loss.total_cmp(&b.loss)),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

/// The trials that go on: one of `factor`, at least one, and none that failed.
pub(super) fn promoted(trials: &[(usize, Option<Score>)], factor: usize) -> Vec<usize> {
    let healthy: Vec<(usize, Option<Score>)> = trials.iter().filter(|(_, score)| score.is_some()).copied().collect();
    let mut best = ranked(&healthy);
    best.truncate((trials.len() / factor).max(1));
    best.sort_unstable();
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(accuracy: f64, loss: f64) -> Option<Score> {
        Some(Score { accuracy, loss })
    }

    #[test]
    fn rungs_grow_by_the_factor_up_to_the_whole_run() {
        let halving = |first, factor| Some(Halving { first, factor });
        assert_eq!(rungs(halving(1, 3), 9), [1, 3, 9]);
        assert_eq!(rungs(halving(2, 4), 20), [2, 8, 20]);
        assert_eq!(rungs(halving(1, 3), 2), [1, 2]);
        assert_eq!(rungs(None, 5), [5]);
    }

    #[test]
    fn equal_accuracies_are_told_apart_by_loss_and_then_by_number() {
        let trials =
            [(1, score(0.9, 0.5)), (2, None), (3, score(0.9, 0.4)), (4, score(0.9, 0.5)), (5, score(0.95, 1.0))];
        assert_eq!(ranked(&trials), [5, 3, 1, 4, 2]);
        let mut reversed = trials;
        reversed.reverse();
        assert_eq!(ranked(&reversed), ranked(&trials));
    }

    #[test]
    fn one_of_the_factor_goes_on_and_no_failed_one() {
        let trials: Vec<_> = (1..=40).map(|number| (number, score(number as f64, 0.0))).collect();
        assert_eq!(promoted(&trials, 3), (28..=40).collect::<Vec<_>>());
        assert_eq!(promoted(&trials[..2], 3), [2]);
        assert_eq!(promoted(&[(1, None), (2, None), (3, None)], 3), Vec::<usize>::new());
        assert_eq!(promoted(&[(1, None), (2, score(0.1, 1.0)), (3, None), (4, None)], 2), [2]);
    }
}
