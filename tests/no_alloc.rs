//! In the steady state the core allocates nothing: consent both ways, data both ways, directly
//! and over a relay.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "it/turn_server.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod turn_server;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use floe::config::{AgentConfig, CandidatePolicy, EndpointConfig, Role};
use floe::stun::LongTerm;
use floe::{
    AgentId, ComponentId, Endpoint, HEADROOM, Instant, Received, Server, Socket, SocketId,
    Transport,
};

use turn_server::TurnServer;

struct Side {
    endpoint: Endpoint,
    agent: AgentId,
    socket: SocketId,
    address: SocketAddr,
    buf: [u8; 2048],
}

impl Side {
    fn new(role: Role, address: &str, seed: u8) -> Self {
        let config = Arc::new(EndpointConfig::default());
        let mut endpoint = Endpoint::new(Instant::ZERO, config, [seed; 32]);
        let address = address.parse().unwrap();
        let socket = endpoint.add_socket(Instant::ZERO, Socket::udp(address));
        let agent = endpoint.add_agent(Instant::ZERO, config_of(role));
        Self { endpoint, agent, socket, address, buf: [0; 2048] }
    }
}

/// Without the search for direct pairs, which comes less and less often beside a relayed one.
fn config_of(role: Role) -> AgentConfig {
    let mut config = AgentConfig::new(role);
    config.nomination.retry_direct = Duration::MAX;
    config
}

/// Hands over what is due, without delay; returns how many packets passed.
fn exchange(sides: &mut [Side; 2], now: Instant) -> u64 {
    let mut packets = 0;
    loop {
        let before = packets;
        for sender in 0..2 {
            let (left, right) = sides.split_at_mut(1);
            let (from, to) = match sender {
                0 => (&mut left[0], &mut right[0]),
                _ => (&mut right[0], &mut left[0]),
            };
            from.endpoint.handle_timeout(now);
            while let Some(transmit) = from.endpoint.poll_transmit(now, &mut from.buf) {
                let octets = &from.buf[transmit.range];
                let received = to.endpoint.handle_datagram(now, to.socket, from.address, octets);
                assert_eq!(received, Received::Handled);
                packets += 1;
            }
            while from.endpoint.poll_event().is_some() {}
        }
        if packets == before {
            return packets;
        }
    }
}

fn connected() -> ([Side; 2], Instant) {
    let mut sides = [
        Side::new(Role::Controlling, "192.0.2.1:4000", 1),
        Side::new(Role::Controlled, "192.0.2.2:4000", 2),
    ];
    let descriptions =
        [0, 1].map(|i| sides[i].endpoint.agent(sides[i].agent).unwrap().local_description());
    for (side, description) in sides.iter_mut().zip(descriptions.iter().rev()) {
        let mut agent = side.endpoint.agent_mut(Instant::ZERO, side.agent).unwrap();
        agent.set_remote_description(description).unwrap();
    }
    let mut now = Instant::ZERO;
    run(&mut sides, &mut now, Duration::from_secs(60));
    for side in &sides {
        let agent = side.endpoint.agent(side.agent).unwrap();
        assert!(agent.selected(ComponentId::FIRST).is_some());
    }
    (sides, now)
}

/// Lets virtual time pass, exactly from deadline to deadline; returns the packets.
fn run(sides: &mut [Side; 2], now: &mut Instant, duration: Duration) -> u64 {
    let end = *now + duration;
    let mut packets = exchange(sides, *now);
    loop {
        let next = sides.iter().filter_map(|side| side.endpoint.poll_timeout()).min();
        let Some(next) = next.filter(|next| *next <= end) else { break };
        *now = next;
        packets += exchange(sides, *now);
    }
    *now = end;
    packets
}

#[test]
fn an_hour_of_consent_both_ways_allocates_nothing() {
    let (mut sides, mut now) = connected();
    let mut packets = 0;
    let counted = allocation_counter::measure(|| {
        packets = run(&mut sides, &mut now, Duration::from_secs(3_600));
    });
    assert!(packets > 2_000, "only {packets} packets passed");
    assert_eq!(counted.count_total, 0, "{counted:?} for {packets} packets");
}

#[test]
fn ten_thousand_data_packets_each_way_allocate_nothing() {
    let (mut sides, mut now) = connected();
    let mut delivered = 0;
    let counted = allocation_counter::measure(|| {
        for _ in 0..10_000 {
            now += Duration::from_millis(1);
            exchange(&mut sides, now);
            for sender in 0..2 {
                let (left, right) = sides.split_at_mut(1);
                let (from, to) = match sender {
                    0 => (&mut left[0], &mut right[0]),
                    _ => (&mut right[0], &mut left[0]),
                };
                let route = from.endpoint.route(now, from.agent, ComponentId::FIRST).unwrap();
                // First octet of RTP, so that it is not taken for STUN.
                from.buf[HEADROOM] = 0x80;
                let transmit = route.frame(&mut from.buf, HEADROOM..HEADROOM + 1_200).unwrap();
                assert_eq!(transmit.to, to.address);
                let octets = &from.buf[transmit.range];
                let received = to.endpoint.handle_datagram(now, to.socket, from.address, octets);
                let Received::Data { data, .. } = received else { panic!("{received:?}") };
                delivered += usize::from(data.len() == 1_200);
            }
        }
    });
    assert_eq!(delivered, 20_000);
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

#[test]
fn ten_thousand_messages_of_a_stream_allocate_nothing() {
    let mut deframer = floe::framing::Deframer::new();
    let mut stream = [0; 3 * 1_204];
    for message in stream.chunks_exact_mut(1_204) {
        message[..4].copy_from_slice(&[0x40, 0x00, 0x04, 0xB0]);
    }
    let mut found = 0_u32;
    let mut run = |rounds: u32| {
        for _ in 0..rounds {
            // Three messages in pieces that end anywhere.
            for piece in stream.chunks(1_000) {
                deframer.room(16_384)[..piece.len()].copy_from_slice(piece);
                deframer.filled(piece.len());
                while deframer.next_message().unwrap().is_some() {
                    found += 1;
                }
            }
        }
    };
    run(100);
    let counted = allocation_counter::measure(|| run(3_334));
    assert_eq!(counted.count_total, 0, "{counted:?}");
    assert_eq!(found, 3 * 3_434);
}

const TURN: &str = "198.51.100.1:3478";

/// A side that uses relays alone, a side that does not, and the TURN server between them.
struct Relayed {
    sides: [Side; 2],
    server: TurnServer,
}

impl Relayed {
    fn connected() -> (Self, Instant) {
        let mut sides = [
            Side::relaying(Role::Controlling, "192.0.2.1:4000", 1),
            Side::new(Role::Controlled, "192.0.2.2:4000", 2),
        ];
        let server = TurnServer::new(TURN, &["198.51.100.1:50000"]);
        let mut now = Instant::ZERO;
        sides[0].buf.fill(0);
        let mut world = Self { sides, server };
        world.run(&mut now, Duration::from_secs(1));
        let sides = &mut world.sides;
        let descriptions =
            [0, 1].map(|i| sides[i].endpoint.agent(sides[i].agent).unwrap().local_description());
        for (side, description) in sides.iter_mut().zip(descriptions.iter().rev()) {
            let mut agent = side.endpoint.agent_mut(now, side.agent).unwrap();
            agent.set_remote_description(description).unwrap();
        }
        world.run(&mut now, Duration::from_secs(60));
        let agent = world.sides[0].endpoint.agent(world.sides[0].agent).unwrap();
        assert!(agent.selected(ComponentId::FIRST).is_some());
        (world, now)
    }

    /// Hands over what is due, without delay; returns how many packets passed.
    fn exchange(&mut self, now: Instant) -> u64 {
        let mut packets = 0;
        loop {
            let before = packets;
            for sender in 0..2 {
                let side = &mut self.sides[sender];
                side.endpoint.handle_timeout(now);
                while let Some(transmit) = self.sides[sender].poll(now) {
                    packets += 1;
                    self.carry(now, sender, transmit);
                }
                while self.sides[sender].endpoint.poll_event().is_some() {}
            }
            if packets == before {
                return packets;
            }
        }
    }

    /// Brings a packet to the server, and what that sends to where it goes; returns how many
    /// datagrams of data came out.
    fn carry(
        &mut self,
        now: Instant,
        sender: usize,
        (to, range): (SocketAddr, std::ops::Range<usize>),
    ) -> usize {
        let side = &self.sides[sender];
        let octets = &side.buf[range];
        let (server, from) = (&mut self.server, side.address);
        let mut sent = Vec::new();
        allocation_counter::opt_out(|| sent = server.receive(from, to, octets));
        let mut data = 0;
        for (from, to, octets) in &sent {
            let side = self.sides.iter_mut().find(|side| side.address == *to);
            let side = side.expect("it goes to one of the sides");
            let received = side.endpoint.handle_datagram(now, side.socket, *from, octets);
            let whole = |data: &[u8]| data.len() == 1_200;
            data += usize::from(matches!(received, Received::Data { data, .. } if whole(data)));
        }
        allocation_counter::opt_out(|| drop(sent));
        data
    }

    fn run(&mut self, now: &mut Instant, duration: Duration) -> u64 {
        let end = *now + duration;
        let mut packets = self.exchange(*now);
        loop {
            let next = self.sides.iter().filter_map(|side| side.endpoint.poll_timeout()).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            *now = next;
            packets += self.exchange(*now);
        }
        *now = end;
        packets
    }
}

impl Side {
    fn relaying(role: Role, address: &str, seed: u8) -> Self {
        let mut side = Self::new(role, address, seed);
        side.endpoint.close(Instant::ZERO);
        while side.endpoint.poll_event().is_some() {}
        let credentials = LongTerm::new(b"user", b"pass").unwrap();
        let server = Server::turn(TURN.parse().unwrap(), Transport::Udp, credentials);
        side.endpoint.add_server(Instant::ZERO, server);
        let mut config = config_of(role);
        config.policy = CandidatePolicy::Relay;
        side.agent = side.endpoint.add_agent(Instant::ZERO, config);
        side
    }

    fn poll(&mut self, now: Instant) -> Option<(SocketAddr, std::ops::Range<usize>)> {
        let transmit = self.endpoint.poll_transmit(now, &mut self.buf)?;
        Some((transmit.to, transmit.range))
    }
}

/// Between two refreshes of the permission, which come every few minutes.
#[test]
fn consent_over_a_relay_allocates_nothing() {
    let (mut world, mut now) = Relayed::connected();
    let mut packets = 0;
    let counted = allocation_counter::measure(|| {
        packets = world.run(&mut now, Duration::from_secs(120));
    });
    assert!(packets > 60, "only {packets} packets passed");
    assert_eq!(counted.count_total, 0, "{counted:?} for {packets} packets");
}

#[test]
fn ten_thousand_data_packets_each_way_over_a_relay_allocate_nothing() {
    let (mut world, mut now) = Relayed::connected();
    let mut delivered = 0;
    let counted = allocation_counter::measure(|| {
        for _ in 0..10_000 {
            now += Duration::from_millis(1);
            world.exchange(now);
            for sender in 0..2 {
                let from = &mut world.sides[sender];
                let route = from.endpoint.route(now, from.agent, ComponentId::FIRST).unwrap();
                from.buf[HEADROOM] = 0x80;
                let transmit = route.frame(&mut from.buf, HEADROOM..HEADROOM + 1_200).unwrap();
                // The header of a channel, and the payload where it was.
                let expected = if sender == 0 { HEADROOM - 4 } else { HEADROOM };
                assert_eq!(transmit.range, expected..HEADROOM + 1_200);
                delivered += world.carry(now, sender, (transmit.to, transmit.range));
            }
        }
    });
    assert_eq!(delivered, 20_000);
    assert_eq!(counted.count_total, 0, "{counted:?}");
}
