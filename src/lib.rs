//! floe is ICE (RFC 8445): what gets two peers a direct, authenticated path through NATs and
//! firewalls.

mod agent;
pub mod candidate;
pub mod config;
pub mod demux;
#[cfg(feature = "tokio")]
pub mod driver;
mod endpoint;
pub mod event;
mod gather;
pub mod net;
mod rng;
pub mod sdp;
pub mod signaling;
pub mod stats;
pub mod stun;
mod time;

pub use agent::{CandidateRejected, DescriptionRejected, SendError};
#[cfg(feature = "tokio")]
pub use driver::{Connection, ConnectionEvent, Node};
pub use endpoint::{Agent, AgentMut, Endpoint, Route};
pub use event::{AgentState, Event};
pub use gather::Server;
pub use net::{
    AgentId, ComponentId, DropReason, HEADROOM, MIN_TRANSMIT, Protocol, Received, ServerId, Socket,
    SocketId, TAILROOM, Transmit,
};
pub use time::Instant;
