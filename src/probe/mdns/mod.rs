//! Multicast DNS for the names of host candidates: asking what a name stands for, and answering
//! for names of our own. [RFC 6762] [draft-ietf-mmusic-mdns-ice-candidates]
//!
//! A [`Querier`] and a [`Responder`] read no clock and own no socket. Who drives them hands over
//! what arrives at port 5353 ([`Arrival`] says where from), and asks for packets until there is
//! none, then sleeps until the earlier `poll_timeout`. No more of DNS is here than that needs: A and
//! AAAA records of names of the class IN.
//!
//! What keeps a stranger on the link from doing harm:
//!
//! - Only what comes from the link counts ([`Subnet::contains`] is for the driver to ask), responses only from
//!   port 5353. [RFC 6762 §6, §11]
//! - Answers that nobody asked for are not kept. A message that is damaged anywhere is ignored
//!   whole.
//! - At most [`MAX_QUESTIONS`] names are asked for at a time, each at most four times in
//!   [`PATIENCE`], [`MAX_NAMES`] are answered for, [`MAX_CACHED`] answers are kept.
//! - Querier and responder each send [`PACKETS_PER_SECOND`] packets at most, whatever names come
//!   and go. [mdns-ice-candidates-7.1-1] [mdns-ice-candidates-7.1-2]

use core::ops::Range;
use core::time::Duration;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::time::Instant;

mod message;
mod querier;
mod responder;

pub use message::{Item, Items, Message, Name, Question, Record};
pub use querier::{Querier, Resolution, TooManyQuestions, Unresolved};
pub use responder::{Responder, TooManyNames};

/// The port of multicast DNS.
pub const PORT: u16 = 5353;
/// The group of IPv4.
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
/// The group of IPv6, on one link.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 0, 0xFB);
/// The IP TTL or hop limit of what is sent. [RFC 6762 §11]
pub const HOPS: u32 = 255;

/// Names that are asked for at a time.
pub const MAX_QUESTIONS: usize = 32;
/// Answers that are kept.
pub const MAX_CACHED: usize = 64;
/// Names that are answered for.
pub const MAX_NAMES: usize = 256;
/// How long a name is asked for before it counts as unresolved.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Packets that a querier, or a responder, sends in a second over a long time; as many may leave
/// at once. [mdns-ice-candidates-7.1-1]
pub const PACKETS_PER_SECOND: u32 = 20;
/// The most octets of a packet. [RFC 6762 §17]
pub const MAX_PACKET: usize = 1200;

/// How long others may keep our records. [RFC 6762 §10]
const TTL: Duration = Duration::from_secs(120);
/// The least time between multicasts of one record, and between the first two of one question.
/// [RFC 6762 §5.2, §6]
const REST: Duration = Duration::from_secs(1);

/// A link: a network interface, by a number that the driver chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

/// Where a packet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The link.
    pub link: LinkId,
    /// The source.
    pub from: SocketAddr,
    /// Whether the source is an address of this machine: then its port 5353 has several users, and
    /// a unicast packet may reach the wrong one.
    pub own: bool,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To the groups of both families, on every link.
    Everywhere,
    /// To the groups of both families, on one link.
    Link(LinkId),
    /// To one address on a link.
    Address(LinkId, SocketAddr),
}

/// A packet that was encoded into the caller's buffer, to be sent from port 5353 with
/// [`HOPS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where it goes.
    pub to: Destination,
    /// Where in the buffer it is.
    pub range: Range<usize>,
}

/// A subnet of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Any address in it.
    pub address: IpAddr,
    /// How many bits its addresses share: 0..=32, or 0..=128.
    pub prefix_len: u8,
}

impl Subnet {
    /// Whether an address is in the subnet, as any link-local one is in a subnet of its family: what
    /// is not came from farther than the link. [RFC 6762 §11]
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let shift = 32 - u32::from(self.prefix_len.min(32));
                ip.is_link_local()
                    || net.to_bits().checked_shr(shift) == ip.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(self.prefix_len.min(128));
                ip.is_unicast_link_local()
                    || net.to_bits().checked_shr(shift) == ip.to_bits().checked_shr(shift)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// How many packets may leave: a bucket that fills up again. [mdns-ice-candidates-7.1-1]
#[derive(Clone, Debug)]
struct Budget {
    left: u32,
    /// Up to when the bucket was filled.
    since: Instant,
}

impl Budget {
    const STEP: Duration = Duration::from_millis(1000 / PACKETS_PER_SECOND as u64);

    const fn new() -> Self {
        Self { left: PACKETS_PER_SECOND, since: Instant::ZERO }
    }

    fn fill(&mut self, now: Instant) {
        let steps = now.since(self.since).as_nanos() / Self::STEP.as_nanos();
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        if steps >= PACKETS_PER_SECOND - self.left {
            (self.left, self.since) = (PACKETS_PER_SECOND, self.since.max(now));
        } else {
            self.left += steps;
            self.since += Self::STEP * steps;
        }
    }

    /// When a packet that is due at `due` may leave.
    fn not_before(&self, due: Instant) -> Instant {
        if self.left > 0 { due } else { due.max(self.since + Self::STEP) }
    }

    fn take(&mut self) -> bool {
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(address: &str, prefix_len: u8) -> Subnet {
        Subnet { address: address.parse().unwrap(), prefix_len }
    }

    /// RFC 6762 section 11.
    #[test]
    fn what_comes_from_beyond_the_link_is_told_from_what_does_not() {
        let is = |net: Subnet, ip: &str| net.contains(ip.parse().unwrap());
        let four = subnet("192.168.1.7", 24);
        assert!(is(four, "192.168.1.200") && is(four, "169.254.3.4"));
        assert!(!is(four, "192.168.2.1") && !is(four, "2001:db8::1"));
        let six = subnet("2001:db8:1::7", 64);
        assert!(is(six, "2001:db8:1::ffff") && is(six, "fe80::1"));
        assert!(!is(six, "2001:db8:2::7") && !is(six, "192.168.1.1"));
        assert!(is(subnet("0.0.0.0", 0), "8.8.8.8"));
        assert!(is(subnet("10.0.0.1", 255), "10.0.0.1"));
        assert!(!is(subnet("10.0.0.1", 32), "10.0.0.2"));
    }

    /// [mdns-ice-candidates-7.1-1]
    #[test]
    fn the_budget_is_a_burst_and_then_a_steady_pace() {
        let mut budget = Budget::new();
        let mut now = Instant::from_millis(1_000_000);
        let mut sent = 0;
        let end = now + Duration::from_secs(10);
        while now < end {
            budget.fill(now);
            while budget.take() {
                sent += 1;
            }
            now = budget.not_before(now);
        }
        assert!((PACKETS_PER_SECOND * 10..=PACKETS_PER_SECOND * 11 + 1).contains(&sent), "{sent}");
    }
}
