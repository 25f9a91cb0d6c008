//! Work on an established agent: a consent check in and its answer out, and a datagram of media in.

use std::collections::HashMap;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::agents::floe::{Floe, to_floe};
use crate::agents::is::Is;
use crate::agents::rice::Rice;
use crate::agents::rtc::{Rtc, transport};
use crate::agents::{Agent, Packet, addresses, introduce};
use crate::codec::{MAPPED, PASSWORD, TRANSACTION, Wire, floor};
use crate::measure::{Case, measure};
use crate::report::{Report, best_peer, cell, find, peer_cell, print_costs, ratio_cell};

const CONSENT: &str = "a check in, its answer out, on an established agent";
const MEDIA: &str = "a 1200-octet media datagram in: is it STUN, whose is it";

/// Two agents that are connected, after 30 s at a step of 5 ms and without delay.
struct Established<A> {
    /// The controlled one.
    agent: A,
    now: Instant,
    /// The address of the controlling agent.
    peer: SocketAddr,
    /// Its own address.
    own: SocketAddr,
    /// The last request of the controlling agent: a consent check where the crate sends them.
    request: Packet,
    /// Whether the request was sent after the agents were connected.
    is_consent: bool,
}

fn establish<A: Agent>() -> Established<A> {
    let start = Instant::now();
    let [left, right] = [1, 2].map(|side| addresses(side, 1));
    let mut agents = introduce::<A>(start, &left, &right);
    let (mut request, mut request_at) = (None, start);
    let mut packet = Packet::empty();
    let mut now = start;
    for _ in 0..6000 {
        now += Duration::from_millis(5);
        for index in 0..2 {
            agents[index].handle_timeout(now);
            while agents[index].poll_transmit(now, &mut packet) {
                if index == 0 && packet.is_request() {
                    request = Some(packet.clone());
                    request_at = now;
                }
                agents[index ^ 1].handle_packet(now, &packet);
            }
            agents[index].readiness();
        }
    }
    assert!(agents.iter_mut().all(|agent| agent.readiness().selected), "{} connects", A::NAME);
    let [_, agent] = agents;
    Established {
        agent,
        now,
        peer: left[0],
        own: right[0],
        request: request.expect("the controlling agent sends checks"),
        is_consent: request_at > start + Duration::from_secs(10),
    }
}

/// A case that replays the last request. `pace` is how far the clock goes on each time: peers
/// check back on each request and pile that up unless time passes; floe owes an answer alone.
fn consent_case<A: Agent>(pace: Duration) -> Case<'static> {
    let Established { mut agent, mut now, request, is_consent, .. } = establish::<A>();
    let what = if is_consent { "consent check" } else { "replayed check" };
    let mut packet = Packet::empty();
    agent.handle_packet(now, &request);
    let mut answers = Vec::new();
    while agent.poll_transmit(now, &mut packet) {
        answers.push(match packet.data() {
            [0, 1, ..] => "a request",
            [1, 1, ..] => "a success response",
            [0, 0x11, ..] => "an indication",
            _ => "something else",
        });
    }
    agent.readiness();
    println!("- {}: one {what} in gives {}", A::NAME, answers.join(", "));
    let name = format!("{} ({what} of {} octets)", A::NAME, request.len);
    Case::new(CONSENT, &name, move || {
        now += pace;
        agent.handle_packet(now, black_box(&request));
        let mut answered = false;
        while agent.poll_transmit(now, &mut packet) {
            answered = true;
            black_box(&packet);
        }
        assert!(answered);
        agent.readiness();
    })
}

fn consent_floor() -> Case<'static> {
    let wire = Wire::new();
    let key = floor::Key::new(PASSWORD.as_bytes());
    let mut buffer = [0; floor::BUFFER];
    Case::new(CONSENT, "floor (decode the check, encode the answer)", move || {
        let check = floor::decode(black_box(&key), black_box(&wire.request)).expect("a check");
        black_box(check.priority);
        floor::encode_response(black_box(&key), black_box(MAPPED), &TRANSACTION, &mut buffer);
        black_box(&buffer);
    })
}

fn media_floors(datagram: &'static [u8]) -> [Case<'static>; 2] {
    let own = SocketAddr::from((Ipv4Addr::new(10, 2, 0, 1), 5000));
    let peer = |index: u32| SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + index), 5000));
    let flows: HashMap<(SocketAddr, SocketAddr), u32> =
        (0..10_000).map(|index| ((peer(index), own), index)).collect();
    let flow = (peer(7), own);
    [
        Case::new(MEDIA, "floor: the first octet", move || {
            black_box(black_box(datagram)[0] < 4);
        }),
        Case::new(MEDIA, "floor: the address pair among 10,000 in a std HashMap", move || {
            black_box(flows.get(black_box(&flow)));
        }),
    ]
}

fn media_cases(datagram: &'static [u8]) -> Vec<Case<'static>> {
    let mut cases: Vec<Case<'static>> = media_floors(datagram).into();
    let floe = establish::<Floe>();
    let (socket, mut endpoint) = (floe.agent.socket(floe.own), floe.agent.endpoint);
    let (now, peer) = (to_floe(floe.now), floe.peer);
    cases.push(Case::new(MEDIA, "floe: handle_datagram", move || {
        let received = endpoint.handle_datagram(now, socket, peer, black_box(datagram));
        assert!(matches!(received, floe::Received::Data { .. }));
    }));
    let is = establish::<Is>();
    cases.push(Case::new(MEDIA, "is 0.12: parse fails, has_viable_remote_candidate", move || {
        assert!(is::stun::StunMessage::parse(black_box(datagram)).is_err());
        black_box(is.agent.agent.has_viable_remote_candidate(black_box(is.peer)));
    }));
    let mut rice = establish::<Rice>();
    cases.push(Case::new(MEDIA, "rice-proto 0.4.3: handle_incoming_data", move || {
        assert!(rice.agent.handle_data(rice.now, rice.peer, rice.own, black_box(datagram)));
    }));
    let mut rtc = establish::<Rtc>();
    cases.push(Case::new(
        MEDIA,
        "rtc-ice 0.21: is_stun_message, is_valid_non_stun_traffic",
        move || {
            assert!(!rtc_stun::message::is_stun_message(black_box(datagram)));
            let from = transport(rtc.peer, rtc.own);
            assert!(rtc.agent.agent.is_valid_non_stun_traffic(rtc.now, from));
        },
    ));
    cases
}

/// Runs the section.
pub fn run(report: &mut Report) {
    report.section("Inbound, on an established agent");
    let media: &'static [u8] = Vec::leak([vec![0x80], vec![0; 1199]].concat());
    let long = Duration::from_secs(5);
    let mut cases = vec![
        consent_floor(),
        consent_case::<Floe>(Duration::ZERO),
        consent_case::<Is>(long),
        consent_case::<Rice>(long),
        consent_case::<Rtc>(long),
    ];
    cases.extend(media_cases(media));
    let costs = measure(cases, report.effort);
    print_costs(&costs);

    let floe = find(&costs, CONSENT, "floe");
    let floor = find(&costs, CONSENT, "floor");
    let peer = peer_cell(best_peer(&costs, CONSENT));
    let target = "≤ 1.5 × floor, 0 allocations";
    report.headline(
        "a consent check in, its answer out",
        &peer,
        &cell(floor),
        &ratio_cell(floe, floor),
        target,
    );
    report.gate(
        "a consent check in, its answer out: allocations",
        floe.map(|cost| cost.allocations),
        0.0,
    );
    let floe = find(&costs, MEDIA, "floe");
    let peer = peer_cell(best_peer(&costs, MEDIA));
    let floor = cell(find(&costs, MEDIA, "floor"));
    report.headline(
        "a media datagram in: whose is it",
        &peer,
        &floor,
        &cell(floe),
        "0 allocations",
    );
    report.gate("a media datagram in: allocations", floe.map(|cost| cost.allocations), 0.0);
}
