//! `webrtc-ice`: the ICE of webrtc-rs on tokio, with sockets of its own.

use std::future::ready;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use webrtc_ice::agent::Agent;
use webrtc_ice::agent::agent_config::AgentConfig;
use webrtc_ice::candidate::candidate_base::unmarshal_candidate;
use webrtc_ice::candidate::{Candidate, CandidateType};
use webrtc_ice::network_type::NetworkType;
use webrtc_ice::state::ConnectionState;
use webrtc_ice::url::{ProtoType, SchemeType, Url};
use webrtc_util::Conn;

use super::arguments::{Arguments, Family, Relay};
use super::lines::{
    Credentials, Told, say_candidate, say_connected, say_credentials, say_disconnected,
    say_end_of_candidates, say_error, say_failed, say_heard, say_version,
};
use super::on_tokio::{Orders, on_tokio};
use super::sentence;
use super::version::pinned;

/// What it hands its users for their data.
type Path = Arc<dyn Conn + Send + Sync>;

/// Runs an agent until stdin ends.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let over_v6 = |relay: &Relay| relay.host.contains(':') || arguments.family == Family::V6;
    if arguments.relay.as_ref().is_some_and(over_v6) {
        return Err("webrtc-ice reaches TURN servers over IPv4 alone".into());
    }
    say_version(&pinned("webrtc-ice"));
    on_tokio(|told| drive(arguments, told))
}

fn config(arguments: &Arguments) -> AgentConfig {
    let relay = arguments.relay.as_ref().map(|relay| Url {
        scheme: SchemeType::Turn,
        host: relay.host.clone(),
        port: relay.port,
        username: relay.user.clone(),
        password: relay.password.clone(),
        proto: ProtoType::Udp,
    });
    let candidate_types = match relay {
        Some(_) => vec![CandidateType::Relay],
        // It wants to be told that a lite agent has no others.
        None if arguments.lite => vec![CandidateType::Host],
        None => Vec::new(),
    };
    AgentConfig {
        // It gathers nothing where none is named.
        network_types: match arguments.family {
            Family::Any => vec![NetworkType::Udp4, NetworkType::Udp6],
            Family::V4 => vec![NetworkType::Udp4],
            Family::V6 => vec![NetworkType::Udp6],
        },
        is_controlling: arguments.is_controlling(),
        lite: arguments.lite,
        urls: relay.into_iter().collect(),
        candidate_types,
        ..Default::default()
    }
}

/// An agent and what was made of it.
struct Peer {
    agent: Arc<Agent>,
    is_controlling: bool,
    /// Whether the checks have begun once: later credentials are those of a restart.
    started: bool,
    path: Option<Path>,
    /// Where the path comes from once there is a pair.
    paths: UnboundedReceiver<Result<Path, String>>,
    opened: UnboundedSender<Result<Path, String>>,
}

async fn drive(arguments: &Arguments, mut told: Orders) -> Result<(), String> {
    let agent = Arc::new(Agent::new(config(arguments)).await.map_err(sentence)?);
    say_what_happens(&agent);
    let (opened, paths) = unbounded_channel();
    let is_controlling = arguments.is_controlling();
    let mut peer = Peer { agent, is_controlling, started: false, path: None, paths, opened };
    peer.describe().await?;
    loop {
        tokio::select! {
            order = told.recv() => match order.flatten() {
                None => return Ok(()),
                Some(order) => {
                    if let Err(sentence) = peer.obey(order).await {
                        say_error(sentence);
                    }
                }
            },
            Some(path) = peer.paths.recv() => {
                if let Err(sentence) = peer.open(path) {
                    say_error(sentence);
                }
            }
        }
    }
}

fn say_what_happens(agent: &Agent) {
    agent.on_candidate(Box::new(|candidate| {
        match candidate {
            Some(candidate) => say_candidate(&format!("candidate:{}", candidate.marshal())),
            None => say_end_of_candidates(),
        }
        Box::pin(ready(()))
    }));
    agent.on_selected_candidate_pair_change(Box::new(|local, remote| {
        say_connected(local.candidate_type(), remote.candidate_type());
        Box::pin(ready(()))
    }));
    agent.on_connection_state_change(Box::new(|state| {
        match state {
            ConnectionState::Disconnected => say_disconnected(),
            ConnectionState::Failed => say_failed(),
            ConnectionState::Unspecified
            | ConnectionState::New
            | ConnectionState::Checking
            | ConnectionState::Connected
            | ConnectionState::Completed
            | ConnectionState::Closed => {}
        }
        Box::pin(ready(()))
    }));
}

/// Says each datagram that comes.
async fn hear(path: Path) {
    let mut buffer = vec![0; 65_536];
    while let Ok(length) = path.recv(&mut buffer).await {
        say_heard(&buffer[..length]);
    }
}

impl Peer {
    async fn describe(&self) -> Result<(), String> {
        let (ufrag, password) = self.agent.get_local_user_credentials().await;
        say_credentials(&ufrag, &password);
        self.agent.gather_candidates().map_err(sentence)
    }

    async fn obey(&mut self, told: Told) -> Result<(), String> {
        match told {
            Told::Credentials(remote) => {
                if remote.restart {
                    self.restart().await?;
                }
                self.set_remote(remote).await
            }
            Told::Candidate(line) => {
                let line = line.strip_prefix("candidate:").unwrap_or(&line);
                let candidate = unmarshal_candidate(line).map_err(sentence)?;
                let candidate: Arc<dyn Candidate + Send + Sync> = Arc::new(candidate);
                self.agent.add_remote_candidate(&candidate).map_err(sentence)
            }
            // It always expects more.
            Told::EndOfCandidates => Ok(()),
            Told::Say(text) => {
                // It says which pair is selected a moment before it hands out the path.
                if self.path.is_none()
                    && self.agent.get_selected_candidate_pair().is_some()
                    && let Some(path) = self.paths.recv().await
                {
                    self.open(path)?;
                }
                let path = self.path.as_ref().ok_or("no pair is selected")?;
                path.send(text.as_bytes()).await.map(drop).map_err(sentence)
            }
            Told::Restart => self.restart().await,
        }
    }

    fn open(&mut self, path: Result<Path, String>) -> Result<(), String> {
        let path = path?;
        tokio::spawn(hear(path.clone()));
        self.path = Some(path);
        Ok(())
    }

    async fn set_remote(&mut self, remote: Credentials) -> Result<(), String> {
        let Credentials { ufrag, password, .. } = remote;
        if self.started {
            return self.agent.set_remote_credentials(ufrag, password).await.map_err(sentence);
        }
        self.started = true;
        let (agent, opened) = (self.agent.clone(), self.opened.clone());
        let is_controlling = self.is_controlling;
        tokio::spawn(async move {
            // Never cancelled: the end of stdin ends the program.
            let (_keep, cancelled) = channel(1);
            let path = if is_controlling {
                agent.dial(cancelled, ufrag, password).await.map(|path| path as Path)
            } else {
                agent.accept(cancelled, ufrag, password).await.map(|path| path as Path)
            };
            let _ = opened.send(path.map_err(sentence));
        });
        Ok(())
    }

    async fn restart(&self) -> Result<(), String> {
        self.agent.restart(String::new(), String::new()).await.map_err(sentence)?;
        self.describe().await
    }
}
