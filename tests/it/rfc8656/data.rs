//! Section 11: Send and Data.

use floe::stun::{AttributeType, Message, Method};
use floe::turn::{Event, Framing};
use floe::{DropReason, HEADROOM, TAILROOM};

use super::server::{Reply, World, config, data_indication};
use crate::harness::{addr, ms};

/// [rfc8656-11.1-1]
#[test]
fn nothing_goes_to_a_peer_without_a_permission() {
    let mut world = World::allocated();
    world.client.permit(world.now, addr("192.0.2.1:0").ip()).unwrap();
    assert!(world.client.framing(addr("192.0.2.1:5000")).is_some());
    assert!(world.client.framing(addr("192.0.2.2:5000")).is_none());
    assert!(world.client.framing(addr("[2001:db8::7]:5000")).is_none());
}

/// Data follows the request for the permission, and arrives with it.
/// [rfc8656-11.1-2] [rfc8656-18-1]
#[test]
fn data_travels_behind_the_request_for_the_permission() {
    for peer in [addr("192.0.2.1:5000"), addr("[2001:db8::7]:5000")] {
        for length in 0..9 {
            let mut world = World::allocated();
            let data = vec![0x55; length];
            world.client.permit(world.now, peer.ip()).unwrap();
            let packet = world.send(peer, &data).unwrap();
            let message = Message::parse(&packet).unwrap();
            assert_eq!(message.method(), Method::SEND);
            assert_eq!(message.xor_peer_address(), Some(peer));
            assert_eq!(message.data(), Some(&data[..]));
            assert!(packet.ends_with(&vec![0; length.next_multiple_of(4) - length]));
            assert!(!message.has_integrity());
            world.run(ms(50));
            assert_eq!(world.server.relayed, [(peer, data)]);
        }
    }
}

/// [rfc8489-5-4a]
#[test]
fn each_indication_has_an_id_of_its_own() {
    let mut world = World::allocated();
    let peer = addr("192.0.2.1:5000");
    world.client.permit(world.now, peer.ip()).unwrap();
    let ids: std::collections::BTreeSet<_> = (0..50)
        .map(|_| Message::parse(&world.send(peer, b"data").unwrap()).unwrap().transaction_id())
        .collect();
    assert_eq!(ids.len(), 50);
}

/// A header never needs more room than it is promised, and refuses less.
#[test]
fn a_frame_fits_headroom_and_tailroom() {
    let mut world = World::allocated();
    let peer = addr("[2001:db8::7]:5000");
    world.client.permit(world.now, peer.ip()).unwrap();
    let framing: Framing = world.client.framing(peer).unwrap();
    let mut buf = [0; HEADROOM + 5 + TAILROOM];
    assert_eq!(framing.frame(&mut buf, HEADROOM..HEADROOM + 5), Some(0..HEADROOM + 8));
    assert_eq!(framing.frame(&mut buf, HEADROOM - 1..HEADROOM + 5), None);
    let short = buf.len() - 1;
    assert_eq!(framing.frame(&mut buf[..short], HEADROOM..HEADROOM + 5), None);
    assert_eq!(framing.frame(&mut buf, HEADROOM..HEADROOM + 500), None);
    let mut long = vec![0; HEADROOM + 70_000];
    assert_eq!(framing.frame(&mut long, HEADROOM..HEADROOM + 65_536), None);
    assert_eq!(framing.frame(&mut long, HEADROOM..HEADROOM + 65_530), None);
}

/// [rfc8656-11.4-1] [rfc8656-11.4-p1]
#[test]
fn data_of_peers_without_a_permission_is_dropped() {
    let mut world = World::allocated();
    let peer = addr("192.0.2.1:5000");
    let data = data_indication(|encoder| {
        encoder
            .xor_address(AttributeType::XOR_PEER_ADDRESS, peer)
            .attribute(AttributeType::DATA, b"hello")
    });
    assert_eq!(world.receive(&data), Some(DropReason::NoPermission));
    world.client.permit(world.now, peer.ip()).unwrap();
    world.run(ms(50));
    assert_eq!(world.receive(&data), None);
    assert_eq!(world.data, [(peer, b"hello".to_vec())]);
    // Any port of the address, but no other address.
    let other = |from| {
        data_indication(|encoder| {
            encoder
                .xor_address(AttributeType::XOR_PEER_ADDRESS, from)
                .attribute(AttributeType::DATA, b"")
        })
    };
    assert_eq!(world.receive(&other(addr("192.0.2.1:1"))), None);
    assert_eq!(world.data.last(), Some(&(addr("192.0.2.1:1"), Vec::new())));
    assert_eq!(world.receive(&other(addr("192.0.2.2:5000"))), Some(DropReason::NoPermission));
    world.client.forget(addr("192.0.2.1:0"));
    assert_eq!(world.receive(&data), Some(DropReason::NoPermission));
}

/// A permission that could not be renewed ends after 300 s. [rfc8656-9-1]
#[test]
fn data_is_dropped_after_a_permission_expired() {
    let mut world = World::allocated();
    let peer = addr("192.0.2.1:5000");
    let data = data_indication(|encoder| {
        encoder
            .xor_address(AttributeType::XOR_PEER_ADDRESS, peer)
            .attribute(AttributeType::DATA, b"hello")
    });
    world.client.permit(world.now, peer.ip()).unwrap();
    world.run(ms(50));
    world.server.always = Some((Method::CREATE_PERMISSION, Reply::Drop));
    world.run(ms(240_000));
    assert_eq!(world.receive(&data), None);
    world.run(ms(60_000));
    assert_eq!(world.receive(&data), Some(DropReason::NoPermission));
    assert_eq!(world.client.framing(peer), None);
}

/// [rfc8656-11.4-p1] [rfc8489-6.3.2-p1] [rfc8489-6.3-p1]
#[test]
fn indications_that_lack_something_are_dropped() {
    let mut world = World::allocated();
    let peer = addr("192.0.2.1:5000");
    world.client.permit(world.now, peer.ip()).unwrap();
    world.run(ms(50));
    let bare = data_indication(|encoder| encoder.attribute(AttributeType::DATA, b"hello"));
    assert_eq!(world.receive(&bare), Some(DropReason::MissingAttribute));
    let empty =
        data_indication(|encoder| encoder.xor_address(AttributeType::XOR_PEER_ADDRESS, peer));
    assert_eq!(world.receive(&empty), Some(DropReason::MissingAttribute));
    let unknown = data_indication(|encoder| {
        encoder
            .attribute(AttributeType(0x7777), b"")
            .xor_address(AttributeType::XOR_PEER_ADDRESS, peer)
            .attribute(AttributeType::DATA, b"hello")
    });
    assert_eq!(world.receive(&unknown), Some(DropReason::UnknownAttribute));
    let optional = data_indication(|encoder| {
        encoder
            .attribute(AttributeType(0x8777), b"")
            .xor_address(AttributeType::XOR_PEER_ADDRESS, peer)
            .attribute(AttributeType::DATA, b"hello")
    });
    assert_eq!(world.receive(&optional), None);
    assert_eq!(world.receive(&[0; 7]), Some(DropReason::Malformed));
    assert_eq!(world.receive(&[0x16; 70]), Some(DropReason::UnknownClass));
    assert_eq!(world.receive(&[]), Some(DropReason::UnknownClass));
}

/// Reserved octets do not count. [rfc8656-11.6-1] [rfc8656-18.13-1b]
#[test]
fn an_icmp_error_of_a_permitted_peer_is_told() {
    let mut world = World::allocated();
    let peer = addr("192.0.2.1:5000");
    let icmp = |value: &[u8]| {
        data_indication(|encoder| {
            encoder
                .xor_address(AttributeType::XOR_PEER_ADDRESS, peer)
                .attribute(AttributeType::ICMP, value)
        })
    };
    let refused = icmp(&[0xFF, 0xFF, 3, 1, 0, 0, 0, 0]);
    assert_eq!(world.receive(&refused), Some(DropReason::NoPermission));
    world.client.permit(world.now, peer.ip()).unwrap();
    world.run(ms(50));
    assert_eq!(world.receive(&refused), None);
    world.drain();
    assert_eq!(world.take_events(), [Event::Unreachable { peer, kind: 3, code: 1 }]);
    assert_eq!(world.receive(&icmp(&[0, 0, 3])), Some(DropReason::Malformed));
    // A flood of them does not pile up.
    let dropped = (0..1_000).filter(|_| world.receive(&refused).is_some()).count();
    assert_eq!(dropped, 1_000 - 256);
}

/// [rfc8656-7.1-12] [rfc8656-11.1-3]
#[test]
fn dont_fragment_is_tested_before_it_is_used() {
    let mut config = config();
    config.dont_fragment = true;
    let mut world = World::with(config, super::server::Server::new());
    world.run(ms(100));
    let asked = |seen: &super::server::Seen| seen.value(AttributeType::DONT_FRAGMENT).is_some();
    assert!(world.server.of(Method::ALLOCATE).all(asked));
    for (peer, with) in [(addr("192.0.2.1:5000"), true), (addr("[2001:db8::7]:5000"), false)] {
        world.client.permit(world.now, peer.ip()).unwrap();
        let packet = world.send(peer, b"whole").unwrap();
        let message = Message::parse(&packet).unwrap();
        assert_eq!(message.attribute(AttributeType::DONT_FRAGMENT).is_some(), with);
        assert_eq!(message.data(), Some(&b"whole"[..]));
    }
}
