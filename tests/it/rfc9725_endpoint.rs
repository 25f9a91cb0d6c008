//! WHIP endpoints and their sessions. [RFC 9725]

use std::time::Duration;

use floe::Instant;
use floe::sdp::{Description, Fragment};
use floe::signaling::whip::{
    Endpoint, EndpointConfig, ExchangeId, IceServer, Origins, Output, Request, Response, SessionId,
};
use floe::signaling::{CandidateInit, Rate, Signal};

use crate::rfc9725_client::{answer, offer};

const SDP: &str = "application/sdp";
const FRAGMENT: &str = Fragment::MEDIA_TYPE;
const LOBBY: &str = "/whip/lobby";
const PASSWORD: &str = "FAKEpasswordFAKEpassword";

/// An endpoint, the time, and what it said.
struct Hand {
    endpoint: Endpoint,
    now: Instant,
    answers: Vec<(ExchangeId, Response)>,
    begun: Vec<(SessionId, String)>,
    said: Vec<Signal>,
    ended: Vec<SessionId>,
}

/// A session that is open.
#[derive(Clone)]
struct Open {
    id: SessionId,
    path: String,
    etag: String,
}

impl Hand {
    fn new(config: EndpointConfig) -> Self {
        let endpoint = Endpoint::new(Instant::ZERO, [7; 32], config);
        let (answers, begun, said, ended) = Default::default();
        Self { endpoint, now: Instant::ZERO, answers, begun, said, ended }
    }

    fn flush(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Respond(id, response) => self.answers.push((id, response)),
                Output::Begin(id, name) => self.begun.push((id, name)),
                Output::Signal(_, signal) => self.said.push(signal),
                Output::End(id) => self.ended.push(id),
            }
        }
    }

    fn hand_in(&mut self, request: &Request) -> ExchangeId {
        let id = self.endpoint.request(self.now, request);
        self.flush();
        id
    }

    fn taken(&mut self, id: ExchangeId) -> Option<Response> {
        let at = self.answers.iter().position(|(known, _)| *known == id)?;
        Some(self.answers.remove(at).1)
    }

    /// The answer that comes at once.
    fn ask(&mut self, request: &Request) -> Response {
        let id = self.hand_in(request);
        self.taken(id).expect("an answer")
    }

    fn signal(&mut self, id: SessionId, signal: Signal) {
        self.endpoint.signal(self.now, id, signal);
        self.flush();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.endpoint.handle_timeout(self.now);
        self.flush();
    }

    /// Posts an offer, which waits.
    fn post(&mut self, ufrag: &str) -> (ExchangeId, SessionId) {
        let id = self.hand_in(&request("POST", LOBBY, &[TYPE_SDP], &offer(ufrag)));
        assert!(self.taken(id).is_none());
        (id, self.begun.last().unwrap().0)
    }

    fn open(&mut self) -> Open {
        let (exchange, id) = self.post("NEAR1");
        self.signal(id, Signal::Answer { sdp: answer("FAR1", 4000) });
        let created = self.taken(exchange).expect("an answer");
        assert_eq!(created.status(), 201);
        self.said.clear();
        let path = header(&created, "location").unwrap().to_owned();
        Open { id, path, etag: header(&created, "etag").unwrap().to_owned() }
    }
}

const TYPE_SDP: (&str, &str) = ("Content-Type", SDP);
const TYPE_FRAGMENT: (&str, &str) = ("Content-Type", FRAGMENT);
const ANY: (&str, &str) = ("If-Match", "*");

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request {
    let mut builder = http::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(body.as_bytes().to_vec()).unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

fn text(response: &Response) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

fn fragment(ufrag: &str, ports: &[u16]) -> String {
    let mut text = format!(
        "m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{PASSWORD}\r\n"
    );
    for port in ports {
        text += &format!("a=candidate:1 1 udp 2130706431 192.0.2.1 {port} typ host\r\n");
    }
    text
}

fn told(ufrag: &str, candidate: &str) -> Signal {
    Signal::Candidate(CandidateInit {
        candidate: candidate.into(),
        sdp_mid: Some("0".into()),
        sdp_m_line_index: Some(0),
        username_fragment: Some(ufrag.into()),
    })
}

fn patch(open: &Open, headers: &[(&str, &str)], body: &str) -> Request {
    let mut all = vec![TYPE_FRAGMENT];
    all.extend(headers);
    request("PATCH", &open.path, &all, body)
}

/// [rfc9725-4.2-3] [rfc9725-4.3.1-6] [rfc9725-4.3.1-7] [rfc9725-4.3.2-3a] [rfc9725-4.3.2-3b]
/// [rfc9725-4.3.2-p1] [rfc9725-4.6-1] [rfc9725-4.6-p1]
#[test]
fn an_offer_is_answered_once_all_candidates_are_there() {
    let mut config = EndpointConfig::default();
    let (username, credential) = (Some("user".into()), Some("my\"Pass".into()));
    config.ice_servers = vec![IceServer { url: "turn:t.test".into(), username, credential }];
    let mut hand = Hand::new(config);
    let (exchange, id) = hand.post("NEAR1");
    assert_eq!(hand.begun, [(id, "lobby".to_owned())]);
    assert_eq!(hand.said, [Signal::Offer { sdp: offer("NEAR1") }]);
    let sdp = answer("FAR1", 4000).replace("a=end-of-candidates\r\n", "");
    let own = "candidate:9 1 udp 5 192.0.2.9 4009 typ host";
    hand.signal(id, told("FAR1", own));
    hand.signal(id, Signal::Answer { sdp });
    hand.signal(id, told("OLD1", "candidate:8 1 udp 5 192.0.2.8 4008 typ host"));
    hand.signal(id, told("FAR1", "candidate:1 1 udp 1 a\r\na=injected b 1 typ host"));
    hand.signal(id, told("OLD1", ""));
    assert!(hand.taken(exchange).is_none(), "the end of another generation");
    hand.signal(id, told("FAR1", ""));
    let created = hand.taken(exchange).expect("the end");
    assert_eq!(created.status(), 201);
    assert_eq!(header(&created, "content-type"), Some(SDP));
    let path = header(&created, "location").unwrap();
    let secret = path.strip_prefix("/whip/lobby/").expect("below the endpoint");
    assert!(secret.len() == 32 && secret.bytes().all(|octet| octet.is_ascii_hexdigit()));
    let etag = header(&created, "etag").unwrap();
    assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 10);
    let link = "<turn:t.test>; rel=\"ice-server\"; username=\"user\"; credential=\"my\\\"Pass\"";
    assert_eq!(header(&created, "link"), Some(link));
    let stream = &Description::parse(text(&created)).unwrap().streams[0];
    assert_eq!(stream.candidates.len(), 2);
    assert_eq!(stream.candidates[1].to_string(), own);
    assert!(stream.end_of_candidates && !text(&created).contains("injected"));
    // What comes later cannot be told.
    hand.signal(id, told("FAR1", "candidate:7 1 udp 5 192.0.2.7 4007 typ host"));
    hand.signal(id, Signal::Offer { sdp: offer("FAR2") });
    assert!(hand.answers.is_empty() && hand.endpoint.count() == 1);
}

/// [rfc9725-4.2-4] [rfc9725-4.1-p1]
#[test]
fn what_is_no_offer_is_refused() {
    let good = offer("NEAR1");
    let long = good.clone() + &"a=x\r\n".repeat(20_000);
    let no_ice = "v=0\r\nm=audio 9 RTP/AVP 0\r\n";
    let bad_ufrag = good.replace("NEAR1", "a");
    for (kind, body, status) in [
        ("text/plain", good.as_str(), 415),
        (FRAGMENT, &good, 415),
        (SDP, "", 400),
        (SDP, "nonsense", 400),
        (SDP, &bad_ufrag, 400),
        (SDP, no_ice, 422),
        (SDP, "v=0\r\n", 422),
        (SDP, &long, 413),
    ] {
        let mut hand = Hand::new(EndpointConfig::default());
        let refused = hand.ask(&request("POST", LOBBY, &[("Content-Type", kind)], body));
        assert_eq!(refused.status(), status, "{kind} {body}");
        assert_eq!(header(&refused, "content-type"), Some("application/problem+json"));
        assert!(hand.begun.is_empty() && hand.endpoint.count() == 0);
    }
    let mut hand = Hand::new(EndpointConfig::default());
    assert_eq!(hand.ask(&request("POST", LOBBY, &[], &good)).status(), 415);
    let mut octets = request("POST", LOBBY, &[TYPE_SDP], "");
    *octets.body_mut() = vec![0xFF; 100];
    assert_eq!(hand.ask(&octets).status(), 400);
    let parameters = ("Content-Type", "Application/SDP; charset=utf-8");
    hand.hand_in(&request("POST", LOBBY, &[parameters], &good));
    assert_eq!(hand.endpoint.count(), 1);
}

/// [rfc9725-4.4.3-1a] [rfc9725-4.4.3-1b]
#[test]
fn an_answer_to_a_part_of_the_offer_is_none() {
    let whole = answer("FAR1", 4000);
    let rejected = whole.replace("a=bundle-only\r\n", "");
    let short = whole.split("m=video").next().unwrap().to_owned();
    for (sdp, status) in [(rejected, 422), (short, 422), ("nonsense".into(), 502)] {
        let mut hand = Hand::new(EndpointConfig::default());
        let (exchange, id) = hand.post("NEAR1");
        hand.signal(id, Signal::Answer { sdp });
        assert_eq!(hand.taken(exchange).unwrap().status(), status);
        assert_eq!((hand.ended.as_slice(), hand.endpoint.count()), (&[id][..], 0));
    }
}

#[test]
fn nobody_waits_for_ever() {
    let mut hand = Hand::new(EndpointConfig::default());
    let (exchange, id) = hand.post("NEAR1");
    hand.pass(Duration::from_millis(9_999));
    assert!(hand.taken(exchange).is_none());
    hand.pass(Duration::from_millis(1));
    assert_eq!(hand.taken(exchange).unwrap().status(), 504);
    assert_eq!(hand.ended, [id]);
    // Candidates that do not come to an end hold nothing up beyond their time.
    let (exchange, id) = hand.post("NEAR1");
    hand.pass(Duration::from_secs(9));
    let sdp = answer("FAR1", 4000).replace("a=end-of-candidates\r\n", "");
    hand.signal(id, Signal::Answer { sdp });
    hand.pass(Duration::from_millis(4_999));
    assert!(hand.taken(exchange).is_none());
    hand.pass(Duration::from_millis(1));
    assert_eq!(hand.taken(exchange).unwrap().status(), 201);
    // Nobody is there, or the client has gone.
    let (exchange, id) = hand.post("NEAR1");
    hand.endpoint.end(id);
    hand.flush();
    let refused = hand.taken(exchange).unwrap();
    assert_eq!((refused.status().as_u16(), header(&refused, "retry-after")), (503, Some("1")));
    let (exchange, id) = hand.post("NEAR1");
    hand.endpoint.cancel(exchange);
    hand.flush();
    assert_eq!((hand.ended.last(), hand.endpoint.count()), (Some(&id), 1));
    assert_eq!(hand.endpoint.poll_timeout(), None);
}

/// [rfc9725-4.3.2-7] [rfc9725-4.3.2-10a] [rfc9725-4.3.2-10b] [rfc9725-4.3.2-11] [rfc8840-4.4-14]
/// [rfc8840-4.4-15] [rfc9725-4.3.2-9]
#[test]
fn trickled_candidates_are_passed_on_once_and_in_order() {
    let mut hand = Hand::new(EndpointConfig::default());
    let open = hand.open();
    let tag = ("If-Match", open.etag.as_str());
    let strange = "a=candidate:1 1 sctp 1 192.0.2.1 1 typ host\r\n\
                   a=candidate:1 1 udp 1 no.such.name 1 typ host\r\n";
    let body = fragment("NEAR1", &[5001, 5000]) + strange;
    let taken = hand.ask(&patch(&open, &[tag], &body));
    assert_eq!((taken.status().as_u16(), header(&taken, "etag")), (204, None));
    assert!(taken.body().is_empty());
    let line = |port| format!("candidate:1 1 udp 2130706431 192.0.2.1 {port} typ host");
    assert_eq!(hand.said, [told("NEAR1", &line(5001)), told("NEAR1", &line(5000))]);
    hand.said.clear();
    let body = format!("a=end-of-candidates\r\n{}", fragment("NEAR1", &[5001, 5000, 5002]));
    for _ in 0..2 {
        assert_eq!(hand.ask(&patch(&open, &[tag], &body)).status(), 204);
    }
    assert_eq!(hand.said, [told("NEAR1", &line(5002)), told("NEAR1", "")]);
    // A flood of them ends at the limit.
    hand.said.clear();
    let ports: Vec<u16> = (6000..6900).collect();
    assert_eq!(hand.ask(&patch(&open, &[tag], &fragment("NEAR1", &ports))).status(), 204);
    assert_eq!(hand.said.len(), 253);
}

/// [rfc9725-4.3.1-3] [rfc9725-4.3.1-p1] [rfc9725-4.3.2-9]
#[test]
fn a_patch_without_the_entity_tag_or_the_fragment_is_refused() {
    let mut hand = Hand::new(EndpointConfig::default());
    let open = hand.open();
    let tag = ("If-Match", open.etag.as_str());
    let weak = format!("W/{}", open.etag);
    let list = format!("\"other\", {}", open.etag);
    let body = fragment("NEAR1", &[5000]);
    for (headers, status) in [
        (vec![], 428),
        (vec![("If-Match", "\"other\"")], 412),
        (vec![("If-Match", weak.as_str())], 412),
        (vec![("If-Match", "")], 412),
        (vec![("If-Match", list.as_str())], 204),
        (vec![("If-Match", "\"a\""), tag], 204),
    ] {
        assert_eq!(hand.ask(&patch(&open, &headers, &body)).status(), status, "{headers:?}");
    }
    let no_password = body.replace(&format!("a=ice-pwd:{PASSWORD}\r\n"), "");
    let other_mid = fragment("NEAR2", &[]).replace("mid:0", "mid:9");
    for (body, status) in [
        ("", 400),
        ("nonsense", 400),
        ("m=audio 9 RTP/AVP 0\r\na=candidate:broken\r\n", 400),
        (&no_password, 400),
        (&other_mid, 422),
    ] {
        assert_eq!(hand.ask(&patch(&open, &[tag], body)).status(), status, "{body}");
    }
    for kind in [SDP, "text/plain"] {
        let wrong = request("PATCH", &open.path, &[("Content-Type", kind), tag], &body);
        assert_eq!(hand.ask(&wrong).status(), 415);
    }
    let long = fragment("NEAR1", &[]) + &"a=x\r\n".repeat(20_000);
    assert_eq!(hand.ask(&patch(&open, &[tag], &long)).status(), 413);
    assert_eq!((hand.said.len(), hand.endpoint.count()), (1, 1));
}

/// [rfc9725-4.3.3-1] [rfc9725-4.3.3-5a] [rfc9725-4.3.3-5b] [rfc9725-4.3.3-6a] [rfc9725-4.3.3-7]
/// [rfc9725-4.3.3-8] [rfc8840-4.4-9]
#[test]
fn other_credentials_restart_ice_with_a_full_offer() {
    let mut hand = Hand::new(EndpointConfig::default());
    let open = hand.open();
    let exchange = hand.hand_in(&patch(&open, &[ANY], &fragment("NEAR2", &[6000])));
    let [Signal::Offer { sdp }] = &hand.said[..] else { panic!() };
    let restarted = Description::parse(sdp).unwrap();
    assert_eq!(restarted.streams[0].credentials.as_ref().unwrap().ufrag, "NEAR2");
    assert_eq!(restarted.streams[0].candidates.len(), 1);
    assert!(sdp.contains("a=rtpmap:96 VP8/90000\r\n") && sdp.contains("a=setup:actpass\r\n"));
    assert_eq!(restarted.pacing, Some(Duration::from_millis(20)));

    // One at a time: answers do not say what they answer.
    let busy = hand.ask(&patch(&open, &[ANY], &fragment("NEAR3", &[])));
    assert_eq!((busy.status().as_u16(), header(&busy, "retry-after")), (503, Some("1")));
    hand.signal(open.id, Signal::Answer { sdp: answer("FAR2", 4001) });
    let done = hand.taken(exchange).unwrap();
    assert_eq!((done.status().as_u16(), header(&done, "content-type")), (200, Some(FRAGMENT)));
    let etag = header(&done, "etag").unwrap().to_owned();
    assert_ne!(etag, open.etag);
    let told = Fragment::parse(text(&done)).unwrap();
    assert_eq!(told.sections.len(), 1);
    assert_eq!(told.sections[0].credentials.as_ref().unwrap().ufrag, "FAR2");
    assert_eq!(
        (told.sections[0].candidates.len(), told.lite, told.options.trickle),
        (1, true, true)
    );

    // The old generation is over, and what was lost on the way can be asked again.
    let late = hand.ask(&patch(&open, &[("If-Match", &open.etag)], &fragment("NEAR1", &[1])));
    assert_eq!(late.status(), 412);
    hand.said.clear();
    let again = hand.ask(&patch(&open, &[ANY], &fragment("NEAR2", &[6000])));
    assert_eq!((text(&again), header(&again, "etag")), (text(&done), Some(etag.as_str())));
    assert!(hand.said.is_empty());
    let more = hand.ask(&patch(&open, &[("If-Match", &etag)], &fragment("NEAR2", &[6000, 6001])));
    assert_eq!((more.status().as_u16(), hand.said.len()), (204, 1));
}

/// [rfc9725-4.3.3-9a] [rfc9725-4.3.3-9b]
#[test]
fn a_restart_that_nobody_answers_leaves_the_session_as_it_was() {
    let mut hand = Hand::new(EndpointConfig::default());
    let open = hand.open();
    for bad in [None, Some("nonsense")] {
        let exchange = hand.hand_in(&patch(&open, &[ANY], &fragment("NEAR2", &[])));
        if let Some(sdp) = bad {
            hand.signal(open.id, Signal::Answer { sdp: sdp.into() });
        }
        hand.pass(Duration::from_secs(10));
        assert!(hand.taken(exchange).unwrap().status().is_server_error());
        let tag = ("If-Match", open.etag.as_str());
        assert_eq!(hand.ask(&patch(&open, &[tag], &fragment("NEAR1", &[]))).status(), 204);
    }
    assert!(hand.ended.is_empty());
    // Who asked for it has gone; the restart is finished for the next to come.
    let exchange = hand.hand_in(&patch(&open, &[ANY], &fragment("NEAR4", &[])));
    hand.endpoint.cancel(exchange);
    hand.signal(open.id, Signal::Answer { sdp: answer("FAR4", 4001) });
    let again = hand.ask(&patch(&open, &[ANY], &fragment("NEAR4", &[])));
    assert!(again.status() == 200 && text(&again).contains("FAR4"));
}

/// [rfc9725-4.3.1-9] [rfc9725-4.2-p1]
#[test]
fn delete_ends_a_session_whatever_entity_tag_comes_along() {
    for tag in [None, Some("\"other\""), Some("*")] {
        let mut hand = Hand::new(EndpointConfig::default());
        let open = hand.open();
        let headers: Vec<_> = tag.map(|tag| ("If-Match", tag)).into_iter().collect();
        let delete = request("DELETE", &open.path, &headers, "");
        assert_eq!(hand.ask(&delete).status(), 200);
        assert_eq!((hand.ended.as_slice(), hand.endpoint.count()), (&[open.id][..], 0));
        assert_eq!(hand.ask(&delete).status(), 404);
        let late = patch(&open, &[ANY], &fragment("NEAR1", &[]));
        assert_eq!(hand.ask(&late).status(), 404);
        hand.signal(open.id, Signal::Answer { sdp: answer("FAR1", 1) });
    }
}

/// [rfc9725-4.1-3] [rfc9725-4.2-10] [rfc9725-4.2-11] [rfc9725-4.6-4]
#[test]
fn other_methods_find_nothing_or_are_not_allowed() {
    let mut config = EndpointConfig::default();
    let (username, credential) = (None, None);
    config.ice_servers = vec![IceServer { url: "stun:s.test".into(), username, credential }];
    let mut hand = Hand::new(config);
    let open = hand.open();
    for path in [LOBBY, &open.path] {
        for method in ["GET", "HEAD"] {
            let nothing = hand.ask(&request(method, path, &[], ""));
            assert!(nothing.status().is_success() && nothing.body().is_empty());
        }
        let options = hand.ask(&request("OPTIONS", path, &[], ""));
        assert_eq!((options.status().as_u16(), header(&options, "accept-post")), (200, Some(SDP)));
        assert_eq!(header(&options, "link"), None);
        for method in ["PUT", "TRACE", "X-NEW"] {
            let refused = hand.ask(&request(method, path, &[], ""));
            assert_eq!(refused.status(), 405);
            assert!(header(&refused, "allow").unwrap().contains("OPTIONS"));
        }
    }
    for (method, path) in [("PATCH", LOBBY), ("DELETE", LOBBY), ("POST", &open.path)] {
        assert_eq!(hand.ask(&request(method, path, &[], "")).status(), 405);
    }
    let deep = format!("{}/x", open.path);
    let long = format!("/whip/{}", "x".repeat(65));
    let elsewhere = open.path.replace("lobby", "other");
    for path in
        ["/", "/whip", "/whip/", "/whipper/x", "/whip/a%2Fb", "/whip//x", "/whip/x/", &deep, &long]
    {
        assert_eq!(
            hand.ask(&request("DELETE", path, &[], "")).status().as_u16() / 100,
            4,
            "{path}"
        );
    }
    assert_eq!(hand.ask(&request("DELETE", &elsewhere, &[], "")).status(), 404);
    assert_eq!(hand.endpoint.count(), 1);
}

/// [rfc9725-4.2-10]
#[test]
fn pages_of_other_origins_are_let_in_if_they_may() {
    let page = |origin| [TYPE_SDP, ("Host", "w.test:8080"), ("Origin", origin)];
    for (origins, origin, may) in [
        (Origins::Only(vec![]), "http://w.test:8080", true),
        (Origins::Only(vec![]), "https://evil.test", false),
        (Origins::Only(vec!["https://ok.test".into()]), "https://ok.test", true),
        (Origins::Any, "https://evil.test", true),
    ] {
        let mut config = EndpointConfig::default();
        config.origins = origins;
        let mut hand = Hand::new(config);
        let options = hand.ask(&request("OPTIONS", LOBBY, &page(origin), ""));
        assert_eq!(options.status(), if may { 200 } else { 403 });
        let shown = header(&options, "access-control-allow-origin");
        assert_eq!(shown, may.then_some(origin));
        let id = hand.hand_in(&request("POST", LOBBY, &page(origin), &offer("NEAR1")));
        if !may {
            assert_eq!(hand.taken(id).unwrap().status(), 403);
            continue;
        }
        for name in ["access-control-allow-methods", "access-control-allow-headers"] {
            assert!(header(&options, name).is_some());
        }
        let session = hand.begun[0].0;
        hand.signal(session, Signal::Answer { sdp: answer("FAR1", 4000) });
        let created = hand.taken(id).unwrap();
        assert_eq!(header(&created, "access-control-allow-origin"), Some(origin));
        let seen = header(&created, "access-control-expose-headers").unwrap();
        assert!(["Location", "ETag", "Link"].iter().all(|name| seen.contains(name)));
    }
}

/// [rfc9725-4.7-1] [rfc9725-4.7-2] [rfc9725-4.7.1-1]
#[test]
fn without_the_token_nothing_is_done_but_options() {
    let mut config = EndpointConfig::default();
    config.token = Some("FAKE-TOKEN".into());
    let mut hand = Hand::new(config);
    for value in [None, Some("Bearer FAKE"), Some("Basic FAKE-TOKEN"), Some("FAKE-TOKEN"), Some("")]
    {
        let mut headers = vec![TYPE_SDP];
        headers.extend(value.map(|value| ("Authorization", value)));
        for (method, path) in [("POST", LOBBY), ("GET", LOBBY), ("DELETE", "/whip/lobby/x")] {
            let refused = hand.ask(&request(method, path, &headers, &offer("NEAR1")));
            assert_eq!(refused.status(), 401);
            assert!(header(&refused, "www-authenticate").unwrap().starts_with("Bearer"));
        }
        assert_eq!(hand.ask(&request("OPTIONS", LOBBY, &[], "")).status(), 200);
    }
    assert_eq!(hand.endpoint.count(), 0);
    let token = ("Authorization", "bearer FAKE-TOKEN");
    hand.hand_in(&request("POST", LOBBY, &[TYPE_SDP, token], &offer("NEAR1")));
    assert_eq!(hand.endpoint.count(), 1);
}

/// [rfc9725-5-2] [rfc9725-5-3] [rfc9725-5-4] [rfc9725-4.5-3]
#[test]
fn a_flood_is_refused_and_takes_no_room() {
    let mut config = EndpointConfig::default();
    config.sessions = 3;
    config.posts = Rate { burst: 5, per_second: 1 };
    config.patches = Rate { burst: 4, per_second: 1 };
    config.deletes = Rate { burst: 6, per_second: 1 };
    let mut hand = Hand::new(config);
    let open = hand.open();
    let post = request("POST", LOBBY, &[TYPE_SDP], &offer("NEAR1"));
    let mut refused = Vec::new();
    for _ in 0..1_000 {
        let id = hand.hand_in(&post);
        refused.extend(hand.taken(id).map(|response| response.status().as_u16()));
    }
    assert_eq!(hand.endpoint.count(), 3);
    assert_eq!(refused.iter().filter(|status| **status == 503).count(), 2);
    assert_eq!(refused.iter().filter(|status| **status == 429).count(), 996);
    hand.pass(Duration::from_secs(10));
    assert_eq!(hand.endpoint.count(), 1, "nobody answered");

    let tag = ("If-Match", open.etag.as_str());
    let trickle = patch(&open, &[tag], &fragment("NEAR1", &[]));
    let statuses: Vec<_> = (0..6).map(|_| hand.ask(&trickle).status().as_u16()).collect();
    assert_eq!(statuses, [204, 204, 204, 204, 429, 429]);
    hand.now += Duration::from_secs(1);
    assert_eq!(hand.ask(&trickle).status(), 204);

    let guess = request("DELETE", "/whip/lobby/00000000000000000000000000000000", &[], "");
    let statuses: Vec<_> = (0..8).map(|_| hand.ask(&guess).status().as_u16()).collect();
    assert_eq!(statuses, [404, 404, 404, 404, 404, 404, 429, 429]);
    assert_eq!(hand.endpoint.count(), 1);
}

/// [rfc9725-5-3] [rfc9725-4.3.1-6]
#[test]
fn urls_and_entity_tags_do_not_repeat() {
    let mut config = EndpointConfig::default();
    config.posts = Rate { burst: 300, per_second: 300 };
    let mut hand = Hand::new(config);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..256 {
        let open = hand.open();
        assert!(seen.insert(open.path) && seen.insert(open.etag));
    }
}
