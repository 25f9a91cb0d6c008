//! What lies between two nodes: delay, loss and other misfortune, for each direction apart.

use core::time::Duration;
use std::collections::BTreeMap;

use crate::world::network::Node;
use crate::world::rng::Rng;

/// One direction between two nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// How long a packet takes.
    pub(crate) delay: Duration,
    /// Up to this much more, uniformly.
    pub(crate) jitter: Duration,
    /// The share of packets that vanish.
    pub(crate) loss: f64,
    /// The share of packets that come twice.
    pub(crate) duplicate: f64,
    /// The share of packets that take twice as long and so come out of order.
    pub(crate) reorder: f64,
    /// The share of packets that arrive with one bit flipped.
    pub(crate) corrupt: f64,
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
            duplicate: 0.0,
            reorder: 0.0,
            corrupt: 0.0,
            cut: false,
            unreachable: false,
        }
    }
}

/// What becomes of a packet on a link.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// A copy arrives after each of these times.
    Arrives(Vec<Duration>),
    Lost,
    /// The sender hears of it after this time.
    Bounces(Duration),
}

/// All links; those never spoken of are like `default`.
pub(crate) struct Links {
    seed: u64,
    pub(crate) default: Link,
    set: BTreeMap<(Node, Node), Link>,
    rngs: BTreeMap<(Node, Node), Rng>,
}

impl Links {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, default: Link::default(), set: BTreeMap::new(), rngs: BTreeMap::new() }
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
    pub(crate) fn pass(&mut self, from: Node, to: Option<Node>, octets: &mut [u8]) -> Passage {
        let to = to.unwrap_or(Node::Nowhere);
        let link = *self.set.get(&(from, to)).unwrap_or(&self.default);
        let seed = self.seed;
        let rng = self
            .rngs
            .entry((from, to))
            .or_insert_with(|| Rng::new(seed, &format!("link {from:?} {to:?}")));
        if link.unreachable {
            return Passage::Bounces(link.delay * 2);
        }
        if link.cut || rng.chance(link.loss) {
            return Passage::Lost;
        }
        if rng.chance(link.corrupt) && !octets.is_empty() {
            let bit = rng.below(octets.len() as u64 * 8) as usize;
            octets[bit / 8] ^= 1 << (bit % 8);
        }
        let mut delay =
            link.delay + link.jitter.mul_f64(if link.jitter.is_zero() { 0.0 } else { rng.unit() });
        if rng.chance(link.reorder) {
            delay += link.delay;
        }
        let mut arrivals = vec![delay];
        if rng.chance(link.duplicate) {
            arrivals.push(delay + link.delay.mul_f64(rng.unit()));
        }
        Passage::Arrives(arrivals)
    }
}
