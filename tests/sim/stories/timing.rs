//! How long it takes, to the nanosecond where that can be said.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use floe::ComponentId;

use crate::world::signalling::Signal;
use crate::world::wire;
use crate::world::{Fate, Node, World, millis, secs};

const RTT_MS: u64 = 50;

/// [rfc8445-12.1-1]
#[test]
fn both_sides_can_send_after_one_round_trip() {
    for count in [1, 4, 10, 30] {
        let world = World::new(seed!());
        let left = world.host().with_addresses(count);
        let right = world.host().with_addresses(count);
        let call = world.call(left, right);

        world.run_until(call.both_sendable(), secs(1));
        for side in [left, right] {
            let at = call.sendable_at(side, ComponentId::FIRST);
            assert_eq!(at, Some(millis(RTT_MS)), "{count} x {count} candidates");
            call.send(side, b"\x80at once").unwrap();
        }
        world.run_for(millis(RTT_MS / 2));
        assert_eq!((call.heard(left), call.heard(right)), (1, 1));
    }
}

/// [rfc8445-14.2-2] [rfc8445-14.2-3]
#[test]
fn the_last_of_a_hundred_pairs_is_found_in_a_hundred_steps() {
    let world = World::new(seed!());
    let left = world.host().with_addresses(10);
    let right = world.host().with_addresses(10);
    let ends = [left.addresses()[9], right.addresses()[9]];
    world.intercept(move |_, packet| {
        let good = ends.contains(&packet.from.ip()) && ends.contains(&packet.to.ip());
        if good { Fate::Pass } else { Fate::Drop }
    });
    let call = world.call(left, right).tune_both(|config| config.ta = millis(5));

    let took = world.run_until(call.both_sendable(), secs(10));
    assert!(took <= millis(5 * 100 + RTT_MS), "{took:?}");
}

/// [rfc8445-14.2-2]
#[test]
fn a_restart_does_not_hurry_the_next_check() {
    let world = World::new(seed!());
    let (left, right) = (world.host().with_addresses(4), world.host().with_addresses(4));
    let starts = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&starts);
    world.intercept(move |now, packet| {
        if packet.sender == Node::Host(0) {
            seen.borrow_mut().push(now);
        }
        Fate::Drop
    });
    let call = world.call(left, right).tune_both(|config| config.ta = millis(100));
    for _ in 0..3 {
        world.run_for(millis(130));
        call.restart(left);
    }
    world.run_for(millis(130));
    let starts = starts.borrow();
    assert!(starts.len() >= 4, "{} checks", starts.len());
    assert!(starts.is_sorted_by(|a, b| b.since(*a) >= millis(100)), "{starts:?}");
}

/// [rfc8445-14.2-1a] [rfc8445-14.2-3]
#[test]
fn the_slower_of_two_paces_counts() {
    let world = World::new(seed!());
    let (left, right) = (world.host().with_addresses(4), world.host().with_addresses(4));
    world.intercept(|_, _| Fate::Drop);
    let call = world
        .call(left, right)
        .tune(left, |config| config.ta = millis(10))
        .tune(right, |config| config.ta = millis(100));

    world.run_for(millis(450));
    // At 0, 100, 200, 300 and 400 ms; retransmissions come no earlier than 500 ms.
    assert_eq!((left.packets(), right.packets()), (5, 5));
    assert!(!call.both_sendable()());
}

/// The callee's check reaches the caller long before its answer does: it is answered at once, and
/// as soon as the answer is there it counts.
#[test]
fn a_check_before_the_answer_is_answered_at_once() {
    let world = World::new(seed!());
    let (left, right) = (world.host(), world.host());
    let call = world.call(left, right).signalling(millis(300));

    world.run_until(call.both_sendable(), secs(2));
    let at = |host| call.sendable_at(host, ComponentId::FIRST).unwrap();
    assert_eq!(at(right), millis(300 + RTT_MS));
    assert_eq!(at(left), millis(600 + RTT_MS));
    world.run_until(call.completed(), secs(1));
    assert!(call.agree());
}

/// The answer carries no candidates at all: the caller knows the callee's address from its check.
/// [rfc8445-7.3.1.3-p1] [rfc8445-7.3.1.4-p3]
#[test]
fn an_early_check_alone_gives_the_caller_its_pair() {
    let world = World::new(seed!());
    let (left, right) = (world.host(), world.host());
    let call = world.call(left, right).signalling(millis(300)).deliver_signals(|_, signal| {
        let lost = matches!(signal, Signal::Answer(_));
        if lost { Vec::new() } else { vec![millis(0)] }
    });
    world.run_for(millis(500));
    let mut answer = call.description(right);
    for stream in &mut answer.streams {
        stream.candidates.clear();
        stream.end_of_candidates = false;
    }
    call.agent_mut(left, |mut agent| agent.set_remote_description(&answer)).unwrap();

    let took = world.run_until(call.both_sendable(), secs(1));
    assert_eq!(took, millis(RTT_MS));
    world.run_until(call.completed(), secs(1));
    assert!(call.agree());
}

/// Idle, each side sends one consent check every 5 s on average, and answers the other's: nothing
/// else. [rfc7675-5.1-3] [rfc7675-5.1-4] [rfc7675-5.1-5]
#[test]
fn a_quiet_call_is_quiet() {
    let world = World::new(seed!());
    let (left, right) = (world.host(), world.host());
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(2));
    world.run_for(secs(10));

    let checks = Rc::new(Cell::new(0));
    let last = Rc::new(Cell::new(None));
    let count = Rc::clone(&checks);
    world.intercept(move |now, packet| {
        if wire::is_check(&packet.octets) && packet.sender == left_node() {
            count.set(count.get() + 1);
            if let Some(before) = last.replace(Some(now)) {
                let gap = now.since(before);
                assert!(gap >= millis(4000) && gap <= millis(6000), "{gap:?}");
            }
        }
        Fate::Pass
    });
    let before = world.packets();
    world.run_for(secs(1000));
    assert!((180..=225).contains(&checks.get()), "{} checks in 1000 s", checks.get());
    let packets = world.packets() - before;
    assert!(packets <= 4 * 225, "{packets} packets in 1000 s");
}

/// The caller is the first host of its world.
fn left_node() -> crate::world::Node {
    crate::world::Node::Host(0)
}
