//! Signalling that is slow, out of order, lossy, repetitive, or away.

use floe::Event;
use floe::config::Mode;
use floe::event::RestartReason;

use crate::world::call::Call;
use crate::world::nat::Nat;
use crate::world::rates::Rates;
use crate::world::signalling::Signal;
use crate::world::{Seed, World, millis, secs};

/// A call whose messages travel like this, and what is to be seen of it.
fn call_with(seed: u64, rates: Rates, look: impl FnOnce(&World, Call<'_>)) {
    let world = World::new(Seed(seed));
    let stun = world.stun("192.0.2.1:3478");
    let hosts = [0, 1].map(|_| world.host().behind(Nat::PORT_RESTRICTED).using(stun));
    let call = world.call(hosts[0], hosts[1]).signals(rates);
    world.run_until(call.completed(), secs(120));
    look(&world, call);
}

/// Both restart at the same time, and meet anew.
fn restarts(world: &World, call: Call<'_>) {
    restart_both(call);
    world.run_for(secs(120));
    assert!(call.completed()() && call.agree(), "{:?}", call.hosts().map(|h| call.states(h)));
}

fn restart_both(call: Call<'_>) {
    for host in call.hosts() {
        call.restart(host);
    }
}

#[test]
fn an_answer_that_takes_half_a_minute_is_waited_for() {
    let Seed(seed) = seed!();
    for delay in [[secs(30), secs(0)], [secs(0), secs(30)], [secs(15), secs(5)]] {
        let rates = Rates { delay, ..Rates::default() };
        call_with(seed, rates, |_, call| assert!(call.agree()));
    }
}

#[test]
fn restarts_that_cross_end_in_one_session() {
    let Seed(seed) = seed!();
    for n in 0..20 {
        let jitter = millis(20 * n);
        let rates = Rates { delay: [millis(50); 2], jitter, ..Rates::default() };
        call_with(seed ^ n, rates, restarts);
    }
}

#[test]
fn messages_that_are_lost_late_repeated_or_stale_end_no_call() {
    let Seed(seed) = seed!();
    let fine = Rates { delay: [millis(50); 2], ..Rates::default() };
    let bad = [
        Rates { loss: 0.3, ..fine },
        Rates { duplicate: 1.0, jitter: millis(500), ..fine },
        Rates { late: secs(3), ..fine },
        Rates { stale: (1.0, secs(20)), ..fine },
        Rates { endless: true, ..fine },
    ];
    for (rates, n) in bad.into_iter().zip(0..) {
        call_with(seed ^ n, rates, restarts);
    }
}

#[test]
fn what_a_server_that_is_away_keeps_arrives_when_it_is_back() {
    let Seed(seed) = seed!();
    call_with(seed, Rates::default(), |world, call| {
        let [left, _] = call.hosts();
        call.signalling_is_away(secs(20));
        call.restart(left);
        world.run_for(secs(30));
        assert!(call.completed()() && call.agree());
    });
}

/// As who is told of it several times while its own offer is not answered yet.
#[test]
fn a_restart_that_is_asked_for_again_and_again_is_done_once_more() {
    let Seed(seed) = seed!();
    call_with(seed, Rates { delay: [millis(50); 2], ..Rates::default() }, |world, call| {
        let [left, right] = call.hosts();
        for _ in 0..5 {
            call.restart(left);
        }
        world.run_for(secs(10));
        let events = call.events(right);
        let by_peer = |(_, event): &&(_, Event)| matches!(event, Event::RestartedByPeer { .. });
        assert_eq!(events.iter().filter(by_peer).count(), 2);
        assert!(call.completed()() && call.agree());
    });
}

/// It reminds a side that slept of its offer, which by then has answered and restarted itself.
#[test]
fn an_offer_that_is_said_again_after_its_answer_ends_no_call() {
    let Seed(seed) = seed!();
    for n in 0..20 {
        call_with(seed ^ n, Rates { delay: [millis(50); 2], ..Rates::default() }, |world, call| {
            let [left, right] = call.hosts();
            left.sleeps_with_its_clock(secs(50));
            world.run_for(secs(10));
            call.restart(right);
            world.run_for(secs(5));
            call.restart(left);
            world.run_for(secs(50));
            assert!(call.completed()() && call.agree(), "{n} {:?}", call.states(left));
        });
    }
}

/// Each of the two components has a socket more.
#[test]
fn what_is_recommended_for_each_component_is_one_restart() {
    let world = World::new(seed!());
    let (left, right) = (world.host().with_streams(&[2]), world.host().with_streams(&[2]));
    let call = world.call(left, right).tune_both(|config| config.streams = vec![2]);
    world.run_until(call.completed(), secs(5));
    world.run_for(secs(1));
    left.joins_internet();
    world.run_for(secs(5));
    assert_eq!(call.recommendations(left).len(), 1);
    let events = call.events(right);
    let by_peer = |(_, event): &&(_, Event)| matches!(event, Event::RestartedByPeer { .. });
    assert_eq!(events.iter().filter(by_peer).count(), 1);
}

/// The consent of one component ends before that of the other, on which it is missed.
#[test]
fn what_two_components_lose_with_one_path_calls_for_one_restart() {
    let world = World::new(seed!());
    let (left, right) = (world.host().with_streams(&[2]), world.host().with_streams(&[2]));
    let call = world.call(left, right).without_restarts().tune_both(|config| {
        config.streams = vec![2];
        config.nomination.renomination = false;
    });
    world.run_until(call.completed(), secs(5));
    world.run_for(secs(1));
    world.cut(left, right);
    world.run_for(secs(60));
    for side in [left, right] {
        let failed = |(_, reason): &&(_, RestartReason)| *reason == RestartReason::Failed;
        let recommended = call.recommendations(side);
        assert_eq!(recommended.iter().filter(failed).count(), 1, "{recommended:?}");
    }
}

/// Both restarted at once, and one of the offers was answered before the other one came.
#[test]
fn an_offer_that_was_given_up_for_another_one_ends_no_call_when_it_comes_late() {
    let Seed(seed) = seed!();
    for n in 0..20 {
        let world = World::new(Seed(seed ^ n));
        let (left, right) = (world.host(), world.host());
        let call = world.call(left, right).tune(right, |config| config.mode = Mode::Lite);
        let call = call.signalling(millis(300)).deliver_signals(|from, signal| {
            let late = from == 1 && matches!(signal, Signal::Offer(_));
            vec![if late { millis(800) } else { millis(0) }]
        });
        world.run_until(call.completed(), secs(5));
        restart_both(call);
        world.run_for(millis(700));
        call.restart(left);
        world.run_for(secs(20));
        assert!(call.completed()() && call.agree(), "{n} {:?}", call.states(right));
    }
}
