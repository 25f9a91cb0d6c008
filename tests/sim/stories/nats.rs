//! Every pair of NATs: mapping × filtering against mapping × filtering.

use floe::candidate::CandidateKind::{PeerReflexive, ServerReflexive};

use crate::world::nat::{Depends, Hairpin, Nat, Ports, Scope};
use crate::world::{Seed, World, millis, secs};

const ALL: [Depends; 3] = [Depends::Independent, Depends::Address, Depends::AddressAndPort];

/// Whether a direct path exists that connectivity checks can find: worked out from what NATs do,
/// without looking at any agent.
fn direct(a: Nat, b: Nat) -> bool {
    let hard = |nat: Nat| nat.mapping != Depends::Independent;
    let strict = |nat: Nat| nat.filtering == Depends::AddressAndPort;
    match (hard(a), hard(b)) {
        (false, false) => true,
        (true, false) => !strict(b),
        (false, true) => !strict(a),
        (true, true) => {
            let per_port = |nat: Nat| nat.mapping == Depends::AddressAndPort;
            let by_address = |nat: Nat| nat.filtering == Depends::Address;
            // Where each mapping has a filter of its own, the mapping that the peer aims at was
            // never used toward the peer.
            let split = a.scope == Scope::Mapping && by_address(a) && by_address(b);
            let hopeless = per_port(a) && per_port(b);
            !(strict(a) || strict(b) || hopeless || split)
        }
    }
}

#[test]
fn cones_meet_at_their_reflexive_addresses() {
    let cones = [Nat::FULL_CONE, Nat::ADDRESS_RESTRICTED, Nat::PORT_RESTRICTED];
    for (left_nat, right_nat) in cones.iter().flat_map(|a| cones.iter().map(move |b| (*a, *b))) {
        let world = World::new(seed!());
        let stun = world.stun("192.0.2.1:3478");
        let left = world.host().behind(left_nat).using(stun);
        let right = world.host().behind(right_nat).using(stun);
        let call = world.call(left, right);

        world.run_until(call.completed(), secs(3));
        for side in [left, right] {
            let (local, remote) = call.pair(side).kinds();
            assert!(matches!(local, ServerReflexive | PeerReflexive), "{local:?}");
            assert!(matches!(remote, ServerReflexive | PeerReflexive), "{remote:?}");
        }
        assert!(call.agree());
    }
}

/// [rfc8445-7.2.5.3.1-1] [rfc8445-7.3.1.3-p1]
#[test]
fn a_symmetric_nat_reaches_a_full_cone_from_a_peer_reflexive_address() {
    let world = World::new(seed!());
    let stun = world.stun("192.0.2.1:3478");
    let left = world.host().behind(Nat::SYMMETRIC).using(stun);
    let right = world.host().behind(Nat::FULL_CONE).using(stun);
    let call = world.call(left, right);

    world.run_until(call.completed(), secs(3));
    assert_eq!(call.pair(left).kinds(), (PeerReflexive, ServerReflexive));
    assert_eq!(call.pair(right).kinds(), (ServerReflexive, PeerReflexive));
    assert!(call.agree());
}

/// [rfc8863-4-1] [rfc8863-4-2] [rfc8863-4-3] [rfc8863-4-4]
#[test]
fn two_symmetric_nats_fail_with_a_reason_for_each_pair_and_not_too_soon() {
    let world = World::new(seed!());
    let stun = world.stun("192.0.2.1:3478");
    let left = world.host().behind(Nat::SYMMETRIC).using(stun);
    let right = world.host().behind(Nat::SYMMETRIC).using(stun);
    let call = world.call(left, right).without_restarts();

    for side in [left, right] {
        world.run_until(call.failed(side), secs(120));
        assert!(world.elapsed() >= millis(39_500), "failed after {:?}", world.elapsed());
    }
    for side in [left, right] {
        let (pairs, failures) = (call.stats(side).pairs, call.failures(side));
        assert!(!failures.is_empty());
        assert!(failures.len() >= pairs.len(), "{failures:?} explain {pairs:?}");
    }
}

/// All mappings against all filterings, both ways round: met where a path exists, failed with the
/// PAC timer where none does.
fn every_pair(Seed(seed): Seed, scope: Scope, ports: Ports) {
    let nat = |mapping, filtering| Nat { scope, ports, ..Nat::new(mapping, filtering) };
    let kinds: Vec<Nat> =
        ALL.into_iter().flat_map(|m| ALL.into_iter().map(move |f| nat(m, f))).collect();
    let mut wrong = Vec::new();
    for (n, (a, b)) in kinds.iter().flat_map(|a| kinds.iter().map(move |b| (*a, *b))).enumerate() {
        let world = World::new(Seed(seed.wrapping_add(n as u64)));
        let stun = world.stun("192.0.2.1:3478");
        let left = world.host().behind(a).using(stun);
        let right = world.host().behind(b).using(stun);
        let call = world.call(left, right).without_restarts();

        let met = world.happens(call.completed(), secs(60)) && call.agree();
        let cell = |nat: Nat| format!("{:?}/{:?}", nat.mapping, nat.filtering);
        if met != direct(a, b) {
            let outcome = if met { "met" } else { "did not meet" };
            wrong.push(format!("{} and {} {outcome}", cell(a), cell(b)));
        }
    }
    assert!(wrong.is_empty(), "{} of 81 cells: {wrong:#?}", wrong.len());
}

#[test]
fn every_pair_of_nats_does_as_well_as_it_can() {
    every_pair(seed!(), Scope::Endpoint, Ports::Random);
}

#[test]
fn every_pair_of_nats_with_a_filter_for_each_mapping_does_as_well_as_it_can() {
    every_pair(seed!(), Scope::Mapping, Ports::Sequential);
}

/// All mappings against all filterings, both ways round, with a TURN server at neither side, one or
/// both: they meet directly where that is possible, else over one relay.
#[test]
fn every_pair_of_nats_meets_over_as_few_relays_as_can_be() {
    let Seed(seed) = seed!();
    let nat = |mapping, filtering| Nat::new(mapping, filtering);
    let kinds: Vec<Nat> =
        ALL.into_iter().flat_map(|m| ALL.into_iter().map(move |f| nat(m, f))).collect();
    let mut wrong = Vec::new();
    let mut counts = [0; 2];
    for (n, (a, b)) in kinds.iter().flat_map(|a| kinds.iter().map(move |b| (*a, *b))).enumerate() {
        for (m, (left_has, right_has)) in
            [(true, false), (false, true), (true, true)].into_iter().enumerate()
        {
            let world = World::new(Seed(seed.wrapping_add((n * 3 + m) as u64)));
            let stun = world.stun("192.0.2.9:3478");
            let turn = world.turn("192.0.2.1:3478");
            let host = |nat: Nat, has: bool| {
                let host = world.host().behind(nat).using(stun);
                if has { host.using(turn) } else { host }
            };
            let (left, right) = (host(a, left_has), host(b, right_has));
            let call = world.call(left, right).without_restarts();

            let met = world.happens(call.completed(), secs(10));
            // A direct path that is found later is moved to.
            world.run_for(secs(2));
            let wanted = usize::from(!direct(a, b));
            counts[wanted] += 1;
            let hops = met.then(|| (call.agree(), call.hops(left), call.hops(right)));
            if hops != Some((true, wanted, wanted)) {
                let cell = |nat: Nat| format!("{:?}/{:?}", nat.mapping, nat.filtering);
                let servers = (left_has, right_has);
                wrong.push(format!("{} and {} {servers:?}: {hops:?}", cell(a), cell(b)));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {counts:?} cells: {wrong:#?}", wrong.len());
    assert_eq!(counts, [45 * 3, 36 * 3]);
}

/// Where both map by port and let everybody in, each check comes from an address never seen
/// before, and would be answered with another: the chain has to end.
#[test]
fn a_chain_of_peer_reflexive_candidates_ends() {
    for filtering in [Depends::Independent, Depends::Address] {
        let world = World::new(seed!());
        let stun = world.stun("192.0.2.1:3478");
        let nat = Nat::new(Depends::AddressAndPort, filtering);
        let left = world.host().behind(nat).using(stun);
        let right = world.host().behind(nat).using(stun);
        let call = world.call(left, right).without_restarts();

        world.run_until(call.both_failed(), secs(120));
        let packets = world.packets();
        assert!(packets <= 1000, "{packets} packets until {:?}", world.elapsed());
        world.run_for(secs(60));
        let more = world.packets() - packets;
        assert!(more <= 20, "{more} packets after the failure");
    }
}

#[test]
fn hosts_behind_one_carrier_nat_meet_by_hairpin() {
    for hairpin in [Hairpin::External, Hairpin::Internal] {
        let world = World::new(seed!());
        let stun = world.stun("192.0.2.1:3478");
        let carrier = world.lan().behind(Nat::FULL_CONE.with_hairpin(hairpin));
        let left = world.host().on(world.lan().behind_within(Nat::FULL_CONE, carrier)).using(stun);
        let right = world.host().on(world.lan().behind_within(Nat::FULL_CONE, carrier)).using(stun);
        let call = world.call(left, right);

        world.run_until(call.completed(), secs(5));
        call.send(left, b"\x80round the corner").unwrap();
        call.send(right, b"\x80and back").unwrap();
        world.run_for(millis(25));
        assert_eq!((call.heard(left), call.heard(right)), (1, 1), "{hairpin:?}");
    }
}

/// The consent checks alone keep a mapping alive that is forgotten after 20 s of silence.
/// [rfc8445-11-5]
#[test]
fn a_quiet_call_outlives_a_forgetful_nat() {
    let world = World::new(seed!());
    let stun = world.stun("192.0.2.1:3478");
    let forgetful = Nat::PORT_RESTRICTED.with_timeout(secs(20));
    let left = world.host().behind(forgetful).using(stun);
    let right = world.host().behind(forgetful).using(stun);
    let call = world.call(left, right).without_restarts();

    world.run_until(call.completed(), secs(3));
    let before = call.pair(left);
    world.run_for(secs(600));
    assert_eq!(call.pair(left).remote(), before.remote());
    call.send(left, b"\x80still there?").unwrap();
    world.run_for(millis(25));
    assert_eq!(call.heard(right), 1);
}
