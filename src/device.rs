//! Backends by name: what is compiled in, which adapters are there, and opening one. Outside `ops`, the only
//! file that looks at the backend features.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;

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

/// A device as the user asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The fastest backend of this build that has a hardware adapter.
    Auto,
    /// This backend, and this one of its adapters; none given: its first hardware adapter, else its first.
    Named(Backend, Option<usize>),
}

impl FromStr for Request {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let (name, index) = match text.split_once(':') {
            Some((name, index)) => (name, Some(index)),
            None => (text, None),
        };
        let names = Backend::ALL.map(Backend::name);
        let Some(backend) = Backend::ALL.into_iter().find(|backend| backend.name() == name) else {
            let error =
                Error::usage(format!("device `{text}`: found `{name}`, allowed are auto, {}", names.join(", ")));
            let nearest = names
                .into_iter()
                .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
            return Err(match nearest.filter(|near| strsim::jaro_winkler(near, name) > 0.8) {
                Some(near) => error.tip(format!("did you mean `{near}`?")),
                None => error,
            });
        };
        match index.map(str::parse) {
            None => Ok(Self::Named(backend, None)),
            Some(Ok(_)) if backend.is_cpu() => {
                Err(Error::usage(format!("device `{text}`: {name} has no adapters to choose from"))
                    .tip(format!("use `{name}`")))
            }
            Some(Ok(index)) => Ok(Self::Named(backend, Some(index))),
            Some(Err(_)) => {
                Err(Error::usage(format!("device `{text}`: the adapter must be a number from 0 up, as in `{name}:0`")))
            }
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Named(backend, None) => write!(f, "{backend}"),
            Self::Named(backend, Some(index)) => write!(f, "{backend}:{index}"),
        }
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

/// A device ready for use.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The device, without autodiff.
    pub device: Device,
    /// Its backend.
    pub backend: Backend,
    /// As it is written in configs: `flex`, `wgpu:1`.
    pub name: String,
    /// One line for the user: what was chosen and why.
    pub reason: String,
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

/// Where what was found by tuning kernels is kept from run to run; none in a build without a GPU backend.
#[cfg(any(feature = "wgpu", feature = "cuda", feature = "rocm"))]
pub fn kernel_cache() -> Option<std::path::PathBuf> {
    use burn::cubecl::config::{CubeClRuntimeConfig, RuntimeConfig as _};
    Some(CubeClRuntimeConfig::get().environment.path.root())
}

/// Where what was found by tuning kernels is kept from run to run; none in a build without a GPU backend.
#[cfg(not(any(feature = "wgpu", feature = "cuda", feature = "rocm")))]
pub fn kernel_cache() -> Option<std::path::PathBuf> {
    None
}

fn enumerate(backend: Backend) -> Vec<Device> {
    #[cfg(any(feature = "wgpu", feature = "cuda", feature = "rocm"))]
    use burn::tensor::DeviceType;
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

/// Opens what was asked for.
///
/// # Errors
/// When a backend asked for by name is not in this build or has no such adapter; never a silent fall-back.
pub fn open(request: Request) -> Result<Opened> {
    match request {
        Request::Auto => Ok(choose()),
        Request::Named(backend, index) => named(backend, index),
    }
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
            return Opened { device, backend, name: backend.name().into(), reason };
        }
        match adapters(backend).into_iter().find(|adapter| !adapter.software) {
            Some(adapter) => {
                let reason = format!("{backend}:{} ({}): the first hardware adapter", adapter.index, adapter.name);
                let name = format!("{backend}:{}", adapter.index);
                return Opened { device: adapter.device, backend, name, reason };
            }
            None => missing.push(backend.name()),
        }
    }
    unreachable!("flex is in every build and comes last")
}

fn named(backend: Backend, index: Option<usize>) -> Result<Opened> {
    if !backend.is_compiled() {
        return Err(Error::usage(format!("device `{backend}` is not in this build"))
            .tip(format!("build it in: cargo run --features {backend} -- …"))
            .tip("`kiln devices` lists what this build has"));
    }
    if let Some(device) = cpu(backend) {
        return Ok(Opened {
            device,
            backend,
            name: backend.name().into(),
            reason: format!("{backend} (CPU), as asked"),
        });
    }
    let mut found = adapters(backend);
    let position = match index {
        Some(index) => (index < found.len()).then_some(index),
        None => found.iter().position(|adapter| !adapter.software).or((!found.is_empty()).then_some(0)),
    };
    let Some(position) = position else {
        let what = match (index, found.len()) {
            (_, 0) => format!("device `{backend}`: no adapter found on this machine"),
            (Some(index), n) => format!("device `{backend}:{index}`: there are {n} adapters, 0 to {}", n - 1),
            (None, _) => unreachable!("without an index any adapter will do"),
        };
        return Err(Error::usage(what).tip("`kiln devices` lists what is there; `--device flex` computes on the CPU"));
    };
    let adapter = found.swap_remove(position);
    Ok(Opened {
        device: adapter.device,
        backend,
        name: format!("{backend}:{}", adapter.index),
        reason: format!("{backend}:{} ({}), as asked", adapter.index, adapter.name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_round_trip_through_their_text() {
        for text in ["auto", "flex", "ndarray", "wgpu", "wgpu:1", "cuda:0"] {
            assert_eq!(text.parse::<Request>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_names_there_are() {
        let error = "cdua".parse::<Request>().unwrap_err();
        insta::assert_snapshot!(error.render(), @r"
        error: device `cdua`: found `cdua`, allowed are auto, cuda, rocm, metal, vulkan, wgpu, ndarray, flex
        tip: did you mean `cuda`?
        ");
        assert!("flex:1".parse::<Request>().is_err());
        assert!("wgpu:x".parse::<Request>().is_err());
    }

    #[test]
    fn flex_is_always_there() {
        assert_eq!(open(Request::Named(Backend::Flex, None)).unwrap().name, "flex");
        assert!(!open(Request::Auto).unwrap().reason.is_empty());
    }
}
