//! Files whose digests are right and whose content is not: what each field may be.

use serde_json::{Value, json};

use super::*;

/// The burnpack file of a changed manifest and changed weights, every digest made anew.
pub(super) fn forged(model: &ModelConfig, change: impl FnOnce(&mut Value, &mut Weights)) -> Vec<u8> {
    let (manifest, mut weights) = sample(model, 1);
    let mut value = serde_json::to_value(&manifest).unwrap();
    change(&mut value, &mut weights);
    if value["weights_sha256"] == json!(manifest.weights_sha256) {
        value["weights_sha256"] = json!(weights.sha256());
    }
    sealed(&manifest, value.to_string(), &weights)
}

fn sealed(manifest: &Manifest, text: String, weights: &Weights) -> Vec<u8> {
    let payload = Payload { manifest, digest: sha256(text.as_bytes()), text, weights };
    Format::Burnpack.container().encode(&payload).unwrap()
}

/// What is said of a file with these bytes.
fn refusal(bytes: &[u8]) -> String {
    let (_folder, path) = folder();
    std::fs::write(path("model"), bytes).unwrap();
    let error = read(&path("model")).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let text = error.render().replace(&path("model").display().to_string(), "model");
    assert!(!text.chars().any(|letter| letter.is_control() && letter != '\n'), "{text:?}");
    // So that a new format changes nothing here.
    let text = text.replace(&Format::names(), "FORMATS");
    text.strip_prefix("error: cannot use the model file `model`\ncaused by: ").unwrap_or(&text).to_owned()
}

/// What is said of the manifest of a linear model with this field changed.
fn refused(pointer: &str, found: Value) -> String {
    refusal(&forged(&ModelConfig::examples()[0], |value, _| {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        value.pointer_mut(parent).unwrap()[key] = found.clone();
    }))
}

#[test]
fn files_that_are_no_model_file_say_what_they_are() {
    let bare = burn_pack::Writer::new(vec![]).into_bytes().unwrap().to_vec();
    let foreign = br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let foreign = [&(foreign.len() as u64).to_le_bytes()[..], foreign, &[0; 4]].concat();
    let texts = [refusal(b""), refusal(b"\x89PNG\r\n\x1a\n0000"), refusal(&bare), refusal(&foreign)];
    insta::assert_snapshot!(texts.join("\n\n"), @r#"
    it is empty

    it must be a file in the format FORMATS, and begins like none of them
    tip: a model file is written by `kiln train` and `kiln export`

    it holds no manifest, so it was not written by kiln
    tip: weights from elsewhere come in with `kiln import`

    it holds no manifest, so it was not written by kiln
    tip: weights from elsewhere come in with `kiln import`
    "#);
    let missing = read(Path::new("/nowhere/model.bpk")).unwrap_err().render();
    assert!(missing.contains("cannot read `/nowhere/model.bpk`"), "{missing}");
}

#[test]
fn views_of_a_manifest_have_their_bounds() {
    let shift = |pixels: Value, directions: Value, fill: Value| json!({ "flip": false, "shift": { "pixels": pixels, "directions": directions, "fill": fill } });
    let of = |views: Value| refused("/test_time_augmentation", views);
    let texts = [
        of(json!({ "flip": false })),
        of(json!({ "flip": true, "surprise": 1 })),
        of(json!({ "flip": 1 })),
        of(shift(json!(0), json!(4), json!("edge"))),
        of(shift(json!(12), json!(4), json!("edge"))),
        of(shift(json!(1_u64 << 40), json!(1_u64 << 40), json!("edge"))),
        of(shift(json!(-1), json!(4), json!("edge"))),
        of(shift(json!(1), json!(5), json!("edge"))),
        of(shift(json!(1), json!(8), json!("auto"))),
        of(shift(json!(1), json!(8), json!({ "constant": [1, 2] }))),
        of(shift(json!(1), json!(8), json!({ "constant": [] }))),
        of(shift(json!(1), json!(8), json!({ "constant": [256] }))),
    ];
    let text = texts.join("\n\n");
    let text = text.lines().map(|line| line.split_once(" at line ").map_or(line, |(line, _)| line));
    insta::assert_snapshot!(text.collect::<Vec<_>>().join("\n"), @"
    the manifest's `test_time_augmentation.flip`: must be true where there is no shift

    the manifest is not readable
    caused by: unknown field `surprise`, expected `flip` or `shift`

    the manifest is not readable
    caused by: invalid type: integer `1`, expected a boolean

    the manifest's `test_time_augmentation.shift.pixels`: must be 1 to 11 for images of 1x12x13, got 0

    the manifest's `test_time_augmentation.shift.pixels`: must be 1 to 11 for images of 1x12x13, got 12

    the manifest has 2 problems
      `test_time_augmentation.shift.pixels`: must be 1 to 11 for images of 1x12x13, got 1099511627776
      `test_time_augmentation.shift.directions`: must be 4 or 8, got 1099511627776

    the manifest is not readable
    caused by: invalid value: integer `-1`, expected usize

    the manifest's `test_time_augmentation.shift.directions`: must be 4 or 8, got 5

    the manifest is not readable
    caused by: unknown variant `auto`, expected one of `constant`, `edge`, `reflect`

    the manifest's `test_time_augmentation.shift.fill`: must hold one value for each of 1 channels, got 2

    the manifest's `test_time_augmentation.shift.fill`: must hold one value for each of 1 channels, got 0

    the manifest is not readable
    caused by: invalid value: integer `256`, expected u8
    ");
    let old = refusal(&forged(&ModelConfig::examples()[0], |value, _| {
        value["schema_version"] = json!(1);
        value["test_time_augmentation"] = json!({ "flip": true });
    }));
    assert!(old.contains("must be 2 for what version 1 does not have (ensembles, views,"), "{old}");
}

#[test]
fn every_field_of_the_manifest_has_its_bounds() {
    let long = "x".repeat(20_000);
    let many = |count: usize| (0..count).map(|class| class.to_string()).collect::<Vec<_>>();
    let texts = [
        refused("/schema_version", json!(3)),
        refused("/surprise", json!(1)),
        refused("/\u{1b}[31m", json!(1)),
        refused("/model/surprise", json!(1)),
        refused("/model", json!({ "kind": "mlp", "hidden": [30000], "dropout": 0.0 })),
        refused("/model", json!({ "kind": "mlp", "hidden": [0], "dropout": 1.0 })),
        refused("/preprocess/surprise", json!(1)),
        refused("/preprocess/channels", json!(2)),
        refused("/preprocess/height", json!(0)),
        refused("/preprocess/height", json!(1_u64 << 40)),
        refused("/preprocess/width", json!(513)),
        refused("/preprocess/mean", json!([0.1, 0.2])),
        refused("/preprocess/mean", json!([3e38])),
        refused("/preprocess/std", json!([0.0])),
        refused("/preprocess/std", json!([1e-30])),
        refused("/preprocess/fit", json!({ "kind": "digit", "box_size": 0 })),
        refused("/preprocess/fit", json!({ "kind": "digit", "box_size": 1_u64 << 40 })),
        refused("/preprocess/fit", json!({ "kind": "digit", "box_size": 8, "surprise": 1 })),
        refused("/classes", json!(["a"])),
        refused("/classes", json!(many(70_000))),
        refused("/classes", json!(["a", "b", "\u{1b}]0;owned\u{7}", "d"])),
        refused("/classes", json!(["a", "b", "c", "a"])),
        refused("/classes", json!(["a", "b", "c", &long[..300]])),
        refused("/metrics", json!({ "test_accuracy": [1] })),
        refused("/metrics", json!({ "\u{1b}[2J": 1 })),
        refused(
            "/metrics",
            many(65).into_iter().map(|name| (name, json!(1))).collect::<serde_json::Map<_, _>>().into(),
        ),
        refused("/provenance/surprise", json!(1)),
        refused("/provenance/kiln_version", json!(long)),
        refused("/provenance/run", json!("\u{1b}[31mrun")),
        refused("/provenance/parent", json!(long)),
        refused("/provenance/device", json!("a\nb")),
        refused("/provenance/data_fingerprint", json!("abc")),
        refused("/provenance/kernels", json!("own")),
        refused("/provenance/seed", json!(-1)),
        refused("/dtype", json!("f64")),
        refused("/dtype", json!("f16")),
        refused("/weights_sha256", json!("00")),
        refused("/golden/1/pixels", json!("00")),
        refused("/golden/1/pixels", json!("zz".repeat(156))),
        refused("/golden/1/logits", json!([1.0])),
        refused("/golden/1/logits", json!([1.0, 2.0, 3.0, null])),
        refused("/golden", json!(vec![json!({ "pixels": "", "logits": [] }); 17])),
    ];
    // The digest and the column depend on the last bits of the sample's numbers.
    let text = texts.join("\n\n");
    let text = text.lines().map(|line| line.split_once(" at line ").map_or(line, |(line, _)| line));
    insta::assert_snapshot!(text.collect::<Vec<_>>().join("\n"), @r#"
    the manifest's schema version must be 1 to 2, got 3
    tip: it was written by kiln 0.1.0, this is 0.1.0: update kiln

    the manifest is not readable
    caused by: unknown field `surprise`, expected one of `schema_version`, `model`, `preprocess`, `test_time_augmentation`, `classes`, `metrics`, `calibration`, `out_of_distribution`, `provenance`, `dtype`, `weights_sha256`, `golden`

    the manifest is not readable
    caused by: unknown field `�[31m`, expected one of `schema_version`, `model`, `preprocess`, `test_time_augmentation`, `classes`, `metrics`, `calibration`, `out_of_distribution`, `provenance`, `dtype`, `weights_sha256`, `golden`

    the manifest's `model` holds a key that this kiln does not know: `surprise`

    the network has 4830004 parameters, the file holds 628

    `model.hidden`: layer 1: width must be 1 to 65536, got 0

    the manifest's `preprocess` holds a key that this kiln does not know: `surprise`

    the manifest has 3 problems
      `preprocess.channels`: must be 1 (grey) or 3 (colour), got 2
      `preprocess.mean`: must hold one number for each of 2 channels, got 1
      `preprocess.std`: must hold one number for each of 2 channels, got 1

    the manifest's `preprocess.height`: must be at least 1, got 0

    the manifest's `preprocess.height`: must be at most 512, got 1099511627776

    the manifest's `preprocess.width`: must be at most 512, got 513

    the manifest's `preprocess.mean`: must hold one number for each of 1 channels, got 2

    the manifest's `preprocess.mean`: must be 0 to 1, got 300000000000000000000000000000000000000

    the manifest's `preprocess.std`: must be 0.000001 to 1, got 0

    the manifest's `preprocess.std`: must be 0.000001 to 1, got 0.000000000000000000000000000001

    the manifest's `preprocess.fit.box_size`: must be at least 1, got 0

    the manifest's `preprocess.fit.box_size`: must be at most 12, got 1099511627776

    the manifest's `preprocess` holds a key that this kiln does not know: `surprise`

    the manifest's `classes`: must name 2 to 65535 classes, got 1

    the manifest's `classes`: must name 2 to 65535 classes, got 70000

    the manifest's `classes`: a name must have no control characters, got "\u{1b}]0;owned\u{7}"

    the manifest's `classes`: no two names may be the same, got "a" twice

    the manifest's `classes`: a name must have 1 to 255 characters, got 300

    the manifest's `metrics.test_accuracy`: must be a number, or null when there is none

    the manifest's `metrics.name`: must be 1 to 64 of letters, digits and `_`, got "\u{1b}[2J"

    the manifest's `metrics.count`: must be at most 64, got 65

    the manifest is not readable
    caused by: unknown field `surprise`, expected one of `kiln_version`, `burn_version`, `git_commit`, `created`, `experiment`, `data_fingerprint`, `run`, `seed`, `device`, `parent`, `kernels`, `teacher_sha256`, `members`

    the manifest's `provenance.kiln_version`: must have at most 64 bytes, got 20000

    the manifest's `provenance.run`: must have no control characters, got "\u{1b}[31mrun"

    the manifest's `provenance.parent`: must have at most 16384 bytes, got 20000

    the manifest's `provenance.device`: must have no control characters, got "a\nb"

    the manifest's `provenance.data_fingerprint`: must be empty or 64 hexadecimal digits, got "abc"

    the manifest's `provenance.kernels`: must be "kiln" or "stock", got "own"

    the manifest is not readable
    caused by: invalid value: integer `-1`, expected u64

    the manifest is not readable
    caused by: unknown variant `f64`, expected `f32` or `f16`

    the manifest says that the weights are stored as F16, they are F32

    the manifest's `weights_sha256`: must be empty or 64 hexadecimal digits, got "00"

    golden sample 2 must hold 156 pixels and 4 logits

    golden sample 2 must hold 156 pixels and 4 logits

    golden sample 2 must hold 156 pixels and 4 logits

    the manifest is not readable
    caused by: invalid type: null, expected f32

    the manifest's `golden`: must hold at most 16 samples, got 17
    "#);
}

#[test]
fn a_network_that_would_take_gigabytes_per_image_is_refused() {
    // A file of 300 kB: 4096 channels of 512 by 512 pixels are 4 GB for one image.
    let block = json!({ "channels": 4096, "kernel_size": 1, "pool": false });
    let model = json!({ "kind": "convnet", "blocks": [block], "norm": "none", "padding": "same", "hidden": [], "dropout": 0.0 });
    let said = refusal(&forged(&ModelConfig::examples()[0], |value, _| {
        value["model"] = model.clone();
        value["golden"] = json!([]);
        value["preprocess"]["height"] = json!(512);
        value["preprocess"]["width"] = json!(512);
    }));
    assert!(said.contains("`model.kind`: the network must have at most 200000000 parameters"), "{said}");
    let block = json!({ "channels": 4096, "kernel_size": 1, "pool": false });
    let last = json!({ "channels": 1, "kernel_size": 1, "pool": true });
    let said = refusal(&forged(&ModelConfig::examples()[0], |value, _| {
        value["model"] = model.clone();
        value["model"]["blocks"] = json!([block, last]);
        value["golden"] = json!([]);
        value["preprocess"]["height"] = json!(512);
        value["preprocess"]["width"] = json!(512);
    }));
    assert!(said.contains("layer `blocks.0` may put out at most 67108864 values per image, got 1073741824"), "{said}");
}

#[test]
fn weights_that_cannot_be_computed_with_are_refused() {
    let model = &ModelConfig::examples()[3];
    let with = |tensor: &str, value: f32| {
        refusal(&forged(model, |_, weights| {
            weights.iter_mut().find(|(name, _)| *name == tensor).unwrap().1.values[1] = value;
        }))
    };
    let texts = [
        with("output.weight", f32::NAN),
        with("blocks.0.conv.weight", f32::NEG_INFINITY),
        with("blocks.0.norm.running_mean", f32::INFINITY),
        with("blocks.1.norm.running_var", f32::NAN),
        with("blocks.1.norm.running_var", -1.0),
    ];
    insta::assert_snapshot!(texts.join("\n"), @r#"
    tensor `output.weight`: must hold finite values, got NaN or infinity
    tensor `blocks.0.conv.weight`: must hold finite values, got NaN or infinity
    tensor `blocks.0.norm.running_mean`: must hold finite values, got NaN or infinity
    tensor `blocks.1.norm.running_var`: must hold finite values, got NaN or infinity
    tensor `blocks.1.norm.running_var`: a variance must be at least 0, got -1
    "#);
    let (manifest, mut weights) = sample(model, 1);
    weights.iter_mut().next().unwrap().1.values[0] = f32::NAN;
    for &format in Format::ALL {
        assert!(encode(format, Dtype::F32, &manifest, &weights).is_err(), "{format}");
    }
}

#[test]
fn a_header_cannot_ask_for_more_than_it_is() {
    let burnpack = [&b"NRUB\x01\x00"[..], &(99_u32 << 20).to_le_bytes(), &[0; 100]].concat();
    let safetensors = [&(99_u64 << 20).to_le_bytes()[..], b"{", &[b' '; 100]].concat();
    // A graph, field 7, that claims 100 MB.
    let onnx = [&[0x08, 8, 0x3a][..], &[0x80, 0xc2, 0xd7, 0x2f], &[0; 100]].concat();
    for (bytes, said) in [
        (burnpack, "the burnpack file's header must have at most 33554432 bytes, got 103809024"),
        (safetensors, "the safetensors file's header must have at most 33554432 bytes, got 103809024"),
        (onnx, "the ONNX file is truncated or damaged"),
    ] {
        let found = refusal(&bytes);
        assert!(found.starts_with(said), "{found}");
    }
    // Empty nodes, field 1 of the graph: 5 MB that would take a hundred times that.
    let nodes = [0x0a, 0].repeat(5 << 19);
    let onnx = [&[0x08, 8, 0x3a, 0x80, 0x80, 0xc0, 2][..], &nodes].concat();
    assert!(refusal(&onnx).starts_with("the ONNX file must have at most 4194304 bytes of graph, got 5242887"));
    let (manifest, weights) = sample(&ModelConfig::examples()[0], 1);
    let many = format!("{{\"metrics\":[{}0]}}", "0,".repeat(2 << 20));
    assert!(refusal(&sealed(&manifest, many, &weights)).starts_with("the manifest must hold at most 1048576 values"));
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    assert!(refusal(&sealed(&manifest, deep, &weights)).contains("recursion limit"));
    let huge = format!("\"{}\"", "x".repeat(33 << 20));
    assert!(refusal(&sealed(&manifest, huge, &weights)).contains("must have at most 33554432 bytes"));
}

#[test]
fn entries_that_nothing_reads_are_refused() {
    let (manifest, weights) = sample(&ModelConfig::examples()[0], 1);
    let text = manifest.to_json().unwrap();
    let tensors = weights.iter().map(|(name, tensor)| {
        let bytes = burn_pack::Bytes::from_bytes_vec(Dtype::F32.bytes(&tensor.values));
        burn_pack::Tensor::new(name.to_owned(), burn_pack::DType::F32, tensor.shape.clone(), None, bytes)
    });
    let writer = burn_pack::Writer::new(tensors.collect()).with_metadata(DIGEST_KEY, &sha256(text.as_bytes()));
    let writer = writer.with_metadata(MANIFEST_KEY, &text).with_metadata("other", "entry");
    assert!(refusal(&writer.into_bytes().unwrap()).contains("for what the file holds"));

    let tensors = names::to_pytorch(&weights);
    let stored = tensors.iter().map(|(name, tensor)| (name, &tensor.shape, Dtype::F32.bytes(&tensor.values)));
    let stored = stored.collect::<Vec<_>>();
    let file = |metadata: &[(&str, &str)]| {
        let view = |(name, shape, bytes)| {
            let shape: &Vec<usize> = shape;
            (name, ::safetensors::tensor::TensorView::new(::safetensors::Dtype::F32, shape.clone(), bytes).unwrap())
        };
        let views = stored.iter().map(|(name, shape, bytes)| view((*name, *shape, bytes.as_slice())));
        let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        ::safetensors::serialize(views, Some(metadata)).unwrap()
    };
    let digest = sha256(text.as_bytes());
    let own = [("format", "pt"), (DIGEST_KEY, digest.as_str()), (MANIFEST_KEY, text.as_str())];
    assert!(decode(&file(&own)).is_ok());
    let said = "its metadata must be format = \"pt\" and kiln_manifest_sha256 and kiln_manifest";
    assert!(refusal(&file(&[&own[..], &[("other", "entry")]].concat())).starts_with(said));
    assert!(refusal(&file(&[("format", "tf"), own[1], own[2]])).starts_with(said));
}
