//! The plan in words.

use std::fmt::Write as _;

use super::{Cut, Images, LearningRate, OfClass, Plan, PlannedRule, PlannedTeacher, PlannedViews};
use crate::config::{Experiment, Precision};
use crate::data::{AugmentConfig, Sampling};
use crate::report::thousands;

/// The heights of a sparkline, low to high.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

impl Plan {
    /// The plan as aligned lines, a label and its words on each.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let mut line = |label: &str, words: String| {
            let _ = writeln!(text, "{label:<14} {words}");
        };
        line(
            "experiment",
            format!("{}: {} with {}, {}", self.name, self.model, self.optimizer, self.learning_rate.schedule),
        );
        line("images", self.images_in_words());
        line("batch", self.batch_in_words());
        if let Some(sharing) = &self.sharing {
            line("shared by", sharing.words());
        }
        line("epoch", self.epoch_in_words());
        line(
            "run",
            format!(
                "{} x {} = {}",
                count(self.epochs, "epoch"),
                count(self.iterations_per_epoch, "iteration"),
                count(self.total_iterations, "iteration")
            ),
        );
        if self.accumulation > 1 {
            line("updates", self.updates_in_words());
        }
        line("each image", self.seen_in_words());
        for (index, seen) in self.seen_of_class_in_words().into_iter().enumerate() {
            line(if index == 0 { "each class" } else { "" }, seen);
        }
        for (index, words) in self.augmentation.iter().enumerate() {
            line(if index == 0 { "distorted by" } else { "" }, words.clone());
        }
        if let Some(words) = &self.mixing {
            line("mixed by", words.clone());
        }
        line("learning rate", self.rate_in_words());
        for milestone in self.milestones_in_words() {
            line("", milestone);
        }
        for (index, rule) in self.rules_in_words().into_iter().enumerate() {
            line(if index == 0 { "updates by" } else { "" }, rule);
        }
        if self.precision == Precision::Bf16 {
            line(
                "computes in",
                "bfloat16 from the images to the logits; weights, updates, norms, loss and validation in 32 bits"
                    .into(),
            );
        }
        if let Some(decay) = self.ema {
            let first = ((10.0 * decay - 1.0) / (1.0 - decay)).ceil().max(0.0) as usize;
            let reached =
                if first == 0 { String::new() } else { format!(", reached after {}", count(first, "update")) };
            line("kept", format!("the average of the weights over the updates, decay {decay}{reached}"));
        }
        if let Some(teacher) = &self.teacher {
            line("taught by", teacher.words());
        }
        line("network", format!("{} in {}", count(self.parameters, "parameter"), count(self.layers.len(), "layer")));
        line(
            "work",
            format!(
                "{} forward + {} backward (twice forward){} per image; {} in the run",
                flops(self.forward_flops_per_image as f64),
                flops(self.backward_flops_per_image as f64),
                self.teacher.as_ref().map_or_else(String::new, |teacher| {
                    format!(" + {} for the teacher's forward", flops(teacher.forward_flops_per_image as f64))
                }),
                flops(self.total_flops)
            ),
        );
        if let Some(views) = &self.views {
            line("answers", views.in_words());
        }
        let memory = &self.memory;
        let average = match memory.average {
            0 => String::new(),
            size => format!(", average {}", bytes(size)),
        };
        let teacher = match memory.teacher {
            0 => String::new(),
            size => format!(", teacher {}", bytes(size)),
        };
        let replicas = match memory.replicas {
            0 => String::new(),
            size => format!(", the other devices {}", bytes(size)),
        };
        line(
            "memory",
            format!(
                "about {}: parameters {}, gradients {}, optimizer {}{average}{teacher}{replicas}, a batch's activations {}, images {} (an estimate)",
                bytes(memory.total),
                bytes(memory.parameters),
                bytes(memory.gradients),
                bytes(memory.optimizer),
                bytes(memory.activations),
                bytes(memory.images)
            ),
        );
        line("checkpoint", format!("{} each", bytes(self.checkpoint_bytes)));
        text.truncate(text.trim_end().len());
        text
    }

    /// From one iteration to the whole run, in sentences.
    pub fn arithmetic(&self) -> String {
        let images = thousands(self.images.train as u64);
        let batches = thousands(self.batches_per_pass as u64);
        let mut text = format!(
            "One iteration took one batch of {} through the network and back.\n\
             The {images} training images are cut into {batches} batches: {}.\n",
            count(self.batch_size, "image"),
            self.division()
        );
        if self.iterations_per_epoch == self.batches_per_pass {
            let _ = writeln!(
                text,
                "So {} make one epoch, one pass over the training set.",
                count(self.iterations_per_epoch, "iteration")
            );
        } else {
            let _ = writeln!(
                text,
                "One pass over them would be {}; this config ends an epoch after {}.",
                count(self.batches_per_pass, "iteration"),
                thousands(self.iterations_per_epoch as u64)
            );
        }
        let _ = write!(
            text,
            "After each epoch the images are shuffled again. {} of {} are {}.\nEach image is {}.",
            count(self.epochs, "epoch"),
            count(self.iterations_per_epoch, "iteration"),
            count(self.total_iterations, "iteration"),
            self.seen_in_words()
        );
        if let Some(views) = &self.views {
            let _ = write!(text, "\nAn answer of the finished model is {}.", views.in_words());
        }
        text
    }

    fn images_in_words(&self) -> String {
        let Images { train, validation, test, shape, classes, .. } = &self.images;
        let validation = match validation {
            0 => "none to validate on (the last epoch is the one that is kept)".to_owned(),
            count => format!("{} to validate on", thousands(*count as u64)),
        };
        format!(
            "{} to train on, {validation}, {} to test on; each {shape}, {classes} classes",
            thousands(*train as u64),
            thousands(*test as u64)
        )
    }

    /// "60,000 / 100 = 600", and what becomes of the rest.
    fn division(&self) -> String {
        let batch = thousands(self.batch_size as u64);
        let division =
            format!("{} / {batch} = {}", thousands(self.images.train as u64), thousands(self.batches_per_pass as u64));
        if self.dropped_per_pass > 0 {
            format!(
                "{division}, rounded down; the {} left over are dropped (train.drop_last)",
                images(self.dropped_per_pass)
            )
        } else if self.last_batch_size < self.batch_size {
            format!("{division}, rounded up; the last batch has {}", images(self.last_batch_size))
        } else {
            division
        }
    }

    fn batch_in_words(&self) -> String {
        format!("{} go through the network together; one batch is one iteration", images(self.batch_size))
    }

    fn epoch_in_words(&self) -> String {
        if self.iterations_per_epoch == self.batches_per_pass {
            return format!("{}: {}", count(self.iterations_per_epoch, "iteration"), self.division());
        }
        format!(
            "{} (train.iterations_per_epoch), where one pass would be {}: {}",
            count(self.iterations_per_epoch, "iteration"),
            thousands(self.batches_per_pass as u64),
            self.division()
        )
    }

    fn updates_in_words(&self) -> String {
        format!(
            "one per {} batches, {} together: {} per epoch, {} in the run",
            self.accumulation,
            images(self.effective_batch_size),
            thousands(self.updates_per_epoch as u64),
            thousands(self.total_updates as u64)
        )
    }

    fn seen_in_words(&self) -> String {
        let seen = &self.seen;
        if self.sampling == Sampling::Balanced {
            return format!(
                "an epoch shows {}, as many of each of the {} classes",
                images(seen.images_per_epoch),
                self.images.classes
            );
        }
        let (least, most) = (seen.least_per_epoch, seen.most_per_epoch);
        if least == most {
            return format!("seen {} per epoch and {} in the run", times(most), times(most * self.epochs));
        }
        let average = seen.images_per_epoch as f64 * self.epochs as f64 / self.images.train.max(1) as f64;
        let often = if least + 1 == most && least > 0 {
            format!("{} or {}", times(least), times(most))
        } else if most == 1 {
            "at most once".to_owned()
        } else {
            format!("between {least} and {most} times")
        };
        format!("seen {often} per epoch and {average:.1} times in the run, on average")
    }

    /// How often images of each class are seen and what they count, where that differs, or could; of many classes, of the
    /// smallest and the largest.
    fn seen_of_class_in_words(&self) -> Vec<String> {
        const LISTED: usize = 12;
        let [smallest, largest] = self.images.of_class;
        let is_weighted = self.of_each_class.iter().any(|class| class.weight != 1.0);
        if largest <= 2 * smallest && !is_weighted {
            return Vec::new();
        }
        let words = |class: &OfClass| {
            let weight = if is_weighted { format!(", counts {}", decimal(class.weight)) } else { String::new() };
            let name: String = class.name.chars().take(40).collect();
            format!("{name}: {}, each seen {:.1} times per epoch{weight}", images(class.images), class.seen_per_epoch)
        };
        if self.of_each_class.len() <= LISTED {
            return self.of_each_class.iter().map(words).collect();
        }
        let with = |count: usize| self.of_each_class.iter().find(|class| class.images == count).map(words);
        let more = format!("… {} classes in all; `--json` lists them", self.of_each_class.len());
        [with(smallest), with(largest), Some(more)].into_iter().flatten().collect()
    }

    fn rate_in_words(&self) -> String {
        let rate = &self.learning_rate;
        let line = sparkline(&rate.curve);
        if rate.curve.iter().all(|value| *value == rate.first) {
            return format!("{line}  {} throughout", decimal(rate.first));
        }
        let mut rates = vec![decimal(rate.first)];
        if rate.peak > rate.first && rate.peak_update < self.total_updates {
            rates.push(decimal(rate.peak));
        }
        rates.push(decimal(rate.last));
        format!("{line}  {}", rates.join(" -> "))
    }

    /// Which rule updates what, where there are several.
    fn rules_in_words(&self) -> Vec<String> {
        const SHOWN: usize = 6;
        let [first @ .., rest] = self.update_rules.as_slice() else { return Vec::new() };
        if first.is_empty() {
            return Vec::new();
        }
        let words = |rule: &PlannedRule, tensors: String| {
            format!("{}, peak {}: {tensors} ({})", rule.rule, decimal(rule.peak), count(rule.parameters, "parameter"))
        };
        let named = first.iter().map(|rule| {
            let mut names = rule.tensors.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
            if rule.tensors.len() > SHOWN {
                let _ = write!(names, " and {} more", rule.tensors.len() - SHOWN);
            }
            words(rule, names)
        });
        named.chain([words(rest, format!("the other {}", count(rest.tensors.len(), "tensor")))]).collect()
    }

    fn milestones_in_words(&self) -> Vec<String> {
        const SHOWN: usize = 6;
        let milestones = &self.learning_rate.milestones;
        let unit = if self.accumulation == 1 { "iteration" } else { "update" };
        let mut lines: Vec<String> = milestones
            .iter()
            .take(SHOWN)
            .map(|milestone| {
                format!(
                    "{} after {unit} {} (epoch {}): {}",
                    milestone.event,
                    thousands(milestone.update as u64),
                    decimal((milestone.epoch * 100.0).round() / 100.0),
                    decimal(milestone.learning_rate)
                )
            })
            .collect();
        if milestones.len() > SHOWN {
            lines.push(format!("… and {} more", milestones.len() - SHOWN));
        }
        lines
    }
}

impl PlannedTeacher {
    fn words(&self) -> String {
        let share = |part: f64| decimal((part * 1e4).round() / 100.0);
        let labels = match self.weight {
            1.0 => "the labels count nothing".to_owned(),
            weight => format!("the labels for {} %", share(1.0 - weight)),
        };
        format!(
            "{} ({}), for {} % of the loss, at temperature {}; {labels}",
            self.model,
            count(self.parameters, "parameter"),
            share(self.weight),
            decimal(self.temperature)
        )
    }
}

impl PlannedViews {
    fn in_words(&self) -> String {
        format!(
            "the mean probability over {} (test-time augmentation): {} times the work of one, {}; training and validation see \
             the image alone",
            self.words,
            self.count,
            flops(self.answer_flops as f64)
        )
    }
}

/// What is allowed but should be known, in words with numbers.
pub(super) fn warnings(experiment: &Experiment, data: &Images, cut: &Cut, rate: &LearningRate) -> Vec<String> {
    let mut found = Vec::new();
    let seen = cut.seen(data);
    let (given, pass) = (thousands(cut.iterations as u64), thousands(cut.per_pass as u64));
    if cut.iterations > cut.per_pass {
        let most = images(seen.images_seen_most);
        let verb = if seen.images_seen_most == 1 { "is" } else { "are" };
        let passes = match seen.most_per_epoch {
            _ if experiment.train.overfit_batches.is_some() => "in the same order each time".to_owned(),
            2 => "they are reshuffled before the second pass".to_owned(),
            _ => "they are reshuffled before each pass".to_owned(),
        };
        found.push(format!(
            "train.iterations_per_epoch = {given} is more than the {pass} batches of one pass: {most} {verb} seen {} in each \
             epoch; {passes}",
            times(seen.most_per_epoch)
        ));
    } else if cut.iterations < cut.per_pass {
        let unseen = data.train.saturating_sub(seen.images_per_epoch);
        let verb = if unseen == 1 { "stays" } else { "stay" };
        found.push(format!(
            "train.iterations_per_epoch = {given} is fewer than the {pass} batches of one pass: {} {verb} unseen in each epoch; \
             the epoch ends before the whole set was seen",
            images(unseen)
        ));
    }
    if let Some(batches) = experiment.train.overfit_batches {
        found.push(format!(
            "train.overfit_batches = {batches}: every epoch trains on the same {} in the same order, without augmentation, \
             validation and test; early_stopping and stop_at do not apply. It is a test of the network, and no result",
            images(data.train)
        ));
    }
    if cut.dropped > 0 {
        found.push(format!(
            "train.drop_last leaves out {} of every pass, others each time: {} do not divide into batches of {}",
            images(cut.dropped),
            images(data.train),
            thousands(cut.batch_size as u64)
        ));
    }
    let [smallest, largest] = data.of_class;
    let is_weighted = experiment.loss.class_weights.of(&data.class_counts).is_some();
    if is_weighted && experiment.train.sampling == Sampling::Balanced {
        found.push(
            "train.sampling = \"balanced\" shows as many images of every class, and loss.class_weights weighs them as well: \
             rare classes are favoured twice; one of the two is enough"
                .to_owned(),
        );
    }
    if smallest > 0 && largest >= 5 * smallest && experiment.train.sampling == Sampling::Uniform && !is_weighted {
        found.push(format!(
            "the largest class has {} to learn from, the smallest {}: with train.sampling = \"balanced\" an epoch shows as \
             many of each, with loss.class_weights = \"balanced\" each class counts the same",
            images(largest),
            images(smallest)
        ));
    }
    if data.differ_in_a_mirror && experiment.data.augment.iter().any(AugmentConfig::mirrors) {
        found.push(
            "data.augment has \"flip\", and the classes are named like things that a mirror changes: digits, letters, left or \
             right; leave it out unless an image and its mirror image are of the same class"
                .to_owned(),
        );
    }
    if data.differ_in_a_mirror && experiment.test_time_augmentation().flip {
        found.push(
            "test_time_augmentation.flip makes the model look at mirror images, and the classes are named like things that a \
             mirror changes: digits, letters, left or right; leave it out unless an image and its mirror image are of the same \
             class"
                .to_owned(),
        );
    }
    if let Some(span) = experiment.schedule.epochs.filter(|span| *span < experiment.train.epochs)
        && !experiment.schedule.is_constant()
    {
        found.push(format!(
            "schedule.epochs = {span} ends before the run: the learning rate stays at {} for the last {}",
            decimal(rate.last),
            count(experiment.train.epochs - span, "epoch")
        ));
    }
    found
}

fn count(number: usize, noun: &str) -> String {
    format!("{} {noun}{}", thousands(number as u64), if number == 1 { "" } else { "s" })
}

fn images(number: usize) -> String {
    count(number, "image")
}

fn times(number: usize) -> String {
    match number {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        _ => format!("{} times", thousands(number as u64)),
    }
}

/// A rate in the fewest digits that tell: three, in powers of ten below 0.001.
fn decimal(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if value.abs() < 1e-3 {
        let text = format!("{value:.2e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{power}", digits.trim_end_matches('0').trim_end_matches('.'));
    }
    let places = (2 - value.abs().log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn sparkline(values: &[f64]) -> String {
    let highest = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let bar = |value: &f64| BARS[((value / highest * 7.0).round() as usize).min(7)];
    values.iter().map(bar).collect()
}

fn flops(operations: f64) -> String {
    scaled(operations, 1000.0, &["FLOPs", "kFLOPs", "MFLOPs", "GFLOPs", "TFLOPs", "PFLOPs", "EFLOPs"])
}

/// A number of bytes in the unit that suits it.
pub(crate) fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, 1000.0, &["B", "kB", "MB", "GB", "TB"])
}

fn scaled(value: f64, base: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    format!("{} {}", decimal(value), units[unit])
}
