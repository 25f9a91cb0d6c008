//! Offers and answers after the first that restart nothing. [RFC 8839 §4.4]

use std::net::SocketAddr;

use floe::candidate::Candidate;
use floe::config::{AgentConfig, EndpointConfig, Mode, Role, Trickle};
use floe::sdp::{Description, SessionTemplate, StreamDescription};
use floe::{AgentState, ComponentId, Server, Socket};

use crate::harness::{Hand, Party, World, addr, host, host_of, ms, stun_server};
use crate::rfc8445_nomination::many_components;

/// Two agents of two addresses each that have nominated a pair; the first one controls.
fn concluded() -> (World, [Party; 2]) {
    let mut world = World::new();
    let sides = [(Role::Controlling, 1), (Role::Controlled, 2)].map(|(role, port)| {
        let addresses = [1, 2].map(|n| format!("192.0.2.{n}:{port}"));
        world.party(AgentConfig::new(role), &[&addresses[0], &addresses[1]])
    });
    world.exchange(sides[0], sides[1]);
    for side in sides {
        world.reach(side, AgentState::Completed, ms(2_000));
    }
    (world, sides)
}

fn addresses(section: &StreamDescription) -> Vec<(u16, SocketAddr)> {
    let address = |known: &Candidate| (known.component, known.socket_address().unwrap());
    section.candidates.iter().map(address).collect()
}

/// Where the only stream of a description is to be reached, as an agent without ICE sees it.
fn lines(description: &Description) -> [String; 2] {
    let sdp = description.to_sdp(&SessionTemplate::new(1, 1));
    ["m=", "c="].map(|kind| sdp.lines().find(|line| line.starts_with(kind)).unwrap().to_owned())
}

/// [rfc8839-4.4.1.2.1-1] [rfc8839-4.4.1.2.1-4]
#[test]
fn before_a_nomination_all_candidates_are_offered_and_the_default_is_one_of_them() {
    let mut world = World::new();
    let mut config = AgentConfig::new(Role::Controlling);
    config.trickle = Trickle::Off;
    let agent = world.party(config, &["192.0.2.1:1", "192.0.2.2:1"]);
    let hand = Hand::new(&world, agent, "192.0.2.9:9");
    world.set_remote(agent, &hand.plain());
    world.run_for(ms(100));
    let offer = world.view(agent).subsequent_offer();
    assert_eq!(offer, world.description(agent));
    let told = addresses(&offer.streams[0]);
    assert_eq!(told, [(1, addr("192.0.2.1:1")), (1, addr("192.0.2.2:1"))]);
    let [media, connection] = lines(&offer);
    assert!(media.starts_with("m=application 1 "), "{media}");
    assert_eq!(connection, "c=IN IP4 192.0.2.1");
}

/// [rfc8839-4.4.1.2.2-1] [rfc8839-4.4.1.2.2-2] [rfc8839-4.4.1.2.2-3] [rfc8839-4.3.4-2]
/// [rfc8839-5.2-2a] [rfc8839-5.2-2b] [rfc8839-4.4.2-1] [rfc8839-4.4.3.1-5]
#[test]
fn after_the_nomination_its_pair_alone_is_told() {
    let (mut world, [left, right]) = concluded();
    let pairs = [left, right].map(|side| world.view(side).selected(ComponentId::FIRST).unwrap());
    assert_eq!(world.description(left).streams[0].candidates.len(), 2);
    for (side, other, pair) in [(left, right, &pairs[0]), (right, left, &pairs[1])] {
        let offer = world.view(side).subsequent_offer();
        let [section] = &offer.streams[..] else { panic!("one stream") };
        assert_eq!(addresses(section), [(1, pair.base)]);
        let [media, connection] = lines(&offer);
        assert!(media.starts_with(&format!("m=application {} ", pair.base.port())), "{media}");
        assert_eq!(connection, format!("c=IN IP4 {}", pair.base.ip()));
        let named = if side == left { vec![(1, pair.remote.address)] } else { Vec::new() };
        assert_eq!(section.remote_candidates, named);

        // Nothing comes of it on either side.
        let before = [left, right].map(|side| world.events_of(side.node).len());
        world.set_remote(other, &offer);
        let answer = world.view(other).subsequent_answer(&offer);
        assert_eq!(addresses(&answer.streams[0]), [(1, pair.remote.address)]);
        assert_eq!(answer.streams[0].default_destination, Some(pair.remote.address));
        assert_eq!(answer.streams[0].remote_candidates, []);
        world.set_remote(side, &answer);
        world.run_for(ms(5_000));
        for (side, before) in [left, right].into_iter().zip(before) {
            assert_eq!(world.state(side), AgentState::Completed);
            assert_eq!(world.events_of(side.node).len(), before);
        }
    }
}

/// [rfc8839-5.2-1] [rfc8839-4.4.1.2.2-2]
#[test]
fn every_component_of_a_stream_has_its_pair_or_all_candidates_are_told() {
    let mut world = World::new();
    let left = many_components(&mut world, Role::Controlling, "192.0.2.1");
    let right = many_components(&mut world, Role::Controlled, "192.0.2.2");
    world.filter(|packet| {
        // The second component of the first stream is slow.
        if packet.from.port() == 2 {
            packet.delay = ms(500);
        }
        crate::harness::Verdict::Pass
    });
    world.exchange(left, right);
    world.run_for(ms(400));
    let offer = world.view(left).subsequent_offer();
    assert_eq!(offer.streams[0].remote_candidates, []);
    assert_eq!(offer.streams[1].remote_candidates, [(1, addr("192.0.2.2:3"))]);
    world.reach(left, AgentState::Completed, ms(5_000));
    let offer = world.view(left).subsequent_offer();
    let [first, _] = &offer.streams[..] else { panic!("two streams") };
    assert_eq!(addresses(first), [(1, addr("192.0.2.1:1")), (2, addr("192.0.2.1:2"))]);
    assert_eq!(first.default_destination, Some(addr("192.0.2.1:1")));
    let named = [(1, addr("192.0.2.2:1")), (2, addr("192.0.2.2:2"))];
    assert_eq!(first.remote_candidates, named);
    world.reach(right, AgentState::Completed, ms(5_000));
    world.set_remote(right, &offer);
    let answer = world.view(right).subsequent_answer(&offer);
    assert_eq!(addresses(&answer.streams[0]), named);
    assert_eq!(addresses(&answer.streams[1]), [(1, addr("192.0.2.2:3"))]);
}

/// A component that only we have needs no pair. [rfc8839-4.4.1.2.2-2]
#[test]
fn what_the_peer_multiplexes_is_not_waited_for() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    let second = ComponentId::new(0, 2).unwrap();
    world.udp(node, "192.0.2.1:1");
    world.udp(node, "192.0.2.3:1");
    world.socket(node, Socket::udp(addr("192.0.2.1:2")).with_component(second));
    let mut config = AgentConfig::new(Role::Controlling);
    config.streams = vec![2];
    let agent = world.agent(node, config);
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    world.respond(hand.address, hand.answering());
    world.set_remote(agent, &hand.plain());
    world.reach(agent, AgentState::Completed, ms(5_000));
    let pair = world.view(agent).selected(ComponentId::FIRST).unwrap();
    let offer = world.view(agent).subsequent_offer();
    assert_eq!(addresses(&offer.streams[0]), [(1, pair.base)]);
    assert_eq!(offer.streams[0].remote_candidates, [(1, hand.address)]);
}

/// The offer is there before the check that nominates. [rfc8839-4.4.2-4] [rfc8839-4.4.2-5]
#[test]
fn the_answer_has_the_pair_that_the_offer_names_if_it_works() {
    let mut world = World::new();
    let bases = ["192.0.2.1:1000", "192.0.2.3:1000"];
    let agent = world.party(AgentConfig::new(Role::Controlled), &bases);
    let hand = Hand::new(&world, agent, "192.0.2.2:2000");
    world.respond(hand.address, hand.answering());
    world.set_remote(agent, &hand.plain());
    world.run_for(ms(2_000));
    let dead = host("192.0.2.9:9", 2);
    for (base, theirs, expected) in [
        (bases[1], host("192.0.2.2:2000", 1), vec![(1, addr(bases[1]))]),
        // This one lost the race.
        (bases[1], dead, bases.iter().map(|base| (1, addr(base))).collect()),
    ] {
        let mut offer = hand.description(std::slice::from_ref(&theirs));
        offer.streams[0].default_destination = theirs.socket_address();
        offer.streams[0].remote_candidates = vec![(1, addr(base))];
        world.set_remote(agent, &offer);
        assert!(world.view(agent).selected(ComponentId::FIRST).is_none());
        let answer = world.view(agent).subsequent_answer(&offer);
        assert_eq!(addresses(&answer.streams[0]), expected);
        let default = answer.streams[0].default_destination;
        assert_eq!(default, (expected.len() == 1).then(|| addr(base)));
    }
}

/// [rfc8839-4.4.1.3-4] [rfc8839-4.4.1.3-5]
#[test]
fn a_lite_agent_tells_the_candidate_of_its_pair_too() {
    let mut world = World::new();
    let mut config = AgentConfig::new(Role::Controlled);
    config.mode = Mode::Lite;
    let lite = world.party(config, &["192.0.2.1:1", "192.0.2.2:1"]);
    let full = world.party(AgentConfig::new(Role::Controlling), &["192.0.2.9:9"]);
    world.exchange(full, lite);
    world.reach(lite, AgentState::Completed, ms(2_000));
    let pair = world.view(lite).selected(ComponentId::FIRST).unwrap();
    let offer = world.view(lite).subsequent_offer();
    assert_eq!(addresses(&offer.streams[0]), [(1, pair.base)]);
    assert_eq!(offer.streams[0].default_destination, Some(pair.base));
    assert_eq!(offer.streams[0].remote_candidates, []);
}

/// [rfc8839-4.4.1.3-1]
#[test]
fn a_lite_agent_tells_all_while_a_stream_of_it_is_not_done() {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    for ip in ["192.0.2.1", "192.0.2.2"] {
        for (port, stream) in [(1, 0), (2, 1)] {
            let component = ComponentId::new(stream, 1).unwrap();
            let socket = Socket::udp(addr(&format!("{ip}:{port}"))).with_component(component);
            world.socket(node, socket);
        }
    }
    let mut config = AgentConfig::new(Role::Controlled);
    config.mode = Mode::Lite;
    config.streams = vec![1, 1];
    let lite = world.agent(node, config);
    let mut hand = Hand::new(&world, lite, "192.0.2.9:9");
    let mut description = hand.plain();
    description.streams.push(hand.description(&[host_of("192.0.2.9:10", 1, 1)]).streams.remove(0));
    world.set_remote(lite, &description);
    let octets = hand.nomination();
    world.inject(hand.address, addr("192.0.2.1:1"), octets);
    world.run_for(ms(100));
    assert_eq!(world.view(lite).subsequent_offer(), world.description(lite));
    let octets = hand.nomination();
    world.inject(addr("192.0.2.9:10"), addr("192.0.2.2:2"), octets);
    world.run_for(ms(100));
    let offer = world.view(lite).subsequent_offer();
    let [first, second] = &offer.streams[..] else { panic!("two streams") };
    assert_eq!(addresses(first), [(1, addr("192.0.2.1:1"))]);
    assert_eq!(addresses(second), [(1, addr("192.0.2.2:2"))]);
}

/// A peer on the same network shows us our own address, with the port as something in between
/// made it.
#[test]
fn an_address_that_is_not_signalled_is_not_told_later_either() {
    for seen in ["10.9.8.7:1", "10.9.8.7:40000"] {
        withheld(seen);
    }
}

fn withheld(seen: &str) {
    let (inside, outside) = (addr("10.9.8.7:1"), addr("203.0.113.9:1"));
    let mut world = World::new();
    world.nat("10.9.8.7:1", seen);
    let node = world.node(EndpointConfig::default());
    let mut socket = Socket::udp(inside);
    socket.signalled = false;
    world.socket(node, socket);
    let server = addr("192.0.2.9:3478");
    world.respond(server, stun_server(move |_| outside));
    world.server(node, Server::stun(server));
    let agent = world.agent(node, AgentConfig::new(Role::Controlling));
    world.run_for(ms(100));
    let hand = Hand::new(&world, agent, "10.9.8.9:2");
    world.respond(hand.address, hand.answering());
    world.set_remote(agent, &hand.plain());
    world.reach(agent, AgentState::Completed, ms(5_000));
    let selected = world.view(agent).selected(ComponentId::FIRST).unwrap();
    assert_eq!((selected.base, selected.local.address), (inside, addr(seen)));
    let view = world.view(agent);
    for told in [view.local_description(), view.subsequent_offer()] {
        assert_eq!(addresses(&told.streams[0]), [(1, outside)]);
        let told = format!("{told:?}{}", told.to_sdp(&SessionTemplate::new(1, 1)));
        assert!(!told.contains("10.9.8.7"), "{told}");
    }
    // Nor is the other side's told back for it.
    assert_eq!(view.subsequent_offer().streams[0].remote_candidates, []);
}

#[test]
fn a_restart_tells_all_candidates_again() {
    let (mut world, [left, _]) = concluded();
    world.restart(left);
    assert_eq!(world.view(left).subsequent_offer(), world.description(left));
    assert_eq!(world.description(left).streams[0].candidates.len(), 2);
}
