//! Connectivity checks. [RFC 8445 §6, §7, §14, §16, §19]

use floe::AgentState;

use crate::harness::{World, ms};

/// [rfc8445-6.1.3-p1]
#[test]
fn two_hosts_connect_in_one_round_trip() {
    let mut world = World::new();
    let (left, right) = world.pair_of_parties();
    world.exchange(left, right);
    let start = world.now;
    world.run_while(ms(1_000), |world| world.state(left) != AgentState::Completed);
    world.run_while(ms(1_000), |world| world.state(right) != AgentState::Completed);
    assert!(world.now - start <= ms(60), "{:?}", world.now - start);
    assert!(world.route(left).is_ok() && world.route(right).is_ok());
}
