//! Signalling that says anything at all: any candidates, any credentials, again, out of order, huge.

use std::net::{IpAddr, SocketAddr};

use floe::candidate::Credentials;
use floe::config::{AgentConfig, Limits, Mode, Role};
use floe::{AgentState, CandidateRejected, DescriptionRejected, Event};

use super::{LONELY, Lonely, candidate, description};
use crate::world::rng::Rng;
use crate::world::{millis, secs};

/// Addresses that nobody may have us send to, and some that anybody may.
const ADDRESSES: [&str; 24] = [
    "0.0.0.0:80",
    "0.1.2.3:0",
    "127.0.0.1:80",
    "127.1.2.3:53",
    "169.254.169.254:80",
    "224.0.0.251:5353",
    "239.255.255.250:1900",
    "255.255.255.255:67",
    "203.0.113.1:0",
    "203.0.113.2:9",
    "10.0.0.1:53",
    "192.168.0.1:1900",
    "[::]:80",
    "[::1]:80",
    "[::ffff:0.0.0.0]:80",
    "[::ffff:127.0.0.1]:80",
    "[::ffff:224.0.0.1]:80",
    "[::ffff:255.255.255.255]:80",
    "[::ffff:169.254.169.254]:80",
    "[ff02::1]:5353",
    "[ff0e::1]:80",
    "[fe80::1]:80",
    "[2001:db8::1]:0",
    "[2001:db8::2]:9",
];

/// Whether packets may go there when loopback and link-local addresses are refused.
fn may_be_asked(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let local = match ip {
        IpAddr::V4(ip) => ip.is_broadcast() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    address.port() != 0 && !local && !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast()
}

fn strict(role: Role) -> AgentConfig {
    let mut config = AgentConfig::new(role);
    config.remote_loopback = false;
    config.remote_link_local = false;
    config
}

fn address(rng: &mut Rng) -> SocketAddr {
    match rng.below(4) {
        0 => SocketAddr::from((rng.octets()[0..4].first_chunk::<4>().copied().unwrap(), 9)),
        _ => ADDRESSES[rng.below(ADDRESSES.len() as u64) as usize].parse().unwrap(),
    }
}

/// One message of hostile signalling.
fn say(lonely: &mut Lonely, rng: &mut Rng) {
    let ufrag = format!("peer{}", rng.below(4));
    match rng.below(12) {
        0..=4 => {
            let _ = lonely.candidate(address(rng));
        }
        5 | 6 => {
            let many = rng.below(40);
            let candidates: Vec<_> = (0..many).map(|_| candidate(address(rng))).collect();
            let mut description = description(&ufrag, &candidates);
            description.lite = rng.chance(0.2);
            description.options.renomination = rng.chance(0.5);
            description.pacing = Some(millis(rng.below(500)));
            description.streams[0].end_of_candidates = rng.chance(0.2);
            let _ = lonely.remote(&description);
        }
        7 => {
            let mut description = description(&ufrag, &[]);
            let password = "p".repeat(rng.below(3_000) as usize);
            let ufrag = "u".repeat(rng.below(3_000) as usize);
            description.streams[0].credentials = Some(Credentials { ufrag, password });
            description.streams.truncate(rng.below(2) as usize);
            let _ = lonely.remote(&description);
        }
        8 => {
            let mut agent = lonely.endpoint.agent_mut(lonely.now, lonely.agent).unwrap();
            let mut strange = candidate(address(rng));
            strange.component = rng.below(400) as u16;
            strange.priority = rng.next() as u32;
            let stream = rng.below(3) as u16;
            let _ = agent.add_remote_candidate(stream, Some(&ufrag), &strange);
        }
        9 => {
            let mut agent = lonely.endpoint.agent_mut(lonely.now, lonely.agent).unwrap();
            let _ = agent.end_of_remote_candidates(None, Some(&ufrag));
        }
        10 => lonely.endpoint.agent_mut(lonely.now, lonely.agent).unwrap().restart(),
        _ => {}
    }
    lonely.drain();
    lonely.run_for(millis(rng.below(3_000)));
}

/// A thousand scripts of thirty messages: what leaves goes where packets may go, each generation
/// within its budget; nothing becomes sendable, and afterwards there is quiet.
#[test]
fn signalling_at_random_reaches_no_forbidden_address_and_ends() {
    let limits = Limits::default();
    for seed in 0..1_000 {
        let mut rng = Rng::new(seed, "signalling");
        let role = if rng.chance(0.5) { Role::Controlling } else { Role::Controlled };
        let mut config = strict(role);
        if rng.chance(0.1) {
            config.mode = Mode::Lite;
        }
        let mut lonely = Lonely::new(config);
        for _ in 0..30 {
            let before = lonely.sent.len();
            say(&mut lonely, &mut rng);
            let burst = lonely.sent.len() - before;
            assert!(burst <= usize::from(limits.unverified_packets), "{seed}: {burst}");
        }
        // With an RTO of 500 ms for each of 64 pairs a transaction takes 41 minutes.
        lonely.run_for(secs(3_600));
        let sent = lonely.sent.len();
        lonely.run_for(secs(3_600));
        // Two lite agents send keepalives.
        let kept = if lonely.cannot_send() { 0 } else { 3_600 / 15 };
        assert_eq!(lonely.sent.len(), sent + kept, "{seed}: it goes on");
        for (_, to, _) in &lonely.sent {
            assert!(may_be_asked(*to), "{seed}: {to}");
        }
        let lite = lonely.events.iter().any(|event| matches!(event, Event::Selected { .. }));
        assert!(lite || lonely.cannot_send(), "{seed}");
    }
}

/// Each address that is none, by itself.
#[test]
fn a_candidate_that_is_no_address_of_a_peer_is_refused() {
    for text in ADDRESSES {
        let mut lonely = Lonely::new(strict(Role::Controlling));
        lonely.remote(&description("peer", &[])).unwrap();
        let address: SocketAddr = text.parse().unwrap();
        let expected =
            if may_be_asked(address) { Ok(()) } else { Err(CandidateRejected::AddressNotUsable) };
        assert_eq!(lonely.candidate(address), expected, "{text}");
        lonely.run_for(secs(60));
        let asked = lonely.sent.iter().any(|(_, to, _)| to.ip() == address.ip());
        // Our only socket is one for IPv4.
        assert_eq!(asked, expected.is_ok() && address.is_ipv4(), "{text}");
    }
}

/// By default loopback addresses are taken, and reached from loopback sockets alone.
#[test]
fn loopback_is_asked_from_loopback_alone() {
    let mut lonely = Lonely::new(AgentConfig::new(Role::Controlling));
    lonely.remote(&description("peer", &[])).unwrap();
    assert_eq!(lonely.candidate("127.0.0.1:9".parse().unwrap()), Ok(()));
    lonely.run_for(secs(60));
    assert_eq!(lonely.sent.len(), 0);
}

/// Our own description, held up to us, is refused; our own address as somebody else's gets one
/// transaction's worth of checks and their refusals.
#[test]
fn our_own_address_as_the_peers_makes_no_loop() {
    let mut lonely = Lonely::new(strict(Role::Controlling));
    let mirror = lonely.endpoint.agent(lonely.agent).unwrap().local_description();
    let refused = Err(DescriptionRejected::InvalidCredentials { stream: 0 });
    assert_eq!(lonely.remote(&mirror), refused);

    let ourselves: SocketAddr = LONELY.parse().unwrap();
    lonely.remote(&description("peer", &[candidate(ourselves)])).unwrap();
    let mut handed = 0;
    for _ in 0..12_000 {
        lonely.run_for(millis(10));
        while handed < lonely.sent.len() {
            let (_, to, octets) = lonely.sent[handed].clone();
            handed += 1;
            assert_eq!(to, ourselves);
            let _ = lonely.endpoint.handle_datagram(lonely.now, lonely.socket, to, &octets);
            lonely.drain();
        }
    }
    assert_eq!(lonely.sent.len(), 14);
}

/// What is too long or too much is refused whole, and nothing else changes.
#[test]
fn what_is_too_long_is_refused() {
    let mut lonely = Lonely::new(strict(Role::Controlled));
    let mut long = description("peer", &[]);
    long.streams[0].credentials =
        Some(Credentials { ufrag: "u".repeat(257), password: "p".repeat(24) });
    assert_eq!(lonely.remote(&long), Err(DescriptionRejected::InvalidCredentials { stream: 0 }));
    assert_eq!(lonely.endpoint.agent(lonely.agent).unwrap().state(), AgentState::New);
    let crowd: Vec<_> = (0..10_000_u32)
        .map(|number| candidate(SocketAddr::new(IpAddr::V4((0xCB00_0000 + number).into()), 9)))
        .collect();
    assert_eq!(lonely.remote(&description("peer", &crowd)), Ok(()));
    let known = lonely.endpoint.agent(lonely.agent).unwrap().stats().remote.len();
    assert_eq!(known, usize::from(Limits::default().remote_candidates));
}
