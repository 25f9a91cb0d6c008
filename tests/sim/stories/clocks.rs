//! Drivers that wake late, machines that sleep, clocks that jump, systems that refuse to send.

use core::time::Duration;

use floe::AgentState;

use crate::world::call::Call;
use crate::world::host::Host;
use crate::world::nat::Nat;
use crate::world::{Seed, World, millis, secs};

/// A call between two behind NATs, and what is to be seen of it.
fn call_of<T>(
    seed: Seed,
    change: impl for<'w> Fn(Host<'w>) -> Host<'w>,
    look: impl FnOnce(&World, Call<'_>, [Host<'_>; 2]) -> T,
) -> T {
    let world = World::new(seed);
    let stun = world.stun("192.0.2.1:3478");
    let hosts = [0, 1].map(|_| change(world.host().behind(Nat::PORT_RESTRICTED).using(stun)));
    let call = world.call(hosts[0], hosts[1]);
    world.run_until(call.completed(), secs(10));
    look(&world, call, hosts)
}

/// A call that is up, and which states one side is in, some minutes long, after something happened to it.
fn survives(seed: Seed, happens: impl Fn(Host<'_>), minutes: u32) -> Vec<AgentState> {
    call_of(
        seed,
        |host| host,
        |world, call, [left, right]| {
            for host in [left, right] {
                call.talk(host, millis(100));
            }
            world.run_for(secs(5));
            let then = world.elapsed();
            happens(left);
            world.run_for(secs(60) * minutes);
            assert!(call.completed()(), "{:?} {:?}", call.states(left), call.states(right));
            assert!(call.agree());
            let heard = call.heard(left);
            world.run_for(secs(1));
            assert!(call.heard(left) > heard, "nothing is heard any more");
            call.states(left).into_iter().filter(|(at, _)| *at >= then).map(|(_, s)| s).collect()
        },
    )
}

#[test]
fn waking_late_delays_by_no_more_than_it_is_late_and_breaks_nothing() {
    let Seed(seed) = seed!();
    let ended = |seed, late| {
        call_of(
            Seed(seed),
            |host| host.wakes_late(late),
            |world, call, [left, right]| {
                let connected = world.elapsed();
                for host in [left, right] {
                    call.talk(host, millis(20));
                }
                world.run_for(secs(120));
                assert!(call.completed()() && call.agree());
                let lost = call.states(left).iter().any(|(_, s)| *s == AgentState::Disconnected);
                assert!(!lost, "{:?}", call.states(left));
                connected
            },
        )
    };
    for seed in seed..seed + 10 {
        let (exact, late) = (ended(seed, Duration::ZERO), ended(seed, millis(50)));
        // Each side is late for its own step: to gather, to check, to nominate.
        assert!(late <= exact + millis(300), "{exact:?} {late:?}");
    }
}

#[test]
fn a_process_that_stands_still_for_five_seconds_now_and_then_stays_in_its_call() {
    let states = call_of(
        seed!(),
        |host| host.stalls(0.002, secs(5)),
        |world, call, [left, right]| {
            for host in [left, right] {
                call.talk(host, millis(20));
            }
            world.run_for(secs(600));
            assert!(call.connected()(), "{:?}", call.states(left));
            call.states(left)
        },
    );
    assert!(states.iter().all(|(_, state)| *state != AgentState::Failed), "{states:?}");
}

#[test]
fn a_process_that_stood_still_reads_what_came_meanwhile() {
    assert_eq!(survives(seed!(), |left| left.stands_still(secs(2)), 1), []);
}

#[test]
fn a_machine_that_slept_finds_its_peer_again() {
    let Seed(seed) = seed!();
    for time in [secs(2), secs(10), secs(60), secs(600)] {
        survives(Seed(seed), |left| left.sleeps(time), 11);
    }
}

#[test]
fn a_machine_whose_clock_slept_with_it_finds_its_peer_again() {
    let Seed(seed) = seed!();
    for time in [secs(2), secs(10), secs(60), secs(600)] {
        survives(Seed(seed), |left| left.sleeps_with_its_clock(time), 11);
    }
}

#[test]
fn a_clock_that_is_set_back_by_a_second_is_not_noticed() {
    assert_eq!(survives(seed!(), |left| left.sets_its_clock_back(secs(1)), 1), []);
}

/// Of two offers that cross one is ignored: no endpoint hears of the time that it came at.
#[test]
fn clocks_that_are_set_back_while_restarts_cross_keep_the_pace() {
    let Seed(seed) = seed!();
    for n in 0..8 {
        let world = World::new(Seed(seed.wrapping_add(n)));
        let call = world.call(world.host(), world.host()).signalling(millis(100));
        world.run_until(call.completed(), secs(5));
        for host in call.hosts() {
            call.restart(host);
        }
        world.run_for(millis(110));
        for host in call.hosts() {
            host.sets_its_clock_back(millis(500));
        }
        world.run_until(call.completed(), secs(5));
        assert!(call.agree());
    }
}

#[test]
fn a_system_that_refuses_to_send_now_and_then_ends_no_call() {
    for told in [false, true] {
        call_of(
            seed!(),
            |host| if told { host.knows_no_way_for(0.1) } else { host.refuses_to_send(0.1) },
            |world, call, [left, _]| {
                call.talk(left, millis(20));
                world.run_for(secs(600));
                assert!(call.completed()(), "{told} {:?}", call.states(left));
                assert!(!call.states(left).iter().any(|(_, s)| *s == AgentState::Failed));
            },
        );
    }
}

#[test]
fn an_interface_that_goes_mute_or_deaf_for_ten_seconds_comes_back() {
    for mute in [true, false] {
        call_of(
            seed!(),
            |host| host,
            |world, call, [left, right]| {
                call.talk(right, millis(20));
                let ip = left.addresses()[0];
                if mute {
                    left.mutes(ip)
                } else {
                    left.deafens(ip)
                }
                world.run_for(secs(10));
                left.plugs_in(ip);
                world.run_for(secs(20));
                assert!(call.completed()() && call.agree(), "{:?}", call.states(left));
            },
        );
    }
}

/// The controlled side's consent is over when it wakes, that of the other one, whose clock stood
/// still, is not: nobody but the controlled side knows that the pair is lost. [rfc7675-5.1-13]
#[test]
fn who_slept_through_its_consent_is_not_left_on_a_pair_that_it_may_not_use() {
    let Seed(seed) = seed!();
    for n in 0..8 {
        let world = World::new(Seed(seed.wrapping_add(n)));
        let turn = world.turn("192.0.2.1:3478");
        let (left, right) = (world.host().using(turn), world.host().using(turn));
        let call = world.call(left, right);
        world.run_until(call.completed(), secs(5));
        left.sleeps_with_its_clock(secs(60));
        world.run_until(call.disconnected(right), secs(10));
        right.sleeps(secs(45));
        world.run_for(secs(100));
        assert!(call.completed()() && call.agree(), "{:?}", call.states(right));
    }
}

/// What worked does so no more, and what is checked yet never will: with a long Ta that takes its
/// time. [rfc7675-5.1-13]
#[test]
fn who_slept_before_the_nomination_is_met_soon_after() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    let (left, right) = (world.host().using(turn), world.host().using(turn));
    let call = world.call(left, right).tune_both(|config| config.ta = millis(100));
    world.run_until(call.is(left, AgentState::Connected), secs(5));
    right.sleeps_with_its_clock(secs(40));
    world.run_for(secs(5));
    turn.faulty(|faults| faults.dead = true);
    world.run_for(secs(35));
    world.run_until(|| call.completed()() && call.agree(), secs(10));
}

#[test]
fn a_machine_that_sleeps_sends_nothing_when_its_clock_is_set_back() {
    call_of(
        seed!(),
        |host| host,
        |world, _, [left, _]| {
            for stops in [true, false] {
                let sleeps = if stops { Host::sleeps_with_its_clock } else { Host::sleeps };
                sleeps(left, secs(40));
                let before = left.packets();
                world.run_for(secs(35));
                left.sets_its_clock_back(millis(500));
                world.run_for(secs(4));
                assert_eq!(left.packets(), before);
                world.run_for(secs(60));
            }
        },
    );
}
