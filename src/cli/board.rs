//! `kiln board`: all runs on a local page.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::json;

use super::ui::{Mode, Ui};
use crate::board::{self, Options};
use crate::run::RunDir;
use crate::{Error, Result};

/// The arguments of `kiln board`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "It shows what runs leave on disk and changes nothing. For programs: /api/runs, /api/runs/NAME, \
                        /api/events (docs/board.md)."
)]
pub struct BoardArguments {
    /// The folder that the runs are in, or one run in it
    #[arg(value_name = "RUNS", default_value = "runs", value_parser = super::run_parser(), add = super::completions::runs())]
    runs: PathBuf,

    /// Listen here: an address and a port, or a port alone; port 0 takes any free one
    #[arg(long = "addr", value_name = "ADDRESS", default_value = "127.0.0.1:8081", value_parser = super::address)]
    address: SocketAddr,

    /// Also answer requests addressed to this host name, as behind a proxy; "*" for any. May be given several times
    #[arg(long = "allow-host", value_name = "NAME")]
    allow_hosts: Vec<String>,
}

/// Shows the runs until interrupted.
pub fn run(arguments: BoardArguments, ui: &mut Ui) -> Result<()> {
    let BoardArguments { runs, address, allow_hosts } = arguments;
    if runs.is_file() {
        return Err(Error::usage(format!("`{}` is a file, not a folder of runs", runs.display()))
            .tip("give the folder that `kiln train` puts runs into, for example runs"));
    }
    let (runs, chosen) = folder(runs);
    let server = board::start(&Options { runs: runs.clone(), address, allow_hosts })?;
    let url = format!("http://{}/{}", server.address(), chosen.as_deref().map(board::fragment).unwrap_or_default());
    if ui.mode() == Mode::Json {
        ui.json(&json!({ "url": url, "runs": runs }));
    }
    ui.say(&format!("board     {url}"));
    let missing = if runs.is_dir() { "" } else { ", which does not exist yet" };
    ui.say(&format!("runs      {}{missing}", runs.display()));
    ui.aside("Ctrl-C stops it");
    let ui = *ui;
    server.until_interrupted(move || ui.aside("stopping"))
}

/// The folder of runs, and the run that was named in its place, if one was.
fn folder(path: PathBuf) -> (PathBuf, Option<String>) {
    let parent = path.parent().map(|parent| if parent.as_os_str().is_empty() { ".".into() } else { parent.to_owned() });
    let name = path.file_name().and_then(|name| Some(name.to_str()?.to_owned()));
    match (RunDir::open(&path), parent, name) {
        (Ok(_), Some(parent), Some(name)) => (parent, Some(name)),
        _ => (path, None),
    }
}
