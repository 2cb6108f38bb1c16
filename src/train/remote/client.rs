//! The run's side: a worker that was connected to before the run began, and a part of each batch that it is given.

use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use burn::module::{Module as _, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor};
use burn::train::{ClassificationOutput, TrainOutput};
use serde::{Deserialize, Serialize};

use super::link::{Failure, Kind, Link, Patience, VERSION, is_silence};
use super::message::{Job, PartHead, Reader, Writer, floats_of, ints_of};
use super::token::Token;
use crate::device::{Backend, WorkerAddress};
use crate::models::{Network, ParameterPath, Role, Weights};
use crate::ops::{self, transfer};
use crate::train::devices::{Done, Part};
use crate::{Error, Result};

/// What a worker says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Told {
    /// The backend that computes there.
    pub(crate) backend: String,
    /// The operations that are in use there, as `run.json` names them.
    pub(crate) kernels: String,
}

/// A worker that waits for parts.
#[derive(Debug)]
pub(crate) struct Remote {
    address: WorkerAddress,
    patience: Patience,
    /// The connection, and the job that the worker knows; nothing after a failure.
    link: Mutex<Option<(Link, u64)>>,
    jobs: AtomicU64,
}

impl Remote {
    /// Connects to the worker at `address`, for a run that computes with `backend`.
    ///
    /// # Errors
    /// A usage error that says who listens there, if anybody, and what to do.
    pub(crate) fn connect(
        address: &WorkerAddress,
        token: &Token,
        backend: Backend,
        patience: Patience,
    ) -> Result<Self> {
        let mut link = dial(address, patience)
            .map_err(Failure::from)
            .and_then(|stream| Link::join(stream, token, patience))
            .map_err(|failure| unreachable(address, failure, patience))?;
        let told = link.receive().map_err(|error| unreachable(address, error.into(), patience))?;
        let told: Told = match told {
            Some((Kind::Ready, body)) => serde_json::from_slice(&body).map_err(|error| {
                Error::usage(format!("the worker at {address} cannot be understood")).caused_by(error)
            })?,
            _ => return Err(unreachable(address, io::Error::from(io::ErrorKind::UnexpectedEof).into(), patience)),
        };
        let refused = |message: String| Error::usage(format!("the worker at {address} {message}"));
        if told.backend != backend.name() {
            return Err(refused(format!(
                "computes on {}, this run on {backend}: all must be of one backend",
                told.backend
            ))
            .tip(format!("start it with --device {backend}")));
        }
        if told.kernels != ops::in_use() {
            return Err(refused(format!(
                "computes with {} operations, this run with {} ones: they differ in the last bits",
                told.kernels,
                ops::in_use()
            ))
            .tip("set KILN_STOCK_OPS=1 on both sides or on neither"));
        }
        Ok(Self { address: address.clone(), patience, link: Mutex::new(Some((link, 0))), jobs: AtomicU64::new(0) })
    }

    /// Tells the worker of a run, whose answers are wanted on `device`, which has autodiff.
    ///
    /// # Errors
    /// When the worker refuses it or is lost.
    pub(in crate::train) fn begin(self: Arc<Self>, job: Job, device: &Device) -> Result<Task> {
        let number = self.jobs.fetch_add(1, Ordering::Relaxed) + 1;
        let classes = job.classes;
        let job =
            serde_json::to_vec(&job).map_err(|error| Error::failed("a job cannot be written").caused_by(error))?;
        let task = Task { remote: self, number, job, classes, device: device.clone() };
        task.with_link(|_| Ok(()))?;
        Ok(task)
    }

    /// Sends a message and gives the next one.
    #[cfg(test)]
    pub(crate) fn say_for_tests(&self, kind: Kind, body: &[u8]) -> io::Result<Option<(Kind, Vec<u8>)>> {
        let mut place = self.link.lock().unwrap();
        let (link, _) = place.as_mut().unwrap();
        link.send(kind, body)?;
        link.receive()
    }

    fn failed(&self) -> Error {
        Error::failed(format!("the worker at {}, which shares the batches, failed", self.address))
            .tip("start kiln worker again on its machine; or resume without it, on another --device")
    }

    /// The answer to what was sent, after any number of signs of life.
    fn answer(&self, link: &mut Link, expected: Kind) -> Result<Vec<u8>> {
        loop {
            match link.receive().map_err(|error| self.lost(error))? {
                Some((Kind::Working, _)) => {}
                Some((kind, body)) if kind == expected => return Ok(body),
                Some((Kind::Refused, body)) => return Err(self.failed().caused_by(words(&body))),
                Some(_) => return Err(self.failed().caused_by("it answered something else than was asked")),
                None => return Err(self.lost(io::ErrorKind::UnexpectedEof.into())),
            }
        }
    }

    fn lost(&self, error: io::Error) -> Error {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let seconds = self.patience.silence.as_secs_f64();
        match error.kind() {
            _ if is_silence(&error) => self.failed().caused_by(format!(
                "it gave no sign of life for {seconds} s: it hangs, was suspended, or the network is broken"
            )),
            UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => {
                self.failed().caused_by("the connection ended: it was stopped or killed, or the network is broken")
            }
            _ => self.failed().caused_by(error),
        }
    }
}

/// A run's work for a worker.
pub(in crate::train) struct Task {
    remote: Arc<Remote>,
    number: u64,
    job: Vec<u8>,
    classes: usize,
    device: Device,
}

impl Task {
    /// Uses the connection when the worker knows this run. After a failure there is none: what may still come over it would be
    /// taken for the answer to something else.
    fn with_link<T>(&self, work: impl FnOnce(&mut Link) -> Result<T>) -> Result<T> {
        let remote = &self.remote;
        let mut place = remote.link.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((mut link, known)) = place.take() else {
            return Err(remote.failed().caused_by("the connection ended with an earlier failure"));
        };
        if known != self.number {
            link.send(Kind::Job, &self.job).map_err(|error| remote.lost(error))?;
            remote.answer(&mut link, Kind::Ready)?;
        }
        let done = work(&mut link)?;
        *place = Some((link, self.number));
        Ok(done)
    }

    /// Has a part computed.
    ///
    /// # Errors
    /// When the worker fails or is lost, or says what is no answer.
    pub(in crate::train) fn compute(&self, part: Part) -> Result<Done> {
        let network = part.replica.network.clone();
        let weights = network.weights()?;
        let (request, sent) = request(part, &weights)?;
        let answer = self.with_link(|link| {
            link.send(Kind::Part, &request).map_err(|error| self.remote.lost(error))?;
            self.remote.answer(link, Kind::Done)
        })?;
        self.read(&answer, sent, &weights, &network).map_err(|error| self.remote.failed().caused_by(error))
    }

    fn read(&self, answer: &[u8], sent: Sent, like: &Weights, network: &Network) -> Result<Done> {
        let (images, classes) = (sent.head.images, self.classes);
        let mut reader = Reader(answer);
        let loss = reader.floats(1)?;
        let logits = reader.floats(images * classes)?;
        let mut received = Received {
            path: ParameterPath::default(),
            values: reader.weights(like)?,
            device: self.device.clone().inner(),
            gradients: GradientsParams::new(),
            running: GradientsParams::new(),
        };
        reader.finish()?;
        network.visit(&mut received);
        let item = ClassificationOutput {
            loss: transfer::floats(loss, [1], &self.device),
            output: transfer::floats(logits, [images, classes], &self.device),
            targets: sent.targets,
        };
        let output = TrainOutput { grads: received.gradients, item };
        Ok(Done { output, running: received.running, share: sent.head.share })
    }
}

/// What is known of a part that was sent.
pub(super) struct Sent {
    head: PartHead,
    targets: Tensor<1, Int>,
}

pub(super) fn request(part: Part, weights: &Weights) -> Result<(Vec<u8>, Sent)> {
    let Part { replica, batch, share } = part;
    let head = PartHead {
        images: batch.size,
        first_image: replica.first_image(),
        epoch: batch.epoch,
        iteration: batch.iteration,
        weight: batch.weight,
        share,
        mixed: batch.mixed.as_ref().map(|mixed| mixed.share),
    };
    let images = floats_of(batch.images)?;
    let numbers = weights.iter().map(|(_, tensor)| tensor.values.len()).sum::<usize>();
    let mut writer = Writer::with_room(numbers + images.len() + 2 * batch.size);
    writer.head(&head);
    writer.floats(&images);
    writer.ints(&ints_of(batch.targets.clone())?);
    if let Some(mixed) = batch.mixed {
        writer.ints(&ints_of(mixed.targets)?);
    }
    writer.weights(weights);
    Ok((writer.finish(), Sent { head, targets: batch.targets }))
}

/// Puts what came back where it would be had it been computed here.
struct Received {
    path: ParameterPath,
    values: Weights,
    device: Device,
    gradients: GradientsParams,
    running: GradientsParams,
}

impl ModuleVisitor for Received {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.name();
        let (Some(found), Some(role)) = (self.values.remove(&name), Role::of(&name, D)) else { return };
        let Ok(shape) = <[usize; D]>::try_from(found.shape) else { return };
        let value = transfer::floats(found.values, shape, &self.device);
        let place = if role.is_learned() { &mut self.gradients } else { &mut self.running };
        place.register(param.id, value);
    }
}

fn dial(address: &WorkerAddress, patience: Patience) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in (address.host(), address.port()).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, patience.handshake) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn unreachable(address: &WorkerAddress, failure: Failure, patience: Patience) -> Error {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    let start =
        format!("start one there: kiln worker --listen {address} --token-file FILE; or leave it out of --device");
    match failure {
        Failure::Io(error) if is_silence(&error) => {
            let seconds = patience.handshake.as_secs_f64();
            Error::usage(format!("nothing at {address} answered as a kiln worker within {seconds} s")).tip(start)
        }
        Failure::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Error::usage(format!("nobody listens at {address}: there is no kiln worker")).caused_by(error).tip(start)
        }
        Failure::Io(error) if matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe) => {
            Error::usage(format!("what listens at {address} ended the connection at once: no kiln worker is behind it"))
                .tip("a tunnel does so when nobody listens at its other end")
                .tip(start)
        }
        Failure::Io(error) => {
            Error::usage(format!("cannot connect to a kiln worker at {address}")).caused_by(error).tip(start)
        }
        Failure::Stranger(said) => {
            let said: String = said.chars().take(60).collect();
            Error::usage(format!("what listens at {address} is no kiln worker: it said `{said}`")).tip(start)
        }
        Failure::Version(theirs) => {
            let theirs: String = theirs.chars().take(40).collect();
            Error::usage(format!("the worker at {address} is of kiln {theirs}, this is kiln {VERSION}"))
                .tip("use the same version on both machines: they compute one step together")
        }
        Failure::WrongToken => Error::usage(format!("the worker at {address} has another token")).tip(format!(
            "the file that {} names here and the one of --token-file there must have the same content",
            super::token::VARIABLE
        )),
        Failure::Busy => Error::usage(format!("the worker at {address} has as many runs as it takes"))
            .tip("wait for one of them to end, or start another worker"),
    }
}

/// What a worker says, shortened.
fn words(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(2000).collect()
}
