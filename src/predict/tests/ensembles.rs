//! Several models as one: in every format, in another engine, and when they do not belong together.

use super::*;
use crate::artifact::{Calibration, OutOfDistribution, Score};
use crate::models::Composition;

/// Models of two architectures and two normalisations, written beside each other.
pub(super) fn parts(path: &dyn Fn(&str) -> std::path::PathBuf) -> Vec<Part> {
    let examples = ModelConfig::examples();
    let member = |(index, model): (usize, &ModelConfig)| {
        let (mut manifest, weights) = exported(model, 1);
        manifest.preprocess.mean = vec![0.13 + 0.02 * index as f32];
        manifest.preprocess.std = vec![0.31 - 0.03 * index as f32];
        manifest.provenance.run = format!("run-{index}");
        let file = path(&format!("member-{index}.bpk"));
        artifact::write(&file, Format::Burnpack, Dtype::F32, &manifest, &weights).unwrap();
        Part::read(&file).unwrap()
    };
    [&examples[0], &examples[1], &examples[2]].into_iter().enumerate().map(member).collect()
}

/// The mean of the members' probabilities, each computed alone.
fn mean_of_members(path: &dyn Fn(&str) -> std::path::PathBuf, pixels: &[u8], count: usize) -> Vec<f64> {
    let mut mean = vec![0.0; count * CLASSES];
    for index in 0..3 {
        let member = Predictor::open(path(&format!("member-{index}.bpk"))).unwrap();
        let logits = member.logits(pixels, count).unwrap();
        let shares = logits.chunks(CLASSES).flat_map(probabilities);
        mean.iter_mut().zip(shares).for_each(|(mean, share)| *mean += share / 3.0);
    }
    mean
}

#[test]
fn an_ensemble_answers_with_the_mean_probability_in_every_format_and_engine() {
    let (_folder, path) = folder();
    let parts = parts(&path);
    let (mut manifest, weights) = ensemble(&parts, None).unwrap();
    assert_eq!(manifest.model.words(), "ensemble of 3");
    manifest.calibration =
        Some(Calibration { temperature: 1.7, images: 100, loss: [0.2, 0.1], calibration_error: [0.02, 0.01] });
    manifest.out_of_distribution =
        Some(OutOfDistribution { score: Score::MaxProbability, threshold: -0.5, images: 100, passed: 0.99 });
    let shape = manifest.preprocess.shape;
    let pixels = pixels(40, shape);
    let mean = mean_of_members(&path, &pixels, 40);
    let close = |found: &[f64], expected: &[f64]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5);
    for &format in Format::ALL {
        for dtype in [Dtype::F32, Dtype::F16] {
            let file = path(&format!("model.{}", format.extension()));
            let (manifest, weights) = convert(&manifest, &weights, dtype).unwrap();
            artifact::write(&file, format, dtype, &manifest, &weights).unwrap();
            let (manifest, weights) = artifact::read(&file).unwrap();
            let found = verify(&manifest, &weights, &Device::flex()).unwrap();
            assert!(found.samples == 16 && found.passed(0.0), "{format} {dtype:?}: {found:?}");
            let predictor = Predictor::open(&file).unwrap();
            let logits = predictor.logits(&pixels, 40).unwrap();
            let found = logits.chunks(CLASSES).flat_map(probabilities).collect::<Vec<_>>();
            assert!(dtype == Dtype::F16 || close(&found, &mean), "{format}");
            let by_layers = predictor.by_layers(&pixels).unwrap();
            assert!(by_layers.iter().zip(&logits).all(|(a, b)| (a - b).abs() < 1e-4), "{format} {dtype:?}");
            // The logits are the logarithms of these probabilities.
            let exponentials = logits.iter().map(|logit| f64::from(*logit).exp()).collect::<Vec<_>>();
            assert!(close(&exponentials, &found), "{format} {dtype:?}");
            if format == Format::Onnx {
                let (elsewhere, shares) = run_elsewhere(&file, &pixels, 40, shape);
                let wide = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<_>>();
                assert!(elsewhere.iter().zip(&logits).all(|(a, b)| (a - b).abs() < 1e-4), "{dtype:?}");
                let calibrated = logits.chunks(CLASSES).flat_map(|row| probabilities_at(row, f64::from(1.7_f32)));
                let calibrated = calibrated.collect::<Vec<_>>();
                assert!(wide(&shares).iter().zip(&calibrated).all(|(a, b)| (a - b).abs() < 1e-4), "{dtype:?}");
            }
        }
    }
}

#[test]
fn what_does_not_belong_together_is_named() {
    let (_folder, path) = folder();
    let mut parts = parts(&path);
    let said =
        |parts: &[Part]| ensemble(parts, None).unwrap_err().render().replace(&path("").display().to_string(), "");
    insta::assert_snapshot!(said(&parts[..1]), @r"
    error: an ensemble takes 2 to 64 models, got 1
    tip: one model takes other views to answer for: --flip, --shift PIXELS or --one-view
    ");
    parts[1].manifest.classes[2] = "too".into();
    insta::assert_snapshot!(said(&parts), @r#"
    error: the models do not belong together: they know the classes zero, one, two, "three" (`member-0.bpk`) and the classes zero, one, too, "three" (`member-1.bpk`)
    tip: an ensemble's models have the same classes, image size and way to fit pictures
    "#);
    parts[1].manifest.classes[2] = "two".into();
    parts[2].manifest.preprocess.shape.width = 14;
    assert!(said(&parts).contains("take images of 1x12x13 (`member-0.bpk`) and images of 1x12x14 (`member-2.bpk`)"));
    let twice = [Part::read(&path("member-0.bpk")).unwrap(), Part::read(&path("member-0.bpk")).unwrap()];
    assert!(said(&twice).contains("are the same model: it would count twice"));
    let file = path("ensemble.bpk");
    let pair = [Part::read(&path("member-0.bpk")).unwrap(), Part::read(&path("member-1.bpk")).unwrap()];
    let (manifest, weights) = ensemble(&pair, None).unwrap();
    artifact::write(&file, Format::Burnpack, Dtype::F32, &manifest, &weights).unwrap();
    let nested = [Part::read(&file).unwrap(), Part::read(&path("member-0.bpk")).unwrap()];
    assert!(said(&nested).contains("`ensemble.bpk` is an ensemble itself"), "{}", said(&nested));
}

#[test]
fn a_member_that_is_missing_or_too_many_is_refused() {
    let (_folder, path) = folder();
    let (manifest, weights) = ensemble(&parts(&path), None).unwrap();
    let file = path("model.bpk");
    let mut without = weights.clone();
    without.remove("members.2.output.bias");
    let refused = |weights: &Weights| {
        let error = artifact::write(&file, Format::Burnpack, Dtype::F32, &manifest, weights).unwrap_err();
        error.render()
    };
    assert!(refused(&without).contains("parameters"), "{}", refused(&without));
    let mut with = weights.clone();
    let extra = weights.get("members.0.output.bias").unwrap().clone();
    with.insert("members.3.output.bias", extra);
    assert!(refused(&with).contains("no tensor `members.3.output.bias`"), "{}", refused(&with));
    let Composition::Ensemble(mut members) = manifest.model.clone() else { panic!("an ensemble") };
    members.truncate(1);
    let alone = Manifest { model: Composition::Ensemble(members), ..manifest };
    let error = alone.check().unwrap_err().render();
    assert!(error.contains("an ensemble must have 2 to 64 members, got 1"), "{error}");
}
