//! `kiln tune`: a good value of a key, looked for before training. It writes nothing but the page that is asked for.

use std::path::PathBuf;

use super::ui::{Mode, Ui};
use super::{ExperimentArguments, check_page, encode};
use crate::Result;
use crate::lifecycle::Trainer;
use crate::report::{self, RangeTest};
use crate::run::file;
use crate::train::range_test::{self, Range};

/// The widths that are drawn for.
const WIDTHS: std::ops::RangeInclusive<usize> = 40..=120;

/// The arguments of `kiln tune`.
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct TuneArguments {
    #[command(subcommand)]
    command: TuneCommand,
}

#[derive(Debug, clap::Subcommand)]
enum TuneCommand {
    /// Find a learning rate: a short run in which it rises until training falls apart (Smith, 2017)
    Lr(LrArguments),
}

/// The arguments of `kiln tune lr`.
#[derive(Debug, clap::Args)]
pub struct LrArguments {
    #[command(flatten)]
    experiment: ExperimentArguments,

    /// The rate to begin with
    #[arg(long, value_name = "RATE", default_value_t = 1e-6)]
    from: f64,

    /// The rate to end with, unless training diverges before
    #[arg(long, value_name = "RATE", default_value_t = 1.0)]
    to: f64,

    /// Updates of the parameters, each at a higher rate
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = clap::value_parser!(u32).range(50..=100_000))]
    updates: u32,

    /// Write the curve on a page as well
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
}

/// Runs the test that was asked for.
pub fn run(arguments: TuneArguments, ui: &mut Ui) -> Result<()> {
    match arguments.command {
        TuneCommand::Lr(arguments) => learning_rate(&arguments, ui),
    }
}

fn learning_rate(arguments: &LrArguments, ui: &Ui) -> Result<()> {
    arguments.out.as_deref().map_or(Ok(()), |path| check_page(path, "kiln tune lr CONFIG --out FILE.html"))?;
    let trainer = Trainer::new(arguments.experiment.load(ui)?)?;
    for warning in trainer.warnings() {
        ui.warn(warning);
    }
    let range = Range { min: arguments.from, max: arguments.to, updates: arguments.updates as usize };
    let bar = ui.bar("training briefly", range.updates);
    let test = range_test::run(&trainer.session(), range, &mut |done| bar.set_position(done as u64));
    bar.finish_and_clear();
    let test = test?;
    let next = test.suggestion.map(|rate| next(&arguments.experiment, rate));
    say(&test, next.as_deref(), ui);
    if let Some(path) = &arguments.out {
        let page = report::range_test_page(&test, &trainer.experiment().to_toml(), next.as_deref());
        file::write_atomic(path, page.as_bytes())?;
        ui.say(&format!("wrote          {}", path.display()));
    }
    match ui.mode() {
        Mode::Json => ui.json(&encode(&test)?),
        Mode::Quiet => ui.out(&test.suggestion.map_or_else(|| "none".to_owned(), |rate| rate.to_string())),
        Mode::Text => {}
    }
    Ok(())
}

fn say(test: &RangeTest, next: Option<&str>, ui: &Ui) {
    let width = ui.width().clamp(*WIDTHS.start(), *WIDTHS.end());
    ui.say(&report::range_curve(test, width, ui.has_colour()));
    ui.say("");
    for (label, says) in test.verdict() {
        ui.say(&format!("{label:<15}{says}"));
    }
    match (test.suggestion, next) {
        (Some(rate), Some(next)) => {
            ui.heading(&format!("suggested      {rate}"));
            ui.aside(&format!("next           {next}"));
        }
        _ => ui.warn("no rate is suggested: the loss did not fall; look at the network and the data with --overfit-batches 1, or widen the range with --to"),
    }
}

/// The command that trains the same config with `rate`.
fn next(experiment: &ExperimentArguments, rate: f64) -> String {
    let mut words = vec!["kiln train".to_owned()];
    words.extend(experiment.command_line("optimizer.learning_rate"));
    words.push(format!("--learning-rate {rate}"));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_command_keeps_what_was_asked_for_but_the_rate() {
        let sets = vec!["optimizer.learning_rate=1".into(), "model.hidden=[10, 20]".into()];
        let experiment =
            ExperimentArguments { seed: Some(3), ..ExperimentArguments::of("my config.toml".into(), sets) };
        let expected = "kiln train 'my config.toml' --set 'model.hidden=[10, 20]' --seed 3 --learning-rate 0.0012";
        assert_eq!(next(&experiment, 0.0012), expected);
    }
}
