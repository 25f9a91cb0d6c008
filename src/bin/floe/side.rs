//! One of the two agents of the demo, and what is told of it.

use std::net::SocketAddr;
use std::time::Duration;

use floe::candidate::CandidateKind;
use floe::driver::Events;
use floe::event::SelectedPair;
use floe::stats::{PairStateKind, PairStats};
use floe::{AgentState, Connection, ConnectionEvent, Node};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::gather::{failed, gathered};
use crate::output::{
    Output, candidate_json, candidate_text, kind, millis, pair_json, pair_state, selected_json,
    state,
};

/// One of the two agents.
pub(crate) struct Side {
    pub(crate) name: &'static str,
    pub(crate) node: Node,
    pub(crate) connection: Connection,
    pub(crate) events: Events,
    pub(crate) state: AgentState,
    /// Every pair that was there at some time, as it was last seen.
    seen: Vec<PairStats>,
    relays: Vec<Relay>,
    began: Instant,
    /// When data could flow for the first time: directly, and over a relay.
    pub(crate) direct: Option<Duration>,
    pub(crate) relayed: Option<Duration>,
}

/// A relayed address of ours.
struct Relay {
    address: SocketAddr,
    server: SocketAddr,
    local: SocketAddr,
}

impl Side {
    pub(crate) fn new(name: &'static str, node: Node, connection: Connection) -> Self {
        Self {
            name,
            node,
            events: connection.events(),
            connection,
            state: AgentState::New,
            seen: Vec::new(),
            relays: Vec::new(),
            began: Instant::now(),
            direct: None,
            relayed: None,
        }
    }

    /// Waits for the next event and takes note of it; `None` once the agent is closed.
    pub(crate) async fn next(&mut self) -> Option<ConnectionEvent> {
        let event = self.events.next().await?;
        if let ConnectionEvent::State(now) = &event {
            self.state = *now;
        }
        if matches!(event, ConnectionEvent::Restarting { .. }) {
            self.seen.clear();
        }
        if let ConnectionEvent::Gathered { server, local, kind, address, .. } = &event
            && *kind == CandidateKind::Relayed
        {
            self.relays.push(Relay { address: *address, server: *server, local: *local });
        }
        Some(event)
    }

    /// Remembers the pairs: a selection removes those that are not needed any more.
    pub(crate) fn note_pairs(&mut self) {
        for pair in self.connection.stats().pairs {
            if pair.state == PairStateKind::Succeeded {
                let first = if is_relayed(&pair) { &mut self.relayed } else { &mut self.direct };
                first.get_or_insert_with(|| self.began.elapsed());
            }
            match self.seen.iter_mut().find(|seen| same(seen, &pair)) {
                Some(seen) => *seen = pair,
                None => self.seen.push(pair),
            }
        }
    }

    pub(crate) fn is_dead(&self) -> bool {
        match self.state {
            AgentState::Disconnected | AgentState::Failed => true,
            AgentState::New
            | AgentState::Checking
            | AgentState::Connected
            | AgentState::Completed
            | AgentState::Closed => false,
        }
    }

    pub(crate) fn is_selected(&self) -> bool {
        self.connection.selected().is_some() && self.state == AgentState::Completed
    }

    /// Whether a pair over a relay works, in use or in reserve.
    pub(crate) fn has_relay(&self) -> bool {
        let pairs = self.connection.stats().pairs;
        pairs.iter().any(|pair| pair.state == PairStateKind::Succeeded && is_relayed(pair))
    }

    /// The stops between this agent and what its peer sees of it at `address`.
    fn stops(&self, address: SocketAddr) -> Vec<String> {
        match self.relays.iter().find(|relay| relay.address == address) {
            Some(Relay { server, local, .. }) => {
                vec![
                    format!("{} {local}", self.name),
                    format!("server {server}"),
                    format!("relay {address}"),
                ]
            }
            None => vec![format!("{} {address}", self.name)],
        }
    }

    /// Prints each pair and its outcome: the one in use and others that work. Of those that were
    /// not needed once one was selected people are told how many there are.
    pub(crate) fn report(&self, output: &mut Output) {
        let now = self.connection.stats().pairs;
        let gone = self.seen.iter().filter(|seen| !now.iter().any(|pair| same(pair, seen)));
        let gone: Vec<PairStats> = gone
            .map(|pair| {
                let mut pair = pair.clone();
                pair.selected = false;
                pair
            })
            .collect();
        let gone = gone.iter().map(|pair| (pair, "not needed"));
        let pairs = now.iter().map(|pair| (pair, pair_state(pair.state))).chain(gone);
        let mut unneeded = 0;
        for (pair, outcome) in pairs {
            if output.is_json() || pair.selected || outcome == "succeeded" || outcome == "failed" {
                self.tell(output, pair, outcome);
            } else {
                unneeded += 1;
            }
        }
        if unneeded > 0 {
            let detail = format!("and {unneeded} more that were not needed");
            output.step(self.name, "pairs", &detail, Value::Null);
        }
    }

    fn tell(&self, output: &mut Output, pair: &PairStats, outcome: &str) {
        let rtt = pair.counters.current_round_trip_time;
        let detail = format!(
            "{:<11} {} {} -> {} {}{}{}",
            outcome,
            kind(pair.local.kind),
            pair.local.address,
            kind(pair.remote.kind),
            pair.remote.address,
            rtt.map(|rtt| format!("  rtt {:.2} ms", millis(rtt))).unwrap_or_default(),
            if pair.selected { "  <- in use" } else { "" },
        );
        let mut object = pair_json(pair);
        set(&mut object, "agent", json!(self.name));
        set(&mut object, "outcome", json!(outcome));
        output.step(self.name, "pair", &detail, object);
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "non-exhaustive outside its crate")]
    pub(crate) fn show(&self, output: &mut Output, event: ConnectionEvent) {
        let (what, detail, mut object) = match event {
            ConnectionEvent::LocalCandidate(candidate) => {
                let mut object = json!({ "type": "candidate" });
                set(&mut object, "candidate", candidate_json(&candidate));
                ("candidate", candidate_text(&candidate), object)
            }
            ConnectionEvent::Gathered { .. } => {
                let Some((detail, object)) = gathered(&event) else { return };
                ("server", detail, object)
            }
            ConnectionEvent::GatheringFailed { .. } => {
                let Some((detail, object)) = failed(&event) else { return };
                ("failed", detail, object)
            }
            ConnectionEvent::GatheringComplete => {
                ("gathered", String::new(), json!({ "type": "gathered" }))
            }
            ConnectionEvent::State(now) => {
                let object = json!({ "type": "state", "state": state(now) });
                ("state", state(now).to_owned(), object)
            }
            ConnectionEvent::Sendable => {
                ("sendable", "data can flow".into(), json!({ "type": "sendable" }))
            }
            ConnectionEvent::Selected(pair) => {
                let rtt = pair.rtt.map(|rtt| format!("  rtt {:.2} ms", millis(rtt)));
                let detail = format!(
                    "{} {} -> {} {}{}",
                    kind(pair.local.kind),
                    pair.local.address,
                    kind(pair.remote.kind),
                    pair.remote.address,
                    rtt.unwrap_or_default()
                );
                ("selected", detail, selected_json(&pair))
            }
            ConnectionEvent::Restarting { by_peer } => {
                let detail = if by_peer { "the peer asked" } else { "new sockets, new checks" };
                let object = json!({ "type": "restarting", "by_peer": by_peer });
                ("restarting", detail.into(), object)
            }
            ConnectionEvent::SignalRejected(rejected) => {
                let object = json!({ "type": "rejected", "reason": rejected.to_string() });
                ("rejected", rejected.to_string(), object)
            }
            _ => return,
        };
        set(&mut object, "agent", json!(self.name));
        output.step(self.name, what, &detail, object);
    }
}

/// The way of the data from one agent to the other, stop by stop.
pub(crate) fn path(from: &Side, to: &Side, pair: &SelectedPair) -> Vec<String> {
    let mut stops = from.stops(leaves_from(pair));
    let mut others = to.stops(pair.remote.address);
    others.reverse();
    stops.append(&mut others);
    stops
}

/// The local end of a pair as its packets arrive: a relayed address, or that of the socket.
pub(crate) fn leaves_from(pair: &SelectedPair) -> SocketAddr {
    if pair.local.kind == CandidateKind::Relayed { pair.local.address } else { pair.base }
}

fn is_relayed(pair: &PairStats) -> bool {
    [pair.local.kind, pair.remote.kind].contains(&CandidateKind::Relayed)
}

/// Whether two reports are of one pair: its candidates may change their type, not their priority.
fn same(a: &PairStats, b: &PairStats) -> bool {
    a.priority == b.priority && a.remote.address == b.remote.address
}
pub(crate) fn set(object: &mut Value, member: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(member.into(), value);
    }
}
