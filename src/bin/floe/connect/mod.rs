//! `floe connect`: joins a room, connects to who is there, and talks over a data channel.

use std::time::Duration;

use clap::Args;
use floe::adapters::data_channel::{Agreement, Agreements, DataChannel, DataChannelSignaling};
use floe::config::{Mode, Role, Trickle};
use floe::driver::{Room, RoomEvent};
use floe::signaling::lines::LineReader;
use floe::signaling::memory::Memory;
use floe::signaling::rooms::{Side as Place, is_name};
use floe::{AgentState, ConnectionEvent, Node};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::Failure;
use crate::options::Network;
use crate::output::Output;
use crate::peer::is_error;
use crate::side::Side;
use channel::{Channel, ChannelEvent, Ended, Identity};

mod channel;
mod dcep;

/// The longest datagram.
const DATAGRAM: usize = 65_536;
/// How often a look is taken whether the last texts have arrived.
const LOOK: Duration = Duration::from_millis(20);
/// How long after a session ended by itself another one is asked for, at first and at most.
const AGAIN: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];
/// How long a connection may be without a path before it is given up: at first a restart may find
/// one, and once the checks have failed there is little hope.
const NO_PATH: [Duration; 2] = [Duration::from_secs(40), Duration::from_secs(10)];
/// How long the farewell may take.
const FAREWELL: Duration = Duration::from_millis(500);

#[derive(Args)]
pub(crate) struct Options {
    /// The room: its name at the server, or the URL of its page
    #[arg(value_name = "ROOM")]
    room: String,
    /// The server, as `floe serve` prints it
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    server: String,
    /// Answer checks only: for a machine with a public address
    #[arg(long)]
    lite: bool,
    /// Put all candidates into the offer or answer
    #[arg(long)]
    no_trickle: bool,
    /// Print one JSON object a line; what is read stays text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    network: Network,
}

/// What a line on stdin asks for.
enum Order {
    Say(String),
    Pairs,
    Restart,
    Help,
    Quit,
}

/// One who is in the room with us.
struct Session {
    side: Side,
    place: Place,
    agreements: Agreements,
    /// What was agreed upon last, and the channel of it.
    agreed: Option<(Agreement, Channel)>,
    /// What was agreed upon before there was a path: a handshake would only be repeated late.
    pending: Option<Agreement>,
    has_path: bool,
}

/// What happened in a session.
enum Step {
    Agreed(Option<Agreement>),
    Event(Option<ConnectionEvent>),
    Datagram(usize),
    Time,
}

/// The command at work.
struct Talk {
    output: Output,
    node: Node,
    identity: Identity,
    session: Option<Session>,
    /// When another session with the same peer is asked for.
    renews_at: Option<Instant>,
    /// How long the next time is waited before.
    patience: Duration,
    /// Lines that wait for the channel.
    waiting: Vec<String>,
    /// Whether stdin has ended: what was read is sent, and then it is over.
    ended: bool,
    was_open: bool,
    /// A channel has ended before all that was said had been confirmed.
    lost_text: bool,
}

/// Octets that wait for the peer's confirmation before more is read from stdin.
const MAX_UNCONFIRMED: usize = 1024 * 1024;
/// Lines that are kept until the channel is open.
const MAX_WAITING: usize = 1_000;

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let url = room_url(&options.server, &options.room)?;
    let builder = options.network.builder()?.agent(|agent| {
        if options.lite {
            agent.mode = Mode::Lite;
        }
        if options.no_trickle {
            agent.trickle = Trickle::Half;
        }
    });
    let identity = Identity::new();
    let identity = identity.map_err(|_| Failure::runtime("the system gives no randomness"))?;
    let node = Network::bind(builder).await?;
    let mut room = Room::join(&url).await.map_err(|error| Failure::runtime(error.to_string()))?;
    let output = Output::new(options.json);
    let mut talk = Talk {
        output,
        node,
        identity,
        session: None,
        renews_at: None,
        patience: AGAIN[0],
        waiting: Vec::new(),
        ended: false,
        was_open: false,
        lost_text: false,
    };
    let page = url.replacen("ws", "http", 1);
    talk.tell(
        "room",
        &format!("waiting for somebody else; open {page} in a browser"),
        json!({
            "type": "joined", "room": page,
        }),
    );
    let outcome = talk.run(&mut room).await;
    talk.leave(None).await;
    tokio::join!(room.leave(), talk.node.close());
    outcome
}

/// The URL of the room's WebSocket.
fn room_url(server: &str, room: &str) -> Result<String, Failure> {
    let url = if room.contains("://") {
        room.to_owned()
    } else if is_name(room) {
        format!("{}/room/{room}", server.trim_end_matches('/'))
    } else {
        return Err(Failure::usage(format!(
            "{room} is no room; write its name (letters, digits, - and _) or the URL of its page"
        )));
    };
    let known =
        [("http://", "ws://"), ("https://", "wss://"), ("ws://", "ws://"), ("wss://", "wss://")];
    let rest = known.iter().find_map(|(page, socket)| Some((socket, url.strip_prefix(page)?)));
    match rest {
        Some((scheme, rest)) => Ok(format!("{scheme}{rest}")),
        None => Err(Failure::usage(format!(
            "{url} is no URL of a room; write http://host:port/room/name"
        ))),
    }
}

impl Talk {
    async fn run(&mut self, room: &mut Room) -> Result<(), Failure> {
        let mut lines = LineReader::new(tokio::io::stdin());
        let mut buf = vec![0; DATAGRAM];
        while !self.output.is_broken() {
            let takes_more = !self.ended && self.unconfirmed() < MAX_UNCONFIRMED;
            tokio::select! {
                event = room.next() => match event {
                    Some(event) => self.room(event).await?,
                    None => return Err(Failure::runtime("the server does not let us in any more")),
                },
                line = lines.next_line(), if takes_more => match line {
                    Some(Ok(line)) => {
                        if self.obey(parse(line)).await {
                            return Ok(());
                        }
                    }
                    Some(Err(error)) => self.trouble(&error.to_string()),
                    None => self.ended = true,
                },
                step = next(&mut self.session, !takes_more, &mut buf) => self.step(step, &buf).await,
                () = at(self.renews_at) => {
                    self.leave(Some("given up")).await;
                    room.renew();
                    // Until somebody is there.
                    self.renew_later();
                }
            }
            if self.is_done() {
                return if self.lost_text {
                    Err(Failure::runtime("a channel closed before all had arrived; say it again"))
                } else {
                    Ok(())
                };
            }
        }
        Ok(())
    }

    /// Whether all that was to be said has been heard.
    fn is_done(&mut self) -> bool {
        if !self.ended || !self.was_open || !self.waiting.is_empty() {
            return false;
        }
        self.unconfirmed() == 0
    }

    /// Octets that were sent, and the peer has not confirmed.
    fn unconfirmed(&mut self) -> usize {
        let agreed = self.session.as_mut().and_then(|session| session.agreed.as_mut());
        agreed.map_or(0, |(_, channel)| channel.unconfirmed())
    }

    async fn room(&mut self, event: RoomEvent) -> Result<(), Failure> {
        match event {
            RoomEvent::Peer { side, signaling } => self.meet(side, signaling).await?,
            RoomEvent::PeerLeft => {
                self.renews_at = None;
                self.leave(Some("the peer left")).await;
            }
            RoomEvent::PeerAway => {
                self.tell("room", "the peer is not at the server", json!({ "type": "peer-away" }))
            }
            RoomEvent::PeerBack => {
                self.tell("room", "the peer is at the server again", json!({ "type": "peer-back" }))
            }
            RoomEvent::Disconnected => {
                self.tell(
                    "room",
                    "no connection to the server; trying again",
                    json!({ "type": "disconnected" }),
                );
            }
            RoomEvent::Connected => {
                self.tell("room", "at the server again", json!({ "type": "connected" }))
            }
            RoomEvent::Refused(sentence) => self.trouble(&sentence),
            _ => {}
        }
        Ok(())
    }

    /// Somebody came: a connection is made.
    async fn meet(&mut self, place: Place, signaling: Memory) -> Result<(), Failure> {
        self.renews_at = None;
        self.leave(Some("the session begins anew")).await;
        let ours = DataChannel::new(self.identity.fingerprint());
        let (signaling, agreements) = DataChannelSignaling::new(signaling, ours);
        let role = match place {
            Place::Offerer => Role::Controlling,
            Place::Answerer => Role::Controlled,
        };
        let connection = self.node.open(self.node.agent_config(role), signaling);
        self.tell(
            "room",
            "somebody is there",
            json!({ "type": "peer", "offers": place == Place::Offerer }),
        );
        let side = Side::new("floe", self.node.clone(), connection);
        let (agreed, pending) = (None, None);
        self.session = Some(Session { side, place, agreements, agreed, pending, has_path: false });
        Ok(())
    }

    /// The session has ended by itself: unless the peer leaves, another one is asked for.
    async fn lose(&mut self, why: &str) {
        self.lost_text |= self.unconfirmed() > 0;
        self.leave(Some(why)).await;
        self.renew_later();
    }

    /// Another session is asked for, later each time.
    fn renew_later(&mut self) {
        self.renews_at = Some(Instant::now() + self.patience);
        self.patience = (self.patience * 2).min(AGAIN[1]);
    }

    /// Ends the session, if there is one.
    async fn leave(&mut self, why: Option<&str>) {
        let Some(mut session) = self.session.take() else { return };
        if let Some((_, channel)) = &mut session.agreed {
            channel.close(Instant::now().into_std());
            transmit(&session.side, channel);
        }
        let _ = tokio::time::timeout(FAREWELL, session.side.connection.close()).await;
        if let Some(why) = why {
            self.tell("room", &format!("{why}; waiting"), json!({ "type": "left", "reason": why }));
        }
    }

    async fn step(&mut self, step: Step, buf: &[u8]) {
        let now = Instant::now().into_std();
        let Some(session) = &mut self.session else { return };
        match step {
            Step::Agreed(Some(agreement)) => {
                let known = session.agreed.as_mut().map(|(known, _)| known);
                let known = known.filter(|known| agreement.peer.is_associated_as(&known.peer));
                if let Some(known) = known {
                    *known = agreement;
                } else {
                    session.pending = Some(agreement);
                }
            }
            Step::Event(Some(event)) => {
                session.has_path |= event == ConnectionEvent::Sendable;
                if let (ConnectionEvent::Selected(_), Some((_, channel))) =
                    (&event, &mut session.agreed)
                {
                    channel.begin_again();
                }
                self.show(event);
            }
            Step::Agreed(None) | Step::Event(None) => {
                self.lose("the connection is closed").await;
                return;
            }
            Step::Datagram(length) => {
                if let Some((_, channel)) = &mut session.agreed {
                    channel.handle_datagram(now, buf.get(..length).unwrap_or_default());
                }
            }
            Step::Time => {
                if let Some((_, channel)) = &mut session.agreed {
                    channel.handle_timeout(now);
                }
            }
        }
        self.begin(now);
        self.flush().await;
    }

    /// Begins the channel that was agreed upon, once there is a path.
    fn begin(&mut self, now: std::time::Instant) {
        let Some(session) = self.session.as_mut().filter(|session| session.has_path) else {
            return;
        };
        let Some(agreement) = session.pending.take() else { return };
        let opens = session.place == Place::Offerer;
        let channel = Channel::new(&self.identity, agreement.clone(), opens, now);
        session.agreed = channel.map(|channel| (agreement, channel));
    }

    /// Sends what the channel has to send, and shows what it has to tell.
    async fn flush(&mut self) {
        loop {
            let Some(session) = &mut self.session else { return };
            let Some((_, channel)) = &mut session.agreed else { return };
            let event = channel.poll_event();
            transmit(&session.side, channel);
            match event {
                None => return,
                Some(ChannelEvent::Open(label)) => {
                    self.was_open = true;
                    self.patience = AGAIN[0];
                    let say = "open: what you type goes to the peer, /help tells more";
                    self.tell("channel", say, json!({ "type": "open", "label": label }));
                    for text in std::mem::take(&mut self.waiting) {
                        self.say(text);
                    }
                }
                Some(ChannelEvent::Text(text)) => {
                    let object = json!({ "type": "message", "text": &text });
                    self.output.step("peer", "says", &text, object);
                }
                Some(ChannelEvent::Binary(octets)) => {
                    let length = octets.len();
                    let object = json!({ "type": "binary", "octets": length });
                    self.output.step(
                        "peer",
                        "sends",
                        &format!("{length} octets that are no text"),
                        object,
                    );
                }
                Some(ChannelEvent::Closed(why)) => {
                    if why != Ended::Peer {
                        self.trouble(&why.to_string());
                    }
                    self.lose("the channel is closed").await;
                }
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "non-exhaustive outside its crate")]
    fn show(&mut self, event: ConnectionEvent) {
        let Some(session) = &mut self.session else { return };
        let side = &mut session.side;
        match event {
            ConnectionEvent::SignalRejected(reason) if !is_error(reason) => {}
            ConnectionEvent::State(state) => {
                side.state = state;
                let limit = match state {
                    AgentState::Connected | AgentState::Completed => {
                        self.renews_at = None;
                        None
                    }
                    AgentState::Disconnected => Some(NO_PATH[0]),
                    AgentState::Failed => Some(NO_PATH[1]),
                    _ => None,
                };
                if let Some(limit) = limit {
                    let due = Instant::now() + limit;
                    self.renews_at = self.renews_at.into_iter().chain([due]).min();
                }
                if state == AgentState::Failed {
                    let sentence = format!("no path to the peer: {}", side.connection.failure());
                    self.trouble(&sentence);
                } else {
                    side.show(&mut self.output, event);
                }
            }
            event => side.show(&mut self.output, event),
        }
    }

    /// Does what a line asks for; true when it is to end.
    async fn obey(&mut self, order: Order) -> bool {
        match order {
            Order::Say(text) => self.say(text),
            Order::Quit => return true,
            Order::Help => {
                let text = "/pairs shows the pairs, /restart restarts ICE, /quit ends";
                self.tell("help", text, json!({ "type": "help", "text": text }));
            }
            Order::Pairs => match &self.session {
                Some(session) => session.side.report(&mut self.output),
                None => self.trouble("nobody is there yet; wait"),
            },
            Order::Restart => match &self.session {
                Some(session) => session.side.connection.restart().await,
                None => self.trouble("nobody is there yet; wait"),
            },
        }
        false
    }

    fn say(&mut self, text: String) {
        let agreed = self.session.as_mut().map(|session| (&session.side, session.agreed.as_mut()));
        match agreed {
            Some((side, Some((_, channel)))) if channel.is_open() => {
                if channel.send(Instant::now().into_std(), &text) {
                    transmit(side, channel);
                } else {
                    self.trouble("the text is longer than the peer takes; send less at a time");
                }
            }
            Some(_) | None if self.waiting.len() < MAX_WAITING => self.waiting.push(text),
            Some(_) | None => {
                self.trouble("too much waits for the peer already; wait until it is there")
            }
        }
    }

    fn tell(&mut self, what: &str, detail: &str, object: Value) {
        self.output.step("floe", what, detail, object);
    }

    fn trouble(&mut self, sentence: &str) {
        self.output.step("floe", "error", sentence, json!({ "type": "error", "error": sentence }));
    }
}

/// Waits for what happens next in a session; for ever if there is none.
async fn next(session: &mut Option<Session>, looks: bool, buf: &mut [u8]) -> Step {
    let Some(Session { side, agreements, agreed, .. }) = session else {
        return std::future::pending().await;
    };
    let channel = agreed.as_ref().map(|(_, channel)| channel);
    let has_channel = channel.is_some();
    let mut due = channel.and_then(Channel::poll_timeout).map(Instant::from_std);
    if looks {
        due = due.into_iter().chain([Instant::now() + LOOK]).min();
    }
    tokio::select! {
        agreement = agreements.next() => Step::Agreed(agreement),
        event = side.events.next() => Step::Event(event),
        // What comes before the fingerprint is known waits.
        length = side.connection.recv(buf), if has_channel => match length {
            Ok(length) => Step::Datagram(length),
            Err(_) => Step::Event(None),
        },
        () = at(due) => Step::Time,
    }
}

/// Waits until then; for ever if there is no time.
async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Sends what waits; what cannot leave now is sent again by DTLS and SCTP.
fn transmit(side: &Side, channel: &mut Channel) {
    while let Some(packet) = channel.poll_transmit() {
        let _ = side.connection.try_send(&packet);
    }
}

fn parse(line: String) -> Order {
    match line.trim() {
        "/quit" => Order::Quit,
        "/pairs" => Order::Pairs,
        "/restart" => Order::Restart,
        "/help" => Order::Help,
        _ => Order::Say(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_a_name_or_the_url_of_its_page() {
        let url = |room: &str| room_url("http://127.0.0.1:8080/", room).ok();
        assert_eq!(url("lobby").as_deref(), Some("ws://127.0.0.1:8080/room/lobby"));
        assert_eq!(url("http://h:1/room/a").as_deref(), Some("ws://h:1/room/a"));
        assert_eq!(url("https://h/room/a").as_deref(), Some("wss://h/room/a"));
        assert_eq!(url("ws://h/room/a").as_deref(), Some("ws://h/room/a"));
        assert_eq!(url("not a room"), None);
        assert_eq!(url("ftp://h/room/a"), None);
    }
}
