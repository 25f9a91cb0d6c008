//! `floe gather`: the candidates of this machine and what each cost.

use std::time::Duration;

use clap::Args;
use floe::ConnectionEvent;
use floe::candidate::CandidateKind;
use floe::config::Role;
use floe::signaling::memory;
use serde_json::{Value, json};

use crate::Failure;
use crate::advice::Trouble;
use crate::options::Network;
use crate::output::{Output, candidate_json, candidate_text, kind, millis, within};

/// Gathering ends by itself, at the latest when the last transport of a TURN server is given up;
/// this is for when it does not.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    network: Network,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// What came of gathering.
#[derive(Default)]
pub(crate) struct Found {
    candidates: u32,
    relays: u32,
    troubles: Vec<Trouble>,
}

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let builder = options.network.builder()?;
    let mut output = Output::new(options.json);
    let node = Network::bind(builder).await?;
    let sockets = node.local_addresses().len();
    let detail = format!("{sockets} bound");
    output.step("", "sockets", &detail, json!({ "type": "sockets", "count": sockets }));
    let (near, _far) = memory::pair(64);
    let connection = node.open(node.agent_config(Role::Controlling), near);
    let mut events = connection.events();
    let mut found = Found::default();
    let gather = async {
        while let Some(event) = events.next().await {
            found.note(&event);
            if show(&mut output, &event) || output.is_broken() {
                break;
            }
        }
    };
    if within(LIMIT, "asking the servers", gather).await.is_none() {
        return Err(Failure::runtime(
            "gathering did not end; try without --stun and --turn, and report this",
        ));
    }
    let detail = format!("{} candidates", found.candidates);
    output.step("", "complete", &detail, json!({ "type": "complete", "count": found.candidates }));
    connection.close().await;
    node.close().await;
    if let Some(why) = found.missing(&options.network) {
        return Err(Failure::runtime(why));
    }
    if !options.network.has_stun() && !options.network.has_turn() && !output.is_json() {
        output.line("\nAdd --stun stun:host:port to see the address that the world sees.");
    }
    Ok(())
}

impl Found {
    /// Takes note of an event.
    #[expect(clippy::wildcard_enum_match_arm, reason = "non-exhaustive outside its crate")]
    pub(crate) fn note(&mut self, event: &ConnectionEvent) {
        match event {
            ConnectionEvent::LocalCandidate(candidate) => {
                self.candidates += 1;
                self.relays += u32::from(candidate.kind == CandidateKind::Relayed);
            }
            ConnectionEvent::GatheringFailed { server, transport, reason, .. } => {
                let (server, transport, reason) = (*server, *transport, *reason);
                self.troubles.push(Trouble { server, transport, reason });
            }
            _ => {}
        }
    }

    /// Says in a sentence what was asked for and not found.
    pub(crate) fn missing(&self, network: &Network) -> Option<String> {
        if network.has_turn() && self.relays == 0 {
            let mut of_relays = self.troubles.iter().filter(|trouble| trouble.is_of_relay());
            let why = match of_relays.next().or(self.troubles.first()) {
                Some(trouble) => format!("{}: {}", trouble.place(), trouble.sentence()),
                None => "no TURN server could be asked; check the URL and the interfaces".into(),
            };
            return Some(format!("no relayed candidate: {why}"));
        }
        let why = "no candidate; check the interfaces and the options";
        (self.candidates == 0).then(|| why.into())
    }
}

/// Prints what concerns gathering; returns whether it is complete.
#[expect(clippy::wildcard_enum_match_arm, reason = "non-exhaustive outside its crate")]
fn show(output: &mut Output, event: &ConnectionEvent) -> bool {
    match event {
        ConnectionEvent::LocalCandidate(candidate) => {
            let mut object = candidate_json(candidate);
            if let Some(members) = object.as_object_mut() {
                members.insert("kind".into(), members.get("type").cloned().unwrap_or_default());
                members.insert("type".into(), json!("candidate"));
                members.insert("candidate".into(), json!(candidate.to_string()));
            }
            output.step("", "candidate", &candidate_text(candidate), object);
            false
        }
        ConnectionEvent::Gathered { .. } => {
            if let Some((detail, object)) = gathered(event) {
                output.step("", "server", &detail, object);
            }
            false
        }
        ConnectionEvent::GatheringFailed { .. } => {
            if let Some((detail, object)) = failed(event) {
                output.step("", "failed", &detail, object);
            }
            false
        }
        ConnectionEvent::GatheringComplete => true,
        _ => false,
    }
}

/// What a server gave, for people and for programs.
#[expect(clippy::wildcard_enum_match_arm, reason = "non-exhaustive outside its crate")]
pub(crate) fn gathered(event: &ConnectionEvent) -> Option<(String, Value)> {
    match event {
        ConnectionEvent::Gathered { server, local, transport, kind: found, address, took } => {
            let (name, ms) = (kind(*found), millis(*took));
            let address = address.to_string();
            let detail = format!(
                "{name:<5}  {address:<28}  of {server} over {transport} in {ms:.1} ms, asked from \
                 {local}"
            );
            let object = json!({
                "type": "server",
                "kind": name,
                "address": address,
                "server": server.to_string(),
                "transport": transport.to_string().to_lowercase(),
                "local": local.to_string(),
                "took_ms": ms,
            });
            Some((detail, object))
        }
        _ => None,
    }
}

/// What a server did not give and why, for people and for programs.
#[expect(clippy::wildcard_enum_match_arm, reason = "non-exhaustive outside its crate")]
pub(crate) fn failed(event: &ConnectionEvent) -> Option<(String, Value)> {
    match event {
        ConnectionEvent::GatheringFailed { server, local, transport, reason } => {
            let (server, transport, reason) = (*server, *transport, *reason);
            let trouble = Trouble { server, transport, reason };
            let sentence = trouble.sentence();
            let detail = format!("{} from {local}: {sentence}", trouble.place());
            let object = json!({
                "type": "failed",
                "server": server.to_string(),
                "transport": transport.to_string().to_lowercase(),
                "local": local.to_string(),
                "fault": trouble.fault().name(),
                "reason": sentence,
            });
            Some((detail, object))
        }
        _ => None,
    }
}
