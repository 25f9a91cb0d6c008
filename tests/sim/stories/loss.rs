//! Lossy links: hundreds of seeds, and how long they took.

use core::time::Duration;

use floe::ComponentId;

use crate::world::{Seed, World, secs};

/// Runs `seeds` calls and returns how long each took until both sides could send, and the mean
/// number of packets until then.
fn connect(seeds: u64, addresses: usize, loss: f64) -> (Vec<Duration>, u64) {
    let Seed(seed) = seed!();
    let mut times = Vec::new();
    let mut packets = 0;
    for n in 0..seeds {
        let world = World::new(Seed(seed.wrapping_add(n)));
        world.links(|link| link.loss = loss);
        let left = world.host().with_addresses(addresses);
        let right = world.host().with_addresses(addresses);
        let call = world.call(left, right);
        let took = world.run_until(call.both_sendable(), secs(35));
        for side in [left, right] {
            assert!(call.sendable_at(side, ComponentId::FIRST).is_some_and(|at| at <= took));
        }
        packets += world.packets();
        times.push(took);
    }
    times.sort();
    (times, packets / seeds)
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

#[test]
fn at_thirty_percent_loss_each_way_everybody_connects() {
    for addresses in [1, 4] {
        let (times, packets) = connect(300, addresses, 0.3);
        let (p50, p99) = (percentile(&times, 50), percentile(&times, 99));
        let worst = times[times.len() - 1];
        eprintln!(
            "30 % loss, {addresses} x {addresses}: p50 {p50:?} p99 {p99:?} worst {worst:?}, {packets} packets"
        );
        assert!(p99 <= Duration::from_millis(3_500), "{p99:?}");
    }
}

/// Four candidates on each side, 50 ms round trip.
#[test]
fn with_some_choice_loss_hardly_delays() {
    let (times, packets) = connect(300, 4, 0.3);
    assert!(percentile(&times, 50) <= Duration::from_millis(450), "{:?}", percentile(&times, 50));
    assert!(percentile(&times, 99) <= Duration::from_millis(1_500), "{:?}", percentile(&times, 99));
    assert!(packets <= 40, "{packets}");
}

/// An hour at 20 % loss each way: nobody is told that the path broke.
#[test]
fn a_lossy_hour_is_no_disconnection() {
    let world = World::new(seed!());
    world.links(|link| link.loss = 0.2);
    let (left, right) = (world.host(), world.host());
    let call = world.call(left, right).without_restarts();
    world.run_until(call.completed(), secs(30));
    world.run_for(secs(3600));
    assert!(call.completed()());
    for side in [left, right] {
        let failed = call.states(side).iter().any(|(_, s)| *s == floe::AgentState::Failed);
        assert!(!failed, "{:?}", call.states(side));
    }
}

/// Duplicates, reordering and flipped bits on top.
#[test]
fn a_bad_link_is_still_a_link() {
    let Seed(seed) = seed!();
    for n in 0..50 {
        let world = World::new(Seed(seed.wrapping_add(n)));
        world.links(|link| {
            link.loss = 0.1;
            link.duplicate = 0.1;
            link.reorder = 0.25;
            link.corrupt = 0.05;
            link.jitter = Duration::from_millis(100);
        });
        let (left, right) = (world.host().with_addresses(2), world.host().with_addresses(2));
        let call = world.call(left, right);
        world.run_until(call.completed(), secs(35));
        world.run_for(secs(30));
        assert!(call.agree());
    }
}
