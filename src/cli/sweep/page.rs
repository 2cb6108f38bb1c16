//! The page of a finished sweep, in its folder.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::Result;
use crate::report::{SweepPage, sweep_page};
use crate::run::file;
use crate::sweep::{State, SweepFolder, SweepResult, importance};

/// Writes `report.html`; who concluded the sweep does not matter, the page is the same.
///
/// # Errors
/// When the sweep cannot be read or the page not be written.
pub fn write(folder: &SweepFolder, result: &SweepResult) -> Result<PathBuf> {
    let state = State::open(folder.clone())?;
    // By trial and rung: the epochs, and what each seed reached.
    let mut found: BTreeMap<(usize, usize), (usize, Vec<f64>)> = BTreeMap::new();
    for ((trial, _, rung), result) in state.reached() {
        let entry = found.entry((trial, rung)).or_default();
        entry.0 = entry.0.max(result.epochs);
        entry.1.extend(result.validation_accuracy);
    }
    let is_whole = |reached: &(usize, Vec<f64>)| reached.1.len() == result.seeds.len();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let reached: Vec<(usize, usize, usize, f64)> = found
        .iter()
        .filter(|(_, reached)| is_whole(reached))
        .map(|((trial, rung), (epochs, accuracies))| (*trial, *rung, *epochs, mean(accuracies)))
        .collect();
    // All trials come to the first rung, and only there can they be told apart fairly.
    let first = reached.iter().map(|(_, rung, ..)| *rung).min().unwrap_or(0);
    let scored: Vec<_> = result
        .trials
        .iter()
        .filter_map(|row| {
            let at_first = reached.iter().find(|(trial, rung, ..)| *trial == row.trial && *rung == first)?;
            Some((&row.values, at_first.3))
        })
        .collect();
    let page = SweepPage {
        result,
        importance: importance(&result.keys, &scored),
        reached: reached.iter().map(|(trial, _, epochs, accuracy)| (*trial, *epochs, *accuracy)).collect(),
        config: state.document.to_toml(),
    };
    let path = folder.path().join("report.html");
    file::write_atomic(&path, sweep_page(&page).as_bytes())?;
    Ok(path)
}
