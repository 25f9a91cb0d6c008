//! What routers do beyond mapping and filtering, and what agents make of it.

use floe::AgentState;

use crate::world::call::Call;
use crate::world::nat::{Depends, Exhaustion, Nat, Pooling, Reboot};
use crate::world::{Seed, World, millis, secs};

/// A caller behind a Linux router, or one that does not confuse its own packets with others', whose
/// callee's checks come before its own; over how many relays they meet.
fn hops_when_called_first(seed: Seed, clash: bool, filtering: Depends) -> usize {
    let world = World::new(seed);
    let stun = world.stun("192.0.2.1:3478");
    let turn = world.turn("192.0.2.2:3478");
    let left = world.host().behind(Nat { clash, ..Nat::LINUX }).using(stun).using(turn);
    let right = world.host().behind(Nat::new(Depends::Independent, filtering)).using(stun);
    // The answer takes its time: the callee's checks are there long before it.
    let call = world.call(left, right).signalling(millis(400));
    world.run_until(call.completed(), secs(20));
    world.run_for(secs(10));
    assert!(call.agree(), "{} {}", call.pair(left), call.pair(right));
    call.hops(left)
}

#[test]
fn a_linux_router_that_took_the_first_check_for_its_own_costs_a_relay_and_no_more() {
    let seed = seed!();
    assert_eq!(hops_when_called_first(seed, false, Depends::AddressAndPort), 0);
    assert_eq!(hops_when_called_first(seed, true, Depends::AddressAndPort), 1);
    // Whoever's filter lets the other port in finds it as a peer-reflexive candidate.
    assert_eq!(hops_when_called_first(seed, true, Depends::Address), 0);
}

/// A call across a NAT that reboots while both talk; the states that the host behind it was in.
fn states_after(seed: Seed, reboot: Reboot) -> Vec<AgentState> {
    let world = World::new(seed);
    let stun = world.stun("192.0.2.1:3478");
    let left = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
    let right = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(5));
    for host in [left, right] {
        call.talk(host, millis(20));
    }
    world.run_for(secs(5));
    left.nats_reboot(reboot);
    let rebooted = world.elapsed();
    world.run_for(secs(60));
    assert!(call.completed()() && call.agree(), "{:?}", call.states(left));
    let after = call.states(left).into_iter().filter(|(at, _)| *at >= rebooted);
    after.map(|(_, state)| state).collect()
}

#[test]
fn a_router_that_gives_the_same_ports_after_its_reboot_is_not_noticed() {
    assert_eq!(states_after(seed!(), Reboot::SamePorts), []);
}

#[test]
fn a_router_with_other_ports_or_another_address_costs_a_restart() {
    let seed = seed!();
    for reboot in [Reboot::NewPorts, Reboot::NewAddress] {
        assert!(!states_after(seed, reboot).contains(&AgentState::Failed), "{reboot:?}");
    }
}

/// Over how many relays two meet, one of whom is behind `nat`.
fn hops_behind(seed: Seed, nat: Nat) -> usize {
    let world = World::new(seed);
    let stun = world.stun("192.0.2.1:3478");
    let turn = world.turn("192.0.2.2:3478");
    let left = world.host().behind(nat).using(stun).using(turn);
    let right = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(20));
    call.hops(left)
}

#[test]
fn a_router_without_a_mapping_to_spare_leaves_the_relay() {
    let full = Nat { limit: Some((2, Exhaustion::Refuse)), ..Nat::SYMMETRIC };
    assert_eq!(hops_behind(seed!(), full), 1);
}

#[test]
fn arbitrary_pooling_does_not_keep_two_apart_who_have_a_relay() {
    let several = Nat { addresses: 4, pooling: Pooling::Arbitrary, ..Nat::SYMMETRIC };
    assert_eq!(hops_behind(seed!(), several), 1);
}

#[test]
fn a_mapping_that_an_icmp_error_ended_is_made_anew() {
    let world = World::new(seed!());
    let stun = world.stun("192.0.2.1:3478");
    let fragile = Nat { icmp_kills: true, ..Nat::PORT_RESTRICTED };
    let left = world.host().behind(fragile).using(stun);
    let right = world.host().using(stun);
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(5));
    let before = call.pair(right).remote();
    call.talk(left, millis(20));
    world.link(left, right, |link| link.unreachable = true);
    world.run_for(secs(1));
    world.link(left, right, |link| link.unreachable = false);
    world.run_for(secs(30));
    assert!(they_meet(call), "{:?}", call.states(left));
    assert_ne!(call.pair(right).remote(), before);
}

fn they_meet(call: Call<'_>) -> bool {
    call.completed()() && call.agree()
}
