//! The world: a deterministic simulation of hosts, NATs, links, STUN servers and signalling around
//! floe's public API. One seed is one run; `SIM_SEED=… cargo test --test sim NAME` replays it and
//! `SIM_TRACE=1` prints every packet and event.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

#[macro_use]
mod world;

mod topology;

mod oracle;

mod hostile;

mod log;

mod matrix;

mod scenario;

mod swarm;

#[cfg(feature = "canary")]
mod canary;

mod fuzz_seeds;

mod stories {
    mod candidates;
    mod clocks;
    mod consent;
    mod determinism;
    mod failure;
    mod faults;
    mod figures;
    mod liars;
    mod links;
    mod lives;
    mod loss;
    mod meeting;
    mod mutation;
    mod nats;
    mod rebinding;
    mod restarts;
    mod roaming;
    mod roles;
    mod routers;
    mod signals;
    mod timing;
    mod topology;
    mod turn;
    mod turn_faults;
    mod turn_server;
}
