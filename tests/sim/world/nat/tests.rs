//! Each axis of a NAT does what its name says.

use core::time::Duration;
use std::net::{IpAddr, SocketAddr};

use crate::world::nat::{Depends, Exhaustion, Nat, NatBox, Pooling, Ports, Scope};
use crate::world::rng::Rng;
use crate::world::{BEGINNING, millis, secs};

const PEERS: [&str; 3] = ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1"];

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn peers() -> [SocketAddr; 3] {
    PEERS.map(at)
}

fn inside(port: u16) -> SocketAddr {
    SocketAddr::new(at("10.1.0.2:0").ip(), port)
}

fn nat(behaviour: Nat) -> NatBox {
    let externals: Vec<IpAddr> =
        (1..=behaviour.addresses).map(|n| IpAddr::from([198, 18, 0, n])).collect();
    NatBox::new(behaviour, externals, Rng::new(1, "nat"))
}

fn ports(ports: Ports) -> NatBox {
    nat(Nat { ports, ..Nat::FULL_CONE })
}

/// The port that a packet from `from` leaves by.
fn port_of(nat: &mut NatBox, from: SocketAddr) -> u16 {
    nat.outbound(BEGINNING, from, at(PEERS[0])).unwrap().port()
}

#[test]
fn a_mapping_depends_on_what_its_name_says() {
    for (mapping, distinct) in
        [(Depends::Independent, 1), (Depends::Address, 2), (Depends::AddressAndPort, 3)]
    {
        let mut nat = nat(Nat::new(mapping, Depends::Independent));
        let mut seen = peers().map(|to| nat.outbound(BEGINNING, inside(40_000), to)).to_vec();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), distinct, "{mapping:?}");
    }
}

#[test]
fn a_filter_lets_in_what_its_name_says() {
    for (filtering, admitted) in
        [(Depends::Independent, 3), (Depends::Address, 2), (Depends::AddressAndPort, 1)]
    {
        let mut nat = nat(Nat::new(Depends::Independent, filtering));
        let ours = nat.outbound(BEGINNING, inside(40_000), at(PEERS[0])).unwrap();
        let admits = |from: &SocketAddr| nat.clone().inbound(BEGINNING, *from, ours).is_some();
        assert_eq!(peers().iter().filter(|from| admits(from)).count(), admitted, "{filtering:?}");
    }
}

#[test]
fn a_filter_of_the_endpoint_lets_in_by_every_mapping_and_one_of_the_mapping_by_its_own() {
    for (scope, admitted) in [(Scope::Endpoint, true), (Scope::Mapping, false)] {
        let mut nat = nat(Nat { scope, ..Nat::new(Depends::AddressAndPort, Depends::Address) });
        let [near, _, far] = peers();
        let ours = nat.outbound(BEGINNING, inside(40_000), near).unwrap();
        nat.outbound(BEGINNING, inside(40_000), far).unwrap();
        assert_eq!(nat.inbound(BEGINNING, far, ours).is_some(), admitted, "{scope:?}");
    }
}

#[test]
fn a_silent_mapping_is_forgotten_and_a_used_one_is_not() {
    let (inside, peer) = (inside(40_000), at(PEERS[0]));
    let mut nat = nat(Nat::FULL_CONE.with_timeout(secs(30)));
    let ours = nat.outbound(BEGINNING, inside, peer).unwrap();
    assert_eq!(nat.outbound(BEGINNING + secs(29), inside, peer), Some(ours));
    assert_eq!(nat.inbound(BEGINNING + secs(58), peer, ours), Some(inside));
    assert_eq!(nat.inbound(BEGINNING + secs(59), peer, ours), None);
}

#[test]
fn each_direction_keeps_a_mapping_alive_where_it_is_said_to() {
    for (outbound_refreshes, inbound_refreshes) in [(true, false), (false, true), (true, true)] {
        let behaviour = Nat { outbound_refreshes, inbound_refreshes, ..Nat::PORT_RESTRICTED };
        let (inside, peer) = (inside(40_000), at(PEERS[0]));
        let mut by_us = nat(behaviour.with_timeout(secs(30)));
        let ours = by_us.outbound(BEGINNING, inside, peer).unwrap();
        let mut by_them = by_us.clone();
        by_us.outbound(BEGINNING + secs(20), inside, peer).unwrap();
        by_them.inbound(BEGINNING + secs(20), peer, ours).unwrap();
        let lives = |mut nat: NatBox| nat.inbound(BEGINNING + secs(40), peer, ours).is_some();
        assert_eq!((lives(by_us), lives(by_them)), (outbound_refreshes, inbound_refreshes));
    }
}

#[test]
fn what_was_never_answered_is_forgotten_sooner() {
    let unreplied = Some(secs(30));
    let (inside, peer) = (inside(40_000), at(PEERS[0]));
    let mut silent = nat(Nat { unreplied, ..Nat::PORT_RESTRICTED });
    let ours = silent.outbound(BEGINNING, inside, peer).unwrap();
    let mut answered = silent.clone();
    assert!(answered.inbound(BEGINNING + secs(1), peer, ours).is_some());
    assert!(silent.inbound(BEGINNING + secs(31), peer, ours).is_none());
    assert!(answered.inbound(BEGINNING + secs(100), peer, ours).is_some());
}

#[test]
fn a_preserved_port_is_the_same_outside_unless_it_is_taken() {
    let mut nat = ports(Ports::Preserve);
    assert_eq!(port_of(&mut nat, inside(40_000)), 40_000);
    assert_ne!(port_of(&mut nat, at("10.1.0.3:40000")), 40_000);
}

#[test]
fn an_overloaded_port_belongs_to_whoever_contacted_the_peer() {
    let behaviour = Nat { ports: Ports::Overload, ..Nat::PORT_RESTRICTED };
    let (mut nat, [near, _, far]) = (nat(behaviour), peers());
    let [one, two] = ["10.1.0.2:40000", "10.1.0.3:40000"].map(at);
    let ours = nat.outbound(BEGINNING, one, near).unwrap();
    assert_eq!(nat.outbound(BEGINNING, two, far), Some(ours));
    assert_eq!(nat.inbound(BEGINNING, near, ours), Some(one));
    assert_eq!(nat.inbound(BEGINNING, far, ours), Some(two));
}

#[test]
fn ports_in_a_row_are_as_far_apart_as_is_said() {
    for (ports_of, step) in
        [(Ports::Sequential, 1), (Ports::Stepping(7), 7), (Ports::Stepping(-2), -2)]
    {
        let mut nat = ports(ports_of);
        let [one, two] = [40_000, 50_000].map(|port| port_of(&mut nat, inside(port)));
        assert_eq!(i32::from(two) - i32::from(one), step, "{ports_of:?}");
    }
}

#[test]
fn parity_is_preserved_where_it_is_said_to_be() {
    let mut nat = ports(Ports::Parity);
    for port in 40_000..40_100 {
        assert_eq!(port_of(&mut nat, inside(port)) % 2, port % 2);
    }
}

#[test]
fn ports_that_are_neighbours_inside_are_neighbours_outside() {
    let mut nat = ports(Ports::Contiguous);
    let rtp = port_of(&mut nat, inside(40_000));
    assert_eq!(port_of(&mut nat, inside(40_001)), rtp + 1);
}

#[test]
fn paired_pooling_gives_a_host_one_address_and_arbitrary_pooling_many() {
    for (pooling, several) in [(Pooling::Paired, false), (Pooling::Arbitrary, true)] {
        let mut nat = nat(Nat { addresses: 4, pooling, ..Nat::FULL_CONE });
        let mut seen: Vec<IpAddr> = (40_000..40_020)
            .map(|port| nat.outbound(BEGINNING, inside(port), at(PEERS[0])).unwrap().ip())
            .collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len() > 1, several, "{pooling:?}");
    }
}

#[test]
fn a_reboot_that_keeps_ports_keeps_a_host_at_its_address() {
    let mut nat = nat(Nat { addresses: 4, ..Nat::SYMMETRIC });
    let hosts = [2, 3, 4, 5, 6].map(|n| SocketAddr::new(IpAddr::from([10, 1, 0, n]), 40_000));
    let [before, after] = [PEERS[0], PEERS[2]].map(|peer| {
        let seen = hosts.map(|host| nat.outbound(BEGINNING, host, at(peer)).unwrap().ip());
        nat.reboot_with_same_ports();
        seen
    });
    assert_eq!(after, before);
}

#[test]
fn an_icmp_error_ends_a_mapping_only_where_it_is_said_to() {
    for icmp_kills in [false, true] {
        let mut nat = nat(Nat { icmp_kills, ..Nat::FULL_CONE });
        let (inside, peer) = (inside(40_000), at(PEERS[0]));
        let ours = nat.outbound(BEGINNING, inside, peer).unwrap();
        assert_eq!(nat.icmp(BEGINNING, inside, peer), Some(ours));
        assert_eq!(nat.inbound(BEGINNING, peer, ours).is_none(), icmp_kills);
    }
}

#[test]
fn a_full_nat_refuses_what_is_new_or_evicts_what_is_old() {
    for (then, first_stays) in [(Exhaustion::Refuse, true), (Exhaustion::Evict, false)] {
        let mut nat = nat(Nat { limit: Some((2, then)), ..Nat::FULL_CONE });
        let peer = at(PEERS[0]);
        let mut out = |port, after| nat.outbound(BEGINNING + millis(after), inside(port), peer);
        let first = out(40_000, 0).unwrap();
        assert!(out(40_001, 1).is_some());
        assert_eq!(out(40_002, 2).is_none(), first_stays);
        assert_eq!(nat.inbound(BEGINNING + millis(3), peer, first).is_some(), first_stays);
    }
}

#[test]
fn mappings_are_made_no_faster_than_is_allowed() {
    let mut nat = nat(Nat { rate: Some(2), ..Nat::FULL_CONE });
    let mut made = |from: u16, after: Duration| {
        let peer = at(PEERS[0]);
        (from..from + 5)
            .filter(|port| nat.outbound(BEGINNING + after, inside(*port), peer).is_some())
            .count()
    };
    assert_eq!((made(40_000, secs(0)), made(41_000, secs(1))), (2, 2));
}

#[test]
fn an_unasked_packet_that_comes_first_makes_the_way_to_its_sender_leave_by_another_port() {
    let (mut nat, [stun, _, peer]) = (nat(Nat::LINUX), peers());
    let ours = nat.outbound(BEGINNING, inside(40_000), stun).unwrap();
    let mut in_time = nat.clone();
    assert_eq!(in_time.outbound(BEGINNING, inside(40_000), peer), Some(ours));
    assert_eq!(in_time.inbound(BEGINNING, peer, ours), Some(inside(40_000)));

    assert_eq!(nat.inbound(BEGINNING, peer, ours), None);
    let other = nat.outbound(BEGINNING, inside(40_000), peer).unwrap();
    assert_ne!(other, ours);
    assert_eq!(nat.outbound(BEGINNING + secs(20), inside(40_000), peer), Some(other));
    // As long as they call, it stays; a silence of both heals it.
    assert_eq!(nat.inbound(BEGINNING + secs(20), peer, ours), None);
    nat.outbound(BEGINNING + secs(40), inside(40_000), stun).unwrap();
    assert_eq!(
        nat.outbound(BEGINNING + secs(55), inside(40_000), peer).map(|at| at.port()),
        Some(40_000)
    );
}

#[test]
fn a_reboot_keeps_ports_changes_them_or_changes_the_address() {
    let peer = at(PEERS[0]);
    for ports in [Ports::Random, Ports::Preserve] {
        let mut before = nat(Nat { ports, ..Nat::PORT_RESTRICTED });
        let ours = before.outbound(BEGINNING, inside(40_000), peer).unwrap();
        let after = |change: fn(&mut NatBox)| {
            let mut nat = before.clone();
            change(&mut nat);
            assert_eq!(nat.inbound(BEGINNING, peer, ours), None, "it forgot");
            nat.outbound(BEGINNING, inside(40_000), peer).unwrap()
        };
        assert_eq!(after(NatBox::reboot_with_same_ports), ours);
        assert_ne!(after(NatBox::reboot), ours);
        let moved = after(|nat| nat.reboot_elsewhere(vec![IpAddr::from([198, 18, 9, 9])]));
        assert_eq!(moved.ip(), IpAddr::from([198, 18, 9, 9]));
    }
}
