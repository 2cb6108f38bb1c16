//! The server over a real network: what it answers is what the predictor answers, to the last bit.

use std::thread::scope;

use burn::tensor::Device;

use super::*;
use crate::artifact::{BURN_VERSION, Dtype, Manifest, Provenance, SCHEMA_VERSION};
use crate::data::preprocess::{Fit, Preprocess};
use crate::models::ModelConfig;
use crate::predict::Predictor;

/// An untrained network for 12 by 12 pixels.
fn predictor() -> Predictor {
    let shape = ImageShape { channels: 1, height: 12, width: 12 };
    let classes = (0..10).map(|class| class.to_string()).collect::<Vec<_>>();
    let model = ModelConfig::examples()[1].clone();
    let weights = model.init(shape, classes.len(), &Device::flex()).unwrap().initialise(3).weights().unwrap();
    let manifest = Manifest {
        schema_version: SCHEMA_VERSION,
        model: model.into(),
        preprocess: Preprocess { shape, mean: vec![0.13], std: vec![0.31], fit: Fit::Resize },
        test_time_augmentation: None,
        classes,
        metrics: serde_json::Map::new(),
        calibration: None,
        out_of_distribution: None,
        provenance: Provenance {
            kiln_version: env!("CARGO_PKG_VERSION").into(),
            burn_version: BURN_VERSION.into(),
            git_commit: None,
            created: "2026-01-01T00:00:00Z".into(),
            experiment: json!({}),
            data_fingerprint: String::new(),
            run: "x-0001".into(),
            seed: 3,
            device: "flex".into(),
            parent: None,
            kernels: None,
            teacher_sha256: None,
            members: vec![],
        },
        dtype: Dtype::F32,
        weights_sha256: weights.sha256(),
        golden: vec![],
    };
    Predictor::new(manifest, &weights, &Device::flex()).unwrap()
}

/// The body of the answer to one image.
fn answer(prediction: &Prediction) -> String {
    let line = |ranked: &Ranked| json!({ "label": ranked.label, "probability": ranked.probability });
    let top = prediction.ranked[..3].iter().map(line).collect::<Vec<_>>();
    let first = &prediction.ranked[0];
    json!({ "predictions": [{ "label": first.label, "probability": first.probability, "top": top }] }).to_string()
}

#[test]
fn many_at_once_get_the_answers_of_the_predictor() {
    let direct = predictor();
    let server = serve(predictor(), |options| options.batch_delay = Duration::from_millis(5));
    let manifest = Client::connect(server.address()).unwrap().get("/v1/model").unwrap().json();
    assert_eq!(manifest, serde_json::to_value(Predictor::manifest(&direct)).unwrap());
    scope(|scope| {
        for thread in 0..8_usize {
            let (server, direct) = (&server, &direct);
            scope.spawn(move || {
                let mut client = Client::connect(server.address()).unwrap();
                for round in 0..25 {
                    let pixels = (0..144).map(|at| ((at * (thread * 25 + round + 3)) % 251) as u8).collect::<Vec<_>>();
                    let expected = answer(&direct.predict_prepared(&[&pixels]).unwrap()[0]);
                    let reply = client.ask(&post("/v1/predict", "application/json", &body(&pixels))).unwrap();
                    assert_eq!(reply.text(), expected);
                    let mut png = Cursor::new(Vec::new());
                    GrayImage::from_raw(12, 12, pixels).unwrap().write_to(&mut png, ImageFormat::Png).unwrap();
                    let reply = client.ask(&post("/v1/predict?raw=true", "image/png", png.get_ref())).unwrap();
                    assert_eq!(reply.text(), expected);
                }
            });
        }
    });
}

#[test]
fn pictures_that_cannot_be_used_say_why() {
    let server = serve(predictor(), |_| {});
    for (path, sent) in [
        ("/v1/predict", b"not a picture".to_vec()),
        ("/v1/predict?raw=true", png(&pixels(60))),
        ("/v1/predict", png(&pixels(60))[..40].to_vec()),
    ] {
        let reply = ask(&server, &post(path, "image/png", &sent));
        assert_eq!((reply.status, &reply.json()["error"]["code"]), (422, &json!("bad_picture")), "{}", reply.text());
    }
}
