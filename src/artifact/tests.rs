//! Every format written and read, files of an older kiln, and what happens to files that are not what they should be.
//! What a model computes is tested in `predict`.
#![allow(clippy::unwrap_used)]

mod forged;
mod fuzz;

use std::path::PathBuf;

use burn::tensor::Device;
use rand::Rng as _;
use rayon::prelude::*;
use serde_json::json;

use super::*;
use crate::data::preprocess::{Fit, Preprocess};
use crate::data::{ImageShape, TestTimeAugmentation};
use crate::models::ModelConfig;
use crate::seed::{Purpose, Stream};

pub(crate) const CLASSES: usize = 4;

/// Drawn pixels of `count` images.
pub(crate) fn pixels(count: usize, shape: ImageShape) -> Vec<u8> {
    let mut rng = Stream::new(5, Purpose::Synthetic).at(0, 0);
    let mut pixels = vec![0; count * shape.len()];
    rng.fill_bytes(&mut pixels);
    pixels
}

/// An untrained network whose norms have seen other statistics than their initial ones, and its manifest. The golden
/// samples have some logits, not those that the network gives.
pub(crate) fn sample(model: &ModelConfig, channels: usize) -> (Manifest, Weights) {
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
    manifest.weights_sha256 = weights.sha256();
    manifest.metrics.insert("test_accuracy".into(), json!(0.1));
    let golden = |image: &[u8]| GoldenSample { pixels: hex::encode(image), logits: vec![0.5, -1.25, 3.0, 0.1] };
    manifest.golden = pixels(2, shape).chunks(shape.len()).map(golden).collect();
    (manifest, weights)
}

/// The files of one small model in every format and type.
fn files() -> Vec<(Format, Dtype, Vec<u8>)> {
    let (mut manifest, weights) = sample(&ModelConfig::examples()[0], 1);
    manifest.test_time_augmentation = Some(TestTimeAugmentation { flip: true, shift: None });
    let types = [Dtype::F32, Dtype::F16];
    let all = Format::ALL.iter().flat_map(|&format| types.map(|dtype| (format, dtype)));
    let file = |(format, dtype): (Format, Dtype)| {
        (format, dtype, encode(format, dtype, &manifest, &dtype.round(&weights).unwrap()).unwrap())
    };
    all.map(file).collect()
}

pub(crate) fn folder() -> (tempfile::TempDir, impl Fn(&str) -> PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    (folder, move |name: &str| path.join(name))
}

#[test]
fn every_format_is_named_and_told_apart() {
    for &format in Format::ALL {
        assert_eq!(Format::of_extension(format.extension()), Some(format));
        assert_eq!(Format::from_str(format.name(), false), Ok(format));
        assert!(format.container().about().ends_with(&format!(", .{}", format.extension())), "{format}");
        assert!(Format::names().contains(format.name()));
    }
    for (format, _, bytes) in files() {
        assert_eq!(Format::of_content(&bytes[..file::START]).unwrap(), format);
    }
    assert_eq!(Format::of_extension("zip"), None);
}

#[test]
fn every_network_survives_every_format() {
    let (_folder, path) = folder();
    for model in ModelConfig::examples() {
        let (manifest, weights) = sample(&model, 1);
        for &format in Format::ALL {
            let file = path(&format!("model.{}", format.extension()));
            write(&file, format, Dtype::F32, &manifest, &weights).unwrap();
            assert_eq!(read(&file).unwrap(), (manifest.clone(), weights.clone()), "{format} {}", model.kind());
            let halves = Dtype::F16.round(&weights).unwrap();
            write(&file, format, Dtype::F16, &manifest, &halves).unwrap();
            let (read_manifest, read_weights) = read(&file).unwrap();
            assert_eq!((read_manifest.dtype, &read_manifest.weights_sha256), (Dtype::F16, &halves.sha256()));
            assert_eq!(read_weights, halves, "{format} {}", model.kind());
            for ((_, half), (_, full)) in halves.iter().zip(weights.iter()) {
                let close = |(a, b): (&f32, &f32)| (a - b).abs() <= b.abs() / 1024.0 + 1e-7;
                assert!(half.values.iter().zip(&full.values).all(close));
            }
            let error = write(&file, format, Dtype::F16, &manifest, &weights).unwrap_err();
            assert!(error.to_string().contains("must be rounded to F16"), "{error}");
        }
    }
}

#[test]
fn a_file_with_any_byte_changed_is_refused() {
    for (format, dtype, good) in files() {
        let accepted = (0..good.len()).into_par_iter().filter(|&index| {
            // One bit of each byte, another for each.
            let mut bad = good.clone();
            bad[index] ^= 1 << (index % 8);
            decode(&bad).is_ok()
        });
        assert_eq!(accepted.collect::<Vec<_>>(), Vec::<usize>::new(), "{format} {dtype:?}");
    }
}

/// Not where the manifest, the weights and what is the same in every page lie, whose digests see every bit alike.
#[test]
fn a_file_with_any_bit_of_its_structure_changed_is_refused() {
    for (format, dtype, good) in files() {
        let (manifest, weights) = sample(&ModelConfig::examples()[0], 1);
        let place = |part: &[u8]| good.windows(part.len()).position(|window| window == part);
        let mut covered = vec![false; good.len()];
        let halves = dtype.round(&weights).unwrap();
        for (_, tensor) in halves.iter() {
            let bytes = dtype.bytes(&tensor.values);
            if let Some(start) = place(&bytes) {
                covered[start..start + bytes.len()].fill(true);
            }
        }
        if format == Format::Html {
            let (before, after) = crate::page::of_model();
            for part in [before, after] {
                let start = place(part.as_bytes()).unwrap();
                covered[start..start + part.len()].fill(true);
            }
        }
        for sample in &manifest.golden {
            let start = place(sample.pixels.as_bytes()).unwrap();
            covered[start..start + sample.pixels.len()].fill(true);
        }
        let open = (0..good.len()).filter(|&index| !covered[index]).collect::<Vec<_>>();
        let accepted = open.into_par_iter().flat_map_iter(|index| (0..8).map(move |bit| (index, bit)));
        let accepted = accepted.filter(|&(index, bit)| {
            let mut bad = good.clone();
            bad[index] ^= 1 << bit;
            decode(&bad).is_ok()
        });
        assert_eq!(accepted.collect::<Vec<_>>(), Vec::<(usize, i32)>::new(), "{format} {dtype:?}");
    }
}

#[test]
fn a_file_cut_anywhere_or_with_a_tail_is_refused() {
    for (format, dtype, good) in files() {
        for length in 0..good.len() {
            assert!(decode(&good[..length]).is_err(), "{format} {dtype:?}: cut at {length}");
        }
        for byte in [0, b' ', b'\n', b'x', 0xff] {
            for count in [1, 2, 3, 7, 8, 255, 256, 1000] {
                let tail = vec![byte; count];
                assert!(decode(&[&good[..], &tail].concat()).is_err(), "{format} {dtype:?}: {count} of {byte}");
            }
        }
        assert!(decode(&[&good[..], &good].concat()).is_err(), "{format} {dtype:?}: twice");
    }
}

#[test]
fn files_of_an_older_kiln_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models");
    for (dtype, digest) in [
        ("f32", "67f91db564e189e556b76613de479219a280a30c6c18d8c7ac96be310711e536"),
        ("f16", "c544981458906527f58fca1247d218c2d3b43b3fd7e7c46192ef2884c0fa8551"),
    ] {
        for extension in ["bpk", "safetensors", "onnx"] {
            let (manifest, weights) = read(&folder.join(format!("kiln-0.1.0-{dtype}.{extension}"))).unwrap();
            assert_eq!(weights.sha256(), digest, "{dtype} {extension}");
            assert_eq!((manifest.golden.len(), manifest.provenance.kernels), (16, None));
        }
    }
}

#[test]
fn pytorch_weights_come_in_by_name() {
    let (manifest, weights) = sample(&ModelConfig::examples()[3], 1);
    let shape = manifest.preprocess.shape;
    let bytes = encode(Format::Safetensors, Dtype::F32, &manifest, &weights).unwrap();
    assert_eq!(import_pytorch(&bytes, manifest.model.models()[0], shape, CLASSES).unwrap(), weights);
    let error = import_pytorch(&bytes, &ModelConfig::examples()[0], shape, CLASSES).unwrap_err().to_string();
    assert!(error.contains("`output.weight` must have shape [4, 156], got [4, 16]"), "{error}");
    assert!(error.contains("`blocks.0.norm.running_mean` is unknown"), "{error}");
    assert!(!error.contains("missing"), "{error}");
}

#[test]
fn only_safetensors_files_of_a_sensible_size_are_imported() {
    let (_folder, path) = folder();
    let (manifest, _) = sample(&ModelConfig::examples()[0], 1);
    let said = |path: &Path| {
        import(path, manifest.model.models()[0], manifest.preprocess.shape, CLASSES).unwrap_err().render()
    };
    std::fs::write(path("m.pt"), b"PK\x03\x04 a pickle").unwrap();
    assert!(said(&path("m.pt")).contains("it is no safetensors file"));
    #[cfg(unix)]
    assert!(said(Path::new("/dev/zero")).contains("it is no safetensors file"));
}

#[cfg(unix)]
#[test]
fn an_endless_or_too_large_file_is_refused_and_not_read() {
    let error = read(Path::new("/dev/zero")).unwrap_err().render();
    assert!(error.contains("begins like none of them"), "{error}");
    let (_folder, path) = folder();
    // A file with a hole: it takes no room on the disk.
    std::fs::write(path("m.bpk"), b"NRUB\x01\x00").unwrap();
    std::fs::File::options().write(true).open(path("m.bpk")).unwrap().set_len(3 << 30).unwrap();
    let error = read(&path("m.bpk")).unwrap_err().render();
    assert!(error.contains("must have at most 1600000000 bytes, got 3221225472"), "{error}");
    assert!(file::read_bounded(Path::new("/dev/zero"), 1000).is_err());
}

#[test]
fn the_onnx_graph_has_the_documented_ends() {
    let (manifest, weights) = sample(&ModelConfig::examples()[3], 1);
    let bytes = encode(Format::Onnx, Dtype::F32, &manifest, &weights).unwrap();
    let model = <onnx_ir::ModelProto as onnx_ir::Message>::parse_from_bytes(&bytes).unwrap();
    let names = |values: &[onnx_ir::ValueInfoProto]| values.iter().map(|value| value.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&model.graph.input), ["image"]);
    assert_eq!(names(&model.graph.output), ["logits", "probabilities"]);
    assert_eq!(model.opset_import[0].version, 18);
    let dims = &model.graph.input[0].type_.tensor_type().shape.dim;
    assert_eq!(dims[0].dim_param(), "batch");
    assert_eq!(dims[2].dim_value(), 12);
}
