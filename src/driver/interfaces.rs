//! Which addresses of this machine are bases. [RFC 8445 §5.1.1.1]

use core::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use netdev::interface::types::InterfaceType;

#[cfg(feature = "mdns")]
use crate::probe::mdns::{LinkId, Subnet};

/// When addresses of a loopback interface are bases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LoopbackUse {
    /// Only where the interface or the address is named. [rfc8445-5.1.1.1-4]
    #[default]
    Named,
    /// Also when the machine has no other usable address: for demonstrations and tests.
    LastResort,
}

/// Which addresses of this machine become sockets.
///
/// Never used: deprecated, tentative and duplicate IPv6 addresses, IPv6 link-local ones,
/// site-local ones (fec0::/10), IPv4-compatible and IPv4-mapped ones. [rfc8445-5.1.1.1-5]
/// [rfc8445-5.1.1.1-6] [rfc8445-5.1.1.1-8]
/// A temporary (privacy) IPv6 address replaces the others of its prefix on the same interface.
/// [rfc8445-5.1.1.1-7]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InterfacePolicy {
    /// The interfaces to use; none named is all of them.
    pub names: Vec<String>,
    /// Whether IPv4 addresses are used. Default true.
    pub ipv4: bool,
    /// Whether IPv6 addresses are used. Default true.
    pub ipv6: bool,
    /// When loopback is used. Default only when named.
    pub loopback: LoopbackUse,
    /// How many addresses are used, in the order of the interfaces. Default 16.
    pub max_addresses: usize,
    /// Whether only those are used that the system sends from where its default routes lead, one of
    /// each family: peers and servers learn of no other network. With names in the place of the
    /// addresses ([`HostAddresses::Named`](crate::config::HostAddresses)) this is mode 3 of
    /// RFC 8828, else mode 2. Default false, which is mode 1. [rfc8828-5.2-1] [rfc8828-5.2-2]
    /// [rfc8828-5.2-4] [rfc8828-5.2-5]
    pub default_route: bool,
}

impl Default for InterfacePolicy {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            ipv4: true,
            ipv6: true,
            loopback: LoopbackUse::Named,
            max_addresses: 16,
            default_route: false,
        }
    }
}

/// Why no address of this machine is usable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InterfaceError {
    /// There is no interface of this name: name one that exists.
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// No address is left: connect a network, allow the other family, or name `lo` to stay on
    /// this machine.
    NoAddress,
}

impl fmt::Display for InterfaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name, known } => {
                write!(f, "there is no network interface \"{name}\"; name one of: ")?;
                for (n, name) in known.iter().enumerate() {
                    write!(f, "{}{name}", if n > 0 { ", " } else { "" })?;
                }
                Ok(())
            }
            Self::NoAddress => f.write_str(
                "no usable network address; connect a network, allow both IPv4 and IPv6, or name \
                 the loopback interface to stay on this machine",
            ),
        }
    }
}

impl core::error::Error for InterfaceError {}

/// An address to bind to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) interface: String,
    pub(super) address: SocketAddr,
    pub(super) network_cost: u16,
}

/// An address of the machine as the system describes it.
#[derive(Clone, Debug)]
struct Found {
    interface: String,
    ip: IpAddr,
    prefix_len: u8,
    loopback: bool,
    temporary: bool,
    usable: bool,
    network_cost: u16,
}

/// An interface as multicast DNS sees it.
#[cfg(feature = "mdns")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) id: LinkId,
    /// An address of the node's, if it has one there.
    pub(super) v4: Option<std::net::Ipv4Addr>,
    /// Whether the node has an IPv6 address there.
    pub(super) v6: bool,
    /// All addresses of the interface.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) subnets: Vec<Subnet>,
}

/// The interfaces that have some of these addresses; takes a few milliseconds of system calls.
#[cfg(feature = "mdns")]
pub(super) fn links(of: &[IpAddr]) -> Vec<Link> {
    let mut links = Vec::new();
    for interface in netdev::get_interfaces() {
        let v4 = interface.ipv4.iter().map(|net| (IpAddr::from(net.addr()), net.prefix_len()));
        let v6 = interface.ipv6.iter().map(|net| (IpAddr::from(net.addr()), net.prefix_len()));
        let nets: Vec<_> = v4.chain(v6).collect();
        let addresses: Vec<IpAddr> = nets.iter().map(|(ip, _)| *ip).collect();
        let ours = || addresses.iter().filter(|ip| of.contains(ip));
        if ours().next().is_none() {
            continue;
        }
        let subnets = nets.iter().map(|(ip, len)| Subnet { address: *ip, prefix_len: *len });
        links.push(Link {
            id: LinkId(interface.index),
            v4: ours().find_map(|ip| match ip {
                IpAddr::V4(ip) => Some(*ip),
                IpAddr::V6(_) => None,
            }),
            v6: ours().any(IpAddr::is_ipv6),
            subnets: subnets.collect(),
            addresses,
        });
    }
    links
}

/// Asks the system for its addresses and chooses; takes a few milliseconds of system calls.
pub(super) fn enumerate(policy: &InterfacePolicy) -> Result<Vec<Base>, InterfaceError> {
    let mut interfaces = netdev::get_interfaces();
    // The system's order, whatever order they come in.
    interfaces.sort_by_key(|interface| interface.index);
    let mut found = Vec::new();
    let mut names = Vec::new();
    for interface in &interfaces {
        names.push(interface.name.clone());
        if !interface.is_up() {
            continue;
        }
        let describe = |ip, prefix_len| Found {
            interface: interface.name.clone(),
            ip,
            prefix_len,
            loopback: interface.is_loopback(),
            temporary: false,
            usable: true,
            network_cost: cost(interface.if_type),
        };
        for net in &interface.ipv4 {
            found.push(describe(net.addr().into(), net.prefix_len()));
        }
        for (n, net) in interface.ipv6.iter().enumerate() {
            let flags = interface.ipv6_addr_flags.get(n).copied().unwrap_or_default();
            found.push(Found {
                temporary: flags.temporary,
                usable: !(flags.deprecated || flags.tentative || flags.duplicated),
                ..describe(net.addr().into(), net.prefix_len())
            });
        }
    }
    let routed = policy.default_route.then(default_sources);
    choose(&found, &names, policy, routed.as_deref())
}

/// The addresses that the system sends from where its default routes lead: toward a root server of
/// the DNS, which is everywhere. A socket that is connected tells; nothing is sent. [RFC 8828 §6.2]
fn default_sources() -> Vec<IpAddr> {
    let v4 = (IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from([198, 41, 0, 4]));
    let far6 = Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30);
    let v6 = (IpAddr::from(Ipv6Addr::UNSPECIFIED), IpAddr::from(far6));
    let source = |(any, far): (IpAddr, IpAddr)| {
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect((far, 53)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    [v4, v6].into_iter().filter_map(source).collect()
}

/// What it costs to send on an interface, 0 to 999, in the scale that browsers use.
fn cost(kind: InterfaceType) -> u16 {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is foreign and long")]
    match kind {
        InterfaceType::Wireless80211 => 10,
        InterfaceType::Wwan | InterfaceType::Wwanpp | InterfaceType::Wwanpp2 => 900,
        _ => 0,
    }
}

/// `routed` are the addresses that alone are used; of these the system prefers the temporary ones.
fn choose(
    found: &[Found],
    names: &[String],
    policy: &InterfacePolicy,
    routed: Option<&[IpAddr]>,
) -> Result<Vec<Base>, InterfaceError> {
    if let Some(name) = policy.names.iter().find(|name| !names.contains(name)) {
        return Err(InterfaceError::Unknown { name: name.clone(), known: names.to_vec() });
    }
    let named = |f: &&Found| policy.names.is_empty() || policy.names.contains(&f.interface);
    let candidates: Vec<&Found> = found
        .iter()
        .filter(named)
        .filter(|f| f.usable && is_base(&f.ip))
        .filter(|f| if f.ip.is_ipv4() { policy.ipv4 } else { policy.ipv6 })
        .filter(|f| match routed {
            Some(routed) => routed.contains(&f.ip),
            None => f.temporary || !has_temporary_sibling(f, found),
        })
        .collect();
    let is_loopback = |f: &Found| f.loopback || f.ip.is_loopback();
    let others = candidates.iter().any(|f| !is_loopback(f));
    let loopback_too = !policy.names.is_empty()
        || match policy.loopback {
            LoopbackUse::Named => false,
            LoopbackUse::LastResort => !others,
        };
    let bases: Vec<Base> = candidates
        .into_iter()
        .filter(|f| loopback_too || !is_loopback(f))
        .take(policy.max_addresses)
        .map(|f| Base {
            interface: f.interface.clone(),
            address: SocketAddr::new(f.ip, 0),
            network_cost: f.network_cost,
        })
        .collect();
    if bases.is_empty() { Err(InterfaceError::NoAddress) } else { Ok(bases) }
}

/// Whether an address may be a base at all.
fn is_base(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() || ip.is_link_local())
        }
        IpAddr::V6(ip) => {
            let site_local = ip.segments().first().is_some_and(|first| first & 0xffc0 == 0xfec0);
            let compatible =
                ip.segments().iter().take(6).all(|part| *part == 0) && *ip != Ipv6Addr::LOCALHOST;
            let mapped = ip.to_ipv4_mapped().is_some();
            let link_local = ip.is_unicast_link_local();
            !(site_local || compatible || mapped || link_local || ip.is_multicast())
        }
    }
}

/// Whether the interface has a usable temporary address in the prefix of `address`.
fn has_temporary_sibling(address: &Found, found: &[Found]) -> bool {
    found.iter().any(|other| {
        other.temporary
            && other.usable
            && other.interface == address.interface
            && same_prefix(other.ip, address.ip, address.prefix_len.min(64))
    })
}

fn same_prefix(a: IpAddr, b: IpAddr, len: u8) -> bool {
    match (a, b) {
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let shift = 128u32.saturating_sub(u32::from(len));
            u128::from(a).checked_shr(shift) == u128::from(b).checked_shr(shift)
        }
        (IpAddr::V4(_), _) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(interface: &str, ip: &str) -> Found {
        let ip: IpAddr = ip.parse().unwrap();
        Found {
            interface: interface.into(),
            ip,
            prefix_len: 64,
            loopback: interface == "lo",
            temporary: false,
            usable: true,
            network_cost: 0,
        }
    }

    fn chosen(found: &[Found], policy: &InterfacePolicy) -> Vec<String> {
        let names = ["lo".to_owned(), "eth0".to_owned()];
        let bases = choose(found, &names, policy, None).unwrap_or_default();
        bases.into_iter().map(|base| base.address.ip().to_string()).collect()
    }

    /// [rfc8445-5.1.1.1-4]
    #[test]
    fn loopback_is_a_base_only_when_named_or_wanted_as_the_last_resort() {
        let both = [found("lo", "127.0.0.1"), found("eth0", "192.0.2.1")];
        let mut policy = InterfacePolicy::default();
        assert_eq!(chosen(&both, &policy), ["192.0.2.1"]);
        assert!(chosen(&both[..1], &policy).is_empty());
        policy.loopback = LoopbackUse::LastResort;
        assert_eq!(chosen(&both, &policy), ["192.0.2.1"]);
        assert_eq!(chosen(&both[..1], &policy), ["127.0.0.1"]);
        policy = InterfacePolicy { names: vec!["lo".into()], ..InterfacePolicy::default() };
        assert_eq!(chosen(&both, &policy), ["127.0.0.1"]);
    }

    /// [rfc8445-5.1.1.1-5] [rfc8445-5.1.1.1-6] [rfc8445-5.1.1.1-8]
    #[test]
    fn site_local_compatible_mapped_and_link_local_addresses_are_no_bases() {
        let all = ["fec0::1", "::192.0.2.1", "::ffff:192.0.2.1", "fe80::1", "ff02::1", "::"]
            .map(|ip| found("eth0", ip));
        assert!(chosen(&all, &InterfacePolicy::default()).is_empty());
    }

    /// [rfc8445-5.1.1.1-7]
    #[test]
    fn a_temporary_address_replaces_the_trackable_ones_of_its_prefix() {
        let temporary = Found { temporary: true, ..found("eth0", "2001:db8::77") };
        let trackable = found("eth0", "2001:db8::1");
        let elsewhere = found("eth0", "2001:db8:1::1");
        let all = [trackable.clone(), temporary.clone(), elsewhere];
        assert_eq!(chosen(&all, &InterfacePolicy::default()), ["2001:db8::77", "2001:db8:1::1"]);
        let deprecated = Found { usable: false, ..temporary };
        assert_eq!(chosen(&[trackable, deprecated], &InterfacePolicy::default()), ["2001:db8::1"]);
    }

    /// [rfc8445-5.1.1.1-1] [rfc8828-5.2-1]
    #[test]
    fn every_usable_address_is_a_base_within_the_limit() {
        let all: Vec<_> = (1..=20).map(|n| found("eth0", &format!("192.0.2.{n}"))).collect();
        assert_eq!(chosen(&all, &InterfacePolicy::default()).len(), 16);
        assert_eq!(chosen(&all[..3], &InterfacePolicy::default()).len(), 3);
        let v6 = InterfacePolicy { ipv4: false, ..InterfacePolicy::default() };
        assert!(chosen(&all, &v6).is_empty());
    }

    /// [rfc8828-5.2-2] [rfc8828-5.2-4]
    #[test]
    fn where_the_default_route_counts_other_networks_are_not_told_of() {
        let all = [
            found("eth0", "192.0.2.1"),
            found("eth0", "2001:db8::1"),
            Found { temporary: true, ..found("eth0", "2001:db8::77") },
            found("vpn0", "198.51.100.1"),
        ];
        let names = ["eth0".to_owned(), "vpn0".to_owned()];
        let policy = InterfacePolicy { default_route: true, ..InterfacePolicy::default() };
        let with = |routed: &[&str]| -> Vec<String> {
            let routed: Vec<IpAddr> = routed.iter().map(|ip| ip.parse().unwrap()).collect();
            let bases = choose(&all, &names, &policy, Some(&routed)).unwrap_or_default();
            bases.into_iter().map(|base| base.address.ip().to_string()).collect()
        };
        assert_eq!(with(&["192.0.2.1", "2001:db8::1"]), ["192.0.2.1", "2001:db8::1"]);
        assert_eq!(with(&["198.51.100.1"]), ["198.51.100.1"]);
        assert!(with(&[]).is_empty());
    }

    #[test]
    fn an_unknown_interface_is_named_with_the_known_ones() {
        let policy = InterfacePolicy { names: vec!["eth7".into()], ..InterfacePolicy::default() };
        let error = choose(&[], &["lo".into(), "eth0".into()], &policy, None).unwrap_err();
        assert!(error.to_string().ends_with("name one of: lo, eth0"));
    }
}
