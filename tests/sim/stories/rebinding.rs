//! NATs that forget their mappings and give new ports: how soon the two sides hear each other
//! again, over many seeds. The round trip is 50 ms.

use core::time::Duration;

use crate::stories::figures::{Figures, factor, interruption};
use crate::world::call::Call;
use crate::world::host::Host;
use crate::world::nat::Nat;
use crate::world::rng::Rng;
use crate::world::{World, millis, secs};

const SEEDS: u64 = 200;

/// Lets a call settle, and stops at a time that no timer knows; talks if it is to.
fn settle(world: &World, call: Call<'_>, talks: bool, n: u64) {
    world.run_until(call.completed(), secs(6));
    let mut rng = Rng::new(n, "when it happens");
    world.run_for(secs(8) + millis(rng.below(6_000)));
    if talks {
        call.hosts().iter().for_each(|side| call.talk(*side, millis(20)));
        world.run_for(millis(1_500 + rng.below(1_000)));
    }
}

/// The NATs of `host` reboot: how long data does not get through to one of the sides, or, without
/// data, until it would.
fn reboot(world: &World, call: Call<'_>, host: Host<'_>, talks: bool) -> Duration {
    let since = world.elapsed();
    host.reboot_nats();
    if !talks {
        world.run_until(|| call.completed()() && call.agree(), secs(60));
        return world.elapsed() - since;
    }
    world.run_for(secs(12));
    let gaps = call.hosts().map(|side| interruption(world, call, side, since));
    gaps[0].max(gaps[1])
}

/// Who is behind what, beside the side whose NAT reboots.
fn behind(world: &World, nat: Option<Nat>) -> Host<'_> {
    let host = world.host();
    nat.map_or(host, |nat| host.behind(nat))
}

/// The peer lets in whom it has sent to by IP address at least: the first check from the new port
/// tells it all.
#[test]
fn a_peer_that_filters_no_ports_follows_a_rebooted_nat_at_once() {
    for peer in [None, Some(Nat::FULL_CONE), Some(Nat::ADDRESS_RESTRICTED)] {
        for rebooted in [0, 1] {
            for talks in [true, false] {
                let figures = Figures::of(seed!(), SEEDS * factor() / 2, |world, n| {
                    let stun = world.stun("192.0.2.9:3478");
                    let sides = [0, 1].map(|side| {
                        let nat = if side == rebooted { Some(Nat::PORT_RESTRICTED) } else { peer };
                        behind(world, nat).using(stun)
                    });
                    let call = world.call(sides[0], sides[1]).without_restarts();
                    settle(world, call, talks, n);
                    reboot(world, call, sides[rebooted], talks)
                });
                let who = ["controlling", "controlled"][rebooted];
                let limit = if talks { millis(550) } else { millis(6_500) };
                let what = format!("NAT of the {who} side rebooted, peer {peer:?}, talks: {talks}");
                figures.hold(&what, limit, limit);
            }
        }
    }
}

/// The peer lets in nobody that it does not know, but holds a relay, where permission is by IP
/// address; whether the other side holds one too makes no difference.
#[test]
fn over_the_relay_of_a_strict_peer_a_rebooted_nat_is_survived() {
    for both in [true, false] {
        for rebooted in [0, 1] {
            for talks in [true, false] {
                let figures = Figures::of(seed!(), SEEDS * factor() / 2, |world, n| {
                    let turn = world.turn("192.0.2.1:3478");
                    let stun = world.stun("192.0.2.9:3478");
                    let sides = [0, 1].map(|side| {
                        let host = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
                        if both || side != rebooted { host.using(turn) } else { host }
                    });
                    let call = world.call(sides[0], sides[1]).without_restarts();
                    settle(world, call, talks, n);
                    reboot(world, call, sides[rebooted], talks)
                });
                let who = ["controlling", "controlled"][rebooted];
                let limit = if talks { millis(3_500) } else { secs(10) };
                let what = format!(
                    "NAT of the {who} side rebooted, relays of both: {both}, talks: {talks}"
                );
                figures.hold(&what, limit, limit);
            }
        }
    }
}

/// No relay and a strict peer: a restart by signalling, of 50 ms each way.
#[test]
fn without_a_relay_a_restart_follows_a_rebooted_nat() {
    for rebooted in [0, 1] {
        for talks in [true, false] {
            let figures = Figures::of(seed!(), SEEDS * factor() / 2, |world, n| {
                let stun = world.stun("192.0.2.9:3478");
                let sides = [0, 1].map(|_| world.host().behind(Nat::PORT_RESTRICTED).using(stun));
                let call = world.call(sides[0], sides[1]).signalling(millis(50));
                settle(world, call, talks, n);
                reboot(world, call, sides[rebooted], talks)
            });
            // What it takes to notice, the signalling, and a second and a half.
            let limit = if talks { millis(3_700) } else { millis(10_100) };
            let who = ["controlling", "controlled"][rebooted];
            let what = format!("NAT of the {who} side rebooted, no relay, talks: {talks}");
            figures.hold(&what, limit, limit);
        }
    }
}
