//! Reading, writing and reading again is the same as reading, and no text is too odd to be read
//! or refused.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use floe::Protocol;
use floe::candidate::{
    Candidate, CandidateAddress, CandidateKind, Credentials, Foundation, TcpType,
};
use floe::sdp::{
    Description, Fragment, FragmentSection, IceOptions, SessionTemplate, StreamDescription,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::sdp_corpus::texts;

fn address() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
        Just(IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0201])),
    ];
    (ip, any::<u16>()).prop_map(SocketAddr::from)
}

fn where_it_is() -> impl Strategy<Value = CandidateAddress> {
    prop_oneof![
        9 => address().prop_map(CandidateAddress::Ip),
        1 => ("[a-z0-9-]{1,40}\\.local", any::<u16>())
            .prop_map(|(host, port)| CandidateAddress::Name { host, port }),
    ]
}

fn extension() -> impl Strategy<Value = (String, String)> {
    let name = prop_oneof!["[a-z][a-z-]{0,12}", "[!-~]{1,8}"]
        .prop_filter("a name with a meaning", |name| {
            !["raddr", "rport", "tcptype"].contains(&name.to_ascii_lowercase().as_str())
        });
    (name, "[!-~]{0,12}")
}

fn candidate() -> impl Strategy<Value = Candidate> {
    let kinds = select(vec![
        CandidateKind::Host,
        CandidateKind::PeerReflexive,
        CandidateKind::ServerReflexive,
        CandidateKind::Relayed,
    ]);
    let tcp =
        option::of(select(vec![TcpType::Active, TcpType::Passive, TcpType::SimultaneousOpen]));
    let head = ("[A-Za-z0-9+/]{1,32}", 1_u16..=256, any::<u32>(), where_it_is());
    (head, kinds, address(), tcp, vec(extension(), 0..5)).prop_map(
        |((foundation, component, priority, address), kind, related, tcp_type, extensions)| {
            let foundation = Foundation::new(&foundation).unwrap();
            let placeholder = SocketAddr::from(([0; 4], 9));
            let mut made = Candidate::udp(kind, foundation, component, priority, placeholder);
            made.protocol = if tcp_type.is_some() { Protocol::Tcp } else { Protocol::Udp };
            made.address = address;
            made.related = (kind != CandidateKind::Host).then_some(related);
            made.tcp_type = tcp_type;
            made.extensions = extensions;
            made
        },
    )
}

/// The password follows from the ufrag: one ufrag has one password.
fn credentials() -> impl Strategy<Value = Credentials> {
    "[A-Za-z0-9+/]{4,32}".prop_map(|ufrag| {
        let password = ufrag.repeat(6);
        Credentials { ufrag, password }
    })
}

fn options() -> impl Strategy<Value = IceOptions> {
    let other = proptest::collection::btree_set("x[a-z0-9+/-]{0,8}", 0..4);
    (any::<[bool; 3]>(), other).prop_map(|([ice2, trickle, renomination], other)| IceOptions {
        ice2,
        trickle,
        renomination,
        other: other.into_iter().collect(),
    })
}

fn stream() -> impl Strategy<Value = StreamDescription> {
    let flags = any::<[bool; 2]>();
    let how = 0..10_u8;
    let default = option::of(address());
    let remote = vec((1_u16..=256, address()), 0..3);
    (flags, how, option::of(credentials()), vec(candidate(), 0..6), remote, default).prop_map(
        |([end_of_candidates, _], how, credentials, candidates, remote_candidates, default)| {
            let mut stream = StreamDescription::default();
            if how == 0 {
                stream.rejected = true;
                return stream;
            }
            stream.credentials = credentials;
            stream.default_destination = default.filter(|address| {
                address.port() != 0 && !(address.ip().is_unspecified() && address.port() == 9)
            });
            if how == 1 {
                stream.mismatch = true;
                return stream;
            }
            stream.candidates = candidates;
            stream.remote_candidates = remote_candidates;
            stream.end_of_candidates = end_of_candidates;
            stream
        },
    )
}

fn description() -> impl Strategy<Value = Description> {
    let pacing = option::of((0..10_000_000_000_u64).prop_map(Duration::from_millis));
    let mids = vec("[!-~]{1,8}", 0..3);
    (any::<bool>(), options(), pacing, mids, vec(stream(), 0..4)).prop_map(
        |(lite, options, pacing, bundle, streams)| {
            let mut made = Description::default();
            made.lite = lite;
            made.options = options;
            made.pacing = pacing.filter(|_| !lite);
            made.bundle = bundle;
            made.streams = streams;
            for (stream, index) in made.streams.iter_mut().zip(0..) {
                stream.mid = Some(format!("m{index}"));
            }
            made
        },
    )
}

fn fragment() -> impl Strategy<Value = Fragment> {
    let section = (
        "[a-z]{1,5} [0-9]{1,5} [A-Z/]{1,9} [0-9 ]{1,9}",
        option::of("[!-~]{1,8}"),
        option::of(credentials()),
        vec(candidate(), 0..6),
        any::<bool>(),
    )
        .prop_map(|(media, mid, credentials, candidates, end_of_candidates)| {
            let mut made = FragmentSection::default();
            made.media = media;
            made.mid = mid;
            made.credentials = credentials;
            made.candidates = candidates;
            made.end_of_candidates = end_of_candidates;
            made
        });
    (description(), option::of(credentials()), any::<bool>(), vec(section, 0..4)).prop_map(
        |(description, credentials, end_of_candidates, sections)| {
            let mut made = Fragment::default();
            made.lite = description.lite;
            made.options = description.options;
            made.pacing = description.pacing;
            made.bundle = description.bundle;
            made.credentials = credentials;
            made.end_of_candidates = end_of_candidates;
            made.sections = sections;
            made
        },
    )
}

/// A text of the corpus with some of its octets changed, cut out or doubled.
fn damaged() -> impl Strategy<Value = String> {
    let mut all = texts(".sdp");
    all.extend(texts(".sdpfrag"));
    all.extend(texts(".txt"));
    (select(all), vec((any::<Index>(), 0..3_u8, any::<u8>()), 0..12)).prop_map(|(text, changes)| {
        let mut octets = text.into_bytes();
        for (index, how, octet) in changes {
            let at = index.index(octets.len());
            match how {
                0 => octets[at] = octet & 0x7f,
                1 if octets.len() > 1 => drop(octets.remove(at)),
                _ => octets.insert(at, b" \r\n:=09a"[usize::from(octet % 8)]),
            }
        }
        String::from_utf8_lossy(&octets).into_owned()
    })
}

/// What is read, written and read again is the same, but that the writer fills in a mid and a
/// default destination where there was none.
fn check(text: &str) {
    if let Ok(candidate) = text.parse::<Candidate>() {
        assert_eq!(candidate.to_string().parse(), Ok(candidate));
    }
    if let Ok(fragment) = text.parse::<Fragment>() {
        assert_eq!(fragment.to_string().parse(), Ok(fragment));
    }
    if let Ok(description) = Description::parse(text) {
        let sdp = description.to_sdp(&SessionTemplate::default());
        let mut expected = description;
        let again = Description::parse(&sdp).unwrap();
        for (stream, again) in expected.streams.iter_mut().zip(&again.streams) {
            stream.mid = stream.mid.take().or_else(|| again.mid.clone());
            stream.default_destination = stream.default_destination.or(again.default_destination);
        }
        assert_eq!(again, expected);
        assert_eq!(again.to_sdp(&SessionTemplate::default()), sdp);
    }
}

/// Once a candidate with port 0 became the default destination, which rejects the stream.
#[test]
fn a_candidate_with_port_0_rejects_no_stream() {
    let credentials = "a=ice-ufrag:8hhY\r\na=ice-pwd:asd88fgpdd777uzjYhagZg\r\n";
    let candidate = "a=candidate:1 1 UDP 2130706431 192.0.2.1 0 typ host\r\n";
    let head = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n";
    let text = format!("{head}m=audio 9 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n{credentials}{candidate}");
    assert!(!Description::parse(&text).unwrap().streams[0].candidates.is_empty());
    check(&text);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_candidate_survives_writing(candidate in candidate()) {
        prop_assert_eq!(candidate.to_string().parse(), Ok(candidate));
    }

    #[test]
    fn a_fragment_survives_writing(fragment in fragment()) {
        prop_assert_eq!(fragment.to_string().parse(), Ok(fragment));
    }

    #[test]
    fn a_description_survives_writing(description in description()) {
        let sdp = description.to_sdp(&SessionTemplate::default());
        let again = Description::parse(&sdp).unwrap();
        let mut expected = description;
        for (stream, again) in expected.streams.iter_mut().zip(&again.streams) {
            stream.default_destination =
                stream.default_destination.or(again.default_destination);
        }
        prop_assert_eq!(again, expected);
    }

    #[test]
    fn a_damaged_text_is_read_or_refused(text in damaged()) {
        check(&text);
        text.split("\r\n").for_each(check);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*", line in "[ -~]{0,80}") {
        check(&text);
        check(&format!("v=0\r\nm=audio 9 x 0\r\n{text}\n"));
        check(&format!("candidate:{line}"));
        check(&format!("candidate:1 1 udp 5 192.0.2.1 9 typ srflx {line}"));
        check(&format!("v=0\nm=audio 9 x 0\na=ice-{line}\na=remote-candidates:1 {line}"));
    }
}
