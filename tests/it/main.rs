//! What the RFCs ask for, one module each.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may what it calls"
)]

mod rfc5769;
mod rfc8489;
