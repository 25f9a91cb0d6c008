//! Consent freshness. [RFC 7675]

use std::time::Duration;

use floe::config::{AgentConfig, ConsentMode, Role};
use floe::event::{PairFailure, RestartReason};
use floe::{AgentState, Event, Instant, SendError};

use crate::harness::{Hand, Outcome, Packet, Party, Verdict, World, addr, distinct_ids, ms};

const AGENT: &str = "192.0.2.1:1000";

/// A controlling agent whose selected pair leads to a hand-made peer that answers.
fn session(mode: ConsentMode) -> (World, Party, Hand) {
    let mut world = World::new();
    let mut config = AgentConfig::new(Role::Controlling);
    config.consent = mode;
    let agent = world.party(config, &[AGENT]);
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    world.respond(hand.address, hand.answering());
    world.set_remote(agent, &hand.plain());
    world.reach(agent, AgentState::Completed, ms(1_000));
    world.run_for(ms(100));
    (world, agent, hand)
}

/// When the last response arrived.
fn last_response(world: &World) -> Instant {
    let answers = world.log.iter().filter(|p| p.is_success() && p.to == addr(AGENT));
    answers.map(|packet| packet.at + packet.delay).max().unwrap()
}

fn states(world: &World, party: Party) -> Vec<AgentState> {
    let of_party = world.events_of(party.node).into_iter();
    of_party
        .filter_map(|event| if let Event::State { state, .. } = event { Some(state) } else { None })
        .collect()
}

/// [rfc7675-5.1-3] [rfc7675-5.1-4] [rfc7675-5.1-5] [rfc7675-5.1-6] [rfc7675-5.1-p1]
#[test]
fn consent_checks_come_every_four_to_six_seconds_each_a_transaction_of_its_own() {
    let (mut world, _, _) = session(ConsentMode::Verify);
    let start = world.now;
    world.run_for(ms(600_000));
    let checks = world.requests_from(AGENT);
    let checks: Vec<_> = checks.into_iter().filter(|packet| packet.at > start).collect();
    let gaps: Vec<Duration> = checks.windows(2).map(|two| two[1].at - two[0].at).collect();
    assert!(gaps.iter().all(|gap| (ms(4_000)..=ms(6_000)).contains(gap)), "{gaps:?}");
    let mean = gaps.iter().sum::<Duration>() / u32::try_from(gaps.len()).unwrap();
    assert!((ms(4_700)..=ms(5_300)).contains(&mean), "{mean:?}");
    assert!(gaps.iter().min().unwrap() < &ms(4_300) && gaps.iter().max().unwrap() > &ms(5_700));
    assert_eq!(distinct_ids(checks.iter().copied()).len(), checks.len());
    assert!(checks.iter().all(|packet| !packet.nominates()));
}

/// [rfc7675-5.1-4]
#[test]
fn a_shorter_period_is_not_taken_below_four_seconds() {
    let mut world = World::new();
    let mut config = AgentConfig::new(Role::Controlling);
    config.consent_period = ms(100);
    let agent = world.party(config, &[AGENT]);
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    world.respond(hand.address, hand.answering());
    world.set_remote(agent, &hand.plain());
    world.reach(agent, AgentState::Completed, ms(1_000));
    world.run_for(ms(100));
    let start = world.now;
    world.run_for(ms(60_000));
    let checks = world.requests_from(AGENT);
    let checks: Vec<_> = checks.into_iter().filter(|packet| packet.at > start).collect();
    assert!(checks.len() >= 14);
    assert!(checks.windows(2).all(|two| two[1].at - two[0].at >= ms(4_000)));
}

/// [rfc7675-5.1-1]
#[test]
fn nothing_is_sent_before_the_peer_consented() {
    let mut world = World::new();
    let agent = world.party(AgentConfig::new(Role::Controlled), &[AGENT]);
    assert_eq!(world.route(agent), Err(SendError::NotReady));
    let mut hand = Hand::new(&world, agent, "192.0.2.2:2000");
    world.set_remote(agent, &hand.plain());
    // That the peer checks, and even nominates, is no consent: it has not answered us.
    for _ in 0..20 {
        let octets = hand.nomination();
        world.inject(hand.address, addr(AGENT), octets);
        world.run_for(ms(100));
        assert_eq!(world.route(agent), Err(SendError::NotReady));
    }
    world.respond(hand.address, hand.answering());
    world.run_for(ms(500));
    assert_eq!(world.route(agent), Ok(hand.address));
}

/// [rfc7675-5.1-2] [rfc7675-5.1-p3] [rfc7675-5.1-8] [rfc9725-4.2-7]
#[test]
fn sending_stops_thirty_seconds_after_the_last_response() {
    for mode in [ConsentMode::Verify, ConsentMode::Strict] {
        let (mut world, agent, hand) = session(mode);
        world.run_for(ms(47_000));
        world.silence(hand.address);
        world.run_for(ms(100));
        let expiry = last_response(&world) + ms(30_000);
        world.run_until(Instant::from_nanos(expiry.as_nanos() - 1));
        assert_eq!(world.route(agent), Ok(hand.address));
        world.run_until(expiry);
        assert_eq!(world.route(agent), Err(SendError::ConsentExpired));
        assert_eq!(world.state(agent), AgentState::Failed);
        let before = world.log.len();
        world.run_for(ms(120_000));
        assert_eq!(world.log.len(), before, "nothing at all is sent there any more");
        assert_eq!(world.view(agent).failures()[0].reason, PairFailure::ConsentLost);
    }
}

/// The gate does not wait for a timer. [rfc7675-5.1-2] [rfc7675-5.1-p3]
#[test]
fn a_late_driver_does_not_prolong_consent() {
    let (mut world, agent, hand) = session(ConsentMode::Verify);
    let expiry = last_response(&world) + ms(30_000);
    world.now = expiry;
    assert_eq!(world.route(agent), Err(SendError::ConsentExpired));
    let check = world.requests_from(AGENT).last().copied().unwrap().clone();
    world.deliver(hand.address, addr(AGENT), &hand.success(&check));
    assert_eq!(world.route(agent), Err(SendError::ConsentExpired));
}

/// [rfc7675-5.1-p2] [rfc7675-5.1-8]
#[test]
fn a_response_after_the_expiry_means_nothing() {
    let (mut world, agent, hand) = session(ConsentMode::Verify);
    world.silence(hand.address);
    world.mail(hand.address);
    world.run_until(last_response(&world) + ms(29_500));
    let check = world.mail(hand.address).into_iter().rfind(Packet::is_request).unwrap();
    world.now = last_response(&world) + ms(30_000);
    // It was under way when consent expired, and no timer was called yet.
    world.deliver(hand.address, addr(AGENT), &hand.success(&check));
    assert!(world.route(agent).is_err());
    world.run_for(ms(10_000));
    assert!(world.route(agent).is_err());
    assert_eq!(world.state(agent), AgentState::Failed);
}

/// [rfc7675-5.1-p1] [rfc7675-5.1-7]
#[test]
fn any_outstanding_response_counts_however_late() {
    let (mut world, agent, hand) = session(ConsentMode::Strict);
    world.run_for(ms(10_000));
    let late = hand.address;
    world.filter(move |packet| {
        if packet.from == late {
            packet.delay = ms(7_000);
        }
        Verdict::Pass
    });
    world.run_for(ms(120_000));
    assert_eq!(world.route(agent), Ok(hand.address));
}

/// The thief: it goes on sending, checks and data, but answers nothing. [rfc7675-5.1-2]
/// [rfc7675-5.1-p2]
#[test]
fn a_peer_that_sends_but_never_answers_loses_its_consent() {
    let (mut world, agent, mut hand) = session(ConsentMode::Verify);
    world.silence(hand.address);
    let expiry = last_response(&world) + ms(30_000);
    while world.now + ms(200) < expiry {
        let octets = hand.check();
        world.inject(hand.address, addr(AGENT), octets);
        world.inject(hand.address, addr(AGENT), b"\x80data".to_vec());
        world.run_for(ms(200));
        assert!(world.route(agent).is_ok());
    }
    world.run_until(expiry);
    assert!(world.route(agent).is_err());
    for _ in 0..50 {
        let octets = hand.check();
        world.inject(hand.address, addr(AGENT), octets);
        world.run_for(ms(200));
    }
    assert!(world.route(agent).is_err());
}

/// [rfc7675-5.1-12] [rfc7675-5.1-13]
#[test]
fn lost_consent_is_regained_by_a_restart_alone() {
    let (mut world, agent, mut hand) = session(ConsentMode::Verify);
    world.silence(hand.address);
    world.run_until(last_response(&world) + ms(31_000));
    assert!(world.route(agent).is_err());
    world.respond(hand.address, hand.answering());
    for _ in 0..20 {
        let octets = hand.check();
        world.inject(hand.address, addr(AGENT), octets);
        world.run_for(ms(500));
        assert!(world.route(agent).is_err());
    }
    world.restart(agent);
    hand.own.ufrag = "again".into();
    hand.own.password = "FAKEanotherFAKEanother".into();
    world.respond(hand.address, hand.answering());
    assert!(world.route(agent).is_err());
    world.set_remote(agent, &hand.plain());
    assert!(world.route(agent).is_err());
    world.run_for(ms(500));
    assert_eq!(world.route(agent), Ok(hand.address));
    assert_eq!(world.state(agent), AgentState::Completed);
}

/// [rfc7675-5.2-p1]
#[test]
fn an_authenticated_403_revokes_consent_at_once() {
    let (mut world, agent, hand) = session(ConsentMode::Verify);
    let refusing = hand.clone();
    world.respond(hand.address, move |packet| vec![refusing.error(packet, 403)]);
    world.run_for(ms(6_100));
    assert_eq!(world.route(agent), Err(SendError::ConsentExpired));
    assert_eq!(world.state(agent), AgentState::Failed);
    assert_eq!(world.view(agent).failures()[0].reason, PairFailure::ConsentLost);
    let before = world.log.len();
    world.run_for(ms(60_000));
    assert_eq!(world.log.len(), before);
}

/// [rfc7675-5.2-1] [rfc7675-5.1-p2] [rfc7675-5.2-p1]
#[test]
fn what_is_not_authenticated_revokes_and_renews_nothing() {
    let (mut world, agent, hand) = session(ConsentMode::Verify);
    let renewed = last_response(&world);
    let mut forger = hand.clone();
    forger.own.password = "FAKEwrongFAKEwrongFAKE".into();
    world.respond(hand.address, move |packet| {
        if !packet.is_request() {
            return Vec::new();
        }
        let id = packet.id();
        let bare = crate::harness::encode(floe::stun::MessageClass::Error, id, |message| {
            message.error_code(403, "").fingerprint()
        });
        vec![bare, forger.error(packet, 403), forger.success(packet)]
    });
    world.run_until(Instant::from_nanos((renewed + ms(30_000)).as_nanos() - 1));
    assert_eq!(world.route(agent), Ok(hand.address));
    world.run_for(ms(1));
    assert!(world.route(agent).is_err());
}

/// An authenticated error that is no 403 neither revokes nor renews. [rfc7675-5.1-p2]
#[test]
fn an_error_response_renews_nothing() {
    let (mut world, agent, hand) = session(ConsentMode::Verify);
    let renewed = last_response(&world);
    let refusing = hand.clone();
    world.respond(hand.address, move |packet| vec![refusing.error(packet, 500)]);
    world.run_until(renewed + ms(29_000));
    assert!(world.route(agent).is_ok());
    world.run_until(renewed + ms(30_000));
    assert!(world.route(agent).is_err());
}

#[test]
fn a_single_lost_answer_is_no_disconnect() {
    for mode in [ConsentMode::Verify, ConsentMode::Strict] {
        let (mut world, agent, hand) = session(mode);
        let from = hand.address;
        let mut lost = 0;
        world.filter(move |packet| {
            lost += u32::from(packet.from == from);
            if packet.from == from && lost % 2 == 1 { Verdict::Drop } else { Verdict::Pass }
        });
        world.run_for(ms(300_000));
        let all = states(&world, agent);
        assert!(!all.contains(&AgentState::Disconnected), "{mode:?} {all:?}");
    }
}

/// Verification comes five times within two seconds after the check that was missed.
#[test]
fn disconnected_follows_failed_verification_and_passes() {
    let (mut world, agent, hand) = session(ConsentMode::Verify);
    world.silence(hand.address);
    let before = world.log.len();
    world.reach(agent, AgentState::Disconnected, ms(10_000));
    let sent: Vec<_> = world.log[before..].iter().map(|packet| packet.at).collect();
    let after: Vec<_> = sent.iter().map(|at| *at - sent[0]).collect();
    assert_eq!(after, [0, 500, 900, 1_300, 1_700, 2_000].map(ms));
    assert_eq!(world.now - sent[0], ms(2_500));
    assert!(world.route(agent).is_ok(), "consent is still fresh");
    world.respond(hand.address, hand.answering());
    world.reach(agent, AgentState::Completed, ms(7_000));
}

/// [rfc7675-5.1-p1]
#[test]
fn strict_consent_sends_nothing_between_the_regular_checks() {
    let (mut world, agent, hand) = session(ConsentMode::Strict);
    world.silence(hand.address);
    let before = world.log.len();
    world.run_for(ms(25_000));
    let sent: Vec<_> = world.log[before..].iter().map(|packet| packet.at).collect();
    assert!(sent.windows(2).all(|two| two[1] - two[0] >= ms(4_000)), "{sent:?}");
    assert_eq!(world.state(agent), AgentState::Disconnected);
}

#[test]
fn data_that_comes_defers_the_alarm_and_not_the_expiry() {
    let (mut world, agent, hand) = session(ConsentMode::Verify);
    world.silence(hand.address);
    let expiry = last_response(&world) + ms(30_000);
    while world.now + ms(100) < expiry {
        world.inject(hand.address, addr(AGENT), b"\x80data".to_vec());
        world.run_for(ms(100));
        assert_eq!(world.state(agent), AgentState::Completed);
    }
    world.run_until(expiry);
    assert_eq!(world.state(agent), AgentState::Failed);
    let data =
        |(_, _, outcome): &(Instant, usize, Outcome)| matches!(outcome, Outcome::Data { .. });
    assert!(world.received.iter().filter(|entry| data(entry)).count() > 200);
}

#[test]
fn a_restart_is_recommended_once_ten_seconds_ahead_of_the_expiry() {
    let (mut world, agent, hand) = session(ConsentMode::Verify);
    let advised = last_response(&world) + ms(20_000);
    world.silence(hand.address);
    let reason = RestartReason::ConsentExpiring;
    let event = Event::RestartRecommended { agent: agent.agent, reason };
    world.run_until(last_response(&world) + ms(35_000));
    let told: Vec<_> =
        world.events.iter().filter(|(_, _, told)| *told == event).map(|(at, ..)| *at).collect();
    assert_eq!(told, [advised]);
}

/// A driver that slept: several things are due at once, and the clock of the agent goes on.
#[test]
fn a_late_timer_judges_everything_that_is_due() {
    for late in [ms(9_000), ms(19_999), ms(20_500), ms(21_000), ms(25_000), ms(29_999)] {
        for mode in [ConsentMode::Verify, ConsentMode::Strict] {
            let (mut world, agent, hand) = session(mode);
            let renewed = last_response(&world);
            world.silence(hand.address);
            world.run_until(renewed + ms(18_500));
            world.now = world.now.max(renewed + late);
            let now = world.now;
            world.endpoint(agent.node).handle_timeout(now);
            world.drain();
            world.run_until(renewed + ms(30_000));
            assert!(world.route(agent).is_err());
        }
    }
}
