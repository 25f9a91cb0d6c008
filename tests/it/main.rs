//! What the RFCs demand, one module for each, one test for each claim.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod harness;
mod rfc5769;
mod rfc8421;
mod rfc8445_checklists;
mod rfc8445_checks;
mod rfc8445_gathering;
mod rfc8445_roles;
mod rfc8489;
mod rfc8838_sdp;
mod rfc8839;
mod rfc8840;
mod sdp_corpus;
mod sdp_properties;
