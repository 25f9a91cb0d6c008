//! Bases that are relayed addresses: the endpoint tells of them, and asks what they are needed
//! for. To the agent they are bases like others; only a server has to be told of each peer first.

use std::net::{IpAddr, SocketAddr};

use crate::candidate::CandidateKind;
use crate::config::CandidatePolicy;
use crate::event::{AgentState, PairFailure};
use crate::net::ComponentId;

use super::local::{BaseConfig, BaseId, LocalCandidate, Origin};
use super::pair::{Pair, PairId, PairState};
use super::session::Session;
use super::{Agent, Context, Core, Sign};

impl Agent {
    /// Whether TURN servers are asked for it at all.
    pub(crate) fn uses_relays(&self) -> bool {
        !self.core.is_lite()
    }

    /// Whether it may send from a base, and answer there: of a relay always, of a socket unless
    /// the policy forbids it. [RFC 8828]
    pub(crate) fn may_use(&self, base: BaseId) -> bool {
        match self.core.config.policy {
            CandidatePolicy::All => true,
            CandidatePolicy::Relay => self.core.local.base(base).is_some_and(|base| base.relayed),
        }
    }

    /// A server relays for us at the address of `config`, and saw us at `mapped`; `known` is the
    /// base that an earlier generation had for it. After end-of-candidates that is no candidate
    /// before the next restart; after a nomination it is one where later nominations are followed.
    /// [rfc8445-5.1.1.2-p2] [rfc8838-13-6] [rfc8838-13-10]
    pub(crate) fn add_relayed(
        &mut self,
        cx: &mut Context<'_>,
        known: Option<BaseId>,
        config: &BaseConfig,
        mapped: Option<SocketAddr>,
        server: IpAddr,
    ) -> Option<BaseId> {
        let host = |(_, local): (_, &LocalCandidate)| {
            local.kind == CandidateKind::Host && local.address == config.address
        };
        // [rfc8445-5.1.1.2-9]
        let redundant = self.core.local.candidates().any(host);
        if !self.may_trickle_relay(config.component) || redundant {
            return known;
        }
        let base = known.or_else(|| self.new_base(config))?;
        let shown = match self.core.config.policy {
            CandidatePolicy::All => mapped,
            CandidatePolicy::Relay => None,
        };
        let origin = Origin { server, mapped: shown };
        self.add_local(cx, CandidateKind::Relayed, base, config.address, Some(origin));
        self.settle(cx);
        Some(base)
    }

    /// Whether pairs over relays were formed since the last call.
    pub(crate) fn take_new_relayed(&mut self) -> bool {
        core::mem::take(&mut self.session.new_relayed)
    }

    /// The peers that pairs over relays go to, each with its base.
    pub(crate) fn relay_peers(&self) -> impl Iterator<Item = (BaseId, IpAddr)> {
        self.relayed_pairs().map(|(_, pair, to)| (pair.base, to.ip()))
    }

    /// Whether some pair of a base goes to `peer`, whatever its port if that is 0.
    pub(crate) fn uses_peer(&self, base: BaseId, peer: SocketAddr) -> bool {
        self.relayed_pairs().any(|(_, pair, to)| {
            pair.base == base && to.ip() == peer.ip() && (peer.port() == 0 || to == peer)
        })
    }

    fn relayed_pairs(&self) -> impl Iterator<Item = (PairId, &Pair, SocketAddr)> {
        self.sessions().flat_map(|session| relayed_pairs(session, &self.core))
    }

    /// Whether allocations are needed whatever pairs there are: candidates may still be made of
    /// them, or pairs formed.
    pub(crate) fn needs_relays(&self) -> bool {
        let open = match self.state {
            AgentState::Closed | AgentState::Failed => false,
            AgentState::Completed => self.session.free_at.is_some(),
            AgentState::New
            | AgentState::Checking
            | AgentState::Connected
            | AgentState::Disconnected => true,
        };
        open || self.core.gathering && self.state != AgentState::Closed
    }

    /// Whether a pair that may carry data has this base.
    pub(crate) fn needs_base(&self, base: BaseId) -> bool {
        self.relayed_pairs()
            .any(|(_, pair, _)| pair.base == base && !matches!(pair.state, PairState::Failed(_)))
    }

    /// Where the selected pair of a component goes.
    pub(crate) fn selected_path(&self, component: ComponentId) -> Option<(BaseId, SocketAddr)> {
        let selected = self.session.component(component)?.selected?;
        let pair = self.session.pairs.get(selected)?;
        Some((pair.base, self.session.remote(pair.remote)?.address))
    }

    /// The relay of a base cannot reach a peer.
    pub(crate) fn fail_peer(
        &mut self,
        cx: &mut Context<'_>,
        base: BaseId,
        peer: IpAddr,
        reason: PairFailure,
    ) {
        fail_peer(&mut self.session, &mut self.core, base, peer, reason);
        if let Some(previous) = &mut self.previous {
            fail_peer(previous, &mut self.core, base, peer, reason);
        }
        self.settle(cx);
    }
}

impl Session {
    /// Notes that a pair does not answer: over a relay of ours the server may be why.
    pub(super) fn doubt(&self, id: PairId, core: &mut Core) {
        let Some(pair) = self.pairs.get(id) else { return };
        let relayed = core.local.base(pair.base).is_some_and(|base| base.relayed);
        if let Some(remote) = self.remote(pair.remote).filter(|_| relayed) {
            core.signs.push(Sign::Deaf(pair.base, remote.address));
        }
    }
}

fn relayed_pairs<'a>(
    session: &'a Session,
    core: &'a Core,
) -> impl Iterator<Item = (PairId, &'a Pair, SocketAddr)> {
    let relayed = |pair: &Pair| core.local.base(pair.base).is_some_and(|base| base.relayed);
    session
        .pairs
        .iter()
        .filter(move |(_, pair)| relayed(pair))
        .filter_map(|(id, pair)| Some((id, pair, session.remote(pair.remote)?.address)))
}

fn fail_peer(
    session: &mut Session,
    core: &mut Core,
    base: BaseId,
    peer: IpAddr,
    reason: PairFailure,
) {
    let gone: Vec<PairId> = relayed_pairs(session, core)
        .filter(|(_, pair, to)| pair.base == base && to.ip() == peer)
        .filter(|(_, pair, _)| !matches!(pair.state, PairState::Failed(_)))
        .map(|(id, ..)| id)
        .collect();
    for id in gone {
        let selected = session.components.iter().find(|known| known.selected == Some(id));
        let component = selected.map(|component| component.id);
        session.fail_pair(id, reason, core);
        session.trace(id, core, "pair failed: the relay refuses the peer");
        if let Some(component) = component {
            session.reopen(component, core);
        }
    }
}
