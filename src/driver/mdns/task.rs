//! The task that asks and answers.

use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};
use tracing::debug;

use super::sockets::Sockets;
use super::{Command, Mailbox, Question};
use crate::driver::clock::Clock;
use crate::driver::interfaces::{Link, links};
use crate::driver::shared::Shared;
use crate::probe::mdns::{MAX_PACKET, Querier, Responder};
use crate::time::Instant;

/// Candidates that wait for their names; more are not resolved.
const MAX_WAITING: usize = 512;
/// The longest datagram that is read. [RFC 6762 §17]
const MAX_DATAGRAM: usize = 9000;
/// Datagrams that are read before what is due has its go.
const SLICE: usize = 32;
/// How long sockets stay open that are of no use.
const LINGER: Duration = Duration::from_secs(30);
/// How long the last packets may take to leave.
const FAREWELL: Duration = Duration::from_millis(500);

struct Task {
    shared: Weak<Shared>,
    clock: Clock,
    querier: Querier,
    responder: Responder,
    sockets: Sockets,
    waiting: Vec<Question>,
    /// Our names, answered for or not.
    names: Vec<(String, IpAddr)>,
    /// The links are to be looked at.
    stale: bool,
    /// When the sockets are closed, while they are open for nothing.
    closes: Option<Instant>,
    ended: bool,
}

/// Asks and answers until the node ends; `_running` tells that it has not.
pub(super) async fn run(
    shared: Weak<Shared>,
    mailbox: Arc<Mailbox>,
    _running: Arc<watch::Sender<()>>,
) {
    let mut task = Task {
        shared,
        clock: Clock::new(),
        querier: Querier::new(),
        responder: Responder::new(),
        sockets: Sockets::default(),
        waiting: Vec::new(),
        names: Vec::new(),
        stale: true,
        closes: None,
        ended: false,
    };
    let mut buf = vec![0; MAX_DATAGRAM];
    loop {
        task.obey(&mailbox);
        if task.ended {
            let _ = timeout(FAREWELL, task.send()).await;
            return;
        }
        if task.stale && task.is_needed() && !task.look_at_links().await {
            return;
        }
        task.clock.sync();
        let now = task.clock.now();
        task.querier.handle_timeout(now);
        if !task.deliver() {
            return;
        }
        task.send().await;
        let now = task.clock.now();
        task.consider_closing(now);
        let due = [task.querier.poll_timeout(), task.responder.poll_timeout(), task.closes];
        let due = due.into_iter().flatten().min();
        let deadline = task.clock.deadline(due.unwrap_or(Instant::MAX));
        tokio::select! {
            () = mailbox.news.notified() => {}
            () = task.receive(&mut buf) => {}
            () = sleep_until(deadline) => {}
        }
    }
}

impl Task {
    /// Does what the core says.
    fn obey(&mut self, mailbox: &Mailbox) {
        let now = self.clock.now();
        for command in mailbox.take() {
            match command {
                Command::Ask(question) => self.ask(now, question),
                Command::Leave(agent) => {
                    let left: Vec<Question> =
                        self.waiting.extract_if(.., |known| known.agent == agent).collect();
                    for question in left {
                        if !self.waiting.iter().any(|known| known.name == question.name) {
                            self.querier.forget(&question.name);
                        }
                    }
                    self.ask_on(now);
                }
                Command::Register { name, ip } => {
                    self.names.push((name.clone(), ip));
                    self.register(now, &name, ip);
                }
                Command::Unregister { name } => {
                    self.names.retain(|(known, _)| *known != name);
                    self.responder.unregister(now, &name);
                    // There may be room for another.
                    self.register_all(now);
                }
                Command::NetworkChanged => self.stale = true,
                Command::End => {
                    for (name, _) in core::mem::take(&mut self.names) {
                        self.responder.unregister(now, &name);
                    }
                    self.ended = true;
                }
            }
        }
    }

    fn ask(&mut self, now: Instant, question: Question) {
        if self.waiting.contains(&question) {
            return;
        }
        if self.waiting.len() >= MAX_WAITING {
            debug!(agent = %question.agent, "a name is not asked for: too many are");
            return;
        }
        self.waiting.push(question);
        self.ask_on(now);
    }

    /// Asks for what waits, as much at a time as may be; what is asked for already is not again.
    fn ask_on(&mut self, now: Instant) {
        for question in &self.waiting {
            if self.querier.ask(now, &question.name).is_err() {
                return;
            }
        }
    }

    /// Answers for a name where its address is; not at all if there is no link that has it, or too
    /// many names. The candidate is signalled all the same. [mdns-ice-candidates-3.1.1-3]
    fn register(&mut self, now: Instant, name: &str, ip: IpAddr) {
        let links: Vec<_> = self.sockets.links_of(ip).collect();
        if links.is_empty() {
            self.stale = true;
        }
        for link in links {
            if let Err(reason) = self.responder.register(now, link, name, ip) {
                debug!(%reason, "a name is not answered for");
            }
        }
    }

    /// Answers for all names that there is room for.
    fn register_all(&mut self, now: Instant) {
        for (name, ip) in &self.names {
            for link in self.sockets.links_of(*ip) {
                let _ = self.responder.register(now, link, name, *ip);
            }
        }
    }

    fn is_needed(&self) -> bool {
        !self.names.is_empty() || !self.waiting.is_empty()
    }

    /// Opens sockets on the links that the node has addresses on; false if the node is gone.
    async fn look_at_links(&mut self) -> bool {
        let Some(shared) = self.shared.upgrade() else { return false };
        let addresses: Vec<IpAddr> =
            shared.lock().sockets.iter().map(|socket| socket.address.ip()).collect();
        drop(shared);
        let found: Vec<Link> =
            tokio::task::spawn_blocking(move || links(&addresses)).await.unwrap_or_default();
        self.stale = false;
        let (gone, failures) = self.sockets.follow(found);
        for link in gone {
            self.responder.remove_link(link);
        }
        self.register_all(self.clock.now());
        if let Some(shared) = self.shared.upgrade() {
            let mut core = shared.lock();
            core.stats.mdns_failures = core.stats.mdns_failures.saturating_add(failures);
        }
        true
    }

    /// Hands on what was resolved; false if the node is gone.
    fn deliver(&mut self) -> bool {
        while let Some(resolution) = self.querier.poll_resolution() {
            let asked: Vec<Question> =
                self.waiting.extract_if(.., |question| question.name == resolution.name).collect();
            let Some(shared) = self.shared.upgrade() else { return false };
            match resolution.outcome {
                Ok(ip) => {
                    let mut core = shared.lock();
                    for question in &asked {
                        core.resolved(&shared, question, ip);
                    }
                }
                Err(reason) => debug!(%reason, "a name of the peer's is not used"),
            }
            self.ask_on(self.clock.now());
        }
        true
    }

    /// Sends what is due.
    async fn send(&mut self) {
        let mut buf = [0; MAX_PACKET];
        let mut sent = 0;
        loop {
            let now = self.clock.now();
            let packet = self.querier.poll_transmit(now, &mut buf);
            let Some(packet) = packet.or_else(|| self.responder.poll_transmit(now, &mut buf))
            else {
                break;
            };
            let Some(octets) = buf.get(packet.range) else { continue };
            sent += self.sockets.send(packet.to, octets).await;
        }
        if sent > 0
            && let Some(shared) = self.shared.upgrade()
        {
            let mut core = shared.lock();
            core.stats.mdns_sent = core.stats.mdns_sent.saturating_add(sent);
        }
    }

    /// Closes the sockets that have been of no use for a while.
    fn consider_closing(&mut self, now: Instant) {
        if self.is_needed() || !self.responder.is_idle() || self.stale {
            self.closes = None;
            return;
        }
        if now >= *self.closes.get_or_insert(now + LINGER) {
            self.sockets.close();
            self.stale = true;
            self.closes = None;
        }
    }

    /// Waits for datagrams and reads some.
    async fn receive(&mut self, buf: &mut [u8]) {
        for turn in 0..SLICE {
            let received = poll_fn(|cx| match self.sockets.poll_receive(cx, buf) {
                Poll::Pending if turn > 0 => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
                Poll::Ready(received) => Poll::Ready(Some(received)),
            });
            let Some((arrival, len)) = received.await else { return };
            let (Some(arrival), Some(datagram)) = (arrival, buf.get(..len)) else { continue };
            let now = self.clock.now();
            self.querier.handle_datagram(now, arrival, datagram);
            self.responder.handle_datagram(now, arrival, datagram);
        }
    }
}
