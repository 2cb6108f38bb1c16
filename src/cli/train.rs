//! `kiln train`: from a config to a verified model file. What every command that trains shows is here.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use super::seeds::{self, Seeds};
use super::ui::{Mode, Ui, leave};
use super::{ExperimentArguments, accuracy, encode, quoted};
use crate::device::kernel_cache;
use crate::http::Server;
use crate::lifecycle::{Outcome, Run, Summary, Trainer};
use crate::run::Status;
use crate::train::observer::StopHandle;
use crate::{Error, Result, board};

/// The arguments of `kiln train`.
#[derive(Debug, clap::Args)]
pub struct TrainArguments {
    #[command(flatten)]
    experiment: ExperimentArguments,

    #[command(flatten)]
    display: DisplayArguments,

    /// Put the run directory in this folder
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,

    /// Train once for each of these seeds, a number of them or a list like 1,2,7, as many at a time as there are cores, and
    /// say mean and standard deviation
    #[arg(long, value_name = "SEEDS", conflicts_with_all = ["seed", "ui"])]
    seeds: Option<Seeds>,

    /// Train on so many batches alone, the same in every epoch, without augmentation, validation and test: whether the network
    /// can learn them by heart; the same as --set train.overfit_batches=...
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["seeds", "fast_dev_run", "require_accuracy"])]
    overfit_batches: Option<usize>,

    /// Go once through everything on one batch each (training, validation, checkpoint, test, export) and leave nothing
    /// behind: whether a long run would come to its end
    #[arg(long, conflicts_with_all = ["seeds", "ui", "board", "require_accuracy"])]
    fast_dev_run: bool,
}

/// How a run is shown, and what is demanded of it: shared by all commands that train.
#[derive(Clone, Debug, clap::Args)]
pub struct DisplayArguments {
    /// How training is shown
    #[arg(long, value_enum, default_value_t = Interface::Lines)]
    pub ui: Interface,

    /// Exit with 1 when the test accuracy ends below this, 0 to 1
    #[arg(long, value_name = "ACCURACY", value_parser = accuracy)]
    pub require_accuracy: Option<f64>,

    /// Show the run on a local page while it trains; the address is printed
    #[arg(long)]
    pub board: bool,
}

/// How training is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Interface {
    /// A progress bar for the epoch under way, and a line per epoch
    Lines,
    /// Burn's terminal dashboard, in a build with --features tui
    Tui,
}

/// Trains from the beginning.
pub fn run(mut arguments: TrainArguments, ui: &mut Ui) -> Result<()> {
    arguments.display.check(ui)?;
    let sets = &mut arguments.experiment.changes.sets;
    sets.extend(arguments.overfit_batches.map(|batches| format!("train.overfit_batches={batches}")));
    if let Some(seeds) = &arguments.seeds {
        return seeds::run(seeds, &arguments.experiment, &arguments.runs, &arguments.display, ui);
    }
    if let Some(parent) = arguments.experiment.named().and_then(|config| parent_of(Path::new(config))) {
        ui.warn(&format!(
            "this is the config of a run that began with the weights of {parent}; a run of its config begins with new, random \
             weights. To begin with those again: kiln fork, or kiln runs rerun"
        ));
    }
    let trainer = Trainer::new(arguments.experiment.load(ui)?)?.runs(arguments.runs);
    if arguments.fast_dev_run {
        return fast_dev_run(trainer, ui);
    }
    follow(trainer, &arguments.display, ui)
}

/// Whose weights the run began with whose config this is, if it is a run's and that one was forked.
fn parent_of(config: &Path) -> Option<String> {
    let folder = config.parent().filter(|_| config.file_name().is_some_and(|name| name == "config.toml"))?;
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let parent = Run::open(folder).ok()?.record().ok()?.parent?;
    Some(parent.split(" (weights").next().unwrap_or_default().to_owned())
}

/// Goes once through everything, and says what went through.
fn fast_dev_run(trainer: Trainer, ui: &Ui) -> Result<()> {
    ui.lines(&trainer.plan().render());
    for warning in trainer.warnings() {
        ui.warn(warning);
    }
    let done = trainer.stop_handle(stop_on_interrupt()).fast_dev_run()?;
    ui.say("");
    let images = |count: usize| if count == 1 { "1 image".to_owned() } else { format!("{count} images") };
    ui.say(&format!("trained        {} update on {}", done.updates, images(done.train_images)));
    ui.say(&match done.validation_images {
        0 => "validated      not at all, as in the whole run".to_owned(),
        count => format!("validated      on {}", images(count)),
    });
    ui.say("checkpoint     written and read back");
    ui.say(&format!("tested         on {}", images(done.test_images)));
    ui.say(&format!("exported       {}, each read back and verified", done.formats.join(", ")));
    ui.heading("fast dev run   passed: a whole run would get through all of this; nothing was kept");
    if ui.mode() == Mode::Json {
        ui.json(&encode(&done)?);
    }
    Ok(())
}

impl DisplayArguments {
    /// Whether it can be shown so: Burn's dashboard takes the whole terminal.
    pub fn check(&self, ui: &Ui) -> Result<()> {
        if self.ui == Interface::Lines {
            return Ok(());
        }
        if !cfg!(feature = "tui") {
            return Err(
                Error::usage("the dashboard is not in this build").tip("build it in: cargo run --features tui -- …")
            );
        }
        if ui.mode() != Mode::Text || !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Err(Error::usage("the dashboard needs a terminal for itself: no pipe, no --json, no --quiet")
                .tip("leave out --ui tui: training is shown in lines"));
        }
        Ok(())
    }
}

/// Says what is going to be trained, trains it, and says what came of it.
pub fn follow(trainer: Trainer, display: &DisplayArguments, ui: &Ui) -> Result<()> {
    let (outcome, summary) = watch(trainer, display, ui)?;
    super::summary::say(&outcome, &summary, ui)?;
    require_accuracy(&summary, display)
}

/// Says what is going to be trained, trains it to its end, and gives what came of it.
pub fn watch(trainer: Trainer, display: &DisplayArguments, ui: &Ui) -> Result<(Outcome, Summary)> {
    ui.lines(&trainer.plan().render());
    ui.lines(&format!("device         {}", trainer.device().reason));
    if !trainer.device().backend.is_cpu() {
        ui.lines(&format!("batches        are made {}", trainer.session().making().words()));
        if let Some(folder) = kernel_cache() {
            ui.lines(&format!(
                "kernels        are compiled and tuned where they are first met; what can be kept is kept in {}",
                folder.display()
            ));
        }
    }
    ui.say("");
    for warning in trainer.warnings() {
        ui.warn(warning);
    }
    if let Some(continuation) = trainer.continuation() {
        ui.lines(&continuation);
    }
    let folder = trainer.folder();
    let board = display.board.then(|| beside(&folder)).transpose()?;
    let url = board.as_ref().map(|board| format!("http://{}/", board.address()));
    let trainer = trainer.stop_handle(stop_on_interrupt());
    let trainer = match display.ui {
        Interface::Lines => {
            let prepares = !trainer.device().backend.is_cpu();
            trainer.observer(ui.training(url, prepares))
        }
        // Whatever else is printed would be drawn across the dashboard.
        Interface::Tui => {
            url.iter().for_each(|url| ui.say(&format!("board          {url}")));
            trainer.dashboard(true)
        }
    };
    let ended = trainer.train();
    // Those who look see how it ended, before the page loses its server. One who does not listen is not waited for.
    let had_board = board.map(|board| drop(board.stop())).is_some();
    let outcome = ended?;
    if outcome.status == Status::Interrupted {
        let path = quoted(outcome.run.path());
        return Err(Error::interrupted(format!(
            "stopped after iteration {} of {}",
            outcome.iterations, outcome.total_iterations
        ))
        .tip(format!("go on exactly where it stopped: kiln resume {path}")));
    }
    let Some(summary) = outcome.summary.clone() else {
        return Err(Error::failed("training ended without a finished epoch"));
    };
    if had_board {
        ui.say(&format!("\nboard          ended with the training; look again: kiln board {}", quoted(&folder)));
    }
    Ok((outcome, summary))
}

/// # Errors
/// When the test accuracy of a run is below what is required, or was not measured.
pub fn require_accuracy(summary: &Summary, display: &DisplayArguments) -> Result<()> {
    match (summary.test_accuracy, display.require_accuracy) {
        (None, Some(_)) => {
            Err(Error::usage("the run is not measured on the test images, so that no accuracy can be required of it")
                .tip("leave out --require-accuracy"))
        }
        (accuracy, required) => check_accuracy(accuracy.unwrap_or(f64::NAN), required),
    }
}

/// # Errors
/// When the test accuracy is below what is required.
pub fn check_accuracy(accuracy: f64, required: Option<f64>) -> Result<()> {
    match required {
        Some(required) if accuracy < required => {
            Err(Error::failed(format!("test accuracy {accuracy:.4} is below the required {required}")))
        }
        _ => Ok(()),
    }
}

/// The board over the runs in `folder`, on a free port of this machine.
pub fn beside(folder: &Path) -> Result<Server> {
    let address = ([127, 0, 0, 1], 0).into();
    board::start(&board::Options { runs: folder.to_owned(), address, allow_hosts: Vec::new() })
}

/// Stops training in good order at the first Ctrl-C or SIGTERM, and leaves at once at the second.
pub fn stop_on_interrupt() -> StopHandle {
    let handle = StopHandle::new();
    let of_handler = handle.clone();
    // A handler that cannot be installed leaves the system's own: the process ends, the checkpoints remain.
    let _ = ctrlc::set_handler(move || {
        if of_handler.is_stopped() {
            leave();
        }
        of_handler.stop();
        Ui::new(Mode::Json).say("\nfinishing this iteration and saving; once more to leave at once");
    });
    handle
}
