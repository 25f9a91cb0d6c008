//! Calls over relays: who meets there, over how many of them, and what moves where.

use core::time::Duration;

use floe::candidate::Candidate;
use floe::candidate::CandidateKind::Relayed;
use floe::config::{BackupPolicy, CandidatePolicy};
use floe::{AgentState, ComponentId, Event};

use crate::world::call::Call;
use crate::world::host::Host;
use crate::world::nat::Nat;
use crate::world::signalling::Signal;
use crate::world::turn_server::Heard;
use crate::world::{BEGINNING, Fate, Node, World, millis, secs};

/// Sends one datagram each way and sees it arrive.
fn they_hear_each_other(world: &World, call: Call<'_>) {
    let [left, right] = call.hosts();
    let before = (call.heard(left), call.heard(right));
    call.send(left, b"\x80over the relay").unwrap();
    call.send(right, b"\x80and back").unwrap();
    world.run_for(secs(1));
    assert_eq!((call.heard(left), call.heard(right)), (before.0 + 1, before.1 + 1));
}

#[test]
fn two_symmetric_nats_meet_at_the_relay() {
    for (left_has, right_has) in [(true, false), (false, true), (true, true)] {
        let world = World::new(seed!());
        let turn = world.turn("192.0.2.1:3478");
        let stun = world.stun("192.0.2.9:3478");
        let mut left = world.host().behind(Nat::SYMMETRIC).using(stun);
        let mut right = world.host().behind(Nat::SYMMETRIC).using(stun);
        if left_has {
            left = left.using(turn);
        }
        if right_has {
            right = right.using(turn);
        }
        let call = world.call(left, right);

        let took = world.run_until(call.completed(), secs(5));
        assert!(call.agree(), "{} and {}", call.pair(left), call.pair(right));
        assert_eq!((call.hops(left), call.hops(right)), (1, 1), "{}", call.pair(left));
        assert!(took <= millis(1_500), "{took:?}");
        they_hear_each_other(&world, call);
    }
}

#[test]
fn each_at_a_server_of_its_own_they_meet_over_one_relay() {
    let world = World::new(seed!());
    let (near, far) = (world.turn("192.0.2.1:3478"), world.turn("192.0.2.2:3478"));
    let left = world.host().behind(Nat::SYMMETRIC).using(near);
    let right = world.host().behind(Nat::SYMMETRIC).using(far);
    let call = world.call(left, right);

    world.run_until(call.completed(), secs(5));
    assert!(call.agree());
    assert_eq!((call.hops(left), call.hops(right)), (1, 1));
    they_hear_each_other(&world, call);
}

/// Firewalls that let nothing pass but what goes to the one TURN server: then it takes two relays.
#[test]
fn where_each_may_talk_to_its_server_alone_two_relays_are_used() {
    let world = World::new(seed!());
    let (near, far) = (world.turn("192.0.2.1:3478"), world.turn("192.0.2.2:3478"));
    let left = world.host().behind(Nat::PORT_RESTRICTED).using(near);
    let right = world.host().behind(Nat::PORT_RESTRICTED).using(far);
    let walls = [(Node::from(left), near.address()), (Node::from(right), far.address())];
    world.intercept(move |_, packet| {
        let wall = walls.iter().find(|(node, _)| *node == packet.sender);
        let toward = walls.iter().find(|(node, _)| Some(*node) == packet.toward);
        let out = wall.is_none_or(|(_, server)| packet.to == *server);
        let into = toward.is_none_or(|(_, server)| packet.from == *server);
        if out && into { Fate::Pass } else { Fate::Drop }
    });
    let call = world.call(left, right);

    world.run_until(call.completed(), secs(5));
    assert!(call.agree());
    assert_eq!(call.pair(left).kinds().0, Relayed);
    assert_eq!((call.hops(left), call.hops(right)), (2, 2));
    they_hear_each_other(&world, call);
}

/// [RFC 8828 mode 4]: nobody but the server learns where the host is.
#[test]
fn with_the_relay_policy_nothing_is_sent_but_to_the_turn_server() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    let stun = world.stun("192.0.2.9:3478");
    let left = world.host().behind(Nat::FULL_CONE).using(turn).using(stun);
    let right = world.host().using(turn);
    let hidden = left.addresses();
    let call = world.call(left, right).policy(left, CandidatePolicy::Relay);
    let server = turn.address();
    world.intercept(move |_, packet| {
        let ours = packet.sender == Node::Host(0);
        assert!(!ours || packet.to == server, "a packet to {}", packet.to);
        Fate::Pass
    });

    world.run_until(call.completed(), secs(5));
    assert_eq!(call.pair(left).kinds().0, Relayed);
    assert!(call.agree());
    they_hear_each_other(&world, call);
    call.restart(left);
    world.run_for(secs(60));
    they_hear_each_other(&world, call);
    assert_eq!(stun.asked(), 0);
    // Nor is it told.
    for candidate in &call.description(left).streams[0].candidates {
        assert_eq!(candidate.kind, Relayed);
        let related = candidate.related.map(|related| related.ip());
        assert!(related.is_none_or(|ip| ip.is_unspecified() && !hidden.contains(&ip)));
    }
}

/// An IPv6 host and an IPv4 host have no address in common, but for the relay's.
#[test]
fn a_relay_of_both_families_joins_ipv4_and_ipv6() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    let left = world.host().behind(Nat::PORT_RESTRICTED).using(turn);
    let right = world.host().also_v6();
    let v4 = right.addresses()[0];
    world.inner().unplug(right.id, v4);
    let call = world.call(left, right);

    world.run_until(call.completed(), secs(5));
    assert!(call.pair(left).remote().is_ipv6());
    assert_eq!((call.hops(left), call.hops(right)), (1, 1));
    they_hear_each_other(&world, call);
}

/// Two round trips to the server for the first allocation, one where the challenge is known.
#[test]
fn an_allocation_takes_two_round_trips_and_the_next_one_takes_one() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    let left = world.host().behind(Nat::SYMMETRIC).using(turn);
    let stun = world.stun("192.0.2.9:3478");
    let right = world.host().behind(Nat::SYMMETRIC).using(stun);
    let call = world.call(left, right);
    world.run_until(call.has_relay(left), secs(1));
    assert!(world.elapsed() <= millis(101), "{:?}", world.elapsed());
    assert_eq!(turn.heard(Heard::Allocate), 2);
    world.run_until(call.completed(), secs(5));
}

/// The relay is there before the direct path, and carries data at once. Then data moves: none is
/// lost, none comes twice.
#[test]
fn data_flows_over_the_relay_first_and_moves_without_a_gap() {
    for direct_after in [millis(0), millis(300), secs(2)] {
        for sender_moves in [0, 1] {
            let world = World::new(seed!());
            let turn = world.turn("192.0.2.1:3478");
            let left = world.host().using(turn);
            let right = world.host().using(turn);
            // Nothing passes between the two for a while; the way over the relay is longer.
            let start = BEGINNING + direct_after;
            world.intercept(move |now, packet| {
                let direct = |node| matches!(node, Node::Host(_));
                let between = direct(packet.sender) && packet.toward.is_some_and(direct);
                if between && now < start { Fate::Drop } else { Fate::Pass }
            });
            world.link([left, right][sender_moves], turn, |link| link.delay = millis(60));
            let call = world.call(left, right);
            let mut talking = [false; 2];
            while world.elapsed() < secs(10) {
                world.run_for(millis(1));
                for (n, side) in [left, right].into_iter().enumerate() {
                    let sendable = call.sendable_at(side, ComponentId::FIRST).is_some();
                    if sendable && !talking[n] {
                        talking[n] = true;
                        call.talk(side, millis(2));
                    }
                }
            }
            call.hush(left);
            call.hush(right);
            world.run_for(secs(1));
            assert!(call.completed()());
            assert_eq!((call.hops(left), call.hops(right)), (0, 0), "after {direct_after:?}");
            for (from, to) in [(left, right), (right, left)] {
                assert!(call.refused(from).is_empty());
                assert!(call.sent(from) >= 4_700, "{} sent", call.sent(from));
                let mut heard: Vec<_> =
                    call.delivered(to).into_iter().map(|delivery| delivery.data).collect();
                assert_eq!(heard.len() as u64, call.sent(from), "after {direct_after:?}");
                heard.sort();
                heard.dedup();
                assert_eq!(heard.len() as u64, call.sent(from), "one came twice");
            }
            if direct_after > secs(0) {
                let [out, back] = turn.relayed();
                assert!(out + back > 50, "{out} and {back} over the relay");
            }
        }
    }
}

/// Beside a direct pair one pair over the relay of each side is kept, and what that costs.
#[test]
fn a_pair_over_each_relay_is_kept_warm_beside_a_direct_one() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    let left = world.host().behind(Nat::PORT_RESTRICTED).using(turn);
    let right = world.host().behind(Nat::PORT_RESTRICTED).using(turn);
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(5));
    world.run_for(secs(60));

    for side in [left, right] {
        assert_eq!(call.hops(side), 0);
        assert_eq!(call.stats(side).pairs.len(), 3, "{:#?}", call.stats(side).pairs);
    }
    assert_eq!(turn.allocations(), 2, "a NAT that reboots takes the relay behind it along");
    let (packets, relayed) = ([left.packets(), right.packets()], turn.relayed());
    world.run_for(secs(600));
    let relayed = turn.relayed()[0] + turn.relayed()[1] - relayed[0] - relayed[1];
    // Each side asks every 4 to 6 s and is answered: four datagrams over each relay.
    assert!((800..=1_200).contains(&relayed), "{relayed} relayed in 600 s");
    for (side, before) in [left, right].into_iter().zip(packets) {
        let sent = side.packets() - before;
        // Three kept pairs: a request and an answer each, at most every 4 s; and what the
        // allocation and its permission need.
        assert!(sent <= 6 * 150 + 20, "{sent} packets in 600 s");
    }
}

#[test]
fn without_a_backup_the_allocations_end_with_the_direct_pair() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    let (left, right) = (world.host().using(turn), world.host().using(turn));
    let call = world.call(left, right);
    let call = call.tune_both(|config| config.backup = BackupPolicy::Off);
    world.run_until(call.completed(), secs(5));
    world.run_for(secs(10));
    assert_eq!(turn.allocations(), 0);
    assert_eq!(turn.heard(Heard::Release), 2);
}

/// What it takes from the cut to the first datagram over the relay.
fn gap(call: Call<'_>, to: Host<'_>, cut: Duration) -> Option<u128> {
    let at = BEGINNING + cut;
    let later = call.delivered(to).into_iter().find(|delivery| delivery.at > at + millis(100));
    later.map(|delivery| delivery.at.since(at).as_millis())
}

/// The direct path dies: data goes on over the relay, and nobody has to signal for that.
#[test]
fn when_the_direct_path_dies_data_goes_on_over_the_relay() {
    let mut worst = 0;
    for wait in 0..10 {
        let world = World::new(seed!());
        let turn = world.turn("192.0.2.1:3478");
        let left = world.host().behind(Nat::PORT_RESTRICTED).using(turn);
        let right = world.host().behind(Nat::PORT_RESTRICTED).using(turn);
        let call = world.call(left, right).without_restarts();
        world.run_until(call.completed(), secs(5));
        world.run_for(secs(20) + millis(wait * 613));
        call.talk(left, millis(20));
        call.talk(right, millis(20));
        world.run_for(secs(1));

        let cut = world.elapsed();
        world.cut(left, right);
        world.run_for(secs(15));
        for side in [left, right] {
            let gap = gap(call, side, cut).expect("data goes on");
            worst = worst.max(gap);
            assert_eq!(call.hops(side), 1);
            assert_eq!(call.state(side), Some(AgentState::Completed));
            assert!(call.refused(side).is_empty());
        }
        assert!(call.agree());
        call.hush(left);
        call.hush(right);
        world.run_for(secs(120));
        they_hear_each_other(&world, call);
    }
    eprintln!("data goes on at most {worst} ms after the cut");
    // A consent check every 4 to 6 s, and 2.5 s until it is missed.
    assert!(worst <= 8_700, "{worst} ms");
}

/// The NAT of one side gets new ports, and the other NAT lets nobody in that it does not know. But
/// permissions are by address, so the peer's relay does, and there the peer learns the new port:
/// without signalling the call is back, and direct.
#[test]
fn a_rebooted_nat_is_survived_with_the_help_of_the_relay() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    let left = world.host().behind(Nat::PORT_RESTRICTED).using(turn);
    let right = world.host().behind(Nat::PORT_RESTRICTED).using(turn);
    let call = world.call(left, right).without_restarts();
    world.run_until(call.completed(), secs(5));
    world.run_for(secs(20));
    call.talk(left, millis(20));
    call.talk(right, millis(20));

    left.reboot_nats();
    world.run_for(secs(15));
    let heard = (call.heard(left), call.heard(right));
    world.run_for(secs(5));
    assert!(call.heard(left) >= heard.0 + 240, "the right is heard again");
    assert!(call.heard(right) >= heard.1 + 240, "the left is heard again");
    assert!(call.agree());
}

/// A direct path that answers again is taken again, and a lossy one is not left for nothing.
#[test]
fn the_relay_is_not_selected_while_the_direct_pair_answers() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    let left = world.host().behind(Nat::PORT_RESTRICTED).using(turn);
    let right = world.host().behind(Nat::PORT_RESTRICTED).using(turn);
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(5));
    world.run_for(secs(10));
    let changes = call.stats(left).selected_changes;
    world.links(|link| link.loss = 0.05);
    world.run_for(secs(3_600));
    assert_eq!(call.stats(left).selected_changes, changes);
    assert_eq!(call.hops(left), 0);
}

/// For three hours the allocation, the permission and the channel are kept alive; at the end the
/// allocation is given back.
#[test]
fn a_relayed_call_lasts_for_hours_and_leaves_nothing_behind() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478").auth(|auth| auth.nonce_lifetime = secs(1_000));
    let left = world.host().behind(Nat::SYMMETRIC).using(turn);
    let stun = world.stun("192.0.2.9:3478");
    let right = world.host().behind(Nat::SYMMETRIC).using(stun);
    let call = world.call(left, right).without_restarts();
    world.run_until(call.completed(), secs(5));
    call.talk(left, millis(500));
    call.talk(right, millis(500));
    world.run_for(secs(1));
    let channels = turn.peers().1;
    assert_eq!(channels, 1);
    let before = (turn.heard(Heard::Send), turn.heard_in_all());

    world.run_for(secs(3 * 3_600));
    call.hush(left);
    call.hush(right);
    world.run_for(secs(1));
    assert_eq!(call.heard(right), call.sent(left));
    assert_eq!(call.heard(left), call.sent(right));
    assert_eq!(turn.unpermitted(), 0);
    assert_eq!(turn.heard(Heard::Send), before.0, "all went over the channel");
    assert_eq!((turn.allocations(), turn.peers().1), (1, 1));
    // 600 s, 300 s, 600 s, and each new nonce costs one more.
    assert!((18..=40).contains(&turn.heard(Heard::Refresh)), "{}", turn.heard(Heard::Refresh));
    let permissions = turn.heard(Heard::CreatePermission);
    assert!((36..=90).contains(&permissions), "{permissions}");
    assert!((18..=60).contains(&turn.heard(Heard::ChannelBind)));

    call.agent_mut(left, |agent| agent.close());
    world.run_for(secs(2));
    assert_eq!(turn.allocations(), 0);
    assert_eq!(turn.heard(Heard::Release), 1);
    let heard = turn.heard_in_all();
    world.run_for(secs(600));
    // The peer's checks end at the relay, which is gone.
    assert_eq!(turn.heard_in_all(), heard);
}

/// Two calls of a host share one allocation, and the last one gives it back.
#[test]
fn calls_on_one_socket_share_an_allocation() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    let hub = world.host().behind(Nat::SYMMETRIC).using(turn);
    let stun = world.stun("192.0.2.9:3478");
    let others = [0, 1].map(|_| world.host().behind(Nat::SYMMETRIC).using(stun));
    let calls = others.map(|other| world.call(other, hub).without_restarts());
    for call in calls {
        world.run_until(call.completed(), secs(5));
        they_hear_each_other(&world, call);
    }
    // Each peer has two addresses.
    assert_eq!((turn.allocations(), turn.peers().0), (1, 4));
    calls[0].agent_mut(hub, |agent| agent.close());
    world.run_for(secs(30));
    assert_eq!(turn.allocations(), 1);
    they_hear_each_other(&world, calls[1]);
    calls[1].agent_mut(hub, |agent| agent.close());
    world.run_for(secs(5));
    assert_eq!(turn.allocations(), 0);
}

/// Whoever has no permission is not heard, whatever the server says.
#[test]
fn data_of_a_peer_without_a_permission_is_dropped_and_counted() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    let left = world.host().behind(Nat::SYMMETRIC).using(turn);
    let stun = world.stun("192.0.2.9:3478");
    let right = world.host().behind(Nat::SYMMETRIC).using(stun);
    let call = world.call(left, right).without_restarts();
    world.run_until(call.completed(), secs(5));
    let dropped = || left.stats().dropped(floe::DropReason::NoPermission);
    let before = (dropped(), call.heard(left), left.unclaimed());
    for _ in 0..10 {
        turn.smuggles("203.0.113.7:7".parse().unwrap(), b"\x80from nobody");
        world.run_for(millis(100));
    }
    assert_eq!(call.heard(left), before.1);
    assert_eq!(left.unclaimed(), before.2);
    assert_eq!(dropped(), before.0 + 20);
    they_hear_each_other(&world, call);
}

/// The one that is ready sooner does not hurry the other, which still has a better pair to check.
#[test]
fn each_component_waits_for_itself_before_its_relay_is_nominated_for_good() {
    let world = World::new(seed!());
    let (stun, turn) = (world.stun("192.0.2.1:3478"), world.turn("192.0.2.2:3478"));
    let left = world.host().behind(Nat::SYMMETRIC).with_streams(&[2]).using(turn);
    let right = world.host().behind(Nat::SYMMETRIC).also_on(world.lan().behind(Nat::SYMMETRIC));
    let right = right.with_streams(&[2]).using(stun);
    let second = right.addresses()[1];
    let call = world.call(left, right).tune_both(|config| {
        config.streams = vec![2];
        config.nomination.renomination = false;
    });
    let call = call.deliver_signals(move |_, signal| {
        let late = |of: &Candidate| {
            of.component == 1 && of.related.is_some_and(|related| related.ip() == second)
        };
        match signal {
            Signal::Candidate { candidate, .. } if late(candidate) => vec![millis(700)],
            Signal::End { .. } => vec![millis(800)],
            _ => vec![Duration::ZERO],
        }
    });
    world.run_until(call.completed(), secs(10));
    let selected = |number| {
        let component = ComponentId::new(0, number).unwrap();
        let events = call.events(left);
        let is_it = |event: &Event| match event {
            Event::Selected { component: of, .. } => *of == component,
            _ => false,
        };
        events.iter().find(|(_, event)| is_it(event)).expect("it was selected").0
    };
    let later = selected(1).since(selected(2));
    assert!(later >= millis(200), "{later:?}");
}
