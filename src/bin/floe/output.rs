//! What the tool prints: lines for people, or JSON objects for programs.

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use floe::AgentState;
use floe::candidate::{Candidate, CandidateKind};
use floe::event::{PairEnd, SelectedPair};
use floe::stats::{AgentStats, CandidateStats, PairStateKind, PairStats};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

/// Writes to stdout and remembers when the command began.
#[derive(Clone)]
pub(crate) struct Output {
    json: bool,
    began: Instant,
    broken: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, began: Instant::now(), broken: false }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether nobody reads stdout any more.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Milliseconds since the command began.
    pub(crate) fn ms(&self) -> f64 {
        millis(self.began.elapsed())
    }

    /// Prints a JSON object on one line.
    pub(crate) fn object(&mut self, object: &Value) {
        self.line(&object.to_string());
    }

    /// Prints one line.
    pub(crate) fn line(&mut self, line: &str) {
        let mut stdout = std::io::stdout().lock();
        if writeln!(stdout, "{line}").and_then(|()| stdout.flush()).is_err() {
            self.broken = true;
        }
    }

    /// Prints a step: a line with the time for people, or `object` with `"ms"` for programs.
    pub(crate) fn step(&mut self, who: &str, what: &str, detail: &str, object: Value) {
        let ms = self.ms();
        if self.json {
            let mut object = object;
            if let Some(members) = object.as_object_mut() {
                members.insert("ms".into(), json!(ms));
            }
            self.object(&object);
        } else {
            let detail = printable(detail);
            self.line(format!("{ms:>9.1} ms  {who:<6} {what:<11} {detail}").trim_end());
        }
    }
}

/// A text of others without what a terminal would obey, and as one line.
pub(crate) fn printable(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' => ' ',
        // What turns the order of letters around.
        '\u{061c}'
        | '\u{200e}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() && c != '\t' => '\u{fffd}',
        c => c,
    };
    text.chars().map(shown).collect()
}

/// A duration in milliseconds, to the microsecond.
pub(crate) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// The name of a type in candidate lines.
pub(crate) fn kind(kind: CandidateKind) -> &'static str {
    match kind {
        CandidateKind::Host => "host",
        CandidateKind::PeerReflexive => "prflx",
        CandidateKind::ServerReflexive => "srflx",
        CandidateKind::Relayed => "relay",
    }
}

/// The name of a state in the contract of `floe peer`.
pub(crate) fn state(state: AgentState) -> &'static str {
    match state {
        AgentState::New => "new",
        AgentState::Checking => "checking",
        AgentState::Connected => "connected",
        AgentState::Completed => "completed",
        AgentState::Disconnected => "disconnected",
        AgentState::Failed => "failed",
        AgentState::Closed => "closed",
    }
}

/// The outcome of a pair in words.
pub(crate) fn pair_state(state: PairStateKind) -> &'static str {
    match state {
        PairStateKind::Frozen => "frozen",
        PairStateKind::Waiting => "waiting",
        PairStateKind::InProgress => "in-progress",
        PairStateKind::Succeeded => "succeeded",
        PairStateKind::Failed => "failed",
    }
}

/// A candidate for people.
pub(crate) fn candidate_text(candidate: &Candidate) -> String {
    let address = match &candidate.address {
        floe::candidate::CandidateAddress::Ip(address) => address.to_string(),
        floe::candidate::CandidateAddress::Name { host, port } => format!("{host}:{port}"),
    };
    let mut text =
        format!("{:<5}  {address:<28}  priority {}", kind(candidate.kind), candidate.priority);
    // Where the base is a secret, a wildcard stands for it.
    if let Some(related) = candidate.related.filter(|related| !related.ip().is_unspecified()) {
        text.push_str(&format!("  base {related}"));
    }
    text
}

/// A candidate for programs.
pub(crate) fn candidate_json(candidate: &Candidate) -> Value {
    let (address, port) = match &candidate.address {
        floe::candidate::CandidateAddress::Ip(address) => {
            (address.ip().to_string(), address.port())
        }
        floe::candidate::CandidateAddress::Name { host, port } => (host.clone(), *port),
    };
    json!({
        "type": kind(candidate.kind),
        "protocol": "udp",
        "address": address,
        "port": port,
        "priority": candidate.priority,
        "foundation": candidate.foundation.as_str(),
        "related": candidate.related.map(|related| related.to_string()),
    })
}

fn end_json(candidate: CandidateKind, address: SocketAddr, priority: u32) -> Value {
    named_end_json(candidate, &address.ip().to_string(), address.port(), priority)
}

fn named_end_json(candidate: CandidateKind, address: &str, port: u16, priority: u32) -> Value {
    json!({
        "type": kind(candidate),
        "protocol": "udp",
        "address": address,
        "port": port,
        "priority": priority,
    })
}

/// A candidate by its name, if that is what it is signalled by.
fn candidate_end_json(end: &CandidateStats) -> Value {
    match &end.name {
        Some(name) => named_end_json(end.kind, name, end.address.port(), end.priority),
        None => end_json(end.kind, end.address, end.priority),
    }
}

/// The `selected` object of the contract of `floe peer`.
pub(crate) fn selected_json(pair: &SelectedPair) -> Value {
    let end = |end: &PairEnd| end_json(end.kind, end.address, end.priority);
    json!({
        "type": "selected",
        "local": end(&pair.local),
        "remote": end(&pair.remote),
        "rtt_ms": pair.rtt.map(millis),
    })
}

/// A pair for programs.
pub(crate) fn pair_json(pair: &PairStats) -> Value {
    let end = candidate_end_json;
    let counters = &pair.counters;
    json!({
        "type": "pair",
        "state": pair_state(pair.state),
        "nominated": pair.nominated,
        "selected": pair.selected,
        "priority": pair.priority,
        "local": end(&pair.local),
        "remote": end(&pair.remote),
        "rtt_ms": counters.current_round_trip_time.map(millis),
        "packets_sent": counters.packets_sent,
        "packets_received": counters.packets_received,
        "bytes_sent": counters.bytes_sent,
        "bytes_received": counters.bytes_received,
        "requests_sent": counters.requests_sent,
        "requests_received": counters.requests_received,
        "responses_sent": counters.responses_sent,
        "responses_received": counters.responses_received,
        "consent_requests_sent": counters.consent_requests_sent,
    })
}

/// The `stats` object of the contract of `floe peer`.
pub(crate) fn stats_json(stats: &AgentStats, now: AgentState, dropped: u64) -> Value {
    let ends =
        |ends: &[CandidateStats]| -> Vec<Value> { ends.iter().map(candidate_end_json).collect() };
    json!({
        "type": "stats",
        "state": state(now),
        "local": ends(&stats.local),
        "remote": ends(&stats.remote),
        "pairs": stats.pairs.iter().map(pair_json).collect::<Vec<_>>(),
        "selected_changes": stats.selected_changes,
        "dropped": dropped,
    })
}

/// Bounds `work`, and shows on stderr that time passes.
pub(crate) async fn within<F: Future>(limit: Duration, what: &str, work: F) -> Option<F::Output> {
    let began = Instant::now();
    let mut work = std::pin::pin!(work);
    loop {
        match timeout(Duration::from_secs(1), &mut work).await {
            Ok(outcome) => return Some(outcome),
            Err(_) if began.elapsed() >= limit => return None,
            Err(_) => eprintln!("floe: {what} ... {} s", began.elapsed().as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_commands_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{202e}d\te"), "a\u{fffd}[2Jb c\u{fffd}d\te");
    }
}
