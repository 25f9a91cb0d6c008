//! One hostile session among many on one socket.

use std::net::SocketAddr;

use super::{Forger, arrives, base, candidate};
use crate::world::{World, millis, secs};

/// The peer of one session floods the hub with checks, junk and candidates; the two others, and the
/// one that is set up in the midst of it, do as well as without.
#[test]
fn a_hostile_session_does_not_hurt_others_on_its_socket() {
    let connect = |hostile: bool| {
        let world = World::new(crate::world::Seed(5));
        let hub = world.host();
        let spokes = [(); 4].map(|()| world.host());
        let [bad, first, second, late] = spokes;
        let calls = [bad, first, second].map(|spoke| world.call(spoke, hub).without_restarts());
        for call in calls {
            world.run_until(call.completed(), secs(3));
        }
        world.run_for(secs(10) - world.elapsed());
        for (call, spoke) in [(calls[1], first), (calls[2], second)] {
            call.talk(hub, millis(20));
            call.talk(spoke, millis(20));
        }
        let mut forger = Forger::against(calls[0], hub);
        let flood = |n: u32, forger: &mut Forger| {
            if !hostile {
                return;
            }
            let from = SocketAddr::from(((0xCB00_7100 + n % 5_000).to_be_bytes(), 9));
            arrives(&world, from, hub, forger.nomination());
            arrives(&world, base(bad), hub, forger.check(&[]));
            arrives(&world, from, hub, vec![n as u8; 40]);
            let more = candidate(from);
            calls[0].agent_mut(hub, |mut agent| {
                let _ = agent.add_remote_candidate(0, None, &more);
            });
        };
        for n in 0..1_000 {
            flood(n, &mut forger);
            world.run_for(millis(1));
        }
        let newcomer = world.call(late, hub).without_restarts();
        let start = world.elapsed();
        let mut took = None;
        for n in 1_000..11_000 {
            flood(n, &mut forger);
            world.run_for(millis(1));
            if took.is_none() && newcomer.completed()() {
                took = Some(world.elapsed() - start);
            }
        }
        for call in [calls[1], calls[2]] {
            let [spoke, hub] = call.hosts();
            call.hush(hub);
            call.hush(spoke);
        }
        world.run_for(secs(1));
        for call in [calls[1], calls[2]] {
            let [spoke, hub] = call.hosts();
            assert_eq!((call.heard(hub), call.heard(spoke)), (call.sent(spoke), call.sent(hub)));
            assert!(call.completed()() && call.agree());
        }
        took.expect("the newcomer is connected")
    };
    let (alone, beside) = (connect(false), connect(true));
    assert!(beside <= alone + millis(50), "{beside:?} instead of {alone:?}");
}
