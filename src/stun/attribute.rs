//! Attribute types and the codecs of attribute values.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::canary::{Bug, planted};

use super::MAGIC_COOKIE;
use super::message::TransactionId;

/// The type of an attribute. [rfc8489-14-1]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributeType(pub u16);

macro_rules! attribute_types {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        impl AttributeType {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// Returns the name of the type as the RFCs write it, if it is known here.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

attribute_types! {
    /// The sender's address as the server sees it, in the clear. [RFC 8489 §14.1]
    MAPPED_ADDRESS = 0x0001, "MAPPED-ADDRESS";
    /// Asks for an answer from another address or port. [RFC 5780 §7.2]
    CHANGE_REQUEST = 0x0003, "CHANGE-REQUEST";
    /// Whose credentials protect the message. [RFC 8489 §14.3]
    USERNAME = 0x0006, "USERNAME";
    /// HMAC-SHA1 over what precedes it. [RFC 8489 §14.5]
    MESSAGE_INTEGRITY = 0x0008, "MESSAGE-INTEGRITY";
    /// Why a request was refused. [RFC 8489 §14.8]
    ERROR_CODE = 0x0009, "ERROR-CODE";
    /// The types that made the answer a 420. [RFC 8489 §14.13]
    UNKNOWN_ATTRIBUTES = 0x000A, "UNKNOWN-ATTRIBUTES";
    /// A TURN channel. [RFC 8656 §18.1]
    CHANNEL_NUMBER = 0x000C, "CHANNEL-NUMBER";
    /// How long an allocation lives. [RFC 8656 §18.2]
    LIFETIME = 0x000D, "LIFETIME";
    /// The peer behind a relay. [RFC 8656 §18.3]
    XOR_PEER_ADDRESS = 0x0012, "XOR-PEER-ADDRESS";
    /// Relayed application data. [RFC 8656 §18.4]
    DATA = 0x0013, "DATA";
    /// The realm of long-term credentials. [RFC 8489 §14.9]
    REALM = 0x0014, "REALM";
    /// The challenge of long-term credentials. [RFC 8489 §14.10]
    NONCE = 0x0015, "NONCE";
    /// The address a relay allocated. [RFC 8656 §18.5]
    XOR_RELAYED_ADDRESS = 0x0016, "XOR-RELAYED-ADDRESS";
    /// The family of the relayed address asked for. [RFC 8656 §18.6]
    REQUESTED_ADDRESS_FAMILY = 0x0017, "REQUESTED-ADDRESS-FAMILY";
    /// Asks for an even port. [RFC 8656 §18.7]
    EVEN_PORT = 0x0018, "EVEN-PORT";
    /// The transport between relay and peer. [RFC 8656 §18.8]
    REQUESTED_TRANSPORT = 0x0019, "REQUESTED-TRANSPORT";
    /// Asks the relay not to fragment. [RFC 8656 §18.9]
    DONT_FRAGMENT = 0x001A, "DONT-FRAGMENT";
    /// HMAC-SHA256 over what precedes it. [RFC 8489 §14.6]
    MESSAGE_INTEGRITY_SHA256 = 0x001C, "MESSAGE-INTEGRITY-SHA256";
    /// The algorithm of the long-term key. [RFC 8489 §14.12]
    PASSWORD_ALGORITHM = 0x001D, "PASSWORD-ALGORITHM";
    /// A username that only the server can read. [RFC 8489 §14.4]
    USERHASH = 0x001E, "USERHASH";
    /// The sender's address as the server sees it. [RFC 8489 §14.2]
    XOR_MAPPED_ADDRESS = 0x0020, "XOR-MAPPED-ADDRESS";
    /// Names a reserved port of a relay. [RFC 8656 §18.10]
    RESERVATION_TOKEN = 0x0022, "RESERVATION-TOKEN";
    /// The priority of a peer-reflexive candidate learned from the check. [RFC 8445 §16.1]
    PRIORITY = 0x0024, "PRIORITY";
    /// Nominates the pair of the check. [RFC 8445 §16.1]
    USE_CANDIDATE = 0x0025, "USE-CANDIDATE";
    /// Makes a message longer. [RFC 5780 §7.6]
    PADDING = 0x0026, "PADDING";
    /// Asks for an answer to another port. [RFC 5780 §7.5]
    RESPONSE_PORT = 0x0027, "RESPONSE-PORT";
    /// Names a TCP connection of a relay. [RFC 6062 §6.2.1]
    CONNECTION_ID = 0x002A, "CONNECTION-ID";
    /// NOMINATION as the current renomination draft asks for it.
    NOMINATION_DRAFT = 0x0030, "NOMINATION (draft)";
    /// Asks for relayed addresses of both families. [RFC 8656 §18.11]
    ADDITIONAL_ADDRESS_FAMILY = 0x8000, "ADDITIONAL-ADDRESS-FAMILY";
    /// Why one of two families was refused. [RFC 8656 §18.12]
    ADDRESS_ERROR_CODE = 0x8001, "ADDRESS-ERROR-CODE";
    /// The algorithms a server accepts for the long-term key. [RFC 8489 §14.11]
    PASSWORD_ALGORITHMS = 0x8002, "PASSWORD-ALGORITHMS";
    /// The domain of an alternate server. [RFC 8489 §14.16]
    ALTERNATE_DOMAIN = 0x8003, "ALTERNATE-DOMAIN";
    /// An ICMP error that a relay received. [RFC 8656 §18.13]
    ICMP = 0x8004, "ICMP";
    /// What made the message, for people. [RFC 8489 §14.14]
    SOFTWARE = 0x8022, "SOFTWARE";
    /// Another server to try. [RFC 8489 §14.15]
    ALTERNATE_SERVER = 0x8023, "ALTERNATE-SERVER";
    /// Reserved by RFC 5780.
    CACHE_TIMEOUT = 0x8027, "CACHE-TIMEOUT";
    /// A CRC-32 that tells STUN from other protocols. [RFC 8489 §14.7]
    FINGERPRINT = 0x8028, "FINGERPRINT";
    /// The sender is controlled; its tie-breaker. [RFC 8445 §16.1]
    ICE_CONTROLLED = 0x8029, "ICE-CONTROLLED";
    /// The sender is controlling; its tie-breaker. [RFC 8445 §16.1]
    ICE_CONTROLLING = 0x802A, "ICE-CONTROLLING";
    /// The address a response was sent from. [RFC 5780 §7.3]
    RESPONSE_ORIGIN = 0x802B, "RESPONSE-ORIGIN";
    /// The other address of a server that tests NATs. [RFC 5780 §7.4]
    OTHER_ADDRESS = 0x802C, "OTHER-ADDRESS";
    /// NOMINATION as deployed agents send it.
    NOMINATION = 0xC001, "NOMINATION";
    /// The kind and cost of the sender's network, as libwebrtc sends it.
    NETWORK_INFO = 0xC057, "NETWORK-INFO";
}

impl AttributeType {
    /// Returns whether a receiver that does not know the type must refuse the message: 0x0000 to
    /// 0x7FFF. [rfc8489-6.3-1]
    #[must_use]
    pub const fn is_comprehension_required(self) -> bool {
        self.0 < 0x8000
    }
}

impl fmt::Debug for AttributeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#06x}", self.0),
        }
    }
}

impl fmt::Display for AttributeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The family octet of an IPv4 address.
const FAMILY_IPV4: u8 = 0x01;
/// The family octet of an IPv6 address.
const FAMILY_IPV6: u8 = 0x02;

/// The value of an address attribute on its way out: 8 or 20 octets.
pub(super) struct AddressValue {
    octets: [u8; 20],
    len: usize,
}

impl AddressValue {
    pub(super) fn as_slice(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }
}

/// The mask of an XOR address: the cookie, then the transaction id. [rfc8489-14.2-p1]
fn mask(id: TransactionId) -> u128 {
    let mut id_octets = [0; 16];
    for (to, from) in id_octets.iter_mut().skip(4).zip(id.0) {
        *to = from;
    }
    (u128::from(MAGIC_COOKIE) << 96) | u128::from_be_bytes(id_octets)
}

/// The upper half of the cookie, the mask of a port. [rfc8489-14.2-p1]
const PORT_MASK: u16 = 0x2112;

/// Returns `address` with port and IP address masked; masking twice gives it back.
/// [rfc8489-14.2-p1]
fn masked(address: SocketAddr, id: TransactionId) -> SocketAddr {
    let port = address.port() ^ PORT_MASK;
    let ip = match address.ip() {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() ^ MAGIC_COOKIE)),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() ^ mask(id))),
    };
    SocketAddr::new(ip, port)
}

/// Decodes a MAPPED-ADDRESS-like value; `None` for another length or family than IPv4 and IPv6
/// have. The first octet is ignored. [rfc8489-14.1-1] [rfc8489-14.1-2] [rfc8489-14.1-3b]
/// [rfc8489-6.3.3-1]
pub(super) fn decode_address(value: &[u8]) -> Option<SocketAddr> {
    debug_assert!(!(value.is_empty() && planted(Bug::EmptyAddress)), "nothing to read");
    if let &[_, FAMILY_IPV4, p0, p1, a, b, c, d] = value {
        let port = u16::from_be_bytes([p0, p1]);
        return Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), port));
    }
    let (&[_, family, p0, p1], ip) = value.split_first_chunk::<4>()?;
    let ip = <[u8; 16]>::try_from(ip).ok()?;
    (family == FAMILY_IPV6)
        .then(|| SocketAddr::new(Ipv6Addr::from(ip).into(), u16::from_be_bytes([p0, p1])))
}

/// Decodes an XOR-MAPPED-ADDRESS-like value. [rfc8489-14.2-p1]
pub(super) fn decode_xor_address(value: &[u8], id: TransactionId) -> Option<SocketAddr> {
    decode_address(value).map(|address| masked(address, id))
}

/// Encodes a MAPPED-ADDRESS-like value. [rfc8489-14.1-1] [rfc8489-14.1-2] [rfc8489-14.1-3a]
pub(super) fn encode_address(address: SocketAddr) -> AddressValue {
    let [p0, p1] = address.port().to_be_bytes();
    match address.ip() {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            let mut octets = [0; 20];
            if let Some(head) = octets.first_chunk_mut::<8>() {
                *head = [0, FAMILY_IPV4, p0, p1, a, b, c, d];
            }
            AddressValue { octets, len: 8 }
        }
        IpAddr::V6(ip) => {
            let mut octets = [0; 20];
            if let Some((head, tail)) = octets.split_first_chunk_mut::<4>() {
                *head = [0, FAMILY_IPV6, p0, p1];
                tail.copy_from_slice(&ip.octets());
            }
            AddressValue { octets, len: 20 }
        }
    }
}

/// Encodes an XOR-MAPPED-ADDRESS-like value. [rfc8489-14.2-p1]
pub(super) fn encode_xor_address(address: SocketAddr, id: TransactionId) -> AddressValue {
    encode_address(masked(address, id))
}

/// Why a request was refused. [RFC 8489 §14.8]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode<'a> {
    code: u16,
    reason: &'a [u8],
}

impl<'a> ErrorCode<'a> {
    /// Decodes the value; reserved bits are ignored, and so is a reason longer than 763 octets.
    /// [rfc8489-14.8-1] [rfc8489-14.8-3] [rfc8489-14.8-4] [rfc8489-14.8-5]
    pub(super) fn decode(value: &'a [u8]) -> Option<Self> {
        let (&[_, _, class, number], reason) = value.split_first_chunk::<4>()?;
        let class = class & 0b111;
        let reason = if reason.len() <= super::MAX_TEXT_RECEIVED { reason } else { &[] };
        ((3..=6).contains(&class) && number < 100)
            .then(|| Self { code: u16::from(class) * 100 + u16::from(number), reason })
    }

    /// Returns the code, 300..=699.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// Returns the reason phrase, for people; empty if it is not UTF-8.
    #[must_use]
    pub fn reason(&self) -> &'a str {
        core::str::from_utf8(self.reason).unwrap_or_default()
    }
}

/// What a CHANGE-REQUEST asks for. [RFC 5780 §7.2]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeRequest {
    /// Answer from the other IP address.
    pub ip: bool,
    /// Answer from the other port.
    pub port: bool,
}

impl ChangeRequest {
    const IP: u32 = 0x4;
    const PORT: u32 = 0x2;

    /// Returns the value of the attribute.
    #[must_use]
    pub const fn bits(self) -> u32 {
        (if self.ip { Self::IP } else { 0 }) | (if self.port { Self::PORT } else { 0 })
    }

    pub(super) const fn from_bits(bits: u32) -> Self {
        Self { ip: bits & Self::IP != 0, port: bits & Self::PORT != 0 }
    }
}

/// One algorithm of PASSWORD-ALGORITHM or PASSWORD-ALGORITHMS. [RFC 8489 §14.11]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordAlgorithm<'a> {
    /// The number that IANA gave it.
    pub number: u16,
    /// Its parameters; MD5 and SHA-256 have none.
    pub parameters: &'a [u8],
}

impl PasswordAlgorithm<'_> {
    /// The number of MD5. [RFC 8489 §18.5.1.1]
    pub const MD5: u16 = 0x0001;
    /// The number of SHA-256. [RFC 8489 §18.5.1.2]
    pub const SHA256: u16 = 0x0002;
}

/// The algorithms of a PASSWORD-ALGORITHMS value, in the server's order; ends at the first entry
/// that is cut off. The padding of parameters is ignored. [rfc8489-14.12-1b]
#[derive(Clone, Debug)]
pub struct PasswordAlgorithms<'a> {
    rest: &'a [u8],
}

impl<'a> PasswordAlgorithms<'a> {
    pub(super) const fn new(value: &'a [u8]) -> Self {
        Self { rest: value }
    }
}

impl<'a> Iterator for PasswordAlgorithms<'a> {
    type Item = PasswordAlgorithm<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&[n0, n1, l0, l1], tail) = self.rest.split_first_chunk::<4>()?;
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        let Some(parameters) = tail.get(..len) else {
            self.rest = &[];
            return None;
        };
        self.rest = tail.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(PasswordAlgorithm { number: u16::from_be_bytes([n0, n1]), parameters })
    }
}

/// The types of an UNKNOWN-ATTRIBUTES value. [RFC 8489 §14.13]
#[derive(Clone, Debug)]
pub struct UnknownAttributes<'a> {
    rest: &'a [u8],
}

impl<'a> UnknownAttributes<'a> {
    pub(super) const fn new(value: &'a [u8]) -> Self {
        Self { rest: value }
    }
}

impl Iterator for UnknownAttributes<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        let (&kind, rest) = self.rest.split_first_chunk::<2>()?;
        self.rest = rest;
        Some(u16::from_be_bytes(kind))
    }
}
