//! Application data: which pair it goes over, and who counts it. [RFC 8445 §12]

use std::net::SocketAddr;

use crate::config::ConsentMode;
use crate::event::{AgentState, Event};
use crate::net::ComponentId;
use crate::time::Instant;

use super::local::BaseId;
use super::pair::{Pair, PairId};
use super::session::{ChecklistState, Session};
use super::{Agent, Context, Core, Generation, SendError};

/// Where application data goes, and who counts it.
pub(crate) struct Path<'a> {
    pub(crate) base: BaseId,
    pub(crate) to: SocketAddr,
    pair: &'a mut Pair,
    now: Instant,
}

impl Path<'_> {
    /// Counts a datagram of `len` octets as sent.
    pub(crate) fn sent(self, len: usize) {
        let counters = &mut self.pair.counters;
        counters.packets_sent += 1;
        counters.bytes_sent += len as u64;
        counters.last_packet_sent = Some(self.now);
        self.pair.last_sent = self.now;
    }
}

impl Agent {
    /// The gate that application data leaves through. [rfc7675-5.1-1] [rfc7675-5.1-2]
    pub(crate) fn path(&mut self, id: ComponentId, now: Instant) -> Result<Path<'_>, SendError> {
        if self.state == AgentState::Closed {
            return Err(SendError::Closed);
        }
        let Some(component) = self.session.component(id) else {
            return Err(SendError::UnknownComponent);
        };
        let had = component.sendable || component.lost;
        let refused = if had { SendError::ConsentExpired } else { SendError::NotReady };
        let (generation, pair) = self.sending_pair(id, now).ok_or(refused)?;
        let session = match &mut self.previous {
            Some(previous) if previous.generation == generation => previous,
            _ => &mut self.session,
        };
        let (base, remote) = {
            let pair = session.pairs.get(pair).ok_or(refused)?;
            (pair.base, pair.remote)
        };
        let to = session.remote(remote).ok_or(refused)?.address;
        let pair = session.pairs.get_mut(pair).ok_or(refused)?;
        Ok(Path { base, to, pair, now })
    }

    /// The pair that data of a component goes over: the selected one, or while that is silent and
    /// the peer follows later nominations the reserve; during a restart the one of
    /// the generation before; before any selection the best valid one. [rfc8445-12.1-1]
    /// [rfc8445-12.1-2] [rfc8445-9-p1] [rfc7675-5.1-1] [rfc8445-12.1-p1]
    pub(super) fn sending_pair(
        &self,
        id: ComponentId,
        now: Instant,
    ) -> Option<(Generation, PairId)> {
        let current = self.session.generation;
        let fresh = |session: &Session, pair: PairId| {
            session
                .pairs
                .get(pair)
                .and_then(|pair| pair.valid.as_ref())
                .is_some_and(|valid| self.core.is_lite() || valid.consent.is_fresh(now))
        };
        let selected = |session: &Session| {
            session.component(id)?.selected.filter(|pair| fresh(session, *pair))
        };
        let failed = self
            .session
            .streams
            .get(usize::from(id.stream()))
            .is_some_and(|stream| stream.checklist.state == ChecklistState::Failed);
        if let Some(pair) = selected(&self.session).filter(|_| !failed) {
            let pair = self.session.stand_in(id, now).unwrap_or(pair);
            return self.lite_may_send(id).then_some((current, pair));
        }
        let previous = self
            .previous
            .as_deref()
            .and_then(|previous| Some((previous.generation, selected(previous)?)));
        let troubled = self.previous.as_ref().is_some_and(|previous| previous.is_doubtful(id));
        if let Some(previous) = previous.filter(|_| !troubled) {
            return Some(previous);
        }
        let valid = || {
            // [rfc8445-12.1-4]
            let component = self.session.component(id).filter(|_| !failed)?;
            if !self.session.may_choose(component) || !self.lite_may_send(id) {
                return None;
            }
            let (pair, _) = self.session.best_valid(id, &self.core, now)?;
            Some((current, pair))
        };
        valid().or(previous)
    }

    /// A lite agent sends once every component of the stream that both sides have has a valid pair.
    /// [rfc8445-12.1.1-1] [rfc8445-12.1.1-2]
    fn lite_may_send(&self, id: ComponentId) -> bool {
        !self.core.is_lite()
            || self
                .session
                .components
                .iter()
                .filter(|other| {
                    other.id.stream() == id.stream() && self.session.is_wanted(other.id)
                })
                .all(|other| self.session.valid_pairs(other.id).next().is_some())
    }

    /// Counts a datagram of application data. Returns whether it changes what is due: `settle` is
    /// to follow.
    #[must_use]
    pub(crate) fn received(
        &mut self,
        base: BaseId,
        from: SocketAddr,
        len: usize,
        now: Instant,
    ) -> bool {
        let count = |session: &mut Session| {
            let id = find_pair(session, &self.core, base, from)?;
            let pair = session.pairs.get_mut(id)?;
            pair.counters.packets_received += 1;
            pair.counters.bytes_received += len as u64;
            pair.counters.last_packet_received = Some(now);
            Some((id, pair.component, pair.counters.packets_received))
        };
        let Some((id, component, packets)) = count(&mut self.session) else {
            if let Some(previous) = &mut self.previous {
                count(previous);
            }
            return false;
        };
        let watched = self.core.config.consent == ConsentMode::Verify && !self.core.is_lite();
        let Some(component) = self.session.component_mut(component).filter(|_| watched) else {
            return false;
        };
        if component.selected == Some(id) {
            return component.flow.begin(now, packets);
        }
        self.session.follow_data(id, &self.core, now)
    }

    /// Verifies the selected pairs whose data has stopped.
    pub(super) fn watch_flows(&mut self, now: Instant) {
        for index in 0..self.session.components.len() {
            let Some(component) = self.session.components.get_mut(index) else { return };
            if component.flow.due() > now {
                continue;
            }
            let pair = component.selected.and_then(|id| self.session.pairs.get(id));
            let counters = pair.map(|pair| &pair.counters);
            let count = counters.map_or(0, |counters| counters.packets_received);
            let last = counters.and_then(|counters| counters.last_packet_received);
            let id = component.id;
            if component.flow.look(now, count, last.unwrap_or_default()) {
                self.session.suspect(id, &self.core, now);
            }
        }
    }

    /// The paths that are used though nobody checks them: both sides are lite.
    pub(crate) fn unchecked_paths(&self) -> Vec<(BaseId, SocketAddr)> {
        if !self.core.is_lite() || !self.session.remote_lite {
            return Vec::new();
        }
        let pairs = self.session.pairs.iter().filter(|(_, pair)| pair.valid.is_some());
        let path =
            |(_, pair): (_, &Pair)| Some((pair.base, self.session.remote(pair.remote)?.address));
        pairs.filter_map(path).collect()
    }

    pub(super) fn report_sendable(&mut self, cx: &mut Context<'_>) {
        for index in 0..self.session.components.len() {
            let Some(component) = self.session.components.get(index) else { return };
            let (id, known) = (component.id, component.sendable);
            let sendable = self.sending_pair(id, cx.now).is_some();
            if sendable != known {
                if let Some(component) = self.session.components.get_mut(index) {
                    component.sendable = sendable;
                    component.lost = !sendable;
                }
                if sendable {
                    cx.events.push_back(Event::Sendable { agent: cx.id, component: id });
                }
            }
        }
    }
}

fn find_pair(session: &Session, core: &Core, base: BaseId, from: SocketAddr) -> Option<PairId> {
    let component = core.local.base(base)?.component;
    let remote = session.remote_stream(component.stream())?.find(
        component.stream(),
        component.number(),
        from,
    )?;
    session.pairs.find(base, remote)
}
