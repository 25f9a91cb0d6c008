//! Consent: who stops answering is not sent anything any more.

use core::cell::RefCell;
use std::collections::BTreeSet;

use floe::AgentState::{Disconnected, Failed};
use floe::ComponentId;
use floe::config::BackupPolicy;
use floe::config::CheckBackoff;
use floe::event::RestartReason;

use crate::world::call::Call;
use crate::world::host::Host;
use crate::world::wire::{self, Kind};
use crate::world::{BEGINNING, Fate, Node, Seed, World, millis, secs};

fn connected_call(world: &World) -> (Host<'_>, Host<'_>, Call<'_>) {
    let (left, right) = (world.host(), world.host());
    let call = world.call(left, right).without_restarts();
    world.run_until(call.completed(), secs(2));
    world.run_for(secs(60));
    (left, right, call)
}

#[test]
fn a_cut_path_is_noticed() {
    let world = World::new(seed!());
    let (left, right, call) = connected_call(&world);

    let remote = call.pair(left).remote();
    world.cut(left, right);
    let cut = world.elapsed();
    world.run_until(call.disconnected(left), secs(10));
    world.run_until(call.restart_recommended(left), secs(25));
    world.run_until(call.failed(left), secs(31));

    let last = left.last_answer(remote).unwrap().since(BEGINNING);
    // At once, as nothing else is there, and again in good time before consent expires.
    let reasons: Vec<_> = call.recommendations(left).into_iter().map(|(_, why)| why).collect();
    let expected = [RestartReason::Silent, RestartReason::ConsentExpiring, RestartReason::Failed];
    assert_eq!(reasons, expected);
    let (recommended, _) = call.recommendations(left)[1];
    assert!(recommended <= last + secs(20), "recommended {:?} after", recommended - last);
    let at = |wanted| {
        call.states(left).into_iter().find(|(at, state)| *at >= cut && *state == wanted).unwrap().0
    };
    assert!(at(Disconnected) < recommended);
    assert!(at(Failed) >= last + secs(30) - millis(1), "failed {:?} after", at(Failed) - last);
}

/// [rfc7675-5.1-1] [rfc7675-5.1-2]
#[test]
fn data_stops_thirty_seconds_after_the_last_answer() {
    let world = World::new(seed!());
    let (left, right, call) = connected_call(&world);
    let remote = call.pair(left).remote();

    world.cut(left, right);
    world.run_for(secs(1));
    let last = left.last_answer(remote).unwrap();
    let now = || BEGINNING + world.elapsed();
    world.run_for((last + secs(30)).since(now()) - millis(1));
    assert_eq!(call.send(left, b"\x80just in time"), Ok(()));
    world.run_for(millis(2));
    assert!(call.send(left, b"\x80too late").is_err());
}

/// [rfc7675-5.1-8]
#[test]
fn nothing_is_sent_once_consent_has_expired() {
    let world = World::new(seed!());
    let (left, right, call) = connected_call(&world);
    call.talk(left, millis(20));

    world.cut(left, right);
    world.run_for(secs(31));
    assert!(!call.refused(left).is_empty());
    let (sent, packets) = (call.sent(left), left.packets());
    world.run_for(secs(300));
    assert_eq!((call.sent(left), left.packets()), (sent, packets));
}

/// The peer goes on sending but answers nothing: it steals no consent. [rfc7675-5.1-p2]
#[test]
fn who_only_talks_gives_no_consent() {
    let world = World::new(seed!());
    let (left, right, call) = connected_call(&world);
    let remote = call.pair(left).remote();
    call.talk(right, millis(20));
    call.talk(left, millis(20));

    world.intercept(move |_, packet| {
        let answer = wire::is(&packet.octets, Kind::Success);
        if answer && packet.sender == Node::Host(1) { Fate::Drop } else { Fate::Pass }
    });
    world.run_for(secs(1));
    let last = left.last_answer(remote).unwrap().since(BEGINNING);
    world.run_for(secs(40));
    let (refused, _) = call.refused(left)[0];
    assert!(
        refused >= last + secs(30) && refused <= last + secs(30) + millis(20),
        "{:?}",
        refused - last
    );
}

/// [rfc7675-5.2-p1]
#[test]
fn an_authentic_403_revokes_consent_at_once() {
    let world = World::new(seed!());
    let (left, right, call) = connected_call(&world);
    let password = call.description(right).streams[0].credentials.clone().unwrap().password;

    world.intercept(move |_, packet| match wire::binding(&packet.octets) {
        Some((Kind::Success, id)) if packet.sender == Node::Host(1) => {
            let code = (wire::ERROR_CODE, wire::error_code(403));
            let mut octets = wire::message(0x0111, id, &[code]);
            wire::add_integrity(&mut octets, &password);
            wire::add_fingerprint(&mut octets);
            Fate::Replace(octets)
        }
        _ => Fate::Pass,
    });
    assert_eq!(call.send(left, b"\x80allowed"), Ok(()));
    world.run_for(millis(6_050));
    assert!(call.send(left, b"\x80refused").is_err());
}

/// [rfc7675-5.2-1]
#[test]
fn a_403_that_nobody_signed_revokes_nothing() {
    let world = World::new(seed!());
    let (left, _, call) = connected_call(&world);

    world.intercept(move |_, packet| match wire::binding(&packet.octets) {
        Some((Kind::Success, id)) if packet.sender == Node::Host(1) => {
            let code = (wire::ERROR_CODE, wire::error_code(403));
            let mut octets = wire::message(0x0111, id, &[code]);
            wire::add_fingerprint(&mut octets);
            Fate::Replace(octets)
        }
        _ => Fate::Pass,
    });
    world.run_for(secs(7));
    world.stop_intercepting();
    assert_eq!(call.send(left, b"\x80allowed"), Ok(()));
    world.run_for(secs(60));
    assert_eq!(call.send(left, b"\x80allowed"), Ok(()));
}

#[test]
fn a_short_outage_passes() {
    let world = World::new(seed!());
    let (left, right, call) = connected_call(&world);

    world.cut(left, right);
    world.run_until(call.disconnected(left), secs(10));
    world.heal(left, right);
    world.run_until(call.completed(), secs(10));
    assert_eq!(call.send(left, b"\x80back"), Ok(()));
    assert!(call.agree());
}

/// One direction dies. Whose requests are not answered stops first, and nobody sends in vain for
/// longer than consent lasts.
#[test]
fn a_path_that_is_cut_one_way_is_noticed_by_both() {
    let world = World::new(seed!());
    let (left, right, call) = connected_call(&world);

    world.link(left, right, |link| link.cut = true);
    world.run_until(call.disconnected(left), secs(10));
    world.run_until(call.disconnected(right), secs(10));
    world.run_until(call.failed(left), secs(31));
    world.run_until(call.failed(right), secs(31));
}

/// After close the agent is gone: whoever still checks it learns that nobody of that name is here,
/// and nothing else is sent. [rfc8489-9.1.3-5] [rfc8445-7.3-4]
#[test]
fn a_closed_agent_is_silent() {
    let world = World::new(seed!());
    let (left, right, call) = connected_call(&world);

    world.intercept(|_, packet| {
        if packet.sender == Node::Host(0) {
            let code = wire::attribute(&packet.octets, wire::ERROR_CODE).map(|c| c[2..4].to_vec());
            assert_eq!(code, Some(vec![4, 1]), "a closed agent sent something");
        }
        Fate::Pass
    });
    call.agent_mut(left, |agent| agent.close());
    let events = call.events(left).len();
    world.run_for(secs(120));
    assert_eq!(call.events(left).len(), events);
    assert_eq!(call.state(left), Some(floe::AgentState::Closed));
    assert!(call.send(right, b"\x80anybody there?").is_err());
}

/// A side that keeps nothing in reserve asks for no consent there, so it has lost none when the
/// other side goes on over its own reserve.
#[test]
fn what_the_peer_alone_keeps_in_reserve_works_when_the_peer_takes_it() {
    for n in 0..30 {
        let world = World::new(Seed(n));
        let (left, right) = (world.host().with_addresses(2), world.host());
        let call = world.call(left, right).without_restarts();
        let call = call.tune(right, |config| config.backup = BackupPolicy::Off);
        world.run_until(call.completed(), secs(5));
        world.run_for(secs(10 + 2 * n));
        left.loses(call.pair(left).0.base.ip());
        world.run_until(|| call.completed()() && call.agree(), secs(2));
        world.run_for(secs(60));
        assert!(call.completed()() && call.agree());
    }
}

/// One component's pair is lost, and with it the checklist; then the other's goes silent, too.
/// [rfc8445-6.1.3-p1]
#[test]
fn a_failed_session_stays_so_when_another_component_goes_silent() {
    let world = World::new(seed!());
    let (left, right) = (world.host().with_streams(&[2]), world.host().with_streams(&[2]));
    let call = world.call(left, right).tune_both(|config| config.streams = vec![2]);
    let call = call.without_restarts();
    world.run_until(call.completed(), secs(2));
    let second = ComponentId::new(0, 2).unwrap();
    let lost = [left, right].map(|side| call.pair_of(side, second).0.base);
    world.intercept(move |_, packet| match lost.contains(&packet.to) {
        true => Fate::Drop,
        false => Fate::Pass,
    });
    world.run_until(call.failed(left), secs(40));
    world.cut(left, right);
    let changes = call.states(left).len();
    world.run_for(secs(10));
    assert_eq!(call.state(left), Some(Failed));
    assert_eq!(call.states(left).len(), changes, "{:?}", call.states(left));
}

/// [rfc8445-7.3.1.4-p6]
#[test]
fn a_failed_session_is_revived_by_a_late_check() {
    let world = World::new(seed!());
    let (left, right) = (world.host(), world.host());
    let patient = |config: &mut floe::config::AgentConfig| config.retransmission.rto = secs(2);
    let call = world.call(left, right).tune(right, patient).without_restarts();
    world.cut(left, right);
    world.run_until(call.failed(left), secs(45));
    world.heal(left, right);
    world.run_until(call.completed(), secs(30));
    assert!(call.agree());
}

/// Answers that take longer than the time after which one is usually missing are not missing.
#[test]
fn on_a_long_path_consent_takes_no_more_checks_than_on_a_short_one() {
    let packets = [25, 450, 1_200].map(|delay| {
        let world = World::new(seed!());
        world.links(|link| link.delay = millis(delay));
        let (left, right) = (world.host(), world.host());
        let call = world.call(left, right).without_restarts();
        world.run_until(call.completed(), secs(15));
        world.run_for(secs(60));
        let before = left.packets();
        world.run_for(secs(120));
        assert!(call.completed()(), "{:?}", call.states(left));
        left.packets() - before
    });
    // A check in 4 s at the most, and an answer to one.
    assert!(packets.iter().all(|count| *count <= 60), "{packets:?}");
}

/// Nominations are not answered for long, and nor are many consent checks: these make room for one
/// another, and the nominations are sent again.
#[test]
fn a_nomination_outlives_the_consent_checks_that_nobody_answers() {
    let world = World::new(seed!());
    let (left, right) = (world.host().with_streams(&[2]), world.host().with_streams(&[2]));
    let call = world.call(left, right).tune_both(|config| config.streams = vec![2]);
    let call = call.without_restarts().tune(left, |config| {
        config.check_backoff = CheckBackoff::Rfc;
        config.limits.pairs = 2;
    });
    let (from, nominations) = (Node::from(left), RefCell::new(BTreeSet::new()));
    world.intercept(move |now, packet| {
        let Some((kind, id)) = wire::binding(&packet.octets) else { return Fate::Pass };
        if wire::attribute(&packet.octets, wire::USE_CANDIDATE).is_some() {
            nominations.borrow_mut().insert(id);
        }
        let answers = kind == Kind::Success && packet.sender != from;
        let missing = now >= BEGINNING + secs(1) || nominations.borrow().contains(&id);
        let lost = answers && missing && now < BEGINNING + secs(20);
        if lost { Fate::Drop } else { Fate::Pass }
    });
    world.run_until(call.completed(), secs(40));
    assert!(call.agree());
}
