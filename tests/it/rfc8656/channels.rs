//! Section 12: channels.

use floe::stun::{AttributeType, Message, Method};
use floe::turn::ClientConfig;
use floe::{DropReason, Transport};

use super::server::{Reply, Server, World, credentials};
use crate::harness::{addr, ms};

fn channel_data(number: u16, length: u16, data: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes()[..], &length.to_be_bytes(), data].concat()
}

/// [rfc8656-12-5] [rfc8656-12-p1] [rfc8656-12-p3] [rfc8656-18.1-1a] [rfc8656-12-4]
#[test]
fn data_goes_over_the_channel_once_it_is_bound() {
    let mut world = World::allocated();
    let peer = addr("192.0.2.1:5000");
    world.client.bind_channel(world.now, peer).unwrap();
    let packet = world.send(peer, b"first").unwrap();
    assert_eq!(Message::parse(&packet).unwrap().method(), Method::SEND);
    world.run(ms(50));
    let packet = world.send(peer, b"second").unwrap();
    assert_eq!(packet, channel_data(0x4000, 6, b"second"));
    world.run(ms(50));
    assert_eq!(world.server.relayed, [(peer, b"first".to_vec()), (peer, b"second".to_vec())]);
    // Another port of the same address has no channel.
    let packet = world.send(addr("192.0.2.1:5001"), b"other").unwrap();
    assert!(Message::parse(&packet).is_ok());
    let bind = world.server.of(Method::CHANNEL_BIND).next().unwrap();
    assert_eq!(bind.value(AttributeType::CHANNEL_NUMBER), Some(&[0x40, 0, 0, 0][..]));
    let peers: Vec<_> = world.client.peers().collect();
    assert_eq!(peers, [peer]);
}

/// [rfc8656-12.5-2]
#[test]
fn channel_data_is_padded_over_streams() {
    for transport in [Transport::Tcp, Transport::Tls, Transport::Dtls, Transport::Udp] {
        let mut world = World::with(ClientConfig::new(transport, credentials()), Server::new());
        world.run(ms(100));
        let peer = addr("192.0.2.1:5000");
        world.client.bind_channel(world.now, peer).unwrap();
        world.run(ms(100));
        for length in 0..6_u16 {
            let packet = world.send(peer, &vec![0x55; length.into()]).unwrap();
            let mut expected = channel_data(0x4000, length, &vec![0x55; length.into()]);
            if transport.is_stream() {
                expected.resize(expected.len().next_multiple_of(4), 0);
            }
            assert_eq!(packet, expected);
        }
    }
}

/// [rfc8656-12-4] [rfc8656-12.5-3] [rfc8656-12.6-p1] [rfc8656-12.6-1] [rfc8656-12-1a]
/// [rfc8656-12-2]
#[test]
fn channel_data_is_read_strictly() {
    let mut world = World::allocated();
    let peer = addr("192.0.2.1:5000");
    let hello = channel_data(0x4000, 5, b"hello");
    assert_eq!(world.receive(&hello), Some(DropReason::NoPermission));
    world.client.bind_channel(world.now, peer).unwrap();
    assert_eq!(world.receive(&hello), Some(DropReason::NoPermission));
    // From when the request was sent, though its answer is still to come.
    world.drain();
    assert_eq!(world.receive(&hello), None);
    assert_eq!(world.data, [(peer, b"hello".to_vec())]);
    world.run(ms(50));
    assert_eq!(world.receive(&channel_data(0x4000, 5, b"hello\0\0\0")), None);
    assert_eq!(world.receive(&channel_data(0x4000, 0, b"")), None);
    assert_eq!(world.data.len(), 3);
    let rows = [
        (channel_data(0x4000, 6, b"hello"), DropReason::Malformed),
        (vec![0x40, 0, 0], DropReason::Malformed),
        (channel_data(0x4001, 5, b"hello"), DropReason::NoPermission),
        (channel_data(0x4FFF, 5, b"hello"), DropReason::NoPermission),
        (channel_data(0x5000, 5, b"hello"), DropReason::UnknownClass),
        (channel_data(0x7FFF, 5, b"hello"), DropReason::UnknownClass),
    ];
    for (octets, reason) in rows {
        assert_eq!(world.receive(&octets), Some(reason), "{octets:x?}");
    }
}

/// [rfc8656-12-p2]
#[test]
fn a_channel_and_its_permission_are_kept_alive() {
    let mut world = World::allocated();
    let peer = addr("192.0.2.1:5000");
    world.client.bind_channel(world.now, peer).unwrap();
    world.run(ms(50));
    for _ in 0..120 {
        world.run(ms(30_000));
        let allocation = world.server.allocation.as_ref().unwrap();
        assert!(world.now < allocation.permissions[&peer.ip()]);
        assert!(world.now < allocation.channels[&0x4000].1);
        assert_eq!(world.send(peer, b"x").unwrap()[..2], [0x40, 0]);
    }
    assert!((6..=9).contains(&world.server.count(Method::CHANNEL_BIND)));
    assert_eq!(world.take_events(), []);
}

/// [rfc8656-12-3] [rfc8656-12-p3]
#[test]
fn neither_number_nor_peer_is_used_otherwise_for_five_minutes() {
    let mut world = World::allocated();
    let (first, second) = (addr("192.0.2.1:5000"), addr("192.0.2.2:5000"));
    world.client.bind_channel(world.now, first).unwrap();
    world.run(ms(50));
    world.client.forget(first);
    assert_eq!(world.client.peers().count(), 0);
    let late = channel_data(0x4000, 5, b"hello");
    assert_eq!(world.receive(&late), Some(DropReason::NoPermission));
    world.client.bind_channel(world.now, second).unwrap();
    world.run(ms(100_000));
    assert_eq!(world.send(second, b"x").unwrap()[..2], [0x40, 1]);
    // The same peer gets the same number again.
    world.client.bind_channel(world.now, first).unwrap();
    world.run(ms(50));
    assert_eq!(world.send(first, b"x").unwrap()[..2], [0x40, 0]);
    world.client.forget(first);
    world.run(ms(899_000));
    let third = addr("192.0.2.3:5000");
    world.client.bind_channel(world.now, third).unwrap();
    world.run(ms(50));
    assert_eq!(world.send(third, b"x").unwrap()[..2], [0x40, 2]);
    world.run(ms(2_000));
    let fourth = addr("192.0.2.4:5000");
    world.client.bind_channel(world.now, fourth).unwrap();
    world.run(ms(50));
    assert_eq!(world.send(fourth, b"x").unwrap()[..2], [0x40, 0]);
}

/// Its renewal was granted, as far as anybody knows. [rfc8656-12-3]
#[test]
fn a_channel_whose_renewal_had_no_answer_cools_down_from_the_last_request_on() {
    let mut world = World::allocated();
    let (first, second) = (addr("192.0.2.1:5000"), addr("192.0.2.2:5000"));
    world.client.bind_channel(world.now, first).unwrap();
    world.run(ms(50));
    world.server.always = Some((Method::CHANNEL_BIND, Reply::Lose));
    world.client.ask_again(world.now, first);
    world.run(ms(45_000));
    world.server.always = None;
    world.client.forget(first);
    world.run(ms(860_000));
    world.client.bind_channel(world.now, second).unwrap();
    world.run(ms(50));
    assert_eq!(world.send(second, b"x").unwrap()[..2], [0x40, 1]);
}

/// The server goes on using a channel that we gave up, as when its renewal found no answer.
/// [rfc8656-12-4]
#[test]
fn data_over_a_channel_that_was_given_up_is_heard_until_the_server_has_forgotten_it() {
    let mut world = World::allocated();
    let peer = addr("192.0.2.1:5000");
    world.client.permit(world.now, peer.ip()).unwrap();
    world.client.bind_channel(world.now, peer).unwrap();
    world.run(ms(50));
    world.client.forget(peer);
    let hello = channel_data(0x4000, 5, b"hello");
    assert_eq!(world.receive(&hello), None);
    world.run(ms(590_000));
    assert_eq!(world.receive(&hello), None);
    assert_eq!(world.data, [(peer, b"hello".to_vec()), (peer, b"hello".to_vec())]);
    world.run(ms(20_000));
    assert_eq!(world.receive(&hello), Some(DropReason::NoPermission));
}

#[test]
fn without_a_channel_data_goes_on_in_indications() {
    let mut world = World::allocated();
    let peer = addr("192.0.2.1:5000");
    world.server.always = Some((Method::CHANNEL_BIND, Reply::Error(508)));
    world.client.permit(world.now, peer.ip()).unwrap();
    world.client.bind_channel(world.now, peer).unwrap();
    world.run(ms(50));
    let error = floe::turn::PeerError::Refused(508);
    assert_eq!(world.take_events(), [floe::turn::Event::PeerFailed { peer, error }]);
    assert!(Message::parse(&world.send(peer, b"data").unwrap()).is_ok());
    world.run(ms(600_000));
    assert_eq!(world.server.count(Method::CHANNEL_BIND), 1);
}

/// Whoever sends data asks for a channel with each packet: a refusal counts for a while.
#[test]
fn a_channel_that_was_refused_is_not_asked_for_with_each_packet() {
    let mut world = World::allocated();
    let peer = addr("192.0.2.1:5000");
    world.server.always = Some((Method::CHANNEL_BIND, Reply::Error(403)));
    world.client.permit(world.now, peer.ip()).unwrap();
    for _ in 0..1_000 {
        let _ = world.client.bind_channel(world.now, peer);
        world.run(ms(100));
    }
    let asked = world.server.count(Method::CHANNEL_BIND);
    assert!((2..=3).contains(&asked), "{asked} in 100 s");
    world.server.always = None;
    world.run(ms(60_000));
    world.client.bind_channel(world.now, peer).unwrap();
    world.run(ms(100));
    assert_eq!(world.send(peer, b"x").unwrap()[0], 0x40);
}
