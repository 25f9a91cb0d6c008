//! The rooms of a running server: who hears what, and when time is up.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use floe::Instant;
use floe::signaling::rooms::{Limits, LinkId, Output, Refusal, Rooms};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant as Clock, timeout};
use tracing::debug;

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
}

impl Hub {
    pub(super) fn new() -> io::Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| io::ErrorKind::Other)?;
        let rooms = Rooms::new(seed, Limits::default());
        let state = Mutex::new(State { rooms, links: BTreeMap::new() });
        Ok(Self(Arc::new(Inner { state, changed: Notify::new(), start: Clock::now() })))
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.0.start.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the rooms, and sends what comes of it.
    fn with<T>(&self, work: impl FnOnce(&mut Rooms, Instant) -> T) -> T {
        let (mut state, now) = (self.lock(), self.now());
        let outcome = work(&mut state.rooms, now);
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
        self.with(|rooms, now| rooms.receive(now, id, text));
    }

    /// A connection is gone.
    pub(super) fn gone(&self, id: LinkId) {
        self.lock().links.remove(&id);
        self.with(|rooms, now| rooms.disconnect(now, id));
    }

    /// Lets the time pass, for ever.
    pub(super) async fn keep_time(self) {
        loop {
            let due = self.lock().rooms.poll_timeout();
            let wait = due.map_or(Duration::MAX, |at| at.since(self.now()));
            if timeout(wait, self.0.changed.notified()).await.is_err() {
                self.with(Rooms::handle_timeout);
            }
        }
    }
}

impl State {
    fn flush(&mut self, now: Instant) {
        while let Some(output) = self.rooms.poll_output() {
            match output {
                Output::Text(id, text) => {
                    let sent = self.links.get(&id).map(|link| link.try_send(text));
                    if let Some(Err(error)) = sent {
                        debug!(%error, "a connection that takes no more is closed");
                        self.links.remove(&id);
                        self.rooms.disconnect(now, id);
                    }
                }
                Output::Close(id) => {
                    self.links.remove(&id);
                }
            }
        }
    }
}
