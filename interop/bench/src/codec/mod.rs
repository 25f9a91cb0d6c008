//! STUN: a check and its answer, with integrity and fingerprint, encoded and decoded.

mod floe;
pub mod floor;
mod is;
mod stun_types;
mod webrtc;

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};

use crate::measure::{Case, measure};
use crate::report::{Report, best_peer, cell, find, peer_cell, print_costs, ratio_cell};

/// The peer's ufrag and ours, four characters each as browsers choose them.
pub const USER: &str = "Qw3r:Zx9y";
/// 24 characters, as browsers choose them.
pub const PASSWORD: &str = "0123456789abcdefghijklmn";
/// The transaction id.
pub const TRANSACTION: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
/// The PRIORITY of the check.
pub const PRIORITY: u32 = 1_845_501_695;
/// The tie-breaker in its ICE-CONTROLLING.
pub const TIE_BREAKER: u64 = 0x0123_4567_89ab_cdef;
/// The XOR-MAPPED-ADDRESS of the answer.
pub const MAPPED: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 33)), 50123);

/// The tables.
pub const ENCODE_REQUEST: &str =
    "encode a check: USERNAME PRIORITY ICE-CONTROLLING USE-CANDIDATE MESSAGE-INTEGRITY FINGERPRINT";
pub const ENCODE_RESPONSE: &str = "encode its success response";
pub const DECODE_REQUEST: &str = "decode and verify the check";
pub const DECODE_RESPONSE: &str = "decode and verify the response";

/// A check and its answer on the wire, by the floor's encoder.
#[derive(Clone)]
pub struct Wire {
    /// The check.
    pub request: Vec<u8>,
    /// The answer.
    pub response: Vec<u8>,
}

impl Wire {
    /// Encodes both.
    pub fn new() -> Self {
        let key = floor::Key::new(PASSWORD.as_bytes());
        let mut buffer = [0; floor::BUFFER];
        let len =
            floor::encode_request(&key, USER, PRIORITY, TIE_BREAKER, &TRANSACTION, &mut buffer);
        let request = buffer[..len].to_vec();
        let len = floor::encode_response(&key, MAPPED, &TRANSACTION, &mut buffer);
        Self { request, response: buffer[..len].to_vec() }
    }

    /// The check with a wrong FINGERPRINT, its MESSAGE-INTEGRITY intact.
    fn wrong_fingerprint(&self) -> Vec<u8> {
        let mut request = self.request.clone();
        *request.last_mut().expect("octets") ^= 1;
        request
    }
}

fn floor_cases(wire: &Wire) -> Vec<Case<'static>> {
    const NAME: &str = "floor (hand-written, keyed state kept)";
    let key = floor::Key::new(PASSWORD.as_bytes());
    let Wire { request, response } = wire.clone();
    let mut buffer = [0; floor::BUFFER];
    let mut buffer2 = buffer;
    vec![
        Case::new(ENCODE_REQUEST, NAME, {
            let key = key.clone();
            move || {
                let user = black_box(USER);
                floor::encode_request(
                    black_box(&key),
                    user,
                    PRIORITY,
                    TIE_BREAKER,
                    black_box(&TRANSACTION),
                    &mut buffer,
                );
                black_box(&buffer);
            }
        }),
        Case::new(ENCODE_RESPONSE, NAME, {
            let key = key.clone();
            move || {
                floor::encode_response(
                    black_box(&key),
                    black_box(MAPPED),
                    black_box(&TRANSACTION),
                    &mut buffer2,
                );
                black_box(&buffer2);
            }
        }),
        Case::new(DECODE_REQUEST, NAME, {
            let key = key.clone();
            move || {
                let check = floor::decode(black_box(&key), black_box(&request)).expect("a check");
                black_box(check);
            }
        }),
        Case::new(DECODE_RESPONSE, NAME, move || {
            let answer = floor::decode(black_box(&key), black_box(&response)).expect("an answer");
            black_box(answer);
        }),
    ]
}

/// Runs the section.
pub fn run(report: &mut Report) {
    report.section("STUN codec");
    let wire = Wire::new();
    is::check_floor(&wire);
    floe::check_floor(&wire);
    println!("The check has {} octets, the response {}.", wire.request.len(), wire.response.len());
    let wrong = wire.wrong_fingerprint();
    for (name, rejects) in [
        ("floe", floe::rejects(&wrong)),
        ("is 0.12", is::rejects(&wrong)),
        ("stun-types 2.0", stun_types::rejects(&wrong)),
    ] {
        println!("A wrong FINGERPRINT: {name} {} it.", if rejects { "rejects" } else { "ACCEPTS" });
    }
    let mut cases = floor_cases(&wire);
    cases.extend(floe::cases(&wire));
    cases.extend(is::cases(&wire));
    cases.extend(stun_types::cases(&wire));
    cases.extend(webrtc::stun_cases(&wire));
    cases.extend(webrtc::rtc_cases(&wire));
    let costs = measure(cases, report.effort);
    print_costs(&costs);

    for (work, group) in [
        ("encode a check with integrity and fingerprint", ENCODE_REQUEST),
        ("encode its response", ENCODE_RESPONSE),
        ("decode and verify a check", DECODE_REQUEST),
        ("decode and verify a response", DECODE_RESPONSE),
    ] {
        let (floe, floor) = (find(&costs, group, "floe"), find(&costs, group, "floor"));
        let peer = peer_cell(best_peer(&costs, group));
        report.headline(
            work,
            &peer,
            &cell(floor),
            &ratio_cell(floe, floor),
            "≤ 1.25 × floor, 0 allocations",
        );
        report.gate(&format!("{work}: allocations"), floe.map(|cost| cost.allocations), 0.0);
    }
}
