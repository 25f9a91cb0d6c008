//! What the RFCs demand, one module for each, one test for each claim.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod agent_sdp;
mod agreement;
mod backup;
mod demux;
mod framing;
#[cfg(all(feature = "mdns", feature = "sdp", feature = "serde"))]
mod fuzz_seeds;
mod harness;
mod lite;
mod long_life;
mod mdns_names;
mod relay;
mod relay_servers;
mod rfc5769;
mod rfc6062;
mod rfc7675;
mod rfc8421;
mod rfc8445_checklists;
mod rfc8445_checks;
mod rfc8445_gathering;
mod rfc8445_generations;
mod rfc8445_hostile;
mod rfc8445_nomination;
mod rfc8445_restart;
mod rfc8445_roles;
mod rfc8445_streams;
mod rfc8489;
mod rfc8656;
mod rfc8838;
mod rfc8838_sdp;
mod rfc8839;
mod rfc8839_subsequent;
mod rfc8840;
mod rfc8863;
#[cfg(feature = "whip")]
mod rfc9725_client;
#[cfg(feature = "whip")]
mod rfc9725_endpoint;
mod sdp_corpus;
mod sdp_properties;
mod turn_attributes;
mod turn_server;
