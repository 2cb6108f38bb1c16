//! `kiln plan`: the arithmetic of a config, without training.

use super::ExperimentArguments;
use super::ui::{Mode, Ui};
use crate::lifecycle::{open_data, plan};
use crate::{Error, Result};

/// The arguments of `kiln plan`.
#[derive(Debug, clap::Args)]
pub struct PlanArguments {
    #[command(flatten)]
    experiment: ExperimentArguments,
}

/// Prints the plan.
pub fn run(arguments: PlanArguments, ui: &mut Ui) -> Result<()> {
    let experiment = arguments.experiment.load(ui)?;
    let dataset = open_data(&experiment)?;
    let plan = plan(&experiment, &dataset)?;
    if ui.mode() == Mode::Json {
        let value =
            serde_json::to_value(&plan).map_err(|error| Error::failed("cannot encode the plan").caused_by(error))?;
        ui.json(&value);
    } else {
        ui.out(&ui.folded(&plan.render()));
    }
    for warning in plan.warnings.iter().chain(&dataset.notices) {
        ui.warn(warning);
    }
    Ok(())
}
