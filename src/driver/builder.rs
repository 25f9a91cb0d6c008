//! What a node is made of.

use core::time::Duration;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::warn;

use super::PathFilter;
use super::changes::Changes;
use super::clock::Clock;
use super::error::BindError;
use super::interfaces::{Base, InterfaceError, InterfacePolicy, LoopbackUse, enumerate};
use super::node::Node;
use super::resolve::resolve;
use super::run::Driver;
use super::servers::{Asked, ServerError};
use super::shared::{Core, Shared};
use super::socket::bind;
#[cfg(feature = "tls")]
use super::tls::RootsError;
use super::tls::Secure;
use super::url::{ServerUrl, StunUrl, UrlError};
use super::watch::follow;
use crate::Endpoint;
use crate::config::{AgentConfig, DataClass, EndpointConfig, Role};
use crate::stun::LongTerm;

/// Says which addresses there are now, each with the port to bind to; port 0 is any free one.
pub type AddressSource = Arc<dyn Fn() -> Vec<SocketAddr> + Send + Sync>;

/// What stays of the builder for the life of a node.
#[derive(Clone)]
pub(super) struct Options {
    pub(super) policy: InterfacePolicy,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) source: Option<AddressSource>,
    pub(super) follow: bool,
    pub(super) connect_timeout: Duration,
    pub(super) auto_restart: bool,
    pub(super) max_datagrams: usize,
    pub(super) max_octets: usize,
    pub(super) agent: AgentConfig,
}

impl core::fmt::Debug for Options {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Options")
            .field("policy", &self.policy)
            .field("addresses", &self.addresses)
            .field("agent", &self.agent)
            .finish_non_exhaustive()
    }
}

/// Builds a [`Node`]; see [`Node::builder`].
#[derive(Clone)]
pub struct NodeBuilder {
    servers: Vec<Asked>,
    secure: Secure,
    seed: Option<[u8; 32]>,
    endpoint: EndpointConfig,
    filter: Option<PathFilter>,
    options: Options,
}

impl core::fmt::Debug for NodeBuilder {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("NodeBuilder")
            .field("servers", &self.servers.iter().map(|asked| &asked.url).collect::<Vec<_>>())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Default for NodeBuilder {
    fn default() -> Self {
        let endpoint = EndpointConfig { data_class: DataClass::Any, ..EndpointConfig::default() };
        Self {
            servers: Vec::new(),
            secure: Secure::default(),
            seed: None,
            endpoint,
            filter: None,
            options: Options {
                policy: InterfacePolicy::default(),
                addresses: Vec::new(),
                source: None,
                follow: true,
                connect_timeout: Duration::from_secs(45),
                auto_restart: true,
                max_datagrams: 512,
                max_octets: 1 << 20,
                agent: AgentConfig::new(Role::Controlling),
            },
        }
    }
}

impl NodeBuilder {
    /// Adds a STUN server, `stun:host[:port]`, from which reflexive candidates are gathered.
    ///
    /// # Errors
    ///
    /// A [`UrlError`] that says how to write it. `stuns:` is among them: a server that is reached
    /// over TLS tells the address of that connection, which is none that UDP could use.
    pub fn stun(mut self, url: &str) -> Result<Self, UrlError> {
        let url: StunUrl = url.parse()?;
        if url.is_secure() {
            return Err(UrlError::Secure);
        }
        self.servers.push(Asked { url: ServerUrl::Stun(url), login: None });
        Ok(self)
    }

    /// Adds a TURN server, `turn:host[:port][?transport=udp|tcp]` or `turns:` likewise, from which
    /// relayed candidates are gathered, and reflexive ones where it is reached over UDP.
    ///
    /// All URLs of one host are taken for ways to one server: UDP first, then TCP and TLS where
    /// there was no answer yet; the first that gives a relay ends the others. `turns:` is TLS
    /// (feature `tls`), with `?transport=udp` DTLS; the certificate has to be for the host of the
    /// URL, and nothing else is tried in the place of either. [rfc8489-6.2.3-10]
    ///
    /// Username and password are used as given; take care that they come by a way as safe as the
    /// one to the server. [RFC 7065 §4]
    ///
    /// # Errors
    ///
    /// A [`ServerError`] that says what to change.
    pub fn turn(mut self, url: &str, username: &str, password: &str) -> Result<Self, ServerError> {
        let url = ServerUrl::Turn(url.parse()?);
        let login = LongTerm::new(username.as_bytes(), password.as_bytes())?;
        self.servers.push(Asked { url, login: Some(login) });
        Ok(self)
    }

    /// Trusts these certificates of authorities, one or more in PEM or one in DER, and those given
    /// likewise, to vouch for `turns:` servers, and not the system's.
    ///
    /// A certificate that vouches for itself is accepted over TLS only if it is not that of an
    /// authority (`CA:FALSE`). Whether a certificate was revoked is not asked.
    ///
    /// # Errors
    ///
    /// [`RootsError`] if it is neither.
    #[cfg(feature = "tls")]
    pub fn tls_roots(mut self, certificates: &[u8]) -> Result<Self, RootsError> {
        self.secure.trust(certificates)?;
        Ok(self)
    }

    /// Uses the addresses of this interface, and of others named likewise, alone. A loopback
    /// interface is used only if it is named. Default: all interfaces.
    #[must_use]
    pub fn interface(mut self, name: impl Into<String>) -> Self {
        self.options.policy.names.push(name.into());
        self
    }

    /// Says which addresses of the machine are used.
    #[must_use]
    pub fn interfaces(mut self, policy: InterfacePolicy) -> Self {
        self.options.policy = policy;
        self
    }

    /// Uses loopback if the machine has no other address. Default: only if it is named.
    #[must_use]
    pub fn loopback(mut self, usage: LoopbackUse) -> Self {
        self.options.policy.loopback = usage;
        self
    }

    /// Uses the addresses alone that the system sends from where its default routes lead, as mode 2
    /// of RFC 8828, or with [`hide_host_addresses`](Self::hide_host_addresses) mode 3. Default: all
    /// addresses, which is mode 1.
    #[must_use]
    pub fn default_route_only(mut self) -> Self {
        self.options.policy.default_route = true;
        self
    }

    /// Uses IPv4 alone.
    #[must_use]
    pub fn ipv4_only(mut self) -> Self {
        (self.options.policy.ipv4, self.options.policy.ipv6) = (true, false);
        self
    }

    /// Uses IPv6 alone.
    #[must_use]
    pub fn ipv6_only(mut self) -> Self {
        (self.options.policy.ipv4, self.options.policy.ipv6) = (false, true);
        self
    }

    /// Binds to this address, and to others given likewise, instead of asking the system for its
    /// addresses; port 0 is any free port.
    #[must_use]
    pub fn address(mut self, address: SocketAddr) -> Self {
        self.options.addresses.push(address);
        self
    }

    /// Asks `source` instead of the system for the addresses to bind to: now, at each
    /// [`Node::network_changed`], and when sends fail as if an address were gone. For systems that
    /// do not tell, and for tests.
    #[must_use]
    pub fn addresses_from(mut self, source: AddressSource) -> Self {
        self.options.source = Some(source);
        self
    }

    /// Whether addresses that the machine gets or loses are followed of their own accord. Default
    /// on; never where they were named with [`address`](Self::address).
    #[must_use]
    pub fn follow_network(mut self, on: bool) -> Self {
        self.options.follow = on;
        self
    }

    /// Draws all randomness of the core from this secret; by default the system gives one. The
    /// same seed and calls make the same octets: for tests only.
    #[must_use]
    pub fn seed(mut self, seed: [u8; 32]) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Says which 5-tuples may carry packets; see [`PathFilter`]. Default: all.
    #[must_use]
    pub fn path_filter(mut self, filter: PathFilter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Bounds the wait of [`Node::connect`] and [`Node::accept`] for a usable pair. Default 45 s,
    /// so that the checks give up first, at 39.5 s, and say why.
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.options.connect_timeout = limit;
        self
    }

    /// Whether connections restart of their own accord when the core recommends it. Default on.
    ///
    /// The controlling side does it on every recommendation, the controlled side only when the
    /// checks failed; at most three times until one succeeds.
    #[must_use]
    pub fn auto_restart(mut self, on: bool) -> Self {
        self.options.auto_restart = on;
        self
    }

    /// Bounds what a connection keeps until it is received; what arrives beyond is dropped and
    /// counted. Default 512 datagrams and 1 MiB.
    #[must_use]
    pub fn receive_queue(mut self, datagrams: usize, octets: usize) -> Self {
        (self.options.max_datagrams, self.options.max_octets) = (datagrams, octets);
        self
    }

    /// Signals host candidates by random names in the place of their addresses, and answers for
    /// these by multicast DNS on the link of each address, while a connection lives: peers on the
    /// same link connect, and others learn no address of this machine.
    /// [`HostAddresses::Named`](crate::config::HostAddresses::Named) says what else is hidden.
    /// Default off: names of peers are resolved all the same.
    #[cfg(feature = "mdns")]
    #[must_use]
    pub fn hide_host_addresses(mut self) -> Self {
        self.options.agent.host_addresses = crate::config::HostAddresses::Named;
        self
    }

    /// Changes what the agents of this node start from.
    #[must_use]
    pub fn agent(mut self, change: impl FnOnce(&mut AgentConfig)) -> Self {
        change(&mut self.options.agent);
        self
    }

    /// Changes the configuration of the endpoint.
    #[must_use]
    pub fn endpoint(mut self, change: impl FnOnce(&mut EndpointConfig)) -> Self {
        change(&mut self.endpoint);
        self
    }

    /// Binds the sockets, resolves the servers and starts the task that drives them, on the
    /// runtime of the caller. A server whose name is not resolved within three seconds is left
    /// out; [`Node::unresolved`] names it.
    ///
    /// # Errors
    ///
    /// A [`BindError`] that says what to change.
    pub async fn bind(self) -> Result<Node, BindError> {
        let runtime = Handle::try_current().map_err(|_| BindError::NoRuntime)?;
        let seed = match self.seed {
            Some(seed) => seed,
            None => {
                let mut seed = [0; 32];
                getrandom::fill(&mut seed).map_err(|_| BindError::Entropy)?;
                seed
            }
        };
        let urls: Vec<ServerUrl> = self.servers.iter().map(|asked| asked.url.clone()).collect();
        let (bases, places, tls) =
            tokio::join!(self.options.bases(), resolve(&urls), self.secure.load(&urls));
        let clock = Clock::new();
        let now = clock.now();
        let endpoint = Endpoint::new(now, Arc::new(self.endpoint), seed);
        let mut core = Core::new(endpoint, clock, self.filter, tls);
        bind_all(&mut core, &bases?, 0)?;
        let unresolved = core.add_servers(self.servers, places);
        let shared = Arc::new(Shared::new(core, runtime.clone(), self.options));
        let (running, ended) = watch::channel(());
        let running = Arc::new(running);
        #[cfg(feature = "mdns")]
        {
            shared.lock().mdns = super::mdns::Mdns::new(&running);
        }
        drop(runtime.spawn(Driver::new(Arc::clone(&shared), running)));
        let options = &shared.options;
        if options.follow && options.addresses.is_empty() {
            let changes = match options.source {
                Some(_) => Changes::Told,
                None => Changes::of_system(),
            };
            let hints = Arc::clone(&shared.lock().hints);
            drop(runtime.spawn(follow(Arc::downgrade(&shared), changes, hints, ended.clone())));
        }
        Ok(Node::new(shared, ended, unresolved))
    }
}

impl Options {
    /// The addresses to bind to, by name or by asking the system.
    pub(super) async fn bases(&self) -> Result<Vec<Base>, BindError> {
        let addresses = match &self.source {
            Some(source) => source(),
            None => self.addresses.clone(),
        };
        if addresses.is_empty() && self.source.is_some() {
            return Err(BindError::Interfaces(InterfaceError::NoAddress));
        }
        if addresses.is_empty() {
            let policy = self.policy.clone();
            let bases = tokio::task::spawn_blocking(move || enumerate(&policy)).await;
            return bases.map_err(|_| BindError::NoRuntime)?.map_err(BindError::Interfaces);
        }
        let concrete = |address: &SocketAddr| {
            let ip = address.ip();
            if ip.is_unspecified() || ip.is_multicast() {
                return Err(BindError::NotConcrete(ip));
            }
            Ok(Base { interface: String::new(), address: *address, network_cost: 0 })
        };
        addresses.iter().map(concrete).collect()
    }
}

/// Binds a socket to each base as socket set `set`; fails if none can be bound.
pub(super) fn bind_all(core: &mut Core, bases: &[Base], set: u32) -> Result<(), BindError> {
    let mut bound = 0;
    let mut failures = Vec::new();
    for base in bases {
        let socket = bind(base.address);
        match socket.and_then(|socket| core.add_socket(socket, base, set)) {
            Ok(()) => bound += 1,
            Err(error) => {
                failures.push((&base.interface, base.address, error));
            }
        }
    }
    if bound > 0 {
        for (interface, _, error) in failures {
            warn!(interface, %error, "cannot bind");
        }
        return Ok(());
    }
    match failures.pop() {
        Some((_, address, error)) => Err(BindError::Socket { address, error }),
        None => Ok(()),
    }
}
