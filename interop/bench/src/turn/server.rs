//! A TURN server in memory, and clients that have what they need from it.

use std::net::SocketAddr;
use std::time::Duration;

use floe::stun::LongTerm;
use floe::turn::{Client, ClientConfig, Families};
use floe::{HEADROOM, MIN_TRANSMIT, TAILROOM, Transport};
use turn_client_proto::api::{TurnClientApi, TurnConfig};
use turn_client_proto::types::{TransportType, TurnCredentials};
use turn_client_proto::udp::TurnClientUdp;
use turn_server_proto::api::{Transmit, TurnServerApi, TurnServerPollRet};
use turn_server_proto::server::TurnServer;
use turn_server_proto::stun::Instant;

use super::{CLIENT, PEER, SERVER, address};

const UDP: TransportType = TransportType::Udp;
const USER: &str = "user";
const PASSWORD: &str = "not-a-secret";

/// `turn-server-proto` on a wire without delay.
pub struct Memory {
    server: TurnServer,
    allocations: u16,
}

/// The time of the crates of turn-proto.
pub fn proto_time(now: Duration) -> Instant {
    Instant::ZERO + now
}

/// The time of floe.
pub fn floe_time(now: Duration) -> floe::Instant {
    floe::Instant::ZERO + now
}

impl Memory {
    pub fn new() -> Self {
        let mut server = TurnServer::new(UDP, SERVER, "bench".into());
        server.add_user(USER.into(), PASSWORD.into());
        Self { server, allocations: 0 }
    }

    /// Returns what the server answers to a datagram of a client.
    pub fn answers(&mut self, now: Duration, from: SocketAddr, datagram: &[u8]) -> Vec<Vec<u8>> {
        let now = proto_time(now);
        let mut answers = Vec::new();
        let reply = self.server.recv(Transmit::new(datagram, UDP, from, SERVER), now);
        if let Some(reply) = reply.map(|reply| reply.build()) {
            answers.push((reply.to, reply.data));
        }
        while let TurnServerPollRet::AllocateSocket {
            transport,
            listen_addr,
            client_addr,
            allocation_transport,
            family,
        } = self.server.poll(now)
        {
            self.allocations += 1;
            let relayed = address(9, 9, 50_000 + self.allocations);
            self.server.allocated_socket(
                transport,
                listen_addr,
                client_addr,
                allocation_transport,
                family,
                Ok(relayed),
                now,
            );
        }
        while let Some(packet) = self.server.poll_transmit(now) {
            answers.push((packet.to, packet.data));
        }
        answers.retain(|(to, _)| *to == from);
        answers.into_iter().map(|(_, data)| data).collect()
    }
}

/// floe's client that asks for one relayed address.
pub fn floe_client(credentials: Option<LongTerm>) -> Client {
    let ours = || LongTerm::new(USER.as_bytes(), PASSWORD.as_bytes()).expect("short");
    let mut config = ClientConfig::new(Transport::Udp, credentials.unwrap_or_else(ours));
    config.families = Families::Ipv4;
    Client::new(floe::Instant::ZERO, config, [7; 32])
}

/// Delivers what the client sends, and what the server answers; returns whether there was anything.
pub fn floe_flight(client: &mut Client, server: &mut Memory, now: Duration, rtt: Duration) -> bool {
    let mut buffer = [0; MIN_TRANSMIT];
    let mut packets = Vec::new();
    client.handle_timeout(floe_time(now));
    while let Some(len) = client.poll_transmit(floe_time(now), &mut buffer) {
        packets.push(buffer[..len].to_vec());
    }
    for packet in &packets {
        for answer in server.answers(now, CLIENT, packet) {
            let _ = client.handle_datagram(floe_time(now + rtt), &answer);
        }
    }
    while client.poll_event().is_some() {}
    !packets.is_empty()
}

/// The client of turn-proto, likewise.
pub fn proto_client() -> TurnClientUdp {
    let credentials = TurnCredentials::new(USER, PASSWORD);
    TurnClientUdp::allocate(CLIENT, SERVER, TurnConfig::new(credentials))
}

/// The same for the client of turn-proto.
pub fn proto_flight(
    client: &mut TurnClientUdp,
    server: &mut Memory,
    now: Duration,
    rtt: Duration,
) -> bool {
    let _ = client.poll(proto_time(now));
    let packets: Vec<Vec<u8>> = std::iter::from_fn(|| {
        client.poll_transmit(proto_time(now)).map(|packet| packet.data.as_ref().to_vec())
    })
    .collect();
    for packet in &packets {
        for answer in server.answers(now, CLIENT, packet) {
            let answer = Transmit::new(answer, UDP, SERVER, CLIENT);
            let _ = client.recv(answer, proto_time(now + rtt));
        }
    }
    while client.poll_event().is_some() {}
    !packets.is_empty()
}

/// What an established client has beside a permission for [`PEER`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Indications,
    Channel,
}

/// The octets that floe sends for `data`.
pub fn floe_frame(client: &mut Client, data: &[u8]) -> Vec<u8> {
    let end = HEADROOM + data.len();
    let mut buffer = vec![0; end + TAILROOM];
    buffer[HEADROOM..end].copy_from_slice(data);
    let framing = client.framing(PEER).expect("a permission");
    let range = framing.frame(&mut buffer, HEADROOM..end).expect("room");
    buffer[range].to_vec()
}

/// floe's client with a way to [`PEER`], and the time.
pub fn floe_established(way: Way) -> (Client, Duration) {
    let (mut client, mut server) = (floe_client(None), Memory::new());
    let mut now = Duration::ZERO;
    let mut settle = |client: &mut Client| {
        while floe_flight(client, &mut server, now, Duration::ZERO) {
            now += Duration::from_millis(1);
        }
        now
    };
    settle(&mut client);
    assert_eq!(client.relayed().count(), 1, "floe allocates");
    client.permit(floe_time(Duration::from_secs(1)), PEER.ip()).expect("a permission");
    let mut now = settle(&mut client);
    if way == Way::Channel {
        client.bind_channel(floe_time(now), PEER).expect("a channel");
        now = settle(&mut client);
    }
    (client, now)
}

/// The client of turn-proto with a way to [`PEER`], and the time.
pub fn proto_established(way: Way) -> (TurnClientUdp, Duration) {
    let (mut client, mut server) = (proto_client(), Memory::new());
    let mut now = Duration::ZERO;
    let mut settle = |client: &mut TurnClientUdp| {
        // It waits a little now and then.
        for _ in 0..2000 {
            proto_flight(client, &mut server, now, Duration::ZERO);
            now += Duration::from_millis(1);
        }
        now
    };
    let allocated = settle(&mut client);
    assert_eq!(client.relayed_addresses().count(), 1, "turn-client-proto allocates");
    client.create_permission(UDP, PEER.ip(), proto_time(allocated)).expect("a permission");
    let mut now = settle(&mut client);
    if way == Way::Channel {
        client.bind_channel(UDP, PEER, proto_time(now)).expect("a channel");
        now = settle(&mut client);
    }
    (client, now)
}
