//! The server over real sockets: every route, every limit, wrong input, and right answers under load.
#![allow(clippy::unwrap_used)]

pub(crate) mod client;
mod fuzz;
mod limits;
mod load;
mod malformed;
mod predictor;
mod routes;

use std::io::Cursor;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use image::{GrayImage, ImageFormat};
use serde_json::{Value, json};

use super::{Form, Model, Options, Server};
use crate::data::ImageShape;
use crate::predict::{Prediction, Ranked};
use crate::{Error, Result};
use client::{Client, Reply, post};

const SHAPE: ImageShape = ImageShape { channels: 1, height: 6, width: 5 };

/// First pixels at which [`Toy`] misbehaves.
const PANIC: u8 = 13;
const FAIL: u8 = 14;
const SLOW: u8 = 15;

/// A model whose answers are a function of the pixels that is quickly computed and not easily got by accident.
struct Toy {
    classes: Vec<String>,
    pause: Duration,
}

impl Toy {
    fn new() -> Self {
        Self { classes: ["a", "b", "c", "d", "\"e\" <&>"].map(str::to_owned).to_vec(), pause: Duration::ZERO }
    }

    fn answer(&self, input: &[u8]) -> Prediction {
        let digest = input.iter().fold(7_u32, |digest, &pixel| digest.wrapping_mul(31).wrapping_add(pixel.into()));
        let first = digest as usize % self.classes.len();
        let ranked = (0..self.classes.len()).map(|rank| {
            let index = (first + rank) % self.classes.len();
            let probability = if rank == 0 { f64::from(digest % 1024) / 1024.0 } else { 0.0 };
            Ranked { index, label: self.classes[index].clone(), probability }
        });
        Prediction { ranked: ranked.collect(), input: input.to_vec(), out_of_distribution: None }
    }
}

impl Model for Toy {
    fn shape(&self) -> ImageShape {
        SHAPE
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn manifest(&self) -> Result<Value> {
        Ok(json!({ "classes": self.classes }))
    }

    fn memory(&self, bytes: &[u8]) -> Result<u64> {
        Ok(bytes.len() as u64)
    }

    fn read(&self, bytes: &[u8], form: Form) -> Result<Vec<u8>> {
        assert!(!bytes.starts_with(b"PANIC"));
        if bytes.starts_with(b"HOLD") {
            sleep(Duration::from_millis(700));
        }
        let image = image::load_from_memory(bytes)
            .map_err(|error| Error::usage("the picture cannot be decoded").caused_by(error).tip("send a PNG"))?;
        if form == Form::Training && (image.width(), image.height()) != (5, 6) {
            return Err(Error::usage("the picture must be 5 by 6 pixels"));
        }
        Ok(image.resize_exact(5, 6, image::imageops::FilterType::Triangle).to_luma8().into_raw())
    }

    fn predict(&self, inputs: &[&[u8]]) -> Result<Vec<Prediction>> {
        sleep(self.pause);
        for input in inputs {
            match input[0] {
                PANIC => panic!("as asked"),
                FAIL => return Err(Error::failed("the device is gone")),
                SLOW => sleep(Duration::from_millis(700)),
                _ => {}
            }
        }
        Ok(inputs.iter().map(|input| self.answer(input)).collect())
    }
}

/// How many broken requests to send: `few`, or as many as `KILN_FUZZ_CASES` says.
fn cases(few: usize) -> usize {
    std::env::var("KILN_FUZZ_CASES").map_or(few, |cases| cases.parse().unwrap())
}

/// A server on a free port.
fn serve(model: impl Model, change: impl FnOnce(&mut Options)) -> Server {
    let mut options = Options { address: ([127, 0, 0, 1], 0).into(), ..Options::default() };
    change(&mut options);
    super::start(Arc::new(model), &options).unwrap()
}

fn png(pixels: &[u8]) -> Vec<u8> {
    let image = GrayImage::from_raw(5, 6, pixels.to_vec()).unwrap();
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn pixels(first: u8) -> Vec<u8> {
    (0..30).map(|index| if index == 0 { first } else { first.wrapping_mul(7).wrapping_add(index * 8) }).collect()
}

fn body(pixels: &[u8]) -> Vec<u8> {
    json!({ "pixels": pixels }).to_string().into_bytes()
}

fn ask(server: &Server, request: &[u8]) -> Reply {
    Client::connect(server.address()).unwrap().ask(request).unwrap()
}

fn ask_json(server: &Server, body: &[u8]) -> Reply {
    ask(server, &post("/v1/predict", "application/json", body))
}

/// What the server must answer to these pixels.
fn expected(pixels: &[u8]) -> Value {
    let Prediction { ranked, .. } = Toy::new().answer(pixels);
    let line = |ranked: &Ranked| json!({ "label": ranked.label, "probability": ranked.probability });
    json!({ "label": ranked[0].label, "probability": ranked[0].probability, "top": ranked[..3].iter().map(line).collect::<Vec<_>>() })
}
