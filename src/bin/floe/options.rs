//! Options that several commands share.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};
use floe::Node;
use floe::config::CandidatePolicy;
use floe::driver::{NodeBuilder, StunUrl};

use crate::Failure;

/// Where to send from and whom to ask.
#[derive(Args)]
pub(crate) struct Network {
    /// Ask this STUN server for our public address: stun:host[:port]; repeatable
    #[arg(long, value_name = "URL", value_parser = stun_url)]
    stun: Vec<StunUrl>,
    /// Relay through this TURN server: turn:host[:port][?transport=udp|tcp], turns: for TLS;
    /// repeatable
    #[arg(long, value_name = "URL")]
    turn: Vec<String>,
    /// The user name at the TURN server: one for each --turn, or one for all
    #[arg(long, value_name = "NAME")]
    username: Vec<String>,
    /// The password likewise; other users see it in the list of processes, but not the environment
    /// variable FLOE_TURN_PASSWORD, which is used if no --password is given
    #[arg(long, value_name = "PASSWORD", allow_hyphen_values = true)]
    password: Vec<String>,
    /// Trust the certificates of this file, in PEM, for turns: servers, and not the system's;
    /// repeatable
    #[arg(long, value_name = "FILE")]
    tls_roots: Vec<PathBuf>,
    /// Also use TCP candidates (not in this version)
    #[arg(long)]
    tcp: bool,
    /// Which candidates are used
    #[arg(long, value_enum, default_value_t = Policy::All)]
    policy: Policy,
    /// Use the addresses of this interface alone, loopback included; repeatable
    #[arg(long, value_name = "NAME")]
    interface: Vec<String>,
    /// Bind to this address, with or without a port, instead of all; repeatable
    #[arg(long, value_name = "ADDR", value_parser = address, conflicts_with = "interface")]
    bind: Vec<SocketAddr>,
    /// Use the addresses alone that lead to the Internet by the system's default routes
    #[arg(long, conflicts_with = "bind")]
    default_route: bool,
    /// Use IPv4 alone
    #[arg(long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// Use IPv6 alone
    #[arg(long)]
    ipv6: bool,
    /// Signal host addresses as random names, which those on the same link find by multicast DNS
    #[arg(long)]
    hide_addresses: bool,
    /// Draw all randomness from this secret, 1 to 64 hex digits: for tests only
    #[arg(long, value_name = "HEX", value_parser = seed)]
    seed: Option<[u8; 32]>,
    /// Log to stderr; repeat for more
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
}

/// Which candidates are used.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Policy {
    /// All of them.
    All,
    /// Relayed ones alone: nothing is sent but to TURN servers.
    Relay,
}

/// The environment variable with the password of the TURN servers.
const PASSWORD: &str = "FLOE_TURN_PASSWORD";

impl Network {
    /// Starts logging, and builds a node.
    pub(crate) fn builder(&self) -> Result<NodeBuilder, Failure> {
        if self.policy == Policy::Relay && self.turn.is_empty() {
            return Err(Failure::usage(
                "--policy relay needs a TURN server; add --turn URL --username NAME --password \
                 PASSWORD",
            ));
        }
        self.builder_with_relay()
    }

    /// The same where the caller adds TURN servers of its own.
    pub(crate) fn builder_with_relay(&self) -> Result<NodeBuilder, Failure> {
        log(self.verbose);
        if self.tcp {
            return Err(Failure::usage("this version has no TCP candidates yet; leave out --tcp"));
        }
        let policy = match self.policy {
            Policy::All => CandidatePolicy::All,
            Policy::Relay => CandidatePolicy::Relay,
        };
        let mut builder = Node::builder().agent(|agent| agent.policy = policy);
        for url in &self.stun {
            builder = builder.stun(&url.to_string()).map_err(|e| Failure::usage(e.to_string()))?;
        }
        builder = self.add_turn(builder)?;
        for file in &self.tls_roots {
            let (shown, wanted) = (file.display(), "give a file of certificates in PEM");
            let certificates = std::fs::read(file).map_err(|error| {
                Failure::usage(format!("--tls-roots {shown}: {error}; {wanted}"))
            })?;
            builder = builder.tls_roots(&certificates).map_err(|error| {
                Failure::usage(format!("--tls-roots {shown}: {error}; {wanted}"))
            })?;
        }
        for name in &self.interface {
            builder = builder.interface(name);
        }
        for address in &self.bind {
            builder = builder.address(*address);
        }
        if self.default_route {
            builder = builder.default_route_only();
        }
        if self.hide_addresses {
            builder = builder.hide_host_addresses();
        }
        if self.ipv4 {
            builder = builder.ipv4_only();
        }
        if self.ipv6 {
            builder = builder.ipv6_only();
        }
        if let Some(address) = self.bind.iter().find(|address| self.excludes(address)) {
            return Err(Failure::usage(format!(
                "--bind {} is of the family that --ipv4 or --ipv6 excludes; leave out one of them",
                address.ip()
            )));
        }
        if let Some(seed) = self.seed {
            builder = builder.seed(seed);
        }
        Ok(builder)
    }

    /// Adds the TURN servers, each with its credentials.
    fn add_turn(&self, mut builder: NodeBuilder) -> Result<NodeBuilder, Failure> {
        let mut passwords = self.password.clone();
        let given = std::env::var(PASSWORD).ok().filter(|given| !given.is_empty());
        if passwords.is_empty() {
            passwords.extend(given.filter(|_| !self.turn.is_empty()));
        }
        for (option, values) in [("--username", &self.username), ("--password", &passwords)] {
            if self.turn.is_empty() && !values.is_empty() {
                return Err(Failure::usage(format!(
                    "{option} is for a TURN server; add --turn URL"
                )));
            }
            if values.is_empty() && !self.turn.is_empty() {
                let or = if option == "--password" {
                    format!(", or set {PASSWORD}")
                } else {
                    String::new()
                };
                return Err(Failure::usage(format!("--turn needs {option}; add it{or}")));
            }
            if values.len() > 1 && values.len() != self.turn.len() {
                return Err(Failure::usage(format!(
                    "{} --turn and {} {option}; give one {option} for each --turn, or one for all",
                    self.turn.len(),
                    values.len(),
                )));
            }
        }
        let users = self.username.iter().cycle().zip(passwords.iter().cycle());
        for (url, (username, password)) in self.turn.iter().zip(users) {
            builder = builder.turn(url, username, password).map_err(|error| {
                // Who writes a user into the URL may have written the password too.
                let shown = if url.contains('@') { "URL" } else { url };
                Failure::usage(format!("--turn {shown}: {error}"))
            })?;
        }
        Ok(builder)
    }

    fn excludes(&self, address: &SocketAddr) -> bool {
        (self.ipv4 && address.is_ipv6()) || (self.ipv6 && address.is_ipv4())
    }

    /// The seed, if one was given.
    pub(crate) fn seed(&self) -> Option<[u8; 32]> {
        self.seed
    }

    /// Whether a STUN server was named.
    pub(crate) fn has_stun(&self) -> bool {
        !self.stun.is_empty()
    }

    /// Whether a TURN server was named.
    pub(crate) fn has_turn(&self) -> bool {
        !self.turn.is_empty()
    }

    /// Binds a node of `builder`, and warns of names that cannot be resolved.
    pub(crate) async fn bind(builder: NodeBuilder) -> Result<Node, Failure> {
        let node = builder.bind().await.map_err(|error| Failure::runtime(error.to_string()))?;
        for url in node.unresolved() {
            eprintln!(
                "floe: {url} cannot be resolved; check the name, and whether this network has DNS; \
                 going on without it"
            );
        }
        Ok(node)
    }
}

fn stun_url(text: &str) -> Result<StunUrl, String> {
    text.parse().map_err(|error: floe::driver::UrlError| error.to_string())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    text.parse()
        .or_else(|_| bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0)))
        .map_err(|_| "not an address; write 192.0.2.1, 192.0.2.1:5000 or [2001:db8::1]:5000".into())
}

fn seed(text: &str) -> Result<[u8; 32], String> {
    let wanted = "not 1 to 64 hex digits; write for example --seed 2a";
    if text.is_empty() || text.len() > 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(wanted.into());
    }
    let mut seed = [0; 32];
    let padded = format!("{text:0<64}");
    for (n, octet) in seed.iter_mut().enumerate() {
        let digits = padded.get(2 * n..2 * n + 2).ok_or(wanted)?;
        *octet = u8::from_str_radix(digits, 16).map_err(|_| wanted)?;
    }
    Ok(seed)
}

fn log(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        3.. => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::new(format!("floe={level}"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_have_a_port() {
        for (text, written) in [
            ("192.0.2.1", "192.0.2.1:0"),
            ("192.0.2.1:5", "192.0.2.1:5"),
            ("::1", "[::1]:0"),
            ("[::1]", "[::1]:0"),
            ("[::1]:5", "[::1]:5"),
        ] {
            assert_eq!(address(text), Ok(written.parse().unwrap()));
        }
        assert!(address("localhost").is_err());
    }

    #[test]
    fn a_seed_is_hex_and_padded_with_zeros() {
        assert_eq!(seed("2a").unwrap()[..2], [0x2a, 0]);
        assert_eq!(seed(&"f".repeat(64)), Ok([0xff; 32]));
        assert!(seed("").is_err() && seed("x").is_err() && seed(&"0".repeat(65)).is_err());
    }
}
