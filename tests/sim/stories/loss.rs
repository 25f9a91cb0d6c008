//! Lossy links: thousands of seeds, how long they took and with how many packets.

use core::fmt::Write as _;
use core::time::Duration;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use floe::AgentState;
use floe::config::{AgentConfig, CheckBackoff, ConsentMode, Role};

use crate::stories::figures::{Figures, factor};
use crate::world::{BEGINNING, Fate, Node, Seed, World, millis, secs, wire};

/// The pace that both sides propose.
const TA: Duration = millis(20);

/// What became of many calls.
struct Run {
    /// How long each took until both sides could send.
    sendable: Figures,
    /// How many took longer than 40 s.
    missed: usize,
    /// The median number of packets until both could send, and until both had selected their pair.
    packets: [u64; 2],
}

/// The letter of the RFC, or what floe does unless it is told otherwise.
fn backoff(letter: bool) -> CheckBackoff {
    match letter {
        true => CheckBackoff::Rfc,
        false => AgentConfig::new(Role::Controlling).check_backoff,
    }
}

/// Makes calls between hosts with so many addresses each, all of which reach one another, 25 ms
/// each way.
fn connect(sessions: u64, addresses: usize, loss: f64, letter: bool) -> Run {
    let Seed(seed) = seed!();
    let limit = secs(40);
    let mut times = Vec::new();
    let mut packets = [Vec::new(), Vec::new()];
    let mut missed = 0;
    for n in 0..sessions {
        let world = World::new(Seed(seed.wrapping_add(n)));
        world.links(|link| link.loss = loss);
        watch_the_pace(&world, letter);
        let left = world.host().with_addresses(addresses);
        let right = world.host().with_addresses(addresses);
        let call = world.call(left, right);
        let call = call.tune_both(move |config| config.check_backoff = backoff(letter));
        missed += usize::from(!world.happens(call.both_sendable(), limit));
        times.push((world.elapsed(), seed.wrapping_add(n)));
        packets[0].push(world.packets());
        world.happens(call.completed(), limit);
        packets[1].push(world.packets());
    }
    let packets = packets.map(|mut all| {
        all.sort_unstable();
        all[all.len() / 2]
    });
    Run { sendable: Figures::from(times), missed, packets }
}

/// Before the first consent checks no host starts more checks than one in Ta, however many are lost:
/// one that nominates may be a check ahead, which is then missing after it, but not by the letter.
/// [rfc8445-14.2-3]
fn watch_the_pace(world: &World, letter: bool) {
    let known = Rc::new(RefCell::new(BTreeSet::new()));
    let due = [Cell::new(BEGINNING), Cell::new(BEGINNING)];
    world.intercept(move |now, packet| {
        let Node::Host(host) = packet.sender else { return Fate::Pass };
        if now < BEGINNING + secs(4)
            && let Some((wire::Kind::Request, id)) = wire::binding(&packet.octets)
            && known.borrow_mut().insert(id)
        {
            let early = due[host].get().since(now);
            let nominates = wire::attribute(&packet.octets, wire::USE_CANDIDATE).is_some();
            let allowed = if nominates && !letter { TA } else { Duration::ZERO };
            assert!(early <= allowed, "a check {early:?} before it is due");
            due[host].set(due[host].get().max(now) + TA);
        }
        Fate::Pass
    });
}

#[test]
fn at_thirty_percent_loss_each_way_everybody_connects_in_time() {
    for addresses in [1, 4] {
        let run = connect(2_000 * factor(), addresses, 0.3, false);
        assert_eq!(run.missed, 0);
        let what = format!("({addresses},{addresses}) at 30 %, packets {:?}", run.packets);
        run.sendable.hold(&what, millis(500), millis(1_500));
        assert!(run.packets[1] <= 40, "{:?} packets", run.packets);
    }
}

#[test]
fn at_ten_percent_loss_each_way_nobody_waits_for_long() {
    for addresses in [1, 4] {
        let run = connect(2_000 * factor(), addresses, 0.1, false);
        assert_eq!(run.missed, 0);
        let what = format!("({addresses},{addresses}) at 10 %, packets {:?}", run.packets);
        run.sendable.hold(&what, millis(100), millis(700));
        assert!(run.packets[1] <= 40, "{:?} packets", run.packets);
    }
}

/// The table of what evidence gains over the letter. With `FLOE_BLESS` it is written.
#[test]
fn the_letter_of_the_rfc_is_measured_beside() {
    let mut table = String::from(TABLE_HEAD);
    for addresses in [1, 4] {
        for percent in [0, 10, 20, 30] {
            for letter in [true, false] {
                let run = connect(500 * factor(), addresses, f64::from(percent) / 100.0, letter);
                let at = |percent| run.sendable.percentile(percent).as_millis();
                let name = if letter { "`Rfc`" } else { "`Evidence`" };
                let [p50, p90, p99] = [50.0, 90.0, 99.0].map(at);
                let [sendable, selected] = run.packets;
                let worst = run.sendable.worst().as_millis();
                let share = run.missed as f64 * 100.0 / (500 * factor()) as f64;
                let missed = if run.missed == 0 { "0".into() } else { format!("{share:.2} %") };
                writeln!(
                    table,
                    "| ({addresses},{addresses}) | {percent} % | {name} | {p50} | {p90} | {p99} | \
                     {worst} | {missed} | {sendable} | {selected} |",
                )
                .unwrap();
            }
        }
    }
    eprintln!("{table}");
    if std::env::var_os("FLOE_BLESS").is_some() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sim/LOSS.md");
        std::fs::write(file, &table).unwrap();
    }
}

const TABLE_HEAD: &str = "# How calls connect over lossy links

Two hosts with so many addresses each, all of which reach one another; a round trip of 50 ms, and
independent loss each way. Milliseconds until both sides can send, the share of calls that could not
within 40 s, and the median number of packets of both sides until both can send and until both have
selected their pair. `Rfc` is the letter of RFC 8445 §14.3 and RFC 8489 §6.2.1, `Evidence` the
default. Written by the story `the_letter_of_the_rfc_is_measured_beside`.

| addresses | loss | backoff | p50 | p90 | p99 | worst | not in 40 s | packets, sendable | packets, selected |
|---|---|---|---|---|---|---|---|---|---|
";

/// Consent with verification lasts where the letter of RFC 7675 does not: a day at 20 % loss each
/// way, and an hour by the letter beside it.
#[test]
fn a_lossy_day_does_not_end_consent() {
    let Seed(seed) = seed!();
    let mut expired = [0, 0];
    let sessions = if factor() == 1 { 2 } else { 20 * factor() };
    for (strict, lasts) in [(false, secs(24 * 3_600)), (true, secs(3_600))] {
        for n in 0..sessions {
            let world = World::new(Seed(seed.wrapping_add(n)));
            let (left, right) = (world.host(), world.host());
            let call = world.call(left, right).without_restarts().tune_both(move |config| {
                config.consent = if strict { ConsentMode::Strict } else { ConsentMode::Verify };
            });
            world.run_until(call.completed(), secs(5));
            world.links(|link| link.loss = 0.2);
            world.run_for(lasts);
            let failed = [left, right].iter().any(|side| {
                call.states(*side).iter().any(|(_, state)| *state == AgentState::Failed)
            });
            expired[usize::from(strict)] += u64::from(failed);
        }
    }
    eprintln!(
        "20 % loss each way: consent expired in {} of {sessions} sessions of 24 h; by the letter \
         in {} of {sessions} of 1 h",
        expired[0], expired[1]
    );
    assert_eq!(expired[0], 0);
}

/// Ten hours at 5 % loss each way, beside a relay that could be switched to.
#[test]
fn a_little_loss_raises_no_alarm() {
    let Seed(seed) = seed!();
    let sessions = 4 * factor();
    let mut alarms = 0;
    for n in 0..sessions {
        let world = World::new(Seed(seed.wrapping_add(n)));
        let turn = world.turn("192.0.2.1:3478");
        let (left, right) = (world.host().using(turn), world.host().using(turn));
        let call = world.call(left, right);
        world.run_until(call.completed(), secs(5));
        world.run_for(secs(10));
        let states = |side| call.states(side).len() as u64;
        let before = [left, right].map(|side| (call.stats(side).selected_changes, states(side)));
        world.links(|link| link.loss = 0.05);
        world.run_for(secs(10 * 3_600));
        for (side, before) in [left, right].into_iter().zip(before) {
            alarms += u64::from(call.stats(side).selected_changes - before.0);
            alarms += states(side) - before.1;
        }
    }
    eprintln!("5 % loss each way: {alarms} switches or disconnects in {sessions} x 10 h");
    // A switch counts on both sides.
    assert!(alarms <= (2 * sessions).div_ceil(10), "{alarms} alarms in {sessions} x 10 h");
}

/// Duplicates, reordering and flipped bits on top.
#[test]
fn a_bad_link_is_still_a_link() {
    let Seed(seed) = seed!();
    for n in 0..50 {
        let world = World::new(Seed(seed.wrapping_add(n)));
        world.links(|link| {
            link.loss = 0.1;
            link.duplicate = 0.1;
            link.reorder = 0.25;
            link.corrupt = 0.05;
            link.jitter = Duration::from_millis(100);
        });
        let (left, right) = (world.host().with_addresses(2), world.host().with_addresses(2));
        let call = world.call(left, right);
        world.run_until(call.completed(), secs(35));
        world.run_for(secs(30));
        assert!(call.agree());
    }
}
