//! Same seed, same octets.

use core::time::Duration;

use crate::world::nat::Nat;
use crate::world::{Seed, World, millis, secs};

/// A life with everything in it; returns the hash of every packet and event.
fn life(seed: Seed, nag: bool) -> u64 {
    let world = World::new(seed);
    if nag {
        world.nag();
    }
    world.links(|link| {
        link.loss = 0.05;
        link.duplicate = 0.05;
        link.reorder = 0.1;
        link.jitter = Duration::from_millis(20);
    });
    let stun = world.stun("192.0.2.1:3478");
    let turn = world.turn("192.0.2.2:3478").auth(|auth| auth.nonce_lifetime = secs(20));
    let hub = world.host().with_addresses(2).also_v6().using(stun).using(turn);
    let near = world.host().behind(Nat::SYMMETRIC).using(stun).using(turn);
    let far = world.host().behind(Nat::PORT_RESTRICTED).with_addresses(2).using(stun);
    let calls = [world.call(near, hub), world.call(far, hub).signalling(millis(80))];
    for call in calls {
        world.run_until(call.connected(), secs(39));
        call.talk(hub, millis(50));
    }
    world.run_for(secs(10));
    calls[1].restart(far);
    world.run_for(secs(10));
    near.reboot_nats();
    world.run_for(secs(30));
    turn.change(|server| server.restart());
    world.run_for(secs(60));
    assert!(turn.relayed()[0] > 0);
    world.trace()
}

#[test]
fn the_same_seed_gives_the_same_octets() {
    let seed = seed!();
    assert_eq!(life(seed, false), life(seed, false));
}

#[test]
fn another_seed_gives_other_octets() {
    let Seed(seed) = seed!();
    assert_ne!(life(Seed(seed), false), life(Seed(seed ^ 1), false));
}

/// Whoever drives the endpoint may wake it early and twice.
#[test]
fn waking_early_and_twice_changes_nothing() {
    let seed = seed!();
    assert_eq!(life(seed, false), life(seed, true));
}
