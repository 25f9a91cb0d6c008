//! The rooms of a running server: who hears what, and when time is up.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use floe::Instant;
use floe::signaling::rooms::{Limits, LinkId, Output, Refusal, Rooms};
use floe::signaling::whip::{Endpoint, EndpointConfig, ExchangeId, Request, Response};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant as Clock, timeout};
use tracing::debug;

use super::guests::Guests;

/// Messages that wait for a connection; one that is so slow is closed, and may come back.
const WAITING: usize = 512;

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
    links: BTreeMap<LinkId, mpsc::Sender<String>>,
    guests: Guests,
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

    /// Takes a connection; what is to be sent on it comes out of the channel, until it is to be
    /// closed.
    pub(super) fn connect(&self, room: &str) -> Result<(LinkId, mpsc::Receiver<String>), Refusal> {
        let now = self.now();
        let mut state = self.lock();
        let id = state.rooms.connect(now, room)?;
        let (sender, receiver) = mpsc::channel(WAITING);
        state.links.insert(id, sender);
        drop(state);
        self.0.changed.notify_one();
        Ok((id, receiver))
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
                    let sent = self.links.get(&id).map(|link| link.try_send(text));
                    if let Some(Err(error)) = sent {
                        debug!(%error, "a connection that takes no more is closed");
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
