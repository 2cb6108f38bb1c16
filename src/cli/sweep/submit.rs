//! `kiln sweep submit`: the workers of a sweep, handed to an engine that starts them elsewhere.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::engine::{Call, Engine, Submission};
use super::{NewSweepArguments, WorkerArguments, announce, prepare, work};
use crate::cli::ui::{Mode, Ui};
use crate::sweep::{State, SweepFolder};
use crate::{Error, Result};

/// The most workers that are asked for where nobody says how many.
const MOST: usize = 16;

/// The arguments of `kiln sweep submit`. In place of a config, the folder of a sweep may be named.
#[derive(Debug, clap::Args)]
pub struct SubmitArguments {
    #[command(flatten)]
    new: NewSweepArguments,

    /// Who starts the workers
    #[arg(long, value_enum)]
    engine: Engine,

    /// So many workers; without it: one for each run that is to be trained now, at most 16, and with the engine `local` one for
    /// each core
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,

    /// Threads of each worker
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,

    /// Print what the engine would be called with, and submit nothing
    #[arg(long)]
    print: bool,

    /// What else the engine's command is to be given: -- --partition=gpu --time=2:00:00
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

/// Hands the workers over.
pub fn submit(arguments: SubmitArguments, ui: &Ui) -> Result<()> {
    let folder = match named_folder(&arguments.new)? {
        Some(folder) => folder,
        None => prepare(&arguments.new, ui)?,
    };
    if folder.result()?.is_some() {
        return Err(Error::usage(format!("`{}` is finished: there is nothing to do", folder.path().display()))
            .tip(format!("look at it: kiln sweep show {}", folder.path().display())));
    }
    let mut state = State::open(folder.clone())?;
    announce(&state, ui);
    if arguments.engine == Engine::Local {
        if !arguments.arguments.is_empty() {
            return Err(Error::usage("the engine `local` takes no arguments after `--`"));
        }
        return work(&state, WorkerArguments { workers: arguments.workers }, ui);
    }
    let due = state.refresh()?.jobs.len().clamp(1, MOST);
    let call = call(&arguments, &folder, arguments.workers.map_or(due, usize::from))?;
    if arguments.print {
        ui.out(&call.shown());
        return Ok(());
    }
    // Where the engine puts what the workers say.
    let logs = folder.path().join("engine");
    std::fs::create_dir_all(&logs)
        .map_err(|error| Error::failed(format!("cannot make `{}`", logs.display())).caused_by(error))?;
    let said = call.run()?;
    let path = folder.path().display();
    match ui.mode() {
        Mode::Json => ui.json(&json!({ "folder": folder.path(), "engine": call.words[0], "said": said })),
        Mode::Quiet => ui.out(&path.to_string()),
        Mode::Text => {
            ui.say(&format!("{:<15}{said}", call.words[0]));
            ui.aside(&format!("next           kiln sweep show {path}"));
        }
    }
    Ok(())
}

/// The sweep whose folder stands where a config may.
fn named_folder(new: &NewSweepArguments) -> Result<Option<SweepFolder>> {
    let Some(path) = new.experiment.config.as_deref().map(Path::new).filter(|path| path.is_dir()) else {
        return Ok(None);
    };
    let asked = &new.experiment;
    let is_changed = !asked.changes()?.is_empty() || asked.device.is_some() || asked.seed.is_some();
    if is_changed || !new.over.is_empty() || new.seeds.is_some() {
        return Err(Error::usage(format!(
            "`{}` is a sweep that has begun, and cannot be changed any more",
            path.display()
        ))
        .tip("leave out --set, --over, --seeds, --seed and --device, or name a config for a new sweep"));
    }
    SweepFolder::open(path).map(Some)
}

fn call(arguments: &SubmitArguments, folder: &SweepFolder, workers: usize) -> Result<Call> {
    let program = crate::cli::program()?;
    let absolute = |path: &Path| -> Result<PathBuf> {
        std::path::absolute(path)
            .map_err(|error| Error::failed(format!("cannot find `{}`", path.display())).caused_by(error))
    };
    let submission = Submission {
        program,
        folder: absolute(folder.path())?,
        name: folder.name(),
        workers,
        threads: usize::from(arguments.threads),
        arguments: arguments.arguments.clone(),
    };
    Ok(if arguments.engine == Engine::Slurm { submission.slurm() } else { submission.hyperqueue() })
}
