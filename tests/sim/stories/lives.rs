//! Whole lives, many of them: what the simulator's speed is measured by.

use crate::world::nat::{Depends, Nat};
use crate::world::{Seed, World, secs};

/// How many lives: `SIM_LIVES` if it is set.
fn lives() -> u64 {
    let text = std::env::var("SIM_LIVES").ok();
    text.map_or(20, |text| text.parse().expect("SIM_LIVES is a number"))
}

/// Two hosts behind NATs, a STUN and a TURN server: they meet, live for a minute and close.
fn live(seed: u64) -> u64 {
    use Depends::{Address, AddressAndPort, Independent};
    let world = World::new(Seed(seed));
    let stun = world.stun("192.0.2.1:3478");
    let turn = world.turn("192.0.2.2:3478");
    let axes = [Independent, Address, AddressAndPort];
    let nat = |n: u64| Nat::new(axes[(n % 3) as usize], axes[(n / 3 % 3) as usize]);
    let left = world.host().behind(nat(seed % 81)).using(stun).using(turn);
    let right = world.host().behind(nat(seed % 81 / 9)).using(stun).using(turn);
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(10));
    world.run_for(secs(60));
    for host in [left, right] {
        call.agent_mut(host, |agent| agent.close());
    }
    world.run_for(secs(5));
    assert_eq!(turn.allocations(), 0, "all is given back");
    world.trace()
}

#[test]
fn many_lives_end_well() {
    let Seed(seed) = seed!();
    for n in 0..lives() {
        live(seed.wrapping_add(n));
    }
}

#[test]
fn a_life_is_the_same_each_time() {
    let Seed(seed) = seed!();
    for n in 0..5 {
        assert_eq!(live(seed ^ n), live(seed ^ n));
    }
}
