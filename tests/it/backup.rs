//! The pair over a relay that is kept in reserve for a direct one.
//!
//! Each side has two sockets, and tells the peer that the second one is a relay. What runs between
//! the two second ones is then a pair with one relay for either side, and nothing passes between a
//! first one and a second one.

use core::time::Duration;

use floe::candidate::{CandidateAddress, CandidateKind, priority};
use floe::config::{AgentConfig, BackupPolicy, Role};
use floe::event::RestartReason;
use floe::sdp::Description;
use floe::stats::PairStats;
use floe::{AgentState, ComponentId, Event, Instant};

use crate::harness::{Packet, Party, Verdict, World, addr, ms};

const LEFT: [&str; 2] = ["192.0.2.1:1000", "192.0.2.3:1000"];
const RIGHT: [&str; 2] = ["192.0.2.2:2000", "192.0.2.4:2000"];

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Which of the two ways a packet takes, if it takes one.
fn way(packet: &Packet) -> Option<usize> {
    (0..2).find(|n| {
        let (left, right) = (addr(LEFT[*n]), addr(RIGHT[*n]));
        [(left, right), (right, left)].contains(&(packet.from, packet.to))
    })
}

/// Lets packets pass on these ways alone.
fn open(world: &mut World, ways: &'static [usize]) {
    world.filter(move |packet| match way(packet) {
        Some(way) if ways.contains(&way) => Verdict::Pass,
        Some(_) | None => Verdict::Drop,
    });
}

/// Says of the second socket that it is a relay.
fn with_relay(mut description: Description, relay: &str) -> Description {
    for candidate in &mut description.streams[0].candidates {
        if candidate.address == CandidateAddress::Ip(addr(relay)) {
            candidate.kind = CandidateKind::Relayed;
            candidate.priority = priority(CandidateKind::Relayed, 65_535, 1);
        }
    }
    description
}

/// Two parties whose descriptions are exchanged; not a packet has been sent.
fn parties(world: &mut World, tune: impl Fn(&mut AgentConfig)) -> (Party, Party) {
    let config = |role| {
        let mut config = AgentConfig::new(role);
        tune(&mut config);
        config
    };
    let left = world.party(config(Role::Controlling), &LEFT);
    let right = world.party(config(Role::Controlled), &RIGHT);
    let offer = with_relay(world.description(left), LEFT[1]);
    world.set_remote(right, &offer);
    let answer = with_relay(world.description(right), RIGHT[1]);
    world.set_remote(left, &answer);
    (left, right)
}

/// Two parties that have been connected for half a minute.
fn connected(world: &mut World, tune: impl Fn(&mut AgentConfig)) -> (Party, Party) {
    open(world, &[0, 1]);
    let (left, right) = parties(world, tune);
    world.reach(left, AgentState::Completed, secs(2));
    world.reach(right, AgentState::Completed, secs(2));
    world.run_for(secs(30));
    for party in [left, right] {
        assert_eq!(selected(world, party), Some(0));
    }
    (left, right)
}

/// Which way a party has selected.
fn selected(world: &World, party: Party) -> Option<usize> {
    let base = world.view(party).selected(ComponentId::FIRST)?.base.to_string();
    Some(usize::from(base == LEFT[1] || base == RIGHT[1]))
}

fn selections(world: &World, party: Party) -> usize {
    let events = world.events_of(party.node);
    events.iter().filter(|event| matches!(event, Event::Selected { .. })).count()
}

/// The pairs of a party on one way.
fn pairs(world: &World, party: Party, way: usize) -> Vec<PairStats> {
    let of_way = |pair: &PairStats| {
        let local = pair.local.address.to_string();
        local == LEFT[way] || local == RIGHT[way]
    };
    world.pairs(party).into_iter().filter(of_way).collect()
}

/// Requests that a party sent on one way since a time.
fn requests(world: &World, from: &str, since: Instant) -> usize {
    world.requests_from(from).into_iter().filter(|packet| packet.at > since).count()
}

#[test]
fn a_pair_over_a_relay_is_kept_with_consent_beside_a_direct_one() {
    let mut world = World::new();
    let (left, right) = connected(&mut world, |_| {});
    let since = world.now;
    world.run_for(secs(120));
    for (party, sockets) in [(left, LEFT), (right, RIGHT)] {
        assert_eq!(world.pairs(party).len(), 2, "{:#?}", world.pairs(party));
        for way in [0, 1] {
            let sent = requests(&world, sockets[way], since);
            assert!((20..=30).contains(&sent), "{sent} on way {way} in 120 s");
        }
        assert_eq!(selected(&world, party), Some(0));
        assert_eq!(selections(&world, party), 1);
    }
}

#[test]
fn with_the_policy_off_nothing_is_kept() {
    let mut world = World::new();
    let (left, right) = connected(&mut world, |config| config.backup = BackupPolicy::Off);
    let since = world.now;
    world.run_for(secs(60));
    for (party, sockets) in [(left, LEFT), (right, RIGHT)] {
        assert_eq!(world.pairs(party).len(), 1);
        assert_eq!(requests(&world, sockets[1], since), 0);
    }
}

/// Who cannot be told to use another pair has no use for one in reserve. [rfc8445-8.1.1-3]
/// [rfc8445-8.1.2-1]
#[test]
fn toward_a_peer_without_renomination_nothing_is_kept() {
    let mut world = World::new();
    let (left, _) = connected(&mut world, |config| config.nomination.renomination = false);
    let since = world.now;
    world.run_for(secs(60));
    assert_eq!(world.pairs(left).len(), 1);
    assert_eq!(requests(&world, LEFT[1], since), 0);
}

#[test]
fn the_reserve_carries_data_as_soon_as_the_direct_pair_is_silent() {
    let mut world = World::new();
    let (left, right) = connected(&mut world, |_| {});
    open(&mut world, &[1]);
    let cut = world.now;
    for party in [left, right] {
        let before = if party == left { RIGHT[0] } else { LEFT[0] };
        let moved = world.run_while(secs(10), |world| {
            let way = selected(world, party);
            way == Some(0)
        });
        assert!(moved, "selected {:?}", selected(&world, party));
        assert_ne!(world.route(party).unwrap(), addr(before));
        assert_eq!(world.state(party), AgentState::Completed);
    }
    // A consent check every 4 to 6 s, and 2.5 s to be sure that it is not answered.
    assert!(world.now <= cut + ms(8_600), "{:?}", world.now - cut);
    let nominated = world.log.iter().filter(|packet| packet.at > cut && packet.nominates());
    assert_eq!(nominated.filter(|packet| way(packet) == Some(1)).count(), 1);
    for (party, sockets) in [(left, LEFT), (right, RIGHT)] {
        let disconnected =
            |event: &Event| matches!(event, Event::State { state: AgentState::Disconnected, .. });
        assert!(!world.events_of(party.node).iter().any(disconnected), "{sockets:?}");
    }
}

/// The side that is the first to notice does not wait for the nomination.
#[test]
fn data_takes_the_reserve_before_it_is_nominated() {
    let mut world = World::new();
    let (_, right) = connected(&mut world, |_| {});
    open(&mut world, &[1]);
    let moved = world.run_while(secs(10), |world| {
        let view = world.view(right);
        let at_once = view.selected(ComponentId::FIRST).unwrap().remote.address;
        let _ = view;
        at_once == addr(LEFT[0]) && world.log.iter().all(|packet| !renominates(packet))
    });
    assert!(moved);
    let route = world.route(right).unwrap();
    assert_eq!(route, addr(LEFT[1]));
}

/// A nomination on the second way.
fn renominates(packet: &Packet) -> bool {
    packet.nominates() && way(packet) == Some(1)
}

#[test]
fn the_direct_pair_is_taken_again_when_it_answers_in_time() {
    let mut world = World::new();
    let (left, right) = connected(&mut world, |_| {});
    open(&mut world, &[1]);
    world.run_for(secs(15));
    assert_eq!(selected(&world, left), Some(1));
    open(&mut world, &[0, 1]);
    world.run_for(secs(8));
    for party in [left, right] {
        assert_eq!(selected(&world, party), Some(0));
        assert_eq!(selections(&world, party), 3);
        assert_eq!(pairs(&world, party, 1).len(), 1, "the relay is in reserve again");
    }
    world.run_for(secs(600));
    for party in [left, right] {
        assert_eq!(selections(&world, party), 3);
    }
}

/// Consent that is lost is not regained but by a restart, which is recommended.
/// [rfc7675-5.1-13]
#[test]
fn a_restart_is_recommended_while_the_reserve_stands_in() {
    let mut world = World::new();
    let (left, right) = connected(&mut world, |_| {});
    open(&mut world, &[1]);
    let cut = world.now;
    world.run_for(secs(25));
    for party in [left, right] {
        let advised: Vec<_> = world
            .events
            .iter()
            .filter(|(_, node, _)| *node == party.node)
            .filter_map(|(at, _, event)| {
                if let Event::RestartRecommended { reason, .. } = event {
                    Some((*at, *reason))
                } else {
                    None
                }
            })
            .collect();
        assert_eq!(advised.len(), 1, "{advised:?}");
        assert_eq!(advised[0].1, RestartReason::ConsentExpiring);
        assert!(advised[0].0 <= cut + secs(20));
    }
    world.run_for(secs(600));
    for party in [left, right] {
        assert_eq!(selected(&world, party), Some(1));
        assert_eq!(world.state(party), AgentState::Completed);
        assert!(world.route(party).is_ok());
    }
    open(&mut world, &[0, 1]);
    world.run_for(secs(60));
    assert_eq!(selected(&world, left), Some(1), "not without a restart");
}

/// A reserve that is lost is replaced by nothing, and sought again without end by nobody.
#[test]
fn a_reserve_that_dies_disturbs_nothing() {
    let mut world = World::new();
    let (left, right) = connected(&mut world, |_| {});
    open(&mut world, &[0]);
    world.run_for(secs(60));
    let since = world.now;
    world.run_for(secs(600));
    for (party, sockets) in [(left, LEFT), (right, RIGHT)] {
        assert_eq!(requests(&world, sockets[1], since), 0);
        assert_eq!(selections(&world, party), 1);
        assert_eq!(world.state(party), AgentState::Completed);
        let events = world.events_of(party.node);
        assert!(!events.iter().any(|event| matches!(event, Event::RestartRecommended { .. })));
    }
}

/// A relay that is found after the nomination becomes the reserve all the same.
#[test]
fn a_late_relay_becomes_the_reserve() {
    let mut world = World::new();
    open(&mut world, &[0]);
    let left = world.party(AgentConfig::new(Role::Controlling), &LEFT);
    let right = world.party(AgentConfig::new(Role::Controlled), &RIGHT);
    let offer = with_relay(world.description(left), LEFT[1]);
    world.set_remote(right, &offer);
    let mut answer = with_relay(world.description(right), RIGHT[1]);
    let late = answer.streams[0].candidates.iter().position(|c| c.kind == CandidateKind::Relayed);
    let late = answer.streams[0].candidates.remove(late.unwrap());
    answer.streams[0].end_of_candidates = false;
    world.set_remote(left, &answer);
    world.reach(left, AgentState::Completed, secs(2));
    world.run_for(secs(10));
    assert_eq!(pairs(&world, left, 1).len(), 0);

    open(&mut world, &[0, 1]);
    world.add_candidate(left, &late).unwrap();
    world.run_for(secs(10));
    assert_eq!(pairs(&world, left, 1).len(), 1);
    open(&mut world, &[1]);
    world.run_for(secs(9));
    for party in [left, right] {
        assert_eq!(selected(&world, party), Some(1));
    }
}
