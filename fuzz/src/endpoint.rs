//! Claims about an endpoint under hostile input.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use floe::candidate::{Candidate, Credentials};
use floe::config::{
    AgentConfig, CandidatePolicy, CheckBackoff, ConsentMode, EndpointConfig, Mode, Role,
};
use floe::sdp::Description;
use floe::stun::{
    AttributeType, Encoder, IntegrityKey, LongTerm, Message, MessageClass, Method, TransactionId,
};
use floe::{
    AgentId, ComponentId, Connect, Endpoint, HEADROOM, Instant, MIN_TRANSMIT, Received, Server,
    Socket, SocketId, TAILROOM, Transport,
};

use super::Input;
use super::watch::Watch;

/// The most inputs of one script.
const MAX_OPS: usize = 200;
/// Polls that one input may lead to before the endpoint counts as running wild.
const MAX_POLLS: usize = 2_000;
/// The credentials at the TURN server, its realm, and which place is its own.
const USER: (&str, &str) = ("user", "pass");
const REALM: &[u8] = b"floe.test";
const TURN: u8 = 5;

/// An endpoint of one agent, its TURN server, and what an attacker who sees the wire knows.
struct World {
    endpoint: Endpoint,
    agent: AgentId,
    socket: SocketId,
    sockets: BTreeMap<SocketAddr, SocketId>,
    now: Instant,
    watch: Watch,
    /// Our credentials, newest last.
    locals: Vec<Credentials>,
    /// How often the peer restarted.
    generation: u8,
    closed: bool,
    /// The connection to the TURN server, or the socket if it is asked over UDP.
    via: Option<SocketId>,
    /// Method and transaction of the last request that the TURN server got.
    served: Option<(Method, TransactionId)>,
    /// Whether what comes next comes over the relay.
    relayed: bool,
}

/// Whatever comes, and whenever: after each input an endpoint comes to rest, its next deadline is
/// then later than now, and until then there is nothing to do; it keeps the promises of [`Watch`];
/// and once it is closed it falls silent.
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
    world.end();
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
        if how & 32 != 0 {
            config.streams = vec![2];
        }
        if how & 64 != 0 {
            config.mode = Mode::Lite;
        }
        if how & 128 != 0 {
            config.consent = ConsentMode::Strict;
            config.check_backoff = CheckBackoff::Rfc;
        }
        let watch = Watch::new(&config);
        let agent = endpoint.add_agent(now, config);
        let via = (transport == Some(Transport::Udp)).then_some(socket);
        let (locals, generation, closed) = (Vec::new(), 0, false);
        let (served, relayed) = (None, false);
        let mut world = Self {
            endpoint,
            agent,
            socket,
            sockets: BTreeMap::from([(place(0), socket)]),
            now,
            watch,
            locals,
            generation,
            closed,
            via,
            served,
            relayed,
        };
        if how & 2 == 0 {
            world.describe("candidate:1 1 udp 2130706431 192.0.2.2 5002 typ host");
        }
        world
    }

    /// Hands over the description of the peer with one candidate.
    fn describe(&mut self, line: &str) {
        let Credentials { ufrag, password } = peer(self.generation);
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
        let Some(agent) = self.endpoint.agent(self.agent) else { return };
        // What these say is the tests' to look at: here, that they can be made.
        let _ = (agent.subsequent_offer(), agent.subsequent_answer(&description));
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let kind = input.octet();
        let from = place(kind >> 4);
        match kind % 16 {
            0 => self.receive(from, false, input.chunk()),
            1 => self.packet(from, input),
            2..=5 => self.check(from, input),
            6 | 7 => self.answer(input),
            9 if self.via.is_some() => self.serve(input),
            8 => self.pass(Duration::from_millis(u64::from(input.u16()))),
            9 | 10 => self.wake(),
            11 => self.trickle(input.chunk()),
            12 => self.describe(&String::from_utf8_lossy(input.chunk())),
            13 => self.send(input.chunk()),
            14 => self.endpoint.handle_unreachable(self.now, self.socket, from),
            _ => self.command(input.octet(), input),
        }
    }

    /// Hands over what comes from a peer, directly or over the relay; `sealed` if it was made with
    /// a password that is known.
    fn receive(&mut self, from: SocketAddr, sealed: bool, datagram: &[u8]) {
        let mut buf = [0; 2048];
        let path = (self.relayed && self.via.is_some(), from);
        let to = self.sockets.iter().find(|(_, socket)| **socket == self.socket);
        if !path.0 && to.is_some_and(|(to, _)| to.is_ipv4() != from.is_ipv4()) {
            // No network brings a packet to an address of another family.
            return;
        }
        self.watch.delivered(self.now, path, sealed, datagram);
        let received = if let (Some(via), true) = (self.via, self.relayed) {
            let id = TransactionId([7; 12]);
            let length = Encoder::new(&mut buf, MessageClass::Indication, Method::DATA, id)
                .xor_address(AttributeType::XOR_PEER_ADDRESS, from)
                .attribute(AttributeType::DATA, datagram)
                .finish();
            let Ok(length) = length else { return };
            self.endpoint.handle_datagram(self.now, via, place(TURN), &buf[..length])
        } else {
            self.endpoint.handle_datagram(self.now, self.socket, from, datagram)
        };
        if let Received::Data { agent, data, .. } = received {
            assert_eq!(agent, self.agent, "data for nobody");
            assert!(!data.is_empty() && data.len() <= datagram.len(), "more data than came");
            self.watch.data_delivered(path);
        }
    }

    /// A check of the peer: sound, but for what the input wants otherwise.
    fn check(&mut self, from: SocketAddr, input: &mut Input<'_>) {
        let Some(local) = self.local() else { return };
        let [how, what] = input.array();
        let class = if how & 1 == 0 { MessageClass::Request } else { MessageClass::Indication };
        let method = if how & 2 == 0 { Method::BINDING } else { Method::ALLOCATE };
        let mut buf = [0; 1500];
        let mut check = Encoder::new(&mut buf, class, method, TransactionId(input.array()))
            .username(&[local.ufrag.as_bytes(), peer(self.generation).ufrag.as_bytes()]);
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
        let password = if how & 8 == 0 { local.password } else { peer(self.generation).password };
        let Some(length) = seal(check, &password, how) else { return };
        damage(&mut buf[..length], how, input.octet());
        self.receive(from, true, &buf[..length]);
    }

    /// An answer to the last request: sound, but for what the input wants otherwise.
    fn answer(&mut self, input: &mut Input<'_>) {
        let Some(&(id, (_, to))) = self.watch.asked.last() else { return };
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
        let known = peer(self.generation).password;
        let password = if how & 8 == 0 { &known } else { "something else altogether" };
        let Some(length) = seal(answer, password, how) else { return };
        damage(&mut buf[..length], how, input.octet());
        self.receive(from, how & 8 == 0, &buf[..length]);
    }

    /// A message of any sort: of any class, for any transaction, with any attributes, sealed with
    /// what belongs to this generation, to another one, to the other side or to nobody, with
    /// attributes after the seal and a length that is not true.
    fn packet(&mut self, from: SocketAddr, input: &mut Input<'_>) {
        let [what, which, seal, attributes] = input.array();
        let class = [
            MessageClass::Request,
            MessageClass::Success,
            MessageClass::Error,
            MessageClass::Indication,
        ][usize::from(what % 4)];
        let method = match what >> 2 & 3 {
            0 | 1 => Method::BINDING,
            2 => Method::ALLOCATE,
            _ => Method::new(input.u16() & 0xFFF).unwrap_or(Method::BINDING),
        };
        let asked = self.watch.asked.iter().rev().nth(usize::from(which >> 4));
        let (id, to) = match (which % 4, asked) {
            (0..=2, Some(&(id, (_, to)))) => (id, to),
            (3, _) => (TransactionId(input.array()), from),
            _ => (TransactionId([0; 12]), from),
        };
        let from = if which & 12 == 0 { to } else { from };
        let old = |generation: u8| generation.saturating_sub(u8::from(what & 32 != 0));
        let theirs = peer(old(self.generation));
        let ours = if what & 64 != 0 { self.locals.iter().rev().nth(1) } else { None };
        let Some(ours) = ours.cloned().or_else(|| self.local()) else { return };
        let mut buf = [0; 2048];
        let mut message = Encoder::new(&mut buf, class, method, id);
        if what & 16 == 0 {
            message = message.username(&[ours.ufrag.as_bytes(), theirs.ufrag.as_bytes()]);
        }
        for _ in 0..attributes % 12 {
            message = attribute(message, input);
        }
        let asks = matches!(class, MessageClass::Request | MessageClass::Indication);
        let password = match seal & 7 {
            1 if asks => theirs.password,
            1 => ours.password,
            2 => "something else altogether".into(),
            _ if asks => ours.password,
            _ => theirs.password,
        };
        message = match seal & 7 {
            3 => message,
            4 => message.integrity(&IntegrityKey::short_term_sha256(password.as_bytes())),
            _ => message.integrity(&IntegrityKey::short_term(password.as_bytes())),
        };
        for _ in 0..attributes >> 6 {
            message = attribute(message, input);
        }
        if seal & 8 == 0 {
            message = message.fingerprint();
        }
        let Ok(length) = message.finish() else { return };
        let octets = &mut buf[..length];
        damage(octets, seal, input.octet());
        if seal & 16 != 0 {
            octets[3] = octets[3].wrapping_add(input.octet());
        }
        self.receive(from, seal & 7 != 2, octets);
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
            assert!(!self.closed, "a route after the close");
            let transmit = route.frame(&mut buf, range.clone()).expect("there is room");
            assert_eq!(&buf[range.clone()], payload, "the payload was changed");
            assert!(transmit.range.end <= buf.len(), "a packet beyond the buffer");
            if transmit.range == range {
                self.watch.data_sent(self.now, (false, transmit.to));
            } else if let Ok(indication) = Message::parse(&buf[transmit.range]) {
                let peer = indication.xor_peer_address().expect("data to somebody");
                self.watch.data_sent(self.now, (true, peer));
            }
        }
    }

    fn command(&mut self, which: u8, input: &mut Input<'_>) {
        if which & 0x80 != 0 {
            match which % 8 {
                0..=2 => {
                    // The peer restarts.
                    self.generation = self.generation.saturating_add(1);
                    self.describe(&String::from_utf8_lossy(input.chunk()));
                }
                3..=5 => self.wake_early(which >> 4 & 7),
                6 => self.end(),
                _ => {
                    if let Some(via) = self.via {
                        self.endpoint.handle_disconnected(self.now, via);
                    }
                }
            }
            return;
        }
        let Some(mut agent) = self.endpoint.agent_mut(self.now, self.agent) else { return };
        match which % 8 {
            0..=2 => agent.restart(),
            3 => {
                let _ = agent.end_of_remote_candidates(None, None);
            }
            4 => {
                let Credentials { ufrag, .. } = peer(self.generation);
                let _ = agent.end_of_remote_candidates(None, Some(&ufrag));
            }
            5 => {
                agent.close();
                self.closed = true;
            }
            6 => {
                self.endpoint.remove_socket(self.now, self.socket);
                self.sockets.retain(|_, socket| *socket != self.socket);
            }
            _ => {
                // One address has one socket at most.
                let address = place(which >> 4);
                let (endpoint, now) = (&mut self.endpoint, self.now);
                let add = || endpoint.add_socket(now, Socket::udp(address));
                self.socket = *self.sockets.entry(address).or_insert_with(add);
            }
        }
    }

    /// Wakes the endpoint before its time, some eighths of the way: nothing happens.
    fn wake_early(&mut self, eighths: u8) {
        let Some(deadline) = self.endpoint.poll_timeout() else { return };
        let early = self.now + deadline.since(self.now) * u32::from(eighths) / 8;
        if early >= deadline {
            return;
        }
        self.now = early;
        self.nothing_happens();
        assert_eq!(self.endpoint.poll_timeout(), Some(deadline), "a deadline that moved");
    }

    /// There is nothing to do at this time.
    fn nothing_happens(&mut self) {
        let mut buf = [0; MIN_TRANSMIT];
        self.endpoint.handle_timeout(self.now);
        assert!(self.endpoint.poll_transmit(self.now, &mut buf).is_none(), "a packet too early");
        assert!(self.endpoint.poll_connect().is_none(), "a connection too early");
        assert_eq!(self.endpoint.poll_event(), None, "an event too early");
    }

    /// Closes all: within a minute there is nothing left to wait for.
    fn end(&mut self) {
        self.endpoint.close(self.now);
        self.closed = true;
        self.drain();
        let last = self.now + Duration::from_secs(60);
        while let Some(next) = self.endpoint.poll_timeout() {
            assert!(next <= last, "waits for {next:?} after the close at {:?}", self.now);
            self.now = next;
            self.drain();
        }
    }

    fn local(&self) -> Option<Credentials> {
        let description = self.endpoint.agent(self.agent)?.local_description();
        description.streams.first()?.credentials.clone()
    }

    /// Notes what was sent: to a peer, or to the TURN server, for itself or for a peer.
    fn note(&mut self, to: SocketAddr, octets: &[u8]) {
        self.watch.sent += 1;
        if to == place(TURN) && (64..80).contains(&octets[0]) {
            let length = usize::from(u16::from_be_bytes([octets[2], octets[3]]));
            Message::parse(&octets[4..4 + length]).expect("what is relayed can be read");
            return;
        }
        let sent = Message::parse(octets).expect("what is sent can be read");
        match (sent.class(), sent.method()) {
            (_, Method::BINDING) => self.watch.sent((false, to), octets),
            (MessageClass::Request, method) => {
                assert!(!self.closed || method == Method::REFRESH, "{method:?} after the close");
                self.served = Some((method, sent.transaction_id()));
            }
            (MessageClass::Indication, Method::SEND) => {
                let (peer, data) = (sent.xor_peer_address(), sent.data());
                let (Some(peer), Some(data)) = (peer, data) else { panic!("nothing to relay") };
                self.watch.sent((true, peer), data);
            }
            _ => panic!("{sent:?} is nothing that an agent says"),
        }
    }

    fn drain(&mut self) {
        self.endpoint.handle_timeout(self.now);
        self.poll();
        self.nothing_happens();
        let next = self.endpoint.poll_timeout();
        assert!(
            next.is_none_or(|next| next > self.now),
            "due at {next:?}, drained at {:?}",
            self.now
        );
        assert_eq!(self.endpoint.stats().stun_sent, self.watch.sent, "packets are not counted");
        let Some(local) = self.local() else { return };
        if self.locals.last() != Some(&local) {
            self.locals.push(local);
            self.watch.restarted();
        }
        if let Some(agent) = self.endpoint.agent(self.agent) {
            let controlling = agent.role() == Role::Controlling;
            self.watch.tables(agent.state(), controlling, &agent.stats());
        }
    }

    /// Takes all that there is to take; whatever that is, a deadline told of it.
    fn poll(&mut self) {
        let mut buf = [0; MIN_TRANSMIT];
        let mut polls = 0;
        loop {
            let due = self.endpoint.poll_timeout().is_some_and(|at| at <= self.now);
            while let Some(transmit) = self.endpoint.poll_transmit(self.now, &mut buf) {
                polls += 1;
                assert!(polls < MAX_POLLS, "packets without end");
                assert!(due, "a packet that no deadline told of");
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
        while let Some(event) = self.endpoint.poll_event() {
            polls += 1;
            assert!(polls < MAX_POLLS, "events without end");
            self.watch.event(self.agent, &event);
        }
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

/// Adds an attribute with a value that makes sense, or any.
fn attribute<'b>(message: Encoder<'b>, input: &mut Input<'_>) -> Encoder<'b> {
    let kind = input.octet();
    let tie = |input: &mut Input<'_>| u64::from_be_bytes(input.array());
    match kind % 12 {
        0 => message.u32(AttributeType::PRIORITY, input.u32()),
        1 => message.u64(AttributeType::ICE_CONTROLLING, tie(input)),
        2 => message.u64(AttributeType::ICE_CONTROLLED, tie(input)),
        3 => message.flag(AttributeType::USE_CANDIDATE),
        4 => message.u32(AttributeType::NOMINATION, input.u16().into()),
        5 => message.xor_address(AttributeType::XOR_MAPPED_ADDRESS, place(kind >> 4)),
        6 => {
            message.error_code([487, 400, 401, 420, 438, 403, 500, 300][usize::from(kind >> 5)], "")
        }
        7 => message.unknown_attributes([AttributeType::USE_CANDIDATE, AttributeType(input.u16())]),
        8 => message.attribute(AttributeType::USERNAME, input.chunk()),
        9 => message.attribute(AttributeType::SOFTWARE, input.chunk()),
        10 => message.address(AttributeType::ALTERNATE_SERVER, place(kind >> 4)),
        _ => message.attribute(AttributeType(input.u16()), input.chunk()),
    }
}

/// The credentials of the peer after some restarts.
fn peer(generation: u8) -> Credentials {
    let number = if generation == 0 { String::new() } else { generation.to_string() };
    Credentials {
        ufrag: format!("peer{number}"),
        password: format!("the+password+of+the+peer{number}"),
    }
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
