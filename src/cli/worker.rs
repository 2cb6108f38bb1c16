//! `kiln worker`: takes parts of the batches of runs on other machines.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::channel;

use serde_json::{Map, Value, json};

use super::open_device;
use super::ui::{Mode, Ui, leave};
use crate::report::thousands;
use crate::train::remote::link::Patience;
use crate::train::remote::token::{Token, VARIABLE};
use crate::worker::{Event, Options, Server, Totals};
use crate::{Error, Result};

/// The arguments of `kiln worker`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A run uses it with --device flex,remote:HOST:PORT and the same token, in a file that the environment's \
                        KILN_TOKEN_FILE names. What they send each other is not encrypted: between machines, listen on 127.0.0.1 \
                        and reach it through an SSH tunnel (docs/backends.md)."
)]
pub struct WorkerArguments {
    /// Listen here: an address and a port, or a port alone, which is one of this machine; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7000", value_parser = super::address)]
    listen: SocketAddr,

    /// The file with the token that runs must have: 16 bytes or more, which nobody else can read
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,

    /// Compute here; a run must compute on the same backend
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
}

/// Works until interrupted.
pub fn run(arguments: WorkerArguments, ui: &mut Ui) -> Result<()> {
    let token = Token::read(&arguments.token_file)?;
    let device = open_device(&arguments.device, "`kiln worker` computes")?;
    let (backend, reason) = (device.backend, device.reason.clone());
    let name = device.name.clone();
    // Before anything is said: who reads it may stop the worker at once.
    let (interrupted, stop) = channel();
    let mut count = 0;
    ctrlc::set_handler(move || {
        count += 1;
        if count > 1 {
            leave();
        }
        let _ = interrupted.send(());
    })
    .map_err(|error| Error::failed("cannot receive signals").caused_by(error))?;
    let listener = {
        let ui = *ui;
        move |event| tell(ui, event)
    };
    let options = Options { address: arguments.listen, token, device, patience: Patience::default() };
    let server = Server::start(options, listener)?;
    let address = server.address();
    if ui.mode() == Mode::Json {
        ui.json(&json!({ "address": address.to_string(), "device": name }));
    }
    ui.say(&format!("worker    {address}, on {reason}"));
    ui.say(&format!("a run     {VARIABLE}=FILE kiln train --device {backend},remote:{address}"));
    if !address.ip().is_loopback() {
        ui.warn(
            "other machines reach this worker, and nothing that it sends or gets is encrypted: use it in a network that you trust, or \
             listen on 127.0.0.1 and reach it through an SSH tunnel",
        );
    }
    ui.aside("Ctrl-C stops it");
    let _ = stop.recv();
    ui.aside("stopping; a part under way is still answered");
    server.stop()
}

/// A line for what happened, and an event in a stream.
fn tell(ui: Ui, event: Event) {
    let (name, words, fields) = match event {
        Event::Begun { run, client, parameters, words } => {
            let shown = thousands(parameters as u64);
            let fields = json!({ "run": run, "client": client.to_string(), "parameters": parameters });
            ("run", format!("run {run} from {client}: {shown} parameters, {words}"), fields)
        }
        Event::GoesOn { run, totals } => {
            ("progress", format!("run {run}: {}", in_words(totals)), of_totals(run, totals))
        }
        Event::Ended { run, totals, lost } => {
            let how = lost.as_ref().map_or_else(|| "left".to_owned(), |reason| format!("was lost ({reason})"));
            let mut fields = of_totals(run, totals);
            fields["lost"] = json!(lost);
            ("end", format!("run {run} {how}: {}", in_words(totals)), fields)
        }
        Event::Refused { client, reason } => {
            let fields = json!({ "client": client.to_string(), "reason": reason });
            ("refused", format!("refused {client}: {reason}"), fields)
        }
    };
    if ui.streams() {
        ui.event(name, fields.as_object().cloned().unwrap_or_else(Map::new));
    }
    ui.say(&printable(&words));
}

/// What a client says cannot command a terminal.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

fn in_words(totals: Totals) -> String {
    let Totals { parts, images, seconds, received, sent } = totals;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    format!(
        "{} parts with {} images, {seconds:.1} s of computing, {:.1} MB received, {:.1} MB sent",
        thousands(parts),
        thousands(images),
        megabytes(received),
        megabytes(sent)
    )
}

fn of_totals(run: u64, totals: Totals) -> Value {
    let Totals { parts, images, seconds, received, sent } = totals;
    json!({
        "run": run, "parts": parts, "images": images, "seconds": seconds, "received_bytes": received, "sent_bytes": sent,
    })
}
