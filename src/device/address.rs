//! Where a worker on another machine listens: the `HOST:PORT` of `remote:HOST:PORT`.

use std::fmt;
use std::str::FromStr;

/// What stands before the address of a worker where devices are named.
pub(crate) const REMOTE: &str = "remote";

/// The longest name of a host (RFC 1035).
const LONGEST_HOST: usize = 253;

/// Where a worker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerAddress {
    host: String,
    port: u16,
}

impl WorkerAddress {
    /// The host's name or address, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for WorkerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = text.rsplit_once(':').ok_or("names no port")?;
        let port = match port.parse::<u16>() {
            Ok(port) if port > 0 => port,
            _ => return Err(format!("the port must be a number from 1 to 65535, got `{port}`")),
        };
        let bracketed = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
        let is_address = bracketed.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok());
        let of_name = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
        if !(is_address || !host.is_empty() && host.len() <= LONGEST_HOST && host.chars().all(of_name)) {
            return Err(format!("the host must be a name or an address, an IPv6 one in brackets, got `{host}`"));
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for WorkerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_read_and_shown_again() {
        for text in ["127.0.0.1:7000", "gpu-2.example.org:1", "[::1]:65535", "localhost:7000"] {
            assert_eq!(text.parse::<WorkerAddress>().unwrap().to_string(), text);
        }
        let six: WorkerAddress = "[fe80::1]:7000".parse().unwrap();
        assert_eq!((six.host(), six.port()), ("fe80::1", 7000));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("{}:7000", "x".repeat(300));
        for text in ["", "host", ":7000", "host:", "host:0", "host:65536", "::1:7000", "a b:7", "http://host:7", &long]
        {
            assert!(text.parse::<WorkerAddress>().is_err(), "{text}");
        }
    }
}
