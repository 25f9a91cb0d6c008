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
    Bodies::new(DataChannel::new(Fingerprint::sha256([0xab; 32])), Some(0))
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
    let mut bodies = bodies();
    let (read, _) = bodies.read(offer(sdp)).unwrap();
    let ice = Description::parse(sdp_of(&read.unwrap())).unwrap();
    assert_eq!(ice.streams[0].credentials.as_ref().unwrap().ufrag, "peer");
    // Its candidates are those of the first, and no others.
    for (mid, index, is_ours) in [
        (Some("a"), Some(0), true),
        (Some("d"), Some(1), true),
        (None, Some(0), true),
        (Some("b"), Some(0), false),
        (None, Some(2), false),
    ] {
        assert_eq!(bodies.candidate(candidate(mid, index)).is_some(), is_ours, "{mid:?} {index:?}");
    }
}

/// [RFC 8842 §5.3]
#[test]
fn an_association_has_a_name_if_the_peer_gives_one() {
    let name = |signal: &Signal| {
        let body = parse(sdp_of(signal)).unwrap();
        value(&body.media_descriptions[0].attributes, "tls-id").map(str::to_owned)
    };
    let named = |id: &str| {
        offer(&CHROMIUM_OFFER.replace("a=setup:", &format!("a=tls-id:{id}\r\na=setup:")))
    };
    let mut bodies = bodies();
    let mut answer_to = |signal: Signal| {
        bodies.read(signal).unwrap();
        let (written, agreement) = bodies.write(answer(ICE)).unwrap();
        (name(&written), agreement.unwrap())
    };
    let (none, unnamed) = answer_to(offer(CHROMIUM_OFFER));
    assert_eq!(none, None);
    // The name of what there is already, then that of another, and none that is none.
    let (first, known) = answer_to(named("0123456789abcdefghijk"));
    assert!(is_tls_id(first.as_ref().unwrap()));
    assert!(known.peer.is_associated_as(&unnamed.peer));
    let (again, _) = answer_to(named("0123456789abcdefghijk"));
    assert_eq!(first, again);
    let (second, other) = answer_to(named("0123456789abcdefghijkl"));
    assert!(second.is_some() && second != first);
    assert!(!other.peer.is_associated_as(&known.peer));
    let (none, _) = answer_to(named("short"));
    assert_eq!(none, None);
    let (offered, _) = bodies.write(offer(ICE)).unwrap();
    assert_eq!(name(&offered), second);
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

/// All that browsers were seen to say, in the order of a session.
#[test]
fn what_was_captured_of_browsers_makes_sessions() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/sdp/captured");
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let bodies_of: Vec<_> =
        names.filter(|path| path.extension().is_some_and(|e| e == "sdp")).collect();
    assert_eq!(bodies_of.len(), 47);
    for path in bodies_of {
        let sdp = std::fs::read_to_string(&path).unwrap();
        let mut bodies = bodies();
        let agreement = if path.to_str().unwrap().contains("answer") {
            // It answers more than we offer; what we offer is in its place all the same.
            let offered = sdp.replace("a=setup:active", "a=setup:actpass");
            bodies.read(offer(&offered)).unwrap();
            bodies.write(answer(ICE)).unwrap();
            bodies.write(offer(ICE)).unwrap();
            bodies.read(answer(&sdp)).unwrap().1
        } else {
            bodies.read(offer(&sdp)).unwrap();
            bodies.write(answer(ICE)).unwrap().1
        };
        let agreement = agreement.unwrap_or_else(|| panic!("{}", path.display()));
        assert_eq!(agreement.peer.fingerprints.len(), 1, "{}", path.display());
        assert_eq!(agreement.peer.sctp_port, 5000, "{}", path.display());
    }
}
