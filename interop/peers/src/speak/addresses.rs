//! The addresses of this machine, for libraries that leave finding them to their users.

use std::net::IpAddr;

use super::arguments::Family;

/// The addresses of the interfaces that are up, without loopback and IPv6 link-local ones.
pub fn interface_addresses(family: Family) -> Vec<IpAddr> {
    let mut interfaces = netdev::get_interfaces();
    interfaces.sort_by_key(|interface| interface.index);
    let mut addresses = Vec::new();
    for interface in interfaces.iter().filter(|one| one.is_up() && !one.is_loopback()) {
        addresses.extend(interface.ipv4.iter().map(|net| IpAddr::V4(net.addr())));
        let v6 = interface.ipv6.iter().map(|net| net.addr());
        addresses.extend(v6.filter(|ip| !ip.is_unicast_link_local()).map(IpAddr::V6));
    }
    addresses.retain(|ip| family.has(*ip));
    addresses
}
