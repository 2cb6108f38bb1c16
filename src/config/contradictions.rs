//! Keys that are each in range and cannot be true together, as far as the config alone tells; `plan` adds what depends on
//! the number of images. Every message says what to change.

use super::{Experiment, LossConfig, Monitor};
use crate::check::{Check, Problem, Problems};
use crate::data::TestTimeAugmentationConfig;
use crate::device::Request;

/// Contradicting keys: the problem is reported at the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// What is wrong.
    pub problem: Problem,
    /// The keys that it follows from; if one of these is itself in doubt, the contradiction is.
    pub keys: Vec<&'static str>,
}

/// Every contradiction within `experiment`, whose values are in range.
pub fn contradictions(experiment: &Experiment) -> Vec<Contradiction> {
    let mut found = Vec::new();
    schedule(experiment, &mut found);
    validation(experiment, &mut found);
    teacher(&experiment.loss, &mut found);
    views(&experiment.test_time_augmentation, &mut found);
    let epochs = experiment.train.epochs;
    if let Some(patience) = experiment.early_stopping.patience.filter(|patience| *patience >= epochs) {
        let message = if epochs > 1 {
            format!(
                "must be less than train.epochs = {epochs}, or it can never stop the run, got {patience}; set it to {} or less, or raise train.epochs above {patience}",
                epochs - 1
            )
        } else {
            format!(
                "can never stop a run of train.epochs = 1, got {patience}; set it to \"none\", or raise train.epochs above {patience}"
            )
        };
        add(&mut found, &["early_stopping.patience", "train.epochs"], message);
    }
    found
}

fn add(found: &mut Vec<Contradiction>, keys: &[&'static str], message: String) {
    let key = keys.first().copied().unwrap_or_default().to_owned();
    found.push(Contradiction { problem: Problem { key, message }, keys: keys.to_vec() });
}

fn schedule(experiment: &Experiment, found: &mut Vec<Contradiction>) {
    let schedule = &experiment.schedule;
    let epochs = experiment.train.epochs;
    if let Some(span) = schedule.epochs.filter(|span| *span > epochs) {
        let message = format!(
            "the run ends before the schedule: must be at most train.epochs = {epochs}, got {span}; remove it, so that the schedule spans the run"
        );
        add(found, &["schedule.epochs", "train.epochs"], message);
        return;
    }
    let (span, limit) = match schedule.epochs {
        Some(span) => (span, format!("schedule.epochs = {span}")),
        None => (epochs, format!("train.epochs = {epochs}")),
    };
    let warmup = schedule.warmup_epochs;
    if let Some(key) = schedule.own_warmup() {
        if warmup > 0.0 {
            let message = format!(
                "schedule.kind = \"{}\" has its own warm-up (`{key}`), so this must be 0, got {warmup}; remove it",
                schedule.shape.kind()
            );
            add(found, &["schedule.warmup_epochs", "schedule.kind"], message);
            return;
        }
    } else if warmup >= span as f64 {
        let fix =
            if span > 1 { "set it to a tenth of the epochs or less" } else { "set it to 0.1, a tenth of the epoch" };
        let message =
            format!("the warm-up fills the run: must be less than {limit}, got {warmup}; {fix}, or raise train.epochs");
        add(found, &["schedule.warmup_epochs", "train.epochs", "schedule.epochs"], message);
        return;
    }
    if let Some((key, message)) = schedule.contradiction(span, &limit) {
        add(found, &[key, "schedule.warmup_epochs", "train.epochs", "schedule.epochs"], message);
    }
}

fn validation(experiment: &Experiment, found: &mut Vec<Contradiction>) {
    if !experiment.data.validation.is_none() {
        return;
    }
    let fix = "set data.validation to 0.1 or so, or this to \"none\"";
    if experiment.early_stopping.patience.is_some() {
        let message = format!("needs validation images, but data.validation = 0; {fix}");
        add(found, &["early_stopping.patience", "data.validation"], message);
    }
    if experiment.checkpoint.best_by != Monitor::Accuracy {
        let message = "needs validation images, but data.validation = 0, where the last epoch is kept; set data.validation to \
                       0.1 or so, or this to \"accuracy\"";
        add(found, &["checkpoint.best_by", "data.validation"], message.to_owned());
    }
    if experiment.stop_at.validation_accuracy.is_some() {
        let message = format!("needs validation images, but data.validation = 0; {fix}");
        add(found, &["stop_at.validation_accuracy", "data.validation"], message);
    }
}

/// What is said about a teacher needs one.
fn teacher(loss: &LossConfig, found: &mut Vec<Contradiction>) {
    let default = LossConfig::default();
    for (key, value, default) in [
        ("loss.teacher_weight", loss.teacher_weight, default.teacher_weight),
        ("loss.temperature", loss.temperature, default.temperature),
    ] {
        if loss.teacher.is_none() && value != default {
            let message = format!(
                "has no effect without a teacher, got {value}; name a model file with loss.teacher, or remove this"
            );
            add(found, &[key, "loss.teacher"], message);
        }
    }
}

/// What is said about a shift needs one.
fn views(views: &TestTimeAugmentationConfig, found: &mut Vec<Contradiction>) {
    const SHIFT: &str = "test_time_augmentation.shift_pixels";
    let default = TestTimeAugmentationConfig::default();
    for (key, value, default) in [
        (
            "test_time_augmentation.shift_directions",
            views.shift_directions.to_string(),
            default.shift_directions.to_string(),
        ),
        ("test_time_augmentation.fill", views.fill.to_string(), default.fill.to_string()),
    ] {
        if views.shift_pixels == 0 && value != default {
            let message = format!("has no effect without a shift, got {value}; set {SHIFT} to 1 or so, or remove this");
            add(found, &[key, SHIFT], message);
        }
    }
}

impl Check for Experiment {
    fn check(&self, problems: &mut Problems) {
        let word = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        let named = self.name.chars().all(word) && self.name.starts_with(|first: char| first.is_ascii_alphanumeric());
        problems.require(named && self.name.len() <= 64, "name", || {
            let shown = super::walk::shorten(&self.name);
            format!("must be 1 to 64 of letters, digits, `-`, `_` and `.`, a letter or digit first, got \"{shown}\"")
        });
        problems.require(i64::try_from(self.seed).is_ok(), "seed", || {
            format!("must be at most {}, got {}", i64::MAX, self.seed)
        });
        if let Err(error) = self.device.parse::<Request>() {
            let message = error.to_string();
            let prefix = format!("device `{}`: ", self.device);
            let tips: String = error.tips().iter().map(|tip| format!("; {tip}")).collect();
            problems.add("device", format!("{}{tips}", message.strip_prefix(&prefix).unwrap_or(&message)));
        }
        problems.within("data", |problems| self.data.check(problems));
        problems.within("model", |problems| self.model.check(problems));
        problems.within("loss", |problems| self.loss.check(problems));
        problems.within("optimizer", |problems| self.optimizer.check(problems));
        problems.within("schedule", |problems| self.schedule.check(problems));
        problems.within("train", |problems| self.train.check(problems));
        problems.within("early_stopping", |problems| self.early_stopping.check(problems));
        problems.within("stop_at", |problems| self.stop_at.check(problems));
        problems.within("checkpoint", |problems| self.checkpoint.check(problems));
        problems.within("test_time_augmentation", |problems| self.test_time_augmentation.check(problems));
    }
}
