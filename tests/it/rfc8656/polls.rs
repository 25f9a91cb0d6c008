//! What holds of the polls whatever happens: they never lie, and asking changes nothing.

use floe::stun::LongTerm;
use floe::{Instant, MIN_TRANSMIT};

use super::server::{Server, World, config};
use crate::harness::{addr, ms};

/// Packets and their times, of a client that is also called early and twice.
fn story(meddle: impl Fn(&mut World)) -> Vec<(Instant, Vec<u8>)> {
    let mut world = World::new();
    world.run(ms(100));
    world.client.permit(world.now, addr("192.0.2.1:0").ip()).unwrap();
    world.client.bind_channel(world.now, addr("192.0.2.1:5000")).unwrap();
    for _ in 0..2_000 {
        world.run(ms(1_000));
        meddle(&mut world);
    }
    world.sent
}

#[test]
fn early_and_double_calls_change_nothing() {
    let plain = story(|_| {});
    let meddled = story(|world| {
        let mut buf = [0; MIN_TRANSMIT];
        for _ in 0..2 {
            world.client.handle_timeout(world.now);
            assert_eq!(world.client.poll_transmit(world.now, &mut buf), None);
            assert_eq!(world.client.poll_event(), None);
            let _ = world.client.poll_timeout();
        }
    });
    assert_eq!(plain.len(), meddled.len());
    assert_eq!(plain, meddled);
}

/// The same seed and calls make the same octets.
#[test]
fn a_story_repeats() {
    assert_eq!(story(|_| {}), story(|_| {}));
}

#[test]
fn time_that_goes_backwards_stands_still() {
    let mut world = World::allocated();
    world.client.handle_timeout(world.now);
    let deadline = world.client.poll_timeout();
    world.client.handle_timeout(Instant::ZERO);
    world.client.permit(Instant::ZERO, addr("192.0.2.1:0").ip()).unwrap();
    assert_eq!(world.client.poll_timeout(), Some(world.now));
    world.run(ms(100));
    assert!(world.client.poll_timeout() < deadline);
}

/// Nor is the password derived from anything that is printed.
#[test]
fn a_client_does_not_print_its_secrets() {
    let mut config = config();
    config.credentials = LongTerm::new(b"user", b"Tr0ub4dor").unwrap();
    let mut server = Server::new();
    server.password = b"Tr0ub4dor".to_vec();
    let mut world = World::with(config, server);
    world.run(ms(100));
    assert_eq!(world.client.relayed().count(), 2);
    let text = format!("{:?}", world.client);
    let seed = format!("{:?}", [7_u8; 32]);
    for secret in ["Tr0ub4dor", "nonce 0", &*seed] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert!(!text.contains(&format!("{:?}", b"Tr0ub4dor")));
}
