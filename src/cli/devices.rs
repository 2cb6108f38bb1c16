//! `kiln devices`: the backends of this build, the adapters of this machine, and what `auto` would choose.

use serde_json::json;

use super::ui::{Mode, Ui};
use crate::Result;
use crate::device::{self, Backend, Request};

/// The arguments of `kiln devices`.
#[derive(Debug, clap::Args)]
pub struct DevicesArguments {}

/// Lists them.
pub fn run(_arguments: DevicesArguments, ui: &mut Ui) -> Result<()> {
    let chosen = device::open(Request::Auto)?;
    let mut rows = Vec::new();
    let mut values = Vec::new();
    for backend in Backend::ALL {
        let compiled = backend.is_compiled();
        let adapters = if compiled { device::adapters(backend) } else { Vec::new() };
        let names: Vec<String> = adapters
            .iter()
            .map(|adapter| {
                let software = if adapter.software { " (software: only by name)" } else { "" };
                format!("{backend}:{} {}{software}", adapter.index, adapter.name)
            })
            .collect();
        let state = match (compiled, backend.is_cpu()) {
            (false, _) => format!("not in this build; add --features {backend}"),
            (true, true) => "the CPU".to_owned(),
            (true, false) if names.is_empty() => "no adapter found".to_owned(),
            (true, false) => names.join(", "),
        };
        rows.push(format!("{:<8} {state}", backend.name()));
        values.push(json!({
            "backend": backend.name(),
            "compiled": compiled,
            "adapters": adapters.iter().map(|adapter| json!({
                "name": adapter.name, "device": format!("{backend}:{}", adapter.index), "software": adapter.software,
            })).collect::<Vec<_>>(),
        }));
    }
    rows.push(
        "remote   a kiln worker on another machine, beside a device of this one: flex,remote:HOST:PORT".to_owned(),
    );
    if ui.mode() == Mode::Json {
        ui.json(&json!({ "auto": chosen.name, "reason": chosen.reason, "backends": values }));
    } else {
        ui.out(&rows.join("\n"));
        ui.out(&format!("\nauto chooses {}", chosen.reason));
    }
    Ok(())
}
