//! What a long life must not do: repeat secrets, print them, or grow.

use std::sync::Arc;
use std::time::Duration;

use floe::config::{AgentConfig, CandidatePolicy, EndpointConfig, Mode, Role};
use floe::{ComponentId, Endpoint, HEADROOM, Instant, MIN_TRANSMIT, Received, Server, Socket};

fn endpoint(seed: u8) -> Endpoint {
    Endpoint::new(Instant::ZERO, Arc::new(EndpointConfig::default()), [seed; 32])
}

/// [rfc8445-5.3-6] [rfc8839-5.4-3]
#[test]
fn no_two_agents_of_an_endpoint_ever_have_the_same_credentials() {
    let mut endpoint = endpoint(1);
    let config = Arc::new(AgentConfig::new(Role::Controlling));
    let keeper = endpoint.add_agent(Instant::ZERO, config.clone());
    let mut seen = std::collections::BTreeSet::new();
    let describe = |endpoint: &Endpoint, id| {
        endpoint.agent(id).unwrap().local_description().streams[0].credentials.clone().unwrap()
    };
    seen.insert(describe(&endpoint, keeper).ufrag);
    for _ in 0..70_000 {
        let agent = endpoint.add_agent(Instant::ZERO, config.clone());
        assert!(seen.insert(describe(&endpoint, agent).ufrag));
        endpoint.agent_mut(Instant::ZERO, agent).unwrap().close();
        while endpoint.poll_event().is_some() {}
    }
}

#[test]
fn no_password_is_printed_by_debug() {
    let (mut left, mut right) = (endpoint(1), endpoint(2));
    let (a, b) = (
        left.add_agent(Instant::ZERO, AgentConfig::new(Role::Controlling)),
        right.add_agent(Instant::ZERO, AgentConfig::new(Role::Controlled)),
    );
    let description = right.agent(b).unwrap().local_description();
    left.agent_mut(Instant::ZERO, a).unwrap().set_remote_description(&description).unwrap();
    let own = left.agent(a).unwrap().local_description();
    let text = format!("{left:?} {own:?} {description:?}");
    for side in [own, description] {
        let password = side.streams[0].credentials.clone().unwrap().password;
        assert!(!text.contains(&password));
    }
}

#[test]
fn sockets_that_come_and_go_leave_nothing_behind() {
    let mut endpoint = endpoint(1);
    let agent = endpoint.add_agent(Instant::ZERO, AgentConfig::new(Role::Controlling));
    let mut now = Instant::ZERO;
    for round in 0..2_000u16 {
        now += Duration::from_secs(1);
        let address = ([192, 0, 2, 1], 1_000 + round).into();
        let socket = endpoint.add_socket(now, Socket::udp(address));
        endpoint.agent_mut(now, agent).unwrap().restart();
        let known = endpoint.agent(agent).unwrap();
        assert_eq!(known.local_description().streams[0].candidates.len(), 1);
        assert_eq!(known.stats().local.len(), 1, "round {round}");
        endpoint.remove_socket(now, socket);
        while endpoint.poll_event().is_some() {}
    }
    let counted = allocation_counter::measure(|| {
        for round in 0..100u16 {
            now += Duration::from_secs(1);
            let address = ([192, 0, 2, 1], 5_000 + round).into();
            let socket = endpoint.add_socket(now, Socket::udp(address));
            endpoint.agent_mut(now, agent).unwrap().restart();
            endpoint.remove_socket(now, socket);
            while endpoint.poll_event().is_some() {}
        }
    });
    assert!(counted.bytes_current.abs() < 1_024, "{counted:?}");
}

/// Neither checks, so each uses what was signalled: the one case without an authenticated packet.
/// [rfc8445-6.1.1-3a] [rfc8445-6.1.1-3b]
#[test]
fn two_lite_agents_exchange_data() {
    let addresses = ["192.0.2.1:4000", "192.0.2.2:4000"].map(|text| text.parse().unwrap());
    let mut ends = [endpoint(1), endpoint(2)];
    let sockets = [0, 1].map(|i| ends[i].add_socket(Instant::ZERO, Socket::udp(addresses[i])));
    let agents = [Role::Controlling, Role::Controlled].map(|role| {
        let mut config = AgentConfig::new(role);
        config.mode = Mode::Lite;
        ends[usize::from(role == Role::Controlled)].add_agent(Instant::ZERO, config)
    });
    let descriptions = [0, 1].map(|i| ends[i].agent(agents[i]).unwrap().local_description());
    for i in 0..2 {
        let mut agent = ends[i].agent_mut(Instant::ZERO, agents[i]).unwrap();
        agent.set_remote_description(&descriptions[1 - i]).unwrap();
    }
    for i in 0..2 {
        let mut buf = [0x80; 2_000];
        let route = ends[i].route(Instant::ZERO, agents[i], ComponentId::FIRST).unwrap();
        let transmit = route.frame(&mut buf, HEADROOM..HEADROOM + 5).unwrap();
        assert_eq!(transmit.to, addresses[1 - i]);
        let octets = &buf[transmit.range];
        let received =
            ends[1 - i].handle_datagram(Instant::ZERO, sockets[1 - i], addresses[i], octets);
        assert!(matches!(received, Received::Data { .. }), "{received:?}");
    }
}

/// Once STUN servers were asked whatever the agent could use. [rfc8445-5.1.1.2-2]
#[test]
fn an_agent_that_uses_no_reflexive_candidates_asks_no_server() {
    for lite in [false, true] {
        let mut endpoint = endpoint(1);
        endpoint.add_socket(Instant::ZERO, Socket::udp("192.0.2.1:4000".parse().unwrap()));
        endpoint.add_server(Instant::ZERO, Server::stun("203.0.113.1:3478".parse().unwrap()));
        let mut config = AgentConfig::new(Role::Controlled);
        if lite {
            config.mode = Mode::Lite;
        } else {
            config.policy = CandidatePolicy::Relay;
        }
        let agent = endpoint.add_agent(Instant::ZERO, config);
        assert!(!endpoint.agent(agent).unwrap().is_gathering());
        let mut buf = [0; MIN_TRANSMIT];
        assert_eq!(endpoint.poll_transmit(Instant::ZERO, &mut buf), None);
    }
}
