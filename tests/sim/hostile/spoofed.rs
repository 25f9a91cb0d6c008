//! A peer with credentials that can also send in the name of others.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;

use floe::candidate::CandidateKind;
use floe::config::Limits;
use floe::{AgentState, Event};

use super::{Forger, arrives, base, flood, nobody_at, sent_to};
use crate::world::call::Call;
use crate::world::host::Host;
use crate::world::wire::{self, Kind};
use crate::world::{BEGINNING, Fate, Node, World, millis, secs};

/// A call whose sides talk 50 times a second.
fn talking(world: &World) -> (Host<'_>, Host<'_>, Call<'_>) {
    let (left, right) = (world.host(), world.host());
    let call = world.call(left, right).without_restarts();
    world.run_until(call.completed(), secs(2));
    world.run_for(secs(10));
    call.talk(left, millis(20));
    call.talk(right, millis(20));
    (left, right, call)
}

fn source(number: u64) -> SocketAddr {
    let [_, high, middle, low] = (number as u32).to_be_bytes();
    SocketAddr::from(([203, high, middle, low], 5_000))
}

/// A hundred thousand nominations from as many addresses: eight are learned, each of them gets one
/// transaction's worth of checks, and the selected pair carries all its data.
/// [rfc8445-7.3.1.3-p1]
#[test]
fn a_flood_of_nominations_from_everywhere_leaves_the_pair_alone() {
    let world = World::new(seed!());
    let (left, right, call) = talking(&world);
    let pair = call.pair(right);
    let number = flood(100_000);
    (0..number).for_each(|n| nobody_at(&world, source(n)));
    let checked = Rc::new(RefCell::new(BTreeMap::new()));
    let seen = Rc::clone(&checked);
    world.intercept(move |_, packet| {
        if packet.to.ip().to_string().starts_with("203.") {
            match wire::binding(&packet.octets) {
                Some((Kind::Request, _)) => {
                    *seen.borrow_mut().entry(packet.to).or_insert(0_u16) += 1;
                }
                // What there is no room for is refused.
                Some((Kind::Success | Kind::Error, _)) => {}
                other => panic!("{other:?} to {}", packet.to),
            }
        }
        Fate::Pass
    });
    let mut forger = Forger::against(call, right);
    let heard = (call.heard(left), call.heard(right), call.sent(left), call.sent(right));
    for n in 0..number {
        arrives(&world, source(n), right, forger.nomination());
        if n % 10 == 9 {
            world.run_for(millis(1));
        }
    }
    world.run_for(secs(60));
    call.hush(left);
    call.hush(right);
    world.run_for(secs(1));
    assert_eq!(call.pair(right), pair);
    assert_eq!(call.heard(left) - heard.0, call.sent(right) - heard.3);
    assert_eq!(call.heard(right) - heard.1, call.sent(left) - heard.2);
    let limits = Limits::default();
    let learned = call.stats(right).remote;
    let learned = learned.iter().filter(|known| known.kind == CandidateKind::PeerReflexive);
    assert!(learned.count() <= usize::from(limits.peer_reflexive));
    let checked = checked.borrow();
    assert_eq!(checked.len(), usize::from(limits.peer_reflexive));
    assert!(checked.values().all(|count| *count <= 7), "{checked:?}");
}

/// The peer completes a pair, and then nominates from the victim's address: the victim gets seven
/// checks in two minutes and none of the data. [rfc8445-12.1-1]
#[test]
fn a_victim_in_whose_name_a_peer_nominates_gets_seven_checks_and_no_data() {
    let world = World::new(seed!());
    let (_, right, call) = talking(&world);
    let victim = world.host();
    let to = base(victim);
    let sent = sent_to(&world, to);
    let pair = call.pair(right);
    let mut forger = Forger::against(call, right);
    // With the greatest value that a renomination can have.
    let value = (0xC001, u32::MAX.to_be_bytes().to_vec());
    let check = forger.check(&[(wire::USE_CANDIDATE, Vec::new()), value]);
    arrives(&world, to, right, check);
    world.run_for(secs(120));
    assert_eq!(sent.get(), (7, 0));
    assert_eq!(call.pair(right), pair);
}

/// Before there is a pair: checks in the victim's name have it checked at a steady pace, but no
/// more than a stranger's budget and what came in its name. [rfc8445-19.5.1-1]
#[test]
fn a_victim_in_whose_name_a_peer_checks_gets_a_strangers_budget() {
    let world = World::new(seed!());
    let (left, right) = (world.host(), world.host());
    let call = world.call(left, right).without_restarts();
    let victims: Vec<SocketAddr> =
        (1..=4).map(|port| (base(world.host()).ip(), port).into()).collect();
    let ip = victims[0].ip();
    let victims: Vec<SocketAddr> = (1..=4).map(|port| (ip, port).into()).collect();
    // Nothing but the signalling passes between the two.
    let checks = Rc::new(RefCell::new(0));
    let seen = Rc::clone(&checks);
    world.intercept(move |_, packet| {
        if packet.to.ip() == ip && wire::is(&packet.octets, Kind::Request) {
            *seen.borrow_mut() += 1;
        }
        Fate::Drop
    });
    world.run_for(millis(10));
    let mut forger = Forger::against(call, right);
    for victim in &victims {
        arrives(&world, *victim, right, forger.check(&[]));
    }
    world.run_for(secs(120));
    assert_eq!(*checks.borrow(), Limits::default().unverified_packets_per_ip);
}

/// It answers nothing any more and goes on sending: data ends 30 s after the last answer, to the
/// millisecond. [rfc7675-5.1-2] [rfc7675-5.1-p2]
#[test]
fn a_consent_thief_gets_data_for_thirty_seconds_and_not_longer() {
    let world = World::new(seed!());
    let (left, right, call) = talking(&world);
    let remote = call.pair(left).remote();
    call.hush(left);
    world.run_for(millis(20));
    call.talk(left, millis(1));
    let last_data = Rc::new(RefCell::new(BEGINNING));
    let seen = Rc::clone(&last_data);
    let thief = right.id;
    world.intercept(move |now, packet| {
        let answers = wire::is(&packet.octets, Kind::Success) && packet.sender == Node::Host(thief);
        if packet.to == remote && wire::binding(&packet.octets).is_none() {
            *seen.borrow_mut() = now;
        }
        if answers { Fate::Drop } else { Fate::Pass }
    });
    world.run_for(secs(60));
    let after = last_data.borrow().since(left.last_answer(remote).unwrap());
    assert!(after <= secs(30), "{after:?}");
    assert!(after > secs(30) - millis(2), "{after:?}");
}

/// Claims of our own role, with tie-breakers equal to ours and next to it, a thousand a second:
/// ten seconds after they end there is one role each, one pair, and quiet.
/// [rfc8445-7.3.1.1-2] [rfc8445-7.3.1.1-3]
#[test]
fn a_storm_of_role_conflicts_is_over_ten_seconds_after_its_end() {
    for (victim, offset) in [(0, 0), (0, 1), (0, -1), (1, 0), (1, 1), (1, -1)] {
        let world = World::new(seed!());
        let (left, right, call) = talking(&world);
        let victim = if victim == 0 { left } else { right };
        let other = if victim.id == left.id { right } else { left };
        // What its checks say of its tie-breaker now.
        let tie_breaker = Rc::new(RefCell::new(0));
        let seen = Rc::clone(&tie_breaker);
        let from = Node::from(victim);
        world.intercept(move |_, packet| {
            if packet.sender == from {
                let octets = [super::ICE_CONTROLLING, super::ICE_CONTROLLED]
                    .into_iter()
                    .find_map(|kind| wire::attribute(&packet.octets, kind));
                if let Some(octets) = octets {
                    *seen.borrow_mut() = u64::from_be_bytes(octets.try_into().unwrap());
                }
            }
            Fate::Pass
        });
        world.run_for(secs(10));
        let mut forger = Forger::against(call, victim);
        for _ in 0..10_000 {
            forger.role = call.role_of(victim);
            forger.tie_breaker = tie_breaker.borrow().wrapping_add_signed(offset);
            arrives(&world, base(other), victim, forger.check(&[]));
            world.run_for(millis(1));
        }
        world.run_for(secs(10));
        let changes = || {
            let of = |host| {
                let events = call.events(host).into_iter();
                events.filter(|(_, event)| matches!(event, Event::RoleChanged { .. })).count()
            };
            (of(left), of(right))
        };
        let (settled, packets) = (changes(), left.packets() + right.packets());
        assert_ne!(call.role_of(left), call.role_of(right), "{offset}");
        assert!(call.agree(), "{offset}");
        let data = call.sent(left) + call.sent(right);
        world.run_for(secs(60));
        assert_eq!(changes(), settled, "{offset}");
        assert_eq!(call.state(left), Some(AgentState::Completed));
        // A consent check and its answer each way every 4 s at most.
        let packets = left.packets() + right.packets() - packets;
        let data = call.sent(left) + call.sent(right) - data;
        assert!(packets - data <= 60, "{offset}: {}", packets - data);
    }
}

/// Each bit of who learned what: a flood changes nothing that is learned later.
#[test]
fn after_a_flood_the_peer_may_still_move() {
    let world = World::new(seed!());
    let stun = world.stun("192.0.2.1:3478");
    let left = world.host().behind(crate::world::nat::Nat::FULL_CONE).using(stun);
    let right = world.host();
    let call = world.call(left, right).without_restarts();
    world.run_until(call.completed(), secs(3));
    let mut forger = Forger::against(call, right);
    for n in 0..1_000 {
        arrives(&world, source(n), right, forger.nomination());
    }
    world.run_for(secs(60));
    let before: BTreeSet<SocketAddr> = [call.pair(right).remote()].into();
    left.reboot_nats();
    world.run_for(secs(30));
    assert!(!before.contains(&call.pair(right).remote()));
    assert!(call.agree());
}

/// Whatever role we take, an answer says that it is the peer's: nine checks, and the pair has
/// failed. [rfc8445-7.2.5.1-1]
#[test]
fn who_claims_every_role_is_given_up() {
    use super::{Lonely, candidate, description};
    use floe::config::{AgentConfig, Role};
    let mut lonely = Lonely::new(AgentConfig::new(Role::Controlling));
    let peer: SocketAddr = "203.0.113.5:9".parse().unwrap();
    let mut description = description("peer", &[candidate(peer)]);
    description.streams[0].end_of_candidates = true;
    lonely.remote(&description).unwrap();
    let mut answered = 0;
    for _ in 0..6_000 {
        lonely.run_for(millis(10));
        while answered < lonely.sent.len() {
            let (_, id) = wire::binding(&lonely.sent[answered].2).unwrap();
            answered += 1;
            let code = (wire::ERROR_CODE, wire::error_code(487));
            let mut conflict = wire::message(0x0111, id, &[code]);
            wire::add_integrity(&mut conflict, "FAKEpasswordFAKEpassword");
            wire::add_fingerprint(&mut conflict);
            let _ = lonely.endpoint.handle_datagram(lonely.now, lonely.socket, peer, &conflict);
            lonely.drain();
        }
    }
    assert_eq!(lonely.sent.len(), 9);
    assert_eq!(lonely.endpoint.agent(lonely.agent).unwrap().state(), AgentState::Failed);
}
