//! Relayed candidates: how they are found, checked and used, and what leaves for them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use floe::candidate::CandidateKind;
use floe::config::{AgentConfig, CandidatePolicy, EndpointConfig, Mode, Role};
use floe::stun::{LongTerm, Method};
use floe::{
    AgentState, ComponentId, DropReason, Event, HEADROOM, Instant, Received, Server, Socket,
    TAILROOM, Transport,
};

use crate::harness::{Hand, Outcome, Packet, Party, Verdict, World, addr, ms};
use crate::turn_server::TurnServer;

pub(crate) const SERVER: &str = "198.51.100.1:3478";
pub(crate) const LEFT: &str = "192.0.2.1:1000";
pub(crate) const RIGHT: &str = "192.0.2.2:2000";

pub(crate) fn credentials() -> LongTerm {
    LongTerm::new(b"user", b"pass").unwrap()
}

pub(crate) fn turn() -> Server {
    Server::turn(addr(SERVER), Transport::Udp, credentials())
}

pub(crate) fn relaying(role: Role) -> AgentConfig {
    let mut config = AgentConfig::new(role);
    config.policy = CandidatePolicy::Relay;
    config
}

/// A world with a TURN server.
pub(crate) fn world() -> World {
    let mut world = World::new();
    world.turns.push(TurnServer::new(SERVER, &["198.51.100.1:50000"]));
    world
}

/// A node with one socket and one agent that uses the TURN server, its gathering done.
pub(crate) fn party(world: &mut World, config: AgentConfig, socket: &str) -> Party {
    let node = world.node(EndpointConfig::default());
    world.udp(node, socket);
    world.server(node, turn());
    let party = world.agent(node, config);
    world.run_for(ms(100));
    party
}

/// Nothing passes between two addresses.
fn cut(world: &mut World, a: &'static str, b: &'static str) {
    world.filter(move |packet| {
        let ends = [packet.from.ip(), packet.to.ip()];
        match [addr(a).ip(), addr(b).ip()].iter().all(|ip| ends.contains(ip)) {
            true => Verdict::Drop,
            false => Verdict::Pass,
        }
    });
}

pub(crate) fn relayed(world: &World, party: Party) -> Vec<SocketAddr> {
    let stats = world.stats(party);
    let relayed = stats.local.iter().filter(|known| known.kind == CandidateKind::Relayed);
    relayed.map(|known| known.address).collect()
}

fn kinds(world: &World, party: Party) -> (CandidateKind, CandidateKind) {
    let pair = world.view(party).selected(ComponentId::FIRST).expect("a selected pair");
    (pair.local.kind, pair.remote.kind)
}

fn connect(world: &mut World, left: Party, right: Party) {
    world.exchange(left, right);
    for party in [left, right] {
        world.reach(party, AgentState::Completed, Duration::from_secs(10));
    }
}

/// Data passes both ways, unchanged; returns the packets that carried it out of the two ends.
fn talk(world: &mut World, left: Party, right: Party) -> Vec<Packet> {
    let start = world.log.len();
    for (from, to, text) in [(left, right, &b"\x80 to the right"[..]), (right, left, b"\x80 left")]
    {
        let before = world.received.len();
        world.send_data(from, text).unwrap();
        world.run_for(ms(100));
        let (_, node, outcome) = world.received[before..].last().expect("data").clone();
        assert_eq!(node, to.node);
        let Outcome::Data { data, agent, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!((agent, &data[..]), (to.agent, text));
    }
    world.log[start..].to_vec()
}

/// [rfc8445-5.1.1.2-p2] [rfc8445-5.1.1.2-p1] [rfc8445-5.1.1.2-p3] [rfc8445-5.1.1.2-1]
/// [rfc8445-5.1.1.2-6]
#[test]
fn one_answer_gives_two_candidates_after_two_round_trips() {
    let mut world = world();
    world.nat("10.0.0.1:1000", "203.0.113.1:4000");
    let party = party(&mut world, AgentConfig::new(Role::Controlling), "10.0.0.1:1000");
    let gathered: Vec<_> = world
        .events_of(party.node)
        .into_iter()
        .filter_map(|event| {
            let Event::Gathered { kind, address, took, .. } = event else { return None };
            Some((kind, address, took))
        })
        .collect();
    let (mapped, relayed) = (addr("203.0.113.1:4000"), addr("198.51.100.1:50000"));
    assert_eq!(
        gathered,
        [
            (CandidateKind::ServerReflexive, mapped, ms(40)),
            (CandidateKind::Relayed, relayed, ms(40))
        ]
    );
    assert_eq!(world.turns[0].count(Method::ALLOCATE), 2);
    assert_eq!(world.turns[0].count(Method::BINDING), 0);
    let candidates = world.description(party).streams[0].candidates.clone();
    let kinds: Vec<_> = candidates.iter().map(|candidate| candidate.kind).collect();
    let (host, reflexive, relay) =
        (CandidateKind::Host, CandidateKind::ServerReflexive, CandidateKind::Relayed);
    assert_eq!(kinds, [host, reflexive, relay]);
    assert_eq!(candidates[2].related, Some(mapped));
    assert_eq!(candidates[1].related, Some(addr("10.0.0.1:1000")));
    let last = world.events_of(party.node).pop();
    assert_eq!(last, Some(Event::GatheringComplete { agent: party.agent }));
}

/// The mapping that the allocation told is kept alive as any other. [rfc8445-5.1.1.4-1]
#[test]
fn the_mapping_of_an_allocation_is_refreshed_with_bindings() {
    let mut world = world();
    let party = party(&mut world, AgentConfig::new(Role::Controlling), LEFT);
    world.run_for(ms(40_000));
    assert_eq!(world.turns[0].count(Method::BINDING), 2);
    assert_eq!(world.turns[0].count(Method::ALLOCATE), 2);
    assert_eq!(relayed(&world, party).len(), 1);
}

#[test]
fn with_a_nonce_of_the_same_server_an_allocation_takes_one_round_trip() {
    let mut world = world();
    let first = party(&mut world, AgentConfig::new(Role::Controlling), LEFT);
    let socket = world.udp(first.node, "192.0.2.1:1001");
    let mut config = AgentConfig::new(Role::Controlling);
    config.sockets = Some(vec![socket]);
    world.agent(first.node, config);
    world.run_for(ms(100));
    let took = world.events_of(first.node).into_iter().rev().find_map(|event| {
        let Event::Gathered { kind, took, .. } = event else { return None };
        (kind == CandidateKind::Relayed).then_some(took)
    });
    assert_eq!(took, Some(ms(20)));
    assert_eq!(world.turns[0].count(Method::ALLOCATE), 3);
}

/// What a check over the relay is answered with is the address of who sent it: the host has no
/// other. [rfc8445-7.3.1.2-p1]
#[test]
fn a_relay_reaches_a_host_that_cannot_be_reached_otherwise() {
    let mut world = world();
    let left = party(&mut world, AgentConfig::new(Role::Controlling), LEFT);
    let right = world.party(AgentConfig::new(Role::Controlled), &[RIGHT]);
    cut(&mut world, LEFT, RIGHT);
    connect(&mut world, left, right);
    assert_eq!(kinds(&world, left), (CandidateKind::Relayed, CandidateKind::Host));
    assert_eq!(kinds(&world, right), (CandidateKind::Host, CandidateKind::Relayed));
    let local = world.stats(right).local;
    assert!(local.iter().all(|known| known.kind == CandidateKind::Host), "{local:?}");
    talk(&mut world, left, right);
}

#[test]
fn two_relays_reach_each_other() {
    let mut world = world();
    let left = party(&mut world, relaying(Role::Controlling), LEFT);
    let right = party(&mut world, relaying(Role::Controlled), RIGHT);
    connect(&mut world, left, right);
    assert_eq!(kinds(&world, left), (CandidateKind::Relayed, CandidateKind::Relayed));
    talk(&mut world, left, right);
}

/// [rfc8445-7.2.1-1] [rfc8445-7.2.1-2]
#[test]
fn the_permission_is_asked_for_right_before_the_first_check() {
    let mut world = world();
    let left = party(&mut world, relaying(Role::Controlling), LEFT);
    let right = world.party(AgentConfig::new(Role::Controlled), &[RIGHT]);
    let start = world.log.len();
    world.exchange(left, right);
    let from = |packet: &&Packet| packet.from == addr(LEFT);
    let sent: Vec<_> = world.log[start..].iter().filter(from).collect();
    let methods: Vec<_> = sent.iter().map(|packet| packet.message().method()).collect();
    assert_eq!(methods, [Method::CREATE_PERMISSION, Method::SEND]);
    let permitted = sent[0].message().xor_peer_address().map(|peer| peer.ip());
    assert_eq!(permitted, Some(addr(RIGHT).ip()));
    assert!(sent.iter().all(|packet| packet.to == addr(SERVER)));
}

/// A permission lives for 300 s, and a channel renews it too. [rfc8445-7.2.1-4]
#[test]
fn the_permission_is_renewed_as_long_as_a_pair_uses_it() {
    let mut world = world();
    let left = party(&mut world, relaying(Role::Controlling), LEFT);
    let right = world.party(AgentConfig::new(Role::Controlled), &[RIGHT]);
    connect(&mut world, left, right);
    world.run_for(Duration::from_secs(3_600));
    let asked: Vec<Instant> = world
        .log
        .iter()
        .filter(|packet| packet.from == addr(LEFT) && packet.octets[0] < 4)
        .filter(|packet| {
            [Method::CREATE_PERMISSION, Method::CHANNEL_BIND].contains(&packet.message().method())
        })
        .map(|packet| packet.at)
        .collect();
    let apart = |pair: &[Instant]| pair[1].since(pair[0]);
    assert!(asked.windows(2).all(|pair| apart(pair) < Duration::from_secs(300)), "{asked:?}");
    assert!(world.now.since(*asked.last().unwrap()) < Duration::from_secs(300));
    assert!(asked.len() < 60, "{} requests in an hour", asked.len());
}

/// [rfc8656-12-5] [rfc8445-7.2.1-3] [rfc8445-12.1-3]
#[test]
fn data_goes_over_a_channel_once_a_pair_is_selected() {
    let mut world = world();
    let left = party(&mut world, relaying(Role::Controlling), LEFT);
    let right = world.party(AgentConfig::new(Role::Controlled), &[RIGHT]);
    connect(&mut world, left, right);
    world.run_for(ms(100));
    let packets = talk(&mut world, left, right);
    let channel: Vec<_> = packets.iter().filter(|packet| packet.octets[0] == 0x40).collect();
    assert_eq!(channel.len(), 2, "to the server and from it: {packets:?}");
    assert_eq!(channel[0].octets.len(), 4 + b"\x80 to the right".len());
}

/// Events that nobody has taken yet hold up STUN, and no data: over a channel as over a direct path.
#[test]
fn data_over_a_channel_passes_while_events_wait() {
    let mut world = world();
    let mut config = EndpointConfig::default();
    config.max_events = 1;
    let node = world.node(config);
    let socket = world.udp(node, LEFT);
    world.server(node, turn());
    let left = world.agent(node, relaying(Role::Controlling));
    world.run_for(ms(100));
    let right = world.party(AgentConfig::new(Role::Controlled), &[RIGHT]);
    connect(&mut world, left, right);
    world.run_for(ms(100));
    let packets = talk(&mut world, left, right);
    let of_peer = |packet: &&Packet| packet.octets[0] == 0x40 && packet.to == addr(LEFT);
    let octets = packets.iter().find(of_peer).expect("data over a channel").octets.clone();
    let now = world.now;
    let endpoint = world.endpoint(node);
    endpoint.add_agent(now, AgentConfig::new(Role::Controlling));
    let received = endpoint.handle_datagram(now, socket, addr(SERVER), &octets);
    assert!(matches!(received, Received::Data { .. }), "{received:?}");
}

/// [RFC 8828]
#[test]
fn with_the_relay_policy_nothing_is_sent_but_to_turn_servers() {
    let mut world = world();
    let left = party(&mut world, relaying(Role::Controlling), LEFT);
    let right = party(&mut world, AgentConfig::new(Role::Controlled), RIGHT);
    connect(&mut world, left, right);
    // The peer has found out where we are.
    let mut hand = Hand::new(&world, left, "192.0.2.9:9000");
    let check = hand.check();
    let outcome = world.deliver(hand.address, addr(LEFT), &check);
    assert_eq!(outcome, Outcome::Dropped(DropReason::UnknownComponent));
    hand.theirs.password = "someOtherPasswordEntirely".into();
    let check = hand.check();
    world.deliver(hand.address, addr(LEFT), &check);
    talk(&mut world, left, right);
    world.run_for(ms(60_000));
    let from_left = world.log.iter().filter(|packet| packet.from == addr(LEFT));
    let destinations: BTreeSet<_> = from_left.map(|packet| packet.to).collect();
    assert_eq!(destinations, BTreeSet::from([addr(SERVER)]));
    let candidates = world.description(left).streams[0].candidates.clone();
    assert_eq!(candidates.len(), 1);
    // [rfc8839-5.1-8]
    assert_eq!(candidates[0].related, Some(addr("0.0.0.0:9")));
}

/// [rfc8445-7.3.1.3-p1]
#[test]
fn a_peer_reflexive_candidate_is_learned_through_a_relay() {
    let mut world = world();
    world.nat(RIGHT, "192.0.2.2:7777");
    let left = party(&mut world, relaying(Role::Controlling), LEFT);
    let right = world.party(AgentConfig::new(Role::Controlled), &[RIGHT]);
    connect(&mut world, left, right);
    assert_eq!(kinds(&world, left), (CandidateKind::Relayed, CandidateKind::PeerReflexive));
    let pair = world.view(left).selected(ComponentId::FIRST).unwrap();
    assert_eq!(pair.remote.address, addr("192.0.2.2:7777"));
    talk(&mut world, left, right);
}

#[test]
fn two_agents_share_one_allocation() {
    let mut world = world();
    let first = party(&mut world, relaying(Role::Controlling), LEFT);
    let agent = world.agent(first.node, relaying(Role::Controlling));
    assert_eq!(relayed(&world, agent), relayed(&world, first), "known at once");
    assert!(!world.view(agent).is_gathering());
    let peers = [RIGHT, "192.0.2.3:3000"]
        .map(|socket| world.party(AgentConfig::new(Role::Controlled), &[socket]));
    connect(&mut world, first, peers[0]);
    connect(&mut world, agent, peers[1]);
    talk(&mut world, first, peers[0]);
    talk(&mut world, agent, peers[1]);
    assert_eq!(world.turns[0].count(Method::ALLOCATE), 2, "a challenge and an answer");
    // One agent less is no reason to give the allocation back.
    world.close(first);
    world.run_for(ms(1_000));
    talk(&mut world, agent, peers[1]);
    assert_eq!(world.turns[0].allocations.len(), 1);
    world.close(agent);
    world.run_for(ms(1_000));
    assert_eq!(world.turns[0].allocations.len(), 0);
    assert_eq!(world.turns[0].count(Method::REFRESH), 1);
}

/// [rfc8656-8-2]
#[test]
fn closing_the_endpoint_gives_all_allocations_back() {
    let mut world = world();
    let left = party(&mut world, relaying(Role::Controlling), LEFT);
    let now = world.now;
    world.endpoint(left.node).close(now);
    world.drain();
    world.run_for(ms(10));
    assert_eq!(world.turns[0].allocations.len(), 0);
}

#[test]
fn a_lite_agent_asks_no_turn_server() {
    let mut world = world();
    let mut config = AgentConfig::new(Role::Controlled);
    config.mode = Mode::Lite;
    let lite = party(&mut world, config, LEFT);
    world.run_for(ms(1_000));
    assert_eq!(world.turns[0].heard, []);
    assert!(!world.view(lite).is_gathering());
}

/// [rfc8656-7.3-1]
#[test]
fn one_allocation_gives_candidates_of_both_families() {
    let mut world = world();
    world.turns[0].relays_at.push(addr("[2001:db8::1]:50000"));
    let left = party(&mut world, relaying(Role::Controlling), LEFT);
    assert_eq!(relayed(&world, left), [addr("198.51.100.1:50000"), addr("[2001:db8::1]:50000")]);
    let right = world.party(AgentConfig::new(Role::Controlled), &["[2001:db8::2]:2000"]);
    connect(&mut world, left, right);
    talk(&mut world, left, right);
    let v6 = world.view(left).selected(ComponentId::FIRST).unwrap();
    assert!(v6.local.address.is_ipv6());
}

#[test]
fn without_room_a_relayed_route_frames_nothing() {
    let mut world = world();
    let left = party(&mut world, relaying(Role::Controlling), LEFT);
    let right = world.party(AgentConfig::new(Role::Controlled), &[RIGHT]);
    connect(&mut world, left, right);
    world.run_for(ms(100));
    let now = world.now;
    let endpoint = world.endpoint(left.node);
    let mut frame = |buf: &mut [u8], payload: std::ops::Range<usize>| {
        endpoint.route(now, left.agent, ComponentId::FIRST).unwrap().frame(buf, payload)
    };
    assert_eq!(frame(&mut [0x80; 8], 0..8), None);
    assert_eq!(frame(&mut [0x80; 8], 4..9), None);
    let mut buf = [0x80; HEADROOM + 5 + TAILROOM];
    let transmit = frame(&mut buf, HEADROOM..HEADROOM + 5).expect("there is room");
    assert_eq!(transmit.to, addr(SERVER));
    assert_eq!(&buf[HEADROOM..HEADROOM + 5], [0x80; 5]);
}

#[test]
fn a_payload_that_is_sent_in_pieces_has_the_same_header() {
    let mut world = world();
    let left = party(&mut world, relaying(Role::Controlling), LEFT);
    let right = world.party(AgentConfig::new(Role::Controlled), &[RIGHT]);
    world.exchange(left, right);
    let sendable = world.run_while(ms(5_000), |world| {
        !world.events.iter().any(|(_, _, event)| matches!(event, Event::Sendable { .. }))
    });
    assert!(sendable);
    let payload = [0x80; 5];
    // In an indication at first, over a channel later; the transaction ids differ.
    for expected in [36, 4] {
        let now = world.now;
        for party in [left, right] {
            let endpoint = world.endpoint(party.node);
            let Ok(route) = endpoint.route(now, party.agent, ComponentId::FIRST) else { continue };
            let header = route.header(5).expect("it is short");
            let mut buf = [0x80; HEADROOM + 5 + TAILROOM];
            let route = endpoint.route(now, party.agent, ComponentId::FIRST).unwrap();
            let transmit = route.frame(&mut buf, HEADROOM..HEADROOM + 5).unwrap();
            let whole = [header.before(), &payload, header.after()].concat();
            assert_eq!((header.socket, header.to), (transmit.socket, transmit.to));
            assert_eq!(whole.len(), transmit.range.len());
            if party == left {
                assert_eq!(header.before().len(), expected);
                assert_eq!(whole[..4], buf[transmit.range.clone()][..4]);
                let fixed = whole.len().min(20);
                assert_eq!(whole[fixed..], buf[transmit.range][fixed..]);
            } else {
                assert_eq!((header.before(), header.after()), (&[][..], &[][..]));
            }
        }
        world.run_for(ms(2_000));
    }
}

/// What a server relays is data of the peer's, or nobody's: never an answer to somebody else.
#[test]
fn data_of_a_peer_without_permission_is_dropped_and_counted() {
    let mut world = world();
    let left = party(&mut world, relaying(Role::Controlling), LEFT);
    let unknown = [0x40, 0x00, 0x00, 0x02, 0x80, 0x81];
    let outcome = world.deliver(addr(SERVER), addr(LEFT), &unknown);
    assert_eq!(outcome, Outcome::Dropped(DropReason::NoPermission));
    assert_eq!(world.dropped(left.node, DropReason::NoPermission), 1);
    // The same from elsewhere is QUIC, and somebody else's.
    let outcome = world.deliver(addr("192.0.2.9:9"), addr(LEFT), &unknown);
    assert_eq!(outcome, Outcome::Unclaimed(unknown.to_vec()));
}

#[test]
fn nobody_else_may_speak_for_a_relayed_address() {
    let mut world = world();
    let left = party(&mut world, relaying(Role::Controlling), LEFT);
    let right = world.party(AgentConfig::new(Role::Controlled), &[RIGHT]);
    connect(&mut world, left, right);
    // The ids of relayed addresses never leave the endpoint.
    let local = [world.udp(left.node, "192.0.2.1:1009")];
    let now = world.now;
    let received =
        world.endpoint(left.node).handle_datagram(now, local[0], addr(RIGHT), &[0x80, 1, 2, 3]);
    assert!(matches!(received, Received::Unclaimed { .. }), "{received:?}");
    let _ = Socket::udp(addr(LEFT));
}

/// The last agent has gone, and its allocation is being given back.
#[test]
fn an_agent_that_comes_while_the_allocation_is_given_back_gets_the_next() {
    let mut world = world();
    let first = party(&mut world, relaying(Role::Controlling), LEFT);
    world.close(first);
    let second = world.agent(first.node, relaying(Role::Controlling));
    assert!(world.view(second).is_gathering());
    world.run_for(ms(1_000));
    assert_eq!(relayed(&world, second).len(), 1);
    assert!(!world.view(second).is_gathering());
    assert_eq!(world.turns[0].allocations.len(), 1);
}

/// The permissions of agents that are gone make room for those of others.
#[test]
fn a_peer_that_nobody_needs_makes_room_for_another() {
    let mut world = world();
    let mut config = EndpointConfig::default();
    config.max_relay_peers = 1;
    let node = world.node(config);
    world.udp(node, LEFT);
    world.server(node, turn());
    let agents = [0, 1].map(|_| world.agent(node, relaying(Role::Controlling)));
    world.run_for(ms(100));
    let peers = [RIGHT, "192.0.2.3:3000"]
        .map(|socket| world.party(AgentConfig::new(Role::Controlled), &[socket]));
    connect(&mut world, agents[0], peers[0]);
    world.close(agents[0]);
    connect(&mut world, agents[1], peers[1]);
    talk(&mut world, agents[1], peers[1]);
}
