//! Options that several commands share.

use std::net::{IpAddr, SocketAddr};

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
    /// Relay through this TURN server (not in this version)
    #[arg(long, value_name = "URL")]
    turn: Vec<String>,
    /// The user name at the TURN servers (not in this version)
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// The password at the TURN servers (not in this version)
    #[arg(long, value_name = "PASSWORD")]
    password: Option<String>,
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
    /// Use IPv4 alone
    #[arg(long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// Use IPv6 alone
    #[arg(long)]
    ipv6: bool,
    /// Draw all randomness from this secret, 1 to 64 hex digits: for tests only
    #[arg(long, value_name = "HEX", value_parser = seed)]
    seed: Option<[u8; 32]>,
    /// Log to stderr; repeat for more
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
}

/// Which candidates are used.
#[derive(Clone, Copy, ValueEnum)]
enum Policy {
    /// All of them.
    All,
    /// Relayed ones alone (needs TURN, which is not in this version).
    Relay,
}

impl Network {
    /// Starts logging, refuses what this version has not, and builds a node of the rest.
    pub(crate) fn builder(&self) -> Result<NodeBuilder, Failure> {
        log(self.verbose);
        if !self.turn.is_empty() || self.username.is_some() || self.password.is_some() {
            return Err(Failure::usage(
                "this version has no TURN yet; leave out --turn, --username and --password",
            ));
        }
        if self.tcp {
            return Err(Failure::usage("this version has no TCP candidates yet; leave out --tcp"));
        }
        let policy = match self.policy {
            Policy::All => CandidatePolicy::All,
            Policy::Relay => {
                return Err(Failure::usage(
                    "--policy relay needs TURN, which this version has not; use --policy all",
                ));
            }
        };
        let mut builder = Node::builder().agent(|agent| agent.policy = policy);
        for url in &self.stun {
            builder = builder.stun(&url.to_string()).map_err(|e| Failure::usage(e.to_string()))?;
        }
        for name in &self.interface {
            builder = builder.interface(name);
        }
        for address in &self.bind {
            builder = builder.address(*address);
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

    /// Binds a node of `builder`, and warns of names that cannot be resolved.
    pub(crate) async fn bind(builder: NodeBuilder) -> Result<Node, Failure> {
        let node = builder.bind().await.map_err(|error| Failure::runtime(error.to_string()))?;
        for url in node.unresolved() {
            eprintln!("floe: {url} cannot be resolved; going on without it");
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
