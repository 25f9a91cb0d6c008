//! Restarts, keepalives and data. [RFC 8445 §9, §11, §12]

use core::time::Duration;
use std::net::SocketAddr;

use floe::candidate::{Candidate, CandidateAddress};
use floe::config::{AgentConfig, BackupPolicy, CheckBackoff, EndpointConfig, Mode, Role};
use floe::{AgentState, ComponentId, DescriptionRejected, Event, SendError};

use crate::harness::{Hand, Outcome, Packet, Party, Verdict, World, addr, distinct_ids, host, ms};

/// Two parties that have selected their pair.
fn connected() -> (World, Party, Party) {
    let mut world = World::new();
    let (left, right) = world.pair_of_parties();
    world.exchange(left, right);
    world.reach(left, AgentState::Completed, ms(1_000));
    world.reach(right, AgentState::Completed, ms(1_000));
    (world, left, right)
}

fn datagrams(world: &World, party: Party) -> usize {
    let data =
        |outcome: &Outcome| matches!(outcome, Outcome::Data { agent, .. } if *agent == party.agent);
    world.received.iter().filter(|(_, node, what)| *node == party.node && data(what)).count()
}

/// [rfc8445-9-1] [rfc8445-9-3] [rfc8839-4.4.1.1.1-3] [rfc8839-5.4-3]
#[test]
fn a_restart_changes_ufrag_and_password() {
    let (mut world, left, _) = connected();
    let before = world.credentials(left);
    world.restart(left);
    let after = world.credentials(left);
    assert_ne!(before.ufrag, after.ufrag);
    assert_ne!(before.password, after.password);
}

/// [rfc8445-9-4] [rfc8445-6.1.1-4] [rfc8839-4.4.2.1-1b] [rfc8839-4.4.3.1-1]
#[test]
fn a_restart_is_followed_with_new_credentials_and_the_same_roles() {
    let (mut world, left, right) = connected();
    let before = world.credentials(right);
    // The controlled side restarts: its offer makes it no controlling one.
    world.restart(right);
    assert_ne!(world.credentials(right).ufrag, before.ufrag);
    let before = world.credentials(left);
    let offer = world.description(right);
    world.set_remote(left, &offer);
    assert!(world.events_of(left.node).contains(&Event::RestartedByPeer { agent: left.agent }));
    let after = world.credentials(left);
    assert!(before.ufrag != after.ufrag && before.password != after.password);
    let answer = world.description(left);
    world.set_remote(right, &answer);
    world.run_for(ms(1_000));
    assert_eq!((world.role(left), world.role(right)), (Role::Controlling, Role::Controlled));
    assert_eq!(world.state(left), AgentState::Completed);
    assert_eq!(world.state(right), AgentState::Completed);
    let told = world.events_of(right.node);
    assert!(!told.contains(&Event::RestartedByPeer { agent: right.agent }));
}

/// Data may flow before a pair is selected, and goes on over that pair. [rfc8445-9-p1]
#[test]
fn a_restart_before_a_pair_is_selected_keeps_the_one_that_works() {
    let mut world = World::new();
    let (left, right) = world.pair_of_parties();
    world.exchange(left, right);
    world.reach(right, AgentState::Connected, ms(1_000));
    world.reach(left, AgentState::Connected, ms(1_000));
    for (party, peer) in [(left, right), (right, left)] {
        world.send_data(party, b"\x80before").unwrap();
        world.run_for(ms(20));
        assert_eq!(datagrams(&world, peer), 1);
    }
    world.restart(left);
    for count in 2..=20 {
        world.send_data(left, b"\x80left").unwrap();
        world.send_data(right, b"\x80right").unwrap();
        world.run_for(ms(20));
        assert_eq!((datagrams(&world, right), datagrams(&world, left)), (count, count));
    }
}

/// [rfc8445-9-p1] [rfc7675-5.1-10] [rfc8839-4.4.3.1.1-1]
#[test]
fn data_and_consent_go_on_over_the_old_pair_until_the_answer_comes() {
    let (mut world, left, right) = connected();
    world.run_for(ms(5_000));
    let old = world.credentials(right).ufrag;
    world.restart(left);
    let restarted = world.now;
    for second in 1..=60 {
        world.run_for(ms(1_000));
        world.send_data(left, b"\x80left").unwrap();
        world.send_data(right, b"\x80right").unwrap();
        world.run_for(ms(20));
        assert_eq!((datagrams(&world, right), datagrams(&world, left)), (second, second));
    }
    let checks = world.requests_from("192.0.2.1:1000");
    let later: Vec<_> = checks.iter().filter(|packet| packet.at > restarted).collect();
    assert!(later.len() >= 10, "{}", later.len());
    for check in later {
        assert!(check.message().username().unwrap().starts_with(old.as_bytes()));
    }
}

/// [rfc8445-9-p1] [rfc8839-4.4.3.1.1-1] [rfc8839-4.4.3.1.1-2]
#[test]
fn there_is_always_a_route_during_a_restart() {
    let (mut world, left, right) = connected();
    world.restart(left);
    assert_eq!(world.pairs(left).len(), 0);
    let offer = world.description(left);
    world.set_remote(right, &offer);
    let answer = world.description(right);
    world.set_remote(left, &answer);
    let until = world.now + ms(10_000);
    while world.next().is_some_and(|at| at <= until) {
        assert!(world.route(left).is_ok() && world.route(right).is_ok(), "{:?}", world.now);
        world.step();
    }
    assert_eq!(world.state(left), AgentState::Completed);
    assert_eq!(world.state(right), AgentState::Completed);
    let lost = |event: &Event| {
        matches!(event, Event::State { state: AgentState::Disconnected | AgentState::Failed, .. })
    };
    assert!(!world.events.iter().any(|(_, _, event)| lost(event)));
}

/// Lets the peer check, and says whether it got an answer.
pub(crate) fn is_answered(world: &mut World, peer: &mut Hand) -> bool {
    world.mail(peer.address);
    let octets = peer.check();
    world.inject(peer.address, addr("192.0.2.1:1000"), octets);
    world.run_for(ms(50));
    world.mail(peer.address).iter().any(Packet::is_success)
}

/// An agent that has selected its pair with a peer that answers.
pub(crate) fn completed() -> (World, Party, Hand) {
    completed_with(AgentConfig::new(Role::Controlling))
}

pub(crate) fn completed_with(config: AgentConfig) -> (World, Party, Hand) {
    let mut world = World::new();
    let controlled = config.role == Role::Controlled;
    let agent = world.party(config, &["192.0.2.1:1000"]);
    let mut peer = Hand::new(&world, agent, "192.0.2.2:2000");
    world.respond(peer.address, peer.answering());
    world.set_remote(agent, &peer.plain());
    if controlled {
        let nomination = peer.nomination();
        world.inject(peer.address, addr("192.0.2.1:1000"), nomination);
    }
    world.reach(agent, AgentState::Completed, ms(1_000));
    (world, agent, peer)
}

/// Firefox answers checks that come before our answer does, and keeps the first of each pair for
/// later: of a nomination it does not know then. [rfc8445-8.1.1-p1]
#[test]
fn a_nomination_from_before_the_peer_had_our_credentials_is_made_again() {
    for delay in [ms(0), ms(25)] {
        let mut world = World::new();
        let agent = world.party(AgentConfig::new(Role::Controlling), &["192.0.2.1:1000"]);
        let mut peer = Hand::new(&world, agent, "192.0.2.2:2000");
        world.respond(peer.address, peer.answering());
        world.set_remote(agent, &peer.plain());
        let nominated = |world: &World| {
            let checks = world.requests_from("192.0.2.1:1000");
            distinct_ids(checks.into_iter().filter(|packet| packet.nominates())).len()
        };
        // In the second round the answer is still under way.
        assert!(world.run_while(ms(1_000), |world| nominated(world) == 0));
        world.run_for(ms(30) - delay);
        assert_eq!(world.state(agent) == AgentState::Completed, delay.is_zero());
        for _ in 0..3 {
            let check = peer.check();
            world.inject(peer.address, addr("192.0.2.1:1000"), check);
            world.run_for(ms(100));
            assert_eq!(nominated(&world), 2);
        }
        assert_eq!(world.state(agent), AgentState::Completed);
        let selected = |event: &&Event| matches!(event, Event::Selected { .. });
        assert_eq!(world.events_of(agent.node).iter().filter(selected).count(), 1);
    }
}

/// Chromium that restarts while its answer to our restart is under way checks by our credentials
/// with its next ones, and keeps to what it takes for a pair then. [rfc8445-7.3-5] [rfc8445-7.3-6]
#[test]
fn a_check_that_comes_before_the_answer_to_a_restart_is_answered_when_repeated() {
    for (letter, late) in [(false, false), (false, true), (true, false)] {
        let mut config = AgentConfig::new(Role::Controlling);
        if letter {
            config.check_backoff = CheckBackoff::Rfc;
        }
        let (mut world, agent, mut peer) = completed_with(config);
        world.restart(agent);
        peer.theirs = world.credentials(agent);
        let mut answered = [("answer", "192.0.2.2:3000"), ("next", "192.0.2.2:4000")].map(|new| {
            let (ufrag, address) = new;
            let mut hand = peer.clone();
            hand.own.ufrag = ufrag.into();
            hand.address = addr(address);
            world.respond(hand.address, hand.answering());
            assert_eq!(is_answered(&mut world, &mut hand), letter);
            hand
        });
        let [answer, next] = &mut answered;
        if late {
            // By then a peer that has few checks for each pair runs out of them.
            world.run_for(ms(900));
            assert!(
                [&mut *answer, &mut *next].map(|hand| is_answered(&mut world, hand)) == [true; 2]
            );
        }
        world.set_remote(agent, &answer.description(&[host("192.0.2.9:9000", 1)]));
        world.run_for(ms(100));
        assert!(world.find_pair(agent, "192.0.2.1:1000", "192.0.2.2:3000").is_some());
        assert!(world.find_pair(agent, "192.0.2.1:1000", "192.0.2.2:4000").is_none());
        assert!(is_answered(&mut world, answer));
        assert!(!is_answered(&mut world, next));
    }
}

/// A nomination that got no answer is repeated by the peer: the one that is answered counts, and
/// what it repeats no more does not. [rfc8445-7.3-6]
#[test]
fn of_the_nominations_before_the_answer_to_a_restart_those_count_that_were_answered() {
    for (nominates, counts) in
        [(&[true, true][..], true), (&[true], false), (&[true, false], false)]
    {
        let (mut world, agent, mut peer) = completed_with(AgentConfig::new(Role::Controlled));
        world.restart(agent);
        peer.theirs = world.credentials(agent);
        peer.own.ufrag = "new1".into();
        peer.address = addr("192.0.2.2:3000");
        world.respond(peer.address, peer.answering());
        for nominates in nominates {
            let check = if *nominates { peer.nomination() } else { peer.check() };
            world.inject(peer.address, addr("192.0.2.1:1000"), check);
            world.run_for(ms(1_000));
        }
        world.set_remote(agent, &peer.plain());
        world.run_for(ms(300));
        let selected = world.view(agent).selected(ComponentId::FIRST);
        let selected = selected.is_some_and(|pair| pair.remote.address == peer.address);
        assert_eq!(selected, counts, "{nominates:?}");
    }
}

/// Those that are not kept are answered after a while as well, but a nomination that is not is
/// refused: it would be forgotten. [rfc8445-7.3-5] [rfc8445-7.3.1.5-2]
#[test]
fn early_checks_beyond_the_limit_are_answered_after_a_while() {
    let (mut world, agent, mut peer) = completed_with(AgentConfig::new(Role::Controlled));
    world.restart(agent);
    peer.theirs = world.credentials(agent);
    peer.own.ufrag = "new1".into();
    for port in 3_000..3_032 {
        let check = peer.check();
        world.inject(addr(&format!("192.0.2.2:{port}")), addr("192.0.2.1:1000"), check);
    }
    peer.address = addr("192.0.2.2:4000");
    world.respond(peer.address, peer.answering());
    assert!(!is_answered(&mut world, &mut peer));
    world.run_for(ms(1_000));
    assert!(is_answered(&mut world, &mut peer));
    world.mail(peer.address);
    let nomination = peer.nomination();
    world.inject(peer.address, addr("192.0.2.1:1000"), nomination);
    world.run_for(ms(50));
    let errors = world.mail(peer.address);
    assert!(errors.iter().any(|packet| packet.is_error() && packet.code() == 400), "{errors:?}");
}

/// How the peer of [`nominated`] fares.
#[derive(Clone, Copy, PartialEq)]
enum Case {
    First,
    Restarted,
    RestartedAsThePathDied,
    RestartedWithRenomination,
}

/// Whom an agent nominates, and how long after it heard of `better`, which is silent, and of a worse
/// candidate that answers. With `late` it hears of a third one after 100 ms, which is as good as
/// the first and answers.
fn nominated(case: Case, better: Candidate, late: bool) -> (SocketAddr, Duration) {
    let config = AgentConfig::new(Role::Controlling);
    let (mut world, mut agent, mut peer) = completed_with(config.clone());
    if case == Case::First {
        agent = world.party(config, &["192.0.2.1:1001"]);
    } else {
        world.restart(agent);
        peer.own.ufrag = "new1".into();
    }
    if case == Case::RestartedAsThePathDied {
        world.silence(peer.address);
    }
    world.run_for(ms(1_000));
    peer.theirs = world.credentials(agent);
    let [low, third] = ["192.0.2.3:3000", "192.0.2.5:5000"].map(addr);
    for address in [low, third] {
        peer.address = address;
        world.respond(address, peer.answering());
    }
    let mut description = peer.description(&[better, host("192.0.2.3:3000", 3)]);
    description.options.trickle = true;
    description.streams[0].end_of_candidates = false;
    description.options.renomination = case == Case::RestartedWithRenomination;
    let began = world.now;
    let nomination = |world: &World| {
        let nominates = |packet: &&Packet| packet.at >= began && packet.nominates();
        world.log.iter().find(nominates).map(|packet| (packet.to, packet.at - began))
    };
    world.set_remote(agent, &description);
    world.run_while(ms(100), |world| nomination(world).is_none());
    if late {
        world.add_candidate(agent, &host("192.0.2.5:5000", 2)).unwrap();
    }
    world.run_while(ms(1_000), |world| nomination(world).is_none());
    nomination(&world).unwrap()
}

/// Chromium checks nothing that is worse than the pair it used before the restart, and follows no
/// nomination of that. [rfc8445-8.1.1-p1]
#[test]
fn after_a_restart_a_better_pair_is_waited_for_where_the_nomination_is_final() {
    let [low, third] = ["192.0.2.3:3000", "192.0.2.5:5000"].map(addr);
    let silent = host("192.0.2.4:4000", 1);
    let mut named = silent.clone();
    let name = "9b36eaac-bb2e-49bb-bb78-21c41c499900.local".into();
    named.address = CandidateAddress::Name { host: name, port: 4000 };
    for better in [silent, named] {
        let (to, after) = nominated(Case::Restarted, better.clone(), false);
        assert!(to == low && after >= ms(500), "{to} {after:?}");
        for case in [Case::First, Case::RestartedAsThePathDied, Case::RestartedWithRenomination] {
            let (to, after) = nominated(case, better.clone(), false);
            assert!(to == low && after < ms(200), "{to} {after:?}");
        }
        let (to, after) = nominated(Case::Restarted, better, true);
        assert!(to == third && after >= ms(500), "{to} {after:?}");
    }
}

/// [rfc8445-8.1.1-p1]
#[test]
fn after_a_restart_a_name_of_a_known_address_is_not_waited_for() {
    let low = "192.0.2.3:3000";
    let (mut world, agent, mut peer) = completed();
    world.restart(agent);
    peer.own.ufrag = "new1".into();
    peer.address = addr(low);
    world.respond(peer.address, peer.answering());
    let mut named = host(low, 1);
    let name = "9b36eaac-bb2e-49bb-bb78-21c41c499900.local".into();
    named.address = CandidateAddress::Name { host: name, port: 3_000 };
    let began = world.now;
    world.set_remote(agent, &peer.description(&[host(low, 3), named.clone()]));
    let mut known = world.endpoint(agent.node).agent_mut(began, agent.agent).unwrap();
    known.add_resolved_candidate(0, None, &named, peer.address.ip()).unwrap();
    world.drain();
    world.run_for(ms(200));
    assert!(world.log.iter().any(|packet| packet.at >= began && packet.nominates()));
}

/// A pair that a check told of has a lower priority than its candidate, which comes later, and so by
/// the peer's count: it is waited for, and chosen by what the candidate says. [rfc8838-11-2]
#[test]
fn after_a_restart_a_pair_that_a_check_told_of_counts_as_it_is_signalled() {
    let [low, high] = ["192.0.2.3:3000", "192.0.2.5:5000"].map(addr);
    for ended in [false, true] {
        let (mut world, agent, mut peer) = completed();
        world.restart(agent);
        peer.own.ufrag = "new1".into();
        world.run_for(ms(1_000));
        peer.theirs = world.credentials(agent);
        for address in [low, high] {
            peer.address = address;
            world.respond(address, peer.answering());
        }
        let mut description = peer.description(&[host("192.0.2.3:3000", 3)]);
        description.options.trickle = true;
        description.streams[0].end_of_candidates = ended;
        let began = world.now;
        world.set_remote(agent, &description);
        assert!(is_answered(&mut world, &mut peer));
        world.run_for(ms(200));
        let nominated = |world: &World| {
            let nominates = |packet: &&Packet| packet.at >= began && packet.nominates();
            world.log.iter().find(nominates).map(|packet| packet.to)
        };
        assert_eq!(nominated(&world), ended.then_some(low));
        if !ended {
            world.add_candidate(agent, &host("192.0.2.5:5000", 1)).unwrap();
            world.run_for(ms(10));
            assert_eq!(nominated(&world), Some(high));
        }
    }
}

/// Both restart at once: nobody restarts again for it. [rfc8445-9-1]
#[test]
fn crossing_restarts_are_one() {
    let (mut world, left, right) = connected();
    world.restart(left);
    world.restart(right);
    let (ours, theirs) = (world.credentials(left), world.credentials(right));
    world.exchange(left, right);
    assert_eq!((world.credentials(left), world.credentials(right)), (ours, theirs));
    world.run_for(ms(1_000));
    assert_eq!(world.state(left), AgentState::Completed);
    assert_eq!(world.state(right), AgentState::Completed);
    assert!(!world.events.iter().any(|(_, _, e)| matches!(e, Event::RestartedByPeer { .. })));
}

/// A second restart before the first was answered keeps the pair that works. [rfc8445-9-p1]
#[test]
fn a_restart_in_a_restart_keeps_the_old_pair() {
    let (mut world, left, right) = connected();
    for _ in 0..5 {
        world.restart(left);
        world.run_for(ms(100));
        assert!(world.route(left).is_ok());
    }
    world.exchange(left, right);
    world.run_for(ms(1_000));
    assert_eq!(world.state(left), AgentState::Completed);
    assert_eq!(world.state(right), AgentState::Completed);
}

#[test]
fn ten_restarts_by_the_peer_are_followed_in_five_minutes() {
    let mut world = World::new();
    let agent = world.party(AgentConfig::new(Role::Controlled), &["192.0.2.1:1000"]);
    let mut hand = Hand::new(&world, agent, "192.0.2.2:2000");
    world.set_remote(agent, &hand.plain());
    for restart in 0..10 {
        hand.own.ufrag = format!("again{restart}");
        world.run_for(ms(1_000));
        world.set_remote(agent, &hand.plain());
    }
    let before = world.credentials(agent);
    hand.own.ufrag = "toomany".into();
    let refused = world.try_set_remote(agent, &hand.plain());
    assert_eq!(refused, Err(DescriptionRejected::TooManyRestarts));
    assert_eq!(world.credentials(agent), before);
    world.run_for(ms(300_000));
    world.set_remote(agent, &hand.plain());
    assert_ne!(world.credentials(agent), before);
}

/// [rfc8445-9-2]
#[test]
fn a_destination_changes_by_a_restart() {
    let mut world = World::new();
    let agent = world.party(AgentConfig::new(Role::Controlling), &["192.0.2.1:1000"]);
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    world.respond(hand.address, hand.answering());
    world.set_remote(agent, &hand.plain());
    world.reach(agent, AgentState::Completed, ms(1_000));
    let mut moved = hand.clone();
    moved.address = addr("192.0.2.9:9000");
    moved.own.ufrag = "moved".into();
    world.respond(moved.address, moved.answering());
    // The same credentials elsewhere are no restart, and after the nomination no candidate.
    let mut elsewhere = hand.clone();
    elsewhere.address = moved.address;
    world.set_remote(agent, &elsewhere.plain());
    world.run_for(ms(1_000));
    assert_eq!(world.route(agent), Ok(hand.address));
    world.set_remote(agent, &moved.plain());
    assert_eq!(world.route(agent), Ok(hand.address));
    world.run_for(ms(1_000));
    assert_eq!(world.route(agent), Ok(moved.address));
}

/// [rfc8838-13-6] [rfc8838-13-8] [rfc8445-9-1]
#[test]
fn a_socket_that_comes_late_is_a_candidate_after_the_next_restart() {
    let (mut world, left, right) = connected();
    let before = world.log.len();
    world.udp(left.node, "192.0.2.3:1000");
    world.drain();
    assert_eq!(world.description(left).streams[0].candidates.len(), 1);
    world.run_for(ms(10_000));
    assert!(world.log[before..].iter().all(|packet| packet.from != addr("192.0.2.3:1000")));
    world.restart(left);
    assert_eq!(world.description(left).streams[0].candidates.len(), 2);
    world.exchange(left, right);
    let bases: Vec<_> = world.pairs(left).iter().map(|pair| pair.local.address).collect();
    assert!(bases.contains(&addr("192.0.2.3:1000")), "{bases:?}");
}

/// A mapping that was let go is asked for anew. [rfc8445-5.1.1.4-1]
#[test]
fn a_restart_gathers_again() {
    let mut world = World::new();
    let server = addr("203.0.113.1:3478");
    world.respond(server, crate::harness::stun_server(|from| from));
    let node = world.node(EndpointConfig::default());
    world.udp(node, "192.0.2.1:1000");
    world.server(node, floe::Server::stun(server));
    let left = world.agent(node, AgentConfig::new(Role::Controlling));
    let right = world.party(AgentConfig::new(Role::Controlled), &["192.0.2.2:2000"]);
    world.run_for(ms(1_000));
    world.exchange(left, right);
    world.run_for(ms(60_000));
    let asked = |world: &World| {
        world.requests_from("192.0.2.1:1000").iter().filter(|packet| packet.to == server).count()
    };
    let before = asked(&world);
    world.run_for(ms(60_000));
    assert_eq!(asked(&world), before);
    world.restart(left);
    world.run_for(ms(1_000));
    assert_eq!(asked(&world), before + 1);
    let complete = Event::GatheringComplete { agent: left.agent };
    let told = world.events_of(node).iter().filter(|event| **event == complete).count();
    assert_eq!(told, 2);
}

/// A lite agent that a full peer uses.
fn lite(keepalive: u64) -> (World, Party, Hand) {
    let mut world = World::new();
    let mut config = AgentConfig::new(Role::Controlled);
    config.mode = Mode::Lite;
    config.keepalive = ms(keepalive);
    let agent = world.party(config, &["192.0.2.1:1000"]);
    let mut hand = Hand::new(&world, agent, "192.0.2.2:2000");
    world.set_remote(agent, &hand.plain());
    let octets = hand.nomination();
    world.inject(hand.address, addr("192.0.2.1:1000"), octets);
    world.reach(agent, AgentState::Completed, ms(100));
    world.mail(hand.address);
    (world, agent, hand)
}

/// [rfc8445-11-1] [rfc8445-11-2] [rfc8445-11-4] [rfc8445-11-5] [rfc8445-11-11] [rfc8445-11-12a]
/// [rfc8445-11-12b] [rfc8445-11-14] [rfc8839-6-1]
#[test]
fn a_silent_pair_gets_a_bare_indication_every_fifteen_seconds() {
    let (mut world, _, hand) = lite(15_000);
    let start = world.now;
    world.run_for(ms(46_000));
    let kept: Vec<_> = world.mail(hand.address).into_iter().filter(Packet::is_indication).collect();
    let times: Vec<_> = kept.iter().map(|packet| packet.at - start).collect();
    assert_eq!(times, [ms(15_000), ms(30_000), ms(45_000)]);
    for packet in &kept {
        let message = packet.message();
        assert!(message.has_fingerprint() && !message.has_integrity());
        assert_eq!(packet.octets.len(), floe::stun::HEADER_LEN + 8, "nothing but FINGERPRINT");
    }
}

/// [rfc8445-11-4]
#[test]
fn data_takes_the_place_of_keepalives() {
    let (mut world, agent, hand) = lite(15_000);
    for _ in 0..10 {
        world.run_for(ms(14_000));
        world.send_data(agent, b"\x80data").unwrap();
    }
    assert!(!world.mail(hand.address).iter().any(Packet::is_indication));
}

/// [rfc8445-11-6a] [rfc8445-11-6b] [rfc8445-11-9]
#[test]
fn the_keepalive_interval_is_never_below_fifteen_seconds_and_may_be_longer() {
    for (keepalive, expected) in [(1_000, 15_000), (40_000, 40_000)] {
        let (mut world, _, hand) = lite(keepalive);
        world.run_for(ms(expected - 1));
        assert!(!world.mail(hand.address).iter().any(Packet::is_indication));
        world.run_for(ms(100));
        assert_eq!(world.mail(hand.address).iter().filter(|p| p.is_indication()).count(), 1);
    }
}

/// [rfc8445-11-3] [rfc8445-11-p1] [rfc8445-11-15]
#[test]
fn a_full_agent_keeps_the_selected_pair_alive_by_consent_checks() {
    let mut world = World::new();
    let mut config = AgentConfig::new(Role::Controlling);
    config.backup = BackupPolicy::Off;
    let left = world.party(config.clone(), &["192.0.2.1:1000", "192.0.2.3:1000"]);
    config.role = Role::Controlled;
    let right = world.party(config, &["192.0.2.2:2000"]);
    world.exchange(left, right);
    world.reach(left, AgentState::Completed, ms(1_000));
    world.run_for(ms(5_000));
    let before = world.log.len();
    world.run_for(ms(120_000));
    let selected = world.view(left).selected(ComponentId::FIRST).unwrap().base;
    let sent: Vec<_> = world.log[before..].iter().filter(|p| p.from.port() == 1_000).collect();
    assert!(sent.iter().all(|packet| packet.from == selected && packet.is_stun()));
    assert!(sent.windows(2).all(|pair| pair[1].at - pair[0].at < ms(15_000)));
}

/// [rfc8445-11-7] [rfc8445-11-8]
#[test]
fn nothing_is_sent_after_close() {
    let (mut world, left, right) = connected();
    world.run_for(ms(4_000));
    // An answer is owed at this moment.
    let mut hand = Hand::new(&world, left, "192.0.2.2:2000");
    hand.own = world.credentials(right);
    let check = hand.check();
    let now = world.now;
    let socket = world.udp(left.node, "192.0.2.77:1000");
    let endpoint = world.endpoint(left.node);
    let _ = endpoint.handle_datagram(now, socket, hand.address, &check);
    endpoint.agent_mut(now, left.agent).unwrap().close();
    let before = world.log.len();
    world.drain();
    world.run_for(ms(60_000));
    let own = [addr("192.0.2.1:1000"), addr("192.0.2.77:1000")];
    // A stranger is refused with a few errors; nothing is the agent's.
    let sent = world.log[before..].iter().filter(|packet| own.contains(&packet.from));
    assert!(sent.into_iter().all(|packet| packet.is_error()));
    assert!(world.endpoint(left.node).agent(left.agent).is_none());
    let refused = world.endpoint(left.node).route(now, left.agent, ComponentId::FIRST);
    assert_eq!(refused.err(), Some(SendError::UnknownAgent));
    let closed = Event::State { agent: left.agent, state: AgentState::Closed };
    assert_eq!(world.events_of(left.node).last(), Some(&closed));
    assert_eq!(world.endpoint(left.node).poll_timeout(), None);
}

/// What was the agent's is nobody's, and its id is never given again. [rfc8445-11-8]
#[test]
fn the_id_and_the_flows_of_a_closed_agent_are_gone() {
    let (mut world, left, _) = connected();
    world.close(left);
    let from = addr("192.0.2.2:2000");
    let outcome = world.deliver(from, addr("192.0.2.1:1000"), b"\x80data");
    assert_eq!(outcome, Outcome::Unclaimed(b"\x80data".to_vec()));
    let mut seen = vec![left.agent];
    for _ in 0..5 {
        let next = world.agent(left.node, AgentConfig::new(Role::Controlling));
        assert!(!seen.contains(&next.agent));
        seen.push(next.agent);
        world.close(next);
        assert!(world.endpoint(left.node).agent(next.agent).is_none());
    }
}

/// [rfc8445-12.1-2] [rfc8445-12.1-p1]
#[test]
fn data_leaves_the_base_of_the_selected_pair_alone() {
    let mut world = World::new();
    world.nat("192.0.2.1:1000", "198.51.100.1:4000");
    let (left, right) = world.pair_of_parties();
    world.exchange(left, right);
    world.run_for(ms(5_000));
    let pair = world.view(left).selected(ComponentId::FIRST).unwrap();
    assert_eq!(pair.local.address, addr("198.51.100.1:4000"));
    assert_eq!(pair.base, addr("192.0.2.1:1000"));
    world.send_data(left, b"\x80data").unwrap();
    let packet = world.log.last().unwrap();
    assert_eq!((packet.from, packet.to), (addr("198.51.100.1:4000"), addr("192.0.2.2:2000")));
}

/// [rfc8445-12.2-1]
#[test]
fn data_is_accepted_on_any_authenticated_candidate() {
    let mut world = World::new();
    let mut config = AgentConfig::new(Role::Controlled);
    // Else the second pair rests while the first one waits for its nomination.
    config.check_backoff = CheckBackoff::Rfc;
    let agent = world.party(config, &["192.0.2.1:1000"]);
    let mut high = Hand::new(&world, agent, "192.0.2.2:2000");
    let mut low = high.clone();
    low.address = addr("192.0.2.3:3000");
    let to = addr("192.0.2.1:1000");
    let data = |world: &mut World, hand: &Hand| {
        let outcome = world.deliver(hand.address, to, b"\x80data");
        matches!(outcome, Outcome::Data { .. })
    };
    // Before the description, from the moment that a check was authenticated.
    assert!(!data(&mut world, &high));
    let octets = high.check();
    world.deliver(high.address, to, &octets);
    assert!(data(&mut world, &high) && !data(&mut world, &low));
    world.respond(high.address, high.answering());
    world.respond(low.address, low.answering());
    let candidates =
        [crate::harness::host("192.0.2.2:2000", 1), crate::harness::host("192.0.2.3:3000", 2)];
    world.set_remote(agent, &high.description(&candidates));
    world.run_for(ms(200));
    // Our own check was answered from there.
    assert!(data(&mut world, &low));
    let octets = high.nomination();
    world.inject(high.address, to, octets);
    world.run_for(ms(20_000));
    assert_eq!(world.route(agent), Ok(high.address));
    assert!(data(&mut world, &high) && data(&mut world, &low));
}

/// When the base of the selected pair goes, another is nominated. [rfc8445-9-2]
#[test]
fn a_socket_that_goes_takes_its_pair_along() {
    let mut world = World::new();
    let config = AgentConfig::new(Role::Controlling);
    let left = world.party(config, &["192.0.2.1:1000", "192.0.2.3:1000"]);
    let right = world.party(AgentConfig::new(Role::Controlled), &["192.0.2.2:2000"]);
    world.exchange(left, right);
    world.run_for(ms(10_000));
    let base = world.view(left).selected(ComponentId::FIRST).unwrap().base;
    world.remove_socket(left.node, &base.to_string());
    world.filter(move |packet| if packet.to == base { Verdict::Drop } else { Verdict::Pass });
    world.reach(left, AgentState::Completed, ms(1_000));
    world.run_for(ms(1_000));
    let now = world.view(left).selected(ComponentId::FIRST).unwrap().base;
    assert_ne!(now, base);
    assert_eq!(world.route(right), Ok(now));
}
