//! Section 7: creating an allocation.

use floe::Transport;
use floe::stun::{AttributeType, Method};
use floe::turn::{ClientConfig, Event, Families};

use super::server::{Reply, Server, World, config, credentials};
use crate::harness::{addr, ms};

/// Two round trips: the first request has no credentials, the second those that were asked for.
/// [rfc8656-5-1] [rfc8656-7.1-4] [rfc8656-7.3-p1] [rfc8489-9.2.3.1-1] [rfc8489-9.2.5-3]
/// [rfc8656-5-p1]
#[test]
fn an_allocation_takes_two_round_trips() {
    let mut world = World::new();
    world.run(ms(79));
    assert_eq!(world.events, []);
    assert!(world.client.is_answered());
    world.run(ms(1));
    assert_eq!(world.events, [Event::Allocated]);
    let relayed: Vec<_> = world.client.relayed().collect();
    assert_eq!(relayed, [addr("198.51.100.1:50001"), addr("[2001:db8::1]:50001")]);
    assert_eq!(world.client.mapped(), Some(addr("203.0.113.9:40000")));
    let [first, second] = &world.server.seen[..] else { panic!("{:?}", world.server.seen) };
    assert!(!first.message().has_integrity());
    for kind in [AttributeType::USERNAME, AttributeType::REALM, AttributeType::NONCE] {
        assert!(first.value(kind).is_none() && second.value(kind).is_some(), "{kind}");
    }
    assert_ne!(first.message().transaction_id(), second.message().transaction_id());
}

/// [rfc8489-9.2.3.2-1] [rfc8489-9.2.3.2-2] [rfc8489-9.2.3.2-3]
#[test]
fn credentials_of_an_earlier_allocation_save_a_round_trip() {
    let first = World::allocated();
    let config = ClientConfig::new(Transport::Udp, first.client.credentials().clone());
    let mut world = World::with(config, Server::new());
    world.run(ms(40));
    assert_eq!(world.events, [Event::Allocated]);
    assert_eq!(world.server.seen.len(), 1);
}

/// A nonce of before, a realm of before, or both: one round trip more, and no refusal.
/// [rfc8489-9.2.5-12] [rfc8489-9.2.5-13] [rfc8489-9.2.5-3]
#[test]
fn credentials_that_the_server_forgot_are_mended() {
    let changes: [fn(&mut Server); 4] = [
        |server| server.nonce = b"nonce 1".to_vec(),
        |server| server.realm = b"another.test".to_vec(),
        |server| {
            server.realm = b"another.test".to_vec();
            server.nonce = b"nonce 1".to_vec();
        },
        |server| {
            server.nonce = b"nonce 1".to_vec();
            let challenge = Reply::Challenge(401, |encoder| {
                encoder
                    .attribute(AttributeType::REALM, b"floe.test")
                    .attribute(AttributeType::NONCE, b"nonce 1")
            });
            server.script.push_back((Method::ALLOCATE, challenge));
        },
    ];
    let first = World::allocated();
    for (index, change) in changes.into_iter().enumerate() {
        let mut server = Server::new();
        change(&mut server);
        let config = ClientConfig::new(Transport::Udp, first.client.credentials().clone());
        let mut world = World::with(config, server);
        world.run(ms(80));
        assert_eq!(world.events, [Event::Allocated], "{index}");
    }
}

/// [rfc8656-7.1-4] [rfc8656-7.1-5] [rfc8656-7.1-7] [rfc8656-7.1-8] [rfc8656-18.6-1a]
/// [rfc8656-18.8-1a] [rfc8656-18.11-1] [rfc8656-18-1]
#[test]
fn the_families_are_asked_for_as_the_rfc_has_it() {
    let rows = [
        (Families::Ipv4, None, None, vec![addr("198.51.100.1:50001")]),
        (Families::Ipv6, Some(&[2, 0, 0, 0][..]), None, vec![addr("[2001:db8::1]:50001")]),
        (
            Families::Both,
            None,
            Some(&[2, 0, 0, 0][..]),
            vec![addr("198.51.100.1:50001"), addr("[2001:db8::1]:50001")],
        ),
    ];
    for (families, requested, additional, relayed) in rows {
        let mut config = config();
        config.families = families;
        let mut world = World::with(config, Server::new());
        world.run(ms(100));
        assert_eq!(world.client.relayed().collect::<Vec<_>>(), relayed);
        for seen in world.server.of(Method::ALLOCATE) {
            assert_eq!(seen.value(AttributeType::REQUESTED_TRANSPORT), Some(&[17, 0, 0, 0][..]));
            assert_eq!(seen.value(AttributeType::REQUESTED_ADDRESS_FAMILY), requested);
            assert_eq!(seen.value(AttributeType::ADDITIONAL_ADDRESS_FAMILY), additional);
            let count = |kind| {
                seen.message().attributes().filter(|attribute| attribute.kind == kind).count()
            };
            assert!(count(AttributeType::REQUESTED_ADDRESS_FAMILY) <= 1);
        }
    }
}

/// [rfc8489-6.2.1-1] [rfc8489-6.2.1-12]
#[test]
fn over_udp_a_silent_server_is_asked_seven_times() {
    let mut server = Server::new();
    server.always = Some((Method::ALLOCATE, Reply::Drop));
    let mut world = World::with(config(), server);
    world.run(ms(39_499));
    assert_eq!(world.events, []);
    world.run(ms(1));
    assert_eq!(world.events, [Event::Failed(floe::turn::Error::Timeout)]);
    let at: Vec<_> = world.sent.iter().map(|(at, _)| at.as_nanos() / 1_000_000 - 1_000).collect();
    assert_eq!(at, [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500]);
    assert!(world.sent.iter().all(|(_, octets)| *octets == world.sent[0].1));
    assert_eq!(world.client.poll_timeout(), None);
}

/// [rfc8489-6.2.2-2a]
#[test]
fn over_a_stream_a_request_is_sent_once() {
    for transport in [Transport::Tcp, Transport::Tls] {
        let mut server = Server::new();
        server.always = Some((Method::ALLOCATE, Reply::Drop));
        let mut world = World::with(ClientConfig::new(transport, credentials()), server);
        world.run(ms(39_499));
        assert_eq!(world.events, []);
        world.run(ms(1));
        assert_eq!(world.events, [Event::Failed(floe::turn::Error::Timeout)]);
        assert_eq!(world.sent.len(), 1);
    }
}

/// [rfc8489-9.2.5-16] [rfc8489-9.2.5-17]
#[test]
fn a_success_that_is_not_signed_is_no_success() {
    for reply in [Reply::UnsignedSuccess, Reply::Forged, Reply::Unsigned(400), Reply::Unsigned(300)]
    {
        let mut server = Server::new();
        server.always = Some((Method::ALLOCATE, reply));
        let mut world = World::with(config(), server);
        world.run(ms(39_500));
        assert_eq!(world.events, [Event::Failed(floe::turn::Error::Integrity)], "{reply:?}");
        assert_eq!(world.sent.len(), 7, "{reply:?}");
        assert!(!world.client.is_answered());
    }
}

/// [rfc8489-9.2.5-18a] [rfc8489-9.2.5-18b]
#[test]
fn over_a_stream_an_answer_that_is_not_signed_ends_the_request_at_once() {
    let mut server = Server::new();
    server.always = Some((Method::ALLOCATE, Reply::Forged));
    let mut world = World::with(ClientConfig::new(Transport::Tcp, credentials()), server);
    world.run(ms(40));
    assert_eq!(world.events, [Event::Failed(floe::turn::Error::Integrity)]);
    assert_eq!(world.sent.len(), 1);
}
