#![no_main]

#[path = "../src/differential.rs"]
mod differential;

libfuzzer_sys::fuzz_target!(|data: &[u8]| differential::stun_differential(data));
