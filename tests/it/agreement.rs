//! Both sides come to use the same pair, whatever was lost on the way.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use floe::candidate::{CandidateKind, Credentials};
use floe::config::{AgentConfig, CheckBackoff, Role};
use floe::event::{PairFailure, RestartReason};
use floe::{AgentState, ComponentId, DescriptionRejected, Event};

use crate::harness::{Hand, Packet, Party, Verdict, World, addr, host, ms};

fn selected(world: &World, party: Party) -> Option<(std::net::SocketAddr, std::net::SocketAddr)> {
    let pair = world.view(party).selected(ComponentId::FIRST)?;
    Some((pair.base, pair.remote.address))
}

pub(crate) fn recommendations(world: &World, party: Party) -> Vec<RestartReason> {
    let of_party = world.events_of(party.node).into_iter();
    let reason = |event| {
        if let Event::RestartRecommended { reason, .. } = event { Some(reason) } else { None }
    };
    of_party.filter_map(reason).collect()
}

/// A controlled agent, and a peer that answers where `answers` says so.
fn controlled(tune: impl FnOnce(&mut AgentConfig)) -> (World, Party, Hand) {
    let mut world = World::new();
    let mut config = AgentConfig::new(Role::Controlled);
    tune(&mut config);
    let agent = world.party(config, &["192.0.2.1:1000"]);
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    (world, agent, hand)
}

/// The left side never had the answer, so it takes the restart of the right one for the beginning,
/// and keeps its own credentials.
#[test]
fn a_restart_by_whose_answer_was_lost_is_answered_with_the_credentials_of_before() {
    let mut world = World::new();
    let (left, right) = world.pair_of_parties();
    let offer = world.description(left);
    world.set_remote(right, &offer);
    world.run_for(ms(1_000));
    world.restart(right);
    let (restart, answer) = (world.description(right), world.description(left));
    world.set_remote(left, &restart);
    assert_eq!(world.try_set_remote(right, &answer), Ok(()));
    world.reach(left, AgentState::Completed, ms(2_000));
    world.reach(right, AgentState::Completed, ms(2_000));
}

/// A peer that has checked us knows of the restart: what still has its old credentials is late.
#[test]
fn a_description_from_before_a_restart_is_refused() {
    let mut world = World::new();
    let (left, right) = world.pair_of_parties();
    world.exchange(left, right);
    world.reach(right, AgentState::Completed, ms(1_000));
    let old = world.description(left);
    world.restart(right);
    assert_eq!(world.try_set_remote(right, &old), Err(DescriptionRejected::Outdated));
}

/// No earlier answer comes so late.
#[test]
fn a_peer_that_answers_a_restart_with_its_credentials_of_before_is_believed_in_the_end() {
    let mut world = World::new();
    let (left, right) = world.pair_of_parties();
    world.exchange(left, right);
    world.reach(right, AgentState::Completed, ms(1_000));
    let answer = world.description(left);
    world.restart(right);
    assert_eq!(world.try_set_remote(right, &answer), Err(DescriptionRejected::Outdated));
    world.run_for(ms(10_000));
    assert_eq!(recommendations(&world, right), [RestartReason::NotAnswered]);
    assert_eq!(world.try_set_remote(right, &answer), Ok(()));
}

/// The right side takes a restart of the left one for the answer to its own, as what the left one
/// did answer comes too late: it keeps to its credentials, and is believed.
#[test]
fn a_peer_that_saw_no_restart_answers_with_its_credentials_of_before() {
    let mut world = World::new();
    let (left, right) = world.pair_of_parties();
    world.exchange(left, right);
    world.reach(right, AgentState::Completed, ms(1_000));
    world.restart(left);
    let offer = world.description(left);
    world.set_remote(right, &offer);
    world.run_for(ms(1_000));
    world.restart(right);
    let offer = world.description(right);
    world.set_remote(left, &offer);
    world.restart(left);
    let offer = world.description(left);
    world.set_remote(right, &offer);
    let answer = world.description(right);
    assert_eq!(world.try_set_remote(left, &answer), Ok(()));
    world.reach(left, AgentState::Completed, ms(2_000));
    world.reach(right, AgentState::Completed, ms(2_000));
}

/// The left side's pair goes silent, it nominates the other one, and never hears that the right
/// side followed. Then its first pair answers again.
#[test]
fn the_selected_pair_is_nominated_again_after_another_nomination_was_given_up() {
    let mut world = World::new();
    let left =
        world.party(AgentConfig::new(Role::Controlling), &["192.0.2.1:1000", "192.0.2.3:1000"]);
    let right = world.party(AgentConfig::new(Role::Controlled), &["192.0.2.2:2000"]);
    world.exchange(left, right);
    world.reach(left, AgentState::Completed, ms(1_000));
    world.run_for(ms(1_000));
    let first = selected(&world, left).unwrap();
    let nominated = Rc::new(Cell::new(false));
    let seen = Rc::clone(&nominated);
    world.filter(move |packet| {
        let ends = [packet.from, packet.to];
        let of_first = ends.contains(&first.0);
        seen.set(seen.get() || !of_first && packet.is_request() && packet.nominates());
        // The first pair is dead until the other one is nominated, which then hears nothing.
        let lost = if of_first { !seen.get() } else { seen.get() && packet.from == first.1 };
        if lost { Verdict::Drop } else { Verdict::Pass }
    });
    assert!(world.run_while(ms(20_000), |_| !nominated.get()), "another pair is nominated");
    world.run_for(ms(10_000));
    assert_eq!(selected(&world, left), Some(first));
    assert_eq!(selected(&world, right), Some((first.1, first.0)));
}

/// A nomination that was answered is not repeated by a peer that does not know renomination.
/// [rfc8445-7.3.1.5-1]
#[test]
fn a_nomination_counts_though_the_check_for_it_failed_at_first() {
    let (mut world, agent, mut hand) = controlled(|config| {
        config.nomination.renomination = false;
    });
    world.set_remote(agent, &hand.plain());
    world.inject(hand.address, addr("192.0.2.1:1000"), hand.nomination());
    let failed = |world: &World| !world.view(agent).failures().is_empty();
    assert!(world.run_while(ms(60_000), |world| !failed(world)));
    assert_eq!(selected(&world, agent), None);
    world.respond(hand.address, hand.answering());
    world.inject(hand.address, addr("192.0.2.1:1000"), hand.check());
    world.reach(agent, AgentState::Completed, ms(1_000));
}

/// Half of its consent checks are not answered either, so that one is always under way when the
/// nomination has had its time.
#[test]
fn a_nomination_that_nobody_answers_ends_beside_consent_checks() {
    let mut world = World::new();
    let mut config = AgentConfig::new(Role::Controlling);
    config.check_backoff = CheckBackoff::Rfc;
    let agent = world.party(config, &["192.0.2.1:1000"]);
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    let mut answering = hand.answering();
    let mut answers = true;
    world.respond(hand.address, move |packet| {
        answers = !answers;
        if answers || packet.nominates() { Vec::new() } else { answering(packet) }
    });
    world.set_remote(agent, &hand.plain());
    let failed = |world: &World| !world.view(agent).failures().is_empty();
    assert!(world.run_while(ms(60_000), |world| !failed(world)));
    assert_eq!(world.view(agent).failures()[0].reason, PairFailure::Timeout);
    assert_eq!(recommendations(&world, agent), [RestartReason::Failed]);
}

/// [rfc7675-5.1-13]
#[test]
fn a_nomination_of_a_pair_whose_consent_was_lost_asks_for_one_restart() {
    let (mut world, agent, mut hand) = controlled(|_| {});
    let refusing = hand.clone();
    world.respond(hand.address, move |packet| match packet.is_request() {
        true => vec![refusing.error(packet, 403)],
        false => Vec::new(),
    });
    let candidates = [host("192.0.2.2:2000", 1), host("192.0.2.3:3000", 2)];
    world.set_remote(agent, &hand.description(&candidates));
    world.run_for(ms(500));
    assert_eq!(world.view(agent).failures()[0].reason, PairFailure::ConsentLost);
    assert_eq!(recommendations(&world, agent), []);
    for _ in 0..3 {
        world.inject(hand.address, addr("192.0.2.1:1000"), hand.nomination());
        world.run_for(ms(500));
    }
    assert_eq!(recommendations(&world, agent), [RestartReason::Failed]);
}

/// An address that nobody heard of makes room for one that the peer nominates.
/// [rfc8445-7.3.1.3-p1]
#[test]
fn an_address_that_is_nominated_has_a_place_before_others() {
    let (mut world, agent, mut hand) = controlled(|config| config.limits.peer_reflexive = 1);
    world.set_remote(agent, &hand.description(&[]));
    let (other, chosen) = (addr("192.0.2.2:3000"), addr("192.0.2.2:4000"));
    world.inject(other, addr("192.0.2.1:1000"), hand.check());
    world.run_for(ms(100));
    world.respond(chosen, hand.answering());
    world.inject(chosen, addr("192.0.2.1:1000"), hand.nomination());
    world.reach(agent, AgentState::Completed, ms(1_000));
    assert_eq!(selected(&world, agent).map(|(_, remote)| remote), Some(chosen));
}

/// Who answers a nomination with success has followed it. [rfc8445-7.3.1.5-2]
#[test]
fn a_nomination_that_there_is_no_place_for_is_refused() {
    let (mut world, agent, mut hand) = controlled(|config| config.limits.peer_reflexive = 1);
    world.set_remote(agent, &hand.description(&[]));
    let (known, chosen) = (addr("192.0.2.2:3000"), addr("192.0.2.2:4000"));
    world.respond(known, hand.answering());
    world.inject(known, addr("192.0.2.1:1000"), hand.check());
    world.run_for(ms(500));
    world.respond(chosen, |_: &Packet| Vec::new());
    world.inject(chosen, addr("192.0.2.1:1000"), hand.nomination());
    world.run_for(ms(100));
    let answer = world.log.iter().find(|packet| packet.to == chosen).unwrap();
    assert!(answer.is_error());
    assert_eq!(answer.code(), 400);
}

/// Chromium checks and nominates at once when it restarts, with its new credentials and ours of
/// before; was a check answered with success, it kept to that pair for good, and with 400 to the
/// one of before. [rfc8445-7.3.1.5-2]
#[test]
fn a_check_by_credentials_of_before_the_peers_restart_is_refused() {
    for (restarted, nominates) in [(false, false), (false, true), (true, false), (true, true)] {
        let (mut world, agent, mut hand) = controlled(|_| {});
        world.respond(hand.address, hand.answering());
        world.set_remote(agent, &hand.plain());
        world.inject(hand.address, addr("192.0.2.1:1000"), hand.nomination());
        world.reach(agent, AgentState::Completed, ms(1_000));
        let before = hand.theirs.clone();
        hand.own = Credentials { ufrag: "anew".into(), ..hand.own };
        hand.address = addr("192.0.2.2:3000");
        if restarted {
            world.set_remote(agent, &hand.plain());
            hand.theirs = world.credentials(agent);
            assert_ne!(before.ufrag, hand.theirs.ufrag);
        }
        let mut early = hand.clone();
        early.theirs = before;
        let check = if nominates { early.nomination() } else { early.check() };
        world.inject(hand.address, addr("192.0.2.1:1000"), check);
        world.run_for(ms(10));
        let answer = world.log.iter().rfind(|packet| packet.to == hand.address);
        let code = answer.map(Packet::code);
        assert_eq!(code, Some(500), "restarted: {restarted}, nominates: {nominates}");
    }
}

/// A packet that may not be sent any more is no answer that did not come.
#[test]
fn an_answer_that_is_on_its_way_counts_when_no_more_may_be_sent() {
    let mut world = World::with_delay(ms(200));
    let mut config = AgentConfig::new(Role::Controlled);
    config.limits.unverified_packets_per_ip = 1;
    let agent = world.party(config, &["192.0.2.1:1000"]);
    let mut hand = Hand::new(&world, agent, "192.0.2.2:2000");
    world.respond(hand.address, hand.answering());
    world.set_remote(agent, &hand.plain());
    // What is heard of the peer has its address checked again before the first answer is there.
    world.inject(hand.address, addr("192.0.2.1:1000"), hand.check());
    world.run_for(ms(410));
    assert_eq!(world.state(agent), AgentState::Connected, "{:?}", world.view(agent).failures());
}

/// A controlled agent, and a peer that nominates for good, at two addresses: it answers at the worse
/// one alone so far.
fn at_two_addresses() -> (World, Party, [Hand; 2]) {
    let (mut world, agent, high) = controlled(|config| config.nomination.renomination = false);
    let mut low = high.clone();
    low.address = addr("192.0.2.3:3000");
    world.respond(low.address, low.answering());
    let candidates = [host("192.0.2.2:2000", 1), host("192.0.2.3:3000", 2)];
    world.set_remote(agent, &high.description(&candidates));
    world.run_for(ms(100));
    (world, agent, [high, low])
}

/// The peer nominates from an address of its own; returns which one is used `millis` later.
fn nominate(world: &mut World, agent: Party, hand: &mut Hand, millis: u64) -> Option<SocketAddr> {
    world.inject(hand.address, addr("192.0.2.1:1000"), hand.nomination());
    world.run_for(ms(millis));
    selected(world, agent).map(|(_, remote)| remote)
}

/// The agent's clock may have stood still in between. A copy of the first nomination that comes
/// late changes nothing.
#[test]
fn who_nominates_another_pair_has_given_up_the_first_however_soon() {
    let (mut world, agent, [mut high, mut low]) = at_two_addresses();
    world.respond(high.address, high.answering());
    assert_eq!(nominate(&mut world, agent, &mut high, 100), Some(high.address));
    assert_eq!(nominate(&mut world, agent, &mut low, 100), Some(low.address));
    assert_eq!(nominate(&mut world, agent, &mut high, 100), Some(low.address));
}

/// The peer slept, and nominates another pair when it wakes: that this was silent meanwhile makes
/// the nomination of before count no more.
#[test]
fn a_nomination_that_was_given_up_is_not_followed_while_the_newer_pair_is_silent() {
    let (mut world, agent, [mut high, mut low]) = at_two_addresses();
    world.inject(high.address, addr("192.0.2.1:1000"), high.nomination());
    world.silence(low.address);
    world.run_for(ms(12_000));
    world.inject(low.address, addr("192.0.2.1:1000"), low.nomination());
    world.run_for(ms(10));
    let remote = |world: &World| selected(world, agent).map(|(_, remote)| remote);
    assert_eq!(remote(&world), Some(low.address));
    assert_eq!(world.state(agent), AgentState::Disconnected);
    world.respond(high.address, high.answering());
    world.inject(high.address, addr("192.0.2.1:1000"), high.check());
    world.run_for(ms(500));
    let pair = world.find_pair(agent, "192.0.2.1:1000", "192.0.2.2:2000");
    assert!(pair.is_some_and(|pair| pair.counters.responses_received > 0));
    assert_eq!(remote(&world), Some(low.address));
}

/// Answers that are sent later.
type Kept = Rc<RefCell<Vec<Vec<u8>>>>;

/// An agent that nominates once, and a peer at two addresses, and none at a third, that answers
/// everything but the nominations of the first one: those answers are kept.
fn nominating_once(relay_wait: u64) -> (World, Party, [Hand; 2], Kept) {
    let mut world = World::new();
    let mut config = AgentConfig::new(Role::Controlling);
    config.nomination.renomination = false;
    config.nomination.relay_wait = ms(relay_wait);
    let agent = world.party(config, &["192.0.2.1:1000"]);
    let first = Hand::new(&world, agent, "192.0.2.2:2000");
    let mut second = first.clone();
    second.address = addr("192.0.2.3:3000");
    let late = Rc::new(RefCell::new(Vec::new()));
    let (kept, hand) = (Rc::clone(&late), first.clone());
    world.respond(first.address, move |packet| {
        let answer = hand.success(packet);
        if packet.nominates() {
            kept.borrow_mut().push(answer);
            return Vec::new();
        }
        vec![answer]
    });
    let (mut answering, start) = (second.answering(), world.now);
    world.respond(second.address, move |packet| {
        if packet.at < start + ms(2_000) { Vec::new() } else { answering(packet) }
    });
    let mut relay = host("192.0.2.3:3000", 2);
    relay.kind = CandidateKind::Relayed;
    let candidates = [host("192.0.2.2:2000", 1), host("192.0.2.4:4000", 3), relay];
    world.set_remote(agent, &first.description(&candidates));
    (world, agent, [first, second], late)
}

/// The peer gave up the newer pair, or never had our answer.
#[test]
fn a_nomination_that_is_made_again_later_is_followed() {
    for works in [true, false] {
        let (mut world, agent, [mut high, mut low]) = at_two_addresses();
        assert_eq!(nominate(&mut world, agent, &mut high, 5_000), None);
        assert_eq!(nominate(&mut world, agent, &mut low, 5_000), Some(low.address));
        if !works {
            world.silence(low.address);
        }
        world.respond(high.address, high.answering());
        let follows = nominate(&mut world, agent, &mut high, 5_000);
        assert_eq!(follows, Some(high.address), "works: {works}");
    }
}

/// The peer follows the greatest value: an answer to one that it was told before says nothing.
#[test]
fn a_nomination_is_not_confirmed_by_an_answer_to_one_before_of_the_same_pair() {
    let mut world = World::new();
    let agent = world.party(AgentConfig::new(Role::Controlling), &["192.0.2.1:1000"]);
    let mut first = Hand::new(&world, agent, "192.0.2.2:2000");
    let mut second = first.clone();
    second.address = addr("192.0.2.3:3000");
    world.respond(first.address, first.answering());
    world.respond(second.address, second.answering());
    let mut relay = host("192.0.2.3:3000", 2);
    relay.kind = CandidateKind::Relayed;
    let mut description = first.description(&[host("192.0.2.2:2000", 1), relay]);
    description.options.renomination = true;
    world.set_remote(agent, &description);
    let remote = |world: &World| selected(world, agent).map(|(_, remote)| remote);
    world.reach(agent, AgentState::Completed, ms(1_000));
    assert_eq!(remote(&world), Some(first.address));
    // The first check of the peer has the pair nominated once more, which goes unanswered.
    world.silence(first.address);
    let seen = world.log.len();
    world.inject(first.address, addr("192.0.2.1:1000"), first.check());
    world.run_while(ms(10_000), |world| remote(world) != Some(second.address));
    let (again, mut answering) = (world.log.len(), first.answering());
    world.respond(first.address, move |packet| match packet.nominates() {
        true => Vec::new(),
        false => answering(packet),
    });
    let nominates = |packet: &&Packet| packet.nominates() && packet.to == first.address;
    world.run_while(ms(20_000), |world| !world.log[again..].iter().any(|it| nominates(&it)));
    let log = world.log.clone();
    let (old, new) = (&log[seen..again], &log[again..]);
    for (answered, follows) in [(old, second.address), (new, first.address)] {
        assert!(answered.iter().any(|packet| nominates(&packet)));
        for nomination in answered.iter().filter(nominates) {
            world.inject(first.address, addr("192.0.2.1:1000"), first.success(nomination));
        }
        world.run_for(ms(20));
        assert_eq!(remote(&world), Some(follows));
    }
}

/// Which of the two the peer follows depends on what came to it last.
#[test]
fn a_nomination_that_is_answered_after_it_was_given_up_calls_for_a_restart() {
    let (mut world, agent, [first, second], late) = nominating_once(500);
    world.reach(agent, AgentState::Completed, ms(10_000));
    let used = selected(&world, agent);
    assert_eq!(used.map(|(_, remote)| remote), Some(second.address));
    assert_eq!(recommendations(&world, agent), []);
    world.run_for(ms(1_000));
    for answer in late.take() {
        world.inject(first.address, addr("192.0.2.1:1000"), answer);
    }
    world.run_for(ms(100));
    assert_eq!(recommendations(&world, agent), [RestartReason::Failed]);
    assert_eq!(selected(&world, agent), used);
}

/// The peer follows it, and no other one has been made.
#[test]
fn a_nomination_that_was_given_up_counts_if_it_is_answered_before_another_one() {
    let (mut world, agent, [first, _], late) = nominating_once(20_000);
    let failed = |world: &World| !world.view(agent).failures().is_empty();
    assert!(world.run_while(ms(10_000), |world| !failed(world)));
    let answer = late.take().pop().expect("a nomination");
    world.inject(first.address, addr("192.0.2.1:1000"), answer);
    world.run_for(ms(100));
    let used = selected(&world, agent);
    assert_eq!(used.map(|(_, remote)| remote), Some(first.address));
    assert_eq!(recommendations(&world, agent), []);
}

/// Where the peer sees each check come from another address, nominating anew would never end.
#[test]
fn a_nomination_that_is_seen_from_two_addresses_in_turn_ends() {
    let mut world = World::new();
    let agent = world.party(AgentConfig::new(Role::Controlling), &["192.0.2.1:1000"]);
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    let answering = hand.clone();
    let mut turn = 0;
    world.respond(hand.address, move |packet| {
        turn += 1;
        let mapped = ["198.51.100.1:1000", "198.51.100.1:2000"][turn % 2];
        let is_request = packet.is_request();
        if is_request { vec![answering.success_mapped(packet, addr(mapped))] } else { Vec::new() }
    });
    let mut description = hand.plain();
    description.options.renomination = true;
    world.set_remote(agent, &description);
    world.run_for(ms(2_000));
    assert_eq!(world.state(agent), AgentState::Completed);
    let nominations = |world: &World| world.log.iter().filter(|packet| packet.nominates()).count();
    assert!(nominations(&world) <= 4, "{}", nominations(&world));
    world.run_for(ms(60_000));
    assert!(nominations(&world) <= 70, "{}", nominations(&world));
    assert_eq!(world.state(agent), AgentState::Completed);
}
