//! Servers that are dead, slow or lying; addresses that cannot be reached; NATs that forget.

use floe::candidate::CandidateKind::PeerReflexive;
use floe::config::CheckBackoff;
use floe::event::PairFailure;
use floe::{ComponentId, Event};

use crate::world::nat::Nat;
use crate::world::stun_server::Temper;
use crate::world::{Fate, Node, Seed, World, millis, secs, wire};

#[test]
fn a_dead_server_delays_nothing() {
    let mut took = [millis(0); 2];
    for (n, temper) in [Temper::Honest, Temper::Dead].into_iter().enumerate() {
        let world = World::new(Seed(7));
        let good = world.stun("192.0.2.1:3478");
        let other = world.stun("192.0.2.2:3478").that_is(temper);
        let left = world.host().behind(Nat::PORT_RESTRICTED).using(other).using(good);
        let right = world.host().behind(Nat::PORT_RESTRICTED).using(other).using(good);
        let call = world.call(left, right);

        took[n] = world.run_until(call.completed(), secs(3));
        assert!(call.agree());
        world.run_until(call.gathered(), secs(5));
        assert!(world.elapsed() <= secs(5), "gathered after {:?}", world.elapsed());
    }
    // The pace may put one transaction in front, but nobody waits for an answer.
    assert!(took[1] <= took[0] + millis(100), "{took:?}");
}

#[test]
fn with_none_but_dead_servers_gathering_ends_in_five_seconds() {
    let world = World::new(seed!());
    let dead = world.stun("192.0.2.1:3478").that_is(Temper::Dead);
    let (left, right) = (world.host().using(dead), world.host().using(dead));
    let right = right.tune(|config| config.gather_timeout = secs(2));
    let call = world.call(left, right);

    world.run_until(call.completed(), secs(1));
    world.run_until(|| call.has_gathered(right), secs(2));
    assert!(world.elapsed() <= secs(2));
    world.run_until(call.gathered(), secs(5));
    assert!(world.elapsed() <= secs(5));
}

#[test]
fn a_refusing_server_is_asked_no_more() {
    for temper in [Temper::Refusing(400), Temper::Empty] {
        let world = World::new(seed!());
        let bad = world.stun("192.0.2.1:3478").that_is(temper);
        let left = world.host().behind(Nat::FULL_CONE).using(bad);
        let right = world.host();
        let call = world.call(left, right);
        world.run_until(call.gathered(), millis(500));
        world.run_until(call.completed(), secs(2));
        assert!(bad.asked() <= 2, "asked {} times", bad.asked());
    }
}

#[test]
fn an_unreachable_server_is_given_up_at_once() {
    let world = World::new(seed!());
    let stun = world.stun("192.0.2.1:3478");
    let left = world.host().behind(Nat::FULL_CONE).using(stun);
    let right = world.host();
    world.link(left, stun, |link| link.unreachable = true);
    let call = world.call(left, right);

    world.run_until(call.gathered(), millis(200));
    world.run_until(call.completed(), secs(2));
    // The event is the endpoint's, not the agent's: the agent goes on without a candidate.
    assert!(
        call.stats(left)
            .local
            .iter()
            .all(|c| c.kind != floe::candidate::CandidateKind::ServerReflexive)
    );
}

#[test]
fn a_slow_server_is_of_use_when_it_answers() {
    let world = World::new(seed!());
    let slow = world.stun("192.0.2.1:3478").that_is(Temper::Slow(secs(2)));
    let left = world.host().behind(Nat::PORT_RESTRICTED).using(slow);
    let right = world.host().behind(Nat::PORT_RESTRICTED).using(slow);
    let call = world.call(left, right);

    let took = world.run_until(call.completed(), secs(5));
    assert!(took >= secs(2));
    assert!(call.agree());
}

#[test]
fn a_lying_server_harms_nobody_who_has_another_way() {
    let world = World::new(seed!());
    let liar = world.stun("192.0.2.1:3478");
    let liar = liar.that_is(Temper::Lying("192.0.2.99:9".parse().unwrap()));
    let (left, right) = (world.host().behind(Nat::PORT_RESTRICTED).using(liar), world.host());
    let call = world.call(left, right);

    world.run_until(call.completed(), secs(3));
    assert!(call.agree());
}

#[test]
fn an_unreachable_address_is_named_as_such() {
    let world = World::new(seed!());
    let (left, right) = (world.host(), world.host());
    world.link(left, right, |link| link.unreachable = true);
    world.link(right, left, |link| link.unreachable = true);
    let call = world.call(left, right).without_restarts();

    world.run_until(call.both_failed(), secs(90));
    assert!(world.elapsed() >= millis(39_500));
    for side in [left, right] {
        let failures = call.failures(side);
        assert!(failures.iter().any(|f| f.reason == PairFailure::Unreachable), "{failures:?}");
    }
}

/// The NAT forgets the mapping and gives a new port: the peer follows by a peer-reflexive
/// candidate, and nobody restarts.
#[test]
fn a_rebound_nat_is_followed() {
    let world = World::new(seed!());
    let stun = world.stun("192.0.2.1:3478");
    let left = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
    let right = world.host();
    let call = world.call(left, right).without_restarts();
    world.run_until(call.completed(), secs(3));
    world.run_for(secs(10));
    let before = call.pair(right).remote();
    call.talk(left, millis(20));
    call.talk(right, millis(20));

    left.reboot_nats();
    world.run_for(secs(20));
    let heard = (call.heard(left), call.heard(right));
    world.run_for(secs(5));
    assert!(call.heard(left) >= heard.0 + 240, "the right is heard again: {:?}", call.states(left));
    assert!(call.heard(right) >= heard.1 + 240, "the left is heard again");
    assert_ne!(call.pair(right).remote(), before);
    assert_eq!(call.pair(right).kinds().1, PeerReflexive);
    assert!(call.agree());
    for side in [left, right] {
        let restarted =
            call.events(side).iter().any(|(_, e)| matches!(e, Event::RestartedByPeer { .. }));
        assert!(!restarted);
    }
}

/// Many consent checks that nobody answers do not take the place of the one that nominates.
#[test]
fn a_nomination_is_repeated_however_many_other_checks_are_under_way() {
    let world = World::new(seed!());
    let (left, right) = (world.host().with_addresses(4), world.host().with_addresses(4));
    let call = world.call(left, right);
    let call = call.tune(left, |config| config.check_backoff = CheckBackoff::Rfc);
    world.intercept(|_, packet| {
        let nominates = wire::attribute(&packet.octets, wire::USE_CANDIDATE).is_some();
        if nominates { Fate::Drop } else { Fate::Pass }
    });
    world.run_for(secs(4));
    world.cut(left, right);
    world.run_for(secs(14));
    world.heal(left, right);
    world.stop_intercepting();
    world.run_until(call.completed(), secs(60));
    assert!(call.agree());
}

/// The caller nominates a direct pair, hears no answer, and nominates one over a relay in its place.
/// Then the direct pair works for the callee, too: it was not nominated last.
#[test]
fn a_nomination_that_was_given_up_is_not_followed_when_the_pair_works_at_last() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    let (left, right) = (world.host().using(turn), world.host());
    let call = world.call(left, right);
    let call = call.tune(left, |config| config.nomination.renomination = false);
    let (from, to) = (Node::from(left), Node::from(right));
    world.intercept(move |_, packet| {
        let answers = packet.sender == from
            && packet.toward == Some(to)
            && wire::is(&packet.octets, wire::Kind::Success);
        if answers { Fate::Drop } else { Fate::Pass }
    });
    world.run_until(|| call.sendable_at(left, ComponentId::FIRST).is_some(), secs(1));
    world.link(right, left, |link| link.cut = true);
    world.run_until(|| call.completed()() && call.hops(left) == 1, secs(20));
    world.heal(left, right);
    world.stop_intercepting();
    world.run_for(secs(20));
    assert!(call.completed()() && call.agree(), "{}, {}", call.pair(left), call.pair(right));
}
