//! Where floe meets other crates.

#[cfg(feature = "sdp")]
pub mod data_channel;
