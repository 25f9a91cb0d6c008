//! `floe demo`: two agents on this machine connect, lose their path, and recover.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use floe::config::Role;
use floe::driver::{Events, LoopbackUse, NodeBuilder, PathFilter};
use floe::event::SelectedPair;
use floe::signaling::memory;
use floe::stats::PairStats;
use floe::{AgentState, Connection, ConnectionEvent, Node};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::Failure;
use crate::options::Network;
use crate::output::{
    Output, candidate_json, candidate_text, kind, millis, pair_json, pair_state, selected_json,
    state, within,
};
use crate::turn_server::{self, TurnServer};

/// The whole run.
const LIMIT: Duration = Duration::from_secs(58);
/// From the first packet to a selected pair.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// From the loss of the path to data again.
const RECOVER_LIMIT: Duration = Duration::from_secs(35);
/// How long another pair may take to step in after the old one was found dead.
const GRACE: Duration = Duration::from_secs(1);
/// Between two datagrams that ask whether the path is back.
const PROBE: Duration = Duration::from_millis(20);
const PROBE_TEXT: &[u8] = b"still there?";
/// How long data may take there and back before it is sent again.
const ECHO: Duration = Duration::from_millis(250);

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    network: Network,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// The 5-tuples that carry nothing any more.
#[derive(Clone, Default)]
struct Blocked(Arc<Mutex<Vec<(SocketAddr, SocketAddr)>>>);

impl Blocked {
    fn filter(&self) -> PathFilter {
        let blocked = Arc::clone(&self.0);
        Arc::new(move |local, remote| {
            let blocked = blocked.lock().unwrap_or_else(PoisonError::into_inner);
            !blocked.iter().any(|path| *path == (local, remote) || *path == (remote, local))
        })
    }

    fn block(&self, pair: &SelectedPair) {
        let path = (pair.base, pair.remote.address);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(path);
    }
}

/// One of the two agents.
struct Side {
    name: &'static str,
    node: Node,
    connection: Connection,
    events: Events,
    state: AgentState,
    /// Every pair that was there at some time, as it was last seen.
    seen: Vec<PairStats>,
}

struct Demo {
    output: Output,
    servers: Vec<TurnServer>,
    blocked: Blocked,
    left: Side,
    right: Side,
}

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let mut output = Output::new(options.json);
    let mut result = json!({ "type": "result", "connected": false });
    let played = timeout(LIMIT, play(&options, output.clone(), &mut result)).await;
    let outcome = played.unwrap_or_else(|_| {
        Err(Failure::runtime("the demo did not end within 58 s; run it again with -v"))
    });
    let ms = output.ms();
    if options.json {
        set(&mut result, "ms", json!(ms));
        if let Err(failure) = &outcome {
            set(&mut result, "error", json!(failure.sentence));
        }
        output.object(&result);
    } else if outcome.is_ok() {
        output.line(&format!("\nAll of it worked, in {:.1} s.", ms / 1e3));
    }
    outcome
}

async fn play(options: &Options, mut output: Output, result: &mut Value) -> Result<(), Failure> {
    if !options.json {
        output.line("Two agents in this process, real UDP sockets, signalling in memory.\n");
    }
    let mut demo = Demo::start(options, output).await?;
    let outcome = demo.play(result).await;
    demo.left.node.close().await;
    demo.right.node.close().await;
    outcome
}

impl Demo {
    /// Starts the server, both nodes and both agents.
    async fn start(options: &Options, mut output: Output) -> Result<Self, Failure> {
        let blocked = Blocked::default();
        let builder = options
            .network
            .builder()?
            .loopback(LoopbackUse::LastResort)
            .path_filter(blocked.filter());
        let servers = start_servers(&mut output, builder.clone()).await?;
        let mut sides = Vec::new();
        for (name, first) in [("left", 1), ("right", 2)] {
            let mut builder = builder.clone();
            for server in &servers {
                builder = builder
                    .stun(&format!("stun:{}", server.address()))
                    .map_err(|error| Failure::runtime(error.to_string()))?;
            }
            if let Some(mut seed) = options.network.seed() {
                // Two agents of one seed would be one another's twins.
                if let Some(last) = seed.last_mut() {
                    *last ^= first;
                }
                builder = builder.seed(seed);
            }
            // What cannot be resolved was told of when the scout was bound.
            let node = builder.bind().await.map_err(|error| Failure::runtime(error.to_string()))?;
            sides.push((name, node));
        }
        let (near, far) = memory::pair(64);
        let mut sides = sides.into_iter();
        let (Some((_, left)), Some((_, right))) = (sides.next(), sides.next()) else {
            return Err(Failure::runtime("no two nodes; report this"));
        };
        let right_connection = right.open(right.agent_config(Role::Controlled), far);
        let left_connection = left.open(left.agent_config(Role::Controlling), near);
        Ok(Self {
            output,
            servers,
            blocked,
            left: Side::new("left", left, left_connection),
            right: Side::new("right", right, right_connection),
        })
    }

    async fn play(&mut self, result: &mut Value) -> Result<(), Failure> {
        let began = Instant::now();
        self.connect().await?;
        set(result, "connect_ms", json!(millis(began.elapsed())));
        self.report().await;
        self.exchange().await?;
        set(result, "data", json!(true));

        let before = self.selected()?;
        let (how, recovered) = self.recover(&before).await?;
        set(result, "recovered_by", json!(how));
        set(result, "recover_ms", json!(millis(recovered)));
        self.report().await;
        self.exchange().await?;
        set(result, "connected", json!(true));
        Ok(())
    }

    /// Waits until both sides have selected a pair.
    async fn connect(&mut self) -> Result<(), Failure> {
        let Self { output, left, right, .. } = self;
        let connect = async {
            while !(left.is_selected() && right.is_selected()) {
                let (side, event) = next(left, right).await?;
                side.show(output, event);
                left.note_pairs();
                right.note_pairs();
                let side = if left.state == AgentState::Failed { &*left } else { &*right };
                if side.state == AgentState::Failed {
                    return Err(Failure::runtime(format!(
                        "{} found no path: {}",
                        side.name,
                        side.connection.failure()
                    )));
                }
            }
            Ok(())
        };
        match within(CONNECT_LIMIT, "connecting", connect).await {
            Some(outcome) => outcome,
            None => Err(Failure::runtime(format!(
                "no pair was selected within {} s: {}",
                CONNECT_LIMIT.as_secs(),
                self.left.connection.failure()
            ))),
        }
    }

    fn selected(&self) -> Result<SelectedPair, Failure> {
        self.left
            .connection
            .selected()
            .ok_or_else(|| Failure::runtime("the selected pair vanished; run again with -v"))
    }

    /// Prints every pair and its outcome: the one in use, others that work, and those that were
    /// not needed any more once one was selected.
    async fn report(&mut self) {
        let answered: u64 = self.servers.iter().map(TurnServer::answered).sum();
        let detail = format!("server answered {answered} requests");
        let object = json!({ "type": "stun", "answered": answered });
        self.output.step("stun", "", &detail, object);
        for side in [&self.left, &self.right] {
            let now = side.connection.stats().pairs;
            let unneeded = side.seen.iter().filter(|seen| !now.iter().any(|pair| same(pair, seen)));
            let unneeded = unneeded.map(|pair| (pair, "not needed"));
            for (pair, outcome) in
                now.iter().map(|pair| (pair, pair_state(pair.state))).chain(unneeded)
            {
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
                set(&mut object, "agent", json!(side.name));
                set(&mut object, "outcome", json!(outcome));
                self.output.step(side.name, "pair", &detail, object);
            }
        }
    }

    /// Sends data both ways and waits for it to arrive.
    async fn exchange(&mut self) -> Result<(), Failure> {
        for (from, to) in [(&self.left, &self.right), (&self.right, &self.left)] {
            let text = format!("hello from {}", from.name);
            let began = Instant::now();
            let Some(arrived) = deliver(from, to, text.as_bytes()).await else {
                return Err(Failure::runtime(format!(
                    "data from {} to {} did not arrive; run again with -v",
                    from.name, to.name
                )));
            };
            let detail = format!(
                "{} octets to {} in {:.2} ms",
                text.len(),
                to.name,
                millis(arrived - began)
            );
            let object = json!({
                "type": "data",
                "from": from.name,
                "to": to.name,
                "text": text,
                "took_ms": millis(arrived - began),
            });
            self.output.step(from.name, "data", &detail, object);
        }
        Ok(())
    }

    /// Kills the path in use and waits for data to flow again; says what brought it back.
    async fn recover(
        &mut self,
        before: &SelectedPair,
    ) -> Result<(&'static str, Duration), Failure> {
        self.blocked.block(before);
        let path = format!("{} <-> {}", before.base, before.remote.address);
        let object = json!({
            "type": "blocked",
            "local": before.base.to_string(),
            "remote": before.remote.address.to_string(),
        });
        self.output.step("", "path killed", &path, object);
        let began = Instant::now();
        let mut restarted = false;
        let recover = recover(&mut self.output, &mut self.left, &mut self.right, &mut restarted);
        match within(RECOVER_LIMIT, "recovering", recover).await {
            Some(Ok(())) => {}
            Some(Err(failure)) => return Err(failure),
            None => {
                return Err(Failure::runtime(format!(
                    "no data {} s after the path was killed; run again with -v",
                    RECOVER_LIMIT.as_secs()
                )));
            }
        }
        let how = if restarted { "restart" } else { "switch" };
        let took = began.elapsed();
        let after = self.left.connection.selected();
        let path = after.map_or_else(String::new, |pair| {
            format!("now {} <-> {}", pair.base, pair.remote.address)
        });
        let detail = format!("by {how}, {:.0} ms after; {path}", millis(took));
        let object = json!({ "type": "recovered", "by": how, "took_ms": millis(took) });
        self.output.step("", "recovered", &detail, object);
        Ok((how, took))
    }
}

/// Shows events until data passes both ways; restarts if no pair steps in.
async fn recover(
    output: &mut Output,
    left: &mut Side,
    right: &mut Side,
    restarted: &mut bool,
) -> Result<(), Failure> {
    let mut probes = tokio::time::interval(PROBE);
    let (mut arrived_left, mut arrived_right) = (false, false);
    let mut dead_since: Option<Instant> = None;
    while !(arrived_left && arrived_right) {
        let (to_left, to_right) = (left.connection.clone(), right.connection.clone());
        let (mut left_buf, mut right_buf) = ([0; 64], [0; 64]);
        tokio::select! {
            event = next(left, right) => {
                let (side, event) = event?;
                *restarted |= matches!(event, ConnectionEvent::Restarting { .. });
                side.show(output, event);
            }
            _ = probes.tick() => {
                let _ = to_right.try_send(PROBE_TEXT);
                let _ = to_left.try_send(PROBE_TEXT);
            }
            Ok(_) = to_left.recv(&mut left_buf) => arrived_left = true,
            Ok(_) = to_right.recv(&mut right_buf) => arrived_right = true,
        }
        if left.is_dead() || right.is_dead() {
            let since = *dead_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= GRACE && !*restarted {
                *restarted = true;
                let dead = if left.is_dead() { to_left } else { to_right };
                dead.rebind().await;
            }
        }
    }
    Ok(())
}

/// Sends `text` until it arrives, a few times at most; returns when it did.
async fn deliver(from: &Side, to: &Side, text: &[u8]) -> Option<Instant> {
    let mut buf = vec![0; 2048];
    for _ in 0..8 {
        if from.connection.send(text).await.is_err() {
            sleep(ECHO).await;
            continue;
        }
        let arrival = async {
            loop {
                let length = to.connection.recv(&mut buf).await.ok()?;
                if buf.get(..length) == Some(text) {
                    return Some(Instant::now());
                }
            }
        };
        if let Ok(arrived) = timeout(ECHO, arrival).await {
            return arrived;
        }
    }
    None
}

/// Starts a STUN server for each family that the agents will use.
async fn start_servers(
    output: &mut Output,
    builder: NodeBuilder,
) -> Result<Vec<TurnServer>, Failure> {
    // A node that lives for a moment, to see which addresses there are.
    let scout = Network::bind(builder).await?;
    let addresses = scout.local_addresses();
    scout.close().await;
    let mut servers = Vec::new();
    let families: [fn(&&SocketAddr) -> bool; 2] = [|a| a.is_ipv4(), |a| a.is_ipv6()];
    for family in families {
        let Some(address) = addresses.iter().find(family) else { continue };
        let server = start_server(address.ip()).await.map_err(|error| {
            Failure::runtime(format!("no STUN server on {} ({error})", address.ip()))
        })?;
        let detail = format!("listening on {}", server.address());
        let object = json!({ "type": "stun", "listening": server.address().to_string() });
        output.step("stun", "server", &detail, object);
        servers.push(server);
    }
    Ok(servers)
}

async fn start_server(ip: IpAddr) -> std::io::Result<TurnServer> {
    TurnServer::start(turn_server::Options::new(ip)?).await
}

/// Waits for the next event of either side.
async fn next<'s>(
    left: &'s mut Side,
    right: &'s mut Side,
) -> Result<(&'s mut Side, ConnectionEvent), Failure> {
    let (side, event) = tokio::select! {
        event = left.events.next() => (left, event),
        event = right.events.next() => (right, event),
    };
    let event = event.ok_or_else(|| Failure::runtime("an agent was closed; run again with -v"))?;
    if let ConnectionEvent::State(now) = &event {
        side.state = *now;
    }
    Ok((side, event))
}

fn set(object: &mut Value, member: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(member.into(), value);
    }
}

impl Side {
    fn new(name: &'static str, node: Node, connection: Connection) -> Self {
        let events = connection.events();
        Self { name, node, connection, events, state: AgentState::New, seen: Vec::new() }
    }

    /// Remembers the pairs: a selection removes those that are not needed any more.
    fn note_pairs(&mut self) {
        for pair in self.connection.stats().pairs {
            match self.seen.iter_mut().find(|seen| same(seen, &pair)) {
                Some(seen) => *seen = pair,
                None => self.seen.push(pair),
            }
        }
    }

    fn is_dead(&self) -> bool {
        match self.state {
            AgentState::Disconnected | AgentState::Failed => true,
            AgentState::New
            | AgentState::Checking
            | AgentState::Connected
            | AgentState::Completed
            | AgentState::Closed => false,
        }
    }

    fn is_selected(&self) -> bool {
        self.connection.selected().is_some() && self.state == AgentState::Completed
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "non-exhaustive outside its crate")]
    fn show(&self, output: &mut Output, event: ConnectionEvent) {
        let (what, detail, mut object) = match event {
            ConnectionEvent::LocalCandidate(candidate) => {
                let mut object = json!({ "type": "candidate" });
                set(&mut object, "candidate", candidate_json(&candidate));
                ("candidate", candidate_text(&candidate), object)
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

/// Whether two reports are of one pair: its candidates may change their type, not their priority.
fn same(a: &PairStats, b: &PairStats) -> bool {
    a.priority == b.priority && a.remote.address == b.remote.address
}
