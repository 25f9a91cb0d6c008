//! Names in the place of host addresses, as the core sees them.
//! [draft-ietf-mmusic-mdns-ice-candidates]

use std::net::IpAddr;
use std::time::Duration;

use floe::candidate::{Candidate, CandidateAddress, CandidateKind};
use floe::config::{
    AgentConfig, CandidatePolicy, EndpointConfig, HostAddresses, Mode, Role, Trickle,
};
use floe::sdp::SessionTemplate;
use floe::stats::CandidateStats;
use floe::stun::Method;
use floe::{AgentState, CandidateRejected, ComponentId, Event, SendError, Server, Socket};

use crate::harness::{Hand, Party, Verdict, World, addr, host, ms, stun_server};
use crate::relay::{LEFT, RIGHT, party, turn};

const NAME: &str = "9b36eaac-bb2e-49bb-bb78-21c41c499900.local";
const OTHER: &str = "76c82649-02d6-4030-8aef-a2ba3a9019d5.local";

fn naming(role: Role) -> AgentConfig {
    let mut config = AgentConfig::new(role);
    config.host_addresses = HostAddresses::Named;
    config
}

/// The host candidate of `address` by a name.
fn named(name: &str, address: &str) -> Candidate {
    let mut candidate = host(address, 1);
    let port = addr(address).port();
    candidate.address = CandidateAddress::Name { host: name.into(), port };
    candidate
}

fn resolve(
    world: &mut World,
    party: Party,
    candidate: &Candidate,
    ip: &str,
) -> Result<(), CandidateRejected> {
    let now = world.now;
    let ip: IpAddr = ip.parse().unwrap();
    let mut agent = world.endpoint(party.node).agent_mut(now, party.agent).unwrap();
    let outcome = agent.add_resolved_candidate(0, None, candidate, ip);
    world.drain();
    outcome
}

fn names(world: &World, party: Party) -> Vec<(String, IpAddr)> {
    world.view(party).host_names().map(|(name, ip)| (name.to_owned(), ip)).collect()
}

fn remote(world: &World, party: Party) -> Vec<CandidateStats> {
    world.stats(party).remote
}

/// Whatever can be seen of an agent, as text.
fn all_that_shows(world: &World, party: Party) -> String {
    let view = world.view(party);
    let told = [view.local_description(), view.subsequent_offer()];
    let sdp = told.map(|description| description.to_sdp(&SessionTemplate::new(1, 1))).concat();
    let mut selected = view.selected(ComponentId::FIRST);
    if let Some(pair) = &mut selected {
        // That one is never hidden.
        pair.base = addr("0.0.0.0:0");
    }
    let events: Vec<Event> = world
        .events_of(party.node)
        .into_iter()
        .filter(|event| !matches!(event, Event::Selected { .. }))
        .collect();
    format!("{sdp}{:?}{selected:?}{:?}{events:?}", view.stats(), view.failures())
}

/// [mdns-ice-candidates-3.1.1-1] [mdns-ice-candidates-3.1.1-3] [mdns-ice-candidates-3.1.1-4]
/// [mdns-ice-candidates-3.1.2.1-1] [mdns-ice-candidates-3.1.2.4-1]
/// [mdns-ice-candidates-3.1.2.4-4a] [mdns-ice-candidates-3.1.2.4-4b] [mdns-ice-candidates-4-1]
#[test]
fn each_address_has_a_name_of_its_own_from_the_start() {
    let mut world = World::new();
    let sockets = ["192.0.2.1:1000", "192.0.2.1:1001", "[2001:db8::1]:1002"];
    let party = world.party(naming(Role::Controlling), &sockets);
    let known = names(&world, party);
    assert_eq!(known.len(), 2);
    assert_ne!(known[0].0, known[1].0);
    let candidates = world.description(party).streams[0].candidates.clone();
    assert_eq!(candidates.len(), 3);
    for (candidate, socket) in candidates.iter().zip(sockets) {
        let name = candidate.address.mdns_name().expect("a name");
        assert!(known.contains(&(name.to_owned(), addr(socket).ip())));
        let CandidateAddress::Name { port, .. } = &candidate.address else { panic!() };
        assert_eq!(*port, addr(socket).port());
        let line = candidate.to_string();
        assert!(line.contains(name) && line.parse::<Candidate>().unwrap() == *candidate, "{line}");
    }
    let shown = all_that_shows(&world, party);
    assert!(!shown.contains("192.0.2.1") && !shown.contains("2001:db8::1"), "{shown}");
    // Another agent has other names; the same one keeps them over a restart.
    let other = world.agent(party.node, naming(Role::Controlling));
    assert!(names(&world, other).iter().all(|name| !known.contains(name)));
    world.restart(party);
    assert_eq!(names(&world, party), known);
}

#[test]
fn names_of_addresses_that_are_gone_are_forgotten() {
    let mut world = World::new();
    let mut config = naming(Role::Controlling);
    config.gathering = floe::config::Gathering::Continual;
    let party = world.party(config, &["192.0.2.1:1000"]);
    for number in 2..50 {
        world.remove_socket(party.node, &format!("192.0.2.{}:1000", number - 1));
        world.udp(party.node, &format!("192.0.2.{number}:1000"));
        world.run_for(ms(10));
        assert!(names(&world, party).len() <= 2, "{number}");
    }
}

/// What a check shows may be an address of this machine that is no base of ours, and has no name.
#[test]
fn an_address_that_a_check_showed_is_not_told_where_names_hide_ours() {
    let mut world = World::new();
    let party = world.party(naming(Role::Controlling), &["192.0.2.1:1000"]);
    world.nat("192.0.2.1:1000", "10.0.0.9:1000");
    let hand = Hand::new(&world, party, "192.0.2.9:9000");
    world.respond(hand.address, hand.answering());
    world.set_remote(party, &hand.plain());
    world.reach(party, AgentState::Completed, ms(5_000));
    let local = world.view(party).selected(ComponentId::FIRST).unwrap().local;
    assert_eq!((local.kind, local.address), (CandidateKind::PeerReflexive, addr("10.0.0.9:1000")));
    assert_eq!(world.view(party).subsequent_offer(), world.description(party));
}

/// [mdns-ice-candidates-3.1.2.4-2] [mdns-ice-candidates-3.1.2.4-3]
#[test]
fn a_name_is_no_default_destination() {
    let mut world = World::new();
    let mut config = naming(Role::Controlling);
    config.trickle = Trickle::Off;
    let party = world.party(config, &["[2001:db8::1]:1002"]);
    let sdp = world.description(party).to_sdp(&SessionTemplate::new(1, 1));
    assert!(sdp.contains("c=IN IP4 0.0.0.0\r\n"), "{sdp}");
    assert!(sdp.lines().any(|line| line.starts_with("m=") && line.contains(" 9 ")), "{sdp}");
    assert!(sdp.contains(".local"), "{sdp}");
}

/// [mdns-ice-candidates-3.1.2.2-1] [mdns-ice-candidates-3.1.2.2-2]
#[test]
fn what_a_server_saw_is_a_candidate_though_it_is_the_host_address_and_tells_no_base() {
    for (inside, outside) in [("192.0.2.1:1000", None), ("10.0.0.1:1000", Some("203.0.113.1:7"))] {
        let mut world = World::new();
        if let Some(outside) = outside {
            world.nat(inside, outside);
        }
        let server = addr("198.51.100.9:3478");
        world.respond(server, stun_server(|from| from));
        let node = world.node(EndpointConfig::default());
        world.udp(node, inside);
        world.server(node, Server::stun(server));
        let party = world.agent(node, naming(Role::Controlling));
        world.run_for(ms(200));
        let candidates = world.description(party).streams[0].candidates.clone();
        let kinds: Vec<_> = candidates.iter().map(|candidate| candidate.kind).collect();
        assert_eq!(kinds, [CandidateKind::Host, CandidateKind::ServerReflexive]);
        assert_eq!(candidates[1].socket_address(), Some(addr(outside.unwrap_or(inside))));
        assert_eq!(candidates[1].related, Some(addr("0.0.0.0:9")));
        if outside.is_some() {
            let shown = all_that_shows(&world, party);
            assert!(!shown.contains("10.0.0.1"), "{shown}");
        }
    }
}

/// [mdns-ice-candidates-3.1.2.2-2]
#[test]
fn a_relayed_candidate_tells_nothing_either() {
    let mut world = crate::relay::world();
    let party = party(&mut world, naming(Role::Controlling), LEFT);
    let candidates = world.description(party).streams[0].candidates.clone();
    let relayed = candidates.iter().find(|c| c.kind == CandidateKind::Relayed).unwrap();
    assert_eq!(relayed.related, Some(addr("0.0.0.0:9")));
}

#[test]
fn a_lite_agent_is_where_it_says() {
    let mut world = World::new();
    let mut config = naming(Role::Controlled);
    config.mode = Mode::Lite;
    let party = world.party(config, &["192.0.2.1:1000"]);
    assert!(names(&world, party).is_empty());
    let candidates = world.description(party).streams[0].candidates.clone();
    assert_eq!(candidates[0].socket_address(), Some(addr("192.0.2.1:1000")));
}

/// [mdns-ice-candidates-3.2.1-p1] [mdns-ice-candidates-3.3.1-1a] [mdns-ice-candidates-3.3.1-1b]
/// [mdns-ice-candidates-3.3.1-4] [mdns-ice-candidates-3.1.2.4-4b] [rfc8828-5.2-5]
#[test]
fn two_agents_that_hide_their_addresses_connect_and_show_none() {
    let mut world = World::new();
    let left = world.party(naming(Role::Controlling), &[LEFT]);
    let right = world.party(naming(Role::Controlled), &[RIGHT]);
    world.run_for(ms(10));
    let (ours, theirs) = (world.description(left), world.description(right));
    assert!(theirs.streams[0].end_of_candidates, "names may be resolved after the end");
    world.set_remote(right, &ours);
    world.set_remote(left, &theirs);
    let candidate = &theirs.streams[0].candidates[0];
    resolve(&mut world, left, candidate, "192.0.2.2").unwrap();
    for party in [left, right] {
        world.reach(party, AgentState::Completed, Duration::from_secs(5));
        let shown = all_that_shows(&world, party);
        assert!(!shown.contains("192.0.2."), "{shown}");
    }
    let pair = world.view(left).selected(ComponentId::FIRST).unwrap();
    assert_eq!((pair.base, pair.remote.address), (addr(LEFT), addr("0.0.0.0:2000")));
    let stats = remote(&world, left);
    assert_eq!(stats.len(), 1);
    assert_eq!(stats[0].name.as_deref(), candidate.address.mdns_name());
    // To the right one the left is peer-reflexive: nobody resolved its name.
    let seen = remote(&world, right);
    assert!(seen.iter().any(|c| c.kind == CandidateKind::PeerReflexive && c.name.is_none()));
    assert!(world.send_data(left, b"\x80 data").is_ok() && world.send_data(right, b"\x80").is_ok());
}

/// An agent with a peer that gave nothing yet.
fn waiting(config: AgentConfig) -> (World, Party, Hand) {
    let mut world = World::new();
    let agent = world.party(config, &[LEFT]);
    let hand = Hand::new(&world, agent, RIGHT);
    let mut description = hand.description(&[]);
    description.options.trickle = true;
    description.streams[0].end_of_candidates = false;
    world.set_remote(agent, &description);
    (world, agent, hand)
}

/// [mdns-ice-candidates-3.3.1-2] [mdns-ice-candidates-3.3.1-3] [mdns-ice-candidates-4-2]
/// [mdns-ice-candidates-3.2.1-p2]
#[test]
fn statistics_show_a_name_alike_whether_it_is_resolved_or_not() {
    let (mut world, agent, _) = waiting(AgentConfig::new(Role::Controlling));
    let first = named(NAME, "192.0.2.2:2000");
    assert_eq!(world.add_candidate(agent, &first), Err(CandidateRejected::UnresolvedName));
    assert_eq!(world.add_candidate(agent, &first), Err(CandidateRejected::UnresolvedName));
    assert!(world.pairs(agent).is_empty());
    let before = remote(&world, agent);
    assert_eq!(before.len(), 1);
    resolve(&mut world, agent, &first, "192.0.2.2").unwrap();
    assert_eq!(world.pairs(agent).len(), 1);
    assert_eq!(remote(&world, agent), before);
    // Of what no name hides an address nothing is kept.
    let other = named("printer.local", "192.0.2.3:3000");
    assert_eq!(world.add_candidate(agent, &other), Err(CandidateRejected::UnresolvedName));
    let refused = resolve(&mut world, agent, &other, "192.0.2.3");
    assert_eq!(refused, Err(CandidateRejected::UnresolvedName));
    assert_eq!(remote(&world, agent), before);
}

/// [mdns-ice-candidates-3.3.1-2] [mdns-ice-candidates-3.3.1-3]
#[test]
fn statistics_do_not_tell_that_a_name_stands_for_a_known_address() {
    for ip in ["192.0.2.2", "192.0.2.7"] {
        let (mut world, agent, _) = waiting(AgentConfig::new(Role::Controlling));
        world.add_candidate(agent, &host("192.0.2.2:2000", 1)).unwrap();
        let name = named(NAME, "192.0.2.2:2000");
        assert_eq!(world.add_candidate(agent, &name), Err(CandidateRejected::UnresolvedName));
        let before = remote(&world, agent).len();
        resolve(&mut world, agent, &name, ip).unwrap();
        assert_eq!(remote(&world, agent).len(), before, "{ip}");
    }
}

#[test]
fn names_count_among_the_candidates_that_are_kept() {
    let (mut world, agent, _) = waiting(AgentConfig::new(Role::Controlling));
    for number in 0..64 {
        let name = format!("9b36eaac-bb2e-49bb-bb78-21c41c4999{number:02x}.local");
        let refused = world.add_candidate(agent, &named(&name, RIGHT));
        assert_eq!(refused, Err(CandidateRejected::UnresolvedName));
    }
    let refused = world.add_candidate(agent, &named(NAME.replace("9900", "99ff").as_str(), RIGHT));
    assert_eq!(refused, Err(CandidateRejected::Limit { max: 64 }));
    let refused = world.add_candidate(agent, &host(RIGHT, 1));
    assert_eq!(refused, Err(CandidateRejected::Limit { max: 64 }));
    // One that is there already takes no second place.
    resolve(&mut world, agent, &named(NAME, RIGHT), "192.0.2.2").unwrap();
    assert_eq!(remote(&world, agent).len(), 64);
}

#[test]
fn what_is_resolved_in_another_generation_or_to_nowhere_is_refused() {
    let (mut world, agent, _) = waiting(AgentConfig::new(Role::Controlling));
    for nowhere in ["0.0.0.0", "224.0.0.251", "ff02::fb", "255.255.255.255"] {
        let refused = resolve(&mut world, agent, &named(NAME, RIGHT), nowhere);
        assert_eq!(refused, Err(CandidateRejected::AddressNotUsable), "{nowhere}");
    }
    let mut old = named(NAME, RIGHT);
    old.extensions.push(("ufrag".into(), "older".into()));
    let refused = resolve(&mut world, agent, &old, "192.0.2.2");
    assert_eq!(refused, Err(CandidateRejected::UnknownGeneration));
}

/// [mdns-ice-candidates-3.3.1-4]
#[test]
fn an_address_that_only_a_check_told_of_is_shown_once_the_peer_tells_it() {
    let (mut world, agent, mut hand) = waiting(AgentConfig::new(Role::Controlling));
    let check = hand.check();
    world.deliver(addr("10.9.9.9:9000"), addr(LEFT), &check);
    let ips = |world: &World| -> Vec<_> {
        let remote = remote(world, agent).into_iter();
        remote.map(|candidate| candidate.address.to_string()).collect()
    };
    assert_eq!(ips(&world), ["10.9.9.9:9000"], "where nobody hides anything");
    let _ = world.add_candidate(agent, &named(NAME, RIGHT));
    assert_eq!(ips(&world), ["0.0.0.0:9000", "0.0.0.0:2000"]);
    world.add_candidate(agent, &host("10.9.9.9:9999", 1)).unwrap();
    assert_eq!(ips(&world)[0], "10.9.9.9:9000");
}

/// The peers that a TURN server was told of.
fn permitted(world: &World) -> Vec<IpAddr> {
    let asked = world.log.iter().filter(|packet| packet.to == addr(crate::relay::SERVER));
    let asked = asked.filter(|packet| packet.octets[0] < 4);
    asked.filter_map(|packet| Some(packet.message().xor_peer_address()?.ip())).collect()
}

/// A party with a relay, its peer, and nothing that passes between them directly.
fn apart(config: AgentConfig) -> (World, Party, Party) {
    let mut world = crate::relay::world();
    let left = party(&mut world, config, LEFT);
    let right = world.party(AgentConfig::new(Role::Controlled), &[RIGHT]);
    world.filter(|packet| {
        let ends = [packet.from.ip(), packet.to.ip()];
        match [addr(LEFT).ip(), addr(RIGHT).ip()].iter().all(|ip| ends.contains(ip)) {
            true => Verdict::Drop,
            false => Verdict::Pass,
        }
    });
    (world, left, right)
}

/// [mdns-ice-candidates-3.3.2-1]
#[test]
fn no_relay_of_ours_is_paired_with_a_name_until_the_peer_tells_the_address() {
    for kind in [CandidateKind::Host, CandidateKind::ServerReflexive, CandidateKind::Relayed] {
        let (mut world, left, right) = apart(AgentConfig::new(Role::Controlling));
        let ours = world.description(left);
        world.set_remote(right, &ours);
        let mut theirs = world.description(right);
        theirs.streams[0].candidates.clear();
        theirs.streams[0].end_of_candidates = false;
        world.set_remote(left, &theirs);
        let mut candidate = named(NAME, RIGHT);
        candidate.kind = kind;
        resolve(&mut world, left, &candidate, "192.0.2.2").unwrap();
        world.run_for(ms(3_000));
        let pairs = world.pairs(left);
        assert!(!pairs.is_empty());
        assert!(pairs.iter().all(|pair| pair.local.kind != CandidateKind::Relayed), "{pairs:?}");
        assert_eq!(permitted(&world), [] as [IpAddr; 0]);
        // What the peer tells itself is no secret.
        world.add_candidate(left, &host(RIGHT, 1)).unwrap();
        world.reach(left, AgentState::Completed, Duration::from_secs(10));
        assert!(permitted(&world).contains(&addr(RIGHT).ip()));
        let pair = world.view(left).selected(ComponentId::FIRST).unwrap();
        assert_eq!(pair.remote.address, addr(RIGHT));
    }
}

/// The name may stand for where a check came from. [mdns-ice-candidates-3.3.2-1]
#[test]
fn a_relay_that_comes_late_is_not_told_of_what_a_check_told_while_there_are_names() {
    for (with_name, config) in [
        (false, AgentConfig::new(Role::Controlling)),
        (true, AgentConfig::new(Role::Controlling)),
        (false, naming(Role::Controlling)),
    ] {
        let secret = with_name || config.host_addresses == HostAddresses::Named;
        let mut world = crate::relay::world();
        let node = world.node(EndpointConfig::default());
        world.udp(node, LEFT);
        world.server(node, turn());
        let left = world.agent(node, config);
        let mut hand = Hand::new(&world, left, RIGHT);
        let mut description = hand.description(&[]);
        description.options.trickle = true;
        description.streams[0].end_of_candidates = false;
        world.set_remote(left, &description);
        if with_name {
            let _ = world.add_candidate(left, &named(OTHER, "192.0.2.3:3000"));
        }
        let check = hand.check();
        world.deliver(addr("10.9.9.9:9000"), addr(LEFT), &check);
        world.run_for(ms(3_000));
        let relayed = crate::relay::relayed(&world, left);
        assert_eq!(relayed.len(), 1, "the relay is there");
        let told = permitted(&world).contains(&addr("10.9.9.9:9000").ip());
        assert_eq!(told, !secret, "with a name: {with_name}");
        assert!(world.turns[0].count(Method::ALLOCATE) > 0);
    }
}

/// The component was left out, and what works goes on. [rfc8445-6.1.2.2-p2] [rfc8839-5.1-2]
#[test]
fn a_name_that_is_resolved_after_the_others_have_their_pairs_ends_nothing() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.udp(node, LEFT);
    let second = ComponentId::new(0, 2).unwrap();
    world.socket(node, Socket::udp(addr("192.0.2.1:1001")).with_component(second));
    let mut config = AgentConfig::new(Role::Controlling);
    config.streams = vec![2];
    let left = world.agent(node, config);
    let hand = Hand::new(&world, left, RIGHT);
    world.respond(hand.address, hand.answering());
    let mut name = named(NAME, "192.0.2.2:2001");
    name.component = 2;
    world.set_remote(left, &hand.description(&[host(RIGHT, 1), name.clone()]));
    world.run_for(ms(30_000));
    assert_eq!(world.state(left), AgentState::Checking);
    assert_eq!(world.route(left), Ok(hand.address));
    world.run_for(ms(30_000));
    assert_eq!(world.state(left), AgentState::Completed);
    assert_eq!(resolve(&mut world, left, &name, "192.0.2.2"), Ok(()));
    world.run_for(ms(60_000));
    assert_eq!(world.state(left), AgentState::Completed);
    assert_eq!(world.route(left), Ok(hand.address));
    assert_eq!(world.route_of(left, second), Err(SendError::NotReady));
    // Another that works is used, though the answer to its nomination comes after what is not used
    // is freed.
    let mut answering = hand.answering();
    let start = world.now;
    world.respond(addr("192.0.2.2:2002"), move |packet| {
        let late = packet.nominates() && packet.at < start + ms(5_000);
        if late { Vec::new() } else { answering(packet) }
    });
    name.address = CandidateAddress::Name { host: OTHER.into(), port: 2_002 };
    assert_eq!(resolve(&mut world, left, &name, "192.0.2.2"), Ok(()));
    world.run_for(ms(10_000));
    assert_eq!(world.state(left), AgentState::Completed);
    assert_eq!(world.route_of(left, second), Ok(addr("192.0.2.2:2002")));
}

/// The relay has nothing to do with the socket whose place it takes. [mdns-ice-candidates-3.3.2-1]
#[test]
fn a_relay_is_not_told_of_what_a_check_told_a_socket_that_is_gone() {
    let mut world = crate::relay::world();
    let node = world.node(EndpointConfig::default());
    world.udp(node, LEFT);
    world.udp(node, "192.0.2.1:1001");
    world.server(node, turn());
    let left = world.agent(node, AgentConfig::new(Role::Controlling));
    let mut hand = Hand::new(&world, left, RIGHT);
    let mut description = hand.description(&[named(OTHER, "192.0.2.3:3000")]);
    description.options.trickle = true;
    description.streams[0].end_of_candidates = false;
    world.set_remote(left, &description);
    world.deliver(addr("10.9.9.9:9000"), addr("192.0.2.1:1001"), &hand.check());
    world.remove_socket(node, "192.0.2.1:1001");
    world.run_for(ms(3_000));
    assert_eq!(crate::relay::relayed(&world, left).len(), 1, "the relay is there");
    assert_eq!(permitted(&world), [] as [IpAddr; 0]);
}

/// [mdns-ice-candidates-3.3.2-1]
#[test]
fn with_relays_alone_a_name_leads_nowhere() {
    let mut config = AgentConfig::new(Role::Controlling);
    config.policy = CandidatePolicy::Relay;
    let (mut world, left, right) = apart(config);
    let theirs = world.description(right);
    world.set_remote(left, &theirs);
    resolve(&mut world, left, &named(NAME, "192.0.2.3:3000"), "192.0.2.3").unwrap();
    world.run_for(ms(1_000));
    assert!(!permitted(&world).contains(&"192.0.2.3".parse().unwrap()));
}

/// [mdns-ice-candidates-3.3.2-2]
#[test]
fn a_name_of_ours_is_paired_with_a_relay_of_the_peer() {
    let mut world = crate::relay::world();
    let left = party(&mut world, AgentConfig::new(Role::Controlling), LEFT);
    let right = world.party(naming(Role::Controlled), &[RIGHT]);
    let ours = world.description(left);
    world.set_remote(right, &ours);
    let pairs = world.pairs(right);
    let relayed = pairs.iter().find(|pair| pair.remote.kind == CandidateKind::Relayed).unwrap();
    assert!(relayed.local.name.is_some(), "{pairs:?}");
}
