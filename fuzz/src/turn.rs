//! Claims about a TURN client under a hostile server.

use core::ops::Range;
use std::net::SocketAddr;
use std::time::Duration;

use floe::stun::{AttributeType, Encoder, LongTerm, Message, MessageClass, Method, TransactionId};
use floe::turn::{Client, ClientConfig, Received};
use floe::{HEADROOM, Instant, MIN_TRANSMIT, TAILROOM, Transport};

use super::Input;

/// The most inputs of one script.
const MAX_OPS: usize = 300;
/// The most packets that one input may lead to: the requests that may be under way at a time, and
/// those that are repeated.
const MAX_PACKETS: usize = 24;

/// A client, and what its server knows.
struct World {
    client: Client,
    now: Instant,
    /// The last requests that the server got.
    asked: Vec<(Method, TransactionId)>,
    closed: bool,
}

/// Whatever a server says: a client sends little, comes to rest, has nothing to do before the
/// deadline that it tells, hands on nothing but what is in the datagram, and once it is closed asks
/// for the end of its allocation alone, and soon not even that.
pub fn turn_client(data: &[u8]) {
    let mut input = Input(data);
    let how = input.octet();
    let transports = [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Dtls];
    let Ok(credentials) = LongTerm::new(b"user", b"pass") else { return };
    let mut config = ClientConfig::new(transports[usize::from(how % 4)], credentials);
    config.dont_fragment = how & 4 != 0;
    config.max_peers = 8;
    let now = Instant::from_millis(1_000);
    let client = Client::new(now, config, [how; 32]);
    let mut world = World { client, now, asked: Vec::new(), closed: false };
    world.drain();
    for _ in 0..MAX_OPS {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
        world.drain();
    }
    world.end();
}

impl World {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.octet() % 16 {
            0 => self.receive(input.chunk()),
            1..=5 => self.answer(input),
            6 => self.data(input),
            7 => {
                let number = input.u16().to_be_bytes();
                let length = input.u16().to_be_bytes();
                self.receive(&[&number, &length, input.chunk()].concat());
            }
            8 => self.now += Duration::from_millis(u64::from(input.u16()) * 10),
            9 | 10 => self.now = self.client.poll_timeout().unwrap_or(self.now).max(self.now),
            11 => {
                let _ = self.client.permit(self.now, peer(input.octet()).ip());
            }
            12 => {
                let _ = self.client.bind_channel(self.now, peer(input.octet()));
            }
            13 => self.client.forget(peer(input.octet())),
            14 => self.frame(peer(input.octet()), input.chunk()),
            _ => match input.octet() {
                0 => self.end(),
                how => self.wake_early(how % 8),
            },
        }
    }

    /// Wakes the client before its time, some eighths of the way: nothing happens.
    fn wake_early(&mut self, eighths: u8) {
        let Some(deadline) = self.client.poll_timeout() else { return };
        let early = self.now + deadline.since(self.now) * u32::from(eighths) / 8;
        if early < deadline {
            self.now = early;
            self.nothing_happens();
            assert_eq!(self.client.poll_timeout(), Some(deadline), "a deadline that moved");
        }
    }

    /// There is nothing to do at this time.
    fn nothing_happens(&mut self) {
        let mut buf = [0; MIN_TRANSMIT];
        self.client.handle_timeout(self.now);
        assert_eq!(self.client.poll_transmit(self.now, &mut buf), None, "a packet too early");
        assert_eq!(self.client.poll_event(), None, "an event too early");
    }

    /// Closes the client: within a minute there is nothing left to wait for.
    fn end(&mut self) {
        self.client.close(self.now);
        self.closed = true;
        self.drain();
        let last = self.now + Duration::from_secs(60);
        while let Some(next) = self.client.poll_timeout() {
            assert!(next <= last, "waits for {next:?} after the close at {:?}", self.now);
            self.now = next;
            self.drain();
        }
    }

    /// Hands over a message; data that comes out of it lies in it.
    fn receive(&mut self, message: &[u8]) {
        if let Received::Data { data, .. } = self.client.handle_datagram(self.now, message) {
            let whole: Range<*const u8> = message.as_ptr_range();
            let part = data.as_ptr_range();
            assert!(whole.start <= part.start && part.end <= whole.end, "data from elsewhere");
        }
    }

    /// An answer to one of the last requests: sound, but for what the input wants otherwise.
    fn answer(&mut self, input: &mut Input<'_>) {
        let [which, how, what] = input.array();
        let Some(&(method, id)) = self.asked.iter().rev().nth(usize::from(which % 8)) else {
            return;
        };
        let code = 300 + input.u16() % 400;
        let class = if how & 1 == 0 { MessageClass::Success } else { MessageClass::Error };
        let mut buf = [0; 1500];
        let mut answer = Encoder::new(&mut buf, class, method, id);
        if how & 1 != 0 {
            answer = answer.error_code(code, "");
        }
        if how & 2 != 0 {
            answer = answer
                .attribute(AttributeType::REALM, b"floe.test")
                .attribute(AttributeType::NONCE, &[b'n', input.octet()]);
        }
        if how & 4 != 0 {
            let nonce = [&b"obMatJos2AAAD"[..], &[input.octet()]].concat();
            answer = answer
                .attribute(AttributeType::REALM, b"floe.test")
                .attribute(AttributeType::NONCE, &nonce)
                .attribute(AttributeType::PASSWORD_ALGORITHMS, &[0, 2, 0, 0, 0, 1, 0, 0]);
        }
        if what & 1 != 0 {
            answer = answer
                .xor_address(AttributeType::XOR_MAPPED_ADDRESS, peer(0x17))
                .xor_address(AttributeType::XOR_RELAYED_ADDRESS, peer(0x14))
                .xor_address(AttributeType::XOR_RELAYED_ADDRESS, peer(0x15));
        }
        if what & 2 != 0 {
            answer = answer.u32(AttributeType::LIFETIME, input.u32());
        }
        if what & 4 != 0 {
            answer = answer.address(AttributeType::ALTERNATE_SERVER, peer(input.octet()));
        }
        if what & 8 != 0 {
            answer = answer.unknown_attributes(input.chunk().iter().map(|&low| {
                AttributeType(if low & 0x80 == 0 { low.into() } else { 0x8000 | u16::from(low) })
            }));
        }
        if what & 16 != 0 {
            answer = answer.attribute(AttributeType(input.u16()), input.chunk());
        }
        if what & 32 == 0
            && let Some(key) = self.client.credentials().key()
        {
            answer = answer.integrity(key);
        }
        if let Ok(length) = answer.finish() {
            self.receive(&buf[..length]);
        }
    }

    /// A Data indication.
    fn data(&mut self, input: &mut Input<'_>) {
        let [how, from] = input.array();
        let mut buf = [0; 1500];
        let id = TransactionId([how; 12]);
        let mut data = Encoder::new(&mut buf, MessageClass::Indication, Method::DATA, id);
        if how & 1 == 0 {
            data = data.xor_address(AttributeType::XOR_PEER_ADDRESS, peer(from));
        }
        if how & 2 == 0 {
            data = data.attribute(AttributeType::DATA, input.chunk());
        }
        if how & 4 != 0 {
            data = data.attribute(AttributeType::ICMP, input.chunk());
        }
        if let Ok(length) = data.finish() {
            self.receive(&buf[..length]);
        }
    }

    /// What is framed for a peer holds the payload, and fits.
    fn frame(&mut self, to: SocketAddr, payload: &[u8]) {
        let Some(framing) = self.client.framing(to) else { return };
        let mut buf = vec![0x55; HEADROOM + payload.len() + TAILROOM];
        let place = HEADROOM..HEADROOM + payload.len();
        buf[place.clone()].copy_from_slice(payload);
        let range = framing.frame(&mut buf, place.clone()).expect("there is room");
        assert!(range.start < place.start && range.end >= place.end, "a header, and no less");
        assert_eq!(&buf[place], payload, "the payload stays where it is");
        if let Ok(message) = Message::parse(&buf[range]) {
            assert_eq!(message.xor_peer_address(), Some(to), "to the peer");
            assert_eq!(message.data(), Some(payload), "all of it");
        }
    }

    fn drain(&mut self) {
        let mut packets = self.poll();
        self.client.handle_timeout(self.now);
        packets += self.poll();
        assert!(packets <= MAX_PACKETS, "{packets} packets");
        let deadline = self.client.poll_timeout();
        assert!(deadline.is_none_or(|at| at > self.now), "a deadline that has passed");
        self.nothing_happens();
    }

    fn poll(&mut self) -> usize {
        let mut buf = [0; MIN_TRANSMIT];
        let mut packets = 0;
        let due = self.client.poll_timeout().is_some_and(|at| at <= self.now);
        while let Some(length) = self.client.poll_transmit(self.now, &mut buf) {
            assert!(due, "a packet that no deadline told of");
            let request = Message::parse(&buf[..length]).expect("what is written is read");
            let method = request.method();
            assert!(!self.closed || method == Method::REFRESH, "{method:?} after the close");
            self.asked.push((request.method(), request.transaction_id()));
            packets += 1;
            assert!(packets <= MAX_PACKETS, "{packets} packets");
        }
        let excess = self.asked.len().saturating_sub(8);
        self.asked.drain(..excess);
        while self.client.poll_event().is_some() {}
        packets
    }
}

/// One of a few peers of both families; the port is 0 of every fourth.
fn peer(number: u8) -> SocketAddr {
    let port = u16::from(number & 12) * 100;
    let last = number >> 4;
    if number & 1 == 0 {
        SocketAddr::from(([192, 0, 2, last], port))
    } else {
        SocketAddr::from(([0x2001, 0xDB8, 0, 0, 0, 0, 0, last.into()], port))
    }
}
