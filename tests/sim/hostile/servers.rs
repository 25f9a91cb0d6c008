//! STUN and TURN servers that lie, inject and repeat.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use floe::candidate::CandidateKind;
use floe::config::Limits;

use super::{Forger, dropped, nobody_at};
use crate::world::call::Call;
use crate::world::host::Host;
use crate::world::nat::{Depends, Nat};
use crate::world::stun_server::Temper;
use crate::world::turn_server::Heard;
use crate::world::wire;
use crate::world::{Fate, Turn, World, millis, secs};

const MAPPINGS: [Depends; 3] = [Depends::Independent, Depends::Address, Depends::AddressAndPort];

/// Where a pair of NATs leads, and over how many relays, with a STUN server that is honest or not.
fn outcome(left: Nat, right: Nat, lie: Option<SocketAddr>) -> (bool, usize) {
    let world = World::new(seed!());
    let stun = world.stun("192.0.2.9:3478");
    if let Some(lie) = lie {
        nobody_at(&world, lie);
        stun.that_is(Temper::Lying(lie));
    }
    let turn = world.turn("192.0.2.1:3478");
    let [left, right] = [left, right].map(|nat| world.host().behind(nat).using(stun).using(turn));
    let call = world.call(left, right).without_restarts();
    let seen = Rc::new(RefCell::new(BTreeMap::new()));
    let notes = Rc::clone(&seen);
    world.intercept(move |_, packet| {
        if Some(packet.to.ip()) == lie.map(|lie| lie.ip()) {
            assert!(wire::is_check(&packet.octets), "{}", wire::describe(&packet.octets));
            *notes.borrow_mut().entry(packet.sender).or_insert(0_u16) += 1;
        }
        Fate::Pass
    });
    let completed = world.happens(call.completed(), secs(5));
    world.run_for(secs(60));
    let most = seen.borrow().values().copied().max().unwrap_or(0);
    assert!(most <= Limits::default().unverified_packets_per_ip, "{most}");
    (completed && call.agree(), if completed { call.hops(left) } else { 0 })
}

/// In every cell of 9 × 9 NATs: who has a TURN server is connected as before, over one relay at
/// most, and the address of the lie gets a few checks and no data.
#[test]
fn a_lying_stun_server_changes_nothing_but_types() {
    let nats = || MAPPINGS.into_iter().flat_map(|m| MAPPINGS.map(|f| Nat::new(m, f)));
    let lie: SocketAddr = "203.0.113.66:9".parse().unwrap();
    for (row, left) in nats().enumerate() {
        for (column, right) in nats().enumerate() {
            let (completed, hops) = outcome(left, right, Some(lie));
            assert!(completed && hops <= 1, "{row} {column}: {completed} {hops}");
        }
    }
}

/// A mapped address that is none makes no candidate.
#[test]
fn a_mapped_address_that_cannot_be_ours_is_no_candidate() {
    for lie in ["127.0.0.1:9", "0.0.0.0:9", "224.0.0.1:9", "255.255.255.255:9", "203.0.113.1:0"] {
        let world = World::new(seed!());
        let stun = world.stun("192.0.2.9:3478").that_is(Temper::Lying(lie.parse().unwrap()));
        let left = world.host().behind(Nat::FULL_CONE).using(stun);
        let right = world.host();
        let call = world.call(left, right).without_restarts();
        world.run_until(call.completed(), secs(3));
        let local = call.stats(left).local;
        let reflexive = |kind| kind == CandidateKind::ServerReflexive;
        assert!(!local.iter().any(|known| reflexive(known.kind)), "{lie}: {local:?}");
        assert!(stun.asked() <= 7, "{lie}: {}", stun.asked());
    }
}

/// A server that answers each transaction a thousand times over is believed once.
#[test]
fn a_thousand_answers_to_one_request_are_one() {
    let world = World::new(seed!());
    let stun = world.stun("192.0.2.9:3478");
    let left = world.host().behind(Nat::FULL_CONE).using(stun);
    let right = world.host();
    let call = world.call(left, right).without_restarts();
    world.intercept(move |_, packet| {
        if packet.from == stun_address() {
            let copies = (0..1_000).map(|n| (millis(25 + n), packet.clone())).collect();
            return Fate::Instead(copies);
        }
        Fate::Pass
    });
    world.run_until(call.completed(), secs(3));
    world.run_for(secs(5));
    let local = call.stats(left).local;
    let reflexive = local.iter().filter(|known| known.kind == CandidateKind::ServerReflexive);
    assert_eq!(reflexive.count(), 1);
}

fn stun_address() -> SocketAddr {
    "192.0.2.9:3478".parse().unwrap()
}

/// A call over a relay of the host that is returned.
fn relayed(world: &World) -> (Turn<'_>, Host<'_>, Call<'_>) {
    let (turn, stun) = (world.turn("192.0.2.1:3478"), world.stun("192.0.2.9:3478"));
    let left = world.host().behind(Nat::SYMMETRIC).using(turn);
    let right = world.host().behind(Nat::SYMMETRIC).using(stun);
    let call = world.call(left, right).without_restarts();
    world.run_until(call.completed(), secs(5));
    (turn, left, call)
}

/// A TURN server puts STUN into the mouth of a peer that has a permission: without a password
/// nothing comes of it.
#[test]
fn a_turn_server_cannot_speak_for_the_peer() {
    let world = World::new(seed!());
    let (turn, left, call) = relayed(&world);
    world.run_for(secs(10));
    let (pair, peer) = (call.pair(left), call.pair(left).remote());
    let mut forger = Forger::against(call, left);
    let wrong = "FAKEpasswordFAKEpassword";
    let before = (dropped(left), call.events(left).len(), call.heard(left));
    for n in 0..200 {
        let mut success = wire::success([n; 12], peer);
        wire::add_integrity(&mut success, wrong);
        wire::add_fingerprint(&mut success);
        turn.smuggles(peer, &forger.check_signed(&[(wire::USE_CANDIDATE, vec![])], wrong));
        turn.smuggles(peer, &success);
        world.run_for(millis(10));
    }
    assert!(dropped(left) - before.0 >= 400, "{}", dropped(left) - before.0);
    assert_eq!((call.events(left).len(), call.heard(left)), (before.1, before.2));
    assert_eq!(call.pair(left), pair);
    world.run_for(secs(60));
    assert!(call.completed()());
}

/// Data of peers that never had a permission, ten thousand times: dropped, counted, forgotten.
#[test]
fn a_turn_server_cannot_smuggle_data_of_others() {
    let world = World::new(seed!());
    let (turn, left, call) = relayed(&world);
    let (before, heard) = (dropped(left), call.heard(left));
    let learned = call.stats(left).remote.len();
    for n in 0..10_000_u32 {
        let peer = SocketAddr::from(((0xCB00_7100 + n).to_be_bytes(), 9));
        turn.smuggles(peer, b"\x80 not for you");
        if n % 100 == 0 {
            world.run_for(millis(1));
        }
    }
    world.run_for(secs(1));
    assert!(dropped(left) - before >= 10_000);
    assert_eq!((call.heard(left), call.stats(left).remote.len()), (heard, learned));
}

/// Whatever a signalled candidate says, the TURN server is not asked to send to itself or to many:
/// of six addresses one gets a permission.
#[test]
fn no_permission_is_asked_for_where_no_peer_can_be() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    let left = world.host().behind(Nat::SYMMETRIC).using(turn);
    let call = world.call(left, world.host()).deliver_signals(|_, _| Vec::new());
    world.run_until(call.has_relay(left), secs(5));
    let places =
        ["203.0.113.5:9", "127.0.0.1:80", "0.0.0.0:80", "224.0.0.1:80", "[::1]:80", "10.1.1.1:0"];
    let candidates: Vec<_> =
        places.iter().map(|text| super::candidate(text.parse().unwrap())).collect();
    let description = super::description("peer", &candidates);
    call.agent_mut(left, |mut agent| agent.set_remote_description(&description)).unwrap();
    world.run_for(secs(20));
    let (permissions, _) = turn.peers();
    assert_eq!(permissions, 1);
    assert!(turn.heard(Heard::CreatePermission) <= 2);
}
