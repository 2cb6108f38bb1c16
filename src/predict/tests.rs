//! What a model file computes, in every format and elsewhere.
#![allow(clippy::unwrap_used)]

use tract_onnx::prelude::{Framework as _, InferenceModelExt as _, IntoRunnable as _, Tensor as TractTensor, tvec};

mod ensembles;
mod views;

use super::*;
use crate::artifact::tests::{CLASSES, folder, pixels, sample};
use crate::artifact::{Dtype, Format};
use crate::data::{ImageSet, ImageShape};
use crate::logits::{argmax, probabilities};
use crate::models::ModelConfig;

/// A network and its manifest with the golden samples that it gives.
fn exported(model: &ModelConfig, channels: usize) -> (Manifest, Weights) {
    let (mut manifest, weights) = sample(model, channels);
    let predictor = Predictor::new(manifest.clone(), &weights, &Device::flex()).unwrap();
    let shape = manifest.preprocess.shape;
    let (pixels, classes) = (pixels(20, shape).into(), manifest.classes.clone().into());
    manifest.add_golden_samples(&predictor, &ImageSet { pixels, labels: vec![0; 20].into(), classes, shape }).unwrap();
    (manifest, weights)
}

#[test]
fn every_network_computes_the_same_from_every_format() {
    let (_folder, path) = folder();
    for model in ModelConfig::examples() {
        let (manifest, weights) = exported(&model, 1);
        for &format in Format::ALL {
            for dtype in [Dtype::F32, Dtype::F16] {
                let file = path(&format!("model.{}", format.extension()));
                let (manifest, weights) = convert(&manifest, &weights, dtype).unwrap();
                artifact::write(&file, format, dtype, &manifest, &weights).unwrap();
                let (manifest, weights) = artifact::read(&file).unwrap();
                let found = verify(&manifest, &weights, &Device::flex()).unwrap();
                let expected = Verification { samples: 16, labels_agree: 16, largest_difference: 0.0 };
                assert_eq!(found, expected, "{format} {dtype:?} {}", model.kind());
                assert!(found.passed(0.0));
            }
        }
    }
}

#[test]
fn model_files_of_an_older_kiln_compute_what_they_did() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models");
    for name in ["f32.bpk", "f32.safetensors", "f32.onnx", "f16.bpk", "f16.safetensors", "f16.onnx"] {
        let (manifest, weights) = artifact::read(&folder.join(format!("kiln-0.1.0-{name}"))).unwrap();
        let found = verify(&manifest, &weights, &Device::flex()).unwrap();
        assert!(found.samples == 16 && found.passed(1e-4), "{name}: {found:?}");
        let data = crate::data::open(&manifest.training_data().unwrap(), manifest.provenance.seed).unwrap();
        assert_eq!(data.fingerprint, manifest.provenance.data_fingerprint);
        let predictor = Predictor::new(manifest, &weights, &Device::flex()).unwrap();
        let answers = predictor.predict_prepared(&[data.test.image(0), data.test.image(1)]).unwrap();
        assert_eq!([answers[0].ranked[0].index, answers[1].ranked[0].index], [data.test.label(0), data.test.label(1)]);
    }
}

#[test]
fn a_replay_without_samples_or_with_other_answers_does_not_pass() {
    let (mut manifest, weights) = exported(&ModelConfig::examples()[0], 1);
    let agreeing = verify(&manifest, &weights, &Device::flex()).unwrap();
    assert!(agreeing.passed(0.0) && !agreeing.passed(f32::NAN));
    manifest.golden[3].logits[1] += 0.5;
    let changed = verify(&manifest, &weights, &Device::flex()).unwrap();
    assert!((changed.largest_difference - 0.5).abs() < 1e-6 && changed.passed(0.6) && !changed.passed(0.4));
    manifest.golden.clear();
    let empty = verify(&manifest, &weights, &Device::flex()).unwrap();
    assert!(empty.samples == 0 && !empty.passed(f32::MAX));
}

#[test]
fn finite_weights_that_overflow_are_an_error_and_no_answer() {
    let (manifest, mut weights) = sample(&ModelConfig::examples()[1], 1);
    for (_, tensor) in weights.iter_mut() {
        tensor.values.fill(3e38);
    }
    let predictor = Predictor::new(manifest, &weights, &Device::flex()).unwrap();
    let image = vec![255; 156];
    let error = predictor.predict_prepared(&[&image]).unwrap_err().render();
    assert!(error.contains("logits must be finite, got inf for image 1 of 1"), "{error}");
}

#[test]
fn a_half_that_overflows_is_an_error_with_a_way_out() {
    let (manifest, mut weights) = sample(&ModelConfig::examples()[0], 1);
    weights.iter_mut().next().unwrap().1.values[0] = 70_000.0;
    let error = convert(&manifest, &weights, Dtype::F16).unwrap_err().render();
    let name = weights.iter().next().unwrap().0;
    assert!(error.contains(&format!("tensor `{name}` holds a NaN or infinite value in F16")), "{error}");
    assert!(error.contains("tip: export with --dtype f32"), "{error}");
}

#[test]
fn large_activations_go_in_small_batches() {
    let layer = |side: usize| {
        let (name, description) = ("a".into(), "conv".into());
        let output_shape = vec![64, side, side];
        LayerSummary { name, description, output_shape, parameters: 1, forward_flops: 1, tensors: Vec::new() }
    };
    assert_eq!(batch_size(&[layer(28)], &Device::flex()), CPU_BATCH);
    assert_eq!(batch_size(&[layer(28), layer(512)], &Device::flex()), 2);
    assert_eq!(batch_size(&[layer(1024)], &Device::flex()), 1);
}

/// The outputs of an ONNX file in an independent engine.
fn run_elsewhere(file: &Path, pixels: &[u8], count: usize, shape: ImageShape) -> (Vec<f32>, Vec<f32>) {
    let model = tract_onnx::onnx().model_for_path(file).unwrap().into_optimized().unwrap().into_runnable().unwrap();
    let values = pixels.iter().map(|&pixel| f32::from(pixel)).collect::<Vec<_>>();
    let input = TractTensor::from_shape(&[count, shape.channels, shape.height, shape.width], &values).unwrap();
    let outputs = model.run(tvec!(input.into())).unwrap();
    let values =
        |index: usize| -> Vec<f32> { outputs[index].to_plain_array_view::<f32>().unwrap().iter().copied().collect() };
    (values(0), values(1))
}

#[test]
fn another_engine_computes_the_same_from_the_onnx_file() {
    let (_folder, path) = folder();
    for model in ModelConfig::examples() {
        for (channels, dtype) in [(1, Dtype::F32), (3, Dtype::F32), (1, Dtype::F16)] {
            let (manifest, weights) = sample(&model, channels);
            let (manifest, weights) = convert(&manifest, &weights, dtype).unwrap();
            let file = path("model.onnx");
            artifact::write(&file, Format::Onnx, dtype, &manifest, &weights).unwrap();
            let predictor = Predictor::open(&file).unwrap();
            for count in [1, 7] {
                let shape = manifest.preprocess.shape;
                let pixels = pixels(count, shape);
                let expected = predictor.logits(&pixels, count).unwrap();
                let (logits, shares) = run_elsewhere(&file, &pixels, count, shape);
                assert_eq!(logits.len(), count * CLASSES);
                for (row, (found, expected)) in logits.chunks(CLASSES).zip(expected.chunks(CLASSES)).enumerate() {
                    assert_eq!(argmax(found), argmax(expected), "{}", model.kind());
                    for (a, b) in found.iter().zip(expected) {
                        assert!((a - b).abs() < 1e-4, "{}: {a} and {b}", model.kind());
                    }
                    let expected = probabilities(expected);
                    for (a, b) in shares[row * CLASSES..].iter().zip(expected) {
                        assert!((f64::from(*a) - b).abs() < 1e-4);
                    }
                }
            }
        }
    }
}

#[test]
fn predictions_are_ranked_and_sizes_checked() {
    let (manifest, weights) = sample(&ModelConfig::examples()[1], 1);
    let shape = manifest.preprocess.shape;
    let predictor = Predictor::new(manifest, &weights, &Device::flex()).unwrap();
    // More than one batch.
    let pixels = pixels(600, shape);
    let images = pixels.chunks(shape.len()).collect::<Vec<_>>();
    let predictions = predictor.predict_prepared(&images).unwrap();
    assert_eq!(predictions.len(), 600);
    let alone = predictor.predict_prepared(&images[599..]).unwrap();
    assert_eq!(alone[0].ranked[0].label, predictions[599].ranked[0].label);
    for prediction in &predictions {
        assert_eq!(prediction.ranked.len(), CLASSES);
        assert!(prediction.ranked.is_sorted_by(|a, b| a.probability >= b.probability));
    }
    assert!(predictor.predict_prepared(&[&pixels[1..shape.len()]]).is_err());
    assert!(predictor.predict_prepared(&[]).unwrap().is_empty());
}
