//! A TURN client on blocking sockets.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use floe::stun::LongTerm;
use floe::turn::{Client, ClientConfig, Event, Received};
use floe::{DropReason, HEADROOM, MIN_TRANSMIT, TAILROOM, Transport};

use crate::link::Link;

/// How long anything may take that is answered at once.
pub const SOON: Duration = Duration::from_secs(5);

/// Username and password for [`floe::turn::ClientConfig`].
///
/// # Panics
///
/// If they are too long.
pub fn credentials(user: &str, password: &str) -> LongTerm {
    LongTerm::new(user.as_bytes(), password.as_bytes()).expect("short credentials")
}

/// A message that was sent to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When.
    pub at: Instant,
    /// Its first two octets: the type of a STUN message, or the number of a channel.
    pub kind: u16,
    /// Its transaction id, if it is a STUN message: retransmissions share it.
    pub transaction: [u8; 12],
}

/// A client with its socket and its clock.
pub struct Session {
    /// The client.
    pub client: Client,
    /// Its events, the oldest first.
    pub events: VecDeque<Event>,
    /// What peers sent, the oldest first.
    pub received: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Why messages of the server were dropped.
    pub dropped: Vec<DropReason>,
    /// What was sent.
    pub sent: Vec<Sent>,
    /// When a message came last.
    pub heard: Option<Instant>,
    link: Link,
    start: Instant,
    speed: u32,
}

impl Session {
    /// Starts to allocate at a server, from an address of this host.
    pub fn start(config: ClientConfig, from: impl Into<IpAddr>, server: SocketAddr) -> Self {
        Self::start_in_fast_motion(config, from, server, 1)
    }

    /// The same with a clock that is so many times as fast as the world's: to outlive many
    /// lifetimes of a server whose lifetimes are as many times shorter.
    pub fn start_in_fast_motion(
        config: ClientConfig,
        from: impl Into<IpAddr>,
        server: SocketAddr,
        speed: u32,
    ) -> Self {
        let link = Link::open(config.transport, from.into(), server);
        let port = link.local_addr().port().to_be_bytes();
        // Sessions of one test differ in their ports, and nothing here is a secret.
        let mut seed = [7; 32];
        seed[..2].copy_from_slice(&port);
        Self {
            client: Client::new(floe::Instant::ZERO, config, seed),
            events: VecDeque::new(),
            received: VecDeque::new(),
            dropped: Vec::new(),
            sent: Vec::new(),
            heard: None,
            link,
            start: Instant::now(),
            speed,
        }
    }

    /// The configuration of most tests, for the user of the lab.
    pub fn config(transport: Transport) -> ClientConfig {
        ClientConfig::new(transport, credentials(lab::USER, lab::PASSWORD))
    }

    /// The time of the client.
    pub fn now(&self) -> floe::Instant {
        floe::Instant::ZERO + self.start.elapsed() * self.speed
    }

    /// Our address.
    pub fn local_addr(&self) -> SocketAddr {
        self.link.local_addr()
    }

    /// Works until `done`, at most for `limit`; returns whether it was done.
    pub fn drive(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            self.work();
            if done(self) {
                return true;
            }
            let wait = deadline.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return false;
            }
            self.listen(wait);
        }
    }

    /// Works for so long.
    pub fn drive_for(&mut self, time: Duration) {
        self.drive(time, |_| false);
    }

    /// Waits for an event, and takes those before it too.
    pub fn wait_for(&mut self, limit: Duration, wanted: impl Fn(&Event) -> bool) -> Option<Event> {
        let mut found = None;
        self.drive(limit, |session| {
            while let Some(event) = session.events.pop_front() {
                if wanted(&event) {
                    found = Some(event);
                    return true;
                }
            }
            false
        });
        found
    }

    /// Waits until there is an allocation.
    ///
    /// # Panics
    ///
    /// If there is none, with what happened in its place.
    pub fn allocated(mut self) -> Self {
        let event = self.wait_for(SOON, |_| true);
        assert_eq!(event, Some(Event::Allocated), "dropped: {:?}", self.dropped);
        self
    }

    /// Waits until it is known that there will be no allocation, and why.
    ///
    /// # Panics
    ///
    /// If there is one, or nothing is known in time.
    pub fn refused(&mut self, limit: Duration) -> floe::turn::Error {
        match self.wait_for(limit, |_| true) {
            Some(Event::Failed(error)) => error,
            other => panic!("{other:?}, dropped: {:?}", self.dropped),
        }
    }

    /// The relayed address of the family of `like`.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn relayed(&self, like: SocketAddr) -> SocketAddr {
        let of_family = |address: &SocketAddr| address.is_ipv4() == like.is_ipv4();
        self.client.relayed().find(of_family).expect("a relayed address of the family")
    }

    /// Asks for a permission.
    ///
    /// # Panics
    ///
    /// If the client refuses it.
    pub fn permit(&mut self, peer: SocketAddr) {
        self.client.permit(self.now(), peer.ip()).expect("a permission");
        self.work();
    }

    /// Asks for a channel, and waits until data goes through it.
    ///
    /// # Panics
    ///
    /// If there is none soon.
    pub fn bind_channel(&mut self, peer: SocketAddr) {
        self.client.bind_channel(self.now(), peer).expect("a channel");
        let mut empty = [0; HEADROOM + TAILROOM];
        let bound = self.drive(SOON, |session| {
            let framing = session.client.framing(peer);
            let framed = framing.and_then(|framing| framing.frame(&mut empty, HEADROOM..HEADROOM));
            framed.is_some_and(|range| (4..8).contains(&range.len()))
        });
        assert!(bound, "no channel; events: {:?}", self.events);
    }

    /// Sends data to a peer; returns false if the client has no way for it.
    pub fn send(&mut self, peer: SocketAddr, data: &[u8]) -> bool {
        let end = HEADROOM + data.len();
        let mut packet = vec![0; end + TAILROOM];
        packet[HEADROOM..end].copy_from_slice(data);
        let Some(framing) = self.client.framing(peer) else { return false };
        let Some(range) = framing.frame(&mut packet, HEADROOM..end) else { return false };
        self.transmit(&packet[range]);
        true
    }

    /// Sends data to a peer and returns the next that comes from anybody.
    pub fn ask(&mut self, peer: SocketAddr, data: &[u8]) -> Option<(SocketAddr, Vec<u8>)> {
        assert!(self.send(peer, data), "no way to {peer}; events: {:?}", self.events);
        self.drive(SOON, |session| !session.received.is_empty());
        self.received.pop_front()
    }

    /// How many messages of a type were sent.
    pub fn count(&self, kind: u16) -> usize {
        self.sent.iter().filter(|sent| sent.kind == kind).count()
    }

    /// How many requests of a type there were, however often each was sent.
    pub fn asked(&self, kind: u16) -> usize {
        let of_kind = self.sent.iter().filter(|sent| sent.kind == kind);
        of_kind.map(|sent| sent.transaction).collect::<BTreeSet<_>>().len()
    }

    /// Fires what is due, sends what is ready, takes the events.
    pub fn work(&mut self) {
        let now = self.now();
        if self.client.poll_timeout().is_some_and(|due| due <= now) {
            self.client.handle_timeout(now);
        }
        let mut packet = [0; MIN_TRANSMIT];
        while let Some(len) = self.client.poll_transmit(now, &mut packet) {
            self.transmit(&packet[..len]);
        }
        self.events.extend(std::iter::from_fn(|| self.client.poll_event()));
    }

    fn transmit(&mut self, message: &[u8]) {
        let kind = u16::from_be_bytes([message[0], message[1]]);
        let transaction = message.get(8..20).and_then(|id| id.try_into().ok()).unwrap_or_default();
        self.sent.push(Sent { at: Instant::now(), kind, transaction });
        self.link.send(message);
    }

    /// Waits for a message, for the next deadline of the client, or for so long.
    fn listen(&mut self, wait: Duration) {
        let now = self.now();
        let until_due = self.client.poll_timeout().map(|due| due.since(now) / self.speed);
        let wait = until_due.map_or(wait, |due| due.min(wait));
        let Self { client, link, received, dropped, heard, .. } = self;
        link.receive(wait, |message| {
            *heard = Some(Instant::now());
            match client.handle_datagram(now, message) {
                Received::Handled => {}
                Received::Data { peer, data } => received.push_back((peer, data.to_vec())),
                Received::Dropped(reason) => dropped.push(reason),
            }
        });
    }
}
