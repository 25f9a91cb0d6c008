//! The server's part: which connection has which place.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use crate::candidate::Secret;
use crate::rng::{Purpose, Seed, Stream};
use crate::time::{Instant, earlier};

use super::log::Log;
use super::message::{Claim, FromMember, FromServer};
use super::{Refusal, Side, is_name, is_secret};
use crate::signaling::limit::{Bucket, Rate};
use crate::signaling::{MAX_SIGNAL, SignalError};

/// What a server allows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Rooms at a time.
    pub rooms: usize,
    /// Connections at a time, those that have not joined included.
    pub links: usize,
    /// How long a place is kept for one whose connection is gone.
    pub away: Duration,
    /// How long a connection may take to join.
    pub join: Duration,
    /// Signals of one member.
    pub signals: Rate,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rooms: 1_000,
            links: 4_000,
            away: Duration::from_secs(30),
            join: Duration::from_secs(10),
            signals: Rate { burst: 200, per_second: 50 },
        }
    }
}

/// A connection of a client to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(u64);

/// What the server is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a message on a connection.
    Text(LinkId, String),
    /// Close a connection, once what was sent is on its way; its id is gone.
    Close(LinkId),
}

/// A connection.
#[derive(Debug)]
struct Link {
    room: String,
    /// Until when it has to join; `None` once it did.
    joins_by: Option<Instant>,
}

/// A place in a room.
#[derive(Debug)]
struct Place {
    secret: Secret,
    link: Option<LinkId>,
    /// When the place is given up; only while there is no connection.
    away_until: Instant,
    /// Where the member said that it is, until a session begins.
    claim: Option<Claim>,
    /// What was said to it in this session.
    inbox: Log,
    /// Signals that it may send.
    signals: Bucket,
}

/// A room, with one or two places taken.
#[derive(Debug, Default)]
struct Room {
    places: Vec<Place>,
    session: Option<String>,
}

/// The rooms of a signalling server: see the [module](super).
///
/// ```
/// use floe::Instant;
/// use floe::signaling::rooms::{Limits, Output, Rooms};
///
/// let now = Instant::ZERO;
/// let mut rooms = Rooms::new([7; 32], Limits::default());
/// let link = rooms.connect(now, "lobby").unwrap();
/// rooms.receive(now, link, r#"{"type":"join","member":"FAKE-SECRET-FAKE"}"#);
/// let joined = Output::Text(link, r#"{"type":"joined"}"#.into());
/// assert_eq!(rooms.poll_output(), Some(joined));
/// ```
#[derive(Debug)]
pub struct Rooms {
    limits: Limits,
    seed: Seed,
    names: Stream,
    next_link: u64,
    links: BTreeMap<LinkId, Link>,
    rooms: BTreeMap<String, Room>,
    outputs: VecDeque<Output>,
}

impl Rooms {
    /// Makes a server without rooms; `seed` is secret and random.
    #[must_use]
    pub fn new(seed: [u8; 32], limits: Limits) -> Self {
        Self {
            limits,
            seed: Seed::new(seed),
            names: Stream::new(0, Purpose::Credentials),
            next_link: 0,
            links: BTreeMap::new(),
            rooms: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Returns how many rooms have somebody in them, and how many connections there are.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        (self.rooms.len(), self.links.len())
    }

    /// Takes a new connection to a room.
    ///
    /// # Errors
    ///
    /// [`Refusal::Name`] or [`Refusal::Busy`]: tell it, and close the connection.
    pub fn connect(&mut self, now: Instant, room: &str) -> Result<LinkId, Refusal> {
        if !is_name(room) {
            return Err(Refusal::Name);
        }
        if self.links.len() >= self.limits.links {
            return Err(Refusal::Busy);
        }
        let id = LinkId(self.next_link);
        self.next_link += 1;
        let joins_by = Some(now + self.limits.join);
        self.links.insert(id, Link { room: room.into(), joins_by });
        Ok(id)
    }

    /// Notes that a connection is gone. Its place is kept for a while.
    pub fn disconnect(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.links.remove(&id) else { return };
        let away_until = now + self.limits.away;
        let Some(room) = self.rooms.get_mut(&link.room) else { return };
        let Some(index) = room.place_of(id) else { return };
        if let Some(place) = room.places.get_mut(index) {
            place.link = None;
            place.away_until = away_until;
        }
        room.tell(1 - index, &FromServer::Away, &mut self.outputs);
    }

    /// Takes a message of a connection; whatever is wrong with it is told to its author alone.
    pub fn receive(&mut self, now: Instant, id: LinkId, text: &str) {
        let Some(link) = self.links.get(&id) else { return };
        let joined = link.joins_by.is_none();
        let outcome = match FromMember::read(text) {
            Ok(FromMember::Join { member, claim }) if !joined => self.join(now, id, member, claim),
            Ok(_) | Err(_) if !joined => Err(Refusal::NotJoined),
            Ok(FromMember::Signal(_, of)) if self.is_over(id, of.as_deref()) => Ok(()),
            Ok(FromMember::Signal(signal, _)) => match signal.to_json() {
                // Written anew it may be longer than it was.
                text if text.len() > MAX_SIGNAL => {
                    Err(Refusal::Message(SignalError::TooLong { max: MAX_SIGNAL }))
                }
                text => self.pass_on(now, id, text),
            },
            Ok(FromMember::Leave) => {
                self.leave(id);
                Ok(())
            }
            Ok(FromMember::Join { claim: None, .. }) => self.begin_anew(now, id),
            Ok(FromMember::Join { .. }) => Ok(()),
            Err(error) => Err(Refusal::Message(error)),
        };
        if let Err(refusal) = outcome {
            self.refuse(now, id, refusal);
        }
    }

    /// Takes what is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let joining = self.links.values().filter_map(|link| link.joins_by);
        let places = self.rooms.values().flat_map(|room| &room.places);
        let away = places.filter(|place| place.link.is_none()).map(|place| place.away_until);
        joining.chain(away).fold(None, |first, at| earlier(first, Some(at)))
    }

    /// Ends what took too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        let late = |link: &Link| link.joins_by.is_some_and(|at| at <= now);
        let late: Vec<_> =
            self.links.iter().filter(|(_, link)| late(link)).map(|(id, _)| *id).collect();
        for id in late {
            self.refuse(now, id, Refusal::NotJoined);
        }
        let gone = |place: &Place| place.link.is_none() && place.away_until <= now;
        let outputs = &mut self.outputs;
        self.rooms.retain(|_, room| {
            while let Some(index) = room.places.iter().position(gone) {
                room.vacate(index, outputs);
            }
            !room.places.is_empty()
        });
    }

    fn refuse(&mut self, now: Instant, id: LinkId, refusal: Refusal) {
        self.outputs.push_back(Output::Text(id, refusal.to_message()));
        if refusal.is_final() {
            self.outputs.push_back(Output::Close(id));
            self.disconnect(now, id);
        }
    }

    fn join(
        &mut self,
        now: Instant,
        id: LinkId,
        secret: String,
        claim: Option<Claim>,
    ) -> Result<(), Refusal> {
        if !is_secret(&secret) {
            return Err(Refusal::Secret);
        }
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        if !self.rooms.contains_key(&link.room) && self.rooms.len() >= self.limits.rooms {
            return Err(Refusal::Busy);
        }
        let room = self.rooms.entry(link.room.clone()).or_default();
        let known = room.places.iter().position(|place| *place.secret.0 == *secret);
        if known.is_none() && room.places.len() >= 2 {
            return Err(Refusal::Full);
        }
        link.joins_by = None;
        self.outputs.push_back(Output::Text(id, FromServer::Joined.write()));
        let goes_on = claim.as_ref().filter(|claim| room.session.as_ref() == Some(&claim.session));
        let received = goes_on.map(|claim| claim.received);
        let Some(index) = known else {
            room.places.push(Place {
                secret: Secret(secret.into()),
                link: Some(id),
                away_until: now,
                claim,
                inbox: Log::default(),
                signals: Bucket::full(now, self.limits.signals),
            });
            self.meet(id);
            return Ok(());
        };
        let before = room.places.get_mut(index).and_then(|place| place.link.replace(id));
        if room.go_on(index, received, &mut self.outputs).is_none() {
            if let Some(place) = room.places.get_mut(index) {
                // Whose word is awaited since a restart of ours waits on; else the other has left.
                let is_over = room.session.is_none() && place.claim.is_none() && claim.is_some();
                place.claim = claim.filter(|_| !is_over);
                if is_over {
                    self.outputs.push_back(Output::Text(id, FromServer::Left.write()));
                }
            }
            self.meet(id);
        }
        if let Some(before) = before {
            self.refuse(now, before, Refusal::Replaced);
        }
        Ok(())
    }

    /// A member has no use for the session any more, and wants another with the same peer.
    fn begin_anew(&mut self, now: Instant, id: LinkId) -> Result<(), Refusal> {
        let Some(link) = self.links.get(&id) else { return Ok(()) };
        let Some(room) = self.rooms.get_mut(&link.room) else { return Ok(()) };
        let index = room.spend(id, now, self.limits.signals)?;
        if let Some(place) = room.places.get_mut(index) {
            place.claim = None;
        }
        self.meet(id);
        Ok(())
    }

    /// Begins a session in the room of a connection, if both places are taken.
    fn meet(&mut self, id: LinkId) {
        let Some(link) = self.links.get(&id) else { return };
        let Some(room) = self.rooms.get_mut(&link.room) else { return };
        let name = format!("{:016x}", self.names.next_u64(&self.seed));
        room.meet(id, name, &mut self.outputs);
    }

    /// Whether a session of a member is over, though it did not know when it spoke of it.
    fn is_over(&self, id: LinkId, session: Option<&str>) -> bool {
        let room = self.links.get(&id).and_then(|link| self.rooms.get(&link.room));
        let now = room.and_then(|room| room.session.as_deref());
        session.is_some_and(|session| now.is_some_and(|now| now != session))
    }

    /// Passes a signal on to the other one of the session.
    fn pass_on(&mut self, now: Instant, id: LinkId, text: String) -> Result<(), Refusal> {
        let Some(link) = self.links.get(&id) else { return Ok(()) };
        let Some(room) = self.rooms.get_mut(&link.room) else { return Ok(()) };
        let index = room.spend(id, now, self.limits.signals)?;
        if room.session.is_none() {
            return Err(Refusal::NoPeer);
        }
        let Some(other) = room.places.get_mut(1 - index) else { return Err(Refusal::NoPeer) };
        other.inbox.push(text.clone());
        self.outputs.extend(other.link.map(|link| Output::Text(link, text)));
        Ok(())
    }

    fn leave(&mut self, id: LinkId) {
        let Some(link) = self.links.remove(&id) else { return };
        self.outputs.push_back(Output::Close(id));
        let Some(room) = self.rooms.get_mut(&link.room) else { return };
        if let Some(index) = room.place_of(id) {
            room.vacate(index, &mut self.outputs);
        }
        if room.places.is_empty() {
            self.rooms.remove(&link.room);
        }
    }
}

impl Room {
    fn place_of(&self, id: LinkId) -> Option<usize> {
        self.places.iter().position(|place| place.link == Some(id))
    }

    /// Counts a message of a member, if it may say one more.
    fn spend(&mut self, id: LinkId, now: Instant, rate: Rate) -> Result<usize, Refusal> {
        let index = self.place_of(id).ok_or(Refusal::NotJoined)?;
        let place = self.places.get_mut(index).ok_or(Refusal::NotJoined)?;
        place.signals.take(now, rate).map_err(|_| Refusal::TooFast)?;
        Ok(index)
    }

    fn tell(&self, index: usize, message: &FromServer, outputs: &mut VecDeque<Output>) {
        let link = self.places.get(index).and_then(|place| place.link);
        outputs.extend(link.map(|link| Output::Text(link, message.write())));
    }

    /// A place is given up, and with it the session.
    fn vacate(&mut self, index: usize, outputs: &mut VecDeque<Output>) {
        self.places.remove(index);
        if self.session.take().is_some() {
            self.tell(0, &FromServer::Left, outputs);
        }
        for place in &mut self.places {
            place.claim = None;
        }
    }

    /// One that was away goes on after the first `received` signals that it was told; `None` if
    /// that cannot be.
    fn go_on(
        &self,
        index: usize,
        received: Option<u64>,
        outputs: &mut VecDeque<Output>,
    ) -> Option<()> {
        let session = self.session.clone()?;
        let [first, second] = self.places.as_slice() else { return None };
        let (place, other) = if index == 0 { (first, second) } else { (second, first) };
        let rest = place.inbox.since(received?)?;
        let link = place.link?;
        // Who goes on knows who offers.
        let (side, received) = (Side::Answerer, other.inbox.count());
        let peer = FromServer::Peer { session, side, received };
        outputs.push_back(Output::Text(link, peer.write()));
        outputs.extend(rest.map(|text| Output::Text(link, text.into())));
        let state = if other.link.is_some() { FromServer::Back } else { FromServer::Away };
        match other.link {
            Some(_) => self.tell(1 - index, &state, outputs),
            None => self.tell(index, &state, outputs),
        }
        Some(())
    }

    /// Begins a session, once both places are taken: the one that both speak of, as the server was
    /// started anew, or a new one, where the one that came last offers.
    fn meet(&mut self, last: LinkId, name: String, outputs: &mut VecDeque<Output>) {
        let [first, second] = self.places.as_mut_slice() else { return };
        let claims = first.claim.take().zip(second.claim.take());
        let both = claims.filter(|(one, other)| one.session == other.session);
        let (name, counts) = match both {
            Some((one, other)) => (one.session, [one.received, other.received]),
            None => (name, [0, 0]),
        };
        for (place, count) in [first, second].into_iter().zip(counts) {
            place.inbox = Log::after(count);
        }
        let [to_first, to_second] = counts;
        for (index, received) in [to_second, to_first].into_iter().enumerate() {
            let offers = self.places.get(index).is_some_and(|place| place.link == Some(last));
            let side = if offers { Side::Offerer } else { Side::Answerer };
            let peer = FromServer::Peer { session: name.clone(), side, received };
            self.tell(index, &peer, outputs);
        }
        self.session = Some(name);
    }
}
