//! Backends by name: what is compiled in, which adapters are there, and opening one. Outside `ops`, the only
//! room that looks at the backend features.

mod address;
mod kernels;
mod request;

use std::fmt;

use burn::tensor::Device;

pub use address::WorkerAddress;
pub use kernels::kernel_cache;
pub use request::Request;

use crate::{Error, Result};

/// The backends, the fastest first: the order in which `auto` looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// NVIDIA GPUs.
    Cuda,
    /// AMD GPUs.
    Rocm,
    /// Apple GPUs.
    Metal,
    /// GPUs through Vulkan.
    Vulkan,
    /// GPUs through whatever graphics API the machine has.
    Wgpu,
    /// The CPU, with the `ndarray` crate.
    Ndarray,
    /// The CPU, with Burn's own fast backend; always there.
    Flex,
}

impl Backend {
    /// All of them, in the order of `auto`.
    pub const ALL: [Self; 7] =
        [Self::Cuda, Self::Rocm, Self::Metal, Self::Vulkan, Self::Wgpu, Self::Ndarray, Self::Flex];

    /// The name in configs and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cuda => "cuda",
            Self::Rocm => "rocm",
            Self::Metal => "metal",
            Self::Vulkan => "vulkan",
            Self::Wgpu => "wgpu",
            Self::Ndarray => "ndarray",
            Self::Flex => "flex",
        }
    }

    /// Whether this build has it.
    pub fn is_compiled(self) -> bool {
        match self {
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Rocm => cfg!(feature = "rocm"),
            Self::Metal => cfg!(feature = "metal"),
            Self::Vulkan => cfg!(feature = "vulkan"),
            Self::Wgpu => cfg!(feature = "wgpu"),
            Self::Ndarray => cfg!(feature = "ndarray"),
            Self::Flex => true,
        }
    }

    /// Whether it computes on the CPU in this process, where reading a value back costs nothing.
    pub fn is_cpu(self) -> bool {
        matches!(self, Self::Ndarray | Self::Flex)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One adapter of a backend.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// Its place in the backend's list: the N of `wgpu:N`.
    pub index: usize,
    /// What the driver calls it.
    pub name: String,
    /// Computes on the CPU (lavapipe, for one): never chosen by `auto`.
    pub software: bool,
    device: Device,
}

/// A device ready for use, and those that share its work.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The device, without autodiff; of several the main one.
    pub device: Device,
    /// Where several were asked for, all but the main one, in their order.
    pub others: Vec<Device>,
    /// Workers on other machines that share its work, in their order.
    pub workers: Vec<WorkerAddress>,
    /// Its backend.
    pub backend: Backend,
    /// As it is written in configs: `flex`, `wgpu:1`, `cuda:0,cuda:1`.
    pub name: String,
    /// One line for the user: what was chosen and why.
    pub reason: String,
}

impl Opened {
    /// How many devices work together.
    pub fn count(&self) -> usize {
        1 + self.others.len() + self.workers.len()
    }
}

/// The adapters of a backend in this build; none when there is no driver, no hardware, or it is not compiled in.
pub fn adapters(backend: Backend) -> Vec<Adapter> {
    // Drivers are foreign code: a panic while they are asked for their adapters means that none can be used.
    let devices = std::panic::catch_unwind(|| enumerate(backend)).unwrap_or_default();
    devices
        .into_iter()
        .enumerate()
        .map(|(index, device)| {
            let name = describe(&device).unwrap_or_else(|| format!("{device:?}"));
            Adapter { index, software: is_software(&device), name, device }
        })
        .collect()
}

fn enumerate(backend: Backend) -> Vec<Device> {
    #[cfg(any(feature = "wgpu", feature = "cuda", feature = "rocm"))]
    use burn::tensor::DeviceType;
    #[cfg(any(feature = "wgpu", feature = "cuda", feature = "rocm"))]
    kernels::cubecl::keep();
    match backend {
        #[cfg(feature = "cuda")]
        Backend::Cuda => Device::enumerate(DeviceType::Cuda).into_vec(),
        #[cfg(feature = "rocm")]
        Backend::Rocm => Device::enumerate(DeviceType::Rocm).into_vec(),
        #[cfg(feature = "metal")]
        Backend::Metal => Device::enumerate(DeviceType::Metal).into_vec(),
        #[cfg(feature = "vulkan")]
        Backend::Vulkan => Device::enumerate(DeviceType::Vulkan).into_vec(),
        #[cfg(feature = "wgpu")]
        Backend::Wgpu => Device::enumerate(DeviceType::Wgpu).into_vec(),
        _ => Vec::new(),
    }
}

/// Whether it is a rasteriser on the CPU: Burn gives all of a graphics API's the device kind `Cpu`.
fn is_software(device: &Device) -> bool {
    #[cfg(feature = "wgpu")]
    use burn::tensor::DeviceKind;
    let rasterisers: &[Device] = &[
        #[cfg(feature = "wgpu")]
        Device::wgpu(DeviceKind::Cpu),
        #[cfg(feature = "vulkan")]
        Device::vulkan(DeviceKind::Cpu),
        #[cfg(feature = "metal")]
        Device::metal(DeviceKind::Cpu),
    ];
    rasterisers.contains(device)
}

#[cfg(any(feature = "wgpu", feature = "cuda", feature = "rocm"))]
fn describe(device: &Device) -> Option<String> {
    let device = device.clone();
    let identity = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| device.identity()));
    identity.ok().flatten().map(|identity| identity.name)
}

#[cfg(not(any(feature = "wgpu", feature = "cuda", feature = "rocm")))]
fn describe(_device: &Device) -> Option<String> {
    None
}

#[cfg_attr(
    feature = "ndarray",
    expect(deprecated, reason = "ndarray stays kiln's second CPU backend for as long as Burn ships it")
)]
fn cpu(backend: Backend) -> Option<Device> {
    match backend {
        Backend::Flex => Some(Device::flex()),
        #[cfg(feature = "ndarray")]
        Backend::Ndarray => Some(Device::from(burn_ndarray::NdArrayDevice::Cpu)),
        _ => None,
    }
}

/// Opens what was asked for; nobody connects to a worker yet.
///
/// # Errors
/// When a backend asked for by name is not in this build or has no such adapter; never a silent fall-back.
pub fn open(request: Request) -> Result<Opened> {
    match request {
        Request::Auto => Ok(choose()),
        Request::Named(backend, index) => named(backend, index),
        Request::First(backend, count) => first(backend, count),
        Request::Listed(backend, indices) => listed(backend, &indices),
        Request::WithWorkers(here, workers) => {
            let opened = open(*here)?;
            let request = Request::WithWorkers(Box::new(opened.name.parse()?), workers.clone());
            let words: Vec<String> = workers.iter().map(|worker| format!("the worker at {worker}")).collect();
            let here = opened.reason.split(": each batch").next().unwrap_or_default();
            Ok(Opened {
                name: request.to_string(),
                reason: format!("{here}, and {}: each batch is shared out among them", words.join(", ")),
                workers,
                ..opened
            })
        }
    }
}

/// Opens the one device that was asked for.
///
/// # Errors
/// As [`open`], and when several were asked for: `what` computes on one.
pub fn open_one(request: Request, what: &str) -> Result<Opened> {
    match request.count() {
        1 => open(request),
        count => {
            Err(Error::usage(format!("device `{request}`: {what} on one device, got {count}")).tip(one_of(&request)))
        }
    }
}

/// How the first of several devices is asked for by itself.
pub fn one_of(request: &Request) -> String {
    let first = match request {
        Request::Auto => Request::Auto,
        Request::Named(backend, index) => Request::Named(*backend, *index),
        Request::First(backend, _) => Request::Named(*backend, None),
        Request::Listed(backend, indices) => Request::Named(*backend, indices.first().copied()),
        Request::WithWorkers(here, _) => return one_of(here),
    };
    format!("give one: --device {first}")
}

fn choose() -> Opened {
    let mut missing = Vec::new();
    for backend in Backend::ALL.into_iter().filter(|backend| backend.is_compiled()) {
        if let Some(device) = cpu(backend) {
            let reason = match (backend, missing.as_slice()) {
                (Backend::Flex, []) => "flex (CPU), the only backend of this build".to_owned(),
                (_, []) => format!("{backend} (CPU): its feature is in this build"),
                (_, missing) => format!("{backend} (CPU): found no hardware adapter for {}", missing.join(", ")),
            };
            return Opened {
                device,
                others: Vec::new(),
                workers: Vec::new(),
                backend,
                name: backend.name().into(),
                reason,
            };
        }
        match adapters(backend).into_iter().find(|adapter| !adapter.software) {
            Some(adapter) => {
                let reason = format!("{backend}:{} ({}): the first hardware adapter", adapter.index, adapter.name);
                let name = format!("{backend}:{}", adapter.index);
                return Opened {
                    device: adapter.device,
                    others: Vec::new(),
                    workers: Vec::new(),
                    backend,
                    name,
                    reason,
                };
            }
            None => missing.push(backend.name()),
        }
    }
    unreachable!("flex is in every build and comes last")
}

fn require_compiled(backend: Backend) -> Result<()> {
    if backend.is_compiled() {
        return Ok(());
    }
    Err(Error::usage(format!("device `{backend}` is not in this build"))
        .tip(format!("build it in: cargo run --features {backend} -- …"))
        .tip("`kiln devices` lists what this build has"))
}

fn named(backend: Backend, index: Option<usize>) -> Result<Opened> {
    require_compiled(backend)?;
    if let Some(device) = cpu(backend) {
        return Ok(Opened {
            device,
            others: Vec::new(),
            workers: Vec::new(),
            backend,
            name: backend.name().into(),
            reason: format!("{backend} (CPU), as asked"),
        });
    }
    let mut found = adapters(backend);
    let position = match index {
        Some(index) => index,
        None => found.iter().position(|adapter| !adapter.software).unwrap_or(0),
    };
    if position >= found.len() {
        return Err(missing(backend, index, found.len()));
    }
    let adapter = found.swap_remove(position);
    Ok(Opened {
        device: adapter.device,
        others: Vec::new(),
        workers: Vec::new(),
        backend,
        name: format!("{backend}:{}", adapter.index),
        reason: format!("{backend}:{} ({}), as asked", adapter.index, adapter.name),
    })
}

/// Why there is no such adapter among the `count` that there are.
fn missing(backend: Backend, index: Option<usize>, count: usize) -> Error {
    let what = match (index, count) {
        (Some(index), 1..) => format!("device `{backend}:{index}`: there are {count} adapters, 0 to {}", count - 1),
        _ => format!("device `{backend}`: no adapter found on this machine"),
    };
    Error::usage(what).tip("`kiln devices` lists what is there; `--device flex` computes on the CPU")
}

/// `count` times the CPU, or the first adapters of a backend that has some.
fn first(backend: Backend, count: usize) -> Result<Opened> {
    require_compiled(backend)?;
    if let Some(device) = cpu(backend) {
        return Ok(Opened {
            others: vec![device.clone(); count - 1],
            workers: Vec::new(),
            device,
            backend,
            name: Request::First(backend, count).to_string(),
            reason: format!("{backend} (CPU) {count} times, as asked: each batch is shared out among them"),
        });
    }
    let found = adapters(backend);
    let hardware: Vec<usize> =
        found.iter().filter(|adapter| !adapter.software).map(|adapter| adapter.index).take(count).collect();
    if hardware.len() < count {
        let request = Request::First(backend, count);
        let software = found.len() - found.iter().filter(|adapter| !adapter.software).count();
        let besides = if software > 0 { format!(" besides {software} in software") } else { String::new() };
        return Err(Error::usage(format!("device `{request}`: found {} hardware adapters{besides}", hardware.len()))
            .tip("`kiln devices` lists what is there"));
    }
    listed(backend, &hardware)
}

/// These adapters of a backend.
fn listed(backend: Backend, indices: &[usize]) -> Result<Opened> {
    require_compiled(backend)?;
    let found = adapters(backend);
    if let Some(index) = indices.iter().find(|index| **index >= found.len()) {
        return Err(missing(backend, Some(*index), found.len()));
    }
    let mut chosen = indices.iter().map(|index| &found[*index]);
    let Some(main) = chosen.next() else { return Err(missing(backend, None, found.len())) };
    let name = Request::Listed(backend, indices.to_vec()).to_string();
    let names: Vec<_> = indices.iter().map(|index| format!("{backend}:{index} ({})", found[*index].name)).collect();
    Ok(Opened {
        device: main.device.clone(),
        others: chosen.map(|adapter| adapter.device.clone()).collect(),
        workers: Vec::new(),
        backend,
        name,
        reason: format!("{}, as asked: each batch is shared out among them", names.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flex_is_always_there() {
        assert_eq!(open(Request::Named(Backend::Flex, None)).unwrap().name, "flex");
        assert!(!open(Request::Auto).unwrap().reason.is_empty());
    }

    #[test]
    fn a_cpu_can_be_named_several_times_and_is_one_where_one_computes() {
        let opened = open("flex*3".parse().unwrap()).unwrap();
        assert_eq!((opened.name.as_str(), opened.others.len()), ("flex*3", 2));
        assert!(opened.others.iter().all(|other| *other == opened.device));
        let refused = open_one("flex*3".parse().unwrap(), "`kiln eval` computes").unwrap_err();
        insta::assert_snapshot!(refused.render(), @r"
        error: device `flex*3`: `kiln eval` computes on one device, got 3
        tip: give one: --device flex
        ");
    }

    #[test]
    fn workers_are_named_and_not_asked() {
        let opened = open("flex,remote:gpu-2:7000".parse().unwrap()).unwrap();
        assert_eq!((opened.name.as_str(), opened.count()), ("flex,remote:gpu-2:7000", 2));
        assert_eq!(
            opened.reason,
            "flex (CPU), as asked, and the worker at gpu-2:7000: each batch is shared out among them"
        );
        let refused = open_one("flex,remote:gpu-2:7000".parse().unwrap(), "`kiln serve` computes").unwrap_err();
        assert!(
            refused.render().ends_with("on one device, got 2\ntip: give one: --device flex"),
            "{}",
            refused.render()
        );
    }

    #[test]
    fn adapters_that_are_not_there_are_no_devices() {
        for name in ["cuda*2", "cuda:0,cuda:1"] {
            let error = open(name.parse().unwrap()).unwrap_err().render();
            assert!(error.contains("is not in this build") || error.contains("device `cuda"), "{error}");
        }
    }
}
