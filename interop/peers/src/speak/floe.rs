//! floe itself, over its driver and signalling in memory.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use floe::candidate::{CandidateKind, Credentials as FloeCredentials};
use floe::config::{CandidatePolicy, Mode, Role as FloeRole};
use floe::sdp::{Description, SessionTemplate, StreamDescription};
use floe::signaling::memory::{Memory, pair};
use floe::signaling::{CandidateInit, Signal, SignalingExt};
use floe::{AgentState, Connection, ConnectionEvent, Node};

use super::arguments::{Arguments, Family, Role};
use super::lines::{
    Credentials, Told, say_candidate, say_connected, say_credentials, say_disconnected,
    say_end_of_candidates, say_error, say_failed, say_heard, say_version,
};
use super::on_tokio::{Orders, on_tokio};
use super::{sentence, version};

/// The one data stream.
const MID: &str = "0";

/// Runs a connection until stdin ends.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    say_version(&version::floe());
    on_tokio(|told| drive(arguments, told))
}

async fn bind(arguments: &Arguments) -> Result<Node, String> {
    let mut builder = Node::builder();
    builder = match arguments.family {
        Family::Any => builder,
        Family::V4 => builder.ipv4_only(),
        Family::V6 => builder.ipv6_only(),
    };
    if let Some(relay) = &arguments.relay {
        let url = format!("turn:{}:{}", relay.url_host(), relay.port);
        builder = builder.turn(&url, &relay.user, &relay.password).map_err(sentence)?;
        builder = builder.agent(|agent| agent.policy = CandidatePolicy::Relay);
    }
    if arguments.lite {
        builder = builder.agent(|agent| agent.mode = Mode::Lite);
    }
    builder.bind().await.map_err(sentence)
}

/// Draws the first credentials, which the other is told before it has described itself: floe would
/// draw them too, but an answering side shows them in its answer alone.
fn draw_credentials() -> FloeCredentials {
    let random = || format!("{:016x}", RandomState::new().hash_one(MID));
    FloeCredentials { ufrag: random(), password: random() + &random() }
}

/// A type as candidate lines have it.
fn kind(kind: CandidateKind) -> &'static str {
    match kind {
        CandidateKind::Host => "host",
        CandidateKind::PeerReflexive => "prflx",
        CandidateKind::ServerReflexive => "srflx",
        CandidateKind::Relayed => "relay",
    }
}

/// Both ends of the signalling: the connection has one, the other side's words go into ours.
struct Peer {
    connection: Connection,
    signaling: Memory,
    /// Whether an offer of ours waits for its answer: the other's credentials are in that.
    offering: bool,
    /// The ufrag that was said last.
    said: String,
    /// Whether the credentials of this generation were said. Its candidates wait for that.
    described: bool,
    waiting: Vec<String>,
    /// The ufrag of the other side.
    remote: Option<String>,
    /// The version of the last description from the other side.
    version: u64,
}

async fn drive(arguments: &Arguments, mut told: Orders) -> Result<(), String> {
    let node = bind(arguments).await?;
    let first = draw_credentials();
    say_credentials(&first.ufrag, &first.password);
    let role = match arguments.role {
        Role::Controlling => FloeRole::Controlling,
        Role::Controlled => FloeRole::Controlled,
    };
    let mut config = node.agent_config(role);
    config.credentials = Some(first.clone());
    let (far, signaling) = pair(64);
    let connection = node.open(config, far);
    tokio::spawn(hear(connection.clone()));
    let mut events = connection.events();
    let mut peer = Peer {
        connection,
        signaling,
        offering: arguments.is_controlling(),
        said: first.ufrag,
        described: true,
        waiting: Vec::new(),
        remote: None,
        version: 0,
    };
    loop {
        tokio::select! {
            // What happened comes first: the candidates of a generation wait for its description.
            biased;
            Some(event) = events.next() => peer.happened(event),
            Some(Ok(signal)) = peer.signaling.recv() => peer.signalled(&signal)?,
            order = told.recv() => match order.flatten() {
                None => return Ok(()),
                Some(order) => {
                    if let Err(sentence) = peer.obey(order).await {
                        say_error(sentence);
                    }
                }
            },
        }
    }
}

/// Says each datagram that comes.
async fn hear(connection: Connection) {
    let mut buffer = vec![0; 65_536];
    while let Ok(length) = connection.recv(&mut buffer).await {
        say_heard(&buffer[..length]);
    }
}

impl Peer {
    fn say_candidate(&mut self, line: String) {
        if self.described {
            say_candidate(&line);
        } else {
            self.waiting.push(line);
        }
    }

    fn happened(&mut self, event: ConnectionEvent) {
        match event {
            ConnectionEvent::LocalCandidate(candidate) => self.say_candidate(candidate.to_string()),
            ConnectionEvent::GatheringComplete if self.described => say_end_of_candidates(),
            ConnectionEvent::GatheringComplete => self.waiting.push(String::new()),
            ConnectionEvent::GatheringFailed { server, reason, .. } => {
                say_error(format!("{server} gives no candidate: {reason}"));
            }
            ConnectionEvent::Restarting { .. } => {
                self.described = false;
                self.waiting.clear();
            }
            ConnectionEvent::Selected(pair) => {
                say_connected(kind(pair.local.kind), kind(pair.remote.kind));
            }
            ConnectionEvent::State(AgentState::Disconnected) => say_disconnected(),
            ConnectionEvent::State(AgentState::Failed) => say_failed(),
            ConnectionEvent::SignalRejected(reason) => say_error(reason),
            // Some are of no interest here, and others may come with later versions.
            _ => {}
        }
    }

    /// Takes from our descriptions what the other side needs to know. Candidates are known from
    /// the events already.
    fn signalled(&mut self, signal: &Signal) -> Result<(), String> {
        let (sdp, is_offer) = match signal {
            Signal::Offer { sdp } => (sdp, true),
            Signal::Answer { sdp } => (sdp, false),
            Signal::Candidate(_) => return Ok(()),
        };
        let description = Description::parse(sdp).map_err(sentence)?;
        let stream = description.streams.first().ok_or("a description without a stream")?;
        let credentials = stream.credentials.as_ref().ok_or("a description without ICE")?;
        if credentials.ufrag != self.said {
            say_credentials(&credentials.ufrag, &credentials.password);
            self.said.clone_from(&credentials.ufrag);
            self.offering = is_offer;
        }
        self.described = true;
        for line in std::mem::take(&mut self.waiting) {
            say_candidate(&line);
        }
        Ok(())
    }

    async fn obey(&mut self, told: Told) -> Result<(), String> {
        match told {
            Told::Credentials(remote) => self.set_remote(remote).await,
            Told::Candidate(line) => self.trickle(line).await,
            Told::EndOfCandidates => self.trickle(String::new()).await,
            Told::Say(text) => self.connection.send(text.as_bytes()).await.map_err(sentence),
            Told::Restart => {
                self.connection.restart().await;
                Ok(())
            }
        }
    }

    /// Describes the other side: in an answer to our offer, else in an offer.
    async fn set_remote(&mut self, remote: Credentials) -> Result<(), String> {
        let mut stream = StreamDescription::default();
        stream.mid = Some(MID.into());
        self.remote = Some(remote.ufrag.clone());
        let Credentials { ufrag, password, .. } = remote;
        stream.credentials = Some(FloeCredentials { ufrag, password });
        let mut description = Description::default();
        description.lite = remote.lite;
        // What the other side supports is not known, but that its candidates come one by one.
        description.options.trickle = true;
        description.streams.push(stream);
        self.version += 1;
        let sdp = description.to_sdp(&SessionTemplate::new(1, self.version));
        let signal = if self.offering && !remote.restart {
            self.offering = false;
            Signal::Answer { sdp }
        } else {
            Signal::Offer { sdp }
        };
        self.signaling.send(signal).await.map_err(sentence)
    }

    /// Tells of a candidate of the other side, or with an empty line of their end.
    async fn trickle(&mut self, candidate: String) -> Result<(), String> {
        let init = CandidateInit {
            candidate,
            sdp_mid: Some(MID.into()),
            sdp_m_line_index: Some(0),
            username_fragment: self.remote.clone(),
        };
        self.signaling.send(Signal::Candidate(init)).await.map_err(sentence)
    }
}
