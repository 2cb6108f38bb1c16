//! Where it all came from: config, versions, data, digests.

use maud::{Markup, html};

use crate::report::content::Report;

pub(super) fn section(report: &Report) -> Markup {
    let record = &report.record;
    let unknown = || "unknown".to_owned();
    let facts = [
        ("kiln", record.kiln_version.clone()),
        ("Burn", record.burn_version.clone()),
        ("commit", record.git_commit.clone().unwrap_or_else(unknown)),
        ("device", record.device.clone()),
        ("kernels", record.kernels.clone().unwrap_or_else(unknown)),
        ("threads", record.threads.to_string()),
        ("seed", record.seed.to_string()),
        ("begun with", record.parent.clone().unwrap_or_else(|| "weights drawn from the seed".to_owned())),
        ("SHA-256 of the data", record.data_fingerprint.clone()),
        (
            "SHA-256 of the weights",
            report.weights_sha256.clone().unwrap_or_else(|| "no weights are kept yet".to_owned()),
        ),
    ];
    html! {
        dl { @for (key, value) in &facts { dt { (key) } dd { (value) } } }
        @if !record.history.is_empty() { ul { @for line in &record.history { li { (line) } } } }
        details open { summary { "config.toml" } pre tabindex="0" aria-label="config.toml" { (report.config) } }
    }
}
