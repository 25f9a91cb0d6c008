//! `floe serve`: signalling over WebSocket, in rooms, a page for browsers, and WHIP.
//!
//! `/whip/NAME` is a WHIP endpoint (RFC 9725): its client comes into the room NAME as one who
//! offers, and the member that waits there answers. Where nobody waits the client is told to come
//! back later. What the member says after its answer and its candidates does not reach the client,
//! so it is the client that restarts, not the member: switch `NodeBuilder::auto_restart` off
//! there. A client that vanished without a word keeps its place until the member leaves, or asks
//! for another session.
//! `FLOE_WHIP_TOKEN` holds the bearer token that clients must have, if any.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN, REFERRER_POLICY,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use clap::Args;
use floe::signaling::MAX_SIGNAL;
use floe::signaling::rooms::is_name;
use floe::signaling::whip::{EndpointConfig, MAX_BODY, Origins};
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::info;

use crate::Failure;
use hub::Hub;

mod guests;
mod hub;

/// The environment variable that holds the bearer token of WHIP clients; without it none is asked
/// for.
const WHIP_TOKEN: &str = "FLOE_WHIP_TOKEN";
/// The page, with all that it needs.
const PAGE: &str = include_str!("page.html");
/// The page runs what it brings, talks to its own server, and loads nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// How often a client is asked whether it is there.
const PING: Duration = Duration::from_secs(10);
/// How long nothing is heard of a client before its connection counts as dead.
const SILENCE: Duration = Duration::from_secs(25);
/// How long a message may take to leave.
const SEND: Duration = Duration::from_secs(10);
/// How long the body of a request may take to come.
const BODY: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct Options {
    /// Where to listen; other machines reach a loopback address only through a proxy
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Let pages of this origin use the rooms, such as https://example.org; for a page at an
    /// address or localhost it is not needed (repeatable)
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    origins: Vec<String>,
}

#[derive(Clone)]
struct App {
    hub: Hub,
    origins: Arc<[String]>,
}

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let mut config = EndpointConfig::default();
    config.origins = Origins::Only(options.origins.clone());
    config.token = std::env::var(WHIP_TOKEN).ok().filter(|token| !token.is_empty());
    let hub = Hub::new(config).map_err(|_| Failure::runtime("the system gives no randomness"))?;
    let listener = TcpListener::bind(options.listen).await.map_err(|error| {
        let address = options.listen;
        Failure::runtime(format!("cannot listen on {address} ({error}); choose another --listen"))
    })?;
    let address = listener.local_addr().unwrap_or(options.listen);
    println!("http://{address}/  open it in a browser, and in another");
    tokio::spawn(hub.clone().keep_time());
    let app = App { hub, origins: options.origins.into() };
    let router = Router::new()
        .route("/", get(page))
        .route("/room/{name}", get(room))
        .route("/whip/{*rest}", any(whip))
        .with_state(app);
    axum::serve(listener, router)
        .await
        .map_err(|error| Failure::runtime(format!("cannot serve any more ({error}); start again")))
}

async fn page() -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, PAGE).into_response()
}

/// A room: the page for a browser that looks at it, or a WebSocket.
async fn room(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let Ok(upgrade) = upgrade else {
        return if is_name(&name) { page().await } else { StatusCode::NOT_FOUND.into_response() };
    };
    if !app.is_allowed(&headers) {
        info!(room = name, "a page of another origin was refused; --allow-origin lets it in");
        return StatusCode::FORBIDDEN.into_response();
    }
    upgrade
        .max_message_size(MAX_SIGNAL)
        .max_frame_size(MAX_SIGNAL)
        .on_upgrade(move |socket| serve(app.hub, name, socket))
}

/// A WHIP endpoint or one of its sessions.
async fn whip(State(app): State<App>, request: axum::extract::Request) -> Response {
    let (head, body) = request.into_parts();
    if !app.is_allowed(&head.headers) {
        info!("a page of another origin was refused; --allow-origin lets it in");
        return StatusCode::FORBIDDEN.into_response();
    }
    let body = match timeout(BODY, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    let request = axum::http::Request::from_parts(head, body.to_vec());
    match app.hub.whip(&request).await {
        Some(response) => response.map(Body::from),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

impl App {
    /// Whether a request comes from our own page, from one that is allowed, or from no page. Our
    /// own is at an address or `localhost`: any other name can be made to lead here, and whoever
    /// made it has pages under it.
    fn is_allowed(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(ORIGIN) else { return true };
        let Ok(origin) = origin.to_str() else { return false };
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let ours = origin.split_once("://").is_some_and(|(_, of)| Some(of) == host);
        (ours && host.is_some_and(is_address)) || self.origins.iter().any(|known| known == origin)
    }
}

/// Whether a `Host` is an address, or stands for one that nobody can change.
fn is_address(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let host = authority.host();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    address.is_ok() || host.eq_ignore_ascii_case("localhost")
}

/// Serves one connection until it ends.
async fn serve(hub: Hub, room: String, mut socket: WebSocket) {
    let (id, mut outgoing) = match hub.connect(&room) {
        Ok(link) => link,
        Err(refusal) => {
            info!(code = refusal.code(), "a connection was refused");
            let _ = timeout(SEND, socket.send(Message::text(refusal.to_message()))).await;
            return;
        }
    };
    let (mut ping, mut silence) = (interval(PING), interval(SILENCE));
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ping.reset();
    silence.reset();
    loop {
        let message = tokio::select! {
            text = outgoing.next() => match text {
                Some(text) => Message::text(text),
                None => break,
            },
            _ = ping.tick() => Message::Ping(Default::default()),
            _ = silence.tick() => break,
            received = socket.recv() => {
                silence.reset();
                match received {
                    Some(Ok(Message::Text(text))) => hub.receive(id, &text),
                    // No text is no message of ours, and is told so.
                    Some(Ok(Message::Binary(_))) => hub.receive(id, ""),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                }
                continue;
            }
        };
        if !matches!(timeout(SEND, socket.send(message)).await, Ok(Ok(()))) {
            break;
        }
    }
    hub.gone(id);
    let _ = timeout(SEND, socket.send(Message::Close(None))).await;
}
