//! `kiln data`: look at a data set before training on it.

use std::path::PathBuf;

use super::ExperimentArguments;
use super::ui::{Mode, Ui};
use crate::data::survey::Surveyed;
use crate::report::{self, SurveySheets};
use crate::run::file;
use crate::{Error, Result};

/// The arguments of `kiln data`.
#[derive(Debug, clap::Args)]
pub struct DataArguments {
    #[command(flatten)]
    experiment: ExperimentArguments,

    /// Write a page with pictures of every class, as they are and as training distorts them
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,

    /// Draw pictures of every class in the terminal, 3 or as many as given
    #[arg(long, value_name = "COUNT", num_args = 0..=1, require_equals = true, default_missing_value = "3")]
    pictures: Option<usize>,
}

/// Prints what is in the data set, and writes the page if one is asked for. Files that training would refuse are
/// refused at the end, when everything has been shown.
pub fn run(arguments: DataArguments, ui: &mut Ui) -> Result<()> {
    let experiment = arguments.experiment.load(ui)?;
    let (config, seed) = (&experiment.data, experiment.seed);
    let surveyed = Surveyed::open(config, seed)?;
    let survey = &surveyed.survey;
    if ui.mode() == Mode::Json {
        let value =
            serde_json::to_value(survey).map_err(|error| Error::failed("cannot encode the survey").caused_by(error))?;
        ui.json(&value);
    } else {
        ui.out(&report::survey(survey));
    }
    if let Some(most) = arguments.pictures {
        ui.say(&format!("\n{}", report::examples(&surveyed, &config.augment, seed, most, ui.has_colour())));
    }
    for warning in &survey.warnings {
        ui.warn(warning);
    }
    if let Some(path) = &arguments.out {
        let sheets = SurveySheets::new(&surveyed, &config.augment, seed)?;
        let page = report::survey_page(&format!("The data of {}", experiment.name), survey, &sheets);
        file::write_atomic(path, page.as_bytes())?;
        ui.say(&format!("\nwrote {}", path.display()));
    }
    survey.unreadable.check()
}
