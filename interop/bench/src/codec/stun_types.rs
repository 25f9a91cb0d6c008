//! `stun-types` with the ICE attributes of `rice-stun-types`.

use std::hint::black_box;

use rice_stun_types::attribute::{IceControlling, Priority, UseCandidate};
use stun_types::attribute::{Username, XorMappedAddress};
use stun_types::message::{
    BINDING, IntegrityAlgorithm, IntegrityKey, Message, MessageClass, MessageIntegrityCredentials,
    MessageType, MessageWriteMutSlice, ShortTermCredentials,
};
use stun_types::prelude::*;

use super::{
    Case, DECODE_REQUEST, DECODE_RESPONSE, ENCODE_REQUEST, ENCODE_RESPONSE, MAPPED, PASSWORD,
    PRIORITY, TIE_BREAKER, USER, Wire,
};

const NAME: &str = "stun-types 2.0";
const ALGORITHM: IntegrityAlgorithm = IntegrityAlgorithm::Sha1;

fn key() -> IntegrityKey {
    let credentials = ShortTermCredentials::new(PASSWORD.into());
    MessageIntegrityCredentials::ShortTerm(credentials).make_key(ALGORITHM)
}

/// Whether the message is refused.
pub fn rejects(message: &[u8]) -> bool {
    Message::from_bytes(message)
        .map_or(true, |message| message.validate_integrity_with_key(&key()).is_err())
}

/// Its rows.
pub fn cases(wire: &Wire) -> Vec<Case<'static>> {
    let mut cases = encode_cases(wire);
    cases.extend(decode_cases(wire));
    cases
}

fn encode_cases(wire: &Wire) -> Vec<Case<'static>> {
    let transaction = Message::from_bytes(&wire.request).expect("a message").transaction_id();
    let request_kind = MessageType::from_class_method(MessageClass::Request, BINDING);
    let response_kind = MessageType::from_class_method(MessageClass::Success, BINDING);
    let mut buffer = [0; 160];
    let mut buffer2 = buffer;
    let (key, key2) = (key(), key());
    vec![
        Case::new(ENCODE_REQUEST, NAME, move || {
            let writer = MessageWriteMutSlice::new(&mut buffer);
            let mut message = Message::builder(request_kind, transaction, writer);
            let username = Username::new(black_box(USER)).expect("a short name");
            message.add_attribute(&username).expect("room");
            message.add_attribute(&Priority::new(PRIORITY)).expect("room");
            message.add_attribute(&IceControlling::new(TIE_BREAKER)).expect("room");
            message.add_attribute(&UseCandidate::new()).expect("room");
            message.add_message_integrity_with_key(&key, ALGORITHM).expect("room");
            message.add_fingerprint().expect("room");
            black_box(message.finish());
        }),
        Case::new(ENCODE_RESPONSE, NAME, move || {
            let writer = MessageWriteMutSlice::new(&mut buffer2);
            let mut message = Message::builder(response_kind, transaction, writer);
            let mapped = XorMappedAddress::new(black_box(MAPPED), transaction);
            message.add_attribute(&mapped).expect("room");
            message.add_message_integrity_with_key(&key2, ALGORITHM).expect("room");
            message.add_fingerprint().expect("room");
            black_box(message.finish());
        }),
    ]
}

fn decode_cases(wire: &Wire) -> Vec<Case<'static>> {
    let Wire { request, response } = wire.clone();
    let (key, key2) = (key(), key());
    vec![
        Case::new(DECODE_REQUEST, NAME, move || {
            let message = Message::from_bytes(black_box(&request)).expect("a message");
            message.validate_integrity_with_key(&key).expect("integrity");
            let username = message.attribute::<Username>().expect("a name");
            let priority = message.attribute::<Priority>().expect("a priority").priority();
            let role = message.attribute::<IceControlling>().expect("a role").tie_breaker();
            let nominated = message.has_attribute(UseCandidate::TYPE);
            black_box((username.username().len(), priority, role, nominated));
        }),
        Case::new(DECODE_RESPONSE, NAME, move || {
            let message = Message::from_bytes(black_box(&response)).expect("a message");
            message.validate_integrity_with_key(&key2).expect("integrity");
            let mapped = message.attribute::<XorMappedAddress>().expect("an address");
            black_box(mapped.addr(message.transaction_id()));
        }),
    ]
}
