//! A node: sockets, servers, and the connections that share them.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::warn;

use super::DriverStats;
use super::builder::{NodeBuilder, bind_all};
use super::connection::{Connection, Link};
use super::error::ConnectError;
use super::negotiation::Negotiation;
use super::shared::{Core, Member, Shared};
use super::signal::Signaller;
use super::url::ServerUrl;
use super::watch::{NetworkChange, renew};
use crate::config::{AgentConfig, Role};
#[cfg(feature = "mdns")]
use crate::config::{CandidatePolicy, Mode};
use crate::event::{AgentState, SelectedPair};
use crate::net::AgentId;
use crate::signaling::Signaling;
use crate::stats::EndpointStats;

/// Ends the driver when the last handle is dropped.
#[derive(Debug)]
pub(super) struct NodeHandle {
    shared: Arc<Shared>,
    running: watch::Receiver<()>,
    unresolved: Vec<ServerUrl>,
}

impl NodeHandle {
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn end(&self) {
        let mut core = self.shared.lock();
        core.closing = true;
        core.wake_driver();
    }
}

impl Drop for NodeHandle {
    fn drop(&mut self) {
        self.end();
    }
}

/// A set of UDP sockets that any number of connections share, and the task that drives them.
///
/// Clones are handles of one node. The task and the sockets end when the last handle of the node
/// and of its connections is dropped.
///
/// ```no_run
/// # async fn run(signaling: floe::signaling::memory::Memory) -> Result<(), Box<dyn std::error::Error>> {
/// let node = floe::Node::builder().stun("stun:stun.example.org")?.bind().await?;
/// let connection = node.connect(signaling).await?;
/// connection.send(b"hello").await?;
/// let mut buf = [0; 1500];
/// let length = connection.recv(&mut buf).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Node {
    handle: Arc<NodeHandle>,
}

impl Node {
    /// Starts to build a node. The defaults use all interfaces, IPv4 and IPv6, and no server.
    #[must_use]
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    pub(super) fn new(
        shared: Arc<Shared>,
        running: watch::Receiver<()>,
        unresolved: Vec<ServerUrl>,
    ) -> Self {
        Self { handle: Arc::new(NodeHandle { shared, running, unresolved }) }
    }

    pub(super) fn from_handle(handle: Arc<NodeHandle>) -> Self {
        Self { handle }
    }

    /// Offers a connection to the peer behind `signaling` and waits until data can be sent.
    ///
    /// # Errors
    ///
    /// A [`ConnectError`] with a report of what was tried; see [`Connection::ready`].
    pub async fn connect(
        &self,
        signaling: impl Signaling + 'static,
    ) -> Result<Connection, ConnectError> {
        let connection = self.open(self.agent_config(Role::Controlling), signaling);
        connection.ready().await?;
        Ok(connection)
    }

    /// Waits for the peer behind `signaling` to offer a connection, answers, and waits until data
    /// can be sent.
    ///
    /// # Errors
    ///
    /// A [`ConnectError`] with a report of what was tried; see [`Connection::ready`].
    pub async fn accept(
        &self,
        signaling: impl Signaling + 'static,
    ) -> Result<Connection, ConnectError> {
        let connection = self.open(self.agent_config(Role::Controlled), signaling);
        connection.ready().await?;
        Ok(connection)
    }

    /// Returns the configuration that agents of this node start from, for `role`.
    #[must_use]
    pub fn agent_config(&self, role: Role) -> AgentConfig {
        let mut config = self.handle.shared.options.agent.clone();
        config.role = role;
        config
    }

    /// Opens a connection without waiting: gathering and signalling begin at once. An agent that
    /// is configured as controlling offers, a controlled one waits for the offer. [rfc8839-4.2.3-p1]
    ///
    /// On a node that was closed the connection is closed from the start.
    #[must_use]
    pub fn open(&self, config: AgentConfig, signaling: impl Signaling + 'static) -> Connection {
        let shared = &self.handle.shared;
        let (link, running) = {
            let mut core = shared.lock();
            let now = core.clock.now();
            let negotiation = {
                let mut negotiation = Negotiation::new(config.trickle);
                if config.role == Role::Controlling {
                    negotiation.offer();
                }
                negotiation
            };
            #[cfg(feature = "mdns")]
            let resolves = config.policy == CandidatePolicy::All && config.mode == Mode::Full;
            let agent = core.endpoint.add_agent(now, config);
            let options = &shared.options;
            let link = Arc::new(Link::new(agent, options.max_datagrams, options.max_octets));
            let member = Member {
                link: Arc::clone(&link),
                negotiation,
                restarts: 0,
                restart_due: false,
                session: session_id(),
                mids: Vec::new(),
                has_choice: false,
                told: Vec::new(),
                early: Vec::new(),
                #[cfg(feature = "mdns")]
                resolves,
                names: Vec::new(),
            };
            core.members.insert(agent, member);
            core.tell_candidates(agent);
            core.publish(shared, agent);
            let (running, ended) = watch::channel(());
            if core.closing {
                core.close(agent);
            } else {
                let signaller =
                    Signaller::new(Arc::clone(shared), Arc::clone(&link), signaling, running);
                drop(shared.runtime.spawn(signaller.run()));
            }
            core.wake_driver();
            (link, ended)
        };
        Connection::new(Arc::clone(&self.handle), link, running)
    }

    /// The addresses that the sockets are bound to.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.handle.shared.lock().sockets.iter().map(|socket| socket.address).collect()
    }

    /// Looks at once which addresses the machine has now: sockets are bound to new ones, and those
    /// whose address is gone are closed. All pairs in use are verified, and connections whose path
    /// does not answer any more restart. [rfc8445-5.1.1.4-3]
    ///
    /// For what the system does not tell: another Wi-Fi with the same address, a VPN, the end of a
    /// sleep. Needless calls cost one check for each connection. With
    /// [`addresses_from`](NodeBuilder::addresses_from) it is this call that has changes followed.
    pub async fn network_changed(&self) -> NetworkChange {
        let shared = self.handle.shared();
        let change = renew(shared).await;
        let mut core = shared.lock();
        let now = core.clock.now();
        core.endpoint.network_changed(now);
        core.wake_driver();
        change
    }

    /// The servers whose names could not be resolved.
    #[must_use]
    pub fn unresolved(&self) -> &[ServerUrl] {
        &self.handle.unresolved
    }

    /// What the endpoint counted.
    #[must_use]
    pub fn stats(&self) -> EndpointStats {
        self.handle.shared.lock().endpoint.stats().clone()
    }

    /// What the driver counted.
    #[must_use]
    pub fn driver_stats(&self) -> DriverStats {
        self.handle.shared.lock().stats.clone()
    }

    /// Closes all connections, gives relays back to their servers, closes the sockets and waits
    /// until the task has ended: at most about a second, where a server does not answer.
    pub async fn close(&self) {
        self.handle.end();
        let mut running = self.handle.running.clone();
        while running.changed().await.is_ok() {}
    }
}

/// A session id for the `o=` line; it need not be secret, nor is it drawn from the seed.
fn session_id() -> u64 {
    let mut octets = [0; 8];
    match getrandom::fill(&mut octets) {
        Ok(()) => u64::from_be_bytes(octets) >> 2,
        Err(_) => 1,
    }
}

/// Binds a new set of sockets and restarts `agent` on them; where nothing can be bound it
/// restarts on the old ones.
pub(super) async fn restart_on_fresh_sockets(shared: &Arc<Shared>, agent: AgentId) {
    let bases = shared.options.bases().await;
    let mut core = shared.lock();
    if core.closing || !core.members.contains_key(&agent) {
        return;
    }
    let mut retired = None;
    match bases {
        Ok(mut bases) => {
            for base in &mut bases {
                base.address.set_port(0);
            }
            let _runtime = shared.runtime.enter();
            let set = core.sockets.iter().map(|socket| socket.set).max().unwrap_or(0) + 1;
            match bind_all(&mut core, &bases, set) {
                Ok(()) => retired = Some(set),
                Err(error) => warn!(%error, "no fresh sockets"),
            }
        }
        Err(error) => warn!(%error, "no fresh sockets"),
    }
    core.restart(shared, agent);
    if let Some(set) = retired {
        retire(&mut core, agent, set);
        core.dispatch(shared);
        core.wake_driver();
    }
}

/// Takes old sockets out of service.
///
/// A connection that is alone on its node leaves all of them, so that no check is spent on the
/// 5-tuples that died. Where others share them, the last set stays, and what carries a selected
/// pair of theirs; while one of them still checks, all stay. So does a port that the application
/// named, for there would be no way back to it.
fn retire(core: &mut Core, agent: AgentId, newest: u32) {
    let others: Vec<AgentId> =
        core.members.keys().copied().filter(|other| *other != agent).collect();
    if others.iter().any(|other| is_checking(core, *other)) {
        return;
    }
    let pairs: Vec<SelectedPair> =
        others.iter().filter_map(|other| core.selected(*other)).collect();
    let oldest = if others.is_empty() { newest } else { newest.saturating_sub(1) };
    core.keep_sockets(|socket| {
        socket.named || socket.set >= oldest || pairs.iter().any(|pair| socket.carries(pair))
    });
}

/// Whether the peer of `agent` was told of sockets, and none of them is settled on yet.
fn is_checking(core: &Core, agent: AgentId) -> bool {
    let Some(state) = core.endpoint.agent(agent).map(|agent| agent.state()) else { return false };
    match state {
        AgentState::New => {
            core.members.get(&agent).is_some_and(|member| member.negotiation.is_described())
        }
        AgentState::Checking | AgentState::Connected => true,
        AgentState::Disconnected
        | AgentState::Completed
        | AgentState::Failed
        | AgentState::Closed => false,
    }
}
