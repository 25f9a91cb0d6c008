//! The view of one message: checked once, total after.

use core::fmt;
use core::net::SocketAddr;
use core::ops::Deref;
use core::time::Duration;

use crate::canary::{Bug, planted};

use super::attribute::{self, AttributeType, ChangeRequest, ErrorCode, PasswordAlgorithm};
use super::attribute::{PasswordAlgorithms, UnknownAttributes};
use super::auth::{IntegrityAlgorithm, IntegrityError, IntegrityKey};
use super::{HEADER_LEN, MAGIC_COOKIE, MAX_TEXT_RECEIVED};

/// Names a transaction: 96 bits that nobody can guess. Who sends a request draws them from the
/// seeded stream of random numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionId(pub [u8; 12]);

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// The class of a message. [RFC 8489 §5]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageClass {
    /// Wants an answer.
    Request,
    /// Is never answered.
    Indication,
    /// Answers a request: done.
    Success,
    /// Answers a request: refused.
    Error,
}

/// The method of a message, 12 bits. [RFC 8489 §5]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Method(u16);

impl Method {
    /// Binding. [RFC 8489 §3]
    pub const BINDING: Self = Self(0x001);
    /// Allocate. [RFC 8656 §7]
    pub const ALLOCATE: Self = Self(0x003);
    /// Refresh. [RFC 8656 §8]
    pub const REFRESH: Self = Self(0x004);
    /// Send. [RFC 8656 §11]
    pub const SEND: Self = Self(0x006);
    /// Data. [RFC 8656 §11]
    pub const DATA: Self = Self(0x007);
    /// CreatePermission. [RFC 8656 §10]
    pub const CREATE_PERMISSION: Self = Self(0x008);
    /// ChannelBind. [RFC 8656 §12]
    pub const CHANNEL_BIND: Self = Self(0x009);
    /// Connect. [RFC 6062 §4.3]
    pub const CONNECT: Self = Self(0x00A);
    /// ConnectionBind. [RFC 6062 §4.3]
    pub const CONNECTION_BIND: Self = Self(0x00B);
    /// ConnectionAttempt. [RFC 6062 §4.4]
    pub const CONNECTION_ATTEMPT: Self = Self(0x00C);

    /// Makes a method; `None` above 0xFFF.
    #[must_use]
    pub const fn new(method: u16) -> Option<Self> {
        if method <= 0xFFF { Some(Self(method)) } else { None }
    }

    /// Returns the number of the method.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// Returns the first 16 bits of a message: two zero bits, then the bits of the method around the
/// two of the class. [rfc8489-5-1] [rfc8489-6.1-1]
pub(super) const fn message_type(class: MessageClass, method: Method) -> u16 {
    let class = match class {
        MessageClass::Request => 0x0000,
        MessageClass::Indication => 0x0010,
        MessageClass::Success => 0x0100,
        MessageClass::Error => 0x0110,
    };
    let m = method.0;
    (m & 0x000F) | ((m & 0x0070) << 1) | ((m & 0x0F80) << 2) | class
}

const fn split_message_type(message_type: u16) -> (MessageClass, Method) {
    let class = match (message_type & 0x0100 != 0, message_type & 0x0010 != 0) {
        (false, false) => MessageClass::Request,
        (false, true) => MessageClass::Indication,
        (true, false) => MessageClass::Success,
        (true, true) => MessageClass::Error,
    };
    let t = message_type;
    (class, Method((t & 0x000F) | ((t >> 1) & 0x0070) | ((t >> 2) & 0x0F80)))
}

/// Why octets are not a STUN message; such octets are dropped without an answer.
/// [rfc8489-6.3-p1]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParseError {
    /// Shorter than a header.
    Short,
    /// The first two bits are not zero.
    LeadingBits,
    /// No magic cookie.
    Cookie,
    /// The length of the header is not that of the datagram, or no multiple of four.
    Length,
    /// An attribute ends beyond the message.
    Attribute,
    /// FINGERPRINT is wrong or not the last attribute.
    Fingerprint,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "shorter than a STUN header",
            Self::LeadingBits => "the first two bits are not zero",
            Self::Cookie => "no magic cookie",
            Self::Length => "the length in the header is wrong",
            Self::Attribute => "an attribute ends beyond the message",
            Self::Fingerprint => "the fingerprint is wrong or not last",
        })
    }
}

impl core::error::Error for ParseError {}

/// Where an attribute starts, in units of four octets from the start of the message; 0 if absent.
#[derive(Clone, Copy, Default)]
struct Place(u16);

impl Place {
    const NONE: Self = Self(0);

    /// `at` is a multiple of four below 65,556.
    #[expect(clippy::cast_possible_truncation, reason = "a message has at most 65,552 octets")]
    const fn new(at: usize) -> Self {
        Self((at / 4) as u16)
    }

    const fn is_some(self) -> bool {
        self.0 != 0
    }

    fn octets(self) -> usize {
        usize::from(self.0) * 4
    }

    /// Takes `at` unless there is a place already: the first of a duplicate attribute counts.
    /// [rfc8489-14-5] [rfc8489-14-6]
    const fn or_set(&mut self, at: usize) {
        if !self.is_some() {
            *self = Self::new(at);
        }
    }
}

/// One STUN message: a datagram that was checked once.
///
/// Every accessor is total: an attribute that is absent or has a wrong length is `None`. The
/// attributes end at the first integrity attribute; what follows it does not count, whether it
/// was verified or not. [rfc8489-9-1] [rfc8489-9-2]
#[derive(Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
    class: MessageClass,
    method: Method,
    classic: bool,
    use_candidate: bool,
    /// The first integrity attribute, else FINGERPRINT, else the end of the message.
    end: Place,
    username: Place,
    priority: Place,
    controlling: Place,
    controlled: Place,
    xor_mapped_address: Place,
    error_code: Place,
    integrity: Place,
    integrity_sha256: Place,
    fingerprint: Place,
}

impl<'a> Message<'a> {
    /// Reads a datagram of exactly one message.
    ///
    /// Checks the leading bits, the cookie, the length, that every attribute ends within the
    /// message, and FINGERPRINT if there is one. [rfc8489-5-1] [rfc8489-5-3] [rfc8489-5-7]
    /// [rfc8489-6.3-p1] [rfc8489-14.7-2]
    ///
    /// # Errors
    ///
    /// The first of these checks that fails.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let message = Self::scan(datagram)?;
        if message.classic { Err(ParseError::Cookie) } else { Ok(message) }
    }

    /// Reads as [`parse`](Self::parse) does, but accepts a message without the magic cookie, as
    /// RFC 3489 has it: for gathering from old servers over UDP only, never for checks and never
    /// over DTLS. [rfc8489-11-1] [rfc8489-11-2a]
    ///
    /// # Errors
    ///
    /// The first check that fails.
    pub fn parse_classic(datagram: &'a [u8]) -> Result<Self, ParseError> {
        Self::scan(datagram)
    }

    #[inline]
    fn scan(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let Some((&header, mut rest)) = datagram.split_first_chunk::<HEADER_LEN>() else {
            return Err(ParseError::Short);
        };
        let [t0, t1, l0, l1, c0, c1, c2, c3, ..] = header;
        if t0 & 0b1100_0000 != 0 {
            return Err(ParseError::LeadingBits);
        }
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if length != rest.len() || !length.is_multiple_of(4) {
            return Err(ParseError::Length);
        }
        let (class, method) = split_message_type(u16::from_be_bytes([t0, t1]));
        let mut message = Self {
            bytes: datagram,
            class,
            method,
            classic: u32::from_be_bytes([c0, c1, c2, c3]) != MAGIC_COOKIE,
            use_candidate: false,
            end: Place::NONE,
            username: Place::NONE,
            priority: Place::NONE,
            controlling: Place::NONE,
            controlled: Place::NONE,
            xor_mapped_address: Place::NONE,
            error_code: Place::NONE,
            integrity: Place::NONE,
            integrity_sha256: Place::NONE,
            fingerprint: Place::NONE,
        };
        let mut at = HEADER_LEN;
        while let Some((&[k0, k1, l0, l1], tail)) = rest.split_first_chunk::<4>() {
            let padded = usize::from(u16::from_be_bytes([l0, l1])).next_multiple_of(4);
            let Some((value, next)) = tail.split_at_checked(padded) else {
                return Err(ParseError::Attribute);
            };
            let kind = AttributeType(u16::from_be_bytes([k0, k1]));
            if kind == AttributeType::FINGERPRINT {
                let length = u16::from_be_bytes([l0, l1]);
                message.check_fingerprint(at, length, value, next)?;
            } else if !message.end.is_some() || planted(Bug::AfterIntegrity) {
                message.note(kind, at);
            } else if kind == AttributeType::MESSAGE_INTEGRITY_SHA256 {
                message.integrity_sha256.or_set(at);
            }
            at += 4 + padded;
            rest = next;
        }
        message.end.or_set(at);
        Ok(message)
    }

    /// Checks a FINGERPRINT at `at`. [rfc8489-14.7-2] [rfc8489-14.7-p1]
    #[inline]
    fn check_fingerprint(
        &mut self,
        at: usize,
        length: u16,
        value: &[u8],
        next: &[u8],
    ) -> Result<(), ParseError> {
        let (Ok(value), Some(before)) = (<[u8; 4]>::try_from(value), self.bytes.get(..at)) else {
            return Err(ParseError::Fingerprint);
        };
        if length != 4
            || !next.is_empty()
            || super::fingerprint(before) != u32::from_be_bytes(value)
        {
            return Err(ParseError::Fingerprint);
        }
        self.fingerprint = Place::new(at);
        self.end.or_set(at);
        Ok(())
    }

    /// Remembers where the attributes are that most messages are asked for.
    #[inline]
    fn note(&mut self, kind: AttributeType, at: usize) {
        match kind {
            AttributeType::USERNAME => self.username.or_set(at),
            AttributeType::PRIORITY => self.priority.or_set(at),
            AttributeType::ICE_CONTROLLING => self.controlling.or_set(at),
            AttributeType::ICE_CONTROLLED => self.controlled.or_set(at),
            AttributeType::USE_CANDIDATE => self.use_candidate = true,
            AttributeType::XOR_MAPPED_ADDRESS => self.xor_mapped_address.or_set(at),
            AttributeType::ERROR_CODE => self.error_code.or_set(at),
            AttributeType::MESSAGE_INTEGRITY => {
                self.integrity = Place::new(at);
                self.end = self.integrity;
            }
            AttributeType::MESSAGE_INTEGRITY_SHA256 => {
                self.integrity_sha256 = Place::new(at);
                self.end = self.integrity_sha256;
            }
            _ => {}
        }
    }

    /// Returns the class.
    #[must_use]
    pub const fn class(&self) -> MessageClass {
        self.class
    }

    /// Returns the method.
    #[must_use]
    pub const fn method(&self) -> Method {
        self.method
    }

    /// Returns the transaction id; of a classic message the last 96 of its 128 bits.
    #[must_use]
    pub fn transaction_id(&self) -> TransactionId {
        let id = self.bytes.get(8..HEADER_LEN).and_then(|id| <[u8; 12]>::try_from(id).ok());
        TransactionId(id.unwrap_or_default())
    }

    /// Returns the octets of the whole message.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns whether the message lacks the magic cookie: RFC 3489.
    #[must_use]
    pub const fn is_classic(&self) -> bool {
        self.classic
    }

    /// Returns whether there is a FINGERPRINT; it was right.
    #[must_use]
    pub const fn has_fingerprint(&self) -> bool {
        self.fingerprint.is_some()
    }

    /// Returns whether there is MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256, right or wrong.
    #[must_use]
    pub const fn has_integrity(&self) -> bool {
        self.integrity.is_some() || self.integrity_sha256.is_some()
    }

    /// Returns the attributes that count: those before the first integrity attribute, without
    /// FINGERPRINT. [rfc8489-9-1] [rfc8489-9-2]
    #[must_use]
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes { rest: self.bytes.get(HEADER_LEN..self.end.octets()).unwrap_or_default() }
    }

    /// Returns the value of the first attribute of `kind` among those that count, without its
    /// padding. [rfc8489-14-3] [rfc8489-14-4b] [rfc8489-14-6]
    #[must_use]
    pub fn attribute(&self, kind: AttributeType) -> Option<&'a [u8]> {
        self.attributes().find(|attribute| attribute.kind == kind).map(|found| found.value)
    }

    /// Returns the value of the attribute at `place`.
    fn value(&self, place: Place) -> Option<&'a [u8]> {
        if !place.is_some() {
            return None;
        }
        let (&[_, _, l0, l1], tail) = self.bytes.get(place.octets()..)?.split_first_chunk::<4>()?;
        tail.get(..usize::from(u16::from_be_bytes([l0, l1])))
    }

    fn array<const N: usize>(&self, place: Place) -> Option<[u8; N]> {
        self.value(place)?.try_into().ok()
    }

    fn u32(&self, kind: AttributeType) -> Option<u32> {
        Some(u32::from_be_bytes(self.attribute(kind)?.try_into().ok()?))
    }

    fn text(&self, kind: AttributeType) -> Option<&'a [u8]> {
        self.attribute(kind).filter(|text| text.len() <= MAX_TEXT_RECEIVED)
    }

    fn address(&self, kind: AttributeType) -> Option<SocketAddr> {
        attribute::decode_address(self.attribute(kind)?)
    }

    fn xor_address(&self, kind: AttributeType) -> Option<SocketAddr> {
        attribute::decode_xor_address(self.attribute(kind)?, self.transaction_id())
    }

    /// Returns USERNAME, at most 763 octets. [rfc8489-14.3-2]
    #[must_use]
    pub fn username(&self) -> Option<&'a [u8]> {
        self.value(self.username).filter(|name| name.len() <= MAX_TEXT_RECEIVED)
    }

    /// Returns PRIORITY.
    #[must_use]
    pub fn priority(&self) -> Option<u32> {
        self.array(self.priority).map(u32::from_be_bytes)
    }

    /// Returns whether there is a USE-CANDIDATE.
    #[must_use]
    pub const fn use_candidate(&self) -> bool {
        self.use_candidate
    }

    /// Returns the tie-breaker of ICE-CONTROLLING.
    #[must_use]
    pub fn ice_controlling(&self) -> Option<u64> {
        self.array(self.controlling).map(u64::from_be_bytes)
    }

    /// Returns the tie-breaker of ICE-CONTROLLED.
    #[must_use]
    pub fn ice_controlled(&self) -> Option<u64> {
        self.array(self.controlled).map(u64::from_be_bytes)
    }

    /// Returns the value of NOMINATION, whose type both sides agreed on.
    #[must_use]
    pub fn nomination(&self, kind: AttributeType) -> Option<u32> {
        self.u32(kind)
    }

    /// Returns XOR-MAPPED-ADDRESS; `None` too for a family that is neither IPv4 nor IPv6.
    /// [rfc8489-14.2-p1] [rfc8489-6.3.3-1]
    #[must_use]
    pub fn xor_mapped_address(&self) -> Option<SocketAddr> {
        let value = self.value(self.xor_mapped_address)?;
        attribute::decode_xor_address(value, self.transaction_id())
    }

    /// Returns XOR-MAPPED-ADDRESS, else MAPPED-ADDRESS as old servers send it.
    #[must_use]
    pub fn mapped_address(&self) -> Option<SocketAddr> {
        self.xor_mapped_address().or_else(|| self.address(AttributeType::MAPPED_ADDRESS))
    }

    /// Returns ERROR-CODE.
    #[must_use]
    pub fn error_code(&self) -> Option<ErrorCode<'a>> {
        ErrorCode::decode(self.value(self.error_code)?)
    }

    /// Returns REALM, at most 763 octets. [rfc8489-14.9-1a]
    #[must_use]
    pub fn realm(&self) -> Option<&'a [u8]> {
        self.text(AttributeType::REALM)
    }

    /// Returns NONCE, at most 763 octets. [rfc8489-14.10-1]
    #[must_use]
    pub fn nonce(&self) -> Option<&'a [u8]> {
        self.text(AttributeType::NONCE)
    }

    /// Returns SOFTWARE, at most 763 octets. [rfc8489-14.14-2]
    #[must_use]
    pub fn software(&self) -> Option<&'a [u8]> {
        self.text(AttributeType::SOFTWARE)
    }

    /// Returns the first ALTERNATE-SERVER.
    #[must_use]
    pub fn alternate_server(&self) -> Option<SocketAddr> {
        self.alternate_servers().next()
    }

    /// Returns every ALTERNATE-SERVER: there may be one for each address family.
    pub fn alternate_servers(&self) -> impl Iterator<Item = SocketAddr> + use<'a> {
        self.attributes()
            .filter(|attribute| attribute.kind == AttributeType::ALTERNATE_SERVER)
            .filter_map(|attribute| attribute::decode_address(attribute.value))
    }

    /// Returns ALTERNATE-DOMAIN, at most 255 ASCII characters. [rfc8489-14.16-1]
    #[must_use]
    pub fn alternate_domain(&self) -> Option<&'a str> {
        let domain = self.attribute(AttributeType::ALTERNATE_DOMAIN)?;
        let domain = core::str::from_utf8(domain).ok()?;
        (domain.len() <= 255 && domain.is_ascii()).then_some(domain)
    }

    /// Returns the types of UNKNOWN-ATTRIBUTES; none if it is absent.
    #[must_use]
    pub fn unknown_attributes(&self) -> UnknownAttributes<'a> {
        let value = self.attribute(AttributeType::UNKNOWN_ATTRIBUTES);
        UnknownAttributes::new(value.unwrap_or_default())
    }

    /// Returns the first XOR-PEER-ADDRESS.
    #[must_use]
    pub fn xor_peer_address(&self) -> Option<SocketAddr> {
        self.xor_address(AttributeType::XOR_PEER_ADDRESS)
    }

    /// Returns the first XOR-RELAYED-ADDRESS.
    #[must_use]
    pub fn xor_relayed_address(&self) -> Option<SocketAddr> {
        self.xor_relayed_addresses().next()
    }

    /// Returns every XOR-RELAYED-ADDRESS: there may be one for each address family.
    pub fn xor_relayed_addresses(&self) -> impl Iterator<Item = SocketAddr> + use<'a> {
        let id = self.transaction_id();
        self.attributes()
            .filter(|attribute| attribute.kind == AttributeType::XOR_RELAYED_ADDRESS)
            .filter_map(move |attribute| attribute::decode_xor_address(attribute.value, id))
    }

    /// Returns LIFETIME, in whole seconds.
    #[must_use]
    pub fn lifetime(&self) -> Option<Duration> {
        self.u32(AttributeType::LIFETIME).map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// Returns CHANNEL-NUMBER; what follows the number is reserved. [rfc8656-18.1-1b]
    #[must_use]
    pub fn channel_number(&self) -> Option<u16> {
        match *self.attribute(AttributeType::CHANNEL_NUMBER)? {
            [n0, n1, _, _] => Some(u16::from_be_bytes([n0, n1])),
            _ => None,
        }
    }

    /// Returns DATA.
    #[must_use]
    pub fn data(&self) -> Option<&'a [u8]> {
        self.attribute(AttributeType::DATA)
    }

    /// Returns RESERVATION-TOKEN.
    #[must_use]
    pub fn reservation_token(&self) -> Option<[u8; 8]> {
        self.attribute(AttributeType::RESERVATION_TOKEN)?.try_into().ok()
    }

    /// Returns CONNECTION-ID.
    #[must_use]
    pub fn connection_id(&self) -> Option<u32> {
        self.u32(AttributeType::CONNECTION_ID)
    }

    /// Returns ADDRESS-ERROR-CODE: the family refused, 1 for IPv4 and 2 for IPv6, and why.
    /// Reserved bits are ignored. [rfc8656-18.12-1b]
    #[must_use]
    pub fn address_error_code(&self) -> Option<(u8, ErrorCode<'a>)> {
        let value = self.attribute(AttributeType::ADDRESS_ERROR_CODE)?;
        Some((*value.first()?, ErrorCode::decode(value)?))
    }

    /// Returns OTHER-ADDRESS.
    #[must_use]
    pub fn other_address(&self) -> Option<SocketAddr> {
        self.address(AttributeType::OTHER_ADDRESS)
    }

    /// Returns RESPONSE-ORIGIN.
    #[must_use]
    pub fn response_origin(&self) -> Option<SocketAddr> {
        self.address(AttributeType::RESPONSE_ORIGIN)
    }

    /// Returns CHANGE-REQUEST.
    #[must_use]
    pub fn change_request(&self) -> Option<ChangeRequest> {
        self.u32(AttributeType::CHANGE_REQUEST).map(ChangeRequest::from_bits)
    }

    /// Returns USERHASH.
    #[must_use]
    pub fn userhash(&self) -> Option<[u8; 32]> {
        self.attribute(AttributeType::USERHASH)?.try_into().ok()
    }

    /// Returns PASSWORD-ALGORITHM.
    #[must_use]
    pub fn password_algorithm(&self) -> Option<PasswordAlgorithm<'a>> {
        PasswordAlgorithms::new(self.attribute(AttributeType::PASSWORD_ALGORITHM)?).next()
    }

    /// Returns the algorithms of PASSWORD-ALGORITHMS in their order; `None` if it is absent.
    #[must_use]
    pub fn password_algorithms(&self) -> Option<PasswordAlgorithms<'a>> {
        self.attribute(AttributeType::PASSWORD_ALGORITHMS).map(PasswordAlgorithms::new)
    }

    /// Returns the comprehension-required attributes that `known` does not know. Others that are
    /// unknown are ignored. Authenticate first. [rfc8489-6.3-1] [rfc8489-6.3-p2]
    /// [rfc8489-6.3.1-p1] [rfc8489-6.3.2-p1] [rfc8489-6.3.3-p1]
    pub fn unknown_required<F>(&self, known: F) -> impl Iterator<Item = AttributeType> + use<'a, F>
    where
        F: Fn(AttributeType) -> bool,
    {
        self.attributes()
            .map(|attribute| attribute.kind)
            .filter(move |&kind| kind.is_comprehension_required() && !known(kind))
    }

    /// Verifies the integrity attribute of the key's algorithm over the octets as received, in
    /// constant time. [rfc8489-14.5-p1] [rfc8489-14.6-1a] [rfc8489-14.6-1b]
    ///
    /// The header length that the HMAC covers ends at the integrity attribute, whatever follows.
    ///
    /// # Errors
    ///
    /// What is missing or wrong; a request is then refused, anything else dropped.
    /// [rfc8489-9.1.4-1] [rfc8489-9.1.4-2]
    #[inline]
    pub fn verify(&self, key: &IntegrityKey) -> Result<Authenticated<'a>, IntegrityError> {
        let (place, other) = match key.algorithm() {
            IntegrityAlgorithm::Sha1 => (self.integrity, self.integrity_sha256),
            IntegrityAlgorithm::Sha256 => (self.integrity_sha256, self.integrity),
        };
        let Some(value) = self.value(place) else {
            let missing = !other.is_some();
            return Err(if missing { IntegrityError::Missing } else { IntegrityError::Algorithm });
        };
        let covered = self.bytes.get(..place.octets()).unwrap_or_default();
        // At most 65,532, as the attribute is within the message.
        let length = place.octets() + 4 + value.len().next_multiple_of(4) - HEADER_LEN;
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        if key.matches(covered, length, value) {
            Ok(Authenticated(*self))
        } else {
            Err(IntegrityError::Wrong)
        }
    }
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("class", &self.class)
            .field("method", &self.method)
            .field("transaction_id", &self.transaction_id())
            .field("octets", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// A message whose integrity was verified; only [`Message::verify`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct Authenticated<'a>(Message<'a>);

impl<'a> Deref for Authenticated<'a> {
    type Target = Message<'a>;

    fn deref(&self) -> &Message<'a> {
        &self.0
    }
}

/// One attribute: type, length without padding, value. [rfc8489-14-1] [rfc8489-14-3]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// The type.
    pub kind: AttributeType,
    /// The value without padding.
    pub value: &'a [u8],
}

/// The attributes of a message that count, in their order.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let (&[k0, k1, l0, l1], tail) = self.rest.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let value = tail.get(..length)?;
        self.rest = tail.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Attribute { kind: AttributeType(u16::from_be_bytes([k0, k1])), value })
    }
}
