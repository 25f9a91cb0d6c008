//! Multihomed and dual-stack fairness. [RFC 8421]

use floe::Socket;
use floe::candidate::{CandidateKind, priority};
use floe::config::{AgentConfig, EndpointConfig, Role};

use crate::harness::{World, addr};
use crate::rfc8445_gathering::rows;

/// The families of the host candidates, best first: 4 or 6, lower case for an unreliable one.
fn order(sockets: &[Socket]) -> Vec<String> {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    for socket in sockets {
        world.socket(node, socket.clone());
    }
    let party = world.agent(node, AgentConfig::new(Role::Controlling));
    let mut all = world.description(party).streams.remove(0).candidates;
    all.sort_by_key(|candidate| std::cmp::Reverse(candidate.priority));
    assert!(all.iter().all(|candidate| candidate.priority >> 24 == 126));
    all.iter()
        .map(|candidate| {
            let address = candidate.socket_address().unwrap();
            let family = if address.is_ipv4() { '4' } else { '6' };
            let known = sockets.iter().find(|socket| socket.address == address).unwrap();
            if known.reliable { format!("{family}") } else { format!("u{family}") }
        })
        .collect()
}

fn v4(last: u8) -> Socket {
    Socket::udp(addr(&format!("192.0.2.{last}:1000")))
}

fn v6(last: u8) -> Socket {
    Socket::udp(addr(&format!("[2001:db8::{last}]:1000")))
}

/// Two IPv4 and six IPv6 addresses: one IPv4 after four IPv6 at the latest.
/// [rfc8421-4-p1] [rfc8421-4-p2] [rfc8421-4-p3] [rfc8445-5.1.2.1-6] [rfc8445-5.1.2.2-2]
/// [rfc8445-B.9-1]
#[test]
fn ipv4_candidates_follow_a_small_run_of_ipv6() {
    let sockets = [v4(1), v4(2), v6(1), v6(2), v6(3), v6(4), v6(5), v6(6)];
    let order = order(&sockets);
    assert_eq!(order[0], "6", "IPv6 has the head start: {order:?}");
    let first = order.iter().position(|family| family == "4").unwrap();
    assert!((3..=4).contains(&first), "Hi = (2 + 6) / 2 = 4: {order:?}");
    let last = order.iter().rposition(|family| family == "4").unwrap();
    assert!(last - first <= 4, "{order:?}");
}

/// [rfc8421-4-p1]
#[test]
fn equal_numbers_alternate() {
    let order = order(&[v4(1), v4(2), v4(3), v6(1), v6(2), v6(3)]);
    assert_eq!(order, ["6", "4", "6", "4", "6", "4"]);
}

/// [rfc8421-4-p1]
#[test]
fn few_ipv6_addresses_among_many_ipv4_come_early() {
    let order = order(&[v4(1), v4(2), v4(3), v4(4), v4(5), v6(1)]);
    assert_eq!(order[0], "6");
    assert_eq!(order.len(), 6);
}

/// [rfc8421-1-p1] [rfc8421-3-p1] [rfc8421-5-p2]
#[test]
fn unreliable_interfaces_come_last_and_are_not_intermingled() {
    let order = order(&[v6(1).unreliable(), v4(1), v6(2), v4(2).unreliable(), v4(3)]);
    assert_eq!(order[0], "6");
    assert!(order[..3].iter().all(|place| !place.starts_with('u')), "{order:?}");
    assert!(order[3..].iter().all(|place| place.starts_with('u')), "{order:?}");
}

/// [rfc8421-3-p2]
#[test]
fn without_knowledge_interfaces_are_reliable() {
    assert!(Socket::udp(addr("192.0.2.1:1")).reliable);
}

/// [rfc8421-5-1] [rfc8421-5-p1] [rfc8445-5.1.2-2]
#[test]
fn the_table_of_the_rfc_comes_out_of_the_formula() {
    for row in rows("rfc8421-table.txt") {
        let (n, local): (u32, u16) = (row[0].parse().unwrap(), row[5].parse().unwrap());
        let kind = match (row[1].as_str(), n) {
            // The table demotes these two by a type preference that is not theirs.
            ("host", 15 | 16) | ("srflx", _) => CandidateKind::ServerReflexive,
            ("host", _) => CandidateKind::Host,
            ("relay", _) => CandidateKind::Relayed,
            other => panic!("{other:?}"),
        };
        let computed = priority(kind, local, row[3].parse().unwrap());
        assert_eq!(computed.to_string(), row[4], "row {n}");
    }
}
