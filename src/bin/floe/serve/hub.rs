//! The rooms of a running server: who hears what, and when time is up.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use floe::Instant;
use floe::signaling::MAX_SIGNAL;
use floe::signaling::rooms::{Limits, LinkId, Output, Refusal, Rooms};
use floe::signaling::whip::{Endpoint, EndpointConfig, ExchangeId, Request, Response};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant as Clock, timeout};
use tracing::debug;

use super::guests::Guests;

/// Messages, and their octets, that wait for a connection: one that is so slow is closed, and may
/// come back. What it is told of a session when it does has room in it.
const WAITING: usize = 512;
const WAITING_OCTETS: usize = 4 * MAX_SIGNAL;

/// The rooms, shared by all connections.
#[derive(Clone)]
pub(super) struct Hub(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Deadlines have changed.
    changed: Notify,
    start: Clock,
}

struct State {
    rooms: Rooms,
    links: BTreeMap<LinkId, Outbox>,
    guests: Guests,
}

/// What is to be sent on a connection.
struct Outbox {
    texts: mpsc::Sender<String>,
    octets: Arc<AtomicUsize>,
}

/// The other end of it.
pub(super) struct Outgoing {
    texts: mpsc::Receiver<String>,
    octets: Arc<AtomicUsize>,
}

impl Outbox {
    fn new() -> (Self, Outgoing) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let octets = Arc::new(AtomicUsize::new(0));
        let outbox = Self { texts: sender, octets: Arc::clone(&octets) };
        (outbox, Outgoing { texts: receiver, octets })
    }

    /// Whether there was room for a message.
    fn push(&self, text: String) -> bool {
        let length = text.len();
        let before = self.octets.fetch_add(length, Ordering::Relaxed);
        before + length <= WAITING_OCTETS && self.texts.try_send(text).is_ok()
    }
}

impl Outgoing {
    /// Waits for the next message; `None` once the connection is to be closed.
    pub(super) async fn next(&mut self) -> Option<String> {
        let text = self.texts.recv().await?;
        self.octets.fetch_sub(text.len(), Ordering::Relaxed);
        Some(text)
    }
}

impl Hub {
    pub(super) fn new(whip: EndpointConfig) -> io::Result<Self> {
        let mut seeds = [[0; 32]; 2];
        for seed in &mut seeds {
            getrandom::fill(seed).map_err(|_| io::ErrorKind::Other)?;
        }
        let [seed, of_whip] = seeds;
        let rooms = Rooms::new(seed, Limits::default());
        let guests = Guests::new(Endpoint::new(Instant::ZERO, of_whip, whip));
        let state = Mutex::new(State { rooms, links: BTreeMap::new(), guests });
        Ok(Self(Arc::new(Inner { state, changed: Notify::new(), start: Clock::now() })))
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.0.start.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the rooms, and sends what comes of it.
    fn with<T>(&self, work: impl FnOnce(&mut State, Instant) -> T) -> T {
        let (mut state, now) = (self.lock(), self.now());
        let outcome = work(&mut state, now);
        state.flush(now);
        drop(state);
        self.0.changed.notify_one();
        outcome
    }

    /// Takes a connection, and returns what is to be sent on it.
    pub(super) fn connect(&self, room: &str) -> Result<(LinkId, Outgoing), Refusal> {
        let now = self.now();
        let mut state = self.lock();
        let id = state.rooms.connect(now, room)?;
        let (outbox, outgoing) = Outbox::new();
        state.links.insert(id, outbox);
        drop(state);
        self.0.changed.notify_one();
        Ok((id, outgoing))
    }

    pub(super) fn receive(&self, id: LinkId, text: &str) {
        self.with(|state, now| state.rooms.receive(now, id, text));
    }

    /// A connection is gone.
    pub(super) fn gone(&self, id: LinkId) {
        self.lock().links.remove(&id);
        self.with(|state, now| state.rooms.disconnect(now, id));
    }

    /// Answers a request of WHIP; `None` if the server has too much to do. Given up early, the
    /// request counts no more.
    pub(super) async fn whip(&self, request: &Request) -> Option<Response> {
        let (answer, answered) = oneshot::channel();
        let id = self.with(|state, now| state.guests.request(now, request, answer));
        let _awaited = Awaited { hub: self, id };
        answered.await.ok()
    }

    /// Lets the time pass, for ever.
    pub(super) async fn keep_time(self) {
        loop {
            let due = self.lock().poll_timeout();
            let wait = due.map_or(Duration::MAX, |at| at.since(self.now()));
            if timeout(wait, self.0.changed.notified()).await.is_err() {
                self.with(State::handle_timeout);
            }
        }
    }
}

/// A request of WHIP, as long as somebody waits for the answer.
struct Awaited<'a> {
    hub: &'a Hub,
    id: ExchangeId,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.hub.with(|state, _| state.guests.cancel(self.id));
    }
}

impl State {
    fn poll_timeout(&self) -> Option<Instant> {
        let (rooms, guests) = (self.rooms.poll_timeout(), self.guests.poll_timeout());
        rooms.into_iter().chain(guests).min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.rooms.handle_timeout(now);
        self.guests.handle_timeout(now);
    }

    /// Sends what is to be sent, and lets the guests speak with their rooms until both are quiet.
    fn flush(&mut self, now: Instant) {
        loop {
            self.guests.flush(now, &mut self.rooms);
            let Some(output) = self.rooms.poll_output() else {
                if self.guests.end_lonely() {
                    continue;
                }
                return;
            };
            match output {
                Output::Text(id, text) => {
                    if self.guests.receive(now, id, &text) {
                        continue;
                    }
                    if self.links.get(&id).is_some_and(|outbox| !outbox.push(text)) {
                        debug!("a connection that takes no more is closed");
                        self.links.remove(&id);
                        self.rooms.disconnect(now, id);
                    }
                }
                Output::Close(id) => {
                    self.links.remove(&id);
                    self.guests.closed(id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_waits_for_a_slow_connection_is_bounded() {
        let (outbox, mut outgoing) = Outbox::new();
        for _ in 0..4 {
            assert!(outbox.push("x".repeat(MAX_SIGNAL)));
        }
        assert!(!outbox.push("x".into()));
        let (outbox, mut others) = Outbox::new();
        for _ in 0..10 * WAITING {
            assert!(outbox.push("x".into()));
            assert_eq!(others.next().await.as_deref(), Some("x"));
        }
        assert_eq!(others.octets.load(Ordering::Relaxed), 0);
        assert_eq!(outgoing.next().await.map(|text| text.len()), Some(MAX_SIGNAL));
    }
}
