//! Sockets, clock and orders around a library that has none of its own.

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::addresses::interface_addresses;
use super::arguments::Arguments;
use super::lines::{Credentials, Told, listen, say_error, say_heard, say_version};

/// No datagram here is longer.
const MAX_DATAGRAM: usize = 65_536;
/// The least wait for a timer: a deadline that stays in the past does not take the whole processor.
const MIN_WAIT: Duration = Duration::from_millis(1);
/// The wait while there is no deadline; any input ends it.
const IDLE: Duration = Duration::from_secs(60);

/// A datagram on its way.
pub struct Datagram {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub data: Vec<u8>,
}

/// An agent of a library, with its credentials, candidates and selected pairs said as they come.
/// Errors are sentences.
pub trait Agent: Sized {
    /// Its name and version.
    fn version() -> String;

    /// Says in a sentence what it cannot do of the arguments.
    fn refuse(arguments: &Arguments) -> Result<(), String>;

    /// Makes an agent and says its credentials and candidates; it has a socket at each address.
    fn new(now: Instant, arguments: &Arguments, addresses: &[SocketAddr]) -> Result<Self, String>;

    /// Takes the other's credentials, after a restart of our own if they are those of a restart.
    fn set_remote(&mut self, now: Instant, remote: Credentials) -> Result<(), String>;

    /// Takes a candidate line of the other's.
    fn add_candidate(&mut self, line: &str) -> Result<(), String>;

    /// The other has no more candidates.
    fn end_of_candidates(&mut self);

    /// Restarts, and says the new credentials and candidates.
    fn restart(&mut self, now: Instant) -> Result<(), String>;

    /// Wraps application data for the selected pair.
    fn send(&mut self, now: Instant, data: Vec<u8>) -> Result<Datagram, String>;

    /// Takes a datagram, and returns the application data in it.
    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) -> Option<Vec<u8>>;

    /// Does what is due.
    fn handle_timeout(&mut self, now: Instant);

    /// When something is due.
    fn poll_timeout(&mut self) -> Option<Instant>;

    /// The next datagram to send.
    fn poll_transmit(&mut self, now: Instant) -> Option<Datagram>;

    /// Says what has happened.
    fn say_events(&mut self, now: Instant);
}

enum Input {
    Told(Told),
    Datagram(Datagram),
    Ended,
}

/// Whether a datagram is STUN, as users tell it apart who have other protocols beside it: the first
/// octet is 0 to 3 [RFC 7983 §7], and the magic cookie is there [RFC 8489 §5].
pub fn is_stun(data: &[u8]) -> bool {
    data.len() >= 20 && data[0] < 4 && data[4..8] == [0x21, 0x12, 0xa4, 0x42]
}

/// Runs an agent until stdin ends.
pub fn run<A: Agent>(arguments: &Arguments) -> Result<(), String> {
    A::refuse(arguments)?;
    say_version(&A::version());
    let (sender, inputs) = channel();
    let sockets = bind(arguments, &sender);
    listen(move |told| {
        let _ = sender.send(told.map_or(Input::Ended, Input::Told));
    });
    let addresses: Vec<SocketAddr> = sockets.iter().map(|(address, _)| *address).collect();
    let agent = A::new(Instant::now(), arguments, &addresses)?;
    drive(agent, &sockets, &inputs);
    Ok(())
}

type Sockets = Vec<(SocketAddr, UdpSocket)>;

/// Binds a socket to each address and reads it in a thread.
fn bind(arguments: &Arguments, inputs: &Sender<Input>) -> Sockets {
    let mut sockets = Vec::new();
    for ip in interface_addresses(arguments.family) {
        match open(SocketAddr::new(ip, 0), inputs.clone()) {
            Ok(socket) => sockets.push(socket),
            Err(error) => say_error(format!("cannot bind to {ip}: {error}")),
        }
    }
    sockets
}

fn open(address: SocketAddr, inputs: Sender<Input>) -> std::io::Result<(SocketAddr, UdpSocket)> {
    let socket = UdpSocket::bind(address)?;
    let reader = socket.try_clone()?;
    let to = socket.local_addr()?;
    std::thread::spawn(move || {
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            // An error is that of an earlier datagram, which found nobody.
            let Ok((length, from)) = reader.recv_from(&mut buffer) else { continue };
            let data = buffer[..length].to_vec();
            if inputs.send(Input::Datagram(Datagram { from, to, data })).is_err() {
                return;
            }
        }
    });
    Ok((to, socket))
}

fn drive<A: Agent>(mut agent: A, sockets: &Sockets, inputs: &Receiver<Input>) {
    agent.handle_timeout(Instant::now());
    loop {
        let now = Instant::now();
        agent.say_events(now);
        while let Some(datagram) = agent.poll_transmit(now) {
            send(sockets, &datagram);
        }
        let wait = agent.poll_timeout().map_or(IDLE, |due| due.saturating_duration_since(now));
        let input = inputs.recv_timeout(wait.max(MIN_WAIT));
        let now = Instant::now();
        match input {
            Ok(Input::Told(told)) => {
                if let Err(sentence) = obey(&mut agent, now, told, sockets) {
                    say_error(sentence);
                }
            }
            Ok(Input::Datagram(datagram)) => {
                if let Some(data) = agent.handle_datagram(now, datagram) {
                    // A pair that was selected before is said before the data is heard.
                    agent.say_events(now);
                    say_heard(&data);
                }
            }
            Err(RecvTimeoutError::Timeout) => agent.handle_timeout(now),
            Ok(Input::Ended) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn obey<A: Agent>(
    agent: &mut A,
    now: Instant,
    told: Told,
    sockets: &Sockets,
) -> Result<(), String> {
    match told {
        Told::Credentials(remote) => agent.set_remote(now, remote),
        Told::Candidate(line) => agent.add_candidate(&line),
        Told::EndOfCandidates => {
            agent.end_of_candidates();
            Ok(())
        }
        Told::Say(text) => {
            send(sockets, &agent.send(now, text.into_bytes())?);
            Ok(())
        }
        Told::Restart => agent.restart(now),
    }
}

/// Sends a datagram from the socket that it names; what cannot be sent is lost, as any datagram
/// may be.
fn send(sockets: &Sockets, datagram: &Datagram) {
    if let Some((_, socket)) = sockets.iter().find(|(address, _)| *address == datagram.from) {
        let _ = socket.send_to(&datagram.data, datagram.to);
    }
}
