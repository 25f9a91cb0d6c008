//! floe's TURN client against servers of others, on real sockets.
//!
//! [`Session`] drives a [`floe::turn::Client`] with blocking sockets of the standard library, so
//! that what is tested is the client and nothing between. The servers are coturn (`lab::Coturn`) and
//! those of [`servers`], in this process.

mod echo;
mod link;
pub mod servers;
mod session;

pub use echo::Echo;
pub use session::{SOON, Sent, Session, credentials};
