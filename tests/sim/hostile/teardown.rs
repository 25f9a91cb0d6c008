//! What is left of an agent that is closed at any moment: nothing.

use std::cell::RefCell;
use std::rc::Rc;

use super::{Forger, base, packet};
use crate::world::nat::Nat;
use crate::world::turn_server::Heard;
use crate::world::wire;
use crate::world::{Fate, Node, Seed, World, millis, secs};

/// Closed at each of 400 moments, through gathering, checks, nomination, restart and consent: at
/// most one Refresh per allocation leaves after that, and within a second; no timer is left, no
/// allocation, and what comes late is not answered. [rfc8445-11-7] [rfc8445-11-8]
#[test]
fn an_agent_closed_at_any_moment_leaves_nothing_behind() {
    for moment in 0..400_u64 {
        let world = World::new(Seed(moment));
        let turn = world.turn("192.0.2.1:3478");
        let stun = world.stun("192.0.2.9:3478");
        let left = world.host().behind(Nat::PORT_RESTRICTED).using(stun).using(turn);
        let right = world.host();
        let call = world.call(left, right).without_restarts().signalling(millis(20));
        world.run_for(millis(1 + moment % 200 * 7));
        if moment >= 200 {
            world.run_for(secs(2));
            call.restart(left);
            world.run_for(millis(moment % 200 * 7));
        }
        let forger = (!call.stats(left).remote.is_empty()).then(|| Forger::against(call, left));
        let open = turn.heard(Heard::Allocate);
        let released = turn.heard(Heard::Release);
        let after = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&after);
        let closed = world.inner().now;
        world.intercept(move |now, packet| {
            if packet.sender == Node::Host(0) {
                seen.borrow_mut().push((now.since(closed), packet.octets.clone()));
            }
            Fate::Pass
        });
        call.agent_mut(left, |agent| agent.close());
        if let Some(mut forger) = forger {
            let octets = forger.nomination();
            let to = base(left);
            let zone = world.inner().hosts[left.id].zone_of(to);
            world.inject(zone, packet(base(right), to, octets));
        }
        world.run_for(secs(120));
        for (at, octets) in after.borrow().iter() {
            // A Refresh, or the end of an allocation that was being asked for.
            let kind = u16::from_be_bytes([octets[0], octets[1]]);
            let lifetime = wire::attribute(octets, 0x000d);
            let releases = kind == 0x0004 && lifetime == Some(&[0; 4]);
            assert!(releases, "{moment}: {} {at:?}", wire::describe(octets));
            assert!(*at <= secs(1), "{moment}: {at:?}");
        }
        assert!(turn.heard(Heard::Release) - released <= open, "{moment}");
        assert_eq!(turn.allocations(), 0, "{moment}");
        let mut inner = world.inner();
        let endpoint = inner.hosts[left.id].endpoint();
        assert_eq!(endpoint.poll_timeout(), None, "{moment}: a timer is left");
        drop(inner);
        assert_eq!(call.sent(left), 0);
    }
}
