//! The client of WHIP, over HTTP/1.1. [RFC 9725]

use core::future::{Future, pending, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use core::time::Duration;
use std::collections::VecDeque;

use http::header::{CONNECTION, HOST, HeaderValue};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::debug;

use super::clock::Clock;
use super::connect::dial;
use super::stream::Octets;
use super::tls::Tls;
use crate::signaling::memory::{self, Memory};
use crate::signaling::whip::{
    Client, ClientConfig, ClientError, ClientEvent, Failure, MAX_BODY, Request, RequestId, Response,
};
use crate::signaling::{Signal, Signaling, SignalingError};

/// How long a connection may take to open, handshakes included.
const OPEN: Duration = Duration::from_secs(10);
/// How long an answer may take; the other side gathers all its candidates meanwhile.
const ANSWER: Duration = Duration::from_secs(30);
/// The most octets of an answer that are kept unread: the header.
const MAX_HEADER: usize = 64 * 1024;
/// Signals and events that wait for the application.
const WAITING: usize = 64;

/// Signalling by WHIP: the client of one session. See [`whip`](crate::signaling::whip).
///
/// The other side begins nothing, so the agent controls: hand it to [`Node::connect`](crate::Node::connect).
/// Restarts of ours go to it; where it refuses one, the signalling ends and the connection goes on
/// as long as it lives. Dropping it deletes the session.
///
/// Servers are asked for before the offer is made, so those that the endpoint names
/// ([`ClientEvent::IceServers`]) are for a node that is bound later. Where the endpoint takes no
/// candidates after the offer, set [`AgentConfig::trickle`](crate::config::AgentConfig::trickle) to
/// `Half`.
///
/// ```no_run
/// use floe::Node;
/// use floe::driver::Whip;
/// use floe::signaling::whip::ClientConfig;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = ClientConfig::default();
/// config.token = Some("FAKE-TOKEN".into());
/// let (signaling, mut events) = Whip::open("https://media.example/whip/lobby", config).await?;
/// let connection = Node::builder().bind().await?.connect(signaling).await?;
/// connection.send(b"hello").await?;
/// connection.close().await;
/// while events.next().await.is_some() {} // until the session is deleted
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Whip {
    memory: Memory,
    /// Its end tells that the application has gone.
    _alive: oneshot::Sender<()>,
}

/// What happens to a session of WHIP, besides its signals.
#[derive(Debug)]
pub struct WhipEvents {
    events: mpsc::Receiver<ClientEvent>,
}

impl Whip {
    /// Makes ready for a session at the endpoint at `url`; the offer of the agent begins it.
    ///
    /// # Errors
    ///
    /// What is wrong with the URL or the token: see [`ClientError`]. Whatever comes later is an
    /// event.
    pub async fn open(url: &str, config: ClientConfig) -> Result<(Self, WhipEvents), ClientError> {
        let client = Client::new(url, config)?;
        let secure = url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"));
        if secure && cfg!(not(feature = "tls")) {
            return Err(ClientError::NoTls);
        }
        // A redirection to TLS needs it, too, but is as good as none without.
        let tls = if secure { Tls::of_the_system().await } else { Tls::default() };
        let (memory, ours) = memory::pair(WAITING);
        let (alive, gone) = oneshot::channel();
        let (sender, events) = mpsc::channel(WAITING);
        let keeper = Keeper {
            client,
            clock: Clock::new(),
            tls,
            memory: Some(ours),
            gone: Some(gone),
            inbox: VecDeque::new(),
            events: sender,
            asking: None,
        };
        tokio::spawn(keeper.run());
        Ok((Self { memory, _alive: alive }, WhipEvents { events }))
    }
}

impl WhipEvents {
    /// Waits for what happens next; `None` once the session is deleted, or none can be. Events that
    /// nobody takes are dropped, the newest first. Dropping it loses nothing.
    pub async fn next(&mut self) -> Option<ClientEvent> {
        self.events.recv().await
    }
}

impl Signaling for Whip {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        signal: &mut Option<Signal>,
    ) -> Poll<Result<(), SignalingError>> {
        self.memory.poll_send(cx, signal)
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Signal, SignalingError>>> {
        self.memory.poll_recv(cx)
    }
}

type Asking = Pin<Box<dyn Future<Output = Result<Response, Failure>> + Send>>;

/// What keeps a session.
struct Keeper {
    client: Client,
    clock: Clock,
    tls: Tls,
    /// The application's signalling, until it ends.
    memory: Option<Memory>,
    gone: Option<oneshot::Receiver<()>>,
    /// Answers that the application has not taken.
    inbox: VecDeque<Signal>,
    events: mpsc::Sender<ClientEvent>,
    /// The request that is under way.
    asking: Option<(RequestId, Asking)>,
}

/// What goes on.
enum Step {
    Answered(RequestId, Result<Response, Failure>),
    Signal(Signal),
    /// The application has gone.
    Over,
}

impl Keeper {
    async fn run(mut self) {
        loop {
            while let Some(event) = self.client.poll_event() {
                self.learn(event);
            }
            if self.client.is_closed() {
                return;
            }
            let now = self.clock.now();
            if let Some((id, request)) = self.client.poll_request(now) {
                // One that was under way counts no more.
                self.asking = Some((id, Box::pin(ask(self.tls.clone(), request))));
            }
            let wait = self.client.poll_timeout().map_or(Duration::MAX, |at| at.since(now));
            if let Ok(step) = timeout(wait, poll_fn(|cx| self.poll_step(cx))).await {
                self.step(step);
            }
        }
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        if let Some((id, asking)) = &mut self.asking
            && let Poll::Ready(outcome) = asking.as_mut().poll(cx)
        {
            let id = *id;
            self.asking = None;
            return Poll::Ready(Step::Answered(id, outcome));
        }
        if let Some(gone) = &mut self.gone
            && Pin::new(gone).poll(cx).is_ready()
        {
            self.gone = None;
            return Poll::Ready(Step::Over);
        }
        let Some(memory) = &mut self.memory else { return Poll::Pending };
        while let Some(signal) = self.inbox.pop_front() {
            let mut signal = Some(signal);
            match memory.poll_send(cx, &mut signal) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    // The application is gone, and tells so on its own way.
                    self.memory = None;
                    self.inbox.clear();
                    return Poll::Pending;
                }
                Poll::Pending => {
                    self.inbox.extend(signal);
                    self.inbox.rotate_right(1);
                    break;
                }
            }
        }
        match memory.poll_recv(cx) {
            Poll::Ready(Some(Ok(signal))) => Poll::Ready(Step::Signal(signal)),
            Poll::Ready(Some(Err(_)) | None) => {
                self.memory = None;
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn step(&mut self, step: Step) {
        let now = self.clock.now();
        match step {
            Step::Answered(id, Ok(response)) => {
                debug!(status = response.status().as_u16(), "WHIP");
                self.client.handle_response(now, id, &response);
            }
            Step::Answered(id, Err(failure)) => self.client.handle_failure(now, id, failure),
            Step::Signal(signal) => {
                if let Err(error) = self.client.send(now, signal) {
                    debug!(%error, "a signal that WHIP does not carry");
                }
            }
            Step::Over => self.client.close(),
        }
    }

    fn learn(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Signal(signal) => {
                self.inbox.push_back(signal);
                return;
            }
            // Nothing can be said any more, but the session lives until the application is done.
            ClientEvent::Failed(_) | ClientEvent::RestartRefused(_) => self.memory = None,
            ClientEvent::IceServers(_)
            | ClientEvent::TrickleRefused(_)
            | ClientEvent::RestartNeeded
            | ClientEvent::Closed => {}
        }
        if self.events.try_send(event).is_err() {
            debug!("an event of WHIP that nobody took");
        }
    }
}

/// Makes one request, on a connection of its own.
async fn ask(tls: Tls, request: Request) -> Result<Response, Failure> {
    let uri = request.uri();
    let secure = uri.scheme_str() == Some("https");
    let opening = timeout(OPEN, dial(&tls, secure, uri.host().unwrap_or_default(), uri.port_u16()));
    let stream = match opening.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            debug!(%error, "no connection to the WHIP endpoint");
            return Err(Failure::NotSent);
        }
        Err(_) => return Err(Failure::NotSent),
    };
    let exchange = timeout(ANSWER, exchange(stream, request));
    exchange.await.unwrap_or(Err(Failure::NoResponse))
}

async fn exchange(stream: Box<dyn Octets>, request: Request) -> Result<Response, Failure> {
    let failed = |error: hyper::Error| {
        debug!(%error, "WHIP");
        Failure::NoResponse
    };
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEADER);
    let shaken = builder.handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|_| Failure::NotSent)?;
    let request = on_the_wire(request).ok_or(Failure::NotSent)?;
    let work = async move {
        let (head, body) = sender.send_request(request).await.map_err(failed)?.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await;
        let body = body.map_err(|_| Failure::NoResponse)?.to_bytes();
        Ok(Response::from_parts(head, body.to_vec()))
    };
    let carried = async {
        let _ = connection.await;
        pending().await
    };
    let (work, carried) = (pin!(work), pin!(carried));
    tokio::select! {
        biased;
        outcome = work => outcome,
        outcome = carried => outcome,
    }
}

/// Makes of a request what goes over a connection to its host.
fn on_the_wire(request: Request) -> Option<http::Request<Full<hyper::body::Bytes>>> {
    let (mut head, body) = request.into_parts();
    let host = HeaderValue::from_str(head.uri.authority()?.as_str()).ok()?;
    head.headers.insert(HOST, host);
    head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    head.uri = head.uri.path_and_query()?.as_str().parse().ok()?;
    Some(http::Request::from_parts(head, Full::new(body.into())))
}

#[cfg(feature = "tls")]
#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

    use super::super::tls::Secure;
    use super::super::url::ServerUrl;
    use super::*;

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    /// A request over TLS arrives whole, and nothing of it at a server that is not trusted.
    /// [rfc9725-5-1]
    #[tokio::test]
    async fn https_asks_whom_it_trusts_alone() {
        let (known, other) = (authority(), authority());
        for (issuer, trusted) in [(&known, true), (&other, false)] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![String::from("127.0.0.1")]).unwrap();
            let certificate = params.signed_by(&key, issuer).unwrap();
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
            let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key)
                .unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = async move {
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = TlsAcceptor::from(Arc::new(config));
                let Ok(mut stream) = acceptor.accept(stream).await else { return String::new() };
                let mut heard = vec![0; 4096];
                let length = stream.read(&mut heard).await.unwrap_or(0);
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
                String::from_utf8_lossy(&heard[..length]).into_owned()
            };
            let mut secure = Secure::default();
            secure.trust(known.der()).unwrap();
            let url = ServerUrl::Turn("turns:relay.test".parse().unwrap());
            let tls = secure.load(&[url]).await;
            let request = http::Request::delete(format!("https://{address}/s?x"));
            let asking = ask(tls, request.body(Vec::new()).unwrap());
            let (answer, heard) = tokio::join!(asking, server);
            assert_eq!(heard.starts_with("DELETE /s?x HTTP/1.1\r\n"), trusted, "{heard}");
            match answer {
                Ok(response) => assert!(trusted && response.status() == 204),
                Err(failure) => assert!(!trusted && failure == Failure::NotSent),
            }
        }
    }
}
