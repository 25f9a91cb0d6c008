//! WHIP: signalling in HTTP requests. [RFC 9725]
//!
//! The client posts its offer and is given the answer, with all candidates of the other side, and
//! the URL of a *session*. What it finds later, and its ICE restarts, it sends there as fragments
//! of SDP ([`Fragment`](crate::sdp::Fragment)); it deletes the session at the end. The other side
//! cannot begin anything: it neither trickles nor restarts.
//!
//! | request | answer |
//! |---|---|
//! | `POST` endpoint, `application/sdp` | 201, the answer, `Location`, `ETag`, `Link: <stun:…>; rel="ice-server"` |
//! | `PATCH` session, `application/trickle-ice-sdpfrag`, `If-Match: "tag"` | 204: the candidates were taken |
//! | the same with `If-Match: *` and new credentials | 200, a fragment, a new `ETag`: ICE was restarted |
//! | `DELETE` session | 200: it is over |
//!
//! [`Client`] and [`Endpoint`] are these two sides without sockets and clocks, with the types of
//! the crate `http`. Both speak [`Signal`](super::Signal)s to who uses them: a restart is an offer
//! and an answer there, made of the last whole description by exchanging what concerns ICE, as
//! everything else still applies. [rfc9725-4.3.3-1]
//!
//! `driver::Whip` is the client over real connections, `floe serve` has an endpoint.

mod body;
mod client;
mod endpoint;
mod headers;
mod respond;
mod session;
mod url;

use core::fmt;

pub use client::{Client, ClientConfig, ClientError, ClientEvent, Failure, RequestId, SendError};
pub use endpoint::{Endpoint, EndpointConfig, ExchangeId, Origins, Output, SessionId};

/// The longest body of a request or an answer, octets: 64 KiB.
pub const MAX_BODY: usize = crate::sdp::MAX_BODY;
/// The media type of descriptions. [rfc9725-4.2-2]
const SDP: &str = "application/sdp";

/// A request, with its whole body.
pub type Request = http::Request<Vec<u8>>;
/// An answer, with its whole body.
pub type Response = http::Response<Vec<u8>>;

/// A STUN or TURN server that an endpoint names. [rfc9725-4.6-p1]
///
/// `Debug` does not show the credential.
#[derive(Clone, PartialEq, Eq)]
pub struct IceServer {
    /// Its URI: `stun:`, `stuns:`, `turn:` or `turns:`. [RFC 7064] [RFC 7065]
    pub url: String,
    /// The username, for a TURN server.
    pub username: Option<String>,
    /// The long-term password.
    pub credential: Option<String>,
}

impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceServer").field("url", &self.url).finish_non_exhaustive()
    }
}
