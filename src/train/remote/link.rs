//! The connection between a run and a worker: a handshake of four short lines, then messages of a kind, a length and a body.
//! Everything that is read has a limit of bytes and of time, and before the handshake is over both are small.
//!
//! ```text
//! run     kiln-worker 1 <version> <number>       in hexadecimal, drawn for this connection
//! worker  kiln-worker 1 <version> <number>
//! run     <proof that it has the token>
//! worker  <proof that it has it too>
//! ```
//!
//! It is no HTTP: no page in a browser can say its first line.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::token::{Nonce, Proof, Token, are_equal};

/// The first word of both sides, and the number of what they speak.
const NAME: &str = "kiln-worker";
const PROTOCOL: &str = "1";

/// Both sides must be of one version: they compute one step together.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The longest line of a handshake.
const LONGEST_LINE: u64 = 256;

/// The most bytes of a message, and of one that is not about tensors.
pub(crate) const MOST_BYTES: u64 = 1 << 30;
pub(crate) const MOST_BYTES_OF_WORDS: u64 = 1 << 20;

/// Memory that is taken for a message on its word alone.
const BELIEVED_BYTES: u64 = 16 << 20;

const WRONG_TOKEN: &str = "wrong token";
const BUSY: &str = "busy";

/// How long is waited for the other side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For a connection, and for a whole handshake.
    pub(crate) handshake: Duration,
    /// For the next bytes of a side whose turn it is.
    pub(crate) silence: Duration,
    /// How often a worker that computes says so.
    pub(crate) sign_of_life: Duration,
    /// For the next message of a run that has other things to do, such as validation.
    pub(crate) idle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            sign_of_life: Duration::from_secs(5),
            idle: Duration::from_secs(3600),
        }
    }
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// From a run: the network that its parts go through.
    Job,
    /// From a run: a part of a batch.
    Part,
    /// From a worker: what computes there; and, as the answer to a job, that it can be done.
    Ready,
    /// From a worker: what came of a part.
    Done,
    /// From a worker: it is still at it.
    Working,
    /// From a worker: why not, in words.
    Refused,
}

impl Kind {
    const ALL: [(Self, u8); 6] = [
        (Self::Job, b'J'),
        (Self::Part, b'P'),
        (Self::Ready, b'R'),
        (Self::Done, b'D'),
        (Self::Working, b'W'),
        (Self::Refused, b'X'),
    ];

    fn byte(self) -> u8 {
        Self::ALL.into_iter().find(|(kind, _)| *kind == self).map_or(0, |(_, byte)| byte)
    }

    /// The most bytes of its body.
    fn most(self) -> u64 {
        match self {
            Self::Part | Self::Done => MOST_BYTES,
            Self::Job | Self::Ready | Self::Refused => MOST_BYTES_OF_WORDS,
            Self::Working => 0,
        }
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum Failure {
    Io(io::Error),
    /// The other side is something else; its first words.
    Stranger(String),
    /// Another version of kiln.
    Version(String),
    WrongToken,
    Busy,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A connection whose sides know each other.
#[derive(Debug)]
pub(crate) struct Link {
    reader: BufReader<TcpStream>,
    patience: Patience,
}

impl Link {
    /// The run's side of the handshake.
    pub(super) fn join(stream: TcpStream, token: &Token, patience: Patience) -> Result<Self, Failure> {
        let (mut link, deadline) = Self::new(stream, patience)?;
        let own = drawn()?;
        link.say(&greeting(&own))?;
        let line = link.line(deadline)?;
        if line == BUSY {
            return Err(Failure::Busy);
        }
        let theirs = number_of(&line)?;
        link.say(&hex::encode(token.proof("run", [&own, &theirs])))?;
        let line = link.line(deadline)?;
        let proof = proof_of(&line);
        match proof.is_some_and(|proof| are_equal(&proof, &token.proof("worker", [&own, &theirs]))) {
            true => Ok(link),
            false if proof.is_some() || line == WRONG_TOKEN => Err(Failure::WrongToken),
            false => Err(Failure::Stranger(line)),
        }
    }

    /// The worker's side of it; `is_busy` says whether there is no place for another run.
    pub(crate) fn welcome(
        stream: TcpStream,
        token: &Token,
        patience: Patience,
        is_busy: impl FnOnce() -> bool,
    ) -> Result<Self, Failure> {
        let (mut link, deadline) = Self::new(stream, patience)?;
        let theirs = match number_of(&link.line(deadline)?) {
            Ok(number) => number,
            Err(failure) => {
                // The version that is told is the answer to another one.
                let told = match &failure {
                    Failure::Version(_) => greeting(&[0; 32]),
                    _ => "this is a kiln worker: it answers kiln train --device flex,remote:HOST:PORT".to_owned(),
                };
                let _ = link.say(&told);
                return Err(failure);
            }
        };
        if is_busy() {
            let _ = link.say(BUSY);
            return Err(Failure::Busy);
        }
        let own = drawn()?;
        link.say(&greeting(&own))?;
        let proof = proof_of(&link.line(deadline)?);
        if !proof.is_some_and(|proof| are_equal(&proof, &token.proof("run", [&theirs, &own]))) {
            let _ = link.say(WRONG_TOKEN);
            return Err(Failure::WrongToken);
        }
        link.say(&hex::encode(token.proof("worker", [&theirs, &own])))?;
        Ok(link)
    }

    fn new(stream: TcpStream, patience: Patience) -> io::Result<(Self, Instant)> {
        // A message is one write; waiting to fill a packet only delays its end.
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(patience.silence))?;
        Ok((Self { reader: BufReader::new(stream), patience }, Instant::now() + patience.handshake))
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        self.reader.get_ref().write_all(format!("{line}\n").as_bytes())
    }

    /// The next line of a handshake, without its end.
    fn line(&mut self, deadline: Instant) -> io::Result<String> {
        let mut line = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.reader.get_ref().set_read_timeout(Some(left))?;
            let bytes = match self.reader.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read?,
            };
            let end = bytes.iter().position(|byte| *byte == b'\n');
            line.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
            let (taken, is_over) = (end.map_or(bytes.len(), |end| end + 1), bytes.is_empty());
            self.reader.consume(taken);
            if end.is_some() || is_over || line.len() as u64 > LONGEST_LINE {
                // What came before the connection ended is worth a look.
                if is_over && line.is_empty() {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                line.truncate(LONGEST_LINE as usize);
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
        }
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, kind: Kind, body: &[u8]) -> io::Result<()> {
        if body.len() as u64 > kind.most() {
            let most = kind.most();
            return Err(io::Error::other(format!("a message has at most {most} bytes, this one {}", body.len())));
        }
        let mut stream = self.reader.get_ref();
        let length = (body.len() as u64).to_le_bytes();
        let head = [&[kind.byte()][..], &length].concat();
        stream.write_all(&head)?;
        stream.write_all(body)
    }

    /// The next message of a side whose turn it is; nothing when it has closed the connection.
    pub(crate) fn receive(&mut self) -> io::Result<Option<(Kind, Vec<u8>)>> {
        self.receive_within(self.patience.silence)
    }

    /// The next message of a side that may have other things to do.
    pub(crate) fn receive_some_time(&mut self) -> io::Result<Option<(Kind, Vec<u8>)>> {
        self.receive_within(self.patience.idle)
    }

    fn receive_within(&mut self, patience: Duration) -> io::Result<Option<(Kind, Vec<u8>)>> {
        self.reader.get_ref().set_read_timeout(Some(patience))?;
        loop {
            match self.reader.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok([]) => return Ok(None),
                Ok(_) => break,
                Err(error) => return Err(error),
            }
        }
        self.reader.get_ref().set_read_timeout(Some(self.patience.silence))?;
        let mut head = [0; 9];
        self.reader.read_exact(&mut head)?;
        let [kind, length @ ..] = head;
        let refused = |message: String| io::Error::new(ErrorKind::InvalidData, message);
        let kind = Kind::ALL.into_iter().find(|(_, byte)| *byte == kind).map(|(kind, _)| kind);
        let kind = kind.ok_or_else(|| refused("it sent a message of an unknown kind".to_owned()))?;
        let length = u64::from_le_bytes(length);
        if length > kind.most() {
            return Err(refused(format!("it announced {length} bytes, at most {} are allowed", kind.most())));
        }
        let mut body = Vec::with_capacity(length.min(BELIEVED_BYTES) as usize);
        (&mut self.reader).take(length).read_to_end(&mut body)?;
        if (body.len() as u64) < length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(Some((kind, body)))
    }
}

/// Whether an error says that the other side kept silent.
pub(crate) fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn drawn() -> io::Result<Nonce> {
    let mut number = [0; 32];
    getrandom::fill(&mut number).map_err(io::Error::other)?;
    Ok(number)
}

fn greeting(number: &Nonce) -> String {
    format!("{NAME} {PROTOCOL} {VERSION} {}", hex::encode(number))
}

/// The number in a greeting.
fn number_of(line: &str) -> Result<Nonce, Failure> {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        [NAME, PROTOCOL, VERSION, number] => proof_of(number).ok_or_else(|| Failure::Stranger(line.to_owned())),
        [NAME, _, version, _] => Err(Failure::Version(version.to_owned())),
        _ => Err(Failure::Stranger(line.to_owned())),
    }
}

fn proof_of(text: &str) -> Option<Proof> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
}
