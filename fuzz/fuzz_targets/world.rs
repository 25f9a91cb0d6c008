//! The whole world: octets are a scenario of the swarm, played and judged as there.
#![no_main]
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "the tests of the simulator use more of it"
)]

#[macro_use]
#[path = "../../tests/sim/world/mod.rs"]
mod world;

#[path = "../../tests/sim/topology.rs"]
mod topology;

#[path = "../../tests/sim/oracle/mod.rs"]
mod oracle;

#[path = "../../tests/sim/scenario/mod.rs"]
mod scenario;

libfuzzer_sys::fuzz_target!(|data: &[u8]| scenario::run_octets(data));
