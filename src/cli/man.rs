//! `kiln man`: manual pages, made from the same definitions as `--help`.

use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man;

use super::ui::Ui;
use crate::{Error, Result};

/// The arguments of `kiln man`.
#[derive(Debug, clap::Args)]
pub struct ManArguments {
    /// The command whose page to print: train, runs ls; without one: kiln's own
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    command: Vec<String>,

    /// Write the pages of all commands into this folder: kiln.1, kiln-train.1, ...
    #[arg(long, short, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Prints one page, or writes all of them.
pub fn run(arguments: ManArguments, ui: &mut Ui) -> Result<()> {
    let mut kiln = super::command().disable_help_subcommand(true);
    // Names the subcommands as they are typed.
    kiln.build();
    if let Some(folder) = arguments.out {
        let written = write_all(&kiln, &folder)?;
        ui.say(&format!("wrote {written} pages to {}", folder.display()));
        return Ok(());
    }
    let mut command = &kiln;
    for word in &arguments.command {
        command = command.find_subcommand(word).ok_or_else(|| {
            Error::usage(format!("`{}` has no command `{word}`", command.get_display_name().unwrap_or("kiln")))
                .tip("`kiln --help` lists all commands")
        })?;
    }
    ui.out(String::from_utf8_lossy(&page(command)?).trim_end());
    Ok(())
}

fn page(command: &Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command.clone())
        .source(concat!("kiln ", env!("CARGO_PKG_VERSION")))
        .render(&mut page)
        .map_err(|error| Error::failed("the page cannot be made").caused_by(error))?;
    Ok(page)
}

/// Writes the pages of a command and all below it, and tells how many.
fn write_all(command: &Command, folder: &Path) -> Result<usize> {
    let cannot = |error| Error::failed(format!("cannot write into `{}`", folder.display())).caused_by(error);
    std::fs::create_dir_all(folder).map_err(cannot)?;
    let name = command.get_display_name().unwrap_or("kiln");
    std::fs::write(folder.join(format!("{name}.1")), page(command)?).map_err(cannot)?;
    command.get_subcommands().try_fold(1, |count, below| Ok(count + write_all(below, folder)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let mut kiln = crate::cli::command().disable_help_subcommand(true);
        kiln.build();
        let folder = tempfile::tempdir().unwrap();
        let written = write_all(&kiln, folder.path()).unwrap();
        assert!(written > 20, "{written}");
        let page = std::fs::read_to_string(folder.path().join("kiln-runs-ls.1")).unwrap();
        for part in [".TH kiln-runs-ls 1", ".SH SYNOPSIS", "kiln runs ls"] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }
}
