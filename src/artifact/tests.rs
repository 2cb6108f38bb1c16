//! Every kind of network through every container, and what happens to files that are not what they should be.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use rand::Rng as _;
use serde_json::json;
use tract_onnx::prelude::{Framework as _, InferenceModelExt as _, IntoRunnable as _, Tensor, tvec};

use super::*;
use crate::data::preprocess::{Fit, Preprocess};
use crate::data::{ImageSet, ImageShape};
use crate::models::ModelConfig;
use crate::seed::{Purpose, Stream};

const CLASSES: usize = 4;

fn pixels(count: usize, shape: ImageShape) -> Vec<u8> {
    let mut rng = Stream::new(5, Purpose::Synthetic).at(0, 0);
    let mut pixels = vec![0; count * shape.len()];
    rng.fill_bytes(&mut pixels);
    pixels
}

/// An untrained network whose norms have seen other statistics than their initial ones.
fn sample(model: &ModelConfig, channels: usize) -> (Manifest, Weights) {
    let shape = ImageShape { channels, height: 12, width: 13 };
    let network = model.init(shape, CLASSES, &Device::flex()).unwrap().initialise(3);
    let mut weights = network.weights().unwrap();
    for (name, tensor) in weights.iter_mut() {
        let kind = name.rsplit('.').next().unwrap_or_default();
        for (index, value) in tensor.values.iter_mut().enumerate() {
            match kind {
                "running_mean" | "bias" | "beta" => *value = (index % 5) as f32 * 0.1 - 0.2,
                "running_var" | "gamma" => *value = 0.5 + (index % 3) as f32 * 0.25,
                _ => {}
            }
        }
    }
    let preprocess = Preprocess {
        shape,
        mean: vec![0.13, 0.3, 0.45][..channels].to_vec(),
        std: vec![0.31, 0.25, 0.2][..channels].to_vec(),
        fit: Fit::Resize,
    };
    let classes = ["zero", "one", "two", "\"three\""].map(str::to_owned).to_vec();
    let mut manifest = Manifest::imported(model.clone(), preprocess, classes, "a test");
    manifest.metrics.insert("test_accuracy".into(), json!(0.1));
    let predictor = Predictor::new(manifest.clone(), &weights, &Device::flex()).unwrap();
    let set = ImageSet {
        pixels: pixels(20, shape).into(),
        labels: vec![0; 20].into(),
        classes: manifest.classes.clone().into(),
        shape,
    };
    manifest.add_golden_samples(&predictor, &set).unwrap();
    (manifest, weights)
}

fn folder() -> (tempfile::TempDir, impl Fn(&str) -> PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    (folder, move |name: &str| path.join(name))
}

#[test]
fn every_network_survives_every_container() {
    let (_folder, path) = folder();
    for model in ModelConfig::examples() {
        for format in Format::ALL {
            let (manifest, weights) = sample(&model, 1);
            let file = path(&format!("model.{}", format.extension()));
            write(&file, format, Dtype::F32, &manifest, &weights).unwrap();
            let (read_manifest, read_weights) = read(&file).unwrap();
            assert_eq!(read_weights, weights, "{format} {}", model.kind());
            assert_eq!(read_manifest.weights_sha256, weights.sha256());
            assert_eq!(read_manifest, Manifest { weights_sha256: weights.sha256(), ..manifest });
            let verification = verify(&read_manifest, &read_weights, &Device::flex()).unwrap();
            assert_eq!(verification, Verification { samples: 16, labels_agree: 16, largest_difference: 0.0 });

            write(&file, format, Dtype::F16, &read_manifest, &read_weights).unwrap();
            let (half_manifest, half_weights) = read(&file).unwrap();
            assert_eq!(half_manifest.dtype, Dtype::F16);
            for ((_, half), (_, full)) in half_weights.iter().zip(weights.iter()) {
                let close = |(a, b): (&f32, &f32)| (a - b).abs() <= b.abs() / 1024.0 + 1e-7;
                assert!(half.values.iter().zip(&full.values).all(close));
            }
            let verification = verify(&half_manifest, &half_weights, &Device::flex()).unwrap();
            assert_eq!((verification.labels_agree, verification.largest_difference), (16, 0.0));
        }
    }
}

/// The outputs of an ONNX file in an independent engine.
fn run_elsewhere(file: &Path, pixels: &[u8], count: usize, shape: ImageShape) -> (Vec<f32>, Vec<f32>) {
    let model = tract_onnx::onnx().model_for_path(file).unwrap().into_optimized().unwrap().into_runnable().unwrap();
    let values = pixels.iter().map(|&pixel| f32::from(pixel)).collect::<Vec<_>>();
    let input = Tensor::from_shape(&[count, shape.channels, shape.height, shape.width], &values).unwrap();
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
            let file = path("model.onnx");
            write(&file, Format::Onnx, dtype, &manifest, &weights).unwrap();
            let predictor = Predictor::open(&file).unwrap();
            for count in [1, 7] {
                let shape = manifest.preprocess.shape;
                let pixels = pixels(count, shape);
                let expected = predictor.logits(&pixels, count).unwrap();
                let (logits, probabilities) = run_elsewhere(&file, &pixels, count, shape);
                assert_eq!(logits.len(), count * CLASSES);
                for (row, (found, expected)) in logits.chunks(CLASSES).zip(expected.chunks(CLASSES)).enumerate() {
                    assert_eq!(argmax(found), argmax(expected), "{}", model.kind());
                    for (a, b) in found.iter().zip(expected) {
                        assert!((a - b).abs() < 1e-4, "{}: {a} and {b}", model.kind());
                    }
                    let expected = crate::logits::probabilities(expected);
                    for (a, b) in probabilities[row * CLASSES..].iter().zip(expected) {
                        assert!((f64::from(*a) - b).abs() < 1e-4);
                    }
                }
            }
        }
    }
}

#[test]
fn the_onnx_graph_has_the_documented_ends() {
    let (manifest, weights) = sample(&ModelConfig::examples()[3], 1);
    let bytes = onnx::encode(&Manifest { weights_sha256: weights.sha256(), ..manifest }, &weights).unwrap();
    let model = <onnx_ir::ModelProto as onnx_ir::Message>::parse_from_bytes(&bytes).unwrap();
    let names = |values: &[onnx_ir::ValueInfoProto]| values.iter().map(|value| value.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&model.graph.input), ["image"]);
    assert_eq!(names(&model.graph.output), ["logits", "probabilities"]);
    assert_eq!(model.opset_import[0].version, 18);
    let dims = &model.graph.input[0].type_.tensor_type().shape.dim;
    assert_eq!(dims[0].dim_param(), "batch");
    assert_eq!(dims[2].dim_value(), 12);
}

#[test]
fn every_damaged_byte_of_the_weights_is_caught() {
    let (_folder, path) = folder();
    let (manifest, weights) = sample(&ModelConfig::examples()[0], 1);
    for format in Format::ALL {
        let file = path("model");
        write(&file, format, Dtype::F32, &manifest, &weights).unwrap();
        let good = std::fs::read(&file).unwrap();
        let values = weights.get("output.bias").unwrap().values.iter().flat_map(|value| value.to_le_bytes());
        let values = values.collect::<Vec<u8>>();
        let start = good.windows(values.len()).position(|window| window == values).unwrap();
        for index in start..start + values.len() {
            let mut bad = good.clone();
            bad[index] ^= 1;
            assert!(decode(&bad).is_err(), "{format}: byte {index}");
        }
        // Cut anywhere, or with any byte of the rest changed, a file is refused or reads as it was; it never panics.
        for step in (0..good.len()).step_by(97) {
            assert!(decode(&good[..step]).is_err(), "{format}: cut at {step}");
            let mut bad = good.clone();
            bad[step] ^= 0x55;
            if let Ok((_, read)) = decode(&bad) {
                assert_eq!(read, weights, "{format}: byte {step}");
            }
        }
    }
}

fn refusal(bytes: &[u8]) -> String {
    let (_folder, path) = folder();
    std::fs::write(path("model"), bytes).unwrap();
    let text = read(&path("model")).unwrap_err().render();
    let text = text.replace(&path("model").display().to_string(), "model");
    // The digest and the column depend on the last bits of the sample's numbers.
    let text = text.lines().map(|line| line.split_once(" at line ").map_or(line, |(line, _)| line));
    let text =
        text.map(|line| line.split_once(", got ").filter(|_| line.contains("SHA")).map_or(line, |(line, _)| line));
    text.collect::<Vec<_>>().join("\n")
}

/// The burnpack file of a manifest that was changed as text.
fn forged(change: impl Fn(&mut serde_json::Value)) -> Vec<u8> {
    let (manifest, weights) = sample(&ModelConfig::examples()[0], 1);
    let manifest = Manifest { weights_sha256: weights.sha256(), ..manifest };
    let mut value = serde_json::to_value(&manifest).unwrap();
    change(&mut value);
    let text = value.to_string();
    let tensors = weights.iter().map(|(name, tensor)| {
        let bytes = burn_pack::Bytes::from_bytes_vec(Dtype::F32.bytes(&tensor.values));
        burn_pack::Tensor::new(name.to_owned(), burn_pack::DType::F32, tensor.shape.clone(), None, bytes)
    });
    let writer = burn_pack::Writer::new(tensors.collect()).with_metadata(DIGEST_KEY, &sha256(text.as_bytes()));
    writer.with_metadata(MANIFEST_KEY, &text).into_bytes().unwrap().to_vec()
}

#[test]
fn files_that_are_no_artifact_say_what_they_are() {
    let bare = burn_pack::Writer::new(vec![]).into_bytes().unwrap().to_vec();
    let foreign = br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let foreign = [&(foreign.len() as u64).to_le_bytes()[..], foreign, &[0; 4]].concat();
    let texts = [
        refusal(b""),
        refusal(b"\x89PNG\r\n\x1a\n0000"),
        refusal(&bare),
        refusal(&foreign),
        refusal(&forged(|value| value["schema_version"] = json!(2))),
        refusal(&forged(|value| value["weights_sha256"] = json!("00"))),
        refusal(&forged(|value| value["surprise"] = json!(1))),
        refusal(&forged(|value| value["model"]["surprise"] = json!(1))),
        refusal(&forged(|value| value["model"] = json!({ "kind": "mlp", "hidden": [30000], "dropout": 0.0 }))),
        refusal(&forged(|value| value["preprocess"]["std"] = json!([0.0]))),
        refusal(&forged(|value| value["golden"][2]["pixels"] = json!("00"))),
        read(Path::new("/nowhere/model.bpk")).unwrap_err().render(),
    ];
    insta::assert_snapshot!(texts.join("\n\n"), @"
    error: cannot use the model file `model`
    caused by: it is empty

    error: cannot use the model file `model`
    caused by: it is neither a burnpack, a safetensors nor an ONNX file
    tip: a model file is written by `kiln train` and `kiln export`

    error: cannot use the model file `model`
    caused by: it holds no manifest, so it was not written by kiln
    tip: weights from elsewhere come in with `kiln import`

    error: cannot use the model file `model`
    caused by: it holds no manifest, so it was not written by kiln
    tip: weights from elsewhere come in with `kiln import`

    error: cannot use the model file `model`
    caused by: the manifest's schema version must be 1, got 2
    tip: it was written by kiln 0.1.0, this is 0.1.0: update kiln

    error: cannot use the model file `model`
    caused by: the weights are damaged: their SHA-256 must be 00
    tip: copy the file again, or export the model again from its run

    error: cannot use the model file `model`
    caused by: the manifest is not readable
    caused by: unknown field `surprise`, expected one of `schema_version`, `model`, `preprocess`, `classes`, `metrics`, `provenance`, `dtype`, `weights_sha256`, `golden`

    error: cannot use the model file `model`
    caused by: the manifest's `model` holds keys that this kiln does not know

    error: cannot use the model file `model`
    caused by: the network has 4830004 parameters, the file holds 628

    error: cannot use the model file `model`
    caused by: the manifest's `preprocess` holds a deviation or mean that is no usable number

    error: cannot use the model file `model`
    caused by: golden sample 3 must hold 156 pixels and 4 logits

    error: cannot read the model file `/nowhere/model.bpk`
    caused by: No such file or directory (os error 2)
    ");
}

#[test]
fn pytorch_weights_come_in_by_name() {
    let (manifest, weights) = sample(&ModelConfig::examples()[3], 1);
    let shape = manifest.preprocess.shape;
    let bytes = safetensors::encode(&manifest, &weights).unwrap();
    assert_eq!(import_pytorch(&bytes, &manifest.model, shape, CLASSES).unwrap(), weights);
    let error = import_pytorch(&bytes, &ModelConfig::examples()[0], shape, CLASSES).unwrap_err().to_string();
    assert!(error.contains("`output.weight` must have shape [4, 156], got [4, 16]"), "{error}");
    assert!(error.contains("`blocks.0.norm.running_mean` is unknown"), "{error}");
    assert!(!error.contains("missing"), "{error}");
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
