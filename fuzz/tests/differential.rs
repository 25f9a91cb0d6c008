//! The differences that README.md lists between floe and two other readers of STUN: each one is
//! there, and none beside it in the seeds. `cargo test --manifest-path fuzz/Cargo.toml`.

use std::fs;
use std::path::PathBuf;

use floe::stun::{
    AttributeType, Encoder, IntegrityKey, Message, MessageClass, Method, ParseError, TransactionId,
};
use stun::message::Getter;
use stun_types::attribute::{ErrorCode, XorMappedAddress};

#[path = "../src/differential.rs"]
mod differential;

/// The password of the vectors of RFC 5769.
const KEY: &str = "VOkJxbRl1RmTxUk/WvJxBt";

/// What the three make of a message.
struct Read<'a> {
    floe: Result<Message<'a>, ParseError>,
    types: Option<stun_types::message::Message<'a>>,
    rs: Option<stun::message::Message>,
}

/// Reads the attributes behind a header of a binding request, and checks that the target allows
/// whatever differs.
fn read(octets: &[u8]) -> Read<'_> {
    differential::stun_differential(&[&[0], octets].concat());
    let mut rs = stun::message::Message::new();
    let decoded = rs.unmarshal_binary(octets).is_ok();
    Read {
        floe: Message::parse(octets),
        types: stun_types::message::Message::from_bytes(octets).ok(),
        rs: decoded.then_some(rs),
    }
}

/// A binding response with these attributes.
fn response(attributes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(attributes.len()).unwrap();
    let mut octets = vec![1, 1];
    octets.extend(length.to_be_bytes());
    octets.extend([0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    octets.extend(attributes);
    octets
}

#[test]
fn the_seeds_show_no_other_difference() {
    for kind in ["seeds", "kept"] {
        let inputs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(kind).join("stun_differential");
        let mut count = 0;
        for entry in fs::read_dir(inputs).unwrap() {
            differential::stun_differential(&fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0, "there are none in {kind}");
    }
}

#[test]
fn difference_1_stun_does_not_look_at_the_leading_bits() {
    let mut octets = response(&[]);
    octets[0] |= 0x80;
    let read = read(&octets);
    assert_eq!(read.floe.err(), Some(ParseError::LeadingBits));
    assert!(read.types.is_none() && read.rs.is_some());
}

#[test]
fn difference_2_both_others_accept_octets_after_the_message() {
    let mut octets = response(&[]);
    octets.extend([0, 0x24, 0, 4, 0, 0, 0, 1]);
    let read = read(&octets);
    assert_eq!(read.floe.err(), Some(ParseError::Length));
    assert!(read.types.is_some() && read.rs.is_some());
}

#[test]
fn difference_3_stun_types_does_not_read_on_after_what_it_does_not_expect_behind_a_seal() {
    let seal = [&[0, 8, 0, 20][..], &[0; 20], &[0, 0x25, 0, 0]].concat();
    for (more, error) in
        [(&[0x80, 0x22, 0, 200][..], ParseError::Attribute), (&[0], ParseError::Length)]
    {
        let octets = response(&[&seal, more].concat());
        let read = read(&octets);
        assert_eq!(read.floe.err(), Some(error));
        assert!(read.types.is_some() && read.rs.is_none());
    }
}

#[test]
fn difference_4_stun_does_not_check_the_fingerprint_when_it_reads() {
    let octets = response(&[0x80, 0x28, 0, 4, 1, 2, 3, 4]);
    let read = read(&octets);
    assert_eq!(read.floe.err(), Some(ParseError::Fingerprint));
    assert!(read.types.is_none() && read.rs.is_some());
}

#[test]
fn difference_5_stun_types_accepts_a_wrong_fingerprint_behind_what_it_does_not_expect() {
    let wrong = [0, 0x25, 0, 0, 0x80, 0x28, 0, 4, 1, 2, 3, 4];
    let octets = response(&[&[0, 8, 0, 20][..], &[0; 20], &wrong].concat());
    let read = read(&octets);
    assert_eq!(read.floe.err(), Some(ParseError::Fingerprint));
    assert!(read.types.is_some() && read.rs.is_some());
}

#[test]
fn difference_6_stun_types_overlooks_sha256_that_is_not_right_behind_sha1() {
    let sealed = |between: &[u8]| {
        let key = IntegrityKey::short_term_sha256(KEY.as_bytes());
        let mut buf = [0; 256];
        // The HMAC of SHA-256 covers what is before it, be it another seal or not.
        let before =
            Encoder::new(&mut buf, MessageClass::Success, Method::BINDING, TransactionId([7; 12]))
                .attribute(AttributeType::MESSAGE_INTEGRITY, &[0; 20]);
        let before = match between {
            [] => before,
            value => before.attribute(AttributeType::SOFTWARE, value),
        };
        let length = before.integrity(&key).finish().unwrap();
        buf[..length].to_vec()
    };
    let key = IntegrityKey::short_term_sha256(KEY.as_bytes());
    let theirs = stun_types::message::ShortTermCredentials::new(KEY.into()).make_key();
    for (between, overlooked) in [(&b""[..], false), (b"floe", true)] {
        let octets = sealed(between);
        let read = read(&octets);
        assert!(read.floe.unwrap().verify(&key).is_ok());
        let verdict = read.types.unwrap().validate_integrity_with_key(&theirs);
        assert_eq!(verdict.is_err(), overlooked);
    }
}

#[test]
fn difference_7_stun_types_refuses_an_error_code_whose_reason_is_not_utf8() {
    let octets = response(&[0, 9, 0, 8, 0, 0, 4, 0, 0xFF, 0xFE, 0xFF, 0xFE]);
    let read = read(&octets);
    assert_eq!(read.floe.unwrap().error_code().map(|error| error.code()), Some(400));
    assert!(read.types.unwrap().attribute::<ErrorCode>().is_err());
}

#[test]
fn difference_8_stun_takes_8020_for_xor_mapped_address() {
    let octets = response(&[0x80, 0x20, 0, 8, 0, 1, 1, 2, 3, 4, 5, 6]);
    let read = read(&octets);
    assert_eq!(read.floe.unwrap().xor_mapped_address(), None);
    assert!(read.types.unwrap().attribute::<XorMappedAddress>().is_err());
    assert!(stun::xoraddr::XorMappedAddress::default().get_from(&read.rs.unwrap()).is_ok());
}

#[test]
fn difference_9_stun_verifies_sha1_behind_sha256() {
    let mut buf = [0; 256];
    let sha1 = IntegrityKey::short_term(KEY.as_bytes());
    let length =
        Encoder::new(&mut buf, MessageClass::Success, Method::BINDING, TransactionId([7; 12]))
            .integrity(&IntegrityKey::short_term_sha256(KEY.as_bytes()))
            .integrity(&sha1)
            .finish()
            .unwrap();
    let mut read = read(&buf[..length]);
    assert!(read.floe.unwrap().verify(&sha1).is_err());
    let theirs = stun::integrity::MessageIntegrity(KEY.as_bytes().to_vec());
    assert!(theirs.check(read.rs.as_mut().unwrap()).is_ok());
}

#[test]
fn difference_10_stun_reads_the_octet_before_the_family() {
    let octets = response(&[0, 0x20, 0, 8, 9, 1, 1, 2, 3, 4, 5, 6]);
    let read = read(&octets);
    assert!(read.floe.unwrap().xor_mapped_address().is_some());
    assert!(read.types.unwrap().attribute::<XorMappedAddress>().is_ok());
    assert!(stun::xoraddr::XorMappedAddress::default().get_from(&read.rs.unwrap()).is_err());
}

#[test]
fn difference_11_stun_fills_up_an_address_that_is_too_short() {
    let octets = response(&[0, 0x20, 0, 6, 0, 1, 1, 2, 3, 4, 0, 0]);
    let read = read(&octets);
    assert_eq!(read.floe.unwrap().xor_mapped_address(), None);
    assert!(read.types.unwrap().attribute::<XorMappedAddress>().is_err());
    assert!(stun::xoraddr::XorMappedAddress::default().get_from(&read.rs.unwrap()).is_ok());
}

#[test]
fn difference_12_stun_reads_reserved_bits_and_any_class_as_part_of_an_error_code() {
    let octets = response(&[0, 9, 0, 4, 0, 0, 0x0C, 0]);
    let read = read(&octets);
    assert_eq!(read.floe.unwrap().error_code().map(|error| error.code()), Some(400));
    let theirs = read.types.unwrap().attribute::<ErrorCode>().map(|error| error.code());
    assert_eq!(theirs.ok(), Some(400));
    let mut error = stun::error_code::ErrorCodeAttribute::default();
    error.get_from(&read.rs.unwrap()).unwrap();
    assert_eq!(error.code.0, 1200);
}
