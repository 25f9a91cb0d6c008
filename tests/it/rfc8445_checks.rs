//! Connectivity checks and their answers. [RFC 8445 §7, §16]

use std::collections::BTreeSet;

use floe::candidate::{CandidateKind, priority};
use floe::config::{AgentConfig, CheckBackoff, EndpointConfig, Role};
use floe::event::PairFailure;
use floe::stats::{AgentStats, PairStateKind};
use floe::stun::{AttributeType, IntegrityKey, MessageClass, TransactionId};
use floe::{AgentState, ComponentId, DropReason, Socket};

use crate::harness::{
    Hand, Outcome, Packet, Party, Verdict, World, addr, distinct_ids, encode, host, ms,
};

pub(crate) const BASE: &str = "192.0.2.1:1000";
pub(crate) const PEER: &str = "192.0.2.9:9000";
pub(crate) const STRANGER: &str = "198.51.100.66:6666";

/// A controlling or controlled agent at `BASE` and a peer at `PEER`, whose description the agent
/// does not have yet; checks are repeated by the letter.
pub(crate) fn one(role: Role) -> (World, Party, Hand) {
    let mut config = AgentConfig::new(role);
    config.check_backoff = CheckBackoff::Rfc;
    let mut world = World::new();
    let party = world.party(config, &[BASE]);
    let hand = Hand::new(&world, party, PEER);
    (world, party, hand)
}

/// The same with the description taken and the first check on its way.
pub(crate) fn checking(role: Role) -> (World, Party, Hand, Packet) {
    let (mut world, party, hand) = one(role);
    world.set_remote(party, &hand.plain());
    let check = world.log[0].clone();
    (world, party, hand, check)
}

pub(crate) fn state(world: &World, party: Party) -> PairStateKind {
    let pairs = world.pairs(party);
    assert_eq!(pairs.len(), 1, "{pairs:#?}");
    pairs[0].state
}

pub(crate) fn answer(world: &mut World, check: &Packet, octets: &[u8]) -> Outcome {
    world.deliver(check.to, check.from, octets)
}

/// The answer to a check that the peer sends now.
pub(crate) fn ask(world: &mut World, hand: &Hand, check: &[u8]) -> Packet {
    let before = world.log.len();
    assert_eq!(world.deliver(hand.address, addr(BASE), check), Outcome::Handled);
    world.log[before].clone()
}

/// The types of all attributes, in order.
fn attribute_types(octets: &[u8]) -> Vec<AttributeType> {
    let mut kinds = Vec::new();
    let mut rest = &octets[20..];
    while let [t0, t1, l0, l1, ..] = rest {
        kinds.push(AttributeType(u16::from_be_bytes([*t0, *t1])));
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        rest = &rest[4 + length.next_multiple_of(4)..];
    }
    kinds
}

pub(crate) fn checks(world: &World) -> Vec<Packet> {
    world.requests_from(BASE).into_iter().cloned().collect()
}

/// The newest check that the agent sent.
pub(crate) fn last_check(world: &World) -> Packet {
    world.requests_from(BASE).pop().unwrap().clone()
}

/// [rfc8445-6.1.3-p1]
#[test]
fn two_hosts_connect_in_one_round_trip() {
    let mut world = World::new();
    let (left, right) = world.pair_of_parties();
    world.exchange(left, right);
    let start = world.now;
    world.reach(left, AgentState::Completed, ms(1_000));
    world.reach(right, AgentState::Completed, ms(1_000));
    assert!(world.now - start <= ms(60), "{:?}", world.now - start);
    assert!(world.route(left).is_ok() && world.route(right).is_ok());
}

/// [rfc8445-7-1] [rfc8445-7.1.1-1] [rfc8445-7.1.3-1] [rfc8445-7.1.3-2] [rfc8445-7.2.2-1]
/// [rfc8445-7.2.2-p1] [rfc8445-7.2.4-2] [rfc8445-7.2.4-p1] [rfc8445-16.1-p1] [rfc8445-7.2.4-1]
/// [rfc8489-9.1.2-1] [rfc8489-9.1.2-2]
#[test]
fn a_check_says_who_asks_whom_and_in_which_role() {
    for (role, ours, other) in [
        (Role::Controlling, 0x802A, AttributeType::ICE_CONTROLLED),
        (Role::Controlled, 0x8029, AttributeType::ICE_CONTROLLING),
    ] {
        let (world, party, hand, check) = checking(role);
        let own = world.credentials(party);
        assert_eq!((check.from, check.to), (addr(BASE), addr(PEER)));
        let message = check.message();
        assert_eq!(message.username(), Some(format!("hand:{}", own.ufrag).as_bytes()));
        assert!(message.verify(&hand.key()).is_ok());
        assert!(message.verify(&hand.their_key()).is_err());
        assert!(message.has_fingerprint() && !message.is_classic());
        let expected = priority(CandidateKind::PeerReflexive, 65_535, 1);
        assert_eq!(message.attribute(AttributeType(0x0024)), Some(&expected.to_be_bytes()[..]));
        assert_eq!(message.attribute(AttributeType(ours)).map(<[u8]>::len), Some(8));
        assert_eq!(message.attribute(other), None);
        assert_eq!(message.attribute(AttributeType(0x0025)), None, "nothing is nominated yet");
        assert_eq!(message.software(), None);
        let kinds = attribute_types(&check.octets);
        let integrity = kinds.iter().filter(|kind| **kind == AttributeType::MESSAGE_INTEGRITY);
        assert_eq!(integrity.count(), 1);
        assert!(!kinds.contains(&AttributeType::MESSAGE_INTEGRITY_SHA256));
    }
}

/// [rfc8445-7.1.1-1]
#[test]
fn priority_in_checks_has_the_local_preference_of_the_base() {
    let mut world = World::new();
    let bases = ["192.0.2.1:1000", "10.0.0.1:1000", "10.0.0.2:1000"];
    let party = world.party(AgentConfig::new(Role::Controlling), &bases);
    let hand = Hand::new(&world, party, PEER);
    world.set_remote(party, &hand.plain());
    world.run_for(ms(400));
    for local in world.stats(party).local {
        let sent = world.requests_from(&local.address.to_string())[0].message().priority();
        assert_eq!(sent, Some((110 << 24) | (local.priority & 0x00FF_FFFF)), "{local:?}");
    }
}

/// [rfc8445-7.1.2-1] [rfc8445-7.2.5.3.4-p1] [rfc8445-16.1-p1]
#[test]
fn the_controlling_side_nominates_by_a_second_check() {
    let (mut world, party, hand, check) = checking(Role::Controlling);
    let nominated = |world: &World| world.pairs(party)[0].nominated;
    answer(&mut world, &check, &hand.success(&check));
    assert_eq!(state(&world, party), PairStateKind::Succeeded);
    assert!(!nominated(&world), "a valid pair starts without the flag");
    world.run_for(ms(100));
    let nomination = last_check(&world);
    assert!(nomination.nominates() && nomination.id() != check.id());
    assert_eq!(nomination.message().attribute(AttributeType(0x0025)), Some(&[][..]));
    assert!(!nominated(&world), "not before the answer");
    answer(&mut world, &nomination, &hand.success(&nomination));
    assert!(nominated(&world));
    assert_eq!(world.state(party), AgentState::Completed);
}

/// [rfc8445-7.1.2-2]
#[test]
fn the_controlled_side_never_nominates() {
    let mut world = World::new();
    let (left, right) = world.pair_of_parties();
    world.exchange(left, right);
    world.run_for(ms(120_000));
    assert_eq!(world.state(right), AgentState::Completed);
    assert!(world.requests_from("192.0.2.2:2000").len() > 10);
    assert!(!world.requests_from("192.0.2.2:2000").iter().any(|check| check.nominates()));
    assert!(world.requests_from(BASE).iter().any(|check| check.nominates()));
}

/// [rfc8445-7.3-2] [rfc8445-7.3-3] [rfc8445-7.3-8] [rfc8445-7.2.2-p1] [rfc8445-7.3-7a]
/// [rfc8489-5-6] [rfc8489-6.3.1.1-4] [rfc8489-6.3.1.1-p1] [rfc8489-6.3.1.2-p1] [rfc8489-9.1.3-11]
/// [rfc8489-9.1.3-12]
#[test]
fn the_answer_tells_the_source_and_is_signed_with_our_password() {
    let (mut world, party, mut hand) = one(Role::Controlled);
    world.set_remote(party, &hand.plain());
    let check = hand.check();
    let sent = floe::stun::Message::parse(&check).unwrap().transaction_id();
    let answer = ask(&mut world, &hand, &check);
    assert_eq!((answer.from, answer.to), (addr(BASE), addr(PEER)));
    let message = answer.message();
    assert_eq!(message.class(), MessageClass::Success);
    assert_eq!(message.transaction_id(), sent);
    assert_eq!(message.xor_mapped_address(), Some(addr(PEER)));
    assert!(message.verify(&hand.their_key()).is_ok());
    assert!(message.has_fingerprint());
    let expected = [
        AttributeType::XOR_MAPPED_ADDRESS,
        AttributeType::MESSAGE_INTEGRITY,
        AttributeType::FINGERPRINT,
    ];
    let kinds = attribute_types(&answer.octets);
    assert_eq!(kinds, expected, "neither USERNAME nor MAPPED-ADDRESS nor ALTERNATE-SERVER");
}

/// What is wrong with a request, and the error that it deserves.
/// [rfc8445-7.3-2] [rfc8445-7.3-4] [rfc8445-7.3-8] [rfc8445-7.3-7b] [rfc8489-9.1.3-1]
/// [rfc8489-9.1.3-2] [rfc8489-9.1.3-4] [rfc8489-9.1.3-7] [rfc8489-9.1.3-8] [rfc8489-6.3.1-p1]
/// [rfc8489-5-6]
#[test]
fn a_request_that_is_not_authentic_changes_nothing_and_is_told_why() {
    let (mut world, party, mut hand) = one(Role::Controlled);
    world.set_remote(party, &hand.plain());
    let before = world.stats(party);
    let key = hand.their_key();
    let id = TransactionId([9; 12]);
    let ours = world.credentials(party).ufrag;
    let user: [&[u8]; 2] = [ours.as_bytes(), b"hand"];
    let stranger: [&[u8]; 2] = [b"somebody", b"hand"];
    let reversed: [&[u8]; 2] = [b"hand", ours.as_bytes()];
    let wrong = IntegrityKey::short_term(b"another FAKE password!");
    let request = MessageClass::Request;
    let cases = [
        (
            "no credentials",
            encode(request, id, |m| m.fingerprint()),
            400,
            DropReason::Unauthenticated,
        ),
        (
            "no integrity",
            encode(request, id, |m| m.username(&user).fingerprint()),
            400,
            DropReason::Unauthenticated,
        ),
        (
            "no username",
            encode(request, id, |m| m.integrity(&key).fingerprint()),
            400,
            DropReason::Unauthenticated,
        ),
        (
            "unknown user",
            encode(request, id, |m| m.username(&stranger).integrity(&key).fingerprint()),
            401,
            DropReason::UnknownUser,
        ),
        (
            "order of the user names",
            encode(request, id, |m| m.username(&reversed).integrity(&key).fingerprint()),
            401,
            DropReason::UnknownUser,
        ),
        (
            "no colon",
            encode(request, id, |m| m.username(&[ours.as_bytes()]).integrity(&key).fingerprint()),
            401,
            DropReason::UnknownUser,
        ),
        (
            "wrong password",
            encode(request, id, |m| m.username(&user).integrity(&wrong).fingerprint()),
            401,
            DropReason::Integrity,
        ),
        (
            "no fingerprint",
            encode(request, id, |m| m.username(&user).integrity(&key)),
            0,
            DropReason::Fingerprint,
        ),
    ];
    for (what, octets, code, reason) in cases {
        let sent = world.log.len();
        let counted = world.dropped(party.node, reason);
        let outcome = world.deliver(addr(STRANGER), addr(BASE), &octets);
        assert_eq!(outcome, Outcome::Dropped(reason), "{what}");
        assert_eq!(world.dropped(party.node, reason), counted + 1, "{what}");
        if code == 0 {
            assert_eq!(world.log.len(), sent, "{what}");
            continue;
        }
        assert_eq!(world.log.len(), sent + 1, "{what}");
        let reply = world.log[sent].clone();
        assert_eq!((reply.code(), reply.id(), reply.to), (code, id, addr(STRANGER)), "{what}");
        let message = reply.message();
        assert!(!message.has_integrity() && message.has_fingerprint(), "{what}");
        assert_eq!(message.xor_mapped_address(), None);
    }
    assert_eq!(world.stats(party), before);
    let check = hand.check();
    assert!(ask(&mut world, &hand, &check).is_success(), "the real peer is served");
}

/// [rfc8489-6.3.1-p1] [rfc8489-14.8-10]
#[test]
fn an_attribute_that_must_be_understood_is_named_in_a_420() {
    let (mut world, party, mut hand) = one(Role::Controlled);
    world.set_remote(party, &hand.plain());
    let before = world.pairs(party)[0].counters.requests_received;
    let check = hand
        .check_with(|message| message.u32(AttributeType(0x7F01), 1).u32(AttributeType(0xFF02), 2));
    let outcome = world.deliver(addr(PEER), addr(BASE), &check);
    assert_eq!(outcome, Outcome::Dropped(DropReason::UnknownAttribute));
    let reply = world.log.last().unwrap();
    assert_eq!(reply.code(), 420);
    assert!(reply.message().verify(&hand.their_key()).is_ok());
    let named: Vec<_> = reply.message().unknown_attributes().collect();
    assert_eq!(named, [0x7F01]);
    assert_eq!(world.pairs(party)[0].counters.requests_received, before);
}

/// [rfc8445-7.3.1.5-2]
#[test]
fn a_request_without_priority_is_refused_and_nominates_nothing() {
    let (mut world, party, mut hand, check) = checking(Role::Controlled);
    answer(&mut world, &check, &hand.success(&check));
    let request = hand.request(|message| {
        message.u64(AttributeType::ICE_CONTROLLING, 1).flag(AttributeType::USE_CANDIDATE)
    });
    let outcome = world.deliver(addr(PEER), addr(BASE), &request);
    assert_eq!(outcome, Outcome::Dropped(DropReason::MissingAttribute));
    let reply = world.log.iter().rev().find(|packet| packet.is_error()).unwrap();
    assert_eq!(reply.code(), 400);
    assert!(reply.message().verify(&hand.their_key()).is_ok());
    assert!(!world.pairs(party)[0].nominated);
}

/// [rfc8489-9.1.3-13]
#[test]
fn error_replies_are_limited_by_address_and_in_all() {
    let (mut world, party, _) = one(Role::Controlled);
    let bad = |n: u8| encode(MessageClass::Request, TransactionId([n; 12]), |m| m.fingerprint());
    for n in 0..100 {
        world.deliver(addr(STRANGER), addr(BASE), &bad(n));
    }
    assert_eq!(world.log.len(), 10);
    assert_eq!(world.dropped(party.node, DropReason::RateLimited), 90);
    for n in 0..100 {
        world.deliver(([198, 51, 100, n], 5).into(), addr(BASE), &bad(n));
    }
    assert_eq!(world.log.len(), 50);
    world.now += ms(1_000);
    world.deliver(addr(STRANGER), addr(BASE), &bad(1));
    assert_eq!(world.log.len(), 51);
}

/// [rfc8445-7.2.5.2.1-1] [rfc8445-7.2.5.2.1-2a] [rfc8445-7.2.5.2.1-3]
#[test]
fn a_response_from_another_address_fails_the_pair() {
    let (mut world, party, hand, check) = checking(Role::Controlling);
    let success = hand.success(&check);
    let outcome = world.deliver(addr(STRANGER), addr(BASE), &success);
    assert_eq!(outcome, Outcome::Dropped(DropReason::Asymmetric));
    assert_eq!(state(&world, party), PairStateKind::Failed);
    assert_eq!(world.view(party).failures()[0].reason, PairFailure::Asymmetric);
    let late = answer(&mut world, &check, &success);
    assert_eq!(late, Outcome::Dropped(DropReason::UnknownTransaction));
    assert_eq!(state(&world, party), PairStateKind::Failed);
}

/// [rfc8445-7.2.5.2.1-2b] [rfc8445-7.2.5.2.1-3]
#[test]
fn a_response_to_another_base_fails_the_pair() {
    let mut world = World::new();
    let bases = [BASE, "192.0.2.3:1000"];
    let party = world.party(AgentConfig::new(Role::Controlling), &bases);
    let hand = Hand::new(&world, party, PEER);
    world.set_remote(party, &hand.plain());
    let check = world.log[0].clone();
    let other = bases.iter().find(|base| addr(base) != check.from).unwrap();
    let outcome = world.deliver(addr(PEER), addr(other), &hand.success(&check));
    assert_eq!(outcome, Outcome::Dropped(DropReason::Asymmetric));
    let failed = world.find_pair(party, &check.from.to_string(), PEER).unwrap();
    assert_eq!(failed.state, PairStateKind::Failed);
}

/// An asymmetric response that is not authentic fails nothing: anybody could send it.
#[test]
fn a_forged_response_fails_nothing() {
    let (mut world, party, hand, check) = checking(Role::Controlling);
    let wrong = IntegrityKey::short_term(b"another FAKE password!");
    let forged = encode(MessageClass::Success, check.id(), |message| {
        let mapped = AttributeType::XOR_MAPPED_ADDRESS;
        message.xor_address(mapped, check.from).integrity(&wrong).fingerprint()
    });
    let bare = encode(MessageClass::Error, check.id(), |m| m.error_code(400, "").fingerprint());
    for from in [STRANGER, PEER] {
        let outcome = world.deliver(addr(from), addr(BASE), &forged);
        assert_eq!(outcome, Outcome::Dropped(DropReason::Integrity));
        let outcome = world.deliver(addr(from), addr(BASE), &bare);
        assert_eq!(outcome, Outcome::Dropped(DropReason::Unauthenticated));
    }
    assert_eq!(state(&world, party), PairStateKind::InProgress);
    answer(&mut world, &check, &hand.success(&check));
    assert_eq!(state(&world, party), PairStateKind::Succeeded);
}

/// [rfc8445-7.2.5-p1]
#[test]
fn a_response_counts_for_its_transaction_and_once() {
    let (mut world, party, hand, check) = checking(Role::Controlling);
    let stranger = encode(MessageClass::Success, TransactionId([1; 12]), |message| {
        message
            .xor_address(AttributeType::XOR_MAPPED_ADDRESS, check.from)
            .integrity(&hand.key())
            .fingerprint()
    });
    let outcome = answer(&mut world, &check, &stranger);
    assert_eq!(outcome, Outcome::Dropped(DropReason::UnknownTransaction));
    assert_eq!(state(&world, party), PairStateKind::InProgress);
    let success = hand.success(&check);
    assert_eq!(answer(&mut world, &check, &success), Outcome::Handled);
    let again = answer(&mut world, &check, &success);
    assert_eq!(again, Outcome::Dropped(DropReason::UnknownTransaction));
}

/// [rfc8445-7.2.5.2.4-1] [rfc8489-6.3.4-1] [rfc8489-6.3.4-2b] [rfc8489-6.3.4-3]
/// [rfc8489-6.3.4-p1] [rfc8489-14.8-8]
#[test]
fn an_error_fails_the_pair_and_the_check_is_not_sent_again() {
    for code in [300, 400, 420, 500, 599] {
        let (mut world, party, hand, check) = checking(Role::Controlling);
        answer(&mut world, &check, &hand.error(&check, code));
        assert_eq!(state(&world, party), PairStateKind::Failed);
        assert_eq!(world.view(party).failures()[0].reason, PairFailure::Refused(code));
        world.run_for(ms(45_000));
        assert_eq!(checks(&world).len(), 1);
    }
}

/// [rfc8445-7.2.5.3.1-1] [rfc8445-7.2.5.3.1-p1] [rfc8445-7.2.5.3.2-p1] [rfc8445-7.2.5.3.3-p1]
#[test]
fn an_unknown_mapped_address_becomes_a_peer_reflexive_candidate() {
    let (mut world, party, hand, check) = checking(Role::Controlling);
    let mapped = addr("198.51.100.1:7000");
    answer(&mut world, &check, &hand.success_mapped(&check, mapped));
    let AgentStats { local, pairs, .. } = world.stats(party);
    let learned = local.iter().find(|c| c.kind == CandidateKind::PeerReflexive).unwrap();
    assert_eq!(learned.address, mapped);
    assert_eq!(learned.related, Some(addr(BASE)));
    assert_eq!(Some(learned.priority), check.message().priority());
    assert_eq!(pairs.len(), 1, "it is not paired by itself");
    assert_eq!(pairs[0].state, PairStateKind::Succeeded);
    assert_eq!(pairs[0].local.address, mapped, "the valid pair has it as its local candidate");
    let told = world.description(party).streams.remove(0).candidates;
    assert!(told.iter().all(|candidate| candidate.kind == CandidateKind::Host));
}

/// Each mapping that one base gets has the priority that its check carried.
/// [rfc8445-7.2.5.3.1-p1]
#[test]
fn a_second_mapping_of_a_base_has_the_priority_of_its_check_too() {
    let (mut world, party, hand) = one(Role::Controlling);
    let all = [host(PEER, 1), host("192.0.2.8:8000", 2)];
    world.set_remote(party, &hand.description(&all));
    world.run_for(ms(60));
    for (check, port) in checks(&world).into_iter().zip(7_000..) {
        let mapped = ([198, 51, 100, 1], port).into();
        answer(&mut world, &check, &hand.success_mapped(&check, mapped));
        let local = world.stats(party).local;
        let learned = local.iter().find(|c| c.address == mapped).unwrap();
        assert_eq!(Some(learned.priority), check.message().priority());
    }
    assert_eq!(world.stats(party).local.len(), 3);
}

/// [rfc8445-7.3.1.3-p1] [rfc8445-7.3.1.4-p3]
#[test]
fn an_unknown_source_becomes_a_peer_reflexive_candidate_that_is_checked() {
    let (mut world, party, mut hand) = one(Role::Controlled);
    world.set_remote(party, &hand.description(&[]));
    hand.address = addr(STRANGER);
    hand.priority = 0x6E00_1234;
    let check = hand.check();
    assert!(ask(&mut world, &hand, &check).is_success());
    let remote = world.stats(party).remote;
    assert_eq!(remote.len(), 1);
    assert_eq!(remote[0].kind, CandidateKind::PeerReflexive);
    assert_eq!((remote[0].address, remote[0].priority), (addr(STRANGER), 0x6E00_1234));
    assert_eq!(remote[0].component, ComponentId::FIRST);
    let triggered = last_check(&world);
    assert_eq!(triggered.to, addr(STRANGER));
    assert_eq!(state(&world, party), PairStateKind::InProgress);
}

/// Whether the peer looks after a pair is known from its first check on.
#[test]
fn the_check_that_a_pair_is_made_for_counts() {
    let (mut world, party, mut hand) = one(Role::Controlled);
    world.set_remote(party, &hand.description(&[]));
    let check = hand.check();
    assert!(ask(&mut world, &hand, &check).is_success());
    assert_eq!(world.pairs(party)[0].counters.requests_received, 1);
}

/// Two unknown sources have different foundations: neither waits for the other.
/// [rfc8445-7.3.1.3-p1]
#[test]
fn unknown_sources_have_foundations_of_their_own() {
    let (mut world, party, mut hand) = one(Role::Controlled);
    world.set_remote(party, &hand.description(&[]));
    for port in 1..=4 {
        let check = hand.check();
        world.deliver(([198, 51, 100, 66], port).into(), addr(BASE), &check);
    }
    world.run_for(ms(300));
    assert_eq!(distinct_ids(&checks(&world)).len(), 4);
}

/// The base of the second component.
pub(crate) const SECOND: &str = "192.0.2.1:1001";

/// A controlled agent with two components, and a peer that signalled no candidate.
pub(crate) fn two_components() -> (World, Party, Hand) {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    let second = ComponentId::new(0, 2).unwrap();
    world.udp(node, BASE);
    world.socket(node, Socket::udp(addr(SECOND)).with_component(second));
    let mut config = AgentConfig::new(Role::Controlled);
    config.streams = vec![2];
    let party = world.agent(node, config);
    let hand = Hand::new(&world, party, PEER);
    world.set_remote(party, &hand.description(&[]));
    (world, party, hand)
}

/// [rfc8445-7.3.1.3-p1]
#[test]
fn the_component_of_a_learned_candidate_is_that_of_the_base() {
    let (mut world, party, mut hand) = two_components();
    let check = hand.check();
    world.deliver(addr(STRANGER), addr(SECOND), &check);
    assert_eq!(world.stats(party).remote[0].component, ComponentId::new(0, 2).unwrap());
}

/// [rfc8445-7.3.1.4-1] [rfc8445-7.3.1.4-p2]
#[test]
fn a_check_of_a_pair_in_progress_makes_a_new_one_at_once() {
    let (mut world, party, mut hand, first) = checking(Role::Controlled);
    world.run_for(ms(10));
    let check = hand.check();
    world.deliver(addr(PEER), addr(BASE), &check);
    assert_eq!(state(&world, party), PairStateKind::Waiting);
    world.run_for(ms(400));
    let sent = checks(&world);
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[1].at - sent[0].at, ms(50), "a triggered check keeps the pace");
    assert_ne!(sent[1].id(), first.id());
    assert_eq!(state(&world, party), PairStateKind::InProgress);
    world.run_for(ms(400));
    let repeated = checks(&world);
    assert_eq!(repeated.len(), 3);
    assert_eq!(repeated[2].id(), sent[1].id(), "the first one is cancelled, and never repeated");
}

/// [rfc8445-7.3.1.4-p2]
#[test]
fn a_late_answer_to_a_cancelled_check_is_still_good() {
    let (mut world, party, mut hand, first) = checking(Role::Controlled);
    let check = hand.check();
    world.deliver(addr(PEER), addr(BASE), &check);
    world.run_for(ms(20_000));
    assert_eq!(answer(&mut world, &first, &hand.success(&first)), Outcome::Handled);
    assert_eq!(state(&world, party), PairStateKind::Succeeded);
}

/// [rfc8445-7.3.1.4-p2]
#[test]
fn silence_after_a_cancelled_check_fails_nothing() {
    let (mut world, party, mut hand, _) = checking(Role::Controlled);
    let start = world.now;
    world.run_for(ms(30_000));
    let check = hand.check();
    world.deliver(addr(PEER), addr(BASE), &check);
    world.run_until(start + ms(39_600));
    assert_eq!(state(&world, party), PairStateKind::InProgress, "the new check goes on");
    world.run_until(start + ms(30_000 + 39_600 + 100));
    assert_eq!(state(&world, party), PairStateKind::Failed);
}

/// [rfc8445-7.3.1.4-2] [rfc8445-7.3.1.4-p6]
#[test]
fn a_check_revives_a_failed_pair_and_its_checklist() {
    let (mut world, party, mut hand, _) = checking(Role::Controlled);
    world.run_for(ms(41_000));
    assert_eq!(world.state(party), AgentState::Failed);
    let before = checks(&world).len();
    let check = hand.check();
    world.deliver(addr(PEER), addr(BASE), &check);
    assert_eq!(checks(&world).len(), before + 1);
    assert_ne!(world.state(party), AgentState::Failed);
    let triggered = last_check(&world);
    answer(&mut world, &triggered, &hand.success(&triggered));
    assert_eq!(state(&world, party), PairStateKind::Succeeded);
    assert!(world.route(party).is_ok());
}

/// A pair that fails again and again is revived eight times, so that two sides whose answers are
/// lost do not keep each other busy for ever.
#[test]
fn a_pair_is_revived_eight_times_at_most() {
    let (mut world, party, mut hand, _) = checking(Role::Controlled);
    for round in 0..12 {
        world.run_for(ms(41_000));
        assert_eq!(state(&world, party), PairStateKind::Failed, "{round}");
        let check = hand.check();
        assert_eq!(world.deliver(addr(PEER), addr(BASE), &check), Outcome::Handled);
        let revived = state(&world, party) != PairStateKind::Failed;
        assert_eq!(revived, round < 8, "{round}");
        assert!(world.log.iter().any(|packet| packet.is_success() && packet.at == world.now));
    }
}

/// [rfc8489-6.3.1-1] [rfc8489-6.3.1-2]
#[test]
fn a_request_that_comes_again_is_answered_the_same_and_changes_nothing() {
    let (mut world, party, mut hand, check) = checking(Role::Controlled);
    answer(&mut world, &check, &hand.success(&check));
    let nomination = hand.nomination();
    let first = ask(&mut world, &hand, &nomination);
    let before = (world.stats(party).selected_changes, world.events_of(party.node));
    for _ in 0..5 {
        let again = ask(&mut world, &hand, &nomination);
        assert_eq!(again.octets, first.octets);
    }
    assert_eq!((world.stats(party).selected_changes, world.events_of(party.node)), before);
    assert_eq!(world.pairs(party).len(), 1);
    // No other method is answered, so that none needs to remember its answer.
    let mut other = nomination;
    other[1] = 0x03;
    let sent = world.log.len();
    let outcome = world.deliver(addr(PEER), addr(BASE), &other);
    assert!(matches!(outcome, Outcome::Dropped(_)), "{outcome:?}");
    assert_eq!(world.log.len(), sent);
}

/// [rfc8489-5-5]
#[test]
fn a_check_sent_again_is_the_same_and_a_new_one_has_a_new_id() {
    let (mut world, party, hand, check) = checking(Role::Controlling);
    world.run_for(ms(4_000));
    let sent = checks(&world);
    assert!(sent.len() >= 3);
    assert!(sent.iter().all(|again| again.octets == check.octets));
    answer(&mut world, &check, &hand.success(&check));
    world.run_for(ms(100));
    let nomination = last_check(&world);
    assert!(nomination.nominates() && nomination.id() != check.id());
    assert_eq!(state(&world, party), PairStateKind::Succeeded);
}

/// Neither the least nor the first answer changes how requests are protected. [rfc8489-9.1.5-1]
#[test]
fn later_checks_are_protected_like_the_first() {
    let (mut world, party, hand, _) = checking(Role::Controlling);
    world.respond(hand.address, hand.answering());
    world.run_for(ms(30_000));
    assert_eq!(world.state(party), AgentState::Completed);
    let sent = checks(&world);
    assert!(sent.len() > 5);
    for check in sent {
        let kinds = attribute_types(&check.octets);
        assert!(kinds.contains(&AttributeType::MESSAGE_INTEGRITY));
        assert!(!kinds.contains(&AttributeType::MESSAGE_INTEGRITY_SHA256));
        assert!(check.message().verify(&hand.key()).is_ok());
    }
}

/// Packets of 576 octets pass everywhere: 548 are left for the message. [rfc8489-6.1-6]
/// [rfc8489-6.1-8]
#[test]
fn no_check_or_answer_is_too_long_for_a_path_of_576_octets() {
    let (mut world, party, mut hand) = one(Role::Controlling);
    hand.own.ufrag = "u".repeat(256);
    world.respond(hand.address, hand.answering());
    world.set_remote(party, &hand.plain());
    world.reach(party, AgentState::Completed, ms(1_000));
    let many = hand.check_with(|message| {
        (0x7F00..0x7F20).fold(message, |message, kind| message.u32(AttributeType(kind), 1))
    });
    world.deliver(addr(PEER), addr(BASE), &many);
    let ours: Vec<_> = world.log.iter().filter(|packet| packet.from == addr(BASE)).collect();
    assert!(ours.iter().any(|packet| packet.code() == 420));
    assert!(ours.iter().any(|packet| packet.nominates()));
    assert!(ours.iter().all(|packet| packet.octets.len() < 548));
}

/// [rfc8445-7.3.1.4-2]
#[test]
fn a_pair_is_queued_for_a_triggered_check_once() {
    let (mut world, party, mut hand) = one(Role::Controlled);
    let all = [host("10.0.0.1:1", 1), host(PEER, 2)];
    world.set_remote(party, &hand.description(&all));
    for _ in 0..5 {
        let check = hand.check();
        world.deliver(addr(PEER), addr(BASE), &check);
    }
    world.run_for(ms(400));
    let to_peer = checks(&world).iter().filter(|check| check.to == addr(PEER)).count();
    assert_eq!(to_peer, 1);
}

/// [rfc8445-7.3.1.4-2]
#[test]
fn a_frozen_pair_is_checked_when_the_peer_checks_it() {
    let (mut world, party, mut hand) = one(Role::Controlled);
    let mut all = [host("10.0.0.1:1", 1), host(PEER, 2)];
    all[1].foundation = all[0].foundation;
    world.set_remote(party, &hand.description(&all));
    let frozen = || PairStateKind::Frozen;
    assert_eq!(world.find_pair(party, BASE, PEER).unwrap().state, frozen());
    let check = hand.check();
    world.deliver(addr(PEER), addr(BASE), &check);
    assert_eq!(world.find_pair(party, BASE, PEER).unwrap().state, PairStateKind::Waiting);
    world.run_for(ms(60));
    assert_eq!(last_check(&world).to, addr(PEER));
}

/// [rfc8445-7.3.1.4-p1]
#[test]
fn a_check_of_a_succeeded_pair_triggers_nothing() {
    let (mut world, party, mut hand, first) = checking(Role::Controlled);
    answer(&mut world, &first, &hand.success(&first));
    let check = hand.check();
    world.deliver(addr(PEER), addr(BASE), &check);
    world.run_for(ms(3_000));
    assert_eq!(checks(&world).len(), 1);
    assert_eq!(state(&world, party), PairStateKind::Succeeded);
}

/// pion and its like nominate what is checked after it works, and otherwise look again after
/// 200 ms; who has regular nomination needs no second check. [rfc8445-7.3.1.4-1]
#[test]
fn a_check_that_the_peer_triggered_goes_out_though_the_pair_works_meanwhile() {
    for (ice2, expected) in [(false, [0, 50].as_slice()), (true, &[0])] {
        let (mut world, party, mut hand) = one(Role::Controlled);
        let mut description = hand.plain();
        description.options.ice2 = ice2;
        let start = world.now;
        world.set_remote(party, &description);
        let check = hand.check();
        world.deliver(addr(PEER), addr(BASE), &check);
        let first = last_check(&world);
        answer(&mut world, &first, &hand.success(&first));
        assert_eq!(state(&world, party), PairStateKind::Succeeded);
        world.run_for(ms(400));
        let times: Vec<_> = checks(&world).iter().map(|check| check.at - start).collect();
        assert_eq!(times, expected.iter().map(|at| ms(*at)).collect::<Vec<_>>(), "{ice2}");
    }
}

/// [rfc8445-7.3.1.4-p4]
#[test]
fn a_triggered_pair_has_the_host_candidate_of_the_base() {
    let (mut world, party, mut hand) = one(Role::Controlled);
    world.set_remote(party, &hand.description(&[]));
    let check = hand.check();
    world.deliver(addr(PEER), addr(BASE), &check);
    assert_eq!(world.pairs(party)[0].local.kind, CandidateKind::Host);
    assert_eq!(last_check(&world).from, addr(BASE));
}

/// [rfc8445-7.3-5] [rfc8445-7.3-6]
#[test]
fn early_checks_are_answered_at_once_and_followed_up_later() {
    let (mut world, party, mut hand) = one(Role::Controlled);
    let check = hand.nomination();
    let reply = ask(&mut world, &hand, &check);
    assert!(reply.is_success());
    assert_eq!(reply.at, world.now);
    world.run_for(ms(1_000));
    assert!(checks(&world).is_empty(), "no password, no check");
    world.set_remote(party, &hand.description(&[]));
    assert_eq!(world.stats(party).remote[0].kind, CandidateKind::PeerReflexive);
    let triggered = last_check(&world);
    assert_eq!(triggered.to, addr(PEER));
    answer(&mut world, &triggered, &hand.success(&triggered));
    assert!(world.pairs(party)[0].nominated);
    assert_eq!(world.state(party), AgentState::Completed);
}

/// [rfc8445-7.3-6]
#[test]
fn several_early_checks_are_followed_up_in_their_order_and_bounded() {
    let (mut world, party, mut hand) = one(Role::Controlled);
    for port in 1..=100 {
        let check = hand.check();
        let outcome = world.deliver(([198, 51, 100, 66], port).into(), addr(BASE), &check);
        assert_eq!(outcome, Outcome::Handled);
    }
    assert_eq!(world.log.iter().filter(|packet| packet.is_success()).count(), 100);
    world.set_remote(party, &hand.description(&[]));
    assert_eq!(world.stats(party).remote.len(), 8);
    world.run_for(ms(1_000));
    let asked: BTreeSet<_> = checks(&world).iter().map(|check| check.to).collect();
    assert_eq!(asked.len(), 8);
}

/// [rfc8445-7.3.1.4-p5]
#[test]
fn the_peer_is_told_by_the_second_half_of_the_username() {
    let (mut world, party, mut hand) = one(Role::Controlled);
    world.set_remote(party, &hand.description(&[]));
    hand.own.ufrag = "someoneelse".into();
    let check = hand.check();
    let outcome = world.deliver(hand.address, addr(BASE), &check);
    assert_eq!(outcome, Outcome::Dropped(DropReason::WrongGeneration));
    assert_eq!(world.log[0].code(), 500, "it knows our password, but its own one is not known");
    world.run_for(ms(1_000));
    assert!(checks(&world).is_empty());
}

/// [rfc8445-7.2.5.3.4-p2] [rfc8445-7.3.1.5-p1]
#[test]
fn a_nomination_counts_once_our_own_check_succeeds() {
    let (mut world, party, mut hand, _) = checking(Role::Controlled);
    let nomination = hand.nomination();
    assert!(ask(&mut world, &hand, &nomination).is_success());
    assert!(!world.pairs(party)[0].nominated);
    world.run_for(ms(100));
    let triggered = last_check(&world);
    answer(&mut world, &triggered, &hand.success(&triggered));
    assert!(world.pairs(party)[0].nominated);

    let (mut world, party, mut hand, check) = checking(Role::Controlled);
    answer(&mut world, &check, &hand.success(&check));
    let nomination = hand.nomination();
    ask(&mut world, &hand, &nomination);
    assert!(world.pairs(party)[0].nominated, "a valid pair is nominated at once");
}

/// [rfc8445-7.2.5.3.4-2] [rfc8445-7.3.1.5-1]
#[test]
fn a_nominated_pair_whose_check_fails_is_not_used() {
    let (mut world, party, mut hand, check) = checking(Role::Controlled);
    let nomination = hand.nomination();
    ask(&mut world, &hand, &nomination);
    world.run_for(ms(100));
    let triggered = last_check(&world);
    assert_ne!(triggered.id(), check.id());
    answer(&mut world, &triggered, &hand.error(&triggered, 400));
    assert_eq!(state(&world, party), PairStateKind::Failed);
    assert!(!world.pairs(party)[0].nominated);
    assert!(world.route(party).is_err());
    world.run_for(ms(41_000));
    assert_eq!(world.state(party), AgentState::Failed);
}

/// [rfc8445-7.2.5.3.4-1]
#[test]
fn a_pair_whose_nomination_is_refused_is_not_used() {
    let (mut world, party, hand, check) = checking(Role::Controlling);
    answer(&mut world, &check, &hand.success(&check));
    world.run_for(ms(100));
    let nomination = last_check(&world);
    assert!(nomination.nominates());
    answer(&mut world, &nomination, &hand.error(&nomination, 400));
    assert_eq!(state(&world, party), PairStateKind::Failed);
    assert!(world.route(party).is_err());
    world.run_for(ms(41_000));
    assert_eq!(world.state(party), AgentState::Failed);
}

/// A server on a link is asked from an address of another scope, too, and then the link counts.
#[test]
fn a_link_local_server_is_asked_on_its_link() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.udp(node, "[2001:db8::1]:1");
    let server = addr("[fe80::5%2]:3478");
    world.respond(server, crate::harness::stun_server(|_| addr("[2001:db8::9]:7")));
    world.server(node, floe::Server::stun(server));
    let party = world.agent(node, AgentConfig::new(Role::Controlling));
    world.run_for(ms(200));
    assert_eq!(world.log[0].to, server);
    assert_eq!(world.description(party).streams[0].candidates.len(), 2);
}

/// The system names the link in its own addresses and in those that it hears from; what is signalled
/// names none. [rfc8445-7.2.5.2.1-1]
#[test]
fn link_local_addresses_connect_though_signalling_does_not_name_the_link() {
    let mut world = World::new();
    let sides = [("[fe80::1%7]:1", Role::Controlling), ("[fe80::2%3]:2", Role::Controlled)];
    let [left, right] = sides.map(|(base, role)| world.party(AgentConfig::new(role), &[base]));
    world.filter(|packet| {
        if let std::net::SocketAddr::V6(from) = &mut packet.from {
            from.set_scope_id(if from.port() == 1 { 3 } else { 7 });
        }
        Verdict::Pass
    });
    // One side's own signalling names a link all the same.
    let mut offer = world.description(left);
    for candidate in &mut offer.streams[0].candidates {
        candidate.address = floe::candidate::CandidateAddress::Ip(addr("[fe80::1%3]:1"));
    }
    world.set_remote(right, &offer);
    let answer = world.description(right);
    world.set_remote(left, &answer);
    for side in [left, right] {
        world.reach(side, AgentState::Completed, ms(2_000));
        let [pair] = &world.pairs(side)[..] else { panic!("one pair") };
        assert!(pair.selected);
        let ends = [&world.stats(side).local, &world.stats(side).remote];
        assert!(ends.iter().all(|known| known.len() == 1 && known[0].kind == CandidateKind::Host));
    }
}
