//! One session of an endpoint: what was offered, answered and trickled in it.

use std::collections::VecDeque;

use http::header::HeaderValue;

use super::super::limit::Bucket;
use super::super::{CandidateInit, Signal};
use super::body;
use super::endpoint::ExchangeId;
use crate::candidate::{Candidate, Credentials};
use crate::sdp::{Description, Fragment};
use crate::time::Instant;

/// A request whose answer is awaited.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) id: ExchangeId,
    /// The page that it came from, if it gets to see the answer.
    pub(super) origin: Option<HeaderValue>,
}

/// What a client says of its ICE in one generation.
#[derive(Debug)]
pub(super) struct Remote {
    /// The whole description.
    pub(super) sdp: String,
    description: Description,
    credentials: Credentials,
    /// What was passed on, of each stream.
    known: Vec<Vec<Candidate>>,
    ended: bool,
}

impl Remote {
    /// `None` for what is no description, or does not use ICE.
    pub(super) fn new(sdp: String) -> Option<Self> {
        let credentials = body::credentials(&body::fragment_of(&sdp)?)?.clone();
        let description = Description::parse(&sdp).ok()?;
        let streams = description.streams.iter();
        let known = streams.map(|stream| stream.candidates.clone()).collect();
        Some(Self { sdp, description, credentials, known, ended: false })
    }

    pub(super) fn streams(&self) -> &Description {
        &self.description
    }

    /// Whether a fragment is of this generation. [rfc8840-4.4-9] [rfc9725-4.3.3-5a]
    pub(super) fn is_generation(&self, fragment: &Fragment) -> bool {
        body::credentials(fragment) == Some(&self.credentials)
    }

    /// Takes what is new in a fragment of this generation, in its order, at most `limit` candidates
    /// in all. What the reader does not know is not among them. [rfc8840-4.4-14] [rfc8840-4.4-15]
    /// [rfc9725-4.3.2-11]
    pub(super) fn trickle(&mut self, fragment: &Fragment, limit: usize) -> VecDeque<Signal> {
        let mut signals = VecDeque::new();
        let mut room = limit.saturating_sub(self.known.iter().map(Vec::len).sum());
        let streams = self.description.streams.len();
        let (mut ends, mut matched) = (true, false);
        let every = self.description.streams.iter().zip(&mut self.known).zip(0_u16..);
        for ((stream, known), index) in every {
            let Some(section) = body::section_of(fragment, stream.mid.as_deref(), streams) else {
                continue;
            };
            if fragment.generation(section) != Some(&self.credentials) {
                continue;
            }
            ends &= fragment.ends(section);
            matched = true;
            let fresh: Vec<Candidate> = section.unknown_to(known).take(room).cloned().collect();
            room -= fresh.len();
            for candidate in fresh {
                signals.push_back(Signal::Candidate(CandidateInit {
                    candidate: candidate.to_string(),
                    sdp_mid: stream.mid.clone(),
                    sdp_m_line_index: Some(index),
                    username_fragment: Some(self.credentials.ufrag.clone()),
                }));
                known.push(candidate);
            }
        }
        if ends && matched && !self.ended {
            self.ended = true;
            signals.push_back(Signal::Candidate(CandidateInit {
                username_fragment: Some(self.credentials.ufrag.clone()),
                sdp_mid: self.description.streams.first().and_then(|stream| stream.mid.clone()),
                sdp_m_line_index: Some(0),
                ..CandidateInit::default()
            }));
        }
        signals
    }
}

/// What the peer of a client has said of its answer so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    sdp: Option<String>,
    candidates: Vec<CandidateInit>,
}

impl Draft {
    pub(super) fn has_answer(&self) -> bool {
        self.sdp.is_some()
    }

    pub(super) fn answer(&mut self, sdp: String) {
        self.sdp.get_or_insert(sdp);
    }

    pub(super) fn candidate(&mut self, init: CandidateInit, limit: usize) {
        if self.candidates.len() < limit {
            self.candidates.push(init);
        }
    }

    /// Whether the answer is there, with all candidates: they cannot be told later.
    /// [rfc9725-4.3.2-3a] [rfc9725-4.3.2-3b]
    pub(super) fn is_complete(&self) -> bool {
        let Some(sdp) = &self.sdp else { return false };
        let Ok(answer) = Description::parse(sdp) else { return true };
        let mut used = answer.streams.iter().filter(|stream| stream.credentials.is_some());
        let ended = used.clone().all(|stream| stream.end_of_candidates);
        let ufrag = used.next().and_then(|stream| stream.credentials.as_ref()).map(|c| &c.ufrag);
        let told = self.candidates.iter().any(|init| {
            let of = init.username_fragment.as_ref();
            init.is_end_of_candidates() && of.is_none_or(|of| Some(of) == ufrag)
        });
        ended || told || !answer.options.trickle
    }

    /// Makes the whole answer. `None` without one.
    pub(super) fn whole(&self) -> Option<String> {
        body::with_candidates(self.sdp.as_ref()?, &self.candidates)
    }
}

/// What a session waits for.
#[derive(Debug)]
pub(super) enum Phase {
    /// The answer to the first offer.
    Offered { caller: Caller, draft: Draft, until: Instant },
    /// Nothing.
    Settled,
    /// The answer to a restart; whoever asked for it may be gone.
    Restarting { caller: Option<Caller>, remote: Box<Remote>, draft: Draft, until: Instant },
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    /// The last part of its URL.
    pub(super) secret: String,
    /// The endpoint that it is of.
    pub(super) name: String,
    pub(super) etag: String,
    pub(super) remote: Remote,
    /// The whole answer that counts.
    pub(super) answer: String,
    /// Whether ICE was restarted.
    pub(super) restarted: bool,
    pub(super) phase: Phase,
    pub(super) patches: Bucket,
}

impl Session {
    pub(super) fn until(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Offered { until, .. } | Phase::Restarting { until, .. } => Some(*until),
            Phase::Settled => None,
        }
    }

    pub(super) fn caller(&self) -> Option<&Caller> {
        match &self.phase {
            Phase::Offered { caller, .. } => Some(caller),
            Phase::Restarting { caller, .. } => caller.as_ref(),
            Phase::Settled => None,
        }
    }

    /// What is being collected, and until when.
    pub(super) fn draft(&mut self) -> Option<(&mut Draft, &mut Instant)> {
        match &mut self.phase {
            Phase::Offered { draft, until, .. } | Phase::Restarting { draft, until, .. } => {
                Some((draft, until))
            }
            Phase::Settled => None,
        }
    }
}
