//! `kiln completions`: a completion script for a shell.

use super::ui::Ui;
use crate::Result;

/// The arguments of `kiln completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionsArguments {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Prints the script.
pub fn run(arguments: CompletionsArguments, ui: &mut Ui) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::command(), "kiln", &mut script);
    ui.out(String::from_utf8_lossy(&script).trim_end());
    Ok(())
}
