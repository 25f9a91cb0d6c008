//! Concluding ICE. [RFC 8445 §8]

use floe::candidate::{Candidate, CandidateKind, Foundation, priority};
use floe::config::{AgentConfig, BackupPolicy, CheckBackoff, Role};
use floe::event::SelectedPair;
use floe::stun::AttributeType;
use floe::{AgentState, ComponentId, Event, Instant, Socket};

use crate::harness::{Hand, Packet, Party, Verdict, World, addr, host, host_of, ms};
use crate::rfc8445_checklists::{founded, many, streams};

/// The attribute of renomination.
const NOMINATION: AttributeType = AttributeType(0xC001);

/// An agent that keeps to the letter: no renomination.
fn letter(role: Role) -> AgentConfig {
    let mut config = AgentConfig::new(role);
    config.nomination.renomination = false;
    config
}

/// When and what a party selected.
fn selections(world: &World, party: Party) -> Vec<(Instant, SelectedPair)> {
    let of_party = world.events.iter().filter(|(_, node, _)| *node == party.node);
    of_party
        .filter_map(|(at, _, event)| {
            if let Event::Selected { pair, .. } = event { Some((*at, *pair)) } else { None }
        })
        .collect()
}

fn nominations<'w>(world: &'w World, from: &str) -> Vec<&'w Packet> {
    world.requests_from(from).into_iter().filter(|packet| packet.nominates()).collect()
}

/// A relayed candidate.
fn relayed(address: &str) -> Candidate {
    let foundation = Foundation::new("relay").unwrap();
    let priority = priority(CandidateKind::Relayed, 65_535, 1);
    Candidate::udp(CandidateKind::Relayed, foundation, 1, priority, addr(address))
}

/// Drops what goes between two addresses from now on.
fn cut(world: &mut World, a: &str, b: &str) {
    let (a, b) = (addr(a), addr(b));
    world.filter(move |packet| {
        let between = (packet.from, packet.to);
        if between == (a, b) || between == (b, a) { Verdict::Drop } else { Verdict::Pass }
    });
}

/// [rfc8445-8.1.1-2] [rfc8445-8.1.1-3] [rfc8839-4.3.4-4] [rfc8445-7.1.2-2]
#[test]
fn the_controlling_side_nominates_one_pair_and_never_another() {
    let mut world = World::new();
    let left = world.party(letter(Role::Controlling), &["192.0.2.1:1000", "192.0.2.3:1000"]);
    let right = world.party(letter(Role::Controlled), &["192.0.2.2:2000", "192.0.2.4:2000"]);
    world.exchange(left, right);
    world.reach(left, AgentState::Completed, ms(2_000));
    world.run_for(ms(10_000));
    let selected = world.view(left).selected(ComponentId::FIRST).unwrap();
    let (base, remote) = (selected.base.to_string(), selected.remote.address.to_string());
    cut(&mut world, &base, &remote);
    world.run_for(ms(60_000));
    let nominated: std::collections::BTreeSet<_> = world
        .log
        .iter()
        .filter(|packet| packet.nominates())
        .map(|packet| (packet.from, packet.to))
        .collect();
    assert_eq!(nominated, [(selected.base, selected.remote.address)].into());
    assert_eq!(selections(&world, left).len(), 1);
    assert_eq!(selections(&world, right).len(), 1);
}

/// After the peer revoked its consent for the nominated pair, another valid pair is not nominated
/// instead, and carries no data. [rfc8445-8.1.1-3] [rfc8839-4.3.4-4] [rfc8445-12.1-2]
#[test]
fn a_revoked_pair_is_not_replaced_without_a_restart() {
    let mut world = World::new();
    let left = world.party(letter(Role::Controlling), &["192.0.2.1:1000"]);
    let hand = Hand::new(&world, left, "192.0.2.2:2000");
    world.respond(hand.address, hand.answering());
    world.respond(addr("192.0.2.3:3000"), hand.answering());
    let candidates = [host("192.0.2.2:2000", 1), host("192.0.2.3:3000", 2)];
    world.set_remote(left, &hand.description(&candidates));
    // The second pair is checked by the time the first one is nominated.
    world.filter(|packet| {
        packet.delay = if packet.nominates() { ms(200) } else { ms(10) };
        Verdict::Pass
    });
    world.reach(left, AgentState::Completed, ms(2_000));
    let nominated = nominations(&world, "192.0.2.1:1000").last().copied().unwrap().clone();
    assert_eq!(nominated.to, hand.address);
    let refusing = hand.clone();
    world.respond(hand.address, move |packet| {
        if packet.is_request() { vec![refusing.error(packet, 403)] } else { Vec::new() }
    });
    world.respond(addr("192.0.2.3:3000"), hand.answering());
    let before = world.log.len();
    let revoked =
        world.run_while(ms(7_000), |world| world.pairs(left).iter().any(|pair| pair.selected));
    assert!(revoked);
    assert!(world.route(left).is_err());
    world.run_for(ms(10_000));
    assert!(world.route(left).is_err());
    assert!(world.log[before..].iter().all(|packet| !packet.nominates()));
}

/// [rfc8445-8.1.1-p1] [rfc8445-7.2.5.3.4-p1]
#[test]
fn nomination_repeats_the_check_of_a_valid_pair() {
    let mut world = World::new();
    let (left, right) = world.pair_of_parties();
    world.exchange(left, right);
    world.reach(left, AgentState::Completed, ms(1_000));
    let first = world.requests_from("192.0.2.1:1000")[0].clone();
    assert!(!first.nominates());
    let nominated = nominations(&world, "192.0.2.1:1000")[0].clone();
    assert_eq!((first.from, first.to), (nominated.from, nominated.to));
    assert_ne!(first.id(), nominated.id());
    let answered = world.log.iter().find(|p| p.is_success() && p.to == first.from).unwrap();
    assert!(nominated.at >= answered.at + world.delay);
}

/// Its path has just answered; what comes after it waits for as much longer, so that there are no
/// more checks in a time. By the letter it waits as all do. [rfc8445-8.1.1-p1] [rfc8445-6.1.4.2-p1]
#[test]
fn the_check_that_nominates_goes_as_soon_as_its_pair_works() {
    let ours = AgentConfig::new(Role::Controlling).check_backoff;
    for (backoff, expected) in [(ours, [0, 50, 60, 150]), (CheckBackoff::Rfc, [0, 50, 100, 150])] {
        let mut config = AgentConfig::new(Role::Controlling);
        config.check_backoff = backoff;
        let mut world = World::with_delay(ms(30));
        let left = world.party(config, &["192.0.2.1:1000"]);
        let mut hand = Hand::new(&world, left, "192.0.2.2:2000");
        world.respond(hand.address, hand.answering());
        let start = world.now;
        let others = [host("192.0.2.3:1", 2), host("192.0.2.4:1", 3)];
        let first = host("192.0.2.2:2000", 1);
        world.set_remote(left, &hand.description(&[&[first], others.as_slice()].concat()));
        world.run_for(ms(62));
        // The nomination stays without an answer, and there is something else to check.
        cut(&mut world, "192.0.2.1:1000", "192.0.2.2:2000");
        let check = hand.check();
        world.deliver(addr("192.0.2.4:1"), addr("192.0.2.1:1000"), &check);
        world.run_for(ms(98));
        let sent = world.requests_from("192.0.2.1:1000");
        let times: Vec<_> = sent.iter().map(|packet| packet.at - start).collect();
        assert_eq!(times, expected.map(ms), "{backoff:?}");
        assert!(sent[2].nominates());
    }
}

/// The peer has checked five others meanwhile. [rfc8445-6.1.4.1-p1]
#[test]
fn a_nomination_without_an_answer_is_repeated_before_the_others_are_checked() {
    let mut world = World::with_delay(ms(1));
    let agent = world.party(letter(Role::Controlling), &["192.0.2.1:1000"]);
    let mut hand = Hand::new(&world, agent, "192.0.2.2:2000");
    world.respond(hand.address, hand.answering());
    let others: Vec<_> = (3..8).map(|n: u16| host(&format!("192.0.2.{n}:1"), n)).collect();
    let first = host("192.0.2.2:2000", 1);
    world.set_remote(agent, &hand.description(&[&[first], others.as_slice()].concat()));
    world.run_for(ms(3));
    cut(&mut world, "192.0.2.1:1000", "192.0.2.2:2000");
    world.run_for(ms(100));
    for other in &others {
        let check = hand.check();
        world.deliver(other.socket_address().unwrap(), addr("192.0.2.1:1000"), &check);
    }
    world.run_for(ms(300));
    let sent = world.requests_from("192.0.2.1:1000");
    let nominating = sent.iter().enumerate().filter(|(_, packet)| packet.nominates());
    let places: Vec<_> = nominating.map(|(place, _)| place).collect();
    assert_eq!(places, [1, 4, 7]);
}

/// [rfc8863-4-6] [rfc8838-13-3] [rfc8838-13-9]
#[test]
fn the_best_class_of_pair_is_nominated_at_once() {
    let mut world = World::new();
    let left = world.party(AgentConfig::new(Role::Controlling), &["192.0.2.1:1000"]);
    let hand = Hand::new(&world, left, "192.0.2.2:2000");
    world.respond(hand.address, hand.answering());
    let mut description = hand.plain();
    description.options.trickle = true;
    description.pacing = Some(ms(20));
    description.streams[0].end_of_candidates = false;
    let start = world.now;
    world.set_remote(left, &description);
    world.reach(left, AgentState::Completed, ms(1_000));
    assert_eq!(nominations(&world, "192.0.2.1:1000")[0].at, start + ms(20));
    assert_eq!(selections(&world, left)[0].0, start + ms(40));
}

/// [rfc8863-4-5a] [rfc8838-14-1]
#[test]
fn a_direct_pair_waits_one_round_trip_and_at_least_fifty_milliseconds_for_a_better_one() {
    for (delay, wait) in [(ms(10), ms(50)), (ms(100), ms(200))] {
        let mut world = World::with_delay(delay);
        let node = world.node(floe::config::EndpointConfig::default());
        let cheap = "192.0.2.1:1000";
        world.udp(node, cheap);
        world.socket(node, Socket::udp(addr("192.0.2.3:1000")).with_network_cost(50));
        let left = world.agent(node, letter(Role::Controlling));
        let hand = Hand::new(&world, left, "192.0.2.2:2000");
        world.respond(hand.address, hand.answering());
        cut(&mut world, cheap, "192.0.2.2:2000");
        world.set_remote(left, &hand.plain());
        world.reach(left, AgentState::Completed, ms(5_000));
        let dear = world.requests_from("192.0.2.3:1000");
        let valid_at = dear[0].at + delay + delay;
        let nominated = nominations(&world, "192.0.2.3:1000")[0].at;
        // Its turn comes with the next tick of Ta at the latest.
        assert!(nominated >= valid_at + wait, "{nominated:?} {valid_at:?}");
        assert!(nominated <= valid_at + wait + ms(50), "{nominated:?} {valid_at:?}");
    }
}

/// [rfc8863-4-5a]
#[test]
fn a_relay_waits_half_a_second_for_a_direct_pair() {
    let mut world = World::new();
    let left = world.party(letter(Role::Controlling), &["192.0.2.1:1000"]);
    let mut hand = Hand::new(&world, left, "198.51.100.1:9");
    world.respond(hand.address, hand.answering());
    let candidates = [host("192.0.2.2:2000", 1), relayed("198.51.100.1:9")];
    world.set_remote(left, &hand.description(&candidates));
    // Before its first check the peer could follow no nomination.
    let check = hand.check();
    world.inject(hand.address, addr("192.0.2.1:1000"), check);
    world.reach(left, AgentState::Completed, ms(5_000));
    let relay = addr("198.51.100.1:9");
    let checks = world.requests_from("192.0.2.1:1000");
    let first = checks.iter().find(|packet| packet.to == relay).unwrap();
    let nominated = nominations(&world, "192.0.2.1:1000")[0];
    assert_eq!(nominated.to, relay);
    let waited = nominated.at - (first.at + ms(20));
    assert!(waited >= ms(500) && waited <= ms(550), "{waited:?}");
}

/// [rfc8863-4-5a]
#[test]
fn a_direct_pair_that_is_late_beats_the_relay_within_the_wait() {
    let mut world = World::new();
    let left = world.party(letter(Role::Controlling), &["192.0.2.1:1000"]);
    let hand = Hand::new(&world, left, "198.51.100.1:9");
    world.respond(hand.address, hand.answering());
    let direct = addr("192.0.2.2:2000");
    world.respond(direct, hand.answering());
    world.filter(move |packet| {
        if packet.to == direct {
            packet.delay = ms(300);
        }
        Verdict::Pass
    });
    let candidates = [host("192.0.2.2:2000", 1), relayed("198.51.100.1:9")];
    world.set_remote(left, &hand.description(&candidates));
    world.reach(left, AgentState::Completed, ms(5_000));
    assert!(world.log.iter().filter(|p| p.nominates()).all(|packet| packet.to == direct));
    assert_eq!(selections(&world, left)[0].1.remote.address, direct);
}

/// [rfc8445-12.1-1]
#[test]
fn data_flows_on_a_valid_pair_before_any_is_nominated() {
    let mut world = World::new();
    let left = world.party(letter(Role::Controlling), &["192.0.2.1:1000"]);
    let hand = Hand::new(&world, left, "198.51.100.1:9");
    world.respond(hand.address, hand.answering());
    let candidates = [host("192.0.2.2:2000", 1), relayed("198.51.100.1:9")];
    world.set_remote(left, &hand.description(&candidates));
    world.reach(left, AgentState::Connected, ms(300));
    assert_eq!(world.route(left), Ok(addr("198.51.100.1:9")));
    assert!(world.log.iter().all(|packet| !packet.nominates()));
    assert!(
        world
            .events_of(left.node)
            .contains(&Event::Sendable { agent: left.agent, component: ComponentId::FIRST })
    );
}

/// The value of the extension that a nominating check carries.
fn value(packet: &Packet) -> Option<u32> {
    packet.message().nomination(NOMINATION)
}

/// Where both sides know renomination. [rfc8445-8.1.1-2]
#[test]
fn the_controlling_side_leaves_a_silent_pair_by_renomination() {
    let mut world = World::new();
    let config = AgentConfig::new(Role::Controlling);
    let left = world.party(config, &["192.0.2.1:1000", "192.0.2.3:1000"]);
    let right = world.party(AgentConfig::new(Role::Controlled), &["192.0.2.2:2000"]);
    world.exchange(left, right);
    world.reach(left, AgentState::Completed, ms(2_000));
    world.reach(right, AgentState::Completed, ms(2_000));
    world.run_for(ms(8_000));
    let dead = world.view(left).selected(ComponentId::FIRST).unwrap().base;
    cut(&mut world, &dead.to_string(), "192.0.2.2:2000");
    world.run_for(ms(12_000));
    let alive = world.view(left).selected(ComponentId::FIRST).unwrap().base;
    assert_ne!(alive, dead);
    let other = world.view(right).selected(ComponentId::FIRST).unwrap();
    assert_eq!(other.remote.address, alive);
    assert_eq!(world.state(left), AgentState::Completed);
    assert_eq!(world.route(right), Ok(alive));
    let values: Vec<_> = world.log.iter().filter(|p| p.nominates()).map(value).collect();
    assert!(values.iter().all(Option::is_some), "{values:?}");
    assert!(values.is_sorted());
    assert!(values.first() < values.last(), "{values:?}");
}

/// An agent, and a peer with two addresses that say nothing yet: the better one first.
fn two_silent(config: AgentConfig) -> (World, Party, Hand, Hand) {
    let mut world = World::new();
    let agent = world.party(config, &["192.0.2.1:1000"]);
    let high = Hand::new(&world, agent, "192.0.2.2:2000");
    let mut low = high.clone();
    low.address = addr("192.0.2.3:3000");
    (world, agent, high, low)
}

/// The same, controlled, and both addresses answer.
fn two_addresses(config: AgentConfig, renomination: bool) -> (World, Party, Hand, Hand) {
    let (mut world, agent, high, low) = two_silent(config);
    world.respond(high.address, high.answering());
    world.respond(low.address, low.answering());
    let candidates = [host("192.0.2.2:2000", 1), host("192.0.2.3:3000", 2)];
    let mut description = high.description(&candidates);
    description.options.renomination = renomination;
    world.set_remote(agent, &description);
    world.run_for(ms(100));
    (world, agent, high, low)
}

/// The same, of a peer that nominates all pairs and trickles: the lower one is signalled so far.
fn one_signalled(low_candidate: Candidate) -> (World, Party, Hand, Hand) {
    let (mut world, agent, high, low) = two_silent(AgentConfig::new(Role::Controlled));
    world.respond(high.address, high.answering());
    world.respond(low.address, low.answering());
    let mut description = high.description(&[low_candidate]);
    description.options.trickle = true;
    (description.options.ice2, description.options.renomination) = (false, false);
    description.streams[0].end_of_candidates = false;
    world.set_remote(agent, &description);
    world.run_for(ms(100));
    (world, agent, high, low)
}

fn selected(world: &World, party: Party) -> Option<std::net::SocketAddr> {
    world.view(party).selected(ComponentId::FIRST).map(|pair| pair.remote.address)
}

/// [rfc8445-7.3.1.5-p1]
#[test]
fn the_controlled_side_follows_the_greatest_value() {
    let config = AgentConfig::new(Role::Controlled);
    let (mut world, agent, mut high, mut low) = two_addresses(config, true);
    let to = addr("192.0.2.1:1000");
    let nominate = |world: &mut World, hand: &mut Hand, value: u32| {
        let octets = hand.check_with(|message| {
            message.flag(AttributeType::USE_CANDIDATE).u32(NOMINATION, value)
        });
        world.inject(hand.address, to, octets);
        world.run_for(ms(100));
        selected(world, agent)
    };
    assert_eq!(nominate(&mut world, &mut high, 5), Some(high.address));
    assert_eq!(nominate(&mut world, &mut low, 3), Some(high.address));
    assert_eq!(nominate(&mut world, &mut low, 7), Some(low.address));
    assert_eq!(nominate(&mut world, &mut high, 6), Some(low.address));
    assert_eq!(nominate(&mut world, &mut high, 8), Some(high.address));
}

/// Firefox puts USE-CANDIDATE on every check. [rfc8445-8.1.1-4]
#[test]
fn of_many_nominations_the_highest_priority_is_selected() {
    let config = AgentConfig::new(Role::Controlled);
    let (mut world, agent, mut high, mut low) = two_addresses(config, false);
    let to = addr("192.0.2.1:1000");
    for round in 0..4 {
        let octets = low.nomination();
        world.inject(low.address, to, octets);
        world.run_for(ms(50));
        let expected = if round == 0 { low.address } else { high.address };
        assert_eq!(selected(&world, agent), Some(expected), "round {round}");
        let octets = high.nomination();
        world.inject(high.address, to, octets);
        world.run_for(ms(50));
        assert_eq!(selected(&world, agent), Some(high.address));
    }
    assert_eq!(selections(&world, agent).len(), 2);
}

/// The same before any pair is valid: our own checks come late. [rfc8445-8.1.1-4]
/// [rfc8445-7.3.1.5-1] [rfc8445-7.2.5.3.4-2]
#[test]
fn aggressive_nominations_before_our_checks_end_on_the_highest_priority() {
    let (mut world, agent, mut high, mut low) = two_silent(AgentConfig::new(Role::Controlled));
    let to = addr("192.0.2.1:1000");
    let octets = low.nomination();
    world.inject(low.address, to, octets);
    let octets = high.nomination();
    world.inject(high.address, to, octets);
    world.run_for(ms(50));
    assert_eq!(selected(&world, agent), None);
    world.respond(high.address, high.answering());
    world.respond(low.address, low.answering());
    let candidates = [host("192.0.2.2:2000", 1), host("192.0.2.3:3000", 2)];
    world.set_remote(agent, &high.description(&candidates));
    world.run_for(ms(500));
    assert_eq!(selected(&world, agent), Some(high.address));
}

/// Firefox ranks its pairs by the priorities of its candidates; a check that is there before its
/// candidate tells less. [rfc8445-8.1.1-4] [rfc8838-11-2]
#[test]
fn a_nomination_from_an_address_that_is_signalled_later_counts_by_what_the_peer_says() {
    for (high_first, told_first) in [(true, true), (true, false), (false, true), (false, false)] {
        let (mut world, agent, mut high, mut low) = one_signalled(host("192.0.2.3:3000", 2));
        for is_high in [high_first, !high_first] {
            let hand = if is_high { &mut high } else { &mut low };
            let octets = hand.nomination();
            world.inject(hand.address, addr("192.0.2.1:1000"), octets);
            world.run_for(ms(if told_first { 1 } else { 100 }));
        }
        world.run_for(world.delay);
        world.add_candidate(agent, &host("192.0.2.2:2000", 1)).unwrap();
        world.run_for(ms(200));
        assert_eq!(selected(&world, agent), Some(high.address), "{high_first} {told_first}");
        let remote = world.view(agent).selected(ComponentId::FIRST).unwrap().remote;
        assert_eq!(remote.kind, CandidateKind::Host);
    }
}

/// [rfc8445-8.1.1-4] [rfc8838-11-2]
#[test]
fn a_nominated_address_that_turns_out_to_be_a_relay_gives_way_to_the_others() {
    let mut reflexive = host("192.0.2.3:3000", 2);
    reflexive.kind = CandidateKind::ServerReflexive;
    reflexive.priority = priority(CandidateKind::ServerReflexive, 65_535, 1);
    let (mut world, agent, mut high, mut low) = one_signalled(reflexive);
    for hand in [&mut high, &mut low] {
        let octets = hand.nomination();
        world.inject(hand.address, addr("192.0.2.1:1000"), octets);
        world.run_for(ms(100));
    }
    assert_eq!(selected(&world, agent), Some(high.address));
    world.add_candidate(agent, &relayed("192.0.2.2:2000")).unwrap();
    assert_eq!(selected(&world, agent), Some(low.address));
}

/// A peer that nominates one pair after another, and is heard all at once: its last one counts,
/// though our check of the first is answered later. [rfc8445-7.3.1.5-p1]
#[test]
fn of_nominations_that_come_at_once_the_last_one_counts() {
    let (mut world, agent, mut high, mut low) = two_silent(AgentConfig::new(Role::Controlled));
    let candidates = [host("192.0.2.2:2000", 1), host("192.0.2.3:3000", 2)];
    let mut description = high.description(&candidates);
    description.options.ice2 = true;
    world.set_remote(agent, &description);
    for hand in [&mut high, &mut low] {
        let octets = hand.nomination();
        world.inject(hand.address, addr("192.0.2.1:1000"), octets);
    }
    world.respond(low.address, low.answering());
    world.run_for(ms(1_000));
    assert_eq!(selected(&world, agent), Some(low.address));
    world.respond(high.address, high.answering());
    world.run_for(ms(5_000));
    assert_eq!(selected(&world, agent), Some(low.address));
}

/// All places are taken by pairs that are being checked: one of them makes room.
/// [rfc8445-7.3.1.4-p3]
#[test]
fn a_nomination_from_an_unknown_address_counts_though_there_are_too_many_pairs() {
    let mut world = World::new();
    let mut config = AgentConfig::new(Role::Controlled);
    config.limits.pairs = 2;
    let agent = world.party(config, &["192.0.2.1:1000"]);
    let mut hand = Hand::new(&world, agent, "192.0.2.2:2000");
    let candidates = [host("203.0.113.1:3000", 1), host("203.0.113.2:3000", 2)];
    world.set_remote(agent, &hand.description(&candidates));
    world.run_for(ms(200));
    let octets = hand.nomination();
    world.inject(hand.address, addr("192.0.2.1:1000"), octets);
    world.respond(hand.address, hand.answering());
    world.run_for(ms(500));
    assert_eq!(selected(&world, agent), Some(hand.address));
}

/// Where no pair can be made for a nomination, the peer is told so: it would take us for one who
/// follows. [rfc8445-7.3.1.5-2]
#[test]
fn a_nomination_that_finds_no_place_is_refused() {
    let mut world = World::new();
    let mut config = AgentConfig::new(Role::Controlled);
    config.limits.pairs = 1;
    let agent = world.party(config, &["192.0.2.1:1000"]);
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    world.respond(hand.address, hand.answering());
    world.set_remote(agent, &hand.description(&[host("192.0.2.2:2000", 1)]));
    world.run_for(ms(200));
    let mut other = hand.clone();
    other.address = addr("192.0.2.3:3000");
    let octets = other.nomination();
    world.inject(other.address, addr("192.0.2.1:1000"), octets);
    world.run_for(ms(50));
    let to_other = world.log.iter().filter(|packet| packet.to == other.address);
    let codes: Vec<_> =
        to_other.map(|packet| packet.message().error_code().unwrap().code()).collect();
    assert_eq!(codes, [400]);
}

/// Chrome moves by nominating anew, without a value. [rfc8445-7.3.1.5-p1]
#[test]
fn a_later_nomination_of_a_pair_of_lower_priority_is_followed() {
    let config = AgentConfig::new(Role::Controlled);
    let (mut world, agent, mut high, mut low) = two_addresses(config, false);
    let to = addr("192.0.2.1:1000");
    let octets = high.nomination();
    world.inject(high.address, to, octets);
    world.run_for(ms(6_000));
    assert_eq!(selected(&world, agent), Some(high.address));
    let octets = low.nomination();
    world.inject(low.address, to, octets);
    world.run_for(ms(100));
    assert_eq!(selected(&world, agent), Some(low.address));
    assert_eq!(world.route(agent), Ok(low.address));
    assert_eq!(world.state(agent), AgentState::Completed);
}

/// [rfc8445-8.1.2-1]
#[test]
fn nomination_ends_all_other_checks_of_the_component() {
    let mut world = World::new();
    let left = world.party(letter(Role::Controlling), &["192.0.2.1:1000"]);
    let hand = Hand::new(&world, left, "192.0.2.2:2000");
    world.respond(hand.address, hand.answering());
    let mut candidates = vec![host("192.0.2.2:2000", 1)];
    for port in 0..8 {
        candidates.push(host(&format!("203.0.113.{}:{}", port + 1, 3_000 + port), port + 2));
    }
    world.set_remote(left, &hand.description(&candidates));
    world.reach(left, AgentState::Completed, ms(2_000));
    assert_eq!(world.pairs(left).len(), 1);
    let done = world.now;
    world.run_for(ms(20_000));
    let later = world.requests_from("192.0.2.1:1000");
    assert!(later.iter().filter(|p| p.at >= done).all(|packet| packet.to == hand.address));
}

/// [rfc8445-8.1.2-1]
#[test]
fn the_controlled_side_ends_all_other_checks_too() {
    let mut world = World::new();
    let agent = world.party(letter(Role::Controlled), &["192.0.2.1:1000"]);
    let mut hand = Hand::new(&world, agent, "192.0.2.2:2000");
    world.respond(hand.address, hand.answering());
    let candidates =
        [host("192.0.2.2:2000", 1), host("203.0.113.1:3000", 2), host("203.0.113.2:3000", 3)];
    world.set_remote(agent, &hand.description(&candidates));
    world.run_for(ms(100));
    let octets = hand.nomination();
    world.inject(hand.address, addr("192.0.2.1:1000"), octets);
    world.reach(agent, AgentState::Completed, ms(1_000));
    let done = world.now;
    world.run_for(ms(20_000));
    let later = world.requests_from("192.0.2.1:1000");
    assert!(later.iter().filter(|p| p.at > done).all(|packet| packet.to == hand.address));
}

/// [rfc8445-8.1.2-2] [rfc8445-11-13] [rfc8839-4.2.4-1]
#[test]
fn checks_are_answered_after_the_nomination() {
    let config = AgentConfig::new(Role::Controlled);
    let (mut world, agent, mut high, mut low) = two_addresses(config, false);
    let to = addr("192.0.2.1:1000");
    let octets = high.nomination();
    world.inject(high.address, to, octets);
    world.run_for(ms(100));
    assert_eq!(world.state(agent), AgentState::Completed);
    for pause in [ms(100), ms(5_000), ms(20_000)] {
        world.run_for(pause);
        for hand in [&mut high, &mut low] {
            world.mail(hand.address);
            let octets = hand.check();
            world.inject(hand.address, to, octets);
            world.run_for(ms(100));
            let answers = world.mail(hand.address);
            assert!(answers.iter().any(Packet::is_success), "{}", hand.address);
        }
    }
}

/// [rfc8445-8.3.1-1]
#[test]
fn unselected_pairs_are_kept_for_three_seconds() {
    let mut config = AgentConfig::new(Role::Controlled);
    config.backup = BackupPolicy::Off;
    // Else the second pair rests while the first one waits for its nomination.
    config.check_backoff = CheckBackoff::Rfc;
    let (mut world, agent, mut high, _) = two_addresses(config, false);
    let octets = high.nomination();
    world.inject(high.address, addr("192.0.2.1:1000"), octets);
    world.reach(agent, AgentState::Completed, ms(1_000));
    assert_eq!(world.pairs(agent).len(), 2);
    world.run_for(ms(2_999));
    assert_eq!(world.pairs(agent).len(), 2);
    world.run_for(ms(1));
    assert_eq!(world.pairs(agent).len(), 1);
    assert_eq!(selected(&world, agent), Some(high.address));
}

/// Two streams, the first with two components, each component on a port of its own.
pub(crate) fn many_components(world: &mut World, role: Role, ip: &str) -> Party {
    let node = world.node(floe::config::EndpointConfig::default());
    for (port, (stream, number)) in [(1, (0, 1)), (2, (0, 2)), (3, (1, 1))] {
        let component = ComponentId::new(stream, number).unwrap();
        let socket = Socket::udp(addr(&format!("{ip}:{port}"))).with_component(component);
        world.socket(node, socket);
    }
    let mut config = letter(role);
    config.streams = vec![2, 1];
    world.agent(node, config)
}

/// [rfc8445-8.1.2-p1] [rfc8445-8.1.1-2] [rfc8445-12.1-2]
#[test]
fn the_session_is_completed_when_each_component_has_its_pair() {
    let mut world = World::new();
    let left = many_components(&mut world, Role::Controlling, "192.0.2.1");
    let right = many_components(&mut world, Role::Controlled, "192.0.2.2");
    world.filter(|packet| {
        if packet.from.port() == 3 {
            packet.delay = ms(1_000);
        }
        Verdict::Pass
    });
    world.exchange(left, right);
    world.run_for(ms(900));
    assert_eq!(selections(&world, left).len(), 2);
    assert_eq!(world.state(left), AgentState::Checking);
    world.reach(left, AgentState::Completed, ms(5_000));
    world.reach(right, AgentState::Completed, ms(5_000));
    assert_eq!(selections(&world, left).len(), 3);
    for (port, (stream, number)) in [(1, (0, 1)), (2, (0, 2)), (3, (1, 1))] {
        let component = ComponentId::new(stream, number).unwrap();
        let to = addr(&format!("192.0.2.2:{port}"));
        assert_eq!(world.route_of(left, component), Ok(to));
        let pairs = world.pairs(left);
        let pair = pairs.iter().find(|pair| pair.component == component).unwrap();
        assert!(pair.nominated && pair.selected);
    }
    let nominated: std::collections::BTreeSet<_> =
        world.log.iter().filter(|p| p.nominates()).map(|p| (p.from, p.to)).collect();
    assert_eq!(nominated.len(), 3, "{nominated:?}");
}

/// Three answers come at once: of the nominations one goes ahead of the pace, which waits for the
/// endpoint's; a Ta later the last follows. [rfc8445-6.1.4.2-p1] [rfc8445-14.2-3]
#[test]
fn of_several_nominations_one_goes_ahead_of_the_pace() {
    let (mut world, party, hand) = many(3, 1, letter(Role::Controlling));
    let start = world.now;
    let of = |n: u16| addr(&format!("10.0.0.{n}:1"));
    let candidates = [1, 2, 3].map(|n| vec![founded(&format!("f{n}"), &of(n).to_string(), 1, 1)]);
    for n in [1, 2, 3] {
        world.respond(of(n), hand.answering());
    }
    world.filter(move |packet| {
        if packet.is_success() && packet.at < start + ms(200) {
            packet.delay = start + ms(200) - packet.at;
        }
        Verdict::Pass
    });
    world.set_remote(party, &streams(&hand, &candidates));
    world.run_for(ms(400));
    let nominating = world.log.iter().filter(|packet| packet.nominates());
    let sent: Vec<_> = nominating.map(|packet| (packet.at - start, packet.to)).collect();
    assert_eq!(sent, [(ms(200), of(1)), (ms(205), of(2)), (ms(300), of(3))]);
}

/// What the peer has not heard of is nominated again, but not for ever: the pair does not work any
/// more, and another does. [rfc8445-8.1.1-p1]
#[test]
fn a_nomination_that_is_made_again_does_not_hold_up_the_next() {
    for heard_early in [false, true] {
        let mut config = AgentConfig::new(Role::Controlling);
        config.backup = BackupPolicy::Off;
        let (mut world, agent, mut high, mut low) = two_silent(config);
        world.respond(high.address, high.answering());
        world.respond(low.address, low.answering());
        let candidates = [host("192.0.2.2:2000", 1), host("192.0.2.3:3000", 2)];
        let mut description = high.description(&candidates);
        description.options.renomination = true;
        let to = addr("192.0.2.1:1000");
        if heard_early {
            let check = high.check();
            world.inject(high.address, to, check);
            world.run_for(ms(50));
        }
        world.set_remote(agent, &description);
        world.run_for(ms(1_000));
        assert_eq!(world.route(agent), Ok(high.address));
        world.silence(high.address);
        world.run_for(ms(2_000));
        let check = low.check();
        world.inject(low.address, to, check);
        let remains = |world: &World| {
            let selected = world.view(agent).selected(ComponentId::FIRST);
            selected.is_none_or(|pair| pair.remote.address == high.address)
        };
        assert!(world.run_while(ms(9_000), remains));
    }
}

/// Component 2 of stream 0 works nowhere. [rfc8445-8.1.1-1] [rfc8445-12.1-4] [rfc8445-8.1.2-5]
#[test]
fn a_stream_with_a_component_that_fails_stops_sending_and_says_so() {
    let mut world = World::new();
    let node = world.node(floe::config::EndpointConfig::default());
    world.udp(node, "192.0.2.1:1");
    let second = ComponentId::new(0, 2).unwrap();
    world.socket(node, Socket::udp(addr("192.0.2.1:2")).with_component(second));
    let mut config = letter(Role::Controlling);
    config.streams = vec![2];
    let left = world.agent(node, config);
    let hand = Hand::new(&world, left, "192.0.2.2:1");
    world.respond(hand.address, hand.answering());
    let candidates = [host("192.0.2.2:1", 1), host_of("192.0.2.2:2", 1, 2)];
    world.set_remote(left, &hand.description(&candidates));
    world.run_for(ms(5_000));
    assert!(world.route(left).is_ok());
    world.reach(left, AgentState::Failed, ms(40_000));
    assert!(world.route(left).is_err());
    let recommended =
        Event::RestartRecommended { agent: left.agent, reason: floe::event::RestartReason::Failed };
    let events = world.events_of(left.node);
    assert_eq!(events.iter().filter(|event| **event == recommended).count(), 1);
}

/// [rfc8445-8.1.2-4] [rfc8445-8.1.2-5] [rfc8445-7.2.5.4-p1]
#[test]
fn a_session_without_a_working_pair_fails_with_a_reason_for_each() {
    let mut world = World::new();
    let left = world.party(letter(Role::Controlling), &["192.0.2.1:1000"]);
    let hand = Hand::new(&world, left, "192.0.2.2:2000");
    let refusing = hand.clone();
    world.respond(addr("192.0.2.3:3000"), move |packet| vec![refusing.error(packet, 400)]);
    let candidates = [host("192.0.2.2:2000", 1), host("192.0.2.3:3000", 2)];
    world.set_remote(left, &hand.description(&candidates));
    world.reach(left, AgentState::Failed, ms(80_000));
    let mut failures = world.view(left).failures();
    failures.sort_by_key(|failure| failure.remote);
    let reasons: Vec<_> = failures.iter().map(|failure| failure.reason).collect();
    use floe::event::PairFailure::{Refused, Timeout};
    assert_eq!(reasons, [Timeout, Refused(400)]);
    assert!(failures.iter().all(|failure| failure.local == addr("192.0.2.1:1000")));
    let recommended = world.events_of(left.node);
    assert!(recommended.iter().any(|event| matches!(event, Event::RestartRecommended { .. })));
}

/// [rfc8445-8.1.2-p1]
#[test]
fn states_and_selections_are_told_once_and_in_order() {
    let mut world = World::new();
    let (left, right) = world.pair_of_parties();
    world.exchange(left, right);
    world.run_for(ms(60_000));
    for party in [left, right] {
        let events: Vec<String> = world
            .events_of(party.node)
            .iter()
            .map(|event| format!("{event:?}"))
            .map(|text| text.split(' ').next().unwrap_or_default().to_owned())
            .collect();
        let mut expected = vec!["LocalCandidate", "GatheringComplete", "State", "Sendable"];
        expected.extend(["State", "Selected", "State"]);
        assert_eq!(events, expected, "{party:?}");
        let states: Vec<_> = world
            .events_of(party.node)
            .iter()
            .filter_map(|e| if let Event::State { state, .. } = e { Some(*state) } else { None })
            .collect();
        let expected = [AgentState::Checking, AgentState::Connected, AgentState::Completed];
        assert_eq!(states, expected);
    }
}
