//! What NATs do to a call, beyond whether it connects: see `matrix.rs` for that.

use floe::AgentState;
use floe::candidate::CandidateKind::{PeerReflexive, ServerReflexive};
use floe::config::{CheckBackoff, Mode, Role};

use crate::world::nat::{Depends, Hairpin, Nat, Pooling, Scope};
use crate::world::{Seed, World, millis, secs};

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

/// Two NATs that give each other a new address with each answer fill the list of peer-reflexive
/// candidates, while the way that works is on another network.
#[test]
fn an_endless_chain_on_one_network_does_not_keep_out_the_other() {
    let Seed(seed) = seed!();
    for n in 0..10 {
        let world = World::new(Seed(seed.wrapping_add(n)));
        let stun = world.stun("192.0.2.1:3478");
        let nat = |mapping, filtering| Nat::new(mapping, filtering);
        let left = nat(Depends::AddressAndPort, Depends::Independent);
        let left = world.host().behind(left).using(stun);
        let second = world.lan().behind(nat(Depends::Address, Depends::Address));
        let first = nat(Depends::AddressAndPort, Depends::Address);
        let right = world.host().behind(first).also_on(second).using(stun);
        let call = world.call(left, right);
        world.run_until(call.completed(), secs(10));
        assert!(call.agree());
    }
}

/// The same where both networks of one host show it the other one at the same address.
#[test]
fn an_endless_chain_from_one_address_does_not_keep_it_out_on_another_network() {
    let Seed(seed) = seed!();
    for n in 0..10 {
        let world = World::new(Seed(seed.wrapping_add(n)));
        world.links(|link| link.delay = millis(5));
        let stun = world.stun("192.0.2.1:3478");
        let open = |mapping| Nat::new(mapping, Depends::Independent);
        let left = world.host().behind(open(Depends::AddressAndPort));
        let second = world.lan().behind(open(Depends::Address));
        let right = world.host().behind(open(Depends::AddressAndPort)).also_on(second).using(stun);
        let call = world.call(left, right);
        world.run_until(call.completed(), secs(10));
        assert!(call.agree());
    }
}

/// Each reflexive candidate of one side shows it another address of each socket of the other side, but
/// its answers come from elsewhere, and only what is checked there shows one that can be reached.
#[test]
fn addresses_that_cannot_be_reached_do_not_keep_out_those_that_can() {
    let Seed(seed) = seed!();
    for n in 0..10 {
        let world = World::new(Seed(seed.wrapping_add(n)));
        world.links(|link| link.delay = millis(86));
        let (stun, turn) = (world.stun("192.0.2.1:3478"), world.turn("192.0.2.2:3478"));
        let open = |mapping| Nat::new(mapping, Depends::Independent);
        let [left, right] = [Depends::Address, Depends::AddressAndPort]
            .map(|mapping| world.host().behind(open(mapping)).with_addresses(2).using(stun));
        let call = world.call(left.using(turn), right);
        let call = call.tune(left, |config| config.nomination.renomination = false);
        world.run_until(call.completed(), secs(10));
        call.restart(left);
        world.run_for(secs(10));
        assert!(call.completed()() && call.agree());
        assert_eq!(call.hops(left), 0, "{n}: {}", call.pair(left));
    }
}

/// What comes over relays takes no place of what comes directly.
#[test]
fn many_relays_do_not_keep_out_a_direct_path() {
    let Seed(seed) = seed!();
    for n in 0..10 {
        let world = World::new(Seed(seed.wrapping_add(n)));
        let stun = world.stun("192.0.2.1:3478");
        let turns = ["192.0.2.2:3478", "192.0.2.3:3478"].map(|address| world.turn(address));
        let left = world.host().with_addresses(4);
        let left = left.behind(Nat::new(Depends::Address, Depends::Independent)).using(stun);
        let left = left.using(turns[0]).using(turns[1]);
        let right = world.host().behind(Nat::new(Depends::AddressAndPort, Depends::Address));
        let call = world.call(left, right.using(stun)).tune_both(|config| {
            config.ta = millis(5);
            config.check_backoff = CheckBackoff::Rfc;
        });
        world.cut(left, right);
        world.run_until(call.completed(), secs(8));
        world.heal(left, right);
        world.run_until(|| call.hops(left) == 0 && call.agree(), secs(8));
    }
}

/// Where the chain is all that there is beside relays, direct pairs are sought in vain again and
/// again: what that takes is little, and a check of the peer's casts no doubt on a relay.
#[test]
fn direct_pairs_are_sought_in_vain_at_little_cost() {
    let world = World::new(seed!());
    world.links(|link| link.delay = millis(103));
    let turn = world.turn("192.0.2.1:3478");
    let stun = world.stun("192.0.2.9:3478");
    let sides = [Depends::Independent, Depends::Address].map(|filtering| {
        world.host().behind(Nat::new(Depends::AddressAndPort, filtering)).using(stun).using(turn)
    });
    let call = world.call(sides[0], sides[1]).without_restarts();
    world.run_until(call.completed(), secs(5));
    world.run_for(secs(60));
    let before = sides.map(|side| side.packets());
    world.run_for(secs(300));
    for side in [0, 1] {
        let packets = (sides[side].packets() - before[side]) / 5;
        assert!(packets <= 100, "{packets} packets in a minute");
    }
}

/// Without renomination the peer stays with the address that was nominated.
#[test]
fn where_nothing_is_nominated_twice_a_nat_that_forgets_leads_to_a_restart() {
    let world = World::new(seed!());
    let stun = world.stun("192.0.2.1:3478");
    let left = world.host().behind(Nat::FULL_CONE).using(stun);
    let right = world.host();
    let call = world.call(left, right);
    let call = call.tune(right, |config| config.nomination.renomination = false);
    world.run_until(call.completed(), secs(5));
    world.run_for(secs(10));
    left.reboot_nats();
    world.run_for(secs(15));
    assert!(call.completed()() && call.agree(), "{}, {}", call.pair(left), call.pair(right));
}

/// With a long Ta a check is sent again late: a path that opens with the first check of one side and
/// the second one of the other is waited for where a relay would be nominated for good.
#[test]
fn a_relay_waits_until_checks_were_sent_twice() {
    let Seed(seed) = seed!();
    for n in 0..10 {
        let world = World::new(Seed(seed.wrapping_add(n)));
        let turn = world.turn("192.0.2.1:3478");
        let second = world.lan().behind(Nat::ADDRESS_RESTRICTED);
        let left = world.host().behind(Nat::new(Depends::Address, Depends::Address));
        let left = left.also_on(second).using(turn);
        let right = Nat { scope: Scope::Mapping, ..Nat::SYMMETRIC };
        let right = world.host().behind(right).using(turn);
        let call = world.call(left, right).tune(left, |config| {
            config.nomination.renomination = false;
            config.ta = millis(100);
        });
        world.run_until(call.completed(), secs(10));
        assert!(call.agree());
        assert_eq!(call.hops(left), 0, "{n}: {}", call.pair(left));
    }
}

/// Where each answer comes from another address than the one that was checked, both sides check
/// one another anew for each check: beside a relay that ends soon.
#[test]
fn direct_pairs_that_cannot_work_are_soon_left_alone_beside_a_relay() {
    let Seed(seed) = seed!();
    for n in 0..10 {
        let world = World::new(Seed(seed.wrapping_add(n)));
        let (stun, turn) = (world.stun("192.0.2.1:3478"), world.turn("192.0.2.2:3478"));
        let many = Nat::new(Depends::AddressAndPort, Depends::Independent);
        let many = Nat { addresses: 2, pooling: Pooling::Arbitrary, ..many };
        let left = world.host().behind(many).using(turn);
        let right = world.host().behind(Nat::new(Depends::Address, Depends::Independent));
        let call = world.call(left, right.using(stun));
        world.run_until(call.completed(), secs(10));
        world.run_for(secs(60));
        let before = left.packets();
        world.run_for(secs(60));
        let sent = left.packets() - before;
        // Consent checks and their answers are 24.
        assert!(sent <= 70, "{sent} packets in the second minute");
    }
}

/// The peer took the nomination that came from the old address, and its answers are lost: the same
/// one from the new address tells it nothing.
#[test]
fn a_nat_that_reboots_during_a_nomination_leaves_no_side_on_the_old_address() {
    for mode in [Mode::Full, Mode::Lite] {
        let world = World::new(seed!());
        let stun = world.stun("192.0.2.1:3478");
        let left = world.host();
        let right = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
        let call = world.call(left, right).tune(left, move |config| config.mode = mode);
        let call = call.role(left, Role::Controlled).role(right, Role::Controlling);
        world.run_until(call.is(right, AgentState::Connected), secs(5));
        world.link(left, right, |link| link.cut = true);
        world.run_until(call.is(left, AgentState::Completed), secs(1));
        right.reboot_nats();
        world.heal(left, right);
        world.run_until(call.completed(), secs(5));
        world.run_for(secs(1));
        assert!(call.agree(), "{mode:?}: {} and {}", call.pair(left), call.pair(right));
    }
}
