//! An allocation, permission or channel that the server forgot, and odd lifetimes.

use std::net::SocketAddr;

use floe::DropReason;
use floe::stun::{AttributeType, GiveUp, Message, MessageClass, Method};
use floe::turn::{Error, Event, PeerError};

use super::server::{Build, Reply, Server, World, config};
use crate::harness::{addr, ms};

/// What was permitted and bound is so again, without a word. [rfc8656-5-7] [rfc8656-8.3-p1]
#[test]
fn a_lost_allocation_is_replaced() {
    let mut world = World::allocated();
    let (peer, other) = (addr("192.0.2.1:5000"), addr("192.0.2.2:0"));
    world.client.bind_channel(world.now, peer).unwrap();
    world.client.permit(world.now, other.ip()).unwrap();
    world.run(ms(100));
    world.server.allocation = None;
    world.server.renew_nonce();
    world.client.permit(world.now, addr("192.0.2.3:0").ip()).unwrap();
    // 438 and 437, then an allocation, then what belongs to it.
    world.run(ms(85));
    assert_eq!(world.take_events(), [Event::Lost]);
    assert_eq!(world.client.relayed().count(), 0);
    assert_eq!(world.client.framing(peer), None);
    world.run(ms(120));
    assert_eq!(world.take_events(), [Event::Allocated]);
    let allocation = world.server.allocation.as_ref().unwrap();
    assert_eq!(world.client.relayed().collect::<Vec<_>>(), allocation.relayed);
    assert_eq!((allocation.permissions.len(), allocation.channels.len()), (3, 1));
    assert_eq!(world.send(peer, b"x").unwrap()[..2], [0x40, 0]);
}

/// Each of the requests may be the one that tells. [rfc8656-5-7]
#[test]
fn an_allocation_lost_again_and_again_is_given_up() {
    for method in [Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND] {
        let mut server = Server::new();
        server.always = Some((method, Reply::Error(437)));
        let mut world = World::with(config(), server);
        world.client.bind_channel(world.now, addr("192.0.2.1:5000")).unwrap();
        world.run(ms(3_600_000));
        let (lost, allocated) = (Event::Lost, Event::Allocated);
        let given_up = Event::Failed(Error::Mismatch);
        let mut expected =
            vec![allocated.clone(), lost.clone(), allocated.clone(), lost, allocated];
        expected.push(given_up);
        assert_eq!(world.events, expected, "{method:?}");
        assert_eq!(world.client.poll_timeout(), None);
        assert_eq!(world.server.count(Method::ALLOCATE), 4, "{method:?}");
    }
}

/// A refresh that succeeds starts the count anew.
#[test]
fn losses_far_apart_are_all_mended() {
    let mut world = World::allocated();
    for _ in 0..10 {
        world.run(ms(1_200_000));
        world.server.allocation = None;
        world.run(ms(600_000));
        assert_eq!(world.take_events(), [Event::Lost, Event::Allocated]);
    }
}

/// [rfc8656-8.3-p1] [rfc8489-9.2.5-12]
#[test]
fn each_request_takes_a_new_nonce_along() {
    let mut world = World::allocated();
    world.client.bind_channel(world.now, addr("192.0.2.1:5000")).unwrap();
    for _ in 0..40 {
        world.run(ms(60_000));
        world.server.renew_nonce();
    }
    assert_eq!(world.take_events(), []);
    assert!(world.client.credentials().key().is_some());
}

/// One challenge is answered by each request that it concerns, and counts once.
#[test]
fn requests_under_way_together_share_a_new_nonce() {
    let mut world = World::allocated();
    world.server.renew_nonce();
    for last in 1..=60 {
        world.client.permit(world.now, [192, 0, 2, last].into()).unwrap();
    }
    world.run(ms(100));
    assert_eq!(world.server.allocation.as_ref().unwrap().permissions.len(), 60);
    assert_eq!(world.server.count(Method::CREATE_PERMISSION), 12);
    assert_eq!(world.take_events(), []);
}

/// [rfc8656-7.4-4] [rfc8656-7.4-5]
#[test]
fn credentials_that_were_rotated_end_the_client() {
    let mut world = World::allocated();
    world.server.password = b"rotated".to_vec();
    world.run(ms(600_000));
    assert_eq!(world.take_events(), [Event::Failed(Error::Credentials(GiveUp::Credentials))]);
    assert_eq!(world.client.poll_timeout(), None);
}

/// 0, 1 s and 136 years: refreshed as if they were a minute and an hour.
/// [rfc8656-7.3-p1]
#[test]
fn a_lifetime_that_makes_no_sense_neither_loops_nor_overflows() {
    let rows: [(Build, u64, u64); 4] = [
        (|encoder| lifetime(encoder, 0), 26, 31),
        (|encoder| lifetime(encoder, 1), 26, 31),
        (|encoder| lifetime(encoder, u32::MAX), 3_180, 3_541),
        (|encoder| encoder, 26, 31),
    ];
    for (build, least, most) in rows {
        let mut world = World::allocated();
        world.server.always = Some((Method::REFRESH, Reply::Success(build)));
        world.run(ms(3_600_000 * 4));
        assert_eq!(world.take_events(), []);
        let at: Vec<_> = world.server.of(Method::REFRESH).map(|seen| seen.at).collect();
        assert!(at.len() > 3);
        for pair in at.windows(2) {
            let wait = (pair[1] - pair[0]).as_secs();
            assert!((least..=most).contains(&wait), "{wait}");
        }
    }
}

fn lifetime(encoder: floe::stun::Encoder<'_>, seconds: u32) -> floe::stun::Encoder<'_> {
    encoder.u32(AttributeType::LIFETIME, seconds)
}

/// A server whose allocations live for a second is left.
#[test]
fn allocations_that_die_at_once_are_given_up() {
    let mut server = Server::new();
    server.lifetime = 1;
    let mut world = World::with(config(), server);
    world.run(ms(3_600_000));
    assert_eq!(world.events.last(), Some(&Event::Failed(Error::Mismatch)));
    assert!(world.sent.len() < 20, "{}", world.sent.len());
}

/// [rfc8489-6.3.4-2b] [rfc8489-6.3.4-3]
#[test]
fn a_refresh_that_fails_for_a_while_is_tried_again() {
    let mut world = World::allocated();
    for _ in 0..4 {
        world.server.script.push_back((Method::REFRESH, Reply::Error(500)));
    }
    world.run(ms(1_800_000));
    assert_eq!(world.take_events(), []);
    let mut world = World::allocated();
    world.server.always = Some((Method::REFRESH, Reply::Error(500)));
    world.run(ms(599_900));
    assert_eq!(world.take_events(), []);
    assert_eq!(world.server.count(Method::REFRESH), 5);
    world.run(ms(200));
    assert_eq!(world.take_events()[0], Event::Lost);
}

/// Whatever becomes of the requests, an allocation that expired is replaced. [rfc8656-8-1]
#[test]
fn a_server_that_falls_silent_is_given_up() {
    let mut world = World::allocated();
    world.server.always = Some((Method::REFRESH, Reply::Drop));
    world.server.script.push_back((Method::ALLOCATE, Reply::Drop));
    world.run(ms(599_900));
    assert_eq!(world.take_events(), []);
    world.run(ms(2_000));
    assert_eq!(world.take_events(), [Event::Lost, Event::Allocated]);
}

/// A refresh that is refused for good ends the client.
#[test]
fn a_refresh_that_is_refused_ends_the_client() {
    for (code, error) in [(403, Error::Forbidden), (441, Error::Refused(441))] {
        let mut world = World::allocated();
        world.server.always = Some((Method::REFRESH, Reply::Error(code)));
        world.run(ms(600_000));
        assert_eq!(world.take_events(), [Event::Failed(error)]);
        assert_eq!(world.server.count(Method::REFRESH), 1);
    }
}

/// [rfc8656-9-p1]
#[test]
fn a_forgotten_permission_comes_back_with_its_refresh() {
    let mut world = World::allocated();
    let peer = addr("192.0.2.1:5000");
    world.client.permit(world.now, peer.ip()).unwrap();
    world.run(ms(100));
    world.server.allocation.as_mut().unwrap().permissions.clear();
    world.run(ms(245_000));
    assert!(world.server.allocation.as_ref().unwrap().permissions.contains_key(&peer.ip()));
    // A channel brings its permission along.
    world.client.bind_channel(world.now, peer).unwrap();
    world.server.allocation.as_mut().unwrap().permissions.clear();
    world.run(ms(100));
    assert!(world.server.allocation.as_ref().unwrap().permissions.contains_key(&peer.ip()));
}

#[test]
fn a_forgotten_channel_comes_back_with_its_refresh() {
    let mut world = World::allocated();
    let peer = addr("192.0.2.1:5000");
    world.client.bind_channel(world.now, peer).unwrap();
    world.run(ms(100));
    world.server.allocation.as_mut().unwrap().channels.clear();
    world.run(ms(545_000));
    assert!(world.server.allocation.as_ref().unwrap().channels.contains_key(&0x4000));
    assert_eq!(world.take_events(), []);
}

/// [rfc8656-12.3-1]
#[test]
fn a_channel_out_of_step_starts_the_allocation_afresh() {
    let mut world = World::allocated();
    let peer = addr("192.0.2.1:5000");
    world.client.bind_channel(world.now, peer).unwrap();
    world.run(ms(100));
    let stranger = (addr("192.0.2.9:1"), world.now + ms(3_600_000));
    world.server.allocation.as_mut().unwrap().channels.insert(0x4000, stranger);
    world.run(ms(545_000));
    assert_eq!(world.take_events(), [Event::Lost, Event::Allocated]);
    assert_eq!(world.server.allocation.as_ref().unwrap().channels[&0x4000].0, peer);
    assert_eq!(world.send(peer, b"x").unwrap()[..2], [0x40, 0]);
    // A server that never bound one has no channels: data goes on in indications.
    let mut world = World::allocated();
    world.server.always = Some((Method::CHANNEL_BIND, Reply::Error(400)));
    world.client.permit(world.now, peer.ip()).unwrap();
    world.client.bind_channel(world.now, peer).unwrap();
    world.run(ms(100));
    let error = PeerError::Refused(400);
    assert_eq!(world.take_events(), [Event::PeerFailed { peer, error }]);
    assert!(Message::parse(&world.send(peer, b"x").unwrap()).is_ok());
}

/// Each Allocate of one transaction came from another 5-tuple, as the NAT between rebooted, and got
/// an allocation of its own.
#[test]
fn a_second_answer_with_another_address_has_us_allocate_anew() {
    let mut server = Server::new();
    // A challenge, and then a packet that is late.
    server.script.extend([Reply::Right, Reply::Drop].map(|reply| (Method::ALLOCATE, reply)));
    let mut world = World::with(config(), server);
    let peer = addr("192.0.2.1:5000");
    world.client.bind_channel(world.now, peer).unwrap();
    world.run(ms(2_000));
    assert_eq!(world.take_events(), [Event::Allocated]);
    let request = world.server.of(Method::ALLOCATE).last().unwrap().octets.clone();
    let request = Message::parse(&request).unwrap();
    let second = |port: u16, server: &Server| {
        server.reply(&request, MessageClass::Success, |encoder| {
            let relayed = SocketAddr::new(addr("198.51.100.1:0").ip(), port);
            let relayed6 = SocketAddr::new(addr("[2001:db8::1]:0").ip(), port);
            encoder
                .xor_address(AttributeType::XOR_MAPPED_ADDRESS, addr("203.0.113.9:40001"))
                .xor_address(AttributeType::XOR_RELAYED_ADDRESS, relayed)
                .xor_address(AttributeType::XOR_RELAYED_ADDRESS, relayed6)
                .u32(AttributeType::LIFETIME, 600)
        })
    };
    // The same again, and one that somebody else made up.
    let same = world.client.relayed().next().unwrap().port();
    let mut stranger = Server::new();
    stranger.password = b"another".to_vec();
    for octets in [second(same, &world.server), second(7, &stranger)] {
        assert_eq!(world.receive(&octets), Some(DropReason::UnknownTransaction));
    }
    world.run(ms(100));
    assert_eq!(world.take_events(), []);
    let octets = second(7, &world.server);
    assert_eq!(world.receive(&octets), None);
    world.run(ms(200));
    assert_eq!(world.take_events(), [Event::Lost, Event::Allocated]);
    assert_eq!(world.server.of(Method::REFRESH).count(), 1, "the second is given back");
    let allocation = world.server.allocation.as_ref().unwrap();
    assert_eq!(world.client.relayed().collect::<Vec<_>>(), allocation.relayed);
    assert_eq!(world.send(peer, b"x").unwrap()[0], 0x40);
    // There is another, by a request that was sent once: nothing but its answer counts.
    let request = world.server.of(Method::ALLOCATE).last().unwrap().octets.clone();
    let request = Message::parse(&request).unwrap();
    let late = world.server.reply(&request, MessageClass::Success, super::server::allocated);
    for octets in [octets, late] {
        assert_eq!(world.receive(&octets), Some(DropReason::UnknownTransaction));
    }
}

/// The answer that was lost is asked for again, and no nonce between changes a transaction.
#[test]
fn lost_answers_are_repeated() {
    for method in [Method::ALLOCATE, Method::CREATE_PERMISSION, Method::CHANNEL_BIND] {
        let mut server = Server::new();
        server.script.push_back((method, Reply::Lose));
        let mut world = World::with(config(), server);
        world.client.bind_channel(world.now, addr("192.0.2.1:5000")).unwrap();
        world.run(ms(2_000));
        assert_eq!(world.take_events(), [Event::Allocated], "{method:?}");
        assert_eq!(world.server.allocation.as_ref().unwrap().channels.len(), 1);
    }
}

/// Some servers let allocations live for less than a minute.
#[test]
fn an_allocation_of_twenty_seconds_is_kept() {
    let mut server = Server::new();
    server.lifetime = 20;
    let mut world = World::with(config(), server);
    world.run(ms(600_000));
    assert_eq!(world.take_events(), [Event::Allocated]);
    assert!(world.server.count(Method::REFRESH) < 70);
}

/// Two requests for the same permission are under way: the later one is granted, and then the time
/// of the earlier one is up.
#[test]
fn a_request_that_another_has_overtaken_fails_no_peer() {
    let mut world = World::allocated();
    let peer = addr("192.0.2.1:5000");
    world.client.bind_channel(world.now, peer).unwrap();
    world.run(ms(1_000));
    world.server.chaos = Some((1, 0, &[Reply::Drop]));
    world.client.ask_again(world.now, peer);
    world.run(ms(33_000));
    world.client.ask_again(world.now, peer);
    world.run(ms(100));
    world.server.chaos = None;
    world.run(ms(30_000));
    assert_eq!(world.take_events(), []);
    assert_eq!(world.send(peer, b"x").unwrap()[0], 0x40);
}
