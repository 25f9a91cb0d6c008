//! Section 9.2: long-term credentials.

use floe::stun::{
    AttributeType, Discard, GiveUp, IntegrityError, IntegrityKey, LongTerm, LongTermStep, Message,
    MessageClass, userhash,
};

use super::encode;
use crate::rfc5769;

const OLD: &[u8] = b"nonce of a server of RFC 5389";
const LISTS: &[u8] = b"obMatJos2AAABone";
const ANONYMOUS: &[u8] = b"obMatJos2AAADone";
const BOTH: &[u8] = &[0, 2, 0, 0, 0, 1, 0, 0];
const MD5_FIRST: &[u8] = &[0, 1, 0, 0, 0, 2, 0, 0];
const MD5_ALONE: &[u8] = &[0, 1, 0, 0];
const UNKNOWN_THEN_SHA256: &[u8] = &[0, 9, 0, 3, 1, 2, 3, 0xff, 0, 2, 0, 0];
const UNKNOWN: &[u8] = &[0, 9, 0, 0];

/// An error response of a server.
fn challenge(code: u16, realm: &[u8], nonce: &[u8], algorithms: Option<&[u8]>) -> Vec<u8> {
    encode(MessageClass::Error, |encoder| {
        let encoder = encoder
            .error_code(code, "")
            .attribute(AttributeType::REALM, realm)
            .attribute(AttributeType::NONCE, nonce);
        match algorithms {
            Some(list) => encoder.attribute(AttributeType::PASSWORD_ALGORITHMS, list),
            None => encoder,
        }
    })
}

fn challenged(login: &mut LongTerm, response: &[u8]) -> LongTermStep {
    login.handle_challenge(&Message::parse(response).unwrap())
}

pub(crate) fn login() -> LongTerm {
    LongTerm::new(b"user", b"pass").unwrap()
}

fn give_up(reason: GiveUp) -> LongTermStep {
    LongTermStep::GiveUp(reason)
}

/// [rfc8489-9.2.3.1-1]
#[test]
fn the_first_request_carries_no_credentials() {
    let request = encode(MessageClass::Request, |encoder| login().authenticate(encoder));
    assert_eq!(request.len(), 20);
    assert!(!login().is_challenged() && login().key().is_none());
}

/// [rfc8489-9.2.5-3] [rfc8489-9.2.5-4] [rfc8489-9.2.5-5b] [rfc8489-9.2.5-6] [rfc8489-9.2.5-7]
/// [rfc8489-9.2.3.2-1] [rfc8489-9.2.3.2-2] [rfc8489-9.2.3.2-3] [rfc8489-18.5.1.1-1]
#[test]
fn an_old_server_gets_username_and_md5() {
    let mut login = login();
    let step = challenged(&mut login, &challenge(401, b"realm", OLD, None));
    assert_eq!(step, LongTermStep::Retry);
    let key = IntegrityKey::long_term_md5(b"user", b"realm", b"pass");
    // Subsequent requests are the same.
    for _ in 0..2 {
        let request = encode(MessageClass::Request, |encoder| login.authenticate(encoder));
        let request = Message::parse(&request).unwrap().verify(&key).unwrap();
        assert_eq!(request.username(), Some(&b"user"[..]));
        assert_eq!(request.userhash(), None);
        assert_eq!(request.realm(), Some(&b"realm"[..]));
        assert_eq!(request.nonce(), Some(OLD));
        assert!(request.password_algorithms().is_none() && request.password_algorithm().is_none());
    }
}

/// [rfc8489-9.2.5-5a] [rfc8489-9.2.5-8] [rfc8489-9.2.5-9] [rfc8489-9.2.5-19] [rfc8656-6-3]
/// [rfc8489-14.12-1a] [rfc8489-14.12-1b] [rfc8489-14.4-p1]
#[test]
fn a_new_server_gets_userhash_and_the_best_algorithm_that_it_lists() {
    let sha256 = IntegrityKey::long_term_sha256(b"user", b"realm", b"pass");
    let md5 = IntegrityKey::long_term_md5_listed(b"user", b"realm", b"pass");
    let rows = [
        (BOTH, 2, &sha256),
        (MD5_FIRST, 2, &sha256),
        (UNKNOWN_THEN_SHA256, 2, &sha256),
        (MD5_ALONE, 1, &md5),
    ];
    for (list, number, key) in rows {
        let mut login = login();
        let step = challenged(&mut login, &challenge(401, b"realm", ANONYMOUS, Some(list)));
        assert_eq!(step, LongTermStep::Retry);
        let request = encode(MessageClass::Request, |encoder| login.authenticate(encoder));
        let request = Message::parse(&request).unwrap().verify(key).unwrap();
        assert_eq!(request.username(), None);
        assert_eq!(request.userhash(), Some(userhash(b"user", b"realm")));
        assert_eq!(request.attribute(AttributeType::PASSWORD_ALGORITHMS), Some(list));
        let value = request.attribute(AttributeType::PASSWORD_ALGORITHM);
        assert_eq!(value, Some(&[0, number, 0, 0][..]));
        assert!(request.attribute(AttributeType::MESSAGE_INTEGRITY).is_none());
    }
}

/// [rfc8489-9.2.5-1] [rfc8489-9.2.5-2] [rfc8489-9.2.5-10] [rfc8489-9.2.5-11]
/// [rfc8489-9.2.5-12] [rfc8489-9.2.5-13]
#[test]
fn the_table_of_challenges() {
    type Row<'a> = (u16, &'a [u8], &'a [u8], Option<&'a [u8]>, LongTermStep);
    use LongTermStep::Retry;
    let stories: [&[Row<'_>]; 12] = [
        // The same credentials are not tried twice, whatever the nonce.
        &[(401, b"r", OLD, None, Retry), (401, b"r", OLD, None, give_up(GiveUp::Credentials))],
        &[(401, b"r", OLD, None, Retry), (401, b"r", b"2", None, give_up(GiveUp::Credentials))],
        // Another realm is something else, for a while.
        &[
            (401, b"r", OLD, None, Retry),
            (401, b"s", OLD, None, Retry),
            (401, b"t", OLD, None, Retry),
            (401, b"u", OLD, None, give_up(GiveUp::TooMany)),
        ],
        // USERHASH for USERNAME is something else.
        &[
            (401, b"r", LISTS, Some(BOTH), Retry),
            (401, b"r", ANONYMOUS, Some(BOTH), Retry),
            (401, b"r", ANONYMOUS, Some(BOTH), give_up(GiveUp::Credentials)),
        ],
        // A stale nonce is tried again with the new one, three times.
        &[
            (401, b"r", OLD, None, Retry),
            (438, b"r", b"2", None, Retry),
            (438, b"r", b"3", None, Retry),
            (438, b"r", b"4", None, Retry),
            (438, b"r", b"5", None, give_up(GiveUp::TooMany)),
        ],
        &[(438, b"r", OLD, None, Retry), (401, b"r", b"2", None, give_up(GiveUp::Credentials))],
        // Bid down: the nonce tells of a list that is missing.
        &[(401, b"r", LISTS, None, give_up(GiveUp::BidDown))],
        &[(401, b"r", OLD, None, Retry), (438, b"r", LISTS, None, give_up(GiveUp::BidDown))],
        // Bid down: there was a list before.
        &[(401, b"r", LISTS, Some(BOTH), Retry), (438, b"r", b"2", None, give_up(GiveUp::BidDown))],
        // Nothing that we know, or nothing at all.
        &[(401, b"r", LISTS, Some(UNKNOWN), give_up(GiveUp::Algorithm))],
        &[(401, b"r", LISTS, Some(b""), give_up(GiveUp::Algorithm))],
        &[(400, b"r", OLD, None, give_up(GiveUp::NotAChallenge))],
    ];
    for (index, story) in stories.iter().enumerate() {
        let mut login = login();
        for (step, &(code, realm, nonce, list, expected)) in story.iter().enumerate() {
            let got = challenged(&mut login, &challenge(code, realm, nonce, list));
            assert_eq!(got, expected, "story {index}, step {step}");
            if got == LongTermStep::Retry {
                let request = encode(MessageClass::Request, |encoder| login.authenticate(encoder));
                let request = Message::parse(&request).unwrap();
                assert_eq!(request.nonce(), Some(nonce), "story {index}, step {step}");
                assert!(request.verify(login.key().unwrap()).is_ok());
            }
        }
    }
}

/// [rfc8489-9.2.5-3] [rfc8489-9.2.5-12]
#[test]
fn a_challenge_without_nonce_or_realm_is_not_answered() {
    let bare = encode(MessageClass::Error, |encoder| encoder.error_code(401, ""));
    assert_eq!(challenged(&mut login(), &bare), give_up(GiveUp::Challenge));
    let long = challenge(401, b"realm", &[b'n'; 764], None);
    assert_eq!(challenged(&mut login(), &long), give_up(GiveUp::Challenge));
    // A 438 that leaves out the realm means the one we have.
    let mut login = login();
    assert_eq!(challenged(&mut login, &challenge(401, b"realm", OLD, None)), LongTermStep::Retry);
    let stale = encode(MessageClass::Error, |encoder| {
        encoder.error_code(438, "").attribute(AttributeType::NONCE, b"new")
    });
    assert_eq!(challenged(&mut login, &stale), LongTermStep::Retry);
}

/// [rfc8489-9.2.5-14] [rfc8489-9.2.5-15] [rfc8489-9.2.5-16]
#[test]
fn other_responses_must_be_protected() {
    let mut login = login();
    assert_eq!(challenged(&mut login, &challenge(401, b"realm", OLD, None)), LongTermStep::Retry);
    let key = IntegrityKey::long_term_md5(b"user", b"realm", b"pass");
    let mut verify = |octets: &[u8]| login.verify(&Message::parse(octets).unwrap()).err();

    let good = encode(MessageClass::Success, |encoder| encoder.integrity(&key));
    assert_eq!(verify(&good), None);
    let bare = encode(MessageClass::Success, |encoder| encoder);
    assert_eq!(verify(&bare), Some(Discard::Integrity(IntegrityError::Missing)));
    let wrong = encode(MessageClass::Success, |encoder| encoder.integrity(&rfc5769::key()));
    assert_eq!(verify(&wrong), Some(Discard::Integrity(IntegrityError::Wrong)));
    let bad_request = encode(MessageClass::Error, |encoder| encoder.error_code(400, ""));
    assert_eq!(verify(&bad_request), Some(Discard::UnprotectedBadRequest));
    let protected =
        encode(MessageClass::Error, |encoder| encoder.error_code(400, "").integrity(&key));
    assert_eq!(verify(&protected), None);
    let bid_down = encode(MessageClass::Success, |encoder| {
        encoder.attribute(AttributeType::NONCE, LISTS).integrity(&key)
    });
    assert_eq!(verify(&bid_down), Some(Discard::BidDown));
}

/// [rfc8489-9.2.5-12]
#[test]
fn a_success_starts_the_count_of_stale_nonces_anew() {
    let mut login = login();
    assert_eq!(challenged(&mut login, &challenge(401, b"realm", OLD, None)), LongTermStep::Retry);
    let key = IntegrityKey::long_term_md5(b"user", b"realm", b"pass");
    let success = encode(MessageClass::Success, |encoder| encoder.integrity(&key));
    for nonce in 0..10_u8 {
        let stale = challenge(438, b"realm", &[b'0' + nonce], None);
        assert_eq!(challenged(&mut login, &stale), LongTermStep::Retry);
        assert!(login.verify(&Message::parse(&success).unwrap()).is_ok());
    }
}
