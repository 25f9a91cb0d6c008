//! The claim that floe reads STUN as two other implementations do.

use std::net::SocketAddr;

use floe::stun::{Attribute, AttributeType, IntegrityKey, Message, ParseError};
use stun::error_code::ErrorCodeAttribute;
use stun::integrity::MessageIntegrity as RsIntegrity;
use stun::message::Getter;
use stun_types::attribute::{
    ErrorCode, MessageIntegrity, MessageIntegritySha256, XorMappedAddress,
};
use stun_types::message::ShortTermCredentials;

/// The password of the vectors of RFC 5769, so that seeds get past the integrity.
const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

/// What ends the attributes that count.
const SEALS: [AttributeType; 3] = [
    AttributeType::MESSAGE_INTEGRITY,
    AttributeType::MESSAGE_INTEGRITY_SHA256,
    AttributeType::FINGERPRINT,
];

/// floe, `stun-types` and webrtc-rs's `stun` accept the same messages, and see the same attributes,
/// verdicts on integrity, reflexive addresses and error codes in them, but for the differences that
/// README.md lists; each is named here by its number there.
///
/// The first octet says what is done to the others: nothing, or a cookie and a length are written
/// into them, and integrity and FINGERPRINT are appended.
pub fn stun_differential(data: &[u8]) {
    let Some((&how, rest)) = data.split_first() else { return };
    let octets = if how & 1 == 0 { rest.to_vec() } else { seal(how, rest) };
    if octets.len() > 20 + 0xFFFF {
        return;
    }
    let theirs = stun_types::message::Message::from_bytes(&octets);
    let mut rs = stun::message::Message::new();
    let decoded = rs.unmarshal_binary(&octets).is_ok();
    match Message::parse(&octets) {
        Ok(message) => {
            let theirs = theirs.expect("stun-types refuses what floe accepts");
            assert!(decoded, "stun refuses what floe accepts");
            compare_types(&message, &theirs);
            compare_rs(&message, &mut rs);
        }
        Err(error) => {
            let length = octets.get(2..4).map_or(0, |l| usize::from(l[0]) << 8 | usize::from(l[1]));
            let longer = octets.len() > 20 + length;
            let unexpected = stops(&octets) == Some(Stop::Unexpected);
            let (types, rs) = match error {
                ParseError::Short | ParseError::Cookie => (false, false),
                // 1
                ParseError::LeadingBits => (false, true),
                // 2, 3
                ParseError::Length => (longer || unexpected, longer),
                // 3
                ParseError::Attribute => (unexpected, false),
                // 4, 5
                ParseError::Fingerprint => (stops(&octets) != Some(Stop::Fingerprint), true),
            };
            assert!(types || theirs.is_err(), "stun-types accepts what floe refuses: {error}");
            assert!(rs || !decoded, "stun accepts what floe refuses: {error}");
        }
    }
}

/// Makes a message of a tail, an octet of length before it, and a head.
fn seal(how: u8, rest: &[u8]) -> Vec<u8> {
    let (length, rest) = rest.split_first().map_or((0, rest), |(l, rest)| (usize::from(*l), rest));
    let (tail, head) = rest.split_at(length.min(rest.len()));
    let Some((header, attributes)) = head.split_first_chunk::<20>() else { return head.to_vec() };
    let mut octets = header.to_vec();
    octets[0] &= 0x3F;
    octets[4..8].copy_from_slice(&[0x21, 0x12, 0xA4, 0x42]);
    octets.extend_from_slice(attributes);
    octets.resize(octets.len().next_multiple_of(4), 0);
    if how & 2 != 0 {
        integrity(&mut octets, AttributeType::MESSAGE_INTEGRITY, 20);
    }
    if how & 4 != 0 {
        let length = [32, 28, 24, 20, 16, 12, 8, 4][usize::from(how >> 4 & 7)];
        integrity(&mut octets, AttributeType::MESSAGE_INTEGRITY_SHA256, length);
    }
    octets.extend_from_slice(tail);
    octets.resize(octets.len().next_multiple_of(4), 0);
    if how & 8 != 0 {
        octets.extend_from_slice(&[0x80, 0x28, 0, 4, 0, 0, 0, 0]);
    }
    write_length(&mut octets);
    if how & 8 != 0 {
        let covered = octets.len() - 8;
        let value = stun::fingerprint::fingerprint_value(&octets[..covered]);
        octets[covered + 4..].copy_from_slice(&value.to_be_bytes());
    }
    octets
}

fn write_length(octets: &mut [u8]) {
    let length = u16::try_from(octets.len() - 20).unwrap_or(u16::MAX);
    octets[2..4].copy_from_slice(&length.to_be_bytes());
}

/// Appends MESSAGE-INTEGRITY, or MESSAGE-INTEGRITY-SHA256 cut to a length. The HMAC is that of
/// stun-types.
fn integrity(octets: &mut Vec<u8>, kind: AttributeType, length: usize) {
    let covered = octets.len();
    octets.extend_from_slice(&kind.0.to_be_bytes());
    octets.extend_from_slice(&[0, u8::try_from(length).unwrap_or(0)]);
    octets.resize(octets.len() + length, 0);
    write_length(octets);
    let key = ShortTermCredentials::new(PASSWORD.into()).make_key();
    let (covered, value) = octets.split_at_mut(covered);
    let value = &mut value[4..];
    if kind == AttributeType::MESSAGE_INTEGRITY {
        value.copy_from_slice(&MessageIntegrity::compute(&[covered], &key).expect("a MAC"));
    } else {
        let mac = MessageIntegritySha256::compute(&[covered], &key).expect("a MAC");
        value.copy_from_slice(&mac[..length]);
    }
}

/// The types of the attributes with their places, as far as they are whole.
fn kinds(octets: &[u8]) -> Vec<(usize, AttributeType)> {
    let mut kinds = Vec::new();
    let mut at = 20;
    while let Some(&[k0, k1, l0, l1]) = octets.get(at..at + 4) {
        kinds.push((at, AttributeType(u16::from_be_bytes([k0, k1]))));
        at += 4 + usize::from(u16::from_be_bytes([l0, l1])).next_multiple_of(4);
    }
    kinds
}

/// Where stun-types does not read on.
#[derive(PartialEq)]
enum Stop {
    /// At what it does not expect behind a seal; it accepts the message.
    Unexpected,
    /// At a FINGERPRINT of the wrong length or value; it refuses the message.
    Fingerprint,
}

fn stops(octets: &[u8]) -> Option<Stop> {
    let mut seals = Vec::new();
    for (at, kind) in kinds(octets) {
        if !SEALS.contains(&kind) && seals.is_empty() {
            continue;
        }
        if !SEALS.contains(&kind) || seals.contains(&kind) {
            return Some(Stop::Unexpected);
        }
        seals.push(kind);
        if kind == AttributeType::FINGERPRINT && !is_fingerprint(octets, at) {
            return Some(Stop::Fingerprint);
        }
    }
    None
}

/// Whether the FINGERPRINT at a place is that of a message that ends behind it.
fn is_fingerprint(octets: &[u8], at: usize) -> bool {
    let Some(&[0, 4, v0, v1, v2, v3]) = octets.get(at + 2..at + 8) else { return false };
    let mut covered = octets[..at].to_vec();
    covered[2..4].copy_from_slice(&u16::try_from(at - 12).unwrap_or(0).to_be_bytes());
    stun::fingerprint::fingerprint_value(&covered).to_be_bytes() == [v0, v1, v2, v3]
}

/// stun-types sees what floe sees.
fn compare_types(message: &Message<'_>, theirs: &stun_types::message::Message<'_>) {
    let sealed = |kind: u16| SEALS.contains(&AttributeType(kind));
    let attributes: Vec<_> = theirs.iter_attributes().map(|(_, attribute)| attribute).collect();
    let counting = attributes.iter().take_while(|one| !sealed(one.header.get_type().value()));
    let counting = counting.map(|one| Attribute {
        kind: AttributeType(one.header.get_type().value()),
        value: &one.value,
    });
    assert!(message.attributes().eq(counting), "stun-types sees other attributes");
    assert_eq!(u128::from(theirs.transaction_id()) as u64, low(message), "another transaction");
    assert_eq!(theirs.method().value(), message.method().get(), "another method");

    let key = ShortTermCredentials::new(PASSWORD.into()).make_key();
    let verdict = theirs.validate_integrity_with_key(&key).is_ok();
    let seals = kinds(message.as_bytes());
    let mut seals = seals.iter().map(|(_, kind)| *kind).skip_while(|kind| !SEALS.contains(kind));
    // 6
    let sha256 = match seals.next() {
        Some(AttributeType::MESSAGE_INTEGRITY_SHA256) => true,
        Some(AttributeType::MESSAGE_INTEGRITY) => {
            seals.next() == Some(AttributeType::MESSAGE_INTEGRITY_SHA256)
        }
        _ => false,
    };
    let ours = if sha256 {
        IntegrityKey::short_term_sha256(PASSWORD.as_bytes()).allow_truncation()
    } else {
        IntegrityKey::short_term(PASSWORD.as_bytes())
    };
    assert_eq!(verdict, message.verify(&ours).is_ok(), "stun-types: another verdict");

    let mapped = theirs.attribute::<XorMappedAddress>().ok();
    let mapped = mapped.map(|mapped| mapped.addr(theirs.transaction_id()));
    assert_eq!(mapped, message.xor_mapped_address(), "stun-types: another address");
    let error = theirs.attribute::<ErrorCode>().map(|error| error.code());
    // 7
    let value = message.attribute(AttributeType::ERROR_CODE).and_then(|value| value.get(4..));
    let readable =
        value.is_some_and(|reason| reason.len() <= 763 && core::str::from_utf8(reason).is_ok());
    if readable {
        assert_eq!(
            error.ok(),
            message.error_code().map(|error| error.code()),
            "stun-types: a code"
        );
    }
}

/// webrtc-rs sees what floe sees.
fn compare_rs(message: &Message<'_>, theirs: &mut stun::message::Message) {
    let kind = |kind: u16| AttributeType(kind);
    let counting = theirs.attributes.0.iter().take_while(|one| !SEALS.contains(&kind(one.typ.0)));
    let counting = counting.map(|one| Attribute { kind: kind(one.typ.0), value: &one.value });
    // 8
    let ours = message.attributes().map(|one| match one.kind {
        AttributeType(0x8020) => Attribute { kind: AttributeType::XOR_MAPPED_ADDRESS, ..one },
        _ => one,
    });
    assert!(ours.eq(counting), "stun sees other attributes");
    assert_eq!(theirs.transaction_id.0, message.transaction_id().0, "another transaction");

    // 9
    let first = kinds(message.as_bytes()).into_iter().find(|(_, kind)| SEALS.contains(kind));
    if first.is_some_and(|(_, kind)| kind == AttributeType::MESSAGE_INTEGRITY) {
        let verdict = RsIntegrity(PASSWORD.as_bytes().to_vec()).check(theirs).is_ok();
        let ours = IntegrityKey::short_term(PASSWORD.as_bytes());
        assert_eq!(verdict, message.verify(&ours).is_ok(), "stun: another verdict");
    }
    let old = message.attributes().any(|one| one.kind == AttributeType(0x8020));
    if let (Some(value), false) = (message.attribute(AttributeType::XOR_MAPPED_ADDRESS), old) {
        let mut mapped = stun::xoraddr::XorMappedAddress::default();
        let read = mapped.get_from(theirs).is_ok();
        let mapped = read.then(|| SocketAddr::new(mapped.ip, mapped.port));
        let whole = matches!((value.get(1), value.len()), (Some(1), 8) | (Some(2), 20));
        // 10, 11
        if value.first() == Some(&0) && whole {
            assert_eq!(mapped, message.xor_mapped_address(), "stun: another address");
        }
    }
    if let Some(value) = message.attribute(AttributeType::ERROR_CODE) {
        let mut error = ErrorCodeAttribute::default();
        let read = error.get_from(theirs).is_ok();
        // 12
        match message.error_code() {
            Some(ours) if value[2] < 8 => assert_eq!(error.code.0, ours.code(), "stun: a code"),
            Some(_) => assert!(read, "stun reads no code"),
            None => {}
        }
    }
}

fn low(message: &Message<'_>) -> u64 {
    let [_, _, _, _, id @ ..] = message.transaction_id().0;
    u64::from_be_bytes(id)
}
