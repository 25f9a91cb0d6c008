//! Watches one host from outside and panics when it breaks a promise.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use floe::{Instant, SocketId};

use crate::world::wire::{self, Kind, TransactionId, Turn};

/// A 5-tuple as a host sees it: its socket, and the address at the other end.
type Hop = (SocketId, SocketAddr);

/// A path as an agent sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Path {
    pub(crate) socket: SocketId,
    /// The TURN server that relays for the host.
    pub(crate) relay: Option<SocketAddr>,
    /// Who is at the other end.
    pub(crate) remote: SocketAddr,
}

/// How long an answer allows application data. [rfc7675-5.1-2]
const CONSENT: Duration = Duration::from_secs(30);

/// Polls that one input may lead to before the host counts as running wild.
pub(crate) const MAX_STEPS: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Guard {
    asked: BTreeMap<TransactionId, Path>,
    answered: BTreeMap<Path, Instant>,
    authenticated: BTreeSet<Path>,
    /// The peers of the channels that were asked for at TURN servers.
    channels: BTreeMap<(Hop, u16), SocketAddr>,
    /// A lite agent asks nobody: whoever it answered may be sent data. [rfc8445-12.1.1-2]
    pub(crate) lite: bool,
}

impl Guard {
    /// Takes a datagram out of what a TURN server relays: the path that it travels, and what it
    /// is; `None` for what the server itself says or is told.
    fn unwrap<'a>(&self, hop: Hop, turn: bool, octets: &'a [u8]) -> Option<(Path, &'a [u8])> {
        let (socket, to) = hop;
        let relayed = |remote| Path { socket, relay: Some(to), remote };
        match wire::turn(octets).filter(|_| turn) {
            None => Some((Path { socket, relay: None, remote: to }, octets)),
            Some(Turn::Peer(peer, data)) => Some((relayed(peer), data)),
            Some(Turn::Channel(number, data)) => {
                Some((relayed(*self.channels.get(&(hop, number))?), data))
            }
            Some(Turn::Bind(..) | Turn::Other(_)) => None,
        }
    }

    /// The host sent a STUN message; `turn` if it is one to a TURN server.
    ///
    /// A transaction id is used for one destination alone, never for two. [rfc7675-5.1-6]
    pub(crate) fn sent(&mut self, hop: Hop, turn: bool, octets: &[u8]) {
        if let (true, Some(Turn::Bind(number, peer))) = (turn, wire::turn(octets)) {
            self.channels.insert((hop, number), peer);
        }
        let Some((path, octets)) = self.unwrap(hop, turn, octets) else { return };
        match wire::binding(octets) {
            Some((Kind::Request, id)) => {
                let before = self.asked.insert(id, path);
                assert!(before.is_none_or(|p| p == path), "a transaction id was used twice");
                assert!(!self.lite, "a lite agent sent a request to {path:?}");
            }
            Some((Kind::Success, _)) => {
                self.authenticated.insert(path);
            }
            Some((Kind::Indication | Kind::Error, _)) => {}
            None => panic!("poll_transmit gave something that is neither STUN nor TURN"),
        }
    }

    /// The host received a datagram; returns the path that it took.
    pub(crate) fn received(&mut self, now: Instant, hop: Hop, turn: bool, octets: &[u8]) -> Path {
        let (socket, remote) = hop;
        let itself = Path { socket, relay: None, remote };
        let Some((path, octets)) = self.unwrap(hop, turn, octets) else { return itself };
        if let Some((Kind::Success, id)) = wire::binding(octets)
            && self.asked.get(&id) == Some(&path)
        {
            self.answered.insert(path, now);
            self.authenticated.insert(path);
        }
        path
    }

    /// When `remote` last answered us.
    pub(crate) fn last_answer(&self, remote: SocketAddr) -> Option<Instant> {
        self.answered.iter().filter(|(path, _)| path.remote == remote).map(|(_, at)| *at).max()
    }

    /// Invariant: application data leaves only on a path that answered within 30 s.
    /// [rfc7675-5.1-1] [rfc7675-5.1-2]
    pub(crate) fn data_sent(&self, now: Instant, hop: Hop, turn: bool, octets: &[u8]) {
        let Some((path, _)) = self.unwrap(hop, turn, octets) else {
            panic!("data over a channel that nobody asked for");
        };
        if self.lite && self.authenticated.contains(&path) {
            return;
        }
        let age = self.answered.get(&path).map(|at| now.since(*at));
        assert!(
            age.is_some_and(|age| age <= CONSENT),
            "data on {path:?} whose last answer is {age:?} old",
        );
    }

    /// Invariant: application data is delivered only from an authenticated path.
    pub(crate) fn data_delivered(&self, path: Path) {
        assert!(self.authenticated.contains(&path), "data delivered from {path:?} unasked");
    }
}
