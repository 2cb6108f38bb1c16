//! How many requests per second the server answers, how late, and whether it stays upright among broken ones. Loopback
//! only, for a bounded time; the server runs in this process.
//!
//! ```text
//! cargo bench --profile dev --bench serve_load -- model.bpk                  # 32 clients, 10 s
//! cargo bench --profile dev --bench serve_load -- model.bpk 128 5            # 128 clients, 5 s
//! cargo bench --profile dev --bench serve_load -- model.bpk fuzz 100000      # broken requests
//! cargo bench --profile dev --bench serve_load -- model.bpk memory 12        # pictures of 63 megapixels at once
//! ```
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

#[path = "../src/serve/tests/client.rs"]
mod client;
#[path = "../src/serve/tests/fuzz.rs"]
mod fuzz;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::scope;
use std::time::{Duration, Instant};

use client::{Client, post};
use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, ImageFormat, Rgb, RgbImage};
use kiln::Predictor;
use kiln::data::preprocess::Fit;
use kiln::predict::{Prediction, Ranked};
use kiln::serve::{self, Options};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments = std::env::args().skip(1).filter(|argument| argument != "--bench").collect::<Vec<_>>();
    let Some(model) = arguments.first() else {
        println!(
            "give a model file: cargo bench --profile dev --bench serve_load -- model.bpk [CLIENTS SECONDS | fuzz COUNT | memory COUNT]"
        );
        return;
    };
    let number = |at: usize, default: usize| arguments.get(at).map_or(default, |text| text.parse().unwrap());
    let requests = requests(&Predictor::open(model).unwrap());
    let options = Options { address: ([127, 0, 0, 1], 0).into(), ..Options::default() };
    let server = serve::start(Arc::new(Predictor::open(model).unwrap()), &options).unwrap();
    match arguments.get(1).map(String::as_str) {
        Some("fuzz") => broken(server.address(), &requests, number(2, 100_000)),
        Some("memory") => large(server.address(), number(2, 12)),
        _ => {
            let (clients, seconds) = (number(1, 32), number(2, 10));
            for kind in ["drawing", "picture", "pixels"] {
                let chosen = requests.iter().filter(|request| request.kind == kind).collect::<Vec<_>>();
                load(server.address(), &chosen, clients, Duration::from_secs(seconds as u64));
            }
            load(server.address(), &requests.iter().collect::<Vec<_>>(), 1, Duration::from_secs(2));
            println!("{}", batches(server.address()));
        }
    }
    server.stop().unwrap();
}

struct Sample {
    kind: &'static str,
    good: fuzz::Good,
}

/// The golden samples of the model as pictures and as pixels, with what a predictor answers directly.
fn requests(predictor: &Predictor) -> Vec<Sample> {
    let shape = predictor.manifest().preprocess.shape;
    let mut requests = Vec::new();
    for pixels in predictor.manifest().golden_images().unwrap() {
        let answer = answer(&predictor.predict_prepared(&[&pixels]).unwrap()[0]);
        let body = json!({ "pixels": pixels }).to_string();
        let request = post("/v1/predict", "application/json", body.as_bytes());
        requests.push(Sample { kind: "pixels", good: fuzz::Good { request, answer: answer.clone() } });
        if let Fit::Digit { .. } = predictor.manifest().preprocess.fit {
            requests.push(drawing(predictor, &pixels));
        }
        if shape.channels == 1 {
            let image = GrayImage::from_raw(shape.width as u32, shape.height as u32, pixels).unwrap();
            let mut png = Cursor::new(Vec::new());
            image.write_to(&mut png, ImageFormat::Png).unwrap();
            let request = post("/v1/predict?raw=true", "image/png", png.get_ref());
            requests.push(Sample { kind: "picture", good: fuzz::Good { request, answer } });
        }
    }
    requests
}

fn answer(prediction: &Prediction) -> Vec<u8> {
    let line = |one: &Ranked| json!({ "label": one.label, "probability": one.probability });
    let first = &prediction.ranked[0];
    let top = prediction.ranked.iter().take(3).map(line).collect::<Vec<_>>();
    let answer = json!({ "predictions": [{ "label": first.label, "probability": first.probability, "top": top }] });
    answer.to_string().into_bytes()
}

/// A golden sample as somebody would draw it: dark on white, 200 x 200, in colour, with soft edges.
fn drawing(predictor: &Predictor, pixels: &[u8]) -> Sample {
    let shape = predictor.manifest().preprocess.shape;
    let small =
        GrayImage::from_raw(shape.width as u32, shape.height as u32, pixels[..shape.height * shape.width].to_vec());
    let large = imageops::resize(&small.unwrap(), 200, 200, FilterType::CatmullRom);
    let drawn = DynamicImage::from(RgbImage::from_fn(200, 200, |x, y| Rgb([255 - large.get_pixel(x, y).0[0]; 3])));
    let mut png = Cursor::new(Vec::new());
    drawn.write_to(&mut png, ImageFormat::Png).unwrap();
    let answer = answer(&predictor.predict(&drawn).unwrap());
    Sample { kind: "drawing", good: fuzz::Good { request: post("/v1/predict", "image/png", png.get_ref()), answer } }
}

/// `count` pictures of 63 megapixels at once, and the most memory that this process has ever had.
fn large(address: SocketAddr, count: usize) {
    let drawn = RgbImage::from_fn(9000, 7000, |x, y| {
        let ink = x.abs_diff(4500) < 300 && y.abs_diff(3500) < 2000;
        Rgb(if ink { [10; 3] } else { [250; 3] })
    });
    let mut png = Cursor::new(Vec::new());
    drawn.write_to(&mut png, ImageFormat::Png).unwrap();
    drop(drawn);
    println!(
        "a picture of {} KiB; memory before {} KiB, at most {} KiB",
        png.get_ref().len() >> 10,
        memory("VmRSS"),
        memory("VmHWM")
    );
    // The peak so far is the drawing's own; forget it.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let request = post("/v1/predict", "image/png", png.get_ref());
    let begun = Instant::now();
    let mut statuses = BTreeMap::<u16, usize>::new();
    scope(|scope| {
        let ask = || Client::connect(address).unwrap().ask(&request).unwrap().status;
        let asking = (0..count).map(|_| scope.spawn(ask)).collect::<Vec<_>>();
        asking.into_iter().for_each(|one| *statuses.entry(one.join().unwrap()).or_default() += 1);
    });
    println!("{count} at once in {:.1} s, by status: {statuses:?}", begun.elapsed().as_secs_f64());
    println!("memory at most {} KiB", memory("VmHWM"));
}

/// `clients` connections that each ask again as soon as they are answered.
fn load(address: SocketAddr, requests: &[&Sample], clients: usize, time: Duration) {
    let begun = Instant::now();
    let one = |client: usize| {
        let mut connection = Client::connect(address).unwrap();
        let (mut times, mut wrong) = (Vec::new(), 0);
        while begun.elapsed() < time {
            let fuzz::Good { request, answer } = &requests[(client + times.len()) % requests.len()].good;
            let sent = Instant::now();
            let reply = connection.ask(request).unwrap();
            times.push(sent.elapsed());
            wrong += usize::from(reply.status != 200 || !same(&reply.body, answer));
        }
        (times, wrong)
    };
    let (mut times, mut wrong) = (Vec::new(), 0);
    scope(|scope| {
        let running = (0..clients).map(|client| scope.spawn(move || one(client))).collect::<Vec<_>>();
        for client in running {
            let (of_client, wrong_of_client) = client.join().unwrap();
            times.extend(of_client);
            wrong += wrong_of_client;
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    times.sort();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    println!(
        "{clients:>4} clients, {:<8} {:>7.0} requests/s   p50 {:>6.2} ms   p90 {:>6.2} ms   p99 {:>6.2} ms   largest {:>6.2} ms   {wrong} wrong of {}",
        if clients == 1 { "both" } else { requests[0].kind },
        times.len() as f64 / seconds,
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
        times.len(),
    );
}

/// Whether an answer is the expected one. A network's sums may differ in the last bits with the size of the batch.
fn same(found: &[u8], expected: &[u8]) -> bool {
    let read = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap_or_default();
    let first = |value: &serde_json::Value| {
        let one = &value["predictions"][0];
        (one["label"].as_str().map(str::to_owned), one["probability"].as_f64().unwrap_or(-1.0))
    };
    found == expected || {
        let ((label, a), (expected, b)) = (first(&read(found)), first(&read(expected)));
        label.is_some() && label == expected && (a - b).abs() < 1e-5
    }
}

/// Broken requests from four clients at once, with good ones between them.
fn broken(address: SocketAddr, requests: &[Sample], count: usize) {
    const CLIENTS: usize = 4;
    let good = || {
        requests.iter().map(|Sample { good: fuzz::Good { request, answer }, .. }| fuzz::Good {
            request: request.clone(),
            answer: answer.clone(),
        })
    };
    let warm_up = fuzz::run(address, &good().collect::<Vec<_>>(), 99, 2000, same).unwrap();
    let (before, begun) = (resident(), Instant::now());
    let (mut statuses, mut right, mut wrong) = (BTreeMap::<u16, usize>::new(), warm_up.good, warm_up.wrong);
    scope(|scope| {
        let running = (0..CLIENTS).map(|client| {
            let good = good().collect::<Vec<_>>();
            scope.spawn(move || fuzz::run(address, &good, client as u64, count / CLIENTS, same).unwrap())
        });
        for tally in running.collect::<Vec<_>>() {
            let tally = tally.join().unwrap();
            tally.statuses.into_iter().for_each(|(status, count)| *statuses.entry(status).or_default() += count);
            right += tally.good;
            wrong.extend(tally.wrong);
        }
    });
    println!("{count} broken requests in {:.1} s, by status (0: hung up): {statuses:?}", begun.elapsed().as_secs_f64());
    println!("good requests between them: {right} right, {} wrong {:?}", wrong.len(), wrong.first());
    println!("resident memory: {before} KiB before, {} KiB after", resident());
    let metrics = Client::connect(address).unwrap().get("/metrics").unwrap().text();
    println!("{}", metrics.lines().filter(|line| line.starts_with("kiln_panics")).collect::<String>());
}

fn batches(address: SocketAddr) -> String {
    let text = Client::connect(address).unwrap().get("/metrics").unwrap().text();
    text.lines().filter(|line| line.starts_with("kiln_batch_images")).collect::<Vec<_>>().join("\n")
}

fn resident() -> usize {
    memory("VmRSS")
}

/// The memory of this process in KiB, or 0 where that is not told: `VmRSS` now, `VmHWM` at most.
fn memory(which: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(which)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|value| value.parse().ok()).unwrap_or(0)
}
