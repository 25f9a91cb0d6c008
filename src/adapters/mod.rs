//! Where floe meets other crates.

#[cfg(feature = "webrtc-util")]
pub mod conn;
#[cfg(feature = "sdp")]
pub mod data_channel;
