//! One run: its connection, from the first line to the last, and the thread that computes for it.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;

use burn::tensor::Device;

use super::{Event, MOST_RUNS, Shared, TELL_EVERY, Totals, spawn};
use crate::Error;
use crate::error::panic_text;
use crate::train::remote::computing::Computing;
use crate::train::remote::link::{Failure, Kind, Link, is_silence};

/// The place of a run, until it is dropped.
struct Place<'a>(&'a Shared);

impl<'a> Place<'a> {
    fn take(shared: &'a Shared) -> Option<Self> {
        let mut connections = shared.connections();
        let is_free = connections.runs < MOST_RUNS;
        connections.runs += usize::from(is_free);
        // Only then: one that is dropped gives its place back.
        is_free.then(|| Self(shared))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.connections().runs -= 1;
    }
}

/// One connection, from its first line to its end.
pub(super) fn answer(stream: TcpStream, client: SocketAddr, number: u64, shared: &Shared) {
    let mut place = None;
    let welcomed = Link::welcome(stream, &shared.token, shared.patience, || {
        place = Place::take(shared);
        place.is_none()
    });
    let mut link = match welcomed {
        Ok(link) => link,
        Err(failure) => return (shared.listener)(Event::Refused { client, reason: reason(failure) }),
    };
    if link.send(Kind::Ready, &shared.told).is_err() {
        return;
    }
    let (requests, inbox) = channel();
    let (outbox, answers) = channel();
    let device = shared.device.clone();
    if spawn("kiln-worker", move || compute(&inbox, &outbox, &device)).is_err() {
        let _ = link.send(Kind::Refused, b"it has no thread left");
        return;
    }
    let mut run = Run { number, client, shared, totals: Totals::default(), told: Instant::now(), has_begun: false };
    let ended = run.serve(&mut link, &requests, &answers);
    if run.has_begun {
        let lost = ended.err().map(|error| in_words(&error));
        (shared.listener)(Event::Ended { run: number, totals: run.totals, lost });
    }
}

/// What came of a message.
enum Answer {
    Ready { parameters: usize, words: String },
    Done { body: Vec<u8>, images: usize, seconds: f64 },
    Refused(String),
}

/// A run on another machine.
struct Run<'a> {
    number: u64,
    client: SocketAddr,
    shared: &'a Shared,
    totals: Totals,
    told: Instant,
    has_begun: bool,
}

impl Run<'_> {
    /// Answers until the run leaves.
    fn serve(
        &mut self,
        link: &mut Link,
        requests: &Sender<(Kind, Vec<u8>)>,
        answers: &Receiver<Answer>,
    ) -> io::Result<()> {
        while let Some((kind, body)) = link.receive_some_time()? {
            if !matches!(kind, Kind::Job | Kind::Part) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it sent what only a worker sends"));
            }
            self.totals.received += body.len() as u64;
            let ended = || io::Error::other("its thread has ended");
            requests.send((kind, body)).map_err(|_| ended())?;
            let answer = loop {
                match answers.recv_timeout(self.shared.patience.sign_of_life) {
                    Ok(answer) => break answer,
                    Err(RecvTimeoutError::Timeout) => link.send(Kind::Working, &[])?,
                    Err(RecvTimeoutError::Disconnected) => return Err(ended()),
                }
            };
            self.tell(link, answer)?;
        }
        Ok(())
    }

    fn tell(&mut self, link: &mut Link, answer: Answer) -> io::Result<()> {
        let (run, client) = (self.number, self.client);
        match answer {
            Answer::Ready { parameters, words } => {
                self.has_begun = true;
                (self.shared.listener)(Event::Begun { run, client, parameters, words });
                link.send(Kind::Ready, &[])
            }
            Answer::Done { body, images, seconds } => {
                self.totals.parts += 1;
                self.totals.images += images as u64;
                self.totals.seconds += seconds;
                self.totals.sent += body.len() as u64;
                if self.told.elapsed() >= TELL_EVERY {
                    self.told = Instant::now();
                    (self.shared.listener)(Event::GoesOn { run, totals: self.totals });
                }
                link.send(Kind::Done, &body)
            }
            Answer::Refused(words) => link.send(Kind::Refused, words.as_bytes()),
        }
    }
}

/// Computes what a run asks for, until the run is gone: a GPU's queue belongs to the thread that uses it.
fn compute(requests: &Receiver<(Kind, Vec<u8>)>, answers: &Sender<Answer>, device: &Device) {
    let mut computing: Option<Computing> = None;
    while let Ok((kind, body)) = requests.recv() {
        let begun = Instant::now();
        // Backends panic on device errors, and on what they were not made for.
        let answer = catch_unwind(AssertUnwindSafe(|| match kind {
            Kind::Job => {
                let begun = computing.insert(Computing::begin(&body, device)?);
                Ok(Answer::Ready { parameters: begun.parameters(), words: begun.words() })
            }
            _ => {
                let computing =
                    computing.as_ref().ok_or_else(|| Error::usage("a part came before its network was told"))?;
                let (body, images) = computing.compute(&body)?;
                Ok(Answer::Done { body, images, seconds: begun.elapsed().as_secs_f64() })
            }
        }));
        let answer = answer.unwrap_or_else(|panic| Err(Error::failed(panic_text(&*panic))));
        let answer = answer.unwrap_or_else(|error: Error| Answer::Refused(error.line()));
        drop(body);
        if answers.send(answer).is_err() {
            break;
        }
    }
}

fn reason(failure: Failure) -> String {
    match failure {
        Failure::Io(error) => in_words(&error),
        Failure::Stranger(_) => "it is no kiln run".to_owned(),
        Failure::Version(theirs) => format!("it is of another kiln: {}", theirs.chars().take(40).collect::<String>()),
        Failure::WrongToken => "it has another token".to_owned(),
        Failure::Busy => format!("there are {MOST_RUNS} runs already"),
    }
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        _ if is_silence(error) => "it kept silent for too long".to_owned(),
        io::ErrorKind::UnexpectedEof => "the connection ended".to_owned(),
        _ => error.to_string(),
    }
}
