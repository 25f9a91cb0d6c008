//! `is`: the STUN codec of str0m's ICE.

use std::hint::black_box;

use is::stun::StunMessage;
use is::{DefaultSha1HmacProvider, Sha1HmacProvider};

use super::{
    Case, DECODE_REQUEST, DECODE_RESPONSE, ENCODE_REQUEST, ENCODE_RESPONSE, MAPPED, PASSWORD,
    PRIORITY, TIE_BREAKER, USER, Wire,
};

const NAME: &str = "is 0.12";

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    DefaultSha1HmacProvider.sha1_hmac(key, parts)
}

/// Panics unless this independent codec reads what the floor wrote.
pub fn check_floor(wire: &Wire) {
    let request = StunMessage::parse(&wire.request).expect("a message");
    assert!(request.verify(PASSWORD.as_bytes(), hmac));
    assert_eq!(request.username(), Some(USER));
    assert_eq!(request.prio(), Some(PRIORITY));
    assert!(request.use_candidate());
    let response = StunMessage::parse(&wire.response).expect("a message");
    assert!(response.verify(PASSWORD.as_bytes(), hmac));
    assert_eq!(response.mapped_address(), Some(MAPPED));
}

/// Whether the message is refused.
pub fn rejects(message: &[u8]) -> bool {
    StunMessage::parse(message).map_or(true, |message| !message.verify(PASSWORD.as_bytes(), hmac))
}

/// Its rows.
pub fn cases(wire: &Wire) -> Vec<Case<'static>> {
    // A transaction id cannot be made of octets, but is read from a message.
    let transaction = StunMessage::parse(&wire.request).expect("a message").trans_id();
    let Wire { request, response } = wire.clone();
    let mut buffer = [0; 256];
    let mut buffer2 = buffer;
    vec![
        Case::new(ENCODE_REQUEST, NAME, move || {
            let message = StunMessage::binding_request(
                black_box(USER),
                transaction,
                true,
                TIE_BREAKER,
                PRIORITY,
                true,
            );
            let key = Some(PASSWORD.as_bytes());
            black_box(message.to_bytes(key, &mut buffer, hmac).expect("room"));
            black_box(&buffer);
        }),
        Case::new(ENCODE_RESPONSE, NAME, move || {
            let message = StunMessage::binding_reply(transaction, black_box(MAPPED));
            let key = Some(PASSWORD.as_bytes());
            black_box(message.to_bytes(key, &mut buffer2, hmac).expect("room"));
            black_box(&buffer2);
        }),
        Case::new(DECODE_REQUEST, NAME, move || {
            let message = StunMessage::parse(black_box(&request)).expect("a message");
            assert!(message.verify(PASSWORD.as_bytes(), hmac));
            let role = message.ice_controlling();
            black_box((message.username(), message.prio(), message.use_candidate(), role));
        }),
        Case::new(DECODE_RESPONSE, NAME, move || {
            let message = StunMessage::parse(black_box(&response)).expect("a message");
            assert!(message.verify(PASSWORD.as_bytes(), hmac));
            black_box(message.mapped_address().expect("an address"));
        }),
    ]
}
