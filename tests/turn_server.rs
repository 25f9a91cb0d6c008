//! The server of `floe demo`, by the messages it answers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![cfg(feature = "tokio")]

#[allow(dead_code, reason = "the tool and other tests use more of it")]
#[path = "../src/bin/floe/turn_server.rs"]
mod turn_server;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use floe::stun::{
    AttributeType, Encoder, LongTerm, LongTermStep, Message, MessageClass, Method, TransactionId,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use turn_server::{Options, TurnServer};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LIMIT: Duration = Duration::from_secs(5);

/// How a client reaches the server.
enum Link {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

struct Client {
    link: Link,
    login: LongTerm,
    ids: u8,
}

impl Client {
    async fn udp(server: &TurnServer) -> Self {
        let socket = UdpSocket::bind((server.address().ip(), 0)).await.unwrap();
        socket.connect(server.address()).await.unwrap();
        Self { link: Link::Udp(socket), login: login(server), ids: 0 }
    }

    async fn tcp(server: &TurnServer) -> Self {
        let stream = TcpStream::connect(server.address()).await.unwrap();
        Self { link: Link::Tcp(stream), login: login(server), ids: 0 }
    }

    fn address(&self) -> SocketAddr {
        match &self.link {
            Link::Udp(socket) => socket.local_addr().unwrap(),
            Link::Tcp(stream) => stream.local_addr().unwrap(),
        }
    }

    async fn send(&mut self, octets: &[u8]) {
        match &mut self.link {
            Link::Udp(socket) => drop(socket.send(octets).await.unwrap()),
            Link::Tcp(stream) => stream.write_all(octets).await.unwrap(),
        }
    }

    /// The next message, over TCP with its padding.
    async fn receive(&mut self) -> Vec<u8> {
        let mut buf = vec![0; 65_536];
        let read = async {
            match &mut self.link {
                Link::Udp(socket) => socket.recv(&mut buf).await.unwrap(),
                Link::Tcp(stream) => {
                    stream.read_exact(&mut buf[..4]).await.unwrap();
                    let rest = usize::from(u16::from_be_bytes([buf[2], buf[3]]));
                    let rest = if buf[0] >> 6 == 0 { 16 + rest } else { rest.next_multiple_of(4) };
                    4 + stream.read_exact(&mut buf[4..4 + rest]).await.unwrap()
                }
            }
        };
        let length = timeout(LIMIT, read).await.expect("no answer");
        buf.truncate(length);
        buf
    }

    async fn ask(
        &mut self,
        method: Method,
        write: impl for<'b> Fn(Encoder<'b>) -> Encoder<'b>,
    ) -> Vec<u8> {
        loop {
            self.ids += 1;
            let mut buf = [0; 1500];
            let id = TransactionId([self.ids; 12]);
            let encoder = write(Encoder::new(&mut buf, MessageClass::Request, method, id));
            let length = self.login.authenticate(encoder).finish().unwrap();
            self.send(&buf[..length]).await;
            let response = self.receive().await;
            let message = Message::parse(&response).unwrap();
            assert_eq!(message.transaction_id(), id);
            let code = message.error_code().map(|error| error.code());
            let is_challenge = matches!(code, Some(401 | 438));
            if !is_challenge || self.login.handle_challenge(&message) != LongTermStep::Retry {
                return response;
            }
        }
    }

    async fn allocate(&mut self) -> Result<Vec<SocketAddr>, u16> {
        let response = self.ask(Method::ALLOCATE, allocate).await;
        let message = Message::parse(&response).unwrap();
        match message.error_code() {
            Some(error) => Err(error.code()),
            None => {
                assert!(self.login.verify(&message).is_ok());
                assert_eq!(message.xor_mapped_address(), Some(self.address()));
                Ok(message.xor_relayed_addresses().collect())
            }
        }
    }

    async fn succeeds(
        &mut self,
        method: Method,
        write: impl for<'b> Fn(Encoder<'b>) -> Encoder<'b>,
    ) {
        let response = self.ask(method, write).await;
        let message = Message::parse(&response).unwrap();
        assert_eq!(message.class(), MessageClass::Success, "{:?}", message.error_code());
        assert!(self.login.verify(&message).is_ok());
    }
}

fn login(server: &TurnServer) -> LongTerm {
    LongTerm::new(server.username().as_bytes(), server.password().as_bytes()).unwrap()
}

fn allocate(encoder: Encoder<'_>) -> Encoder<'_> {
    encoder.u32(AttributeType::REQUESTED_TRANSPORT, 17 << 24)
}

async fn server() -> TurnServer {
    TurnServer::start(Options::new(LOCALHOST).unwrap()).await.unwrap()
}

async fn from(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buf = [0; 2000];
    let received = timeout(LIMIT, socket.recv_from(&mut buf)).await.expect("nothing arrives");
    let (length, from) = received.unwrap();
    (buf[..length].to_vec(), from)
}

#[tokio::test]
async fn a_binding_request_is_answered_with_the_address_it_came_from() {
    for ip in [LOCALHOST, IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let server = TurnServer::start(Options::new(ip).unwrap()).await.unwrap();
        for mut client in [Client::udp(&server).await, Client::tcp(&server).await] {
            let answer = client.ask(Method::BINDING, |encoder| encoder).await;
            let answer = Message::parse(&answer).unwrap();
            assert_eq!(answer.xor_mapped_address(), Some(client.address()));
        }
        assert_eq!((server.answered(), server.relays()), (2, 0));
    }
}

#[tokio::test]
async fn data_is_relayed_both_ways_in_indications_and_over_channels() {
    let server = server().await;
    for mut client in [Client::udp(&server).await, Client::tcp(&server).await] {
        let relay = client.allocate().await.unwrap()[0];
        assert_eq!(server.relays(), 1);
        let peer = UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
        let address = peer.local_addr().unwrap();
        client
            .succeeds(Method::CREATE_PERMISSION, |encoder| {
                encoder.xor_address(AttributeType::XOR_PEER_ADDRESS, address)
            })
            .await;
        // Who has no permission is not heard: what comes after it is the first to arrive.
        let stranger = UdpSocket::bind("127.0.0.2:0").await.unwrap();
        stranger.send_to(b"me too", relay).await.unwrap();
        peer.send_to(b"to you", relay).await.unwrap();
        let indication = client.receive().await;
        let indication = Message::parse(&indication).unwrap();
        assert_eq!((indication.method(), indication.data()), (Method::DATA, Some(&b"to you"[..])));
        assert_eq!(indication.xor_peer_address(), Some(address));

        let mut buf = [0; 200];
        let id = TransactionId([9; 12]);
        let encoder = Encoder::new(&mut buf, MessageClass::Indication, Method::SEND, id);
        let encoder = encoder.attribute(AttributeType::DATA, b"to peer");
        let encoder = encoder.xor_address(AttributeType::XOR_PEER_ADDRESS, address);
        let length = encoder.finish().unwrap();
        client.send(&buf[..length]).await;
        assert_eq!(from(&peer).await, (b"to peer".to_vec(), relay));

        client
            .succeeds(Method::CHANNEL_BIND, |encoder| {
                encoder
                    .u32(AttributeType::CHANNEL_NUMBER, 0x4000 << 16)
                    .xor_address(AttributeType::XOR_PEER_ADDRESS, address)
            })
            .await;
        // Of all lengths, since streams pad them.
        for text in ["four", "fives", "sixsix", "sevenup"] {
            let (text, length) = (text.as_bytes(), text.len());
            let mut message = [&[0x40, 0, 0, u8::try_from(length).unwrap()], text].concat();
            message.resize(message.len().next_multiple_of(4), 0);
            client.send(&message).await;
            assert_eq!(from(&peer).await, (text.to_vec(), relay));
            peer.send_to(text, relay).await.unwrap();
            let mut arrived = client.receive().await;
            arrived.truncate(4 + length);
            assert_eq!(arrived, message[..4 + length]);
        }
        client.succeeds(Method::REFRESH, |encoder| encoder.u32(AttributeType::LIFETIME, 0)).await;
        assert_eq!(server.relays(), 0);
    }
    assert!(server.relayed() >= 20);
}

#[tokio::test]
async fn credentials_are_drawn_for_each_server_and_needed() {
    let (one, other) = (server().await, server().await);
    assert!(one.username() != other.username() && one.password() != other.password());
    let mut client = Client::udp(&one).await;
    client.login = login(&other);
    assert_eq!(client.allocate().await, Err(401));
    client.login = LongTerm::new(one.username().as_bytes(), b"wrong").unwrap();
    assert_eq!(client.allocate().await, Err(401));
    client.login = login(&one);
    assert!(client.allocate().await.is_ok());
}

#[tokio::test]
async fn a_nonce_of_another_client_is_stale_and_soon_replaced() {
    let server = server().await;
    let (mut one, mut other) = (Client::udp(&server).await, Client::udp(&server).await);
    one.allocate().await.unwrap();
    other.login = one.login.clone();
    assert!(other.allocate().await.is_ok());
    // Also where the client got one of its own before.
    other.succeeds(Method::REFRESH, |encoder| encoder.u32(AttributeType::LIFETIME, 0)).await;
    other.login = one.login.clone();
    assert!(other.allocate().await.is_ok());
}

#[tokio::test]
async fn one_allocation_has_an_address_of_each_family_that_the_server_has() {
    let loopback = IpAddr::V6(Ipv6Addr::LOCALHOST);
    for (relays, wanted) in [
        (&[LOCALHOST, loopback][..], Ok((true, true))),
        (&[LOCALHOST], Ok((true, false))),
        (&[loopback], Ok((false, true))),
        (&[], Err(508)),
    ] {
        let options = Options { relays: relays.to_vec(), ..Options::new(LOCALHOST).unwrap() };
        let server = TurnServer::start(options).await.unwrap();
        let mut client = Client::udp(&server).await;
        let response = client.ask(Method::ALLOCATE, |encoder| {
            allocate(encoder).u32(AttributeType::ADDITIONAL_ADDRESS_FAMILY, 0x0200_0000)
        });
        let response = response.await;
        let response = Message::parse(&response).unwrap();
        let has =
            |family: fn(&SocketAddr) -> bool| response.xor_relayed_addresses().any(|a| family(&a));
        let given = match response.error_code() {
            Some(error) => Err(error.code()),
            None => Ok((has(SocketAddr::is_ipv4), has(SocketAddr::is_ipv6))),
        };
        assert_eq!(given, wanted);
        if given.is_ok() {
            client.succeeds(Method::REFRESH, |encoder| encoder).await;
        }
        assert_eq!(server.relays(), relays.len());
    }
}

#[tokio::test]
async fn relays_peers_and_paths_are_bounded() {
    let blocked: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let options = Options {
        max_relays: 1,
        filter: Some(Arc::new(move |_, peer| peer != blocked)),
        ..Options::new(LOCALHOST).unwrap()
    };
    let server = TurnServer::start(options).await.unwrap();
    let (mut one, mut other) = (Client::udp(&server).await, Client::tcp(&server).await);
    one.allocate().await.unwrap();
    assert_eq!(other.allocate().await, Err(508));
    for last in 1..=64 {
        let peer = SocketAddr::from(([192, 0, 2, last], 0));
        one.succeeds(Method::CREATE_PERMISSION, |encoder| {
            encoder.xor_address(AttributeType::XOR_PEER_ADDRESS, peer)
        })
        .await;
    }
    let mut buf = [0; 200];
    let id = TransactionId([99; 12]);
    let encoder = Encoder::new(&mut buf, MessageClass::Request, Method::CREATE_PERMISSION, id);
    let encoder = encoder.xor_address(AttributeType::XOR_PEER_ADDRESS, blocked);
    let length = one.login.authenticate(encoder).finish().unwrap();
    one.send(&buf[..length]).await;
    // What is answered next is the next request.
    one.succeeds(Method::REFRESH, |encoder| encoder.u32(AttributeType::LIFETIME, 0)).await;
    assert!(other.allocate().await.is_ok());
}

#[tokio::test]
async fn noise_of_any_kind_stops_nothing() {
    let server = server().await;
    let mut client = Client::udp(&server).await;
    client.allocate().await.unwrap();
    let mut noise = 1_u32;
    let mut octet = move || {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        noise.to_be_bytes()[0]
    };
    let methods = [0x0001, 0x0003, 0x0004, 0x0006, 0x0008, 0x0009, 0x000a, 0x000b, 0x0016];
    for round in 0..2_000_usize {
        let mut datagram: Vec<u8> = (0..usize::from(octet())).map(|_| octet()).collect();
        if round % 2 == 0 && datagram.len() >= 24 {
            let length = u16::try_from((datagram.len() - 20) & !3).unwrap();
            datagram.truncate(20 + usize::from(length));
            let method: u16 = methods[round / 2 % methods.len()];
            datagram[..2].copy_from_slice(&method.to_be_bytes());
            datagram[2..4].copy_from_slice(&length.to_be_bytes());
            datagram[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
        }
        client.send(&datagram).await;
        tokio::task::yield_now().await;
    }
    let mut other = Client::udp(&server).await;
    assert!(other.allocate().await.is_ok());
    let mut stream = Client::tcp(&server).await;
    stream.send(&[0xff; 64]).await;
    assert!(Client::tcp(&server).await.allocate().await.is_ok());
}

#[tokio::test]
async fn a_server_can_come_back_where_it_was() {
    let options = Options::new(LOCALHOST).unwrap();
    let (username, password) = (options.username.clone(), options.password.clone());
    let server = TurnServer::start(options).await.unwrap();
    let mut client = Client::udp(&server).await;
    client.allocate().await.unwrap();
    let listen = server.address();
    server.stop().await;
    let options = Options { listen, username, password, ..Options::new(LOCALHOST).unwrap() };
    let _server = TurnServer::start(options).await.unwrap();
    let refused = client.ask(Method::REFRESH, |encoder| encoder).await;
    let refused = Message::parse(&refused).unwrap();
    assert_eq!(refused.error_code().unwrap().code(), 437);
}
