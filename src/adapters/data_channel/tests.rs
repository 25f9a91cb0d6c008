use super::*;
use crate::sdp::Description;

const CHROMIUM_OFFER: &str = include_str!("../../../tests/vectors/sdp/chromium-offer.sdp");
const CHROMIUM_ANSWER: &str = include_str!("../../../tests/vectors/sdp/chromium-answer.sdp");
const CHROMIUM_MEDIA: &str = include_str!("../../../tests/vectors/sdp/chromium-gum-offer.sdp");
const FIREFOX_OFFER: &str = include_str!("../../../tests/vectors/sdp/firefox-offer.sdp");
const FIREFOX_ANSWER: &str = include_str!("../../../tests/vectors/sdp/firefox-answer.sdp");
const FIREFOX_MEDIA: &str = include_str!("../../../tests/vectors/sdp/firefox-gum-offer.sdp");
/// What a connection says.
const ICE: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-options:ice2 trickle\r\n\
    m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n\
    a=ice-ufrag:abcd\r\na=ice-pwd:aaaaaaaaaaaaaaaaaaaaaaaa\r\n\
    a=candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host\r\n";

fn bodies() -> Bodies {
    let ours = DataChannel::new(Fingerprint::sha256([0xab; 32]));
    Bodies { ours, tls_id: Some("0".repeat(32)), offering: false, offered: None, agreed: None }
}

fn offer(sdp: &str) -> Signal {
    Signal::Offer { sdp: sdp.into() }
}

fn answer(sdp: &str) -> Signal {
    Signal::Answer { sdp: sdp.into() }
}

fn sdp_of(signal: &Signal) -> &str {
    match signal {
        Signal::Offer { sdp } | Signal::Answer { sdp } => sdp,
        Signal::Candidate(_) => panic!("no body"),
    }
}

fn candidate(mid: Option<&str>, index: Option<u16>) -> CandidateInit {
    let sdp_mid = mid.map(str::to_owned);
    CandidateInit { sdp_mid, sdp_m_line_index: index, ..CandidateInit::default() }
}

#[test]
fn an_offer_has_all_that_a_browser_asks_for() {
    let (written, agreement) = bodies().write(offer(ICE)).unwrap();
    let sdp = sdp_of(&written);
    let print = ["AB"; 32].join(":");
    for line in [
        "a=group:BUNDLE 0",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "a=ice-ufrag:abcd",
        "a=candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host",
        &format!("a=fingerprint:sha-256 {print}"),
        "a=setup:actpass",
        "a=sctp-port:5000",
        "a=max-message-size:262144",
    ] {
        assert_eq!(sdp.matches(&format!("{line}\r\n")).count(), 1, "{line}: {sdp}");
    }
    assert_eq!(agreement, None);
    assert_eq!(Description::parse(sdp).unwrap().streams.len(), 1);
}

/// [RFC 8842 §5.2] [RFC 8841 §6.1]
#[test]
fn the_offers_of_browsers_are_read_and_answered() {
    for (sdp, size) in [(CHROMIUM_OFFER, 262_144), (FIREFOX_OFFER, 1_073_741_823)] {
        let mut bodies = bodies();
        let (read, none) = bodies.read(offer(sdp)).unwrap();
        let ice = Description::parse(sdp_of(&read.unwrap())).unwrap();
        let mut whole = Description::parse(sdp).unwrap();
        whole.bundle.clear();
        assert_eq!((ice, none), (whole, None));
        let (written, agreement) = bodies.write(answer(ICE)).unwrap();
        assert!(sdp_of(&written).contains("a=setup:active\r\n"));
        let agreement = agreement.unwrap();
        assert_eq!((agreement.role, agreement.peer.max_message_size), (DtlsRole::Client, size));
        assert_eq!(agreement.peer.fingerprints.len(), 1);
    }
}

#[test]
fn the_answers_of_browsers_are_read() {
    for sdp in [CHROMIUM_ANSWER, FIREFOX_ANSWER] {
        let mut bodies = bodies();
        bodies.write(offer(ICE)).unwrap();
        let (read, agreement) = bodies.read(answer(sdp)).unwrap();
        assert_eq!(agreement.unwrap().role, DtlsRole::Server);
        assert!(sdp_of(&read.unwrap()).contains("a=ice-ufrag:"));
    }
}

/// [RFC 3264 §6] [RFC 3264 §8]
#[test]
fn what_is_no_data_channel_is_rejected_and_keeps_its_place() {
    for sdp in [CHROMIUM_MEDIA, FIREFOX_MEDIA] {
        let mut bodies = bodies();
        let (read, _) = bodies.read(offer(sdp)).unwrap();
        let ice = Description::parse(sdp_of(&read.unwrap())).unwrap();
        assert_eq!(ice.streams.len(), 1);
        let (written, _) = bodies.write(answer(ICE)).unwrap();
        let reply = sdp_of(&written).to_owned();
        let media = |sdp: &str| -> Vec<String> {
            sdp.lines().filter(|line| line.starts_with("m=")).map(str::to_owned).collect()
        };
        let lines = media(&reply);
        assert_eq!(lines.len(), media(sdp).len());
        let (data, rest): (Vec<_>, Vec<_>) =
            lines.iter().partition(|line| line.starts_with("m=application"));
        assert!(data.len() == 1 && rest.iter().all(|line| line.contains(" 0 UDP/TLS/RTP")));
        let mid = value(&parse(sdp).unwrap().media_descriptions.last().unwrap().attributes, "mid")
            .unwrap()
            .to_owned();
        assert!(reply.contains(&format!("a=group:BUNDLE {mid}\r\n")), "{reply}");
        assert_eq!(reply.matches(&format!("a=mid:{mid}\r\n")).count(), 1);
        // What we offer later has the same sections.
        let (written, _) = bodies.write(offer(ICE)).unwrap();
        assert_eq!(media(sdp_of(&written)).len(), lines.len());
        // Candidates of the others are of no interest.
        assert_eq!(bodies.candidate(candidate(Some("nothing"), Some(0))), None);
        let ours = bodies.candidate(candidate(Some(&mid), None)).unwrap();
        assert_eq!((ours.sdp_mid, ours.sdp_m_line_index), (None, Some(0)));
        let (written, _) = bodies.write(Signal::Candidate(candidate(Some("0"), Some(0)))).unwrap();
        let Signal::Candidate(ours) = written else { panic!("a candidate") };
        assert_eq!(ours.sdp_mid.as_deref(), Some(mid.as_str()));
        assert_eq!(ours.sdp_m_line_index, u16::try_from(lines.len() - 1).ok());
    }
}

/// [RFC 9143 §7.1]
#[test]
fn a_section_that_is_bundled_only_has_its_transport_from_the_first() {
    let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE a d\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:a\r\na=ice-ufrag:peer\r\n\
        a=ice-pwd:bbbbbbbbbbbbbbbbbbbbbbbb\r\na=fingerprint:sha-256 AA:BB\r\na=setup:actpass\r\n\
        m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:d\r\n\
        a=bundle-only\r\na=sctp-port:5000\r\n";
    let (read, _) = bodies().read(offer(sdp)).unwrap();
    let ice = Description::parse(sdp_of(&read.unwrap())).unwrap();
    assert_eq!(ice.streams[0].credentials.as_ref().unwrap().ufrag, "peer");
}

#[test]
fn a_handshake_lasts_while_the_peer_has_its_certificate() {
    let mut bodies = bodies();
    bodies.read(offer(FIREFOX_OFFER)).unwrap();
    let (_, agreement) = bodies.write(answer(ICE)).unwrap();
    assert_eq!(agreement.unwrap().role, DtlsRole::Client);
    // Firefox answers that it is active though it is the server.
    let again = FIREFOX_OFFER.replace("a=setup:actpass", "a=setup:active");
    bodies.write(offer(ICE)).unwrap();
    let (_, agreement) = bodies.read(answer(&again)).unwrap();
    assert_eq!(agreement.unwrap().role, DtlsRole::Client);
    // Another certificate is another handshake.
    bodies.write(offer(ICE)).unwrap();
    let other = again.replace("a=fingerprint:sha-256 ", "a=fingerprint:sha-256 00:");
    let (_, agreement) = bodies.read(answer(&other)).unwrap();
    assert_eq!(agreement.unwrap().role, DtlsRole::Server);
}

#[test]
fn an_offer_that_is_active_is_answered_passively() {
    let mut bodies = bodies();
    let sdp = CHROMIUM_OFFER.replace("a=setup:actpass", "a=setup:active");
    bodies.read(offer(&sdp)).unwrap();
    let (written, agreement) = bodies.write(answer(ICE)).unwrap();
    assert!(sdp_of(&written).contains("a=setup:passive\r\n"));
    assert_eq!(agreement.unwrap().role, DtlsRole::Server);
}

#[test]
fn an_answer_that_nobody_asked_for_agrees_on_nothing() {
    let mut bodies = bodies();
    assert_eq!(bodies.read(answer(CHROMIUM_ANSWER)).unwrap().1, None);
    assert!(bodies.agreed.is_none());
}

#[test]
fn the_error_says_what_is_missing() {
    let without = |what: &str| {
        let kept: Vec<&str> =
            CHROMIUM_OFFER.lines().filter(|line| !line.starts_with(what)).collect();
        kept.join("\r\n") + "\r\n"
    };
    for (sdp, error) in [
        (without("a=fingerprint"), BodyError::Fingerprint),
        (without("a=setup"), BodyError::Setup),
        (CHROMIUM_OFFER.replace("m=application", "m=text"), BodyError::NoDataChannel),
        (without("v="), BodyError::Syntax),
        (CHROMIUM_OFFER.replace("a=sctp-port:5000", "a=sctp-port:0"), BodyError::SctpPort),
        (
            CHROMIUM_OFFER.replace("m=application 50795", "m=application 0"),
            BodyError::NoDataChannel,
        ),
        (CHROMIUM_OFFER.replace("a=setup:actpass", "a=setup:holdconn"), BodyError::Setup),
        ("x".repeat(MAX_BODY + 1), BodyError::TooLong),
        (String::new(), BodyError::Syntax),
    ] {
        assert_eq!(bodies().read(offer(&sdp)).err(), Some(error), "{sdp}");
    }
    let sdp = CHROMIUM_ANSWER.replace("a=setup:active", "a=setup:actpass");
    assert_eq!(bodies().read(answer(&sdp)).err(), Some(BodyError::Setup));
}

#[test]
fn a_fingerprint_is_read_as_it_is_written() {
    let print = Fingerprint::sha256([0x0f; 32]);
    assert_eq!(print.to_string().parse(), Ok(print));
    let upper: Fingerprint = "SHA-256 aa:Bb".parse().unwrap();
    assert_eq!(upper, Fingerprint { hash: "sha-256".into(), digest: vec![0xaa, 0xbb] });
    let long = format!("sha-512 {}", ["00"; 65].join(":"));
    for bad in ["", "sha-256", "sha-256 ", "sha-256 a", "sha-256 +1", "sha-256 AA:", &long] {
        assert_eq!(bad.parse::<Fingerprint>(), Err(BodyError::Fingerprint), "{bad}");
    }
}
