//! A peer with credentials aims our checks at somebody: the voice hammer. [RFC 8445 §19.5.1]

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use floe::candidate::Credentials;
use floe::config::{AgentConfig, Limits, Role};
use floe::{CandidateRejected, Instant};

use super::{Lonely, description};
use crate::topology::AddressKind;
use crate::world::network::INTERNET;
use crate::world::{Fate, Node, World, secs};

/// Octets of the headers of IPv4 and UDP.
const HEADERS: usize = 28;

fn hammered() -> Lonely {
    Lonely::new(AgentConfig::new(Role::Controlling))
}

/// A new generation of a peer that signals ten thousand candidates; returns how many were taken.
fn hammer(lonely: &mut Lonely, ufrag: &str, victim: impl Fn(u32) -> SocketAddr) -> u64 {
    lonely.remote(&description(ufrag, &[])).expect("a peer may restart");
    let mut taken = 0;
    for number in 0..10_000 {
        match lonely.candidate(victim(number)) {
            Ok(()) => taken += 1,
            Err(CandidateRejected::Limit { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    taken
}

fn one_victim(number: u32) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 66], 1_000 + (number % 50_000) as u16))
}

fn many_victims(number: u32) -> SocketAddr {
    SocketAddr::new(IpAddr::V4((0xCB00_0000 + number).into()), 5_000)
}

fn octets(sent: &[(Instant, SocketAddr, Vec<u8>)]) -> usize {
    sent.iter().map(|(_, _, octets)| octets.len() + HEADERS).sum()
}

/// Ten thousand candidates on one IP address: it gets what one address may get, to the packet.
/// [rfc8445-19.5.1-1] [rfc8445-19.5.1-2]
#[test]
fn one_victim_gets_fifty_six_packets_whatever_is_signalled() {
    let limits = Limits::default();
    let mut lonely = hammered();
    let taken = hammer(&mut lonely, "peer", one_victim);
    assert_eq!(taken, u64::from(limits.remote_candidates_per_ip));
    lonely.run_for(secs(120));
    assert_eq!(lonely.sent.len(), usize::from(limits.unverified_packets_per_ip));
    assert!(octets(&lonely.sent) <= 7_800, "{}", octets(&lonely.sent));
    assert!(lonely.cannot_send());
}

/// With ten restarts in two minutes it gets what a minute forgets twice over, and no more.
/// [rfc8445-19.5.1-1]
#[test]
fn restarts_give_one_victim_no_more_than_time_forgives() {
    let limits = Limits::default();
    let mut lonely = hammered();
    let start = lonely.now;
    hammer(&mut lonely, "peer0", one_victim);
    for restart in 1..=10 {
        lonely.run_for(secs(11));
        hammer(&mut lonely, &format!("peer{restart}"), one_victim);
    }
    let last = lonely.now.since(start);
    lonely.run_for(secs(120) - last);
    // One packet is forgiven in 60 / 56 s.
    let refill = last.as_millis() * u128::from(limits.unverified_refill_per_ip) / 60_000;
    let most = u128::from(limits.unverified_packets_per_ip) + refill;
    assert_eq!((most, lonely.sent.len()), (158, 158));
}

/// Ten thousand candidates on as many IP addresses: all of them together get what a generation
/// may send to strangers. [rfc8445-19.5.1-1] [rfc8445-19.5.1-2]
#[test]
fn many_victims_get_two_hundred_and_fifty_six_packets_together() {
    let limits = Limits::default();
    let mut lonely = hammered();
    let taken = hammer(&mut lonely, "peer", many_victims);
    assert_eq!(taken, u64::from(limits.remote_candidates));
    lonely.run_for(secs(120));
    assert_eq!(lonely.sent.len(), usize::from(limits.unverified_packets));
    assert!(octets(&lonely.sent) <= limits.unverified_octets as usize);
}

/// Long ufrags make long checks: then the octets are what ends it, to the packet.
#[test]
fn many_victims_get_thirty_six_kibioctets_together() {
    let limits = Limits::default();
    let mut lonely = hammered();
    hammer(&mut lonely, &"u".repeat(256), many_victims);
    lonely.run_for(secs(120));
    let each = lonely.sent[0].2.len() + HEADERS;
    assert_eq!(lonely.sent.len(), limits.unverified_octets as usize / each);
}

/// Each generation has its budget, and there are ten more of them in five minutes.
#[test]
fn restarts_are_the_only_way_to_more_victims() {
    let limits = Limits::default();
    let mut lonely = hammered();
    let mut generations = vec![0];
    hammer(&mut lonely, "peer0", many_victims);
    for restart in 1..=10 {
        lonely.run_for(secs(28));
        generations.push(lonely.sent.len());
        hammer(&mut lonely, &format!("peer{restart}"), many_victims);
    }
    let eleventh = lonely.remote(&description("peer11", &[]));
    assert_eq!(eleventh, Err(floe::DescriptionRejected::TooManyRestarts));
    lonely.run_for(secs(120));
    generations.push(lonely.sent.len());
    for two in generations.windows(2) {
        assert_eq!(two[1] - two[0], usize::from(limits.unverified_packets));
    }
}

/// The octets that are counted are those on the wire: IPv6 has longer headers.
/// [rfc8445-19.5.1-1]
#[test]
fn ipv6_victims_get_no_more_octets_than_others() {
    let world = World::new(seed!());
    let hosts = [world.host(), world.host()].map(|host| {
        (0..7).fold(host.also_v6(), |host, _| host.add_interface(INTERNET, AddressKind::V6))
    });
    let spent = Rc::new(Cell::new(0));
    let count = Rc::clone(&spent);
    world.intercept(move |_, packet| {
        if packet.sender == Node::Host(0) && packet.to.is_ipv6() {
            count.set(count.get() + packet.octets.len() + 48);
        }
        Fate::Drop
    });
    let long = Credentials { ufrag: "u".repeat(64), password: "p".repeat(22) };
    let call = world.call(hosts[0], hosts[1]).without_restarts();
    call.tune(hosts[1], move |config| config.credentials = Some(long.clone()));
    world.run_for(secs(60));
    let most = Limits::default().unverified_octets as usize;
    assert!((most / 2..=most).contains(&spent.get()), "{} octets", spent.get());
}
