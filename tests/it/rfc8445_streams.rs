//! What one data stream leaves the others: when it is removed, and when it has its pair first.
//! [RFC 8445 §8.1.2] [RFC 8839 §4.4.3]

use floe::candidate::CandidateKind;
use floe::config::{AgentConfig, EndpointConfig, Role};
use floe::sdp::Description;
use floe::{
    AgentState, CandidateRejected, ComponentId, DescriptionRejected, DropReason, Event, SendError,
    Socket,
};

use crate::harness::{Hand, Party, Verdict, World, addr, host, ms};

/// A party of two streams at ports 1000 and 1010 of an address.
fn party(world: &mut World, ip: &str, role: Role) -> Party {
    let node = world.node(EndpointConfig::default());
    for stream in 0..2 {
        let component = ComponentId::new(stream, 1).unwrap();
        let address = addr(&format!("{ip}:{}", 1_000 + 10 * stream));
        world.socket(node, Socket::udp(address).with_component(component));
    }
    let mut config = AgentConfig::new(role);
    config.streams = vec![1, 1];
    world.agent(node, config)
}

/// Two parties whose second stream carries nothing.
fn half_dead() -> (World, Party, Party) {
    let mut world = World::new();
    let left = party(&mut world, "192.0.2.1", Role::Controlling);
    let right = party(&mut world, "192.0.2.2", Role::Controlled);
    world.filter(|packet| match packet.to.port() {
        1_010 => Verdict::Drop,
        _ => Verdict::Pass,
    });
    world.exchange(left, right);
    (world, left, right)
}

fn remove(world: &mut World, party: Party, stream: u16) -> bool {
    let now = world.now;
    let agent = world.endpoint(party.node).agent_mut(now, party.agent);
    let removed = agent.unwrap().remove_stream(stream);
    world.drain();
    removed
}

fn told(world: &World, party: Party) -> usize {
    let removed = Event::StreamRemoved { agent: party.agent, stream: 1 };
    world.events_of(party.node).iter().filter(|event| **event == removed).count()
}

fn second() -> ComponentId {
    ComponentId::new(1, 1).unwrap()
}

/// [rfc8445-8.1.2-3]
#[test]
fn a_session_goes_on_without_a_stream_that_failed() {
    let (mut world, left, right) = half_dead();
    world.run_for(ms(60_000));
    assert_eq!(world.state(left), AgentState::Checking, "one stream of two has its pair");

    assert!(remove(&mut world, left, 1));
    assert_eq!(world.state(left), AgentState::Completed);
    let offer = world.description(left);
    assert!(offer.streams[1].rejected && offer.streams[1].candidates.is_empty());
    world.set_remote(right, &offer);
    assert_eq!(world.state(right), AgentState::Completed);
    assert_eq!((told(&world, left), told(&world, right)), (0, 1));
    for side in [left, right] {
        assert_eq!(world.route_of(side, second()).err(), Some(SendError::UnknownComponent));
        world.send_data(side, b"\x80still here").unwrap();
    }
}

/// [rfc8839-4.4.3.1-2] [rfc8839-4.4.3.1-3]
#[test]
fn of_a_rejected_stream_no_pair_and_no_transaction_is_left() {
    let mut world = World::new();
    let left = party(&mut world, "192.0.2.1", Role::Controlling);
    let right = party(&mut world, "192.0.2.2", Role::Controlled);
    world.exchange(left, right);
    world.reach(left, AgentState::Completed, ms(1_000));
    world.reach(right, AgentState::Completed, ms(1_000));

    let mut offer = world.description(left);
    offer.streams[1] = Default::default();
    offer.streams[1].rejected = true;
    world.set_remote(right, &offer);
    assert!(world.pairs(right).iter().all(|pair| pair.component != second()));
    assert!(world.view(right).selected(second()).is_none());
    let before = world.requests_from("192.0.2.2:1010").len();
    let dropped = world.dropped(right.node, DropReason::UnknownComponent);
    world.run_for(ms(20_000));
    assert_eq!(world.requests_from("192.0.2.2:1010").len(), before, "no consent is asked for");
    let refused = world.dropped(right.node, DropReason::UnknownComponent);
    assert!(refused > dropped, "consent checks of the peer find nobody");
    assert_eq!(world.state(right), AgentState::Completed);
}

/// [rfc8839-4.2.5-3b] [rfc8839-4.3.3-2a] [rfc8839-4.3.3-3]
#[test]
fn a_mismatch_ends_the_streams_that_it_names_and_no_others() {
    let mut world = World::new();
    let left = party(&mut world, "192.0.2.1", Role::Controlling);
    let mut hand = Hand::new(&world, left, "192.0.2.2:2000");
    world.respond(hand.address, hand.answering());
    let mut answer = hand.plain();
    let mut mismatched = answer.streams[0].clone();
    mismatched.candidates.clear();
    mismatched.mismatch = true;
    answer.streams.push(mismatched);
    world.set_remote(left, &answer);
    assert_eq!(told(&world, left), 1);
    world.reach(left, AgentState::Completed, ms(1_000));
    assert!(world.requests_from("192.0.2.1:1010").is_empty());
    let check = hand.check();
    world.inject(hand.address, addr("192.0.2.1:1010"), check);
    world.run_for(ms(100));
    assert_eq!(world.dropped(left.node, DropReason::UnknownComponent), 1);
}

#[test]
fn a_description_that_rejects_every_stream_changes_nothing() {
    let mut world = World::new();
    let left = party(&mut world, "192.0.2.1", Role::Controlling);
    let mut description = Description::default();
    for _ in 0..2 {
        let mut stream = floe::sdp::StreamDescription::default();
        stream.rejected = true;
        description.streams.push(stream);
    }
    let refused = world.try_set_remote(left, &description);
    assert_eq!(refused, Err(DescriptionRejected::NoCredentials { stream: 0 }));
    assert_eq!((told(&world, left), world.state(left)), (0, AgentState::New));
}

#[test]
fn the_last_stream_and_one_that_is_not_there_cannot_be_removed() {
    let (mut world, left, _) = half_dead();
    assert!(!remove(&mut world, left, 2));
    assert!(remove(&mut world, left, 1));
    assert!(!remove(&mut world, left, 1));
    assert!(!remove(&mut world, left, 0));
    let now = world.now;
    let mut agent = world.endpoint(left.node).agent_mut(now, left.agent).unwrap();
    let candidate = host("192.0.2.2:2000", 1);
    let refused = agent.add_remote_candidate(1, None, &candidate);
    assert_eq!(refused, Err(CandidateRejected::UnknownStream));
    let refused = agent.end_of_remote_candidates(Some(1), None);
    assert_eq!(refused, Err(CandidateRejected::UnknownStream));
}

#[test]
fn a_removed_stream_stays_away_after_a_restart() {
    let (mut world, left, right) = half_dead();
    world.run_for(ms(1_000));
    assert!(remove(&mut world, left, 1));
    world.restart(left);
    world.exchange(left, right);
    let before = world.requests_from("192.0.2.1:1010").len();
    for side in [left, right] {
        world.reach(side, AgentState::Completed, ms(2_000));
        assert!(world.description(side).streams[1].rejected);
    }
    world.run_for(ms(20_000));
    assert_eq!(world.requests_from("192.0.2.1:1010").len(), before);
}

/// What is checked beside a selected pair is given up after a while, and nothing else is.
/// [rfc8445-8.3.1-1]
#[test]
fn a_stream_that_has_its_pair_takes_none_from_one_that_looks_for_it() {
    let mut world = World::new();
    let agent = party(&mut world, "192.0.2.1", Role::Controlling);
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    world.respond(hand.address, hand.answering());
    let mut description = hand.plain();
    description.options.renomination = true;
    description.options.trickle = true;
    description.streams[0].end_of_candidates = false;
    description.streams.push(description.streams[0].clone());
    description.streams[1].candidates = vec![host("192.0.2.2:2010", 1)];
    world.set_remote(agent, &description);
    world.run_for(ms(2_000));
    let mut relayed = host("198.51.100.1:5000", 2);
    relayed.kind = CandidateKind::Relayed;
    world.add_candidate(agent, &relayed).unwrap();
    world.run_for(ms(8_000));
    world.respond(addr("192.0.2.2:2010"), hand.answering());
    world.reach(agent, AgentState::Completed, ms(10_000));
}
