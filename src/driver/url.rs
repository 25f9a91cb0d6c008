//! URIs of STUN and TURN servers. [RFC 7064] [RFC 7065]
//!
//! Both are read by their own grammar, no generic parser involved: a scheme, a host, perhaps a port,
//! and with TURN perhaps a transport.

use core::fmt;
use core::str::FromStr;
use std::net::{IpAddr, Ipv6Addr};

use crate::net::Transport;

/// The port of STUN and TURN over UDP and TCP where neither URI nor DNS give one.
/// [rfc7064-3.2-p1] [rfc8489-8.1-p1]
pub const STUN_PORT: u16 = 3478;
/// The port of STUN and TURN over TLS and DTLS where neither URI nor DNS give one.
/// [rfc7064-3.2-p1] [rfc8489-8.1-p1]
pub const STUNS_PORT: u16 = 5349;

/// A host of a URI.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address: nothing to resolve.
    Ip(IpAddr),
    /// A name to be resolved.
    Name(String),
}

impl Host {
    /// Returns whether both name the same host; names are compared without regard to case and to
    /// a dot at the end.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ip(ours), Self::Ip(theirs)) => ours == theirs,
            (Self::Name(ours), Self::Name(theirs)) => {
                let [ours, theirs] = [ours, theirs].map(|name| name.trim_end_matches('.'));
                ours.eq_ignore_ascii_case(theirs)
            }
            (Self::Ip(_), Self::Name(_)) | (Self::Name(_), Self::Ip(_)) => false,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Where a STUN server is: `stun:host[:port]`, or `stuns:name[:port]` over TLS. [rfc7064-3.1-p1]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StunUrl {
    host: Host,
    port: Option<u16>,
    secure: bool,
}

impl StunUrl {
    /// Returns the host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Returns the port, where the URI gives one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Returns whether it is `stuns:`, TLS. [rfc7064-3.2-1a]
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }
}

impl FromStr for StunUrl {
    type Err = UrlError;

    /// [rfc7064-3.1-1] [rfc7064-3.2-1b] [rfc8489-8.1-1]
    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = split_scheme(text)?;
        let secure = match scheme {
            Scheme::Stun => false,
            Scheme::Stuns => true,
            Scheme::Turn | Scheme::Turns => return Err(UrlError::Turn),
        };
        if rest.contains('?') {
            return Err(UrlError::NotPlain);
        }
        let (host, port) = split_port(rest)?;
        if secure && matches!(host, Host::Ip(_)) {
            return Err(UrlError::SecureAddress);
        }
        Ok(Self { host, port, secure })
    }
}

impl fmt::Display for StunUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { Scheme::Stuns } else { Scheme::Stun };
        write(f, scheme, &self.host, self.port)
    }
}

/// Where a TURN server is: `turn:host[:port][?transport=udp|tcp]`, or `turns:` likewise over DTLS
/// and TLS. [rfc7065-3.1-p1]
///
/// Without a transport `turn:` is UDP, and TCP where UDP does not answer soon; `turns:` is TLS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TurnUrl {
    host: Host,
    port: Option<u16>,
    secure: bool,
    transport: Option<Transport>,
}

impl TurnUrl {
    /// Returns the host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Returns the port, where the URI gives one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Returns whether it is `turns:`: TLS or DTLS, and nothing in the clear. [rfc7065-3.2-1a]
    /// [rfc8656-4.1-1a]
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Returns the transports to be tried, in this order. [rfc7065-3.2-p1] [rfc7065-3.2-1b]
    /// [rfc8656-4.1-1b] [rfc8656-7.1-2]
    #[must_use]
    pub fn transports(&self) -> &[Transport] {
        match (&self.transport, self.secure) {
            (Some(transport), _) => core::slice::from_ref(transport),
            (None, false) => &[Transport::Udp, Transport::Tcp],
            (None, true) => &[Transport::Tls],
        }
    }
}

impl FromStr for TurnUrl {
    type Err = UrlError;

    /// [rfc7065-3.1-1]
    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = split_scheme(text)?;
        let secure = match scheme {
            Scheme::Turn => false,
            Scheme::Turns => true,
            Scheme::Stun | Scheme::Stuns => return Err(UrlError::Stun),
        };
        let (place, transport) = match rest.split_once('?') {
            None => (rest, None),
            Some((place, query)) => (place, Some(transport(query, secure)?)),
        };
        let (host, port) = split_port(place)?;
        Ok(Self { host, port, secure, transport })
    }
}

/// Reads what follows the question mark. [rfc7065-3.2-p1]
fn transport(query: &str, secure: bool) -> Result<Transport, UrlError> {
    let (key, value) = query.split_once('=').ok_or(UrlError::Transport)?;
    if !key.eq_ignore_ascii_case("transport") {
        return Err(UrlError::Transport);
    }
    match (value.to_ascii_lowercase().as_str(), secure) {
        ("udp", false) => Ok(Transport::Udp),
        ("tcp", false) => Ok(Transport::Tcp),
        ("udp", true) => Ok(Transport::Dtls),
        ("tcp", true) => Ok(Transport::Tls),
        (_, _) => Err(UrlError::Transport),
    }
}

impl fmt::Display for TurnUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { Scheme::Turns } else { Scheme::Turn };
        write(f, scheme, &self.host, self.port)?;
        match self.transport {
            Some(Transport::Udp | Transport::Dtls) => f.write_str("?transport=udp"),
            Some(Transport::Tcp | Transport::Tls) => f.write_str("?transport=tcp"),
            None => Ok(()),
        }
    }
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerUrl {
    /// A STUN server.
    Stun(StunUrl),
    /// A TURN server.
    Turn(TurnUrl),
}

impl ServerUrl {
    /// Returns the host.
    #[must_use]
    pub fn host(&self) -> &Host {
        match self {
            Self::Stun(url) => url.host(),
            Self::Turn(url) => url.host(),
        }
    }

    /// Returns the port, where the URI gives one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Stun(url) => url.port(),
            Self::Turn(url) => url.port(),
        }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stun(url) => url.fmt(f),
            Self::Turn(url) => url.fmt(f),
        }
    }
}

/// Why a text is not the URI of a server that floe can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UrlError {
    /// No scheme in front: write `stun:host:port` or `turn:host:port`.
    NoScheme,
    /// Another scheme: write `stun:host:port` or `turn:host:port`.
    UnknownScheme,
    /// `stuns:`, where an address for UDP candidates is wanted: what it says of a TLS connection
    /// is true of that alone. Write `stun:host:port`.
    Secure,
    /// `stuns:` with an address: write the name that the certificate is for. [rfc8489-8.1-1]
    SecureAddress,
    /// A TURN server where a STUN server is wanted: give it as a TURN server, with username and
    /// password.
    Turn,
    /// A STUN server where a TURN server is wanted: write `turn:host:port`.
    Stun,
    /// `//`, a path, a fragment or user information, or with STUN a query: there are none.
    NotPlain,
    /// No host, or not a name or address: write `turn:host:port`, IPv6 as `turn:[2001:db8::1]`.
    Host,
    /// Not a port from 1 to 65535.
    Port,
    /// Something else than `?transport=udp` or `?transport=tcp` after the host and port.
    Transport,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoScheme => "the scheme is missing; write stun:host:port or turn:host:port",
            Self::UnknownScheme => {
                "the scheme is not known; write stun:host:port or turn:host:port"
            }
            Self::Secure => {
                "stuns: gives the address of a TLS connection, which is of no use here; write \
                 stun:host:port"
            }
            Self::SecureAddress => {
                "stuns: needs the name that the certificate is for, not an address; write \
                 stuns:name:port"
            }
            Self::Turn => {
                "this is a TURN server, and a STUN server is wanted; write stun:host:port, or \
                 give it as a TURN server with username and password"
            }
            Self::Stun => {
                "this is a STUN server, and a TURN server is wanted; write turn:host:port, or \
                 give it as a STUN server"
            }
            Self::NotPlain => {
                "the URL of a server has no //, path or user, and with stun: no query; write \
                 stun:host:port or turn:host:port and no more"
            }
            Self::Host => {
                "the host is not a name or address; write host:port or [2001:db8::1]:port after \
                 the scheme"
            }
            Self::Port => {
                "the port is not a number from 1 to 65535; write host:port after the scheme"
            }
            Self::Transport => {
                "the transport is not known; write ?transport=udp or ?transport=tcp, or nothing"
            }
        })
    }
}

impl core::error::Error for UrlError {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Stun,
    Stuns,
    Turn,
    Turns,
}

impl Scheme {
    const fn name(self) -> &'static str {
        match self {
            Self::Stun => "stun",
            Self::Stuns => "stuns",
            Self::Turn => "turn",
            Self::Turns => "turns",
        }
    }
}

/// Splits the scheme off and refuses what no URI of a server has. [rfc7064-3.1-p1]
/// [rfc7065-3.1-p1]
fn split_scheme(text: &str) -> Result<(Scheme, &str), UrlError> {
    let (scheme, rest) = text.split_once(':').ok_or(UrlError::NoScheme)?;
    let known = [Scheme::Stun, Scheme::Stuns, Scheme::Turn, Scheme::Turns]
        .into_iter()
        .find(|known| known.name().eq_ignore_ascii_case(scheme));
    let Some(known) = known else {
        let is_host = scheme.is_empty() || scheme.contains(['.', '[']);
        return Err(if is_host { UrlError::NoScheme } else { UrlError::UnknownScheme });
    };
    if rest.contains(['/', '#', '@']) {
        return Err(UrlError::NotPlain);
    }
    Ok((known, rest))
}

/// Splits `host[:port]` and reads both.
fn split_port(text: &str) -> Result<(Host, Option<u16>), UrlError> {
    let (host, port) = split_host(text)?;
    let port = match port {
        None => None,
        Some(digits) if digits.bytes().all(|octet| octet.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|port| *port != 0).ok_or(UrlError::Port)?)
        }
        Some(_) => return Err(UrlError::Port),
    };
    Ok((host, port))
}

/// Splits the host off; an IPv6 address is in brackets.
fn split_host(text: &str) -> Result<(Host, Option<&str>), UrlError> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, after) = bracketed.split_once(']').ok_or(UrlError::Host)?;
        let address = address.parse::<Ipv6Addr>().map_err(|_| UrlError::Host)?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(port),
            None if after.is_empty() => None,
            None => return Err(UrlError::Port),
        };
        return Ok((Host::Ip(address.into()), port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
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

fn write(
    f: &mut fmt::Formatter<'_>,
    scheme: Scheme,
    host: &Host,
    port: Option<u16>,
) -> fmt::Result {
    write!(f, "{}:{host}", scheme.name())?;
    match port {
        Some(port) => write!(f, ":{port}"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [rfc7064-3.1-p1] [rfc7064-3.2-p1] [rfc7064-3.1-1] [rfc7064-3.2-1a] [rfc7064-3.2-1b]
    #[test]
    fn a_stun_url_is_scheme_host_and_perhaps_port() {
        for (text, written, port, secure) in [
            ("stun:192.0.2.1", "stun:192.0.2.1", None, false),
            ("STUN:192.0.2.1:1", "stun:192.0.2.1:1", Some(1), false),
            ("stun:stun.example.org", "stun:stun.example.org", None, false),
            ("stun:example.org:19302", "stun:example.org:19302", Some(19_302), false),
            ("stun:[2001:db8::1]", "stun:[2001:db8::1]", None, false),
            ("stun:[2001:db8::1]:5000", "stun:[2001:db8::1]:5000", Some(5000), false),
            ("stuns:example.org", "stuns:example.org", None, true),
            ("Stuns:example.org:443", "stuns:example.org:443", Some(443), true),
        ] {
            let url = text.parse::<StunUrl>().unwrap();
            assert_eq!((url.to_string().as_str(), url.port(), url.secure), (written, port, secure));
        }
    }

    /// [rfc7064-3.1-p1] [rfc7064-3.1-1] [rfc8489-8.1-1]
    #[test]
    fn what_is_no_stun_url_says_why() {
        for (text, error) in [
            ("192.0.2.1", UrlError::NoScheme),
            ("example.org:3478", UrlError::NoScheme),
            ("stuns:192.0.2.1", UrlError::SecureAddress),
            ("stuns:[2001:db8::1]:5349", UrlError::SecureAddress),
            ("turn:example.org", UrlError::Turn),
            ("turns:example.org", UrlError::Turn),
            ("http:example.org", UrlError::UnknownScheme),
            (" stun:example.org", UrlError::UnknownScheme),
            ("stun:example.org ", UrlError::Host),
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

    /// [rfc7065-3.1-p1] [rfc7065-3.1-1] [rfc7065-3.2-p1] [rfc7065-3.2-1a] [rfc7065-3.2-1b]
    /// [rfc8656-4.1-1a] [rfc8656-4.1-1b] [rfc8656-7.1-2]
    #[test]
    fn a_turn_url_names_its_transport_or_leaves_it_open() {
        use Transport::{Dtls, Tcp, Tls, Udp};
        let open: &[Transport] = &[Udp, Tcp];
        for (text, written, port, transports) in [
            ("turn:192.0.2.1", "turn:192.0.2.1", None, open),
            ("TURN:a.example:1?Transport=UDP", "turn:a.example:1?transport=udp", Some(1), &[Udp]),
            ("turn:a.example?transport=tcp", "turn:a.example?transport=tcp", None, &[Tcp]),
            ("turn:[2001:db8::1]:5", "turn:[2001:db8::1]:5", Some(5), open),
            ("turns:a.example", "turns:a.example", None, &[Tls]),
            (
                "turns:a.example:443?transport=tcp",
                "turns:a.example:443?transport=tcp",
                Some(443),
                &[Tls],
            ),
            ("turns:192.0.2.1?transport=udp", "turns:192.0.2.1?transport=udp", None, &[Dtls]),
        ] {
            let url = text.parse::<TurnUrl>().unwrap();
            assert_eq!((url.to_string().as_str(), url.port()), (written, port));
            assert_eq!(url.transports(), transports, "{text}");
            assert_eq!(url.is_secure(), url.transports().iter().all(|t| t.is_secure()));
        }
    }

    /// [rfc7065-3.1-p1] [rfc7065-3.1-1]
    #[test]
    fn what_is_no_turn_url_says_why() {
        for (text, error) in [
            ("example.org", UrlError::NoScheme),
            ("stun:example.org", UrlError::Stun),
            ("turns//example.org", UrlError::NoScheme),
            ("turn://example.org", UrlError::NotPlain),
            ("turn:user:secret@example.org", UrlError::NotPlain),
            ("turn:example.org/path", UrlError::NotPlain),
            ("turn:example.org#part", UrlError::NotPlain),
            ("turn:example.org?", UrlError::Transport),
            ("turn:example.org?transport", UrlError::Transport),
            ("turn:example.org?transport=", UrlError::Transport),
            ("turn:example.org?transport=sctp", UrlError::Transport),
            ("turn:example.org?transport=udp&a=b", UrlError::Transport),
            ("turn:example.org?ttl=1", UrlError::Transport),
            ("turn:?transport=udp", UrlError::Host),
            ("turn:example.org:99999", UrlError::Port),
        ] {
            assert_eq!(text.parse::<TurnUrl>(), Err(error), "{text}");
        }
    }

    #[test]
    fn names_of_one_host_may_differ_in_case() {
        let host = |text: &str| text.parse::<TurnUrl>().unwrap().host;
        assert!(host("turn:Relay.Example").is_same(&host("turns:relay.example:443")));
        assert!(host("turn:relay.example.").is_same(&host("turns:relay.example")));
        assert!(!host("turn:relay.example").is_same(&host("turn:192.0.2.1")));
    }

    #[test]
    fn no_url_makes_the_parser_panic() {
        let pieces = ["turn", "stuns", ":", "[", "]", "::1", "?", "transport=", "udp", "é", "0"];
        for a in pieces {
            for b in pieces {
                for c in pieces {
                    for d in pieces {
                        let text = [a, b, c, d].concat();
                        let _ = (text.parse::<StunUrl>(), text.parse::<TurnUrl>());
                    }
                }
            }
        }
    }
}
