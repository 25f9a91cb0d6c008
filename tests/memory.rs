//! Memory is bounded under any flood, and flat over any number of restarts. The heap is counted by
//! the allocator; `FLOE_FLOOD` and `FLOE_RESTARTS` make the runs longer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use floe::candidate::{Candidate, CandidateKind, Credentials, Foundation, priority};
use floe::config::{AgentConfig, EndpointConfig, Role};
use floe::sdp::{Description, StreamDescription};
use floe::stun::{
    AttributeType, Encoder, IntegrityKey, Message, MessageClass, Method, TransactionId,
};
use floe::{
    AgentId, AgentState, ComponentId, Endpoint, Instant, MIN_TRANSMIT, Received, Socket, SocketId,
};

/// The most that an agent may hold, whatever comes.
const LIMIT: u64 = 128 * 1024;

fn number_of(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

struct Side {
    endpoint: Endpoint,
    agent: AgentId,
    socket: SocketId,
    address: SocketAddr,
}

impl Side {
    fn new(role: Role, address: &str, seed: u8) -> Self {
        let config = Arc::new(EndpointConfig::default());
        let mut endpoint = Endpoint::new(Instant::ZERO, config, [seed; 32]);
        let address = address.parse().unwrap();
        let socket = endpoint.add_socket(Instant::ZERO, Socket::udp(address));
        let agent = endpoint.add_agent(Instant::ZERO, AgentConfig::new(role));
        Self { endpoint, agent, socket, address }
    }

    fn credentials(&self) -> Credentials {
        let description = self.endpoint.agent(self.agent).unwrap().local_description();
        description.streams[0].credentials.clone().unwrap()
    }

    fn remote(&mut self, now: Instant, description: &Description) -> bool {
        let mut agent = self.endpoint.agent_mut(now, self.agent).unwrap();
        agent.set_remote_description(description).is_ok()
    }

    /// Drains the polls and forgets what leaves.
    fn drain(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        let mut buf = [0; MIN_TRANSMIT];
        while self.endpoint.poll_transmit(now, &mut buf).is_some() {}
        while self.endpoint.poll_event().is_some() {}
    }

    fn receive(&mut self, now: Instant, from: SocketAddr, octets: &[u8]) {
        let _ = self.endpoint.handle_datagram(now, self.socket, from, octets);
        self.drain(now);
    }
}

const PEER: &str = "peer";
const PASSWORD: &str = "FAKEpasswordFAKEpassword";

fn candidate(address: SocketAddr, number: u32) -> Candidate {
    let kind = CandidateKind::Host;
    let foundation = Foundation::new(&number.to_string()).unwrap();
    Candidate::udp(kind, foundation, 1, priority(kind, 65_535, 1), address)
}

fn description(ufrag: &str, candidates: Vec<Candidate>) -> Description {
    let mut stream = StreamDescription::default();
    let (ufrag, password) = (ufrag.to_owned(), PASSWORD.to_owned());
    stream.credentials = Some(Credentials { ufrag, password });
    stream.candidates = candidates;
    let mut description = Description::default();
    description.options.ice2 = true;
    description.options.trickle = true;
    description.streams = vec![stream];
    description
}

/// A check of the peer's with this password.
fn check(local: &Credentials, password: &str, number: u64, buf: &mut [u8]) -> usize {
    let mut id = [0; 12];
    id[4..].copy_from_slice(&number.to_be_bytes());
    Encoder::new(buf, MessageClass::Request, Method::BINDING, TransactionId(id))
        .username(&[local.ufrag.as_bytes(), PEER.as_bytes()])
        .u32(AttributeType::PRIORITY, 0x6EFF_FFFF)
        .u64(AttributeType::ICE_CONTROLLING, 7)
        .flag(AttributeType::USE_CANDIDATE)
        .integrity(&IntegrityKey::short_term(password.as_bytes()))
        .fingerprint()
        .finish()
        .unwrap()
}

fn anybody(number: u64) -> SocketAddr {
    SocketAddr::new(IpAddr::V4((0x0B00_0000 + number as u32).into()), 1_000)
}

/// Runs a flood against an agent, and says what it held at most and at last, its endpoint included.
fn under(flood: impl FnOnce(&mut Side)) -> (u64, i64) {
    let mut kept = None;
    let counted = allocation_counter::measure(|| {
        let mut side = Side::new(Role::Controlled, "192.0.2.1:4000", 1);
        flood(&mut side);
        kept = Some(side);
    });
    drop(kept);
    (counted.bytes_max, counted.bytes_current)
}

fn assert_bounded(flood: impl FnOnce(&mut Side)) {
    let (most, last) = under(flood);
    assert!(most <= LIMIT, "{most} octets at most");
    assert!(last <= LIMIT as i64, "{last} octets at last");
}

/// A millisecond for each packet.
fn at(number: u64) -> Instant {
    Instant::from_millis(1_000 + number)
}

#[test]
fn checks_of_strangers_with_a_wrong_password_take_no_memory() {
    let number = number_of("FLOE_FLOOD", 100_000);
    assert_bounded(|side| {
        let local = side.credentials();
        let mut buf = [0; 500];
        for n in 0..number {
            let length = check(&local, "wrong password wrong password", n, &mut buf);
            side.receive(at(n), anybody(n), &buf[..length]);
        }
    });
}

#[test]
fn junk_and_unasked_answers_take_no_memory() {
    let number = number_of("FLOE_FLOOD", 100_000);
    assert_bounded(|side| {
        let mut buf = [0; 500];
        for n in 0..number {
            let mut id = [9; 12];
            id[4..].copy_from_slice(&n.to_be_bytes());
            let id = TransactionId(id);
            let length = Encoder::new(&mut buf, MessageClass::Success, Method::BINDING, id)
                .xor_address(AttributeType::XOR_MAPPED_ADDRESS, anybody(n))
                .fingerprint()
                .finish()
                .unwrap();
            side.receive(at(n), anybody(n), &buf[..length]);
            buf[0] = n as u8;
            side.receive(at(n), anybody(n), &buf[..length]);
        }
    });
}

/// Authenticated ones, from everywhere, before the peer's description and after it.
#[test]
fn checks_of_the_peer_from_everywhere_take_bounded_memory() {
    let number = number_of("FLOE_FLOOD", 100_000);
    for early in [true, false] {
        assert_bounded(|side| {
            let local = side.credentials();
            if !early {
                assert!(side.remote(at(0), &description(PEER, Vec::new())));
            }
            let mut buf = [0; 500];
            for n in 0..number {
                let length = check(&local, &local.password, n, &mut buf);
                side.receive(at(n), anybody(n), &buf[..length]);
            }
            if early {
                assert!(side.remote(at(number), &description(PEER, Vec::new())));
            }
            side.drain(at(number + 1));
        });
    }
}

/// On as many addresses, and on as many ports of one.
#[test]
fn ten_thousand_candidates_take_bounded_memory() {
    for many in [true, false] {
        assert_bounded(|side| {
            assert!(side.remote(at(0), &description(&"u".repeat(256), Vec::new())));
            for n in 0..10_000_u16 {
                let ip = if many { u64::from(n) } else { 0 };
                let address = SocketAddr::new(anybody(ip).ip(), 1_000 + n);
                let mut new = candidate(address, n.into());
                allocation_counter::opt_out(|| {
                    let long = || "x".repeat(200);
                    new.extensions.push((long(), long()));
                });
                let mut agent = side.endpoint.agent_mut(at(0), side.agent).unwrap();
                let _ = agent.add_remote_candidate(0, None, &new);
                side.drain(at(n.into()));
                allocation_counter::opt_out(|| drop(new));
            }
            for n in 0..12_000 {
                side.drain(at(10_000 + n * 10));
            }
        });
    }
}

/// Restarts by the peer and by ourselves, each with a crowd of candidates.
#[test]
fn restarts_with_crowds_of_candidates_take_bounded_memory() {
    assert_bounded(|side| {
        for restart in 0..200 {
            let now = at(restart * 1_000);
            let mut crowd = Description::default();
            allocation_counter::opt_out(|| {
                let all = (0..64_u32).map(|n| candidate(anybody(u64::from(n) + restart * 64), n));
                crowd = description(&format!("peer{restart}"), all.collect());
            });
            let _ = side.remote(now, &crowd);
            allocation_counter::opt_out(|| drop(crowd));
            side.drain(now);
            if restart % 2 == 1 {
                side.endpoint.agent_mut(now, side.agent).unwrap().restart();
            }
            side.drain(now + Duration::from_millis(500));
        }
    });
}

/// Lets `duration` pass for a peer that answers every check, those to `known` as from where they
/// came, and all others as from a place that `number` makes up.
fn answer(side: &mut Side, known: SocketAddr, number: u16, from: Instant, duration: Duration) {
    let key = IntegrityKey::short_term(PASSWORD.as_bytes());
    let (mut now, mut buf, mut out) = (from, [0; MIN_TRANSMIT], [0; 128]);
    while now <= from + duration {
        side.endpoint.handle_timeout(now);
        while let Some(transmit) = side.endpoint.poll_transmit(now, &mut buf) {
            let message = Message::parse(&buf[transmit.range]).unwrap();
            let peer = transmit.to;
            let made_up = SocketAddr::new(peer.ip(), number + 10_000);
            let seen = if peer == known { side.address } else { made_up };
            if message.class() == MessageClass::Request {
                let id = message.transaction_id();
                let len = Encoder::new(&mut out, MessageClass::Success, Method::BINDING, id)
                    .xor_address(AttributeType::XOR_MAPPED_ADDRESS, seen)
                    .integrity(&key)
                    .fingerprint()
                    .finish()
                    .unwrap();
                let _ = side.endpoint.handle_datagram(now, side.socket, peer, &out[..len]);
            }
        }
        while side.endpoint.poll_event().is_some() {}
        now = side.endpoint.poll_timeout().unwrap_or(Instant::MAX);
    }
}

/// A peer that stays in its first generation, and after each restart sees us from elsewhere.
#[test]
fn addresses_that_are_made_up_in_each_restart_take_bounded_memory() {
    assert_bounded(|side| {
        let mut buf = [0; 256];
        let (known, round) = (anybody(0), Duration::from_secs(31));
        side.remote(Instant::ZERO, &description(PEER, vec![candidate(known, 1)]));
        let len = check(&side.credentials(), &side.credentials().password, 1, &mut buf);
        side.receive(Instant::ZERO, known, &buf[..len]);
        for number in 0..500 {
            let now = Instant::ZERO + round * u32::from(number);
            answer(side, known, number, now, round);
            let agent = side.endpoint.agent(side.agent).unwrap();
            assert!(
                agent.selected(ComponentId::FIRST).is_some_and(|pair| pair.remote.address == known)
            );
            let all = (1..17).map(|n| candidate(anybody(n), n as u32)).collect();
            assert!(side.remote(now + round, &description(&format!("peer{number}"), all)));
        }
    });
}

/// Hands over what is due, without delay.
fn exchange(sides: &mut [Side; 2], now: Instant) {
    let mut buf = [0; MIN_TRANSMIT];
    loop {
        let mut idle = true;
        for sender in 0..2 {
            let (left, right) = sides.split_at_mut(1);
            let (from, to) = match sender {
                0 => (&mut left[0], &mut right[0]),
                _ => (&mut right[0], &mut left[0]),
            };
            from.endpoint.handle_timeout(now);
            while let Some(transmit) = from.endpoint.poll_transmit(now, &mut buf) {
                let octets = &buf[transmit.range];
                let received = to.endpoint.handle_datagram(now, to.socket, from.address, octets);
                assert!(!matches!(received, Received::Unclaimed { .. }));
                idle = false;
            }
            while from.endpoint.poll_event().is_some() {}
        }
        if idle {
            return;
        }
    }
}

fn run(sides: &mut [Side; 2], now: &mut Instant, duration: Duration) {
    let end = *now + duration;
    exchange(sides, *now);
    loop {
        let next = sides.iter().filter_map(|side| side.endpoint.poll_timeout()).min();
        let Some(next) = next.filter(|next| *next <= end) else { break };
        *now = next;
        exchange(sides, *now);
    }
    *now = end;
}

/// Both restart, one at the other's word: as often as the limit of ten in five minutes lets them.
fn restart(sides: &mut [Side; 2], now: &mut Instant, caller: usize) {
    let callee = 1 - caller;
    let mut agent = sides[caller].endpoint.agent_mut(*now, sides[caller].agent).unwrap();
    agent.restart();
    for (from, to) in [(caller, callee), (callee, caller)] {
        let mut offer = Description::default();
        allocation_counter::opt_out(|| {
            let agent = sides[from].endpoint.agent(sides[from].agent).unwrap();
            offer = agent.local_description();
        });
        assert!(sides[to].remote(*now, &offer));
        allocation_counter::opt_out(|| drop(offer));
    }
    run(sides, now, Duration::from_millis(30_001));
    for side in sides {
        let agent = side.endpoint.agent(side.agent).unwrap();
        assert_eq!(agent.state(), AgentState::Completed);
        assert!(agent.selected(ComponentId::FIRST).is_some());
    }
}

/// The heap after a million restarts (`FLOE_RESTARTS`; a hundred thousand by default) is that after a thousand,
/// give or take 4 KiB, and under the limit at every moment.
#[test]
fn memory_is_flat_over_restarts() {
    let restarts = number_of("FLOE_RESTARTS", 100_000);
    let mut now = Instant::from_millis(1_000);
    let mut world = None;
    let first = allocation_counter::measure(|| {
        let mut sides = [
            Side::new(Role::Controlling, "192.0.2.1:4000", 1),
            Side::new(Role::Controlled, "192.0.2.2:4000", 2),
        ];
        for round in 0..1_000 {
            restart(&mut sides, &mut now, round % 2);
        }
        world = Some(sides);
    });
    let mut sides = world.unwrap();
    let rest = allocation_counter::measure(|| {
        for round in 1_000..restarts {
            restart(&mut sides, &mut now, (round % 2) as usize);
        }
    });
    assert!(rest.bytes_current.abs() <= 4 * 1024, "{rest:?}");
    assert!(first.bytes_max <= 2 * LIMIT, "{first:?}");
}
