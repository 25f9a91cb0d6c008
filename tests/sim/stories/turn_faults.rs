//! TURN servers that are broken, hostile, or just restarted: none makes a storm of packets, keeps
//! gathering from its end, or takes others with it; what a call can survive it survives.
//!
//! The bounds: a request is sent 7 times at most (Rc); a new nonce is taken once after a 401 and 3
//! times after 438 in a row, a 437 is met with another Allocate twice, a redirection is followed
//! once.

use core::time::Duration;

use floe::candidate::CandidateKind::Relayed;
use floe::config::CandidatePolicy;
use floe::event::GatherFailure;
use floe::stun::{GiveUp, Method};
use floe::{AgentState, turn};

use crate::log::Log;
use crate::world::call::Call;
use crate::world::host::Host;
use crate::world::nat::Nat;
use crate::world::turn_auth::{Algorithms, PASSWORD, USER};
use crate::world::turn_server::{Faults, Heard, Refusal};
use crate::world::{AnyServer, Fate, Seed, Turn, World, millis, secs};

/// A host asks a server with a fault, and a good one; the peer is met over the good one. Returns
/// why the bad one gave nothing, when that was known, and how much it heard in a minute.
fn beside_a_good_one(
    address: &str,
    change: impl Fn(&World, Turn<'_>),
) -> (Option<(Duration, GatherFailure)>, u64) {
    let world = World::new(seed!());
    let bad = world.turn(address);
    let good = world.turn("192.0.2.2:3478");
    change(&world, bad);
    let left = world.host().behind(Nat::SYMMETRIC).using(bad).using(good);
    let stun = world.stun("192.0.2.9:3478");
    let right = world.host().behind(Nat::SYMMETRIC).using(stun);
    let call = world.call(left, right).without_restarts();

    world.run_until(call.completed(), secs(3));
    assert_eq!(call.hops(left), 1);
    assert_eq!(call.pair(left).0.base.ip(), good.address().ip(), "the good one");
    world.run_until(|| call.has_gathered(left), secs(6));
    assert!(world.elapsed() <= millis(5_100), "gathered after {:?}", world.elapsed());
    world.run_for(secs(60));
    assert_eq!(call.state(left), Some(AgentState::Completed));
    (left.refusals().first().copied(), bad.heard_in_all())
}

fn fault(change: impl Fn(&mut Faults)) -> (Option<(Duration, GatherFailure)>, u64) {
    beside_a_good_one("192.0.2.1:3478", |_, turn| {
        turn.faulty(|faults| change(faults));
    })
}

/// What a host hears whose only server has a fault, after the restart of the client's request.
fn refused(method: Method, code: u16) -> (GatherFailure, u64) {
    let (failure, heard) =
        fault(|faults| faults.refusals.push(Refusal { method, code, times: u32::MAX }));
    let (at, reason) = failure.expect("it is reported");
    assert!(at <= secs(1), "known after {at:?}");
    (reason, heard)
}

#[test]
fn refusals_are_told_by_their_names_and_end_the_matter() {
    for (code, reason, most) in [
        (486, turn::Error::Quota, 3),
        (508, turn::Error::Capacity, 3),
        (440, turn::Error::Family, 4),
        (442, turn::Error::Protocol, 3),
        (403, turn::Error::Forbidden, 3),
        // Two attempts, each over 5-tuples that may have been somebody's before.
        (437, turn::Error::Mismatch, 6),
        (500, turn::Error::Refused(500), 3),
    ] {
        let (failure, heard) = refused(Method::ALLOCATE, code);
        assert_eq!(failure, GatherFailure::Relay(reason), "{code}");
        // One more may be the Binding that asks for the mapping at least, and its refreshes.
        assert!(heard <= most + 6, "{heard} packets for {code}");
    }
}

#[test]
fn a_storm_of_stale_nonces_ends() {
    let (failure, heard) = fault(|faults| faults.stale_storm = true);
    let (at, reason) = failure.expect("it is reported");
    let expected = turn::Error::Credentials(GiveUp::TooMany);
    assert_eq!(reason, GatherFailure::Relay(expected));
    assert!(at <= secs(1), "known after {at:?}");
    // 401, three times 438, and the one after; then a Binding and its refreshes.
    assert!(heard <= 5 + 6, "{heard} packets");
}

#[test]
fn wrong_credentials_are_tried_once() {
    let (failure, heard) = beside_a_good_one("192.0.2.1:3478", |_, turn| {
        turn.auth(|auth| auth.password = "another".to_owned());
    });
    let (_, reason) = failure.expect("it is reported");
    let expected = turn::Error::Credentials(GiveUp::Credentials);
    assert_eq!(reason, GatherFailure::Relay(expected));
    assert!(heard <= 2 + 6, "{heard} packets");
}

#[test]
fn a_dead_server_is_asked_seven_times_at_most() {
    let (failure, heard) = fault(|faults| faults.dead = true);
    if let Some((_, reason)) = failure {
        assert_eq!(reason, GatherFailure::Relay(turn::Error::Timeout));
    }
    assert!(heard <= 7, "{heard} packets");
}

#[test]
fn answers_from_another_address_are_none() {
    let other = "192.0.2.1:3479".parse().unwrap();
    let (failure, heard) = fault(|faults| faults.answers_from = Some(other));
    if let Some((_, reason)) = failure {
        assert_eq!(reason, GatherFailure::Relay(turn::Error::Timeout));
    }
    assert!(heard <= 7, "{heard} packets");
}

/// [rfc8489-9.2.5-14]
#[test]
fn a_success_that_nobody_signed_is_none() {
    let (failure, heard) = fault(|faults| faults.unsigned = true);
    if let Some((_, reason)) = failure {
        assert!(
            matches!(reason, GatherFailure::Relay(turn::Error::Timeout | turn::Error::Integrity)),
            "{reason:?}"
        );
    }
    // The challenge, and seven times the Allocate.
    assert!(heard <= 8, "{heard} packets");
}

#[test]
fn a_lifetime_of_nothing_or_of_ages_is_bounded() {
    for lifetime in [0, 1, u32::MAX] {
        let world = World::new(seed!());
        let turn = world.turn("192.0.2.1:3478");
        turn.faulty(|faults| faults.lifetime = Some(lifetime));
        let left = world.host().behind(Nat::SYMMETRIC).using(turn);
        let stun = world.stun("192.0.2.9:3478");
        let right = world.host().behind(Nat::SYMMETRIC).using(stun);
        let call = world.call(left, right).without_restarts();
        let met = world.happens(call.completed(), secs(5));
        world.run_for(secs(600));
        let refreshes = turn.heard(Heard::Refresh);
        // Clamped to a minute, refreshed well before that; or believed to be over at once.
        assert!(refreshes <= 25, "{refreshes} refreshes in 600 s for {lifetime}");
        if met {
            assert_eq!(call.state(left), Some(AgentState::Completed), "{lifetime}");
            assert!(refreshes >= 1 || lifetime > 600, "{lifetime}");
        }
        assert!(met || lifetime == 0, "{lifetime}");
        assert!(turn.heard(Heard::Allocate) <= 8, "{}", turn.heard(Heard::Allocate));
    }
}

#[test]
fn a_redirection_is_followed_once() {
    let world = World::new(seed!());
    let (first, second) = (world.turn("192.0.2.1:3478"), world.turn("192.0.2.2:3478"));
    let to = second.address();
    first.faulty(|faults| faults.redirect = Some(to));
    let left = world.host().behind(Nat::SYMMETRIC).using(first);
    let stun = world.stun("192.0.2.9:3478");
    let right = world.host().behind(Nat::SYMMETRIC).using(stun);
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(3));
    assert_eq!(call.pair(left).0.base.ip(), second.address().ip());
    assert!(first.heard(Heard::Allocate) <= 2);
}

#[test]
fn a_redirection_in_a_circle_or_to_itself_ends() {
    for itself in [false, true] {
        let (failure, heard) = beside_a_good_one("192.0.2.1:3478", |world, turn| {
            let other = world.turn("192.0.2.3:3478");
            let back = turn.address();
            other.faulty(|faults| faults.redirect = Some(back));
            let to = if itself { back } else { other.address() };
            turn.faulty(|faults| faults.redirect = Some(to));
        });
        let (at, reason) = failure.expect("it is reported");
        assert_eq!(reason, GatherFailure::Relay(turn::Error::Redirect));
        assert!(at <= secs(1), "known after {at:?}");
        assert!(heard <= 3 + 6, "{heard} packets");
    }
}

#[test]
fn a_slow_server_is_of_use_when_it_answers() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    turn.faulty(|faults| faults.slow = secs(1));
    let left = world.host().behind(Nat::SYMMETRIC).using(turn);
    let stun = world.stun("192.0.2.9:3478");
    let right = world.host().behind(Nat::SYMMETRIC).using(stun);
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(10));
    assert_eq!(call.hops(left), 1);
}

/// A call over a relay, with data both ways every 20 ms, that has gone on for ten seconds.
fn relayed_call<'w>(world: &'w World, turn: Turn<'w>) -> (Host<'w>, Host<'w>, Call<'w>) {
    let left = world.host().behind(Nat::SYMMETRIC).using(turn);
    let stun = world.stun("192.0.2.9:3478");
    let right = world.host().behind(Nat::SYMMETRIC).using(stun);
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(5));
    assert_eq!(call.pair(left).kinds().0, Relayed);
    call.talk(left, millis(20));
    call.talk(right, millis(20));
    world.run_for(secs(10));
    (left, right, call)
}

/// Runs until each side hears the other again, and returns how long that took at most.
fn heard_again<'w>(world: &'w World, call: Call<'w>, limit: Duration) -> Duration {
    let sides = call.hosts();
    let before = sides.map(|side| call.heard(side));
    let again = move || sides.iter().zip(before).all(|(side, n)| call.heard(*side) > n + 3);
    world.run_until(again, limit)
}

/// Nothing tells that a permission is missing, but that the peer is silent: then it is asked for
/// again, long before its time.
#[test]
fn a_call_survives_a_forgotten_permission() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    let (left, _, call) = relayed_call(&world, turn);
    turn.change(|server| server.forget_permissions());
    let took = heard_again(&world, call, secs(300));
    assert!(took <= millis(8_800), "{took:?}");
    assert!(call.recommendations(left).is_empty());
    world.run_until(call.completed(), secs(5));
    assert_eq!(call.hops(left), 1);
}

#[test]
fn a_call_survives_a_forgotten_channel() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    let (left, _, call) = relayed_call(&world, turn);
    turn.change(|server| server.forget_channels());
    let took = heard_again(&world, call, secs(600));
    assert!(took <= millis(8_800), "{took:?}");
    assert!(call.recommendations(left).is_empty());
    world.run_until(call.completed(), secs(5));
    assert_eq!(call.hops(left), 1);
}

#[test]
fn a_call_does_not_notice_a_new_nonce() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    turn.auth(|auth| auth.nonce_lifetime = secs(30));
    let (left, right, call) = relayed_call(&world, turn);
    world.run_for(secs(1_200));
    call.hush(left);
    call.hush(right);
    world.run_for(secs(1));
    assert_eq!(call.heard(right), call.sent(left));
    assert_eq!(call.heard(left), call.sent(right));
}

/// The server loses everything. The next thing it is asked for it refuses with 437: from there on
/// it takes two seconds until the call is back.
#[test]
fn a_call_is_back_within_two_seconds_of_the_first_answer_of_a_restarted_server() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    let (_, _, call) = relayed_call(&world, turn);
    turn.change(|server| server.restart());
    let requests = || {
        turn.heard(Heard::Refresh)
            + turn.heard(Heard::CreatePermission)
            + turn.heard(Heard::ChannelBind)
    };
    let before = requests();
    world.run_until(|| requests() > before, secs(600));
    let took = heard_again(&world, call, secs(60));
    assert!(took <= secs(2), "{took:?}");
    world.run_until(call.completed(), secs(5));
}

/// The same in the middle of a refresh, which is then never answered.
#[test]
fn a_call_survives_a_restart_during_a_refresh() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    let (_, _, call) = relayed_call(&world, turn);
    turn.faulty(|faults| faults.restarts_on_refresh = true);
    world.run_until(|| turn.restarts() > 0, secs(700));
    // The request is sent again after half a second, and that is answered.
    let took = heard_again(&world, call, secs(60));
    assert!(took <= millis(2_700), "{took:?}");
    world.run_until(call.completed(), secs(5));
}

/// The 437 of a refresh is as good as a restart, if the server means it.
#[test]
fn refreshes_that_are_refused_do_not_make_a_storm() {
    for code in [437, 441, 403, 500] {
        let world = World::new(seed!());
        let turn = world.turn("192.0.2.1:3478");
        let (_, _, _) = relayed_call(&world, turn);
        turn.faulty(|faults| {
            let method = Method::REFRESH;
            faults.refusals.push(Refusal { method, code, times: u32::MAX });
        });
        let before = turn.heard_in_all() - turn.heard(Heard::ChannelData) - turn.heard(Heard::Send);
        world.run_for(secs(1_200));
        let after = turn.heard_in_all() - turn.heard(Heard::ChannelData) - turn.heard(Heard::Send);
        assert!(after - before <= 200, "{} requests in 1200 s after {code}", after - before);
    }
}

/// Without indications there is no check over the relay before the channel is bound.
#[test]
fn a_server_that_drops_indications_is_of_no_use_but_harms_nobody() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    turn.faulty(|faults| faults.drops_indications = true);
    let left = world.host().behind(Nat::PORT_RESTRICTED).using(turn);
    let right = world.host().behind(Nat::PORT_RESTRICTED).using(turn);
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(3));
    assert_eq!(call.hops(left), 0);
    world.run_for(secs(60));
    let heard = turn.heard_in_all();
    world.run_for(secs(60));
    assert!(turn.heard_in_all() - heard <= 20, "{}", turn.heard_in_all() - heard);
}

/// A direct call does not care for what happens to its reserve.
#[test]
fn a_direct_call_does_not_notice_that_the_turn_server_dies() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    let left = world.host().behind(Nat::PORT_RESTRICTED).using(turn);
    let right = world.host().behind(Nat::PORT_RESTRICTED).using(turn);
    let call = world.call(left, right).without_restarts();
    world.run_until(call.completed(), secs(5));
    world.run_for(secs(30));
    let states = [left, right].map(|side| call.states(side).len());
    turn.faulty(|faults| faults.dead = true);
    call.talk(left, millis(100));
    call.talk(right, millis(100));
    world.run_for(secs(1_800));
    call.hush(left);
    call.hush(right);
    world.run_for(secs(1));
    assert_eq!(call.heard(right), call.sent(left));
    assert_eq!(call.heard(left), call.sent(right));
    assert_eq!([left, right].map(|side| call.states(side).len()), states);
    assert!(call.recommendations(left).is_empty() && call.recommendations(right).is_empty());
    let heard = turn.heard_in_all();
    world.run_for(secs(600));
    assert!(turn.heard_in_all() - heard <= 20, "{}", turn.heard_in_all() - heard);
}

/// Loss on the way to the server costs time, not the allocation.
#[test]
fn a_lossy_way_to_the_server_is_survived() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    world.links(|link| link.loss = 0.2);
    let left = world.host().behind(Nat::SYMMETRIC).using(turn);
    let right = world.host().behind(Nat::SYMMETRIC).using(turn);
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(20));
    world.run_for(secs(3_600));
    // It may be in doubt at this very moment.
    world.run_until(call.completed(), secs(30));
    assert!(turn.allocations() >= 1);
}

/// Not when all goes well, not when it is refused, and not in what `Debug` shows.
#[test]
fn no_secret_of_a_server_is_logged_or_shown() {
    // While there is one subscriber alone, what other threads log first is off for all threads.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    for algorithms in [Algorithms::Unlisted, Algorithms::Md5, Algorithms::Sha256] {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let shown = tracing::subscriber::with_default(subscriber, || {
            let world = World::new(seed!());
            let bad = world.turn("192.0.2.3:3478");
            bad.auth(|auth| auth.password = "another".to_owned());
            let turn = world.turn("192.0.2.1:3478").auth(|auth| auth.algorithms = algorithms);
            let left = world.host().behind(Nat::SYMMETRIC).using(turn).using(bad);
            let right = world.host().behind(Nat::SYMMETRIC).using(turn);
            let call = world.call(left, right);
            world.run_until(call.completed(), secs(5));
            turn.change(|server| server.restart());
            world.run_for(secs(60));
            let shown = left.shown();
            format!("{shown} {:?} {:?}", left.refusals(), AnyServer::from(turn).describe())
        });
        let text = log.text() + &shown;
        assert!(text.contains("pair selected"));
        for secret in [PASSWORD, USER] {
            assert!(!text.contains(secret), "{secret}");
            // Nor octet by octet.
            let octets = format!("{:?}", secret.as_bytes());
            assert!(!text.contains(octets.trim_matches(['[', ']'])), "{octets}");
        }
    }
}

/// Each time the server knows nothing of the host's new address, and says so.
#[test]
fn a_nat_that_reboots_again_and_again_costs_no_relay() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    let stun = world.stun("192.0.2.9:3478");
    let left = world.host().behind(Nat::SYMMETRIC).using(turn);
    let right = world.host().behind(Nat::SYMMETRIC).using(stun);
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(5));
    for _ in 0..5 {
        world.run_for(secs(12));
        left.reboot_nats();
        call.restart(left);
        world.run_for(millis(500));
        world.run_until(call.completed(), secs(10));
        assert_eq!(call.pair(left).kinds().0, Relayed);
    }
    assert_eq!(left.refusals(), []);
}

/// No check got through, so nobody has reason to ask for the permission before its time.
#[test]
fn a_restart_asks_again_for_the_permissions_that_a_server_forgot() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    let stun = world.stun("192.0.2.9:3478");
    let left = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
    let right = world.host().using(turn);
    let call = world.call(left, right).vanilla().policy(right, CandidatePolicy::Relay);
    world.run_until(|| turn.peers().0 > 0, secs(5));
    turn.change(|server| server.forget_permissions());
    world.run_for(secs(20));
    assert!(!call.completed()());
    call.restart(left);
    world.run_until(call.completed(), secs(5));
    assert_eq!(call.pair(right).kinds().0, Relayed);
}

/// Each allocation served for a while before it was lost.
#[test]
fn a_server_that_restarts_again_and_again_costs_no_relay() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    let (left, right) = (world.host(), world.host().using(turn));
    let call = world.call(left, right).policy(right, CandidatePolicy::Relay);
    world.run_until(call.completed(), secs(5));
    for _ in 0..5 {
        world.run_for(secs(10));
        turn.change(|server| server.restart());
        world.run_for(secs(15));
        assert!(call.completed()() && call.agree(), "{:?}", call.states(right));
    }
    assert_eq!(right.refusals(), []);
}

/// The host reads the answer to its first request when it has sent another one, to which the server
/// gave an allocation more: it knows the address of one, and uses the other.
#[test]
fn a_nat_that_reboots_during_an_allocation_costs_no_call() {
    let Seed(seed) = seed!();
    for n in 0..8 {
        let world = World::new(Seed(seed.wrapping_add(n)));
        world.links(|link| link.delay = millis(50));
        let turn = world.turn("192.0.2.1:3478");
        let left = world.host();
        let right = world.host().behind(Nat::PORT_RESTRICTED).using(turn);
        let call = world.call(left, right).policy(right, CandidatePolicy::Relay);
        world.run_for(millis(150));
        right.stands_still(secs(2));
        world.run_for(secs(1));
        right.reboot_nats();
        world.run_until(call.completed(), secs(60));
        assert!(call.agree(), "{} and {}", call.pair(left), call.pair(right));
    }
}

/// The gathering is over, and direct pairs are enough, before the last request that gives the 5-tuple
/// back has gone unanswered: that nobody needs another allocation turns out at that very moment.
#[test]
fn the_end_of_a_relay_that_is_not_needed_any_more_is_its_last_deadline() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.1:3478");
    let (left, right) = (world.host(), world.host().using(turn));
    let call = world.call(left, right).without_restarts();
    world.run_for(secs(1));
    turn.change(|server| server.restart());
    turn.faulty(|faults| {
        faults.refusals.push(Refusal { method: Method::ALLOCATE, code: 437, times: u32::MAX });
    });
    let later = call.now() + millis(1_500);
    world.intercept(move |now, packet| {
        let asks = |method: u8| packet.octets.starts_with(&[0, method]);
        let (allocates, gives_back) = (asks(3) && now < later, asks(4) && now >= later);
        if allocates || gives_back { Fate::Drop } else { Fate::Pass }
    });
    call.restart(right);
    world.run_for(secs(20));
    assert!(call.completed()() && call.agree());
}
