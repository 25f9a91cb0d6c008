//! Patiently awaiting connectivity. [RFC 8863]

use floe::config::{AgentConfig, Role};
use floe::event::PairFailure;
use floe::{AgentState, Event, Instant};

use crate::harness::{Hand, Party, World, addr, host, ms};

const AGENT: &str = "192.0.2.1:1000";

fn controlled() -> (World, Party, Hand) {
    let mut world = World::new();
    let agent = world.party(AgentConfig::new(Role::Controlled), &[AGENT]);
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    (world, agent, hand)
}

/// The first moment that the agent was Failed.
fn failed_at(world: &World, party: Party) -> Option<Instant> {
    let failed = Event::State { agent: party.agent, state: AgentState::Failed };
    world.events.iter().find(|(_, _, event)| *event == failed).map(|(at, ..)| *at)
}

/// [rfc8863-4-1] [rfc8863-4-2] [rfc8863-4-3] [rfc8863-4-4] [rfc8863-4-p1] [rfc8863-4-p2]
/// [rfc8863-5-1]
#[test]
fn without_any_candidate_failure_comes_when_the_timer_ends() {
    let (mut world, agent, hand) = controlled();
    world.run_for(ms(60_000));
    assert_eq!(world.state(agent), AgentState::New, "the timer starts with the description");
    let start = world.now;
    world.set_remote(agent, &hand.description(&[]));
    world.run_for(ms(120_000));
    assert_eq!(failed_at(&world, agent), Some(start + ms(39_500)));
}

/// [rfc8863-4-3] [rfc8863-4-4] [rfc8863-4-p2]
#[test]
fn pairs_that_fail_early_do_not_fail_the_session() {
    let (mut world, agent, hand) = controlled();
    let refusing = hand.clone();
    world.respond(hand.address, move |packet| vec![refusing.error(packet, 400)]);
    let start = world.now;
    world.set_remote(agent, &hand.plain());
    world.run_for(ms(1_000));
    assert_eq!(world.view(agent).failures()[0].reason, PairFailure::Refused(400));
    assert_eq!(world.state(agent), AgentState::Checking);
    world.run_for(ms(120_000));
    assert_eq!(failed_at(&world, agent), Some(start + ms(39_500)));
}

/// [rfc8863-4-1] [rfc8863-4-p2]
#[test]
fn a_late_check_of_the_peer_saves_a_session_without_pairs() {
    let (mut world, agent, mut hand) = controlled();
    world.set_remote(agent, &hand.description(&[]));
    world.run_for(ms(39_000));
    world.respond(hand.address, hand.answering());
    let octets = hand.nomination();
    world.inject(hand.address, addr(AGENT), octets);
    world.reach(agent, AgentState::Completed, ms(400));
    world.run_for(ms(60_000));
    assert_eq!(failed_at(&world, agent), None);
}

/// [rfc8863-4-3] [rfc8445-7.3.1.4-p6]
#[test]
fn an_early_failure_is_recovered_by_a_late_check() {
    let (mut world, agent, mut hand) = controlled();
    let refusing = hand.clone();
    world.respond(hand.address, move |packet| {
        if packet.is_request() { vec![refusing.error(packet, 400)] } else { Vec::new() }
    });
    world.set_remote(agent, &hand.plain());
    world.run_for(ms(20_000));
    assert_eq!(world.view(agent).failures().len(), 1);
    world.respond(hand.address, hand.answering());
    let octets = hand.nomination();
    world.inject(hand.address, addr(AGENT), octets);
    world.reach(agent, AgentState::Completed, ms(500));
    assert_eq!(failed_at(&world, agent), None);
}

/// Even a session that has failed runs again for it. [rfc8445-7.3.1.4-p6]
#[test]
fn a_failed_session_is_revived_by_a_check() {
    let (mut world, agent, mut hand) = controlled();
    world.set_remote(agent, &hand.plain());
    world.reach(agent, AgentState::Failed, ms(120_000));
    world.respond(hand.address, hand.answering());
    let octets = hand.nomination();
    world.inject(hand.address, addr(AGENT), octets);
    world.reach(agent, AgentState::Completed, ms(1_000));
    assert_eq!(world.route(agent), Ok(hand.address));
}

/// [rfc8863-4-4] [rfc8863-5-2] [rfc8863-5-3]
#[test]
fn the_timer_stands_in_for_the_end_of_candidates() {
    let (mut world, agent, hand) = controlled();
    let mut description = hand.description(&[]);
    description.options.trickle = true;
    description.streams[0].end_of_candidates = false;
    let start = world.now;
    world.set_remote(agent, &description);
    world.run_for(ms(120_000));
    assert_eq!(failed_at(&world, agent), Some(start + ms(39_500)));
}

/// A pair that is still being checked when the timer ends is given its time. [rfc8863-4-4]
/// [rfc8863-5-1]
#[test]
fn a_pair_under_way_outlives_the_timer() {
    let (mut world, agent, hand) = controlled();
    let mut description = hand.description(&[]);
    description.options.trickle = true;
    description.streams[0].end_of_candidates = false;
    let start = world.now;
    world.set_remote(agent, &description);
    world.run_for(ms(30_000));
    world.add_candidate(agent, &host("192.0.2.2:2000", 1)).unwrap();
    world.end_of_candidates(agent);
    world.run_until(start + ms(50_000));
    assert_eq!(world.state(agent), AgentState::Checking);
    world.respond(hand.address, hand.answering());
    world.run_for(ms(15_000));
    assert_eq!(world.state(agent), AgentState::Connected);
}

/// [rfc8863-4-p2]
#[test]
fn success_is_not_delayed() {
    let mut world = World::new();
    let (left, right) = world.pair_of_parties();
    let start = world.now;
    world.exchange(left, right);
    world.reach(left, AgentState::Completed, ms(200));
    assert!(world.now - start < ms(100));
}

/// [rfc8863-4-2]
#[test]
fn the_timer_lasts_as_long_as_a_whole_transaction() {
    assert_eq!(AgentConfig::new(Role::Controlling).patience, ms(39_500));
}

/// A restart has a timer of its own. [rfc8863-4-1]
#[test]
fn a_restart_starts_the_timer_anew() {
    let (mut world, agent, mut hand) = controlled();
    world.set_remote(agent, &hand.description(&[]));
    world.run_for(ms(35_000));
    hand.own.ufrag = "again".into();
    let start = world.now;
    world.set_remote(agent, &hand.description(&[]));
    world.run_for(ms(120_000));
    assert_eq!(failed_at(&world, agent), Some(start + ms(39_500)));
}
