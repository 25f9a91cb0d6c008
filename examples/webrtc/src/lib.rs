//! What the examples share: how they are started, and how they meet their peer.
//!
//! ```text
//! offer|answer|--room URL [--address IP] [--stun IP:PORT] [--turn IP:PORT USER PASSWORD] [--relay]
//! [--say TEXT]
//! ```

use std::error::Error;
use std::net::{IpAddr, SocketAddr};

use floe::Node;
use floe::config::CandidatePolicy;
use floe::driver::{NodeBuilder, Room, RoomEvent};
use floe::signaling::rooms::Side;
use floe::signaling::{Signaling, lines};

/// Whatever goes wrong, as a sentence.
pub type Failure = Box<dyn Error + Send + Sync>;

/// What stands on the command line.
pub struct Options {
    side: Option<Side>,
    room: Option<String>,
    /// The one address to use; without it the example chooses.
    pub address: Option<IpAddr>,
    /// A STUN server.
    pub stun: Option<SocketAddr>,
    /// A TURN server, username and password.
    pub turn: Option<(SocketAddr, String, String)>,
    /// Whether relayed candidates alone are used.
    pub relay_only: bool,
    /// What is said to the peer.
    pub text: String,
}

impl Options {
    /// Reads the arguments of the process.
    ///
    /// # Errors
    ///
    /// Says which argument is wrong.
    pub fn read() -> Result<Self, Failure> {
        let (side, room, address, stun, turn) = (None, None, None, None, None);
        let (relay_only, text) = (false, "hello".to_owned());
        let mut options = Self { side, room, address, stun, turn, relay_only, text };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} lacks a value"));
            match argument.as_str() {
                "offer" => options.side = Some(Side::Offerer),
                "answer" => options.side = Some(Side::Answerer),
                "--room" => options.room = Some(value()?),
                "--address" => options.address = Some(value()?.parse()?),
                "--stun" => options.stun = Some(value()?.parse()?),
                "--turn" => options.turn = Some((value()?.parse()?, value()?, value()?)),
                "--relay" => options.relay_only = true,
                "--say" => options.text = value()?,
                other => return Err(format!("{other}: not known; see the source").into()),
            }
        }
        Ok(options)
    }

    /// A node with these addresses and servers.
    ///
    /// # Errors
    ///
    /// Says which server has no usable address.
    pub fn builder(&self) -> Result<NodeBuilder, Failure> {
        let mut builder = Node::builder();
        if let Some(address) = self.address {
            builder = builder.address((address, 0).into());
        }
        if let Some(server) = self.stun {
            builder = builder.stun(&format!("stun:{server}"))?;
        }
        if let Some((server, user, password)) = &self.turn {
            builder = builder.turn(&format!("turn:{server}"), user, password)?;
        }
        if self.relay_only {
            builder = builder.agent(|agent| agent.policy = CandidatePolicy::Relay);
        }
        Ok(builder)
    }

    /// Meets the peer: which side we are, and how signals get there. The room is kept as long as
    /// the signalling is used.
    ///
    /// # Errors
    ///
    /// Says why nobody is met.
    pub async fn meet(&self) -> Result<(Side, Box<dyn Signaling>, Option<Room>), Failure> {
        match (self.side, &self.room) {
            (Some(side), None) => Ok((side, Box::new(lines::stdio()), None)),
            (None, Some(url)) => {
                let mut room = Room::join(url).await?;
                loop {
                    match room.next().await.ok_or("the server of the room does not want us")? {
                        RoomEvent::Peer { side, signaling } => {
                            return Ok((side, Box::new(signaling), Some(room)));
                        }
                        event => eprintln!("room: {event:?}"),
                    }
                }
            }
            _ => Err("give one of: offer, answer, --room URL".into()),
        }
    }
}

/// Ends the process. Returning from `main` would wait for a read of stdin, which is under way on a
/// thread of its own.
pub fn leave(outcome: Result<(), Failure>) -> ! {
    if let Err(error) = &outcome {
        eprintln!("failed: {error}");
    }
    std::process::exit(i32::from(outcome.is_err()));
}
