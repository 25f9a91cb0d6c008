//! Rooms at a server, over WebSocket. [RFC 6455]

use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll};
use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tracing::debug;

use super::connect::dial;
use super::stream::Octets;
use super::tls::Tls;
use crate::signaling::memory::{self, Memory};
use crate::signaling::rooms::{Member, MemberEvent, Side};
use crate::signaling::{MAX_SIGNAL, Signal, Signaling};

/// How long a connection may take to open, handshakes included.
const OPEN: Duration = Duration::from_secs(10);
/// How often the server is asked whether it is there.
const PING: Duration = Duration::from_secs(10);
/// How long nothing is heard of a server before its connection counts as dead.
const SILENCE: Duration = Duration::from_secs(25);
/// How long one message, or the farewell, may take to leave.
const SEND: Duration = Duration::from_secs(10);
/// How long [`Room::leave`] waits.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long after a connection broke the next one is tried, at first and at most.
const AGAIN: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(5)];
/// Signals and events that wait for the application.
const WAITING: usize = 64;

type Socket = WebSocketStream<Box<dyn Octets>>;

/// Why a room cannot be joined.
#[derive(Debug)]
#[non_exhaustive]
pub enum JoinError {
    /// Not the URL of a room: write `ws://host:port/room/name` or `wss://…`.
    Url,
    /// `wss:` needs the feature `tls`: build with it.
    NoTls,
    /// The server is not reached: see whether it runs, and there.
    Connect(io::Error),
    /// What answers is no signalling server.
    NotAServer,
    /// The server refused, for this reason.
    Refused(String),
    /// The system gives no randomness: nothing can be done.
    Entropy,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url => {
                f.write_str("not the URL of a room; write ws://host:port/room/name or wss://...")
            }
            Self::NoTls => f.write_str("wss: needs TLS; build with the feature \"tls\""),
            Self::Connect(error) => {
                write!(f, "the signalling server is not reached ({error}); see whether it runs")
            }
            Self::NotAServer => {
                f.write_str("what answers is no signalling server; look at the URL again")
            }
            Self::Refused(sentence) => f.write_str(sentence),
            Self::Entropy => f.write_str("the system gives no randomness"),
        }
    }
}

impl core::error::Error for JoinError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Connect(error) => Some(error),
            Self::Url | Self::NoTls | Self::NotAServer | Self::Refused(_) | Self::Entropy => None,
        }
    }
}

/// What happens in a room.
#[derive(Debug)]
#[non_exhaustive]
pub enum RoomEvent {
    /// Somebody is there: a session begins, and any before is over.
    Peer {
        /// Who offers.
        side: Side,
        /// The way to the peer. It ends when the peer has left, or another came in its place.
        signaling: Memory,
    },
    /// The peer's connection to the server is gone; it may come back within 30 s.
    PeerAway,
    /// The peer is back.
    PeerBack,
    /// The peer has left; another may come.
    PeerLeft,
    /// The connection to the server broke; it is opened again and again.
    Disconnected,
    /// It is there again.
    Connected,
    /// The server refused something, and says why.
    Refused(String),
}

/// A place in a room at a signalling server: see [`rooms`](crate::signaling::rooms).
///
/// The connection to the server is opened anew when it breaks; a session goes on where it was,
/// also if the server was started anew. Dropping it gives up the place, as
/// [`leave`](Self::leave) does, which waits for it.
///
/// ```no_run
/// use floe::Node;
/// use floe::driver::{Room, RoomEvent};
/// use floe::signaling::rooms::Side;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let node = Node::builder().bind().await?;
/// let mut room = Room::join("ws://127.0.0.1:8080/room/lobby").await?;
/// while let Some(event) = room.next().await {
///     let RoomEvent::Peer { side, signaling } = event else { continue };
///     let connection = match side {
///         Side::Offerer => node.connect(signaling).await?,
///         Side::Answerer => node.accept(signaling).await?,
///     };
///     connection.send(b"hello").await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Room {
    events: mpsc::Receiver<RoomEvent>,
    /// The session is given up.
    renew: Arc<Notify>,
    keeper: JoinHandle<()>,
}

impl Room {
    /// Joins the room at `url`, `ws://host:port/room/name` or `wss:` likewise.
    ///
    /// # Errors
    ///
    /// See [`JoinError`].
    pub async fn join(url: &str) -> Result<Self, JoinError> {
        let request = url.into_client_request().map_err(|_| JoinError::Url)?;
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(|_| JoinError::Entropy)?;
        let secure = is_secure(&request)?;
        let tls = if secure { Tls::of_the_system().await } else { Tls::default() };
        let (sender, events) = mpsc::channel(WAITING);
        let member = Member::new(secret);
        let renew = Arc::new(Notify::new());
        let mut keeper = Keeper {
            request,
            tls,
            member,
            events: sender,
            renew: Arc::clone(&renew),
            session: None,
            inbox: VecDeque::new(),
        };
        let mut socket = keeper.open().await?;
        keeper.member.connected();
        keeper.enter(&mut socket).await?;
        let keeper = tokio::spawn(keeper.run(socket));
        Ok(Self { events, renew, keeper })
    }

    /// Gives up the session, whose signalling was dropped, and asks for another with the same peer:
    /// [`RoomEvent::Peer`] tells both of it. Nothing happens where another has begun already. If
    /// nobody is there, it waits for somebody.
    pub fn renew(&self) {
        self.renew.notify_one();
    }

    /// Gives up the place, and waits until the server was told, for a second at most. A program
    /// that ends without it leaves an empty place behind for 30 s.
    pub async fn leave(self) {
        drop(self.events);
        let _ = timeout(FAREWELL, self.keeper).await;
    }

    /// Waits for what happens next; `None` when the server does not want us any more. Dropping it
    /// loses nothing.
    pub async fn next(&mut self) -> Option<RoomEvent> {
        self.events.recv().await
    }
}

fn is_secure(request: &Request) -> Result<bool, JoinError> {
    match request.uri().scheme_str() {
        Some("ws") => Ok(false),
        Some("wss") if cfg!(feature = "tls") => Ok(true),
        Some("wss") => Err(JoinError::NoTls),
        Some(_) | None => Err(JoinError::Url),
    }
}

/// How a connection ended.
enum Ended {
    /// It broke.
    Broken,
    /// The server refused for good, or the application does not want it any more.
    Over,
}

/// What goes on between the application and a session.
enum Step {
    Signal(Signal),
    /// The application gave up the session.
    Over,
}

/// What keeps a place in a room.
struct Keeper {
    request: Request,
    tls: Tls,
    member: Member,
    events: mpsc::Sender<RoomEvent>,
    renew: Arc<Notify>,
    /// The application's signalling.
    session: Option<Memory>,
    /// What the peer said and the application has not taken.
    inbox: VecDeque<Signal>,
}

impl Keeper {
    async fn open(&self) -> Result<Socket, JoinError> {
        let opening = timeout(OPEN, self.connect());
        opening.await.unwrap_or_else(|_| Err(JoinError::Connect(io::ErrorKind::TimedOut.into())))
    }

    async fn connect(&self) -> Result<Socket, JoinError> {
        let uri = self.request.uri();
        let secure = is_secure(&self.request)?;
        let host = uri.host().ok_or(JoinError::Url)?;
        let stream = dial(&self.tls, secure, host, uri.port_u16()).await;
        let stream = stream.map_err(JoinError::Connect)?;
        let mut config = WebSocketConfig::default();
        config.max_message_size = Some(MAX_SIGNAL);
        config.max_frame_size = Some(MAX_SIGNAL);
        let (socket, _) = client_async_with_config(self.request.clone(), stream, Some(config))
            .await
            .map_err(|error| {
                if let Error::Io(error) = error {
                    JoinError::Connect(error)
                } else {
                    JoinError::NotAServer
                }
            })?;
        Ok(socket)
    }

    /// Waits for the place.
    async fn enter(&mut self, socket: &mut Socket) -> Result<(), JoinError> {
        let entering = async {
            loop {
                self.say(socket).await.map_err(|()| JoinError::NotAServer)?;
                let Some(text) = next_text(socket).await else { return Err(JoinError::NotAServer) };
                match self.member.receive(&text) {
                    Ok(Some(MemberEvent::Joined)) => return Ok(()),
                    Ok(Some(MemberEvent::Refused { sentence, .. })) => {
                        return Err(JoinError::Refused(sentence));
                    }
                    Ok(_) => {}
                    Err(_) => return Err(JoinError::NotAServer),
                }
            }
        };
        timeout(OPEN, entering).await.unwrap_or(Err(JoinError::NotAServer))
    }

    /// Keeps the place over one connection after the other.
    async fn run(mut self, socket: Socket) {
        let mut socket = Some(socket);
        let mut again = AGAIN[0];
        loop {
            if let Some(socket) = socket.take() {
                match self.serve(socket).await {
                    Ended::Over => return,
                    Ended::Broken => self.tell(RoomEvent::Disconnected).await,
                }
                // A server that has no room is not asked ever more often.
                if self.member.is_in() {
                    again = AGAIN[0];
                }
            }
            if timeout(again, self.wait()).await.is_ok() {
                return;
            }
            again = (again * 2).min(AGAIN[1]);
            match self.open().await {
                Ok(opened) => {
                    self.member.connected();
                    self.tell(RoomEvent::Connected).await;
                    socket = Some(opened);
                }
                Err(error) => debug!(%error, "no connection to the signalling server"),
            }
        }
    }

    /// Keeps what the application says for the server, until there is no application.
    async fn wait(&mut self) {
        loop {
            tokio::select! {
                () = self.events.closed() => return,
                () = self.renew.notified() => self.begin_anew(),
                step = poll_fn(|cx| poll_session(&mut self.session, &mut self.inbox, cx)) => {
                    self.step(step);
                }
            }
        }
    }

    /// Serves one connection until it ends.
    async fn serve(&mut self, mut socket: Socket) -> Ended {
        let mut ping = interval(PING);
        let mut silence = interval(SILENCE);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ping.reset();
        silence.reset();
        loop {
            if self.say(&mut socket).await.is_err() {
                return Ended::Broken;
            }
            let takes_more = self.inbox.len() < WAITING;
            tokio::select! {
                text = next_text(&mut socket), if takes_more => {
                    silence.reset();
                    let Some(text) = text else { return Ended::Broken };
                    if text.is_empty() {
                        continue;
                    }
                    match self.member.receive(&text) {
                        Ok(event) => {
                            if let Some(ended) = self.learn(event).await {
                                return ended;
                            }
                        }
                        Err(error) => debug!(%error, "a message of the signalling server"),
                    }
                }
                step = poll_fn(|cx| poll_session(&mut self.session, &mut self.inbox, cx)) => {
                    self.step(step);
                }
                _ = ping.tick() => {
                    if send(&mut socket, Message::Ping(Default::default())).await.is_err() {
                        return Ended::Broken;
                    }
                }
                _ = silence.tick(), if takes_more => return Ended::Broken,
                () = self.renew.notified() => self.begin_anew(),
                () = self.events.closed() => {
                    self.member.leave();
                    let _ = self.say(&mut socket).await;
                    let _ = timeout(SEND, socket.close(None)).await;
                    return Ended::Over;
                }
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Signal(signal) => {
                if let Err(error) = self.member.send(&signal) {
                    // One that nobody takes is told of in the log alone.
                    debug!(%error, "a signal that is not carried");
                    let _ = self.events.try_send(RoomEvent::Refused(error.to_string()));
                }
            }
            Step::Over => self.forget(),
        }
    }

    fn begin_anew(&mut self) {
        // Another one has begun already, and nobody knows yet.
        if self.session.as_ref().is_some_and(|memory| !memory.is_closed()) {
            return;
        }
        self.forget();
        self.member.renew();
    }

    fn forget(&mut self) {
        self.session = None;
        self.inbox.clear();
    }

    /// Sends what the member has to say.
    async fn say(&mut self, socket: &mut Socket) -> Result<(), ()> {
        while let Some(text) = self.member.poll_output() {
            send(socket, Message::text(text)).await?;
        }
        Ok(())
    }

    async fn learn(&mut self, event: Option<MemberEvent>) -> Option<Ended> {
        match event? {
            MemberEvent::Peer(side) => {
                let (ours, signaling) = memory::pair(WAITING);
                self.session = Some(ours);
                self.inbox.clear();
                self.tell(RoomEvent::Peer { side, signaling }).await;
            }
            MemberEvent::Signal(signal) if self.session.is_some() => self.inbox.push_back(signal),
            MemberEvent::Joined | MemberEvent::Signal(_) => {}
            MemberEvent::Away => self.tell(RoomEvent::PeerAway).await,
            MemberEvent::Back => self.tell(RoomEvent::PeerBack).await,
            MemberEvent::Left => {
                self.forget();
                self.tell(RoomEvent::PeerLeft).await;
            }
            MemberEvent::Refused { is_final, sentence } => {
                self.tell(RoomEvent::Refused(sentence)).await;
                return is_final.then_some(Ended::Over);
            }
        }
        None
    }

    /// Tells the application; one that is gone is noticed elsewhere.
    async fn tell(&self, event: RoomEvent) {
        let _ = self.events.send(event).await;
    }
}

/// Hands what the peer said to the application, and takes what it says; pending without a session.
fn poll_session(
    session: &mut Option<Memory>,
    inbox: &mut VecDeque<Signal>,
    cx: &mut Context<'_>,
) -> Poll<Step> {
    let Some(memory) = session else { return Poll::Pending };
    while let Some(signal) = inbox.pop_front() {
        let mut signal = Some(signal);
        let sent = memory.poll_send(cx, &mut signal);
        if let Some(signal) = signal {
            inbox.push_front(signal);
        }
        match sent {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(Step::Over),
            Poll::Pending => break,
        }
    }
    memory.poll_recv(cx).map(|received| match received {
        Some(Ok(signal)) => Step::Signal(signal),
        Some(Err(_)) | None => Step::Over,
    })
}

async fn send(socket: &mut Socket, message: Message) -> Result<(), ()> {
    match timeout(SEND, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}

/// The next text; an empty one for what is no text, `None` when the connection is over.
async fn next_text(socket: &mut Socket) -> Option<String> {
    match socket.next().await? {
        Ok(Message::Text(text)) => Some(text.as_str().to_owned()),
        Ok(Message::Close(_)) | Err(_) => None,
        Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_)) => {
            Some(String::new())
        }
    }
}
