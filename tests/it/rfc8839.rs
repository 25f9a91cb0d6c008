//! ICE in SDP. [RFC 8839] [RFC 6544]

use std::net::SocketAddr;
use std::time::Duration;

use floe::Protocol;
use floe::candidate::{Candidate, CandidateAddress, CandidateKind, Credentials, TcpType};
use floe::sdp::{
    CandidateError, Description, MAX_BODY, MAX_CANDIDATE_LINE, MAX_CANDIDATES, ParseErrorKind,
    SessionTemplate, StreamDescription,
};

const SESSION: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
const HOST: &str = "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host";
const UFRAG: &str = "a=ice-ufrag:abcd\r\n";
const PASSWORD: &str = "a=ice-pwd:FAKEpasswordFAKEpassword\r\n";
const MEDIA: &str = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n";

fn read(line: &str) -> Candidate {
    line.parse().unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn refused(line: &str) -> CandidateError {
    line.parse::<Candidate>().expect_err(line)
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A body with one section: `session` lines, then `media` lines.
fn body(session: &str, media: &str) -> String {
    format!("{SESSION}{session}{MEDIA}{media}")
}

fn parse(sdp: &str) -> Description {
    Description::parse(sdp).unwrap_or_else(|error| panic!("{error}\n{sdp}"))
}

fn error(sdp: &str) -> (u32, ParseErrorKind) {
    let error = Description::parse(sdp).expect_err(sdp);
    (error.line, error.kind)
}

fn credentials(ufrag: &str, password: &str) -> Credentials {
    Credentials { ufrag: ufrag.to_owned(), password: password.to_owned() }
}

/// A stream with credentials and these candidates.
fn stream(candidates: &[&str]) -> StreamDescription {
    let mut stream = StreamDescription::default();
    stream.credentials = Some(credentials("abcd", "FAKEpasswordFAKEpassword"));
    stream.candidates = candidates.iter().map(|line| read(line)).collect();
    stream
}

fn description(streams: Vec<StreamDescription>) -> Description {
    let mut description = Description::default();
    description.streams = streams;
    description
}

fn written(description: &Description) -> String {
    description.to_sdp(&SessionTemplate::default())
}

/// [rfc8839-4.3.1-1] [rfc8839-4.3.2-1] [rfc8840-4.1.1-1] [rfc8840-4.1.3-1]
#[test]
fn every_candidate_is_written_as_the_grammar_has_it() {
    for line in [
        HOST,
        "candidate:a+/Z 256 udp 1 2001:db8::1 65535 typ host",
        "candidate:2 1 udp 1694498815 192.0.2.3 45664 typ srflx raddr 203.0.113.141 rport 8998",
        "candidate:3 2 udp 4294967295 192.0.2.3 0 typ prflx raddr 0.0.0.0 rport 9",
        "candidate:4 1 udp 16777215 192.0.2.3 1 typ relay raddr :: rport 9 generation 0 ufrag x",
        "candidate:5 1 tcp 2128609279 192.0.2.1 9 typ host tcptype active",
        "candidate:6 1 tcp 5 192.0.2.1 7 typ srflx raddr 192.0.2.9 rport 9 tcptype so k v",
        "candidate:7 1 udp 2122262783 1f4712db-ea17.local 54596 typ host network-cost 999",
    ] {
        let candidate = read(line);
        assert_eq!(candidate.to_string(), line);
        assert_eq!(read(&format!("a={line}\r\n")), candidate);
        assert_eq!(read(&format!("{line}\n")), candidate);
    }
    let sdp = written(&description(vec![stream(&[HOST, "candidate:2 1 udp 5 ::1 1 typ host"])]));
    assert!(sdp.contains(&format!("a={HOST}\r\na=candidate:2 1 udp 5 ::1 1 typ host\r\n")));
}

/// [rfc8839-5.1-p1]
#[test]
fn words_count_in_whatever_case_and_a_colon_makes_the_address_ipv6() {
    let long = "a=CANDIDATE:0 1 UDP 5 2001:DB8:0:0:0:0:0:BEEF 7 TYP SRFLX RADDR 0.0.0.0 RPORT 0";
    let candidate = read(long);
    assert_eq!(candidate.protocol, Protocol::Udp);
    assert_eq!(candidate.kind, CandidateKind::ServerReflexive);
    assert_eq!(candidate.socket_address(), Some(address("[2001:db8::beef]:7")));
    assert_eq!(candidate.related, Some(address("0.0.0.0:0")));
    let zone = read("candidate:0 1 udp 5 fe80::1%eth0 7 typ host");
    assert_eq!(zone.socket_address(), Some(address("[fe80::1]:7")));
}

/// [rfc8839-5.1-10]
#[test]
fn unknown_pairs_are_kept_and_change_nothing() {
    let line =
        format!("{HOST} generation 0 ufrag EsAw network-id 3 x-new a=b:c empty  network-cost 10");
    let candidate = read(&line);
    assert_eq!(candidate.ufrag(), Some("EsAw"));
    assert_eq!(candidate.network_cost(), Some(10));
    assert_eq!(candidate.extension("empty"), Some(""));
    assert_eq!(candidate.to_string(), line);
    let mut plain = candidate;
    plain.extensions.clear();
    assert_eq!(plain, read(HOST));
    assert_eq!(read(&format!("{HOST} k\u{7} v k2 \u{e9}")), read(HOST));
}

/// [rfc8839-5.1-2] [rfc8839-5.1-p1]
#[test]
fn a_candidate_of_an_unknown_sort_is_skipped_and_the_others_are_read() {
    let unknown = [
        ("candidate:1 1 sctp 5 192.0.2.1 5000 typ host", CandidateError::Transport),
        ("candidate:1 1 ssltcp 5 192.0.2.1 443 typ host", CandidateError::Transport),
        ("candidate:1 1 udp 5 192.0.2.1 5000 typ teleport", CandidateError::Kind),
        ("candidate:1 1 udp 5 192.0.2.256 5000 typ host", CandidateError::Address),
        ("candidate:1 1 udp 5 v7:1:2 5000 typ host", CandidateError::Address),
    ];
    for (line, error) in unknown {
        assert_eq!(refused(line), error);
        assert!(error.is_unsupported());
        let sdp = body("", &format!("{UFRAG}{PASSWORD}a={line}\r\na={HOST}\r\n"));
        assert_eq!(parse(&sdp).streams[0].candidates, [read(HOST)]);
    }
    for name in ["turn.example.org", "a.b.local", ".local", "localhost"] {
        let line = format!("a=candidate:1 1 udp 5 {name} 5000 typ host\r\n");
        assert!(matches!(read(&line).address, CandidateAddress::Name { .. }));
        assert!(parse(&body("", &line)).streams[0].candidates.is_empty(), "{name}");
    }
    let mdns = "candidate:1 1 udp 5 5b9bf245-8a15.local 5000 typ host";
    assert_eq!(parse(&body("", &format!("a={mdns}\r\n"))).streams[0].candidates, [read(mdns)]);
}

#[test]
fn a_damaged_candidate_line_names_the_line_and_the_field() {
    for (line, expected) in [
        ("candidate:", CandidateError::Foundation),
        (
            "candidate:123456789012345678901234567890123 1 udp 5 192.0.2.1 1 typ host",
            CandidateError::Foundation,
        ),
        ("candidate:1 0 udp 5 192.0.2.1 1 typ host", CandidateError::Component),
        ("candidate:1 257 udp 5 192.0.2.1 1 typ host", CandidateError::Component),
        ("candidate:1 -1 udp 5 192.0.2.1 1 typ host", CandidateError::Component),
        ("candidate:1 1 udp 4294967296 192.0.2.1 1 typ host", CandidateError::Priority),
        ("candidate:1 1 udp 12345678901 192.0.2.1 1 typ host", CandidateError::Priority),
        ("candidate:1 1 udp 5 192.0.2.1 65536 typ host", CandidateError::Port),
        ("candidate:1 1 udp 5 192.0.2.1 1", CandidateError::Typ),
        ("candidate:1 1 tcp 5 192.0.2.1 1 typ host tcptype sideways", CandidateError::TcpType),
    ] {
        assert_eq!(refused(line), expected, "{line}");
        assert!(!expected.is_unsupported());
        assert_eq!(
            error(&body("", &format!("a={line}\r\n"))),
            (7, ParseErrorKind::Candidate(expected))
        );
    }
    assert_eq!(refused(""), CandidateError::NotACandidate);
    assert_eq!(refused("a=mid:0"), CandidateError::NotACandidate);
    assert_eq!(refused(&format!("{HOST} {}", "x y ".repeat(1024))), CandidateError::TooLong);
    assert!(HOST.len() < MAX_CANDIDATE_LINE);
    let shown = Description::parse(&body("", "a=candidate:1 0\r\n")).unwrap_err().to_string();
    assert_eq!(shown, "line 7: field 2, the component, is not 1 to 256");
}

/// [rfc8839-5.1-6] [rfc8839-5.1-7] [rfc8839-5.1-8] [rfc8839-5.1-p2] [rfc8839-9.1-1]
#[test]
fn only_a_host_candidate_has_no_related_address_and_a_missing_one_is_hidden() {
    for (line, related) in [
        ("candidate:1 1 udp 5 192.0.2.1 1 typ srflx", "0.0.0.0:9"),
        ("candidate:1 1 udp 5 2001:db8::1 1 typ relay", "[::]:9"),
        ("candidate:1 1 udp 5 2001:db8::1 1 typ prflx raddr ::/0 rport 5", "[::]:9"),
        ("candidate:1 1 udp 5 192.0.2.1 1 typ srflx raddr 192.0.2.7 rport 70000", "0.0.0.0:9"),
        ("candidate:1 1 udp 5 192.0.2.1 1 typ srflx raddr 192.0.2.7 rport 7", "192.0.2.7:7"),
    ] {
        assert_eq!(read(line).related, Some(address(related)), "{line}");
    }
    let mut hidden = read("candidate:1 1 udp 5 2001:db8::1 1 typ relay");
    hidden.related = None;
    assert!(hidden.to_string().ends_with(" typ relay raddr :: rport 9"));

    let mut host = read(&format!("{HOST} raddr 192.0.2.7 rport 7"));
    assert_eq!(host, read(HOST));
    host.related = Some(address("192.0.2.7:7"));
    assert_eq!(host.to_string(), HOST);
}

/// [rfc6544-4.5-p1]
#[test]
fn a_tcp_candidate_has_a_direction_and_is_passive_without_one() {
    for (word, tcp_type) in [
        (" tcptype active", TcpType::Active),
        (" tcptype PASSIVE", TcpType::Passive),
        (" tcptype so", TcpType::SimultaneousOpen),
        ("", TcpType::Passive),
    ] {
        let candidate = read(&format!("candidate:1 1 TCP 5 192.0.2.1 9 typ host{word}"));
        assert_eq!((candidate.protocol, candidate.tcp_type), (Protocol::Tcp, Some(tcp_type)));
    }
    assert_eq!(read(&format!("{HOST} tcptype active")), read(HOST));
}

#[test]
fn no_field_of_a_candidate_breaks_out_of_its_line() {
    let mut candidate = read(HOST);
    candidate.address =
        CandidateAddress::Name { host: "a.local 5 typ host\r\na=ice-lite".into(), port: 5 };
    candidate.extensions = vec![
        ("k\r\na=x".into(), "v".into()),
        ("k".into(), "v w".into()),
        ("raddr".into(), "192.0.2.7".into()),
        (String::new(), "v".into()),
        ("good".into(), "value".into()),
    ];
    let line = candidate.to_string();
    assert_eq!(line, "candidate:1 1 udp 2130706431 name.invalid 5 typ host good value");
}

/// [rfc8839-5.4-1] [rfc8839-4.2.5-p1]
#[test]
fn credentials_of_a_section_go_before_those_of_the_session() {
    let other = "a=ice-pwd:OTHERpasswordOTHERpassword\r\n";
    let second = format!("{MEDIA}a=ice-ufrag:efgh\r\n{other}{MEDIA}a=ice-ufrag:ijkl\r\n");
    let sdp = format!("{SESSION}{UFRAG}{PASSWORD}{MEDIA}{second}");
    let found: Vec<_> = parse(&sdp).streams.into_iter().map(|s| s.credentials.unwrap()).collect();
    assert_eq!(
        found,
        [
            credentials("abcd", "FAKEpasswordFAKEpassword"),
            credentials("efgh", "OTHERpasswordOTHERpassword"),
            credentials("ijkl", "FAKEpasswordFAKEpassword"),
        ]
    );
    assert_eq!(parse(&body("", UFRAG)).streams[0].credentials, None);
    assert_eq!(parse(&body("", PASSWORD)).streams[0].credentials, None);
}

/// [rfc8839-5.4-2]
#[test]
fn one_ufrag_with_two_passwords_is_refused() {
    let other = "a=ice-pwd:OTHERpasswordOTHERpassword\r\n";
    let one = format!("{SESSION}{UFRAG}{MEDIA}{PASSWORD}{MEDIA}{PASSWORD}");
    assert_eq!(parse(&one).streams.len(), 2);
    let two = format!("{SESSION}{UFRAG}{MEDIA}{PASSWORD}{MEDIA}{other}");
    assert_eq!(error(&two), (9, ParseErrorKind::PasswordsDiffer));
}

/// [rfc8839-5.4-4] [rfc8839-5.4-5b] [rfc8839-5.4-p1]
#[test]
fn a_ufrag_of_4_to_256_and_a_password_of_22_to_256_characters_is_read() {
    for (ufrag, password) in [(4, 22), (5, 32), (256, 256)] {
        let (ufrag, password) = ("u".repeat(ufrag), "p".repeat(password));
        let sdp = body("", &format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\n"));
        assert_eq!(parse(&sdp).streams[0].credentials, Some(credentials(&ufrag, &password)));
    }
    let visible = body("", &format!("a=ice-ufrag:a-_=b\r\n{PASSWORD}"));
    assert_eq!(parse(&visible).streams[0].credentials.as_ref().unwrap().ufrag, "a-_=b");
    for ufrag in ["abc", "ab cd", "ab\u{e9}d", &"u".repeat(257)] {
        let sdp = body("", &format!("a=ice-ufrag:{ufrag}\r\n"));
        assert_eq!(error(&sdp), (7, ParseErrorKind::Ufrag));
    }
    for password in ["p".repeat(21), "p".repeat(257)] {
        let sdp = body("", &format!("a=ice-pwd:{password}\r\n"));
        assert_eq!(error(&sdp), (7, ParseErrorKind::Password));
    }
}

/// [rfc8839-5.4-5a] [rfc8839-5.4-p1]
#[test]
fn own_credentials_are_ice_chars_and_a_ufrag_of_at_most_32() {
    let password = "p".repeat(22);
    assert!(credentials("aZ0+", &password).is_sendable());
    assert!(credentials(&"/".repeat(32), &"p".repeat(256)).is_sendable());
    assert!(!credentials(&"u".repeat(33), &password).is_sendable());
    assert!(!credentials("a-cd", &password).is_sendable());
    assert!(!credentials("abc", &password).is_sendable());
    assert!(!credentials("abcd", &"p".repeat(21)).is_sendable());
}

/// [rfc8839-4.2.1.4-1] [rfc8839-4.2.1.4-2] [rfc8839-4.3.1-4] [rfc8839-4.3.2-4]
#[test]
fn a_full_side_writes_its_pacing_and_a_lite_side_only_that_it_is_lite() {
    let mut full = description(vec![stream(&[HOST])]);
    full.pacing = Some(Duration::from_millis(20));
    let sdp = written(&full);
    assert!(sdp.contains("a=ice-pacing:20\r\n") && !sdp.contains("ice-lite"));
    full.lite = true;
    let sdp = written(&full);
    assert!(sdp.contains("a=ice-lite\r\n") && !sdp.contains("ice-pacing"));
    assert!(parse(&sdp).lite);
    let pacing = parse(&body("a=ice-lite\r\na=ice-pacing:20\r\n", "")).pacing;
    assert_eq!(pacing, None);
    assert!(!parse(&body("", "a=ice-lite\r\n")).lite, "it is of the session");
}

/// [rfc8839-5.5-p1]
#[test]
fn pacing_is_of_the_session_and_in_milliseconds() {
    assert_eq!(parse(&body("a=ice-pacing:50\r\n", "")).pacing, Some(Duration::from_millis(50)));
    assert_eq!(parse(&body("", "a=ice-pacing:50\r\n")).pacing, None);
    assert_eq!(error(&body("a=ice-pacing:soon\r\n", "")), (5, ParseErrorKind::Pacing));
    let mut description = Description::default();
    description.pacing = Some(Duration::from_micros(5_001));
    assert!(written(&description).contains("a=ice-pacing:6\r\n"));
}

/// [rfc8839-5.6-p1]
#[test]
fn options_are_read_at_either_level_and_written_for_the_session() {
    let at_session = parse(&body("a=ice-options:ice2 rtp+ecn\r\n", "")).options;
    assert!(at_session.ice2 && !at_session.trickle);
    assert_eq!(at_session.other, ["rtp+ecn"]);
    let at_section =
        parse(&body("", "a=ice-options:trickle renomination goog-sped-v1\r\n")).options;
    assert!(at_section.trickle && at_section.renomination && !at_section.ice2);

    let mut description = description(vec![stream(&[])]);
    description.options.ice2 = true;
    description.options.other = vec!["rtp+ecn".into(), "no good".into()];
    let sdp = written(&description);
    let (session, section) = sdp.split_once("m=").unwrap();
    assert!(session.contains("a=ice-options:ice2 rtp+ecn\r\n"), "{sdp}");
    assert!(!section.contains("ice-options"));
}

/// [rfc8839-4.2.1-p1] [rfc8839-4.3.2-6] [rfc6544-4.3-1] [rfc6544-4.3-2]
#[test]
fn the_default_destination_is_the_given_one_then_the_default_candidate_then_a_placeholder() {
    let relay = "candidate:3 1 udp 1 198.51.100.3 3000 typ relay raddr 192.0.2.1 rport 5000";
    let srflx = "candidate:2 1 udp 9 198.51.100.2 2000 typ srflx raddr 192.0.2.1 rport 5000";
    let tcp = "candidate:4 1 tcp 99 198.51.100.4 9 typ relay raddr :: rport 9 tcptype so";
    let second = "candidate:3 2 udp 1 198.51.100.3 3001 typ relay raddr 192.0.2.1 rport 5001";
    let mdns = "candidate:1 1 udp 5 5b9bf245-8a15.local 5000 typ host";
    let lines = |description: &Description| {
        let sdp = written(description);
        let line =
            |start: &str| sdp.lines().rfind(|line| line.starts_with(start)).unwrap().to_owned();
        (line("m=").split(' ').nth(1).unwrap().to_owned(), line("c="))
    };
    let is = |candidates: &[&str], port: &str, connection: &str| {
        let found = lines(&description(vec![stream(candidates)]));
        assert_eq!(found, (port.into(), connection.into()), "{candidates:?}");
    };
    is(&[HOST, srflx, relay, tcp, second], "3000", "c=IN IP4 198.51.100.3");
    is(&[HOST, srflx, tcp], "2000", "c=IN IP4 198.51.100.2");
    is(&["candidate:1 1 udp 5 2001:db8::1 7 typ host"], "7", "c=IN IP6 2001:db8::1");
    is(&[tcp, second, mdns], "9", "c=IN IP4 0.0.0.0");
    is(&[], "9", "c=IN IP4 0.0.0.0");

    let mut nominated = description(vec![stream(&[HOST, relay])]);
    nominated.options.trickle = true;
    assert_eq!(lines(&nominated), ("9".into(), "c=IN IP4 0.0.0.0".into()));
    nominated.streams[0].default_destination = Some(address("192.0.2.1:5000"));
    assert_eq!(lines(&nominated), ("5000".into(), "c=IN IP4 192.0.2.1".into()));
}

/// [rfc8839-4.2.5-4a] [rfc8839-4.2.5-4b] [rfc8839-4.2.5-6a] [rfc8839-4.2.5-6b]
#[test]
fn a_placeholder_or_a_name_is_no_default_destination() {
    for (connection, port, expected) in [
        ("IN IP4 0.0.0.0", 9, None),
        ("IN IP6 ::", 9, None),
        ("IN IP4 host.example.org", 5000, None),
        ("IN IP4 192.0.2.1", 9, Some("192.0.2.1:9")),
        ("IN IP4 192.0.2.1/127", 5000, Some("192.0.2.1:5000")),
        ("IN IP6 2001:db8::1", 5000, Some("[2001:db8::1]:5000")),
    ] {
        let media = format!("m=audio {port} RTP/AVP 0\r\n{UFRAG}{PASSWORD}a={HOST}\r\n");
        for sdp in [
            format!("{SESSION}c={connection}\r\n{media}"),
            format!("{SESSION}c=IN IP4 192.0.2.99\r\n{media}c={connection}\r\n"),
        ] {
            let stream = &parse(&sdp).streams[0];
            assert_eq!(stream.default_destination, expected.map(address), "{connection}");
            assert!(!stream.mismatch && stream.candidates.len() == 1);
        }
    }
}

/// [rfc8839-4.2.5-3a] [rfc8839-5.3-1a]
#[test]
fn a_stream_with_a_mismatch_has_no_candidates() {
    let media = format!("{UFRAG}{PASSWORD}a={HOST}\r\na=ice-mismatch\r\n");
    let read = &parse(&body("", &media)).streams[0];
    assert!(read.mismatch && read.candidates.is_empty());
    let mut stream = stream(&[HOST]);
    stream.mismatch = true;
    let sdp = written(&description(vec![stream]));
    assert!(sdp.contains("a=ice-mismatch\r\n") && !sdp.contains("candidate"));
    assert!(!sdp.contains("192.0.2.1"), "no candidate is its default destination");
    assert!(!parse(&body("a=ice-mismatch\r\n", "")).streams[0].mismatch);
}

/// [rfc8839-4.2.1.6-1] [rfc8839-4.2.1.6-2] [rfc8839-4.4.1.1.2-1a] [rfc8839-4.4.1.1.2-1b]
#[test]
fn a_rejected_stream_has_port_0_and_no_ice_attributes_and_an_inactive_one_has_all() {
    let media = "m=audio 0 RTP/AVP 0\r\na=mid:x\r\n";
    let sdp = format!("{SESSION}{UFRAG}{PASSWORD}{media}a={HOST}\r\n");
    let mut expected = StreamDescription::default();
    (expected.mid, expected.rejected) = (Some("x".into()), true);
    assert_eq!(parse(&sdp).streams, [expected]);
    let bundled = &parse(&format!("{sdp}a=bundle-only\r\n")).streams[0];
    assert!(!bundled.rejected && bundled.credentials.is_some());
    let addressed = parse(&format!("{sdp}a=bundle-only\r\nc=IN IP4 192.0.2.1\r\n"));
    assert_eq!(addressed.streams[0].default_destination, None);

    let mut rejected = stream(&[HOST]);
    rejected.rejected = true;
    let sdp = written(&description(vec![rejected]));
    assert!(
        sdp.contains("m=application 0 ") && !sdp.contains("a=ice") && !sdp.contains("candidate")
    );

    let mut template = SessionTemplate::default();
    template.attributes = vec!["a=inactive".into(), "b=AS:0".into(), "a=x\r\na=y".into()];
    let sdp = description(vec![stream(&[HOST])]).to_sdp(&template);
    assert!(sdp.contains(HOST) && sdp.contains(UFRAG) && sdp.contains(PASSWORD));
    assert!(sdp.ends_with("a=inactive\r\nb=AS:0\r\n"));
}

#[test]
fn remote_candidates_may_take_one_line_or_many() {
    let expected = [(1, address("192.0.2.3:45664")), (2, address("[2001:db8::3]:45665"))];
    for lines in [
        "a=remote-candidates:1 192.0.2.3 45664 2 2001:db8::3 45665\r\n",
        "a=remote-candidates:1 192.0.2.3 45664\r\na=remote-candidates:2 2001:db8::3 45665\r\n",
    ] {
        assert_eq!(parse(&body("", lines)).streams[0].remote_candidates, expected);
    }
    let mut stream = stream(&[]);
    stream.remote_candidates = expected.to_vec();
    let line = "a=remote-candidates:1 192.0.2.3 45664 2 2001:db8::3 45665\r\n";
    assert!(written(&description(vec![stream])).contains(line));
    assert!(!written(&description(vec![self::stream(&[HOST])])).contains("remote-candidates"));
    let damaged = body("", "a=remote-candidates:1 192.0.2.3\r\n");
    assert_eq!(error(&damaged), (7, ParseErrorKind::RemoteCandidates));
}

#[test]
fn a_body_that_is_too_much_or_none_is_refused() {
    let line = format!("a={HOST}\r\n");
    let fits = body("", &line.repeat(MAX_CANDIDATES));
    assert_eq!(parse(&fits).streams[0].candidates.len(), MAX_CANDIDATES);
    let many = body("", &line.repeat(MAX_CANDIDATES + 1));
    assert_eq!(error(&many), (7 + 1000, ParseErrorKind::TooManyCandidates));
    let long = body("", &"x".repeat(MAX_BODY));
    assert_eq!(error(&long), (1, ParseErrorKind::TooLong));
    for none in ["", "\r\n", "{\"type\":\"offer\"}", "a=ice-lite\r\n"] {
        assert_eq!(error(none).1, ParseErrorKind::NotSdp);
    }
    let options: String = (0..99).map(|number| format!(" x{number}")).collect();
    let kept = parse(&body(&format!("a=ice-options:{options}\r\n"), "")).options.other;
    assert_eq!(kept.len(), 32);
    let name = "n".repeat(256);
    let line = format!("candidate:1 1 udp 5 {name} 5000 typ host");
    assert_eq!(refused(&line), CandidateError::Address);
    let portless = format!("{SESSION}m=audio\r\n");
    assert_eq!(error(&portless), (5, ParseErrorKind::Media));
}

#[test]
fn line_ends_of_either_sort_are_read() {
    let sdp = body("a=ice-options:ice2\r\n", &format!("{UFRAG}{PASSWORD}a={HOST}\r\n"));
    assert_eq!(parse(&sdp.replace("\r\n", "\n")), parse(&sdp));
}
