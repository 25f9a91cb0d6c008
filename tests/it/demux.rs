//! Whose a datagram is: by its first octet, and by who sent it. [RFC 7983] [RFC 9443]

use floe::config::{AgentConfig, EndpointConfig, Role};
use floe::demux::Class;
use floe::{AgentState, ComponentId, DropReason, HEADROOM, Received, Socket};

use crate::harness::{Hand, Outcome, Party, World, addr, encode, host, ms};

const AGENT: &str = "192.0.2.1:1000";
const PEER: &str = "192.0.2.2:2000";

/// [rfc7983-7-p1] [rfc9443-3-p1]
#[test]
fn the_first_octet_tells_the_protocol() {
    for octet in 0..=255_u8 {
        let expected = match octet {
            0..=3 => Class::Stun,
            4..=15 => Class::Unknown,
            16..=19 => Class::Zrtp,
            20..=63 => Class::Dtls,
            64..=79 => Class::TurnChannel,
            128..=191 => Class::Rtp,
            80..=127 | 192..=255 => Class::Quic,
        };
        assert_eq!(Class::of(&[octet, 0, 0]), expected, "{octet}");
    }
    assert_eq!(Class::of(&[]), Class::Unknown);
}

/// [rfc7983-7-1a] [rfc9443-3-1a] [rfc9443-3-2a] [rfc7983-7-1b] [rfc9443-3-1b] [rfc9443-3-2b]
#[test]
fn an_unknown_first_octet_is_dropped_and_counted() {
    let mut world = World::new();
    let (left, right) = world.pair_of_parties();
    world.exchange(left, right);
    world.reach(left, AgentState::Completed, ms(1_000));
    for from in [PEER, "203.0.113.9:9"] {
        for octet in 4..=15 {
            let outcome = world.deliver(addr(from), addr(AGENT), &[octet; 40]);
            assert_eq!(outcome, Outcome::Dropped(DropReason::UnknownClass));
        }
        let outcome = world.deliver(addr(from), addr(AGENT), &[]);
        assert_eq!(outcome, Outcome::Dropped(DropReason::UnknownClass));
    }
    assert_eq!(world.dropped(left.node, DropReason::UnknownClass), 26);
}

/// Without a TURN server 64 to 79 are QUIC. [rfc9443-3-p1] [rfc7983-7-p1]
#[test]
fn what_nobody_claims_is_handed_out_with_its_class() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    let socket = world.udp(node, AGENT);
    let now = world.now;
    for octet in 16..=255_u8 {
        let expected = match octet {
            0..=15 => unreachable!(),
            16..=19 => Class::Zrtp,
            20..=63 => Class::Dtls,
            128..=191 => Class::Rtp,
            64..=127 | 192..=255 => Class::Quic,
        };
        let datagram = [octet, 1, 2];
        let received = world.endpoint(node).handle_datagram(now, socket, addr(PEER), &datagram);
        let unclaimed = Received::Unclaimed { class: expected, from: addr(PEER), data: &datagram };
        assert_eq!(received, unclaimed);
    }
}

/// Data of every class comes in from an authenticated 5-tuple, from the datagram itself.
/// [rfc7983-7-p1] [rfc9443-3-p1] [rfc8445-12.2-1]
#[test]
fn data_of_a_known_flow_is_the_agents() {
    let mut world = World::new();
    let (left, right) = world.pair_of_parties();
    world.exchange(left, right);
    world.reach(left, AgentState::Completed, ms(1_000));
    for octet in 16..=255_u8 {
        let data = vec![octet; 1_200];
        let component = ComponentId::FIRST;
        let expected = Outcome::Data { agent: left.agent, component, data: data.clone() };
        assert_eq!(world.deliver(addr(PEER), addr(AGENT), &data), expected);
        let other = world.deliver(addr("192.0.2.2:2001"), addr(AGENT), &data);
        assert_eq!(other, Outcome::Unclaimed(data));
    }
    let stats = world.pairs(left)[0].counters;
    assert_eq!((stats.packets_received, stats.bytes_received), (240, 240 * 1_200));
}

/// What looks like STUN and is none is dropped, even from the peer.
#[test]
fn broken_stun_is_dropped() {
    let mut world = World::new();
    let (left, right) = world.pair_of_parties();
    world.exchange(left, right);
    world.reach(left, AgentState::Completed, ms(1_000));
    for octet in 0..=3_u8 {
        let outcome = world.deliver(addr(PEER), addr(AGENT), &[octet; 30]);
        assert_eq!(outcome, Outcome::Dropped(DropReason::Malformed));
    }
}

/// An indication is taken and answered by nothing, with whatever credentials it comes.
/// [rfc8489-9.1.3-3] [rfc8489-9.1.3-6] [rfc8489-9.1.3-9] [rfc8489-6.3.2-p1]
#[test]
fn an_indication_is_taken_in_silence() {
    let mut world = World::new();
    let (left, right) = world.pair_of_parties();
    world.exchange(left, right);
    world.reach(left, AgentState::Completed, ms(1_000));
    let class = floe::stun::MessageClass::Indication;
    let id = floe::stun::TransactionId([7; 12]);
    let key = floe::stun::IntegrityKey::short_term(b"another FAKE password!");
    let ours = world.credentials(left).ufrag;
    let user: [&[u8]; 2] = [ours.as_bytes(), b"peer"];
    let stranger: [&[u8]; 2] = [b"somebody", b"peer"];
    let indications = [
        encode(class, id, |message| message.fingerprint()),
        encode(class, id, |message| message.username(&user).fingerprint()),
        encode(class, id, |message| message.integrity(&key).fingerprint()),
        encode(class, id, |message| message.username(&stranger).integrity(&key).fingerprint()),
        encode(class, id, |message| message.username(&user).integrity(&key).fingerprint()),
    ];
    let (before, stats) = (world.log.len(), world.stats(left));
    for octets in indications {
        assert_eq!(world.deliver(addr(PEER), addr(AGENT), &octets), Outcome::Handled);
        assert_eq!(world.log.len(), before);
    }
    assert_eq!(world.stats(left), stats);
}

/// The outgoing gate counts what it lets through, and writes nothing on a direct path.
#[test]
fn a_route_frames_in_place_and_counts() {
    let mut world = World::new();
    let (left, right) = world.pair_of_parties();
    world.exchange(left, right);
    world.reach(left, AgentState::Completed, ms(1_000));
    let now = world.now;
    let endpoint = world.endpoint(left.node);
    let mut buf = [7; 256];
    let route = endpoint.route(now, left.agent, ComponentId::FIRST).unwrap();
    let transmit = route.frame(&mut buf, HEADROOM..HEADROOM + 100).unwrap();
    assert_eq!((transmit.to, transmit.range), (addr(PEER), HEADROOM..HEADROOM + 100));
    assert_eq!(buf, [7; 256]);
    let counters = world.pairs(left)[0].counters;
    assert_eq!((counters.packets_sent, counters.bytes_sent), (1, 100));
    assert_eq!(counters.last_packet_sent, Some(now));
}

/// Three agents on one socket, each with a peer of its own behind it.
fn three_agents() -> (World, [Party; 3], [Hand; 3]) {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.udp(node, AGENT);
    let agents = [0; 3].map(|_| world.agent(node, AgentConfig::new(Role::Controlling)));
    let mut index = 0;
    let hands = agents.map(|agent| {
        let mut hand = Hand::new(&world, agent, &format!("192.0.2.2:{}", 2_000 + index));
        index += 1;
        hand.own.ufrag = format!("hand{index}");
        hand
    });
    (world, agents, hands)
}

/// Requests go by the ufrag, responses by the transaction, data by the 5-tuple.
#[test]
fn agents_on_one_socket_are_told_apart() {
    let (mut world, agents, mut hands) = three_agents();
    for (agent, hand) in agents.iter().zip(&hands) {
        world.respond(hand.address, hand.answering());
        world.set_remote(*agent, &hand.plain());
    }
    for agent in agents {
        world.reach(agent, AgentState::Completed, ms(1_000));
    }
    for (agent, hand) in agents.iter().zip(&mut hands) {
        assert_eq!(world.route(*agent), Ok(hand.address));
        let outcome = world.deliver(hand.address, addr(AGENT), b"\x80data");
        assert!(matches!(outcome, Outcome::Data { agent: of, .. } if of == agent.agent));
        let octets = hand.check();
        assert_eq!(world.deliver(hand.address, addr(AGENT), &octets), Outcome::Handled);
        assert_eq!(world.pairs(*agent)[0].counters.requests_received, 1);
    }
}

/// Where several agents talk with one address, only the application can tell whose data it is;
/// when the others have left, it is the last one's, at once.
#[test]
fn a_flow_of_many_is_unclaimed_until_one_is_left() {
    let (mut world, agents, mut hands) = three_agents();
    let from = addr(PEER);
    let data = |world: &mut World| world.deliver(from, addr(AGENT), b"\x80data");
    let unclaimed = Outcome::Unclaimed(b"\x80data".to_vec());
    for hand in &mut hands {
        let octets = hand.check();
        world.deliver(from, addr(AGENT), &octets);
    }
    assert_eq!(data(&mut world), unclaimed);
    world.close(agents[0]);
    assert_eq!(data(&mut world), unclaimed);
    // A check of one of the two does not make it the only one.
    let octets = hands[1].check();
    world.deliver(from, addr(AGENT), &octets);
    assert_eq!(data(&mut world), unclaimed);
    world.close(agents[1]);
    let outcome = data(&mut world);
    assert!(matches!(outcome, Outcome::Data { agent, .. } if agent == agents[2].agent));
    world.close(agents[2]);
    assert_eq!(data(&mut world), unclaimed);
}

/// All agents together start one transaction per 5 ms, and each has its turn. [rfc8445-14.2-4]
#[test]
fn every_agent_on_a_socket_has_its_turn() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    world.udp(node, AGENT);
    let mut agents = Vec::new();
    for _ in 0..30 {
        agents.push(world.agent(node, AgentConfig::new(Role::Controlling)));
    }
    let start = world.now;
    for (index, agent) in agents.iter().enumerate() {
        let mut hand = Hand::new(&world, *agent, PEER);
        hand.own.ufrag = format!("hand{index}");
        let candidates: Vec<_> = (0..8)
            .map(|port| host(&format!("203.0.113.{}:{}", port + 1, 3_000 + index), port + 1))
            .collect();
        let mut description = hand.description(&candidates);
        description.pacing = Some(ms(5));
        world.set_remote(*agent, &description);
    }
    // 30 agents with 8 pairs each: 240 starts take 1.2 s, 30 of them 150 ms.
    world.run_for(ms(1_300));
    let checks = world.requests_from(AGENT);
    let mut first = std::collections::BTreeMap::new();
    for packet in &checks {
        first.entry(packet.to.port()).or_insert(packet.at - start);
    }
    assert_eq!(first.len(), 30);
    let last = first.values().max().unwrap();
    assert!(*last <= ms(200), "{first:?}");
}

/// A socket that serves no component of an agent gives it nothing.
#[test]
fn a_check_on_a_socket_of_another_agent_is_not_answered() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    let own = world.udp(node, AGENT);
    world.socket(node, Socket::udp(addr("192.0.2.1:1001")));
    let mut config = AgentConfig::new(Role::Controlling);
    config.sockets = Some(vec![own]);
    let agent = world.agent(node, config);
    let mut hand = Hand::new(&world, agent, PEER);
    let octets = hand.check();
    let outcome = world.deliver(hand.address, addr("192.0.2.1:1001"), &octets);
    assert_eq!(outcome, Outcome::Dropped(DropReason::UnknownComponent));
    assert_eq!(world.deliver(hand.address, addr(AGENT), &octets), Outcome::Handled);
}
