//! Trickle ICE: what descriptions and candidate lines say of it. [RFC 8838]

use floe::candidate::{Candidate, Credentials};
use floe::sdp::{Description, Fragment, SessionTemplate, StreamDescription};

const SESSION: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
const MEDIA: &str = "m=audio 9 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n";
const UFRAG: &str = "a=ice-ufrag:abcd\r\na=ice-pwd:FAKEpasswordFAKEpassword\r\n";

fn trickles(sections: &[&str]) -> bool {
    let sections: String =
        sections.iter().map(|section| format!("{MEDIA}{UFRAG}{section}")).collect();
    Description::parse(&format!("{SESSION}{sections}")).unwrap().options.trickle
}

/// [rfc8838-3-3a] [rfc8838-3-3b]
#[test]
fn the_trickle_option_counts_for_the_session_or_for_every_stream() {
    let on = "a=ice-options:ice2 trickle\r\n";
    assert!(trickles(&[on]) && trickles(&[on, on]));
    assert!(!trickles(&[on, ""]) && !trickles(&["", on]));
    let bundled = format!("{SESSION}{MEDIA}{UFRAG}{on}{MEDIA}");
    assert!(Description::parse(&bundled).unwrap().options.trickle);

    let mut description = Description::default();
    description.options.trickle = true;
    description.streams = vec![StreamDescription::default(); 2];
    let sdp = description.to_sdp(&SessionTemplate::default());
    let (session, sections) = sdp.split_once("m=").unwrap();
    assert!(session.contains("a=ice-options:trickle\r\n") && !sections.contains("trickle"));
}

/// [rfc8838-9-p2]
#[test]
fn a_trickled_candidate_may_name_its_generation() {
    let line = "candidate:1 1 udp 5 192.0.2.1 5000 typ host generation 1 ufrag ysXw";
    let candidate: Candidate = line.parse().unwrap();
    assert_eq!(candidate.ufrag(), Some("ysXw"));
}

/// [rfc8838-13-1] [rfc8838-18-5a] [rfc8838-18-5b] [rfc8840-8.2-1] [rfc8840-8.2-2]
#[test]
fn the_end_of_candidates_comes_with_its_generation() {
    let mut stream = StreamDescription::default();
    let credentials =
        Credentials { ufrag: "abcd".into(), password: "FAKEpasswordFAKEpassword".into() };
    stream.credentials = Some(credentials.clone());
    stream.end_of_candidates = true;
    let mut description = Description::default();
    description.streams = vec![stream];

    let sdp = description.to_sdp(&SessionTemplate::default());
    assert!(sdp.contains(UFRAG) && sdp.contains("a=end-of-candidates\r\n"));
    assert!(Description::parse(&sdp).unwrap().streams[0].end_of_candidates);

    let text = Fragment::of(&description).to_string();
    assert!(text.contains(UFRAG) && text.contains("a=end-of-candidates\r\n"));
    let fragment: Fragment = text.parse().unwrap();
    let section = &fragment.sections[0];
    assert_eq!(fragment.generation(section), Some(&credentials));
    assert!(fragment.ends(section));
}

/// [rfc8840-8.2-1]
#[test]
fn an_end_of_candidates_of_the_session_is_that_of_every_stream() {
    let sdp = format!("{SESSION}a=end-of-candidates\r\n{MEDIA}{UFRAG}{MEDIA}{UFRAG}");
    let streams = Description::parse(&sdp).unwrap().streams;
    assert!(streams.len() == 2 && streams.iter().all(|stream| stream.end_of_candidates));
}
