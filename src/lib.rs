//! floe is ICE (RFC 8445): what gets two peers a direct, authenticated path through NATs and
//! firewalls.

pub mod candidate;
pub mod config;
pub mod demux;
mod endpoint;
pub mod event;
pub mod net;
mod rng;
pub mod sdp;
pub mod stats;
pub mod stun;
mod time;

pub use endpoint::{
    Agent, AgentMut, CandidateRejected, DescriptionRejected, Endpoint, Route, SendError, Server,
};
pub use event::{AgentState, Event};
pub use net::{
    AgentId, ComponentId, DropReason, HEADROOM, Protocol, Received, ServerId, Socket, SocketId,
    TAILROOM, Transmit,
};
pub use time::Instant;
