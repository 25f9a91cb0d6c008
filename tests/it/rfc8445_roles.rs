//! Role conflicts, and what a lite agent does. [RFC 8445 §7.2.5.1, §7.3.1.1, §7.3.2, §16]

use std::collections::BTreeSet;

use floe::config::{AgentConfig, Mode, Role};
use floe::stats::PairStateKind;
use floe::{AgentState, ComponentId, Event};

use crate::harness::{Hand, Outcome, World, addr, host, ms};
use crate::rfc8445_checks::{BASE, PEER, answer, ask, checking, checks, last_check, one, state};

/// Who keeps which role, for all four orders of the tie-breakers and equal ones.
/// [rfc8445-7.3.1.1-2] [rfc8445-7.3.1.1-3] [rfc8445-7.3.1.1-p1] [rfc8445-7.3.1.1-p2]
/// [rfc8445-7.3.1.1-p3]
#[test]
fn the_greater_tie_breaker_decides_a_conflict() {
    for role in [Role::Controlling, Role::Controlled] {
        for theirs in [-1_i64, 0, 1] {
            let (mut world, party, mut hand, check) = checking(role);
            let message = check.message();
            let own = message.ice_controlling().or(message.ice_controlled()).unwrap();
            hand.role = role;
            hand.tie_breaker = own.wrapping_add_signed(theirs);
            let before = world.pairs(party)[0].priority;
            let request = hand.check();
            let reply = ask(&mut world, &hand, &request);
            let stronger = theirs <= 0;
            // The stronger side becomes, or stays, controlling.
            let expected = if stronger { Role::Controlling } else { Role::Controlled };
            assert_eq!(world.role(party), expected, "{role:?} {theirs}");
            let switched = expected != role;
            assert_eq!(reply.code(), if switched { 0 } else { 487 });
            assert!(reply.message().verify(&hand.their_key()).is_ok());
            assert_eq!(reply.is_success(), switched);
            let told = world
                .events_of(party.node)
                .contains(&Event::RoleChanged { agent: party.agent, role: expected });
            assert_eq!(told, switched);
            let received = world.pairs(party)[0].counters.requests_received;
            assert_eq!(received, u32::from(switched), "processed normally if it was accepted");
            // Host against host differs by the last bit alone, and by it only if G > D.
            let (g, d) = match expected {
                Role::Controlling => (2_130_706_431_u64, 2_130_706_431_u64),
                Role::Controlled => (2_130_706_431, 2_130_706_431),
            };
            assert_eq!(world.pairs(party)[0].priority, (g.min(d) << 32) + 2 * g.max(d));
            assert_eq!(before, world.pairs(party)[0].priority);
        }
    }
}

/// [rfc8445-7.2.5.1-p1] [rfc8445-7.3.1.1-p3]
#[test]
fn a_switch_of_roles_recomputes_the_priorities() {
    let (mut world, party, mut hand) = one(Role::Controlled);
    let mut candidate = host(PEER, 1);
    candidate.priority = 1_000;
    world.set_remote(party, &hand.description(&[candidate]));
    let (own, theirs) = (2_130_706_431_u64, 1_000_u64);
    assert_eq!(world.pairs(party)[0].priority, (theirs << 32) + 2 * own);
    hand.role = Role::Controlled;
    hand.tie_breaker = 0;
    let check = hand.check();
    ask(&mut world, &hand, &check);
    assert_eq!(world.role(party), Role::Controlling);
    assert_eq!(world.pairs(party)[0].priority, (theirs << 32) + 2 * own + 1);
}

/// [rfc8445-7.2.5.1-1] [rfc8445-7.2.5.1-2] [rfc8445-7.2.5.1-3] [rfc8445-7.2.5.1-4]
/// [rfc8445-16.1-1b] [rfc8445-16.1-3b]
#[test]
fn a_487_switches_the_role_and_asks_again() {
    for role in [Role::Controlling, Role::Controlled] {
        let (mut world, party, hand, check) = checking(role);
        answer(&mut world, &check, &hand.error(&check, 487));
        assert_ne!(world.role(party), role);
        assert_eq!(state(&world, party), PairStateKind::Waiting);
        world.run_for(ms(50));
        let again = last_check(&world);
        assert_ne!(again.id(), check.id());
        let (before, after) = (check.message(), again.message());
        match role {
            Role::Controlling => {
                assert!(after.ice_controlling().is_none());
                assert_ne!(after.ice_controlled(), before.ice_controlling());
            }
            Role::Controlled => {
                assert!(after.ice_controlled().is_none());
                assert_ne!(after.ice_controlling(), before.ice_controlled());
            }
        }
        assert_eq!(state(&world, party), PairStateKind::InProgress);
    }
}

/// A NAT may give the answer another source: the role is switched, and data from there is not let
/// in. [rfc8445-7.2.5.1-1] [rfc8445-12.2-1]
#[test]
fn a_487_from_elsewhere_switches_the_role_and_opens_no_gate() {
    let (mut world, party, hand, check) = checking(Role::Controlling);
    let elsewhere = addr("203.0.113.9:9");
    world.deliver(elsewhere, check.from, &hand.error(&check, 487));
    assert_eq!(world.role(party), Role::Controlled);
    let unclaimed = Outcome::Unclaimed(b"\x80data".to_vec());
    assert_eq!(world.deliver(elsewhere, check.from, b"\x80data"), unclaimed);
}

/// [rfc8445-7.2.5.1-1] [rfc8445-7.2.5.1-2]
#[test]
fn two_487s_to_checks_of_one_role_switch_once() {
    let (mut world, party, hand) = one(Role::Controlling);
    world.set_remote(party, &hand.description(&[host(PEER, 1), host("192.0.2.8:8000", 2)]));
    world.run_for(ms(60));
    let sent = checks(&world);
    assert_eq!(sent.len(), 2);
    for check in &sent {
        answer(&mut world, check, &hand.error(check, 487));
        assert_eq!(world.role(party), Role::Controlled);
    }
    world.run_for(ms(200));
    let again: Vec<_> = checks(&world).split_off(2);
    assert_eq!(again.len(), 2, "both are asked again");
    let ties: BTreeSet<_> = again.iter().map(|c| c.message().ice_controlled().unwrap()).collect();
    assert_eq!(ties.len(), 1);
}

/// [rfc8445-16.1-1a] [rfc8445-16.1-3a]
#[test]
fn one_tie_breaker_serves_all_checks_of_a_session() {
    let mut world = World::new();
    let (left, right) = world.pair_of_parties();
    world.exchange(left, right);
    world.run_for(ms(30_000));
    let ties = |from: &str| -> BTreeSet<u64> {
        let all = world.requests_from(from).into_iter();
        all.map(|c| c.message().ice_controlling().or(c.message().ice_controlled()).unwrap())
            .collect()
    };
    assert_eq!(ties(BASE).len(), 1);
    assert_eq!(ties("192.0.2.2:2000").len(), 1);
    assert_ne!(ties(BASE), ties("192.0.2.2:2000"));
}

/// Two agents of one role settle it between themselves, whichever it is.
/// [rfc8445-7.3.1.1-3] [rfc8445-7.2.5.1-1] [rfc8445-7.2.5.1-2]
#[test]
fn two_agents_of_one_role_connect() {
    for role in [Role::Controlling, Role::Controlled] {
        let mut world = World::new();
        let left = world.party(AgentConfig::new(role), &[BASE]);
        let right = world.party(AgentConfig::new(role), &["192.0.2.2:2000"]);
        world.exchange(left, right);
        world.reach(left, AgentState::Completed, ms(1_000));
        world.reach(right, AgentState::Completed, ms(1_000));
        assert_ne!(world.role(left), world.role(right));
        let changes =
            world.events.iter().filter(|(_, _, e)| matches!(e, Event::RoleChanged { .. }));
        assert_eq!(changes.count(), 1);
    }
}

/// [rfc8445-7.3.2-p1]
#[test]
fn a_lite_agent_takes_the_nominated_pair_as_valid() {
    let mut config = AgentConfig::new(Role::Controlled);
    config.mode = Mode::Lite;
    let mut world = World::new();
    let party = world.party(config, &[BASE]);
    let mut hand = Hand::new(&world, party, PEER);
    world.set_remote(party, &hand.description(&[]));
    let check = hand.check();
    assert!(ask(&mut world, &hand, &check).is_success());
    assert!(world.route(party).is_err());
    let nomination = hand.nomination();
    assert!(ask(&mut world, &hand, &nomination).is_success());
    let selected = world.view(party).selected(ComponentId::FIRST).unwrap();
    assert_eq!((selected.base, selected.remote.address), (addr(BASE), addr(PEER)));
    assert_eq!(world.route(party), Ok(addr(PEER)));
}
