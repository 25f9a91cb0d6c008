//! Fragments of SDP for trickled candidates, and trickle in offers and answers. [RFC 8840]

use floe::candidate::{Candidate, Credentials};
use floe::sdp::{Description, Fragment, FragmentSection, SessionTemplate, StreamDescription};

const HOST: &str = "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host";
const SRFLX: &str = "candidate:2 1 udp 5 192.0.2.3 5010 typ srflx raddr 192.0.2.1 rport 8998";

fn credentials(ufrag: &str) -> Credentials {
    Credentials { ufrag: ufrag.into(), password: "FAKEpasswordFAKEpassword".into() }
}

fn candidates(lines: &[&str]) -> Vec<Candidate> {
    lines.iter().map(|line| line.parse().unwrap()).collect()
}

fn read(text: &str) -> Fragment {
    text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Two streams, the second of them trickled to its end.
fn description() -> Description {
    let mut first = StreamDescription::default();
    first.mid = Some("foo".into());
    first.credentials = Some(credentials("abcd"));
    first.candidates = candidates(&[HOST]);
    let mut second = first.clone();
    second.mid = Some("bar".into());
    second.candidates = candidates(&[HOST, SRFLX]);
    second.end_of_candidates = true;
    let mut description = Description::default();
    description.options.trickle = true;
    description.bundle = vec!["foo".into(), "bar".into()];
    description.streams = vec![first, second];
    description
}

/// [rfc8840-4.1.1-2] [rfc8840-4.1.1-3] [rfc8840-4.1.3-2] [rfc8840-4.1.3-3] [rfc8840-4.1.1-4]
/// [rfc8840-4.1.3-4] [rfc8840-4.1.1-5b] [rfc8840-4.1.3-5b] [rfc8840-4-3]
#[test]
fn a_description_without_candidates_has_a_placeholder_a_mid_and_the_option_but_no_rtcp() {
    let mut description = description();
    for stream in &mut description.streams {
        stream.candidates.clear();
        stream.mid = None;
    }
    let sdp = description.to_sdp(&SessionTemplate::default());
    assert!(sdp.contains("a=ice-options:trickle\r\n"));
    for section in sdp.split("m=").skip(1) {
        assert!(section.starts_with("application 9 "));
        assert!(section.contains("c=IN IP4 0.0.0.0\r\n"));
        assert!(section.contains("a=mid:"));
    }
    assert!(!sdp.contains("a=rtcp"));
    let mids = Description::parse(&sdp).unwrap().streams.into_iter().map(|stream| stream.mid);
    assert_eq!(mids.flatten().collect::<Vec<_>>(), ["0", "1"]);
}

/// [rfc8840-4.1.2-2] [rfc8840-4.1.4-1]
#[test]
fn a_description_without_candidates_is_no_mismatch() {
    let mut description = description();
    description.streams[0].candidates.clear();
    let sdp = description.to_sdp(&SessionTemplate::default());
    let stream = &Description::parse(&sdp).unwrap().streams[0];
    assert!(!stream.mismatch && !stream.rejected && stream.credentials.is_some());
    assert_eq!(stream.default_destination, None);
}

/// [rfc8838-18-2] [rfc8840-4.4-1] [rfc8840-4.4-4] [rfc8840-4.4-5] [rfc8840-4.4-6] [rfc8840-4.4-7] [rfc8840-4.4-8]
/// [rfc8840-4.4-11] [rfc8840-4.4-12] [rfc8840-7-1] [rfc8840-7-2] [rfc8840-9.2-1a] [rfc8840-9.2-2]
#[test]
fn a_fragment_repeats_each_stream_under_a_pseudo_media_line() {
    let pseudo = "m=audio 9 RTP/AVP 0\r\n\
                  a=ice-ufrag:abcd\r\na=ice-pwd:FAKEpasswordFAKEpassword\r\n";
    let expected = format!(
        "a=group:BUNDLE foo bar\r\n\
         {pseudo}a=mid:foo\r\na={HOST}\r\n\
         {pseudo}a=mid:bar\r\na={HOST}\r\na={SRFLX}\r\na=end-of-candidates\r\n"
    );
    let fragment = Fragment::of(&description());
    assert_eq!(fragment.to_string(), expected);
    assert_eq!(read(&expected), fragment);
    assert_eq!(Fragment::MEDIA_TYPE, "application/trickle-ice-sdpfrag");
}

/// [rfc8840-4.4-2] [rfc8840-4.4-3]
#[test]
fn what_a_pseudo_media_line_holds_changes_nothing() {
    for media in ["audio 9 RTP/AVP 0", "video 4711 UDP/TLS/RTP/SAVPF 96 97", "x", "audio 0 y 0"] {
        let section = &read(&format!("m={media}\r\na=mid:1\r\na={HOST}\r\n")).sections[0];
        assert_eq!(section.media, media);
        assert_eq!(section.mid.as_deref(), Some("1"));
        assert_eq!(section.candidates, candidates(&[HOST]));
    }
}

/// [rfc8840-4.4-9] [rfc8840-4.4-10]
#[test]
fn sections_of_another_generation_are_told_apart() {
    let password = "a=ice-pwd:FAKEpasswordFAKEpassword\r\n";
    let fragment = read(&format!(
        "a=ice-ufrag:abcd\r\n{password}m=audio 9 RTP/AVP 0\r\na=mid:0\r\na={HOST}\r\n\
         m=audio 9 RTP/AVP 0\r\na=ice-ufrag:efgh\r\na=mid:1\r\na={HOST}\r\n"
    ));
    let mids = |ufrag: &str| -> Vec<String> {
        let current = credentials(ufrag);
        fragment.sections_of(&current).filter_map(|section| section.mid.clone()).collect()
    };
    assert_eq!((mids("abcd"), mids("efgh")), (vec!["0".into()], vec!["1".into()]));
    assert!(mids("late").is_empty());
    let stolen = Credentials { password: "another-password-of-22".into(), ..credentials("abcd") };
    assert_eq!(fragment.sections_of(&stolen).count(), 0);
    assert_eq!(read("m=audio 9 RTP/AVP 0\r\n").sections_of(&credentials("abcd")).count(), 0);
}

/// [rfc8840-4.4-p2]
#[test]
fn the_end_of_candidates_before_the_sections_is_for_all_and_within_one_for_that() {
    let sections = "m=audio 9 RTP/AVP 0\r\na=mid:0\r\nm=audio 9 RTP/AVP 0\r\na=mid:1\r\n";
    let ends = |text: &str| -> Vec<bool> {
        let fragment = read(text);
        fragment.sections.iter().map(|section| fragment.ends(section)).collect()
    };
    assert_eq!(ends(sections), [false, false]);
    assert_eq!(ends(&format!("a=end-of-candidates\r\n{sections}")), [true, true]);
    assert_eq!(ends(&format!("{sections}a=end-of-candidates\r\n")), [false, true]);
}

/// [rfc8840-4.4-14] [rfc8840-4.4-15] [rfc8840-4.4-p1]
#[test]
fn candidates_already_known_are_dropped_and_the_others_keep_their_order() {
    let same = "candidate:77 1 udp 9 192.0.2.1 5000 typ prflx raddr 192.0.2.1 rport 5000";
    let other_port = "candidate:1 1 udp 2130706431 192.0.2.1 5001 typ host";
    let other_component = "candidate:1 2 udp 2130706431 192.0.2.1 5000 typ host";
    let other_transport = "candidate:1 1 tcp 2130706431 192.0.2.1 5000 typ host";
    let mut section = FragmentSection::default();
    section.candidates = candidates(&[other_transport, same, other_port, HOST, other_component]);
    let known = candidates(&[HOST]);
    let fresh: Vec<Candidate> = section.unknown_to(&known).cloned().collect();
    assert_eq!(fresh, candidates(&[other_transport, other_port, other_component]));
}

/// [rfc8840-9.2-1b] [rfc8840-9.2-3]
#[test]
fn names_count_in_whatever_case_and_unknown_attributes_are_ignored() {
    let fragment = read(&format!(
        "a=ICE-LITE\na=Ice-Options:trickle\na=x-new:1\nz=?\nnonsense\n\
         m=audio 9 RTP/AVP 0\na=MID:1\na=rtcp-mux\na=rtcp-mux-only\na=rtcp\n\
         a=ICE-Ufrag:abcd\na=ICE-PWD:FAKEpasswordFAKEpassword\na=Candidate{}\na=x-other\n",
        HOST.strip_prefix("candidate").unwrap()
    ));
    assert!(fragment.lite && fragment.options.trickle);
    let section = &fragment.sections[0];
    assert_eq!(section.credentials, Some(credentials("abcd")));
    assert_eq!(section.candidates, candidates(&[HOST]));
}

#[test]
fn no_field_of_a_fragment_breaks_out_of_its_line() {
    let mut section = FragmentSection::default();
    section.media = "audio 9\r\na=ice-lite".into();
    section.mid = Some("0\r\na=ice-lite".into());
    section.credentials = Some(credentials("ab\r\na=ice-lite"));
    let mut fragment = Fragment::default();
    fragment.bundle = vec!["0\r\na=ice-lite".into()];
    fragment.sections = vec![section];
    let text = fragment.to_string();
    assert_eq!(text, "a=group:BUNDLE\r\nm=audio 9 RTP/AVP 0\r\n");
}
