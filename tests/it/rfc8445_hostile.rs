//! What hostile or broken packets do to connectivity checks, and the pace of repeated ones.
//! [RFC 8445 §7, §19]

use std::collections::BTreeSet;
use std::time::Duration;

use floe::candidate::CandidateKind;
use floe::config::{AgentConfig, CheckBackoff, Role};
use floe::stats::PairStateKind;
use floe::stun::{MessageClass, TransactionId};
use floe::{AgentState, ComponentId, DropReason};

use crate::harness::{Hand, Outcome, Packet, World, addr, distinct_ids, encode, host, ms};
use crate::rfc8445_checks::*;

/// Every bit of a check matters: whatever is flipped, nothing changes and nothing is confirmed.
/// [rfc8445-7.3-2] [rfc8445-7.3-8]
#[test]
fn a_check_with_any_bit_flipped_changes_nothing() {
    let (mut world, party, mut hand) = one(Role::Controlled);
    world.set_remote(party, &hand.description(&[]));
    let check = hand.nomination();
    let before = world.stats(party);
    for bit in 0..check.len() * 8 {
        let mut altered = check.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let outcome = world.deliver(addr(STRANGER), addr(BASE), &altered);
        assert_ne!(outcome, Outcome::Handled, "bit {bit}");
    }
    assert_eq!(world.stats(party), before);
    assert!(!world.log.iter().any(Packet::is_success));
    assert!(ask(&mut world, &hand, &check).is_success());
}

/// [rfc8445-7.2.2-p1]
#[test]
fn a_response_with_any_bit_flipped_changes_nothing() {
    let (mut world, party, hand, check) = checking(Role::Controlling);
    let success = hand.success(&check);
    let before = world.stats(party);
    // Type and length of FINGERPRINT say nothing: an answer may come without one.
    let header = success.len() - 8..success.len() - 4;
    for bit in (0..success.len() * 8).filter(|bit| !header.contains(&(bit / 8))) {
        let mut altered = success.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let outcome = answer(&mut world, &check, &altered);
        assert_ne!(outcome, Outcome::Handled, "bit {bit}");
    }
    assert_eq!(world.stats(party), before);
    assert_eq!(answer(&mut world, &check, &success), Outcome::Handled);
    assert_eq!(state(&world, party), PairStateKind::Succeeded);
}

/// Every length that is too short, and junk at the end.
#[test]
fn a_truncated_message_changes_nothing() {
    let (mut world, party, mut hand) = one(Role::Controlled);
    world.set_remote(party, &hand.plain());
    let check = hand.check();
    let before = world.stats(party);
    for len in 0..check.len() {
        let outcome = world.deliver(addr(PEER), addr(BASE), &check[..len]);
        assert!(matches!(outcome, Outcome::Dropped(_)), "{len}: {outcome:?}");
    }
    let mut longer = check.clone();
    longer.extend_from_slice(&[0; 4]);
    let outcome = world.deliver(addr(PEER), addr(BASE), &longer);
    assert_eq!(outcome, Outcome::Dropped(DropReason::Malformed));
    assert_eq!(world.stats(party), before);
}

/// A check that somebody sends again from elsewhere earns an answer and a check of that address,
/// never a path for data.
#[test]
fn a_replayed_check_moves_no_data() {
    let (mut world, party, mut hand, check) = checking(Role::Controlled);
    answer(&mut world, &check, &hand.success(&check));
    let nomination = hand.nomination();
    ask(&mut world, &hand, &nomination);
    assert_eq!(world.state(party), AgentState::Completed);
    for _ in 0..20 {
        world.deliver(addr(STRANGER), addr(BASE), &nomination);
        world.run_for(ms(100));
    }
    assert_eq!(world.route(party), Ok(addr(PEER)));
    let selected = world.view(party).selected(ComponentId::FIRST).unwrap();
    assert_eq!(selected.remote.address, addr(PEER));
}

/// Every drop is counted by its reason, and none is an error.
#[test]
fn drops_are_counted_by_reason() {
    let (mut world, party, mut hand, check) = checking(Role::Controlling);
    let indication = encode(MessageClass::Indication, TransactionId([3; 12]), |m| m.fingerprint());
    assert_eq!(world.deliver(addr(PEER), addr(BASE), &indication), Outcome::Handled);
    let mut flipped = hand.check();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    let turn = {
        let mut octets = encode(MessageClass::Request, TransactionId([4; 12]), |m| m);
        octets[1] = 0x03;
        octets
    };
    for (octets, reason) in [
        (flipped, DropReason::Fingerprint),
        (vec![0; 20], DropReason::Malformed),
        (vec![5; 20], DropReason::UnknownClass),
        (Vec::new(), DropReason::UnknownClass),
        (turn, DropReason::UnexpectedMessage),
    ] {
        let before = world.dropped(party.node, reason);
        assert_eq!(answer(&mut world, &check, &octets), Outcome::Dropped(reason));
        assert_eq!(world.dropped(party.node, reason), before + 1);
    }
}

/// Data from a stranger is nobody's, before and after.
#[test]
fn data_needs_an_authenticated_address() {
    let (mut world, party, hand, check) = checking(Role::Controlling);
    let data = [128, 0, 1, 2];
    let outcome = world.deliver(addr(PEER), addr(BASE), &data);
    assert_eq!(outcome, Outcome::Unclaimed(data.to_vec()));
    answer(&mut world, &check, &hand.success(&check));
    let outcome = world.deliver(addr(PEER), addr(BASE), &data);
    let (agent, component) = (party.agent, ComponentId::FIRST);
    assert_eq!(outcome, Outcome::Data { agent, component, data: data.to_vec() });
    let outcome = world.deliver(addr(STRANGER), addr(BASE), &data);
    assert_eq!(outcome, Outcome::Unclaimed(data.to_vec()));
}

/// Addresses that checked us and never answer do not keep the others from being checked.
#[test]
fn repeated_checks_leave_turns_for_those_not_begun() {
    let mut config = AgentConfig::new(Role::Controlled);
    config.ta = ms(50);
    let mut world = World::new();
    let party = world.party(config, &[BASE]);
    let mut hand = Hand::new(&world, party, PEER);
    let all: Vec<_> = (1..=20).map(|n| host(&format!("10.0.0.{n}:1"), n)).collect();
    world.set_remote(party, &hand.description(&all));
    for n in 1..=6 {
        let check = hand.check();
        world.deliver(addr(&format!("10.0.0.{n}:1")), addr(BASE), &check);
    }
    world.run_for(ms(3_000));
    let asked: BTreeSet<_> = checks(&world).iter().map(|check| check.to).collect();
    assert_eq!(asked.len(), 20);
}

/// An agent that is told to wait for evidence asks again at a steady pace where there is some.
#[test]
fn an_address_that_checked_us_is_asked_again_at_a_steady_pace() {
    let mut config = AgentConfig::new(Role::Controlled);
    config.check_backoff = CheckBackoff::Evidence { interval: ms(150) };
    let mut world = World::new();
    let party = world.party(config, &[BASE]);
    let mut hand = Hand::new(&world, party, PEER);
    world.set_remote(party, &hand.description(&[]));
    let check = hand.check();
    world.deliver(addr(PEER), addr(BASE), &check);
    world.run_for(ms(1_000));
    let times: Vec<_> = checks(&world).iter().map(|check| check.at).collect();
    assert_eq!(times.len(), 7);
    assert!(times.windows(2).all(|two| two[1] - two[0] == ms(150)), "{times:?}");
    assert_eq!(distinct_ids(&checks(&world)).len(), 7, "each is a transaction of its own");
    let third = checks(&world)[2].clone();
    answer(&mut world, &third, &hand.success(&third));
    assert_eq!(state(&world, party), PairStateKind::Succeeded);
    let sent = checks(&world).len();
    world.run_for(ms(3_000));
    assert_eq!(checks(&world).len(), sent, "decided: no more of them");
}

/// The world advances exactly to what is due: a minute of two agents is few steps.
#[test]
fn nothing_is_due_more_often_than_needed() {
    let mut world = World::new();
    let (left, right) = world.pair_of_parties();
    world.exchange(left, right);
    let until = world.now + Duration::from_secs(60);
    let mut steps = 0;
    while world.next().is_some_and(|at| at <= until) {
        world.step();
        steps += 1;
    }
    assert!(steps < 200, "{steps}");
}

/// Answers from elsewhere say that an address cannot be reached: it keeps no other one out, up to as
/// many again. [rfc8445-7.3.1.3-p1]
#[test]
fn answers_from_elsewhere_double_what_is_learned_and_no_more() {
    let (mut world, party, mut hand) = one(Role::Controlled);
    world.set_remote(party, &hand.description(&[]));
    let mut most = 0;
    for n in 1..=60 {
        let from = addr(&format!("203.0.113.{n}:9"));
        world.deliver(from, addr(BASE), &hand.check());
        world.run_for(ms(100));
        let checks = world.log.iter().filter(|packet| packet.is_request() && packet.to == from);
        for check in checks.cloned().collect::<Vec<_>>() {
            world.deliver(addr("198.51.100.1:1"), addr(BASE), &hand.success(&check));
        }
        let learned = world.view(party).stats().remote;
        let learned = learned.iter().filter(|one| one.kind == CandidateKind::PeerReflexive);
        most = most.max(learned.count());
    }
    assert_eq!(most, 16);
}

/// What the peer nominates for one component takes the place of an address that did not answer yet,
/// and not of the one that it nominated for another.
#[test]
fn a_nomination_makes_room_for_no_other() {
    let (mut world, party, mut hand) = two_components();
    let nominated = addr("203.0.113.1:9");
    world.deliver(nominated, addr(BASE), &hand.nomination());
    for n in 2..=8 {
        world.deliver(addr(&format!("203.0.113.{n}:9")), addr(BASE), &hand.check());
    }
    for n in 9..=40 {
        let from = addr(&format!("203.0.113.{n}:9"));
        world.deliver(from, addr(SECOND), &hand.nomination());
        let learned = world.stats(party).remote;
        assert!(learned.iter().any(|one| one.address == from));
        assert!(learned.iter().any(|one| one.address == nominated));
    }
}
