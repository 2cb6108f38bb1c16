//! Devices by name, as configs and the command line have them: one, or several of one backend that share the work, of this
//! machine and of workers on others.

use std::fmt;
use std::str::FromStr;

use super::Backend;
use super::address::{REMOTE, WorkerAddress};
use crate::{Error, Result};

/// The most devices that work together.
pub const MOST_DEVICES: usize = 64;

/// Where the user asked to compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The fastest backend of this build that has a hardware adapter.
    Auto,
    /// This backend, and this one of its adapters; none given: its first hardware adapter, else its first.
    Named(Backend, Option<usize>),
    /// `cuda*2`: so many devices of this backend, at least two; of one with adapters its first ones.
    First(Backend, usize),
    /// `cuda:0,cuda:1`: these adapters of this backend, at least two, the main one first.
    Listed(Backend, Vec<usize>),
    /// `flex,remote:10.0.0.2:7000`: what this machine has, which is named by its backend, and these workers on others.
    WithWorkers(Box<Request>, Vec<WorkerAddress>),
}

impl Request {
    /// How many devices work together.
    pub fn count(&self) -> usize {
        match self {
            Self::WithWorkers(here, workers) => here.count() + workers.len(),
            Self::Auto | Self::Named(..) => 1,
            Self::First(_, count) => *count,
            Self::Listed(_, adapters) => adapters.len(),
        }
    }

    /// The backend, if it is named.
    pub fn backend(&self) -> Option<Backend> {
        match self {
            Self::Auto => None,
            Self::Named(backend, _) | Self::First(backend, _) | Self::Listed(backend, _) => Some(*backend),
            Self::WithWorkers(here, _) => here.backend(),
        }
    }

    /// How many of them are workers on other machines.
    pub fn workers(&self) -> usize {
        match self {
            Self::WithWorkers(_, workers) => workers.len(),
            _ => 0,
        }
    }
}

impl FromStr for Request {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = |message: String| Error::usage(format!("device `{text}`: {message}"));
        if text == "auto" {
            return Ok(Self::Auto);
        }
        if text.is_empty() {
            return Err(refused("names no device".into()).tip("leave it out for `auto`"));
        }
        let names: Vec<&str> = text.split(',').map(str::trim).collect();
        let is_remote = |name: &&str| name.split(':').next() == Some(REMOTE);
        let here = &names[..names.iter().position(&is_remote).unwrap_or(names.len())];
        let elsewhere = &names[here.len()..];
        if let Some(name) = elsewhere.iter().find(|name| !is_remote(name)) {
            return Err(refused(format!("`{name}` is of this machine, and stands behind a worker"))
                .tip("name what is of this machine first"));
        }
        let workers = workers(elsewhere, refused)?;
        let local = match here {
            [] => {
                let worker = elsewhere.first().copied().unwrap_or_default();
                return Err(refused("a worker shares the batches of a device of this machine".into())
                    .tip(format!("name that one first: flex,{worker}")));
            }
            ["auto"] if !workers.is_empty() => {
                return Err(refused("auto chooses one device, and cannot be one of several".into()));
            }
            [name] => match name.split_once('*') {
                None => one(name, refused),
                Some((name, count)) => times(name, count, refused),
            },
            _ => listed(here, refused),
        }?;
        let request = if workers.is_empty() { local } else { Self::WithWorkers(Box::new(local), workers) };
        match request.count() {
            ..=MOST_DEVICES => Ok(request),
            count => Err(refused(format!("at most {MOST_DEVICES} devices work together, got {count}"))),
        }
    }
}

/// Workers on other machines, each named once.
fn workers(names: &[&str], refused: impl Fn(String) -> Error) -> Result<Vec<WorkerAddress>> {
    let mut found: Vec<WorkerAddress> = Vec::new();
    for name in names {
        let address = name.strip_prefix(REMOTE).and_then(|rest| rest.strip_prefix(':')).unwrap_or_default();
        let address: WorkerAddress = address.parse().map_err(|reason| {
            refused(format!("`{name}`: {reason}"))
                .tip("name where the worker listens, as in `flex,remote:10.0.0.2:7000`")
        })?;
        if found.contains(&address) {
            return Err(refused(format!("`{name}` is named more than once")));
        }
        found.push(address);
    }
    Ok(found)
}

/// One device.
fn one(name: &str, refused: impl Fn(String) -> Error) -> Result<Request> {
    let (name, index) = match name.split_once(':') {
        Some((name, index)) => (name, Some(index)),
        None => (name, None),
    };
    let backend = backend(name, &refused)?;
    match index.map(str::parse) {
        None => Ok(Request::Named(backend, None)),
        Some(_) if backend.is_cpu() => {
            Err(refused(format!("{name} has no adapters to choose from")).tip(format!("use `{name}`")))
        }
        Some(Ok(index)) => Ok(Request::Named(backend, Some(index))),
        Some(Err(_)) => Err(refused(format!("the adapter must be a number from 0 up, as in `{name}:0`"))),
    }
}

fn backend(name: &str, refused: impl Fn(String) -> Error) -> Result<Backend> {
    let names = Backend::ALL.map(Backend::name);
    let found = Backend::ALL.into_iter().find(|backend| backend.name() == name);
    found.ok_or_else(|| {
        let error = refused(format!("found `{name}`, allowed are auto, {}", names.join(", ")));
        let nearest =
            names.into_iter().max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
        match nearest.filter(|near| strsim::jaro_winkler(near, name) > 0.8) {
            Some(near) => error.tip(format!("did you mean `{near}`?")),
            None => error,
        }
    })
}

/// So many devices of one backend.
fn times(name: &str, count: &str, refused: impl Fn(String) -> Error) -> Result<Request> {
    if name == "auto" {
        return Err(refused("auto chooses one device".into()).tip("name the backend: `flex*2`, `cuda*2`"));
    }
    if let Some((name, _)) = name.split_once(':') {
        return Err(refused("`:` names one adapter, and `*` counts from the first on".into())
            .tip(format!("name each, as in `{name}:0,{name}:1`")));
    }
    let backend = backend(name, &refused)?;
    match count.parse() {
        Ok(1) => Ok(Request::Named(backend, None)),
        Ok(count) if (2..=MOST_DEVICES).contains(&count) => Ok(Request::First(backend, count)),
        _ => {
            let found = if count.is_empty() { "nothing".to_owned() } else { format!("`{count}`") };
            Err(refused(format!("behind `*` must be the number of devices, 1 to {MOST_DEVICES}, got {found}"))
                .tip(format!("as in `{name}*2`")))
        }
    }
}

/// Adapters of one backend, each named.
fn listed(names: &[&str], refused: impl Fn(String) -> Error) -> Result<Request> {
    let mut found: Vec<(Backend, Option<usize>)> = Vec::new();
    for &name in names {
        if name.is_empty() {
            return Err(refused("a name is missing beside a comma".into()));
        }
        if name == "auto" {
            return Err(refused("auto chooses one device, and cannot be one of several".into()));
        }
        if name.contains('*') {
            return Err(refused(format!("`{name}` stands for several devices, and cannot be one of a list")));
        }
        if let Request::Named(backend, adapter) = one(name, &refused)? {
            found.push((backend, adapter));
        }
    }
    let Some(&(backend, _)) = found.first() else { return Err(refused("names no device".into())) };
    if let Some((other, _)) = found.iter().find(|(other, _)| *other != backend) {
        return Err(refused(format!("all must be of one backend, got {backend} and {other}"))
            .tip("unlike devices take unlike time, and every batch would wait for the slowest"));
    }
    let several = format!("{backend}*{}", found.len());
    let mut adapters: Vec<usize> = Vec::new();
    for (_, adapter) in found {
        match adapter {
            None if backend.is_cpu() => {
                return Err(refused(format!("`{backend}` is named more than once"))
                    .tip(format!("to share the work out on one CPU: `{several}`")));
            }
            None => {
                return Err(refused(format!("of several devices each needs its adapter, as in `{backend}:0`"))
                    .tip(format!("the first ones of a backend: `{several}`")));
            }
            Some(adapter) if adapters.contains(&adapter) => {
                return Err(refused(format!("`{backend}:{adapter}` is named more than once")));
            }
            Some(adapter) => adapters.push(adapter),
        }
    }
    Ok(Request::Listed(backend, adapters))
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Named(backend, None) => write!(f, "{backend}"),
            Self::Named(backend, Some(index)) => write!(f, "{backend}:{index}"),
            Self::First(backend, count) => write!(f, "{backend}*{count}"),
            Self::Listed(backend, adapters) => {
                let names: Vec<String> = adapters.iter().map(|adapter| format!("{backend}:{adapter}")).collect();
                f.write_str(&names.join(","))
            }
            Self::WithWorkers(here, workers) => {
                write!(f, "{here}")?;
                workers.iter().try_for_each(|worker| write!(f, ",{REMOTE}:{worker}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<Request>().unwrap_err().render()
    }

    #[test]
    fn requests_round_trip_through_their_text() {
        for text in ["auto", "flex", "ndarray", "wgpu", "wgpu:1", "cuda:0", "flex*2", "cuda*8", "cuda:1,cuda:0"] {
            assert_eq!(text.parse::<Request>().unwrap().to_string(), text);
        }
        assert_eq!("cuda:0, cuda:3".parse::<Request>().unwrap(), Request::Listed(Backend::Cuda, vec![0, 3]));
        assert_eq!("flex*1".parse::<Request>().unwrap(), Request::Named(Backend::Flex, None));
        let counts = ["auto", "cuda:1", "flex*3", "cuda:0,cuda:2"].map(|text| text.parse::<Request>().unwrap().count());
        assert_eq!(counts, [1, 1, 3, 2]);
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_names_there_are() {
        insta::assert_snapshot!(refusal("cdua"), @r"
        error: device `cdua`: found `cdua`, allowed are auto, cuda, rocm, metal, vulkan, wgpu, ndarray, flex
        tip: did you mean `cuda`?
        ");
        assert!("flex:1".parse::<Request>().is_err());
        assert!("wgpu:x".parse::<Request>().is_err());
    }

    #[test]
    fn a_wrong_number_of_devices_is_answered_with_what_is_allowed() {
        insta::assert_snapshot!(refusal("flex*0"), @r"
        error: device `flex*0`: behind `*` must be the number of devices, 1 to 64, got `0`
        tip: as in `flex*2`
        ");
        insta::assert_snapshot!(refusal("flex*"), @r"
        error: device `flex*`: behind `*` must be the number of devices, 1 to 64, got nothing
        tip: as in `flex*2`
        ");
        for text in ["flex*1000", "flex*-1", "flex*x", "flex*2*2", "flex*2.0", "flex*99999999999999999999"] {
            assert!(refusal(text).contains("1 to 64, got `"), "{}", refusal(text));
        }
        assert!(refusal("auto*2").contains("auto chooses one device"));
        assert!(refusal("cuda:1*2").contains("name each, as in `cuda:0,cuda:1`"));
        assert!(refusal("felx*2").contains("did you mean `flex`?"));
        let many: Vec<String> = (0..65).map(|adapter| format!("cuda:{adapter}")).collect();
        assert!(refusal(&many.join(",")).contains("at most 64 devices work together, got 65"));
    }

    #[test]
    fn workers_are_named_behind_the_devices_of_this_machine() {
        for text in ["flex,remote:127.0.0.1:7000", "cuda:1,cuda:0,remote:a:1,remote:[::1]:2", "flex*2,remote:b:7000"] {
            assert_eq!(text.parse::<Request>().unwrap().to_string(), text);
        }
        let request: Request = "cuda:0,cuda:1,remote:a:1".parse().unwrap();
        assert_eq!((request.count(), request.workers(), request.backend()), (3, 1, Some(Backend::Cuda)));
        insta::assert_snapshot!(refusal("remote:10.0.0.2:7000"), @r"
        error: device `remote:10.0.0.2:7000`: a worker shares the batches of a device of this machine
        tip: name that one first: flex,remote:10.0.0.2:7000
        ");
        insta::assert_snapshot!(refusal("flex,remote:10.0.0.2"), @r"
        error: device `flex,remote:10.0.0.2`: `remote:10.0.0.2`: names no port
        tip: name where the worker listens, as in `flex,remote:10.0.0.2:7000`
        ");
        assert!(refusal("flex,remote").contains("names no port"));
        assert!(refusal("flex,remote:a:1,remote:a:1").contains("`remote:a:1` is named more than once"));
        assert!(
            refusal("cuda:0,remote:a:1,cuda:1").contains("`cuda:1` is of this machine, and stands behind a worker")
        );
        assert!(refusal("auto,remote:a:1").contains("auto chooses one device"));
        assert!(refusal("flex*64,remote:a:1").contains("at most 64 devices work together, got 65"));
        assert!(refusal("flex,remote:a b:1").contains("the host must be a name or an address"));
    }

    #[test]
    fn a_list_names_adapters_of_one_backend_each_once() {
        insta::assert_snapshot!(refusal("cuda:0,flex"), @r"
        error: device `cuda:0,flex`: all must be of one backend, got cuda and flex
        tip: unlike devices take unlike time, and every batch would wait for the slowest
        ");
        insta::assert_snapshot!(refusal("flex,flex"), @r"
        error: device `flex,flex`: `flex` is named more than once
        tip: to share the work out on one CPU: `flex*2`
        ");
        insta::assert_snapshot!(refusal("cuda:0,cuda:0"), @"error: device `cuda:0,cuda:0`: `cuda:0` is named more than once");
        insta::assert_snapshot!(refusal("cuda,cuda:1"), @r"
        error: device `cuda,cuda:1`: of several devices each needs its adapter, as in `cuda:0`
        tip: the first ones of a backend: `cuda*2`
        ");
        assert!(refusal("cuda:0,").contains("a name is missing beside a comma"));
        assert!(refusal(",").contains("a name is missing beside a comma"));
        assert!(refusal("auto,cuda:0").contains("auto chooses one device, and cannot be one of several"));
        assert!(refusal("flex*2,cuda:0").contains("`flex*2` stands for several devices"));
        assert!(refusal("flex,ndarray").contains("all must be of one backend, got flex and ndarray"));
        assert!(refusal("").contains("names no device"));
    }
}
