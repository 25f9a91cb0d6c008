//! Stub of the public surface; replaced by the real thing.
#![allow(missing_docs, unused_variables, clippy::todo, clippy::panic)]

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use crate::candidate::Candidate;
use crate::config::{AgentConfig, EndpointConfig, Role};
use crate::event::{AgentState, Event, FailedPair, SelectedPair};
use crate::net::*;
use crate::sdp::Description;
use crate::stats::{AgentStats, EndpointStats};
use crate::time::Instant;

/// A STUN server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Server {
    /// Its address.
    pub address: SocketAddr,
    /// Addresses of one server (or of servers that answer alike) share a group: one reflexive
    /// candidate per base and group is gathered.
    pub group: u32,
}

impl Server {
    /// A STUN server over UDP at `address`, in a group of its own.
    #[must_use]
    pub fn stun(address: SocketAddr) -> Self {
        Self { address, group: u32::MAX }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    UnknownAgent,
    UnknownComponent,
    NotReady,
    ConsentExpired,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CandidateRejected {
    UnknownStream,
    UnknownComponent,
    UnknownGeneration,
    AfterEndOfCandidates,
    AddressNotUsable,
    UnresolvedName,
    UnsupportedTransport,
    Limit { max: u16 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DescriptionRejected {
    NoCredentials { stream: u16 },
    Mismatch { stream: u16 },
    TooManyRestarts,
    ChangedWithoutRestart,
}

pub struct Endpoint(());
pub struct Agent<'a>(&'a ());
pub struct AgentMut<'a>(&'a mut ());
#[must_use]
pub struct Route<'a>(&'a mut ());

impl Endpoint {
    #[must_use]
    pub fn new(now: Instant, config: Arc<EndpointConfig>, seed: [u8; 32]) -> Self {
        todo!()
    }
    pub fn add_socket(&mut self, now: Instant, socket: Socket) -> SocketId {
        todo!()
    }
    pub fn remove_socket(&mut self, now: Instant, id: SocketId) {
        todo!()
    }
    pub fn add_server(&mut self, now: Instant, server: Server) -> ServerId {
        todo!()
    }
    /// Starts gathering at once.
    pub fn add_agent(&mut self, now: Instant, config: AgentConfig) -> AgentId {
        todo!()
    }
    #[must_use]
    pub fn agent(&self, id: AgentId) -> Option<Agent<'_>> {
        todo!()
    }
    pub fn agent_mut(&mut self, now: Instant, id: AgentId) -> Option<AgentMut<'_>> {
        todo!()
    }
    pub fn handle_datagram<'b>(
        &mut self,
        now: Instant,
        socket: SocketId,
        from: SocketAddr,
        datagram: &'b [u8],
    ) -> Received<'b> {
        todo!()
    }
    pub fn handle_unreachable(&mut self, now: Instant, socket: SocketId, to: SocketAddr) {
        todo!()
    }
    pub fn handle_timeout(&mut self, now: Instant) {
        todo!()
    }
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut [u8]) -> Option<Transmit> {
        todo!()
    }
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }
    pub fn route(
        &mut self,
        now: Instant,
        agent: AgentId,
        component: ComponentId,
    ) -> Result<Route<'_>, SendError> {
        todo!()
    }
    #[must_use]
    pub fn stats(&self) -> &EndpointStats {
        todo!()
    }
}

impl Agent<'_> {
    #[must_use]
    pub fn state(&self) -> AgentState {
        todo!()
    }
    #[must_use]
    pub fn role(&self) -> Role {
        todo!()
    }
    /// What to signal: credentials, options and all candidates of this generation so far.
    #[must_use]
    pub fn local_description(&self) -> Description {
        todo!()
    }
    #[must_use]
    pub fn selected(&self, component: ComponentId) -> Option<SelectedPair> {
        todo!()
    }
    #[must_use]
    pub fn stats(&self) -> AgentStats {
        todo!()
    }
    #[must_use]
    pub fn failures(&self) -> Vec<FailedPair> {
        todo!()
    }
    #[must_use]
    pub fn is_gathering(&self) -> bool {
        todo!()
    }
}

impl AgentMut<'_> {
    /// Applies the peer's offer or answer, with the candidates in it. New credentials are a
    /// restart by the peer.
    pub fn set_remote_description(
        &mut self,
        description: &Description,
    ) -> Result<(), DescriptionRejected> {
        todo!()
    }
    /// `ufrag`: the generation that the candidate belongs to; `None` is the current one.
    pub fn add_remote_candidate(
        &mut self,
        stream: u16,
        ufrag: Option<&str>,
        candidate: &Candidate,
    ) -> Result<(), CandidateRejected> {
        todo!()
    }
    /// `stream`: `None` is all of them.
    pub fn end_of_remote_candidates(
        &mut self,
        stream: Option<u16>,
        ufrag: Option<&str>,
    ) -> Result<(), CandidateRejected> {
        todo!()
    }
    pub fn restart(&mut self) {
        todo!()
    }
    pub fn close(&mut self) {
        todo!()
    }
}

impl Route<'_> {
    /// The application's payload is `buf[payload]`, with HEADROOM octets before it and TAILROOM
    /// after it free; counts it as sent.
    pub fn frame(self, buf: &mut [u8], payload: Range<usize>) -> Transmit {
        todo!()
    }
}
