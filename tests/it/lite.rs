//! Lite agents: one side lite, or both. [RFC 8445 §2.5, §6.1.1, §8.2, §12.1.1]

use floe::config::{AgentConfig, EndpointConfig, Mode, Role};
use floe::{AgentState, ComponentId, Event, SendError, Socket};

use crate::harness::{Hand, Packet, Party, World, addr, host, host_of, ms};

fn lite(role: Role) -> AgentConfig {
    let mut config = AgentConfig::new(role);
    config.mode = Mode::Lite;
    config
}

/// A full agent, and a lite one.
fn full_and_lite(full: Role, other: Role) -> (World, Party, Party) {
    let mut world = World::new();
    let left = world.party(AgentConfig::new(full), &["192.0.2.1:1000"]);
    let right = world.party(lite(other), &["192.0.2.2:2000"]);
    (world, left, right)
}

/// [rfc8445-6.1.1-2a] [rfc8445-6.1.1-2b] [rfc8445-7.3.2-p1] [rfc8839-4.2.1.4-1]
/// [rfc8839-4.2.1.4-2]
#[test]
fn the_full_side_controls_whoever_offered() {
    for (full, other) in
        [(Role::Controlling, Role::Controlled), (Role::Controlled, Role::Controlling)]
    {
        let (mut world, left, right) = full_and_lite(full, other);
        assert!(!world.description(left).lite && world.description(right).lite);
        world.exchange(left, right);
        world.run_for(ms(1_000));
        assert_eq!((world.role(left), world.role(right)), (Role::Controlling, Role::Controlled));
        assert_eq!(world.state(left), AgentState::Completed);
        assert_eq!(world.state(right), AgentState::Completed);
        assert_eq!(world.route(left), Ok(addr("192.0.2.2:2000")));
        assert_eq!(world.route(right), Ok(addr("192.0.2.1:1000")));
    }
}

/// [rfc8445-12.1.1-1] [rfc7675-5.1-1]
#[test]
fn a_lite_agent_answers_and_never_asks() {
    let (mut world, left, right) = full_and_lite(Role::Controlling, Role::Controlled);
    world.exchange(left, right);
    world.run_for(ms(120_000));
    assert!(world.requests_from("192.0.2.2:2000").is_empty());
    let answers = world.log.iter().filter(|p| p.from == addr("192.0.2.2:2000") && p.is_success());
    assert!(answers.count() > 20);
    assert_eq!(world.state(left), AgentState::Completed);
    assert_eq!(world.state(right), AgentState::Completed);
}

/// [rfc8445-12.1.1-1] [rfc8445-12.1.1-2] [rfc8839-7.1.1-6]
#[test]
fn a_lite_agent_sends_once_every_component_has_a_valid_pair() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    let second = ComponentId::new(0, 2).unwrap();
    world.udp(node, "192.0.2.1:1000");
    world.socket(node, Socket::udp(addr("192.0.2.1:1001")).with_component(second));
    let mut config = lite(Role::Controlled);
    config.streams = vec![2];
    let agent = world.agent(node, config);
    let mut hand = Hand::new(&world, agent, "192.0.2.2:2000");
    let candidates = [host("192.0.2.2:2000", 1), host_of("192.0.2.2:2001", 1, 2)];
    world.set_remote(agent, &hand.description(&candidates));
    assert_eq!(world.route(agent), Err(SendError::NotReady));
    // A check without USE-CANDIDATE makes nothing valid here.
    let octets = hand.check();
    world.inject(hand.address, addr("192.0.2.1:1000"), octets);
    world.run_for(ms(100));
    assert_eq!(world.route(agent), Err(SendError::NotReady));
    let octets = hand.nomination();
    world.inject(hand.address, addr("192.0.2.1:1000"), octets);
    world.run_for(ms(100));
    assert_eq!(world.route(agent), Err(SendError::NotReady));
    assert_ne!(world.state(agent), AgentState::Completed);
    let octets = hand.nomination();
    world.inject(addr("192.0.2.2:2001"), addr("192.0.2.1:1001"), octets);
    world.run_for(ms(100));
    assert_eq!(world.route(agent), Ok(hand.address));
    assert_eq!(world.route_of(agent, second), Ok(addr("192.0.2.2:2001")));
    assert_eq!(world.state(agent), AgentState::Completed);
}

/// [rfc8445-6.1.2.2-p2] [rfc8445-12.1.1-1]
#[test]
fn a_lite_agent_sends_though_the_peer_lacks_a_component() {
    let mut world = World::new();
    let mut config = lite(Role::Controlled);
    config.streams = vec![2];
    let agent = world.party(config, &["192.0.2.1:1000"]);
    let mut hand = Hand::new(&world, agent, "192.0.2.2:2000");
    world.set_remote(agent, &hand.plain());
    world.inject(hand.address, addr("192.0.2.1:1000"), hand.nomination());
    world.run_for(ms(100));
    assert_eq!(world.state(agent), AgentState::Completed);
    assert_eq!(world.route(agent), Ok(hand.address));
}

/// [rfc8445-8.3.2-p1]
#[test]
fn a_lite_agent_keeps_the_selected_pair_alone() {
    let mut world = World::new();
    let agent = world.party(lite(Role::Controlled), &["192.0.2.1:1000"]);
    let mut hand = Hand::new(&world, agent, "192.0.2.2:2000");
    let candidates = [host("192.0.2.2:2000", 1), host("192.0.2.3:3000", 2)];
    world.set_remote(agent, &hand.description(&candidates));
    let octets = hand.nomination();
    world.inject(hand.address, addr("192.0.2.1:1000"), octets);
    world.run_for(ms(5_000));
    assert_eq!(world.pairs(agent).len(), 1);
    assert_eq!(world.route(agent), Ok(hand.address));
}

/// [rfc8445-6.1.1-3a] [rfc8445-6.1.1-3b] [rfc8445-6.1.1-5]
#[test]
fn two_lite_agents_use_their_pair_without_a_check() {
    let mut world = World::new();
    let left = world.party(lite(Role::Controlling), &["192.0.2.1:1000"]);
    let right = world.party(lite(Role::Controlled), &["192.0.2.2:2000"]);
    world.exchange(left, right);
    assert_eq!((world.role(left), world.role(right)), (Role::Controlling, Role::Controlled));
    assert_eq!(world.state(left), AgentState::Completed);
    assert_eq!(world.state(right), AgentState::Completed);
    assert_eq!(world.route(left), Ok(addr("192.0.2.2:2000")));
    assert_eq!(world.route(right), Ok(addr("192.0.2.1:1000")));
    world.run_for(ms(60_000));
    assert!(world.log.iter().all(Packet::is_indication));
    // Nobody asks for consent, so it does not expire.
    assert!(world.route(left).is_ok() && world.route(right).is_ok());
}

/// Two lite agents of both families, and the exchange of their first descriptions.
fn two_of_both_families() -> (World, Party, Party) {
    two_with_components(1)
}

/// The same where the second one has so many components.
fn two_with_components(components: u16) -> (World, Party, Party) {
    let mut world = World::new();
    let left = world.party(lite(Role::Controlling), &["192.0.2.1:1000", "[2001:db8:1::1]:1000"]);
    let mut config = lite(Role::Controlled);
    config.streams = vec![components];
    let right = world.party(config, &["192.0.2.2:2000", "[2001:db8:1::2]:2000"]);
    world.exchange(left, right);
    (world, left, right)
}

fn offers_needed(world: &World, party: Party) -> usize {
    let needed = Event::OfferNeeded { agent: party.agent };
    world.events_of(party.node).iter().filter(|event| **event == needed).count()
}

/// [rfc8445-8.2-1] [rfc8445-8.2-2] [rfc8839-4.4.1.3-4] [rfc8839-4.4.1.3-5] [rfc8839-4.4.1.3-6]
#[test]
fn two_lite_agents_with_a_choice_complete_when_the_controlling_one_has_told_its_own() {
    let (mut world, left, right) = two_of_both_families();
    assert_eq!((offers_needed(&world, left), offers_needed(&world, right)), (1, 0));
    for (side, remote) in [(left, "[2001:db8:1::2]:2000"), (right, "[2001:db8:1::1]:1000")] {
        assert_eq!(world.route(side), Ok(addr(remote)), "RFC 6724 prefers IPv6");
        assert_eq!(world.state(side), AgentState::Connected);
    }
    world.run_for(ms(10_000));

    let offer = world.view(left).subsequent_offer();
    let [candidate] = &offer.streams[0].candidates[..] else { panic!("one candidate") };
    assert_eq!(candidate.socket_address(), Some(addr("[2001:db8:1::1]:1000")));
    assert_eq!(offer.streams[0].remote_candidates, [(1, addr("[2001:db8:1::2]:2000"))]);
    // Until then the other side tells all that may be chosen.
    let early = world.view(right).subsequent_offer();
    assert_eq!(early.streams[0].candidates.len(), 2);
    assert_eq!(early.streams[0].remote_candidates, []);
    world.set_remote(right, &offer);
    let answer = world.view(right).subsequent_answer(&offer);
    let [candidate] = &answer.streams[0].candidates[..] else { panic!("one candidate") };
    assert_eq!(candidate.socket_address(), Some(addr("[2001:db8:1::2]:2000")));
    assert_eq!(answer.streams[0].default_destination, Some(addr("[2001:db8:1::2]:2000")));
    assert_eq!(answer.streams[0].remote_candidates, []);
    world.set_remote(left, &answer);
    for side in [left, right] {
        assert_eq!(world.state(side), AgentState::Completed);
    }
    assert_eq!(offers_needed(&world, left), 1);
}

/// The peer may rank by other rules. [rfc8445-8.2-2]
#[test]
fn the_choice_of_the_controlling_lite_agent_counts() {
    // It makes none for a component that it does not have. [rfc8445-6.1.2.2-p2]
    for components in [1, 2] {
        let (mut world, left, right) = two_with_components(components);
        let mut offer = world.description(left);
        offer.streams[0].candidates = vec![host("192.0.2.1:1000", 1)];
        offer.streams[0].remote_candidates = vec![(1, addr("192.0.2.2:2000"))];
        offer.streams[0].default_destination = None;
        world.set_remote(right, &offer);
        assert_eq!(world.route(right), Ok(addr("192.0.2.1:1000")));
        assert_eq!(world.state(right), AgentState::Completed);
    }
}

/// [rfc8839-4.4.2.2-1]
#[test]
fn of_two_lite_agents_that_both_chose_the_second_becomes_controlled() {
    let mut world = World::new();
    let [left, right] =
        [["192.0.2.1:1000", "[2001:db8:1::1]:1000"], ["192.0.2.2:2000", "[2001:db8:1::2]:2000"]]
            .map(|addresses| world.party(lite(Role::Controlling), &addresses));
    let before = [left, right].map(|side| world.description(side));
    world.set_remote(right, &before[0]);
    world.set_remote(left, &before[1]);
    assert_eq!((offers_needed(&world, left), offers_needed(&world, right)), (1, 1));
    let choice = world.view(left).subsequent_offer();
    world.set_remote(right, &choice);
    assert_eq!((world.role(left), world.role(right)), (Role::Controlling, Role::Controlled));
    assert_eq!(world.state(right), AgentState::Completed);
}

/// [rfc8445-6.1.1-3a]
#[test]
fn the_same_description_again_changes_nothing_between_lite_agents() {
    let mut world = World::new();
    let left = world.party(lite(Role::Controlling), &["192.0.2.1:1000"]);
    let right = world.party(lite(Role::Controlled), &["192.0.2.2:2000"]);
    world.exchange(left, right);
    world.exchange(left, right);
    for party in [left, right] {
        let events = world.events_of(party.node);
        let selected = |event: &&Event| matches!(event, Event::Selected { .. });
        assert_eq!(events.iter().filter(selected).count(), 1);
    }
}

/// [rfc8839-4.4.3.2-1] [rfc8839-4.4.3.2-2] [rfc8839-4.4.3.2-3a] [rfc8839-4.4.3.2-3b]
/// [rfc8839-4.4.1.3-3]
#[test]
fn a_lite_agent_keeps_the_old_pair_during_a_restart() {
    let (mut world, left, right) = full_and_lite(Role::Controlling, Role::Controlled);
    world.exchange(left, right);
    world.run_for(ms(60_000));
    let before = world.credentials(right);
    world.restart(right);
    assert_ne!(world.credentials(right), before);
    assert_eq!(world.pairs(right).len(), 0);
    assert_ne!(world.state(right), AgentState::Completed);
    assert_eq!(world.route(right), Ok(addr("192.0.2.1:1000")));
    world.run_for(ms(40_000));
    assert_eq!(world.route(right), Ok(addr("192.0.2.1:1000")));
    assert_eq!(world.route(left), Ok(addr("192.0.2.2:2000")));
    world.exchange(right, left);
    world.run_for(ms(1_000));
    assert_eq!(world.state(left), AgentState::Completed);
    assert_eq!(world.state(right), AgentState::Completed);
    assert_eq!(world.role(left), Role::Controlling);
}

/// [rfc8839-4.4.1.3-1] [rfc8839-4.4.1.3-2a] [rfc8839-4.4.1.3-2b] [rfc8839-4.4.1.3-3]
#[test]
fn a_lite_agent_says_the_same_until_a_restart() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.udp(node, "192.0.2.1:1000");
    world.udp(node, "[2001:db8::1]:1000");
    let agent = world.agent(node, lite(Role::Controlled));
    let first = world.description(agent);
    assert_eq!(first.streams[0].candidates.len(), 2);
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    world.set_remote(agent, &hand.plain());
    world.udp(node, "192.0.2.9:1000");
    world.run_for(ms(1_000));
    assert_eq!(world.description(agent), first);
    world.restart(agent);
    let second = world.description(agent).streams[0].clone();
    assert_eq!(second.candidates.len(), 3);
    assert_ne!(second.credentials, first.streams[0].credentials);
}

/// [rfc8445-11-8]
#[test]
fn a_closed_lite_agent_is_silent() {
    let (mut world, left, right) = full_and_lite(Role::Controlling, Role::Controlled);
    world.exchange(left, right);
    world.run_for(ms(1_000));
    world.close(right);
    let before = world.log.len();
    world.run_for(ms(60_000));
    let sent = world.log[before..].iter().filter(|p| p.from == addr("192.0.2.2:2000"));
    assert!(sent.into_iter().all(Packet::is_error));
    assert_eq!(world.state(left), AgentState::Failed);
}
