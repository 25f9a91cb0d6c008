//! `floe peer`: one agent, driven by JSON lines on stdin and stdout.

use clap::{ArgGroup, Args};
use floe::config::{Mode, Role, Trickle};
use floe::driver::SignalRejected;
use floe::signaling::lines::LineReader;
use floe::signaling::memory::{self, Memory};
use floe::signaling::{Signal, SignalError, SignalingError, SignalingExt};
use floe::{AgentState, CandidateRejected, Connection, ConnectionEvent};
use serde_json::{Value, json};
use tracing::info;

use crate::Failure;
use crate::gather::Found;
use crate::options::Network;
use crate::output::{Output, selected_json, state, stats_json};

#[derive(Args)]
#[command(group = ArgGroup::new("role").required(true))]
pub(crate) struct Options {
    /// Offer at start, and decide which pair is used
    #[arg(long, group = "role")]
    controlling: bool,
    /// Wait for the offer
    #[arg(long, group = "role")]
    controlled: bool,
    /// Answer checks only: for a machine with a public address
    #[arg(long)]
    lite: bool,
    /// Put all candidates into the offer or answer
    #[arg(long)]
    no_trickle: bool,
    #[command(flatten)]
    network: Network,
}

/// What a line on stdin asks for.
enum Order {
    Signal(Signal),
    Send(String),
    Restart,
    Stats,
    Close,
}

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let builder = options.network.builder()?.agent(|agent| {
        if options.lite {
            agent.mode = Mode::Lite;
        }
        if options.no_trickle {
            agent.trickle = Trickle::Half;
        }
    });
    let mut output = Output::new(true);
    let node = Network::bind(builder).await?;
    let role = if options.controlling { Role::Controlling } else { Role::Controlled };
    let (inside, mut outside) = memory::pair(64);
    let connection = node.open(node.agent_config(role), inside);
    show_state(&mut output, AgentState::New);
    let mut found = Some(Found::default());
    serve(&connection, &mut outside, &mut output, |output, event| {
        let Some(noted) = &mut found else { return };
        noted.note(event);
        if matches!(event, ConnectionEvent::GatheringComplete) {
            // Without relays the connection may come about all the same: it goes on.
            let missing = noted.missing(&options.network).filter(|_| options.network.has_turn());
            if let Some(sentence) = missing {
                error(output, &sentence);
            }
            found = None;
        }
    })
    .await;
    let mut events = connection.events();
    connection.close().await;
    while let Some(event) = events.next().await {
        show(&mut output, &connection, event);
    }
    drop(connection);
    node.close().await;
    Ok(())
}

/// Serves stdin, the signalling, the events and the data until told to close.
async fn serve(
    connection: &Connection,
    outside: &mut Memory,
    output: &mut Output,
    mut note: impl FnMut(&mut Output, &ConnectionEvent),
) {
    let mut lines = LineReader::new(tokio::io::stdin());
    let mut events = connection.events();
    let mut buf = vec![0; 65_536];
    while !output.is_broken() {
        tokio::select! {
            line = lines.next_line() => {
                let Some(line) = line else { return };
                match line.map_err(reason).and_then(|line| parse(&line)) {
                    Ok(Order::Close) => return,
                    Ok(order) => obey(order, connection, outside, output).await,
                    Err(sentence) => error(output, &sentence),
                }
            }
            signal = outside.recv() => match signal {
                Some(Ok(signal)) => output.line(&signal.to_json()),
                Some(Err(_)) | None => return,
            },
            event = events.next() => match event {
                Some(event) => {
                    note(output, &event);
                    show(output, connection, event);
                }
                None => return,
            },
            length = connection.recv(&mut buf) => {
                let Ok(length) = length else { return };
                let data = buf.get(..length).unwrap_or_default();
                let text = String::from_utf8_lossy(data);
                output.object(&json!({ "type": "data", "text": text }));
            }
        }
    }
}

async fn obey(order: Order, connection: &Connection, outside: &mut Memory, output: &mut Output) {
    match order {
        Order::Signal(signal) => {
            if let Err(refused) = outside.send(signal).await {
                error(output, &refused.to_string());
            }
        }
        Order::Send(text) => {
            if let Err(refused) = connection.send(text.as_bytes()).await {
                error(output, &refused.to_string());
            }
        }
        Order::Restart => connection.restart().await,
        Order::Stats => {
            let stats = connection.stats();
            output.object(&stats_json(&stats, connection.state(), connection.dropped()));
        }
        Order::Close => {}
    }
}

/// Reads a line of stdin: a command of its own, or a signal.
fn parse(line: &str) -> Result<Order, String> {
    let value: Value = serde_json::from_str(line)
        .map_err(|error| SignalError::NotJson { column: error.column() }.to_string())?;
    let text = |member| match value.get(member) {
        None => Err(SignalError::Missing { member }.to_string()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(SignalError::WrongType { member, wanted: "a string" }.to_string()),
    };
    match value.get("type").and_then(Value::as_str) {
        Some("send") => text("text").map(Order::Send),
        Some("restart") => Ok(Order::Restart),
        Some("stats") => Ok(Order::Stats),
        Some("close") => Ok(Order::Close),
        Some(_) | None => match Signal::from_value(&value) {
            Ok(signal) => Ok(Order::Signal(signal)),
            Err(SignalError::UnknownType) => Err("the \"type\" is not known; send offer, answer, \
                                                  candidate, send, restart, stats or close"
                .into()),
            Err(error) => Err(error.to_string()),
        },
    }
}

fn reason(error: SignalingError) -> String {
    if let SignalingError::Signal(SignalError::TooLong { max }) = error {
        return format!(
            "the line is longer than {max} octets; send less text at a time, and trickle the \
             candidates of a description"
        );
    }
    error.to_string()
}

#[expect(clippy::wildcard_enum_match_arm, reason = "non-exhaustive outside its crate")]
fn show(output: &mut Output, connection: &Connection, event: ConnectionEvent) {
    match event {
        ConnectionEvent::State(now) => {
            show_state(output, now);
            if now == AgentState::Failed {
                error(output, &format!("no path to the peer: {}", connection.failure()));
            }
        }
        ConnectionEvent::Selected(pair) => output.object(&selected_json(&pair)),
        ConnectionEvent::SignalRejected(rejected) if is_error(rejected) => {
            error(output, &rejected.to_string());
        }
        other => info!(kind = event_kind(&other), "event"),
    }
}

/// What an event is, without the addresses in it.
#[expect(clippy::wildcard_enum_match_arm, reason = "non-exhaustive outside its crate")]
fn event_kind(event: &ConnectionEvent) -> &'static str {
    match event {
        ConnectionEvent::LocalCandidate(_) => "local candidate",
        ConnectionEvent::RemoteCandidate(_) => "remote candidate",
        ConnectionEvent::GatheringComplete => "gathering complete",
        ConnectionEvent::GatheringFailed { .. } => "gathering failed",
        ConnectionEvent::Gathered { .. } => "address of a server",
        ConnectionEvent::Sendable => "sendable",
        ConnectionEvent::Restarting { .. } => "restarting",
        ConnectionEvent::RestartRecommended(_) => "restart recommended",
        ConnectionEvent::RoleChanged(_) => "role changed",
        ConnectionEvent::SignalRejected(_) => "signal passed over",
        ConnectionEvent::SignalingEnded => "signalling ended",
        _ => "other",
    }
}

/// Whether the author of a signal should mend it. What is merely of no use here (TCP candidates,
/// names, an old generation) is passed over in silence, as browsers send a lot of it.
#[expect(clippy::wildcard_enum_match_arm, reason = "non-exhaustive outside its crate")]
pub(crate) fn is_error(rejected: SignalRejected) -> bool {
    match rejected {
        SignalRejected::CandidateLine(error) => !error.is_unsupported(),
        SignalRejected::Candidate(
            CandidateRejected::UnsupportedTransport
            | CandidateRejected::UnresolvedName
            | CandidateRejected::UnknownGeneration,
        ) => false,
        _ => true,
    }
}

fn show_state(output: &mut Output, now: AgentState) {
    let ms = output.ms();
    output.object(&json!({ "type": "state", "state": state(now), "ms": ms }));
}

fn error(output: &mut Output, sentence: &str) {
    output.object(&json!({ "type": "error", "error": sentence }));
}
