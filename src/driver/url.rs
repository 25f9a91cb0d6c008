//! STUN server URIs. [RFC 7064]

use core::fmt;
use core::str::FromStr;
use std::net::{IpAddr, Ipv6Addr};

/// The port of STUN over UDP and TCP where a URI gives none. [rfc7064-3.2-p1]
pub const STUN_PORT: u16 = 3478;

/// Where a STUN server is: `stun:host[:port]`. [rfc7064-3.1-p1]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StunUrl {
    host: Host,
    port: u16,
}

/// A host of a URI.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address: nothing to resolve.
    Ip(IpAddr),
    /// A name to be resolved.
    Name(String),
}

impl StunUrl {
    /// Returns the host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Returns the port, 3478 where the URI gave none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Why a text is not the URI of a STUN server that floe can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UrlError {
    /// No `stun:` in front: write `stun:host:port`.
    NoScheme,
    /// `stuns:` (TLS) is not supported: use a server that speaks plain `stun:`.
    Tls,
    /// `turn:` and `turns:` are not supported by this version.
    Turn,
    /// Another scheme: write `stun:host:port`.
    UnknownScheme,
    /// `//`, a path, a query or user information: there are none in a STUN URI.
    NotPlain,
    /// No host, or not a name or address: write `stun:host:port`, IPv6 as `stun:[2001:db8::1]`.
    Host,
    /// Not a port from 1 to 65535.
    Port,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoScheme => "the scheme is missing; write stun:host:port",
            Self::Tls => "stuns: (TLS) is not supported; use a server that speaks plain stun:",
            Self::Turn => "TURN is not supported by this version of floe; use a stun: server",
            Self::UnknownScheme => "the scheme is not known; write stun:host:port",
            Self::NotPlain => {
                "a STUN URL has no //, path, query or user; write stun:host:port and no more"
            }
            Self::Host => {
                "the host is not a name or address; write stun:host:port or stun:[2001:db8::1]:port"
            }
            Self::Port => "the port is not a number from 1 to 65535; write stun:host:port",
        })
    }
}

impl core::error::Error for UrlError {}

impl FromStr for StunUrl {
    type Err = UrlError;

    /// Reads the URI by its own grammar, no generic parser involved. [rfc7064-3.1-1]
    /// [rfc7064-3.2-1b]
    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.trim().split_once(':').ok_or(UrlError::NoScheme)?;
        match scheme.to_ascii_lowercase().as_str() {
            "stun" => {}
            "stuns" => return Err(UrlError::Tls),
            "turn" | "turns" => return Err(UrlError::Turn),
            other if other.is_empty() || other.contains(['.', '[']) => {
                return Err(UrlError::NoScheme);
            }
            _ => return Err(UrlError::UnknownScheme),
        }
        if rest.contains(['/', '?', '#', '@']) {
            return Err(UrlError::NotPlain);
        }
        let (host, port) = split(rest)?;
        let port = match port {
            None => STUN_PORT,
            Some(digits) if digits.bytes().all(|octet| octet.is_ascii_digit()) => {
                digits.parse().ok().filter(|port| *port != 0).ok_or(UrlError::Port)?
            }
            Some(_) => return Err(UrlError::Port),
        };
        Ok(Self { host, port })
    }
}

/// Splits `host[:port]`; an IPv6 address is in brackets.
fn split(rest: &str) -> Result<(Host, Option<&str>), UrlError> {
    if let Some(bracketed) = rest.strip_prefix('[') {
        let (address, after) = bracketed.split_once(']').ok_or(UrlError::Host)?;
        let address = address.parse::<Ipv6Addr>().map_err(|_| UrlError::Host)?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(port),
            None if after.is_empty() => None,
            None => return Err(UrlError::Port),
        };
        return Ok((Host::Ip(address.into()), port));
    }
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    if port.is_some_and(|port| port.contains(':')) {
        return Err(UrlError::Host);
    }
    let named = !host.is_empty()
        && host.len() <= 253
        && host.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._".contains(&octet));
    if !named {
        return Err(UrlError::Host);
    }
    let host = host.parse().map_or_else(|_| Host::Name(host.to_owned()), Host::Ip);
    Ok((host, port))
}

impl fmt::Display for StunUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "stun:[{ip}]:{}", self.port),
            Host::Ip(IpAddr::V4(ip)) => write!(f, "stun:{ip}:{}", self.port),
            Host::Name(name) => write!(f, "stun:{name}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [rfc7064-3.1-p1] [rfc7064-3.2-p1] [rfc7064-3.1-1] [rfc7064-3.2-1b]
    #[test]
    fn a_stun_url_is_scheme_host_and_perhaps_port() {
        for (text, written) in [
            ("stun:192.0.2.1", "stun:192.0.2.1:3478"),
            ("STUN:192.0.2.1:1", "stun:192.0.2.1:1"),
            ("stun:stun.example.org", "stun:stun.example.org:3478"),
            ("stun:example.org:19302", "stun:example.org:19302"),
            ("stun:[2001:db8::1]", "stun:[2001:db8::1]:3478"),
            ("stun:[2001:db8::1]:5000", "stun:[2001:db8::1]:5000"),
        ] {
            assert_eq!(text.parse::<StunUrl>().map(|url| url.to_string()), Ok(written.to_owned()));
        }
    }

    /// [rfc7064-3.1-p1] [rfc7064-3.1-1]
    #[test]
    fn what_is_no_stun_url_says_why() {
        for (text, error) in [
            ("192.0.2.1", UrlError::NoScheme),
            ("example.org:3478", UrlError::NoScheme),
            ("stuns:example.org", UrlError::Tls),
            ("turn:example.org", UrlError::Turn),
            ("http:example.org", UrlError::UnknownScheme),
            ("stun://example.org", UrlError::NotPlain),
            ("stun:user@example.org", UrlError::NotPlain),
            ("stun:example.org?transport=udp", UrlError::NotPlain),
            ("stun:", UrlError::Host),
            ("stun::3478", UrlError::Host),
            ("stun:2001:db8::1", UrlError::Host),
            ("stun:[2001:db8::1", UrlError::Host),
            ("stun:[192.0.2.1]", UrlError::Host),
            ("stun:[::1]3478", UrlError::Port),
            ("stun:a b", UrlError::Host),
            ("stun:example.org:", UrlError::Port),
            ("stun:example.org:0", UrlError::Port),
            ("stun:example.org:65536", UrlError::Port),
            ("stun:example.org:+80", UrlError::Port),
        ] {
            assert_eq!(text.parse::<StunUrl>(), Err(error), "{text}");
        }
    }
}
