//! Names in the place of host addresses: ours, and the peer's.
//! [draft-ietf-mmusic-mdns-ice-candidates]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::candidate::{Candidate, CandidateKind, random_name};
use crate::config::HostAddresses;
use crate::net::ComponentId;
use crate::rng::{Purpose, Seed, Stream as Random};
use crate::stats::CandidateStats;

use super::local::{BaseId, Local, LocalCandidate, LocalId};
use super::pair::PairId;
use super::remote::{Added, RemoteCandidate, RemoteId, Unresolved};
use super::session::Session;
use super::{Agent, CandidateRejected, Context, Core};

/// The names of our host addresses.
#[derive(Clone, Debug)]
pub(super) struct Names {
    ids: Random,
    known: Vec<(IpAddr, Box<str>)>,
}

impl Names {
    fn of(&self, ip: IpAddr) -> Option<&str> {
        self.known.iter().find(|(known, _)| *known == ip).map(|(_, name)| &**name)
    }
}

impl Core {
    /// Hides host addresses from the first on, if the configuration says so.
    pub(super) fn hide_addresses(&mut self, number: u64) {
        if self.config.host_addresses == HostAddresses::Named && !self.is_lite() {
            let ids = Random::new(number, Purpose::Name);
            self.local.names = Some(Box::new(Names { ids, known: Vec::new() }));
        }
    }
}

impl Local {
    /// Whether host addresses are not to be told.
    pub(super) fn conceals(&self) -> bool {
        self.names.is_some()
    }

    /// Gives the address of a base a name of its own, unless it has one or needs none. Names of
    /// addresses that are gone are forgotten. [mdns-ice-candidates-3.1.1-1]
    /// [mdns-ice-candidates-3.1.1-4]
    pub(super) fn name(&mut self, id: BaseId, seed: &Seed) {
        let Some(ip) = self.base(id).map(|base| base.address.ip()) else { return };
        let Some(mut names) = self.names.take() else { return };
        let used = |ip: IpAddr| self.bases().any(|(_, b)| b.usable && b.address.ip() == ip);
        names.known.retain(|(known, _)| used(*known));
        if names.of(ip).is_none() {
            let mut octets = [0; 16];
            names.ids.fill(seed, &mut octets);
            names.known.push((ip, random_name(octets).into()));
        }
        self.names = Some(names);
    }

    /// The name of a candidate of ours, if that is what it is signalled by.
    /// [mdns-ice-candidates-3.1.2.4-1] [mdns-ice-candidates-4-1]
    pub(super) fn name_of(&self, local: &LocalCandidate) -> Option<&str> {
        let names = self.names.as_ref().filter(|_| local.kind == CandidateKind::Host)?;
        names.of(local.address.ip())
    }

    /// The address of a candidate of ours as it may be shown: what a server told of is known to the
    /// world. [mdns-ice-candidates-3.3.1-1a]
    pub(super) fn shown(&self, local: &LocalCandidate) -> SocketAddr {
        let Some(names) = &self.names else { return local.address };
        match local.kind {
            CandidateKind::ServerReflexive | CandidateKind::Relayed => local.address,
            CandidateKind::Host => hidden(local.address),
            // It may be another address of this machine.
            CandidateKind::PeerReflexive if names.of(local.address.ip()).is_some() => {
                hidden(local.address)
            }
            CandidateKind::PeerReflexive => local.address,
        }
    }

    /// The address of a base as it may be shown.
    pub(super) fn shown_base(&self, id: BaseId) -> Option<SocketAddr> {
        let base = self.base(id)?;
        let secret = self.conceals() && !base.relayed;
        Some(if secret { hidden(base.address) } else { base.address })
    }
}

impl Agent {
    /// The names that our host candidates are signalled by, and what they stand for.
    pub(crate) fn host_names(&self) -> impl Iterator<Item = (&str, IpAddr)> {
        let known = self.core.local.names.iter().flat_map(|names| &names.known);
        known.map(|(ip, name)| (&**name, *ip))
    }

    /// Takes what the name of a remote candidate was resolved to. The candidate itself came before:
    /// that the peer has told the end of candidates since does not matter.
    /// [mdns-ice-candidates-3.2.1-p1]
    pub(crate) fn add_resolved_candidate(
        &mut self,
        cx: &mut Context<'_>,
        stream: u16,
        ufrag: Option<&str>,
        candidate: &Candidate,
        ip: IpAddr,
    ) -> Result<(), CandidateRejected> {
        if candidate.address.mdns_name().is_none() {
            return Err(CandidateRejected::UnresolvedName);
        }
        self.take_candidate(cx, stream, ufrag, candidate, Some(ip))
    }

    /// Pairs what was added. [mdns-ice-candidates-3.3.2-2]
    pub(super) fn pair_added(&mut self, cx: &mut Context<'_>, added: Added) {
        match added {
            Added::New(id) => self.session.pair_remote(id, &mut self.core, cx.now),
            Added::Relabelled(id) => {
                self.session.keep_from_relays(id, &mut self.core);
                self.session.reclassify(id, &self.core);
                self.session.pair_remote(id, &mut self.core, cx.now);
                self.session.rank_anew(&mut self.core, cx);
            }
            Added::Duplicate => {}
        }
    }
}

impl Session {
    /// Whether a base that is a relay must not be paired with a remote candidate.
    pub(super) fn is_kept_from_relay(&self, base: BaseId, id: RemoteId, local: &Local) -> bool {
        let known = self.remote_stream(id.stream).zip(self.remote(id));
        known.is_some_and(|(stream, remote)| {
            stream.is_kept_from_relay(base, remote, local.conceals())
        })
    }

    /// What a check told of turns out to be what a name stands for: pairs with relays that do not
    /// work are taken back. One that works is known to its server already.
    fn keep_from_relays(&mut self, id: RemoteId, core: &mut Core) {
        if self.remote(id).is_none_or(|remote| remote.name.is_none()) {
            return;
        }
        let relayed = |base: BaseId| core.local.base(base).is_some_and(|base| base.relayed);
        let of_no_use: Vec<PairId> = self
            .pairs
            .iter()
            .filter(|(_, pair)| pair.remote == id && relayed(pair.base) && pair.valid.is_none())
            .map(|(id, _)| id)
            .collect();
        for pair in of_no_use {
            self.remove_pair(pair, core);
        }
    }

    /// The address of a remote candidate as it may be shown. One that only a check told of is not,
    /// where names hide addresses, unless the peer told the IP address itself.
    /// [mdns-ice-candidates-3.3.1-1a] [mdns-ice-candidates-3.3.1-4]
    pub(super) fn shown(&self, id: RemoteId, local: &Local) -> Option<SocketAddr> {
        let (stream, remote) = self.remote_stream(id.stream).zip(self.remote(id))?;
        if remote.name.is_some() {
            return Some(nameless(remote.address.port()));
        }
        let secret = remote.is_learned()
            && (local.conceals() || stream.has_names())
            && !stream.has_told(remote.address.ip());
        Some(if secret { hidden(remote.address) } else { remote.address })
    }
}

/// The statistics of a candidate of ours.
pub(super) fn local_stats(core: &Core, id: LocalId) -> Option<CandidateStats> {
    let candidate = core.local.candidate(id)?;
    let base = core.local.base(candidate.base)?;
    let related = (candidate.address != base.address).then_some(candidate.base);
    Some(CandidateStats {
        component: base.component,
        kind: candidate.kind,
        address: core.local.shown(candidate),
        name: core.local.name_of(candidate).map(str::to_owned),
        related: related.and_then(|base| core.local.shown_base(base)),
        priority: candidate.priority,
    })
}

/// The statistics of a remote candidate.
pub(super) fn remote_stats(
    component: ComponentId,
    remote: &RemoteCandidate,
    address: SocketAddr,
) -> CandidateStats {
    CandidateStats {
        component,
        kind: remote.kind,
        address,
        name: remote.name.as_deref().map(str::to_owned),
        related: remote.related.as_deref().copied(),
        priority: remote.priority,
    }
}

/// The statistics of a candidate that has nothing but a name: no other than if it were resolved.
/// [mdns-ice-candidates-3.3.1-2] [mdns-ice-candidates-3.3.1-3]
pub(super) fn unresolved_stats(component: ComponentId, remote: &Unresolved) -> CandidateStats {
    CandidateStats {
        component,
        kind: remote.kind,
        address: nameless(remote.port),
        name: Some(remote.name.to_string()),
        related: None,
        priority: remote.priority,
    }
}

/// Leaves the port and the family of an address.
fn hidden(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(ip, address.port())
}

/// What is shown of a name of the peer's: not even the family, which would tell that it is resolved.
fn nameless(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)
}
