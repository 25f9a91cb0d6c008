//! Links that are worse than lossy.

use floe::AgentState;

use crate::world::call::Call;
use crate::world::link::{Bandwidth, Bursts, Link};
use crate::world::nat::Nat;
use crate::world::{Seed, World, millis, secs};

/// A call over links like these, and what is to be seen of it.
fn call_over(seed: Seed, change: impl Fn(&mut Link), look: impl FnOnce(&World, Call<'_>)) {
    let world = World::new(seed);
    world.links(change);
    let stun = world.stun("192.0.2.1:3478");
    let turn = world.turn("192.0.2.2:3478");
    let hosts = [0, 1].map(|_| world.host().behind(Nat::PORT_RESTRICTED).using(stun).using(turn));
    let call = world.call(hosts[0], hosts[1]);
    world.run_until(call.completed(), secs(30));
    look(&world, call);
}

fn never_failed(call: Call<'_>) -> bool {
    call.hosts()
        .into_iter()
        .all(|host| !call.states(host).iter().any(|(_, state)| *state == AgentState::Failed))
}

/// Nothing that the agent sends is longer than a packet of the smallest IPv4 network.
#[test]
fn a_black_hole_for_large_packets_harms_no_check() {
    call_over(
        seed!(),
        |link| link.mtu = Some(576),
        |world, call| {
            let [left, right] = call.hosts();
            assert_eq!(call.hops(left), 0);
            call.send(left, &[0x80; 1_000]).unwrap();
            call.send(left, &[0x80; 500]).unwrap();
            world.run_for(secs(120));
            assert_eq!(call.heard(right), 1, "the small one");
            assert!(call.completed()() && never_failed(call));
        },
    );
}

#[test]
fn bursts_of_loss_end_no_call() {
    let bursts = Some(Bursts { quiet: secs(20), bad: secs(2), loss: 1.0 });
    call_over(
        seed!(),
        |link| link.bursts = bursts,
        |world, call| {
            for host in call.hosts() {
                call.talk(host, millis(50));
            }
            world.run_for(secs(1_800));
            assert!(never_failed(call));
        },
    );
}

#[test]
fn a_slow_link_with_a_short_queue_is_enough_to_meet() {
    let bandwidth = Some(Bandwidth { rate: 64_000, queue: 4_000 });
    call_over(
        seed!(),
        |link| link.bandwidth = bandwidth,
        |world, call| {
            assert!(world.elapsed() < secs(5), "{:?}", world.elapsed());
            world.run_for(secs(120));
            assert!(call.agree() && never_failed(call));
        },
    );
}

/// No check is forgotten, and no nomination given up, before its answer can come.
#[test]
fn a_round_trip_of_five_seconds_is_enough_to_meet() {
    let world = World::new(seed!());
    world.links(|link| link.delay = millis(2_500));
    let call = world.call(world.host(), world.host());
    world.run_until(call.completed(), secs(15));
    assert!(call.agree() && never_failed(call));
}

/// What was clogged comes all at once, and late: answers to requests that were given up.
#[test]
fn a_path_that_is_clogged_for_ten_seconds_is_used_again() {
    call_over(
        seed!(),
        |_| {},
        |world, call| {
            let [left, right] = call.hosts();
            call.talk(left, millis(20));
            world.clog(left, right, secs(10));
            world.run_for(secs(40));
            assert!(call.completed()() && call.agree() && never_failed(call));
            assert_eq!(call.hops(left), 0, "{:?}", call.states(left));
        },
    );
}
