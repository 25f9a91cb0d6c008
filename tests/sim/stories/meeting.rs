//! Two hosts meet on one network, over several components, with a lite peer, on a shared socket.

use floe::ComponentId;
use floe::candidate::CandidateKind::Host as HostKind;
use floe::config::{Mode, Role};

use crate::world::nat::Nat;
use crate::world::{World, millis, secs};

#[test]
fn two_hosts_on_one_network_meet_directly() {
    let world = World::new(seed!());
    let stun = world.stun("192.0.2.1:3478");
    let lan = world.lan().behind(Nat::PORT_RESTRICTED);
    let left = world.host().on(lan).using(stun);
    let right = world.host().on(lan).using(stun);
    let call = world.call(left, right);

    world.run_until(call.completed(), secs(2));
    assert_eq!(call.pair(left).kinds(), (HostKind, HostKind));
    assert_eq!(call.pair(right).kinds(), (HostKind, HostKind));
    assert!(call.agree());

    call.send(left, b"\x80hello").unwrap();
    call.send(right, b"\x80and back").unwrap();
    world.run_for(millis(25));
    assert_eq!(call.delivered(right)[0].data, b"\x80hello");
    assert_eq!(call.delivered(left)[0].data, b"\x80and back");
}

#[test]
fn a_network_without_a_way_out_is_enough() {
    let world = World::new(seed!());
    let stun = world.stun("192.0.2.1:3478");
    let lan = world.lan();
    let left = world.host().on(lan).using(stun);
    let right = world.host().on(lan).using(stun);
    let call = world.call(left, right);

    world.run_until(call.completed(), secs(2));
    assert!(call.agree());
}

#[test]
fn candidates_in_one_description_are_enough() {
    let world = World::new(seed!());
    let stun = world.stun("192.0.2.1:3478");
    let left = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
    let right = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
    let call = world.call(left, right).vanilla();

    world.run_until(call.completed(), secs(3));
    assert!(call.agree());
    assert_eq!(call.rejections(left) + &call.rejections(right), "");
}

#[test]
fn hosts_of_two_families_meet_where_they_can() {
    let world = World::new(seed!());
    let left = world.host().behind(Nat::SYMMETRIC).also_v6();
    let right = world.host().behind(Nat::SYMMETRIC).also_v6();
    let call = world.call(left, right);

    world.run_until(call.completed(), secs(2));
    assert!(call.pair(left).remote().is_ipv6());
    assert!(call.agree());
}

/// [rfc8445-8.1.1-2]
#[test]
fn each_component_of_each_stream_gets_its_pair() {
    let world = World::new(seed!());
    let stun = world.stun("192.0.2.1:3478");
    let left = world.host().behind(Nat::PORT_RESTRICTED).with_streams(&[2, 2]).using(stun);
    let right = world.host().with_streams(&[2, 2]).using(stun);
    let call = world.call(left, right).tune_both(|config| config.streams = vec![2, 2]);

    world.run_until(call.completed(), secs(5));
    for (stream, number) in [(0, 1), (0, 2), (1, 1), (1, 2)] {
        let component = ComponentId::new(stream, number).unwrap();
        assert!(call.agree_on(component), "{component}");
        call.send_on(left, component, b"\x80to the right").unwrap();
        call.send_on(right, component, b"\x80to the left").unwrap();
    }
    world.run_for(millis(25));
    let mut at_left: Vec<_> = call.delivered(left).iter().map(|d| d.component).collect();
    at_left.sort();
    at_left.dedup();
    assert_eq!((call.heard(left), call.heard(right)), (4, 4));
    assert_eq!(at_left.len(), 4, "each component's data is told apart: {at_left:?}");
}

/// [rfc8445-6.1.1-2a] [rfc8445-6.1.1-2b]
#[test]
fn a_lite_agent_is_controlled_even_if_it_called() {
    for lite_calls in [false, true] {
        let world = World::new(seed!());
        let stun = world.stun("192.0.2.1:3478");
        let server = world.host();
        let user = world.host().behind(Nat::SYMMETRIC).using(stun);
        let call = if lite_calls { world.call(server, user) } else { world.call(user, server) };
        let call = call.tune(server, |config| config.mode = Mode::Lite);

        world.run_until(call.completed(), secs(3));
        assert_eq!(
            (call.role_of(user), call.role_of(server)),
            (Role::Controlling, Role::Controlled)
        );
        assert!(call.agree());
        call.talk(user, millis(20));
        call.talk(server, millis(20));
        world.run_for(secs(60));
        assert!(call.heard(user) > 2900 && call.heard(server) > 2900);
    }
}

#[test]
fn three_agents_share_one_socket() {
    let world = World::new(seed!());
    let stun = world.stun("192.0.2.1:3478");
    let hub = world.host();
    let spokes = [Nat::FULL_CONE, Nat::PORT_RESTRICTED, Nat::SYMMETRIC]
        .map(|nat| world.host().behind(nat).using(stun));
    let calls = spokes.map(|spoke| world.call(spoke, hub));

    for (call, spoke) in calls.into_iter().zip(spokes) {
        world.run_until(call.completed(), secs(5));
        assert!(call.agree());
        for _ in 0..10 {
            call.send(hub, b"\x80down").unwrap();
            call.send(spoke, b"\x80up").unwrap();
        }
    }
    world.run_for(millis(25));
    for (call, spoke) in calls.into_iter().zip(spokes) {
        assert_eq!((call.heard(hub), call.heard(spoke)), (10, 10));
    }
}

/// On a shared port no two transactions of all agents together start within 5 ms.
/// [rfc8445-14.2-4]
#[test]
fn agents_on_one_socket_share_the_pace() {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use crate::world::wire;
    use crate::world::{Fate, Node};

    let world = World::new(seed!());
    let hub = world.host();
    let starts = Rc::new(RefCell::new(BTreeMap::new()));
    let seen = Rc::clone(&starts);
    world.intercept(move |now, packet| {
        if packet.sender == Node::Host(hub_id()) && wire::is_check(&packet.octets) {
            let (_, id) = wire::binding(&packet.octets).unwrap();
            seen.borrow_mut().entry(id).or_insert(now);
        }
        Fate::Pass
    });
    let calls: Vec<_> = (0..10).map(|_| world.call(world.host().with_addresses(3), hub)).collect();
    for call in calls {
        world.run_until(call.completed(), secs(20));
    }
    let mut starts: Vec<_> = starts.borrow().values().copied().collect();
    starts.sort();
    assert!(starts.len() >= 10);
    for two in starts.windows(2) {
        assert!(two[1].since(two[0]) >= millis(5), "{:?}", two[1].since(two[0]));
    }
}

/// The hub is the first host of its world.
fn hub_id() -> usize {
    0
}
