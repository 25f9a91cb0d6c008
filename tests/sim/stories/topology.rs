//! What a topology says is what the world does.

use floe::AgentState;
use floe::candidate::{CandidateAddress, CandidateKind};

use crate::topology::{AddressKind, Interface, Network, Party, Place, Topology};
use crate::world::call::Call;
use crate::world::nat::{Depends, Nat};
use crate::world::{World, secs};

const HOME: Network =
    Network { outer: Some(Place::Internet), nat: None, firewall: None, blocks_udp: false };

fn party(place: Place, kinds: &[AddressKind]) -> Party {
    let interfaces = kinds.iter().map(|&kind| Interface { place, kind }).collect();
    Party { interfaces, stun: true, turns: vec![0], relay_only: false }
}

fn two(networks: Vec<Network>, kinds: [&[AddressKind]; 2]) -> Topology {
    let last = networks.len() - 1;
    let parties = [party(Place::Network(last), kinds[0]), party(Place::Internet, kinds[1])];
    Topology { networks, turns: 1, parties }
}

/// Builds it, lets the two meet, and shows the call.
fn meet<T>(name: &str, topology: &Topology, look: impl FnOnce(&World, Call<'_>) -> T) -> T {
    let world = World::new(crate::world::Seed::of(name));
    let [left, right] = topology.build(&world);
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(20));
    assert!(call.agree(), "{}, {}", call.pair(left), call.pair(right));
    look(&world, call)
}

fn kinds_and_hops(topology: &Topology) -> (CandidateKind, usize) {
    meet("kinds", topology, |_, call| {
        let [left, _] = call.hosts();
        (call.pair(left).kinds().0, call.hops(left))
    })
}

#[test]
fn a_public_network_behind_a_firewall_needs_no_translation() {
    let firewall = Some(Depends::AddressAndPort);
    for kind in [AddressKind::V4, AddressKind::V6] {
        let network = Network { firewall, ..HOME };
        let topology = two(vec![network], [&[kind], &[kind]]);
        assert_eq!(kinds_and_hops(&topology), (CandidateKind::Host, 0), "{kind:?}");
    }
}

#[test]
fn three_nats_in_a_row_are_passed() {
    let nat = |nat, outer| Network { outer: Some(outer), nat: Some(nat), ..HOME };
    let networks = vec![
        nat(Nat::PORT_RESTRICTED, Place::Internet),
        nat(Nat::ADDRESS_RESTRICTED, Place::Network(0)),
        nat(Nat::PORT_RESTRICTED, Place::Network(1)),
    ];
    let topology = two(networks, [&[AddressKind::V4], &[AddressKind::V4]]);
    assert_eq!(kinds_and_hops(&topology).1, 0);
}

#[test]
fn ipv6_goes_around_the_nat_that_ipv4_needs() {
    let network = Network { nat: Some(Nat::SYMMETRIC), ..HOME };
    let both: &[AddressKind] = &[AddressKind::V4, AddressKind::V6];
    assert_eq!(kinds_and_hops(&two(vec![network], [both, both])), (CandidateKind::Host, 0));
}

#[test]
fn who_has_ipv6_alone_reaches_who_has_ipv4_alone_over_a_relay() {
    let topology = two(vec![HOME], [&[AddressKind::V6], &[AddressKind::V4]]);
    assert_eq!(kinds_and_hops(&topology).1, 1);
}

#[test]
fn where_udp_is_blocked_nothing_connects_over_udp() {
    let network = Network { blocks_udp: true, ..HOME };
    let world = World::new(seed!());
    let topology = two(vec![network], [&[AddressKind::V4], &[AddressKind::V4]]);
    let [left, right] = topology.build(&world);
    let call = world.call(left, right).without_restarts();
    world.run_until(call.both_failed(), secs(60));
    assert_eq!(call.state(left), Some(AgentState::Failed));
}

#[test]
fn a_unique_local_address_does_not_leave_its_network() {
    let local: &[AddressKind] = &[AddressKind::V6Local];
    let world = World::new(seed!());
    let [left, right] = two(vec![HOME], [local, local]).build(&world);
    let call = world.call(left, right).without_restarts();
    world.run_until(call.both_failed(), secs(60));
    // Within one network it serves.
    let mut together = two(vec![HOME], [local, local]);
    together.parties[1] = together.parties[0].clone();
    assert_eq!(kinds_and_hops(&together), (CandidateKind::Host, 0));
}

#[test]
fn sockets_are_opened_on_temporary_addresses_and_on_no_deprecated_one() {
    use AddressKind::{V6, V6Deprecated, V6Temporary};
    let many: &[AddressKind] = &[V6, V6Temporary, V6Deprecated];
    meet("temporary", &two(vec![HOME], [many, &[V6]]), |_, call| {
        let [left, _] = call.hosts();
        let temporary = left.addresses()[1];
        let candidates = call.description(left).streams[0].candidates.clone();
        let hosts = candidates.iter().filter(|candidate| candidate.kind == CandidateKind::Host);
        let used: Vec<_> = hosts
            .map(|host| match &host.address {
                CandidateAddress::Ip(address) => address.ip(),
                CandidateAddress::Name { .. } => panic!("no names here"),
            })
            .collect();
        assert_eq!(used, [temporary]);
    });
}
