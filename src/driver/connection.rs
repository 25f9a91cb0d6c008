//! A connection: data, events and commands of one agent.

use core::time::Duration;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};

use super::error::{Closed, ConnectError, FailureReport, TransmitError};
use super::inbox::{EventQueue, Inbox};
use super::node::{NodeHandle, restart_on_fresh_sockets};
use super::shared::{DataSent, Shared};
use super::{ConnectionEvent, Node};
use crate::SendError;
use crate::event::{AgentState, SelectedPair};
use crate::net::AgentId;
use crate::stats::AgentStats;

/// Events kept for a connection until they are taken.
const MAX_EVENTS: usize = 256;

/// What is known of a connection at a glance. Whether it can send, and on which pair, the core
/// alone knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Status {
    pub(super) state: AgentState,
    /// Whether the peer's description was applied.
    pub(super) described: bool,
    pub(super) signaling_ended: bool,
}

/// What the driver and the handles of one connection share.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) agent: AgentId,
    inbox: Mutex<Inbox>,
    received: Notify,
    events: Mutex<EventQueue<ConnectionEvent>>,
    happened: Notify,
    status: watch::Sender<Status>,
    was_ready: AtomicBool,
    to_signal: Notify,
}

impl Link {
    pub(super) fn new(agent: AgentId, max_datagrams: usize, max_octets: usize) -> Self {
        let status = Status { state: AgentState::New, described: false, signaling_ended: false };
        Self {
            agent,
            inbox: Mutex::new(Inbox::new(max_datagrams, max_octets)),
            received: Notify::new(),
            events: Mutex::new(EventQueue::new(MAX_EVENTS)),
            happened: Notify::new(),
            status: watch::Sender::new(status),
            was_ready: AtomicBool::new(false),
            to_signal: Notify::new(),
        }
    }

    /// Keeps a datagram for the application.
    pub(super) fn deliver(&self, data: &[u8]) {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).push(data);
        self.received.notify_one();
    }

    pub(super) fn event(&self, event: ConnectionEvent) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        self.happened.notify_one();
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_modify(change);
    }

    /// The connection can send now: those who wait for it look again.
    pub(super) fn sendable(&self) {
        self.was_ready.store(true, Ordering::Relaxed);
        self.status.send_modify(|_| {});
    }

    pub(super) fn status(&self) -> watch::Ref<'_, Status> {
        self.status.borrow()
    }

    /// Whether the connection could send at any time.
    pub(super) fn was_ready(&self) -> bool {
        self.was_ready.load(Ordering::Relaxed)
    }

    /// Tells the signalling task that there may be something to signal.
    pub(super) fn nudge(&self) {
        self.to_signal.notify_one();
    }

    pub(super) async fn nudged(&self) {
        self.to_signal.notified().await;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.status.borrow().state == AgentState::Closed
    }

    /// Ends the connection for all its handles.
    pub(super) fn end(&self) {
        if self.is_closed() {
            return;
        }
        self.update(|status| status.state = AgentState::Closed);
        self.event(ConnectionEvent::State(AgentState::Closed));
        self.received.notify_waiters();
        self.received.notify_one();
        self.happened.notify_waiters();
        self.happened.notify_one();
        self.nudge();
    }

    /// Takes the next event; `None` when there is none now.
    fn take_event(&self) -> Option<ConnectionEvent> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

/// Closes the agent when the last handle of the connection is dropped.
#[derive(Debug)]
struct Inner {
    node: Arc<NodeHandle>,
    link: Arc<Link>,
    /// Closed when the signalling task ended.
    signaling: watch::Receiver<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.node.shared().lock().close(self.link.agent);
    }
}

/// A path to one peer: an unreliable, unordered datagram channel that nobody but the peer can
/// write to, though neither encrypted nor protected against reading; that is for the layer above.
///
/// Clones are handles of one connection; when the last one is dropped the connection is closed.
#[derive(Clone, Debug)]
pub struct Connection {
    inner: Arc<Inner>,
}

impl Connection {
    pub(super) fn new(
        node: Arc<NodeHandle>,
        link: Arc<Link>,
        signaling: watch::Receiver<()>,
    ) -> Self {
        Self { inner: Arc::new(Inner { node, link, signaling }) }
    }

    fn link(&self) -> &Link {
        &self.inner.link
    }

    fn shared(&self) -> &Arc<Shared> {
        self.inner.node.shared()
    }

    /// Waits until data can be sent; returns at once if it can already.
    ///
    /// The wait is bounded from the moment the first offer and answer should have been
    /// exchanged: an answering side waits for the offer without bound, for somebody has to come
    /// first.
    ///
    /// # Errors
    ///
    /// A [`ConnectError`] that says what was tried and why it failed. The connection stays: a
    /// [`restart`](Self::restart) may still help.
    pub async fn ready(&self) -> Result<(), ConnectError> {
        let mut status = self.link().status.subscribe();
        let offering = self.shared().lock().is_offering(self.link().agent);
        if !offering {
            self.settled(&mut status, |status| status.described).await?;
        }
        let limit = self.shared().options.connect_timeout;
        let ready = self.settled(&mut status, |_| self.shared().lock().can_send(self.link().agent));
        match tokio::time::timeout(limit, ready).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ConnectError::TimedOut(Box::new(self.failure()))),
        }
    }

    /// Waits until `reached`, or until it cannot be reached any more.
    async fn settled(
        &self,
        status: &mut watch::Receiver<Status>,
        reached: impl Fn(&Status) -> bool,
    ) -> Result<(), ConnectError> {
        loop {
            // A copy: the core updates the status under its own lock, which `reached` may take.
            let now = *status.borrow_and_update();
            if reached(&now) {
                return Ok(());
            }
            match now.state {
                AgentState::Closed => return Err(ConnectError::Closed),
                AgentState::Failed => {
                    return Err(ConnectError::Failed(Box::new(self.failure())));
                }
                AgentState::New
                | AgentState::Checking
                | AgentState::Connected
                | AgentState::Completed
                | AgentState::Disconnected => {}
            }
            if now.signaling_ended && !now.described {
                return Err(ConnectError::SignalingEnded);
            }
            if status.changed().await.is_err() {
                return Err(ConnectError::Closed);
            }
        }
    }

    /// Says what was tried and what failed.
    #[must_use]
    pub fn failure(&self) -> FailureReport {
        let (state, described) = {
            let status = self.link().status();
            (status.state, status.described)
        };
        let core = self.shared().lock();
        let agent = core.endpoint.agent(self.link().agent);
        let stats = agent.as_ref().map(|agent| agent.stats()).unwrap_or_default();
        FailureReport {
            state,
            described,
            local_candidates: stats.local.len(),
            remote_candidates: stats.remote.len(),
            pairs: stats.pairs.len(),
            failures: agent.map(|agent| agent.failures()).unwrap_or_default(),
        }
    }

    /// Sends one datagram on the pair in use; waits while the socket is full.
    ///
    /// Data shares its port with STUN, told apart by the magic cookie, so any protocol may go here.
    /// A node configured for known protocols alone refuses others. [RFC 7983]
    ///
    /// `Ok` says that it left, not that it arrived. Dropped early, it was sent whole or not at all.
    ///
    /// # Errors
    ///
    /// A [`TransmitError`], each of which says what helps.
    pub async fn send(&self, data: &[u8]) -> Result<(), TransmitError> {
        loop {
            let sent = self.shared().lock().send_data(self.link().agent, data);
            match sent {
                DataSent::Done => return Ok(()),
                DataSent::TooLong => return Err(TransmitError::TooLong),
                DataSent::NotData => return Err(TransmitError::NotData),
                DataSent::Refused(error) => return Err(self.refused(error)),
                DataSent::Full(full) => full.room().await,
            }
        }
    }

    /// Sends one datagram without waiting; where the socket is full it is dropped, as any
    /// datagram may be.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn try_send(&self, data: &[u8]) -> Result<(), TransmitError> {
        match self.shared().lock().send_data(self.link().agent, data) {
            DataSent::Done | DataSent::Full(_) => Ok(()),
            DataSent::TooLong => Err(TransmitError::TooLong),
            DataSent::NotData => Err(TransmitError::NotData),
            DataSent::Refused(error) => Err(self.refused(error)),
        }
    }

    fn refused(&self, error: SendError) -> TransmitError {
        if self.link().is_closed() {
            return TransmitError::Closed;
        }
        match error {
            SendError::NotReady => TransmitError::NotReady,
            SendError::ConsentExpired => TransmitError::ConsentExpired,
            SendError::UnknownComponent => TransmitError::UnknownComponent,
            SendError::UnknownAgent | SendError::Closed => TransmitError::Closed,
        }
    }

    /// Waits for the next datagram, writes it to `buf` and returns its length; what does not fit
    /// is lost. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// [`Closed`] once the connection is closed and all that had arrived was received.
    pub async fn recv(&self, buf: &mut [u8]) -> Result<usize, Closed> {
        loop {
            let arrived = self.link().received.notified();
            if let Some(length) = self.try_recv(buf) {
                return Ok(length);
            }
            if self.link().is_closed() {
                self.link().received.notify_one();
                return Err(Closed);
            }
            arrived.await;
        }
    }

    /// Takes a datagram that has already arrived; see [`recv`](Self::recv).
    pub fn try_recv(&self, buf: &mut [u8]) -> Option<usize> {
        let mut inbox = self.link().inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let length = inbox.pop(buf)?;
        if !inbox.is_empty() {
            self.link().received.notify_one();
        }
        Some(length)
    }

    /// How many datagrams arrived while the queue was full and were dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.link().inbox.lock().unwrap_or_else(PoisonError::into_inner).dropped()
    }

    /// The state of the agent.
    #[must_use]
    pub fn state(&self) -> AgentState {
        self.link().status().state
    }

    /// The pair in use; `None` while there is none.
    #[must_use]
    pub fn selected(&self) -> Option<SelectedPair> {
        self.shared().lock().selected(self.link().agent)
    }

    /// Candidates, pairs and their counters; empty once closed.
    #[must_use]
    pub fn stats(&self) -> AgentStats {
        let core = self.shared().lock();
        core.endpoint.agent(self.link().agent).map(|agent| agent.stats()).unwrap_or_default()
    }

    /// What happens to the connection, from its beginning. All handles of the events draw from
    /// one queue of 256; when it is full the oldest event makes room.
    #[must_use]
    pub fn events(&self) -> Events {
        Events { link: Arc::clone(&self.inner.link) }
    }

    /// Restarts ICE: new credentials, new checks, a new offer to the peer. Data goes on over the
    /// old pair until a new one works; where none is left, fresh sockets are bound, so that a
    /// 5-tuple that died in some middlebox is left behind. [RFC 8445 §9]
    ///
    /// Returns when the restart has begun; [`events`](Self::events) tell how it goes on. While an
    /// offer waits for its answer the restart is noted, and begins when the answer was used.
    pub async fn restart(&self) {
        let agent = self.link().agent;
        let alive = match self.state() {
            AgentState::Disconnected | AgentState::Failed => false,
            AgentState::New
            | AgentState::Checking
            | AgentState::Connected
            | AgentState::Completed
            | AgentState::Closed => true,
        };
        if alive {
            let shared = self.shared();
            shared.lock().restart(shared, agent);
        } else {
            self.rebind().await;
        }
    }

    /// Binds fresh sockets to the addresses that the machine has now and restarts on them: for
    /// when the network changed, or the path died though the connection does not know it yet.
    ///
    /// Where no other connection shares the old sockets they are closed, and data waits for the
    /// new path.
    pub async fn rebind(&self) {
        restart_on_fresh_sockets(self.shared(), self.link().agent).await;
    }

    /// The node whose sockets the connection uses.
    #[must_use]
    pub fn node(&self) -> Node {
        Node::from_handle(Arc::clone(&self.inner.node))
    }

    /// Closes the connection and waits until its signalling has ended, at most a second. The
    /// peer is not told: it notices by consent or by the layer above.
    pub async fn close(&self) {
        self.shared().lock().close(self.link().agent);
        let mut signaling = self.inner.signaling.clone();
        let ended = async { while signaling.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(Duration::from_secs(1), ended).await;
    }
}

/// The events of a connection; see [`Connection::events`].
#[derive(Debug)]
pub struct Events {
    link: Arc<Link>,
}

impl Events {
    /// Waits for the next event; `None` after the connection was closed and all were taken.
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<ConnectionEvent> {
        loop {
            let happened = self.link.happened.notified();
            if let Some(event) = self.link.take_event() {
                return Some(event);
            }
            if self.link.is_closed() {
                self.link.happened.notify_one();
                return None;
            }
            happened.await;
        }
    }

    /// How many events were lost because nobody took them in time.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.link.events.lock().unwrap_or_else(PoisonError::into_inner).missed()
    }
}
