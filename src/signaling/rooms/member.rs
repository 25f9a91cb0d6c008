//! The client's part: a place in a room, over one connection after the other.

use std::collections::VecDeque;
use std::fmt;

use super::log::Log;
use super::message::{Claim, FromMember, FromServer};
use super::{Refusal, Side, Signal, SignalError};
use crate::signaling::MAX_SIGNAL;

/// What a member learns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemberEvent {
    /// It has a place, and waits for another.
    Joined,
    /// A session begins; one that was there before is over.
    Peer(Side),
    /// The peer said this.
    Signal(Signal),
    /// The connection of the peer is gone; it may come back within 30 s.
    Away,
    /// The peer is there again, or we are.
    Back,
    /// The session is over: the peer left, or too much was missed. Another may come.
    Left,
    /// The server refused something.
    Refused {
        /// Whether that ends the matter: it would refuse again.
        is_final: bool,
        /// What it said.
        sentence: String,
    },
}

/// A session as one side knows it.
#[derive(Debug)]
struct Session {
    name: String,
    said: Log,
    heard: u64,
}

/// A member of a room, over one connection after the other: see the [module](super).
///
/// ```
/// use floe::signaling::rooms::{Member, MemberEvent, Side};
///
/// let mut member = Member::new([7; 16]);
/// member.connected();
/// assert!(member.poll_output().unwrap().starts_with(r#"{"member":"0707"#));
/// let peer = r#"{"type":"peer","session":"abc","offers":true,"received":0}"#;
/// assert_eq!(member.receive(peer), Ok(Some(MemberEvent::Peer(Side::Offerer))));
/// ```
pub struct Member {
    secret: String,
    session: Option<Session>,
    /// The session before, which the server may not know to be over.
    given_up: Option<String>,
    /// The server has let us in on this connection, and knows what we said.
    is_in: bool,
    live: bool,
    outputs: VecDeque<String>,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("session", &self.session.as_ref().map(|session| &session.name))
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}

impl Member {
    /// Makes a member; whoever knows `secret`, which is random, can take its place.
    #[must_use]
    pub fn new(secret: [u8; 16]) -> Self {
        let secret = secret.iter().map(|octet| format!("{octet:02x}")).collect();
        Self {
            secret,
            session: None,
            given_up: None,
            is_in: false,
            live: false,
            outputs: VecDeque::new(),
        }
    }

    /// Notes that there is a connection, where nothing was said yet.
    pub fn connected(&mut self) {
        self.is_in = false;
        self.join();
    }

    fn join(&mut self) {
        self.live = false;
        self.outputs.clear();
        let claim = self
            .session
            .as_ref()
            .map(|session| Claim { session: session.name.clone(), received: session.heard });
        self.outputs.push_back(FromMember::join(&self.secret, claim));
    }

    /// Says something to the peer of the session; kept while there is no connection. Without a
    /// session nothing happens.
    ///
    /// # Errors
    ///
    /// [`SignalError::TooLong`] for what no server takes, with the name of the session in it.
    pub fn send(&mut self, signal: &Signal) -> Result<(), SignalError> {
        let Some(session) = &mut self.session else { return Ok(()) };
        let text = FromMember::signal(signal, &session.name);
        if text.len() > MAX_SIGNAL {
            return Err(SignalError::TooLong { max: MAX_SIGNAL });
        }
        if self.live {
            self.outputs.push_back(text.clone());
        }
        session.said.push(text);
        Ok(())
    }

    /// Gives up the session, and asks for another with the same peer. What was said in it and has
    /// not left is dropped.
    pub fn renew(&mut self) {
        if let Some(session) = self.session.take() {
            self.given_up = Some(session.name);
        }
        self.join();
    }

    /// Gives up the place: what is sent next is the last.
    pub fn leave(&mut self) {
        self.session = None;
        self.outputs.push_back(FromMember::leave());
    }

    /// Whether the server has let it in on this connection.
    #[must_use]
    pub const fn is_in(&self) -> bool {
        self.is_in
    }

    /// Takes what is to be sent on the connection.
    pub fn poll_output(&mut self) -> Option<String> {
        self.outputs.pop_front()
    }

    /// Takes a message of the server.
    ///
    /// # Errors
    ///
    /// A [`SignalError`] for one that is none; it changes nothing.
    pub fn receive(&mut self, text: &str) -> Result<Option<MemberEvent>, SignalError> {
        Ok(match FromServer::read(text)? {
            FromServer::Joined => {
                self.is_in = true;
                Some(MemberEvent::Joined).filter(|_| self.session.is_none())
            }
            FromServer::Peer { session, .. } if self.given_up.as_ref() == Some(&session) => None,
            FromServer::Peer { session, side, received } => {
                self.live = true;
                Some(self.peer(session, side, received))
            }
            FromServer::Away => self.session.as_ref().map(|_| MemberEvent::Away),
            FromServer::Back => self.session.as_ref().map(|_| MemberEvent::Back),
            FromServer::Left => self.session.take().map(|_| MemberEvent::Left),
            FromServer::Signal(signal) => self.session.as_mut().map(|session| {
                session.heard = session.heard.saturating_add(1);
                MemberEvent::Signal(signal)
            }),
            FromServer::Error { code, sentence } => {
                let is_final = Refusal::is_lasting_code(&code);
                Some(MemberEvent::Refused { is_final, sentence })
            }
        })
    }

    /// A session begins, or goes on with what the server has not heard.
    fn peer(&mut self, name: String, side: Side, received: u64) -> MemberEvent {
        if let Some(session) = self.session.as_ref().filter(|session| session.name == name) {
            let Some(rest) = session.said.since(received) else {
                self.leave();
                return MemberEvent::Left;
            };
            self.outputs.extend(rest.map(str::to_owned));
            return MemberEvent::Back;
        }
        self.session = Some(Session { name, said: Log::default(), heard: 0 });
        MemberEvent::Peer(side)
    }
}
