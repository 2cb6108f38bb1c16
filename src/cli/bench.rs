//! `kiln bench`: how fast a config computes here.

use super::ExperimentArguments;
use super::ui::{Mode, Ui};
use crate::bench::{Effort, measure};
use crate::lifecycle::Trainer;
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
    let trainer = Trainer::new(arguments.experiment.load(ui)?)?;
    for warning in trainer.warnings() {
        ui.warn(warning);
    }
    let speeds = measure(&trainer, Effort { rounds: arguments.rounds, images: arguments.images })?;
    if ui.mode() == Mode::Json {
        let value = serde_json::to_value(&speeds)
            .map_err(|error| Error::failed("cannot encode the speeds").caused_by(error))?;
        ui.json(&value);
        return Ok(());
    }
    ui.out(&format!(
        "{} on {}, batch {}",
        trainer.experiment().name,
        trainer.device().name,
        trainer.experiment().train.batch_size
    ));
    for (what, rate) in [
        ("load", speeds.load_images_per_second),
        ("forward", speeds.forward_images_per_second),
        ("training step", speeds.train_images_per_second),
        ("inference", speeds.inference_images_per_second),
    ] {
        ui.out(&format!("{what:<14} {:>10} images/s", thousands(rate as u64)));
    }
    ui.out(&format!("{:<14} {:>10.3} ms", "one image", speeds.single_image_seconds * 1000.0));
    for layer in &speeds.layers {
        ui.out(&format!("  {:<12} {:>9.1} % of a forward pass", layer.name, layer.share * 100.0));
    }
    if let Some(bytes) = speeds.peak_memory_bytes {
        ui.out(&format!("peak memory    {:>10} MB", bytes / 1_000_000));
    }
    Ok(())
}
