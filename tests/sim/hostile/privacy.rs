//! What of our addresses gets out, in each mode of RFC 8828 that there is.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use floe::candidate::CandidateKind;
use floe::config::{AgentConfig, CandidatePolicy, EndpointConfig, Role};
use floe::{Endpoint, Instant, Server, Socket};

use crate::log::Log;
use crate::world::nat::{Depends, Nat};
use crate::world::{Fate, Node, World, millis, secs};

const KINDS: [Depends; 3] = [Depends::Independent, Depends::Address, Depends::AddressAndPort];

fn nats() -> impl Iterator<Item = Nat> {
    KINDS.into_iter().flat_map(|mapping| KINDS.map(|filtering| Nat::new(mapping, filtering)))
}

/// With relays alone, in 9 × 9 cells: whatever leaves goes to the TURN server, and descriptions,
/// statistics and trickled candidates name nothing but relays.
#[test]
fn with_the_relay_policy_no_other_address_gets_out() {
    for (left_nat, right_nat) in nats().flat_map(|left| nats().map(move |right| (left, right))) {
        let world = World::new(seed!());
        let turn = world.turn("192.0.2.1:3478");
        let stun = world.stun("192.0.2.9:3478");
        let left = world.host().behind(left_nat).using(stun).using(turn);
        let right = world.host().behind(right_nat).using(stun);
        let call = world.call(left, right).policy(left, CandidatePolicy::Relay);
        let to = Rc::new(RefCell::new(BTreeSet::new()));
        let seen = Rc::clone(&to);
        world.intercept(move |_, packet| {
            if packet.sender == Node::Host(0) {
                seen.borrow_mut().insert(packet.to);
            }
            Fate::Pass
        });
        world.run_until(call.completed(), secs(5));
        call.restart(left);
        world.run_for(secs(40));
        assert_eq!(*to.borrow(), BTreeSet::from([turn.address()]));
        let signalled = call.description(left).streams[0].candidates.clone();
        let relayed = |kind| kind == CandidateKind::Relayed;
        assert!(signalled.iter().all(|known| relayed(known.kind)), "{signalled:?}");
        assert!(signalled.iter().all(|known| is_hidden(known.related)), "{signalled:?}");
        let local = call.stats(left).local;
        assert!(local.iter().all(|known| known.kind != CandidateKind::Host), "{local:?}");
        // The other side learns of no address but that of the relay.
        let known = call.stats(right).remote;
        let relay = |address| world.inner().is_relay(address);
        assert!(known.iter().all(|known| relay(known.address)), "{known:?}");
    }
}

/// A related address that tells nothing. [rfc8839-5.1-8]
fn is_hidden(related: Option<SocketAddr>) -> bool {
    related.is_none_or(|related| related.ip().is_unspecified())
}

/// A base that is not to be signalled is in no description and no event, nor as a related address;
/// a reflexive candidate of it is.
#[test]
fn a_hidden_host_address_is_signalled_nowhere() {
    let inside: SocketAddr = "10.9.8.7:4000".parse().unwrap();
    let outside: SocketAddr = "203.0.113.9:4000".parse().unwrap();
    let server: SocketAddr = "192.0.2.1:3478".parse().unwrap();
    let now = Instant::from_millis(1_000);
    let mut endpoint = Endpoint::new(now, Arc::new(EndpointConfig::default()), [9; 32]);
    let mut socket = Socket::udp(inside);
    socket.signalled = false;
    let socket = endpoint.add_socket(now, socket);
    endpoint.add_server(now, Server::stun(server));
    let agent = endpoint.add_agent(now, AgentConfig::new(Role::Controlling));
    let mut buf = [0; 2_048];
    let request = endpoint.poll_transmit(now, &mut buf).unwrap();
    let (_, id) = crate::world::wire::binding(&buf[request.range]).unwrap();
    let answer = crate::world::wire::success(id, outside);
    let _ = endpoint.handle_datagram(now, socket, server, &answer);
    let mut told = format!("{:?}", endpoint.agent(agent).unwrap().local_description());
    while let Some(event) = endpoint.poll_event() {
        told += &format!("{event:?}");
    }
    let description = endpoint.agent(agent).unwrap().local_description();
    told += &description.to_sdp(&floe::sdp::SessionTemplate::default());
    assert!(told.contains("203.0.113.9"), "{told}");
    assert!(!told.contains("10.9.8.7"), "{told}");
}

/// At the finest level, over a call with a restart, a cut, and an end: the logs name no address of
/// either side and no password, and what `Debug` shows of an endpoint no password.
#[test]
fn logs_name_no_address_and_nothing_shows_a_password() {
    // While there is one subscriber alone, what other threads log first is off for all threads.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let (addresses, secrets, shown) = tracing::subscriber::with_default(subscriber, || {
        let world = World::new(seed!());
        let stun = world.stun("192.0.2.9:3478");
        let left = world.host().behind(Nat::PORT_RESTRICTED).using(stun);
        let right = world.host().behind(Nat::FULL_CONE).using(stun);
        let call = world.call(left, right);
        world.run_until(call.completed(), secs(3));
        let mut addresses: BTreeSet<IpAddr> = [left, right]
            .into_iter()
            .flat_map(|host| call.stats(host).local.into_iter().map(|c| c.address.ip()))
            .collect();
        addresses.extend(left.addresses());
        let mut secrets = Vec::new();
        for _ in 0..2 {
            secrets.extend([left, right].map(|host| super::credentials(call, host).password));
            call.restart(left);
            world.run_for(secs(5));
        }
        world.cut(left, right);
        world.run_for(secs(60));
        let shown = left.shown() + &right.shown();
        call.agent_mut(left, |agent| agent.close());
        world.run_for(millis(10));
        (addresses, secrets, shown)
    });
    let text = log.text();
    assert!(text.contains("pair is valid"), "{}", text.len());
    for address in addresses {
        assert!(!text.contains(&address.to_string()), "{address}");
    }
    for secret in secrets {
        assert!(!text.contains(&secret) && !shown.contains(&secret));
        let octets = format!("{:?}", secret.as_bytes());
        assert!(!shown.contains(octets.trim_matches(['[', ']'])));
    }
}
