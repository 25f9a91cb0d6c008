//! The client of WHIP. [RFC 9725]

use std::time::Duration;

use floe::Instant;
use floe::sdp::{Description, Fragment};
use floe::signaling::whip::{
    Client, ClientConfig, ClientError, ClientEvent, Failure, Request, RequestId, Response,
    SendError,
};
use floe::signaling::{CandidateInit, Signal};
use http::StatusCode;

const URL: &str = "https://media.test/whip/lobby";
const SDP: &str = "application/sdp";
const PASSWORD: &str = "FAKEpasswordFAKEpassword";

/// An offer of a BUNDLE, whose second section goes with the first.
pub(crate) fn offer(ufrag: &str) -> String {
    format!(
        "v=0\r\no=- 7 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
         a=ice-options:ice2 trickle\r\na=ice-pacing:20\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n\
         a=ice-ufrag:{ufrag}\r\na=ice-pwd:{PASSWORD}\r\na=setup:actpass\r\na=sendonly\r\n\
         m=video 0 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=bundle-only\r\n\
         a=rtpmap:96 VP8/90000\r\n"
    )
}

pub(crate) fn answer(ufrag: &str, port: u16) -> String {
    format!(
        "v=0\r\no=- 9 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
         a=ice-options:ice2 trickle\r\na=ice-lite\r\n\
         m=audio {port} UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 198.51.100.1\r\na=mid:0\r\n\
         a=ice-ufrag:{ufrag}\r\na=ice-pwd:{PASSWORD}\r\n\
         a=candidate:1 1 udp 2130706431 198.51.100.1 {port} typ host\r\na=end-of-candidates\r\n\
         a=setup:passive\r\na=recvonly\r\n\
         m=video 0 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=bundle-only\r\n"
    )
}

fn candidate(ufrag: &str, port: u16) -> Signal {
    Signal::Candidate(CandidateInit {
        candidate: format!("candidate:1 1 udp 2130706431 192.0.2.1 {port} typ host"),
        sdp_mid: Some("0".into()),
        sdp_m_line_index: Some(0),
        username_fragment: Some(ufrag.into()),
    })
}

fn end() -> Signal {
    Signal::Candidate(CandidateInit::default())
}

fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Response {
    let mut builder = http::Response::builder().status(status);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(body.as_bytes().to_vec()).unwrap()
}

fn created(headers: &[(&str, &str)]) -> Response {
    let mut all = vec![("Content-Type", SDP), ("Location", "/session/abc")];
    all.extend(headers);
    response(201, &all, &answer("FAR1", 39132))
}

fn restarted(ufrag: &str, etag: &str) -> Response {
    let body = format!(
        "a=ice-lite\r\na=ice-options:trickle ice2\r\na=group:BUNDLE 0 1\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:{ufrag}\r\n\
         a=ice-pwd:{PASSWORD}\r\na=candidate:7 1 udp 5 198.51.100.9 4000 typ host\r\n\
         a=end-of-candidates\r\n"
    );
    response(200, &[("ETag", etag), ("Content-Type", Fragment::MEDIA_TYPE)], &body)
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers().get(name).map(|value| value.to_str().unwrap())
}

fn text(request: &Request) -> &str {
    std::str::from_utf8(request.body()).unwrap()
}

/// A client, the time, and what it learned.
struct Hand {
    client: Client,
    now: Instant,
}

impl Hand {
    fn new(config: ClientConfig) -> Self {
        Self { client: Client::new(URL, config).unwrap(), now: Instant::ZERO }
    }

    /// One that has a session with the entity tag `"one"`.
    fn open(config: ClientConfig) -> Self {
        let mut hand = Self::new(config);
        hand.send(Signal::Offer { sdp: offer("NEAR1") });
        let (id, _) = hand.ask();
        hand.answer(id, &created(&[("ETag", "\"one\"")]));
        assert!(matches!(hand.events()[..], [ClientEvent::Signal(Signal::Answer { .. })]));
        hand
    }

    fn send(&mut self, signal: Signal) {
        self.client.send(self.now, signal).unwrap();
    }

    /// The next request, if it is due at once or after a while.
    fn next(&mut self) -> Option<(RequestId, Request)> {
        if let Some(at) = self.client.poll_timeout() {
            self.now = self.now.max(at);
        }
        self.client.poll_request(self.now)
    }

    fn ask(&mut self) -> (RequestId, Request) {
        self.next().expect("a request")
    }

    fn answer(&mut self, id: RequestId, response: &Response) {
        self.client.handle_response(self.now, id, response);
    }

    fn events(&mut self) -> Vec<ClientEvent> {
        std::iter::from_fn(|| self.client.poll_event()).collect()
    }

    fn restart(&mut self, ufrag: &str) -> (RequestId, Request) {
        self.send(Signal::Offer { sdp: offer(ufrag) });
        self.ask()
    }
}

fn with_token() -> ClientConfig {
    let mut config = ClientConfig::default();
    config.token = Some("FAKE.token-1".into());
    config
}

/// [rfc9725-4.2-1] [rfc9725-4.2-2] [rfc9725-4.7.1-3] [rfc9725-4.3.2-2] [rfc9725-4.3.2-1b]
/// [rfc9725-4.6-3a]
#[test]
fn the_offer_is_posted_at_once_as_it_is() {
    let mut hand = Hand::new(ClientConfig::default());
    assert!(hand.next().is_none());
    hand.send(Signal::Offer { sdp: offer("NEAR1") });
    let (_, request) = hand.ask();
    assert_eq!((request.method().as_str(), request.uri().to_string()), ("POST", URL.to_owned()));
    assert_eq!(header(&request, "content-type"), Some(SDP));
    assert_eq!(text(&request), offer("NEAR1"));
    assert_eq!(header(&request, "authorization"), None);
    assert_eq!(header(&request, "if-match"), None);
    assert!(hand.next().is_none(), "the answer is awaited");
}

/// [rfc9725-4.2-3] [rfc9725-4.6-p1] [rfc9725-4.6-3b] [rfc9725-4.9-3a]
#[test]
fn the_answer_and_the_servers_come_of_the_201() {
    let mut hand = Hand::new(ClientConfig::default());
    hand.send(Signal::Offer { sdp: offer("NEAR1") });
    let (id, _) = hand.ask();
    let mut created = created(&[]);
    for link in [
        "<stun:stun.test>; rel=\"ice-server\"",
        "<turn:turn.test?transport=udp>; rel=ice-server; username=\"us,er\"; \
         credential=\"my\\\"Pass;word\", <https://media.test/sse>; rel=\"urn:x\"",
        "<turns:a.test>; rel=\"next ice-server\"; username=u;unknown;x=y",
        "<https://no.server>; rel=\"ice-server\", nonsense, <stun:no.relation>, <, \"",
    ] {
        created.headers_mut().append("link", link.parse().unwrap());
    }
    hand.answer(id, &created);
    let events = hand.events();
    let [ClientEvent::IceServers(servers), ClientEvent::Signal(signal)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(*signal, Signal::Answer { sdp: answer("FAR1", 39132) });
    let urls: Vec<_> = servers.iter().map(|server| server.url.as_str()).collect();
    assert_eq!(urls, ["stun:stun.test", "turn:turn.test?transport=udp", "turns:a.test"]);
    assert_eq!(servers[1].username.as_deref(), Some("us,er"));
    assert_eq!(servers[1].credential.as_deref(), Some("my\"Pass;word"));
    assert_eq!((&servers[0].username, &servers[0].credential), (&None, &None));
    assert!(!format!("{servers:?}").contains("Pass"));
}

/// [rfc9725-4.3.2-4] [rfc9725-4.3.2-5] [rfc9725-4.3.2-7] [rfc9725-4.3.2-9] [rfc9725-4.3.1-1]
/// [rfc9725-4.3.1-2] [rfc9725-4.3.1-7] [rfc9725-4.3-1] [rfc9725-4.3.2-p2] [rfc8840-4.4-3]
/// [rfc8840-4.4-8] [rfc8840-4.4-10] [rfc8840-4.4-11] [rfc8840-7-1] [rfc8840-7-2]
#[test]
fn candidates_wait_for_the_201_and_go_in_one_patch() {
    let mut hand = Hand::new(ClientConfig::default());
    hand.send(Signal::Offer { sdp: offer("NEAR1") });
    let (id, _) = hand.ask();
    hand.send(candidate("NEAR1", 5000));
    hand.send(candidate("NEAR1", 5001));
    hand.send(candidate("OLD", 1));
    assert!(hand.next().is_none());
    hand.answer(id, &created(&[("ETag", "\"one\"")]));
    let (id, request) = hand.ask();
    assert_eq!(request.method(), "PATCH");
    assert_eq!(request.uri(), "https://media.test/session/abc");
    assert_eq!(header(&request, "content-type"), Some("application/trickle-ice-sdpfrag"));
    assert_eq!(header(&request, "if-match"), Some("\"one\""));
    let line = |port| format!("a=candidate:1 1 udp 2130706431 192.0.2.1 {port} typ host\r\n");
    let head = format!(
        "a=ice-options:ice2 trickle\r\na=ice-pacing:20\r\na=group:BUNDLE 0 1\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:NEAR1\r\na=ice-pwd:{PASSWORD}\r\n\
         a=mid:0\r\n"
    );
    assert_eq!(text(&request), format!("{head}{}{}", line(5000), line(5001)));

    // What is found meanwhile is gathered for the next, which repeats what was said.
    hand.send(candidate("NEAR1", 5002));
    hand.send(candidate("NEAR1", 5002));
    assert!(hand.next().is_none(), "one at a time");
    hand.answer(id, &response(204, &[], ""));
    hand.send(end());
    let (id, request) = hand.ask();
    let all = format!("{head}{}{}{}", line(5000), line(5001), line(5002));
    let ended = all.replace("m=audio", "a=end-of-candidates\r\nm=audio");
    assert_eq!(text(&request), ended);
    hand.answer(id, &response(204, &[], ""));
    assert!(hand.next().is_none());
    assert_eq!(hand.client.poll_timeout(), None);
}

#[test]
fn candidates_that_come_together_go_together() {
    let mut hand = Hand::open(ClientConfig::default());
    hand.send(candidate("NEAR1", 5000));
    assert!(hand.client.poll_request(hand.now).is_none());
    hand.now += Duration::from_millis(19);
    hand.send(candidate("NEAR1", 5001));
    assert!(hand.client.poll_request(hand.now).is_none());
    hand.now += Duration::from_millis(1);
    let (_, request) = hand.client.poll_request(hand.now).expect("due");
    assert_eq!(text(&request).matches("a=candidate").count(), 2);
}

/// The credentials stand where the offer has them. [rfc8840-4.4-10] [rfc8840-9.2-2]
#[test]
fn credentials_of_the_session_stand_before_the_sections() {
    let mut hand = Hand::new(ClientConfig::default());
    let credentials = format!("a=ice-ufrag:NEAR1\r\na=ice-pwd:{PASSWORD}\r\n");
    let sdp = offer("NEAR1").replace(&credentials, "");
    let sdp = sdp.replace("m=audio", &format!("{credentials}m=audio"));
    hand.send(Signal::Offer { sdp });
    let (id, _) = hand.ask();
    hand.answer(id, &created(&[]));
    hand.send(candidate("NEAR1", 5000));
    let (_, request) = hand.ask();
    let (session, _) = text(&request).split_once("m=").unwrap();
    assert!(session.ends_with(&credentials), "{session}");
    assert_eq!(text(&request).matches("ice-pwd").count(), 1);
    assert_eq!(header(&request, "if-match"), None, "the server gave no entity tag");
}

/// [rfc9725-4.3.3-1] [rfc9725-4.3.3-2] [rfc9725-4.3.3-3] [rfc9725-4.3.3-5b] [rfc9725-4.3.3-6a]
/// [rfc9725-4.3.3-7] [rfc9725-4.3.3-8] [rfc9725-4.3.3-p1] [rfc9725-4.3.2-6]
#[test]
fn a_restart_exchanges_ice_alone() {
    let mut hand = Hand::open(ClientConfig::default());
    hand.send(Signal::Offer { sdp: offer("NEAR2").replace("pacing:20", "pacing:50") });
    hand.send(candidate("NEAR2", 6000));
    let (id, request) = hand.ask();
    assert_eq!(request.method(), "PATCH");
    assert_eq!(header(&request, "if-match"), Some("*"));
    let fragment = Fragment::parse(text(&request)).unwrap();
    assert_eq!(fragment.sections.len(), 1, "the tagged section alone");
    assert_eq!(fragment.sections[0].credentials.as_ref().unwrap().ufrag, "NEAR2");
    assert_eq!(fragment.sections[0].candidates.len(), 1);
    assert_eq!(fragment.pacing, Some(Duration::from_millis(20)), "as in the first offer");
    assert!(fragment.options.trickle && fragment.options.ice2);

    // What is found before the answer waits for the new entity tag.
    hand.send(candidate("NEAR2", 6001));
    assert!(hand.next().is_none());
    hand.answer(id, &restarted("FAR2", "\"two\""));
    let events = hand.events();
    let [ClientEvent::Signal(Signal::Answer { sdp })] = &events[..] else { panic!("{events:?}") };
    let answer = Description::parse(sdp).unwrap();
    let stream = &answer.streams[0];
    assert_eq!(stream.credentials.as_ref().unwrap().ufrag, "FAR2");
    let lines: Vec<_> = stream.candidates.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["candidate:7 1 udp 5 198.51.100.9 4000 typ host"]);
    assert!(stream.end_of_candidates && answer.lite);
    assert_eq!(stream.default_destination, None, "none that is no candidate any more");
    assert!(sdp.contains("a=setup:passive\r\n") && sdp.contains("a=recvonly\r\n"));
    assert!(sdp.contains("a=bundle-only\r\n") && sdp.contains("o=- 9 2 IN IP4"), "{sdp}");
    let (_, request) = hand.ask();
    assert_eq!(header(&request, "if-match"), Some("\"two\""));
    assert_eq!(text(&request).matches("a=candidate").count(), 2);
}

/// [rfc9725-4.3.3-12] [rfc9725-4.3.3-13]
#[test]
fn the_answer_to_the_last_restart_alone_counts() {
    let mut hand = Hand::open(ClientConfig::default());
    hand.send(candidate("NEAR1", 5000));
    let (trickle, _) = hand.ask();
    let (first, _) = hand.restart("NEAR2");
    let (second, request) = hand.restart("NEAR3");
    assert!(text(&request).contains("NEAR3") && !text(&request).contains("NEAR2"));
    hand.answer(trickle, &response(412, &[], ""));
    hand.answer(first, &restarted("FAR2", "\"two\""));
    assert_eq!(hand.events(), []);
    hand.answer(second, &restarted("FAR3", "\"three\""));
    let events = hand.events();
    assert!(
        matches!(&events[..], [ClientEvent::Signal(Signal::Answer { sdp })] if sdp.contains("FAR3"))
    );
    hand.send(candidate("NEAR2", 1));
    hand.send(candidate("NEAR3", 5000));
    let (_, request) = hand.ask();
    assert_eq!(header(&request, "if-match"), Some("\"three\""));
    assert_eq!(text(&request).matches("a=candidate").count(), 1);
}

/// A restart before the first answer: that is the answer to an offer that counts no more.
/// [rfc9725-4.3.3-13]
#[test]
fn an_offer_that_comes_before_the_answer_is_a_restart_after_it() {
    let mut hand = Hand::new(ClientConfig::default());
    hand.send(Signal::Offer { sdp: offer("NEAR1") });
    let (id, _) = hand.ask();
    hand.send(Signal::Offer { sdp: offer("NEAR2") });
    hand.answer(id, &created(&[("ETag", "\"one\"")]));
    assert_eq!(hand.events(), []);
    let (id, request) = hand.ask();
    assert_eq!(header(&request, "if-match"), Some("*"));
    hand.answer(id, &restarted("FAR2", "\"two\""));
    assert_eq!(hand.events().len(), 1);
}

/// [rfc9725-4.3.3-14] [rfc9725-4.3.1-p1]
#[test]
fn an_entity_tag_that_matches_no_more_asks_for_a_restart() {
    let mut hand = Hand::open(ClientConfig::default());
    hand.send(candidate("NEAR1", 5000));
    let (id, _) = hand.ask();
    hand.answer(id, &response(412, &[], ""));
    assert_eq!(hand.events(), [ClientEvent::RestartNeeded]);
    hand.send(candidate("NEAR1", 5001));
    assert!(hand.next().is_none(), "not in this generation");
    let (id, request) = hand.restart("NEAR2");
    assert_eq!(header(&request, "if-match"), Some("*"));
    hand.answer(id, &restarted("FAR2", "\"two\""));
    hand.send(candidate("NEAR2", 5001));
    assert!(hand.next().is_some());
}

/// Whatever number it is, known or not. [rfc9725-4.1-1] [rfc9725-4.1-2]
#[test]
fn a_refused_patch_means_no_more_trickling_whatever_its_number() {
    for status in [302, 308, 400, 401, 404, 405, 415, 422, 428, 499, 501] {
        let mut hand = Hand::open(ClientConfig::default());
        hand.send(candidate("NEAR1", 5000));
        let (id, _) = hand.ask();
        hand.answer(id, &response(status, &[], ""));
        let told = ClientEvent::TrickleRefused(Some(StatusCode::from_u16(status).unwrap()));
        assert_eq!(hand.events(), [told]);
        hand.send(candidate("NEAR1", 5001));
        assert!(hand.next().is_none(), "{status}");
        // The session is still there.
        hand.client.close();
        assert_eq!(hand.ask().1.method(), "DELETE");
    }
}

/// [rfc9725-4.3.3-10] [rfc9725-4.1-2]
#[test]
fn a_refused_restart_leaves_the_session_and_may_be_tried_again() {
    for status in [400, 405, 412, 422, 451, 501] {
        let mut hand = Hand::open(ClientConfig::default());
        let (id, _) = hand.restart("NEAR2");
        hand.answer(id, &response(status, &[], ""));
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(hand.events(), [ClientEvent::RestartRefused(Some(status))]);
        hand.send(candidate("NEAR2", 5000));
        assert!(hand.next().is_none());
        let (id, _) = hand.restart("NEAR3");
        hand.answer(id, &restarted("FAR3", "\"three\""));
        assert!(matches!(hand.events()[..], [ClientEvent::Signal(_)]));
    }
}

#[test]
fn an_answer_to_a_restart_that_is_none_is_a_refusal() {
    let kind = ("Content-Type", Fragment::MEDIA_TYPE);
    let no_password = "m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=ice-ufrag:FAR2\r\n";
    for bad in [
        response(204, &[], ""),
        response(200, &[kind], ""),
        response(200, &[kind], no_password),
        response(200, &[kind], "m=audio 9 RTP/AVP 0\r\na=candidate:\r\n"),
        response(200, &[("Content-Type", "text/html")], "<html>"),
    ] {
        let mut hand = Hand::open(ClientConfig::default());
        let (id, _) = hand.restart("NEAR2");
        hand.answer(id, &bad);
        assert!(matches!(hand.events()[..], [ClientEvent::RestartRefused(Some(_))]));
    }
}

/// [rfc9725-4.2-8] [rfc9725-4.3.1-8] [rfc9725-4.7-1] [rfc9725-4.7-2] [rfc9725-4.7.1-2]
#[test]
fn the_end_is_a_delete_without_entity_tag_and_all_requests_have_the_token() {
    let mut hand = Hand::new(with_token());
    hand.send(Signal::Offer { sdp: offer("NEAR1") });
    let (id, post) = hand.ask();
    hand.answer(id, &created(&[("ETag", "\"one\"")]));
    hand.send(candidate("NEAR1", 5000));
    let (_, patch) = hand.ask();
    hand.client.close();
    let (id, delete) = hand.ask();
    assert_eq!(delete.method(), "DELETE");
    assert_eq!(delete.uri(), "https://media.test/session/abc");
    assert_eq!(header(&delete, "if-match"), None);
    for request in [&post, &patch, &delete] {
        assert_eq!(header(request, "authorization"), Some("Bearer FAKE.token-1"));
        assert!(!format!("{request:?}").contains("FAKE.token"), "the token is shown");
    }
    hand.answer(id, &response(200, &[], ""));
    assert_eq!(hand.events().last(), Some(&ClientEvent::Closed));
    assert!(hand.client.is_closed() && hand.next().is_none());
    let late = hand.client.send(hand.now, candidate("NEAR1", 1));
    assert_eq!(late, Err(SendError::Closed));
}

#[test]
fn closing_before_the_answer_deletes_what_it_made() {
    let mut hand = Hand::new(ClientConfig::default());
    hand.send(Signal::Offer { sdp: offer("NEAR1") });
    let (id, _) = hand.ask();
    hand.client.close();
    assert!(hand.next().is_none());
    hand.answer(id, &created(&[]));
    let (id, request) = hand.ask();
    assert_eq!(request.method(), "DELETE");
    hand.answer(id, &response(404, &[], ""));
    assert_eq!(hand.events(), [ClientEvent::Closed]);

    let mut hand = Hand::new(ClientConfig::default());
    hand.client.close();
    assert_eq!(hand.events(), [ClientEvent::Closed]);
}

/// [rfc9725-4.5-1] [rfc9725-4.5-2]
#[test]
fn a_redirection_is_followed_as_a_post_without_the_token_for_strangers() {
    for (status, location, target, token) in [
        (307, "/other", "https://media.test/other", true),
        (308, "https://media.test:443/x", "https://media.test:443/x", true),
        (307, "https://friend.test/x", "https://friend.test/x", true),
        (307, "https://stranger.test/x", "https://stranger.test/x", false),
        (308, "https://media.test:444/x", "https://media.test:444/x", false),
    ] {
        let mut config = with_token();
        config.token_origins = vec!["https://friend.test".into()];
        let mut hand = Hand::new(config);
        hand.send(Signal::Offer { sdp: offer("NEAR1") });
        let (id, _) = hand.ask();
        hand.answer(id, &response(status, &[("Location", location)], ""));
        let (id, request) = hand.ask();
        assert_eq!(
            (request.method().as_str(), request.uri().to_string().as_str()),
            ("POST", target)
        );
        assert_eq!(text(&request), offer("NEAR1"));
        assert_eq!(header(&request, "authorization").is_some(), token, "{location}");
        // The session is where the answer came from.
        hand.answer(id, &created(&[]));
        hand.client.close();
        let (_, request) = hand.ask();
        assert_eq!(request.uri().host(), target.parse::<http::Uri>().unwrap().host());
        assert_eq!(header(&request, "authorization").is_some(), token);
    }
}

/// [rfc9725-4.5-1] [rfc9725-4.5-2] [rfc9725-5-1]
#[test]
fn redirections_are_bounded_and_go_nowhere_unsafe() {
    let mut hand = Hand::new(ClientConfig::default());
    hand.send(Signal::Offer { sdp: offer("NEAR1") });
    let mut count = 0;
    while let Some((id, _)) = hand.next() {
        count += 1;
        hand.answer(id, &response(307, &[("Location", "/again")], ""));
    }
    assert_eq!(count, 6);
    let failed = [ClientEvent::Failed(ClientError::Redirect), ClientEvent::Closed];
    assert_eq!(hand.events(), failed);
    for location in ["http://media.test/x", "http://localhost/x", "ftp://x/", "//", "https://u@x/"]
    {
        let mut hand = Hand::new(ClientConfig::default());
        hand.send(Signal::Offer { sdp: offer("NEAR1") });
        let (id, _) = hand.ask();
        hand.answer(id, &response(307, &[("Location", location)], ""));
        assert_eq!(hand.events(), failed, "{location}");
    }
    for status in [301, 302, 303] {
        let mut hand = Hand::new(ClientConfig::default());
        hand.send(Signal::Offer { sdp: offer("NEAR1") });
        let (id, _) = hand.ask();
        hand.answer(id, &response(status, &[("Location", "/x")], ""));
        let status = StatusCode::from_u16(status).unwrap();
        let refused = ClientEvent::Failed(ClientError::Refused(status));
        assert_eq!(hand.events(), [refused, ClientEvent::Closed]);
    }
}

/// [rfc9725-4.5-p1]
#[test]
fn a_busy_server_is_asked_again_when_it_says_and_not_for_ever() {
    for status in [503, 429] {
        let mut hand = Hand::new(ClientConfig::default());
        hand.send(Signal::Offer { sdp: offer("NEAR1") });
        let mut asked = Vec::new();
        while let Some((id, _)) = hand.next() {
            asked.push(hand.now);
            hand.answer(id, &response(status, &[("Retry-After", "7")], ""));
        }
        let seconds: Vec<_> = asked.iter().map(|at| at.since(Instant::ZERO).as_secs()).collect();
        assert_eq!(seconds, [0, 7, 14, 21]);
        let failed = ClientError::Unavailable(StatusCode::from_u16(status).unwrap());
        assert_eq!(hand.events(), [ClientEvent::Failed(failed), ClientEvent::Closed]);
    }
    // Without a word each wait is twice as long; a date is no word that we understand.
    let mut hand = Hand::new(ClientConfig::default());
    hand.send(Signal::Offer { sdp: offer("NEAR1") });
    let mut asked = Vec::new();
    while let Some((id, _)) = hand.next() {
        asked.push(hand.now.since(Instant::ZERO).as_millis());
        let date = ("Retry-After", "Fri, 31 Dec 2100 23:59:59 GMT");
        hand.answer(id, &response(503, &[date], ""));
    }
    assert_eq!(asked, [0, 500, 1_500, 3_500]);
    let mut hand = Hand::new(ClientConfig::default());
    hand.send(Signal::Offer { sdp: offer("NEAR1") });
    let (id, _) = hand.ask();
    hand.answer(id, &response(503, &[("Retry-After", "86400")], ""));
    assert!(hand.client.is_closed(), "who wants a day is given up");
}

/// [rfc9725-4.1-2]
#[test]
fn what_refuses_the_offer_ends_it_at_once() {
    for status in [400, 401, 403, 404, 405, 415, 422, 499, 500, 504, 599, 100] {
        let mut hand = Hand::new(with_token());
        hand.send(Signal::Offer { sdp: offer("NEAR1") });
        let (id, _) = hand.ask();
        hand.answer(id, &response(status, &[("Content-Type", "text/html")], "<html>"));
        let events = hand.events();
        let [ClientEvent::Failed(error), ClientEvent::Closed] = events[..] else { panic!() };
        assert!(!error.to_string().is_empty());
        assert!(hand.next().is_none());
    }
}

#[test]
fn a_201_that_is_no_answer_is_taken_back() {
    let sdp = answer("FAR1", 1);
    for (kind, body) in
        [(SDP, ""), (SDP, "nonsense"), (SDP, "v=0\r\n"), ("text/plain", sdp.as_str())]
    {
        let mut hand = Hand::new(ClientConfig::default());
        hand.send(Signal::Offer { sdp: offer("NEAR1") });
        let (id, _) = hand.ask();
        hand.answer(id, &response(201, &[("Content-Type", kind), ("Location", "/s")], body));
        assert_eq!(hand.events(), [ClientEvent::Failed(ClientError::NotAnAnswer)]);
        let (id, request) = hand.ask();
        assert_eq!(request.method(), "DELETE");
        hand.answer(id, &response(200, &[], ""));
        assert_eq!(hand.events(), [ClientEvent::Closed]);
    }
    for location in [None, Some("http://media.test/s"), Some("javascript:x"), Some("https://")] {
        let mut hand = Hand::new(ClientConfig::default());
        hand.send(Signal::Offer { sdp: offer("NEAR1") });
        let (id, _) = hand.ask();
        let mut headers = vec![("Content-Type", SDP)];
        headers.extend(location.map(|location| ("Location", location)));
        hand.answer(id, &response(201, &headers, &sdp));
        let failed = ClientEvent::Failed(ClientError::NoSession);
        assert_eq!(hand.events(), [failed, ClientEvent::Closed], "{location:?}");
    }
}

#[test]
fn what_does_not_arrive_is_said_again_but_an_offer_only_if_it_never_left() {
    let mut hand = Hand::new(ClientConfig::default());
    hand.send(Signal::Offer { sdp: offer("NEAR1") });
    let (id, _) = hand.ask();
    hand.client.handle_failure(hand.now, id, Failure::NotSent);
    let (id, request) = hand.ask();
    assert_eq!(request.method(), "POST");
    hand.client.handle_failure(hand.now, id, Failure::NoResponse);
    let failed = ClientEvent::Failed(ClientError::Unreachable);
    assert_eq!(hand.events(), [failed, ClientEvent::Closed]);

    for restart in [true, false] {
        let mut hand = Hand::open(ClientConfig::default());
        let signal =
            if restart { Signal::Offer { sdp: offer("NEAR2") } } else { candidate("NEAR1", 5000) };
        hand.send(signal);
        let mut count = 0;
        while let Some((id, request)) = hand.next() {
            count += 1;
            assert_eq!(header(&request, "if-match") == Some("*"), restart);
            hand.client.handle_failure(hand.now, id, Failure::NoResponse);
        }
        assert_eq!(count, 4);
        let told = hand.events();
        let refused = [ClientEvent::RestartRefused(None)];
        let dropped = [ClientEvent::TrickleRefused(None)];
        assert_eq!(told, if restart { refused } else { dropped });
        assert!(!hand.client.is_closed());
        hand.client.close();
        for _ in 0..4 {
            let (id, _) = hand.ask();
            hand.answer(id, &response(500, &[], ""));
        }
        assert_eq!(hand.events(), [ClientEvent::Closed]);
    }
}

/// [rfc9725-5-1]
#[test]
fn plain_http_stays_on_this_machine() {
    let make = |url: &str, config: &ClientConfig| Client::new(url, config.clone()).err();
    let mut config = ClientConfig::default();
    for url in ["http://localhost/w", "http://127.0.0.1:8080/w", "http://[::1]/w", URL] {
        assert_eq!(make(url, &config), None, "{url}");
    }
    for url in ["http://media.test/w", "http://192.0.2.1/w", "http://localhost.test/w"] {
        assert_eq!(make(url, &config), Some(ClientError::Insecure), "{url}");
    }
    for url in
        ["", "media.test", "/whip", "https:", "https://", "https://u:p@media.test/", "ws://x/"]
    {
        assert_eq!(make(url, &config), Some(ClientError::Url), "{url}");
    }
    config.allow_http = true;
    assert_eq!(make("http://media.test/w", &config), None);
    for token in ["", "two words", "line\r\nbreak", "caf\u{e9}"] {
        config.token = Some(token.into());
        assert_eq!(make(URL, &config), Some(ClientError::Token));
    }
    assert!(!format!("{:?}", with_token()).contains("FAKE"));
}

/// [rfc9725-4.3.2-1a]
#[test]
fn what_whip_cannot_carry_is_refused_and_changes_nothing() {
    let mut hand = Hand::new(ClientConfig::default());
    let now = hand.now;
    let mut send = |signal| hand.client.send(now, signal);
    assert_eq!(send(candidate("NEAR1", 1)), Err(SendError::NoIce));
    assert_eq!(send(Signal::Answer { sdp: answer("X", 1) }), Err(SendError::Answer));
    let no_ice = "v=0\r\nm=audio 9 RTP/AVP 0\r\n";
    for sdp in ["", "nonsense", no_ice] {
        assert_eq!(send(Signal::Offer { sdp: sdp.into() }), Err(SendError::NoIce));
    }
    let long = offer("NEAR1") + &"a=x\r\n".repeat(20_000);
    assert_eq!(send(Signal::Offer { sdp: long }), Err(SendError::TooMany));

    let mut hand = Hand::open(ClientConfig::default());
    let again = Signal::Offer { sdp: offer("NEAR1") + "a=new\r\n" };
    assert_eq!(hand.client.send(hand.now, again), Err(SendError::NotARestart));
    let bad =
        Signal::Candidate(CandidateInit { candidate: "x".into(), ..CandidateInit::default() });
    assert!(matches!(hand.client.send(hand.now, bad), Err(SendError::Candidate(_))));
    for port in 1..=256 {
        hand.send(candidate("NEAR1", port));
    }
    let more = hand.client.send(hand.now, candidate("NEAR1", 999));
    assert_eq!(more, Err(SendError::TooMany));
}
