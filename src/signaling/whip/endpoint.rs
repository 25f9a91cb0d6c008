//! The server's part: requests become signals, signals become answers.

use core::fmt;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use http::header::{
    AUTHORIZATION, CONTENT_TYPE, ETAG, HOST, HeaderMap, HeaderValue, LINK, LOCATION, ORIGIN,
};
use http::{Method, StatusCode};
use subtle::ConstantTimeEq;

use super::super::Signal;
use super::super::limit::{Bucket, Rate};
use super::headers::{self, IfMatch};
use super::respond::{Resource, empty, not_allowed, options, problem, share};
use super::session::{Caller, Draft, Phase, Remote, Session};
use super::{IceServer, MAX_BODY, Request, Response, SDP, body};
use crate::rng::{Purpose, Seed, Stream};
use crate::sdp::{Description, Fragment};
use crate::time::{Instant, earlier};

/// The longest name of an endpoint, octets.
const MAX_NAME: usize = 64;

/// Which pages may use an endpoint. What comes from no page may always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Every page.
    Any,
    /// Those of the server itself, and those of these origins, such as `https://example.org`.
    Only(Vec<String>),
}

/// What an endpoint allows.
#[derive(Clone)]
#[non_exhaustive]
pub struct EndpointConfig {
    /// What the paths begin with: an endpoint is `{prefix}/{name}`. Default `/whip`.
    pub prefix: String,
    /// The bearer token that is asked for; `None` asks for none. [rfc9725-4.7.1-1]
    pub token: Option<String>,
    /// Which pages may use it. Default those of the server.
    pub origins: Origins,
    /// The servers that clients are told of, with the answer to an offer. [rfc9725-4.6-1]
    pub ice_servers: Vec<IceServer>,
    /// Sessions at a time; beyond, offers are answered with 503. Default 256. [rfc9725-4.5-3]
    pub sessions: usize,
    /// Candidates that a client may send in one generation. Default 256.
    pub candidates: usize,
    /// How long an offer waits for its answer. Default 10 s.
    pub answer: Duration,
    /// How long an answer waits for its candidates; it goes without the others then. Default 5 s.
    pub gather: Duration,
    /// Offers, of all clients together. Default 20 at once, 5 a second. [rfc9725-5-2]
    pub posts: Rate,
    /// Patches of one session. Default 50 at once, 10 a second. [rfc9725-5-4]
    pub patches: Rate,
    /// Deletions, and whatever is asked of sessions that there are not, of all clients together.
    /// Default 50 at once, 10 a second. [rfc9725-5-3]
    pub deletes: Rate,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            prefix: String::from("/whip"),
            token: None,
            origins: Origins::Only(Vec::new()),
            ice_servers: Vec::new(),
            sessions: 256,
            candidates: 256,
            answer: Duration::from_secs(10),
            gather: Duration::from_secs(5),
            posts: Rate { burst: 20, per_second: 5 },
            patches: Rate { burst: 50, per_second: 10 },
            deletes: Rate { burst: 50, per_second: 10 },
        }
    }
}

impl fmt::Debug for EndpointConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointConfig")
            .field("prefix", &self.prefix)
            .field("token", &self.token.as_ref().map(|_| "***"))
            .finish_non_exhaustive()
    }
}

/// Names a request that was taken, until its answer is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(u64);

/// Names a session to who answers its offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

/// What an endpoint wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Answer a request.
    Respond(ExchangeId, Response),
    /// A client came to the endpoint of this name; its offer follows. Where nobody is to answer,
    /// say so with [`Endpoint::end`].
    Begin(SessionId, String),
    /// Tell who answers: an offer, or a candidate. A second offer restarts ICE.
    Signal(SessionId, Signal),
    /// The client has gone; its id is gone too.
    End(SessionId),
}

/// WHIP endpoints and their sessions, without sockets and clock: see the [module](super).
///
/// Every request that is handed in gets an answer by [`Output::Respond`], at once or when the
/// other side has spoken; after each call take all outputs.
///
/// ```
/// use floe::Instant;
/// use floe::signaling::whip::{Endpoint, EndpointConfig, Output};
///
/// let mut endpoint = Endpoint::new(Instant::ZERO, [7; 32], EndpointConfig::default());
/// let request = http::Request::options("/whip/lobby").body(Vec::new()).unwrap();
/// endpoint.request(Instant::ZERO, &request);
/// let Some(Output::Respond(_, response)) = endpoint.poll_output() else { panic!() };
/// assert_eq!(response.headers()["accept-post"], "application/sdp");
/// ```
pub struct Endpoint {
    config: EndpointConfig,
    seed: Seed,
    names: Stream,
    next_exchange: u64,
    next_session: u64,
    sessions: BTreeMap<SessionId, Session>,
    posts: Bucket,
    deletes: Bucket,
    outputs: VecDeque<Output>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("sessions", &self.sessions.len()).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Makes one without sessions; `seed` is secret and random: the URLs of sessions come of it.
    #[must_use]
    pub fn new(now: Instant, seed: [u8; 32], config: EndpointConfig) -> Self {
        Self {
            posts: Bucket::full(now, config.posts),
            deletes: Bucket::full(now, config.deletes),
            config,
            seed: Seed::new(seed),
            names: Stream::new(0, Purpose::Credentials),
            next_exchange: 0,
            next_session: 0,
            sessions: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Returns how many sessions there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sessions.len()
    }

    /// Takes a request.
    pub fn request(&mut self, now: Instant, request: &Request) -> ExchangeId {
        let id = ExchangeId(self.next_exchange);
        self.next_exchange += 1;
        let Ok(origin) = self.origin(request.headers()) else {
            let title = "pages of this origin may not use this endpoint";
            self.respond(&Caller { id, origin: None }, problem(StatusCode::FORBIDDEN, title));
            return id;
        };
        let caller = Caller { id, origin };
        if let Some(response) = self.route(now, request, &caller) {
            self.respond(&caller, response);
        }
        id
    }

    /// Notes that nobody waits for the answer to a request any more. An offer is taken back.
    pub fn cancel(&mut self, id: ExchangeId) {
        let of = |session: &Session| session.caller().is_some_and(|caller| caller.id == id);
        let Some((&key, session)) = self.sessions.iter_mut().find(|(_, session)| of(session))
        else {
            return;
        };
        match &mut session.phase {
            Phase::Offered { .. } => {
                self.sessions.remove(&key);
                self.outputs.push_back(Output::End(key));
            }
            Phase::Restarting { caller, .. } => *caller = None,
            Phase::Settled => {}
        }
    }

    /// Takes what the other side of a session says. Offers of its own, and candidates that come
    /// after the answer, cannot be told to the client and are dropped. [rfc9725-4.3.2-p1]
    pub fn signal(&mut self, now: Instant, id: SessionId, signal: Signal) {
        let (gather, limit) = (self.config.gather, self.config.candidates);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some((draft, until)) = session.draft() else { return };
        match signal {
            Signal::Offer { .. } => return,
            Signal::Answer { sdp } => {
                if !draft.has_answer() {
                    *until = now + gather;
                }
                draft.answer(sdp);
            }
            Signal::Candidate(init) => draft.candidate(init, limit),
        }
        if draft.is_complete() {
            self.finish(id);
        }
    }

    /// Ends a session from the other side: nobody is there to answer, or not any more. The client
    /// learns it from the answer that it waits for, or from the next.
    ///
    /// A client that vanished deletes nothing: call this once its agent has failed, or its session
    /// stays.
    pub fn end(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else { return };
        if let Some(caller) = session.caller() {
            let title = "nobody is there to answer; come back later";
            self.respond(caller, problem(StatusCode::SERVICE_UNAVAILABLE, title));
        }
    }

    /// Takes what is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.sessions.values().fold(None, |first, session| earlier(first, session.until()))
    }

    /// Ends what took too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        let late = |session: &Session| session.until().is_some_and(|until| until <= now);
        let late: Vec<_> =
            self.sessions.iter().filter(|(_, session)| late(session)).map(|(id, _)| *id).collect();
        for id in late {
            self.finish(id);
        }
    }

    /// Whether a page may use this, and what it is told. [rfc9725-4.2-10]
    fn origin(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, ()> {
        let Some(origin) = headers.get(ORIGIN) else { return Ok(None) };
        let text = origin.to_str().map_err(drop)?;
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let ours = text.split_once("://").is_some_and(|(_, of)| Some(of) == host);
        let known = match &self.config.origins {
            Origins::Any => true,
            Origins::Only(known) => known.iter().any(|known| known == text),
        };
        if ours || known { Ok(Some(origin.clone())) } else { Err(()) }
    }

    /// Answers a request, or sees to it that it is answered.
    fn route(&mut self, now: Instant, request: &Request, caller: &Caller) -> Option<Response> {
        let path = request.uri().path();
        let unknown = || Some(problem(StatusCode::NOT_FOUND, "there is nothing here"));
        let Some(rest) = path.strip_prefix(&self.config.prefix) else { return unknown() };
        let Some(rest) = rest.strip_prefix('/') else { return unknown() };
        let (name, secret) = match rest.split_once('/') {
            Some((name, secret)) => (name, Some(secret)),
            None => (rest, None),
        };
        if !is_name(name) {
            return unknown();
        }
        let resource = if secret.is_some() { Resource::Session } else { Resource::Endpoint };
        if request.method() == Method::OPTIONS {
            return Some(options(resource));
        }
        if !self.is_authorized(request.headers()) {
            return Some(problem(StatusCode::UNAUTHORIZED, "give the token of this endpoint"));
        }
        let Some(secret) = secret else {
            return match *request.method() {
                Method::POST => self.post(now, name, request, caller),
                // [rfc9725-4.1-3]
                Method::GET | Method::HEAD => Some(empty(StatusCode::NO_CONTENT)),
                _ => Some(not_allowed(resource)),
            };
        };
        let id = self.find(name, secret);
        if (id.is_none() || request.method() == Method::DELETE)
            && self.deletes.take(now, self.config.deletes).is_err()
        {
            return Some(too_fast());
        }
        let Some(id) = id else { return unknown() };
        match *request.method() {
            Method::PATCH => self.patch(now, id, request, caller),
            // Whatever entity tag comes along. [rfc9725-4.3.1-9] [rfc9725-4.2-p1]
            Method::DELETE => {
                self.delete(id);
                Some(empty(StatusCode::OK))
            }
            Method::GET | Method::HEAD => Some(empty(StatusCode::NO_CONTENT)),
            _ => Some(not_allowed(resource)),
        }
    }

    fn find(&self, name: &str, secret: &str) -> Option<SessionId> {
        let mut sessions = self.sessions.iter();
        let is = |session: &Session| {
            // Who does not know the URL learns nothing of it by the time that this takes.
            let same: bool = session.secret.as_bytes().ct_eq(secret.as_bytes()).into();
            same && session.name == name && !matches!(session.phase, Phase::Offered { .. })
        };
        sessions.find(|(_, session)| is(session)).map(|(id, _)| *id)
    }

    /// Whether the request has the token, if one is asked for. [rfc9725-4.7-1] [rfc9725-4.7-2]
    fn is_authorized(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.config.token else { return true };
        let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, given)) = value.and_then(|value| value.split_once(' ')) else {
            return false;
        };
        let same: bool = given.trim().as_bytes().ct_eq(token.as_bytes()).into();
        scheme.eq_ignore_ascii_case("Bearer") && same
    }

    /// An offer: a session begins, and is answered once the other side has spoken. [rfc9725-4.2-3]
    /// [rfc9725-4.2-4]
    fn post(
        &mut self,
        now: Instant,
        name: &str,
        request: &Request,
        caller: &Caller,
    ) -> Option<Response> {
        let text = match text_of(request, SDP) {
            Ok(text) => text,
            Err((status, title)) => return Some(problem(status, title)),
        };
        if self.posts.take(now, self.config.posts).is_err() {
            return Some(too_fast());
        }
        if self.sessions.len() >= self.config.sessions {
            let title = "there are as many sessions as there may be; come back later";
            return Some(problem(StatusCode::SERVICE_UNAVAILABLE, title));
        }
        if Description::parse(text).is_err() {
            return Some(problem(StatusCode::BAD_REQUEST, "the body is not SDP that can be read"));
        }
        let Some(remote) = Remote::new(text.to_owned()) else {
            let title = "nothing in the offer uses ICE";
            return Some(problem(StatusCode::UNPROCESSABLE_ENTITY, title));
        };
        let id = SessionId(self.next_session);
        self.next_session += 1;
        // 128 bits that nobody can guess. [rfc9725-5-3]
        let secret = format!("{:016x}{:016x}", self.draw(), self.draw());
        let (draft, until) = (Draft::default(), now + self.config.answer);
        let session = Session {
            secret,
            name: name.to_owned(),
            etag: self.new_etag(),
            remote,
            answer: String::new(),
            restarted: false,
            phase: Phase::Offered { caller: caller.clone(), draft, until },
            patches: Bucket::full(now, self.config.patches),
        };
        self.sessions.insert(id, session);
        self.outputs.push_back(Output::Begin(id, name.to_owned()));
        let offer = Signal::Offer { sdp: text.to_owned() };
        self.outputs.push_back(Output::Signal(id, offer));
        None
    }

    fn draw(&mut self) -> u64 {
        self.names.next_u64(&self.seed)
    }

    /// Makes a strong entity tag that no other session of ICE has. [rfc9725-4.3.1-6]
    fn new_etag(&mut self) -> String {
        format!("\"{:016x}\"", self.draw())
    }

    /// Candidates, or a restart. [rfc9725-4.3.1-3] [rfc9725-4.3.1-p1]
    /// [rfc9725-4.3.2-10a] [rfc9725-4.3.2-10b] [rfc9725-4.3.2-9]
    fn patch(
        &mut self,
        now: Instant,
        id: SessionId,
        request: &Request,
        caller: &Caller,
    ) -> Option<Response> {
        let (limit, rate) = (self.config.candidates, self.config.patches);
        let session = self.sessions.get_mut(&id)?;
        if session.patches.take(now, rate).is_err() {
            return Some(too_fast());
        }
        let text = match text_of(request, Fragment::MEDIA_TYPE) {
            Ok(text) => text,
            Err((status, title)) => return Some(problem(status, title)),
        };
        let Ok(fragment) = Fragment::parse(text) else {
            return Some(problem(StatusCode::BAD_REQUEST, "the body is not a fragment of SDP"));
        };
        if body::credentials(&fragment).is_none() {
            let title = "the fragment has no section with ice-ufrag and ice-pwd";
            return Some(problem(StatusCode::BAD_REQUEST, title));
        }
        let if_match = IfMatch::read(request.headers());
        match &if_match {
            IfMatch::Missing => {
                let title = "say in If-Match which ICE session is meant";
                return Some(problem(StatusCode::PRECONDITION_REQUIRED, title));
            }
            IfMatch::Tags(tags) if !tags.contains(&session.etag) => {
                let title = "the ICE session is another one by now";
                return Some(problem(StatusCode::PRECONDITION_FAILED, title));
            }
            IfMatch::Any | IfMatch::Tags(_) => {}
        }
        if !session.remote.is_generation(&fragment) {
            return self.restart(now, id, &fragment, caller);
        }
        let signals = session.remote.trickle(&fragment, limit);
        // A restart whose answer was lost.
        let again = session.restarted && if_match == IfMatch::Any;
        let response = if again { session.fragment() } else { empty(StatusCode::NO_CONTENT) };
        self.outputs.extend(signals.into_iter().map(|signal| Output::Signal(id, signal)));
        Some(response)
    }

    /// Other credentials than those of the session: ICE is restarted with a full offer, made of the
    /// one before. [rfc9725-4.3.3-1] [rfc9725-4.3.3-5a]
    fn restart(
        &mut self,
        now: Instant,
        id: SessionId,
        fragment: &Fragment,
        caller: &Caller,
    ) -> Option<Response> {
        let session = self.sessions.get_mut(&id)?;
        // Answers do not say which offer they are for, so there is one at a time.
        if !matches!(session.phase, Phase::Settled) {
            let title = "a restart is under way; try again";
            return Some(problem(StatusCode::SERVICE_UNAVAILABLE, title));
        }
        let sdp = body::exchange(&session.remote.sdp, fragment);
        let Some(remote) = sdp.clone().and_then(Remote::new) else {
            let title = "the fragment fits not the offer; name its sections by their mid";
            return Some(problem(StatusCode::UNPROCESSABLE_ENTITY, title));
        };
        session.phase = Phase::Restarting {
            caller: Some(caller.clone()),
            remote: Box::new(remote),
            draft: Draft::default(),
            until: now + self.config.answer,
        };
        let offer = Signal::Offer { sdp: sdp.unwrap_or_default() };
        self.outputs.push_back(Output::Signal(id, offer));
        None
    }

    fn delete(&mut self, id: SessionId) {
        self.end(id);
        self.outputs.push_back(Output::End(id));
    }

    /// Answers what a session waits for with what there is.
    fn finish(&mut self, id: SessionId) {
        let Some(mut session) = self.sessions.remove(&id) else { return };
        match core::mem::replace(&mut session.phase, Phase::Settled) {
            Phase::Settled => {}
            Phase::Offered { caller, draft, .. } => {
                let response = self.first_answer(&mut session, &draft);
                let failed = !response.status().is_success();
                self.respond(&caller, response);
                if failed {
                    self.outputs.push_back(Output::End(id));
                    return;
                }
            }
            Phase::Restarting { caller, remote, draft, .. } => {
                let response = self.next_answer(&mut session, *remote, &draft);
                if let Some(caller) = caller {
                    self.respond(&caller, response);
                }
            }
        }
        self.sessions.insert(id, session);
    }

    /// [rfc9725-4.2-3] [rfc9725-4.3.1-7]
    fn first_answer(&self, session: &mut Session, draft: &Draft) -> Response {
        if !draft.has_answer() {
            return problem(StatusCode::GATEWAY_TIMEOUT, "nobody answered the offer in time");
        }
        let Some(answer) = draft.whole().filter(|answer| body::fragment_of(answer).is_some())
        else {
            return problem(StatusCode::BAD_GATEWAY, "the answer to the offer does not use ICE");
        };
        // All or nothing. [rfc9725-4.4.3-1a] [rfc9725-4.4.3-1b]
        if is_partial(session.remote.streams(), &answer) {
            let title = "not all that is offered can be taken";
            return problem(StatusCode::UNPROCESSABLE_ENTITY, title);
        }
        let Session { name, secret, etag, .. } = &*session;
        let location = format!("{}/{name}/{secret}", self.config.prefix);
        let mut response = Response::new(answer.clone().into_bytes());
        *response.status_mut() = StatusCode::CREATED;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(SDP));
        let texts = [(LOCATION, location.as_str()), (ETAG, etag.as_str())];
        for (name, text) in texts {
            headers.extend(HeaderValue::from_str(text).ok().map(|value| (name, value)));
        }
        for server in &self.config.ice_servers {
            if let Ok(value) = HeaderValue::from_str(&headers::link(server)) {
                headers.append(LINK, value);
            }
        }
        session.answer = answer;
        response
    }

    /// The answer to a restart; without one the session stays as it was. [rfc9725-4.3.3-9a]
    /// [rfc9725-4.3.3-9b]
    fn next_answer(&mut self, session: &mut Session, remote: Remote, draft: &Draft) -> Response {
        if !draft.has_answer() {
            return problem(StatusCode::GATEWAY_TIMEOUT, "nobody answered the restart in time");
        }
        let Some(answer) = draft.whole().filter(|answer| body::fragment_of(answer).is_some())
        else {
            return problem(StatusCode::BAD_GATEWAY, "the answer to the restart does not use ICE");
        };
        session.etag = self.new_etag();
        (session.remote, session.answer, session.restarted) = (remote, answer, true);
        session.fragment()
    }

    fn respond(&mut self, caller: &Caller, mut response: Response) {
        if let Some(origin) = caller.origin.clone() {
            share(&mut response, origin);
        }
        self.outputs.push_back(Output::Respond(caller.id, response));
    }
}

impl Session {
    /// What a restarted session says: the ICE of its answer, and its entity tag.
    /// [rfc9725-4.3.3-5b] [rfc9725-4.3.3-6a] [rfc9725-4.3.3-8]
    fn fragment(&self) -> Response {
        let fragment = body::fragment_of(&self.answer).unwrap_or_default();
        let mut response = Response::new(fragment.to_string().into_bytes());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(Fragment::MEDIA_TYPE));
        headers.extend(HeaderValue::from_str(&self.etag).ok().map(|value| (ETAG, value)));
        response
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed)
}

fn too_fast() -> Response {
    problem(StatusCode::TOO_MANY_REQUESTS, "too many requests; make fewer")
}

/// Returns the body, if it is of this type, not too long, and text.
fn text_of<'a>(request: &'a Request, kind: &str) -> Result<&'a str, (StatusCode, &'static str)> {
    if !headers::is_type(request.headers(), kind) {
        let title = "the body is of another type than this resource takes";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, title));
    }
    if request.body().len() > MAX_BODY {
        return Err((StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 64 KiB"));
    }
    let text = core::str::from_utf8(request.body());
    text.map_err(|_| (StatusCode::BAD_REQUEST, "the body is not UTF-8"))
}

/// Whether an answer rejects something that was offered.
fn is_partial(offer: &Description, answer: &str) -> bool {
    let Ok(answer) = Description::parse(answer) else { return true };
    let short = answer.streams.len() != offer.streams.len();
    let mut both = offer.streams.iter().zip(&answer.streams);
    short || both.any(|(offered, answered)| answered.rejected && !offered.rejected)
}
