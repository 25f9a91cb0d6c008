//! Whatever a server answers, in whatever state: no panic, no storm, an end.

use floe::Transport;
use floe::stun::{AttributeType, Method};
use floe::turn::{ClientConfig, Event};
use proptest::prelude::*;

use super::server::{Reply, Server, World, allocated, credentials};
use crate::harness::{addr, ms};

/// The most packets in one minute, with five peers. Seven sends of a request, four nonces, and
/// single requests after a refused batch make most of it.
const PER_MINUTE: usize = 50;

/// All that a server can answer with.
const REPLIES: &[Reply] = &[
    Reply::Right,
    Reply::Drop,
    Reply::Lose,
    Reply::UnsignedSuccess,
    Reply::Forged,
    Reply::SignedError,
    Reply::Stale,
    Reply::Success(|encoder| encoder),
    Reply::Success(allocated),
    Reply::Success(|encoder| encoder.u32(AttributeType::LIFETIME, 0)),
    Reply::Success(|encoder| allocated(encoder).attribute(AttributeType(0x7777), b"")),
    Reply::With(300, |encoder| {
        encoder.address(AttributeType::ALTERNATE_SERVER, addr("192.0.2.77:3478"))
    }),
    Reply::With(420, |encoder| {
        let all = [0x001A, 0x8000, 0x0017].map(AttributeType);
        encoder.unknown_attributes(all)
    }),
    Reply::Challenge(401, |encoder| {
        encoder.attribute(AttributeType::REALM, b"r").attribute(AttributeType::NONCE, b"n")
    }),
    Reply::Challenge(438, |encoder| encoder.attribute(AttributeType::NONCE, b"n")),
    Reply::Challenge(401, |encoder| encoder),
    Reply::Unsigned(400),
    Reply::Unsigned(437),
    Reply::Error(300),
    Reply::Error(400),
    Reply::Error(403),
    Reply::Error(408),
    Reply::Error(420),
    Reply::Error(437),
    Reply::Error(440),
    Reply::Error(441),
    Reply::Error(442),
    Reply::Error(443),
    Reply::Error(446),
    Reply::Error(447),
    Reply::Error(486),
    Reply::Error(500),
    Reply::Error(508),
    Reply::Error(699),
];

/// A client with five peers and two channels, in one of its states.
fn in_state(state: usize, transport: Transport) -> World {
    let mut config = ClientConfig::new(transport, credentials());
    config.dont_fragment = true;
    let mut world = World::with(config, Server::new());
    for last in 1..=5 {
        world.client.permit(world.now, [192, 0, 2, last].into()).unwrap();
    }
    world.client.bind_channel(world.now, addr("192.0.2.1:5000")).unwrap();
    world.client.bind_channel(world.now, addr("[2001:db8::7]:5000")).unwrap();
    // The first Allocate, the second, the requests after it, at rest, renewing.
    world.run(ms([0, 45, 85, 200, 240_000, 539_000, 200][state]));
    if state == 6 {
        world.client.close(world.now);
    }
    world
}

const STATES: usize = 7;

fn storm(world: &World) -> Option<usize> {
    let at: Vec<_> = world.sent.iter().map(|(at, _)| *at).collect();
    let minute = ms(60_000);
    let within =
        |from: usize| at[from..].iter().take_while(|then| **then - at[from] < minute).count();
    (0..at.len()).map(within).max().filter(|most| *most > PER_MINUTE)
}

fn is_over(world: &World) -> bool {
    world.client.poll_timeout().is_none()
}

/// Every state × every answer to every kind of request, for ever.
#[test]
fn the_table_of_states_and_answers() {
    let methods =
        [Method::ALLOCATE, Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND];
    for state in 0..STATES {
        for (method, reply) in
            methods.iter().flat_map(|method| REPLIES.iter().map(move |reply| (method, reply)))
        {
            for transport in [Transport::Udp, Transport::Tcp] {
                let mut world = in_state(state, transport);
                world.server.always = Some((*method, *reply));
                world.run(ms(1_800_000));
                let what = format!("state {state}, {method:?}, {reply:?}, {transport}");
                assert_eq!(storm(&world), None, "{what}");
                // It has an allocation that is looked after, or it is over and said so.
                let ended = |event: &Event| {
                    matches!(event, Event::Failed(_) | Event::Redirected { .. } | Event::Closed)
                };
                let ends = world.events.iter().filter(|event| ended(event)).count();
                assert_eq!(ends, usize::from(is_over(&world)), "{what}: {:?}", world.events);
                assert!(is_over(&world) || world.client.relayed().count() > 0, "{what}");
                assert!(state != 6 || is_over(&world), "{what}");
                world.client.close(world.now);
                world.run(ms(60_000));
                assert!(is_over(&world), "{what}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A server that answers each request with anything.
    #[test]
    fn answers_at_random_make_no_storm(chaos in any::<u64>(), right in 0_u8..100, stream in any::<bool>()) {
        let transport = if stream { Transport::Tls } else { Transport::Udp };
        let mut world = in_state(0, transport);
        world.server.chaos = Some((chaos, right, REPLIES));
        for _ in 0..20 {
            world.run(ms(120_000));
            let _ = world.client.permit(world.now, [192, 0, 2, 1].into());
            let _ = world.client.bind_channel(world.now, addr("192.0.2.1:5000"));
        }
        prop_assert_eq!(storm(&world), None);
        world.client.close(world.now);
        world.run(ms(60_000));
        prop_assert!(is_over(&world));
    }

    /// Octets at random, and answers with a bit turned over, are dropped or understood.
    #[test]
    fn octets_at_random_do_no_harm(octets in prop::collection::vec(any::<u8>(), 0..200), bit in any::<u16>()) {
        let mut world = in_state(3, Transport::Udp);
        let _ = world.receive(&octets);
        let mut stun = world.sent[0].1.clone();
        let at = usize::from(bit) % (stun.len() * 8);
        stun[at / 8] ^= 1 << (at % 8);
        let _ = world.receive(&stun);
        world.run(ms(60_000));
        prop_assert_eq!(world.client.relayed().count(), 2);
    }
}

/// It has a 400 for permissions, refreshes the allocation, and then knows nothing of it: again and
/// again, as fast as it is asked.
#[test]
fn a_server_that_denies_what_it_refreshed_is_given_up() {
    let mut world = World::allocated();
    for _ in 0..100 {
        for code in [400, 437] {
            world.server.script.push_back((Method::CREATE_PERMISSION, Reply::Error(code)));
        }
    }
    world.client.permit(world.now, [192, 0, 2, 1].into()).unwrap();
    world.run(ms(60_000));
    assert_eq!(world.events.last(), Some(&Event::Failed(floe::turn::Error::Mismatch)));
    assert_eq!(storm(&world), None);
}
