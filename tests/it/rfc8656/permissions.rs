//! Sections 9 and 10: permissions.

use std::net::IpAddr;

use floe::stun::{AttributeType, Method};
use floe::turn::{Event, PeerError};

use super::server::{Reply, World};
use crate::harness::{addr, ms};

fn ip(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn peers_of(world: &World) -> Vec<usize> {
    let peers = |seen: &super::server::Seen| {
        let attributes = seen.message().attributes();
        attributes.filter(|attribute| attribute.kind == AttributeType::XOR_PEER_ADDRESS).count()
    };
    world.server.of(Method::CREATE_PERMISSION).map(peers).collect()
}

/// [rfc8656-10.1-1a] [rfc8656-10.1-1b] [rfc8656-10.1-2] [rfc8656-10.1-4] [rfc8489-6.2-2]
#[test]
fn one_request_asks_for_several_permissions() {
    let mut world = World::allocated();
    for last in 1..=12 {
        world.client.permit(world.now, ip(last)).unwrap();
    }
    world.client.permit(world.now, addr("[2001:db8::7]:0").ip()).unwrap();
    world.client.permit(world.now, ip(1)).unwrap();
    world.run(ms(50));
    assert_eq!(peers_of(&world), [10, 3]);
    assert_eq!(world.server.allocation.as_ref().unwrap().permissions.len(), 13);
    assert_eq!(world.client.peers().count(), 13);
    assert!(world.client.peers().all(|peer| peer.port() == 0));
}

/// Those that are asked for before there is an allocation wait for it.
#[test]
fn permissions_follow_the_allocation() {
    let mut world = World::new();
    world.client.permit(world.now, ip(1)).unwrap();
    assert_eq!(world.client.framing(addr("192.0.2.1:5000")), None);
    world.run(ms(120));
    assert_eq!(world.take_events(), [Event::Allocated]);
    assert!(world.server.allocation.as_ref().unwrap().permissions.contains_key(&ip(1)));
}

/// [rfc8656-9-1] [rfc8656-9-p1]
#[test]
fn a_permission_is_kept_alive_until_it_is_forgotten() {
    let mut world = World::allocated();
    world.client.permit(world.now, ip(1)).unwrap();
    for _ in 0..60 {
        world.run(ms(30_000));
        let allocation = world.server.allocation.as_ref().unwrap();
        assert!(world.now + ms(10_000) < allocation.permissions[&ip(1)]);
    }
    assert!((7..=9).contains(&world.server.count(Method::CREATE_PERMISSION)));
    world.client.forget(addr("192.0.2.1:0"));
    assert_eq!(world.client.peers().count(), 0);
    assert_eq!(world.client.framing(addr("192.0.2.1:5000")), None);
    let before = world.server.count(Method::CREATE_PERMISSION);
    world.run(ms(600_000));
    assert_eq!(world.server.count(Method::CREATE_PERMISSION), before);
    assert_eq!(world.take_events(), []);
}

/// One that the server forbids does not fail the others, and is not asked for again soon.
#[test]
fn a_forbidden_peer_fails_alone() {
    let mut world = World::allocated();
    world.server.forbidden = vec![ip(2)];
    for last in 1..=5 {
        world.client.permit(world.now, ip(last)).unwrap();
    }
    world.run(ms(100));
    let failed = Event::PeerFailed { peer: addr("192.0.2.2:0"), error: PeerError::Refused(403) };
    assert_eq!(world.take_events(), [failed]);
    assert_eq!(peers_of(&world), [5, 1, 1, 1, 1, 1]);
    assert_eq!(world.server.allocation.as_ref().unwrap().permissions.len(), 4);
    assert_eq!(world.client.framing(addr("192.0.2.2:9")), None);
    assert_eq!(world.client.permit(world.now, ip(2)), Err(PeerError::Refused(403)));
    world.run(ms(400_000));
    assert_eq!(peers_of(&world).into_iter().max(), Some(5));
    assert!(world.client.permit(world.now, ip(2)).is_ok());
}

/// There are servers that do not sign a refusal: it proves nothing, but a part may be granted.
#[test]
fn a_refusal_that_is_not_signed_has_peers_asked_for_alone() {
    let mut world = World::allocated();
    world.server.script.push_back((Method::CREATE_PERMISSION, Reply::Unsigned(403)));
    world.server.script.push_back((Method::CREATE_PERMISSION, Reply::Unsigned(403)));
    for last in 1..=3 {
        world.client.permit(world.now, ip(last)).unwrap();
    }
    world.run(ms(600));
    assert_eq!(peers_of(&world), [3, 1, 1, 1]);
    assert_eq!(world.server.allocation.as_ref().unwrap().permissions.len(), 2);
    world.run(ms(500));
    assert_eq!(world.server.allocation.as_ref().unwrap().permissions.len(), 3);
    assert_eq!(world.take_events(), []);
}

#[test]
fn there_are_as_many_peers_as_the_configuration_allows() {
    let mut world = World::allocated();
    for last in 0..64 {
        world.client.permit(world.now, ip(last)).unwrap();
    }
    assert_eq!(world.client.permit(world.now, ip(64)), Err(PeerError::Limit));
    assert_eq!(world.client.bind_channel(world.now, addr("192.0.2.64:1")), Err(PeerError::Limit));
    world.client.forget(addr("192.0.2.0:0"));
    assert_eq!(world.client.permit(world.now, ip(64)), Ok(()));
    world.run(ms(100));
    assert_eq!(world.server.allocation.as_ref().unwrap().permissions.len(), 64);
}

#[test]
fn a_peer_that_the_server_is_silent_about_fails() {
    let mut world = World::allocated();
    world.server.always = Some((Method::CREATE_PERMISSION, Reply::Drop));
    world.client.permit(world.now, ip(1)).unwrap();
    world.run(ms(40_000));
    let failed = Event::PeerFailed { peer: addr("192.0.2.1:0"), error: PeerError::Timeout };
    assert_eq!(world.take_events(), [failed]);
}

/// What the server granted lives as long as it said, however often it is asked in vain to prolong it.
#[test]
fn a_renewal_that_is_lost_is_asked_again_while_the_grant_lives() {
    let peer = addr("192.0.2.1:5000");
    for method in [Method::CREATE_PERMISSION, Method::CHANNEL_BIND] {
        let mut world = World::allocated();
        let channel = method == Method::CHANNEL_BIND;
        if channel {
            world.client.bind_channel(world.now, peer).unwrap();
        } else {
            world.client.permit(world.now, peer.ip()).unwrap();
        }
        world.run(ms(1_000));
        world.server.always = Some((method, Reply::Drop));
        world.client.ask_again(world.now, peer);
        world.run(ms(45_000));
        assert_eq!(world.take_events(), []);
        assert_eq!(world.client.framing(peer).unwrap().is_channel(), channel);
        world.server.always = None;
        world.run(ms(40_000));
        let allocation = world.server.allocation.as_ref().unwrap();
        let expires = if channel {
            allocation.channels[&0x4000].1
        } else {
            allocation.permissions[&peer.ip()]
        };
        assert!(world.now + ms(250_000) < expires, "it was granted anew");
    }
}

#[test]
fn a_permission_that_is_not_prolonged_fails_when_it_ends() {
    let mut world = World::allocated();
    world.client.permit(world.now, ip(1)).unwrap();
    world.run(ms(1_000));
    world.server.always = Some((Method::CREATE_PERMISSION, Reply::Drop));
    world.run(ms(295_000));
    assert_eq!(world.take_events(), []);
    world.run(ms(45_000));
    let failed = Event::PeerFailed { peer: addr("192.0.2.1:0"), error: PeerError::Timeout };
    assert_eq!(world.take_events(), [failed]);
}
