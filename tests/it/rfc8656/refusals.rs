//! Sections 7.3 and 7.4: what an Allocate may be answered with.

use std::time::Duration;

use floe::stun::{AttributeType, Encoder, GiveUp, Method};
use floe::turn::{ClientConfig, Error, Event, Families};
use floe::{Instant, Transport};

use super::server::{Build, Reply, Server, World, allocated, config, credentials};
use crate::harness::{addr, ms};

/// A world whose second Allocate, the one with credentials, gets `reply`; the first is challenged.
fn refused(reply: Reply) -> World {
    let mut server = Server::new();
    server.script.push_back((Method::ALLOCATE, Reply::Right));
    server.script.push_back((Method::ALLOCATE, reply));
    let mut world = World::with(config(), server);
    world.run(ms(60_000));
    world
}

fn failed(error: Error) -> [Event; 1] {
    [Event::Failed(error)]
}

/// Each refusal ends the client at once, with its reason and without another request.
/// [rfc8656-7.4-3a] [rfc8656-7.4-6a] [rfc8656-7.4-12a] [rfc8656-7.4-13a]
/// [rfc8656-7.4-3b] [rfc8656-7.4-6b] [rfc8656-7.4-11] [rfc8656-7.4-12b] [rfc8656-7.4-13b]
/// [rfc8656-7.4-17] [rfc8489-6.3.4-1] [rfc8489-6.3.4-p1] [rfc8489-6.3.4-2b] [rfc8489-14.8-8]
#[test]
fn a_refused_allocation_is_not_asked_for_again() {
    let rows = [
        (300, Error::Redirect),
        (400, Error::Refused(400)),
        (403, Error::Forbidden),
        (408, Error::Timeout),
        (420, Error::Refused(420)),
        (441, Error::Refused(441)),
        (442, Error::Protocol),
        (443, Error::Refused(443)),
        (486, Error::Quota),
        (500, Error::Refused(500)),
        (508, Error::Capacity),
        (699, Error::Refused(699)),
    ];
    for (code, error) in rows {
        let world = refused(Reply::Error(code));
        assert_eq!(world.events, failed(error), "{code}");
        assert_eq!(world.server.seen.len(), 2, "{code}");
        assert_eq!(world.client.poll_timeout(), None, "{code}");
    }
    let world = refused(Reply::SignedError);
    assert_eq!(world.events, failed(Error::Refused(0)));
}

/// [rfc8656-7.4-10] [rfc8656-7.4-14] [rfc8656-7.4-16]
#[test]
fn an_error_says_how_long_to_leave_the_server_alone() {
    let minute = Duration::from_secs(60);
    assert_eq!(Error::Mismatch.retry_after(), Some(2 * minute));
    assert_eq!(Error::Quota.retry_after(), Some(minute));
    assert_eq!(Error::Capacity.retry_after(), Some(minute));
    assert_eq!(Error::Refused(500).retry_after(), Some(minute));
    assert_eq!(Error::Timeout.retry_after(), Some(Duration::ZERO));
    for error in [Error::Forbidden, Error::Family, Error::Refused(400), Error::NoAddress] {
        assert_eq!(error.retry_after(), None, "{error}");
    }
}

/// [rfc8656-7.4-4] [rfc8656-7.4-5] [rfc8489-9.2.5-11]
#[test]
fn credentials_that_are_refused_are_tried_once() {
    let mut server = Server::new();
    server.password = b"another".to_vec();
    let mut world = World::with(config(), server);
    world.run(ms(60_000));
    assert_eq!(world.events, failed(Error::Credentials(GiveUp::Credentials)));
    assert_eq!(world.server.seen.len(), 2);
    let sentence = Error::Credentials(GiveUp::Credentials).to_string();
    assert_eq!(sentence, "the server refuses the username or password");
}

/// [rfc8489-9.2.5-12] [rfc8489-9.2.5-13]
#[test]
fn stale_nonces_end_after_three() {
    let mut server = Server::new();
    server.script.push_back((Method::ALLOCATE, Reply::Right));
    for _ in 0..3 {
        server.script.push_back((Method::ALLOCATE, Reply::Stale));
    }
    let mut world = World::with(config(), server);
    world.run(ms(200));
    assert_eq!(world.events, [Event::Allocated]);
    let mut server = Server::new();
    server.script.push_back((Method::ALLOCATE, Reply::Right));
    server.always = Some((Method::ALLOCATE, Reply::Stale));
    let mut world = World::with(config(), server);
    world.run(ms(60_000));
    assert_eq!(world.events, failed(Error::Credentials(GiveUp::TooMany)));
    assert_eq!(world.server.seen.len(), 5);
}

/// The nonce tells of algorithms that the answer does not list. [rfc8489-9.2.5-1]
/// [rfc8489-9.2.5-2] [rfc8489-9.2.5-10]
#[test]
fn a_challenge_that_was_tampered_with_is_not_answered() {
    let rows: [(Build, GiveUp); 3] = [
        (|encoder| nonce(encoder, b"obMatJos2AAABone"), GiveUp::BidDown),
        (|encoder| encoder, GiveUp::Challenge),
        (
            |encoder| {
                let list = &[0, 9, 0, 0];
                nonce(encoder, b"obMatJos2AAABone")
                    .attribute(AttributeType::PASSWORD_ALGORITHMS, list)
            },
            GiveUp::Algorithm,
        ),
    ];
    for (build, reason) in rows {
        let mut server = Server::new();
        server.always = Some((Method::ALLOCATE, Reply::Challenge(401, build)));
        let mut world = World::with(config(), server);
        world.run(ms(60_000));
        assert_eq!(world.events, failed(Error::Credentials(reason)));
        assert_eq!(world.sent.len(), 1);
    }
}

fn nonce<'b>(encoder: Encoder<'b>, nonce: &[u8]) -> Encoder<'b> {
    encoder.attribute(AttributeType::REALM, b"floe.test").attribute(AttributeType::NONCE, nonce)
}

/// [rfc8656-6-3] [rfc8489-9.2.5-5a] [rfc8489-9.2.5-8] [rfc8489-9.2.5-19] [rfc8489-9.2.5-14]
/// [rfc8656-21.1.6-1]
#[test]
fn a_server_that_lists_sha_256_gets_it_and_no_username() {
    let mut server = Server::new();
    server.nonce = b"obMatJos2AAAD0".to_vec();
    server.algorithms = Some(vec![0, 1, 0, 0, 0, 2, 0, 0]);
    let mut world = World::with(config(), server);
    world.run(ms(80));
    assert_eq!(world.events, [Event::Allocated]);
    let request = &world.server.seen[1];
    assert_eq!(request.value(AttributeType::PASSWORD_ALGORITHM), Some(&[0, 2, 0, 0][..]));
    assert!(request.value(AttributeType::USERHASH).is_some());
    assert!(request.value(AttributeType::USERNAME).is_none());
    assert!(!request.octets.windows(4).any(|octets| octets == b"user"));
    // A signed success whose nonce says so, without the list, is no answer.
    world.server.script.push_back((
        Method::REFRESH,
        Reply::Success(|encoder| encoder.attribute(AttributeType::NONCE, b"obMatJos2AAAD1")),
    ));
    world.run(ms(560_000));
    assert_eq!(world.drops, [floe::DropReason::Integrity]);
    assert_eq!(world.server.count(Method::REFRESH), 2);
}

/// [rfc8656-7.4-7]
#[test]
fn a_server_that_cannot_keep_whole_is_asked_without() {
    let mut server = Server::new();
    server.script.push_back((Method::ALLOCATE, Reply::Right));
    let unknown: Build = |encoder| encoder.unknown_attributes([AttributeType::DONT_FRAGMENT]);
    server.script.push_back((Method::ALLOCATE, Reply::With(420, unknown)));
    let mut config = config();
    config.dont_fragment = true;
    let mut world = World::with(config, server);
    world.run(ms(120));
    assert_eq!(world.events, [Event::Allocated]);
    assert!(world.server.seen[2].value(AttributeType::DONT_FRAGMENT).is_none());
    let peer = addr("192.0.2.1:5000");
    world.client.permit(world.now, peer.ip()).unwrap();
    let packet = world.send(peer, b"data").unwrap();
    assert_eq!(packet.len(), 40);
    // Who did not ask for it does not ask again.
    let world = refused(Reply::With(420, unknown));
    assert_eq!(world.events, failed(Error::Refused(420)));
    assert_eq!(world.server.seen.len(), 2);
}

/// Of the families that were asked for together each is asked for alone, and none twice.
/// [rfc8656-7.4-11]
#[test]
fn a_family_that_the_server_lacks_is_not_asked_for_again() {
    let asked = |world: &World| -> Vec<(bool, bool)> {
        let kinds =
            [AttributeType::REQUESTED_ADDRESS_FAMILY, AttributeType::ADDITIONAL_ADDRESS_FAMILY];
        let of = |seen: &super::server::Seen| {
            (seen.value(kinds[0]).is_some(), seen.value(kinds[1]).is_some())
        };
        world.server.seen.iter().skip(1).map(of).collect()
    };
    let with = |families, refusals: usize| {
        let mut server = Server::new();
        server.script.push_back((Method::ALLOCATE, Reply::Right));
        let refusals = std::iter::repeat_n((Method::ALLOCATE, Reply::Error(440)), refusals);
        server.script.extend(refusals);
        let mut config = config();
        config.families = families;
        let mut world = World::with(config, server);
        world.run(ms(60_000));
        world
    };
    let world = with(Families::Both, 1);
    assert_eq!(asked(&world), [(false, true), (false, false)]);
    assert_eq!(world.client.relayed().collect::<Vec<_>>(), [addr("198.51.100.1:50001")]);
    let world = with(Families::Both, 2);
    assert_eq!(asked(&world), [(false, true), (false, false), (true, false)]);
    assert_eq!(world.client.relayed().collect::<Vec<_>>(), [addr("[2001:db8::1]:50001")]);
    let world = with(Families::Both, 3);
    assert_eq!(world.events, failed(Error::Family));
    assert_eq!(asked(&world).len(), 3);
    for families in [Families::Ipv4, Families::Ipv6] {
        let world = with(families, 1);
        assert_eq!(world.events, failed(Error::Family));
        assert_eq!(asked(&world).len(), 1);
    }
    // Servers that never heard of an attribute.
    let both: Build = |encoder| encoder.unknown_attributes([AttributeType(0x8000)]);
    let world = refused(Reply::With(420, both));
    assert_eq!(world.events, [Event::Allocated]);
    assert_eq!(asked(&world), [(false, true), (false, false)]);
}

/// One address is better than none, and the other family is not asked for again.
/// [rfc8656-7.3-3] [rfc8656-7.3-4] [rfc8656-18.12-1b] [rfc8656-18.12-2] [rfc8656-10.1-3]
/// [rfc8656-12.1-1]
#[test]
fn a_server_without_one_family_gives_the_other() {
    let mut server = Server::new();
    server.ipv6 = false;
    let mut world = World::with(config(), server);
    let (ipv4, ipv6) = (addr("192.0.2.1:5000"), addr("[2001:db8::7]:5000"));
    for peer in [ipv4, ipv6] {
        world.client.permit(world.now, peer.ip()).unwrap();
        world.client.bind_channel(world.now, peer).unwrap();
    }
    world.run(ms(200));
    let error = floe::turn::PeerError::Family;
    let lost = Event::PeerFailed { peer: addr("[2001:db8::7]:0"), error };
    assert_eq!(world.take_events(), [Event::Allocated, lost]);
    assert_eq!(world.client.relayed().collect::<Vec<_>>(), [addr("198.51.100.1:50001")]);
    assert_eq!(world.client.permit(world.now, ipv6.ip()), Err(error));
    assert_eq!(world.client.bind_channel(world.now, ipv6), Err(error));
    assert!(world.client.framing(ipv4).is_some() && world.client.framing(ipv6).is_none());
    for seen in &world.server.seen {
        assert!(seen.message().xor_peer_address().is_none_or(|peer| peer.is_ipv4()));
    }
    // Not after a loss either.
    world.server.allocation = None;
    world.run(ms(600_000));
    assert_eq!(world.take_events(), [Event::Lost, Event::Allocated]);
    let last = world.server.of(Method::ALLOCATE).last().unwrap();
    assert!(last.value(AttributeType::ADDITIONAL_ADDRESS_FAMILY).is_none());
}

/// The reserved bits of ADDRESS-ERROR-CODE and a long reason do not matter.
/// [rfc8656-18.12-1b] [rfc8656-18.12-2]
#[test]
fn an_address_error_is_read_whatever_is_reserved() {
    let world = refused(Reply::Success(|encoder| {
        let mut value = vec![2, 0xFF, 0xFF, 40];
        value.extend([b'x'; 700]);
        allocated(encoder).attribute(AttributeType::ADDRESS_ERROR_CODE, &value)
    }));
    assert_eq!(world.events, [Event::Allocated]);
    assert_eq!(world.client.relayed().count(), 1);
}

/// [rfc8656-7.3-1] [rfc8656-7.3-2a] [rfc8656-7.3-2b] [rfc8489-6.3.3-p1]
#[test]
fn an_allocation_that_cannot_be_used_is_given_back() {
    let rows: [Build; 7] = [
        |encoder| encoder,
        // No relayed address, an IPv6 one unasked for, one that is no address, one without port.
        |encoder| encoder.u32(AttributeType::LIFETIME, 600),
        |encoder| encoder.xor_address(AttributeType::XOR_RELAYED_ADDRESS, addr("[2001:db8::1]:9")),
        |encoder| encoder.attribute(AttributeType::XOR_RELAYED_ADDRESS, &[0, 3, 1, 2, 3, 4, 5, 6]),
        |encoder| encoder.xor_address(AttributeType::XOR_RELAYED_ADDRESS, addr("192.0.2.9:0")),
        // A mapped address of a family that nobody knows.
        |encoder| {
            encoder
                .attribute(AttributeType::XOR_MAPPED_ADDRESS, &[0, 3, 1, 2, 3, 4, 5, 6])
                .xor_address(AttributeType::XOR_RELAYED_ADDRESS, addr("192.0.2.9:1"))
        },
        |encoder| allocated(encoder).attribute(AttributeType(0x7777), b""),
    ];
    for (index, build) in rows.into_iter().enumerate() {
        let mut server = Server::new();
        server.script.push_back((Method::ALLOCATE, Reply::Right));
        server.script.push_back((Method::ALLOCATE, Reply::Success(build)));
        let mut config = config();
        config.families = Families::Ipv4;
        let mut world = World::with(config, server);
        world.run(ms(60_000));
        assert_eq!(world.events, failed(Error::NoAddress), "{index}");
        assert_eq!(world.server.count(Method::ALLOCATE), 2, "{index}");
        let refresh = world.server.of(Method::REFRESH).next().unwrap();
        assert_eq!(refresh.value(AttributeType::LIFETIME), Some(&[0; 4][..]));
        assert_eq!(world.server.count(Method::REFRESH), 1, "{index}");
        assert_eq!(world.client.poll_timeout(), None);
    }
}

/// The server is the owner's to choose: whose certificate has to be there, too.
/// [rfc8656-7.4-2] [rfc8489-14.8-7b] [rfc8489-10-6] [rfc8489-10-8] [rfc8489-14.16-1]
#[test]
fn a_redirection_is_told_if_it_is_signed() {
    let to = addr("192.0.2.77:3478");
    let build: Build = |encoder| {
        encoder
            .address(AttributeType::ALTERNATE_SERVER, addr("192.0.2.77:3478"))
            .address(AttributeType::ALTERNATE_SERVER, addr("[2001:db8::77]:3478"))
    };
    let world = refused(Reply::With(300, build));
    assert_eq!(world.events, [Event::Redirected { to, domain: None }]);
    let world = refused(Reply::With(300, |encoder| {
        encoder
            .address(AttributeType::ALTERNATE_SERVER, addr("192.0.2.77:3478"))
            .attribute(AttributeType::ALTERNATE_DOMAIN, b"turn.example")
    }));
    let domain = Some("turn.example".into());
    assert_eq!(world.events, [Event::Redirected { to, domain }]);
    let world = refused(Reply::With(300, |encoder| {
        encoder.address(AttributeType::ALTERNATE_SERVER, addr("0.0.0.0:3478"))
    }));
    assert_eq!(world.events, failed(Error::Redirect));
    let mut world = refused(Reply::Challenge(300, build));
    assert_eq!(world.take_events(), [Event::Allocated]);
    assert_eq!(world.drops, [floe::DropReason::Unauthenticated]);
}

/// It may be our own, of a life before: it is given back, and another asked for, twice.
/// [rfc8656-7.4-8] [rfc8656-7.4-9] [rfc8656-8.3-p1]
#[test]
fn a_5_tuple_that_is_taken_is_freed() {
    let first = World::allocated();
    let mut world = World::new();
    world.server.allocation = first.server.allocation;
    world.run(ms(200));
    assert_eq!(world.take_events(), [Event::Allocated]);
    let methods: Vec<_> = world.server.seen.iter().map(|seen| seen.method).collect();
    let (allocate, refresh) = (Method::ALLOCATE, Method::REFRESH);
    assert_eq!(methods, [allocate, allocate, refresh, allocate]);
    let mut server = Server::new();
    server.script.push_back((Method::ALLOCATE, Reply::Right));
    server.always = Some((Method::ALLOCATE, Reply::Error(437)));
    let mut world = World::with(config(), server);
    world.run(ms(60_000));
    assert_eq!(world.take_events(), failed(Error::Mismatch));
    assert_eq!((world.server.count(allocate), world.server.count(refresh)), (4, 2));
}

/// [rfc8656-7.1-11] [rfc8656-5-8a] [rfc8656-7.3-p1]
#[test]
fn another_lifetime_and_software_are_told_if_configured() {
    let mut config = config();
    config.lifetime = Duration::from_secs(1_800);
    config.software = Some("floe 0".to_owned());
    let mut world = World::with(config, Server::new());
    world.run(ms(600_000));
    for method in [Method::ALLOCATE, Method::REFRESH] {
        for seen in world.server.of(method) {
            assert_eq!(seen.message().lifetime(), Some(Duration::from_secs(1_800)));
            assert_eq!(seen.message().software(), Some(&b"floe 0"[..]));
        }
    }
    assert_eq!(world.server.count(Method::REFRESH), 1);
    let plain = World::allocated();
    assert!(plain.server.seen.iter().all(|seen| seen.message().lifetime().is_none()));
    assert!(plain.server.seen.iter().all(|seen| !seen.message().has_fingerprint()));
}

/// A server whose challenge fills a datagram gets no answer that does not fit one.
#[test]
fn a_request_that_fits_no_datagram_is_not_sent() {
    let mut server = Server::new();
    server.realm = vec![b'r'; 700];
    server.nonce = vec![b'n'; 700];
    let mut world = World::with(ClientConfig::new(Transport::Udp, credentials()), server);
    world.run(ms(60_000));
    assert_eq!(world.events, failed(Error::TooLong));
    assert_eq!(world.sent.len(), 1);
    assert!(world.now > Instant::ZERO);
}
