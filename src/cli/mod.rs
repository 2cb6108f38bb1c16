//! The command line: one file per command, each with its arguments and its `run`. All printing goes through `ui.rs`.

mod bench;
mod board;
mod compare;
mod completions;
mod config;
mod data;
mod devices;
mod ensemble;
mod eval;
mod experiment;
mod explain;
mod export;
mod extend;
mod fork;
mod import;
mod json;
mod layout;
mod man;
mod names;
mod new;
mod pictures;
mod plan;
mod predict;
mod preparing;
mod refused;
mod report;
mod resume;
mod runs;
mod seeds;
mod serve;
mod summary;
mod sweep;
mod train;
mod training;
mod tune;
mod ui;
mod verify;
mod verify_resume;
mod worker;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::config::Experiment;
use crate::config::document::Origin;
use crate::data::Dataset;
use crate::error::quoted;
use crate::{Error, Result, device};
use experiment::{ChangeArguments, ExperimentArguments};
use names::{model_file, open_model, run_parser};
use ui::{Mode, Ui};

/// Train, evaluate, export and serve small-image classifiers, from a config file.
#[derive(Debug, Parser)]
#[command(name = "kiln", version, max_term_width = 100, subcommand_required = true, arg_required_else_help = true)]
#[command(
    after_help = "Start with `kiln train`: it trains on all of MNIST, offline, and ends with a verified model file."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,

    /// Print nothing but results, warnings and errors
    #[arg(long, short, global = true)]
    quiet: bool,

    /// Print one JSON value on stdout, an error too, and everything for people on stderr; --json=stream: one value per line
    /// as things happen, each with its "event"
    #[arg(long, global = true, value_enum, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "end")]
    json: Option<json::When>,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "one of them is made in a process")]
enum Command {
    /// Show what a config means, without training: iterations, learning rate, parameters, memory
    Plan(plan::PlanArguments),
    /// Look at a data set: counts, sizes, duplicates, files that cannot be read, pictures of every class
    Data(data::DataArguments),
    /// Look at a folder of pictures and write a config that trains on it
    New(new::NewArguments),
    /// Look for a good value of a key before training
    Tune(tune::TuneArguments),
    /// Train a network and leave a verified model file
    Train(train::TrainArguments),
    /// Continue a run that was stopped, exactly where it stopped
    Resume(resume::ResumeArguments),
    /// Train a run for more epochs
    Extend(extend::ExtendArguments),
    /// Start a new run from another run's weights
    Fork(fork::ForkArguments),
    /// Measure a model file on labelled images
    Eval(eval::EvalArguments),
    /// Say whether one model, or one config over several seeds, is better than another by more than luck
    Compare(compare::CompareArguments),
    /// Try many values and say which are best: a grid, random search or TPE, with most trials given up early, or with none
    Sweep(sweep::SweepArguments),
    /// Show a run on one page: curves, mistakes and their pictures, labels that look wrong, filters
    Report(report::ReportArguments),
    /// Show all runs on a local page, with their curves as they grow
    Board(board::BoardArguments),
    /// Look at runs that were made
    Runs(runs::RunsArguments),
    /// Say what is in a picture
    Predict(predict::PredictArguments),
    /// Answer over HTTP what is in a picture, with a page to draw on
    Serve(serve::ServeArguments),
    /// Write a run's model in another format
    Export(export::ExportArguments),
    /// Make a model file of weights that PyTorch trained
    Import(import::ImportArguments),
    /// Make one model of several, which answers with the mean of their probabilities
    Ensemble(ensemble::EnsembleArguments),
    /// Check a model file: its digest, and its golden samples replayed on a device
    Verify(verify::VerifyArguments),
    /// Prove that a stopped and resumed run is the same run to the last bit
    VerifyResume(verify_resume::VerifyResumeArguments),
    /// Take a part of each batch of a run on another machine
    Worker(worker::WorkerArguments),
    /// Measure how fast a config computes here
    Bench(bench::BenchArguments),
    /// Walk through one real iteration, step by step, for learners
    Explain(explain::ExplainArguments),
    /// Show, list and describe the configuration
    Config(config::ConfigArguments),
    /// List the backends of this build and the adapters of this machine
    Devices(devices::DevicesArguments),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArguments),
    /// Print the manual page of a command, or write those of all
    Man(man::ManArguments),
}

/// Parses the command line, runs it, renders what went wrong, and returns the process's exit code.
pub fn main() -> u8 {
    match completions::answer() {
        Ok(false) => main_of(std::env::args_os()),
        Ok(true) => 0,
        Err(error) => refused::tell(&error, &[]),
    }
}

/// The same for a process that is another program's, such as Python's: `program` is the command that starts kiln, and
/// `arguments` are what stands behind it.
pub fn main_within(program: PathBuf, arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let name = program.clone().into_os_string();
    // A process is only ever one program.
    let _ = PROGRAM.set(program);
    main_of(std::iter::once(name).chain(arguments))
}

/// The command that starts kiln, where the process is another program's.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// What starts another kiln like this one.
fn program() -> Result<PathBuf> {
    match PROGRAM.get() {
        Some(program) => Ok(program.clone()),
        None => std::env::current_exe()
            .map_err(|error| Error::failed("the program does not know where it is").caused_by(error)),
    }
}

fn main_of(words: impl IntoIterator<Item = OsString>) -> u8 {
    let words: Vec<OsString> = words.into_iter().collect();
    let matches = command().try_get_matches_from(&words);
    let arguments = match matches.and_then(|matches| Arguments::from_arg_matches(&matches)) {
        Ok(arguments) => arguments,
        Err(error) => return refused::tell(&error, words.get(1..).unwrap_or_default()),
    };
    keep_panics();
    let mut ui = match (arguments.json, arguments.quiet) {
        (Some(json::When::Stream), _) => Ui::streaming(),
        (Some(json::When::End), _) => Ui::new(Mode::Json),
        (None, true) => Ui::new(Mode::Quiet),
        (None, false) => Ui::new(Mode::Text),
    };
    ui.follow_reading();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(arguments.command, &mut ui)))
        .unwrap_or_else(|panic| {
            Err(Error::failed("kiln panicked").caused_by(crate::error::panic_text(&*panic)).tip(
                "this is a mistake in kiln or in a library it uses; please report it with the command and the config",
            ))
        });
    let result = result.and_then(|()| ui::output_was_written());
    ui::take_down();
    if let Err(error) = &result {
        ui.error(error);
    }
    for panic in PANICS.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        ui.warn(panic);
    }
    result.map_or_else(|error| error.exit_code(), |()| 0)
}

/// The command line, with what each command prints for programs in its help.
fn command() -> clap::Command {
    json::told(Arguments::command())
}

fn run(command: Command, ui: &mut Ui) -> Result<()> {
    match command {
        Command::Plan(arguments) => plan::run(arguments, ui),
        Command::Data(arguments) => data::run(arguments, ui),
        Command::New(arguments) => new::run(arguments, ui),
        Command::Tune(arguments) => tune::run(arguments, ui),
        Command::Train(arguments) => train::run(arguments, ui),
        Command::Resume(arguments) => resume::run(arguments, ui),
        Command::Extend(arguments) => extend::run(arguments, ui),
        Command::Fork(arguments) => fork::run(arguments, ui),
        Command::Eval(arguments) => eval::run(arguments, ui),
        Command::Compare(arguments) => compare::run(arguments, ui),
        Command::Sweep(arguments) => sweep::run(arguments, ui),
        Command::Report(arguments) => report::run(arguments, ui),
        Command::Board(arguments) => board::run(arguments, ui),
        Command::Runs(arguments) => runs::run(arguments, ui),
        Command::Predict(arguments) => predict::run(arguments, ui),
        Command::Serve(arguments) => serve::run(arguments, ui),
        Command::Export(arguments) => export::run(arguments, ui),
        Command::Ensemble(arguments) => ensemble::run(arguments, ui),
        Command::Import(arguments) => import::run(arguments, ui),
        Command::Verify(arguments) => verify::run(arguments, ui),
        Command::VerifyResume(arguments) => verify_resume::run(arguments, ui),
        Command::Worker(arguments) => worker::run(arguments, ui),
        Command::Bench(arguments) => bench::run(arguments, ui),
        Command::Explain(arguments) => explain::run(arguments, ui),
        Command::Config(arguments) => config::run(arguments, ui),
        Command::Devices(arguments) => devices::run(arguments, ui),
        Command::Completions(arguments) => completions::run(arguments, ui),
        Command::Man(arguments) => man::run(arguments, ui),
    }
}

/// What threads of libraries said when they panicked: nobody else may hear of it.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Panics are caught where they can be answered, and reported as errors; the default hook would print them a second time,
/// in a form that nobody can use. Those of other threads are kept, and told at the end.
fn keep_panics() {
    if std::env::var_os("RUST_BACKTRACE").is_some() {
        return;
    }
    let main = std::thread::current().id();
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let mut kept = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.id() != main && kept.len() < 10 {
            let name = thread.name().unwrap_or("without a name").to_owned();
            let text = panic.payload_as_str().unwrap_or("no message");
            kept.push(format!("the thread `{name}` panicked: {text}"));
        }
    }));
}

/// Opens the device named on the command line of a command that computes on one; `what` says which: "`kiln eval` computes".
pub fn open_device(name: &str, what: &str) -> Result<device::Opened> {
    device::open_one(name.parse()?, what)
}

/// Refuses a config that asks for several devices where `what` happens on one.
pub fn require_one_device(experiment: &Experiment, what: &str) -> Result<()> {
    let request: device::Request = experiment.device.parse()?;
    match request.count() {
        1 => Ok(()),
        count => {
            let message = format!("device `{request}`: {what} on one device, got {count}");
            Err(Error::usage(message).tip(device::one_of(&request)))
        }
    }
}

/// The images of a config's `[data]`.
pub fn data_of(config: &str) -> Result<Dataset> {
    let experiment = Experiment::load(&Origin::find(config)?, &[])?;
    crate::data::open(&experiment.data, experiment.seed)
}

/// A result as JSON.
pub fn encode(value: &impl serde::Serialize) -> Result<serde_json::Value> {
    serde_json::to_value(value).map_err(|error| Error::failed("cannot encode the result").caused_by(error))
}

/// A probability of `--min-confidence`.
pub fn confidence(text: &str) -> std::result::Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("must be a number from 0 to 1, got `{text}`"))?;
    match (0.0..=1.0).contains(&value) {
        true => Ok(value),
        false => Err(format!("must be 0 to 1 (90 % is 0.9), got {text}")),
    }
}

/// Refuses, before anything is computed, a name that a page cannot have; `usage` shows how one is given.
pub fn check_page(path: &std::path::Path, usage: &str) -> Result<()> {
    let shown = path.display();
    let is_page = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("html"));
    if !is_page {
        return Err(Error::usage(format!("the name of a page must end in `.html`, got `{shown}`"))
            .tip(format!("give a config before the flag: {usage}")));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        Some(folder) if !folder.is_dir() => {
            Err(Error::usage(format!("cannot write `{shown}`: `{}` is not a folder", folder.display())))
        }
        _ if path.is_dir() => Err(Error::usage(format!("cannot write `{shown}`: it is a folder"))),
        _ => Ok(()),
    }
}

/// Parses where a server listens: an address, `localhost:8080`, or a port alone, which is one of this machine.
pub fn address(text: &str) -> std::result::Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text);
    let full = match text.rsplit_once(':') {
        _ if port.bytes().all(|byte| byte.is_ascii_digit()) && !port.is_empty() => format!("127.0.0.1:{port}"),
        Some((host, port)) if host.eq_ignore_ascii_case("localhost") => format!("127.0.0.1:{port}"),
        _ => text.to_owned(),
    };
    full.parse().map_err(|_| {
        format!("must be an address and a port (127.0.0.1:8080), or a port alone (8080, 0 to 65535), got `{text}`")
    })
}

/// Parses an accuracy that is demanded: 0 to 1.
pub fn accuracy(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(accuracy) if (0.0..=1.0).contains(&accuracy) => Ok(accuracy),
        Ok(percent) if percent > 1.0 && percent <= 100.0 => {
            Err(format!("must be 0 to 1, got {percent}; {percent} % is {}", percent / 100.0))
        }
        _ => Err(format!("must be a number from 0 to 1, got `{text}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_documented_and_consistent() {
        command().help_expected(true).debug_assert();
    }

    #[test]
    fn a_port_alone_is_one_of_this_machine() {
        for (text, expected) in [
            ("8080", "127.0.0.1:8080"),
            (":0", "127.0.0.1:0"),
            ("localhost:80", "127.0.0.1:80"),
            ("0.0.0.0:8080", "0.0.0.0:8080"),
            ("[::1]:1", "[::1]:1"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), expected);
        }
        for wrong in ["", ":", "99999", "localhost", "host:80", "127.0.0.1", "8080x"] {
            assert!(address(wrong).unwrap_err().contains(&format!("`{wrong}`")), "{wrong}");
        }
    }
}
