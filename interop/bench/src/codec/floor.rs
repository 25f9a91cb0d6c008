//! What the unavoidable work costs: a codec for these two messages and nothing else, written by
//! hand, with the HMAC's keyed state kept.

use std::net::{Ipv4Addr, SocketAddr};

use sha1::Digest;
use sha1::digest::generic_array::GenericArray;
use sha1::digest::typenum::U64;

/// Room for either message.
pub const BUFFER: usize = 160;

const HEADER: usize = 20;
const INTEGRITY: usize = 24;
const FINGERPRINT: usize = 8;
const COOKIE: u32 = 0x2112_A442;
const FINGERPRINT_XOR: u32 = 0x5354_554e;
const BLOCK: usize = 64;
const INITIAL_STATE: [u32; 5] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];

/// An HMAC-SHA1 key after both pads went through SHA-1: two blocks less for each message.
#[derive(Clone)]
pub struct Key {
    inner: [u32; 5],
    outer: [u32; 5],
}

/// SHA-1 over whole blocks, by the instructions of the CPU where it has them.
fn compress(state: &mut [u32; 5], blocks: &[[u8; BLOCK]]) {
    // SAFETY: a `GenericArray<u8, U64>` is laid out as a `[u8; 64]`.
    let blocks: &[GenericArray<u8, U64>] =
        unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), blocks.len()) };
    sha1::compress(state, blocks);
}

fn state_octets(state: [u32; 5]) -> [u8; 20] {
    let mut octets = [0; 20];
    for (chunk, word) in octets.chunks_exact_mut(4).zip(state) {
        chunk.copy_from_slice(&word.to_be_bytes());
    }
    octets
}

impl Key {
    /// Keys the state.
    pub fn new(password: &[u8]) -> Self {
        let mut key = [0; BLOCK];
        if password.len() > BLOCK {
            key[..20].copy_from_slice(&sha1::Sha1::digest(password));
        } else {
            key[..password.len()].copy_from_slice(password);
        }
        let keyed = |pad: u8| {
            let mut state = INITIAL_STATE;
            compress(&mut state, &[key.map(|octet| octet ^ pad)]);
            state
        };
        Self { inner: keyed(0x36), outer: keyed(0x5c) }
    }

    /// MACs at most 183 octets of a message as if its length field were `length`.
    #[inline]
    fn mac(&self, message: &[u8], length: u16) -> [u8; 20] {
        let mut blocks = [[0_u8; BLOCK]; 3];
        let count = (message.len() + 9).div_ceil(BLOCK);
        let flat = blocks.as_flattened_mut();
        flat[..message.len()].copy_from_slice(message);
        flat[2..4].copy_from_slice(&length.to_be_bytes());
        flat[message.len()] = 0x80;
        let bits = ((BLOCK + message.len()) * 8) as u64;
        flat[count * BLOCK - 8..count * BLOCK].copy_from_slice(&bits.to_be_bytes());
        let mut state = self.inner;
        compress(&mut state, &blocks[..count]);

        let mut last = [0; BLOCK];
        last[..20].copy_from_slice(&state_octets(state));
        last[20] = 0x80;
        last[56..].copy_from_slice(&((BLOCK as u64 + 20) * 8).to_be_bytes());
        let mut state = self.outer;
        compress(&mut state, &[last]);
        state_octets(state)
    }
}

fn write_header(out: &mut [u8; BUFFER], kind: u16, transaction: &[u8; 12]) {
    out[..2].copy_from_slice(&kind.to_be_bytes());
    out[4..8].copy_from_slice(&COOKIE.to_be_bytes());
    out[8..HEADER].copy_from_slice(transaction);
}

/// Appends MESSAGE-INTEGRITY and FINGERPRINT after `len` octets; returns the new length.
#[inline]
fn seal(key: &Key, out: &mut [u8; BUFFER], len: usize) -> usize {
    let mac = key.mac(&out[..len], (len - HEADER + INTEGRITY) as u16);
    out[len..len + 4].copy_from_slice(&[0, 8, 0, 20]);
    out[len + 4..len + INTEGRITY].copy_from_slice(&mac);
    let len = len + INTEGRITY;
    out[2..4].copy_from_slice(&((len - HEADER + FINGERPRINT) as u16).to_be_bytes());
    let crc = crc32fast::hash(&out[..len]) ^ FINGERPRINT_XOR;
    out[len..len + 4].copy_from_slice(&[0x80, 0x28, 0, 4]);
    out[len + 4..len + FINGERPRINT].copy_from_slice(&crc.to_be_bytes());
    len + FINGERPRINT
}

/// Encodes the check; returns its length.
pub fn encode_request(
    key: &Key,
    user: &str,
    priority: u32,
    tie_breaker: u64,
    transaction: &[u8; 12],
    out: &mut [u8; BUFFER],
) -> usize {
    write_header(out, 0x0001, transaction);
    let user = user.as_bytes();
    let padded = user.len().next_multiple_of(4);
    let mut len = HEADER;
    out[len..len + 4].copy_from_slice(&[0, 0x06, 0, user.len() as u8]);
    out[len + 4..len + 4 + user.len()].copy_from_slice(user);
    out[len + 4 + user.len()..len + 4 + padded].fill(0);
    len += 4 + padded;
    out[len..len + 4].copy_from_slice(&[0, 0x24, 0, 4]);
    out[len + 4..len + 8].copy_from_slice(&priority.to_be_bytes());
    len += 8;
    out[len..len + 4].copy_from_slice(&[0x80, 0x2a, 0, 8]);
    out[len + 4..len + 12].copy_from_slice(&tie_breaker.to_be_bytes());
    len += 12;
    out[len..len + 4].copy_from_slice(&[0, 0x25, 0, 0]);
    seal(key, out, len + 4)
}

/// Encodes the response; returns its length.
pub fn encode_response(
    key: &Key,
    mapped: SocketAddr,
    transaction: &[u8; 12],
    out: &mut [u8; BUFFER],
) -> usize {
    write_header(out, 0x0101, transaction);
    let SocketAddr::V4(mapped) = mapped else { unreachable!("the floor knows IPv4 alone") };
    let port = mapped.port() ^ (COOKIE >> 16) as u16;
    let host = u32::from(*mapped.ip()) ^ COOKIE;
    out[20..26].copy_from_slice(&[0, 0x20, 0, 8, 0, 1]);
    out[26..28].copy_from_slice(&port.to_be_bytes());
    out[28..32].copy_from_slice(&host.to_be_bytes());
    seal(key, out, 32)
}

/// What the two messages say.
#[derive(Default, Debug)]
pub struct Decoded<'a> {
    pub user: Option<&'a [u8]>,
    pub priority: Option<u32>,
    pub tie_breaker: Option<u64>,
    pub use_candidate: bool,
    pub mapped: Option<SocketAddr>,
}

/// Decodes a message whose integrity and fingerprint are right.
pub fn decode<'a>(key: &Key, message: &'a [u8]) -> Option<Decoded<'a>> {
    if message.len() < HEADER || message[4..8] != COOKIE.to_be_bytes() {
        return None;
    }
    let len = usize::from(u16::from_be_bytes([message[2], message[3]])) + HEADER;
    if len != message.len() || !len.is_multiple_of(4) {
        return None;
    }

    let mut decoded = Decoded::default();
    let (mut at, mut integrity) = (HEADER, None);
    while at + 4 <= len {
        let attribute = u16::from_be_bytes([message[at], message[at + 1]]);
        let value_len = usize::from(u16::from_be_bytes([message[at + 2], message[at + 3]]));
        let value = message.get(at + 4..at + 4 + value_len)?;
        match attribute {
            0x0006 => decoded.user = Some(value),
            0x0024 => decoded.priority = Some(u32::from_be_bytes(value.try_into().ok()?)),
            0x802a => decoded.tie_breaker = Some(u64::from_be_bytes(value.try_into().ok()?)),
            0x0025 => decoded.use_candidate = true,
            0x0020 => decoded.mapped = Some(xor_address(value.try_into().ok()?)),
            0x0008 if value_len == 20 => integrity = Some(at),
            0x8028 => {
                let crc = crc32fast::hash(&message[..at]) ^ FINGERPRINT_XOR;
                if value != crc.to_be_bytes() {
                    return None;
                }
            }
            _ => {}
        }
        at += 4 + value_len.next_multiple_of(4);
    }
    let at = integrity?;
    let mac = key.mac(&message[..at], (at - HEADER + INTEGRITY) as u16);
    let difference =
        mac.iter().zip(&message[at + 4..at + INTEGRITY]).fold(0, |all, (a, b)| all | (a ^ b));
    (difference == 0).then_some(decoded)
}

fn xor_address(value: [u8; 8]) -> SocketAddr {
    let [_, _, port_high, port_low, host @ ..] = value;
    let port = u16::from_be_bytes([port_high, port_low]) ^ (COOKIE >> 16) as u16;
    let host = u32::from_be_bytes(host) ^ COOKIE;
    (Ipv4Addr::from(host), port).into()
}
