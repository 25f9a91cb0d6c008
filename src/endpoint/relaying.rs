//! Between the relays, which know no agents, and the agents, to which a relayed address is a base
//! like any other.

use core::time::Duration;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::agent::{BaseConfig, BaseId};
use crate::candidate::CandidateKind;
use crate::demux::Class;
use crate::event::{Event, GatherFailure, PairFailure};
use crate::net::{
    ComponentId, Connect, ConnectFailure, ConnectId, DropReason, Received, Socket, SocketId,
    Transmit, Transport, canonical,
};
use crate::time::Instant;
use crate::turn::{self, PeerError};

use super::relays::RelayedBase;
use super::{Endpoint, base_of};

/// How long a server is left alone that would refuse again: until somebody has changed something
/// there, which nobody tells us. [rfc8656-7.3-2b] [rfc8656-7.4-3b] [rfc8656-7.4-5] [rfc8656-7.4-6b]
/// [rfc8656-7.4-12b] [rfc8656-7.4-13b]
const REFUSED_FOR: Duration = Duration::from_secs(600);

impl Endpoint {
    /// Takes what the driver is to do about connections to servers.
    pub fn poll_connect(&mut self) -> Option<Connect> {
        self.advance();
        self.relays.poll_connect()
    }

    /// Notes what came of opening a connection: its local address, or why there is none. Returns
    /// the id under which the connection sends and receives from now on, one message at a time;
    /// `None` if it is not needed any more: close it then.
    pub fn handle_connected(
        &mut self,
        now: Instant,
        id: ConnectId,
        opened: Result<SocketAddr, ConnectFailure>,
    ) -> Option<SocketId> {
        self.clock(now);
        let index = self.relays.connecting(id)?;
        match opened {
            Ok(_) => {
                let via = self.new_socket_id();
                self.relays.opened(index, via);
                Some(via)
            }
            Err(failure) => {
                self.relay_failed(index, GatherFailure::Connect(failure));
                None
            }
        }
    }

    /// Notes that a connection broke or was closed by the server; the id is gone.
    pub fn handle_disconnected(&mut self, now: Instant, id: SocketId) {
        self.clock(now);
        if let Some(index) = self.relays.of_connection(id) {
            self.relay_failed(index, GatherFailure::Connect(ConnectFailure::Closed));
        }
    }

    /// An agent gathers: relays are asked for, for all its sockets or one that came late.
    /// [rfc8445-5.1.1.2-1]
    pub(super) fn want_relays(&mut self, index: usize, late: Option<SocketId>) {
        let Some(slot) = self.slots.get(index) else { return };
        for (id, socket) in &self.sockets {
            if slot.bases.contains(id) && late.is_none_or(|late| late == *id) {
                for (server, of) in self.gatherer.servers() {
                    self.relays.want(self.now, *id, canonical(socket.address), server, of);
                }
            }
        }
        for relay in 0..self.relays.len() {
            self.note_mapping(relay);
        }
    }

    /// An agent starts anew, maybe because nothing came through a relay any more: is it still there?
    /// A server that has not answered may be back, and is asked anew.
    pub(super) fn confirm_relays(&mut self, index: usize) {
        let now = self.now;
        for relay in 0..self.relays.len() {
            let Some(slot) = self.slots.get(index) else { return };
            let known = self.relays.get(relay);
            let Some(known) = known.filter(|known| slot.bases.contains(&known.socket)) else {
                continue;
            };
            if known.backs_off(now) {
                let left = self.relays.begin_again(relay);
                self.unroute(relay, left);
            } else if !known.bases.is_empty()
                && let Some(client) = self.relays.client_mut(relay)
            {
                client.refresh(now);
                self.relays.touch(relay);
            }
        }
    }

    /// The mapping that came with an allocation counts for the socket, if that is what its packets
    /// leave from.
    fn note_mapping(&mut self, index: usize) -> Option<crate::gather::Gathered> {
        let relay = self.relays.get(index).filter(|relay| relay.transport == Transport::Udp)?;
        let mapped = relay.mapped().filter(|_| !relay.bases.is_empty())?;
        let took = self.now - relay.began.unwrap_or(self.now);
        let (now, config) = (self.now, Arc::clone(&self.config));
        self.gatherer.mapped(now, relay.socket, relay.server, mapped, took, &config)
    }

    /// Relays that are there already, for an agent whose generation begins.
    pub(super) fn add_known_relays(&mut self, index: usize) {
        for relay in 0..self.relays.len() {
            self.offer_relay(relay, index);
        }
    }

    /// Tells an agent of the relayed addresses of a relay on one of its sockets.
    fn offer_relay(&mut self, relay: usize, index: usize) {
        let Some(relay) = self.relays.get(relay) else { return };
        let (mapped, server) = (relay.mapped(), relay.to.ip());
        let bases = relay.bases.clone();
        let socket = self.sockets.iter().find(|(id, _)| *id == relay.socket);
        let uses = self.slots.get(index).is_some_and(|slot| {
            slot.base_of(relay.socket).is_some()
                && slot.agent.as_ref().is_some_and(|agent| agent.uses_relays())
        });
        let Some((_, socket)) = socket.filter(|_| uses) else { return };
        let socket = socket.clone();
        for RelayedBase { id, address } in bases {
            let config = relayed_base(&socket, address);
            let known = self.slots.get(index).and_then(|slot| slot.base_of(id));
            self.with_agent(index, |agent, cx, slot| {
                let base = agent.add_relayed(cx, known, &config, mapped, server);
                if let Some(base) = base.filter(|_| known.is_none()) {
                    match slot.get_mut(usize::from(base.0)) {
                        Some(place) => *place = id,
                        None => slot.push(id),
                    }
                }
            });
        }
    }

    /// Takes a message of a TURN server. What it relays counts as come from the peer that it names,
    /// so that is what the answer to a check tells. [rfc8445-7.3.1.2-p1]
    pub(super) fn handle_relayed<'b>(&mut self, index: u16, datagram: &'b [u8]) -> Received<'b> {
        let index = usize::from(index);
        // What is relayed is looked at again; what comes over a channel is nothing else.
        let full = self.events.len() >= self.config.max_events;
        if full && Class::of(datagram) != Class::TurnChannel {
            return Received::Dropped(DropReason::EventsPending);
        }
        let now = self.now;
        let Some(client) = self.relays.client_mut(index) else {
            return Received::Dropped(DropReason::Closed);
        };
        match client.handle_datagram(now, datagram) {
            turn::Received::Data { peer, data } => {
                let peer = canonical(peer);
                match self.relays.base_for(index, peer.ip()) {
                    // What comes out of a relay is looked at as if it had come to a socket; it is
                    // never from another server of ours.
                    Some(base) => self.dispatch(base, peer, data),
                    None => Received::Dropped(DropReason::NoPermission),
                }
            }
            turn::Received::Handled => {
                self.stats.stun_received += 1;
                self.drive_relay(index);
                // That the allocation lives is no event, but may end a gathering.
                self.after_gathering();
                Received::Handled
            }
            turn::Received::Dropped(reason) => {
                self.drive_relay(index);
                Received::Dropped(reason)
            }
        }
    }

    /// Follows up on what a client has to say.
    fn drive_relay(&mut self, index: usize) {
        while let Some(event) = self.relays.poll_event(index) {
            self.relay_event(index, event);
        }
        self.relays.touch(index);
    }

    fn relay_event(&mut self, index: usize, event: turn::Event) {
        let closing = self.relays.is_closing(index);
        match event {
            turn::Event::Closed => self.relay_closed(index),
            turn::Event::Failed(_) | turn::Event::Redirected { .. } if closing => {
                self.relay_closed(index);
            }
            turn::Event::Failed(error) => self.relay_failed(index, GatherFailure::Relay(error)),
            turn::Event::Redirected { to, domain } => self.follow_redirection(index, to, domain),
            turn::Event::Allocated
            | turn::Event::Lost
            | turn::Event::PeerFailed { .. }
            | turn::Event::Unreachable { .. }
                if closing => {}
            // Those of relayed TCP connections, which nobody asks for here.
            turn::Event::Connected { .. }
            | turn::Event::ConnectFailed { .. }
            | turn::Event::ConnectionAttempt { .. } => {}
            turn::Event::Allocated => self.relay_allocated(index),
            turn::Event::Lost => {
                self.drop_bases(index);
                self.relays.review = true;
            }
            turn::Event::PeerFailed { peer, error } => self.peer_failed(index, peer, error),
            turn::Event::Unreachable { peer, kind, code } => {
                if is_unreachable(peer, kind, code)
                    && let Some(base) = self.relays.base_for(index, peer.ip())
                {
                    self.tell_unreachable(base, canonical(peer));
                }
            }
        }
    }

    /// There are relayed addresses: one answer gives a server-reflexive candidate and a relayed
    /// one. [rfc8445-5.1.1.2-p2] [rfc8445-5.1.1.2-p1] [rfc8445-5.1.1.2-p3]
    fn relay_allocated(&mut self, index: usize) {
        let Some(relay) = self.relays.get(index) else { return };
        let took = self.now - relay.began.unwrap_or(self.now);
        let (server, socket, known) = (relay.server, relay.socket, relay.bases.clone());
        let gone = self.relays.take_allocation(index);
        self.remove_bases(gone);
        if let Some(gathered) = self.note_mapping(index) {
            self.bring(gathered);
        }
        let bases = self.relays.get(index).map(|relay| relay.bases.clone()).unwrap_or_default();
        for RelayedBase { address, .. } in bases.iter().filter(|base| !known.contains(base)) {
            let (kind, address) = (CandidateKind::Relayed, *address);
            self.events.push_back(Event::Gathered { server, socket, kind, address, took });
        }
        for slot in 0..self.slots.len() {
            self.offer_relay(index, slot);
        }
        // Not before: with the last of them a gathering may end, and what comes later is not told.
        for rival in self.relays.rivals(index) {
            self.end_in_order(rival);
        }
        self.relays.review = true;
        self.after_gathering();
    }

    /// A relay is over, and nobody wanted that. What the server refused there may still be asked
    /// in a plain Binding. For a relay it is not asked again for a time, at a restart or for another
    /// agent neither. [rfc8445-5.1.1.2-4a] [rfc8445-5.1.1.2-8] [rfc8656-7.4-10] [rfc8656-7.4-14]
    /// [rfc8656-7.4-16]
    fn relay_failed(&mut self, index: usize, reason: GatherFailure) {
        let Some(relay) = self.relays.get(index) else { return };
        let (server, socket) = (relay.server, relay.socket);
        let datagrams = relay.transport == Transport::Udp;
        if self.relays.is_closing(index) {
            return self.relay_closed(index);
        }
        if let GatherFailure::Relay(turn::Error::Credentials(_)) = reason {
            self.relays.forget_challenge(index);
        }
        self.drop_bases(index);
        self.end_relay(index, true);
        if let GatherFailure::Relay(error) = reason {
            self.relays.hold(index, self.now + error.retry_after().unwrap_or(REFUSED_FOR));
        }
        self.events.push_back(Event::GatheringFailed { server, socket, reason });
        let answers = !matches!(
            reason,
            GatherFailure::Relay(turn::Error::Timeout) | GatherFailure::Unreachable
        );
        if datagrams && answers {
            self.gatherer.ask(socket, server);
        }
        self.after_gathering();
    }

    /// An allocation was given back.
    fn relay_closed(&mut self, index: usize) {
        self.drop_bases(index);
        self.end_relay(index, false);
        // If it was needed again for a time, that may be over.
        self.relays.review = true;
        self.after_gathering();
    }

    fn follow_redirection(&mut self, index: usize, to: SocketAddr, domain: Option<Box<str>>) {
        let left = self.relays.leaves(index);
        if self.relays.redirect(index, to, domain) {
            self.unroute(index, left);
        } else {
            self.relay_failed(index, GatherFailure::Relay(turn::Error::Redirect));
        }
    }

    /// Ends a relay that nobody needs: an allocation is given back first. [rfc8656-8-2]
    fn end_in_order(&mut self, index: usize) {
        self.drop_bases(index);
        self.relays.close(self.now, index);
        self.drive_relay(index);
    }

    fn end_relay(&mut self, index: usize, failed: bool) {
        let left = self.relays.end(index, failed);
        self.unroute(index, left);
    }

    /// What comes where the packets of a relay left from is not its client's any more.
    fn unroute(&mut self, index: usize, left: Option<(SocketId, SocketAddr)>) {
        if let (Some((via, server)), Ok(number)) = (left, u16::try_from(index)) {
            self.routes.remove_relay(via, server, number);
        }
    }

    /// The addresses of a relay are gone: pairs that had them fail as if a socket were.
    fn drop_bases(&mut self, index: usize) {
        let gone = self.relays.take_bases(index);
        self.remove_bases(gone);
    }

    fn remove_bases(&mut self, gone: Vec<RelayedBase>) {
        for RelayedBase { id, .. } in gone {
            for index in 0..self.slots.len() {
                let base = self.slots.get(index).and_then(|slot| slot.base_of(id));
                if let Some(base) = base {
                    self.with_agent(index, |agent, cx, _| agent.remove_base(cx, base));
                }
            }
        }
    }

    /// The server does not relay to a peer. A channel that it refuses is no loss: data goes on in
    /// indications.
    fn peer_failed(&mut self, index: usize, peer: SocketAddr, error: PeerError) {
        let peer = canonical(peer);
        let Some(id) = self.relays.base_for(index, peer.ip()).filter(|_| peer.port() == 0) else {
            return;
        };
        for slot in 0..self.slots.len() {
            let Some(known) = self.slots.get(slot) else { return };
            let base = known.base_of(id).filter(|base| {
                known.agent.as_ref().is_some_and(|agent| agent.uses_peer(*base, peer))
            });
            if let Some(base) = base {
                self.fail_peer(slot, base, peer.ip(), error);
            }
        }
    }

    fn fail_peer(&mut self, index: usize, base: BaseId, peer: std::net::IpAddr, error: PeerError) {
        let reason = match error {
            PeerError::Family => PairFailure::Unreachable,
            PeerError::Limit => PairFailure::Budget,
            PeerError::Refused(code) => PairFailure::RelayRefused(code),
            PeerError::Timeout => PairFailure::Timeout,
        };
        self.with_agent(index, |agent, cx, _| agent.fail_peer(cx, base, peer, reason));
    }

    /// Follows up on what a call changed: permissions for the addresses of new pairs, and channels
    /// for pairs that were selected since there were so many events. [rfc8445-7.2.1-1]
    /// [rfc8445-7.2.1-2]
    pub(super) fn follow_up_relays(&mut self, index: usize, events: usize) {
        let mut refused = Vec::new();
        let Some(slot) = self.slots.get_mut(index) else { return };
        if let Some(agent) = slot.agent.as_mut()
            && agent.take_new_relayed()
        {
            for (base, peer) in agent.relay_peers() {
                let Some(socket) = slot.bases.get(usize::from(base.0)) else { continue };
                if let Err(error) = self.relays.permit(self.now, *socket, peer) {
                    refused.push((base, peer, error));
                }
            }
        }
        for (base, peer, error) in refused {
            if error != PeerError::Limit || !self.permit_instead(index, base, peer) {
                self.fail_peer(index, base, peer, error);
            }
        }
        for place in events..self.events.len() {
            if let Some(Event::Selected { component, .. }) = self.events.get(place) {
                self.bind_selected(index, *component);
            }
        }
    }

    /// Peers that no pair needs any more make room for another; true if there was one.
    fn permit_instead(&mut self, index: usize, base: BaseId, peer: std::net::IpAddr) -> bool {
        let socket = self.slots.get(index).and_then(|slot| slot.socket_of(base));
        let Some(socket) = socket else { return false };
        let Some(relay) = self.relays.may_have_room(self.now, socket) else { return false };
        self.forget_peers(relay);
        let permitted = self.relays.permit(self.now, socket, peer).is_ok();
        if !permitted {
            self.relays.note_full(self.now, relay);
        }
        permitted
    }

    /// A component selected a pair: over a relay its data gets a channel. [rfc8445-7.2.1-3]
    /// [rfc8445-12.1-3]
    fn bind_selected(&mut self, index: usize, component: ComponentId) {
        let Some(slot) = self.slots.get(index) else { return };
        let path = slot.agent.as_ref().and_then(|agent| agent.selected_path(component));
        let Some((base, to)) = path else { return };
        if let Some(socket) = slot.socket_of(base).filter(|socket| socket.is_relayed()) {
            self.relays.bind_channel(self.now, socket, to);
        }
    }

    /// Does what is due for the relays.
    pub(super) fn advance_relays(&mut self) {
        if self.relays.is_empty() {
            return;
        }
        if core::mem::take(&mut self.relays.review) {
            self.review_relays();
        }
        for index in 0..self.relays.len() {
            if self.relays.is_due(index, self.now) {
                self.time_relay(index);
            }
        }
        while let Some(index) = self.relays.next_open(self.now, &self.config) {
            if self.relays.is_full(&self.config) {
                self.relay_failed(index, GatherFailure::Limit);
            } else {
                self.relays.open(self.now, index);
            }
        }
    }

    /// Lets the time pass for one client. What no pair needs any more it forgets first, so that it
    /// is not asked for again. [rfc8445-7.2.1-4] [rfc8489-6.2.2-4]
    fn time_relay(&mut self, index: usize) {
        let now = self.now;
        if self.relays.tell(index, now) {
            if !self.relays.is_closing(index) && !self.is_relay_needed(index) {
                self.end_in_order(index);
            } else {
                self.forget_peers(index);
            }
        }
        if let Some(client) = self.relays.client_mut(index) {
            client.handle_timeout(now);
        }
        self.drive_relay(index);
    }

    fn forget_peers(&mut self, index: usize) {
        let mut place = 0;
        while let Some(peer) =
            self.relays.client_mut(index).and_then(|client| client.peers().nth(place))
        {
            place += 1;
            let Some(id) = self.relays.base_for(index, peer.ip()) else { continue };
            let needed = self.slots.iter().any(|slot| {
                slot.base_of(id)
                    .zip(slot.agent.as_ref())
                    .is_some_and(|(base, agent)| agent.uses_peer(base, peer))
            });
            if !needed && let Some(client) = self.relays.client_mut(index) {
                client.forget(peer);
                // What is left moves up; some may stay for a time.
                place -= usize::from(client.peers().nth(place - 1) != Some(peer));
            }
        }
    }

    /// Gives up what no agent needs any more.
    fn review_relays(&mut self) {
        for index in 0..self.relays.len() {
            let idle = self
                .relays
                .get(index)
                .is_none_or(|relay| relay.bases.is_empty() && !relay.is_pending());
            if !idle && !self.relays.is_closing(index) && !self.is_relay_needed(index) {
                self.end_in_order(index);
            }
        }
    }

    fn is_relay_needed(&self, index: usize) -> bool {
        let Some(relay) = self.relays.get(index) else { return false };
        self.slots.iter().any(|slot| {
            let Some(agent) = slot.agent.as_ref().filter(|agent| agent.uses_relays()) else {
                return false;
            };
            slot.bases.contains(&relay.socket)
                && (slot.gathering.is_some()
                    || relay.allocated && agent.needs_relays()
                    || relay.bases.iter().any(|base| {
                        slot.base_of(base.id).is_some_and(|base| agent.needs_base(base))
                    }))
        })
    }

    /// Encodes the next packet of the clients that are at work.
    pub(super) fn poll_relays(&mut self, buf: &mut [u8]) -> Option<Transmit> {
        for index in 0..self.relays.len() {
            if !self.relays.is_due(index, self.now) {
                continue;
            }
            if let Some(transmit) = self.relays.poll_transmit(self.now, index, buf) {
                return Some(transmit);
            }
            self.drive_relay(index);
        }
        None
    }

    /// Starts the next allocation, which is a transaction like others to the pacer.
    /// [rfc8445-14.2-4]
    pub(super) fn start_relay(&mut self, buf: &mut [u8]) -> Option<Transmit> {
        let index = self.relays.next_start(self.now, &self.config)?;
        let server = self.relays.get(index)?.server;
        let connected = self.relays.get(index)?.transport != Transport::Udp;
        if !connected && self.relays.is_full(&self.config) {
            self.relay_failed(index, GatherFailure::Limit);
            return None;
        }
        let turn = self.gatherer.server(server)?.turn.clone()?;
        let (via, to) = self.relays.start(self.now, index, &turn, &self.config, &self.seed)?;
        self.routes.add_relay(via, to, u16::try_from(index).ok()?);
        self.pacer.gathering_started(self.now);
        let transmit = self.relays.poll_transmit(self.now, index, buf);
        self.drive_relay(index);
        transmit
    }

    /// Nobody waits for servers any more.
    pub(super) fn abandon_relays(&mut self) {
        for index in 0..self.relays.len() {
            let Some(relay) = self.relays.get(index) else { return };
            if !relay.is_pending() || relay.allocated {
                continue;
            }
            let (server, socket, reason) = (relay.server, relay.socket, relay.too_late());
            let began = relay.began.is_some();
            self.end_in_order(index);
            if began {
                self.events.push_back(Event::GatheringFailed { server, socket, reason });
            }
        }
    }

    /// A socket is gone, and with it all relays that it served.
    pub(super) fn remove_relays(&mut self, socket: SocketId) {
        for index in 0..self.relays.len() {
            if self.relays.get(index).is_some_and(|relay| relay.socket == socket) {
                self.drop_bases(index);
                self.end_relay(index, false);
                self.relays.remove(index);
            }
        }
    }

    /// The network said that a server cannot be reached: an attempt that it never answered ends.
    pub(super) fn relay_unreachable(&mut self, socket: SocketId, to: SocketAddr) {
        if let Some(index) = self.relays.unanswered(socket, to) {
            self.relay_failed(index, GatherFailure::Unreachable);
        }
    }
}

fn relayed_base(socket: &Socket, address: SocketAddr) -> BaseConfig {
    BaseConfig { address, signalled: true, relayed: true, ..base_of(socket) }
}

/// Whether an ICMP message says that the peer cannot be reached: type 3 and 1, but for a datagram
/// that was too long.
fn is_unreachable(peer: SocketAddr, kind: u8, code: u8) -> bool {
    const FRAGMENTATION_NEEDED: u8 = 4;
    match peer {
        SocketAddr::V4(_) => kind == 3 && code != FRAGMENTATION_NEEDED,
        SocketAddr::V6(_) => kind == 1,
    }
}
