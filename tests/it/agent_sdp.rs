//! What the agent says of itself, and what it takes from the peer. [RFC 8839] [RFC 8840]

use floe::candidate::{CandidateAddress, CandidateKind};
use floe::config::{AgentConfig, EndpointConfig, Mode, Role, Trickle};
use floe::{AgentState, CandidateRejected, ComponentId, DescriptionRejected, Server, Socket};

use crate::harness::{Hand, Party, World, addr, host, ms, stun_server};

const AGENT: &str = "192.0.2.1:1000";

fn configured(change: impl FnOnce(&mut AgentConfig)) -> (World, Party) {
    let mut world = World::new();
    let mut config = AgentConfig::new(Role::Controlling);
    change(&mut config);
    let agent = world.party(config, &[AGENT]);
    (world, agent)
}

/// [rfc8839-4.2.1.5-1] [rfc8839-4.2.5-1] [rfc8839-4.3.1-2] [rfc8839-4.3.2-2] [rfc8445-10-1]
/// [rfc8839-5.4-1]
#[test]
fn every_description_has_credentials_and_ice2() {
    for mode in [Mode::Full, Mode::Lite] {
        let (world, agent) = configured(|config| {
            config.mode = mode;
            config.streams = vec![1, 1];
        });
        let description = world.description(agent);
        assert!(description.options.ice2);
        assert_eq!(description.streams.len(), 2);
        assert!(description.streams.iter().all(|stream| stream.credentials.is_some()));
    }
}

/// [rfc8839-4.2.1.4-1] [rfc8839-4.2.1.4-2] [rfc8839-4.3.1-3] [rfc8839-4.3.1-4]
/// [rfc8839-4.3.2-3] [rfc8839-4.3.2-4] [rfc8445-14.2-2]
#[test]
fn a_full_agent_proposes_a_pace_and_a_lite_one_says_that_it_is_lite() {
    for role in [Role::Controlling, Role::Controlled] {
        let (world, agent) = configured(|config| config.role = role);
        assert_eq!(world.description(agent).pacing, Some(ms(20)));
        assert!(!world.description(agent).lite);
        let (world, agent) = configured(|config| {
            config.role = role;
            config.mode = Mode::Lite;
        });
        assert_eq!(world.description(agent).pacing, None);
        assert!(world.description(agent).lite);
    }
}

/// [rfc8838-3-3a] [rfc8838-3-3b] [rfc8840-4-2] [rfc8840-4.1.1-5a] [rfc8840-4.1.3-5a]
/// [rfc8838-3-1]
#[test]
fn trickle_is_offered_for_all_streams_or_none() {
    let cases = [(Trickle::Full, true), (Trickle::Half, true), (Trickle::Off, false)];
    for (trickle, offered) in cases {
        let (world, agent) = configured(|config| config.trickle = trickle);
        assert_eq!(world.description(agent).options.trickle, offered);
    }
}

/// [rfc8839-5.4-3] [rfc8839-5.4-5a] [rfc8839-5.4-p1] [rfc8839-5.4-2] [rfc8839-5.4-4]
#[test]
fn credentials_are_random_ice_chars_of_the_right_length() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.udp(node, AGENT);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let agent = world.agent(node, AgentConfig::new(Role::Controlling));
        let own = world.credentials(agent);
        assert!((4..=32).contains(&own.ufrag.len()) && (22..=256).contains(&own.password.len()));
        let all = own.ufrag.chars().chain(own.password.chars());
        assert!(all.into_iter().all(|c| c.is_ascii_alphanumeric() || c == '+' || c == '/'));
        assert!(seen.insert(own.ufrag) && seen.insert(own.password));
    }
}

/// [rfc8839-5.4-5b] [rfc8839-5.4-4]
#[test]
fn credentials_of_256_characters_are_accepted() {
    let (mut world, agent) = configured(|_| {});
    let mut hand = Hand::new(&world, agent, "192.0.2.2:2000");
    hand.own.ufrag = "u".repeat(256);
    hand.own.password = "p".repeat(256);
    world.respond(hand.address, hand.answering());
    world.set_remote(agent, &hand.plain());
    world.reach(agent, AgentState::Completed, ms(1_000));
}

/// [rfc8839-4.3.1-1] [rfc8839-4.3.2-1] [rfc8839-4.2.2-1] [rfc8839-5.1-3a] [rfc8839-5.1-3b]
/// [rfc8839-5.1-4a] [rfc8839-5.1-4b] [rfc8839-5.1-1] [rfc8839-5.1-7] [rfc8840-4.1.1-5b]
/// [rfc8840-4.1.3-5b]
#[test]
fn every_candidate_of_every_component_is_described() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    let second = ComponentId::new(0, 2).unwrap();
    for ip in ["192.0.2.1", "192.0.2.9", "[2001:db8::1]"] {
        world.udp(node, &format!("{ip}:1000"));
        world.socket(node, Socket::udp(addr(&format!("{ip}:1001"))).with_component(second));
    }
    let mut config = AgentConfig::new(Role::Controlling);
    config.streams = vec![2];
    let agent = world.agent(node, config);
    let section = world.description(agent).streams[0].clone();
    let components: Vec<_> = section.candidates.iter().map(|c| c.component).collect();
    assert_eq!(components, [1, 1, 1, 2, 2, 2]);
    for candidate in &section.candidates {
        assert_eq!(candidate.kind, CandidateKind::Host);
        assert_eq!(candidate.related, None);
        assert!(matches!(candidate.address, CandidateAddress::Ip(_)));
        assert_eq!(candidate.ufrag(), section.credentials.as_ref().map(|c| c.ufrag.as_str()));
    }
    assert!(section.mid.is_some());
    assert!(section.end_of_candidates);
}

/// [rfc8839-5.1-6] [rfc8839-5.1-8] [rfc8839-5.1-p2] [rfc8839-9.1-1]
#[test]
fn a_reflexive_candidate_shows_its_base_unless_that_is_hidden() {
    let server = addr("203.0.113.1:3478");
    for (hidden, related) in [(false, AGENT), (true, "0.0.0.0:9")] {
        let mut world = World::new();
        world.respond(server, stun_server(|_| addr("198.51.100.1:1000")));
        let node = world.node(EndpointConfig::default());
        let socket = Socket::udp(addr(AGENT));
        world.socket(node, if hidden { socket.hidden() } else { socket });
        world.server(node, Server::stun(server));
        let agent = world.agent(node, AgentConfig::new(Role::Controlling));
        world.run_for(ms(1_000));
        let candidates = world.description(agent).streams[0].candidates.clone();
        assert_eq!(candidates.len(), if hidden { 1 } else { 2 });
        let reflexive = candidates.last().unwrap();
        assert_eq!(reflexive.kind, CandidateKind::ServerReflexive);
        assert_eq!(reflexive.related, Some(addr(related)));
    }
}

/// [rfc8839-5.3-1a] [rfc8839-4.2.5-5a] [rfc8839-4.3.2-7] [rfc8839-4.3.3-1a]
#[test]
fn a_description_without_ice_is_refused_and_changes_nothing() {
    let (mut world, agent) = configured(|_| {});
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    let mut mismatch = hand.plain();
    mismatch.streams[0].mismatch = true;
    let refused = world.try_set_remote(agent, &mismatch);
    assert_eq!(refused, Err(DescriptionRejected::Mismatch { stream: 0 }));
    let mut bare = hand.plain();
    bare.streams[0].credentials = None;
    let refused = world.try_set_remote(agent, &bare);
    assert_eq!(refused, Err(DescriptionRejected::NoCredentials { stream: 0 }));
    world.run_for(ms(1_000));
    assert_eq!(world.state(agent), AgentState::New);
    assert!(world.log.is_empty());
    world.set_remote(agent, &hand.plain());
    assert_eq!(world.state(agent), AgentState::Checking);
}

/// [rfc8839-5.5-p1] [rfc8445-14.2-3]
#[test]
fn the_slower_pace_of_both_sides_counts() {
    let cases = [(20, Some(100), 100), (200, Some(30), 200), (20, None, 50), (20, Some(5), 20)];
    for (ours, theirs, expected) in cases {
        let (mut world, agent) = configured(|config| config.ta = ms(ours));
        let hand = Hand::new(&world, agent, "192.0.2.2:2000");
        let candidates: Vec<_> =
            (1..5).map(|last| host(&format!("203.0.113.{last}:9"), last)).collect();
        let mut description = hand.description(&candidates);
        description.pacing = theirs.map(ms);
        world.set_remote(agent, &description);
        world.run_for(ms(450));
        let checks = world.requests_from(AGENT);
        assert_eq!(checks[1].at - checks[0].at, ms(expected));
        assert_eq!(checks[2].at - checks[1].at, ms(expected));
    }
}

/// [rfc8839-5.6-p1]
#[test]
fn renomination_is_used_where_both_sides_list_it() {
    for (ours, theirs) in [(true, true), (true, false), (false, true)] {
        let (mut world, agent) = configured(|config| config.nomination.renomination = ours);
        assert_eq!(world.description(agent).options.renomination, ours);
        let hand = Hand::new(&world, agent, "192.0.2.2:2000");
        world.respond(hand.address, hand.answering());
        let mut description = hand.plain();
        description.options.renomination = theirs;
        world.set_remote(agent, &description);
        world.reach(agent, AgentState::Completed, ms(1_000));
        let nominated = world.log.iter().find(|packet| packet.nominates()).unwrap();
        let value = nominated.message().nomination(floe::stun::AttributeType(0xC001));
        assert_eq!(value.is_some(), ours && theirs);
    }
}

/// [rfc8839-7.1.1-5]
#[test]
fn checks_start_with_the_description() {
    let (mut world, agent) = configured(|config| config.role = Role::Controlled);
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    let start = world.now;
    world.set_remote(agent, &hand.plain());
    assert_eq!(world.requests_from(AGENT)[0].at, start);
}

/// [rfc8840-4-6] [rfc8839-4.2.4-1]
#[test]
fn checks_that_come_before_the_answer_are_answered_and_count_later() {
    let (mut world, agent) = configured(|_| {});
    let mut hand = Hand::new(&world, agent, "192.0.2.2:2000");
    let octets = hand.check();
    world.inject(hand.address, addr(AGENT), octets);
    world.run_for(ms(100));
    assert!(world.mail(hand.address).iter().any(crate::harness::Packet::is_success));
    world.respond(hand.address, hand.answering());
    // The answer has no candidate at all: it is known from the check.
    world.set_remote(agent, &hand.description(&[]));
    world.reach(agent, AgentState::Completed, ms(500));
}

/// [rfc8839-4.4.1.1.1-4] [rfc8839-4.4.3.1-5] [rfc8839-4.4.1.2.1-1] [rfc8840-4.4-14]
/// [rfc8839-4.4.1.1.1-7] [rfc8839-4.4.2.1-3]
#[test]
fn the_same_credentials_again_are_no_restart() {
    let mut world = World::new();
    let (left, right) = world.pair_of_parties();
    let first = world.description(left);
    world.exchange(left, right);
    assert_eq!(world.state(left), AgentState::Checking);
    assert_eq!(world.description(left), first);
    world.reach(left, AgentState::Completed, ms(1_000));
    let (before, events) = (world.credentials(left), world.events_of(left.node));
    world.exchange(left, right);
    world.exchange(right, left);
    assert_eq!(world.credentials(left), before);
    let again = world.description(left);
    assert_eq!(
        (again.options, again.pacing, again.lite),
        (first.options, first.pacing, first.lite)
    );
    assert_eq!(world.events_of(left.node), events);
    assert_eq!(world.state(left), AgentState::Completed);
}

/// [rfc8839-4.4.2.1-4] [rfc8445-9-2]
#[test]
fn full_does_not_become_lite_without_a_restart() {
    let (mut world, agent) = configured(|_| {});
    let mut hand = Hand::new(&world, agent, "192.0.2.2:2000");
    world.set_remote(agent, &hand.plain());
    let mut lite = hand.plain();
    lite.lite = true;
    let refused = world.try_set_remote(agent, &lite);
    assert_eq!(refused, Err(DescriptionRejected::ChangedWithoutRestart));
    // [rfc8839-4.4.1.1.1-6b] [rfc8839-4.4.2.1-2b]
    hand.own.ufrag = "again".into();
    let mut lite = hand.plain();
    lite.lite = true;
    world.set_remote(agent, &lite);
}

/// [rfc8839-4.4.1.1.1-5a] [rfc8839-4.4.1.1.1-5b] [rfc8839-4.4.2.1-1a]
#[test]
fn a_restart_repeats_our_candidates_and_takes_whatever_the_peer_lists() {
    let mut world = World::new();
    let (left, right) = world.pair_of_parties();
    world.exchange(left, right);
    world.reach(left, AgentState::Completed, ms(1_000));
    let addresses = |world: &World| {
        let section = &world.description(left).streams[0];
        section.candidates.iter().map(|c| c.address.clone()).collect::<Vec<_>>()
    };
    let before = addresses(&world);
    world.restart(left);
    assert_eq!(addresses(&world), before);
    assert_eq!(world.stats(left).remote.len(), 0);
}

/// [rfc8839-4.4.1.2.1-2] [rfc8840-3.2-1] [rfc8840-4.4-p1]
#[test]
fn a_later_description_adds_the_candidates_that_are_new() {
    let (mut world, agent) = configured(|_| {});
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    let mut first = hand.plain();
    first.options.trickle = true;
    first.streams[0].end_of_candidates = false;
    world.set_remote(agent, &first);
    let mut second = first.clone();
    second.streams[0].candidates.push(host("192.0.2.3:3000", 2));
    world.set_remote(agent, &second);
    world.set_remote(agent, &second);
    assert_eq!(world.stats(agent).remote.len(), 2);
    assert_eq!(world.pairs(agent).len(), 2);
}

/// The peer may trickle as soon as it has our answer, which is made once its offer was applied.
/// [rfc8840-4.1.2-1]
#[test]
fn an_answerer_takes_candidates_from_the_offer_on() {
    let (mut world, agent) = configured(|config| config.role = Role::Controlled);
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    let mut offer = hand.description(&[]);
    offer.options.trickle = true;
    offer.streams[0].end_of_candidates = false;
    world.respond(hand.address, hand.answering());
    world.set_remote(agent, &offer);
    assert_eq!(world.add_candidate(agent, &host("192.0.2.2:2000", 1)), Ok(()));
    world.run_for(ms(100));
    assert_eq!(world.route(agent), Ok(hand.address));
}

/// [rfc8839-5.1-2]
#[test]
fn names_and_addresses_that_lead_nowhere_are_refused() {
    let (mut world, agent) = configured(|_| {});
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    let mut description = hand.description(&[]);
    description.options.trickle = true;
    description.streams[0].end_of_candidates = false;
    world.set_remote(agent, &description);
    let mut named = host("192.0.2.2:2000", 1);
    named.address = CandidateAddress::Name { host: "peer.example".into(), port: 9 };
    assert_eq!(world.add_candidate(agent, &named), Err(CandidateRejected::UnresolvedName));
    for nowhere in ["192.0.2.2:0", "0.0.0.0:9", "224.0.0.1:9", "255.255.255.255:9", "[ff02::1]:9"] {
        let refused = world.add_candidate(agent, &host(nowhere, 1));
        assert_eq!(refused, Err(CandidateRejected::AddressNotUsable), "{nowhere}");
    }
    // In a description they are passed over, and the others count.
    let mut description = hand.description(&[named, host("192.0.2.2:2000", 1)]);
    description.options.trickle = true;
    world.set_remote(agent, &description);
    assert_eq!(world.pairs(agent).len(), 1);
}

/// [rfc8839-5.1-10]
#[test]
fn unknown_extensions_of_a_candidate_are_ignored() {
    let (mut world, agent) = configured(|_| {});
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    let mut candidate = host("192.0.2.2:2000", 1);
    candidate.extensions.push(("generation".into(), "7".into()));
    candidate.extensions.push(("x-new".into(), "thing".into()));
    world.respond(hand.address, hand.answering());
    world.set_remote(agent, &hand.description(&[candidate]));
    world.reach(agent, AgentState::Completed, ms(1_000));
}

/// [rfc8840-4.1.2-2] [rfc8840-4.1.4-1] [rfc8839-4.2.5-4b]
#[test]
fn an_empty_description_is_no_mismatch() {
    let (mut world, agent) = configured(|_| {});
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    world.set_remote(agent, &hand.description(&[]));
    assert_eq!(world.state(agent), AgentState::Checking);
}
