//! Watches one host from outside and panics when it breaks a promise.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use floe::{Instant, SocketId};

use crate::wire::{self, Kind, TransactionId};

/// A 5-tuple as a host sees it: its socket, and the address at the other end.
type Path = (SocketId, SocketAddr);

/// How long an answer allows application data. [rfc7675-5.1-2]
const CONSENT: Duration = Duration::from_secs(30);

/// Polls that one input may lead to before the host counts as running wild.
pub(crate) const MAX_STEPS: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Guard {
    asked: BTreeMap<TransactionId, Path>,
    answered: BTreeMap<Path, Instant>,
    authenticated: BTreeSet<Path>,
    /// A lite agent asks nobody: whoever it answered may be sent data. [rfc8445-12.1.1-2]
    pub(crate) lite: bool,
}

impl Guard {
    /// The host sent a STUN message.
    ///
    /// A transaction id is used for one destination alone, never for two. [rfc7675-5.1-6]
    pub(crate) fn sent(&mut self, path: Path, octets: &[u8]) {
        match wire::binding(octets) {
            Some((Kind::Request, id)) => {
                let before = self.asked.insert(id, path);
                assert!(before.is_none_or(|p| p == path), "a transaction id was used twice");
                assert!(!self.lite, "a lite agent sent a request to {}", path.1);
            }
            Some((Kind::Success, _)) => {
                self.authenticated.insert(path);
            }
            Some((Kind::Indication | Kind::Error, _)) => {}
            None => panic!("poll_transmit gave something that is no STUN Binding message"),
        }
    }

    /// The host received a datagram.
    pub(crate) fn received(&mut self, now: Instant, path: Path, octets: &[u8]) {
        if let Some((Kind::Success, id)) = wire::binding(octets)
            && self.asked.get(&id) == Some(&path)
        {
            self.answered.insert(path, now);
            self.authenticated.insert(path);
        }
    }

    /// When `remote` last answered us.
    pub(crate) fn last_answer(&self, remote: SocketAddr) -> Option<Instant> {
        self.answered.iter().filter(|((_, to), _)| *to == remote).map(|(_, at)| *at).max()
    }

    /// Invariant: application data leaves only on a path that answered within 30 s.
    /// [rfc7675-5.1-1] [rfc7675-5.1-2]
    pub(crate) fn data_sent(&self, now: Instant, path: Path) {
        if self.lite && self.authenticated.contains(&path) {
            return;
        }
        let answered = self.answered.get(&path);
        let age = answered.map(|at| now.since(*at));
        assert!(
            age.is_some_and(|age| age <= CONSENT),
            "data to {} whose last answer is {age:?} old",
            path.1
        );
    }

    /// Invariant: application data is delivered only from an authenticated path.
    pub(crate) fn data_delivered(&self, path: Path) {
        assert!(self.authenticated.contains(&path), "data delivered from {} unasked", path.1);
    }
}
