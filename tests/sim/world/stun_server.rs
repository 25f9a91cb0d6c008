//! STUN servers: good, dead, slow and lying ones.

use core::time::Duration;
use std::net::SocketAddr;

use crate::world::wire;

/// How a STUN server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temper {
    Honest,
    /// Answers nothing.
    Dead,
    /// Answers this much later.
    Slow(Duration),
    /// Says that everybody is at this address.
    Lying(SocketAddr),
    /// Refuses with this error code.
    Refusing(u16),
    /// Succeeds without an address.
    Empty,
}

#[derive(Debug)]
pub(crate) struct StunServer {
    /// Where it listens, one for each family.
    pub(crate) addresses: [SocketAddr; 2],
    pub(crate) temper: Temper,
    /// How many requests arrived.
    pub(crate) asked: usize,
}

impl StunServer {
    /// Answers a datagram: what, and how much later.
    pub(crate) fn answer(
        &mut self,
        from: SocketAddr,
        octets: &[u8],
    ) -> Option<(Duration, Vec<u8>)> {
        let (wire::Kind::Request, id) = wire::binding(octets)? else { return None };
        self.asked += 1;
        let now = Duration::ZERO;
        match self.temper {
            Temper::Honest => Some((now, wire::success(id, from))),
            Temper::Dead => None,
            Temper::Slow(delay) => Some((delay, wire::success(id, from))),
            Temper::Lying(address) => Some((now, wire::success(id, address))),
            Temper::Refusing(code) => Some((
                now,
                wire::message(0x0111, id, &[(wire::ERROR_CODE, wire::error_code(code))]),
            )),
            Temper::Empty => Some((now, wire::message(0x0101, id, &[]))),
        }
    }
}
