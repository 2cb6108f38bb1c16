//! What in an experiment contradicts its number of images, with what the config alone contradicts: all at once, each with
//! its key and its fix.

use super::{Cut, Images};
use crate::check::{Check as _, Problems};
use crate::config::Experiment;
use crate::config::contradictions::contradictions;
use crate::report::thousands;
use crate::{Error, Result};

/// # Errors
/// One usage error that lists everything.
pub(super) fn refuse(experiment: &Experiment, images: &Images, cut: &Cut) -> Result<()> {
    let mut problems = Problems::default();
    experiment.check(&mut problems);
    let mut found = problems.into_vec();
    // Contradictions between values that are themselves out of range say nothing.
    if found.is_empty() {
        found.extend(contradictions(experiment).into_iter().map(|contradiction| contradiction.problem));
        let mut problems = Problems::default();
        batches(experiment, images, cut, &mut problems);
        for (index, augment) in experiment.data.augment.iter().enumerate() {
            problems.within(format!("data.augment[{index}]"), |problems| augment.check_for(images.shape, problems));
        }
        let views = experiment.test_time_augmentation();
        problems.within("test_time_augmentation", |problems| views.check_for(images.shape, problems));
        problems.within("loss", |problems| experiment.loss.class_weights.check_for(images.classes, problems));
        problems.within("model", |problems| experiment.model.check_for(images.shape, images.classes, problems));
        if let Ok(layers) = experiment.model.layers(images.shape, images.classes) {
            let model = experiment.model.kind();
            problems.within("optimizer", |problems| experiment.optimizer.check_for(model, &layers, problems));
        }
        found.extend(problems.into_vec());
    }
    let line = |(key, message): (&str, &str)| format!("`{key}`: {message}");
    match &found[..] {
        [] => Ok(()),
        [only] => Err(Error::usage(line((&only.key, &only.message)))),
        _ => {
            let lines: String = found.iter().map(|each| format!("\n  {}", line((&each.key, &each.message)))).collect();
            Err(Error::usage(format!("the config has {} problems with these images{lines}", found.len())))
        }
    }
}

fn batches(experiment: &Experiment, images: &Images, cut: &Cut, problems: &mut Problems) {
    let train = &experiment.train;
    let count = thousands(images.train as u64);
    if images.train == 0 {
        return problems.within("data", |problems| {
            problems.add("validation", "leaves no image to train on; set it to a tenth of the training images or less");
        });
    }
    problems.within("train", |problems| {
        if train.batch_size > images.train {
            problems.add(
                "batch_size",
                format!(
                    "must be at most the {count} training images, got {}; set it to {} or less",
                    thousands(train.batch_size as u64),
                    (images.train / 10).clamp(1, 100)
                ),
            );
        } else if !cut.iterations.is_multiple_of(train.accumulation) {
            problems.add(
                "accumulation",
                format!(
                    "must divide the {} iterations of an epoch, got {}; set it to {}",
                    thousands(cut.iterations as u64),
                    train.accumulation,
                    nearest_divisors(cut.iterations, train.accumulation)
                ),
            );
        }
    });
    let updates_per_epoch = cut.iterations as f64 / train.accumulation as f64;
    let span = experiment.schedule.span((updates_per_epoch * train.epochs as f64) as usize, updates_per_epoch);
    let warmup = experiment.schedule.warmup_updates(updates_per_epoch);
    let fills = warmup >= span && experiment.schedule.warmup_epochs < train.epochs as f64;
    problems.within("schedule", |problems| {
        problems.require(!fills || warmup == 0 || train.batch_size > images.train, "warmup_epochs", || {
            format!("the warm-up fills the run: it takes {warmup} of the schedule's {span} updates; set it to 0")
        });
    });
    // A few batches are learned with the checkpoints of a whole run, whose epochs are longer.
    let is_whole = train.overfit_batches.is_none();
    let every = experiment.checkpoint.every_iterations.filter(|_| is_whole);
    if let Some(every) = every.filter(|every| (1..=*every).contains(&cut.iterations)) {
        problems.within("checkpoint", |problems| {
            problems.add(
                "every_iterations",
                format!(
                    "must be less than the {} iterations of an epoch, got {}: a checkpoint is written after every epoch \
                     anyway; remove it, or set it to {}",
                    thousands(cut.iterations as u64),
                    thousands(every as u64),
                    (cut.iterations / 4).max(1)
                ),
            );
        });
    }
}

/// The divisors of `number` on both sides of `wanted`: "5 or 8".
fn nearest_divisors(number: usize, wanted: usize) -> String {
    let divides = |candidate: &usize| number.is_multiple_of(*candidate);
    let below = (1..wanted.min(number + 1)).rev().find(divides);
    let above = (wanted..=number).find(divides);
    match (below, above) {
        (Some(below), Some(above)) => format!("{below} or {above}"),
        (Some(only), None) | (None, Some(only)) => only.to_string(),
        (None, None) => "1".to_owned(),
    }
}
