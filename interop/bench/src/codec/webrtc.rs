//! `stun` of webrtc-rs and its sans-IO fork `rtc-stun`: one API, two crates. Encoded as their own
//! agents do it, by `Message::build` with boxed setters.

use std::hint::black_box;
use std::sync::LazyLock;

use rtc_crypto::{RTCCrypto, RTCCryptoProvider};

use super::{
    Case, DECODE_REQUEST, DECODE_RESPONSE, ENCODE_REQUEST, ENCODE_RESPONSE, MAPPED, PASSWORD,
    PRIORITY, TIE_BREAKER, TRANSACTION, USER, Wire,
};

macro_rules! cases {
    ($wire:ident, $name:literal, $stun:ident, $transaction:path, $ice:path, $key:expr, $check:expr) => {{
        use $ice as ice;
        use $stun::attributes::ATTR_USERNAME;
        use $stun::fingerprint::FINGERPRINT;
        use $stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Getter, Message, Setter};
        use $stun::textattrs::{TextAttribute, Username};
        use $stun::xoraddr::XorMappedAddress;
        use $transaction as TransactionId;

        let Wire { request, response } = $wire.clone();
        let mut message = Message::new();
        let mut message2 = Message::new();
        vec![
            Case::new(ENCODE_REQUEST, $name, move || {
                let setters: [Box<dyn Setter>; 8] = [
                    Box::new(BINDING_REQUEST),
                    Box::new(TransactionId(TRANSACTION)),
                    Box::new(Username::new(ATTR_USERNAME, black_box(USER).to_owned())),
                    Box::new(ice::priority::PriorityAttr(PRIORITY)),
                    Box::new(ice::control::AttrControlling(TIE_BREAKER)),
                    Box::new(ice::use_candidate::UseCandidateAttr::default()),
                    Box::new($key),
                    Box::new(FINGERPRINT),
                ];
                message.build(&setters).expect("room");
                black_box(&message.raw);
            }),
            Case::new(ENCODE_RESPONSE, $name, move || {
                let mapped = black_box(MAPPED);
                let setters: [Box<dyn Setter>; 5] = [
                    Box::new(BINDING_SUCCESS),
                    Box::new(TransactionId(TRANSACTION)),
                    Box::new(XorMappedAddress { ip: mapped.ip(), port: mapped.port() }),
                    Box::new($key),
                    Box::new(FINGERPRINT),
                ];
                message2.build(&setters).expect("room");
                black_box(&message2.raw);
            }),
            Case::new(DECODE_REQUEST, $name, move || {
                let mut message = Message::new();
                message.unmarshal_binary(black_box(&request)).expect("a message");
                FINGERPRINT.check(&message).expect("a fingerprint");
                $check(&mut message);
                let user = TextAttribute::get_from_as(&message, ATTR_USERNAME).expect("a name");
                let mut priority = ice::priority::PriorityAttr::default();
                priority.get_from(&message).expect("a priority");
                let mut role = ice::control::AttrControlling::default();
                role.get_from(&message).expect("a role");
                assert!(ice::use_candidate::UseCandidateAttr::is_set(&message));
                black_box((user, priority, role.0));
            }),
            Case::new(DECODE_RESPONSE, $name, move || {
                let mut message = Message::new();
                message.unmarshal_binary(black_box(&response)).expect("a message");
                FINGERPRINT.check(&message).expect("a fingerprint");
                $check(&mut message);
                let mut mapped = XorMappedAddress::default();
                mapped.get_from(&message).expect("an address");
                black_box(mapped);
            }),
        ]
    }};
}

/// `stun`.
pub fn stun_cases(wire: &Wire) -> Vec<Case<'static>> {
    use stun::integrity::MessageIntegrity;
    use stun::message::Message;
    let key = || MessageIntegrity::new_short_term_integrity(PASSWORD.to_owned());
    let check = move |message: &mut Message| key().check(message).expect("integrity");
    cases!(
        wire,
        "stun 0.17 (webrtc-rs)",
        stun,
        stun::agent::TransactionId,
        webrtc_ice,
        key(),
        check
    )
}

static PROVIDER: LazyLock<std::sync::Arc<dyn RTCCryptoProvider>> =
    LazyLock::new(|| rtc_crypto::default_provider().expect("a crypto provider"));

/// `rtc-stun`, with its default crypto provider.
pub fn rtc_cases(wire: &Wire) -> Vec<Case<'static>> {
    use rtc_stun::integrity::MessageIntegrity;
    use rtc_stun::message::Message;
    let crypto: &'static dyn RTCCrypto = PROVIDER.crypto();
    let key = move || {
        MessageIntegrity::new_short_term_integrity_with_provider(PASSWORD.to_owned(), crypto)
    };
    let check = move |message: &mut Message| {
        MessageIntegrity::check(message, PASSWORD.as_bytes(), crypto).expect("integrity");
    };
    cases!(
        wire,
        "rtc-stun 0.21",
        rtc_stun,
        rtc_stun::message::TransactionId,
        rtc_ice::attributes,
        key(),
        check
    )
}
