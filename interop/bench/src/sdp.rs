//! Candidate lines of SDP, read and written.

use std::fmt::Write as _;
use std::hint::black_box;

use floe::candidate::Candidate;
use webrtc_ice::candidate::Candidate as _;
use webrtc_ice::candidate::candidate_base::unmarshal_candidate as webrtc_parse;

use crate::measure::{Case, measure};
use crate::report::{Report, best_peer, cell, find, peer_cell, print_costs};

const HOST: &str = "candidate:1467250027 1 udp 2122260223 192.168.0.196 46243 typ host";
const REFLEXIVE: &str = "candidate:1052353102 1 udp 1686052607 203.0.113.5 46243 typ srflx raddr 192.168.0.196 rport 46243 generation 0 ufrag EsAw network-id 1";
const HOST_V6: &str =
    "candidate:1467250028 1 udp 2122197247 2001:db8:85a3:8d3:1319:8a2e:370:7348 53421 typ host";

const LINES: [(&str, &str); 3] = [
    ("host IPv4", HOST),
    ("server-reflexive with 3 extensions", REFLEXIVE),
    ("host IPv6", HOST_V6),
];

fn parse_group(what: &str) -> String {
    format!("read a candidate line: {what}")
}

fn format_group(what: &str) -> String {
    format!("write a candidate line: {what}")
}

/// What follows `candidate:`.
fn value(line: &str) -> &str {
    line.strip_prefix("candidate:").expect("a candidate line")
}

fn parse_cases(what: &str, line: &'static str) -> Vec<Case<'static>> {
    type RiceCandidate = rice_proto::candidate::Candidate;
    let group = parse_group(what);
    let case =
        |name: &str, work: Box<dyn FnMut()>| Case { group: group.clone(), name: name.into(), work };
    let attribute = format!("a={line}");
    vec![
        case(
            "floor: scan the octets for spaces",
            Box::new(move || {
                black_box(black_box(line).bytes().filter(|octet| *octet == b' ').count());
            }),
        ),
        case(
            "floe",
            Box::new(move || {
                black_box(black_box(line).parse::<Candidate>().expect("a candidate"));
            }),
        ),
        case(
            "is 0.12",
            Box::new(move || {
                black_box(is::Candidate::from_sdp_string(black_box(line)).expect("a candidate"));
            }),
        ),
        case(
            "rice-proto 0.4.3",
            Box::new(move || {
                black_box(black_box(&attribute).parse::<RiceCandidate>().expect("a candidate"));
            }),
        ),
        case(
            "rtc-ice 0.21",
            Box::new(move || {
                black_box(
                    rtc_ice::candidate::unmarshal_candidate(black_box(value(line)))
                        .expect("a candidate"),
                );
            }),
        ),
        case(
            "webrtc-ice 0.17.2",
            Box::new(move || {
                black_box(webrtc_parse(black_box(value(line))).expect("a candidate"));
            }),
        ),
    ]
}

fn format_cases(what: &str, line: &'static str) -> Vec<Case<'static>> {
    let group = format_group(what);
    let case =
        |name: &str, work: Box<dyn FnMut()>| Case { group: group.clone(), name: name.into(), work };
    let floe: Candidate = line.parse().expect("a candidate");
    let is = is::Candidate::from_sdp_string(line).expect("a candidate");
    let rice: rice_proto::candidate::Candidate = format!("a={line}").parse().expect("a candidate");
    let rtc = rtc_ice::candidate::unmarshal_candidate(value(line)).expect("a candidate");
    let webrtc = webrtc_parse(value(line)).expect("a candidate");
    let mut text = String::with_capacity(256);
    vec![
        case(
            "floe",
            Box::new(move || {
                text.clear();
                write!(text, "{}", black_box(&floe)).expect("room");
                black_box(&text);
            }),
        ),
        case("is 0.12", Box::new(move || drop(black_box(black_box(&is).to_sdp_string())))),
        case(
            "rice-proto 0.4.3",
            Box::new(move || drop(black_box(black_box(&rice).to_sdp_string()))),
        ),
        case("rtc-ice 0.21", Box::new(move || drop(black_box(black_box(&rtc).marshal())))),
        case("webrtc-ice 0.17.2", Box::new(move || drop(black_box(black_box(&webrtc).marshal())))),
    ]
}

/// Runs the section.
pub fn run(report: &mut Report) {
    report.section("Candidate lines");
    let mut cases = Vec::new();
    for (what, line) in LINES {
        cases.extend(parse_cases(what, line));
        cases.extend(format_cases(what, line));
    }
    let costs = measure(cases, report.effort);
    print_costs(&costs);
    for (work, group, target) in [
        ("read a candidate line (host)", parse_group(LINES[0].0), "≤ 100 ns, ≤ 1 allocation"),
        ("write a candidate line (host)", format_group(LINES[0].0), "≤ 100 ns, ≤ 1 allocation"),
    ] {
        let floe = find(&costs, &group, "floe");
        let peer = peer_cell(best_peer(&costs, &group));
        let floor = cell(find(&costs, &group, "floor"));
        report.headline(work, &peer, &floor, &cell(floe), target);
        report.gate(&format!("{work}: allocations"), floe.map(|cost| cost.allocations), 1.0);
    }
}
