//! The client's side of the long-term credential mechanism. [RFC 8489 §9.2]

use core::fmt;

use super::attribute::{AttributeType, PasswordAlgorithm, PasswordAlgorithms};
use super::auth::{IntegrityError, IntegrityKey, userhash};
use super::encode::Encoder;
use super::message::{Authenticated, Message, MessageClass};
use super::{MAX_TEXT_RECEIVED, MAX_TEXT_SENT};

/// How many 401 in a row may lead to a retry: a server that names a new realm each time is left.
const MAX_UNAUTHENTICATED: u8 = 3;
/// How many 438 in a row may lead to a retry.
const MAX_STALE_NONCE: u8 = 3;

/// How a nonce starts that tells of security features. [rfc8489-9.2.5-1]
const NONCE_COOKIE: &[u8] = b"obMatJos2";
/// Bit 0, the rightmost (erratum 6290): the server lists its algorithms.
const FEATURE_PASSWORD_ALGORITHMS: u32 = 0x00_0001;
/// Bit 1: the server takes USERHASH for USERNAME.
const FEATURE_USERNAME_ANONYMITY: u32 = 0x00_0002;

/// What to do about a 401 or 438.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum LongTermStep {
    /// Send the request in a new transaction, with [`LongTerm::authenticate`].
    Retry,
    /// The server will not have us.
    GiveUp(GiveUp),
}

/// Why a challenge is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GiveUp {
    /// The same credentials were refused already: ask for others.
    Credentials,
    /// Somebody may have taken the better algorithms out of the message.
    BidDown,
    /// No algorithm of the server is supported.
    Algorithm,
    /// REALM or NONCE is missing or too long.
    Challenge,
    /// Too many challenges in a row.
    TooMany,
    /// The message is neither a 401 nor a 438.
    NotAChallenge,
}

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Credentials => "the credentials were refused",
            Self::BidDown => "the list of password algorithms is missing",
            Self::Algorithm => "no password algorithm of the server is supported",
            Self::Challenge => "the realm or nonce is missing or too long",
            Self::TooMany => "too many challenges in a row",
            Self::NotAChallenge => "the message is no challenge",
        })
    }
}

impl core::error::Error for GiveUp {}

/// Why a response is dropped as if it never came; over a stream the transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Discard {
    /// Its integrity is missing or wrong.
    Integrity(IntegrityError),
    /// Its nonce tells of password algorithms that it does not list.
    BidDown,
    /// A 400 without integrity: a hint for the report if nothing else comes, nothing more.
    UnprotectedBadRequest,
}

impl fmt::Display for Discard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integrity(error) => error.fmt(f),
            Self::BidDown => f.write_str("the list of password algorithms is missing"),
            Self::UnprotectedBadRequest => f.write_str("a 400 without integrity"),
        }
    }
}

impl core::error::Error for Discard {}

/// Username or password has more than 508 octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialsTooLong;

impl fmt::Display for CredentialsTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the username or password is longer than 508 octets")
    }
}

impl core::error::Error for CredentialsTooLong {}

/// What the server asked for, and the key made from it.
#[derive(Clone)]
struct Challenge {
    realm: Box<[u8]>,
    nonce: Box<[u8]>,
    /// The server's PASSWORD-ALGORITHMS as received, and the number of ours.
    algorithms: Option<(Box<[u8]>, u16)>,
    userhash: Option<[u8; 32]>,
    key: IntegrityKey,
}

/// The long-term credentials for one server, with the realm and nonce it gave.
///
/// Username and password are used as given: prepare them with the OpaqueString profile if they
/// are not ASCII. [rfc8489-9.2.3.2-1]
#[derive(Clone)]
pub struct LongTerm {
    username: Box<[u8]>,
    password: Box<[u8]>,
    challenge: Option<Challenge>,
    unauthenticated: u8,
    stale: u8,
    /// Whether the challenge is from a conversation before this one.
    inherited: bool,
}

impl LongTerm {
    /// Keeps credentials; there is no challenge yet.
    ///
    /// # Errors
    ///
    /// A username or password of more than 508 octets. [rfc8489-14.3-1a]
    pub fn new(username: &[u8], password: &[u8]) -> Result<Self, CredentialsTooLong> {
        if username.len() > MAX_TEXT_SENT || password.len() > MAX_TEXT_SENT {
            return Err(CredentialsTooLong);
        }
        Ok(Self {
            username: username.into(),
            password: password.into(),
            challenge: None,
            unauthenticated: 0,
            stale: 0,
            inherited: false,
        })
    }

    /// Starts another conversation with the server: the challenge of the one before is answered
    /// beforehand, and if the server has another by now nothing was refused yet.
    /// [rfc8489-9.2.3.2-1]
    pub(crate) fn resume(&mut self) {
        self.unauthenticated = 0;
        self.stale = 0;
        self.inherited = self.challenge.is_some();
    }

    /// Returns whether the server has asked for credentials.
    #[must_use]
    pub const fn is_challenged(&self) -> bool {
        self.challenge.is_some()
    }

    /// Returns the key that requests are protected with, once the server has asked for it.
    #[must_use]
    pub fn key(&self) -> Option<&IntegrityKey> {
        self.challenge.as_ref().map(|challenge| &challenge.key)
    }

    /// Adds credentials and integrity to a request; nothing before the first challenge.
    /// [rfc8489-9.2.3.1-1] [rfc8489-9.2.3.2-2] [rfc8489-9.2.3.2-3] [rfc8489-9.2.5-4]
    /// [rfc8489-9.2.5-5a] [rfc8489-9.2.5-5b] [rfc8489-9.2.5-6] [rfc8489-9.2.5-7]
    /// [rfc8489-9.2.5-8] [rfc8489-9.2.5-9] [rfc8489-9.2.5-13] [rfc8489-14.12-1a]
    pub fn authenticate<'b>(&self, encoder: Encoder<'b>) -> Encoder<'b> {
        let Some(challenge) = &self.challenge else {
            return encoder;
        };
        let mut encoder = match &challenge.userhash {
            Some(hash) => encoder.attribute(AttributeType::USERHASH, hash),
            None => encoder.username(&[&self.username]),
        };
        encoder = encoder
            .attribute(AttributeType::REALM, &challenge.realm)
            .attribute(AttributeType::NONCE, &challenge.nonce);
        if let Some((offered, number)) = &challenge.algorithms {
            encoder = encoder
                .attribute(AttributeType::PASSWORD_ALGORITHMS, offered)
                .u32(AttributeType::PASSWORD_ALGORITHM, u32::from(*number) << 16);
        }
        encoder.integrity(&challenge.key)
    }

    /// Takes a 401 or 438 and says whether the request is worth another transaction.
    /// [RFC 8489 §9.2.5]
    pub fn handle_challenge(&mut self, response: &Message<'_>) -> LongTermStep {
        let code = response.error_code().map(|error| error.code());
        let outcome = match (response.class(), code) {
            (MessageClass::Error, Some(401)) => self.unauthenticated(response),
            (MessageClass::Error, Some(438)) => self.stale_nonce(response),
            (
                MessageClass::Error
                | MessageClass::Success
                | MessageClass::Request
                | MessageClass::Indication,
                _,
            ) => Err(GiveUp::NotAChallenge),
        };
        match outcome {
            Ok(()) => LongTermStep::Retry,
            Err(reason) => LongTermStep::GiveUp(reason),
        }
    }

    /// The same credentials are not tried twice; those of a challenge of an earlier conversation
    /// were not tried in this one, if the server has another nonce by now. [rfc8489-9.2.5-3]
    /// [rfc8489-9.2.5-11]
    fn unauthenticated(&mut self, response: &Message<'_>) -> Result<(), GiveUp> {
        let next = self.read_challenge(response, response.realm())?;
        if let Some(last) = &self.challenge
            && last.realm == next.realm
            && last.userhash == next.userhash
            && !(self.inherited && last.nonce != next.nonce)
        {
            return Err(GiveUp::Credentials);
        }
        if self.unauthenticated >= MAX_UNAUTHENTICATED {
            return Err(GiveUp::TooMany);
        }
        self.unauthenticated += 1;
        self.inherited = false;
        self.challenge = Some(next);
        Ok(())
    }

    /// A 438 without REALM keeps the realm. [rfc8489-9.2.5-12]
    fn stale_nonce(&mut self, response: &Message<'_>) -> Result<(), GiveUp> {
        let realm = self.challenge.as_ref().map(|challenge| &*challenge.realm);
        let next = self.read_challenge(response, response.realm().or(realm))?;
        if self.stale >= MAX_STALE_NONCE {
            return Err(GiveUp::TooMany);
        }
        self.stale += 1;
        self.inherited = false;
        self.challenge = Some(next);
        Ok(())
    }

    /// Reads realm, nonce and algorithms; who the user is, is hidden from all but the server where
    /// that can be. [rfc8656-21.1.6-1] [rfc8489-9.2.5-1] [rfc8489-9.2.5-2]
    /// [rfc8489-9.2.5-5a] [rfc8489-9.2.5-9] [rfc8489-9.2.5-10] [rfc8489-9.2.5-19]
    fn read_challenge(
        &self,
        response: &Message<'_>,
        realm: Option<&[u8]>,
    ) -> Result<Challenge, GiveUp> {
        let (Some(realm), Some(nonce)) = (realm, response.nonce()) else {
            return Err(GiveUp::Challenge);
        };
        debug_assert!(realm.len() <= MAX_TEXT_RECEIVED, "the view checked it");
        let offered = response.attribute(AttributeType::PASSWORD_ALGORITHMS);
        let listed_before = self.challenge.as_ref().is_some_and(|last| {
            last.algorithms.is_some() && !(self.inherited && *last.realm != *realm)
        });
        if offered.is_none() && (announces_algorithms(nonce) || listed_before) {
            return Err(GiveUp::BidDown);
        }
        let (user, password) = (&*self.username, &*self.password);
        let (algorithms, key) = match offered {
            None => (None, IntegrityKey::long_term_md5(user, realm, password)),
            Some(offered) => {
                let number = preferred(offered).ok_or(GiveUp::Algorithm)?;
                let key = if number == PasswordAlgorithm::MD5 {
                    IntegrityKey::long_term_md5_listed(user, realm, password)
                } else {
                    IntegrityKey::long_term_sha256(user, realm, password)
                };
                (Some((offered.into(), number)), key)
            }
        };
        let anonymous = features(nonce) & FEATURE_USERNAME_ANONYMITY != 0;
        Ok(Challenge {
            realm: realm.into(),
            nonce: nonce.into(),
            algorithms,
            userhash: anonymous.then(|| userhash(user, realm)),
            key,
        })
    }

    /// Verifies any other response to a request that carried credentials.
    /// [rfc8489-9.2.5-14] [rfc8489-9.2.5-15] [rfc8489-9.2.5-16]
    ///
    /// # Errors
    ///
    /// Why the response is to be dropped; before the first challenge nothing can be verified.
    pub fn verify<'a>(&mut self, response: &Message<'a>) -> Result<Authenticated<'a>, Discard> {
        let lists = response.attribute(AttributeType::PASSWORD_ALGORITHMS).is_some();
        if !lists && response.nonce().is_some_and(announces_algorithms) {
            return Err(Discard::BidDown);
        }
        let bad_request = response.error_code().is_some_and(|error| error.code() == 400);
        if bad_request && !response.has_integrity() {
            return Err(Discard::UnprotectedBadRequest);
        }
        let Some(challenge) = &self.challenge else {
            return Err(Discard::Integrity(IntegrityError::Missing));
        };
        let verified = response.verify(&challenge.key).map_err(Discard::Integrity)?;
        self.unauthenticated = 0;
        self.stale = 0;
        self.inherited = false;
        Ok(verified)
    }
}

impl fmt::Debug for LongTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongTerm")
            .field("challenged", &self.is_challenged())
            .finish_non_exhaustive()
    }
}

/// SHA-256 if the list has it, else MD5 if it has that.
///
/// RFC 8489 has the client take the first that it supports, RFC 8656 has it take SHA-256 where
/// both are listed; as long-term credentials serve TURN alone here, the latter counts.
/// [rfc8489-9.2.5-9] [rfc8656-6-3]
fn preferred(offered: &[u8]) -> Option<u16> {
    let lists = |number| {
        PasswordAlgorithms::new(offered)
            .any(|algorithm| algorithm.number == number && algorithm.parameters.is_empty())
    };
    [PasswordAlgorithm::SHA256, PasswordAlgorithm::MD5].into_iter().find(|number| lists(*number))
}

fn announces_algorithms(nonce: &[u8]) -> bool {
    features(nonce) & FEATURE_PASSWORD_ALGORITHMS != 0
}

/// The 24 feature bits of a nonce, 0 if it does not start with the cookie. [rfc8489-9.2.5-1]
fn features(nonce: &[u8]) -> u32 {
    let Some((encoded, _)) =
        nonce.strip_prefix(NONCE_COOKIE).and_then(|rest| rest.split_first_chunk::<4>())
    else {
        return 0;
    };
    let bits = encoded.iter().try_fold(0, |bits, &letter| Some(bits << 6 | sextet(letter)?));
    bits.unwrap_or(0)
}

/// The value of one letter of base64.
fn sextet(letter: u8) -> Option<u32> {
    let value = match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bit 0 is the rightmost. [rfc8489-9.2.5-1]
    #[test]
    fn the_features_of_a_nonce_count_from_the_right() {
        assert_eq!(features(b"obMatJos2AAAB-nonce"), FEATURE_PASSWORD_ALGORITHMS);
        assert_eq!(features(b"obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA"), 2);
        assert_eq!(features(b"obMatJos2AAAD"), 3);
        assert_eq!(features(b"obMatJos2gAAA"), 0x80_0000);
        assert_eq!(features(b"obMatJos2////"), 0xFF_FFFF);
    }

    #[test]
    fn a_nonce_without_a_whole_cookie_has_no_features() {
        for nonce in [&b""[..], b"obMatJos2", b"obMatJos2AAA", b"obMatJos2AA=B", b"obmatjos2AAAB"] {
            assert_eq!(features(nonce), 0, "{nonce:?}");
        }
    }
}
