//! What was measured, for people: as text here, as one page in `html`, from the data in `content`. Nothing here sees a
//! tensor, and nothing prints.

mod braille;
mod compare;
mod content;
mod explanation;
mod filters;
mod html;
mod lesson;
mod range_test;
mod sheet;
mod survey;
mod sweep;
mod terminal;

pub use braille::curves;
pub use compare::comparison;
pub use content::{Activations, Filters, Inputs, LayerWords, PlanWords, Report, Test, curves_csv};
pub use explanation::{Explanation, Layer, Parameter, PredictionRow};
pub(crate) use filters::{FilterShape, first_weights};
pub(crate) use html::POLICY as PAGE_POLICY;
pub use html::{SweepPage, comparison_page, lesson_page, page, range_test_page, survey_page, sweep_page};
pub use lesson::{Answer, BatchRow, Cut, FilterChange, FollowedWeight, Frame, HeldOut, Lesson, RateRun, Watched};
pub use range_test::{RangePoint, RangeTest, range_curve};
pub use sheet::{LARGEST_SIDE, Sheet};
pub use survey::{SurveySheets, survey};
pub use sweep::{SweepColumns, sweep_cost, sweep_table, sweep_verdict};
pub use terminal::{examples, mistakes, picture, visible};

use std::fmt::Write as _;

use indicatif::HumanCount;

use crate::artifact::{Calibration, Manifest};
use crate::eval::{Evaluation, Outsiders};

/// The metrics of an evaluation as text: the headline, a row per class, the confusion matrix.
pub fn evaluation(evaluation: &Evaluation) -> String {
    let mut text = headline(evaluation);
    let width = evaluation.classes.iter().map(|class| class.class.chars().count()).max().unwrap_or(0).max(5);
    let _ = write!(text, "\n\n{:<width$}  {:>7}  {:>9}  {:>9}  {:>7}", "class", "images", "recall", "precision", "F1");
    for class in &evaluation.classes {
        let _ = write!(
            text,
            "\n{:<width$}  {:>7}  {:>8.2}%  {:>8.2}%  {:>6.2}%",
            class.class,
            class.images,
            class.recall * 100.0,
            class.precision * 100.0,
            class.f1 * 100.0
        );
    }
    text.push_str("\n\n");
    text.push_str(&confusion(evaluation));
    text.push_str("\n\n");
    text.push_str(&coverage(evaluation));
    text
}

/// Accuracy with its interval, loss and calibration, a line each, with what their numbers mean.
pub fn headline(evaluation: &Evaluation) -> String {
    let [low, high] = evaluation.accuracy_interval;
    let balanced = if evaluation.is_unequal() { format!("\n{}", balanced(evaluation)) } else { String::new() };
    let uncalibrated = evaluation.uncalibrated.map_or_else(String::new, |before| {
        format!("; without the model's temperature {:.4} nats, {:.2} %", before.loss, before.calibration_error * 100.0)
    });
    format!(
        "accuracy {:.2} % ({} of {} right, 95 % interval {:.2} to {:.2} %)\n\
         loss {:.4} nats (the mean of -ln of the label's probability; guessing evenly gives {:.4})\n\
         calibration error {:.2} % (how far the stated probabilities are from the share that is right){uncalibrated}{balanced}",
        evaluation.accuracy * 100.0,
        evaluation.correct,
        evaluation.images,
        low * 100.0,
        high * 100.0,
        evaluation.loss,
        (evaluation.classes.len() as f64).ln(),
        evaluation.calibration_error * 100.0
    )
}

/// What a temperature does, in a line.
pub fn calibration(calibration: &Calibration) -> String {
    let [before, after] = calibration.calibration_error;
    format!(
        "temperature {}, fitted on {} validation images: their calibration error goes from {:.2} to {:.2} %",
        decimal(f64::from(calibration.temperature), 3),
        thousands(calibration.images),
        before * 100.0,
        after * 100.0
    )
}

/// What the model's probabilities and its warnings are worth, in lines.
pub fn trust(manifest: &Manifest, evaluation: &Evaluation, outsiders: Option<&Outsiders>) -> String {
    let mut text = match &manifest.calibration {
        Some(known) => format!("\ncalibrated: {}", calibration(known)),
        None => "\nnot calibrated: the model file has no temperature (its validation images were too few, or all answered rightly, \
                 or an earlier kiln made it)"
            .to_owned(),
    };
    let share = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
    if let Some(warned) = evaluation.out_of_distribution {
        let _ = write!(
            text,
            "\nwarned of as unlike the training images: {} of {} ({:.2} %)",
            thousands(warned as u64),
            thousands(evaluation.images as u64),
            share(warned, evaluation.images)
        );
    }
    if let Some(outsiders) = outsiders {
        let _ =
            write!(text, "\noutsiders: {} images, AUROC {:.4}", thousands(outsiders.images as u64), outsiders.auroc);
        if let Some(warned) = outsiders.warned {
            let _ = write!(
                text,
                "; warned of {} of them ({:.2} %)",
                thousands(warned as u64),
                share(warned, outsiders.images)
            );
        }
    }
    text
}

/// How accurate the surest answers are, a row for each share of images that is answered.
pub fn coverage(evaluation: &Evaluation) -> String {
    let mut text = format!("{:<9} {:>8}  {:>9}  least confidence", "answered", "images", "accuracy");
    for row in &evaluation.coverage {
        let _ = write!(
            text,
            "\n{:>6.0} %  {:>8}  {:>8.2}%  {:>8.2}%",
            row.coverage * 100.0,
            thousands(row.images as u64),
            row.accuracy * 100.0,
            row.min_confidence * 100.0
        );
    }
    text
}

/// What each class counts the same in: for classes of unequal sizes.
pub fn balanced(evaluation: &Evaluation) -> String {
    format!(
        "balanced accuracy {:.2} %, macro F1 {:.2} %",
        evaluation.balanced_accuracy * 100.0,
        evaluation.macro_f1 * 100.0
    )
}

fn confusion(evaluation: &Evaluation) -> String {
    let names: Vec<&str> = evaluation.classes.iter().map(|class| class.class.as_str()).collect();
    let counts = evaluation.confusion.iter().flatten().map(|count| count.to_string().len());
    let cell = counts.chain(names.iter().map(|name| name.chars().count())).max().unwrap_or(1) + 1;
    let first = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(5);
    let mut text = format!("confusion (rows: label, columns: prediction)\n{:first$} ", "");
    for name in &names {
        let _ = write!(text, "{name:>cell$}");
    }
    for (row, name) in evaluation.confusion.iter().zip(&names) {
        let _ = write!(text, "\n{name:<first$} ");
        for count in row {
            // A dot for zero lets the mistakes stand out.
            let shown = if *count == 0 { "·".to_owned() } else { count.to_string() };
            let _ = write!(text, "{shown:>cell$}");
        }
    }
    text
}

/// `12345678` as `12,345,678`.
pub fn thousands(number: impl Into<u64>) -> String {
    HumanCount(number.into()).to_string()
}

/// A number with so many significant digits, as people write it: `0.00012`, `3.391`, `12,345`; `1.2e-8` when it is tiny.
pub fn decimal(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return "no number".to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    if value.abs() < 1e-6 || value.abs() >= 1e9 {
        return format!("{value:.*e}", digits.saturating_sub(1));
    }
    let places = (digits as i32 - 1 - value.abs().log10().floor() as i32).max(0) as usize;
    let text = format!("{:.places$}", value.abs());
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let whole = whole.parse::<u64>().map_or_else(|_| whole.to_owned(), thousands);
    let part = part.trim_end_matches('0');
    let sign = if value < 0.0 { "-" } else { "" };
    if part.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") }
}

/// Seconds as people say them: `0.8 s`, `42 s`, `3 min 5 s`, `2 h 10 min`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 10.0 => format!("{seconds:.1} s"),
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evaluation_reads_well() {
        let classes = ["cat".to_owned(), "dog".to_owned()];
        let figures = Evaluation::from_logits(&[2.0, 0.0, 0.0, 1.0, 3.0, 0.0], &[0, 1, 1], &classes);
        insta::assert_snapshot!(evaluation(&figures), @r"
        accuracy 66.67 % (2 of 3 right, 95 % interval 20.77 to 93.85 %)
        loss 1.1629 nats (the mean of -ln of the label's probability; guessing evenly gives 0.6931)
        calibration error 44.69 % (how far the stated probabilities are from the share that is right)

        class   images     recall  precision       F1
        cat          1    100.00%     50.00%   66.67%
        dog          2     50.00%    100.00%   66.67%

        confusion (rows: label, columns: prediction)
               cat dog
        cat      1   ·
        dog      1   1

        answered    images   accuracy  least confidence
           100 %         3     66.67%     73.11%
            99 %         3     66.67%     73.11%
            95 %         3     66.67%     73.11%
            90 %         3     66.67%     73.11%
        ");
    }

    #[test]
    fn numbers_are_grouped_and_times_are_said_plainly() {
        assert_eq!(
            [thousands(0_u32), thousands(999_u32), thousands(1_000_u32), thousands(60_000_000_u32)],
            ["0", "999", "1,000", "60,000,000"]
        );
        let numbers = [0.00012, 3.39065, -0.5, 12345.6, 1.24e-8, 0.0, 30.0, f64::NAN];
        assert_eq!(
            numbers.map(|value| decimal(value, 3)),
            ["0.00012", "3.39", "-0.5", "12,346", "1.24e-8", "0", "30", "no number"]
        );
        assert_eq!(
            [duration(0.84), duration(42.2), duration(185.0), duration(7800.0)],
            ["0.8 s", "42 s", "3 min 5 s", "2 h 10 min"]
        );
    }
}
