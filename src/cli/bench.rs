//! `kiln bench`: how fast a config computes here.

use burn::train::Interrupter;

use super::ExperimentArguments;
use super::train::{DisplayArguments, Job};
use super::ui::{Mode, Ui};
use crate::artifact::{Description, Manifest};
use crate::bench::{Effort, measure};
use crate::predict::Predictor;
use crate::report::thousands;
use crate::{Error, Result};

/// The arguments of `kiln bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArguments {
    #[command(flatten)]
    experiment: ExperimentArguments,

    /// Rounds per figure; the best counts
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    rounds: usize,

    /// Images per round
    #[arg(long, value_name = "COUNT", default_value_t = 6000)]
    images: usize,
}

/// Measures and prints.
pub fn run(arguments: BenchArguments, ui: &mut Ui) -> Result<()> {
    if arguments.rounds == 0 || arguments.images == 0 {
        return Err(Error::usage("--rounds and --images: must be at least 1"));
    }
    let job = Job::prepare(arguments.experiment.load()?, &DisplayArguments::default(), &Ui::new(Mode::Quiet))?;
    let session = job.session(None, Interrupter::new());
    let manifest = Manifest::describe(Description {
        experiment: &job.experiment,
        preprocess: &job.preprocess,
        classes: &job.dataset.train.classes,
        fingerprint: &job.dataset.fingerprint,
        run: "bench".into(),
        device: &job.device.name,
        parent: None,
    })?;
    let weights = session.initial_weights()?;
    let predictor = Predictor::new(manifest, &weights, &job.device.device)?;
    let effort = Effort { rounds: arguments.rounds, images: arguments.images };
    let speeds = measure(&session, &predictor, &job.dataset.test, effort)?;
    if ui.mode() == Mode::Json {
        let value = serde_json::to_value(&speeds)
            .map_err(|error| Error::failed("cannot encode the speeds").caused_by(error))?;
        ui.json(&value);
        return Ok(());
    }
    ui.out(&format!("{} on {}, batch {}", job.experiment.name, job.device.name, job.experiment.train.batch_size));
    for (what, rate) in [
        ("load", speeds.load_images_per_second),
        ("forward", speeds.forward_images_per_second),
        ("training step", speeds.train_images_per_second),
        ("inference", speeds.inference_images_per_second),
    ] {
        ui.out(&format!("{what:<14} {:>10} images/s", thousands(rate as u64)));
    }
    for layer in &speeds.layers {
        ui.out(&format!("  {:<12} {:>9.1} % of a forward pass", layer.name, layer.share * 100.0));
    }
    if let Some(bytes) = speeds.peak_memory_bytes {
        ui.out(&format!("peak memory    {:>10} MB", bytes / 1_000_000));
    }
    Ok(())
}
