//! The test vectors of RFC 5769.

use std::net::SocketAddr;

use floe::stun::{
    AttributeType, Encoder, IntegrityError, IntegrityKey, Message, MessageClass, Method,
};

pub(crate) fn octets(hex: &str) -> Vec<u8> {
    hex.split_whitespace().map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect()
}

pub(crate) fn request() -> Vec<u8> {
    octets(include_str!("../vectors/stun/rfc5769-2.1-request.hex"))
}

pub(crate) fn response_ipv4() -> Vec<u8> {
    octets(include_str!("../vectors/stun/rfc5769-2.2-response-ipv4.hex"))
}

fn response_ipv6() -> Vec<u8> {
    octets(include_str!("../vectors/stun/rfc5769-2.3-response-ipv6.hex"))
}

fn long_term_request() -> Vec<u8> {
    octets(include_str!("../vectors/stun/rfc5769-2.4-longterm-request.hex"))
}

pub(crate) fn key() -> IntegrityKey {
    IntegrityKey::short_term(b"VOkJxbRl1RmTxUk/WvJxBt")
}

/// [rfc8489-5-1] [rfc8489-5-3] [rfc8489-5-7] [rfc8489-14-1] [rfc8489-14-3] [rfc8489-14-4b]
/// [rfc8489-14.5-p1] [rfc8489-14.7-p1] [rfc8489-14.7-2] [rfc8489-9.1.1-p1]
#[test]
fn the_request_is_read_and_verified_over_its_own_padding() {
    let octets = request();
    let message = Message::parse(&octets).unwrap();
    assert_eq!(message.class(), MessageClass::Request);
    assert_eq!(message.method(), Method::BINDING);
    assert!(message.has_fingerprint() && message.has_integrity());
    let message = message.verify(&key()).unwrap();
    assert_eq!(message.username(), Some(&b"evtj:h6vY"[..]));
    assert_eq!(message.software(), Some(&b"STUN test client"[..]));
    assert_eq!(message.priority(), Some(1_845_494_271));
    assert_eq!(message.ice_controlled(), Some(0x932f_f9b1_5126_3b36));
    assert_eq!(message.ice_controlling(), None);
    assert!(!message.use_candidate());
    assert_eq!(message.attributes().count(), 4);
    let other = IntegrityKey::short_term(b"another password of 22");
    assert_eq!(Message::parse(&octets).unwrap().verify(&other).err(), Some(IntegrityError::Wrong));
}

/// [rfc8489-14.2-p1] [rfc8489-14.1-1] [rfc8489-14.1-2] [rfc8489-14.5-p1]
#[test]
fn the_responses_are_read_and_verified() {
    let ipv6 = "[2001:db8:1234:5678:11:2233:4455:6677]:32853";
    for (octets, address) in [(response_ipv4(), "192.0.2.1:32853"), (response_ipv6(), ipv6)] {
        let message = Message::parse(&octets).unwrap();
        assert_eq!(message.class(), MessageClass::Success);
        assert!(message.has_fingerprint());
        let message = message.verify(&key()).unwrap();
        let address: SocketAddr = address.parse().unwrap();
        assert_eq!(message.xor_mapped_address(), Some(address));
        assert_eq!(message.mapped_address(), Some(address));
        assert_eq!(message.software(), Some(&b"test vector"[..]));
    }
}

/// [rfc8489-9.2.2-p1] [rfc8489-14.9-1a] [rfc8489-14.10-1]
#[test]
fn the_long_term_request_is_read_verified_and_written_again() {
    let octets = long_term_request();
    let message = Message::parse(&octets).unwrap();
    let user = "マトリックス".as_bytes();
    assert_eq!(message.username(), Some(user));
    assert_eq!(message.realm(), Some(&b"example.org"[..]));
    assert_eq!(message.nonce(), Some(&b"f//499k954d6OL34oL9FSTvy64sA"[..]));
    assert!(!message.has_fingerprint());
    let key = IntegrityKey::long_term_md5(user, b"example.org", b"TheMatrIX");
    assert!(message.verify(&key).is_ok());

    let mut buf = [0xff; 256];
    let len = Encoder::new(&mut buf, message.class(), message.method(), message.transaction_id())
        .username(&[user])
        .attribute(AttributeType::NONCE, message.nonce().unwrap())
        .attribute(AttributeType::REALM, b"example.org")
        .integrity(&key)
        .finish()
        .unwrap();
    assert_eq!(buf[..len], octets);
}
