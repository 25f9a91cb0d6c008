//! Restarts: the old path carries data until the new one can.

use floe::Event;

use crate::world::call::Call;
use crate::world::host::Host;
use crate::world::nat::Nat;
use crate::world::{Fate, World, millis, secs};

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
