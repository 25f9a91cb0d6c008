//! Candidates as they are signalled: foundation, priority, address, type. [RFC 8445 §5]

use core::fmt;
use std::net::SocketAddr;

use crate::net::Protocol;

/// The type of a candidate. [RFC 8445 §4]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CandidateKind {
    /// An address of the machine itself.
    Host,
    /// An address that a peer saw, learned from a check.
    PeerReflexive,
    /// An address that a STUN server saw.
    ServerReflexive,
    /// An address on a TURN server.
    Relayed,
}

impl CandidateKind {
    /// Returns the recommended type preference, 0..=126. [rfc8445-5.1.2.2-1] [rfc8445-5.2-7] [rfc8445-5.1.2.1-1a]
    /// [rfc8445-5.1.2.1-1b] [rfc8445-5.1.2.1-1c] [rfc8445-5.1.2.1-2]
    #[must_use]
    pub const fn type_preference(self) -> u8 {
        match self {
            Self::Host => 126,
            Self::PeerReflexive => 110,
            Self::ServerReflexive => 100,
            Self::Relayed => 0,
        }
    }
}

/// Computes the priority of a candidate: `2^24 × type + 2^8 × local + (256 - component)`.
///
/// `component` is 1..=256; a greater one counts as 256. The result is at least 1.
/// [rfc8445-5.1.2-1b] [rfc8445-5.1.2-2] [rfc8445-5.1.2.1-3] [rfc8421-5-p1]
#[must_use]
pub const fn priority(kind: CandidateKind, local_preference: u16, component: u16) -> u32 {
    let component = if component > 256 { 256 } else { component as u32 };
    let priority = ((kind.type_preference() as u32) << 24)
        + ((local_preference as u32) << 8)
        + (256 - component);
    if priority == 0 { 1 } else { priority }
}

/// A foundation: candidates of one type, base address, server and transport share it, 1 to 32
/// characters. [rfc8445-5.3-p1] [rfc8445-5.1.1.3-p1]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Foundation {
    len: u8,
    octets: [u8; 32],
}

impl Foundation {
    /// Makes a foundation from 1 to 32 visible ASCII characters; `None` if it is anything else.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let len = u8::try_from(text.len()).ok().filter(|len| (1..=32).contains(len))?;
        if !text.bytes().all(|octet| octet.is_ascii_graphic()) {
            return None;
        }
        let mut octets = [0; 32];
        octets.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { len, octets })
    }

    /// Makes the foundation that is `number` in decimal.
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        let mut foundation = Self { len: 0, octets: [0; 32] };
        let mut divisor = 1_000_000_000;
        while divisor > 0 {
            let digit = u8::try_from((number / divisor) % 10).unwrap_or(0);
            if foundation.len > 0 || digit > 0 || divisor == 1 {
                if let Some(octet) = foundation.octets.get_mut(usize::from(foundation.len)) {
                    *octet = b'0' + digit;
                }
                foundation.len += 1;
            }
            divisor /= 10;
        }
        foundation
    }

    /// Returns the characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.octets
            .get(..usize::from(self.len))
            .and_then(|octets| core::str::from_utf8(octets).ok())
            .unwrap_or_default()
    }
}

impl fmt::Debug for Foundation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Display for Foundation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a candidate is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CandidateAddress {
    /// An address and port.
    Ip(SocketAddr),
    /// A name to be resolved first: an mDNS name that hides a host address.
    Name {
        /// The name, for example `1f4b….local`.
        host: String,
        /// The port.
        port: u16,
    },
}

impl CandidateAddress {
    /// Returns the name, if it is one that may stand for a host address: a version 4 UUID below
    /// `.local`, in whatever case. Other names are those of devices, and nobody is to be sent there
    /// by a stranger. [mdns-ice-candidates-3.2.2-3] [mdns-ice-candidates-3.2.1-p1]
    #[must_use]
    pub fn mdns_name(&self) -> Option<&str> {
        match self {
            Self::Ip(_) => None,
            Self::Name { host, port: _ } => is_random_name(host).then_some(host.as_str()),
        }
    }
}

/// What follows the UUID.
const LOCAL: &str = ".local";

/// Whether a name is a version 4 UUID below `.local`.
fn is_random_name(host: &str) -> bool {
    let Some((uuid, tail)) = host.split_at_checked(36) else { return false };
    let shaped = uuid.bytes().enumerate().all(|(place, octet)| match place {
        8 | 13 | 18 | 23 => octet == b'-',
        14 => octet == b'4',
        19 => matches!(octet, b'8' | b'9' | b'a' | b'b' | b'A' | b'B'),
        _ => octet.is_ascii_hexdigit(),
    });
    shaped && tail.eq_ignore_ascii_case(LOCAL)
}

/// Makes a name of random octets: a version 4 UUID and `.local`. [mdns-ice-candidates-3.1.1-1]
pub(crate) fn random_name(octets: [u8; 16]) -> String {
    let mut name = String::with_capacity(36 + LOCAL.len());
    for (place, octet) in octets.into_iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            name.push('-');
        }
        let octet = match place {
            6 => octet & 0x0F | 0x40,
            8 => octet & 0x3F | 0x80,
            _ => octet,
        };
        for digit in [octet >> 4, octet & 0x0F] {
            name.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    name.push_str(LOCAL);
    name
}

/// How a TCP candidate connects. [RFC 6544 §4.5]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TcpType {
    /// Opens connections.
    Active,
    /// Accepts connections.
    Passive,
    /// Simultaneous open.
    SimultaneousOpen,
}

/// A candidate as it is signalled. [RFC 8445 §5.3] [RFC 8839 §5.1]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// Equal for candidates that are likely to behave alike.
    pub foundation: Foundation,
    /// The component ID, 1..=256.
    pub component: u16,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The priority, 1..=2^31-1 where the peer keeps to the formula.
    pub priority: u32,
    /// The transport address.
    pub address: CandidateAddress,
    /// The type.
    pub kind: CandidateKind,
    /// The related address: the base of a reflexive candidate, the mapped address of a relayed
    /// one; 0.0.0.0 or :: port 9 when hidden; `None` for a host candidate.
    pub related: Option<SocketAddr>,
    /// How a TCP candidate connects.
    pub tcp_type: Option<TcpType>,
    /// Further name and value pairs, in the order given (`ufrag`, `generation`, `network-cost`…).
    pub extensions: Vec<(String, String)>,
}

impl Candidate {
    /// Makes a UDP candidate with neither related address nor extensions.
    #[must_use]
    pub fn udp(
        kind: CandidateKind,
        foundation: Foundation,
        component: u16,
        priority: u32,
        address: SocketAddr,
    ) -> Self {
        Self {
            foundation,
            component,
            protocol: Protocol::Udp,
            priority,
            address: CandidateAddress::Ip(address),
            kind,
            related: None,
            tcp_type: None,
            extensions: Vec::new(),
        }
    }

    /// Returns the address and port, or `None` for a name that is not resolved.
    #[must_use]
    pub fn socket_address(&self) -> Option<SocketAddr> {
        match &self.address {
            CandidateAddress::Ip(address) => Some(*address),
            CandidateAddress::Name { .. } => None,
        }
    }

    /// Returns the value of an extension.
    #[must_use]
    pub fn extension(&self, name: &str) -> Option<&str> {
        self.extensions.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the ufrag of the generation that the candidate belongs to, if it says so.
    #[must_use]
    pub fn ufrag(&self) -> Option<&str> {
        self.extension("ufrag")
    }

    /// Returns the network cost that the peer gives, 0 to 999.
    #[must_use]
    pub fn network_cost(&self) -> Option<u16> {
        self.extension("network-cost").and_then(|cost| cost.parse().ok()).map(|c: u16| c.min(999))
    }
}

/// The username fragment and password of one side for one generation. [rfc8445-5.3-6]
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The username fragment, 4..=256 characters.
    pub ufrag: String,
    /// The password, 22..=256 characters; never printed.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("ufrag", &self.ufrag).field("password", &"***").finish()
    }
}

/// Text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) Box<str>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_foundation() {
        for number in [0, 1, 9, 10, 4_294_967_295] {
            assert_eq!(Foundation::from_number(number).as_str(), number.to_string());
        }
    }

    /// [mdns-ice-candidates-3.1.1-1]
    #[test]
    fn a_random_name_is_a_version_4_uuid_below_local() {
        assert_eq!(random_name([0; 16]), "00000000-0000-4000-8000-000000000000.local");
        assert_eq!(random_name([0xFF; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff.local");
        let address = CandidateAddress::Name { host: random_name([0x5A; 16]), port: 9 };
        assert_eq!(address.mdns_name(), Some("5a5a5a5a-5a5a-4a5a-9a5a-5a5a5a5a5a5a.local"));
    }

    /// [mdns-ice-candidates-3.2.2-3] [mdns-ice-candidates-3.2.1-p1]
    #[test]
    fn names_of_devices_and_of_more_labels_are_none_that_hide_an_address() {
        let is = |host: &str| {
            CandidateAddress::Name { host: host.into(), port: 9 }.mdns_name().is_some()
        };
        assert!(is("9B36EAAC-bb2e-49bb-bb78-21c41c499900.LOCAL"));
        for other in [
            "printer.local",
            ".local",
            "9b36eaac-bb2e-49bb-bb78-21c41c499900",
            "9b36eaac-bb2e-49bb-bb78-21c41c499900.example",
            "9b36eaac-bb2e-49bb-bb78-21c41c499900.a.local",
            "9b36eaac-bb2e-49bb-bb78-21c41c499900.local.",
            "9b36eaac-bb2e-19bb-bb78-21c41c499900.local",
            "9b36eaac-bb2e-49bb-7b78-21c41c499900.local",
            "9b36eaac.bb2e.49bb.bb78.21c41c499900.local",
            "ééééééééééééééééééé.local",
        ] {
            assert!(!is(other), "{other}");
        }
    }

    #[test]
    fn a_password_is_not_printed() {
        let credentials = Credentials { ufrag: "abcd".into(), password: "not-a-real-pwd".into() };
        assert!(!format!("{credentials:?}").contains("real"));
    }
}
