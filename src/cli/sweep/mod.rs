//! `kiln sweep`: many trials of one experiment, and the best of them. One file per command of the group.

mod engine;
mod page;
mod run;
mod submit;
mod trial;

use std::path::{Path, PathBuf};

use super::seeds::Seeds;
use super::ui::{Mode, Ui};
use super::{ExperimentArguments, encode, quoted};
use crate::config::{SweepAsked, SweepDocument};
use crate::lifecycle::Trainer;
use crate::report::{sweep_cost, sweep_table, sweep_verdict, thousands};
use crate::sweep::{State, SweepFolder, SweepResult};
use crate::{Error, Result, device};

/// The arguments of `kiln sweep`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct SweepArguments {
    #[command(subcommand)]
    command: Option<SweepCommand>,

    #[command(flatten)]
    begin: BeginArguments,
}

#[derive(Debug, clap::Subcommand)]
#[expect(clippy::large_enum_variant, reason = "one of them is made in a process")]
enum SweepCommand {
    /// Go on with a sweep that was stopped or killed
    Resume(ResumeArguments),
    /// Work on a sweep beside others, on this machine or any that shares its folder, until nothing is left to do
    Work(WorkArguments),
    /// Hand the work on a sweep to HyperQueue or SLURM
    Submit(submit::SubmitArguments),
    /// Print the ranking and the verdict of a sweep, or how far it is
    Show(ShowArguments),
    /// Train one trial: what the workers of a sweep call
    #[command(hide = true)]
    Trial(trial::TrialArguments),
}

#[derive(Debug, clap::Args)]
struct BeginArguments {
    #[command(flatten)]
    new: NewSweepArguments,

    /// Make the sweep's folder and train nothing; `kiln sweep work` does, here or elsewhere
    #[arg(long)]
    prepare: bool,

    #[command(flatten)]
    workers: WorkerArguments,
}

/// What is tried.
#[derive(Debug, clap::Args)]
pub struct NewSweepArguments {
    #[command(flatten)]
    experiment: ExperimentArguments,

    /// Try these values for a key: --over optimizer.learning_rate=0.001,0.002; may be repeated. In place of those of the
    /// file's [sweep.over], which it need not have
    #[arg(long, value_name = "KEY=VALUES")]
    over: Vec<String>,

    /// Train each trial with each of these seeds, a number of them or a list like 1,2,7
    #[arg(long, value_name = "SEEDS")]
    seeds: Option<Seeds>,

    /// Put the sweep's folder in this folder
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
}

/// How many work on a sweep at a time.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct WorkerArguments {
    /// Train so many runs at a time, each with its share of the cores; without it: as many as there are cores,
    /// and one on a GPU
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
}

#[derive(Debug, clap::Args)]
struct ResumeArguments {
    /// The folder of a sweep
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,

    #[command(flatten)]
    workers: WorkerArguments,
}

#[derive(Debug, clap::Args)]
struct WorkArguments {
    /// The folder of a sweep
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,

    /// Threads that it may use; without it: as many as there are cores
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

#[derive(Debug, clap::Args)]
struct ShowArguments {
    /// The folder of a sweep, finished or not
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// Runs one command of the group.
pub fn run(arguments: SweepArguments, ui: &mut Ui) -> Result<()> {
    match arguments.command {
        None => begin(arguments.begin, ui),
        Some(SweepCommand::Resume(arguments)) => {
            let folder = SweepFolder::open(&arguments.folder)?;
            let state = State::open(folder.clone())?;
            announce(&state, ui);
            work(&state, arguments.workers, ui)
        }
        Some(SweepCommand::Work(arguments)) => {
            let folder = SweepFolder::open(&arguments.folder)?;
            run::work(&folder, run::Team::alone(arguments.threads.map(usize::from)), ui)
        }
        Some(SweepCommand::Submit(arguments)) => submit::submit(arguments, ui),
        Some(SweepCommand::Show(arguments)) => show(&arguments, ui),
        Some(SweepCommand::Trial(arguments)) => trial::run(arguments, ui),
    }
}

/// Makes the folder of a new sweep. Whatever is wrong with it is said before.
fn prepare(new: &NewSweepArguments, ui: &Ui) -> Result<SweepFolder> {
    let NewSweepArguments { experiment, over, seeds, runs } = new;
    if experiment.named().is_none() && over.is_empty() {
        return Err(Error::usage("there is nothing to try")
            .tip("name a file with a [sweep] table, or say what to try: kiln sweep mnist-fast --over optimizer.learning_rate=0.005,0.01"));
    }
    let (origin, sets) = experiment.origin()?;
    let asked = SweepAsked { over: over.clone(), seeds: seeds.as_ref().map(|seeds| seeds.numbers().to_vec()) };
    let document = SweepDocument::load(&origin, &sets, &asked)?;
    for notice in &document.notices {
        ui.warn(notice);
    }
    // Whatever is wrong with the data or the device is said before anything begins.
    let trainer = Trainer::new(document.experiment.clone())?;
    for warning in trainer.warnings() {
        ui.warn(warning);
    }
    drop(trainer);
    check_combinations(&document)?;
    SweepFolder::create(runs, &document)
}

fn begin(arguments: BeginArguments, ui: &Ui) -> Result<()> {
    let BeginArguments { new, prepare: is_for_later, workers } = arguments;
    let folder = prepare(&new, ui)?;
    if is_for_later {
        announce(&State::open(folder.clone())?, ui);
        ui.aside(&format!("next           kiln sweep work {}", quoted(folder.path())));
        return match ui.mode() {
            Mode::Json => {
                ui.json(&serde_json::json!({ "folder": folder.path() }));
                Ok(())
            }
            Mode::Quiet => {
                ui.out(&folder.path().display().to_string());
                Ok(())
            }
            Mode::Text => Ok(()),
        };
    }
    let state = State::open(folder)?;
    announce(&state, ui);
    work(&state, workers, ui)
}

/// Works on the sweep here, with as many workers as its device takes or as are asked for.
fn work(state: &State, workers: WorkerArguments, ui: &Ui) -> Result<()> {
    let device = device::open(state.document.experiment.device.parse()?)?;
    run::work(&state.folder, run::Team::of(workers, &device), ui)
}

/// Values that are allowed one by one may contradict each other: known before anything is trained, wherever the values are.
fn check_combinations(document: &SweepDocument) -> Result<()> {
    const SHOWN: usize = 5;
    let wrong = State::contradictions(document)?;
    let Some((_, first)) = wrong.first() else { return Ok(()) };
    let lines: String = wrong.iter().take(SHOWN).map(|(trial, error)| format!("\n  trial {trial}: {error}")).collect();
    let rest = if wrong.len() > SHOWN { format!("\n  and {} more", wrong.len() - SHOWN) } else { String::new() };
    let error = Error::usage(match wrong.len() {
        1 => format!("one of {} trials has values that contradict each other: {first}", document.sweep.trials),
        count => {
            format!("{count} of {} trials have values that contradict each other{lines}{rest}", document.sweep.trials)
        }
    });
    Err(error.tip("try values that go together, or sweep twice"))
}

/// What is going to be trained.
fn announce(state: &State, ui: &Ui) {
    let (sweep, epochs) = (&state.document.sweep, state.document.experiment.train.epochs);
    let seeds = match sweep.seeds.len() {
        1 => String::new(),
        count => format!(" with {count} seeds each"),
    };
    let halving = sweep.halving.map(|halving| {
        let rungs: Vec<String> = state.rungs().iter().map(ToString::to_string).collect();
        format!(
            ", one of {} continues after {} of {epochs} epochs",
            halving.factor,
            rungs[..rungs.len() - 1].join(" and ")
        )
    });
    ui.say(&format!(
        "sweep          {} trials ({}){seeds}{}",
        sweep.trials,
        sweep.search.name(),
        halving.unwrap_or_default()
    ));
    let validation = state.document.experiment.data.validation;
    let held_out = match validation.share() {
        Some(share) => format!("{:.0} % of the training images, held out", share * 100.0),
        None => format!("{} validation images", thousands(validation.of(0) as u64)),
    };
    ui.say(&format!("chosen by      {held_out}; the test images are measured once, with the winner"));
    ui.say(&format!("folder         {}", state.folder.path().display()));
}

fn show(arguments: &ShowArguments, ui: &Ui) -> Result<()> {
    let folder = SweepFolder::open(&arguments.folder)?;
    if let Some(result) = folder.result()? {
        return tell(&folder, &result, ui);
    }
    let result = State::open(folder.clone())?.so_far()?;
    if ui.mode() == Mode::Json {
        ui.json(&encode(&result)?);
        return Ok(());
    }
    ui.out(&sweep_table(&result));
    ui.say(&format!("\nnot finished: {} so far", sweep_cost(&result)));
    ui.aside(&format!("next           kiln sweep resume {}", quoted(folder.path())));
    Ok(())
}

/// The ranking, the verdict and the ways on.
fn tell(folder: &SweepFolder, result: &SweepResult, ui: &Ui) -> Result<()> {
    let path = folder.path().display();
    match ui.mode() {
        Mode::Json => ui.json(&encode(result)?),
        Mode::Quiet => ui.out(&path.to_string()),
        Mode::Text => {
            ui.say("");
            ui.out(&sweep_table(result));
            ui.out("");
            let mut sentences = sweep_verdict(result).into_iter();
            sentences.by_ref().take(1).for_each(|sentence| ui.heading(&sentence));
            sentences.for_each(|sentence| ui.out(&sentence));
            ui.say(&format!("\ntrained        {}", sweep_cost(result)));
            if let Some(run) = result.winning().and_then(|row| row.runs.first()) {
                let run = Path::new(&run.run);
                let run = quoted(folder.path().join(run));
                ui.aside(&format!("next           kiln runs show {run}\n               kiln predict {run} PICTURE"));
            }
        }
    }
    if result.winner.is_none() {
        return Err(Error::failed("no trial was trained to its end")
            .tip(format!("the table says why; `{path}/jobs` has what each of them had to say, in `log`")));
    }
    Ok(())
}
