//! `kiln bench`: how fast a config computes here.

use super::ui::{Mode, Ui};
use super::{ExperimentArguments, require_one_device};
use crate::bench::{DeviceProfile, Effort, OperationCost, Profile, device_profile, measure, profile};
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

    /// Show where the time of a training step goes. On the CPU: every operation of its forward and backward pass, against
    /// what this machine can do at best. On a GPU: what a step asks of it, kernels, uploads and reads
    #[arg(long)]
    profile: bool,
}

/// Measures and prints.
pub fn run(arguments: BenchArguments, ui: &mut Ui) -> Result<()> {
    if arguments.rounds == 0 || arguments.images == 0 {
        return Err(Error::usage("--rounds and --images: must be at least 1"));
    }
    let experiment = arguments.experiment.load(ui)?;
    if arguments.profile {
        require_one_device(&experiment, "`kiln bench --profile` takes a step apart")?;
    }
    let trainer = Trainer::new(experiment)?;
    for warning in trainer.warnings() {
        ui.warn(warning);
    }
    let effort = Effort { rounds: arguments.rounds, images: arguments.images };
    if arguments.profile && trainer.device().backend.is_cpu() {
        let profile = profile(&trainer, effort)?;
        return show(&trainer, &profile, table(&profile), ui);
    }
    if arguments.profile {
        let profile = device_profile(&trainer, effort)?;
        return show(&trainer, &profile, requests(&profile), ui);
    }
    let speeds = measure(&trainer, effort)?;
    if ui.mode() == Mode::Json {
        let value = serde_json::to_value(&speeds)
            .map_err(|error| Error::failed("cannot encode the speeds").caused_by(error))?;
        ui.json(&value);
        return Ok(());
    }
    ui.out(&headline(&trainer));
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

/// Prints a profile: itself as JSON, else `text` under a headline.
fn show(trainer: &Trainer, profile: &impl serde::Serialize, text: String, ui: &mut Ui) -> Result<()> {
    if ui.mode() == Mode::Json {
        let value = serde_json::to_value(profile)
            .map_err(|error| Error::failed("cannot encode the profile").caused_by(error))?;
        ui.json(&value);
    } else {
        ui.out(&headline(trainer));
        ui.out(&text);
    }
    Ok(())
}

/// What a step asks of a device, as text: a line per kind of request, then the kernels.
fn requests(profile: &DeviceProfile) -> String {
    let mut lines = vec![
        format!("batches are made {}; means over {} steps", profile.batches.words(), profile.steps),
        format!(
            "step: {:.3} ms; the host asks for {:.3} ms and waits for {:.3} ms",
            profile.step_seconds * 1e3,
            profile.host_seconds * 1e3,
            profile.wait_seconds * 1e3
        ),
        format!("{:>9.2} kernels launched", profile.launches),
        format!("{:>9.2} uploads, {:.0} bytes", profile.uploads, profile.upload_bytes),
        format!("{:>9.2} reads", profile.reads),
        String::new(),
        format!("{:>9}  kernel", "launches"),
    ];
    lines.extend(profile.kernels.iter().map(|count| format!("{:>9.2}  {}", count.launches, count.kernel)));
    lines.join("\n")
}

/// What is measured, and where.
fn headline(trainer: &Trainer) -> String {
    let experiment = trainer.experiment();
    format!("{} on {}, batch {}", experiment.name, trainer.device().name, experiment.train.batch_size)
}

/// A profile as text: what the machine can do, a row per operation, the rest of the step.
fn table(profile: &Profile) -> String {
    const GIGA: f64 = 1e9;
    let Profile { peak, operations, .. } = profile;
    let mut lines = vec![
        format!(
            "peak: {:.0} GFLOP/s with {} threads, {:.0} with one; {:.1} GB/s",
            peak.flops_per_second / GIGA,
            peak.threads,
            peak.one_thread_flops_per_second / GIGA,
            peak.bytes_per_second / GIGA
        ),
        format!(
            "step: {:.3} ms; {:.3} ms while profiled, with a convolution's gradients one after the other",
            profile.step_seconds * 1e3,
            profile.profiled_step_seconds * 1e3
        ),
        String::new(),
    ];
    let width = |title: &str, text: fn(&OperationCost) -> String| {
        operations.iter().map(|operation| text(operation).chars().count()).chain([title.len()]).max().unwrap_or(0)
    };
    let layers = width("layer", |operation| operation.layer.clone());
    let names = width("operation", named);
    let shapes = width("shape", |operation| operation.shape.clone());
    lines.push(format!(
        "{:<layers$}  {:<names$}  {:<shapes$}  {:>9}  {:>6}  {:>8}  {:>6}  {:>7}  {:>6}",
        "layer", "operation", "shape", "ms", "share", "GFLOP/s", "% peak", "GB/s", "% peak"
    ));
    for operation in operations {
        let [flops, of_peak] = match operation.flops {
            0 => ["".into(), "".into()],
            _ => {
                [format!("{:.1}", operation.flops_per_second / GIGA), format!("{:.0}", operation.of_peak_flops * 100.0)]
            }
        };
        lines.push(format!(
            "{:<layers$}  {:<names$}  {:<shapes$}  {:>9.3}  {:>5.1}%  {flops:>8}  {of_peak:>6}  {:>7.1}  {:>6.0}",
            operation.layer,
            named(operation),
            operation.shape,
            operation.seconds * 1e3,
            operation.share * 100.0,
            operation.bytes_per_second / GIGA,
            operation.of_peak_bytes * 100.0
        ));
    }
    lines.push(format!(
        "{:<layers$}  {:<names$}  {:<shapes$}  {:>9.3}  {:>5.1}%",
        "",
        "the rest",
        "",
        profile.rest_seconds * 1e3,
        profile.rest_share * 100.0
    ));
    lines.join("\n")
}

/// An operation's name, and how often a step does it if that is more than once.
fn named(operation: &OperationCost) -> String {
    match operation.calls {
        0 | 1 => operation.operation.to_owned(),
        calls => format!("{calls} x {}", operation.operation),
    }
}
