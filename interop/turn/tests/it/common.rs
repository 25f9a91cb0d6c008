//! What the tests of this crate share.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use floe::Transport;
use floe::turn::ClientConfig;
use lab::{CLIENTS, CLIENTS6, Coturn};
use turn_interop::{Echo, Session};

/// Types of STUN messages, as they stand in the first two octets.
pub(crate) const ALLOCATE: u16 = 0x0003;
pub(crate) const REFRESH: u16 = 0x0004;
pub(crate) const CREATE_PERMISSION: u16 = 0x0008;
pub(crate) const CHANNEL_BIND: u16 = 0x0009;

/// As long as a datagram of media gets.
pub(crate) const DATAGRAM: usize = 1200;

/// Our first address of the family of `like`.
pub(crate) fn ours(like: SocketAddr) -> IpAddr {
    if like.is_ipv4() { CLIENTS[0].into() } else { CLIENTS6[0].into() }
}

/// A client of the lab's user over UDP and IPv4.
pub(crate) fn config() -> ClientConfig {
    Session::config(Transport::Udp)
}

/// The same with three attempts within half a second.
pub(crate) fn impatient(mut config: ClientConfig) -> ClientConfig {
    config.retransmission.rto = Duration::from_millis(20);
    config.retransmission.rc = 3;
    config
}

/// A session at coturn over UDP and IPv4.
pub(crate) fn start(config: ClientConfig) -> Session {
    Session::start(config, CLIENTS[0], Coturn::PLAIN)
}

/// Two peers that answer: over IPv4 and over IPv6.
pub(crate) fn peers() -> [Echo; 2] {
    [Echo::start(CLIENTS[1]), Echo::start(CLIENTS6[1])]
}

/// `len` octets that differ from those of other numbers.
pub(crate) fn datagram(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (number.wrapping_mul(31) + at) as u8).collect()
}

/// Asserts that a datagram comes back from each peer, in an indication and then through a channel.
pub(crate) fn assert_echoes(session: &mut Session, peers: &[&Echo]) {
    for peer in peers {
        let peer = peer.address();
        session.permit(peer);
        for channel in [false, true] {
            if channel {
                session.bind_channel(peer);
            }
            for len in [0, 1, 2, 3, 4, DATAGRAM] {
                let data = datagram(len, len);
                let echo = session.ask(peer, &data);
                let what = if channel { "through a channel" } else { "in an indication" };
                assert_eq!(echo, Some((peer, data)), "{len} octets {what}");
            }
        }
    }
}

/// Sends `count` datagrams to the peer, at most 16 at a time under way, and asserts that each comes
/// back once.
pub(crate) fn assert_all_come_back(session: &mut Session, peer: SocketAddr, count: usize) {
    let mut seen = vec![0; count];
    let (mut sent, mut back) = (0, 0);
    while back < count {
        while sent < count && sent - back < 16 {
            let mut data = datagram(sent, DATAGRAM);
            data[..4].copy_from_slice(&(sent as u32).to_be_bytes());
            assert!(session.send(peer, &data), "no way to {peer}");
            sent += 1;
        }
        let some = session.drive(turn_interop::SOON, |session| !session.received.is_empty());
        assert!(some, "{} of {sent} datagrams were lost", sent - back);
        for (from, data) in session.received.drain(..) {
            let number = u32::from_be_bytes([data[0], data[1], data[2], data[3]]) as usize;
            assert_eq!((from, data.len()), (peer, DATAGRAM));
            assert_eq!(data[4..], datagram(number, DATAGRAM)[4..]);
            seen[number] += 1;
            back += 1;
        }
    }
    assert!(seen.iter().all(|&times| times == 1));
}
