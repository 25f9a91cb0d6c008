//! STUN servers that do harm.

use std::net::SocketAddr;

use crate::world::nat::Nat;
use crate::world::stun_server::Temper;
use crate::world::{Seed, World, millis, secs};

/// Two behind NATs, each with one honest server and one that is not: whether they meet directly,
/// and how many candidates the first one has.
fn meet(seed: Seed, temper: Temper) -> (usize, usize) {
    let world = World::new(seed);
    let honest = world.stun("192.0.2.1:3478");
    let other = world.stun("192.0.2.9:3478").that_is(temper);
    let hosts =
        [0, 1].map(|_| world.host().behind(Nat::PORT_RESTRICTED).using(other).using(honest));
    let call = world.call(hosts[0], hosts[1]);
    world.run_until(call.completed(), secs(10));
    world.run_for(secs(30));
    assert!(call.completed()() && call.agree());
    (call.hops(hosts[0]), call.description(hosts[0]).streams[0].candidates.len())
}

#[test]
fn a_server_that_lies_about_the_mapping_keeps_nobody_from_an_honest_one() {
    let lies = [
        "127.0.0.1:53",
        "224.0.0.1:53",
        "255.255.255.255:53",
        "0.0.0.0:0",
        "192.0.2.77:53",
        "[::1]:53",
    ];
    for lie in lies {
        let address: SocketAddr = lie.parse().unwrap();
        assert_eq!(meet(seed!(), Temper::Lying(address)).0, 0, "{lie}");
    }
}

#[test]
fn an_answer_from_elsewhere_or_to_another_question_is_none() {
    let elsewhere = Temper::Elsewhere("192.0.2.77:3478".parse().unwrap());
    for temper in [elsewhere, Temper::Garbled] {
        // A host candidate and what the honest server saw.
        assert_eq!(meet(seed!(), temper), (0, 2), "{temper:?}");
    }
}

#[test]
fn a_server_that_answers_a_hundred_times_makes_one_candidate() {
    assert_eq!(meet(seed!(), Temper::Babbling(100)), (0, 2));
}

/// A TURN server that comes back under another realm, with nothing of before, is used again.
#[test]
fn a_relay_that_is_reborn_under_another_realm_is_used_again() {
    let world = World::new(seed!());
    let turn = world.turn("192.0.2.2:3478");
    let left = world.host().behind(Nat::SYMMETRIC).using(turn);
    let right = world.host().behind(Nat::SYMMETRIC).using(turn);
    let call = world.call(left, right);
    world.run_until(call.completed(), secs(10));
    for host in [left, right] {
        call.talk(host, millis(50));
    }
    world.run_for(secs(5));
    turn.change(|server| server.restart());
    turn.auth(|auth| auth.realm = "reborn.example".to_owned());
    world.run_for(secs(120));
    assert!(call.completed()(), "{:?} {:?}", call.states(left), call.states(right));
    let heard = call.heard(left);
    world.run_for(secs(2));
    assert!(call.heard(left) > heard);
}
