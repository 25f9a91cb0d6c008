//! Claims about the attributes of a STUN message, against a reading that keeps nothing and knows
//! nothing but the RFC's diagrams.

use std::net::{IpAddr, SocketAddr};

use floe::stun::{
    Attribute, AttributeType, Encoder, IntegrityKey, Message, MessageClass, Method, TransactionId,
};

use super::Input;

/// The password of the vectors of RFC 5769, so that seeds get past the integrity.
const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";
/// What ends the attributes that count.
const SEALS: [AttributeType; 3] = [
    AttributeType::MESSAGE_INTEGRITY,
    AttributeType::MESSAGE_INTEGRITY_SHA256,
    AttributeType::FINGERPRINT,
];
/// The attributes with a getter, most of all; the last one is of nobody.
const KINDS: [AttributeType; 28] = [
    AttributeType::USERNAME,
    AttributeType::PRIORITY,
    AttributeType::ICE_CONTROLLING,
    AttributeType::ICE_CONTROLLED,
    AttributeType::USE_CANDIDATE,
    AttributeType::NOMINATION,
    AttributeType::XOR_MAPPED_ADDRESS,
    AttributeType::MAPPED_ADDRESS,
    AttributeType::XOR_PEER_ADDRESS,
    AttributeType::XOR_RELAYED_ADDRESS,
    AttributeType::ALTERNATE_SERVER,
    AttributeType::OTHER_ADDRESS,
    AttributeType::RESPONSE_ORIGIN,
    AttributeType::ERROR_CODE,
    AttributeType::ADDRESS_ERROR_CODE,
    AttributeType::UNKNOWN_ATTRIBUTES,
    AttributeType::REALM,
    AttributeType::NONCE,
    AttributeType::SOFTWARE,
    AttributeType::LIFETIME,
    AttributeType::CHANNEL_NUMBER,
    AttributeType::DATA,
    AttributeType::RESERVATION_TOKEN,
    AttributeType::CONNECTION_ID,
    AttributeType::USERHASH,
    AttributeType::PASSWORD_ALGORITHM,
    AttributeType::PASSWORD_ALGORITHMS,
    AttributeType(0x7FFF),
];

/// The attributes that count are those before the first integrity attribute or FINGERPRINT, in
/// their order; every getter reads the first of its type and no octet more; what is appended after
/// the integrity changes nothing, and a message of which a covered bit was flipped never verifies.
///
/// The first octet says whether the others are a message, but for its length and cookie, or what
/// one is made of.
pub fn stun_attributes(data: &[u8]) {
    let mut input = Input(data);
    let how = input.octet();
    if how & 1 == 0 {
        let mut octets: Box<[u8]> = Box::from(input.take(usize::MAX));
        if let Some((header, attributes)) = octets.split_first_chunk_mut::<20>() {
            header[0] &= 0x3F;
            let length = u16::try_from(attributes.len()).unwrap_or(u16::MAX);
            header[2..4].copy_from_slice(&length.to_be_bytes());
            header[4..8].copy_from_slice(&[0x21, 0x12, 0xA4, 0x42]);
        }
        if let Ok(message) = Message::parse(&octets) {
            compare(&message);
        }
    } else {
        build(how, &mut input);
    }
}

/// Reads the attributes that count, one after the other.
fn read(octets: &[u8]) -> Vec<Attribute<'_>> {
    let mut attributes = Vec::new();
    let mut at = 20;
    while at < octets.len() {
        let kind = AttributeType(u16::from_be_bytes([octets[at], octets[at + 1]]));
        let length = usize::from(u16::from_be_bytes([octets[at + 2], octets[at + 3]]));
        if SEALS.contains(&kind) {
            break;
        }
        attributes.push(Attribute { kind, value: &octets[at + 4..at + 4 + length] });
        at += 4 + length.div_ceil(4) * 4;
    }
    attributes
}

/// Every getter says what the plain reading says.
fn compare(message: &Message<'_>) {
    let octets = message.as_bytes();
    let attributes = read(octets);
    assert!(message.attributes().eq(attributes.iter().copied()), "other attributes");
    let all = |kind| attributes.iter().filter(move |one| one.kind == kind).map(|one| one.value);
    let first = |kind| all(kind).next();
    for kind in KINDS {
        assert_eq!(message.attribute(kind), first(kind), "{kind}");
    }
    let text = |kind| first(kind).filter(|text| text.len() <= 763);
    assert_eq!(message.username(), text(AttributeType::USERNAME));
    assert_eq!(message.realm(), text(AttributeType::REALM));
    assert_eq!(message.nonce(), text(AttributeType::NONCE));
    assert_eq!(message.software(), text(AttributeType::SOFTWARE));
    let number = |kind| Some(u32::from_be_bytes(first(kind)?.try_into().ok()?));
    assert_eq!(message.priority(), number(AttributeType::PRIORITY));
    assert_eq!(message.connection_id(), number(AttributeType::CONNECTION_ID));
    assert_eq!(message.nomination(AttributeType::NOMINATION), number(AttributeType::NOMINATION));
    let lifetime = message.lifetime().map(|lifetime| lifetime.as_secs());
    assert_eq!(lifetime, number(AttributeType::LIFETIME).map(u64::from));
    let channel = number(AttributeType::CHANNEL_NUMBER);
    assert_eq!(message.channel_number().map(u32::from), channel.map(|number| number >> 16));
    let long = |kind| Some(u64::from_be_bytes(first(kind)?.try_into().ok()?));
    assert_eq!(message.ice_controlling(), long(AttributeType::ICE_CONTROLLING));
    assert_eq!(message.ice_controlled(), long(AttributeType::ICE_CONTROLLED));
    let token = message.reservation_token().map(u64::from_be_bytes);
    assert_eq!(token, long(AttributeType::RESERVATION_TOKEN));
    assert_eq!(message.use_candidate(), first(AttributeType::USE_CANDIDATE).is_some());
    assert_eq!(message.data(), first(AttributeType::DATA));
    let hash = message.userhash();
    let expected = first(AttributeType::USERHASH).filter(|value| value.len() == 32);
    assert_eq!(hash.as_ref().map(|hash| &hash[..]), expected);

    let xored = |kind| address(first(kind)?, octets);
    let clear = |kind| address(first(kind)?, &[0; 20]);
    let mapped = xored(AttributeType::XOR_MAPPED_ADDRESS);
    assert_eq!(message.xor_mapped_address(), mapped);
    assert_eq!(message.mapped_address(), mapped.or_else(|| clear(AttributeType::MAPPED_ADDRESS)));
    assert_eq!(message.xor_peer_address(), xored(AttributeType::XOR_PEER_ADDRESS));
    assert_eq!(message.other_address(), clear(AttributeType::OTHER_ADDRESS));
    assert_eq!(message.response_origin(), clear(AttributeType::RESPONSE_ORIGIN));
    let relayed = all(AttributeType::XOR_RELAYED_ADDRESS).filter_map(|one| address(one, octets));
    assert!(message.xor_relayed_addresses().eq(relayed));
    let servers = all(AttributeType::ALTERNATE_SERVER).filter_map(|one| address(one, &[0; 20]));
    assert!(message.alternate_servers().eq(servers));

    let error = message.error_code().map(|error| error.code());
    assert_eq!(error, first(AttributeType::ERROR_CODE).and_then(code));
    let refused = first(AttributeType::ADDRESS_ERROR_CODE);
    let refused = refused.and_then(|value| Some((*value.first()?, code(value)?)));
    assert_eq!(message.address_error_code().map(|(family, why)| (family, why.code())), refused);
    let unknown = first(AttributeType::UNKNOWN_ATTRIBUTES).unwrap_or_default();
    let unknown = unknown.as_chunks::<2>().0.iter().map(|kind| u16::from_be_bytes(*kind));
    assert!(message.unknown_attributes().eq(unknown));
    let required = attributes.iter().map(|one| one.kind).filter(|kind| kind.0 < 0x8000);
    assert!(message.unknown_required(|_| false).eq(required));
}

/// An address whose octets are masked by the sixteen before the end of a header.
fn address(value: &[u8], header: &[u8]) -> Option<SocketAddr> {
    let octet = |at: usize| value[4 + at] ^ header[4 + at];
    let ip = match (value.get(1)?, value.len()) {
        (1, 8) => IpAddr::from(core::array::from_fn::<u8, 4, _>(octet)),
        (2, 20) => IpAddr::from(core::array::from_fn::<u8, 16, _>(octet)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes([value[2] ^ header[4], value[3] ^ header[5]])))
}

fn code(value: &[u8]) -> Option<u16> {
    let (class, number) = (*value.get(2)? & 7, *value.get(3)?);
    ((3..=6).contains(&class) && number < 100).then(|| u16::from(class) * 100 + u16::from(number))
}

/// Makes a sealed message, appends to it, and flips bits of it.
fn build(how: u8, input: &mut Input<'_>) {
    let mut buf = [0; 2048];
    let class = if how & 2 == 0 { MessageClass::Request } else { MessageClass::Success };
    let id = TransactionId(input.array());
    let mut encoder = Encoder::new(&mut buf, class, Method::BINDING, id);
    for _ in 0..input.octet() % 12 {
        encoder = encoder.attribute(kind(input), input.chunk());
    }
    let sha1 = IntegrityKey::short_term(PASSWORD);
    let sha256 = IntegrityKey::short_term_sha256(PASSWORD);
    let keys = match how >> 2 & 3 {
        0 => vec![&sha1],
        1 => vec![&sha256],
        2 => vec![&sha1, &sha256],
        _ => vec![],
    };
    for key in &keys {
        encoder = encoder.integrity(key);
    }
    let Ok(length) = encoder.finish() else { return };
    let sealed: Box<[u8]> = Box::from(&buf[..length]);
    let message = Message::parse(&sealed).expect("what is written is read");
    compare(&message);
    for key in &keys {
        assert!(message.verify(key).is_ok(), "what is sealed is verified");
    }
    flip(&sealed, &keys, input);
    if !keys.is_empty() {
        append(&message, &keys, how, input);
    }
}

/// One of those with a getter, or any but what seals.
fn kind(input: &mut Input<'_>) -> AttributeType {
    let octet = input.octet();
    let kind = match KINDS.get(usize::from(octet)) {
        Some(kind) => *kind,
        None => AttributeType(input.u16()),
    };
    if SEALS.contains(&kind) { AttributeType(0x7FFF) } else { kind }
}

/// A message of which one bit was flipped is refused, or not verified.
fn flip(sealed: &[u8], keys: &[&IntegrityKey], input: &mut Input<'_>) {
    let Some(&key) = keys.first() else { return };
    // The second integrity attribute is not covered by the first.
    let covered = sealed.len() - if keys.len() == 2 { 36 } else { 0 };
    for _ in 0..input.octet() % 8 {
        let at = usize::from(input.u16()) % (covered * 8);
        let mut flipped: Box<[u8]> = Box::from(sealed);
        flipped[at / 8] ^= 0x80 >> (at % 8);
        let Ok(message) = Message::parse(&flipped) else { continue };
        compare(&message);
        assert!(message.verify(key).is_err(), "verified with bit {at} flipped");
    }
}

/// What follows the integrity changes no getter and no verdict, whatever it is; a FINGERPRINT, if
/// there is one, is right and last.
fn append(message: &Message<'_>, keys: &[&IntegrityKey], how: u8, input: &mut Input<'_>) {
    let mut octets = message.as_bytes().to_vec();
    for _ in 0..1 + input.octet() % 6 {
        let octet = input.octet();
        let kind = match octet {
            0 => AttributeType::MESSAGE_INTEGRITY,
            1 => AttributeType::MESSAGE_INTEGRITY_SHA256,
            _ => KINDS[usize::from(octet) % KINDS.len()],
        };
        let value = input.chunk();
        octets.extend_from_slice(&kind.0.to_be_bytes());
        octets.extend_from_slice(&u16::try_from(value.len()).unwrap_or(0).to_be_bytes());
        octets.extend_from_slice(value);
        octets.resize(octets.len().next_multiple_of(4), how);
    }
    let sealed = how & 16 != 0;
    if sealed {
        octets.extend_from_slice(&[0x80, 0x28, 0, 4, 0, 0, 0, 0]);
    }
    let length = u16::try_from(octets.len() - 20).expect("a short message");
    octets[2..4].copy_from_slice(&length.to_be_bytes());
    if sealed {
        let (before, value) = octets.split_at_mut(usize::from(length) + 12);
        value[4..].copy_from_slice(&fingerprint(before).to_be_bytes());
    }
    let octets = octets.into_boxed_slice();
    let longer = Message::parse(&octets).expect("what is appended has the right form");
    assert_eq!(longer.has_fingerprint(), sealed);
    assert!(longer.attributes().eq(message.attributes()), "appended attributes count");
    compare(&longer);
    for key in keys {
        assert!(longer.verify(key).is_ok(), "no longer verified with what was appended");
    }
}

/// The CRC-32 of RFC 8489 §14.7, bit by bit.
fn fingerprint(octets: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for octet in octets {
        crc ^= u32::from(*octet);
        for _ in 0..8 {
            crc = if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0xEDB8_8320 };
        }
    }
    !crc ^ 0x5354_554E
}
