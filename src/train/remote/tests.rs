use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use burn::module::Module as _;
use burn::tensor::Device;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::client::{self, Remote, Told};
use super::computing::Computing;
use super::link::{Kind, Link, Patience};
use super::message::Job;
use super::token::Token;
use crate::config::Experiment;
use crate::data::batch::{Batch, Mixed};
use crate::data::{self, Dataset};
use crate::device::Backend;
use crate::ops::{self, transfer};
use crate::train::classifier::{Classifier, StepSettings};
use crate::train::devices::Part;

fn opened(sets: &[&str]) -> (Experiment, Dataset) {
    let small = ["data.train=60", "data.test=20", "data.validation=0", "train.batch_size=10"];
    let experiment = Experiment::preset("smoke").unwrap().with(&[&small, sets].concat()).unwrap();
    let dataset = data::open(&experiment.data, experiment.seed).unwrap();
    (experiment, dataset)
}

/// A job, and a part of 3 mixed images of it.
fn job_and_part(sets: &[&str]) -> (Vec<u8>, Vec<u8>) {
    let (experiment, dataset) = opened(sets);
    let (shape, classes) = (dataset.train.shape, dataset.train.classes.len());
    let device = Device::flex().autodiff();
    let network = experiment.model.init(shape, classes, &Device::flex()).unwrap().initialise(1);
    let weights = network.weights().unwrap();
    let settings = StepSettings::new(&experiment, &dataset.train.class_counts());
    let values = (0..3 * shape.len()).map(|index| (index % 7) as f32 / 7.0).collect();
    let batch = Batch {
        images: transfer::floats(values, [3, shape.channels, shape.height, shape.width], &device),
        targets: transfer::ints(vec![0, 1, 2], [3], &device),
        mixed: Some(Mixed { targets: transfer::ints(vec![2, 1, 0], [3], &device), share: 0.25 }),
        size: 3,
        weight: 1.0,
        epoch: 1,
        iteration: 0,
    };
    let replica = Classifier::new(network, settings).train().with_first_image(3);
    let (part, _) = client::request(Part { replica, batch, share: 0.5 }, &weights).unwrap();
    (serde_json::to_vec(&Job::new(&experiment, &dataset)).unwrap(), part)
}

#[test]
fn a_job_names_no_file_and_no_machine() {
    let (mut experiment, dataset) = opened(&["loss.label_smoothing=0.1"]);
    experiment.device = "flex,remote:secret.example:7000".into();
    experiment.name = "secret".into();
    let job = Job::new(&experiment, &dataset);
    let told = job.experiment().unwrap();
    assert_eq!((&told.model, &told.loss, told.seed), (&experiment.model, &experiment.loss, experiment.seed));
    assert_eq!(told.data, Experiment::default().data);
    assert!(!serde_json::to_string(&job).unwrap().contains("secret"));
}

#[test]
fn a_message_that_is_cut_or_longer_is_no_message() {
    let (job, part) = job_and_part(&["model.kind=mlp", "model.hidden=[8]"]);
    let computing = Computing::begin(&job, &Device::flex()).unwrap();
    let (answer, images) = computing.compute(&part).unwrap();
    assert_eq!((images, answer.len()), (3, 4 * (1 + 3 * 10 + computing.parameters())));
    assert_eq!(computing.compute(&part).unwrap().0, answer, "a part leaves nothing behind");
    for length in (0..part.len()).step_by(97).chain([part.len() - 1]) {
        assert!(computing.compute(&part[..length]).is_err(), "{length}");
    }
    let longer = [&part[..], &[0]].concat();
    assert!(computing.compute(&longer).unwrap_err().render().contains("1 bytes too many"));
    let mut wrong = part.clone();
    let labels = 45 + 4 * 3 * 144;
    wrong[labels..labels + 4].copy_from_slice(&10_i32.to_le_bytes());
    assert_eq!(computing.compute(&wrong).unwrap_err().to_string(), "there are 10 classes, got the label 10");
}

#[test]
fn a_job_with_numbers_of_no_data_set_is_refused() {
    let (job, _) = job_and_part(&["model.kind=mlp", "model.hidden=[8]"]);
    let job: serde_json::Value = serde_json::from_slice(&job).unwrap();
    let begin = |path: &str, value: serde_json::Value| {
        let mut job = job.clone();
        *job.pointer_mut(path).unwrap() = value;
        let begun = Computing::begin(job.to_string().as_bytes(), &Device::flex());
        begun.err().expect("refused").render()
    };
    assert!(begin("/shape/channels", u64::MAX.into()).contains("the job has images of "));
    assert!(begin("/shape/height", 0.into()).contains("the job has images of 1x0x12"));
    assert!(begin("/classes", 11.into()).contains("images of 10 classes, it has 11"));
    assert!(begin("/class_counts/0", u64::MAX.into()).contains("images of a class"));
    assert!(begin("/config", "[modle]\nkind = \"mlp\"\n".into()).contains("the run's config"));
}

/// Broken bytes give an error or, where only values differ, an answer.
#[test]
fn broken_jobs_and_parts_end_in_errors() {
    let cases = std::env::var("KILN_FUZZ_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(300);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (job, part) = job_and_part(&["model.kind=mlp", "model.hidden=[8]", "model.dropout=0.2"]);
    let computing = Computing::begin(&job, &Device::flex()).unwrap();
    let (mut refused, mut answered) = (0, 0);
    for _ in 0..cases {
        let (mut job, mut part) = (job.clone(), part.clone());
        for _ in 0..rng.random_range(1..4) {
            let place = rng.random_range(0..job.len());
            job[place] = b"0123456789-.[]{}\"=aeZ\x00\xff"[rng.random_range(0..23)];
            // The head is where it hurts.
            let end = if rng.random() { 45 } else { part.len() };
            let place = rng.random_range(0..end);
            part[place] = rng.random();
        }
        match computing.compute(&part) {
            Ok(_) => answered += 1,
            Err(_) => refused += 1,
        }
        let begun = catch_unwind(AssertUnwindSafe(|| Computing::begin(&job, &Device::flex()).map(|_| ())));
        begun.expect("no panic").map_or_else(|_| refused += 1, |()| answered += 1);
    }
    assert!(refused > 0 && answered > 0, "{refused} {answered}");
}

const PATIENCE: Patience = Patience {
    handshake: Duration::from_millis(300),
    silence: Duration::from_millis(300),
    sign_of_life: Duration::from_millis(50),
    idle: Duration::from_secs(5),
};

fn token() -> Token {
    Token::for_tests("the token of these tests")
}

/// Something that listens and does this with the one who comes.
fn listening(work: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || work(socket.accept().unwrap().0));
    address
}

/// A worker by hand, after its handshake.
fn worker(told: Told, work: impl FnOnce(Link) + Send + 'static) -> SocketAddr {
    listening(move |stream| {
        let mut link = Link::welcome(stream, &token(), PATIENCE, || false).unwrap();
        link.send(Kind::Ready, &serde_json::to_vec(&told).unwrap()).unwrap();
        work(link);
    })
}

fn told() -> Told {
    Told { backend: "flex".into(), kernels: ops::in_use().into() }
}

fn connect(address: SocketAddr) -> Result<Remote, String> {
    let shown = address.to_string();
    let connected = Remote::connect(&shown.parse().unwrap(), &token(), Backend::Flex, PATIENCE);
    connected.map_err(|error| error.render().replace(&shown, "HOST:PORT"))
}

#[test]
fn who_is_no_worker_is_named() {
    let says = |text: &'static str| {
        listening(move |mut stream| {
            let _ = stream.write_all(text.as_bytes());
            let _ = stream.read(&mut [0; 1000]);
        })
    };
    insta::assert_snapshot!(connect(says("SSH-2.0-OpenSSH_9.6\r\n")).unwrap_err(), @r"
    error: what listens at HOST:PORT is no kiln worker: it said `SSH-2.0-OpenSSH_9.6`
    tip: start one there: kiln worker --listen HOST:PORT --token-file FILE; or leave it out of --device
    ");
    let newer = format!("kiln-worker 2 9.9.9 {}\n", "0".repeat(64));
    insta::assert_snapshot!(connect(says(newer.leak())).unwrap_err().replace(super::link::VERSION, "OURS"), @r"
    error: the worker at HOST:PORT is of kiln 9.9.9, this is kiln OURS
    tip: use the same version on both machines: they compute one step together
    ");
    insta::assert_snapshot!(connect(says("busy\n")).unwrap_err(), @r"
    error: the worker at HOST:PORT has as many runs as it takes
    tip: wait for one of them to end, or start another worker
    ");
    let silent = listening(|stream| {
        thread::sleep(3 * PATIENCE.handshake);
        drop(stream);
    });
    assert!(connect(silent).unwrap_err().contains("nothing at HOST:PORT answered as a kiln worker within 0.3 s"));
    assert!(connect(listening(drop)).unwrap_err().contains("what listens at HOST:PORT ended the connection at once"));
    let endless = listening(|mut stream| while stream.write_all(&[b'x'; 4096]).is_ok() {});
    assert!(connect(endless).unwrap_err().contains("is no kiln worker: it said `xxxx"));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(connect(closed).unwrap_err().starts_with("error: nobody listens at HOST:PORT: there is no kiln worker"));
}

#[test]
fn a_worker_of_another_backend_or_token_is_refused() {
    let other = worker(Told { backend: "wgpu".into(), ..told() }, drop);
    insta::assert_snapshot!(connect(other).unwrap_err(), @r"
    error: the worker at HOST:PORT computes on wgpu, this run on flex: all must be of one backend
    tip: start it with --device flex
    ");
    let stock = worker(Told { kernels: "other".into(), ..told() }, drop);
    assert!(connect(stock).unwrap_err().contains("set KILN_STOCK_OPS=1 on both sides or on neither"));
    let stranger = listening(|stream| {
        let refused = Link::welcome(stream, &Token::for_tests("another token of tests"), PATIENCE, || false);
        assert!(matches!(refused, Err(super::link::Failure::WrongToken)));
    });
    insta::assert_snapshot!(connect(stranger).unwrap_err(), @r"
    error: the worker at HOST:PORT has another token
    tip: the file that KILN_TOKEN_FILE names here and the one of --token-file there must have the same content
    ");
}

/// What becomes of a job at a worker that does this once it has it.
fn begun(work: impl FnOnce(Link) + Send + 'static) -> String {
    let address = worker(told(), |mut link| {
        assert_eq!(link.receive().unwrap().unwrap().0, Kind::Job);
        work(link);
    });
    let (experiment, dataset) = opened(&[]);
    let remote = Arc::new(connect(address).unwrap());
    let job = Job::new(&experiment, &dataset);
    let error = remote.clone().begin(job.clone(), &Device::flex().autodiff()).err().unwrap().render();
    let again = remote.begin(job, &Device::flex().autodiff()).err().unwrap().render();
    assert!(again.contains("the connection ended with an earlier failure"), "{again}");
    error.replace(&address.to_string(), "HOST:PORT")
}

#[test]
fn a_worker_that_hangs_is_not_waited_for_and_one_that_works_is() {
    let hanging = begun(|link| {
        thread::sleep(3 * PATIENCE.silence);
        drop(link);
    });
    insta::assert_snapshot!(hanging, @r"
    error: the worker at HOST:PORT, which shares the batches, failed
    caused by: it gave no sign of life for 0.3 s: it hangs, was suspended, or the network is broken
    tip: start kiln worker again on its machine; or resume without it, on another --device
    ");
    let slow = begun(|mut link| {
        for _ in 0..8 {
            thread::sleep(PATIENCE.silence / 3);
            link.send(Kind::Working, &[]).unwrap();
        }
        link.send(Kind::Refused, b"not today").unwrap();
    });
    assert!(slow.contains("caused by: not today\n"), "{slow}");
    assert!(begun(drop).contains("the connection ended: it was stopped or killed"));
    let odd = begun(|mut link| link.send(Kind::Done, &[1]).unwrap());
    assert!(odd.contains("it answered something else than was asked"), "{odd}");
}
