//! floe's codec.

use std::hint::black_box;

use floe::stun::{
    AttributeType, Encoder, IntegrityKey, Message, MessageClass, Method, TransactionId,
};

use super::{
    Case, DECODE_REQUEST, DECODE_RESPONSE, ENCODE_REQUEST, ENCODE_RESPONSE, MAPPED, PASSWORD,
    PRIORITY, TIE_BREAKER, TRANSACTION, USER, Wire,
};

const NAME: &str = "floe";

fn key() -> IntegrityKey {
    IntegrityKey::short_term(PASSWORD.as_bytes())
}

/// Whether the message is refused.
pub fn rejects(message: &[u8]) -> bool {
    Message::parse(message).map_or(true, |message| message.verify(&key()).is_err())
}

fn encode_request(key: &IntegrityKey, user: &str, id: TransactionId, buffer: &mut [u8]) -> usize {
    Encoder::new(buffer, MessageClass::Request, Method::BINDING, id)
        .username(&[user.as_bytes()])
        .u32(AttributeType::PRIORITY, PRIORITY)
        .u64(AttributeType::ICE_CONTROLLING, TIE_BREAKER)
        .flag(AttributeType::USE_CANDIDATE)
        .integrity(key)
        .fingerprint()
        .finish()
        .expect("room")
}

/// Panics unless floe writes the same octets as the floor.
pub fn check_floor(wire: &Wire) {
    let mut buffer = [0; 160];
    let len = encode_request(&key(), USER, TransactionId(TRANSACTION), &mut buffer);
    assert_eq!(buffer[..len], wire.request);
}

/// Its rows.
pub fn cases(wire: &Wire) -> Vec<Case<'static>> {
    let Wire { request, response } = wire.clone();
    let keys = [key(), key(), key(), key()];
    let [request_key, response_key, check_key, answer_key] = keys;
    let mut buffer = [0; 160];
    let mut buffer2 = buffer;
    vec![
        Case::new(ENCODE_REQUEST, NAME, move || {
            let id = TransactionId(*black_box(&TRANSACTION));
            encode_request(black_box(&request_key), black_box(USER), id, &mut buffer);
            black_box(&buffer);
        }),
        Case::new(ENCODE_RESPONSE, NAME, move || {
            let id = TransactionId(*black_box(&TRANSACTION));
            let class = MessageClass::Success;
            let encoder = Encoder::new(&mut buffer2, class, Method::BINDING, id)
                .xor_address(AttributeType::XOR_MAPPED_ADDRESS, black_box(MAPPED))
                .integrity(black_box(&response_key))
                .fingerprint();
            encoder.finish().expect("room");
            black_box(&buffer2);
        }),
        Case::new(DECODE_REQUEST, NAME, move || {
            let message = Message::parse(black_box(&request)).expect("a message");
            let message = message.verify(black_box(&check_key)).expect("integrity");
            let role = message.ice_controlling();
            assert!(message.has_fingerprint());
            black_box((message.username(), message.priority(), message.use_candidate(), role));
        }),
        Case::new(DECODE_RESPONSE, NAME, move || {
            let message = Message::parse(black_box(&response)).expect("a message");
            let message = message.verify(black_box(&answer_key)).expect("integrity");
            black_box(message.xor_mapped_address().expect("an address"));
        }),
    ]
}
