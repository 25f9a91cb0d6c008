//! Signalling: how offers, answers and candidates reach the peer.
//!
//! ICE does not say how; any channel that carries text in order will do. A [`Signal`] is one
//! message, in the form that browsers use, and [`Signaling`] is one channel to one peer.
//! [`memory::pair`] joins two agents in one process; with the features `tokio` and `serde`,
//! `lines::JsonLines` speaks JSON lines over any byte stream, stdin and stdout included, and with
//! the feature `whip` there is HTTP (RFC 9725).
//!
//! # A transport of your own
//!
//! What carries text for a program already, such as a chat, a queue or the bodies of SIP messages,
//! carries signals too. A task holds one end of [`memory::pair`] and passes on what comes, and the
//! connection has the other end. Text is to arrive whole and in order; what is no signal is left
//! out, and when the text ends, so does the signalling: the connection itself goes on.
//!
#![cfg_attr(all(feature = "tokio", feature = "serde"), doc = "```")]
#![cfg_attr(not(all(feature = "tokio", feature = "serde")), doc = "```ignore")]
//! use floe::signaling::{Signal, SignalingExt, memory::{Memory, pair}};
//! use tokio::sync::mpsc::{Receiver, Sender, channel};
//!
//! /// Says the signals of a connection as text, and hears those of its peer.
//! async fn carry(mut floe: Memory, say: Sender<String>, mut hear: Receiver<String>) {
//!     loop {
//!         tokio::select! {
//!             // While there is no room for more, it hears all the same.
//!             said = async { Some((say.reserve().await.ok()?, floe.recv().await?)) } => {
//!                 // No more of them: the connection is closed, or the text has ended.
//!                 let Some((room, Ok(signal))) = said else { return };
//!                 room.send(signal.to_json());
//!             }
//!             text = hear.recv() => {
//!                 let Some(text) = text else { return };
//!                 match Signal::from_json(&text) {
//!                     Ok(signal) => {
//!                         if floe.send(signal).await.is_err() {
//!                             return;
//!                         }
//!                     }
//!                     Err(error) => eprintln!("not a signal: {error}"),
//!                 }
//!             }
//!         }
//!     }
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // In the place of these two channels stands what carries your text.
//!     let (to_bob, from_alice) = channel(16);
//!     let (to_alice, from_bob) = channel(16);
//!     let ((alice, near), (bob, far)) = (pair(16), pair(16));
//!     tokio::spawn(carry(near, to_bob, from_bob));
//!     tokio::spawn(carry(far, to_alice, from_alice));
//!
//!     let node = floe::Node::builder().interface("lo").bind().await?;
//!     let other = floe::Node::builder().interface("lo").bind().await?;
//!     let (alice, bob) = tokio::try_join!(node.connect(alice), other.accept(bob))?;
//!     alice.send(b"hello").await?;
//!     assert_eq!(bob.recv(&mut [0; 1500]).await?, 5);
//!     Ok(())
//! }
//! ```
//!
//! A type of your own implements [`Signaling`], which has two methods that poll:
//! [`poll_send`](Signaling::poll_send) takes a signal once there is room for it, and
//! [`poll_recv`](Signaling::poll_recv) tells of the next one, of an error, or that the peer will say
//! no more.

use core::fmt;
use core::future::{Future, poll_fn};
use core::task::{Context, Poll};

#[cfg(feature = "serde")]
mod json;
#[cfg(any(feature = "serde", feature = "whip"))]
mod limit;
#[cfg(all(feature = "tokio", feature = "serde"))]
pub mod lines;
pub mod memory;
#[cfg(feature = "serde")]
pub mod rooms;
#[cfg(feature = "whip")]
pub mod whip;

#[cfg(any(feature = "serde", feature = "whip"))]
pub use limit::Rate;

/// The longest signalling message, in octets: 64 KiB.
pub const MAX_SIGNAL: usize = 64 * 1024;

/// One message between two peers. [RFC 8839] [RFC 8838]
///
/// As JSON (feature `serde`) it is what browsers exchange: `{"type":"offer","sdp":"…"}`,
/// `{"type":"answer","sdp":"…"}` and `{"type":"candidate","candidate":{…}}`, whose inner object
/// is an `RTCIceCandidateInit`.
///
/// Descriptions carry passwords, so `Debug` tells the kind and the length alone.
#[derive(Clone, PartialEq, Eq)]
pub enum Signal {
    /// The description of the side that asks; asks for an answer.
    Offer {
        /// The SDP.
        sdp: String,
    },
    /// The description of the side that was asked.
    Answer {
        /// The SDP.
        sdp: String,
    },
    /// A candidate found after the description was sent, or the end of them.
    Candidate(CandidateInit),
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, octets) = match self {
            Self::Offer { sdp } => ("Offer", sdp.len()),
            Self::Answer { sdp } => ("Answer", sdp.len()),
            Self::Candidate(init) => ("Candidate", init.candidate.len()),
        };
        f.debug_struct(kind).field("octets", &octets).finish_non_exhaustive()
    }
}

/// A trickled candidate, or the end of candidates: W3C's `RTCIceCandidateInit`. [RFC 8838 §13]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CandidateInit {
    /// `candidate:…`, or an empty string for the end of candidates.
    pub candidate: String,
    /// The `mid` of the data stream.
    pub sdp_mid: Option<String>,
    /// The index of the data stream, from 0; used where there is no `sdp_mid`.
    pub sdp_m_line_index: Option<u16>,
    /// The ufrag of the generation that the candidate belongs to; `None` is the current one. Say
    /// it with the end of candidates, which counts without it before the first restart only.
    pub username_fragment: Option<String>,
}

impl CandidateInit {
    /// Whether this says that no further candidates will come.
    #[must_use]
    pub fn is_end_of_candidates(&self) -> bool {
        self.candidate.trim().is_empty()
    }
}

/// Why a message is not a [`Signal`]. The channel goes on: skip the message, tell its author.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignalError {
    /// Longer than [`MAX_SIGNAL`]: send fewer candidates in the description and trickle the rest.
    TooLong {
        /// The limit in octets.
        max: usize,
    },
    /// Not UTF-8: encode the text so.
    NotUtf8,
    /// Not JSON: send one object a line, without line breaks inside.
    NotJson {
        /// The column at which reading stopped, from 1.
        column: usize,
    },
    /// JSON, but not an object: wrap it as `{"type":…}`.
    NotAnObject,
    /// The `type` is none of `offer`, `answer`, `candidate`.
    UnknownType,
    /// This member is missing: add it.
    Missing {
        /// Its name.
        member: &'static str,
    },
    /// This member has a value of the wrong type or out of range.
    WrongType {
        /// Its name.
        member: &'static str,
        /// What is wanted.
        wanted: &'static str,
    },
    /// The body is of no use for a data channel: see there.
    #[cfg(feature = "sdp")]
    Body(crate::adapters::data_channel::BodyError),
}

impl fmt::Display for SignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { max } => {
                write!(f, "the message is longer than {max} octets; trickle the candidates")
            }
            Self::NotUtf8 => f.write_str("the message is not UTF-8; encode it so"),
            Self::NotJson { column } => {
                write!(f, "the message is not JSON (column {column}); send one object on one line")
            }
            Self::NotAnObject => f.write_str(
                "the message is not an object; send {\"type\":\"offer\",\"sdp\":\"...\"}",
            ),
            Self::UnknownType => f.write_str(
                "the \"type\" is not known; signals are \"offer\", \"answer\" and \"candidate\"",
            ),
            Self::Missing { member } => write!(f, "\"{member}\" is missing; add it"),
            Self::WrongType { member, wanted } => {
                write!(f, "\"{member}\" is not {wanted}; make it so")
            }
            #[cfg(feature = "sdp")]
            Self::Body(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SignalError {}

/// Why signalling did not carry a message.
#[derive(Debug)]
#[non_exhaustive]
pub enum SignalingError {
    /// One message is bad; the channel goes on.
    Signal(SignalError),
    /// The channel is closed: no message goes in this direction any more.
    Closed,
    /// The byte stream below failed; the channel is over.
    Io(std::io::Error),
}

impl SignalingError {
    /// Whether the channel is over.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Signal(_) => false,
            Self::Closed | Self::Io(_) => true,
        }
    }
}

impl fmt::Display for SignalingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(error) => error.fmt(f),
            Self::Closed => f.write_str("the signalling channel is closed; open another one"),
            Self::Io(error) => write!(f, "the signalling channel failed: {error}"),
        }
    }
}

impl core::error::Error for SignalingError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Signal(error) => Some(error),
            Self::Closed => None,
            Self::Io(error) => Some(error),
        }
    }
}

impl From<SignalError> for SignalingError {
    fn from(error: SignalError) -> Self {
        Self::Signal(error)
    }
}

/// A channel of [`Signal`]s to one peer: reliable and in order in each direction.
///
/// Polling never loses a message: a signal that was not accepted stays with the caller, and one
/// that was not returned stays in the channel, so both directions may be raced and dropped at will.
pub trait Signaling: Send {
    /// Takes `signal` as soon as there is room for it, whole or not at all; `Ready` once it was
    /// taken, or if there was none.
    ///
    /// # Errors
    ///
    /// [`SignalingError::Closed`] or [`SignalingError::Io`] when no message can go out any more;
    /// [`SignalingError::Signal`] when this one cannot, and it is gone.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        signal: &mut Option<Signal>,
    ) -> Poll<Result<(), SignalingError>>;

    /// Drives what was taken toward the peer; `Ready` once nothing is held back. Channels that
    /// hold nothing back leave it as it is.
    ///
    /// # Errors
    ///
    /// As [`poll_send`](Self::poll_send).
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SignalingError>> {
        let _ = cx;
        Poll::Ready(Ok(()))
    }

    /// Returns the next message of the peer; `None` when there will be no more, for ever.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Signal, SignalingError>>>;
}

impl<S: Signaling + ?Sized> Signaling for Box<S> {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        signal: &mut Option<Signal>,
    ) -> Poll<Result<(), SignalingError>> {
        (**self).poll_send(cx, signal)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SignalingError>> {
        (**self).poll_flush(cx)
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Signal, SignalingError>>> {
        (**self).poll_recv(cx)
    }
}

/// `send` and `recv` for every [`Signaling`].
pub trait SignalingExt: Signaling {
    /// Sends one signal. Dropped early, the signal was taken whole or is dropped with the future.
    ///
    /// # Errors
    ///
    /// As [`Signaling::poll_send`].
    fn send(&mut self, signal: Signal) -> impl Future<Output = Result<(), SignalingError>> + Send {
        let mut signal = Some(signal);
        poll_fn(move |cx| {
            match self.poll_send(cx, &mut signal) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
            self.poll_flush(cx)
        })
    }

    /// Waits for the next signal; `None` when there will be no more. Dropping it loses nothing.
    fn recv(&mut self) -> impl Future<Output = Option<Result<Signal, SignalingError>>> + Send {
        poll_fn(|cx| self.poll_recv(cx))
    }
}

impl<S: Signaling + ?Sized> SignalingExt for S {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_a_signal_shows_no_password() {
        let sdp = "v=0\r\na=ice-ufrag:abcd\r\na=ice-pwd:correcthorsebatterystaple\r\n";
        for signal in [Signal::Offer { sdp: sdp.into() }, Signal::Answer { sdp: sdp.into() }] {
            for shown in [format!("{signal:?}"), format!("{signal:#?}")] {
                assert!(!shown.contains("horse") && !shown.contains("abcd"), "{shown}");
                assert!(shown.contains(&sdp.len().to_string()), "{shown}");
            }
        }
        let init = CandidateInit { candidate: "candidate:x".into(), ..CandidateInit::default() };
        assert!(!format!("{:?}", Signal::Candidate(init)).contains("candidate:"));
    }
}
