//! Who is not on the path and knows no password: at most the ufrags. (Off-path.)

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use floe::config::EndpointConfig;
use floe::{ComponentId, DropReason};

use super::{Forger, arrives, base, credentials, dropped, flood, nobody_at};
use crate::world::rng::Rng;
use crate::world::wire::{self, Kind};
use crate::world::{BEGINNING, Fate, Node, World, millis, secs};

/// One of a hundred strangers.
fn stranger(number: u64) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, (number % 100) as u8], 1_000 + (number % 7) as u16))
}

/// What strangers send: noise, halves of messages, damaged messages, answers that nobody asked
/// for, data, and, one in ten, checks with the right ufrags and a wrong password.
fn junk(rng: &mut Rng, number: u64, check: &[u8], forger: &mut Forger) -> Vec<u8> {
    let mut octets = check.to_vec();
    match number % 10 {
        0 => return forger.check_signed(&[], "FAKEpasswordFAKEpassword"),
        1..=3 => {
            let bit = rng.below(octets.len() as u64 * 8) as usize;
            octets[bit / 8] ^= 1 << (bit % 8);
        }
        4 => octets.truncate(rng.below(octets.len() as u64) as usize),
        5 => octets.extend(rng.octets()),
        6 => {
            let id = *rng.octets().first_chunk().unwrap();
            octets = wire::success(id, stranger(number));
            wire::add_fingerprint(&mut octets);
        }
        7 => octets = rng.octets()[..rng.below(32) as usize].to_vec(),
        8 => {
            octets = rng.octets().repeat(1 + rng.below(40) as usize);
            octets[0] &= 3;
        }
        _ => {
            octets = rng.octets().to_vec();
            octets[0] = 0x80;
        }
    }
    octets
}

/// Each datagram is dropped and counted, or is nobody's; the pair, and the data on it, do not
/// notice. [rfc8445-7.3-2]
#[test]
fn junk_of_strangers_is_counted_and_changes_nothing() {
    let world = World::new(seed!());
    let (left, right) = (world.host(), world.host());
    let call = world.call(left, right).without_restarts();
    world.run_until(call.completed(), secs(2));
    world.run_for(secs(10));
    let mut rng = Rng::new(7, "junk");
    let mut forger = Forger::against(call, left);
    let check = forger.check(&[]);
    let (pair, events) = (call.pair(left), call.events(left).len());
    let before = (dropped(left), left.unclaimed() as u64);
    call.talk(left, millis(20));
    call.talk(right, millis(20));

    let number = flood(100_000);
    for n in 0..number {
        let octets = junk(&mut rng, n, &check, &mut forger);
        arrives(&world, stranger(n), left, octets);
        if n % 100 == 99 {
            world.run_for(millis(10));
        }
    }
    let counted = (dropped(left) - before.0) + (left.unclaimed() as u64 - before.1);
    assert_eq!(counted, number);
    assert_eq!((call.pair(left), call.events(left).len()), (pair, events));
    assert_eq!(call.stats(left).remote.len(), 1, "nobody was learned");
    call.hush(left);
    call.hush(right);
    world.run_for(secs(1));
    assert_eq!((call.heard(left), call.heard(right)), (call.sent(right), call.sent(left)));
}

/// Refusals are at most as many as the configuration says, each shorter than what it refuses.
/// [rfc8489-9.1.3-13]
#[test]
fn strangers_get_ten_refusals_a_second_each_and_fifty_in_all() {
    for strangers in [1, 100] {
        let world = World::new(seed!());
        let (left, right) = (world.host(), world.host());
        let call = world.call(left, right).without_restarts();
        world.run_until(call.completed(), secs(2));
        (0..100).for_each(|n| nobody_at(&world, stranger(n)));
        let seen = Rc::new(RefCell::new(BTreeMap::new()));
        let refusals = Rc::clone(&seen);
        world.intercept(move |now, packet| {
            if packet.to.ip().to_string().starts_with("203.0.113.") {
                assert!(wire::is(&packet.octets, Kind::Error));
                assert_eq!(packet.octets.len(), 36);
                let second = now.since(BEGINNING).as_millis() / 1_000;
                *refusals.borrow_mut().entry(second).or_insert(0) += 1;
            }
            Fate::Pass
        });
        let mut forger = Forger::against(call, left);
        world.run_for(secs(20) - world.elapsed());
        for n in 0..10_000 {
            let check = forger.check_signed(&[], "FAKEpasswordFAKEpassword");
            arrives(&world, stranger(n % strangers), left, check);
            world.run_for(millis(1));
        }
        let config = EndpointConfig::default();
        let each = match strangers {
            1 => config.error_replies_per_ip,
            _ => config.error_replies,
        };
        let expected: BTreeMap<u128, u16> = (20..30).map(|second| (second, each)).collect();
        assert_eq!(*seen.borrow(), expected);
    }
}

/// The right transaction, from the right address, with the password of an earlier generation.
/// [rfc8489-9.1.4-1]
#[test]
fn an_answer_with_the_password_of_an_earlier_generation_is_none() {
    let world = World::new(seed!());
    let (left, right) = (world.host(), world.host());
    let call = world.call(left, right).without_restarts();
    world.run_until(call.completed(), secs(2));
    let (old, to) = (credentials(call, right), base(right));
    call.restart(left);
    world.intercept(|_, packet| match wire::is_check(&packet.octets) {
        true => Fate::Hold,
        false => Fate::Pass,
    });
    let current = |octets: &[u8], call: crate::world::call::Call<'_>| {
        let ufrag = credentials(call, right).ufrag;
        wire::attribute(octets, wire::USERNAME)
            .is_some_and(|name| name.starts_with(ufrag.as_bytes()) && ufrag != old.ufrag)
    };
    let asks = |packet: &crate::world::Packet| {
        packet.sender == Node::from(left) && current(&packet.octets, call)
    };
    world.run_until(|| world.held().iter().any(|(_, packet)| asks(packet)), secs(2));
    world.stop_intercepting();

    let (_, check) = world.held().into_iter().find(|(_, packet)| asks(packet)).unwrap();
    let (_, id) = wire::binding(&check.octets).unwrap();
    let mut forged = wire::success(id, base(left));
    wire::add_integrity(&mut forged, &old.password);
    wire::add_fingerprint(&mut forged);
    let before = (call.stats(left), left.stats().dropped(DropReason::Integrity));
    arrives(&world, to, left, forged);
    assert_eq!(call.stats(left), before.0);
    assert_eq!(left.stats().dropped(DropReason::Integrity), before.1 + 1);
    // The true one counts.
    world.run_until(call.completed(), secs(5));
    assert!(call.agent(left, |agent| agent.selected(ComponentId::FIRST)).is_some());
}

/// Forged ICMP errors for every packet: nothing fails, and nothing takes longer.
/// [rfc8445-7.2.5.2.2-1]
#[test]
fn forged_unreachables_fail_no_pair_and_delay_nothing() {
    use crate::world::nat::Nat;
    let connect = |forge: bool| {
        let world = World::new(crate::world::Seed(3));
        let stun = world.stun("192.0.2.1:3478");
        let [left, right] = [0, 1].map(|_| world.host().behind(Nat::PORT_RESTRICTED).using(stun));
        let call = world.call(left, right).without_restarts().signalling(millis(30));
        let sent = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&sent);
        world.intercept(move |_, packet| {
            if let (Node::Host(host), Some((socket, to)), true) =
                (packet.sender, packet.origin, packet.toward != Some(Node::Server(0)))
            {
                seen.borrow_mut().push((host, socket, to));
            }
            Fate::Pass
        });
        while !call.completed()() {
            world.run_for(millis(1));
            assert!(world.elapsed() < secs(5), "{:?} {:?}", call.states(left), call.states(right));
            for (host, socket, to) in sent.take() {
                if forge {
                    world.inner().host_unreachable(host, socket, to);
                }
            }
        }
        let took = world.elapsed();
        for _ in 0..600 {
            world.run_for(millis(100));
            for (host, socket, to) in sent.take() {
                if forge {
                    world.inner().host_unreachable(host, socket, to);
                }
            }
        }
        assert!(call.completed()());
        assert_eq!(call.failures(left).len() + call.failures(right).len(), 0);
        took
    };
    assert_eq!(connect(true), connect(false));
}
