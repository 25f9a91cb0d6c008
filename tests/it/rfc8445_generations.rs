//! Restarts within restarts: which generation carries data, and for how long. [RFC 8445 §9]

use std::net::SocketAddr;

use floe::candidate::{Candidate, CandidateAddress};
use floe::config::{AgentConfig, EndpointConfig, Role};
use floe::{AgentState, ComponentId, SendError, Socket};

use crate::agreement::recommendations;
use crate::harness::{Hand, Packet, Party, Verdict, World, addr, host, host_of, ms};
use crate::rfc8445_restart::{completed, completed_with, is_answered};

/// An agent that has restarted once, and its peer before that and after: both answer.
fn restarted() -> (World, Party, [Hand; 2]) {
    let (mut world, agent, mut old) = completed();
    world.restart(agent);
    world.run_for(ms(10_000));
    assert!(is_answered(&mut world, &mut old));
    let mut new = Hand::new(&world, agent, "192.0.2.2:2000");
    new.own.ufrag = "new1".into();
    new.own.password = "FAKEanotherFAKEanother".into();
    let (first, second) = (old.clone(), new.clone());
    world.respond(old.address, move |packet| {
        if !packet.is_request() {
            return Vec::new();
        }
        let ours = packet.message().username().unwrap().starts_with(b"new1");
        vec![if ours { second.success(packet) } else { first.success(packet) }]
    });
    world.set_remote(agent, &new.plain());
    assert!(is_answered(&mut world, &mut old));
    world.reach(agent, AgentState::Completed, ms(1_000));
    // A peer that does not check has not heard of the new generation.
    world.run_for(ms(20_000));
    assert!(is_answered(&mut world, &mut old));
    (world, agent, [old, new])
}

/// [rfc8445-9-p1] [rfc8445-9-3]
#[test]
fn old_credentials_are_answered_until_the_new_generation_is_settled() {
    let (mut world, _, [mut old, mut new]) = restarted();
    assert!(is_answered(&mut world, &mut new) && is_answered(&mut world, &mut old));
    world.run_for(ms(5_000));
    assert!(!is_answered(&mut world, &mut old));
    assert!(is_answered(&mut world, &mut new));
    let before = world.log.len();
    world.run_for(ms(20_000));
    let from = addr("192.0.2.1:1000");
    let checks = world.log[before..].iter().filter(|p| p.is_request() && p.from == from);
    assert!(checks.clone().count() > 0);
    assert!(checks.into_iter().all(|p| p.message().username().unwrap().starts_with(b"new1")));
}

/// A peer that answers and never checks does not have it kept for ever.
#[test]
fn the_old_generation_is_kept_for_thirty_seconds_at_most() {
    let (mut world, _, [mut old, mut new]) = restarted();
    world.run_for(ms(12_000));
    assert!(!is_answered(&mut world, &mut old));
    assert!(is_answered(&mut world, &mut new));
}

/// The peer moved, and restarted from where it is now: what it has not checked yet works, and what
/// was before does not. [rfc8445-9-p1]
#[test]
fn a_second_restart_keeps_no_generation_that_is_dead() {
    let (mut world, agent, mut peer) = completed();
    assert!(is_answered(&mut world, &mut peer));
    world.run_for(ms(5_000));
    world.silence(peer.address);
    let mut moved = Hand::new(&world, agent, "192.0.2.9:9000");
    moved.own.ufrag = "new1".into();
    world.respond(moved.address, moved.answering());
    world.set_remote(agent, &moved.plain());
    world.run_for(ms(1_500));
    assert_eq!(world.state(agent), AgentState::Completed);
    world.restart(agent);
    for _ in 0..30 {
        assert_eq!(world.route(agent), Ok(moved.address));
        world.run_for(ms(1_000));
    }
}

/// A generation in which the peer has not checked does not take the place of the one that it uses.
/// [rfc8445-9-p1] [rfc8445-9-3]
#[test]
fn a_second_restart_keeps_the_generation_that_the_peer_uses() {
    for heard in [false, true] {
        let (mut world, agent, [mut old, mut new]) = restarted();
        assert!(!heard || is_answered(&mut world, &mut new));
        world.restart(agent);
        world.run_for(ms(10_000));
        assert_eq!(is_answered(&mut world, &mut old), !heard);
        assert_eq!(is_answered(&mut world, &mut new), heard);
        assert!(world.route(agent).is_ok());
    }
}

/// A component that only one side has keeps nothing waiting. [rfc8445-6.1.2.2-p2] [rfc8445-9-p1]
#[test]
fn the_old_generation_ends_though_the_peer_lacks_a_component() {
    let mut world = World::new();
    let mut config = AgentConfig::new(Role::Controlling);
    config.streams = vec![2];
    let agent = world.party(config, &["192.0.2.1:1000"]);
    let mut peer = Hand::new(&world, agent, "192.0.2.2:2000");
    world.respond(peer.address, peer.answering());
    world.set_remote(agent, &peer.plain());
    world.reach(agent, AgentState::Completed, ms(1_000));
    let old = peer.clone();
    world.restart(agent);
    peer.own.ufrag = "new1".into();
    peer.theirs = world.credentials(agent);
    peer.address = addr("192.0.2.3:3000");
    world.respond(peer.address, peer.answering());
    let began = world.now;
    let candidates = [host("192.0.2.4:4000", 1), host("192.0.2.3:3000", 3)];
    world.set_remote(agent, &peer.description(&candidates));
    world.reach(agent, AgentState::Completed, ms(2_000));
    assert!(world.now - began >= ms(500), "the better one is waited for");
    assert!(is_answered(&mut world, &mut peer));
    world.run_for(ms(30_000));
    assert!(!is_answered(&mut world, &mut { old }));
}

/// Of two generations the one goes that leaves a component without a way. [rfc8445-9-p1]
#[test]
fn a_second_restart_keeps_the_generation_that_serves_every_component() {
    let mut world = World::new();
    let second = ComponentId::new(1, 1).unwrap();
    let [left, right] =
        [("192.0.2.1", Role::Controlling), ("192.0.2.2", Role::Controlled)].map(|(ip, role)| {
            let node = world.node(EndpointConfig::default());
            for (component, port) in [(ComponentId::FIRST, 1_000), (second, 1_010)] {
                let address = addr(&format!("{ip}:{port}"));
                world.socket(node, Socket::udp(address).with_component(component));
            }
            let mut config = AgentConfig::new(role);
            config.streams = vec![1, 1];
            world.agent(node, config)
        });
    world.exchange(left, right);
    world.reach(left, AgentState::Completed, ms(2_000));
    world.reach(right, AgentState::Completed, ms(2_000));
    world.restart(left);
    let offer = world.description(left);
    world.set_remote(right, &offer);
    let new = [left, right].map(|party| world.credentials(party).ufrag);
    world.filter(move |packet| {
        let of =
            |ufrag: &String| packet.message().username().unwrap().starts_with(ufrag.as_bytes());
        let hindered = packet.is_request() && packet.to.port() == 1_010 && new.iter().any(of);
        if hindered { Verdict::Drop } else { Verdict::Pass }
    });
    let answer = world.description(right);
    world.set_remote(left, &answer);
    world.run_for(ms(1_500));
    assert!(world.view(left).selected(ComponentId::FIRST).is_some());
    world.restart(left);
    assert_eq!(world.route(left), Ok(addr("192.0.2.2:1000")));
    assert_eq!(world.route_of(left, second), Ok(addr("192.0.2.2:1010")));
}

const SECOND: ComponentId = ComponentId::new(0, 2).unwrap();

/// An agent with two components whose peer, at these addresses, has both.
fn with_two_components(addresses: [&str; 2]) -> (World, Party, Hand) {
    let mut world = World::new();
    let node = world.node(EndpointConfig::default());
    for (component, port) in [(ComponentId::FIRST, 1_000), (SECOND, 1_001)] {
        let socket = Socket::udp(SocketAddr::new([192, 0, 2, 1].into(), port));
        world.socket(node, socket.with_component(component));
    }
    let mut config = AgentConfig::new(Role::Controlling);
    config.streams = vec![2];
    let agent = world.agent(node, config);
    let peer = answering_at(&mut world, agent, "old1", addresses);
    world.set_remote(agent, &peer.description(&both(addresses)));
    world.reach(agent, AgentState::Completed, ms(1_000));
    world.run_for(ms(5_000));
    (world, agent, peer)
}

/// The candidates of a peer for two components.
fn both([first, second]: [&str; 2]) -> [Candidate; 2] {
    [host(first, 1), host_of(second, 1, 2)]
}

/// A peer that answers whatever comes to these addresses.
fn answering_at(world: &mut World, agent: Party, ufrag: &str, addresses: [&str; 2]) -> Hand {
    let mut peer = Hand::new(world, agent, addresses[0]);
    peer.own.ufrag = ufrag.into();
    for address in addresses {
        world.respond(addr(address), peer.answering());
    }
    peer
}

/// Answers the checks that nominate nothing.
fn refusing_nominations(peer: &Hand) -> impl FnMut(&Packet) -> Vec<Vec<u8>> + 'static {
    let mut answering = peer.answering();
    move |packet| if packet.nominates() { Vec::new() } else { answering(packet) }
}

/// A way that the peer has given up is none that is lost with the generation. [rfc8445-9-p1]
#[test]
fn a_second_restart_does_not_go_back_for_a_component_that_the_peer_gave_up() {
    let old = ["192.0.2.2:2000", "192.0.2.2:2001"];
    let (mut world, agent, _) = with_two_components(old);
    let mut peer = answering_at(&mut world, agent, "new1", ["192.0.2.3:3000", "192.0.2.3:3001"]);
    world.set_remote(agent, &peer.plain());
    peer.theirs = world.credentials(agent);
    assert!(is_answered(&mut world, &mut peer));
    world.reach(agent, AgentState::Completed, ms(2_000));
    for address in old {
        world.silence(addr(address));
    }
    world.restart(agent);
    assert_eq!(world.route(agent), Ok(peer.address));
    assert!(is_answered(&mut world, &mut peer));
}

/// What is left for the generation before is left for all that it serves. [rfc8445-9-p1]
#[test]
fn a_second_restart_keeps_the_generation_that_has_a_way_for_each_component() {
    let (mut world, agent, _) = with_two_components(["192.0.2.2:2000", "192.0.2.2:2001"]);
    world.silence(addr("192.0.2.2:2001"));
    world.restart(agent);
    world.run_for(ms(3_000));
    let new = ["192.0.2.3:3000", "192.0.2.3:3001"];
    let mut peer = answering_at(&mut world, agent, "new1", new);
    world.respond(peer.address, refusing_nominations(&peer));
    world.set_remote(agent, &peer.description(&both(new)));
    world.run_for(ms(300));
    peer.theirs = world.credentials(agent);
    assert!(is_answered(&mut world, &mut peer));
    assert_eq!(world.route(agent), Ok(addr("192.0.2.2:2000")), "its nomination is not answered");
    assert_eq!(world.route_of(agent, SECOND), Ok(addr(new[1])));
    world.restart(agent);
    assert_eq!(world.route(agent), Ok(addr(new[0])));
    assert_eq!(world.route_of(agent, SECOND), Ok(addr(new[1])));
}

/// That the address is not known yet does not mean that the peer lacks the component.
/// [rfc8445-6.1.2.2-p2] [rfc8445-9-p1]
#[test]
fn the_old_generation_stays_for_a_component_of_which_a_name_is_known() {
    let (mut world, agent, _) = with_two_components(["192.0.2.2:2000", "192.0.2.2:2001"]);
    let new = ["192.0.2.3:3000", "192.0.2.3:3001"];
    let mut peer = answering_at(&mut world, agent, "new1", new);
    let [first, mut second] = both(new);
    let host = "9b36eaac-bb2e-49bb-bb78-21c41c499900.local".into();
    second.address = CandidateAddress::Name { host, port: 3_001 };
    world.set_remote(agent, &peer.description(&[first, second]));
    peer.theirs = world.credentials(agent);
    assert!(is_answered(&mut world, &mut peer));
    world.run_for(ms(5_000));
    assert_eq!(world.route(agent), Ok(addr(new[0])));
    assert_eq!(world.route_of(agent, SECOND), Ok(addr("192.0.2.2:2001")));
    // A name that leads nowhere is no candidate in the end, and takes nothing else along.
    world.run_for(ms(60_000));
    assert_eq!(world.state(agent), AgentState::Completed);
    assert_eq!(world.route(agent), Ok(addr(new[0])));
    assert_eq!(world.route_of(agent, SECOND), Err(SendError::ConsentExpired));
    assert_eq!(recommendations(&world, agent), []);
    assert_eq!(world.pairs(agent).len(), 1);
}

/// Where a component had no way before, there is nothing to go on with while a better pair is
/// waited for. [rfc8445-8.1.1-p1]
#[test]
fn a_component_that_is_new_is_not_waited_with() {
    let (mut world, agent, _) = with_two_components(["192.0.2.2:2000", "192.0.2.2:2001"]);
    world.silence(addr("192.0.2.2:2001"));
    world.run_for(ms(10_000));
    let new = ["192.0.2.3:3000", "192.0.2.3:3001"];
    let peer = answering_at(&mut world, agent, "new1", new);
    let mut candidates = Vec::from(both(["192.0.2.4:4000", "192.0.2.4:4001"]));
    candidates.extend([host(new[0], 3), host_of(new[1], 3, 2)]);
    let began = world.now;
    world.set_remote(agent, &peer.description(&candidates));
    world.run_for(ms(1_500));
    let [first, second] = new.map(|address| {
        let nominates = |packet: &&Packet| {
            packet.at >= began && packet.nominates() && packet.to == addr(address)
        };
        world.log.iter().find(nominates).unwrap().at - began
    });
    assert!(first >= ms(500) && second < ms(300), "{first:?} {second:?}");
}

/// The candidates of the generation before are numbered anew with those of this one.
#[test]
fn after_a_second_restart_the_selected_pair_is_told_as_before() {
    let mut world = World::new();
    let agent = world.party(AgentConfig::new(Role::Controlling), &["192.0.2.1:1000"]);
    let mut peer = Hand::new(&world, agent, "192.0.2.2:2000");
    for (ufrag, address, seen) in [
        ("old1", "192.0.2.2:2000", "203.0.113.1:5000"),
        ("new1", "192.0.2.3:3000", "203.0.113.1:6000"),
    ] {
        world.restart(agent);
        world.silence(peer.address);
        peer.own.ufrag = ufrag.into();
        peer.address = addr(address);
        let answering = peer.clone();
        world.respond(peer.address, move |packet| match packet.is_request() {
            true => vec![answering.success_mapped(packet, addr(seen))],
            false => Vec::new(),
        });
        world.set_remote(agent, &peer.plain());
        world.run_for(ms(100));
    }
    peer.theirs = world.credentials(agent);
    assert!(is_answered(&mut world, &mut peer));
    let told = |world: &World| {
        let pair = world.view(agent).selected(ComponentId::FIRST);
        pair.map(|pair| (pair.local.address, pair.remote.address))
    };
    let before = told(&world);
    assert!(before.is_some());
    world.restart(agent);
    assert_eq!(told(&world), before);
}

/// What it was to make room for is gone again. [rfc8445-9-p1]
#[test]
fn the_old_generation_stays_when_the_new_one_has_lost_its_pair() {
    for renomination in [false, true] {
        let mut world = World::new();
        let sockets = ["192.0.2.1:1000", "192.0.3.1:1000"];
        let agent = world.party(AgentConfig::new(Role::Controlling), &sockets);
        let mut old = Hand::new(&world, agent, "192.0.2.2:2000");
        world.respond(old.address, old.answering());
        // Each peer is reached from one of the sockets.
        world.filter(|packet| {
            let ends = [packet.from.ip(), packet.to.ip()];
            let apart = ["192.0.3.1", "192.0.2.2"].map(|ip| ip.parse().unwrap());
            let other = ["192.0.2.1", "192.0.2.3"].map(|ip| ip.parse().unwrap());
            let cut = [apart, other].iter().any(|cut| cut.iter().all(|ip| ends.contains(ip)));
            if cut { Verdict::Drop } else { Verdict::Pass }
        });
        let mut description = old.plain();
        description.options.renomination = renomination;
        world.set_remote(agent, &description);
        world.reach(agent, AgentState::Completed, ms(10_000));
        let before = old.address;
        old.own.ufrag = "new1".into();
        old.address = addr("192.0.2.3:3000");
        world.respond(old.address, old.answering());
        let mut description = old.plain();
        description.options.renomination = renomination;
        world.set_remote(agent, &description);
        old.theirs = world.credentials(agent);
        world.inject(old.address, addr(sockets[1]), old.check());
        world.reach(agent, AgentState::Completed, ms(10_000));
        assert_eq!(world.route(agent), Ok(old.address));
        world.run_for(ms(1_000));
        world.remove_socket(agent.node, sockets[1]);
        for _ in 0..60 {
            assert_eq!(world.route(agent), Ok(before), "renomination: {renomination}");
            world.run_for(ms(1_000));
        }
        assert_ne!(recommendations(&world, agent), []);
    }
}

/// A pair of the new generation has taken over from one that is dead, and is not nominated: the
/// peer answers what nominates nothing alone.
fn taken_over() -> (World, Party, SocketAddr) {
    let (mut world, agent, old) = completed_with(AgentConfig::new(Role::Controlling));
    world.run_for(ms(5_000));
    world.silence(old.address);
    world.restart(agent);
    world.reach(agent, AgentState::Disconnected, ms(5_000));
    let mut new = Hand::new(&world, agent, "192.0.2.3:3000");
    new.own.ufrag = "new1".into();
    world.respond(new.address, refusing_nominations(&new));
    world.set_remote(agent, &new.plain());
    world.run_for(ms(300));
    assert_eq!(world.route(agent), Ok(new.address));
    (world, agent, new.address)
}

/// A peer that is left for dead is not gone back to. [rfc8445-9-p1]
#[test]
fn a_second_restart_keeps_the_pair_that_took_over_from_a_dead_one() {
    let (mut world, agent, address) = taken_over();
    world.restart(agent);
    assert_eq!(world.route(agent), Ok(address));
}

#[test]
fn who_can_send_over_the_new_generation_is_not_disconnected_as_the_old_one_is_dead() {
    let (world, agent, _) = taken_over();
    assert_eq!(world.state(agent), AgentState::Connected);
}

/// Whoever restarts may know that nothing comes back.
#[test]
fn the_generation_that_stays_in_a_second_restart_is_asked_at_once() {
    let (mut world, agent, old) = completed_with(AgentConfig::new(Role::Controlled));
    world.restart(agent);
    let mut new = Hand::new(&world, agent, "192.0.2.3:3000");
    new.own.ufrag = "new1".into();
    world.respond(new.address, new.answering());
    world.set_remote(agent, &new.plain());
    assert!(is_answered(&mut world, &mut new));
    world.run_for(ms(500));
    let began = world.now;
    world.restart(agent);
    world.run_for(ms(50));
    let asked = |packet: &Packet| packet.at >= began && packet.to == old.address;
    assert!(world.log.iter().any(|packet| asked(packet) && packet.is_request()));
}
