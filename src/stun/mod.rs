//! STUN (RFC 8489): octets to messages and back, integrity, long-term credentials, and the timing
//! of client transactions.
//!
//! - [`Message`] is a view of one datagram: checked once by [`Message::parse`], total after.
//! - [`Message::verify`] makes an [`Authenticated`] message; nothing else does.
//! - [`Encoder`] writes a message into the caller's buffer.
//! - [`ClientTransaction`] says when to send a request again and when to stop.
//! - [`LongTerm`] answers the challenges of a server with long-term credentials.
//!
//! Decoding, verifying and encoding allocate nothing. Usernames, realms and passwords are used as
//! given: who has others than ASCII prepares them with the OpaqueString profile (RFC 8265) first.

mod attribute;
mod auth;
mod encode;
mod hmac_sha1;
mod long_term;
mod message;
mod transaction;

pub use attribute::{
    AttributeType, ChangeRequest, ErrorCode, PasswordAlgorithm, PasswordAlgorithms,
    UnknownAttributes,
};
pub use auth::{IntegrityAlgorithm, IntegrityError, IntegrityKey, userhash};
pub use encode::{BufferTooSmall, Encoder};
pub use long_term::{CredentialsTooLong, Discard, GiveUp, LongTerm, LongTermStep};
pub use message::{
    Attribute, Attributes, Authenticated, Message, MessageClass, Method, ParseError, TransactionId,
};
pub use transaction::{ClientTransaction, RtoEstimator, TransactionStep};

/// Octets of the STUN header.
pub const HEADER_LEN: usize = 20;

/// The magic cookie, in network order at octet 4 of every message. [rfc8489-5-3]
pub const MAGIC_COOKIE: u32 = 0x2112_A442;

/// What the CRC-32 of FINGERPRINT is combined with. [rfc8489-14.7-p1]
const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// The longest text a receiver accepts, in octets: 127 characters of six octets, and one more.
/// [rfc8489-14.3-2] [rfc8489-14.8-1] [rfc8489-14.9-1a] [rfc8489-14.10-1] [rfc8489-14.14-2]
const MAX_TEXT_RECEIVED: usize = 763;

/// The longest text a sender writes, in octets. [rfc8489-14.3-1a] [rfc8489-14.14-2]
const MAX_TEXT_SENT: usize = 508;

/// Returns the value of FINGERPRINT for the octets before it, whose header length already counts
/// it. [rfc8489-14.7-p1]
fn fingerprint(before: &[u8]) -> u32 {
    crc32fast::hash(before) ^ FINGERPRINT_XOR
}

#[cfg(test)]
mod tests {
    /// [rfc8489-14.7-p1]
    #[test]
    fn the_fingerprint_is_the_crc_of_the_crc_crate() {
        let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
        let octets: Vec<u8> = (0..=255).cycle().take(1_000).collect();
        for len in 0..octets.len() {
            let before = &octets[..len];
            assert_eq!(super::fingerprint(before), crc.checksum(before) ^ 0x5354_554e);
        }
    }
}
