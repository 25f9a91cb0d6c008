//! Section 8: keeping an allocation, and giving it back.

use floe::stun::{AttributeType, Method};
use floe::turn::Event;

use super::server::{Reply, Server, World, config};
use crate::harness::ms;

/// [rfc8656-8-1] [rfc8656-7.3-p1] [rfc8656-8.1-1]
#[test]
fn an_allocation_is_refreshed_about_a_minute_before_it_ends() {
    for (lifetime, least, most) in [(600, 486, 540), (3_600, 3_186, 3_540), (90, 40, 45)] {
        let mut server = Server::new();
        server.lifetime = lifetime;
        let mut world = World::with(config(), server);
        world.run(ms(100));
        let mut last = world.now;
        for _ in 0..5 {
            let before = world.server.count(Method::REFRESH);
            while world.server.count(Method::REFRESH) == before {
                world.run(ms(1_000));
            }
            let after = (world.now - last).as_secs();
            assert!((least - 1..=most + 1).contains(&after), "{after} of {lifetime}");
            last = world.now;
        }
        let refresh = world.server.of(Method::REFRESH).next().unwrap();
        assert_eq!(refresh.value(AttributeType::REQUESTED_ADDRESS_FAMILY), None);
        assert_eq!(world.take_events(), [Event::Allocated]);
    }
}

/// [rfc8656-8-2]
#[test]
fn an_allocation_is_given_back() {
    let mut world = World::allocated();
    let peer = std::net::IpAddr::from([192, 0, 2, 1]);
    world.client.permit(world.now, peer).unwrap();
    world.client.close(world.now);
    assert_eq!(world.client.relayed().count(), 0);
    world.run(ms(40));
    assert_eq!(world.take_events(), [Event::Closed]);
    let refresh = world.server.of(Method::REFRESH).next().unwrap();
    assert_eq!(refresh.value(AttributeType::LIFETIME), Some(&[0; 4][..]));
    assert!(world.server.allocation.is_none());
    assert_eq!(world.client.poll_timeout(), None);
    assert_eq!(world.server.seen.len(), 3);
    world.client.close(world.now);
    world.run(ms(60_000));
    assert_eq!(world.server.seen.len(), 3);
}

/// [rfc8656-8-2]
#[test]
fn a_close_ends_though_nobody_answers() {
    let mut world = World::allocated();
    world.server.always = Some((Method::REFRESH, Reply::Drop));
    world.client.close(world.now);
    world.run(ms(3_500));
    assert_eq!(world.take_events(), [Event::Closed]);
    assert_eq!(world.server.count(Method::REFRESH), 3);
}

/// [rfc8656-8-2]
#[test]
fn a_close_before_the_allocation_leaves_none_behind() {
    let mut world = World::new();
    world.client.close(world.now);
    world.run(ms(0));
    assert_eq!(world.take_events(), [Event::Closed]);
    assert_eq!(world.sent.len(), 0);
    // The second request is under way.
    let mut world = World::new();
    world.run(ms(45));
    world.client.close(world.now);
    world.run(ms(100));
    assert_eq!(world.take_events(), [Event::Closed]);
    assert!(world.server.allocation.is_none());
    assert_eq!(world.server.count(Method::REFRESH), 1);
}

/// [rfc8656-8.3-p1] [rfc8656-8-2]
#[test]
fn what_is_gone_already_counts_as_given_back() {
    let mut world = World::allocated();
    world.server.allocation = None;
    world.server.renew_nonce();
    world.client.close(world.now);
    world.run(ms(80));
    assert_eq!(world.take_events(), [Event::Closed]);
    assert_eq!(world.server.count(Method::REFRESH), 2);
}

/// [rfc8656-8-3]
#[test]
fn an_owner_may_ask_whether_the_allocation_is_still_there() {
    let mut world = World::allocated();
    world.run(ms(10_000));
    for _ in 0..100 {
        world.client.refresh(world.now);
        world.run(ms(100));
    }
    assert_eq!(world.server.count(Method::REFRESH), 2);
    assert_eq!(world.take_events(), []);
    // Not at a server that has trouble either.
    world.server.always = Some((Method::REFRESH, Reply::Error(500)));
    for _ in 0..100 {
        world.client.refresh(world.now);
        world.run(ms(100));
    }
    assert_eq!(world.server.count(Method::REFRESH), 4);
    world.server.always = None;
    world.server.allocation = None;
    world.client.refresh(world.now);
    world.run(ms(200));
    assert_eq!(world.take_events(), [Event::Lost, Event::Allocated]);
}
