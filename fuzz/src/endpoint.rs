//! Claims about an endpoint under hostile input.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use floe::candidate::{Candidate, Credentials};
use floe::config::{AgentConfig, CandidatePolicy, EndpointConfig, Role};
use floe::sdp::Description;
use floe::stun::{
    AttributeType, Encoder, IntegrityKey, LongTerm, Message, MessageClass, Method, TransactionId,
};
use floe::{
    AgentId, ComponentId, Connect, Endpoint, HEADROOM, Instant, MIN_TRANSMIT, Server, Socket,
    SocketId, TAILROOM, Transport,
};

use super::Input;

/// The most inputs of one script.
const MAX_OPS: usize = 200;
/// Polls that one input may lead to before the endpoint counts as running wild.
const MAX_POLLS: usize = 2_000;
/// The credentials of the peer.
const PEER: (&str, &str) = ("peer", "the+password+of+the+peer");
/// The credentials at the TURN server, its realm, and which place is its own.
const USER: (&str, &str) = ("user", "pass");
const REALM: &[u8] = b"floe.test";
const TURN: u8 = 5;

/// An endpoint of one agent, its TURN server, and what an attacker who sees the wire knows.
struct World {
    endpoint: Endpoint,
    agent: AgentId,
    socket: SocketId,
    now: Instant,
    /// Transaction and destination of the last request that was sent, directly or over a relay.
    asked: Option<(TransactionId, SocketAddr)>,
    /// The connection to the TURN server, or the socket if it is asked over UDP.
    via: Option<SocketId>,
    /// Method and transaction of the last request that the TURN server got.
    served: Option<(Method, TransactionId)>,
    /// Whether what comes next comes over the relay.
    relayed: bool,
}

/// Whatever comes, and whenever: after each input an endpoint comes to rest, and its next deadline
/// is then later than now.
pub fn endpoint_input(data: &[u8]) {
    let mut input = Input(data);
    let mut world = World::new(input.octet());
    world.drain();
    for _ in 0..MAX_OPS {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
        world.drain();
    }
}

impl World {
    fn new(how: u8) -> Self {
        let now = Instant::from_millis(1_000);
        let mut endpoint = Endpoint::new(now, Arc::new(EndpointConfig::default()), [how; 32]);
        let socket = endpoint.add_socket(now, Socket::udp(place(0)));
        let role = if how & 1 == 0 { Role::Controlling } else { Role::Controlled };
        let transport = match how & 12 {
            4 => Some(Transport::Udp),
            8 => Some(Transport::Tcp),
            _ => None,
        };
        let credentials = LongTerm::new(USER.0.as_bytes(), USER.1.as_bytes());
        if let (Some(transport), Ok(credentials)) = (transport, credentials) {
            endpoint.add_server(now, Server::turn(place(TURN), transport, credentials));
        }
        let mut config = AgentConfig::new(role);
        if how & 16 != 0 {
            config.policy = CandidatePolicy::Relay;
        }
        let agent = endpoint.add_agent(now, config);
        let via = (transport == Some(Transport::Udp)).then_some(socket);
        let (asked, served, relayed) = (None, None, false);
        let mut world = Self { endpoint, agent, socket, now, asked, via, served, relayed };
        if how & 2 == 0 {
            world.describe("candidate:1 1 udp 2130706431 192.0.2.2 5002 typ host");
        }
        world
    }

    /// Hands over the description of the peer with one candidate.
    fn describe(&mut self, line: &str) {
        let (ufrag, password) = PEER;
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-options:trickle ice2\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n\
             a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\na={line}\r\n"
        );
        let Ok(description) = Description::parse(&sdp) else { return };
        if let Some(mut agent) = self.endpoint.agent_mut(self.now, self.agent) {
            // A second offer may well be refused.
            let _ = agent.set_remote_description(&description);
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let kind = input.octet();
        let from = place(kind >> 4);
        match kind % 16 {
            0 | 1 => self.receive(from, input.chunk()),
            2..=5 => self.check(from, input),
            6 | 7 => self.answer(input),
            9 if self.via.is_some() => self.serve(input),
            8 => self.pass(Duration::from_millis(u64::from(input.u16()))),
            9 | 10 => self.wake(),
            11 => self.trickle(input.chunk()),
            12 => self.describe(&String::from_utf8_lossy(input.chunk())),
            13 => self.send(input.chunk()),
            14 => self.endpoint.handle_unreachable(self.now, self.socket, from),
            _ => self.command(input.octet()),
        }
    }

    fn receive(&mut self, from: SocketAddr, datagram: &[u8]) {
        if let (Some(via), true) = (self.via, self.relayed) {
            let mut buf = [0; 2048];
            let id = TransactionId([7; 12]);
            let length = Encoder::new(&mut buf, MessageClass::Indication, Method::DATA, id)
                .xor_address(AttributeType::XOR_PEER_ADDRESS, from)
                .attribute(AttributeType::DATA, datagram)
                .finish();
            if let Ok(length) = length {
                let octets = &buf[..length];
                let _ = self.endpoint.handle_datagram(self.now, via, place(TURN), octets);
            }
            return;
        }
        let _ = self.endpoint.handle_datagram(self.now, self.socket, from, datagram);
    }

    /// A check of the peer: sound, but for what the input wants otherwise.
    fn check(&mut self, from: SocketAddr, input: &mut Input<'_>) {
        let Some(local) = self.local() else { return };
        let [how, what] = input.array();
        let class = if how & 1 == 0 { MessageClass::Request } else { MessageClass::Indication };
        let method = if how & 2 == 0 { Method::BINDING } else { Method::ALLOCATE };
        let mut buf = [0; 1500];
        let mut check = Encoder::new(&mut buf, class, method, TransactionId(input.array()))
            .username(&[local.ufrag.as_bytes(), PEER.0.as_bytes()]);
        if how & 4 == 0 {
            check = check.u32(AttributeType::PRIORITY, input.u32());
        }
        check = match what % 4 {
            0 => check.u64(AttributeType::ICE_CONTROLLING, u64::from_be_bytes(input.array())),
            1 => check.u64(AttributeType::ICE_CONTROLLED, u64::from_be_bytes(input.array())),
            _ => check,
        };
        if what & 4 != 0 {
            check = check.flag(AttributeType::USE_CANDIDATE);
        }
        if what & 8 != 0 {
            check = check.attribute(AttributeType(input.u16()), input.chunk());
        }
        let password = if how & 8 == 0 { local.password.as_str() } else { PEER.1 };
        let Some(length) = seal(check, password, how) else { return };
        damage(&mut buf[..length], how, input.octet());
        self.receive(from, &buf[..length]);
    }

    /// An answer to the last request: sound, but for what the input wants otherwise.
    fn answer(&mut self, input: &mut Input<'_>) {
        let Some((id, to)) = self.asked else { return };
        let [how, what] = input.array();
        let from = if how & 1 == 0 { to } else { place(what) };
        let class = if how & 2 == 0 { MessageClass::Success } else { MessageClass::Error };
        let mut buf = [0; 1500];
        let mut answer = Encoder::new(&mut buf, class, Method::BINDING, id);
        if class == MessageClass::Error {
            let code = [400, 401, 420, 438, 487, 500, 300 + u16::from(what)];
            answer = answer.error_code(code[usize::from(what) % code.len()], "no");
        }
        if how & 4 == 0 {
            answer = answer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, place(what >> 4));
        }
        if what & 8 != 0 {
            answer = answer.attribute(AttributeType(input.u16()), input.chunk());
        }
        let password = if how & 8 == 0 { PEER.1 } else { "something else altogether" };
        let Some(length) = seal(answer, password, how) else { return };
        damage(&mut buf[..length], how, input.octet());
        self.receive(from, &buf[..length]);
    }

    /// The TURN server answers its last request, soundly but for what the input wants otherwise;
    /// or from now on the peer is heard over the relay, or not.
    fn serve(&mut self, input: &mut Input<'_>) {
        let [how, what] = input.array();
        let (Some(via), Some((method, id))) = (self.via, self.served) else { return };
        if how & 128 != 0 {
            self.relayed = !self.relayed;
            return;
        }
        let code = [401, 438, 437, 300, 403, 486, 508, 400][usize::from(what) % 8];
        let class = if how & 1 == 0 { MessageClass::Success } else { MessageClass::Error };
        let mut buf = [0; 1500];
        let mut answer = Encoder::new(&mut buf, class, method, id);
        if class == MessageClass::Error {
            answer = answer
                .error_code(code, "no")
                .attribute(AttributeType::REALM, REALM)
                .attribute(AttributeType::NONCE, &[b'n', what >> 3])
                .address(AttributeType::ALTERNATE_SERVER, place(what >> 3));
        } else {
            answer = answer
                .xor_address(AttributeType::XOR_MAPPED_ADDRESS, place(what))
                .xor_address(AttributeType::XOR_RELAYED_ADDRESS, place(what >> 4))
                .u32(AttributeType::LIFETIME, input.u16().into());
        }
        if how & 2 == 0 {
            let (user, password) = (USER.0.as_bytes(), USER.1.as_bytes());
            answer = answer.integrity(&IntegrityKey::long_term_md5(user, REALM, password));
        }
        let Ok(length) = answer.finish() else { return };
        damage(&mut buf[..length], how, input.octet());
        let _ = self.endpoint.handle_datagram(self.now, via, place(TURN), &buf[..length]);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Sleeps until the endpoint wants to be woken.
    fn wake(&mut self) {
        self.now = self.endpoint.poll_timeout().unwrap_or(self.now).max(self.now);
    }

    fn trickle(&mut self, line: &[u8]) {
        let Some(mut agent) = self.endpoint.agent_mut(self.now, self.agent) else { return };
        let Ok(line) = core::str::from_utf8(line) else { return };
        if let Ok(candidate) = line.parse::<Candidate>() {
            // It may well be refused.
            let _ = agent.add_remote_candidate(0, None, &candidate);
        }
    }

    fn send(&mut self, payload: &[u8]) {
        let mut buf = [0; HEADROOM + 255 + TAILROOM];
        let range = HEADROOM..HEADROOM + payload.len();
        buf[range.clone()].copy_from_slice(payload);
        if let Ok(route) = self.endpoint.route(self.now, self.agent, ComponentId::FIRST) {
            let transmit = route.frame(&mut buf, range.clone()).expect("there is room");
            assert_eq!(&buf[range], payload, "the payload was changed");
            assert!(transmit.range.end <= buf.len(), "a packet beyond the buffer");
        }
    }

    fn command(&mut self, which: u8) {
        let Some(mut agent) = self.endpoint.agent_mut(self.now, self.agent) else { return };
        match which % 8 {
            0..=2 => agent.restart(),
            3 | 4 => {
                let _ = agent.end_of_remote_candidates(None, None);
            }
            5 => agent.close(),
            6 => {
                self.endpoint.remove_socket(self.now, self.socket);
            }
            _ => {
                self.socket = self.endpoint.add_socket(self.now, Socket::udp(place(which >> 4)));
            }
        }
    }

    fn local(&self) -> Option<Credentials> {
        let description = self.endpoint.agent(self.agent)?.local_description();
        description.streams.first()?.credentials.clone()
    }

    /// Notes what was sent: to a peer, or to the TURN server, for itself or for a peer.
    fn note(&mut self, to: SocketAddr, octets: &[u8]) {
        if to == place(TURN) && (64..80).contains(&octets[0]) {
            let length = usize::from(u16::from_be_bytes([octets[2], octets[3]]));
            Message::parse(&octets[4..4 + length]).expect("what is relayed can be read");
            return;
        }
        let sent = Message::parse(octets).expect("what is sent can be read");
        let id = sent.transaction_id();
        match (sent.class(), sent.method()) {
            (MessageClass::Request, Method::BINDING) => self.asked = Some((id, to)),
            (MessageClass::Request, method) => self.served = Some((method, id)),
            (MessageClass::Indication, Method::SEND) => {
                let (peer, data) = (sent.xor_peer_address(), sent.data());
                let (Some(peer), Some(data)) = (peer, data) else { panic!("nothing to relay") };
                let inner = Message::parse(data).expect("what is relayed can be read");
                if inner.class() == MessageClass::Request {
                    self.asked = Some((inner.transaction_id(), peer));
                }
            }
            _ => {}
        }
    }

    fn drain(&mut self) {
        self.endpoint.handle_timeout(self.now);
        let mut buf = [0; MIN_TRANSMIT];
        let mut polls = 0;
        loop {
            while let Some(transmit) = self.endpoint.poll_transmit(self.now, &mut buf) {
                polls += 1;
                assert!(polls < MAX_POLLS, "packets without end");
                self.note(transmit.to, &buf[transmit.range]);
            }
            let Some(connect) = self.endpoint.poll_connect() else { break };
            polls += 1;
            assert!(polls < MAX_POLLS, "connections without end");
            if let Connect::Open { id, from, .. } = connect {
                let local = SocketAddr::new(from, 7000);
                let socket = self.endpoint.handle_connected(self.now, id, Ok(local));
                self.via = socket.or(self.via);
            }
        }
        while self.endpoint.poll_event().is_some() {
            polls += 1;
            assert!(polls < MAX_POLLS, "events without end");
        }
        let next = self.endpoint.poll_timeout();
        assert!(
            next.is_none_or(|next| next > self.now),
            "due at {next:?}, drained at {:?}",
            self.now
        );
    }
}

/// Seals a message unless the input wants it otherwise; returns its length.
fn seal(mut message: Encoder<'_>, password: &str, how: u8) -> Option<usize> {
    if how & 16 == 0 {
        message = message.integrity(&IntegrityKey::short_term(password.as_bytes()));
    }
    if how & 32 == 0 {
        message = message.fingerprint();
    }
    message.finish().ok()
}

/// Damages one octet if the input wants it.
fn damage(datagram: &mut [u8], how: u8, at: u8) {
    let at = usize::from(at) % datagram.len();
    if how & 64 != 0 {
        datagram[at] ^= 1;
    }
}

/// One of sixteen addresses; 0 is our own.
fn place(number: u8) -> SocketAddr {
    let number = number % 16;
    if number < 12 {
        SocketAddr::from(([192, 0, 2, 1 + number], 5001 + u16::from(number)))
    } else {
        SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()], 5001))
    }
}
