//! Trickle ICE, as far as the agent does it. [RFC 8838]

use floe::candidate::Candidate;
use floe::config::{AgentConfig, EndpointConfig, Gathering, Role, Trickle};
use floe::sdp::Description;
use floe::stats::PairStateKind;
use floe::{AgentState, CandidateRejected, ComponentId, Event, Server, Socket};

use crate::harness::{Hand, Party, Verdict, World, addr, host, host_of, ms, stun_server};

const AGENT: &str = "192.0.2.1:1000";
const SERVER: &str = "203.0.113.1:3478";

/// A description without candidates of a peer that trickles.
fn empty(hand: &Hand) -> Description {
    let mut description = hand.description(&[]);
    description.options.trickle = true;
    description.streams[0].end_of_candidates = false;
    description
}

fn started(role: Role) -> (World, Party, Hand) {
    let mut world = World::new();
    let agent = world.party(AgentConfig::new(role), &[AGENT]);
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    world.set_remote(agent, &empty(&hand));
    (world, agent, hand)
}

/// An agent that gathers from a server which answers after `delay` milliseconds each way.
fn gathering(config: AgentConfig, delay: u64) -> (World, Party) {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.udp(node, AGENT);
    world.server(node, Server::stun(addr(SERVER)));
    world.respond(addr(SERVER), stun_server(|_| addr("198.51.100.1:1000")));
    world.filter(move |packet| {
        let served = packet.to == addr(SERVER) || packet.from == addr(SERVER);
        packet.delay = if served { ms(delay) } else { ms(10) };
        Verdict::Pass
    });
    let agent = world.agent(node, config);
    (world, agent)
}

fn trickled(world: &World, party: Party) -> Vec<Candidate> {
    let events = world.events_of(party.node).into_iter();
    events
        .filter_map(|event| {
            if let Event::LocalCandidate { candidate, .. } = event { Some(candidate) } else { None }
        })
        .collect()
}

fn complete(world: &World, party: Party) -> usize {
    let done = Event::GatheringComplete { agent: party.agent };
    world.events_of(party.node).iter().filter(|event| **event == done).count()
}

/// [rfc8838-4-1] [rfc8838-5-2] [rfc8838-7-p1] [rfc8838-8-1] [rfc8838-15-1]
#[test]
fn an_empty_checklist_runs_and_fills_as_candidates_come() {
    let (mut world, agent, hand) = started(Role::Controlling);
    world.run_for(ms(30_000));
    assert_eq!(world.state(agent), AgentState::Checking);
    world.respond(hand.address, hand.answering());
    world.add_candidate(agent, &host("192.0.2.2:2000", 1)).unwrap();
    world.reach(agent, AgentState::Completed, ms(200));
}

/// [rfc8838-3-2] [rfc8838-5-1]
#[test]
fn a_peer_that_does_not_trickle_gets_regular_ice_and_may_err() {
    let (mut world, agent, hand) = started(Role::Controlling);
    let mut other = hand;
    other.own.ufrag = "plain".into();
    let mut description = other.plain();
    description.streams[0].end_of_candidates = false;
    world.set_remote(agent, &description);
    world.run_for(ms(1_000));
    // It did not say so, but it does: refusing the candidate would help nobody.
    world.add_candidate(agent, &host("192.0.2.3:3000", 2)).unwrap();
    world.respond(addr("192.0.2.3:3000"), other.answering());
    world.reach(agent, AgentState::Completed, ms(1_000));
    assert_eq!(world.route(agent), Ok(addr("192.0.2.3:3000")));
}

/// [rfc8838-5-1] [rfc8838-3-2]
#[test]
fn without_trickle_nothing_is_told_before_all_is_gathered() {
    for trickle in [Trickle::Off, Trickle::Half] {
        let mut config = AgentConfig::new(Role::Controlling);
        config.trickle = trickle;
        let (mut world, agent) = gathering(config, 10);
        assert!(!world.description(agent).streams[0].end_of_candidates);
        world.run_for(ms(6_000));
        assert!(trickled(&world, agent).is_empty());
        assert_eq!(complete(&world, agent), 1);
        let description = world.description(agent);
        assert_eq!(description.options.trickle, trickle == Trickle::Half);
        assert_eq!(description.streams[0].candidates.len(), 2);
        // [rfc8838-13-7]
        assert!(description.streams[0].end_of_candidates);
    }
}

/// [rfc8838-8-p1]
#[test]
fn a_checklist_does_not_fail_while_we_gather() {
    let mut config = AgentConfig::new(Role::Controlled);
    config.patience = ms(100);
    let (mut world, agent) = gathering(config, 10);
    world.silence(addr(SERVER));
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    world.set_remote(agent, &hand.description(&[]));
    world.run_for(ms(4_900));
    assert_eq!(world.state(agent), AgentState::Checking);
    world.run_for(ms(200));
    assert_eq!(world.state(agent), AgentState::Failed);
}

/// [rfc8838-8-p2] [rfc8838-7-p1]
#[test]
fn an_empty_checklist_costs_the_others_no_time() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    for stream in 0..3 {
        let component = ComponentId::new(stream, 1).unwrap();
        let address = addr(&format!("192.0.2.1:{}", 1_000 + stream));
        world.socket(node, Socket::udp(address).with_component(component));
    }
    let mut config = AgentConfig::new(Role::Controlling);
    config.streams = vec![1, 1, 1];
    let agent = world.agent(node, config);
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    let mut description = empty(&hand);
    let stream = description.streams[0].clone();
    description.streams = vec![stream.clone(), stream.clone(), stream];
    description.streams[1].candidates =
        (0..4).map(|index| host(&format!("203.0.113.{}:9", index + 1), index + 1)).collect();
    let start = world.now;
    world.set_remote(agent, &description);
    world.run_for(ms(400));
    let checks = world.requests_from("192.0.2.1:1001");
    let times: Vec<_> = checks[..4].iter().map(|packet| packet.at - start).collect();
    assert_eq!(times, [ms(0), ms(50), ms(100), ms(150)]);
}

/// [rfc8838-9-p2]
#[test]
fn candidates_of_another_generation_are_refused() {
    let (mut world, agent, hand) = started(Role::Controlling);
    let mut old = host("192.0.2.2:2000", 1);
    old.extensions.push(("ufrag".into(), "before".into()));
    assert_eq!(world.add_candidate(agent, &old), Err(CandidateRejected::UnknownGeneration));
    let now = world.now;
    let endpoint = world.endpoint(agent.node);
    let mut view = endpoint.agent_mut(now, agent.agent).unwrap();
    let plain = host("192.0.2.2:2000", 1);
    let refused = view.add_remote_candidate(0, Some("before"), &plain);
    assert_eq!(refused, Err(CandidateRejected::UnknownGeneration));
    let ended = view.end_of_remote_candidates(None, Some("before"));
    assert_eq!(ended, Err(CandidateRejected::UnknownGeneration));
    assert_eq!(view.add_remote_candidate(0, Some(&hand.own.ufrag), &plain), Ok(()));
}

/// [rfc8838-9-p2]
#[test]
fn candidates_before_the_description_are_refused() {
    let mut world = World::new();
    let agent = world.party(AgentConfig::new(Role::Controlling), &[AGENT]);
    let early = world.add_candidate(agent, &host("192.0.2.2:2000", 1));
    assert_eq!(early, Err(CandidateRejected::UnknownGeneration));
}

/// It may be the late end of the generation before. [rfc8838-13-1]
#[test]
fn an_end_without_its_generation_ends_none_after_a_restart() {
    let (mut world, agent, mut hand) = started(Role::Controlling);
    world.restart(agent);
    hand.own.ufrag = "anew".into();
    world.set_remote(agent, &empty(&hand));
    let now = world.now;
    let mut view = world.endpoint(agent.node).agent_mut(now, agent.agent).unwrap();
    let ended = view.end_of_remote_candidates(None, None);
    assert_eq!(ended, Err(CandidateRejected::UnknownGeneration));
    let candidate = host("192.0.2.2:2000", 1);
    assert_eq!(view.add_remote_candidate(0, None, &candidate), Ok(()));
    assert_eq!(view.end_of_remote_candidates(None, Some("anew")), Ok(()));
    let late = view.add_remote_candidate(0, None, &host("192.0.2.2:2001", 2));
    assert_eq!(late, Err(CandidateRejected::AfterEndOfCandidates));
}

/// [rfc8838-14-2]
#[test]
fn candidates_after_the_end_are_ignored() {
    let (mut world, agent, _) = started(Role::Controlling);
    world.add_candidate(agent, &host("192.0.2.2:2000", 1)).unwrap();
    world.end_of_candidates(agent);
    let late = world.add_candidate(agent, &host("192.0.2.3:3000", 1));
    assert_eq!(late, Err(CandidateRejected::AfterEndOfCandidates));
    assert_eq!(world.pairs(agent).len(), 1);
}

/// [rfc8838-10-1]
#[test]
fn a_base_without_a_signalled_candidate_is_not_paired() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.socket(node, Socket::udp(addr(AGENT)).hidden());
    world.server(node, Server::stun(addr(SERVER)));
    world.respond(addr(SERVER), stun_server(|_| addr("198.51.100.1:1000")));
    world.delay = ms(500);
    let agent = world.agent(node, AgentConfig::new(Role::Controlling));
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    world.set_remote(agent, &hand.plain());
    world.run_for(ms(999));
    assert!(trickled(&world, agent).is_empty());
    assert!(world.pairs(agent).is_empty());
    world.run_for(ms(1));
    assert_eq!(trickled(&world, agent).len(), 1);
    assert_eq!(world.pairs(agent).len(), 1);
}

/// [rfc8838-10-2] [rfc8838-11-1] [rfc8838-9-p1]
#[test]
fn a_reflexive_candidate_adds_no_pair_to_that_of_its_base() {
    let (mut world, agent) = gathering(AgentConfig::new(Role::Controlling), 500);
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    world.set_remote(agent, &empty(&hand));
    world.add_candidate(agent, &host("192.0.2.2:2000", 1)).unwrap();
    world.run_for(ms(2_000));
    assert_eq!(trickled(&world, agent).len(), 2);
    assert_eq!(world.pairs(agent).len(), 1);
    world.add_candidate(agent, &host("192.0.2.3:3000", 2)).unwrap();
    assert_eq!(world.pairs(agent).len(), 2);
}

/// [rfc8838-10-3] [rfc8838-10-4] [rfc8838-11-3] [rfc8838-11-4] [rfc8838-10-p1]
#[test]
fn at_the_limit_failed_pairs_go_first_then_those_of_lower_priority() {
    let mut world = World::new();
    let mut config = AgentConfig::new(Role::Controlling);
    config.limits.pairs = 3;
    config.ta = ms(1_000);
    let agent = world.party(config, &[AGENT]);
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    let refusing = hand.clone();
    world.respond(hand.address, move |packet| vec![refusing.error(packet, 400)]);
    world.set_remote(agent, &empty(&hand));
    let remotes = |world: &World| {
        let mut all: Vec<_> = world.pairs(agent).iter().map(|p| p.remote.address.ip()).collect();
        all.sort_unstable();
        all.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    // The best one fails; the second is in progress, the third waits.
    world.add_candidate(agent, &host("192.0.2.2:2000", 1)).unwrap();
    world.run_for(ms(100));
    assert_eq!(world.pairs(agent)[0].state, PairStateKind::Failed);
    world.add_candidate(agent, &host("203.0.113.2:9", 10)).unwrap();
    world.run_for(ms(1_000));
    world.add_candidate(agent, &host("203.0.113.3:9", 20)).unwrap();
    assert_eq!(remotes(&world), ["192.0.2.2", "203.0.113.2", "203.0.113.3"]);
    // A poor one takes the place of the failed one, though that has the highest priority.
    world.add_candidate(agent, &host("203.0.113.4:9", 40)).unwrap();
    assert_eq!(remotes(&world), ["203.0.113.2", "203.0.113.3", "203.0.113.4"]);
    // A better one than those that wait takes the place of the poorest.
    world.add_candidate(agent, &host("203.0.113.5:9", 5)).unwrap();
    assert_eq!(remotes(&world), ["203.0.113.2", "203.0.113.3", "203.0.113.5"]);
    // One that is worse than all finds no place, and none under way is given up for a better.
    world.add_candidate(agent, &host("203.0.113.6:9", 50)).unwrap();
    world.add_candidate(agent, &host("203.0.113.7:9", 2)).unwrap();
    assert_eq!(remotes(&world), ["203.0.113.2", "203.0.113.5", "203.0.113.7"]);
}

/// [rfc8838-11-2] [rfc8840-4.4-14] [rfc8840-4.4-p1]
#[test]
fn a_signalled_candidate_takes_the_place_of_the_peer_reflexive_one() {
    let (mut world, agent, mut hand) = started(Role::Controlled);
    world.respond(hand.address, hand.answering());
    let octets = hand.check();
    world.inject(hand.address, addr(AGENT), octets);
    world.run_for(ms(100));
    let before = world.pairs(agent);
    assert_eq!(before.len(), 1);
    assert_eq!(before[0].remote.kind, floe::candidate::CandidateKind::PeerReflexive);
    let sent = world.log.len();
    world.add_candidate(agent, &host("192.0.2.2:2000", 7)).unwrap();
    world.add_candidate(agent, &host("192.0.2.2:2000", 7)).unwrap();
    let after = world.pairs(agent);
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].remote.kind, floe::candidate::CandidateKind::Host);
    assert_eq!(after[0].priority, before[0].priority);
    assert_eq!(after[0].state, PairStateKind::Succeeded);
    world.run_for(ms(1_000));
    assert_eq!(world.log.len(), sent, "it is not checked anew");
}

/// The state of the pair with a remote address.
fn state_of(world: &World, party: Party, remote: &str) -> PairStateKind {
    world.find_pair(party, AGENT, remote).unwrap().state
}

/// [rfc8838-12-p1] [rfc8838-12-p2] [rfc8838-12-p3]
#[test]
fn a_new_pair_waits_or_is_frozen_by_its_foundation() {
    let mut world = World::new();
    let mut config = AgentConfig::new(Role::Controlled);
    config.ta = ms(5_000);
    let agent = world.party(config, &[AGENT]);
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    world.set_remote(agent, &empty(&hand));
    // Uses up the turn: what follows stays as it was put.
    world.add_candidate(agent, &host("203.0.113.9:9", 1)).unwrap();
    assert_eq!(state_of(&world, agent, "203.0.113.9:9"), PairStateKind::InProgress);
    // The first of its foundation; a worse of the same; a better of the same.
    world.add_candidate(agent, &host("203.0.113.1:10", 10)).unwrap();
    world.add_candidate(agent, &host("203.0.113.1:20", 20)).unwrap();
    world.add_candidate(agent, &host("203.0.113.1:5", 5)).unwrap();
    assert_eq!(state_of(&world, agent, "203.0.113.1:10"), PairStateKind::Waiting);
    assert_eq!(state_of(&world, agent, "203.0.113.1:20"), PairStateKind::Frozen);
    assert_eq!(state_of(&world, agent, "203.0.113.1:5"), PairStateKind::Waiting);
    // Once one succeeded the foundation is open.
    let check = world.requests_from(AGENT)[0].clone();
    let mut answer = hand;
    answer.address = addr("203.0.113.9:9");
    world.deliver(answer.address, addr(AGENT), &answer.success(&check));
    world.add_candidate(agent, &host("203.0.113.9:99", 50)).unwrap();
    assert_eq!(state_of(&world, agent, "203.0.113.9:99"), PairStateKind::Waiting);
}

/// [rfc8838-13-2] [rfc8838-13-4] [rfc8838-13-6] [rfc8840-3.2-1] [rfc8840-4.3.3-3a]
#[test]
fn the_end_of_gathering_is_told_once_and_last() {
    for role in [Role::Controlling, Role::Controlled] {
        let (mut world, agent) = gathering(AgentConfig::new(role), 100);
        world.run_for(ms(10_000));
        let events = world.events_of(agent.node);
        let done = Event::GatheringComplete { agent: agent.agent };
        let end = events.iter().position(|event| *event == done).unwrap();
        let told = |event: &Event| matches!(event, Event::LocalCandidate { .. });
        assert_eq!(events[..end].iter().filter(|event| told(event)).count(), 2);
        assert!(!events[end + 1..].iter().any(|event| told(event) || *event == done));
        let described = world.description(agent).streams[0].clone();
        assert!(described.end_of_candidates);
        assert_eq!(described.candidates, trickled(&world, agent));
    }
}

/// [rfc8838-13-5]
#[test]
fn a_server_that_does_not_answer_delays_the_end_by_five_seconds_at_most() {
    let (mut world, agent) = gathering(AgentConfig::new(Role::Controlling), 10);
    world.silence(addr(SERVER));
    world.run_for(ms(4_999));
    assert_eq!(complete(&world, agent), 0);
    world.run_for(ms(1));
    assert_eq!(complete(&world, agent), 1);
    // What comes later is no candidate of this generation. [rfc8838-13-8]
    world.respond(addr(SERVER), stun_server(|_| addr("198.51.100.1:1000")));
    world.run_for(ms(30_000));
    assert_eq!(world.description(agent).streams[0].candidates.len(), 1);
}

/// [rfc8838-13-10]
#[test]
fn nothing_is_trickled_after_the_nomination() {
    let (mut world, agent) = gathering(AgentConfig::new(Role::Controlling), 1_000);
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    world.respond(hand.address, hand.answering());
    world.set_remote(agent, &hand.plain());
    world.reach(agent, AgentState::Completed, ms(1_000));
    let before = trickled(&world, agent).len();
    world.run_for(ms(10_000));
    assert_eq!(trickled(&world, agent).len(), before);
    assert_eq!(complete(&world, agent), 1);
}

/// [rfc8838-13-3] [rfc8838-13-9]
#[test]
fn ice_concludes_without_end_of_candidates() {
    let (mut world, agent, hand) = started(Role::Controlling);
    world.respond(hand.address, hand.answering());
    world.add_candidate(agent, &host("192.0.2.2:2000", 1)).unwrap();
    world.reach(agent, AgentState::Completed, ms(500));
}

/// [rfc8838-17-1a] [rfc8838-17-1b] [rfc8840-4.4-12]
#[test]
fn candidates_are_described_component_by_component() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    let second = ComponentId::new(0, 2).unwrap();
    world.socket(node, Socket::udp(addr("192.0.2.1:1001")).with_component(second));
    world.udp(node, "192.0.2.1:1000");
    let mut config = AgentConfig::new(Role::Controlling);
    config.streams = vec![2];
    let agent = world.agent(node, config);
    let described = world.description(agent).streams[0].candidates.clone();
    let components: Vec<_> = described.iter().map(|candidate| candidate.component).collect();
    assert_eq!(components, [1, 2]);
    assert_eq!(described[0].foundation, described[1].foundation);
}

/// [rfc8838-17-1a] [rfc8838-17-1b]
#[test]
fn candidates_are_trickled_component_by_component() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    let second = ComponentId::new(0, 2).unwrap();
    world.socket(node, Socket::udp(addr("192.0.2.1:1001")).with_component(second));
    world.udp(node, "192.0.2.1:1000");
    world.server(node, Server::stun(addr(SERVER)));
    world.respond(addr(SERVER), stun_server(|from| addr(&format!("198.51.100.1:{}", from.port()))));
    let mut config = AgentConfig::new(Role::Controlling);
    config.streams = vec![2];
    let agent = world.agent(node, config);
    world.run_for(ms(5_000));
    let mut all = trickled(&world, agent);
    assert_eq!(all.len(), 4);
    all.retain(|candidate| candidate.kind == floe::candidate::CandidateKind::Host);
    for (index, candidate) in all.iter().enumerate() {
        let later = |other: &Candidate| {
            other.foundation == candidate.foundation && other.component < candidate.component
        };
        assert!(!all[index..].iter().any(later), "{all:#?}");
    }
}

/// What is found later follows what was conveyed, in a second generation as well.
/// [rfc8840-4.4-13a] [rfc8840-4.4-13b] [rfc8840-4.4-12] [rfc8838-17-1b]
#[test]
fn the_order_of_conveyed_candidates_never_changes() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    let second = ComponentId::new(0, 2).unwrap();
    world.socket(node, Socket::udp(addr("192.0.2.1:1001")).with_component(second));
    world.udp(node, AGENT);
    world.server(node, Server::stun(addr(SERVER)));
    world.respond(addr(SERVER), stun_server(|from| addr(&format!("198.51.100.1:{}", from.port()))));
    // The mapping of the second component is found first.
    world.filter(|packet| {
        packet.delay = if packet.to == addr(AGENT) { ms(200) } else { ms(10) };
        Verdict::Pass
    });
    let mut config = AgentConfig::new(Role::Controlling);
    config.streams = vec![2];
    let agent = world.agent(node, config);
    for generation in 0..2 {
        let mut known: Vec<Candidate> = Vec::new();
        for _ in 0..100 {
            let described = world.description(agent).streams[0].candidates.clone();
            assert!(described.starts_with(&known), "{known:#?} {described:#?}");
            known = described;
            world.run_for(ms(10));
        }
        let ports: Vec<_> =
            known.iter().map(|c| c.socket_address().unwrap().port() - 1_000).collect();
        // The second generation asks again, as a NAT may have forgotten.
        assert_eq!(ports, [0, 1, 1, 0], "generation {generation}");
        world.restart(agent);
    }
}

/// [rfc8838-17-2] [rfc8840-4.4-15]
#[test]
fn candidates_of_equal_priority_are_checked_in_the_order_conveyed() {
    let (mut world, agent, _) = started(Role::Controlling);
    let addresses: Vec<String> = (1..6).map(|last| format!("203.0.113.{last}:9")).collect();
    for address in &addresses {
        world.add_candidate(agent, &host(address, 1)).unwrap();
    }
    world.run_for(ms(400));
    let checks = world.requests_from(AGENT);
    let order: Vec<_> = checks[..5].iter().map(|packet| packet.to.to_string()).collect();
    assert_eq!(order, addresses);
}

/// [rfc8838-4-1]
#[test]
fn unknown_streams_and_components_are_refused() {
    let (mut world, agent, _) = started(Role::Controlling);
    let now = world.now;
    let endpoint = world.endpoint(agent.node);
    let mut view = endpoint.agent_mut(now, agent.agent).unwrap();
    let stream = view.add_remote_candidate(1, None, &host("192.0.2.2:2000", 1));
    assert_eq!(stream, Err(CandidateRejected::UnknownStream));
    assert_eq!(view.end_of_remote_candidates(Some(1), None), Err(CandidateRejected::UnknownStream));
    let mut beyond = host_of("192.0.2.2:2000", 1, 1);
    beyond.component = 257;
    let component = view.add_remote_candidate(0, None, &beyond);
    assert_eq!(component, Err(CandidateRejected::UnknownComponent));
}

/// Whatever type it says that it is. [RFC 8445 §19.5.1]
#[test]
fn what_the_peer_signals_counts_among_the_candidates_that_are_kept() {
    let (mut world, agent, _) = started(Role::Controlling);
    let max = AgentConfig::new(Role::Controlling).limits.remote_candidates;
    let signalled = |number: u16| {
        let kind = ["host", "srflx", "prflx", "relay"][usize::from(number % 4)];
        let related = if kind == "host" { "" } else { " raddr 0.0.0.0 rport 9" };
        format!("candidate:{number} 1 udp 9 10.0.0.{number} 5000 typ {kind}{related}")
            .parse()
            .unwrap()
    };
    for number in 0..max {
        world.add_candidate(agent, &signalled(number)).unwrap();
    }
    for number in max..max + 4 {
        let refused = world.add_candidate(agent, &signalled(number));
        assert_eq!(refused, Err(CandidateRejected::Limit { max }));
    }
}

/// Nothing but a check of the peer's told of its address. [rfc8445-7.3.1.3-p1]
#[test]
fn the_sockets_that_follow_the_only_ones_are_paired_with_what_a_check_told() {
    let mut world = World::new();
    let mut config = AgentConfig::new(Role::Controlling);
    config.gathering = Gathering::Continual;
    let agent = world.party(config, &[AGENT, "[2001:db8::1]:1000"]);
    let mut hand = Hand::new(&world, agent, "192.0.2.2:2000");
    world.respond(hand.address, hand.answering());
    let mut description = hand.description(&[host("192.0.2.9:9000", 1)]);
    description.options.renomination = true;
    world.set_remote(agent, &description);
    world.inject(hand.address, addr(AGENT), hand.check());
    world.reach(agent, AgentState::Completed, ms(5_000));
    world.run_for(ms(5_000));
    for port in 1_000..1_002 {
        // Of the two that come, the first one is of no use to it.
        let sockets = [format!("[2001:db8::1]:{port}"), format!("192.0.2.1:{port}")];
        for socket in sockets {
            world.remove_socket(agent.node, &socket);
        }
        world.run_for(ms(10));
        let port = port + 1;
        for socket in [format!("[2001:db8::1]:{port}"), format!("192.0.2.1:{port}")] {
            world.udp(agent.node, &socket);
        }
        world.reach(agent, AgentState::Completed, ms(5_000));
        assert_eq!(world.route(agent), Ok(hand.address));
        world.run_for(ms(5_000));
    }
}

/// The peer is seen from another address by each of our sockets. [rfc8445-7.3.1.3-p1]
#[test]
fn what_a_socket_that_is_gone_was_checked_from_takes_no_place_from_others() {
    let mut world = World::new();
    let mut config = AgentConfig::new(Role::Controlling);
    config.gathering = Gathering::Continual;
    config.limits.peer_reflexive = 1;
    let agent = world.party(config, &[AGENT]);
    let mut hand = Hand::new(&world, agent, "192.0.2.2:2000");
    let mut description = hand.description(&[host("192.0.2.9:9000", 1)]);
    description.options.renomination = true;
    world.set_remote(agent, &description);
    for port in 1_000..1_005 {
        let seen = addr(&format!("192.0.2.2:{}", port + 1_000));
        world.respond(seen, hand.answering());
        world.inject(seen, addr(&format!("192.0.2.1:{port}")), hand.check());
        world.reach(agent, AgentState::Completed, ms(1_000));
        assert_eq!(world.route(agent), Ok(seen));
        world.silence(seen);
        world.remove_socket(agent.node, &format!("192.0.2.1:{port}"));
        world.udp(agent.node, &format!("192.0.2.1:{}", port + 1));
        world.run_for(ms(100));
    }
}
