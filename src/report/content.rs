//! What a report says, as data: `kiln report --json` prints it, the page shows it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::filters::FilterShape;
use super::sheet::{LARGEST_SIDE, Picture, Sheet};
use crate::Result;
use crate::data::ImageSet;
use crate::eval::{CalibrationBin, Evaluation, Predictions, Suspect, wilson};
use crate::models::{LayerSummary, WeightTensor, Weights};
use crate::predict::LayerOutput;
use crate::run::{EpochMetrics, RunRecord};

/// Mistakes that are shown.
const MISTAKES: usize = 24;

/// Filters and channels that are shown.
const FILTERS: usize = 64;
const CHANNELS: usize = 16;

/// Bytes of uncompressed pictures behind the confusion matrix: with the rest, a page stays below 3 MB even if nothing can
/// be compressed.
const CELL_BYTES: usize = 1_000_000;

/// Everything a report says about a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The run's name: that of its directory.
    pub run: String,
    /// What ran, where, and how it ended.
    pub record: RunRecord,
    /// What is missing in this report, and why.
    pub notices: Vec<String>,
    /// Every finished epoch.
    pub epochs: Vec<EpochMetrics>,
    /// The epoch that was kept, from 1.
    pub best_epoch: Option<usize>,
    /// The kept model on the test images.
    pub test: Option<Test>,
    /// The first images of the first batch, before and after augmentation.
    pub inputs: Option<Inputs>,
    /// The first layer's weights.
    pub filters: Option<Filters>,
    /// One image on its way through the network.
    pub activations: Option<Activations>,
    /// The arithmetic of the run.
    pub plan: Option<PlanWords>,
    /// The resolved experiment as TOML.
    pub config: String,
    /// SHA-256 of the kept weights.
    pub weights_sha256: Option<String>,
}

/// The kept model measured.
#[derive(Clone, Debug, Serialize)]
pub struct Test {
    /// The figures.
    pub evaluation: Evaluation,
    /// The classes' 95 % Wilson intervals of the recall.
    pub recall_intervals: Vec<[f64; 2]>,
    /// Confidence against accuracy.
    pub calibration: Vec<CalibrationBin>,
    /// The cells of the confusion matrix that are not empty.
    pub cells: Vec<Cell>,
    /// The wrong answers with the highest loss.
    pub worst: Vec<Worst>,
    /// Labels that look wrong.
    pub suspects: Vec<Suspect>,
    /// Images whose label people who looked at them disagreed with, as far as is published.
    pub known_label_errors: Vec<usize>,
    /// The pictures of the cells, one cell after another.
    #[serde(skip)]
    pub cell_pictures: Option<Sheet>,
    #[serde(skip)]
    pub worst_pictures: Option<Sheet>,
    #[serde(skip)]
    pub suspect_pictures: Option<Sheet>,
}

/// A cell of the confusion matrix.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// The label of its images.
    pub label: usize,
    /// The model's answer.
    pub answer: usize,
    /// How many images it counts.
    pub images: usize,
    /// Those of them that the page shows, by their place among the test images: the highest loss first.
    pub shown: Vec<usize>,
}

/// A wrong answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Worst {
    /// The image's place among the test images.
    pub index: usize,
    /// Its label.
    pub label: usize,
    /// The model's answer.
    pub answer: usize,
    /// Cross-entropy in nats.
    pub loss: f64,
    /// The likeliest classes and the label, each with its probability, the likeliest first.
    pub probabilities: Vec<(usize, f64)>,
}

/// Images as they are and as training sees them.
#[derive(Clone, Debug, Serialize)]
pub struct Inputs {
    /// The images' places among the training images.
    pub images: Vec<usize>,
    /// Whether training distorts them.
    pub augmented: bool,
    #[serde(skip)]
    pub before: Option<Sheet>,
    #[serde(skip)]
    pub after: Option<Sheet>,
}

/// The weights of the first layer.
#[derive(Clone, Debug, Serialize)]
pub struct Filters {
    /// The tensor.
    pub tensor: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Filters in all, of which the page shows the first.
    pub count: usize,
    /// How training began, where it is known.
    #[serde(skip)]
    pub first: Option<Sheet>,
    /// The kept weights.
    #[serde(skip)]
    pub last: Option<Sheet>,
}

/// What the layers put out for one image.
#[derive(Clone, Debug, Serialize)]
pub struct Activations {
    /// The image's place among the test images.
    pub image: usize,
    /// The layers in order.
    pub layers: Vec<LayerOutput>,
    #[serde(skip)]
    pub picture: Option<Sheet>,
    #[serde(skip)]
    pub sheets: Vec<Option<Sheet>>,
}

/// The arithmetic of a run in words.
#[derive(Clone, Debug, Serialize)]
pub struct PlanWords {
    /// The plan, a label and its words on each line.
    pub lines: String,
    /// From one iteration to the whole run, in sentences.
    pub arithmetic: String,
    /// The network, layer by layer.
    pub layers: Vec<LayerWords>,
}

/// A layer in words.
#[derive(Clone, Debug, Serialize)]
pub struct LayerWords {
    /// Its name in the network.
    pub name: String,
    /// What it does.
    pub description: String,
    /// The output for one image.
    pub output_shape: Vec<usize>,
    /// Learned values.
    pub parameters: usize,
}

impl LayerWords {
    /// The words for each of `layers`.
    pub fn of(layers: &[LayerSummary]) -> Vec<Self> {
        let words = |layer: &LayerSummary| Self {
            name: layer.name.clone(),
            description: layer.description.clone(),
            output_shape: layer.output_shape.clone(),
            parameters: layer.parameters,
        };
        layers.iter().map(words).collect()
    }
}

impl Test {
    /// Everything that the answers for the images of `set` say, with what is known of its labels.
    ///
    /// # Errors
    /// When a picture cannot be made.
    pub fn new(
        predictions: &Predictions,
        set: &ImageSet,
        suspects: Vec<Suspect>,
        known_label_errors: Vec<usize>,
    ) -> Result<Self> {
        let evaluation = predictions.evaluation();
        let (cells, side) = cells(predictions, set);
        let shown: Vec<usize> = cells.iter().flat_map(|cell| cell.shown.iter().copied()).collect();
        let worst: Vec<Worst> =
            predictions.worst().into_iter().take(MISTAKES).map(|index| worst(predictions, index)).collect();
        let places = |found: &mut dyn Iterator<Item = usize>| found.collect::<Vec<_>>();
        let worst_places = places(&mut worst.iter().map(|worst| worst.index));
        let suspect_places = places(&mut suspects.iter().map(|suspect| suspect.index));
        let right = |class: usize| evaluation.confusion[class][class];
        Ok(Self {
            recall_intervals: evaluation
                .classes
                .iter()
                .enumerate()
                .map(|(class, metrics)| wilson(right(class), metrics.images))
                .collect(),
            calibration: predictions.calibration(),
            cell_pictures: Sheet::of_images(set, &shown, side)?,
            worst_pictures: Sheet::of_images(set, &worst_places, LARGEST_SIDE)?,
            suspect_pictures: Sheet::of_images(set, &suspect_places, LARGEST_SIDE)?,
            evaluation,
            cells,
            worst,
            suspects,
            known_label_errors,
        })
    }
}

fn worst(predictions: &Predictions, index: usize) -> Worst {
    let label = predictions.label(index);
    let mut ranked: Vec<(usize, f64)> = predictions.probabilities(index).into_iter().enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let of_label = ranked.iter().copied().find(|(class, _)| *class == label);
    ranked.truncate(3);
    ranked.extend(of_label.filter(|of_label| !ranked.contains(of_label)));
    Worst { index, label, answer: predictions.answer(index), loss: predictions.loss(index), probabilities: ranked }
}

/// The cells that are not empty, by label and answer, and the longest side that their pictures may have.
fn cells(predictions: &Predictions, set: &ImageSet) -> (Vec<Cell>, usize) {
    let mut members: BTreeMap<(usize, usize), Vec<(usize, f64)>> = BTreeMap::new();
    for index in 0..predictions.len() {
        let cell = (predictions.label(index), predictions.answer(index));
        members.entry(cell).or_default().push((index, predictions.loss(index)));
    }
    let counts: Vec<usize> = members.values().map(Vec::len).collect();
    let (side, most) = pictures_per_cell(&counts, set);
    let mut left = CELL_BYTES / bytes(set, side).max(1);
    let cell = |((label, answer), mut images): ((usize, usize), Vec<(usize, f64)>)| {
        images.sort_by(|a, b| b.1.total_cmp(&a.1));
        let count = images.len();
        let shown: Vec<usize> = images.into_iter().take(most.min(left)).map(|(index, _)| index).collect();
        left -= shown.len();
        Cell { label, answer, images: count, shown }
    };
    (members.into_iter().map(cell).collect(), side)
}

/// The size and the number of pictures in each cell so that all fit into [`CELL_BYTES`]: as many as can be, and smaller
/// ones when even a few do not fit.
fn pictures_per_cell(counts: &[usize], set: &ImageSet) -> (usize, usize) {
    let fits = |side: usize, most: usize| {
        counts.iter().map(|count| (*count).min(most)).sum::<usize>() * bytes(set, side) <= CELL_BYTES
    };
    for side in [LARGEST_SIDE, 32, 16, 8] {
        if let Some(most) = [60, 40, 24, 12, 8, 4].into_iter().find(|most| fits(side, *most)) {
            return (side, most);
        }
    }
    (8, [2, 1].into_iter().find(|most| fits(8, *most)).unwrap_or(1))
}

/// Bytes of one picture of `set` with no side longer than `side`.
fn bytes(set: &ImageSet, side: usize) -> usize {
    let shape = set.shape;
    let factor = shape.width.max(shape.height).div_ceil(side);
    shape.width.div_ceil(factor) * shape.height.div_ceil(factor) * if shape.channels == 3 { 3 } else { 1 }
}

impl Inputs {
    /// The training images at `images`, and `distorted`, the same as training sees them, `[images, channels, height,
    /// width]`; empty when training does not distort them.
    ///
    /// # Errors
    /// When a picture cannot be made.
    pub fn new(set: &ImageSet, images: Vec<usize>, distorted: &[Vec<u8>]) -> Result<Self> {
        let picture = |pixels: &Vec<u8>| Picture::of_image(pixels, set.shape).shrunk(LARGEST_SIDE);
        let after: Vec<Picture> = distorted.iter().map(picture).collect();
        Ok(Self {
            augmented: !after.is_empty(),
            before: Sheet::of_images(set, &images, LARGEST_SIDE)?,
            after: Sheet::new(&after)?,
            images,
        })
    }
}

impl Filters {
    /// The first layer's weights in `last` and, where they are known, in `first`. None when the first layer's weights are
    /// no pictures.
    ///
    /// # Errors
    /// When a picture cannot be made.
    pub fn new(
        layers: &[LayerSummary],
        set: &ImageSet,
        first: Option<&Weights>,
        last: &Weights,
    ) -> Result<Option<Self>> {
        let Some(form) = FilterShape::of(layers, set.shape) else { return Ok(None) };
        let Some(last) = last.get(&form.tensor) else { return Ok(None) };
        let sheet = |tensor: &WeightTensor| Sheet::of_filters(&form.cut(tensor, FILTERS), form.size, None);
        let first = first.and_then(|weights| weights.get(&form.tensor));
        let (first, last) = (first.map(sheet).transpose()?.flatten(), sheet(last)?);
        Ok(Some(Self { tensor: form.tensor, shape: form.shape, count: form.count, first, last }))
    }
}

impl Activations {
    /// What the layers put out for image `image` of `set`.
    ///
    /// # Errors
    /// When a picture cannot be made.
    pub fn new(set: &ImageSet, image: usize, layers: Vec<LayerOutput>) -> Result<Self> {
        let sheets = layers.iter().map(|layer| Sheet::of_layer(layer, CHANNELS)).collect::<Result<_>>()?;
        Ok(Self { image, picture: Sheet::of_images(set, &[image], LARGEST_SIDE)?, layers, sheets })
    }
}

/// The metrics of every epoch as comma-separated values, a line of names first. What was not measured is empty.
pub fn curves_csv(epochs: &[EpochMetrics]) -> String {
    let mut text = String::from(
        "epoch,iteration,learning_rate,train_loss,train_accuracy,validation_loss,validation_accuracy,images_per_second,seconds\n",
    );
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    for epoch in epochs {
        text += &format!(
            "{},{},{},{},{},{},{},{},{}\n",
            epoch.epoch,
            epoch.iteration,
            epoch.learning_rate,
            epoch.train_loss,
            epoch.train_accuracy,
            number(epoch.validation_loss),
            number(epoch.validation_accuracy),
            epoch.images_per_second,
            epoch.seconds
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ImageShape;

    fn set(images: usize, classes: usize, shape: ImageShape) -> ImageSet {
        let names: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
        let labels = (0..images).map(|image| (image % classes) as u16).collect();
        ImageSet::new(shape, vec![7; images * shape.len()], labels, names.into()).unwrap()
    }

    fn answers(set: &ImageSet, answer: impl Fn(usize) -> usize) -> Predictions {
        let count = set.classes.len();
        let logits: Vec<f32> = (0..set.len())
            .flat_map(|index| (0..count).map(move |class| (index, class)))
            .map(|(index, class)| if class == answer(index) { 3.0 } else { 0.0 })
            .collect();
        Predictions::from_logits(&logits, &set.labels, &set.classes)
    }

    #[test]
    fn the_cells_count_what_the_confusion_matrix_counts() {
        let set = set(500, 5, ImageShape { channels: 1, height: 28, width: 28 });
        let test = Test::new(&answers(&set, |index| index / 7 % 5), &set, Vec::new(), Vec::new()).unwrap();
        let mut counted = vec![vec![0; 5]; 5];
        for cell in &test.cells {
            counted[cell.label][cell.answer] = cell.images;
            assert_eq!(cell.shown.len(), cell.images.min(60));
            assert!(cell.shown.iter().all(|&index| usize::from(set.labels[index]) == cell.label));
        }
        assert_eq!(counted, test.evaluation.confusion);
        assert_eq!(test.cell_pictures.unwrap().count, test.cells.iter().map(|cell| cell.shown.len()).sum::<usize>());
    }

    #[test]
    fn a_hundred_classes_of_large_pictures_stay_within_bounds() {
        let set = set(3000, 100, ImageShape { channels: 3, height: 80, width: 80 });
        let test = Test::new(&answers(&set, |index| (index / 100 * 3 + index * 7) % 100), &set, Vec::new(), Vec::new())
            .unwrap();
        let sheet = test.cell_pictures.unwrap();
        assert!(sheet.count * sheet.width * sheet.height * 3 <= CELL_BYTES);
        assert!(test.cells.len() == 3000 && test.cells.iter().all(|cell| !cell.shown.is_empty()));
    }

    #[test]
    fn the_label_is_among_the_probabilities_of_a_mistake() {
        let classes: Vec<String> = (0..5).map(|class| class.to_string()).collect();
        let predictions = Predictions::from_logits(&[5.0, 4.0, 3.0, 2.0, 1.0], &[4], &classes);
        let found = worst(&predictions, 0);
        assert_eq!(found.probabilities.iter().map(|(class, _)| *class).collect::<Vec<_>>(), [0, 1, 2, 4]);
    }
}
