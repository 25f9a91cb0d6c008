//! What browsers, other ICE stacks and the RFCs' examples write, read in full.

use std::fs;
use std::path::PathBuf;

use floe::candidate::{Candidate, CandidateAddress, CandidateKind, TcpType};
use floe::sdp::{CandidateError, Description, Fragment, SessionTemplate};

fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/sdp")
}

fn vector(name: &str) -> String {
    fs::read_to_string(vectors().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub(crate) fn names(extension: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(vectors())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(extension))
        .collect();
    names.sort();
    names
}

pub(crate) fn texts(extension: &str) -> Vec<String> {
    names(extension).iter().map(|name| vector(name)).collect()
}

/// What a body is known to say.
struct Known {
    name: &'static str,
    /// The number of candidates of each stream.
    candidates: &'static [usize],
    ufrag: &'static str,
    options: &'static str,
    bundle: &'static [&'static str],
    end_of_candidates: bool,
    default_destination: Option<&'static str>,
}

const fn known(name: &'static str, candidates: &'static [usize], ufrag: &'static str) -> Known {
    Known {
        name,
        candidates,
        ufrag,
        options: "trickle",
        bundle: &["0"],
        end_of_candidates: false,
        default_destination: None,
    }
}

#[rustfmt::skip]
const KNOWN: [Known; 18] = [
    Known { default_destination: Some("203.0.113.10:50347"), ..known("chromium-answer.sdp", &[4], "MNxj") },
    Known { default_destination: Some("203.0.113.101:58713"), bundle: &["0", "1", "2"], ..known("chromium-gum-offer.sdp", &[3, 3, 3], "uw9b") },
    known("chromium-initial-offer.sdp", &[0], "eBIm"),
    Known { default_destination: Some("203.0.113.10:50795"), ..known("chromium-offer.sdp", &[4], "eBIm") },
    Known { default_destination: Some("203.0.113.10:50872"), ..known("chromium-relay-answer.sdp", &[1], "EkLx") },
    Known { default_destination: Some("203.0.113.10:50408"), end_of_candidates: true, ..known("firefox-answer.sdp", &[6], "4c09f032") },
    Known { default_destination: Some("203.0.113.10:50140"), end_of_candidates: true, bundle: &["0", "1", "2"], ..known("firefox-gum-offer.sdp", &[12, 8, 5], "399cd923") },
    Known { default_destination: Some("203.0.113.10:50165"), end_of_candidates: true, ..known("firefox-offer.sdp", &[6], "993c5fff") },
    Known { default_destination: Some("203.0.113.102:62143"), ..known("wrtc-answer.sdp", &[5], "JA0X") },
    Known { default_destination: Some("203.0.113.10:50185"), ..known("wrtc-offer.sdp", &[10], "BBsL") },
    Known { default_destination: Some("192.0.2.1:3478"), options: "", bundle: &[], ..known("rfc6544-C-answer-mixed.sdp", &[3], "9uB6") },
    Known { default_destination: Some("192.0.2.1:3478"), options: "", bundle: &[], ..known("rfc6544-C-answer-tcp.sdp", &[3], "9uB6") },
    Known { default_destination: Some("192.0.2.3:45664"), options: "", bundle: &[], ..known("rfc6544-C-offer-mixed.sdp", &[6], "8hhY") },
    Known { default_destination: Some("192.0.2.3:45664"), options: "", bundle: &[], ..known("rfc6544-C-offer-tcp.sdp", &[6], "8hhY") },
    Known { default_destination: Some("10.0.1.1:5000"), options: "", bundle: &[], ..known("rfc8838-17-offer.sdp", &[4], "8hhY") },
    Known { default_destination: Some("192.0.2.3:45664"), options: "ice2", bundle: &[], ..known("rfc8839-4.2.6-offer.sdp", &[2], "8hhY") },
    Known { default_destination: Some("192.0.2.1:3478"), options: "ice2", bundle: &[], ..known("rfc8839-A-answer-ipv4.sdp", &[1], "9uB6") },
    Known { default_destination: Some("[2001:db8:8101:3a55:4858:a2a9:22ff:99b9]:45664"), options: "ice2", bundle: &[], ..known("rfc8839-A-offer-ipv6.sdp", &[2], "8hhY") },
];

#[test]
fn every_body_says_what_it_is_known_to_say() {
    for known in KNOWN {
        let name = known.name;
        let description =
            Description::parse(&vector(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let streams = &description.streams;
        let counts: Vec<usize> = streams.iter().map(|stream| stream.candidates.len()).collect();
        assert_eq!(counts, known.candidates, "{name}");
        for stream in streams {
            let credentials = stream.credentials.as_ref().unwrap();
            assert_eq!(credentials.ufrag, known.ufrag, "{name}");
            assert!(credentials.is_sendable(), "{name}");
            assert!(!stream.rejected && !stream.mismatch && stream.remote_candidates.is_empty());
        }
        assert_eq!(streams[0].end_of_candidates, known.end_of_candidates, "{name}");
        let default = known.default_destination.map(|address| address.parse().unwrap());
        assert_eq!(streams[0].default_destination, default, "{name}");
        assert_eq!(description.options.to_string(), known.options, "{name}");
        assert_eq!(description.bundle, known.bundle, "{name}");
        assert_eq!(description.pacing.is_some(), known.options == "ice2", "{name}");
        assert!(!description.lite, "{name}");
    }
    let bodies = names(".sdp").len() - 1; // all but the one that is lines alone
    assert_eq!(bodies, KNOWN.len());
}

/// The candidates of the examples agree with a second reader's list of their fields.
#[test]
fn every_field_of_the_examples_is_read() {
    let examples: serde_json::Value = serde_json::from_str(&vector("examples.json")).unwrap();
    for (name, expected) in examples.as_object().unwrap() {
        let text = vector(name);
        let found: Vec<(i64, Candidate)> = if name.ends_with(".sdpfrag") {
            let sections = text.parse::<Fragment>().unwrap().sections;
            (0..)
                .zip(sections)
                .flat_map(|(index, s)| s.candidates.into_iter().map(move |c| (index, c)))
                .collect()
        } else if text.starts_with("v=") {
            let streams = Description::parse(&text).unwrap().streams;
            (0..)
                .zip(streams)
                .flat_map(|(index, s)| s.candidates.into_iter().map(move |c| (index, c)))
                .collect()
        } else {
            text.lines().map(|line| (-1, line.parse().unwrap())).collect()
        };
        let expected = expected.as_array().unwrap();
        assert_eq!(found.len(), expected.len(), "{name}");
        for ((index, candidate), expected) in found.iter().zip(expected) {
            assert_eq!(expected["mline"], *index, "{name}");
            same(candidate, expected);
        }
    }
}

fn same(candidate: &Candidate, expected: &serde_json::Value) {
    assert_eq!(expected["foundation"], candidate.foundation.as_str());
    assert_eq!(expected["component"], candidate.component);
    assert_eq!(expected["priority"], candidate.priority);
    let (host, port) = match &candidate.address {
        CandidateAddress::Ip(address) => (address.ip().to_string(), address.port()),
        CandidateAddress::Name { host, port } => (host.clone(), *port),
    };
    assert_eq!(expected["address"], host);
    assert_eq!(expected["port"], port);
    let kind = match candidate.kind {
        CandidateKind::Host => "host",
        CandidateKind::PeerReflexive => "prflx",
        CandidateKind::ServerReflexive => "srflx",
        CandidateKind::Relayed => "relay",
    };
    assert_eq!(expected["type"], kind);
    if let Some(related) = candidate.related {
        assert_eq!(expected["raddr"], related.ip().to_string());
        assert_eq!(expected["rport"], related.port());
    } else {
        assert!(expected["raddr"].is_null());
    }
    let tcp_type = candidate.tcp_type.map(|tcp_type| match tcp_type {
        TcpType::Active => "active",
        TcpType::Passive => "passive",
        TcpType::SimultaneousOpen => "so",
    });
    let transport = if tcp_type.is_some() { "tcp" } else { "udp" };
    assert!(expected["transport"].as_str().unwrap().eq_ignore_ascii_case(transport));
    let extensions = expected["extensions"].as_object();
    assert_eq!(extensions.and_then(|all| all.get("tcptype")?.as_str()), tcp_type);
    let others =
        extensions.map_or(0, |all| all.iter().filter(|(key, _)| *key != "tcptype").count());
    assert_eq!(candidate.extensions.len(), others);
    for (name, value) in &candidate.extensions {
        assert_eq!(extensions.unwrap()[name], *value);
    }
}

/// [rfc8840-7-1]
#[test]
fn every_fragment_says_what_it_is_known_to_say() {
    for (name, ufrag, sections, bundle, ends, lite) in [
        ("rfc8840-6-sdpfrag.sdpfrag", "8hhY", vec![("1", 1)], vec![], false, false),
        (
            "rfc8840-7-sdpfrag-bundle.sdpfrag",
            "8hhY",
            vec![("foo", 1)],
            vec!["foo", "bar"],
            false,
            false,
        ),
        ("rfc8840-fig7-sdpfrag.sdpfrag", "8hhY", vec![("1", 6), ("2", 6)], vec![], true, false),
        ("rfc9725-fig3-sdpfrag.sdpfrag", "EsAw", vec![("0", 4)], vec!["0", "1"], true, false),
        (
            "rfc9725-fig4-restart-request.sdpfrag",
            "ysXw",
            vec![("0", 4)],
            vec!["0", "1"],
            false,
            false,
        ),
        (
            "rfc9725-fig4-restart-response.sdpfrag",
            "289b31b754eaa438",
            vec![("0", 1)],
            vec!["0", "1"],
            true,
            true,
        ),
    ] {
        let fragment: Fragment = vector(name).parse().unwrap();
        let found: Vec<(&str, usize)> = fragment
            .sections
            .iter()
            .map(|section| (section.mid.as_deref().unwrap(), section.candidates.len()))
            .collect();
        assert_eq!(found, sections, "{name}");
        for section in &fragment.sections {
            assert_eq!(fragment.generation(section).unwrap().ufrag, ufrag, "{name}");
            assert_eq!(fragment.ends(section), ends, "{name}");
        }
        assert_eq!(
            (&fragment.bundle[..], fragment.lite),
            (&bundle[..].iter().map(|s| s.to_string()).collect::<Vec<_>>()[..], lite),
            "{name}"
        );
    }
}

/// Each line is what a peer hands over for one trickled candidate; an empty one is the end.
#[test]
fn every_trickled_candidate_is_read() {
    let mut read = 0;
    for name in names(".txt") {
        let text = vector(&name);
        for line in text.split_terminator("\r\n") {
            match line.parse::<Candidate>() {
                Ok(candidate) => {
                    read += 1;
                    assert_eq!(candidate.to_string().parse(), Ok(candidate), "{line}");
                }
                Err(error) => {
                    assert_eq!((line, error), ("", CandidateError::NotACandidate), "{name}");
                }
            }
        }
    }
    assert_eq!(read, 43);
}

/// Where the writer is exact, what it writes for a peer's line is that line, but for capitals
/// and for the hidden port.
#[test]
fn the_lines_of_other_stacks_are_written_as_they_were_read() {
    for name in names(".txt") {
        for line in vector(&name).split_terminator("\r\n").filter(|line| !line.is_empty()) {
            let expected = line.replace(" UDP ", " udp ").replace(" TCP ", " tcp ");
            assert_eq!(line.parse::<Candidate>().unwrap().to_string(), expected);
        }
    }
}

#[test]
fn a_body_written_anew_says_the_same() {
    for text in texts(".sdp").iter().filter(|text| text.starts_with("v=")) {
        let first = Description::parse(text).unwrap();
        let again = Description::parse(&first.to_sdp(&SessionTemplate::default())).unwrap();
        let mut expected = first.clone();
        for (stream, again) in expected.streams.iter_mut().zip(&again.streams) {
            stream.mid = stream.mid.take().or_else(|| again.mid.clone());
        }
        assert_eq!(again, expected, "{text}");
    }
    for text in texts(".sdpfrag") {
        let first: Fragment = text.parse().unwrap();
        assert_eq!(first.to_string().parse(), Ok(first));
    }
}

/// The files in `captured`: all that browsers and other stacks were seen to say in a lab.
fn captured(extension: &str) -> Vec<(String, String)> {
    let folder = vectors().join("captured");
    let mut files: Vec<(String, String)> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(extension))
        .map(|name| (fs::read_to_string(folder.join(&name)).unwrap(), name))
        .map(|(text, name)| (name, text))
        .collect();
    files.sort();
    files
}

#[test]
fn of_what_was_captured_every_line_is_read() {
    let bodies = captured(".sdp");
    assert_eq!(bodies.len(), 47);
    for (name, text) in &bodies {
        let description = Description::parse(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let candidates: usize = description.streams.iter().map(|s| s.candidates.len()).sum();
        assert_eq!(candidates, text.matches("\r\na=candidate:").count(), "{name}");
        assert_eq!(description.streams.len(), text.matches("\r\nm=").count(), "{name}");
        assert!(description.options.trickle, "{name}");
        for stream in &description.streams {
            assert!(stream.credentials.as_ref().unwrap().is_sendable(), "{name}");
            assert!(stream.mid.is_some() && !stream.rejected && !stream.mismatch, "{name}");
        }
        let again = Description::parse(&description.to_sdp(&SessionTemplate::default())).unwrap();
        assert_eq!(again, description, "{name}");
    }
    let mut read = 0;
    for (name, text) in captured(".txt") {
        for line in text.split_terminator("\r\n").filter(|line| !line.is_empty()) {
            let candidate: Candidate = line.parse().unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(candidate.to_string().parse(), Ok(candidate), "{line}");
            read += 1;
        }
    }
    assert_eq!(read, 149);
}

/// [RFC 8445 §9]
#[test]
fn the_restarts_of_browsers_are_seen() {
    let bodies = captured(".sdp");
    let restarts = bodies.iter().filter(|(name, _)| name.ends_with("-ice-restart-offer.sdp"));
    let mut seen = 0;
    for (name, text) in restarts {
        let of = name.replace("-ice-restart-offer.sdp", "-initial-offer.sdp");
        let Some((_, before)) = bodies.iter().find(|(known, _)| *known == of) else { continue };
        let (before, after) =
            (Description::parse(before).unwrap(), Description::parse(text).unwrap());
        assert_eq!(before.streams.len(), after.streams.len(), "{name}");
        for (before, after) in before.streams.iter().zip(&after.streams) {
            let [old, new] = [before, after].map(|stream| stream.credentials.as_ref().unwrap());
            assert_eq!(before.mid, after.mid, "{name}");
            assert!(old.ufrag != new.ufrag && old.password != new.password, "{name}");
        }
        seen += 1;
    }
    assert!(seen >= 8, "{seen}");
}
