//! RFC 8489: STUN, the codec and the client.

use std::net::SocketAddr;

use floe::stun::{
    AttributeType, BufferTooSmall, Encoder, IntegrityError, IntegrityKey, LongTerm, Message,
    MessageClass, Method, ParseError, TransactionId, userhash,
};
use proptest::prelude::*;

use crate::rfc5769::{self, octets};

mod long_term;
mod transaction;

const ID: TransactionId = TransactionId([7; 12]);

fn encode(class: MessageClass, build: impl FnOnce(Encoder<'_>) -> Encoder<'_>) -> Vec<u8> {
    let mut buf = vec![0xff; 4096];
    let len = build(Encoder::new(&mut buf, class, Method::BINDING, ID)).finish().unwrap();
    buf.truncate(len);
    buf
}

fn check(key: &IntegrityKey) -> Vec<u8> {
    encode(MessageClass::Request, |encoder| {
        encoder
            .username(&[b"Qw3r", b"Zx9y"])
            .u32(AttributeType::PRIORITY, 1_845_501_695)
            .u64(AttributeType::ICE_CONTROLLING, 0x0123_4567_89ab_cdef)
            .flag(AttributeType::USE_CANDIDATE)
            .integrity(key)
    })
}

/// Appends an attribute to a finished message, as somebody on the path might.
fn append(message: &mut Vec<u8>, kind: AttributeType, value: &[u8]) {
    message.extend(kind.0.to_be_bytes());
    message.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
    let length = u16::try_from(message.len() - 20).unwrap();
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

/// What an agent can observe of a verified message.
fn observed(octets: &[u8], key: &IntegrityKey) -> Option<String> {
    let message = Message::parse(octets).ok()?.verify(key).ok()?;
    let attributes: Vec<_> = message.attributes().collect();
    Some(format!(
        "{:?} {:?} {:?} {attributes:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        message.class(),
        message.method(),
        message.transaction_id(),
        message.username(),
        message.priority(),
        message.ice_controlling(),
        message.ice_controlled(),
        message.use_candidate(),
        message.mapped_address(),
    ))
}

// Section 5: the header.

/// [rfc8489-5-1] [rfc8489-5-3] [rfc8489-5-7] [rfc8489-6.1-1] [rfc8489-6.3-p1]
#[test]
fn a_header_that_is_wrong_is_not_stun() {
    let good = check(&rfc5769::key());
    assert!(Message::parse(&good).is_ok());
    for bits in [0x40, 0x80, 0xc0] {
        let mut bad = good.clone();
        bad[0] |= bits;
        assert_eq!(Message::parse(&bad).err(), Some(ParseError::LeadingBits));
    }
    let mut bad = good.clone();
    bad[4] ^= 1;
    assert_eq!(Message::parse(&bad).err(), Some(ParseError::Cookie));
    let mut bad = good.clone();
    bad.extend([0; 4]);
    assert_eq!(Message::parse(&bad).err(), Some(ParseError::Length));
    let mut bad = good[..20].to_vec();
    bad.extend([0; 3]);
    bad[2..4].copy_from_slice(&[0, 3]);
    assert_eq!(Message::parse(&bad).err(), Some(ParseError::Length));
    assert_eq!(Message::parse(&good[..19]).err(), Some(ParseError::Short));
    let mut bad = good[..20].to_vec();
    bad.extend([0x00, 0x06, 0x00, 0x05, 1, 2, 3, 4]);
    bad[2..4].copy_from_slice(&[0, 8]);
    assert_eq!(Message::parse(&bad).err(), Some(ParseError::Attribute));
}

/// [rfc8489-6.1-1] [rfc8489-6.1-2]
#[test]
fn every_class_and_method_survives_the_header() {
    let classes = [
        MessageClass::Request,
        MessageClass::Indication,
        MessageClass::Success,
        MessageClass::Error,
    ];
    for method in (0..=0xfff).map(|number| Method::new(number).unwrap()) {
        for class in classes {
            let mut buf = [0; 20];
            let len = Encoder::new(&mut buf, class, method, ID).finish().unwrap();
            let message = Message::parse(&buf[..len]).unwrap();
            assert_eq!((message.class(), message.method()), (class, method));
            assert_eq!(buf[0] & 0xc0, 0);
        }
    }
    assert_eq!(Method::new(0x1000), None);
    let allocate = Encoder::new(&mut [0; 20], MessageClass::Error, Method::ALLOCATE, ID).finish();
    assert_eq!(allocate, Ok(20));
    assert_eq!(octets("01 13")[..], encode_type(MessageClass::Error, Method::ALLOCATE));
}

fn encode_type(class: MessageClass, method: Method) -> [u8; 2] {
    let mut buf = [0; 20];
    Encoder::new(&mut buf, class, method, ID).finish().unwrap();
    [buf[0], buf[1]]
}

/// [rfc8489-11-1] [rfc8489-11-2a]
#[test]
fn a_message_without_the_cookie_is_read_only_on_demand() {
    let mut classic = encode(MessageClass::Success, |encoder| {
        encoder.address(AttributeType::MAPPED_ADDRESS, "192.0.2.9:4000".parse().unwrap())
    });
    assert!(!Message::parse_classic(&classic).unwrap().is_classic());
    classic[4..8].fill(0);
    assert_eq!(Message::parse(&classic).err(), Some(ParseError::Cookie));
    let message = Message::parse_classic(&classic).unwrap();
    assert!(message.is_classic());
    assert_eq!(message.mapped_address(), Some("192.0.2.9:4000".parse().unwrap()));
}

#[test]
fn a_message_cut_at_any_length_is_refused() {
    for whole in [check(&rfc5769::key()), rfc5769::request(), rfc5769::response_ipv4()] {
        for len in 0..whole.len() {
            assert!(Message::parse(&whole[..len]).is_err(), "{len}");
            // With a length field that fits, what is left must still not verify.
            let mut cut = whole[..len].to_vec();
            if len >= 20 {
                let length = u16::try_from(len - 20).unwrap();
                cut[2..4].copy_from_slice(&length.to_be_bytes());
                let accepted = observed(&cut, &rfc5769::key());
                let only_fingerprint_cut = len == whole.len() - 8;
                assert!(accepted.is_none() || only_fingerprint_cut, "{len}");
            }
        }
    }
}

// Section 14: attributes.

/// [rfc8489-14-1] [rfc8489-14-2] [rfc8489-14-3] [rfc8489-14-4a]
#[test]
fn attributes_end_on_four_octets_and_are_padded_with_zeros() {
    for len in 0..9_u8 {
        let value: Vec<u8> = (1..=len).collect();
        let octets = encode(MessageClass::Request, |encoder| {
            encoder.attribute(AttributeType::USERNAME, &value)
        });
        assert_eq!(octets.len() % 4, 0);
        assert_eq!(octets[20..24], [0, 6, 0, len]);
        assert_eq!(octets[24..24 + usize::from(len)], value);
        assert!(octets[24 + usize::from(len)..].iter().all(|&octet| octet == 0));
        assert_eq!(Message::parse(&octets).unwrap().username(), Some(&value[..]));
    }
}

/// [rfc8489-14-4b]
#[test]
fn padding_is_ignored() {
    let mut octets = encode(MessageClass::Request, |encoder| {
        encoder.username(&[b"abc", b"d"]).u32(AttributeType::PRIORITY, 7)
    });
    octets[29..32].fill(0xff);
    let message = Message::parse(&octets).unwrap();
    assert_eq!(message.username(), Some(&b"abc:d"[..]));
    assert_eq!(message.priority(), Some(7));
}

/// [rfc8489-14-5] [rfc8489-14-6]
#[test]
fn the_first_of_a_duplicate_attribute_counts() {
    let octets = encode(MessageClass::Request, |encoder| {
        encoder
            .username(&[b"first"])
            .u32(AttributeType::PRIORITY, 1)
            .u64(AttributeType::ICE_CONTROLLED, 1)
            .attribute(AttributeType::REALM, b"first")
            .xor_address(AttributeType::XOR_MAPPED_ADDRESS, "192.0.2.1:1".parse().unwrap())
            .error_code(487, "first")
            .username(&[b"second"])
            .u32(AttributeType::PRIORITY, 2)
            .u64(AttributeType::ICE_CONTROLLED, 2)
            .attribute(AttributeType::REALM, b"second")
            .xor_address(AttributeType::XOR_MAPPED_ADDRESS, "192.0.2.2:2".parse().unwrap())
            .error_code(400, "second")
    });
    let message = Message::parse(&octets).unwrap();
    assert_eq!(message.username(), Some(&b"first"[..]));
    assert_eq!(message.priority(), Some(1));
    assert_eq!(message.ice_controlled(), Some(1));
    assert_eq!(message.realm(), Some(&b"first"[..]));
    assert_eq!(message.xor_mapped_address(), Some("192.0.2.1:1".parse().unwrap()));
    assert_eq!(message.error_code().unwrap().code(), 487);
}

/// [rfc8489-14.1-1] [rfc8489-14.1-2] [rfc8489-14.1-3a] [rfc8489-14.1-3b] [rfc8489-6.3.3-1]
/// [rfc8489-6.3.3-2]
#[test]
fn an_address_has_a_known_family_and_its_length() {
    let read = |value: &[u8]| {
        let octets = encode(MessageClass::Success, |encoder| {
            encoder.attribute(AttributeType::MAPPED_ADDRESS, value)
        });
        Message::parse(&octets).unwrap().mapped_address()
    };
    let ipv4 = [0, 1, 0x12, 0x34, 192, 0, 2, 1];
    assert_eq!(read(&ipv4), Some("192.0.2.1:4660".parse().unwrap()));
    let any_first_octet = [0xff, 1, 0x12, 0x34, 192, 0, 2, 1];
    assert_eq!(read(&any_first_octet), read(&ipv4));
    let mut ipv6 = [0; 20];
    ipv6[1] = 2;
    ipv6[19] = 1;
    assert_eq!(read(&ipv6), Some("[::1]:0".parse().unwrap()));
    assert_eq!(read(&[0, 3, 0, 1, 192, 0, 2, 1]), None);
    assert_eq!(read(&[0, 2, 0, 1, 192, 0, 2, 1]), None);
    assert_eq!(read(&ipv4[..7]), None);
    ipv6[1] = 1;
    assert_eq!(read(&ipv6), None);
    let written = encode(MessageClass::Success, |encoder| {
        encoder.address(AttributeType::MAPPED_ADDRESS, "192.0.2.1:4660".parse().unwrap())
    });
    assert_eq!(written[24..], ipv4);
}

/// [rfc8489-14.3-2] [rfc8489-14.9-1a] [rfc8489-14.10-1] [rfc8489-14.14-2]
#[test]
fn texts_are_read_up_to_763_octets() {
    for (len, accepted) in [(763, true), (764, false)] {
        let text = vec![b'x'; len];
        let octets = encode(MessageClass::Request, |encoder| {
            encoder
                .username(&[&text])
                .attribute(AttributeType::REALM, &text)
                .attribute(AttributeType::NONCE, &text)
                .attribute(AttributeType::SOFTWARE, &text)
        });
        let message = Message::parse(&octets).unwrap();
        let texts = [message.username(), message.realm(), message.nonce(), message.software()];
        assert!(texts.iter().all(|text| text.is_some() == accepted), "{len}");
    }
}

/// [rfc8489-14.3-1a]
#[test]
fn long_term_usernames_have_less_than_509_octets() {
    assert!(LongTerm::new(&[b'x'; 508], b"p").is_ok());
    assert!(LongTerm::new(&[b'x'; 509], b"p").is_err());
}

/// [rfc8489-14.8-1] [rfc8489-14.14-1] [rfc8489-14.14-2]
#[test]
fn software_and_reasons_are_written_with_less_than_128_characters() {
    let long = "é".repeat(200);
    let octets =
        encode(MessageClass::Error, |encoder| encoder.error_code(500, &long).software(&long));
    let message = Message::parse(&octets).unwrap();
    assert_eq!(message.error_code().unwrap().reason(), "é".repeat(127));
    assert_eq!(message.software(), Some("é".repeat(127).as_bytes()));
}

/// [rfc8489-14.8-2] [rfc8489-14.8-3] [rfc8489-14.8-4] [rfc8489-14.8-5] [rfc8489-6.3.1.1-1]
#[test]
fn an_error_code_is_a_class_of_3_to_6_and_a_number_below_100() {
    let read = |value: [u8; 4]| {
        let octets = encode(MessageClass::Error, |encoder| {
            encoder.attribute(AttributeType::ERROR_CODE, &value)
        });
        Message::parse(&octets).unwrap().error_code().map(|error| error.code())
    };
    assert_eq!(read([0, 0, 4, 87]), Some(487));
    assert_eq!(read([0xff, 0xff, 0xfc, 87]), Some(487));
    assert_eq!(read([0, 0, 3, 0]), Some(300));
    assert_eq!(read([0, 0, 6, 99]), Some(699));
    for bad in [[0, 0, 2, 0], [0, 0, 7, 0], [0, 0, 4, 100]] {
        assert_eq!(read(bad), None, "{bad:?}");
    }
    let octets = encode(MessageClass::Error, |encoder| encoder.error_code(487, "Role Conflict"));
    assert_eq!(octets[24..28], [0, 0, 4, 87]);
    let message = Message::parse(&octets).unwrap();
    assert_eq!(message.error_code().unwrap().reason(), "Role Conflict");
}

/// [rfc8489-14.16-1]
#[test]
fn an_alternate_domain_is_short_ascii() {
    let read = |value: &[u8]| {
        let octets = encode(MessageClass::Error, |encoder| {
            encoder.attribute(AttributeType::ALTERNATE_DOMAIN, value)
        });
        Message::parse(&octets).unwrap().alternate_domain().map(str::to_owned)
    };
    assert_eq!(read(b"example.org").as_deref(), Some("example.org"));
    assert!(read(&[b'a'; 255]).is_some());
    assert_eq!(read(&[b'a'; 256]), None);
    assert_eq!(read("é.example".as_bytes()), None);
}

/// [rfc8489-6.3-1] [rfc8489-6.3.1-p1] [rfc8489-6.3.2-p1] [rfc8489-6.3.3-p1]
/// [rfc8489-6.3.1.1-3] [rfc8489-14.8-10]
#[test]
fn unknown_attributes_count_only_if_comprehension_is_required() {
    let key = rfc5769::key();
    let (required, optional) = (AttributeType(0x7fff), AttributeType(0x8000 | 0x3fff));
    let mut octets = encode(MessageClass::Request, |encoder| {
        encoder
            .username(&[b"a", b"b"])
            .flag(required)
            .flag(optional)
            .flag(AttributeType(0x7abc))
            .integrity(&key)
    });
    append(&mut octets, AttributeType(0x7abd), b"");
    let message = Message::parse(&octets).unwrap().verify(&key).unwrap();
    let known = |kind| kind == AttributeType::USERNAME;
    let unknown: Vec<_> = message.unknown_required(known).collect();
    assert_eq!(unknown, [required, AttributeType(0x7abc)]);

    let answer = encode(MessageClass::Error, |encoder| {
        encoder
            .error_code(420, "")
            .unknown_attributes(message.unknown_required(known).collect::<Vec<_>>())
    });
    let answer = Message::parse(&answer).unwrap();
    assert_eq!(answer.unknown_attributes().collect::<Vec<_>>(), [0x7fff, 0x7abc]);
}

/// [rfc8489-6.3-2]
#[test]
fn known_attributes_out_of_place_change_nothing() {
    let octets = encode(MessageClass::Success, |encoder| {
        encoder
            .u32(AttributeType::LIFETIME, 600)
            .xor_address(AttributeType::XOR_MAPPED_ADDRESS, "192.0.2.1:1".parse().unwrap())
    });
    let message = Message::parse(&octets).unwrap();
    assert_eq!(message.mapped_address(), Some("192.0.2.1:1".parse().unwrap()));
}

// Sections 9, 14.5 to 14.7: integrity and fingerprint.

/// [rfc8489-14.6-1a] [rfc8489-14.4-p1] [rfc8489-9.2.2-p1]
#[test]
fn the_vector_of_appendix_b_verifies_as_the_erratum_corrects_it() {
    let user = "マトリックス".as_bytes();
    let key = IntegrityKey::long_term_sha256(user, b"example.org", b"TheMatrIX");
    let corrected = octets(include_str!("../../vectors/stun/rfc8489-B.1-erratum-6268.hex"));
    let message = Message::parse(&corrected).unwrap().verify(&key).unwrap();
    assert_eq!(message.userhash(), Some(userhash(user, b"example.org")));
    assert_eq!(message.realm(), Some(&b"example.org"[..]));
    assert_eq!(message.nonce(), Some(&b"obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA"[..]));
    let algorithm = message.password_algorithm().unwrap();
    assert_eq!((algorithm.number, algorithm.parameters), (2, &b""[..]));

    let mut printed = octets(include_str!("../../vectors/stun/rfc8489-B.1-as-printed.hex"));
    assert_eq!(Message::parse(&printed).err(), Some(ParseError::Length));
    let length = u16::try_from(printed.len() - 20).unwrap();
    printed[2..4].copy_from_slice(&length.to_be_bytes());
    assert_eq!(Message::parse(&printed).unwrap().verify(&key).err(), Some(IntegrityError::Wrong));
}

/// [rfc8489-14.5-p1] [rfc8489-9-1] [rfc8489-9-2]
#[test]
fn what_follows_integrity_neither_breaks_it_nor_counts() {
    for key in [rfc5769::key(), IntegrityKey::short_term_sha256(b"password")] {
        let mut octets = encode(MessageClass::Request, |encoder| {
            encoder.username(&[b"a", b"b"]).integrity(&key)
        });
        let before = observed(&octets, &key).unwrap();
        append(&mut octets, AttributeType::USE_CANDIDATE, b"");
        append(&mut octets, AttributeType::PRIORITY, &[0, 0, 0, 9]);
        append(&mut octets, AttributeType::USERNAME, b"eve");
        append(&mut octets, AttributeType(0x7fff), b"");
        append(&mut octets, AttributeType::MESSAGE_INTEGRITY, &[0; 20]);
        assert_eq!(observed(&octets, &key).unwrap(), before);
        let message = Message::parse(&octets).unwrap();
        assert_eq!(message.attribute(AttributeType::USERNAME), Some(&b"a:b"[..]));
        assert_eq!(message.unknown_required(|_| false).count(), 1);
        assert!(!message.use_candidate());
    }
}

/// [rfc8489-9-1] [rfc8489-14.6-1a]
#[test]
fn of_both_integrity_attributes_each_key_verifies_its_own() {
    let (sha1, sha256) = (rfc5769::key(), IntegrityKey::short_term_sha256(b"password"));
    let mut octets = encode(MessageClass::Request, |encoder| {
        encoder.username(&[b"a", b"b"]).integrity(&sha1).integrity(&sha256).fingerprint()
    });
    let message = Message::parse(&octets).unwrap();
    assert!(message.verify(&sha1).is_ok() && message.verify(&sha256).is_ok());
    assert_eq!(message.attributes().count(), 1);
    // The second HMAC covers the first.
    octets.truncate(octets.len() - 8);
    let length = u16::try_from(octets.len() - 20).unwrap();
    octets[2..4].copy_from_slice(&length.to_be_bytes());
    octets[40] ^= 1;
    let message = Message::parse(&octets).unwrap();
    assert_eq!(message.verify(&sha1).err(), Some(IntegrityError::Wrong));
    assert_eq!(message.verify(&sha256).err(), Some(IntegrityError::Wrong));
}

/// [rfc8489-9.1.4-1]
#[test]
fn a_message_with_the_other_algorithm_or_none_is_not_verified() {
    let (sha1, sha256) = (rfc5769::key(), IntegrityKey::short_term_sha256(b"password"));
    let with = |key| encode(MessageClass::Success, |encoder| encoder.integrity(key));
    let verify = |octets: &[u8], key| Message::parse(octets).unwrap().verify(key).err();
    assert_eq!(verify(&with(&sha1), &sha256), Some(IntegrityError::Algorithm));
    assert_eq!(verify(&with(&sha256), &sha1), Some(IntegrityError::Algorithm));
    let none = encode(MessageClass::Success, |encoder| encoder.fingerprint());
    assert_eq!(verify(&none, &sha1), Some(IntegrityError::Missing));
    assert_eq!(verify(&none, &sha256), Some(IntegrityError::Missing));
}

/// [rfc8489-14.6-1a] [rfc8489-14.6-1b]
#[test]
fn a_truncated_sha256_verifies_only_if_that_was_agreed() {
    let key = IntegrityKey::short_term_sha256(b"password");
    let lax = key.clone().allow_truncation();
    let mut full = [0; 32];
    for len in 0..=36_usize {
        // The length that the HMAC covers depends on the length of its attribute.
        let mut message = encode(MessageClass::Request, |encoder| encoder.username(&[b"ab"]));
        let padded = len.next_multiple_of(4);
        let covered = u16::try_from(message.len() - 20 + 4 + padded).unwrap();
        message[2..4].copy_from_slice(&covered.to_be_bytes());
        full.copy_from_slice(&hmac_sha256(b"password", &message));
        let value: Vec<u8> = full.into_iter().chain([0; 4]).take(len).collect();
        append(&mut message, AttributeType::MESSAGE_INTEGRITY_SHA256, &value);
        let message = Message::parse(&message).unwrap();
        assert_eq!(message.verify(&key).is_ok(), len == 32, "{len}");
        assert_eq!(message.verify(&lax).is_ok(), matches!(len, 16 | 20 | 24 | 28 | 32), "{len}");
    }
}

fn hmac_sha256(key: &[u8], text: &[u8]) -> [u8; 32] {
    use hmac::{Hmac, KeyInit, Mac};
    let mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    mac.chain_update(text).finalize().into_bytes().into()
}

/// [rfc8489-14.7-1] [rfc8489-14.7-2] [rfc8489-14.7-p1] [rfc8489-6.3-p1]
#[test]
fn a_fingerprint_is_right_and_last_or_the_message_is_refused() {
    let good = encode(MessageClass::Indication, |encoder| encoder.fingerprint());
    assert!(Message::parse(&good).unwrap().has_fingerprint());
    for bit in 0..32 {
        let mut bad = good.clone();
        bad[24 + bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Message::parse(&bad).err(), Some(ParseError::Fingerprint));
    }
    let mut followed = good;
    append(&mut followed, AttributeType::SOFTWARE, b"late");
    assert_eq!(Message::parse(&followed).err(), Some(ParseError::Fingerprint));
    let short = encode(MessageClass::Indication, |encoder| {
        encoder.attribute(AttributeType::FINGERPRINT, &[1, 2, 3])
    });
    assert_eq!(Message::parse(&short).err(), Some(ParseError::Fingerprint));
}

/// [rfc8489-14.5-p1] [rfc8489-14.7-p1] [rfc8489-9.1.4-2]
#[test]
fn a_message_with_one_bit_flipped_is_refused_or_reads_the_same() {
    let key = rfc5769::key();
    let response = encode(MessageClass::Success, |encoder| {
        let address = "192.0.2.1:32853".parse().unwrap();
        encoder.xor_address(AttributeType::XOR_MAPPED_ADDRESS, address).integrity(&key)
    });
    let mut followed = check(&key);
    append(&mut followed, AttributeType::SOFTWARE, b"after integrity");
    let fingerprinted = [rfc5769::request(), rfc5769::response_ipv4()];
    for whole in [check(&key), response, followed].iter().chain(&fingerprinted) {
        let before = observed(whole, &key).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let after = observed(&flipped, &key);
            assert!(after.is_none_or(|after| after == before), "bit {bit}");
        }
    }
}

// The codec against itself.

#[test]
fn a_buffer_that_is_too_small_is_reported_at_the_end() {
    let key = rfc5769::key();
    let whole = {
        let mut octets = check(&key);
        octets.extend([0; 8]);
        octets.len()
    };
    let mut buf = vec![0; whole];
    for len in 0..=whole {
        let result = Encoder::new(&mut buf[..len], MessageClass::Request, Method::BINDING, ID)
            .username(&[b"Qw3r", b"Zx9y"])
            .u32(AttributeType::PRIORITY, 1)
            .u64(AttributeType::ICE_CONTROLLING, 1)
            .flag(AttributeType::USE_CANDIDATE)
            .integrity(&key)
            .fingerprint()
            .finish();
        assert_eq!(result, if len == whole { Ok(whole) } else { Err(BufferTooSmall) });
    }
}

/// [rfc8489-5-7]
#[test]
fn a_message_longer_than_its_length_field_is_not_written() {
    let mut buf = vec![0; 200_000];
    let half = vec![1; 0x7ff8];
    let mut encode = |flags| {
        let mut encoder = Encoder::new(&mut buf, MessageClass::Indication, Method::SEND, ID)
            .attribute(AttributeType::DATA, &half)
            .attribute(AttributeType::DATA, &half);
        for _ in 0..flags {
            encoder = encoder.flag(AttributeType::USE_CANDIDATE);
        }
        encoder.finish()
    };
    assert_eq!(encode(2), Err(BufferTooSmall));
    assert_eq!(encode(1), Ok(20 + 0xfffc));
    assert_eq!(Message::parse(&buf[..20 + 0xfffc]).unwrap().attributes().count(), 3);
    let long = vec![0; 0x1_0000];
    let encoder = Encoder::new(&mut buf, MessageClass::Indication, Method::SEND, ID);
    assert_eq!(encoder.attribute(AttributeType::DATA, &long).finish(), Err(BufferTooSmall));
}

fn address() -> impl Strategy<Value = SocketAddr> {
    (any::<std::net::IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

proptest! {
    /// [rfc8489-14.2-p1] [rfc8489-14-1] [rfc8489-14-2] [rfc8489-14.1-1] [rfc8489-14.1-2]
    #[test]
    fn what_is_written_is_read(
        id: [u8; 12],
        user in prop::collection::vec(any::<u8>(), 0..80),
        (priority, tie_breaker) in any::<(u32, u64)>(),
        (masked, clear) in (address(), address()),
        code in 300_u16..700,
        password in prop::collection::vec(any::<u8>(), 0..100),
        others in prop::collection::vec(
            (0x7000_u16..0x7fff, prop::collection::vec(any::<u8>(), 0..40)), 0..5),
    ) {
        let key = IntegrityKey::short_term(&password);
        let mut buf = [0xff; 1024];
        let mut encoder =
            Encoder::new(&mut buf, MessageClass::Error, Method::REFRESH, TransactionId(id))
                .username(&[&user])
                .u32(AttributeType::PRIORITY, priority)
                .u64(AttributeType::ICE_CONTROLLED, tie_breaker)
                .xor_address(AttributeType::XOR_RELAYED_ADDRESS, masked)
                .address(AttributeType::OTHER_ADDRESS, clear)
                .error_code(code, "reason");
        for (kind, value) in &others {
            encoder = encoder.attribute(AttributeType(*kind), value);
        }
        let len = encoder.integrity(&key).fingerprint().finish().unwrap();
        let message = Message::parse(&buf[..len]).unwrap();
        prop_assert!(message.has_fingerprint());
        let message = message.verify(&key).unwrap();
        prop_assert_eq!(message.transaction_id(), TransactionId(id));
        prop_assert_eq!(message.username(), Some(&user[..]));
        prop_assert_eq!(message.priority(), Some(priority));
        prop_assert_eq!(message.ice_controlled(), Some(tie_breaker));
        prop_assert_eq!(message.xor_relayed_address(), Some(masked));
        prop_assert_eq!(message.other_address(), Some(clear));
        prop_assert_eq!(message.error_code().unwrap().code(), code);
        let read: Vec<_> =
            message.attributes().skip(6).map(|a| (a.kind.0, a.value.to_vec())).collect();
        prop_assert_eq!(read, others);
    }

    /// [rfc8489-6.3-p1]
    #[test]
    fn arbitrary_octets_never_panic(
        mut octets in prop::collection::vec(any::<u8>(), 0..200),
        likely: bool,
    ) {
        if likely && octets.len() >= 20 {
            octets.truncate(octets.len() & !3);
            let length = u16::try_from(octets.len() - 20).unwrap();
            octets[0] &= 0x3f;
            octets[2..4].copy_from_slice(&length.to_be_bytes());
            octets[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
            // Attributes of four octets, so that many are in bounds.
            for attribute in octets[20..].chunks_exact_mut(8) {
                attribute[0] &= 0x80;
                attribute[1] &= 0x3f;
                attribute[2..4].copy_from_slice(&[0, 4]);
            }
        }
        if let Ok(message) = Message::parse_classic(&octets) {
            let _ = format!("{message:?} {:?}", observed(&octets, &rfc5769::key()));
            for attribute in message.attributes() {
                prop_assert!(message.attribute(attribute.kind).is_some());
            }
            let _ = (message.error_code(), message.realm(), message.nonce(), message.software());
            let _ = (message.alternate_server(), message.alternate_domain(), message.lifetime());
            let _ = (message.xor_peer_address(), message.channel_number(), message.data());
            let _ = (message.unknown_attributes().count(), message.change_request());
            let _ = message.password_algorithms().map(Iterator::count);
            let _ = (message.password_algorithm(), message.address_error_code());
            let _ = (message.reservation_token(), message.connection_id(), message.userhash());
            let _ = long_term::login().handle_challenge(&message);
            let _ = long_term::login().verify(&message);
        }
    }
}
