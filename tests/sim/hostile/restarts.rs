//! A peer that restarts, and restarts, and restarts.

use floe::config::Limits;
use floe::{DescriptionRejected, Event};

use crate::world::{World, millis, secs};

/// Two hundred restarts in ten seconds: ten are followed, data flows on the old pair all the time,
/// and ten seconds after the end there is no more traffic than before. [rfc8445-9-p1]
#[test]
fn a_restart_storm_is_followed_ten_times_and_loses_no_data() {
    let world = World::new(seed!());
    let (left, right) = (world.host(), world.host());
    let call = world.call(left, right).without_restarts();
    world.run_until(call.completed(), secs(2));
    world.run_for(secs(10));
    call.talk(left, millis(20));
    call.talk(right, millis(20));
    for _ in 0..200 {
        call.restart(left);
        world.run_for(millis(50));
    }
    let followed = call.events(right).into_iter();
    let followed = followed.filter(|(_, event)| matches!(event, Event::RestartedByPeer { .. }));
    assert_eq!(followed.count(), usize::from(Limits::default().remote_restarts));
    assert!(call.rejections(right).contains("TooManyRestarts"));
    world.run_for(secs(10));
    let (packets, data) = (left.packets() + right.packets(), call.sent(left) + call.sent(right));
    world.run_for(secs(5));
    let packets = left.packets() + right.packets() - packets;
    let data = call.sent(left) + call.sent(right) - data;
    assert!(packets - data <= 40, "{}", packets - data);
    call.hush(left);
    call.hush(right);
    world.run_for(secs(1));
    assert_eq!((call.heard(left), call.heard(right)), (call.sent(right), call.sent(left)));
}

/// Ten are taken in five minutes, whatever their pace, and the eleventh is told so.
#[test]
fn ten_restarts_by_the_peer_are_taken_in_five_minutes() {
    let mut lonely =
        super::Lonely::new(floe::config::AgentConfig::new(floe::config::Role::Controlled));
    let mut taken = 0;
    for number in 0..1_000 {
        match lonely.remote(&super::description(&format!("peer{number}"), &[])) {
            Ok(()) => taken += 1,
            Err(error) => assert_eq!(error, DescriptionRejected::TooManyRestarts),
        }
        lonely.run_for(millis(299));
    }
    // The first is no restart.
    assert_eq!(taken, 1 + Limits::default().remote_restarts);
    lonely.run_for(secs(2));
    assert_eq!(lonely.remote(&super::description("again", &[])), Ok(()));
}
