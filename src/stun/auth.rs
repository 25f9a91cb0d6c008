//! Integrity keys: HMAC states that are kept and cloned, not rebuilt for every message.

use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Octets of the value of MESSAGE-INTEGRITY.
pub(super) const SHA1_LEN: usize = 20;
/// Octets of the value of an untruncated MESSAGE-INTEGRITY-SHA256.
pub(super) const SHA256_LEN: usize = 32;
/// The fewest octets of a truncated MESSAGE-INTEGRITY-SHA256. [rfc8489-14.6-1a]
const SHA256_MIN_LEN: usize = 16;

/// Which attribute a key makes and checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntegrityAlgorithm {
    /// MESSAGE-INTEGRITY, HMAC-SHA1. [RFC 8489 §14.5]
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256, HMAC-SHA256. [RFC 8489 §14.6]
    Sha256,
}

/// Why a message is not authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntegrityError {
    /// It has no integrity attribute: a request gets a 400, all else is dropped.
    Missing,
    /// The integrity attribute does not match: a request gets a 401, all else is dropped.
    Wrong,
    /// It has only the integrity attribute of the other algorithm: treat it as wrong.
    Algorithm,
}

impl fmt::Display for IntegrityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "no integrity attribute",
            Self::Wrong => "the integrity attribute does not match",
            Self::Algorithm => "the integrity attribute is of another algorithm",
        })
    }
}

impl core::error::Error for IntegrityError {}

#[derive(Clone)]
enum State {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
}

/// A key for MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256: the HMAC state after the key.
#[derive(Clone)]
pub struct IntegrityKey {
    state: State,
    truncation: bool,
}

impl IntegrityKey {
    /// Makes the short-term key of `password` for MESSAGE-INTEGRITY, as ICE uses it.
    /// [rfc8489-9.1.1-p1]
    #[must_use]
    pub fn short_term(password: &[u8]) -> Self {
        Self::from_octets(IntegrityAlgorithm::Sha1, password)
    }

    /// Makes the short-term key of `password` for MESSAGE-INTEGRITY-SHA256. [rfc8489-9.1.1-p1]
    #[must_use]
    pub fn short_term_sha256(password: &[u8]) -> Self {
        Self::from_octets(IntegrityAlgorithm::Sha256, password)
    }

    /// Makes the long-term key of servers that offer no choice: MD5, for MESSAGE-INTEGRITY.
    /// [rfc8489-9.2.2-p1] [rfc8489-18.5.1.1-1]
    #[must_use]
    pub fn long_term_md5(username: &[u8], realm: &[u8], password: &[u8]) -> Self {
        Self::from_octets(IntegrityAlgorithm::Sha1, &md5_key(username, realm, password))
    }

    /// Makes the long-term key of servers that offer SHA-256, for MESSAGE-INTEGRITY-SHA256.
    /// [rfc8489-9.2.2-p1]
    #[must_use]
    pub fn long_term_sha256(username: &[u8], realm: &[u8], password: &[u8]) -> Self {
        Self::from_octets(IntegrityAlgorithm::Sha256, &sha256_key(username, realm, password))
    }

    /// Makes the long-term key of servers that list MD5 among their algorithms: the key is MD5,
    /// the attribute MESSAGE-INTEGRITY-SHA256 all the same. [rfc8489-9.2.5-19]
    #[must_use]
    pub fn long_term_md5_listed(username: &[u8], realm: &[u8], password: &[u8]) -> Self {
        Self::from_octets(IntegrityAlgorithm::Sha256, &md5_key(username, realm, password))
    }

    fn from_octets(algorithm: IntegrityAlgorithm, key: &[u8]) -> Self {
        let state = match algorithm {
            IntegrityAlgorithm::Sha1 => {
                let block = key_block(key, |key| Sha1::digest(key).into());
                State::Sha1(Hmac::<Sha1>::new(&block.into()))
            }
            IntegrityAlgorithm::Sha256 => {
                let block = key_block(key, |key| Sha256::digest(key).into());
                State::Sha256(Hmac::<Sha256>::new(&block.into()))
            }
        };
        Self { state, truncation: false }
    }

    /// Accepts MESSAGE-INTEGRITY-SHA256 cut to 16, 20, 24 or 28 octets as well: only where the
    /// usage of STUN says so. [rfc8489-14.6-1a] [rfc8489-14.6-1b]
    #[must_use]
    pub const fn allow_truncation(mut self) -> Self {
        self.truncation = true;
        self
    }

    /// Returns which attribute the key makes and checks.
    #[must_use]
    pub const fn algorithm(&self) -> IntegrityAlgorithm {
        match self.state {
            State::Sha1(_) => IntegrityAlgorithm::Sha1,
            State::Sha256(_) => IntegrityAlgorithm::Sha256,
        }
    }

    /// Returns whether `value` is the HMAC of `head` followed by `tail`, in constant time.
    pub(super) fn matches(&self, head: &[u8], tail: &[u8], value: &[u8]) -> bool {
        match &self.state {
            State::Sha1(state) => {
                let mac = state.clone().chain_update(head).chain_update(tail).finalize();
                mac.as_bytes().as_slice().ct_eq(value).into()
            }
            State::Sha256(state) => {
                let shortest = if self.truncation { SHA256_MIN_LEN } else { SHA256_LEN };
                if value.len() < shortest || !value.len().is_multiple_of(4) {
                    return false;
                }
                let mac = state.clone().chain_update(head).chain_update(tail).finalize();
                let kept = mac.as_bytes().get(..value.len());
                kept.is_some_and(|kept| kept.ct_eq(value).into())
            }
        }
    }

    /// Writes the HMAC of `message` to `value`, which has the length of the algorithm.
    pub(super) fn sign(&self, message: &[u8], value: &mut [u8]) {
        match &self.state {
            State::Sha1(state) => {
                let mac = state.clone().chain_update(message).finalize().into_bytes();
                copy(value, mac.as_slice());
            }
            State::Sha256(state) => {
                let mac = state.clone().chain_update(message).finalize().into_bytes();
                copy(value, mac.as_slice());
            }
        }
    }
}

impl fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IntegrityKey({:?}, ***)", self.algorithm())
    }
}

fn copy(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// Pads `key` with zeros to the block of the hash; hashes it first if it is longer.
fn key_block<const N: usize>(key: &[u8], hash: impl Fn(&[u8]) -> [u8; N]) -> [u8; 64] {
    let mut block = [0; 64];
    if key.len() > block.len() {
        copy(&mut block, &hash(key));
    } else {
        copy(&mut block, key);
    }
    block
}

/// The octets without trailing NULs. [rfc8489-9.2.2-p1]
fn without_nulls(mut text: &[u8]) -> &[u8] {
    while let Some((0, rest)) = text.split_last() {
        text = rest;
    }
    text
}

/// The octets without trailing NULs and enclosing quotes. [rfc8489-9.2.2-p1]
fn unquoted(text: &[u8]) -> &[u8] {
    match without_nulls(text) {
        [b'"', inner @ .., b'"'] => inner,
        text => text,
    }
}

fn long_term_key<D: Digest>(username: &[u8], realm: &[u8], password: &[u8]) -> D {
    D::new()
        .chain_update(unquoted(username))
        .chain_update(b":")
        .chain_update(unquoted(realm))
        .chain_update(b":")
        .chain_update(without_nulls(password))
}

/// [rfc8489-9.2.2-p1]
pub(super) fn md5_key(username: &[u8], realm: &[u8], password: &[u8]) -> [u8; 16] {
    long_term_key::<Md5>(username, realm, password).finalize().into()
}

/// [rfc8489-9.2.2-p1]
fn sha256_key(username: &[u8], realm: &[u8], password: &[u8]) -> [u8; 32] {
    long_term_key::<Sha256>(username, realm, password).finalize().into()
}

/// Returns the value of USERHASH: which user it is, for the server's eyes only.
/// [rfc8489-14.4-p1]
#[must_use]
pub fn userhash(username: &[u8], realm: &[u8]) -> [u8; 32] {
    let hash = Sha256::new().chain_update(username).chain_update(b":").chain_update(realm);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the RFC. [rfc8489-9.2.2-p1]
    #[test]
    fn the_md5_key_is_that_of_user_realm_pass() {
        let key = 0x8493_fbc5_3ba5_82fb_4c04_4c45_6bdc_40eb_u128.to_be_bytes();
        assert_eq!(md5_key(b"user", b"realm", b"pass"), key);
        assert_eq!(md5_key(b"user\0", b"\"realm\"", b"pass\0\0"), key);
    }

    #[test]
    fn a_key_longer_than_a_block_is_hashed_first() {
        let long = [b'x'; 100];
        let hashed: [u8; 20] = Sha1::digest(long).into();
        let (mut a, mut b) = ([0; 20], [0; 20]);
        IntegrityKey::short_term(&long).sign(b"message", &mut a);
        IntegrityKey::short_term(&hashed).sign(b"message", &mut b);
        assert_eq!(a, b);
    }

    #[test]
    fn a_key_does_not_print_itself() {
        let text = format!("{:?}", IntegrityKey::short_term(b"VOkJxbRl1RmTxUk/WvJxBt"));
        assert_eq!(text, "IntegrityKey(Sha1, ***)");
    }
}
