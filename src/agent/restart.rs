//! Applying the peer's description, and restarting ICE. [RFC 8445 §9]

use core::time::Duration;

use crate::canary::{Bug, planted};
use crate::candidate::Credentials;
use crate::config::{Mode, Role};
use crate::event::Event;
use crate::net::ComponentId;
use crate::sdp::Description;
use crate::time::Instant;

use super::consent::CONSENT_LIFETIME;
use super::local::moved;
use super::remote::RemoteStream;
use super::session::{Component, Session};
use super::streams::is_refused;
use super::{Agent, Context, DescriptionRejected, Generation, TA_DEFAULT, UfragChange};

/// The time over which restarts by the peer are counted.
const RESTART_WINDOW: Duration = Duration::from_secs(300);

impl Agent {
    /// Applies the peer's offer or answer. New credentials are a restart by the peer, which is
    /// followed at once unless we had started one ourselves. [rfc8839-4.4.3.1-1]
    /// [rfc8839-4.4.1.1.1-3] [rfc8839-4.4.1.1.1-4] [rfc8839-4.4.2.1-1b] The same credentials again
    /// leave the state as it is. [rfc8839-4.4.3.1-5]
    pub(crate) fn set_remote_description(
        &mut self,
        cx: &mut Context<'_>,
        description: &Description,
    ) -> Result<(), DescriptionRejected> {
        if self.state() == crate::event::AgentState::Closed {
            return Err(DescriptionRejected::Closed);
        }
        let credentials = self.check_description(description)?;
        let known = |new: &Credentials| self.outdated.as_deref() == Some(new.ufrag.as_str());
        if credentials.iter().flatten().any(known) {
            return Err(DescriptionRejected::Outdated);
        }
        let restarts = credentials
            .iter()
            .zip(&self.session.streams)
            .filter_map(|(new, stream)| Some((new.as_ref()?, stream.remote.as_ref()?)))
            .any(|(new, known)| !known.is(new));
        if restarts {
            self.allow_restart(cx.now)?;
            self.new_generation(cx);
            cx.events.push_back(Event::RestartedByPeer { agent: cx.id });
        } else if self.session.is_started() && self.session.remote_lite != description.lite {
            // [rfc8445-9-2] [rfc8839-4.4.2.1-4]
            return Err(DescriptionRejected::ChangedWithoutRestart);
        }
        for stream in self.drop_rejected(description) {
            cx.events.push_back(Event::StreamRemoved { agent: cx.id, stream });
        }
        if !self.session.is_started() {
            self.begin(cx, description, &credentials);
        }
        self.take_candidates(cx, description);
        Ok(())
    }

    /// Checks that every stream of ours has credentials or is rejected, and one at least is not;
    /// nothing is changed. Without ICE on the other side none is done here. [rfc8839-4.3.2-7]
    /// [rfc8839-4.3.3-1a]
    fn check_description(
        &self,
        description: &Description,
    ) -> Result<Vec<Option<Credentials>>, DescriptionRejected> {
        let mut all = Vec::new();
        let mut refused = None;
        for index in 0..self.session.streams.len() {
            let stream = u16::try_from(index).unwrap_or(u16::MAX);
            let section = description.streams.get(index);
            // [rfc8839-5.3-1a] [rfc8839-4.2.5-5a]
            if let Some(section) = section.filter(|section| is_refused(section)) {
                refused.get_or_insert(match section.mismatch {
                    true => DescriptionRejected::Mismatch { stream },
                    false => DescriptionRejected::NoCredentials { stream },
                });
                all.push(None);
                continue;
            }
            if !self.session.has_stream(stream) {
                all.push(None);
                continue;
            }
            let credentials = section.and_then(|section| section.credentials.clone());
            let credentials = credentials.ok_or(DescriptionRejected::NoCredentials { stream })?;
            // Our own are nobody else's: somebody holds up a mirror.
            let mirrored = credentials.ufrag == *self.session.local.ufrag;
            if mirrored || !credentials.is_readable() {
                return Err(DescriptionRejected::InvalidCredentials { stream });
            }
            all.push(Some(credentials));
        }
        match refused {
            Some(refused) if all.iter().all(Option::is_none) => Err(refused),
            _ => Ok(all),
        }
    }

    /// Starts the checks of a generation: roles, pace, PAC timer, checklists. [rfc8863-4-1]
    /// [rfc8863-4-p1] [rfc8445-14.2-2] [rfc8445-14.2-3] [rfc8839-5.5-p1] [rfc8839-5.6-p1]
    /// [rfc8839-7.1.1-5]
    fn begin(
        &mut self,
        cx: &mut Context<'_>,
        description: &Description,
        credentials: &[Option<Credentials>],
    ) {
        let config = &self.core.config;
        let session = &mut self.session;
        session.remote_lite = description.lite;
        session.remote_regular = description.options.ice2;
        session.renomination = config.nomination.renomination && description.options.renomination;
        session.ta = config.ta.max(description.pacing.unwrap_or(TA_DEFAULT));
        session.patience_until = Some(cx.now + config.patience);
        session.next_check = session.next_check.max(cx.now);
        for (stream, credentials) in session.streams.iter_mut().zip(credentials) {
            stream.remote = credentials.as_ref().map(RemoteStream::new);
        }
        self.determine_role(cx, description.lite);
    }

    /// Against a lite peer the full side controls. [rfc8445-6.1.1-6] [rfc8445-6.1.1-2a] [rfc8445-6.1.1-2b]
    /// [rfc8445-6.1.1-4] [rfc8445-6.1.1-5] [rfc8445-9-4]
    fn determine_role(&mut self, cx: &mut Context<'_>, remote_lite: bool) {
        let role = match (self.core.config.mode, remote_lite) {
            (Mode::Full, true) => Role::Controlling,
            (Mode::Lite, false) => Role::Controlled,
            (Mode::Full, false) | (Mode::Lite, true) => return,
        };
        if role != self.core.role {
            self.session.switch_role(role, &mut self.core, cx);
        }
    }

    /// Adds the candidates of a description, and does what had waited for it. A peer that does not
    /// say that it trickles has given all its candidates; if it sends more they are taken all the
    /// same. [rfc8838-3-2] [rfc8838-5-1]
    fn take_candidates(&mut self, cx: &mut Context<'_>, description: &Description) {
        let config = std::sync::Arc::clone(&self.core.config);
        let first = self.session.pairs.len() == 0;
        let mut added = Vec::new();
        let mut relabelled = Vec::new();
        for (index, section) in description.streams.iter().enumerate() {
            let Ok(stream) = u16::try_from(index) else { break };
            let Session { streams, foundations, .. } = &mut self.session;
            let remote = streams.get_mut(index).and_then(|known| known.remote.as_mut());
            let Some(remote) = remote else { continue };
            for candidate in &section.candidates {
                let other = candidate.ufrag().is_some_and(|ufrag| *ufrag != *remote.ufrag);
                if other || remote.ended {
                    continue;
                }
                // One that cannot be used is no reason to refuse the others.
                match remote.add(stream, candidate, None, &config, foundations) {
                    Ok(super::Added::New(id)) => added.push(id),
                    Ok(super::Added::Relabelled(id)) => relabelled.push(id),
                    Ok(super::Added::Duplicate) | Err(_) => {}
                }
            }
            remote.ended |= section.end_of_candidates;
            remote.complete |= remote.ended || !description.options.trickle;
        }
        let has_relabelled = !relabelled.is_empty();
        for remote in &relabelled {
            self.session.reclassify(*remote, &self.core);
        }
        if first {
            self.session.form_checklists(&self.core);
        } else {
            for remote in added.into_iter().chain(relabelled) {
                self.session.pair_remote(remote, &mut self.core, cx.now);
            }
        }
        if has_relabelled {
            self.session.rank_anew(&mut self.core, cx);
        }
        if self.core.is_lite() && self.session.remote_lite {
            self.session.choose_lite(description, &mut self.core, cx);
        }
        self.session.replay_early(&mut self.core, cx);
        self.settle(cx);
    }

    fn allow_restart(&mut self, now: Instant) -> Result<(), DescriptionRejected> {
        while self.restarts.front().is_some_and(|at| now - *at > RESTART_WINDOW) {
            self.restarts.pop_front();
        }
        if self.restarts.len() >= usize::from(self.core.config.limits.remote_restarts) {
            return Err(DescriptionRejected::TooManyRestarts);
        }
        self.restarts.push_back(now);
        Ok(())
    }

    /// Restarts ICE: new credentials, the same role, and the old pairs until there are new ones.
    /// Nothing else changes the credentials, or lets a lite agent add candidates.
    /// [rfc8445-9-1] [rfc8445-9-2] [rfc8445-9-3] [rfc8445-9-4] [rfc8445-6.1.1-4]
    /// [rfc8839-4.4.1.1.1-1] [rfc8839-4.4.1.3-2b] [rfc8839-4.4.1.3-3]
    pub(crate) fn restart(&mut self, cx: &mut Context<'_>) {
        if self.state() == crate::event::AgentState::Closed {
            return;
        }
        // A peer that never had the credentials of before sees no restart, and keeps its own.
        let before = self.session.streams.iter().find_map(|stream| stream.remote.as_ref());
        let before = before.filter(|_| self.session.known_to_peer.is_some());
        let before = before.map(|remote| remote.ufrag.clone()).or(self.outdated.take());
        self.new_generation(cx);
        self.outdated = before;
        self.expect_answer(cx.now);
        self.settle(cx);
    }

    /// [rfc8839-4.4.3.1.1-1] [rfc8839-4.4.3.1.1-2] [rfc8839-4.4.3.2-1] [rfc8839-4.4.3.2-2]
    /// [rfc8839-4.4.3.2-3a] [rfc8839-4.4.3.2-3b]
    fn new_generation(&mut self, cx: &mut Context<'_>) {
        let credentials = self.core.new_credentials(cx.seed);
        self.core.ufrags.push(UfragChange::Added(credentials.ufrag.as_str().into()));
        self.core.generation = Generation(self.core.generation.0.saturating_add(1));
        let mut session = Session::new(&self.core, &credentials, cx.now);
        session.keep_streams_of(&self.session, &mut self.core);
        let mut old = core::mem::replace(&mut self.session, session);
        old.select_in_use(self.previous.as_deref(), &self.core, cx.now);
        old.retire(&mut self.core);
        self.session.next_check = old.next_check;
        for (new, old) in self.session.components.iter_mut().zip(&old.components) {
            new.sendable = old.sendable;
        }
        let now = cx.now;
        let stays = old.carries_data(&self.core, now)
            && self.previous.as_deref().is_none_or(|before| {
                // A peer that has not checked in the last one may still use the one before.
                (old.has_credentials() || !before.serves_as(&old, &self.core, now))
                    && old.has_ways_of(before, &self.core, now)
            });
        let gone = match stays {
            true => self.previous.replace(Box::new(old)),
            false => Some(Box::new(old)),
        };
        if let Some(mut gone) = gone {
            gone.close(&mut self.core);
            self.core.ufrags.push(UfragChange::Removed(gone.local.ufrag));
        }
        // Who restarts may know that it is dead.
        if let Some(previous) = &mut self.previous {
            previous.probe_selected(&self.core, now);
        }
        self.previous_until = None;
        let refill = self.core.config.limits.unverified_refill_per_ip;
        self.core.strangers.refill(cx.now, refill);
        self.core.forgot = true;
        self.core.local.begin_generation();
        self.compact_local();
        self.core.gathering = true;
        self.core.regather = true;
        self.core.advised = false;
        self.news = false;
        self.alarm = None;
        self.outdated = None;
        self.add_waiting(cx);
    }

    /// The new generation has selected its pairs: the old one lives on a little, for packets that
    /// are under way and for a peer that has not concluded yet; for longer if that did not check us
    /// so far, as our answer is late.
    pub(super) fn retire_previous(&mut self, cx: &Context<'_>) {
        let session = &self.session;
        if self.previous.is_none() || !session.is_complete() {
            // Nor does it go when a pair is lost again.
            self.previous_until = None;
            return;
        }
        let linger = match self.session.has_credentials() {
            true => self.core.config.linger,
            // As long as its consent can last.
            false => self.core.config.linger.max(CONSENT_LIFETIME),
        };
        let until = cx.now + linger;
        self.previous_until = Some(self.previous_until.map_or(until, |known| known.min(until)));
    }

    pub(super) fn drop_previous(&mut self) {
        if let Some(mut previous) = self.previous.take() {
            previous.close(&mut self.core);
            self.core.ufrags.push(UfragChange::Removed(previous.local.ufrag));
            self.core.forgot = true;
            self.compact_local();
        }
        self.previous_until = None;
    }

    /// Forgets local candidates that no generation has any more.
    pub(super) fn compact_local(&mut self) {
        let sessions = || self.previous.as_deref().into_iter().chain([&self.session]);
        let places = self.core.local.compact(|id| {
            sessions().flat_map(|session| session.pairs.iter()).any(|(_, pair)| {
                pair.local == id || pair.valid.as_ref().is_some_and(|valid| valid.local == id)
            })
        });
        let sessions = self.previous.as_deref_mut().into_iter().chain([&mut self.session]);
        let pairs = sessions.flat_map(|session| session.pairs.iter_mut());
        for (_, pair) in pairs.filter(|_| !planted(Bug::StalePlace)) {
            pair.local = moved(&places, pair.local).unwrap_or(pair.local);
            if let Some(valid) = &mut pair.valid {
                valid.local = moved(&places, valid.local).unwrap_or(valid.local);
            }
        }
    }
}

impl Session {
    /// Whether every component that has a way in `other` has one here, of which nothing says that
    /// it is lost.
    fn serves_as(&self, other: &Self, core: &super::Core, now: Instant) -> bool {
        self.carries_data(core, now)
            && other.components.iter().all(|component| {
                let id = component.id;
                !other.has_way(id, core, now) || self.serves(id, core, now)
            })
    }

    /// Whether every component that the peer has has a way here, if it has one in `other` of which
    /// nothing says that it is lost.
    fn has_ways_of(&self, other: &Self, core: &super::Core, now: Instant) -> bool {
        let mut wanted = self.components.iter().filter(|component| self.is_wanted(component.id));
        wanted.all(|component| {
            let id = component.id;
            !other.serves(id, core, now) || self.has_way(id, core, now)
        })
    }

    /// Whether a component has a way of which nothing says that it is lost.
    pub(super) fn serves(&self, component: ComponentId, core: &super::Core, now: Instant) -> bool {
        self.has_way(component, core, now) && !self.is_doubtful(component)
    }

    /// What data went over before anything was selected it goes over until the next generation has
    /// a way, unless the one `before` serves wherever this one could. [rfc8445-9-p1]
    fn select_in_use(&mut self, before: Option<&Self>, core: &super::Core, now: Instant) {
        let way = |component: &Component| {
            let free = component.selected.is_none() && self.may_choose(component);
            let valid = free.then(|| self.best_valid(component.id, core, now)).flatten();
            component.selected.or(valid.map(|(pair, _)| pair))
        };
        let ways: Vec<_> = self.components.iter().map(way).collect();
        let served = before.is_some_and(|before| {
            let mut ways = self.components.iter().zip(&ways);
            ways.all(|(component, way)| way.is_none() || before.serves(component.id, core, now))
        });
        if served {
            return;
        }
        for (component, way) in self.components.iter_mut().zip(ways) {
            component.selected = way;
        }
    }
}
