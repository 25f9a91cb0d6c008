//! Rooms: how two peers find each other at a server, and what goes between them while
//! connections come and go.
//!
//! A room has two places. Whoever comes joins under a secret of its own, which keeps its place
//! while its connection is away, for 30 s; when both places are taken a *session* begins, and what
//! one says goes to the other until one of them leaves or is replaced. [`Rooms`] is the server's
//! part and [`Member`] the client's; both are free of sockets and clocks.
//!
//! Everything is JSON text, one object a message. A client says
//!
//! | message | |
//! |---|---|
//! | `{"type":"join","member":"…","session":"…","received":3}` | first on every connection. `member` is the secret: 16 to 64 visible characters. `session` and `received`, if it was in one, say where to go on |
//! | the same again, without `session` | it has no use for the session any more, and wants another with the same peer |
//! | `{"type":"leave"}` | it gives up its place |
//! | an offer, an answer or a candidate | in the form of browsers: see [`Signal`]. With `session` in it too, it is dropped if another has begun meanwhile |
//!
//! and the server
//!
//! | message | |
//! |---|---|
//! | `{"type":"joined"}` | it has a place |
//! | `{"type":"peer","session":"…","offers":true,"received":2}` | the other place is taken: a session begins, or goes on if its name is known. `offers` says who offers in a new one, `received` how many signals of this client have arrived, so that it says the others again |
//! | `{"type":"away"}` | the other's connection is gone; what is said is kept |
//! | `{"type":"back"}` | it is there again |
//! | `{"type":"left"}` | the other is gone, and the session is over |
//! | an offer, an answer or a candidate | of the other |
//! | `{"type":"error","code":"full","error":"…"}` | see [`Refusal`] |
//!
//! Signals are counted in each direction from the beginning of a session, so that none is lost or
//! doubled when a connection breaks; a server that was started anew takes the word of two clients
//! which name the same session.

mod log;
mod member;
mod message;
mod server;

#[cfg(test)]
mod tests;

use core::fmt;

pub use member::{Member, MemberEvent};
pub use server::{Limits, LinkId, Output, Rooms};

use super::{Signal, SignalError};

/// Who makes the offer of a session. [RFC 3264]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It offers: it came to one who was there.
    Offerer,
    /// It waits for the offer.
    Answerer,
}

/// Why a server refuses a connection or a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The name of the room is not 1 to 64 letters, digits, `-` and `_`: choose another.
    Name,
    /// Both places of the room are taken: choose another room.
    Full,
    /// The server has as many rooms or connections as it may: come back later.
    Busy,
    /// The first message was not `join`, or did not come in time: send it first.
    NotJoined,
    /// The secret is not 16 to 64 visible characters: make another.
    Secret,
    /// Another connection has taken the place with the same secret: do not come back.
    Replaced,
    /// Nobody is there to hear a signal: wait for `peer`.
    NoPeer,
    /// Too many messages in a short time; this one was dropped: send fewer.
    TooFast,
    /// The message is not one of these: mend it.
    Message(SignalError),
}

impl Refusal {
    /// The word that stands for it in a message.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Full => "full",
            Self::Busy => "busy",
            Self::NotJoined => "not-joined",
            Self::Secret => "secret",
            Self::Replaced => "replaced",
            Self::NoPeer => "no-peer",
            Self::TooFast => "too-fast",
            Self::Message(_) => "message",
        }
    }

    /// The message that tells it.
    #[must_use]
    pub fn to_message(self) -> String {
        message::FromServer::from(self).write()
    }

    /// Whether a word stands for one that would be said again to one who comes back.
    fn is_lasting_code(code: &str) -> bool {
        let all = [Self::Name, Self::Full, Self::Secret, Self::Replaced];
        all.iter().any(|refusal| refusal.code() == code)
    }

    /// Whether it ends the connection.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Name
            | Self::Full
            | Self::Busy
            | Self::NotJoined
            | Self::Secret
            | Self::Replaced => true,
            Self::NoPeer | Self::TooFast | Self::Message(_) => false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str(
                "the name of a room is 1 to 64 letters, digits, \"-\" and \"_\"; choose another",
            ),
            Self::Full => f.write_str("two are in this room already; choose another room"),
            Self::Busy => f.write_str("the server has no room left; come back later"),
            Self::NotJoined => f.write_str("the first message is not \"join\"; send that first"),
            Self::Secret => {
                f.write_str("\"member\" is not 16 to 64 visible characters; make another")
            }
            Self::Replaced => {
                f.write_str("another connection has taken this place; close one of the two")
            }
            Self::NoPeer => f.write_str("nobody else is in the room yet; wait for \"peer\""),
            Self::TooFast => f.write_str("too many messages; send fewer"),
            Self::Message(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Refusal {}

/// The longest name of a room, octets.
const MAX_NAME: usize = 64;
/// How long a secret may be, octets.
const SECRET: core::ops::RangeInclusive<usize> = 16..=64;

/// Whether this may be the name of a room.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let allowed = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed)
}

fn is_secret(secret: &str) -> bool {
    SECRET.contains(&secret.len()) && secret.bytes().all(|octet| octet.is_ascii_graphic())
}
