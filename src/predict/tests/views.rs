//! Models that answer for several views of an image: in every format and in another engine what images transformed by hand give.

use std::path::PathBuf;

use super::*;
use crate::data::augment::Background;
use crate::data::{Shift, TestTimeAugmentation};
use crate::models::Composition;

/// The views by hand, of images `[channels, height, width]`: where a pixel of the view comes from, or none outside.
type ByHand = fn(row: isize, column: isize, shape: ImageShape) -> (isize, isize);

/// The image and its mirror image, each also shifted by 2 pixels to every side.
const FLIPPED_AND_SHIFTED: [ByHand; 10] = [
    |row, column, _| (row, column),
    |row, column, _| (row, column - 2),
    |row, column, _| (row, column + 2),
    |row, column, _| (row - 2, column),
    |row, column, _| (row + 2, column),
    |row, column, shape| mirrored(row, column, shape),
    |row, column, shape| mirrored(row, column - 2, shape),
    |row, column, shape| mirrored(row, column + 2, shape),
    |row, column, shape| mirrored(row - 2, column, shape),
    |row, column, shape| mirrored(row + 2, column, shape),
];

fn mirrored(row: isize, column: isize, shape: ImageShape) -> (isize, isize) {
    (row, shape.width as isize - 1 - column)
}

fn views(fill: Background) -> TestTimeAugmentation {
    TestTimeAugmentation { flip: true, shift: Some(Shift { pixels: 2, directions: 4, fill }) }
}

/// Images as a view shows them, with `colour` where nothing of the image is.
fn transformed(pixels: &[u8], shape: ImageShape, colour: &[u8], from: ByHand) -> Vec<u8> {
    let ImageShape { channels, height, width } = shape;
    let mut seen = Vec::new();
    for image in pixels.chunks(shape.len()) {
        for place in 0..shape.len() {
            let (channel, row, column) = (place / (height * width), place / width % height, place % width);
            let (row, column) = from(row as isize, column as isize, shape);
            let is_inside = (0..height as isize).contains(&row) && (0..width as isize).contains(&column);
            let at = |row: isize, column: isize| image[(channel * height + row as usize) * width + column as usize];
            seen.push(if is_inside { at(row, column) } else { colour[channel % channels] });
        }
    }
    seen
}

/// The mean of the probabilities that `model`, which looks at the image alone, gives for every view.
fn mean_of_views(model: &Predictor, pixels: &[u8], count: usize, colour: &[u8]) -> Vec<f64> {
    let shape = model.manifest().preprocess.shape;
    let mut mean = vec![0.0; count * CLASSES];
    for from in FLIPPED_AND_SHIFTED {
        let logits = model.logits(&transformed(pixels, shape, colour, from), count).unwrap();
        let shares = logits.chunks(CLASSES).flat_map(probabilities);
        mean.iter_mut().zip(shares).for_each(|(mean, share)| *mean += share / FLIPPED_AND_SHIFTED.len() as f64);
    }
    mean
}

fn close(found: &[f32], expected: &[f64], tolerance: f64) -> bool {
    // The logits are the logarithms of the mean probabilities.
    found.len() == expected.len()
        && found.iter().zip(expected).all(|(a, b)| (f64::from(*a).exp() - b).abs() < tolerance)
}

/// Checks `manifest`, which answers for the views above, in every format against its networks asked about each view.
fn check((manifest, weights): (&Manifest, &Weights), colour: &[u8], dtypes: &[Dtype], path: &dyn Fn(&str) -> PathBuf) {
    let (shape, name) = (manifest.preprocess.shape, manifest.words());
    let alone = Predictor::new(manifest.for_views(None), weights, &Device::flex()).unwrap();
    let pixels = pixels(7, shape);
    let mean = mean_of_views(&alone, &pixels, 7, colour);
    for &format in Format::ALL {
        for &dtype in dtypes {
            let file = path(&format!("views.{}", format.extension()));
            let (manifest, weights) = convert(manifest, weights, dtype).unwrap();
            artifact::write(&file, format, dtype, &manifest, &weights).unwrap();
            let (read, weights) = artifact::read(&file).unwrap();
            assert_eq!(read, manifest, "{format}");
            let found = verify(&read, &weights, &Device::flex()).unwrap();
            assert!(found.samples > 0 && found.passed(0.0), "{name} {format} {dtype:?}: {found:?}");
            let predictor = Predictor::new(read, &weights, &Device::flex()).unwrap();
            let logits = predictor.logits(&pixels, 7).unwrap();
            assert!(dtype == Dtype::F16 || close(&logits, &mean, 1e-5), "{name} {format}");
            let same = |found: &[f32]| found.iter().zip(&logits).all(|(a, b)| (a - b).abs() < 1e-4);
            assert!(same(&predictor.by_layers(&pixels).unwrap()), "{name} {format} {dtype:?}");
            assert_eq!(predictor.logits(&pixels[..shape.len()], 1).unwrap(), logits[..CLASSES], "one image alone");
            if format == Format::Onnx {
                for count in [7, 1] {
                    let (elsewhere, shares) = run_elsewhere(&file, &pixels[..count * shape.len()], count, shape);
                    assert_eq!((elsewhere.len(), shares.len()), (count * CLASSES, count * CLASSES));
                    assert!(same(&elsewhere), "{name} {dtype:?}");
                    let logarithms = shares.iter().map(|share| share.ln()).collect::<Vec<_>>();
                    assert!(same(&logarithms), "{name} {dtype:?}");
                }
            }
        }
    }
}

#[test]
fn views_answer_with_the_mean_probability_of_transformed_images_in_every_format_and_engine() {
    let (_folder, path) = folder();
    let examples = ModelConfig::examples();
    for (index, colour, dtypes) in [(0, vec![200], &[Dtype::F32][..]), (3, vec![9, 0, 255], &[Dtype::F32, Dtype::F16])]
    {
        let model = &examples[index];
        let (manifest, weights) = exported(model, colour.len());
        let manifest = manifest.for_views(Some(views(Background::Constant(colour.clone()))));
        let golden = |manifest: &Manifest| {
            let predictor = Predictor::new(manifest.clone(), &weights, &Device::flex()).unwrap();
            golden::samples(&predictor, &manifest.golden_images().unwrap()).unwrap()
        };
        let manifest = Manifest { golden: golden(&manifest), ..manifest };
        assert_eq!(manifest.words(), format!("{} for 10 views of an image", model.kind()));
        check((&manifest, &weights), &colour, dtypes, &path);
    }
}

#[test]
fn an_ensemble_answers_for_every_view_with_each_member() {
    let (_folder, path) = folder();
    let parts = ensembles::parts(&path);
    let (manifest, weights) = ensemble(&parts, Some(views(Background::Constant(vec![31])))).unwrap();
    assert!(matches!(&manifest.model, Composition::Ensemble(members) if members.len() == 3));
    assert_eq!(manifest.words(), "ensemble of 3 for 10 views of an image");
    check((&manifest, &weights), &[31], &[Dtype::F32], &path);
}

#[test]
fn a_model_answers_for_other_views_with_the_same_weights_and_for_one_view_as_before() {
    let (_folder, path) = folder();
    let parts = ensembles::parts(&path);
    let (seen, weights) = ensemble(&parts[..1], Some(views(Background::Reflect))).unwrap();
    assert_eq!(seen.weights_sha256, parts[0].manifest.weights_sha256);
    assert!(!seen.metrics.contains_key("test_accuracy") && seen.calibration.is_none());
    assert_ne!(seen.golden, parts[0].manifest.golden);
    let file = path("seen.bpk");
    artifact::write(&file, Format::Burnpack, Dtype::F32, &seen, &weights).unwrap();
    let back = [Part::read(&file).unwrap()];
    assert_eq!(common_views(&back).unwrap(), seen.test_time_augmentation);
    let (alone, _) = ensemble(&back, None).unwrap();
    assert_eq!(alone.golden, parts[0].manifest.golden, "bit for bit");
    let error = ensemble(&back, Some(views(Background::Reflect))).unwrap_err().render();
    assert!(error.contains("takes 2 to 64 models, got 1"), "{error}");

    let pair = [Part::read(&file).unwrap(), Part::read(&path("member-1.bpk")).unwrap()];
    let said = common_views(&pair).unwrap_err().render().replace(&path("").display().to_string(), "");
    insta::assert_snapshot!(said, @r"
    error: the models answer for different views: 10 views: the image and its mirror image, each also shifted by 2 px in 4 directions, the rest reflected (`seen.bpk`) and the image alone (`member-1.bpk`)
    tip: say which ones the new model answers for: --one-view, or --flip and --shift PIXELS
    ");
}

#[test]
fn layers_are_shown_for_the_image_itself() {
    let (manifest, weights) = exported(&ModelConfig::examples()[1], 1);
    let pixels = pixels(1, manifest.preprocess.shape);
    let outputs = |manifest: Manifest| {
        let predictor = Predictor::new(manifest, &weights, &Device::flex()).unwrap();
        predictor.layer_outputs(&pixels).unwrap()
    };
    assert_eq!(outputs(manifest.for_views(Some(views(Background::Edge)))), outputs(manifest));
}
