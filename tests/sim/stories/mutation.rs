//! Every bit of a check and of its answer, flipped on the way.

use floe::DropReason;
use floe::stats::AgentStats;

use crate::world::host::Host;
use crate::world::wire::{self, Kind};
use crate::world::{Fate, Node, Packet, World, millis, secs};

/// What an observer of an agent would call a change.
#[derive(Debug, PartialEq)]
struct View {
    stats: AgentStats,
    state: Option<floe::AgentState>,
    selected: Option<floe::event::SelectedPair>,
    events: usize,
    delivered: u64,
}

/// Lets every one-bit mutation of the first packet that `wanted` picks arrive at `victim` while
/// the packet itself is held back, then lets it go.
fn flip_every_bit(
    world: &World,
    call: crate::world::call::Call<'_>,
    victim: Host<'_>,
    wanted: impl Fn(&Packet) -> bool + 'static,
    mend: bool,
) {
    let mut caught = false;
    world.intercept(move |_, packet| {
        if !caught && wanted(packet) {
            caught = true;
            return Fate::Hold;
        }
        Fate::Pass
    });
    world.run_until(|| !world.held().is_empty(), secs(30));
    world.stop_intercepting();
    let (zone, original) = world.held().remove(0);
    let view = || View {
        stats: call.stats(victim),
        state: call.state(victim),
        selected: call.agent(victim, |agent| agent.selected(floe::ComponentId::FIRST)),
        events: call.events(victim).len(),
        delivered: call.heard(victim),
    };
    let before = view();
    let dropped = || DropReason::ALL.iter().map(|r| victim.stats().dropped(*r)).sum::<u64>();
    let dropped_before = dropped();
    let bits = (original.octets.len() - if mend { 8 } else { 0 }) * 8;
    // A first octet over 3 says that it is not STUN: the application's business. Two bits of that
    // octet are left.
    // In an answer, the type of FINGERPRINT is nobody's to protect: without it the answer is as
    // authentic as before, and may count.
    let bare = wire::is(&original.octets, Kind::Success) && !mend;
    let name = original.octets.len() * 8 - 64;
    let named = name..name + 16;
    let stun = [0, 1].into_iter().chain(8..bits).filter(|bit| !(bare && named.contains(bit)));
    for bit in stun.clone() {
        let mut mutated = original.clone();
        mutated.octets[bit / 8] ^= 1 << (bit % 8);
        if mend {
            wire::mend_fingerprint(&mut mutated.octets);
        }
        world.inject(zone, mutated);
        assert_eq!(view(), before, "bit {bit} of {}", wire::describe(&original.octets));
    }
    // One bit makes a keepalive of a check, which asks for nothing.
    let least = stun.count() as u64 - u64::from(wire::is(&original.octets, Kind::Request));
    assert!(dropped() - dropped_before >= least, "each was dropped and counted");
    world.inject(zone, original);
    world.run_for(millis(100));
}

/// Runs the four cases: a check and an answer, with a broken and with a mended FINGERPRINT.
fn run(wanted: fn(&Packet) -> bool, established: bool, mend: bool) {
    let world = World::new(seed!());
    let (left, right) = (world.host(), world.host());
    let call = world.call(left, right).without_restarts();
    if established {
        world.run_until(call.completed(), secs(2));
    }
    let from_right = |packet: &Packet| packet.sender == Node::Host(1);
    flip_every_bit(&world, call, left, move |p| from_right(p) && wanted(p), mend);
    world.run_until(call.completed(), secs(5));
    assert!(call.agree());
}

fn check(packet: &Packet) -> bool {
    wire::is_check(&packet.octets)
}

fn answer(packet: &Packet) -> bool {
    wire::is(&packet.octets, Kind::Success)
}

#[test]
fn a_check_with_any_bit_flipped_changes_nothing() {
    run(check, false, false);
    run(check, true, false);
}

#[test]
fn an_answer_with_any_bit_flipped_changes_nothing() {
    run(answer, false, false);
    run(answer, true, false);
}

#[test]
fn a_check_with_any_bit_flipped_and_a_right_fingerprint_changes_nothing() {
    run(check, false, true);
    run(check, true, true);
}

#[test]
fn an_answer_with_any_bit_flipped_and_a_right_fingerprint_changes_nothing() {
    run(answer, false, true);
    run(answer, true, true);
}
