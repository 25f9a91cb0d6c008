//! What lies between two nodes: delay, loss and other misfortune, for each direction apart.

use core::time::Duration;
use std::collections::BTreeMap;

use floe::Instant;

use crate::world::network::Node;
use crate::world::rng::Rng;

/// Octets of the IPv4 and UDP headers that each datagram has around it.
const HEADERS: usize = 28;

/// Times of heavy loss between quiet ones: the model of Gilbert and Elliott, in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bursts {
    /// How long the quiet times and the bad ones are, in the mean.
    pub(crate) quiet: Duration,
    pub(crate) bad: Duration,
    /// The share of packets that vanish in a bad one.
    pub(crate) loss: f64,
}

/// How fast a link is, and how much waits for it before what comes is dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bandwidth {
    /// Bits per second, headers included.
    pub(crate) rate: u64,
    /// Octets.
    pub(crate) queue: u64,
}

/// One direction between two nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// How long a packet takes.
    pub(crate) delay: Duration,
    /// Up to this much more, uniformly.
    pub(crate) jitter: Duration,
    /// The share of packets that vanish.
    pub(crate) loss: f64,
    pub(crate) bursts: Option<Bursts>,
    /// The share of packets that come twice.
    pub(crate) duplicate: f64,
    /// The share of packets that take twice as long and so come out of order.
    pub(crate) reorder: f64,
    /// The share of packets that arrive with one bit flipped.
    pub(crate) corrupt: f64,
    pub(crate) bandwidth: Option<Bandwidth>,
    /// Larger packets, headers included, vanish without a word.
    pub(crate) mtu: Option<usize>,
    /// What is sent before then arrives only then, all at once.
    pub(crate) clogged_until: Option<Instant>,
    /// Nothing passes.
    pub(crate) cut: bool,
    /// Nothing passes, and the sender hears an ICMP error.
    pub(crate) unreachable: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(25),
            jitter: Duration::ZERO,
            loss: 0.0,
            bursts: None,
            duplicate: 0.0,
            reorder: 0.0,
            corrupt: 0.0,
            bandwidth: None,
            mtu: None,
            clogged_until: None,
            cut: false,
            unreachable: false,
        }
    }
}

/// What becomes of a packet on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// It arrives after this time, and perhaps once more after another one.
    Arrives(Duration, Option<Duration>),
    Lost,
    /// The sender hears of it after this time.
    Bounces(Duration),
}

/// What a link remembers.
#[derive(Debug)]
struct State {
    rng: Rng,
    /// Whether this is a bad time, and when it ends.
    bad: bool,
    until: Instant,
    /// When the last of what waits will be under way.
    busy_until: Instant,
}

impl State {
    /// Whether a packet is lost in a burst.
    fn is_hit(&mut self, now: Instant, bursts: Bursts) -> bool {
        while self.until <= now {
            let mean = if self.bad { bursts.quiet } else { bursts.bad };
            // The first time is a quiet one.
            let begins = self.until == Instant::ZERO;
            let mean = if begins { bursts.quiet } else { mean };
            self.bad = !self.bad && !begins;
            let from = if begins { now } else { self.until };
            self.until = from + mean.mul_f64(-(1.0 - self.rng.unit()).ln()).max(NANOSECOND);
        }
        self.bad && self.rng.chance(bursts.loss)
    }

    /// How long a packet waits and takes to be sent; `None` if it finds the queue full.
    fn queue(&mut self, now: Instant, octets: usize, bandwidth: Bandwidth) -> Option<Duration> {
        let time = |octets: u64| {
            Duration::from_nanos(octets.saturating_mul(8_000_000_000) / bandwidth.rate.max(1))
        };
        let wait = self.busy_until.since(now);
        if wait > time(bandwidth.queue) {
            return None;
        }
        let done = wait + time((octets + HEADERS) as u64);
        self.busy_until = now + done;
        Some(done)
    }
}

const NANOSECOND: Duration = Duration::from_nanos(1);

/// All links; those never spoken of are like `default`.
pub(crate) struct Links {
    seed: u64,
    pub(crate) default: Link,
    set: BTreeMap<(Node, Node), Link>,
    states: BTreeMap<(Node, Node), State>,
}

impl Links {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, default: Link::default(), set: BTreeMap::new(), states: BTreeMap::new() }
    }

    /// Changes the link from `from` to `to`.
    pub(crate) fn change(&mut self, from: Node, to: Node, change: impl FnOnce(&mut Link)) {
        let default = self.default;
        change(self.set.entry((from, to)).or_insert(default));
    }

    pub(crate) fn change_all(&mut self, change: impl Fn(&mut Link)) {
        change(&mut self.default);
        self.set.values_mut().for_each(change);
    }

    /// Decides the fate of `octets` on the way from `from` to `to`, and may corrupt them.
    pub(crate) fn pass(
        &mut self,
        now: Instant,
        from: Node,
        to: Option<Node>,
        octets: &mut [u8],
    ) -> Passage {
        let ends = (from, to.unwrap_or(Node::Nowhere));
        let link = *self.set.get(&ends).unwrap_or(&self.default);
        let seed = self.seed;
        let state = self.states.entry(ends).or_insert_with(|| State {
            rng: Rng::new(seed, &format!("link {:?} {:?}", ends.0, ends.1)),
            bad: false,
            until: Instant::ZERO,
            busy_until: Instant::ZERO,
        });
        if link.unreachable {
            return Passage::Bounces(link.delay * 2);
        }
        let too_large = link.mtu.is_some_and(|mtu| octets.len() + HEADERS > mtu);
        let hit = link.bursts.is_some_and(|bursts| state.is_hit(now, bursts));
        if link.cut || too_large || hit || state.rng.chance(link.loss) {
            return Passage::Lost;
        }
        let mut delay = link.delay;
        if let Some(bandwidth) = link.bandwidth {
            let Some(wait) = state.queue(now, octets.len(), bandwidth) else {
                return Passage::Lost;
            };
            delay += wait;
        }
        let rng = &mut state.rng;
        if rng.chance(link.corrupt) && !octets.is_empty() {
            let bit = rng.below(octets.len() as u64 * 8) as usize;
            octets[bit / 8] ^= 1 << (bit % 8);
        }
        if !link.jitter.is_zero() {
            delay += link.jitter.mul_f64(rng.unit());
        }
        if rng.chance(link.reorder) {
            delay += link.delay;
        }
        if let Some(until) = link.clogged_until {
            delay = delay.max(until.since(now));
        }
        let again = rng.chance(link.duplicate).then(|| delay + link.delay.mul_f64(rng.unit()));
        Passage::Arrives(delay, again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{BEGINNING, millis, secs};

    const ENDS: [Node; 2] = [Node::Host(0), Node::Host(1)];

    fn links(change: impl Fn(&mut Link)) -> Links {
        let mut links = Links::new(1);
        links.change_all(change);
        links
    }

    fn send(links: &mut Links, after: Duration, octets: usize) -> Passage {
        links.pass(BEGINNING + after, ENDS[0], Some(ENDS[1]), &mut vec![0; octets])
    }

    #[test]
    fn bursts_lose_the_share_that_they_last() {
        let bursts = Bursts { quiet: secs(9), bad: secs(1), loss: 1.0 };
        let mut links = links(|link| link.bursts = Some(bursts));
        let fates: Vec<bool> = (0..200_000_u64)
            .map(|n| send(&mut links, millis(n * 20), 100) == Passage::Lost)
            .collect();
        let lost = fates.iter().filter(|lost| **lost).count();
        assert!((14_000..26_000).contains(&lost), "{lost}");
        // They come together: far fewer beginnings than with independent loss.
        let begun = fates.windows(2).filter(|two| !two[0] && two[1]).count();
        assert!((200..600).contains(&begun), "{begun}");
    }

    #[test]
    fn a_slow_link_makes_packets_wait_and_drops_what_its_queue_has_no_room_for() {
        // 100 octets with headers take 100 ms.
        let bandwidth = Some(Bandwidth { rate: 8_000, queue: 200 });
        let mut links = links(|link| *link = Link { bandwidth, delay: millis(5), ..*link });
        let mut at_once: Vec<_> = (0..4).map(|_| send(&mut links, secs(0), 72)).collect();
        assert_eq!(at_once.pop(), Some(Passage::Lost));
        assert_eq!(at_once, [105, 205, 305].map(|at| Passage::Arrives(millis(at), None)));
        assert_eq!(send(&mut links, secs(1), 72), Passage::Arrives(millis(105), None));
    }

    #[test]
    fn what_is_larger_than_the_mtu_vanishes() {
        let mut links = links(|link| link.mtu = Some(1_280));
        assert_ne!(send(&mut links, secs(0), 1_252), Passage::Lost);
        assert_eq!(send(&mut links, secs(0), 1_253), Passage::Lost);
    }

    #[test]
    fn a_clogged_link_lets_all_through_at_once_when_it_is_unclogged() {
        let mut links = links(|link| link.clogged_until = Some(BEGINNING + secs(3)));
        for at in [0, 1, 2] {
            assert_eq!(send(&mut links, secs(at), 9), Passage::Arrives(secs(3 - at), None));
        }
        assert_eq!(send(&mut links, secs(3), 9), Passage::Arrives(millis(25), None));
    }
}
