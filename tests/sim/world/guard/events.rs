//! What an agent reports, and in which order.

use std::collections::BTreeMap;

use floe::{AgentId, AgentState};

#[derive(Debug, Default)]
struct Past {
    state: Option<AgentState>,
    /// Its ufrags in the order in which they were used, and how many there were when it failed.
    ufrags: Vec<String>,
    failed_with: usize,
    /// Whether the peer has checked it since it failed.
    checked: bool,
}

/// I-7, I-20: the states of an agent are those of a graph, each change is reported once, and nothing
/// is reported after Closed. I-8: a generation that was replaced never comes back.
///
/// The graph is that of `RTCIceTransportState`: New is left for Checking, or for Disconnected where a
/// restart came before the peer was known, and never entered again, but a lite agent checks nothing
/// and may be done at once; Failed is left by a restart, or by a check of the peer's, which brings a
/// failed pair and its checklist back [rfc8445-7.3.1.4-p6]; from Checking, Connected, Completed and
/// Disconnected each other one may follow.
#[derive(Debug, Default)]
pub(crate) struct History(BTreeMap<AgentId, Past>);

impl History {
    /// The agent signals a description with this ufrag.
    pub(super) fn described(&mut self, agent: AgentId, ufrag: &str) {
        let ufrags = &mut self.0.entry(agent).or_default().ufrags;
        if ufrags.last().is_some_and(|last| last == ufrag) {
            return;
        }
        assert!(!ufrags.iter().any(|old| old == ufrag), "I-8: generation {ufrag} came back");
        ufrags.push(ufrag.to_owned());
    }

    /// The agent reports something.
    pub(super) fn reported(&self, agent: AgentId) {
        let state = self.0.get(&agent).and_then(|past| past.state);
        assert!(state != Some(AgentState::Closed), "I-20: an event after Closed");
    }

    /// The agent reports its state, of which its description is known.
    pub(super) fn changed(&mut self, agent: AgentId, new: AgentState, lite: bool) {
        use AgentState::{Checking, Closed, Disconnected, Failed, New};
        let past = self.0.entry(agent).or_default();
        let old = past.state.replace(new).unwrap_or(New);
        assert!(old != new, "I-20: {new:?} is reported twice");
        let restarted = past.ufrags.len() > past.failed_with;
        let fits = match (old, new) {
            (Closed, _) | (_, New) => false,
            (_, Closed) | (New, Checking | Disconnected | Failed) => true,
            (New, _) => lite,
            (Failed, _) => restarted || past.checked,
            (_, _) => true,
        };
        assert!(fits, "I-7: {new:?} follows {old:?}");
        if new == Failed {
            past.failed_with = past.ufrags.len();
            past.checked = false;
        }
    }

    /// The peer checks the agent.
    pub(super) fn is_checked(&mut self, agent: AgentId) {
        self.0.entry(agent).or_default().checked = true;
    }
}
