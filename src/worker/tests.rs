use std::io::{Read as _, Write as _};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::device::{self, Backend, Request};
use crate::train::remote::client::Remote;
use crate::train::remote::link::Kind;

const PATIENCE: Patience = Patience {
    handshake: Duration::from_millis(400),
    silence: Duration::from_millis(400),
    sign_of_life: Duration::from_millis(50),
    idle: Duration::from_secs(20),
};

fn token() -> Token {
    Token::for_tests("the token of these tests")
}

/// A worker, and what it tells.
fn worker() -> (Server, Receiver<Event>) {
    let device = device::open(Request::Named(Backend::Flex, None)).unwrap();
    let options = Options { address: ([127, 0, 0, 1], 0).into(), token: token(), device, patience: PATIENCE };
    let (sender, events) = channel();
    let sender = Mutex::new(sender);
    let listener = move |event| {
        let _ = sender.lock().unwrap().send(event);
    };
    (Server::start(options, listener).unwrap(), events)
}

fn connect(server: &Server, token: &Token) -> Result<Remote> {
    Remote::connect(&server.address().to_string().parse().unwrap(), token, Backend::Flex, PATIENCE)
}

/// What comes back until the worker hangs up.
fn reply(server: &Server, sent: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let _ = stream.write_all(sent);
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    String::from_utf8_lossy(&reply).into_owned()
}

#[test]
fn strangers_are_told_what_listens_here_and_learn_nothing_else() {
    let (server, events) = worker();
    let told = "this is a kiln worker: it answers kiln train --device flex,remote:HOST:PORT\n";
    assert_eq!(reply(&server, b"GET / HTTP/1.1\r\n"), told);
    assert_eq!(reply(&server, &[0xff; 5000].map(|byte| byte)), told);
    assert!(matches!(events.recv().unwrap(), Event::Refused { reason, .. } if reason == "it is no kiln run"));
    let newer = format!("kiln-worker 1 9.9.9 {}\n", "0".repeat(64));
    assert!(reply(&server, newer.as_bytes()).starts_with("kiln-worker 1 "));
    // Silence, and a line that never ends, take the time of a handshake.
    let begun = Instant::now();
    assert_eq!(reply(&server, b""), "");
    assert_eq!(reply(&server, b"kiln-worker 1 "), "");
    assert!(begun.elapsed() < Duration::from_secs(5));
    let wrong = connect(&server, &Token::for_tests("some other token, as long")).unwrap_err();
    assert!(wrong.render().contains("has another token"), "{}", wrong.render());
    connect(&server, &token()).unwrap();
    server.stop().unwrap();
}

#[test]
fn more_runs_than_it_takes_are_refused_and_a_place_is_given_again() {
    let (server, _events) = worker();
    let mut runs: Vec<Remote> = (0..MOST_RUNS).map(|_| connect(&server, &token()).unwrap()).collect();
    let refused = connect(&server, &token()).unwrap_err().render();
    assert!(refused.contains("has as many runs as it takes"), "{refused}");
    runs.pop();
    let begun = Instant::now();
    while connect(&server, &token()).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    // Runs that say nothing do not keep it from stopping.
    let begun = Instant::now();
    server.stop().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_worker_of_another_backend_says_which() {
    let (server, _events) = worker();
    let address = server.address().to_string().parse().unwrap();
    let refused = Remote::connect(&address, &token(), Backend::Ndarray, PATIENCE).unwrap_err().render();
    assert!(refused.contains("computes on flex, this run on ndarray: all must be of one backend"), "{refused}");
}

/// Bytes of a seed, before and after the handshake: none of them ends the worker.
#[test]
fn broken_connections_end_alone() {
    let cases = std::env::var("KILN_FUZZ_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(60);
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (server, _events) = worker();
    for _ in 0..cases {
        let mut sent: Vec<u8> = (0..rng.random_range(0..300)).map(|_| rng.random()).collect();
        if rng.random() {
            sent.splice(0..0, *b"kiln-worker 1 ");
        }
        sent.push(b'\n');
        reply(&server, &sent);
        let stream = TcpStream::connect(server.address()).unwrap();
        let mut raw = stream.try_clone().unwrap();
        // Its own greeting is right, its proof is not.
        let greeting = format!("kiln-worker 1 {} {}\n", env!("CARGO_PKG_VERSION"), "a".repeat(64));
        raw.write_all(greeting.as_bytes()).unwrap();
        let _ = raw.write_all(&sent);
        drop((raw, stream));
    }
    for _ in 0..cases {
        let kinds = [Kind::Job, Kind::Part, Kind::Done, Kind::Working];
        let remote = connect(&server, &token()).unwrap();
        let body: Vec<u8> = (0..rng.random_range(0..200)).map(|_| rng.random()).collect();
        let _ = remote.say_for_tests(kinds[rng.random_range(0..4)], &body);
    }
    let remote = connect(&server, &token()).unwrap();
    let refused = remote.say_for_tests(Kind::Part, b"").unwrap().unwrap();
    assert_eq!(refused, (Kind::Refused, b"a part came before its network was told".to_vec()));
    let refused = remote.say_for_tests(Kind::Job, b"{}").unwrap().unwrap();
    assert!(String::from_utf8_lossy(&refused.1).starts_with("the job cannot be read; "), "{refused:?}");
    server.stop().unwrap();
}
