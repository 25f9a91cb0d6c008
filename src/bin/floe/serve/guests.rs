//! WHIP clients as guests in the rooms: each has a place, and speaks with the member that waits.

use std::collections::BTreeMap;

use floe::Instant;
use floe::signaling::Signal;
use floe::signaling::rooms::{LinkId, Member, MemberEvent, Rooms, Side};
use floe::signaling::whip::{Endpoint, ExchangeId, Output, Request, Response, SessionId};
use tokio::sync::oneshot;
use tracing::debug;

/// A WHIP client in a room.
struct Guest {
    link: LinkId,
    member: Member,
    /// What it says to whoever answers, until somebody is there.
    before: Option<Vec<Signal>>,
}

/// All of them, and who waits for an answer.
pub(super) struct Guests {
    endpoint: Endpoint,
    guests: BTreeMap<SessionId, Guest>,
    links: BTreeMap<LinkId, SessionId>,
    waiting: BTreeMap<ExchangeId, oneshot::Sender<Response>>,
}

impl Guests {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        let (guests, links, waiting) = Default::default();
        Self { endpoint, guests, links, waiting }
    }

    /// Takes a request; its answer goes to `answer`.
    pub(super) fn request(
        &mut self,
        now: Instant,
        request: &Request,
        answer: oneshot::Sender<Response>,
    ) -> ExchangeId {
        let id = self.endpoint.request(now, request);
        self.waiting.insert(id, answer);
        id
    }

    pub(super) fn cancel(&mut self, id: ExchangeId) {
        if self.waiting.remove(&id).is_some() {
            self.endpoint.cancel(id);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.endpoint.poll_timeout()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|due| due <= now) {
            self.endpoint.handle_timeout(now);
        }
    }

    /// Takes what a room says on a link; `false` if it is no guest's.
    pub(super) fn receive(&mut self, now: Instant, link: LinkId, text: &str) -> bool {
        let Some(id) = self.links.get(&link).copied() else { return false };
        let Some(guest) = self.guests.get_mut(&id) else { return true };
        let Ok(Some(event)) = guest.member.receive(text) else { return true };
        match event {
            MemberEvent::Peer(Side::Offerer) if guest.before.is_some() => {
                for signal in guest.before.take().unwrap_or_default() {
                    say(&mut guest.member, &signal);
                }
            }
            MemberEvent::Signal(signal) => self.endpoint.signal(now, id, signal),
            // Whoever answered has left; another one knows nothing of it.
            MemberEvent::Peer(_)
            | MemberEvent::Left
            | MemberEvent::Refused { is_final: true, .. } => self.end(id),
            MemberEvent::Joined
            | MemberEvent::Away
            | MemberEvent::Back
            | MemberEvent::Refused { .. } => {}
            _ => {}
        }
        true
    }

    /// Forgets a link that is gone.
    pub(super) fn closed(&mut self, link: LinkId) {
        if let Some(id) = self.links.remove(&link)
            && self.guests.remove(&id).is_some()
        {
            self.endpoint.end(id);
        }
    }

    /// Ends what finds nobody to answer, once all was said; whether there was any.
    pub(super) fn end_lonely(&mut self) -> bool {
        let lonely = |(id, guest): (&SessionId, &Guest)| guest.before.is_some().then_some(*id);
        let lonely: Vec<_> = self.guests.iter().filter_map(lonely).collect();
        for id in &lonely {
            self.end(*id);
        }
        !lonely.is_empty()
    }

    fn end(&mut self, id: SessionId) {
        self.leave(id);
        self.endpoint.end(id);
    }

    /// Gives up the place of a guest, once what is to be said was said.
    fn leave(&mut self, id: SessionId) {
        if let Some(guest) = self.guests.get_mut(&id) {
            guest.before = None;
            guest.member.leave();
        }
    }

    /// Does what the endpoint wants done, and tells the rooms what the guests say.
    pub(super) fn flush(&mut self, now: Instant, rooms: &mut Rooms) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Respond(id, response) => {
                    if let Some(answer) = self.waiting.remove(&id) {
                        let _ = answer.send(response);
                    }
                }
                Output::Begin(id, name) => self.begin(now, id, &name, rooms),
                Output::Signal(id, signal) => {
                    if let Some(guest) = self.guests.get_mut(&id) {
                        match &mut guest.before {
                            Some(before) => before.push(signal),
                            None => say(&mut guest.member, &signal),
                        }
                    }
                }
                Output::End(id) => self.leave(id),
            }
        }
        for guest in self.guests.values_mut() {
            while let Some(text) = guest.member.poll_output() {
                rooms.receive(now, guest.link, &text);
            }
        }
    }

    fn begin(&mut self, now: Instant, id: SessionId, name: &str, rooms: &mut Rooms) {
        let mut secret = [0; 16];
        let link = getrandom::fill(&mut secret).ok().and_then(|()| rooms.connect(now, name).ok());
        let Some(link) = link else {
            self.endpoint.end(id);
            return;
        };
        let mut member = Member::new(secret);
        member.connected();
        self.guests.insert(id, Guest { link, member, before: Some(Vec::new()) });
        self.links.insert(link, id);
    }
}

/// Says something for a guest; what no member takes is left out.
fn say(member: &mut Member, signal: &Signal) {
    if let Err(error) = member.send(signal) {
        debug!(%error, "a signal of a WHIP client");
    }
}
