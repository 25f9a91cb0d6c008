//! The TURN server of the world keeps the rules that clients rely on: a client made by hand.

use core::time::Duration;
use std::net::SocketAddr;

use floe::Instant;
use floe::stun::{
    AttributeType, Encoder, LongTerm, LongTermStep, Message, MessageClass, Method, TransactionId,
};

use crate::world::rng::Rng;
use crate::world::turn_auth::{Algorithms, PASSWORD, USER};
use crate::world::turn_server::{Refusal, TurnServer};
use crate::world::wire::{self, Turn};
use crate::world::{BEGINNING, secs};

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A client that asks one thing after the other.
struct Client {
    server: TurnServer,
    credentials: LongTerm,
    address: SocketAddr,
    now: Instant,
    asked: u8,
}

type Attributes = Vec<(AttributeType, Vec<u8>)>;

impl Client {
    fn new() -> Self {
        let relays = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap()).to_vec();
        Self {
            server: TurnServer::new(at("192.0.2.1:3478"), relays, Rng::new(1, "turn")),
            credentials: LongTerm::new(USER.as_bytes(), PASSWORD.as_bytes()).unwrap(),
            address: at("198.18.0.1:40000"),
            now: BEGINNING,
            asked: 0,
        }
    }

    /// Asks once; the octets of the answer.
    fn ask_once(&mut self, method: Method, attributes: &Attributes) -> Vec<u8> {
        self.asked += 1;
        let mut buf = [0; 1024];
        let id = TransactionId([self.asked; 12]);
        let mut encoder = Encoder::new(&mut buf, MessageClass::Request, method, id);
        for (kind, value) in attributes {
            encoder = if *kind == AttributeType::XOR_PEER_ADDRESS {
                let peer = String::from_utf8(value.clone()).unwrap();
                encoder.xor_address(*kind, at(&peer))
            } else {
                encoder.attribute(*kind, value)
            };
        }
        let len = self.credentials.authenticate(encoder).finish().unwrap();
        let to = self.server.address;
        let mut out = self.server.receives(self.now, self.address, to, &buf[..len]);
        assert_eq!(out.len(), 1);
        out.remove(0).octets
    }

    /// Asks until there is no challenge; the error code, or 0.
    fn ask(&mut self, method: Method, attributes: &Attributes) -> (u16, Vec<u8>) {
        for _ in 0..4 {
            let octets = self.ask_once(method, attributes);
            let message = Message::parse(&octets).unwrap();
            let code = message.error_code().map_or(0, |error| error.code());
            if matches!(code, 401 | 438) {
                assert_eq!(self.credentials.handle_challenge(&message), LongTermStep::Retry);
                continue;
            }
            self.credentials.verify(&message).unwrap();
            return (code, octets);
        }
        panic!("challenged for ever");
    }

    fn allocate(&mut self) -> u16 {
        let udp = (AttributeType::REQUESTED_TRANSPORT, vec![17, 0, 0, 0]);
        let both = (AttributeType::ADDITIONAL_ADDRESS_FAMILY, vec![2, 0, 0, 0]);
        let (code, octets) = self.ask(Method::ALLOCATE, &vec![udp, both]);
        if code == 0 {
            let message = Message::parse(&octets).unwrap();
            assert_eq!(message.xor_relayed_addresses().count(), 2);
            assert_eq!(message.xor_mapped_address(), Some(self.address));
            assert_eq!(message.lifetime(), Some(secs(600)));
        }
        code
    }

    fn permit(&mut self, peer: &str) -> u16 {
        let peer = (AttributeType::XOR_PEER_ADDRESS, peer.as_bytes().to_vec());
        self.ask(Method::CREATE_PERMISSION, &vec![peer]).0
    }

    fn bind(&mut self, number: u16, peer: &str) -> u16 {
        let [n0, n1] = number.to_be_bytes();
        let number = (AttributeType::CHANNEL_NUMBER, vec![n0, n1, 0, 0]);
        let peer = (AttributeType::XOR_PEER_ADDRESS, peer.as_bytes().to_vec());
        self.ask(Method::CHANNEL_BIND, &vec![number, peer]).0
    }

    fn refresh(&mut self, seconds: u32) -> u16 {
        let lifetime = (AttributeType::LIFETIME, seconds.to_be_bytes().to_vec());
        self.ask(Method::REFRESH, &vec![lifetime]).0
    }

    /// What the client gets when `peer` sends to its IPv4 relay.
    fn hear(&mut self, peer: &str) -> Option<Vec<u8>> {
        let relay = (49_152..=65_535)
            .map(|port| SocketAddr::new(self.server.address.ip(), port))
            .find(|address| self.server.relays(*address))?;
        let mut out = self.server.receives(self.now, at(peer), relay, b"\x80data");
        (!out.is_empty()).then(|| out.remove(0).octets)
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }
}

#[test]
fn every_kind_of_credentials_gets_an_allocation() {
    for algorithms in [Algorithms::Unlisted, Algorithms::Md5, Algorithms::Sha256] {
        for anonymous in [false, true] {
            let mut client = Client::new();
            client.server.auth.algorithms = algorithms;
            client.server.auth.anonymous = anonymous;
            assert_eq!(client.allocate(), 0, "{algorithms:?} {anonymous}");
            assert_eq!(client.asked, 2);
            client.server.auth.nonce_lifetime = secs(60);
            client.wait(secs(61));
            assert_eq!(client.refresh(600), 0);
        }
    }
}

#[test]
fn a_wrong_password_gets_nothing() {
    let mut client = Client::new();
    client.credentials = LongTerm::new(USER.as_bytes(), b"wrong").unwrap();
    for _ in 0..3 {
        let udp = (AttributeType::REQUESTED_TRANSPORT, vec![17, 0, 0, 0]);
        let octets = client.ask_once(Method::ALLOCATE, &vec![udp]);
        let message = Message::parse(&octets).unwrap();
        assert_eq!(message.error_code().unwrap().code(), 401);
        let _ = client.credentials.handle_challenge(&message);
    }
    assert_eq!(client.server.allocations(client.now), 0);
}

#[test]
fn a_peer_is_heard_with_a_permission_for_its_address_alone() {
    let mut client = Client::new();
    client.allocate();
    assert_eq!(client.hear("198.18.0.9:1"), None);
    assert_eq!(client.permit("198.18.0.9:77"), 0);
    let heard = client.hear("198.18.0.9:1").unwrap();
    assert_eq!(wire::turn(&heard), Some(Turn::Peer(at("198.18.0.9:1"), b"\x80data")));
    assert_eq!(client.hear("198.18.0.8:1"), None);
    client.wait(secs(300));
    assert_eq!(client.hear("198.18.0.9:1"), None);
    assert_eq!(client.server.unpermitted, 3);
}

#[test]
fn a_channel_is_bound_to_one_peer_and_carries_its_data() {
    let mut client = Client::new();
    client.allocate();
    assert_eq!(client.bind(0x4000, "198.18.0.9:1"), 0);
    assert_eq!(client.bind(0x4000, "198.18.0.9:2"), 400, "another peer");
    assert_eq!(client.bind(0x4001, "198.18.0.9:1"), 400, "another number");
    assert_eq!(client.bind(0x5000, "198.18.0.9:2"), 400, "no number of a channel");
    let heard = client.hear("198.18.0.9:1").unwrap();
    assert_eq!(wire::turn(&heard), Some(Turn::Channel(0x4000, b"\x80data")));
    let server = client.server.address;
    let out = client.server.receives(client.now, client.address, server, &heard);
    assert_eq!((out[0].to, &out[0].octets[..]), (at("198.18.0.9:1"), &b"\x80data"[..]));
}

#[test]
fn an_allocation_lives_until_it_is_released_or_forgotten() {
    let mut client = Client::new();
    assert_eq!(client.allocate(), 0);
    assert_eq!(client.allocate(), 437, "one for each 5-tuple");
    client.wait(secs(599));
    assert_eq!(client.refresh(600), 0);
    client.wait(secs(599));
    assert_eq!(client.refresh(0), 0);
    assert_eq!(client.refresh(600), 437);
    assert_eq!(client.allocate(), 0);
    client.server.restart();
    assert_eq!(client.permit("198.18.0.9:1"), 437);
}

#[test]
fn a_refusal_is_signed_and_ends() {
    let mut client = Client::new();
    for code in [486, 508, 440, 403] {
        let method = Method::ALLOCATE;
        client.server.faults.refusals.push(Refusal { method, code, times: 1 });
        assert_eq!(client.allocate(), code);
    }
    assert_eq!(client.allocate(), 0);
}
