//! What is signalled after the first exchange, where nothing restarts: once a stream has its
//! nominated pairs, they alone. [RFC 8839 §4.4]

use std::net::SocketAddr;

use crate::candidate::{Candidate, CandidateKind};
use crate::config::{Mode, Role};
use crate::sdp::{Description, StreamDescription};

use super::Agent;
use super::lite::LiteChoice;
use super::local::LocalId;
use super::pair::Pair;
use super::session::{ChecklistState, Component, Session, Stream};

impl Agent {
    /// A later offer: of a stream with nominated pairs their local candidates, the default
    /// destination among them, and if we control the remote ones. [rfc8839-4.4.1.2.2-1]
    /// [rfc8839-4.4.1.2.2-2] [rfc8839-4.4.1.2.2-3] [rfc8839-4.3.4-2] [rfc8839-4.4.1.3-4]
    /// [rfc8839-4.4.1.3-5] [rfc8839-4.4.1.3-6] [rfc8839-5.2-1] [rfc8839-5.2-2a]
    pub(crate) fn subsequent_offer(&self) -> Description {
        let mut description = self.local_description();
        let controls = self.core.role == Role::Controlling;
        // Of two lite sides the other one has yet to hear of all that it may choose from.
        let is_asked = self.session.lite_choice == LiteChoice::Open && !controls;
        if is_asked || !self.may_narrow() {
            return description;
        }
        for (stream, section) in (0..).zip(&mut description.streams) {
            let Some(pairs) = self.session.nominated(stream) else { continue };
            if self.narrow(section, &pairs) && controls {
                section.remote_candidates = self.remote_candidates(&pairs).unwrap_or_default();
            }
        }
        description
    }

    /// A later answer: the same, without the remote candidates. The pairs that the offer names count
    /// if they work; otherwise it is answered as if it named none. [rfc8839-4.4.2-1]
    /// [rfc8839-4.4.2-2] [rfc8839-4.4.2-4] [rfc8839-4.4.2-5] [rfc8839-5.2-2b]
    pub(crate) fn subsequent_answer(&self, offer: &Description) -> Description {
        let mut description = self.local_description();
        if self.session.lite_choice == LiteChoice::Open || !self.may_narrow() {
            return description;
        }
        for (stream, section) in (0..).zip(&mut description.streams) {
            let offered = offer.streams.get(usize::from(stream));
            let named = offered.and_then(|offered| self.named_by(offered, stream));
            if let Some(pairs) = named.or_else(|| self.session.nominated(stream)) {
                self.narrow(section, &pairs);
            }
        }
        description
    }

    /// The working pairs that an offer names.
    fn named_by(&self, offer: &StreamDescription, stream: u16) -> Option<Vec<&Pair>> {
        let of_component = |number: u16| -> Option<&Pair> {
            let (ours, theirs) = named(offer, number)?;
            let is_named = |pair: &&Pair| {
                let local =
                    pair.valid.as_ref().and_then(|valid| self.core.local.candidate(valid.local));
                let remote = self.session.remote(pair.remote);
                pair.component.stream() == stream
                    && pair.component.number() == number
                    && local.is_some_and(|local| local.address == ours)
                    && remote.is_some_and(|remote| remote.address == theirs)
            };
            self.session.pairs.iter().map(|(_, pair)| pair).find(is_named)
        };
        let numbers: Vec<u16> =
            self.session.wanted(stream).map(|component| component.id.number()).collect();
        let pairs = numbers.into_iter().map(of_component).collect::<Option<Vec<_>>>();
        pairs.filter(|pairs| !pairs.is_empty())
    }

    /// A lite agent describes all while any stream is at it. [rfc8839-4.4.1.3-1]
    fn may_narrow(&self) -> bool {
        let is_done = |stream: &Stream| {
            matches!(stream.checklist.state, ChecklistState::Completed | ChecklistState::Removed)
        };
        self.core.config.mode == Mode::Full || self.session.streams.iter().all(is_done)
    }

    /// Leaves nothing but the local candidates of pairs in a section, that of the first component as
    /// the default destination. False, and all is as it was, if that would tell a hidden address.
    fn narrow(&self, section: &mut StreamDescription, pairs: &[&Pair]) -> bool {
        let local = |pair: &&Pair| self.openly(pair.valid.as_ref()?.local);
        let candidates: Option<Vec<Candidate>> = pairs.iter().map(local).collect();
        let Some(candidates) = candidates else { return false };
        let default = candidates.iter().find(|candidate| candidate.component == 1);
        section.default_destination = default.and_then(Candidate::socket_address);
        section.candidates = candidates;
        true
    }

    /// A candidate with its address, if that may be known. What a check showed may, unless it is an
    /// address of this machine that is not signalled; where names hide those, nobody can tell.
    fn openly(&self, id: LocalId) -> Option<Candidate> {
        let local = &self.core.local;
        let known = local.candidate(id)?;
        let was_learnt = known.kind == CandidateKind::PeerReflexive
            && !local.conceals()
            && !local.withholds(known.address.ip());
        let may_be_read = (known.signalled || was_learnt) && local.shown(known) == known.address;
        may_be_read.then(|| local.describe(id, &self.session.local.ufrag))?
    }

    /// What the peer hides by names is not told back.
    fn remote_candidates(&self, pairs: &[&Pair]) -> Option<Vec<(u16, SocketAddr)>> {
        let remote = |pair: &&Pair| {
            let address = self.session.remote(pair.remote)?.address;
            let shown = self.session.shown(pair.remote, &self.core.local)?;
            (shown == address).then_some((pair.component.number(), address))
        };
        pairs.iter().map(remote).collect()
    }
}

impl Session {
    /// The components of a stream that are used.
    pub(super) fn wanted(&self, stream: u16) -> impl Iterator<Item = &Component> {
        let of_stream = move |known: &&Component| known.id.stream() == stream;
        self.components.iter().filter(of_stream).filter(|known| self.is_wanted(known.id))
    }

    /// The nominated pairs of a stream that has concluded.
    fn nominated(&self, stream: u16) -> Option<Vec<&Pair>> {
        let checklist = &self.streams.get(usize::from(stream))?.checklist;
        let selected = |known: &Component| self.pairs.get(known.selected?);
        let pairs: Option<Vec<&Pair>> = self.wanted(stream).map(selected).collect();
        pairs.filter(|pairs| checklist.state == ChecklistState::Completed && !pairs.is_empty())
    }
}

/// The pair that an offer names for a component, our address first: that in `remote-candidates`,
/// and its own default destination. [rfc8839-4.4.2-4]
pub(super) fn named(offer: &StreamDescription, number: u16) -> Option<(SocketAddr, SocketAddr)> {
    let (_, ours) = offer.remote_candidates.iter().find(|(known, _)| *known == number)?;
    let listed = || offer.candidates.iter().find(|known| known.component == number);
    let default = offer.default_destination.filter(|_| number == 1);
    Some((*ours, default.or_else(|| listed()?.socket_address())?))
}
