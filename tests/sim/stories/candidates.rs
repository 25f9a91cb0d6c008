//! Candidates that come late, twice, after the end, or from a generation that is gone.

use std::collections::BTreeSet;

use floe::CandidateRejected;

use crate::world::nat::{Depends, Nat};
use crate::world::signalling::Signal;
use crate::world::{World, millis, secs};

#[test]
fn a_late_candidate_is_not_too_late() {
    let world = World::new(seed!());
    let stun = world.stun("192.0.2.1:3478");
    let left = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
    let right = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
    let call = world.call(left, right).deliver_signals(|_, signal| {
        let late = matches!(signal, Signal::Candidate { .. } | Signal::End { .. });
        vec![if late { secs(20) } else { secs(0) }]
    });

    let took = world.run_until(call.completed(), secs(22));
    assert!(took >= secs(20), "{took:?}");
    assert!(call.agree());
}

/// A check may come sooner than the candidate that it is from: that is peer-reflexive then, and
/// known at one base alone. Once it is signalled, the others are paired with it, too.
/// [rfc8838-11-2]
#[test]
fn a_relay_is_paired_with_a_candidate_whose_check_came_first() {
    let world = World::new(seed!());
    let stun = world.stun("192.0.2.1:3478");
    let turn = world.turn("192.0.2.2:3478");
    let open_but_hard = Nat::new(Depends::Address, Depends::Independent);
    let left = world.host().behind(open_but_hard).using(stun).using(turn);
    let right = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
    let call = world.call(left, right).signalling(millis(300));

    world.run_until(call.completed(), secs(5));
    assert_eq!((call.hops(left), call.hops(right)), (1, 1));
    assert!(call.agree());
}

#[test]
fn a_candidate_that_comes_twice_counts_once() {
    let world = World::new(seed!());
    let stun = world.stun("192.0.2.1:3478");
    let left = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
    let right = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
    let call = world.call(left, right).deliver_signals(|_, signal| match signal {
        Signal::Candidate { .. } => vec![secs(0), secs(0), millis(100)],
        Signal::End { .. } => vec![secs(1), secs(2)],
        _ => vec![secs(0)],
    });

    world.run_until(call.completed(), secs(5));
    for side in [left, right] {
        let remote = call.stats(side).remote;
        let distinct: BTreeSet<_> = remote.iter().map(|c| (c.component, c.address)).collect();
        assert_eq!(remote.len(), distinct.len(), "{remote:?}");
    }
    assert!(call.agree());
}

/// [rfc8838-13-1]
#[test]
fn a_candidate_of_an_old_generation_is_refused() {
    let world = World::new(seed!());
    let (left, right) = (world.host(), world.host());
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(2));

    let old = call.description(right).streams[0].clone();
    call.restart(left);
    world.run_for(secs(1));
    let new = call.description(right).streams[0].clone();
    let ufrag = |stream: &floe::sdp::StreamDescription| {
        stream.credentials.as_ref().expect("credentials").ufrag.clone()
    };
    assert_ne!(ufrag(&old), ufrag(&new));

    let before = call.stats(left);
    let mut stray = old.candidates[0].clone();
    stray.address = floe::candidate::CandidateAddress::Ip("198.51.100.9:9".parse().unwrap());
    let result =
        call.agent_mut(left, |mut agent| agent.add_remote_candidate(0, Some(&ufrag(&old)), &stray));
    assert_eq!(result, Err(CandidateRejected::UnknownGeneration));
    let after = call.stats(left);
    assert_eq!((before.remote, before.pairs.len()), (after.remote, after.pairs.len()));
}

/// [rfc8838-13-8]
#[test]
fn a_candidate_after_the_end_is_refused() {
    let world = World::new(seed!());
    let (left, right) = (world.host(), world.host());
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(2));

    let mut stray = call.description(right).streams[0].candidates[0].clone();
    stray.address = floe::candidate::CandidateAddress::Ip("198.51.100.9:9".parse().unwrap());
    let result = call.agent_mut(left, |mut agent| agent.add_remote_candidate(0, None, &stray));
    assert_eq!(result, Err(CandidateRejected::AfterEndOfCandidates));
}

#[test]
fn candidates_out_of_order_do_no_harm() {
    let world = World::new(seed!());
    let stun = world.stun("192.0.2.1:3478");
    let left = world.host().behind(Nat::FULL_CONE).with_addresses(3).using(stun);
    let right = world.host().behind(Nat::PORT_RESTRICTED).with_addresses(3).using(stun);
    let mut delay = 700;
    let call = world.call(left, right).deliver_signals(move |_, signal| {
        delay -= 40;
        vec![match signal {
            Signal::Candidate { .. } => millis(delay),
            Signal::End { .. } => secs(2),
            _ => secs(0),
        }]
    });

    world.run_until(call.completed(), secs(5));
    assert!(call.agree());
    assert_eq!(call.rejections(left) + &call.rejections(right), "");
}
