//! `kiln resume`: a run that was stopped, killed or failed goes on exactly where it stopped.

use std::path::PathBuf;

use super::seeds;
use super::train::{DisplayArguments, follow};
use super::ui::Ui;
use crate::config::Experiment;
use crate::config::document::Origin;
use crate::lifecycle::{ResumeOptions, Run};
use crate::{Error, Result};

/// The arguments of `kiln resume`.
#[derive(Debug, clap::Args)]
pub struct ResumeArguments {
    /// A run: its directory, its number, or latest, or the folder of a set of seeds: then each of its runs that is not finished
    #[arg(value_name = "RUN", value_parser = super::run_parser(), add = super::completions::runs())]
    run: PathBuf,

    #[command(flatten)]
    choices: ResumeChoices,

    #[command(flatten)]
    display: DisplayArguments,
}

/// How an earlier run goes on: shared by `resume` and `extend`.
#[derive(Debug, clap::Args)]
pub struct ResumeChoices {
    /// Refuse unless the run's config is this one
    #[arg(long, value_name = "CONFIG")]
    config: Option<String>,

    /// Compute here instead of where the run was trained; the weights then differ from an uninterrupted run's
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,

    /// Go on when the best epoch's weights are lost, and look for the best among the newest epoch and those to come
    #[arg(long)]
    forget_best: bool,
}

impl ResumeChoices {
    /// Whether one was made.
    fn is_any(&self) -> bool {
        self.config.is_some() || self.device.is_some() || self.forget_best
    }

    /// The same for the library.
    pub fn options(self) -> Result<ResumeOptions> {
        let expected = match &self.config {
            Some(config) => Some(Experiment::load(&Origin::find(config)?, &[])?),
            None => None,
        };
        Ok(ResumeOptions { device: self.device, expected, forget_best: self.forget_best })
    }
}

/// Goes on with a run.
pub fn run(arguments: ResumeArguments, ui: &mut Ui) -> Result<()> {
    arguments.display.check(ui)?;
    if seeds::is_set(&arguments.run) {
        if arguments.choices.is_any() {
            return Err(Error::usage(format!(
                "`{}` is a set of seeds, and is resumed as it was begun",
                arguments.run.display()
            ))
            .tip("choices such as --device are for a single run: kiln resume RUN --device …"));
        }
        return seeds::resume(&arguments.run, &arguments.display, ui);
    }
    let options = arguments.choices.options()?;
    follow(Run::open(&arguments.run)?.resume_with(&options)?, &arguments.display, ui)
}
