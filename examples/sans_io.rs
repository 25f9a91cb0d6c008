//! The core without tokio: two endpoints, two std sockets, one loop. `cargo run --example sans_io`.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use floe::config::{AgentConfig, EndpointConfig, Role};
use floe::{AgentId, ComponentId, Endpoint, Event, HEADROOM, Instant, Received, Socket, SocketId};

/// One endpoint with its socket. A real program has one; here are both peers.
struct Peer {
    endpoint: Endpoint,
    io: UdpSocket,
    socket: SocketId,
    agent: AgentId,
    greeted: bool,
}

impl Peer {
    fn new(now: Instant, role: Role, seed: [u8; 32]) -> std::io::Result<Self> {
        let io = UdpSocket::bind("127.0.0.1:0")?;
        io.set_nonblocking(true)?;
        let mut endpoint = Endpoint::new(now, Arc::new(EndpointConfig::default()), seed);
        let socket = endpoint.add_socket(now, Socket::udp(io.local_addr()?));
        let agent = endpoint.add_agent(now, AgentConfig::new(role));
        Ok(Self { endpoint, io, socket, agent, greeted: false })
    }

    /// One turn: datagrams in, timers, datagrams out, events. Returns what the peer said.
    fn turn(&mut self, now: Instant, name: &str) -> std::io::Result<Option<String>> {
        let mut buf = [0; 1500];
        let mut heard = None;
        while let Ok((length, from)) = self.io.recv_from(&mut buf) {
            let datagram = buf.get(..length).unwrap_or_default();
            match self.endpoint.handle_datagram(now, self.socket, from, datagram) {
                Received::Data { data, .. } => {
                    heard = Some(String::from_utf8_lossy(data).into_owned());
                }
                Received::Handled | Received::Unclaimed { .. } | Received::Dropped(_) => {}
            }
        }
        if self.endpoint.poll_timeout().is_some_and(|at| at <= now) {
            self.endpoint.handle_timeout(now);
        }
        while let Some(transmit) = self.endpoint.poll_transmit(now, &mut buf) {
            self.send(transmit.to, buf.get(transmit.range).unwrap_or_default())?;
        }
        while let Some(event) = self.endpoint.poll_event() {
            println!("{name}: {event:?}");
            if let (Event::Sendable { .. }, false) = (&event, self.greeted) {
                self.greeted = true;
                self.say(now, b"hello")?;
            }
        }
        Ok(heard)
    }

    /// Sends application data: `route` is the one gate.
    fn say(&mut self, now: Instant, text: &[u8]) -> std::io::Result<()> {
        let mut buf = [0; 1500];
        let payload = HEADROOM..HEADROOM + text.len();
        if let Some(to) = buf.get_mut(payload.clone()) {
            to.copy_from_slice(text);
        }
        match self.endpoint.route(now, self.agent, ComponentId::FIRST) {
            Ok(route) => match route.frame(&mut buf, payload) {
                Some(transmit) => {
                    self.send(transmit.to, buf.get(transmit.range).unwrap_or_default())
                }
                None => Err(std::io::Error::other("too long")),
            },
            Err(error) => Err(std::io::Error::other(error.to_string())),
        }
    }

    fn send(&self, to: SocketAddr, packet: &[u8]) -> std::io::Result<()> {
        self.io.send_to(packet, to).map(|_| ())
    }
}

/// Signalling: both descriptions, by whatever means there are.
fn describe(now: Instant, from: &Peer, to: &mut Peer) -> Result<(), Box<dyn std::error::Error>> {
    let agent = from.endpoint.agent(from.agent).ok_or("no agent")?;
    let description = agent.local_description();
    let mut peer = to.endpoint.agent_mut(now, to.agent).ok_or("no agent")?;
    peer.set_remote_description(&description)?;
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The clock and the randomness are yours; in a real program the seeds come from the system.
    #[expect(clippy::disallowed_methods, reason = "a driver reads the clock")]
    let began = std::time::Instant::now();
    let clock = || Instant::ZERO + began.elapsed();
    let mut alice = Peer::new(clock(), Role::Controlling, [1; 32])?;
    let mut bob = Peer::new(clock(), Role::Controlled, [2; 32])?;
    describe(clock(), &alice, &mut bob)?;
    describe(clock(), &bob, &mut alice)?;

    let (mut alice_heard, mut bob_heard) = (false, false);
    while !(alice_heard && bob_heard) {
        alice_heard |= alice.turn(clock(), "alice")?.is_some();
        bob_heard |= bob.turn(clock(), "bob")?.is_some();
        if clock() > Instant::from_millis(10_000) {
            return Err("no path within ten seconds".into());
        }
        // A real loop waits for the socket or `poll_timeout`, whichever comes first.
        std::thread::park_timeout(Duration::from_millis(1));
    }
    println!("both heard the other");
    Ok(())
}
