//! Just enough STUN to watch, answer and forge messages, written apart from floe's own codec so
//! that one cannot hide the other's mistakes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

pub(crate) const COOKIE: [u8; 4] = 0x2112_a442_u32.to_be_bytes();

pub(crate) const CHANNEL_NUMBER: u16 = 0x000c;
pub(crate) const XOR_PEER_ADDRESS: u16 = 0x0012;
pub(crate) const DATA: u16 = 0x0013;
pub(crate) const USERNAME: u16 = 0x0006;
pub(crate) const MESSAGE_INTEGRITY: u16 = 0x0008;
pub(crate) const ERROR_CODE: u16 = 0x0009;
pub(crate) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
pub(crate) const USE_CANDIDATE: u16 = 0x0025;
pub(crate) const FINGERPRINT: u16 = 0x8028;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Indication,
    Success,
    Error,
}

pub(crate) type TransactionId = [u8; 12];

/// Whether `octets` look like a STUN Binding message, of which kind, and its transaction id.
pub(crate) fn binding(octets: &[u8]) -> Option<(Kind, TransactionId)> {
    if octets.len() < 20 || octets[4..8] != COOKIE {
        return None;
    }
    let kind = match u16::from_be_bytes([octets[0], octets[1]]) {
        0x0001 => Kind::Request,
        0x0011 => Kind::Indication,
        0x0101 => Kind::Success,
        0x0111 => Kind::Error,
        _ => return None,
    };
    Some((kind, octets[8..20].try_into().unwrap()))
}

/// What travels between a client and its TURN server, Binding messages apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn<'a> {
    /// An indication with data to or from a peer.
    Peer(SocketAddr, &'a [u8]),
    /// Data on a channel.
    Channel(u16, &'a [u8]),
    /// A request that binds a channel to a peer.
    Bind(u16, SocketAddr),
    /// Another request or an answer, by its message type.
    Other(u16),
}

/// Reads a message between a client and a TURN server; `None` for what is no TURN.
pub(crate) fn turn(octets: &[u8]) -> Option<Turn<'_>> {
    if octets.len() >= 4 && (0x40..0x50).contains(&octets[0]) {
        let len = usize::from(u16::from_be_bytes([octets[2], octets[3]]));
        let number = u16::from_be_bytes([octets[0], octets[1]]);
        return Some(Turn::Channel(number, octets.get(4..4 + len)?));
    }
    if octets.len() < 20 || octets[4..8] != COOKIE {
        return None;
    }
    let id = octets[8..20].try_into().unwrap();
    let peer = || decode_xor_address(id, attribute(octets, XOR_PEER_ADDRESS)?);
    match u16::from_be_bytes([octets[0], octets[1]]) {
        0x0016 | 0x0017 => Some(Turn::Peer(peer()?, attribute(octets, DATA)?)),
        0x0009 => {
            let number = attribute(octets, CHANNEL_NUMBER)?;
            Some(Turn::Bind(u16::from_be_bytes([number[0], number[1]]), peer()?))
        }
        kind if kind & 0x000f != 1 => Some(Turn::Other(kind)),
        _ => None,
    }
}

pub(crate) fn is(octets: &[u8], kind: Kind) -> bool {
    binding(octets).is_some_and(|(k, _)| k == kind)
}

/// The value of the first attribute of type `wanted`.
pub(crate) fn attribute(octets: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = octets.get(20..)?;
    while rest.len() >= 4 {
        let kind = u16::from_be_bytes([rest[0], rest[1]]);
        let len = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        let value = rest.get(4..4 + len)?;
        if kind == wanted {
            return Some(value);
        }
        rest = rest.get(4 + len.next_multiple_of(4)..)?;
    }
    None
}

/// A check carries a USERNAME; a request to a STUN server does not.
pub(crate) fn is_check(octets: &[u8]) -> bool {
    is(octets, Kind::Request) && attribute(octets, USERNAME).is_some()
}

/// Writes a message with the attributes given, and nothing else.
pub(crate) fn message(kind: u16, id: TransactionId, attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut out = kind.to_be_bytes().to_vec();
    out.extend([0, 0]);
    out.extend(COOKIE);
    out.extend(id);
    for (kind, value) in attributes {
        push(&mut out, *kind, value);
    }
    out
}

/// A success response that says that `seen` sent the request.
pub(crate) fn success(id: TransactionId, seen: SocketAddr) -> Vec<u8> {
    message(0x0101, id, &[(XOR_MAPPED_ADDRESS, xor_address(id, seen))])
}

/// The value of an ERROR-CODE attribute.
pub(crate) fn error_code(code: u16) -> Vec<u8> {
    vec![0, 0, (code / 100) as u8, (code % 100) as u8]
}

fn xor_address(id: TransactionId, address: SocketAddr) -> Vec<u8> {
    let pad: Vec<u8> = COOKIE.iter().chain(&id).copied().collect();
    let (family, ip) = match address.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let port = address.port() ^ 0x2112;
    let mut out = vec![0, family];
    out.extend(port.to_be_bytes());
    out.extend(ip.iter().zip(&pad).map(|(a, b)| a ^ b));
    out
}

/// Reads the value of an XOR-MAPPED-ADDRESS or its like.
pub(crate) fn decode_xor_address(id: TransactionId, value: &[u8]) -> Option<SocketAddr> {
    let pad: Vec<u8> = COOKIE.iter().chain(&id).copied().collect();
    let port = u16::from_be_bytes([*value.get(2)?, *value.get(3)?]) ^ 0x2112;
    let ip: Vec<u8> = value[4..].iter().zip(&pad).map(|(a, b)| a ^ b).collect();
    let ip = match value[1] {
        1 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?)),
        2 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Appends MESSAGE-INTEGRITY under `password`.
pub(crate) fn add_integrity(octets: &mut Vec<u8>, password: &str) {
    set_length(octets, 24);
    let mut mac = Hmac::<Sha1>::new_from_slice(password.as_bytes()).unwrap();
    mac.update(octets);
    let tag = mac.finalize().into_bytes();
    push(octets, MESSAGE_INTEGRITY, &tag);
}

/// Whether MESSAGE-INTEGRITY was made with `password`, and what follows it arrived as it was sent.
pub(crate) fn is_authentic(octets: &[u8], password: &str) -> bool {
    if !is_whole(octets) {
        return false;
    }
    let mut at = 20;
    while let Some(&[a, b, c, d]) = octets.get(at..).and_then(|rest| rest.first_chunk()) {
        let len = usize::from(u16::from_be_bytes([c, d]));
        if u16::from_be_bytes([a, b]) == MESSAGE_INTEGRITY {
            let mut covered = octets[..at].to_vec();
            add_integrity(&mut covered, password);
            return octets.get(at..at + 24) == Some(&covered[at..]);
        }
        at += 4 + len.next_multiple_of(4);
    }
    false
}

/// Whether attributes fill the message, and FINGERPRINT, if it is there, is right and the last.
fn is_whole(octets: &[u8]) -> bool {
    let mut at = 20;
    while let Some(&[a, b, c, d]) = octets.get(at..).and_then(|rest| rest.first_chunk()) {
        if u16::from_be_bytes([a, b]) == FINGERPRINT {
            let mut whole = octets[..at].to_vec();
            add_fingerprint(&mut whole);
            return whole == octets;
        }
        at += 4 + usize::from(u16::from_be_bytes([c, d])).next_multiple_of(4);
    }
    at == octets.len()
}

/// Appends FINGERPRINT.
pub(crate) fn add_fingerprint(octets: &mut Vec<u8>) {
    set_length(octets, 8);
    let value = crc32(octets) ^ 0x5354_554e;
    push(octets, FINGERPRINT, &value.to_be_bytes());
}

/// Makes the FINGERPRINT at the end right again after the octets before it were changed.
pub(crate) fn mend_fingerprint(octets: &mut [u8]) {
    let end = octets.len() - 8;
    let value = crc32(&octets[..end]) ^ 0x5354_554e;
    octets[end + 4..].copy_from_slice(&value.to_be_bytes());
}

fn push(octets: &mut Vec<u8>, kind: u16, value: &[u8]) {
    octets.extend(kind.to_be_bytes());
    octets.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
    octets.extend(value);
    octets.resize(octets.len().next_multiple_of(4), 0);
    set_length(octets, 0);
}

/// Sets the length field to what follows the header, plus `more`.
fn set_length(octets: &mut [u8], more: usize) {
    let len = u16::try_from(octets.len() - 20 + more).unwrap();
    octets[2..4].copy_from_slice(&len.to_be_bytes());
}

fn crc32(octets: &[u8]) -> u32 {
    !octets.iter().fold(u32::MAX, |crc, &octet| {
        (0..8).fold(crc ^ u32::from(octet), |c, _| {
            (c >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(c & 1))
        })
    })
}

/// A packet in a few words, for the text of a trace.
pub(crate) fn describe(octets: &[u8]) -> String {
    let Some((kind, id)) = binding(octets) else {
        let turn = match turn(octets) {
            Some(Turn::Peer(peer, data)) => Some(format!("{peer} ({})", describe(data))),
            Some(Turn::Channel(n, data)) => Some(format!("channel {n:x} ({})", describe(data))),
            Some(Turn::Bind(number, peer)) => Some(format!("binds channel {number:x} to {peer}")),
            Some(Turn::Other(kind)) => {
                let code = attribute(octets, ERROR_CODE);
                let code = code.map(|code| u16::from(code[2]) * 100 + u16::from(code[3]));
                Some(format!("{kind:04x} {}", code.map_or(String::new(), |code| code.to_string())))
            }
            None => None,
        };
        if let Some(turn) = turn {
            return format!("TURN {turn}");
        }
        return format!("{} octets of data", octets.len());
    };
    let mut text = format!("{kind:?} {:02x}{:02x}{:02x}", id[0], id[1], id[2]);
    if attribute(octets, USE_CANDIDATE).is_some() {
        text.push_str(" USE-CANDIDATE");
    }
    if let Some(code) = attribute(octets, ERROR_CODE) {
        text.push_str(&format!(" {}", u16::from(code[2]) * 100 + u16::from(code[3])));
    }
    text
}

#[test]
fn the_forger_signs_like_the_sample_of_rfc5769() {
    // The request of RFC 5769 §2.1, up to its integrity attribute.
    let id = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];
    let mut octets = message(
        0x0001,
        id,
        &[
            (0x8022, b"STUN test client".to_vec()),
            (0x0024, vec![0x6e, 0x00, 0x01, 0xff]),
            (0x8029, vec![0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36]),
        ],
    );
    push(&mut octets, USERNAME, b"evtj:h6vY");
    let at = octets.len() - 3;
    octets[at..].fill(0x20);
    add_integrity(&mut octets, "VOkJxbRl1RmTxUk/WvJxBt");
    assert_eq!(
        attribute(&octets, MESSAGE_INTEGRITY).unwrap()[..4],
        [0x9a, 0xea, 0xa7, 0x0c],
        "integrity"
    );
    add_fingerprint(&mut octets);
    assert_eq!(attribute(&octets, FINGERPRINT).unwrap(), [0xe5, 0x7a, 0x3b, 0xcf]);
    assert!(is_authentic(&octets, "VOkJxbRl1RmTxUk/WvJxBt"));
    assert!(!is_authentic(&octets, "VOkJxbRl1RmTxUk/WvJxBT"));
    let end = octets.len();
    // Of another type it says nothing of the message: it may be left out.
    for (place, whole) in [(end - 7, true), (end - 5, false), (end - 1, false)] {
        let mut changed = octets.clone();
        changed[place] ^= 1;
        assert_eq!(is_authentic(&changed, "VOkJxbRl1RmTxUk/WvJxBt"), whole, "{place}");
    }
}
