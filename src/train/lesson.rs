//! Makes the lesson: one iteration measured, then short runs at three learning rates from the same weights over the same
//! batches. The same experiment gives the same lesson.

use burn::module::Module as _;

use super::explanation::{Measured, measure};
use super::session::{ClassifierLearner, Session};
use super::short_run::{self, Measure};
use crate::Result;
use crate::data::augment::words;
use crate::data::{ImageSet, Preprocess};
use crate::models::{WeightTensor, Weights};
use crate::optimizers::PlannedRate;
use crate::report::{
    BatchRow, Cut, FilterChange, FilterShape, FollowedWeight, Frame, HeldOut, LayerWords, Lesson, PlanWords, RateRun,
    Watched, first_weights,
};

/// The learning rates of the short runs, as ratios of the config's own.
const FACTORS: [f64; 3] = [0.01, 1.0, 100.0];

/// The fewest and the most iterations of a short run.
const ITERATIONS: std::ops::RangeInclusive<usize> = 30..=200;

/// Floating-point operations that all short runs together may take, so that a large network's lesson is made in less than
/// a minute as well: it has fewer iterations.
const WORK: f64 = 6e11;

/// Moments of a short run that are kept.
const FRAMES: usize = 48;

/// Images that the short runs are measured on.
const HELD_OUT: usize = 500;

/// Classes of which an image is watched.
const WATCHED: usize = 10;

/// Batches of the first epoch that are shown, and images of each.
const ROWS: usize = 5;
const ROW_IMAGES: usize = 24;

/// Filters that are shown of one iteration.
const FILTERS: usize = 24;

/// The most values of all filters in all frames: it bounds their picture's size.
const FRAME_VALUES: usize = 350_000;

/// Makes the lesson of the session's experiment; `progress` is told how many of how many iterations of the short runs are
/// done.
///
/// # Errors
/// When the device fails.
pub(crate) fn record(session: &Session, progress: &mut dyn FnMut(usize, usize)) -> Result<Lesson> {
    let Session { experiment, plan, dataset, .. } = session;
    let measured = measure(session)?;
    let iterations = iterations(session);
    let (part, set) = held_out(session);
    let watched = watched(set);
    let film = Film {
        measure: Measure::new(session, set, &spread(set.len(), HELD_OUT))?,
        watched: Measure::new(session, set, &watched.iter().map(|watched| watched.index).collect::<Vec<_>>())?,
        form: FilterShape::of(&plan.layers, dataset.train.shape),
        moments: moments(iterations),
    };
    let (mut runs, mut frames) = (Vec::new(), Vec::new());
    for (number, factor) in FACTORS.into_iter().enumerate() {
        let mut told = |done| progress(number * iterations + done, FACTORS.len() * iterations);
        let frames = (factor == 1.0).then_some(&mut frames);
        runs.push(film.run(session, (factor, iterations), frames, &mut told)?);
    }
    Ok(Lesson {
        experiment: experiment.name.clone(),
        model: experiment.model.kind().into(),
        optimizer: experiment.optimizer.kind().into(),
        classes: dataset.train.classes.to_vec(),
        shape: dataset.train.shape,
        cut: Cut {
            train_images: plan.images.train,
            batch_size: plan.batch_size,
            batches_per_pass: plan.batches_per_pass,
            iterations_per_epoch: plan.iterations_per_epoch,
            epochs: plan.epochs,
            total_iterations: plan.total_iterations,
            accumulation: plan.accumulation,
        },
        plan: PlanWords { lines: plan.render(), arithmetic: plan.arithmetic(), layers: LayerWords::of(&plan.layers) },
        rows: rows(session)?,
        inputs: pixels(&measured.inputs, &dataset.preprocess),
        augmentation: words(experiment.augment()).into_iter().chain(plan.mixing.clone()).collect(),
        label_smoothing: experiment.loss.label_smoothing,
        clipped: clipped(session, &measured),
        weight: followed(session, &measured),
        filters: filters(film.form.clone(), session, &measured),
        logits: measured.logits[..dataset.train.classes.len()].to_vec(),
        outputs: measured.outputs,
        explanation: measured.explanation,
        held_out: HeldOut { part, images: film.measure.len(), watched },
        runs,
        frames,
    })
}

/// Iterations of each short run: fewer of a large network.
fn iterations(session: &Session) -> usize {
    let plan = session.plan;
    let per_image = plan.forward_flops_per_image.saturating_add(plan.backward_flops_per_image) as f64;
    let affordable = WORK / (FACTORS.len() as f64 * per_image * plan.batch_size as f64).max(1.0);
    (affordable as usize).clamp(*ITERATIONS.start(), *ITERATIONS.end())
}

/// The iterations after which a frame is kept, from 0 on: close together in the beginning, where the most happens.
fn moments(iterations: usize) -> Vec<usize> {
    let place = |frame: usize| (iterations as f64 * (frame as f64 / FRAMES as f64).powi(2)).round() as usize;
    let mut moments: Vec<usize> = (0..=FRAMES).map(place).collect();
    moments.dedup();
    moments
}

/// The images that no run learns from: those for validation, or where there are none those for the test.
fn held_out<'a>(session: &Session<'a>) -> (&'static str, &'a ImageSet) {
    let dataset = session.dataset;
    if dataset.validation.is_empty() { ("test", &dataset.test) } else { ("validation", &dataset.validation) }
}

/// Up to `most` places of `count`, at equal distances: a set may be sorted by class.
fn spread(count: usize, most: usize) -> Vec<usize> {
    let chosen = count.min(most);
    (0..chosen).map(|place| place * count / chosen).collect()
}

/// The first image of each of the first classes.
fn watched(set: &ImageSet) -> Vec<Watched> {
    let first = |label| (0..set.len()).find(|&index| set.label(index) == label);
    let classes = (0..set.classes.len()).filter_map(|label| Some((label, first(label)?)));
    classes.take(WATCHED).map(|(label, index)| Watched { index, label, pixels: set.image(index).to_vec() }).collect()
}

/// How a short run is watched.
struct Film {
    measure: Measure,
    watched: Measure,
    form: Option<FilterShape>,
    moments: Vec<usize>,
}

impl Film {
    /// A run at `factor` times the config's rate, with its frames when they are asked for.
    fn run(
        &self,
        session: &Session,
        (factor, iterations): (f64, usize),
        mut frames: Option<&mut Vec<Frame>>,
        told: &mut dyn FnMut(usize),
    ) -> Result<RateRun> {
        let learning_rate = session.experiment.optimizer.learning_rate() * factor;
        let ended = short_run::train(session, learning_rate, iterations, &mut |done, learner| {
            told(done);
            match &mut frames {
                Some(frames) if self.moments.contains(&done) => {
                    // A loss is measured before its update, so the weights can be NaN after one that was not.
                    frames.extend(self.frame(done, learner)?);
                    Ok(())
                }
                _ => Ok(()),
            }
        })?;
        let accuracy = match ended.network.weights()?.first_not_finite() {
            Some(_) => None,
            None => Some(self.measure.accuracy_and_loss(&ended.network.folded())?.0),
        };
        Ok(RateRun { factor, learning_rate, losses: ended.losses, diverged_at: ended.diverged_at, accuracy })
    }

    /// The network after `iteration` iterations; none when its weights are no numbers.
    fn frame(&self, iteration: usize, learner: &ClassifierLearner) -> Result<Option<Frame>> {
        let network = learner.model().valid().network;
        let weights = network.weights()?;
        if weights.first_not_finite().is_some() {
            return Ok(None);
        }
        let network = network.folded();
        let (accuracy, loss) = self.measure.accuracy_and_loss(&network)?;
        let filters = self.form.as_ref().and_then(|form| Some(form.cut(weights.get(&form.tensor)?, self.shown(form))));
        let answers = self.watched.answers(&network)?;
        Ok(Some(Frame { iteration, accuracy, loss, answers, filters: filters.unwrap_or_default() }))
    }

    /// How many filters a frame keeps.
    fn shown(&self, form: &FilterShape) -> usize {
        (FRAME_VALUES / (self.moments.len() * form.len()).max(1)).clamp(4, FILTERS)
    }
}

/// The first images of the first batches, and of the last one.
fn rows(session: &Session) -> Result<Vec<BatchRow>> {
    let (_, loader) = session.learner()?;
    let (train, last) = (&session.dataset.train, session.plan.batches_per_pass.min(session.plan.iterations_per_epoch));
    let mut batches: Vec<usize> = (0..last.min(ROWS - 1)).collect();
    if last >= ROWS {
        batches.push(last - 1);
    }
    let row = |batch| {
        let samples = loader.samples(1, batch);
        let pixels = samples.iter().take(ROW_IMAGES).map(|sample| train.image(sample.index).to_vec()).collect();
        BatchRow { batch: batch + 1, size: samples.len(), pixels }
    };
    Ok(batches.into_iter().map(row).collect())
}

/// The pixels of network inputs, `[images, channels, height, width]`: each input comes from exactly one pixel value.
fn pixels(inputs: &[f32], preprocess: &Preprocess) -> Vec<Vec<u8>> {
    let shape = preprocess.shape;
    let pixel = |(channel, value): (usize, &f32)| {
        let (mean, std) = (preprocess.mean[channel], preprocess.std[channel]);
        ((value * std + mean) * 255.0).round().clamp(0.0, 255.0) as u8
    };
    let plane = (shape.height * shape.width).max(1);
    let image = |values: &[f32]| values.iter().enumerate().map(|(at, value)| pixel((at / plane, value))).collect();
    inputs.chunks_exact(shape.len().max(1)).map(image).collect()
}

/// The norm of all gradients together and the largest allowed, when it was larger.
fn clipped(session: &Session, measured: &Measured) -> Option<[f64; 2]> {
    let limit = session.experiment.train.clip_norm?;
    let squares = measured.explanation.parameters.iter().map(|parameter| parameter.gradient_norm.powi(2));
    let norm = squares.sum::<f64>().sqrt();
    (norm > limit).then_some([norm, limit])
}

/// The one of the first weights with the largest gradient.
fn followed(session: &Session, measured: &Measured) -> Option<FollowedWeight> {
    let tensor = first_weights(&session.plan.layers)?;
    let size = |place: usize| measured.gradient[place].abs();
    let place =
        (0..measured.gradient.len()).reduce(|best, place| if size(place) > size(best) { place } else { best })?;
    let value = |weights: &Weights| Some(f64::from(*weights.get(&tensor.name)?.values.get(place)?));
    let rule = session.plan.update_rules.iter().find(|rule| rule.tensors.contains(&tensor.name))?;
    let mut rest = place;
    let mut indices: Vec<usize> = Vec::new();
    for side in tensor.shape.iter().rev() {
        indices.push(rest % side);
        rest /= side;
    }
    indices.reverse();
    Some(FollowedWeight {
        tensor: tensor.name.clone(),
        place: indices,
        before: value(&measured.before)?,
        gradient: f64::from(measured.gradient[place]),
        learning_rate: PlannedRate { peak: rule.peak, ..session.rate() }.at(0),
        after: value(&measured.after)?,
        rule: rule.rule.to_owned(),
    })
}

/// The filters before and after the update, and their gradient.
fn filters(form: Option<FilterShape>, session: &Session, measured: &Measured) -> Option<FilterChange> {
    let form = form?;
    let tensor = first_weights(&session.plan.layers)?;
    let gradient = WeightTensor { shape: tensor.shape.clone(), values: measured.gradient.clone() };
    Some(FilterChange {
        before: form.cut(measured.before.get(&form.tensor)?, FILTERS),
        gradient: form.cut(&gradient, FILTERS),
        after: form.cut(measured.after.get(&form.tensor)?, FILTERS),
        form,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moments_of_a_run_begin_close_together_and_end_with_it() {
        for iterations in [30, 77, 200] {
            let moments = moments(iterations);
            assert_eq!((moments[0], moments[1], moments.last()), (0, 1, Some(&iterations)));
            assert!(moments.windows(2).all(|pair| pair[0] < pair[1]));
            assert!((20..=FRAMES + 1).contains(&moments.len()), "{iterations}: {}", moments.len());
        }
    }

    #[test]
    fn chosen_images_are_spread_over_the_whole_set() {
        assert_eq!(spread(10, 5), [0, 2, 4, 6, 8]);
        assert_eq!(spread(3, 5), [0, 1, 2]);
        assert!(spread(0, 5).is_empty());
    }
}
