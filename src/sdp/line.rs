//! Reads a candidate line, octet by octet, and writes one. [RFC 8839 §5.1] [RFC 6544 §4.5]

use core::fmt;
use core::fmt::Write as _;
use core::str::FromStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::candidate::{Candidate, CandidateAddress, CandidateKind, Foundation, TcpType};
use crate::net::Protocol;

use super::MAX_CANDIDATE_LINE;
use super::credentials::is_visible;
use super::error::CandidateError;

/// The port of a hidden related address and of a placeholder. [rfc8839-5.1-8] [rfc8839-9.1-1]
pub(super) const PORT_DISCARD: u16 = 9;
/// The longest name, octets.
const MAX_NAME: usize = 255;
/// What is written for a name that is none: it can never be resolved.
const NO_NAME: &str = "name.invalid";

/// The words of a line: what spaces separate.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    /// Returns the next word; empty at the end of the line.
    fn word(&mut self) -> &'a str {
        self.skip_spaces();
        self.up_to_space()
    }

    /// Returns the next name and value. One space separates them: the grammar has empty values.
    fn pair(&mut self) -> Option<(&'a str, &'a str)> {
        self.skip_spaces();
        if self.rest.is_empty() {
            return None;
        }
        let name = self.up_to_space();
        self.rest = self.rest.strip_prefix(' ').unwrap_or_default();
        Some((name, self.up_to_space()))
    }

    fn skip_spaces(&mut self) {
        while let Some(rest) = self.rest.strip_prefix(' ') {
            self.rest = rest;
        }
    }

    fn up_to_space(&mut self) -> &'a str {
        let length = self.rest.bytes().position(|octet| octet == b' ').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(length).unwrap_or_default();
        self.rest = rest;
        word
    }
}

/// Reads 1 to 10 digits.
pub(super) fn decimal(word: &str) -> Option<u64> {
    if !(1..=10).contains(&word.len()) {
        return None;
    }
    let mut number = 0;
    for octet in word.bytes() {
        let digit = octet.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + u64::from(digit);
    }
    Some(number)
}

/// Reads a port.
pub(super) fn port(word: &str) -> Option<u16> {
    decimal(word).and_then(|port| u16::try_from(port).ok())
}

/// Reads an IP address in any writing: a colon makes it IPv6. A zone is dropped, it has no
/// meaning on another machine; so are brackets. [rfc8839-5.1-p1]
pub(super) fn ip(word: &str) -> Option<IpAddr> {
    if let Ok(address) = word.parse::<Ipv4Addr>() {
        return Some(IpAddr::V4(address));
    }
    let word = word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).unwrap_or(word);
    let word = word.split_once('%').map_or(word, |(address, _)| address);
    word.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

/// Returns whether the text can be the name of a host: labels of letters, digits, `-` and `_`,
/// of which the last is not a number (it would be an IPv4 address gone wrong).
fn is_name(text: &str) -> bool {
    let last = text.strip_suffix('.').unwrap_or(text).rsplit('.').next().unwrap_or_default();
    text.len() <= MAX_NAME
        && text.bytes().all(|o| o.is_ascii_alphanumeric() || matches!(o, b'-' | b'_' | b'.'))
        && last.bytes().any(|octet| !octet.is_ascii_digit())
}

/// Returns whether the address is a name for which mDNS is to be asked: one label and `.local`.
pub(super) fn is_mdns(host: &str) -> bool {
    host.split_once('.')
        .is_some_and(|(label, tail)| !label.is_empty() && tail.eq_ignore_ascii_case("local"))
}

/// Returns the related address that reveals nothing. [rfc8839-5.1-8] [rfc8839-9.1-1]
fn hidden(address: &CandidateAddress) -> SocketAddr {
    let ip = match address {
        CandidateAddress::Ip(SocketAddr::V6(_)) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        CandidateAddress::Ip(SocketAddr::V4(_)) | CandidateAddress::Name { .. } => {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        }
    };
    SocketAddr::new(ip, PORT_DISCARD)
}

/// Returns the text after a prefix in whatever case.
pub(super) fn strip_prefix_any_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Reads what follows `candidate:`.
pub(super) fn candidate(value: &str) -> Result<Candidate, CandidateError> {
    if value.len() > MAX_CANDIDATE_LINE {
        return Err(CandidateError::TooLong);
    }
    let mut words = Words { rest: value };
    let foundation = Foundation::new(words.word()).ok_or(CandidateError::Foundation)?;
    let component = component(words.word()).ok_or(CandidateError::Component)?;
    let protocol = protocol(words.word()).ok_or(CandidateError::Transport)?;
    let priority = decimal(words.word())
        .and_then(|priority| u32::try_from(priority).ok())
        .ok_or(CandidateError::Priority)?;
    let host = words.word();
    let port = port(words.word()).ok_or(CandidateError::Port)?;
    if !words.word().eq_ignore_ascii_case("typ") {
        return Err(CandidateError::Typ);
    }
    let kind = kind(words.word()).ok_or(CandidateError::Kind)?;
    let address = match ip(host) {
        Some(ip) => CandidateAddress::Ip(SocketAddr::new(ip, port)),
        None if is_name(host) => CandidateAddress::Name { host: host.to_owned(), port },
        None => return Err(CandidateError::Address),
    };
    let mut candidate = Candidate {
        foundation,
        component,
        protocol,
        priority,
        address,
        kind,
        related: None,
        tcp_type: None,
        extensions: Vec::new(),
    };
    tail(&mut candidate, words)?;
    Ok(candidate)
}

/// Reads the pairs after the type: the related address, `tcptype`, and extensions, in any order.
/// Of a name that is known the first pair counts. A pair that is not of visible characters is
/// ignored. [rfc8839-5.1-10] [rfc6544-4.5-p1]
fn tail(candidate: &mut Candidate, mut words: Words<'_>) -> Result<(), CandidateError> {
    let (mut raddr, mut rport, mut tcp_type) = (None, None, None);
    while let Some((name, value)) = words.pair() {
        if name.eq_ignore_ascii_case("raddr") {
            raddr = raddr.or(Some(value));
        } else if name.eq_ignore_ascii_case("rport") {
            rport = rport.or(Some(value));
        } else if name.eq_ignore_ascii_case("tcptype") {
            tcp_type = tcp_type.or(Some(value));
        } else if is_visible(name) && is_visible(value) {
            candidate.extensions.push((name.to_owned(), value.to_owned()));
        }
    }
    // A related address is for the curious: one that does not scan is as good as hidden.
    // [rfc8839-5.1-6] [rfc8839-5.1-7]
    candidate.related = match candidate.kind {
        CandidateKind::Host => None,
        CandidateKind::PeerReflexive | CandidateKind::ServerReflexive | CandidateKind::Relayed => {
            let related = raddr.and_then(ip).zip(rport.and_then(port));
            Some(related.map_or_else(|| hidden(&candidate.address), SocketAddr::from))
        }
    };
    candidate.tcp_type = match (candidate.protocol, tcp_type) {
        (Protocol::Udp, _) => None,
        (Protocol::Tcp, None) => Some(TcpType::Passive),
        (Protocol::Tcp, Some(word)) => Some(tcp_kind(word).ok_or(CandidateError::TcpType)?),
    };
    Ok(())
}

/// Reads a component ID.
fn component(word: &str) -> Option<u16> {
    decimal(word).filter(|id| (1..=256).contains(id)).and_then(|id| u16::try_from(id).ok())
}

/// Reads a transport, in whatever case. [rfc8839-5.1-p1]
fn protocol(word: &str) -> Option<Protocol> {
    if word.eq_ignore_ascii_case("udp") {
        Some(Protocol::Udp)
    } else if word.eq_ignore_ascii_case("tcp") {
        Some(Protocol::Tcp)
    } else {
        None
    }
}

const KINDS: [CandidateKind; 4] = [
    CandidateKind::Host,
    CandidateKind::ServerReflexive,
    CandidateKind::Relayed,
    CandidateKind::PeerReflexive,
];

fn kind(word: &str) -> Option<CandidateKind> {
    KINDS.into_iter().find(|kind| word.eq_ignore_ascii_case(kind_word(*kind)))
}

const fn kind_word(kind: CandidateKind) -> &'static str {
    match kind {
        CandidateKind::Host => "host",
        CandidateKind::PeerReflexive => "prflx",
        CandidateKind::ServerReflexive => "srflx",
        CandidateKind::Relayed => "relay",
    }
}

const TCP_TYPES: [TcpType; 3] = [TcpType::Active, TcpType::Passive, TcpType::SimultaneousOpen];

fn tcp_kind(word: &str) -> Option<TcpType> {
    TCP_TYPES.into_iter().find(|kind| word.eq_ignore_ascii_case(tcp_word(*kind)))
}

const fn tcp_word(kind: TcpType) -> &'static str {
    match kind {
        TcpType::Active => "active",
        TcpType::Passive => "passive",
        TcpType::SimultaneousOpen => "so",
    }
}

/// Reads component, address and port, as often as there are any; a triple with a name is
/// skipped. `None` if it does not scan.
pub(super) fn remote_candidates(value: &str, into: &mut Vec<(u16, SocketAddr)>) -> Option<()> {
    let mut words = Words { rest: value };
    loop {
        let first = words.word();
        if first.is_empty() {
            return Some(());
        }
        let component = component(first)?;
        let host = words.word();
        let port = port(words.word())?;
        match ip(host) {
            Some(ip) => into.push((component, SocketAddr::new(ip, port))),
            None if is_name(host) => {}
            None => return None,
        }
    }
}

impl FromStr for Candidate {
    type Err = CandidateError;

    /// Reads one candidate line: `candidate:…` as browsers trickle it or `a=candidate:…` as it
    /// stands in SDP, with or without a line end.
    ///
    /// Tolerant as the [module](crate::sdp) says; any name is read as an address here, a caller
    /// that knows no use for it ignores the candidate. [rfc8839-5.1-2]
    ///
    /// # Errors
    ///
    /// The field at fault. [`CandidateError::is_unsupported`] tells a candidate to be ignored
    /// from a damaged line.
    fn from_str(line: &str) -> Result<Self, CandidateError> {
        let line = line.trim_end_matches(['\r', '\n']).trim_start_matches(' ');
        let line = line.strip_prefix("a=").unwrap_or(line);
        let value =
            strip_prefix_any_case(line, "candidate:").ok_or(CandidateError::NotACandidate)?;
        candidate(value)
    }
}

impl fmt::Display for Candidate {
    /// Writes the candidate as `candidate:…`, exactly as the grammar has it and on one line
    /// whatever the fields hold: a name that is none is written as `name.invalid`, an extension
    /// that is not of visible characters is left out. [rfc8839-4.3.1-1]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("candidate:")?;
        f.write_str(self.foundation.as_str())?;
        number(f, u32::from(self.component))?;
        f.write_str(match self.protocol {
            Protocol::Udp => " udp",
            Protocol::Tcp => " tcp",
        })?;
        number(f, self.priority)?;
        match &self.address {
            CandidateAddress::Ip(address) => ip_and_port(f, " ", " ", *address)?,
            CandidateAddress::Name { host, port } => {
                f.write_str(" ")?;
                f.write_str(if is_name(host) { host } else { NO_NAME })?;
                number(f, u32::from(*port))?;
            }
        }
        f.write_str(" typ ")?;
        f.write_str(kind_word(self.kind))?;
        // [rfc8839-5.1-6] [rfc8839-5.1-7] [rfc8839-5.1-p2]
        if self.kind != CandidateKind::Host {
            let related = self.related.unwrap_or_else(|| hidden(&self.address));
            ip_and_port(f, " raddr ", " rport ", related)?;
        }
        // [rfc6544-4.5-p1]
        if self.protocol == Protocol::Tcp {
            f.write_str(" tcptype ")?;
            f.write_str(tcp_word(self.tcp_type.unwrap_or(TcpType::Passive)))?;
        }
        for (name, value) in self.extensions.iter().filter(|(name, value)| is_pair(name, value)) {
            for part in [" ", name, " ", value] {
                f.write_str(part)?;
            }
        }
        Ok(())
    }
}

/// Returns whether a pair can be written as an extension.
fn is_pair(name: &str, value: &str) -> bool {
    let taken = ["raddr", "rport", "tcptype"].iter().any(|word| name.eq_ignore_ascii_case(word));
    !taken && !name.is_empty() && is_visible(name) && is_visible(value)
}

/// Writes a space and a number.
fn number(f: &mut fmt::Formatter<'_>, number: u32) -> fmt::Result {
    f.write_str(" ")?;
    digits(f, number)
}

fn digits(f: &mut fmt::Formatter<'_>, mut number: u32) -> fmt::Result {
    let mut octets = [0; 10];
    let mut start = octets.len();
    for octet in octets.iter_mut().rev() {
        *octet = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        start -= 1;
        if number == 0 {
            break;
        }
    }
    let text = octets.get(start..).and_then(|octets| core::str::from_utf8(octets).ok());
    f.write_str(text.unwrap_or_default())
}

fn ip_and_port(
    f: &mut fmt::Formatter<'_>,
    before_ip: &str,
    before_port: &str,
    address: SocketAddr,
) -> fmt::Result {
    f.write_str(before_ip)?;
    match address.ip() {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            digits(f, u32::from(a))?;
            for octet in [b, c, d] {
                f.write_char('.')?;
                digits(f, u32::from(octet))?;
            }
        }
        IpAddr::V6(ip) => write!(f, "{ip}")?,
    }
    f.write_str(before_port)?;
    digits(f, u32::from(address.port()))
}
