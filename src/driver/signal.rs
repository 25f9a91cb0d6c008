//! The task that carries on the signalling of one connection.

use core::future::poll_fn;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::debug;

use super::ConnectionEvent;
use super::connection::Link;
use super::error::SignalRejected;
use super::negotiation::{Kind, Negotiation, Next};
use super::shared::{Core, Member, Shared};
use crate::CandidateRejected;
use crate::candidate::Candidate;
use crate::net::AgentId;
use crate::sdp::{Description, SessionTemplate};
use crate::signaling::{CandidateInit, Signal, Signaling, SignalingError};

/// Candidates of the peer that are kept until its description comes.
const MAX_EARLY: usize = 64;
/// How long the last signals may take to leave when the connection is closed.
const FLUSH: Duration = Duration::from_millis(500);

/// Carries signals between a connection and its peer until the connection is closed.
pub(super) struct Signaller<S> {
    shared: Arc<Shared>,
    link: Arc<Link>,
    signaling: S,
    outgoing: Option<Signal>,
    sending: bool,
    receiving: bool,
    /// Closed when the task ended.
    _running: watch::Sender<()>,
}

/// What signalling came to.
enum Step {
    Sent,
    SendFailed(SignalingError),
    Received(Signal),
    ReceiveFailed(SignalingError),
    Ended,
}

impl<S: Signaling> Signaller<S> {
    pub(super) fn new(
        shared: Arc<Shared>,
        link: Arc<Link>,
        signaling: S,
        running: watch::Sender<()>,
    ) -> Self {
        Self {
            shared,
            link,
            signaling,
            outgoing: None,
            sending: true,
            receiving: true,
            _running: running,
        }
    }

    pub(super) async fn run(mut self) {
        let link = Arc::clone(&self.link);
        while !link.is_closed() {
            if self.outgoing.is_none() && self.sending {
                self.outgoing = self.shared.lock().next_signal(&self.shared, link.agent);
            }
            tokio::select! {
                step = poll_fn(|cx| self.poll_step(cx)) => self.step(step),
                () = link.nudged() => {}
            }
        }
        let flush = poll_fn(|cx| self.signaling.poll_flush(cx));
        let _ = tokio::time::timeout(FLUSH, flush).await;
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        if self.sending {
            let waiting = self.outgoing.is_some();
            let polled = if waiting {
                self.signaling.poll_send(cx, &mut self.outgoing)
            } else {
                self.signaling.poll_flush(cx)
            };
            match polled {
                Poll::Ready(Ok(())) if waiting => return Poll::Ready(Step::Sent),
                Poll::Ready(Err(error)) => return Poll::Ready(Step::SendFailed(error)),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        if self.receiving {
            match self.signaling.poll_recv(cx) {
                Poll::Ready(Some(Ok(signal))) => return Poll::Ready(Step::Received(signal)),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Step::ReceiveFailed(error)),
                Poll::Ready(None) => return Poll::Ready(Step::Ended),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Sent => {}
            Step::Received(signal) => {
                let mut core = self.shared.lock();
                let outcome = core.receive_signal(&self.shared, self.link.agent, signal);
                drop(core);
                if let Err(reason) = outcome {
                    self.reject(reason);
                }
            }
            Step::SendFailed(SignalingError::Signal(error))
            | Step::ReceiveFailed(SignalingError::Signal(error)) => {
                self.outgoing = None;
                self.reject(SignalRejected::Message(error));
            }
            Step::SendFailed(SignalingError::Closed | SignalingError::Io(_)) => {
                self.sending = false;
                self.outgoing = None;
                self.end();
            }
            Step::ReceiveFailed(SignalingError::Closed | SignalingError::Io(_)) | Step::Ended => {
                self.receiving = false;
                self.end();
            }
        }
    }

    fn reject(&self, reason: SignalRejected) {
        debug!(%reason, "signal not used");
        self.link.event(ConnectionEvent::SignalRejected(reason));
    }

    fn end(&self) {
        let mut first = false;
        self.link.update(|status| {
            first = !status.signaling_ended;
            status.signaling_ended = true;
        });
        if first {
            self.link.event(ConnectionEvent::SignalingEnded);
        }
    }
}

impl Core {
    /// Whether an offer of `agent` is under way.
    pub(super) fn is_offering(&self, agent: AgentId) -> bool {
        self.members.get(&agent).is_some_and(|member| member.negotiation.is_offering())
    }

    /// Returns what `agent` has to signal next.
    fn next_signal(&mut self, shared: &Arc<Shared>, agent: AgentId) -> Option<Signal> {
        // What was found before the description is written travels in it.
        self.dispatch(shared);
        self.restart_if_due(shared, agent);
        let member = self.members.get_mut(&agent)?;
        if member.negotiation.is_idle() {
            return None;
        }
        let view = self.endpoint.agent(agent)?;
        let description = member.named(view.local_description());
        Some(match member.negotiation.next()? {
            Next::Description(kind) => {
                let version = member.negotiation.version();
                let tells_choice = kind == Kind::Offer && member.has_choice;
                let description =
                    if tells_choice { member.named(view.subsequent_offer()) } else { description };
                // The peer's offer came first.
                if kind == Kind::Answer && member.has_choice {
                    member.negotiation.offer();
                }
                let sdp = description.to_sdp(&SessionTemplate::new(member.session, version));
                tracing::trace!(?kind, version, octets = sdp.len(), "describing");
                match kind {
                    Kind::Offer => Signal::Offer { sdp },
                    Kind::Answer => Signal::Answer { sdp },
                }
            }
            Next::Candidate { stream, candidate } => {
                Signal::Candidate(init(&description, stream, candidate.to_string()))
            }
            Next::EndOfCandidates => Signal::Candidate(init(&description, 0, String::new())),
        })
    }

    /// Applies what the peer signalled.
    fn receive_signal(
        &mut self,
        shared: &Arc<Shared>,
        agent: AgentId,
        signal: Signal,
    ) -> Result<(), SignalRejected> {
        // Events of the present generation first.
        self.dispatch(shared);
        let outcome = match signal {
            Signal::Offer { sdp } => self.receive_offer(shared, agent, &sdp).and_then(|()| {
                self.dispatch(shared);
                let member = self.members.get_mut(&agent).ok_or(SignalRejected::TooEarly)?;
                member.negotiation.offered();
                member.link.nudge();
                Ok(())
            }),
            Signal::Answer { sdp } => self.receive_answer(shared, agent, &sdp),
            Signal::Candidate(init) => self.receive_candidate(shared, agent, init),
        };
        self.dispatch(shared);
        self.wake_driver();
        outcome
    }

    fn receive_offer(
        &mut self,
        shared: &Arc<Shared>,
        agent: AgentId,
        sdp: &str,
    ) -> Result<(), SignalRejected> {
        let description = Description::parse(sdp).map_err(SignalRejected::Sdp)?;
        let ours = self.endpoint.agent(agent).map(|agent| agent.local_description());
        let ours = ours.as_ref().and_then(ufrag);
        let negotiation = self.members.get(&agent).map(|member| &member.negotiation);
        let stands = |known: &&Negotiation| !known.yields_to(ours, ufrag(&description));
        if negotiation.filter(|known| known.is_awaiting()).filter(stands).is_some() {
            return Err(SignalRejected::Glare);
        }
        self.describe(shared, agent, Kind::Offer, &description)
    }

    fn receive_answer(
        &mut self,
        shared: &Arc<Shared>,
        agent: AgentId,
        sdp: &str,
    ) -> Result<(), SignalRejected> {
        let description = Description::parse(sdp).map_err(SignalRejected::Sdp)?;
        if !self.members.get(&agent).is_some_and(|member| member.negotiation.is_awaiting()) {
            return Err(SignalRejected::UnexpectedAnswer);
        }
        self.describe(shared, agent, Kind::Answer, &description)?;
        // An answer that was not used leaves the offer open for a better one.
        if let Some(member) = self.members.get_mut(&agent) {
            member.negotiation.answered();
            member.has_choice = false;
            member.link.nudge();
        }
        Ok(())
    }

    /// Applies the peer's description, and the candidates that came before it. Of these each
    /// stands for itself: one that is not usable is reported and holds up nothing.
    fn describe(
        &mut self,
        shared: &Arc<Shared>,
        agent: AgentId,
        kind: Kind,
        peer: &Description,
    ) -> Result<(), SignalRejected> {
        let now = self.clock.now();
        let Some(mut handle) = self.endpoint.agent_mut(now, agent) else { return Ok(()) };
        handle.set_remote_description(peer).map_err(SignalRejected::Description)?;
        let Some(member) = self.members.get_mut(&agent) else { return Ok(()) };
        if kind == Kind::Offer && member.mids.is_empty() {
            member.mids = peer.streams.iter().map(|stream| stream.mid.clone()).collect();
        }
        member.link.update(|status| status.described = true);
        for candidate in peer.streams.iter().flat_map(|stream| &stream.candidates) {
            member.link.event(ConnectionEvent::RemoteCandidate(candidate.clone()));
        }
        let early = core::mem::take(&mut member.early);
        for (stream, section) in (0..).zip(&peer.streams) {
            let ufrag = section.credentials.as_ref().map(|credentials| &*credentials.ufrag);
            for candidate in &section.candidates {
                self.resolve(shared, agent, stream, ufrag, candidate);
            }
        }
        for init in early {
            let Err(reason) = self.receive_candidate(shared, agent, init) else { continue };
            if let Some(member) = self.members.get(&agent) {
                debug!(%reason, "early candidate not used");
                member.link.event(ConnectionEvent::SignalRejected(reason));
            }
        }
        Ok(())
    }

    fn receive_candidate(
        &mut self,
        shared: &Arc<Shared>,
        agent: AgentId,
        init: CandidateInit,
    ) -> Result<(), SignalRejected> {
        let now = self.clock.now();
        let Some(member) = self.members.get_mut(&agent) else { return Ok(()) };
        if !member.link.status().described {
            if member.early.len() >= MAX_EARLY {
                return Err(SignalRejected::TooEarly);
            }
            member.early.push(init);
            return Ok(());
        }
        let Some(local) = self.endpoint.agent(agent).map(|agent| agent.local_description()) else {
            return Ok(());
        };
        let stream = stream_of(&member.named(local), &init);
        let Some(mut handle) = self.endpoint.agent_mut(now, agent) else { return Ok(()) };
        if init.is_end_of_candidates() {
            let ufrag = init.username_fragment.as_deref();
            return match handle.end_of_remote_candidates(None, ufrag) {
                // The end of a generation that is gone is of no interest.
                Ok(()) | Err(CandidateRejected::UnknownGeneration) => Ok(()),
                Err(error) => Err(SignalRejected::Candidate(error)),
            };
        }
        let candidate: Candidate =
            init.candidate.trim().parse().map_err(SignalRejected::CandidateLine)?;
        let ufrag = init.username_fragment.as_deref().or(candidate.ufrag());
        match handle.add_remote_candidate(stream, ufrag, &candidate) {
            Ok(()) => {}
            Err(CandidateRejected::UnresolvedName)
                if self.resolve(shared, agent, stream, ufrag, &candidate) => {}
            Err(reason) => return Err(SignalRejected::Candidate(reason)),
        }
        let Some(member) = self.members.get(&agent) else { return Ok(()) };
        member.link.event(ConnectionEvent::RemoteCandidate(candidate));
        Ok(())
    }
}

impl Member {
    /// Our description with the names of the streams that both sides use: those of the first
    /// offer, for an answer takes them over. [RFC 5888 §9.1]
    fn named(&self, mut description: Description) -> Description {
        for (stream, mid) in description.streams.iter_mut().zip(&self.mids) {
            if mid.is_some() {
                stream.mid.clone_from(mid);
            }
        }
        description
    }
}

fn ufrag(description: &Description) -> Option<&str> {
    let credentials = description.streams.first()?.credentials.as_ref()?;
    Some(&credentials.ufrag)
}

/// Wraps a candidate line of stream `stream` for the peer.
fn init(local: &Description, stream: u16, candidate: String) -> CandidateInit {
    let description = local.streams.get(usize::from(stream));
    let credentials = description.and_then(|description| description.credentials.as_ref());
    let mid = description.and_then(|description| description.mid.clone());
    CandidateInit {
        candidate,
        sdp_mid: Some(mid.unwrap_or_else(|| stream.to_string())),
        sdp_m_line_index: Some(stream),
        username_fragment: credentials.map(|credentials| credentials.ufrag.clone()),
    }
}

/// Which stream a candidate of the peer belongs to: by mid, else by index, else the first.
fn stream_of(local: &Description, init: &CandidateInit) -> u16 {
    let by_mid = init.sdp_mid.as_deref().and_then(|mid| {
        let named = local.streams.iter().position(|stream| stream.mid.as_deref() == Some(mid));
        named.and_then(|index| u16::try_from(index).ok())
    });
    by_mid.or(init.sdp_m_line_index).unwrap_or(0)
}
