//! The client's part: signals become requests, answers become signals.

use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, IF_MATCH, LOCATION};
use http::{Method, StatusCode, Uri};

use super::super::{CandidateInit, Signal};
use super::{IceServer, MAX_BODY, Request, Response, SDP, body, headers, url};
use crate::candidate::Candidate;
use crate::sdp::{CandidateError, Description, Fragment};
use crate::time::Instant;

/// The most candidates of a generation.
const MAX_CANDIDATES: usize = 256;

/// How a client behaves.
#[derive(Clone)]
#[non_exhaustive]
pub struct ClientConfig {
    /// The bearer token; `None` sends no `Authorization` at all. [rfc9725-4.7.1-2]
    /// [rfc9725-4.7.1-3] [rfc9725-4.7-1] [rfc9725-4.7-2]
    pub token: Option<String>,
    /// Origins, such as `https://media.example`, that get the token too where the endpoint
    /// redirects there. Others do not.
    pub token_origins: Vec<String>,
    /// Whether `http:` may go beyond this machine. Default no: what is sent holds passwords.
    /// [rfc9725-5-1]
    pub allow_http: bool,
    /// How long candidates are gathered into one request. Default 20 ms.
    pub batch: Duration,
    /// How often a request is made again that the server could not handle, or that did not reach
    /// it. Default 3.
    pub retries: u8,
    /// How long to wait before the first of them, where the server says nothing; each time twice
    /// as long. Default 500 ms.
    pub retry_wait: Duration,
    /// The longest wait that a server may ask for. Default 60 s; one that asks for more is given
    /// up.
    pub retry_wait_max: Duration,
    /// How many redirections are followed. Default 5.
    pub redirects: u8,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            token: None,
            token_origins: Vec::new(),
            allow_http: false,
            batch: Duration::from_millis(20),
            retries: 3,
            retry_wait: Duration::from_millis(500),
            retry_wait_max: Duration::from_secs(60),
            redirects: 5,
        }
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("token", &self.token.as_ref().map(|_| "***"))
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}

/// Names a request, so that its answer is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

/// How a request came to no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing of it left.
    NotSent,
    /// It may have arrived.
    NoResponse,
}

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientError {
    /// Not the URL of an endpoint: write `https://host/path`.
    Url,
    /// `http:` goes to this machine alone: write `https:`, or set [`ClientConfig::allow_http`].
    Insecure,
    /// `https:` needs the feature `tls`: build with it.
    NoTls,
    /// The token has a character that no header field may have: look at it again.
    Token,
    /// The endpoint refused the offer with this status.
    Refused(StatusCode),
    /// The endpoint could not handle it, time and again: come back later.
    Unavailable(StatusCode),
    /// It redirects too often, or to where we do not follow: look at the URL again.
    Redirect,
    /// What it sent is no description: look at the URL again.
    NotAnAnswer,
    /// It named no session: nothing could be trickled, restarted or ended.
    NoSession,
    /// It is not reached: see whether it runs, and there.
    Unreachable,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url => f.write_str("not the URL of a WHIP endpoint; write https://host/path"),
            Self::Insecure => {
                f.write_str("http: goes to this machine alone; write https:, or allow http")
            }
            Self::NoTls => f.write_str("https: needs TLS; build with the feature \"tls\""),
            Self::Token => f.write_str("the token has a character that is not visible ASCII"),
            Self::Refused(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                f.write_str("the WHIP endpoint lets us not in; give the right token")
            }
            Self::Refused(status) => write!(f, "the WHIP endpoint refused the offer ({status})"),
            Self::Unavailable(status) => {
                write!(f, "the WHIP endpoint is not available ({status}); come back later")
            }
            Self::Redirect => f.write_str(
                "the WHIP endpoint redirects too often, or to where we do not follow; look at the \
                 URL again",
            ),
            Self::NotAnAnswer => f.write_str("what answers is no WHIP endpoint; look at the URL"),
            Self::NoSession => f.write_str("the WHIP endpoint names no session; tell who runs it"),
            Self::Unreachable => f.write_str("the WHIP endpoint is not reached; see if it runs"),
        }
    }
}

impl core::error::Error for ClientError {}

/// Why a signal cannot be sent; it changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SendError {
    /// The client of WHIP makes the offers: have the agent control.
    Answer,
    /// The description is none, or nothing in it uses ICE.
    NoIce,
    /// The description has the credentials of before: WHIP negotiates nothing but a restart anew.
    NotARestart,
    /// The candidate line does not scan.
    Candidate(CandidateError),
    /// More candidates than 256, or more octets than 64 KiB: send fewer.
    TooMany,
    /// The session is over, or never was: make a new client.
    Closed,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer => f.write_str("a WHIP client makes the offers; have the agent control"),
            Self::NoIce => f.write_str("the description does not use ICE"),
            Self::NotARestart => {
                f.write_str("WHIP negotiates nothing anew but ICE; restart it, or close")
            }
            Self::Candidate(error) => error.fmt(f),
            Self::TooMany => f.write_str("too many candidates; send fewer"),
            Self::Closed => f.write_str("the WHIP session is over; begin another"),
        }
    }
}

impl core::error::Error for SendError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        if let Self::Candidate(error) = self { Some(error) } else { None }
    }
}

/// What a client learns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// The other side said this: an answer.
    Signal(Signal),
    /// The endpoint names servers that may be used; it is never asked for them by `OPTIONS`.
    /// [rfc9725-4.6-p1] [rfc9725-4.6-3a] [rfc9725-4.6-3b]
    IceServers(Vec<IceServer>),
    /// Candidates are not taken: those that were not in the offer do not arrive. Where that is
    /// known, wait with the offer until all are there (`Trickle::Half`).
    TrickleRefused(Option<StatusCode>),
    /// The other side is in another generation of ICE than we: restart. [rfc9725-4.3.3-14]
    RestartNeeded,
    /// The restart came to nothing; the session goes on as it was. It may be tried once more, or
    /// the session closed.
    RestartRefused(Option<StatusCode>),
    /// There is no session.
    Failed(ClientError),
    /// All is over: the session was deleted, as far as that can be.
    Closed,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Offer,
    Restart,
    Trickle,
    Delete,
}

/// A request that awaits its answer.
#[derive(Debug)]
struct InFlight {
    id: RequestId,
    kind: Kind,
    /// Of which generation it is, and what of it it says.
    generation: u64,
    version: u64,
}

/// Our generation of ICE.
#[derive(Debug)]
struct Local {
    /// Its number, from 1.
    generation: u64,
    fragment: Fragment,
    /// The streams of the offer, by which candidates find their section.
    description: Description,
    ufrag: String,
    /// Counts what was added, and how much of it the session has confirmed.
    version: u64,
    confirmed: u64,
    /// When what was added is sent.
    due: Instant,
}

/// Whether candidates are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trickling {
    On,
    /// Not in this generation.
    Paused,
    /// Never.
    Refused,
}

/// A session at the server.
#[derive(Debug)]
struct Session {
    url: Uri,
    etag: Option<String>,
    /// The whole description that counts.
    answer: String,
    trickling: Trickling,
}

#[derive(Debug)]
enum State {
    /// No offer yet.
    New,
    /// The offer is on its way.
    Offering {
        sdp: String,
        url: Uri,
        redirects: u8,
    },
    /// There is a session.
    Open(Session),
    Closed,
}

/// The client of one WHIP session, without sockets and clock: see the [module](super). It trickles
/// and restarts. [rfc9725-4.3-1]
///
/// After each call ask [`poll_event`](Self::poll_event) and [`poll_request`](Self::poll_request)
/// until there is nothing. A request may be handed out while another is under way: then the other
/// counts no more, and may be given up. [rfc9725-4.3.3-12]
///
/// ```
/// use floe::Instant;
/// use floe::signaling::{Signal, whip::{Client, ClientConfig}};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut client = Client::new("https://media.test/whip/lobby", ClientConfig::default())?;
/// let sdp = "v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\n\
///            a=ice-ufrag:FAKE\r\na=ice-pwd:FAKEFAKEFAKEFAKEFAKEFAKE\r\n";
/// client.send(Instant::ZERO, Signal::Offer { sdp: sdp.into() })?;
/// let (_, request) = client.poll_request(Instant::ZERO).unwrap();
/// assert_eq!(request.method(), "POST");
/// # Ok(()) }
/// ```
pub struct Client {
    config: ClientConfig,
    token: Option<HeaderValue>,
    endpoint: Uri,
    state: State,
    local: Option<Local>,
    restart_due: bool,
    closing: bool,
    in_flight: Option<InFlight>,
    next_id: u64,
    attempts: u8,
    /// Nothing is asked before.
    wait: Option<Instant>,
    events: VecDeque<ClientEvent>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::New => "New",
            State::Offering { .. } => "Offering",
            State::Open(_) => "Open",
            State::Closed => "Closed",
        };
        f.debug_struct("Client").field("state", &state).finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client for the endpoint at `url`; nothing is asked before there is an offer.
    ///
    /// # Errors
    ///
    /// [`ClientError::Url`], [`ClientError::Insecure`] or [`ClientError::Token`].
    pub fn new(url: &str, config: ClientConfig) -> Result<Self, ClientError> {
        let endpoint = url::parse(url).ok_or(ClientError::Url)?;
        if !is_allowed(&endpoint, &config) {
            return Err(ClientError::Insecure);
        }
        let token = match &config.token {
            Some(token) if token.is_empty() || !token.bytes().all(|o| o.is_ascii_graphic()) => {
                return Err(ClientError::Token);
            }
            Some(token) => {
                let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                    .map_err(|_| ClientError::Token)?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        Ok(Self {
            config,
            token,
            endpoint,
            state: State::New,
            local: None,
            restart_due: false,
            closing: false,
            in_flight: None,
            next_id: 0,
            attempts: 0,
            wait: None,
            events: VecDeque::new(),
        })
    }

    /// Takes a signal of ours: the first offer begins the session, every other one restarts ICE in
    /// it, candidates are kept until they can be sent. A candidate of another generation is
    /// dropped. [rfc9725-4.3.2-1a] [rfc9725-4.3.2-1b] [rfc9725-4.3.2-2] [rfc9725-4.3.3-10]
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    pub fn send(&mut self, now: Instant, signal: Signal) -> Result<(), SendError> {
        if self.closing || matches!(self.state, State::Closed) {
            return Err(SendError::Closed);
        }
        match signal {
            Signal::Offer { sdp } => self.offer(now, sdp),
            Signal::Answer { .. } => Err(SendError::Answer),
            Signal::Candidate(init) => self.candidate(now, &init),
        }
    }

    /// Ends the session: deletes it, without an entity tag. [rfc9725-4.2-8] [rfc9725-4.3.1-8]
    pub fn close(&mut self) {
        if self.closing {
            return;
        }
        self.closing = true;
        (self.attempts, self.wait) = (0, None);
        let posted = self.in_flight.as_ref().is_some_and(|request| request.kind == Kind::Offer);
        match &self.state {
            State::New => self.end(),
            State::Offering { .. } if !posted => self.end(),
            State::Offering { .. } | State::Open(_) | State::Closed => {}
        }
    }

    /// Whether nothing will be asked and nothing learned any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Takes what was learned.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// Returns when [`poll_request`](Self::poll_request) is to be asked again; `None` while an
    /// answer is awaited, or nothing is to be said.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due().map(|(_, at)| at)
    }

    /// Takes the next request, to be answered with [`handle_response`](Self::handle_response) or
    /// [`handle_failure`](Self::handle_failure).
    pub fn poll_request(&mut self, now: Instant) -> Option<(RequestId, Request)> {
        let (kind, at) = self.due()?;
        if at > now {
            return None;
        }
        let request = self.request(kind)?;
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.wait = None;
        let local = self.local.as_ref();
        let (generation, version) = local.map_or((0, 0), |local| (local.generation, local.version));
        self.in_flight = Some(InFlight { id, kind, generation, version });
        Some((id, request))
    }

    /// Takes the answer to a request. One to a request that counts no more changes nothing.
    /// [rfc9725-4.3.3-12] [rfc9725-4.3.3-13]
    ///
    /// What a status means follows from its class alone, except where HTTP itself gives it a
    /// meaning. [rfc9725-4.1-1] [rfc9725-4.1-2]
    pub fn handle_response(&mut self, now: Instant, id: RequestId, response: &Response) {
        let Some(request) = self.in_flight.take_if(|request| request.id == id) else { return };
        self.answered(now, &request, response);
    }

    /// Notes that a request found no answer.
    pub fn handle_failure(&mut self, now: Instant, id: RequestId, failure: Failure) {
        let Some(request) = self.in_flight.take_if(|request| request.id == id) else { return };
        // A second offer could make a second session.
        let again = request.kind != Kind::Offer || failure == Failure::NotSent;
        if !(again && self.retry(now, None)) {
            self.give_up(request.kind, None);
        }
    }

    fn offer(&mut self, now: Instant, sdp: String) -> Result<(), SendError> {
        if sdp.len() > MAX_BODY {
            return Err(SendError::TooMany);
        }
        let fragment = body::fragment_of(&sdp).ok_or(SendError::NoIce)?;
        let description = Description::parse(&sdp).map_err(|_| SendError::NoIce)?;
        let ufrag = body::credentials(&fragment).ok_or(SendError::NoIce)?.ufrag.clone();
        let generation = self.local.as_ref().map_or(1, |before| before.generation + 1);
        let (version, confirmed) = (0, 0);
        let mut local =
            Local { generation, fragment, description, ufrag, version, confirmed, due: now };
        let posted = self.in_flight.is_some();
        match &mut self.state {
            State::New => {
                self.state = State::Offering { sdp, url: self.endpoint.clone(), redirects: 0 };
            }
            State::Offering { sdp: waiting, .. } if !posted => *waiting = sdp,
            State::Offering { .. } | State::Open(_) => {
                if let Some(before) = &self.local {
                    let (old, new) = (body::credentials(&before.fragment), &local.fragment);
                    if old == body::credentials(new) {
                        return Err(SendError::NotARestart);
                    }
                    // What does not change with a generation. [rfc9725-4.3.3-8]
                    let known = &before.fragment;
                    local.fragment.options = known.options.clone();
                    (local.fragment.lite, local.fragment.pacing) = (known.lite, known.pacing);
                }
                self.restart_due = true;
                self.attempts = 0;
            }
            State::Closed => return Err(SendError::Closed),
        }
        // Credentials of before are gone with it. [rfc9725-4.3.3-12]
        self.local = Some(local);
        Ok(())
    }

    /// Keeps a candidate until it can be sent. [rfc9725-4.3.2-4] [rfc9725-4.3.2-6]
    fn candidate(&mut self, now: Instant, init: &CandidateInit) -> Result<(), SendError> {
        let Some(local) = &mut self.local else { return Err(SendError::NoIce) };
        if init.username_fragment.as_ref().is_some_and(|ufrag| *ufrag != local.ufrag) {
            return Ok(());
        }
        if init.is_end_of_candidates() {
            local.fragment.end_of_candidates = true;
            local.version += 1;
            return Ok(());
        }
        let candidate: Candidate = init.candidate.trim().parse().map_err(SendError::Candidate)?;
        let streams = local.description.streams.len();
        let index = body::index_of(&local.description, init);
        let stream = index.and_then(|index| local.description.streams.get(index));
        let mid = stream.and_then(|stream| stream.mid.clone());
        let sections = &mut local.fragment.sections;
        let count: usize = sections.iter().map(|section| section.candidates.len()).sum();
        let section = sections.iter_mut().find(|s| s.mid == mid || streams == 1);
        // Candidates of a bundled section are those of the tagged one.
        let Some(section) = section else { return Ok(()) };
        if section.unknown_to(&[]).any(|known| *known == candidate) {
            return Ok(());
        }
        if count >= MAX_CANDIDATES {
            return Err(SendError::TooMany);
        }
        if local.version == local.confirmed {
            local.due = now + self.config.batch;
        }
        // Behind all that were sent before. [rfc8840-4.4-13b]
        section.candidates.push(candidate);
        local.version += 1;
        Ok(())
    }

    /// Returns what is to be asked next, and when.
    fn due(&self) -> Option<(Kind, Instant)> {
        let kind = match &self.state {
            State::New | State::Closed => return None,
            State::Offering { .. } => Kind::Offer,
            State::Open(_) if self.closing => Kind::Delete,
            State::Open(_) if self.restart_due => Kind::Restart,
            State::Open(session) => {
                let local = self.local.as_ref()?;
                let due = local.version > local.confirmed;
                if !due || session.trickling != Trickling::On {
                    return None;
                }
                Kind::Trickle
            }
        };
        if let Some(request) = &self.in_flight {
            let patches = matches!(request.kind, Kind::Restart | Kind::Trickle);
            // What was asked for an older generation counts no more.
            if !(patches && (kind == Kind::Delete || self.is_superseded(request))) {
                return None;
            }
        }
        let batched = match (&self.local, kind) {
            (Some(local), Kind::Trickle) if !local.fragment.end_of_candidates => Some(local.due),
            (_, Kind::Offer | Kind::Restart | Kind::Trickle | Kind::Delete) => None,
        };
        let at = self.wait.max(batched).unwrap_or(Instant::ZERO);
        Some((kind, at))
    }

    /// Whether a request speaks of an older generation than ours.
    fn is_superseded(&self, request: &InFlight) -> bool {
        self.local.as_ref().is_some_and(|local| local.generation != request.generation)
    }

    fn request(&self, kind: Kind) -> Option<Request> {
        let builder = http::Request::builder();
        let fragment = || self.local.as_ref().map(|local| local.fragment.to_string());
        let (builder, body, url) = match (&self.state, kind) {
            // [rfc9725-4.2-1] [rfc9725-4.2-2]
            (State::Offering { sdp, url, .. }, Kind::Offer) => {
                let builder = builder.method(Method::POST).header(CONTENT_TYPE, SDP);
                (builder, sdp.clone(), url)
            }
            // [rfc9725-4.3.1-2] [rfc9725-4.3.3-2] [rfc9725-4.3.3-3]
            (State::Open(session), Kind::Restart) => {
                let builder = builder.header(IF_MATCH, "*").method(Method::PATCH);
                (builder.header(CONTENT_TYPE, Fragment::MEDIA_TYPE), fragment()?, &session.url)
            }
            // [rfc9725-4.3.1-1] [rfc9725-4.3.1-2] [rfc9725-4.3.2-7] [rfc9725-4.3.2-9]
            (State::Open(session), Kind::Trickle) => {
                let mut builder = builder.method(Method::PATCH);
                if let Some(etag) = &session.etag {
                    builder = builder.header(IF_MATCH, etag);
                }
                (builder.header(CONTENT_TYPE, Fragment::MEDIA_TYPE), fragment()?, &session.url)
            }
            (State::Open(session), Kind::Delete) => {
                (builder.method(Method::DELETE), String::new(), &session.url)
            }
            (
                State::New | State::Offering { .. } | State::Open(_) | State::Closed,
                Kind::Offer | Kind::Restart | Kind::Trickle | Kind::Delete,
            ) => return None,
        };
        let mut builder = builder.uri(url.clone());
        if let Some(token) = self.token.as_ref().filter(|_| self.may_have_token(url)) {
            builder = builder.header(AUTHORIZATION, token);
        }
        builder.body(body.into_bytes()).ok()
    }

    /// Whether the token may go to this URL, wherever it came from: a redirect, or the place of the
    /// session.
    fn may_have_token(&self, url: &Uri) -> bool {
        let origin = url::origin(url);
        let trusted = self.config.token_origins.iter().filter_map(|trusted| url::parse(trusted));
        origin == url::origin(&self.endpoint)
            || trusted.map(|trusted| url::origin(&trusted)).any(|trusted| trusted == origin)
    }

    fn answered(&mut self, now: Instant, request: &InFlight, response: &Response) {
        let status = response.status();
        let patches = matches!(request.kind, Kind::Restart | Kind::Trickle);
        if patches && self.is_superseded(request) {
            return;
        }
        let again =
            is_transient(status) && (request.kind != Kind::Offer || is_politely_refused(status));
        if again {
            if !self.retry(now, headers::retry_after(response.headers())) {
                self.give_up(request.kind, Some(status));
            }
            return;
        }
        match request.kind {
            Kind::Offer if status.is_success() => self.opened(now, request, response),
            Kind::Offer if is_redirect(status) => self.redirected(response),
            Kind::Restart if status.is_success() => self.restarted(now, request, response),
            Kind::Trickle if status.is_success() => {
                self.attempts = 0;
                if let Some(local) = &mut self.local {
                    local.confirmed = local.confirmed.max(request.version);
                    local.due = now;
                }
            }
            Kind::Trickle if status == StatusCode::PRECONDITION_FAILED => {
                self.pause(Trickling::Paused);
                self.events.push_back(ClientEvent::RestartNeeded);
            }
            Kind::Offer | Kind::Restart | Kind::Trickle => self.give_up(request.kind, Some(status)),
            Kind::Delete => self.end(),
        }
    }

    /// The offer was answered: there is a session. [rfc9725-4.2-3] [rfc9725-4.3.1-7]
    fn opened(&mut self, now: Instant, request: &InFlight, response: &Response) {
        let State::Offering { url: base, .. } = &self.state else { return };
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let url = location.and_then(|reference| url::resolve(base, reference));
        let downgrade = |url: &Uri| url::is_https(base) && !url::is_https(url);
        let Some(url) = url.filter(|url| is_allowed(url, &self.config) && !downgrade(url)) else {
            return self.fail(ClientError::NoSession);
        };
        let sdp = core::str::from_utf8(response.body()).unwrap_or_default();
        let is_answer = headers::is_type(response.headers(), SDP)
            && Description::parse(sdp).is_ok_and(|answer| !answer.streams.is_empty());
        let session = Session {
            url,
            etag: headers::etag(response.headers()),
            answer: sdp.to_owned(),
            trickling: Trickling::On,
        };
        self.state = State::Open(session);
        self.attempts = 0;
        if !is_answer {
            // What was made there is taken back.
            self.events.push_back(ClientEvent::Failed(ClientError::NotAnAnswer));
            self.close();
            return;
        }
        let servers = headers::ice_servers(response.headers());
        if !servers.is_empty() {
            self.events.push_back(ClientEvent::IceServers(servers));
        }
        // The answer to an offer that counts no more.
        if self.restart_due || self.closing {
            return;
        }
        if let Some(local) = &mut self.local {
            // All that was found meanwhile goes out in one request. [rfc9725-4.3.2-5]
            (local.confirmed, local.due) = (request.version, now);
        }
        let sdp = sdp.to_owned();
        self.events.push_back(ClientEvent::Signal(Signal::Answer { sdp }));
    }

    /// The server sends us elsewhere. The token does not go along to another origin, unless it may.
    /// [rfc9725-4.5-1]
    fn redirected(&mut self, response: &Response) {
        let limit = self.config.redirects;
        let State::Offering { url: base, redirects, .. } = &mut self.state else { return };
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let target = location.and_then(|reference| url::resolve(base, reference));
        let target = target.filter(|target| {
            is_allowed(target, &self.config) && (url::is_https(target) || !url::is_https(base))
        });
        let Some(target) = target.filter(|_| *redirects < limit) else {
            return self.fail(ClientError::Redirect);
        };
        *redirects += 1;
        *base = target;
        if self.closing {
            self.end();
        }
    }

    /// ICE was restarted at the server: the answer of before, with what is new in it.
    /// [rfc9725-4.3.3-5b] [rfc9725-4.3.3-6a] [rfc9725-4.3.3-7]
    fn restarted(&mut self, now: Instant, request: &InFlight, response: &Response) {
        let text = core::str::from_utf8(response.body()).unwrap_or_default();
        let is_fragment = headers::is_type(response.headers(), Fragment::MEDIA_TYPE);
        let fragment = Fragment::parse(text).ok().filter(|_| is_fragment);
        let State::Open(session) = &mut self.state else { return };
        let answer = fragment.and_then(|fragment| body::exchange(&session.answer, &fragment));
        let Some(sdp) = answer else {
            return self.give_up(Kind::Restart, Some(response.status()));
        };
        session.etag = headers::etag(response.headers());
        session.answer = sdp.clone();
        if session.trickling == Trickling::Paused {
            session.trickling = Trickling::On;
        }
        (self.attempts, self.restart_due) = (0, false);
        if let Some(local) = &mut self.local {
            (local.confirmed, local.due) = (request.version, now);
        }
        self.events.push_back(ClientEvent::Signal(Signal::Answer { sdp }));
    }

    /// Makes the request once more later, if it may.
    fn retry(&mut self, now: Instant, asked: Option<Duration>) -> bool {
        let too_long = asked.is_some_and(|asked| asked > self.config.retry_wait_max);
        let needless = self.closing && matches!(self.state, State::Offering { .. });
        if too_long || needless || self.attempts >= self.config.retries {
            return false;
        }
        let wait = self.config.retry_wait.saturating_mul(1 << self.attempts.min(16));
        self.attempts += 1;
        self.wait = Some(now + wait.min(self.config.retry_wait_max).max(asked.unwrap_or_default()));
        true
    }

    fn pause(&mut self, trickling: Trickling) {
        if let State::Open(session) = &mut self.state
            && session.trickling != Trickling::Refused
        {
            session.trickling = trickling;
        }
        self.attempts = 0;
    }

    /// A request came to nothing for good.
    fn give_up(&mut self, kind: Kind, status: Option<StatusCode>) {
        self.attempts = 0;
        match (kind, status) {
            (Kind::Offer, None) => self.fail(ClientError::Unreachable),
            (Kind::Offer, Some(status)) if is_transient(status) => {
                self.fail(ClientError::Unavailable(status));
            }
            (Kind::Offer, Some(status)) => self.fail(ClientError::Refused(status)),
            // The session is left as it was. [rfc9725-4.3.3-10]
            (Kind::Restart, status) => {
                self.restart_due = false;
                self.pause(Trickling::Paused);
                self.events.push_back(ClientEvent::RestartRefused(status));
            }
            (Kind::Trickle, Some(status)) if !is_transient(status) => {
                self.pause(Trickling::Refused);
                self.events.push_back(ClientEvent::TrickleRefused(Some(status)));
            }
            (Kind::Trickle, status) => {
                self.pause(Trickling::Paused);
                self.events.push_back(ClientEvent::TrickleRefused(status));
            }
            (Kind::Delete, _) => self.end(),
        }
    }

    fn fail(&mut self, error: ClientError) {
        self.events.push_back(ClientEvent::Failed(error));
        self.end();
    }

    fn end(&mut self) {
        if !matches!(self.state, State::Closed) {
            self.state = State::Closed;
            self.in_flight = None;
            self.events.push_back(ClientEvent::Closed);
        }
    }
}

/// Whether anything may be sent to a URL. [rfc9725-5-1]
fn is_allowed(url: &Uri, config: &ClientConfig) -> bool {
    url::is_https(url) || config.allow_http || url::is_loopback(url)
}

/// Whether the same request may have an answer later.
fn is_transient(status: StatusCode) -> bool {
    let for_good = [StatusCode::NOT_IMPLEMENTED, StatusCode::HTTP_VERSION_NOT_SUPPORTED];
    let is_error = status.is_server_error() && !for_good.contains(&status);
    is_error || status == StatusCode::TOO_MANY_REQUESTS
}

/// Whether nothing was done, and it may be asked again. [rfc9725-4.5-p1]
fn is_politely_refused(status: StatusCode) -> bool {
    status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS
}

/// Whether the request may be made elsewhere, as it is. [rfc9725-4.5-2]
fn is_redirect(status: StatusCode) -> bool {
    status == StatusCode::TEMPORARY_REDIRECT || status == StatusCode::PERMANENT_REDIRECT
}
