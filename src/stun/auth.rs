//! Integrity keys: HMAC states that are kept, not rebuilt for every message.

use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::hmac_sha1::HmacSha1;

/// Octets of a block of SHA-256.
const BLOCK_LEN: usize = 64;
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
    Sha1(HmacSha1),
    Sha256(Box<Hmac<Sha256>>),
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
            IntegrityAlgorithm::Sha1 => State::Sha1(HmacSha1::new(key)),
            IntegrityAlgorithm::Sha256 => {
                let block = key_block(key, |key| Sha256::digest(key).into());
                State::Sha256(Box::new(Hmac::<Sha256>::new(&block.into())))
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

    /// Returns whether `value` is the HMAC of `covered` with `length` in its header, in constant
    /// time.
    #[inline]
    pub(super) fn matches(&self, covered: &[u8], length: u16, value: &[u8]) -> bool {
        match &self.state {
            State::Sha1(state) => {
                value.len() == SHA1_LEN && same(&state.mac(covered, Some(length)), value)
            }
            State::Sha256(state) => {
                let shortest = if self.truncation { SHA256_MIN_LEN } else { SHA256_LEN };
                if value.len() < shortest
                    || value.len() > SHA256_LEN
                    || !value.len().is_multiple_of(4)
                {
                    return false;
                }
                let Some(([t0, t1, _, _], rest)) = covered.split_first_chunk::<4>() else {
                    return false;
                };
                let [l0, l1] = length.to_be_bytes();
                let mac = Hmac::clone(state).chain_update([*t0, *t1, l0, l1]).chain_update(rest);
                same(&mac.finalize().into_bytes(), value)
            }
        }
    }

    /// Writes the HMAC of `message` to `value`, which has the length of the algorithm.
    pub(super) fn sign(&self, message: &[u8], value: &mut [u8]) {
        match &self.state {
            State::Sha1(state) => copy_over(value, &state.mac(message, None)),
            State::Sha256(state) => {
                let mac = Hmac::clone(state).chain_update(message).finalize().into_bytes();
                copy_over(value, mac.as_slice());
            }
        }
    }
}

impl fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IntegrityKey({:?}, ***)", self.algorithm())
    }
}

#[inline]
fn copy_over(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// Compares as many octets as `value` has, a multiple of four, in constant time: every octet is
/// looked at, and only the verdict over all of them leaves.
#[inline]
fn same(mac: &[u8], value: &[u8]) -> bool {
    let differing =
        |(mac, value): (&[u8; 4], &[u8; 4])| u32::from_ne_bytes(*mac) ^ u32::from_ne_bytes(*value);
    let (mac, value) = (mac.as_chunks::<4>().0, value.as_chunks::<4>().0);
    mac.iter().zip(value).map(differing).fold(0, |all, one| all | one).ct_eq(&0).into()
}

/// Pads `key` with zeros to the block of the hash; hashes it first if it is longer.
fn key_block<const N: usize>(key: &[u8], hash: impl Fn(&[u8]) -> [u8; N]) -> [u8; BLOCK_LEN] {
    let mut block = [0; BLOCK_LEN];
    if key.len() > block.len() {
        copy_over(&mut block, &hash(key));
    } else {
        copy_over(&mut block, key);
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
        let hashed: [u8; 20] = sha1::Sha1::digest(long).into();
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
