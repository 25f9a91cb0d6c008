//! TURN servers in this process, for the user of the lab, over UDP.

mod proto;
mod webrtc;

pub use proto::Proto;
pub use webrtc::Webrtc;
