//! Who sits on the path and sees all of it: a man in the middle.

use core::time::Duration;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;

use floe::candidate::CandidateKind;
use floe::config::Limits;
use floe::{ComponentId, Instant};

use super::{arrives, base, credentials, nobody_at, sent_to};
use crate::world::rng::Rng;
use crate::world::wire::{self, Kind};
use crate::world::{Fate, Node, Packet, Seed, World, millis, secs};

/// The addresses that the man in the middle makes packets come from.
fn elsewhere(rng: &mut Rng) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, rng.below(20) as u8], 1_000 + rng.below(3) as u16))
}

/// Does one of ten things to a packet.
fn meddle(rng: &mut Rng, packet: &Packet) -> Fate {
    let way = millis(25);
    let mut altered = packet.clone();
    let again = |times: &[Duration]| {
        Fate::Instead(times.iter().map(|after| (*after, packet.clone())).collect())
    };
    match rng.below(10) {
        0 => return Fate::Drop,
        1 => return again(&[way, way, way + millis(1)]),
        2 => return again(&[millis(rng.below(3_000))]),
        // Out of order.
        3 => return again(&[way * 2]),
        4 => {
            let bit = rng.below(altered.octets.len() as u64 * 8) as usize;
            altered.octets[bit / 8] ^= 1 << (bit % 8);
        }
        5 => altered.octets.truncate(rng.below(altered.octets.len() as u64) as usize),
        6 if wire::binding(&altered.octets).is_some() => {
            // After MESSAGE-INTEGRITY, with a FINGERPRINT that is right.
            let end = altered.octets.len() - 8;
            altered.octets.truncate(end);
            let extra = wire::message(0x0001, [0; 12], &[(wire::USE_CANDIDATE, Vec::new())]);
            altered.octets.extend_from_slice(&extra[20..]);
            wire::add_fingerprint(&mut altered.octets);
        }
        7 => altered.from = elsewhere(rng),
        8 => {
            altered.from = elsewhere(rng);
            let replay = millis(rng.below(60_000));
            return Fate::Instead(vec![(way, packet.clone()), (replay, altered)]);
        }
        9 if wire::is(&packet.octets, Kind::Success) => return Fate::Drop,
        _ => return Fate::Pass,
    }
    Fate::Instead(vec![(way, altered)])
}

/// What a host sent to those whom it should never send to.
#[derive(Default)]
struct Seen {
    /// The times of fresh checks to each address that is not the peer's.
    checks: BTreeMap<(Node, SocketAddr), Vec<Instant>>,
    ids: BTreeSet<wire::TransactionId>,
    data: u64,
}

/// For half a minute everything happens to one packet in three: data goes nowhere else, few
/// addresses are learned, checks of them are few, and afterwards all is as it was.
#[test]
fn a_man_in_the_middle_denies_but_never_redirects() {
    for seed in 0..40 {
        let world = World::new(Seed(seed));
        let (left, right) = (world.host(), world.host());
        let call = world.call(left, right);
        for n in 0..20 {
            nobody_at(&world, SocketAddr::from(([203, 0, 113, n], 1)));
        }
        let honest = [base(left), base(right)];
        let seen = Rc::new(RefCell::new(Seen::default()));
        let notes = Rc::clone(&seen);
        let mut rng = Rng::new(seed, "man in the middle");
        let until = world.inner().now + secs(30);
        world.intercept(move |now, packet| {
            if !honest.contains(&packet.to) {
                let mut notes = notes.borrow_mut();
                match wire::binding(&packet.octets) {
                    Some((Kind::Request, id)) if notes.ids.insert(id) => {
                        notes.checks.entry((packet.sender, packet.to)).or_default().push(now);
                    }
                    Some(_) => {}
                    None => notes.data += 1,
                }
                return Fate::Drop;
            }
            if now < until && rng.chance(0.33) { meddle(&mut rng, packet) } else { Fate::Pass }
        });
        world.run_for(millis(1));
        call.talk(left, millis(50));
        call.talk(right, millis(50));
        world.run_for(secs(30));
        for host in [left, right] {
            let learned = call.stats(host).remote.into_iter();
            let learned = learned.filter(|remote| remote.kind == CandidateKind::PeerReflexive);
            assert!(learned.count() <= usize::from(Limits::default().peer_reflexive), "{seed}");
        }
        world.run_for(secs(10));
        world.run_until(call.completed(), secs(60));
        assert!(call.agree(), "{seed}");
        assert_eq!(call.pair(left).remote().ip(), base(right).ip());
        let seen = seen.borrow();
        assert_eq!(seen.data, 0, "{seed}: data went to a stranger");
        for ((_, to), times) in &seen.checks {
            for two in times.windows(2) {
                assert!(two[1].since(two[0]) >= millis(20), "{seed}: {to} {two:?}");
            }
            let most = u16::try_from(times.len()).unwrap();
            assert!(most <= Limits::default().unverified_packets_per_ip, "{seed}: {to} {most}");
        }
    }
}

/// One check, sent again each second for five minutes from somewhere else: that address gets a
/// stranger's budget of checks and one for each that came, and never data. [rfc8445-7.3-4]
#[test]
fn a_replayed_check_opens_no_gate() {
    let world = World::new(seed!());
    let (left, right) = (world.host(), world.host());
    let call = world.call(left, right).without_restarts();
    let thief: SocketAddr = "203.0.113.7:7".parse().unwrap();
    nobody_at(&world, thief);
    world.intercept(|_, packet| match wire::is_check(&packet.octets) {
        true if packet.sender == Node::Host(0) => Fate::Hold,
        _ => Fate::Pass,
    });
    world.run_until(|| !world.held().is_empty(), secs(2));
    world.stop_intercepting();
    let (_, check) = world.held().remove(0);
    world.run_until(call.completed(), secs(2));
    let (pair, sent) = (call.pair(right), sent_to(&world, thief));
    call.talk(right, millis(20));
    for _ in 0..300 {
        arrives(&world, thief, right, check.octets.clone());
        world.run_for(secs(1));
    }
    assert_eq!(call.pair(right), pair);
    let (checks, data) = sent.get();
    assert_eq!(data, 0);
    let most = 300 + u64::from(Limits::default().unverified_packets_per_ip);
    assert!(checks <= most, "more than came from there: {checks}");
    assert!(call.agent(right, |agent| agent.selected(ComponentId::FIRST)).is_some());
}

/// Whoever listens sees ufrags and addresses, and no password. [rfc8445-7.2.2-1]
#[test]
fn the_wire_shows_no_password() {
    let world = World::new(seed!());
    let (left, right) = (world.host(), world.host());
    let call = world.call(left, right);
    let wire = Rc::new(RefCell::new(Vec::new()));
    let tap = Rc::clone(&wire);
    world.intercept(move |_, packet| {
        tap.borrow_mut().extend_from_slice(&packet.octets);
        Fate::Pass
    });
    world.run_until(call.completed(), secs(2));
    let before = [left, right].map(|host| credentials(call, host));
    call.restart(left);
    world.run_for(secs(60));
    let after = [left, right].map(|host| credentials(call, host));
    let wire = wire.borrow();
    let shows = |text: &str| wire.windows(text.len()).any(|part| part == text.as_bytes());
    for known in before.into_iter().chain(after) {
        assert!(shows(&known.ufrag));
        assert!(!shows(&known.password));
    }
}
