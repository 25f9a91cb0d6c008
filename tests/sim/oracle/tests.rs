//! The oracle itself: against the vectors, against special cases, and in any order.
#![cfg(test)]

use floe::candidate::CandidateKind::{self, Host, PeerReflexive, Relayed, ServerReflexive};

use super::{Class, Verdict, judge, judge_at_random};
use crate::topology::{AddressKind, Interface, Network, Party, Place, Topology};
use crate::world::nat::{Depends, Hairpin, Nat, Pooling, Scope};
use crate::world::rng::Rng;
use crate::world::secs;

const VECTORS: &str = include_str!("../../vectors/nat/matrix.tsv");
const INTERNET: Network =
    Network { outer: Some(Place::Internet), nat: None, firewall: None, blocks_udp: false };

fn behind(nat: Nat) -> Network {
    Network { nat: Some(nat), ..INTERNET }
}

fn firewalled(firewall: Depends) -> Network {
    Network { firewall: Some(firewall), ..INTERNET }
}

fn party(network: usize, turns: &[usize]) -> Party {
    let interface = Interface { place: Place::Network(network), kind: AddressKind::V4 };
    Party { interfaces: vec![interface], stun: true, turns: turns.to_vec(), relay_only: false }
}

/// Two parties, each in a network of its own, that have these TURN servers.
fn two(left: Network, right: Network, turns: [&[usize]; 2]) -> Topology {
    Topology {
        networks: vec![left, right],
        turns: 2,
        parties: [party(0, turns[0]), party(1, turns[1])],
    }
}

fn direct(left: Network, right: Network) -> Verdict {
    judge(&two(left, right, [&[], &[]]))
}

/// A row of the vectors: both networks with filters of some scope, whether there is a direct path,
/// and the types of both candidates.
struct Row {
    networks: [Network; 2],
    class: Class,
    kinds: [CandidateKind; 2],
}

fn rows(scope: Scope) -> Vec<Row> {
    let depends = |text: &str| match text {
        "independent" => Depends::Independent,
        "address" => Depends::Address,
        "address-and-port" => Depends::AddressAndPort,
        other => panic!("{other:?}"),
    };
    let network = |mapping: &str, filtering: &str| match (mapping, depends(filtering)) {
        ("none", Depends::Independent) => INTERNET,
        ("none", filtering) => firewalled(filtering),
        (mapping, filtering) => behind(Nat { scope, ..Nat::new(depends(mapping), filtering) }),
    };
    let kind = |text: &str| match text {
        "host" => Host,
        "srflx" => ServerReflexive,
        "prflx" => PeerReflexive,
        other => panic!("{other:?}"),
    };
    let lines = VECTORS.lines().filter(|line| !line.starts_with('#'));
    let row = |line: &str| {
        let [m1, f1, m2, f2, class, left, right] =
            line.split('\t').collect::<Vec<_>>().try_into().expect("seven columns");
        let class = match class {
            "direct" => Class::Direct,
            "scope" if scope == Scope::Endpoint => Class::Direct,
            "scope" | "relay" => Class::OneRelay,
            other => panic!("{other:?}"),
        };
        Row {
            networks: [network(m1, f1), network(m2, f2)],
            class,
            kinds: [kind(left), kind(right)],
        }
    };
    lines.map(row).collect()
}

#[test]
fn every_cell_of_the_matrix_is_as_the_vectors_say() {
    for (scope, expected) in [(Scope::Endpoint, 96), (Scope::Mapping, 93)] {
        let rows = rows(scope);
        assert_eq!(rows.len(), 144);
        assert_eq!(rows.iter().filter(|row| row.class == Class::Direct).count(), expected);
        for (n, Row { networks: [left, right], class, kinds: [l, r] }) in
            rows.into_iter().enumerate()
        {
            let turns: [[&[usize]; 2]; 4] = [[&[], &[]], [&[0], &[]], [&[], &[1]], [&[0], &[1]]];
            let found = turns.map(|turns| judge(&two(left, right, turns)));
            let (l, r) = match class {
                Class::Direct => {
                    for verdict in &found {
                        assert_eq!(verdict.class, Class::Direct, "{scope:?}, row {n}");
                        assert_eq!(verdict.kinds, [[(l, r), (r, l)]], "{scope:?}, row {n}");
                    }
                    continue;
                }
                _ => (l, r),
            };
            let of_left = [(Relayed, r), (r, Relayed)];
            let of_right = [(l, Relayed), (Relayed, l)];
            let [none, left, right, both] = found;
            assert_eq!((none.class, none.kinds), (Class::None, vec![]), "{scope:?}, row {n}");
            assert_eq!((left.class, left.kinds), (class, vec![of_left]), "{scope:?}, row {n}");
            assert_eq!((right.class, right.kinds), (class, vec![of_right]), "{scope:?}, row {n}");
            assert_eq!(both.class, class, "{scope:?}, row {n}");
        }
    }
}

#[test]
fn the_order_of_the_checks_changes_nothing() {
    let mut rng = Rng::new(1, "interleavings");
    for scope in [Scope::Endpoint, Scope::Mapping] {
        for Row { networks: [left, right], .. } in rows(scope) {
            let topology = two(left, right, [&[0], &[0, 1]]);
            let verdict = judge(&topology);
            for _ in 0..5 {
                assert_eq!(judge_at_random(&topology, &mut rng), verdict, "{topology:?}");
            }
        }
    }
}

#[test]
fn a_check_that_comes_too_early_is_missed_only_where_no_other_gets_through() {
    let hard = behind(Nat { scope: Scope::Mapping, ..Nat::SYMMETRIC });
    let easy = firewalled(Depends::Address);
    assert!(direct(hard, easy).repeats);
    assert!(direct(easy, hard).repeats);
    assert!(!direct(behind(Nat::PORT_RESTRICTED), behind(Nat::PORT_RESTRICTED)).repeats);
    assert!(!direct(hard, INTERNET).repeats);
}

#[test]
fn without_udp_a_relay_cannot_be_reached_either() {
    let blocked = Network { blocks_udp: true, ..behind(Nat::FULL_CONE) };
    for networks in [[blocked, INTERNET], [INTERNET, blocked], [blocked, blocked]] {
        let verdict = judge(&two(networks[0], networks[1], [&[0], &[1]]));
        assert_eq!(verdict.class, Class::None);
        assert_eq!(verdict.time_to_connect(secs(1), secs(1)), None);
    }
}

#[test]
fn two_who_use_relays_alone_meet_over_two() {
    let mut topology = two(INTERNET, behind(Nat::SYMMETRIC), [&[0], &[1]]);
    for party in &mut topology.parties {
        party.relay_only = true;
    }
    let verdict = judge(&topology);
    assert_eq!(verdict.class, Class::TwoRelays);
    assert_eq!(verdict.kinds, [[(Relayed, Relayed), (Relayed, Relayed)]]);
    topology.parties[0].relay_only = false;
    assert_eq!(judge(&topology).class, Class::OneRelay);
}

/// Two homes on one carrier's network.
fn on_one_carrier(carrier: Nat, homes: [Nat; 2]) -> Topology {
    let home = |nat| Network { outer: Some(Place::Network(2)), ..behind(nat) };
    Topology {
        networks: vec![home(homes[0]), home(homes[1]), behind(carrier)],
        turns: 0,
        parties: [party(0, &[]), party(1, &[])],
    }
}

#[test]
fn homes_on_one_carrier_need_it_to_turn_packets_round() {
    let cone = Nat::FULL_CONE;
    let judge = |hairpin| judge(&on_one_carrier(cone.with_hairpin(hairpin), [cone, cone]));
    assert_eq!(judge(Hairpin::None).class, Class::None);
    let verdict = judge(Hairpin::External);
    assert_eq!(verdict.class, Class::Direct);
    assert_eq!(verdict.kinds, [[(ServerReflexive, ServerReflexive); 2]]);
    assert!(verdict.is_signalled());
    // Seen from inside at the addresses that the homes have on the carrier's network.
    let verdict = judge(Hairpin::Internal);
    assert_eq!(verdict.class, Class::Direct);
    assert_eq!(verdict.kinds, [[(PeerReflexive, PeerReflexive); 2]]);
    assert!(!verdict.is_signalled());
}

#[test]
fn a_chain_of_nats_is_as_strict_as_the_strictest() {
    let chain = |carrier, home| {
        let mut topology = on_one_carrier(carrier, [home, home]);
        topology.networks[1] = behind(Nat::PORT_RESTRICTED);
        judge(&topology).class
    };
    assert_eq!(chain(Nat::FULL_CONE, Nat::PORT_RESTRICTED), Class::Direct);
    assert_eq!(chain(Nat::PORT_RESTRICTED, Nat::FULL_CONE), Class::Direct);
    assert_eq!(chain(Nat::SYMMETRIC, Nat::FULL_CONE), Class::None);
    assert_eq!(chain(Nat::FULL_CONE, Nat::SYMMETRIC), Class::None);
}

#[test]
fn two_in_one_network_meet_there() {
    for hairpin in [Hairpin::None, Hairpin::Internal] {
        let mut topology = two(behind(Nat::SYMMETRIC.with_hairpin(hairpin)), INTERNET, [&[], &[]]);
        topology.parties[1].interfaces[0].place = Place::Network(0);
        let verdict = judge(&topology);
        assert_eq!(verdict.class, Class::Direct, "{hairpin:?}");
        assert_eq!(verdict.kinds, [[(Host, Host); 2]], "{hairpin:?}");
    }
}

fn v6(topology: &mut Topology, kind: AddressKind) {
    for (n, party) in topology.parties.iter_mut().enumerate() {
        party.interfaces.push(Interface { place: Place::Network(n), kind });
    }
}

#[test]
fn firewalls_before_ipv6_open_to_both_at_once() {
    let strict = Network { firewall: Some(Depends::AddressAndPort), ..behind(Nat::SYMMETRIC) };
    let mut topology = two(strict, strict, [&[], &[]]);
    assert_eq!(judge(&topology).class, Class::None);
    v6(&mut topology, AddressKind::V6);
    let verdict = judge(&topology);
    assert_eq!((verdict.class, verdict.kinds), (Class::Direct, vec![[(Host, Host); 2]]));
}

#[test]
fn arbitrary_pooling_hides_a_hard_nat_from_filters_by_address() {
    let pooled = |mapping| {
        behind(Nat {
            addresses: 4,
            pooling: Pooling::Arbitrary,
            ..Nat::new(mapping, Depends::Independent)
        })
    };
    let filtered = behind(Nat::ADDRESS_RESTRICTED);
    // One mapping has one address.
    assert_eq!(direct(pooled(Depends::Independent), filtered).class, Class::Direct);
    assert_eq!(direct(pooled(Depends::AddressAndPort), filtered).class, Class::None);
    assert_eq!(
        direct(behind(Nat::new(Depends::AddressAndPort, Depends::Independent)), filtered).class,
        Class::Direct
    );
    // The relay lets in the signalled address alone.
    let hard = pooled(Depends::AddressAndPort);
    let strict = behind(Nat::PORT_RESTRICTED);
    assert_eq!(judge(&two(hard, strict, [&[], &[1]])).class, Class::None);
    assert_eq!(judge(&two(hard, strict, [&[0], &[]])).class, Class::OneRelay);
}

#[test]
fn unique_local_addresses_do_not_leave_their_network() {
    let mut topology = two(behind(Nat::SYMMETRIC), behind(Nat::SYMMETRIC), [&[], &[]]);
    v6(&mut topology, AddressKind::V6Local);
    assert_eq!(judge(&topology).class, Class::None);
}

#[test]
fn a_deprecated_address_is_not_used() {
    let mut topology = two(behind(Nat::SYMMETRIC), behind(Nat::SYMMETRIC), [&[], &[]]);
    v6(&mut topology, AddressKind::V6Deprecated);
    assert_eq!(judge(&topology).class, Class::None);
    v6(&mut topology, AddressKind::V6);
    v6(&mut topology, AddressKind::V6Temporary);
    let verdict = judge(&topology);
    assert_eq!((verdict.class, verdict.kinds), (Class::Direct, vec![[(Host, Host); 2]]));
    assert_eq!(verdict.ahead, [3, 3]);
}

#[test]
fn families_do_not_mix() {
    let mut topology = two(INTERNET, INTERNET, [&[], &[]]);
    topology.parties[0].interfaces[0].kind = AddressKind::V6;
    assert_eq!(judge(&topology).class, Class::None);
    // A relay has both.
    topology.parties[1].turns = vec![0];
    let verdict = judge(&topology);
    assert_eq!(verdict.class, Class::OneRelay);
    assert_eq!(verdict.kinds, [[(Host, Relayed), (Relayed, Host)]]);
}

#[test]
fn a_peer_without_a_stun_server_is_met_where_it_calls_from() {
    let mut topology = two(behind(Nat::PORT_RESTRICTED), INTERNET, [&[], &[]]);
    topology.parties[0].stun = false;
    let verdict = judge(&topology);
    assert_eq!(verdict.class, Class::Direct);
    assert_eq!(verdict.kinds, [[(PeerReflexive, Host), (Host, PeerReflexive)]]);
}
