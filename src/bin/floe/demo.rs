//! `floe demo`: two agents on this machine connect, lose their path, and recover.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::{Args, ValueEnum};
use floe::config::Role;
use floe::driver::{LoopbackUse, NodeBuilder, PathFilter};
use floe::event::SelectedPair;
use floe::signaling::memory;
use floe::{AgentState, ConnectionEvent};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::Failure;
use crate::options::Network;
use crate::output::{Output, millis, within};
use crate::side::{Side, leaves_from, path, set};
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

/// How long a relayed pair may take to be ready beside the one in use.
const SETTLE: Duration = Duration::from_secs(2);
/// How long both sides may take to settle on a pair again.
const RESELECT: Duration = Duration::from_secs(10);
/// Between two looks at the pairs.
const LOOK: Duration = Duration::from_millis(1);

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    network: Network,
    /// How the agents reach the TURN server of the demo
    #[arg(long, value_enum, value_name = "TRANSPORT", default_value_t = RelayTransport::Udp)]
    relay_transport: RelayTransport,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// How the agents reach the TURN server of the demo.
#[derive(Clone, Copy, ValueEnum)]
enum RelayTransport {
    Udp,
    Tcp,
}

impl RelayTransport {
    /// As it is written in a URL.
    const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
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
        let path = (leaves_from(pair), pair.remote.address);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(path);
    }

    fn blocks(&self, pair: &SelectedPair) -> bool {
        !self.filter()(leaves_from(pair), pair.remote.address)
    }
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
        output.line(
            "Two agents and a STUN and TURN server in this process, real sockets, signalling in \
             memory.\n",
        );
    }
    let mut demo = Demo::start(options, output).await?;
    let outcome = demo.play(result).await;
    demo.left.node.close().await;
    demo.right.node.close().await;
    outcome
}

impl Demo {
    /// Starts the servers, both nodes and both agents.
    async fn start(options: &Options, mut output: Output) -> Result<Self, Failure> {
        let blocked = Blocked::default();
        let builder = options
            .network
            .builder_with_relay()?
            .loopback(LoopbackUse::LastResort)
            .path_filter(blocked.filter());
        let servers = start_servers(&mut output, builder.clone(), &blocked).await?;
        let mut sides = Vec::new();
        for (name, first) in [("left", 1), ("right", 2)] {
            let mut builder = builder.clone();
            for server in &servers {
                let url = format!(
                    "turn:{}?transport={}",
                    server.address(),
                    options.relay_transport.name()
                );
                builder = builder
                    .turn(&url, server.username(), server.password())
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
        self.settle().await?;
        self.tell_firsts(result);
        self.report();
        self.exchange().await?;
        set(result, "data", json!(true));

        let before = self.selected()?;
        let (how, recovered) = self.recover(&before).await?;
        set(result, "recovered_by", json!(how));
        set(result, "recover_ms", json!(millis(recovered)));
        self.report();
        self.exchange().await?;
        set(result, "connected", json!(true));
        Ok(())
    }

    /// Waits until both sides have selected a pair.
    async fn connect(&mut self) -> Result<(), Failure> {
        let Self { output, left, right, .. } = self;
        let connect = async {
            while !(left.is_selected() && right.is_selected()) {
                step(output, left, right).await?;
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

    /// Waits for the relayed pair that is kept in reserve, for a while.
    async fn settle(&mut self) -> Result<(), Failure> {
        let Self { output, left, right, .. } = self;
        let settle = async {
            while !(left.has_relay() && right.has_relay()) {
                step(output, left, right).await?;
            }
            Ok(())
        };
        timeout(SETTLE, settle).await.unwrap_or(Ok(()))
    }

    /// Waits until both sides have settled on a pair that is alive, for a while.
    async fn reselect(&mut self) -> Result<(), Failure> {
        let Self { output, blocked, left, right, .. } = self;
        let settled = |side: &Side| {
            side.connection.selected().is_some_and(|selected| !blocked.blocks(&selected))
        };
        let reselect = async {
            while !(settled(left) && settled(right)) {
                step(output, left, right).await?;
            }
            Ok(())
        };
        timeout(RESELECT, reselect).await.unwrap_or(Ok(()))
    }

    /// Says when data could flow for the first time, over the relay and directly.
    fn tell_firsts(&mut self, result: &mut Value) {
        for side in [&self.left, &self.right] {
            let mut firsts =
                [(side.relayed, "over the relay"), (side.direct, "over the direct path")];
            firsts.sort_by_key(|(after, _)| *after);
            let firsts = firsts.iter().filter_map(|(after, way)| {
                after.map(|after| format!("{way} after {:.1} ms", millis(after)))
            });
            let detail = firsts.collect::<Vec<_>>().join(", ");
            let object = json!({
                "type": "first",
                "agent": side.name,
                "relay_ms": side.relayed.map(millis),
                "direct_ms": side.direct.map(millis),
            });
            self.output.step(side.name, "data flows", &detail, object);
        }
        set(result, "relay_ms", json!(self.left.relayed.map(millis)));
        set(result, "direct_ms", json!(self.left.direct.map(millis)));
    }

    fn selected(&self) -> Result<SelectedPair, Failure> {
        self.left
            .connection
            .selected()
            .ok_or_else(|| Failure::runtime("the selected pair vanished; run again with -v"))
    }

    /// Prints what the servers did, every pair and its outcome, and the way of the data.
    fn report(&mut self) {
        let answered: u64 = self.servers.iter().map(TurnServer::answered).sum();
        let relayed: u64 = self.servers.iter().map(TurnServer::relayed).sum();
        let detail = format!("answered {answered} requests, relayed {relayed} datagrams");
        let object = json!({ "type": "stun", "answered": answered, "relayed": relayed });
        self.output.step("server", "", &detail, object);
        self.left.report(&mut self.output);
        self.right.report(&mut self.output);
        if let Some(pair) = self.left.connection.selected() {
            let stops = path(&self.left, &self.right, &pair);
            let object = json!({ "type": "path", "stops": stops });
            self.output.step("", "path", &stops.join(" -> "), object);
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
        let local = leaves_from(before);
        let path = format!("{local} <-> {}", before.remote.address);
        let object = json!({
            "type": "blocked",
            "local": local.to_string(),
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
        // Data flows before a pair is settled on: over one in reserve, or of before a restart.
        self.reselect().await?;
        let after = self.left.connection.selected();
        let path = after.map_or_else(String::new, |pair| {
            format!("; now {} <-> {}", leaves_from(&pair), pair.remote.address)
        });
        let detail = format!("by {how}, {:.0} ms after{path}", millis(took));
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

/// Starts a server for each family that the agents will use.
async fn start_servers(
    output: &mut Output,
    builder: NodeBuilder,
    blocked: &Blocked,
) -> Result<Vec<TurnServer>, Failure> {
    // A node that lives for a moment, to see which addresses there are.
    let scout = Network::bind(builder).await?;
    let addresses = scout.local_addresses();
    scout.close().await;
    let mut servers = Vec::new();
    let families: [fn(&&SocketAddr) -> bool; 2] = [|a| a.is_ipv4(), |a| a.is_ipv6()];
    for family in families {
        let Some(address) = addresses.iter().find(family) else { continue };
        let server = start_server(address.ip(), blocked).await.map_err(|error| {
            Failure::runtime(format!(
                "no server on {} ({error}); try --bind with another address",
                address.ip()
            ))
        })?;
        let detail = format!("STUN and TURN on {}, UDP and TCP", server.address());
        let object = json!({ "type": "stun", "listening": server.address().to_string() });
        output.step("server", "", &detail, object);
        servers.push(server);
    }
    Ok(servers)
}

async fn start_server(ip: IpAddr, blocked: &Blocked) -> std::io::Result<TurnServer> {
    let mut options = turn_server::Options::new(ip)?;
    options.filter = Some(blocked.filter());
    TurnServer::start(options).await
}

/// Shows the next event of either side, and takes note of the pairs now and then.
async fn step(output: &mut Output, left: &mut Side, right: &mut Side) -> Result<(), Failure> {
    if let Ok(event) = timeout(LOOK, next(left, right)).await {
        let (side, event) = event?;
        side.show(output, event);
    }
    left.note_pairs();
    right.note_pairs();
    Ok(())
}

/// Waits for the next event of either side.
async fn next<'s>(
    left: &'s mut Side,
    right: &'s mut Side,
) -> Result<(&'s mut Side, ConnectionEvent), Failure> {
    let (is_left, event) = tokio::select! {
        event = left.next() => (true, event),
        event = right.next() => (false, event),
    };
    let event = event.ok_or_else(|| Failure::runtime("an agent was closed; run again with -v"))?;
    Ok((if is_left { left } else { right }, event))
}
