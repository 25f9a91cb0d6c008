//! Roaming: interfaces come and go, addresses change, machines sleep, and the call goes on.

use core::time::Duration;
use std::collections::BTreeSet;

use floe::candidate::CandidateKind::{PeerReflexive, ServerReflexive};
use floe::config::Gathering;
use floe::event::RestartReason;

use crate::world::call::Call;
use crate::world::host::Host;
use crate::world::nat::{Depends, Nat, Reboot};
use crate::world::rng::Rng;
use crate::world::signalling::Signal;
use crate::world::{Seed, World, millis, secs};

/// How many worlds a figure is measured over.
const WORLDS: u64 = 100;

/// Half of the values are at most the first, 99 of 100 at most the second.
fn percentiles(mut times: Vec<Duration>, what: &str) -> (Duration, Duration) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share).div_ceil(100).saturating_sub(1)];
    let (half, most) = (at(50), at(99));
    println!("{what}: p50 {half:?}, p99 {most:?}, worst {:?}", times[times.len() - 1]);
    (half, most)
}

/// So many worlds, or the one that is replayed.
fn each(seed: Seed, story: impl Fn(&World, &mut Rng) -> Vec<Duration>) -> Vec<Duration> {
    let Seed(first) = seed;
    let worlds = if std::env::var_os("SIM_SEED").is_some() { 1 } else { WORLDS };
    let seeds = (0..worlds).map(|n| first.wrapping_add(n));
    let story = |seed| story(&World::new(Seed(seed)), &mut Rng::new(seed, "story"));
    seeds.flat_map(story).collect()
}

/// How long `hosts` hear nothing that was sent from now on, the one that waits longest.
fn silence(world: &World, call: Call<'_>, hosts: &[Host<'_>]) -> Duration {
    let since = world.elapsed();
    // What is under way came by the old path.
    world.run_for(millis(30));
    let heard: Vec<u64> = hosts.iter().map(|host| call.heard(*host)).collect();
    let all = || hosts.iter().zip(&heard).all(|(host, before)| call.heard(*host) > *before);
    world.run_until(all, secs(60));
    world.elapsed() - since
}

fn both_talk(call: Call<'_>, interval: Duration) {
    for host in call.hosts() {
        call.talk(host, interval);
    }
}

fn continual(call: Call<'_>) -> Call<'_> {
    call.tune_both(|config| config.gathering = Gathering::Continual)
}

/// [rfc8445-5.1.1.4-3]
#[test]
fn an_interface_that_goes_takes_its_pair_along_and_data_moves_within_a_round_trip() {
    let times = each(seed!(), |world, rng| {
        let (left, right) = (world.host().with_addresses(2), world.host());
        let call = world.call(left, right).signalling(millis(100));
        world.run_until(call.completed(), secs(2));
        both_talk(call, millis(5));
        world.run_for(secs(5) + millis(rng.below(5_000)));

        left.leaves(call.pair(left).0.base.ip());
        let silent = silence(world, call, &[right]);
        world.run_for(secs(5));
        assert!(call.completed()() && call.agree());
        vec![silent]
    });
    let (_, most) = percentiles(times, "interface gone, another one there");
    // The round trip is 50 ms; what is seen at the other end is half a one later.
    assert!(most <= millis(50 + 25 + 50), "{most:?}");
}

/// Signalled once, an address that turns up needs a restart, which is recommended at once; data
/// goes on meanwhile. [rfc8445-5.1.1.4-3] [rfc8838-13-8]
#[test]
fn an_interface_that_turns_up_is_taken_in_by_a_restart() {
    let world = World::new(seed!());
    let (left, right) = (world.host(), world.host());
    let call = world.call(left, right).signalling(millis(100));
    world.run_until(call.completed(), secs(2));
    world.run_for(secs(10));
    both_talk(call, millis(10));

    let at = world.elapsed();
    let new = left.joins_internet();
    assert_eq!(call.recommendations(left), [(at, RestartReason::NetworkChanged)]);
    world.run_for(secs(5));
    let offered = &call.description(left).streams[0].candidates;
    assert!(
        offered.iter().any(|c| c.socket_address().is_some_and(|at| at.ip() == new)),
        "{offered:?}"
    );
    nothing_was_lost(&world, call);
}

/// Continual gathering trickles it, without a restart, and moves there if it is better.
/// [rfc8445-5.1.1.4-3]
#[test]
fn a_better_interface_is_moved_to_without_a_restart() {
    let times = each(seed!(), |world, rng| {
        let stun = world.stun("192.0.2.1:3478");
        let dear = world.lan().behind(Nat::PORT_RESTRICTED);
        let cheap = world.lan().behind(Nat::PORT_RESTRICTED);
        let left = world.host().on(dear).costing(900).using(stun);
        let right = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
        let call = continual(world.call(left, right)).signalling(millis(100));
        world.run_until(call.completed(), secs(2));
        both_talk(call, millis(10));
        world.run_for(secs(5) + millis(rng.below(5_000)));

        let at = world.elapsed();
        let new = left.joins(cheap, 10);
        world.run_until(|| call.pair(left).0.base.ip() == new, secs(3));
        let moved = world.elapsed() - at;
        world.run_for(secs(5));
        assert!(call.recommendations(left).is_empty() && call.recommendations(right).is_empty());
        nothing_was_lost(world, call);
        vec![moved]
    });
    let (_, most) = percentiles(times, "moved to a better interface");
    // STUN, the signalling, a check that the other's NAT drops, one that it lets pass, a nomination.
    assert!(most <= millis(50 + 100 + 3 * 50 + 100), "{most:?}");
}

/// As many candidates as the peer keeps are trickled; then comes a restart, which clears the table.
#[test]
fn an_interface_that_comes_and_goes_for_ever_is_followed_for_ever() {
    let world = World::new(seed!());
    let (left, right) = (world.host(), world.host());
    let call = continual(world.call(left, right)).signalling(millis(50));
    world.run_until(call.completed(), secs(2));
    for _ in 0..100 {
        let old = left.addresses();
        left.joins_internet();
        world.run_for(millis(500));
        left.leaves(old[0]);
        world.run_until(call.completed(), secs(20));
        world.run_for(secs(10));
    }
    assert!(call.agree());
    assert_eq!(call.rejections(left) + &call.rejections(right), "");
    let restarts = call.recommendations(left).len();
    assert!((10..=30).contains(&restarts), "{restarts} restarts");
}

/// Wi-Fi to LTE and back each 30 s, the new network up to a second before or after the old is gone;
/// the time without data counts from when there is a network. [rfc8445-5.1.1.4-3]
fn swaps(seed: Seed, what: &str, tune: impl Fn(Call<'_>) -> Call<'_>) -> (Duration, Duration) {
    let times = each(seed, |world, rng| {
        let stun = world.stun("192.0.2.1:3478");
        let nets = [Nat::PORT_RESTRICTED, Nat::PORT_RESTRICTED].map(|nat| world.lan().behind(nat));
        let left = world.host().on(nets[0]).costing(10).using(stun);
        let right = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
        let call = tune(world.call(left, right)).signalling(millis(100));
        world.run_until(call.completed(), secs(2));
        both_talk(call, millis(20));
        world.run_for(secs(5) + millis(rng.below(5_000)));

        let mut times = Vec::new();
        for swap in 1..=4 {
            let old = left.addresses()[0];
            let (net, cost) = (nets[swap % 2], [10, 900][swap % 2]);
            let overlap = rng.below(2_000);
            if overlap >= 1_000 {
                left.joins(net, cost);
                world.run_for(millis(overlap - 1_000));
                left.leaves(old);
            } else {
                left.leaves(old);
                world.run_for(millis(1_000 - overlap));
                left.joins(net, cost);
            }
            times.push(silence(world, call, &[left, right]));
            assert!(times[swap - 1] < secs(10), "{times:?}");
            world.run_for(secs(30));
            assert!(call.completed()() && call.agree());
        }
        times
    });
    percentiles(times, what)
}

#[test]
fn a_swap_of_networks_interrupts_the_call_for_less_than_a_second() {
    let (_, most) = swaps(seed!(), "Wi-Fi and LTE in turn, gathering once", |call| call);
    assert!(most <= secs(1), "{most:?}");
}

#[test]
fn a_swap_of_networks_interrupts_a_call_that_gathers_continually_for_less_than_a_second() {
    let (_, most) = swaps(seed!(), "Wi-Fi and LTE in turn, gathering continually", continual);
    assert!(most <= secs(1), "{most:?}");
}

/// One address goes, another comes in the same network.
#[test]
fn a_new_address_in_the_old_network_interrupts_the_call_for_less_than_a_second() {
    let times = each(seed!(), |world, rng| {
        let stun = world.stun("192.0.2.1:3478");
        let net = world.lan().behind(Nat::PORT_RESTRICTED);
        let left = world.host().on(net).using(stun);
        let right = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
        let call = world.call(left, right).signalling(millis(100));
        let call = if rng.chance(0.5) { continual(call) } else { call };
        world.run_until(call.completed(), secs(2));
        both_talk(call, millis(20));
        world.run_for(secs(5) + millis(rng.below(5_000)));

        let old = left.addresses()[0];
        left.leaves(old);
        left.joins(net, 0);
        let silent = silence(world, call, &[left, right]);
        world.run_for(secs(10));
        assert!(call.completed()() && call.agree());
        vec![silent]
    });
    let (_, most) = percentiles(times, "renumbered");
    assert!(most <= secs(1), "{most:?}");
}

/// The router has another public address, or another router has taken over: the addresses of the
/// host stay. The system tells of it.
#[test]
fn a_new_public_address_costs_two_round_trips_of_the_signalling_and_a_second_and_a_half() {
    let times = each(seed!(), |world, rng| {
        let stun = world.stun("192.0.2.1:3478");
        let turn = world.turn("192.0.2.2:3478");
        let left = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
        let right = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
        let relays = rng.chance(0.5);
        let [left, right] = [left, right].map(|host| if relays { host.using(turn) } else { host });
        let call = world.call(left, right).signalling(millis(100));
        let mover = if rng.chance(0.5) { left } else { right };
        world.run_until(call.completed(), secs(2));
        both_talk(call, millis(20));
        world.run_for(secs(5) + millis(rng.below(5_000)));

        mover.nats_reboot(Reboot::NewAddress);
        mover.network_changed();
        let silent = silence(world, call, &[left, right]);
        assert!(silent < secs(3), "{silent:?}");
        world.run_for(secs(10));
        assert!(call.completed()() && call.agree());
        vec![silent]
    });
    let (_, most) = percentiles(times, "new public address");
    assert!(most <= 2 * millis(200) + millis(1_500), "{most:?}");
}

/// A change that changed nothing costs a check.
#[test]
fn a_network_that_only_seems_to_have_changed_needs_no_restart() {
    let world = World::new(seed!());
    let (left, right) = (world.host(), world.host());
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(2));
    world.run_for(secs(10));
    left.network_changed();
    world.run_for(secs(30));
    assert!(call.recommendations(left).is_empty());
}

/// A machine that slept for longer than consent lasts sends no data before the peer has agreed
/// anew, and does not make up for what it missed.
#[test]
fn a_machine_that_wakes_asks_for_consent_first_and_without_haste() {
    for sleep in [secs(60), secs(600)] {
        let times = each(seed!(), |world, rng| {
            let stun = world.stun("192.0.2.1:3478");
            let left = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
            let right = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
            let call = world.call(left, right).signalling(millis(100));
            world.run_until(call.completed(), secs(2));
            both_talk(call, millis(20));
            world.run_for(secs(5) + millis(rng.below(5_000)));
            let slept = [left, right][rng.below(2) as usize];

            slept.sleeps(sleep);
            world.run_for(sleep);
            let (packets, heard) = (slept.packets(), call.sent(slept));
            world.run_for(millis(40));
            assert_eq!(call.sent(slept), heard, "data before an answer");
            assert!(slept.packets() - packets <= 10, "{} packets", slept.packets() - packets);
            world.run_for(millis(960));
            assert!(slept.packets() - packets <= 50 + 50, "a storm");
            let back = secs(1) + silence(world, call, &[left, right]);
            world.run_for(secs(10));
            assert!(call.completed()() && call.agree());
            vec![back]
        });
        let (_, most) = percentiles(times, &format!("woken after {sleep:?}"));
        assert!(most <= secs(3), "{most:?}");
    }
}

/// The offer of a restart is lost: it is told of again, ever more seldom, and the old path carries
/// the data.
#[test]
fn a_restart_that_nobody_answers_is_signalled_again() {
    let world = World::new(seed!());
    let (left, right) = (world.host(), world.host());
    let mut lost = 0;
    let call = world.call(left, right).deliver_signals(move |_, signal| match signal {
        Signal::Offer(_) => {
            lost += 1;
            if (2..=3).contains(&lost) { vec![] } else { vec![Duration::ZERO] }
        }
        _ => vec![Duration::ZERO],
    });
    world.run_until(call.completed(), secs(2));
    both_talk(call, millis(20));
    world.run_for(secs(5));
    let at = world.elapsed();
    call.restart(left);
    world.run_for(secs(60));
    let told: Vec<_> = call.recommendations(left).iter().map(|(t, why)| (*t - at, *why)).collect();
    let why = RestartReason::NotAnswered;
    assert_eq!(told, [(secs(10), why), (secs(30), why)]);
    nothing_was_lost(&world, call);
}

#[test]
fn a_restart_that_is_never_answered_is_told_of_five_times() {
    let world = World::new(seed!());
    let (left, right) = (world.host(), world.host());
    let call = world.call(left, right).without_restarts();
    world.run_until(call.completed(), secs(2));
    call.agent_mut(left, |mut agent| agent.restart());
    world.run_for(secs(3_600));
    assert_eq!(call.recommendations(left).len(), 5);
}

/// The NAT forgets its mappings each 20 s: what servers saw is asked for more often.
#[test]
fn a_nat_that_forgets_is_kept_busier() {
    let world = World::new(seed!());
    let stun = world.stun("192.0.2.1:3478");
    let left = world.host().behind(Nat::FULL_CONE).using(stun);
    let right = world.host();
    let call = continual(world.call(left, right)).tune_both(|config| config.linger = secs(3_600));
    world.run_until(call.completed(), secs(2));
    let asked = |time| {
        let before = stun.asked();
        world.run_for(time);
        stun.asked() - before
    };
    let calm = asked(secs(60));
    left.reboot_nats();
    world.run_for(secs(10));
    left.reboot_nats();
    world.run_for(secs(10));
    let busy = asked(secs(60));
    assert!((3..=5).contains(&calm) && (14..=16).contains(&busy), "{calm} and {busy} requests");
    let (mapped, offered) = (call.pair(left).0.local, call.description(left));
    let offered = &offered.streams[0].candidates;
    let reflexive = offered.iter().filter(|c| c.kind == ServerReflexive).collect::<Vec<_>>();
    assert_eq!(reflexive.len(), 1, "{reflexive:?}");
    assert_eq!(reflexive[0].socket_address(), Some(mapped.address));
}

/// All that was said arrived, and both ends agree.
fn nothing_was_lost(world: &World, call: Call<'_>) {
    let [left, right] = call.hosts();
    call.hush(left);
    call.hush(right);
    world.run_for(secs(1));
    assert!(call.completed()() && call.agree());
    assert!(call.refused(left).is_empty() && call.refused(right).is_empty());
    assert_eq!((call.heard(right), call.heard(left)), (call.sent(left), call.sent(right)));
}

/// Direct pairs are tried again beside one over a relay, but no longer those of such an address.
#[test]
fn nothing_is_tried_again_from_an_address_that_is_gone() {
    let world = World::new(seed!());
    let (stun, turn) = (world.stun("192.0.2.1:3478"), world.turn("192.0.2.2:3478"));
    let left = world.host().with_addresses(2).behind(Nat::SYMMETRIC).using(turn);
    let right = world.host().behind(Nat::SYMMETRIC).using(stun);
    let call = world.call(left, right);
    let call = call.tune_both(|config| config.nomination.retry_direct = secs(2));
    world.run_until(call.completed(), secs(5));
    assert_eq!(call.hops(left), 1);
    left.leaves(left.addresses()[1]);
    world.run_for(secs(10));
    assert!(call.completed()() && call.agree());
}

/// When the direct pairs are tried again, a candidate that a check came from has no pair but with the
/// base that the check came to. [rfc8445-7.3.1.3-p1]
#[test]
fn what_one_base_heard_of_is_not_tried_from_another() {
    let world = World::new(seed!());
    let (stun, turn) = (world.stun("192.0.2.1:3478"), world.turn("192.0.2.2:3478"));
    let open = Nat::new(Depends::AddressAndPort, Depends::Independent);
    let left = world.host().with_addresses(2).behind(open).using(turn);
    let right = world.host().behind(Nat::SYMMETRIC).using(stun);
    let call = world.call(left, right);
    let call = call.tune_both(|config| config.nomination.retry_direct = secs(2));
    world.run_until(call.completed(), secs(5));
    assert_eq!(call.hops(left), 1);
    let mut seen = 0;
    for _ in 0..100 {
        world.run_for(millis(100));
        let pairs = call.stats(left).pairs;
        let learned = pairs.iter().filter(|pair| pair.remote.kind == PeerReflexive);
        let remotes: BTreeSet<_> = learned.clone().map(|pair| pair.remote.address).collect();
        assert_eq!(remotes.len(), learned.clone().count());
        seen = seen.max(learned.count());
    }
    assert!(seen > 1, "{seen}");
}
