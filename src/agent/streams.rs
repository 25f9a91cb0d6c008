//! Removing a data stream while the others go on: one whose checklist failed, or one that the
//! peer rejects. [RFC 8445 §8.1.2] [RFC 8839 §4.4.3]
//!
//! Streams keep their numbers, and a removed one never comes back.

use crate::sdp::{Description, StreamDescription};

use super::session::{ChecklistState, Session};
use super::{Agent, Context, Core};

impl Agent {
    /// Removes a data stream: its checks and its consent end, its candidates are no longer
    /// signalled, and the state is that of the others. False if there is no such stream, or no other.
    /// [rfc8445-8.1.2-3]
    pub(crate) fn remove_stream(&mut self, cx: &mut Context<'_>, stream: u16) -> bool {
        let removed = self.drop_stream(stream);
        if removed {
            self.settle(cx);
        }
        removed
    }

    /// Removes the streams that a description rejects or calls mismatched: of a valid pair or a
    /// transaction nothing is left. [rfc8839-4.2.5-3b] [rfc8839-4.3.3-2a] [rfc8839-4.3.3-3]
    /// [rfc8839-4.4.3.1-2] [rfc8839-4.4.3.1-3]
    pub(super) fn drop_rejected(&mut self, description: &Description) -> Vec<u16> {
        let numbered = (0..=u16::MAX).zip(&description.streams);
        numbered
            .filter(|(_, section)| is_refused(section))
            .filter_map(|(stream, _)| self.drop_stream(stream).then_some(stream))
            .collect()
    }

    fn drop_stream(&mut self, stream: u16) -> bool {
        if !self.session.has_stream(stream) || self.session.live_streams() < 2 {
            return false;
        }
        let sessions = core::iter::once(&mut self.session).chain(self.previous.as_deref_mut());
        for session in sessions {
            session.drop_stream(stream, &mut self.core);
        }
        let bases: Vec<_> =
            self.core.local.bases().map(|(id, base)| (id, base.component)).collect();
        for (id, _) in bases.into_iter().filter(|(_, component)| component.stream() == stream) {
            self.core.local.remove_base(id);
        }
        self.core.forgot = true;
        true
    }
}

/// Whether a section says that ICE, or the stream itself, ends.
pub(super) fn is_refused(section: &StreamDescription) -> bool {
    section.rejected || section.mismatch
}

impl Session {
    /// Whether there is such a stream, and it was not removed.
    pub(super) fn has_stream(&self, stream: u16) -> bool {
        let stream = self.streams.get(usize::from(stream));
        stream.is_some_and(|stream| stream.checklist.state != ChecklistState::Removed)
    }

    fn live_streams(&self) -> usize {
        let live =
            |stream: &&super::session::Stream| stream.checklist.state != ChecklistState::Removed;
        self.streams.iter().filter(live).count()
    }

    fn drop_stream(&mut self, stream: u16, core: &mut Core) {
        let of_stream = |component: crate::net::ComponentId| component.stream() == stream;
        let gone: Vec<_> = self
            .pairs
            .iter()
            .filter(|(_, pair)| of_stream(pair.component))
            .map(|(id, _)| id)
            .collect();
        for id in gone {
            self.remove_pair(id, core);
        }
        self.early.retain(|early| {
            core.local.base(early.base).is_some_and(|base| !of_stream(base.component))
        });
        self.components.retain(|component| !of_stream(component.id));
        if let Some(stream) = self.streams.get_mut(usize::from(stream)) {
            stream.remote = None;
            stream.checklist.state = ChecklistState::Removed;
        }
    }

    /// A new generation has the streams that the one before had.
    pub(super) fn keep_streams_of(&mut self, before: &Self, core: &mut Core) {
        for stream in (0..=u16::MAX).take(self.streams.len()) {
            if !before.has_stream(stream) {
                self.drop_stream(stream, core);
            }
        }
    }
}
