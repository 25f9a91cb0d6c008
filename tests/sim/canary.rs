//! Whether the tests would find what others found in the field: real bugs are planted one at a time,
//! and hunted with what the simulator and the fuzz targets have.

use core::cell::RefCell;
use core::fmt::Write as _;
use core::panic::AssertUnwindSafe;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant as Clock;

use floe::canary::{Bug, plant};
use floe::config::Role;

use crate::matrix;
use crate::oracle::{Class, judge};
use crate::scenario::Scenario;
use crate::topology::AddressKind;
use crate::world::call::Call;
use crate::world::nat::{Depends, Nat, Scope};
use crate::world::network::INTERNET;
use crate::world::rng::Rng;
use crate::world::wire::{self, Kind};
use crate::world::{Fate, Node, Packet, Seed, World, millis, secs};

#[allow(unreachable_pub, dead_code, unused_imports, reason = "a crate of its own, included")]
#[path = "../../fuzz/src/lib.rs"]
mod targets;

/// Every bug, where it was seen, and what it is.
const BUGS: [(Bug, &str); 13] = [
    (Bug::DataBeforeAnswer, "a nomination makes a pair valid without an answer from there"),
    (Bug::AddressFromData, "data from anywhere is taken for a known path's"),
    (Bug::StrayAnswerIsConsent, "any response renews consent"),
    (Bug::PingPong, "each check triggers another, for ever"),
    (Bug::AfterIntegrity, "attributes after the integrity count"),
    (Bug::EmptyAddress, "an empty address attribute is read"),
    (Bug::FrameLengthWraps, "the length of a message in a stream wraps at 16 bits"),
    (Bug::StalePlace, "pairs keep the places of candidates after others were forgotten"),
    (Bug::RelabelForgets, "a peer-reflexive candidate that is signalled loses its consent"),
    (Bug::DeadlineForgetsReplies, "poll_timeout does not tell of answers that are owed"),
    (Bug::DeadlineStays, "poll_timeout names a time that has passed"),
    (Bug::EndlessChain, "peer-reflexive candidates have no bound"),
    (Bug::SecondsWrap, "consent counts seconds in 16 bits"),
];

type Hunt = (&'static str, fn(u64));

/// What every seed is hunted with, in this order.
const HUNTS: [Hunt; 10] = [
    ("matrix: a cell", cell),
    ("swarm", swarm),
    ("call: loss and few pairs", rough),
    ("call: at rest", rest),
    ("call: restarts behind NATs that forget", renumbered),
    ("attacker: data of a stranger", stranger),
    ("attacker: answers to nothing", replay),
    ("attacker: attributes appended on the way", appended),
    ("fuzz targets: random octets", octets),
    ("call: a day without a word", day),
];

/// Seeds for each bug.
const BUDGET: u64 = 200;

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.below(from.len() as u64) as usize]
}

/// A cell of the matrix, as the oracle says.
fn cell(seed: u64) {
    let mut rng = Rng::new(seed, "cell");
    let classes = matrix::classes(pick(&mut rng, &[Scope::Endpoint, Scope::Mapping]));
    let networks = [pick(&mut rng, &classes), pick(&mut rng, &classes)];
    let turns = [rng.chance(0.5), rng.chance(0.5)];
    let topology = matrix::facing(networks, AddressKind::V4, turns);
    let manners: Vec<_> = matrix::manners().collect();
    let manner = pick(&mut rng, &manners);
    let verdict = judge(&topology);
    let world = World::new(Seed(seed));
    let (call, outcome) = matrix::run(&world, topology.build(&world), manner);
    let limit = matrix::deadline(&topology, &verdict, manner.signalling);
    let faults = matrix::faults(&verdict, limit, &outcome);
    assert!(faults.is_empty(), "{}", faults.join("; "));
    assert!(verdict.class != Class::None || call.both_failed()(), "not failed after a minute");
}

/// A call over bad links with room for few pairs, and data from the beginning.
fn rough(seed: u64) {
    let mut rng = Rng::new(seed, "rough");
    let classes = matrix::classes(Scope::Endpoint);
    let networks = [pick(&mut rng, &classes), pick(&mut rng, &classes)];
    let topology = matrix::facing(networks, AddressKind::V4, [rng.chance(0.5), rng.chance(0.5)]);
    let world = World::new(Seed(seed));
    let hosts = topology.build(&world).map(|host| host.with_addresses(2));
    let pairs = 1 + rng.below(8) as u16;
    let call = world.call(hosts[0], hosts[1]).signalling(millis(rng.below(300)));
    let call = call.tune_both(move |config| config.limits.pairs = pairs);
    world.links(|link| {
        link.loss = 0.3;
        link.jitter = millis(40);
        link.duplicate = 0.1;
    });
    // Until the offer is there.
    world.run_for(millis(301));
    for host in call.hosts() {
        call.talk(host, millis(20));
    }
    world.run_for(secs(30));
}

/// A scenario of the swarm.
fn swarm(seed: u64) {
    if let Err(violation) = Scenario::of_seed(seed).run() {
        panic!("{violation}");
    }
}

/// Two homes meet directly.
fn meet(world: &World) -> Call<'_> {
    let stun = world.stun("192.0.2.1:3478");
    let [left, right] = [Nat::PORT_RESTRICTED, Nat::FULL_CONE].map(|nat| {
        let nat = Nat { timeout: secs(300), ..nat };
        world.host().behind(nat).using(stun)
    });
    let call = world.call(left, right).without_restarts();
    world.run_until(call.completed(), secs(5));
    call
}

/// A call that nobody speaks on sends consent checks and little else.
fn rest(seed: u64) {
    let world = World::new(Seed(seed));
    let _call = meet(&world);
    world.run_for(secs(5));
    let before = world.packets();
    world.run_for(secs(60));
    let sent = world.packets() - before;
    assert!(sent <= 80, "{sent} packets in a minute");
}

/// What a stranger sends is no data of the call's.
fn stranger(seed: u64) {
    let world = World::new(Seed(seed));
    let (left, right) = (world.host(), world.host());
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(5));
    for n in 0..4 {
        let packet = Packet {
            from: format!("203.0.113.{}:4000", 1 + n).parse().unwrap(),
            to: call.pair(left).0.base,
            octets: b"\x80not from your peer".to_vec(),
            sender: Node::Nowhere,
            origin: None,
            toward: None,
        };
        world.inject(INTERNET, packet);
    }
    assert_eq!(call.heard(left), 0, "a stranger's data was delivered");
}

/// The NATs in front of both forget them, and each restart brings new addresses for old ones, that
/// are given up by then or not.
fn renumbered(seed: u64) {
    let world = World::new(Seed(seed));
    let call = meet(&world);
    let [left, right] = call.hosts();
    for pause in [0, 20, 0] {
        left.reboot_nats();
        right.reboot_nats();
        world.run_for(secs(pause));
        call.restart(left);
        world.run_for(secs(2));
        // The generation before is forgotten meanwhile.
        for _ in 0..58 {
            world.run_for(secs(1));
            let [here, there] = [left, right].map(|host| call.pair(host).0);
            assert_eq!(here.local.address, there.remote.address);
            assert_eq!(there.local.address, here.remote.address);
        }
    }
}

/// The peer is gone, and somebody sends answers to what nobody asked.
fn replay(seed: u64) {
    let world = World::new(Seed(seed));
    let (left, right) = (world.host(), world.host());
    let answer = Rc::new(RefCell::new(None));
    let seen = Rc::clone(&answer);
    world.intercept(move |_, packet| {
        if packet.sender == Node::Host(1) && wire::is(&packet.octets, Kind::Success) {
            *seen.borrow_mut() = Some(packet.clone());
        }
        Fate::Pass
    });
    let call = world.call(left, right).without_restarts();
    world.run_until(call.completed(), secs(5));
    world.cut(left, right);
    call.talk(left, millis(100));
    for _ in 0..45 {
        world.run_for(secs(1));
        let mut packet = answer.borrow().clone().unwrap();
        packet.octets[8] ^= 1;
        wire::mend_fingerprint(&mut packet.octets);
        world.inject(INTERNET, packet);
    }
}

/// Somebody on the path appends USE-CANDIDATE to all checks, and makes the fingerprint fit.
fn appended(seed: u64) {
    let outcome = |appends: bool| {
        let world = World::new(Seed(seed));
        let stun = world.stun("192.0.2.1:3478");
        let turn = world.turn("192.0.2.2:3478");
        let nat = Nat::new(Depends::Independent, Depends::Address);
        let [left, right] = [0, 1].map(|_| world.host().behind(nat).using(stun).using(turn));
        world.intercept(move |_, packet| {
            if !appends || !wire::is_check(&packet.octets) {
                return Fate::Pass;
            }
            let mut octets = packet.octets.clone();
            octets.truncate(octets.len() - 8);
            octets.extend(wire::USE_CANDIDATE.to_be_bytes());
            octets.extend([0, 0]);
            wire::add_fingerprint(&mut octets);
            Fate::Replace(octets)
        });
        let call = world.call(left, right);
        world.run_for(secs(5));
        [left, right].map(|host| call.states(host))
    };
    assert_eq!(outcome(true), outcome(false), "what was appended counts");
}

/// Octets of the right shape, and what must hold for any.
fn octets(seed: u64) {
    let mut rng = Rng::new(seed, "octets");
    for _ in 0..8 {
        targets::stun_decode(&stun(&mut rng));
        targets::stun_build(&random(&mut rng, 200));
        targets::endpoint_input(&random(&mut rng, 400));
        targets::turn_client(&random(&mut rng, 400));
    }
    targets::deframer(&stream(&mut rng));
}

fn random(rng: &mut Rng, most: u64) -> Vec<u8> {
    (0..rng.below(most)).map(|_| rng.next() as u8).collect()
}

/// A message of attributes that mostly mean something, with values of any length.
fn stun(rng: &mut Rng) -> Vec<u8> {
    let kinds = [0x0001, 0x0006, 0x0008, 0x0009, 0x0012, 0x0016, 0x0020, 0x0024, 0x0025, 0x802a];
    let attributes: Vec<(u16, Vec<u8>)> =
        (0..rng.below(6)).map(|_| (pick(rng, &kinds), random(rng, 24))).collect();
    let kind = pick(rng, &[0x0001, 0x0011, 0x0101, 0x0111]);
    let id = rng.octets().first_chunk().copied().unwrap();
    let mut message = wire::message(kind, id, &attributes);
    if rng.chance(0.5) {
        wire::add_fingerprint(&mut message);
    }
    message
}

/// Messages in a stream, of lengths near both ends of the range.
fn stream(rng: &mut Rng) -> Vec<u8> {
    let mut stream = vec![1, rng.next() as u8];
    for _ in 0..3 {
        let words = rng.below(16) as u16;
        let length = if rng.chance(0.5) { words * 4 } else { 65_532 - words * 4 };
        let channel = rng.chance(0.3);
        stream.extend(if channel { [0x40, 0x01] } else { [0x01, 0x01] });
        stream.extend(length.to_be_bytes());
        if !channel {
            stream.extend(wire::COOKIE);
            stream.extend([7; 12]);
        }
        stream.resize(stream.len() + usize::from(length), 0);
    }
    stream
}

/// A day on which nothing happens; once in fifty seeds, as it is long.
fn day(seed: u64) {
    if !seed.is_multiple_of(50) {
        return;
    }
    let world = World::new(Seed(seed));
    let call = meet(&world);
    let roles = call.hosts().map(|host| call.role_of(host));
    assert_eq!(roles, [Role::Controlling, Role::Controlled]);
    for _ in 0..24 {
        world.run_for(secs(3_600));
        assert!(call.completed()(), "the call ended by itself after {:?}", world.elapsed());
    }
}

/// Runs a hunt with a bug planted; what it found, in a line.
fn hunt(bug: Option<Bug>, run: fn(u64), seed: u64) -> Option<String> {
    plant(bug);
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| run(seed)));
    plant(None);
    let panic = outcome.err()?;
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    let text = text.unwrap_or_default();
    Some(text.split(['\n', '[', '{']).next().unwrap_or_default().trim().chars().take(90).collect())
}

const HEAD: &str = "# Planted bugs, and what finds them

Made by `FLOE_BLESS=1 cargo test --features cli,srv,canary --test sim canary`.
Each bug was seen in the field, in another implementation of ICE, STUN or TURN; `src/canary.rs`
plants it here, for the tests alone.
Seed by seed all hunts of `tests/sim/canary.rs` run until one fails. A run is one hunt with one
seed. Without a bug none of them fails.

| bug | what it is | found by | runs | what it said |
|---|---|---|---|---|
";

#[test]
#[expect(clippy::disallowed_methods, reason = "how long it took is printed, and decides nothing")]
fn every_planted_bug_is_found() {
    let mut made = String::from(HEAD);
    let mut missed = Vec::new();
    for (bug, what) in BUGS {
        let start = Clock::now();
        let runs = (0..BUDGET).flat_map(|seed| HUNTS.map(|(name, run)| (name, run, seed)));
        let found = runs.zip(1..).find_map(|((name, run, seed), runs)| {
            hunt(Some(bug), run, seed).map(|said| (name, runs, said))
        });
        let Some((name, runs, said)) = found else {
            missed.push(bug);
            continue;
        };
        println!("{bug:?}: {name} after {runs} runs and {:?}: {said}", start.elapsed());
        writeln!(made, "| {bug:?} | {what} | {name} | {runs} | {said} |").unwrap();
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sim/CANARY.md");
    if std::env::var_os("FLOE_BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    // The numbers of runs change with every change of timing; the bugs do not.
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    for (bug, what) in BUGS {
        assert!(kept.contains(&format!("| {bug:?} | {what} |")), "CANARY.md lacks {bug:?}");
    }
}

#[test]
fn without_a_planted_bug_nothing_is_found() {
    for seed in 0..20 {
        for (name, run) in HUNTS {
            assert_eq!(hunt(None, run, seed), None, "{name}, seed {seed}");
        }
    }
}
