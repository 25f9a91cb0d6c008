//! What an application holds of an endpoint for a moment: an agent, or a route.

use core::ops::Range;
use std::net::{IpAddr, SocketAddr};

use crate::agent::{Agent as Core, CandidateRejected, DescriptionRejected, Path};
use crate::candidate::Candidate;
use crate::config::Role;
use crate::event::{AgentState, FailedPair, SelectedPair};
use crate::net::{AgentId, ComponentId, HEADROOM, SocketId, TAILROOM, Transmit};
use crate::sdp::Description;
use crate::stats::AgentStats;
use crate::turn::Framing;

use super::Endpoint;
use super::relays::Way;

/// A look at one agent.
#[derive(Clone, Copy, Debug)]
pub struct Agent<'a>(&'a Core);

impl<'a> Agent<'a> {
    pub(super) fn new(agent: &'a Core) -> Self {
        Self(agent)
    }

    /// Returns the state.
    #[must_use]
    pub fn state(&self) -> AgentState {
        self.0.state()
    }

    /// Returns the role now in force.
    #[must_use]
    pub fn role(&self) -> Role {
        self.0.role()
    }

    /// Returns what to signal to the peer: credentials, options, and all candidates of this
    /// generation that are known by now.
    #[must_use]
    pub fn local_description(&self) -> Description {
        self.0.local_description()
    }

    /// Returns what to signal in an offer after the first exchange that restarts nothing: as
    /// [`local_description`](Self::local_description), but of each data stream that has its
    /// nominated pairs their local candidates alone, which the default destination is among; the
    /// controlling side names the remote ones, too. An address that is hidden stays so: if it is
    /// ours, the stream is described as before; if it is the peer's, no remote ones are named. Where
    /// the peer, or somebody on the way, goes by the `c=` and `m=` lines, make such an offer once the
    /// state is [`Completed`](crate::AgentState::Completed). The driver does so for the choice of two
    /// lite agents alone; otherwise it describes all candidates again, like browsers.
    /// [RFC 8839 §4.4.1]
    #[must_use]
    pub fn subsequent_offer(&self) -> Description {
        self.0.subsequent_offer()
    }

    /// Returns what to signal in the answer to such an offer, once that was given to
    /// [`set_remote_description`](AgentMut::set_remote_description). The pairs that it names as
    /// remote candidates count if they work. [RFC 8839 §4.4.2]
    #[must_use]
    pub fn subsequent_answer(&self, offer: &Description) -> Description {
        self.0.subsequent_answer(offer)
    }

    /// Returns the pair that a component has selected.
    #[must_use]
    pub fn selected(&self, component: ComponentId) -> Option<SelectedPair> {
        self.0.selected(component)
    }

    /// Returns the statistics of this generation.
    #[must_use]
    pub fn stats(&self) -> AgentStats {
        self.0.stats()
    }

    /// Returns the pairs that failed, and why.
    #[must_use]
    pub fn failures(&self) -> Vec<FailedPair> {
        self.0.failures()
    }

    /// Returns the names that host candidates of this agent are signalled by, and the address that
    /// each stands for; none unless
    /// [`HostAddresses::Named`](crate::config::HostAddresses::Named) is configured. Who drives the
    /// endpoint answers for them on the link of the address: they change only with the sockets.
    pub fn host_names(&self) -> impl Iterator<Item = (&'a str, IpAddr)> {
        self.0.host_names()
    }

    /// Returns the peer's username fragment for a stream, which names the generation that its
    /// candidates belong to; `None` as long as it is not known. [RFC 8839 §5.4]
    #[must_use]
    pub fn remote_ufrag(&self, stream: u16) -> Option<&'a str> {
        self.0.remote_ufrag(stream)
    }

    /// Returns whether further local candidates may turn up.
    #[must_use]
    pub fn is_gathering(&self) -> bool {
        self.0.is_gathering()
    }
}

/// Commands to one agent. Drain the polls of the endpoint afterwards.
#[derive(Debug)]
pub struct AgentMut<'a> {
    endpoint: &'a mut Endpoint,
    id: AgentId,
}

impl<'a> AgentMut<'a> {
    pub(super) fn new(endpoint: &'a mut Endpoint, id: AgentId) -> Self {
        Self { endpoint, id }
    }

    /// Applies the peer's offer or answer, with the candidates in it; the first one starts the
    /// checks. New credentials are a restart by the peer:
    /// [`Event::RestartedByPeer`](crate::Event::RestartedByPeer) follows, unless we had started
    /// the restart.
    ///
    /// # Errors
    ///
    /// [`DescriptionRejected`] says why nothing was changed.
    pub fn set_remote_description(
        &mut self,
        description: &Description,
    ) -> Result<(), DescriptionRejected> {
        let outcome = self.endpoint.with_agent(self.id.index as usize, |agent, cx, _| {
            agent.set_remote_description(cx, description)
        });
        self.endpoint.track_unchecked(self.id.index as usize);
        self.endpoint.follow_restart(self.id.index as usize);
        outcome.unwrap_or(Err(DescriptionRejected::Closed))
    }

    /// Adds a remote candidate that was trickled. `ufrag` is the generation that it belongs to,
    /// where the signalling says so; `None` is the current one.
    ///
    /// # Errors
    ///
    /// [`CandidateRejected`] says why it was not taken; the session goes on.
    pub fn add_remote_candidate(
        &mut self,
        stream: u16,
        ufrag: Option<&str>,
        candidate: &Candidate,
    ) -> Result<(), CandidateRejected> {
        let outcome = self.endpoint.with_agent(self.id.index as usize, |agent, cx, _| {
            agent.add_remote_candidate(cx, stream, ufrag, candidate)
        });
        outcome.unwrap_or(Err(CandidateRejected::UnknownGeneration))
    }

    /// Adds a remote candidate whose address is a name, with the IP address that this was resolved
    /// to: what is to follow [`CandidateRejected::UnresolvedName`], even after the end of
    /// candidates. The address is shown nowhere, and no relay of ours is paired with it, so that no
    /// TURN server learns of it. [mdns-ice-candidates-3.2.1-p1] [mdns-ice-candidates-3.3.2-1]
    ///
    /// # Errors
    ///
    /// [`CandidateRejected`] says why it was not taken; [`CandidateRejected::UnresolvedName`] is
    /// one whose address is no name that
    /// [`CandidateAddress::mdns_name`](crate::candidate::CandidateAddress::mdns_name) knows.
    pub fn add_resolved_candidate(
        &mut self,
        stream: u16,
        ufrag: Option<&str>,
        candidate: &Candidate,
        ip: IpAddr,
    ) -> Result<(), CandidateRejected> {
        let outcome = self.endpoint.with_agent(self.id.index as usize, |agent, cx, _| {
            agent.add_resolved_candidate(cx, stream, ufrag, candidate, ip)
        });
        outcome.unwrap_or(Err(CandidateRejected::UnknownGeneration))
    }

    /// Notes that the peer has no more candidates for a stream; `None` is all streams. `ufrag` is
    /// the generation that has ended, which the signalling is to say; without it the end counts
    /// before the first restart only, as later it may be the late end of the generation before.
    /// [RFC 8838 §13]
    ///
    /// # Errors
    ///
    /// [`CandidateRejected`] if the stream or generation is unknown, or the generation is not said.
    pub fn end_of_remote_candidates(
        &mut self,
        stream: Option<u16>,
        ufrag: Option<&str>,
    ) -> Result<(), CandidateRejected> {
        let outcome = self.endpoint.with_agent(self.id.index as usize, |agent, cx, _| {
            agent.end_of_remote_candidates(cx, stream, ufrag)
        });
        outcome.unwrap_or(Err(CandidateRejected::UnknownGeneration))
    }

    /// Restarts ICE: signal the new [`local_description`](Agent::local_description) to the peer.
    /// Data goes on over the old pair until there is a new one.
    pub fn restart(&mut self) {
        self.endpoint.with_agent(self.id.index as usize, |agent, cx, _| agent.restart(cx));
        self.endpoint.follow_restart(self.id.index as usize);
    }

    /// Removes a data stream, so that the session goes on without one that failed; signal the new
    /// [`local_description`](Agent::local_description), in which it is rejected. The others keep
    /// their numbers. Returns false, and does nothing, if there is no such stream or no other:
    /// then close the agent. [RFC 8445 §8.1.2]
    pub fn remove_stream(&mut self, stream: u16) -> bool {
        let removed = self
            .endpoint
            .with_agent(self.id.index as usize, |agent, cx, _| agent.remove_stream(cx, stream));
        removed.unwrap_or(false)
    }

    /// Closes the agent: nothing more is sent or accepted for it.
    pub fn close(self) {
        self.endpoint.close_agent(self.id);
    }
}

/// A way for one datagram of application data. Take a new one for each.
#[must_use]
pub struct Route<'a> {
    socket: SocketId,
    /// Where packets go: the peer, or the TURN server.
    to: SocketAddr,
    framing: Option<Framing>,
    path: Path<'a>,
}

impl<'a> Route<'a> {
    pub(super) fn direct(socket: SocketId, path: Path<'a>) -> Self {
        Self { socket, to: path.to, framing: None, path }
    }

    pub(super) fn relayed(way: Way, path: Path<'a>) -> Self {
        Self { socket: way.socket, to: way.server, framing: Some(way.framing), path }
    }

    /// Frames the payload `buf[payload]` in place and counts it as sent. The payload is not moved.
    ///
    /// A path over a relay needs [`HEADROOM`](crate::HEADROOM) octets before the payload and
    /// [`TAILROOM`](crate::TAILROOM) after it. `None` if they are not there, or if `payload` is not
    /// within `buf`: then nothing is to be sent, and nothing was counted.
    pub fn frame(self, buf: &mut [u8], payload: Range<usize>) -> Option<Transmit> {
        let octets = buf.get(payload.clone())?.len();
        let range = match self.framing {
            Some(framing) => framing.frame(buf, payload)?,
            None => payload,
        };
        self.path.sent(octets);
        Some(Transmit { socket: self.socket, to: self.to, range })
    }

    /// Returns what goes around a payload of so many octets, and counts it as sent; `None` if it
    /// is longer than any datagram.
    pub fn header(self, payload_len: u16) -> Option<Header> {
        let (octets, len, padding) = match self.framing {
            Some(framing) => framing.header(payload_len)?,
            None => ([0; HEADROOM], 0, 0),
        };
        self.path.sent(payload_len.into());
        Some(Header { socket: self.socket, to: self.to, octets, len, padding })
    }
}

/// What goes around a payload that is sent in pieces: with `sendmsg`, or the same payload to many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Header {
    /// The local base to send from.
    pub socket: SocketId,
    /// Where to send.
    pub to: SocketAddr,
    octets: [u8; HEADROOM],
    len: usize,
    padding: usize,
}

impl Header {
    /// The octets before the payload; none on a direct path.
    #[must_use]
    pub fn before(&self) -> &[u8] {
        self.octets.get(HEADROOM - self.len..).unwrap_or_default()
    }

    /// The octets after it: zeros.
    #[must_use]
    pub fn after(&self) -> &[u8] {
        const ZEROS: [u8; TAILROOM] = [0; TAILROOM];
        ZEROS.get(..self.padding).unwrap_or_default()
    }
}

impl core::fmt::Debug for Route<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Route").field("socket", &self.socket).finish_non_exhaustive()
    }
}
