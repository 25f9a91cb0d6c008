//! What is to be signalled, and when: offers, answers, candidates. Decides, but sends nothing.

use std::collections::VecDeque;

use crate::candidate::Candidate;
use crate::config::Trickle;

/// Which description is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Offer,
    Answer,
}

/// What to signal next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Description(Kind),
    Candidate { stream: u16, candidate: Candidate },
    EndOfCandidates,
}

/// The negotiation of one connection.
#[derive(Debug)]
pub(super) struct Negotiation {
    trickle: Trickle,
    /// The description that is due.
    due: Option<Kind>,
    awaiting_answer: bool,
    /// Who made the first offer that was answered: whether it was us.
    offered_first: Option<bool>,
    /// Whether all candidates of this generation are known.
    gathered: bool,
    /// Whether a description of this generation went out; what is found later is trickled.
    described: bool,
    candidates: VecDeque<(u16, Candidate)>,
    end_due: bool,
    /// How many descriptions went out.
    version: u64,
}

/// Candidates that wait to be signalled; more than an agent gathers.
const MAX_CANDIDATES: usize = 256;

impl Negotiation {
    pub(super) fn new(trickle: Trickle) -> Self {
        Self {
            trickle,
            due: None,
            awaiting_answer: false,
            offered_first: None,
            gathered: false,
            described: false,
            candidates: VecDeque::new(),
            end_due: false,
            version: 0,
        }
    }

    /// Asks for an offer.
    pub(super) fn offer(&mut self) {
        self.due = Some(Kind::Offer);
    }

    /// The peer's offer was applied: it is owed an answer, and an offer of ours is void.
    pub(super) fn offered(&mut self) {
        self.due = Some(Kind::Answer);
        self.awaiting_answer = false;
        self.offered_first.get_or_insert(false);
    }

    /// The peer's answer was applied: the exchange is over.
    pub(super) fn answered(&mut self) {
        self.awaiting_answer = false;
        self.offered_first.get_or_insert(true);
    }

    /// Who yields when both sides offer at once: whoever answered the first offer, as in pages
    /// that negotiate perfectly; while there is none, the one whose ufrag is the lesser. Both sides
    /// know all of it, so both come to the same verdict.
    pub(super) fn yields_to(&self, ours: Option<&str>, theirs: Option<&str>) -> bool {
        self.offered_first.map_or(ours <= theirs, |ours| !ours)
    }

    /// Whether an offer of ours went out and was not answered yet.
    pub(super) fn is_awaiting(&self) -> bool {
        self.awaiting_answer
    }

    /// Whether the peer was told of this generation.
    pub(super) fn is_described(&self) -> bool {
        self.described
    }

    /// Whether an exchange is under way that a restart would break: an answer is awaited or
    /// owed. What is signalled now would be taken for the answer to another offer.
    pub(super) fn must_finish(&self) -> bool {
        self.awaiting_answer || self.due == Some(Kind::Answer)
    }

    /// Whether an offer of ours is on its way or about to be.
    pub(super) fn is_offering(&self) -> bool {
        self.awaiting_answer || self.due == Some(Kind::Offer)
    }

    /// A new generation began: nothing of the old one is signalled any more. `gathered` says
    /// whether all its candidates are known already.
    pub(super) fn restarted(&mut self, gathered: bool) {
        self.described = false;
        self.candidates.clear();
        self.gathered = false;
        self.end_due = false;
        if gathered {
            self.gathered();
        }
    }

    /// A candidate was found. One found before the description travels in it.
    pub(super) fn found(&mut self, stream: u16, candidate: Candidate) {
        if self.described && self.candidates.len() < MAX_CANDIDATES {
            self.candidates.push_back((stream, candidate));
        }
    }

    /// All candidates were found.
    pub(super) fn gathered(&mut self) {
        self.gathered = true;
        self.end_due = match self.trickle {
            Trickle::Full => true,
            Trickle::Half | Trickle::Off => self.described,
        };
    }

    /// Whether anything is left to be signalled now.
    pub(super) fn is_idle(&self) -> bool {
        let held = self.due.is_some() && !self.may_describe();
        held || (self.due.is_none() && self.candidates.is_empty() && !self.end_due)
    }

    /// Half trickle holds back the first description alone, until all candidates and their end are
    /// in it. [RFC 8838 §16] [rfc8838-13-7]
    fn may_describe(&self) -> bool {
        match self.trickle {
            Trickle::Full => true,
            Trickle::Half | Trickle::Off => self.gathered,
        }
    }

    /// Takes what is to be signalled next.
    pub(super) fn next(&mut self) -> Option<Next> {
        if let Some(kind) = self.due {
            if !self.may_describe() {
                return None;
            }
            self.due = None;
            self.described = true;
            self.candidates.clear();
            self.version = self.version.saturating_add(1);
            self.awaiting_answer = kind == Kind::Offer;
            return Some(Next::Description(kind));
        }
        if !self.described {
            return None;
        }
        if let Some((stream, candidate)) = self.candidates.pop_front() {
            return Some(Next::Candidate { stream, candidate });
        }
        core::mem::take(&mut self.end_due).then_some(Next::EndOfCandidates)
    }

    /// The number of the description that [`next`](Self::next) returned last, from 1.
    pub(super) fn version(&self) -> u64 {
        self.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidate::{CandidateKind, Foundation};

    fn candidate(port: u16) -> Candidate {
        let address = std::net::SocketAddr::from(([192, 0, 2, 1], port));
        Candidate::udp(CandidateKind::Host, Foundation::from_number(1), 1, 1, address)
    }

    #[test]
    fn with_full_trickle_what_is_found_later_is_trickled_and_the_end_told() {
        let mut negotiation = Negotiation::new(Trickle::Full);
        negotiation.found(0, candidate(1));
        assert_eq!(negotiation.next(), None);
        negotiation.offer();
        assert_eq!(negotiation.next(), Some(Next::Description(Kind::Offer)));
        assert!(negotiation.is_idle());
        negotiation.found(0, candidate(2));
        negotiation.gathered();
        let second = Next::Candidate { stream: 0, candidate: candidate(2) };
        assert_eq!(negotiation.next(), Some(second));
        assert_eq!(negotiation.next(), Some(Next::EndOfCandidates));
        assert_eq!(negotiation.next(), None);
    }

    #[test]
    fn without_trickle_one_description_says_it_all() {
        for trickle in [Trickle::Half, Trickle::Off] {
            let mut negotiation = Negotiation::new(trickle);
            negotiation.offered();
            assert!(negotiation.is_idle());
            assert_eq!(negotiation.next(), None);
            negotiation.found(0, candidate(1));
            negotiation.gathered();
            assert_eq!(negotiation.next(), Some(Next::Description(Kind::Answer)));
            assert_eq!(negotiation.next(), None);
        }
    }

    #[test]
    fn after_a_restart_nothing_old_is_signalled() {
        let mut negotiation = Negotiation::new(Trickle::Full);
        negotiation.offer();
        negotiation.next();
        assert!(negotiation.is_offering());
        negotiation.answered();
        assert!(!negotiation.is_offering());
        negotiation.found(0, candidate(1));
        negotiation.gathered();
        negotiation.restarted(false);
        assert_eq!(negotiation.next(), None);
        negotiation.offer();
        assert_eq!(negotiation.next(), Some(Next::Description(Kind::Offer)));
        assert_eq!(negotiation.version(), 2);
    }

    #[test]
    fn an_exchange_is_finished_before_the_next_restart() {
        let mut negotiation = Negotiation::new(Trickle::Full);
        negotiation.offer();
        assert!(!negotiation.must_finish());
        negotiation.next();
        assert!(negotiation.must_finish());
        negotiation.answered();
        assert!(!negotiation.must_finish());
        negotiation.offered();
        assert!(negotiation.must_finish());
        negotiation.next();
        assert!(!negotiation.must_finish());
    }

    #[test]
    fn of_two_offers_at_once_exactly_one_side_yields() {
        let mut ours = Negotiation::new(Trickle::Full);
        assert!(ours.yields_to(Some("aaaa"), Some("bbbb")));
        assert!(!ours.yields_to(Some("bbbb"), Some("aaaa")));
        assert!(ours.yields_to(None, Some("aaaa")));
        let mut theirs = Negotiation::new(Trickle::Full);
        ours.answered();
        theirs.offered();
        for (one, other) in [("aaaa", "bbbb"), ("bbbb", "aaaa")] {
            assert!(!ours.yields_to(Some(one), Some(other)));
            assert!(theirs.yields_to(Some(one), Some(other)));
        }
        // Later exchanges change nothing.
        ours.offered();
        theirs.answered();
        assert!(!ours.yields_to(Some("aaaa"), Some("bbbb")));
        assert!(theirs.yields_to(Some("bbbb"), Some("aaaa")));
    }
}
