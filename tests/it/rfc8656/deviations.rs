//! Servers that are in use, and do not do what the RFC says.

use floe::stun::{AttributeType, Method};
use floe::turn::{Event, PeerError};

use super::server::{Reply, World};
use crate::harness::{addr, ms};

/// coturn up to 4.6.1 has ADDITIONAL-ADDRESS-FAMILY under the number of a draft.
#[test]
fn both_numbers_of_the_additional_family_are_sent() {
    let world = World::allocated();
    for request in world.server.of(Method::ALLOCATE) {
        for kind in [AttributeType::ADDITIONAL_ADDRESS_FAMILY, AttributeType(0x8032)] {
            assert_eq!(request.value(kind), Some(&[2, 0, 0, 0][..]));
        }
    }
}

/// coturn 4.6 answers a CreatePermission without an allocation with 400.
#[test]
fn a_400_instead_of_437_leads_to_another_allocation() {
    let mut world = World::allocated();
    world.server.allocation = None;
    world.server.script.push_back((Method::CREATE_PERMISSION, Reply::Error(400)));
    world.client.permit(world.now, addr("192.0.2.1:0").ip()).unwrap();
    world.run(ms(300));
    assert_eq!(world.take_events(), [Event::Lost, Event::Allocated]);
    assert_eq!(world.server.count(Method::REFRESH), 1);
    assert_eq!(world.server.allocation.as_ref().unwrap().permissions.len(), 1);
}

/// The allocation lives: then the peer is what the server means, and is not asked for on and on.
#[test]
fn a_400_that_is_one_costs_one_refresh() {
    let mut world = World::allocated();
    world.server.always = Some((Method::CREATE_PERMISSION, Reply::Error(400)));
    for last in 1..=3 {
        world.client.permit(world.now, [192, 0, 2, last].into()).unwrap();
    }
    world.run(ms(1000));
    let failed = |last: u8| Event::PeerFailed {
        peer: ([192, 0, 2, last], 0).into(),
        error: PeerError::Refused(400),
    };
    assert_eq!(world.take_events(), [failed(1), failed(2), failed(3)]);
    assert_eq!(world.server.count(Method::REFRESH), 1);
    assert_eq!(world.server.count(Method::CREATE_PERMISSION), 1 + 3);
}
