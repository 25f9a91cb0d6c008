//! How soon after one transaction the next one starts. [RFC 8445 §14.2]

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use floe::{AgentId, Instant};

use crate::world::guard::Path;
use crate::world::wire::TransactionId;

/// The least time between two transactions of an endpoint. [rfc8445-14.2-4]
const FLOOR: Duration = Duration::from_millis(5);

/// At most one transaction starts in 5 ms over all agents and all gathering of an endpoint, and at
/// most one check of an agent in the Ta that it was given. [rfc8445-14.2-4] [rfc8445-14.2-1b]
/// One that nominates may be ahead of that by one check, which is then missing after it.
///
/// That is about transactions which find out what answers. What goes where an answer came from in
/// this generation keeps consent, and has a period of its own [RFC 7675]; so has what refreshes an
/// allocation, its permissions and its channels. A retransmission is no new transaction.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<Instant>,
    /// When the next check of an agent is due.
    of_agents: BTreeMap<AgentId, Instant>,
    allocations: BTreeSet<TransactionId>,
}

impl Pace {
    pub(super) fn starts(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            let after = now.since(last);
            assert!(after >= FLOOR, "pace: a transaction {after:?} after the one before");
        }
    }

    pub(super) fn checks(&mut self, now: Instant, agent: AgentId, ta: Duration, path: Path) {
        self.starts(now);
        let due = self.of_agents.get(&agent).copied().unwrap_or(now);
        let early = due.since(now);
        assert!(
            early.is_zero(),
            "pace: {path:?} is checked {early:?} before it is due, with Ta {ta:?}"
        );
        self.of_agents.insert(agent, now + ta);
    }

    pub(super) fn nominates(&mut self, now: Instant, agent: AgentId, ta: Duration, path: Path) {
        self.starts(now);
        let due = self.of_agents.get(&agent).copied().unwrap_or(now);
        assert!(due <= now + ta, "pace: {path:?} is nominated at {now:?}, and due at {due:?}");
        self.of_agents.insert(agent, due.max(now) + ta);
    }

    pub(super) fn allocates(&mut self, now: Instant, id: TransactionId) {
        if self.allocations.insert(id) {
            self.starts(now);
        }
    }
}
