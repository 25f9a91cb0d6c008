//! STUN servers: good, dead, slow and lying ones.

use core::time::Duration;
use std::net::SocketAddr;

use crate::world::turn_server::Out;
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
    /// Answers from this address, which nobody asked.
    Elsewhere(SocketAddr),
    /// Answers another transaction, then with half a message, then with zeros.
    Garbled,
    /// Answers each request so often.
    Babbling(u64),
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
    /// Answers a datagram that came to `to`.
    pub(crate) fn answer(&mut self, from: SocketAddr, to: SocketAddr, octets: &[u8]) -> Vec<Out> {
        let Some((wire::Kind::Request, id)) = wire::binding(octets) else { return Vec::new() };
        self.asked += 1;
        let now = Duration::ZERO;
        let out = |after, octets| Out { after, from: to, to: from, octets };
        match self.temper {
            Temper::Honest => vec![out(now, wire::success(id, from))],
            Temper::Dead => Vec::new(),
            Temper::Slow(delay) => vec![out(delay, wire::success(id, from))],
            Temper::Lying(address) => vec![out(now, wire::success(id, address))],
            Temper::Refusing(code) => {
                let code = (wire::ERROR_CODE, wire::error_code(code));
                vec![out(now, wire::message(0x0111, id, &[code]))]
            }
            Temper::Empty => vec![out(now, wire::message(0x0101, id, &[]))],
            Temper::Elsewhere(address) => {
                vec![Out { from: address, ..out(now, wire::success(id, from)) }]
            }
            Temper::Garbled => {
                let mut other = id;
                other[0] ^= 1;
                let mut cut = wire::success(id, from);
                cut.truncate(27);
                [wire::success(other, from), cut, vec![0; 20]].map(|o| out(now, o)).to_vec()
            }
            Temper::Babbling(times) => {
                let answer = |n| out(Duration::from_millis(n), wire::success(id, from));
                (0..times).map(answer).collect()
            }
        }
    }
}
