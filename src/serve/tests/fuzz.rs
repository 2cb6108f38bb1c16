//! Requests that are broken in every way that a seed thinks of, with good ones between them whose answers are checked.
//! It knows nothing of kiln's insides: the long run in `benches/` uses this file too.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::client::{Client, post};

/// A good request and the body that answers it.
pub struct Good {
    /// The bytes of the request.
    pub request: Vec<u8>,
    /// The bytes of the answer's body.
    pub answer: Vec<u8>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Tally {
    /// Answers by status; 0 counts connections that were closed without one.
    pub statuses: BTreeMap<u16, usize>,
    /// Good requests that were answered as they should.
    pub good: usize,
    /// Good requests that were not, with what came instead.
    pub wrong: Vec<String>,
}

/// Whether the body that came is the one that should.
pub type Same = fn(&[u8], &[u8]) -> bool;

/// Sends `count` broken requests, and a good one after every ten.
pub fn run(address: SocketAddr, good: &[Good], seed: u64, count: usize, same: Same) -> io::Result<Tally> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut tally = Tally::default();
    let mut steady = Client::connect(address)?;
    for index in 0..count {
        let base = &good[rng.random_range(0..good.len())].request;
        let request = broken(&mut rng, base);
        *tally.statuses.entry(status(address, &request)?).or_default() += 1;
        if index % 10 == 9 {
            let Good { request, answer } = &good[index / 10 % good.len()];
            match steady.ask(request)? {
                reply if reply.status == 200 && same(&reply.body, answer) => tally.good += 1,
                reply => tally.wrong.push(format!("{} {}", reply.status, reply.text())),
            }
        }
    }
    Ok(tally)
}

fn status(address: SocketAddr, request: &[u8]) -> io::Result<u16> {
    let mut client = Client::connect(address)?;
    // The server may hang up while it is still being talked to.
    let _ = client.send(request);
    let _ = client.finish();
    match client.receive() {
        Ok(reply) => Ok(reply.status),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock || error.kind() == io::ErrorKind::TimedOut => {
            Err(io::Error::other("the server neither answered nor hung up"))
        }
        Err(_) => Ok(0),
    }
}

fn broken(rng: &mut ChaCha8Rng, base: &[u8]) -> Vec<u8> {
    let start = base.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |end| end + 4);
    let body = &base[start..];
    match rng.random_range(0..8) {
        0 => noise(rng, 300),
        1 => changed(rng, base),
        2 => post("/v1/predict", "image/png", &changed(rng, body)),
        3 => post("/v1/predict?raw=true", "application/octet-stream", &changed(rng, body)),
        4 => post("/v1/predict", "application/json", json(rng).as_bytes()),
        5 => {
            let body = noise(rng, 200);
            post(&format!("/v1/predict?{}", word(rng)), "application/json", &body)
        }
        6 => {
            let (method, path, version) = (word(rng), word(rng), rng.random_range(0..4));
            let head = format!("{method} /{path} HTTP/1.{version}\r\n{}: {}\r\n\r\n", word(rng), word(rng));
            head.into_bytes()
        }
        _ => {
            let length = rng.random_range(0..body.len() * 2 + 1);
            let head = format!("POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
            [head.as_bytes(), body].concat()
        }
    }
}

fn noise(rng: &mut ChaCha8Rng, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; rng.random_range(0..most)];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// `bytes` with some changed, cut off, doubled or put in.
fn changed(rng: &mut ChaCha8Rng, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.random_range(1..6) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..5) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = rng.random_range(0..=255) as u8,
            2 => bytes.truncate(at),
            3 => {
                let end = (at + rng.random_range(0..40)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let piece = noise(rng, 20);
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

/// JSON that may be nearly right.
fn json(rng: &mut ChaCha8Rng) -> String {
    let key = ["pixels", "images", "pixel", ""][rng.random_range(0..4)];
    let mut text = format!("{{\"{key}\": ");
    let depth = rng.random_range(0..6);
    text.push_str(&"[".repeat(depth));
    for index in 0..rng.random_range(0..900) {
        let value = match rng.random_range(0..400) {
            0 => "-1".to_owned(),
            1 => "1e999".to_owned(),
            2 => "null".to_owned(),
            3 => "\"x\"".to_owned(),
            4 => "0.5".to_owned(),
            5 => "],[0".to_owned(),
            _ => rng.random_range(0..=255).to_string(),
        };
        text.push_str(if index == 0 { "" } else { "," });
        text.push_str(&value);
    }
    text.push_str(&"]".repeat(depth));
    text.push('}');
    text
}

fn word(rng: &mut ChaCha8Rng) -> String {
    const WORDS: [&str; 16] = [
        "top=0",
        "top=99999999999999999999",
        "raw=maybe",
        "GET",
        "POST",
        "v1/predict",
        "..%2f..%2fetc",
        "Host",
        "Transfer-Encoding",
        "chunked",
        "Content-Length",
        "-1",
        "%00",
        "Expect",
        "100-continue",
        "healthz",
    ];
    WORDS[rng.random_range(0..WORDS.len())].to_owned()
}
