//! Writing messages into the caller's buffer.

use core::fmt;
use core::net::SocketAddr;

use super::attribute::{self, AttributeType};
use super::auth::{IntegrityAlgorithm, IntegrityKey, SHA1_LEN, SHA256_LEN};
use super::message::{MessageClass, Method, TransactionId, message_type};
use super::{HEADER_LEN, MAGIC_COOKIE};

/// The buffer does not hold the message, or the message is longer than STUN can say: give a
/// larger buffer or a smaller value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferTooSmall;

impl fmt::Display for BufferTooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the buffer is too small for the message")
    }
}

impl core::error::Error for BufferTooSmall {}

/// Writes one message.
///
/// The calls chain; a buffer that is too small is remembered and reported by
/// [`finish`](Self::finish). After an integrity attribute come only the other one and FINGERPRINT,
/// after FINGERPRINT nothing.
///
/// ```
/// use floe::stun::{AttributeType, Encoder, IntegrityKey, MessageClass, Method, TransactionId};
///
/// let mut buf = [0; 128];
/// let key = IntegrityKey::short_term(b"the password of the peer");
/// let len = Encoder::new(&mut buf, MessageClass::Request, Method::BINDING, TransactionId([7; 12]))
///     .username(&[b"peer", b"self"])
///     .u32(AttributeType::PRIORITY, 0x6eff_feff)
///     .integrity(&key)
///     .fingerprint()
///     .finish()?;
/// assert_eq!(len, 76);
/// # Ok::<(), floe::stun::BufferTooSmall>(())
/// ```
#[derive(Debug)]
#[must_use = "the header gets its length from `finish`"]
pub struct Encoder<'b> {
    buf: &'b mut [u8],
    len: usize,
    id: TransactionId,
    overflow: bool,
}

impl<'b> Encoder<'b> {
    /// Starts a message at the start of `buf`. [rfc8489-5-1] [rfc8489-5-3] [rfc8489-6.1-1]
    #[inline]
    pub fn new(buf: &'b mut [u8], class: MessageClass, method: Method, id: TransactionId) -> Self {
        let overflow = match buf.first_chunk_mut::<HEADER_LEN>() {
            Some(header) => {
                let [t0, t1] = message_type(class, method).to_be_bytes();
                let [c0, c1, c2, c3] = MAGIC_COOKIE.to_be_bytes();
                let [i0, i1, i2, i3, i4, i5, i6, i7, i8, i9, i10, i11] = id.0;
                *header = [
                    t0, t1, 0, 0, c0, c1, c2, c3, i0, i1, i2, i3, i4, i5, i6, i7, i8, i9, i10, i11,
                ];
                false
            }
            None => true,
        };
        Self { buf, len: HEADER_LEN, id, overflow }
    }

    /// Writes type and length of an attribute and zeros as padding; returns where its `length`
    /// octets of value go. [rfc8489-14-1] [rfc8489-14-2] [rfc8489-14-3] [rfc8489-14-4a]
    #[inline]
    fn reserve(&mut self, kind: AttributeType, length: usize) -> Option<&mut [u8]> {
        let padded = length.next_multiple_of(4);
        let end = self.len.saturating_add(4).saturating_add(padded);
        let short = u16::try_from(length);
        let (Ok(short), false) = (short, self.overflow || end > HEADER_LEN + 0xFFFF) else {
            self.overflow = true;
            return None;
        };
        let Some((head, value)) =
            self.buf.get_mut(self.len..end).and_then(|slot| slot.split_first_chunk_mut::<4>())
        else {
            self.overflow = true;
            return None;
        };
        let ([k0, k1], [l0, l1]) = (kind.0.to_be_bytes(), short.to_be_bytes());
        *head = [k0, k1, l0, l1];
        if padded != length
            && let Some(last) = value.last_chunk_mut::<4>()
        {
            *last = [0; 4];
        }
        self.len = end;
        value.get_mut(..length)
    }

    /// Adds an attribute.
    #[inline]
    pub fn attribute(mut self, kind: AttributeType, value: &[u8]) -> Self {
        if let Some(slot) = self.reserve(kind, value.len()) {
            slot.copy_from_slice(value);
        }
        self
    }

    #[inline]
    fn array<const N: usize>(mut self, kind: AttributeType, value: [u8; N]) -> Self {
        if let Some(slot) = self.reserve(kind, N).and_then(|slot| slot.first_chunk_mut::<N>()) {
            *slot = value;
        }
        self
    }

    /// Adds a USERNAME: the parts, joined by colons. Two parts make the username of a check.
    ///
    /// RFC 8489 wants less than 509 octets, yet two fragments that RFC 8445 allows may have 513;
    /// receivers accept 763. [rfc8489-14.3-1a]
    #[inline]
    pub fn username(mut self, parts: &[&[u8]]) -> Self {
        let octets: usize = parts.iter().map(|part| part.len()).sum();
        let length = octets + parts.len().saturating_sub(1);
        if let Some(slot) = self.reserve(AttributeType::USERNAME, length) {
            let mut at = 0;
            for part in parts {
                if at != 0
                    && let Some(colon) = slot.get_mut(at - 1)
                {
                    *colon = b':';
                }
                if let Some(to) = slot.get_mut(at..at + part.len()) {
                    to.copy_from_slice(part);
                }
                at += part.len() + 1;
            }
        }
        self
    }

    /// Adds an attribute of 32 bits.
    #[inline]
    pub fn u32(self, kind: AttributeType, value: u32) -> Self {
        self.array(kind, value.to_be_bytes())
    }

    /// Adds an attribute of 64 bits.
    #[inline]
    pub fn u64(self, kind: AttributeType, value: u64) -> Self {
        self.array(kind, value.to_be_bytes())
    }

    /// Adds an attribute without value.
    #[inline]
    pub fn flag(self, kind: AttributeType) -> Self {
        self.attribute(kind, &[])
    }

    /// Adds an address, masked. [rfc8489-14.2-p1]
    #[inline]
    pub fn xor_address(self, kind: AttributeType, address: SocketAddr) -> Self {
        let value = attribute::encode_xor_address(address, self.id);
        self.attribute(kind, value.as_slice())
    }

    /// Adds an address in the clear. [rfc8489-14.1-1] [rfc8489-14.1-2] [rfc8489-14.1-3a]
    #[inline]
    pub fn address(self, kind: AttributeType, address: SocketAddr) -> Self {
        self.attribute(kind, attribute::encode_address(address).as_slice())
    }

    /// Adds SOFTWARE, cut to 127 characters. [rfc8489-14.14-1] [rfc8489-14.14-2]
    pub fn software(self, software: &str) -> Self {
        self.attribute(AttributeType::SOFTWARE, short_text(software).as_bytes())
    }

    /// Adds ERROR-CODE. `code` is 300..=699, the reason is cut to 127 characters.
    /// [rfc8489-14.8-1] [rfc8489-14.8-2] [rfc8489-14.8-4] [rfc8489-14.8-5]
    /// [rfc8489-6.3.1.1-1]
    pub fn error_code(mut self, code: u16, reason: &str) -> Self {
        debug_assert!((300..=699).contains(&code), "{code} is no error code");
        let code = code.clamp(300, 699);
        let reason = short_text(reason).as_bytes();
        let slot = self.reserve(AttributeType::ERROR_CODE, 4 + reason.len());
        if let Some((head, text)) = slot.and_then(|slot| slot.split_first_chunk_mut::<4>()) {
            let [_, class] = (code / 100).to_be_bytes();
            let [_, number] = (code % 100).to_be_bytes();
            *head = [0, 0, class, number];
            text.copy_from_slice(reason);
        }
        self
    }

    /// Adds UNKNOWN-ATTRIBUTES. [rfc8489-6.3.1.1-3] [rfc8489-14.8-10]
    pub fn unknown_attributes<I>(mut self, kinds: I) -> Self
    where
        I: IntoIterator<Item = AttributeType, IntoIter: Clone>,
    {
        let kinds = kinds.into_iter();
        if let Some(slot) =
            self.reserve(AttributeType::UNKNOWN_ATTRIBUTES, kinds.clone().count() * 2)
        {
            for (to, kind) in slot.chunks_exact_mut(2).zip(kinds) {
                to.copy_from_slice(&kind.0.to_be_bytes());
            }
        }
        self
    }

    /// Adds MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256, as the key says, over all that was
    /// written. [rfc8489-14.5-p1] [rfc8489-14.6-1a] [rfc8489-14.6-1b]
    #[inline]
    pub fn integrity(mut self, key: &IntegrityKey) -> Self {
        let (kind, length) = match key.algorithm() {
            IntegrityAlgorithm::Sha1 => (AttributeType::MESSAGE_INTEGRITY, SHA1_LEN),
            IntegrityAlgorithm::Sha256 => (AttributeType::MESSAGE_INTEGRITY_SHA256, SHA256_LEN),
        };
        let covered = self.len;
        if self.reserve(kind, length).is_some() {
            self.write_length();
            if let Some((message, rest)) = self.buf.split_at_mut_checked(covered)
                && let Some(value) = rest.get_mut(4..4 + length)
            {
                key.sign(message, value);
            }
        }
        self
    }

    /// Adds FINGERPRINT, the last attribute. [rfc8489-14.7-1] [rfc8489-14.7-2]
    /// [rfc8489-14.7-p1]
    #[inline]
    pub fn fingerprint(mut self) -> Self {
        let covered = self.len;
        if self.reserve(AttributeType::FINGERPRINT, 4).is_some() {
            self.write_length();
            if let Some((message, rest)) = self.buf.split_at_mut_checked(covered)
                && let Some(value) = rest.get_mut(4..8)
            {
                value.copy_from_slice(&super::fingerprint(message).to_be_bytes());
            }
        }
        self
    }

    /// Writes the length of what is there so far into the header. [rfc8489-5-7]
    #[inline]
    fn write_length(&mut self) {
        let length = u16::try_from(self.len - HEADER_LEN).unwrap_or(u16::MAX);
        if let Some(field) = self.buf.get_mut(2..4) {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }

    /// Completes the header and returns the length of the message in octets. [rfc8489-5-7]
    ///
    /// # Errors
    ///
    /// [`BufferTooSmall`] if something did not fit; the buffer then holds no message.
    #[inline]
    pub fn finish(mut self) -> Result<usize, BufferTooSmall> {
        if self.overflow {
            return Err(BufferTooSmall);
        }
        self.write_length();
        Ok(self.len)
    }
}

/// Cuts a text to fewer than 128 characters. [rfc8489-14.14-2]
fn short_text(text: &str) -> &str {
    let cut = text.char_indices().nth(127).map_or(text.len(), |(at, _)| at);
    text.get(..cut).unwrap_or_default()
}
