//! The end of a run as people read it.

use super::quoted;
use super::ui::{Mode, Ui};
use crate::lifecycle::{Outcome, Overfit, Summary};
use crate::report::{self, balanced, duration, thousands};
use crate::{Error, Result};

/// Says what came of a run: the result for programs on stdout, for people in lines.
pub fn say(outcome: &Outcome, summary: &Summary, ui: &Ui) -> Result<()> {
    lines(outcome, summary, ui);
    match ui.mode() {
        Mode::Json => ui.json(
            &serde_json::to_value(summary)
                .map_err(|error| Error::failed("cannot encode the summary").caused_by(error))?,
        ),
        Mode::Quiet => ui.out(&summary.model.display().to_string()),
        Mode::Text => {}
    }
    Ok(())
}

/// What people read of it.
pub fn lines(outcome: &Outcome, summary: &Summary, ui: &Ui) {
    let model = summary.model.display();
    ui.say("");
    if let Some(reason) = &summary.stopped_early {
        ui.lines(&format!("stopped early  {reason}"));
    }
    ui.lines(&format!("kept           {}", kept(summary)));
    ui.lines(&format!(
        "trained        {} iterations in {} ({} images/s)",
        thousands(summary.iterations as u64),
        duration(summary.train_seconds),
        thousands(summary.images_per_second as u64)
    ));
    if let Some(overfit) = &summary.overfit {
        learned(overfit, ui);
    }
    if let Some(evaluation) = &outcome.evaluation {
        let [low, high] = evaluation.accuracy_interval;
        ui.heading_lines(&format!(
            "test accuracy  {:.2} % ({} of {} right, 95 % interval {:.2} to {:.2} %)",
            evaluation.accuracy * 100.0,
            thousands(evaluation.correct as u64),
            thousands(evaluation.images as u64),
            low * 100.0,
            high * 100.0
        ));
    }
    if let Some(views) = &summary.test_time_augmentation {
        ui.lines(&format!("answers        {}", report::views(views)));
    }
    if let Some(evaluation) = outcome.evaluation.as_ref().filter(|evaluation| evaluation.is_unequal()) {
        ui.say(&format!("               {}", balanced(evaluation)));
    }
    if let Some(calibration) = &summary.calibration {
        ui.say(&format!("calibrated     {}", report::calibration(calibration)));
    }
    if let Some(problem) = &summary.trust_problem {
        ui.say(&format!("not calibrated {problem}"));
    }
    for finding in &summary.findings {
        ui.warn(finding);
    }
    ui.say(&format!("model          {model} (verified)"));
    if let Some(report) = &outcome.report {
        ui.lines(&format!("report         {} (open it in a browser)", report.display()));
    }
    if let Some(problem) = &outcome.report_problem {
        ui.warn(&format!("the report could not be written: {}", problem.render().trim_start_matches("error: ")));
    }
    if let Some(problem) = &outcome.log_problem {
        ui.warn(&format!(
            "the log for TensorBoard is not complete: {}",
            problem.render().trim_start_matches("error: ")
        ));
    }
    if summary.overfit.is_some() {
        return;
    }
    let (model, run) = (quoted(&summary.model), quoted(&summary.run_dir));
    let next = format!(
        "next           kiln eval {model}\n               kiln predict {model} PICTURE\n               kiln export {run} --out model.safetensors"
    );
    ui.aside(&ui.folded(&next));
}

/// Whether the few batches were learned by heart, and what it means.
fn learned(overfit: &Overfit, ui: &Ui) {
    let Overfit { batches, images, correct } = *overfit;
    let of = if batches == 1 { "its batch".to_owned() } else { format!("its {batches} batches") };
    if correct == images {
        ui.heading(&format!("overfit        all {images} images of {of} are known by heart (100 %)"));
        ui.say("               network, loss and optimizer can fit these data; a real run needs all of them");
        return;
    }
    let share = 100.0 * correct as f64 / images.max(1) as f64;
    ui.heading(&format!(
        "overfit        {correct} of the {images} images of {of} are known by heart ({share:.2} %), not all"
    ));
    ui.say(
        "               If the loss still falls, the run is too short, or its rate is wrong: --set train.epochs=200, kiln tune lr.\n\
         \x20              If it does not, the network cannot tell these images apart: it is too small, dropout or weight decay\n\
         \x20              hold it back, or the labels contradict each other (kiln data).",
    );
}

fn kept(summary: &Summary) -> String {
    match summary.validation_accuracy {
        None => {
            format!("epoch {}, the last: without validation images none can be called best", summary.best_epoch)
        }
        Some(accuracy) => format!(
            "epoch {}: {:.2} % on {} validation images",
            summary.best_epoch,
            accuracy * 100.0,
            thousands(summary.validation_images as u64)
        ),
    }
}
