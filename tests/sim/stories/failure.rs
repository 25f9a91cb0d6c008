//! Paths that die: how soon data goes on, over many seeds. The round trip is 50 ms directly, and
//! 100 ms over a relay.

use core::time::Duration;

use floe::config::BackupPolicy;

use crate::stories::figures::{Figures, factor, interruption};
use crate::world::call::Call;
use crate::world::host::Host;
use crate::world::nat::Nat;
use crate::world::rng::Rng;
use crate::world::{Turn, World, millis, secs};

const SEEDS: u64 = 200;
const TALK: Duration = millis(20);

/// Whether there is data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Traffic {
    BothWays,
    None,
}

/// Two hosts behind NATs, each with a relay at a TURN server, on a direct pair.
fn direct_call(world: &World) -> ([Host<'_>; 2], Call<'_>, Turn<'_>) {
    let turn = world.turn("192.0.2.1:3478");
    let sides = [0, 1].map(|_| world.host().behind(Nat::PORT_RESTRICTED).using(turn));
    let call = world.call(sides[0], sides[1]).signalling(millis(50));
    (sides, call, turn)
}

/// Lets a call settle, and stops at a time that no timer knows.
fn settle(world: &World, call: Call<'_>, traffic: Traffic, n: u64) {
    world.run_until(call.completed(), secs(6));
    let mut rng = Rng::new(n, "when it happens");
    world.run_for(secs(8) + millis(rng.below(6_000)));
    if traffic == Traffic::BothWays {
        call.hosts().iter().for_each(|side| call.talk(*side, TALK));
        world.run_for(millis(1_500 + rng.below(1_000)));
    }
}

/// How long data does not get through to one of the sides; without data: until both have selected
/// a pair over `hops` relays.
fn outage(world: &World, call: Call<'_>, traffic: Traffic, hops: usize) -> Duration {
    let since = world.elapsed();
    match traffic {
        Traffic::BothWays => {
            world.run_for(secs(12));
            for side in call.hosts() {
                assert_eq!(call.hops(side), hops, "{}", call.pair(side));
                assert!(call.refused(side).is_empty(), "{:?}", call.refused(side));
            }
            let gaps = call.hosts().map(|side| interruption(world, call, side, since));
            gaps[0].max(gaps[1])
        }
        Traffic::None => {
            let moved = || call.hosts().iter().all(|side| call.hops(*side) == hops);
            world.run_until(|| call.completed()() && moved(), secs(60))
        }
    }
}

#[test]
fn a_dead_path_under_traffic_is_left_within_three_and_a_half_seconds() {
    let figures = Figures::of(seed!(), SEEDS * factor(), |world, n| {
        let ([left, right], call, _) = direct_call(world);
        settle(world, call.without_restarts(), Traffic::BothWays, n);
        world.cut(left, right);
        outage(world, call, Traffic::BothWays, 1)
    });
    figures.hold("black hole under traffic", millis(2_600), millis(3_500));
}

#[test]
fn a_dead_path_without_traffic_is_left_within_eight_and_a_half_seconds() {
    let figures = Figures::of(seed!(), SEEDS * factor(), |world, n| {
        let ([left, right], call, _) = direct_call(world);
        settle(world, call.without_restarts(), Traffic::None, n);
        world.cut(left, right);
        outage(world, call, Traffic::None, 1)
    });
    figures.hold("black hole, idle", millis(5_500), millis(8_500));
}

#[test]
fn a_path_that_is_dead_one_way_is_left_within_ten_seconds() {
    for traffic in [Traffic::BothWays, Traffic::None] {
        for from in [0, 1] {
            let figures = Figures::of(seed!(), SEEDS * factor(), |world, n| {
                let (sides, call, _) = direct_call(world);
                settle(world, call.without_restarts(), traffic, n);
                world.link(sides[from], sides[1 - from], |link| link.cut = true);
                outage(world, call, traffic, 1)
            });
            let who = ["controlling", "controlled"][from];
            let what = format!("one-way black hole from the {who} side, {traffic:?}");
            figures.hold(&what, millis(5_500), secs(10));
        }
    }
}

/// A peer that knows no renomination: a restart finds the relay.
#[test]
fn toward_a_peer_without_renomination_a_restart_leaves_a_dead_path() {
    for old in [0, 1] {
        let figures = Figures::of(seed!(), SEEDS * factor() / 2, |world, n| {
            let (sides, call, _) = direct_call(world);
            let call = call.tune(sides[old], |config| config.nomination.renomination = false);
            settle(world, call, Traffic::BothWays, n);
            world.cut(sides[0], sides[1]);
            outage(world, call, Traffic::BothWays, 1)
        });
        figures.hold("black hole, by restart", millis(4_000), secs(10));
    }
}

/// Nothing but the one path: a restart cannot help before it is back, and does no harm.
#[test]
fn a_dead_path_without_any_other_is_taken_again_when_it_is_back() {
    let figures = Figures::of(seed!(), SEEDS * factor() / 4, |world, n| {
        let (left, right) = (world.host(), world.host());
        let call = world.call(left, right).signalling(millis(50));
        settle(world, call, Traffic::BothWays, n);
        world.cut(left, right);
        world.run_for(secs(60));
        world.heal(left, right);
        let healed = world.elapsed();
        let before = (call.heard(left), call.heard(right));
        world.run_until(|| call.heard(left) > before.0 && call.heard(right) > before.1, secs(60));
        world.elapsed() - healed
    });
    figures.hold("back after a minute", secs(20), secs(20));
}

/// The interface of the selected pair vanishes, and the host knows; each side in turn.
#[test]
fn when_an_interface_is_gone_data_goes_on_within_a_round_trip() {
    for loser in [0, 1] {
        let figures = Figures::of(seed!(), SEEDS * factor(), |world, n| {
            let sides =
                [0, 1].map(|side| world.host().with_addresses(if side == loser { 2 } else { 1 }));
            let call = world.call(sides[0], sides[1]).without_restarts();
            settle(world, call, Traffic::BothWays, n);
            let gone = call.pair(sides[loser]).0.base.ip();
            sides[loser].loses(gone);
            outage(world, call, Traffic::BothWays, 0)
        });
        let who = ["controlling", "controlled"][loser];
        figures.hold(&format!("interface of the {who} side gone"), millis(120), millis(120));
    }
}

/// Without a direct pair in reserve it is a relay's turn, over the other interface.
#[test]
fn when_an_interface_is_gone_the_relay_of_the_other_side_serves() {
    for loser in [0, 1] {
        let figures = Figures::of(seed!(), SEEDS * factor() / 2, |world, n| {
            let turn = world.turn("192.0.2.1:3478");
            let sides = [0, 1].map(|side| {
                let host = world.host().with_addresses(if side == loser { 2 } else { 1 });
                if side == loser { host } else { host.using(turn) }
            });
            let call = world.call(sides[0], sides[1]).without_restarts();
            let call = call.tune_both(|config| config.backup = BackupPolicy::Relay);
            settle(world, call, Traffic::BothWays, n);
            let gone = call.pair(sides[loser]).0.base.ip();
            sides[loser].loses(gone);
            let since = world.elapsed();
            world.run_for(secs(12));
            let gaps = sides.map(|side| interruption(world, call, side, since));
            gaps[0].max(gaps[1])
        });
        let who = ["controlling", "controlled"][loser];
        figures.hold(&format!("interface of the {who} side gone, relay"), secs(3), millis(3_500));
    }
}

/// Both behind symmetric NATs: the selected pair needs a relay, and its server dies.
#[test]
fn when_a_turn_server_dies_data_goes_on_over_another() {
    for (traffic, p99) in [(Traffic::BothWays, millis(3_500)), (Traffic::None, secs(10))] {
        let figures = Figures::of(seed!(), SEEDS * factor(), |world, n| {
            let turns = ["192.0.2.1:3478", "192.0.2.2:3478"].map(|address| world.turn(address));
            let sides =
                [0, 1].map(|_| world.host().behind(Nat::SYMMETRIC).using(turns[0]).using(turns[1]));
            let call = world.call(sides[0], sides[1]).without_restarts();
            settle(world, call, traffic, n);
            let pair = call.pair(sides[0]).0;
            let ips = [pair.base.ip(), pair.remote.address.ip()];
            let used = turns.iter().find(|turn| ips.contains(&turn.address().ip()));
            let dead = *used.expect("a relay is used");
            sides.iter().for_each(|side| world.cut(*side, dead));
            turns.iter().for_each(|turn| world.cut(*turn, dead));
            let on_dead = |side| {
                let pair = call.pair(side).0;
                [pair.base.ip(), pair.remote.address.ip()].contains(&dead.address().ip())
            };
            match traffic {
                Traffic::BothWays => outage(world, call, traffic, 1),
                Traffic::None => world.run_until(|| !sides.into_iter().any(on_dead), secs(60)),
            }
        });
        figures.hold(&format!("TURN server killed, {traffic:?}"), p99, p99);
    }
}

/// A direct path that was dead and works again is taken again, however long it was dead.
#[test]
fn a_call_returns_from_the_relay_to_a_direct_path() {
    for (dead, restarts) in [(10, false), (60, true), (300, true)] {
        let figures = Figures::of(seed!(), SEEDS * factor() / 10, |world, n| {
            let ([left, right], call, _) = direct_call(world);
            let call = if restarts { call } else { call.without_restarts() };
            settle(world, call, Traffic::None, n);
            world.cut(left, right);
            world.run_for(secs(dead));
            assert_eq!((call.hops(left), call.hops(right)), (1, 1));
            world.heal(left, right);
            let direct = || call.hops(left) == 0 && call.hops(right) == 0;
            world.run_until(direct, secs(620))
        });
        let longest = secs((2 * dead).max(20));
        figures.hold(&format!("direct again after {dead} s"), longest, longest);
    }
}

/// Checks are lost on the direct path, data is not: when the pair is left for that, not a datagram
/// is lost or comes twice.
#[test]
fn a_switch_loses_nothing_of_its_own_making() {
    for n in 0..10 * factor() {
        let world = World::new(crate::world::Seed(n));
        let ([left, right], call, _) = direct_call(&world);
        settle(&world, call.without_restarts(), Traffic::BothWays, n);
        world.intercept(|_, packet| {
            use crate::world::{Fate, Node, wire};
            let direct = |node| matches!(node, Node::Host(_));
            let between = direct(packet.sender) && packet.toward.is_some_and(direct);
            if between && wire::binding(&packet.octets).is_some() { Fate::Drop } else { Fate::Pass }
        });
        world.run_for(secs(60));
        assert_eq!((call.hops(left), call.hops(right)), (1, 1));
        [left, right].iter().for_each(|side| call.hush(*side));
        world.run_for(secs(1));
        for (from, to) in [(left, right), (right, left)] {
            assert!(call.refused(from).is_empty());
            let mut heard: Vec<_> = call.delivered(to).into_iter().map(|d| d.data).collect();
            assert_eq!(heard.len() as u64, call.sent(from));
            heard.sort();
            heard.dedup();
            assert_eq!(heard.len() as u64, call.sent(from), "one came twice");
        }
    }
}

/// Pairs of one foundation are checked one after another, unless the first of them does not answer.
#[test]
fn dead_pairs_of_one_foundation_do_not_wait_for_one_another() {
    let world = World::new(seed!());
    let sides = [0, 1].map(|_| world.host().with_streams(&[4]));
    let call = world.call(sides[0], sides[1]).without_restarts();
    let call = call.tune_both(|config| config.streams = vec![4]);
    world.cut(sides[0], sides[1]);
    world.run_until(call.both_failed(), secs(60));
}
