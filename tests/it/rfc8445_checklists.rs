//! Forming checklists, their order and pace. [RFC 8445 §6, §14, §19.5]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use floe::candidate::{Candidate, CandidateKind, Credentials, Foundation, priority};
use floe::config::{AgentConfig, CheckBackoff, EndpointConfig, Mode, Role};
use floe::sdp::Description;
use floe::stats::PairStateKind;
use floe::{AgentState, ComponentId, Instant, Server, Socket};

use crate::harness::{
    Hand, Packet, Party, World, addr, distinct_ids, host, host_of, ms, stun_server,
};
use crate::rfc8445_gathering::rows;

const BASE: &str = "192.0.2.1:1000";
const PEER: &str = "192.0.2.9:9000";

fn config(role: Role) -> AgentConfig {
    let mut config = AgentConfig::new(role);
    config.check_backoff = CheckBackoff::Rfc;
    config.ta = ms(50);
    config
}

/// One agent with these bases, and a peer made by hand.
fn one(role: Role, bases: &[&str]) -> (World, Party, Hand) {
    let mut world = World::new();
    let party = world.party(config(role), bases);
    let hand = Hand::new(&world, party, PEER);
    (world, party, hand)
}

/// An agent with `streams` streams of `components` components at 192.0.2.1, port 1000 + 10 s + c.
pub(crate) fn many(streams: u16, components: u16, mut config: AgentConfig) -> (World, Party, Hand) {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    for stream in 0..streams {
        for number in 1..=components {
            let address = addr(&format!("192.0.2.1:{}", 1_000 + 10 * stream + number));
            let component = ComponentId::new(stream, number).unwrap();
            world.socket(node, Socket::udp(address).with_component(component));
        }
    }
    config.streams = vec![components; usize::from(streams)];
    let party = world.agent(node, config);
    let hand = Hand::new(&world, party, PEER);
    (world, party, hand)
}

/// A description with the given candidates for each stream.
pub(crate) fn streams(hand: &Hand, candidates: &[Vec<Candidate>]) -> Description {
    let mut description = hand.description(&[]);
    let template = description.streams.remove(0);
    for candidates in candidates {
        let mut stream = template.clone();
        stream.candidates = candidates.clone();
        description.streams.push(stream);
    }
    description
}

pub(crate) fn founded(foundation: &str, address: &str, rank: u16, component: u16) -> Candidate {
    let mut candidate = host_of(address, rank, component);
    candidate.foundation = Foundation::new(foundation).unwrap();
    candidate
}

/// The targets of new transactions from the agent, with the time since `start`.
fn starts(world: &World, start: Instant) -> Vec<(Duration, SocketAddr)> {
    let mut seen = BTreeSet::new();
    let requests = world.log.iter().filter(|p| p.is_request() && p.from.ip() != addr(PEER).ip());
    requests.filter(|p| seen.insert(p.id())).map(|p| (p.at - start, p.to)).collect()
}

fn states(world: &World, party: Party) -> Vec<(SocketAddr, PairStateKind)> {
    world.pairs(party).iter().map(|pair| (pair.remote.address, pair.state)).collect()
}

fn state_of(world: &World, party: Party, remote: &str) -> PairStateKind {
    let remote = addr(remote);
    let found = world.pairs(party).into_iter().find(|pair| pair.remote.address == remote);
    found.unwrap_or_else(|| panic!("no pair with {remote}")).state
}

/// [rfc8445-6.1.1-1a] [rfc8445-6.1.1-1b]
#[test]
fn between_full_agents_the_configured_roles_hold() {
    let mut world = World::new();
    let (left, right) = world.pair_of_parties();
    world.exchange(left, right);
    world.reach(left, AgentState::Completed, ms(1_000));
    assert_eq!(world.role(left), Role::Controlling);
    assert_eq!(world.role(right), Role::Controlled);
}

/// [rfc8445-6.1.1-2a] [rfc8445-6.1.1-2b]
#[test]
fn a_full_agent_controls_a_lite_one() {
    for role in [Role::Controlling, Role::Controlled] {
        let other = if role == Role::Controlling { Role::Controlled } else { Role::Controlling };
        let mut lite = AgentConfig::new(other);
        lite.mode = Mode::Lite;
        let mut world = World::new();
        let left = world.party(AgentConfig::new(role), &[BASE]);
        let right = world.party(lite, &["192.0.2.2:2000"]);
        world.exchange(left, right);
        assert_eq!(world.role(left), Role::Controlling);
        assert_eq!(world.role(right), Role::Controlled);
        world.reach(left, AgentState::Completed, ms(1_000));
        world.reach(right, AgentState::Completed, ms(1_000));
        assert!(world.requests_from("192.0.2.2:2000").is_empty(), "a lite agent checks nothing");
    }
}

/// [rfc8445-6.1.1-3a] [rfc8445-6.1.1-3b]
#[test]
fn between_lite_agents_the_initiator_controls() {
    let mut world = World::new();
    let lite = |role| {
        let mut config = AgentConfig::new(role);
        config.mode = Mode::Lite;
        config
    };
    let left = world.party(lite(Role::Controlling), &[BASE]);
    let right = world.party(lite(Role::Controlled), &["192.0.2.2:2000"]);
    world.exchange(left, right);
    world.run_for(ms(100));
    assert_eq!(world.role(left), Role::Controlling);
    assert_eq!(world.role(right), Role::Controlled);
}

/// [rfc8445-6.1.1-4] [rfc8445-6.1.1-5] [rfc8445-6.1.1-6]
#[test]
fn a_restart_keeps_the_role_unless_the_peer_turns_lite() {
    let (mut world, party, mut hand) = one(Role::Controlled, &[BASE]);
    world.set_remote(party, &hand.plain());
    hand.own.ufrag = "again".into();
    world.set_remote(party, &hand.plain());
    assert_eq!(world.role(party), Role::Controlled);
    hand.own.ufrag = "lite".into();
    let mut description = hand.plain();
    description.lite = true;
    world.set_remote(party, &description);
    assert_eq!(world.role(party), Role::Controlling);
}

/// [rfc8445-6.1.2.2-p1] [rfc8445-6.1.2.2-1] [rfc8445-6.1.2.2-p2]
#[test]
fn only_candidates_that_fit_each_other_are_paired() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    let second = ComponentId::new(0, 2).unwrap();
    for (address, component) in [
        ("192.0.2.1:1001", ComponentId::FIRST),
        ("192.0.2.1:1002", second),
        ("[2001:db8::1]:1001", ComponentId::FIRST),
        ("[fe80::1]:1001", ComponentId::FIRST),
    ] {
        world.socket(node, Socket::udp(addr(address)).with_component(component));
    }
    let mut config = config(Role::Controlling);
    config.streams = vec![2];
    let party = world.agent(node, config);
    let hand = Hand::new(&world, party, PEER);
    world.set_remote(
        party,
        &hand.description(&[
            host_of("192.0.2.9:1", 1, 1),
            host_of("192.0.2.9:2", 1, 2),
            host_of("192.0.2.9:3", 1, 3),
            host_of("[2001:db8::9]:1", 2, 1),
            host_of("[fe80::9]:1", 3, 1),
        ]),
    );
    let mut pairs: Vec<_> = world
        .pairs(party)
        .iter()
        .map(|pair| (pair.local.address.to_string(), pair.remote.address.to_string()))
        .collect();
    pairs.sort();
    let expected = [
        ("192.0.2.1:1001", "192.0.2.9:1"),
        ("192.0.2.1:1002", "192.0.2.9:2"),
        ("[2001:db8::1]:1001", "[2001:db8::9]:1"),
        ("[fe80::1]:1001", "[fe80::9]:1"),
    ];
    assert_eq!(pairs, expected.map(|(local, remote)| (local.to_owned(), remote.to_owned())));
}

/// Without a candidate of the peer's for component 2, component 1 is all there is.
/// [rfc8445-6.1.2.2-p2]
#[test]
fn the_lesser_number_of_components_counts() {
    let (mut world, party, hand) = many(1, 2, config(Role::Controlling));
    world.respond(addr(PEER), hand.answering());
    world.set_remote(party, &hand.description(&[host(PEER, 1)]));
    world.reach(party, AgentState::Completed, ms(2_000));
}

/// [rfc8445-6.1.2.3-p1]
#[test]
fn pair_priorities_follow_the_formula_from_both_sides() {
    // The local candidate always has the priority of a single host address.
    const LOCAL: u64 = 2_130_706_431;
    for row in rows("pairs.txt") {
        let row: Vec<u64> = row.iter().map(|number| number.parse().unwrap()).collect();
        for (role, local, remote) in
            [(Role::Controlling, row[0], row[1]), (Role::Controlled, row[1], row[0])]
        {
            if local != LOCAL {
                continue;
            }
            let (mut world, party, hand) = one(role, &[BASE]);
            let mut candidate = host(PEER, 1);
            candidate.priority = u32::try_from(remote).unwrap();
            world.set_remote(party, &hand.description(&[candidate]));
            assert_eq!(world.pairs(party)[0].priority, row[2], "{role:?} {row:?}");
        }
    }
}

/// [rfc8445-6.1.2.4-1] [rfc8445-6.1.2.4-p1] [rfc8445-7.2.4-p1]
#[test]
fn a_reflexive_candidate_is_checked_from_its_base_once() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.udp(node, BASE);
    let server = addr("203.0.113.1:3478");
    world.server(node, Server::stun(server));
    world.respond(server, stun_server(|_| addr("198.51.100.1:6000")));
    let party = world.agent(node, config(Role::Controlling));
    world.run_for(ms(2_000));
    assert_eq!(world.stats(party).local.len(), 2);
    let hand = Hand::new(&world, party, PEER);
    world.set_remote(party, &hand.description(&[host(PEER, 1), host("192.0.2.9:9001", 2)]));
    let pairs = world.pairs(party);
    assert_eq!(pairs.len(), 2, "two remote candidates, one base: {pairs:#?}");
    assert!(pairs.iter().all(|pair| pair.local.kind == CandidateKind::Host));
    world.run_for(ms(1_000));
    assert!(world.requests_from(BASE).len() > 2);
    let checks = world.log.iter().filter(|p| p.is_request() && p.to.ip() == addr(PEER).ip());
    assert!(checks.into_iter().all(|check| check.from == addr(BASE)));
}

/// [rfc8445-6.1.2.4-p1]
#[test]
fn a_hidden_base_is_paired_for_its_reflexive_candidate() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.socket(node, Socket::udp(addr(BASE)).hidden());
    let server = addr("203.0.113.1:3478");
    world.server(node, Server::stun(server));
    world.respond(server, stun_server(|_| addr("198.51.100.1:6000")));
    let party = world.agent(node, config(Role::Controlling));
    let hand = Hand::new(&world, party, PEER);
    world.set_remote(party, &hand.plain());
    assert!(world.pairs(party).is_empty(), "the peer was told of no candidate yet");
    world.run_for(ms(2_000));
    let pairs = world.pairs(party);
    assert_eq!(pairs.len(), 1);
    assert_eq!(pairs[0].local.kind, CandidateKind::ServerReflexive);
    let check = world.log.iter().find(|p| p.is_request() && p.to == addr(PEER)).unwrap();
    assert_eq!(check.from, addr(BASE));
}

fn crowd(count: u16) -> Vec<Candidate> {
    (0..count).map(|n| host(&format!("10.0.{}.{}:1000", n / 200, 1 + n % 200), n + 1)).collect()
}

/// [rfc8445-6.1.2.5-1] [rfc8445-6.1.2.5-2] [rfc8445-6.1.2.5-4] [rfc8445-19.5.1-1]
/// [rfc8445-19.5.1-2]
#[test]
fn pairs_are_limited_and_the_best_are_kept() {
    for (limit, expected) in [(None, 100), (Some(7), 7)] {
        let mut settings = config(Role::Controlling);
        if let Some(limit) = limit {
            settings.limits.pairs = limit;
        }
        let mut world = World::new();
        let bases = ["192.0.2.1:1000", "192.0.2.2:1000", "192.0.2.3:1000"];
        let party = world.party(settings, &bases);
        let hand = Hand::new(&world, party, PEER);
        world.set_remote(party, &hand.description(&crowd(80)));
        let pairs = world.pairs(party);
        assert_eq!(world.stats(party).remote.len(), 64, "remote candidates are limited too");
        assert_eq!(pairs.len(), expected);
        let worst = pairs.iter().map(|pair| pair.priority).min().unwrap();
        // With all 192 possible pairs: how many are better than the worst that was kept?
        let mut all: Vec<u64> = Vec::new();
        for local in &world.stats(party).local {
            for remote in &world.stats(party).remote {
                let (g, d) = (u64::from(local.priority), u64::from(remote.priority));
                all.push((g.min(d) << 32) + 2 * g.max(d) + u64::from(g > d));
            }
        }
        assert_eq!(all.iter().filter(|priority| **priority >= worst).count(), expected);
    }
}

/// [rfc8445-6.1.2.5-3] [rfc8445-6.1.2.5-1]
#[test]
fn surplus_pairs_are_discarded_evenly_over_the_checklists() {
    let (mut world, party, hand) = many(2, 1, config(Role::Controlling));
    world.set_remote(party, &streams(&hand, &[crowd(64), crowd(64)]));
    let pairs = world.pairs(party);
    let first = pairs.iter().filter(|pair| pair.component.stream() == 0).count();
    assert_eq!((first, pairs.len() - first), (50, 50));
}

/// The limit also holds for pairs that the peer's checks make. [rfc8445-6.1.2.5-1]
/// [rfc8445-19.5.1-1]
#[test]
fn checks_from_anywhere_never_raise_the_number_of_pairs_above_the_limit() {
    let mut settings = config(Role::Controlled);
    settings.limits.pairs = 10;
    let mut world = World::new();
    let party = world.party(settings, &[BASE]);
    let mut hand = Hand::new(&world, party, PEER);
    world.set_remote(party, &hand.description(&crowd(10)));
    for port in 1..=200 {
        let check = hand.check();
        world.deliver(([10, 9, 9, 9], 1_000 + port).into(), addr(BASE), &check);
        assert!(world.pairs(party).len() <= 10);
        world.run_for(ms(3));
    }
    let reflexive = CandidateKind::PeerReflexive;
    let learned = world.stats(party).remote.iter().filter(|c| c.kind == reflexive).count();
    assert_eq!(learned, 8);
}

/// The same with several streams, and candidates that come one by one. [rfc8445-6.1.2.5-1]
#[test]
fn the_limit_holds_over_all_checklists_together() {
    let mut settings = config(Role::Controlled);
    settings.limits.pairs = 10;
    let (mut world, party, mut hand) = many(2, 1, settings);
    world.set_remote(party, &{
        let mut description = streams(&hand, &[crowd(5), Vec::new()]);
        description.options.trickle = true;
        for stream in &mut description.streams {
            stream.end_of_candidates = false;
        }
        description
    });
    for port in 1..=8 {
        let check = hand.check();
        world.deliver(([10, 9, 9, 9], 1_000 + port).into(), addr("192.0.2.1:1001"), &check);
    }
    for candidate in crowd(20) {
        let now = world.now;
        let mut agent = world.endpoint(party.node).agent_mut(now, party.agent).unwrap();
        agent.add_remote_candidate(1, None, &candidate).unwrap();
        assert!(world.pairs(party).len() <= 10, "{}", world.pairs(party).len());
    }
}

/// Of pairs with equal foundations one is Waiting, in the whole set. [rfc8445-6.1.2.6-p1]
/// [rfc8445-6.1.2.6-p2]
#[test]
fn one_pair_of_each_foundation_is_unfrozen_in_the_whole_set() {
    let (mut world, party, hand) = many(2, 2, config(Role::Controlling));
    // No time passes between forming the checklists and looking: the first check goes out at once,
    // so that one pair is In-Progress instead of Waiting.
    world.set_remote(
        party,
        &streams(
            &hand,
            &[
                vec![founded("one", "10.0.0.1:12", 1, 2), founded("one", "10.0.0.1:11", 9, 1)],
                vec![
                    founded("two", "10.0.0.2:21", 5, 1),
                    founded("two", "10.0.0.2:22", 1, 2),
                    founded("one", "10.0.0.1:23", 1, 1),
                ],
            ],
        ),
    );
    let open = |state| matches!(state, PairStateKind::Waiting | PairStateKind::InProgress);
    let mut unfrozen: Vec<_> = states(&world, party)
        .into_iter()
        .filter(|(_, state)| open(*state))
        .map(|(remote, _)| remote)
        .collect();
    unfrozen.sort();
    // The first checklist, the lowest component, whatever the priority.
    assert_eq!(unfrozen, [addr("10.0.0.1:11"), addr("10.0.0.2:21")]);
    let frozen = states(&world, party).iter().filter(|(_, s)| *s == PairStateKind::Frozen).count();
    assert_eq!(frozen, 3);
}

/// Foundations are compared as the peer wrote them, in whatever order each stream lists them.
/// [rfc8445-6.1.2.6-p2]
#[test]
fn foundations_of_different_streams_are_compared_by_their_text() {
    let (mut world, party, hand) = many(2, 1, config(Role::Controlling));
    world.set_remote(
        party,
        &streams(
            &hand,
            &[
                vec![founded("one", "10.0.0.1:1", 1, 1), founded("two", "10.0.0.2:1", 2, 1)],
                vec![founded("three", "10.0.0.3:2", 1, 1), founded("one", "10.0.0.1:2", 2, 1)],
            ],
        ),
    );
    assert_eq!(state_of(&world, party, "10.0.0.1:2"), PairStateKind::Frozen);
    assert_eq!(state_of(&world, party, "10.0.0.3:2"), PairStateKind::Waiting);
    assert_eq!(state_of(&world, party, "10.0.0.2:1"), PairStateKind::Waiting);
}

/// [rfc8445-7.2.5.3.3-1]
#[test]
fn a_success_unfreezes_the_foundation_in_all_checklists() {
    let (mut world, party, hand) = many(2, 1, config(Role::Controlling));
    let first = "10.0.0.1:1";
    world.respond(addr(first), hand.answering());
    world.set_remote(
        party,
        &streams(
            &hand,
            &[
                vec![founded("one", first, 1, 1), founded("one", "10.0.0.1:3", 3, 1)],
                vec![founded("one", "10.0.0.1:2", 2, 1), founded("x", "10.0.0.2:2", 1, 1)],
            ],
        ),
    );
    assert_eq!(state_of(&world, party, "10.0.0.1:2"), PairStateKind::Frozen);
    world.run_while(ms(40), |world| state_of(world, party, first) != PairStateKind::Succeeded);
    assert_eq!(state_of(&world, party, "10.0.0.1:2"), PairStateKind::Waiting);
}

/// [rfc8445-7.2.5.2-p1]
#[test]
fn a_failure_leaves_the_others_of_the_foundation_frozen() {
    let (mut world, party, hand) = many(2, 1, config(Role::Controlling));
    let first = "10.0.0.1:1";
    let refusing = hand.clone();
    world.respond(addr(first), move |check| vec![refusing.error(check, 400)]);
    world.set_remote(
        party,
        &streams(
            &hand,
            &[
                vec![founded("one", first, 1, 1)],
                vec![
                    founded("two", "10.0.0.2:1", 1, 1),
                    founded("one", "10.0.0.1:2", 5, 1),
                    founded("three", "10.0.0.3:1", 2, 1),
                    founded("four", "10.0.0.4:1", 3, 1),
                ],
            ],
        ),
    );
    world.run_while(ms(40), |world| state_of(world, party, first) != PairStateKind::Failed);
    assert_eq!(state_of(&world, party, first), PairStateKind::Failed);
    assert_eq!(state_of(&world, party, "10.0.0.1:2"), PairStateKind::Frozen);
}

/// [rfc8445-6.1.4.2-p3]
#[test]
fn a_frozen_pair_is_checked_once_its_foundation_is_idle() {
    let (mut world, party, hand) = one(Role::Controlling, &[BASE]);
    let first = "10.0.0.1:1";
    let refusing = hand.clone();
    world.respond(addr(first), move |check| vec![refusing.error(check, 400)]);
    let start = world.now;
    let all = [founded("one", first, 1, 1), founded("one", "10.0.0.1:2", 2, 1)];
    world.set_remote(party, &hand.description(&all));
    assert_eq!(state_of(&world, party, "10.0.0.1:2"), PairStateKind::Frozen);
    world.run_for(ms(300));
    let checked = starts(&world, start);
    assert_eq!(checked, [(ms(0), addr(first)), (ms(50), addr("10.0.0.1:2"))]);
}

/// While a pair of the foundation is under way nothing more of it is begun. [rfc8445-6.1.4.2-p3]
#[test]
fn a_frozen_pair_stays_frozen_while_its_foundation_is_busy() {
    let (mut world, party, hand) = one(Role::Controlling, &[BASE]);
    let all = [founded("one", "10.0.0.1:1", 1, 1), founded("one", "10.0.0.1:2", 2, 1)];
    world.set_remote(party, &hand.description(&all));
    world.run_for(ms(5_000));
    assert_eq!(state_of(&world, party, "10.0.0.1:2"), PairStateKind::Frozen);
    world.run_for(ms(39_500 - 5_000 + 100));
    assert_eq!(state_of(&world, party, "10.0.0.1:1"), PairStateKind::Failed);
    assert_eq!(state_of(&world, party, "10.0.0.1:2"), PairStateKind::InProgress);
}

/// [rfc8445-6.1.4.2-p1] [rfc8445-6.1.4.2-p4] [rfc8445-14.2-1a]
#[test]
fn the_first_check_goes_at_once_and_the_others_follow_each_ta_best_first() {
    let (mut world, party, hand) = one(Role::Controlling, &[BASE]);
    let start = world.now;
    let mut all = crowd(6);
    all.reverse();
    world.set_remote(party, &hand.description(&all));
    assert_eq!(world.requests_from(BASE).len(), 1, "at once");
    world.run_for(ms(400));
    let expected: Vec<_> = (0..6)
        .map(|n: u8| (ms(50 * u64::from(n)), SocketAddr::from(([10, 0, 0, n + 1], 1_000))))
        .collect();
    assert_eq!(starts(&world, start), expected);
}

/// [rfc8445-6.1.4.2-p4]
#[test]
fn of_equal_priorities_the_lowest_component_is_checked_first() {
    let (mut world, party, hand) = many(1, 2, config(Role::Controlling));
    let mut first = founded("one", "10.0.0.1:1", 1, 1);
    let mut second = founded("two", "10.0.0.1:2", 1, 2);
    // The pair priority is made of the lesser candidate priority and the greater one.
    first.priority = 1_000;
    second.priority = 1_000;
    world.set_remote(party, &hand.description(&[second, first]));
    assert_eq!(world.log.last().unwrap().to, addr("10.0.0.1:1"));
}

/// [rfc8445-6.1.4.2-p1] [rfc8445-6.1.4.2-p5]
#[test]
fn checklists_take_turns_and_one_without_work_loses_no_time() {
    let (mut world, party, hand) = many(3, 1, config(Role::Controlling));
    let start = world.now;
    let crowds: Vec<Vec<Candidate>> = [1_u16, 2, 3]
        .iter()
        .map(|stream| {
            let count = if *stream == 2 { 1 } else { 3 };
            (1..=count)
                .map(|n| founded(&format!("f{stream}{n}"), &format!("10.0.{stream}.{n}:1"), n, 1))
                .collect()
        })
        .collect();
    world.set_remote(party, &streams(&hand, &crowds));
    world.run_for(ms(600));
    let third = |address: SocketAddr| match address.ip() {
        std::net::IpAddr::V4(ip) => ip.octets()[2],
        std::net::IpAddr::V6(_) => 0,
    };
    let turns: Vec<_> = starts(&world, start).iter().map(|(at, to)| (*at, third(*to))).collect();
    let expected: Vec<_> = [1, 2, 3, 1, 3, 1, 3]
        .into_iter()
        .enumerate()
        .map(|(n, s)| (ms(50 * n as u64), s))
        .collect();
    assert_eq!(turns, expected);
}

/// [rfc8445-6.1.4.1-p1] [rfc8445-6.1.4.2-p2]
#[test]
fn triggered_checks_come_first_in_the_order_of_their_causes() {
    let (mut world, party, mut hand) = one(Role::Controlling, &[BASE]);
    let start = world.now;
    world.set_remote(party, &hand.description(&crowd(5)));
    world.run_for(ms(10));
    for last in [5, 4] {
        let check = hand.check();
        world.deliver(([10, 0, 0, last], 1_000).into(), addr(BASE), &check);
    }
    world.run_for(ms(300));
    let order: Vec<_> = starts(&world, start).iter().map(|(_, to)| *to).collect();
    let expected = [1, 5, 4, 2, 3].map(|last| SocketAddr::from(([10, 0, 0, last], 1_000)));
    assert_eq!(order, expected);
}

/// By the letter it waits its turn. [rfc8445-6.1.4.1-p1]
#[test]
fn the_check_that_nominates_goes_before_the_others() {
    let ours = AgentConfig::new(Role::Controlling).check_backoff;
    for (backoff, answers, triggers, expected) in [
        (CheckBackoff::Rfc, 1, [5, 4, 3].as_slice(), [1, 5, 4, 3, 1].as_slice()),
        // The others are not needed any more.
        (ours, 1, &[5, 4, 3], &[1, 1]),
        // Nor is one of a higher priority, in the same class.
        (ours, 2, &[5, 1, 4], &[1, 2, 2]),
    ] {
        let mut settings = config(Role::Controlling);
        settings.check_backoff = backoff;
        let mut world = World::with_delay(ms(10));
        let party = world.party(settings, &[BASE]);
        let mut hand = Hand::new(&world, party, PEER);
        let start = world.now;
        world.set_remote(party, &hand.description(&crowd(5)));
        let of = |last: u8| SocketAddr::from(([10, 0, 0, last], 1_000));
        world.respond(of(answers), hand.answering());
        // Its answer is on its way.
        world.run_for(ms(if answers == 1 { 5 } else { 55 }));
        for last in triggers {
            let check = hand.check();
            world.deliver(of(*last), addr(BASE), &check);
        }
        world.run_for(ms(300));
        let starts = starts(&world, start);
        let expected: Vec<_> = expected.iter().map(|last| of(*last)).collect();
        let order: Vec<_> = starts.iter().map(|(_, to)| *to).take(expected.len()).collect();
        assert_eq!(order, expected, "{backoff:?}");
    }
}

/// [rfc8445-6.1.2-p1]
#[test]
fn candidates_that_come_later_are_paired_and_checked_in_order() {
    let (mut world, party, hand) = one(Role::Controlling, &[BASE]);
    let start = world.now;
    let mut description = hand.description(&[host("10.0.0.1:1", 5), host("10.0.0.2:1", 6)]);
    description.options.trickle = true;
    description.streams[0].end_of_candidates = false;
    world.set_remote(party, &description);
    world.add_candidate(party, &host("10.0.0.4:1", 4)).unwrap();
    world.add_candidate(party, &host("10.0.0.3:1", 3)).unwrap();
    world.add_candidate(party, &host("10.0.0.3:1", 3)).unwrap();
    assert_eq!(world.pairs(party).len(), 4, "a duplicate makes no second pair");
    world.run_for(ms(300));
    let order: Vec<_> = starts(&world, start).iter().map(|(_, to)| to.to_string()).collect();
    assert_eq!(order, ["10.0.0.1:1", "10.0.0.3:1", "10.0.0.4:1", "10.0.0.2:1"]);
}

/// [rfc8445-14.2-1a] [rfc8445-14.2-1b] [rfc8445-14.2-2] [rfc8445-14.2-3]
#[test]
fn the_higher_of_both_paces_counts() {
    for (ours, theirs, expected) in
        [(20, None, 50), (20, Some(30), 30), (80, Some(30), 80), (80, None, 80), (0, Some(0), 5)]
    {
        let mut settings = config(Role::Controlling);
        settings.ta = ms(ours);
        let mut world = World::new();
        let party = world.party(settings, &[BASE]);
        let hand = Hand::new(&world, party, PEER);
        let mut description = hand.description(&crowd(5));
        description.pacing = theirs.map(ms);
        let start = world.now;
        world.set_remote(party, &description);
        world.run_for(ms(450));
        let times: Vec<_> = starts(&world, start).iter().map(|(at, _)| *at).collect();
        let expected: Vec<_> = (0..5).map(|n| ms(expected * n)).collect();
        assert_eq!(times, expected, "{ours} {theirs:?}");
    }
}

/// All agents of an endpoint together start one transaction per 5 ms, gathering included.
/// [rfc8445-14.2-4]
#[test]
fn all_agents_together_start_one_transaction_per_five_milliseconds() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.udp(node, BASE);
    let server = addr("203.0.113.1:3478");
    world.server(node, Server::stun(server));
    let start = world.now;
    for agent in 0..10_u8 {
        let mut settings = config(Role::Controlling);
        settings.ta = ms(10);
        let party = world.agent(node, settings);
        let hand = Hand::new(&world, party, PEER);
        let mut description = hand.description(&[]);
        description.pacing = Some(ms(10));
        description.streams[0].candidates =
            (1..=5).map(|n| host(&format!("10.0.{agent}.{n}:1"), n)).collect();
        world.set_remote(party, &description);
    }
    world.run_for(ms(450));
    let times: Vec<_> = starts(&world, start).iter().map(|(at, _)| *at).collect();
    assert_eq!(times.len(), 51);
    assert!(times.windows(2).all(|two| two[1] - two[0] >= ms(5)), "{times:?}");
    assert!(times.windows(2).all(|two| two[1] - two[0] == ms(5)), "and none is wasted: {times:?}");
}

/// Agents that want more than there is share it: nobody waits while another is served twice.
#[test]
fn no_agent_starves_beside_busier_ones() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.udp(node, BASE);
    let start = world.now;
    for agent in 0..8_u8 {
        let mut settings = config(Role::Controlling);
        settings.ta = ms(20);
        let party = world.agent(node, settings);
        let hand = Hand::new(&world, party, PEER);
        let mut description = hand.description(&[]);
        description.pacing = Some(ms(20));
        let all = (1..=10).map(|n| host(&format!("10.0.{agent}.{n}:1"), n));
        description.streams[0].candidates = all.collect();
        world.set_remote(party, &description);
    }
    world.run_for(ms(39));
    let served: BTreeSet<_> = starts(&world, start)
        .iter()
        .map(|(_, to)| match to.ip() {
            std::net::IpAddr::V4(ip) => ip.octets()[2],
            std::net::IpAddr::V6(_) => 0,
        })
        .collect();
    assert_eq!(served.len(), 8, "eight turns of five milliseconds: {:?}", starts(&world, start));
}

/// Servers that are still to be asked do not hold up the checks of agents that are past that.
#[test]
fn gathering_does_not_starve_checks() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.udp(node, BASE);
    let party = world.agent(node, config(Role::Controlling));
    for last in 1..=100 {
        world.server(node, Server::stun(addr(&format!("203.0.113.{last}:3478"))));
    }
    world.agent(node, config(Role::Controlling));
    let hand = Hand::new(&world, party, PEER);
    let start = world.now;
    world.set_remote(party, &hand.plain());
    world.run_for(ms(30));
    let checked = starts(&world, start).into_iter().find(|(_, to)| *to == addr(PEER));
    assert!(checked.is_some_and(|(at, _)| at <= ms(10)), "{checked:?}");
}

/// [rfc8445-14.3-2] [rfc8445-14.3-4] [rfc8445-7.2.5.2.3-1]
#[test]
fn a_check_without_an_answer_is_repeated_with_doubling_intervals_and_fails() {
    let (mut world, party, hand) = one(Role::Controlling, &[BASE]);
    let start = world.now;
    world.set_remote(party, &hand.plain());
    let expected = rows("retransmission.txt").remove(0);
    let expected: Vec<u64> = expected.iter().map(|millis| millis.parse().unwrap()).collect();
    world.run_until(start + (ms(expected[3]) - Duration::from_nanos(1)));
    assert_eq!(state_of(&world, party, PEER), PairStateKind::InProgress);
    world.run_for(Duration::from_nanos(1));
    assert_eq!(state_of(&world, party, PEER), PairStateKind::Failed);
    assert_eq!(world.state(party), AgentState::Failed);
    world.run_for(ms(10_000));
    let sent = world.requests_from(BASE);
    let times: Vec<_> = sent.iter().map(|packet| packet.at - start).collect();
    assert_eq!(times, expected[4..].iter().map(|millis| ms(*millis)).collect::<Vec<_>>());
    assert!(sent.iter().all(|packet| packet.octets == sent[0].octets));
}

/// [rfc8445-14.3-2] [rfc8445-14.3-3]
#[test]
fn the_timeout_grows_with_the_pairs_that_are_under_way() {
    for row in rows("rto.txt").iter().filter(|row| row[0] == "checks") {
        let [ta, count, rto]: [u64; 3] =
            row[1..].iter().map(|n| n.parse().unwrap()).collect::<Vec<_>>().try_into().unwrap();
        let mut settings = config(Role::Controlling);
        settings.ta = ms(ta);
        settings.limits.remote_candidates = 200;
        let mut world = World::new();
        let party = world.party(settings, &[BASE]);
        let hand = Hand::new(&world, party, PEER);
        let mut description = hand.description(&crowd(u16::try_from(count).unwrap()));
        description.pacing = Some(ms(ta));
        let start = world.now;
        world.set_remote(party, &description);
        world.run_for(ms(rto + 1));
        let first = world.requests_from(BASE)[0].id();
        let times: Vec<_> = world
            .requests_from(BASE)
            .iter()
            .filter(|packet| packet.id() == first)
            .map(|packet| packet.at - start)
            .collect();
        assert_eq!(times, [ms(0), ms(rto)], "{row:?}");
    }
}

/// [rfc8445-6.1.3-p1] [rfc8445-6.1.2.1-p1]
#[test]
fn the_agent_is_completed_when_all_checklists_are() {
    let (mut world, party, hand) = many(2, 1, config(Role::Controlling));
    let (first, second) = ("10.0.0.1:1", "10.0.0.2:1");
    world.respond(addr(first), hand.answering());
    let all = [vec![host(first, 1)], vec![host(second, 1)]];
    world.set_remote(party, &streams(&hand, &all));
    world.run_for(ms(500));
    assert_eq!(world.state(party), AgentState::Checking, "one stream has its pair");
    assert!(world.route(party).is_ok(), "and may be used");
    world.respond(addr(second), hand.answering());
    world.reach(party, AgentState::Completed, ms(2_000));
}

/// [rfc8445-6.1.2.1-p1] [rfc8445-7.2.5.4-p1] [rfc8445-6.1.3-p1]
#[test]
fn a_component_without_a_valid_pair_fails_the_checklist_in_the_end() {
    let (mut world, party, hand) = many(1, 2, config(Role::Controlling));
    let first = "10.0.0.1:1";
    world.respond(addr(first), hand.answering());
    world.set_remote(party, &hand.description(&[host(first, 1), host_of("10.0.0.2:1", 1, 2)]));
    world.run_for(ms(39_000));
    assert_ne!(world.state(party), AgentState::Failed);
    world.run_for(ms(2_000));
    assert_eq!(world.state(party), AgentState::Failed);
}

/// No pair waits for ever: with far more transactions than are kept, each is judged in the end.
/// [rfc8445-7.2.5.2.3-1]
#[test]
fn every_pair_is_judged_however_many_are_tried_again_and_again() {
    let mut settings = AgentConfig::new(Role::Controlled);
    settings.check_backoff = CheckBackoff::Evidence { interval: ms(20) };
    settings.ta = ms(5);
    settings.limits.unverified_packets = 10_000;
    settings.limits.unverified_octets = 10_000_000;
    settings.limits.remote_candidates = 200;
    settings.patience = ms(20_000);
    let mut world = World::new();
    let party = world.party(settings, &[BASE]);
    let mut hand = Hand::new(&world, party, PEER);
    let mut description = hand.description(&crowd(60));
    description.pacing = Some(ms(5));
    world.set_remote(party, &description);
    world.run_for(ms(350));
    assert_eq!(distinct_ids(&world.log).len(), 60, "all are under way");
    // Half of the addresses send checks and never answer any.
    for last in 1..=30 {
        let check = hand.check();
        world.deliver(([10, 0, 0, last], 1_000).into(), addr(BASE), &check);
    }
    world.run_for(ms(90_000));
    let undecided: Vec<_> = states(&world, party)
        .into_iter()
        .filter(|(_, state)| *state != PairStateKind::Failed)
        .collect();
    assert_eq!(undecided, []);
    assert_eq!(world.state(party), AgentState::Failed);
}

/// [rfc8445-19.5.1-1]
#[test]
fn silent_addresses_get_a_bounded_number_of_packets() {
    let mut world = World::new();
    let party = world.party(AgentConfig::new(Role::Controlling), &[BASE, "192.0.2.2:1000"]);
    let hand = Hand::new(&world, party, PEER);
    let mut all = crowd(40);
    all.extend((1..=8).map(|port| host(&format!("10.66.0.1:{port}"), 50 + port)));
    world.set_remote(party, &hand.description(&all));
    world.run_for(ms(200_000));
    let sent: Vec<&Packet> = world.log.iter().filter(|packet| packet.is_request()).collect();
    assert!(sent.len() <= 256, "{}", sent.len());
    let octets: usize = sent.iter().map(|packet| packet.octets.len() + 28).sum();
    assert!(octets <= 36_864, "{octets}");
    let victim = addr("10.66.0.1:1").ip();
    let to_victim = sent.iter().filter(|packet| packet.to.ip() == victim).count();
    assert!(to_victim <= 56, "{to_victim}");
    assert_eq!(world.state(party), AgentState::Failed);
}

/// One address with many ports is one victim. [rfc8445-19.5.1-1]
#[test]
fn one_silent_address_gets_few_packets_whatever_its_ports() {
    let mut world = World::new();
    let bases: Vec<String> = (1..=10).map(|last| format!("192.0.2.{last}:1000")).collect();
    let bases: Vec<&str> = bases.iter().map(String::as_str).collect();
    let party = world.party(AgentConfig::new(Role::Controlling), &bases);
    let hand = Hand::new(&world, party, PEER);
    let all: Vec<_> = (1..=8).map(|port| host(&format!("10.66.0.1:{port}"), port)).collect();
    world.set_remote(party, &hand.description(&all));
    world.run_for(ms(200_000));
    assert_eq!(world.log.len(), 56);
}

/// An address that answered is not counted against the budget.
#[test]
fn the_budget_is_for_silent_addresses_alone() {
    let mut settings = AgentConfig::new(Role::Controlling);
    settings.limits.unverified_packets = 3;
    let mut world = World::new();
    let party = world.party(settings, &[BASE]);
    let hand = Hand::new(&world, party, PEER);
    world.respond(addr(PEER), hand.answering());
    world.set_remote(party, &hand.plain());
    world.reach(party, AgentState::Completed, ms(1_000));
    world.run_for(ms(60_000));
    assert_eq!(world.state(party), AgentState::Completed);
    assert!(distinct_ids(world.requests_from(BASE)).len() > 8);
}

/// A peer that cannot be written to does not hang the agent.
#[test]
fn credentials_that_do_not_fit_into_a_message_are_refused() {
    let (mut world, party, mut hand) = one(Role::Controlling, &[BASE]);
    hand.own = Credentials { ufrag: "u".repeat(2_000), password: "FAKEpassword".repeat(2) };
    assert!(world.try_set_remote(party, &hand.plain()).is_err());
    hand.own = Credentials { ufrag: "u".repeat(256), password: "p".repeat(256) };
    world.set_remote(party, &hand.plain());
    world.run_for(ms(100));
    assert_eq!(world.requests_from(BASE).len(), 1);
}

/// PRIORITY of local candidates never matters to the order more than the pair does: a peer that
/// signals absurd priorities breaks nothing.
#[test]
fn absurd_remote_priorities_are_survived() {
    let (mut world, party, hand) = one(Role::Controlled, &[BASE]);
    let mut all = crowd(3);
    all[0].priority = u32::MAX;
    all[1].priority = 0;
    all[2].priority = priority(CandidateKind::Relayed, 0, 256);
    world.set_remote(party, &hand.description(&all));
    world.run_for(ms(1_000));
    assert_eq!(world.pairs(party).len(), 3);
}
