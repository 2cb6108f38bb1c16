//! Whom a request is addressed to. A page from anywhere can have its own name resolve to this machine and then talk to
//! the server as if it were its own (DNS rebinding); it cannot choose what `Host` and `Origin` say. So the server
//! answers only to the address it listens on, to the loopback names, and to the names it was told.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::refusal::Refusal;
use crate::{Error, Result};

/// The names and addresses that requests may be addressed to.
#[derive(Debug)]
pub(crate) struct AllowedHosts {
    served: IpAddr,
    names: Vec<String>,
    any: bool,
}

impl AllowedHosts {
    /// What goes for a server that listens on `served`, with further `names`.
    ///
    /// # Errors
    /// A usage error when one is no host name.
    pub fn new(served: SocketAddr, names: &[String]) -> Result<Self> {
        let any = names.iter().any(|name| name == "*");
        let name = |name: &String| match name.parse::<Authority>() {
            Ok(authority) if authority.port().is_none() && authority.as_str() == authority.host() => {
                Ok(bare(authority.host()))
            }
            _ => Err(Error::usage(format!("`allow-host`: must be a host name without a port, got `{name}`"))
                .tip("for example --allow-host digits.example.org; --allow-host \"*\" allows any")),
        };
        let names = names.iter().filter(|name| *name != "*").map(name).collect::<Result<_>>()?;
        Ok(Self { served: served.ip(), names, any })
    }

    /// Answers a request with `next` if it may be answered at all, under the headers that every answer has.
    pub async fn answer(&self, request: Request, next: Next) -> Response {
        let mut response = match self.check(request.uri(), request.headers()) {
            Ok(()) => next.run(request).await,
            Err(refusal) => refusal.into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// Refuses a request that is addressed to another host, or that a page from another host sends. A request that names
    /// no host comes from no browser.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let named = uri.host().map(|host| self.allows(host));
        let hosts = headers.get_all(header::HOST).iter().map(|host| self.allows_value(host, ""));
        if !named.into_iter().chain(hosts).all(|allowed| allowed) {
            let found = headers.get(header::HOST).map(shown).or_else(|| uri.host().map(str::to_owned));
            let message = format!("this server does not answer to the host `{}`", found.unwrap_or_default());
            return Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", message)
                .tip("use the address it listens on, or serve with --allow-host and the name"));
        }
        let allowed = |origin: &HeaderValue| {
            self.any || ["http://", "https://"].iter().any(|scheme| self.allows_value(origin, scheme))
        };
        match headers.get_all(header::ORIGIN).iter().find(|origin| !allowed(origin)) {
            None => Ok(()),
            Some(origin) => {
                let message = format!("this server does not answer to pages from `{}`", shown(origin));
                Err(Refusal::new(StatusCode::FORBIDDEN, "unknown_origin", message)
                    .tip("serve with --allow-host and the name of the page's host"))
            }
        }
    }

    /// Whether a header's value is `scheme`, an allowed host, and perhaps a port.
    fn allows_value(&self, value: &HeaderValue, scheme: &str) -> bool {
        let authority = value.to_str().ok().and_then(|value| value.strip_prefix(scheme)?.parse::<Authority>().ok());
        // A user's name before the host is for nothing that is here.
        authority.is_some_and(|authority| !authority.as_str().contains('@') && self.allows(authority.host()))
    }

    fn allows(&self, host: &str) -> bool {
        let host = bare(host);
        if self.any || self.names.contains(&host) {
            return true;
        }
        match host.parse::<IpAddr>() {
            // No name was resolved. A server that listens everywhere has as many addresses as the machine.
            Ok(address) => self.served.is_unspecified() || address.is_loopback() || address == self.served,
            Err(_) => host == "localhost" || host.ends_with(".localhost"),
        }
    }
}

/// A host in lower case, without the brackets of an IPv6 address and the dot at the end of a full name.
fn bare(host: &str) -> String {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// A header's value, shortened.
fn shown(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hosts: &AllowedHosts, host: &str, origin: Option<&str>) -> u16 {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        hosts.check(&Uri::from_static("/"), &headers).map_or_else(|refusal| refusal.status.as_u16(), |()| 200)
    }

    fn hosts(served: &str, names: &[&str]) -> AllowedHosts {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        AllowedHosts::new(served.parse().unwrap(), &names).unwrap()
    }

    #[test]
    fn only_the_address_the_loopback_names_and_the_allowed_names_are_answered() {
        let local = hosts("127.0.0.1:8080", &["Digits.example.org"]);
        for host in [
            "127.0.0.1:8080",
            "localhost:8080",
            "LOCALHOST",
            "a.localhost",
            "[::1]:8080",
            "digits.example.org:443",
            "localhost.",
        ] {
            assert_eq!(check(&local, host, None), 200, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "192.168.1.2",
            "localhost.evil.example",
            "digits.example.org.evil.example",
            "x@localhost",
            "",
            "a b",
        ] {
            assert_eq!(check(&local, host, None), 421, "{host}");
        }
        let everywhere = hosts("0.0.0.0:8080", &[]);
        assert_eq!(check(&everywhere, "192.168.1.2:8080", None), 200);
        assert_eq!(check(&everywhere, "evil.example:8080", None), 421);
        assert_eq!(check(&hosts("0.0.0.0:8080", &["*"]), "evil.example", Some("null")), 200);
    }

    #[test]
    fn a_page_from_elsewhere_is_refused() {
        let local = hosts("127.0.0.1:8080", &[]);
        for origin in ["http://127.0.0.1:8080", "http://localhost:3000", "https://[::1]"] {
            assert_eq!(check(&local, "127.0.0.1:8080", Some(origin)), 200, "{origin}");
        }
        for origin in ["http://evil.example", "https://evil.example:8080", "null", "file://", "localhost", ""] {
            assert_eq!(check(&local, "127.0.0.1:8080", Some(origin)), 403, "{origin}");
        }
    }

    #[test]
    fn the_authority_of_an_absolute_path_counts() {
        let local = hosts("127.0.0.1:8080", &[]);
        let status = |uri: &'static str| local.check(&Uri::from_static(uri), &HeaderMap::new()).is_ok();
        assert!(status("/healthz") && status("http://localhost:8080/healthz"));
        assert!(!status("http://evil.example/healthz"));
    }

    #[test]
    fn a_name_that_is_none_is_an_error() {
        for name in ["http://x", "x:80", "a b", "", "x/y"] {
            let error = AllowedHosts::new(([127, 0, 0, 1], 1).into(), &[name.to_owned()]).unwrap_err();
            assert!(error.to_string().contains("must be a host name without a port"), "{error}");
        }
    }
}
