//! TURN: what framing costs, how long an allocation takes, and how much goes through coturn.

mod framing;
mod relay;
mod server;
mod virtual_time;

use std::net::{Ipv4Addr, SocketAddr};

use crate::report::Report;

/// As long as a datagram of media gets.
const PAYLOAD: usize = 1200;

const CLIENT: SocketAddr = address(10, 1, 4000);
const SERVER: SocketAddr = address(10, 9, 3478);
const PEER: SocketAddr = address(20, 1, 5000);

const fn address(network: u8, host: u8, port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, network, 0, host)), port)
}

/// Runs the section.
pub fn run(report: &mut Report) {
    report.section("TURN");
    framing::run(report);
    virtual_time::run(report);
    relay::run(report);
}
