//! TURN servers that are dead, full, elsewhere, restarted, or reached over connections; and what
//! becomes of allocations that are lost or not needed any more.

use std::net::SocketAddr;
use std::time::Duration;

use floe::candidate::CandidateKind;
use floe::config::{AgentConfig, BackupPolicy, EndpointConfig, Role};
use floe::event::{GatherFailure, PairFailure};
use floe::stun::{GiveUp, LongTerm, Method};
use floe::turn;
use floe::{
    AgentState, ComponentId, Connect, ConnectFailure, ConnectId, Event, Instant, Server, SocketId,
    Transport,
};

use crate::harness::{Hand, Outcome, Packet, Party, World, addr, host, ms};
use crate::relay::{LEFT, RIGHT, SERVER, credentials, party, relayed, relaying, turn, world};
use crate::turn_server::TurnServer;

const OTHER: &str = "198.51.100.2:3478";
const DEAD: &str = "198.51.100.9:3478";

/// A node with these servers and one agent with the relay policy.
fn node(world: &mut World, servers: &[Server]) -> Party {
    let node = world.node(EndpointConfig::default());
    world.udp(node, LEFT);
    for server in servers {
        world.server(node, server.clone());
    }
    world.agent(node, relaying(Role::Controlling))
}

fn at(address: &str, transport: Transport) -> Server {
    Server::turn(addr(address), transport, credentials())
}

fn failures(world: &World, party: Party) -> Vec<GatherFailure> {
    let failed = |event| {
        let Event::GatheringFailed { reason, .. } = event else { return None };
        Some(reason)
    };
    world.events_of(party.node).into_iter().filter_map(failed).collect()
}

/// When the gathering of a party was over.
fn complete(world: &World, party: Party) -> Option<Instant> {
    let complete = |(at, _, event): &(Instant, usize, Event)| {
        (*event == Event::GatheringComplete { agent: party.agent }).then_some(*at)
    };
    world.events.iter().find_map(complete)
}

/// The connections that a node asked for: when, which, and how.
fn opens(world: &World) -> Vec<(Instant, ConnectId, SocketAddr, Transport)> {
    let open = |(at, _, connect): &(Instant, usize, Connect)| match connect {
        Connect::Open { id, to, transport, .. } => Some((*at, *id, *to, *transport)),
        Connect::Cancel(_) | Connect::Close(_) => None,
    };
    world.connects.iter().filter_map(open).collect()
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

/// [rfc8445-5.1.1.2-4a]
#[test]
fn a_dead_server_costs_the_others_nothing() {
    let mut world = world();
    let left = node(&mut world, &[at(DEAD, Transport::Udp), turn()]);
    world.run_for(ms(60));
    assert_eq!(relayed(&world, left), [addr("198.51.100.1:50000")]);
    assert!(world.view(left).is_gathering());
    let start = Instant::from_millis(1_000);
    world.run_for(ms(10_000));
    assert_eq!(failures(&world, left), [GatherFailure::Relay(turn::Error::Timeout)]);
    assert!(complete(&world, left).expect("it ends") <= start + ms(5_000));
}

#[test]
fn gathering_ends_though_no_server_lives() {
    let mut world = World::new();
    let left = node(&mut world, &[at(DEAD, Transport::Udp), at(DEAD, Transport::Tls)]);
    world.run_for(ms(10_000));
    let failures = failures(&world, left);
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert!(failures.contains(&GatherFailure::Connect(ConnectFailure::Timeout)), "{failures:?}");
    assert_eq!(complete(&world, left), Some(Instant::from_millis(6_000)));
    let cancelled = |(_, _, known): &(_, _, Connect)| matches!(known, Connect::Cancel(_));
    assert!(world.connects.iter().any(cancelled));
    assert!(world.run_while(ms(100_000), |world| world.next().is_some()));
}

#[test]
fn wrong_credentials_end_gathering_with_the_reason() {
    let mut world = world();
    let wrong = LongTerm::new(b"user", b"wrong").unwrap();
    let left = node(&mut world, &[Server::turn(addr(SERVER), Transport::Udp, wrong)]);
    world.run_for(ms(100));
    let reason = GatherFailure::Relay(turn::Error::Credentials(GiveUp::Credentials));
    assert_eq!(failures(&world, left), [reason]);
    assert!(complete(&world, left).is_some());
}

/// [rfc8445-5.1.1.2-8]
#[test]
fn a_server_without_room_still_tells_the_mapping() {
    let mut world = world();
    world.nat("10.0.0.1:1000", "203.0.113.1:4000");
    world.turns[0].refuses = Some((Method::ALLOCATE, 508));
    let left = party(&mut world, AgentConfig::new(Role::Controlling), "10.0.0.1:1000");
    assert_eq!(failures(&world, left), [GatherFailure::Relay(turn::Error::Capacity)]);
    assert_eq!(world.turns[0].count(Method::BINDING), 1);
    let candidates = world.description(left).streams[0].candidates.clone();
    assert!(candidates.iter().any(|known| known.kind == CandidateKind::ServerReflexive));
    assert!(!world.view(left).is_gathering());
}

/// [rfc8656-7.3-2b] [rfc8656-7.4-3b] [rfc8656-7.4-5] [rfc8656-7.4-6b] [rfc8656-7.4-10]
/// [rfc8656-7.4-14] [rfc8656-7.4-16]
#[test]
fn a_server_that_refuses_is_left_alone_for_a_while() {
    let minute = Duration::from_secs(60);
    for (code, wait) in [(437, 2 * minute), (486, minute), (508, minute), (403, 10 * minute)] {
        let mut world = world();
        world.turns[0].refuses = Some((Method::ALLOCATE, code));
        let left = party(&mut world, relaying(Role::Controlling), LEFT);
        world.run_for(ms(900));
        assert_eq!(failures(&world, left).len(), 1, "{code}");
        let asked = world.turns[0].count(Method::ALLOCATE);
        world.turns[0].refuses = None;
        for (later, more) in [(ms(100), 0), (wait - ms(2_000), 0), (ms(2_000), 1)] {
            world.run_for(later);
            let agent = world.agent(left.node, relaying(Role::Controlling));
            world.run_for(ms(100));
            let now = world.turns[0].count(Method::ALLOCATE);
            assert_eq!(now > asked, more > 0, "{code} after {later:?}");
            assert_eq!(relayed(&world, agent).len(), more, "{code}");
        }
    }
}

/// [rfc8656-7.1-2] [rfc8656-7.4-1]
#[test]
fn in_a_group_tcp_and_tls_start_later_and_only_if_nothing_was_answered() {
    let mut world = World::new();
    let group = [Transport::Tls, Transport::Udp, Transport::Tcp]
        .map(|transport| at(DEAD, transport).in_group(1));
    node(&mut world, &group);
    world.run_for(ms(1_000));
    let opened: Vec<_> = opens(&world).into_iter().map(|(at, _, _, how)| (at, how)).collect();
    let start = Instant::from_millis(1_000);
    assert_eq!(opened, [(start + ms(300), Transport::Tcp), (start + ms(600), Transport::Tls)]);

    let mut world = crate::relay::world();
    let group = [Transport::Udp, Transport::Tcp].map(|how| at(SERVER, how).in_group(1));
    let left = node(&mut world, &group);
    world.run_for(ms(10_000));
    assert_eq!(opens(&world), []);
    assert_eq!(failures(&world, left), []);
    assert_eq!(complete(&world, left), Some(start + ms(40)), "TCP is not waited for");
}

#[test]
fn the_first_allocation_of_a_group_ends_the_others() {
    let mut world = World::with_delay(ms(200));
    world.turns.push(TurnServer::new(SERVER, &["198.51.100.1:50000"]));
    world.turns.push(TurnServer::new(OTHER, &["198.51.100.2:50000"]));
    // The second is the quicker.
    world.filter(|packet| {
        if [packet.from, packet.to].contains(&addr(OTHER)) {
            packet.delay = ms(20);
        }
        crate::harness::Verdict::Pass
    });
    let servers = [
        at(SERVER, Transport::Udp).in_group(1),
        at(OTHER, Transport::Udp).in_group(1),
        at(DEAD, Transport::Tcp).in_group(1),
    ];
    let left = node(&mut world, &servers);
    world.run_for(ms(5_000));
    assert_eq!(relayed(&world, left), [addr("198.51.100.2:50000")]);
    assert_eq!(complete(&world, left), Some(Instant::from_millis(1_085)));
    assert_eq!(failures(&world, left), []);
    assert_eq!(opens(&world), []);
    assert_eq!(world.turns[0].allocations.len(), 0, "what came too late was given back");
}

/// Whoever was told that no more candidates come would never hear of it.
#[test]
fn the_first_allocation_of_a_group_is_told_before_the_end_of_gathering() {
    for rivals in [Transport::Udp, Transport::Tcp] {
        let mut world = world();
        let servers = [
            at(DEAD, rivals).in_group(1),
            at(SERVER, Transport::Udp).in_group(1),
            at(OTHER, rivals).in_group(1),
        ];
        let left = node(&mut world, &servers);
        for (port, (_, id, ..)) in (7000..).zip(opens(&world)) {
            world.connected(left.node, id, Ok(local(port))).expect("it is needed");
        }
        world.run_for(ms(5_000));
        let told = world.events_of(left.node);
        let place = |of: &dyn Fn(&Event) -> bool| told.iter().position(of).expect("it is told");
        let candidate = place(&|event| matches!(event, Event::LocalCandidate { .. }));
        let end = place(&|event| matches!(event, Event::GatheringComplete { .. }));
        assert!(candidate < end, "{rivals}: {told:?}");
    }
}

/// [rfc8489-6.2.2-4]
#[test]
fn a_connection_carries_an_allocation_and_is_closed_with_it() {
    let mut world = world();
    let left = node(&mut world, &[at(SERVER, Transport::Tcp)]);
    let [(_, id, to, Transport::Tcp)] = opens(&world)[..] else { panic!("{:?}", world.connects) };
    assert_eq!(to, addr(SERVER));
    world.run_for(ms(30));
    let socket = world.connected(left.node, id, Ok(local(7000))).expect("it is needed");
    world.run_for(ms(100));
    assert_eq!(relayed(&world, left), [addr("198.51.100.1:50000")]);
    let right = world.party(AgentConfig::new(Role::Controlled), &[RIGHT]);
    world.exchange(left, right);
    world.reach(left, AgentState::Completed, Duration::from_secs(5));
    world.send_data(left, b"\x80 over TCP").unwrap();
    world.run_for(ms(100));
    let Some((_, node, Outcome::Data { data, .. })) = world.received.last() else {
        panic!("{:?}", world.received)
    };
    assert_eq!((*node, &data[..]), (right.node, &b"\x80 over TCP"[..]));
    assert!(world.log.iter().all(|packet| packet.from != addr(LEFT)), "all goes over TCP");
    world.close(left);
    world.run_for(ms(100));
    assert_eq!(world.turns[0].allocations.len(), 0);
    assert_eq!(world.connects.last().map(|known| &known.2), Some(&Connect::Close(socket)));
}

#[test]
fn a_connection_that_cannot_be_opened_says_why() {
    let mut world = World::new();
    let left = node(&mut world, &[at(SERVER, Transport::Tls)]);
    let (_, id, ..) = opens(&world)[0];
    assert_eq!(world.connected(left.node, id, Err(ConnectFailure::Certificate)), None);
    let reason = GatherFailure::Connect(ConnectFailure::Certificate);
    assert_eq!(failures(&world, left), [reason]);
    assert!(!world.view(left).is_gathering());
    // It is over: what opens later is not needed.
    assert_eq!(world.connected(left.node, id, Ok(local(7000))), None);
}

#[test]
fn a_connection_that_breaks_takes_its_candidates_with_it() {
    let mut world = world();
    let left = node(&mut world, &[at(SERVER, Transport::Tcp)]);
    let (_, id, ..) = opens(&world)[0];
    let socket = world.connected(left.node, id, Ok(local(7000))).unwrap();
    world.run_for(ms(100));
    let right = world.party(AgentConfig::new(Role::Controlled), &[RIGHT]);
    world.exchange(left, right);
    world.reach(left, AgentState::Completed, Duration::from_secs(5));
    world.disconnect(left.node, socket);
    assert!(world.route(left).is_err());
    assert_eq!(world.view(left).failures()[0].reason, PairFailure::Unreachable);
    world.turns[0].restart();
    // With a restart it is asked for again.
    world.restart(left);
    let (_, id, ..) = *opens(&world).last().unwrap();
    world.connected(left.node, id, Ok(local(7001))).expect("it is needed");
    world.run_for(ms(100));
    assert_eq!(relayed(&world, left).len(), 1);
}

/// [rfc8489-10-5]
#[test]
fn a_redirection_is_followed_once() {
    let mut world = world();
    world.turns[0].redirects = Some((addr(OTHER), None));
    world.turns.push(TurnServer::new(OTHER, &["198.51.100.2:50000"]));
    let left = node(&mut world, &[turn()]);
    world.run_for(ms(200));
    assert_eq!(relayed(&world, left), [addr("198.51.100.2:50000")]);
    assert_eq!(failures(&world, left), []);
}

/// [rfc8489-10-9]
#[test]
fn a_redirection_back_is_refused() {
    let mut world = world();
    world.turns[0].redirects = Some((addr(OTHER), None));
    world.turns.push(TurnServer::new(OTHER, &["198.51.100.2:50000"]));
    world.turns[1].redirects = Some((addr(SERVER), None));
    let left = node(&mut world, &[turn()]);
    world.run_for(ms(1_000));
    assert_eq!(failures(&world, left), [GatherFailure::Relay(turn::Error::Redirect)]);
    assert!(world.turns[0].count(Method::ALLOCATE) + world.turns[1].count(Method::ALLOCATE) <= 4);
}

/// [rfc8489-10-6] [rfc8489-10-8]
#[test]
fn a_secure_connection_is_redirected_to_a_name_that_is_proven() {
    for (domain, expected) in [(Some("other.test"), "other.test"), (None, "first.test")] {
        let mut world = world();
        world.turns[0].redirects = Some((addr(OTHER), domain));
        let mut server = at(SERVER, Transport::Tls);
        server.turn.as_mut().unwrap().name = Some("first.test".into());
        let left = node(&mut world, &[server]);
        let (_, id, ..) = opens(&world)[0];
        let first = world.connected(left.node, id, Ok(local(7000))).unwrap();
        world.run_for(ms(100));
        let asked: Vec<_> = world.connects.iter().map(|known| known.2.clone()).collect();
        assert!(asked.contains(&Connect::Close(first)));
        let Some(Connect::Open { to, transport, name, .. }) = asked.last() else {
            panic!("{asked:?}")
        };
        assert_eq!((*to, *transport), (addr(OTHER), Transport::Tls));
        assert_eq!(name.as_deref(), Some(expected));
    }
    // Without any name nobody could be proven.
    let mut world = world();
    world.turns[0].redirects = Some((addr(OTHER), None));
    let left = node(&mut world, &[at(SERVER, Transport::Tls)]);
    let (_, id, ..) = opens(&world)[0];
    world.connected(left.node, id, Ok(local(7000))).unwrap();
    world.run_for(ms(100));
    assert_eq!(failures(&world, left), [GatherFailure::Relay(turn::Error::Redirect)]);
}

/// [rfc8656-5-7]
#[test]
fn a_lost_allocation_takes_its_candidates_with_it_and_a_restart_brings_others() {
    let mut world = world();
    let left = party(&mut world, relaying(Role::Controlling), LEFT);
    let right = world.party(AgentConfig::new(Role::Controlled), &[RIGHT]);
    world.exchange(left, right);
    world.reach(left, AgentState::Completed, Duration::from_secs(5));
    world.turns[0].restart();
    let gone = |world: &World| relayed(world, left) == [addr("198.51.100.1:50000")];
    let lost = world.run_while(Duration::from_secs(600), |world| {
        gone(world) && world.state(left) == AgentState::Completed
    });
    assert!(lost, "the next refresh tells");
    world.restart(left);
    world.run_for(ms(200));
    assert_eq!(relayed(&world, left), [addr("198.51.100.1:50001")]);
    let offer = world.description(left);
    world.set_remote(right, &offer);
    let answer = world.description(right);
    world.set_remote(left, &answer);
    world.reach(left, AgentState::Completed, Duration::from_secs(5));
}

/// [rfc8656-7.3-2b]
#[test]
fn an_allocation_that_is_of_no_use_is_given_back() {
    let mut world = World::new();
    world.turns.push(TurnServer::new(SERVER, &["0.0.0.0:50000"]));
    let left = party(&mut world, relaying(Role::Controlling), LEFT);
    world.run_for(ms(5_000));
    assert_eq!(failures(&world, left), [GatherFailure::Relay(turn::Error::NoAddress)]);
    assert_eq!(world.turns[0].count(Method::REFRESH), 1);
    assert!(world.turns[0].allocations.is_empty());
}

/// Nothing is nominated yet, and nothing is left that could be.
#[test]
fn an_allocation_that_is_lost_before_the_nomination_calls_for_a_restart_at_once() {
    let mut world = world();
    let left = party(&mut world, relaying(Role::Controlling), LEFT);
    let right = world.party(AgentConfig::new(Role::Controlled), &[RIGHT]);
    world.exchange(left, right);
    world.reach(left, AgentState::Connected, Duration::from_secs(5));
    assert_eq!(world.view(left).selected(ComponentId::FIRST), None);
    world.turns[0].restart();
    let told = world.run_while(Duration::from_secs(15), |world| {
        let events = world.events_of(left.node);
        !events.iter().any(|event| matches!(event, Event::RestartRecommended { .. }))
    });
    assert!(told, "{:?}", world.state(left));
}

/// [rfc8656-8-2]
#[test]
fn without_a_backup_an_allocation_ends_once_a_direct_pair_has_settled() {
    let mut world = world();
    let mut config = AgentConfig::new(Role::Controlling);
    config.backup = BackupPolicy::Off;
    let left = party(&mut world, config, LEFT);
    let right = world.party(AgentConfig::new(Role::Controlled), &[RIGHT]);
    world.exchange(left, right);
    world.run_for(ms(2_000));
    assert_eq!(world.state(left), AgentState::Completed);
    assert_eq!(world.turns[0].allocations.len(), 1, "it lingers");
    world.run_for(ms(3_000));
    assert_eq!(world.turns[0].allocations.len(), 0);
}

#[test]
fn a_peer_that_the_relay_refuses_fails_its_pairs_with_the_code() {
    let mut world = world();
    world.turns[0].refuses = Some((Method::CREATE_PERMISSION, 403));
    let left = party(&mut world, relaying(Role::Controlling), LEFT);
    let right = world.party(AgentConfig::new(Role::Controlled), &[RIGHT]);
    world.exchange(left, right);
    world.run_for(ms(1_000));
    let failures = world.view(left).failures();
    assert_eq!(failures[0].reason, PairFailure::RelayRefused(403));
    assert_eq!(failures[0].remote, addr(RIGHT));
}

#[test]
fn there_are_no_more_allocations_than_allowed() {
    let mut world = world();
    world.turns.push(TurnServer::new(OTHER, &["198.51.100.2:50000"]));
    let mut config = EndpointConfig::default();
    config.max_relays = 1;
    let node = world.node(config);
    world.udp(node, LEFT);
    for server in [SERVER, OTHER] {
        world.server(node, at(server, Transport::Udp));
    }
    let left = world.agent(node, relaying(Role::Controlling));
    world.run_for(ms(1_000));
    assert_eq!(relayed(&world, left).len(), 1);
    assert_eq!(failures(&world, left), [GatherFailure::Limit]);
}

/// [rfc8445-14.2-4]
#[test]
fn allocations_start_at_the_pace_of_all_transactions() {
    let mut world = world();
    let others = ["198.51.100.2:3478", "198.51.100.3:3478", "198.51.100.4:3478"];
    for other in others {
        world.turns.push(TurnServer::new(other, &[&other.replace("3478", "50000")]));
    }
    let servers: Vec<_> =
        [SERVER].iter().chain(&others).map(|server| at(server, Transport::Udp)).collect();
    let left = node(&mut world, &servers);
    world.run_for(ms(500));
    assert_eq!(relayed(&world, left).len(), 4);
    let first = |to: &&str| {
        let sent = |packet: &&Packet| packet.to == addr(to);
        world.log.iter().find(sent).map(|packet| packet.at)
    };
    let mut starts: Vec<_> = [SERVER].iter().chain(&others).filter_map(first).collect();
    starts.sort();
    assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= ms(5)), "{starts:?}");
}

/// A forged ICMP message ends an attempt that was never answered, and nothing that works.
#[test]
fn icmp_ends_an_attempt_that_was_never_answered() {
    let mut world = world();
    let left = node(&mut world, &[at(DEAD, Transport::Udp), turn()]);
    world.run_for(ms(200));
    let (now, socket): (_, SocketId) = (world.now, world.udp(left.node, "192.0.2.1:1007"));
    let known = world.events.iter().find_map(|(_, _, event)| {
        let Event::Gathered { socket, .. } = event else { return None };
        Some(*socket)
    });
    assert_ne!(known, Some(socket));
    for server in [DEAD, SERVER] {
        world.endpoint(left.node).handle_unreachable(now, known.unwrap(), addr(server));
    }
    world.drain();
    assert_eq!(failures(&world, left)[0], GatherFailure::Unreachable);
    assert_eq!(relayed(&world, left).len(), 1);
}

/// [rfc8445-5.1.1.2-9]
#[test]
fn a_relayed_address_that_is_ours_is_no_second_candidate() {
    let mut world = World::new();
    world.turns.push(TurnServer::new(SERVER, &[LEFT]));
    let left = party(&mut world, AgentConfig::new(Role::Controlling), LEFT);
    assert_eq!(relayed(&world, left), []);
    assert_eq!(world.description(left).streams[0].candidates.len(), 1);
}

/// A server that was named twice has one allocation for a socket, which a third naming leaves alone.
#[test]
fn entries_for_the_same_server_do_not_fight_over_the_5_tuple() {
    let mut world = world();
    let left = node(&mut world, &[turn(), turn()]);
    world.run_for(ms(1_000));
    world.server(left.node, turn());
    let second = world.agent(left.node, relaying(Role::Controlling));
    world.run_for(ms(1_000));
    assert_eq!(relayed(&world, left), [addr("198.51.100.1:50000")]);
    assert_eq!(relayed(&world, second), relayed(&world, left));
    assert_eq!(failures(&world, left), []);
    assert_eq!(world.turns[0].count(Method::ALLOCATE), 2, "a challenge and an answer");
    assert_eq!(world.turns[0].count(Method::REFRESH), 0);
}

/// Where the credentials of one entry are out of date, the other entry is tried.
#[test]
fn entries_for_the_same_server_are_tried_one_after_the_other() {
    let mut world = world();
    let old = LongTerm::new(b"user", b"expired").unwrap();
    let old = Server::turn(addr(SERVER), Transport::Udp, old);
    let left = node(&mut world, &[old, turn()]);
    world.run_for(ms(1_000));
    assert_eq!(relayed(&world, left), [addr("198.51.100.1:50000")]);
    assert_eq!(failures(&world, left).len(), 1);
}

/// A redirection to where there is an allocation already must not end that.
#[test]
fn a_redirection_to_another_server_of_ours_is_refused() {
    let mut world = world();
    world.turns[0].redirects = Some((addr(OTHER), None));
    world.turns.push(TurnServer::new(OTHER, &["198.51.100.2:50000"]));
    let left = node(&mut world, &[turn(), at(OTHER, Transport::Udp)]);
    world.run_for(ms(1_000));
    assert_eq!(relayed(&world, left), [addr("198.51.100.2:50000")]);
    assert_eq!(failures(&world, left), [GatherFailure::Relay(turn::Error::Redirect)]);
    assert_eq!(world.turns[1].count(Method::REFRESH), 0);
}

/// The next request may be seconds away.
#[test]
fn a_restart_asks_a_server_that_is_back_for_an_allocation_at_once() {
    let mut world = World::new();
    let left = party(&mut world, relaying(Role::Controlling), LEFT);
    // It was asked three times, and would be again in two seconds.
    world.run_for(ms(1_500));
    world.turns.push(TurnServer::new(SERVER, &["198.51.100.1:50000"]));
    world.restart(left);
    world.run_for(ms(100));
    assert_eq!(relayed(&world, left), [addr("198.51.100.1:50000")]);
    assert_eq!(failures(&world, left), []);
}

/// So may the next attempt of TCP; one that has begun of late goes on.
#[test]
fn a_restart_tries_a_connection_anew_that_does_not_open() {
    let mut world = World::new();
    let left = node(&mut world, &[at(SERVER, Transport::Tcp)]);
    world.run_for(ms(1_000));
    world.restart(left);
    world.run_for(ms(2_500));
    assert_eq!(opens(&world).len(), 1);
    world.restart(left);
    let [(_, first, ..), (_, second, ..)] = opens(&world)[..] else {
        panic!("{:?}", opens(&world))
    };
    assert!(world.connects.iter().any(|known| known.2 == Connect::Cancel(first)));
    assert!(world.connected(left.node, second, Ok(local(7000))).is_some());
}

/// The end of candidates was told, so that the peer would hear of its next address in vain.
#[test]
fn a_relay_that_is_lost_before_any_pair_works_calls_for_a_restart_at_once() {
    let mut world = world();
    let left = party(&mut world, relaying(Role::Controlling), LEFT);
    let mut peer = Hand::new(&world, left, RIGHT).plain();
    peer.options.trickle = true;
    peer.streams[0].end_of_candidates = false;
    world.set_remote(left, &peer);
    world.run_for(ms(500));
    assert_eq!(world.state(left), AgentState::Checking);
    world.turns[0].restart();
    // The permission for it tells of the loss.
    world.add_candidate(left, &host("192.0.2.9:9", 1)).unwrap();
    world.run_for(ms(500));
    let recommended = |event: &Event| matches!(event, Event::RestartRecommended { .. });
    assert_eq!(world.events_of(left.node).iter().filter(|event| recommended(event)).count(), 1);
    world.restart(left);
    world.run_for(ms(100));
    assert_eq!(relayed(&world, left), [addr("198.51.100.1:50001")]);
}
