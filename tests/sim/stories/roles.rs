//! Both sides think that they lead, or neither does.

use floe::config::Role::{self, Controlled, Controlling};

use crate::world::nat::{Depends, Nat};
use crate::world::{Seed, World, secs};

/// [rfc8445-7.3.1.1-2] [rfc8445-7.3.1.1-3] [rfc8445-7.3.1.1-p1] [rfc8445-7.3.1.1-p2]
/// [rfc8445-7.2.5.1-1] [rfc8445-7.2.5.1-2] [rfc8445-7.2.5.1-3]
#[test]
fn whoever_they_think_they_are_one_controls_in_the_end() {
    let Seed(seed) = seed!();
    for n in 0..20 {
        for (a, b) in
            [Controlling, Controlled].into_iter().flat_map(|a| [(a, Controlling), (a, Controlled)])
        {
            let world = World::new(Seed(seed.wrapping_add(n)));
            let (left, right) = (world.host().with_addresses(2), world.host());
            let call = world.call(left, right).role(left, a).role(right, b);

            world.run_until(call.completed(), secs(5));
            let roles = [call.role_of(left), call.role_of(right)];
            let leaders = roles.iter().filter(|role| **role == Role::Controlling).count();
            assert_eq!(leaders, 1, "{a:?} and {b:?} became {roles:?}");
            if a != b {
                assert_eq!(roles, [a, b], "no conflict, no change");
            }
            assert!(call.agree());
        }
    }
}

/// [rfc8445-6.1.1-4] [rfc8445-9-4]
#[test]
fn a_restart_by_the_callee_leaves_the_roles_alone() {
    let world = World::new(seed!());
    let (left, right) = (world.host(), world.host());
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(2));

    call.restart(right);
    world.run_for(secs(2));
    assert!(call.completed()());
    assert_eq!((call.role_of(left), call.role_of(right)), (Controlling, Controlled));
}

/// The NAT of each side sends what answers a check from another port than was checked.
/// [rfc8445-7.2.5.1-1]
#[test]
fn roles_are_settled_where_no_answer_comes_from_where_it_was_asked() {
    let Seed(seed) = seed!();
    for n in 0..20 {
        for role in [Controlling, Controlled] {
            let world = World::new(Seed(seed.wrapping_add(n)));
            let stun = world.stun("192.0.2.1:3478");
            let nat = |filtering| Nat::new(Depends::AddressAndPort, filtering);
            let left = world.host().behind(nat(Depends::Independent)).using(stun);
            let right = world.host().behind(Nat::ADDRESS_RESTRICTED);
            let call = world.call(left, right).role(left, role).role(right, role);

            world.run_until(call.completed(), secs(5));
            assert!(call.agree());
        }
    }
}
