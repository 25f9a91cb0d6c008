//! Restarts: the old path carries data until the new one can.

use floe::Event;
use floe::config::{CheckBackoff, Role};

use crate::world::call::Call;
use crate::world::host::Host;
use crate::world::nat::{Depends, Nat, Reboot};
use crate::world::stun_server::Temper;
use crate::world::{Fate, Seed, World, millis, secs};

/// Both sides talk while `disturb` happens; then every datagram sent must have arrived.
fn nothing_is_lost(world: &World, call: Call<'_>, disturb: impl Fn(Host<'_>)) {
    let [left, right] = call.hosts();
    world.run_until(call.completed(), secs(5));
    let ufrag = |host| call.description(host).streams[0].credentials.clone().unwrap().ufrag;
    let old = [ufrag(left), ufrag(right)];
    call.talk(left, millis(10));
    call.talk(right, millis(10));
    world.run_for(secs(2));
    for instigator in [left, right] {
        disturb(instigator);
        world.run_for(secs(5));
    }
    call.hush(left);
    call.hush(right);
    world.run_for(secs(1));

    assert!(call.completed()());
    assert!(old[0] != ufrag(left) && old[1] != ufrag(right), "new credentials");
    assert!(call.refused(left).is_empty() && call.refused(right).is_empty());
    assert_eq!(call.heard(right), call.sent(left));
    assert_eq!(call.heard(left), call.sent(right));
    assert!(call.agree());
    assert_eq!(call.rejections(left) + &call.rejections(right), "");
}

/// [rfc8445-9-1] [rfc8445-9-3] [rfc8445-9-p1] [rfc7675-5.1-10]
#[test]
fn a_restart_loses_no_data() {
    let world = World::new(seed!());
    let call = world.call(world.host(), world.host());
    nothing_is_lost(&world, call, |host| call.restart(host));
}

/// [rfc8445-9-p1]
#[test]
fn a_restart_behind_nats_loses_no_data() {
    for slow in [millis(0), millis(200)] {
        let world = World::new(seed!());
        let stun = world.stun("192.0.2.1:3478");
        let left = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
        let right = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
        let call = world.call(left, right).signalling(slow);
        nothing_is_lost(&world, call, |host| call.restart(host));
    }
}

#[test]
fn a_restart_with_all_candidates_in_one_description_loses_no_data() {
    let world = World::new(seed!());
    let stun = world.stun("192.0.2.1:3478");
    let left = world.host().behind(Nat::FULL_CONE).using(stun);
    let right = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
    let call = world.call(left, right).vanilla();
    nothing_is_lost(&world, call, |host| call.restart(host));
}

/// The peer hears of a restart once for each.
#[test]
fn a_restart_is_told_to_the_other_side_once() {
    let world = World::new(seed!());
    let (left, right) = (world.host(), world.host());
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(2));
    call.restart(left);
    world.run_for(secs(10));
    let told = |host| {
        let events = call.events(host);
        events.iter().filter(|(_, e)| matches!(e, Event::RestartedByPeer { .. })).count()
    };
    assert_eq!((told(left), told(right)), (0, 1));
}

/// One of two addresses dies: the call goes on over the other, by itself.
#[test]
fn a_dead_address_is_replaced() {
    let world = World::new(seed!());
    let (left, right) = (world.host().with_addresses(2), world.host());
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(2));
    world.run_for(secs(10));
    call.talk(left, millis(20));
    call.talk(right, millis(20));

    let dead = call.pair(left).0.local.address.ip();
    world.intercept(move |_, packet| {
        let hit = packet.from.ip() == dead || packet.to.ip() == dead;
        if hit { Fate::Drop } else { Fate::Pass }
    });
    world.run_for(secs(30));
    let (heard_left, heard_right) = (call.heard(left), call.heard(right));
    world.run_for(secs(5));
    assert!(call.heard(left) >= heard_left + 240, "the right is heard again");
    assert!(call.heard(right) >= heard_right + 240, "the left is heard again");
    assert_ne!(call.pair(left).0.local.address.ip(), dead);
    assert!(call.agree());
}

/// The network is gone for a minute, longer than consent lasts: a restart brings the call back.
#[test]
fn a_call_comes_back_after_a_long_outage() {
    let world = World::new(seed!());
    let stun = world.stun("192.0.2.1:3478");
    let left = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
    let right = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(3));

    world.cut(left, right);
    world.run_for(secs(60));
    world.heal(left, right);
    if !world.happens(call.completed(), secs(30)) {
        call.restart(left);
        world.run_until(call.completed(), secs(5));
    }
    assert!(call.agree());
    assert_eq!(call.send(left, b"\x80back"), Ok(()));
}

/// One host on two networks: the one with the way to the peer dies, the other one takes over.
#[test]
fn a_host_on_two_networks_has_a_second_way() {
    let world = World::new(seed!());
    let stun = world.stun("192.0.2.1:3478");
    let second = world.lan().behind(Nat::PORT_RESTRICTED);
    let left = world.host().behind(Nat::PORT_RESTRICTED).also_on(second).using(stun);
    let right = world.host().using(stun);
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(3));
    world.run_for(secs(10));

    let dead = call.pair(left).0.base.ip();
    world.inner().unplug(left.id, dead);
    world.run_for(secs(45));
    assert!(call.completed()(), "{:?}", call.states(left));
    assert_ne!(call.pair(left).0.base.ip(), dead);
    call.send(left, b"\x80over the other").unwrap();
    world.run_for(millis(25));
    assert_eq!(call.heard(right), 1);
}

/// The candidates of before are signalled at once with a restart: one that is no more keeps the one
/// in its place, which has its foundation, from being checked for no more than a second.
#[test]
fn after_a_reboot_of_a_nat_a_restart_finds_the_direct_path() {
    for old in [0, 1] {
        let world = World::new(seed!());
        let turn = world.turn("192.0.2.1:3478");
        let stun = world.stun("192.0.2.9:3478");
        let left = world.host().behind(Nat::SYMMETRIC).using(turn).using(stun);
        let right = world.host().behind(Nat::ADDRESS_RESTRICTED).using(turn).using(stun);
        let call = world.call(left, right);
        let call = call.tune([left, right][old], |config| config.nomination.renomination = false);
        world.run_until(call.completed(), secs(5));
        right.reboot_nats();
        call.restart(left);
        world.run_for(secs(8));
        assert!(call.completed()() && call.agree(), "{}, {}", call.pair(left), call.pair(right));
        assert_eq!(call.hops(left), 0, "{}", call.pair(left));
    }
}

/// The relay of before works before the answer has come: a pair over it is not nominated for good
/// while the other side has checked nothing yet.
#[test]
fn no_relay_is_nominated_for_good_before_the_peer_begins() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    let nat = Nat::new(Depends::AddressAndPort, Depends::Independent);
    let left = world.host().behind(nat).using(turn);
    let right = world.host();
    let call = world.call(left, right).vanilla().signalling(millis(900));
    let call = call.role(left, Role::Controlled).role(right, Role::Controlling);
    let call = call.tune(right, |config| config.nomination.renomination = false);
    world.cut(left, right);
    world.run_until(call.completed(), secs(8));
    assert_eq!(call.hops(left), 1, "{}", call.pair(left));
    world.heal(left, right);
    call.restart(left);
    world.run_for(secs(10));
    assert!(call.completed()() && call.agree());
    assert_eq!(call.hops(left), 0, "{}", call.pair(left));
}

/// With a long Ta it takes a while to check all pairs over one relay; one over two, which happens
/// to be checked first, waits for them where it would be nominated for good.
#[test]
fn a_pair_over_two_relays_waits_for_one_over_one() {
    let Seed(seed) = seed!();
    for n in 0..10 {
        let world = World::new(Seed(seed.wrapping_add(n)));
        world.links(|link| link.delay = millis(89));
        let turn = world.turn("192.0.2.1:3478");
        let stun = world.stun("192.0.2.9:3478");
        let sides = [0, 1].map(|_| world.host().behind(Nat::SYMMETRIC).using(turn).using(stun));
        let call = world.call(sides[0], sides[1]).vanilla().signalling(millis(1_500));
        let call = call.tune_both(|config| config.check_backoff = CheckBackoff::Rfc);
        let call = call.tune(sides[0], |config| {
            config.nomination.renomination = false;
            config.ta = millis(300);
        });
        world.run_until(call.completed(), secs(10));
        // No relay knows the new address, but each knows the other one.
        sides[1].nats_reboot(Reboot::NewAddress);
        call.restart(sides[0]);
        world.run_for(secs(15));
        assert!(call.completed()() && call.agree());
        assert_eq!(call.hops(sides[0]), 1, "{}", call.pair(sides[0]));
    }
}

/// The requests of before may be seconds from being sent again.
#[test]
fn a_restart_asks_a_server_that_is_back_at_once() {
    let world = World::new(seed!());
    let stun = world.stun("192.0.2.1:3478").that_is(Temper::Dead);
    let turn = world.turn("192.0.2.2:3478");
    let left = world.host().behind(Nat::PORT_RESTRICTED).using(turn);
    let right = world.host().behind(Nat::PORT_RESTRICTED).also_v6().using(stun);
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(4));
    assert_eq!(call.hops(left), 1);
    world.run_for(secs(4).saturating_sub(world.elapsed()));
    stun.that_is(Temper::Honest);
    call.restart(left);
    world.run_for(secs(5));
    assert!(call.completed()() && call.agree());
    assert_eq!(call.hops(left), 0);
}
