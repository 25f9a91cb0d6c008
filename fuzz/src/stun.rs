//! Claims about the STUN codec.

use core::hint::black_box;
use std::net::{IpAddr, SocketAddr};

use floe::stun::{
    AttributeType, Encoder, IntegrityKey, LongTerm, Message, MessageClass, Method, TransactionId,
};

use super::Input;

/// The password of the vectors of RFC 5769, so that seeds get past the integrity.
const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

/// Any octets are read or refused; what was read has total accessors and survives a copy.
pub fn stun_decode(data: &[u8]) {
    if let Ok(classic) = Message::parse_classic(data) {
        read_all(&classic);
    }
    let Ok(message) = Message::parse(data) else { return };
    read_all(&message);
    let copy = message.as_bytes().to_vec();
    let again = Message::parse(&copy).expect("what was read once is read again");
    assert!(again.attributes().eq(message.attributes()));
    for key in keys() {
        let verified = message.verify(&key);
        assert_eq!(verified.is_ok(), again.verify(&key).is_ok());
        if verified.is_ok() {
            assert!(message.has_integrity(), "verified without integrity");
        }
    }
    if let Ok(mut long_term) = LongTerm::new(b"user", b"password") {
        let _ = black_box(long_term.handle_challenge(&message));
        black_box(long_term.verify(&message).is_ok());
        let mut buf = [0; 2048];
        let encoder =
            Encoder::new(&mut buf, MessageClass::Request, Method::ALLOCATE, TransactionId([1; 12]));
        if let Ok(length) = long_term.authenticate(encoder).fingerprint().finish() {
            Message::parse(&buf[..length]).expect("what is written is read");
        }
    }
}

fn keys() -> [IntegrityKey; 4] {
    [
        IntegrityKey::short_term(PASSWORD),
        IntegrityKey::short_term_sha256(PASSWORD),
        IntegrityKey::short_term_sha256(PASSWORD).allow_truncation(),
        IntegrityKey::long_term_md5(b"user", b"realm", b"password"),
    ]
}

fn read_all(message: &Message<'_>) {
    black_box((message.class(), message.method(), message.transaction_id()));
    black_box((message.is_classic(), message.has_fingerprint(), message.has_integrity()));
    black_box((message.username(), message.priority(), message.use_candidate()));
    black_box((message.ice_controlling(), message.ice_controlled()));
    black_box(message.nomination(AttributeType(0xC001)));
    black_box((message.xor_mapped_address(), message.mapped_address()));
    black_box((message.realm(), message.nonce(), message.software()));
    black_box((message.alternate_server(), message.alternate_domain()));
    black_box(message.alternate_servers().count());
    black_box((message.xor_peer_address(), message.xor_relayed_address()));
    black_box(message.xor_relayed_addresses().count());
    black_box((message.lifetime(), message.channel_number(), message.data()));
    black_box((message.reservation_token(), message.connection_id()));
    black_box((message.other_address(), message.response_origin()));
    black_box(message.change_request().map(|change| change.bits()));
    black_box((message.userhash(), message.password_algorithm()));
    black_box(message.unknown_attributes().count());
    black_box(message.unknown_required(|_| false).count());
    black_box(message.password_algorithms().map(Iterator::count));
    if let Some(error) = message.error_code() {
        assert!((300..=699).contains(&error.code()), "an error code of {}", error.code());
        black_box(error.reason());
    }
    black_box(message.address_error_code().map(|(family, error)| (family, error.code())));
    let mut octets = 0;
    for attribute in message.attributes() {
        octets += attribute.value.len();
        black_box(message.attribute(attribute.kind));
    }
    assert!(octets <= message.as_bytes().len(), "more value than message");
}

/// What the encoder writes, it writes whole or not at all; it is read back and verified.
pub fn stun_build(data: &[u8]) {
    let mut input = Input(data);
    let classes = [
        MessageClass::Request,
        MessageClass::Indication,
        MessageClass::Success,
        MessageClass::Error,
    ];
    let class = classes[usize::from(input.octet() % 4)];
    let Some(method) = Method::new(input.u16() & 0xFFF) else { return };
    let id = TransactionId(input.array());
    let room = usize::from(input.u16() % 2048);
    let seal = input.octet();
    let mut buf = vec![0; room];
    let mut encoder = Encoder::new(&mut buf, class, method, id);
    while !input.is_empty() {
        encoder = add(encoder, &mut input);
    }
    let key = IntegrityKey::short_term(PASSWORD);
    if seal & 1 != 0 {
        encoder = encoder.integrity(&key);
    }
    if seal & 2 != 0 {
        encoder = encoder.fingerprint();
    }
    let Ok(length) = encoder.finish() else { return };
    let message = Message::parse(&buf[..length]).expect("what is written is read");
    assert_eq!((message.class(), message.method()), (class, method));
    assert_eq!(message.transaction_id(), id);
    assert_eq!(message.has_integrity(), seal & 1 != 0);
    assert_eq!(message.has_fingerprint(), seal & 2 != 0);
    assert_eq!(message.verify(&key).is_ok(), seal & 1 != 0);
    read_all(&message);
}

fn add<'b>(encoder: Encoder<'b>, input: &mut Input<'_>) -> Encoder<'b> {
    match input.octet() % 10 {
        0 => encoder.username(&[input.chunk(), input.chunk()]),
        1 => encoder.u32(AttributeType::PRIORITY, input.u32()),
        2 => encoder.u64(AttributeType::ICE_CONTROLLED, u64::from_be_bytes(input.array())),
        3 => encoder.flag(AttributeType::USE_CANDIDATE),
        4 => encoder.xor_address(AttributeType::XOR_MAPPED_ADDRESS, address(input)),
        5 => encoder.address(AttributeType::MAPPED_ADDRESS, address(input)),
        6 => encoder.software(&String::from_utf8_lossy(input.chunk())),
        7 => {
            let code = 300 + input.u16() % 400;
            encoder.error_code(code, &String::from_utf8_lossy(input.chunk()))
        }
        8 => {
            encoder.unknown_attributes(input.chunk().iter().map(|&kind| AttributeType(kind.into())))
        }
        _ => {
            // What seals a message is not for the hand to write.
            let kind = AttributeType(input.u16());
            let sealing = [0x0008, 0x001C, 0x8028].contains(&kind.0);
            let value = input.chunk();
            if sealing { encoder } else { encoder.attribute(kind, value) }
        }
    }
}

fn address(input: &mut Input<'_>) -> SocketAddr {
    let port = input.u16();
    let ip = if port & 1 == 0 {
        IpAddr::from(input.array::<4>())
    } else {
        IpAddr::from(input.array::<16>())
    };
    SocketAddr::new(ip, port)
}
