//! What the agent says of itself: its description, statistics, failures.

use crate::candidate::Credentials;
use crate::config::Trickle;
use crate::event::{FailedPair, SelectedPair};
use crate::net::ComponentId;
use crate::sdp::{Description, IceOptions, StreamDescription};
use crate::stats::{AgentStats, CandidateStats, PairStats};

use super::names::{local_stats, remote_stats, unresolved_stats};
use super::pair::{Pair, PairId, PairState};
use super::remote::RemoteId;
use super::{Agent, TA_DEFAULT};

impl Agent {
    /// What to signal: credentials, options, and all candidates of this generation so far, the
    /// trickled ones included [rfc8840-3.2-1] [rfc8840-4.3.3-3a] [rfc8839-4.4.1.3-1]. Until a
    /// restart all else stays as it was: it comes of the configuration, and that does not change
    /// [rfc8839-4.4.1.1.1-7] [rfc8839-4.4.2.1-3] [rfc8839-4.4.1.2.1-1].
    /// [rfc8445-10-1] [rfc8839-4.2.1.4-1] [rfc8839-4.2.1.4-2] [rfc8839-4.2.1.5-1]
    /// [rfc8839-4.2.5-1] [rfc8839-4.3.1-2] [rfc8839-4.3.2-2] [rfc8839-4.3.1-3] [rfc8839-4.3.1-4] [rfc8839-4.3.2-3] [rfc8839-4.3.2-4]
    /// [rfc8445-14.2-2] [rfc8445-5.3-5] [rfc8838-3-3a] [rfc8838-3-3b] [rfc8840-4-2]
    /// [rfc8840-4.1.1-5a] [rfc8840-4.1.3-5a] [rfc8838-13-7]
    pub(crate) fn local_description(&self) -> Description {
        let config = &self.core.config;
        let proposes = !self.core.is_lite() && config.ta != TA_DEFAULT;
        let mut description = Description {
            lite: self.core.is_lite(),
            options: IceOptions {
                ice2: true,
                trickle: config.trickle != Trickle::Off,
                renomination: config.nomination.renomination,
                other: Vec::new(),
            },
            pacing: proposes.then_some(config.ta),
            ..Description::default()
        };
        for stream in 0..config.streams.len() {
            let Ok(stream) = u16::try_from(stream) else { break };
            description.streams.push(self.describe_stream(stream));
        }
        description
    }

    fn describe_stream(&self, stream: u16) -> StreamDescription {
        if !self.session.has_stream(stream) {
            let mid = Some(stream.to_string());
            return StreamDescription { mid, rejected: true, ..StreamDescription::default() };
        }
        let local = &self.session.local;
        let mut section = StreamDescription {
            mid: Some(stream.to_string()),
            credentials: Some(Credentials {
                ufrag: local.ufrag.to_string(),
                password: local.password.0.to_string(),
            }),
            end_of_candidates: !self.core.is_open(),
            ..StreamDescription::default()
        };
        let mut found: Vec<_> = self.core.local.candidates().collect();
        // In the order in which they are conveyed, so that those found later follow.
        // [rfc8840-4.4-13a] [rfc8840-4.4-13b]
        found.sort_by_key(|(_, candidate)| candidate.place);
        for (id, candidate) in found {
            let base = self.core.local.base(candidate.base);
            let ours = base.is_some_and(|b| b.usable && b.component.stream() == stream);
            if ours && candidate.signalled {
                section.candidates.extend(self.core.local.describe(id, &local.ufrag));
            }
        }
        if self.core.config.trickle != Trickle::Full {
            // All at once: component by component. [rfc8838-17-1a] [rfc8838-17-1b]
            section.candidates.sort_by_key(|candidate| candidate.component);
        }
        section
    }

    /// The pair that a component has selected; during a restart the one before.
    pub(crate) fn selected(&self, component: ComponentId) -> Option<SelectedPair> {
        let current = self.session.component(component)?.selected;
        if let Some(id) = current {
            return self.session.describe_pair(id, &self.core);
        }
        let previous = self.previous.as_ref()?;
        previous.describe_pair(previous.component(component)?.selected?, &self.core)
    }

    /// Statistics of this generation.
    pub(crate) fn stats(&self) -> AgentStats {
        let local = self.core.local.candidates();
        let mut stats = AgentStats {
            selected_changes: self.core.selected_changes,
            local: local.filter_map(|(id, _)| local_stats(&self.core, id)).collect(),
            ..AgentStats::default()
        };
        for (stream, known) in self.session.streams.iter().enumerate() {
            let Ok(stream) = u16::try_from(stream) else { break };
            let Some(remote) = &known.remote else { continue };
            let ids = remote.iter(stream).map(|(id, _)| id);
            stats.remote.extend(ids.filter_map(|id| self.remote_stats(id)));
            stats.remote.extend(remote.unresolved().iter().filter_map(|named| {
                Some(unresolved_stats(ComponentId::new(stream, named.component)?, named))
            }));
        }
        let mut pairs: Vec<_> = self.session.pairs.iter().collect();
        pairs.sort_by_key(|(_, pair)| core::cmp::Reverse(pair.priority));
        stats.pairs =
            pairs.into_iter().filter_map(|(id, pair)| self.pair_stats(id, pair)).collect();
        stats
    }

    fn pair_stats(&self, id: PairId, pair: &Pair) -> Option<PairStats> {
        let local = pair.valid.as_ref().map_or(pair.local, |valid| valid.local);
        Some(PairStats {
            component: pair.component,
            state: pair.state_kind(),
            nominated: pair.valid.as_ref().is_some_and(|valid| valid.nominated),
            selected: self.session.is_selected(id),
            priority: pair.priority,
            local: local_stats(&self.core, local)?,
            remote: self.remote_stats(pair.remote)?,
            counters: pair.counters,
        })
    }

    fn remote_stats(&self, id: RemoteId) -> Option<CandidateStats> {
        let remote = self.session.remote(id)?;
        let address = self.session.shown(id, &self.core.local)?;
        Some(remote_stats(ComponentId::new(id.stream, remote.component)?, remote, address))
    }

    /// The pairs that failed, and why.
    pub(crate) fn failures(&self) -> Vec<FailedPair> {
        let failed = self.session.pairs.iter().filter_map(|(_, pair)| match pair.state {
            PairState::Failed(reason) => Some(FailedPair {
                component: pair.component,
                local: self.core.local.shown_base(pair.base)?,
                remote: self.session.shown(pair.remote, &self.core.local)?,
                reason,
            }),
            PairState::Frozen
            | PairState::Waiting
            | PairState::InProgress { .. }
            | PairState::Succeeded => None,
        });
        failed.collect()
    }
}
