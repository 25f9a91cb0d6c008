//! Gathering, priorities and foundations. [RFC 8445 §5]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use floe::candidate::{Candidate, CandidateKind, Foundation, priority};
use floe::config::{AgentConfig, CandidatePolicy, EndpointConfig, Mode, Role, Trickle};
use floe::event::GatherFailure;
use floe::stun::{AttributeType, MessageClass};
use floe::{AgentState, ComponentId, DropReason, Event, Server, Socket};

use crate::harness::{
    Hand, Outcome, Packet, Party, Verdict, World, addr, encode, host, ms, stun_server,
};

const BASE: &str = "192.0.2.1:1000";
const SERVER: &str = "203.0.113.1:3478";
const MAPPED: &str = "198.51.100.1:6000";

/// The rows of a file of `tests/vectors/priority`.
pub(crate) fn rows(name: &str) -> Vec<Vec<String>> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/priority");
    let text = std::fs::read_to_string(path.join(name)).unwrap();
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

fn kind(text: &str) -> CandidateKind {
    match text {
        "host" => CandidateKind::Host,
        "prflx" => CandidateKind::PeerReflexive,
        "srflx" => CandidateKind::ServerReflexive,
        "relay" => CandidateKind::Relayed,
        other => panic!("{other}"),
    }
}

fn candidates(world: &World, party: Party) -> Vec<Candidate> {
    let streams = world.description(party).streams;
    streams.into_iter().flat_map(|stream| stream.candidates).collect()
}

fn of_kind(world: &World, party: Party, kind: CandidateKind) -> Vec<Candidate> {
    candidates(world, party).into_iter().filter(|candidate| candidate.kind == kind).collect()
}

fn has_completed(world: &World) -> bool {
    world.events.iter().any(|(_, _, event)| matches!(event, Event::GatheringComplete { .. }))
}

/// One socket, one agent, servers at the given addresses.
fn gathering(servers: &[&str]) -> (World, Party) {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.udp(node, BASE);
    for server in servers {
        world.server(node, Server::stun(addr(server)));
    }
    let party = world.agent(node, AgentConfig::new(Role::Controlling));
    (world, party)
}

/// [rfc8445-5.1.2-2] [rfc8445-5.1.2-1b] [rfc8445-5.1.2.1-3] [rfc8445-5.1.2.2-1]
/// [rfc8445-5.1.2.1-1a] [rfc8445-5.1.2.1-1b] [rfc8445-5.1.2.1-1c] [rfc8445-5.1.2.1-2]
#[test]
fn candidate_priorities_follow_the_recommended_formula() {
    let mut preferences = BTreeSet::new();
    for row in rows("candidates.txt") {
        let kind = kind(&row[0]);
        assert_eq!(kind.type_preference().to_string(), row[1]);
        preferences.insert(kind.type_preference());
        let computed = priority(kind, row[2].parse().unwrap(), row[3].parse().unwrap());
        // The one combination that the formula makes zero is raised into the range.
        let expected: u32 = row[4].parse::<u32>().unwrap().max(1);
        assert_eq!(computed, expected, "{row:?}");
        assert!((1..=0x7FFF_FFFF).contains(&computed));
    }
    assert_eq!(preferences.len(), 4);
    let reflexive = CandidateKind::PeerReflexive.type_preference();
    assert!(reflexive > CandidateKind::ServerReflexive.type_preference());
}

/// [rfc8445-5.1.2.1-7]
#[test]
fn component_ids_are_1_to_256() {
    assert!(ComponentId::new(0, 0).is_none());
    assert!(ComponentId::new(0, 1).is_some());
    assert!(ComponentId::new(0, 256).is_some());
    assert!(ComponentId::new(0, 257).is_none());
}

/// [rfc8445-5.3-p1]
#[test]
fn foundations_are_one_to_thirty_two_characters() {
    assert!(Foundation::new("").is_none());
    assert!(Foundation::new(&"a".repeat(32)).is_some());
    assert!(Foundation::new(&"a".repeat(33)).is_none());
    let (world, party) = gathering(&[]);
    assert!((1..=32).contains(&candidates(&world, party)[0].foundation.as_str().len()));
}

/// [rfc8445-5.1.2.1-4] [rfc8445-5.1.1.1-3]
#[test]
fn a_single_address_gets_the_highest_priority_there_is() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.udp(node, BASE);
    let second = ComponentId::new(0, 2).unwrap();
    world.socket(node, Socket::udp(addr("192.0.2.1:1001")).with_component(second));
    let mut config = AgentConfig::new(Role::Controlling);
    config.streams = vec![2];
    let party = world.agent(node, config);
    let all: Vec<_> = candidates(&world, party).iter().map(|c| (c.component, c.priority)).collect();
    assert_eq!(all, [(1, 2_130_706_431), (2, 2_130_706_430)]);
}

/// [rfc8445-5.1.1.1-2] [rfc8445-5.2-4]
#[test]
fn every_component_that_is_configured_gets_candidates() {
    for mode in [Mode::Full, Mode::Lite] {
        let mut world = World::new();
        let node = world.node(EndpointConfig::default());
        for number in 1..=3 {
            let address = addr(&format!("192.0.2.1:{}", 1_000 + number));
            let component = ComponentId::new(0, number).unwrap();
            world.socket(node, Socket::udp(address).with_component(component));
        }
        let mut config = AgentConfig::new(Role::Controlled);
        config.mode = mode;
        config.streams = vec![2];
        let party = world.agent(node, config);
        let all: Vec<_> = candidates(&world, party).iter().map(|c| c.component).collect();
        assert_eq!(all, [1, 2], "and none for a component that is not");
    }
}

/// [rfc8445-5.1.1.1-5] [rfc8445-5.1.1.1-6]
#[test]
fn deprecated_addresses_are_never_offered() {
    let mut world = World::new();
    let all = ["[fec0::1]:1000", "[::192.0.2.9]:1000", "[2001:db8::1]:1000"];
    let party = world.party(AgentConfig::new(Role::Controlling), &all);
    let offered: Vec<_> =
        candidates(&world, party).iter().filter_map(Candidate::socket_address).collect();
    assert_eq!(offered, [addr("[2001:db8::1]:1000")]);

    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.socket(node, Socket::udp(addr("[::ffff:192.0.2.1]:1000")));
    let party = world.agent(node, AgentConfig::new(Role::Controlling));
    let offered = candidates(&world, party)[0].socket_address();
    assert_eq!(offered, Some(addr("192.0.2.1:1000")), "a mapped address is an IPv4 address");
}

/// [rfc8445-19.1-1]
#[test]
fn an_agent_uses_the_sockets_that_it_is_told_to() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.udp(node, BASE);
    let chosen = world.udp(node, "10.0.0.1:1000");
    let mut config = AgentConfig::new(Role::Controlling);
    config.sockets = Some(vec![chosen]);
    let party = world.agent(node, config);
    let all = candidates(&world, party);
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].socket_address(), Some(addr("10.0.0.1:1000")));
}

/// [rfc8445-5.1.1.2-1] [rfc8445-5.1.1.2-p2]
#[test]
fn a_server_reflexive_candidate_names_the_base_that_the_request_left_from() {
    let (mut world, party) = gathering(&[SERVER]);
    world.respond(addr(SERVER), stun_server(|_| addr(MAPPED)));
    world.run_for(ms(2_000));
    let found = of_kind(&world, party, CandidateKind::ServerReflexive);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].socket_address(), Some(addr(MAPPED)));
    assert_eq!(found[0].related, Some(addr(BASE)));
    assert_eq!(found[0].priority, priority(CandidateKind::ServerReflexive, 65_535, 1));
    assert!(has_completed(&world));
}

/// [rfc8445-5.1.1.2-2]
#[test]
fn reflexive_candidates_can_be_switched_off() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.udp(node, BASE);
    world.server(node, Server::stun(addr(SERVER)));
    world.respond(addr(SERVER), stun_server(|_| addr(MAPPED)));
    let mut config = AgentConfig::new(Role::Controlling);
    config.policy = CandidatePolicy::Relay;
    let party = world.agent(node, config);
    world.run_for(ms(6_000));
    assert!(candidates(&world, party).is_empty());
}

/// [rfc8445-5.3-4]
#[test]
fn a_hidden_base_is_not_given_away_by_the_related_address() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.socket(node, Socket::udp(addr(BASE)).hidden());
    world.server(node, Server::stun(addr(SERVER)));
    world.respond(addr(SERVER), stun_server(|_| addr(MAPPED)));
    let party = world.agent(node, AgentConfig::new(Role::Controlling));
    world.run_for(ms(2_000));
    let all = candidates(&world, party);
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].related, Some(addr("0.0.0.0:9")));
}

/// [rfc8445-5.1.1.2-4a] [rfc8445-5.1.1.2-4b]
#[test]
fn every_server_is_asked_from_every_base_it_can_be_reached_from() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.udp(node, BASE);
    world.udp(node, "10.0.0.1:1000");
    world.udp(node, "[2001:db8::1]:1000");
    for server in [SERVER, "203.0.113.2:3478", "[2001:db8::53]:3478"] {
        world.server(node, Server::stun(addr(server)));
        world.respond(addr(server), stun_server(|from| from));
    }
    world.agent(node, AgentConfig::new(Role::Controlling));
    world.run_for(ms(300));
    let asked: BTreeSet<_> =
        world.log.iter().filter(|p| p.is_request()).map(|p| (p.from, p.to)).collect();
    assert_eq!(asked.len(), 5, "two IPv4 bases with two servers, one IPv6 base with one");
    assert!(asked.iter().all(|(from, to)| from.is_ipv4() == to.is_ipv4()));
}

/// [rfc8445-5.1.1.2-4b]
#[test]
fn one_answer_of_a_group_is_enough_for_a_base() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.udp(node, BASE);
    let servers = [SERVER, "203.0.113.2:3478", "203.0.113.3:3478"];
    for (index, server) in servers.iter().enumerate() {
        world.server(node, Server::stun(addr(server)).in_group(7));
        let mapped = addr(&format!("198.51.100.1:{}", 6_000 + index));
        world.respond(addr(server), stun_server(move |_| mapped));
    }
    world.silence(addr(SERVER));
    let party = world.agent(node, AgentConfig::new(Role::Controlling));
    world.run_for(ms(3_000));
    let found = of_kind(&world, party, CandidateKind::ServerReflexive);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].socket_address(), Some(addr("198.51.100.1:6001")));
    assert!(has_completed(&world), "the silent server of the group is not waited for");
}

/// [rfc8445-5.1.1.3-p1]
#[test]
fn foundations_are_equal_for_equal_type_base_address_and_server_alone() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    let second = ComponentId::new(0, 2).unwrap();
    for (address, component) in [
        ("10.0.0.1:1000", ComponentId::FIRST),
        ("10.0.0.1:1001", second),
        ("10.0.0.2:1000", ComponentId::FIRST),
    ] {
        world.socket(node, Socket::udp(addr(address)).with_component(component));
    }
    // Two addresses of servers, one of them with two ports.
    for server in [SERVER, "203.0.113.1:3479", "203.0.113.2:3478"] {
        world.server(node, Server::stun(addr(server)));
        let port: u16 = if server == SERVER { 0 } else { addr(server).port() - 3_000 };
        let last = if server.starts_with("203.0.113.2") { 2 } else { 1 };
        world.respond(
            addr(server),
            stun_server(move |from| {
                let std::net::IpAddr::V4(ip) = from.ip() else { panic!("{from}") };
                let ip = [198, 51, 100 + last, ip.octets()[3]];
                (ip, from.port() + port).into()
            }),
        );
    }
    let mut config = AgentConfig::new(Role::Controlling);
    config.streams = vec![2];
    let party = world.agent(node, config);
    world.run_for(ms(3_000));
    let all = candidates(&world, party);
    assert_eq!(all.len(), 3 + 9, "{all:#?}");
    for a in &all {
        for b in &all {
            let origin = |c: &Candidate| {
                let own = c.socket_address().unwrap();
                // The third octet says which server's address it was.
                let server = c.related.map(|_| match own.ip() {
                    std::net::IpAddr::V4(ip) => ip.octets()[2],
                    std::net::IpAddr::V6(_) => 0,
                });
                (c.kind, c.related.unwrap_or(own).ip(), server)
            };
            assert_eq!(a.foundation == b.foundation, origin(a) == origin(b), "{a:?} {b:?}");
        }
    }
}

/// [rfc8445-5.1.2-1a] [rfc8445-5.1.2.1-5] [rfc8445-5.1.2.2-3] [rfc8421-5-1] [rfc8445-5.1.3-p1]
#[test]
fn priorities_are_unique_within_a_stream() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    for last in 1..=6 {
        world.udp(node, &format!("10.0.0.{last}:1000"));
        world.udp(node, &format!("10.0.0.{last}:1001"));
        world.udp(node, &format!("[2001:db8::{last}]:1000"));
    }
    for server in 1..=20_u16 {
        let address = addr(&format!("203.0.113.{server}:3478"));
        world.server(node, Server::stun(address));
        // All bases seem to have one address, yet they are different bases: no redundancy.
        world.respond(address, stun_server(move |_| ([198, 51, 100, 1], 6_000 + server).into()));
    }
    let party = world.agent(node, AgentConfig::new(Role::Controlling));
    world.run_for(ms(5_000));
    let all = candidates(&world, party);
    assert_eq!(all.len(), 18 + 12 * 20);
    let unique: BTreeSet<u32> = all.iter().map(|candidate| candidate.priority).collect();
    assert_eq!(unique.len(), all.len());
    assert!(unique.iter().all(|priority| (1..=0x7FFF_FFFF).contains(priority)));
    for candidate in &all {
        let preference = candidate.priority >> 24;
        assert_eq!(preference, u32::from(candidate.kind.type_preference()));
    }
}

/// [rfc8445-5.1.3-1]
#[test]
fn a_reflexive_candidate_that_equals_its_base_is_redundant() {
    let (mut world, party) = gathering(&[SERVER]);
    world.respond(addr(SERVER), stun_server(|from| from));
    world.run_for(ms(2_000));
    let all = candidates(&world, party);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0].kind, CandidateKind::Host, "the one of higher priority stays");
}

/// [rfc8445-5.1.3-p1]
#[test]
fn one_address_seen_from_two_bases_makes_two_candidates() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.udp(node, "10.0.0.1:1000");
    world.udp(node, "10.0.0.2:1000");
    world.server(node, Server::stun(addr(SERVER)));
    world.respond(addr(SERVER), stun_server(|_| addr(MAPPED)));
    let party = world.agent(node, AgentConfig::new(Role::Controlling));
    world.run_for(ms(2_000));
    assert_eq!(of_kind(&world, party, CandidateKind::ServerReflexive).len(), 2);
}

/// [rfc8445-5.1.1.2-5]
#[test]
fn a_classic_server_is_understood() {
    let (mut world, party) = gathering(&[SERVER]);
    world.respond(addr(SERVER), |request| {
        vec![encode(MessageClass::Success, request.id(), |message| {
            message.address(AttributeType::MAPPED_ADDRESS, addr(MAPPED))
        })]
    });
    world.run_for(ms(2_000));
    let found = of_kind(&world, party, CandidateKind::ServerReflexive);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].socket_address(), Some(addr(MAPPED)));
}

/// [rfc8445-5.1.1.2-p1]
#[test]
fn an_alternate_server_is_not_followed() {
    for class in [MessageClass::Success, MessageClass::Error] {
        let (mut world, party) = gathering(&[SERVER]);
        let elsewhere = addr("203.0.113.66:3478");
        world.respond(addr(SERVER), move |request| {
            vec![encode(class, request.id(), |message| {
                let message = message.address(AttributeType::ALTERNATE_SERVER, elsewhere);
                match class {
                    MessageClass::Success => {
                        message.xor_address(AttributeType::XOR_MAPPED_ADDRESS, addr(MAPPED))
                    }
                    MessageClass::Error | MessageClass::Request | MessageClass::Indication => {
                        message.error_code(300, "Try Alternate")
                    }
                }
            })]
        });
        world.run_for(ms(10_000));
        assert!(world.mail(elsewhere).is_empty());
        let found = of_kind(&world, party, CandidateKind::ServerReflexive).len();
        assert_eq!(found, usize::from(class == MessageClass::Success));
        let refused = world.events.iter().any(|(_, _, event)| {
            matches!(event, Event::GatheringFailed { reason: GatherFailure::Refused(300), .. })
        });
        assert_eq!(refused, class == MessageClass::Error);
        assert!(has_completed(&world));
    }
}

/// A server that answers with an error is left alone, and what it was asked fits anywhere.
/// [rfc8489-6.3.4-2b] [rfc8489-6.3.4-3] [rfc8489-6.1-6] [rfc8489-6.1-8] [rfc8489-16.1.2-1]
#[test]
fn a_server_in_trouble_is_not_asked_again() {
    let mut world = World::new();
    let software = "\u{10348}".repeat(200);
    let mut config = EndpointConfig::default();
    config.software = Some(software);
    let node = world.node(config);
    world.udp(node, "10.0.0.1:1000");
    world.server(node, Server::stun(addr(SERVER)));
    world.respond(addr(SERVER), |request| {
        vec![encode(MessageClass::Error, request.id(), |m| m.error_code(500, "").fingerprint())]
    });
    world.agent(node, AgentConfig::new(Role::Controlling));
    world.run_for(ms(60_000));
    let asked = world.requests_from("10.0.0.1:1000");
    assert_eq!(asked.len(), 1);
    assert!(asked[0].message().software().is_some());
    assert!((500..548).contains(&asked[0].octets.len()));
    assert!(has_completed(&world));
}

/// [rfc8445-14.2-4]
#[test]
fn gathering_starts_one_transaction_at_a_time() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    for last in 1..=4 {
        world.udp(node, &format!("10.0.0.{last}:1000"));
    }
    for last in 1..=5 {
        let server = addr(&format!("203.0.113.{last}:3478"));
        world.server(node, Server::stun(server));
        world.respond(server, stun_server(|from| from));
    }
    let start = world.now;
    world.agent(node, AgentConfig::new(Role::Controlling));
    world.run_for(ms(400));
    let times: Vec<_> = world.log.iter().filter(|p| p.is_request()).map(|p| p.at - start).collect();
    let expected: Vec<_> = (0..20).map(|step| ms(5 * step)).collect();
    assert_eq!(times, expected);
}

/// [rfc8445-14.3-1] [rfc8445-14.3-4]
#[test]
fn requests_to_a_silent_server_back_off_from_half_a_second() {
    let (mut world, party) = gathering(&[SERVER]);
    let start = world.now;
    world.run_for(ms(60_000));
    let sent: Vec<_> = world.requests_from(BASE).iter().map(|p| p.at - start).collect();
    let expected = rows("retransmission.txt").remove(0);
    let expected = expected[4..].iter().map(|millis| ms(millis.parse().unwrap()));
    // Gathering gives the server up after 5 s.
    let expected: Vec<_> = expected.take_while(|at| *at < ms(5_000)).collect();
    assert_eq!(sent, expected);
    assert_eq!(sent.len(), 4);
    assert_eq!(candidates(&world, party).len(), 1);
}

/// [rfc8445-14.3-1]
#[test]
fn many_requests_share_a_longer_timeout() {
    // 5 ms each for 200 requests: no answer can be told late before a second has passed.
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    for last in 1..=10 {
        world.udp(node, &format!("10.0.0.{last}:1000"));
    }
    for last in 1..=20 {
        world.server(node, Server::stun(addr(&format!("203.0.113.{last}:3478"))));
    }
    let start = world.now;
    world.agent(node, AgentConfig::new(Role::Controlling));
    world.run_for(ms(1_100));
    let first = world.log[0].id();
    let sent: Vec<_> = world.log.iter().filter(|p| p.id() == first).map(|p| p.at - start).collect();
    assert_eq!(sent, [ms(0), ms(1_000)]);
}

/// A server that is dead delays nothing but the end of gathering, and that by five seconds at most.
#[test]
fn a_dead_server_holds_gathering_up_for_five_seconds_at_most() {
    let (mut world, party) = gathering(&[SERVER]);
    let start = world.now;
    assert!(world.run_while(ms(60_000), |world| !has_completed(world)));
    assert_eq!(world.now - start, Duration::from_secs(5));
    assert!(!world.view(party).is_gathering());
    world.run_for(ms(40_000));
    let failed = world.events.iter().any(|(_, _, event)| {
        matches!(event, Event::GatheringFailed { reason: GatherFailure::Timeout, .. })
    });
    assert!(failed, "the dead server is named in the end");
}

#[test]
fn a_dead_server_beside_a_live_one_holds_gathering_up_for_a_second() {
    let (mut world, _) = gathering(&[SERVER, "203.0.113.2:3478"]);
    world.respond(addr(SERVER), stun_server(|_| addr(MAPPED)));
    let start = world.now;
    assert!(world.run_while(ms(60_000), |world| !has_completed(world)));
    assert_eq!(world.now - start, ms(1_020));
}

/// [rfc8445-5.1.1.4-1] [rfc8445-5.1.1.4-2]
#[test]
fn a_mapping_is_refreshed_until_ice_has_concluded() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.udp(node, BASE);
    world.server(node, Server::stun(addr(SERVER)));
    world.respond(addr(SERVER), stun_server(|_| addr(MAPPED)));
    let left = world.agent(node, AgentConfig::new(Role::Controlling));
    world.run_for(ms(50_000));
    let asked = world.mail(addr(SERVER));
    let gaps: Vec<_> = asked.windows(2).map(|two| two[1].at - two[0].at).collect();
    assert_eq!(gaps.len(), 3);
    assert!(gaps.iter().all(|gap| *gap <= ms(15_100)), "{gaps:?}");

    let right = world.party(AgentConfig::new(Role::Controlled), &["192.0.2.2:2000"]);
    world.exchange(left, right);
    world.reach(left, AgentState::Completed, ms(1_000));
    world.run_for(ms(20_000));
    world.mail(addr(SERVER));
    world.run_for(ms(60_000));
    assert!(world.mail(addr(SERVER)).is_empty(), "the mapping is let go after that");
}

/// An answer counts only if it comes from the server, to where it was asked from, once.
#[test]
fn a_response_from_elsewhere_makes_no_candidate() {
    let (mut world, party) = gathering(&[SERVER]);
    let request = world.log[0].clone();
    let answer = encode(MessageClass::Success, request.id(), |message| {
        message.xor_address(AttributeType::XOR_MAPPED_ADDRESS, addr(MAPPED)).fingerprint()
    });
    let elsewhere = addr("203.0.113.66:3478");
    let outcome = world.deliver(elsewhere, addr(BASE), &answer);
    assert_eq!(outcome, Outcome::Dropped(DropReason::Asymmetric));
    assert_eq!(candidates(&world, party).len(), 1);
    assert_eq!(world.deliver(addr(SERVER), addr(BASE), &answer), Outcome::Handled);
    assert_eq!(candidates(&world, party).len(), 2);
    let again = world.deliver(addr(SERVER), addr(BASE), &answer);
    assert_eq!(again, Outcome::Dropped(DropReason::UnknownTransaction));
    assert_eq!(candidates(&world, party).len(), 2);
}

#[test]
fn a_useless_mapped_address_makes_no_candidate() {
    for mapped in
        ["0.0.0.0:6000", "224.0.0.1:6000", "198.51.100.1:0", "127.0.0.1:6000", "[2001:db8::1]:1"]
    {
        let (mut world, party) = gathering(&[SERVER]);
        world.respond(addr(SERVER), stun_server(move |_| addr(mapped)));
        world.run_for(ms(6_000));
        assert_eq!(candidates(&world, party).len(), 1, "{mapped}");
        let told = world.events.iter().any(|(_, _, event)| {
            matches!(event, Event::GatheringFailed { reason: GatherFailure::NoAddress, .. })
        });
        assert!(told, "{mapped}");
    }
}

/// [rfc8445-5.1.1-1]
#[test]
fn gathering_starts_with_the_agent() {
    let (world, _) = gathering(&[SERVER]);
    assert_eq!(world.log.len(), 1);
    assert_eq!(world.log[0].at, world.now);
    assert_eq!(world.log[0].to, addr(SERVER));
}

#[test]
fn a_second_agent_gets_the_mapping_that_is_known() {
    let (mut world, first) = gathering(&[SERVER]);
    world.respond(addr(SERVER), stun_server(|_| addr(MAPPED)));
    world.run_for(ms(2_000));
    world.mail(addr(SERVER));
    let second = world.agent(first.node, AgentConfig::new(Role::Controlled));
    assert_eq!(of_kind(&world, second, CandidateKind::ServerReflexive).len(), 1);
    assert!(world.mail(addr(SERVER)).is_empty());
}

/// [rfc8445-5.3-6]
#[test]
fn credentials_are_long_random_and_drawn_anew_for_each_agent() {
    let mut world = World::new();
    let mut seen = BTreeSet::new();
    let mut used = BTreeSet::new();
    for node in 0..10 {
        let node_id = world.node(EndpointConfig::default());
        world.udp(node_id, &format!("192.0.2.{}:1000", node + 1));
        for _ in 0..10 {
            let party = world.agent(node_id, AgentConfig::new(Role::Controlling));
            let credentials = world.credentials(party);
            // Six bits a character: 24 and 128 bits take 4 and 22 of them.
            assert!(credentials.ufrag.len() >= 4 && credentials.password.len() >= 22);
            assert!(credentials.is_sendable());
            used.extend(credentials.password.bytes());
            assert!(seen.insert(credentials.ufrag));
            assert!(seen.insert(credentials.password));
        }
    }
    assert_eq!(used.len(), 64, "all of the alphabet is used");
}

/// [rfc8445-5.3-5] [rfc8445-14.2-2]
#[test]
fn the_pace_is_proposed_unless_it_is_the_default() {
    let mut world = World::new();
    for (ta, proposed) in [(20, Some(ms(20))), (50, None), (80, Some(ms(80)))] {
        let mut config = AgentConfig::new(Role::Controlling);
        config.ta = ms(ta);
        let party = world.party(config, &[&format!("192.0.2.{ta}:1000")]);
        assert_eq!(world.description(party).pacing, proposed);
    }
}

/// [rfc8445-5.3-7] [rfc8445-7.3-1]
#[test]
fn every_candidate_answers_as_soon_as_it_is_signalled() {
    let mut world = World::new();
    let bases = ["192.0.2.1:1000", "10.0.0.1:1000", "[2001:db8::1]:1000"];
    let party = world.party(AgentConfig::new(Role::Controlling), &bases);
    for (base, from) in bases.iter().zip(["192.0.2.9:9", "10.0.0.9:9", "[2001:db8::9]:9"]) {
        let mut hand = Hand::new(&world, party, from);
        let check = hand.check();
        assert_eq!(world.deliver(addr(from), addr(base), &check), Outcome::Handled);
        let answer = world.log.last().unwrap();
        assert!(answer.is_success());
        assert_eq!((answer.from, answer.to), (addr(base), addr(from)));
        let data = world.deliver(addr(from), addr(base), &[128, 1, 2]);
        assert!(matches!(data, Outcome::Data { .. }), "{data:?}");
    }
}

/// [rfc8445-5.2-5a] [rfc8445-5.2-5b] [rfc8445-5.2-6] [rfc8445-5.2-7] [rfc8445-5.2-8]
#[test]
fn a_lite_agent_offers_host_candidates_alone() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    let second = ComponentId::new(0, 2).unwrap();
    world.udp(node, "192.0.2.1:1000");
    world.socket(node, Socket::udp(addr("192.0.2.1:1001")).with_component(second));
    world.server(node, Server::stun(addr(SERVER)));
    world.respond(addr(SERVER), stun_server(|_| addr(MAPPED)));
    let mut config = AgentConfig::new(Role::Controlled);
    config.mode = Mode::Lite;
    config.streams = vec![2];
    let party = world.agent(node, config.clone());
    world.run_for(ms(1_000));
    let all = candidates(&world, party);
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].priority, 2_130_706_431);
    assert_eq!(all[1].priority, 2_130_706_430);
    assert_eq!(all[0].foundation, all[1].foundation);

    let node = world.node(EndpointConfig::default());
    world.udp(node, "192.0.2.7:1000");
    world.udp(node, "[2001:db8::7]:1000");
    config.streams = vec![1];
    let party = world.agent(node, config);
    let all = candidates(&world, party);
    assert_eq!(all.len(), 2);
    assert_ne!(all[0].foundation, all[1].foundation);
    assert_ne!(all[0].priority, all[1].priority);
    assert!(all.iter().all(|candidate| candidate.priority >> 24 == 126));
}

/// [rfc8445-5.2-1]
#[test]
fn a_lite_agent_offers_one_candidate_for_each_address() {
    let mut config = AgentConfig::new(Role::Controlled);
    config.mode = Mode::Lite;
    let mut world = World::new();
    let sockets = ["192.0.2.1:1000", "192.0.2.1:2000", "192.0.2.2:1000"];
    let party = world.party(config, &sockets);
    let offered: Vec<_> =
        candidates(&world, party).iter().filter_map(Candidate::socket_address).collect();
    assert_eq!(offered, [addr("192.0.2.1:1000"), addr("192.0.2.2:1000")]);
}

/// A candidate that is trickled is told of once, in the order found.
#[test]
fn candidates_found_later_are_told_of_once() {
    let (mut world, party) = gathering(&[SERVER]);
    world.respond(addr(SERVER), stun_server(|_| addr(MAPPED)));
    world.run_for(ms(40_000));
    let told: Vec<_> = world
        .events_of(party.node)
        .into_iter()
        .filter_map(|event| {
            let Event::LocalCandidate { candidate, .. } = event else { return None };
            Some(candidate.kind)
        })
        .collect();
    assert_eq!(told, [CandidateKind::Host, CandidateKind::ServerReflexive]);
    let completions = world.events_of(party.node).into_iter();
    let completions = completions.filter(|e| matches!(e, Event::GatheringComplete { .. })).count();
    assert_eq!(completions, 1);
}

#[test]
fn without_trickle_no_candidate_is_told_of_alone() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.udp(node, BASE);
    world.server(node, Server::stun(addr(SERVER)));
    world.respond(addr(SERVER), stun_server(|_| addr(MAPPED)));
    let mut config = AgentConfig::new(Role::Controlling);
    config.trickle = Trickle::Off;
    let party = world.agent(node, config);
    world.run_for(ms(2_000));
    assert!(has_completed(&world));
    let told = |event: &Event| matches!(event, Event::LocalCandidate { .. });
    assert!(!world.events_of(party.node).iter().any(told));
    assert_eq!(candidates(&world, party).len(), 2);
}

/// A lost request costs a retransmission, not the candidate; an answer to the first is as good.
#[test]
fn a_lost_request_is_sent_again() {
    let (mut world, party) = gathering(&[]);
    let lost = Rc::new(RefCell::new(0));
    let count = Rc::clone(&lost);
    world.filter(move |packet: &mut Packet| {
        let first = packet.to == addr(SERVER) && *count.borrow() == 0;
        *count.borrow_mut() += u32::from(first);
        if first { Verdict::Drop } else { Verdict::Pass }
    });
    world.server(party.node, Server::stun(addr(SERVER)));
    world.respond(addr(SERVER), stun_server(|_| addr(MAPPED)));
    let second = world.agent(party.node, AgentConfig::new(Role::Controlled));
    let start = world.now;
    world.run_while(ms(5_000), |world| {
        of_kind(world, second, CandidateKind::ServerReflexive).is_empty()
    });
    assert_eq!(world.now - start, ms(520));
    assert_eq!(*lost.borrow(), 1);
    let sent = world.requests_from(BASE);
    assert_eq!(sent[0].octets, sent[1].octets, "a retransmission is the same message");
}

/// Nothing that a peer signals is gathered with: only configured servers are asked.
#[test]
fn a_peer_is_no_server() {
    let (mut world, party) = gathering(&[]);
    let hand = Hand::new(&world, party, "192.0.2.9:9");
    world.set_remote(party, &hand.description(&[host("192.0.2.9:9", 1)]));
    world.run_for(ms(1_000));
    let requests = world.requests_from(BASE);
    assert!(requests.iter().all(|request| request.message().username().is_some()));
}

/// What a peer's answer had shown before a restart, a server shows after it. [rfc8445-5.1.1.2-p2]
#[test]
fn a_mapping_that_a_peer_showed_first_is_server_reflexive_after_a_restart() {
    let (mut world, party) = gathering(&[SERVER]);
    let hand = Hand::new(&world, party, "192.0.2.9:9");
    world.respond(hand.address, move |packet| match packet.is_request() {
        true => vec![hand.success_mapped(packet, addr(MAPPED))],
        false => Vec::new(),
    });
    let hand = Hand::new(&world, party, "192.0.2.9:9");
    world.set_remote(party, &hand.plain());
    world.reach(party, AgentState::Completed, ms(1_000));
    world.silence(hand.address);
    world.respond(addr(SERVER), stun_server(|_| addr(MAPPED)));
    for _ in 0..2 {
        world.restart(party);
        world.run_for(ms(1_000));
        let told = candidates(&world, party);
        let told: Vec<_> = told.iter().map(|known| (known.kind, known.priority)).collect();
        let kinds = [CandidateKind::Host, CandidateKind::ServerReflexive];
        assert_eq!(told, kinds.map(|kind| (kind, priority(kind, 65_535, 1))));
    }
}

/// A server that is slow is asked on for the other agent of the socket.
#[test]
fn a_restart_of_an_agent_that_uses_relays_alone_ends_no_other_gathering() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.udp(node, BASE);
    world.server(node, Server::stun(addr(SERVER)));
    let mut config = AgentConfig::new(Role::Controlling);
    config.policy = CandidatePolicy::Relay;
    let relaying = world.agent(node, config);
    let party = world.agent(node, AgentConfig::new(Role::Controlling));
    world.run_for(ms(1_000));
    world.restart(relaying);
    world.respond(addr(SERVER), stun_server(|_| addr(MAPPED)));
    world.run_for(ms(5_000));
    assert!(candidates(&world, party).iter().any(|c| c.kind == CandidateKind::ServerReflexive));
}
