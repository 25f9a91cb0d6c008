//! `floe gather`: the candidates of this machine and what each cost.

use std::time::Duration;

use clap::Args;
use floe::ConnectionEvent;
use floe::config::Role;
use floe::event::GatherFailure;
use floe::signaling::memory;
use serde_json::json;

use crate::Failure;
use crate::options::Network;
use crate::output::{Output, candidate_json, candidate_text, within};

/// Gathering ends by itself within five seconds; this is for when it does not.
const LIMIT: Duration = Duration::from_secs(8);

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    network: Network,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
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
    let mut found = 0;
    let gather = async {
        while let Some(event) = events.next().await {
            if show(&mut output, event, &mut found) || output.is_broken() {
                break;
            }
        }
    };
    if within(LIMIT, "asking the servers", gather).await.is_none() {
        return Err(Failure::runtime("gathering did not end; try without --stun, and report this"));
    }
    let detail = format!("{found} candidates");
    output.step("", "complete", &detail, json!({ "type": "complete", "count": found }));
    connection.close().await;
    node.close().await;
    if found == 0 {
        return Err(Failure::runtime("no candidate; check the interfaces and the options"));
    }
    if !options.network.has_stun() && !output.is_json() {
        output.line("\nAdd --stun stun:host:port to see the address that the world sees.");
    }
    Ok(())
}

/// Prints what concerns gathering; returns whether it is complete.
#[expect(clippy::wildcard_enum_match_arm, reason = "non-exhaustive outside its crate")]
fn show(output: &mut Output, event: ConnectionEvent, found: &mut u32) -> bool {
    match event {
        ConnectionEvent::LocalCandidate(candidate) => {
            *found += 1;
            let mut object = candidate_json(&candidate);
            if let Some(members) = object.as_object_mut() {
                members.insert("kind".into(), members.get("type").cloned().unwrap_or_default());
                members.insert("type".into(), json!("candidate"));
                members.insert("candidate".into(), json!(candidate.to_string()));
            }
            output.step("", "candidate", &candidate_text(&candidate), object);
            false
        }
        ConnectionEvent::GatheringFailed { server, local, reason, .. } => {
            let reason = match reason {
                GatherFailure::Timeout => {
                    "no answer in time; check the URL, and whether UDP may leave this network"
                        .into()
                }
                GatherFailure::Unreachable => {
                    "unreachable; check the URL and the route to it".into()
                }
                GatherFailure::Refused(code) => format!("refused with code {code}"),
                GatherFailure::NoAddress => "an answer without an address".into(),
                other => format!("{other:?}"),
            };
            let detail = format!("server {server} from {local}: {reason}");
            let object = json!({
                "type": "failed",
                "server": server.to_string(),
                "local": local.to_string(),
                "reason": reason,
            });
            output.step("", "failed", &detail, object);
            false
        }
        ConnectionEvent::GatheringComplete => true,
        _ => false,
    }
}
