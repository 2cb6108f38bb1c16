//! `kiln serve`: predictions over HTTP, and a page to draw on.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::value_parser;
use serde_json::json;

use super::ui::{Mode, Ui};
use super::{open_device, open_model};
use crate::Result;
use crate::predict::Predictor;
use crate::serve::{self, Options};

/// The arguments of `kiln serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "A picture: curl --data-binary @digit.png http://127.0.0.1:8080/v1/predict\n\
                        The interface is described at /openapi.json, the page is at /.")]
pub struct ServeArguments {
    /// A model file, or a run: its directory, its number, or latest
    #[arg(value_name = "MODEL", value_parser = super::run_parser(), add = super::completions::runs())]
    model: PathBuf,

    /// Listen here: an address and a port, or a port alone; port 0 takes any free one
    #[arg(long = "addr", value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = super::address)]
    address: SocketAddr,

    /// Compute here
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,

    /// The largest body of a request, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 8, value_parser = value_parser!(u16).range(1..=1024))]
    max_body_mb: u16,

    /// The most predictions under way; more are answered 503
    #[arg(long, value_name = "COUNT", default_value_t = 256, value_parser = value_parser!(u32).range(1..=65_536))]
    max_concurrent: u32,

    /// The longest a request may take
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = value_parser!(u16).range(1..=3600))]
    timeout_seconds: u16,

    /// How long the network waits for images that are being decoded
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 1, value_parser = value_parser!(u16).range(0..=1000))]
    batch_delay_ms: u16,

    /// The most images that go through the network together
    #[arg(long, value_name = "IMAGES", default_value_t = 64, value_parser = value_parser!(u32).range(1..=4096))]
    batch_size: u32,

    /// The memory that pictures may take together while they are decoded, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = value_parser!(u32).range(1..=65_536))]
    max_decoded_mb: u32,

    /// Answer "unsure" where the likeliest class has a lower probability than this, 0 to 1; a request may ask otherwise
    #[arg(long, value_name = "PROBABILITY", value_parser = super::confidence)]
    min_confidence: Option<f64>,

    /// Also answer requests addressed to this host name, as behind a proxy; "*" for any. May be given several times
    #[arg(long = "allow-host", value_name = "NAME")]
    allow_hosts: Vec<String>,
}

impl ServeArguments {
    fn options(&self) -> Options {
        Options {
            address: self.address,
            max_body: usize::from(self.max_body_mb) << 20,
            max_concurrent: self.max_concurrent as usize,
            timeout: Duration::from_secs(self.timeout_seconds.into()),
            batch_delay: Duration::from_millis(self.batch_delay_ms.into()),
            batch_size: self.batch_size as usize,
            max_decoded: (self.max_decoded_mb as usize) << 20,
            min_confidence: self.min_confidence,
            allow_hosts: self.allow_hosts.clone(),
        }
    }
}

/// Serves until interrupted.
pub fn run(arguments: ServeArguments, ui: &mut Ui) -> Result<()> {
    let device = open_device(&arguments.device, "`kiln serve` computes")?;
    let file = open_model(&arguments.model, ui)?;
    let predictor = Predictor::open_on(&file, &device.device)?;
    if arguments.min_confidence.is_some() && predictor.manifest().calibration.is_none() {
        ui.warn("the model is not calibrated: its probabilities need not say how often it is right");
    }
    // The first use of a network on a device compiles or allocates; no client should wait for that.
    let blank = vec![0; predictor.manifest().preprocess.shape.len()];
    predictor.predict_prepared(&[&blank])?;
    let (network, classes) = (predictor.manifest().words(), predictor.manifest().classes.len());
    let server = serve::start(Arc::new(predictor), &arguments.options())?;
    let url = format!("http://{}/", server.address());
    if ui.mode() == Mode::Json {
        ui.json(&json!({ "url": url, "model": file, "device": device.name }));
    }
    ui.say(&format!("model     {}: {network}, {classes} classes, on {}", file.display(), device.name));
    ui.say(&format!("page      {url}"));
    ui.say(&format!("predict   curl --data-binary @picture.png {url}v1/predict"));
    ui.aside("Ctrl-C stops it");
    let ui = *ui;
    server.until_interrupted(move || ui.aside("stopping; requests under way may finish"))
}
